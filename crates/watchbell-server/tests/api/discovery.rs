//! Discovery, versions, documents, health.

use crate::harness::Harness;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

#[test]
fn groups_and_resources() {
    let h = Harness::start();
    assert_eq!(h.client.get("/api").expect(200)["versions"][0], "v1");
    let groups = h.client.get("/apis/").expect(200);
    let groups = groups["groups"].as_array().unwrap();
    let names: Vec<&str> = groups.iter().map(|g| g["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "admissionregistration.k8s.io",
            "apps",
            "aquasecurity.github.io",
            "authentication.k8s.io",
            "authorization.k8s.io",
            "batch",
            "coordination.k8s.io",
            "events.k8s.io",
            "networking.k8s.io",
            "node.k8s.io",
            "rbac.authorization.k8s.io",
            "scheduling.k8s.io",
            "storage.k8s.io",
            "watchbell.dev"
        ]
    );
    assert_eq!(groups[5]["preferredVersion"]["groupVersion"], "batch/v1");
    assert_eq!(h.client.get("/apis/batch").expect(200)["kind"], "APIGroup");
    let batch = h.client.get("/apis/batch/v1").expect(200);
    let names: Vec<&str> =
        batch["resources"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "jobs",
            "jobs/admission",
            "jobs/rerun",
            "jobs/status",
            "cronjobs",
            "cronjobs/status",
            "cronjobs/admission",
            "cronjobs/suspend",
            "cronjobs/trigger"
        ]
    );
    let core = h.client.get("/api/v1/").expect(200);
    let pods = core["resources"].as_array().unwrap().iter().find(|r| r["name"] == "pods").unwrap();
    assert_eq!(pods["shortNames"][0], "po");
    let apps = h.client.get("/apis/apps/v1").expect(200);
    assert_eq!(apps["resources"][0]["verbs"], serde_json::json!(["get", "list", "watch"]));
    let unknown = h.client.get("/apis/kubeflow.org/v1");
    unknown.expect_refusal(404, "NotFound", "could not find the requested resource");
    h.client.get("/apis/kubeflow.org").expect(404);
    h.client.post("/api", &serde_json::json!({})).expect_refusal(405, "MethodNotAllowed", "");
}

#[test]
fn aggregated_discovery() {
    let h = Harness::start();
    for path in ["/api", "/apis"] {
        let answer = h.client.get_as(path, AGGREGATED);
        assert_eq!(
            answer.header("content-type"),
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        );
        let tag = answer.header("etag").to_owned();
        let known = h.client.call("GET", path, &[("Accept", AGGREGATED), ("If-None-Match", &tag)], b"");
        assert_eq!((known.code, known.text.as_str()), (304, ""));
        let list = answer.expect(200);
        assert_eq!(
            (list["kind"].as_str(), list["apiVersion"].as_str()),
            (Some("APIGroupDiscoveryList"), Some("apidiscovery.k8s.io/v2"))
        );
        assert_eq!(list["items"][0]["versions"][0]["freshness"], "Current");
    }
    let beta =
        h.client.get_as("/apis", "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList");
    assert_eq!(beta.expect(200)["apiVersion"], "apidiscovery.k8s.io/v2beta1");
}

#[test]
fn the_version_is_kubernetes_own_shape() {
    let h = Harness::start();
    let version = h.client.get("/version/").expect(200);
    assert_eq!((version["major"].as_str(), version["minor"].as_str()), (Some("1"), Some("36")));
    assert!(version["gitVersion"].as_str().unwrap().starts_with("v1.36.0"));
    for field in ["gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler", "platform"] {
        assert!(version[field].is_string(), "{field}");
    }
}

#[test]
fn openapi_by_hash() {
    let h = Harness::start();
    let index = h.client.get("/openapi/v3").expect(200);
    let url = index["paths"]["apis/batch/v1"]["serverRelativeURL"].as_str().unwrap();
    assert!(url.starts_with("/openapi/v3/apis/batch/v1?hash="), "{url}");
    let document = h.client.get(url);
    assert!(document.header("cache-control").contains("immutable"));
    let tag = document.header("etag").to_owned();
    assert!(
        document.expect(200)["paths"]
            .as_object()
            .is_some_and(|paths| { paths.contains_key("/apis/batch/v1/namespaces/{namespace}/jobs") })
    );
    assert_eq!(h.client.call("GET", url, &[("If-None-Match", &tag)], b"").code, 304);
    assert!(index["paths"]["api/v1"].is_object());
    h.client.get("/openapi/v3/apis/kubeflow.org/v1").expect(404);
    assert_eq!(h.client.get("/openapi/v2").expect(200)["swagger"], "2.0");
}

#[test]
fn health_is_open_to_everybody() {
    let h = Harness::start();
    let anonymous = h.client.anonymous();
    for path in ["/healthz", "/livez", "/readyz", "/readyz?exclude=ping&exclude=journal", "/livez?%"] {
        let answer = anonymous.get(path);
        assert_eq!((answer.code, answer.text.as_str()), (200, "ok"), "{path}");
    }
    let told = anonymous.get("/readyz?verbose").expect_text(200);
    assert_eq!(told, "[+]ping ok\n[+]journal ok\n[+]shutdown ok\nreadyz check passed\n");
    let told = anonymous.get("/livez?verbose&exclude=etcd").expect_text(200);
    assert!(told.ends_with("no matches for \"etcd\"\nlivez check passed\n"), "{told}");
    anonymous.post("/readyz", &serde_json::json!({})).expect_refusal(405, "MethodNotAllowed", "");
}
