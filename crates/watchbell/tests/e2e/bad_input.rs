//! Input that is wrong: a clear error that names the object, the field and the way out, and nothing half done.

use crate::stand::{Stand, is_left_out, job};

/// Refused with all `parts` in the message; no Job or CronJob came to be.
#[track_caller]
fn check_refused(stand: &Stand, manifest: &str, parts: &[&str]) {
    let done = stand.watchbell_with(&["apply", "-f", "-"], manifest);
    assert!(matches!(done.code, Some(1 | 2)), "{done:?}");
    for part in parts {
        assert!(done.err.contains(part), "no {part:?} in: {}", done.err);
    }
    assert!(done.err.len() < 4000, "a message of {} bytes", done.err.len());
    for kind in ["jobs", "cronjobs"] {
        assert!(stand.get(&[kind])["items"].as_array().unwrap().is_empty(), "{manifest}");
    }
}

#[test]
fn manifests_that_are_wrong_are_refused_with_the_place() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let stand = Stand::with_busybox();
    let good = job("good", "backoffLimit: 0", "true");
    let cron = |name: &str, schedule: &str, more: &str| {
        format!(
            "apiVersion: batch/v1\nkind: CronJob\nmetadata: {{name: {name}}}\nspec:\n  schedule: '{schedule}'\n  {more}\n  jobTemplate:\n    \
             spec:\n      template:\n        spec:\n          restartPolicy: Never\n          containers: [{{name: a, image: a}}]\n"
        )
    };
    check_refused(&stand, "a: [1, 2", &["line"]);
    check_refused(&stand, "kind: Job\nkind: Job\n", &["kind", "line 2"]);
    check_refused(&stand, "apiVersion: v1\nkind: Widget\nmetadata: {name: a}\n", &["Widget"]);
    check_refused(&stand, "just text", &[]);
    check_refused(
        &stand,
        &good.replace("backoffLimit", "backofLimit"),
        &["spec.backofLimit", "unknown field"],
    );
    check_refused(&stand, &good.replace("image: busybox:bar", "imag: busybox:bar"), &["containers[0].imag"]);
    check_refused(&stand, &good.replace("backoffLimit: 0", "backoffLimit: many"), &["backoffLimit"]);
    check_refused(
        &stand,
        &good.replace("backoffLimit: 0", "backoffLimit: 99999999999999999999"),
        &["line 5", "99999999999999999999"],
    );
    check_refused(&stand, &good.replace("backoffLimit: 0", "parallelism: -1"), &["spec.parallelism", "-1"]);
    check_refused(
        &stand,
        &good.replace("backoffLimit: 0", "completionMode: Indexed\n  parallelism: 1"),
        &["spec.completions", "Required"],
    );
    check_refused(
        &stand,
        &good.replace(
            "backoffLimit: 0",
            "completionMode: Indexed\n  completions: 1000000000\n  parallelism: 1000000",
        ),
        &["parallelism"],
    );
    check_refused(
        &stand,
        &good.replace("restartPolicy: Never", "restartPolicy: Always"),
        &["spec.template.spec.restartPolicy"],
    );
    check_refused(&stand, &good.replace("name: good", "name: Not_A_Name"), &["metadata.name", "Not_A_Name"]);
    check_refused(
        &stand,
        &good.replace("name: good", "name: good, namespace: nowhere"),
        &["nowhere", "not found"],
    );
    check_refused(&stand, &cron(&"a".repeat(53), "* * * * *", ""), &["metadata.name", "52"]);
    check_refused(&stand, &cron("a", "* * * *", ""), &["spec.schedule"]);
    check_refused(&stand, &cron("a", "61 * * * *", ""), &["spec.schedule"]);
    check_refused(&stand, &cron("a", "TZ=UTC 0 * * * *", ""), &["spec.schedule", "timeZone"]);
    check_refused(
        &stand,
        &cron("a", "0 * * * *", "timeZone: Europe/Atlantis"),
        &["spec.timeZone", "Europe/Atlantis"],
    );
    check_refused(
        &stand,
        &cron("a", "0 * * * *", "concurrencyPolicy: Sometimes"),
        &["spec.concurrencyPolicy", "Sometimes"],
    );
    // A YAML bomb: nine levels of nine aliases are half a billion scalars.
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
    for level in 1..10 {
        let list = vec![format!("*a{}", level - 1); 9].join(",");
        bomb.push_str(&format!("a{level}: &a{level} [{list}]\n"));
    }
    check_refused(&stand, &bomb, &["alias"]);
    check_refused(&stand, &"[".repeat(100_000), &[]);
    // Larger than any object may be.
    let large = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata: {{a: {}}}\n",
        "x".repeat(4 << 20)
    );
    check_refused(&stand, &large, &[]);
    assert!(stand.watchbell(&["get", "configmap", "a"]).code == Some(1));
    let annotations = "x".repeat(300 << 10);
    check_refused(
        &stand,
        &good.replace("name: good", &format!("name: good, annotations: {{a: {annotations}}}")),
        &["metadata.annotations"],
    );
    // One bad document does not hide what became of the good ones.
    let two = format!("{good}---\n{}", good.replace("name: good", "name: Bad"));
    let done = stand.watchbell_with(&["apply", "-f", "-"], &two);
    assert!(done.code != Some(0) && done.err.contains("Bad"), "{done:?}");
    stand.end();
}

#[test]
fn a_schedule_that_never_fires_is_warned_about() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let stand = Stand::start();
    let cron = "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: never}\nspec:\n  schedule: '0 0 30 2 *'\n  jobTemplate:\n    \
                spec:\n      template:\n        spec:\n          restartPolicy: Never\n          containers: [{name: a, image: a}]\n";
    let done = stand.watchbell_with(&["apply", "-f", "-"], cron);
    assert_eq!(done.code, Some(0));
    assert!(done.err.contains("Warning") && done.err.contains("never fires"), "{}", done.err);
    let explained = stand.watchbell(&["explain-schedule", "0 0 30 2 *"]);
    assert!(explained.code != Some(0) && explained.err.contains("never fires"), "{explained:?}");
    let explained = stand
        .watchbell(&["explain-schedule", "30 2 * * *", "--time-zone", "America/New_York", "-n", "400"])
        .ok();
    assert!(explained.contains("2027-03-14"), "the gap of 2027 is not noted: {explained}");
    stand.end();
}

#[test]
fn images_that_are_wrong_or_out_of_reach_are_told_by_the_pod() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let mut stand = Stand::start();
    // Nobody listens there, and the kernel gives it to nobody who asks for any port.
    let address = "127.0.0.1:1";
    let absent = job("absent", "backoffLimit: 0", "true");
    let remote = job("remote", "backoffLimit: 0", "true")
        .replace("busybox:bar", &format!("{address}/busybox:1"))
        .replace("imagePullPolicy: Never", "imagePullPolicy: Always");
    stand.apply(&absent);
    stand.apply(&remote);
    for (name, reasons) in
        [("absent", &["ErrImageNeverPull"][..]), ("remote", &["ErrImagePull", "ImagePullBackOff"])]
    {
        stand.until(&format!("{name} says why it waits"), |s| {
            let pods = s.get(&["pods", "-l", &format!("job-name={name}")]);
            let waiting = &pods["items"][0]["status"]["containerStatuses"][0]["state"]["waiting"];
            waiting["reason"].as_str().is_some_and(|r| reasons.contains(&r))
                && waiting["message"].as_str().is_some_and(|m| m.contains("busybox"))
        });
    }
    for name in ["absent", "remote"] {
        stand.watchbell(&["delete", "job", name]).ok();
    }
    stand.end();
}

#[test]
fn archives_that_are_wrong_leave_nothing() {
    if is_left_out(&[]) {
        return;
    }
    let stand = Stand::start();
    let data = stand.data();
    let data = data.to_str().unwrap();
    let junk = stand.path("junk.tar");
    std::fs::write(&junk, vec![7u8; 4096]).unwrap();
    let junk = junk.to_str().unwrap();
    // Through the server that holds the store.
    let done = stand.watchbell(&["image", "import", junk, "--data-dir", data]);
    assert!(done.code == Some(1) && done.err.contains("tar archive") && done.err.contains(junk), "{done:?}");
    // Without a server it is told the same way.
    let alone = stand.path("alone").display().to_string();
    let mut alone_import = stand.program();
    alone_import.args(["image", "import", junk, "--data-dir", &alone]);
    let done = crate::stand::run(alone_import, "");
    assert!(done.code == Some(1) && done.err.contains("tar archive") && done.err.contains(junk), "{done:?}");
    let done = stand.watchbell(&["image", "pull", "Not A Name", "--data-dir", data]);
    assert!(done.code != Some(0) && done.err.contains("Not A Name"), "{done:?}");
    let done = stand.watchbell(&["image", "rm", "absent:1", "--data-dir", data]);
    assert!(done.code == Some(1) && done.err.contains("absent:1"), "{done:?}");
    let listed = stand.watchbell(&["image", "ls", "-n", "default", "--data-dir", data, "-o", "json"]).ok();
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert!(listed["items"].as_array().or(listed.as_array()).unwrap().is_empty(), "{listed}");
    stand.end();
}

#[test]
fn strangers_get_nothing() {
    if is_left_out(&["busybox", "curl"]) {
        return;
    }
    let stand = Stand::start();
    use std::os::unix::fs::PermissionsExt;
    let mode = stand.kubeconfig().metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let server = stand.url();
    let ask = |path: &str| {
        let mut command = std::process::Command::new("curl");
        command.args(["-sk", "--noproxy", "*", "-w", "\n%{http_code}", &format!("{server}{path}")]);
        crate::stand::run(command, "").ok()
    };
    for path in [
        "/api/v1/namespaces",
        "/apis/batch/v1/jobs",
        "/version",
        "/openapi/v3",
        "/metrics",
        "/apis/watchbell.dev/v1alpha1/images",
    ] {
        assert!(ask(path).ends_with("\n401"), "{path}: {}", ask(path));
    }
    assert!(ask("/readyz").ends_with("\n200"));
    stand.end();
}
