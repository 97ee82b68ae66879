//! With what a container was started, for the audit journal: the values that the sandbox carries out or does not start.

use std::sync::Arc;

use serde_json::Value;
use watchbell_sandbox::{RunSpec, UidRanges, Values, values};

/// What the last start of a container was made with. The pods of an array are alike: their settings are compared, and written
/// down once.
#[derive(Debug)]
pub(super) struct Settings {
    values: Values,
    image_id: Arc<str>,
    written: Arc<Value>,
}

impl Settings {
    /// Those of `spec`, which are the ones of `last` when nothing differs.
    pub(super) fn of<'a>(
        last: &'a mut Option<Settings>,
        spec: &RunSpec,
        image_id: &Arc<str>,
    ) -> &'a Arc<Value> {
        // Which ids of the host it gets, the spawner says.
        let values = values(spec, UidRanges::default());
        let is_same = last.as_ref().is_some_and(|last| last.values == values && last.image_id == *image_id);
        if !is_same {
            let written = Arc::new(written(&spec.name, &values, image_id));
            *last = Some(Settings { values, image_id: image_id.clone(), written });
        }
        &last.as_ref().expect("it was filled just now").written
    }
}

/// What is not there is not said.
fn written(name: &str, values: &Values, image_id: &str) -> Value {
    let mut all = serde_json::to_value(values).unwrap_or_default();
    if let Some(fields) = all.as_object_mut() {
        for unsaid in ["hostIds", "layers"] {
            fields.remove(unsaid);
        }
        fields.retain(|_, value| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty()));
        fields.insert("userNamespace".into(), values.host_ids.is_some().into());
        let network = if values.host_namespaces.contains(&"network") { "host" } else { "none" };
        fields.insert("network".into(), network.into());
        fields.insert("container".into(), name.into());
        fields.insert("image".into(), image_id.into());
    }
    all
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::json;
    use watchbell_sandbox::{LogTarget, PodEnvironment};

    use super::*;

    fn spec() -> RunSpec {
        let log = LogTarget { path: "a/b".into(), max_bytes: 1, max_files: 1 };
        let argv = vec!["sh".to_owned(), "--token=hunter2".to_owned()];
        let mut spec =
            RunSpec::strict(Arc::new(PodEnvironment::alone(7)), PathBuf::from("/layers/1"), argv, log);
        spec.limits.memory_bytes = Some(1 << 20);
        spec
    }

    #[test]
    fn like_starts_have_one_object_and_others_another() {
        let (mut last, image): (_, Arc<str>) = (None, "busybox@sha256:1".into());
        let first = Settings::of(&mut last, &spec(), &image).clone();
        let mut second = spec();
        second.pod = Arc::new(PodEnvironment::alone(8));
        second.argv = vec!["other".to_owned()];
        assert!(Arc::ptr_eq(Settings::of(&mut last, &second, &image), &first));
        second.root.read_only = false;
        let other = Settings::of(&mut last, &second, &image).clone();
        assert_ne!(other, first);
        assert_ne!(*Settings::of(&mut last, &second, &"busybox@sha256:2".into()), other);
    }

    #[test]
    fn what_is_written_says_what_holds_and_no_secret() {
        let mut last = None;
        let written = Settings::of(&mut last, &spec(), &"busybox@sha256:1".into());
        assert_eq!(
            **written,
            json!({
                "container": "main", "image": "busybox@sha256:1", "network": "none", "userNamespace": true,
                "runAsUser": 65534, "runAsGroup": 65534, "privileged": false, "capabilities": "none",
                "noNewPrivileges": true, "seccomp": "RuntimeDefault", "hasSeccompProfile": false,
                "procMount": "Default", "sharesNamespaces": false, "readOnlyRootFilesystem": true,
                "limits": {"memoryBytes": 1 << 20, "cpuQuotaUs": null, "cpuPeriodUs": 0, "cpuWeight": null, "pids": null},
                "oomScoreAdj": 0,
            })
        );
    }
}
