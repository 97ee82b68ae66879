//! The last step: the results of all indexes become one table, checked against totals that were computed elsewhere.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::month::{Missing, MonthResult, STATIONS, TASKS, Task};

/// By `data/totals.py`, from the same data.
const KNOWN: &str = include_str!("../data/totals.json");

/// What must add up, for a station's year.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
struct Totals {
    rows: u32,
    days: u32,
    missing: Missing,
    wind_speed_rejected: u32,
    temp_count: u32,
    temp_sum_hundredths: i64,
    temp_min_hundredths: Option<i64>,
    temp_max_hundredths: Option<i64>,
    precip_sum_hundredths: i64,
}

impl Totals {
    fn add(&mut self, month: &MonthResult) {
        self.rows += month.rows;
        self.days += month.days;
        self.missing.add(&month.missing);
        self.wind_speed_rejected += month.wind_speed_rejected;
        self.temp_count += month.temp_count;
        self.temp_sum_hundredths += month.temp_sum_hundredths;
        self.temp_min_hundredths =
            [self.temp_min_hundredths, month.temp_min_hundredths].into_iter().flatten().min();
        self.temp_max_hundredths =
            [self.temp_max_hundredths, month.temp_max_hundredths].into_iter().flatten().max();
        self.precip_sum_hundredths += month.precip_sum_hundredths;
    }
}

pub fn run(path: &str) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read {path}: {e}"))?;
    gather(&text, KNOWN)
}

fn gather(lines: &str, known: &str) -> Result<String, String> {
    let results = read(lines)?;
    let mut totals: BTreeMap<String, Totals> = BTreeMap::new();
    for result in results.values() {
        totals.entry(result.station.clone()).or_default().add(result);
    }
    let known: BTreeMap<String, Totals> =
        serde_json::from_str(known).map_err(|e| format!("the known totals cannot be read: {e}"))?;
    if totals != known {
        return Err(format!(
            "the results do not add up to the known totals:\n  found {totals:?}\n  known {known:?}"
        ));
    }
    Ok(table(&results, &totals))
}

/// Every index once, and of the station and month that it stands for.
fn read(lines: &str) -> Result<BTreeMap<usize, MonthResult>, String> {
    let mut results = BTreeMap::new();
    for (number, line) in lines.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let at = |what: String| format!("line {}: {what}", number + 1);
        let result: MonthResult = serde_json::from_str(line).map_err(|e| at(format!("no result: {e}")))?;
        let task = Task::of_index(&result.index.to_string()).map_err(at)?;
        if task.station != result.station || task.month != result.month {
            return Err(at(format!(
                "index {} is not {} in month {}",
                result.index, result.station, result.month
            )));
        }
        if let Some(twice) = results.insert(result.index, result) {
            return Err(at(format!("index {} has two results", twice.index)));
        }
    }
    let absent: Vec<String> =
        (0..TASKS).filter(|index| !results.contains_key(index)).map(|index| index.to_string()).collect();
    if absent.is_empty() {
        Ok(results)
    } else {
        Err(format!("{} of {TASKS} results are missing: indexes {}", absent.len(), absent.join(",")))
    }
}

fn table(results: &BTreeMap<usize, MonthResult>, totals: &BTreeMap<String, Totals>) -> String {
    let mut out = String::from(
        "index station month  hours missing   mean F    min    max  range   HDD   CDD  rain in  wet  wind mph from  gust    mb\n",
    );
    let number =
        |value: Option<f64>, places: usize| value.map_or("-".to_owned(), |v| format!("{v:.places$}"));
    let degrees = |hundredths: Option<i64>| number(hundredths.map(|h| h as f64 / 100.0), 1);
    for r in results.values() {
        let mean = (r.temp_count > 0).then(|| r.temp_sum_hundredths as f64 / 100.0 / f64::from(r.temp_count));
        out.push_str(&format!(
            "{:5} {:7} {:5} {:6} {:7} {:>8} {:>6} {:>6} {:>6} {:5.0} {:5.0} {:8.2} {:4} {:>9} {:>4} {:>5} {:>6}\n",
            r.index,
            r.station,
            r.month,
            r.rows,
            r.missing.total(),
            number(mean, 2),
            degrees(r.temp_min_hundredths),
            degrees(r.temp_max_hundredths),
            number(r.daily_range_mean_f, 1),
            r.heating_degree_days,
            r.cooling_degree_days,
            r.precip_sum_hundredths as f64 / 100.0,
            r.wet_days,
            number(r.wind_speed_mean_mph, 1),
            number(r.wind_from_degrees, 0),
            number(r.wind_gust_max_mph, 0),
            number(r.pressure_mean_mb, 0),
        ));
    }
    out.push('\n');
    for station in STATIONS {
        let t = &totals[station];
        out.push_str(&format!(
            "{station}: {} hours on {} days, {} values missing, {} wind speeds rejected, mean {:.2} F, rain {:.2} in\n",
            t.rows,
            t.days,
            t.missing.total(),
            t.wind_speed_rejected,
            t.temp_sum_hundredths as f64 / 100.0 / f64::from(t.temp_count),
            t.precip_sum_hundredths as f64 / 100.0,
        ));
    }
    let rows: u32 = totals.values().map(|t| t.rows).sum();
    out.push_str(&format!("all {TASKS} results are there and add up to the known totals ({rows} hours)\n"));
    out
}

#[cfg(test)]
mod tests {
    use super::{KNOWN, gather};
    use crate::month::{Settings, TASKS, Task, compute};
    use crate::observation;

    /// The lines that the 36 tasks print.
    fn lines() -> Vec<String> {
        let data =
            std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/data/weather.csv.gz")).expect("the data");
        let all = observation::read(&data).expect("readable");
        let settings = Settings { base_temp_f: 65.0, wind_speed_max_mph: 250.0, hours_of_complete_day: 18 };
        (0..TASKS)
            .map(|index| {
                let task = Task::of_index(&index.to_string()).expect("an index");
                serde_json::to_string(&compute(task, &settings, &all).expect("a result")).expect("JSON")
            })
            .collect()
    }

    #[test]
    fn the_results_add_up_to_the_totals_of_another_program() {
        let table = gather(&lines().join("\n"), KNOWN).expect("they add up");
        assert!(
            table.ends_with("all 36 results are there and add up to the known totals (26115 hours)\n"),
            "{table}"
        );
    }

    #[test]
    fn a_lost_doubled_or_changed_result_is_found() {
        let check = |lines: &[String], expect: &str| {
            let error = gather(&lines.join("\n"), KNOWN).expect_err(expect);
            assert!(error.starts_with(expect), "{error}");
        };
        let whole = lines();
        check(&whole[..35], "1 of 36 results are missing: indexes 35");
        check(&[&whole[..], &whole[3..4]].concat(), "line 37: index 3 has two results");
        let mut changed = whole.clone();
        changed[7] = changed[7].replacen("\"rows\":", "\"rows\":1", 1);
        check(&changed, "the results do not add up to the known totals");
        changed[7] = "nonsense".into();
        check(&changed, "line 8: no result");
        changed[7] = whole[7].replacen("EWR", "JFK", 1);
        check(&changed, "line 8: index 7 is not JFK in month 8");
    }
}
