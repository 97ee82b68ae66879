//! Processes that wait for their task, and the one that clones them.

use std::collections::BTreeSet;
use std::fs;
use std::time::Instant;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::Outcome;
use super::place::{Failure, PATIENCE, Place, Server, script, wait_for_end};
use watchbell_sandbox::{Ceiling, ExitStatus, ProcMount, RunSpec, SpawnerOptions, Sys};

/// Children of the spawner by the name that they gave themselves.
fn named(place: &Place, name: &str) -> Result<Vec<i32>, Failure> {
    let [spawner] = place.pids("spawner")?[..] else { return Err("not one spawner".into()) };
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let Some((head, rest)) = stat.rsplit_once(") ") else { continue };
        let mut fields = rest.split(' ');
        let (state, parent) = (fields.next(), fields.next());
        if head.ends_with(&format!("({name}"))
            && state != Some("Z")
            && parent == Some(&spawner.to_string())
            && let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok())
        {
            found.push(pid);
        }
    }
    Ok(found)
}

/// What it made for its task before it let go of the host's mounts: which file systems of the kernel's own.
fn mounts_in_hand(pid: i32) -> BTreeSet<&'static str> {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let kinds = open.filter_map(|entry| rustix::fs::statfs(entry.path()).ok()?.f_type.try_into().ok());
    kinds
        .filter_map(|kind: u32| match kind {
            0x9fa0 => Some("proc"),
            0x6265_6572 => Some("sysfs"),
            0x1cd1 => Some("devpts"),
            0x1980_0202 => Some("mqueue"),
            _ => None,
        })
        .collect()
}

/// Whether it has covered parts of its /proc already.
fn is_covered(pid: i32) -> bool {
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    mounts.contains(" /landing/interrupts ")
}

/// What a process that waits must know of its task.
#[derive(Clone, Copy)]
struct Kind {
    sys: Sys,
    proc_mount: ProcMount,
}

impl Kind {
    const USUAL: Kind = Kind { sys: Sys::None, proc_mount: ProcMount::Default };
}

/// Starts tasks until one waits for such another that has done all it can: its network namespace has a loopback that is up.
fn wait_for_one(place: &Place, server: &Server, uids: &mut u128, kind: Kind) -> Result<i32, Failure> {
    let begun = Instant::now();
    let mut expected = BTreeSet::from(["proc", "devpts", "mqueue"]);
    expected.extend((kind.sys == Sys::ReadOnly).then_some("sysfs"));
    while begun.elapsed() < PATIENCE {
        run(place, server, uids, 2, kind)?;
        for pid in named(place, "watchbell-ahead")? {
            // What waits in recv has nothing left to do.
            let at = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
            if at.split(' ').next() == Some(&libc::SYS_recvfrom.to_string())
                && mounts_in_hand(pid) == expected
                && is_covered(pid) == (kind.proc_mount == ProcMount::Default)
            {
                return Ok(pid);
            }
        }
    }
    Err("no process waits for a task".into())
}

fn run(place: &Place, server: &Server, uids: &mut u128, count: u128, kind: Kind) -> Outcome {
    // Only a sysfs has the one, and only without its cover the other says anything.
    let no_sysfs = if kind.sys == Sys::None { "!" } else { "" };
    let is_bare = if kind.proc_mount == ProcMount::Default { "-z" } else { "-n" };
    let program =
        &format!("test {no_sysfs} -e /sys/class && test {is_bare} \"$(cat /proc/interrupts)\" && exit 7");
    let first = *uids;
    *uids += count;
    for uid in first..*uids {
        server.spawner.start(&RunSpec {
            sys: kind.sys,
            proc_mount: kind.proc_mount,
            ..script(place, uid, program)
        })?;
    }
    for _ in 0..count {
        let record = server.any_exit()?;
        assert_eq!(record.status, ExitStatus::Code(7), "{record:?}");
        server.spawner.acknowledge(record.id)?;
        server.spawner.release_pod(record.id.pod_uid)?;
    }
    Ok(())
}

/// It is a stranger to everybody and has nothing of the host; and it goes with the spawner.
pub(crate) fn what_waits_has_nothing() -> Outcome {
    let place = Place::new()?;
    let server = place.connect()?;
    let mut uids = 1;
    loop {
        let pid = wait_for_one(&place, &server, &mut uids, Kind::USUAL)?;
        match has_nothing(pid) {
            // Nobody wants it any more once no task came for some seconds.
            Err(_) if !fs::exists(format!("/proc/{pid}"))? => {}
            looked => break looked?,
        }
    }
    let ends = [named(&place, "watchbell-ahead")?, named(&place, "watchbell-clone")?]
        .concat()
        .into_iter()
        .filter_map(|pid| pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok())
        .collect::<Vec<_>>();
    place.kill("spawner")?;
    ends.iter().try_for_each(wait_for_end)?;
    // The next spawner removes the control groups of the killed one.
    place.connect()?;
    Ok(())
}

fn has_nothing(pid: i32) -> Outcome {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}"));
    assert_eq!(read("cmdline")?.trim_matches('\0'), "", "its command line names paths of the host");
    let mounts = read("mountinfo")?;
    // A small read-only file system, and its own /proc on that, with what covers parts of it.
    let of_its_proc = mounts.lines().filter(|line| line.split(' ').nth(4).is_some_and(|at| at != "/"));
    for line in of_its_proc {
        let at = line.split(' ').nth(4).unwrap_or_default();
        let is_cover = line.contains(" ro,") && (line.contains(" - tmpfs ") || line.contains(" - proc "));
        assert!(
            at == "/landing" && line.contains(" - proc ") || at.starts_with("/landing/") && is_cover,
            "{mounts}"
        );
    }
    let only: Vec<_> = mounts.lines().filter(|line| line.contains(" / ro,")).collect();
    assert!(only.len() == 1 && only[0].contains(" - tmpfs "), "{mounts}");
    assert!(mounts.contains(" /landing/sys ro,") && mounts.contains(" /landing/interrupts ro,"), "{mounts}");
    let inside = fs::read_dir(format!("/proc/{pid}/root"))?.flatten().map(|entry| entry.file_name());
    assert_eq!(inside.collect::<BTreeSet<_>>(), ["dir", "file", "landing"].map(Into::into).into());
    let map = read("uid_map")?;
    let map: Vec<u32> = map.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    assert!(matches!(map[..], [0, first, 65536] if first >= 0x5000_0000), "{map:?}");
    for kind in ["user", "pid", "mnt", "net", "ipc", "uts", "cgroup", "time"] {
        let [its, ours] =
            [pid.to_string(), "self".to_owned()].map(|of| fs::read_link(format!("/proc/{of}/ns/{kind}")));
        assert_ne!(its?, ours?, "{kind}");
    }
    let open = fs::read_dir(format!("/proc/{pid}/fd"))?.flatten();
    let open: Vec<_> = open.filter_map(|entry| fs::read_link(entry.path()).ok()).collect();
    let files: Vec<_> = open.iter().filter(|path| !path.starts_with("/dev/null")).collect();
    let are_known = files.iter().all(|path| {
        let path = path.to_string_lossy();
        // The last are mounts that its task's root will have, and what covers are cloned of.
        ["cgroup.procs", "spawner.log"].iter().any(|file| path.ends_with(file))
            || path.starts_with("socket:")
            || ["/", "/landing", "/file", "/dir"].contains(&&*path)
    });
    assert!(are_known && files.iter().filter(|p| p.starts_with("socket:")).count() <= 1, "{open:?}");
    Ok(())
}

/// What waits is for tasks like the last ones. Others run all the same, and soon it waits for those.
pub(crate) fn what_waits_is_for_tasks_like_the_last() -> Outcome {
    let place = Place::new()?;
    let ceiling = Ceiling { unconfined: true, ..Ceiling::default() };
    let server = place.connect_with(&SpawnerOptions { ceiling, ..place.options() })?;
    let mut uids = 1;
    let with_sysfs = Kind { sys: Sys::ReadOnly, ..Kind::USUAL };
    let unmasked = Kind { proc_mount: ProcMount::Unmasked, ..Kind::USUAL };
    for kind in [Kind::USUAL, with_sysfs, Kind::USUAL, unmasked, Kind::USUAL] {
        wait_for_one(&place, &server, &mut uids, kind)?;
    }
    Ok(())
}

/// Whoever of them is killed, the next task runs.
pub(crate) fn what_waits_may_die() -> Outcome {
    let place = Place::new()?;
    let server = place.connect()?;
    let mut uids = 1;
    for name in ["watchbell-ahead", "watchbell-clone", "watchbell-clone"] {
        wait_for_one(&place, &server, &mut uids, Kind::USUAL)?;
        let pids = named(&place, name)?;
        assert!(!pids.is_empty(), "{name}");
        for pid in pids {
            let pid = Pid::from_raw(pid).ok_or("pid 0")?;
            // One that has just become a task ends by itself, and is waited for.
            if let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) {
                let _ = pidfd_send_signal(&pidfd, Signal::KILL);
                wait_for_end(&pidfd)?;
            }
        }
        run(&place, &server, &mut uids, 8, Kind::USUAL)?;
    }
    Ok(())
}
