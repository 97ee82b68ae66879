//! `runc` with what Docker gives a container that asks for nothing. Docker itself needs its daemon; what decides here is the
//! bundle that it hands to runc.

mod profile;

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// Docker's default capabilities (moby, `daemon/pkg/oci/caps/defaults.go`).
const CAPABILITIES: &str = "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE \
                            SYS_CHROOT KILL AUDIT_WRITE";

/// `default.json` of Debian's golang-github-docker-docker-dev, which is made of Docker's own source (tools/bench/setup).
const PROFILE: &str = "docker/seccomp.json";

fn config(args: &[&str]) -> Result<Value, String> {
    let capabilities: Vec<String> =
        CAPABILITIES.split_whitespace().map(|name| format!("CAP_{name}")).collect();
    let release =
        std::fs::read_to_string("/proc/sys/kernel/osrelease").map_err(|e| format!("kernel: {e}"))?;
    let kernel = profile::version(&release).ok_or("the kernel's release has no version")?;
    let file = target().join(PROFILE);
    let seccomp = profile::read(&file, &profile::For { capabilities: &capabilities, kernel })?;
    let mut namespaces = vec!["pid", "network", "ipc", "uts", "mount"];
    // Docker's default follows the version of the control groups.
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        namespaces.push("cgroup");
    }
    let namespaces: Vec<Value> = namespaces.into_iter().map(|kind| json!({"type": kind})).collect();
    let tmpfs = |at: &str, options: &[&str]| json!({"destination": at, "type": "tmpfs", "source": "tmpfs", "options": options});
    Ok(json!({
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
            "seccomp": seccomp,
        },
    }))
}

fn target() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_watchbell")).ancestors().nth(2).unwrap()
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
    std::fs::write(bundle.join("config.json"), config(args)?.to_string()).unwrap();
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
