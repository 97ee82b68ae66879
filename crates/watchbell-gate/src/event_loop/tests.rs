//! The loop without a network: its turns are taken by hand, and its time passes when the test says so.

use std::io::Read;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use watchbell_api::network::{Block, NamePattern};
use watchbell_core::egress::{Rule, To};
use watchbell_sandbox::gate::{End, NOTICE_MAX, Notice, decode};

use super::connections::Arrival;
use super::lookups::Waiter;
use super::*;
use crate::dns::Answer;

const A: [u8; 4] = [203, 0, 113, 1];
const B: [u8; 4] = [203, 0, 113, 2];

fn rule(to: To) -> Rule {
    Rule { policy: "lab/p".into(), to, ports: [].into() }
}

fn block(address: [u8; 4]) -> Rule {
    let block = Block::parse(&format!("{}/32", IpAddr::from(address))).unwrap();
    rule(To::Block { block, except: Vec::new() })
}

fn egress(rules: impl Into<Vec<Rule>>) -> Vec<u8> {
    Egress { rules: rules.into() }.to_wire()
}

struct Bench {
    gate: Gate,
    spawner: OwnedFd,
    inbox: Inbox,
}

impl Bench {
    fn new(change: impl Fn(&mut Limits)) -> Self {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (spawner, socket) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        let mut limits = Limits::of_process();
        change(&mut limits);
        let routes = Routes::open().unwrap();
        let gate = Gate::new(GateOptions { socket, routes, limits }).unwrap();
        Self { gate, spawner, inbox: Inbox::new(NOTICE_MAX) }
    }

    fn notices(&mut self) -> Vec<Notice> {
        let mut notices = Vec::new();
        while !self.gate.outbox.is_empty() {
            self.gate.flush();
            self.inbox.fill(self.spawner.as_fd()).unwrap();
            while let Some(frame) = self.inbox.next().unwrap() {
                notices.push(decode(&frame.body).unwrap());
            }
        }
        notices
    }

    /// A connection of a pod, and the task's end of it.
    fn connection(&mut self, pod: u128, name: &str) -> (u64, UnixStream) {
        let (task, client) = UnixStream::pair().unwrap();
        let arrival = Arrival { pod, client: client.into(), to: ([198, 18, 1, 0], 443).into() };
        (self.gate.begin(arrival, Some(name.into())), task)
    }

    /// The answers come to all that is asked.
    fn answer_all(&mut self) {
        let ids: Vec<u64> = self.gate.lookups.keys().copied().collect();
        for id in ids {
            let answer = Answer::Addresses { addresses: vec![A.into()], seconds: 60 };
            self.gate.finish(id, Some(answer));
        }
    }

    /// One that waits for `a.org` does not end before the resolver answers.
    fn look_up(&mut self, pod: u128, name: &str) -> bool {
        let before = self.gate.lookups.len();
        let (connection, _) = self.connection(pod, name);
        self.gate.look_up(pod, name.into(), Family::V4, Waiter::Connection(connection));
        self.gate.lookups.len() > before
    }
}

#[test]
fn what_an_event_is_about_reads_back() {
    for token in [
        Token::Spawner,
        Token::Door { door: u32::MAX, index: u8::MAX },
        Token::Client(1),
        Token::Peer((1 << 60) - 1),
        Token::Lookup(7),
    ] {
        assert_eq!(Token::of(token.data()), token);
    }
}

#[test]
fn gates_count_from_different_numbers() {
    let firsts: HashSet<u64> = (0..8).map(|_| first_id().unwrap()).collect();
    assert_eq!(firsts.len(), 8);
    assert!(firsts.iter().all(|first| *first < 1 << 52));
}

#[test]
fn the_next_address_is_judged_when_it_is_dialled() {
    let mut bench = Bench::new(|_| {});
    bench.gate.add(7, "lab", &egress([block(A), block(B)]), &[], Vec::new());
    let (id, mut task) = bench.connection(7, "a.org");
    let (peer, _other) = UnixStream::pair().unwrap();
    bench.gate.connections.get_mut(&id).unwrap().dials(A.into(), peer.into(), vec![B.into()]);
    // The one that is dialled stays allowed, and does not answer; the one after it does not.
    bench.gate.change(7, &egress([block(A)]));
    assert!(bench.gate.connections.contains_key(&id));
    bench.gate.dial_took_too_long(id);
    assert!(bench.gate.connections.is_empty());
    let [Notice::Ended(ended)] = &bench.notices()[..] else { panic!("its end is not told") };
    assert_eq!(ended.target.address, Some(A.into()));
    assert!(matches!(&ended.how, End::NotReached { why } if why == "it did not answer in time"));
    assert_eq!(task.read(&mut [0; 1]).unwrap_or(0), 0);
}

#[test]
fn pods_that_may_reach_the_same_share_it() {
    let mut bench = Bench::new(|_| {});
    for (pod, rules) in [(1, egress([block(A)])), (2, egress([block(A)])), (3, egress([block(B)]))] {
        bench.gate.add(pod, "lab", &rules, &[], Vec::new());
    }
    let of = |bench: &Bench, pod| Arc::clone(&bench.gate.pods[&pod].egress);
    assert!(Arc::ptr_eq(&of(&bench, 1), &of(&bench, 2)) && !Arc::ptr_eq(&of(&bench, 1), &of(&bench, 3)));
    // What one may reach changes for that one.
    bench.gate.change(2, &egress([block(B)]));
    assert!(Arc::ptr_eq(&of(&bench, 2), &of(&bench, 3)) && !Arc::ptr_eq(&of(&bench, 1), &of(&bench, 2)));
}

#[test]
fn a_namespace_leaves_lookups_and_names_to_others() {
    let mut bench = Bench::new(|limits| (limits.lookups, limits.names) = (64, 64));
    // Bound, and nobody answers.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    bench.gate.resolvers = vec![silent.local_addr().unwrap()];
    let any = egress([rule(To::Name(NamePattern::parse("*.org").unwrap()))]);
    for pod in 0..20 {
        bench.gate.add(pod, if pod < 14 { "greedy" } else { "other" }, &any, &[], Vec::new());
    }
    let greedy: usize =
        (0..14).map(|pod| (0..64).filter(|n| bench.look_up(pod, &format!("{n}.org"))).count()).sum();
    assert!((14..=32).contains(&greedy), "{greedy}");
    assert!(bench.look_up(14, "a.org") && bench.look_up(15, "a.org"), "another namespace has room");

    // The answers come, and the names are kept as far as there is room.
    bench.answer_all();
    for n in 64..128 {
        bench.look_up(0, &format!("{n}.org"));
        bench.answer_all();
    }
    let names = |bench: &Bench, pods: std::ops::Range<u128>| -> usize {
        pods.map(|pod| bench.gate.pods[&pod].names.len()).sum()
    };
    let of_greedy = names(&bench, 0..14);
    assert!((14..=32).contains(&of_greedy), "{of_greedy}");
    assert!(bench.look_up(16, "a.org"));
    bench.answer_all();
    assert_eq!(names(&bench, 16..17), 1);

    // All that pods had is there again.
    (0..20).for_each(|pod| bench.gate.remove(pod));
    assert!(
        bench.gate.places.is_empty() && bench.gate.lookups.is_empty() && bench.gate.connections.is_empty()
    );
}

#[test]
fn a_namespace_leaves_connections_to_others() {
    let mut bench = Bench::new(|limits| limits.connections = 64);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    let mut tasks = Vec::new();
    let mut waits = |bench: &mut Bench, pod: u128, count: usize| -> usize {
        let before = bench.gate.connections.len();
        for _ in 0..count {
            tasks.push(TcpStream::connect(to).unwrap());
            let client = listener.accept().unwrap().0.into();
            // An address that stands for a name whose resolver is silent.
            let to = ([198, 18, 1, 0], 443).into();
            bench.gate.arrive(Arrival { pod, client, to });
        }
        bench.gate.connections.len() - before
    };
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    bench.gate.resolvers = vec![silent.local_addr().unwrap()];
    for pod in 0..20 {
        let any = egress([rule(To::Name(NamePattern::parse("*.org").unwrap()))]);
        bench.gate.add(pod, if pod < 18 { "greedy" } else { "other" }, &any, &[], Vec::new());
        let learnt = crate::names::Learnt { addresses: Vec::new(), until: 0, may_grow: true };
        let pod = bench.gate.pods.get_mut(&pod).unwrap();
        pod.names.learn("a.org", Family::V4, learnt, 0).unwrap();
    }
    let greedy: usize = (0..18).map(|pod| waits(&mut bench, pod, 10)).sum();
    assert!(greedy <= 32, "{greedy}");
    assert!(waits(&mut bench, 18, 10) > 4);
    assert_eq!(waits(&mut bench, 19, 1), 1, "one that has none gets one");
}

#[test]
fn a_turn_is_shorter_where_more_is_to_be_judged() {
    let turn = |rules: Vec<Rule>| {
        let mut bench = Bench::new(|_| {});
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        bench.gate.add(7, "lab", &egress(rules), &[DoorSocket::Tcp], vec![listener.into()]);
        let _tasks: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(to).unwrap()).collect();
        let mut turns = Vec::new();
        while turns.iter().sum::<usize>() < 40 {
            bench.gate.serve_door(1, 0);
            turns.push(bench.notices().len());
        }
        turns
    };
    let many = turn(vec![block(A); 1024]);
    let none = turn(Vec::new());
    assert!(none[0] > 16 && none[0] < 40, "{none:?}");
    assert!((1..=12).contains(&many[0]), "{many:?}");
}
