//! Reads and writes of disks. Kubernetes has no word for them, so one bound holds for each container of this spawner.
//!
//! What version 1 cannot: writes that go through the page cache reach the disk in the kernel's name there, so only direct
//! writes and reads are held back. Version 2 charges them to who dirtied the page.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::layout::Layout;
use super::put;
use crate::IoLimits;

/// A disk, as control groups name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Disk {
    major: u32,
    minor: u32,
}

/// A limit and where it holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Io {
    limits: IoLimits,
    disk: Disk,
}

impl Io {
    /// Of the disk that a directory lies on. An error says why reads and writes cannot be limited there.
    pub(crate) fn find(limits: IoLimits, dir: &Path) -> Result<Self, String> {
        let layout = Layout::find("watchbell")?;
        if !layout.can_limit_io() {
            return Err(
                "the control group controller for disks (blkio, or io of version 2) is not there".into()
            );
        }
        Ok(Self { limits, disk: disk_of(dir)? })
    }

    pub(super) fn write_v1(&self, dir: &Path) -> io::Result<()> {
        let IoLimits { read_bps, write_bps, read_iops, write_iops } = self.limits;
        let Disk { major, minor } = self.disk;
        for (file, limit) in [
            ("blkio.throttle.read_bps_device", read_bps),
            ("blkio.throttle.write_bps_device", write_bps),
            ("blkio.throttle.read_iops_device", read_iops),
            ("blkio.throttle.write_iops_device", write_iops),
        ] {
            if let Some(limit) = limit {
                put(dir, file, &format!("{major}:{minor} {limit}"))?;
            }
        }
        Ok(())
    }

    pub(super) fn write_v2(&self, dir: &Path) -> io::Result<()> {
        put(dir, "io.max", &self.line_v2())
    }

    fn line_v2(&self) -> String {
        let IoLimits { read_bps, write_bps, read_iops, write_iops } = self.limits;
        let Disk { major, minor } = self.disk;
        let mut line = format!("{major}:{minor}");
        for (key, limit) in
            [("rbps", read_bps), ("wbps", write_bps), ("riops", read_iops), ("wiops", write_iops)]
        {
            let limit = limit.map_or_else(|| "max".to_owned(), |limit| limit.to_string());
            line.push_str(&format!(" {key}={limit}"));
        }
        line
    }
}

/// The whole disk below a file system: a partition has no limits of its own.
fn disk_of(dir: &Path) -> Result<Disk, String> {
    let device = fs::metadata(dir).map_err(|e| format!("cannot look at {}: {e}", dir.display()))?.dev();
    let name = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let found = fs::canonicalize(format!("/sys/dev/block/{name}")).map_err(|_| {
        format!("{} does not lie on a disk that the kernel knows by number ({name})", dir.display())
    })?;
    let whole = match (found.join("partition").exists(), found.parent()) {
        (true, Some(parent)) => parent,
        _ => &found,
    };
    let text = fs::read_to_string(whole.join("dev"))
        .map_err(|e| format!("cannot read the number of the disk {}: {e}", whole.display()))?;
    let number = |text: &str| text.trim().parse().ok();
    let parsed = text.split_once(':').and_then(|(major, minor)| Some((number(major)?, number(minor)?)));
    let (major, minor) = parsed.ok_or_else(|| format!("{text:?} is no number of a disk"))?;
    Ok(Disk { major, minor })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: IoLimits =
        IoLimits { read_bps: Some(1 << 20), write_bps: None, read_iops: None, write_iops: Some(50) };

    #[test]
    fn limits_in_the_words_of_both_versions() {
        let io = Io { limits: LIMITS, disk: Disk { major: 8, minor: 16 } };
        assert_eq!(io.line_v2(), "8:16 rbps=1048576 wbps=max riops=max wiops=50");
        let dir = tempfile::tempdir().unwrap();
        io.write_v1(dir.path()).unwrap();
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).ok();
        assert_eq!(read("blkio.throttle.read_bps_device").as_deref(), Some("8:16 1048576"));
        assert_eq!(read("blkio.throttle.write_iops_device").as_deref(), Some("8:16 50"));
        assert_eq!(read("blkio.throttle.write_bps_device"), None);
    }

    #[test]
    fn what_is_no_disk_is_named() {
        let error = disk_of(Path::new("/proc")).unwrap_err();
        assert!(error.contains("/proc does not lie on a disk"), "{error}");
    }
}
