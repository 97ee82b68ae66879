//! One station's month: daily features first, monthly statistics from them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::observation::Observation;

pub const STATIONS: [&str; 3] = ["EWR", "JFK", "LGA"];
pub const MONTHS: usize = 12;
pub const TASKS: usize = STATIONS.len() * MONTHS;

/// What one index computes: the indexes of a station follow each other, month by month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task {
    pub index: usize,
    pub station: &'static str,
    pub month: u8,
}

impl Task {
    pub fn of_index(text: &str) -> Result<Task, String> {
        match text.parse::<usize>() {
            Ok(index) if index < TASKS => {
                Ok(Task { index, station: STATIONS[index / MONTHS], month: (index % MONTHS) as u8 + 1 })
            }
            _ => Err(format!("JOB_COMPLETION_INDEX {text:?} is no index below {TASKS}")),
        }
    }
}

/// From the ConfigMap, as environment variables.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Degree days count from this temperature, in degrees Fahrenheit.
    pub base_temp_f: f64,
    /// A faster wind is a wrong value.
    pub wind_speed_max_mph: f64,
    /// A day with fewer temperatures has no daily features.
    pub hours_of_complete_day: usize,
}

impl Settings {
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Settings, String> {
        fn value<T: std::str::FromStr>(name: &str, text: Option<String>) -> Result<T, String> {
            let text =
                text.ok_or_else(|| format!("{name} is not set; the ConfigMap weather-settings has it"))?;
            text.parse().map_err(|_| format!("{name} {text:?} is no number"))
        }
        Ok(Settings {
            base_temp_f: value("BASE_TEMP_F", variable("BASE_TEMP_F"))?,
            wind_speed_max_mph: value("WIND_SPEED_MAX_MPH", variable("WIND_SPEED_MAX_MPH"))?,
            hours_of_complete_day: value("HOURS_OF_COMPLETE_DAY", variable("HOURS_OF_COMPLETE_DAY"))?,
        })
    }
}

/// How many values of a column are missing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    pub temp: u32,
    pub dewp: u32,
    pub humid: u32,
    pub wind_dir: u32,
    pub wind_speed: u32,
    pub wind_gust: u32,
    pub precip: u32,
    pub pressure: u32,
    pub visib: u32,
}

impl Missing {
    pub fn total(&self) -> u32 {
        self.temp
            + self.dewp
            + self.humid
            + self.wind_dir
            + self.wind_speed
            + self.wind_gust
            + self.precip
            + self.pressure
            + self.visib
    }

    fn note(&mut self, row: &Observation) {
        for (count, is_missing) in [
            (&mut self.temp, row.temp.is_none()),
            (&mut self.dewp, row.dewp.is_none()),
            (&mut self.humid, row.humid.is_none()),
            (&mut self.wind_dir, row.wind_dir.is_none()),
            (&mut self.wind_speed, row.wind_speed.is_none()),
            (&mut self.wind_gust, row.wind_gust.is_none()),
            (&mut self.precip, row.precip.is_none()),
            (&mut self.pressure, row.pressure.is_none()),
            (&mut self.visib, row.visib.is_none()),
        ] {
            *count += u32::from(is_missing);
        }
    }

    pub fn add(&mut self, other: &Missing) {
        self.temp += other.temp;
        self.dewp += other.dewp;
        self.humid += other.humid;
        self.wind_dir += other.wind_dir;
        self.wind_speed += other.wind_speed;
        self.wind_gust += other.wind_gust;
        self.precip += other.precip;
        self.pressure += other.pressure;
        self.visib += other.visib;
    }
}

/// What an index prints. A mean of nothing is `null`, never 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MonthResult {
    pub index: usize,
    pub station: String,
    pub month: u8,
    pub rows: u32,
    /// Days with any observation.
    pub days: u32,
    /// Days with enough temperatures for daily features.
    pub complete_days: u32,
    pub missing: Missing,
    pub wind_speed_rejected: u32,
    pub temp_count: u32,
    pub temp_sum_hundredths: i64,
    pub temp_min_hundredths: Option<i64>,
    pub temp_max_hundredths: Option<i64>,
    /// The mean over complete days of the day's highest less its lowest temperature.
    pub daily_range_mean_f: Option<f64>,
    pub heating_degree_days: f64,
    pub cooling_degree_days: f64,
    pub precip_sum_hundredths: i64,
    /// Days with a hundredth of an inch or more.
    pub wet_days: u32,
    pub wind_speed_mean_mph: Option<f64>,
    pub wind_gust_max_mph: Option<f64>,
    pub pressure_mean_mb: Option<f64>,
    /// Of the hours with a wind speed and a direction, degrees the wind comes from, weighed by speed.
    pub wind_from_degrees: Option<f64>,
}

/// Temperatures and rain of one day.
#[derive(Debug, Default)]
struct Day {
    temps: Vec<i64>,
    precip: i64,
}

pub fn compute(task: Task, settings: &Settings, all: &[Observation]) -> Result<MonthResult, String> {
    let rows: Vec<&Observation> =
        all.iter().filter(|row| row.station == task.station && row.month == task.month).collect();
    if rows.is_empty() {
        return Err(format!("the data has no observation of {} in month {}", task.station, task.month));
    }
    let mut days: BTreeMap<u8, Day> = BTreeMap::new();
    let mut missing = Missing::default();
    let (mut winds, mut rejected) = (Vec::new(), 0);
    let (mut east, mut north) = (0.0, 0.0);
    for row in &rows {
        missing.note(row);
        let day = days.entry(row.day).or_default();
        day.temps.extend(row.temp);
        day.precip += row.precip.unwrap_or(0);
        match row.wind_speed {
            Some(speed) if speed > settings.wind_speed_max_mph => rejected += 1,
            Some(speed) => {
                winds.push(speed);
                if let Some(from) = row.wind_dir.map(f64::to_radians) {
                    east += speed * from.sin();
                    north += speed * from.cos();
                }
            }
            None => {}
        }
    }
    let temps: Vec<i64> = rows.iter().filter_map(|row| row.temp).collect();
    let complete: Vec<(i64, i64)> = days
        .values()
        .filter(|day| day.temps.len() >= settings.hours_of_complete_day)
        .filter_map(|day| Some((*day.temps.iter().min()?, *day.temps.iter().max()?)))
        .collect();
    let degree_days = |sign: f64| -> f64 {
        let days = complete.iter().map(|(low, high)| (low + high) as f64 / 200.0);
        rounded(days.map(|mean| (sign * (mean - settings.base_temp_f)).max(0.0)).sum())
    };
    let calm = east == 0.0 && north == 0.0;
    Ok(MonthResult {
        index: task.index,
        station: task.station.to_owned(),
        month: task.month,
        rows: rows.len() as u32,
        days: days.len() as u32,
        complete_days: complete.len() as u32,
        missing,
        wind_speed_rejected: rejected,
        temp_count: temps.len() as u32,
        temp_sum_hundredths: temps.iter().sum(),
        temp_min_hundredths: temps.iter().min().copied(),
        temp_max_hundredths: temps.iter().max().copied(),
        daily_range_mean_f: mean(complete.iter().map(|(low, high)| (high - low) as f64 / 100.0)),
        heating_degree_days: degree_days(-1.0),
        cooling_degree_days: degree_days(1.0),
        precip_sum_hundredths: days.values().map(|day| day.precip).sum(),
        wet_days: days.values().filter(|day| day.precip >= 1).count() as u32,
        wind_speed_mean_mph: mean(winds.into_iter()),
        wind_gust_max_mph: rows.iter().filter_map(|row| row.wind_gust).reduce(f64::max).map(rounded),
        pressure_mean_mb: mean(rows.iter().filter_map(|row| row.pressure)),
        wind_from_degrees: (!calm).then(|| rounded(east.atan2(north).to_degrees().rem_euclid(360.0))),
    })
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| rounded(sum / f64::from(count)))
}

/// To three places: results compare equal on machines whose last bits differ.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::{Settings, TASKS, Task, compute};
    use crate::observation::Observation;

    fn settings() -> Settings {
        Settings { base_temp_f: 65.0, wind_speed_max_mph: 250.0, hours_of_complete_day: 2 }
    }

    fn row(day: u8, temp: Option<i64>, wind_speed: Option<f64>, precip: Option<i64>) -> Observation {
        Observation {
            station: "EWR".into(),
            month: 1,
            day,
            hour: 0,
            temp,
            dewp: None,
            humid: None,
            wind_dir: Some(90.0),
            wind_speed,
            wind_gust: None,
            precip,
            pressure: None,
            visib: Some(10.0),
        }
    }

    #[test]
    fn missing_and_wrong_values_are_counted_and_left_out() {
        let rows = [
            row(1, Some(3000), Some(10.0), Some(5)),
            row(1, Some(5000), Some(1048.0), None),
            row(2, None, None, Some(0)),
            row(2, Some(7000), Some(20.0), Some(0)),
        ];
        let result = compute(Task::of_index("0").expect("an index"), &settings(), &rows).expect("a result");
        assert_eq!((result.rows, result.days, result.complete_days), (4, 2, 1));
        assert_eq!((result.missing.temp, result.missing.wind_speed, result.missing.pressure), (1, 1, 4));
        assert_eq!((result.temp_count, result.temp_sum_hundredths), (3, 15_000));
        assert_eq!((result.wind_speed_rejected, result.wind_speed_mean_mph), (1, Some(15.0)));
        assert_eq!((result.pressure_mean_mb, result.wind_gust_max_mph), (None, None));
        assert_eq!((result.precip_sum_hundredths, result.wet_days), (5, 1));
        assert_eq!((result.daily_range_mean_f, result.heating_degree_days), (Some(20.0), 25.0));
        assert_eq!(result.wind_from_degrees, Some(90.0));
    }

    #[test]
    fn an_index_is_a_station_and_a_month() {
        let task = |text: &str| Task::of_index(text).map(|task| (task.station, task.month));
        assert_eq!(task("0"), Ok(("EWR", 1)));
        assert_eq!(task("35"), Ok(("LGA", 12)));
        for wrong in ["36", "-1", "", "x"] {
            assert!(task(wrong).is_err(), "{wrong}");
        }
        assert_eq!(TASKS, 36);
    }

    #[test]
    fn settings_are_all_there_or_named() {
        let read = |base: &'static str| {
            Settings::read(|name| match name {
                "BASE_TEMP_F" => Some(base.into()),
                "WIND_SPEED_MAX_MPH" => Some("250".into()),
                _ => None,
            })
        };
        assert_eq!(read("x").unwrap_err(), "BASE_TEMP_F \"x\" is no number");
        assert_eq!(
            read("65").unwrap_err(),
            "HOURS_OF_COMPLETE_DAY is not set; the ConfigMap weather-settings has it"
        );
    }
}
