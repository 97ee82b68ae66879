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
    body: Box<dyn Read>,
    /// Since something came last.
    tries: u32,
}

impl Bucket {
    /// The content of an object, which must still be the one of the list.
    pub(crate) fn get(&self, key: &str, etag: &str, size: u64) -> Result<Content<'_>, Error> {
        if bare(etag).is_empty() {
            return Err(self.wrong(key, "the list gives it no ETag, by which a change is noticed"));
        }
        let body = self.body(key, etag, size, 0)?;
        let (key, etag) = (key.to_owned(), etag.to_owned());
        Ok(Content { bucket: self, key, etag, size, done: 0, body, tries: 0 })
    }

    /// What follows `from` bytes of an object.
    fn body(&self, key: &str, etag: &str, size: u64, from: u64) -> Result<Box<dyn Read>, Error> {
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
            if passed.is_ok_and(|passed| passed < from) {
                return Err(self.wrong(key, "it ended before its length"));
            }
        }
        Ok(Box::new(body))
    }
}

fn bare(etag: &str) -> &str {
    etag.trim_matches('"')
}

impl Read for Content<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        loop {
            let problem = match self.body.read(to) {
                // More than the list said is given out, too: who reads refuses it.
                Ok(length) if length > 0 || to.is_empty() || self.done >= self.size => {
                    self.done += length as u64;
                    self.tries = 0;
                    return Ok(length);
                }
                Ok(_) => "it ended before its length".to_owned(),
                Err(error) => error.to_string(),
            };
            self.tries += 1;
            if self.tries >= TRIES {
                let problem = format!("{problem}, {TRIES} times");
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, problem));
            }
            self.body = self
                .bucket
                .body(&self.key, &self.etag, self.size, self.done)
                .map_err(|error| io::Error::other(error.to_string()))?;
        }
    }
}
