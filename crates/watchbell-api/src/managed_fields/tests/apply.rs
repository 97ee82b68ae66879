//! Server-side apply: Kubernetes' documented cases.

use super::super::{apply as apply_to, fields_of};
use super::*;

/// An object that lives through applications.
struct Life {
    object: Option<Value>,
    managed: Vec<Entry>,
}

impl Life {
    fn new() -> Life {
        Life { object: None, managed: Vec::new() }
    }

    fn try_apply(&mut self, manager: &str, config: Value, force: Force) -> Result<(), String> {
        let (resource, live) = (Resource::Job, self.object.as_ref());
        match apply_to(resource, live, &config, self.managed.clone(), by(manager), force) {
            Ok(applied) => {
                (self.object, self.managed) = (Some(applied.object), applied.managed);
                Ok(())
            }
            Err(error) => Err(error.into_api(resource, "ml", "j").message),
        }
    }

    #[track_caller]
    fn apply(&mut self, manager: &str, config: Value) {
        self.try_apply(manager, config, Force::No).unwrap();
    }

    #[track_caller]
    fn refused(&mut self, manager: &str, config: Value, message: &str) {
        assert_eq!(self.try_apply(manager, config, Force::No), Err(message.to_owned()));
    }

    fn update(&mut self, manager: &str, after: Value) {
        let managed = std::mem::take(&mut self.managed);
        self.managed = update(Resource::Job, self.object.as_ref(), &after, managed, by(manager));
        self.object = Some(after);
    }

    #[track_caller]
    fn is(&self, object: Value, managers: &[&str]) {
        assert_eq!(self.object, Some(object));
        assert_eq!(told(&self.managed), managers);
    }
}

#[test]
fn two_appliers_share_and_conflict() {
    let mut life = Life::new();
    life.apply("a", job(json!({"completions": 1, "parallelism": 1})));
    life.apply("b", job(json!({"parallelism": 1})));
    life.is(
        job(json!({"completions": 1, "parallelism": 1})),
        &["a Apply: .spec.completions .spec.parallelism", "b Apply: .spec.parallelism"],
    );
    life.refused(
        "b",
        job(json!({"parallelism": 2})),
        "Apply failed with 1 conflict: conflict with \"a\": .spec.parallelism",
    );
    life.try_apply("b", job(json!({"parallelism": 2})), Force::Yes).unwrap();
    life.is(
        job(json!({"completions": 1, "parallelism": 2})),
        &["a Apply: .spec.completions", "b Apply: .spec.parallelism"],
    );
    // Giving up: what nobody else owns goes, what another owns stays.
    life.apply("a", job(json!({"parallelism": 2})));
    life.apply("b", job(json!({})));
    life.is(job(json!({"parallelism": 2})), &["a Apply: .spec.parallelism", "b Apply: .spec"]);
}

#[test]
fn several_conflicts_are_told_by_manager() {
    let mut life = Life::new();
    life.update("kubectl-client-side-apply", job(json!({"completions": 1, "parallelism": 1})));
    life.apply("a", job(json!({"backoffLimit": 1})));
    life.refused(
        "b",
        job(json!({"completions": 2, "parallelism": 2, "backoffLimit": 2})),
        "Apply failed with 3 conflicts: conflicts with \"a\":\n- .spec.backoffLimit\nconflicts with \
         \"kubectl-client-side-apply\" using batch/v1:\n- .spec.completions\n- .spec.parallelism",
    );
    let config = job(json!({"parallelism": 2}));
    let error = apply_to(Resource::Job, life.object.as_ref(), &config, life.managed, by("b"), Force::No);
    let error = error.unwrap_err().into_api(Resource::Job, "ml", "j");
    assert_eq!(error.reason.code(), 409);
    let cause = &error.causes[0];
    assert_eq!(cause.reason, "FieldManagerConflict");
    assert_eq!(cause.message, "conflict with \"kubectl-client-side-apply\" using batch/v1");
    assert_eq!(cause.field, ".spec.parallelism");
}

#[test]
fn nothing_new_changes_nothing() {
    let mut life = Life::new();
    let config = containers(json!([{"name": "a", "resources": {"limits": {"cpu": "1000m"}}, "args": []}]));
    life.apply("a", config.clone());
    let (object, managed) = (life.object.clone(), life.managed.clone());
    let later = Writer { now: NOW + 60, ..by("a") };
    let again = apply_to(Resource::Job, object.as_ref(), &config, managed.clone(), later, Force::No).unwrap();
    assert_eq!((Some(again.object), again.managed), (object, managed));
    // Another spelling of the same quantity is no conflict.
    life.apply("b", containers(json!([{"name": "a", "resources": {"limits": {"cpu": 1}}}])));
}

#[test]
fn lists_are_merged_by_their_keys_in_the_applied_order() {
    let c = |name: &str| json!({"name": name});
    let check = |live: &[&str], applied: &[&str], expected: &[&str]| {
        let list = |names: &[&str]| containers(names.iter().map(|n| c(n)).collect());
        let mut life = Life::new();
        life.update("x", list(live));
        life.apply("a", list(applied));
        assert_eq!(life.object, Some(list(expected)), "{live:?} + {applied:?}");
    };
    check(&["a", "b"], &["b", "a"], &["b", "a"]);
    check(&["a", "b", "x"], &["b", "a"], &["b", "x", "a"]);
    check(&["x", "a", "y", "b", "z"], &["a", "b"], &["x", "a", "y", "b", "z"]);
    check(&["x", "a", "y"], &["n", "a"], &["x", "n", "a", "y"]);
    check(&["x"], &["a", "b"], &["x", "a", "b"]);
    check(&[], &["a", "b"], &["a", "b"]);
    check(&["a", "b"], &["b", "n"], &["a", "b", "n"]);
}

#[test]
fn items_go_with_what_is_below_them() {
    let mut life = Life::new();
    life.apply("a", containers(json!([{"name": "one", "image": "x"}, {"name": "two", "image": "x"}])));
    // A default was added, which nobody owns.
    let spec = |list: Value| containers(list);
    let defaulted = json!([
        {"name": "one", "image": "x", "imagePullPolicy": "Always"},
        {"name": "two", "image": "x", "imagePullPolicy": "Always"},
    ]);
    life.object = Some(spec(defaulted));
    life.apply("b", containers(json!([{"name": "one", "tty": true}])));
    life.apply("a", containers(json!([])));
    // The one with another owner stays, with that owner's fields and the default; the image had no other owner.
    life.is(
        spec(json!([{"name": "one", "imagePullPolicy": "Always", "tty": true}])),
        &["b Apply: .spec.template.spec.containers[name=\"one\"] .spec.template.spec.containers[name=\"one\"].name \
           .spec.template.spec.containers[name=\"one\"].tty"],
    );
}

#[test]
fn atomic_values_are_replaced_as_wholes() {
    let pod = |spec: Value| job(json!({"template": {"spec": spec}}));
    let mut life = Life::new();
    life.apply("a", pod(json!({"nodeSelector": {"x": "1", "y": "1"}, "tolerations": [{"key": "a"}]})));
    life.refused(
        "b",
        pod(json!({"nodeSelector": {"x": "1"}})),
        "Apply failed with 1 conflict: conflict with \"a\": .spec.template.spec.nodeSelector",
    );
    life.apply("a", pod(json!({"nodeSelector": {"x": "1"}, "tolerations": [{"key": "b"}]})));
    assert_eq!(life.object, Some(pod(json!({"nodeSelector": {"x": "1"}, "tolerations": [{"key": "b"}]}))));
    life.apply("a", pod(json!({"nodeSelector": {}, "tolerations": [{"key": "b"}]})));
    assert_eq!(life.object.as_ref().unwrap()["spec"]["template"]["spec"]["nodeSelector"], Value::Null);
}

#[test]
fn an_updater_takes_over_and_what_it_took_is_not_pruned() {
    let mut life = Life::new();
    life.apply("a", job(json!({"completions": 3, "parallelism": 3})));
    life.update("scaler", job(json!({"completions": 3, "parallelism": 5})));
    life.is(
        job(json!({"completions": 3, "parallelism": 5})),
        &["a Apply: .spec.completions", "scaler Update: .spec.parallelism"],
    );
    life.apply("a", job(json!({"completions": 3})));
    assert_eq!(life.object, Some(job(json!({"completions": 3, "parallelism": 5}))));
}

#[test]
fn what_nobody_tracked_belongs_to_before_first_apply() {
    let mut life = Life::new();
    life.object = Some(job(json!({"completions": 1})));
    life.refused(
        "a",
        job(json!({"completions": 2})),
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using batch/v1: .spec.completions",
    );
    life.apply("a", job(json!({"parallelism": 2})));
    assert_eq!(
        told(&life.managed),
        ["a Apply: .spec.parallelism", "before-first-apply Update: .spec.completions"]
    );
}

#[test]
fn kubectl_may_take_over_from_its_client_side_apply() {
    const LAST: &str = "kubectl.kubernetes.io/last-applied-configuration";
    let mut live = job(json!({"completions": 1, "parallelism": 1}));
    live["metadata"]["annotations"] = json!({LAST: job(json!({"completions": 1})).to_string()});
    let mut life = Life::new();
    life.update("kubectl-client-side-apply", live);
    let config = || job(json!({"completions": 2}));
    life.refused(
        "other",
        config(),
        "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using batch/v1: .spec.completions",
    );
    // The other field was not applied from the client's side, so it is asked about.
    life.refused(
        "kubectl",
        job(json!({"completions": 2, "parallelism": 2})),
        "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using batch/v1: .spec.parallelism",
    );
    life.apply("kubectl", config());
    let object = life.object.unwrap();
    assert_eq!(object["spec"]["completions"], 2);
    // For a way back, the annotation follows.
    let last = object["metadata"]["annotations"][LAST].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(last).unwrap(), config());
}

#[test]
fn what_is_no_configuration_is_refused() {
    let check = |config: Value, problem: &str| {
        let expected = format!("failed to create typed patch object (ml/j; batch/v1, Kind=Job): {problem}");
        Life::new().refused("a", config, &expected);
    };
    check(job(json!({"completion": 1})), ".spec.completion: field not declared in schema");
    check(
        containers(json!([{"image": "x"}])),
        ".spec.template.spec.containers[0]: the item omits the key that tells it from others (name)",
    );
    check(
        containers(json!([{"name": "a"}, {"name": "a"}])),
        ".spec.template.spec.containers: duplicate entries for key [name=\"a\"]",
    );
    assert!(Life::new().try_apply("a", job(json!({"completions": "x"})), Force::No).is_err());
    assert!(fields_of(Resource::Job, &json!({})).is_empty());
}
