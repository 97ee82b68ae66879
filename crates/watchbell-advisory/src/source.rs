//! Where records came from.

use serde::{Deserialize, Serialize};

/// One publisher's data as it was imported last; an import replaces it as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Given by whoever imported it; it tells sources apart.
    pub name: String,
    /// Seconds since 1970 of the newest record that is not of the future.
    pub newest: Option<i64>,
    /// What [`Source::newest`] was read from.
    pub dated_by: Dated,
    /// Seconds since 1970.
    pub imported: i64,
    /// When its publisher's server said last that this is what it has, in seconds since 1970.
    pub confirmed: Option<i64>,
    pub counts: Counts,
    /// Where it is fetched from, for `db update`.
    pub origin: Option<Origin>,
    /// What whoever imported it said of it.
    pub stated: Stated,
    /// Whose packages it speaks of; in the order of their names. Filled in where the index is made.
    pub coverage: Vec<Coverage>,
}

/// What is said of a source beside where it is from. Another word on the same records makes another index of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stated {
    pub licence: Option<String>,
    /// Whose packages it speaks of, as [`Coverage::ecosystem`] has them; nothing: what it has most of.
    pub ecosystems: Vec<String>,
}

/// An ecosystem that a source speaks of: of a distribution one release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// As [`crate::Ecosystem`] is displayed: `PyPI`, `Debian:12`.
    pub ecosystem: String,
    pub statements: u64,
}

/// Where the age of a source is known from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dated {
    /// The records, or the file's own words.
    #[default]
    Content,
    /// The file's time of modification, or the server's word: the records have no dates.
    File,
}

/// What a source was fetched from, and what the server said of that state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub location: String,
    pub etag: Option<String>,
    pub last_modified: Option<String>,
}

/// What became of a source's records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Records that were read, the withdrawn ones too.
    pub records: u64,
    /// Statements about a package that can be asked for.
    pub statements: u64,
    pub withdrawn: u64,
    /// Records that could not be understood.
    pub bad: u64,
    /// Ranges of commits, which no package's version can be compared with.
    pub git_ranges: u64,
    /// Statements about packages of ecosystems that are not read.
    pub other_ecosystems: u64,
    /// Statements that hold on other systems than Linux alone.
    pub other_systems: u64,
    /// Vectors that are none of CVSS.
    pub unscored: u64,
    /// Records whose id another record of the source has too; the newest counts.
    pub repeated: u64,
    /// Records dated later than the import.
    pub future: u64,
    /// Entries of a catalogue of exploited vulnerabilities.
    pub exploited: u64,
    /// Estimates of exploitation.
    pub predictions: u64,
}

/// Why a source may not take the place of what is there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rollback {
    #[error(
        "the data of {name} is of {new}, and what is indexed of {old}: an older state would hide what became known since; to take it anyway: --allow-older"
    )]
    Older { name: String, new: String, old: String },
    #[error(
        "the data of {name} has no date, and what is indexed is of {old}: an older state would hide what became known since; to take it anyway: --allow-older"
    )]
    Undated { name: String, old: String },
    #[error(
        "the data of {name} has {new} records, and what is indexed {old}: more than half would be lost; to take it anyway: --allow-older"
    )]
    Smaller { name: String, new: u64, old: u64 },
}

impl Source {
    /// For how many seconds nothing is known of changes at the publisher: since its server was asked, or since the newest
    /// record where nobody asked. `None`: not known at all.
    pub fn age_seconds(&self, now: i64) -> Option<u64> {
        let known = self.newest.max(self.confirmed)?;
        Some(u64::try_from(now.saturating_sub(known)).unwrap_or(0))
    }

    /// When its data was as it is: its publisher's last word that nothing is newer, or its newest record, or its import where
    /// neither is known.
    pub fn as_of(&self) -> i64 {
        self.newest.max(self.confirmed).unwrap_or(self.imported)
    }

    /// Whether this may take the place of `old`: it is not older, and has not lost most of the records. Without a date it could
    /// be any state, also one that somebody kept.
    pub fn check_follows(&self, old: &Source) -> Result<(), Rollback> {
        let name = self.name.clone();
        match (self.newest, old.newest) {
            (Some(new), Some(old)) if new < old => {
                return Err(Rollback::Older { name, new: date(new), old: date(old) });
            }
            (None, Some(old)) => return Err(Rollback::Undated { name, old: date(old) }),
            _ => {}
        }
        let entries = |counts: &Counts| counts.records + counts.exploited + counts.predictions;
        let (new, old) = (entries(&self.counts), entries(&old.counts));
        if new < old / 2 { Err(Rollback::Smaller { name, new, old }) } else { Ok(()) }
    }
}

/// `2026-08-01`, in UTC; the number itself when it is no time of our calendar.
pub fn date(second: i64) -> String {
    jiff::Timestamp::from_second(second)
        .map_or_else(|_| second.to_string(), |t| t.strftime("%Y-%m-%d").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(newest: Option<i64>, records: u64) -> Source {
        Source {
            name: "pypa".to_owned(),
            newest,
            counts: Counts { records, ..Counts::default() },
            ..Source::default()
        }
    }

    #[test]
    fn age_counts_from_the_last_confirmation_or_the_newest_record() {
        let now = 1_750_000_000;
        let mut source = source(Some(now - 900), 1);
        assert_eq!(source.age_seconds(now), Some(900));
        source.confirmed = Some(now - 60);
        assert_eq!(source.age_seconds(now), Some(60));
        assert_eq!(source.age_seconds(now - 100), Some(0), "a clock that was set back");
        assert_eq!(Source::default().age_seconds(now), None);
    }

    #[test]
    fn an_older_or_much_smaller_state_is_refused() {
        let day = 86_400;
        let old = source(Some(1_750_000_000), 1000);
        let check = |newest, records| source(newest, records).check_follows(&old);
        assert_eq!(check(Some(1_750_000_000), 1000), Ok(()));
        assert_eq!(check(Some(1_750_000_000 + day), 500), Ok(()));
        let undated = check(None, 1000).unwrap_err();
        assert!(matches!(undated, Rollback::Undated { .. }), "{undated}");
        let text = undated.to_string();
        assert!(
            text.contains("pypa") && text.contains("2025-06-15") && text.contains("--allow-older"),
            "{text}"
        );
        assert_eq!(source(None, 1000).check_follows(&source(None, 1000)), Ok(()), "it never had one");
        assert_eq!(source(Some(1), 1000).check_follows(&source(None, 1000)), Ok(()));
        let older = check(Some(1_750_000_000 - day), 1000).unwrap_err();
        let text = older.to_string();
        assert!(
            text.contains("2025-06-14") && text.contains("2025-06-15") && text.contains("--allow-older"),
            "{text}"
        );
        assert!(matches!(
            check(Some(1_750_000_000), 499),
            Err(Rollback::Smaller { new: 499, old: 1000, .. })
        ));
    }
}
