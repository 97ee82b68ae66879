use std::collections::HashSet;

use serde_json::{Value, json};

use super::{describe, v2, v3};
use crate::Resource;
use crate::resource::Scope;
use crate::schema::Table;

fn batch() -> Value {
    v3("batch", "v1", &[]).unwrap()
}

fn schema<'a>(document: &'a Value, name: &str) -> &'a Value {
    &document["components"]["schemas"][name]
}

/// Every `$ref` in a value, and what stands beside it.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str));
            map.values().for_each(|v| references(v, found));
        }
        Value::Array(list) => list.iter().for_each(|v| references(v, found)),
        _ => {}
    }
}

#[test]
fn what_is_not_served_has_no_document() {
    assert!(v3("", "v1", &[]).is_some());
    assert!(v3("batch", "v1", &[]).is_some());
    for (group, version) in [("", "v2"), ("batch", "v1beta1"), ("nothing.example", "v1"), ("batch", "")] {
        assert!(v3(group, version, &[]).is_none(), "{group}/{version}");
    }
}

#[test]
fn every_reference_leads_somewhere() {
    for document in [v3("", "v1", &[]).unwrap(), batch(), v2(&[])] {
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 100);
        for target in found {
            let pointer = target.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some_and(Value::is_object), "{target}");
        }
    }
}

/// `kubectl apply` validates only where it finds the parameter on the patch operation of the kind.
#[test]
fn every_kind_says_that_its_fields_are_validated() {
    for resource in Resource::all() {
        let info = resource.info();
        for document in [v3(info.group, info.version, &[]).unwrap(), v2(&[])] {
            let paths = document["paths"].as_object().unwrap();
            let patch = paths
                .values()
                .map(|item| &item["patch"])
                .find(|patch| patch["x-kubernetes-group-version-kind"]["kind"] == info.kind)
                .unwrap_or_else(|| panic!("{} cannot be patched", info.kind));
            let names: Vec<&str> =
                patch["parameters"].as_array().unwrap().iter().filter_map(|p| p["name"].as_str()).collect();
            for name in ["fieldValidation", "dryRun", "fieldManager"] {
                assert!(names.contains(&name), "{} {name}", info.kind);
            }
        }
    }
}

#[test]
fn a_schema_is_kubernetes_own() {
    let document = batch();
    let job = schema(&document, "io.k8s.api.batch.v1.Job");
    assert_eq!(
        job["x-kubernetes-group-version-kind"],
        json!([{"group": "batch", "kind": "Job", "version": "v1"}])
    );
    assert_eq!(
        job["properties"]["metadata"]["allOf"],
        json!([{"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}])
    );
    let spec = schema(&document, "io.k8s.api.batch.v1.JobSpec");
    assert_eq!(spec["required"], json!(["template"]));
    assert_eq!(spec["properties"]["completions"]["format"], "int32");
    let pod = schema(&document, "io.k8s.api.core.v1.PodSpec");
    let mut volumes = pod["properties"]["volumes"].clone();
    volumes.as_object_mut().unwrap().shift_remove("description");
    assert_eq!(
        volumes,
        json!({
            "type": "array",
            "items": {"allOf": [{"$ref": "#/components/schemas/io.k8s.api.core.v1.Volume"}]},
            "x-kubernetes-patch-merge-key": "name",
            "x-kubernetes-patch-strategy": "merge,retainKeys",
            "x-kubernetes-list-map-keys": ["name"],
            "x-kubernetes-list-type": "map",
        })
    );
    assert_eq!(pod["properties"]["nodeSelector"]["x-kubernetes-map-type"], "atomic");
    assert_eq!(pod["properties"]["nodeSelector"]["additionalProperties"], json!({"type": "string"}));
    let resources = schema(&document, "io.k8s.api.core.v1.ResourceRequirements");
    assert_eq!(
        resources["properties"]["limits"]["additionalProperties"]["allOf"][0]["$ref"],
        "#/components/schemas/io.k8s.apimachinery.pkg.api.resource.Quantity"
    );
    assert_eq!(schema(&document, "io.k8s.api.batch.v1.JobList")["required"], json!(["items"]));
    // What batch does not speak of is not in its document.
    assert!(schema(&document, "io.k8s.api.core.v1.Secret").is_null());
}

#[test]
fn swagger_has_plain_references_and_bodies() {
    let document = v2(&[]);
    let definitions = &document["definitions"];
    assert_eq!(
        definitions["io.k8s.api.batch.v1.Job"]["properties"]["spec"]["$ref"],
        "#/definitions/io.k8s.api.batch.v1.JobSpec"
    );
    assert_eq!(definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"]["type"], "string");
    let create = &document["paths"]["/apis/batch/v1/namespaces/{namespace}/jobs"]["post"];
    assert_eq!(create["operationId"], "createBatchV1NamespacedJob");
    assert_eq!(create["parameters"][0]["in"], "body");
    assert_eq!(create["responses"]["201"]["schema"]["$ref"], "#/definitions/io.k8s.api.batch.v1.Job");
    let text = document.to_string();
    assert!(!text.contains("#/components") && !text.contains("oneOf") && !text.contains("allOf"));
}

#[test]
fn operations_are_what_is_served_and_named_as_in_kubernetes() {
    let mut ids = HashSet::new();
    for document in [v3("", "v1", &[]).unwrap(), batch()] {
        for (path, item) in document["paths"].as_object().unwrap() {
            for operation in ["get", "put", "post", "patch", "delete"]
                .map(|m| &item[m])
                .into_iter()
                .filter(|o| o.is_object())
            {
                let id = operation["operationId"].as_str().unwrap();
                assert!(ids.insert(id.to_owned()), "{path}: {id} twice");
            }
        }
    }
    for id in [
        "listBatchV1JobForAllNamespaces",
        "listBatchV1NamespacedCronJob",
        "deleteBatchV1CollectionNamespacedJob",
        "patchBatchV1NamespacedJobStatus",
        "readCoreV1NamespacedPodLog",
        "createCoreV1Namespace",
        "readCoreV1NodeStatus",
        "deleteCoreV1CollectionNode",
    ] {
        assert!(ids.contains(id), "{id}");
    }
    // What is only listed is refused, and says so.
    let apps = v3("apps", "v1", &[]).unwrap();
    let deployments = &apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments"];
    assert!(deployments["post"]["responses"]["405"].is_object() && deployments.get("delete").is_none());
    let document = batch();
    let job = &document["paths"]["/apis/batch/v1/namespaces/{namespace}/jobs/{name}"];
    assert_eq!(job["parameters"][0]["name"], "name");
    assert_eq!(
        job["patch"]["requestBody"]["content"].as_object().unwrap().keys().collect::<Vec<_>>(),
        [
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/strategic-merge-patch+json",
            "application/apply-patch+yaml"
        ]
    );
    assert!(document["paths"].get("/apis/batch/v1/namespaces/{namespace}/jobs/{name}/log").is_none());
}

#[test]
fn every_description_belongs_to_something() {
    let table = Table::get();
    for name in describe::BY_NAME.keys() {
        let is_field = || {
            let (owner, field) = name.rsplit_once('.').unwrap();
            if owner == "*" {
                return table.types().any(|of| of.field(field).is_some());
            }
            table.find(owner).is_some_and(|id| table.type_of(id).field(field).is_some())
        };
        assert!(table.find(name).is_some() || is_field(), "{name}");
    }
    assert!(describe::BY_NAME.len() > 100);
    assert_eq!(schema(&batch(), "io.k8s.api.batch.v1.Job")["description"], describe::BY_NAME["batch.v1.Job"]);
}

#[test]
fn every_field_that_is_served_is_described() {
    let table = Table::get();
    let document = v2(&[]);
    let definitions = document["definitions"].as_object().unwrap();
    let mut silent = Vec::new();
    for of in table.types().filter(|of| definitions.contains_key(&super::schemas::full_name(of.name))) {
        if of.kind.is_some() && describe::type_named(of.name).is_none() {
            silent.push(of.name.to_owned());
        }
        let fields = of.fields.iter().filter(|field| describe::field_of(of, field.name).is_none());
        silent.extend(fields.map(|field| format!("{}.{}", of.name, field.name)));
    }
    assert_eq!(silent, [""; 0]);
}

/// The documents are made once and kept; still they must not take long, nor be larger than the real ones.
#[test]
fn documents_are_of_a_sane_size() {
    let core = v3("", "v1", &[]).unwrap().to_string().len();
    let batch = batch().to_string().len();
    assert!((50_000..1_600_000).contains(&core), "{core}");
    assert!((50_000..430_000).contains(&batch), "{batch}");
}

#[test]
fn what_is_asked_has_a_document() {
    let asked = [
        super::Asked {
            group: "authorization.k8s.io",
            version: "v1",
            kind: "SelfSubjectAccessReview",
            plural: "selfsubjectaccessreviews",
            scope: Scope::Cluster,
        },
        super::Asked {
            group: "authorization.k8s.io",
            version: "v1",
            kind: "LocalSubjectAccessReview",
            plural: "localsubjectaccessreviews",
            scope: Scope::Namespaced,
        },
    ];
    assert!(v3("authorization.k8s.io", "v1", &[]).is_none());
    assert!(v3("authentication.k8s.io", "v1", &asked).is_none());
    let document = v3("authorization.k8s.io", "v1", &asked).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let one = &paths["/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"]["post"];
    assert_eq!(one["operationId"], "createAuthorizationV1SelfSubjectAccessReview");
    assert_eq!(one["x-kubernetes-group-version-kind"]["kind"], "SelfSubjectAccessReview");
    let local =
        &paths["/apis/authorization.k8s.io/v1/namespaces/{namespace}/localsubjectaccessreviews"]["post"];
    assert_eq!(local["operationId"], "createAuthorizationV1NamespacedLocalSubjectAccessReview");
    for document in [document.clone(), v2(&asked)] {
        let mut found = Vec::new();
        references(&document, &mut found);
        for target in found {
            assert!(document.pointer(&target[1..]).is_some_and(Value::is_object), "{target}");
        }
    }
}

#[test]
fn operators_of_runs_find_their_bodies() {
    let document = batch();
    let path = |rest: &str| &document["paths"][format!("/apis/batch/v1/namespaces/{{namespace}}/{rest}")];
    let trigger = &path("cronjobs/{name}/trigger")["post"];
    assert_eq!(trigger["operationId"], "createBatchV1NamespacedCronJobTrigger");
    assert!(trigger["requestBody"].get("required").is_none(), "a trigger needs no body");
    assert_eq!(
        trigger["responses"]["201"]["content"]["application/json"]["schema"]["$ref"],
        "#/components/schemas/io.k8s.api.batch.v1.Job"
    );
    assert_eq!(
        schema(&document, "dev.watchbell.v1alpha1.Rerun")["properties"]["indexes"]["enum"][1],
        "Failed"
    );
    assert!(path("jobs/{name}/rerun")["post"].is_object());
    assert!(
        path("cronjobs/{name}/suspend")["patch"]["requestBody"]["content"]["application/merge-patch+json"]
            .is_object()
    );
}
