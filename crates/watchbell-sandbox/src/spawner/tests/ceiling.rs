use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::machine::{environment, spec};
use crate::spawner::ceiling::{Guard, shared_ceiling};
use crate::{
    Capabilities, Ceiling, DeviceCeiling, OciRuntime, PodEnvironment, PodVolume, ProcMount, RunSpec, Seccomp,
    SeccompAction, SeccompBase, SeccompProfile, VolumeSource,
};

fn guard(ceiling: Ceiling) -> Guard {
    Guard::new(ceiling, Path::new("/data/run"))
}

fn verdict(ceiling: &Ceiling, change: impl FnOnce(&mut RunSpec, &mut PodEnvironment)) -> bool {
    let (mut spec, mut pod) = (spec(1, 0), environment(1));
    spec.root.layers = vec!["/data/images/layers/a".into()];
    change(&mut spec, &mut pod);
    spec.pod = Arc::new(pod);
    guard(ceiling.clone()).check(&spec).is_ok()
}

/// Refused by the default, allowed by `raise` alone.
fn check(raise: impl FnOnce(&mut Ceiling), change: impl Fn(&mut RunSpec, &mut PodEnvironment)) {
    let mut raised = Ceiling::default();
    raise(&mut raised);
    assert!(!verdict(&Ceiling::default(), &change), "the default allows it");
    assert!(verdict(&raised, &change), "{raised:?} refuses it");
}

#[test]
fn each_allowance_allows_its_own_and_nothing_is_allowed_without() {
    assert!(verdict(&Ceiling::default(), |_, _| {}));
    check(|c| c.privileged = true, |s, _| s.privileged = true);
    check(|c| c.host_users = true, |_, p| p.host_namespaces.users = true);
    check(|c| c.host_network = true, |_, p| p.host_namespaces.network = true);
    check(|c| c.host_pid = true, |_, p| p.host_namespaces.pid = true);
    check(|c| c.host_ipc = true, |_, p| p.host_namespaces.ipc = true);
    check(|c| c.unconfined = true, |s, _| s.seccomp = Seccomp::Unconfined);
    check(|c| c.wider_seccomp = true, |s, _| s.extras.seccomp = Some(Arc::new(profile(SeccompBase::Floor))));
    assert!(
        verdict(&Ceiling::default(), |s, _| s.extras.seccomp = Some(Arc::new(profile(SeccompBase::Default))))
    );
    check(|c| c.unconfined = true, |s, _| s.proc_mount = ProcMount::Unmasked);
    let runtime = OciRuntime { name: "runc".into(), path: "/usr/sbin/runc".into() };
    check(|c| c.runtimes = vec![runtime.clone()], |s, _| s.extras.runtime = Some("runc".into()));
    check(|c| c.host_paths = vec!["/srv".into()], |_, p| p.volumes = vec![host("/srv/data")]);
    check(
        |c| (c.privileged, c.host_users) = (true, true),
        |s, p| (s.capabilities, p.host_namespaces.users) = (Capabilities::ALL, true),
    );
}

fn profile(base: SeccompBase) -> SeccompProfile {
    SeccompProfile { base, default: SeccompAction::Allow, rules: Vec::new(), log: false }
}

fn host(path: &str) -> PodVolume {
    PodVolume { id: 0, source: VolumeSource::HostPath { path: path.into() } }
}

fn dir(path: &str) -> PodVolume {
    PodVolume { id: 0, source: VolumeSource::Dir { path: path.into() } }
}

#[test]
fn paths_stay_below_what_is_allowed() {
    let ceiling = Ceiling { host_paths: vec!["/srv".into(), "/".into()], ..Ceiling::default() };
    let narrow = Ceiling { host_paths: vec!["/srv".into()], ..Ceiling::default() };
    let volume = |ceiling: &Ceiling, volume: PodVolume| verdict(ceiling, |_, p| p.volumes = vec![volume]);
    assert!(volume(&narrow, host("/srv")));
    assert!(!volume(&narrow, host("/srvx")));
    assert!(!volume(&narrow, host("/etc")));
    assert!(volume(&ceiling, host("/etc")));
    // The server's keys and what other pods keep are no paths of the host.
    for path in ["/data/pki", "/data/volumes", "/data/volumes/a", "/data/logs"] {
        assert!(!volume(&ceiling, host(path)), "{path}");
    }
    let moved = Ceiling { data_paths: vec!["/data".into(), "/srv/images".into()], ..narrow.clone() };
    for (path, expect) in [("/srv", false), ("/srv/images/a", false), ("/srv/other", true)] {
        assert_eq!(volume(&moved, host(path)), expect, "{path}");
    }
    // The spawner's own socket and table are nobody's volume, however much is allowed.
    for path in ["/", "/data", "/data/run", "/data/run/spawner.sock"] {
        assert!(!volume(&ceiling, host(path)), "{path}");
        assert!(!volume(&ceiling, dir(path)), "{path}");
    }
    assert!(volume(&narrow, dir("/data/volumes/a")));
    assert!(!volume(&narrow, dir("/var/lib/other")));
    assert!(!verdict(&narrow, |s, _| s.root.layers.push("/usr".into())));
    let moved = Ceiling { data_paths: vec!["/mnt/images".into()], ..Ceiling::default() };
    assert!(!verdict(&moved, |_, _| {}));
    assert!(verdict(&moved, |s, _| s.root.layers = vec!["/mnt/images/a".into()]));
}

#[test]
fn what_a_name_stands_for_is_the_same_for_both() {
    let runtime = |path: &str| OciRuntime { name: "runc".into(), path: path.into() };
    let named = |path: &str| Ceiling { runtimes: vec![runtime(path)], ..Ceiling::default() };
    let by_runc = |s: &mut RunSpec, _: &mut PodEnvironment| s.extras.runtime = Some("runc".into());
    assert!(verdict(&shared_ceiling(named("/a"), &named("/a")), by_runc));
    assert!(!verdict(&shared_ceiling(named("/a"), &named("/b")), by_runc));
    assert!(!verdict(&shared_ceiling(named("/a"), &Ceiling::default()), by_runc));

    let devices = |dirs: &[&str], hooks: &[&str]| {
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect();
        let devices = DeviceCeiling { cdi_dirs: paths(dirs), cdi_hooks: paths(hooks) };
        Ceiling { devices, ..Ceiling::default() }
    };
    let with_device = |s: &mut RunSpec, _: &mut PodEnvironment| s.extras.devices = vec!["a.com/toy=0".into()];
    for (ours, theirs, expect) in [
        (devices(&["/etc/cdi"], &[]), devices(&["/etc/cdi"], &[]), true),
        // The spawner has less, and keeps to it.
        (devices(&["/etc/cdi", "/run/cdi"], &["/h"]), devices(&["/etc/cdi"], &[]), true),
        (devices(&["/etc/cdi"], &[]), devices(&["/etc/cdi", "/run/cdi"], &[]), false),
        (devices(&["/etc/cdi"], &[]), devices(&["/etc/cdi"], &["/h"]), false),
        (devices(&[], &[]), devices(&[], &[]), false),
    ] {
        assert_eq!(verdict(&shared_ceiling(ours, &theirs), with_device), expect, "{theirs:?}");
    }
}
