//! Tests that need a process of their own run this binary again, with the name of the child's part and its directory.

use std::path::{Path, PathBuf};
use std::process::Command;

const DIR: &str = "WATCHBELL_STORE_CHILD_DIR";

/// The command that runs `part`, a test of this binary, as a child on `dir`.
pub(crate) fn child(part: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this binary has a path"));
    command.args(arguments(part)).env(DIR, dir);
    command
}

/// The same behind `sh -ec script`, which ends with `exec "$@"`.
pub(crate) fn child_of_shell(wrapper: &[&str], script: &str, part: &str, dir: &Path) -> Command {
    let mut command = Command::new(wrapper.first().unwrap_or(&"sh"));
    if let Some((_, rest)) = wrapper.split_first() {
        command.args(rest).arg("sh");
    }
    let exe = std::env::current_exe().expect("this binary has a path");
    command.args(["-ec", script, "sh"]).arg(exe).args(arguments(part)).env(DIR, dir);
    command
}

fn arguments(part: &str) -> [&str; 4] {
    [part, "--exact", "--nocapture", "--test-threads=1"]
}

/// In a child: its directory. `None` in an ordinary run, where the part has nothing to do.
pub(crate) fn dir_of_child() -> Option<PathBuf> {
    std::env::var_os(DIR).map(PathBuf::from)
}
