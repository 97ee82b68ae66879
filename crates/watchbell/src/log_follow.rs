//! A log read to its end, over restarts of the server.
//!
//! Every line is asked for with its time. When the stream ends and the container has not, it is asked for again from the
//! second of the last line, and what was seen already is left out.

use std::io::{BufRead, BufReader, Read};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use watchbell_api::Resource;

use crate::client::{Client, ClientError, encode, path};
use crate::exit::Failure;

/// How long a server that went away is waited for: it may be restarting, and its tasks run on meanwhile.
pub(crate) const SERVER_PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);
/// A line longer than this is handed on in parts.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// What is followed, and from where.
pub(crate) struct Followed<'a> {
    pub(crate) client: &'a Client,
    pub(crate) pod: &'a str,
    pub(crate) container: &'a str,
    /// `&tailLines=…`, `&sinceSeconds=…`: for the first request.
    pub(crate) from: String,
    pub(crate) timestamps: bool,
}

/// A part of a line: `text` without its line feed, and whether the line ends here.
pub(crate) type Each<'a> = dyn FnMut(&[u8], bool) -> std::io::Result<()> + 'a;

/// The lines of a stream, without their line feed.
pub(crate) fn lines(stream: impl Read, each: &mut Each<'_>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let ended = line.last() == Some(&b'\n');
        each(line.strip_suffix(b"\n").unwrap_or(&line), ended)?;
    }
}

/// How far a log has been read.
#[derive(Debug, Default)]
struct Reached {
    /// Time of the last line, and how many lines of that very time were seen.
    last: Option<(Timestamp, usize)>,
    /// Lines of the last time still to be left out after a new start.
    skip: usize,
    /// Whether the part before went on, and was left out.
    inside: Option<bool>,
}

impl Reached {
    /// A new stream begins, at the second of the last line or before.
    fn again(&mut self) {
        self.skip = self.last.map_or(0, |(_, count)| count);
        self.inside = None;
    }

    /// The text of a part without its time, or nothing when it was seen already. `with_time` keeps the time.
    fn take<'l>(&mut self, part: &'l [u8], ended: bool, with_time: bool) -> Option<&'l [u8]> {
        if let Some(left_out) = self.inside {
            self.inside = (!ended).then_some(left_out);
            return (!left_out).then_some(part);
        }
        let at = part.iter().position(|b| *b == b' ').unwrap_or(part.len());
        let time = std::str::from_utf8(&part[..at]).ok().and_then(|text| text.parse::<Timestamp>().ok());
        let text = if with_time || time.is_none() { part } else { part.get(at + 1..).unwrap_or_default() };
        let left_out = match (time, self.last) {
            (Some(time), Some((last, _))) if time < last => true,
            (Some(time), Some((last, _))) if time == last && self.skip > 0 => {
                self.skip -= 1;
                true
            }
            _ => false,
        };
        if let (Some(time), false) = (time, left_out) {
            let count = match self.last {
                Some((last, count)) if last == time => count + 1,
                _ => 1,
            };
            self.last = Some((time, count));
            self.skip = 0;
        }
        self.inside = (!ended).then_some(left_out);
        (!left_out).then_some(text)
    }
}

/// Hands on every line until the container has ended and its log with it.
pub(crate) fn follow(followed: &Followed<'_>, each: &mut Each<'_>) -> Result<(), Failure> {
    let Followed { client, pod, container, .. } = followed;
    let place = path(Resource::Pod, &client.namespace, pod);
    let mut reached = Reached::default();
    let mut silent_since: Option<Instant> = None;
    loop {
        let from = match reached.last {
            None => followed.from.clone(),
            Some((last, _)) => {
                let second = Timestamp::from_second(last.as_second()).unwrap_or(last);
                format!("&sinceTime={}", encode(&second.to_string()))
            }
        };
        let url = format!("{place}/log?container={}&follow=true&timestamps=true{from}", encode(container));
        reached.again();
        let mut gone = None;
        let read = client.stream(&url, "*/*").and_then(|stream| {
            silent_since = None;
            let mut hand_on = |part: &[u8], ended: bool| match reached.take(part, ended, followed.timestamps)
            {
                Some(text) => each(text, ended).inspect_err(|_| gone = Some(())),
                None => Ok(()),
            };
            lines(stream, &mut hand_on).map_err(|e| ClientError::Broken(e.to_string()))
        });
        if gone.is_some() {
            // Nobody reads what is handed on.
            return Ok(());
        }
        let ended = read.and_then(|()| Ok(has_ended(&client.get(&place)?, container)));
        match ended {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) if error.is_passing() => {
                let since = *silent_since.get_or_insert_with(Instant::now);
                if since.elapsed() > SERVER_PATIENCE {
                    return Err(Failure::Unreachable(format!("the log of pod {pod} broke off: {error}")));
                }
            }
            Err(error) => return Err(error.into()),
        }
        std::thread::sleep(PAUSE);
    }
}

fn has_ended(pod: &serde_json::Value, container: &str) -> bool {
    let statuses = ["containerStatuses", "initContainerStatuses"];
    let phase = pod["status"]["phase"].as_str();
    matches!(phase, Some("Succeeded" | "Failed"))
        || statuses
            .iter()
            .flat_map(|field| pod["status"][*field].as_array().into_iter().flatten())
            .any(|status| status["name"] == container && status["state"]["terminated"].is_object())
}

#[cfg(test)]
mod tests {
    use super::{Reached, lines};

    /// Streams of one log, each begun anew; what is handed on of all.
    fn check(streams: &[&str], with_time: bool, expect: &str) {
        let mut reached = Reached::default();
        let mut out = Vec::new();
        for stream in streams {
            reached.again();
            lines(stream.as_bytes(), &mut |part, ended| {
                if let Some(text) = reached.take(part, ended, with_time) {
                    out.extend_from_slice(text);
                    if ended {
                        out.push(b'\n');
                    }
                }
                Ok(())
            })
            .expect("memory");
        }
        assert_eq!(String::from_utf8_lossy(&out), expect, "{streams:?}");
    }

    #[test]
    fn no_line_is_lost_or_told_twice() {
        let line = |nano: u32, text: &str| format!("2026-01-01T00:00:00.{nano:09}Z {text}\n");
        let (a, b, c, d) = (line(1, "a"), line(2, "b"), line(2, "c"), line(3, "d"));
        let all = [a.as_str(), &b, &c, &d].concat();
        check(&[&all], false, "a\nb\nc\nd\n");
        check(&[&all, &all], false, "a\nb\nc\nd\n");
        check(&[&[a.as_str(), &b].concat(), &all], false, "a\nb\nc\nd\n");
        check(&[&[a.as_str(), &b, &c].concat(), &[b.as_str(), &c, &d].concat()], false, "a\nb\nc\nd\n");
        check(&[&a, "", &all], false, "a\nb\nc\nd\n");
        check(&[&a, &all], true, &all);
        // A line without a time is nothing that the log wrote; it is handed on as it came.
        check(&["what went wrong\n"], false, "what went wrong\n");
        check(&["2026-01-01T00:00:00Z \n"], false, "\n");
    }
}
