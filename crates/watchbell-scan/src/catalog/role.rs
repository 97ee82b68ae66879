//! Which files tell of packages, by their names and first bytes alone.

use std::collections::HashSet;

use super::{interpreter, java, npm, python, rpm};
use crate::elf;
use crate::layers::{FileFacts, FileKind, Tree, Want};

/// What a file is to the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Role {
    OsRelease,
    DpkgStatus,
    /// One package of a distroless image.
    DpkgStatusOfOne,
    /// The files of one package of dpkg's.
    DpkgFiles,
    DebianCopyright,
    ApkInstalled,
    Rpm(rpm::Form),
    PythonMetadata,
    PythonRecord,
    Conda,
    CondaLock,
    Requirements,
    PythonTomlLock,
    PipfileLock,
    NpmPackage,
    NpmLock,
    YarnLock,
    PnpmLock,
    BunLock,
    CargoLock,
    Gemspec,
    GemfileLock,
    ComposerInstalled,
    ComposerLock,
    Jar,
    JavaRelease,
    /// A program or library; the name may say that it is an interpreter, or came in a wheel.
    Program,
}

/// Texts longer than this are of no package manager's making.
const TEXT_BYTES_MAX: u64 = 32 << 20;
const SMALL_BYTES_MAX: u64 = 4 << 20;

/// Of zip files.
const ARCHIVE_HEAD: &[u8] = b"PK";

impl Role {
    /// What a file of this name is, whatever is in it.
    pub(super) fn by_name(path: &str) -> Option<Self> {
        Self::of(path, ARCHIVE_HEAD)
    }

    pub(super) fn of(path: &str, head: &[u8]) -> Option<Self> {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        if elf::is_elf(head) {
            return Some(Self::Program);
        }
        let role = match name {
            "os-release" if is_at(directory, "etc") || is_at(directory, "usr/lib") => Self::OsRelease,
            "status" if is_at(directory, "var/lib/dpkg") => Self::DpkgStatus,
            "installed" if is_at(directory, "lib/apk/db") || is_at(directory, "usr/lib/apk/db") => {
                Self::ApkInstalled
            }
            "copyright" if directory.starts_with("usr/share/doc/") => Self::DebianCopyright,
            "METADATA" if directory.ends_with(".dist-info") => Self::PythonMetadata,
            "PKG-INFO" if directory.ends_with(".egg-info") || directory.ends_with("EGG-INFO") => {
                Self::PythonMetadata
            }
            "RECORD" if directory.ends_with(".dist-info") => Self::PythonRecord,
            "installed-files.txt" if directory.ends_with(".egg-info") => Self::PythonRecord,
            _ if python::is_requirements(directory, name) => Self::Requirements,
            "poetry.lock" | "uv.lock" | "pdm.lock" => Self::PythonTomlLock,
            _ if python::is_pylock(name) => Self::PythonTomlLock,
            _ if python::is_conda_lock(name) => Self::CondaLock,
            "Pipfile.lock" => Self::PipfileLock,
            "package.json" if npm::is_package(path) => Self::NpmPackage,
            "package-lock.json" | "npm-shrinkwrap.json" if !directory.contains("node_modules") => {
                Self::NpmLock
            }
            "yarn.lock" if !directory.contains("node_modules") => Self::YarnLock,
            "pnpm-lock.yaml" if !directory.contains("node_modules") => Self::PnpmLock,
            "bun.lock" if !directory.contains("node_modules") => Self::BunLock,
            "Cargo.lock" => Self::CargoLock,
            "Gemfile.lock" | "gems.locked" => Self::GemfileLock,
            "installed.json" if is_at(directory, "composer") => Self::ComposerInstalled,
            "composer.lock" => Self::ComposerLock,
            "release" => Self::JavaRelease,
            _ if is_at(directory, "var/lib/dpkg/status.d") => {
                if name.ends_with(".md5sums") {
                    Self::DpkgFiles
                } else {
                    Self::DpkgStatusOfOne
                }
            }
            _ if is_at(directory, "var/lib/dpkg/info") => {
                if !(name.ends_with(".list") || name.ends_with(".md5sums")) {
                    return None;
                }
                Self::DpkgFiles
            }
            _ if name.ends_with(".egg-info") => Self::PythonMetadata,
            _ if name.ends_with(".gemspec") && is_at(directory, "specifications")
                || name.ends_with(".gemspec") && is_at(directory, "specifications/default") =>
            {
                Self::Gemspec
            }
            _ if name.ends_with(".json") && is_at(directory, "conda-meta") => Self::Conda,
            // An executable one begins with a script.
            _ if java::is_jar(name)
                && (java::is_surely_jar(name)
                    || head.starts_with(ARCHIVE_HEAD)
                    || head.starts_with(b"#!")) =>
            {
                Self::Jar
            }
            _ => Self::Rpm(rpm::Form::of(path)?),
        };
        Some(role)
    }

    /// Files above this are not read; that is said.
    fn bytes_max(self) -> u64 {
        match self {
            Self::Rpm(_) | Self::Jar | Self::Program => u64::MAX,
            Self::DpkgStatus | Self::ApkInstalled => TEXT_BYTES_MAX,
            Self::NpmLock | Self::PnpmLock | Self::YarnLock | Self::BunLock | Self::CondaLock => {
                TEXT_BYTES_MAX
            }
            Self::PythonRecord | Self::Conda | Self::DpkgFiles => TEXT_BYTES_MAX,
            _ => SMALL_BYTES_MAX,
        }
    }

    pub(super) fn wants(self, facts: &FileFacts<'_>) -> Want {
        match self {
            _ if *facts.kind != FileKind::File || facts.size > self.bytes_max() => Want::Nothing,
            // A version is looked for in all of it.
            Self::Program if interpreter::is_interpreter(facts.path) => Want::Whole,
            Self::Program => Want::Program,
            _ => Want::Whole,
        }
    }

    /// Whether it is too large to be read.
    pub(super) fn is_too_large(self, facts: &FileFacts<'_>) -> bool {
        *facts.kind == FileKind::File && facts.size > self.bytes_max()
    }

    /// What it tells of is installed by the distribution.
    pub(super) fn is_database(self) -> bool {
        matches!(self, Self::DpkgStatus | Self::DpkgStatusOfOne | Self::ApkInstalled | Self::Rpm(_))
    }
}

/// Where package managers have what they know of a distribution's packages.
const DATABASES: [&str; 8] = [
    "var/lib/dpkg/status",
    "var/lib/dpkg/status.d/",
    "var/lib/dpkg/info/",
    "usr/lib/apk/db/installed",
    "lib/apk/db/installed",
    "var/lib/rpm/",
    "usr/lib/sysimage/rpm/",
    "usr/share/rpm/",
];

/// The root of the system that a database of packages is of: empty for the image's own, `rootfs/` for one that lies within it.
pub(super) fn root_of(path: &str) -> Option<&str> {
    let begins = |place: &&str| {
        let at = path.rfind(*place)?;
        let rest = &path[at + place.len()..];
        let is_whole = if place.ends_with('/') { !rest.contains('/') } else { rest.is_empty() };
        (is_whole && (at == 0 || path.as_bytes()[at - 1] == b'/')).then_some(at)
    };
    DATABASES.iter().filter_map(begins).min().map(|at| &path[..at])
}

/// Where the databases really are that a package manager in the image finds at their places.
pub(super) fn databases_seen(tree: &Tree) -> HashSet<String> {
    DATABASES.iter().filter_map(|place| tree.real_path(place)).collect()
}

/// Whether this is one of those, or a file in one that is a directory.
pub(super) fn is_one_of(databases: &HashSet<String>, path: &str) -> bool {
    databases.contains(path) || path.rsplit_once('/').is_some_and(|(parent, _)| databases.contains(parent))
}

/// A directory, be it of the image or of a root file system within it.
fn is_at(directory: &str, place: &str) -> bool {
    directory.strip_suffix(place).is_some_and(|root| root.is_empty() || root.ends_with('/'))
}

/// Whether a library came with a wheel.
pub(super) fn is_vendored(path: &str) -> bool {
    python::is_vendored(path)
}
