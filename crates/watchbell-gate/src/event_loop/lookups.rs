//! Questions to resolvers: each from a port of its own and with a number that nobody can guess.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrAny, SocketFlags, SocketType, connect, recv, send,
    socket_with,
};

use super::{Gate, Timer, Token};
use crate::dns::{Answer, Family, MESSAGE_MAX, Query, Reply, Unread, read_answer, write_question};
use crate::names::{Learnt, NAMES_MAX};
use crate::share::Places;

/// Who waits for one answer.
const WAITERS_MAX: usize = 64;
/// Each resolver is asked so many times.
const ROUNDS: usize = 2;
/// Messages that are read of one socket in a turn.
const A_TURN: usize = 8;

pub(super) struct Lookup {
    pod: u128,
    name: Arc<str>,
    family: Family,
    attempts: usize,
    /// None while nobody is asked.
    asked: Option<(OwnedFd, u16)>,
    deadline: i64,
    waiters: Vec<Waiter>,
}

/// Who wants to know.
pub(super) enum Waiter {
    Task { index: u8, from: SocketAddrAny, query: Query },
    Connection(u64),
}

impl Gate {
    pub(super) fn look_up(&mut self, pod: u128, name: Arc<str>, family: Family, waiter: Waiter) {
        let key = (pod, name, family);
        if let Some(lookup) = self.asked.get(&key).and_then(|id| self.lookups.get_mut(id)) {
            if lookup.waiters.len() < WAITERS_MAX {
                lookup.waiters.push(waiter);
            } else {
                self.tell_waiter(pod, waiter, Reply::Failed, &[]);
            }
            return;
        }
        let Some(of) = self.pods.get_mut(&pod) else { return };
        let places = Places { of_all: self.limits.lookups, of_pod: self.limits.lookups_of_pod };
        if !self.places.has_one(places, &of.namespace, of.lookups, |held| held.lookups) {
            return self.tell_waiter(pod, waiter, Reply::Failed, &[]);
        }
        of.lookups += 1;
        self.places.change(&of.namespace, |held| held.lookups += 1);
        let id = self.next_id();
        let (_, name, _) = key.clone();
        self.asked.insert(key, id);
        let lookup =
            Lookup { pod, name, family, attempts: 0, asked: None, deadline: 0, waiters: vec![waiter] };
        self.lookups.insert(id, lookup);
        self.ask_next(id);
    }

    /// Asks the next resolver; when all were asked, nobody knows.
    pub(super) fn ask_next(&mut self, id: u64) {
        loop {
            let Some(lookup) = self.lookups.get_mut(&id) else { return };
            self.timers.remove(&(lookup.deadline, Timer::Lookup(id)));
            lookup.asked = None;
            if lookup.attempts >= ROUNDS * self.resolvers.len() {
                return self.finish(id, None);
            }
            let resolver = self.resolvers[lookup.attempts % self.resolvers.len()];
            lookup.attempts += 1;
            let asked =
                ask(resolver.into(), resolver.is_ipv6(), &lookup.name, lookup.family).and_then(|asked| {
                    epoll::add(&self.epoll, &asked.0, Token::Lookup(id).data(), EventFlags::IN)?;
                    Ok(asked)
                });
            match asked {
                Ok(asked) => {
                    lookup.asked = Some(asked);
                    lookup.deadline = self.now + self.limits.answer_ns;
                    self.timers.insert((lookup.deadline, Timer::Lookup(id)));
                    return;
                }
                Err(error) => tracing::debug!("the resolver {resolver} cannot be asked: {error}"),
            }
        }
    }

    pub(super) fn hear_resolver(&mut self, id: u64) {
        let mut buffer = [0; MESSAGE_MAX];
        for _ in 0..A_TURN {
            let Some(lookup) = self.lookups.get(&id) else { return };
            let Some((socket, number)) = &lookup.asked else { return };
            let answer = match recv(socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((length, _)) => read_answer(&buffer[..length], *number, &lookup.name, lookup.family),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => continue,
                Err(_) => Err(Unread::Failed),
            };
            match answer {
                Ok(answer) => return self.finish(id, Some(answer)),
                Err(Unread::NotOurs) => {}
                Err(Unread::Failed) => return self.ask_next(id),
            }
        }
    }

    pub(super) fn finish(&mut self, id: u64, answer: Option<Answer>) {
        let Some(lookup) = self.forget(id) else { return };
        let Some(pod) = self.pods.get_mut(&lookup.pod) else { return };
        let (reply, addresses) = match answer {
            None => (Reply::Failed, Vec::new()),
            Some(Answer::Empty) => (Reply::Empty, Vec::new()),
            Some(Answer::NoSuchName) => (Reply::NoSuchName, Vec::new()),
            Some(Answer::Addresses { mut addresses, seconds }) => {
                addresses.retain(|address| !self.routes.leads_nowhere(*address));
                let until = self.now + i64::from(seconds) * 1_000_000_000;
                let places = Places { of_all: self.limits.names, of_pod: NAMES_MAX };
                let before = pod.names.len();
                let may_grow = self.places.has_one(places, &pod.namespace, before, |held| held.names);
                let learnt = Learnt { addresses: addresses.clone(), until, may_grow };
                let learnt = pod.names.learn(&lookup.name, lookup.family, learnt, self.now);
                self.places.change(&pod.namespace, |held| held.names += pod.names.len() - before);
                match learnt {
                    Some(_) if addresses.is_empty() => (Reply::Empty, addresses),
                    Some(address) => (Reply::Address(address), addresses),
                    None => (Reply::Failed, Vec::new()),
                }
            }
        };
        for waiter in lookup.waiters {
            self.tell_waiter(lookup.pod, waiter, reply, &addresses);
        }
    }

    fn tell_waiter(&mut self, pod: u128, waiter: Waiter, reply: Reply, addresses: &[std::net::IpAddr]) {
        match waiter {
            Waiter::Task { index, from, query } => self.send_reply(pod, index, &from, &query.reply(reply)),
            Waiter::Connection(id) => self.decide(id, addresses),
        }
    }

    fn forget(&mut self, id: u64) -> Option<Lookup> {
        let lookup = self.lookups.remove(&id)?;
        self.timers.remove(&(lookup.deadline, Timer::Lookup(id)));
        self.asked.remove(&(lookup.pod, lookup.name.clone(), lookup.family));
        if let Some(pod) = self.pods.get_mut(&lookup.pod) {
            pod.lookups -= 1;
            self.places.change(&pod.namespace, |held| held.lookups -= 1);
        }
        Some(lookup)
    }

    /// A pod has ended: nobody waits any more.
    pub(super) fn forget_lookups(&mut self, pod: u128) {
        let of_pod: Vec<u64> =
            self.lookups.iter().filter(|(_, lookup)| lookup.pod == pod).map(|(id, _)| *id).collect();
        for id in of_pod {
            self.forget(id);
        }
    }
}

/// Sends a question. Of what arrives at the socket, all is from the resolver; the port is the kernel's choice.
fn ask(resolver: SocketAddrAny, is_ipv6: bool, name: &str, family: Family) -> io::Result<(OwnedFd, u16)> {
    let mut number = [0; 2];
    getrandom::fill(&mut number).map_err(io::Error::other)?;
    let number = u16::from_ne_bytes(number);
    let question = write_question(number, name, family)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it is no name of a host"))?;
    let domain = if is_ipv6 { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(domain, SocketType::DGRAM, flags, None)?;
    connect(&socket, &resolver)?;
    send(&socket, &question, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
    Ok((socket, number))
}
