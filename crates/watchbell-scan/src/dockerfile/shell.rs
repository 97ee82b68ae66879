//! The commands of a shell text: enough of the POSIX grammar (2.10, Shell Grammar) to know which program is called with which
//! words and what is piped into what. Nothing is expanded.

use std::collections::VecDeque;
use std::ops::Range;

/// How deep commands inside commands are looked at.
const DEPTH_MAX: usize = 8;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// Without its quotes; variables as written.
    pub(super) text: String,
    /// In the text that was read.
    pub(super) range: Range<usize>,
}

/// One simple command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Command {
    /// `NAME=value` words before the program's.
    pub(super) environment: Vec<String>,
    /// At least one.
    pub(super) words: Vec<Word>,
    /// Its output goes into the next command.
    pub(super) feeds: bool,
    /// Its input comes from the command before.
    pub(super) is_fed: bool,
    /// The words inside its `<(…)`, `$(…)` or back-quotes.
    pub(super) substituted: Vec<String>,
}

impl Command {
    /// The program's name without its directory.
    pub(super) fn name(&self) -> &str {
        let first = self.words.first().map_or("", |word| word.text.as_str());
        first.rsplit('/').next().unwrap_or(first)
    }

    pub(super) fn range(&self) -> Range<usize> {
        self.words.first().map_or(0..0, |word| word.range.clone())
    }

    pub(super) fn arguments(&self) -> impl Iterator<Item = &str> {
        self.words.iter().skip(1).map(|word| word.text.as_str())
    }

    /// The words that are no flags; the value of a flag in `valued` is none of them either.
    pub(super) fn operands(&self, valued: &[&str]) -> Vec<&Word> {
        let mut found = Vec::new();
        let mut is_value = false;
        let mut only_operands = false;
        for word in self.words.iter().skip(1) {
            let text = word.text.as_str();
            if std::mem::take(&mut is_value) {
            } else if only_operands || !text.starts_with('-') || text == "-" {
                found.push(word);
            } else if text == "--" {
                only_operands = true;
            } else {
                is_value = valued.contains(&text);
            }
        }
        found
    }

    /// `--name`, `--name=…`, or a short flag, also among others: `-qy`.
    pub(super) fn has_flag(&self, flag: &str) -> bool {
        self.arguments().any(|word| match flag.strip_prefix("--") {
            Some(_) => word == flag || word.strip_prefix(flag).is_some_and(|rest| rest.starts_with('=')),
            None => {
                let letter = flag.trim_start_matches('-');
                word == flag
                    || word.strip_prefix('-').is_some_and(|letters| {
                        letters.bytes().all(|byte| byte.is_ascii_alphabetic()) && letters.contains(letter)
                    })
            }
        })
    }

    /// The same command without what only starts it: `sudo -E env A=b apt-get …` is `apt-get …`.
    pub(super) fn unwrapped(&self) -> Command {
        let mut command = self.clone();
        for _ in 0..DEPTH_MAX {
            let valued: &[&str] = match command.name() {
                "sudo" => &["-u", "--user", "-g", "--group"],
                "env" => &["-u", "--unset", "-C", "--chdir"],
                "exec" | "command" | "nohup" | "time" | "eatmydata" => &[],
                "nice" | "ionice" => &["-n", "-c"],
                "timeout" => &["-s", "--signal", "-k", "--kill-after"],
                _ => return command,
            };
            // How long comes before what.
            let skipped = usize::from(command.name() == "timeout");
            let Some(start) = command.operands(valued).get(skipped).map(|word| word.range.clone()) else {
                return command;
            };
            let Some(at) = command.words.iter().position(|word| word.range == start) else { return command };
            command.words.drain(..at);
            command.take_environment();
            if command.words.is_empty() {
                return self.clone();
            }
        }
        command
    }

    fn take_environment(&mut self) {
        let count = self.words.iter().take_while(|word| is_assignment(&word.text)).count();
        self.environment.extend(self.words.drain(..count).map(|word| word.text));
    }
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        let name = name.strip_suffix('+').unwrap_or(name);
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}

/// Words of the grammar that stand before a command.
const BEFORE: [&str; 9] = ["if", "then", "else", "elif", "do", "while", "until", "!", "{"];
/// Words of the grammar whose command is none.
const ALONE: [&str; 8] = ["for", "case", "select", "function", "done", "fi", "esac", "}"];
/// Programs that read commands from standard input, a file or `-c`.
pub(super) const SHELLS: [&str; 7] = ["sh", "bash", "ash", "dash", "zsh", "ksh", "fish"];

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Script {
    pub(super) commands: Vec<Command>,
    pub(super) has_pipe: bool,
}

impl Script {
    pub(super) fn parse(text: &str) -> Script {
        let mut script = Script::default();
        script.read(text, None, 0);
        script
    }

    /// Reads a text; `standing` is where all of it stands, when it is the word of another text.
    fn read(&mut self, text: &str, standing: Option<&Range<usize>>, depth: usize) {
        let mut pending = VecDeque::from([(0..text.len(), depth)]);
        while let Some((range, depth)) = pending.pop_front() {
            let first = self.commands.len();
            let mut reader = Reader::new(text, range);
            reader.run();
            self.has_pipe |= reader.has_pipe;
            self.commands.append(&mut reader.commands);
            if depth < DEPTH_MAX {
                pending.extend(reader.inner.into_iter().map(|range| (range, depth + 1)));
            }
            for at in first..self.commands.len() {
                if let Some(standing) = standing {
                    self.commands[at].words.iter_mut().for_each(|word| word.range = standing.clone());
                }
                if let Some(word) = script_of(&self.commands[at])
                    && depth < DEPTH_MAX
                {
                    // A pipe inside the inner shell is that shell's.
                    let has_pipe = self.has_pipe;
                    self.read(&word.text, Some(standing.unwrap_or(&word.range)), depth + 1);
                    self.has_pipe = has_pipe;
                }
            }
        }
    }
}

/// The text after `sh -c`.
fn script_of(command: &Command) -> Option<Word> {
    let command = command.unwrapped();
    if !SHELLS.contains(&command.name()) {
        return None;
    }
    let at = command.words.iter().position(|word| {
        word.text.strip_prefix('-').is_some_and(|flags| !flags.starts_with('-') && flags.ends_with('c'))
    })?;
    command.words.get(at + 1).cloned()
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    end: usize,
    word: String,
    word_start: Option<usize>,
    word_end: usize,
    /// The next word belongs to a redirection.
    is_redirected: bool,
    command: Command,
    commands: Vec<Command>,
    has_pipe: bool,
    /// Texts of commands inside words.
    inner: Vec<Range<usize>>,
    is_fed: bool,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str, range: Range<usize>) -> Self {
        Reader {
            text,
            at: range.start,
            end: range.end,
            word: String::new(),
            word_start: None,
            word_end: 0,
            is_redirected: false,
            command: Command::default(),
            commands: Vec::new(),
            has_pipe: false,
            inner: Vec::new(),
            is_fed: false,
        }
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..self.end].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn takes(&mut self, c: char) -> bool {
        let is_there = self.peek() == Some(c);
        if is_there {
            self.at += c.len_utf8();
        }
        is_there
    }

    fn begin_word(&mut self, at: usize) {
        self.word_start.get_or_insert(at);
    }

    fn run(&mut self) {
        while let Some(start) = Some(self.at).filter(|at| *at < self.end) {
            let Some(c) = self.next() else { break };
            match c {
                '\n' | ';' | '(' | ')' => self.end_command(),
                c if c.is_whitespace() => self.end_word(),
                '&' => {
                    if self.takes('>') {
                        self.end_word();
                        self.is_redirected = true;
                    } else {
                        self.takes('&');
                        self.end_command();
                    }
                }
                '|' => {
                    let is_or = self.takes('|');
                    if !is_or {
                        self.takes('&');
                    }
                    self.end_command();
                    if !is_or {
                        self.has_pipe = true;
                        self.is_fed = true;
                        if let Some(before) = self.commands.last_mut() {
                            before.feeds = true;
                        }
                    }
                }
                '<' | '>' => self.redirection(c),
                // A continued line; it neither begins nor ends a word.
                '\\' if self.peek() == Some('\n') => {
                    self.next();
                }
                '#' if self.word_start.is_none() => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.next();
                    }
                }
                c => {
                    self.begin_word(start);
                    self.part(c);
                    self.word_end = self.at;
                }
            }
        }
        self.end_command();
    }

    fn redirection(&mut self, c: char) {
        if self.peek() == Some('(') {
            self.begin_word(self.at - 1);
            self.next();
            self.substitution(')');
            self.word_end = self.at;
            return;
        }
        // The number before it is a descriptor.
        if self.word.bytes().all(|byte| byte.is_ascii_digit()) {
            self.word.clear();
            self.word_start = None;
        }
        self.end_word();
        while self.peek() == Some(c) || matches!(self.peek(), Some('&' | '|' | '-')) {
            self.next();
        }
        self.is_redirected = true;
    }

    /// A piece of a word that begins with `c`.
    fn part(&mut self, c: char) {
        match c {
            '\\' => match self.next() {
                Some('\n') | None => {}
                Some(c) => self.word.push(c),
            },
            '\'' => {
                while let Some(c) = self.next().filter(|c| *c != '\'') {
                    self.word.push(c);
                }
            }
            '"' => {
                while let Some(c) = self.next().filter(|c| *c != '"') {
                    match c {
                        '\\' => match self.next() {
                            Some(c @ ('"' | '\\' | '$' | '`')) => self.word.push(c),
                            Some('\n') | None => {}
                            Some(c) => self.word.extend(['\\', c]),
                        },
                        c => self.expansion(c),
                    }
                }
            }
            c => self.expansion(c),
        }
    }

    fn expansion(&mut self, c: char) {
        match c {
            '$' if self.peek() == Some('(') => {
                self.next();
                self.substitution(')');
            }
            '`' => self.substitution('`'),
            c => self.word.push(c),
        }
    }

    /// The text up to `close`, kept for a reading of its own.
    fn substitution(&mut self, close: char) {
        let start = self.at;
        let end = close_of(&self.text[..self.end], start, close);
        self.word.push_str("$(…)");
        self.command.substituted.push(self.text[start..end].to_owned());
        self.inner.push(start..end);
        self.at = (end + close.len_utf8()).min(self.end);
    }

    fn end_word(&mut self) {
        let Some(start) = self.word_start.take() else { return };
        let text = std::mem::take(&mut self.word);
        if !std::mem::take(&mut self.is_redirected) {
            self.command.words.push(Word { text, range: start..self.word_end });
        }
    }

    fn end_command(&mut self) {
        self.end_word();
        self.is_redirected = false;
        let mut command = std::mem::take(&mut self.command);
        let before = command.words.iter().take_while(|word| BEFORE.contains(&word.text.as_str())).count();
        command.words.drain(..before);
        command.take_environment();
        let is_command = command.words.first().is_some_and(|word| !ALONE.contains(&word.text.as_str()));
        if is_command {
            command.is_fed = std::mem::take(&mut self.is_fed);
            self.commands.push(command);
        }
    }
}

/// Where the text that begins at `start` is closed, or its end.
fn close_of(text: &str, start: usize, close: char) -> usize {
    let mut depth = 0usize;
    let mut quote = None;
    let mut chars = text[start..].char_indices();
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (Some('\''), c) if c != '\'' => {}
            (_, '\\') => {
                chars.next();
            }
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, c) if c == close && depth == 0 => return start + at,
            (None, '"' | '\'') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') => depth = depth.saturating_sub(1),
            (None, _) => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests;
