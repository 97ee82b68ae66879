//! Where the values of a YAML text stand in it, for messages about them.

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};
use serde_json::Value;

use super::scalar;
use super::yaml::{YamlError, yaml_documents};

/// A place in a text, counted from 1 in lines and characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: usize,
    pub column: usize,
    /// Just behind the last character that is meant, in the same line.
    pub end_column: usize,
}

/// What is wrong with a text, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misread {
    pub place: Place,
    pub detail: String,
}

/// The places of a document's values.
#[derive(Debug)]
pub struct Places {
    at: Place,
    inside: Inside,
}

#[derive(Debug)]
enum Inside {
    Nothing,
    /// The place is the key's.
    Fields(Vec<(String, Places)>),
    Items(Vec<Places>),
}

/// A step of a path.
enum Step<'a> {
    Name(&'a str),
    /// In brackets: an index, or a key of a map.
    Bracket(&'a str),
}

impl Places {
    /// Where `spec.containers[0].image` or `metadata.labels[a.b/c]` stands; what is not there is where its nearest ancestor
    /// is.
    pub fn find(&self, path: &str) -> Place {
        let mut here = self;
        for step in steps(path) {
            let next = match (&here.inside, step) {
                (Inside::Fields(fields), Step::Name(name) | Step::Bracket(name)) => {
                    fields.iter().find(|(key, _)| key == name).map(|(_, places)| places)
                }
                (Inside::Items(items), Step::Bracket(index)) => {
                    index.parse().ok().and_then(|index: usize| items.get(index))
                }
                _ => None,
            };
            match next {
                Some(next) => here = next,
                None => break,
            }
        }
        here.at
    }

    /// The places of one of its values; those of the whole when there is none.
    pub fn of(&self, field: &str, index: usize) -> &Places {
        let Inside::Fields(fields) = &self.inside else { return self };
        match fields.iter().find(|(key, _)| key == field).map(|(_, places)| &places.inside) {
            Some(Inside::Items(items)) => items.get(index).unwrap_or(self),
            _ => self,
        }
    }
}

fn steps(path: &str) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            let end = inside.find(']').unwrap_or(inside.len());
            steps.push(Step::Bracket(&inside[..end]));
            rest = inside.get(end + 1..).unwrap_or_default();
        } else {
            let text = rest.strip_prefix('.').unwrap_or(rest);
            let end = text.find(['.', '[']).unwrap_or(text.len());
            steps.push(Step::Name(&text[..end]));
            rest = &text[end..];
        }
    }
    steps
}

/// Reads a YAML stream as [`super::yaml()`] does, with the places of what is in it.
///
/// # Errors
/// As there.
pub fn yaml_with_places(bytes: &[u8]) -> Result<Vec<(Value, Places)>, Misread> {
    let values = yaml_documents(bytes).map_err(|error| match error {
        YamlError::At { line, column, detail } => {
            Misread { place: Place { line, column, end_column: column + 1 }, detail }
        }
        error => {
            let line = bytes.split(|b| *b == b'\n').count();
            Misread { place: Place { line, column: 1, end_column: 2 }, detail: error.to_string() }
        }
    })?;
    // It was read, so it is text, and bounded in depth.
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut reader = Reader { parser: Parser::new_from_str(text) };
    Ok(values.into_iter().zip(reader.documents()).collect())
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<(Event<'a>, Span)> {
        self.parser.next_event()?.ok()
    }

    fn documents(&mut self) -> Vec<Places> {
        let mut documents = Vec::new();
        while let Some((event, span)) = self.next() {
            match event {
                Event::StreamStart | Event::DocumentEnd | Event::Nothing | Event::DocumentStart(_) => {}
                Event::StreamEnd => break,
                // Empty documents are left out of the values too.
                Event::Scalar(text, ScalarStyle::Plain, _, None) if scalar::resolve(&text).is_null() => {}
                node => documents.push(self.node(&node, place(&span))),
            }
        }
        documents
    }

    /// `at`: of its key, or its own.
    fn node(&mut self, event: &Event<'a>, at: Place) -> Places {
        let inside = match event {
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                while let Some((event, span)) = self.next()
                    && event != Event::SequenceEnd
                {
                    items.push(self.node(&event, place(&span)));
                }
                Inside::Items(items)
            }
            Event::MappingStart(..) => {
                let mut fields = Vec::new();
                while let Some((event, span)) = self.next()
                    && event != Event::MappingEnd
                {
                    let key = match &event {
                        Event::Scalar(text, ..) => text.to_string(),
                        _ => String::new(),
                    };
                    let key_place = self.node(&event, place(&span)).at;
                    let Some((event, _)) = self.next() else { break };
                    fields.push((key, self.node(&event, key_place)));
                }
                Inside::Fields(fields)
            }
            _ => Inside::Nothing,
        };
        Places { at, inside }
    }
}

fn place(span: &Span) -> Place {
    let (line, column) = (span.start.line(), span.start.col() + 1);
    let end_column = if span.end.line() == line { span.end.col() + 1 } else { column };
    Place { line, column, end_column: end_column.max(column + 1) }
}

#[cfg(test)]
mod tests {
    use super::{Place, yaml_with_places};

    const TEXT: &str = "# a remark
---
kind: Job
metadata:
  labels: {a.b/c: d}
spec:
  list:
  - one
  - name: two
    more: [x, {deep: 1}]
---
{\"kind\": \"Other\",
 \"items\": [{\"a\": 1}]}
";

    #[test]
    fn values_are_found_by_their_paths() {
        let documents = yaml_with_places(TEXT.as_bytes()).expect("fine YAML");
        assert_eq!(documents.len(), 2);
        let check = |document: usize, path: &str, line, column| {
            let Place { line: found, column: at, .. } = documents[document].1.find(path);
            assert_eq!((found, at), (line, column), "{path}");
        };
        check(0, "kind", 3, 1);
        check(0, "metadata.labels[a.b/c]", 5, 12);
        check(0, "metadata.labels[other]", 5, 3);
        check(0, "spec.list[0]", 8, 5);
        check(0, "spec.list[1].name", 9, 5);
        check(0, "spec.list[1].more[1].deep", 10, 16);
        check(0, "spec.list[1].more[1].deeper", 10, 15);
        check(0, "spec.list[7].name", 7, 3);
        check(0, "status", 3, 1);
        check(1, "kind", 12, 2);
        check(1, "items[0].a", 13, 13);
        assert_eq!(documents[0].1.find("metadata").end_column, 9);
        assert_eq!(documents[1].1.of("items", 0).find("a"), documents[1].1.find("items[0].a"));
    }

    #[test]
    fn what_cannot_be_read_has_its_place() {
        let check = |text: &str, line, column, words: &str| {
            let misread = yaml_with_places(text.as_bytes()).expect_err("broken");
            assert_eq!((misread.place.line, misread.place.column), (line, column), "{misread:?}");
            assert!(misread.detail.contains(words), "{misread:?}");
        };
        check("a: b: c", 1, 5, "mapping values are not allowed");
        check("a: 1\nb: 2\na: 3\n", 3, 1, "duplicate key \"a\"");
        assert!(yaml_with_places(b"a: \xff").is_err());
        assert!(yaml_with_places(b"# nothing\n---\n").expect("fine").is_empty());
    }

    #[test]
    fn odd_paths_lead_nowhere_and_break_nothing() {
        let documents = yaml_with_places(b"a: {b: [1]}").expect("fine YAML");
        for path in
            ["", ".", "[", "a[", "a.b[", "a.b[0", "]", "a..b", "a.b[99999999999999999999]", "a.b[-1]", "ä[ö]"]
        {
            let _ = documents[0].1.find(path);
        }
        assert_eq!(documents[0].1.find("a.b[0]").column, 9);
    }
}
