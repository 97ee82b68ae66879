//! The input: one line an hour and station. `NA` is a missing value and stays one.

use std::io::Read;

/// Bounds the memory that a damaged or foreign file can take.
const DATA_BYTES_MAX: u64 = 64 << 20;

/// The columns that are read, by their names in the head.
const COLUMNS: [&str; 13] = [
    "origin",
    "month",
    "day",
    "hour",
    "temp",
    "dewp",
    "humid",
    "wind_dir",
    "wind_speed",
    "wind_gust",
    "precip",
    "pressure",
    "visib",
];

/// What one station measured in one hour.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    pub station: String,
    pub month: u8,
    pub day: u8,
    /// Local time: an hour stands twice when the clocks go back.
    pub hour: u8,
    /// Degrees Fahrenheit, hundredths.
    pub temp: Option<i64>,
    pub dewp: Option<f64>,
    pub humid: Option<f64>,
    pub wind_dir: Option<f64>,
    pub wind_speed: Option<f64>,
    pub wind_gust: Option<f64>,
    /// Inches, hundredths.
    pub precip: Option<i64>,
    pub pressure: Option<f64>,
    pub visib: Option<f64>,
}

/// Reads the compressed file.
pub fn read(gzip: &[u8]) -> Result<Vec<Observation>, String> {
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(gzip)
        .take(DATA_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|e| format!("cannot decompress: {e}"))?;
    parse(&text)
}

fn parse(text: &str) -> Result<Vec<Observation>, String> {
    let mut lines = text.lines().enumerate();
    let head: Vec<&str> = lines.next().map(|(_, head)| head.split(',').collect()).unwrap_or_default();
    let mut places = [0usize; COLUMNS.len()];
    for (place, column) in places.iter_mut().zip(COLUMNS) {
        *place = head.iter().position(|name| *name == column).ok_or_else(|| format!("no column {column}"))?;
    }
    let mut observations = Vec::new();
    for (number, line) in lines {
        let cells: Vec<&str> = line.split(',').collect();
        let at = |what: String| format!("line {}: {what}", number + 1);
        if cells.len() != head.len() {
            return Err(at(format!("{} cells where the head has {}", cells.len(), head.len())));
        }
        let mut cells = places.iter().map(|place| cells[*place]).zip(COLUMNS);
        let mut next = || cells.next().expect("as many cells as columns");
        let observation = (|| {
            Ok(Observation {
                station: next().0.to_owned(),
                month: whole(next())?,
                day: whole(next())?,
                hour: whole(next())?,
                temp: hundredths(next())?,
                dewp: number_of(next())?,
                humid: number_of(next())?,
                wind_dir: number_of(next())?,
                wind_speed: number_of(next())?,
                wind_gust: number_of(next())?,
                precip: hundredths(next())?,
                pressure: number_of(next())?,
                visib: number_of(next())?,
            })
        })();
        observations.push(observation.map_err(at)?);
    }
    Ok(observations)
}

fn is_missing(text: &str) -> bool {
    matches!(text, "NA" | "")
}

fn whole((text, column): (&str, &str)) -> Result<u8, String> {
    text.parse().map_err(|_| format!("{column} {text:?} is no number"))
}

fn number_of((text, column): (&str, &str)) -> Result<Option<f64>, String> {
    if is_missing(text) {
        return Ok(None);
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(Some(number)),
        _ => Err(format!("{column} {text:?} is no number")),
    }
}

/// A decimal with at most two places as a whole number of hundredths, so that sums are exact.
fn hundredths((text, column): (&str, &str)) -> Result<Option<i64>, String> {
    if is_missing(text) {
        return Ok(None);
    }
    let wrong = || format!("{column} {text:?} is no decimal with at most two places");
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (units, cents) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if units.is_empty() || units.len() > 9 || cents.len() > 2 || !all_digits(units) || !all_digits(cents) {
        return Err(wrong());
    }
    let value: i64 = format!("{units}{cents:0<2}").parse().map_err(|_| wrong())?;
    Ok(Some(if text.starts_with('-') { -value } else { value }))
}

#[cfg(test)]
mod tests {
    use super::{hundredths, parse};

    #[test]
    fn decimals_are_exact_or_refused() {
        let check = |text: &str, expect: Result<Option<i64>, ()>| {
            assert_eq!(hundredths((text, "temp")).map_err(|_| ()), expect, "{text}");
        };
        check("39.02", Ok(Some(3902)));
        check("-9.9", Ok(Some(-990)));
        check("0", Ok(Some(0)));
        check("NA", Ok(None));
        check("", Ok(None));
        for wrong in ["1.234", "1e3", "-", ".", "nan", "1.-2", "99999999999"] {
            check(wrong, Err(()));
        }
    }

    const HEAD: &str = "origin,year,month,day,hour,temp,dewp,humid,wind_dir,wind_speed,wind_gust,precip,pressure,visib,time_hour";

    #[test]
    fn a_missing_value_is_not_zero() {
        let rows = parse(&format!("{HEAD}\nEWR,2013,1,2,3,NA,1,2,NA,4,NA,0,NA,10,t")).expect("readable");
        assert_eq!((rows[0].temp, rows[0].wind_dir, rows[0].precip), (None, None, Some(0)));
        assert_eq!((rows[0].day, rows[0].hour), (2, 3));
    }

    #[test]
    fn a_damaged_line_is_named() {
        let check = |line: &str, expect: &str| {
            assert_eq!(parse(&format!("{HEAD}\n{line}")).unwrap_err(), expect);
        };
        check("EWR,2013", "line 2: 2 cells where the head has 15");
        check(
            "EWR,2013,1,2,3,hot,1,2,3,4,5,0,7,10,t",
            "line 2: temp \"hot\" is no decimal with at most two places",
        );
        check("EWR,2013,1,2,3,1,inf,2,3,4,5,0,7,10,t", "line 2: dewp \"inf\" is no number");
        assert_eq!(parse("origin,month").unwrap_err(), "no column day");
    }
}
