//! Pods that may connect to something: the whole way from a NetworkPolicy to a server, and the trail of it. Server, clients and pods are
//! in network namespaces that the test makes, and so is what they connect to.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::stand::{Done, Stand, is_left_out, which};

const POLICY: &str = r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: collect
  annotations:
    watchbell.dev/egress-names: '["*.example.org:8080"]'
spec:
  podSelector: {matchLabels: {app: collect}}
  policyTypes: [Egress]
"#;

/// Any address, as far as anything is reached at all.
const OPEN: &str = r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: open}
spec:
  podSelector: {matchLabels: {app: collect}}
  policyTypes: [Egress]
  egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: 8080}, {port: 80}, {port: 8081}]}]
"#;

/// A machine and what is outside of it, joined by a wire.
struct Machine {
    outside: Child,
    inside: Child,
}

impl Machine {
    fn new(dir: &Path) -> Machine {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/network/outside.py");
        let setup = format!(
            "ip link set lo up && for a in 11.0.0.2 10.9.9.9 169.254.169.254; do ip addr add $a/32 dev lo; done && exec python3 {}",
            script.display()
        );
        let mut unshare = Command::new("unshare");
        let outside = holding(unshare.args(["--net", "sh", "-c", &setup]));
        let resolv_conf = dir.join("resolv.conf");
        std::fs::write(&resolv_conf, "nameserver 11.0.0.2\n").unwrap();
        let setup = format!(
            "ip link set lo up && ip link add wire type veth peer name wire netns {pid} && ip addr add 11.0.0.1/24 dev wire && \
             ip link set wire up && nsenter --net=/proc/{pid}/ns/net ip addr add 11.0.0.3/24 dev wire && \
             nsenter --net=/proc/{pid}/ns/net ip link set wire up && ip route add default via 11.0.0.3 && \
             mount --bind {resolv} /etc/resolv.conf && echo the machine is there && exec cat",
            pid = outside.id(),
            resolv = resolv_conf.display()
        );
        let mut unshare = Command::new("unshare");
        let inside = holding(unshare.args(["--net", "--mount", "sh", "-c", &setup]));
        Machine { outside, inside }
    }

    fn enter(&self) -> Vec<String> {
        let pid = self.inside.id();
        let namespaces = [format!("--net=/proc/{pid}/ns/net"), format!("--mount=/proc/{pid}/ns/mnt")];
        std::iter::once("nsenter".to_owned()).chain(namespaces).collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for child in [&mut self.inside, &mut self.outside] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts what says a line when it is ready, and ends with its input at the latest.
fn holding(command: &mut Command) -> Child {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("is there"), "{line:?}");
    child
}

/// An image with curl and what it is linked against.
fn build_curl(stand: &Stand) {
    let curl = which("curl").unwrap();
    let listed = Command::new("ldd").arg(&curl).output().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let mut build = stand.program();
    build.args(["image", "build", "curl:1", "--from", "scratch", "--data-dir"]).arg(stand.data());
    for file in listed.split_whitespace().filter(|word| word.starts_with('/')) {
        let real = std::fs::canonicalize(file).unwrap();
        build.arg("--copy").arg(format!("{}:{file}", real.display()));
    }
    build.arg("--copy").arg(format!("{}:/usr/bin/curl", curl.display()));
    build.arg("--copy").arg(format!("{}:/bin/busybox", which("busybox").unwrap().display()));
    let built = build.output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
}

fn pod(name: &str, app: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {app}}}}}\nspec:\n  terminationGracePeriodSeconds: 0\n  \
         containers:\n  - {{name: main, image: curl:1, imagePullPolicy: Never, command: [/bin/busybox, sleep, '100000']}}\n"
    )
}

fn curl(stand: &Stand, pod: &str, url: &str) -> Done {
    stand.watchbell(&["exec", pod, "--", "/usr/bin/curl", "-sS", "--max-time", "60", url])
}

/// The gate takes a connection before it judges it, and resets it then, which curl sees while it connects (7) or after (52, 55, 56).
#[track_caller]
fn refused(stand: &Stand, pod: &str, url: &str) {
    let done = curl(stand, pod, url);
    assert!(matches!(done.code, Some(7 | 52 | 55 | 56)), "{url}: {done:?}");
}

/// 6: the name does not resolve, 7: there is no route.
#[track_caller]
fn fails(stand: &Stand, pod: &str, url: &str, code: i32) {
    let done = curl(stand, pod, url);
    assert_eq!(done.code, Some(code), "{url}: {done:?}");
}

fn running(stand: &mut Stand, pod: &str) {
    stand.until(&format!("{pod} runs"), |stand| stand.get(&["pod", pod])["status"]["phase"] == "Running");
}

/// The entries of the trail about connections: action, then what a person looks for.
fn connections(stand: &Stand) -> Vec<String> {
    let data = stand.data().display().to_string();
    let found = stand.watchbell(&["audit", "search", "-o", "json", "--data-dir", &data]).ok();
    let read = |line: &str| serde_json::from_str::<Value>(line).map(|mut line| line["entry"].take());
    let entries = found.lines().filter_map(|line| read(line).ok());
    let text = |entry: &Value, key: &str| entry["details"][key].to_string().trim_matches('"').to_owned();
    entries
        .filter(|entry| entry["action"].as_str().is_some_and(|action| action.starts_with("connection-")))
        .map(|entry| {
            let action = entry["action"].as_str().unwrap_or_default().to_owned();
            let more = if action == "connection-allowed" { "policy" } else { "how" };
            let keys = ["name", "address", "port", more];
            keys.iter().fold(action, |line, key| format!("{line} {}", text(&entry, key)))
        })
        .collect()
}

#[test]
fn a_pod_connects_to_what_its_policies_allow_and_each_connection_is_recorded() {
    if is_left_out(&["busybox", "curl", "ip", "nsenter", "unshare", "python3"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let machine = Machine::new(dir.path());
    let mut stand = Stand::within(machine.enter());
    build_curl(&stand);
    stand.serve(&[]);
    stand.apply(POLICY);
    stand.apply(&pod("collects", "collect"));
    stand.apply(&pod("idles", "other"));
    running(&mut stand, "collects");
    running(&mut stand, "idles");

    assert_eq!(
        curl(&stand, "collects", "http://data.example.org:8080/").ok(),
        "data.example.org:8080 at 8080\n"
    );
    // Another port, another name, an address instead of the name, a name of a private address or of the metadata service.
    refused(&stand, "collects", "http://data.example.org:8081/");
    fails(&stand, "collects", "http://other.example.net:8080/", 6);
    refused(&stand, "collects", "http://11.0.0.2:8080/");
    refused(&stand, "collects", "http://rebind.example.org:8080/");
    refused(&stand, "collects", "http://metadata.example.org:8080/");
    refused(&stand, "collects", "http://169.254.169.254/");
    // No policy selects it: there is no resolver and no route.
    fails(&stand, "idles", "http://data.example.org:8080/", 6);
    fails(&stand, "idles", "http://11.0.0.2:8080/", 7);

    // A policy more counts at once, for pods with a door; it opens no metadata, and nothing of the machine itself.
    stand.apply(OPEN);
    stand
        .until("the policy counts", |stand| curl(stand, "collects", "http://11.0.0.2:8081/").code == Some(0));
    assert_eq!(
        curl(&stand, "collects", "http://rebind.example.org:8080/").ok(),
        "rebind.example.org:8080 at 8080\n"
    );
    refused(&stand, "collects", "http://169.254.169.254/");
    refused(&stand, "collects", "http://metadata.example.org/");
    refused(&stand, "collects", "http://11.0.0.1:8080/");
    fails(&stand, "idles", "http://11.0.0.2:8080/", 7);

    // The door outlives the server; what changed while there was none counts when there is one.
    stand.kill();
    stand.launch();
    stand.wait_ready();
    assert_eq!(
        curl(&stand, "collects", "http://data.example.org:8080/").ok(),
        "data.example.org:8080 at 8080\n"
    );
    stand.watchbell(&["delete", "networkpolicy", "open", "collect"]).ok();
    stand.until("nothing is allowed", |stand| {
        curl(stand, "collects", "http://data.example.org:8080/").code == Some(6)
    });

    let wanted = [
        "connection-allowed data.example.org 11.0.0.2 8080 default/collect",
        "connection-ended data.example.org 11.0.0.2 8080 Closed",
        "connection-refused null 11.0.0.2 8080 null",
        "connection-refused null 169.254.169.254 80 null",
        "connection-refused null 11.0.0.1 8080 null",
        "connection-refused other.example.net null null null",
        "connection-refused rebind.example.org 10.9.9.9 8080 null",
        "connection-allowed rebind.example.org 10.9.9.9 8080 default/open",
    ];
    stand.until("all is in the trail", |stand| {
        let found = connections(stand);
        wanted.iter().all(|line| found.iter().any(|entry| entry == line))
    });
    for name in ["collects", "idles"] {
        stand.watchbell(&["delete", "pod", name]).ok();
    }
    stand.end();
}
