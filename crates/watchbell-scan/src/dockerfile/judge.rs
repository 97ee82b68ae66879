//! What is to be said about a Dockerfile.

mod base;
mod copy;
mod install;
mod run;

use std::collections::HashMap;
use std::ops::Range;

use super::parse::{Dockerfile, Heredoc, Instruction, Keyword, Place};
use super::rules::{self, Rule};
use super::shell::{Command, SHELLS, Script};
use crate::secret;

/// More findings of one file help nobody.
const FINDINGS_MAX: usize = 10_000;

/// What the caller decides.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// Registries that base images may come from, `*.example.org` for all below; empty: any.
    pub trusted_registries: &'a [String],
}

/// What was found, and where.
#[derive(Debug)]
pub struct Finding {
    pub rule: &'static Rule,
    pub place: Place,
    /// `RUN`, or `ONBUILD RUN`; empty where there is no instruction.
    pub instruction: String,
    pub message: String,
}

/// Judges a file; the findings are in its order. Pure, and proportional to the text.
pub fn judge(file: &Dockerfile, options: &Options<'_>) -> Vec<Finding> {
    let mut judge = Judge { options, findings: Vec::new(), stages: Vec::new(), arguments: HashMap::new() };
    for fault in &file.faults {
        judge.findings.push(Finding {
            rule: rules::named("dockerfile"),
            place: fault.place,
            instruction: String::new(),
            message: fault.message.clone(),
        });
    }
    for instruction in &file.instructions {
        let before = judge.findings.len();
        judge.instruction(instruction);
        judge.secrets(instruction);
        judge.drop_ignored(before, &instruction.ignored_rules);
    }
    judge.last();
    judge.drop_ignored(0, &file.ignored_rules);
    judge.findings.sort_by(|a, b| (a.place, a.rule.id).cmp(&(b.place, b.rule.id)));
    judge.findings.truncate(FINDINGS_MAX);
    judge.findings
}

/// What is known of a stage while it is read.
#[derive(Debug, Default)]
struct Stage {
    /// In lower case, as builders compare them.
    name: Option<String>,
    /// The earlier stage that it is built upon.
    parent: Option<usize>,
    /// Whether the base image says by its name that it does not run as root.
    is_nonroot_base: bool,
    /// A later stage is built upon this one or copies from it.
    is_used: bool,
    user: Option<LastUser>,
    has_pipefail: bool,
    pip_keeps_no_cache: bool,
    /// Of the `FROM`.
    place: Option<Place>,
    /// What is told only of a stage that ends up in an image.
    held_back: Vec<Finding>,
}

#[derive(Debug)]
struct LastUser {
    is_root: bool,
    place: Place,
    is_ignored: bool,
}

struct Judge<'a> {
    options: &'a Options<'a>,
    findings: Vec<Finding>,
    stages: Vec<Stage>,
    /// Defaults of ARGs before the first FROM.
    arguments: HashMap<String, Option<String>>,
}

/// One command of a RUN, without what only starts it.
struct Call {
    command: Command,
    place: Place,
}

/// A RUN taken apart.
struct Run<'a> {
    instruction: &'a Instruction,
    calls: Vec<Call>,
    /// As it was written, `sudo` and all.
    written: Vec<(String, Place)>,
    has_pipe: bool,
}

impl Judge<'_> {
    fn say(&mut self, id: &str, instruction: &Instruction, place: Place, message: String) {
        let finding = found(id, instruction, place, message);
        self.findings.push(finding);
    }

    fn stage(&mut self) -> Option<&mut Stage> {
        self.stages.last_mut()
    }

    /// The stage of that name or number, among those before the current one or that one itself.
    fn stage_named(&self, name: &str) -> Option<usize> {
        let lower = name.to_ascii_lowercase();
        let by_name = self.stages.iter().rposition(|stage| stage.name.as_ref() == Some(&lower));
        by_name.or_else(|| name.parse().ok().filter(|number| *number < self.stages.len()))
    }

    fn drop_ignored(&mut self, from: usize, ignored: &[String]) {
        if ignored.is_empty() {
            return;
        }
        let is_kept = |finding: &Finding| !ignored.iter().any(|id| id == finding.rule.id);
        let mut at = 0;
        self.findings.retain(|finding| {
            at += 1;
            at <= from || is_kept(finding)
        });
        if let Some(stage) = self.stages.last_mut() {
            stage.held_back.retain(is_kept);
        }
    }

    fn instruction(&mut self, instruction: &Instruction) {
        let place = instruction.place;
        let is_before_from = self.stages.is_empty();
        if is_before_from && !matches!(instruction.keyword, Keyword::From | Keyword::Arg) {
            let message = format!("{} stands before the first FROM", instruction.keyword.as_str());
            self.say("DL3061", instruction, place, message);
        }
        if instruction.is_onbuild
            && matches!(instruction.keyword, Keyword::From | Keyword::Maintainer | Keyword::Onbuild)
        {
            let message = format!("ONBUILD cannot have {}", instruction.keyword.as_str());
            self.say("DL3043", instruction, place, message);
            return;
        }
        match instruction.keyword {
            Keyword::From => self.from(instruction),
            Keyword::Arg => self.argument(instruction, is_before_from),
            Keyword::Env => self.environment(instruction),
            Keyword::User => self.user(instruction),
            Keyword::Workdir => self.workdir(instruction),
            Keyword::Shell => self.shell(instruction),
            Keyword::Add | Keyword::Copy => self.copy(instruction),
            Keyword::Run => self.run(&take_apart(instruction)),
            Keyword::Cmd
            | Keyword::Entrypoint
            | Keyword::Expose
            | Keyword::Healthcheck
            | Keyword::Label
            | Keyword::Maintainer
            | Keyword::Onbuild
            | Keyword::Stopsignal
            | Keyword::Volume => {}
        }
    }

    /// What looks like a secret, wherever it stands.
    fn secrets(&mut self, instruction: &Instruction) {
        for hit in secret::scan_text(&instruction.text) {
            let place = instruction.place_of(hit.range.clone());
            let message = format!("{} in {}: {}", hit.rule.title, instruction.keyword.as_str(), hit.shown());
            self.say("secret-in-dockerfile", instruction, place, message);
        }
        for heredoc in &instruction.heredocs {
            for hit in secret::scan_text(&heredoc.body) {
                let place = place_in_heredoc(heredoc, hit.range.clone());
                let message = format!("{} in a here-document: {}", hit.rule.title, hit.shown());
                self.say("secret-in-dockerfile", instruction, place, message);
            }
        }
    }

    /// What can be said only when the whole file is read.
    fn last(&mut self) {
        let Some(last) = self.stages.len().checked_sub(1) else { return };
        let mut findings = Vec::new();
        for at in 0..self.stages.len() {
            // What is only copied from leaves its layers behind; what is built upon brings them along.
            let is_kept = at == last || !self.stages[at].is_used || self.is_ancestor(at, last);
            let stage = &mut self.stages[at];
            if is_kept {
                findings.append(&mut stage.held_back);
            }
            if let Some(user) = stage.user.as_ref().filter(|user| user.is_root && !user.is_ignored)
                && (at == last || !stage.is_used)
            {
                findings.push(Finding {
                    rule: rules::named("DL3002"),
                    place: user.place,
                    instruction: "USER".into(),
                    message: "the stage ends as root".into(),
                });
            }
        }
        let mut at = Some(last);
        let mut has_user = false;
        while let Some(stage) = at.map(|at| &self.stages[at]) {
            has_user |= stage.user.is_some() || stage.is_nonroot_base;
            at = stage.parent;
        }
        if !has_user && let Some(place) = self.stages[last].place {
            findings.push(Finding {
                rule: rules::named("no-user"),
                place,
                instruction: "FROM".into(),
                message: "the last stage has no USER".into(),
            });
        }
        self.findings.append(&mut findings);
    }

    fn is_ancestor(&self, of: usize, mut at: usize) -> bool {
        while let Some(parent) = self.stages[at].parent {
            if parent == of {
                return true;
            }
            at = parent;
        }
        false
    }
}

fn found(id: &str, instruction: &Instruction, place: Place, message: String) -> Finding {
    let keyword = instruction.keyword.as_str();
    let instruction = if instruction.is_onbuild { format!("ONBUILD {keyword}") } else { keyword.to_owned() };
    Finding { rule: rules::named(id), place, instruction, message }
}

/// The commands of a RUN, of its text or of the here-document that is its script.
fn take_apart(instruction: &Instruction) -> Run<'_> {
    let mut run = Run { instruction, calls: Vec::new(), written: Vec::new(), has_pipe: false };
    if let Some(words) = &instruction.json {
        let shown = instruction.place_of(0..instruction.text.len());
        let quoted: Vec<String> = words.iter().map(|word| quote(word)).collect();
        // No shell reads the JSON form itself, so a pipe in it is none.
        run.take(Script { has_pipe: false, ..Script::parse(&quoted.join(" ")) }, |_| shown);
        return run;
    }
    let script = Script::parse(&instruction.text);
    let is_script_in_heredoc = match &script.commands[..] {
        [] => instruction.heredocs.first().is_some_and(|heredoc| {
            let first = heredoc.body.lines().next().unwrap_or_default();
            !first.starts_with("#!") || SHELLS.iter().any(|shell| first.ends_with(shell))
        }),
        [command] => SHELLS.contains(&command.unwrapped().name()),
        _ => false,
    };
    run.take(script, |range| instruction.place_of(range));
    if is_script_in_heredoc {
        for heredoc in &instruction.heredocs {
            run.take(Script::parse(&heredoc.body), |range| place_in_heredoc(heredoc, range));
        }
    }
    run
}

impl Run<'_> {
    fn take(&mut self, script: Script, place: impl Fn(Range<usize>) -> Place) {
        self.has_pipe |= script.has_pipe;
        for command in script.commands {
            self.written.push((command.name().to_owned(), place(command.range())));
            let command = command.unwrapped();
            self.calls.push(Call { place: place(command.range()), command });
        }
    }

    fn calls(&self, names: &[&str]) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(move |call| names.contains(&call.command.name()))
    }

    /// `--mount=type=KIND,…` over a directory that begins so.
    fn mounts_over(&self, directory: &str) -> bool {
        self.instruction.flags.iter().filter(|flag| flag.name == "mount").any(|flag| {
            let part = |names: &[&str]| {
                flag.value.split(',').filter_map(|part| part.split_once('=')).find_map(|(name, value)| {
                    names.contains(&name.trim()).then(|| value.trim().trim_end_matches('/'))
                })
            };
            let is_kind = matches!(part(&["type"]), Some("cache" | "tmpfs"));
            is_kind && part(&["target", "dst", "destination"]).is_some_and(|path| path.contains(directory))
        })
    }
}

fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn place_in_heredoc(heredoc: &Heredoc, range: Range<usize>) -> Place {
    let before = heredoc.body.get(..range.start).unwrap_or_default();
    let line = before.matches('\n').count();
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let count = |text: Option<&str>| {
        u32::try_from(text.unwrap_or_default().lines().next().unwrap_or_default().chars().count())
            .unwrap_or(u32::MAX)
    };
    let column = count(heredoc.body.get(start..range.start)).saturating_add(1);
    Place {
        line: heredoc.line.saturating_add(u32::try_from(line).unwrap_or(u32::MAX)),
        column,
        end_column: column.saturating_add(count(heredoc.body.get(range)).max(1)),
    }
}
