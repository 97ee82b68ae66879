//! Which versions are affected: events of the OSV schema made into intervals, and whether one holds a version.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::Ecosystem;
use crate::index::Span;
use crate::version::Rules;

/// A run of affected versions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Interval {
    /// The first; `0` is before every version.
    pub introduced: String,
    pub end: End,
}

/// Where a run of affected versions ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum End {
    /// Not at all: there is no fix.
    Open,
    /// The first that is not affected.
    Fixed(String),
    /// The last that is affected; what comes next is not known to be a fix.
    LastAffected(String),
    /// Nothing is said about this version and later ones.
    Limit(String),
}

/// As the schema names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Introduced(String),
    Fixed(String),
    LastAffected(String),
    Limit(String),
}

impl Interval {
    /// The intervals of one range, by the evaluation that the OSV schema describes: events in the order of versions, each
    /// turning "affected" on or off.
    pub fn from_events(ecosystem: &Ecosystem, events: Vec<Event>) -> Vec<Interval> {
        intervals(ecosystem.rules(), events)
    }

    /// Everything before `fixed`.
    pub fn before(fixed: &str) -> Interval {
        Interval { introduced: "0".to_owned(), end: End::Fixed(fixed.to_owned()) }
    }

    /// Every version there is.
    pub fn everything() -> Interval {
        Interval { introduced: "0".to_owned(), end: End::Open }
    }

    pub fn fixed(&self) -> Option<&str> {
        match &self.end {
            End::Fixed(version) => Some(version),
            End::Open | End::LastAffected(_) | End::Limit(_) => None,
        }
    }

    pub(crate) fn contains(&self, rules: Rules, version: &str) -> bool {
        Span::from(self).contains(rules, version)
    }
}

/// `>= 1.2, < 1.5` and the like, as people write it.
impl std::fmt::Display for Interval {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let start = (self.introduced != "0").then_some(&self.introduced);
        match (start, &self.end) {
            (None, End::Open) => f.write_str("all versions"),
            (Some(start), End::Open) => write!(f, ">= {start}"),
            (None, End::Fixed(end) | End::Limit(end)) => write!(f, "< {end}"),
            (Some(start), End::Fixed(end) | End::Limit(end)) => write!(f, ">= {start}, < {end}"),
            (None, End::LastAffected(last)) => write!(f, "<= {last}"),
            (Some(start), End::LastAffected(last)) => write!(f, ">= {start}, <= {last}"),
        }
    }
}

#[cfg(test)]
mod tests;

fn intervals(rules: Rules, mut events: Vec<Event>) -> Vec<Interval> {
    let limit = greatest_limit(rules, &events);
    events.retain(|event| !matches!(event, Event::Limit(_)));
    // Stable: of events at one version the publisher's order holds.
    events.sort_by(|a, b| compare_positions(rules, a.version(), b.version()));
    let mut out = Vec::new();
    let mut open: Option<String> = None;
    for event in events {
        match event {
            Event::Introduced(version) => {
                open.get_or_insert(version);
            }
            Event::Fixed(version) => close(rules, &mut out, &mut open, End::Fixed(version)),
            Event::LastAffected(version) => close(rules, &mut out, &mut open, End::LastAffected(version)),
            Event::Limit(_) => {}
        }
    }
    close(rules, &mut out, &mut open, End::Open);
    if let Some(limit) = limit {
        out.retain_mut(|interval| clip(rules, interval, &limit));
    }
    out
}

impl Event {
    fn version(&self) -> &str {
        match self {
            Event::Introduced(v) | Event::Fixed(v) | Event::LastAffected(v) | Event::Limit(v) => v,
        }
    }
}

/// `0` is before all versions, also before those that an ecosystem orders below its own 0 (`0~rc1`).
fn compare_positions(rules: Rules, a: &str, b: &str) -> Ordering {
    match (a == "0", b == "0") {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => rules.compare(a, b),
    }
}

fn close(rules: Rules, out: &mut Vec<Interval>, open: &mut Option<String>, end: End) {
    let Some(introduced) = open.take() else { return };
    let is_empty = match &end {
        End::Fixed(fixed) => compare_positions(rules, &introduced, fixed).is_ge(),
        End::Open | End::LastAffected(_) | End::Limit(_) => false,
    };
    if !is_empty {
        out.push(Interval { introduced, end });
    }
}

/// A version is before the limits when it is before any of them. `*` is no limit.
fn greatest_limit(rules: Rules, events: &[Event]) -> Option<String> {
    let limits: Vec<&str> = events
        .iter()
        .filter_map(|event| if let Event::Limit(version) = event { Some(version.as_str()) } else { None })
        .collect();
    if limits.contains(&"*") {
        return None;
    }
    limits.into_iter().max_by(|a, b| compare_positions(rules, a, b)).map(str::to_owned)
}

/// Cuts what reaches beyond the limit; false when nothing is left.
fn clip(rules: Rules, interval: &mut Interval, limit: &str) -> bool {
    if compare_positions(rules, &interval.introduced, limit).is_ge() {
        return false;
    }
    let reaches_beyond = match &interval.end {
        End::Open => true,
        End::Fixed(end) | End::Limit(end) => compare_positions(rules, end, limit).is_gt(),
        End::LastAffected(last) => compare_positions(rules, last, limit).is_ge(),
    };
    if reaches_beyond {
        interval.end = End::Limit(limit.to_owned());
    }
    true
}
