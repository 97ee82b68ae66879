//! Whom the kernel kills when the machine is out of memory: what the spawner starts would be the last, as the spawner is.

use std::fs::{self, File};
use std::io::{self, Read};

const OWN: &str = "/proc/self/oom_score_adj";

/// As the kernel takes it.
pub(crate) type Score = &'static str;

pub(crate) const SPAWNER: Score = "-999";
/// As any process of the machine: another keeper loses nothing, and hooks, shims and runtimes are the pod's.
pub(crate) const USUAL: Score = "0";
/// Before others of its size: with the gate go connections, with a tracer a trace and its task.
pub(crate) const EARLY: Score = "300";

/// Shields the calling process, and what it starts and does not say otherwise.
pub(crate) fn shield() -> io::Result<()> {
    fs::write(OWN, SPAWNER)
}

/// Sets the calling process's score, which those that it starts have too. A higher one that somebody with more rights gave to all
/// of this stays.
pub(crate) fn set(score: Score) -> io::Result<()> {
    fs::write(OWN, score).or_else(|error| if is_above(score)? { Ok(()) } else { Err(error) })
}

/// Without memory of its own: between fork and exec.
fn is_above(score: Score) -> io::Result<bool> {
    let mut text = [0u8; 16];
    let length = File::open(OWN)?.read(&mut text)?;
    let number = |text: &str| text.trim().parse::<i32>().ok();
    let now = std::str::from_utf8(&text[..length]).ok().and_then(number);
    Ok(now.zip(number(score)).is_some_and(|(now, score)| now > score))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whether_the_score_is_higher_already_is_seen() {
        let own: i32 = fs::read_to_string(OWN).unwrap().trim().parse().unwrap();
        assert_eq!(is_above("-1000").unwrap(), own > -1000);
        assert!(!is_above("1000").unwrap());
    }
}
