//! From words to a tree, by precedence climbing. Macros are read here, so that the tree has no call of that name.

use crate::error::{CompileError, Issue};
use crate::lexer::{self, Spanned, Token, invalid_number};
use crate::tree::{Fold, Id, Kind, Macro, Node, OptNesting, Optional, Presence, Tree};
use crate::value::Value;

/// Characters of an expression. Source: cel-go's default.
pub const EXPRESSION_LENGTH_MAX: usize = 100_000;

/// How deep a tree may be. cel-go's bound of its reader is the same.
pub const NESTING_MAX: usize = 250;

/// How deep brackets may lie in each other: each level is several calls of the reader.
const BRACKETS_MAX: usize = 100;

const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "namespace",
    "package",
    "return",
    "var",
    "void",
    "while",
];

/// Whether a text can name a variable in an expression.
pub fn is_identifier(text: &str) -> bool {
    let mut bytes = text.bytes();
    let fits = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_');
    fits && !RESERVED.contains(&text) && !matches!(text, "true" | "false" | "null" | "in")
}

pub(crate) fn parse(text: &str) -> Result<Tree, CompileError> {
    let fail = |issue: Issue| CompileError { issues: vec![issue], text: text.into() };
    let length = text.chars().count();
    if length > EXPRESSION_LENGTH_MAX {
        let message = format!(
            "expression code point size exceeds limit: size: {length}, limit {EXPRESSION_LENGTH_MAX}"
        );
        return Err(CompileError { issues: vec![Issue { offset: 0, message }], text: "".into() });
    }
    let words = lexer::words(text).map_err(fail)?;
    let mut parser = Parser { words, at: 0, nodes: Vec::new(), heights: Vec::new(), depth: 0 };
    let root = parser.expression().and_then(|root| match parser.peek() {
        Token::End => Ok(root),
        _ => Err(parser.mismatched("<EOF>")),
    });
    let root = root.map_err(fail)?;
    Ok(Tree { nodes: parser.nodes, root })
}

struct Parser {
    words: Vec<Spanned>,
    at: usize,
    nodes: Vec<Node>,
    /// Of each node: how deep the tree under it is.
    heights: Vec<u16>,
    depth: usize,
}

type Parsed<T = Id> = Result<T, Issue>;

/// Higher binds closer.
fn precedence(sign: &str) -> Option<(u8, &'static str)> {
    Some(match sign {
        "||" => (1, "_||_"),
        "&&" => (2, "_&&_"),
        "==" => (3, "_==_"),
        "!=" => (3, "_!=_"),
        "<" => (3, "_<_"),
        "<=" => (3, "_<=_"),
        ">" => (3, "_>_"),
        ">=" => (3, "_>=_"),
        "in" => (3, "@in"),
        "+" => (4, "_+_"),
        "-" => (4, "_-_"),
        "*" => (5, "_*_"),
        "/" => (5, "_/_"),
        "%" => (5, "_%_"),
        _ => return None,
    })
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.words[self.at].token
    }

    fn start(&self) -> usize {
        self.words[self.at].start
    }

    /// Takes the word; gives where it begins.
    fn advance(&mut self) -> usize {
        let start = self.start();
        if self.at + 1 < self.words.len() {
            self.at += 1;
        }
        start
    }

    fn is_sign(&self, sign: &str) -> bool {
        matches!(self.peek(), Token::Sign(found) if *found == sign)
    }

    fn take(&mut self, sign: &str) -> Option<usize> {
        self.is_sign(sign).then(|| self.advance())
    }

    fn expect(&mut self, sign: &str) -> Parsed<usize> {
        self.take(sign).ok_or_else(|| self.mismatched(&format!("'{sign}'")))
    }

    fn mismatched(&self, expected: &str) -> Issue {
        let found = self.shown();
        Issue {
            offset: self.start(),
            message: format!("Syntax error: mismatched input '{found}' expecting {expected}"),
        }
    }

    fn shown(&self) -> String {
        match self.peek() {
            Token::Ident(name) => name.to_string(),
            Token::Quoted(name) => format!("`{name}`"),
            Token::Int(n) | Token::UInt(n) => n.to_string(),
            Token::Double(n) => n.to_string(),
            Token::String(text) => format!("\"{text}\""),
            Token::Bytes(_) => "b\"…\"".into(),
            Token::Sign(sign) => (*sign).into(),
            Token::End => "<EOF>".into(),
        }
    }

    fn node(&mut self, offset: usize, kind: Kind) -> Parsed {
        let mut height = 0;
        children(&kind, &mut |child| height = height.max(self.heights[child as usize] + 1));
        if usize::from(height) > NESTING_MAX {
            return Err(too_deep());
        }
        let id = self.nodes.len() as Id;
        self.nodes.push(Node { offset: offset as u32, kind });
        self.heights.push(height);
        Ok(id)
    }

    fn expression(&mut self) -> Parsed {
        if self.depth >= BRACKETS_MAX {
            return Err(too_deep());
        }
        self.depth += 1;
        let test = self.binary(1)?;
        let id = match self.take("?") {
            None => test,
            Some(offset) => {
                let then = self.binary(1)?;
                self.expect(":")?;
                let otherwise = self.expression()?;
                self.node(offset, Kind::Conditional { test, then, otherwise })?
            }
        };
        self.depth -= 1;
        Ok(id)
    }

    fn operator(&self) -> Option<(u8, &'static str)> {
        match self.peek() {
            Token::Sign(sign) => precedence(sign),
            Token::Ident(word) if &**word == "in" => precedence("in"),
            _ => None,
        }
    }

    fn binary(&mut self, least: u8) -> Parsed {
        let mut left = self.unary()?;
        while let Some((level, function)) = self.operator().filter(|(level, _)| *level >= least) {
            let offset = self.advance();
            let right = self.binary(level + 1)?;
            left = match level {
                1 | 2 => self.chain(offset, level, left, right)?,
                _ => self.node(
                    offset,
                    Kind::Call { function: function.into(), target: None, args: vec![left, right] },
                )?,
            };
        }
        Ok(left)
    }

    /// A chain of `&&` or `||` is one flat node, however long.
    fn chain(&mut self, offset: usize, level: u8, left: Id, right: Id) -> Parsed {
        let height = self.heights[right as usize] + 1;
        let node = &mut self.nodes[left as usize];
        match (&mut node.kind, level) {
            // One that stood in brackets means the same without them.
            (Kind::Or(list), 1) | (Kind::And(list), 2) => {
                list.push(right);
                let known = &mut self.heights[left as usize];
                *known = (*known).max(height);
                match usize::from(*known) > NESTING_MAX {
                    true => Err(too_deep()),
                    false => Ok(left),
                }
            }
            _ => self.node(
                offset,
                if level == 1 { Kind::Or(vec![left, right]) } else { Kind::And(vec![left, right]) },
            ),
        }
    }

    fn unary(&mut self) -> Parsed {
        for (sign, is_not) in [("!", true), ("-", false)] {
            if !self.is_sign(sign) {
                continue;
            }
            let offset = self.start();
            let mut count = 0;
            while self.take(sign).is_some() {
                count += 1;
            }
            if !is_not && count == 1 {
                let number = self.peek().clone();
                if let Token::Int(_) | Token::Double(_) = number {
                    let literal = self.negative(offset, &number)?;
                    return self.member(literal);
                }
            }
            let operand = self.primary()?;
            let operand = self.member(operand)?;
            // As the grammar has it, an even number of signs cancels out.
            return match (count % 2, is_not) {
                (0, _) => Ok(operand),
                (_, true) => self.node(offset, Kind::Not(operand)),
                (_, false) => {
                    self.node(offset, Kind::Call { function: "-_".into(), target: None, args: vec![operand] })
                }
            };
        }
        let primary = self.primary()?;
        self.member(primary)
    }

    fn negative(&mut self, offset: usize, number: &Token) -> Parsed {
        self.advance();
        let value = match number {
            Token::Double(value) => Value::Double(-value),
            Token::Int(value) => {
                Value::Int(0i64.checked_sub_unsigned(*value).ok_or_else(|| invalid_number(offset, "int"))?)
            }
            _ => return Err(invalid_number(offset, "int")),
        };
        self.node(offset, Kind::Literal(value))
    }

    fn member(&mut self, mut left: Id) -> Parsed {
        loop {
            if let Some(dot) = self.take(".") {
                let is_optional = self.take("?").is_some();
                let (name, may_call) = match self.peek().clone() {
                    Token::Ident(name) => (name, true),
                    Token::Quoted(name) => (name, false),
                    _ => return Err(self.mismatched("IDENTIFIER")),
                };
                self.advance();
                if is_optional {
                    left = self.node(dot, Kind::OptSelect { operand: left, field: name })?;
                } else if may_call && self.is_sign("(") {
                    let open = self.advance();
                    let args = self.arguments(")")?;
                    left = self.call(open, &name, Some(left), args)?;
                } else {
                    let kind = Kind::Select { operand: left, field: name, presence: Presence::Value };
                    left = self.node(dot, kind)?;
                }
            } else if let Some(open) = self.take("[") {
                let function = if self.take("?").is_some() { "_[?_]" } else { "_[_]" };
                let index = self.expression()?;
                self.expect("]")?;
                left = self.node(
                    open,
                    Kind::Call { function: function.into(), target: None, args: vec![left, index] },
                )?;
            } else if self.is_sign("{") && self.qualified(left).is_some() {
                let name = self.qualified(left).unwrap_or_default();
                let open = self.advance();
                self.skip_fields()?;
                left = self.node(open, Kind::Message { name: name.into() })?;
            } else {
                return Ok(left);
            }
        }
    }

    /// The fields of a message, read and forgotten: the name alone is refused.
    fn skip_fields(&mut self) -> Parsed<()> {
        while !self.is_sign("}") {
            self.take("?");
            match self.peek() {
                Token::Ident(_) | Token::Quoted(_) => self.advance(),
                _ => return Err(self.mismatched("IDENTIFIER")),
            };
            self.expect(":")?;
            self.expression()?;
            if self.take(",").is_none() {
                break;
            }
        }
        self.expect("}").map(drop)
    }

    fn qualified(&self, id: Id) -> Option<String> {
        match &self.nodes[id as usize].kind {
            Kind::Ident(name) => Some(name.to_string()),
            Kind::Select { operand, field, presence: Presence::Value } => {
                Some(format!("{}.{field}", self.qualified(*operand)?))
            }
            _ => None,
        }
    }

    fn primary(&mut self) -> Parsed {
        let offset = self.start();
        let literal = |value: Value<'static>| Kind::Literal(value);
        let kind = match self.peek().clone() {
            Token::Int(value) => {
                literal(Value::Int(i64::try_from(value).map_err(|_| invalid_number(offset, "int"))?))
            }
            Token::UInt(value) => literal(Value::UInt(value)),
            Token::Double(value) => literal(Value::Double(value)),
            Token::String(text) => literal(Value::from(text)),
            Token::Bytes(bytes) => literal(Value::Bytes(bytes)),
            Token::Ident(word) => return self.name(offset, &word),
            Token::Sign(".") => {
                self.advance();
                let at = self.start();
                let Token::Ident(word) = self.peek().clone() else {
                    return Err(self.mismatched("IDENTIFIER"));
                };
                return self.name(at, &word);
            }
            Token::Sign("(") => {
                self.advance();
                let inner = self.expression()?;
                self.expect(")")?;
                return Ok(inner);
            }
            Token::Sign("[") => return self.list(offset),
            Token::Sign("{") => return self.map(offset),
            Token::Quoted(_) | Token::Sign(_) | Token::End => {
                let found = self.shown();
                let message = format!(
                    "Syntax error: mismatched input '{found}' expecting {{'[', '{{', '(', '.', '-', '!', 'true', 'false', \
                     'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}}"
                );
                return Err(Issue { offset, message });
            }
        };
        self.advance();
        self.node(offset, kind)
    }

    fn name(&mut self, offset: usize, word: &str) -> Parsed {
        let literal = match word {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            "null" => Some(Value::Null),
            "in" => return Err(self.mismatched("IDENTIFIER")),
            _ => None,
        };
        self.advance();
        if let Some(value) = literal {
            return self.node(offset, Kind::Literal(value));
        }
        if RESERVED.contains(&word) {
            return Err(Issue { offset, message: format!("reserved identifier: {word}") });
        }
        match self.take("(") {
            None => self.node(offset, Kind::Ident(word.into())),
            Some(open) => {
                let args = self.arguments(")")?;
                self.call(open, word, None, args)
            }
        }
    }

    fn arguments(&mut self, close: &str) -> Parsed<Vec<Id>> {
        let mut args = Vec::new();
        while !self.is_sign(close) {
            args.push(self.expression()?);
            if self.take(",").is_none() {
                break;
            }
        }
        self.expect(close)?;
        Ok(args)
    }

    fn list(&mut self, offset: usize) -> Parsed {
        self.advance();
        let mut elements = Vec::new();
        while !self.is_sign("]") {
            let optional = if self.take("?").is_some() { Optional::Yes } else { Optional::No };
            elements.push((self.expression()?, optional));
            if self.take(",").is_none() {
                break;
            }
        }
        self.expect("]")?;
        self.node(offset, Kind::List(elements))
    }

    fn map(&mut self, offset: usize) -> Parsed {
        self.advance();
        let mut entries = Vec::new();
        while !self.is_sign("}") {
            let optional = if self.take("?").is_some() { Optional::Yes } else { Optional::No };
            let key = self.expression()?;
            self.expect(":")?;
            entries.push((key, self.expression()?, optional));
            if self.take(",").is_none() {
                break;
            }
        }
        self.expect("}")?;
        self.node(offset, Kind::Map(entries))
    }

    /// A call, or the macro of that name and number of arguments. `open` is where its bracket opens.
    fn call(&mut self, open: usize, name: &str, target: Option<Id>, args: Vec<Id>) -> Parsed {
        let kind = match (name, target, args.as_slice()) {
            ("has", None, &[field]) => return self.has(open, field),
            (
                "all" | "exists" | "exists_one" | "existsOne" | "map" | "filter",
                Some(range),
                &[first, body],
            ) => self.fold(name, range, first, None, None, body)?,
            ("map", Some(range), &[first, filter, body]) => {
                self.fold(name, range, first, None, Some(filter), body)?
            }
            ("all" | "exists" | "exists_one" | "existsOne", Some(range), &[first, second, body])
            | ("transformList" | "transformMap" | "transformMapEntry", Some(range), &[first, second, body]) => {
                self.fold(name, range, first, Some(second), None, body)?
            }
            (
                "transformList" | "transformMap" | "transformMapEntry",
                Some(range),
                &[first, second, filter, body],
            ) => self.fold(name, range, first, Some(second), Some(filter), body)?,
            ("optMap", Some(target), &[variable, body]) => {
                Kind::OptMap { target, name: self.simple(variable)?, body, nesting: OptNesting::Wrapped }
            }
            ("optFlatMap", Some(target), &[variable, body]) => {
                Kind::OptMap { target, name: self.simple(variable)?, body, nesting: OptNesting::Flat }
            }
            ("sortBy", Some(range), &[variable, key]) => {
                Kind::SortBy { range, name: self.simple(variable)?, key }
            }
            _ => Kind::Call { function: name.into(), target, args },
        };
        self.node(open, kind)
    }

    fn has(&mut self, open: usize, field: Id) -> Parsed {
        match self.nodes[field as usize].kind.clone() {
            Kind::Select { operand, field, presence: Presence::Value } => {
                self.node(open, Kind::Select { operand, field, presence: Presence::Test })
            }
            _ => {
                let offset = self.nodes[field as usize].offset as usize;
                Err(Issue { offset, message: "invalid argument to has() macro".into() })
            }
        }
    }

    fn fold(
        &self,
        name: &str,
        range: Id,
        first: Id,
        second: Option<Id>,
        filter: Option<Id>,
        body: Id,
    ) -> Parsed<Kind> {
        let macro_ = match name {
            "all" => Macro::All,
            "exists" => Macro::Exists,
            "map" => Macro::Map,
            "filter" => Macro::Filter,
            "transformList" => Macro::TransformList,
            "transformMap" => Macro::TransformMap,
            "transformMapEntry" => Macro::TransformMapEntry,
            _ => Macro::ExistsOne,
        };
        let second = second.map(|second| self.simple(second)).transpose()?;
        let first = self.simple(first)?;
        if second.as_ref() == Some(&first) {
            let message = format!("duplicate variable name: {first}");
            return Err(Issue { offset: self.nodes[range as usize].offset as usize, message });
        }
        Ok(Kind::Fold(Box::new(Fold { macro_, range, first, second, filter, body })))
    }

    /// The name of a variable that a macro binds.
    fn simple(&self, id: Id) -> Parsed<Box<str>> {
        let node = &self.nodes[id as usize];
        match &node.kind {
            Kind::Ident(name) => Ok(name.clone()),
            _ => Err(Issue { offset: node.offset as usize, message: "argument is not an identifier".into() }),
        }
    }
}

fn too_deep() -> Issue {
    Issue { offset: 0, message: format!("expression recursion limit exceeded: {NESTING_MAX}") }
}

fn children(kind: &Kind, visit: &mut impl FnMut(Id)) {
    match kind {
        Kind::Literal(_) | Kind::Ident(_) | Kind::Message { .. } => {}
        Kind::Select { operand: id, .. } | Kind::OptSelect { operand: id, .. } | Kind::Not(id) => visit(*id),
        Kind::Call { target, args, .. } => target.iter().chain(args).for_each(|id| visit(*id)),
        Kind::And(list) | Kind::Or(list) => list.iter().for_each(|id| visit(*id)),
        Kind::Conditional { test, then, otherwise } => {
            [test, then, otherwise].into_iter().for_each(|id| visit(*id));
        }
        Kind::List(list) => list.iter().for_each(|(id, _)| visit(*id)),
        Kind::Map(list) => list.iter().for_each(|(key, value, _)| {
            visit(*key);
            visit(*value);
        }),
        Kind::Fold(fold) => {
            visit(fold.range);
            fold.filter.into_iter().for_each(&mut *visit);
            visit(fold.body);
        }
        Kind::OptMap { target, body, .. } => {
            visit(*target);
            visit(*body);
        }
        Kind::SortBy { range, key, .. } => {
            visit(*range);
            visit(*key);
        }
    }
}
