use super::{Resource, check, check_update};

const KEY: &str = "-----BEGIN PUBLIC KEY-----\\nMFkw\\n-----END PUBLIC KEY-----\\n";

#[track_caller]
fn policy(spec: &str, expected: &[&str]) {
    check(Resource::ImagePolicy, &format!("spec: {spec}"), expected);
}

#[track_caller]
fn cluster(spec: &str, expected: &[&str]) {
    check(Resource::ClusterImagePolicy, &format!("spec: {spec}"), expected);
}

#[test]
fn a_whole_policy_is_good() {
    let digest = "a".repeat(64);
    let spec = format!(
        "{{enforcementAction: Warn, digest: Required, registries: [ghcr.io, '*.example.com:5000'], \
         repositories: [docker.io/library/*, localhost/**, '**'], maximumAgeDays: 90, \
         signers: [{{name: release, key: {{publicKey: \"{KEY}\"}}}}, \
         {{name: map, key: {{configMap: {{name: keys, key: cosign.pub}}}}}}, \
         {{name: ci, keyless: {{issuer: 'https://token.example.com', subject: 'https://example.com/team/**', \
         trustRoot: {{name: root, key: trusted_root.json}}}}}}], \
         attestations: [{{predicateType: 'https://slsa.dev/provenance/v1', signers: [ci], builder: 'https://b/*', source: 'git+https://s/**'}}], \
         vulnerabilities: {{maximumSeverity: Medium, refuseKnownExploited: true, ignoreUnfixed: true, databaseMaximumAgeHours: 48, \
         exceptions: [{{id: CVE-2026-1, package: zlib1g, reason: not reachable, expires: '2026-12-01T00:00:00Z'}}]}}, \
         minimality: {{noShell: true, noSetuid: true, maximumPackages: 0, maximumSize: 100Mi}}, \
         baseImages: [{{name: base, layers: ['sha256:{digest}']}}]}}"
    );
    policy(&spec, &[]);
    policy("{}", &[]);
    cluster("{namespaceSelector: {matchLabels: {team: a}}}", &[]);
}

#[test]
fn words_and_numbers_are_known_ones() {
    policy(
        "{enforcementAction: Block, digest: Pinned, maximumAgeDays: 0}",
        &[
            "spec.enforcementAction: Unsupported value: \"Block\": supported values: \"Deny\", \"Warn\", \"Audit\"",
            "spec.digest: Unsupported value: \"Pinned\": supported values: \"Required\", \"Resolved\"",
            "spec.maximumAgeDays: Invalid value: 0: must be between 1 and 36500, inclusive",
        ],
    );
    policy(
        "{vulnerabilities: {maximumSeverity: HIGH, unscored: None, databaseMaximumAgeHours: 0}, minimality: {maximumPackages: -1, maximumSize: '0'}}",
        &[
            "spec.vulnerabilities.maximumSeverity: Unsupported value: \"HIGH\": supported values: \"Critical\", \"High\", \"Medium\", \"Low\", \"None\"",
            "spec.vulnerabilities.unscored: Unsupported value: \"None\": supported values: \"Critical\", \"High\", \"Medium\", \"Low\"",
            "spec.vulnerabilities.databaseMaximumAgeHours: Invalid value: 0: must be between 1 and 876000, inclusive",
            "spec.minimality.maximumPackages: Invalid value: -1: must be greater than or equal to 0",
            "spec.minimality.maximumSize: Invalid value: \"0\": must be greater than 0",
        ],
    );
}

#[test]
fn patterns_are_of_full_names() {
    policy(
        "{registries: [ghcr.io/team, ''], repositories: ['library/*', busybox, 'docker.io/library/busybox:1', 'docker.io']}",
        &[
            "spec.registries[0]: Invalid value: \"ghcr.io/team\": must be a registry such as ghcr.io or *.example.com:5000; what has a path belongs to spec.repositories",
            "spec.registries[1]: Required value",
            "spec.repositories[0]: Invalid value: \"library/*\": must begin with a registry, such as docker.io/library/* or ghcr.io/team/**: images are compared by their full names",
            "spec.repositories[1]: Invalid value: \"busybox\": must begin with a registry, such as docker.io/library/* or ghcr.io/team/**: images are compared by their full names",
            "spec.repositories[2]: Invalid value: \"docker.io/library/busybox:1\": must be a repository, without a tag or a digest",
            "spec.repositories[3]: Invalid value: \"docker.io\": must begin with a registry, such as docker.io/library/* or ghcr.io/team/**: images are compared by their full names",
        ],
    );
}

#[test]
fn a_signer_is_a_key_or_an_identity() {
    policy(
        &format!(
            "{{signers: [{{name: a}}, {{name: a, key: {{publicKey: \"{KEY}\"}}, keyless: {{issuer: i, subject: s, trustRoot: {{name: root, key: k}}}}}}, {{name: B, key: {{}}}}]}}"
        ),
        &[
            "spec.signers[0]: Required value: must specify `key` or `keyless`",
            "spec.signers[1].name: Duplicate value: \"a\"",
            "spec.signers[1].keyless: Forbidden: may not be set with `key`: a signer is one of the two",
            "spec.signers[2].name: Invalid value: \"B\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
            "spec.signers[2].key: Required value: must specify `publicKey` or `configMap`",
        ],
    );
    policy(
        "{signers: [{name: a, key: {publicKey: x}}, {name: b, keyless: {issuer: 'http://i', subject: '**'}}, \
         {name: c, key: {configMap: {namespace: other, name: map, key: k}}}]}",
        &[
            "spec.signers[0].key.publicKey: Invalid value: \"x\": must be one public key in PEM, as `cosign generate-key-pair` writes it to cosign.pub",
            "spec.signers[1].keyless.issuer: Invalid value: \"http://i\": must be the address of an OpenID issuer, beginning with https://",
            "spec.signers[1].keyless.subject: Invalid value: \"**\": must name somebody: with `*` alone anybody whom the issuer knows could sign",
            "spec.signers[1].keyless.trustRoot: Required value: signatures are verified without asking anybody, against a trust root that was fetched before",
            "spec.signers[2].key.configMap.namespace: Forbidden: the ConfigMap of an ImagePolicy lies in the policy's own namespace",
        ],
    );
    cluster(
        "{signers: [{name: c, key: {configMap: {name: map, key: k}}}]}",
        &["spec.signers[0].key.configMap.namespace: Required value"],
    );
    cluster(
        "{signers: [{name: c, key: {configMap: {namespace: watchbell-system, name: map, key: k}}}, \
         {name: d, key: {configMap: {namespace: team, name: map, key: k}}}]}",
        &[
            "spec.signers[1].key.configMap.namespace: Forbidden: the ConfigMaps of a ClusterImagePolicy lie in the namespace \
             watchbell-system, which editors of other namespaces do not write",
        ],
    );
}

#[test]
fn a_key_that_editors_may_replace_is_warned_about() {
    let warned = |signer: serde_json::Value| {
        let policy = serde_json::json!({"metadata": {"name": "p", "namespace": "team"}, "spec": {"signers": [signer]}});
        crate::validate::warnings(Resource::ImagePolicy, &policy)
    };
    let map = serde_json::json!({"name": "keys", "key": "cosign.pub"});
    let told = warned(serde_json::json!({"name": "a", "key": {"configMap": map.clone()}}));
    assert!(told[0].starts_with("spec.signers[0].key.configMap: whoever may write ConfigMaps"), "{told:?}");
    let told = warned(
        serde_json::json!({"name": "a", "keyless": {"issuer": "https://i", "subject": "s", "trustRoot": map}}),
    );
    assert!(told[0].starts_with("spec.signers[0].keyless.trustRoot: "), "{told:?}");
    assert!(warned(serde_json::json!({"name": "a", "key": {"publicKey": "x"}})).is_empty());
}

#[test]
fn statements_exceptions_and_bases() {
    policy(
        "{attestations: [{predicateType: 'https://slsa.dev/provenance/v1'}]}",
        &[
            "spec.attestations[0].signers: Required value: a statement is worth what its signer is: spec.signers must name one",
        ],
    );
    policy(
        &format!(
            "{{signers: [{{name: a, key: {{publicKey: \"{KEY}\"}}}}], attestations: [{{predicateType: 'https://cyclonedx.org/bom', signers: [b], builder: x}}]}}"
        ),
        &[
            "spec.attestations[0].signers[0]: Not found: \"b\"",
            "spec.attestations[0].builder: Forbidden: may only be set with a predicateType that begins with https://slsa.dev/provenance/",
        ],
    );
    policy(
        "{vulnerabilities: {exceptions: [{id: 'a b', reason: ' ', expires: null}]}}",
        &[
            "spec.vulnerabilities.exceptions[0].id: Invalid value: \"a b\": must be the name of an advisory, such as CVE-2026-1234",
            "spec.vulnerabilities.exceptions[0].reason: Required value: whoever reads it later must know why",
            "spec.vulnerabilities.exceptions[0].expires: Required value",
        ],
    );
    policy(
        "{baseImages: [{name: '', layers: []}, {name: b, layers: ['sha256:abc']}]}",
        &[
            "spec.baseImages[0].name: Required value",
            "spec.baseImages[0].layers: Required value: must list the base image's layers from the bottom",
            "spec.baseImages[1].layers[0]: Invalid value: \"sha256:abc\": must be sha256: and 64 hexadecimal digits",
        ],
    );
}

#[test]
fn a_policy_of_a_namespace_is_for_that_alone() {
    policy(
        "{namespaceSelector: {}}",
        &[
            "spec.namespaceSelector: Forbidden: an ImagePolicy is for its own namespace; use a ClusterImagePolicy for several",
        ],
    );
    cluster(
        "{namespaceSelector: {matchExpressions: [{key: a, operator: In}]}}",
        &[
            "spec.namespaceSelector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
        ],
    );
    check_update(
        Resource::ImagePolicy,
        "spec: {}",
        "spec: {digest: x}",
        &["spec.digest: Unsupported value: \"x\": supported values: \"Required\", \"Resolved\""],
    );
}
