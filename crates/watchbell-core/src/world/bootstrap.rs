//! The first start, and every later one: the journal's rows become the state, and what must always be there is made.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use watchbell_api::node::Capacity;
use watchbell_api::{Resource, validate};

use super::namespaces::{DEFAULT_ACCOUNT, ROOT_CA};
use super::object::{ArrayPod, Head, Status, Stored};
use super::row::{self, NO_INDEX, Row, RowError, RowKey};
use super::shown::rfc3339;
use super::template::JobPods;
use super::{NODE_NAME, World};
use crate::admission::Mode;
use crate::storage;

const PERMANENT: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// The Service of the API server in the namespace `default`.
const API_SERVICE: &str = "kubernetes";

/// Clients look at it to learn the family of a cluster's addresses. Nothing here has an address of its own, so it is
/// headless and has no port.
fn api_service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": API_SERVICE, "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "clusterIP": "None", "clusterIPs": ["None"], "type": "ClusterIP", "sessionAffinity": "None",
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "internalTrafficPolicy": "Cluster",
        },
    })
}

/// Namespaces that are always there, as in Kubernetes.
pub(super) fn is_permanent(namespace: &str) -> bool {
    PERMANENT.contains(&namespace)
}

impl World {
    /// Reads the journal: first all objects, then all array pods. `version` is the last one given out.
    pub fn load(&mut self, rows: Vec<Row>, version: u64, now: Timestamp) -> Result<(), RowError> {
        let (objects, pods): (Vec<Row>, Vec<Row>) =
            rows.into_iter().partition(|row| matches!(row.key, RowKey::Object { .. }));
        let mut jobs: HashMap<u64, Arc<Stored>> = HashMap::new();
        for row in &objects {
            let stored = Arc::new(row::decode_object(row)?);
            if let Status::Job { job_id, .. } = &stored.status {
                jobs.insert(*job_id, stored.clone());
            }
            self.insert_loaded(stored);
        }
        let mut templates: HashMap<(u64, Mode, Option<u16>), Arc<JobPods>> = HashMap::new();
        for row in &pods {
            let RowKey::ArrayPod { job_id, index, attempt } = &row.key else { continue };
            let wrong = |cause: String| RowError { object: format!("{:?}", row.key), cause };
            let job = jobs.get(job_id).ok_or_else(|| wrong("its Job is not in the journal".into()))?;
            let (Status::Job { images, fills, .. }, Some(facts)) = (&job.status, job.facts().job()) else {
                return Err(wrong("its owner is no Job".into()));
            };
            let parts = row::decode_array_pod(row, images)?;
            let fill = match parts.fill {
                None => None,
                Some(number) => {
                    let text = fills.texts.get(usize::from(number)).cloned();
                    Some((number, text.ok_or_else(|| wrong(format!("its Job has no fill {number}")))?))
                }
            };
            let kind = (*job_id, parts.mode, parts.fill);
            let template = match templates.get(&kind) {
                Some(template) => template.clone(),
                None => {
                    let made = JobPods::new(
                        &mut self.shapes,
                        &job.render(),
                        job.uid,
                        *job_id,
                        &facts.spec,
                        parts.mode,
                        fill,
                    )
                    .map_err(|e| wrong(e.to_string()))?;
                    templates.entry(kind).or_insert(Arc::new(made)).clone()
                }
            };
            let index = if *index == NO_INDEX { None } else { Some(*index) };
            let (name, uid, own) = match parts.own {
                Some(own) => (own.name, own.uid, Some(Arc::new(own.head))),
                None => {
                    let name = template.pod_name(index, *attempt, parts.salt).into();
                    (name, template.pod_uid(index, *attempt), None)
                }
            };
            self.insert_loaded(Arc::new(Stored {
                resource: Resource::Pod,
                namespace: job.namespace.clone(),
                name,
                uid,
                resource_version: row.resource_version,
                generation: parts.generation,
                created_at: parts.created_at,
                deletion: parts.deletion,
                head: Head::ArrayPod(Box::new(ArrayPod {
                    template,
                    index,
                    attempt: *attempt,
                    failure_count: parts.failure_count,
                    ignored_failure_count: parts.ignored_failure_count,
                    salt: parts.salt,
                    own,
                })),
                status: Status::Pod(Arc::new(parts.status)),
            }));
        }
        self.state.version = self.state.version.max(version);
        self.committed = self.state.clone();
        self.reindex(now);
        Ok(())
    }

    fn insert_loaded(&mut self, stored: Arc<Stored>) {
        self.state.version = self.state.version.max(stored.resource_version);
        self.state.insert(&stored);
    }

    /// Makes what must always be there: the permanent namespaces with their furniture, this machine's node.
    pub fn furnish(&mut self, now: Timestamp) {
        for name in PERMANENT {
            if self.get(Resource::Namespace, "", name).is_none() {
                self.make(
                    Resource::Namespace,
                    "",
                    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
                        "name": name, "labels": {"kubernetes.io/metadata.name": name},
                    }, "spec": {"finalizers": ["kubernetes"]}}),
                    now,
                );
            }
        }
        let namespaces: Vec<String> =
            self.state.list(Resource::Namespace, None, None).map(|n| n.name.to_string()).collect();
        for namespace in namespaces {
            self.furnish_namespace(&namespace, now);
        }
        self.furnish_node(now);
        self.furnish_priorities(now);
        self.furnish_rights(now);
        if self.get(Resource::StorageClass, "", storage::CLASS).is_none() {
            self.make(Resource::StorageClass, "", storage::Class::built_in(), now);
        }
        if self.get(Resource::Service, "default", API_SERVICE).is_none() {
            self.make(Resource::Service, "default", api_service(), now);
        }
    }

    /// The two PriorityClasses that every cluster has.
    fn furnish_priorities(&mut self, now: Timestamp) {
        for (name, value) in validate::SYSTEM_PRIORITIES {
            if self.get(Resource::PriorityClass, "", name).is_none() {
                let class = json!({
                    "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
                    "value": value, "description": "Kubernetes' own class for pods that must not wait for others.",
                });
                self.make(Resource::PriorityClass, "", class, now);
            }
        }
    }

    /// The `default` ServiceAccount and the `kube-root-ca.crt` ConfigMap, in the transaction that makes the namespace.
    pub(super) fn furnish_namespace(&mut self, namespace: &str, now: Timestamp) {
        if self.namespace_is_ending(namespace) {
            return;
        }
        if self.get(Resource::ServiceAccount, namespace, DEFAULT_ACCOUNT).is_none() {
            let account = json!({
                "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": DEFAULT_ACCOUNT, "namespace": namespace},
            });
            self.make(Resource::ServiceAccount, namespace, account, now);
        }
        let authority = json!({"ca.crt": self.config.ca_pem});
        match self.get(Resource::ConfigMap, namespace, ROOT_CA).cloned() {
            None => {
                let map = json!({
                    "apiVersion": "v1", "kind": "ConfigMap",
                    "metadata": {"name": ROOT_CA, "namespace": namespace}, "data": authority,
                });
                self.make(Resource::ConfigMap, namespace, map, now);
            }
            Some(found) => {
                let mut value = found.render();
                if value["data"] != authority {
                    value["data"] = authority;
                    self.put_value(&found, value);
                }
            }
        }
    }

    pub(super) fn furnish_node(&mut self, now: Timestamp) {
        let devices = &self.config.devices;
        let resources = |c: &Capacity| {
            let mut each = json!({
                "cpu": cpu(c.cpu_millis), "memory": format!("{}Ki", c.memory_bytes / 1024),
                "pods": c.pods.to_string(), "ephemeral-storage": format!("{}Ki", c.ephemeral_storage_bytes / 1024),
            });
            for (kind, devices) in devices {
                each[&**kind] = devices.len().to_string().into();
            }
            each
        };
        let allocatable = resources(&self.config.capacity);
        let capacity = self.config.machine.total.as_ref().map_or(allocatable.clone(), resources);
        let stamp = rfc3339(now.as_second());
        let condition = |kind: &str, status: &str, reason: &str, message: &str| {
            json!({
                "type": kind, "status": status, "reason": reason, "message": message,
                "lastHeartbeatTime": stamp, "lastTransitionTime": stamp,
            })
        };
        let machine = &self.config.machine;
        let mut addresses = vec![json!({"type": "Hostname", "address": self.config.hostname})];
        if !machine.address.is_empty() {
            addresses.insert(0, json!({"type": "InternalIP", "address": machine.address}));
        }
        let status = json!({
            "capacity": capacity, "allocatable": allocatable,
            "conditions": [
                condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "watchbell has sufficient memory"),
                condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "watchbell has no disk pressure"),
                condition("PIDPressure", "False", "KubeletHasSufficientPID", "watchbell has sufficient PIDs"),
                condition("Ready", "True", "KubeletReady", "watchbell runs pods"),
            ],
            "addresses": addresses,
            "nodeInfo": {
                "machineID": machine.machine_id, "systemUUID": machine.system_uuid, "bootID": machine.boot_id,
                "kernelVersion": machine.kernel_version, "osImage": machine.os_image, "kubeProxyVersion": "",
                "operatingSystem": "linux", "architecture": architecture(),
                "kubeletVersion": concat!("v1.36.0-watchbell.", env!("CARGO_PKG_VERSION")),
                "containerRuntimeVersion": concat!("watchbell://", env!("CARGO_PKG_VERSION")),
            },
        });
        if self.get(Resource::Node, "", NODE_NAME).is_none() {
            let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE_NAME, "labels": {
                "kubernetes.io/hostname": NODE_NAME, "kubernetes.io/os": "linux", "kubernetes.io/arch": architecture(),
            }}, "spec": {}});
            self.make(Resource::Node, "", node, now);
        }
        if let Some(node) = self.get(Resource::Node, "", NODE_NAME).cloned() {
            let mut next = (*node).clone();
            next.status = Status::Json(Arc::new(status));
            self.put(next);
        }
    }

    fn make(&mut self, resource: Resource, namespace: &str, object: Value, now: Timestamp) {
        let made = self.create_own(resource, namespace, object, now);
        debug_assert!(made.is_ok(), "what the server makes itself passes its own checks: {made:?}");
    }

    pub(super) fn put_value(&mut self, old: &Stored, value: Value) {
        if let Ok(head) = super::JsonHead::from_value(old.resource, value) {
            let mut next = old.clone();
            next.head = Head::Json(Arc::new(head));
            self.put(next);
        }
    }
}

/// The machine's architecture as Go, and so Kubernetes, names it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// Whole processors are written as such: a quantity's canonical form.
fn cpu(millis: u64) -> String {
    if millis.is_multiple_of(1000) { (millis / 1000).to_string() } else { format!("{millis}m") }
}
