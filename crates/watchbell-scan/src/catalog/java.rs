//! Jars: `META-INF/maven/…/pom.properties`, else the manifest, else the file's name; and jars inside of jars.
//!
//! A jar is a zip archive of strangers: how many entries are looked at, how deep, and how much is unpacked of one file are
//! bounded, by the bytes that come out and not by what the archive says of them.

use std::io::{Cursor, Read};

use zip::ZipArchive;

use super::item::{Item, lines};
use crate::{Evidence, PackageKind};

/// Entries of one archive.
const ENTRIES_MAX: usize = 200_000;
/// Headers of entries in an archive and in those that it stores.
const HEADERS_MAX: usize = 4 * ENTRIES_MAX;
/// With which the central directory begins each entry.
const CENTRAL_HEADER: &[u8] = b"PK\x01\x02";
/// Jars above one another: a program archive holds libraries, which seldom hold more.
const DEPTH_MAX: usize = 4;
/// A manifest or `pom.properties`, unpacked.
const TEXT_BYTES_MAX: u64 = 1 << 20;
/// Everything unpacked of one file, inner jars included.
const UNPACKED_BYTES_MAX: u64 = 256 << 20;
/// One inner jar; half of it for one in that, and so on.
const INNER_BYTES_MAX: u64 = 64 << 20;
/// Packages of one file.
const JARS_MAX: usize = 20_000;
/// The name of an entry that is looked at.
const NAME_BYTES_MAX: usize = 1024;
/// Troubles of one file that are told one by one.
const GAPS_MAX: usize = 50;
/// What an entry costs that unpacks to nothing: its header is read all the same.
const ENTRY_BYTES: u64 = 1024;

/// What a jar holds, with the way to it for those inside: `a.war/WEB-INF/lib/b.jar`.
#[derive(Debug, Default)]
pub(crate) struct Jar {
    pub(crate) items: Vec<(Item, Option<String>)>,
    /// What could not be read of it.
    pub(crate) gaps: Vec<String>,
    /// The same that is not told.
    untold: usize,
}

impl Jar {
    fn gap(&mut self, reason: String) {
        if self.gaps.len() < GAPS_MAX {
            self.gaps.push(reason);
        } else {
            self.untold += 1;
        }
    }
}

pub(crate) fn is_jar(path: &str) -> bool {
    let extension = path.rsplit_once('.').map(|(_, e)| e.to_ascii_lowercase());
    matches!(
        extension.as_deref(),
        Some("jar" | "war" | "ear" | "par" | "sar" | "nar" | "jpi" | "hpi" | "lpkg")
    )
}

/// Whether nothing else has such a name, so that one that is no archive is a gap.
pub(crate) fn is_surely_jar(path: &str) -> bool {
    let extension = path.rsplit_once('.').map(|(_, e)| e.to_ascii_lowercase());
    matches!(extension.as_deref(), Some("jar" | "war" | "ear"))
}

pub(crate) fn read(bytes: &[u8], file_name: &str) -> Jar {
    let mut jar = Jar::default();
    if bytes.is_empty() {
        return jar;
    }
    let mut left = UNPACKED_BYTES_MAX;
    archive(bytes, file_name, None, 0, &mut left, &mut jar);
    if jar.untold > 0 {
        jar.gaps.push(format!("{} more of its entries cannot be read", jar.untold));
    }
    jar
}

fn archive(bytes: &[u8], file_name: &str, inside: Option<&str>, depth: usize, left: &mut u64, jar: &mut Jar) {
    let at = || inside.map(|way| format!("{way}: ")).unwrap_or_default();
    // All that the central directory lists is in memory before anybody can ask how much it is. Jars that are stored in this one
    // have such headers too, so there may be some more than it has entries.
    let headers = bytes.windows(CENTRAL_HEADER.len()).filter(|bytes| *bytes == CENTRAL_HEADER).count();
    if headers > HEADERS_MAX {
        return jar.gap(format!("{}it has more than {ENTRIES_MAX} entries", at()));
    }
    let mut zip = match ZipArchive::new(Cursor::new(bytes)) {
        Ok(zip) => zip,
        Err(e) => return jar.gap(format!("{}it is no archive that can be read: {e}", at())),
    };
    if zip.len() > ENTRIES_MAX {
        return jar.gap(format!("{}it has more than {ENTRIES_MAX} entries", at()));
    }
    let wanted: Vec<(usize, String)> = (0..zip.len())
        .filter_map(|index| Some((index, zip.name_for_index(index)?.ok()?.into_owned())))
        .filter(|(_, name)| {
            name.eq_ignore_ascii_case("META-INF/MANIFEST.MF")
                || (name.starts_with("META-INF/maven/") && name.ends_with("/pom.properties"))
                || (is_jar(name) && !name.ends_with('/'))
        })
        .collect();
    let mut manifest = Manifest::default();
    let mut poms = Vec::new();
    for (index, name) in wanted {
        if jar.items.len() + poms.len() > JARS_MAX {
            return jar.gap(format!("{}it holds more than {JARS_MAX} libraries", at()));
        }
        if *left == 0 {
            return jar.gap(format!("{}it unpacks to more than {UNPACKED_BYTES_MAX} bytes", at()));
        }
        if name.len() > NAME_BYTES_MAX {
            jar.gap(format!("{}the name of an entry has more than {NAME_BYTES_MAX} bytes", at()));
            continue;
        }
        let is_inner = is_jar(&name);
        if is_inner && depth + 1 >= DEPTH_MAX {
            jar.gap(format!("{}{name}: it lies in more than {DEPTH_MAX} archives", at()));
            continue;
        }
        // All that lie above one another are in memory at once.
        let max = (*left).min(if is_inner { INNER_BYTES_MAX >> depth } else { TEXT_BYTES_MAX });
        let mut content = Vec::new();
        let unpacked = unpack(&mut zip, index, max, &mut content);
        // What does not unpack to its end has cost as much as what does.
        *left = left.saturating_sub(content.len() as u64 + ENTRY_BYTES);
        if let Err(reason) = unpacked {
            jar.gap(format!("{}{name}: {reason}", at()));
            continue;
        }
        if is_inner {
            let way = match inside {
                Some(way) => format!("{way}/{name}"),
                None => name.clone(),
            };
            let inner_name = name.rsplit('/').next().unwrap_or(&name);
            archive(&content, inner_name, Some(&way), depth + 1, left, jar);
        } else if name.ends_with("pom.properties") {
            poms.extend(pom(&content));
        } else {
            manifest = Manifest::read(&content);
        }
    }
    let inside = inside.map(str::to_owned);
    let (base, name_version) = split_name(file_name);
    if poms.is_empty() {
        jar.items.extend(manifest.item(base, name_version).map(|item| (item, inside)));
        return;
    }
    // A jar that was shaded has several; each was put in as what it says.
    jar.items.extend(poms.into_iter().map(|item| (item, inside.clone())));
}

/// `content` has what was unpacked, also where the rest could not be.
fn unpack(
    zip: &mut ZipArchive<Cursor<&[u8]>>,
    index: usize,
    max: u64,
    content: &mut Vec<u8>,
) -> Result<(), String> {
    let file = zip.by_index(index).map_err(|e| e.to_string())?;
    file.take(max + 1).read_to_end(content).map_err(|e| e.to_string())?;
    if content.len() as u64 > max {
        return Err(format!("it unpacks to more than {max} bytes"));
    }
    Ok(())
}

fn pom(bytes: &[u8]) -> Option<Item> {
    let (mut group, mut artifact, mut version) = (String::new(), String::new(), String::new());
    for line in lines(bytes) {
        let Some((key, value)) = line.split_once('=') else { continue };
        match key.trim() {
            "groupId" => value.trim().clone_into(&mut group),
            "artifactId" => value.trim().clone_into(&mut artifact),
            "version" => value.trim().clone_into(&mut version),
            _ => {}
        }
    }
    // A template that nobody filled in.
    if group.is_empty() || artifact.is_empty() || version.is_empty() || version.contains("${") {
        return None;
    }
    Item::new(PackageKind::Maven, &format!("{group}:{artifact}"), &version, Evidence::Installed)
}

/// The main section of `MANIFEST.MF` (JAR File Specification): a line that begins with a space goes on with the one before.
#[derive(Default)]
struct Manifest {
    title: String,
    version: String,
    vendor: String,
    bundle_name: String,
    bundle_version: String,
    licence: String,
}

impl Manifest {
    fn read(bytes: &[u8]) -> Self {
        let mut joined: Vec<String> = Vec::new();
        for line in lines(bytes) {
            if line.is_empty() {
                break;
            }
            match (line.strip_prefix(' '), joined.last_mut()) {
                (Some(rest), Some(last)) => last.push_str(rest),
                _ => joined.push(line.into_owned()),
            }
        }
        let mut manifest = Self::default();
        for line in joined {
            let Some((key, value)) = line.split_once(':') else { continue };
            let field = match key {
                "Implementation-Title" => &mut manifest.title,
                "Implementation-Version" => &mut manifest.version,
                "Implementation-Vendor-Id" => &mut manifest.vendor,
                "Bundle-SymbolicName" => &mut manifest.bundle_name,
                "Bundle-Version" => &mut manifest.bundle_version,
                "Bundle-License" => &mut manifest.licence,
                _ => continue,
            };
            value.trim().clone_into(field);
        }
        manifest
    }

    /// The name that the file has comes first: titles of manifests are prose as often as names.
    fn item(&self, base: &str, name_version: Option<&str>) -> Option<Item> {
        let stated = [&self.version, &self.bundle_version]
            .into_iter()
            .find(|v| v.starts_with(|c: char| c.is_ascii_digit()) && !v.contains("${"));
        let (version, evidence) = match (stated, name_version) {
            (Some(version), _) => (version.as_str(), Evidence::Installed),
            (None, Some(version)) => (version, Evidence::FileName),
            // It is a jar, but which cannot be told.
            (None, None) => return None,
        };
        let bundle = self.bundle_name.split(';').next().unwrap_or_default().trim();
        let group = if self.vendor.contains('.') && !self.vendor.contains(' ') {
            self.vendor.as_str()
        } else if base.contains('-')
            && let Some(group) = bundle.strip_suffix(base).and_then(|g| g.strip_suffix('.'))
        {
            // The bundle plugin of Maven joins group and artifact, but for an artifact that the group ends with.
            group
        } else if bundle.contains('.') {
            bundle
        } else {
            base
        };
        let item = Item::new(PackageKind::Maven, &format!("{group}:{base}"), version, evidence)?;
        Some(item.licensed(&self.licence))
    }
}

/// `guava-33.0.0-jre.jar` is guava 33.0.0-jre.
fn split_name(file_name: &str) -> (&str, Option<&str>) {
    let stem = file_name.rsplit_once('.').map_or(file_name, |(stem, _)| stem);
    let digit_behind = |at: usize| stem[at + 1..].starts_with(|c: char| c.is_ascii_digit());
    match stem.match_indices('-').map(|(at, _)| at).find(|at| *at > 0 && digit_behind(*at)) {
        Some(at) => (&stem[..at], Some(&stem[at + 1..])),
        None => (stem, None),
    }
}
