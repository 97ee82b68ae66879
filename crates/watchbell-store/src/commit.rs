//! One batch, written within an open transaction.

use rusqlite::{Connection, OptionalExtension, ToSql, params};

use crate::batch::{Batch, InvalidBatch, Put, RowKey, Seal};
use crate::log::StagedHead;
use crate::seal::{Part, Sealer};
use crate::{AuditEntry, Error};

/// What happens inside the transaction: SQLite's refusals are named by the caller, who knows the path.
pub(crate) enum Failure {
    Sqlite(rusqlite::Error),
    Refused(Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(e: rusqlite::Error) -> Self {
        Failure::Sqlite(e)
    }
}

impl From<InvalidBatch> for Failure {
    fn from(e: InvalidBatch) -> Self {
        Failure::Refused(Error::Invalid(e))
    }
}

/// Writes a checked batch: deletes, puts, audit entries from `next_audit` on with the tree's head after them, and the
/// journal's resource version.
pub(crate) fn write(
    connection: &Connection,
    sealer: &Sealer,
    batch: &Batch,
    next_audit: u64,
    head: Option<&StagedHead>,
) -> Result<(), Failure> {
    for key in &batch.deletes {
        delete(connection, key)?;
    }
    if batch.puts.is_sorted_by_key(|put| put.resource_version) {
        for put in &batch.puts {
            write_put(connection, sealer, put)?;
        }
    } else {
        let mut puts: Vec<&Put> = batch.puts.iter().collect();
        puts.sort_by_key(|put| put.resource_version);
        for put in puts {
            write_put(connection, sealer, put)?;
        }
    }
    append(connection, &batch.audit, next_audit)?;
    let version = batch.resource_version.cast_signed();
    match head {
        Some(head) => connection
            .prepare_cached(
                "UPDATE journal SET last_resource_version = ?1, tree_size = ?2, tree_edge = ?3, checkpoint = ?4",
            )?
            .execute(params![version, head.edge.size().cast_signed(), head.edge_bytes(), head.checkpoint])?,
        None => {
            connection.prepare_cached("UPDATE journal SET last_resource_version = ?1")?.execute([version])?
        }
    };
    Ok(())
}

fn delete(connection: &Connection, key: &RowKey) -> Result<(), Failure> {
    match key {
        // Its status goes with it (ON DELETE CASCADE).
        RowKey::Object { resource, namespace, name } => connection
            .prepare_cached("DELETE FROM object WHERE resource = ?1 AND namespace = ?2 AND name = ?3")?
            .execute(params![resource, namespace, name])?,
        RowKey::ArrayPod { job, index, attempt } => connection
            .prepare_cached("DELETE FROM array_pod WHERE job = ?1 AND array_index = ?2 AND attempt = ?3")?
            .execute(params![job.cast_signed(), index, attempt])?,
    };
    Ok(())
}

fn write_put(connection: &Connection, sealer: &Sealer, put: &Put) -> Result<(), Failure> {
    match &put.key {
        RowKey::Object { resource, namespace, name } => {
            put_object(connection, sealer, put, [resource, namespace, name])
        }
        RowKey::ArrayPod { job, index, attempt } => {
            connection
                .prepare_cached(
                    "INSERT INTO array_pod (job, array_index, attempt, resource_version, status, head)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                     ON CONFLICT (job, array_index, attempt) DO UPDATE SET
                         resource_version = excluded.resource_version,
                         status = coalesce(excluded.status, status),
                         head = coalesce(excluded.head, head)",
                )?
                .execute(params![
                    job.cast_signed(),
                    index,
                    attempt,
                    put.resource_version.cast_signed(),
                    put.status,
                    put.head
                ])?;
            Ok(())
        }
    }
}

fn put_object(connection: &Connection, sealer: &Sealer, put: &Put, name: [&str; 3]) -> Result<(), Failure> {
    let version = put.resource_version.cast_signed();
    let sealed = put.seal == Seal::Secret;
    let blob = |part, plain: &Option<Vec<u8>>| match (plain, put.seal) {
        (Some(plain), Seal::Secret) => sealer.seal(&put.key, part, plain).map(Some).map_err(Failure::Refused),
        (plain, _) => Ok(plain.clone()),
    };
    let head = blob(Part::Head, &put.head)?;
    let row: Option<(i64, bool)> = connection
        .prepare_cached("SELECT id, sealed FROM object WHERE resource = ?1 AND namespace = ?2 AND name = ?3")?
        .query_row(name, |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let id = match (row, head) {
        (Some((_, was_sealed)), _) if was_sealed != sealed => {
            return Err(InvalidBatch::SealChanged { key: put.key.clone() }.into());
        }
        (Some((id, _)), Some(head)) => {
            connection
                .prepare_cached("UPDATE object SET resource_version = ?2, head = ?3 WHERE id = ?1")?
                .execute(params![id, version, head])?;
            id
        }
        (Some((id, _)), None) => id,
        (None, None) => return Err(InvalidBatch::NoHead { key: put.key.clone() }.into()),
        (None, Some(head)) => connection
            .prepare_cached(
                "INSERT INTO object (resource, namespace, name, created, resource_version, sealed, head)
                 VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6)",
            )?
            .insert(params![name[0], name[1], name[2], version, sealed, head])?,
    };
    if let Some(status) = blob(Part::Status, &put.status)? {
        connection
            .prepare_cached(
                "INSERT INTO status (id, resource_version, body) VALUES (?1, ?2, ?3)
                 ON CONFLICT (id) DO UPDATE SET resource_version = excluded.resource_version, body = excluded.body",
            )?
            .execute(params![id, version, status])?;
    }
    Ok(())
}

/// Rows of one statement: what is prepared and stepped once for many costs less than once for each.
const ROWS_A_STATEMENT: usize = 32;

fn append(connection: &Connection, entries: &[AuditEntry], next: u64) -> Result<(), Failure> {
    const ROW: &str = "(?, ?, ?)";
    let mut sequence = next.cast_signed();
    let (many, few) = entries.as_chunks::<ROWS_A_STATEMENT>();
    let chunks = many.iter().map(|chunk| &chunk[..]).chain(few.iter().map(std::slice::from_ref));
    for chunk in chunks {
        let rows = vec![ROW; chunk.len()].join(", ");
        let mut insert = connection
            .prepare_cached(&format!("INSERT INTO audit (sequence, at_unix_nanos, body) VALUES {rows}"))?;
        let mut place = 0;
        for entry in chunk {
            let values: [&dyn ToSql; 3] = [&sequence, &entry.at_unix_nanos, &entry.body];
            for value in values {
                place += 1;
                insert.raw_bind_parameter(place, value)?;
            }
            sequence += 1;
        }
        insert.raw_execute()?;
    }
    Ok(())
}
