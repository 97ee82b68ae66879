"""Jobs that run: watched, their logs read and followed, cleaned up by the server."""

from lab import *

made = batch.create_namespaced_job(NAMESPACE, job(
    "array", "echo index $JOB_COMPLETION_INDEX; echo more", completion_mode="Indexed", completions=4, parallelism=2))
seen = []
stream = watch.Watch()
for event in stream.stream(batch.list_namespaced_job, NAMESPACE, resource_version=made.metadata.resource_version,
                           timeout_seconds=60):
    status = event["object"].status
    seen.append(event["type"])
    if any(c.type == "Complete" and c.status == "True" for c in status.conditions or []):
        assert (status.succeeded, status.completed_indexes, status.ready, status.terminating) == (4, "0-3", 0, 0), status
        stream.stop()
        break
else:
    raise SystemExit(f"the watch ended early: {seen}")
pods = core.list_namespaced_pod(NAMESPACE, label_selector="batch.kubernetes.io/job-name=array").items
assert len(pods) == 4 and all(p.status.phase == "Succeeded" for p in pods), pods
logs = sorted(core.read_namespaced_pod_log(p.metadata.name, NAMESPACE) for p in pods)
assert logs == [f"index {i}\nmore\n" for i in range(4)], logs
first = pods[0].metadata.name
assert core.read_namespaced_pod_log(first, NAMESPACE, tail_lines=1) == "more\n"
assert len(core.read_namespaced_pod_log(first, NAMESPACE, limit_bytes=3)) == 3
stamped = core.read_namespaced_pod_log(first, NAMESPACE, timestamps=True).splitlines()
assert all(line[:4].isdigit() and "T" in line.split(" ")[0] for line in stamped), stamped
refused(400, "BadRequest", "container nobody is not valid", core.read_namespaced_pod_log, first, NAMESPACE, container="nobody")
# Page by page, and only what was asked for.
page = core.list_namespaced_pod(NAMESPACE, limit=3)
rest = core.list_namespaced_pod(NAMESPACE, limit=3, _continue=page.metadata._continue)
assert (len(page.items), page.metadata.remaining_item_count, len(rest.items)) == (3, 1, 1)
assert page.metadata.resource_version == rest.metadata.resource_version
assert not core.list_namespaced_pod(NAMESPACE, field_selector="status.phase!=Succeeded").items
assert len(core.list_namespaced_pod(NAMESPACE, label_selector="job-name in (array), !none").items) == 4

# A log is followed while it is written; the Job fails when it is over its time.
pod = core.create_namespaced_pod(NAMESPACE, client.V1Pod(metadata=meta("talks"), spec=template(
    "n=0; while [ $n -lt 5 ]; do echo line $n; n=$((n+1)); /bin/busybox sleep 0.1; done").spec))
until("it talks", lambda: core.read_namespaced_pod("talks", NAMESPACE).status.phase != "Pending")
lines = list(watch.Watch().stream(core.read_namespaced_pod_log, "talks", NAMESPACE))
assert lines == [f"line {n}" for n in range(5)], lines
batch.create_namespaced_job(NAMESPACE, job("late", "exec /bin/busybox sleep 1000", active_deadline_seconds=1))
until("it is over its time", lambda: any(
    c.type == "Failed" and c.reason == "DeadlineExceeded"
    for c in batch.read_namespaced_job("late", NAMESPACE).status.conditions or []))

# Suspended and resumed.
batch.create_namespaced_job(NAMESPACE, job("held", "true", suspend=True))
assert not core.list_namespaced_pod(NAMESPACE, label_selector="job-name=held").items
batch.patch_namespaced_job("held", NAMESPACE, {"spec": {"suspend": False}})
until("it runs", lambda: batch.read_namespaced_job("held", NAMESPACE).status.succeeded == 1)

# A CronJob's run by hand, owned by it, goes with it.
cron = batch.create_namespaced_cron_job(NAMESPACE, client.V1CronJob(metadata=meta("nightly"), spec=client.V1CronJobSpec(
    schedule="@yearly", suspend=True, job_template=client.V1JobTemplateSpec(spec=client.V1JobSpec(template=template("true"))))))
owner = client.V1OwnerReference(api_version="batch/v1", kind="CronJob", name="nightly", uid=cron.metadata.uid, controller=True)
by_hand = job("by-hand", "true")
by_hand.metadata.owner_references = [owner]
batch.create_namespaced_job(NAMESPACE, by_hand)
until("it completes", lambda: batch.read_namespaced_job("by-hand", NAMESPACE).status.succeeded == 1)
batch.delete_namespaced_cron_job("nightly", NAMESPACE, propagation_policy="Foreground")
until("both are gone", lambda: not [j for j in batch.list_namespaced_job(NAMESPACE).items if j.metadata.name == "by-hand"])

# Deleted in the foreground: the pods go before the Job does.
before = core.list_namespaced_pod(NAMESPACE).metadata.resource_version
batch.delete_namespaced_job("array", NAMESPACE, propagation_policy="Foreground")
gone = 0
for event in watch.Watch().stream(core.list_namespaced_pod, NAMESPACE, resource_version=before, timeout_seconds=60,
                                  label_selector="job-name=array"):
    gone += event["type"] == "DELETED"
    if gone == 4:
        break
assert gone == 4
batch.delete_collection_namespaced_job(NAMESPACE, propagation_policy="Background")
until("all pods of Jobs are gone", lambda: [p.metadata.name for p in core.list_namespaced_pod(NAMESPACE).items] == ["talks"])
print("ok", client.VersionApi().get_code().git_version)
