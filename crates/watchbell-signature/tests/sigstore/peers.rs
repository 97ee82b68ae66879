//! Second opinions: sigstore-python and sigstore-js judge the same bundles against the same trust root. Both are installed by
//! tools/test/setup; without them the tests that ask them say so and are left out.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::case::{Case, MANIFEST, digest};
use crate::stand::b64;

/// What another implementation says of each case: `Ok`, or its complaint.
pub(crate) type Opinions = Vec<Result<(), String>>;

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from)
}

/// `None` when sigstore-python is not here.
pub(crate) fn python(root: &Value, cases: &[Case]) -> Option<Opinions> {
    let program = target().join("test-venv/bin/python");
    let has = Command::new(&program).args(["-c", "import sigstore"]).stderr(Stdio::null()).status();
    if !has.is_ok_and(|status| status.success()) {
        tell(&format!("left out: no sigstore in {}; run tools/test/setup", program.display()));
        return None;
    }
    Some(ask(Command::new(program).arg(script("judge.py")), root, cases))
}

/// `None` when sigstore-js is not here.
pub(crate) fn js(root: &Value, cases: &[Case]) -> Option<Opinions> {
    Some(ask(&mut node("judge.js")?, root, cases))
}

/// The same of bundles that a key signed: a list of bundles, each with its key.
pub(crate) fn js_by_key(question: &Value) -> Option<Opinions> {
    Some(answers(&mut node("judge_key.js")?, question))
}

fn node(name: &str) -> Option<Command> {
    let modules = target().join("test-node/node_modules");
    if !modules.join("@sigstore/verify").exists() {
        tell(&format!("left out: no @sigstore/verify in {}; run tools/test/setup", modules.display()));
        return None;
    }
    let mut command = Command::new("node");
    command.arg(script(name)).env("NODE_PATH", modules);
    Some(command)
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sigstore").join(name)
}

fn ask(command: &mut Command, root: &Value, cases: &[Case]) -> Opinions {
    let question = json!({
        "root": root, "document": b64(MANIFEST), "digest": digest().hex(),
        "cases": cases.iter().map(Case::question).collect::<Vec<_>>(),
    });
    let opinions = answers(command, &question);
    assert_eq!(opinions.len(), cases.len());
    opinions
}

fn answers(command: &mut Command, question: &Value) -> Opinions {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(question.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?} failed");
    let answers: Vec<Option<String>> = serde_json::from_slice(&output.stdout).unwrap();
    answers.into_iter().map(|complaint| complaint.map_or(Ok(()), Err)).collect()
}

#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
fn tell(text: &str) {
    eprintln!("{text}");
}
