//! Progress of a pull or import: a bar a layer on a terminal, a line a layer elsewhere.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::Value;
use watchbell_image::{Event, Progress};

use crate::output;

pub(crate) struct Bars {
    all: MultiProgress,
    layers: Mutex<HashMap<String, ProgressBar>>,
}

impl Bars {
    pub(crate) fn new() -> Bars {
        // It draws on standard error, and not at all when that is no terminal.
        Bars { all: MultiProgress::new(), layers: Mutex::default() }
    }

    /// Shows an event as the server tells it.
    pub(super) fn show(&self, event: &Value) {
        let text = |field: &str| output::plain(event[field].as_str().unwrap_or_default());
        let number = |field: &str| event[field].as_u64().unwrap_or(0);
        let layer = text("layer");
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        let word = event["event"].as_str().unwrap_or_default();
        match word {
            "resolved" => {
                self.say(&format!(
                    "{} is {}: {}, {}",
                    text("name"),
                    text("digest"),
                    match number("layers") {
                        1 => "1 layer".to_owned(),
                        n => format!("{n} layers"),
                    },
                    size(number("bytes"))
                ));
            }
            "present" => self.say(&format!("{}: already here", short(&layer))),
            "started" => {
                let bar = self.all.add(ProgressBar::new(number("bytes")));
                let template = "{prefix} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}";
                if let Ok(style) = ProgressStyle::with_template(template) {
                    bar.set_style(style.progress_chars("=> "));
                }
                bar.set_prefix(short(&layer));
                bar.set_position(number("resumedAt"));
                layers.insert(layer, bar);
            }
            "bytes" => {
                if let Some(bar) = layers.get(&layer) {
                    bar.inc(number("bytes"));
                }
            }
            "retried" => self.say(&format!(
                "{}: {}; trying again (attempt {})",
                short(&layer),
                text("cause"),
                number("attempt")
            )),
            "stored" => {
                if let Some(bar) = layers.remove(&layer) {
                    bar.finish_and_clear();
                    self.say(&format!("{}: {} stored", short(&layer), size(bar.length().unwrap_or(0))));
                }
            }
            // A newer server may tell more.
            _ => {}
        }
    }

    fn say(&self, line: &str) {
        if self.all.is_hidden() || self.all.println(line).is_err() {
            output::note(line);
        }
    }
}

impl Progress for Bars {
    fn event(&self, event: Event<'_>) {
        self.show(&event.to_json());
    }
}

/// `sha256:0123456789ab`
pub(super) fn short(digest: &str) -> String {
    digest.chars().take("sha256:".len() + 12).collect()
}

/// Bytes with three figures.
pub(super) fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ if value < 10.0 => format!("{value:.2} {}", units[unit]),
        _ if value < 100.0 => format!("{value:.1} {}", units[unit]),
        _ => format!("{value:.0} {}", units[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_have_three_figures() {
        let check = |bytes, expect: &str| assert_eq!(size(bytes), expect);
        check(0, "0 B");
        check(999, "999 B");
        check(1024, "1.00 KiB");
        check(1_580_128, "1.51 MiB");
        check(83 << 20, "83.0 MiB");
        check(u64::MAX, "16777216 TiB");
    }
}
