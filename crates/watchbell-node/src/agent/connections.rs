//! What pods may connect to, and what the gate says of their connections.

use std::sync::Arc;

use watchbell_api::Uid;
use watchbell_api::network::{ConnectionAt, ConnectionEnd, ConnectionNews, EgressWire, Reached, Traffic};
use watchbell_api::node::Report;
use watchbell_core::egress::Egress;
use watchbell_sandbox::gate::{self, Beyond, Counted, Decided, End, Ended, Notice, Target, Verdict, decode};

use super::pod::Pod;
use super::{Agent, Effect};

/// `resolv.conf` of a pod with a door. Names are complete: there is no domain here that they could be searched in.
pub(super) fn resolv_conf() -> Vec<u8> {
    format!("nameserver {}\noptions ndots:0\n", watchbell_sandbox::DOOR_V4).into_bytes()
}

/// Of a pod that no policy selects any more: it keeps its door, and gets nowhere.
fn nowhere() -> EgressWire {
    Egress::default().to_wire().into()
}

impl Agent {
    /// From now on. A pod that began without a door gets none.
    pub(super) fn change_egress(&mut self, uid: Uid, egress: Option<EgressWire>) {
        let Some(pod) = self.pods.get_mut(&uid) else { return };
        let egress = egress.unwrap_or_else(nowhere);
        pod.assignment.egress = pod.assignment.egress.is_some().then(|| Arc::clone(&egress));
        if let Some(environment) = &mut pod.environment
            && environment.egress.is_some()
        {
            // For a spawner that has to be told of the pod again.
            Arc::make_mut(environment).egress = Some(Arc::clone(&egress));
        }
        self.effects.push(Effect::ChangeEgress { uid, egress });
    }

    /// For a spawner that may not have heard of it: policies changed while no server was there, or the connection to it broke.
    pub(super) fn renewed_egress(pod: &Pod) -> Option<Effect> {
        (!pod.handed.is_empty()).then(|| {
            let egress = pod.assignment.egress.clone().unwrap_or_else(nowhere);
            Effect::ChangeEgress { uid: pod.assignment.uid, egress }
        })
    }

    /// A notice of the gate, which may have been taken over: what cannot be read is dropped, and what can is bounded by its frame.
    pub(super) fn connections(&mut self, serial: u64, lost: u64, notice: &[u8]) {
        match decode(notice) {
            // What is lost alone.
            _ if notice.is_empty() => {}
            Ok(notice) => {
                let (uid, news) = news(notice);
                self.effects.push(Effect::Report(Report::Connection { uid, news: Box::new(news) }));
            }
            Err(error) => tracing::error!("what the gate says cannot be read: {error}"),
        }
        self.note_heard(serial, lost);
    }

    pub(super) fn gate_lost(&mut self, serial: u64, from: i64, until: i64) {
        self.effects.push(Effect::Report(Report::GateLost { from, until }));
        self.note_heard(serial, 0);
    }

    fn note_heard(&mut self, serial: u64, lost: u64) {
        let heard = self.connections_heard.get_or_insert((serial, 0));
        *heard = (serial, heard.1.saturating_add(lost));
    }

    /// Once what came before in this round was said.
    pub(super) fn tell_heard(&mut self) {
        if let Some((serial, lost)) = self.connections_heard.take() {
            self.effects.push(Effect::Report(Report::ConnectionsTold { serial, lost }));
        }
    }
}

/// In the words of the server.
fn news(notice: Notice) -> (Uid, ConnectionNews) {
    match notice {
        Notice::Decided(Decided { at, pod, connection, target, verdict }) => {
            let at = place(at, connection, target);
            let news = match verdict {
                Verdict::Allowed { policy } => ConnectionNews::Allowed { at, policy: policy.into() },
                Verdict::Refused { reason, why } => {
                    ConnectionNews::Refused { at, reason: reason.into(), why: why.into() }
                }
            };
            (Uid(pod), news)
        }
        Notice::Ended(Ended { at, pod, connection, target, sent, received, lasted_ns, how }) => {
            let (at, traffic) = (place(at, connection, target), Traffic { sent, received });
            (Uid(pod), ConnectionNews::Ended { at, how: end(how), traffic, nanos: lasted_ns })
        }
        Notice::Beyond(beyond) => counted(beyond, Vec::new(), 0),
        Notice::Counted(Counted { beyond, reached, others }) => counted(beyond, reached, others),
    }
}

fn counted(beyond: Beyond, reached: Vec<gate::Reached>, others: u64) -> (Uid, ConnectionNews) {
    let Beyond { pod, allowed, refused, ended, sent, received, .. } = beyond;
    let to = |gate::Reached { target: Target { name, address, port }, count }| Reached {
        name: name.map(Into::into),
        address,
        port,
        count,
    };
    let (traffic, reached) = (Traffic { sent, received }, reached.into_iter().map(to).collect());
    (Uid(pod), ConnectionNews::Counted { allowed, refused, ended, traffic, reached, others })
}

fn place(unix_nanos: i64, connection: u64, target: Target) -> ConnectionAt {
    let Target { name, address, port } = target;
    ConnectionAt { unix_nanos, connection, name: name.map(Into::into), address, port }
}

fn end(how: End) -> ConnectionEnd {
    match how {
        End::Closed => ConnectionEnd::Closed,
        End::ByPod => ConnectionEnd::ByPod,
        End::ByPeer => ConnectionEnd::ByPeer,
        End::NotReached { why } => ConnectionEnd::NotReached(why.into()),
        End::Withdrawn => ConnectionEnd::Withdrawn,
        End::PodEnded => ConnectionEnd::PodEnded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_gate_says_is_what_the_server_hears() {
        let target = Target { name: Some("a.org".to_owned()), address: None, port: Some(443) };
        let at = || ConnectionAt {
            unix_nanos: 5,
            connection: 7,
            name: Some("a.org".into()),
            address: None,
            port: Some(443),
        };
        let decided = |verdict| {
            news(Notice::Decided(Decided { at: 5, pod: 9, connection: 7, target: target.clone(), verdict }))
        };
        let allowed = decided(Verdict::Allowed { policy: "ns/p".to_owned() });
        assert_eq!(allowed, (Uid(9), ConnectionNews::Allowed { at: at(), policy: "ns/p".into() }));
        let refused = decided(Verdict::Refused { reason: "NoRule".to_owned(), why: "no policy".to_owned() });
        let expect = ConnectionNews::Refused { at: at(), reason: "NoRule".into(), why: "no policy".into() };
        assert_eq!(refused, (Uid(9), expect));
        let how = End::NotReached { why: "no route".to_owned() };
        let ended = Ended { at: 5, pod: 9, connection: 7, target, sent: 1, received: 2, lasted_ns: 3, how };
        let traffic = Traffic { sent: 1, received: 2 };
        let how = ConnectionEnd::NotReached("no route".into());
        let expect = ConnectionNews::Ended { at: at(), how, traffic, nanos: 3 };
        assert_eq!(news(Notice::Ended(ended)), (Uid(9), expect));
        let beyond = Beyond { at: 5, pod: 9, allowed: 4, refused: 5, ended: 6, sent: 1, received: 2 };
        let reached = |reached: Vec<Reached>, others| {
            let reached = reached.into();
            ConnectionNews::Counted { allowed: 4, refused: 5, ended: 6, traffic, reached, others }
        };
        assert_eq!(news(Notice::Beyond(beyond)), (Uid(9), reached(Vec::new(), 0)));
        let target = Target { name: Some("a.org".to_owned()), address: None, port: Some(443) };
        let counted = Counted { beyond, reached: vec![gate::Reached { target, count: 3 }], others: 1 };
        let to = Reached { name: Some("a.org".into()), address: None, port: Some(443), count: 3 };
        assert_eq!(news(Notice::Counted(counted)), (Uid(9), reached(vec![to], 1)));
    }
}
