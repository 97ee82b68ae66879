//! What a schedule means from an instant on: its next slots, and what the zone's clock changes do to it.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

use super::schedule::Schedule;

/// Clock changes are looked for at least this far ahead.
const CHANGES_WITHIN_SECONDS: i64 = 366 * 86_400;
/// How many clock changes that matter are told.
const CHANGES_TOLD: usize = 4;
/// How many changes of the offset are looked at, for a schedule whose slots are decades apart.
const CHANGES_LOOKED_AT: usize = 400;

/// The answer of `explain-schedule`. Its `Display` is for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The zone's IANA name.
    pub zone: String,
    /// In order; fewer than asked for when the schedule ends (within 100 years) or never fires.
    pub slots: Vec<Slot>,
    /// The next clock changes that leave out a slot or repeat one.
    pub changes: Vec<ClockChange>,
    /// Set for `@every`, which is counted in elapsed time: seconds.
    pub interval: Option<u64>,
}

/// A time at which the schedule fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    pub at: Timestamp,
    pub offset: Offset,
    pub pass: Pass,
}

/// Whether the wall time of a slot happens twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    Only,
    First,
    Second,
}

/// A change of the zone's offset that matters to the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockChange {
    pub at: Timestamp,
    pub before: Offset,
    pub after: Offset,
    pub effect: Effect,
    /// The first wall time concerned.
    pub first: DateTime,
    /// The last one.
    pub last: DateTime,
    pub count: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The clock goes forward over these wall times: no slot.
    Skipped,
    /// The clock goes back over them: each has two slots.
    RunsTwice,
}

/// The next `count` slots after `from`, and the clock changes among them or within a year that matter.
pub fn explain(schedule: &Schedule, tz: &TimeZone, from: Timestamp, count: usize) -> Explanation {
    let mut slots = Vec::new();
    let mut at = from;
    while slots.len() < count
        && let Some(next) = schedule.next_after(tz, at)
    {
        slots.push(slot(tz, next));
        at = next;
    }
    let year = from.as_second().saturating_add(CHANGES_WITHIN_SECONDS);
    let until = slots.last().map_or(year, |slot: &Slot| slot.at.as_second().max(year));
    Explanation {
        zone: tz.iana_name().unwrap_or("a fixed offset").to_owned(),
        changes: clock_changes(schedule, tz, from, until),
        slots,
        interval: schedule.interval(),
    }
}

fn slot(tz: &TimeZone, at: Timestamp) -> Slot {
    let offset = tz.to_offset(at);
    let pass = match tz.to_ambiguous_timestamp(offset.to_datetime(at)).offset() {
        AmbiguousOffset::Fold { before, .. } if before == offset => Pass::First,
        AmbiguousOffset::Fold { .. } => Pass::Second,
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Gap { .. } => Pass::Only,
    };
    Slot { at, offset, pass }
}

fn clock_changes(schedule: &Schedule, tz: &TimeZone, from: Timestamp, until: i64) -> Vec<ClockChange> {
    let Some(fields) = schedule.fields() else { return Vec::new() };
    let mut before = tz.to_offset(from);
    let mut told = Vec::new();
    for change in tz.following(from).take(CHANGES_LOOKED_AT) {
        let at = change.timestamp();
        if at.as_second() > until || told.len() == CHANGES_TOLD {
            break;
        }
        let after = change.offset();
        // The wall times between what the clock showed last and what it shows first: left out, or shown again.
        let (old, new) =
            (at.as_second() + i64::from(before.seconds()), at.as_second() + i64::from(after.seconds()));
        let mut wall_times = std::iter::successors(fields.next_at_or_after(old.min(new)), |wall| {
            fields.next_at_or_after(wall + 60)
        })
        .take_while(|&wall| wall < old.max(new));
        if let Some(first) = wall_times.next() {
            let (last, count) = wall_times.fold((first, 1), |(_, count), wall| (wall, count + 1));
            let effect = if new > old { Effect::Skipped } else { Effect::RunsTwice };
            told.push(ClockChange {
                at,
                before,
                after,
                effect,
                first: civil(first),
                last: civil(last),
                count,
            });
        }
        before = after;
    }
    told
}

/// Wall seconds as a date and time; those of a change near the end of time are cut to what jiff can show.
fn civil(wall: i64) -> DateTime {
    let shown = wall.clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    Timestamp::from_second(shown).map_or(DateTime::MIN, |at| Offset::UTC.to_datetime(at))
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(seconds) = self.interval {
            writeln!(
                f,
                "every {seconds} s of elapsed time since the last start; clock changes do not matter"
            )?;
        }
        if self.slots.is_empty() {
            return writeln!(f, "never fires: no date of the calendar matches within 100 years");
        }
        writeln!(f, "next times in {}:", self.zone)?;
        for slot in &self.slots {
            writeln!(f, "  {slot}")?;
        }
        for change in &self.changes {
            writeln!(f, "note: {change}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wall = self.offset.to_datetime(self.at);
        let weekday = format!("{:?}", wall.weekday());
        write!(f, "{} {} {} {}", &weekday[..3], wall.date(), wall.time(), self.offset)?;
        if self.offset != Offset::UTC {
            write!(f, "  ({})", self.at)?;
        }
        match self.pass {
            Pass::Only => Ok(()),
            Pass::First => f.write_str("  first of two: the clock will go back over it"),
            Pass::Second => f.write_str("  second of two: the clock went back over it"),
        }
    }
}

impl fmt::Display for ClockChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (old, new) = (self.before.to_datetime(self.at), self.after.to_datetime(self.at));
        let direction = match self.effect {
            Effect::Skipped => "forward",
            Effect::RunsTwice => "back",
        };
        write!(f, "on {} the clock goes {direction} from {} to ", old.date(), old.time())?;
        if new.date() == old.date() {
            write!(f, "{}: ", new.time())?;
        } else {
            write!(f, "{new}: ")?;
        }
        if self.count == 1 {
            write!(f, "the slot at {}", self.first)?;
        } else {
            write!(f, "{} slots from {} to {}", self.count, self.first, self.last)?;
        }
        match (self.effect, self.count) {
            (Effect::Skipped, 1) => f.write_str(" is skipped"),
            (Effect::Skipped, _) => f.write_str(" are skipped"),
            (Effect::RunsTwice, 1) => f.write_str(" runs twice"),
            (Effect::RunsTwice, _) => f.write_str(" run twice"),
        }
    }
}
