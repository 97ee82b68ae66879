//! Variables that by their name hold a secret, and passwords in URLs.

use std::ops::Range;

/// Words that end the names of variables with secrets.
const WORDS: [&str; 9] =
    ["PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "TOKEN", "APIKEY", "CREDENTIAL", "CREDENTIALS", "PWD"];
/// What stands before KEY in such names.
const KEYS: [&str; 7] = ["API", "ACCESS", "PRIVATE", "SECRET", "SIGNING", "ENCRYPTION", "CLIENT"];
/// A shorter value keeps nothing secret.
const LENGTH_MIN: usize = 6;

/// Whether a variable of that name is there to hold a secret: `DB_PASSWORD`, `OPENAI_API_KEY`; not `SORT_KEY`, `TOKENIZERS`.
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    // Where a shell was, and is.
    if matches!(name.as_str(), "PWD" | "OLDPWD") {
        return false;
    }
    let words: Vec<&str> = name.split(['_', '-', '.']).filter(|word| !word.is_empty()).collect();
    match words[..] {
        [.., "ACCESS", "KEY", "ID"] => true,
        [.., last] if WORDS.contains(&last) => true,
        [.., kind, "KEY"] => KEYS.contains(&kind),
        _ => false,
    }
}

/// Whether a value can be a secret at all: no reference to a variable, no switch, no number, no path to where it is.
pub fn may_be_secret_value(value: &str) -> bool {
    value.len() >= LENGTH_MIN
        && !value.starts_with("$(")
        && !value.starts_with('/')
        && value.parse::<f64>().is_err()
}

/// `scheme://user:password@host`
pub fn has_password(value: &str) -> bool {
    password_in(value).is_some()
}

/// Where the password of a URL stands; none for a reference to a variable.
pub(super) fn password_in(value: &str) -> Option<Range<usize>> {
    let start = value.find("://")? + 3;
    let authority = value[start..].split(['/', '?', '#']).next().unwrap_or_default();
    let (user, _) = authority.rsplit_once('@')?;
    let (name, password) = user.split_once(':')?;
    let at = start + name.len() + 1;
    (!password.is_empty() && !password.starts_with('$')).then(|| at..at + password.len())
}
