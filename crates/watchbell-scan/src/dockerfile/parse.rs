//! The text as instructions: parser directives, continued lines, comments, here-documents, flags and the JSON form.

use std::ops::Range;

/// Where something stands: lines and columns count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: u32,
    pub column: u32,
    /// One past its last character.
    pub end_column: u32,
}

/// The instructions of the Dockerfile reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Keyword {
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Label,
    Maintainer,
    Onbuild,
    Run,
    Shell,
    Stopsignal,
    User,
    Volume,
    Workdir,
}

const KEYWORDS: [(&str, Keyword); 18] = [
    ("ADD", Keyword::Add),
    ("ARG", Keyword::Arg),
    ("CMD", Keyword::Cmd),
    ("COPY", Keyword::Copy),
    ("ENTRYPOINT", Keyword::Entrypoint),
    ("ENV", Keyword::Env),
    ("EXPOSE", Keyword::Expose),
    ("FROM", Keyword::From),
    ("HEALTHCHECK", Keyword::Healthcheck),
    ("LABEL", Keyword::Label),
    ("MAINTAINER", Keyword::Maintainer),
    ("ONBUILD", Keyword::Onbuild),
    ("RUN", Keyword::Run),
    ("SHELL", Keyword::Shell),
    ("STOPSIGNAL", Keyword::Stopsignal),
    ("USER", Keyword::User),
    ("VOLUME", Keyword::Volume),
    ("WORKDIR", Keyword::Workdir),
];

impl Keyword {
    fn parse(word: &str) -> Option<Keyword> {
        KEYWORDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, keyword)| *keyword)
    }

    pub fn as_str(self) -> &'static str {
        KEYWORDS.iter().find(|(_, keyword)| *keyword == self).map_or("", |(name, _)| name)
    }

    fn takes_flags(self) -> bool {
        matches!(self, Keyword::Add | Keyword::Copy | Keyword::From | Keyword::Healthcheck | Keyword::Run)
    }

    fn takes_heredocs(self) -> bool {
        matches!(self, Keyword::Add | Keyword::Copy | Keyword::Run)
    }

    fn takes_json(self) -> bool {
        matches!(
            self,
            Keyword::Add
                | Keyword::Cmd
                | Keyword::Copy
                | Keyword::Entrypoint
                | Keyword::Run
                | Keyword::Shell
                | Keyword::Volume
        )
    }
}

/// `--name=value`; the value is empty for a bare `--name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    pub name: String,
    pub value: String,
}

/// What stands between `<<NAME` and the line `NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    pub name: String,
    pub body: String,
    /// The line of the body's first character.
    pub line: u32,
}

/// One instruction. That of an `ONBUILD` is its own entry with `is_onbuild` set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    pub keyword: Keyword,
    pub is_onbuild: bool,
    /// Of its keyword.
    pub place: Place,
    pub last_line: u32,
    pub flags: Vec<Flag>,
    /// What follows keyword and flags, its lines joined as Docker joins them.
    pub text: String,
    /// The JSON form, where the text is an array of strings.
    pub json: Option<Vec<String>>,
    pub heredocs: Vec<Heredoc>,
    /// Rules that the comments above it ask not to be applied to it.
    pub ignored_rules: Vec<String>,
    /// From which offset in `text` on what line and column is meant.
    pieces: Vec<Piece>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    offset: usize,
    line: u32,
    column: u32,
}

impl Instruction {
    pub fn flag(&self, name: &str) -> Option<&str> {
        self.flags.iter().find(|flag| flag.name == name).map(|flag| flag.value.as_str())
    }

    /// Where a piece of `text` stands in the file. What lies over several lines ends with its first.
    pub fn place_of(&self, range: Range<usize>) -> Place {
        let Some(piece) = self.pieces.iter().rev().find(|piece| piece.offset <= range.start) else {
            return self.place;
        };
        let count = |range: Range<usize>| {
            self.text.get(range).map_or(0, |text| u32::try_from(text.chars().count()).unwrap_or(u32::MAX))
        };
        let end = self
            .pieces
            .iter()
            .map(|next| next.offset)
            .find(|offset| *offset > range.start)
            .map_or(range.end, |offset| offset.min(range.end));
        let column = piece.column.saturating_add(count(piece.offset..range.start));
        let width = count(range.start..end).max(1);
        Place { line: piece.line, column, end_column: column.saturating_add(width) }
    }

    /// The words of `text`, split at white space, quotes taken off; each with its range in `text`.
    pub fn words(&self) -> Vec<(String, Range<usize>)> {
        words(&self.text)
    }
}

/// Something that BuildKit would refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub place: Place,
    pub message: String,
}

/// A Dockerfile as it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dockerfile {
    pub instructions: Vec<Instruction>,
    pub faults: Vec<Fault>,
    /// Rules that a comment asks not to be applied to the whole file.
    pub ignored_rules: Vec<String>,
}

/// A line of the file that is part of an instruction.
struct Joined {
    text: String,
    pieces: Vec<Piece>,
    last_line: u32,
}

struct Lines<'a> {
    lines: Vec<&'a str>,
    next: usize,
}

impl<'a> Lines<'a> {
    fn take(&mut self) -> Option<(u32, &'a str)> {
        let line = *self.lines.get(self.next)?;
        self.next += 1;
        Some((self.number(), line))
    }

    /// Of the line taken last.
    fn number(&self) -> u32 {
        u32::try_from(self.next).unwrap_or(u32::MAX)
    }
}

impl Dockerfile {
    /// Reads any text. What cannot be an instruction is a fault, and the rest is read all the same. Work and memory are
    /// proportional to the text.
    pub fn parse(text: &str) -> Dockerfile {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut lines = Lines { lines: text.lines().collect(), next: 0 };
        let escape = directives(&lines.lines);
        let mut file = Dockerfile::default();
        let mut ignored = Vec::new();
        while let Some((number, line)) = lines.take() {
            let trimmed = line.trim_start();
            if trimmed.is_empty() {
                continue;
            }
            if let Some(comment) = trimmed.strip_prefix('#') {
                match pragma(comment) {
                    Some(Pragma::Next(rules)) => ignored = rules,
                    Some(Pragma::File(rules)) => file.ignored_rules.extend(rules),
                    None => {}
                }
                continue;
            }
            let joined = join(line, number, escape, &mut lines);
            file.take(joined, std::mem::take(&mut ignored), &mut lines);
        }
        file
    }

    fn take(&mut self, joined: Joined, ignored: Vec<String>, lines: &mut Lines<'_>) {
        let mut rest = 0;
        let mut is_onbuild = false;
        loop {
            let (word, range) = first_word(&joined.text, rest);
            let place = place_in(&joined, range.clone());
            let Some(keyword) = Keyword::parse(word) else {
                let message = match word {
                    "" => "ONBUILD has no instruction".to_owned(),
                    word => format!("{:?} is no instruction", excerpt(word)),
                };
                self.faults.push(Fault { place, message });
                return;
            };
            rest = range.end;
            if keyword == Keyword::Onbuild && !is_onbuild {
                is_onbuild = true;
                continue;
            }
            let mut instruction = Instruction {
                keyword,
                is_onbuild,
                place,
                last_line: joined.last_line,
                flags: Vec::new(),
                text: String::new(),
                json: None,
                heredocs: Vec::new(),
                ignored_rules: ignored,
                pieces: Vec::new(),
            };
            if keyword.takes_flags() {
                rest = flags(&joined.text, rest, &mut instruction.flags);
            }
            let start = rest + (joined.text[rest..].len() - joined.text[rest..].trim_start().len());
            instruction.text = joined.text[start..].trim_end().to_owned();
            instruction.pieces = pieces_from(&joined, start);
            if keyword.takes_heredocs() {
                self.take_heredocs(&mut instruction, lines);
            }
            if keyword.takes_json() && instruction.text.starts_with('[') {
                instruction.json = serde_json::from_str(&instruction.text).ok();
            }
            if instruction.text.is_empty() {
                let message = format!("{} says nothing", keyword.as_str());
                self.faults.push(Fault { place, message });
            }
            self.instructions.push(instruction);
            return;
        }
    }

    fn take_heredocs(&mut self, instruction: &mut Instruction, lines: &mut Lines<'_>) {
        for Start { name, is_indented } in heredoc_starts(&instruction.text) {
            let mut body = String::new();
            let first_line = lines.number().saturating_add(1);
            let mut is_closed = false;
            while let Some((number, line)) = lines.take() {
                instruction.last_line = number;
                let line = if is_indented { line.trim_start_matches('\t') } else { line };
                if line == name {
                    is_closed = true;
                    break;
                }
                body.push_str(line);
                body.push('\n');
            }
            if !is_closed {
                let message = format!("the here-document {:?} is not closed", excerpt(&name));
                self.faults.push(Fault { place: instruction.place, message });
            }
            instruction.heredocs.push(Heredoc { name, body, line: first_line });
        }
    }
}

/// The escape character: directives stand before everything else, comments too.
fn directives(lines: &[&str]) -> char {
    for line in lines {
        let Some((name, value)) = line.trim().strip_prefix('#').and_then(|rest| rest.split_once('=')) else {
            break;
        };
        let name = name.trim();
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) || name.is_empty() {
            break;
        }
        if name.eq_ignore_ascii_case("escape") {
            return if value.trim() == "`" { '`' } else { '\\' };
        }
    }
    '\\'
}

enum Pragma {
    Next(Vec<String>),
    File(Vec<String>),
}

/// `# hadolint ignore=DL3006,DL3008` for the next instruction, `# hadolint global ignore=…` for the file.
fn pragma(comment: &str) -> Option<Pragma> {
    let rest = comment.trim_start().strip_prefix("hadolint")?.trim_start();
    let (is_global, rest) = match rest.strip_prefix("global") {
        Some(rest) => (true, rest.trim_start()),
        None => (false, rest),
    };
    let list = rest.strip_prefix("ignore")?.trim_start().strip_prefix('=')?;
    let list = list.split('#').next().unwrap_or_default();
    let rules = list.split(',').map(|rule| rule.trim().to_owned()).filter(|rule| !rule.is_empty()).collect();
    Some(if is_global { Pragma::File(rules) } else { Pragma::Next(rules) })
}

/// Puts a line and those that continue it into one.
fn join(first: &str, number: u32, escape: char, lines: &mut Lines<'_>) -> Joined {
    let mut joined = Joined { text: String::new(), pieces: Vec::new(), last_line: number };
    let mut current = Some((number, first));
    while let Some((number, line)) = current {
        joined.last_line = number;
        joined.pieces.push(Piece { offset: joined.text.len(), line: number, column: 1 });
        let Some(kept) = line.trim_end().strip_suffix(escape) else {
            joined.text.push_str(line);
            break;
        };
        joined.text.push_str(kept);
        // Comments and empty lines in between are passed over.
        current = loop {
            match lines.take() {
                Some((_, line)) if line.trim().is_empty() || line.trim_start().starts_with('#') => {}
                other => break other,
            }
        };
    }
    joined
}

fn first_word(text: &str, from: usize) -> (&str, Range<usize>) {
    let rest = &text[from..];
    let start = from + (rest.len() - rest.trim_start().len());
    let end = text[start..].find(char::is_whitespace).map_or(text.len(), |at| start + at);
    (&text[start..end], start..end)
}

fn place_in(joined: &Joined, range: Range<usize>) -> Place {
    let found = joined.pieces.iter().rev().find(|piece| piece.offset <= range.start);
    let piece = found.copied().unwrap_or(Piece { offset: 0, line: 1, column: 1 });
    let count = |range: Range<usize>| u32::try_from(joined.text[range].chars().count()).unwrap_or(u32::MAX);
    let column = piece.column.saturating_add(count(piece.offset..range.start));
    Place { line: piece.line, column, end_column: column.saturating_add(count(range).max(1)) }
}

/// The pieces of the text from `start` on, by offsets from there.
fn pieces_from(joined: &Joined, start: usize) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for piece in &joined.pieces {
        if piece.offset > start {
            pieces.push(Piece { offset: piece.offset - start, ..*piece });
        } else {
            let skipped = joined.text[piece.offset..start].chars().count();
            let column = piece.column.saturating_add(u32::try_from(skipped).unwrap_or(u32::MAX));
            pieces = vec![Piece { offset: 0, line: piece.line, column }];
        }
    }
    pieces
}

/// Takes `--name=value` words from `from` on; returns where they end.
fn flags(text: &str, from: usize, found: &mut Vec<Flag>) -> usize {
    let mut at = from;
    loop {
        let (word, range) = first_word(text, at);
        let Some(flag) = word.strip_prefix("--").filter(|flag| !flag.is_empty()) else { return at };
        // A quoted value may hold white space: `--mount=type=secret,"id=a b"`.
        let end = words(&text[range.start..]).first().map_or(range.end, |(_, first)| range.start + first.end);
        let flag = if end == range.end { flag } else { &text[range.start + 2..end] };
        let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
        found.push(Flag { name: name.to_owned(), value: value.replace(['"', '\''], "") });
        at = end;
    }
}

struct Start {
    name: String,
    is_indented: bool,
}

/// `<<NAME`, `<<-NAME`, `<<"NAME"`: where a word begins with them, or after a file descriptor's number.
fn heredoc_starts(text: &str) -> Vec<Start> {
    let mut starts = Vec::new();
    for word in text.split_whitespace() {
        let Some(rest) = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<") else {
            continue;
        };
        let (is_indented, rest) = match rest.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        // BuildKit takes the whole word, with its quotes off; a name may be followed by an operator of the shell.
        let bare = match rest.chars().next() {
            Some(quote @ ('"' | '\'')) => rest[1..].split(quote).next().unwrap_or_default(),
            _ => rest.split([';', '|', '&', '>', '<', ')']).next().unwrap_or_default(),
        };
        let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        if !bare.is_empty() && bare.chars().all(is_name) {
            starts.push(Start { name: bare.to_owned(), is_indented });
        }
    }
    starts
}

/// Splits at white space outside quotes, and takes the quotes off.
pub(super) fn words(text: &str) -> Vec<(String, Range<usize>)> {
    let mut found = Vec::new();
    let mut word = String::new();
    let mut start = None;
    let mut quote = None;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (None, c) if c.is_whitespace() => {
                if let Some(start) = start.take() {
                    found.push((std::mem::take(&mut word), start..at));
                }
                continue;
            }
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            (None | Some('"'), '\\') => match chars.next() {
                Some((_, next)) => word.push(next),
                None => word.push('\\'),
            },
            (_, c) => word.push(c),
        }
        start = start.or(Some(at));
    }
    if let Some(start) = start {
        found.push((word, start..text.len()));
    }
    found
}

/// What an error message shows of foreign text.
fn excerpt(text: &str) -> String {
    const CHARACTERS_MAX: usize = 40;
    let mut shown: String = text.chars().take(CHARACTERS_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests;
