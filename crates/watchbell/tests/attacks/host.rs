//! What an attack that got through would have changed on the host.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Settings, files and devices as they are now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Host(BTreeMap<String, String>);

impl Host {
    pub(crate) fn look() -> Host {
        let mut seen = BTreeMap::new();
        for file in [
            "/proc/sys/kernel/core_pattern",
            "/proc/sys/kernel/modprobe",
            "/proc/sys/kernel/hostname",
            "/proc/sys/kernel/domainname",
            "/proc/sys/kernel/sysrq",
            "/proc/sys/kernel/panic",
            "/proc/sys/kernel/randomize_va_space",
            "/proc/sys/vm/overcommit_memory",
            "/proc/modules",
            "/proc/swaps",
            "/sys/kernel/uevent_helper",
        ] {
            seen.insert(file.to_owned(), read(file));
        }
        // What the kernel would run when a control group becomes empty.
        for group in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            for file in ["release_agent", "notify_on_release"] {
                let path = group.path().join(file);
                seen.insert(path.display().to_string(), read(&path));
            }
        }
        for dir in ["/", "/etc", "/dev", "/root"] {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                let Ok(meta) = fs::symlink_metadata(entry.path()) else { continue };
                // What is in a directory may change; terminals are used.
                let content = meta.is_file().then(|| (meta.len(), meta.mtime(), meta.ctime()));
                let what = format!("{:o} {}:{} {content:?}", meta.mode(), meta.uid(), meta.gid());
                seen.insert(entry.path().display().to_string(), what);
            }
        }
        let program = env!("CARGO_BIN_EXE_watchbell");
        let meta = fs::metadata(program).unwrap();
        let what = format!("{} {:?} {}", meta.len(), meta.modified(), meta.ctime());
        seen.insert(program.to_owned(), what);
        Host(seen)
    }

    /// Asserts that nothing of it changed since.
    #[track_caller]
    pub(crate) fn assert_unchanged(&self) {
        let now = Host::look();
        let mut changed = Vec::new();
        for key in self.0.keys().chain(now.0.keys()) {
            if self.0.get(key) != now.0.get(key) {
                changed.push(format!("{key}: {:?}, now {:?}", self.0.get(key), now.0.get(key)));
            }
        }
        assert!(changed.is_empty(), "changed on the host: {changed:#?}");
    }
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| e.to_string())
}
