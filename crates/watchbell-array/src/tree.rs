use std::cmp::Ordering;

use crate::manifest::Manifest;

/// The keys in which two manifests differ, each list sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    pub added: Vec<String>,
    pub changed: Vec<String>,
    pub removed: Vec<String>,
}

impl Difference {
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.added.iter().chain(&self.changed).chain(&self.removed).map(String::as_str)
    }
}

pub fn difference(before: &Manifest, after: &Manifest) -> Difference {
    let mut found = Difference::default();
    let (mut old, mut new) = (before.entries.iter().peekable(), after.entries.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return found,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.key.cmp(&b.key),
        };
        match order {
            Ordering::Less => found.removed.extend(old.next().map(|entry| entry.key.clone())),
            Ordering::Greater => found.added.extend(new.next().map(|entry| entry.key.clone())),
            Ordering::Equal => {
                if let (Some(a), Some(b)) = (old.next(), new.next())
                    && a.digest != b.digest
                {
                    found.changed.push(b.key.clone());
                }
            }
        }
    }
}
