//! Names: the forms of RFC 1123 and their kin, worded as the API server words them, and generated suffixes.
//!
//! A check gives what is wrong with a name; an empty list is a good name.

/// What the name of a label, a volume or a variable's prefix may be at most; a generated name as a whole.
pub const LABEL_LENGTH_MAX: usize = 63;
/// A subdomain of RFC 1123.
pub const SUBDOMAIN_LENGTH_MAX: usize = 253;

/// How many characters are drawn for a generated name.
const SUFFIX_LENGTH: usize = 5;
/// Without vowels and what looks like them, so that no word comes out.
const SUFFIX_ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// A name from `generateName`: the stem, shortened when needed, and five characters.
pub fn generate(stem: &str, random: [u8; 16]) -> String {
    let end = stem.floor_char_boundary(LABEL_LENGTH_MAX - SUFFIX_LENGTH);
    // 27^5 names out of 2^128 numbers: the unevenness is far below what anyone could measure.
    let mut number = u128::from_le_bytes(random);
    let mut name = String::from(&stem[..end]);
    for _ in 0..SUFFIX_LENGTH {
        name.push(char::from(SUFFIX_ALPHABET[(number % 27) as usize]));
        number /= 27;
    }
    name
}

const LABEL_REGEX: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const LABEL_1035_REGEX: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN_REGEX: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const QUALIFIED_REGEX: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const QUALIFIED_WORDS: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

/// A label of RFC 1123: the name of a namespace, a container, a volume.
pub fn label(value: &str) -> Vec<String> {
    let mut wrong = longer_than(value, LABEL_LENGTH_MAX);
    if !is_label_form(value) {
        wrong.push(format!(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end \
             with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{LABEL_REGEX}')"
        ));
    }
    wrong
}

/// A subdomain of RFC 1123: the name of most objects.
pub fn subdomain(value: &str) -> Vec<String> {
    let mut wrong = longer_than(value, SUBDOMAIN_LENGTH_MAX);
    if !value.split('.').all(is_label_form) {
        wrong.push(format!(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start \
             and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{SUBDOMAIN_REGEX}')"
        ));
    }
    wrong
}

/// Whatever can stand between two slashes of a path: the name of a role or a binding (`system:basic-user`). Kubernetes has
/// no bound for its length; here it is that of other names.
pub fn path_segment(value: &str) -> Vec<String> {
    if matches!(value, "." | "..") {
        return vec![format!("may not be '{value}'")];
    }
    let mut wrong = longer_than(value, SUBDOMAIN_LENGTH_MAX);
    for part in ["/", "%"] {
        if value.contains(part) {
            wrong.push(format!("may not contain '{part}'"));
        }
    }
    wrong
}

/// The key of a label or annotation, a finalizer, a resource: a name with an optional domain before it.
pub fn qualified(value: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let name = match value.split_once('/') {
        None => value,
        Some((_, name)) if name.contains('/') => {
            return vec![format!(
                "a qualified name {QUALIFIED_WORDS} (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation \
                 is '{QUALIFIED_REGEX}') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
        Some(("", name)) => {
            wrong.push("prefix part must be non-empty".into());
            name
        }
        Some((prefix, name)) => {
            wrong.extend(subdomain(prefix).into_iter().map(|text| format!("prefix part {text}")));
            name
        }
    };
    if name.is_empty() {
        wrong.push("name part must be non-empty".into());
    } else if name.len() > LABEL_LENGTH_MAX {
        wrong.push(format!("name part must be no more than {LABEL_LENGTH_MAX} bytes"));
    }
    if !is_qualified_form(name) {
        wrong.push(format!(
            "name part {QUALIFIED_WORDS} (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
             '{QUALIFIED_REGEX}')"
        ));
    }
    wrong
}

/// A label of RFC 1035: as that of RFC 1123, and it begins with a letter.
pub fn dns1035_label(value: &str) -> Vec<String> {
    let mut wrong = longer_than(value, LABEL_LENGTH_MAX);
    if !is_label_form(value) || !value.starts_with(|c: char| c.is_ascii_lowercase()) {
        wrong.push(format!(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, \
             and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is \
             '{LABEL_1035_REGEX}')"
        ));
    }
    wrong
}

/// The value of a label.
pub fn label_value(value: &str) -> Vec<String> {
    let mut wrong = longer_than(value, LABEL_LENGTH_MAX);
    if !value.is_empty() && !is_qualified_form(value) {
        wrong.push(format!(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start \
             and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation \
             is '({QUALIFIED_REGEX})?')"
        ));
    }
    wrong
}

/// The key of a ConfigMap or Secret: a file name.
pub fn data_key(value: &str) -> Vec<String> {
    let mut wrong = longer_than(value, SUBDOMAIN_LENGTH_MAX);
    if value.is_empty()
        || !value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
    {
        wrong.push(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  \
             or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
                .into(),
        );
    }
    match value {
        "." | ".." => wrong.push(format!("must not be '{value}'")),
        _ if value.starts_with("..") => wrong.push("must not start with '..'".into()),
        _ => {}
    }
    wrong
}

/// The name of an environment variable.
pub fn variable(value: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if value.is_empty() {
        wrong.push("environment variable name must be non-empty".into());
    }
    if !value.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'=') {
        wrong.push("a valid environment variable name must consist only of printable ASCII characters other than '='".into());
    }
    wrong
}

/// The name of a container's port (an IANA service name).
pub fn port(value: &str) -> Vec<String> {
    let mut wrong = longer_than(value, 15);
    if !value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        wrong.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".into());
    }
    if !value.bytes().any(|b| b.is_ascii_lowercase()) {
        wrong.push("must contain at least one letter (a-z)".into());
    }
    if value.contains("--") {
        wrong.push("must not contain consecutive hyphens".into());
    }
    if value.starts_with('-') || value.ends_with('-') {
        wrong.push("must not begin or end with a hyphen".into());
    }
    wrong
}

/// `generateName`: it may end in a hyphen, as more follows.
pub(crate) fn stem_of(check: fn(&str) -> Vec<String>, stem: &str) -> Vec<String> {
    match stem.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => {
            let mut masked = rest.to_owned();
            masked.pop();
            masked.push('a');
            check(&masked)
        }
        _ => check(stem),
    }
}

fn longer_than(value: &str, max: usize) -> Vec<String> {
    if value.len() > max { vec![format!("must be no more than {max} bytes")] } else { Vec::new() }
}

fn is_label_form(value: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !value.is_empty() && value.bytes().all(is_inner) && !value.starts_with('-') && !value.ends_with('-')
}

fn is_qualified_form(value: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let is_outer = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = value.as_bytes();
    bytes.iter().all(|b| is_inner(*b)) && is_outer(bytes.first()) && is_outer(bytes.last())
}

#[cfg(test)]
mod tests;
