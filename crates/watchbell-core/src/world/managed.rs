//! `metadata.managedFields` at rest. Objects that were written in the same way share their entries: what differs between
//! them is the time alone. What this server owns of a status is not stored at all (see [`own`]).

mod own;

use std::collections::HashSet;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use serde_json::Value;

pub(super) use own::{is_of_event, of_event, of_status};

use super::shown::rfc3339;

/// The entries of one object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Managed(Box<[Entry]>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// The entry without its time, as compact JSON.
    text: Arc<str>,
    /// Unix seconds.
    time: Option<i64>,
}

/// What follows the time in an entry.
const AFTER_TIME: &str = ",\"fieldsType\":";

impl Managed {
    /// Takes a list that was checked when it was written; what is no entry is left out.
    pub(super) fn read(list: Option<Value>) -> Managed {
        let Some(Value::Array(list)) = list else { return Managed::default() };
        let entries = list.into_iter().filter_map(|entry| {
            let Value::Object(mut entry) = entry else { return None };
            if own::is_of_status(&entry) {
                return None;
            }
            let time = entry.shift_remove("time");
            let time = time.as_ref().and_then(Value::as_str).and_then(|t| t.parse::<jiff::Timestamp>().ok());
            let text = Value::Object(entry).to_string();
            Some(Entry { text: intern(&text), time: time.map(jiff::Timestamp::as_second) })
        });
        Managed(entries.collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How much the entries hold.
    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(|entry| entry.text.len()).sum()
    }

    /// The same entries, all of one time.
    pub(super) fn at(&self, second: i64) -> Managed {
        let entries = self.0.iter();
        Managed(entries.map(|entry| Entry { text: entry.text.clone(), time: Some(second) }).collect())
    }

    fn push(&mut self, entry: Entry) {
        let mut entries = std::mem::take(&mut self.0).into_vec();
        entries.push(entry);
        self.0 = entries.into();
    }

    pub(super) fn render(&self) -> Value {
        serde_json::from_slice(&self.json()).expect("entries are the JSON that read took")
    }

    /// The list as compact JSON.
    pub fn json(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write_json(&mut out);
        out
    }

    pub(super) fn write_json(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        for (i, entry) in self.0.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            let Some(time) = entry.time else {
                out.extend_from_slice(entry.text.as_bytes());
                continue;
            };
            // A quote inside of a string is escaped, so this can only be the key.
            let at = entry.text.find(AFTER_TIME).unwrap_or(entry.text.len() - 1);
            let (before, after) = entry.text.as_bytes().split_at(at);
            out.extend_from_slice(before);
            if before.len() > 1 {
                out.push(b',');
            }
            out.extend_from_slice(format!("\"time\":\"{}\"", rfc3339(time)).as_bytes());
            out.extend_from_slice(after);
        }
        out.push(b']');
    }
}

/// One copy of each text that is in use.
fn intern(text: &str) -> Arc<str> {
    static TEXTS: LazyLock<Mutex<Texts>> = LazyLock::new(Mutex::default);
    TEXTS.lock().unwrap_or_else(PoisonError::into_inner).intern(text)
}

#[derive(Default)]
struct Texts {
    known: HashSet<Arc<str>>,
    /// How many there were after the unused ones were last dropped.
    swept: usize,
}

impl Texts {
    fn intern(&mut self, text: &str) -> Arc<str> {
        /// Fewer are not worth looking through.
        const SWEEP_MIN: usize = 1024;
        if let Some(known) = self.known.get(text) {
            return known.clone();
        }
        if self.known.len() >= 2 * self.swept.max(SWEEP_MIN) {
            self.known.retain(|known| Arc::strong_count(known) > 1);
            self.swept = self.known.len();
        }
        let new: Arc<str> = text.into();
        self.known.insert(new.clone());
        new
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn entries_come_back_as_they_were_and_are_shared() {
        let list = |time: &str| {
            json!([{
                "manager": "kubectl", "operation": "Update", "apiVersion": "v1", "time": time,
                "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {".": {}, "f:a": {}}}, "subresource": "status",
            }])
        };
        let first = Managed::read(Some(list("2026-03-01T00:00:00Z")));
        assert_eq!(first.render().to_string(), list("2026-03-01T00:00:00Z").to_string());
        let second = Managed::read(Some(list("2026-03-01T00:00:01Z")));
        assert_ne!(first, second);
        assert!(Arc::ptr_eq(&first.0[0].text, &second.0[0].text));
        assert!(Managed::read(Some(json!([{"manager": "x"}, 1]))).render() == json!([{"manager": "x"}]));
        assert!(Managed::read(None).is_empty());
        for odd in [
            json!([{"time": "2026-03-01T00:00:00Z"}]),
            json!([{"manager": ",\"fieldsType\":", "time": "2026-03-01T00:00:00Z", "fieldsType": "FieldsV1"}]),
            json!([{"manager": "a"}, {"manager": "b", "time": "2026-03-01T00:00:00Z"}]),
        ] {
            let managed = Managed::read(Some(odd.clone()));
            assert_eq!(managed.render().to_string(), odd.to_string());
        }
    }

    #[test]
    fn texts_that_nobody_uses_are_dropped() {
        let mut texts = Texts::default();
        let kept = texts.intern("kept");
        for i in 0..10_000 {
            texts.intern(&i.to_string());
        }
        assert!(texts.known.len() <= 2048 + 1, "{}", texts.known.len());
        assert!(Arc::ptr_eq(&texts.intern("kept"), &kept));
    }
}
