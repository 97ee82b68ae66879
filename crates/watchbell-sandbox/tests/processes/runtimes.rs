//! Containers that runc and crun start, beside our own.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use watchbell_sandbox::{
    Capabilities, Ceiling, CgroupLimits, ExitStatus, Extras, FileEntry, OciRuntime, PodEnvironment, RunSpec,
    Sharing, SpawnerOptions, StartFailureKind, Stdin, Sys, TableEntry, VolumeSource,
};

use crate::Outcome;
use crate::place::{Failure, PATIENCE, Place, Server, pod, script, wait_for_end};
use crate::probe::{build_probe, pairs, printed, probe, run, with_volume};
use crate::sessions;
use crate::sessions_attached::{interactive, talk};

/// The runtimes of Debian that this machine has.
pub(crate) fn installed() -> Vec<OciRuntime> {
    let all = [("runc", "/usr/sbin/runc"), ("crun", "/usr/bin/crun")];
    let found = all.into_iter().filter(|(_, path)| {
        let is_here = Path::new(path).exists();
        if !is_here {
            eprintln!("SKIPPED: {path} is not here; tools/test/setup installs it");
        }
        is_here
    });
    found.map(|(name, path)| OciRuntime { name: name.into(), path: path.into() }).collect()
}

fn connect(place: &Place) -> Result<Server, Failure> {
    let ceiling = Ceiling { runtimes: installed(), host_users: true, ..Ceiling::default() };
    place.connect_with(&SpawnerOptions { ceiling, ..place.options() })
}

pub(crate) fn by(runtime: &str, spec: RunSpec) -> RunSpec {
    RunSpec { extras: Extras { runtime: Some(runtime.to_owned()), ..spec.extras.clone() }, ..spec }
}

/// For each runtime, with a number that no other has.
pub(crate) fn each(test: impl Fn(&Place, &Server, &str, u128) -> Outcome) -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = connect(&place)?;
    for (n, runtime) in installed().iter().enumerate() {
        let result = test(&place, &server, &runtime.name, 10 * (n as u128 + 1))
            .map_err(|e| format!("{}: {e}", runtime.name));
        // crun gives the streams that it finds to the container's user.
        assert_eq!(fs::metadata("/dev/null")?.uid(), 0, "the host's /dev/null has another owner");
        result?;
    }
    Ok(())
}

pub(crate) fn a_runtime_runs_a_container() -> Outcome {
    each(|place, server, runtime, n| {
        let spec = by(runtime, script(place, n, "echo out; echo err >&2; printf rest; exit 3"));
        let (record, mut lines) = run(place, server, &spec)?;
        assert_eq!((record.status, record.oom_killed), (ExitStatus::Code(3), false));
        lines.sort();
        assert_eq!(lines, ["err", "out", "rest"]);
        // crun gives the streams that it finds to the container's user.
        assert_eq!(fs::metadata("/dev/null")?.uid(), 0, "the host's /dev/null has another owner");
        assert!(record.usage.max_rss_bytes > 0 && record.usage.cpu_ns > 0, "{:?}", record.usage);
        let spec = by(runtime, probe(place, n + 1, &["signal", "11"]));
        assert_eq!(run(place, server, &spec)?.0.status, ExitStatus::Signal(11));
        Ok(())
    })
}

pub(crate) fn what_a_runtime_cannot_start_is_told() -> Outcome {
    each(|place, server, runtime, n| {
        let check = |n: u128, argv: &str, expect: StartFailureKind| -> Outcome {
            let spec = by(runtime, RunSpec { argv: vec![argv.to_owned()], ..script(place, n, "") });
            server.spawner.start(&spec)?;
            let failure = server.failure(spec.id)?;
            assert_eq!(failure.kind, expect, "{failure:?}");
            assert!(failure.message.contains(argv), "{}", failure.message);
            Ok(())
        };
        check(n, "/bin/no-such-program", StartFailureKind::CommandNotFound)?;
        check(n + 1, "no-such-program", StartFailureKind::CommandNotFound)?;
        check(n + 2, "/etc", StartFailureKind::CommandNotExecutable)
    })?;
    let place = Place::new()?;
    let server = connect(&place)?;
    let Err(error) = server.spawner.start(&by("kata", script(&place, 1, "exit 0"))) else {
        return Err("a runtime that nobody named was asked for".into());
    };
    assert!(error.to_string().contains("--runtime"), "{error}");
    Ok(())
}

pub(crate) fn signals_reach_a_container_of_a_runtime() -> Outcome {
    each(|place, server, runtime, n| {
        let wait = "echo ready; while :; do sleep 0.05; done";
        let trap = by(runtime, script(place, n, &format!("trap 'exit 42' TERM; {wait}")));
        server.spawner.start(&trap)?;
        server.started(trap.id)?;
        place.wait_for_log(&format!("{n}.log"))?;
        server.spawner.signal(trap.id, 15)?;
        assert_eq!(server.exit(trap.id)?.status, ExitStatus::Code(42));
        let stubborn = by(runtime, script(place, n + 1, &format!("trap '' TERM; {wait}")));
        server.spawner.start(&stubborn)?;
        server.started(stubborn.id)?;
        place.wait_for_log(&format!("{}.log", n + 1))?;
        server.spawner.signal(stubborn.id, 15)?;
        server.spawner.kill_pod(n + 1)?;
        assert_eq!(server.exit(stubborn.id)?.status, ExitStatus::Signal(9));
        Ok(())
    })
}

/// What the probe prints under our own sandbox, it prints under a runtime.
pub(crate) fn a_runtime_gives_what_our_own_sandbox_gives() -> Outcome {
    each(|place, server, runtime, n| {
        let limits = CgroupLimits {
            memory_bytes: Some(64 << 20),
            cpu_quota_us: Some(50_000),
            cpu_period_us: 0,
            cpu_weight: Some(50),
            pids: Some(33),
        };
        let (count, differences) = (std::cell::Cell::new(n * 1000), std::cell::RefCell::new(Vec::new()));
        let compare = |args: &[&str], change: &dyn Fn(&mut RunSpec)| -> Result<Vec<String>, Failure> {
            let both = ["", runtime].map(|by_whom| {
                let uid = count.replace(count.get() + 1);
                let mut spec = RunSpec { limits, oom_score_adj: 300, ..probe(place, uid, args) };
                // runc sets it where it is missing, and the node always does.
                spec.env.push(("HOME".to_owned(), "/".to_owned()));
                spec.pod = Arc::new(PodEnvironment { hostname: "same".into(), ..pod(uid) });
                change(&mut spec);
                let spec = if by_whom.is_empty() { spec } else { by(by_whom, spec) };
                printed(place, server, &spec)
            });
            let [ours, theirs] = both;
            let (ours, theirs) = (settled(ours?, runtime), settled(theirs?, runtime));
            if theirs != ours {
                let only = |a: &[String], b: &[String]| -> Vec<String> {
                    a.iter().filter(|line| !b.contains(line)).cloned().collect()
                };
                let (theirs, ours) = (only(&theirs, &ours), only(&ours, &theirs));
                differences.borrow_mut().push(format!("{args:?}: {theirs:?} instead of {ours:?}"));
            }
            Ok(ours)
        };
        let nothing = |_: &mut RunSpec| {};
        compare(&["cat", "/proc/self/status"], &nothing)?;
        compare(&["cat", "/proc/self/limits", "/proc/self/oom_score_adj"], &nothing)?;
        compare(&["cat", "/proc/self/cgroup"], &nothing)?;
        compare(&["cat", "/proc/net/dev"], &nothing)?;
        compare(&["cat", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf"], &nothing)?;
        compare(&["env"], &nothing)?;
        compare(&["who"], &|s| (s.uid, s.gid, s.cwd) = (7, 8, "/made/here".to_owned()))?;
        compare(&["fds"], &nothing)?;
        compare(&["changes"], &nothing)?;
        compare(&["harmless"], &nothing)?;
        for dir in ["/", "/dev", "/sys", "/sys/fs/cgroup", "/etc", "/tmp", "/dev/shm"] {
            compare(&["ls", dir], &nothing)?;
        }
        for file in ["/proc/kcore", "/proc/keys", "/proc/interrupts", "/proc/timer_list"] {
            compare(&["cat", file], &nothing)?;
        }
        for file in
            ["/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/x", "/dev/x", "/tmp/x", "/dev/shm/x"]
        {
            compare(&["write", file, "1"], &nothing)?;
            compare(&["write", file, "1"], &|s| {
                (s.uid, s.gid, s.capabilities) = (0, 0, Capabilities::RUNTIME_DEFAULT);
            })?;
        }
        let groups = compare(&["cat", "/proc/self/status"], &|s| {
            (s.uid, s.gid, s.groups, s.capabilities) = (0, 0, vec![5, 6], Capabilities::RUNTIME_DEFAULT);
        })?;
        assert!(
            groups.contains(&"Groups:\t5 6 ".to_owned()) || groups.contains(&"Groups:\t5 6".to_owned()),
            "{groups:?}"
        );
        let shown = [
            "memory/memory.limit_in_bytes",
            "cpu/cpu.cfs_quota_us",
            "cpu/cpu.shares",
            "memory.max",
            "cpu.max",
        ];
        for file in shown.map(|file| format!("/sys/fs/cgroup/{file}")) {
            compare(&["cat", &file], &nothing)?;
            compare(&["write", &file, "1"], &|s| {
                (s.uid, s.gid, s.capabilities) = (0, 0, Capabilities::RUNTIME_DEFAULT);
            })?;
        }
        compare(&["ls", "/sys"], &|s| s.sys = Sys::ReadOnly)?;
        compare(&["cat", "/sys/fs/cgroup/memory/memory.limit_in_bytes"], &|s| s.sys = Sys::ReadOnly)?;
        compare(&["forks", "100"], &nothing)?;
        compare(&["fill", "/tmp/x"], &nothing)?;
        compare(&["fill", "/dev/shm/x"], &nothing)?;
        let writable = |s: &mut RunSpec| {
            (s.root.read_only, s.uid, s.gid) = (false, 0, 0);
            s.capabilities = Capabilities::RUNTIME_DEFAULT;
            s.root.upper = watchbell_sandbox::Scratch { bytes: 1 << 20, inodes: 64 };
        };
        compare(&["fill", "/x"], &writable)?;
        compare(&["nodes"], &root_of_the_host)?;
        for terminal in [false, true] {
            let of_host = |s: &mut RunSpec| {
                root_of_the_host(s);
                s.interaction.tty = terminal;
            };
            compare(&["cat", "/proc/self/status"], &of_host)?;
            compare(&["cat", "/proc/self/uid_map", "/proc/self/cgroup"], &of_host)?;
            compare(&["ls", "/dev/pts"], &of_host)?;
            compare(&["harmless"], &of_host)?;
        }
        let differences = differences.into_inner();
        assert_eq!(differences, Vec::<String>::new(), "{runtime}");
        Ok(())
    })
}

/// Without a user namespace, but for that as any other container that is root inside.
fn root_of_the_host(spec: &mut RunSpec) {
    (spec.uid, spec.gid, spec.capabilities) = (0, 0, Capabilities::RUNTIME_DEFAULT);
    Arc::make_mut(&mut spec.pod).host_namespaces.users = true;
}

/// Who is root on the host may make nodes, and finds /dev writable where the runtime puts a console: none opens but the harmless.
pub(crate) fn a_runtime_opens_no_device_of_the_host() -> Outcome {
    each(|place, server, runtime, n| {
        let mut spec = by(runtime, interactive(probe(place, n, &["nodes"]), Stdin::None, true));
        root_of_the_host(&mut spec);
        let lines = printed(place, server, &spec)?;
        let found = pairs(&lines);
        for name in ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/ptmx"] {
            assert_eq!(found[name], "allowed", "{name}: {lines:?}");
        }
        assert_eq!((found["write-null"], found["another-null"]), ("allowed", "allowed"), "{lines:?}");
        // Not ENXIO, by which a kernel without that device answers.
        assert_eq!((found["disk"], found["memory"]), ("EPERM", "EPERM"), "{lines:?}");
        Ok(())
    })
}

/// Without what differs from one run to the next, in an order of its own, and with what is refused otherwise by a runtime.
fn settled(lines: Vec<String>, runtime: &str) -> Vec<String> {
    let differs = ["voluntary_ctxt", "nonvoluntary_ctxt", "Vm", "Rss", "Cpus_allowed", "x86_Thread"];
    let as_by_runtime = |line: String| match (runtime, line.as_str()) {
        // crun has no word for calls that are newer than the list.
        ("crun", "unknown-call ENOSYS") => "unknown-call EPERM".to_owned(),
        // By Landlock, under which no runtime could mount anything.
        (_, "mknod EACCES") => "mknod EPERM".to_owned(),
        ("runc", limit) if limit.starts_with("Max open files") => hard_limit(limit),
        _ => line,
    };
    let is_same = |line: &String| !differs.iter().any(|name| line.starts_with(name));
    let mut lines: Vec<String> = lines.into_iter().filter(is_same).map(as_by_runtime).collect();
    lines.sort();
    lines
}

/// Go raises the soft limit of open files for itself, and sometimes puts it back only once runc has set the container's: seen
/// with runc 1.1.5. The hard limit is what holds.
fn hard_limit(line: &str) -> String {
    line.split_whitespace().nth(4).unwrap_or_default().to_owned()
}

pub(crate) fn a_runtime_mounts_volumes() -> Outcome {
    each(|place, server, runtime, n| {
        let volume = place.path().join(format!("volumes/{runtime}"));
        fs::create_dir_all(&volume)?;
        fs::set_permissions(&volume, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
        let show = |n: u128, args: &[&str], target: &str, source: VolumeSource, sub_path: Option<&str>| {
            let spec = by(runtime, with_volume(probe(place, n, args), target, source, sub_path));
            printed(place, server, &spec)
        };
        let dir = || VolumeSource::Dir { path: volume.clone() };
        let allowed = ["open allowed", "write allowed"];
        assert_eq!(show(n, &["write", "/data/result", "42"], "/data", dir(), None)?, allowed);
        let meta = fs::metadata(volume.join("result"))?;
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&meta), 65534);
        assert_eq!(show(n + 1, &["cat", "/data/result"], "/data", dir(), None)?, ["42"]);
        assert_eq!(show(n + 2, &["write", "/data/x", "1"], "/data", dir(), Some("a/b"))?, allowed);
        assert!(volume.join("a/b/x").exists());
        let files = || VolumeSource::Files {
            entries: vec![FileEntry { path: "k/v".into(), mode: 0o444, contents: b"told\n".to_vec() }],
            gid: None,
        };
        assert_eq!(show(n + 3, &["cat", "/conf/k/v"], "/conf", files(), None)?, ["told"]);
        assert_eq!(show(n + 4, &["cat", "/etc/one"], "/etc/one", files(), Some("k/v"))?, ["told"]);
        assert_eq!(show(n + 5, &["write", "/conf/x", "1"], "/conf", files(), None)?, ["open EROFS"]);
        let scratch = VolumeSource::Tmpfs { bytes: 1 << 16, inodes: 16, gid: None };
        assert_eq!(show(n + 6, &["fill", "/tmp/in/x"], "/tmp/in", scratch, None)?, ["65536 ENOSPC"]);
        Ok(())
    })
}

pub(crate) fn a_container_of_a_runtime_ends_at_its_memory_limit() -> Outcome {
    each(|place, server, runtime, n| {
        let limits = CgroupLimits { memory_bytes: Some(48 << 20), ..CgroupLimits::default() };
        let spec = by(runtime, RunSpec { limits, ..probe(place, n, &["eat"]) });
        let (record, _) = run(place, server, &spec)?;
        assert_eq!((record.status, record.oom_killed), (ExitStatus::Signal(9), true));
        // The same without: an end by signal is not an end by memory.
        let spec = by(runtime, RunSpec { limits, ..probe(place, n + 1, &["exit", "0"]) });
        assert!(!run(place, server, &spec)?.0.oom_killed);
        Ok(())
    })
}

pub(crate) fn containers_of_a_runtime_share_their_pod() -> Outcome {
    each(|place, server, runtime, n| {
        let shared = Arc::new(PodEnvironment { sharing: Sharing::Shared, ..pod(n) });
        let container = |ordinal: u16, args: &[&str]| {
            let mut spec = by(runtime, probe(place, n, args));
            spec.id.container = ordinal;
            spec.log.path = format!("{n}-{ordinal}.log").into();
            RunSpec { pod: Arc::clone(&shared), ..spec }
        };
        let main = container(0, &["pause"]);
        server.spawner.start(&main)?;
        server.started(main.id)?;
        let second = container(1, &["who"]);
        server.spawner.start(&second)?;
        assert_eq!(server.exit(second.id)?.status, ExitStatus::Code(0));
        assert_eq!(place.lines(&format!("{n}-1.log"))?, ["stdout F 65534 65534 1 0 1 task /"]);
        let interfaces = container(2, &["cat", "/proc/net/dev"]);
        server.spawner.start(&interfaces)?;
        assert_eq!(server.exit(interfaces.id)?.status, ExitStatus::Code(0));
        server.spawner.release_pod(n)?;
        assert_eq!(server.exit(main.id)?.status, ExitStatus::Signal(9));
        Ok(())
    })
}

/// Control groups of runs by a runtime, of this place's spawner.
fn groups_left(place: &Place) -> Vec<String> {
    let run = place.path().join("run");
    let name = run.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut left = Vec::new();
    let mut todo = vec![std::path::PathBuf::from("/sys/fs/cgroup")];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            // Groups of others come and go meanwhile.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let path = entry.path();
                let text = path.to_string_lossy().into_owned();
                if text.contains(&format!("watchbell-{name:016x}")) && text.contains("/oci-") {
                    left.push(text);
                }
                todo.push(path);
            }
        }
    }
    left
}

/// Processes with this word in their command line.
fn running(word: &str) -> Result<usize, Failure> {
    let mut count = 0;
    for entry in fs::read_dir("/proc")? {
        let command = fs::read(entry?.path().join("cmdline")).unwrap_or_default();
        count += usize::from(command.split(|byte| *byte == 0).any(|part| part == word.as_bytes()));
    }
    Ok(count)
}

pub(crate) fn nothing_outlives_a_container_of_a_runtime() -> Outcome {
    for runtime in installed() {
        let place = Place::new()?;
        let server = connect(&place)?;
        let word = format!("{}.5", 100_000 + std::process::id());
        // One that leaves a process of a session of its own, and ends.
        let spec = by(&runtime.name, script(&place, 1, &format!("sleep {word} & echo up; exit 4")));
        server.spawner.start(&spec)?;
        assert_eq!(server.exit(spec.id)?.status, ExitStatus::Code(4));
        assert_eq!((running(&word)?, groups_left(&place)), (0, Vec::new()));
        // One that goes on while the server is away, and is killed.
        let endless = format!("sleep {word} & echo up; sleep {word}; wait");
        let spec = by(&runtime.name, script(&place, 2, &endless));
        server.spawner.start(&spec)?;
        server.started(spec.id)?;
        place.wait_for_log("2.log")?;
        drop(server);
        let server = connect(&place)?;
        let begin = Instant::now();
        while running(&word)? < 2 {
            assert!(begin.elapsed() < PATIENCE, "it ended with the server");
        }
        assert!(!groups_left(&place).is_empty(), "the groups are looked for elsewhere");
        server.spawner.kill_pod(2)?;
        assert_eq!(server.exit(spec.id)?.status, ExitStatus::Signal(9));
        assert_eq!((running(&word)?, groups_left(&place)), (0, Vec::new()));
        // One whose spawner is killed.
        let spec = by(&runtime.name, script(&place, 3, &endless));
        server.spawner.start(&spec)?;
        let pid = server.started(spec.id)?;
        place.wait_for_log("3.log")?;
        let pid = rustix::process::Pid::from_raw(pid as i32).ok_or("pid 0")?;
        let shim = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
        place.kill("spawner")?;
        // Before any other spawner comes.
        wait_for_end(&shim)?;
        assert_eq!(running(&word)?, 0);
        server.disconnected()?;
        let server = connect(&place)?;
        assert_eq!(groups_left(&place), Vec::<String>::new());
        let lost = |entry: &TableEntry| matches!(entry, TableEntry::Exited(record) if record.id == spec.id && record.status == ExitStatus::Lost);
        assert!(server.table.iter().any(lost), "{:?}", server.table);
        let next = by(&runtime.name, script(&place, 5, "exit 1"));
        server.spawner.start(&next)?;
        assert_eq!(server.exit(next.id)?.status, ExitStatus::Code(1));
    }
    Ok(())
}

pub(crate) fn a_process_enters_a_container_of_a_runtime() -> Outcome {
    each(|place, server, runtime, n| {
        let spec = by(runtime, probe(place, n, &["pause"]));
        sessions::start(server, &spec)?;
        let check = |words: &[&str], expect: (ExitStatus, &str, &str)| -> Outcome {
            let (status, out, err) = sessions::exec(server, spec.id, words)?;
            assert_eq!((status, out.as_str(), err.as_str()), expect, "{words:?}");
            Ok(())
        };
        let sh = "echo out; echo err >&2; exit 3";
        check(&["sh", "-c", sh], (ExitStatus::Code(3), "out\n", "err\n"))?;
        check(&["sh", "-c", "kill -9 $$"], (ExitStatus::Signal(9), "", ""))?;
        check(&["sh", "-c", "kill -15 $$"], (ExitStatus::Signal(15), "", ""))?;
        check(&["cat"], (ExitStatus::Code(0), "", ""))?;
        check(&["/bin/probe", "fds"], (ExitStatus::Code(0), "0 1 2 \n", ""))?;
        // Whoever enters is held as the container is.
        let show = |who: &str| -> Result<Vec<String>, Failure> {
            let files =
                ["cgroup", "limits", "uid_map", "oom_score_adj"].map(|file| format!("/proc/{who}/{file}"));
            let words = ["/bin/probe", "cat"].into_iter().chain(files.iter().map(String::as_str));
            let lines = sessions::exec(server, spec.id, &words.collect::<Vec<_>>())?.1;
            Ok(settled(lines.lines().map(str::to_owned).collect(), runtime))
        };
        assert_eq!(show("self")?, show("1")?);
        let status = sessions::exec(server, spec.id, &["/bin/probe", "cat", "/proc/self/status"])?.1;
        for line in
            ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"]
        {
            assert!(status.lines().any(|found| found == line), "{line}: {status}");
        }
        // What cannot be executed is told.
        for command in ["/bin/none", "none"] {
            let failure = server.spawner.exec(spec.id, sessions::argv(&[command]), sessions::ALL).err();
            let failure = failure.ok_or("it started")?;
            assert!(failure.to_string().contains(command), "{failure}");
        }
        // It ends with its client, and its terminal with it.
        let session =
            server.spawner.exec(spec.id, sessions::argv(&["/bin/probe", "pause"]), sessions::ALL)?;
        // The runtime itself, which starts it, is under no limit of the container's.
        for pid in place.children_of_the_spawner()? {
            let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            let limits = |line: &&str| line.contains("pids:") || line.contains("memory:");
            let inside = groups.lines().filter(limits).find(|line| line.contains("/oci-"));
            assert_eq!(
                inside,
                None,
                "{}",
                fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default()
            );
        }
        drop(session);
        let count = || -> Result<usize, Failure> {
            let listed = sessions::exec(server, spec.id, &["/bin/probe", "ls", "/proc"])?.1;
            Ok(listed.lines().filter(|name| name.parse::<u32>().is_ok()).count())
        };
        sessions::until("it ends with its session", || Ok(count()? == 2))?;
        let terminal = sessions::argv(&["/bin/probe", "terminal"]);
        let mut session = server.spawner.exec(spec.id, terminal, sessions::TTY)?;
        talk(session.stdin.take(), session.stdout.take(), session.terminal.as_ref(), 0)?;
        assert_eq!(session.link.wait()?, ExitStatus::Code(5));
        drop(session);
        // A session ends with its container.
        let session =
            server.spawner.exec(spec.id, sessions::argv(&["/bin/probe", "pause"]), sessions::ALL)?;
        server.spawner.release_pod(n)?;
        assert_eq!(server.exit(spec.id)?.status, ExitStatus::Signal(9));
        assert_eq!(session.link.wait()?, ExitStatus::Signal(9));
        Ok(())
    })
}

pub(crate) fn a_container_of_a_runtime_is_attached_to() -> Outcome {
    each(|place, server, runtime, n| {
        let spec = by(runtime, interactive(probe(place, n, &["terminal"]), Stdin::Once, true));
        sessions::start(server, &spec)?;
        let log = format!("{n}.log");
        sessions::until("it has said who it is", || {
            Ok(place.lines(&log).is_ok_and(|lines| lines.len() == 2))
        })?;
        let mut session = server.spawner.attach(spec.id, sessions::TTY)?;
        talk(session.stdin.take(), session.stdout.take(), session.terminal.as_ref(), 2)?;
        assert_eq!(session.link.wait()?, ExitStatus::Code(5));
        assert_eq!(server.exit(spec.id)?.status, ExitStatus::Code(5));
        let spec =
            by(runtime, interactive(script(place, n + 1, "cat; echo done; exit 7"), Stdin::Once, false));
        sessions::start(server, &spec)?;
        let mut session = server.spawner.attach(spec.id, sessions::ALL)?;
        let mut stdin = fs::File::from(session.stdin.take().ok_or("no stdin")?);
        stdin.write_all(b"text\n")?;
        drop(stdin);
        assert_eq!(sessions::read_all(session.stdout.take())?, "text\ndone\n");
        assert_eq!(server.exit(spec.id)?.status, ExitStatus::Code(7));
        Ok(())
    })
}
