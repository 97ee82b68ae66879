"""The other side of the tests: a server of S3 (moto), and repositories of Icechunk.

`services.py s3` serves until its input ends; each line of it is a command, each line of its output an answer.
`services.py make-icechunk REPOSITORY`, `services.py check-icechunk REPOSITORY`."""

import json
import sys


def s3():
    import boto3
    import numpy as np
    import zarr
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client(
        "s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1",
        aws_access_key_id="id", aws_secret_access_key="secret",
    )
    client.create_bucket(Bucket="data")
    print(f"http://{host}:{port}", flush=True)
    for line in sys.stdin:
        what, key, *rest = line.rstrip("\n").split(" ", 2)
        if what == "put":
            client.put_object(Bucket="data", Key=key, Body=rest[0].encode())
            print("done", flush=True)
        elif what == "upload":
            import pathlib
            for path in sorted(pathlib.Path(rest[0]).rglob("*")):
                if path.is_file():
                    name = key + "/" + str(path.relative_to(rest[0]))
                    client.put_object(Bucket="data", Key=name, Body=path.read_bytes())
            print("done", flush=True)
        elif what == "delete":
            client.delete_object(Bucket="data", Key=key)
            print("done", flush=True)
        elif what == "uploads":
            # How many parts each unfinished upload below the prefix has.
            found = client.list_multipart_uploads(Bucket="data", Prefix=key + "/").get("Uploads", [])
            parts = [
                len(client.list_parts(Bucket="data", Key=of["Key"], UploadId=of["UploadId"]).get("Parts", []))
                for of in found
            ]
            print(json.dumps(parts), flush=True)
        elif what == "etag":
            print(client.head_object(Bucket="data", Key=key)["ETag"], flush=True)
        elif what == "tree":
            found = {}
            for page in client.get_paginator("list_objects_v2").paginate(Bucket="data", Prefix=key + "/"):
                for entry in page.get("Contents", []):
                    body = client.get_object(Bucket="data", Key=entry["Key"])["Body"].read()
                    found[entry["Key"][len(key) + 1:]] = body.hex()
            print(json.dumps(found), flush=True)
    server.stop()


def values():
    import numpy as np
    return np.arange(7 * 5, dtype="float32").reshape(7, 5)


def make_icechunk(place):
    import icechunk
    import zarr
    repository = icechunk.Repository.create(icechunk.local_filesystem_storage(place))
    session = repository.writable_session("main")
    root = zarr.create_group(session.store, attributes={"title": "a"})
    array = root.create_array("t", shape=(7, 5), chunks=(2, 5), dtype="float32", dimension_names=("time", "lat"))
    array[:] = values()
    session.commit("made")


def check_icechunk(place):
    import icechunk
    import numpy as np
    import zarr
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(place))
    root = zarr.open_group(repository.readonly_session("main").store, mode="r")
    assert root.attrs["title"] == "a"
    assert np.array_equal(root["t"][:], values())
    assert root["t"].metadata.dimension_names == ("time", "lat")
    assert [entry.message for entry in repository.ancestry(branch="main")][0] == "from watchbell"


if __name__ == "__main__":
    {"s3": s3, "make-icechunk": make_icechunk, "check-icechunk": check_icechunk}[sys.argv[1]](*sys.argv[2:])
