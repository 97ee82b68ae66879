//! What an image offers to whoever gets in: shells, and programs that run with more rights than whoever starts them. One answer for
//! the report and for policies.

use std::collections::HashSet;

use crate::layers::{Capabilities, FileId, FileKind, Node, Tree};

/// Programs that read commands from whoever talks to them, as they are called. One under a name of its own is not found.
const SHELLS: [&str; 22] = [
    "sh", "ash", "bash", "busybox", "csh", "dash", "elvish", "fish", "ksh", "ksh93", "lksh", "loksh", "mksh",
    "nu", "oksh", "pdksh", "pwsh", "rbash", "tcsh", "toybox", "yash", "zsh",
];
/// What distributions put behind such a name.
const OF_SHELLS: [&str; 4] = [".distrib", ".static", "-static", ".real"];

const SETUID_OR_SETGID: u32 = 0o6000;
const MAY_RUN: u32 = 0o111;

/// The shells, wherever they lie, each file once: by its own name where that is a shell's, else by the link that gives it one.
pub fn shells(tree: &Tree) -> impl Iterator<Item = (String, &Node)> {
    let mut seen: HashSet<FileId> = HashSet::new();
    tree.iter().filter(|(path, _)| is_shell(file_name(path))).filter_map(move |(path, node)| {
        let (real, node) = match node.kind {
            FileKind::Symlink { .. } => tree.resolve(path)?,
            _ => (path.to_owned(), node),
        };
        let is_program = node.kind == FileKind::File && node.mode & MAY_RUN != 0;
        if !is_program || !seen.insert(node.id) {
            return None;
        }
        Some((if is_shell(file_name(&real)) { real } else { path.to_owned() }, node))
    })
}

/// Programs that run as their file's owner (set-user-ID) or group (set-group-ID), or with capabilities of their file.
pub fn privileged(tree: &Tree) -> impl Iterator<Item = (&str, &Node)> {
    tree.iter().filter(|(_, node)| is_privileged(node))
}

pub(crate) fn is_privileged(node: &Node) -> bool {
    let gives_rights = node.mode & SETUID_OR_SETGID != 0 || node.capabilities == Capabilities::Some;
    node.kind == FileKind::File && node.mode & MAY_RUN != 0 && gives_rights
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// `bash`, `bash5.2`, `zsh-5.9`, `busybox.static`.
fn is_shell(name: &str) -> bool {
    let is_version = |rest: &str| rest.trim_start_matches('-').starts_with(|c: char| c.is_ascii_digit());
    SHELLS.iter().any(|shell| {
        name.strip_prefix(shell)
            .is_some_and(|rest| rest.is_empty() || OF_SHELLS.contains(&rest) || is_version(rest))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Interest, Want, read_layers};
    use crate::testing::{Tar, image};

    fn tree(layer: Tar) -> Tree {
        let nothing = Interest { wants: &|_| Want::Nothing, takes: &|_, _| {} };
        read_layers(&image(vec![layer]).content, &[nothing], 1).unwrap()
    }

    #[test]
    fn shells_are_known_by_their_names() {
        for shell in ["sh", "bash", "bash5.2", "zsh-5.9", "busybox.static", "sh.distrib", "mksh-static"] {
            assert!(is_shell(shell), "{shell}");
        }
        for other in ["ssh", "shred", "fish_indent", "bash-completion", "num", "shell", "shasum"] {
            assert!(!is_shell(other), "{other}");
        }
    }

    #[test]
    fn shells_are_found_wherever_they_lie() {
        let tree = tree(
            Tar::default()
                .program("busybox/busybox", 0o755, "x")
                .symlink("busybox/sh", "busybox")
                .program("opt/tool/bin/bash", 0o755, "x")
                .program("opt/pwsh", 0o755, "x")
                .program("opt/renamed", 0o755, "x")
                .symlink("bin/sh", "/opt/renamed")
                .symlink("bin/dash", "nowhere")
                .program("usr/share/zsh", 0o644, "data")
                .symlink("bin/zsh", "../usr/share/zsh")
                .dir("usr/lib/bash"),
        );
        let found: Vec<String> = shells(&tree).map(|(path, _)| path).collect();
        assert_eq!(found, ["bin/sh", "busybox/busybox", "opt/pwsh", "opt/tool/bin/bash"]);
    }

    #[test]
    fn programs_with_rights_of_their_own() {
        let mut layer = Tar::default()
            .program("bin/group", 0o2755, "x")
            .program("bin/owner", 0o4755, "x")
            .program("bin/plain", 0o755, "x")
            .program("bin/no-program", 0o4644, "x");
        for (path, mode) in [("bin/capable", 0o755), ("bin/capable-data", 0o644)] {
            layer = layer.capable(path, mode);
        }
        let tree = tree(layer);
        let found: Vec<&str> = privileged(&tree).map(|(path, _)| path).collect();
        assert_eq!(found, ["bin/capable", "bin/group", "bin/owner"]);
    }
}
