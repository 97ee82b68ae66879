//! Shares of a bounded amount, for what is refused rather than cut.
//!
//! Whoever holds something gets more as long as that is at most a quarter of what would then still be free (a dynamic
//! threshold, as switches share their buffers among ports: Choudhury and Hahne, 1998). One user alone comes to a fifth; each
//! of the next to a fifth of the rest; and who holds nothing gets what they ask for as long as there is so much.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use watchbell_api::{ApiError, Reason};

use super::Holder;

/// Of what is free, the part that one may hold.
const PART: u64 = 4;

/// Why something is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shortage {
    /// He holds as much as he may while others may want some.
    Share,
    /// Nothing is left for anybody.
    All,
}

/// An amount, and who holds how much of it.
#[derive(Debug)]
struct Pool {
    free: u64,
    /// Of it for who administers the machine.
    reserve: u64,
    /// What such hold.
    local: u64,
    held: HashMap<Holder, u64>,
}

impl Pool {
    fn new(total: u64, reserve: u64) -> Pool {
        Pool { free: total, reserve: reserve.min(total), local: 0, held: HashMap::new() }
    }

    fn held_by(&self, holder: &Holder) -> u64 {
        self.held.get(holder).copied().unwrap_or(0)
    }

    fn take(&mut self, holder: &Holder, amount: u64) -> Result<(), Shortage> {
        if holder.is_local() {
            self.free = self.free.checked_sub(amount).ok_or(Shortage::All)?;
            self.local += amount;
        } else {
            let own = self.held_by(holder);
            let open = self.free.saturating_sub(self.reserve.saturating_sub(self.local));
            let left = open.checked_sub(amount).ok_or(Shortage::All)?;
            if own > 0 && own.saturating_add(amount) > left / PART {
                return Err(Shortage::Share);
            }
            self.free -= amount;
        }
        *self.held.entry(holder.clone()).or_default() += amount;
        Ok(())
    }

    fn give_back(&mut self, holder: &Holder, amount: u64) {
        self.free += amount;
        if holder.is_local() {
            self.local -= amount;
        }
        if let Some(own) = self.held.get_mut(holder) {
            *own -= amount;
            if *own == 0 {
                self.held.remove(holder);
            }
        }
    }
}

/// A pool that many threads take from.
#[derive(Debug, Clone)]
pub(crate) struct Shares {
    pool: Arc<Mutex<Pool>>,
}

impl Shares {
    pub(crate) fn new(total: u64, reserve: u64) -> Shares {
        Shares { pool: Arc::new(Mutex::new(Pool::new(total, reserve))) }
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes some, until the share is dropped.
    pub(crate) fn take(&self, holder: &Holder, amount: u64) -> Result<Share, Shortage> {
        self.lock().take(holder, amount)?;
        Ok(Share { shares: self.clone(), holder: holder.clone(), amount })
    }

    /// A share of nothing, to grow.
    pub(crate) fn nothing(&self, holder: &Holder) -> Share {
        Share { shares: self.clone(), holder: holder.clone(), amount: 0 }
    }

    /// How much nobody holds.
    pub(crate) fn free(&self) -> u64 {
        self.lock().free
    }
}

/// What somebody holds; dropped, it is given back.
#[derive(Debug)]
pub(crate) struct Share {
    shares: Shares,
    holder: Holder,
    amount: u64,
}

impl Share {
    /// Takes more.
    pub(crate) fn grow(&mut self, by: u64) -> Result<(), Shortage> {
        self.shares.lock().take(&self.holder, by)?;
        self.amount += by;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shares.lock().give_back(&self.holder, self.amount);
    }
}

impl Shortage {
    /// What a client hears: as Kubernetes has it where too much is asked for at once (429), when to ask again. `what` is of
    /// which there is too much.
    pub(crate) fn refusal(self, what: &str) -> ApiError {
        let message = match self {
            Shortage::Share => format!(
                "you have too many {what} at once: others get their share; end some, or try again in a moment"
            ),
            Shortage::All => format!("there are too many {what} at once: end some, or try again in a moment"),
        };
        let mut error = ApiError::new(Reason::TooManyRequests, message);
        error.retry_after_seconds = Some(1);
        error
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn user(n: u8) -> Holder {
        Holder::User(format!("u{n}").into())
    }

    /// How many of one each somebody gets who wants all.
    fn greedy(pool: &mut Pool, holder: &Holder) -> u64 {
        let mut count = 0;
        while pool.take(holder, 1).is_ok() {
            count += 1;
        }
        count
    }

    #[test]
    fn one_alone_leaves_most_to_others() {
        let mut pool = Pool::new(256, 16);
        assert_eq!(greedy(&mut pool, &user(1)), 48, "a fifth of what is not reserved");
        assert_eq!(pool.take(&user(1), 1), Err(Shortage::Share));
        assert_eq!(greedy(&mut pool, &user(2)), 38);
        // Those who come after them still get one each, for long.
        let more = (3..=200).take_while(|&n| pool.take(&user(n), 1).is_ok()).count();
        assert_eq!(more, 240 - 48 - 38);
        assert_eq!(pool.take(&user(250), 1), Err(Shortage::All));
        // The administrator's own is untouched, and he may have all that there is.
        assert_eq!(greedy(&mut pool, &Holder::Local(0)), 16);
        pool.give_back(&user(1), 48);
        assert_eq!(greedy(&mut pool, &Holder::Local(0)), 48);
        assert_eq!(pool.take(&Holder::Local(0), 1), Err(Shortage::All));
    }

    #[test]
    fn large_amounts_are_given_one_at_a_time() {
        let mut pool = Pool::new(100, 0);
        assert_eq!(pool.take(&user(1), 60), Ok(()), "who holds nothing is let in");
        assert_eq!(pool.take(&user(1), 5), Err(Shortage::Share));
        assert_eq!(pool.take(&user(2), 41), Err(Shortage::All));
        assert_eq!(pool.take(&user(2), 40), Ok(()));
        assert_eq!(Pool::new(10, 20).take(&user(1), 1), Err(Shortage::All), "all of it is reserved");
    }

    #[test]
    fn a_share_is_given_back_when_it_is_dropped() {
        let shares = Shares::new(100, 0);
        let mut share = shares.take(&user(1), 10).unwrap();
        share.grow(5).unwrap();
        assert_eq!(share.grow(50), Err(Shortage::Share));
        assert_eq!(shares.free(), 85);
        drop(share);
        assert_eq!((shares.free(), shares.lock().held.len()), (100, 0));
        let error = Shortage::Share.refusal("sessions in containers");
        assert_eq!((error.reason.code(), error.retry_after_seconds), (429, Some(1)));
    }

    proptest! {
        /// What is held and what is free is always all; who holds nothing is refused only where there is not so much; who
        /// administers has his reserve.
        #[test]
        fn nothing_is_lost(
            total in 0u64..300, reserve in 0u64..50,
            steps in prop::collection::vec((0u8..8, 1u64..40, any::<bool>()), 0..200),
        ) {
            let mut pool = Pool::new(total, reserve);
            let mut held: Vec<(Holder, u64)> = Vec::new();
            for (who, amount, gives_back) in steps {
                let holder = if who == 0 { Holder::Local(0) } else { user(who) };
                if gives_back {
                    if let Some(at) = held.iter().position(|(of, _)| *of == holder) {
                        let (_, amount) = held.remove(at);
                        pool.give_back(&holder, amount);
                    }
                } else {
                    let locals: u64 = held.iter().filter(|(of, _)| *of == Holder::Local(0)).map(|(_, n)| n).sum();
                    let open = if who == 0 { pool.free } else {
                        pool.free.saturating_sub(reserve.min(total).saturating_sub(locals))
                    };
                    let had = pool.held_by(&holder);
                    let given = pool.take(&holder, amount);
                    prop_assert_eq!(given == Err(Shortage::All), amount > open);
                    if who == 0 || had == 0 {
                        prop_assert_eq!(given.is_ok(), amount <= open);
                    }
                    if given.is_ok() {
                        held.push((holder, amount));
                    }
                }
                let all: u64 = held.iter().map(|(_, amount)| amount).sum();
                prop_assert_eq!(pool.free + all, total);
            }
        }
    }
}
