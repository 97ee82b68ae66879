//! Package URLs as patterns: what a statement leaves unsaid, it leaves open.

use std::fmt;

/// `pkg:type/namespace/name@version?qualifiers` (package-url/purl-spec). Without a version every version is meant; qualifiers
/// that are stated must be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurlPattern {
    kind: String,
    /// Namespace and name, decoded: `debian/openssl`.
    path: String,
    version: Option<String>,
    qualifiers: Vec<(String, String)>,
}

impl PurlPattern {
    /// `None` for what is no package URL.
    pub fn parse(text: &str) -> Option<PurlPattern> {
        let rest = text.strip_prefix("pkg:")?.trim_start_matches('/');
        let rest = rest.split('#').next().unwrap_or(rest);
        let (rest, qualifiers) = rest.split_once('?').unwrap_or((rest, ""));
        let (kind, rest) = rest.split_once('/')?;
        // A scope's `@` is at the start of a part, or written as `%40`.
        let (path, version) = match rest.rsplit_once('@') {
            Some((path, version)) if !path.is_empty() && !path.ends_with('/') => (path, Some(version)),
            _ => (rest, None),
        };
        let kind = kind.to_ascii_lowercase();
        let path = decoded(path.trim_matches('/'))?;
        if kind.is_empty() || path.is_empty() {
            return None;
        }
        // Those whose URLs the specification has in lower case, ours of them too.
        let is_caseless = matches!(
            kind.as_str(),
            "pypi" | "github" | "bitbucket" | "composer" | "deb" | "apk" | "oci" | "golang" | "npm"
        );
        let path = if is_caseless { path.to_ascii_lowercase() } else { path };
        let path = if kind == "pypi" { path.replace('_', "-") } else { path };
        let mut pairs = Vec::new();
        for pair in qualifiers.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=')?;
            pairs.push((name.to_ascii_lowercase(), decoded(value)?));
        }
        let version = version.map(decoded).map_or(Some(None), |version| version.map(Some))?;
        Some(PurlPattern { kind, path, version, qualifiers: pairs })
    }

    /// Whether a package's own URL is one that this pattern means.
    pub fn matches(&self, purl: &PurlPattern) -> bool {
        self.kind == purl.kind
            && self.path == purl.path
            && self.version.as_ref().is_none_or(|version| purl.version.as_ref() == Some(version))
            && self.qualifiers.iter().all(|pair| purl.qualifiers.contains(pair))
    }

    pub(super) fn kind(&self) -> &str {
        &self.kind
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    pub(super) fn qualifier(&self, name: &str) -> Option<&str> {
        self.qualifiers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl fmt::Display for PurlPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pkg:{}/{}", self.kind, self.path)?;
        match &self.version {
            Some(version) => write!(f, "@{version}"),
            None => Ok(()),
        }
    }
}

/// `%40` and the like; `None` for what decodes to no text.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            let value = digit(rest.next())? * 16 + digit(rest.next())?;
            bytes.push(u8::try_from(value).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::PurlPattern;

    fn parse(text: &str) -> PurlPattern {
        PurlPattern::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn what_is_unsaid_is_open() {
        let check = |pattern: &str, purl: &str, expect: bool| {
            assert_eq!(parse(pattern).matches(&parse(purl)), expect, "{pattern} {purl}");
        };
        let openssl = "pkg:deb/debian/openssl@3.0.11-1~deb12u2?arch=amd64&distro=debian-12";
        check(openssl, openssl, true);
        check("pkg:deb/debian/openssl", openssl, true);
        check("pkg:deb/debian/openssl@3.0.11-1~deb12u2", openssl, true);
        check("pkg:deb/debian/openssl@3.0.11-1%7Edeb12u2", openssl, true);
        check("pkg:deb/debian/openssl?arch=amd64", openssl, true);
        check("pkg:deb/debian/openssl?arch=arm64", openssl, false);
        check("pkg:deb/debian/openssl@3", openssl, false);
        check("pkg:deb/ubuntu/openssl", openssl, false);
        check("pkg:pypi/Zope_Interface", "pkg:pypi/zope-interface@5", true);
        check("pkg:npm/%40angular/core@1.0", "pkg:npm/@angular/core@1.0", true);
        check(
            "pkg:golang/github.com/Masterminds/goutils",
            "pkg:golang/github.com/masterminds/goutils@v1",
            true,
        );
        check("pkg:npm/JSONStream@1.0", "pkg:npm/jsonstream@1.0", true);
        check("pkg:maven/org.A/b", "pkg:maven/org.a/b@1", false);
        check(openssl, "pkg:deb/debian/openssl", false);
    }

    #[test]
    fn what_is_no_package_url_is_refused() {
        for text in ["", "pkg:", "pkg:deb", "openssl", "pkg:/x", "pkg:deb/%zz", "pkg:deb/a?b", "pkg:deb/%ff"]
        {
            assert_eq!(PurlPattern::parse(text), None, "{text}");
        }
    }
}
