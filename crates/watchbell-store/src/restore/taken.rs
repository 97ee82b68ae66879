//! What was taken from users since a backup was made stays taken when it is restored.
//!
//! | of the journal that is replaced | in the restored one |
//! |---|---|
//! | revocations and records of certificates | are there too; of two of one name the one that was made later |
//! | tokens of users that it no longer has | are gone too, if it went on from the backup |
//!
//! All else is as the backup has it, rights too.

use std::collections::HashSet;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::connection::open_read_only;
use crate::directory::JOURNAL;
use crate::format::{self, FORMAT_VERSION};
use crate::open::{check_pages, parse_epoch, read_epoch};
use crate::{Epoch, Error};

/// As the server names these resources in its rows; a test of the server restores some of each.
const REVOCATIONS: &str = "certificaterevocations.watchbell.dev";
const CERTIFICATES: &str = "usercertificates.watchbell.dev";
const TOKENS: &str = "usertokens.watchbell.dev";

/// What a restore kept as the journal had it that it replaced, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kept {
    pub revocations: Vec<String>,
    /// Records of certificates that were given out.
    pub certificates: Vec<String>,
    /// Tokens that are gone. `None`: the journal did not go on from the backup, so one that it lacks need not have been deleted.
    pub tokens: Option<Vec<String>>,
}

/// What a journal says of it.
#[derive(Debug)]
pub(super) struct Said {
    epochs: Vec<Epoch>,
    last_audit: u64,
    /// Revocations and records.
    of_certificates: Vec<Object>,
    /// By name, and version of the creation.
    tokens: HashSet<(String, u64)>,
}

#[derive(Debug)]
struct Object {
    resource: String,
    name: String,
    created: i64,
    resource_version: i64,
    head: Vec<u8>,
    status: Option<(i64, Vec<u8>)>,
}

/// What the journal in `dir` says. `None`: there is none, or none that can be believed; a damaged one is a usual reason to restore.
pub(super) fn said_in(dir: &Path) -> Option<Said> {
    let path = dir.join(JOURNAL);
    path.metadata().ok()?;
    let read = || -> Result<Said, Error> {
        let connection = open_read_only(&path)?;
        format::read_mark(&connection, &path, FORMAT_VERSION)?;
        // What a damaged one lacks was not deleted.
        check_pages(&connection, &path)?;
        read(&connection).map_err(|e| Error::of_sqlite("read", &path, e))
    };
    read().inspect_err(|error| tracing::warn!(%error, "what was revoked since the backup is not known")).ok()
}

fn read(journal: &Connection) -> rusqlite::Result<Said> {
    let mut epochs = journal.prepare(
        "SELECT number, id, first_resource_version, first_audit_sequence FROM epoch ORDER BY number",
    )?;
    let last_audit: i64 =
        journal.query_row("SELECT coalesce(max(sequence), 0) FROM audit", [], |row| row.get(0))?;
    let mut of_certificates = journal.prepare(
        "SELECT resource, name, created, object.resource_version, head, status.resource_version, status.body
         FROM object LEFT JOIN status USING (id)
         WHERE resource IN (?1, ?2) AND namespace = '' AND sealed = 0 ORDER BY object.id",
    )?;
    Ok(Said {
        epochs: epochs.query_map([], parse_epoch)?.collect::<Result<_, _>>()?,
        last_audit: last_audit.cast_unsigned(),
        of_certificates: of_certificates
            .query_map([REVOCATIONS, CERTIFICATES], parse_object)?
            .collect::<Result<_, _>>()?,
        tokens: tokens_in(journal)?.into_iter().map(|(_, name, created)| (name, created)).collect(),
    })
}

fn parse_object(row: &Row<'_>) -> rusqlite::Result<Object> {
    let status: Option<i64> = row.get(5)?;
    Ok(Object {
        resource: row.get(0)?,
        name: row.get(1)?,
        created: row.get(2)?,
        resource_version: row.get(3)?,
        head: row.get(4)?,
        status: status.map(|version| Ok::<_, rusqlite::Error>((version, row.get(6)?))).transpose()?,
    })
}

/// Id, name, and version of the creation.
fn tokens_in(journal: &Connection) -> rusqlite::Result<Vec<(i64, String, u64)>> {
    let mut statement =
        journal.prepare("SELECT id, name, created FROM object WHERE resource = ?1 ORDER BY name")?;
    let rows = statement.query_map([TOKENS], |row| {
        let created: i64 = row.get(2)?;
        Ok((row.get(0)?, row.get(1)?, created.cast_unsigned()))
    })?;
    rows.collect()
}

impl Said {
    /// Carries it over into the copy of a backup, before that begins its epoch, within the caller's transaction.
    pub(super) fn carry_over(&self, copy: &Connection) -> rusqlite::Result<Kept> {
        let mut kept = Kept::default();
        for object in &self.of_certificates {
            if !object.carry_over(copy)? {
                continue;
            }
            let of_kind = match &*object.resource {
                REVOCATIONS => &mut kept.revocations,
                _ => &mut kept.certificates,
            };
            of_kind.push(object.name.clone());
        }
        if self.went_on_from(copy)? {
            let mut gone = Vec::new();
            for (id, name, created) in tokens_in(copy)? {
                let token = (name, created);
                if !self.tokens.contains(&token) {
                    copy.execute("DELETE FROM object WHERE id = ?1", [id])?;
                    gone.push(token.0);
                }
            }
            kept.tokens = Some(gone);
        }
        Ok(kept)
    }

    /// Whether all that the backup has was in this journal at some time: it has the backup's epoch, and has that at least as far.
    fn went_on_from(&self, backup: &Connection) -> rusqlite::Result<bool> {
        let epoch = read_epoch(backup)?;
        let last: i64 =
            backup.query_row("SELECT coalesce(max(sequence), 0) FROM audit", [], |row| row.get(0))?;
        let Some(at) = self.epochs.iter().position(|own| own.id == epoch.id) else { return Ok(false) };
        let reached = self.epochs.get(at + 1).map_or(self.last_audit, |next| next.first_audit_sequence - 1);
        Ok(reached >= last.cast_unsigned())
    }
}

impl Object {
    /// `false`: the copy has it, or one that was made later.
    fn carry_over(&self, copy: &Connection) -> rusqlite::Result<bool> {
        let there: Option<(i64, i64)> = copy
            .query_row(
                "SELECT id, created FROM object WHERE resource = ?1 AND namespace = '' AND name = ?2",
                [&self.resource, &self.name],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        match there {
            Some((_, created)) if created >= self.created => return Ok(false),
            Some((id, _)) => {
                copy.execute("DELETE FROM object WHERE id = ?1", [id])?;
            }
            None => {}
        }
        copy.execute(
            "INSERT INTO object (resource, namespace, name, created, resource_version, sealed, head)
             VALUES (?1, '', ?2, ?3, ?4, 0, ?5)",
            params![self.resource, self.name, self.created, self.resource_version, self.head],
        )?;
        if let Some((version, body)) = &self.status {
            copy.execute(
                "INSERT INTO status (id, resource_version, body) VALUES (?1, ?2, ?3)",
                params![copy.last_insert_rowid(), version, body],
            )?;
        }
        Ok(true)
    }
}
