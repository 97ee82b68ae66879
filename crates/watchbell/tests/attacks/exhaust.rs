//! Attacks on what there is of processes, memory, files, output, descriptors and CPU; and tasks that will not go.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::program::{job, printed, stand_with_program};
use crate::stand::{Stand, is_left_out};

/// How many there were, and why there were no more (`all`: there were as many as wanted).
fn count(text: &str) -> (u64, String) {
    let (number, why) = text.trim().split_once(' ').unwrap();
    (number.parse().unwrap(), why.to_owned())
}

#[test]
fn no_task_takes_more_than_its_share() {
    if is_left_out(&["cc"]) {
        return;
    }
    let (mut stand, program) = stand_with_program(&[]);
    let mut inside =
        |name: &str, args: &[&str]| count(&printed(&mut stand, "default", name, &job(name, args, "", "")));
    // With what the control gets without a limit: all.
    for (name, args, most, why) in [
        ("forks", &["forks", "3000"][..], 1023, "EAGAIN"),
        // Those that ended and were not waited for count too.
        ("zombies", &["zombies", "3000"], 1023, "EAGAIN"),
        ("fill-tmp", &["fill", "/tmp/full", "80"], 64 << 10, "ENOSPC"),
        ("fill-shm", &["fill", "/dev/shm/full", "80"], 64 << 10, "ENOSPC"),
        ("files", &["files", "/tmp", "20000"], 16 << 10, "ENOSPC"),
    ] {
        let (got, cause) = inside(name, args);
        assert!(got <= most && got >= most * 9 / 10 && cause == why, "{name}: {got} {cause}");
        assert_eq!(count(&program.control(args)).1, "all", "{name}: the control proves nothing");
    }
    // Zombies and children of a task go with it.
    let parents: Vec<u32> = spawners(&stand);
    assert_eq!(parents.len(), 1);
    stand.until("nothing of the tasks is left", |_| children(parents[0]).is_empty());
    stand.end();
}

#[test]
fn a_task_ends_at_its_memory_limit() {
    if is_left_out(&["cc"]) {
        return;
    }
    let (mut stand, program) = stand_with_program(&[]);
    let limit = "resources: {limits: {memory: 32Mi}}";
    stand.apply(&job("memory", &["memory", "64"], "", limit));
    stand.finished("default", "memory");
    let pods = stand.get(&["pods", "-l", "job-name=memory"]);
    let ended = &pods["items"][0]["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((&ended["reason"], &ended["exitCode"]), (&"OOMKilled".into(), &137.into()), "{pods}");
    assert_eq!(count(&program.control(&["memory", "64"])), (64, "all".into()));
    // Shared memory is in the same bound.
    stand.apply(&job("shm", &["fill", "/dev/shm/full", "60"], "", limit));
    let ended = stand.finished("default", "shm");
    assert!(crate::stand::condition(&ended, "Failed"), "{ended}");
    assert_eq!(count(&program.control(&["fill", "/dev/shm/full", "60"])), (60 << 10, "all".into()));
    stand.end();
}

/// What there is for all tasks in the next test: less than the three want together.
const TOGETHER_MIB: u64 = 512;

#[test]
fn a_task_without_a_limit_ends_and_its_neighbours_live() {
    if is_left_out(&["cc"]) {
        return;
    }
    let reserved = format!("memory={}", machine_bytes() - (TOGETHER_MIB << 20));
    let (mut stand, _) = stand_with_program(&["--system-reserved", &reserved]);
    // One that says nothing either, and one that said what it needs and has more than the hog will ever get.
    let said = "resources: {limits: {memory: 320Mi, cpu: 100m}}";
    for (name, mib, resources) in [("small", "32", ""), ("large", "256", said)] {
        stand.apply(&job(name, &["hold", mib], "", resources));
        let logs = &["logs", &format!("job/{name}")];
        stand.until("it holds its memory", |stand| stand.watchbell(logs).out.contains("holding"));
    }
    stand.apply(&job("hog", &["memory", "1024"], "", ""));
    stand.finished("default", "hog");
    let state = |stand: &Stand, name: &str| {
        let pods = stand.get(&["pods", "-l", &format!("job-name={name}")]);
        pods["items"][0]["status"]["containerStatuses"][0].clone()
    };
    let hog = state(&stand, "hog");
    assert_eq!(hog["state"]["terminated"]["reason"], "OOMKilled", "{hog}");
    for name in ["small", "large"] {
        let neighbour = state(&stand, name);
        assert!(neighbour["state"]["running"].is_object() && neighbour["restartCount"] == 0, "{neighbour}");
        stand.watchbell(&["delete", "job", name]).ok();
    }
    stand.end();
}

/// What the machine has, which a control group above may bound.
fn machine_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap();
    total.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[test]
fn memory_of_the_kernel_counts_as_the_tasks() {
    if is_left_out(&["cc"]) {
        return;
    }
    let (mut stand, program) = stand_with_program(&[]);
    // Each is about twice the limit.
    let kinds = [("pipes", "900"), ("sockets", "400"), ("queues", "4000"), ("semaphores", "32")];
    for (what, wanted) in kinds {
        stand.apply(&job(what, &["kernel", what, wanted], "", "resources: {limits: {memory: 32Mi}}"));
    }
    for (what, wanted) in kinds {
        stand.finished("default", what);
        let pods = stand.get(&["pods", "-l", &format!("job-name={what}")]);
        let ended = &pods["items"][0]["status"]["containerStatuses"][0]["state"]["terminated"];
        // The kernel kills it, or refuses the call.
        let log = stand.watchbell(&["logs", &format!("job/{what}")]).out;
        let is_refused =
            log.ends_with(" ENOMEM\n") || log.ends_with(" ENOBUFS\n") || log.ends_with(" ENOSPC\n");
        assert!(ended["reason"] == "OOMKilled" || is_refused, "{what}: {log} {ended}");
        assert_eq!(program.control(&["kernel", what, wanted]), format!("{what} {wanted} all\n"));
    }
    stand.end();
}

#[test]
fn a_flood_of_output_is_bounded_and_forges_no_line() {
    if is_left_out(&["cc"]) {
        return;
    }
    let (mut stand, program) = stand_with_program(&[]);
    let manifest = job("flood", &["flood", "96"], "", "");
    stand.watchbell_with(&["apply", "-f", "-"], &manifest).ok();
    let done = stand.finished("default", "flood");
    assert!(crate::stand::condition(&done, "Complete"), "{done}");
    let mut files = Vec::new();
    below(&stand.data().join("logs"), &mut files);
    let bytes: u64 = files.iter().map(|file| file.metadata().unwrap().len()).sum();
    // Five files of 10 MiB, each with one more line at most.
    assert!(bytes > 8 << 20 && bytes < 52 << 20, "{bytes} bytes of log");
    let mut lines = 0;
    for file in &files {
        for line in BufReader::new(std::fs::File::open(file).unwrap()).split(b'\n') {
            let line = line.unwrap();
            assert!(!line.starts_with(b"2020-"), "{}", String::from_utf8_lossy(&line));
            lines += 1;
        }
    }
    assert!(lines > 1000, "{lines} lines");
    // Without the log's frame a line of the program stands where the log's own would.
    let control = program.control(&["flood", "1"]);
    assert!(control.lines().any(|line| line.starts_with("2020-01-01T00:00:00Z stdout F ")));
    stand.end();
}

/// Where a person looks: at a log, at one that grows, at what a process in the container prints.
#[test]
fn nothing_that_a_task_prints_steers_a_terminal() {
    if is_left_out(&["cc", "script"]) {
        return;
    }
    let (mut stand, _) = stand_with_program(&[]);
    stand.apply(&job("flood", &["flood", "1"], "", ""));
    stand.finished("default", "flood");
    stand.apply(&job("stay", &["stay"], "terminationGracePeriodSeconds: 0,", ""));
    stand.until("it runs", |stand| stand.watchbell(&["logs", "job/stay"]).out.contains("here"));
    let pods = stand.get(&["pods", "-l", "job-name=stay"]);
    let pod = pods["items"][0]["metadata"]["name"].as_str().unwrap();
    for args in [
        &["logs", "job/flood"][..],
        &["logs", "-f", "job/flood"],
        &["exec", pod, "--", "/attack", "flood", "1"],
    ] {
        // What is no terminal gets what was printed: the control.
        let raw = stand.watchbell(args).ok();
        assert!(raw.contains("\x1b[2J") && raw.contains('\x07'), "{args:?}");
        let kubeconfig = stand.kubeconfig().display().to_string();
        let watchbell = [env!("CARGO_BIN_EXE_watchbell"), "--kubeconfig", &kubeconfig];
        let line: Vec<String> = watchbell.iter().chain(args).map(|word| format!("'{word}'")).collect();
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", &line.join(" "), "/dev/null"]).stdin(Stdio::null());
        let shown = crate::stand::run(script, "").ok();
        assert!(shown.contains("[2J") && shown.matches("forged").count() > 1000, "{args:?}: {}", shown.len());
        assert!(!shown.contains(['\x1b', '\x07']), "{args:?}");
    }
    stand.watchbell(&["delete", "job", "stay"]).ok();
    stand.end();
}

#[test]
fn a_task_that_will_not_go_is_ended_with_all_it_started() {
    if is_left_out(&["cc"]) {
        return;
    }
    let (mut stand, program) = stand_with_program(&[]);
    let marker = format!("marker-{}", std::process::id());
    stand.apply(&job("stay", &["stay", &marker], "terminationGracePeriodSeconds: 1,", ""));
    stand.until("both run", |_| marked(&marker).len() == 2);
    stand.watchbell(&["delete", "job", "stay"]).ok();
    stand.until("nothing of it is left", |_| marked(&marker).is_empty());
    // On the host it stays when it is asked to end, and what it started stays when it is killed.
    let mut control = program.control_command(&["stay", &marker]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut output = BufReader::new(control.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    let first = control.id() as i32;
    kill_process(Pid::from_raw(first).unwrap(), Signal::TERM).unwrap();
    stand.until("both stay", |_| marked(&marker).len() == 2);
    control.kill().unwrap();
    control.wait().unwrap();
    let [left] = marked(&marker)[..] else { panic!("{:?}", marked(&marker)) };
    kill_process(Pid::from_raw(left).unwrap(), Signal::KILL).unwrap();
    line.clear();
    assert_eq!(output.read_line(&mut line).unwrap(), 0, "its output was open until now");
    stand.end();
}

#[test]
fn descriptors_that_a_task_hoards_are_not_the_hosts() {
    if is_left_out(&["cc"]) {
        return;
    }
    let (mut stand, program) = stand_with_program(&[]);
    stand.apply(&job("hoard", &["descriptors", "100000"], "", ""));
    let mut log = String::new();
    stand.until("it holds what it got", |stand| {
        log = stand.watchbell(&["logs", "job/hoard"]).out;
        log.contains("holding")
    });
    for line in log.lines().filter(|line| *line != "holding") {
        assert!(line.ends_with(" EMFILE"), "{log}");
    }
    program.control(&["one-of-each"]);
    stand.watchbell(&["delete", "job", "hoard"]).ok();
    stand.end();
}

/// Inotify instances are counted by user. That of a pod is its own, so what one takes no other lacks; without a user namespace
/// two that run as the same user have one count between them, and the second gets none.
#[test]
fn a_pod_that_hoards_takes_nothing_from_another() {
    if is_left_out(&["cc"]) {
        return;
    }
    let (mut stand, program) = stand_with_program(&[]);
    let most = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_instances").unwrap();
    let more = (most.trim().parse::<u64>().unwrap() + 1).to_string();
    let mut held = |name: &str, wanted: &str| {
        stand.apply(&job(name, &["inotify", "0", wanted], "", ""));
        let logs = &["logs", &format!("job/{name}")];
        let mut log = String::new();
        stand.until("it holds what it got", |stand| {
            log = stand.watchbell(logs).out;
            log.contains("holding")
        });
        log
    };
    assert!(held("hoard", &more).contains(" EMFILE\n"));
    assert_eq!(held("other", "10"), "inotify 10 all\nholding\n");
    for name in ["hoard", "other"] {
        stand.watchbell(&["delete", "job", name]).ok();
    }
    // A user of its own in the control too, whom nobody else on the machine is.
    let user = (1_900_000_000 + std::process::id()).to_string();
    let of_user = |wanted: &str| {
        let mut command = program.control_command(&["inotify", &user, wanted]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let taken = lines.next().unwrap().unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), "holding");
        (child, taken)
    };
    let (first, second) = (of_user(&more), of_user("10"));
    for (mut child, _) in [(first.0, ()), (second.0, ())] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(first.1.ends_with(" EMFILE"), "{}", first.1);
    assert_eq!(second.1, "inotify 0 EMFILE");
    stand.end();
}

#[test]
fn cpu_time_is_what_the_limit_says() {
    if is_left_out(&["cc"]) {
        return;
    }
    let (mut stand, _) = stand_with_program(&[]);
    let mut burnt = |name: &str, ms: &str, limits: &str| {
        let log = printed(&mut stand, "default", name, &job(name, &["burn", ms], "", limits));
        let (quota, end) = log.trim().split_once(' ').unwrap();
        (quota.parse::<i64>().unwrap(), end.to_owned())
    };
    // A tenth of a processor: 10 ms of each period of 100. Who takes more in one is made to wait for the next, however slow the
    // machine is.
    let limited = burnt("limited", "20000", "resources: {limits: {cpu: 100m}}");
    assert_eq!(limited, (10_000, "waited".to_owned()));
    let (quota, end) = burnt("control", "500", "");
    assert!(quota <= 0 && end == "free", "without a limit: {quota} {end}");
    stand.end();
}

/// Files below a directory.
fn below(dir: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => below(&entry.path(), files),
            false => files.push(entry.path()),
        }
    }
}

/// Processes with an argument.
fn marked(argument: &str) -> Vec<i32> {
    let has = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|b| *b == 0).any(|word| word == argument.as_bytes())
    };
    pids().filter(has).collect()
}

fn pids() -> impl Iterator<Item = i32> {
    std::fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok())
}

/// The spawner of a stand.
pub(crate) fn spawners(stand: &Stand) -> Vec<u32> {
    let state = stand.data().join("run").display().to_string();
    let is_ours = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<_> = line.split(|b| *b == 0).map(String::from_utf8_lossy).collect();
        words.get(1).is_some_and(|w| w == "spawner") && words.iter().any(|w| *w == state)
    };
    pids().filter(is_ours).map(|pid| pid as u32).collect()
}

/// Living and dead children of a spawner that are or were tasks: its keeper and what makes processes ahead are left out.
fn children(parent: u32) -> Vec<i32> {
    let is_child = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after = stat.rsplit(") ").next().unwrap_or_default();
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let is_keeper = line.split(|b| *b == 0).nth(1) == Some(b"keeper");
        let is_none_yet = stat.contains("(watchbell-clone)") || stat.contains("(watchbell-ahead)");
        after.split(' ').nth(1) == Some(&parent.to_string()) && !is_keeper && !is_none_yet
    };
    pids().filter(is_child).collect()
}
