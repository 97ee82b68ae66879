//! How an object lies in the journal: a head (JSON, as its author wrote it) and a status row (postcard).
//!
//! Every row begins with the version of its form. A reader refuses a version it does not know; a new version is a new
//! struct beside the old one, never a changed one, so an old file reads for ever. (Old reader, new writer: the store's
//! own format version is raised with it, and an old binary refuses to open the file.)

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use watchbell_api::types::pod_status::{
    ContainerState, ContainerStatus, JobLog, Phase, PodStatus, Terminated,
};
use watchbell_api::{Resource, Uid};

use super::object::{Deletion, Fills, FillsPlace, Head, JsonHead, Status, Stored};
use crate::admission::Mode;
use crate::controller::cronjob::{CronJobStatus, Held};
use crate::controller::job::JobStatus;
use crate::login::KeptToken;

/// The form of most rows.
const VERSION: u8 = 1;
/// The form of an array pod that a fill made, and once of a Job with fills: as [`VERSION`], with that at the end.
const VERSION_FILLED: u8 = 2;
/// The form of a Job with fills: as [`VERSION`]; they stand in its head, before the object.
const VERSION_FILLS_IN_HEAD: u8 = 3;

/// Where a row lies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowKey {
    Object { resource: Resource, namespace: Arc<str>, name: Arc<str> },
    ArrayPod { job_id: u64, index: u32, attempt: u32 },
}

/// A row of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub key: RowKey,
    pub resource_version: u64,
    /// `None` when writing: unchanged. `None` when reading an array pod: it has no head of its own.
    pub head: Option<Vec<u8>>,
    pub status: Vec<u8>,
}

/// A row that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {object} of the journal: {cause}")]
pub struct RowError {
    pub object: String,
    pub cause: String,
}

/// The index column of a pod without an index.
pub const NO_INDEX: u32 = u32::MAX;

#[derive(Serialize, Deserialize)]
struct Marks {
    generation: u32,
    deletion: Option<Deletion>,
}

#[derive(Serialize, Deserialize)]
enum StatusRow {
    None,
    Json(Vec<u8>),
    Job {
        status: JobStatus,
        images: Vec<Box<str>>,
        job_id: u64,
    },
    CronJob(CronJobStatus),
    Pod(PodStatusRow),
    /// The same of a pod on which clients wrote conditions. It came later: a program that does not know it refuses the row.
    PodAndConditions(PodStatusRow, Box<str>),
    /// The same of a pod that holds devices, or held them; with the conditions that clients wrote, if any.
    PodAndDevices(PodStatusRow, Option<Box<str>>, Vec<Box<str>>),
    Token(KeptToken),
    /// A CronJob that a policy of images holds, with why.
    HeldCronJob(CronJobStatus, Held),
    /// [`StatusRow::PodAndDevices`] of a pod that left the Job among whose logs its own lie.
    PodAndLog(PodStatusRow, Option<Box<str>>, Vec<Box<str>>, JobLog),
}

/// [`PodStatus`] with the image named by its place in the Job's list.
#[derive(Serialize, Deserialize)]
struct PodStatusRow {
    phase: Phase,
    scheduled_at: Option<i64>,
    started_at: Option<i64>,
    finished_at: Option<i64>,
    reason: Option<Box<str>>,
    message: Option<Box<str>>,
    disruption: Option<Box<str>>,
    init_containers: Vec<ContainerRow>,
    containers: Vec<ContainerRow>,
}

#[derive(Serialize, Deserialize)]
struct ContainerRow {
    state: ContainerState,
    last_terminated: Option<Box<Terminated>>,
    restart_count: u32,
    image: ImageRow,
}

#[derive(Serialize, Deserialize)]
enum ImageRow {
    Unresolved,
    Listed(u16),
    Named(Box<str>),
}

/// What an array pod's row holds besides its status.
#[derive(Serialize, Deserialize)]
struct ArrayPodRow {
    mode: Mode,
    failure_count: u32,
    ignored_failure_count: u32,
    salt: u8,
    created_at: i64,
    own: bool,
}

/// An array pod read from its row; its Job's template completes it.
#[derive(Debug)]
pub(super) struct ArrayPodParts {
    pub mode: Mode,
    pub fill: Option<u16>,
    pub failure_count: u32,
    pub ignored_failure_count: u32,
    pub salt: u8,
    pub created_at: i64,
    pub generation: u32,
    pub deletion: Option<Deletion>,
    pub own: Option<OwnHead>,
    pub status: PodStatus,
}

/// The head of a pod that differs from its template. It names itself: an adopted pod has its name and uid from elsewhere.
#[derive(Debug)]
pub(super) struct OwnHead {
    pub head: JsonHead,
    pub name: Arc<str>,
    pub uid: Uid,
}

/// The row of an object; its head only when it changed since `old`.
pub fn encode(old: Option<&Stored>, new: &Stored, images: &[Arc<str>]) -> Row {
    let mut status = vec![version_of(new)];
    push(&mut status, &Marks { generation: new.generation, deletion: new.deletion });
    push(&mut status, &status_row(new, images));
    match &new.head {
        Head::Json(head) => {
            let fills = fills_of(new);
            let same_fills = match (old.and_then(fills_of), fills) {
                (Some(before), Some(after)) => Arc::ptr_eq(before, after),
                (before, after) => before.is_none() && after.is_none(),
            };
            let unchanged = same_fills
                && matches!(old.map(|o| &o.head), Some(Head::Json(before)) if Arc::ptr_eq(before, head));
            let mut row = Vec::new();
            match fills.map(|fills| fills.place) {
                Some(FillsPlace::Status) => push(&mut status, &texts(fills)),
                Some(FillsPlace::Head) if !unchanged => push(&mut row, &texts(fills)),
                Some(FillsPlace::Head) | None => {}
            }
            Row {
                key: row_key(new),
                resource_version: new.resource_version,
                head: (!unchanged).then(|| head.add_to_row(row)),
                status,
            }
        }
        Head::ArrayPod(pod) => {
            push(
                &mut status,
                &ArrayPodRow {
                    mode: pod.template.mode,
                    failure_count: pod.failure_count,
                    ignored_failure_count: pod.ignored_failure_count,
                    salt: pod.salt,
                    created_at: new.created_at,
                    own: pod.own.is_some(),
                },
            );
            if let Some(fill) = pod.template.fill_number() {
                push(&mut status, &fill);
            }
            let before = old.and_then(Stored::array_pod).and_then(|before| before.own.as_ref());
            let moved = old.is_some_and(|old| row_key(old) != row_key(new));
            let changed =
                pod.own.as_ref().filter(|own| moved || before.is_none_or(|before| !Arc::ptr_eq(before, own)));
            Row {
                key: row_key(new),
                resource_version: new.resource_version,
                head: changed.map(|own| own.to_row()),
                status,
            }
        }
    }
}

fn version_of(stored: &Stored) -> u8 {
    match (&stored.head, fills_of(stored).map(|fills| fills.place)) {
        (Head::ArrayPod(pod), _) if pod.template.fill.is_some() => VERSION_FILLED,
        (_, Some(FillsPlace::Status)) => VERSION_FILLED,
        (_, Some(FillsPlace::Head)) => VERSION_FILLS_IN_HEAD,
        (_, None) => VERSION,
    }
}

/// The fills of a Job that has some.
fn fills_of(stored: &Stored) -> Option<&Arc<Fills>> {
    match &stored.status {
        Status::Job { fills, .. } => Some(fills).filter(|fills| !fills.texts.is_empty()),
        _ => None,
    }
}

fn texts(fills: Option<&Arc<Fills>>) -> Vec<&str> {
    fills.into_iter().flat_map(|fills| &fills.texts).map(|text| &**text).collect()
}

/// Where an object's row lies.
pub fn row_key(stored: &Stored) -> RowKey {
    match &stored.head {
        Head::Json(_) => RowKey::Object {
            resource: stored.resource,
            namespace: stored.namespace.clone(),
            name: stored.name.clone(),
        },
        Head::ArrayPod(pod) => RowKey::ArrayPod {
            job_id: pod.template.job_id,
            index: pod.index.unwrap_or(NO_INDEX),
            attempt: pod.attempt,
        },
    }
}

fn status_row(stored: &Stored, images: &[Arc<str>]) -> StatusRow {
    match &stored.status {
        Status::None => StatusRow::None,
        Status::Json(value) => {
            StatusRow::Json(serde_json::to_vec(&**value).expect("a JSON value can be written as JSON"))
        }
        Status::Job { status, images, job_id, .. } => StatusRow::Job {
            status: (**status).clone(),
            images: images.iter().map(|image| (**image).into()).collect(),
            job_id: *job_id,
        },
        Status::CronJob(status) => match &status.held {
            None => StatusRow::CronJob((**status).clone()),
            Some(held) => StatusRow::HeldCronJob((**status).clone(), (**held).clone()),
        },
        Status::Token(token) => StatusRow::Token((**token).clone()),
        Status::Pod(status) => {
            let row = PodStatusRow {
                phase: status.phase,
                scheduled_at: status.scheduled_at,
                started_at: status.started_at,
                finished_at: status.finished_at,
                reason: status.reason.clone(),
                message: status.message.clone(),
                disruption: status.disruption.clone(),
                init_containers: status.init_containers.iter().map(|c| container_row(c, images)).collect(),
                containers: status.containers.iter().map(|c| container_row(c, images)).collect(),
            };
            let devices: Vec<Box<str>> = status.devices.iter().map(|name| (**name).into()).collect();
            if let Some(log) = &status.job_log {
                return StatusRow::PodAndLog(row, status.written_conditions.clone(), devices, **log);
            }
            if !devices.is_empty() {
                return StatusRow::PodAndDevices(row, status.written_conditions.clone(), devices);
            }
            match &status.written_conditions {
                None => StatusRow::Pod(row),
                Some(written) => StatusRow::PodAndConditions(row, written.clone()),
            }
        }
    }
}

fn container_row(container: &ContainerStatus, images: &[Arc<str>]) -> ContainerRow {
    let image = match &container.image_id {
        None => ImageRow::Unresolved,
        Some(id) => match images.iter().position(|i| i == id) {
            Some(place) => ImageRow::Listed(place as u16),
            None => ImageRow::Named((**id).into()),
        },
    };
    ContainerRow {
        state: container.state.clone(),
        last_terminated: container.last_terminated.clone(),
        restart_count: container.restart_count,
        image,
    }
}

fn container_status(row: ContainerRow, images: &[Arc<str>]) -> Result<ContainerStatus, String> {
    let image_id = match row.image {
        ImageRow::Unresolved => None,
        ImageRow::Named(name) => Some(name.into()),
        ImageRow::Listed(place) => Some(
            images
                .get(usize::from(place))
                .ok_or_else(|| format!("image {place} is not in the Job's list of {}", images.len()))?
                .clone(),
        ),
    };
    Ok(ContainerStatus {
        state: row.state,
        last_terminated: row.last_terminated,
        restart_count: row.restart_count,
        image_id,
    })
}

/// The status of a pod, in whichever form it lies.
fn pod_status(row: StatusRow, images: &[Arc<str>]) -> Result<PodStatus, String> {
    let (row, written_conditions, devices, job_log) = match row {
        StatusRow::Pod(row) => (row, None, Vec::new(), None),
        StatusRow::PodAndConditions(row, written) => (row, Some(written), Vec::new(), None),
        StatusRow::PodAndDevices(row, written, devices) => (row, written, devices, None),
        StatusRow::PodAndLog(row, written, devices, log) => (row, written, devices, Some(Box::new(log))),
        _ => return Err("it holds no pod status".into()),
    };
    let list = |rows: Vec<ContainerRow>| {
        rows.into_iter().map(|c| container_status(c, images)).collect::<Result<Vec<_>, String>>()
    };
    Ok(PodStatus {
        phase: row.phase,
        scheduled_at: row.scheduled_at,
        started_at: row.started_at,
        finished_at: row.finished_at,
        reason: row.reason,
        message: row.message,
        disruption: row.disruption,
        written_conditions,
        devices: devices.into_iter().map(Arc::from).collect(),
        job_log,
        pod_ip: None,
        init_containers: list(row.init_containers)?,
        containers: list(row.containers)?,
    })
}

fn push<T: Serialize>(out: &mut Vec<u8>, part: &T) {
    let bytes = postcard::to_allocvec(part).expect("rows hold only lengths and numbers postcard can write");
    out.extend_from_slice(&bytes);
}

fn take<'a, T: Deserialize<'a>>(bytes: &mut &'a [u8]) -> Result<T, String> {
    let (part, rest) = postcard::take_from_bytes(bytes).map_err(|e| e.to_string())?;
    *bytes = rest;
    Ok(part)
}

/// Whether something of fills stands at the end of a row, or at the beginning of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Filled,
    FillsInHead,
}

fn versioned(status: &[u8]) -> Result<(Form, &[u8]), String> {
    match status.split_first() {
        Some((&VERSION, rest)) => Ok((Form::Plain, rest)),
        Some((&VERSION_FILLED, rest)) => Ok((Form::Filled, rest)),
        Some((&VERSION_FILLS_IN_HEAD, rest)) => Ok((Form::FillsInHead, rest)),
        Some((version, _)) => Err(format!(
            "its form {version} is newer than this program's {VERSION_FILLS_IN_HEAD}; run a newer one"
        )),
        None => Err("its status row is empty; restore a backup".into()),
    }
}

/// Reads the row of an object that is no array pod.
pub(super) fn decode_object(row: &Row) -> Result<Stored, RowError> {
    let RowKey::Object { resource, namespace, name } = &row.key else {
        return Err(RowError { object: format!("{:?}", row.key), cause: "not the row of an object".into() });
    };
    let wrong = |cause: String| RowError {
        object: format!("{} {namespace}/{name}", resource.info().qualified()),
        cause,
    };
    let (form, mut rest) = versioned(&row.status).map_err(wrong)?;
    let marks: Marks = take(&mut rest).map_err(wrong)?;
    let status: StatusRow = take(&mut rest).map_err(wrong)?;
    let mut head = row.head.as_deref().ok_or_else(|| wrong("it has no head".into()))?;
    let mut fills = Fills::default();
    let mut read_fills = |from: &mut &[u8], place| -> Result<(), String> {
        let texts = take::<Vec<&str>>(from)?.into_iter().map(Arc::from).collect();
        fills = Fills { texts, place };
        Ok(())
    };
    match form {
        Form::Plain => Ok(()),
        Form::Filled => read_fills(&mut rest, FillsPlace::Status),
        Form::FillsInHead => read_fills(&mut head, FillsPlace::Head),
    }
    .map_err(wrong)?;
    let value: serde_json::Value = serde_json::from_slice(head).map_err(|e| wrong(e.to_string()))?;
    let text = |field: &str| value["metadata"][field].as_str().unwrap_or_default().to_owned();
    let uid: Uid = text("uid").parse().map_err(|e| wrong(format!("metadata.uid: {e}")))?;
    let created_at = text("creationTimestamp")
        .parse::<jiff::Timestamp>()
        .map_err(|e| wrong(format!("metadata.creationTimestamp: {e}")))?
        .as_second();
    let head = JsonHead::from_row(*resource, value, head).map_err(wrong)?;
    let status = match status {
        StatusRow::None => Status::None,
        StatusRow::Json(bytes) => {
            Status::Json(Arc::new(serde_json::from_slice(&bytes).map_err(|e| wrong(format!("status: {e}")))?))
        }
        StatusRow::Job { status, images, job_id } => Status::Job {
            status: Arc::new(status),
            images: images.into_iter().map(Arc::from).collect(),
            fills: Arc::new(fills),
            job_id,
        },
        StatusRow::CronJob(status) => Status::CronJob(Arc::new(status)),
        StatusRow::HeldCronJob(status, held) => {
            Status::CronJob(Arc::new(CronJobStatus { held: Some(Box::new(held)), ..status }))
        }
        StatusRow::Token(token) => Status::Token(Arc::new(token)),
        pod @ (StatusRow::Pod(_)
        | StatusRow::PodAndConditions(..)
        | StatusRow::PodAndDevices(..)
        | StatusRow::PodAndLog(..)) => Status::Pod(Arc::new(pod_status(pod, &[]).map_err(wrong)?)),
    };
    Ok(Stored {
        resource: *resource,
        namespace: namespace.clone(),
        name: name.clone(),
        uid,
        resource_version: row.resource_version,
        generation: marks.generation,
        created_at,
        deletion: marks.deletion,
        head: Head::Json(Arc::new(head)),
        status,
    })
}

/// Reads the row of an array pod; `images` is its Job's list.
pub(super) fn decode_array_pod(row: &Row, images: &[Arc<str>]) -> Result<ArrayPodParts, RowError> {
    let wrong = |cause: String| RowError { object: format!("{:?}", row.key), cause };
    let (form, mut rest) = versioned(&row.status).map_err(wrong)?;
    let marks: Marks = take(&mut rest).map_err(wrong)?;
    let status = pod_status(take(&mut rest).map_err(wrong)?, images).map_err(wrong)?;
    let fixed: ArrayPodRow = take(&mut rest).map_err(wrong)?;
    let fill = match form {
        Form::Plain => None,
        Form::Filled => Some(take(&mut rest).map_err(wrong)?),
        Form::FillsInHead => return Err(wrong("its form is a Job's".into())),
    };
    let own = match (fixed.own, row.head.as_deref()) {
        (true, Some(bytes)) => {
            let value: serde_json::Value = serde_json::from_slice(bytes).map_err(|e| wrong(e.to_string()))?;
            let text = |field: &str| value["metadata"][field].as_str().unwrap_or_default();
            let uid = text("uid").parse().map_err(|e| wrong(format!("metadata.uid: {e}")))?;
            let name = text("name").into();
            let head = JsonHead::from_row(Resource::Pod, value, bytes).map_err(wrong)?;
            Some(OwnHead { head, name, uid })
        }
        (true, None) => return Err(wrong("its own head is missing".into())),
        (false, _) => None,
    };
    Ok(ArrayPodParts {
        mode: fixed.mode,
        fill,
        failure_count: fixed.failure_count,
        ignored_failure_count: fixed.ignored_failure_count,
        salt: fixed.salt,
        created_at: fixed.created_at,
        generation: marks.generation,
        deletion: marks.deletion,
        own,
        status,
    })
}
