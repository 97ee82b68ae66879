//! Whose package it is: which rules its versions follow, and how its name is written.

use std::borrow::Cow;
use std::fmt;

use crate::version::Rules;

/// Who numbers a package's versions, and by whose rules they are compared. The names are those of the OSV schema.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ecosystem {
    /// `release` is the major version: `12`; `sid` for the unstable one, which has no number.
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
    /// `release` is the major version: `9`. The same for the two below.
    AlmaLinux {
        release: String,
    },
    Rocky {
        release: String,
    },
    RedHat {
        release: String,
    },
    /// `release` is what the distribution calls itself behind its name: `Leap 15.6`, `Tumbleweed`.
    OpenSuse {
        release: String,
    },
    /// `release` is the major version: `3`. The same for the one below.
    AzureLinux {
        release: String,
    },
    Mageia {
        release: String,
    },
    /// These two have no releases.
    Wolfi,
    Chainguard,
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
/// distribution is asked for by its source package and that one's version; of those whose advisories list what was built
/// (AlmaLinux, Rocky, Red Hat, Wolfi, Chainguard) by its own name: [`Ecosystem::is_by_source`].
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    pub ecosystem: &'a Ecosystem,
    pub name: &'a str,
    pub version: &'a str,
}

/// Releases of Debian by codename, as its security tracker calls them.
const DEBIAN_CODENAMES: [(&str, &str); 11] = [
    ("squeeze", "6"),
    ("wheezy", "7"),
    ("jessie", "8"),
    ("stretch", "9"),
    ("buster", "10"),
    ("bullseye", "11"),
    ("bookworm", "12"),
    ("trixie", "13"),
    ("forky", "14"),
    ("duke", "15"),
    ("sid", "sid"),
];

impl Ecosystem {
    /// Of a distribution as `ID` and `VERSION_ID` of its os-release file name it; `None` when no rules are known for it.
    pub fn from_distribution(id: &str, version_id: Option<&str>) -> Option<Ecosystem> {
        let version = version_id.map(str::trim).filter(|version| !version.is_empty());
        let major = || version.and_then(|v| v.split('.').next()).map(str::to_owned);
        Some(match id {
            // Testing and unstable have no VERSION_ID.
            "debian" => Ecosystem::Debian { release: major().unwrap_or_else(|| "sid".to_owned()) },
            "ubuntu" => Ecosystem::Ubuntu { release: version?.to_owned() },
            "alpine" => Ecosystem::Alpine { release: alpine_branch(version?) },
            "almalinux" => Ecosystem::AlmaLinux { release: major()? },
            "rocky" => Ecosystem::Rocky { release: major()? },
            // CentOS Linux was built from Red Hat's sources, with their numbers.
            "rhel" | "centos" => Ecosystem::RedHat { release: major()? },
            "opensuse-leap" => Ecosystem::OpenSuse { release: format!("Leap {}", version?) },
            "opensuse-tumbleweed" => Ecosystem::OpenSuse { release: "Tumbleweed".to_owned() },
            "azurelinux" | "mariner" => Ecosystem::AzureLinux { release: major()? },
            "mageia" => Ecosystem::Mageia { release: major()? },
            "wolfi" => Ecosystem::Wolfi,
            "chainguard" => Ecosystem::Chainguard,
            _ => return None,
        })
    }

    /// Of a name of the OSV schema, such as `PyPI`, `Debian:12` or `Alpine:v3.20`; `None` for one that is not read: another
    /// ecosystem, or packages that only paying customers get.
    pub fn from_osv(name: &str) -> Option<Ecosystem> {
        let (family, suffix) = match name.split_once(':') {
            Some((family, suffix)) => (family, suffix),
            None => (name, ""),
        };
        let part = |n: usize| suffix.split(':').nth(n).filter(|part| !part.is_empty()).map(str::to_owned);
        Some(match family {
            "Debian" => Ecosystem::Debian { release: debian_release(&part(0)?) },
            "Ubuntu" if suffix.starts_with("Pro") => return None,
            "Ubuntu" => Ecosystem::Ubuntu { release: part(0)? },
            "Alpine" => Ecosystem::Alpine { release: suffix.strip_prefix('v').unwrap_or(suffix).to_owned() },
            "AlmaLinux" => Ecosystem::AlmaLinux { release: part(0)? },
            "Rocky Linux" => Ecosystem::Rocky { release: part(0)? },
            // Written as the end of a CPE: `enterprise_linux:9::baseos`.
            "Red Hat" if suffix.starts_with("enterprise_linux:") => {
                Ecosystem::RedHat { release: part(1)?.split('.').next()?.to_owned() }
            }
            "openSUSE" => Ecosystem::OpenSuse { release: part(0)? },
            "Azure Linux" => Ecosystem::AzureLinux { release: part(0)? },
            "Mageia" => Ecosystem::Mageia { release: part(0)? },
            "Wolfi" => Ecosystem::Wolfi,
            "Chainguard" => Ecosystem::Chainguard,
            "PyPI" => Ecosystem::PyPI,
            "npm" => Ecosystem::Npm,
            "crates.io" => Ecosystem::CratesIo,
            "Go" => Ecosystem::Go,
            "Maven" => Ecosystem::Maven,
            "RubyGems" => Ecosystem::RubyGems,
            "Packagist" => Ecosystem::Packagist,
            "Bitnami" => Ecosystem::Upstream,
            _ => return None,
        })
    }

    /// Of a release of Debian by codename; `None`: not known.
    pub fn debian(codename: &str) -> Option<Ecosystem> {
        let (_, release) = DEBIAN_CODENAMES.into_iter().find(|(name, _)| *name == codename)?;
        Some(Ecosystem::Debian { release: release.to_owned() })
    }

    /// One repository of a release, as an index names it: `Alpine:v3.20/main`.
    pub(crate) fn in_repository(&self, repository: &str) -> String {
        format!("{self}/{repository}")
    }

    /// The repositories that a release's packages are in as a rule, where advisories come by repository.
    pub(crate) fn repositories(&self) -> &'static [&'static str] {
        match self {
            Ecosystem::Alpine { .. } => &["main", "community"],
            _ => &[],
        }
    }

    /// Whether a distribution builds and mends the packages, so that its word on them counts, not upstream's.
    pub fn is_distribution(&self) -> bool {
        matches!(self.rules(), Rules::Dpkg | Rules::Rpm | Rules::Apk)
    }

    /// Whether advisories name what a distribution's packages were built from, and not the packages.
    pub fn is_by_source(&self) -> bool {
        matches!(
            self,
            Ecosystem::Debian { .. }
                | Ecosystem::Ubuntu { .. }
                | Ecosystem::Alpine { .. }
                | Ecosystem::OpenSuse { .. }
                | Ecosystem::AzureLinux { .. }
                | Ecosystem::Mageia { .. }
        )
    }

    /// The name in the one form that the index knows.
    pub fn normalize<'a>(&self, name: &'a str) -> Cow<'a, str> {
        match self {
            // PEP 503
            Ecosystem::PyPI => pep503(name),
            // The registry takes no two crates that differ in this alone.
            Ecosystem::CratesIo if name.contains('_') => Cow::Owned(name.replace('_', "-")),
            Ecosystem::Packagist if name.contains(|c: char| c.is_ascii_uppercase()) => {
                Cow::Owned(name.to_ascii_lowercase())
            }
            // Paths of modules, `group:artifact`, `@scope/name` and names of gems are told apart by case.
            _ => Cow::Borrowed(name),
        }
    }

    /// Whether this source package is the kernel of its distribution: in a container its code does not run.
    pub fn is_kernel(&self, name: &str) -> bool {
        match self.rules() {
            Rules::Dpkg | Rules::Apk => {
                name == "linux"
                    || name.strip_prefix("linux-").is_some_and(|rest| {
                        // `linux-5.10`: a newer kernel for an older release.
                        rest.starts_with(|c: char| c.is_ascii_digit())
                            || KERNEL_FLAVOURS.iter().any(|known| rest.starts_with(known))
                    })
            }
            Rules::Rpm => name == "kernel" || name.starts_with("kernel-"),
            _ => false,
        }
    }

    /// Of a distribution: how its packages are kept, `deb`, `rpm` or `apk`.
    pub fn package_format(&self) -> Option<&'static str> {
        match self.rules() {
            Rules::Dpkg => Some("deb"),
            Rules::Rpm => Some("rpm"),
            Rules::Apk => Some("apk"),
            _ => None,
        }
    }

    pub(crate) fn rules(&self) -> Rules {
        match self {
            Ecosystem::Debian { .. } | Ecosystem::Ubuntu { .. } => Rules::Dpkg,
            Ecosystem::Alpine { .. } | Ecosystem::Wolfi | Ecosystem::Chainguard => Rules::Apk,
            Ecosystem::AlmaLinux { .. }
            | Ecosystem::Rocky { .. }
            | Ecosystem::RedHat { .. }
            | Ecosystem::OpenSuse { .. }
            | Ecosystem::AzureLinux { .. }
            | Ecosystem::Mageia { .. } => Rules::Rpm,
            Ecosystem::PyPI => Rules::Pep440,
            Ecosystem::Npm | Ecosystem::CratesIo => Rules::Semver,
            Ecosystem::Go => Rules::Go,
            Ecosystem::Maven | Ecosystem::Upstream => Rules::Maven,
            Ecosystem::RubyGems => Rules::Gem,
            Ecosystem::Packagist => Rules::Composer,
        }
    }
}

/// As the OSV schema writes it, except that a release follows a colon without further words.
impl fmt::Display for Ecosystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ecosystem::Debian { release } => write!(f, "Debian:{release}"),
            Ecosystem::Ubuntu { release } => write!(f, "Ubuntu:{release}"),
            Ecosystem::Alpine { release } => write!(f, "Alpine:v{release}"),
            Ecosystem::AlmaLinux { release } => write!(f, "AlmaLinux:{release}"),
            Ecosystem::Rocky { release } => write!(f, "Rocky Linux:{release}"),
            Ecosystem::RedHat { release } => write!(f, "Red Hat:enterprise_linux:{release}"),
            Ecosystem::OpenSuse { release } => write!(f, "openSUSE:{release}"),
            Ecosystem::AzureLinux { release } => write!(f, "Azure Linux:{release}"),
            Ecosystem::Mageia { release } => write!(f, "Mageia:{release}"),
            Ecosystem::Wolfi => f.write_str("Wolfi"),
            Ecosystem::Chainguard => f.write_str("Chainguard"),
            Ecosystem::PyPI => f.write_str("PyPI"),
            Ecosystem::Npm => f.write_str("npm"),
            Ecosystem::CratesIo => f.write_str("crates.io"),
            Ecosystem::Go => f.write_str("Go"),
            Ecosystem::Maven => f.write_str("Maven"),
            Ecosystem::RubyGems => f.write_str("RubyGems"),
            Ecosystem::Packagist => f.write_str("Packagist"),
            Ecosystem::Upstream => f.write_str("Bitnami"),
        }
    }
}

/// What Debian, Ubuntu and Alpine call their builds of the kernel; others that begin with `linux-` (`linux-pam`,
/// `linux-firmware`) are not one.
const KERNEL_FLAVOURS: [&str; 24] = [
    "signed",
    "lts",
    "virt",
    "edge",
    "rpi",
    "asahi",
    "aws",
    "azure",
    "gcp",
    "gke",
    "gkeop",
    "hwe",
    "ibm",
    "intel-iotg",
    "kvm",
    "lowlatency",
    "nvidia",
    "oem",
    "oracle",
    "raspi",
    "realtime",
    "riscv",
    "restricted-modules",
    "xilinx-zynqmp",
];

/// `3.20.3` is of the branch `3.20`; edge has a version that ends in `_alpha` and a date.
fn alpine_branch(version: &str) -> String {
    if version.contains('_') || version == "edge" {
        return "edge".to_owned();
    }
    version.split('.').take(2).collect::<Vec<_>>().join(".")
}

/// Some publishers write `Debian:12`, some `Debian:bookworm`.
fn debian_release(text: &str) -> String {
    DEBIAN_CODENAMES
        .into_iter()
        .find(|(name, _)| *name == text)
        .map_or_else(|| text.to_owned(), |(_, release)| release.to_owned())
}

fn pep503(name: &str) -> Cow<'_, str> {
    let is_normal = |name: &str| {
        let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || !b.is_ascii();
        name.bytes().all(|b| is_plain(b) || b == b'-') && !name.contains("--")
    };
    if is_normal(name) {
        return Cow::Borrowed(name);
    }
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '-' | '_' | '.' if out.ends_with('-') => {}
            '-' | '_' | '.' => out.push('-'),
            c => out.push(c.to_ascii_lowercase()),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributions_are_known_by_their_os_release() {
        let check = |id: &str, version: Option<&str>, expect: Option<&str>| {
            let found = Ecosystem::from_distribution(id, version).map(|e| e.to_string());
            assert_eq!(found.as_deref(), expect, "{id} {version:?}");
        };
        check("debian", Some("12"), Some("Debian:12"));
        check("debian", None, Some("Debian:sid"));
        check("debian", Some(""), Some("Debian:sid"));
        check("ubuntu", Some("22.04"), Some("Ubuntu:22.04"));
        check("ubuntu", None, None);
        check("alpine", Some("3.20.3"), Some("Alpine:v3.20"));
        check("alpine", Some("3.23_alpha20250612"), Some("Alpine:vedge"));
        check("almalinux", Some("9.4"), Some("AlmaLinux:9"));
        check("rhel", Some("8.10"), Some("Red Hat:enterprise_linux:8"));
        check("opensuse-leap", Some("15.6"), Some("openSUSE:Leap 15.6"));
        check("opensuse-tumbleweed", Some("20240801"), Some("openSUSE:Tumbleweed"));
        check("azurelinux", Some("3.0"), Some("Azure Linux:3"));
        check("mariner", Some("2.0"), Some("Azure Linux:2"));
        check("mageia", Some("9"), Some("Mageia:9"));
        check("wolfi", Some("20230201"), Some("Wolfi"));
        check("chainguard", Some("20230214"), Some("Chainguard"));
        // Its advisories are by module and support phase, which the image does not say.
        check("sles", Some("15.6"), None);
        check("gentoo", Some("2.15"), None);
    }

    #[test]
    fn names_of_the_osv_schema_are_read_or_left() {
        let check =
            |name: &str, expect: Option<Ecosystem>| assert_eq!(Ecosystem::from_osv(name), expect, "{name}");
        let release = |text: &str| text.to_owned();
        check("Debian:12", Some(Ecosystem::Debian { release: release("12") }));
        check("Debian:bookworm", Some(Ecosystem::Debian { release: release("12") }));
        check("Debian", None);
        check("Ubuntu:22.04:LTS", Some(Ecosystem::Ubuntu { release: release("22.04") }));
        check("Ubuntu:Pro:18.04:LTS", None);
        check("Alpine:v3.20", Some(Ecosystem::Alpine { release: release("3.20") }));
        check("Red Hat:enterprise_linux:9::baseos", Some(Ecosystem::RedHat { release: release("9") }));
        check("Red Hat:openshift:4.12::el8", None);
        check("Rocky Linux:9", Some(Ecosystem::Rocky { release: release("9") }));
        for name in
            ["openSUSE:Leap 15.6", "openSUSE:Tumbleweed", "Azure Linux:3", "Mageia:9", "Wolfi", "Chainguard"]
        {
            assert_eq!(Ecosystem::from_osv(name).map(|known| known.to_string()).as_deref(), Some(name));
        }
        check("openSUSE", None);
        check("SUSE:Linux Enterprise Module for Basesystem 15 SP6", None);
        check("PyPI", Some(Ecosystem::PyPI));
        check("pypi", None);
        check("NuGet", None);
    }

    #[test]
    fn names_have_one_form() {
        let check =
            |ecosystem: &Ecosystem, name: &str, expect: &str| assert_eq!(ecosystem.normalize(name), expect);
        check(&Ecosystem::PyPI, "Zope.Interface", "zope-interface");
        check(&Ecosystem::PyPI, "a-_.b", "a-b");
        check(&Ecosystem::PyPI, "numpy", "numpy");
        check(&Ecosystem::CratesIo, "serde_json", "serde-json");
        check(&Ecosystem::Npm, "@babel/traverse", "@babel/traverse");
        check(&Ecosystem::Npm, "JSONStream", "JSONStream");
        check(&Ecosystem::Go, "github.com/Masterminds/goutils", "github.com/Masterminds/goutils");
        check(&Ecosystem::Packagist, "Symfony/Http-Kernel", "symfony/http-kernel");
        check(&Ecosystem::Maven, "org.yaml:snakeyaml", "org.yaml:snakeyaml");
    }

    #[test]
    fn kernels_are_a_class_of_their_own() {
        let debian = Ecosystem::Debian { release: "12".to_owned() };
        for kernel in ["linux", "linux-signed-amd64", "linux-5.10", "linux-aws-5.15"] {
            assert!(debian.is_kernel(kernel), "{kernel}");
        }
        for other in ["linux-pam", "linux-firmware", "linuxlogo", "util-linux", "openssl"] {
            assert!(!debian.is_kernel(other), "{other}");
        }
        let alma = Ecosystem::AlmaLinux { release: "9".to_owned() };
        assert!(alma.is_kernel("kernel-core") && alma.is_kernel("kernel") && !alma.is_kernel("kernelshark"));
        assert!(!Ecosystem::PyPI.is_kernel("linux"));
    }
}
