//! The rules that carry hadolint's numbers, beside hadolint itself: on files that most of them have something to say about,
//! both speak of the same lines. Where we mean it otherwise, it stands here with the reason.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use watchbell_scan::dockerfile::{Dockerfile, Options, RULES, judge};

/// (file, line of the instruction, rule): what hadolint says alone.
const THEIRS: [(&str, u32, &str); 5] = [
    // What a stage leaves behind that is only copied from is in no image.
    ("python", 5, "DL3015"),
    ("python", 7, "DL3042"),
    ("stages", 3, "DL3042"),
    ("stages", 4, "DL3002"),
    // Builders compare the names of stages without case.
    ("stages", 9, "DL3022"),
];
/// What we say alone.
const OURS: [(&str, u32, &str); 1] = [
    // sudo only starts what installs.
    ("python", 16, "DL3013"),
];

/// hadolint as `tools/test/setup` installs it, or as it lies in the path.
fn hadolint(file: &Path) -> Option<BTreeSet<(u32, String)>> {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../../target").into(), PathBuf::from);
    let installed = target.join("test-venv/bin/hadolint");
    let program = if installed.exists() { installed } else { "hadolint".into() };
    let output = Command::new(program).args(["--no-fail", "--format", "json"]).arg(file).output().ok()?;
    let findings: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let line = |finding: &Value| u32::try_from(finding["line"].as_u64().unwrap()).unwrap();
    Some(findings.iter().map(|f| (line(f), f["code"].as_str().unwrap().to_owned())).collect())
}

fn ours(text: &str) -> BTreeSet<(u32, String)> {
    let file = Dockerfile::parse(text);
    let instruction = |line: u32| {
        let found = file.instructions.iter().find(|one| (one.place.line..=one.last_line).contains(&line));
        found.map_or(line, |one| one.place.line)
    };
    judge(&file, &Options::default())
        .into_iter()
        .map(|finding| (instruction(finding.place.line), finding.rule.id.to_owned()))
        .collect()
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
fn both_speak_of_the_same_lines() {
    let directory = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hadolint"));
    let mut wrong = Vec::new();
    let mut agreed = BTreeSet::new();
    for name in ["alpine", "mixed", "python", "redhat", "stages"] {
        let path = directory.join(format!("{name}.Dockerfile"));
        let Some(theirs) = hadolint(&path) else {
            eprintln!("left out: there is no hadolint (tools/test/requirements.txt)");
            return;
        };
        let is_shared =
            |(_, rule): &(u32, String)| rule.starts_with("DL") && RULES.iter().any(|known| known.id == rule);
        let theirs: BTreeSet<_> = theirs.into_iter().filter(is_shared).collect();
        let ours: BTreeSet<_> =
            ours(&std::fs::read_to_string(&path).unwrap()).into_iter().filter(is_shared).collect();
        let stands = |list: &[(&str, u32, &str)], (line, rule): &(u32, String)| {
            list.contains(&(name, *line, rule.as_str()))
        };
        for finding in &theirs {
            match (ours.contains(finding), stands(&THEIRS, finding)) {
                (false, false) => wrong.push(format!("{name}: only hadolint: {finding:?}")),
                (true, true) => wrong.push(format!("{name}: both after all: {finding:?}")),
                (true, false) => drop(agreed.insert(finding.1.clone())),
                (false, true) => {}
            }
        }
        for finding in ours.difference(&theirs).filter(|finding| !stands(&OURS, finding)) {
            wrong.push(format!("{name}: only ours: {finding:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(agreed.len() >= 25, "too little is compared: {agreed:?}");
}
