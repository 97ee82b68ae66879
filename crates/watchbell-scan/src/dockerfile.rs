//! Dockerfiles, read as BuildKit reads them and judged for what concerns security and reproducibility.
//!
//! ```text
//!  text ──parse──▶ instructions (flags, words, here-documents, JSON form)
//!                     │ RUN ──shell──▶ commands (words, pipes)
//!                     ▼
//!                  judge ──▶ findings, each by a rule of the table
//! ```
//!
//! Rules that hadolint has too carry its numbers, so that what a team knows, documents and ignores goes on to count. What is
//! said here is our own. Grammar: the Dockerfile reference of BuildKit (dockerfile frontend 1.x).

mod judge;
mod parse;
mod rules;
mod shell;

use std::collections::BTreeSet;

pub use judge::{Finding, Options, judge};
pub use parse::{Dockerfile, Fault, Flag, Heredoc, Instruction, Keyword, Place};
pub use rules::{Level, RULES, Rule};

/// Whether a file is read as a Dockerfile, by its name alone: `Dockerfile`, `Containerfile`, either with an ending
/// (`Dockerfile.dev`), and `NAME.Dockerfile`.
pub fn is_name(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    ["dockerfile", "containerfile"].iter().any(|word| {
        lower == *word
            || lower.strip_prefix(word).is_some_and(|rest| rest.starts_with('.') && rest != ".dockerignore")
            || lower.strip_suffix(word).is_some_and(|rest| rest.ends_with('.'))
    })
}

/// The names of the programs that a shell script calls, each once; what a variable or a substitution decides is not among them.
pub(crate) fn commands_of_script(text: &str) -> BTreeSet<String> {
    let script = shell::Script::parse(text);
    let names = script.commands.iter().flat_map(|command| {
        // What starts another is called too.
        [
            command.words.first().map(|word| word.text.clone()),
            command.unwrapped().words.first().map(|word| word.text.clone()),
        ]
    });
    names.flatten().filter(|name| !name.contains('$')).collect()
}

#[cfg(test)]
mod tests;
