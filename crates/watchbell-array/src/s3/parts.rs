//! What is large is written in parts, so that a line that breaks costs one of them, and no more than one is in memory.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Cursor, Read};
use std::path::Path;

use super::{Bucket, DIGEST, code, elements, unescaped};
use crate::error::Error;

/// What has no more is written by one request.
pub(super) const ABOVE_BYTES: u64 = 16 << 20;
/// A service takes parts of at least 5 MiB, and 10,000 of them.
const PART_BYTES: u64 = 8 << 20;
const MAX_PARTS: u64 = 10_000;
const MAX_ANSWER_BYTES: u64 = 4 << 20;

/// Parts that are there: the length and the ETag of each.
type Parts = BTreeMap<u64, (u64, String)>;

/// So large that there are not too many of them.
fn part_bytes(size: u64) -> u64 {
    size.div_ceil(MAX_PARTS).next_multiple_of(1 << 20).max(PART_BYTES)
}

impl Bucket {
    pub(super) fn put_parts(
        &self,
        key: &str,
        size: u64,
        digest: &str,
        content: &dyn Fn() -> Result<Box<dyn Read>, Error>,
        note: Option<&Path>,
    ) -> Result<(), Error> {
        let (upload, there) = match self.begun(key, note)? {
            Some(begun) => begun,
            None => (self.begin(key, digest, note)?, Parts::new()),
        };
        let put = self.put_missing(key, size, digest, content, (&upload, there));
        match (put, note) {
            (Ok(()), Some(note)) => forget(note),
            (Ok(()), None) => Ok(()),
            // Whoever comes again goes on with it.
            (Err(error), Some(_)) => Err(error),
            (Err(error), None) => Err(self.given_up(key, &upload, error)),
        }
    }

    /// Writes the parts that are not there, and puts all together.
    fn put_missing(
        &self,
        key: &str,
        size: u64,
        digest: &str,
        content: &dyn Fn() -> Result<Box<dyn Read>, Error>,
        (upload, mut there): (&str, Parts),
    ) -> Result<(), Error> {
        let each = part_bytes(size);
        let reading = |source| Error::Io { step: "read the object of", path: key.into(), source };
        let mut from = content()?;
        for (number, at) in (1..).zip((0..size).step_by(each as usize)) {
            let length = each.min(size - at);
            if there.get(&number).is_some_and(|(there, _)| *there == length) {
                let passed = io::copy(&mut (&mut from).take(length), &mut io::sink()).map_err(reading)?;
                if passed == length {
                    continue;
                }
            }
            let mut part = Vec::with_capacity(length as usize);
            (&mut from).take(length).read_to_end(&mut part).map_err(reading)?;
            if part.len() as u64 != length {
                return Err(reading(io::ErrorKind::UnexpectedEof.into()));
            }
            let etag = self.put_part(key, upload, number, part)?;
            there.insert(number, (length, etag));
        }
        there.retain(|number, _| *number <= size.div_ceil(each));
        self.complete(key, upload, digest, &there)
    }

    /// Lets the service drop the parts of an upload that failed and that nobody can go on with. The error says when it does not.
    fn given_up(&self, key: &str, upload: &str, error: Error) -> Error {
        // One that the service does not know (any more) has none.
        match self.ask_for("DELETE", key, &[("uploadId", upload)], &[], None) {
            Ok(_) => error,
            Err(left) => self.wrong(key, &format!("{error}; its parts stay at the service: {left}")),
        }
    }

    /// What an export that was interrupted has written, with the name of its upload.
    fn begun(&self, key: &str, note: Option<&Path>) -> Result<Option<(String, Parts)>, Error> {
        let Some(note) = note else { return Ok(None) };
        let upload = match fs::read_to_string(note) {
            // A machine that lost its power may have left its name alone.
            Ok(upload) if upload.is_empty() => return Ok(None),
            Ok(upload) => upload,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", note)(error)),
        };
        let (mut parts, mut marker) = (Parts::new(), None::<String>);
        loop {
            let mut query = vec![("uploadId", upload.as_str())];
            query.extend(marker.as_deref().map(|marker| ("part-number-marker", marker)));
            let text = match self.ask_for("GET", key, &query, &[], None)? {
                Ok(answer) => self.text(key, answer)?,
                Err(_) => {
                    // It was ended, or the service forgot it: all is written anew.
                    forget(note)?;
                    return Ok(None);
                }
            };
            let (mut page, next) = page(&text).map_err(|problem| self.wrong(key, problem))?;
            parts.append(&mut page);
            match next.filter(|next| Some(next) != marker.as_ref()) {
                Some(next) => marker = Some(next),
                None => return Ok(Some((upload, parts))),
            }
        }
    }

    fn begin(&self, key: &str, digest: &str, note: Option<&Path>) -> Result<String, Error> {
        let empty = || Ok(Box::new(io::empty()) as Box<dyn Read>);
        let headers = [("content-length", "0"), (DIGEST, digest)];
        let answer = self.ask("POST", key, &[("uploads", "")], &headers, Some(&empty))?;
        let text = self.text(key, answer)?;
        let upload = elements(&text, "UploadId").next().map(unescaped).filter(|upload| !upload.is_empty());
        let upload = upload.ok_or_else(|| self.wrong(key, "the service names no upload of parts"))?;
        if let Some(note) = note {
            // Of use after a crash of this program; after one of the machine all may be written anew.
            // By a name of its own, so that another export of the same reads all of it or nothing.
            let next = note.with_extension(format!("{}.next", std::process::id()));
            let noted = fs::write(&next, &upload)
                .map_err(Error::io("write", &next))
                .and_then(|()| fs::rename(&next, note).map_err(Error::io("rename to", note)));
            noted.map_err(|error| self.given_up(key, &upload, error))?;
        }
        Ok(upload)
    }

    fn put_part(&self, key: &str, upload: &str, number: u64, part: Vec<u8>) -> Result<String, Error> {
        let (number, length) = (number.to_string(), part.len().to_string());
        let part: std::sync::Arc<[u8]> = part.into();
        let body = || Ok(Box::new(Cursor::new(part.clone())) as Box<dyn Read>);
        let query = [("partNumber", number.as_str()), ("uploadId", upload)];
        let answer = self.ask("PUT", key, &query, &[("content-length", &length)], Some(&body))?;
        let etag = answer.headers().get("etag").and_then(|value| value.to_str().ok());
        etag.map(str::to_owned).ok_or_else(|| self.wrong(key, "the service gives a part no ETag"))
    }

    fn complete(&self, key: &str, upload: &str, digest: &str, parts: &Parts) -> Result<(), Error> {
        let mut list = String::from("<CompleteMultipartUpload>");
        for (number, (_, etag)) in parts {
            let etag = etag.trim_matches('"');
            // Of quotation marks apart, which it stands in, an ETag has nothing that XML knows.
            if etag.contains(['<', '>', '&', '"']) {
                return Err(self.wrong(key, "the service gives a part an ETag of another form"));
            }
            list.push_str(&format!(
                "<Part><PartNumber>{number}</PartNumber><ETag>&quot;{etag}&quot;</ETag></Part>"
            ));
        }
        list.push_str("</CompleteMultipartUpload>");
        let length = list.len().to_string();
        let body = || Ok(Box::new(Cursor::new(list.clone().into_bytes())) as Box<dyn Read>);
        let headers = [("content-length", length.as_str())];
        let answer = self.ask("POST", key, &[("uploadId", upload)], &headers, Some(&body));
        // An error may stand in an answer that says that all is well.
        let done = answer.and_then(|answer| self.text(key, answer)).and_then(|text| {
            match text.contains("<CompleteMultipartUploadResult") {
                true => Ok(()),
                false => {
                    let says = format!("its parts are not put together: {}", code(&text));
                    Err(self.wrong(key, says.trim_end()))
                }
            }
        });
        match done {
            // It was, and the answer did not arrive: asked again, the service knows no such upload.
            Err(error) => match self.digest(key) {
                Ok(Some(found)) if found == digest => Ok(()),
                _ => Err(error),
            },
            Ok(()) => Ok(()),
        }
    }

    fn text(&self, key: &str, mut answer: ureq::http::Response<ureq::Body>) -> Result<String, Error> {
        let mut text = String::new();
        let mut body = answer.body_mut().as_reader().take(MAX_ANSWER_BYTES);
        body.read_to_string(&mut text)
            .map_err(|error| self.wrong(key, &format!("the answer cannot be read: {error}")))?;
        Ok(text)
    }
}

/// Reads a page of a list of parts: those, and where the next page begins.
pub(crate) fn page(text: &str) -> Result<(Parts, Option<String>), &'static str> {
    let one = |of: &str, name: &str| elements(of, name).next().map(unescaped);
    let mut parts = Parts::new();
    for part in elements(text, "Part") {
        let number = |name: &str| one(part, name).and_then(|text| text.parse::<u64>().ok());
        let (Some(at), Some(length), Some(etag)) = (number("PartNumber"), number("Size"), one(part, "ETag"))
        else {
            return Err("its list of parts is of another form");
        };
        parts.insert(at, (length, etag));
    }
    let is_cut = one(text, "IsTruncated").as_deref() == Some("true");
    Ok((parts, one(text, "NextPartNumberMarker").filter(|_| is_cut)))
}

fn forget(note: &Path) -> Result<(), Error> {
    match fs::remove_file(note) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", note)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::S3Config;

    const KNOWS_NONE: &str = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

    fn answer(status: &str, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
    }

    /// Only a service that knows no such upload has it begun anew: any other error may pass, and the parts are there.
    #[test]
    fn an_upload_that_was_begun_is_forgotten_only_when_the_service_has() {
        let dir = tempfile::tempdir().unwrap();
        let note = dir.path().join("note");
        let parts = "<ListPartsResult><Part><PartNumber>1</PartNumber><Size>5</Size><ETag>e</ETag></Part>\
                     <IsTruncated>false</IsTruncated></ListPartsResult>";
        let answers = vec![answer("403 Forbidden", ""), answer("200 OK", parts), KNOWS_NONE.to_owned()];
        let (endpoint, thread) = super::super::tests::service(answers);
        let config = S3Config { endpoint: Some(endpoint), allow_http: true, ..S3Config::default() };
        let bucket = Bucket::new("s3://bucket/a", &config).unwrap();
        fs::write(&note, "").unwrap();
        assert_eq!(bucket.begun("k", Some(&note)).unwrap(), None);
        fs::write(&note, "u").unwrap();
        let error = bucket.begun("k", Some(&note)).unwrap_err().to_string();
        assert!(error.ends_with("the service says 403 Forbidden") && note.exists(), "{error}");
        let found = bucket.begun("k", Some(&note)).unwrap().unwrap();
        assert_eq!(found, ("u".to_owned(), [(1, (5, "e".to_owned()))].into()));
        assert_eq!(bucket.begun("k", Some(&note)).unwrap(), None);
        assert!(!note.exists());
        assert!(thread.join().unwrap().iter().all(|request| request.contains("uploadId=u")));
    }

    /// Without a note nobody goes on with an upload that failed: the service is told, and the error stays the first one's.
    #[test]
    fn an_upload_that_failed_leaves_no_parts() {
        let dir = tempfile::tempdir().unwrap();
        let begun = answer("200 OK", "<R><UploadId>u</UploadId></R>");
        let refused = answer("403 Forbidden", "<Error><Code>AccessDenied</Code></Error>");
        let put = |answers: Vec<String>, note: Option<&Path>| {
            let (endpoint, thread) = super::super::tests::service(answers);
            let config = S3Config { endpoint: Some(endpoint), allow_http: true, ..S3Config::default() };
            let bucket = Bucket::new("s3://bucket/a", &config).unwrap();
            let short = || Ok(Box::new(io::empty()) as Box<dyn Read>);
            let error = bucket.put_parts("k", ABOVE_BYTES + 1, "d", &short, note).unwrap_err().to_string();
            let requests = thread.join().unwrap();
            let last = requests.last().and_then(|last| last.lines().next()).unwrap_or_default().to_owned();
            (error, last)
        };
        let dropped = "DELETE /bucket/a/k?uploadId=u HTTP/1.1";
        let (error, last) = put(vec![begun.clone(), answer("204 No Content", "")], None);
        assert!(error.contains("read the object of k") && !error.contains("stay"), "{error}");
        assert_eq!(last, dropped);
        let (error, last) = put(vec![begun.clone(), refused], None);
        assert!(error.contains("read the object of k") && error.contains("AccessDenied"), "{error}");
        assert_eq!(last, dropped);
        // What is noted is gone on with; what cannot be noted is not.
        let (_, last) = put(vec![begun.clone()], Some(&dir.path().join("note")));
        assert!(last.starts_with("POST"), "{last}");
        let nowhere = dir.path().join("nowhere/note");
        let (_, last) = put(vec![begun, KNOWS_NONE.to_owned()], Some(&nowhere));
        assert_eq!(last, dropped);
    }

    #[test]
    fn parts_are_large_enough_and_not_too_many() {
        for size in [ABOVE_BYTES + 1, 80 << 30, (80 << 30) + 1, 5 << 40] {
            let each = part_bytes(size);
            assert!(each >= PART_BYTES && size.div_ceil(each) <= MAX_PARTS, "{size}: {each}");
            assert!(each <= 5 << 30);
        }
    }
}
