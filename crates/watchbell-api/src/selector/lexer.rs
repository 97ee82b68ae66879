//! The words of a label selector.

/// A word with its text, which error messages quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word<'a> {
    pub(super) token: Token,
    pub(super) text: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    End,
    Identifier,
    /// `in` and `notin` are identifiers where a key or a value stands.
    In,
    NotIn,
    Comma,
    Open,
    Close,
    Not,
    Equals,
    DoubleEquals,
    NotEquals,
    Less,
    Greater,
    /// Symbols that mean nothing.
    Unknown,
}

/// Reads word after word; [`Token::End`] for ever after the last.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    rest: &'a str,
}

const SYMBOLS: [char; 7] = ['=', '!', '(', ')', ',', '>', '<'];
const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Lexer<'a> {
        Lexer { rest: text }
    }

    pub(super) fn next(&mut self) -> Word<'a> {
        self.rest = self.rest.trim_start_matches(SPACES);
        let (token, length) = match self.rest.chars().next() {
            None => (Token::End, 0),
            Some(first) if SYMBOLS.contains(&first) => symbol(self.rest),
            Some(_) => {
                let end = |c: char| SYMBOLS.contains(&c) || SPACES.contains(&c);
                let length = self.rest.find(end).unwrap_or(self.rest.len());
                let token = match &self.rest[..length] {
                    "in" => Token::In,
                    "notin" => Token::NotIn,
                    _ => Token::Identifier,
                };
                (token, length)
            }
        };
        let (text, rest) = self.rest.split_at(length);
        self.rest = rest;
        Word { token, text }
    }
}

fn symbol(text: &str) -> (Token, usize) {
    for (symbol, token) in [
        ("==", Token::DoubleEquals),
        ("!=", Token::NotEquals),
        ("=", Token::Equals),
        ("!", Token::Not),
        ("(", Token::Open),
        (")", Token::Close),
        (",", Token::Comma),
        (">", Token::Greater),
        ("<", Token::Less),
    ] {
        if text.starts_with(symbol) {
            return (token, symbol.len());
        }
    }
    (Token::Unknown, 1)
}
