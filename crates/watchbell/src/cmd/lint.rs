mod human;
mod judge;
mod rules;
mod sarif;

use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::{Value, json};
use watchbell_api::decode::Place;
use watchbell_core::admission::Level;
use watchbell_core::admission::pod_security::{LevelVersion, Policy, Version};

use self::rules::Rule;
use crate::exit::Failure;
use crate::manifest::{self, Recursive};
use crate::output;

/// Judges manifests without a server, by the code that admits them
///
/// Exit codes: 0 nothing was found at or above --fail-on; 1 something was; 2 a file cannot be read, or the command line is
/// wrong. docs/lint.md lists the rules.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A file, a directory (its .yaml, .yml and .json files by name), or - for standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Directories with those below them
    #[arg(short = 'R', long)]
    recursive: bool,
    /// What the namespaces enforce that are not among the files: privileged, baseline, restricted (also restricted:v1.30),
    /// or strict, as a namespace without a label: what is unsaid is filled in
    #[arg(long, value_name = "LEVEL", default_value = "strict", value_parser = level)]
    level: Enforced,
    /// Namespace of objects that name none
    #[arg(short, long, value_name = "NAME", default_value = "default")]
    namespace: String,
    /// The least severe finding that makes the command fail
    #[arg(long, value_name = "SEVERITY", default_value = "error")]
    fail_on: FailOn,
    /// human, json, or sarif (SARIF 2.1.0, for code-scanning views)
    #[arg(short, long, value_name = "FORMAT", default_value = "human")]
    output: LintFormat,
}

/// How bad a finding is. The order is that of SARIF's levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Severity {
    Note,
    Warning,
    Error,
}

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FailOn {
    Error,
    Warning,
    Note,
    /// Findings never do.
    None,
}

impl FailOn {
    fn is_met_by(self, severity: Severity) -> bool {
        match self {
            FailOn::Error => severity >= Severity::Error,
            FailOn::Warning => severity >= Severity::Warning,
            FailOn::Note => true,
            FailOn::None => false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LintFormat {
    Human,
    Json,
    Sarif,
}

/// A level of the command line; `None`: strict.
#[derive(Debug, Clone, Copy)]
struct Enforced(Option<LevelVersion>);

fn level(text: &str) -> Result<Enforced, String> {
    let (name, version) = text.split_once(':').unwrap_or((text, "latest"));
    let version =
        Version::parse(version).ok_or(format!("{version:?} is no version: write latest or v1.N"))?;
    let known = [Level::Privileged, Level::Baseline, Level::Restricted];
    match known.into_iter().find(|level| level.as_str() == name) {
        Some(level) => Ok(Enforced(Some(LevelVersion { level, version }))),
        None if text == "strict" => Ok(Enforced(None)),
        None => Err("there are privileged, baseline, restricted and strict".into()),
    }
}

/// What was found, and where.
#[derive(Debug)]
struct Finding {
    rule: &'static Rule,
    /// As on the command line.
    file: String,
    place: Place,
    /// `Job ml/train`; empty where there is no object yet.
    object: String,
    /// `spec.template.spec.containers[0].image`; empty for the whole.
    path: String,
    message: String,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let recursive = if args.recursive { Recursive::Yes } else { Recursive::No };
    let texts = manifest::texts(&args.files, recursive)?;
    let policy = Policy { enforce: args.level.0, ..Policy::STRICT };
    let by = judge::By { policy, namespace: &args.namespace, now: Timestamp::now() };
    let findings = judge::all(&texts, &by);
    match args.output {
        LintFormat::Human => human::print(&findings, texts.len()),
        LintFormat::Json => {
            output::data(&serde_json::to_string_pretty(&as_json(&findings)).map_err(Failure::refused)?);
        }
        LintFormat::Sarif => {
            output::data(&serde_json::to_string_pretty(&sarif::log(&findings)).map_err(Failure::refused)?);
        }
    }
    match findings.iter().filter(|finding| args.fail_on.is_met_by(finding.rule.severity)).count() {
        0 => Ok(()),
        _ => Err(Failure::Found),
    }
}

fn as_json(findings: &[Finding]) -> Value {
    let list: Vec<Value> = findings
        .iter()
        .map(|finding| {
            json!({
                "rule": finding.rule.id, "severity": finding.rule.severity.as_str(), "file": finding.file,
                "line": finding.place.line, "column": finding.place.column, "object": finding.object,
                "path": finding.path, "message": finding.message, "wayOut": finding.rule.way_out,
            })
        })
        .collect();
    let count = |severity| findings.iter().filter(|finding| finding.rule.severity == severity).count();
    json!({
        "findings": list,
        "errors": count(Severity::Error), "warnings": count(Severity::Warning), "notes": count(Severity::Note),
    })
}
