//! Where the subtree lay when a spawner last was there. It lies below the control group of who starts the server: by hand that is
//! a login's, later a unit's, and what a dead spawner left in the one would not be looked for below the other.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, fstatfs, openat, stat};
use rustix::io::Errno;

/// In the state directory: whose it is, then the paths, with a NUL behind each.
const FILE: &str = "spawner.groups";
const NEXT: &str = "spawner.groups.next";
/// More than all hierarchies have.
const BYTES_MAX: u64 = 64 << 10;
/// Of linux/magic.h.
const CGROUP: u64 = 0x0027_e0eb;
const CGROUP2: u64 = 0x6367_7270;
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The directories of this name that were noted and are control groups still.
pub(super) fn read(state_dir: &Path, name: &str) -> io::Result<Vec<PathBuf>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut noted = Vec::new();
    match openat(CWD, state_dir.join(FILE), flags, Mode::empty()) {
        Ok(file) => File::from(file).take(BYTES_MAX).read_to_end(&mut noted)?,
        Err(Errno::NOENT) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    // That of another directory was copied: what it names is another server's, which may live.
    let Some(noted) = noted.strip_prefix(identity(state_dir)?.as_slice()) else { return Ok(Vec::new()) };
    Ok(named_so(noted, name).into_iter().filter(|path| is_control_group(path)).collect())
}

/// Before they are made: whoever comes after a crash finds them.
pub(super) fn write(state_dir: &Path, bases: &[&Path]) -> io::Result<()> {
    let next = state_dir.join(NEXT);
    match fs::remove_file(&next) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&next)?;
    file.write_all(&identity(state_dir)?)?;
    for base in bases {
        file.write_all(base.as_os_str().as_bytes())?;
        file.write_all(b"\0")?;
    }
    // Control groups do not outlive the machine's boot, so nothing has to reach the disk.
    fs::rename(next, state_dir.join(FILE))
}

/// This directory in this boot of the machine.
fn identity(state_dir: &Path) -> io::Result<Vec<u8>> {
    let dir = stat(state_dir)?;
    let boot = fs::read_to_string(BOOT_ID)?;
    Ok(format!("{}:{} {}\0", dir.st_dev, dir.st_ino, boot.trim()).into_bytes())
}

/// What else is written there is nobody's to end.
fn named_so(noted: &[u8], name: &str) -> Vec<PathBuf> {
    let paths = noted.split(|byte| *byte == 0).map(|path| Path::new(OsStr::from_bytes(path)));
    let is_ours = |path: &&Path| path.is_absolute() && path.file_name() == Some(OsStr::new(name));
    paths.filter(is_ours).map(Path::to_owned).collect()
}

fn is_control_group(path: &Path) -> bool {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = openat(CWD, path, flags, Mode::empty());
    #[expect(
        clippy::cast_sign_loss,
        reason = "its type differs between machines; the number is 32 bits wide"
    )]
    let kind = opened.and_then(fstatfs).map(|found| found.f_type as u64 & 0xffff_ffff);
    kind.is_ok_and(|kind| kind == CGROUP || kind == CGROUP2)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_what_bears_the_name_is_ended() {
        let check = |noted: &str, expect: &[&str]| {
            let expect: Vec<PathBuf> = expect.iter().map(PathBuf::from).collect();
            assert_eq!(named_so(noted.as_bytes(), "watchbell-1-0"), expect, "{noted:?}");
        };
        check("", &[]);
        check("/a/watchbell-1-0\0/b c/watchbell-1-0\0", &["/a/watchbell-1-0", "/b c/watchbell-1-0"]);
        // As it is left by a crash.
        check("/a/watchbell-1-0\0/b/watchb", &["/a/watchbell-1-0"]);
        check("/a/watchbell-2-0\0/a/watchbell-1-0/slot-0\0/a/watchbell-1-0/..\0/\0watchbell-1-0\0", &[]);
    }

    #[test]
    fn a_note_that_was_copied_is_not_believed() {
        let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(dir.path(), &[Path::new("/a/w")]).unwrap();
        let own = fs::read(dir.path().join(FILE)).unwrap();
        assert_eq!(own.strip_prefix(identity(dir.path()).unwrap().as_slice()), Some(&b"/a/w\0"[..]));
        assert_eq!(own.strip_prefix(identity(copy.path()).unwrap().as_slice()), None);
    }

    #[test]
    fn what_is_noted_is_found_where_it_is_a_control_group() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path(), "w").unwrap(), Vec::<PathBuf>::new());
        let ordinary = dir.path().join("w");
        fs::create_dir(&ordinary).unwrap();
        for _ in 0..2 {
            write(dir.path(), &[&ordinary, Path::new("/sys/fs/cgroup/nowhere/w")]).unwrap();
        }
        assert_eq!(read(dir.path(), "w").unwrap(), Vec::<PathBuf>::new());
        fs::remove_file(dir.path().join(FILE)).unwrap();
        symlink("/etc/passwd", dir.path().join(FILE)).unwrap();
        assert!(read(dir.path(), "w").is_err());
    }
}
