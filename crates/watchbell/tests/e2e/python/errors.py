"""What is refused, and in which words a program can understand."""

from lab import *

raw = client.ApiClient()


def post(path, body, **query):
    """What the typed calls cannot send."""
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    call = raw.param_serialize("POST", path, query_params=list(query.items()), header_params=headers, body=body)
    answer = raw.call_api(*call)
    answer.read()
    if answer.status >= 300:
        raise client.ApiException(status=answer.status, body=answer.data.decode())
    return answer.status, answer.getheaders()


jobs = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
good = raw.sanitize_for_serialization(job("typed", "true", suspend=True))
good.update(apiVersion="batch/v1", kind="Job")

# Field validation: refused, warned about, dropped.
wrong = json.loads(json.dumps(good))
wrong["spec"]["paralelism"] = 3
post_create = lambda **query: post(jobs, wrong, **query)
post_create.__name__ = "create"
body = refused(400, "BadRequest", ["strict decoding error", 'unknown field "spec.paralelism"'], post_create, fieldValidation="Strict")
status, headers = post(jobs, wrong, fieldValidation="Warn", dryRun="All")
assert status == 201 and 'unknown field "spec.paralelism"' in headers["Warning"].replace("\\", ""), headers
status, headers = post(jobs, wrong, fieldValidation="Ignore", dryRun="All")
assert status == 201 and "Warning" not in headers, headers
body = refused(422, "Invalid", "fieldValidation: Unsupported value", post_create, fieldValidation="Sometimes")

# Invalid: each cause with its field.
invalid = job("Wrong", "true", parallelism=-1, completion_mode="Indexed")
body = refused(422, "Invalid", "is invalid", batch.create_namespaced_job, NAMESPACE, invalid)
fields = {(c["field"], c["reason"]) for c in body["details"]["causes"]}
assert fields >= {("metadata.name", "FieldValueInvalid"), ("spec.parallelism", "FieldValueInvalid"),
                  ("spec.completions", "FieldValueRequired")}, fields
assert (body["details"]["name"], body["details"]["group"], body["details"]["kind"]) == ("Wrong", "batch", "Job"), body
made = batch.create_namespaced_job(NAMESPACE, job("typed", "true", suspend=True))
body = refused(422, "Invalid", "field is immutable", batch.patch_namespaced_job, "typed", NAMESPACE, {"spec": {"completions": 5}})
assert body["details"]["causes"][0]["field"] == "spec.completions", body
body = refused(409, "AlreadyExists", 'jobs.batch "typed" already exists', batch.create_namespaced_job, NAMESPACE, job("typed", "true"))
assert body["details"] == {"name": "typed", "group": "batch", "kind": "jobs"}, body
refused(404, "NotFound", 'namespaces "nowhere" not found', batch.create_namespaced_job, "nowhere", job("a", "true"))
refused(404, "NotFound", 'jobs.batch "none" not found', batch.delete_namespaced_job, "none", NAMESPACE)
refused(400, "BadRequest", "does not match", core.create_namespaced_config_map, NAMESPACE,
        client.V1ConfigMap(metadata=meta("a", namespace="other")))
refused(400, "BadRequest", "field label", core.list_namespaced_pod, NAMESPACE, field_selector="spec.none=1")
refused(400, "BadRequest", "", core.list_namespaced_pod, NAMESPACE, label_selector="a=(")
refused(400, "BadRequest", "continue", core.list_namespaced_pod, NAMESPACE, limit=1, _continue="nonsense")
# A pod that asks for more than its namespace allows.
asks = template("true").spec
asks.host_network = True
refused(403, "Forbidden", ["violates PodSecurity", "hostNetwork"], core.create_namespaced_pod, NAMESPACE,
        client.V1Pod(metadata=meta("asks"), spec=asks))
# Conflicts of managers, each named.
apply = lambda manager, value, **more: core.patch_namespaced_config_map(
    "shared", NAMESPACE, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shared"}, "data": {"a": value}},
    _content_type=APPLY, field_manager=manager, **more)
apply.__name__ = "apply"
apply("one", "1")
body = refused(409, "Conflict", 'conflict with "one": .data.a', apply, "two", "2")
assert body["details"]["causes"][0]["reason"] == "FieldManagerConflict", body
assert apply("two", "2", force=True).data == {"a": "2"}
# Dry runs leave no trace.
dry = core.patch_namespaced_config_map("shared", NAMESPACE, {"data": {"b": "3"}}, dry_run="All")
assert dry.data == {"a": "2", "b": "3"} and core.read_namespaced_config_map("shared", NAMESPACE).data == {"a": "2"}
core.delete_namespaced_config_map("shared", NAMESPACE, dry_run="All")
assert core.read_namespaced_config_map("shared", NAMESPACE).data == {"a": "2"}
refused(422, "Invalid", "", core.delete_namespaced_config_map, "shared", NAMESPACE, dry_run="Some")
# A finalizer keeps what is deleted.
core.patch_namespaced_config_map("shared", NAMESPACE, {"metadata": {"finalizers": ["example.com/keep"]}})
core.delete_namespaced_config_map("shared", NAMESPACE)
kept = core.read_namespaced_config_map("shared", NAMESPACE)
assert kept.metadata.deletion_timestamp and kept.metadata.finalizers == ["example.com/keep"], kept.metadata
core.patch_namespaced_config_map("shared", NAMESPACE, [{"op": "remove", "path": "/metadata/finalizers"}])
refused(404, "NotFound", "shared", core.read_namespaced_config_map, "shared", NAMESPACE)
# Kinds that are not here.
refused(405, "MethodNotAllowed", "Deployment needs a Kubernetes cluster", client.AppsV1Api().create_namespaced_deployment, NAMESPACE,
        client.V1Deployment(metadata=meta("web"), spec=client.V1DeploymentSpec(
            selector=client.V1LabelSelector(match_labels={"a": "b"}), template=template("true"))))
try:
    client.CustomObjectsApi().create_namespaced_custom_object("argoproj.io", "v1alpha1", NAMESPACE, "workflows", {"kind": "Workflow"})
    raise SystemExit("a Workflow was accepted")
except client.ApiException as error:
    assert error.status == 404, error
print("ok")
