//! The head of the audit log: which tree the audit rows make, and the signature under it.
//!
//! A commit appends the hashes of its entries to the tree's right edge and writes the signed checkpoint in its own transaction,
//! so that change, entry and tree head are durable together or not at all. The log's files follow (see `publisher`).

use std::ops::ControlFlow;
use std::path::Path;

use rusqlite::{Connection, params};
use watchbell_audit::{Checkpoint, Edge, Hash, Log, Note, SignatureKind, SigningKey, VerifierKey};

use crate::directory::{AUDIT, AUDIT_KEY, AUDIT_KEY_FIRST, rename, sync_dir, there};
use crate::restore::logs::closed_in;
use crate::{AuditEntry, Epoch, Error, LogReader, seal};

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
        if first - 1 + size != last {
            let cause = format!("its tree has {size} entries from row {first} on, its last row is {last}");
            return Err(corrupt(path, cause));
        }
        let (hashes, rest) = edge.as_chunks::<32>();
        let edge = Edge::from_parts(size.cast_unsigned(), hashes.to_vec()).filter(|_| rest.is_empty());
        let edge = edge.ok_or_else(|| corrupt(path, format!("its edge is not that of {size} entries")))?;
        Ok(HeadRow { first_sequence: first.cast_unsigned(), edge, verifier, checkpoint })
    }
}

fn corrupt(path: &Path, cause: String) -> Error {
    Error::Corrupt { step: "read the audit log's head", path: path.to_path_buf(), cause }
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
    /// Reads the head of the journal in `dir`, and looks whether the log went further than this; the first time makes the key
    /// and signs.
    pub(crate) fn open(
        dir: &Path,
        path: &Path,
        connection: &Connection,
        epoch: &Epoch,
    ) -> Result<Head, Error> {
        let row = HeadRow::read(connection, path)?;
        let Some(checkpoint) = &row.checkpoint else {
            return Head::sign_first(dir, path, connection, epoch, row);
        };
        let file = dir.join(AUDIT_KEY);
        let first = dir.join(AUDIT_KEY_FIRST);
        if !there(&file) && there(&first) {
            // A crash came between the signature and the name; what it did not sign is refused below.
            rename(&first, &file)?;
            sync_dir(dir)?;
        }
        let unusable = |cause| Error::KeyUnusable { path: file.clone(), cause };
        if !there(&file) {
            return Err(unusable("it is missing, and it signs the audit log"));
        }
        let first_sequence = row.first_sequence;
        let head = Head::with_key(&file, epoch, row.edge)?;
        let signed = Checkpoint::open(checkpoint.as_bytes(), &head.verifier)
            .map_err(|_| unusable("it did not sign this journal's audit log"))?;
        if signed.0 != head.checkpoint(&head.edge) {
            return Err(corrupt(path, "the signed checkpoint is not that of its tree".into()));
        }
        head.check_published(dir, path, connection, first_sequence)?;
        Ok(head)
    }

    /// The first signature of a journal. The key has another name until the signature is durable, so that a journal without
    /// one beside a key is never taken for a new one: its rows would be signed unseen.
    fn sign_first(
        dir: &Path,
        path: &Path,
        connection: &Connection,
        epoch: &Epoch,
        row: HeadRow,
    ) -> Result<Head, Error> {
        let closed: bool = connection
            .query_row("SELECT EXISTS (SELECT 1 FROM closed_log)", [], |row| row.get(0))
            .map_err(|e| Error::of_sqlite("read the closed logs of", path, e))?;
        let audit = dir.join(AUDIT);
        let trace = [dir.join(AUDIT_KEY), audit.join("checkpoint"), audit.join("verifier.pub")]
            .into_iter()
            .find(|file| there(file))
            .map(|file| file.display().to_string())
            .or_else(|| row.verifier.map(|key| format!("its key {key}")))
            .or_else(|| closed.then(|| "a closed log before it".to_owned()));
        if let Some(trace) = trace {
            let cause = format!(
                "nothing signs its audit log, and {trace} shows that it was signed: its rows are not signed anew, because \
                 nobody knows who wrote them"
            );
            return Err(corrupt(path, cause));
        }
        let first = dir.join(AUDIT_KEY_FIRST);
        if !there(&first) {
            seal::create_key(&first)?;
        }
        let head = Head::with_key(&first, epoch, row.edge)?;
        head.write_signed(connection).map_err(|e| Error::of_sqlite("sign the audit log in", path, e))?;
        rename(&first, &dir.join(AUDIT_KEY))?;
        sync_dir(dir)?;
        Ok(head)
    }

    /// What was published under this log's name must be the beginning of this journal's log: a journal that was put back to an
    /// earlier state would sign other entries in the place of those that somebody may have seen.
    ///
    /// Files that cannot be read are no proof of it; whoever publishes tells what is wrong with them.
    fn check_published(
        &self,
        dir: &Path,
        path: &Path,
        connection: &Connection,
        first_sequence: u64,
    ) -> Result<(), Error> {
        let audit = dir.join(AUDIT);
        let refused = |log: &Path, what: String| Error::RolledBack {
            path: path.to_path_buf(),
            log: log.to_path_buf(),
            what,
        };
        for closed in closed_in(&audit)? {
            if Log::open(&closed).is_ok_and(|log| log.verifier.name() == self.verifier.name()) {
                return Err(refused(&closed, "is closed".into()));
            }
        }
        let Ok(log) = Log::open_signed_by(&audit, self.verifier.clone()) else { return Ok(()) };
        let (published, size) = (log.checkpoint.size, self.edge.size());
        if log.checkpoint.origin != self.verifier.name() {
            return Ok(());
        }
        if published > size {
            let what = format!("was published with {published} entries, of which the journal has {size}");
            return Err(refused(&audit, what));
        }
        let root = if published == size {
            log.checkpoint.root
        } else {
            // Usually the entries of a second.
            let Ok(mut edge) = log.edge() else { return Ok(()) };
            let rows = first_sequence + published..first_sequence + size;
            LogReader::scan(connection, path, rows, &mut |row| {
                edge.append(row.body);
                ControlFlow::Continue(())
            })?;
            edge.root()
        };
        if root == self.edge.root() {
            return Ok(());
        }
        let what =
            format!("was published with {published} entries that are not the first ones of the journal");
        Err(refused(&audit, what))
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
