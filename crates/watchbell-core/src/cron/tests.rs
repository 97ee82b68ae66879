//! What the parser takes, what the search finds, and how both compare with others.

mod explain;
mod laws;
mod measure;
mod parse;
mod peers;
mod robfig;
mod zones;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Schedule, time_zone};

fn schedule(spec: &str) -> Schedule {
    Schedule::parse(spec).unwrap_or_else(|e| panic!("{spec:?}: {e}"))
}

fn zone(name: &str) -> TimeZone {
    time_zone(Some(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn instant(text: &str) -> Timestamp {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// All slots in `(from, until]`, by `next_after`.
fn slots(schedule: &Schedule, tz: &TimeZone, from: Timestamp, until: Timestamp) -> Vec<Timestamp> {
    std::iter::successors(schedule.next_after(tz, from), |&at| schedule.next_after(tz, at))
        .take_while(|&at| at <= until)
        .collect()
}

/// An instant as the zone's wall clock shows it: `2025-03-09T01:30:00-05`.
fn shown(tz: &TimeZone, at: Timestamp) -> String {
    let offset = tz.to_offset(at);
    format!("{}{offset}", offset.to_datetime(at))
}
