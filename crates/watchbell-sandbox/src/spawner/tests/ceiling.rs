use std::path::Path;
use std::sync::Arc;

use super::machine::{environment, spec};
use crate::spawner::ceiling::Guard;
use crate::{
    Capabilities, Ceiling, OciRuntime, PodEnvironment, PodVolume, ProcMount, RunSpec, Seccomp, SeccompAction,
    SeccompBase, SeccompProfile, VolumeSource,
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
