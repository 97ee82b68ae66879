//! Names of devices: `vendor.com/class=name`.

use std::fmt;

use watchbell_api::name;

/// Longer than any that a vendor's tool writes; the bound of a Kubernetes resource name is less.
const NAME_BYTES_MAX: usize = 253;

/// A device's full name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QualifiedName {
    /// `vendor.com/class`
    pub kind: String,
    pub name: String,
}

impl QualifiedName {
    pub fn parse(text: &str) -> Result<QualifiedName, String> {
        let (kind, device) =
            text.split_once('=').ok_or_else(|| format!("{text:?} is not vendor.com/class=name"))?;
        check_kind(kind)?;
        check_device(device)?;
        Ok(QualifiedName { kind: kind.to_owned(), name: device.to_owned() })
    }
}

impl fmt::Display for QualifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.kind, self.name)
    }
}

pub(crate) fn check_kind(kind: &str) -> Result<(), String> {
    let (vendor, class) =
        kind.split_once('/').ok_or_else(|| format!("kind {kind:?} is not vendor.com/class"))?;
    for (what, part) in [("vendor", vendor), ("class", class)] {
        check(part, "_-.", |first| first.is_ascii_alphabetic())
            .map_err(|why| format!("kind {kind:?}: its {what} {part:?} {why}"))?;
    }
    Ok(())
}

pub(crate) fn check_device(device: &str) -> Result<(), String> {
    check(device, "_-.:", |first| first.is_ascii_alphanumeric())
        .map_err(|why| format!("device {device:?}: its name {why}"))
}

fn check(name: &str, also: &str, may_begin: fn(char) -> bool) -> Result<(), String> {
    let (Some(first), Some(last)) = (name.chars().next(), name.chars().next_back()) else {
        return Err("is empty".to_owned());
    };
    if name.len() > NAME_BYTES_MAX {
        return Err(format!("is longer than {NAME_BYTES_MAX} bytes"));
    }
    if !may_begin(first) {
        return Err(format!("begins with {first:?}"));
    }
    if !last.is_ascii_alphanumeric() {
        return Err(format!("ends with {last:?}"));
    }
    match name.chars().find(|c| !c.is_ascii_alphanumeric() && !also.contains(*c)) {
        Some(wrong) => Err(format!("holds {wrong:?}")),
        None => Ok(()),
    }
}

/// Whether a kind can be asked for as a Kubernetes extended resource.
pub fn kind_is_resource(kind: &str) -> bool {
    name::qualified(kind).is_empty()
        && name::qualified(&format!("requests.{kind}")).is_empty()
        && !kind.contains("kubernetes.io/")
        && !kind.starts_with("requests.")
}
