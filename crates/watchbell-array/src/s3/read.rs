//! The content of an object, over lines that break.

use std::io::{self, Read};

use ureq::http::StatusCode;

use super::{Bucket, TRIES};
use crate::error::Error;

/// Reads all of an object, of which the list said how large it is; what comes is what was asked for, or an error.
pub(crate) struct Content<'a> {
    bucket: &'a Bucket,
    key: String,
    etag: String,
    size: u64,
    /// Bytes that were given out.
    done: u64,
    /// What comes next; the problem where its line broke before it came.
    body: Body,
    /// Since [`ENOUGH_BYTES`] came of one answer.
    tries: u32,
    /// Of this answer.
    came: u64,
}

type Body = Result<Box<dyn Read>, String>;

impl Bucket {
    /// The content of an object, which must still be the one of the list.
    pub(crate) fn get(&self, key: &str, etag: &str, size: u64) -> Result<Content<'_>, Error> {
        if bare(etag).is_empty() {
            return Err(self.wrong(key, "the list gives it no ETag, by which a change is noticed"));
        }
        let body = self.body(key, etag, size, 0)?;
        let (key, etag) = (key.to_owned(), etag.to_owned());
        Ok(Content { bucket: self, key, etag, size, done: 0, body, tries: 0, came: 0 })
    }

    /// What follows `from` bytes of an object.
    fn body(&self, key: &str, etag: &str, size: u64, from: u64) -> Result<Body, Error> {
        let range = format!("bytes={from}-");
        let mut headers = vec![("if-match", etag)];
        headers.extend((from > 0).then_some(("range", range.as_str())));
        let response = self.ask("GET", key, &[], &headers, None)?;
        let text = |name: &str| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
        };
        // Not every service heeds the condition.
        if bare(text("etag")) != bare(etag) {
            return Err(self.wrong(key, "it changed while it was read"));
        }
        let is_part = response.status() == StatusCode::PARTIAL_CONTENT;
        if is_part && text("content-range") != format!("bytes {from}-{}/{size}", size.saturating_sub(1)) {
            return Err(self.wrong(key, "another part of it came than was asked for"));
        }
        let mut body = response.into_body().into_reader();
        if from > 0 && !is_part {
            // Nor ranges: then it is read again as far as it was.
            let passed = io::copy(&mut (&mut body).take(from), &mut io::sink());
            // Where a line broke on the way nobody knows what would come next.
            match passed {
                Ok(passed) if passed == from => {}
                Ok(_) => return Ok(Err(ENDED.to_owned())),
                Err(error) => return Ok(Err(error.to_string())),
            }
        }
        Ok(Ok(Box::new(body)))
    }
}

/// An answer that breaks before it has brought so much is one of few: else a service could give a byte to each request, for ever.
const ENOUGH_BYTES: u64 = 64 << 10;
const ENDED: &str = "it ended before its length";

fn bare(etag: &str) -> &str {
    etag.trim_matches('"')
}

impl Read for Content<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        loop {
            let came = match &mut self.body {
                Ok(body) => body.read(to).map_err(|error| error.to_string()),
                Err(problem) => Err(std::mem::take(problem)),
            };
            let problem = match came {
                // More than the list said is given out, too: who reads refuses it.
                Ok(length) if length > 0 || to.is_empty() || self.done >= self.size => {
                    self.done += length as u64;
                    self.came += length as u64;
                    if self.came >= ENOUGH_BYTES {
                        self.tries = 0;
                    }
                    return Ok(length);
                }
                // All of it is there: what broke behind it is nobody's concern.
                Err(_) if self.done >= self.size => return Ok(0),
                Ok(_) => ENDED.to_owned(),
                Err(problem) => problem,
            };
            self.tries += 1;
            if self.tries >= TRIES {
                let problem = format!("{problem}, {TRIES} times");
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, problem));
            }
            self.came = 0;
            self.body = self
                .bucket
                .body(&self.key, &self.etag, self.size, self.done)
                .map_err(|error| io::Error::other(error.to_string()))?;
        }
    }
}
