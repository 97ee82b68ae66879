//! What a task that asked for nothing can see and do.

use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::fs::{CWD, FileType, Mode, OFlags};

use crate::stand::{Stand, condition, is_left_out, job};

#[test]
fn a_task_has_no_power_no_network_and_no_place_to_write_but_tmp() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let mut stand = Stand::with_busybox();
    let script = r#"
        grep -E '^(Uid|Gid|Groups|CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp):' /proc/self/status
        echo "Interfaces: $(ls /sys/class/net 2>/dev/null | tr '\n' ' ')$(cut -d: -f1 /proc/net/dev | tail -n +3 | tr -d ' ' | tr '\n' ' ')"
        echo "Processes: $(ls /proc | grep -c '^[0-9]')"
        for dir in / /bin /etc /dev /proc /sys /proc/sys/kernel /root /var; do
          touch $dir/probe 2>/dev/null && echo "Writable: $dir"
        done
        echo core > /proc/sys/kernel/core_pattern 2>/dev/null && echo "Writable: core_pattern"
        echo b > /proc/sysrq-trigger 2>/dev/null && echo "Writable: sysrq"
        touch /tmp/probe && echo "Tmp: yes"
        mount -t tmpfs none /tmp 2>/dev/null && echo "Mount: yes"
        unshare -U true 2>/dev/null && echo "Unshare: yes"
        mknod /tmp/null c 1 3 2>/dev/null && echo "Mknod: yes"
        head -c1 /proc/kcore >/dev/null 2>&1 && test -n "$(head -c1 /proc/kcore 2>/dev/null)" && echo "Kcore: yes"
        ls -A /var/run/secrets 2>/dev/null | grep -q . && echo "Token: yes"
        nc -w 1 169.254.169.254 80 </dev/null 2>/dev/null && echo "Metadata: yes"
        echo End: yes
    "#;
    stand.apply(&job("inside", "backoffLimit: 0", script));
    let done = stand.finished("default", "inside");
    let log = stand.watchbell(&["logs", "job/inside"]).ok();
    assert!(condition(&done, "Complete"), "{log}");
    let mut seen: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in log.lines() {
        let (key, value) = line.split_once(':').unwrap();
        seen.entry(key).or_default().extend(value.split_whitespace());
    }
    let has = |key: &str| seen.get(key).cloned().unwrap_or_default();
    assert_eq!(has("Uid"), ["65534"; 4]);
    assert_eq!(has("Gid"), ["65534"; 4]);
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(has(set), ["0000000000000000"], "{set}");
    }
    assert_eq!(has("NoNewPrivs"), ["1"]);
    assert_eq!(has("Seccomp"), ["2"]);
    assert!(has("Interfaces").iter().all(|i| *i == "lo"), "{log}");
    for key in ["Writable", "Mount", "Unshare", "Mknod", "Kcore", "Token", "Metadata"] {
        assert!(!seen.contains_key(key), "{key}: {log}");
    }
    assert_eq!((has("Tmp"), has("End")), (vec!["yes"], vec!["yes"]));
    stand.end();
}

/// Both tasks stay until both have spoken: the kernel gives the number of a namespace that went to the next one.
#[test]
fn two_tasks_are_strangers_to_each_other_and_to_the_host() {
    if is_left_out(&["busybox"]) {
        return;
    }
    const LINES: usize = 8;
    let mut stand = Stand::with_busybox();
    let spec = "completionMode: Indexed\n  completions: 2\n  parallelism: 2\n  backoffLimit: 0";
    let script = "cat /proc/self/uid_map; for ns in pid mnt ipc uts net user cgroup; do readlink /proc/self/ns/$ns; done; sleep 1000";
    stand.apply(&job("two", spec, script));
    let mut logs = Vec::new();
    stand.until("both tasks have spoken and stay", |stand| {
        logs = ["0", "1"].map(|index| stand.watchbell(&["logs", "job/two", "--index", index]).out).to_vec();
        let pods = stand.get(&["pods"]);
        let stay = |pod: &serde_json::Value| pod["status"]["phase"] == "Running";
        logs.iter().all(|log| log.lines().count() == LINES)
            && pods["items"].as_array().unwrap().iter().all(stay)
    });
    let [one, two] = &logs[..] else { unreachable!() };
    let uid = |log: &str| log.split_whitespace().nth(1).unwrap().parse::<u32>().unwrap();
    assert!(uid(one) > 65_536 && uid(two) > 65_536 && uid(one).abs_diff(uid(two)) >= 65_536, "{one}{two}");
    for (mine, other) in one.lines().zip(two.lines()).skip(1) {
        let kind = mine.split(':').next().unwrap();
        let host = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        assert!(mine != other && mine != host.to_str().unwrap(), "{kind} is shared: {mine} {other}");
    }
    stand.watchbell(&["delete", "job", "two"]).ok();
    stand.end();
}

#[test]
fn what_a_namespace_permits_and_root_does_not_fails_with_the_way_out() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let mut stand = Stand::with_busybox();
    stand.apply(
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: open, labels: {pod-security.kubernetes.io/enforce: privileged}}\n",
    );
    let greedy = job("greedy", "backoffLimit: 0", "true")
        .replace("metadata: {name: greedy}", "metadata: {name: greedy, namespace: open}")
        .replace("image: busybox:bar", "image: busybox:bar\n        securityContext: {privileged: true}");
    stand.apply(&greedy);
    assert!(condition(&stand.finished("open", "greedy"), "Failed"));
    let events = stand.get(&["events", "-n", "open"]);
    let told = events["items"].as_array().unwrap().iter().any(|event| {
        event["type"] == "Warning"
            && event["reason"] == "Failed"
            && event["message"].as_str().unwrap().contains("--allow-")
    });
    assert!(told, "{events:#}");
    stand.end();
}

#[test]
fn what_asks_for_more_is_refused_with_the_field_and_the_way_out() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let stand = Stand::with_busybox();
    let with = |field: &str| {
        job("greedy", "backoffLimit: 0", "true")
            .replace("image: busybox:bar", &format!("image: busybox:bar\n        {field}"))
    };
    for (field, path) in [
        ("securityContext: {privileged: true}", "privileged"),
        ("securityContext: {runAsUser: 0}", "runAsUser"),
        ("securityContext: {capabilities: {add: [SYS_ADMIN]}}", "capabilities"),
        ("securityContext: {allowPrivilegeEscalation: true}", "allowPrivilegeEscalation"),
    ] {
        let done = stand.watchbell_with(&["apply", "-f", "-"], &with(field));
        assert_ne!(done.code, Some(0), "{field}");
        assert!(
            done.err.contains(path) && done.err.contains("pod-security.kubernetes.io/enforce"),
            "{}",
            done.err
        );
    }
    let host = job("greedy", "backoffLimit: 0", "true")
        .replace("restartPolicy: Never", "restartPolicy: Never\n      hostNetwork: true");
    let done = stand.watchbell_with(&["apply", "-f", "-"], &host);
    assert!(done.code != Some(0) && done.err.contains("hostNetwork"), "{}", done.err);
    assert!(stand.get(&["jobs"])["items"].as_array().unwrap().is_empty());
    stand.end();
}

/// A server of another user, held while it reads a file that its command line names. The kernel gives the files in /proc of
/// what it does not dump to root, whoever runs it.
#[test]
fn a_server_leaves_no_core_file_and_no_neighbour_reads_it() {
    const USER: u32 = 65_534;
    let mut stand = Stand::unstarted();
    let pipe = stand.path("issuers");
    rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
    rustix::fs::chown(&pipe, Some(rustix::fs::Uid::from_raw(USER)), None).unwrap();
    rustix::fs::chmod(pipe.parent().unwrap(), Mode::from(0o711)).unwrap();
    // By its descriptor: the path may lead through directories that are root's alone.
    let program = std::fs::File::open(env!("CARGO_BIN_EXE_watchbell")).unwrap();
    let mut serve = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
    serve.args(["serve", "--data-dir"]).arg(stand.data()).arg("--authentication-config").arg(&pipe);
    let mut server = serve.uid(USER).stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut writer = None;
    stand.until("the server reads", |_| {
        assert!(server.try_wait().unwrap().is_none(), "the server ended");
        // There is no such end before the server has opened the other one.
        writer = rustix::fs::open(&pipe, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty()).ok();
        writer.is_some()
    });
    let of = |file: &str| format!("/proc/{}/{file}", server.id());
    assert_eq!(std::fs::metadata(of("")).unwrap().uid(), USER);
    assert_eq!(std::fs::metadata(of("environ")).unwrap().uid(), 0);
    let limits = std::fs::read_to_string(of("limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("1"), "{core}");
    drop(writer);
    assert!(!server.wait().unwrap().success());
}
