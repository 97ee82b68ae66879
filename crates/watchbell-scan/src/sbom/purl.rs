//! Package URLs (the purl specification, ECMA-427): `pkg:type/namespace/name@version?qualifiers`.

use crate::{Distribution, Package, PackageKind, SourcePackage};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{input}\" is no package URL: {reason}")]
pub struct PurlError {
    pub input: String,
    pub reason: &'static str,
}

/// The type of a kind, as the specification registers it.
pub(super) fn type_of(kind: PackageKind) -> &'static str {
    match kind {
        PackageKind::Deb => "deb",
        PackageKind::Rpm => "rpm",
        PackageKind::Apk => "apk",
        PackageKind::Pypi => "pypi",
        PackageKind::Conda => "conda",
        PackageKind::Npm => "npm",
        PackageKind::Cargo => "cargo",
        PackageKind::Golang => "golang",
        PackageKind::Maven => "maven",
        PackageKind::Gem => "gem",
        PackageKind::Composer => "composer",
        PackageKind::Generic => "generic",
    }
}

fn kind_of(purl_type: &str) -> Option<PackageKind> {
    let kind = match purl_type {
        "deb" => PackageKind::Deb,
        "rpm" => PackageKind::Rpm,
        "apk" => PackageKind::Apk,
        "pypi" => PackageKind::Pypi,
        "conda" => PackageKind::Conda,
        "npm" => PackageKind::Npm,
        "cargo" => PackageKind::Cargo,
        "golang" => PackageKind::Golang,
        "maven" => PackageKind::Maven,
        "gem" => PackageKind::Gem,
        "composer" => PackageKind::Composer,
        "generic" => PackageKind::Generic,
        _ => return None,
    };
    Some(kind)
}

pub(super) fn write(package: &Package, distribution: Option<&Distribution>) -> String {
    let is_of_distribution = is_of_distribution(package.kind);
    let (namespace, name): (Vec<String>, String) = match package.kind {
        PackageKind::Deb | PackageKind::Rpm | PackageKind::Apk => (
            // The namespace is the vendor, which the release's identifier names.
            distribution.map(|d| d.id.to_lowercase()).into_iter().collect(),
            if package.kind == PackageKind::Rpm { package.name.clone() } else { package.name.to_lowercase() },
        ),
        PackageKind::Pypi => (Vec::new(), package.name.to_lowercase().replace('_', "-")),
        PackageKind::Maven => match package.name.split_once(':') {
            Some((group, artifact)) => (vec![group.to_owned()], artifact.to_owned()),
            None => (Vec::new(), package.name.clone()),
        },
        PackageKind::Npm => split(&package.name.to_lowercase()),
        PackageKind::Golang | PackageKind::Composer => split(&package.name.to_lowercase()),
        PackageKind::Conda | PackageKind::Cargo | PackageKind::Gem | PackageKind::Generic => {
            (Vec::new(), package.name.clone())
        }
    };
    let (epoch, version) = match (package.kind, package.version.split_once(':')) {
        // Of rpm the epoch is a qualifier.
        (PackageKind::Rpm, Some((epoch, version))) => (Some(epoch), version),
        _ => (None, package.version.as_str()),
    };
    let mut purl = format!("pkg:{}/", type_of(package.kind));
    for part in &namespace {
        purl.push_str(&encoded(part));
        purl.push('/');
    }
    purl.push_str(&encoded(&name));
    if !version.is_empty() {
        purl.push('@');
        purl.push_str(&encoded(version));
    }
    // In the order of their names.
    let mut qualifiers: Vec<(&str, String)> = Vec::new();
    if let Some(architecture) = &package.architecture {
        let key = if package.kind == PackageKind::Conda { "subdir" } else { "arch" };
        qualifiers.push((key, architecture.clone()));
    }
    if is_of_distribution && let Some(release) = distribution.and_then(release) {
        qualifiers.push(("distro", release));
    }
    if let Some(epoch) = epoch {
        qualifiers.push(("epoch", epoch.to_owned()));
    }
    if is_of_distribution && let Some(source) = &package.source {
        let upstream = if source.version == package.version {
            (source.name != package.name).then(|| source.name.clone())
        } else {
            Some(format!("{}@{}", source.name, source.version))
        };
        qualifiers.extend(upstream.map(|u| ("upstream", u)));
    }
    for (index, (key, value)) in qualifiers.iter().enumerate() {
        purl.push(if index == 0 { '?' } else { '&' });
        purl.push_str(&format!("{key}={}", encoded(value)));
    }
    purl
}

fn is_of_distribution(kind: PackageKind) -> bool {
    matches!(kind, PackageKind::Deb | PackageKind::Rpm | PackageKind::Apk)
}

/// `debian-12`
fn release(distribution: &Distribution) -> Option<String> {
    match (&distribution.version_id, &distribution.codename) {
        (Some(version), _) => Some(format!("{}-{version}", distribution.id)),
        // Debian's unreleased suites have a name alone.
        (None, Some(codename)) => Some(format!("{}-{codename}", distribution.id)),
        (None, None) => Some(distribution.id.clone()),
    }
}

fn split(name: &str) -> (Vec<String>, String) {
    match name.rsplit_once('/') {
        Some((namespace, name)) => (namespace.split('/').map(str::to_owned).collect(), name.to_owned()),
        None => (Vec::new(), name.to_owned()),
    }
}

/// All but letters, digits, `.-_~` and the colon is percent-encoded.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b".-_~:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// What a package URL says; `None` for a type that is none of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) kind: PackageKind,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) architecture: Option<String>,
    pub(super) source: Option<SourcePackage>,
    /// The release, as its qualifier has it: `debian-12`.
    pub(super) distribution: Option<String>,
    pub(super) namespace: String,
}

pub(super) fn parse(input: &str) -> Result<Option<Parsed>, PurlError> {
    let refuse =
        |reason| PurlError { input: input.chars().take(200).flat_map(char::escape_debug).collect(), reason };
    let rest = input.strip_prefix("pkg:").ok_or_else(|| refuse("it does not begin with pkg:"))?;
    let rest = rest.trim_start_matches('/');
    let rest = rest.split('#').next().unwrap_or(rest);
    let (rest, qualifiers) = rest.split_once('?').unwrap_or((rest, ""));
    let (purl_type, rest) = rest.split_once('/').ok_or_else(|| refuse("it has no name"))?;
    let Some(kind) = kind_of(&purl_type.to_ascii_lowercase()) else { return Ok(None) };
    // A scope of npm may begin with an @ that nobody encoded; a version stands behind the last part.
    let (path, version) = match rest.rsplit_once('@') {
        Some((path, version)) if !path.is_empty() && !path.ends_with('/') => (path, decoded(version)),
        _ => (rest, Some(String::new())),
    };
    let not_encoded = || refuse("a percent sign in it is not followed by two hexadecimal digits of UTF-8");
    let version = version.ok_or_else(not_encoded)?;
    let parts = path
        .split('/')
        .filter(|p| !p.is_empty())
        .map(decoded)
        .collect::<Option<Vec<String>>>()
        .ok_or_else(not_encoded)?;
    let (name, namespace) = parts.split_last().ok_or_else(|| refuse("it has no name"))?;
    let namespace = namespace.join("/");
    let mut parsed = Parsed {
        kind,
        name: match kind {
            PackageKind::Maven if !namespace.is_empty() => format!("{namespace}:{name}"),
            PackageKind::Npm | PackageKind::Golang | PackageKind::Composer if !namespace.is_empty() => {
                format!("{namespace}/{name}")
            }
            _ => name.clone(),
        },
        version,
        architecture: None,
        source: None,
        distribution: None,
        namespace,
    };
    let mut upstream = None;
    for pair in qualifiers.split('&').filter(|p| !p.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or_else(|| refuse("a qualifier has no value"))?;
        let value = decoded(value).ok_or_else(not_encoded)?;
        match key {
            "arch" | "subdir" => parsed.architecture = Some(value),
            "distro" => parsed.distribution = Some(value),
            "upstream" => upstream = Some(value),
            "epoch" if kind == PackageKind::Rpm => parsed.version = format!("{value}:{}", parsed.version),
            _ => {}
        }
    }
    if is_of_distribution(kind) {
        let upstream = upstream.unwrap_or_else(|| parsed.name.clone());
        let (name, version) = match upstream.split_once('@') {
            Some((name, version)) => (name.to_owned(), version.to_owned()),
            // Of rpm some write the name of the source package's file.
            None => match upstream.strip_suffix(".src.rpm").map(|f| f.rsplitn(3, '-').collect::<Vec<_>>()) {
                Some(parts) if parts.len() == 3 => {
                    (parts[2].to_owned(), format!("{}-{}", parts[1], parts[0]))
                }
                _ => (upstream, parsed.version.clone()),
            },
        };
        parsed.source = Some(SourcePackage { name, version });
    }
    Ok(Some(parsed))
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        bytes.push((digit()? * 16 + digit()?) as u8);
    }
    String::from_utf8(bytes).ok()
}
