"""What cataloguing an image costs: ours, syft's and `gzip -dc` of the layers, in turns; and what a whole scan does. Arguments:
the program of watchbell-scan's example `catalog`, a directory for the images, the number of rounds, `watchbell`, and the
directory of an index of advisories (else the scan says nothing of vulnerabilities).

The images are made of Debian's packages by mmdebstrap: `small` (a minimal Debian) and `python` (an interpreter with zarr and
scikit-learn, as a job for machine learning has it). Wall time, processor time and the largest resident memory of each process
are those that the kernel counts (wait4)."""

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

PYTHON_PACKAGES = ["zarr", "scikit-learn"]


def say_and_leave(reason):
    print(f"catalogue: left out: {reason}")
    sys.exit(0)


def run(*command, **options):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)


def release():
    with open("/etc/os-release", encoding="utf-8") as file:
        values = dict(line.strip().split("=", 1) for line in file if "=" in line)
    return values["VERSION_CODENAME"].strip('"')


def tree(place, kind):
    archive = place / f"{kind}.tar"
    if archive.exists():
        return archive
    if not shutil.which("mmdebstrap"):
        say_and_leave("the images are made by mmdebstrap, which is not installed (make bench-setup)")
    if kind == "small":
        run("mmdebstrap", "--variant=minbase", release(), archive)
        return archive
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    base = place / "base.tar"
    packages = f"base-files,libc6,libpython{version}-stdlib,python{version}-minimal,libstdc++6,libgcc-s1,zlib1g"
    run("mmdebstrap", "--variant=extract", f"--include={packages}", release(), base)
    root = place / "root"
    root.mkdir()
    run("tar", "-C", root, "-xf", base)
    target = root / "usr/lib/python3/dist-packages"
    run(sys.executable, "-m", "pip", "install", "--target", target, *PYTHON_PACKAGES)
    run("tar", "-C", root, "--sort=name", "--mtime=@0", "--owner=0", "--group=0", "-cf", archive, ".")
    shutil.rmtree(root)
    return archive


def layout(place, kind):
    """An OCI image layout of one gzip layer; gives back the layer's file and the bytes of what is in it."""
    out = place / f"oci-{kind}"
    note = out / "note.json"
    if not note.exists():
        shutil.rmtree(out, ignore_errors=True)
        blobs = out / "blobs/sha256"
        blobs.mkdir(parents=True)

        def put(content):
            digest = hashlib.sha256(content).hexdigest()
            (blobs / digest).write_bytes(content)
            return {"digest": f"sha256:{digest}", "size": len(content)}

        plain = tree(place, kind).read_bytes()
        layer = put(gzip.compress(plain, 6, mtime=0))
        layer["mediaType"] = "application/vnd.oci.image.layer.v1.tar+gzip"
        diff_id = f"sha256:{hashlib.sha256(plain).hexdigest()}"
        config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [diff_id]}}
        config = put(json.dumps(config).encode()) | {"mediaType": "application/vnd.oci.image.config.v1+json"}
        media_type = "application/vnd.oci.image.manifest.v1+json"
        manifest = {"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [layer]}
        manifest = put(json.dumps(manifest).encode()) | {"mediaType": media_type}
        manifest["annotations"] = {"org.opencontainers.image.ref.name": kind}
        (out / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
        (out / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        note.write_text(json.dumps({"layer": str(blobs / layer["digest"][7:]), "bytes": len(plain)}))
    noted = json.loads(note.read_text())
    return out, noted["layer"], noted["bytes"]


def measure(command, output):
    """Seconds on the wall and of processors, and KiB of memory. A process counts the memory of whoever started it as its own
    until it runs its program, so a small one starts it."""
    told = subprocess.run(
        [sys.executable, "-I", __file__, "measure", output, *command], check=True, stdout=subprocess.PIPE
    )
    return json.loads(told.stdout)


def measure_here(output, command):
    with open(output, "wb") as file:
        begin = time.monotonic()
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{command[0]} ended with {process.returncode}")
    print(json.dumps([wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss]))


def purls(ours, theirs):
    mine = {line.split("\t")[0] for line in Path(ours).read_text().splitlines()}
    other = {artifact["purl"] for artifact in json.loads(Path(theirs).read_text())["artifacts"]}
    return mine, other


def main():
    if sys.argv[1] == "measure":
        measure_here(sys.argv[2], sys.argv[3:])
        return
    program, place, rounds, whole = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    advisories = ["--db", sys.argv[5]] if len(sys.argv) > 5 and sys.argv[5] else []
    place.mkdir(parents=True, exist_ok=True)
    syft = Path(sys.executable).parent / "syft"
    syft = str(syft) if syft.exists() else shutil.which("syft")
    for kind in ("small", "python"):
        out, layer, plain = layout(place, kind)
        commands = {
            "watchbell": [program, "table", f"oci:{out}:{kind}"],
            "scan": [whole, "scan", f"oci:{out}:{kind}", "-o", "json", *advisories],
            "gzip -dc": ["gzip", "-dc"],
        }
        if syft:
            commands["syft"] = [syft, f"oci-dir:{out}", "-o", "json"]
        outputs = {name: place / f"{kind}.{name.split()[0]}.out" for name in commands}
        outputs["gzip -dc"] = Path(os.devnull)
        commands["gzip -dc"].append(layer)
        results = {name: [] for name in commands}
        os.environ["SYFT_CHECK_FOR_APP_UPDATE"] = "false"
        for _ in range(rounds):
            for name, command in commands.items():
                results[name].append(measure(command, outputs[name]))
        size = os.path.getsize(layer)
        print(f"catalogue of `{kind}`: a layer of {size / 1e6:.1f} MB, {plain / 1e6:.1f} MB unpacked; median of {rounds}")
        for name, runs in results.items():
            wall, processor, memory = (sorted(column)[len(runs) // 2] for column in zip(*runs))
            print(f"  {name:10} {wall * 1000:8.0f} ms wall {processor * 1000:8.0f} ms processor {memory / 1024:8.1f} MiB")
        if syft:
            mine, other = purls(outputs["watchbell"], outputs["syft"])
            print(f"  packages: {len(mine)} and {len(other)} of syft; {len(mine & other)} by the very same package URL")
            for name in sorted(other - mine):
                print(f"    syft alone: {name}")
            for name in sorted(mine - other):
                print(f"    we alone: {name}")
        else:
            print("  syft: left out, it is not installed (make bench-setup)")


main()
