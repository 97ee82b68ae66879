//! What a user types and what he sees, replayed against a real server.
//!
//! ```text
//! $ kubectl get job mine        a command; lines that begin with "> " go on with it
//! mine Complete 3/3 * *         standard output: * stands for anything within a line, a line "..." for any lines
//! ! Warning: *                  standard error
//! ? 1                           the exit code, 0 unless stated
//! ## words                      a remark
//! ```
//!
//! Columns are compared by their words, not by their blanks. Each transcript has a namespace of its own, which its kubeconfig
//! names, and a directory of its own.

use std::process::{Command, Stdio};

use crate::shared::Lab;
use crate::stand::run;

/// One command and what it must show.
#[derive(Default)]
struct Step {
    command: String,
    out: Vec<String>,
    err: Vec<String>,
    code: i32,
}

/// Plays a transcript; `{namespace}` in it stands for the one it got.
pub(crate) fn play(lab: &Lab, text: &str) {
    std::fs::write(lab.path("prelude.sh"), include_str!("transcript/prelude.sh")).unwrap();
    let text = text.replace("{namespace}", &lab.namespace);
    for step in parse(&text) {
        let mut command = Command::new("timeout");
        command
            .args(["-k", "5", "300", "sh", "-c"])
            .arg(format!(". ./prelude.sh\n{}", step.command))
            .stdin(Stdio::null());
        lab.surround(&mut command);
        let done = run(command, "");
        let problem = if done.code != Some(step.code) {
            Some(format!("the exit code is {:?}, not {}", done.code, step.code))
        } else if !is_shown(&step.out, &done.out) {
            Some("standard output differs".to_owned())
        } else if !is_shown(&step.err, &done.err) {
            Some("standard error differs".to_owned())
        } else {
            None
        };
        if let Some(problem) = problem {
            panic!(
                "{problem}\n$ {}\n--- standard output wanted\n{}\n--- seen\n{}\n--- standard error wanted\n{}\n--- seen\n{}",
                step.command,
                step.out.join("\n"),
                done.out,
                step.err.join("\n"),
                done.err
            );
        }
    }
}

fn parse(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in text.lines() {
        let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
        if mark == "$" {
            steps.push(Step { command: rest.to_owned(), ..Step::default() });
            continue;
        }
        let Some(step) = steps.last_mut() else { continue };
        match mark {
            "##" => {}
            ">" => {
                step.command.push('\n');
                step.command.push_str(rest);
            }
            "!" => step.err.push(rest.to_owned()),
            "?" => step.code = rest.parse().unwrap(),
            _ => step.out.push(line.to_owned()),
        }
    }
    // An empty line before the next command is for the reader.
    for step in &mut steps {
        while step.out.last().is_some_and(|line| line.trim().is_empty()) {
            step.out.pop();
        }
    }
    steps
}

/// Whether `text` is what `wanted` says, line by line.
fn is_shown(wanted: &[String], text: &str) -> bool {
    let wanted: Vec<String> = wanted.iter().map(|line| words(line)).collect();
    let seen: Vec<String> = text.trim_end().lines().map(words).collect();
    lines_match(&wanted, &seen)
}

fn words(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn lines_match(wanted: &[String], seen: &[String]) -> bool {
    match wanted.split_first() {
        None => seen.is_empty(),
        Some((first, rest)) if first == "..." => {
            (0..=seen.len()).any(|skipped| lines_match(rest, &seen[skipped..]))
        }
        Some((first, rest)) => seen.split_first().is_some_and(|(line, others)| {
            is_like(first.as_bytes(), line.as_bytes()) && lines_match(rest, others)
        }),
    }
}

/// `*` stands for any characters. The parts between stars are looked for from left to right.
fn is_like(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && pattern[p] == b'*' {
            star = Some((p, t));
            p += 1;
        } else if p < pattern.len() && pattern[p] == text[t] {
            p += 1;
            t += 1;
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            p = at + 1;
            t = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

#[test]
fn lines_are_compared_as_said() {
    let check = |wanted: &[&str], text: &str, expect: bool| {
        let wanted: Vec<String> = wanted.iter().map(|l| (*l).to_owned()).collect();
        assert_eq!(is_shown(&wanted, text), expect, "{wanted:?} {text:?}");
    };
    check(&["a b"], "a    b\n", true);
    check(&["a b"], "a b c\n", false);
    check(&["a *"], "a b c\n", true);
    check(&["a*c"], "abcbc", true);
    check(&["a*c"], "abcb", false);
    check(&["a", "...", "z"], "a\nz\n", true);
    check(&["a", "...", "z"], "a\nb\nc\nz", true);
    check(&["a", "..."], "b\nc", false);
    check(&[], "", true);
    check(&[], "a", false);
    check(&["0 3 * * *"], "0 3 * * *", true);
    assert_eq!(parse("words\n$ a\n> b\nout\n! err\n? 3\n\n$ c\n").len(), 2);
}
