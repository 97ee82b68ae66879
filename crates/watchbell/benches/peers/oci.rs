//! The same program by `runc run`, `crun run` and `podman run`, as hardened as ours.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};

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

/// A bundle, and the root file system that podman runs without one.
pub(crate) struct Bundle {
    dir: tempfile::TempDir,
}

impl Bundle {
    pub(crate) fn make(program: &Path) -> Bundle {
        let dir = tempfile::tempdir().unwrap();
        // The container's root is nobody here, and must reach its files.
        let open =
            |path: &Path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        open(dir.path());
        let root = dir.path().join("rootfs");
        for sub in ["proc", "dev", "tmp", "sys", "etc", "run", "var/tmp"] {
            std::fs::create_dir_all(root.join(sub)).unwrap();
        }
        // What podman binds over: it may not make them as the container's root.
        for file in ["etc/hostname", "etc/hosts", "etc/resolv.conf", "run/.containerenv"] {
            std::fs::write(root.join(file), "").unwrap();
        }
        std::fs::copy(program, root.join("true")).unwrap();
        open(&root.join("true"));
        std::fs::write(dir.path().join("config.json"), config().to_string()).unwrap();
        Bundle { dir }
    }

    fn path(&self, sub: &str) -> String {
        self.dir.path().join(sub).display().to_string()
    }

    /// `runc run` or `crun run`.
    pub(crate) fn run(&self, runtime: &str) -> Vec<String> {
        let state = self.path(&format!("{runtime}.state"));
        let words = [runtime, "--root", &state, "run", "--bundle", &self.path(""), "bench-{}"];
        words.map(str::to_owned).to_vec()
    }

    /// `podman run` as little as it can: no image, no network, no log, no event. Its limits are given because it else asks
    /// for more than a root without `CAP_SYS_RESOURCE` has.
    pub(crate) fn podman(&self) -> Vec<String> {
        let (root, run, tmp) = (self.path("podman"), self.path("podman.run"), self.path("podman.tmp"));
        let rootfs = self.path("rootfs");
        "podman --root ROOT --runroot RUN --tmpdir TMP --cgroup-manager cgroupfs --events-backend none run --rm --cgroup-parent GROUP \
         --network none --log-driver none --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --read-only --cap-drop all \
         --security-opt no-new-privileges --uidmap 0:2013265920:65536 --rootfs ROOTFS /true"
            .split_whitespace()
            .map(|word| match word {
                "ROOT" => root.clone(),
                "RUN" => run.clone(),
                "TMP" => tmp.clone(),
                "ROOTFS" => rootfs.clone(),
                "GROUP" => format!("/{}", group()),
                other => other.to_owned(),
            })
            .collect()
    }
}

/// podman leaves the groups above its containers: they get a name of their own, and go with the bundle.
fn group() -> String {
    format!("bench-podman-{}", std::process::id())
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let root = Path::new("/sys/fs/cgroup");
        let hierarchies = std::fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
        for hierarchy in hierarchies.chain([root.to_owned()]) {
            let top = hierarchy.join(group());
            // Where podman was not run there is none.
            for dir in [top.join("conmon"), top] {
                let _ = std::fs::remove_dir(dir);
            }
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
