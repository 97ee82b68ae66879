"""Every kind through its whole life, by typed calls, while an informer looks on."""

from lab import *

api = client
scheduling, node = client.SchedulingV1Api(), client.NodeV1Api()
networking, events = client.NetworkingV1Api(), client.EventsV1Api()
mark = NAMESPACE.replace("python-", "")
now = "2026-01-02T03:04:05.000000Z"
about = api.V1ObjectReference(kind="Job", name="x", namespace=NAMESPACE, api_version="batch/v1")
selector = api.V1LabelSelector(match_labels={"a": "b"})

# Group's calls, the kind in their names, an object of it, and a change of it: path, value.
KINDS = [
    (core, "config_map", api.V1ConfigMap(data={"a": "1"}), ("data", "b"), "2"),
    (core, "secret", api.V1Secret(string_data={"a": "1"}), ("data", "b"), "Mg=="),
    (core, "service_account", api.V1ServiceAccount(), ("automountServiceAccountToken",), False),
    (core, "pod", api.V1Pod(spec=template("exec /bin/busybox sleep 1000").spec),
     ("spec", "activeDeadlineSeconds"), 1000),
    (core, "event", api.CoreV1Event(metadata=meta("x"), involved_object=about, reason="Why", type="Normal"), ("message",), "because"),
    (core, "resource_quota", api.V1ResourceQuota(spec=api.V1ResourceQuotaSpec(hard={"count/secrets": "90"})),
     ("spec", "hard", "count/secrets"), "91"),
    (core, "limit_range", api.V1LimitRange(spec=api.V1LimitRangeSpec(limits=[
        api.V1LimitRangeItem(type="Container", max={"memory": "64Gi"})])), ("metadata", "labels", "c"), "d"),
    (core, "persistent_volume_claim", api.V1PersistentVolumeClaim(spec=api.V1PersistentVolumeClaimSpec(
        access_modes=["ReadWriteOnce"], resources=api.V1VolumeResourceRequirements(requests={"storage": "1Mi"}))),
     ("metadata", "labels", "c"), "d"),
    (batch, "job", job("x", "true", suspend=True), ("spec", "parallelism"), 2),
    (batch, "cron_job", api.V1CronJob(spec=api.V1CronJobSpec(schedule="@yearly", job_template=api.V1JobTemplateSpec(
        spec=api.V1JobSpec(template=template("true"))))), ("spec", "suspend"), True),
    (networking, "network_policy", api.V1NetworkPolicy(spec=api.V1NetworkPolicySpec(
        pod_selector=selector, policy_types=["Ingress"])), ("spec", "policyTypes"), ["Egress"]),
    (scheduling, "priority_class", api.V1PriorityClass(value=7), ("description",), "seven"),
    (node, "runtime_class", api.V1RuntimeClass(handler="runc"), ("metadata", "labels", "c"), "d"),
    (core, "namespace", api.V1Namespace(), ("metadata", "labels", "c"), "d"),
]
CLUSTER = {"priority_class", "runtime_class", "namespace"}


def nested(path, value):
    for part in reversed(path):
        value = {part: value}
    return value


def at(call_api, object, path):
    value = call_api.api_client.sanitize_for_serialization(object)
    for part in path:
        value = value[part]
    return value


def life(group, kind, body, path, value):
    scope = [] if kind in CLUSTER else [NAMESPACE]
    infix = "" if kind in CLUSTER else "namespaced_"
    name = f"{mark}-{kind}".replace("_", "-")
    body.metadata = meta(name, labels={"suite": mark})
    call = lambda verb: getattr(group, f"{verb}_{infix}{kind}")
    collection = lambda: getattr(group, f"list_{infix}{kind}")(*scope, label_selector=f"suite={mark}").items
    patch = lambda content, change, **more: call("patch")(name, *scope, change, _content_type=content, **more)

    informer = Informer(getattr(group, f"list_{infix}{kind}"), *scope, label_selector=f"suite={mark}")
    dry = call("create")(*scope, body, dry_run="All")
    assert dry.metadata.uid and not collection(), f"{kind}: a dry run made something"
    made = call("create")(*scope, body)
    assert made.metadata.uid and made.metadata.creation_timestamp and made.metadata.resource_version
    refused(409, "AlreadyExists", [name, "already exists"], call("create"), *scope, body)
    assert [o.metadata.name for o in collection()] == [name]
    # The four kinds of patch.
    changed = patch(STRATEGIC, {"metadata": {"annotations": {"strategic": "1"}}})
    changed = patch(MERGE, nested(path, value))
    assert at(group, changed, path) == value, f"{kind}: {changed}"
    changed = patch(JSON, [{"op": "add", "path": "/metadata/annotations/json", "value": "1"}])
    manifest = group.api_client.sanitize_for_serialization(body)
    applied = {"apiVersion": made.api_version, "kind": made.kind,
               "metadata": {"name": name, "annotations": {"applied": "1"}}}
    changed = patch(APPLY, applied, field_manager="suite", force=True)
    assert changed.metadata.annotations.keys() >= {"strategic", "json", "applied"}, changed.metadata
    assert {m.manager for m in changed.metadata.managed_fields} >= {"suite"}, changed.metadata.managed_fields
    del applied["metadata"]["annotations"]
    changed = patch(APPLY, applied, field_manager="suite", force=True)
    assert "applied" not in changed.metadata.annotations, f"{kind}: what its manager dropped is still there"
    # Replaced: the newest is needed, and a pod's status changes meanwhile.
    while True:
        current = call("read")(name, *scope)
        assert at(group, current, path) == value
        current.metadata.annotations = {"replaced": "1"}
        try:
            replaced = call("replace")(name, *scope, current)
            break
        except client.ApiException as error:
            assert error.status == 409, error
    assert replaced.metadata.annotations == {"replaced": "1"} and replaced.metadata.uid == made.metadata.uid
    refused(409, "Conflict", "the object has been modified", call("replace"), name, *scope, current)
    refused(404, "NotFound", "absent", call("read"), "absent", *scope)
    if hasattr(group, f"read_{infix}{kind}_status"):
        assert call("read")(name, *scope).metadata.uid == getattr(group, f"read_{infix}{kind}_status")(name, *scope).metadata.uid
    # Deleted, by name and with all of its labels.
    body.metadata = meta(f"{name}-two", labels={"suite": mark})
    call("create")(*scope, body)
    gone = call("delete")(f"{name}-two", *scope, grace_period_seconds=0)
    kind_of_answer = getattr(gone, "kind", None) or gone["kind"]
    assert kind_of_answer in ("Status", made.kind), gone
    until("the second is gone", lambda: [o.metadata.name for o in collection()] == [name])
    other = api.V1Preconditions(uid="00000000-0000-4000-8000-000000000000")
    refused(409, "Conflict", "", call("delete"), name, *scope, body=api.V1DeleteOptions(preconditions=other))
    if kind in CLUSTER:
        call("delete")(name)
    else:
        getattr(group, f"delete_collection_{infix}{kind}")(*scope, label_selector=f"suite={mark}")
    informer.saw(("ADDED", name), ("MODIFIED", name), ("DELETED", name))
    until(f"{name} is gone", lambda: not collection())
    assert not informer.cache and informer.relists == 1, (informer.cache.keys(), informer.relists)
    informer.stopping = True
    assert manifest["metadata"]["name"] == name


for entry in KINDS:
    life(*entry)

# What is the machine's own.
(machine,) = core.list_node(label_selector="kubernetes.io/hostname").items
ready = [c for c in machine.status.conditions if c.type == "Ready"]
assert ready[0].status == "True" and int(machine.status.allocatable["pods"]) > 0, machine.status
core.patch_node(machine.metadata.name, {"metadata": {"labels": {f"suite-{mark}": "1"}}})
core.patch_node(machine.metadata.name, {"metadata": {"labels": {f"suite-{mark}": None}}})
# One event, by both of its groups.
core.create_namespaced_event(NAMESPACE, api.CoreV1Event(metadata=meta("both"), involved_object=about, reason="Why",
                                                        message="because", type="Normal", event_time=now,
                                                        action="a", reporting_component="suite/x", reporting_instance="x"))
newer = events.read_namespaced_event("both", NAMESPACE)
assert (newer.note, newer.regarding.name, newer.reason) == ("because", "x", "Why"), newer
until("a namespace has its account", lambda: "default" in
      [a.metadata.name for a in core.list_namespaced_service_account(NAMESPACE).items])
print("ok", len(KINDS))
