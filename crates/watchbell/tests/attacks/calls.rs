//! Attempts that are one call or a few: from a task that asked for nothing, from one as Kubernetes would start it, and from
//! one without the system call filter, beside the same as root on the host.

use crate::host::Host;
use crate::program::{Outcomes, job, outcomes, printed, stand_with_program};
use crate::stand::is_left_out;

/// What is expected of each attempt: number, name, then the outcomes in a default task, as root inside, without the filter
/// and on the host; its head says more.
const EXPECTED: &str = include_str!("outcomes.txt");
const COLUMNS: [&str; 4] = ["default", "root", "unfiltered", "control"];

#[test]
fn what_is_reached_on_the_host_is_refused_inside() {
    if is_left_out(&["cc"]) {
        return;
    }
    let (mut stand, program) = stand_with_program(&["--allow-unconfined"]);
    let host = Host::look();
    for (namespace, level) in [("kubernetes", "baseline"), ("unfiltered", "privileged")] {
        stand.apply(&format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}, labels: {{pod-security.kubernetes.io/enforce: {level}}}}}\n"
        ));
    }
    let mut inside = |namespace: &str, pod: &str, container: &str| {
        outcomes(&printed(&mut stand, namespace, "calls", &job("calls", &["calls"], pod, container)))
    };
    let default = inside("default", "", "");
    let root = inside("kubernetes", "", "securityContext: {runAsUser: 0}");
    host.assert_unchanged();
    drop(host);
    let host = Host::look_beside_modules();
    let unfiltered = inside(
        "unfiltered",
        "volumes: [{name: tmp, emptyDir: {medium: Memory, sizeLimit: 1Mi}}],",
        "securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}, \
         seccompProfile: {type: Unconfined}}, volumeMounts: [{name: tmp, mountPath: /tmp}]",
    );
    let control = outcomes(&program.control(&["calls"]));
    host.assert_unchanged();
    host.assert_requests_are_seen();
    drop(host);
    compare(&[default, root, unfiltered, control]);
    stand.end();
}

/// One row of the table.
struct Row {
    key: (u8, String),
    /// In the order of [`COLUMNS`].
    expected: [Vec<&'static str>; 4],
    absent: Vec<&'static str>,
}

fn expected() -> Vec<Row> {
    let lines = EXPECTED.lines().filter(|line| !line.starts_with('#'));
    let row = |line: &'static str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [number, name, columns @ .., absent] = &words[..] else { panic!("{line:?}") };
        let sets: Vec<Vec<&str>> = columns.iter().map(|set| set.split('|').collect()).collect();
        Row {
            key: (number.parse().unwrap(), (*name).to_owned()),
            expected: sets.try_into().unwrap(),
            absent: absent.split('|').collect(),
        }
    };
    lines.map(row).collect()
}

/// Every attempt is in the table and the other way round; every outcome is expected; and what is said to be refused was
/// either reached by the control or is absent.
fn compare(seen: &[Outcomes; 4]) {
    let table = expected();
    let mut wrong = Vec::new();
    let mut absent = Vec::new();
    for (column, outcomes) in COLUMNS.iter().zip(seen) {
        let unknown = outcomes.keys().filter(|key| !table.iter().any(|row| row.key == **key));
        wrong.extend(unknown.map(|key| format!("{key:?} of {column} is not in outcomes.txt")));
    }
    for row in &table {
        let name = &row.key.1;
        // Calls of another architecture are not in a program for this one.
        let is_foreign = ["int80", "x32", "af-alg-int80"].contains(&name.as_str());
        if is_foreign && !cfg!(target_arch = "x86_64") {
            continue;
        }
        let got: Vec<&str> = seen.iter().map(|o| o.get(&row.key).map_or("nothing", String::as_str)).collect();
        let is_absent = row.absent.contains(&got[3]);
        if is_absent {
            absent.push(format!("{name} ({})", got[3]));
        }
        for ((column, got), expected) in COLUMNS.iter().zip(&got).zip(&row.expected) {
            let is_as_expected = expected.contains(got) || is_absent && row.absent.contains(got);
            if !is_as_expected {
                wrong.push(format!("{} {name}, {column}: {got}, not {}", row.key.0, expected.join(" or ")));
            }
        }
    }
    if !absent.is_empty() {
        println!("absent in this kernel or on this machine, so nothing is proved: {}", absent.join(", "));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What the kernel is asked for directly must be refused as in a default task, whatever lies over `path`.
pub(crate) fn check_default(found: &Outcomes, path: &str) {
    for Row { key, expected: [default, ..], absent } in expected() {
        let is_path =
            matches!(key.0, 0..=3 | 21..=35) || path.starts_with("/dev") && matches!(key.0, 17..=20);
        // The processes are seen by way of /proc.
        if is_path
            || path.starts_with("/proc")
                && matches!(key.1.as_str(), "other-processes" | "setns-init" | "oom-score")
        {
            continue;
        }
        let got = found.get(&key).map_or("nothing", String::as_str);
        assert!(default.contains(&got) || absent.contains(&got), "with {path}: {key:?} is {got}");
    }
}

/// What a pod got otherwise than one that says nothing does from our own sandbox.
pub(crate) fn other_than_default(found: &Outcomes) -> Vec<String> {
    let rows = expected().into_iter();
    let other = rows.filter_map(|Row { key, expected: [default, ..], absent }| {
        let got = found.get(&key).map_or("nothing", String::as_str);
        let is_same = default.contains(&got) || absent.contains(&got);
        (!is_same).then(|| format!("{} {got}", key.1))
    });
    other.collect()
}

/// What no profile lifts.
const FLOOR: [&str; 34] = [
    "mount-cgroup",
    "mount-cgroup2",
    "bind-mount",
    "fsopen",
    "mount-proc",
    "mount-setattr",
    "mount-tmpfs",
    "open-tree",
    "pivot-root",
    "remount-root",
    "unmount-proc",
    "unshare-mount",
    "unshare-net",
    "unshare-user",
    "clone-user",
    "clone-user-high-bits",
    "clone3-user",
    "setns-init",
    "setns-pidfd",
    "add-key",
    "keyctl",
    "keyctl-join",
    "request-key",
    "bpf",
    "io-uring",
    "af-alg",
    "af-alg-high-bits",
    "tcp-ao",
    "af-vsock",
    "bridges",
    "vlans",
    "open-by-handle",
    "tiocsti",
    "tiocsti-high-bits",
];

/// Under the widest profile the floor is as in a default task, and nothing else more than without a filter. What only the
/// filter stopped is reached: else the profile would not have been in force at all.
pub(crate) fn check_above_floor(found: &Outcomes) {
    for Row { key, expected: [default, _, unfiltered, _], absent } in expected() {
        let name = key.1.as_str();
        if !cfg!(target_arch = "x86_64") && ["int80", "x32", "af-alg-int80"].contains(&name) {
            continue;
        }
        let got = found.get(&key).map_or("nothing", String::as_str);
        let is_floor = FLOOR.contains(&name) || ["int80", "x32", "af-alg-int80"].contains(&name);
        let is_expected = if is_floor {
            default.contains(&got)
        } else {
            unfiltered.contains(&got) || default.contains(&got) || absent.contains(&got)
        };
        assert!(is_expected, "{key:?} is {got}");
        if ["ptrace", "process-vm-readv", "aio", "memfd-secret"].contains(&name) {
            assert!(
                got == "reached" || absent.contains(&got),
                "{key:?} is {got}: the profile was not in force"
            );
        }
    }
    assert!(FLOOR.iter().all(|name| found.keys().any(|key| key.1 == *name)));
}

#[test]
fn no_refusal_is_expected_without_a_control_that_gets_through() {
    for Row { key, expected: [default, .., control], .. } in expected() {
        assert!(!default.contains(&"reached"), "{key:?} is reached in a default task");
        let through = ["reached", "EBUSY", "EINVAL", "ENOKEY", "ESTALE", "ETXTBSY"];
        assert!(control.iter().all(|c| through.contains(c)), "{key:?}: the control proves nothing");
        assert!(default.iter().all(|d| !control.contains(d)), "{key:?}: it is as in the control");
    }
}
