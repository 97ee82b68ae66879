#!/usr/bin/env python3
"""Icechunk repositories from and to plain directories, which `watchbell array import` and `export` know.

    icechunk_directory.py export REPOSITORY DIRECTORY [--branch NAME | --tag NAME | --snapshot ID]
    icechunk_directory.py import DIRECTORY REPOSITORY [--branch NAME] [--message TEXT]

REPOSITORY is a directory, or s3://BUCKET/PREFIX with what the AWS_* variables say. Needs the packages icechunk and zarr. Keys are copied
as they are: no chunk is decoded. An import replaces what the branch holds, in one commit; a repository that is not there is made."""

import argparse
import asyncio
import os
import pathlib
import shutil
import stat
import sys
import tempfile

import icechunk
from zarr.core.buffer import default_buffer_prototype

AT_ONCE = 32
# What an export has not finished lies here, beside the directory.
UNFINISHED = ".watchbell-partial"


def is_path(key):
    """Whether a key names a file below the directory that it is joined to."""
    return all(part not in ("", ".", "..") for part in key.split("/")) and "\0" not in key


def files_below(directory):
    """The regular files below a directory. Anything else is refused: a link may lead to any file of the user's."""
    found = []
    for above, names, files in os.walk(directory, onerror=fail):
        for name in names + files:
            path = pathlib.Path(above, name)
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                found.append(path)
            elif not stat.S_ISDIR(mode):
                sys.exit(f"{path} is neither a regular file nor a directory")
    return sorted(found)


def fail(error):
    raise error


def read(path):
    """The content of a regular file, which may have become a link meanwhile."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            sys.exit(f"{path} is no regular file")
        return file.read()


def storage(place):
    if not place.startswith("s3://"):
        return icechunk.local_filesystem_storage(place)
    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return icechunk.s3_storage(
        bucket=bucket, prefix=prefix, endpoint_url=endpoint, from_env=True, force_path_style=endpoint is not None,
        allow_http=os.environ.get("AWS_ALLOW_HTTP") == "true", region=os.environ.get("AWS_REGION", "us-east-1"),
    )


async def all_of(things, work):
    """Does the same with each, a few at once; the first error ends it."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(thing):
        async with gate:
            await work(thing)

    async with asyncio.TaskGroup() as group:
        for thing in things:
            group.create_task(one(thing))


async def export(args):
    repository = icechunk.Repository.open(storage(args.repository))
    if args.tag or args.snapshot:
        session = repository.readonly_session(tag=args.tag, snapshot_id=args.snapshot)
    else:
        session = repository.readonly_session(args.branch)
    target = pathlib.Path(args.directory)
    if target.exists() and any(target.iterdir()):
        sys.exit(f"{target} is not empty")
    keys = [key async for key in session.store.list()]
    for key in keys:
        if not is_path(key):
            sys.exit(f"the key {key!r} is no file's path")
    # A directory has its name when it is whole.
    place = pathlib.Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=target.absolute().parent))

    async def copy(key):
        content = await session.store.get(key, default_buffer_prototype())
        path = place / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.to_bytes())

    try:
        await all_of(keys, copy)
        place.chmod(0o755)
        # Over an empty directory, or none.
        os.rename(place, target)
    except BaseException:
        shutil.rmtree(place)
        raise
    print(f"{len(keys)} keys of snapshot {session.snapshot_id}", file=sys.stderr)


async def import_(args):
    source = pathlib.Path(args.directory)
    files = files_below(source)
    place = storage(args.repository)
    repository = icechunk.Repository.open_or_create(place)
    session = repository.writable_session(args.branch)
    await session.store.clear()
    buffer = default_buffer_prototype().buffer

    async def copy(path):
        key = path.relative_to(source).as_posix()
        await session.store.set(key, buffer.from_bytes(read(path)))

    # A chunk is taken only below an array that is there.
    documents = [path for path in files if path.name == "zarr.json"]
    for path in sorted(documents, key=lambda path: len(path.parts)):
        await copy(path)
    await all_of([path for path in files if path.name != "zarr.json"], copy)
    print(session.commit(args.message))
    print(f"{len(files)} keys", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    out = verbs.add_parser("export")
    out.add_argument("repository")
    out.add_argument("directory")
    out.add_argument("--tag")
    out.add_argument("--snapshot")
    into = verbs.add_parser("import")
    into.add_argument("directory")
    into.add_argument("repository")
    into.add_argument("--message", default="imported")
    for verb in (out, into):
        verb.add_argument("--branch", default="main")
    args = parser.parse_args()
    asyncio.run(export(args) if args.verb == "export" else import_(args))


if __name__ == "__main__":
    main()
