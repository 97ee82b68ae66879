use super::super::create;
use super::{Resource, check, check_update, object};

const GROUP: &str = "rbac.authorization.k8s.io";

#[test]
fn rules() {
    let rule = |resource: Resource, rule: &str, expected: &[&str]| {
        check(resource, &format!("rules: [{rule}]"), expected);
    };
    for resource in [Resource::Role, Resource::ClusterRole] {
        check(resource, "", &[]);
        rule(
            resource,
            "{verbs: [get], apiGroups: ['', batch], resources: [jobs, pods/log], resourceNames: [a]}",
            &[],
        );
        rule(resource, "{verbs: ['*'], apiGroups: ['*'], resources: ['*']}", &[]);
        rule(
            resource,
            "{verbs: []}",
            &[
                "rules[0].verbs: Required value: verbs must contain at least one value",
                "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
                "rules[0].resources: Required value: resource rules must supply at least one resource",
            ],
        );
    }
    rule(Resource::ClusterRole, "{verbs: [get], nonResourceURLs: [/metrics, '/api/*']}", &[]);
    rule(
        Resource::Role,
        "{verbs: [get], nonResourceURLs: [/metrics]}",
        &[
            "rules[0].nonResourceURLs: Invalid value: [\"/metrics\"]: namespaced rules cannot apply to non-resource URLs",
        ],
    );
    rule(
        Resource::ClusterRole,
        "{verbs: [get], nonResourceURLs: [/metrics], resourceNames: [a]}",
        &[
            "rules[0].nonResourceURLs: Invalid value: [\"/metrics\"]: rules cannot apply to both regular resources and \
             non-resource URLs",
        ],
    );
}

#[test]
fn aggregation() {
    let check = |yaml: &str, expected: &[&str]| super::check(Resource::ClusterRole, yaml, expected);
    check("aggregationRule: {clusterRoleSelectors: [{matchLabels: {a: b}}]}", &[]);
    check(
        "aggregationRule: {}",
        &[
            "aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if \
             aggregationRule is non-nil",
        ],
    );
    check(
        "aggregationRule: {clusterRoleSelectors: [{matchExpressions: [{key: a, operator: Is}]}]}",
        &[
            "aggregationRule.clusterRoleSelectors[0].matchExpressions[0].operator: Invalid value: \"Is\": not a valid \
             selector operator",
        ],
    );
}

#[test]
fn names() {
    for name in ["system:aggregate-to-view", "Ada", "a b", "x_y"] {
        let mut role = object(Resource::ClusterRole, "");
        role["metadata"]["name"] = name.into();
        assert_eq!(create(Resource::ClusterRole, &role), [], "{name}");
    }
    let long = "a".repeat(254);
    for (name, wrong) in [
        ("..", "metadata.name: Invalid value: \"..\": may not be '..'"),
        ("a/b", "metadata.name: Invalid value: \"a/b\": may not contain '/'"),
        ("a%2Fb", "metadata.name: Invalid value: \"a%2Fb\": may not contain '%'"),
        (&long, "must be no more than 253 bytes"),
    ] {
        let mut role = object(Resource::Role, "");
        role["metadata"]["name"] = name.into();
        let found = create(Resource::Role, &role);
        assert!(found.len() == 1 && found[0].to_string().ends_with(wrong), "{found:?}");
    }
}

#[test]
fn bindings() {
    let good = "roleRef: {kind: ClusterRole, name: view}\nsubjects: [{kind: User, name: ada}, {kind: Group, name: g}]";
    check(Resource::RoleBinding, good, &[]);
    check(Resource::ClusterRoleBinding, good, &[]);
    check(Resource::RoleBinding, "roleRef: {kind: Role, name: r}", &[]);
    check(
        Resource::RoleBinding,
        "roleRef: {kind: Role, name: r}\nsubjects: [{kind: ServiceAccount, name: a}]",
        &[],
    );
    check(
        Resource::ClusterRoleBinding,
        "roleRef: {kind: Role, name: r}\nsubjects: [{kind: ServiceAccount, name: a}]",
        &[
            "roleRef.kind: Unsupported value: \"Role\": supported values: \"ClusterRole\"",
            "subjects[0].namespace: Required value",
        ],
    );
    check(
        Resource::RoleBinding,
        "roleRef: {apiGroup: x, kind: Robot, name: ''}",
        &[
            "roleRef.apiGroup: Unsupported value: \"x\": supported values: \"rbac.authorization.k8s.io\"",
            "roleRef.kind: Unsupported value: \"Robot\": supported values: \"Role\", \"ClusterRole\"",
            "roleRef.name: Required value",
        ],
    );
    check(
        Resource::RoleBinding,
        "roleRef: {kind: Role, name: a/b}\nsubjects:\n- {kind: Robot, name: r}\n- {kind: User, name: '', apiGroup: x}\n\
         - {kind: ServiceAccount, name: A, apiGroup: x}\n",
        &[
            "roleRef.name: Invalid value: \"a/b\": may not contain '/'",
            "subjects[0].kind: Unsupported value: \"Robot\": supported values: \"ServiceAccount\", \"User\", \"Group\"",
            "subjects[1].name: Required value",
            "subjects[1].name: Invalid value: \"\": user name cannot be empty",
            "subjects[1].apiGroup: Unsupported value: \"x\": supported values: \"rbac.authorization.k8s.io\"",
            "subjects[2].name: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case \
             alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. \
             'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            "subjects[2].apiGroup: Unsupported value: \"x\": supported values: \"\"",
        ],
    );
}

#[test]
fn a_binding_keeps_its_role() {
    for resource in [Resource::RoleBinding, Resource::ClusterRoleBinding] {
        let of = |role: &str, who: &str| {
            format!("roleRef: {{kind: ClusterRole, name: {role}}}\nsubjects: [{{kind: User, name: {who}}}]")
        };
        check_update(resource, &of("view", "ada"), &of("view", "bob"), &[]);
        let wrong = format!(
            "roleRef: Invalid value: {{\"kind\":\"ClusterRole\",\"name\":\"edit\",\"apiGroup\":\"{GROUP}\"}}: cannot \
             change roleRef"
        );
        check_update(resource, &of("view", "ada"), &of("edit", "ada"), &[&wrong]);
    }
}

#[test]
fn what_a_decision_looks_at_is_bounded() {
    let rule = r#"{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}"#;
    let many = |count: usize, one: &str| vec![one; count].join(",");
    let role = |yaml: String, expected: &[&str]| super::check(Resource::ClusterRole, &yaml, expected);
    role(format!("rules: [{}]", many(1024, rule)), &[]);
    role(format!("rules: [{}]", many(1025, rule)), &["rules: Too many: 1025: must have at most 1024 items"]);
    // Those that are gathered were bounded where they come from.
    role(
        format!(
            "aggregationRule: {{clusterRoleSelectors: [{{matchLabels: {{a: b}}}}]}}\nrules: [{}]",
            many(1025, rule)
        ),
        &[],
    );
    for list in ["verbs", "apiGroups", "resources", "resourceNames"] {
        let of = |words: &str| {
            let mut rule: serde_json::Value =
                serde_json::from_str(r#"{"verbs": ["a"], "apiGroups": ["a"], "resources": ["a"]}"#).unwrap();
            rule[list] = serde_json::from_str(&format!("[{words}]")).unwrap();
            format!("rules: [{rule}]")
        };
        role(of(&many(1024, r#""a""#)), &[]);
        let too_many = format!("rules[0].{list}: Too many: 1025: must have at most 1024 items");
        role(of(&many(1025, r#""a""#)), &[&too_many]);
        let too_long = format!("rules[0].{list}[0]: Too long: may not be more than 1024 bytes");
        role(of(&format!("{:?}", "a".repeat(1025))), &[&too_long]);
    }
    let of = |subjects: &str| {
        format!("roleRef: {{apiGroup: {GROUP}, kind: ClusterRole, name: r}}\nsubjects: [{subjects}]")
    };
    let user = |name: &str| format!("{{kind: User, apiGroup: {GROUP}, name: {name:?}}}");
    let binding =
        |yaml: String, expected: &[&str]| super::check(Resource::ClusterRoleBinding, &yaml, expected);
    binding(of(&many(4096, &user("a"))), &[]);
    binding(of(&many(4097, &user("a"))), &["subjects: Too many: 4097: must have at most 4096 items"]);
    binding(of(&user(&"a".repeat(1025))), &["subjects[0].name: Too long: may not be more than 1024 bytes"]);
}
