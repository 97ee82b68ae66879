"""Commands in a running pod, by the client's own streams; and kinds found by discovery alone."""

from kubernetes.dynamic import DynamicClient
from kubernetes.stream import stream

from lab import *

core.create_namespaced_pod(NAMESPACE, client.V1Pod(metadata=meta("talks"), spec=template("echo ready; exec /bin/busybox sleep 1000").spec))
until("it runs", lambda: core.read_namespaced_pod("talks", NAMESPACE).status.phase == "Running")
# A stream takes over the client that it is given: it has one of its own.
streams = client.CoreV1Api(client.ApiClient())
SHELL = ["/bin/busybox", "sh", "-c"]


def run(script, **more):
    options = dict(stderr=True, stdin=False, stdout=True, tty=False)
    options.update(more)
    return stream(streams.connect_get_namespaced_pod_exec, "talks", NAMESPACE, command=[*SHELL, script], **options)


assert run("echo out") == "out\n"
assert sorted(run("echo out; echo err >&2").split()) == ["err", "out"]
assert len(run("/bin/busybox seq 20000")) == len("".join(f"{n}\n" for n in range(1, 20001)))
# Both directions, and the exit code.
session = run("read line; echo got $line; echo oops >&2; exit 5", stdin=True, _preload_content=False)
session.write_stdin("words\n")
out = err = ""
while session.is_open():
    session.update(timeout=5)
    out += session.read_stdout() if session.peek_stdout() else ""
    err += session.read_stderr() if session.peek_stderr() else ""
# What came together with the end, after the one or the other was looked at.
out += session.read_stdout() if session.peek_stdout() else ""
err += session.read_stderr() if session.peek_stderr() else ""
session.close()
assert (out, err, session.returncode) == ("got words\n", "oops\n", 5), (out, err, session.returncode)
# Refused before anything is run.
try:
    stream(streams.connect_get_namespaced_pod_exec, "none", NAMESPACE, command=["true"], stdout=True)
    raise SystemExit("a pod that is not there ran something")
except client.ApiException as error:
    assert "404" in str(error), error
core.delete_namespaced_pod("talks", NAMESPACE, grace_period_seconds=0)

dynamic = DynamicClient(client.ApiClient())
jobs = dynamic.resources.get(api_version="batch/v1", kind="Job")
made = jobs.create(body=client.ApiClient().sanitize_for_serialization(job("found", "true")) | {"kind": "Job", "apiVersion": "batch/v1"},
                   namespace=NAMESPACE)
for event in jobs.watch(namespace=NAMESPACE, resource_version=made.metadata.resourceVersion, timeout=60):
    if event["object"].status.succeeded == 1:
        break
else:
    raise SystemExit("the Job never succeeded")
assert [j.metadata.name for j in jobs.get(namespace=NAMESPACE).items] == ["found"]
jobs.patch(name="found", namespace=NAMESPACE, body={"metadata": {"labels": {"a": "b"}}}, content_type=MERGE)
assert jobs.get(name="found", namespace=NAMESPACE).metadata.labels.a == "b"
jobs.delete(name="found", namespace=NAMESPACE, propagation_policy="Background")
print("ok")
