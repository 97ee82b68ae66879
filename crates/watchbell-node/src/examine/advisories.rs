//! The database of advisories: opened when it is there, opened anew when another one took its place.

use std::path::PathBuf;
use std::sync::Arc;

use watchbell_advisory::{Database, Error};

pub(super) struct Advisories {
    path: PathBuf,
    open: Option<Arc<Database>>,
    /// Why there is none, in words; empty where there simply is none.
    trouble: String,
}

impl Advisories {
    pub(super) fn new(path: PathBuf) -> Advisories {
        Advisories { path, open: None, trouble: String::new() }
    }

    pub(super) fn database(&self) -> Option<Arc<Database>> {
        self.open.clone()
    }

    /// Never 0 of a database.
    pub(super) fn generation(&self) -> u64 {
        self.open.as_ref().map_or(0, |database| database.generation().0.max(1))
    }

    pub(super) fn why_none(&self) -> String {
        match self.trouble.as_str() {
            "" => format!(
                "there is no database of advisories in {} (`watchbell db update --db {0}` gets one)",
                self.path.display()
            ),
            why => why.to_owned(),
        }
    }

    /// Looks whether another one is there. One that cannot be opened takes nobody's place.
    pub(super) fn refresh(&mut self) -> bool {
        let is_current = match &self.open {
            Some(database) => match database.is_replaced() {
                Ok(is_replaced) => !is_replaced,
                Err(error) => return self.complain(&error),
            },
            None => false,
        };
        if is_current {
            return false;
        }
        let before = self.generation();
        match Database::open(&self.path) {
            Ok(database) => {
                self.open = Some(Arc::new(database));
                self.trouble.clear();
            }
            Err(Error::Absent { .. }) => self.trouble.clear(),
            Err(error) => return self.complain(&error),
        }
        self.generation() != before
    }

    fn complain(&mut self, error: &Error) -> bool {
        let why = error.to_string();
        if self.trouble != why {
            tracing::warn!("cannot use the database of advisories: {why}");
            self.trouble = why;
        }
        false
    }
}
