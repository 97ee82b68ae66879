use super::{Resource, check};

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and \
                     end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
                     '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
                         start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
                         '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

#[test]
fn names() {
    let name = |resource, name: &str, expected: &[String]| {
        let expected: Vec<String> = expected
            .iter()
            .map(|detail| format!("metadata.name: Invalid value: {name:?}: {detail}"))
            .collect();
        check(
            resource,
            &format!("metadata: {{name: {name:?}}}"),
            &expected.iter().map(String::as_str).collect::<Vec<_>>(),
        );
    };
    for good in ["a", "a.b", "0", "a-b.c-d", &"a".repeat(253)] {
        name(Resource::ConfigMap, good, &[]);
    }
    for bad in ["A", "a_b", "-a", "a-", "a..b", ".a", "a.", "ä", "a b", "a/b", "a\n"] {
        name(Resource::ConfigMap, bad, &[SUBDOMAIN.into()]);
    }
    check(
        Resource::ConfigMap,
        &format!("metadata: {{name: {}}}", "a".repeat(254)),
        &[&format!("metadata.name: Invalid value: \"{}\": must be no more than 253 bytes", "a".repeat(254))],
    );
    name(Resource::Namespace, "a", &[]);
    name(Resource::Namespace, "a.b", &[LABEL.into()]);

    check(
        Resource::ConfigMap,
        "metadata: {name: ''}",
        &["metadata.name: Required value: name or generateName is required"],
    );
    check(Resource::ConfigMap, "metadata: {generateName: a-}", &[]);
    check(
        Resource::ConfigMap,
        "metadata: {generateName: Ab-}",
        &[&format!("metadata.generateName: Invalid value: \"Ab-\": {SUBDOMAIN}")],
    );
}

#[test]
fn namespaces() {
    check(Resource::ConfigMap, "metadata: {namespace: ''}", &["metadata.namespace: Required value"]);
    check(
        Resource::ConfigMap,
        "metadata: {namespace: a.b}",
        &[&format!("metadata.namespace: Invalid value: \"a.b\": {LABEL}")],
    );
    check(
        Resource::Node,
        "metadata: {namespace: a}",
        &["metadata.namespace: Forbidden: not allowed on this type"],
    );
}

#[test]
fn labels_and_annotations() {
    const QUALIFIED: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                             alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
                             '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    check(
        Resource::Pod,
        "metadata: {labels: {a.b/C_d: '', x: v.Z_0}}\nspec: {containers: [{name: a, image: i}]}",
        &[],
    );
    check(
        Resource::ConfigMap,
        "metadata: {labels: {'a b': 'c d', '/x': v, 'a/b/c': z}}",
        &[
            &format!("metadata.labels: Invalid value: \"a b\": name part {QUALIFIED}"),
            "metadata.labels: Invalid value: \"c d\": a valid label must be an empty string or consist of alphanumeric \
             characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or \
             'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
            "metadata.labels: Invalid value: \"/x\": prefix part must be non-empty",
            &format!(
                "metadata.labels: Invalid value: \"a/b/c\": a qualified name {QUALIFIED} with an optional DNS subdomain \
                 prefix and '/' (e.g. 'example.com/MyName')"
            ),
        ],
    );
    let long = "x".repeat(64);
    check(
        Resource::ConfigMap,
        &format!("metadata: {{labels: {{{long}: {long}}}}}"),
        &[
            &format!("metadata.labels: Invalid value: \"{long}\": name part must be no more than 63 bytes"),
            &format!("metadata.labels: Invalid value: \"{long}\": must be no more than 63 bytes"),
        ],
    );
    check(Resource::ConfigMap, "metadata: {annotations: {Example.COM/A: any text at all}}", &[]);
    check(
        Resource::ConfigMap,
        &format!("metadata: {{annotations: {{a: {}}}}}", "x".repeat(256 << 10)),
        &["metadata.annotations: Too long: may not be more than 262144 bytes"],
    );
}

#[test]
fn owners_and_finalizers() {
    let owner = "{apiVersion: batch/v1, kind: Job, name: j, uid: u, controller: true}";
    check(Resource::ConfigMap, &format!("metadata: {{ownerReferences: [{owner}]}}"), &[]);
    check(
        Resource::ConfigMap,
        "metadata: {ownerReferences: [{}]}",
        &[
            "metadata.ownerReferences.apiVersion: Invalid value: \"\": version must not be empty",
            "metadata.ownerReferences.kind: Invalid value: \"\": kind must not be empty",
            "metadata.ownerReferences.name: Invalid value: \"\": name must not be empty",
            "metadata.ownerReferences.uid: Invalid value: \"\": uid must not be empty",
        ],
    );
    let second = "{apiVersion: v1, kind: Pod, name: p, uid: w, controller: true}";
    let object =
        super::object(Resource::ConfigMap, &format!("metadata: {{ownerReferences: [{owner}, {second}]}}"));
    let found = super::create(Resource::ConfigMap, &object);
    assert_eq!(found.len(), 1);
    assert!(found[0].detail.starts_with(
        "Only one reference can have Controller set to true. Found \"true\" in references for Job/j and Pod/p"
    ));
    check(Resource::ConfigMap, "metadata: {finalizers: [foregroundDeletion, example.com/x]}", &[]);
    check(
        Resource::ConfigMap,
        "metadata: {finalizers: [x, orphan, foregroundDeletion]}",
        &[
            "metadata.finalizers[0]: Invalid value: \"x\": name is neither a standard finalizer name nor is it fully qualified",
            "metadata.finalizers: Invalid value: [\"x\",\"orphan\",\"foregroundDeletion\"]: finalizer orphan and \
             foregroundDeletion cannot be both set",
        ],
    );
}
