use serde_json::{Value, json};

use super::{objects, spec, with_facts};
use watchbell_api::types::pod::TokenProjection;

use crate::pod::{ConfigError, files_of, is_changing, is_files};

fn token(asked: &TokenProjection) -> Result<String, ConfigError> {
    match &*asked.audience {
        "nobody" => Err(ConfigError("no token".into())),
        audience => Ok(format!("token for <{audience}>")),
    }
}

/// `path mode contents` of each file, or the error.
fn check(volume: Value, expect: Result<&[&str], &str>) {
    let pod = spec(json!({"volumes": [volume], "containers": [
        {"name": "c", "resources": {"limits": {"memory": "64Mi"}}},
    ]}));
    let volume = &pod.volumes[0];
    assert!(is_files(volume));
    let got = with_facts(&pod, |facts| files_of(facts, volume, &objects, &token));
    match (got, expect) {
        (Ok(files), Ok(expect)) => {
            let mut lines: Vec<String> = files
                .iter()
                .map(|f| format!("{} {:o} {}", f.path, f.mode, f.contents.escape_ascii()))
                .collect();
            lines.sort();
            assert_eq!(lines, expect);
        }
        (got, expect) => {
            let got = got.map(|_| &[][..]).map_err(|e| e.to_string());
            assert_eq!(got, expect.map_err(str::to_owned));
        }
    }
}

#[test]
fn config_maps_become_files() {
    check(
        json!({"configMap": {"name": "cfg"}}),
        Ok(&["bad=name 644 1", "bytes 644 \\x00\\xff", "color 644 red", "path.txt 644 p"]),
    );
    check(
        json!({"configMap": {"name": "cfg", "defaultMode": 0o400, "items": [
            {"key": "color", "path": "a/b"}, {"key": "bytes", "path": "raw", "mode": 0o755},
        ]}}),
        Ok(&["a/b 400 red", "raw 755 \\x00\\xff"]),
    );
    check(json!({"configMap": {"name": "none"}}), Err("configmap \"none\" not found"));
    check(json!({"configMap": {"name": "none", "optional": true}}), Ok(&[]));
    let missing = json!({"key": "none", "path": "x"});
    check(
        json!({"configMap": {"name": "cfg", "items": [missing]}}),
        Err("configmap \"cfg\" references non-existent config key: none"),
    );
    check(json!({"configMap": {"name": "cfg", "items": [missing], "optional": true}}), Ok(&[]));
}

#[test]
fn secrets_become_files() {
    check(
        json!({"secret": {"secretName": "sec", "items": [{"key": "user", "path": "u"}]}}),
        Ok(&["u 644 admin"]),
    );
    check(json!({"secret": {"secretName": "sec"}}), Err("key broken of \"sec\" is not base64"));
    check(json!({"secret": {"secretName": "none"}}), Err("secret \"none\" not found"));
}

#[test]
fn a_pod_reads_of_itself() {
    check(
        json!({"downwardAPI": {"items": [
            {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
            {"path": "annotations", "fieldRef": {"fieldPath": "metadata.annotations"}},
            {"path": "mem", "mode": 0o400, "resourceFieldRef": {"containerName": "c", "resource": "limits.memory", "divisor": "1Mi"}},
        ]}}),
        Ok(&[
            "annotations 644 note=\\\"line\\\\nbreak\\\"",
            "labels 644 app=\\\"x\\\"\\nz=\\\"a \\\\\\\"b\\\\\\\"\\\"",
            "mem 400 64",
        ]),
    );
    check(
        json!({"downwardAPI": {"items": [{"path": "m", "resourceFieldRef": {"containerName": "x", "resource": "limits.cpu"}}]}}),
        Err("container x not found"),
    );
}

#[test]
fn sources_are_projected_into_one_directory() {
    check(
        json!({"projected": {"defaultMode": 0o440, "sources": [
            {"configMap": {"name": "cfg", "items": [{"key": "color", "path": "x"}, {"key": "color", "path": "y"}]}},
            {"secret": {"name": "sec", "items": [{"key": "user", "path": "x"}]}},
            {"downwardAPI": {"items": [{"path": "n", "fieldRef": {"fieldPath": "metadata.name"}}]}},
            {"serviceAccountToken": {"path": "token"}},
            {"serviceAccountToken": {"path": "vault/token", "audience": "vault"}},
        ]}}),
        Ok(&[
            "n 440 train-3-abcde",
            "token 440 token for <>",
            "vault/token 440 token for <vault>",
            "x 440 admin",
            "y 440 red",
        ]),
    );
    let refused = json!({"serviceAccountToken": {"path": "token", "audience": "nobody"}});
    check(json!({"projected": {"sources": [refused]}}), Err("no token"));
}

#[test]
fn a_token_is_its_users() {
    let check = |context: Value, containers: [Value; 2], expect: (u16, u32)| {
        let [a, b] = containers;
        let pod = spec(json!({
            "securityContext": context,
            "initContainers": [{"name": "a", "securityContext": a}], "containers": [{"name": "b", "securityContext": b}],
            "volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}],
        }));
        assert!(is_changing(&pod.volumes[0]));
        let files = with_facts(&pod, |facts| files_of(facts, &pod.volumes[0], &objects, &token)).unwrap();
        assert_eq!((files[0].mode, files[0].uid), expect, "{context}");
    };
    let user = |uid: i64| json!({"runAsUser": uid});
    let none = || json!({});
    check(none(), [none(), none()], (0o644, 0));
    check(user(1000), [none(), none()], (0o600, 1000));
    check(none(), [user(5), user(5)], (0o600, 5));
    check(none(), [user(5), user(6)], (0o644, 0));
    check(user(1000), [none(), user(6)], (0o644, 0));
    check(json!({"fsGroup": 7}), [none(), none()], (0o600, 0));
}
