//! `pods/log`: from the node's log store to the client.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::Response;
use hyper::body::Bytes;
use jiff::Timestamp;
use watchbell_api::node::{LogQuery, LogStream};
use watchbell_api::types::pod::PodSpec;
use watchbell_api::types::pod_status::{ContainerState, ContainerStatus, PodStatus};
use watchbell_api::{ApiError, Reason, Resource};
use watchbell_core::world::Stored;

use super::closed;
use crate::app::{App, Call};
use crate::blocking::blocking;
use crate::body::{self, Body};
use crate::limits::Share;
use crate::request::{ObjectPath, Query};
use crate::respond;

const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
const READ_BYTES: usize = 32 << 10;
/// How long to wait where a followed log has nothing new.
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) async fn log(app: &Arc<App>, call: &Call, path: &ObjectPath) -> Result<Response<Body>, ApiError> {
    let options = LogOptions::read(&call.query, Timestamp::now())?;
    let name = path.name.as_deref().unwrap_or_default();
    let snapshot = app.state.snapshot();
    let pod = snapshot
        .get(Resource::Pod, path.namespace.as_deref().unwrap_or_default(), name)
        .ok_or_else(|| ApiError::not_found(Resource::Pod, name))?;
    let query = choose(pod, &options)?;
    drop(snapshot);
    let share = app.logs_open.take(&call.holder, 1).map_err(|short| short.refusal("logs open"))?;
    let logs = app.logs.clone();
    let follow = query.follow;
    let stream = blocking(move || logs.open(&query)).await?.map_err(|error| {
        tracing::warn!("the log of pod {name}: {error}");
        match error.kind() {
            std::io::ErrorKind::NotFound => ApiError::new(
                Reason::NotFound,
                format!(
                    "the log of pod {name:?} is not there: it was never written, or was removed to make room"
                ),
            ),
            _ => ApiError::internal(format!(
                "the log of pod {name:?} cannot be read; the server's log says why"
            )),
        }
    })?;
    let (flow, body) = body::flowing();
    let (app, tenure) = (app.clone(), call.tenure.clone());
    tokio::spawn(async move {
        let mut reader = Some(Reader { stream, _share: share });
        let mut bell = app.state.bell();
        let over = tenure.over();
        tokio::pin!(over);
        loop {
            let Some(mut held) = reader.take() else { return };
            let read = tokio::task::spawn_blocking(move || {
                let mut buffer = vec![0; READ_BYTES];
                let result = held.stream.read(&mut buffer);
                let finished = held.stream.finished();
                (held, buffer, result, finished)
            });
            // A client that goes away, or a server that ends, does not wait for a silent container; the thread ends with its
            // next line, and gives its place back then.
            let read = tokio::select! {
                read = read => read,
                () = flow.gone() => return,
                () = closed(&mut bell) => return,
                error = &mut over => return flow.fail(io::Error::other(error.message)).await,
            };
            let Ok((held, mut buffer, result, finished)) = read else { return };
            match result {
                Ok(0) if finished || !follow => return,
                Ok(0) => {
                    tokio::select! {
                        () = tokio::time::sleep(PAUSE) => {}
                        () = flow.gone() => return,
                        () = closed(&mut bell) => return,
                        error = &mut over => return flow.fail(io::Error::other(error.message)).await,
                    }
                }
                Ok(count) => {
                    buffer.truncate(count);
                    if flow.send(Bytes::from(buffer)).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!("reading a log: {error}");
                    flow.fail(error).await;
                    return;
                }
            }
            reader = Some(held);
        }
    });
    Ok(respond::stream("text/plain", body))
}

struct Reader {
    stream: Box<dyn LogStream>,
    _share: Share,
}

/// `PodLogOptions` of core/v1.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct LogOptions {
    container: Option<String>,
    follow: bool,
    previous: bool,
    timestamps: bool,
    since_unix_nanos: Option<i64>,
    tail_lines: Option<u64>,
    limit_bytes: Option<u64>,
    /// Of Watchbell alone: the system calls of a pod with the annotation `watchbell.dev/trace`, instead of its log.
    trace: bool,
}

impl LogOptions {
    pub(crate) fn read(query: &Query, now: Timestamp) -> Result<LogOptions, ApiError> {
        let invalid = |field: &str, value: &str, detail: &str| {
            ApiError::new(
                Reason::Invalid,
                format!("PodLogOptions \"\" is invalid: {field}: Invalid value: {value}: {detail}"),
            )
        };
        let positive = |key: &str, least: i64, detail: &str| match query.integer(key)? {
            Some(number) if number < least => Err(invalid(key, &number.to_string(), detail)),
            other => Ok(other.and_then(|n| u64::try_from(n).ok())),
        };
        let since_seconds = positive("sinceSeconds", 1, "must be greater than 0")?;
        let since_time = match query.get("sinceTime") {
            None => None,
            Some(text) => Some(text.parse::<Timestamp>().map_err(|_| {
                invalid("sinceTime", &format!("{text:?}"), "must be a time such as 2026-01-02T03:04:05Z")
            })?),
        };
        if since_seconds.is_some() && since_time.is_some() {
            return Err(ApiError::new(
                Reason::Invalid,
                "PodLogOptions \"\" is invalid: sinceSeconds: Forbidden: at most one of `sinceTime` or `sinceSeconds` \
                 may be specified",
            ));
        }
        let nanos = |t: Timestamp| i64::try_from(t.as_nanosecond()).unwrap_or(i64::MAX);
        let since = since_seconds.map(|s| {
            let span = i64::try_from(s).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
            nanos(now).saturating_sub(span)
        });
        Ok(LogOptions {
            container: query.get("container").map(str::to_owned),
            follow: query.flag("follow"),
            previous: query.flag("previous"),
            timestamps: query.flag("timestamps"),
            since_unix_nanos: since.or(since_time.map(nanos)),
            tail_lines: positive("tailLines", 0, "must be greater than or equal to 0")?,
            limit_bytes: positive("limitBytes", 1, "must be greater than 0")?,
            trace: query.flag("trace"),
        })
    }
}

/// Which run of which container is meant, or in Kubernetes' words why there is none.
fn choose(pod: &Stored, options: &LogOptions) -> Result<LogQuery, ApiError> {
    let name = &*pod.name;
    let (Some(spec), Some(status)) = (pod.pod_spec(), pod.pod_status()) else {
        return Err(ApiError::internal(format!("pod {name:?} has no spec")));
    };
    let default = pod.render()["metadata"]["annotations"][DEFAULT_CONTAINER].as_str().map(str::to_owned);
    let (ordinal, container) = container(name, spec, options.container.as_deref().or(default.as_deref()))?;
    if status.scheduled_at.is_none() {
        return Err(ApiError::bad_request(format!("pod {name} does not have a host assigned")));
    }
    let restart = restart_of(name, container, container_status(spec, status, ordinal), options.previous)?;
    Ok(LogQuery {
        pod_uid: pod.uid,
        log: pod.job_log(),
        container: ordinal,
        restart,
        // A trace is written at the end.
        follow: options.follow && !options.previous && !options.trace,
        tail_lines: options.tail_lines,
        since_unix_nanos: options.since_unix_nanos,
        limit_bytes: options.limit_bytes,
        timestamps: options.timestamps,
        trace: options.trace,
    })
}

/// The ordinal and name of the container that is asked for, or in Kubernetes' words why there is none.
pub(super) fn container<'a>(
    pod: &str,
    spec: &'a PodSpec,
    asked: Option<&str>,
) -> Result<(u16, &'a str), ApiError> {
    let init = spec.init_containers.iter().map(|c| &*c.name);
    let main = spec.containers.iter().map(|c| &*c.name);
    let asked = match asked {
        Some(asked) => asked,
        None if spec.containers.len() == 1 => &*spec.containers[0].name,
        None => {
            let list = |names: Vec<&str>| names.join(" ");
            let mut message = format!(
                "a container name must be specified for pod {pod}, choose one of: [{}]",
                list(main.collect())
            );
            if !spec.init_containers.is_empty() {
                message.push_str(&format!(" or one of the init containers: [{}]", list(init.collect())));
            }
            return Err(ApiError::bad_request(message));
        }
    };
    init.chain(main)
        .enumerate()
        .find(|(_, name)| *name == asked)
        .map(|(place, name)| (place as u16, name))
        .ok_or_else(|| ApiError::bad_request(format!("container {asked} is not valid for pod {pod}")))
}

/// The status of a container by its ordinal: init containers come first.
pub(super) fn container_status<'a>(
    spec: &PodSpec,
    status: &'a PodStatus,
    ordinal: u16,
) -> Option<&'a ContainerStatus> {
    let place = usize::from(ordinal);
    match place.checked_sub(spec.init_containers.len()) {
        None => status.init_containers.get(place),
        Some(place) => status.containers.get(place),
    }
}

/// The restart count of the run whose log is meant.
fn restart_of(
    pod: &str,
    container: &str,
    status: Option<&ContainerStatus>,
    previous: bool,
) -> Result<u32, ApiError> {
    let waiting = |reason: &str| {
        ApiError::bad_request(format!("container {container:?} in pod {pod:?} is waiting to start: {reason}"))
    };
    let Some(status) = status else {
        return Err(if previous { no_previous(pod, container) } else { waiting("ContainerCreating") });
    };
    if previous {
        return status.run_before().ok_or_else(|| no_previous(pod, container));
    }
    match &status.state {
        ContainerState::Running { .. } | ContainerState::Terminated(_) => Ok(status.restart_count),
        // Between two runs the log is that of the run that ended.
        ContainerState::Waiting { reason, .. } => match (status.run_before(), &**reason) {
            (Some(run), _) => Ok(run),
            (None, "ErrImagePull") => Err(waiting("image can't be pulled")),
            (None, "ImagePullBackOff") => Err(waiting("trying and failing to pull image")),
            (None, reason) => Err(waiting(reason)),
        },
    }
}

fn no_previous(pod: &str, container: &str) -> ApiError {
    ApiError::bad_request(format!("previous terminated container {container:?} in pod {pod:?} not found"))
}

#[cfg(test)]
mod tests;
