/// Who numbers a package's versions, and by whose rules they are compared. The names are those of the OSV schema.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ecosystem {
    /// `release` is the major version: `12`.
    Debian {
        release: String,
    },
    /// `release` is the version with the month: `22.04`.
    Ubuntu {
        release: String,
    },
    /// `release` is the branch: `3.20`, or `edge`.
    Alpine {
        release: String,
    },
    AlmaLinux {
        release: String,
    },
    Rocky {
        release: String,
    },
    RedHat {
        release: String,
    },
    PyPI,
    Npm,
    CratesIo,
    Go,
    Maven,
    RubyGems,
    Packagist,
    /// Programs by their own name, without a package manager: an interpreter of Python that was copied into an image.
    Upstream,
}

/// The question that the index answers: which advisories hold for this version of this package. A package of a
/// distribution is asked for by its source package and that one's version.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    pub ecosystem: &'a Ecosystem,
    pub name: &'a str,
    pub version: &'a str,
}
