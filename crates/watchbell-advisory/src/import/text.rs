//! Texts of strangers: what may be kept of them, and in which form.

/// Ids, names and versions are no longer than this.
const NAME_BYTES_MAX: usize = 1024;

/// A name as it may be a key: not empty, short, without white space at its ends or control characters.
pub(super) fn name(text: &str) -> Result<&str, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("a name in it is empty".to_owned());
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(format!("a name in it has {} bytes, more than {NAME_BYTES_MAX}", text.len()));
    }
    if text.chars().any(char::is_control) {
        return Err("a name in it has control characters".to_owned());
    }
    Ok(text)
}

/// One line of prose: white space and control characters become single spaces.
pub(super) fn line(text: &str) -> String {
    let mut out = String::new();
    // Longer than any summary that is kept; the rest need not be looked at.
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
        if out.len() > crate::SUMMARY_BYTES_MAX {
            break;
        }
    }
    out
}

/// The first sentence or line of a longer text, for a summary.
pub(super) fn opening(text: &str) -> String {
    let paragraph = text.trim_start().split("\n\n").next().unwrap_or_default();
    line(paragraph.trim_start_matches(['#', ' ']))
}

/// An address that may be shown as a link.
pub(super) fn link(text: &str) -> Option<String> {
    let is_link = text.len() <= NAME_BYTES_MAX
        && (text.starts_with("https://") || text.starts_with("http://"))
        && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    is_link.then(|| text.to_owned())
}

/// What may be put into a message.
pub(super) fn shown(text: &str) -> String {
    let mut text: String =
        text.chars().take(300).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.len() >= 300 {
        text.push('…');
    }
    text
}

/// Seconds since 1970 of an RFC 3339 time or a date; nothing for what is no time or before 1970 (`0001-01-01`: not set).
pub(super) fn second(text: &str) -> Option<i64> {
    let text = text.trim();
    let second = match text.parse::<jiff::Timestamp>() {
        Ok(time) => time.as_second(),
        Err(_) => {
            let date: jiff::civil::Date = text.get(..10)?.parse().ok()?;
            jiff::tz::TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0)).ok()?.as_second()
        }
    };
    (second > 0).then_some(second)
}

/// A text of several lines without other control characters.
pub(super) fn prose(text: &str) -> String {
    text.trim().chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}
