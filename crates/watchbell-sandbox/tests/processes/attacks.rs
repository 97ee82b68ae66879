//! What a hostile program inside a task tries, beside what the same calls do outside.
//!
//! Outside they run as root and open, but never write: what is reachable there and refused inside is the sandbox's doing.
//! What this kernel does not have at all is said to be absent, and counts as no proof.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use watchbell_sandbox::{
    Capabilities, CgroupLimits, ExitRecord, ExitStatus, Mount, PodEnvironment, PodVolume, RunSpec, Scratch,
    Sharing, VolumeSource,
};

use crate::Outcome;
use crate::place::{Place, Server, pod, script};

type Failure = Box<dyn std::error::Error>;

/// The probe in the place's layer; what it is linked against is in it.
fn build_probe(place: &Place) -> Result<(), Failure> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/processes/probe.c");
    let program = place.path().join("layer/bin/probe");
    let cc = Command::new("cc").args(["-static", "-O1", "-w", "-o"]).arg(program).arg(source).status()?;
    if cc.success() {
        Ok(())
    } else {
        Err("the probe does not compile; cc and libc's static library are needed".into())
    }
}

fn probe(place: &Place, uid: u128, args: &[&str]) -> RunSpec {
    let tmp = Some(Scratch { bytes: 1 << 20, inodes: 64 });
    let argv = ["/bin/probe"].iter().chain(args).map(ToString::to_string).collect();
    RunSpec { argv, tmp, ..script(place, uid, "") }
}

/// Runs it to its end; its lines on both outputs.
fn run(place: &Place, server: &Server, spec: &RunSpec) -> Result<(ExitRecord, Vec<String>), Failure> {
    let log = format!("{}.log", spec.id.pod_uid);
    server.spawner.start(spec)?;
    let record = server.exit(spec.id)?;
    server.spawner.release_pod(spec.pod.uid)?;
    let lines = place.lines(&log).unwrap_or_default();
    let text = lines.iter().filter_map(|line| line.splitn(3, ' ').nth(2)).map(str::to_owned);
    Ok((record, text.collect()))
}

fn printed(place: &Place, server: &Server, spec: &RunSpec) -> Result<Vec<String>, Failure> {
    let (record, lines) = run(place, server, spec)?;
    match record.status {
        ExitStatus::Code(0) => Ok(lines),
        status => Err(format!("{:?} ended with {status:?}: {lines:?}", spec.argv).into()),
    }
}

fn pairs(lines: &[String]) -> BTreeMap<&str, &str> {
    lines.iter().filter_map(|line| line.split_once(' ')).collect()
}

/// Kernels differ in what they have at all: `ENOENT|EROFS` is either.
fn expect_outcomes(found: &BTreeMap<&str, &str>, expect: &BTreeMap<&str, &str>) {
    let names = |map: &BTreeMap<&str, &str>| map.keys().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(found), names(expect));
    let surprises: Vec<_> = found
        .iter()
        .filter(|(name, outcome)| !expect[*name].split('|').any(|e| e == **outcome))
        .map(|(name, outcome)| format!("{name}: {outcome}, not {}", expect[name]))
        .collect();
    assert!(surprises.is_empty(), "{surprises:#?}");
}

pub(crate) fn what_is_reachable_outside_is_refused_inside() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    let inside = printed(&place, &server, &probe(&place, 1, &["reaches"]))?;
    let (inside, expect) = (
        pairs(&inside),
        [
            ("core_pattern", "EACCES"),
            ("sysrq", "ENOENT|EACCES|EROFS"),
            ("kcore", "ENOENT|allowed"),
            ("kmsg", "ENOENT"),
            // Its own: the task is the first process.
            ("sibling-namespaces", "allowed"),
            ("fsopen", "EPERM"),
            ("clone3", "ENOSYS"),
            ("ptrace", "EPERM"),
            ("process_vm_readv", "EPERM"),
            ("kcmp", "EPERM"),
            ("pidfd_getfd", "EPERM"),
            ("keyctl", "EPERM"),
            ("add_key", "EPERM"),
            ("bpf", "EPERM"),
            ("perf_event_open", "EPERM"),
            ("io_uring", "EPERM"),
            ("userfaultfd", "EPERM"),
            ("fanotify", "EPERM"),
            ("memfd_secret", "EPERM"),
            ("open_by_handle_at", "EPERM"),
            ("name_to_handle_at", "EPERM"),
            ("vmsplice", "EPERM"),
            ("af_alg", "EAFNOSUPPORT"),
            ("af_vsock", "EAFNOSUPPORT"),
            ("af_packet", "EAFNOSUPPORT"),
            ("netlink-netfilter", "EAFNOSUPPORT"),
            ("netlink-audit", "EAFNOSUPPORT"),
            ("netlink-xfrm", "EAFNOSUPPORT"),
            ("raw-socket", "EPERM"),
            ("personality", "EPERM"),
            ("tiocsti", "EPERM"),
            ("quotactl", "EPERM"),
            ("syslog", "EPERM"),
            ("clone-user", "EPERM"),
            ("unshare-net", "EPERM"),
            ("unshare-user", "EPERM"),
        ],
    );
    expect_outcomes(&inside, &BTreeMap::from(expect));
    let control = Command::new(place.path().join("layer/bin/probe")).arg("reaches").output()?;
    let control: Vec<String> = String::from_utf8(control.stdout)?.lines().map(str::to_owned).collect();
    for (attack, outcome) in pairs(&control) {
        if matches!(outcome, "ENOSYS" | "EAFNOSUPPORT" | "ENOENT" | "EPERM" | "EACCES") {
            println!(
                "    {attack}: {outcome} outside too: absent in this kernel or closed here, so this proves nothing"
            );
        }
    }
    Ok(())
}

pub(crate) fn nothing_can_be_changed() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    let strict = printed(&place, &server, &probe(&place, 1, &["changes"]))?;
    let expect_strict = BTreeMap::from([
        ("mount", "EPERM"),
        ("remount", "EPERM"),
        ("umount-mask", "EPERM"),
        ("pivot_root", "EPERM"),
        ("setns", "EPERM"),
        ("mknod", "EPERM"),
        ("setuid", "EPERM"),
        ("setgid", "EPERM"),
        ("chroot", "EPERM"),
        ("swapon", "EPERM"),
        ("reboot", "EPERM"),
        ("settime", "EPERM"),
        ("sethostname", "EPERM"),
        ("init_module", "EPERM"),
        ("write-root", "EROFS"),
        ("write-etc", "EACCES|EROFS"),
        ("write-dev", "EROFS"),
        ("chmod-null", "EROFS"),
        ("write-proc-sys", "EACCES"),
        // Upwards only; what it is now is the floor.
        ("raise-oom-score", "allowed"),
        ("realtime", "EPERM"),
        ("nice", "EACCES"),
        // Read-only before it is busy (CVE-2019-5736).
        ("own-program", "EROFS"),
        ("unknown-call", "ENOSYS"),
    ]);
    expect_outcomes(&pairs(&strict), &expect_strict);
    // Root inside, with all that Kubernetes' baseline gives: outside it is still nobody.
    let root = RunSpec {
        uid: 0,
        gid: 0,
        capabilities: Capabilities::RUNTIME_DEFAULT,
        no_new_privs: false,
        ..probe(&place, 2, &["changes"])
    };
    let root = printed(&place, &server, &root)?;
    let mut expect_root = expect_strict;
    expect_root.extend([("setuid", "allowed"), ("setgid", "allowed")]);
    expect_outcomes(&pairs(&root), &expect_root);
    Ok(())
}

pub(crate) fn foreign_calls_end_the_process() -> Outcome {
    if !cfg!(target_arch = "x86_64") {
        return Ok(());
    }
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    for (uid, verb) in [(1, "int80"), (2, "x32")] {
        let (record, lines) = run(&place, &server, &probe(&place, uid, &[verb]))?;
        assert_eq!((record.status, lines.len()), (ExitStatus::Signal(31), 0), "{verb}");
    }
    Ok(())
}

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
    assert_eq!(show(9, &["ls", "/sys"])?.len(), 2, "/sys is not empty");
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
    assert_eq!(writable, ["/dev/pts", "/dev/shm", "/proc", "/tmp"]);
    Ok(())
}

pub(crate) fn siblings_do_not_meet() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    // One watches a file that another uses at the same time.
    for (uid, path) in [(1, "/dev/null"), (2, "/proc/kcore"), (3, "/etc/hosts"), (4, "/bin/probe")] {
        let watcher = probe(&place, uid, &["watch", path]);
        server.spawner.start(&watcher)?;
        server.started(watcher.id)?;
        place.wait_for_log(&format!("{uid}.log"))?;
        printed(&place, &server, &probe(&place, uid + 100, &["use", path]))?;
        let (record, lines) = (server.exit(watcher.id)?, place.lines(&format!("{uid}.log"))?);
        assert_eq!(record.status, ExitStatus::Code(0));
        assert!(lines.iter().any(|line| line.ends_with("nothing seen")), "{path} is shared: {lines:?}");
    }
    Ok(())
}

pub(crate) fn limits_hold() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    let limits = CgroupLimits { memory_bytes: Some(32 << 20), pids: Some(16), ..CgroupLimits::default() };
    let limited = |uid: u128, args: &[&str]| RunSpec { limits, ..probe(&place, uid, args) };
    let (record, _) = run(&place, &server, &limited(1, &["eat"]))?;
    assert_eq!((record.status, record.oom_killed), (ExitStatus::Signal(9), true));
    let rss = record.usage.max_rss_bytes;
    assert!((16 << 20..=33 << 20).contains(&rss), "{rss} bytes");
    // The next in the same slot starts without that stain.
    let (record, _) = run(&place, &server, &limited(2, &["exit", "9"]))?;
    assert_eq!((record.status, record.oom_killed), (ExitStatus::Code(9), false));
    assert_eq!(printed(&place, &server, &limited(3, &["forks", "100"]))?, ["15 EAGAIN"]);
    for (uid, path) in [(4, "/tmp/full"), (5, "/dev/shm/full")] {
        let lines = printed(&place, &server, &limited(uid, &["fill", path]))?;
        assert_eq!(lines, ["1048576 ENOSPC"], "{path}");
    }
    let mut writable = limited(6, &["fill", "/bin/full"]);
    (writable.uid, writable.root.read_only, writable.root.upper) =
        (0, false, Scratch { bytes: 2 << 20, inodes: 100 });
    let lines = printed(&place, &server, &writable)?;
    let written: u64 = lines[0].split(' ').next().unwrap_or_default().parse()?;
    assert!(written <= 2 << 20 && lines[0].ends_with("ENOSPC"), "{lines:?}");
    assert!(!place.path().join("layer/bin/full").exists());
    Ok(())
}

/// A volume of the pod at a path, with its source.
fn with_volume(spec: RunSpec, target: &str, source: VolumeSource, sub_path: Option<&str>) -> RunSpec {
    let volume = PodVolume { id: 1, source };
    let pod = PodEnvironment { volumes: vec![volume], ..pod(spec.id.pod_uid) };
    let sub_path = sub_path.map(str::to_owned);
    let mount = Mount { target: target.to_owned(), volume: 1, sub_path, read_only: false };
    RunSpec { pod: Arc::new(pod), mounts: vec![mount], ..spec }
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

pub(crate) fn images_with_links_stay_inside() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    let check = |uid: u128, name: &str, target: &str| -> Result<String, Failure> {
        let layer = place.path().join(format!("layer-{uid}"));
        fs::create_dir_all(&layer)?;
        std::os::unix::fs::symlink(target, layer.join(name))?;
        let mut spec = probe(&place, uid, &["ls", &format!("/{name}")]);
        spec.root.layers.push(layer);
        Ok(match printed(&place, &server, &spec) {
            Ok(lines) => lines.join(" "),
            Err(error) => error.to_string(),
        })
    };
    // A link in the place of /proc or /dev stops the start (CVE-2019-19921); nothing is mounted elsewhere.
    for (uid, name) in [(1, "proc"), (2, "dev"), (3, "sys")] {
        let outcome = check(uid, name, "/etc")?;
        assert!(outcome.starts_with("cannot ") && outcome.contains(name), "{name}: {outcome}");
    }
    // One out of the root leads to the root's own /etc, where a place is made.
    let outcome = check(4, "tmp", "../../../../../../etc")?;
    assert!(!outcome.contains("passwd"), "{outcome}");
    // A working directory through /proc is no way out (CVE-2024-21626).
    for (uid, cwd) in [(5, "/proc/self/fd/3"), (6, "/proc/self/fd/7/../..")] {
        let spec = RunSpec { cwd: cwd.to_owned(), ..probe(&place, uid, &["ls", "."]) };
        server.spawner.start(&spec)?;
        match server.exit(spec.id) {
            Ok(_) => return Err(format!("it started in {cwd}").into()),
            Err(refused) => assert!(refused.to_string().contains("cannot"), "{refused}"),
        }
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
