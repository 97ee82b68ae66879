//! The way out of a pod's network: what gets to the gate, and what else can be reached with it. The gate here is a stand-in that says
//! what it sees; the real one has its tests where it is.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use watchbell_sandbox::gate::{
    DoorSocket, Filled, GateArgs, Inbox, ORDER_MAX, Order, Outbox, decode, take_socket,
};
use watchbell_sandbox::{Event, PodEnvironment, RunSpec, Sharing};

use crate::Outcome;
use crate::place::{Failure, Place, Server, pod};
use crate::probe::{build_probe, printed, probe};
use crate::runtimes::{by, each};
use crate::sessions::start;

/// `watchbell gate`: answers each connection with where it was to go and the pod's egress, and tells the same upwards.
pub(crate) fn gate(args: impl Iterator<Item = OsString>) -> ExitCode {
    match GateArgs::parse(args).and_then(|_| serve(take_socket()?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("the stand-in ends: {error}");
            ExitCode::FAILURE
        }
    }
}

type Egresses = Arc<Mutex<std::collections::HashMap<u128, String>>>;

fn serve(socket: OwnedFd) -> std::io::Result<()> {
    let (egresses, socket) = (Egresses::default(), Arc::new(socket));
    let mut inbox = Inbox::new(ORDER_MAX);
    loop {
        while let Some(frame) = inbox.next().map_err(std::io::Error::other)? {
            let text = |egress: Vec<u8>| String::from_utf8_lossy(&egress).into_owned();
            match decode(&frame.body).map_err(std::io::Error::other)? {
                Order::Resolvers { addresses } => assert!(!addresses.is_empty()),
                Order::Add { pod, namespace, egress, sockets } => {
                    assert!(!namespace.is_empty() && !namespace.contains('/'));
                    lock(&egresses).insert(pod, text(egress));
                    for (kind, fd) in sockets.into_iter().zip(frame.fds) {
                        let (egresses, socket) = (Arc::clone(&egresses), Arc::clone(&socket));
                        rustix::io::ioctl_fionbio(&fd, false)?;
                        std::thread::spawn(move || match kind {
                            DoorSocket::Tcp => answer(pod, fd.into(), &egresses, &socket),
                            DoorSocket::Dns => answer_names(fd.into()),
                        });
                    }
                }
                Order::Change { pod, egress } => drop(lock(&egresses).insert(pod, text(egress))),
                Order::Remove { pod } => drop(lock(&egresses).remove(&pod)),
            }
        }
        if matches!(inbox.fill(socket.as_fd())?, Filled::End) {
            return Ok(());
        }
    }
}

fn lock(egresses: &Egresses) -> std::sync::MutexGuard<'_, std::collections::HashMap<u128, String>> {
    egresses.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn answer(pod: u128, listener: TcpListener, egresses: &Egresses, socket: &OwnedFd) {
    while let Ok((mut connection, _)) = listener.accept() {
        let Ok(target) = connection.local_addr() else { continue };
        let egress = lock(egresses).get(&pod).cloned().unwrap_or_else(|| "nothing".to_owned());
        let word = format!("{target} for {pod}, which may reach {egress}");
        let _ = connection.read(&mut [0; 16]);
        let _ = connection.write_all(word.as_bytes());
        let mut outbox = Outbox::default();
        outbox.push(&word, []);
        let _ = outbox.flush(socket.as_fd());
    }
}

fn answer_names(socket: UdpSocket) {
    let mut question = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut question) {
        let _ = socket.send_to(&[b"name ", &question[..length]].concat(), from);
    }
}

pub(crate) fn with_door(egress: &str, spec: RunSpec) -> RunSpec {
    let pod = PodEnvironment {
        sharing: Sharing::Shared,
        egress: Some(egress.as_bytes().into()),
        ..pod(spec.id.pod_uid)
    };
    RunSpec { pod: Arc::new(pod), ..spec }
}

fn dial(place: &Place, server: &Server, uid: u128, targets: &[&str]) -> Result<Vec<String>, Failure> {
    let args = [&["dial"], targets].concat();
    printed(place, server, &with_door("all", probe(place, uid, &args)))
}

pub(crate) fn connections_end_at_the_gate() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    let seen = dial(
        &place,
        &server,
        7,
        &[
            "tcp/93.184.216.34/443",
            // A port that is the listener's own, those of programs that never were here, the last one.
            "tcp/203.0.113.1/1",
            "tcp/203.0.113.1/65535",
            "tcp/2001:db8::5/8443",
            // What the gate refuses, it is asked for: nothing else answers.
            "tcp/169.254.169.254/80",
            "tcp/fd00:ec2::254/80",
            "tcp/10.1.2.3/22",
            "tcp/198.18.0.1/53",
            "udp/198.18.0.1/53",
            "udp/203.0.113.1/53",
            "udp/198.18.0.1/123",
        ],
    )?;
    let gate = |target: &str| format!("{target} for 7, which may reach all");
    assert_eq!(
        seen,
        [
            format!("tcp/93.184.216.34/443 {}", gate("93.184.216.34:443")),
            format!("tcp/203.0.113.1/1 {}", gate("203.0.113.1:1")),
            format!("tcp/203.0.113.1/65535 {}", gate("203.0.113.1:65535")),
            format!("tcp/2001:db8::5/8443 {}", gate("[2001:db8::5]:8443")),
            format!("tcp/169.254.169.254/80 {}", gate("169.254.169.254:80")),
            format!("tcp/fd00:ec2::254/80 {}", gate("[fd00:ec2::254]:80")),
            format!("tcp/10.1.2.3/22 {}", gate("10.1.2.3:22")),
            format!("tcp/198.18.0.1/53 {}", gate("198.18.0.1:53")),
            "udp/198.18.0.1/53 name hello".to_owned(),
            "udp/203.0.113.1/53 ECONNREFUSED".to_owned(),
            "udp/198.18.0.1/123 ECONNREFUSED".to_owned(),
        ]
    );
    Ok(())
}

pub(crate) fn a_pod_without_a_door_has_loopback_alone() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    let targets =
        ["dial", "tcp/93.184.216.34/443", "tcp/2001:db8::5/443", "udp/198.18.0.1/53", "tcp/127.0.0.1/1"];
    let expect = [
        "tcp/93.184.216.34/443 ENETUNREACH",
        "tcp/2001:db8::5/443 ENETUNREACH",
        "udp/198.18.0.1/53 ENETUNREACH",
        "tcp/127.0.0.1/1 ECONNREFUSED",
    ];
    let single = probe(&place, 1, &targets);
    assert_eq!(printed(&place, &server, &single)?, expect);
    let mut shared = probe(&place, 2, &targets);
    shared.pod = Arc::new(PodEnvironment { sharing: Sharing::Shared, ..pod(2) });
    assert_eq!(printed(&place, &server, &shared)?, expect);
    assert!(gates(&place)?.is_empty(), "nobody needs one");
    Ok(())
}

pub(crate) fn what_is_loopback_stays_the_pods_own() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    // A listener of the machine's loopback is not met there.
    let of_host = TcpListener::bind("127.0.0.1:0")?;
    let port = of_host.local_addr()?.port();
    let targets = [
        format!("tcp/127.0.0.1/{port}"),
        format!("tcp/127.8.8.8/{port}"),
        format!("tcp/0.0.0.0/{port}"),
        format!("tcp/::1/{port}"),
        format!("tcp/::ffff:127.0.0.1/{port}"),
        // The sockets of the door are at an address of their own.
        "tcp/127.0.0.1/1".to_owned(),
        "tcp/::1/1".to_owned(),
        "udp/127.0.0.1/53".to_owned(),
    ];
    let seen = dial(&place, &server, 1, &targets.each_ref().map(String::as_str))?;
    assert_eq!(seen, targets.map(|target| format!("{target} ECONNREFUSED")));
    let meets = with_door("all", probe(&place, 2, &["meets-itself", "8080"]));
    let gate = "tcp/203.0.113.9/8080 203.0.113.9:8080 for 2, which may reach all";
    assert_eq!(printed(&place, &server, &meets)?, ["loopback allowed", "heard self", gate]);
    Ok(())
}

pub(crate) fn a_door_is_one_pods() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    let stays = with_door("a", probe(&place, 1, &["pause"]));
    start(&server, &stays)?;
    let other = with_door("b", probe(&place, 2, &["dial", "tcp/203.0.113.1/80"]));
    let seen = printed(&place, &server, &other)?;
    assert_eq!(seen, ["tcp/203.0.113.1/80 203.0.113.1:80 for 2, which may reach b"]);
    // Live, and for the one that was named alone; a pod that began without a door gets none.
    let shut = RunSpec {
        pod: Arc::new(PodEnvironment { sharing: Sharing::Shared, ..pod(3) }),
        ..probe(&place, 3, &["pause"])
    };
    start(&server, &shut)?;
    server.spawner.change_egress(1, b"c".to_vec())?;
    server.spawner.change_egress(3, b"c".to_vec())?;
    for (of, expect) in [(&stays, "203.0.113.1:80 for 1, which may reach c"), (&shut, "ENETUNREACH")] {
        let mut second = probe(&place, of.id.pod_uid, &["dial", "tcp/203.0.113.1/80"]);
        (second.id.container, second.pod) = (1, Arc::clone(&of.pod));
        second.log.path = format!("second-{}.log", of.id.pod_uid).into();
        server.spawner.start(&second)?;
        server.exit(second.id)?;
        let lines = place.lines(&format!("second-{}.log", of.id.pod_uid))?;
        assert_eq!(lines, [format!("stdout F tcp/203.0.113.1/80 {expect}")]);
    }
    for spec in [stays, shut] {
        server.spawner.release_pod(spec.pod.uid)?;
        server.exit(spec.id)?;
    }
    Ok(())
}

pub(crate) fn a_gate_that_dies_is_started_again_with_all_doors() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    let stays = with_door("a", probe(&place, 1, &["pause"]));
    start(&server, &stays)?;
    for round in 1..3u16 {
        let [gate] = gates(&place)?[..] else { return Err("there is not one gate".into()) };
        rustix::process::kill_process(gate, rustix::process::Signal::KILL)?;
        let (from, until) = loop {
            match server.event()? {
                Event::GateLost { from, until, .. } => break (from, until),
                Event::Disconnected => return Err("the spawner is gone".into()),
                _ => {}
            }
        };
        assert!(0 < from && from <= until);
        // Whether it is there again or not: who connects waits for it.
        let mut second = probe(&place, 1, &["dial", "tcp/203.0.113.1/80"]);
        (second.id.container, second.pod) = (round, Arc::clone(&stays.pod));
        second.log.path = format!("second-{round}.log").into();
        server.spawner.start(&second)?;
        server.exit(second.id)?;
        let expect = "stdout F tcp/203.0.113.1/80 203.0.113.1:80 for 1, which may reach a";
        assert_eq!(place.lines(&format!("second-{round}.log"))?, [expect]);
    }
    server.spawner.release_pod(1)?;
    server.exit(stays.id)?;
    Ok(())
}

/// Those that this place's spawner started; their command lines do not name it.
fn gates(place: &Place) -> Result<Vec<rustix::process::Pid>, Failure> {
    let [spawner] = place.pids("spawner")?[..] else { return Err("there is not one spawner".into()) };
    let children = std::fs::read_to_string(format!("/proc/{spawner}/task/{spawner}/children"))?;
    let is_gate = |pid: &i32| {
        let args = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        args.split(|byte| *byte == 0).nth(1) == Some(b"gate")
    };
    let pids = children.split_whitespace().filter_map(|pid| pid.parse().ok()).filter(is_gate);
    Ok(pids.filter_map(rustix::process::Pid::from_raw).collect())
}

pub(crate) fn what_the_gate_says_is_kept_until_it_is_heard() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    let stays = with_door("a", probe(&place, 1, &["pause"]));
    start(&server, &stays)?;
    let said = |server: &Server| -> Result<(u64, String), Failure> {
        loop {
            match server.event()? {
                Event::Connections { serial, lost: 0, notice } => return Ok((serial, decode(&notice)?)),
                Event::Disconnected => return Err("the spawner is gone".into()),
                _ => {}
            }
        }
    };
    let dial = |server: &Server, container: u16, port: u16| -> Result<(), Failure> {
        let mut spec = probe(&place, 1, &["dial", &format!("tcp/203.0.113.1/{port}")]);
        (spec.id.container, spec.pod) = (container, Arc::clone(&stays.pod));
        spec.log.path = format!("{container}.log").into();
        server.spawner.start(&spec)?;
        Ok(())
    };
    let word = |port: u16| format!("203.0.113.1:{port} for 1, which may reach a");
    for n in 1..=3u16 {
        dial(&server, n, n)?;
        assert_eq!(said(&server)?, (u64::from(n), word(n)));
    }
    server.spawner.heard(2)?;
    // Requests are taken in order: who has the answer to this one knows that the one before was taken.
    dial(&server, 4, 4)?;
    assert_eq!(said(&server)?, (4, word(4)));
    drop(server);
    let server = place.connect()?;
    for n in 3..=4u16 {
        assert_eq!(said(&server)?, (u64::from(n), word(n)), "it was not heard");
    }
    server.spawner.heard(4)?;
    dial(&server, 5, 5)?;
    assert_eq!(said(&server)?, (5, word(5)));
    server.spawner.release_pod(1)?;
    server.exit(stays.id)?;
    Ok(())
}

pub(crate) fn a_door_is_refused_where_it_cannot_be() -> Outcome {
    let place = Place::new()?;
    let server = place.connect()?;
    let spec = with_door("a", probe(&place, 1, &["pause"]));
    let refused = |change: &dyn Fn(&mut PodEnvironment), field: &str| -> Outcome {
        let mut environment = (*spec.pod).clone();
        change(&mut environment);
        let spec = RunSpec { pod: Arc::new(environment), ..spec.clone() };
        let error = server.spawner.start(&spec).err().ok_or("it was sent")?;
        assert!(error.to_string().contains(field), "{error}");
        Ok(())
    };
    refused(&|pod| pod.sharing = Sharing::Single, "share namespaces")?;
    refused(&|pod| pod.host_namespaces.network = true, "the host's network")?;
    refused(&|pod| pod.egress = Some(vec![0; 300 << 10].into()), "256 KiB")?;
    assert!(server.spawner.change_egress(1, vec![0; 300 << 10]).is_err());
    Ok(())
}

pub(crate) fn containers_of_a_runtime_have_the_door_of_their_pod() -> Outcome {
    each(|place, server, runtime, n| {
        let spec = with_door(
            "all",
            by(runtime, probe(place, n, &["dial", "tcp/203.0.113.1/443", "udp/198.18.0.1/53"])),
        );
        let gate = format!("tcp/203.0.113.1/443 203.0.113.1:443 for {n}, which may reach all");
        assert_eq!(printed(place, server, &spec)?, [gate.as_str(), "udp/198.18.0.1/53 name hello"]);
        Ok(())
    })
}
