//! Lists: selectors, pages, forms, sizes.

use std::io::Read;

use serde_json::{Value, json};

use crate::harness::{Harness, config_map};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().or(list["rows"].as_array()).unwrap();
    items
        .iter()
        .map(|item| {
            item["metadata"]["name"].as_str().or(item["object"]["metadata"]["name"].as_str()).unwrap().into()
        })
        .collect()
}

fn with_maps(count: usize) -> Harness {
    let h = Harness::start();
    for i in 0..count {
        h.client
            .post(MAPS, &config_map(&format!("m{i:03}"), if i % 2 == 0 { "even" } else { "odd" }))
            .expect(201);
    }
    h
}

#[test]
fn selectors_choose() {
    let h = with_maps(4);
    let check = |query: &str, expect: &[&str]| {
        let list = h.client.get(&format!("{MAPS}?{query}")).expect(200);
        assert_eq!((list["kind"].as_str(), list["apiVersion"].as_str()), (Some("ConfigMapList"), Some("v1")));
        assert_eq!(names(&list), expect, "{query}");
    };
    check("labelSelector=team%3Deven", &["m000", "m002"]);
    check("labelSelector=team+in+(odd,x)", &["m001", "m003"]);
    check("labelSelector=!team", &["kube-root-ca.crt"]);
    check("fieldSelector=metadata.name%3Dm001", &["m001"]);
    check("labelSelector=team%3Dnone", &[]);
    h.client.get(&format!("{MAPS}?labelSelector=a%20b%20c")).expect(400);
    h.client.get(&format!("{MAPS}?fieldSelector=spec.nonsense%3D1")).expect(400);
    // Of all namespaces.
    let everywhere =
        h.client.get("/api/v1/configmaps?fieldSelector=metadata.name%3Dkube-root-ca.crt").expect(200);
    assert_eq!(names(&everywhere).len(), 4);
}

#[test]
fn pages_come_from_one_state() {
    let h = with_maps(5);
    let first = h.client.get(&format!("{MAPS}?limit=2")).expect(200);
    assert_eq!(names(&first), ["kube-root-ca.crt", "m000"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 4);
    let version = first["metadata"]["resourceVersion"].clone();
    // What happens between two pages is not seen.
    h.client.delete(&format!("{MAPS}/m002")).expect(200);
    h.client.post(MAPS, &config_map("m0005", "even")).expect(201);
    let mut seen = names(&first);
    let mut page = first;
    while let Some(token) = page["metadata"]["continue"].as_str().map(str::to_owned) {
        page = h.client.get(&format!("{MAPS}?limit=2&continue={token}")).expect(200);
        assert_eq!(page["metadata"]["resourceVersion"], version);
        seen.extend(names(&page));
    }
    assert_eq!(seen, ["kube-root-ca.crt", "m000", "m001", "m002", "m003", "m004"]);
    assert!(page["metadata"].get("remainingItemCount").is_none());
    // A page that ends exactly at the end does not continue.
    let whole = h.client.get(&format!("{MAPS}?limit=6")).expect(200);
    assert!(whole["metadata"].get("continue").is_none());
}

#[test]
fn a_list_whose_state_is_gone_may_go_on_inconsistently() {
    let h = with_maps(3);
    use base64::Engine as _;
    let old = json!({"v": 1, "rv": 1, "ns": "default", "name": "m000"}).to_string();
    let old = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(old);
    let refused = h.client.get(&format!("{MAPS}?limit=1&continue={old}"));
    let token = refused.body["metadata"]["continue"].as_str().unwrap().to_owned();
    refused.expect_refusal(410, "Expired", "use the continue token of this response for the remainder");
    let name = |page: &Value| page["items"][0]["metadata"]["name"].as_str().unwrap().to_owned();
    let page = h.client.get(&format!("{MAPS}?limit=1&continue={token}")).expect(200);
    assert_eq!(name(&page), "m001");
    // From there on it is one state again.
    let token = page["metadata"]["continue"].as_str().unwrap();
    assert_eq!(name(&h.client.get(&format!("{MAPS}?limit=1&continue={token}")).expect(200)), "m002");
}

#[test]
fn the_node_tells_what_it_is() {
    let h = Harness::start();
    let node = h.client.get("/api/v1/nodes").expect(200)["items"][0].clone();
    let info = &node["status"]["nodeInfo"];
    assert_eq!((&info["kernelVersion"], &info["operatingSystem"]), (&json!("6.6.0"), &json!("linux")));
    assert!(info["kubeletVersion"].as_str().unwrap().starts_with("v1.36.0-watchbell."));
    assert!(info["containerRuntimeVersion"].as_str().unwrap().starts_with("watchbell://"));
    for field in ["machineID", "systemUUID", "bootID", "osImage", "kubeProxyVersion", "architecture"] {
        assert!(info[field].is_string(), "{field}");
    }
    assert_eq!(
        node["status"]["addresses"],
        json!([{"type": "InternalIP", "address": "192.0.2.1"}, {"type": "Hostname", "address": "testhost"}])
    );
}

#[test]
fn old_and_foreign_tokens_are_refused() {
    let h = with_maps(3);
    use base64::Engine as _;
    let token = |value: Value| base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let old = token(json!({"v": 1, "rv": 1, "ns": "default", "name": "a"}));
    h.client.get(&format!("{MAPS}?limit=1&continue={old}")).expect_refusal(410, "Expired", "too old");
    h.client.get(&format!("{MAPS}?limit=1&continue=xyz")).expect_refusal(
        400,
        "BadRequest",
        "continue key is not valid",
    );
}

#[test]
fn versions_of_lists() {
    let h = with_maps(1);
    let now: u64 =
        h.client.get(MAPS).expect(200)["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    let exact = "resourceVersionMatch=Exact";
    h.client.get(&format!("{MAPS}?resourceVersion={now}&{exact}")).expect(200);
    h.client.get(&format!("{MAPS}?resourceVersion=0")).expect(200);
    h.client.get(&format!("{MAPS}?resourceVersion=1&resourceVersionMatch=NotOlderThan")).expect(200);
    h.client.get(&format!("{MAPS}?resourceVersion=1&{exact}")).expect_refusal(410, "Expired", "too old");
    let future = h.client.get(&format!("{MAPS}?resourceVersion=999999999"));
    assert_eq!(future.header("retry-after"), "1");
    future.expect_refusal(504, "Timeout", "Too large resource version");
}

#[test]
fn lists_as_table_metadata_and_yaml() {
    let h = with_maps(3);
    let table = h.client.get_as(MAPS, "application/json;as=Table;v=v1;g=meta.k8s.io").expect(200);
    assert_eq!((table["kind"].as_str(), names(&table).len()), (Some("Table"), 4));
    assert!(table["columnDefinitions"].as_array().is_some_and(|c| !c.is_empty()));
    let bare = h
        .client
        .get_as(&format!("{MAPS}?includeObject=None"), "application/json;as=Table;v=v1;g=meta.k8s.io");
    assert!(bare.expect(200)["rows"][0].get("object").is_none());
    let whole = h
        .client
        .get_as(&format!("{MAPS}?includeObject=Object"), "application/json;as=Table;v=v1;g=meta.k8s.io");
    assert_eq!(whole.expect(200)["rows"][1]["object"]["data"]["key"], "value");
    let metadata =
        h.client.get_as(MAPS, "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io").expect(200);
    assert_eq!(metadata["kind"], "PartialObjectMetadataList");
    assert!(metadata["items"][1].get("data").is_none());
    let yaml = h.client.get_as(MAPS, "application/yaml");
    let documents = watchbell_api::decode::yaml(yaml.text.as_bytes()).unwrap();
    assert_eq!(names(&documents[0]).len(), 4);
}

/// Piece by piece, and as it would be written as a whole.
#[test]
fn lists_in_yaml_flow() {
    let h = with_maps(3);
    let whole = |accept: &str, query: &str| {
        let path = format!("{MAPS}?{query}");
        let json = h.client.get_as(&path, &accept.replace("yaml", "json")).expect(200);
        let yaml = h.client.get_as(&path, accept);
        assert_eq!(yaml.text, watchbell_api::decode::to_yaml(&json).unwrap(), "{accept} {query}");
        yaml
    };
    let metadata = "application/yaml;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    for query in ["limit=2", "labelSelector=team%3Dnone", "labelSelector=team%3Dodd"] {
        whole("application/yaml", query);
        whole(metadata, query);
    }
    let mut map = config_map("x", "big");
    map["data"]["key"] = "line\n".repeat(20_000).into();
    for i in 0..4 {
        map["metadata"]["name"] = format!("big-{i}").into();
        h.client.post(MAPS, &map).expect(201);
    }
    let large = whole("application/yaml", "labelSelector=team%3Dbig");
    assert_eq!(large.header("content-length"), "", "no one has made it whole before it began");
}

#[test]
fn large_lists_flow_and_are_compressed_when_taken() {
    let h = Harness::start();
    let mut map = config_map("x", "big");
    map["data"]["key"] = "v".repeat(8000).into();
    for i in 0..60 {
        map["metadata"]["name"] = format!("big-{i:02}").into();
        h.client.post(MAPS, &map).expect(201);
    }
    let plain = h.client.get(&format!("{MAPS}?labelSelector=team%3Dbig"));
    assert_eq!(plain.header("content-encoding"), "");
    assert_eq!(names(&plain.body).len(), 60);
    let mut packed = h.client.open(
        "GET",
        &format!("{MAPS}?labelSelector=team%3Dbig"),
        &[("Accept-Encoding", "gzip")],
        b"",
    );
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    let bytes = packed.body_mut().with_config().limit(1 << 24).read_to_vec().unwrap();
    assert!(bytes.len() < plain.text.len() / 4, "{} of {}", bytes.len(), plain.text.len());
    let mut text = String::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), plain.body);
    // Pages of a flowing list continue as well.
    let page = h.client.get(&format!("{MAPS}?labelSelector=team%3Dbig&limit=30")).expect(200);
    let token = page["metadata"]["continue"].as_str().unwrap();
    let rest =
        h.client.get(&format!("{MAPS}?labelSelector=team%3Dbig&limit=30&continue={token}")).expect(200);
    assert_eq!((names(&page).len(), names(&rest).len()), (30, 30));
}
