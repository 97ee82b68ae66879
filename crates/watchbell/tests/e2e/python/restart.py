"""A watch that outlives the server: nothing is lost and nothing is told twice, whichever moment it is killed at."""

from lab import *

WRITES = 60
informer = Informer(core.list_namespaced_config_map, NAMESPACE)
written = []


def write():
    for n in range(WRITES):
        body = client.V1ConfigMap(metadata=meta(f"m-{n}"), data={"n": str(n)})
        while True:
            try:
                core.create_namespaced_config_map(NAMESPACE, body)
                break
            except client.ApiException as error:
                # The answer was lost, not the object.
                assert error.status == 409, error
                break
            except OUTAGES:
                time.sleep(0.02)
        written.append(body.metadata.name)
        # What outside this script kills the server waits for these lines.
        print("wrote", n, flush=True)
        if n % 20 == 10:
            sys.stdin.readline()


writer = threading.Thread(target=write)
writer.start()
writer.join()
until("the informer has them all", lambda: set(written) <= informer.cache.keys(), 90)
server = {o.metadata.name: o.metadata.resource_version for o in core.list_namespaced_config_map(NAMESPACE).items}
until("the informer is where the server is", lambda: {
    n: o.metadata.resource_version for n, o in informer.cache.items()} == server)
added = [name for what, name in informer.events if what == "ADDED"]
assert len(added) == len(set(added)), "an addition was told twice"
assert len(written) == WRITES
print("ok", informer.relists, informer.resumes)
