//! The journal as a map, as strict about batches as the store is.

use std::collections::BTreeMap;

use crate::world::{AuditRecord, Row, RowKey, Stage};

#[derive(Debug, Default, Clone)]
pub(super) struct Journal {
    rows: BTreeMap<RowKey, Row>,
    pub(super) version: u64,
    pub(super) audit: Vec<AuditRecord>,
    /// Puts of rows of array pods, and their bytes.
    pub(super) array_puts: usize,
    pub(super) array_bytes: usize,
    pub(super) puts: usize,
    pub(super) bytes: usize,
    pub(super) commits: usize,
}

impl Journal {
    pub(super) fn commit(&mut self, stage: &Stage, version: u64) {
        if stage.changes.is_empty() && stage.audit.is_empty() {
            return;
        }
        self.commits += 1;
        for key in &stage.deletes {
            self.rows.remove(key);
        }
        for row in &stage.rows {
            self.put(row, version);
        }
        for record in &stage.audit {
            assert!(record.body.to_string().len() <= 65_535, "an audit entry is too large");
        }
        self.version = version;
        self.audit.extend(stage.audit.iter().cloned());
    }

    fn put(&mut self, row: &Row, version: u64) {
        assert!(row.resource_version > self.version && row.resource_version <= version, "{:?}", row.key);
        let before = self.rows.get(&row.key);
        let head = match (&row.key, before) {
            (RowKey::Object { .. }, None) => {
                assert!(row.head.is_some(), "{:?} is put the first time without a head", row.key);
                row.head.clone()
            }
            (_, before) => row.head.clone().or_else(|| before.and_then(|before| before.head.clone())),
        };
        let bytes = row.status.len() + row.head.as_ref().map_or(0, Vec::len);
        self.puts += 1;
        self.bytes += bytes;
        if matches!(row.key, RowKey::ArrayPod { .. }) {
            self.array_puts += 1;
            self.array_bytes += bytes;
        }
        self.rows.insert(row.key.clone(), Row { head, ..row.clone() });
    }

    pub(super) fn rows(&self) -> Vec<Row> {
        self.rows.values().cloned().collect()
    }

    /// Bytes of the rows of array pods that are there.
    pub(super) fn array_rows(&self) -> (usize, usize) {
        let rows = self.rows.values().filter(|row| matches!(row.key, RowKey::ArrayPod { .. }));
        rows.fold((0, 0), |(count, bytes), row| {
            (count + 1, bytes + row.status.len() + row.head.as_ref().map_or(0, Vec::len))
        })
    }
}
