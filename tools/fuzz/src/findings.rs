//! What is judged for its own sake: Dockerfiles, files with secrets, and what people say of findings.

use watchbell_scan::dockerfile::{Dockerfile, Options, judge};
use watchbell_scan::secret::scan_file;
use watchbell_scan::vex::{IgnoreFile, PurlPattern, VexDocument};

/// Every finding has a place in the file, and the same file the same findings.
pub fn dockerfile(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let file = Dockerfile::parse(&text);
    let findings = judge(&file, &Options::default());
    let lines = text.lines().count().max(1);
    for finding in &findings {
        let place = finding.place;
        assert!((1..=lines).contains(&(place.line as usize)), "{finding:?}");
        assert!(place.column >= 1 && place.end_column > place.column, "{finding:?}");
    }
    let again = judge(&Dockerfile::parse(&text), &Options::default());
    assert_eq!(findings.len(), again.len());
}

/// Hits lie inside the content, and of a secret at most four characters are shown.
pub fn secrets(data: &[u8]) {
    for path in ["a", "root/.netrc", "root/.pypirc", "root/.git-credentials", "root/.docker/config.json"] {
        for hit in scan_file(path, data) {
            assert!(hit.range.start < hit.range.end && hit.range.end <= data.len(), "{hit:?}");
            assert!(hit.start.chars().count() <= 4, "{hit:?}");
        }
    }
}

/// A document is read or refused; a package URL that is printed means what was read.
pub fn vex(data: &[u8]) {
    let _ = VexDocument::parse("vex.json", data);
    if let Some(pattern) = std::str::from_utf8(data).ok().and_then(PurlPattern::parse) {
        assert!(pattern.matches(&pattern));
    }
}

/// An entry that is taken has a day and a reason.
pub fn ignore_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(file) = IgnoreFile::parse("ignore", text) {
        for entry in file.entries {
            assert!(!entry.reason.is_empty() && entry.expires.len() == 10 && !entry.id.is_empty());
        }
    }
}
