//! Each verb, and what is refused.

use serde_json::json;

use crate::harness::{Harness, config_map};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[test]
fn an_object_lives() {
    let h = Harness::start();
    let made = h.client.post(MAPS, &config_map("a", "x")).expect(201);
    assert_eq!(made["metadata"]["namespace"], "default");
    let read = h.client.get(&format!("{MAPS}/a")).expect(200);
    assert_eq!(read, made);
    h.client.delete(&format!("{MAPS}/a")).expect(200);
    h.client.get(&format!("{MAPS}/a")).expect_refusal(404, "NotFound", "configmaps \"a\" not found");
    let _ = json!({});
}
