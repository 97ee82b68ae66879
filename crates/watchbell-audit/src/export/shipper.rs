//! What a sender does next. Entries, answers and the time go in; what to read, send, bury, note or wait for comes out.
//!
//! ```text
//!   Read ──▶ queue ──▶ batch ──▶ Send ──▶ answer ──┬─ done ──────────────▶ acknowledged ──▶ Persist
//!    ▲                   ▲                         ├─ not to be had ─▶ Bury ──┘
//!    └─ Wait (bell) ◀────┴──── Wait (back off) ◀───┴─ again
//! ```
//!
//! # What holds
//! - An entry is passed over only when the target has it or its dead letter is written. So the place that is persisted never
//!   lies behind an entry that is neither.
//! - Entries are sent in their order, one batch at a time; only what is refused for now is sent again.
//! - What is sent in one batch is bounded in documents and bytes.

use std::collections::VecDeque;
use std::time::Duration;

use super::backoff::{self, Jitter};

/// An entry in the form it is sent in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// [`super::Entry::index`]
    pub index: u64,
    /// [`super::Entry::id`]
    pub id: String,
    /// Without an end of line.
    pub document: Vec<u8>,
    pub at_unix_nanos: i64,
}

/// What a target said of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// One for each item, in their order.
    Items(Vec<Outcome>),
    /// None of it counts (or nobody knows): all again.
    Retry { after: Option<Duration>, reason: String },
    /// The same, but only a person can help; what is sent is not at fault.
    Hold { reason: String },
    /// More than the target takes at once.
    TooLarge,
    /// The target will never take any of it.
    Refused { reason: String },
}

/// What became of one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The target has it.
    Done,
    /// Not now.
    Again { reason: String },
    /// Not now, and perhaps never: after some attempts it is taken for dead.
    Doubt { reason: String },
    /// Never.
    Dead { reason: String },
}

/// An item that the target will not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dead {
    pub item: Item,
    pub reason: String,
}

/// Bounds of a sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    pub batch_documents: usize,
    /// Of the documents alone; one that is longer is sent by itself.
    pub batch_bytes: usize,
    /// Between one batch and the next, unless there is a full one: a trickle does not become one request an entry.
    pub pace: Duration,
    /// Between one note of the place and the next.
    pub persist_interval: Duration,
    /// Attempts of an item in doubt.
    pub doubts: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            batch_documents: 2000,
            batch_bytes: 4 << 20,
            pace: Duration::from_secs(1),
            persist_interval: Duration::from_secs(1),
            doubts: 10,
        }
    }
}

/// What to do next. Each but `Wait` is answered by the function of its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<'a> {
    /// Read entries from this index on: [`Shipper::read`].
    Read { from: u64 },
    /// Send these: [`Shipper::answered`].
    Send(&'a [Item]),
    /// Write these to the dead letters, durably: [`Shipper::buried`].
    Bury(&'a [Dead]),
    /// Note that everything before this index is acknowledged: [`Shipper::persisted`].
    Persist { next: u64 },
    /// Until this time (`None`: for ever), and no longer than until there is more to read when `wake` says so.
    Wait { until: Option<Duration>, wake: Wake },
}

/// Whether news end a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    OnNews,
    OnlyTime,
}

/// What has happened so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Documents that the target has.
    pub sent: u64,
    /// Documents that were sent again.
    pub retried: u64,
    pub dead: u64,
}

#[derive(Debug, Clone)]
struct Pending {
    items: Vec<Item>,
    /// Attempts of each that left it in doubt.
    doubts: Vec<u32>,
}

/// The sender of one target.
#[derive(Debug, Clone)]
pub struct Shipper {
    limits: Limits,
    /// Read and not in the batch yet.
    queue: VecDeque<Item>,
    read_next: u64,
    /// Whether the last reading found all that there was.
    is_at_end: bool,
    batch: Pending,
    /// Of the batch, so many are sent at once: fewer than the limit after the target said that it was too much.
    documents: usize,
    /// Failed attempts in a row.
    attempt: u32,
    not_before: Duration,
    pace_until: Duration,
    /// Documents that were settled since the last pause: a backlog is not paced, though a reading ends with a small batch.
    since_pause: usize,
    dead: Vec<Dead>,
    /// Everything before is at the target or dead.
    acknowledged: u64,
    persisted: u64,
    persist_at: Duration,
    counts: Counts,
    /// Why the last attempt failed, until one succeeds.
    trouble: Option<String>,
}

impl Shipper {
    /// One that has everything before `next`. Times are since a moment of the caller's choice.
    pub fn new(limits: Limits, next: u64) -> Shipper {
        Shipper {
            documents: limits.batch_documents.max(1),
            limits,
            queue: VecDeque::new(),
            read_next: next,
            is_at_end: false,
            batch: Pending { items: Vec::new(), doubts: Vec::new() },
            attempt: 0,
            not_before: Duration::ZERO,
            pace_until: Duration::ZERO,
            since_pause: 0,
            dead: Vec::new(),
            acknowledged: next,
            persisted: next,
            persist_at: Duration::ZERO,
            counts: Counts::default(),
            trouble: None,
        }
    }

    /// What to do at `now`.
    pub fn next(&mut self, now: Duration) -> Step<'_> {
        if !self.dead.is_empty() {
            return Step::Bury(&self.dead);
        }
        let has_progress = self.acknowledged > self.persisted;
        if has_progress && now >= self.persist_at {
            return Step::Persist { next: self.acknowledged };
        }
        let persist_at = has_progress.then_some(self.persist_at);
        if self.batch.items.is_empty() {
            self.fill_batch();
        }
        if !self.batch.items.is_empty() {
            if now < self.not_before {
                let until = persist_at.map_or(self.not_before, |at| at.min(self.not_before));
                return Step::Wait { until: Some(until), wake: Wake::OnlyTime };
            }
            return Step::Send(&self.batch.items[..self.sent_at_once()]);
        }
        if self.is_at_end {
            return Step::Wait { until: persist_at, wake: Wake::OnNews };
        }
        if now < self.pace_until {
            let until = persist_at.map_or(self.pace_until, |at| at.min(self.pace_until));
            return Step::Wait { until: Some(until), wake: Wake::OnlyTime };
        }
        Step::Read { from: self.read_next }
    }

    /// There may be more to read.
    pub fn news(&mut self) {
        self.is_at_end = false;
    }

    /// The server ends: what waits for company, or to be noted, goes now.
    pub fn hurry(&mut self) {
        self.pace_until = Duration::ZERO;
        self.persist_at = Duration::ZERO;
        self.limits.persist_interval = Duration::ZERO;
    }

    /// These follow; none: there are no more for now. Returns how many entries are missing before the first of them, which
    /// the journal does not have any more.
    pub fn read(&mut self, items: Vec<Item>) -> u64 {
        let (Some(first), Some(last)) = (items.first(), items.last()) else {
            self.is_at_end = true;
            return 0;
        };
        let missing = first.index.saturating_sub(self.read_next);
        self.read_next = last.index + 1;
        self.queue.extend(items);
        missing
    }

    /// How many of the batch go into one request.
    fn sent_at_once(&self) -> usize {
        let items = &self.batch.items;
        let mut bytes = 0usize;
        let fit = items.iter().take(self.documents).take_while(|item| {
            bytes = bytes.saturating_add(item.document.len());
            bytes <= self.limits.batch_bytes
        });
        fit.count().max(1).min(items.len())
    }

    fn fill_batch(&mut self) {
        let mut bytes = 0usize;
        while let Some(item) = self.queue.front()
            && self.batch.items.len() < self.limits.batch_documents.max(1)
        {
            bytes = bytes.saturating_add(item.document.len());
            if bytes > self.limits.batch_bytes && !self.batch.items.is_empty() {
                break;
            }
            self.batch.items.extend(self.queue.pop_front());
            self.batch.doubts.push(0);
        }
    }

    /// What became of the items of the last [`Step::Send`].
    pub fn answered(&mut self, answer: Answer, now: Duration, jitter: Jitter) {
        let sent = self.sent_at_once();
        match answer {
            Answer::Items(outcomes) if outcomes.len() == sent => self.settle(outcomes, now, jitter),
            Answer::Items(outcomes) => {
                let reason = format!("an answer for {} of {sent} documents", outcomes.len());
                self.again(sent, None, reason, now, jitter);
            }
            Answer::Retry { after, reason } => self.again(sent, after, reason, now, jitter),
            Answer::Hold { reason } => {
                self.counts.retried += sent as u64;
                self.trouble = Some(reason);
                self.attempt = self.attempt.saturating_add(1);
                self.not_before = now + backoff::hold(jitter);
            }
            Answer::TooLarge if sent > 1 => {
                self.counts.retried += sent as u64;
                self.documents = sent / 2;
            }
            Answer::TooLarge => {
                let outcome = Outcome::Dead { reason: "the target takes no document of its size".into() };
                self.settle(vec![outcome], now, jitter);
            }
            Answer::Refused { reason } => {
                self.settle(vec![Outcome::Dead { reason }; sent], now, jitter);
            }
        }
    }

    fn again(&mut self, sent: usize, after: Option<Duration>, reason: String, now: Duration, jitter: Jitter) {
        self.counts.retried += sent as u64;
        self.trouble = Some(reason);
        self.attempt = self.attempt.saturating_add(1);
        self.not_before = now + backoff::delay(self.attempt, after, jitter);
    }

    fn settle(&mut self, outcomes: Vec<Outcome>, now: Duration, jitter: Jitter) {
        self.since_pause = self.since_pause.saturating_add(outcomes.len());
        let rest_items = self.batch.items.split_off(outcomes.len());
        let rest_doubts = self.batch.doubts.split_off(outcomes.len());
        let items = std::mem::take(&mut self.batch.items);
        let doubts = std::mem::take(&mut self.batch.doubts);
        let mut trouble = None;
        for ((item, doubts), outcome) in items.into_iter().zip(doubts).zip(outcomes) {
            let (reason, doubts) = match outcome {
                Outcome::Done => {
                    self.counts.sent += 1;
                    continue;
                }
                Outcome::Dead { reason } => {
                    self.dead.push(Dead { item, reason });
                    continue;
                }
                Outcome::Doubt { reason } if doubts + 1 >= self.limits.doubts => {
                    self.dead.push(Dead { item, reason });
                    continue;
                }
                Outcome::Doubt { reason } => (reason, doubts + 1),
                Outcome::Again { reason } => (reason, doubts),
            };
            self.counts.retried += 1;
            trouble = Some(reason);
            self.batch.items.push(item);
            self.batch.doubts.push(doubts);
        }
        self.batch.items.extend(rest_items);
        self.batch.doubts.extend(rest_doubts);
        match trouble {
            Some(reason) => {
                self.attempt = self.attempt.saturating_add(1);
                self.not_before = now + backoff::delay(self.attempt, None, jitter);
                self.trouble = Some(reason);
            }
            None => {
                self.attempt = 0;
                self.not_before = now;
                self.trouble = None;
                // What was too much once may be taken later.
                self.documents =
                    (self.documents + self.documents / 8 + 1).min(self.limits.batch_documents.max(1));
            }
        }
        if self.queue.is_empty() && self.batch.items.is_empty() {
            if self.since_pause < self.limits.batch_documents {
                self.pace_until = now + self.limits.pace;
            }
            self.since_pause = 0;
        }
        self.acknowledge();
    }

    /// The dead letters of the last [`Step::Bury`] are durable.
    pub fn buried(&mut self) {
        self.counts.dead += self.dead.len() as u64;
        self.dead.clear();
        self.acknowledge();
    }

    fn acknowledge(&mut self) {
        let unsettled = self.batch.items.iter().map(|item| item.index).min();
        let unburied = self.dead.iter().map(|dead| dead.item.index).min();
        let queued = self.queue.front().map(|item| item.index);
        let first = [unsettled, unburied, queued].into_iter().flatten().min();
        self.acknowledged = first.unwrap_or(self.read_next);
    }

    /// The place of the last [`Step::Persist`] is durable, or could not be noted and will be with the next one.
    pub fn persisted(&mut self, now: Duration) {
        self.persisted = self.acknowledged;
        self.persist_at = now + self.limits.persist_interval;
    }

    /// The target lost what it had from `next` on: it is read and sent again.
    pub fn set_back(&mut self, next: u64) {
        self.counts.retried += self.acknowledged.saturating_sub(next);
        self.queue.clear();
        self.batch = Pending { items: Vec::new(), doubts: Vec::new() };
        self.dead.clear();
        self.is_at_end = false;
        (self.read_next, self.acknowledged, self.persisted) = (next, next, next);
    }

    /// Everything before this index is acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// The place to note before it ends, if it is not noted yet.
    pub fn unnoted(&self) -> Option<u64> {
        (self.acknowledged > self.persisted).then_some(self.acknowledged)
    }

    /// When the oldest entry that was read and is not acknowledged was written.
    pub fn oldest_unix_nanos(&self) -> Option<i64> {
        let dead = self.dead.iter().map(|dead| &dead.item);
        self.batch
            .items
            .iter()
            .chain(dead)
            .chain(self.queue.front())
            .min_by_key(|i| i.index)
            .map(|i| i.at_unix_nanos)
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Why the last attempt failed; `None` once one has succeeded.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }
}

#[cfg(test)]
mod tests;
