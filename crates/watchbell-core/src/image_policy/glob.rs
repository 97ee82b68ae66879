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

    /// Whether the whole of a name is as the pattern says. See [`walk`] for what it takes.
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name) = (self.text.as_bytes(), name.as_bytes());
        // Most patterns are decided by what stands before their first star.
        let plain = pattern.iter().position(|byte| *byte == b'*').unwrap_or(pattern.len());
        if plain == pattern.len() {
            return pattern == name;
        }
        name.strip_prefix(&pattern[..plain]).is_some_and(|rest| walk(&pattern[plain..], rest, || ()))
    }
}

/// Goes through the pattern once and keeps for each place of the name, as a bit, whether the pattern so far may lead there. So
/// it takes a step for each 64 places at each part of the pattern, whatever the stars: strangers choose patterns and names,
/// and each start and each apply is judged by all patterns of up to 96 policies.
fn walk(pattern: &[u8], name: &[u8], mut on_step: impl FnMut()) -> bool {
    // Place n is behind n bytes.
    let words = name.len() / 64 + 1;
    let places = Bytes::of(name, words);
    let mut here = vec![0u64; words];
    here[0] = 1;
    let mut at = 0;
    while at < pattern.len() {
        let stars = pattern[at..].iter().take_while(|byte| **byte == b'*').count();
        let mut carry = 0;
        let mut is_anywhere = 0;
        for (n, word) in here.iter_mut().enumerate() {
            on_step();
            match stars {
                0 => {
                    let next = *word & places.of_byte(pattern[at], n);
                    *word = next << 1 | carry;
                    carry = next >> 63;
                }
                // Adding to a run of ones the place where it is entered carries to its end: all on the way is reached.
                1 => {
                    let run = places.no_slash[n];
                    let (sum, over) = (*word & run).overflowing_add(run);
                    let (sum, over_again) = sum.overflowing_add(carry);
                    *word |= sum ^ run;
                    carry = u64::from(over | over_again);
                }
                // All from the first place on.
                _ => {
                    *word = if carry == 0 { word.wrapping_neg() | *word } else { u64::MAX };
                    carry |= u64::from(*word != 0);
                }
            }
            is_anywhere |= *word;
        }
        if is_anywhere == 0 {
            return false;
        }
        at += stars.max(1);
    }
    here[name.len() / 64] >> (name.len() % 64) & 1 == 1
}

/// Where which byte of a name stands, a bit for each place.
struct Bytes {
    /// Of each byte, where its words begin in `list`. The first are of those that the name does not have.
    begins: [usize; 256],
    list: Vec<u64>,
    no_slash: Vec<u64>,
}

impl Bytes {
    fn of(name: &[u8], words: usize) -> Bytes {
        let mut bytes = Bytes { begins: [0; 256], list: vec![0; words], no_slash: vec![0; words] };
        for (place, byte) in name.iter().enumerate() {
            let begin = &mut bytes.begins[usize::from(*byte)];
            if *begin == 0 {
                *begin = bytes.list.len();
                bytes.list.resize(bytes.list.len() + words, 0);
            }
            let bit = 1 << (place % 64);
            bytes.list[*begin + place / 64] |= bit;
            if *byte != b'/' {
                bytes.no_slash[place / 64] |= bit;
            }
        }
        bytes
    }

    fn of_byte(&self, byte: u8, word: usize) -> u64 {
        self.list[self.begins[usize::from(byte)] + word]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Glob, walk};

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

    /// The definition, as long names need it: of each place of the pattern, whether the name so far may lead there.
    fn by_columns(pattern: &[u8], name: &[u8]) -> bool {
        let stars = |at: usize| pattern[at..].iter().take_while(|byte| **byte == b'*').count();
        // Stars stand for nothing, too.
        let pass = |places: &mut [bool]| {
            let mut at = 0;
            while at < pattern.len() {
                places[at + stars(at)] |= places[at];
                at += stars(at).max(1);
            }
        };
        let mut here = vec![false; pattern.len() + 1];
        here[0] = true;
        pass(&mut here);
        for byte in name {
            let mut next = vec![false; here.len()];
            let mut at = 0;
            while at < pattern.len() {
                match stars(at) {
                    0 => next[at + 1] |= here[at] && pattern[at] == *byte,
                    1 => next[at] |= here[at] && *byte != b'/',
                    _ => next[at] |= here[at],
                }
                at += stars(at).max(1);
            }
            pass(&mut next);
            here = next;
        }
        here[pattern.len()]
    }

    #[test]
    fn what_it_takes_is_bounded_whatever_the_stars() {
        let check = |pattern: &str, name: &str, is_match: bool, steps_max: usize| {
            let mut steps = 0;
            assert_eq!(walk(pattern.as_bytes(), name.as_bytes(), || steps += 1), is_match, "{pattern}");
            assert!(steps <= steps_max, "{pattern}: {steps}");
        };
        let name = "a".repeat(255);
        // Of backtracking these would be the worst: 512 parts of a pattern, 4 words of a name.
        check(&"*a".repeat(256), &name, false, 512 * 4);
        check(&format!("{}b", "**a".repeat(128)), &name, false, 512 * 4);
        check(&format!("{}*", "*a".repeat(255)), &name, true, 512 * 4);
        check(&"*".repeat(512), &name, true, 4);
        // Nothing more is looked at once nothing can match.
        check(&format!("**b{}", "*a".repeat(250)), &name, false, 2 * 4);
        // As long as a statement of a stranger may be.
        check("**/b*", &"a/".repeat(500_000), false, 4 * (1_000_000 / 64 + 1));
    }

    proptest! {
        #[test]
        fn of_long_names_too(
            pattern in "(a|b|/|\\*|\\*\\*|[ab]{0,70}|a/){0,10}",
            name in "([ab]{0,100}|/|a{60,70}){0,6}",
        ) {
            let expect = by_columns(pattern.as_bytes(), name.as_bytes());
            prop_assert_eq!(Glob::new(&pattern).matches(&name), expect);
        }

        /// Names that do match: made of the pattern.
        #[test]
        fn what_is_made_of_a_pattern_matches(
            parts in prop::collection::vec(("[ab/]{0,70}", "(\\*){0,2}", "[ab]{0,70}", "[ab/]{0,70}"), 0..6),
        ) {
            let (mut pattern, mut name) = (String::new(), String::new());
            for (plain, stars, flat, deep) in parts {
                pattern += &format!("{plain}{stars}");
                name += &plain;
                name += match stars.len() { 0 => "", 1 => &flat, _ => &deep };
            }
            prop_assert!(Glob::new(&pattern).matches(&name), "{} {}", pattern, name);
            prop_assert!(by_columns(pattern.as_bytes(), name.as_bytes()));
        }

        #[test]
        fn it_is_what_the_definition_says(pattern in "[ab/*]{0,8}", name in "[ab/]{0,8}") {
            prop_assert_eq!(Glob::new(&pattern).matches(&name), plain(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
