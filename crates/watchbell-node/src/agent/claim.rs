//! What a pod names and only the server knows: the volume behind a claim, the handler behind a class.

use watchbell_api::Resource;
use watchbell_api::node::Assignment;
use watchbell_core::storage;

use super::plan::Missing;
use super::spec::Site;

/// The handler of a RuntimeClass that means this node's own way to run a pod.
const HANDLER: &str = "watchbell";

/// What a claim is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bound {
    /// The folder of this name, of the node's own.
    Folder(String),
    /// A path of the host, mounted as far as the spawner allows it.
    HostPath { path: String, missing: Missing },
}

impl Site {
    pub(super) fn bound_to(&self, namespace: &str, claim: &str) -> Result<Bound, String> {
        let object = (self.lookup)(Resource::PersistentVolumeClaim, namespace, claim)
            .ok_or_else(|| format!("persistentvolumeclaim {claim:?} not found"))?;
        let name = object["spec"]["volumeName"].as_str().unwrap_or_default();
        let volume = (self.lookup)(Resource::PersistentVolume, "", name).ok_or_else(|| {
            format!("persistentvolumeclaim {claim:?} is not bound to a volume that is there")
        })?;
        let spec = &volume["spec"];
        // The claim's word alone does not count: the volume names the claim too.
        if spec["claimRef"]["uid"] != object["metadata"]["uid"] {
            return Err(format!("persistentvolume {name:?} is bound to another claim than {claim:?}"));
        }
        if spec["volumeMode"] == "Block" {
            return Err(format!(
                "persistentvolume {name:?} is a block device, which this node does not mount"
            ));
        }
        if let Some(folder) = storage::folder(&volume) {
            return Ok(Bound::Folder(folder.to_owned()));
        }
        if let Some(path) = spec["local"]["path"].as_str() {
            return Ok(Bound::HostPath { path: path.to_owned(), missing: Missing::Fail });
        }
        if let Some(path) = spec["hostPath"]["path"].as_str() {
            let missing = Missing::of(spec["hostPath"]["type"].as_str().unwrap_or_default());
            return Ok(Bound::HostPath { path: path.to_owned(), missing });
        }
        Err(format!(
            "the source of persistentvolume {name:?} is not served by this node; use the class {:?}, local or hostPath",
            storage::CLASS
        ))
    }

    /// Why the pod's RuntimeClass means a runtime that is not here.
    pub(super) fn runtime_obstacle(&self, pod: &Assignment) -> Option<String> {
        let class = pod.spec.runtime_class_name.as_deref().filter(|name| !name.is_empty())?;
        let object = (self.lookup)(Resource::RuntimeClass, "", class);
        match object.as_ref().and_then(|object| object["handler"].as_str()) {
            Some(HANDLER) => None,
            Some(handler) => Some(format!(
                "Failed to create pod sandbox: no runtime for {handler:?} is configured: spec.runtimeClassName {class:?} \
                 names it, and this node has the handler {HANDLER:?} alone"
            )),
            None => Some(format!("Failed to create pod sandbox: RuntimeClass {class:?} not found")),
        }
    }
}
