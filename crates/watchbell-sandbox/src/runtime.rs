//! OCI runtimes that root has named: programs that start containers in place of this one, by the OCI command line.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An OCI runtime, by the name that a RuntimeClass gives as its handler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OciRuntime {
    pub name: String,
    /// Absolute. It runs as root, so nobody but root may be able to change it.
    pub path: PathBuf,
}

/// The handler that means this program's own way to start a container.
pub const OWN_HANDLER: &str = "watchbell";

/// Why something cannot be a runtime.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRuntime {
    #[error("{0:?} is not NAME=/path/of/the/runtime, such as runc=/usr/sbin/runc")]
    Form(String),
    #[error(
        "runtime name {0:?} cannot be the handler of a RuntimeClass: it takes 1 to 63 of a-z, 0-9 and '-', and '-' neither \
         first nor last"
    )]
    Name(String),
    #[error("runtime name {OWN_HANDLER:?} means this program's own sandbox; choose another")]
    Own,
    #[error("runtime {name}: {} cannot be used: {reason}", path.display())]
    Program { name: String, path: PathBuf, reason: String },
}

impl FromStr for OciRuntime {
    type Err = BadRuntime;

    fn from_str(text: &str) -> Result<Self, BadRuntime> {
        let (name, path) = text.split_once('=').ok_or_else(|| BadRuntime::Form(text.to_owned()))?;
        let path = PathBuf::from(path);
        if !path.is_absolute() {
            return Err(BadRuntime::Form(text.to_owned()));
        }
        let is_word = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        let bytes = name.as_bytes();
        let ends_well =
            bytes.first().copied().is_some_and(is_word) && bytes.last().copied().is_some_and(is_word);
        if bytes.len() > 63 || !ends_well || !bytes.iter().all(|c| is_word(*c) || *c == b'-') {
            return Err(BadRuntime::Name(name.to_owned()));
        }
        if name == OWN_HANDLER {
            return Err(BadRuntime::Own);
        }
        Ok(Self { name: name.to_owned(), path })
    }
}

impl fmt::Display for OciRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.path.display())
    }
}

impl OciRuntime {
    /// Looks at the program and at every directory on the way to it, links resolved: none may be anybody's but root's.
    pub fn check(&self) -> Result<(), BadRuntime> {
        let bad =
            |reason: String| BadRuntime::Program { name: self.name.clone(), path: self.path.clone(), reason };
        let real = std::fs::canonicalize(&self.path).map_err(|e| bad(e.to_string()))?;
        for part in real.ancestors() {
            let found =
                std::fs::symlink_metadata(part).map_err(|e| bad(format!("{}: {e}", part.display())))?;
            if let Some(fault) = fault(found.uid(), found.mode()) {
                return Err(bad(format!("{} {fault}, and it would run as root", part.display())));
            }
            if part == real && !found.is_file() {
                return Err(bad("it is not a regular file".to_owned()));
            }
            if part == real && found.mode() & 0o111 == 0 {
                return Err(bad("it is not executable".to_owned()));
            }
        }
        // The links too: it is started by its own name.
        watchbell_cdi::check_program(&self.path).map_err(|e| bad(e.to_string()))
    }
}

/// Why a file or directory is not root's alone.
fn fault(uid: u32, mode: u32) -> Option<&'static str> {
    match (uid, mode & 0o022) {
        (0, 0) => None,
        (0, _) => Some("can be written to by others than root"),
        _ => Some("is not owned by root"),
    }
}

/// What is known of a runtime without starting a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuntimeVerdict {
    /// It answers; what it calls itself.
    Answers(String),
    Unusable(String),
}

/// Asks a runtime for its version. One that is no program of this machine does not answer.
pub fn probe(runtime: &OciRuntime) -> RuntimeVerdict {
    if let Err(error) = runtime.check() {
        return RuntimeVerdict::Unusable(error.to_string());
    }
    let asked = Command::new(&runtime.path)
        .arg("--version")
        .env_clear()
        .current_dir(Path::new("/"))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    verdict(asked.map(|answer| (answer.status.success(), answer.stdout)))
}

/// From its answer, which is a stranger's text.
fn verdict(answer: io::Result<(bool, Vec<u8>)>) -> RuntimeVerdict {
    match answer {
        Err(error) => RuntimeVerdict::Unusable(format!("it does not run: {error}")),
        Ok((false, _)) => RuntimeVerdict::Unusable("--version fails".to_owned()),
        Ok((true, text)) => {
            let text = String::from_utf8_lossy(&text).into_owned();
            let first = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
            match first {
                "" => RuntimeVerdict::Unusable("--version says nothing".to_owned()),
                first => {
                    RuntimeVerdict::Answers(first.chars().filter(|c| !c.is_control()).take(200).collect())
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let read: OciRuntime = "runc=/usr/sbin/runc".parse().unwrap();
        assert_eq!((read.name.as_str(), read.path.to_str()), ("runc", Some("/usr/sbin/runc")));
        assert_eq!(read.to_string().parse(), Ok(read));
        // A path may have what a name may not.
        assert_eq!("a=/b=c".parse::<OciRuntime>().unwrap().path, Path::new("/b=c"));
    }

    #[test]
    fn what_is_no_runtime_is_refused() {
        let check = |text: &str, part: &str| {
            let error = text.parse::<OciRuntime>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        };
        check("runc", "NAME=/path");
        check("runc=usr/sbin/runc", "NAME=/path");
        check("=/x", "handler of a RuntimeClass");
        check("Runc=/x", "handler of a RuntimeClass");
        check("-a=/x", "handler of a RuntimeClass");
        check("a-=/x", "handler of a RuntimeClass");
        check(&format!("{}=/x", "a".repeat(64)), "handler of a RuntimeClass");
        check("watchbell=/x", "own sandbox");
    }

    #[test]
    fn only_roots_own_files_are_run_as_root() {
        assert_eq!(fault(0, 0o100_755), None);
        assert_eq!(fault(0, 0o104_755), None);
        assert!(fault(1000, 0o100_755).unwrap().contains("owned"));
        assert!(fault(0, 0o100_775).unwrap().contains("written"));
        assert!(fault(0, 0o041_777).unwrap().contains("written"));
        let dir = tempfile::tempdir().unwrap();
        let runtime = |path: PathBuf| OciRuntime { name: "x".into(), path };
        // /tmp is everybody's.
        let path = dir.path().join("runtime");
        assert!(runtime(path.clone()).check().unwrap_err().to_string().contains("cannot be used"));
        std::fs::write(&path, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        assert!(runtime(path).check().unwrap_err().to_string().contains("root"));
        assert!(runtime("/etc".into()).check().unwrap_err().to_string().contains("regular file"));
        assert!(runtime("/etc/passwd".into()).check().unwrap_err().to_string().contains("executable"));
    }

    #[test]
    fn an_answer_is_cleaned_and_bounded() {
        let check =
            |answer: io::Result<(bool, Vec<u8>)>, expect: RuntimeVerdict| assert_eq!(verdict(answer), expect);
        let unusable = |text: &str| RuntimeVerdict::Unusable(text.to_owned());
        check(
            Ok((true, b"\nrunc version 1.1.5\ncommit: x\n".to_vec())),
            RuntimeVerdict::Answers("runc version 1.1.5".into()),
        );
        check(Ok((true, b"\x1b[31mred\xff".to_vec())), RuntimeVerdict::Answers("[31mred\u{fffd}".into()));
        check(Ok((true, Vec::new())), unusable("--version says nothing"));
        check(Ok((false, Vec::new())), unusable("--version fails"));
        check(Err(io::ErrorKind::NotFound.into()), unusable("it does not run: entity not found"));
        let long = verdict(Ok((true, vec![b'x'; 1 << 20])));
        assert_eq!(long, RuntimeVerdict::Answers("x".repeat(200)));
    }
}
