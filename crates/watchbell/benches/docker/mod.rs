//! `runc` with what Docker gives a container that asks for nothing. Docker itself needs its daemon; what decides here is the
//! bundle that it hands to runc.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// Docker's default capabilities (moby, `daemon/pkg/oci/caps/defaults.go`).
const CAPABILITIES: &str = "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE \
                            SYS_CHROOT KILL AUDIT_WRITE";

/// What Docker's default profile (moby/profiles, `seccomp/default.json`) leaves out for a container with these
/// capabilities; it is an allow-list, and these are the calls of this program and their kin that are not in it.
const NOT_ALLOWED: &str = "add_key keyctl request_key io_uring_setup io_uring_enter io_uring_register userfaultfd \
    kexec_load kexec_file_load pivot_root swapon swapoff nfsservctl uselib ustat _sysctl migrate_pages move_pages \
    bpf fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount open_tree \
    perf_event_open quotactl setdomainname sethostname setns syslog umount umount2 unshare \
    open_by_handle_at reboot delete_module init_module finit_module acct kcmp pidfd_getfd process_madvise iopl ioperm \
    settimeofday stime clock_settime vhangup get_mempolicy mbind set_mempolicy";
/// Socket families that are not in it.
const FAMILIES: [u32; 10] = [12, 19, 20, 23, 25, 34, 37, 38, 40, 46];
/// `CLONE_NEW*` but for time.
const NAMESPACES: u64 = 0x7e02_0000;
/// `ADDR_NO_RANDOMIZE` and `READ_IMPLIES_EXEC`.
const PERSONALITIES: [u64; 2] = [0x0004_0000, 0x0040_0000];

fn seccomp() -> Value {
    let deny = |names: &[&str], errno: u32, args: Value| json!({"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": errno, "args": args});
    let names: Vec<&str> = NOT_ALLOWED.split_whitespace().collect();
    let mut calls = vec![deny(&names, 1, json!([])), deny(&["clone3"], 38, json!([]))];
    for family in FAMILIES {
        calls.push(deny(&["socket"], 1, json!([{"index": 0, "value": family, "op": "SCMP_CMP_EQ"}])));
    }
    // A masked comparison of one bit at a time: the profile asks for all to be unset.
    for bit in (0..64).map(|n| 1u64 << n).filter(|bit| NAMESPACES & bit != 0) {
        let is_set = json!([{"index": 0, "value": bit, "valueTwo": bit, "op": "SCMP_CMP_MASKED_EQ"}]);
        calls.push(deny(&["clone"], 1, is_set));
    }
    for persona in PERSONALITIES {
        calls.push(deny(&["personality"], 1, json!([{"index": 0, "value": persona, "op": "SCMP_CMP_EQ"}])));
    }
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        "syscalls": calls,
    })
}

fn config(args: &[&str]) -> Value {
    let capabilities: Vec<String> =
        CAPABILITIES.split_whitespace().map(|name| format!("CAP_{name}")).collect();
    let mut namespaces = vec!["pid", "network", "ipc", "uts", "mount"];
    // Docker's default follows the version of the control groups.
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        namespaces.push("cgroup");
    }
    let namespaces: Vec<Value> = namespaces.into_iter().map(|kind| json!({"type": kind})).collect();
    let tmpfs = |at: &str, options: &[&str]| json!({"destination": at, "type": "tmpfs", "source": "tmpfs", "options": options});
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0}, "args": args, "cwd": "/",
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
        },
        "root": {"path": "rootfs", "readonly": false},
        "hostname": "task",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            tmpfs("/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
             "options": ["ro", "nosuid", "noexec", "nodev"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
            tmpfs("/dev/shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        ],
        "linux": {
            "namespaces": namespaces,
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/firmware",
                "/sys/devices/virtual/powercap",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            "seccomp": seccomp(),
        },
    })
}

/// Runs a program of the tree in a container; what it printed, or why not.
pub(crate) fn run(dir: &Path, tree: &Path, args: &[&str]) -> Result<String, String> {
    let bundle = dir.join("bundle");
    std::fs::create_dir_all(&bundle).unwrap();
    let copied = Command::new("cp").arg("-a").arg(tree).arg(bundle.join("rootfs")).status().unwrap();
    assert!(copied.success());
    for at in ["proc", "sys"] {
        std::fs::create_dir_all(bundle.join("rootfs").join(at)).unwrap();
    }
    std::fs::write(bundle.join("config.json"), config(args).to_string()).unwrap();
    let output = Command::new("runc")
        .arg("--root")
        .arg(dir.join("state"))
        .args(["run", "--bundle"])
        .arg(&bundle)
        .arg(format!("attacks-{}", std::process::id()))
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("runc is not installed (Debian: apt-get install runc): {e}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("runc: {}", String::from_utf8_lossy(&output.stderr))),
    }
}
