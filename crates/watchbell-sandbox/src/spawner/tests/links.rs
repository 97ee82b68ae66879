use std::io::{self, Read};
use std::os::unix::net::UnixStream;

use crate::spawner::client_link::ClientLink;
use crate::wire::Reply;
use crate::{ContainerId, Event};

const ID: ContainerId = ContainerId { pod_uid: 1, container: 0, attempt: 0 };

#[test]
fn a_server_that_does_not_read_is_dropped_and_never_waited_for() -> io::Result<()> {
    let (ours, mut theirs) = UnixStream::pair()?;
    let mut client = ClientLink::new(ours.into())?;
    client.tell(Event::Started { id: ID, pid: 1, at: 0 });
    assert!(client.flush()?);
    theirs.set_nonblocking(true)?;
    assert!(theirs.read(&mut [0; 8]).is_err(), "nothing is told before the greeting");

    client.greeted = true;
    // A table above the bound is no slowness.
    client.send(&Reply::Refused { reason: "x".repeat(20 << 20) });
    client.allow_what_waits();
    assert!(!client.flush()?);
    let told = (0..2_000_000).find(|_| {
        client.tell(Event::Started { id: ID, pid: 1, at: 0 });
        client.flush().is_err()
    });
    assert!(told.is_some());
    Ok(())
}

#[test]
fn one_that_hung_up_is_seen() -> io::Result<()> {
    let (ours, theirs) = UnixStream::pair()?;
    let client = ClientLink::new(ours.into())?;
    assert!(!client.is_gone());
    drop(theirs);
    assert!(client.is_gone());
    Ok(())
}
