//! Patterns of names: `*` stands for what has no slash, `**` for anything. All else is itself.

/// A pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    text: Box<str>,
}

impl Glob {
    pub fn new(text: &str) -> Glob {
        Glob { text: text.into() }
    }

    /// The pattern as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The same as a regular expression for the whole of a text.
    pub fn to_regex(&self) -> String {
        let mut regex = String::with_capacity(self.text.len() + 8);
        let mut rest = &*self.text;
        while let Some(next) = rest.chars().next() {
            let stars = rest.len() - rest.trim_start_matches('*').len();
            if stars == 0 {
                if "\\.+?()|[]{}^$".contains(next) {
                    regex.push('\\');
                }
                regex.push(next);
            } else {
                // A dot is no line break, and neither is in a name.
                regex.push_str(if stars == 1 { r"[^/\n]*" } else { ".*" });
            }
            rest = &rest[stars.max(next.len_utf8())..];
        }
        regex
    }

    /// Whether the whole of a name is as the pattern says. It takes at most the product of the two lengths.
    pub fn matches(&self, name: &str) -> bool {
        let pattern = self.text.as_bytes();
        let name = name.as_bytes();
        // Of each place of the pattern, whether the name so far may lead there.
        let mut here = vec![false; pattern.len() + 1];
        here[0] = true;
        pass_stars(pattern, &mut here);
        for byte in name {
            let mut next = vec![false; here.len()];
            let mut at = 0;
            while at < pattern.len() {
                let stars = stars_at(pattern, at);
                match stars {
                    0 => next[at + 1] |= here[at] && pattern[at] == *byte,
                    1 => next[at] |= here[at] && *byte != b'/',
                    _ => next[at] |= here[at],
                }
                at += stars.max(1);
            }
            pass_stars(pattern, &mut next);
            here = next;
        }
        here[pattern.len()]
    }
}

/// How many stars stand here, when they begin here.
fn stars_at(pattern: &[u8], at: usize) -> usize {
    pattern[at..].iter().take_while(|b| **b == b'*').count()
}

/// Stars stand for nothing, too.
fn pass_stars(pattern: &[u8], places: &mut [bool]) {
    let mut at = 0;
    while at < pattern.len() {
        let stars = stars_at(pattern, at);
        if stars > 0 {
            places[at + stars] |= places[at];
        }
        at += stars.max(1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Glob;

    #[test]
    fn stars_end_at_slashes_and_double_stars_do_not() {
        let check = |pattern: &str, yes: &[&str], no: &[&str]| {
            for name in yes {
                assert!(Glob::new(pattern).matches(name), "{pattern} {name}");
            }
            for name in no {
                assert!(!Glob::new(pattern).matches(name), "{pattern} {name}");
            }
        };
        check("ghcr.io", &["ghcr.io"], &["ghcr.io:443", "xghcr.io", "ghcr.io.evil", "ghcrxio", ""]);
        check("*.example.com", &["a.example.com"], &["example.com", "a/b.example.com", "a.example.com.x"]);
        check(
            "docker.io/library/*",
            &["docker.io/library/busybox", "docker.io/library/"],
            &["docker.io/library/a/b", "docker.io/libraryx/a"],
        );
        check(
            "ghcr.io/team/**",
            &["ghcr.io/team/a", "ghcr.io/team/a/b"],
            &["ghcr.io/teams/a", "ghcr.io/team"],
        );
        check("**/a", &["x/a", "x/y/a"], &["a", "x/ab"]);
        check("a*b*c", &["abc", "a--b--c", "abbcc"], &["ab", "acb", "a/bc"]);
        check("", &[""], &["a"]);
    }

    #[test]
    fn as_an_expression_it_is_escaped() {
        let check = |pattern: &str, expect: &str| assert_eq!(Glob::new(pattern).to_regex(), expect);
        check("https://a.b/*@x", r"https://a\.b/[^/\n]*@x");
        check("**", ".*");
        check("é(*", r"é\([^/\n]*");
    }

    /// The plain definition.
    fn plain(pattern: &[u8], name: &[u8]) -> bool {
        match pattern {
            [] => name.is_empty(),
            [b'*', ..] => {
                let stars = pattern.iter().take_while(|b| **b == b'*').count();
                let longest = match stars {
                    1 => name.iter().position(|b| *b == b'/').unwrap_or(name.len()),
                    _ => name.len(),
                };
                (0..=longest).any(|n| plain(&pattern[stars..], &name[n..]))
            }
            [byte, rest @ ..] => name.first() == Some(byte) && plain(rest, &name[1..]),
        }
    }

    proptest! {
        #[test]
        fn it_is_what_the_definition_says(pattern in "[ab/*]{0,8}", name in "[ab/]{0,8}") {
            prop_assert_eq!(Glob::new(&pattern).matches(&name), plain(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
