//! Linux capabilities as a set, by the names Kubernetes uses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Names in the order of the kernel's numbers (linux/capability.h).
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// A set of capabilities; bit n is the kernel's capability n.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Capabilities(u64);

impl Capabilities {
    pub const NONE: Capabilities = Capabilities(0);
    /// Every capability this program knows.
    pub const ALL: Capabilities = Capabilities((1 << NAMES.len()) - 1);
    /// What containerd and Docker leave to a container that asks for nothing, and so what Kubernetes' `baseline` gives:
    /// AUDIT_WRITE, CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, MKNOD, NET_BIND_SERVICE, NET_RAW, SETFCAP, SETGID,
    /// SETPCAP, SETUID, SYS_CHROOT.
    pub const RUNTIME_DEFAULT: Capabilities = Capabilities(
        1 << 0
            | 1 << 1
            | 1 << 3
            | 1 << 4
            | 1 << 5
            | 1 << 6
            | 1 << 7
            | 1 << 8
            | 1 << 10
            | 1 << 13
            | 1 << 18
            | 1 << 27
            | 1 << 29
            | 1 << 31,
    );

    pub fn with(self, other: Capabilities) -> Capabilities {
        Capabilities(self.0 | other.0)
    }

    pub fn without(self, other: Capabilities) -> Capabilities {
        Capabilities(self.0 & !other.0)
    }

    /// Their names, without `CAP_`.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.iter().enumerate().filter(move |(n, _)| self.0 & 1 << n != 0).map(|(_, name)| *name)
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn contains(self, other: Capabilities) -> bool {
        self.0 & other.0 == other.0
    }

    /// The kernel's bit mask.
    pub fn bits(self) -> u64 {
        self.0
    }
}

/// A name that is no capability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown capability \"{0}\"; write a name of capabilities(7) without CAP_, such as NET_BIND_SERVICE, or ALL"
)]
pub struct ParseCapabilityError(pub String);

/// One name as Kubernetes writes it (`NET_RAW`; `CAP_NET_RAW` is taken too), or `ALL`.
impl FromStr for Capabilities {
    type Err = ParseCapabilityError;

    fn from_str(name: &str) -> Result<Self, ParseCapabilityError> {
        let upper = name.to_ascii_uppercase();
        if upper == "ALL" {
            return Ok(Capabilities::ALL);
        }
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let number = NAMES.iter().position(|known| *known == bare);
        number.map(|n| Capabilities(1 << n)).ok_or_else(|| ParseCapabilityError(name.to_owned()))
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        if *self == Capabilities::ALL {
            return f.write_str("ALL");
        }
        let mut separator = "";
        for (n, name) in NAMES.iter().enumerate() {
            if self.0 & (1 << n) != 0 {
                write!(f, "{separator}{name}")?;
                separator = ",";
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_printed() {
        let set: Capabilities = "NET_BIND_SERVICE".parse().unwrap();
        assert_eq!(set.bits(), 1 << 10);
        assert_eq!("cap_bpf".parse::<Capabilities>().unwrap().bits(), 1 << 39);
        assert_eq!("ALL".parse::<Capabilities>().unwrap(), Capabilities::ALL);
        assert_eq!(set.with("CHOWN".parse().unwrap()).to_string(), "CHOWN,NET_BIND_SERVICE");
        assert_eq!(Capabilities::NONE.to_string(), "none");
        assert!("NET_BIND".parse::<Capabilities>().is_err());
        assert_eq!(
            Capabilities::RUNTIME_DEFAULT.to_string(),
            "CHOWN,DAC_OVERRIDE,FOWNER,FSETID,KILL,SETGID,SETUID,SETPCAP,NET_BIND_SERVICE,NET_RAW,SYS_CHROOT,MKNOD,\
             AUDIT_WRITE,SETFCAP"
        );
    }
}
