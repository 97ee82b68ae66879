//! Operating system and processor of an image.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Error;

/// The platform of a descriptor, in the image index' form.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    pub architecture: String,
    pub os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// This machine's.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Self { architecture: architecture.to_owned(), os: "linux".to_owned(), variant: None }.normalized()
    }

    /// Reads `os/architecture[/variant]`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let refuse = || Error::Platform { input: crate::digest::excerpt(text) };
        let parts: Vec<&str> = text.split('/').collect();
        let word = |p: &&str| {
            p.starts_with(|c: char| c.is_ascii_alphanumeric())
                && p.len() <= 64
                && p.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        if !(2..=3).contains(&parts.len()) || !parts.iter().all(word) {
            return Err(refuse());
        }
        let variant = parts.get(2).map(|v| (*v).to_owned());
        Ok(Self { architecture: parts[1].to_owned(), os: parts[0].to_owned(), variant }.normalized())
    }

    /// Other spellings of the same processor folded into Go's, as containerd does: `x86_64` is `amd64`, `arm64` has the
    /// variant `v8` unsaid, `arm` without one is `v7`.
    fn normalized(self) -> Self {
        let Self { architecture, os, variant } = self;
        let (architecture, variant) = match (architecture.as_str(), variant.as_deref()) {
            ("x86_64" | "x86-64", v) => ("amd64".to_owned(), v.map(str::to_owned)),
            ("aarch64" | "arm64", None | Some("8" | "v8")) => ("arm64".to_owned(), None),
            ("aarch64", v) => ("arm64".to_owned(), v.map(str::to_owned)),
            ("armhf", _) => ("arm".to_owned(), Some("v7".to_owned())),
            ("armel", _) => ("arm".to_owned(), Some("v6".to_owned())),
            ("arm", None | Some("7")) => ("arm".to_owned(), Some("v7".to_owned())),
            ("amd64", Some("v1")) => ("amd64".to_owned(), None),
            _ => (architecture, variant),
        };
        Self { architecture, os, variant }
    }

    /// Whether an image for `self` runs where `wanted` is asked for.
    pub fn satisfies(&self, wanted: &Self) -> bool {
        let (have, want) = (self.clone().normalized(), wanted.clone().normalized());
        have.os == want.os && have.architecture == want.architecture && have.variant == want.variant
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_platform_satisfy_each_other() {
        let check = |have: &str, want: &str, expect: bool| {
            let got = Platform::parse(have).unwrap().satisfies(&Platform::parse(want).unwrap());
            assert_eq!(got, expect, "{have} for {want}");
        };
        check("linux/amd64", "linux/x86_64", true);
        check("linux/arm64/v8", "linux/arm64", true);
        check("linux/arm", "linux/arm/v7", true);
        check("linux/arm/v6", "linux/arm/v7", false);
        check("linux/amd64/v3", "linux/amd64", false);
        check("windows/amd64", "linux/amd64", false);
    }

    #[test]
    fn malformed_platforms_are_refused() {
        for bad in ["", "linux", "linux/", "/amd64", "linux/amd64/v1/x", "linux/am d64", "linux/../x"] {
            assert!(Platform::parse(bad).is_err(), "{bad} was accepted");
        }
    }
}
