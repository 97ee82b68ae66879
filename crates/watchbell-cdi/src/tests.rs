//! Specs good, bad and hostile.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use crate::read::parse;
use crate::{Found, HandOut, Link, NodeKind, Policy, QualifiedName, Registry, State, kind_is_resource};

/// A spec of devices that are harmless and on every machine.
const SPEC: &str = r#"
cdiVersion: 0.7.0
kind: vendor.com/toy
containerEdits:
  env: [TOY=yes]
  deviceNodes:
    - {path: /dev/toyctl, hostPath: /dev/zero}
devices:
  - name: "0"
    containerEdits:
      env: [TOY_0=1]
      deviceNodes: [{path: /dev/toy0, hostPath: /dev/null}]
  - name: serial-zero
    containerEdits:
      env: [TOY_0=1]
      deviceNodes: [{path: /dev/toy0, hostPath: /dev/null}]
  - name: "1"
    containerEdits:
      deviceNodes: [{path: /dev/toy1, hostPath: /dev/full, permissions: r, fileMode: 0660, gid: 44}]
      additionalGids: [44, 0]
  - name: pair
    containerEdits:
      deviceNodes: [{path: /dev/toy0, hostPath: /dev/null}, {path: /dev/toy1, hostPath: /dev/full}]
  - name: all
    containerEdits:
      deviceNodes: [{path: /dev/toy0, hostPath: /dev/null}]
"#;

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let place = Place { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(place.path("low")).unwrap();
        fs::create_dir(place.path("high")).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        path
    }

    fn dirs(&self) -> Vec<PathBuf> {
        vec![self.path("low"), self.path("high")]
    }

    fn load(&self) -> Registry {
        Registry::load(&self.dirs(), &Policy::default())
    }
}

fn name(text: &str) -> QualifiedName {
    QualifiedName::parse(text).unwrap()
}

fn hand_out(registry: &Registry, names: &[&str]) -> Result<HandOut, String> {
    registry.hand_out(&names.iter().map(|n| name(n)).collect::<Vec<_>>())
}

/// One device with these edits, in YAML's flow style, handed out.
fn device(version: &str, edits: &str) -> Result<HandOut, String> {
    device_by(version, edits, &Policy::default())
}

fn device_by(version: &str, edits: &str, policy: &Policy) -> Result<HandOut, String> {
    let place = Place::new();
    let text =
        format!("cdiVersion: {version}\nkind: a.com/b\ndevices: [{{name: d, containerEdits: {edits}}}]\n");
    place.write("low/a.yaml", &text);
    let registry = Registry::load(&place.dirs(), policy);
    match registry.problems() {
        [] => hand_out(&registry, &["a.com/b=d"]),
        [problem, ..] => Err(problem.reason.clone()),
    }
}

#[track_caller]
fn refused(result: Result<impl std::fmt::Debug, String>, why: &str) {
    let error = result.unwrap_err();
    assert!(error.contains(why), "{error:?} does not say {why:?}");
}

#[test]
fn devices_are_counted_once_whatever_they_are_called() {
    let place = Place::new();
    place.write("low/toy.yaml", SPEC);
    let registry = place.load();
    assert_eq!(registry.problems(), []);
    assert_eq!(registry.pools()["vendor.com/toy"], ["0", "1"]);
    let states: Vec<(String, State)> =
        registry.found().into_iter().map(|Found { name, state, .. }| (name.name, state)).collect();
    assert_eq!(
        states,
        [
            ("0".to_owned(), State::Usable),
            ("1".to_owned(), State::Usable),
            ("all".to_owned(), State::Several),
            ("pair".to_owned(), State::Several),
            ("serial-zero".to_owned(), State::Alias(name("vendor.com/toy=0"))),
        ]
    );
}

#[test]
fn edits_of_the_spec_come_once_and_before_those_of_its_devices() {
    let place = Place::new();
    place.write("low/toy.yaml", SPEC);
    let out = hand_out(&place.load(), &["vendor.com/toy=0", "vendor.com/toy=1"]).unwrap();
    assert_eq!(out.env, [("TOY".into(), "yes".into()), ("TOY_0".into(), "1".into())]);
    let nodes: Vec<_> =
        out.nodes.iter().map(|n| (n.path.to_str().unwrap(), n.major, n.minor, n.mode, n.gid)).collect();
    let expected = [
        ("/dev/toyctl", 1, 5, 0o666, None),
        ("/dev/toy0", 1, 3, 0o666, None),
        ("/dev/toy1", 1, 7, 0o440, Some(44)),
    ];
    assert_eq!(nodes, expected);
    assert!(out.nodes.iter().all(|n| n.kind == NodeKind::Character));
    assert_eq!(out.gids, [44]);
    refused(hand_out(&place.load(), &["vendor.com/toy=2"]), "in no CDI spec");
    // By no other name is a device to be had that somebody may hold.
    refused(hand_out(&place.load(), &["vendor.com/toy=serial-zero"]), "another name of vendor.com/toy=0");
    refused(hand_out(&place.load(), &["vendor.com/toy=all"]), "several others");
    refused(hand_out(&place.load(), &["vendor.com/toy=pair"]), "several others");
}

#[test]
fn a_later_directory_wins_and_a_name_that_stands_twice_in_one_is_nobody() {
    let place = Place::new();
    let spec = |env: &str| {
        format!(
            "cdiVersion: 0.3.0\nkind: a.com/b\ndevices: [{{name: d, containerEdits: {{env: [WHO={env}]}}}}]"
        )
    };
    place.write("low/a.json", &spec("low"));
    assert_eq!(hand_out(&place.load(), &["a.com/b=d"]).unwrap().env[0].1, "low");
    place.write("high/b.yaml", &spec("high"));
    assert_eq!(hand_out(&place.load(), &["a.com/b=d"]).unwrap().env[0].1, "high");
    place.write("high/c.yaml", &spec("other"));
    let registry = place.load();
    refused(hand_out(&registry, &["a.com/b=d"]), "in no CDI spec");
    assert!(registry.problems()[0].reason.contains("neither is used"), "{:?}", registry.problems());
    // Only these endings are specs.
    fs::rename(place.path("high/c.yaml"), place.path("high/c.yml")).unwrap();
    assert_eq!(hand_out(&place.load(), &["a.com/b=d"]).unwrap().env[0].1, "high");
}

#[test]
fn a_change_of_any_file_shows_and_nothing_else_does() {
    let place = Place::new();
    let check = |change: &dyn Fn()| {
        let registry = place.load();
        assert!(registry.is_current(&place.dirs()));
        change();
        assert!(!registry.is_current(&place.dirs()));
    };
    check(&|| drop(place.write("low/toy.yaml", SPEC)));
    check(&|| drop(place.write("low/toy.yaml", &SPEC.replace("yes", "no"))));
    check(&|| fs::set_permissions(place.path("low/toy.yaml"), fs::Permissions::from_mode(0o600)).unwrap());
    check(&|| fs::rename(place.path("low/toy.yaml"), place.path("high/toy.yaml")).unwrap());
    check(&|| fs::remove_file(place.path("high/toy.yaml")).unwrap());
    let registry = place.load();
    fs::write(place.path("low/readme"), "").unwrap();
    assert!(registry.is_current(&place.dirs()));
}

#[test]
fn only_files_that_root_alone_can_write_are_read() {
    let place = Place::new();
    let path = place.write("low/toy.yaml", SPEC);
    let check = |why: &str| {
        let registry = place.load();
        assert!(registry.pools().is_empty(), "{why}");
        let reason = &registry.problems()[0].reason;
        assert!(reason.contains(why), "{reason:?} does not say {why:?}");
    };
    let mode = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    for wrong in [0o664, 0o646] {
        mode(&path, wrong);
        check("others than root may write");
    }
    mode(&path, 0o644);
    chown(&path, Some(1000), None).unwrap();
    check("belongs to user 1000");
    chown(&path, Some(0), None).unwrap();
    let dir = place.path("low");
    for wrong in [0o775, 0o757, 0o1777] {
        mode(&dir, wrong);
        check("others than root may write");
    }
    mode(&dir, 0o755);
    chown(&dir, Some(1000), None).unwrap();
    check("belongs to user 1000");
    chown(&dir, Some(0), None).unwrap();
    assert_eq!(place.load().problems(), []);
    // A directory on the way, which somebody else could swap.
    mode(place.dir.path(), 0o777);
    check("others than root may write");
    mode(place.dir.path(), 0o700);
    assert_eq!(place.load().pools().len(), 1);
}

#[test]
fn links_are_followed_where_only_root_could_have_put_them() {
    let place = Place::new();
    let path = place.write("toy", SPEC);
    symlink("../toy", place.path("low/toy.yaml")).unwrap();
    assert_eq!(place.load().pools().len(), 1);
    // What it leads to must be root's too, and so must the link.
    chown(&path, Some(1000), None).unwrap();
    assert!(place.load().problems()[0].reason.contains("belongs to user 1000"));
    chown(&path, Some(0), None).unwrap();
    std::os::unix::fs::lchown(place.path("low/toy.yaml"), Some(1000), None).unwrap();
    assert!(place.load().problems()[0].reason.contains("belongs to user 1000"));
    // In a circle, to nothing, to what is no file.
    for target in ["toy.yaml", "../nothing", "/dev/null", "../high"] {
        fs::remove_file(place.path("low/toy.yaml")).unwrap();
        symlink(target, place.path("low/toy.yaml")).unwrap();
        assert_eq!(place.load().problems().len(), 1, "{target}");
    }
    // A directory of specs may be a link as well: /var/run is one.
    fs::remove_file(place.path("low/toy.yaml")).unwrap();
    fs::remove_dir(place.path("low")).unwrap();
    place.write("high/toy.yaml", SPEC);
    symlink("high", place.path("low")).unwrap();
    assert_eq!(place.load().pools().len(), 1);
}

#[test]
fn a_services_directory_gives_what_lies_there_and_leads_nowhere() {
    let place = Place::new();
    fs::create_dir(place.path("service")).unwrap();
    place.write("service/socket", "");
    place.write("secret", "");
    symlink("../secret", place.path("service/link")).unwrap();
    chown(place.path("service"), Some(1000), None).unwrap();
    let text = |name: &str| {
        let source = place.path("service").join(name);
        format!("{{mounts: [{{hostPath: {}, containerPath: /x}}]}}", source.display())
    };
    assert!(device("0.7.0", &text("socket")).is_ok());
    refused(device("0.7.0", &text("link")), "a link in a directory that others than root may write to");
    // Neither a spec nor a hook may lie there.
    assert!(crate::open_root_owned(&place.path("service/socket")).is_err());
}

#[test]
fn what_is_no_spec_is_refused_with_the_reason() {
    let check = |text: &str, why: &str| refused(parse(text.as_bytes()), why);
    let spec = |version: &str, kind: &str, name: &str, edits: &str| {
        format!(
            "{{\"cdiVersion\": \"{version}\", \"kind\": \"{kind}\", \"devices\": [{{\"name\": \"{name}\", \"containerEdits\": {edits}}}]}}"
        )
    };
    let env = r#"{"env": ["A=b"]}"#;
    assert!(parse(spec("0.3.0", "vendor.com/class", "dev1", env).as_bytes()).is_ok());
    assert!(parse(spec("v1.1.0", "vendor.com/class", "0:1", env).as_bytes()).is_ok());
    for (version, kind, name, edits, why) in [
        ("0.2.0", "a.com/b", "d", env, "is not one of"),
        ("1.2.0", "a.com/b", "d", env, "is not one of"),
        ("0.4.0", "a.com/b", "0", env, "begins with a digit, which needs 0.5.0"),
        ("0.5.0", "a.com/b.c", "d", env, "needs 0.6.0"),
        (
            "0.4.0",
            "a.com/b",
            "d",
            r#"{"deviceNodes": [{"path": "/dev/x", "hostPath": "/dev/y"}]}"#,
            "needs 0.5.0",
        ),
        (
            "0.3.0",
            "a.com/b",
            "d",
            r#"{"mounts": [{"hostPath": "/a", "containerPath": "/b", "type": "bind"}]}"#,
            "needs 0.4.0",
        ),
        ("0.6.0", "a.com/b", "d", r#"{"additionalGids": [5]}"#, "needs 0.7.0"),
        ("0.6.0", "a.com/b", "d", r#"{"intelRdt": {"closID": "x"}}"#, "needs 0.7.0"),
        (
            "1.0.0",
            "a.com/b",
            "d",
            r#"{"netDevices": [{"hostInterfaceName": "a", "name": "b"}]}"#,
            "needs 1.1.0",
        ),
        ("1.0.0", "a.com/b", "d", r#"{"intelRdt": {"enableMonitoring": true}}"#, "needs 1.1.0"),
        ("1.1.0", "a.com", "d", env, "is not vendor.com/class"),
        ("1.1.0", "/b", "d", env, "is empty"),
        ("1.1.0", "1a.com/b", "d", env, "begins with '1'"),
        ("1.1.0", "a.com/b-", "d", env, "ends with '-'"),
        ("1.1.0", "a.com/b/c", "d", env, "holds '/'"),
        ("1.1.0", "a.com/b", "../d", env, "begins with '.'"),
        ("1.1.0", "a.com/b", "d=e", env, "holds '='"),
        ("1.1.0", "a.com/b", "", env, "is empty"),
        ("1.1.0", "a.com/b", "d", "{}", "containerEdits is empty"),
        ("1.1.0", "a.com/b", "d", r#"{"env": ["A"]}"#, "is not NAME=value"),
        ("1.1.0", "a.com/b", "d", r#"{"env": ["=b"]}"#, "is not NAME=value"),
        ("1.1.0", "a.com/b", "d", r#"{"env": ["A=\u0000"]}"#, "NUL"),
        ("1.1.0", "a.com/b", "d", r#"{"surprise": 1}"#, "unknown field"),
        ("1.1.0", "a.com/b", "d", r#"{"deviceNodes": [{"path": ""}]}"#, "is empty"),
        (
            "1.1.0",
            "a.com/b",
            "d",
            r#"{"deviceNodes": [{"path": "/dev/x", "type": "x"}]}"#,
            "none of b, c, u, p",
        ),
        (
            "1.1.0",
            "a.com/b",
            "d",
            r#"{"deviceNodes": [{"path": "/dev/x", "major": -1}]}"#,
            "no device number",
        ),
        (
            "1.1.0",
            "a.com/b",
            "d",
            r#"{"deviceNodes": [{"path": "/dev/x", "permissions": "rx"}]}"#,
            "not of r, w, m",
        ),
        (
            "1.1.0",
            "a.com/b",
            "d",
            r#"{"deviceNodes": [{"path": "/dev/x", "fileMode": 2541}]}"#,
            "permission bits",
        ),
        ("1.1.0", "a.com/b", "d", r#"{"hooks": [{"hookName": "later", "path": "/x"}]}"#, "none of prestart"),
        ("1.1.0", "a.com/b", "d", r#"{"hooks": [{"hookName": "prestart", "path": ""}]}"#, "path is empty"),
        (
            "1.1.0",
            "a.com/b",
            "d",
            r#"{"hooks": [{"hookName": "prestart", "path": "/x", "timeout": 0}]}"#,
            "above 0",
        ),
        ("1.1.0", "a.com/b", "d", r#"{"mounts": [{"hostPath": "", "containerPath": "/x"}]}"#, "is empty"),
        ("1.1.0", "a.com/b", "d", r#"{"intelRdt": {"closID": "../x"}}"#, "no file name"),
    ] {
        check(&spec(version, kind, name, edits), why);
    }
    check("", "exactly one document");
    check("a: 1\n---\nb: 2\n", "exactly one document");
    check("[]", "struct Spec");
    check("{\"cdiVersion\": \"1.1.0\", \"kind\": \"a.com/b\", \"devices\": []}", "devices is empty");
    check(&SPEC.replace("serial-zero", "pair"), "stands there twice");
    check(&SPEC.replace("kind:", "kind: a.com/b\nkind:"), "duplicate");
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n";
    assert!(parse(bomb.as_bytes()).is_err());
    let many = (0..1025)
        .map(|i| format!("{{name: d{i}, containerEdits: {{env: [A=b]}}}}"))
        .collect::<Vec<_>>()
        .join(",");
    check(&format!("cdiVersion: 1.1.0\nkind: a.com/b\ndevices: [{many}]"), "more than 1024");
    let place = Place::new();
    place.write("low/big.yaml", &"#".repeat((1 << 20) + 1));
    assert!(place.load().problems()[0].reason.contains("larger than"));
}

#[test]
fn a_device_that_cannot_be_handed_out_whole_is_not_handed_out() {
    for (edits, why) in [
        ("{netDevices: [{hostInterfaceName: eth0, name: eth0}]}", "interfaces of the host"),
        ("{intelRdt: {closID: x}}", "intelRdt"),
        ("{deviceNodes: [{path: /etc/passwd, hostPath: /dev/null}]}", "not lie below /dev"),
        ("{deviceNodes: [{path: /dev, hostPath: /dev/null}]}", "no plain path"),
        ("{deviceNodes: [{path: /dev/../etc/x, hostPath: /dev/null}]}", "no plain path"),
        ("{deviceNodes: [{path: /dev/null, hostPath: /dev/zero}]}", "one of its own"),
        ("{deviceNodes: [{path: /dev/pts/0, hostPath: /dev/zero}]}", "one of its own"),
        ("{deviceNodes: [{path: /dev/gone-for-good}]}", "/dev/gone-for-good: "),
        ("{deviceNodes: [{path: /dev/x, hostPath: /etc/passwd}]}", "no device"),
        ("{deviceNodes: [{path: /dev/x, hostPath: /dev/null, type: b}]}", "another type of device"),
        ("{deviceNodes: [{path: /dev/x, hostPath: relative}]}", "not an absolute path"),
        ("{deviceNodes: [{path: /dev/x, hostPath: /dev/null, uid: 65536}]}", "beyond a container's ids"),
        ("{mounts: [{hostPath: /etc/hostname, containerPath: /x, type: tmpfs}]}", "not served"),
        ("{mounts: [{hostPath: /etc/hostname, containerPath: /x, options: [rw]}]}", "asks to be writable"),
        ("{mounts: [{hostPath: /etc/hostname, containerPath: /x, options: [shared]}]}", "not served"),
        ("{mounts: [{hostPath: /etc/hostname, containerPath: /proc/x}]}", "nothing is put below /proc"),
        ("{mounts: [{hostPath: /etc/hostname, containerPath: /dev/x}]}", "nothing is put below /dev"),
        ("{mounts: [{hostPath: /etc/hostname, containerPath: /a/../b}]}", "without '..'"),
        ("{mounts: [{hostPath: /etc/hostname, containerPath: /}]}", "no absolute path"),
        ("{mounts: [{hostPath: /not/there, containerPath: /x}]}", "/not"),
        ("{additionalGids: [70000]}", "beyond a container's ids"),
        ("{hooks: [{hookName: createRuntime, path: /bin/true}]}", "--cdi-allow-hook /bin/true"),
        (
            "{hooks: [{hookName: createContainer, path: /usr/bin/nvidia-ctk, args: [nvidia-ctk, runtime]}]}",
            "--cdi-allow-hook",
        ),
    ] {
        refused(device("1.1.0", edits), why);
    }
    // It is there for people, and counts as none.
    let place = Place::new();
    place.write("low/a.yaml", "cdiVersion: 1.1.0\nkind: a.com/b\ndevices: [{name: d, containerEdits: {deviceNodes: [{path: /dev/gone}]}}]");
    let registry = place.load();
    assert!(matches!(&registry.found()[0].state, State::Unusable(why) if why.contains("/dev/gone")));
    assert_eq!(registry.pools()["a.com/b"], Vec::<String>::new());
    // A number makes a look at the host unnecessary.
    let out =
        device("1.1.0", "{deviceNodes: [{path: /dev/made, type: b, major: 7, minor: 0, permissions: none}]}")
            .unwrap();
    assert_eq!((out.nodes[0].kind, out.nodes[0].major, out.nodes[0].mode), (NodeKind::Block, 7, 0));
}

#[test]
fn hooks_run_only_from_roots_list() {
    let place = Place::new();
    let hook = place.write("hook", "#!/bin/sh\n");
    let text = |stage: &str| {
        format!(
            "{{hooks: [{{hookName: {stage}, path: {}, args: [hook, x], env: [A=b], timeout: 900}}]}}",
            hook.display()
        )
    };
    let policy = Policy { hooks: vec![hook.clone()] };
    refused(device_by("1.1.0", &text("createRuntime"), &policy), "no executable file");
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let out = device_by("1.1.0", &text("createRuntime"), &policy).unwrap();
    assert_eq!(out.hooks.len(), 1);
    assert_eq!(out.hooks[0].timeout_seconds, 120, "bounded");
    assert_eq!(out.hooks[0].args, ["hook", "x"]);
    for stage in ["createContainer", "startContainer", "poststart", "poststop"] {
        refused(device_by("1.1.0", &text(stage), &policy), "only hooks before");
    }
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o775)).unwrap();
    refused(device_by("1.1.0", &text("prestart"), &policy), "others than root may write");
    // By the path that root wrote, not by what it leads to.
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    symlink(&hook, place.path("other")).unwrap();
    let other = text("prestart").replace(hook.to_str().unwrap(), place.path("other").to_str().unwrap());
    refused(device_by("1.1.0", &other, &policy), "--cdi-allow-hook");
}

#[test]
fn the_work_of_nvidias_hooks_is_done_without_them() {
    let hook = |args: &str| {
        format!(
            "{{hooks: [{{hookName: createContainer, path: /usr/bin/nvidia-cdi-hook, args: [nvidia-cdi-hook, {args}]}}]}}"
        )
    };
    let out = device(
        "0.7.0",
        &hook("create-symlinks, --link, libcuda.so.1::/usr/lib/libcuda.so, --link=../x::/usr/lib/gbm/y"),
    )
    .unwrap();
    let link = |path: &str, target: &str| Link { path: path.into(), target: target.into() };
    assert_eq!(out.links, [link("/usr/lib/libcuda.so", "libcuda.so.1"), link("/usr/lib/gbm/y", "../x")]);
    let older = "{hooks: [{hookName: createContainer, path: /usr/bin/nvidia-ctk, args: [nvidia-ctk, hook, update-ldcache, --folder, /usr/lib64]}]}";
    assert_eq!(device("0.3.0", older).unwrap().library_dirs, ["/usr/lib64"]);
    for done in [
        "chmod, --mode, \"755\", --path, /dev/dri",
        "disable-device-node-modification",
        "enable-cuda-compat, --host-driver-version=550",
    ] {
        assert_eq!(device("0.7.0", &hook(done)).map(|out| out.hooks), Ok(Vec::new()), "{done}");
    }
    for (wrong, why) in [
        ("create-symlinks, --link, a", "is not target::/path"),
        ("create-symlinks, --link, \"a::b\"", "is not target::/path"),
        ("create-symlinks, --link, \"a::/proc/x\"", "nothing is put below /proc"),
        ("create-symlinks, --link, \"a::/x/../y\"", "without '..'"),
        ("create-symlinks, --link", "lacks its value"),
        ("create-symlinks, --force, x", "not understood"),
        ("update-ldcache, --folder, \"/a:/b\"", "no absolute path"),
        ("chmod, --mode, \"777\", --path, /dev/dri", "not done"),
        ("chmod, --mode, \"755\", --path, /etc", "not done"),
        ("something-new", "--cdi-allow-hook"),
    ] {
        refused(device("0.7.0", &hook(wrong)), why);
    }
}

/// The form that NVIDIA's tool writes, for one whole GPU and one that is cut in two.
#[test]
fn a_spec_as_nvidias_tool_writes_it() {
    let place = Place::new();
    fs::create_dir(place.path("dev")).unwrap();
    for name in ["nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "cap21", "cap22", "cap30", "cap31"] {
        let (kind, mode) = (rustix::fs::FileType::CharacterDevice, rustix::fs::Mode::from(0o666));
        rustix::fs::mknodat(
            rustix::fs::CWD,
            place.path("dev").join(name),
            kind,
            mode,
            rustix::fs::makedev(1, 3),
        )
        .unwrap();
    }
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let libc =
        maps.lines().filter_map(|l| l.split_whitespace().nth(5)).find(|p| p.contains("libc.so")).unwrap();
    fs::copy(libc, place.path("libcuda.so.550.54.15")).unwrap();
    let dir = place.dir.path().display().to_string();
    let node = |name: &str| {
        let inside =
            if name.starts_with("cap") { format!("nvidia-caps/nvidia-{name}") } else { name.to_owned() };
        format!("    - path: /dev/{inside}\n      hostPath: {dir}/dev/{name}\n")
    };
    let device = |name: &str, nodes: &[&str]| {
        let nodes: String = nodes.iter().map(|name| node(name)).collect();
        format!("- name: \"{name}\"\n  containerEdits:\n    deviceNodes:\n{nodes}")
    };
    let hook = |args: &[&str]| {
        let args: String = args.iter().map(|arg| format!("    - {arg}\n")).collect();
        format!(
            "  - hookName: createContainer\n    path: /usr/bin/nvidia-cdi-hook\n    args:\n    - nvidia-cdi-hook\n{args}    env:\n    - NVIDIA_CTK_DEBUG=false\n"
        )
    };
    let lib = "/usr/lib/x86_64-linux-gnu";
    let text = [
        "---\ncdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices:\n".to_owned(),
        device("1", &["nvidia1"]),
        device("0:0", &["nvidia0", "cap21", "cap22"]),
        device("0:1", &["nvidia0", "cap30", "cap31"]),
        device("GPU-9f0f", &["nvidia1"]),
        device("MIG-77a1", &["nvidia0", "cap21", "cap22"]),
        device("MIG-77a2", &["nvidia0", "cap30", "cap31"]),
        device("all", &["nvidia0", "cap21", "cap22", "cap30", "cap31", "nvidia1"]),
        "containerEdits:\n  env:\n  - NVIDIA_VISIBLE_DEVICES=void\n  deviceNodes:\n".to_owned(),
        node("nvidiactl"),
        node("nvidia-uvm"),
        "  hooks:\n".to_owned(),
        hook(&["create-symlinks", "--link", &format!("libcuda.so.1::{lib}/libcuda.so")]),
        hook(&["enable-cuda-compat", "--host-driver-version=550.54.15"]),
        hook(&["update-ldcache", "--folder", lib]),
        hook(&["disable-device-node-modification"]),
        format!(
            "  mounts:\n  - hostPath: {dir}/libcuda.so.550.54.15\n    containerPath: {lib}/libcuda.so.550.54.15\n    options:\n    - ro\n    - nosuid\n    - nodev\n    - rbind\n    - rprivate\n"
        ),
    ];
    place.write("low/nvidia.yaml", &text.concat());
    let registry = place.load();
    assert_eq!(registry.problems(), []);
    assert_eq!(registry.pools()["nvidia.com/gpu"], ["0:0", "0:1", "1"]);
    let out = hand_out(&registry, &["nvidia.com/gpu=0:1"]).unwrap();
    assert_eq!(out.env, [("NVIDIA_VISIBLE_DEVICES".into(), "void".into())]);
    let nodes: Vec<&str> = out.nodes.iter().filter_map(|node| node.path.to_str()).collect();
    let expected =
        ["nvidiactl", "nvidia-uvm", "nvidia0", "nvidia-caps/nvidia-cap30", "nvidia-caps/nvidia-cap31"];
    assert_eq!(nodes, expected.map(|name| format!("/dev/{name}")));
    assert_eq!((out.hooks.len(), out.library_dirs), (0, vec![lib.to_owned()]));
    // The library of this test is called so inside.
    let links: Vec<&str> = out.links.iter().map(|link| link.path.rsplit('/').next().unwrap()).collect();
    assert_eq!(links, ["libcuda.so", "libc.so.6"]);
}

#[test]
fn libraries_are_linked_by_their_soname() {
    let place = Place::new();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let libc =
        maps.lines().filter_map(|l| l.split_whitespace().nth(5)).find(|p| p.contains("libc.so")).unwrap();
    let library = place.path("libtoy.so.5.5");
    fs::copy(libc, &library).unwrap();
    let edits = format!(
        "{{mounts: [{{hostPath: {}, containerPath: /opt/lib/libtoy.so.5.5, options: [ro, nosuid, nodev, bind]}}],
          hooks: [{{hookName: createContainer, path: /usr/bin/nvidia-cdi-hook, args: [nvidia-cdi-hook, update-ldcache, --folder, /opt/lib]}}]}}",
        library.display()
    );
    let out = device("0.7.0", &edits).unwrap();
    assert_eq!(out.links, [Link { path: "/opt/lib/libc.so.6".into(), target: "libtoy.so.5.5".into() }]);
    assert_eq!(
        device("0.7.0", &edits.replace("--folder, /opt/lib", "--folder, /opt/other")).unwrap().links,
        []
    );
}

#[test]
fn kinds_that_kubernetes_can_ask_for() {
    for (kind, expect) in [
        ("nvidia.com/gpu", true),
        ("nvidia.com/mig-1g.10gb", true),
        ("Vendor.com/gpu", false),
        ("vendor_x.com/gpu", false),
        ("gpu.kubernetes.io/x", false),
    ] {
        assert_eq!(kind_is_resource(kind), expect, "{kind}");
    }
    assert!(QualifiedName::parse("nvidia.com/gpu").is_err());
    assert_eq!(name("nvidia.com/gpu=0:1").to_string(), "nvidia.com/gpu=0:1");
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn no_damage_to_a_spec_makes_the_reader_panic(at in 0..SPEC.len(), byte: u8) {
        let mut bytes = SPEC.as_bytes().to_vec();
        bytes[at] = byte;
        let _ = parse(&bytes);
    }
}
