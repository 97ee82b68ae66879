mod profiles;

use std::collections::BTreeSet;

use super::bpf::{Verdict, audit_arch, run};
use super::table::{ALLOWED, Entry, FLOOR, LAST_KNOWN, Lift, REFUSED};
use super::{Instruction, default_for, floor_for, numbered, verdicts};
use crate::syscalls::{Arch, Known};

const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;
const BOTH: [Arch; 2] = [Arch::X86_64, Arch::Aarch64];

fn errno(n: u32) -> u32 {
    0x0005_0000 | n
}

/// A filter of either architecture, whichever this machine has.
struct Asked {
    arch: Arch,
    program: Vec<Instruction>,
}

impl Asked {
    fn default(arch: Arch) -> Self {
        Self { arch, program: default_for(arch) }
    }

    fn floor(arch: Arch) -> Self {
        Self { arch, program: floor_for(arch) }
    }

    fn number(&self, number: u32, args: [u64; 6]) -> u32 {
        run(&self.program, audit_arch(self.arch), number, args).0
    }

    fn call(&self, name: &str, args: [u64; 6]) -> u32 {
        let Known::Here(number) = self.arch.number(name) else { panic!("{name} is not on {:?}", self.arch) };
        self.number(number, args)
    }
}

/// Each instruction is checked, converted and compiled anew for each task.
#[test]
fn the_filter_is_short() {
    for arch in BOTH {
        let length = Asked::default(arch).program.len();
        assert!(length < 160, "{length} instructions");
    }
}

#[test]
fn the_search_finds_what_the_table_says() {
    for arch in BOTH {
        let table: Vec<_> = verdicts(arch, ALLOWED).collect();
        let asked = Asked::default(arch);
        for number in 0..=LAST_KNOWN + 50 {
            let found = asked.number(number, [0; 6]);
            match table.iter().find(|(n, _)| *n == number) {
                Some((_, Verdict::Allow)) => assert_eq!(found, ALLOW, "{number}"),
                Some((_, Verdict::Errno(e))) => assert_eq!(found, errno(u32::from(*e)), "{number}"),
                Some((_, Verdict::If(_) | Verdict::IfAny(_) | Verdict::Unless(..))) => {}
                None if number > LAST_KNOWN => assert_eq!(found, errno(38), "{number}"),
                None => assert_eq!(found, errno(1), "{number}"),
            }
        }
    }
}

#[test]
fn every_call_is_decided_once_with_a_reason() {
    let names = |entries: &'static [Entry]| entries.iter().flat_map(|e| e.calls.iter().copied());
    let refused = || REFUSED.iter().flat_map(|r| r.calls.iter().copied());
    let mut decided = BTreeSet::new();
    for name in names(ALLOWED).chain(refused()) {
        assert!(decided.insert(name), "{name} stands twice");
        assert!(BOTH.iter().any(|arch| matches!(arch.number(name), Known::Here(_))), "{name} is no call");
    }
    for arch in BOTH {
        for (name, number) in arch.calls().filter(|(_, number)| *number <= LAST_KNOWN) {
            assert!(decided.contains(name), "nobody decided on {name} ({number})");
        }
        assert!(numbered(arch, names(ALLOWED).collect::<Vec<_>>().iter()).all(|n| n <= LAST_KNOWN));
    }
    let reasons = ALLOWED.iter().chain(FLOOR).map(|e| e.reason).chain(REFUSED.iter().map(|r| r.reason));
    assert!(reasons.into_iter().all(|reason| reason.len() > 10));
    // What the floor looks at is not refused altogether elsewhere.
    assert!(names(FLOOR).all(|name| names(ALLOWED).any(|allowed| allowed == name)));
}

#[test]
fn foreign_architectures_and_x32_end_the_process() {
    const I386: u32 = 0x4000_0003;
    const ARM: u32 = 0x4000_0028;
    for asked in BOTH.into_iter().flat_map(|arch| [Asked::default(arch), Asked::floor(arch)]) {
        let other = BOTH.into_iter().find(|arch| *arch != asked.arch).map(audit_arch);
        for foreign in [I386, ARM, other.unwrap_or(0)] {
            assert_eq!(run(&asked.program, foreign, 1, [0; 6]).0, KILL);
        }
        if asked.arch == Arch::X86_64 {
            assert_eq!(asked.number(0x4000_0000, [0; 6]), KILL);
            assert_eq!(asked.number(u32::MAX, [0; 6]), KILL);
        } else {
            assert_eq!(asked.number(u32::MAX, [0; 6]), errno(38));
        }
    }
}

#[test]
fn arguments_decide() {
    for arch in BOTH {
        let asked = Asked::default(arch);
        let socket = |family: u64, protocol: u64| asked.call("socket", [family, 1, protocol, 0, 0, 0]);
        for (family, verdict) in [
            (1, ALLOW),
            (2, ALLOW),
            (10, ALLOW),
            (16, ALLOW),
            (38, errno(97)),
            (40, errno(97)),
            (17, errno(97)),
        ] {
            assert_eq!(socket(family, 0), verdict, "family {family}");
        }
        for family in [2, 10] {
            let typed = |kind: u64, protocol: u64| asked.call("socket", [family, kind, protocol, 0, 0, 0]);
            for kind in [1, 2, 3, 0x8_0801, 0x8_0002, 0x0803] {
                for protocol in [0, 1, 6, 17, 58, 255] {
                    assert_eq!(typed(kind, protocol), ALLOW, "{family}, {kind:#x}, {protocol}");
                }
                // DCCP, L2TP, SCTP, UDP-Lite, SMC, MPTCP, and numbers of nobody.
                for protocol in [2, 33, 115, 132, 136, 256, 262, 0xffff_ffff] {
                    assert_eq!(typed(kind, protocol), errno(93), "{family}, {kind:#x}, {protocol}");
                }
            }
            // SOCK_SEQPACKET, SOCK_DCCP and SOCK_PACKET, whose usual protocol is another.
            for kind in [4, 5, 6, 10, 0x8_0806, 0x1_0000_0006] {
                assert_eq!(typed(kind, 0), errno(93), "{family}, {kind:#x}");
            }
        }
        for protocol in [0, 1, 132, 262] {
            assert_eq!(socket(1, protocol), ALLOW, "local sockets have no protocols");
        }
        for (protocol, verdict) in [(0, ALLOW), (6, errno(97)), (9, errno(97)), (12, errno(97))] {
            assert_eq!(socket(16, protocol), verdict, "netlink {protocol}");
        }
        assert_eq!(asked.call("socketpair", [1, 1, 0, 0, 0, 0]), ALLOW);
        assert_eq!(asked.call("socketpair", [16, 3, 0, 0, 0, 0]), errno(97));
        let thread = 0x003d_0f00;
        assert_eq!(asked.call("clone", [thread, 0, 0, 0, 0, 0]), ALLOW);
        for flag in
            [0x80, 0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000]
        {
            assert_eq!(asked.call("clone", [thread | flag, 0, 0, 0, 0, 0]), errno(1), "{flag:#x}");
        }
        assert_eq!(asked.call("clone3", [0; 6]), errno(38));
        assert_eq!(asked.call("ioctl", [0, 0x5401, 0, 0, 0, 0]), ALLOW);
        for trick in [0x5412, 0x541c, 0x5423, 0x1_0000_5412, 0x8940, 0x8941, 0x8982, 0x8983, 0x89a0, 0x89a1] {
            assert_eq!(asked.call("ioctl", [0, trick, 0, 0, 0, 0]), errno(1), "{trick:#x}");
        }
        // TCP_AO_ADD_KEY, with high bits too; beside it TCP_NODELAY, SO_REUSEADDR and IP_BLOCK_SOURCE.
        for (level, option, verdict) in [
            (6, 38, errno(1)),
            (0x1_0000_0006, 0x1_0000_0026, errno(1)),
            (6, 1, ALLOW),
            (1, 2, ALLOW),
            (0, 38, ALLOW),
        ] {
            assert_eq!(asked.call("setsockopt", [3, level, option, 0, 0, 0]), verdict, "{level:#x} {option}");
        }
        assert_eq!(asked.call("personality", [0xffff_ffff, 0, 0, 0, 0, 0]), ALLOW);
        assert_eq!(asked.call("personality", [0x0040_0000, 0, 0, 0, 0, 0]), errno(1));
    }
}

#[test]
fn what_must_not_be_there_is_not() {
    for asked in BOTH.map(Asked::default) {
        for name in "mount umount2 unshare setns pivot_root bpf perf_event_open userfaultfd io_uring_setup io_uring_enter \
            io_uring_register keyctl add_key request_key ptrace process_vm_readv process_vm_writev name_to_handle_at \
            open_by_handle_at memfd_secret kexec_load kexec_file_load init_module finit_module delete_module open_tree \
            move_mount fsopen fsconfig fsmount fspick mount_setattr vmsplice kcmp pidfd_getfd chroot syslog settimeofday \
            clock_settime fanotify_init quotactl swapon swapoff reboot acct io_setup io_submit sethostname"
            .split(' ')
            .filter(|name| !name.is_empty())
        {
            assert_eq!(asked.call(name, [0; 6]), errno(1), "{name} on {:?}", asked.arch);
        }
    }
    for name in ["iopl", "ioperm", "modify_ldt", "uselib"] {
        assert_eq!(Asked::default(Arch::X86_64).call(name, [0; 6]), errno(1), "{name}");
    }
}

#[test]
fn the_floor_holds_what_is_not_the_containers() {
    for asked in BOTH.map(Asked::floor) {
        for name in numbered_names(Lift::Never, asked.arch) {
            assert_eq!(asked.call(name, [0; 6]), errno(1), "{name}");
        }
        for name in numbered_names(Lift::ByProfile, asked.arch).chain(["read", "execve", "personality"]) {
            assert_eq!(asked.call(name, [0; 6]), ALLOW, "{name}");
        }
        assert_eq!(asked.call("clone", [0x1000_0000, 0, 0, 0, 0, 0]), errno(1), "a user namespace");
        assert_eq!(asked.call("clone", [0x003d_0f00, 0, 0, 0, 0, 0]), ALLOW);
        assert_eq!(asked.call("clone3", [0; 6]), errno(38));
        for (family, verdict) in [(38, errno(97)), (40, errno(97)), (0x1_0000_0026, errno(97)), (17, ALLOW)] {
            assert_eq!(asked.call("socket", [family, 0, 0, 0, 0, 0]), verdict, "{family:#x}");
        }
        for trick in [0x5412, 0x8940, 0x8982] {
            assert_eq!(asked.call("ioctl", [0, trick, 0, 0, 0, 0]), errno(1));
        }
        assert_eq!(asked.call("setsockopt", [3, 6, 38, 0, 0, 0]), errno(1));
        assert_eq!(asked.number(LAST_KNOWN + 1, [0; 6]), errno(38), "nobody looked at it yet");
    }
}

/// The floor takes nothing that the default allows: a profile above it can be as wide as the default.
#[test]
fn the_floor_is_below_the_default() {
    for arch in BOTH {
        let (default, floor) = (Asked::default(arch), Asked::floor(arch));
        for number in 0..=LAST_KNOWN + 50 {
            for args in [[0; 6], [1, 1, 0, 0, 0, 0], [16, 3, 0, 0, 0, 0], [0x003d_0f00, 0x5401, 0, 0, 0, 0]] {
                if default.number(number, args) == ALLOW {
                    assert_eq!(floor.number(number, args), ALLOW, "{number} {args:?}");
                }
            }
        }
    }
}

fn numbered_names(lift: Lift, arch: Arch) -> impl Iterator<Item = &'static str> {
    let of_kind = REFUSED.iter().filter(move |refused| refused.lift == lift);
    let names = of_kind.flat_map(|refused| refused.calls.iter().copied());
    names.filter(move |name| matches!(arch.number(name), Known::Here(_)))
}
