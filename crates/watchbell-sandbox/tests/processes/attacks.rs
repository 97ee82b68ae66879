//! What a hostile program inside a task tries that would change the machine if it were let, or that needs a task made by
//! hand. What can be tried outside too, as a control, is in the crate watchbell, tests/attacks.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use watchbell_sandbox::{Capabilities, CgroupLimits, ExitStatus, RunSpec, Scratch};

use crate::Outcome;
use crate::place::{Failure, Place};
use crate::probe::{build_probe, pairs, printed, probe, run};

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
        ("mknod", "EACCES|EPERM"),
        ("setuid", "EPERM"),
        ("setgid", "EPERM"),
        ("chroot", "EPERM"),
        ("swapon", "EPERM"),
        ("reboot", "EPERM"),
        ("settime", "EPERM"),
        ("clock_settime", "EPERM"),
        ("adjtimex", "EPERM"),
        ("clock-offsets", "EPERM"),
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

pub(crate) fn siblings_do_not_meet() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    // One watches a file that another uses at the same time.
    for (uid, path) in [(1, "/dev/null"), (2, "/proc/interrupts"), (3, "/etc/hosts"), (4, "/bin/probe")] {
        let watcher = probe(&place, uid, &["watch", path]);
        server.spawner.start(&watcher)?;
        server.started(watcher.id)?;
        place.wait_for_log(&format!("{uid}.log"))?;
        printed(&place, &server, &probe(&place, uid + 100, &["use", path]))?;
        let (record, lines) = (server.exit(watcher.id)?, place.lines(&format!("{uid}.log"))?);
        assert_eq!(record.status, ExitStatus::Code(0));
        assert!(lines.iter().any(|line| line.ends_with("watch allowed")), "{path}: {lines:?}");
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
    // By its path, each is mounted where the image's link leads: on the host.
    let outside = place.path().join("outside");
    fs::create_dir(&outside)?;
    for (name, kind, mark) in
        [("proc", "proc", "self"), ("dev", "devtmpfs", "null"), ("sys", "sysfs", "kernel")]
    {
        let root = place.path().join(format!("careless-{name}"));
        fs::create_dir(&root)?;
        std::os::unix::fs::symlink(&outside, root.join(name))?;
        let script = format!("mount -t {kind} {kind} \"$1/{name}\" && ls {}", outside.display());
        let seen = in_mounts_of_its_own(&script, &root)?;
        assert!(seen.lines().any(|line| line == mark), "the control proves nothing of {name}: {seen}");
    }
    assert_eq!(fs::read_dir(&outside)?.count(), 0, "the control was seen outside");
    // One out of the root leads to the root's own /etc, where a place is made.
    let outcome = check(4, "tmp", "../../../../../../etc")?;
    assert!(!outcome.contains("passwd"), "{outcome}");
    Ok(())
}

/// A working directory through /proc is no way out (CVE-2024-21626), whichever descriptor it names.
pub(crate) fn no_descriptor_is_a_working_directory() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    let mut pipes = Vec::new();
    for fd in 3..=64 {
        // The directory itself, and above it.
        for (n, cwd) in
            [format!("/proc/self/fd/{fd}"), format!("/proc/self/fd/{fd}/../..")].iter().enumerate()
        {
            let spec = RunSpec { cwd: cwd.clone(), ..probe(&place, fd * 2 + n as u128, &["ls", "."]) };
            server.spawner.start(&spec)?;
            let refused = server.exit(spec.id).err().ok_or_else(|| format!("it started in {cwd}"))?;
            let refused = refused.to_string();
            // None is open but the status pipe, which is no directory.
            if refused.starts_with(&format!("cannot enter {cwd}: Not a directory")) {
                pipes.push(fd);
            } else {
                let expected = format!("cannot enter {cwd}: No such file or directory");
                assert!(refused.starts_with(&expected), "{refused}");
            }
        }
    }
    assert_eq!(pipes.len(), 2, "the same one, in both forms: {pipes:?}");
    // With a descriptor left open on purpose, the same path is a way out.
    assert!(careless(&place, "9</", "/bin/probe ls /proc/self/fd/9/.")?.lines().any(|name| name == "proc"));
    let outside = careless(&place, "9<\"$1/..\"", "/bin/probe ls /proc/self/fd/9/../..")?;
    assert_ne!(outside, careless(&place, "9</dev/null", "/bin/probe ls /")?, "it is the container's root");
    Ok(())
}

/// What a runtime without any care does: mounts /proc by its path, leaves a descriptor open and changes the root.
fn careless(place: &Place, redirection: &str, program: &str) -> Result<String, Failure> {
    let script =
        format!("exec {redirection}; mount -t proc proc \"$1/proc\" && exec chroot \"$1\" {program}");
    in_mounts_of_its_own(&script, &place.path().join("layer"))
}

/// A script of root that mounts, and nobody else sees it. Its first argument is a path.
fn in_mounts_of_its_own(script: &str, path: &Path) -> Result<String, Failure> {
    let output = Command::new("unshare").args(["--mount", "sh", "-ec", script, "sh"]).arg(path).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
