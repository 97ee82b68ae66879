use serde_json::{Value, json};

use super::{Binding, Claim, Class, PROVISIONER, Volume, bind, folder};

fn merged(mut object: Value, extra: Value) -> Value {
    merge_into(&mut object, extra);
    object
}

fn merge_into(object: &mut Value, extra: Value) {
    match (object, extra) {
        (Value::Object(object), Value::Object(extra)) => {
            for (key, value) in extra {
                merge_into(object.entry(key).or_insert(Value::Null), value);
            }
        }
        (object, extra) => *object = extra,
    }
}

fn claim(spec: Value) -> Claim {
    let base = json!({
        "metadata": {"namespace": "ml", "name": "data", "uid": "u1"},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "local",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    });
    Claim::read(&merged(base, json!({"spec": spec})))
}

fn volume(name: &str, storage: &str, extra: Value) -> Volume {
    let base = json!({
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce", "ReadWriteMany"], "storageClassName": "local",
            "capacity": {"storage": storage},
        },
    });
    Volume::read(&merged(base, extra))
}

fn class(extra: Value) -> Class {
    Class::read(&merged(Class::built_in(), extra))
}

fn check(claim: &Claim, volumes: &[Volume], class: Option<&Class>, is_wanted: bool, expect: &str) {
    let said = match bind(claim, volumes.iter(), class, is_wanted) {
        Binding::To(name) => name,
        Binding::Provision => "new".into(),
        Binding::Wait(pending) => format!("{}: {}", pending.reason, pending.message),
    };
    assert_eq!(said, expect, "{claim:?}");
}

#[test]
fn the_smallest_that_fits_or_a_new_one() {
    let local = class(json!({}));
    let claimed =
        |name: &str, uid: Value| json!({"spec": {"claimRef": {"namespace": "ml", "name": name, "uid": uid}}});
    let of = |list: &[Volume], expect: &str| check(&claim(json!({})), list, Some(&local), false, expect);
    of(&[], "new");
    of(
        &[
            volume("big", "9Gi", json!({})),
            volume("fit", "1Gi", json!({})),
            volume("small", "1Mi", json!({})),
        ],
        "fit",
    );
    of(&[volume("of-another", "1Gi", claimed("other", json!("u2")))], "new");
    of(&[volume("of-one-before", "1Gi", claimed("data", json!("u0")))], "new");
    of(&[volume("a", "1Gi", json!({})), volume("kept", "9Gi", claimed("data", Value::Null))], "kept");
    of(&[volume("other-class", "1Gi", json!({"spec": {"storageClassName": "x"}}))], "new");
    of(&[volume("block", "1Gi", json!({"spec": {"volumeMode": "Block"}}))], "new");
    of(&[volume("read-only", "1Gi", json!({"spec": {"accessModes": ["ReadOnlyMany"]}}))], "new");
}

#[test]
fn a_volume_by_name_or_label() {
    let local = class(json!({}));
    let named = claim(json!({"volumeName": "v"}));
    check(&named, &[volume("v", "1Gi", json!({})), volume("a", "1Gi", json!({}))], Some(&local), false, "v");
    check(&named, &[], Some(&local), false, "FailedBinding: volume \"v\" not found");
    let other = json!({"spec": {"claimRef": {"namespace": "ml", "name": "other"}}});
    check(
        &named,
        &[volume("v", "1Gi", other)],
        Some(&local),
        false,
        "FailedBinding: volume \"v\" already bound to a different claim.",
    );
    let gold = claim(json!({"selector": {"matchLabels": {"tier": "gold"}}}));
    let labelled = volume("g", "1Gi", json!({"metadata": {"labels": {"tier": "gold"}}}));
    check(&gold, &[volume("a", "1Gi", json!({})), labelled], Some(&local), false, "g");
    check(
        &gold,
        &[volume("a", "1Gi", json!({}))],
        Some(&local),
        false,
        "ProvisioningFailed: failed to provision volume: claim.Spec.Selector is not supported for dynamic provisioning",
    );
}

#[test]
fn why_a_claim_waits() {
    let lazy = class(json!({"volumeBindingMode": "WaitForFirstConsumer"}));
    let first = "WaitForFirstConsumer: waiting for first consumer to be created before binding";
    check(&claim(json!({})), &[], Some(&lazy), false, first);
    check(&claim(json!({})), &[volume("a", "1Gi", json!({}))], Some(&lazy), false, first);
    check(&claim(json!({})), &[], Some(&lazy), true, "new");
    check(
        &claim(json!({"storageClassName": "fast"})),
        &[],
        None,
        true,
        "ProvisioningFailed: storageclass.storage.k8s.io \"fast\" not found",
    );
    check(
        &claim(json!({"storageClassName": ""})),
        &[],
        None,
        true,
        "FailedBinding: no persistent volumes available for this claim and no storage class is set",
    );
    check(
        &claim(json!({"volumeMode": "Block"})),
        &[],
        Some(&class(json!({}))),
        true,
        "ProvisioningFailed: failed to provision volume: volumeMode Block is not served by this machine; use Filesystem",
    );
}

#[test]
fn a_folder_has_the_name_of_its_volume() {
    let made = claim(json!({})).new_volume(&class(json!({})));
    assert_eq!(folder(&made), Some("pvc-u1"));
    assert_eq!(made["spec"]["claimRef"]["uid"], "u1");
    let of = |name: &str, handle: &str, driver: &str| {
        let object =
            json!({"metadata": {"name": name}, "spec": {"csi": {"driver": driver, "volumeHandle": handle}}});
        folder(&object).map(str::to_owned)
    };
    assert_eq!(of("a", "a", PROVISIONER), Some("a".into()));
    assert_eq!(of("a", "b", PROVISIONER), None, "a volume cannot name another's folder");
    assert_eq!(of("..", "..", PROVISIONER), None);
    assert_eq!(of("a/b", "a/b", PROVISIONER), None);
    assert_eq!(of("a", "a", "other.csi"), None);
}
