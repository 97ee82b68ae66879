"""What the scripts share: the clients, the namespace, and an informer as controllers have one."""

import json
import sys
import threading
import time

import urllib3
from kubernetes import client, config, watch

config.load_kube_config(sys.argv[1])
NAMESPACE = sys.argv[2]
core, batch = client.CoreV1Api(), client.BatchV1Api()

# What the client's connection layer says when nobody answers.
OUTAGES = (urllib3.exceptions.HTTPError, ConnectionError)
JSON = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"


def meta(name, **more):
    return client.V1ObjectMeta(name=name, **more)


def template(script, **pod):
    """A pod template of busybox that runs a line of shell."""
    container = client.V1Container(
        name="main", image="busybox:bar", image_pull_policy="Never", command=["/bin/busybox", "sh", "-c", script]
    )
    pod.setdefault("restart_policy", "Never")
    pod.setdefault("termination_grace_period_seconds", 0)
    return client.V1PodTemplateSpec(spec=client.V1PodSpec(containers=[container], **pod))


def job(name, script, **spec):
    return client.V1Job(metadata=meta(name), spec=client.V1JobSpec(template=template(script), **spec))


def refused(status, reason, words, call, *args, **kwargs):
    """The call fails, with a Status that says why."""
    try:
        call(*args, **kwargs)
    except client.ApiException as error:
        body = json.loads(error.body)
        assert body["kind"] == "Status" and body["status"] == "Failure", body
        assert (error.status, body["code"], body["reason"]) == (status, status, reason), body
        for word in [words] if isinstance(words, str) else words:
            assert word in body["message"], body
        return body
    raise AssertionError(f"{call.__name__} was not refused")


def until(what, is_so, seconds=60):
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, f"it never happened: {what}"
        time.sleep(0.02)


class Informer(threading.Thread):
    """Lists once, then follows: at each moment `cache` is what the server had."""

    def __init__(self, call, *args, **kwargs):
        super().__init__(daemon=True)
        self.call, self.args, self.kwargs = call, args, kwargs
        self.cache, self.events, self.relists, self.resumes = {}, [], 0, 0
        self.stopping, self.trouble = False, None
        self.start()
        until("the informer has listed", lambda: self.relists or self.trouble)
        assert not self.trouble, self.trouble

    def run(self):
        try:
            self.repeat()
        except Exception as error:
            self.trouble = error
            raise

    def repeat(self):
        while not self.stopping:
            try:
                listed = self.call(*self.args, **self.kwargs)
                version = listed.metadata.resource_version
                self.cache = {o.metadata.name: o for o in listed.items}
                self.relists += 1
                self.follow(version)
            except client.ApiException as error:
                assert error.status == 410, error
            except OUTAGES:
                # The server is away: it is asked again until it is back.
                time.sleep(0.02)

    def follow(self, version):
        while not self.stopping:
            try:
                stream = watch.Watch().stream(
                    self.call,
                    *self.args,
                    resource_version=version,
                    allow_watch_bookmarks=True,
                    timeout_seconds=30,
                    **self.kwargs,
                )
                for event in stream:
                    version = self.take(event) or version
                    if self.stopping:
                        return
            except client.ApiException as error:
                if error.status == 410:
                    return
                raise
            except OUTAGES:
                time.sleep(0.02)
            self.resumes += 1

    def take(self, event):
        what, object = event["type"], event["object"]
        if what == "BOOKMARK":
            return event["raw_object"]["metadata"]["resourceVersion"]
        name = object.metadata.name
        known = self.cache.get(name)
        if what == "DELETED":
            assert known is not None, f"{name} was deleted before it was added"
            del self.cache[name]
        else:
            assert (what == "ADDED") == (known is None), f"{what} of {name}, known: {known is not None}"
            self.cache[name] = object
        self.events.append((what, name))
        return object.metadata.resource_version

    def saw(self, *events):
        until(f"the informer sees {events}, not {self.events}", lambda: self.trouble or all(e in self.events for e in events))
        assert not self.trouble, self.trouble
