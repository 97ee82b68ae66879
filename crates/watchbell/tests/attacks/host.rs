//! What an attack that got through would have changed on the host.
//!
//! A kernel that has modules loads those that somebody's call needs, and for that runs a program as the host's root: a task must
//! not get so far. Controls and tasks without the filter may, so they run while nobody looks for that.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Shared by those who look for modules, alone with who may have some loaded.
static MODULES: RwLock<()> = RwLock::new(());

/// Settings, files and devices as they are now.
pub(crate) struct Host {
    seen: BTreeMap<String, String>,
    requests: Option<Requests>,
    guard: Guard,
}

enum Guard {
    Without(#[expect(dead_code, reason = "held")] RwLockReadGuard<'static, ()>),
    With(#[expect(dead_code, reason = "held")] RwLockWriteGuard<'static, ()>),
}

impl Host {
    /// No module may be asked for until this is dropped.
    pub(crate) fn look() -> Host {
        let held = MODULES.read().unwrap_or_else(PoisonError::into_inner);
        Host { requests: Requests::watch(), seen: seen(true), guard: Guard::Without(held) }
    }

    /// For what may have modules loaded, with the devices that they bring.
    pub(crate) fn look_beside_modules() -> Host {
        let held = MODULES.write().unwrap_or_else(PoisonError::into_inner);
        Host { requests: Requests::watch(), seen: seen(false), guard: Guard::With(held) }
    }

    /// Asserts that nothing of it changed since.
    #[track_caller]
    pub(crate) fn assert_unchanged(&self) {
        let mut changed = Vec::new();
        let now = match &self.guard {
            Guard::Without(_) => {
                changed.extend(self.requests.iter().flat_map(Requests::of_tasks));
                seen(true)
            }
            Guard::With(_) => seen(false),
        };
        for (key, was) in &self.seen {
            if now.get(key) != Some(was) {
                changed.push(format!("{key}: {was:?}, now {:?}", now.get(key)));
            }
        }
        let new = now.iter().filter(|(key, _)| !self.seen.contains_key(*key));
        changed.extend(new.map(|(key, is)| format!("{key}: new, {is:?}")));
        assert!(changed.is_empty(), "changed on the host: {changed:#?}");
    }

    /// After a control: that no request was seen elsewhere says nothing if none is seen here.
    #[track_caller]
    pub(crate) fn assert_requests_are_seen(&self) {
        let seen = self.requests.as_ref().map(Requests::of_tasks);
        assert!(seen.is_none_or(|seen| !seen.is_empty()), "the control asked for no module");
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Guard::With(_) = self {
            // What came with modules gets its owners and modes later; whoever looks next would see it change. Without it nobody does that.
            let _ = Command::new("udevadm").arg("settle").status();
        }
    }
}

fn seen(with_modules: bool) -> BTreeMap<String, String> {
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
    let mut dirs = vec!["/", "/etc", "/root"];
    if with_modules {
        // Their names: how many use one is no secret and changes with every container.
        for module in read("/proc/modules").lines() {
            let name = module.split(' ').next().unwrap_or_default();
            seen.insert(format!("module {name}"), String::new());
        }
        dirs.push("/dev");
    }
    for dir in dirs {
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
    seen
}

/// Which modules the kernel is asked for, by its own tracing, in an instance that nobody else has: so one is seen too that was there
/// before, or does not exist.
struct Requests(PathBuf);

impl Requests {
    /// There is nothing to see where the kernel has no modules.
    fn watch() -> Option<Requests> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        fs::metadata("/proc/modules").ok()?;
        let event = "events/module/module_request/enable";
        let traces = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"].map(Path::new);
        let Some(traces) = traces.into_iter().find(|dir| dir.join(event).exists()) else {
            println!("only modules that were not loaded before are seen: tracefs is not mounted");
            return None;
        };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let instance = traces.join(format!("instances/watchbell-attacks-{}-{number}", std::process::id()));
        fs::create_dir(&instance).unwrap();
        let requests = Requests(instance);
        fs::write(requests.0.join(event), "1").unwrap();
        Some(requests)
    }

    /// Requests by what runs in a task. What starts it may need some: overlay file systems, for one.
    fn of_tasks(&self) -> Vec<String> {
        let is_of_task = |line: &&str| {
            let begun = line.trim_start();
            begun.starts_with("attack-") || begun.starts_with("suid-")
        };
        read(self.0.join("trace")).lines().filter(is_of_task).map(str::to_owned).collect()
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| e.to_string())
}
