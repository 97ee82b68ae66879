//! Processes that enter containers, and clients that attach.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use watchbell_sandbox::{ContainerId, ExitStatus, Streams};

use crate::Outcome;
use crate::place::{Failure, Place, Server, script};

pub(crate) const ALL: Streams = Streams { stdin: true, stdout: true, stderr: true, tty: false };

/// Everything up to the end; a terminal's end is an error.
pub(crate) fn read_all(fd: Option<OwnedFd>) -> Result<String, Failure> {
    let mut text = Vec::new();
    match File::from(fd.ok_or("the stream is not there")?).read_to_end(&mut text) {
        Ok(_) => {}
        Err(error) if error.raw_os_error() == Some(5) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

pub(crate) fn argv(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

/// Runs `sh -c script` in the container to its end.
pub(crate) fn exec(
    server: &Server,
    id: ContainerId,
    text: &str,
) -> Result<(ExitStatus, String, String), Failure> {
    let session = server.spawner.exec(id, argv(&["/bin/sh", "-c", text]), ALL)?;
    drop(session.stdin);
    let (stdout, stderr) = (read_all(session.stdout)?, read_all(session.stderr)?);
    Ok((session.link.wait()?, stdout, stderr))
}

pub(crate) fn a_process_enters_a_container() -> Outcome {
    let place = Place::new()?;
    let server = place.connect()?;
    let spec = script(&place, 1, "sleep 1000");
    server.spawner.start(&spec)?;
    server.started(spec.id)?;
    let (status, stdout, stderr) = exec(&server, spec.id, "echo out; echo err >&2; exit 3")?;
    assert_eq!((status, stdout.as_str(), stderr.as_str()), (ExitStatus::Code(3), "out\n", "err\n"));
    server.spawner.kill_pod(1)?;
    server.exit(spec.id)?;
    Ok(())
}
