//! What this process sees of itself and of the machine, read from /proc and found out by trying, beside what
//! `docker run IMAGE` gives without options.
//!
//! The right column is not measured. Its sources: Docker's defaults in the code of moby (`oci/caps/defaults.go` for the
//! capabilities, `oci/defaults.go` for namespaces, mounts and masked paths) and Docker's documentation ("Running containers",
//! "Seccomp security profiles for Docker", "Isolate containers with a user namespace", "Bridge network driver").

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

/// Bounds of the walk that looks for writable directories.
const DIRECTORIES_MAX: usize = 5000;
const DEPTH_MAX: usize = 8;

/// Kernel settings that a task has no business to change. They are opened for writing and never written.
const KERNEL_FILES: [&str; 6] = [
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/vm/drop_caches",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sysrq-trigger",
    "/sys/kernel/uevent_helper",
    "/sys/fs/cgroup/cgroup.procs",
];

/// What tells of the host and should not be readable.
const HOST_FILES: [&str; 5] =
    ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware", "/proc/1/root/etc/shadow"];

pub fn run() -> Result<String, String> {
    let status =
        fs::read_to_string("/proc/self/status").map_err(|e| format!("cannot read /proc/self/status: {e}"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let rows = [
        (
            "user, group",
            format!("{}, {}", first(&field("Uid")), first(&field("Gid"))),
            "0, 0 unless the image says USER",
        ),
        ("root here is on the host", root_on_host(), "0: no user namespace"),
        ("capabilities effective", capabilities(&field("CapEff")), "14 of 41 (00000000a80425fb)"),
        ("capabilities bounding", capabilities(&field("CapBnd")), "14 of 41 (00000000a80425fb)"),
        ("NoNewPrivs", field("NoNewPrivs"), "0: setuid programs work"),
        ("Seccomp", seccomp(&field("Seccomp")), "2 (filter), the default profile"),
        ("writable directories", directories(), "all of the image: / is writable; /dev, /dev/shm"),
        ("root file system", root_options(), "rw"),
        (
            "kernel files to write",
            opened(&KERNEL_FILES, OpenFor::Write),
            "none: /proc/sys and /sys are read-only",
        ),
        ("host files to read", opened(&HOST_FILES, OpenFor::Read), "none of /proc's masked files"),
        ("network interfaces", interfaces(), "lo eth0: out to every address, by NAT"),
        ("processes visible", processes(), "the container's own"),
        ("devices", names("/dev"), "null zero full random urandom tty, and console with -t"),
        (
            "shell",
            if Path::new("/bin/sh").exists() { "/bin/sh".into() } else { "none".into() },
            "as the image has it",
        ),
        ("memory limit", memory_limit(), "none"),
    ];
    let width = |column: usize| {
        rows.iter().map(|row| [row.0.len(), row.1.len()][column]).max().unwrap_or(0).min([26, 60][column])
    };
    let (left, middle) = (width(0), width(1));
    let mut out = format!("{:left$}  {:middle$}  docker run's default\n", "what", "inside this task");
    for (what, found, docker) in rows {
        out.push_str(&format!("{what:left$}  {found:middle$}  {docker}\n"));
    }
    Ok(out)
}

fn first(words: &str) -> &str {
    words.split(' ').next().unwrap_or_default()
}

/// What user 0 of this user namespace is outside.
fn root_on_host() -> String {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    for line in map.lines() {
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        if let [0, outside, _] = numbers[..] {
            return if outside == 0 {
                "0: no user namespace".into()
            } else {
                format!("{outside}, who owns nothing")
            };
        }
    }
    "nobody: 0 is not mapped".into()
}

fn capabilities(hex: &str) -> String {
    match u64::from_str_radix(hex, 16) {
        Ok(0) => "none".into(),
        Ok(bits) => format!("{} ({hex})", bits.count_ones()),
        Err(_) => format!("unknown ({hex})"),
    }
}

fn seccomp(mode: &str) -> String {
    match mode {
        "0" => "0 (off)".into(),
        "2" => "2 (filter)".into(),
        other => other.to_owned(),
    }
}

/// Directories in which a file can be made, found by making one and removing it. Only where this is the first process of
/// its own pid namespace: on a host nothing is tried.
fn directories() -> String {
    if std::process::id() != 1 {
        return "not tried outside a container".into();
    }
    let mut found = BTreeSet::new();
    let mut pending = vec![(PathBuf::from("/"), 0)];
    let mut visited = 0;
    while let Some((dir, depth)) = pending.pop() {
        visited += 1;
        if visited > DIRECTORIES_MAX {
            found.insert(format!("(only {DIRECTORIES_MAX} were tried)"));
            break;
        }
        let probe = dir.join(format!(".weather-{}", std::process::id()));
        // Below /proc and /sys no file is ever made; what can be opened there is looked at by name.
        if OpenOptions::new().write(true).create_new(true).open(&probe).is_ok() {
            let note = if fs::remove_file(&probe).is_ok() { "" } else { " (and not to remove from)" };
            found.insert(format!("{}{note}", dir.display()));
        }
        if depth == DEPTH_MAX {
            continue;
        }
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_dir && path != Path::new("/proc") && path != Path::new("/sys") {
                pending.push((path, depth + 1));
            }
        }
    }
    list(found.into_iter().collect())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum OpenFor {
    Read,
    Write,
}

/// Which of the files can be opened. A masked file that opens and is empty tells nothing.
fn opened(paths: &[&str], mode: OpenFor) -> String {
    let can = |path: &&&str| match mode {
        OpenFor::Write => OpenOptions::new().write(true).open(path).is_ok(),
        OpenFor::Read if Path::new(path).is_dir() => {
            fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some())
        }
        OpenFor::Read => {
            let mut byte = [0u8; 1];
            fs::File::open(path)
                .and_then(|mut file| std::io::Read::read(&mut file, &mut byte))
                .is_ok_and(|n| n > 0)
        }
    };
    list(paths.iter().filter(can).map(|path| (*path).to_owned()).collect())
}

fn root_options() -> String {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    // mountinfo: id parent device root mount-point options …
    mounts
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            (words.get(4) == Some(&"/")).then(|| words.get(5).copied().unwrap_or_default().to_owned())
        })
        .next_back()
        .unwrap_or_else(|| "unknown".into())
}

fn interfaces() -> String {
    let text = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    list(
        text.lines()
            .skip(2)
            .filter_map(|line| line.split_once(':'))
            .map(|(name, _)| name.trim().to_owned())
            .collect(),
    )
}

fn processes() -> String {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok()).count();
    format!("{numbers} (this is number {})", std::process::id())
}

fn names(dir: &str) -> String {
    let mut names: Vec<String> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| {
            use std::os::unix::fs::FileTypeExt as _;
            entry
                .metadata()
                .is_ok_and(|meta| meta.file_type().is_char_device() || meta.file_type().is_block_device())
        })
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    list(names)
}

/// The limit that binds this task, as the downward API tells it: the control group itself is not visible from inside.
fn memory_limit() -> String {
    match std::env::var("MEMORY_LIMIT").map(|text| text.parse::<u64>()) {
        Ok(Ok(bytes)) => format!("{} MiB", bytes >> 20),
        _ => "not told".into(),
    }
}

/// How many names of a list are shown.
const LISTED_MAX: usize = 12;

fn list(items: Vec<String>) -> String {
    match items.len() {
        0 => "none".into(),
        n if n > LISTED_MAX => format!("{} and {} more", items[..LISTED_MAX].join(" "), n - LISTED_MAX),
        _ => items.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::{capabilities, run};

    #[test]
    fn the_table_has_both_columns() {
        let table = run().expect("this machine has /proc");
        assert!(table.starts_with("what"), "{table}");
        assert_eq!(table.lines().count(), 16, "{table}");
        assert_eq!(capabilities("0000000000000000"), "none");
        assert_eq!(capabilities("00000000a80425fb"), "14 (00000000a80425fb)");
    }
}
