//! Words of an expression. Source: the grammar of the CEL language definition.

use std::sync::Arc;

use crate::error::Issue;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    Ident(Box<str>),
    /// `` `a.b/c` ``: the name of a field that is no identifier.
    Quoted(Box<str>),
    Int(u64),
    UInt(u64),
    Double(f64),
    String(Arc<str>),
    Bytes(Arc<[u8]>),
    /// An operator or a bracket.
    Sign(&'static str),
    End,
}

#[derive(Debug, Clone)]
pub(crate) struct Spanned {
    pub token: Token,
    pub start: usize,
}

const SIGNS: [&str; 25] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "+", "-", "*", "/", "%", "?", ":", ".", ",", "(", ")",
    "[", "]", "{", "}", "=",
];

/// All words, the end included.
pub(crate) fn words(text: &str) -> Result<Vec<Spanned>, Issue> {
    let mut words = Vec::new();
    let mut at = 0;
    loop {
        at = skip_space(text, at);
        let Some(first) = text[at..].chars().next() else {
            words.push(Spanned { token: Token::End, start: at });
            return Ok(words);
        };
        let (token, end) = match first {
            '0'..='9' => number(text, at)?,
            '.' if text[at + 1..].starts_with(|c: char| c.is_ascii_digit()) => number(text, at)?,
            '`' => quoted_name(text, at)?,
            '"' | '\'' => string(text, at, at)?,
            _ if string_start(&text[at..]).is_some() => {
                string(text, at, at + string_start(&text[at..]).unwrap_or(0))?
            }
            'a'..='z' | 'A'..='Z' | '_' => {
                let rest = &text[at..];
                let length =
                    rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
                (Token::Ident(rest[..length].into()), at + length)
            }
            other => match SIGNS.iter().find(|sign| text[at..].starts_with(**sign)) {
                Some(&sign) if sign != "=" => (Token::Sign(sign), at + sign.len()),
                _ => return Err(unrecognized(at, &other.to_string())),
            },
        };
        words.push(Spanned { token, start: at });
        at = end;
    }
}

fn unrecognized(offset: usize, text: &str) -> Issue {
    Issue { offset, message: format!("Syntax error: token recognition error at: '{text}'") }
}

fn skip_space(text: &str, mut at: usize) -> usize {
    loop {
        let rest = &text[at..];
        if let Some(c) = rest.chars().next()
            && matches!(c, ' ' | '\t' | '\r' | '\n' | '\u{c}')
        {
            at += 1;
        } else if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else {
            return at;
        }
    }
}

fn number(text: &str, at: usize) -> Result<(Token, usize), Issue> {
    let rest = &text[at..];
    let bytes = rest.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    if let Some(hex) = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X")) {
        let length = hex.bytes().take_while(u8::is_ascii_hexdigit).count();
        let end = at + 2 + length;
        let value = u64::from_str_radix(&hex[..length], 16).map_err(|_| invalid_number(at, "int"))?;
        return Ok(match hex[length..].starts_with(['u', 'U']) {
            true => (Token::UInt(value), end + 1),
            false => (Token::Int(value), end),
        });
    }
    let mut end = digits(0);
    let mut is_double = false;
    if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
        is_double = true;
        end += 1 + digits(end + 1);
    }
    if bytes.get(end).is_some_and(|b| matches!(b, b'e' | b'E')) {
        let sign = usize::from(bytes.get(end + 1).is_some_and(|b| matches!(b, b'+' | b'-')));
        let power = digits((end + 1 + sign).min(bytes.len()));
        if power > 0 {
            is_double = true;
            end += 1 + sign + power;
        }
    }
    let word = &rest[..end];
    if is_double {
        let value: f64 = word.parse().map_err(|_| invalid_number(at, "double"))?;
        return match value.is_finite() {
            true => Ok((Token::Double(value), at + end)),
            false => Err(invalid_number(at, "double")),
        };
    }
    if rest[end..].starts_with(['u', 'U']) {
        let value = word.parse().map_err(|_| invalid_number(at, "uint"))?;
        return Ok((Token::UInt(value), at + end + 1));
    }
    Ok((Token::Int(word.parse().map_err(|_| invalid_number(at, "int"))?), at + end))
}

pub(crate) fn invalid_number(offset: usize, kind: &str) -> Issue {
    Issue { offset, message: format!("Syntax error: invalid {kind} literal") }
}

fn quoted_name(text: &str, at: usize) -> Result<(Token, usize), Issue> {
    let rest = &text[at + 1..];
    let name = rest.split('`').next().unwrap_or_default();
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/' | ' ');
    if name.is_empty() || name.len() == rest.len() || !name.chars().all(fits) {
        return Err(unrecognized(at, "`"));
    }
    Ok((Token::Quoted(name.into()), at + name.len() + 2))
}

/// How long the prefix of a string is (`r`, `b`, `rb`…), if one begins here.
fn string_start(rest: &str) -> Option<usize> {
    let quote = rest.bytes().take(3).position(|b| matches!(b, b'"' | b'\''))?;
    let prefix = rest[..quote].to_ascii_lowercase();
    matches!(prefix.as_str(), "r" | "b" | "rb" | "br").then_some(quote)
}

fn string(text: &str, start: usize, quote_at: usize) -> Result<(Token, usize), Issue> {
    let prefix = text[start..quote_at].to_ascii_lowercase();
    let (is_raw, is_bytes) = (prefix.contains('r'), prefix.contains('b'));
    let rest = &text[quote_at..];
    let quote = &rest[..1];
    let triple = quote.repeat(3);
    let (delimiter, is_long) = match rest.starts_with(&triple) {
        true => (triple.as_str(), true),
        false => (quote, false),
    };
    let unterminated =
        || unrecognized(start, &text[start..text.ceil_char_boundary((start + 16).min(text.len()))]);
    let mut out: Vec<u8> = Vec::new();
    let mut at = quote_at + delimiter.len();
    loop {
        let rest = &text[at..];
        if rest.starts_with(delimiter) {
            at += delimiter.len();
            break;
        }
        let c = rest.chars().next().ok_or_else(unterminated)?;
        if !is_long && matches!(c, '\n' | '\r') {
            return Err(unterminated());
        }
        if c != '\\' || is_raw {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            at += c.len_utf8();
            // A raw text keeps the backslash, which still guards the quote behind it.
            if c == '\\'
                && let Some(next) = text[at..].chars().next()
            {
                out.extend_from_slice(next.encode_utf8(&mut [0; 4]).as_bytes());
                at += next.len_utf8();
            }
            continue;
        }
        at += 1 + escape(&text[at + 1..], is_bytes, &mut out).ok_or_else(|| unrecognized(at, "\\"))?;
    }
    if is_bytes {
        return Ok((Token::Bytes(out.into()), at));
    }
    let value = String::from_utf8(out).map_err(|_| unrecognized(start, "\\"))?;
    Ok((Token::String(value.into()), at))
}

/// What stands behind a backslash; gives how many bytes of the text it took.
fn escape(rest: &str, is_bytes: bool, out: &mut Vec<u8>) -> Option<usize> {
    let kind = rest.bytes().next()?;
    let code = |from: usize, length: usize, radix: u32| {
        let digits = rest.get(from..from + length)?;
        let fits = digits.chars().all(|c| c.is_digit(radix));
        fits.then(|| u32::from_str_radix(digits, radix).ok()).flatten()
    };
    let plain = match kind {
        b'a' => 7,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 11,
        b'"' | b'\'' | b'\\' | b'?' | b'`' => kind,
        _ => {
            let (value, length) = match kind {
                b'x' | b'X' => (code(1, 2, 16)?, 3),
                b'u' if !is_bytes => (code(1, 4, 16)?, 5),
                b'U' if !is_bytes => (code(1, 8, 16)?, 9),
                b'0'..=b'3' => (code(0, 3, 8)?, 3),
                _ => return None,
            };
            match is_bytes {
                true => out.push(u8::try_from(value).ok()?),
                false => out.extend_from_slice(char::from_u32(value)?.encode_utf8(&mut [0; 4]).as_bytes()),
            }
            return Some(length);
        }
    };
    out.push(plain);
    Some(1)
}
