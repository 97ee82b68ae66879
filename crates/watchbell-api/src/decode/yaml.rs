//! YAML manifests, several documents a file, as kubectl reads them (see [`super::scalar`]).
//!
//! The parser only makes events; the values are built here, so that aliases are charged to a budget before they are copied
//! (an alias bomb is refused by its size, not by running out of memory) and duplicate keys are refused with their line.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};
use serde_json::{Map, Value};

use super::nodes::Nodes;
use super::scalar;
use crate::ApiError;

/// Nesting beyond this is no manifest.
const DEPTH_MAX: usize = 100;
/// How many nodes and bytes of text may come from anchors and aliases, over all documents.
const ALIAS_NODES_MAX: usize = 100_000;
const ALIAS_BYTES_MAX: usize = 8 << 20;

/// Reads all documents of a YAML stream; empty ones are left out. JSON is YAML too.
///
/// # Errors
/// `BadRequest`, with line and column: malformed, not UTF-8, nested too deep, a duplicate key, a key that is no scalar, an
/// alias that expands too far or to itself, a tag of a programming language, an integer beyond 64 bits.
pub fn yaml(bytes: &[u8]) -> Result<Vec<Value>, ApiError> {
    yaml_documents(bytes).map_err(|e| refuse(e.to_string()))
}

/// The same of no more values than are left, which it takes: those of all documents and of what aliases stand for count.
pub fn yaml_within(bytes: &[u8], nodes: &Nodes) -> Result<Vec<Value>, ApiError> {
    documents(bytes, nodes).map_err(|e| refuse(e.to_string()))
}

pub(super) fn yaml_documents(bytes: &[u8]) -> Result<Vec<Value>, YamlError> {
    documents(bytes, &Nodes::new(usize::MAX))
}

fn documents(bytes: &[u8], nodes: &Nodes) -> Result<Vec<Value>, YamlError> {
    let text = std::str::from_utf8(bytes).map_err(|e| YamlError::NotText(e.valid_up_to()))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    Builder::new(text, nodes).documents()
}

fn refuse(detail: String) -> ApiError {
    ApiError::bad_request(format!("cannot read the YAML document: {detail}"))
}

/// What is wrong and where.
#[derive(Debug, thiserror::Error)]
pub(super) enum YamlError {
    #[error("not UTF-8 at byte {0}")]
    NotText(usize),
    #[error("line {line}, column {column}: {detail}")]
    At { line: usize, column: usize, detail: String },
    #[error("the document ends in the middle of a value")]
    Truncated,
}

impl From<ScanError> for YamlError {
    fn from(error: ScanError) -> YamlError {
        let at = error.marker();
        YamlError::At { line: at.line(), column: at.col() + 1, detail: error.info().to_owned() }
    }
}

fn at(span: &Span, detail: impl Into<String>) -> YamlError {
    YamlError::At { line: span.start.line(), column: span.start.col() + 1, detail: detail.into() }
}

/// How much a node weighs in the budget of aliases.
#[derive(Debug, Clone, Copy, Default)]
struct Weight {
    nodes: usize,
    bytes: usize,
}

impl Weight {
    fn add(&mut self, other: Weight) {
        self.nodes = self.nodes.saturating_add(other.nodes);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

struct Builder<'a> {
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, (Value, Weight)>,
    spent: Weight,
    nodes: &'a Nodes,
}

impl<'a> Builder<'a> {
    fn new(text: &'a str, nodes: &'a Nodes) -> Builder<'a> {
        let parser = Parser::new_from_str(text);
        Builder { parser, anchors: HashMap::new(), spent: Weight::default(), nodes }
    }

    fn documents(mut self) -> Result<Vec<Value>, YamlError> {
        let mut documents = Vec::new();
        while let Some(event) = self.parser.next_event() {
            let (event, span) = event?;
            match event {
                Event::StreamStart | Event::DocumentEnd | Event::Nothing => {}
                Event::DocumentStart(_) => self.anchors.clear(),
                Event::StreamEnd => break,
                node => {
                    let (value, _) = self.node(node, &span, 0)?;
                    if !value.is_null() {
                        documents.push(value);
                    }
                }
            }
        }
        Ok(documents)
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), YamlError> {
        match self.parser.next_event() {
            Some(event) => Ok(event?),
            None => Err(YamlError::Truncated),
        }
    }

    fn node(&mut self, event: Event<'a>, span: &Span, depth: usize) -> Result<(Value, Weight), YamlError> {
        if depth > DEPTH_MAX {
            return Err(at(span, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        // What an alias stands for is counted by it.
        if !matches!(event, Event::Alias(_)) {
            self.nodes.take(1).map_err(|e| at(span, e.to_string()))?;
        }
        let (anchor, value, weight) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let weight = Weight { nodes: 1, bytes: text.len() };
                (anchor, scalar_value(&text, style, tag.as_deref(), span)?, weight)
            }
            Event::SequenceStart(anchor, tag) => {
                collection_tag(tag.as_deref(), "seq", span)?;
                let (items, weight) = self.sequence(depth)?;
                (anchor, Value::Array(items), weight)
            }
            Event::MappingStart(anchor, tag) => {
                collection_tag(tag.as_deref(), "map", span)?;
                let (map, weight) = self.mapping(depth)?;
                (anchor, Value::Object(map), weight)
            }
            Event::Alias(anchor) => return self.alias(anchor, span),
            _ => return Err(YamlError::Truncated),
        };
        if anchor > 0 {
            self.spend(weight, span)?;
            self.anchors.insert(anchor, (value.clone(), weight));
        }
        Ok((value, weight))
    }

    fn sequence(&mut self, depth: usize) -> Result<(Vec<Value>, Weight), YamlError> {
        let mut items = Vec::new();
        let mut weight = Weight { nodes: 1, bytes: 0 };
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok((items, weight));
            }
            let (item, more) = self.node(event, &span, depth + 1)?;
            weight.add(more);
            items.push(item);
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<(Map<String, Value>, Weight), YamlError> {
        let mut map = Map::new();
        let mut merged = Vec::new();
        let mut weight = Weight { nodes: 1, bytes: 0 };
        loop {
            let (event, key_span) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let is_merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<");
            let (key, more) = self.node(event, &key_span, depth + 1)?;
            weight.add(more);
            let (event, span) = self.next()?;
            let (value, more) = self.node(event, &span, depth + 1)?;
            weight.add(more);
            if is_merge {
                merge_sources(value, &span, &mut merged)?;
                continue;
            }
            let key = key_text(key, &key_span)?;
            if map.contains_key(&key) {
                return Err(at(&key_span, format!("duplicate key \"{key}\"")));
            }
            map.insert(key, value);
        }
        // What a mapping says itself wins over what it merges, and an earlier source over a later one.
        for (key, value) in merged.into_iter().flatten() {
            map.entry(key).or_insert(value);
        }
        Ok((map, weight))
    }

    fn alias(&mut self, anchor: usize, span: &Span) -> Result<(Value, Weight), YamlError> {
        let Some(weight) = self.anchors.get(&anchor).map(|(_, weight)| *weight) else {
            return Err(at(span, "the alias refers to a value that contains it"));
        };
        self.spend(weight, span)?;
        self.nodes.take(weight.nodes).map_err(|e| at(span, e.to_string()))?;
        Ok((self.anchors[&anchor].0.clone(), weight))
    }

    fn spend(&mut self, weight: Weight, span: &Span) -> Result<(), YamlError> {
        self.spent.add(weight);
        if self.spent.nodes > ALIAS_NODES_MAX || self.spent.bytes > ALIAS_BYTES_MAX {
            return Err(at(span, "the aliases expand to more than a manifest may hold"));
        }
        Ok(())
    }
}

fn merge_sources(value: Value, span: &Span, merged: &mut Vec<Map<String, Value>>) -> Result<(), YamlError> {
    match value {
        Value::Object(map) => merged.push(map),
        Value::Array(items) if items.iter().all(Value::is_object) => {
            merged.extend(items.into_iter().filter_map(|item| match item {
                Value::Object(map) => Some(map),
                _ => None,
            }));
        }
        _ => return Err(at(span, "a merge key (<<) takes a mapping or a list of mappings")),
    }
    Ok(())
}

/// Keys are strings in JSON; numbers and booleans are taken by their text, as kubectl does.
fn key_text(key: Value, span: &Span) -> Result<String, YamlError> {
    match key {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Null => Err(at(span, "a key is missing")),
        Value::Array(_) | Value::Object(_) => Err(at(span, "a key must be a scalar")),
    }
}

const CORE: &str = "tag:yaml.org,2002:";

fn collection_tag(tag: Option<&Tag>, expected: &str, span: &Span) -> Result<(), YamlError> {
    match tag {
        None => Ok(()),
        Some(tag) if tag.handle == CORE && tag.suffix == expected => Ok(()),
        Some(tag) if tag.handle == "!" && tag.suffix.is_empty() => Ok(()),
        Some(tag) => Err(at(span, format!("the tag {tag} is not supported"))),
    }
}

fn scalar_value(text: &str, style: ScalarStyle, tag: Option<&Tag>, span: &Span) -> Result<Value, YamlError> {
    let as_text = || Value::String(text.to_owned());
    let value = match tag {
        None if style == ScalarStyle::Plain => scalar::resolve(text),
        None => as_text(),
        Some(tag) if tag.handle == "!" && tag.suffix.is_empty() => as_text(),
        Some(tag) if tag.handle == CORE => {
            let typed = match tag.suffix.as_str() {
                "str" => Some(as_text()),
                "int" => scalar::integer(&text.replace('_', "")),
                "float" => scalar::float(&text.replace('_', "")),
                "bool" => Some(scalar::resolve(text)).filter(Value::is_boolean),
                "null" => Some(scalar::resolve(text)).filter(Value::is_null),
                suffix => return Err(at(span, format!("the tag !!{suffix} is not supported"))),
            };
            typed.ok_or_else(|| at(span, format!("the text does not fit its tag !!{}", tag.suffix)))?
        }
        Some(tag) => return Err(at(span, format!("the tag {tag} is not supported"))),
    };
    if value.as_f64().is_some_and(|number| number.abs() >= 9_223_372_036_854_775_808.0) {
        return Err(at(span, format!("the number {text} is out of the range of 64-bit integers")));
    }
    Ok(value)
}
