//! The five fields as bit sets, and the search for a matching wall time in the civil calendar.

use super::calendar::{Date, days_in_month, weekday};

const MINUTES_PER_DAY: i64 = 1440;

/// A match is at most eight years away (29 February over a century that is no leap year), in at most twelve months of
/// each; the months at both ends come on top.
const MONTHS_LOOKED_AT: u32 = 12 * 9 + 1;

/// How the two day fields join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum DayRule {
    /// One of them is a star: a day must be in both.
    Both,
    /// Both are restricted: a day in one of them is enough.
    Either,
}

/// Bit `n` stands for value `n` of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Fields {
    pub minutes: u64,
    pub hours: u32,
    pub days_of_month: u32,
    pub months: u16,
    pub days_of_week: u8,
    pub day_rule: DayRule,
}

impl Fields {
    /// Whether no wall time of the calendar matches, as with 30 February or an empty list.
    pub(super) fn never_match(&self) -> bool {
        self.minutes == 0 || self.hours == 0 || self.day_at_or_after(0).is_none()
    }

    /// Whether a wall time, in seconds since 1970-01-01T00:00 of the same wall clock, is a slot.
    pub(super) fn matches(&self, wall: i64) -> bool {
        self.next_at_or_after(wall) == Some(wall)
    }

    /// The first matching wall time at or after `wall`.
    pub(super) fn next_at_or_after(&self, wall: i64) -> Option<i64> {
        let minute = wall.div_euclid(60) + i64::from(wall.rem_euclid(60) != 0);
        let (today, of_day) = (minute.div_euclid(MINUTES_PER_DAY), minute.rem_euclid(MINUTES_PER_DAY) as u32);
        let day = self.day_at_or_after(today)?;
        let found = match self.minute_at_or_after(of_day) {
            Some(found) if day == today => (day, found),
            _ if day == today => (self.day_at_or_after(today + 1)?, self.minute_at_or_after(0)?),
            _ => (day, self.minute_at_or_after(0)?),
        };
        Some((found.0 * MINUTES_PER_DAY + i64::from(found.1)) * 60)
    }

    /// The last matching wall time at or before `wall`.
    pub(super) fn prev_at_or_before(&self, wall: i64) -> Option<i64> {
        let minute = wall.div_euclid(60);
        let (today, of_day) = (minute.div_euclid(MINUTES_PER_DAY), minute.rem_euclid(MINUTES_PER_DAY) as u32);
        let last = MINUTES_PER_DAY as u32 - 1;
        let day = self.day_at_or_before(today)?;
        let found = match self.minute_at_or_before(of_day) {
            Some(found) if day == today => (day, found),
            _ if day == today => (self.day_at_or_before(today - 1)?, self.minute_at_or_before(last)?),
            _ => (day, self.minute_at_or_before(last)?),
        };
        Some((found.0 * MINUTES_PER_DAY + i64::from(found.1)) * 60)
    }

    /// The first matching minute of a day at or after one, both as minutes since midnight.
    fn minute_at_or_after(&self, of_day: u32) -> Option<u32> {
        let (hour, minute) = (of_day / 60, of_day % 60);
        let in_hour = self.minutes & (u64::MAX << minute);
        if self.hours & (1 << hour) != 0 && in_hour != 0 {
            return Some(hour * 60 + in_hour.trailing_zeros());
        }
        let later = self.hours & (u32::MAX << (hour + 1));
        (later != 0 && self.minutes != 0).then(|| later.trailing_zeros() * 60 + self.minutes.trailing_zeros())
    }

    /// The last matching minute of a day at or before one.
    fn minute_at_or_before(&self, of_day: u32) -> Option<u32> {
        let (hour, minute) = (of_day / 60, of_day % 60);
        let in_hour = self.minutes & (u64::MAX >> (63 - minute));
        if self.hours & (1 << hour) != 0 && in_hour != 0 {
            return Some(hour * 60 + in_hour.ilog2());
        }
        let earlier = self.hours & ((1 << hour) - 1);
        (earlier != 0 && self.minutes != 0).then(|| earlier.ilog2() * 60 + self.minutes.ilog2())
    }

    /// The first matching day at or after one, as days since 1970-01-01.
    fn day_at_or_after(&self, from: i64) -> Option<i64> {
        let Date { mut year, mut month, day } = Date::from_days(from);
        let mut from_day = u32::MAX << day;
        for _ in 0..MONTHS_LOOKED_AT {
            let later = u32::from(self.months) & (u32::MAX << month);
            if later == 0 {
                (year, month, from_day) = (year + 1, 1, u32::MAX);
                continue;
            }
            let next = later.trailing_zeros();
            if next != month {
                (month, from_day) = (next, u32::MAX);
            }
            let days = self.days_in(year, month) & from_day;
            if days != 0 {
                return Some(Date { year, month, day: days.trailing_zeros() }.to_days());
            }
            (month, from_day) = (month + 1, u32::MAX);
        }
        None
    }

    /// The last matching day at or before one.
    fn day_at_or_before(&self, from: i64) -> Option<i64> {
        let Date { mut year, mut month, day } = Date::from_days(from);
        let mut to_day = u32::MAX >> (31 - day);
        for _ in 0..MONTHS_LOOKED_AT {
            let earlier = u32::from(self.months) & (u32::MAX >> (31 - month));
            if earlier == 0 {
                (year, month, to_day) = (year - 1, 12, u32::MAX);
                continue;
            }
            let previous = earlier.ilog2();
            if previous != month {
                (month, to_day) = (previous, u32::MAX);
            }
            let days = self.days_in(year, month) & to_day;
            if days != 0 {
                return Some(Date { year, month, day: days.ilog2() }.to_days());
            }
            (month, to_day) = (month - 1, u32::MAX);
        }
        None
    }

    /// The matching days of a month: bit `n` for day `n`.
    fn days_in(&self, year: i64, month: u32) -> u32 {
        let first = weekday(Date { year, month, day: 1 }.to_days());
        // The week's seven bits, laid end to end over a month, turned so that the first of the month meets its weekday.
        let weeks = u64::from(self.days_of_week) * 0x0008_1020_4081;
        let by_week = ((weeks >> first) << 1) as u32;
        let exist = ((2_u64 << days_in_month(year, month)) - 2) as u32;
        exist
            & match self.day_rule {
                DayRule::Both => self.days_of_month & by_week,
                DayRule::Either => self.days_of_month | by_week,
            }
    }
}
