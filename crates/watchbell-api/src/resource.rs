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

macro_rules! row {
    ($r:ident, $group:literal, $kind:literal, $plural:literal, $singular:literal, $short:expr, $cat:expr, $scope:ident, $status:literal) => {
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
            has_status: $status,
        }
    };
}

static TABLE: [ResourceInfo; 9] = [
    row!(Namespace, "", "Namespace", "namespaces", "namespace", ["ns"], [], Cluster, true),
    row!(ConfigMap, "", "ConfigMap", "configmaps", "configmap", ["cm"], [], Namespaced, false),
    row!(Secret, "", "Secret", "secrets", "secret", [], [], Namespaced, false),
    row!(
        ServiceAccount,
        "",
        "ServiceAccount",
        "serviceaccounts",
        "serviceaccount",
        ["sa"],
        [],
        Namespaced,
        false
    ),
    row!(Node, "", "Node", "nodes", "node", ["no"], [], Cluster, true),
    row!(Pod, "", "Pod", "pods", "pod", ["po"], ["all"], Namespaced, true),
    row!(Event, "", "Event", "events", "event", ["ev"], [], Namespaced, false),
    row!(Job, "batch", "Job", "jobs", "job", [], ["all"], Namespaced, true),
    row!(CronJob, "batch", "CronJob", "cronjobs", "cronjob", ["cj"], ["all"], Namespaced, true),
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

    /// What a person types: plural, singular, short name or kind, in any case, with or without the group.
    pub fn from_word(word: &str) -> Option<Resource> {
        let word = word.to_ascii_lowercase();
        TABLE
            .iter()
            .find(|r| {
                word == r.plural
                    || word == r.singular
                    || r.short_names.contains(&word.as_str())
                    || word == r.qualified()
            })
            .map(|r| r.resource)
    }

    pub fn is_namespaced(self) -> bool {
        self.info().scope == Scope::Namespaced
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
    }
}
