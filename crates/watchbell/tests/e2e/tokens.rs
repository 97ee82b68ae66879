//! Tokens of service accounts in real containers, and the real kubectl that comes with one.

use std::process::Command;

use crate::stand::{Done, Stand, is_left_out, run};

const DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A pod that lives until it is ended.
fn pod(name: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  {more}\n  terminationGracePeriodSeconds: 0\n  \
         containers:\n  - name: main\n    image: busybox:bar\n    imagePullPolicy: Never\n    \
         command: [busybox, sleep, infinity]\n"
    )
}

fn kubectl(stand: &Stand, args: &[&str]) -> Done {
    let mut command = Command::new("kubectl");
    command.arg("--kubeconfig").arg(stand.kubeconfig()).args(args);
    run(command, "")
}

/// What a container of the pod finds in a file of its account.
fn read(stand: &Stand, namespace: &str, pod: &str, file: &str) -> Done {
    let path = format!("{DIR}/{file}");
    kubectl(stand, &["-n", namespace, "exec", pod, "--", "busybox", "cat", &path])
}

/// Who a token is, as kubectl without anything else is told.
fn who(stand: &Stand, token: &str) -> Done {
    let mut command = Command::new("kubectl");
    command
        .args(["--kubeconfig=/dev/null", "--server", &stand.url(), "--token", token])
        .arg(format!("--certificate-authority={}", stand.data().join("pki/ca.crt").display()))
        .args(["auth", "whoami"]);
    run(command, "")
}

fn runs(stand: &Stand, namespace: &str, pod: &str) {
    kubectl(
        stand,
        &["-n", namespace, "wait", "--for=condition=Ready", &format!("pod/{pod}"), "--timeout=60s"],
    )
    .ok();
}

#[test]
fn a_container_finds_its_token_and_its_end_is_the_tokens() {
    if is_left_out(&["busybox", "kubectl"]) {
        return;
    }
    let mut stand = Stand::with_busybox();
    kubectl(&stand, &["create", "namespace", "lab"]).ok();
    kubectl(&stand, &["label", "namespace", "lab", "pod-security.kubernetes.io/enforce=baseline"]).ok();
    kubectl(&stand, &["-n", "lab", "create", "serviceaccount", "robot"]).ok();
    let manifest = stand.path("pod.yaml");
    std::fs::write(&manifest, pod("p", "serviceAccountName: robot")).unwrap();
    let manifest = manifest.display().to_string();
    kubectl(&stand, &["-n", "lab", "apply", "-f", &manifest]).ok();
    runs(&stand, "lab", "p");
    let token = read(&stand, "lab", "p", "token").ok();
    assert_eq!(read(&stand, "lab", "p", "namespace").ok(), "lab");
    let authority = std::fs::read_to_string(stand.data().join("pki/ca.crt")).unwrap();
    assert_eq!(read(&stand, "lab", "p", "ca.crt").ok().trim(), authority.trim());
    let told = who(&stand, &token).ok();
    for words in ["system:serviceaccount:lab:robot", "authentication.kubernetes.io/pod-name", "[p]"] {
        assert!(told.contains(words), "{told}");
    }
    // The next server does not know how old the token is, and gives the pod another one while it runs on.
    stand.kill();
    stand.launch();
    stand.wait_ready();
    stand.until("the token is replaced", |stand| {
        let now = read(stand, "lab", "p", "token");
        now.code == Some(0) && now.out != token
    });
    let next = read(&stand, "lab", "p", "token").ok();
    who(&stand, &token).ok();
    who(&stand, &next).ok();
    // The key is known to others: its tokens end, and the pod has another one within moments.
    let told = stand.watchbell(&["service-account", "rotate-key", "--revoke"]).ok();
    assert!(told.contains(" signs, since ") && !told.contains("verifies"), "{told}");
    assert_ne!(who(&stand, &next).code, Some(0));
    stand.until("the token is replaced again", |stand| {
        let now = read(stand, "lab", "p", "token");
        now.code == Some(0) && now.out != next
    });
    let last = read(&stand, "lab", "p", "token").ok();
    who(&stand, &last).ok();
    assert_eq!(stand.watchbell(&["service-account", "keys"]).ok(), told);
    kubectl(&stand, &["-n", "lab", "delete", "pod", "p"]).ok();
    for token in [token, next, last] {
        let refused = who(&stand, &token);
        assert_ne!(refused.code, Some(0), "{}", refused.out);
        assert!(refused.err.contains("Unauthorized") || refused.err.contains("logged in"), "{}", refused.err);
    }
    stand.end();
}

#[test]
fn a_namespace_without_a_level_gives_tokens_to_pods_that_ask() {
    if is_left_out(&["busybox", "kubectl"]) {
        return;
    }
    let stand = Stand::with_busybox();
    let manifest = stand.path("pods.yaml");
    let pods =
        [pod("silent", "serviceAccountName: default"), pod("asks", "automountServiceAccountToken: true")];
    std::fs::write(&manifest, pods.join("---\n")).unwrap();
    kubectl(&stand, &["apply", "-f", &manifest.display().to_string()]).ok();
    runs(&stand, "default", "silent");
    runs(&stand, "default", "asks");
    assert_ne!(read(&stand, "default", "silent", "token").code, Some(0));
    let token = read(&stand, "default", "asks", "token").ok();
    assert!(who(&stand, &token).ok().contains("system:serviceaccount:default:default"));
    // It is the user's own, who is not root.
    let look = ["exec", "asks", "--", "busybox", "stat", "-L", "-c", "%a %u"];
    let mode = kubectl(&stand, &[&look[..], &[&format!("{DIR}/token")]].concat()).ok();
    assert_eq!(mode.trim(), "640 65534");
    stand.end();
}
