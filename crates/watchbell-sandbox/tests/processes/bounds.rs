//! What tasks are held to, alone and together, as the kernel's own files say it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use watchbell_sandbox::{
    Bounds, Ceiling, CgroupLimits, ContainerId, ExitStatus, IoLimits, PodEnvironment, Reserved, RunSpec,
    SpawnerOptions, Totals, VolumeSource,
};

use crate::Outcome;
use crate::place::{Failure, Place, script};
use crate::probe::{build_probe, probe, run, with_volume};
use crate::runtimes::{by, installed};

const MIB: u64 = 1 << 20;

/// The groups of a process, by controller; the unified one by the empty name.
fn groups(pid: u32) -> Result<Vec<(String, PathBuf)>, Failure> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let mut found = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(names), Some(path)) = (parts.next(), parts.next()) else { continue };
        for name in names.split(',') {
            let mount = mounts.lines().find_map(|line| {
                let (head, tail) = line.split_once(" - ")?;
                let (head, tail): (Vec<_>, Vec<_>) = (head.split(' ').collect(), tail.split(' ').collect());
                let has = tail.get(2)?.split(',').any(|option| option == name);
                let is_it = if name.is_empty() { tail[0] == "cgroup2" } else { tail[0] == "cgroup" && has };
                is_it.then(|| (head[3].to_owned(), head[4].to_owned()))
            });
            if let Some((root, mount)) = mount {
                let below = path.strip_prefix(root.trim_end_matches('/')).unwrap_or(path);
                found.push((name.to_owned(), Path::new(&mount).join(below.trim_start_matches('/'))));
            }
        }
    }
    Ok(found)
}

/// Reads the first of the files that there is: of version 1, or of version 2.
fn read(dirs: &[(String, PathBuf)], controller: &str, files: [&str; 2]) -> Result<String, Failure> {
    for (name, dir) in dirs {
        let file = dir.join(if name.is_empty() { files[1] } else { files[0] });
        if (name == controller || name.is_empty()) && file.exists() {
            return Ok(fs::read_to_string(file)?.trim().to_owned());
        }
    }
    Err(format!("none of {files:?} in {dirs:?}").into())
}

fn above(dirs: &[(String, PathBuf)]) -> Vec<(String, PathBuf)> {
    dirs.iter().filter_map(|(name, dir)| Some((name.clone(), dir.parent()?.to_owned()))).collect()
}

/// Its options, with so much left to all tasks together.
fn leaving(place: &Place, left: Totals) -> Result<SpawnerOptions, Failure> {
    let machine = Totals::of_machine()?;
    let reserved = Reserved {
        memory_bytes: Some(machine.memory_bytes - left.memory_bytes),
        pids: Some(machine.pids - left.pids),
    };
    Ok(SpawnerOptions { bounds: Bounds { reserved, ..Bounds::default() }, ..place.options() })
}

pub(crate) fn limits_are_what_the_kernel_says() -> Outcome {
    let place = Place::new()?;
    let server = place.connect()?;
    let machine = Totals::of_machine()?;
    let check = |uid: u128, limits: CgroupLimits, expect: [&str; 6]| -> Outcome {
        let spec = RunSpec { limits, ..script(&place, uid, "exec sleep 1000") };
        server.spawner.start(&spec)?;
        let groups = groups(server.started(spec.id)?)?;
        let is_v2 = !groups.iter().any(|(name, _)| name == "memory");
        let [bytes, swap, pids, quota, shares, weight] = expect;
        let max = |text: &str| text.replace("9223372036854771712", "max").replace("-1", "max");
        assert_eq!(max(&read(&groups, "memory", ["memory.limit_in_bytes", "memory.max"])?), bytes);
        // Of version 1 memory and swap together, of version 2 swap alone.
        match read(&groups, "memory", ["memory.memsw.limit_in_bytes", "memory.swap.max"]) {
            Ok(found) if is_v2 => assert_eq!(found, "0"),
            Ok(found) => assert_eq!(max(&found), swap),
            Err(_) => assert!(fs::read_to_string("/proc/swaps")?.lines().count() <= 1, "swap is not bounded"),
        }
        assert_eq!(read(&groups, "pids", ["pids.max", "pids.max"])?, pids);
        let found = read(&groups, "cpu", ["cpu.cfs_quota_us", "cpu.max"])?;
        assert_eq!(max(found.split(' ').next().unwrap_or_default()), quota);
        let found = read(&groups, "cpu", ["cpu.shares", "cpu.weight"])?;
        assert_eq!(found, if is_v2 { weight } else { shares });
        server.spawner.kill_pod(uid)?;
        server.exit(spec.id)?;
        server.spawner.release_pod(uid)?;
        // All tasks together: less than the machine has, with swap off.
        let all = above(&groups);
        let together: u64 = read(&all, "memory", ["memory.limit_in_bytes", "memory.max"])?.parse()?;
        assert!(together < machine.memory_bytes, "{together} of {machine:?}");
        let pids: u64 = read(&all, "pids", ["pids.max", "pids.max"])?.parse()?;
        assert!(pids < machine.pids, "{pids} of {machine:?}");
        if let Ok(swap) = read(&all, "memory", ["memory.memsw.limit_in_bytes", "memory.swap.max"]) {
            assert_eq!(swap.parse::<u64>()?, if is_v2 { 0 } else { together });
        }
        Ok(())
    };
    let limits = |memory_bytes, pids, cpu_quota_us, cpu_weight| CgroupLimits {
        memory_bytes,
        pids,
        cpu_quota_us,
        cpu_period_us: 0,
        cpu_weight,
    };
    let mib_48 = (48 * MIB).to_string();
    check(
        1,
        limits(Some(48 * MIB), Some(77), Some(25_000), Some(100)),
        [&mib_48, &mib_48, "77", "25000", "1024", "100"],
    )?;
    // The same slot, up, and down to the floors.
    check(2, limits(None, None, None, Some(10_000)), ["max", "max", "max", "max", "102400", "10000"])?;
    check(
        3,
        limits(Some(4 * MIB), Some(1), Some(1000), Some(1)),
        ["4194304", "4194304", "1", "1000", "10", "1"],
    )
}

/// On either version of control groups, by whomever it was started.
pub(crate) fn a_container_goes_with_the_first_process_that_memory_ends() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let ceiling = Ceiling { runtimes: installed(), ..Ceiling::default() };
    let server = place.connect_with(&SpawnerOptions { ceiling, ..place.options() })?;
    let limits = CgroupLimits { memory_bytes: Some(48 << 20), ..CgroupLimits::default() };
    let ours = [String::new()].into_iter();
    for (n, runtime) in ours.chain(installed().into_iter().map(|runtime| runtime.name)).enumerate() {
        let spec = RunSpec { limits, ..script(&place, n as u128 + 1, "/bin/probe eat; sleep 1000") };
        let spec = if runtime.is_empty() { spec } else { by(&runtime, spec) };
        server.spawner.start(&spec)?;
        let record = server.exit(spec.id)?;
        assert_eq!((record.status, record.oom_killed), (ExitStatus::Signal(9), true), "{runtime:?}");
    }
    Ok(())
}

pub(crate) fn all_tasks_together_have_a_limit() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let left = Totals { memory_bytes: 96 * MIB, pids: 40 };
    let server = place.connect_with(&leaving(&place, left)?)?;
    // Whatever a task may do alone: memory for more than there is, and processes.
    let limits = CgroupLimits { memory_bytes: Some(1 << 40), pids: Some(1000), ..CgroupLimits::default() };
    let unbounded = |uid: u128, args: &[&str]| RunSpec { limits, ..probe(&place, uid, args) };
    let (record, _) = run(&place, &server, &unbounded(1, &["eat"]))?;
    assert_eq!((record.status, record.oom_killed), (ExitStatus::Signal(9), true));
    let rss = record.usage.max_rss_bytes;
    assert!((48 * MIB..=97 * MIB).contains(&rss), "{rss} bytes");
    // One that stays is counted with the next.
    let waits = RunSpec { limits, ..script(&place, 2, "exec sleep 1000") };
    server.spawner.start(&waits)?;
    server.started(waits.id)?;
    let (record, lines) = run(&place, &server, &unbounded(3, &["forks", "1000"]))?;
    let made =
        lines.first().and_then(|line| line.strip_suffix(" EAGAIN")).and_then(|n| n.parse::<u32>().ok());
    // Up to four processes that wait for a task are counted too.
    assert!(
        record.status == ExitStatus::Code(0) && made.is_some_and(|n| (34..=38).contains(&n)),
        "{lines:?}"
    );
    server.spawner.kill_pod(2)?;
    server.exit(waits.id)?;
    Ok(())
}

pub(crate) fn nobody_pays_for_the_memory_of_others() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    let limited = |mib: u64, spec: RunSpec| RunSpec {
        limits: CgroupLimits { memory_bytes: Some(mib * MIB), pids: Some(16), ..CgroupLimits::default() },
        ..spec
    };
    // It fills a volume in memory that its pod keeps, and ends; the pod stays.
    let volume = VolumeSource::Tmpfs { bytes: 48 * MIB, inodes: 64, gid: None };
    let spec = with_volume(probe(&place, 1, &["fill", "/mem/full"]), "/mem", volume, None);
    let spec = limited(64, spec);
    server.spawner.start(&spec)?;
    assert_eq!(server.exit(spec.id)?.status, ExitStatus::Code(0));
    // The next task has hardly more than that to itself, and gets half of it: 24 MiB of /dev/shm.
    let next = limited(56, probe(&place, 2, &["fill", "/dev/shm/full"]));
    let next =
        RunSpec { pod: Arc::new(PodEnvironment { shm_bytes: 24 * MIB, ..(*next.pod).clone() }), ..next };
    let (record, lines) = run(&place, &server, &next)?;
    assert_eq!((record.status, record.oom_killed), (ExitStatus::Code(0), false), "{lines:?}");
    assert_eq!(lines, [format!("{} ENOSPC", 24 * MIB)]);
    // What the pod keeps is its own again in the next run of the pod.
    let again = RunSpec { id: ContainerId { attempt: 1, ..spec.id }, ..spec };
    server.spawner.start(&again)?;
    assert_eq!(server.exit(again.id)?.status, ExitStatus::Code(0));
    Ok(())
}

pub(crate) fn a_reserve_that_leaves_nothing_is_refused() -> Outcome {
    let place = Place::new()?;
    let reserved = Reserved { memory_bytes: Some(u64::MAX), pids: None };
    let options = SpawnerOptions { bounds: Bounds { reserved, ..Bounds::default() }, ..place.options() };
    match place.connect_with(&options) {
        Ok(_) => Err("it started".into()),
        Err(error) => {
            let error = error.to_string();
            assert!(error.contains("reserved for the system") && error.contains("reserve less"), "{error}");
            Ok(())
        }
    }
}

pub(crate) fn disks_are_read_and_written_no_faster_than_allowed() -> Outcome {
    let place = Place::new()?;
    let io = IoLimits { read_bps: Some(5 << 20), write_iops: Some(77), ..IoLimits::default() };
    if let Some(why) = io.obstacle(place.path()) {
        println!("     NOT TESTED: {why}");
        return Ok(());
    }
    let options = SpawnerOptions { bounds: Bounds { io, ..Bounds::default() }, ..place.options() };
    let server = place.connect_with(&options)?;
    let spec = script(&place, 1, "exec sleep 1000");
    server.spawner.start(&spec)?;
    let groups = groups(server.started(spec.id)?)?;
    let bps = read(&groups, "blkio", ["blkio.throttle.read_bps_device", "io.max"])?;
    let iops = read(&groups, "blkio", ["blkio.throttle.write_iops_device", "io.max"])?;
    if groups.iter().any(|(name, _)| name == "blkio") {
        assert!(bps.ends_with(" 5242880") && iops.ends_with(" 77"), "{bps:?} {iops:?}");
    } else {
        assert!(bps.contains(" rbps=5242880 wbps=max riops=max wiops=77"), "{bps:?}");
    }
    server.spawner.kill_pod(1)?;
    server.exit(spec.id)?;
    Ok(())
}
