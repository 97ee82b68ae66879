use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::super::facts::{
    Caller, CgroupVersion, ControlGroups, DeviceSpecs, Facts, Feature, Listen, Outcome, Runtime, Storage,
};
use super::{FEATURES, Report, Verdict, judge};

const ALL_CAPABILITIES: u64 = 0x1ff_ffff_ffff;
const SYS_RESOURCE: u64 = 1 << 24;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

/// A virtual machine with hybrid control groups, whose root lacks one capability.
fn hybrid() -> Facts {
    let names = |list: &str| list.split(' ').map(str::to_owned).collect();
    Facts {
        kernel: "6.18.44".to_owned(),
        architecture: "x86_64".to_owned(),
        caller: Caller { uid: 0, capabilities: ALL_CAPABILITIES & !SYS_RESOURCE, has_own_users: false },
        features: FEATURES.iter().map(|rule| (rule.feature, Outcome::Works)).collect(),
        landlock_abi: 7,
        control_groups: ControlGroups {
            version: CgroupVersion::Hybrid,
            controllers: names("blkio cpu cpuacct memory pids"),
            problem: None,
            counts_swap: Some(false),
            has_swap: false,
        },
        settings: map(&[
            ("dev.tty.legacy_tiocsti", "0"),
            ("fs.nr_open", "1048576"),
            ("kernel.core_pattern", "core"),
            ("kernel.dmesg_restrict", "1"),
            ("kernel.io_uring_disabled", "0"),
            ("kernel.kptr_restrict", "1"),
            ("kernel.perf_event_paranoid", "2"),
            ("kernel.pid_max", "4194304"),
            ("kernel.unprivileged_bpf_disabled", "2"),
            ("user.max_user_namespaces", "96365"),
        ]),
        storage: Storage {
            path: "/var/lib".into(),
            file_system: "ext4".to_owned(),
            free_bytes: 35 << 30,
            files: 16_777_216,
            free_files: 16_247_172,
            fsync_us: Some(850),
        },
        clock_synchronised: Some(true),
        id_overlaps: Vec::new(),
        vulnerabilities: map(&[("meltdown", "Not affected"), ("spectre_v2", "Mitigation: Retpolines")]),
        open_files_max: 1 << 20,
        core_limit_problem: None,
        init: "init".to_owned(),
        unit: None,
        listen: Some(Listen {
            address: "127.0.0.1:6443".to_owned(),
            is_served: false,
            outcome: Outcome::Works,
        }),
        runtimes: Vec::new(),
        device_specs: DeviceSpecs::default(),
    }
}

fn fails(facts: &mut Facts, features: &[Feature], cause: &str) {
    facts.features.extend(features.iter().map(|feature| (*feature, Outcome::Fails(cause.to_owned()))));
}

fn printed(report: &Report) -> String {
    let mut text = format!("can serve: {}\n", report.can_serve());
    for check in &report.checks {
        let required = if check.required { "!" } else { "" };
        let _ = writeln!(text, "{:?}{required} {}: {}", check.verdict, check.name, check.found);
        if !check.advice.is_empty() {
            let _ = writeln!(text, "    {}", check.advice);
        }
    }
    text
}

#[test]
fn a_machine_with_hybrid_control_groups() {
    insta::assert_snapshot!(printed(&judge(&hybrid())));
}

#[test]
fn a_service_on_version_2_with_swap_and_devices() {
    let mut facts = hybrid();
    facts.caller.capabilities = ALL_CAPABILITIES;
    facts.control_groups = ControlGroups {
        version: CgroupVersion::V2,
        controllers: ["cpuset", "cpu", "io", "memory", "pids"].map(str::to_owned).into(),
        problem: None,
        counts_swap: Some(true),
        has_swap: true,
    };
    facts
        .settings
        .insert("kernel.core_pattern".to_owned(), "|/usr/lib/systemd/systemd-coredump %P".to_owned());
    facts.settings.insert("kernel.unprivileged_userns_clone".to_owned(), "0".to_owned());
    (facts.init, facts.unit) = ("systemd".to_owned(), Some("watchbell.service".to_owned()));
    facts.runtimes = vec![
        Runtime {
            name: "runc".to_owned(),
            path: "/usr/sbin/runc".into(),
            version: Some("runc version 1.3.3".to_owned()),
            problem: None,
        },
        Runtime {
            name: "runsc".to_owned(),
            path: "/usr/local/bin/runsc".into(),
            version: None,
            problem: Some(
                "runtime runsc: /usr/local/bin/runsc cannot be used: it is not executable".to_owned(),
            ),
        },
    ];
    facts.device_specs.devices.insert("nvidia.com/gpu".to_owned(), 8);
    insta::assert_snapshot!(printed(&judge(&facts)));
}

#[test]
fn an_old_kernel() {
    let mut facts = hybrid();
    facts.kernel = "5.15.0-91-generic".to_owned();
    facts.landlock_abi = 0;
    fails(
        &mut facts,
        &[Feature::Start, Feature::Overlay],
        "cannot mount the overlay of 1 layers: Invalid argument (os error 22); nothing was started",
    );
    insta::assert_snapshot!(printed(&judge(&facts)));
}

/// Debian 12.
#[test]
fn the_oldest_kernel_that_was_tried() {
    let mut facts = hybrid();
    facts.kernel = "6.1.0-50-amd64".to_owned();
    facts.landlock_abi = 2;
    fails(&mut facts, &[Feature::IdmappedMemory, Feature::UnswappedMemory], "Invalid argument (os error 22)");
    assert!(judge(&facts).can_serve());
    insta::assert_snapshot!(printed(&judge(&facts)));
}

#[test]
fn a_container_without_privileges() {
    let mut facts = hybrid();
    // Docker's default set.
    facts.caller = Caller { uid: 0, capabilities: 0xa804_25fb, has_own_users: false };
    let refused = "Operation not permitted (os error 1)";
    let all: Vec<Feature> = FEATURES.iter().map(|rule| rule.feature).collect();
    let works = [
        Feature::Seccomp,
        Feature::SeccompNotification,
        Feature::Openat2,
        Feature::CloseRange,
        Feature::SealedProgram,
    ];
    let refused_there: Vec<Feature> = all.into_iter().filter(|feature| !works.contains(feature)).collect();
    fails(&mut facts, &refused_there, refused);
    facts.control_groups.problem = Some("/sys/fs/cgroup: Read-only file system (os error 30)".to_owned());
    facts.storage.file_system = "overlay".to_owned();
    facts.storage.free_bytes = 1 << 30;
    facts.clock_synchronised = None;
    facts.settings.remove("kernel.core_pattern");
    (facts.init, facts.vulnerabilities) = ("sh".to_owned(), BTreeMap::new());
    insta::assert_snapshot!(printed(&judge(&facts)));
}

/// Ubuntu 24.04: user namespaces are root's, and what a user who is not root finds out.
#[test]
fn a_user_where_apparmor_restricts_namespaces() {
    let mut facts = hybrid();
    facts.kernel = "6.8.0-31-generic".to_owned();
    facts.caller = Caller { uid: 1000, capabilities: 0, has_own_users: false };
    let namespaces = [
        Feature::MountNamespaces,
        Feature::PidNamespaces,
        Feature::IpcNamespaces,
        Feature::UtsNamespaces,
        Feature::NetworkNamespaces,
        Feature::CgroupNamespaces,
        Feature::Loopback,
    ];
    fails(&mut facts, &namespaces, "Permission denied (os error 13)");
    for feature in [
        Feature::Start,
        Feature::UserNamespaces,
        Feature::TimeNamespaces,
        Feature::IdmappedMounts,
        Feature::IdmappedMemory,
        Feature::UnswappedMemory,
        Feature::Overlay,
        Feature::Devices,
    ] {
        facts.features.insert(feature, Outcome::NotTried("needs root".to_owned()));
    }
    facts.settings.insert("kernel.apparmor_restrict_unprivileged_userns".to_owned(), "1".to_owned());
    facts.settings.insert("kernel.core_pattern".to_owned(), "|/usr/share/apport/apport -p%p".to_owned());
    facts.init = "systemd".to_owned();
    facts.core_limit_problem = Some("Operation not permitted (os error 1)".to_owned());
    facts.control_groups.problem =
        Some("/sys/fs/cgroup/user.slice: Permission denied (os error 13)".to_owned());
    let report = judge(&facts);
    let missing: Vec<&str> =
        report.checks.iter().filter(|c| c.verdict == Verdict::Missing).map(|c| c.name).collect();
    assert_eq!(missing, ["root"], "what root could do is not known");
    insta::assert_snapshot!(printed(&report));
}

/// Whatever is required keeps `serve` from starting, when it is missing and when it is not known; nothing else does.
#[test]
fn each_required_thing_alone_refuses() {
    assert!(judge(&hybrid()).can_serve());
    for rule in FEATURES {
        for outcome in [Some(Outcome::Fails("no".to_owned())), Some(Outcome::NotTried("no".to_owned())), None]
        {
            let mut facts = hybrid();
            match outcome {
                Some(outcome) => facts.features.insert(rule.feature, outcome),
                None => facts.features.remove(&rule.feature),
            };
            let report = judge(&facts);
            let refused: Vec<&str> = report.refusals().map(|check| check.name).collect();
            let is_required = rule.without == super::Without::NothingStarts;
            assert_eq!(refused, if is_required { vec![rule.name] } else { vec![] }, "{}", rule.name);
        }
    }
    let check = |name: &str, change: &dyn Fn(&mut Facts)| {
        let mut facts = hybrid();
        change(&mut facts);
        let report = judge(&facts);
        assert_eq!(report.refusals().map(|c| c.name).collect::<Vec<_>>(), [name]);
        assert!(report.refusals().all(|c| !c.advice.is_empty() && !c.purpose.is_empty()));
    };
    check("kernel", &|f| f.kernel = "6.0.19".to_owned());
    check("kernel", &|f| f.kernel = "what".to_owned());
    check("root", &|f| f.caller.uid = 1);
    check("root", &|f| f.caller.has_own_users = true);
    check("root", &|f| f.caller.capabilities &= !(1 << 25));
    check("control-groups", &|f| f.control_groups.controllers.retain(|c| c != "pids"));
    check("id-ranges", &|f| f.id_overlaps.push("ada has 1342177280 in /etc/passwd".to_owned()));
    check("listen", &|f| {
        f.listen.as_mut().unwrap().outcome = Outcome::Fails("Address already in use".to_owned());
    });
}

#[test]
fn what_is_only_weaker_refuses_nothing() {
    let check = |name: &str, verdict: Verdict, change: &dyn Fn(&mut Facts)| {
        let mut facts = hybrid();
        change(&mut facts);
        let report = judge(&facts);
        let found = report.checks.iter().find(|check| check.name == name).unwrap();
        assert_eq!((found.verdict, report.can_serve()), (verdict, true), "{name}: {}", found.found);
    };
    let pattern = |text: &'static str| {
        move |f: &mut Facts| {
            f.settings.insert("kernel.core_pattern".to_owned(), text.to_owned());
        }
    };
    check("core-handler", Verdict::Ok, &pattern("|/usr/bin/handler"));
    check("core-handler", Verdict::Weaker, &pattern("@/run/handler.sock"));
    check("core-handler", Verdict::Weaker, &|f| {
        pattern("|/usr/bin/handler")(f);
        f.core_limit_problem = Some("Operation not permitted (os error 1)".to_owned());
    });
    check("swap-accounting", Verdict::Weaker, &|f| f.control_groups.has_swap = true);
    check("landlock", Verdict::Weaker, &|f| f.landlock_abi = 0);
    check("landlock", Verdict::Weaker, &|f| f.landlock_abi = 5);
    check("landlock", Verdict::Ok, &|f| f.landlock_abi = 6);
    check("fsync", Verdict::Weaker, &|f| f.storage.fsync_us = Some(80_000));
    check("fsync", Verdict::Unknown, &|f| f.storage.fsync_us = None);
    check("space", Verdict::Weaker, &|f| f.storage.free_bytes = 1 << 20);
    check("space", Verdict::Weaker, &|f| f.storage.free_files = 10);
    check("space", Verdict::Ok, &|f| (f.storage.files, f.storage.free_files) = (0, 0));
    check("clock", Verdict::Weaker, &|f| f.clock_synchronised = Some(false));
    check("processor", Verdict::Weaker, &|f| {
        f.vulnerabilities
            .insert("mds".to_owned(), "Mitigation: Clear CPU buffers; SMT vulnerable".to_owned());
    });
    check("open-files", Verdict::Weaker, &|f| f.open_files_max = 1024);
    check("devices", Verdict::Weaker, &|f| f.device_specs.problems.push("/etc/cdi/x.yaml: bad".to_owned()));
    check("listen", Verdict::Ok, &|f| {
        *f.listen.as_mut().unwrap() = Listen {
            address: "127.0.0.1:6443".to_owned(),
            is_served: true,
            outcome: Outcome::Fails("Address already in use".to_owned()),
        };
    });
}
