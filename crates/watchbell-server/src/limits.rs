//! Who may hold how much of what the server has a bounded amount of.
//!
//! ```text
//!  connections           Places   where all are taken, whoever holds most gives one up: a newcomer always comes in
//!  logs, sessions,       Shares   nobody takes more than a part of what is free: whoever asks for more is told to wait
//!  bytes of bodies and of answers
//! ```
//!
//! Both are pure; what is cut or refused by them is in `connection.rs` and where the things are opened.

mod places;
mod shares;

use std::sync::Arc;

use watchbell_identity::Source;

pub(crate) use places::{Number, Places};
pub(crate) use shares::{Share, Shares, Shortage};

/// For whom something is held.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Holder {
    /// A user of this machine, over the local socket, who administers the server: he has a reserve and no share.
    Local(u32),
    /// Somebody who is not known, by where he comes from.
    Source(Source),
    /// Somebody who is known, by the name that his certificate or token gives him.
    User(Arc<str>),
}

impl Holder {
    pub(crate) fn is_local(&self) -> bool {
        matches!(self, Holder::Local(_))
    }
}

/// How many connections there may be of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// That have not yet said anything.
    pub handshakes: usize,
    /// Over which nobody who is known has asked.
    pub anonymous: usize,
    /// Of users.
    pub known: usize,
    /// Over the local socket: nobody else can take these.
    pub local: usize,
}

impl ConnectionLimits {
    /// What a process has that may open so many files. Half of them are the node's, for logs, images, pipes and the journal:
    /// who connects must not keep pods from starting.
    pub fn of(files_max: u64) -> ConnectionLimits {
        let all = ConnectionLimits { handshakes: 256, anonymous: 128, known: 4096, local: 64 };
        let wanted = all.handshakes + all.anonymous + all.known + all.local;
        let may = usize::try_from(files_max / 2).unwrap_or(usize::MAX);
        let part = |of: usize| if may >= wanted { of } else { (of.saturating_mul(may) / wanted).max(4) };
        ConnectionLimits {
            handshakes: part(all.handshakes),
            anonymous: part(all.anonymous),
            known: part(all.known),
            local: part(all.local),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ConnectionLimits;

    #[test]
    fn connections_leave_half_of_the_files_to_the_node() {
        let all = |l: ConnectionLimits| l.handshakes + l.anonymous + l.known + l.local;
        let most = ConnectionLimits::of(u64::MAX);
        assert_eq!((most.known, most.local, all(most)), (4096, 64, 4544));
        assert_eq!(ConnectionLimits::of(2 * 4544), most);
        let few = ConnectionLimits::of(1024);
        assert!((500..=512).contains(&all(few)), "{few:?}");
        for files in [0, 1, 64, 256] {
            let least = ConnectionLimits::of(files);
            assert!(least.local >= 4 && least.known >= 4, "there is always a way in: {least:?}");
        }
    }
}
