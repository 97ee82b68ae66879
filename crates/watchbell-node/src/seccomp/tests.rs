use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use watchbell_sandbox::{Capabilities, SeccompBase, SeccompProfile};

use super::{Asker, BYTES_MAX, SeccompProfiles};

/// In a namespace without a Pod Security level, and in one that has one.
const STRICT: Asker = Asker { is_labelled: false, capabilities: Capabilities::NONE, no_new_privs: true };
const LABELLED: Asker = Asker { is_labelled: true, ..STRICT };

fn allows(names: &[&str]) -> Value {
    let names: Vec<&str> = names.iter().copied().chain(["execve"]).collect();
    json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}]})
}

struct Place {
    dir: tempfile::TempDir,
    profiles: SeccompProfiles,
}

impl Place {
    fn new(may_widen: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("seccomp")).unwrap();
        let profiles = SeccompProfiles::of(dir.path().join("seccomp"), may_widen);
        Self { dir, profiles }
    }

    fn path(&self) -> &Path {
        &self.profiles.dir
    }

    fn put(&self, name: &str, text: impl ToString) {
        std::fs::create_dir_all(self.path().join(name).parent().unwrap()).unwrap();
        std::fs::write(self.path().join(name), text.to_string()).unwrap();
    }

    fn read(&self, name: &str, asker: &Asker) -> Result<Arc<SeccompProfile>, String> {
        self.profiles.read(name, asker)
    }

    #[track_caller]
    fn refused(&self, name: &str, asker: &Asker, part: &str) {
        let why = self.read(name, asker).unwrap_err();
        assert!(why.contains(part), "{why}");
    }
}

#[test]
fn only_plain_files_of_root_below_the_directory_are_read() {
    let place = Place::new(false);
    let small = allows(&["read"]);
    std::fs::write(place.dir.path().join("outside.json"), small.to_string()).unwrap();
    place.put("small.json", &small);
    place.put("team/small.json", &small);
    assert!(place.read("small.json", &STRICT).is_ok() && place.read("team/small.json", &STRICT).is_ok());
    for name in ["../outside.json", "team/../../outside.json", "../../../../../../../etc/passwd"] {
        place.refused(name, &STRICT, "it leads out of the directory");
    }
    let absolute = place.dir.path().join("outside.json");
    place.refused(absolute.to_str().unwrap(), &STRICT, "it leads out of the directory");
    // Links, in any part of the way, even to what could be named itself.
    symlink("../outside.json", place.path().join("link.json")).unwrap();
    symlink("/etc", place.path().join("etc")).unwrap();
    symlink("team", place.path().join("crew")).unwrap();
    for name in ["link.json", "etc/passwd", "crew/small.json"] {
        place.refused(name, &STRICT, "a symbolic link stands on its way");
    }
    place.refused("none.json", &STRICT, "there is no such file");
    place.refused("team", &STRICT, "it is no regular file");
    place.refused("a\0b", &STRICT, "it cannot be opened");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        place.path().join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from(0o600),
        0,
    )
    .unwrap();
    place.refused("pipe", &STRICT, "it is no regular file");
    std::fs::set_permissions(place.path().join("small.json"), Permissions::from_mode(0o666)).unwrap();
    place.refused("small.json", &STRICT, "others than root may write to it");
    std::fs::set_permissions(place.path(), Permissions::from_mode(0o777)).unwrap();
    place.refused("team/small.json", &STRICT, "is not root's alone to write");
}

#[test]
fn a_file_is_bounded_and_read_again_when_it_changes() {
    let place = Place::new(false);
    place.put("a.json", allows(&["read"]));
    let first = place.read("a.json", &STRICT).unwrap();
    assert!(Arc::ptr_eq(&first, &place.read("a.json", &STRICT).unwrap()));
    place.put("b.json", allows(&["read", "write"]));
    std::fs::rename(place.path().join("b.json"), place.path().join("a.json")).unwrap();
    assert_eq!(place.read("a.json", &STRICT).unwrap().rules.len(), 3);
    place.put("a.json", "{");
    place.refused("a.json", &STRICT, "EOF while parsing");
    let text = allows(&["read"]).to_string();
    let padding = usize::try_from(BYTES_MAX).unwrap() - text.len();
    place.put("a.json", format!("{text}{}", " ".repeat(padding)));
    assert!(place.read("a.json", &STRICT).is_ok());
    place.put("a.json", format!("{text}{}", " ".repeat(padding + 1)));
    place.refused("a.json", &STRICT, "larger than 262144 bytes");
}

#[test]
fn more_than_the_default_needs_the_namespace_and_root() {
    let wider = allows(&["read", "ptrace", "perf_event_open"]);
    let check = |may_widen: bool, asker: &Asker, expect: Result<SeccompBase, &str>| {
        let place = Place::new(may_widen);
        place.put("p", &wider);
        match expect {
            Ok(base) => assert_eq!(place.read("p", asker).unwrap().base, base),
            Err(part) => {
                place.refused(
                    "p",
                    asker,
                    "it allows perf_event_open, ptrace, which the default filter refuses",
                );
                place.refused("p", asker, part);
            }
        }
    };
    check(false, &STRICT, Err("has to carry the label pod-security.kubernetes.io/enforce"));
    check(true, &STRICT, Err("has to carry the label pod-security.kubernetes.io/enforce"));
    check(false, &LABELLED, Err("root has to start the server with --allow-wider-seccomp"));
    check(true, &LABELLED, Ok(SeccompBase::Floor));

    let place = Place::new(true);
    place.put("never", allows(&["kexec_load", "ptrace"]));
    place.refused("never", &LABELLED, "it allows kexec_load, which no profile may");
    place.put("audit", json!({"defaultAction": "SCMP_ACT_LOG"}));
    place.refused("audit", &STRICT, "calls more, which the default filter refuses");
    assert_eq!(place.read("audit", &LABELLED).unwrap().base, SeccompBase::Floor);
    place.put("narrow", allows(&["read"]));
    assert_eq!(place.read("narrow", &STRICT).unwrap().base, SeccompBase::Default);
}

#[test]
fn a_container_that_may_gain_privileges_needs_capset() {
    let place = Place::new(false);
    let gains = Asker { no_new_privs: false, ..LABELLED };
    place.put("p", allows(&["read"]));
    place.refused("p", &gains, "needs capset");
    place.put("p", allows(&["read", "capset"]));
    assert!(place.read("p", &gains).is_ok());
}
