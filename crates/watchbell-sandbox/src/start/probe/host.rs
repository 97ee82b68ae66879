//! What is read, not tried.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{Mode, OFlags, fstatfs, fstatvfs, open};
use rustix::process::Resource;

use crate::UidRanges;
use crate::client::DEFAULT_KEEPER_UID;
use crate::doctor::{Caller, Storage};
use crate::spec::IDS;

const SETTINGS: [&str; 22] = [
    "dev.tty.legacy_tiocsti",
    "fs.inotify.max_user_watches",
    "fs.nr_open",
    "kernel.apparmor_restrict_unprivileged_userns",
    "kernel.core_pattern",
    "kernel.dmesg_restrict",
    "kernel.io_uring_disabled",
    "kernel.kptr_restrict",
    "kernel.perf_event_paranoid",
    "kernel.pid_max",
    "kernel.unprivileged_bpf_disabled",
    "kernel.unprivileged_userns_clone",
    "kernel.yama.ptrace_scope",
    "user.max_inotify_instances",
    "user.max_inotify_watches",
    "user.max_mnt_namespaces",
    "user.max_net_namespaces",
    "user.max_time_namespaces",
    "user.max_user_namespaces",
    "vm.memfd_noexec",
    "vm.overcommit_memory",
    "vm.unprivileged_userfaultfd",
];
/// Syncs that are measured.
const SYNCS: usize = 5;

/// What cannot be read is empty.
pub(super) fn read(path: impl AsRef<Path>) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

pub(super) fn settings() -> BTreeMap<String, String> {
    let value = |name: &&str| {
        let text = fs::read_to_string(Path::new("/proc/sys").join(name.replace('.', "/"))).ok()?;
        Some(((*name).to_owned(), text.trim().to_owned()))
    };
    SETTINGS.iter().filter_map(value).collect()
}

pub(super) fn caller() -> io::Result<Caller> {
    let sets = rustix::thread::capabilities(None)?;
    let map = fs::read_to_string("/proc/self/uid_map")?;
    Ok(Caller {
        uid: rustix::process::geteuid().as_raw(),
        capabilities: sets.effective.bits(),
        has_own_users: !map.split_whitespace().eq(["0", "0", "4294967295"]),
    })
}

pub(super) fn hard_limit(resource: Resource) -> u64 {
    rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX)
}

pub(super) fn vulnerabilities() -> BTreeMap<String, String> {
    let dir = fs::read_dir("/sys/devices/system/cpu/vulnerabilities").into_iter().flatten().flatten();
    dir.map(|entry| (entry.file_name().to_string_lossy().into_owned(), read(entry.path()).trim().to_owned()))
        .collect()
}

/// The service in proc(5)'s list of control groups.
pub(super) fn unit(groups: &str) -> Option<String> {
    let of_systemd = |line: &&str| line.starts_with("0::") || line.contains(":name=systemd:");
    let paths = groups.lines().filter(of_systemd).filter_map(|line| line.splitn(3, ':').nth(2));
    paths.flat_map(|path| path.split('/').rev()).find(|name| name.ends_with(".service")).map(str::to_owned)
}

/// The directory, or the nearest one above it that is there, by the path that leads to it without links.
pub(super) fn existing(dir: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(dir)?;
    for dir in absolute.ancestors() {
        match fs::canonicalize(dir) {
            Ok(found) => return Ok(found),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(io::Error::new(e.kind(), format!("{}: {e}", dir.display()))),
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

pub(super) fn storage(path: PathBuf) -> Storage {
    let opened = open(&path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let Ok(dir) = opened else { return Storage { path, ..Storage::default() } };
    let (Ok(kind), Ok(space)) = (fstatfs(&dir), fstatvfs(&dir)) else {
        return Storage { path, ..Storage::default() };
    };
    Storage {
        fsync_us: fsync_us(&path).ok(),
        path,
        #[expect(
            clippy::cast_sign_loss,
            reason = "its type differs between machines; the number is 32 bits wide"
        )]
        file_system: name_of(kind.f_type as u64 & 0xffff_ffff),
        free_bytes: space.f_bavail.saturating_mul(space.f_frsize),
        files: space.f_files,
        free_files: space.f_favail,
    }
}

/// By the numbers of linux/magic.h.
fn name_of(kind: u64) -> String {
    match kind {
        0xef53 => "ext4".to_owned(),
        0x5846_5342 => "xfs".to_owned(),
        0x9123_683e => "btrfs".to_owned(),
        0xf2f5_2010 => "f2fs".to_owned(),
        0x0102_1994 => "tmpfs".to_owned(),
        0x794c_7630 => "overlay".to_owned(),
        0x2fc1_2fc1 => "zfs".to_owned(),
        0xca45_1a4e => "bcachefs".to_owned(),
        0x6969 => "nfs".to_owned(),
        0xff53_4d42 | 0xfe53_4d42 => "smb".to_owned(),
        0x6573_5546 => "fuse".to_owned(),
        0x0102_1997 => "9p".to_owned(),
        0xe0f5_e1e2 => "erofs".to_owned(),
        other => format!("{other:#x}"),
    }
}

/// How long a small change takes to be durable, in a file without a name.
fn fsync_us(dir: &Path) -> io::Result<u64> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = open(dir, flags, Mode::from(0o600))?;
    let mut took = [0u64; SYNCS];
    for time in &mut took {
        rustix::io::write(file.as_fd(), &[0u8; 4096])?;
        let begun = Instant::now();
        rustix::fs::fsync(&file)?;
        *time = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    }
    took.sort_unstable();
    Ok(took[SYNCS / 2])
}

/// Users, groups and subordinate ids of this machine that pods would get too.
pub(super) fn id_overlaps(ranges: UidRanges) -> Vec<String> {
    overlaps(
        ranges,
        &[("/etc/passwd", &read("/etc/passwd")), ("/etc/group", &read("/etc/group"))],
        &[("/etc/subuid", &read("/etc/subuid")), ("/etc/subgid", &read("/etc/subgid"))],
    )
}

/// `names`: files with an id in their third field; `subordinate`: subuid(5).
fn overlaps(ranges: UidRanges, names: &[(&str, &str)], subordinate: &[(&str, &str)]) -> Vec<String> {
    let (first, count) = (u64::from(ranges.first), u64::from(ranges.count) * u64::from(IDS));
    let keeper = u64::from(DEFAULT_KEEPER_UID);
    let meets = |from: u64, length: u64| {
        let until = from.saturating_add(length);
        (from < first + count && until > first) || (from <= keeper && until > keeper)
    };
    let mut found = Vec::new();
    for (file, text) in names {
        for line in text.lines() {
            let mut fields = line.split(':');
            let (name, id) = (fields.next().unwrap_or_default(), fields.nth(1));
            if let Some(id) = id.and_then(|id| id.parse().ok()).filter(|id| meets(*id, 1)) {
                found.push(format!("{name} has {id} in {file}"));
            }
        }
    }
    for (file, text) in subordinate {
        for line in text.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, from, length] = fields[..] else { continue };
            if let (Ok(from), Ok(length)) = (from.trim().parse(), length.trim().parse())
                && meets(from, length)
            {
                found.push(format!("{name} has {length} from {from} on in {file}"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_others_are_found() {
        let ranges = UidRanges { first: 1000, count: 1 };
        let passwd =
            "root:x:0:0::/:/bin/sh\nada:x:1000:100::/:\nbob:x:66535:1::/:\neve:x:66536:1::/:\nx\n:::\n";
        let subuid = "low:0:1000\nin:900:101\nall:0:4294967295\nhigh:66536:65536\nbad:x:1\nlong:1:2:3\n";
        assert_eq!(
            overlaps(ranges, &[("p", passwd)], &[("s", subuid)]),
            [
                "ada has 1000 in p",
                "bob has 66535 in p",
                "in has 101 from 900 on in s",
                "all has 4294967295 from 0 on in s"
            ]
        );
        assert_eq!(
            overlaps(ranges, &[("p", &format!("k:x:{DEFAULT_KEEPER_UID}:"))], &[]).len(),
            1,
            "the keeper's id is nobody else's either"
        );
    }

    #[test]
    fn the_unit_is_found() {
        assert_eq!(unit("0::/system.slice/watchbell.service\n").as_deref(), Some("watchbell.service"));
        assert_eq!(unit("1:name=systemd:/system.slice/a.service/b\n0::/\n").as_deref(), Some("a.service"));
        assert_eq!(unit("4:memory:/x.service\n0::/user.slice/user-0.slice/session-3.scope\n"), None);
    }

    #[test]
    fn a_directory_that_is_not_there_yet_is_judged_by_the_one_above() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        assert_eq!(existing(&dir.path().join("not/yet")).unwrap(), real);
        assert_eq!(existing(dir.path()).unwrap(), real);
    }
}
