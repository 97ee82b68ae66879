//! Interpreters, and the few other programs that are often copied into an image without a package, by what stands in their own
//! files. Only where that is certain: a wrong version would be worse than none.

use memchr::memmem;

use super::item::{Item, lines};
use crate::{Evidence, PackageKind};

/// Where a version stands in a program.
enum Mark {
    /// A string of its own that begins with these numbers: what `--version` of CPython prints.
    String { package: &'static str, begins: String },
    /// Digits behind these words.
    Behind { package: &'static str, words: &'static [&'static [u8]] },
}

/// The mark for a file of this name.
fn mark(path: &str) -> Option<Mark> {
    let file_name = path.rsplit('/').next().unwrap_or(path);
    let is = |name: &str| {
        file_name.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    if matches!(file_name, "node" | "nodejs") {
        // The first is what it calls itself, the second the address of its own release.
        return Some(Mark::Behind { package: "node", words: &[b"node.js/v", b"/node-v"] });
    }
    if file_name == "busybox" {
        return Some(Mark::Behind { package: "busybox", words: &[b"BusyBox v"] });
    }
    if is("libcrypto.so") || file_name == "openssl" {
        return Some(Mark::Behind { package: "openssl", words: &[b"OpenSSL "] });
    }
    let minor = match file_name.strip_prefix("libpython") {
        Some(library) => library.split_once(".so")?.0,
        None => file_name.strip_prefix("python")?,
    };
    let (major, rest) = minor.split_once('.')?;
    let is_number = |n: &str| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit());
    (is_number(major) && is_number(rest))
        .then(|| Mark::String { package: "python", begins: format!("\0{minor}.") })
}

pub(crate) fn is_interpreter(path: &str) -> bool {
    mark(path).is_some()
}

/// The one version that the program states; none when it states several.
pub(crate) fn read(bytes: &[u8], path: &str) -> Option<Item> {
    let mut versions: Vec<&str> = Vec::new();
    let package = match mark(path)? {
        Mark::String { package, begins } => {
            for at in memmem::find_iter(bytes, begins.as_bytes()) {
                let string = &bytes[at + 1..];
                let end = string.iter().take(20).position(|b| *b == 0);
                versions.extend(end.and_then(|end| version(&string[..end])));
            }
            package
        }
        Mark::Behind { package, words } => {
            for word in words {
                for at in memmem::find_iter(bytes, word) {
                    let digits = &bytes[at + word.len()..];
                    let end =
                        digits.iter().take(20).take_while(|b| b.is_ascii_digit() || **b == b'.').count();
                    // OpenSSL counted its corrections by letters once: 1.1.1w.
                    let is_letter =
                        package == "openssl" && digits.get(end).is_some_and(u8::is_ascii_lowercase);
                    let text = digits[..end].strip_suffix(b".").unwrap_or(&digits[..end]);
                    if version(text).is_some() {
                        versions.extend(std::str::from_utf8(&digits[..text.len() + usize::from(is_letter)]));
                    }
                }
            }
            package
        }
    };
    versions.sort_unstable();
    versions.dedup();
    match versions.as_slice() {
        [only] => Item::new(PackageKind::Generic, package, only, Evidence::Binary),
        _ => None,
    }
}

/// Three numbers.
fn version(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut parts = text.split('.');
    let is_number = |n: &str| (1..=3).contains(&n.len()) && n.bytes().all(|b| b.is_ascii_digit());
    (parts.by_ref().take(3).filter(|p| is_number(p)).count() == 3 && parts.next().is_none()).then_some(text)
}

/// The file `release` of a Java runtime (JEP 223): `JAVA_VERSION="17.0.9"`.
pub(crate) fn java_release(bytes: &[u8]) -> Option<Item> {
    let (mut version, mut implementor) = (None, None);
    for line in lines(bytes).take(100) {
        let Some((key, value)) = line.split_once('=') else { continue };
        let value = value.trim().trim_matches('"').to_owned();
        match key {
            "JAVA_VERSION" => version = Some(value),
            "IMPLEMENTOR" => implementor = Some(value),
            _ => {}
        }
    }
    // Other programs have a file of that name too; this pair only a Java runtime has.
    implementor?;
    Item::new(PackageKind::Generic, "java", &version?, Evidence::Installed)
}
