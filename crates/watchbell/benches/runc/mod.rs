//! `runc run` of the same program: a bundle as hardened as ours.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::{Value, json};

use super::Batch;
use crate::stand::cpu_of_children_ms;

/// Beside the ranges of the spawner and of the raw floor.
const FIRST_ID: u32 = 0x7800_0000;
/// What a small static program and runc's own start need; a real list is longer and costs more.
const CALLS: &[&str] = &[
    "arch_prctl",
    "brk",
    "capget",
    "capset",
    "chdir",
    "clock_gettime",
    "clone",
    "clone3",
    "close",
    "close_range",
    "dup3",
    "epoll_create1",
    "epoll_ctl",
    "epoll_pwait",
    "epoll_wait",
    "execve",
    "exit",
    "exit_group",
    "faccessat2",
    "fchdir",
    "fchown",
    "fcntl",
    "fstat",
    "fstatfs",
    "futex",
    "getcwd",
    "getdents64",
    "getegid",
    "geteuid",
    "getgid",
    "getpid",
    "getppid",
    "getrandom",
    "getrlimit",
    "gettid",
    "getuid",
    "ioctl",
    "lseek",
    "madvise",
    "mmap",
    "mprotect",
    "munmap",
    "nanosleep",
    "newfstatat",
    "openat",
    "openat2",
    "pipe2",
    "ppoll",
    "prctl",
    "pread64",
    "prlimit64",
    "pwrite64",
    "read",
    "readlinkat",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sched_getaffinity",
    "sched_yield",
    "set_robust_list",
    "set_tid_address",
    "setgid",
    "setgroups",
    "setuid",
    "sigaltstack",
    "statx",
    "tgkill",
    "uname",
    "unlinkat",
    "wait4",
    "waitid",
    "write",
    "writev",
];

pub(crate) struct Bundle {
    dir: tempfile::TempDir,
}

impl Bundle {
    /// `None` without runc.
    pub(crate) fn make(program: &Path) -> Option<Bundle> {
        let known =
            Command::new("runc").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !known.is_ok_and(|status| status.success()) {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        // The container's root is nobody here, and must reach its files.
        let open =
            |path: &Path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        open(dir.path());
        let root = dir.path().join("rootfs");
        for sub in ["proc", "dev", "tmp", "sys"] {
            std::fs::create_dir_all(root.join(sub)).unwrap();
        }
        std::fs::copy(program, root.join("true")).unwrap();
        open(&root.join("true"));
        std::fs::write(dir.path().join("config.json"), config().to_string()).unwrap();
        let bundle = Bundle { dir };
        bundle.start(0, &AtomicUsize::new(0));
        Some(bundle)
    }

    pub(crate) fn run(&self, count: usize, at_once: usize) -> Batch {
        let next = AtomicUsize::new(0);
        let cpu_before = cpu_of_children_ms(std::process::id());
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..at_once {
                scope.spawn(|| self.start(count, &next));
            }
        });
        let wall = begun.elapsed();
        Batch { count, wall, cpu_ms: vec![(cpu_of_children_ms(std::process::id()) - cpu_before) as f64] }
    }

    /// One after another until `count` were started; at least one.
    fn start(&self, count: usize, next: &AtomicUsize) {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count.max(1) {
                return;
            }
            let output = Command::new("runc")
                .arg("--root")
                .arg(self.dir.path().join("state"))
                .args(["run", "--bundle"])
                .arg(self.dir.path())
                .arg(format!("floor-{}-{number}", std::process::id()))
                .stdin(Stdio::null())
                .output()
                .unwrap();
            assert!(output.status.success(), "runc: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

fn config() -> Value {
    let ids = json!([{"containerID": 0, "hostID": FIRST_ID, "size": 65536}]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 65534, "gid": 65534}, "args": ["/true"], "cwd": "/", "noNewPrivileges": true,
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "capabilities": {"bounding": [], "effective": [], "permitted": [], "inheritable": [], "ambient": []},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "task",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
             "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=64m"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777", "size=64m"]},
        ],
        "linux": {
            "uidMappings": ids, "gidMappings": ids,
            "resources": {"memory": {"limit": 1 << 28}, "pids": {"limit": 1024}},
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
                {"type": "user"}, {"type": "cgroup"},
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            "seccomp": {
                "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
                "syscalls": [{"names": CALLS, "action": "SCMP_ACT_ALLOW"}],
            },
        },
    })
}
