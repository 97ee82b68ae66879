//! The daily file of the Exploit Prediction Scoring System: `cve,epss,percentile`, below a remark with its date.

use std::io::{self, BufRead, Read as _};

use super::{ImportError, Importer, container, text};
use crate::identity::is_cve;
use crate::record::Prediction;

/// A line has some forty bytes.
const LINE_BYTES_MAX: u64 = 4096;

pub(super) fn read(importer: &mut Importer, file: &str, source: &mut dyn BufRead) -> Result<(), ImportError> {
    let unreadable = |e: io::Error| ImportError::Unreadable { file: file.to_owned(), reason: e.to_string() };
    let mut line = Vec::new();
    for number in 1u64.. {
        line.clear();
        let bytes = source.take(LINE_BYTES_MAX).read_until(b'\n', &mut line).map_err(unreadable)? as u64;
        if bytes == 0 {
            break;
        }
        container::count_bytes(importer, file, bytes)?;
        let line = String::from_utf8_lossy(&line);
        let line = line.trim();
        if let Some(remark) = line.strip_prefix('#') {
            let date = remark.split(',').find_map(|part| part.strip_prefix("score_date:"));
            if let Some(second) = date.and_then(score_date) {
                importer.dated(second);
            }
        } else if !line.is_empty() && !line.starts_with("cve,") {
            match row(line) {
                Ok((cve, prediction)) if importer.counts.predictions < importer.limits.records_max => {
                    importer.prediction(cve, prediction);
                }
                Ok(_) => {
                    let reason = format!("it has more than {} rows", importer.limits.records_max);
                    return Err(ImportError::Limit { file: file.to_owned(), reason });
                }
                Err(reason) => importer.bad(file, format!("line {number}"), reason),
            }
        }
    }
    Ok(())
}

/// `2025-08-25T12:55:00Z`, also with `+0000`.
fn score_date(text: &str) -> Option<i64> {
    text::second(&text.replace("+0000", "Z"))
}

fn row(line: &str) -> Result<(String, Prediction), String> {
    let cells: Vec<&str> = line.split(',').collect();
    let [cve, probability, percentile] = cells[..] else {
        return Err(format!("it has {} cells, not 3", cells.len()));
    };
    if !is_cve(cve) {
        return Err(format!("{cve:?} is no CVE"));
    }
    let share = |text: &str| match text.parse::<f64>() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok((value * 100_000.0).round() as u32),
        _ => Err(format!("{text:?} is no share between 0 and 1")),
    };
    Ok((cve.to_owned(), Prediction { probability: share(probability)?, percentile: share(percentile)? }))
}
