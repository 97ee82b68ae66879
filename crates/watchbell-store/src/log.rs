//! The head of the audit log: which tree the audit rows make, and the signature under it.
//!
//! A commit appends the hashes of its entries to the tree's right edge and writes the signed checkpoint in its own transaction,
//! so that change, entry and tree head are durable together or not at all. The log's files follow (see `publisher`).

use std::path::Path;

use rusqlite::{Connection, params};
use watchbell_audit::{Checkpoint, Edge, Hash, Note, SignatureKind, SigningKey, VerifierKey};

use crate::directory::AUDIT_KEY;
use crate::{AuditEntry, Epoch, Error, seal};

/// The name of an epoch's log. The epoch's random id is in it: two restores of one backup never sign under one name.
pub(crate) fn origin(epoch: &Epoch) -> String {
    let id: String = epoch.id.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("watchbell.dev/log/{id}/epoch-{}", epoch.number)
}

/// The row of the journal that says what the tree is.
#[derive(Debug, Clone)]
pub(crate) struct HeadRow {
    pub(crate) first_sequence: u64,
    pub(crate) edge: Edge,
    pub(crate) verifier: Option<String>,
    pub(crate) checkpoint: Option<String>,
}

impl HeadRow {
    /// # Errors
    /// [`Error::Corrupt`] when the tree and the rows do not have the same size.
    pub(crate) fn read(connection: &Connection, path: &Path) -> Result<HeadRow, Error> {
        let failed = |e| Error::of_sqlite("read the audit log's head in", path, e);
        let (first, size, edge, verifier, checkpoint, last): (i64, i64, Vec<u8>, _, _, i64) = connection
            .query_row(
                "SELECT log_first_sequence, tree_size, tree_edge, log_verifier, checkpoint,
                        (SELECT coalesce(max(sequence), 0) FROM audit) FROM journal",
                [],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?)),
            )
            .map_err(failed)?;
        let corrupt = |cause: String| Error::Corrupt {
            step: "read the audit log's head",
            path: path.to_path_buf(),
            cause,
        };
        if first - 1 + size != last {
            return Err(corrupt(format!(
                "its tree has {size} entries from row {first} on, its last row is {last}"
            )));
        }
        let (hashes, rest) = edge.as_chunks::<32>();
        let edge = Edge::from_parts(size.cast_unsigned(), hashes.to_vec()).filter(|_| rest.is_empty());
        let edge = edge.ok_or_else(|| corrupt(format!("its edge is not that of {size} entries")))?;
        Ok(HeadRow { first_sequence: first.cast_unsigned(), edge, verifier, checkpoint })
    }
}

/// The head that commits go on from.
pub(crate) struct Head {
    key: SigningKey,
    verifier: VerifierKey,
    edge: Edge,
}

/// The head after a batch that is not committed yet.
pub(crate) struct StagedHead {
    pub(crate) edge: Edge,
    pub(crate) checkpoint: String,
}

impl StagedHead {
    pub(crate) fn edge_bytes(&self) -> Vec<u8> {
        self.edge.subtrees().concat()
    }
}

impl Head {
    /// Reads the head of the journal in `dir`; makes the key and signs, when neither was done.
    pub(crate) fn open(
        dir: &Path,
        path: &Path,
        connection: &Connection,
        epoch: &Epoch,
    ) -> Result<Head, Error> {
        let row = HeadRow::read(connection, path)?;
        let file = dir.join(AUDIT_KEY);
        let has_key = file.symlink_metadata().is_ok();
        let unusable = |cause| Error::KeyUnusable { path: file.clone(), cause };
        if !has_key {
            if row.checkpoint.is_some() {
                return Err(unusable("it is missing, and it signs the audit log"));
            }
            seal::create_key(&file)?;
        }
        let head = Head::with_key(&file, epoch, row.edge)?;
        match row.checkpoint {
            Some(checkpoint) => {
                let signed = Checkpoint::open(checkpoint.as_bytes(), &head.verifier)
                    .map_err(|_| unusable("it did not sign this journal's audit log"))?;
                if signed.0 != head.checkpoint(&head.edge) {
                    let cause = "the signed checkpoint is not that of its tree".to_owned();
                    return Err(Error::Corrupt {
                        step: "read the audit log's head",
                        path: path.to_path_buf(),
                        cause,
                    });
                }
            }
            None => head
                .write_signed(connection)
                .map_err(|e| Error::of_sqlite("sign the audit log in", path, e))?,
        }
        Ok(head)
    }

    /// A head for `epoch`, signed by the key in `file`.
    pub(crate) fn with_key(file: &Path, epoch: &Epoch, edge: Edge) -> Result<Head, Error> {
        let key = SigningKey::from_seed(&*seal::read_key(file)?);
        let verifier = key
            .verifier(&origin(epoch), SignatureKind::Ed25519)
            .expect("the name is made of hexadecimal digits and a number");
        Ok(Head { key, verifier, edge })
    }

    pub(crate) fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    fn checkpoint(&self, edge: &Edge) -> Checkpoint {
        Checkpoint { origin: self.verifier.name().to_owned(), size: edge.size(), root: edge.root() }
    }

    fn sign(&self, edge: &Edge) -> Note {
        self.checkpoint(edge).sign(&self.key, &self.verifier)
    }

    /// The head with `entries` appended.
    pub(crate) fn stage(&self, entries: &[AuditEntry]) -> Option<StagedHead> {
        if entries.is_empty() {
            return None;
        }
        let mut edge = self.edge.clone();
        for entry in entries {
            edge.append(&entry.body);
        }
        let checkpoint = self.sign(&edge).to_string();
        Some(StagedHead { edge, checkpoint })
    }

    /// The staged head is durable.
    pub(crate) fn advance(&mut self, staged: StagedHead) {
        self.edge = staged.edge;
    }

    /// Writes the head as it is, newly signed.
    pub(crate) fn write_signed(&self, connection: &Connection) -> rusqlite::Result<()> {
        connection
            .execute(
                "UPDATE journal SET tree_size = ?1, tree_edge = ?2, log_verifier = ?3, checkpoint = ?4",
                params![
                    self.edge.size().cast_signed(),
                    self.edge.subtrees().concat(),
                    self.verifier.to_string(),
                    self.sign(&self.edge).to_string()
                ],
            )
            .map(|_| ())
    }
}

/// The tree over all rows, for a journal of before there was a log.
pub(crate) fn integrate(connection: &Connection) -> rusqlite::Result<()> {
    let mut edge = Edge::default();
    {
        let mut statement = connection.prepare("SELECT body FROM audit ORDER BY sequence")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            edge.append(row.get_ref(0)?.as_blob()?);
        }
    }
    let parameters = params![edge.size().cast_signed(), edge.subtrees().concat()];
    connection.execute("UPDATE journal SET tree_size = ?1, tree_edge = ?2", parameters).map(|_| ())
}

/// The root that a head's row stands for.
pub(crate) fn root(row: &HeadRow) -> Hash {
    row.edge.root()
}
