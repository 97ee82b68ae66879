//! What a Job does from its manifest to its end, as its containers see it and as its status tells it.

use serde_json::Value;

use crate::stand::{Stand, condition, is_left_out, job, which};

fn containers(pod: &Value) -> &Vec<Value> {
    pod["status"]["containerStatuses"].as_array().unwrap()
}

/// The only pod of a Job.
#[track_caller]
fn pod_of(stand: &Stand, job: &str) -> Value {
    let list = stand.get(&["pods", "-l", &format!("batch.kubernetes.io/job-name={job}")]);
    let items = list["items"].as_array().unwrap();
    assert_eq!(items.len(), 1, "{list:#}");
    items[0].clone()
}

#[test]
fn an_array_runs_every_index_once_with_its_own_name_number_and_log() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let mut stand = Stand::with_busybox();
    let spec = "completionMode: Indexed\n  completions: 24\n  parallelism: 6";
    stand.apply(&job("array", spec, "echo $JOB_COMPLETION_INDEX $(hostname) >&2; echo out"));
    let done = stand.finished("default", "array");
    assert!(condition(&done, "Complete"), "{done:#}");
    assert_eq!(done["status"]["succeeded"], 24);
    assert_eq!(done["status"]["completedIndexes"], "0-23");
    assert_eq!(done["status"]["active"].as_u64().unwrap_or(0), 0);
    for index in ["0", "7", "23"] {
        let log = stand.watchbell(&["logs", "job/array", "--index", index]).ok();
        let mut lines: Vec<&str> = log.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, [format!("{index} array-{index}").as_str(), "out"]);
    }
    let pods = stand.get(&["pods"]);
    for pod in pods["items"].as_array().unwrap() {
        let image = containers(pod)[0]["imageID"].as_str().unwrap();
        assert!(image.starts_with("docker.io/library/busybox@sha256:"), "{image}");
        assert_eq!(pod["status"]["phase"], "Succeeded");
    }
    let table = stand.watchbell(&["get", "jobs"]).ok();
    assert!(table.contains("24/24"), "{table}");
    let described = stand.watchbell(&["describe", "job", "array"]).ok();
    assert!(described.contains("Completed"), "{described}");
    stand.watchbell(&["delete", "job", "array"]).ok();
    stand.until("the pods go with their Job", |s| s.get(&["pods"])["items"].as_array().unwrap().is_empty());
    stand.end();
}

#[test]
fn how_a_container_ended_is_told_apart() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let mut stand = Stand::with_busybox();
    let once = "backoffLimit: 0";
    stand.apply(&job("code", once, "exit 7"));
    // The first process of a pid namespace gets no signals from inside but those of its own faults.
    stand.build_c("crash:1", "int main(void) { *(volatile int *)0 = 1; return 0; }");
    let crash = job("signal", once, "").replace("image: busybox:bar", "image: crash:1");
    stand.apply(&crash.replace("[/bin/busybox, sh, -c, \"\"]", "[/program]"));
    stand.build_c(
        "hungry:1",
        "#include <stdlib.h>\n#include <string.h>\nint main(void) { for (;;) { char *p = malloc(1 << 20); if (p) memset(p, 1, 1 << 20); } }",
    );
    let memory = job("memory", once, "")
        .replace("image: busybox:bar", "image: hungry:1\n        resources: {limits: {memory: 32Mi}}");
    stand.apply(&memory.replace("[/bin/busybox, sh, -c, \"\"]", "[/program]"));
    let missing = job("missing", once, "true").replace("[/bin/busybox, sh, -c, \"true\"]", "[/bin/absent]");
    stand.apply(&missing);
    for (name, code, reason) in
        [("code", 7, "Error"), ("signal", 139, "Error"), ("memory", 137, "OOMKilled"), ("missing", 127, "")]
    {
        let done = stand.finished("default", name);
        assert!(condition(&done, "Failed"), "{done:#}");
        let pod = pod_of(&stand, name);
        let end = &containers(&pod)[0]["state"]["terminated"];
        assert_eq!(end["exitCode"], code, "{name}: {end:#}");
        assert!(reason.is_empty() || end["reason"] == reason, "{name}: {end:#}");
    }
    let missing = pod_of(&stand, "missing");
    let message = containers(&missing)[0]["state"]["terminated"]["message"].as_str().unwrap();
    assert!(message.contains("/bin/absent"), "{message}");
    stand.end();
}

#[test]
fn only_failed_indexes_are_tried_again() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let mut stand = Stand::with_busybox();
    let spec = "completionMode: Indexed\n  completions: 6\n  parallelism: 6\n  backoffLimitPerIndex: 0";
    stand.apply(&job("half", spec, "test $((JOB_COMPLETION_INDEX % 2)) = 0"));
    let done = stand.finished("default", "half");
    assert!(condition(&done, "Failed"));
    assert_eq!(done["status"]["completedIndexes"], "0,2,4");
    assert_eq!(done["status"]["failedIndexes"], "1,3,5");
    let out = stand.watchbell(&["rerun", "--failed", "job/half"]).ok();
    let jobs = stand.get(&["jobs"]);
    let rerun = jobs["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|j| j["metadata"]["annotations"]["watchbell.dev/rerun-of"] == "half")
        .unwrap_or_else(|| panic!("{out} {jobs:#}"))
        .clone();
    let name = rerun["metadata"]["name"].as_str().unwrap();
    let again = stand.finished("default", name);
    // The same indexes fail again, and no other was run.
    assert_eq!(again["status"]["failedIndexes"], "1,3,5", "{again:#}");
    stand.end();
}

#[test]
fn init_containers_sidecars_and_volumes() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let mut stand = Stand::with_busybox();
    stand.apply(
        r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {city: Oslo, "nested.conf": "a=1\n"}
---
apiVersion: v1
kind: Secret
metadata: {name: pass}
stringData: {word: sesame}
---
apiVersion: batch/v1
kind: Job
metadata: {name: full}
spec:
  backoffLimit: 0
  template:
    metadata: {labels: {team: weather}}
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 600
      volumes:
      - {name: scratch, emptyDir: {}}
      - {name: memory, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
      - {name: settings, configMap: {name: settings, items: [{key: nested.conf, path: etc/nested.conf, mode: 292}]}}
      - {name: pass, secret: {secretName: pass, defaultMode: 256}}
      - name: self
        downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}
      initContainers:
      - name: first
        image: busybox:bar
        imagePullPolicy: Never
        command: [/bin/busybox, sh, -c, "echo one > /scratch/order"]
        volumeMounts: [{name: scratch, mountPath: /scratch}]
      - name: beside
        restartPolicy: Always
        image: busybox:bar
        imagePullPolicy: Never
        command: [/bin/busybox, sh, -c, "trap 'echo bye; exit 0' TERM; echo side >> /scratch/order; while true; do sleep 0.1; done"]
        volumeMounts: [{name: scratch, mountPath: /scratch}]
      containers:
      - name: main
        image: busybox:bar
        imagePullPolicy: Never
        command: [/bin/busybox, sh, -c]
        args:
        - |
          while ! grep -q side /scratch/order; do sleep 0.05; done
          cat /scratch/order; echo "$(CITY) $CITY $WORD $NAME"
          cat /settings/etc/nested.conf; cat /pass/word; echo
          grep team /self/labels; ls -ln /pass/word | cut -c1-10
          echo $MEM; dd if=/dev/zero of=/memory/x bs=1k count=2000 2>/dev/null || echo bounded
          touch /settings/new 2>/dev/null || echo readonly
        env:
        - {name: CITY, valueFrom: {configMapKeyRef: {name: settings, key: city}}}
        - {name: WORD, valueFrom: {secretKeyRef: {name: pass, key: word}}}
        - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
        - {name: MEM, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
        resources: {limits: {memory: 64Mi}}
        volumeMounts:
        - {name: scratch, mountPath: /scratch}
        - {name: memory, mountPath: /memory}
        - {name: settings, mountPath: /settings}
        - {name: pass, mountPath: /pass}
        - {name: self, mountPath: /self}
      - name: other
        image: busybox:bar
        imagePullPolicy: Never
        command: [/bin/busybox, sh, -c, "while ! grep -q side /scratch/order; do sleep 0.05; done; echo other"]
        volumeMounts: [{name: scratch, mountPath: /scratch}]
"#,
    );
    let done = stand.finished("default", "full");
    let log = stand.watchbell(&["logs", "job/full", "-c", "main"]).ok();
    assert!(condition(&done, "Complete"), "{done:#}\n{log}");
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(
        lines,
        [
            "one",
            "side",
            "Oslo Oslo sesame default",
            "a=1",
            "sesame",
            "team=\"weather\"",
            // As it was asked for, and its group's.
            "-r--r-----",
            "64",
            "bounded",
            "readonly"
        ]
    );
    let side = stand.watchbell(&["logs", "job/full", "-c", "beside"]).ok();
    assert_eq!(side, "bye\n");
    let pod = pod_of(&stand, "full");
    let inits = pod["status"]["initContainerStatuses"].as_array().unwrap();
    assert_eq!(inits[0]["state"]["terminated"]["exitCode"], 0);
    assert_eq!(inits[1]["state"]["terminated"]["exitCode"], 0);
    stand.end();
}

#[test]
fn deadlines_and_deletion_give_time_to_end_and_then_end() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let mut stand = Stand::with_busybox();
    let trap = "trap 'echo told; exit 3' TERM; echo up; while true; do sleep 0.05; done";
    stand.apply(&job("late", "backoffLimit: 0\n  activeDeadlineSeconds: 1", trap));
    let done = stand.finished("default", "late");
    let failed =
        done["status"]["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "Failed").unwrap();
    assert_eq!(failed["reason"], "DeadlineExceeded");

    let deaf = job("deaf", "backoffLimit: 0", "trap '' TERM; echo up; while true; do sleep 0.05; done")
        .replace("restartPolicy: Never", "restartPolicy: Never\n      terminationGracePeriodSeconds: 1");
    stand.apply(&deaf);
    stand.until("it runs", |s| s.watchbell(&["logs", "job/deaf"]).out.contains("up"));
    stand.watchbell(&["delete", "job", "deaf"]).ok();
    stand.until("it is gone", |s| {
        !s.get(&["pods"])["items"]
            .as_array()
            .unwrap()
            .iter()
            .any(|p| p["metadata"]["name"].as_str().unwrap().starts_with("deaf"))
    });
    stand.end();
}

#[test]
fn a_container_is_restarted_in_place_on_failure() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let mut stand = Stand::with_busybox();
    let manifest =
        job("stubborn", "backoffLimit: 3", "test -e /s/seen && echo second || { touch /s/seen; exit 1; }")
            .replace(
                "restartPolicy: Never",
                "restartPolicy: OnFailure\n      volumes: [{name: s, emptyDir: {}}]",
            )
            .replace(
                "image: busybox:bar",
                "image: busybox:bar\n        volumeMounts: [{name: s, mountPath: /s}]",
            );
    stand.apply(&manifest);
    let done = stand.finished("default", "stubborn");
    assert!(condition(&done, "Complete"), "{done:#}");
    let pod = pod_of(&stand, "stubborn");
    assert_eq!(containers(&pod)[0]["restartCount"], 1);
    assert_eq!(containers(&pod)[0]["lastState"]["terminated"]["exitCode"], 1);
    assert_eq!(stand.watchbell(&["logs", "job/stubborn"]).ok(), "second\n");
    stand.end();
}

#[test]
fn logs_are_followed_to_their_end_and_cut_as_asked() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let stand = Stand::with_busybox();
    stand.apply(&job(
        "lines",
        "backoffLimit: 0",
        "for i in 1 2 3 4 5 6 7 8 9 10; do echo line $i; sleep 0.05; done",
    ));
    // Begun at once, before there is a container.
    let followed = stand.watchbell(&["logs", "-f", "job/lines"]).ok();
    let expected: String = (1..=10).map(|n| format!("line {n}\n")).collect();
    assert_eq!(followed, expected);
    assert_eq!(stand.watchbell(&["logs", "job/lines", "--tail", "2"]).ok(), "line 9\nline 10\n");
    let stamped = stand.watchbell(&["logs", "job/lines", "--timestamps", "--tail", "1"]).ok();
    let (at, text) = stamped.split_once(' ').unwrap();
    assert!(at.parse::<jiff::Timestamp>().is_ok() && text == "line 10\n", "{stamped}");
    assert_eq!(stand.watchbell(&["logs", "job/lines", "--since", "1h"]).ok(), expected);
    stand.end();
}

#[test]
fn an_image_that_comes_late_starts_who_waits_for_it() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let mut stand = Stand::start();
    stand.apply(&job("early", "backoffLimit: 0", "echo begun"));
    stand.until("the pod waits for its image", |stand| {
        let pods = stand.get(&["pods"]);
        let statuses =
            pods["items"][0]["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
        statuses
            .iter()
            .any(|s| s["state"]["waiting"]["reason"].as_str().is_some_and(|reason| reason.contains("Image")))
    });
    // Without a directory the server that the kubeconfig names gets it.
    let busybox = format!("{}:/bin/busybox", which("busybox").unwrap().display());
    stand.watchbell(&["image", "build", "busybox:bar", "--copy", &busybox, "--env", "PATH=/bin"]).ok();
    assert!(stand.watchbell(&["image", "ls"]).ok().contains("busybox:bar"));
    assert!(condition(&stand.finished("default", "early"), "Complete"));
    assert_eq!(stand.watchbell(&["logs", "job/early"]).ok(), "begun\n");
    stand.end();
}

#[test]
fn what_is_not_there_keeps_nothing_else_from_being_shown_or_deleted() {
    if is_left_out(&[]) {
        return;
    }
    let stand = Stand::start();
    let map = |name: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n");
    let cron = "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: yearly}\nspec:\n  schedule: '@yearly'\n  jobTemplate:\n    \
                spec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: 'none:1'}]}}}\n";
    stand.apply(&[map("a"), map("b")].join("---\n"));

    let missing = "configmaps \"missing\" not found";
    for format in [&[][..], &["-o", "json"], &["-o", "name"]] {
        let done = stand.watchbell(&[&["get", "cm/a", "cm/missing", "cm/b"][..], format].concat());
        assert!(done.code == Some(1) && done.err.contains(missing), "{done:?}");
        assert!(done.out.contains('a') && done.out.contains('b'), "{done:?}");
    }
    let done = stand.watchbell(&["describe", "cm/missing", "cm/b"]);
    assert!(done.code == Some(1) && done.err.contains(missing) && done.out.contains('b'), "{done:?}");

    let done = stand.watchbell(&["delete", "--wait", "cm", "missing", "a", "b"]);
    assert_eq!(
        (done.code, done.out.as_str()),
        (Some(1), "configmap/a deleted\nconfigmap/b deleted\n"),
        "{done:?}"
    );
    assert!(done.err.contains(missing), "{done:?}");
    assert!(done.err.contains("1 of 3 objects were not deleted: configmap/missing"), "{done:?}");

    // It is deleted from the end: what is gone comes before the rest.
    let manifests = [cron.to_owned(), map("missing")].join("---\n");
    stand.apply(cron);
    let done = stand.watchbell_with(&["delete", "-f", "-"], &manifests);
    assert_eq!((done.code, done.out.as_str()), (Some(1), "cronjob.batch/yearly deleted\n"), "{done:?}");
    let done = stand.watchbell_with(&["delete", "--ignore-not-found", "-f", "-"], &manifests);
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""), "{done:?}");
    // One alone says it once.
    let done = stand.watchbell(&["delete", "cm", "missing"]);
    assert!(done.code == Some(1) && done.err.matches("missing").count() == 1, "{done:?}");
    stand.end();
}
