//! Names and numbers of system calls, on the architectures that are served: a filter for one can be made and looked at on
//! the other.

use std::collections::HashMap;
use std::sync::LazyLock;

/// A processor architecture whose filters we make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arch {
    X86_64,
    Aarch64,
}

/// Which names a profile may hold at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    Here(u32),
    /// On other architectures only.
    Elsewhere,
    Nowhere,
}

impl Arch {
    /// This machine's.
    pub const NATIVE: Arch = if cfg!(target_arch = "aarch64") { Arch::Aarch64 } else { Arch::X86_64 };

    /// As OCI profiles write it.
    pub fn oci_name(self) -> &'static str {
        match self {
            Arch::X86_64 => "SCMP_ARCH_X86_64",
            Arch::Aarch64 => "SCMP_ARCH_AARCH64",
        }
    }

    /// As Docker's conditions of a rule write it.
    pub fn go_name(self) -> &'static str {
        match self {
            Arch::X86_64 => "amd64",
            Arch::Aarch64 => "arm64",
        }
    }

    pub fn number(self, name: &str) -> Known {
        match TABLE.get(name) {
            None => Known::Nowhere,
            Some(numbers) => numbers[self as usize].map_or(Known::Elsewhere, Known::Here),
        }
    }

    /// The name of a call, if this program knows it.
    pub fn name(self, number: u32) -> Option<&'static str> {
        NAMES[self as usize].get(&number).copied()
    }

    /// All calls that are known here.
    pub(crate) fn calls(self) -> impl Iterator<Item = (&'static str, u32)> {
        TABLE.iter().filter_map(move |(name, numbers)| Some((*name, numbers[self as usize]?)))
    }
}

type Table = HashMap<&'static str, [Option<u32>; 2]>;

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let rows = include_str!("syscalls.txt").lines().filter(|line| !line.starts_with('#'));
    rows.filter_map(|line| {
        let mut words = line.split(' ');
        let name = words.next()?;
        let mut number = || words.next().and_then(|word| word.parse().ok());
        Some((name, [number(), number()]))
    })
    .collect()
});

static NAMES: LazyLock<[HashMap<u32, &'static str>; 2]> = LazyLock::new(|| {
    [Arch::X86_64, Arch::Aarch64].map(|arch| arch.calls().map(|(name, number)| (number, name)).collect())
});

#[cfg(test)]
mod tests {
    use super::{Arch, Known};

    #[test]
    fn each_number_has_one_name_on_each_architecture() {
        for (arch, count) in [(Arch::X86_64, 383), (Arch::Aarch64, 325)] {
            let mut numbers: Vec<u32> = arch.calls().map(|(_, number)| number).collect();
            assert_eq!(numbers.len(), count);
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(numbers.len(), count, "{arch:?}");
            assert!(numbers.iter().all(|number| arch.name(*number).is_some()));
        }
    }

    #[test]
    fn numbers_differ_as_the_kernels_tables_do() {
        let check = |name: &str, x86_64: Known, aarch64: Known| {
            assert_eq!((Arch::X86_64.number(name), Arch::Aarch64.number(name)), (x86_64, aarch64), "{name}");
        };
        check("read", Known::Here(0), Known::Here(63));
        check("openat", Known::Here(257), Known::Here(56));
        check("clone", Known::Here(56), Known::Here(220));
        check("renameat", Known::Here(264), Known::Here(38));
        check("open", Known::Here(2), Known::Elsewhere);
        check("clone3", Known::Here(435), Known::Here(435));
        check("socketcall", Known::Elsewhere, Known::Elsewhere);
        check("opneat", Known::Nowhere, Known::Nowhere);
    }

    /// libc has the numbers of the architecture that it is built for, from a source of its own.
    #[test]
    fn the_numbers_are_those_of_libc() {
        macro_rules! check {
            ($($name:ident)*) => {
                $(assert_eq!(
                    Arch::NATIVE.number(&stringify!($name)[4..]),
                    Known::Here(libc::$name as u32),
                    stringify!($name)
                );)*
            };
        }
        check!(SYS_read SYS_write SYS_openat SYS_close SYS_mmap SYS_clone SYS_execve SYS_exit_group SYS_socket SYS_ioctl
            SYS_personality SYS_prctl SYS_mount SYS_umount2 SYS_unshare SYS_setns SYS_bpf SYS_ptrace SYS_keyctl
            SYS_perf_event_open SYS_io_uring_setup SYS_userfaultfd SYS_kexec_load SYS_init_module SYS_memfd_secret
            SYS_open_by_handle_at SYS_process_vm_readv SYS_seccomp SYS_clone3 SYS_openat2 SYS_statx SYS_mseal
            SYS_fchmodat SYS_newfstatat SYS_epoll_pwait2 SYS_futex_waitv SYS_landlock_create_ruleset);
    }
}
