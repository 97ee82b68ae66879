//! How slowly a registry may send. One that sends a byte a minute never stalls, and would hold whoever waits for ever.

use std::io::{self, Read};
use std::time::{Duration, Instant};

/// So many bytes have to come in every span of time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) bytes_min: u64,
    pub(super) span: Duration,
}

/// What is read at no less than a pace.
pub(super) struct Paced<R, C = fn() -> Instant> {
    content: R,
    pace: Pace,
    now: C,
    /// The present span: when it began, and what came in it.
    since: Instant,
    bytes: u64,
}

impl<R> Paced<R> {
    pub(super) fn new(content: R, pace: Pace) -> Self {
        Self::by(content, pace, Instant::now)
    }
}

impl<R, C: Fn() -> Instant> Paced<R, C> {
    fn by(content: R, pace: Pace, now: C) -> Self {
        let since = now();
        Self { content, pace, now, since, bytes: 0 }
    }
}

impl<R: Read, C: Fn() -> Instant> Read for Paced<R, C> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.content.read(buffer)?;
        self.bytes += n as u64;
        let now = (self.now)();
        if now.saturating_duration_since(self.since) < self.pace.span {
            return Ok(n);
        }
        if n > 0 && self.bytes < self.pace.bytes_min {
            let (bytes, span) = (self.bytes, self.pace.span.as_secs());
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("it sends too slowly: {bytes} bytes in {span} seconds"),
            ));
        }
        (self.since, self.bytes) = (now, 0);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// One byte at a time, `every` after the one before; gives how many came through.
    fn read(every: Duration, bytes: usize) -> (usize, Option<String>) {
        let begin = Instant::now();
        let reads = Cell::new(0);
        let now = || begin + every * reads.get();
        let pace = Pace { bytes_min: 10, span: Duration::from_secs(60) };
        let content = vec![0u8; bytes];
        let mut paced = Paced::by(&content[..], pace, now);
        for n in 0.. {
            reads.set(reads.get() + 1);
            match paced.read(&mut [0u8; 1]) {
                Ok(0) => return (n, None),
                Ok(_) => {}
                Err(error) => return (n, Some(error.to_string())),
            }
        }
        unreachable!("the content ends")
    }

    #[test]
    fn who_sends_a_byte_now_and_then_is_given_up() {
        let (came, error) = read(Duration::from_secs(30), 1000);
        assert_eq!((came, error.as_deref()), (1, Some("it sends too slowly: 2 bytes in 60 seconds")));
        assert_eq!(read(Duration::from_secs(6), 1000), (1000, None), "ten bytes a minute are enough");
        assert_eq!(read(Duration::from_secs(59), 1), (1, None), "little that comes to its end is no trickle");
    }
}
