//! The service account of a pod, as Kubernetes' admission plugin `ServiceAccount` has it: it must be there, and its token is
//! mounted where containers look for it.
//!
//! In a namespace without a Pod Security level nothing is mounted unless the pod itself asks: the strict fill-in has said
//! `automountServiceAccountToken: false` before.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Mode;
use crate::service_account::account_named;

/// Where client libraries look.
const TOKEN_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
/// An hour, and the seconds by which Kubernetes knows a token that nobody asked for.
const TOKEN_SECONDS: i64 = 3607;
/// Of names that are generated.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// What admission needs to know of an account.
#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    pub name: String,
    pub automount: Option<bool>,
    pub image_pull_secrets: Vec<Value>,
}

impl Account {
    pub fn read(object: &Value) -> Account {
        Account {
            name: object["metadata"]["name"].as_str().unwrap_or_default().into(),
            automount: object["automountServiceAccountToken"].as_bool(),
            image_pull_secrets: object["imagePullSecrets"].as_array().cloned().unwrap_or_default(),
        }
    }
}

/// Whether accounts have a say in a pod.
pub(super) fn concerns(mode: Mode, spec: &Value) -> bool {
    mode != Mode::Strict
        || spec["automountServiceAccountToken"] == true
        || spec["serviceAccountName"].as_str().is_some_and(|name| !name.is_empty())
}

/// Names the account, and mounts what its token's users need.
pub(super) fn fill(
    spec: &mut Value,
    namespace: &str,
    accounts: &[std::sync::Arc<Account>],
) -> Result<(), String> {
    let name = account_named(spec).to_owned();
    let Some(account) = accounts.iter().find(|account| account.name == name) else {
        return Err(format!(
            "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
        ));
    };
    // The older name says the same, as the defaults have it.
    spec["serviceAccount"] = name.clone().into();
    spec["serviceAccountName"] = name.into();
    let has_secrets = spec["imagePullSecrets"].as_array().is_some_and(|list| !list.is_empty());
    if !has_secrets && !account.image_pull_secrets.is_empty() {
        spec["imagePullSecrets"] = json!(account.image_pull_secrets);
    }
    let wants = spec["automountServiceAccountToken"].as_bool().or(account.automount).unwrap_or(true);
    if wants {
        mount(spec, &volume_name(namespace, &account.name));
    }
    Ok(())
}

/// In every container that has nothing else there.
fn mount(spec: &mut Value, volume: &str) {
    let known = spec["volumes"].as_array().into_iter().flatten();
    let known = known.filter_map(|v| v["name"].as_str()).find(|name| name.starts_with(VOLUME_PREFIX));
    let (name, is_there) = match known {
        Some(name) => (name.to_owned(), true),
        None => (volume.to_owned(), false),
    };
    let mut is_used = false;
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let mounts = &mut container["volumeMounts"];
            if mounts.is_null() {
                *mounts = json!([]);
            }
            let Some(mounts) = mounts.as_array_mut() else { continue };
            if mounts.iter().any(|mount| mount["mountPath"] == TOKEN_DIR) {
                continue;
            }
            mounts.push(json!({"name": name, "mountPath": TOKEN_DIR, "readOnly": true}));
            is_used = true;
        }
    }
    if !is_used || is_there {
        return;
    }
    let volume = json!({"name": name, "projected": {"defaultMode": 0o644, "sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [
            {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
        ]}},
    ]}});
    match spec["volumes"].as_array_mut() {
        Some(volumes) => volumes.push(volume),
        None => spec["volumes"] = json!([volume]),
    }
}

/// The same for all pods of an account: those of an array share their spec.
fn volume_name(namespace: &str, account: &str) -> String {
    let digest = Sha256::digest(format!("{namespace}/{account}"));
    let suffix = digest.iter().take(5).map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]));
    VOLUME_PREFIX.chars().chain(suffix).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::admission::{Level, Rules};

    fn rules(changes: Value) -> Rules {
        let mut object = json!({"metadata": {"name": "robot"}});
        object.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        Rules {
            namespace: "ml".into(),
            accounts: vec![
                Arc::new(Account::read(&object)),
                Arc::new(Account::read(&json!({"metadata": {"name": "default"}}))),
            ],
            ..Rules::default()
        }
    }

    const LABELLED: Mode = Mode::Labelled(Level::Baseline);

    /// How many containers get the token.
    fn check(mode: Mode, account: Value, pod: Value, expect: usize) -> Value {
        let mut spec = json!({
            "serviceAccountName": "robot", "containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "c"}],
        });
        spec.as_object_mut().unwrap().extend(pod.as_object().unwrap().clone());
        let mut pod = json!({"metadata": {}, "spec": spec});
        rules(account).fill_in(mode, &mut pod).unwrap();
        let spec = pod["spec"].take();
        let all =
            spec["containers"].as_array().unwrap().iter().chain(spec["initContainers"].as_array().unwrap());
        let mounts = all.flat_map(|c| c["volumeMounts"].as_array().into_iter().flatten());
        let found = mounts.filter(|m| m["name"].as_str().unwrap().starts_with(VOLUME_PREFIX)).count();
        assert_eq!(found, expect, "{spec}");
        let volumes = spec["volumes"].as_array().into_iter().flatten();
        let made = volumes.filter(|v| v["name"].as_str().unwrap().starts_with(VOLUME_PREFIX)).count();
        assert_eq!(made, usize::from(expect > 0), "{spec}");
        spec
    }

    #[test]
    fn a_token_is_mounted_where_kubernetes_mounts_it() {
        let nothing = || json!({});
        let spec = check(LABELLED, nothing(), nothing(), 3);
        let sources = &spec["volumes"][0]["projected"]["sources"];
        assert_eq!(sources[0], json!({"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}));
        assert_eq!(spec["containers"][0]["volumeMounts"][0]["mountPath"], TOKEN_DIR);
        let said = |wants: bool| json!({"automountServiceAccountToken": wants});
        check(LABELLED, said(false), nothing(), 0);
        check(LABELLED, said(true), said(false), 0);
        check(LABELLED, said(false), said(true), 3);
        let own = json!({"volumes": [{"name": "x", "emptyDir": {}}],
            "containers": [{"name": "a", "volumeMounts": [{"name": "x", "mountPath": TOKEN_DIR}]}]});
        check(LABELLED, nothing(), own, 1);
        let named = check(LABELLED, nothing(), json!({"serviceAccountName": null}), 3);
        assert_eq!(named["serviceAccountName"], "default");
    }

    #[test]
    fn a_namespace_without_a_level_mounts_nothing_unless_the_pod_asks() {
        let said = |wants: bool| json!({"automountServiceAccountToken": wants});
        check(Mode::Strict, json!({}), json!({}), 0);
        check(Mode::Strict, said(true), json!({}), 0);
        check(Mode::Strict, json!({}), said(true), 3);
        check(Mode::Strict, said(false), said(true), 3);
    }

    #[test]
    fn an_account_must_be_there() {
        for mode in [Mode::Strict, LABELLED] {
            let mut pod = json!({"spec": {"serviceAccountName": "nobody", "containers": [{"name": "a"}]}});
            let refused = rules(json!({})).fill_in(mode, &mut pod).unwrap_err();
            assert_eq!(
                refused,
                "error looking up service account ml/nobody: serviceaccount \"nobody\" not found"
            );
        }
    }

    #[test]
    fn secrets_for_images_come_from_the_account() {
        let account = || json!({"imagePullSecrets": [{"name": "registry"}]});
        let spec = check(LABELLED, account(), json!({}), 3);
        assert_eq!(spec["imagePullSecrets"], json!([{"name": "registry"}]));
        let spec = check(LABELLED, account(), json!({"imagePullSecrets": [{"name": "own"}]}), 3);
        assert_eq!(spec["imagePullSecrets"], json!([{"name": "own"}]));
    }
}
