//! What the pass over the layers keeps for this report.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::elf::{self, Program};
use crate::layers::{FileContent, FileFacts, FileId, FileKind, Want};
use crate::room::Room;

/// Scripts, lists and configurations that are kept, each.
const TEXT_BYTES_MAX: u64 = 4 << 20;
/// The same of all together, with what programs need.
const KEPT_BYTES_MAX: usize = 64 << 20;
/// Of a script only its commands count.
const SCRIPT_BYTES_MAX: u64 = 256 << 10;

/// One interest of the pass.
#[derive(Debug)]
pub struct MinimalityCollector {
    kept: Mutex<Collected>,
    room: Room,
}

impl Default for MinimalityCollector {
    fn default() -> Self {
        Self { kept: Mutex::default(), room: Room::new(KEPT_BYTES_MAX) }
    }
}

/// By file of a layer.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) programs: HashMap<FileId, Program>,
    pub(super) texts: HashMap<FileId, String>,
    /// First lines of executable texts, without `#!`.
    pub(super) interpreters: HashMap<FileId, String>,
    /// Lists that are too large to be read.
    too_large: usize,
}

/// What a file is to this report.
fn is_list(path: &str) -> bool {
    let of_dpkg = path.strip_prefix("var/lib/dpkg/").is_some_and(|rest| {
        rest.strip_prefix("info/").is_some_and(|name| name.ends_with(".list"))
            || rest.strip_prefix("status.d/").is_some_and(|name| name.ends_with(".md5sums"))
    });
    let of_linker = path == "etc/ld.so.conf"
        || (path.starts_with("etc/ld.so.conf.d/") && path.ends_with(".conf"))
        || (path.starts_with("etc/ld-musl-") && path.ends_with(".path"));
    let of_python = path.ends_with(".dist-info/RECORD");
    of_dpkg || of_linker || of_python || path == "lib/apk/db/installed" || path == "usr/lib/apk/db/installed"
}

fn shebang(head: &[u8]) -> Option<&str> {
    const LINE_MAX: usize = 256;
    let rest = head.strip_prefix(b"#!")?;
    let end = rest.iter().take(LINE_MAX).position(|byte| *byte == b'\n').unwrap_or(rest.len().min(LINE_MAX));
    std::str::from_utf8(&rest[..end]).ok().map(str::trim)
}

fn is_shell(interpreter: &str) -> bool {
    let mut words = interpreter.split_whitespace().map(|word| word.rsplit('/').next().unwrap_or(word));
    let first = words.next().unwrap_or_default();
    let name =
        if first == "env" { words.find(|word| !word.starts_with('-')).unwrap_or_default() } else { first };
    matches!(name, "sh" | "bash" | "dash" | "ash" | "ksh" | "zsh")
}

impl MinimalityCollector {
    /// For [`crate::layers::Interest::wants`].
    pub fn wants(&self, facts: &FileFacts<'_>) -> Want {
        if *facts.kind != FileKind::File {
            return Want::Nothing;
        }
        if elf::is_elf(facts.head) {
            return Want::Program;
        }
        if is_list(facts.path) {
            if facts.size <= TEXT_BYTES_MAX {
                return Want::Whole;
            }
            self.kept.lock().unwrap_or_else(PoisonError::into_inner).too_large += 1;
            return Want::Nothing;
        }
        let Some(interpreter) = shebang(facts.head).filter(|_| facts.mode & 0o111 != 0) else {
            return Want::Nothing;
        };
        if self.room.take(size_of::<(FileId, String)>() + interpreter.len()) {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.interpreters.insert(facts.id, interpreter.to_owned());
        }
        if is_shell(interpreter) && facts.size <= SCRIPT_BYTES_MAX { Want::Whole } else { Want::Nothing }
    }

    /// For [`crate::layers::Interest::takes`].
    pub fn takes(&self, facts: &FileFacts<'_>, content: &FileContent) {
        if elf::is_elf(facts.head) {
            // What cannot be read as a program is none that could be started; the catalogue names it as a gap.
            if let Ok(program) = Program::read(content) {
                let program = Program { go: None, auditable: None, ..program };
                if !self.room.take(program.bytes()) {
                    return;
                }
                self.kept.lock().unwrap_or_else(PoisonError::into_inner).programs.insert(facts.id, program);
            }
            return;
        }
        let is_script = shebang(facts.head).is_some_and(is_shell) && facts.mode & 0o111 != 0;
        if !(is_list(facts.path) || is_script) {
            return;
        }
        if let Some(bytes) = content.whole()
            && self.room.take(bytes.len())
        {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.texts.insert(facts.id, String::from_utf8_lossy(bytes).into_owned());
        }
    }

    /// Lists of packages' files, scripts and programs that were too large to be kept: what they say is not in the report.
    pub(crate) fn left_out(&self) -> usize {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).too_large + self.room.left_out()
    }

    pub(super) fn into_collected(self) -> Collected {
        self.kept.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}
