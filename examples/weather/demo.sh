#!/bin/sh
# Builds watchbell and the example, runs the example's 36 tasks and its last steps as hardened containers, prints what came
# out and what was guarded, and ends by itself. Nothing is left behind but what cargo built.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
example=$root/examples/weather
target=${CARGO_TARGET_DIR:-$root/target}
cargo=${CARGO:-cargo}
watchbell=$target/release/watchbell

if [ "$(id -u)" != 0 ]; then
    echo "demo: containers are started, which needs root; run it as: sudo env PATH=\"\$PATH\" make demo" >&2
    exit 1
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/watchbell-demo.XXXXXX")
data=$work/data
server=
clean_up() {
    status=$?
    trap - EXIT INT TERM HUP
    if [ -n "$server" ] && kill -0 "$server" 2>/dev/null; then
        kill -TERM "$server"
        wait "$server" || status=1
    fi
    if [ "$status" != 0 ] && [ -s "$work/server.log" ]; then
        echo "demo: failed; the end of the server's log:" >&2
        tail -n 30 "$work/server.log" >&2
    fi
    # The spawner ends when its directory is gone; until then it may write there once more.
    left=0
    until rm -rf "$work" 2>/dev/null || [ "$left" -gt 50 ]; do
        left=$((left + 1))
        sleep 0.1
    done
    left=0
    while grep -q "$work" /proc/[0-9]*/cmdline 2>/dev/null; do
        left=$((left + 1))
        if [ "$left" -gt 150 ]; then
            echo "demo: a process of $work has not ended" >&2
            status=1
            break
        fi
        sleep 0.1
    done
    # Whatever one of them wrote as it ended.
    rm -rf "$work"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

step() {
    printf '\n== %s\n' "$1"
}

step "1. Build the release binary and the example's static program"
(cd "$root" && "$cargo" build --release --locked -p watchbell)
host=$(rustc -vV | sed -n 's/^host: //p')
(cd "$example" && RUSTFLAGS="-C target-feature=+crt-static" CARGO_TARGET_DIR="$target/weather" \
    "$cargo" build --release --locked --target "$host")
program=$target/weather/$host/release/weather

step "2. Build an image of it, offline: one static binary and the data, no shell"
"$watchbell" image build weather:demo --from scratch --data-dir "$data" \
    --copy "$program:/weather" --copy "$example/data/weather.csv.gz:/data/weather.csv.gz" --entrypoint /weather
"$watchbell" image ls --data-dir "$data"

step "3. Serve on a loopback port, apply the example, start its array now and follow it"
"$watchbell" serve --data-dir "$data" --listen 127.0.0.1:0 2>"$work/server.log" &
server=$!
export KUBECONFIG="$data/admin.kubeconfig"
tries=0
until "$watchbell" get namespaces >/dev/null 2>&1; do
    tries=$((tries + 1))
    if ! kill -0 "$server" 2>/dev/null || [ "$tries" -gt 300 ]; then
        echo "demo: the server did not become ready" >&2
        exit 1
    fi
    sleep 0.1
done
"$watchbell" apply -f "$example"
"$watchbell" trigger cronjob/weather -n weather --name weather-now --follow
"$watchbell" get jobs,cronjobs -n weather

step "4. Gather the results of the 36 indexes in a last task"
"$watchbell" logs job/weather-now -n weather >"$work/results.jsonl"
{
    printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: weather-results, namespace: weather}\nimmutable: true\n'
    printf 'data:\n  results.jsonl: |\n'
    sed 's/^/    /' "$work/results.jsonl"
} >"$work/results.yaml"
"$watchbell" apply -f "$work/results.yaml" -f "$example/steps/gather.yaml"
"$watchbell" follow job/weather-gather -n weather
"$watchbell" logs job/weather-gather -n weather | tee "$work/table.txt"
grep -q "all 36 results are there and add up to the known totals" "$work/table.txt"

step "5. What was guarded, as a task sees it, beside what docker run gives"
"$watchbell" apply -f "$example/steps/guard.yaml"
"$watchbell" follow job/weather-guard -n weather
"$watchbell" logs job/weather-guard -n weather | tee "$work/guard.txt"
for expected in \
    "user, group  *65534, 65534 " \
    "capabilities effective  *none " \
    "capabilities bounding  *none " \
    "NoNewPrivs  *1 " \
    "Seccomp  *2 (filter) " \
    "writable directories  *\(/dev/mqueue \)*\(/dev/shm \)*/tmp " \
    "network interfaces  *lo  "; do
    if ! grep -q "^$expected" "$work/guard.txt"; then
        echo "demo: the task was not guarded as promised: no line '$expected'" >&2
        exit 1
    fi
done

step "6. Let an editor of another namespace try to change the CronJob"
"$watchbell" user add eve --save "$work/eve.kubeconfig"
cat >"$work/elsewhere.yaml" <<'END'
apiVersion: v1
kind: Namespace
metadata: {name: elsewhere}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: eve, namespace: elsewhere}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: eve}]
END
"$watchbell" apply -f "$work/elsewhere.yaml"
eve() { "$watchbell" --kubeconfig "$work/eve.kubeconfig" "$@"; }
eve get cronjobs -n elsewhere
before=$("$watchbell" get cronjob weather -n weather -o json)
for deed in "get cronjob weather" "apply -f $example/nightly.yaml" "suspend cronjob/weather" "delete cronjob weather"; do
    # The words of a deed are the command's.
    # shellcheck disable=SC2086
    if eve $deed -n weather >"$work/refused.txt" 2>&1; then
        echo "demo: eve was let: $deed" >&2
        exit 1
    fi
    cat "$work/refused.txt"
    grep -q 'is forbidden: User "eve" cannot ' "$work/refused.txt"
done
test "$before" = "$("$watchbell" get cronjob weather -n weather -o json)"

step "7. Know of a vulnerability, and start the image that mends it alone"
"$watchbell" db import "$example/steps/advisory.json" --db "$data/advisories"
"$watchbell" apply -f "$example/steps/image-policy.yaml"
for version in 1.0 1.1; do
    printf 'Metadata-Version: 2.1\nName: example-weather-reader\nVersion: %s\n' "$version" >"$work/METADATA"
    "$watchbell" image build "weather:$version" --from scratch --data-dir "$data" --entrypoint /weather \
        --copy "$program:/weather" --copy "$work/METADATA:/opt/example_weather_reader-$version.dist-info/METADATA"
    name=$(echo "$version" | tr . -)
    sed "s/VERSION/$version/; s/NAME/$name/" "$example/steps/versioned.yaml" >"$work/weather-$version.yaml"
    "$watchbell" apply -f "$work/weather-$version.yaml"
done
tries=0
until "$watchbell" get pods -n weather -l job-name=weather-1-0 -o json | grep -q ImagePolicyViolation; do
    tries=$((tries + 1))
    if [ "$tries" -gt 300 ]; then
        echo "demo: the image with a known vulnerability was not refused" >&2
        exit 1
    fi
    sleep 0.1
done
"$watchbell" get pods -n weather -l job-name=weather-1-0 -o json | grep -o '"message": "ImagePolicy .*"' | tee "$work/denied.txt"
grep -q "EXAMPLE-2026-1 (Critical) in example-weather-reader 1.0 is above Medium" "$work/denied.txt"
"$watchbell" follow job/weather-1-1 -n weather

step "8. End the server, and let its audit log prove what was refused"
kill -TERM "$server"
wait "$server"
server=
audit() { verb=$1 && shift && "$watchbell" audit "$verb" --data-dir "$data" "$@"; }
audit search --user eve --decision forbid | tee "$work/forbidden.txt"
grep -q "delete" "$work/forbidden.txt"
index=$(audit search --user eve --decision forbid --verb delete -o json | sed -n 's/^{"log":"[^"]*","index":\([0-9]*\).*/\1/p' | tail -n 1)
audit prove "$index" >"$work/entry.tlog-proof"
audit checkpoint --key >"$work/audit.pub"
# Whoever holds the log's public key can check it anywhere, with the proof alone.
"$watchbell" audit verify-proof "$work/entry.tlog-proof" --key "$work/audit.pub"
audit verify
echo "done"
