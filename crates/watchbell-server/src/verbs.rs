//! What is done on resources, one verb a file.

pub(crate) mod admission;
pub(crate) mod asked;
pub(crate) mod images;
mod issue;
pub(crate) mod keys;
pub(crate) mod list;
pub(crate) mod log;
pub(crate) mod read;
pub(crate) mod review;
pub(crate) mod run;
pub(crate) mod sandbox;
pub(crate) mod stream;
pub(crate) mod token;
pub(crate) mod watch;
pub(crate) mod write;

use watchbell_api::selector::{Fields, Labels};
use watchbell_api::{ApiError, Resource};
use watchbell_core::world::{NODE_NAME, Stored};

use crate::request::options::ListOptions;

/// Waits until the state has closed its bell: the server ends.
pub(crate) async fn closed(bell: &mut tokio::sync::watch::Receiver<u64>) {
    // The sender lives as long as the state; its end is an end as well.
    let _ = bell.wait_for(|version| *version == u64::MAX).await;
}

/// Which objects of a collection are meant.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    labels: Labels,
    fields: Fields,
    /// One object, named by the path of a watch.
    name: Option<String>,
}

impl Selection {
    pub(crate) fn read(
        resource: Resource,
        options: &ListOptions,
        name: Option<String>,
    ) -> Result<Selection, ApiError> {
        Ok(Selection {
            labels: Labels::parse(&options.label_selector)?,
            fields: Fields::parse(resource, &options.field_selector)?,
            name,
        })
    }

    /// Whether nothing is left out.
    pub(crate) fn is_all(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty() && self.name.is_none()
    }

    pub(crate) fn matches(&self, object: &Stored) -> bool {
        self.name.as_deref().is_none_or(|name| *object.name == *name)
            && (self.labels.is_empty() || object.is_chosen(&self.labels))
            && self
                .fields
                .decide(|path| known(object, path))
                .unwrap_or_else(|| self.fields.matches(&object.render()))
    }
}

/// A field of an object whose value lies ready.
fn known<'v>(object: &'v Stored, path: &str) -> Option<&'v str> {
    match path {
        "metadata.name" => Some(&object.name),
        "metadata.namespace" => Some(&object.namespace),
        "status.phase" => Some(object.pod_status()?.phase.as_str()),
        "spec.nodeName" => object.pod_status()?.scheduled_at.map(|_| NODE_NAME),
        _ => None,
    }
}
