//! What policies may use up and say together, and that a bound of our own never lets anything through.

use std::cell::Cell;

use serde_json::{Value, json};
use watchbell_api::Resource;

use super::super::run::USED_UP;
use super::super::{Attributes, Budget, Operation, VALIDATION_FAILURE, judge};
use super::{Files, WITH, binding, create, files, pod, policy};
use crate::access::Deed;
use crate::admission::policies::{Binding, Chosen, Judgement, Place, Policy, Surroundings};
use crate::request::User;

/// Two checks of the authorizer: 700,000, and hardly any work.
const DEAR: &str = "!authorizer.group('').resource('a').check('get').allowed() && \
                    !authorizer.group('').resource('b').check('get').allowed()";

fn dear(count: usize) -> Value {
    Value::from(vec![json!({"expression": DEAR}); count])
}

fn with_limits(spec: Value, count: usize) -> Files {
    let mut whole =
        json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}, "failurePolicy": "Ignore"});
    for (field, value) in spec.as_object().into_iter().flatten() {
        whole[field] = value.clone();
    }
    let by_label =
        json!({"paramRef": {"selector": {"matchLabels": {"limits": "yes"}}}, "validationActions": ["Deny"]});
    let mut files = files(policy(whole), &[binding(by_label)]);
    files.objects.extend((0..count).map(|n| {
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": format!("c{n:05}"), "namespace": "ml", "labels": {"limits": "yes"}},
        });
        (Resource::ConfigMap, map)
    }));
    files
}

fn denial(files: &Files) -> Option<String> {
    create(files, &pod("a", "ml")).denial.map(|denial| denial.message)
}

#[test]
fn who_overlooks_failures_overlooks_no_bound_that_a_cluster_does_not_have() {
    let fine = json!({"validations": [{"expression": "true"}]});
    assert_eq!(denial(&with_limits(fine.clone(), 1_000)), None);
    let many = denial(&with_limits(fine, 1_001)).expect("refused");
    assert!(many.ends_with("paramRef.selector chooses more than 1000 objects"), "{many}");
    // Kubernetes' own limits are overlooked as there, those of work and memory are not.
    let judged = |expression: &str| {
        let spec = json!({"validations": [{"expression": expression}], "failurePolicy": "Ignore"});
        denial(&files(policy(spec), &[binding(json!({}))]))
    };
    assert_eq!(judged("lists.range(1000).all(x, lists.range(1000).all(y, x + y >= 0))"), None);
    let why = judged("[lists.range(60000)].all(l, lists.range(60000).all(x, l == l))").expect("refused");
    assert!(why.ends_with("operation cancelled: the expression compares or copies too much"), "{why}");
    let conditions = json!({
        "matchConditions": [
            {"name": "large", "expression": "[lists.range(60000)].all(l, lists.range(60000).all(x, l == l))"},
        ],
        "validations": [{"expression": "true"}], "failurePolicy": "Ignore",
    });
    let why = denial(&files(policy(conditions), &[binding(json!({}))])).expect("refused");
    assert!(why.ends_with("compares or copies too much"), "{why}");
    let notes = json!({
        "auditAnnotations": [{"key": "k", "valueExpression": "lists.range(1000000000).map(x, string(x)).join()"}],
        "failurePolicy": "Ignore",
    });
    assert!(denial(&files(policy(notes), &[binding(json!({}))])).is_some());
}

#[test]
fn a_request_pays_once_for_all_its_policies_and_objects() {
    // Each parameter object is below what a policy may cost; together they are above what a request may.
    let files = with_limits(json!({"validations": dear(14)}), 6);
    assert_eq!(denial(&files), Some(format!("{WITH}{USED_UP}")));
    let files = with_limits(json!({"validations": dear(14)}), 5);
    assert_eq!(denial(&files), None);
    // So are several objects of one request.
    let files = self::files(policy(json!({"validations": dear(14)})), &[binding(json!({}))]);
    let (user, object) = (User::default(), pod("a", "ml"));
    let attributes = Attributes {
        namespace: "ml",
        object: Some(&object),
        ..Attributes::new(Operation::Create, Resource::Pod, &user)
    };
    let mut budget = Budget::default();
    let mut denied = Vec::new();
    for _ in 0..6 {
        denied.push(judge(&attributes, &files, &mut budget).denial.is_some());
    }
    assert_eq!(denied, [false, false, false, false, false, true]);
    assert!(budget.is_used_up());
}

/// Parameter objects of a megabyte each, made when they are asked for.
struct Large {
    files: Files,
    read: Cell<usize>,
}

impl Surroundings for Large {
    fn policies(&self) -> Vec<(std::sync::Arc<Policy>, Vec<std::sync::Arc<Binding>>)> {
        self.files.policies()
    }

    fn object(&self, resource: Resource, namespace: &str, name: &str) -> Option<Value> {
        if resource != Resource::ConfigMap {
            return self.files.object(resource, namespace, name);
        }
        self.read.set(self.read.get() + 1);
        Some(
            json!({"metadata": {"name": name, "namespace": namespace}, "data": {"text": "x".repeat(1 << 20)}}),
        )
    }

    fn chosen(&self, _: Resource, _: Option<&str>, _: &Value, max: usize) -> Chosen {
        let place = |n: usize| Place { namespace: "ml".into(), name: format!("c{n}").into() };
        Chosen { places: (0..max.min(1_000)).map(place).collect(), looked: 1_000 }
    }

    fn decide(&self, user: &User, deed: &Deed<'_>) -> (bool, String) {
        self.files.decide(user, deed)
    }
}

#[test]
fn parameters_are_read_one_by_one_and_no_more_than_is_allowed() {
    let files = with_limits(json!({"validations": [{"expression": "size(params.data.text) > 0"}]}), 0);
    let large = Large { files, read: Cell::new(0) };
    let (user, object) = (User::default(), pod("a", "ml"));
    let attributes = Attributes {
        namespace: "ml",
        object: Some(&object),
        ..Attributes::new(Operation::Create, Resource::Pod, &user)
    };
    let denial = judge(&attributes, &large, &mut Budget::default()).denial.expect("refused");
    assert!(
        denial.message.ends_with("what is read for the policies of one request comes to more than 256 MiB"),
        "{}",
        denial.message
    );
    assert_eq!(large.read.get(), 256);
}

#[test]
fn what_is_said_is_bounded() {
    let long = "long ".repeat(20_000);
    let spec = json!({
        "validations": vec![json!({"expression": "false", "message": long}); 20],
        "auditAnnotations": (0..20)
            .map(|n| json!({"key": format!("k{n}"), "valueExpression": "'y' + object.metadata.name.replace('a', 'z')"}))
            .collect::<Vec<_>>(),
    });
    let both = json!({"validationActions": ["Warn", "Audit"]});
    let mut files = files(policy(spec.clone()), &[binding(both.clone())]);
    // Several of them, as many as one likes.
    files.policies = (0..50)
        .map(|n| {
            let mut one = policy(spec.clone());
            one["metadata"]["name"] = format!("p{n}.{}", "x".repeat(200)).into();
            (Policy::read(&one).into(), vec![Binding::read(&binding(both.clone())).into()])
        })
        .collect();
    let Judgement { denial, warnings, annotations } = create(&files, &pod("a", "ml"));
    assert_eq!(denial, None);
    assert_eq!(warnings.len(), 17);
    assert_eq!(warnings[16], "984 more failures of policies are not shown");
    assert!(warnings.iter().all(|warning| warning.len() < 1_100));
    let bytes: usize = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    assert!(bytes < 48_000, "{bytes}");
    let value =
        |wanted: &str| annotations.iter().find(|(key, _)| key == wanted).expect("is there").1.as_str();
    let failures: Value = serde_json::from_str(value(VALIDATION_FAILURE)).unwrap();
    assert_eq!(failures.as_array().unwrap().len(), 17);
    assert_eq!(failures[16], json!({"message": "984 more are left out"}));
    let left_out: usize = value("policies.watchbell.dev/annotations-left-out").parse().unwrap();
    assert_eq!(left_out + annotations.len() - 2, 50 * 20);
    // A refusal too.
    let mut denying = policy(json!({"validations": [{"expression": "false", "message": long}]}));
    denying["metadata"]["name"] = "p".into();
    let message = self::denial(&self::files(denying, &[binding(json!({}))])).expect("refused");
    assert!(message.len() < 9_000 && message.ends_with('…'), "{}", message.len());
}

#[test]
fn an_event_is_judged_in_the_form_that_a_policy_knows() {
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "ml"},
        "involvedObject": {"kind": "Job", "name": "train"}, "message": "it ran", "reason": "Ran", "type": "Normal",
    });
    let user = User::default();
    let judged = |group: &str, matching: &str, expression: &str| {
        let mut whole = policy(json!({"validations": [{"expression": expression}]}));
        whole["spec"]["matchConstraints"]["matchPolicy"] = matching.into();
        whole["spec"]["matchConstraints"]["resourceRules"] = json!([{
            "apiGroups": [group], "apiVersions": ["v1"], "operations": ["DELETE"], "resources": ["events"],
        }]);
        let files = files(whole, &[binding(json!({}))]);
        let attributes = Attributes {
            namespace: "ml",
            name: "e",
            old: Some(&event),
            ..Attributes::new(Operation::Delete, Resource::Event, &user)
        };
        judge(&attributes, &files, &mut Budget::default()).denial.map(|denial| denial.message)
    };
    for matching in ["Equivalent", "Exact"] {
        assert!(judged("", matching, "oldObject.involvedObject.name != 'train'").is_some());
        assert_eq!(
            judged("", matching, "oldObject.message == 'it ran' && request.resource.group == ''"),
            None
        );
        assert!(judged("events.k8s.io", matching, "oldObject.regarding.name != 'train'").is_some());
        let fine = "oldObject.note == 'it ran' && request.resource.group == 'events.k8s.io'";
        assert_eq!(judged("events.k8s.io", matching, fine), None);
    }
    // Of both groups it is judged once, as it is stored.
    assert_eq!(judged("*", "Equivalent", "oldObject.message == 'it ran'"), None);
}

#[test]
fn patterns_of_a_policy_are_bounded_together() {
    let each = |from: usize| -> String {
        let each: Vec<String> =
            (from..from + 50).map(|n| format!("object.metadata.name.matches('^a{n}$')")).collect();
        each.join(" || ")
    };
    let spec = |count: usize| {
        let list: Vec<Value> = (0..count).map(|n| json!({"expression": each(n * 50)})).collect();
        policy(json!({"validations": list}))
    };
    assert_eq!(super::expression_errors(&spec(2)), []);
    let errors = super::expression_errors(&spec(4));
    assert!(errors.iter().any(|error| error.to_string().contains("are too large")), "{errors:?}");
    // One that was stored all the same refuses what it is about, and holds no more of them.
    let broken = Policy::read(&spec(4)).broken().expect("it cannot run");
    assert!(broken.contains("are too large"), "{broken}");
}
