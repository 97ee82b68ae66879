//! RuntimeClasses: pods that runc and crun start, from the manifest to the log.

use std::process::Command;

use serde_json::Value;

use crate::stand::{Done, Stand, condition, is_left_out, job, run, which};

const RUNTIMES: [&str; 2] = ["runc", "crun"];

/// A server that knows both, with a class for each.
fn start() -> Option<Stand> {
    if is_left_out(&["busybox", "kubectl", "runc", "crun"]) {
        return None;
    }
    let given = RUNTIMES.map(|name| format!("{name}={}", which(name).unwrap().display()));
    let stand = Stand::with_busybox_and(|_| vec!["--runtime".to_owned(), given.join(",")]);
    for name in RUNTIMES.iter().chain(&["kata"]) {
        let class = format!(
            "apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {{name: {name}}}\nhandler: {name}\n"
        );
        kubectl(&stand, &["apply", "-f", "-"], &class).ok();
    }
    Some(stand)
}

fn kubectl(stand: &Stand, args: &[&str], input: &str) -> Done {
    let mut command = Command::new("kubectl");
    command.arg("--kubeconfig").arg(stand.kubeconfig()).args(args);
    run(command, input)
}

/// The Job with its pods in this class.
fn by(class: &str, manifest: &str) -> String {
    manifest.replace(
        "restartPolicy: Never\n",
        &format!("restartPolicy: Never\n      runtimeClassName: {class}\n"),
    )
}

/// How the only container of a Job's pod ended.
fn terminated(stand: &Stand, name: &str) -> Value {
    let pods = stand.get(&["pods", "-l", &format!("job-name={name}")]);
    pods["items"][0]["status"]["containerStatuses"][0]["state"]["terminated"].clone()
}

#[test]
fn an_array_runs_by_each_runtime_with_all_kinds_of_volumes() {
    let Some(mut stand) = start() else { return };
    kubectl(
        &stand,
        &["apply", "-f", "-"],
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: words}\ndata: {greeting: hello}\n---\napiVersion: v1\n\
         kind: PersistentVolumeClaim\nmetadata: {name: data}\nspec: {accessModes: [ReadWriteMany], resources: {requests: {storage: 1Gi}}}\n",
    )
    .ok();
    for class in RUNTIMES {
        let spec = "completionMode: Indexed\n  completions: 5\n  parallelism: 3\n  backoffLimitPerIndex: 0\n  maxFailedIndexes: 5";
        let script = format!(
            "echo $(cat /words/greeting) $JOB_COMPLETION_INDEX; echo x > /scratch/x; echo {class} > /data/{class}-$JOB_COMPLETION_INDEX; \
             touch /words/y 2>/dev/null && echo writable; [ $JOB_COMPLETION_INDEX != 3 ] || exit 7"
        );
        let volumes = "volumes: [{name: words, configMap: {name: words}}, {name: scratch, emptyDir: {}}, \
                       {name: data, persistentVolumeClaim: {claimName: data}}]";
        let mounts = "volumeMounts: [{name: words, mountPath: /words}, {name: scratch, mountPath: /scratch}, \
                      {name: data, mountPath: /data}]";
        let manifest = by(class, &job(class, spec, &script))
            .replace("      containers:\n", &format!("      {volumes}\n      containers:\n"))
            .replace(
                "        image: busybox:bar\n",
                &format!("        image: busybox:bar\n        {mounts}\n"),
            );
        kubectl(&stand, &["apply", "-f", "-"], &manifest).ok();
        let done = stand.finished("default", class);
        assert_eq!(done["status"]["completedIndexes"], "0-2,4", "{class}: {done:#}\n{}", stand.server_log());
        let pods = stand.get(&["pods", "-l", &format!("job-name={class}")]);
        let pod = pods["items"][0]["metadata"]["name"].as_str().unwrap().to_owned();
        let explained = stand.watchbell(&["explain", "sandbox", &pod]).ok();
        assert!(explained.contains(&format!("{class} starts it")), "{explained}");
        assert_eq!(done["status"]["failedIndexes"], "3", "{class}");
        for index in 0..5 {
            let log = stand.watchbell(&["logs", &format!("job/{class}"), "--index", &index.to_string()]).ok();
            assert_eq!(log, format!("hello {index}\n"), "{class}");
        }
        let failed = stand.get(&[
            "pods",
            "-l",
            &format!("job-name={class},batch.kubernetes.io/job-completion-index=3"),
        ]);
        let end = &failed["items"][0]["status"]["containerStatuses"][0]["state"]["terminated"];
        assert_eq!(
            (end["exitCode"].as_i64(), end["reason"].as_str()),
            (Some(7), Some("Error")),
            "{class}: {failed:#}"
        );
    }
    let claim = stand.get(&["pvc", "data"]);
    let folder = stand.data().join("claims").join(claim["spec"]["volumeName"].as_str().unwrap());
    for class in RUNTIMES {
        assert_eq!(std::fs::read_to_string(folder.join(format!("{class}-4"))).unwrap(), format!("{class}\n"));
    }
    stand.end();
}

#[test]
fn ends_are_told_by_their_cause_whoever_runs_the_pod() {
    let Some(mut stand) = start() else { return };
    for class in RUNTIMES {
        let name = |what: &str| format!("{class}-{what}");
        // A program that is not in the image.
        let missing = job(&name("missing"), "backoffLimit: 0", "true")
            .replace("/bin/busybox, sh, -c, \"true\"", "/bin/none");
        stand.apply(&by(class, &missing));
        assert!(condition(&stand.finished("default", &name("missing")), "Failed"));
        let end = terminated(&stand, &name("missing"));
        assert_eq!(end["exitCode"], 127, "{class}: {end:#}");
        assert!(end["message"].as_str().unwrap_or_default().contains("/bin/none"), "{class}: {end:#}");
        // More memory than its limit.
        let eat = "x=x; while true; do x=$x$x; done";
        let greedy = job(&name("greedy"), "backoffLimit: 0", eat).replace(
            "        image: busybox:bar\n",
            "        image: busybox:bar\n        resources: {limits: {memory: 48Mi}}\n",
        );
        stand.apply(&by(class, &greedy));
        assert!(condition(&stand.finished("default", &name("greedy")), "Failed"));
        let end = terminated(&stand, &name("greedy"));
        assert_eq!(
            (end["reason"].as_str(), end["exitCode"].as_i64()),
            (Some("OOMKilled"), Some(137)),
            "{class}: {end:#}"
        );
        // Its deadline passes; it will not go.
        let late = "backoffLimit: 0\n  activeDeadlineSeconds: 1";
        let stubborn = job(&name("late"), late, "trap '' TERM; while true; do sleep 0.05; done").replace(
            "restartPolicy: Never\n",
            "restartPolicy: Never\n      terminationGracePeriodSeconds: 1\n",
        );
        stand.apply(&by(class, &stubborn));
        let done = stand.finished("default", &name("late"));
        let failed = done["status"]["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .any(|c| c["reason"] == "DeadlineExceeded");
        assert!(failed, "{class}: {done:#}");
    }
    stand.end();
}

#[test]
fn pods_of_runtimes_run_on_while_the_server_is_killed() {
    let Some(mut stand) = start() else { return };
    let script = "i=0; while [ $i -lt 40 ]; do echo line $i; i=$((i+1)); sleep 0.1; done; exit 9";
    for class in RUNTIMES {
        stand.apply(&by(class, &job(class, "backoffLimit: 0", script)));
    }
    for class in RUNTIMES {
        stand.until("it prints", |s| s.watchbell(&["logs", &format!("job/{class}")]).out.contains("line 2"));
    }
    stand.kill();
    stand.launch();
    stand.wait_ready();
    for class in RUNTIMES {
        assert!(condition(&stand.finished("default", class), "Failed"));
        assert_eq!(terminated(&stand, class)["exitCode"], 9);
        let expected: String = (0..40).map(|n| format!("line {n}\n")).collect();
        assert_eq!(stand.watchbell(&["logs", &format!("job/{class}")]).ok(), expected);
    }
    stand.end();
}

#[test]
fn a_handler_that_nobody_configured_keeps_the_pod_pending_and_says_why() {
    let Some(mut stand) = start() else { return };
    stand.apply(&by("kata", &job("boxed", "backoffLimit: 0", "true")));
    let told = |stand: &Stand| {
        let events = stand.get(&["events"]);
        events["items"].as_array().unwrap().iter().any(|event| {
            let message = event["message"].as_str().unwrap_or_default();
            event["reason"] == "FailedCreatePodSandBox"
                && event["type"] == "Warning"
                && message.contains("no runtime for \"kata\"")
        })
    };
    stand.until("the event is there", |stand| told(stand));
    stand.until("the pod says what it waits for", |stand| {
        let pods = stand.get(&["pods"]);
        let status = &pods["items"][0]["status"];
        let waiting = &status["containerStatuses"][0]["state"]["waiting"];
        status["phase"] == "Pending"
            && waiting["reason"] == "ContainerCreating"
            && waiting["message"].as_str().unwrap_or_default().contains("--runtime kata=")
    });
    // The same server could never run it; one that is started with it does. runc stands in for what is not here.
    let path = which("runc").unwrap().display().to_string();
    stand.stop();
    stand.serve(&["--runtime", &format!("kata={path}")]);
    let done = stand.finished("default", "boxed");
    assert!(condition(&done, "Complete"), "{done:#}\n{}", stand.server_log());
    stand.end();
}

#[test]
fn a_runtime_that_is_not_roots_alone_is_refused_at_the_start() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let stand = Stand::unstarted();
    let program = stand.path("runtime");
    std::fs::write(&program, "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let data = stand.data().display().to_string();
    let serve = |runtime: &str| {
        stand.watchbell(&["serve", "--data-dir", &data, "--listen", "127.0.0.1:0", "--runtime", runtime])
    };
    let check = |runtime: &str, part: &str| {
        let done = serve(runtime);
        assert!(done.code.is_some_and(|code| code > 0) && done.err.contains(part), "{runtime}: {done:?}");
    };
    check(&format!("x={}", program.display()), "written to by others than root");
    check("x=/no/such/runtime", "No such file");
    check("runc", "NAME=/path");
    check("watchbell=/bin/busybox", "own sandbox");
    check("x=/bin/sh,x=/bin/sh", "twice");
    assert!(!stand.data().exists(), "nothing is made before what root says is known to be good");
}
