//! Where the index is.

use std::env;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use watchbell_advisory::INDEX_FILE;

use crate::datadir;
use crate::exit::Failure;

/// In a data directory, and in a cache.
const NAME: &str = "advisories";

/// `--db`
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Db {
    /// Directory of the advisory index; else `advisories` in $WATCHBELL_DATA_DIR, where that is set, or in
    /// /var/lib/watchbell, where that is there, and else in the user's cache
    #[arg(long, value_name = "DIR")]
    db: Option<PathBuf>,
}

impl Db {
    /// Whether who calls said where it is.
    pub(crate) fn is_named(&self) -> bool {
        self.db.is_some()
    }

    /// The directory that is meant.
    pub(crate) fn directory(&self) -> Result<PathBuf, Failure> {
        if let Some(db) = &self.db {
            return Ok(db.clone());
        }
        if let Some(dir) = datadir::of_environment() {
            return Ok(dir.join(NAME));
        }
        let of_server = Path::new(datadir::DEFAULT).join(NAME);
        let may_write = |dir: &Path| access(dir, Access::WRITE_OK | Access::EXEC_OK).is_ok();
        if of_server.join(INDEX_FILE).is_file() || may_write(Path::new(datadir::DEFAULT)) {
            return Ok(of_server);
        }
        cache(env::var_os("XDG_CACHE_HOME").map(PathBuf::from), env::var_os("HOME").map(PathBuf::from))
            .ok_or_else(|| {
                Failure::Usage("$HOME is not set; say by --db DIR where the advisory index is".to_owned())
            })
    }
}

/// By the XDG Base Directory Specification: a relative path there counts as none.
fn cache(xdg: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    let absolute = |path: &PathBuf| path.is_absolute();
    let cache = xdg.filter(absolute).or_else(|| Some(home.filter(absolute)?.join(".cache")))?;
    Some(cache.join("watchbell").join(NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_where_the_specification_says() {
        let check = |xdg: Option<&str>, home: Option<&str>, expect: Option<&str>| {
            assert_eq!(cache(xdg.map(PathBuf::from), home.map(PathBuf::from)), expect.map(PathBuf::from));
        };
        check(Some("/x"), Some("/home/ada"), Some("/x/watchbell/advisories"));
        check(Some("relative"), Some("/home/ada"), Some("/home/ada/.cache/watchbell/advisories"));
        check(Some(""), Some("/home/ada"), Some("/home/ada/.cache/watchbell/advisories"));
        check(None, None, None);
    }
}
