//! Packages of rpm: three forms of its data base, each a list of header blobs.
//!
//! ```text
//!  rpmdb.sqlite   SQLite, one table             Fedora, RHEL 9 and later
//!  Packages.db    ndb, rpm's own                SUSE
//!  Packages       Berkeley DB, a hash table     RHEL 8 and before, Amazon Linux 2
//! ```

mod bdb;
mod header;
mod ndb;
mod sqlite;

use super::item::{ITEMS_MAX, Item};

/// Blobs that are no header; a data base with some is read on, one of nothing else is given up.
const DAMAGED_MAX: u64 = 1_000;

/// Which form of data base a file of this name is; its first bytes must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    Sqlite,
    Ndb,
    Bdb,
}

impl Form {
    pub(crate) fn of(path: &str) -> Option<Self> {
        let (directory, name) = path.rsplit_once('/')?;
        // Where rpm has had its data base through the years, and where image-based systems have it.
        let is_rpm = ["var/lib/rpm", "usr/lib/sysimage/rpm", "usr/share/rpm"].iter().any(|place| {
            directory.strip_suffix(place).is_some_and(|root| root.is_empty() || root.ends_with('/'))
        });
        match name {
            "rpmdb.sqlite" if is_rpm => Some(Self::Sqlite),
            "Packages.db" if is_rpm => Some(Self::Ndb),
            "Packages" if is_rpm => Some(Self::Bdb),
            _ => None,
        }
    }
}

/// The installed packages, and what of the data base could not be read.
pub(crate) fn installed(bytes: &[u8], form: Form) -> (Vec<Item>, Option<String>) {
    let mut items = Vec::new();
    let mut damaged = 0u64;
    // A blob lies in one place and belongs to one package: all together are not more than the file.
    let mut left = bytes.len();
    let mut given_up = None;
    let mut each = |blob: &[u8]| {
        match left.checked_sub(blob.len()) {
            Some(rest) => left = rest,
            None => {
                given_up = Some("its packages together are larger than it is");
                return false;
            }
        }
        match header::package(blob) {
            Ok(found) => items.extend(found),
            Err(_) => damaged += 1,
        }
        if items.len() > ITEMS_MAX {
            given_up = Some("it has more packages than any machine");
        } else if damaged > DAMAGED_MAX {
            given_up = Some("most of its packages cannot be read");
        }
        given_up.is_none()
    };
    let read = match form {
        Form::Sqlite => sqlite::blobs(bytes, &mut each),
        Form::Ndb => ndb::blobs(bytes, &mut each),
        Form::Bdb => bdb::blobs(bytes, &mut each),
    };
    let damaged = (damaged > 0)
        .then(|| format!("{damaged} of its {} packages cannot be read", items.len() as u64 + damaged));
    (items, given_up.map(str::to_owned).or(read.err()).or(damaged))
}

#[cfg(test)]
mod tests;
