mod arrays;
mod dockerfile;
mod human;
mod judge;
mod policies;
mod rules;
mod sarif;

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::{Value, json};
use watchbell_api::decode::Place;
use watchbell_core::admission::Level;
use watchbell_core::admission::pod_security::{LevelVersion, Policy, Version};
use watchbell_scan::dockerfile::is_name as is_dockerfile_name;

use self::rules::Rule;
use crate::exit::Failure;
use crate::manifest::{self, Recursive, Text};
use crate::output;

/// Judges manifests and Dockerfiles without a server, manifests by the code that admits them
///
/// Exit codes: 0 nothing was found at or above --fail-on; 1 something was; 2 a file cannot be read, or the command line is
/// wrong. docs/lint.md lists the rules.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A file, a directory (its .yaml, .yml and .json files and its Dockerfiles, by name), or - for standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Directories with those below them
    #[arg(short = 'R', long)]
    recursive: bool,
    /// What the namespaces enforce that are not among the files: privileged, baseline, restricted (also restricted:v1.30),
    /// or strict, as a namespace without a label: what is unsaid is filled in
    #[arg(long, value_name = "LEVEL", default_value = "strict", value_parser = level)]
    level: Enforced,
    /// What the files are: by their names (Dockerfile, Containerfile, Dockerfile.NAME, NAME.Dockerfile; else a manifest), or
    /// all of them the same
    #[arg(long, value_name = "KIND", default_value = "by-name")]
    kind: Kind,
    /// A registry that base images may come from (docker.io, *.example.org); repeat for more; without one, any
    #[arg(long, value_name = "REGISTRY")]
    trusted_registry: Vec<String>,
    /// Namespace of objects that name none
    #[arg(short, long, value_name = "NAME", default_value = "default")]
    namespace: String,
    /// ValidatingAdmissionPolicies that judge too, with their bindings and the objects they take parameters from. A policy
    /// without a binding among them counts everywhere and denies
    #[arg(long, value_name = "FILE")]
    policy: Vec<PathBuf>,
    /// Directory of a Zarr hierarchy that stands for a DataArray: plans of Jobs that use it are made from its documents.
    /// NAME=DIRECTORY; repeat for more
    #[arg(long, value_name = "NAME=DIR", value_parser = arrays::given)]
    array: Vec<arrays::Given>,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    ByName,
    Manifest,
    Dockerfile,
}

impl Kind {
    fn is_dockerfile(self, shown: &str) -> bool {
        match self {
            Kind::ByName => is_dockerfile_name(shown.rsplit('/').next().unwrap_or(shown)),
            Kind::Manifest => false,
            Kind::Dockerfile => true,
        }
    }
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
    let files = match args.kind {
        Kind::ByName => |name: &str| manifest::is_name(name) || is_dockerfile_name(name),
        Kind::Manifest => manifest::is_name,
        Kind::Dockerfile => is_dockerfile_name,
    };
    let texts = manifest::texts_of(&args.files, recursive, files)?;
    let (dockerfiles, manifests): (Vec<&Text>, Vec<&Text>) =
        texts.iter().partition(|text| args.kind.is_dockerfile(&text.shown));
    let policy = Policy { enforce: args.level.0, ..Policy::STRICT };
    let arrays = arrays::read(&args.array)?;
    let by = judge::By { policy, namespace: &args.namespace, now: Timestamp::now(), arrays: &arrays };
    let given = policies::Given::read(&args.policy, &args.namespace)?;
    let mut findings = judge::all(&manifests, &by, given);
    findings.extend(dockerfile::all(&dockerfiles, &args.trusted_registry));
    // A file's findings stand together, and as the author reads it.
    let order: BTreeMap<&str, usize> = texts.iter().enumerate().map(|(i, text)| (&*text.shown, i)).collect();
    findings.sort_by_key(|finding| (order.get(&*finding.file).copied(), finding.place));
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
