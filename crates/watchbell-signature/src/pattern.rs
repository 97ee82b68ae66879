//! What an identity or a condition is compared with: a text, or a regular expression for all of it.

use regex_lite::{Regex, RegexBuilder};

/// Compiled, bytes. Matching takes time linear in it and in the text.
const REGEX_BYTES_MAX: usize = 64 << 10;
const PATTERN_BYTES_MAX: usize = 4 << 10;

#[derive(Clone, Debug)]
pub enum Pattern {
    /// The same bytes.
    Exact(String),
    /// See [`Pattern::regex`].
    Regex(Regex),
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{pattern}\" is no regular expression: {reason}")]
pub struct PatternError {
    pub pattern: String,
    pub reason: String,
}

impl Pattern {
    /// A regular expression that must match the whole text: it is anchored at both ends whether it says so or not, because
    /// one that is not would let `evil.example/?https://good.example` in.
    ///
    /// # Errors
    /// It is none, or it is too large.
    pub fn regex(pattern: &str) -> Result<Pattern, PatternError> {
        let refuse = |reason: String| PatternError { pattern: pattern.to_owned(), reason };
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(refuse(format!("it is longer than {PATTERN_BYTES_MAX} bytes")));
        }
        let compile = |text: &str| {
            RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).build().map_err(|e| refuse(e.to_string()))
        };
        // By itself first: `a)|(?:b` would only be an expression inside of the anchors.
        compile(pattern)?;
        compile(&format!("^(?:{pattern})$")).map(Pattern::Regex)
    }

    pub fn matches(&self, text: &str) -> bool {
        match self {
            Pattern::Exact(exact) => exact == text,
            Pattern::Regex(regex) => regex.is_match(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn an_expression_matches_all_or_nothing() {
        let check = |pattern: &str, text: &str, expect: bool| {
            assert_eq!(Pattern::regex(pattern).unwrap().matches(text), expect, "{pattern} {text}");
        };
        check("https://good/.*", "https://good/x", true);
        check("https://good/.*", "https://evil/?https://good/x", false);
        check("a|b", "a", true);
        check("a|b", "ab", false);
        check("a|ab", "ab", true);
        check("^a$", "a", true);
        check("(?m)a", "a\nb", false);
        check("(?m)^a$", "b\na", false);
        check("a", "a\n", false);
        check("a.c", "a\nc", false);
        for wrong in ["(", "a)|(?:b", "(?x)a # ", "a{1000}{1000}", "\\C", &"a".repeat(5000)] {
            assert!(Pattern::regex(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_exact_text_is_no_expression() {
        assert!(Pattern::Exact("a.c".into()).matches("a.c"));
        assert!(!Pattern::Exact("a.c".into()).matches("abc"));
    }
}
