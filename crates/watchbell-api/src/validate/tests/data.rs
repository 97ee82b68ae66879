use super::{Resource, check};

#[test]
fn config_maps() {
    const KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or \
                       'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
    check(Resource::ConfigMap, "data: {a.B_c-1: x}\nbinaryData: {z: AA==}", &[]);
    check(
        Resource::ConfigMap,
        "data: {'a/b': x, '..': x, '..c': x, '': x}",
        &[
            &format!("data[a/b]: Invalid value: \"a/b\": {KEY}"),
            "data[..]: Invalid value: \"..\": must not be '..'",
            "data[..c]: Invalid value: \"..c\": must not start with '..'",
            &format!("data[]: Invalid value: \"\": {KEY}"),
        ],
    );
    check(
        Resource::ConfigMap,
        "data: {a: x}\nbinaryData: {a: AA==}",
        &["binaryData[a]: Invalid value: \"a\": duplicate of key present in data"],
    );
    let half = "x".repeat(1 << 19);
    check(Resource::ConfigMap, &format!("data: {{a: {half}, b: {half}}}"), &[]);
    check(
        Resource::ConfigMap,
        &format!("data: {{a: {half}, b: {half}, c: x}}"),
        &["[]: Too long: may not be more than 1048576 bytes"],
    );
}

#[test]
fn secrets() {
    check(Resource::Secret, "stringData: {a: x}", &[]);
    check(
        Resource::Secret,
        &format!("stringData: {{a: {}}}", "x".repeat((1 << 20) + 1)),
        &["data: Too long: may not be more than 1048576 bytes"],
    );
    check(Resource::Secret, &format!("stringData: {{a: {}}}", "x".repeat(1 << 20)), &[]);
    check(
        Resource::Secret,
        "type: kubernetes.io/tls\nstringData: {tls.crt: x}",
        &["data[tls.key]: Required value"],
    );
    check(Resource::Secret, "type: kubernetes.io/basic-auth\nstringData: {username: x}", &[]);
    check(
        Resource::Secret,
        "type: kubernetes.io/basic-auth",
        &["data[username]: Required value", "data[password]: Required value"],
    );
    check(Resource::Secret, "type: kubernetes.io/ssh-auth", &["data[ssh-privatekey]: Required value"]);
    check(
        Resource::Secret,
        "type: kubernetes.io/service-account-token",
        &["metadata.annotations[kubernetes.io/service-account.name]: Required value"],
    );
    check(
        Resource::Secret,
        "type: kubernetes.io/dockerconfigjson\nstringData: {.dockerconfigjson: '{}'}",
        &[],
    );
    check(
        Resource::Secret,
        "type: kubernetes.io/dockerconfigjson\nstringData: {.dockerconfigjson: hunter2}",
        &["data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\": it is not a JSON object"],
    );
    check(Resource::Secret, "type: kubernetes.io/dockercfg", &["data[.dockercfg]: Required value"]);
}

#[test]
fn events() {
    check(Resource::Event, "metadata: {namespace: ns}\ninvolvedObject: {namespace: ns}", &[]);
    check(Resource::Event, "metadata: {namespace: default}\ninvolvedObject: {}", &[]);
    check(
        Resource::Event,
        "metadata: {namespace: ns}\ninvolvedObject: {namespace: other}",
        &["involvedObject.namespace: Invalid value: \"other\": does not match event.namespace"],
    );
    check(
        Resource::Event,
        "metadata: {namespace: ns}\ninvolvedObject: {namespace: ns}\neventTime: 2026-11-25T10:00:00Z\nreason: R\naction: A",
        &["reportingComponent: Required value", "reportingInstance: Required value"],
    );
}
