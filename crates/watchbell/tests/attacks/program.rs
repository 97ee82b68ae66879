//! The attacking program: built once a test, packed as an image, run in a Job or on the host.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::stand::{Stand, run};

/// The outcome of each attempt, by its number and name.
pub(crate) type Outcomes = BTreeMap<(u8, String), String>;

pub(crate) struct Program(PathBuf);

impl Program {
    /// Builds the program, and with it the image `attack:1`, in which also lie traps for whoever starts it.
    pub(crate) fn build(stand: &Stand) -> Program {
        let tree = stand.path("tree");
        for dir in ["dev", "tmp"] {
            std::fs::create_dir_all(tree.join(dir)).unwrap();
        }
        let path = tree.join("attack");
        let mut cc = Command::new("cc");
        cc.args(["-static", "-O1", "-w", "-o"]).arg(&path);
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attacks/program");
        for part in ["attack.c", "exhaust.c", "files.c", "kernel.c"] {
            cc.arg(sources.join(part));
        }
        run(cc, "").ok();
        let suid = tree.join("suid");
        std::fs::copy(&path, &suid).unwrap();
        std::fs::set_permissions(&suid, PermissionsExt::from_mode(0o4755)).unwrap();
        // Where a runtime looks for what it covers others with, and writes a console's settings (CVE-2025-31133,
        // CVE-2025-52565).
        symlink("/proc/sys/kernel/core_pattern", tree.join("dev/null")).unwrap();
        symlink("/proc/sys/kernel/core_pattern", tree.join("dev/console")).unwrap();
        build_tree(stand, "attack:1", &tree);
        Program(path)
    }

    /// As root on the host, without a container.
    pub(crate) fn control(&self, args: &[&str]) -> String {
        run(self.control_command(args), "").ok()
    }

    pub(crate) fn control_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.0);
        command.arg("control").args(args);
        command
    }
}

/// A server with the image in its store.
pub(crate) fn stand_with_program(serve: &[&str]) -> (Stand, Program) {
    let mut program = None;
    let stand = Stand::prepared(|stand| {
        program = Some(Program::build(stand));
        serve.iter().map(ToString::to_string).collect()
    });
    (stand, program.unwrap())
}

/// Puts an image with the content of a directory into the store.
pub(crate) fn build_tree(stand: &Stand, name: &str, tree: &Path) {
    let (data, copy) = (stand.data().display().to_string(), format!("{}:/", tree.display()));
    stand.watchbell(&["image", "build", name, "--data-dir", &data, "--copy", &copy]).ok();
}

/// Reads what `attack calls` printed.
pub(crate) fn outcomes(text: &str) -> Outcomes {
    let mut lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.pop(), Some("end"), "it did not come to its end: {text}");
    let mut found = Outcomes::new();
    for line in lines {
        let [number, name, outcome] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line:?}") };
        let old = found.insert((number.parse().unwrap(), name.to_owned()), outcome.to_owned());
        assert!(old.is_none(), "twice: {line}");
    }
    found
}

/// A Job of one container of the image. `pod` and `container` are more fields of theirs, in YAML's flow form.
pub(crate) fn job(name: &str, args: &[&str], pod: &str, container: &str) -> String {
    let args = serde_json::to_string(args).unwrap();
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}}}\nspec:\n  backoffLimit: 0\n  template:\n    spec: \
         {{restartPolicy: Never, {pod} containers: [{{name: main, image: 'attack:1', imagePullPolicy: Never, command: \
         [/attack], args: {args}, {container}}}]}}\n"
    )
}

/// Runs a Job to its end; what it printed.
#[track_caller]
pub(crate) fn printed(stand: &mut Stand, namespace: &str, name: &str, manifest: &str) -> String {
    stand.watchbell_with(&["apply", "-n", namespace, "-f", "-"], manifest).ok();
    let ended = stand.finished(namespace, name);
    let log = stand.watchbell(&["logs", "-n", namespace, &format!("job/{name}")]);
    assert!(crate::stand::condition(&ended, "Complete"), "{}{}\n{ended}", log.out, log.err);
    log.ok()
}
