//! Devices by CDI: harmless ones, made for each test below its own directory.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::PathBuf;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use watchbell_sandbox::{
    Capabilities, Ceiling, DeviceCeiling, Extras, RunSpec, SpawnerOptions, StartFailureKind,
};

use crate::Outcome;
use crate::place::{Failure, Place, Server, script, wait_for_end};
use crate::probe::printed;
use crate::runtimes::installed;

/// A machine with two toy devices, which are `/dev/full` by another name and belong to root and a group.
struct Lab {
    place: Place,
}

impl Lab {
    fn new() -> Result<Lab, Failure> {
        let lab = Lab { place: Place::new()? };
        fs::create_dir(lab.path("cdi"))?;
        for i in 0..2 {
            let node = lab.path(&format!("node{i}"));
            mknodat(CWD, &node, FileType::CharacterDevice, Mode::from(0o660), makedev(1, 7))?;
            fs::set_permissions(&node, fs::Permissions::from_mode(0o660))?;
            chown(&node, Some(0), Some(44))?;
        }
        fs::create_dir_all(lab.path("driver"))?;
        fs::write(lab.path("driver/version"), "550.54\n")?;
        Ok(lab)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Two devices, each with these edits besides its node.
    fn write(&self, edits: &str) -> Result<(), Failure> {
        let dir = self.place.path().display();
        let device = |i: u8| {
            format!(
                "- {{name: \"{i}\", containerEdits: {{env: [TOY={i}], deviceNodes: [{{path: /dev/toys/{i}, hostPath: {dir}/node{i}, fileMode: 0660}}]}}}}\n"
            )
        };
        let text = format!(
            "cdiVersion: 0.7.0\nkind: vendor.com/toy\ncontainerEdits: {{{edits}}}\ndevices:\n{}{}",
            device(0),
            device(1)
        );
        Ok(fs::write(self.path("cdi/toy.yaml"), text)?)
    }

    fn connect(&self) -> Result<Server, Failure> {
        let hook = self.path("hook");
        let devices = DeviceCeiling { cdi_dirs: vec![self.path("cdi")], cdi_hooks: vec![hook] };
        let ceiling = Ceiling { devices, runtimes: installed(), ..Ceiling::default() };
        self.place.connect_with(&SpawnerOptions { ceiling, ..self.place.options() })
    }

    fn hook(&self, text: &str) -> Result<(), Failure> {
        fs::write(self.path("hook"), format!("#!/bin/sh\n{text}\n"))?;
        Ok(fs::set_permissions(self.path("hook"), fs::Permissions::from_mode(0o755))?)
    }

    /// `sh -c text` with these devices.
    fn run(&self, uid: u128, devices: &[&str], text: &str) -> RunSpec {
        let devices = devices.iter().map(|name| format!("vendor.com/toy={name}")).collect();
        RunSpec { extras: Extras { devices, ..Extras::default() }, ..script(&self.place, uid, text) }
    }

    #[track_caller]
    fn refused(&self, server: &Server, spec: &RunSpec, why: &str) -> Outcome {
        server.spawner.start(spec)?;
        let failure = server.failure(spec.id)?;
        assert!(failure.message.contains(why), "{:?} does not say {why:?}", failure.message);
        server.spawner.acknowledge(spec.id)?;
        Ok(server.spawner.release_pod(spec.pod.uid)?)
    }
}

pub(crate) fn a_device_is_handed_out() -> Outcome {
    let lab = Lab::new()?;
    let dir = lab.place.path().display();
    lab.write(&format!(
        "env: [PATH=/bin, ALL=yes], additionalGids: [44, 7],
         mounts: [{{hostPath: {dir}/driver, containerPath: /opt/driver/lib, options: [ro, nosuid, nodev, bind]}}],
         hooks: [{{hookName: createContainer, path: /usr/bin/nvidia-cdi-hook, args: [nvidia-cdi-hook, create-symlinks, --link, \"version::/opt/driver/lib-link\", --link, \"x::/opt/toy.so\", --link, \"y::/alias/toy.so\"]}},
                 {{hookName: createContainer, path: /usr/bin/nvidia-cdi-hook, args: [nvidia-cdi-hook, update-ldcache, --folder, /opt/driver/lib]}}]"
    ))?;
    fs::create_dir_all(lab.path("layer/usr/real"))?;
    symlink("usr/real", lab.path("layer/alias"))?;
    let server = lab.connect()?;
    let before = fs::metadata(lab.path("node0"))?;
    // Neither the other device nor a change of this one; nobody is root here.
    let text = "echo $TOY $ALL $LD_LIBRARY_PATH
        while read -r name value; do [ \"$name\" = Groups: ] && echo groups $value; done < /proc/self/status
        echo $(cat /opt/driver/lib/version 2>&1 > /dev/toys/0)
        read -r version < /opt/driver/lib/version; echo $version
        [ -L /opt/toy.so ] && echo linked
        [ -L /usr/real/toy.so ] && echo linked where the image leads
        [ -e /dev/toys/1 ] || echo alone
        echo $( (echo x > /opt/driver/lib/version) 2>&1)
        echo null > /dev/null && echo usual";
    let mut spec = lab.run(1, &["0"], text);
    spec.env.push(("LD_LIBRARY_PATH".to_owned(), "/own".to_owned()));
    let lines = printed(&lab.place, &server, &spec)?;
    let expected = [
        "0 yes /own:/opt/driver/lib",
        "groups 7 44",
        // It is really the device.
        "cat: write error: No space left on device",
        "550.54",
        "linked",
        "linked where the image leads",
        "alone",
        "/bin/sh: 8: cannot create /opt/driver/lib/version: Read-only file system",
        "usual",
    ];
    assert_eq!(lines, expected);
    let both = lab.run(
        2,
        &["0", "1"],
        "cat /opt/driver/lib/version 2>&1 > /dev/toys/1; echo $TOY; [ -w /dev/toys/0 ] && echo both",
    );
    let lines = printed(&lab.place, &server, &both)?;
    assert_eq!(lines, ["cat: write error: No space left on device", "1", "both"]);
    // The next task of the same range has nothing of it.
    // Nor does what an image says of itself give anything.
    let mut none = lab.run(3, &[], "[ -e /dev/toys ] || echo gone; echo $TOY");
    none.env.push(("NVIDIA_VISIBLE_DEVICES".to_owned(), "all".to_owned()));
    assert_eq!(printed(&lab.place, &server, &none)?, ["gone", ""]);
    let after = fs::metadata(lab.path("node0"))?;
    assert_eq!(
        (before.uid(), before.gid(), before.mode(), before.ctime_nsec()),
        (after.uid(), after.gid(), after.mode(), after.ctime_nsec())
    );
    Ok(())
}

pub(crate) fn a_runtime_hands_out_devices_too() -> Outcome {
    let lab = Lab::new()?;
    let dir = lab.place.path().display();
    lab.write(&format!(
        "additionalGids: [44], mounts: [{{hostPath: {dir}/driver, containerPath: /opt/driver/lib}}],
         hooks: [{{hookName: createContainer, path: /usr/bin/nvidia-cdi-hook, args: [nvidia-cdi-hook, create-symlinks, --link, \"x::/opt/toy.so\"]}}]"
    ))?;
    let server = lab.connect()?;
    for (n, runtime) in installed().into_iter().enumerate() {
        let text = "echo $TOY
            cat /opt/driver/lib/version 2>&1 > /dev/toys/1
            [ -L /opt/toy.so ] && echo linked
            [ -e /dev/toys/0 ] || echo alone
            echo null > /dev/null && echo usual";
        let mut spec = lab.run(n as u128 + 1, &["1"], text);
        spec.extras.runtime = Some(runtime.name.clone());
        let lines = printed(&lab.place, &server, &spec).map_err(|e| format!("{}: {e}", runtime.name))?;
        let expected = ["1", "cat: write error: No space left on device", "linked", "alone", "usual"];
        assert_eq!(lines, expected, "{}", runtime.name);
    }
    Ok(())
}

pub(crate) fn only_what_root_described_is_handed_out() -> Outcome {
    let lab = Lab::new()?;
    lab.write("")?;
    let server = lab.connect()?;
    lab.refused(&server, &lab.run(1, &["9"], "true"), "vendor.com/toy=9 is in no CDI spec")?;
    assert!(server.spawner.start(&lab.run(2, &["../x"], "true")).is_err());
    // What is written later is known at once; what is gone, too.
    fs::rename(lab.path("cdi/toy.yaml"), lab.path("toy.yaml"))?;
    lab.refused(&server, &lab.run(3, &["0"], "true"), "is in no CDI spec")?;
    fs::rename(lab.path("toy.yaml"), lab.path("cdi/toy.yaml"))?;
    printed(&lab.place, &server, &lab.run(4, &["0"], "true"))?;
    fs::remove_file(lab.path("node0"))?;
    lab.refused(&server, &lab.run(5, &["0"], "true"), "node0")?;
    printed(&lab.place, &server, &lab.run(6, &["1"], "true"))?;
    fs::set_permissions(lab.path("cdi"), fs::Permissions::from_mode(0o777))?;
    lab.refused(&server, &lab.run(7, &["1"], "true"), "is in no CDI spec")?;
    fs::set_permissions(lab.path("cdi"), fs::Permissions::from_mode(0o755))?;
    lab.write("hooks: [{hookName: createRuntime, path: /bin/true}]")?;
    lab.refused(&server, &lab.run(8, &["1"], "true"), "--cdi-allow-hook /bin/true")?;
    // A server cannot bring its own: another spawner without directories hands out nothing.
    drop(server);
    lab.place.wait_for_spawner_end()?;
    let server = lab.place.connect()?;
    let refused = server.spawner.start(&lab.run(9, &["1"], "true"));
    let told = refused.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(told.contains("they need --cdi-dir"), "{told}");
    Ok(())
}

pub(crate) fn a_device_is_never_with_two_pods() -> Outcome {
    let lab = Lab::new()?;
    lab.write("")?;
    let server = lab.connect()?;
    let mut first = lab.run(1, &["0"], "while :; do read -r x < /dev/toys/0; done");
    first.id.container = 1;
    server.spawner.start(&first)?;
    server.started(first.id)?;
    lab.refused(&server, &lab.run(2, &["1", "0"], "true"), "vendor.com/toy=0 is held by pod test/pod-1")?;
    printed(&lab.place, &server, &lab.run(3, &["1"], "true"))?;
    server.spawner.kill_pod(1)?;
    server.exit(first.id)?;
    printed(&lab.place, &server, &lab.run(4, &["0"], "true")).map(drop)
}

pub(crate) fn fewer_permissions_hold() -> Outcome {
    let lab = Lab::new()?;
    let dir = lab.place.path().display();
    let node = |name: &str, rest: &str| format!("{{path: /dev/{name}, hostPath: {dir}/node0, {rest}}}");
    let nodes = [
        node("read", "permissions: r"),
        node("none", "permissions: none"),
        node("root", "uid: 0, gid: 0, fileMode: 0600"),
    ];
    lab.write(&format!("deviceNodes: [{}]", nodes.join(", ")))?;
    let server = lab.connect()?;
    let text =
        "for n in read none root; do [ -r /dev/$n ] && echo $n r; [ -w /dev/$n ] && echo $n w; done; exit 0";
    assert_eq!(printed(&lab.place, &server, &lab.run(1, &["0"], text))?, ["read r"]);
    // Nor can it be changed.
    let chmod = lab.run(2, &["0"], "echo x > /dev/read || echo refused");
    assert!(printed(&lab.place, &server, &chmod)?.contains(&"refused".to_owned()));
    let mut root = lab.run(3, &["0"], "true");
    (root.uid, root.capabilities) = (0, Capabilities::RUNTIME_DEFAULT);
    lab.refused(&server, &root, "DAC_OVERRIDE")
}

pub(crate) fn hooks_of_roots_list_run_before_the_container() -> Outcome {
    let lab = Lab::new()?;
    let dir = lab.place.path().display().to_string();
    let hook = |timeout: u32| {
        format!(
            "hooks: [{{hookName: createRuntime, path: {dir}/hook, args: [hook, \"{dir}\"], env: [WORD=said], timeout: {timeout}}}]"
        )
    };
    lab.write(&hook(30))?;
    lab.hook("read -r state; echo \"$state\" > $1/state; /usr/bin/env > $1/env; /usr/bin/id -u > $1/id")?;
    let server = lab.connect()?;
    let spec = lab.run(7, &["0"], "true");
    printed(&lab.place, &server, &spec)?;
    let state: serde_json::Value = serde_json::from_str(&fs::read_to_string(lab.path("state"))?)?;
    assert_eq!(state["status"], "creating");
    assert_eq!(state["id"], format!("{:032x}-0-0", 7));
    assert_eq!(fs::read_to_string(lab.path("id"))?, "0\n");
    let env = fs::read_to_string(lab.path("env"))?;
    let names: Vec<&str> = env.lines().filter_map(|line| line.split('=').next()).collect();
    let of_shell = ["PWD", "OLDPWD", "SHLVL", "_"];
    assert_eq!(names.iter().filter(|name| !of_shell.contains(name)).collect::<Vec<_>>(), [&"WORD"], "{env}");
    // One that fails is the start's failure, and nothing was started.
    lab.hook("echo wrong >&2; exit 3")?;
    lab.refused(&server, &lab.run(8, &["0"], "true"), "it ended with exit code 3")?;
    let log = fs::read_to_string(lab.path("run/spawner.log"))?;
    assert!(log.lines().any(|line| line == "wrong"), "{log}");
    // One that others may write to is not run.
    fs::set_permissions(lab.path("hook"), fs::Permissions::from_mode(0o757))?;
    lab.refused(&server, &lab.run(9, &["0"], "true"), "others than root may write")?;
    // One that hangs is ended with all it started.
    lab.hook("sleep 600 & exec sleep 600")?;
    lab.write(&hook(1))?;
    lab.refused(&server, &lab.run(10, &["0"], "true"), "it did not end within 1 seconds")
}

pub(crate) fn a_start_is_cancelled_while_its_hook_runs() -> Outcome {
    let lab = Lab::new()?;
    let dir = lab.place.path().display().to_string();
    lab.write(&format!("hooks: [{{hookName: prestart, path: {dir}/hook, args: [hook, \"{dir}/fifo\"]}}]"))?;
    mknodat(CWD, lab.path("fifo"), FileType::Fifo, Mode::from(0o600), 0)?;
    lab.hook("echo $$ > $1; exec sleep 600")?;
    let server = lab.connect()?;
    let spec = lab.run(1, &["0"], "true");
    server.spawner.start(&spec)?;
    let mut pid = String::new();
    fs::File::open(lab.path("fifo"))?.read_to_string(&mut pid)?;
    let pid = rustix::process::Pid::from_raw(pid.trim().parse()?).ok_or("pid 0")?;
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
    // It holds its device already, and the spawner serves others meanwhile.
    lab.refused(&server, &lab.run(2, &["0"], "true"), "is held by pod test/pod-1")?;
    printed(&lab.place, &server, &lab.run(3, &[], "true"))?;
    server.spawner.signal(spec.id, 15)?;
    assert_eq!(server.failure(spec.id)?.kind, StartFailureKind::Cancelled);
    wait_for_end(&pidfd)?;
    lab.hook("exit 0")?;
    printed(&lab.place, &server, &lab.run(4, &["0"], "true")).map(drop)
}
