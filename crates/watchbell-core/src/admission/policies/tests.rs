//! Policies, bindings and parameters by what Kubernetes' documents say of them, and by the words of its API server.

mod bounds;

use std::sync::Arc;

use serde_json::{Value, json};
use watchbell_api::{Reason, Resource, defaults, validate};

use super::{
    Attributes, Binding, Budget, Chosen, Judgement, Operation, Place, Policy, Surroundings,
    expression_errors, judge, type_check,
};
use crate::access::Deed;
use crate::request::{DryRun, User};

/// A few objects, and an authorizer that lets `ada` create Jobs.
#[derive(Default)]
struct Files {
    policies: Vec<(Arc<Policy>, Vec<Arc<Binding>>)>,
    objects: Vec<(Resource, Value)>,
}

impl Surroundings for Files {
    fn policies(&self) -> Vec<(Arc<Policy>, Vec<Arc<Binding>>)> {
        self.policies.clone()
    }

    fn object(&self, resource: Resource, namespace: &str, name: &str) -> Option<Value> {
        let is_meant = |object: &&Value| {
            object["metadata"]["name"] == name
                && (namespace.is_empty() || object["metadata"]["namespace"] == namespace)
        };
        self.all(resource).find(is_meant).cloned()
    }

    fn chosen(&self, resource: Resource, namespace: Option<&str>, selector: &Value, max: usize) -> Chosen {
        let all = self.all(resource);
        let within =
            all.filter(|object| namespace.is_none_or(|wanted| object["metadata"]["namespace"] == wanted));
        let chosen = within.filter(|object| validate::selects(selector, &object["metadata"]["labels"]));
        let text = |value: &Value| value.as_str().unwrap_or_default().into();
        let places = chosen.take(max).map(|object| Place {
            namespace: text(&object["metadata"]["namespace"]),
            name: text(&object["metadata"]["name"]),
        });
        Chosen { places: places.collect(), looked: self.objects.len() }
    }

    fn decide(&self, user: &User, deed: &Deed<'_>) -> (bool, String) {
        let allowed =
            user.name == "ada" && matches!(deed, Deed::Resource { verb: "create", resource: "jobs", .. });
        (allowed, if allowed { "RBAC: allowed".into() } else { String::new() })
    }
}

impl Files {
    fn all(&self, resource: Resource) -> impl Iterator<Item = &Value> {
        self.objects.iter().filter(move |(of, _)| *of == resource).map(|(_, object)| object)
    }
}

/// A policy about new and changed pods and Jobs with these fields in its spec, as it would be stored.
fn policy(spec: Value) -> Value {
    let mut whole = json!({
        "matchConstraints": {"resourceRules": [{
            "apiGroups": ["", "batch"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
            "resources": ["pods", "jobs"],
        }]},
    });
    for (field, value) in spec.as_object().into_iter().flatten() {
        whole[field] = value.clone();
    }
    let mut object = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "p"}, "spec": whole,
    });
    defaults::apply(Resource::ValidatingAdmissionPolicy, &mut object);
    object
}

fn binding(spec: Value) -> Value {
    let mut whole = json!({"policyName": "p", "validationActions": ["Deny"]});
    for (field, value) in spec.as_object().into_iter().flatten() {
        whole[field] = value.clone();
    }
    let mut object = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "b"}, "spec": whole,
    });
    defaults::apply(Resource::ValidatingAdmissionPolicyBinding, &mut object);
    object
}

fn files(policy: Value, bindings: &[Value]) -> Files {
    let errors: Vec<String> = validate::create(Resource::ValidatingAdmissionPolicy, &policy)
        .iter()
        .chain(&expression_errors(&policy))
        .map(ToString::to_string)
        .collect();
    assert_eq!(errors, Vec::<String>::new());
    let bindings = bindings.iter().map(|binding| Arc::new(Binding::read(binding))).collect();
    let namespace = |name: &str, labels: Value| {
        let object =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        (Resource::Namespace, object)
    };
    Files {
        policies: vec![(Arc::new(Policy::read(&policy)), bindings)],
        objects: vec![namespace("ml", json!({"env": "prod"})), namespace("dev", json!({"env": "dev"}))],
    }
}

fn pod(name: &str, namespace: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": "train"}},
        "spec": {"containers": [{"name": "main", "image": "example.com/train:v1"}], "priority": 7},
    })
}

/// `ada` creates the pod.
fn create(files: &Files, pod: &Value) -> Judgement {
    let user = User { name: "ada".into(), groups: vec!["ml-team".into()], ..User::default() };
    let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default();
    let attributes = Attributes {
        namespace: text("namespace"),
        name: text("name"),
        object: Some(pod),
        ..Attributes::new(Operation::Create, Resource::Pod, &user)
    };
    judge(&attributes, files, &mut Budget::default())
}

fn denied(spec: Value, expect: Option<&str>) {
    let shown = spec.to_string();
    let files = files(policy(spec), &[binding(json!({}))]);
    let denial = create(&files, &pod("a", "ml")).denial.map(|denial| denial.message);
    assert_eq!(denial.as_deref(), expect, "{shown}");
}

const WITH: &str = "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: ";

#[test]
fn the_message_is_made_then_written_then_the_expression() {
    let words = |text: &str| format!("{WITH}{text}");
    let validation = |validation: Value| json!({"validations": [validation]});
    denied(validation(json!({"expression": "object.spec.priority < 10"})), None);
    denied(
        validation(json!({"expression": " object.spec.priority > 10 "})),
        Some(&words("failed expression: object.spec.priority > 10")),
    );
    denied(
        validation(json!({"expression": "object.spec.priority > 10", "message": " too low "})),
        Some(&words("too low")),
    );
    let made = "'priority is ' + string(object.spec.priority)";
    denied(
        validation(
            json!({"expression": "object.spec.priority > 10", "message": "low", "messageExpression": made}),
        ),
        Some(&words("priority is 7")),
    );
    for useless in ["'  '", "'a\\nb'", "object.spec.none.text + ''", "'x'.replace('x', 'y') == 'y' ? '' : ''"]
    {
        denied(
            validation(
                json!({"expression": "object.spec.priority > 10", "message": "low", "messageExpression": useless}),
            ),
            Some(&words("low")),
        );
    }
}

#[test]
fn an_expression_without_a_value_is_as_failure_policy_has_it() {
    let broken = json!([{"expression": "object.spec.none > 1"}]);
    let why = format!("{WITH}expression 'object.spec.none > 1' resulted in error: no such key: none");
    denied(json!({"validations": broken}), Some(&why));
    denied(json!({"validations": broken, "failurePolicy": "Ignore"}), None);
    // The other validations count all the same.
    let both = json!([{"expression": "object.spec.none > 1"}, {"expression": "false", "message": "no"}]);
    denied(json!({"validations": both, "failurePolicy": "Ignore"}), Some(&format!("{WITH}no")));
}

#[test]
fn the_first_refusal_decides_with_its_reason() {
    for (reason, expect) in [
        (Value::Null, Reason::Invalid),
        (json!("Forbidden"), Reason::Forbidden),
        (json!("RequestEntityTooLarge"), Reason::RequestEntityTooLarge),
    ] {
        let mut first = json!({"expression": "false", "message": "first"});
        if !reason.is_null() {
            first["reason"] = reason;
        }
        let validations =
            json!([{"expression": "true"}, first, {"expression": "false", "message": "second"}]);
        let files = files(policy(json!({"validations": validations})), &[binding(json!({}))]);
        let denial = create(&files, &pod("a", "ml")).denial.expect("refused");
        assert_eq!((denial.reason, denial.message.as_str()), (expect, format!("{WITH}first").as_str()));
        let error = denial.into_error(Resource::Pod, "a");
        assert_eq!(error.message, format!("pods \"a\" is forbidden: {WITH}first"));
        assert_eq!(error.reason, expect);
        assert_eq!(error.causes[0].message, format!("{WITH}first"));
    }
}

#[test]
fn actions_deny_warn_and_note() {
    let validations =
        json!({"validations": [{"expression": "true"}, {"expression": "false", "message": "no"}]});
    let judged = |actions: Value| {
        let files = files(policy(validations.clone()), &[binding(json!({"validationActions": actions}))]);
        create(&files, &pod("a", "ml"))
    };
    let warned = judged(json!(["Warn"]));
    assert_eq!(warned.denial, None);
    assert_eq!(warned.warnings, ["Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': no"]);
    let noted = judged(json!(["Audit", "Warn"]));
    assert_eq!(noted.warnings.len(), 1);
    let expect = json!([{
        "message": "no", "policy": "p", "binding": "b", "expressionIndex": 1, "validationActions": ["Audit", "Warn"],
    }]);
    assert_eq!(
        noted.annotations,
        [("validation.policy.admission.k8s.io/validation_failure".to_owned(), expect.to_string())]
    );
    let denied = judged(json!(["Deny", "Audit"]));
    assert!(denied.denial.is_some() && denied.annotations.len() == 1 && denied.warnings.is_empty());
}

#[test]
fn without_a_binding_nothing_is_judged() {
    let files = files(policy(json!({"validations": [{"expression": "false"}]})), &[]);
    assert_eq!(create(&files, &pod("a", "ml")), Judgement::default());
}

#[test]
fn conditions_decide_whether_a_request_is_judged() {
    let judged = |conditions: Value, failure: &str| {
        let spec = json!({
            "matchConditions": conditions, "validations": [{"expression": "false", "message": "no"}],
            "failurePolicy": failure,
        });
        let files = files(policy(spec), &[binding(json!({}))]);
        create(&files, &pod("a", "ml")).denial.map(|denial| denial.message)
    };
    let condition = |name: &str, expression: &str| json!({"name": name, "expression": expression});
    let yes = condition("yes", "request.userInfo.username == 'ada' && 'ml-team' in request.userInfo.groups");
    let no = condition("no", "request.operation == 'DELETE'");
    let broken = condition("broken", "object.none == 1");
    assert_eq!(judged(json!([yes]), "Fail"), Some(format!("{WITH}no")));
    assert_eq!(judged(json!([yes, no]), "Fail"), None);
    // One that does not hold wins over an error.
    assert_eq!(judged(json!([broken, no]), "Fail"), None);
    assert_eq!(
        judged(json!([broken, yes]), "Fail"),
        Some(format!("{WITH}expression 'object.none == 1' resulted in error: no such key: none"))
    );
    assert_eq!(judged(json!([broken, yes]), "Ignore"), None);
}

#[test]
fn rules_and_selectors_say_what_it_is_about() {
    let is_about = |constraints: Value, bound: Value, pod: &Value| {
        let mut whole = policy(json!({"validations": [{"expression": "false"}]}));
        for (field, value) in constraints.as_object().into_iter().flatten() {
            whole["spec"]["matchConstraints"][field] = value.clone();
        }
        defaults::apply(Resource::ValidatingAdmissionPolicy, &mut whole);
        let files = files(whole, &[binding(bound)]);
        create(&files, pod).denial.is_some()
    };
    let rule = |change: Value| {
        let mut rule = json!({
            "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"],
        });
        for (field, value) in change.as_object().into_iter().flatten() {
            rule[field] = value.clone();
        }
        json!([rule])
    };
    let pod_a = pod("a", "ml");
    for (change, expect) in [
        (json!({}), true),
        (json!({"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}), true),
        (json!({"resources": ["*/*"]}), true),
        (json!({"resources": ["pods/*"]}), true),
        (json!({"resources": ["pods/status"]}), false),
        (json!({"resources": ["jobs"]}), false),
        (json!({"apiGroups": ["batch"]}), false),
        (json!({"apiVersions": ["v2"]}), false),
        (json!({"operations": ["UPDATE", "DELETE", "CONNECT"]}), false),
        (json!({"scope": "Namespaced"}), true),
        (json!({"scope": "Cluster"}), false),
        (json!({"resourceNames": ["a"]}), true),
        (json!({"resourceNames": ["b"]}), false),
    ] {
        assert_eq!(
            is_about(json!({"resourceRules": rule(change.clone())}), json!({}), &pod_a),
            expect,
            "{change}"
        );
    }
    let excluded = json!({"excludeResourceRules": rule(json!({"resourceNames": ["a"]}))});
    assert!(!is_about(excluded.clone(), json!({}), &pod_a) && is_about(excluded, json!({}), &pod("b", "ml")));
    let prod = json!({"namespaceSelector": {"matchLabels": {"env": "prod"}}});
    assert!(is_about(prod.clone(), json!({}), &pod_a) && !is_about(prod, json!({}), &pod("a", "dev")));
    let app = json!({"objectSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["train"]}]}});
    assert!(is_about(app.clone(), json!({}), &pod_a));
    let mut other = pod("a", "ml");
    other["metadata"]["labels"]["app"] = "serve".into();
    assert!(!is_about(app, json!({}), &other));
    // A binding narrows it down.
    let bound = json!({"matchResources": {"namespaceSelector": {"matchLabels": {"env": "dev"}}}});
    assert!(!is_about(json!({}), bound.clone(), &pod_a) && is_about(json!({}), bound, &pod("a", "dev")));
}

#[test]
fn parameters_come_from_objects() {
    let spec = json!({
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "validations": [{
            "expression": "object.spec.priority <= int(params.data.max)",
            "messageExpression": "'at most ' + params.data.max",
        }],
    });
    let map = |name: &str, namespace: &str, max: &str| {
        (
            Resource::ConfigMap,
            json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": name, "namespace": namespace, "labels": {"limits": "yes"}}, "data": {"max": max},
            }),
        )
    };
    let judged = |reference: Value, objects: Vec<(Resource, Value)>| {
        let mut files = files(policy(spec.clone()), &[binding(json!({"paramRef": reference}))]);
        files.objects.extend(objects);
        create(&files, &pod("a", "ml")).denial.map(|denial| denial.message)
    };
    let by_name = json!({"name": "limits"});
    assert_eq!(judged(by_name.clone(), vec![map("limits", "ml", "9")]), None);
    assert_eq!(judged(by_name.clone(), vec![map("limits", "ml", "3")]), Some(format!("{WITH}at most 3")));
    // Of another namespace only when that is said.
    let missing = format!(
        "{WITH}failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
    );
    assert_eq!(judged(by_name, vec![map("limits", "dev", "9")]), Some(missing.clone()));
    let there = json!({"name": "limits", "namespace": "dev"});
    assert_eq!(judged(there, vec![map("limits", "dev", "9")]), None);
    assert_eq!(judged(json!({"name": "none", "parameterNotFoundAction": "Allow"}), vec![]), None);
    let by_label = json!({"selector": {"matchLabels": {"limits": "yes"}}});
    let both = vec![map("one", "ml", "9"), map("two", "ml", "5")];
    assert_eq!(judged(by_label.clone(), both), Some(format!("{WITH}at most 5")));
    assert_eq!(judged(by_label, vec![]), Some(missing));
}

#[test]
fn a_kind_of_parameters_that_is_not_served_is_a_mistake_of_the_policy() {
    let spec = json!({
        "paramKind": {"apiVersion": "rules.example.com/v1", "kind": "ReplicaLimit"},
        "validations": [{"expression": "params == null"}],
    });
    let why = "ValidatingAdmissionPolicy 'p' denied request: failed to configure policy: failed to find resource referenced by \
               paramKind: 'rules.example.com/v1, Kind=ReplicaLimit'";
    denied(spec.clone(), Some(why));
    let mut ignored = spec;
    ignored["failurePolicy"] = "Ignore".into();
    denied(ignored, None);
}

#[test]
fn variables_are_composed() {
    denied(
        json!({
            "variables": [
                {"name": "images", "expression": "object.spec.containers.map(c, c.image)"},
                {"name": "foreign", "expression": "variables.images.filter(i, !i.startsWith('example.com/'))"},
            ],
            "validations": [{
                "expression": "variables.foreign.size() == 0",
                "messageExpression": "'not from example.com: ' + variables.foreign.join(', ')",
            }],
        }),
        None,
    );
    denied(
        json!({
            "variables": [{"name": "images", "expression": "object.spec.containers.map(c, c.image)"}],
            "validations": [{
                "expression": "variables.images.all(i, i.contains('@sha256:'))",
                "messageExpression": "'without a digest: ' + variables.images.join(', ')",
            }],
        }),
        Some(&format!("{WITH}without a digest: example.com/train:v1")),
    );
}

#[test]
fn expressions_see_the_request_the_namespace_and_the_authorizer() {
    for expression in [
        "request.operation == 'CREATE' && request.resource.resource == 'pods' && request.kind.kind == 'Pod'",
        "request.name == 'a' && request.namespace == 'ml' && request.dryRun == false && oldObject == null",
        "request.options.kind == 'CreateOptions' && !has(request.subResource)",
        "namespaceObject.metadata.name == 'ml' && namespaceObject.metadata.labels.env == 'prod'",
        "authorizer.group('batch').resource('jobs').namespace('ml').check('create').allowed()",
        "!authorizer.serviceAccount('ml', 'default').group('batch').resource('jobs').check('create').allowed()",
        "!authorizer.requestResource.check('create').allowed()",
        "authorizer.group('batch').resource('jobs').check('create').reason() == 'RBAC: allowed'",
    ] {
        denied(json!({"validations": [{"expression": expression}]}), None);
    }
}

#[test]
fn annotations_are_written_under_the_name_of_the_policy() {
    let judged = |value: &str, failure: &str| {
        let spec = json!({"auditAnnotations": [{"key": "seen", "valueExpression": value}], "failurePolicy": failure});
        let mut one = binding(json!({}));
        one["metadata"]["name"] = "b2".into();
        create(&files(policy(spec), &[binding(json!({})), one]), &pod("a", "ml"))
    };
    // Both bindings say the same: it is said once.
    let noted = judged("'image ' + object.spec.containers[0].image", "Fail");
    assert_eq!(noted.annotations, [("p/seen".to_owned(), "image example.com/train:v1".to_owned())]);
    assert_eq!(judged("has(object.spec.none) ? 'x' : ''", "Fail"), Judgement::default());
    assert_eq!(judged("' '", "Fail"), Judgement::default());
    let failed = judged("object.none + ''", "Fail");
    assert_eq!(
        failed.denial.expect("refused").message,
        format!("{WITH}expression 'object.none + ''' resulted in error: no such key: none")
    );
    assert_eq!(judged("object.none + ''", "Ignore"), Judgement::default());
    let dear = "string(lists.range(1000).all(x, lists.range(1000).all(y, x + y >= 0)))";
    assert_eq!(judged(dear, "Ignore"), Judgement::default());
}

#[test]
fn the_budget_of_a_policy_ends_it() {
    // Each below the limit of one expression, together above that of a policy.
    let dear = json!({"expression": "lists.range(30000).all(x, lists.range(3).all(y, y < 3 || x < 0))"});
    let validations = Value::from(vec![dear; 60]);
    let why = "validation failed due to running out of cost budget, no further validation rules will be run";
    denied(json!({"validations": validations}), Some(&format!("{WITH}{why}")));
    denied(json!({"validations": validations, "failurePolicy": "Ignore"}), None);
    let endless = "lists.range(1000).all(x, lists.range(1000).all(y, x + y >= 0))";
    denied(
        json!({"validations": [{"expression": endless}]}),
        Some(&format!(
            "{WITH}expression '{endless}' resulted in error: operation cancelled: actual cost limit exceeded"
        )),
    );
}

#[test]
fn policies_do_not_judge_policies() {
    let mut whole = policy(json!({"validations": [{"expression": "false"}]}));
    whole["spec"]["matchConstraints"]["resourceRules"] = json!([{
        "apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"],
    }]);
    let files = files(whole, &[binding(json!({}))]);
    let (user, object) = (User::default(), json!({"metadata": {"name": "x"}}));
    let judged = |resource| {
        let attributes = Attributes {
            object: Some(&object),
            dry_run: DryRun::All,
            ..Attributes::new(Operation::Create, resource, &user)
        };
        judge(&attributes, &files, &mut Budget::default()).denial.is_some()
    };
    assert!(judged(Resource::PriorityClass));
    assert!(!judged(Resource::ValidatingAdmissionPolicy));
    assert!(!judged(Resource::ValidatingAdmissionPolicyBinding));
}

#[test]
fn mistakes_in_expressions_are_told_with_their_place() {
    let object = policy(json!({
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "matchConditions": [{"name": "m", "expression": "variables.x"}],
        "variables": [{"name": "if", "expression": "1"}, {"name": "x", "expression": "nope"}],
        "validations": [
            {"expression": "object.spec.replicas"},
            {"expression": "variables.x == 1", "messageExpression": "authorizer == null"},
            {"expression": "frobnicate(object)", "messageExpression": "1"},
        ],
        "auditAnnotations": [{"key": "k", "valueExpression": "true"}],
    }));
    let found: Vec<String> = expression_errors(&object).iter().map(ToString::to_string).collect();
    let at = |expression: &str, column: usize, why: &str| {
        format!(
            "compilation failed: ERROR: <input>:1:{column}: {why}\n | {expression}\n | {}^",
            ".".repeat(column - 1)
        )
    };
    let expect = [
        format!(
            "spec.matchConditions[0].expression: Invalid value: \"variables.x\": {}",
            at("variables.x", 1, "undeclared reference to 'variables' (in container '')")
        ),
        format!(
            "spec.variables[1].expression: Invalid value: \"nope\": {}",
            at("nope", 1, "undeclared reference to 'nope' (in container '')")
        ),
        "spec.validations[0].expression: Invalid value: \"object.spec.replicas\": must evaluate to bool but got dyn".into(),
        format!(
            "spec.validations[1].messageExpression: Invalid value: \"authorizer == null\": {}",
            at("authorizer == null", 1, "undeclared reference to 'authorizer' (in container '')")
        ),
        format!(
            "spec.validations[2].expression: Invalid value: \"frobnicate(object)\": {}",
            at("frobnicate(object)", 11, "undeclared reference to 'frobnicate' (in container '')")
        ),
        "spec.validations[2].messageExpression: Invalid value: \"1\": must evaluate to string but got int".into(),
        "spec.auditAnnotations[0].valueExpression: Invalid value: \"true\": must evaluate to one of [string null_type] but got \
         bool"
            .into(),
        "spec.variables[0].name: Invalid value: \"if\": name is not a valid CEL identifier".into(),
    ];
    assert_eq!(found, expect);
}

#[test]
fn the_rest_of_a_policy_is_checked_with_kubernetes_words() {
    let wrong = |resource: Resource, object: &Value| -> Vec<String> {
        validate::create(resource, object).iter().map(ToString::to_string).collect()
    };
    let mut object = policy(json!({"validations": []}));
    object["spec"]["failurePolicy"] = "Maybe".into();
    object["spec"]["matchConstraints"]["resourceRules"] = json!([{
        "apiGroups": [], "apiVersions": ["*", "v1"], "operations": ["CREATE", "*", "PATCH"],
        "resources": ["*", "pods", "pods/*", "pods/log"], "scope": "Galaxy",
    }]);
    let rule = "spec.matchConstraints.resourceRules[0]";
    assert_eq!(
        wrong(Resource::ValidatingAdmissionPolicy, &object),
        [
            "spec.failurePolicy: Unsupported value: \"Maybe\": supported values: \"Fail\", \"Ignore\"".to_owned(),
            format!(
                "{rule}.operations: Invalid value: [\"CREATE\",\"*\",\"PATCH\"]: if '*' is present, must not specify other \
                 operations"
            ),
            format!(
                "{rule}.operations[2]: Unsupported value: \"PATCH\": supported values: \"*\", \"CONNECT\", \"CREATE\", \
                 \"DELETE\", \"UPDATE\""
            ),
            format!("{rule}.apiGroups: Required value"),
            format!(
                "{rule}.apiVersions: Invalid value: [\"*\",\"v1\"]: if '*' is present, must not specify other API versions"
            ),
            format!("{rule}.resources[3]: Invalid value: \"pods/log\": if 'pods/*' is present, must not specify pods/log"),
            format!(
                "{rule}.resources: Invalid value: [\"*\",\"pods\",\"pods/*\",\"pods/log\"]: if '*' is present, must not \
                 specify other resources without subresources"
            ),
            format!("{rule}.scope: Unsupported value: \"Galaxy\": supported values: \"*\", \"Cluster\", \"Namespaced\""),
            "spec.validations: Required value: validations or auditAnnotations must contain at least one item".into(),
            "spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item".into(),
        ]
    );
    let bad = binding(json!({
        "policyName": "", "validationActions": ["Deny", "Warn", "Deny"], "paramRef": {"name": "x", "selector": {}},
    }));
    assert_eq!(
        wrong(Resource::ValidatingAdmissionPolicyBinding, &bad),
        [
            "spec.policyName: Required value",
            "spec.paramRef.name: Forbidden: name and selector are mutually exclusive",
            "spec.paramRef.selector: Forbidden: name and selector are mutually exclusive",
            "spec.validationActions[2]: Duplicate value: \"Deny\"",
            "spec.validationActions: Invalid value: [\"Deny\",\"Warn\",\"Deny\"]: must not contain both Deny and Warn \
             (repeating the same validation failure information in the API response and headers serves no purpose)",
        ]
    );
}

#[test]
fn types_are_checked_by_the_schemas_of_the_kinds_that_are_named() {
    let fine = policy(json!({"validations": [{"expression": "object.metadata.name != ''"}]}));
    assert_eq!(type_check(&fine), json!({}));
    let typo = policy(json!({"validations": [{"expression": "object.spec.hostNetwrk == true"}]}));
    let checked = type_check(&typo);
    let warning = &checked["expressionWarnings"][0];
    assert_eq!(warning["fieldRef"], "spec.validations[0].expression");
    let text = warning["warning"].as_str().unwrap();
    assert!(
        text.starts_with(
            "v1, Kind=Pod: ERROR: <input>:1:12: undefined field 'hostNetwrk'\n | object.spec.hostNetwrk"
        ),
        "{text}"
    );
    assert!(text.contains("\nbatch/v1, Kind=Job: ERROR"), "{text}");
    // A wildcard names no kind.
    let mut wild = typo;
    wild["spec"]["matchConstraints"]["resourceRules"][0]["resources"] = json!(["*"]);
    assert_eq!(type_check(&wild), json!({}));
}

#[test]
fn a_namespace_is_read_once_for_a_request_and_not_beyond_its_bound() {
    let spec = json!({"failurePolicy": "Ignore", "validations": [{"expression": "namespaceObject != null"}]});
    let files = files(policy(spec), &[binding(json!({"validationActions": ["Deny"]}))]);
    let (pod, user) = (pod("p", "ml"), User::default());
    let judged = |budget: &mut Budget| {
        let attributes = Attributes {
            namespace: "ml",
            object: Some(&pod),
            ..Attributes::new(Operation::Create, Resource::Pod, &user)
        };
        judge(&attributes, &files, budget).denial
    };
    let mut budget = Budget::default();
    let before = budget.read;
    assert_eq!((judged(&mut budget), judged(&mut budget)), (None, None));
    let spent = before - budget.read;
    assert!(spent > 0);
    let mut budget = Budget { read: spent, ..Budget::default() };
    assert_eq!((judged(&mut budget), judged(&mut budget)), (None, None), "read once");
    // A bound of our own refuses, whatever failurePolicy says.
    let mut budget = Budget { read: spent - 1, ..Budget::default() };
    let message = judged(&mut budget).unwrap().message;
    assert!(message.contains("comes to more than 256 MiB"), "{message}");
}
