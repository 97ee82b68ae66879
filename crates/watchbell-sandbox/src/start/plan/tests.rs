use std::fmt::Write as _;
use std::sync::Arc;

use super::{Step, plan, plan_entry};
use crate::{
    Capabilities, HostNamespaces, Layered, LogTarget, Mount, PodEnvironment, PodVolume, ProcMount, RunSpec,
    Scratch, Seccomp, SeccompAction, SeccompBase, SeccompProfile, Sharing, Sys, Upper, VolumeSource,
};

/// What an unlabelled namespace gives to a pod that says nothing.
pub(in crate::start) fn strict() -> RunSpec {
    let scratch = Scratch { bytes: 64 << 20, inodes: 4096 };
    let pod = PodEnvironment {
        name: "ml/train-0".to_owned(),
        hostname: "train-0".to_owned(),
        shm_bytes: 64 << 20,
        ..PodEnvironment::alone(1)
    };
    let argv = ["train", "--secret"].map(str::to_owned).to_vec();
    let log = LogTarget { path: "x".into(), max_bytes: 4096, max_files: 1 };
    let mut spec = RunSpec::strict(Arc::new(pod), "/data/layers/a".into(), argv, log);
    (spec.root.upper, spec.tmp) = (scratch, Some(scratch));
    spec
}

fn printed(spec: &RunSpec) -> String {
    print(&plan(spec))
}

fn print(steps: &[Step]) -> String {
    steps.iter().fold(String::new(), |mut text, step| {
        let _ = writeln!(text, "{step}\n    {}", step.closes());
        text
    })
}

#[test]
fn a_strict_container() {
    insta::assert_snapshot!(printed(&strict()));
}

#[test]
fn a_baseline_container_of_a_shared_pod() {
    let mut spec = strict();
    let pod = Arc::make_mut(&mut spec.pod);
    pod.sharing = Sharing::Shared;
    let source = VolumeSource::Tmpfs { bytes: 1 << 20, inodes: 64, gid: None };
    pod.volumes = vec![PodVolume { id: 4, source }];
    let mount =
        |target: &str| Mount { target: target.to_owned(), volume: 4, sub_path: None, read_only: false };
    // Inner before outer: the plan turns them round.
    spec.mounts = vec![mount("/data/inner"), mount("/data")];
    spec.root.read_only = false;
    (spec.uid, spec.gid, spec.tmp) = (0, 0, None);
    (spec.capabilities, spec.no_new_privs, spec.sys) = (Capabilities::RUNTIME_DEFAULT, false, Sys::ReadOnly);
    insta::assert_snapshot!(printed(&spec));
}

#[test]
fn a_container_with_layered_volumes() {
    let mut spec = strict();
    let volume = |id: u16, upper: Option<Upper>| PodVolume {
        id,
        source: VolumeSource::Layered(Layered { lower: "/data/arrays/v".into(), uid: 1, gid: 1, upper }),
    };
    Arc::make_mut(&mut spec.pod).volumes = vec![
        volume(0, Some(Upper::Memory(Scratch { bytes: 1 << 30, inodes: 4096 }))),
        volume(1, Some(Upper::Disk { path: "/data/volumes/u".into() })),
        volume(2, None),
        volume(
            3,
            Some(Upper::Image {
                path: "/data/volumes/i".into(),
                bound: Scratch { bytes: 1 << 30, inodes: 4096 },
            }),
        ),
    ];
    let mount = |volume: u16| Mount {
        target: format!("/data/{volume}"),
        volume,
        sub_path: None,
        read_only: volume == 2,
    };
    spec.mounts = (0..4).map(mount).collect();
    assert!(spec.check().is_ok());
    insta::assert_snapshot!(printed(&spec));
}

#[test]
fn a_privileged_container_of_the_host() {
    let mut spec = strict();
    let host = HostNamespaces { users: true, network: true, pid: true, ipc: true };
    Arc::make_mut(&mut spec.pod).host_namespaces = host;
    spec.privileged = true;
    insta::assert_snapshot!(printed(&spec));
}

#[test]
fn devices_are_handed_out_before_the_process_has_its_task() {
    let mut spec = strict();
    spec.extras.devices = vec!["vendor.com/toy=0".to_owned()];
    let file = |target: &str| watchbell_cdi::HostMount {
        source: "/usr/lib/libtoy.so".into(),
        target: target.to_owned(),
        no_exec: false,
    };
    spec.extras.handed.mounts = vec![file("/usr/lib/toy/libtoy.so"), file("/usr/lib/toy")];
    let text = printed(&spec);
    let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what} is not in the plan:\n{text}"));
    assert!(at("hand out vendor.com/toy=0 (0 device nodes)") < at("take the task"));
    assert!(
        at("mount a device's file at /usr/lib/toy\n") < at("mount a device's file at /usr/lib/toy/libtoy.so")
    );
    assert!(at("mount a device's file at /usr/lib/toy/libtoy.so") < at("enter the root"));
}

#[test]
fn the_order_holds_whatever_is_asked() {
    for bits in 0..128u32 {
        let has = |bit: u32| bits & (1 << bit) != 0;
        let mut spec = strict();
        let pod = Arc::make_mut(&mut spec.pod);
        pod.sharing = if has(0) { Sharing::Shared } else { Sharing::Single };
        pod.host_namespaces.users = has(1);
        spec.no_new_privs = has(2);
        spec.seccomp = if has(3) { Seccomp::Default } else { Seccomp::Unconfined };
        spec.sys = if has(4) { Sys::ReadOnly } else { Sys::None };
        spec.root.read_only = has(5);
        spec.proc_mount = if has(6) { ProcMount::Unmasked } else { ProcMount::Default };
        let steps = plan(&spec);
        let at = |wanted: fn(&Step) -> bool| steps.iter().position(wanted);
        let order = [
            at(|s| matches!(s, Step::LeaseControlGroup)),
            at(|s| matches!(s, Step::Clone { .. })),
            // A copy of what cloned it, until exec.
            at(|s| matches!(s, Step::HideMemory)),
            at(|s| matches!(s, Step::BecomeRootInside)),
            at(|s| matches!(s, Step::LeaveNamespaces { .. })),
            at(|s| matches!(s, Step::MountProc)),
            at(|s| matches!(s, Step::EnterRoot)),
            at(|s| matches!(s, Step::CloseDescriptors)),
            // After the descriptors are closed (CVE-2024-21626).
            at(|s| matches!(s, Step::EnterDirectory(_))),
            at(|s| matches!(s, Step::DropBoundingSet(_))),
            at(|s| matches!(s, Step::BecomeUser { .. })),
            // A change of user clears it.
            at(|s| matches!(s, Step::DieWithSpawner)),
            at(|s| matches!(s, Step::NoNewPrivileges)),
            at(|s| matches!(s, Step::Filter)),
            at(|s| matches!(s, Step::DropCapabilities(_))),
        ];
        let there: Vec<usize> = order.iter().flatten().copied().collect();
        assert!(there.is_sorted(), "{bits:06b}: {steps:#?}");
        assert_eq!(order[3].is_some(), !has(1), "root inside exactly in a user namespace");
        // On the floor, which nobody else sees, and once.
        let masked = at(|s| matches!(s, Step::MaskProc));
        assert_eq!(masked.is_some(), !has(6));
        let floor = at(|s| matches!(s, Step::LeaveHostMounts { .. }));
        assert!(masked.is_none_or(|at| Some(at) > floor && Some(at) < order[5]), "{steps:#?}");
        assert_eq!((order[12].is_some(), order[13].is_some()), (has(2), has(3)));
        assert!(matches!(steps.last(), Some(Step::Execute(_))));
        assert!(order[2].is_some() && order[5].is_some() && order[14].is_some());
        // Files are restricted exactly where calls are filtered: once the host is out of sight and no more is mounted.
        let restricted = at(|s| matches!(s, Step::RestrictFiles(_)));
        assert_eq!(restricted.is_some(), has(3));
        assert!(restricted.is_none_or(|r| Some(r) > order[6] && Some(r) < order[7]));
    }
}

/// As late as may be, and never without the filter below it.
#[test]
fn a_profile_comes_after_the_filter_and_last_where_it_can() {
    let check = |change: fn(&mut RunSpec), expect: &str| {
        let mut spec = strict();
        spec.extras.seccomp = Some(Arc::new(SeccompProfile {
            base: SeccompBase::Default,
            default: SeccompAction::Errno(1),
            rules: Vec::new(),
            log: false,
        }));
        change(&mut spec);
        for steps in [plan(&spec), plan_entry(&spec, false)] {
            let kinds = steps.iter().filter_map(|step| match step {
                Step::NoNewPrivileges => Some("privileges"),
                Step::Filter => Some("filter"),
                Step::FilterFurther => Some("profile"),
                Step::DropCapabilities(_) => Some("capabilities"),
                Step::Execute(_) => Some("execute"),
                _ => None,
            });
            assert_eq!(kinds.collect::<Vec<_>>().join(" "), expect);
        }
    };
    check(|_| {}, "privileges filter capabilities profile execute");
    check(|spec| spec.no_new_privs = false, "filter profile capabilities execute");
    check(|spec| spec.privileged = true, "capabilities execute");
    let mut spec = strict();
    spec.extras.seccomp = Some(Arc::new(SeccompProfile {
        base: SeccompBase::Default,
        default: SeccompAction::Errno(5000),
        rules: Vec::new(),
        log: false,
    }));
    assert!(spec.check().is_err_and(|e| e.field == "extras.seccomp.rules"));
    spec.seccomp = Seccomp::Unconfined;
    spec.extras.seccomp = spec
        .extras
        .seccomp
        .map(|p| Arc::new(SeccompProfile { default: SeccompAction::Allow, ..(*p).clone() }));
    assert!(spec.check().is_err_and(|e| e.field == "extras.seccomp"));
}

#[test]
fn what_would_cost_the_spawner_itself_is_refused() {
    fn check_refused(change: impl FnOnce(&mut RunSpec), field: &str) {
        let mut spec = strict();
        assert!(spec.check().is_ok());
        change(&mut spec);
        let refused = spec.check().unwrap_err();
        assert!(refused.field.starts_with(field), "{refused}");
    }
    check_refused(|s| s.oom_score_adj = -999, "oom_score_adj");
    let deep = |n: usize| format!("/{n}{}", "/d".repeat(2000));
    check_refused(
        |s| {
            let volume = crate::PodVolume {
                id: 900,
                source: crate::VolumeSource::Tmpfs { bytes: 4096, inodes: 8, gid: None },
            };
            let mut pod = (*s.pod).clone();
            pod.volumes.push(volume);
            s.pod = pod.into();
            s.mounts.extend((0..9).map(|n| crate::Mount {
                target: deep(n),
                volume: 900,
                sub_path: None,
                read_only: false,
            }));
        },
        "mounts",
    );
    check_refused(
        |s| {
            let file = |n: usize| crate::FileEntry {
                path: deep(n).trim_start_matches('/').to_owned(),
                mode: 0o644,
                contents: Vec::new(),
            };
            let source = crate::VolumeSource::Files { entries: (0..40).map(file).collect(), gid: None };
            let mut pod = (*s.pod).clone();
            pod.volumes.push(crate::PodVolume { id: 901, source });
            s.pod = pod.into();
        },
        "pod.volumes[id 901]",
    );
}

#[test]
fn a_process_enters_a_strict_container() {
    insta::assert_snapshot!(print(&plan_entry(&strict(), false)));
}

#[test]
fn a_process_with_a_terminal_enters_a_container_of_the_host() {
    let mut spec = strict();
    let host = HostNamespaces { users: true, network: true, pid: true, ipc: true };
    Arc::make_mut(&mut spec.pod).host_namespaces = host;
    spec.privileged = true;
    insta::assert_snapshot!(print(&plan_entry(&spec, true)));
}

/// Who the process is comes about by the same steps in the same order, whether it is the first or a later one.
#[test]
fn both_plans_end_alike() {
    let check = |spec: &RunSpec| {
        let (first, later) = (plan(spec), plan_entry(spec, spec.interaction.tty));
        let from = |steps: &[Step]| -> Vec<Step> {
            let at = steps.iter().position(|step| matches!(step, Step::EnterDirectory(_))).unwrap_or(0);
            steps[at..].to_vec()
        };
        assert_eq!(from(&first), from(&later));
        assert!(from(&first).len() > 5);
        for steps in [&first, &later] {
            let place = |wanted: fn(&Step) -> bool| steps.iter().position(wanted);
            let closed = place(|s| matches!(s, Step::CloseDescriptors));
            assert!(closed < place(|s| matches!(s, Step::EnterDirectory(_))));
            assert!(place(|s| matches!(s, Step::NewSession)) < place(|s| matches!(s, Step::NewKeyring)));
            if spec.interaction.tty {
                let terminal = place(|s| matches!(s, Step::OpenTerminal));
                assert!(place(|s| matches!(s, Step::NewSession)) < terminal && terminal.is_some());
            }
        }
        // It hides and lets go before it is anywhere where somebody can see it.
        let place = |wanted: fn(&Step) -> bool| later.iter().position(wanted);
        let entered = place(|s| matches!(s, Step::EnterNamespaces(_)));
        assert!(place(|s| matches!(s, Step::HideFromPeers)) < entered);
        assert!(place(|s| matches!(s, Step::CloseDescriptors)) < entered);
        assert!(entered < place(|s| matches!(s, Step::CloneInside)));
    };
    let mut spec = strict();
    check(&spec);
    spec.interaction.tty = true;
    check(&spec);
    spec.no_new_privs = false;
    spec.seccomp = Seccomp::Unconfined;
    check(&spec);
    spec.privileged = true;
    check(&spec);
}

#[test]
fn scopes_follow_what_is_shared() {
    let scope = |change: fn(&mut RunSpec)| {
        let mut spec = strict();
        change(&mut spec);
        plan(&spec).into_iter().find_map(|step| match step {
            Step::RestrictFiles(scope) => Some((scope.abstract_sockets, scope.signals)),
            _ => None,
        })
    };
    assert_eq!(scope(|_| {}), Some((true, true)));
    assert_eq!(scope(|s| Arc::make_mut(&mut s.pod).sharing = Sharing::Shared), Some((false, true)));
    assert_eq!(scope(|s| Arc::make_mut(&mut s.pod).host_namespaces.network = true), Some((true, true)));
    assert_eq!(scope(|s| Arc::make_mut(&mut s.pod).host_namespaces.pid = true), Some((true, false)));
    assert_eq!(scope(|s| s.seccomp = Seccomp::Unconfined), None);
    assert_eq!(scope(|s| s.privileged = true), None);
}
