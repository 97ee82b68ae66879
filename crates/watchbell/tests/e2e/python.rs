//! The official Python client (PyPI `kubernetes`), in the virtual environment that `make test` makes.

use std::process::Command;

use crate::stand::{Stand, is_left_out, run};

const SCRIPT: &str = r#"
import sys
from kubernetes import client, config, watch

config.load_kube_config(sys.argv[1])
batch, core = client.BatchV1Api(), client.CoreV1Api()
container = client.V1Container(name="main", image="busybox:bar", image_pull_policy="Never",
                               command=["/bin/busybox", "sh", "-c", "echo from python $JOB_COMPLETION_INDEX"])
template = client.V1PodTemplateSpec(spec=client.V1PodSpec(restart_policy="Never", containers=[container]))
spec = client.V1JobSpec(completion_mode="Indexed", completions=4, parallelism=2, template=template)
job = batch.create_namespaced_job("default", client.V1Job(metadata=client.V1ObjectMeta(name="py"), spec=spec))
seen = []
for event in watch.Watch().stream(batch.list_namespaced_job, "default", resource_version=job.metadata.resource_version,
                                  timeout_seconds=60):
    status = event["object"].status
    seen.append(event["type"])
    if any(c.type == "Complete" and c.status == "True" for c in status.conditions or []):
        assert status.succeeded == 4 and status.completed_indexes == "0-3", status
        break
else:
    raise SystemExit(f"the watch ended early: {seen}")
pods = core.list_namespaced_pod("default", label_selector="batch.kubernetes.io/job-name=py").items
assert len(pods) == 4 and all(p.status.phase == "Succeeded" for p in pods), pods
logs = sorted(core.read_namespaced_pod_log(p.metadata.name, "default") for p in pods)
assert logs == [f"from python {i}\n" for i in range(4)], logs
page = core.list_namespaced_pod("default", limit=3)
rest = core.list_namespaced_pod("default", limit=3, _continue=page.metadata._continue)
assert len(page.items) == 3 and len(rest.items) == 1
cm = core.create_namespaced_config_map("default", client.V1ConfigMap(metadata=client.V1ObjectMeta(name="c"), data={"a": "1"}))
core.patch_namespaced_config_map("c", "default", {"data": {"b": "2"}})
cm.data = {"a": "stale"}
try:
    core.replace_namespaced_config_map("c", "default", cm)
    raise SystemExit("a stale update was accepted")
except client.ApiException as e:
    assert e.status == 409 and "has been modified" in e.body, e
assert core.read_namespaced_config_map("c", "default").data == {"a": "1", "b": "2"}
before = core.list_namespaced_pod("default").metadata.resource_version
batch.delete_namespaced_job("py", "default", propagation_policy="Foreground")
gone = 0
for event in watch.Watch().stream(core.list_namespaced_pod, "default", resource_version=before, timeout_seconds=60):
    gone += event["type"] == "DELETED"
    if gone == 4:
        break
assert gone == 4 and not core.list_namespaced_pod("default").items
print("ok", client.VersionApi().get_code().git_version)
"#;

#[test]
fn the_python_client_runs_an_array() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let venv = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/test-venv/bin/python");
    if !std::path::Path::new(venv).exists() {
        eprintln!("NOT TESTED: {venv} is not there (`make test` makes it with PyPI's kubernetes)");
        return;
    }
    let stand = Stand::with_busybox();
    let script = stand.path("script.py");
    std::fs::write(&script, SCRIPT).unwrap();
    let mut command = Command::new(venv);
    command.env("NO_PROXY", "*").arg(&script).arg(stand.kubeconfig());
    let out = run(command, "").ok();
    assert!(out.starts_with("ok v1."), "{out}");
    stand.end();
}
