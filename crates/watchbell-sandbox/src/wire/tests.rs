use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::{collection::vec, prop_assert, prop_assert_eq};

use super::{Filled, Inbox, Order, Outbox, Reply, Request, SessionAsk, WireError, blank_pod, decode};
use crate::{
    ContainerId, Event, ExitRecord, ExitStatus, LogSummary, LogTarget, StartFailure, StartFailureKind,
    Streams, TableEntry, Usage,
};

const MAX: u32 = 1 << 16;

fn id() -> impl Strategy<Value = ContainerId> {
    (any::<u128>(), any::<u16>(), any::<u32>()).prop_map(|(pod_uid, container, attempt)| ContainerId {
        pod_uid,
        container,
        attempt,
    })
}

fn failure() -> impl Strategy<Value = StartFailure> {
    let kind = prop_oneof![
        Just(StartFailureKind::CommandNotFound),
        Just(StartFailureKind::Refused),
        Just(StartFailureKind::Cancelled)
    ];
    (id(), any::<i64>(), kind, ".{0,40}", ".{0,200}").prop_map(|(id, at, kind, step, message)| StartFailure {
        id,
        at,
        kind,
        step,
        message,
    })
}

pub(crate) fn exit() -> impl Strategy<Value = ExitRecord> {
    let status = prop_oneof![
        any::<u8>().prop_map(ExitStatus::Code),
        any::<i32>().prop_map(ExitStatus::Signal),
        Just(ExitStatus::Lost)
    ];
    let log = (any::<u64>(), any::<u64>(), any::<u64>())
        .prop_map(|(bytes, lines, dropped_bytes)| LogSummary { bytes, lines, dropped_bytes });
    let usage =
        (any::<u64>(), any::<u64>()).prop_map(|(cpu_ns, max_rss_bytes)| Usage { cpu_ns, max_rss_bytes });
    (id(), status, any::<bool>(), any::<i64>(), any::<i64>(), usage, log).prop_map(
        |(id, status, oom_killed, started_at, finished_at, usage, log)| ExitRecord {
            id,
            status,
            oom_killed,
            started_at,
            finished_at,
            usage,
            log,
        },
    )
}

pub(crate) fn row() -> impl Strategy<Value = TableEntry> {
    prop_oneof![
        id().prop_map(|id| TableEntry::Starting { id }),
        (id(), any::<u32>(), any::<i64>()).prop_map(|(id, pid, started_at)| TableEntry::Running {
            id,
            pid,
            started_at
        }),
        failure().prop_map(TableEntry::Failed),
        exit().prop_map(TableEntry::Exited),
    ]
}

fn bytes_of(reply: &Reply) -> io::Result<Vec<u8>> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut outbox = Outbox::default();
    outbox.push(reply, []);
    outbox.flush(ours.as_fd())?;
    drop(ours);
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut &theirs, &mut bytes)?;
    Ok(bytes)
}

proptest! {
    #[test]
    fn what_is_sent_is_received_however_it_is_cut(rows in vec(row(), 0..20), cuts in vec(1_usize..50, 0..40)) {
        let sent = Reply::Table(rows.clone());
        let bytes = bytes_of(&sent)?;
        let mut inbox = Inbox::new(MAX);
        let mut rest = bytes.as_slice();
        for cut in cuts {
            let (now, later) = rest.split_at(cut.min(rest.len().saturating_sub(1)));
            inbox.push_bytes(now);
            rest = later;
            prop_assert!(inbox.next()?.is_none(), "a frame before its last byte");
        }
        inbox.push_bytes(rest);
        let frame = inbox.next()?.ok_or(WireError::Message)?;
        let Reply::Table(received) = decode::<Reply>(&frame.body)? else { panic!("another message") };
        prop_assert_eq!(received, rows);
        prop_assert!(inbox.next()?.is_none());
    }

    #[test]
    fn hostile_bytes_are_an_error_or_wait_for_more(bytes in vec(any::<u8>(), 0..300)) {
        let mut inbox = Inbox::new(MAX);
        inbox.push_bytes(&bytes);
        while let Ok(Some(frame)) = inbox.next() {
            let _ = decode::<Request>(&frame.body);
            let _ = decode::<Reply>(&frame.body);
        }
    }

    #[test]
    fn hostile_messages_are_refused_without_much_memory(body in vec(any::<u8>(), 0..300)) {
        let _ = decode::<Request>(&body);
        let _ = decode::<Arc<crate::PodEnvironment>>(&body);
        let _ = decode::<Order>(&body);
    }

    #[test]
    fn a_message_with_something_behind_it_is_refused(record in exit(), more in vec(any::<u8>(), 1..10)) {
        let whole = bytes_of(&Reply::Event(Event::Exited(record)))?;
        let mut body = whole[8..].to_vec();
        prop_assert!(decode::<Reply>(&body).is_ok());
        body.extend(more);
        prop_assert!(decode::<Reply>(&body).is_err());
    }
}

#[test]
fn a_length_above_the_limit_ends_the_connection() {
    let check = |length: u32, fds: u32, expect: WireError| {
        let mut inbox = Inbox::new(MAX);
        inbox.push_bytes(&[length.to_le_bytes(), fds.to_le_bytes()].concat());
        assert_eq!(inbox.next().err(), Some(expect));
    };
    check(MAX + 1, 0, WireError::TooLarge(MAX + 1));
    check(u32::MAX, 0, WireError::TooLarge(u32::MAX));
    check(0, 9, WireError::Descriptors(9));
    // Claimed and not sent.
    check(0, 1, WireError::Descriptors(1));
}

/// Each frame carries pipes whose bytes name it, so that a mix-up is seen.
fn named_pipe(name: u64) -> io::Result<OwnedFd> {
    let (reader, writer) = rustix::pipe::pipe()?;
    std::fs::File::from(writer).write_all(&name.to_le_bytes())?;
    Ok(reader)
}

#[test]
fn descriptors_stay_with_their_frames_over_many_messages() -> Result<(), Box<dyn std::error::Error>> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    theirs.set_nonblocking(true)?;
    let mut outbox = Outbox::default();
    let frames = 700_u64;
    let target = LogTarget { path: "job/7.log".into(), max_bytes: 4096, max_files: 1 };
    for serial in 0..frames {
        let order = Order::Watch { serial, target: target.clone() };
        // Some have none, so that frames and descriptors do not go in step.
        let fds = if serial % 3 == 0 { vec![] } else { vec![named_pipe(serial)?, named_pipe(serial)?] };
        outbox.push(&order, fds);
    }
    let mut inbox = Inbox::new(MAX);
    let mut expected = 0;
    while expected < frames {
        outbox.flush(ours.as_fd())?;
        assert_ne!(inbox.fill(theirs.as_fd())?, Filled::End);
        while let Some(frame) = inbox.next()? {
            let Order::Watch { serial, .. } = decode(&frame.body)? else { panic!("another order") };
            assert_eq!(serial, expected);
            assert_eq!(frame.fds.len(), if serial % 3 == 0 { 0 } else { 2 });
            for fd in frame.fds {
                let mut name = [0; 8];
                rustix::io::read(&fd, &mut name)?;
                assert_eq!(u64::from_le_bytes(name), serial);
            }
            expected += 1;
        }
    }
    assert_eq!(outbox.len(), 0);
    Ok(())
}

#[test]
fn descriptors_that_no_frame_claims_do_not_pile_up() -> Result<(), Box<dyn std::error::Error>> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut inbox = Inbox::new(MAX);
    let pipe = named_pipe(1)?;
    let many = [pipe.as_fd(); 253];
    let refused = (0..5).any(|_| {
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
        control.push(rustix::net::SendAncillaryMessage::ScmRights(&many));
        let byte = [io::IoSlice::new(&[0])];
        let sent = rustix::net::sendmsg(&ours, &byte, &mut control, rustix::net::SendFlags::empty());
        assert!(sent.is_ok());
        assert!(inbox.fill(theirs.as_fd()).is_ok());
        matches!(inbox.next(), Err(WireError::StrayDescriptors))
    });
    assert!(refused);
    Ok(())
}

#[test]
fn a_blank_pod_is_small() -> Result<(), Box<dyn std::error::Error>> {
    assert!(postcard::to_allocvec(&*blank_pod(u128::MAX))?.len() < 64);
    Ok(())
}

/// What was said in the protocol's first version keeps its bytes: servers and spawners of both meet.
#[test]
fn the_first_version_is_still_understood() {
    let check = |request: &Request, expect: &[u8]| {
        let bytes = postcard::to_allocvec(request).unwrap_or_default();
        assert_eq!(bytes, expect);
        assert!(decode::<Request>(expect).is_ok());
    };
    check(&Request::KillPod { uid: 1 }, &[5, 1]);
    check(&Request::ReleasePod { uid: 1 }, &[6, 1]);
    check(&Request::Retire, &[8]);
    let id = ContainerId { pod_uid: 1, container: 2, attempt: 3 };
    let streams = Streams { stdin: true, stdout: true, stderr: false, tty: true };
    let ask = SessionAsk { id, command: Some(vec!["sh".to_owned()]), streams };
    check(&Request::Session(ask), &[10, 1, 2, 3, 1, 1, 2, b's', b'h', 1, 1, 0, 1]);
}
