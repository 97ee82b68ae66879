//! The forms of secrets: alphabets, lengths, checksums, structures.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest as _, Sha256};

use super::Certainty;
use super::rules::Verdict;

/// How far the body of a key is looked for: a key of 16,384 bits has about 13 KiB.
const KEY_BYTES_MAX: usize = 32 << 10;
/// The least that a key has: Ed25519 in PKCS #8.
const KEY_BODY_MIN: usize = 56;

fn plain(range: Range<usize>) -> Option<Verdict> {
    Some(Verdict { range, certainty: Certainty::Plain })
}

/// For rules that no anchor leads to.
pub(super) fn none(_: &[u8], _: Range<usize>) -> Option<Verdict> {
    None
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn is_url_word(byte: u8) -> bool {
    is_word(byte) || byte == b'-'
}

/// How many bytes from `at` on are of the alphabet, at most `max` and one more.
fn run(bytes: &[u8], at: usize, max: usize, alphabet: fn(u8) -> bool) -> usize {
    bytes[at.min(bytes.len())..].iter().take(max + 1).take_while(|byte| alphabet(**byte)).count()
}

fn begins_word(bytes: &[u8], at: usize) -> bool {
    at == 0 || !is_word(bytes[at - 1])
}

/// An anchor at the beginning of a word, then `min` to `max` bytes of an alphabet, then something else.
fn after(
    bytes: &[u8],
    anchor: Range<usize>,
    min: usize,
    max: usize,
    alphabet: fn(u8) -> bool,
) -> Option<Range<usize>> {
    let length = run(bytes, anchor.end, max, alphabet);
    let fits = begins_word(bytes, anchor.start) && (min..=max).contains(&length);
    (fits && is_varied(&bytes[anchor.end..anchor.end + length])).then(|| anchor.start..anchor.end + length)
}

/// Placeholders repeat one character or count; a random word of 16 characters and more has at least six different ones.
fn is_varied(secret: &[u8]) -> bool {
    const DIFFERENT_MIN: usize = 6;
    let mut seen = [false; 256];
    secret.iter().for_each(|byte| seen[usize::from(*byte)] = true);
    let steps =
        secret.windows(2).filter(|pair| pair[1] == pair[0].wrapping_add(1) || pair[1] == pair[0]).count();
    seen.iter().filter(|is_there| **is_there).count() >= DIFFERENT_MIN.min(secret.len())
        && steps * 2 < secret.len().max(1)
}

fn is_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

const CHECK_DIGITS: usize = 6;

/// A number as six digits of base 62.
fn check_digits(mut value: u32) -> [u8; CHECK_DIGITS] {
    let mut digits = [b'0'; CHECK_DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(value % 62) as usize];
        value /= 62;
    }
    digits
}

/// Thirty random characters, then their CRC-32 in six digits of base 62: tokens of GitHub (since April 2021) and npm.
pub(super) fn checked_token(bytes: &[u8], anchor: Range<usize>) -> Option<Verdict> {
    const RANDOM: usize = 30;
    let range = after(bytes, anchor.clone(), RANDOM + CHECK_DIGITS, RANDOM + CHECK_DIGITS, is_word)?;
    let (random, check) = bytes[anchor.end..range.end].split_at(RANDOM);
    if check == check_digits(crc32fast::hash(random)) { plain(range) } else { None }
}

/// `github_pat_`, 22 characters, an underscore, 59 characters.
pub(super) fn github_fine(bytes: &[u8], anchor: Range<usize>) -> Option<Verdict> {
    let range = after(bytes, anchor.clone(), 82, 82, is_word)?;
    if bytes[anchor.end + 22] == b'_' { plain(range) } else { None }
}

/// Twenty characters, or the longer routable form with its dots.
pub(super) fn gitlab(bytes: &[u8], anchor: Range<usize>) -> Option<Verdict> {
    let alphabet = |byte: u8| is_url_word(byte) || byte == b'.';
    plain(after(bytes, anchor, 20, 300, alphabet)?)
}

pub(super) fn aws_id(bytes: &[u8], anchor: Range<usize>) -> Option<Verdict> {
    // Base 32; the account's number is in it.
    let base32 = |byte: u8| byte.is_ascii_uppercase() || (b'2'..=b'7').contains(&byte);
    let range = after(bytes, anchor, 16, 16, base32)?;
    let follows = bytes.get(range.end).is_some_and(|byte| is_word(*byte) || *byte == b'/' || *byte == b'+');
    if follows || bytes[range.clone()].ends_with(b"EXAMPLE") { None } else { plain(range) }
}

/// A name that is known, something between, and forty characters of base 64.
pub(super) fn aws_secret(bytes: &[u8], anchor: Range<usize>) -> Option<Verdict> {
    let between = |byte: u8| matches!(byte, b' ' | b'\t' | b'=' | b':' | b'"' | b'\'' | b'>' | b',');
    let start = anchor.end + run(bytes, anchor.end, 12, between);
    let base64 = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    let length = run(bytes, start, 40, base64);
    let is_secret = start > anchor.end && length == 40;
    let secret = bytes.get(start..start + 40)?;
    let is_example = secret.windows(7).any(|part| part.eq_ignore_ascii_case(b"EXAMPLE"));
    if is_secret && !is_example && is_varied(secret) { plain(start..start + 40) } else { None }
}

pub(super) fn python_index(bytes: &[u8], anchor: Range<usize>) -> Option<Verdict> {
    // A macaroon, whose location comes first.
    plain(after(bytes, anchor, 70, 300, is_url_word)?)
}

pub(super) fn huggingface(bytes: &[u8], anchor: Range<usize>) -> Option<Verdict> {
    let range = after(bytes, anchor, 34, 34, |byte| byte.is_ascii_alphabetic())?;
    if bytes.get(range.end).is_some_and(|byte| is_word(*byte)) { None } else { plain(range) }
}

/// `sk-`, maybe the kind, and around the anchor (`OpenAI` in base 64) as much on both sides.
pub(super) fn openai(bytes: &[u8], anchor: Range<usize>) -> Option<Verdict> {
    const SIDE_MIN: usize = 20;
    const SIDE_MAX: usize = 120;
    let before =
        bytes[..anchor.start].iter().rev().take(SIDE_MAX + 1).take_while(|b| is_url_word(**b)).count();
    let behind = run(bytes, anchor.end, SIDE_MAX, is_url_word);
    let start = anchor.start - before;
    let begins_right = bytes[start..].starts_with(b"sk-");
    let sides_fit = (SIDE_MIN + 3..=SIDE_MAX).contains(&before) && (SIDE_MIN..=SIDE_MAX).contains(&behind);
    if begins_right && sides_fit { plain(start..anchor.end + behind) } else { None }
}

pub(super) fn anthropic(bytes: &[u8], anchor: Range<usize>) -> Option<Verdict> {
    let range = after(bytes, anchor, 95, 110, is_url_word)?;
    if bytes[range.clone()].ends_with(b"AA") { plain(range) } else { None }
}

/// Numbers of workspace and application between dashes, then the secret.
pub(super) fn slack(bytes: &[u8], anchor: Range<usize>) -> Option<Verdict> {
    let range = after(bytes, anchor.clone(), 30, 200, is_url_word)?;
    let mut parts = bytes[anchor.end..range.end].split(|byte| *byte == b'-');
    let has_number = parts
        .next()
        .is_some_and(|part| (9..=14).contains(&part.len()) && part.iter().all(u8::is_ascii_digit));
    let is_secret = parts.next_back().is_some_and(|part| part.len() >= 20);
    if has_number && is_secret { plain(range) } else { None }
}

pub(super) fn slack_app(bytes: &[u8], anchor: Range<usize>) -> Option<Verdict> {
    let range = after(bytes, anchor.clone(), 80, 200, is_url_word)?;
    if bytes[anchor.end] == b'A' { plain(range) } else { None }
}

pub(super) fn slack_webhook(bytes: &[u8], anchor: Range<usize>) -> Option<Verdict> {
    let length = run(bytes, anchor.end, 100, |byte| byte.is_ascii_alphanumeric() || byte == b'/');
    let parts: Vec<&[u8]> = bytes[anchor.end..anchor.end + length].split(|byte| *byte == b'/').collect();
    match parts[..] {
        [team, hook, secret]
            if team.first() == Some(&b'T')
                && team.len() >= 9
                && hook.first() == Some(&b'B')
                && hook.len() >= 9
                && secret.len() == 24
                && is_varied(secret) =>
        {
            plain(anchor.start..anchor.end + length)
        }
        _ => None,
    }
}

pub(super) fn google_api(bytes: &[u8], anchor: Range<usize>) -> Option<Verdict> {
    plain(after(bytes, anchor, 35, 35, is_url_word)?)
}

pub(super) fn stripe(bytes: &[u8], anchor: Range<usize>) -> Option<Verdict> {
    plain(after(bytes, anchor, 24, 120, is_alphanumeric)?)
}

/// 22 and 43 characters of base 64.
pub(super) fn sendgrid(bytes: &[u8], anchor: Range<usize>) -> Option<Verdict> {
    let first = run(bytes, anchor.end, 22, is_url_word);
    let dot = anchor.end + first;
    let second = run(bytes, dot + 1, 43, is_url_word);
    let is_key =
        begins_word(bytes, anchor.start) && first == 22 && bytes.get(dot) == Some(&b'.') && second == 43;
    if is_key { plain(anchor.start..dot + 1 + second) } else { None }
}

pub(super) fn databricks(bytes: &[u8], anchor: Range<usize>) -> Option<Verdict> {
    let range = after(bytes, anchor, 32, 32, |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))?;
    if bytes.get(range.end).is_some_and(|byte| is_word(*byte)) { None } else { plain(range) }
}

pub(super) fn digitalocean(bytes: &[u8], anchor: Range<usize>) -> Option<Verdict> {
    plain(after(bytes, anchor, 64, 64, |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))?)
}

/// 64 bytes in base 64.
pub(super) fn azure_storage(bytes: &[u8], anchor: Range<usize>) -> Option<Verdict> {
    let base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    let range = after(bytes, anchor.clone(), 88, 88, base64)?;
    let is_key = STANDARD.decode(&bytes[anchor.end..range.end]).is_ok_and(|key| key.len() == 64);
    if is_key { plain(anchor.end..range.end) } else { None }
}

pub(super) fn vault(bytes: &[u8], anchor: Range<usize>) -> Option<Verdict> {
    plain(after(bytes, anchor, 90, 200, is_url_word)?)
}

/// Bech32 of 32 bytes.
pub(super) fn age(bytes: &[u8], anchor: Range<usize>) -> Option<Verdict> {
    let bech32 = |byte: u8| b"QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L".contains(&byte);
    plain(after(bytes, anchor, 58, 58, bech32)?)
}

/// `wbt_NAME_`, 43 digits of base 62, and the first four bytes of the SHA-256 of all before as six digits.
pub(super) fn watchbell(bytes: &[u8], anchor: Range<usize>) -> Option<Verdict> {
    let range = after(bytes, anchor, 51, 113, is_url_word)?;
    let (body, check) = bytes[range.clone()].split_at(range.len() - CHECK_DIGITS);
    let hash: [u8; 32] = Sha256::digest(body).into();
    let [a, b, c, d, ..] = hash;
    if check == check_digits(u32::from_be_bytes([a, b, c, d])) { plain(range) } else { None }
}

/// The value decodes to a private key.
pub(super) fn kubeconfig(bytes: &[u8], anchor: Range<usize>) -> Option<Verdict> {
    let start = anchor.end + run(bytes, anchor.end, 8, |byte| matches!(byte, b' ' | b'"' | b'\''));
    let base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    let length = run(bytes, start, KEY_BYTES_MAX, base64);
    let decoded = STANDARD.decode(bytes.get(start..start + length)?).ok()?;
    let found = find(&decoded, b"-----BEGIN ")?;
    let verdict = private_key(&decoded, found..found + 11)?;
    Some(Verdict { range: start..start + length, certainty: verdict.certainty })
}

pub(super) fn npm_login(bytes: &[u8], anchor: Range<usize>) -> Option<Verdict> {
    let start = anchor.end + run(bytes, anchor.end, 1, |byte| byte == b'"');
    let length =
        run(bytes, start, 200, |byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'$'));
    // `${NPM_TOKEN}` is a name, and `npm_…` has a rule of its own with a checksum.
    if bytes[start..].starts_with(b"npm_") {
        return None;
    }
    if (16..=200).contains(&length) && is_varied(&bytes[start..start + length]) {
        plain(start..start + length)
    } else {
        None
    }
}

/// `scheme://user:password@host`, with a password that is neither a variable nor a placeholder.
pub(super) fn url_password(bytes: &[u8], anchor: Range<usize>) -> Option<Verdict> {
    const AUTHORITY_MAX: usize = 300;
    const SCHEMES: [&str; 13] = [
        "postgres",
        "postgresql",
        "mysql",
        "mariadb",
        "mongodb",
        "srv",
        "redis",
        "rediss",
        "amqp",
        "amqps",
        "ftp",
        "clickhouse",
        "snowflake",
    ];
    // Only schemes whose URLs are used with passwords and not written in documentation of the web; `mongodb+srv` ends so.
    let before =
        bytes[..anchor.start].iter().rev().take(16).take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let scheme = std::str::from_utf8(&bytes[anchor.start - before..anchor.start]).ok()?;
    if !SCHEMES.contains(&scheme) {
        return None;
    }
    let stays = |byte: u8| {
        byte.is_ascii_graphic()
            && !matches!(
                byte,
                b'/' | b'"' | b'\'' | b'`' | b'<' | b'>' | b'{' | b'}' | b'$' | b'%' | b'(' | b')' | b'*'
            )
    };
    let length = run(bytes, anchor.end, AUTHORITY_MAX, stays);
    let authority = &bytes[anchor.end..anchor.end + length];
    let at = authority.iter().rposition(|byte| *byte == b'@')?;
    let colon = authority[..at].iter().position(|byte| *byte == b':')?;
    let (user, password, host) = (&authority[..colon], &authority[colon + 1..at], &authority[at + 1..]);
    let host = String::from_utf8_lossy(host).to_ascii_lowercase();
    let host = host.split(':').next().unwrap_or_default();
    // Documentation and tests speak of these.
    let is_sample_host = ["", "localhost", "127.0.0.1", "host", "hostname", "server", "example"]
        .contains(&host)
        || host.contains("example.");
    let word = String::from_utf8_lossy(password).to_ascii_lowercase();
    let is_sample = ["pass", "secret", "pwd", "xxx", "changeme", "tiger", "test", "user", "...", "example"]
        .iter()
        .any(|sample| word.contains(sample))
        || user == password;
    let start = anchor.end + colon + 1;
    if is_sample_host || is_sample || password.len() < 8 {
        None
    } else {
        plain(start..start + password.len())
    }
}

fn find(bytes: &[u8], word: &[u8]) -> Option<usize> {
    bytes.windows(word.len()).position(|window| window == word)
}

/// A private key in PEM (RFC 7468, and OpenSSL's and OpenSSH's older forms), also where a string's escapes stand for its
/// line ends. Its header alone, as documentation shows it, is none.
pub(super) fn private_key(bytes: &[u8], anchor: Range<usize>) -> Option<Verdict> {
    const LABEL_MAX: usize = 40;
    let rest = &bytes[anchor.end..bytes.len().min(anchor.end + KEY_BYTES_MAX)];
    let label_end = find(&rest[..rest.len().min(LABEL_MAX)], b"-----")?;
    let label = std::str::from_utf8(&rest[..label_end]).ok()?;
    let is_pgp = label == "PGP PRIVATE KEY BLOCK";
    if !(label == "PRIVATE KEY" || label.ends_with(" PRIVATE KEY") || is_pgp) {
        return None;
    }
    let body = &rest[label_end + 5..];
    // The first dashes end it, whatever they are: so a file of nothing but beginnings is read once.
    let end = find(body, b"-----")?;
    let tail =
        body[end..].strip_prefix(b"-----END ")?.strip_prefix(label.as_bytes())?.strip_prefix(b"-----")?;
    let range = anchor.start..anchor.end + (rest.len() - tail.len());
    let text = unescaped(&body[..end]);
    let is_marked = label == "ENCRYPTED PRIVATE KEY" || text.contains("Proc-Type: 4,ENCRYPTED");
    let base64: String = text
        .lines()
        .map(str::trim)
        // Headers of the older forms; the checksum of an armoured PGP key.
        .filter(|line| !(line.contains(':') || is_pgp && line.starts_with('=')))
        .collect();
    if base64.len() < KEY_BODY_MIN {
        return None;
    }
    let key = STANDARD.decode(base64.trim_end_matches(|c: char| c.is_whitespace())).ok()?;
    if !is_varied(&key) && key.len() < 256 {
        return None;
    }
    let is_encrypted = is_marked || openssh_cipher(&key).is_some_and(|cipher| cipher != b"none");
    // Everything else begins with a sequence of ASN.1, or is encrypted as a whole.
    let is_key = is_pgp || is_encrypted || key.starts_with(b"openssh-key-v1\0") || key.first() == Some(&0x30);
    let certainty = if is_encrypted { Certainty::Encrypted } else { Certainty::Plain };
    is_key.then_some(Verdict { range, certainty })
}

/// The name of the cipher of a key of OpenSSH (its PROTOCOL.key).
fn openssh_cipher(key: &[u8]) -> Option<&[u8]> {
    let rest = key.strip_prefix(b"openssh-key-v1\0")?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

/// Bytes as text, with the escapes of JSON and of shells for line ends turned into such.
fn unescaped(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace("\\r", "").replace("\\n", "\n").replace("\\\n", "\n")
}

/// The `private_key` of a document that says that it is a service account's.
pub(super) fn service_account(bytes: &[u8], anchor: Range<usize>) -> Option<Verdict> {
    const AROUND: usize = 4 << 10;
    let rest = &bytes[anchor.end..bytes.len().min(anchor.end + 64)];
    let begin = anchor.end + find(rest, b"-----BEGIN ")?;
    let verdict = private_key(bytes, begin..begin + 11)?;
    let around = &bytes[anchor.start.saturating_sub(AROUND)..bytes.len().min(anchor.end + AROUND)];
    find(around, b"\"service_account\"").map(|_| verdict)
}

/// Decodes what Docker and others write as `auth`: `user:password` in base 64, padded or not.
pub(super) fn is_login(base64: &str) -> bool {
    let bare = base64.trim_end_matches('=');
    STANDARD_NO_PAD.decode(bare).is_ok_and(|login| {
        let colon = login.iter().position(|byte| *byte == b':');
        colon.is_some_and(|at| at > 0 && at + 1 < login.len())
    })
}
