# Words of the transcripts beside real programs. Each command runs in a shell of its own.

# Looks until the command succeeds. Four minutes are far more than anything here takes.
await() {
    left=4800
    until eval "$1" >/dev/null 2>&1; do
        left=$((left - 1))
        if [ "$left" = 0 ]; then
            echo "it never happened: $1" >&2
            eval "$1" >&2
            return 1
        fi
        sleep 0.05
    done
}

# background NAME COMMAND: its output goes to NAME.out. It ends when it is told to, and with a test that failed a while later.
background() {
    name=$1
    shift
    timeout 300 "$@" >"$name.out" 2>"$name.err" </dev/null &
    echo $! >"$name.pid"
}

# Ends what was put into the background.
finish() {
    kill "$(cat "$1.pid")"
    rm "$1.pid"
}

# The name of the first pod of a Job.
pod_of() {
    kubectl get pods -l "batch.kubernetes.io/job-name=$1" -o 'jsonpath={.items[0].metadata.name}'
}
