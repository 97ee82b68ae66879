//! Between the world's rows and the store's: the same thing in two crates that do not know each other.

use watchbell_api::Resource;
use watchbell_core::world::{Row, RowKey, Stage};
use watchbell_store::{AuditEntry, Batch, Put, Seal, Store};

use crate::state::StartError;

/// Every row of the journal, objects first.
pub(crate) fn rows(store: &mut Store) -> Result<Vec<Row>, StartError> {
    let mut rows = Vec::new();
    store.load_objects(&mut |row| {
        let resource = Resource::from_qualified(&row.resource).ok_or_else(|| {
            StartError::UnknownResource { resource: row.resource.clone(), name: row.name.clone() }
        })?;
        let key = RowKey::Object { resource, namespace: row.namespace.into(), name: row.name.into() };
        let status = row.status.unwrap_or_default();
        rows.push(Row { key, resource_version: row.resource_version, head: Some(row.head), status });
        Ok::<(), StartError>(())
    })?;
    store.load_array_pods(&mut |row| {
        let key = RowKey::ArrayPod { job_id: row.job, index: row.index, attempt: row.attempt };
        let status = row.status.unwrap_or_default();
        rows.push(Row { key, resource_version: row.resource_version, head: row.head, status });
        Ok::<(), StartError>(())
    })?;
    Ok(rows)
}

/// The batch of a stage.
pub(crate) fn batch(stage: &Stage, version: u64) -> Batch {
    Batch {
        resource_version: version,
        puts: stage.rows.iter().map(put).collect(),
        deletes: stage.deletes.iter().map(store_key).collect(),
        audit: stage
            .audit
            .iter()
            .map(|record| AuditEntry {
                at_unix_nanos: i64::try_from(record.at.as_nanosecond()).unwrap_or(i64::MAX),
                body: record.body.to_string().into_bytes(),
            })
            .collect(),
    }
}

fn put(row: &Row) -> Put {
    let seal = match &row.key {
        RowKey::Object { resource: Resource::Secret | Resource::UserToken, .. } => Seal::Secret,
        _ => Seal::Plain,
    };
    Put {
        key: store_key(&row.key),
        resource_version: row.resource_version,
        head: row.head.clone(),
        status: Some(row.status.clone()),
        seal,
    }
}

fn store_key(key: &RowKey) -> watchbell_store::RowKey {
    match key {
        RowKey::Object { resource, namespace, name } => watchbell_store::RowKey::Object {
            resource: resource.info().qualified().into(),
            namespace: (**namespace).into(),
            name: (**name).into(),
        },
        RowKey::ArrayPod { job_id, index, attempt } => {
            watchbell_store::RowKey::ArrayPod { job: *job_id, index: *index, attempt: *attempt }
        }
    }
}
