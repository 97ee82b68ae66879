//! What a container gets of a device, decided from its edits: each either done as the spec asks, or the device is refused
//! with the reason. Nothing is left out in silence.

use std::io;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, major, minor};

use crate::edits::{DeviceNode, Edits, Hook, Mount};
use crate::{Policy, elf, native, place};

/// Names in /dev that every container has of its own.
const OWN: [&str; 15] = [
    "null", "zero", "full", "random", "urandom", "tty", "console", "fd", "stdin", "stdout", "stderr", "ptmx",
    "pts", "shm", "mqueue",
];
/// Where nothing of a spec is mounted or linked: the container's own file systems.
const KERNEL_PLACES: [&str; 3] = ["/proc", "/sys", "/dev"];
/// A container's ids end below this.
const IDS: u32 = 65_536;
/// Seconds for a hook that names no timeout, and the most that one may have: a start waits for it.
const HOOK_SECONDS: u64 = 30;
const HOOK_SECONDS_MAX: u64 = 120;

/// What a container gets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HandOut {
    /// In place of what the container has by these names.
    pub env: Vec<(String, String)>,
    pub nodes: Vec<Node>,
    /// Read-only, without setuid and devices.
    pub mounts: Vec<HostMount>,
    /// Made where the image has nothing.
    pub links: Vec<Link>,
    /// Where libraries lie that the image's loader does not know: behind its own `LD_LIBRARY_PATH`.
    pub library_dirs: Vec<String>,
    /// Supplementary groups, by the container's numbers.
    pub gids: Vec<u32>,
    pub hooks: Vec<HostHook>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    Character,
    Block,
    Fifo,
}

/// What may be done with a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    pub read: bool,
    pub write: bool,
}

impl Access {
    pub fn is_full(self) -> bool {
        self.read && self.write
    }
}

/// A device node to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Below `/dev`.
    pub path: PathBuf,
    pub kind: NodeKind,
    pub major: u32,
    pub minor: u32,
    /// Permission bits, within `access`.
    pub mode: u32,
    pub access: Access,
    /// The container's ids; `None`: those of its process, as the reference library has it.
    pub uid: Option<u32>,
    pub gid: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostMount {
    /// On the host. Opened by [`crate::open_source`].
    pub source: PathBuf,
    /// In the container.
    pub target: String,
    pub no_exec: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    pub path: String,
    pub target: String,
}

/// A program that root allowed, run as root on the host before there is a process of the container: `createRuntime`, and
/// `prestart`, its older name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostHook {
    pub path: PathBuf,
    /// With the program's name, as exec takes them.
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub timeout_seconds: u64,
}

impl HandOut {
    /// Adds the edits of a spec or a device.
    pub(crate) fn add(&mut self, edits: &Edits, policy: &Policy) -> Result<(), String> {
        if let Some(device) = edits.net_devices.first() {
            return Err(format!(
                "netDevices {:?}: interfaces of the host are not handed to tasks",
                device.name
            ));
        }
        if edits.intel_rdt.is_some() {
            return Err("intelRdt: cache and bandwidth classes are not set for tasks".to_owned());
        }
        for variable in &edits.env {
            if let Some((name, value)) = variable.split_once('=') {
                self.set_env(name, value);
            }
        }
        for node in &edits.device_nodes {
            let node = self::node(node).map_err(|why| format!("deviceNodes {:?}: {why}", node.path))?;
            // The last one wins, as in the reference library.
            self.nodes.retain(|known| known.path != node.path);
            self.nodes.push(node);
        }
        for mount in &edits.mounts {
            let mount =
                self::mount(mount).map_err(|why| format!("mounts {:?}: {why}", mount.container_path))?;
            self.mounts.retain(|known| known.target != mount.target);
            self.mounts.push(mount);
        }
        for gid in edits.additional_gids.iter().filter(|gid| **gid != 0) {
            if *gid >= IDS {
                return Err(format!(
                    "additionalGids: {gid} is beyond a container's ids, which end below {IDS}"
                ));
            }
            if !self.gids.contains(gid) {
                self.gids.push(*gid);
            }
        }
        for hook in &edits.hooks {
            self.add_hook(hook, policy)
                .map_err(|why| format!("hooks {:?} ({}): {why}", hook.path, hook.hook_name))?;
        }
        Ok(())
    }

    fn set_env(&mut self, name: &str, value: &str) {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value.to_owned()));
    }

    fn add_hook(&mut self, hook: &Hook, policy: &Policy) -> Result<(), String> {
        // Before the list: what can be done without root's program is, listed or not.
        if let Some(work) = native::understand(hook) {
            let work = work?;
            for link in work.links {
                check_target(&link.path)?;
                if !self.links.contains(&link) {
                    self.links.push(link);
                }
            }
            for dir in work.library_dirs {
                if !self.library_dirs.contains(&dir) {
                    self.library_dirs.push(dir);
                }
            }
            return Ok(());
        }
        let path = PathBuf::from(&hook.path);
        if !policy.hooks.contains(&path) {
            return Err(format!(
                "it would run as root on the host and is not allowed; allow it with --cdi-allow-hook {}, or generate the \
                 spec without it",
                hook.path
            ));
        }
        if !["createRuntime", "prestart"].contains(&hook.hook_name.as_str()) {
            return Err(
                "only hooks before a container's start are served: createRuntime and prestart".to_owned()
            );
        }
        check_program(&path).map_err(|e| e.to_string())?;
        let pairs = hook.env.iter().filter_map(|v| v.split_once('='));
        let seconds = hook.timeout.and_then(|s| u64::try_from(s).ok()).unwrap_or(HOOK_SECONDS);
        let made = HostHook {
            args: if hook.args.is_empty() { vec![hook.path.clone()] } else { hook.args.clone() },
            path,
            env: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            timeout_seconds: seconds.min(HOOK_SECONDS_MAX),
        };
        if !self.hooks.contains(&made) {
            self.hooks.push(made);
        }
        Ok(())
    }

    /// Once all edits are there: what `ldconfig` would have linked. A library is found by its SONAME, which is not the name
    /// of its file.
    pub(crate) fn link_libraries(&mut self) -> Result<(), String> {
        let mut made = Vec::new();
        for mount in &self.mounts {
            let target = Path::new(&mount.target);
            let (Some(dir), Some(file)) = (target.parent().and_then(Path::to_str), target.file_name()) else {
                continue;
            };
            let Some(file) = file.to_str().filter(|file| file.contains(".so")) else { continue };
            if !self.library_dirs.iter().any(|known| known.trim_end_matches('/') == dir) {
                continue;
            }
            let soname = elf::soname(&mount.source)
                .map_err(|e| format!("mounts {:?}: its SONAME cannot be read: {e}", mount.target))?;
            let Some(soname) = soname.filter(|name| name != file) else { continue };
            let link = Link { path: format!("{dir}/{soname}"), target: file.to_owned() };
            let is_taken = self.mounts.iter().any(|mount| mount.target == link.path)
                || self.links.iter().chain(&made).any(|known| known.path == link.path);
            if !is_taken {
                made.push(link);
            }
        }
        self.links.extend(made);
        Ok(())
    }
}

fn node(node: &DeviceNode) -> Result<Node, String> {
    let path = PathBuf::from(&node.path);
    let below = path.strip_prefix("/dev").map_err(|_| "it does not lie below /dev".to_owned())?;
    let is_plain = below.components().all(|c| matches!(c, Component::Normal(_)));
    let first = below.components().next().map(|c| c.as_os_str().to_string_lossy().into_owned());
    let Some(first) = first.filter(|_| is_plain) else {
        return Err("it is no plain path below /dev".to_owned());
    };
    if OWN.contains(&first.as_str()) || first == "termination-log" {
        return Err("every container has one of its own there".to_owned());
    }
    let said = match node.kind.as_str() {
        "b" => Some(NodeKind::Block),
        "c" | "u" => Some(NodeKind::Character),
        "p" => Some(NodeKind::Fifo),
        _ => None,
    };
    let (kind, major, minor) = match said {
        Some(NodeKind::Fifo) => (NodeKind::Fifo, 0, 0),
        Some(kind) if node.major != 0 => (kind, node.major as u32, node.minor as u32),
        _ => {
            let host = if node.host_path.is_empty() { &node.path } else { &node.host_path };
            let (kind, major, minor) = host_device(Path::new(host)).map_err(|e| e.to_string())?;
            if said.is_some_and(|said| said != kind) {
                return Err(format!("{host} is another type of device than type {:?} says", node.kind));
            }
            (kind, major, minor)
        }
    };
    let may = |what: char| {
        node.permissions.is_empty() || (node.permissions != "none" && node.permissions.contains(what))
    };
    let access = Access { read: may('r'), write: may('w') };
    let mask = if access.read { 0o444 } else { 0 } | if access.write { 0o222 } else { 0 };
    for (field, id) in [("uid", node.uid), ("gid", node.gid)] {
        if id.is_some_and(|id| id >= IDS) {
            return Err(format!("{field} is beyond a container's ids, which end below {IDS}"));
        }
    }
    Ok(Node {
        path,
        kind,
        major,
        minor,
        mode: node.file_mode.unwrap_or(0o666) & mask,
        access,
        uid: node.uid,
        gid: node.gid,
    })
}

fn host_device(path: &Path) -> io::Result<(NodeKind, u32, u32)> {
    let (_, stat) = place::open_source(path)?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice => NodeKind::Character,
        FileType::BlockDevice => NodeKind::Block,
        _ => return Err(io::Error::other(format!("{} is no device", path.display()))),
    };
    Ok((kind, major(stat.st_rdev), minor(stat.st_rdev)))
}

fn mount(mount: &Mount) -> Result<HostMount, String> {
    if !["", "bind", "none"].contains(&mount.kind.as_str()) {
        return Err(format!(
            "type {:?} is not served; only files and directories of the host are mounted",
            mount.kind
        ));
    }
    check_target(&mount.container_path)?;
    let mut no_exec = false;
    for option in &mount.options {
        match option.as_str() {
            "noexec" => no_exec = true,
            "exec" => no_exec = false,
            // All of these hold anyway, or ask for no more than what is given.
            "ro" | "rro" | "bind" | "rbind" | "nosuid" | "nodev" | "private" | "rprivate" | "slave"
            | "rslave" | "noatime" | "relatime" | "nodiratime" | "nosymfollow" | "defaults" => {}
            "rw" => return Err("it asks to be writable; files of the host are mounted read-only".to_owned()),
            other => return Err(format!("option {other:?} is not served")),
        }
    }
    let source = PathBuf::from(&mount.host_path);
    place::open_source(&source).map_err(|e| e.to_string())?;
    Ok(HostMount { source, target: mount.container_path.clone(), no_exec })
}

/// A place in the container for a mount or a link.
fn check_target(path: &str) -> Result<(), String> {
    let target = Path::new(path);
    if !target.is_absolute()
        || target.components().any(|c| c == Component::ParentDir)
        || target == Path::new("/")
    {
        return Err(format!("{path:?} is no absolute path without '..'"));
    }
    match KERNEL_PLACES.iter().find(|place| target.starts_with(place)) {
        Some(place) => Err(format!("{path:?}: nothing is put below {place}")),
        None => Ok(()),
    }
}

/// A hook runs as root: nobody else may have written it.
pub fn check_program(path: &Path) -> io::Result<()> {
    let (_, stat) = place::open_root_owned(path)?;
    place::refuse_writable(path, &stat, 0)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_mode & 0o100 == 0 {
        return Err(io::Error::other(format!("{} is no executable file", path.display())));
    }
    Ok(())
}
