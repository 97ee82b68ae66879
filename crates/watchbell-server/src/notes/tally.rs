//! How much of what is read and refused becomes an entry of its own. Entries are never taken away, so whoever may ask must not
//! fill the disk by asking: what is beyond a rate is counted, and the count is an entry.
//!
//! It is looked at before a note goes to the writer, so one user's flood takes no places from others while the writer waits
//! for the disk.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use watchbell_core::world::AuditRecord;
use watchbell_identity::Source;

/// So many at once, then one an interval.
#[derive(Debug, Clone, Copy)]
struct Rate {
    burst: u32,
    interval: Duration,
}

/// Entries of one user and class.
const OF_USER: Rate = Rate { burst: 1000, interval: Duration::from_millis(100) };
/// Entries about all strangers together, each of which counts a network's requests.
const OF_STRANGERS: Rate = Rate { burst: 64, interval: Duration::from_secs(1) };
/// Users and classes that are told apart; beyond these, one rate is for all.
const USERS_MAX: usize = 4096;
/// Networks and reasons that are told apart until their entries are written.
const NETWORKS_MAX: usize = 64;
/// Kinds of requests beyond the rate that are told apart in [`EXCESS_EVERY`]; then so many users.
const EXCESS_MAX: usize = 256;
/// How often what is beyond the rate becomes an entry.
const EXCESS_EVERY: Duration = Duration::from_secs(60);
/// Notes on their way to the writer, which does not take any while it waits for the disk.
const ON_THE_WAY_MAX: usize = 10_000;

impl Rate {
    /// Takes a place, if there is one. `full_at` is when all are there again (the generic cell rate algorithm).
    fn take(self, full_at: &mut Duration, now: Duration) -> bool {
        let after = (*full_at).max(now) + self.interval;
        let has_place = after - now <= self.interval * self.burst;
        if has_place {
            *full_at = after;
        }
        has_place
    }
}

/// Each has a rate of its own, so that none can be hidden behind a flood of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Class {
    Read,
    Secret,
    Refusal,
}

impl Class {
    fn of(entry: &Value) -> Class {
        if entry["responseStatus"]["status"] == "Failure" {
            Class::Refusal
        } else if entry["objectRef"]["resource"] == "secrets" {
            Class::Secret
        } else {
            Class::Read
        }
    }
}

#[derive(Debug)]
struct Strangers {
    first: Option<IpAddr>,
    count: u64,
}

#[derive(Debug)]
pub(crate) struct Tally {
    began: Instant,
    strangers: BTreeMap<(Option<Source>, &'static str), Strangers>,
    strangers_full_at: Duration,
    /// Of networks beyond those that are told apart.
    other_strangers: u64,
    users: HashMap<(Box<str>, Class), Duration>,
    /// What each kind of request beyond the rate is, and how many there were.
    excess: BTreeMap<String, (Map<String, Value>, u64)>,
    excess_since: Option<Duration>,
    other_excess: u64,
    on_the_way: usize,
    lost: u64,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally {
            began: Instant::now(),
            strangers: BTreeMap::new(),
            strangers_full_at: Duration::ZERO,
            other_strangers: 0,
            users: HashMap::new(),
            excess: BTreeMap::new(),
            excess_since: None,
            other_excess: 0,
            on_the_way: 0,
            lost: 0,
        }
    }
}

impl Tally {
    /// The time since it began, which is what it counts by.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Somebody without an identity of ours: from where, and why he has none. `true`: he is the first that waits.
    pub(crate) fn stranger(&mut self, address: Option<IpAddr>, why: &'static str) -> bool {
        let is_first = self.strangers.is_empty();
        let has_room = self.strangers.len() < NETWORKS_MAX;
        match self.strangers.get_mut(&(address.map(Source::of), why)) {
            Some(strangers) => strangers.count += 1,
            None if has_room => {
                let one = Strangers { first: address, count: 1 };
                self.strangers.insert((address.map(Source::of), why), one);
            }
            None => self.other_strangers += 1,
        }
        is_first
    }

    /// A request that was answered or refused without the writer. `None`: it is counted, and no entry of its own.
    pub(crate) fn request(&mut self, record: AuditRecord, now: Duration) -> Option<AuditRecord> {
        if !self.has_place(&record.body, now) {
            self.count(&record.body, now);
            return None;
        }
        if self.on_the_way >= ON_THE_WAY_MAX {
            self.lose(&record.body);
            return None;
        }
        self.on_the_way += 1;
        Some(record)
    }

    /// There was no room for one, which may stand for many.
    pub(super) fn lose(&mut self, entry: &Value) {
        let count = entry["annotations"][COUNT].as_str().and_then(|count| count.parse().ok());
        self.lost += count.unwrap_or(1);
    }

    /// Something that other bounds hold down, and that is always an entry.
    pub(crate) fn goes(&mut self) {
        self.on_the_way += 1;
    }

    pub(crate) fn arrived(&mut self, notes: usize) {
        self.on_the_way = self.on_the_way.saturating_sub(notes);
    }

    fn has_place(&mut self, entry: &Value, now: Duration) -> bool {
        let user = entry["user"]["username"].as_str().unwrap_or_default();
        let mut key = (Box::from(user), Class::of(entry));
        if self.users.len() >= USERS_MAX && !self.users.contains_key(&key) {
            self.users.retain(|_, full_at| *full_at > now);
            if self.users.len() >= USERS_MAX {
                key.0 = Box::default();
            }
        }
        OF_USER.take(self.users.entry(key).or_default(), now)
    }

    fn count(&mut self, entry: &Value, now: Duration) {
        self.excess_since.get_or_insert(now);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (object, code) = (&entry["objectRef"], &entry["responseStatus"]["code"]);
        let user = text(&entry["user"]["username"]);
        let kind = [
            user.clone(),
            text(&entry["impersonatedUser"]["username"]),
            text(&entry["verb"]),
            text(&object["resource"]),
            text(&object["subresource"]),
            text(&object["namespace"]),
            code.to_string(),
        ]
        .join("\0");
        for (key, limit, fields) in [
            (kind, EXCESS_MAX, &["user", "impersonatedUser", "verb", "objectRef", "responseStatus"][..]),
            (user, 2 * EXCESS_MAX, &["user"][..]),
        ] {
            let has_room = self.excess.len() < limit;
            match self.excess.get_mut(&key) {
                Some((_, count)) => *count += 1,
                None if has_room => {
                    let kept =
                        fields.iter().filter_map(|field| Some(((*field).to_owned(), entry.get(field)?)));
                    let mut kept: Map<String, Value> =
                        kept.map(|(field, value)| (field, value.clone())).collect();
                    if let Some(object) = kept.get_mut("objectRef").and_then(Value::as_object_mut) {
                        object.remove("name");
                    }
                    self.excess.insert(key, (kept, 1));
                }
                None => continue,
            }
            return;
        }
        self.other_excess += 1;
    }

    /// When something must become an entry without anybody asking; `None`: nothing waits.
    pub(crate) fn due(&self, now: Duration) -> Option<Duration> {
        self.excess_since.map(|since| (since + EXCESS_EVERY).saturating_sub(now))
    }

    /// Whether strangers wait for their entry.
    pub(crate) fn has_strangers(&self) -> bool {
        !self.strangers.is_empty()
    }

    /// The counts that are due, or all of them at the end: what differs in an event from one that says nothing but a count.
    pub(crate) fn take(&mut self, now: Duration, is_end: bool) -> Vec<Value> {
        let mut taken = Vec::new();
        while let Some(strangers) = self.strangers.first_entry() {
            if !is_end && !OF_STRANGERS.take(&mut self.strangers_full_at, now) {
                break;
            }
            let ((network, why), Strangers { first, count }) = strangers.remove_entry();
            let mut entry = of_strangers(STRANGERS, count);
            entry["annotations"]["watchbell.dev/reason"] = why.into();
            entry["sourceIPs"] = super::addresses(first);
            if let Some(network) = network {
                entry["annotations"]["watchbell.dev/network"] = network.to_string().into();
            }
            taken.push(entry);
        }
        if self.strangers.is_empty() {
            let others = std::mem::take(&mut self.other_strangers);
            taken.extend((others > 0).then(|| of_strangers(OTHER_STRANGERS, others)));
        }
        let lost = std::mem::take(&mut self.lost);
        taken.extend((lost > 0).then(|| counted(LOST, lost)));
        if is_end || self.due(now).is_some_and(|due| due.is_zero()) {
            self.excess_since = None;
            for (kept, count) in std::mem::take(&mut self.excess).into_values() {
                let mut entry = counted(EXCESS, count);
                for (field, value) in kept {
                    entry[field] = value;
                }
                entry["responseStatus"]["message"] = EXCESS.into();
                taken.push(entry);
            }
            let others = std::mem::take(&mut self.other_excess);
            taken.extend((others > 0).then(|| counted(EXCESS, others)));
        }
        taken
    }
}

const STRANGERS: &str = "requests without an identity";
const OTHER_STRANGERS: &str = "requests without an identity from further addresses";
const EXCESS: &str = "further requests, beyond the rate of entries of one user";
/// How many requests an entry stands for.
const COUNT: &str = "watchbell.dev/count";
const LOST: &str = "notes of requests that were lost while the disk refused or delayed them";

/// What a count says.
fn counted(message: &str, count: u64) -> Value {
    json!({
        "responseStatus": {"metadata": {}, "message": message},
        "annotations": {COUNT: count.to_string()},
    })
}

fn of_strangers(message: &str, count: u64) -> Value {
    let mut entry = counted(message, count);
    entry["user"] = json!({"username": "system:anonymous", "groups": ["system:unauthenticated"]});
    entry["responseStatus"]["status"] = "Failure".into();
    entry["responseStatus"]["code"] = 401.into();
    entry
}

#[cfg(test)]
mod tests;
