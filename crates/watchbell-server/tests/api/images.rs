//! The image store through the server.

use serde_json::{Value, json};
use watchbell_api::node::ImageRequest;

use crate::harness::Harness;

const IMAGES: &str = "/apis/watchbell.dev/v1alpha1/images";

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn requests_reach_the_store() {
    let h = Harness::start();
    let check = |method: &str, path: &str, expect: ImageRequest| {
        let answer = h.client.call(method, &format!("{IMAGES}{path}"), &[], b"");
        assert_eq!(answer.code, 200, "{}", answer.text);
        assert_eq!(h.images.asked.lock().unwrap().last(), Some(&expect));
    };
    let name = || "docker.io/library/busybox:1.36".to_owned();
    check("GET", "", ImageRequest::List);
    check("GET", "/docker.io/library/busybox:1.36", ImageRequest::Inspect { name: name() });
    check("DELETE", "/docker.io%2Flibrary%2Fbusybox%3A1.36", ImageRequest::Remove { name: name() });
    check("POST", ":prune", ImageRequest::Prune);
    let pull = ImageRequest::Pull { name: name(), platform: Some("linux/arm64".into()), plain_http: true };
    check("POST", ":pull?name=docker.io/library/busybox:1.36&platform=linux/arm64&plainHTTP=true", pull);
    h.client.post(&format!("{IMAGES}:pull"), &json!({})).expect_refusal(400, "BadRequest", "say which image");
    h.client.get(&format!("{IMAGES}:prune")).expect_refusal(405, "MethodNotAllowed", "");
    h.client.post(IMAGES, &json!({})).expect_refusal(405, "MethodNotAllowed", "");
}

/// Who asks what a change would do may not find that it was done.
#[test]
fn what_has_no_dry_run_says_so_and_does_nothing() {
    let h = Harness::start();
    let refused = |method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]| {
        h.client.call(method, path, headers, body).expect_refusal(
            400,
            "BadRequest",
            "dryRun is not supported for",
        );
    };
    let image = format!("{IMAGES}/docker.io/library/busybox:1.36");
    refused("DELETE", &format!("{image}?dryRun=All"), &[], b"");
    let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "dryRun": ["All"]}).to_string();
    refused("DELETE", &image, &[("Content-Type", "application/json")], options.as_bytes());
    for path in [":prune?dryRun=All", ":pull?name=a:b&dryRun=All", ":import?dryRun=All"] {
        refused("POST", &format!("{IMAGES}{path}"), &[], b"");
    }
    assert_eq!(*h.images.asked.lock().unwrap(), []);
    let keys = "/apis/watchbell.dev/v1alpha1/tokenkeys";
    let before = h.client.get(keys).expect(200);
    for verb in ["rotate", "revoke"] {
        refused("POST", &format!("{keys}:{verb}?dryRun=All"), &[], b"");
    }
    assert_eq!(h.client.get(keys).expect(200), before);
    h.client
        .post(&format!("{IMAGES}:prune?dryRun=Some"), &json!({}))
        .expect_refusal(422, "Invalid", "dryRun");
}

#[test]
fn archives_flow_in() {
    let h = Harness::start();
    // Larger than any body that is held in memory.
    let archive = vec![7u8; 9 << 20];
    let answer = h.client.call("POST", &format!("{IMAGES}:import?name=a:b"), &[], &archive);
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    let bytes = archive.len();
    assert_eq!(
        lines(&answer.text),
        [json!({"progress": {"bytes": bytes}}), json!({"result": {"imported": bytes}})]
    );
}

#[test]
fn errors_are_the_last_line() {
    let h = Harness::start();
    let answer = h.client.call("POST", &format!("{IMAGES}:pull?name=broken"), &[], b"");
    let lines = lines(&answer.text);
    assert_eq!(lines[0], json!({"progress": {"layer": 1}}));
    assert_eq!(lines[1]["error"]["reason"], "NotFound");
    assert_eq!(lines[1]["error"]["message"], "no such image");
}
