//! How a user comes in: what the administrator types, what the user's own kubectl sees, and how it ends.

use std::process::Command;

use serde_json::Value;

use crate::stand::{Done, Stand, is_left_out, job, run, which};

/// kubectl with a kubeconfig alone.
fn kubectl(stand: &Stand, kubeconfig: &str, args: &[&str]) -> Done {
    let mut command = Command::new(which("kubectl").unwrap());
    command.env_clear().env("HOME", stand.path("home")).env("PATH", "/usr/bin:/bin");
    command.arg("--kubeconfig").arg(stand.path(kubeconfig)).args(args);
    run(command, "")
}

fn user_info(done: Done) -> Value {
    serde_json::from_str(&done.ok()).unwrap()
}

/// `watchbell ARGS` over the local socket, as root.
fn over_socket(stand: &Stand, args: &[&str]) -> Done {
    let mut command = stand.program();
    command.arg("--kubeconfig").arg(stand.data().join("admin.sock")).args(args);
    run(command, "")
}

const WHO: [&str; 4] = ["auth", "whoami", "-o", "jsonpath={.status.userInfo}"];

#[test]
fn users_come_with_certificates_and_tokens_and_are_sent_away() {
    if is_left_out(&["kubectl"]) {
        return;
    }
    let stand = Stand::start();
    let path = |name: &str| stand.path(name).display().to_string();

    // A certificate, with a key that was made here.
    let add =
        ["user", "add", "ada", "--group", "ml", "--group", "system:masters", "--expires", "1d", "--save"];
    let done = stand.watchbell(&[&add[..], &[&path("ada.kubeconfig")]].concat());
    assert_eq!((done.code, done.out.as_str()), (Some(0), ""), "{done:?}");
    assert!(done.err.contains("usercertificate.watchbell.dev/ada-"), "{}", done.err);
    let again = stand.watchbell(&[&add[..], &[&path("ada.kubeconfig")]].concat());
    assert_eq!(again.code, Some(2), "a file is not overwritten: {again:?}");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(path("ada.kubeconfig")).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    let who = user_info(kubectl(&stand, "ada.kubeconfig", &WHO));
    assert_eq!(who["username"], "ada");
    assert_eq!(who["groups"], serde_json::json!(["ml", "system:masters", "system:authenticated"]));

    // A token: on standard output, or in a kubeconfig.
    let token =
        stand.watchbell(&["user", "token", "ci", "--group", "system:masters", "--description", "builds"]);
    assert!(token.out.starts_with("wbt_ci-") && token.out.trim().len() > 50, "{}", token.out);
    stand.watchbell(&["user", "token", "bob@example.com", "--save", &path("bob.kubeconfig")]).ok();
    let who = user_info(kubectl(&stand, "bob.kubeconfig", &WHO));
    assert_eq!(who["username"], "bob@example.com");
    assert_eq!(who["groups"], serde_json::json!(["system:authenticated"]));
    let refused = kubectl(&stand, "bob.kubeconfig", &["get", "pods"]);
    assert!(refused.err.contains("Error from server (Forbidden)"), "{}", refused.err);
    // `watchbell` itself comes with a token too.
    let mut own = stand.program();
    own.args(["get", "pods"]).env("KUBECONFIG", path("bob.kubeconfig"));
    assert!(run(own, "").err.contains("cannot list resource"), "known, and not allowed to");

    let list = stand.watchbell(&["user", "list"]).ok();
    for words in
        ["certificate   ada-", "token         ci-", "bob@example.com", "h left", "d left", "kubernetes-admin"]
    {
        assert!(list.contains(words), "{list} lacks {words}");
    }
    assert!(!list.contains(token.out.trim()), "a token is shown once");

    // One user is sent away: his watch ends and he is nobody; the others stay.
    let mut watch = Command::new(which("kubectl").unwrap());
    watch.env_clear().env("HOME", path("home")).env("PATH", "/usr/bin:/bin");
    watch.arg("--kubeconfig").arg(path("ada.kubeconfig")).args([
        "get",
        "namespaces",
        "--watch",
        "-o",
        "name",
    ]);
    let mut watch =
        watch.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(watch.stdout.take().unwrap()));
    assert!(lines.next().unwrap().unwrap().starts_with("namespace/"));
    let done = stand.watchbell(&["user", "revoke", "ada", "--reason", "left"]).ok();
    assert!(done.contains("certificaterevocation.watchbell.dev/"), "{done}");
    assert!(lines.map_while(Result::ok).count() < 10, "the watch ends");
    watch.wait().unwrap();
    assert!(kubectl(&stand, "ada.kubeconfig", &["get", "pods"]).err.contains("must be logged in"));
    stand.watchbell(&["user", "revoke", "bob@example.com"]).ok();
    assert!(kubectl(&stand, "bob.kubeconfig", &WHO).err.contains("must be logged in"));
    assert!(stand.watchbell(&["user", "list"]).ok().contains("revoked"));
    assert_eq!(stand.watchbell(&["user", "revoke", "nobody"]).code, Some(1));
    stand.end();
}

#[test]
fn root_of_the_machine_comes_over_the_local_socket() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let mut stand = Stand::with_busybox();
    let socket = stand.data().join("admin.sock");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&socket).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    assert!(over_socket(&stand, &["get", "namespaces"]).ok().contains("default"));
    let manifest = stand.path("job.yaml");
    std::fs::write(&manifest, job("long", "backoffLimit: 0", "echo up; sleep 600")).unwrap();
    over_socket(&stand, &["apply", "-f", &manifest.display().to_string()]).ok();
    stand.until("its pod runs", |s| over_socket(s, &["get", "pods"]).out.contains("Running"));
    // Sessions go over it as well.
    let said = over_socket(&stand, &["exec", "job/long", "--", "/bin/busybox", "echo", "hello"]).ok();
    assert_eq!(said.trim(), "hello");
    over_socket(&stand, &["delete", "job", "long"]).ok();

    // A kubeconfig that was lost, the administrator's own: only another way in may revoke it, and root has one.
    let lost = stand.path("lost.kubeconfig");
    std::fs::copy(stand.kubeconfig(), &lost).unwrap();
    let revoke = ["user", "revoke", "--certificate", &lost.display().to_string()];
    let own = stand.watchbell(&revoke);
    assert_eq!(own.code, Some(1), "{own:?}");
    assert!(own.err.contains("lock yourself out") && own.err.contains("admin.sock"), "{}", own.err);
    over_socket(&stand, &revoke).ok();
    let mut with_lost = stand.program();
    with_lost.arg("--kubeconfig").arg(&lost).args(["get", "pods"]);
    assert!(run(with_lost, "").err.contains("Unauthorized"));
    stand
        .until("admin.kubeconfig has another certificate", |s| s.watchbell(&["get", "pods"]).code == Some(0));
    // And a kubeconfig for somebody else can be made over it.
    assert!(over_socket(&stand, &["user", "add", "eve"]).ok().contains("server: \"https://127.0.0.1:"));
    stand.end();
}

/// Another user of the machine may not: neither open the socket, nor, where the file would let him, be anybody.
#[test]
fn others_of_the_machine_do_not() {
    if is_left_out(&["setpriv"]) {
        return;
    }
    let stand = Stand::start();
    let socket = stand.data().join("admin.sock");
    let as_other = || {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(env!("CARGO_BIN_EXE_watchbell"));
        command.arg("--kubeconfig").arg(&socket).args(["get", "pods"]).env("HOME", "/nonexistent");
        run(command, "")
    };
    assert_ne!(as_other().code, Some(0));
    // Whoever opens the way: the kernel still says who it is.
    let open = |path: &std::path::Path, mode: u32| {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    };
    open(&socket, 0o666);
    let parents: Vec<_> = socket.ancestors().skip(1).take(2).map(std::path::Path::to_path_buf).collect();
    for dir in &parents {
        open(dir, 0o755);
    }
    let refused = as_other();
    assert!(refused.err.contains("Unauthorized"), "{refused:?}");
    stand.end();
}

const NODE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/test-node/node_modules");
const PROVIDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/oidc/provider.mjs");

/// npm's oidc-provider, which ends when it is dropped.
struct Provider {
    process: std::process::Child,
    issuer: String,
    token: String,
}

impl Provider {
    fn start(stand: &Stand) -> Provider {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec!["127.0.0.1".into()]).unwrap().self_signed(&key).unwrap();
        std::fs::write(stand.path("issuer.key"), key.serialize_pem()).unwrap();
        std::fs::write(stand.path("issuer.crt"), certificate.pem()).unwrap();
        let mut process = Command::new("node")
            .arg(PROVIDER)
            .args([stand.path("issuer.key"), stand.path("issuer.crt")])
            .args(["watchbell", NODE])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let lines = std::io::BufRead::lines(std::io::BufReader::new(process.stdout.take().unwrap()));
        // It has notices of its own for who runs it.
        let line = lines.map_while(Result::ok).find(|line| line.starts_with('{'));
        let said: Value = serde_json::from_str(&line.expect("the provider says where it is")).unwrap();
        let text = |field: &str| said[field].as_str().unwrap().to_owned();
        Provider { process, issuer: text("issuer"), token: text("token") }
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn users_come_from_an_issuer_of_others() {
    if is_left_out(&["kubectl", "node"]) {
        return;
    }
    if !std::path::Path::new(NODE).exists() {
        eprintln!("NOT TESTED: {NODE} is not there (`make test` makes it with npm's oidc-provider)");
        return;
    }
    let mut provider = None;
    let stand = Stand::prepared(|stand| {
        let started = provider.insert(Provider::start(stand));
        let ca = stand.path("issuer.crt").display().to_string();
        [
            "--oidc-issuer-url",
            &started.issuer,
            "--oidc-client-id=watchbell",
            "--oidc-ca-file",
            &ca,
            "--oidc-username-prefix=oidc:",
            "--oidc-groups-claim=groups",
            "--oidc-groups-prefix=oidc:",
        ]
        .map(str::to_owned)
        .into()
    });
    let provider = provider.unwrap();
    let server =
        stand.watchbell(&["user", "token", "x", "--save", &stand.path("x.kubeconfig").display().to_string()]);
    assert_eq!(server.code, Some(0), "{server:?}");
    // The address and authority of that file, and the issuer's token in place of its own.
    let text = std::fs::read_to_string(stand.path("x.kubeconfig")).unwrap();
    let own = text.lines().find(|line| line.contains("token: ")).unwrap();
    let other = text.replace(own, &format!("    token: {}", provider.token));
    std::fs::write(stand.path("oidc.kubeconfig"), other).unwrap();
    let who = user_info(kubectl(&stand, "oidc.kubeconfig", &WHO));
    assert_eq!(who["username"], "oidc:ada");
    assert_eq!(who["groups"], serde_json::json!(["oidc:ml", "oidc:ops", "system:authenticated"]));
    assert!(kubectl(&stand, "oidc.kubeconfig", &["get", "pods"]).err.contains("(Forbidden)"));
    // What it did not sign is nobody's.
    let (head, _) = provider.token.rsplit_once('.').unwrap();
    std::fs::write(stand.path("forged.kubeconfig"), text.replace(own, &format!("    token: {head}.AAAA")))
        .unwrap();
    assert!(kubectl(&stand, "forged.kubeconfig", &WHO).err.contains("must be logged in"));
    drop(provider);
    stand.end();
}

#[test]
fn certificates_of_another_authority_are_told() {
    if is_left_out(&[]) {
        return;
    }
    let mut stand = Stand::start();
    let add = |stand: &Stand, name: &str| {
        let file = stand.path(name).display().to_string();
        stand.watchbell(&["user", "add", name, "--expires", "1d", "--save", &file]).ok();
    };
    let state = |list: &str, user: &str| {
        let line = list.lines().find(|line| line.split_whitespace().nth(2) == Some(user)).unwrap().to_owned();
        (line.contains("other authority"), line.contains(" left"))
    };
    add(&stand, "before");
    let list = stand.watchbell(&["user", "list"]).ok();
    assert_eq!(state(&list, "before"), (false, true), "{list}");
    // What a backup holds has come to a machine that has an authority of its own.
    stand.stop();
    std::fs::remove_dir_all(stand.data().join("pki")).unwrap();
    stand.launch();
    stand.wait_ready();
    add(&stand, "after");
    for list in [stand.watchbell(&["user", "list"]).ok(), over_socket(&stand, &["user", "list"]).ok()] {
        assert_eq!(state(&list, "before"), (true, false), "{list}");
        assert_eq!(state(&list, "after"), (false, true), "{list}");
    }
    stand.end();
}
