//! `pods/sandbox`: how containers are started, of pods that are stored and of pods that are sent.

use serde_json::json;

use crate::harness::Harness;

#[test]
fn a_start_is_explained_of_what_admission_makes_of_a_pod() {
    let (h, _, path) = Harness::with_running_pod();
    let told = h.client.get(&format!("{path}/sandbox")).expect(200);
    assert_eq!(path.rsplit('/').next(), told["name"].as_str());
    // The strict fill-in of a namespace without a level.
    assert_eq!((&told["runAsUser"], &told["privateTmp"]), (&json!(65534), &json!(true)));

    let pods = "/api/v1/namespaces/default/pods";
    let pod = |name: &str, spec: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"containers": [{"name": "c", "image": "i:1", "securityContext": {"privileged": spec == "privileged"}}]},
        })
    };
    let told = h.client.post(&format!("{pods}/sent/sandbox"), &pod("sent", "")).expect(200);
    assert_eq!((&told["name"], &told["runAsUser"]), (&json!("sent"), &json!(65534)));
    h.client.get(&format!("{pods}/sent")).expect_refusal(404, "NotFound", "");
    // Its namespace's rules hold for it too.
    let refused = h.client.post(&format!("{pods}/sent/sandbox"), &pod("sent", "privileged"));
    refused.expect_refusal(403, "Forbidden", "privileged");
    h.client.post(&format!("{pods}/sent/sandbox"), &pod("other", "")).expect_refusal(
        400,
        "BadRequest",
        "not that of the pod",
    );
    h.client.get(&format!("{pods}/nobody/sandbox")).expect_refusal(404, "NotFound", "pods \"nobody\"");
    h.client.call("DELETE", &format!("{path}/sandbox"), &[], b"").expect_refusal(405, "MethodNotAllowed", "");
    h.client.anonymous().get(&format!("{path}/sandbox")).expect_refusal(401, "Unauthorized", "");
}
