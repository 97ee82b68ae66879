use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};

use rustix::net::{AddressFamily, SocketType, socket};

use crate::spawner::sessions::{ClientSocket, SESSIONS_MAX, SESSIONS_OF_CONTAINER_MAX, Session, Sessions};
use crate::wire::{Filled, Inbox, SessionReply, decode};
use crate::{ContainerId, ExitStatus, SessionFailure, SessionFailureKind};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn id(pod_uid: u128) -> ContainerId {
    ContainerId { pod_uid, container: 0, attempt: 0 }
}

#[test]
fn only_a_stream_socket_of_this_machine_is_a_session() -> Outcome {
    let check = |fd: OwnedFd, is_one: bool| assert_eq!(ClientSocket::new(fd).is_ok(), is_one);
    check(UnixStream::pair()?.0.into(), true);
    check(UnixDatagram::pair()?.0.into(), false);
    check(rustix::pipe::pipe()?.1, false);
    check(tempfile::tempfile()?.into(), false);
    check(socket(AddressFamily::INET, SocketType::STREAM, None)?, false);
    Ok(())
}

#[test]
fn a_client_that_does_not_read_is_not_waited_for() -> Outcome {
    let (ours, mut theirs) = UnixStream::pair()?;
    // Whoever made it has it blocking.
    let socket = ClientSocket::new(ours.into())?;
    let failure = SessionFailure::new(SessionFailureKind::Sandbox, "x".repeat(32 << 10));
    let told = (0..1000).find_map(|_| socket.tell(&SessionReply::Refused(failure.clone()), []).err());
    assert_eq!(told.ok_or("it took all")?.kind(), io::ErrorKind::WouldBlock);
    theirs.read_exact(&mut [0; 8])?;
    drop(theirs);
    assert!(socket.tell(&SessionReply::Ended(ExitStatus::Code(0)), []).is_err(), "and no signal");
    Ok(())
}

#[test]
fn what_is_told_comes_with_its_descriptors() -> Outcome {
    let (ours, theirs) = UnixStream::pair()?;
    let socket = ClientSocket::new(ours.into())?;
    let reply = SessionReply::Opened { parts: vec![crate::wire::Part::Stdout] };
    socket.tell(&reply, [rustix::pipe::pipe()?.0])?;
    let mut inbox = Inbox::new(4096);
    assert!(matches!(inbox.fill(theirs.as_fd())?, Filled::Bytes(_)));
    let frame = inbox.next()?.ok_or("no frame")?;
    assert_eq!(frame.fds.len(), 1);
    assert!(matches!(decode(&frame.body)?, SessionReply::Opened { parts } if parts.len() == 1));
    Ok(())
}

#[test]
fn there_is_room_for_so_many() -> Outcome {
    let mut sessions = Sessions::default();
    let fill = |sessions: &mut Sessions, pod_uid: u128| -> Result<u64, Box<dyn std::error::Error>> {
        sessions.admit(id(pod_uid))?;
        let socket = ClientSocket::new(UnixStream::pair()?.0.into())?;
        let session = Session {
            id: id(pod_uid),
            socket,
            entry: None,
            waits_for_keeper: None,
            is_settled: true,
            is_gone: false,
            is_told: false,
        };
        Ok(sessions.insert(session))
    };
    let each = SESSIONS_OF_CONTAINER_MAX;
    let mut last = 0;
    for pod_uid in 0..(SESSIONS_MAX / each) as u128 {
        for _ in 0..each {
            last = fill(&mut sessions, pod_uid)?;
        }
        assert_eq!(sessions.of(id(pod_uid)).count(), each);
        let failure = sessions.admit(id(pod_uid)).err().ok_or("there is room")?;
        assert_eq!(failure.kind, SessionFailureKind::TooMany);
    }
    // Nor is there for anybody else.
    assert!(sessions.admit(id(1000)).is_err_and(|failure| failure.message.contains("on this machine")));
    assert!(sessions.remove(last).is_some() && sessions.remove(last).is_none());
    assert!(sessions.admit(id(1000)).is_ok());
    let next = fill(&mut sessions, 1000)?;
    assert!(next > last, "a number is not used twice");
    Ok(())
}

/// Spawners of the protocol's first version know no such field: it crosses beside the spec.
#[test]
fn how_people_reach_a_container_is_no_part_of_its_spec() {
    let plain = super::machine::spec(1, 0);
    let mut spec = plain.clone();
    spec.interaction.tty = true;
    assert_ne!(spec, plain);
    let bytes = |spec| postcard::to_allocvec(spec).unwrap_or_default();
    assert_eq!(bytes(&spec), bytes(&plain));
    assert!(!bytes(&plain).is_empty());
}
