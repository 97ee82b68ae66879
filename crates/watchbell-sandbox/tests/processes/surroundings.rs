//! What a task finds around it: who it is, what it sees, its volumes, its pod, what was allowed to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::process::{Resource, Rlimit as ProcessLimit};
use watchbell_sandbox::{
    Capabilities, Ceiling, CgroupLimits, ExitStatus, Mount, PodEnvironment, PodVolume, ProcMount, Rlimit,
    RlimitResource, RunSpec, Scratch, Seccomp, Sharing, SpawnerOptions, Sys, VolumeSource,
};

use crate::Outcome;
use crate::failures::SmallDisk;
use crate::place::{Failure, Place, Server, kernel, pod, script};
use crate::probe::{build_probe, pairs, printed, probe, with_volume};

pub(crate) fn ordinary_programs_run() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    let lines = printed(&place, &server, &probe(&place, 1, &["harmless"]))?;
    let refused: Vec<&String> = lines.iter().filter(|line| !line.ends_with(" allowed")).collect();
    assert!(lines.len() > 10 && refused.is_empty(), "{refused:?}");
    Ok(())
}

pub(crate) fn a_task_is_who_it_should_be() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    let who = |uid: u128, change: fn(&mut RunSpec)| -> Result<Vec<String>, Failure> {
        let mut spec = probe(&place, uid, &["who"]);
        change(&mut spec);
        printed(&place, &server, &spec)
    };
    // User, group, pid, parent, session, host name, directory.
    assert_eq!(who(1, |_| {})?, ["65534 65534 1 0 1 task /"]);
    assert_eq!(
        who(2, |s| (s.uid, s.gid, s.cwd) = (7, 8, "/made/here".to_owned()))?,
        ["7 8 1 0 1 task /made/here"]
    );
    let status = |uid: u128, change: fn(&mut RunSpec)| -> Result<BTreeMap<String, String>, Failure> {
        let mut spec = probe(&place, uid, &["cat", "/proc/self/status"]);
        change(&mut spec);
        let lines = printed(&place, &server, &spec)?;
        let pair = |line: &String| line.split_once(':').map(|(k, v)| (k.to_owned(), v.trim().to_owned()));
        Ok(lines.iter().filter_map(pair).collect())
    };
    let strict = status(3, |_| {})?;
    for (name, expect) in [
        ("CapInh", "0000000000000000"),
        ("CapPrm", "0000000000000000"),
        ("CapEff", "0000000000000000"),
        ("CapBnd", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("Groups", ""),
        ("SigBlk", "0000000000000000"),
        ("SigIgn", "0000000000000000"),
        ("Umask", "0022"),
        ("Threads", "1"),
    ] {
        assert_eq!(strict.get(name).map(String::as_str), Some(expect), "{name}");
    }
    let groups = status(4, |s| {
        (s.uid, s.groups, s.capabilities) = (0, vec![5, 6], Capabilities::RUNTIME_DEFAULT);
    })?;
    assert_eq!(groups["Groups"], "5 6");
    assert_eq!(groups["CapEff"], format!("{:016x}", Capabilities::RUNTIME_DEFAULT.bits()));
    assert_eq!((&*groups["CapInh"], &*groups["CapAmb"]), ("0000000000000000", "0000000000000000"));
    // Exactly 1, whatever is asked: with 0 the kernel would still start a handler that it pipes core files to.
    for (uid, rlimits) in
        [(6, vec![]), (7, vec![Rlimit { resource: RlimitResource::Core, soft: 0, hard: 0 }])]
    {
        let spec = RunSpec { rlimits, ..probe(&place, uid, &["cat", "/proc/self/limits"]) };
        let lines = printed(&place, &server, &spec)?;
        let core =
            lines.iter().find_map(|line| line.strip_prefix("Max core file size")).ok_or("no core limit")?;
        assert_eq!(core.split_whitespace().collect::<Vec<_>>(), ["1", "1", "bytes"]);
    }
    // As everywhere in Kubernetes: a user that is not root has none of them, only the bound.
    let user = status(5, |s| s.capabilities = Capabilities::RUNTIME_DEFAULT)?;
    assert_eq!(user["CapEff"], "0000000000000000");
    assert_eq!(user["CapBnd"], groups["CapEff"]);
    Ok(())
}

pub(crate) fn a_task_sees_itself_alone() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    let show = |uid: u128, args: &[&str]| printed(&place, &server, &probe(&place, uid, args));
    let processes = show(1, &["ls", "/proc"])?;
    let pids: Vec<&String> = processes.iter().filter(|name| name.parse::<u32>().is_ok()).collect();
    assert_eq!(pids, ["1"]);
    let interfaces = show(2, &["cat", "/proc/net/dev"])?;
    let names: Vec<&str> =
        interfaces.iter().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim()).collect();
    assert_eq!(names, ["lo"]);
    assert_eq!(show(3, &["fds"])?, ["0 1 2 "]);
    let mut devices = show(4, &["ls", "/dev"])?;
    devices.sort();
    let known = [
        ".",
        "..",
        "fd",
        "full",
        "mqueue",
        "null",
        "ptmx",
        "pts",
        "random",
        "shm",
        "stderr",
        "stdin",
        "stdout",
        "termination-log",
        "tty",
        "urandom",
        "zero",
    ];
    assert_eq!(devices, known);
    // Covered by something empty.
    for (uid, path) in
        [(5, "/proc/kcore"), (6, "/proc/keys"), (7, "/proc/timer_list"), (8, "/proc/interrupts")]
    {
        // Or not there at all in this kernel.
        let lines = show(uid, &["cat", path])?;
        assert!(lines.is_empty() || lines == ["ENOENT"], "{path}: {lines:?}");
    }
    let mut sys = show(9, &["ls", "/sys"])?;
    sys.sort();
    assert_eq!(sys, [".", "..", "fs"]);
    assert_eq!(
        show(10, &["cat", "/proc/self/cgroup"])?.iter().filter(|line| !line.ends_with(":/")).count(),
        0
    );
    let mounts = show(11, &["cat", "/proc/self/mountinfo"])?;
    let host = place.path().to_string_lossy().into_owned();
    assert!(mounts.iter().all(|line| !line.contains(&host)), "a host path shows: {mounts:#?}");
    let mut writable: Vec<&str> = mounts
        .iter()
        .filter(|line| line.split(' ').nth(5).is_some_and(|options| options.starts_with("rw")))
        .filter_map(|line| line.split(' ').nth(4))
        .collect();
    writable.sort_unstable();
    assert_eq!(writable, ["/dev/mqueue", "/dev/pts", "/dev/shm", "/proc", "/tmp"]);
    Ok(())
}

pub(crate) fn volumes_hold_what_they_should() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    let volume = place.path().join("volumes/one");
    fs::create_dir_all(&volume)?;
    std::os::unix::fs::chown(&volume, Some(65534), Some(65534))?;
    let dir = || VolumeSource::Dir { path: volume.clone() };
    let write = probe(&place, 1, &["write", "/data/result", "42"]);
    let lines = printed(&place, &server, &with_volume(write, "/data", dir(), None))?;
    assert_eq!(lines, ["open allowed", "write allowed"]);
    // On disk are the container's ids, not those that its processes have on the host.
    let meta = fs::metadata(volume.join("result"))?;
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&meta), 65534);
    assert_eq!(fs::read_to_string(volume.join("result"))?, "42");

    // Links that a task left lead nowhere outside (CVE-2021-25741), with the file that they mean as control.
    std::os::unix::fs::symlink("/etc", volume.join("away"))?;
    std::os::unix::fs::symlink("../../../../../../etc", volume.join("up"))?;
    assert!(volume.join("away/passwd").exists() && volume.join("up/passwd").exists());
    for (uid, sub_path) in [(2, "away"), (3, "up"), (4, "away/ssl")] {
        let list = probe(&place, uid, &["ls", "/data"]);
        let spec = with_volume(list, "/data", dir(), Some(sub_path));
        server.spawner.start(&spec)?;
        match server.exit(spec.id) {
            Ok(_) => assert!(
                place.lines(&format!("{uid}.log"))?.iter().all(|l| !l.contains("passwd")),
                "{sub_path}"
            ),
            Err(refused) => assert!(refused.to_string().contains("/data"), "{refused}"),
        }
    }

    // Nor does a link in the volume's own place, or on the way to it.
    std::os::unix::fs::symlink("/etc", place.path().join("volumes/link"))?;
    std::os::unix::fs::symlink("volumes", place.path().join("way"))?;
    for (uid, path) in [(20, "volumes/link"), (21, "way/one")] {
        let source = VolumeSource::Dir { path: place.path().join(path) };
        let spec = with_volume(probe(&place, uid, &["ls", "/data"]), "/data", source, None);
        server.spawner.start(&spec)?;
        let failure = server.failure(spec.id)?.message;
        assert!(failure.contains("a symbolic link is on the way"), "{path}: {failure}");
    }

    // What is missing is made there, as on disk, for the container; each index of an array may have its own.
    let write = probe(&place, 7, &["write", "/data/x", "7"]);
    let lines = printed(&place, &server, &with_volume(write, "/data", dir(), Some("made/7")))?;
    assert_eq!(lines, ["open EACCES"], "the volume's mode is kept");
    fs::set_permissions(&volume, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
    let write = probe(&place, 8, &["write", "/data/x", "8"]);
    let lines = printed(&place, &server, &with_volume(write, "/data", dir(), Some("made-8/8")))?;
    assert_eq!(lines, ["open allowed", "write allowed"]);
    let meta = fs::metadata(volume.join("made-8/8"))?;
    assert_eq!(
        (std::os::unix::fs::MetadataExt::uid(&meta), fs::read_to_string(volume.join("made-8/8/x"))?),
        (0, "8".into())
    );

    // A file of a ConfigMap with the bit may be executed, as in Kubernetes; nothing in it can be changed.
    let files = |mode| VolumeSource::Files {
        entries: vec![watchbell_sandbox::FileEntry {
            path: "run.sh".to_owned(),
            mode,
            contents: b"#!/bin/sh\necho from a script\n".to_vec(),
        }],
        gid: None,
    };
    let execute = RunSpec { argv: vec!["/scripts/run.sh".to_owned()], ..probe(&place, 5, &[]) };
    let lines = printed(&place, &server, &with_volume(execute, "/scripts", files(0o755), None))?;
    assert_eq!(lines, ["from a script"]);
    let change = probe(&place, 6, &["write", "/scripts/run.sh", "x"]);
    let change = RunSpec { uid: 0, gid: 0, capabilities: Capabilities::RUNTIME_DEFAULT, ..change };
    assert_eq!(
        printed(&place, &server, &with_volume(change, "/scripts", files(0o755), None))?,
        ["open EROFS"]
    );
    Ok(())
}

pub(crate) fn a_task_sees_its_limits() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    // Version 2, and version 1 with its controllers side by side.
    let files = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    // One after another, so that they have one slot in turn.
    for (uid, sys, bytes) in
        [(1, Sys::None, 48 << 20), (2, Sys::ReadOnly, 48 << 20), (3, Sys::None, 64 << 20)]
    {
        let limits = CgroupLimits { memory_bytes: Some(bytes), ..CgroupLimits::default() };
        let spec = RunSpec { sys, limits, ..probe(&place, uid, &["cat", files[0], files[1]]) };
        let lines = printed(&place, &server, &spec)?;
        assert!(lines.contains(&bytes.to_string()), "{sys:?}: {lines:?}");
        let file = if lines[0] == "ENOENT" { files[1] } else { files[0] };
        let root = RunSpec { uid: 0, gid: 0, capabilities: Capabilities::RUNTIME_DEFAULT, ..spec };
        let mut write = probe(&place, uid + 10, &["write", file, "-1"]);
        (write.sys, write.uid, write.gid, write.capabilities) = (sys, 0, 0, root.capabilities);
        assert_eq!(printed(&place, &server, &write)?, ["open EROFS"]);
        // Its own group is the top: there is no way to another's.
        let list = RunSpec { sys, ..probe(&place, uid + 20, &["ls", "/sys/fs/cgroup/memory/.."]) };
        let lines = printed(&place, &server, &list)?;
        assert!(lines.iter().all(|line| !line.contains("watchbell") && !line.contains("slot")), "{lines:?}");
    }
    Ok(())
}

pub(crate) fn a_layer_that_is_unpacked_again_is_seen() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    let layer = place.path().join("changed");
    for (uid, text) in [(1, "old"), (2, "new")] {
        fs::create_dir(&layer)?;
        fs::write(layer.join("which"), text)?;
        let mut spec = probe(&place, uid, &["cat", "/which"]);
        spec.root.layers.push(layer.clone());
        assert_eq!(printed(&place, &server, &spec)?, [text]);
        fs::rename(&layer, place.path().join(format!("trash-{uid}")))?;
    }
    Ok(())
}

/// What lies below it is mounted once for an id range; what runs write to it is each run's own.
pub(crate) fn a_writable_root_is_new_for_each_run() -> Outcome {
    let place = Place::new()?;
    let server = place.connect()?;
    let layer = place.path().join("above");
    fs::create_dir(&layer)?;
    fs::write(layer.join("which"), "of the image\n")?;
    // The working directory is made where the link leads.
    std::os::unix::fs::symlink("elsewhere", layer.join("link"))?;
    let task = |uid: u128, read_only: bool, bytes: u64, text: &str| {
        let mut spec = script(&place, uid, text);
        spec.root.layers.push(layer.clone());
        (spec.uid, spec.gid, spec.cwd) = (0, 0, "/link/deep".to_owned());
        (spec.root.read_only, spec.root.upper) = (read_only, Scratch { bytes, inodes: 100 });
        printed(&place, &server, &spec)
    };
    let text =
        "cat /which; [ -e /new ] || echo none; echo mine > /new; echo mine > /which; cat /which; pwd -P";
    for uid in 1..=3 {
        let lines = task(uid, false, 1 << 20, text)?;
        assert_eq!(lines, ["of the image", "none", "mine", "/elsewhere/deep"], "run {uid}");
    }
    let fill = "head -c 200000 /dev/zero > /big 2> /dev/null && echo all || echo less";
    assert_eq!(task(4, false, 64 << 10, fill)?, ["less"]);
    assert_eq!(task(5, false, 1 << 20, fill)?, ["all"]);
    let lines = task(6, true, 1 << 20, "cat /which; echo mine > /which || true")?;
    assert!(lines.len() == 2 && lines[0] == "of the image" && lines[1].ends_with("Read-only file system"));
    assert_eq!(task(7, false, 1 << 20, text)?[..2], ["of the image", "none"]);
    assert_eq!(fs::read_to_string(layer.join("which"))?, "of the image\n");
    Ok(())
}

/// What Kubernetes' fields loosen, where root allowed it when the spawner was started.
pub(crate) fn what_the_ceiling_allows_runs() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let host = tempfile::tempdir()?;
    let allowed = Ceiling {
        privileged: true,
        host_users: true,
        host_network: true,
        host_pid: true,
        host_ipc: true,
        unconfined: true,
        host_paths: vec![host.path().to_owned()],
        ..Ceiling::default()
    };
    fs::create_dir(host.path().join("dir"))?;
    fs::write(host.path().join("file"), "of the host")?;
    let server = place.connect_with(&SpawnerOptions { ceiling: allowed, ..place.options() })?;
    let uids = std::cell::Cell::new(100);
    let show = |args: &[&str], change: &dyn Fn(&mut RunSpec, &mut PodEnvironment)| {
        let uid = uids.replace(uids.get() + 1);
        let mut spec = probe(&place, uid, args);
        let mut pod = pod(uid);
        change(&mut spec, &mut pod);
        spec.pod = Arc::new(pod);
        printed(&place, &server, &spec)
    };
    // The host's ids: a file of root is root's.
    let users = |_: &mut RunSpec, pod: &mut PodEnvironment| pod.host_namespaces.users = true;
    assert_eq!(show(&["cat", "/proc/self/uid_map"], &users)?.len(), 1);
    assert!(show(&["cat", "/proc/self/uid_map"], &users)?[0].contains("4294967295"));
    let network = |spec: &mut RunSpec, pod: &mut PodEnvironment| {
        users(spec, pod);
        pod.host_namespaces.network = true;
    };
    let here = fs::read_to_string("/proc/net/dev")?.lines().count();
    assert_eq!(show(&["cat", "/proc/net/dev"], &network)?.len(), here);
    let pids = |spec: &mut RunSpec, pod: &mut PodEnvironment| {
        users(spec, pod);
        pod.host_namespaces.pid = true;
    };
    let listed = show(&["ls", "/proc"], &pids)?;
    assert!(listed.iter().any(|name| *name == std::process::id().to_string()), "{listed:?}");
    let ipc = |spec: &mut RunSpec, pod: &mut PodEnvironment| {
        users(spec, pod);
        pod.host_namespaces.ipc = true;
    };
    assert_eq!(show(&["who"], &ipc)?.len(), 1);
    // Without the filter the kernel itself still refuses what needs a capability outside.
    let unconfined = |spec: &mut RunSpec, _: &mut PodEnvironment| spec.seccomp = Seccomp::Unconfined;
    let lines = show(&["changes"], &unconfined)?;
    for name in ["mount", "remount", "umount-mask", "chroot", "swapon", "reboot", "sethostname"] {
        assert_eq!(pairs(&lines)[name], "EPERM", "{name}");
    }
    let unmasked = |spec: &mut RunSpec, _: &mut PodEnvironment| spec.proc_mount = ProcMount::Unmasked;
    assert!(!show(&["cat", "/proc/interrupts"], &unmasked)?.is_empty());
    let sysfs = |spec: &mut RunSpec, _: &mut PodEnvironment| spec.sys = Sys::ReadOnly;
    assert_eq!(show(&["write", "/sys/kernel/x", "1"], &sysfs)?, ["open EROFS"]);
    assert!(show(&["ls", "/sys/class/net"], &sysfs)?.contains(&"lo".to_owned()));
    // Privileged in its own user namespace: all capabilities there, nothing outside.
    let privileged = |spec: &mut RunSpec, _: &mut PodEnvironment| {
        (spec.privileged, spec.uid, spec.gid, spec.no_new_privs) = (true, 0, 0, false);
    };
    let lines = show(&["cat", "/proc/self/status"], &privileged)?;
    assert!(lines.iter().any(|line| line == "Seccomp:\t0"), "{lines:?}");
    assert!(
        lines.iter().any(|line| *line == format!("CapEff:\t{:016x}", Capabilities::ALL.bits())),
        "{lines:?}"
    );
    assert_eq!(show(&["write", "/proc/sys/kernel/core_pattern", "core"], &privileged)?, ["open EACCES"]);
    let both = |spec: &mut RunSpec, pod: &mut PodEnvironment| {
        privileged(spec, pod);
        users(spec, pod);
    };
    assert_eq!(show(&["who"], &both)?, ["0 0 1 0 1 task /"]);
    // No way leads down from the root. Who takes it away finds what covers are made of, which takes nothing more.
    for who in [&privileged as &dyn Fn(&mut RunSpec, &mut PodEnvironment), &both] {
        let lines = show(&["below"], who)?;
        assert_eq!(pairs(&lines)["found"], "itself", "{lines:?}");
        assert_eq!([pairs(&lines)["make"], pairs(&lines)["make-inside"]], ["ENOSPC"; 2], "{lines:?}");
        for way in ["chroot", "stay", "leave", "umount", "enter"] {
            assert_eq!(pairs(&lines)[way], "allowed", "{way}: {lines:?}");
        }
        let below: Vec<_> = lines.iter().filter(|line| line.starts_with("below")).collect();
        assert_eq!(below.len(), 3, "{lines:?}");
    }
    // A link in the place of a host path is not followed, and the way out is told.
    std::os::unix::fs::symlink("/etc", host.path().join("link"))?;
    let source = VolumeSource::HostPath { path: host.path().join("link") };
    let spec = with_volume(probe(&place, 12, &["ls", "/mnt"]), "/mnt", source, None);
    server.spawner.start(&spec)?;
    let failure = server.failure(spec.id)?.message;
    assert!(failure.contains("a symbolic link is on the way"), "{failure}");
    // Host paths, a directory and a file.
    for (uid, name, target, expect) in
        [(10, "dir", "/mnt/host", "2"), (11, "file", "/mnt/file", "of the host")]
    {
        let path = host.path().join(name);
        let args = if name == "dir" { ["ls", target] } else { ["cat", target] };
        let spec = with_volume(probe(&place, uid, &args), target, VolumeSource::HostPath { path }, None);
        let lines = printed(&place, &server, &spec)?;
        assert_eq!(if name == "dir" { lines.len().to_string() } else { lines.join("") }, expect);
    }
    Ok(())
}

/// In a mount namespace of the test's own, which its spawner begins in.
pub(crate) fn what_the_host_mounted_below_its_path_is_there() -> Outcome {
    let run = || with_mount_below_a_host_path().map_err(|error| error.to_string());
    Ok(std::thread::spawn(run).join().map_err(|_| "the thread panicked")??)
}

fn with_mount_below_a_host_path() -> Outcome {
    use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
    use rustix::thread::{UnshareFlags, unshare_unsafe};
    // SAFETY: no descriptor table is unshared.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
    let place = Place::new()?;
    let dir = tempfile::tempdir()?;
    // Open to everybody, in one that is not.
    let host = dir.path().join("host");
    let below = host.join("disk");
    fs::create_dir_all(&below)?;
    mount("tmpfs", &below, "tmpfs", MountFlags::empty(), c"size=1m,mode=0777")?;
    fs::write(below.join("file"), "of the disk\n")?;
    let ceiling = Ceiling { host_paths: vec![host.clone()], ..Ceiling::default() };
    let server = place.connect_with(&SpawnerOptions { ceiling, ..place.options() })?;
    let text = "cat /mnt/disk/file; echo x > /mnt/disk/new && echo wrote";
    for (uid, read_only, expect) in [(1, false, &["of the disk", "wrote"][..]), (2, true, &["of the disk"])] {
        let source = VolumeSource::HostPath { path: host.clone() };
        let mut spec = with_volume(script(&place, uid, text), "/mnt", source, None);
        spec.mounts[0].read_only = read_only;
        server.spawner.start(&spec)?;
        server.exit(spec.id)?;
        let lines = place.lines(&format!("{uid}.log"))?;
        let printed: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("stdout F ")).collect();
        assert_eq!(printed, expect, "{lines:?}");
    }
    Ok(())
}

/// A pod that is stopped, its main container, and a second one that was begun in it since and so is not executed yet, while another
/// pod's ran to its end.
fn begun_in_a_stopped_pod(
    place: &Place,
    server: &Server,
    text: &str,
) -> Result<Option<(Stopped, RunSpec, RunSpec)>, Failure> {
    let shared = Arc::new(PodEnvironment { sharing: Sharing::Shared, ..pod(1) });
    let container = |n: u16, text: &str| {
        let mut spec = script(place, 1, text);
        spec.id.container = n;
        spec.log.path = format!("c{n}.log").into();
        RunSpec { pod: Arc::clone(&shared), ..spec }
    };
    let main = container(0, "sleep 1000");
    server.spawner.start(&main)?;
    let Some(group) = unified_group(server.started(main.id)?)? else {
        eprintln!("SKIPPED: this host has no control groups of version 2");
        return Ok(None);
    };
    let stopped = Stopped::new(group.parent().ok_or("the group is in no pod's")?)?;
    let second = container(1, text);
    server.spawner.start(&second)?;
    let other = script(place, 2, "exit 0");
    server.spawner.start(&other)?;
    assert_eq!(server.any_exit()?.id, other.id);
    Ok(Some((stopped, main, second)))
}

/// A container in which nothing may run keeps nobody but itself waiting.
pub(crate) fn a_start_into_a_stopped_pod_keeps_nobody_waiting() -> Outcome {
    let place = Place::new()?;
    let server = place.connect()?;
    let Some((stopped, main, second)) = begun_in_a_stopped_pod(&place, &server, "exit 3")? else {
        return Ok(());
    };
    drop(stopped);
    assert_eq!(server.exit(second.id)?.status, ExitStatus::Code(3));
    server.spawner.release_pod(1)?;
    assert_eq!(server.exit(main.id)?.status, ExitStatus::Signal(9));
    Ok(())
}

/// What a kept root has of a layer is on the disk as long as it is kept, whoever removed the layer.
pub(crate) fn a_removed_layer_leaves_the_disk_while_others_run() -> Outcome {
    let place = Place::new()?;
    if kernel() < (6, 3) {
        eprintln!("SKIPPED: tmpfs takes no layers before Linux 6.3");
        return Ok(());
    }
    let disk = place.path().join("disk");
    let _disk = SmallDisk::of(&disk, c"size=256m")?;
    let layer = disk.join("layer");
    let mut copy = std::process::Command::new("cp");
    assert!(copy.arg("-a").args([place.path().join("layer"), layer.clone()]).status()?.success());
    fs::write(layer.join("big"), vec![1; 8 << 20])?;
    let server = place.connect()?;
    let main = script(&place, 1, "sleep 1000");
    crate::sessions::start(&server, &main)?;
    let mut of_layer = script(&place, 2, "cat /big > /dev/null; echo read; sleep 1000");
    of_layer.root.layers = vec![layer.clone()];
    crate::sessions::start(&server, &of_layer)?;
    place.wait_for_log("2.log")?;
    fs::remove_dir_all(&layer)?;
    let bytes = || -> Result<u64, Failure> {
        let found = rustix::fs::statvfs(&disk)?;
        Ok((found.f_blocks - found.f_bfree) * found.f_frsize)
    };
    assert!(bytes()? >= 8 << 20, "nothing is held, and so nothing is tried");
    crate::sessions::end(&server, &of_layer)?;
    // Tasks of another image that follow each other without a pause keep what is theirs, and nothing else.
    let mut uid = 2;
    crate::sessions::until("what a removed layer held becomes free", || {
        uid += 1;
        printed(&place, &server, &script(&place, uid, "exit 0"))?;
        Ok(bytes()? < 1 << 20)
    })?;
    server.spawner.release_pod(1)?;
    assert_eq!(server.exit(main.id)?.status, ExitStatus::Signal(9));
    Ok(())
}

/// A spawner that has no descriptor left for the log of a task keeps what the task prints, and the task, until it has one.
pub(crate) fn a_log_waits_for_a_descriptor() -> Outcome {
    let place = Place::new()?;
    let server = place.connect()?;
    // Begun and not executed, so that nothing but its log needs a descriptor.
    let text = "head -c 200000 /dev/zero; echo; echo last; exit 3";
    let Some((stopped, main, second)) = begun_in_a_stopped_pod(&place, &server, text)? else {
        return Ok(());
    };
    let spawner = place.spawner()?;
    let pid = rustix::process::Pid::from_raw(spawner);
    let open: BTreeSet<u64> = fs::read_dir(format!("/proc/{spawner}/fd"))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().parse()?))
        .collect::<Result<_, Failure>>()?;
    let free = (0..).find(|n| !open.contains(n)).ok_or("no number is free")?;
    let before = rustix::process::prlimit(
        pid,
        Resource::Nofile,
        ProcessLimit { current: Some(free), maximum: rustix::process::getrlimit(Resource::Nofile).maximum },
    )?;
    drop(stopped);
    server.started(second.id)?;
    crate::sessions::until("the spawner says that the log waits", || {
        Ok(fs::read_to_string(place.path().join("run/spawner.log"))?.contains("is not read yet"))
    })?;
    rustix::process::prlimit(pid, Resource::Nofile, before)?;
    assert_eq!(server.exit(second.id)?.status, ExitStatus::Code(3));
    assert_eq!(place.lines("c1.log")?.last().map(String::as_str), Some("stdout F last"));
    server.spawner.release_pod(1)?;
    assert_eq!(server.exit(main.id)?.status, ExitStatus::Signal(9));
    Ok(())
}

/// Where a process is in the hierarchy of version 2.
fn unified_group(pid: u32) -> Result<Option<PathBuf>, Failure> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let Some(line) = mounts.lines().find(|line| line.contains(" - cgroup2 ")) else { return Ok(None) };
    let mut fields = line.split(' ').skip(3);
    let (root, at) = (fields.next().ok_or("no root")?, fields.next().ok_or("no mount point")?);
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::")).ok_or("it is in none")?;
    let below = group.strip_prefix(root).unwrap_or(group);
    Ok(Some(Path::new(at).join(below.trim_start_matches('/'))))
}

/// A control group whose processes do not run as long as this lives.
struct Stopped(PathBuf);

impl Stopped {
    fn new(group: &Path) -> Result<Self, Failure> {
        let freeze = group.join("cgroup.freeze");
        fs::write(&freeze, "1")?;
        Ok(Self(freeze))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Err(error) = fs::write(&self.0, "0") {
            eprintln!("left stopped: {}: {error}", self.0.display());
        }
    }
}

pub(crate) fn containers_of_a_pod_meet() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    let scratch =
        PodVolume { id: 1, source: VolumeSource::Tmpfs { bytes: 1 << 20, inodes: 32, gid: Some(77) } };
    let shared = Arc::new(PodEnvironment { sharing: Sharing::Shared, volumes: vec![scratch], ..pod(1) });
    let mount = Mount { target: "/both".to_owned(), volume: 1, sub_path: None, read_only: false };
    let container = |n: u16, args: &[&str]| {
        let mut spec = probe(&place, 1, args);
        spec.id.container = n;
        spec.log.path = format!("c{n}.log").into();
        RunSpec { pod: Arc::clone(&shared), mounts: vec![mount.clone()], ..spec }
    };
    let main = container(0, &["pause"]);
    server.spawner.start(&main)?;
    server.started(main.id)?;
    let run = |n: u16, args: &[&str]| -> Result<Vec<String>, Failure> {
        let spec = container(n, args);
        server.spawner.start(&spec)?;
        let status = server.exit(spec.id)?.status;
        let lines = place.lines(&format!("c{n}.log")).unwrap_or_default();
        if status != ExitStatus::Code(0) {
            return Err(format!("{args:?} ended with {status:?}: {lines:?}").into());
        }
        Ok(lines.iter().filter_map(|line| line.splitn(3, ' ').nth(2)).map(str::to_owned).collect())
    };
    assert_eq!(run(1, &["write", "/both/x", "1"])?, ["open allowed", "write allowed"]);
    assert_eq!(run(2, &["cat", "/both/x"])?, ["1"]);
    assert_eq!(run(3, &["stat", "/both"])?, ["42777 0 77 60"]);
    // Each has processes of its own, and all are held by the same filter.
    assert_eq!(run(4, &["who"])?, ["65534 65534 1 0 1 task /"]);
    let attacks = run(5, &["changes"])?;
    assert_eq!(pairs(&attacks)["mount"], "EPERM");
    server.spawner.release_pod(1)?;
    assert_eq!(server.exit(main.id)?.status, ExitStatus::Signal(9));
    Ok(())
}
