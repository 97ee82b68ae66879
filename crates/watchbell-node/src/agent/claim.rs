//! What a pod names and only the server knows: the volume behind a claim, the handler behind a class.

use watchbell_api::Resource;
use watchbell_api::node::Assignment;
use watchbell_api::quantity::Quantity;
use watchbell_core::pod::ConfigError;
use watchbell_core::storage;
use watchbell_sandbox::OWN_HANDLER;

use super::plan::Missing;
use super::spec::Site;

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

    /// How much a claim asked for, in bytes; without limit where it is not there any more.
    pub(super) fn asked_by(&self, namespace: &str, claim: &str) -> u64 {
        let object = (self.lookup)(Resource::PersistentVolumeClaim, namespace, claim);
        let asked = object.as_ref().map(|object| &object["spec"]["resources"]["requests"]["storage"]);
        asked.and_then(|v| Quantity::from_value(v).ok()).map_or(u64::MAX, |quantity| quantity.as_bytes())
    }

    /// The OCI runtime that the pod's RuntimeClass means; `None`: this node's own way to run a pod. As kubelet, this node looks
    /// when it makes the sandbox, and again as long as there is none: the class may be made, or the server started with it.
    pub(super) fn runtime(&self, pod: &Assignment) -> Result<Option<String>, ConfigError> {
        let Some(class) = pod.spec.runtime_class_name.as_deref().filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        let refuse = |why: String| Err(ConfigError(format!("Failed to create pod sandbox: {why}")));
        let object = (self.lookup)(Resource::RuntimeClass, "", class);
        match object.as_ref().and_then(|object| object["handler"].as_str()) {
            Some(OWN_HANDLER) => Ok(None),
            Some(handler) if self.runtimes.iter().any(|known| known == handler) => {
                Ok(Some(handler.to_owned()))
            }
            Some(handler) => {
                let known = [OWN_HANDLER].into_iter().chain(self.runtimes.iter().map(String::as_str));
                let known: Vec<String> = known.map(|name| format!("{name:?}")).collect();
                refuse(format!(
                    "no runtime for {handler:?} is configured: RuntimeClass {class:?} names it, and this node has {}; start \
                     the server with --runtime {handler}=/path/of/the/runtime",
                    known.join(", ")
                ))
            }
            None => refuse(format!("RuntimeClass {class:?} not found")),
        }
    }
}
