//! Civil days as integers: the proleptic Gregorian calendar without a range to leave.

/// Days of a 400-year cycle, after which the calendar repeats.
const DAYS_PER_ERA: i64 = 146_097;
/// Days from 0000-03-01, where an era begins, to 1970-01-01.
const EPOCH: i64 = 719_468;

/// A civil date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Date {
    pub year: i64,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
}

impl Date {
    /// The date that is `days` after 1970-01-01.
    ///
    /// Years are counted from March, so that the leap day is the last of its year and the months before it have a
    /// regular pattern of lengths: 153 days in each five.
    pub(super) fn from_days(days: i64) -> Date {
        let shifted = days + EPOCH;
        let era = shifted.div_euclid(DAYS_PER_ERA);
        let of_era = shifted.rem_euclid(DAYS_PER_ERA);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        Date { year: era * 400 + year_of_era + i64::from(month <= 2), month: month as u32, day: day as u32 }
    }

    /// Days since 1970-01-01; the inverse of [`Date::from_days`].
    pub(super) fn to_days(self) -> i64 {
        let year = self.year - i64::from(self.month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let from_march = i64::from((self.month + 9) % 12);
        let of_year = (153 * from_march + 2) / 5 + i64::from(self.day) - 1;
        era * DAYS_PER_ERA + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - EPOCH
    }
}

/// Sunday is 0, as in the day-of-week field.
pub(super) fn weekday(days: i64) -> u32 {
    // 1970-01-01 was a Thursday.
    (days + 4).rem_euclid(7) as u32
}

pub(super) fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_day_of_the_years_jiff_knows_agrees_with_jiff() {
        let first = Date { year: -9999, month: 1, day: 1 }.to_days();
        let last = Date { year: 9999, month: 12, day: 31 }.to_days();
        let mut expected = jiff::civil::Date::MIN;
        for days in first..=last {
            let date = Date::from_days(days);
            assert_eq!(date.to_days(), days);
            let same = (i64::from(expected.year()), expected.month() as u32, expected.day() as u32);
            assert_eq!((date.year, date.month, date.day), same);
            // Weekdays and lengths of months once a month: they cost more to ask for.
            if date.day == 1 {
                assert_eq!(weekday(days), expected.weekday().to_sunday_zero_offset() as u32, "{expected}");
                assert_eq!(
                    days_in_month(date.year, date.month),
                    expected.days_in_month() as u32,
                    "{expected}"
                );
            }
            if days < last {
                expected = expected.tomorrow().expect("there is a next day before the last");
            }
        }
    }
}
