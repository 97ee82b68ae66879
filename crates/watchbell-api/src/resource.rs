//! The resources this server serves: one row a resource, read by discovery, routing, storage and the command line.

/// A resource, as stored and routed. The journal holds [`ResourceInfo::qualified`], never the number of the variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    Namespace,
    ConfigMap,
    Secret,
    ServiceAccount,
    Node,
    Pod,
    Event,
    Job,
    CronJob,
    ResourceQuota,
    LimitRange,
    PersistentVolumeClaim,
    PersistentVolume,
    StorageClass,
    PriorityClass,
    RuntimeClass,
    NetworkPolicy,
    Lease,
    /// A bearer token of a user, of which a hash is kept.
    UserToken,
    /// A client certificate that the server signed.
    UserCertificate,
    /// A client certificate that is no longer taken.
    CertificateRevocation,
    /// Which images may start, of a namespace.
    ImagePolicy,
    /// The same of many namespaces.
    ClusterImagePolicy,
    /// What is known to be wrong with an image that is used, in the form of trivy-operator.
    VulnerabilityReport,
    /// A Zarr hierarchy with snapshots, which Jobs read and write.
    DataArray,
    Role,
    RoleBinding,
    ClusterRole,
    ClusterRoleBinding,
    ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding,
    /// The events of `events.k8s.io/v1`: another form of the objects of [`Resource::Event`].
    EventsEvent,
    // What only a cluster runs.
    Service,
    Endpoints,
    ReplicationController,
    DaemonSet,
    Deployment,
    ReplicaSet,
    StatefulSet,
}

/// What can be done with objects of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    Full,
    /// They can be listed and watched, as many clients do with whatever they know; there are none and none can be made.
    ListOnly,
}

/// Whether objects of a resource live in a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Namespaced,
    Cluster,
}

/// What discovery says of a resource.
#[derive(Debug)]
pub struct ResourceInfo {
    pub resource: Resource,
    /// Empty for the core group.
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub scope: Scope,
    /// Whether `/status` is a subresource of its own.
    pub has_status: bool,
    pub support: Support,
}

impl ResourceInfo {
    /// `jobs.batch`, `pods`: how Kubernetes names a resource in messages, and how the journal names it.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.into() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// `batch/v1`, `v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.into() } else { format!("{}/{}", self.group, self.version) }
    }
}

/// A row; the kind is the variant's name where none is given.
macro_rules! row {
    ($r:ident, $group:literal, $kind:expr, $plural:literal, $singular:literal, $short:expr, $cat:expr, $scope:ident) => {
        ResourceInfo {
            resource: Resource::$r,
            group: $group,
            version: "v1",
            kind: $kind,
            plural: $plural,
            singular: $singular,
            short_names: &$short,
            categories: &$cat,
            scope: Scope::$scope,
            has_status: false,
            support: Support::Full,
        }
    };
    ($r:ident, $group:literal, $plural:literal, $singular:literal, $short:expr, $cat:expr, $scope:ident) => {
        row!($r, $group, stringify!($r), $plural, $singular, $short, $cat, $scope)
    };
}

/// Of our own group, and of others that are not Kubernetes' own.
const fn ours(row: ResourceInfo) -> ResourceInfo {
    ResourceInfo { version: "v1alpha1", ..row }
}

const fn with_status(row: ResourceInfo) -> ResourceInfo {
    ResourceInfo { has_status: true, ..row }
}

/// Without the category `all`: `kubectl get all` need not ask for what there never is.
const fn list_only(row: ResourceInfo) -> ResourceInfo {
    ResourceInfo { support: Support::ListOnly, ..row }
}

#[rustfmt::skip]
static TABLE: [ResourceInfo; 39] = [
    with_status(row!(Namespace, "", "namespaces", "namespace", ["ns"], [], Cluster)),
    row!(ConfigMap, "", "configmaps", "configmap", ["cm"], [], Namespaced),
    row!(Secret, "", "secrets", "secret", [], [], Namespaced),
    row!(ServiceAccount, "", "serviceaccounts", "serviceaccount", ["sa"], [], Namespaced),
    with_status(row!(Node, "", "nodes", "node", ["no"], [], Cluster)),
    with_status(row!(Pod, "", "pods", "pod", ["po"], ["all"], Namespaced)),
    row!(Event, "", "events", "event", ["ev"], [], Namespaced),
    with_status(row!(Job, "batch", "jobs", "job", [], ["all"], Namespaced)),
    with_status(row!(CronJob, "batch", "cronjobs", "cronjob", ["cj"], ["all"], Namespaced)),
    with_status(row!(ResourceQuota, "", "resourcequotas", "resourcequota", ["quota"], [], Namespaced)),
    row!(LimitRange, "", "limitranges", "limitrange", ["limits"], [], Namespaced),
    with_status(row!(PersistentVolumeClaim, "", "persistentvolumeclaims", "persistentvolumeclaim", ["pvc"], [], Namespaced)),
    with_status(row!(PersistentVolume, "", "persistentvolumes", "persistentvolume", ["pv"], [], Cluster)),
    row!(StorageClass, "storage.k8s.io", "storageclasses", "storageclass", ["sc"], [], Cluster),
    row!(PriorityClass, "scheduling.k8s.io", "priorityclasses", "priorityclass", ["pc"], [], Cluster),
    row!(RuntimeClass, "node.k8s.io", "runtimeclasses", "runtimeclass", [], [], Cluster),
    row!(NetworkPolicy, "networking.k8s.io", "networkpolicies", "networkpolicy", ["netpol"], [], Namespaced),
    row!(Lease, "coordination.k8s.io", "leases", "lease", [], [], Namespaced),
    ours(row!(UserToken, "watchbell.dev", "usertokens", "usertoken", [], [], Cluster)),
    ours(row!(UserCertificate, "watchbell.dev", "usercertificates", "usercertificate", [], [], Cluster)),
    ours(row!(CertificateRevocation, "watchbell.dev", "certificaterevocations", "certificaterevocation", [], [], Cluster)),
    ours(row!(ImagePolicy, "watchbell.dev", "imagepolicies", "imagepolicy", [], [], Namespaced)),
    ours(row!(ClusterImagePolicy, "watchbell.dev", "clusterimagepolicies", "clusterimagepolicy", [], [], Cluster)),
    ours(row!(VulnerabilityReport, "aquasecurity.github.io", "vulnerabilityreports", "vulnerabilityreport", ["vuln", "vulns"], [], Namespaced)),
    ours(row!(DataArray, "watchbell.dev", "dataarrays", "dataarray", ["da"], [], Namespaced)),
    row!(Role, "rbac.authorization.k8s.io", "roles", "role", [], [], Namespaced),
    row!(RoleBinding, "rbac.authorization.k8s.io", "rolebindings", "rolebinding", [], [], Namespaced),
    row!(ClusterRole, "rbac.authorization.k8s.io", "clusterroles", "clusterrole", [], [], Cluster),
    row!(ClusterRoleBinding, "rbac.authorization.k8s.io", "clusterrolebindings", "clusterrolebinding", [], [], Cluster),
    with_status(row!(ValidatingAdmissionPolicy, "admissionregistration.k8s.io", "validatingadmissionpolicies", "validatingadmissionpolicy", [], ["api-extensions"], Cluster)),
    row!(ValidatingAdmissionPolicyBinding, "admissionregistration.k8s.io", "validatingadmissionpolicybindings", "validatingadmissionpolicybinding", [], ["api-extensions"], Cluster),
    row!(EventsEvent, "events.k8s.io", "Event", "events", "event", ["ev"], [], Namespaced),
    list_only(row!(Service, "", "services", "service", ["svc"], [], Namespaced)),
    list_only(row!(Endpoints, "", "endpoints", "endpoints", ["ep"], [], Namespaced)),
    list_only(row!(ReplicationController, "", "replicationcontrollers", "replicationcontroller", ["rc"], [], Namespaced)),
    list_only(row!(DaemonSet, "apps", "daemonsets", "daemonset", ["ds"], [], Namespaced)),
    list_only(row!(Deployment, "apps", "deployments", "deployment", ["deploy"], [], Namespaced)),
    list_only(row!(ReplicaSet, "apps", "replicasets", "replicaset", ["rs"], [], Namespaced)),
    list_only(row!(StatefulSet, "apps", "statefulsets", "statefulset", ["sts"], [], Namespaced)),
];

impl Resource {
    /// Every resource, in the order of the table.
    pub fn all() -> impl Iterator<Item = Resource> {
        TABLE.iter().map(|row| row.resource)
    }

    pub fn info(self) -> &'static ResourceInfo {
        &TABLE[self as usize]
    }

    /// The resource of a REST path: `batch`, `v1`, `jobs`.
    pub fn from_path(group: &str, version: &str, plural: &str) -> Option<Resource> {
        TABLE
            .iter()
            .find(|r| r.group == group && r.version == version && r.plural == plural)
            .map(|r| r.resource)
    }

    /// The resource of an object's `apiVersion` and `kind`.
    pub fn from_kind(api_version: &str, kind: &str) -> Option<Resource> {
        TABLE.iter().find(|r| r.kind == kind && r.api_version() == api_version).map(|r| r.resource)
    }

    /// The resource that the journal (or a message) calls `jobs.batch`.
    pub fn from_qualified(name: &str) -> Option<Resource> {
        TABLE.iter().find(|r| r.qualified() == name).map(|r| r.resource)
    }

    /// What a person types, or a command printed: plural, singular, short name or kind, in any case, alone, with the group
    /// (`job.batch`) or with version and group (`jobs.v1.batch`).
    pub fn from_word(word: &str) -> Option<Resource> {
        let word = word.to_ascii_lowercase();
        let (name, rest) = match word.split_once('.') {
            Some((name, rest)) => (name, Some(rest)),
            None => (word.as_str(), None),
        };
        let is_of = |r: &ResourceInfo, rest: &str| {
            rest == r.group || rest.split_once('.').is_some_and(|of| of == (r.version, r.group))
        };
        let is_meant = |r: &ResourceInfo| {
            let is_name = name == r.plural || name == r.singular || r.short_names.contains(&name);
            is_name && rest.is_none_or(|rest| is_of(r, rest))
        };
        TABLE.iter().find(|r| is_meant(r)).map(|r| r.resource)
    }

    /// Whether the answer to a deletion that took effect at once is the object as it was last; else it is a Status. Typed
    /// clients can read nothing else.
    pub fn is_returned_when_deleted(self) -> bool {
        matches!(
            self,
            Resource::Pod
                | Resource::ServiceAccount
                | Resource::ResourceQuota
                | Resource::PersistentVolumeClaim
                | Resource::PersistentVolume
                | Resource::StorageClass
        )
    }

    /// Whether the server itself makes a part of every object of it, a secret or a signature: it can be created, not applied.
    pub fn is_issued(self) -> bool {
        matches!(self, Resource::UserToken | Resource::UserCertificate)
    }

    /// Whether the server alone writes objects of it; they can be read and deleted.
    pub fn is_told(self) -> bool {
        self == Resource::VulnerabilityReport
    }

    pub fn is_namespaced(self) -> bool {
        self.info().scope == Scope::Namespaced
    }

    /// Whether there are none of it, and none can be made: a cluster runs these, this machine does not.
    pub fn is_list_only(self) -> bool {
        self.info().support == Support::ListOnly
    }

    /// The resource under which objects are stored and watched: itself, unless it is only another form of one
    /// ([`crate::convert`]).
    pub fn stored(self) -> Resource {
        match self {
            Resource::EventsEvent => Resource::Event,
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Resource;

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for resource in Resource::all() {
            assert_eq!(resource.info().resource, resource);
            assert_eq!(Resource::from_qualified(&resource.info().qualified()), Some(resource));
        }
        assert_eq!(Resource::from_word("CJ"), Some(Resource::CronJob));
        for job in ["job", "Jobs", "job.batch", "jobs.batch", "Job.batch", "jobs.v1.batch"] {
            assert_eq!(Resource::from_word(job), Some(Resource::Job), "{job}");
        }
        for nothing in ["job.apps", "jobs.v1", "jobs.v2.batch", "job.", ".batch", "jobs.v1.batch.x"] {
            assert_eq!(Resource::from_word(nothing), None, "{nothing}");
        }
        assert_eq!(
            Resource::from_word("rolebindings.rbac.authorization.k8s.io"),
            Some(Resource::RoleBinding)
        );
        assert_eq!(Resource::from_word("ev"), Some(Resource::Event), "the core group comes first");
        assert_eq!(Resource::from_kind("events.k8s.io/v1", "Event"), Some(Resource::EventsEvent));
    }
}
