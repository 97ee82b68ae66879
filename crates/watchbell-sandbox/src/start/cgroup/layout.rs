//! Where the hierarchies are mounted, and where in them this process is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{PROCS, named, read_all};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Controller {
    Memory,
    Cpu,
    CpuAcct,
    Pids,
    Freezer,
    /// Named blkio on version 1. It is used only where reads and writes are limited.
    Io,
}

impl Controller {
    /// As version 1 has it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Controller::Memory => "memory",
            Controller::Cpu => "cpu",
            Controller::CpuAcct => "cpuacct",
            Controller::Pids => "pids",
            Controller::Freezer => "freezer",
            Controller::Io => "blkio",
        }
    }
}

/// The base directory of our subtree in each hierarchy.
#[derive(Debug)]
pub(super) struct Layout {
    /// Empty on pure version 2.
    pub(super) v1: Vec<(Controller, PathBuf)>,
    pub(super) unified: Option<PathBuf>,
    /// The group of this process in the unified tree. Ours may lie elsewhere.
    pub(super) own: Option<PathBuf>,
    pub(super) views: Vec<View>,
    /// Of version 1, where our own starts have no use for them: OCI runtimes will not go without `devices`, and crun not into a
    /// container without `freezer`.
    pub(super) others: Vec<PathBuf>,
    /// Of version 1, with its place below /sys/fs/cgroup.
    pub(super) blkio: Option<(String, PathBuf)>,
    /// Of version 2: the controller for disks is handed down too.
    pub(super) hands_io_down: bool,
    /// What OCI runtimes see in place of /sys/fs/cgroup: our subtree in each hierarchy, by the name of its mount.
    pub(super) subtrees: Vec<(String, PathBuf)>,
}

/// A hierarchy as a task sees it, read-only: runtimes size their heaps and pools by its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::start) struct View {
    pub(in crate::start) file_system: &'static str,
    /// The controllers by which a version 1 hierarchy is known; all of it, or the kernel would look for another.
    pub(in crate::start) flags: Vec<&'static str>,
    /// Below /sys/fs/cgroup; empty for the place itself.
    pub(in crate::start) place: String,
}

/// Of version 1.
pub(super) const KNOWN_V1: [&str; 13] = [
    "blkio",
    "cpu",
    "cpuacct",
    "cpuset",
    "devices",
    "freezer",
    "hugetlb",
    "memory",
    "misc",
    "net_cls",
    "net_prio",
    "perf_event",
    "pids",
];

const SUBTREE_CONTROL: &str = "cgroup.subtree_control";
pub(super) const CONTROLLERS: &str = "cgroup.controllers";
/// How often the processes of a group are looked for: whoever forks faster is told that the group is busy.
const STEPS_ASIDE_MAX: usize = 100;
/// `DelegateSubgroup=` of examples/systemd/watchbell.service.
const SUBGROUP: &str = "watchbell-serve";
const WANTED: &str = "+cpu +memory +pids";
const WANTED_WITH_IO: &str = "+cpu +memory +pids +io";

impl Layout {
    pub(super) fn find(name: &str) -> Result<Layout, String> {
        let layout = Layout::read(&read_all("/proc/self/mountinfo")?, &read_all("/proc/self/cgroup")?, name)?;
        match &layout.unified {
            Some(base) if layout.is_pure_v2() => {
                let base = with_controllers(base);
                let subtrees = vec![(String::new(), base.clone())];
                Ok(Layout { unified: Some(base), subtrees, ..layout })
            }
            _ => Ok(layout),
        }
    }

    /// Reads proc(5)'s mountinfo and cgroups(7)'s /proc/self/cgroup.
    pub(super) fn read(mounts: &str, own: &str, name: &str) -> Result<Layout, String> {
        let mut v1 = Vec::new();
        let (mut unified, mut blkio) = (None, None);
        let mut others: Vec<PathBuf> = Vec::new();
        let mut subtrees: Vec<(String, PathBuf)> = Vec::new();
        let mut views: Vec<View> = Vec::new();
        for line in mounts.lines() {
            let Some((head, tail)) = line.split_once(" - ") else { continue };
            let head: Vec<&str> = head.split(' ').collect();
            let tail: Vec<&str> = tail.split(' ').collect();
            let (Some(root), Some(mount), Some(kind)) = (head.get(3), head.get(4), tail.first()) else {
                continue;
            };
            let options = tail.get(2).copied().unwrap_or_default();
            let base = |controller: &str| {
                let own = own_path(own, controller).unwrap_or("/");
                // A mount may show a part of the hierarchy only (a container's).
                let below =
                    own.strip_prefix(root.trim_end_matches('/')).unwrap_or(own).trim_start_matches('/');
                let at = Path::new(mount).join(below);
                if at.is_dir() { at.join(name) } else { Path::new(mount).join(name) }
            };
            match *kind {
                "cgroup2" if unified.is_none() => unified = Some(base("")),
                "cgroup" => {
                    if let Some(view) = view_v1(mount, options).filter(|view| !views.contains(view)) {
                        views.push(view);
                    }
                    for controller in options.split(',') {
                        let place = || (place_of(mount), base(controller));
                        let known = match controller {
                            "memory" => Controller::Memory,
                            "cpu" => Controller::Cpu,
                            "cpuacct" => Controller::CpuAcct,
                            "pids" => Controller::Pids,
                            "freezer" => Controller::Freezer,
                            "blkio" => {
                                blkio.get_or_insert_with(place);
                                continue;
                            }
                            "devices" if !subtrees.contains(&place()) => {
                                others.push(base(controller));
                                subtrees.push(place());
                                continue;
                            }
                            _ => continue,
                        };
                        if !v1.iter().any(|(c, _)| *c == known) {
                            v1.push((known, base(controller)));
                            subtrees.push(place());
                        }
                    }
                }
                _ => {}
            }
        }
        if unified.is_some() {
            // The unified tree tracks; the freezer would only cost a write a start.
            let freezer = v1.extract_if(.., |(c, _)| *c == Controller::Freezer);
            others.extend(freezer.map(|(_, base)| base));
        }
        if v1.is_empty() {
            views = vec![View { file_system: "cgroup2", flags: Vec::new(), place: String::new() }];
        }
        if let Some(base) = unified.as_ref().filter(|_| v1.is_empty()) {
            subtrees = vec![(String::new(), base.clone())];
        }
        // Several controllers may be one hierarchy.
        subtrees.dedup();
        let own = unified.as_deref().and_then(Path::parent).map(Path::to_owned);
        let layout = Layout { v1, unified, own, views, others, blkio, hands_io_down: false, subtrees };
        if layout.unified.is_none() && layout.v1.is_empty() {
            return Err("no control group hierarchy is mounted; mount cgroup2 on /sys/fs/cgroup".into());
        }
        if !layout.is_pure_v2() {
            let has = |controller| layout.v1.iter().any(|(c, _)| *c == controller);
            for (controller, word) in [
                (Controller::Memory, "memory"),
                (Controller::Cpu, "cpu"),
                (Controller::CpuAcct, "cpuacct"),
                (Controller::Pids, "pids"),
            ] {
                if !has(controller) {
                    return Err(format!(
                        "the control group controller {word} is not mounted, so its limits could not be kept; mount it"
                    ));
                }
            }
            if layout.unified.is_none() && !has(Controller::Freezer) {
                return Err(
                    "neither cgroup2 nor the freezer is mounted: tasks could not be ended for certain".into(),
                );
            }
        }
        Ok(layout)
    }

    pub(super) fn is_pure_v2(&self) -> bool {
        self.v1.is_empty()
    }

    /// Whether there is a controller for disks.
    pub(super) fn can_limit_io(&self) -> bool {
        if !self.is_pure_v2() {
            return self.blkio.is_some();
        }
        let own = self.unified.as_deref().and_then(Path::parent);
        let listed = own.and_then(|own| fs::read_to_string(own.join(CONTROLLERS)).ok()).unwrap_or_default();
        listed.split_whitespace().any(|name| name == "io")
    }

    /// Takes the controller for disks in, which costs each start a move more on version 1.
    pub(super) fn limit_io(&mut self) {
        if self.is_pure_v2() {
            self.hands_io_down = true;
        } else if let Some((place, base)) = self.blkio.take() {
            self.v1.push((Controller::Io, base.clone()));
            self.subtrees.push((place, base));
        }
    }

    /// The base directory of each controller that limits.
    pub(super) fn limited(&self) -> impl Iterator<Item = (Controller, &Path)> {
        let unified = self.unified.as_deref().filter(|_| self.is_pure_v2());
        let all = [Controller::Memory, Controller::Cpu, Controller::Pids];
        let of_v2 = unified.into_iter().flat_map(move |base| all.map(|controller| (controller, base)));
        self.v1.iter().map(|(controller, base)| (*controller, base.as_path())).chain(of_v2)
    }

    /// Each base directory once.
    pub(super) fn bases(&self) -> Vec<&Path> {
        let mut bases: Vec<&Path> = Vec::new();
        for base in self.v1.iter().map(|(_, path)| path).chain(&self.unified).chain(&self.others) {
            if !bases.contains(&base.as_path()) {
                bases.push(base);
            }
        }
        bases
    }

    /// Makes the base directories, with controllers on version 2.
    pub(super) fn make(&self) -> Result<(), String> {
        for base in self.bases() {
            match fs::create_dir(base) {
                Ok(()) => {}
                // A runtime that needs it says so at its start; our own sandbox does not.
                Err(e) if self.others.iter().any(|other| other == base) => {
                    tracing::info!("no control group for OCI runtimes at {}: {e}", base.display());
                }
                Err(e) => {
                    return Err(format!(
                        "cannot make the control group {}: {e}; run as root or delegate it",
                        base.display()
                    ));
                }
            }
        }
        if let Some(base) = self.unified.as_deref().filter(|_| self.is_pure_v2()) {
            let own = base.parent().unwrap_or(base);
            let failed = |e: io::Error| {
                format!(
                    "cannot use the controllers cpu, memory and pids below {}: {e}; delegate them",
                    own.display()
                )
            };
            match self.enable(own) {
                // A group with processes may not hand controllers down: ours go into a leaf beside the tasks.
                Err(e) if e.raw_os_error() == Some(libc::EBUSY) => {
                    step_aside(own, base).and_then(|()| self.enable(own)).map_err(failed)?;
                }
                other => other.map_err(failed)?,
            }
            self.enable(base).map_err(failed)?;
        }
        Ok(())
    }

    fn enable(&self, dir: &Path) -> io::Result<()> {
        let file = dir.join(SUBTREE_CONTROL);
        let wanted = if self.hands_io_down { WANTED_WITH_IO } else { WANTED };
        fs::write(&file, wanted).map_err(|e| match e.raw_os_error() {
            Some(libc::EBUSY) => e,
            _ => named(&file, e),
        })
    }

    /// Hands controllers down to the groups inside `name`.
    pub(super) fn delegate(&self, name: &str) -> io::Result<()> {
        match &self.unified {
            Some(base) if self.is_pure_v2() => self.enable(&base.join(name)),
            _ => Ok(()),
        }
    }
}

/// The same directory below the nearest group that hands all controllers down already: on most hosts the slice of the
/// service, or the root. Nothing of the groups in between is changed: they are systemd's. Our own group is not chosen while
/// there is another. One that hands controllers down takes no process, and systemd puts a server that it starts again
/// into it.
///
/// A unit with `Delegate=` and `DelegateSubgroup=` keeps it free of processes, so it is chosen then.
fn with_controllers(base: &Path) -> PathBuf {
    let lists_all = |file: PathBuf| {
        let listed = fs::read_to_string(file).unwrap_or_default();
        ["cpu", "memory", "pids"].iter().all(|wanted| listed.split_whitespace().any(|name| name == *wanted))
    };
    let (Some(own), Some(name)) = (base.parent(), base.file_name()) else { return base.to_owned() };
    let mut above = own.ancestors().skip(1).take_while(|dir| dir.join(CONTROLLERS).exists());
    let unit = own.parent().filter(|unit| own.ends_with(SUBGROUP) && lists_all(unit.join(CONTROLLERS)));
    let found = unit.or_else(|| above.find(|dir| lists_all(dir.join(SUBTREE_CONTROL))));
    // Where none does, as in a container, ours go into a leaf; what is missing is told by the one that was asked for.
    found.map_or_else(|| base.to_owned(), |dir| dir.join(name))
}

/// Of a hierarchy that limits memory or CPU.
fn view_v1(mount: &str, options: &str) -> Option<View> {
    let has = |name: &str| options.split(',').any(|option| option == name);
    let place = Path::new(mount).file_name()?.to_str()?.to_owned();
    let flags = KNOWN_V1.into_iter().filter(|name| has(name)).collect();
    (has("memory") || has("cpu")).then_some(View { file_system: "cgroup", flags, place })
}

/// The name of a mount point, below /sys/fs/cgroup.
fn place_of(mount: &str) -> String {
    Path::new(mount).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn own_path<'a>(own: &'a str, controller: &str) -> Option<&'a str> {
    own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (names, path) = (parts.next()?, parts.next()?);
        names.split(',').any(|n| n == controller).then_some(path)
    })
}

fn step_aside(own: &Path, base: &Path) -> io::Result<()> {
    let mut leaf = base.as_os_str().to_owned();
    leaf.push("-host");
    let leaf = PathBuf::from(leaf);
    match fs::create_dir(&leaf) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(named(&leaf, e)),
        _ => {}
    }
    // What is forked between reading and writing is there the next time.
    for _ in 0..STEPS_ASIDE_MAX {
        let processes = fs::read_to_string(own.join(PROCS))?;
        if processes.is_empty() {
            break;
        }
        for pid in processes.lines() {
            match fs::write(leaf.join(PROCS), pid) {
                // It ended meanwhile.
                Err(e) if e.raw_os_error() == Some(libc::ESRCH) => {}
                other => other.map_err(|e| named(&leaf.join(PROCS), e))?,
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /nowhere rw - tmpfs tmpfs rw
32 31 0:29 / /nowhere/cpu rw - cgroup cgroup rw,cpu
33 31 0:30 / /nowhere/cpuacct rw - cgroup cgroup rw,cpuacct
35 31 0:32 / /nowhere/memory rw - cgroup cgroup rw,memory
37 31 0:34 / /nowhere/freezer rw - cgroup cgroup rw,freezer
39 31 0:36 / /nowhere/pids rw - cgroup cgroup rw,pids
41 31 0:38 / /nowhere/unified rw - cgroup2 cgroup2 rw
";

    #[test]
    fn the_three_layouts() {
        let own = "4:memory:/a\n1:cpu:/\n0::/\n";
        let hybrid = Layout::read(HYBRID, own, "w").unwrap();
        assert!(!hybrid.is_pure_v2());
        assert_eq!(hybrid.unified, Some("/nowhere/unified/w".into()));
        assert_eq!(hybrid.v1.len(), 4, "the freezer is left out: {hybrid:?}");
        assert_eq!(hybrid.bases().len(), 6, "the freezer is there for OCI runtimes");
        let shown: Vec<_> = hybrid.views.iter().map(|v| (&*v.place, v.flags.clone())).collect();
        assert_eq!(shown, [("cpu", vec!["cpu"]), ("memory", vec!["memory"])]);

        let v2 =
            Layout::read("30 23 0:26 / /nowhere rw - cgroup2 cgroup2 rw\n", "0::/x.slice\n", "w").unwrap();
        assert!(v2.is_pure_v2());
        assert_eq!((v2.views.len(), v2.views[0].file_system), (1, "cgroup2"));
        assert_eq!(v2.own, Some("/nowhere".into()));

        let v1 = HYBRID.replace("cgroup2", "tmpfs").replace("rw,cpu\n", "rw,cpu,cpuacct\n");
        let v1 = Layout::read(&v1, own, "w").unwrap();
        assert_eq!(v1.unified, None);
        assert_eq!(v1.bases().len(), 4, "cpu and cpuacct are one directory: {v1:?}");
        assert_eq!(v1.views[0].flags, ["cpu", "cpuacct"]);
    }

    #[test]
    fn what_is_missing_is_named() {
        for (cut, word) in [("rw,memory", "memory"), ("rw,pids", "pids")] {
            let error = Layout::read(&HYBRID.replace(cut, "rw,blkio"), "", "w").unwrap_err();
            assert!(error.contains(word) && error.contains("mount it"), "{error}");
        }
        assert!(Layout::read("", "", "w").unwrap_err().contains("mount cgroup2"));
    }

    /// Groups as (path, controllers, handed down); the path found for `own`.
    fn check_controllers(groups: &[(&str, &str, &str)], own: &str, expect: &str) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("cgroup");
        for (path, has, down) in groups {
            fs::create_dir_all(root.join(path)).unwrap();
            fs::write(root.join(path).join(CONTROLLERS), has).unwrap();
            fs::write(root.join(path).join(SUBTREE_CONTROL), down).unwrap();
        }
        assert_eq!(
            with_controllers(&root.join(own).join("watchbell-x")),
            root.join(expect).join("watchbell-x")
        );
    }

    #[test]
    fn a_group_without_controllers_is_left_for_one_that_has_them() {
        let all = "cpuset cpu io memory pids";
        // A service: systemd can start it again while tasks run.
        let service = [("", all, all), ("system.slice", all, all), ("system.slice/w.service", all, "")];
        check_controllers(&service, "system.slice/w.service", "system.slice");
        // A delegated one whose processes lie in a group of their own.
        let unit = "system.slice/w.service";
        let inside = format!("{unit}/{SUBGROUP}");
        let delegated = [("", all, all), ("system.slice", all, all), (unit, all, ""), (&inside, "", "")];
        check_controllers(&delegated, &inside, unit);
        // The root of a container has nothing above it.
        check_controllers(&[("", all, "")], "", "");
        // A login session as Debian and Ubuntu have it.
        let session = [
            ("", all, all),
            ("user.slice", all, "memory pids"),
            ("user.slice/user-0.slice", "memory pids", "memory pids"),
            ("user.slice/user-0.slice/session-3.scope", "memory pids", ""),
        ];
        check_controllers(&session, "user.slice/user-0.slice/session-3.scope", "");
        // Nobody has them: the error names where we are.
        let none = [("", "memory", "memory"), ("a", "memory", "")];
        check_controllers(&none, "a", "a");
    }
}
