//! A parsed schedule.

use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::fields::Fields;
use super::parse::{self, ParseError};
use super::search;

/// A schedule in Kubernetes' cron dialect: bit sets or an interval, without allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Schedule {
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Fields(Fields),
    /// `@every`, in seconds.
    Every(u64),
}

impl Schedule {
    pub(super) fn from_fields(fields: Fields) -> Schedule {
        Schedule { kind: Kind::Fields(fields) }
    }

    pub(super) fn every(seconds: u64) -> Schedule {
        Schedule { kind: Kind::Every(seconds) }
    }

    pub(super) fn fields(&self) -> Option<&Fields> {
        match &self.kind {
            Kind::Fields(fields) => Some(fields),
            Kind::Every(_) => None,
        }
    }

    /// Reads a schedule as Kubernetes does: five fields, `@daily` and the like, or `@every DURATION`.
    ///
    /// # Errors
    /// Names the field and the value that are wrong; `TZ=` and `CRON_TZ=` are refused in favour of `spec.timeZone`.
    pub fn parse(spec: &str) -> Result<Schedule, ParseError> {
        parse::parse(spec)
    }

    /// The interval of an `@every` schedule, in seconds, at least one.
    pub fn interval(&self) -> Option<u64> {
        match self.kind {
            Kind::Fields(_) => None,
            Kind::Every(seconds) => Some(seconds),
        }
    }

    /// The first slot strictly after an instant; `None` when there is none within 100 years or before the end of
    /// the year 9999.
    ///
    /// An `@every` schedule counts from `after`, so give it the last slot.
    pub fn next_after(&self, tz: &TimeZone, after: Timestamp) -> Option<Timestamp> {
        match &self.kind {
            Kind::Fields(fields) => search::next(fields, tz, search::floor_second(after) + 1),
            Kind::Every(seconds) => {
                let next = search::floor_second(after).checked_add_unsigned(*seconds)?;
                Timestamp::from_second(next).ok()
            }
        }
    }

    /// The last slot at or before an instant; `None` when there is none within the 100 years before.
    ///
    /// An `@every` schedule has no slots of its own without a start: any whole second can be one, so this is `at` cut to
    /// the second. Use [`Schedule::latest`] where the start is known.
    pub fn prev_at_or_before(&self, tz: &TimeZone, at: Timestamp) -> Option<Timestamp> {
        match &self.kind {
            Kind::Fields(fields) => search::prev(fields, tz, search::floor_second(at)),
            Kind::Every(_) => Timestamp::from_second(search::floor_second(at)).ok(),
        }
    }

    /// The last slot in `(after, until]`, where `@every` counts from `after`.
    pub fn latest(&self, tz: &TimeZone, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        match &self.kind {
            Kind::Fields(_) => self.prev_at_or_before(tz, until).filter(|&slot| slot > after),
            Kind::Every(seconds) => {
                let (from, to) = (search::floor_second(after), search::floor_second(until));
                let elapsed = u64::try_from(to - from).ok()?;
                let whole = elapsed - elapsed % seconds;
                (whole > 0).then(|| Timestamp::from_second(from.checked_add_unsigned(whole)?).ok()).flatten()
            }
        }
    }

    /// Whether an instant is a slot. Of `@every` any whole second can be one.
    pub fn matches(&self, tz: &TimeZone, at: Timestamp) -> bool {
        if at.subsec_nanosecond() != 0 {
            return false;
        }
        match &self.kind {
            Kind::Fields(fields) => fields.matches(at.as_second() + i64::from(tz.to_offset(at).seconds())),
            Kind::Every(_) => true,
        }
    }

    /// Whether no date of the calendar matches, such as 30 February. Kubernetes accepts such a schedule.
    ///
    /// That a zone's clock changes leave out every match of a schedule is not looked for.
    pub fn never_fires(&self) -> bool {
        match &self.kind {
            Kind::Fields(fields) => fields.never_match(),
            Kind::Every(_) => false,
        }
    }
}

impl FromStr for Schedule {
    type Err = ParseError;

    fn from_str(spec: &str) -> Result<Schedule, ParseError> {
        Schedule::parse(spec)
    }
}

const _: () = assert!(size_of::<Schedule>() <= 32);
