//! Claims with real containers: a pipeline of Jobs that share one, kills of the server between, and what stays on the disk.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;

use serde_json::Value;

use crate::stand::{Done, Stand, condition, is_left_out, run};

fn claim(name: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: {name}}}\nspec:\n  accessModes: [ReadWriteMany]\n  \
         resources: {{requests: {{storage: 1Gi}}}}\n{more}"
    )
}

/// A Job whose container has the claim `data` at /data.
fn job(name: &str, spec: &str, mount: &str, script: &str) -> String {
    format!(
        r#"apiVersion: batch/v1
kind: Job
metadata: {{name: {name}}}
spec:
  backoffLimit: 0
  {spec}
  template:
    spec:
      restartPolicy: Never
      automountServiceAccountToken: false
      volumes: [{{name: data, persistentVolumeClaim: {{claimName: data}}}}]
      containers:
      - name: main
        image: busybox:bar
        imagePullPolicy: Never
        command: [busybox, sh, -ec, {script:?}]
        volumeMounts: [{{name: data, mountPath: /data{mount}}}]
"#
    )
}

fn kubectl(stand: &Stand, args: &[&str]) -> Done {
    let mut command = Command::new("kubectl");
    command.arg("--kubeconfig").arg(stand.kubeconfig()).args(args);
    run(command, "")
}

fn folder(stand: &Stand) -> std::path::PathBuf {
    let claim = stand.get(&["pvc", "data"]);
    let volume = claim["spec"]["volumeName"].as_str().expect("it is bound");
    stand.data().join("claims").join(volume)
}

#[test]
fn jobs_share_a_claim_and_kills_of_the_server_lose_nothing() {
    if is_left_out(&["busybox", "kubectl"]) {
        return;
    }
    let mut stand = Stand::with_busybox();
    // The Jobs come before their claim: their pods wait for it.
    let index = "completionMode: Indexed\n  completions: 6\n  parallelism: 3";
    stand.apply(&job(
        "preprocess",
        index,
        "",
        "sleep 0.2; echo part $JOB_COMPLETION_INDEX > /data/part-$JOB_COMPLETION_INDEX",
    ));
    stand.until("the pods say what they wait for", |stand| {
        let pods = stand.get(&["pods"]);
        let pods = pods["items"].as_array().cloned().unwrap_or_default();
        let waits = |pod: &Value| {
            let message = pod["status"]["conditions"][0]["message"].as_str().unwrap_or_default();
            message.contains("persistentvolumeclaim \"data\" not found")
        };
        pods.len() == 3 && pods.iter().all(waits)
    });
    stand.kill();
    stand.launch();
    stand.wait_ready();
    stand.apply(&claim("data", ""));
    for _ in 0..3 {
        std::thread::sleep(std::time::Duration::from_millis(150));
        stand.kill();
        stand.launch();
    }
    stand.wait_ready();
    assert!(condition(&stand.finished("default", "preprocess"), "Complete"), "{}", stand.server_log());
    // Who reads may not write where he says so, and finds a part of it by a path.
    let script = "for i in 0 1 2 3 4 5; do cat /data/part-$i; done; ! touch /data/x 2>/dev/null";
    stand.apply(&job("train", "completions: 1", ", readOnly: true", script));
    assert!(condition(&stand.finished("default", "train"), "Complete"), "{}", stand.server_log());
    let log = stand.watchbell(&["logs", "job/train"]).ok();
    assert_eq!(log, (0..6).map(|i| format!("part {i}\n")).collect::<String>());
    stand.apply(&job("report", "completions: 1", ", subPath: out/day", "echo 1 > /data/r"));
    assert!(condition(&stand.finished("default", "report"), "Complete"), "{}", stand.server_log());

    // On the disk: the container's own ids, in a directory that is root's alone.
    let folder = folder(&stand);
    let part = std::fs::metadata(folder.join("part-0")).unwrap();
    assert_eq!((part.uid(), part.gid()), (65534, 65534));
    assert_eq!(std::fs::read_to_string(folder.join("out/day/r")).unwrap(), "1\n");
    let parent = std::fs::metadata(stand.data().join("claims")).unwrap();
    assert_eq!((parent.uid(), parent.permissions().mode() & 0o7777), (0, 0o700));

    let shown = kubectl(&stand, &["get", "pvc", "data", "--no-headers"]).ok();
    assert!(shown.contains("Bound") && shown.contains("1Gi") && shown.contains("local"), "{shown}");
    let described = kubectl(&stand, &["describe", "pvc", "data"]).ok();
    assert!(described.contains("ProvisioningSucceeded"), "{described}");
    assert!(kubectl(&stand, &["get", "pv,sc"]).ok().contains("local (default)"));

    // A link that a task left leads nowhere when the folder goes.
    let outside = stand.path("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("kept"), "").unwrap();
    symlink(&outside, folder.join("link")).unwrap();
    kubectl(&stand, &["delete", "pvc", "data"]).ok();
    stand.until("the folder and its volume go", |stand| {
        let volumes = stand.get(&["pv"]);
        !folder.exists() && volumes["items"].as_array().is_some_and(Vec::is_empty)
    });
    assert!(outside.join("kept").exists());
    stand.end();
}

#[test]
fn a_claim_in_use_stays_and_a_link_leads_no_task_out() {
    if is_left_out(&["busybox", "kubectl"]) {
        return;
    }
    let mut stand = Stand::with_busybox();
    stand.apply(&claim("data", ""));
    // A task plants links; another one is given them as its part of the claim.
    stand.apply(&job(
        "plant",
        "completions: 1",
        "",
        "ln -s /etc /data/abs; ln -s ../../../../etc /data/up; ln -s / /data/root",
    ));
    assert!(condition(&stand.finished("default", "plant"), "Complete"), "{}", stand.server_log());
    for name in ["abs", "up", "root"] {
        let mount = format!(", subPath: {name}/watchbell-probe");
        stand.apply(&job(&format!("follow-{name}"), "completions: 1", &mount, "touch /data/x"));
        stand.finished("default", &format!("follow-{name}"));
    }
    assert!(!std::path::Path::new("/etc/watchbell-probe").exists());
    assert!(!std::path::Path::new("/watchbell-probe").exists());

    stand.apply(&job("long", "completions: 1", "", "touch /data/begun; sleep 1000"));
    let folder = folder(&stand);
    stand.until("it runs", |_| folder.join("begun").exists());
    kubectl(&stand, &["delete", "pvc", "data", "--wait=false"]).ok();
    // Nothing but the end of the pod lets it go: not a new server either.
    stand.kill();
    stand.launch();
    stand.wait_ready();
    assert!(stand.get(&["pvc", "data"])["metadata"]["deletionTimestamp"].is_string());
    assert!(folder.join("begun").exists());
    kubectl(&stand, &["delete", "job", "long", "--grace-period=0"]).ok();
    stand.watchbell(&["delete", "pods", "--all", "--grace-period", "0"]);
    stand.until("the folder goes", |_| !folder.exists());
    stand.end();
}

#[test]
fn a_volume_of_the_host_needs_the_ceiling() {
    if is_left_out(&["busybox", "kubectl"]) {
        return;
    }
    let mut stand = Stand::with_busybox();
    let host = stand.path("host");
    std::fs::create_dir(&host).unwrap();
    stand.apply(&format!(
        "apiVersion: v1\nkind: PersistentVolume\nmetadata: {{name: host}}\nspec:\n  capacity: {{storage: 5Gi}}\n  accessModes: \
         [ReadWriteMany]\n  storageClassName: manual\n  hostPath: {{path: {}}}\n",
        host.display()
    ));
    stand.apply(&claim("data", "  storageClassName: manual\n"));
    stand.apply(&job("reach", "completions: 1\n  activeDeadlineSeconds: 20", "", "touch /data/x"));
    assert!(condition(&stand.finished("default", "reach"), "Failed"), "{}", stand.server_log());
    assert!(!host.join("x").exists());
    let pods = stand.get(&["pods"]).to_string();
    assert!(pods.contains("it needs --allow-host-path"), "{pods}");
    stand.end();
}

#[test]
fn a_task_that_fills_its_empty_dir_is_evicted() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let mut stand = Stand::with_busybox();
    let manifest = job("fill", "completions: 1", "", "dd if=/dev/zero of=/data/x bs=1M count=3; sleep 1000");
    stand.apply(&manifest.replace("persistentVolumeClaim: {claimName: data}", "emptyDir: {sizeLimit: 1Mi}"));
    assert!(condition(&stand.finished("default", "fill"), "Failed"), "{}", stand.server_log());
    let pods = stand.get(&["pods"]);
    let status = &pods["items"][0]["status"];
    assert_eq!(status["reason"], "Evicted", "{status:#}");
    assert_eq!(status["message"], "Usage of EmptyDir volume \"data\" exceeds the limit \"1Mi\". ");
    assert!(condition(&pods["items"][0], "DisruptionTarget"), "{status:#}");
    stand.end();
}
