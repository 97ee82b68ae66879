//! Reading the journal back: a scan of what is, not a run through what happened.

use rusqlite::Row;
use rusqlite::types::ValueRef;

use crate::seal::Part;
use crate::store::Store;
use crate::{Error, RowKey, Seal};

/// An object as it was last put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRow {
    pub resource: Box<str>,
    pub namespace: Box<str>,
    pub name: Box<str>,
    /// Of its first put.
    pub created_resource_version: u64,
    /// Of its last put.
    pub resource_version: u64,
    pub head: Vec<u8>,
    /// `None`: never put.
    pub status: Option<Vec<u8>>,
    pub seal: Seal,
}

/// A pod of an array as it was last put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrayPodRow {
    pub job: u64,
    pub index: u32,
    pub attempt: u32,
    pub resource_version: u64,
    pub head: Option<Vec<u8>>,
    pub status: Option<Vec<u8>>,
}

/// An audit entry with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    pub sequence: u64,
    pub at_unix_nanos: i64,
    pub body: Vec<u8>,
}

impl Store {
    /// Hands every object to `each`, by rising creation version. Stops at the first error, the store's or that of `each`.
    /// Returns how many there were.
    pub fn load_objects<E: From<Error>>(
        &mut self,
        each: &mut dyn FnMut(ObjectRow) -> Result<(), E>,
    ) -> Result<u64, E> {
        let sql = "SELECT resource, namespace, name, created, object.resource_version, sealed, head,
                          status.resource_version, status.body
                   FROM object LEFT JOIN status USING (id) ORDER BY object.id";
        self.scan(sql, [], &mut |store, row| {
            let parsed = parse_object(row).map_err(|e| store.unreadable(e))?;
            each(store.unseal_object(parsed)?)
        })
    }

    /// Hands every array pod to `each`, by job, index and attempt.
    pub fn load_array_pods<E: From<Error>>(
        &mut self,
        each: &mut dyn FnMut(ArrayPodRow) -> Result<(), E>,
    ) -> Result<u64, E> {
        let sql = "SELECT job, array_index, attempt, resource_version, head, status
                   FROM array_pod ORDER BY job, array_index, attempt";
        self.scan(sql, [], &mut |store, row| each(parse_array_pod(row).map_err(|e| store.unreadable(e))?))
    }

    /// Hands the audit entries from `first` on to `each`, in their order.
    pub fn load_audit<E: From<Error>>(
        &mut self,
        first: u64,
        each: &mut dyn FnMut(AuditRow) -> Result<(), E>,
    ) -> Result<u64, E> {
        let sql = "SELECT sequence, at_unix_nanos, body FROM audit WHERE sequence >= ?1 ORDER BY sequence";
        let first = i64::try_from(first).unwrap_or(i64::MAX);
        self.scan(sql, [first], &mut |store, row| each(parse_audit(row).map_err(|e| store.unreadable(e))?))
    }

    fn scan<E: From<Error>>(
        &mut self,
        sql: &str,
        parameters: impl rusqlite::Params,
        each: &mut dyn FnMut(&Store, &Row<'_>) -> Result<(), E>,
    ) -> Result<u64, E> {
        self.check_alive("read")?;
        let store = &*self;
        let mut statement = store.connection.prepare_cached(sql).map_err(|e| store.unreadable(e))?;
        let mut rows = statement.query(parameters).map_err(|e| store.unreadable(e))?;
        let mut count = 0;
        while let Some(row) = rows.next().map_err(|e| store.unreadable(e))? {
            each(store, row)?;
            count += 1;
        }
        Ok(count)
    }

    /// A row that SQLite gives but that has the wrong form was not written by us: damage, whatever SQLite thinks of it.
    fn unreadable(&self, e: rusqlite::Error) -> Error {
        match Error::of_sqlite("read", &self.path, e) {
            Error::Sqlite { step, path, source } => Error::Corrupt { step, path, cause: source.to_string() },
            other => other,
        }
    }

    fn unseal_object(&self, row: ObjectRow) -> Result<ObjectRow, Error> {
        if row.seal == Seal::Plain {
            return Ok(row);
        }
        let key = RowKey::Object {
            resource: row.resource.clone(),
            namespace: row.namespace.clone(),
            name: row.name.clone(),
        };
        let head = self.sealer.unseal(&key, Part::Head, &row.head)?;
        let status = row.status.map(|blob| self.sealer.unseal(&key, Part::Status, &blob)).transpose()?;
        Ok(ObjectRow { head, status, ..row })
    }
}

fn parse_object(row: &Row<'_>) -> rusqlite::Result<ObjectRow> {
    let head_version = version(row, 4)?;
    let (status_version, status) = match row.get_ref(7)? {
        ValueRef::Null => (0, None),
        _ => (version(row, 7)?, Some(row.get(8)?)),
    };
    Ok(ObjectRow {
        resource: row.get(0)?,
        namespace: row.get(1)?,
        name: row.get(2)?,
        created_resource_version: version(row, 3)?,
        resource_version: head_version.max(status_version),
        seal: if row.get(5)? { Seal::Secret } else { Seal::Plain },
        head: row.get(6)?,
        status,
    })
}

fn parse_array_pod(row: &Row<'_>) -> rusqlite::Result<ArrayPodRow> {
    Ok(ArrayPodRow {
        job: version(row, 0)?,
        index: row.get(1)?,
        attempt: row.get(2)?,
        resource_version: version(row, 3)?,
        head: row.get(4)?,
        status: row.get(5)?,
    })
}

pub(crate) fn parse_audit(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
    Ok(AuditRow { sequence: version(row, 0)?, at_unix_nanos: row.get(1)?, body: row.get(2)? })
}

/// A number that is never negative in the file.
fn version(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}
