//! What the annotation of a Job may say of its arrays: each split, what an index sees, what it must write, several arrays at once,
//! and several Jobs on one array at once.

use std::path::Path;

use serde_json::{Value, json};

use crate::arrays::{array, kubectl, may_write, with_array, write_hierarchy};
use crate::stand::{Stand, condition, is_left_out};

/// A Job with as many indexes; `uses` is its annotation.
fn job(name: &str, completions: u32, uses: &Value, script: &str) -> String {
    let annotations = json!({"watchbell.dev/array": uses.to_string()});
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
        "spec": {
            "completionMode": "Indexed", "completions": completions, "parallelism": completions, "backoffLimit": 0,
            "template": {
                "metadata": {"annotations": annotations},
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [{
                        "name": "main", "image": "busybox:bar", "imagePullPolicy": "Never",
                        "command": ["/bin/busybox", "sh", "-c", script],
                    }],
                },
            },
        },
    })
    .to_string()
}

/// The same without a number: the plan's.
fn planned(name: &str, uses: &Value, script: &str) -> String {
    let mut job: Value = serde_json::from_str(&job(name, 0, uses, script)).unwrap();
    job["metadata"]["annotations"] = json!({"watchbell.dev/array-completions": "auto"});
    let spec = job["spec"].as_object_mut().unwrap();
    spec.remove("completions");
    spec.insert("parallelism".into(), 8.into());
    job.to_string()
}

fn obs(split: &Value) -> Value {
    json!({"name": "obs", "mount": "/data", "mode": "write", "split": split})
}

fn with(mut uses: Value, field: &str, value: Value) -> Value {
    uses[field] = value;
    uses
}

/// Writes rows with a letter, beside their places and then renamed.
const WRITE: &str = r#"row() {
  printf $2$2$2$2 > $3/t/c/$1/0.partial && mv -f $3/t/c/$1/0.partial $3/t/c/$1/0 || exit 3
}
rows() {
  i=$1
  while [ $i -lt $2 ]; do row $i $3 /data; i=$((i+1)); done
}
"#;

/// All that an index is told to own, with a letter.
fn own(letter: char) -> String {
    format!("{WRITE}rows ${{WATCHBELL_ARRAY_START:?}} ${{WATCHBELL_ARRAY_STOP:?}} {letter}")
}

#[track_caller]
fn completes(stand: &mut Stand, name: &str) -> Value {
    let done = stand.finished("default", name);
    assert!(condition(&done, "Complete"), "{done:#}\n{:?}\n{}", why(stand, name), stand.server_log());
    done
}

/// What its pods say of their ends.
fn why(stand: &Stand, job: &str) -> Vec<String> {
    let pods = stand.get(&["pods"]);
    let of = |pod: &&Value| pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] == job;
    let text = |pod: &Value, field: &str| pod["status"][field].as_str().unwrap_or_default().to_owned();
    let of_job = pods["items"].as_array().unwrap().iter().filter(of);
    of_job.map(|pod| format!("{}: {}", text(pod, "reason"), text(pod, "message"))).collect()
}

/// It fails, by a pod whose commit is refused for this reason.
#[track_caller]
fn commits_not(stand: &mut Stand, name: &str, message: &str) {
    let failed = stand.finished("default", name);
    assert!(condition(&failed, "Failed"), "{failed:#}\n{}", stand.server_log());
    let told = why(stand, name);
    let is_it = |told: &String| told.starts_with("ArrayCommitFailed: ") && told.contains(message);
    assert!(told.iter().any(is_it), "{message}: {told:?}");
}

#[track_caller]
fn is_refused(stand: &Stand, job: &str, message: &str) {
    let refused = stand.watchbell_with(&["apply", "-f", "-"], job);
    assert!(refused.code != Some(0) && refused.err.contains(message), "{message}: {}", refused.err);
}

#[track_caller]
fn applied(stand: &Stand, job: &str) {
    kubectl(stand, &["apply", "-f", "-"], job).ok();
}

fn head(stand: &Stand, name: &str) -> String {
    let told: Value = serde_json::from_str(&array(stand, &["verify", name, "-o", "json"]).ok()).unwrap();
    told["head"].as_str().unwrap().to_owned()
}

/// The first eight rows of a head: one letter a row.
fn letters(stand: &Stand, name: &str) -> String {
    let out = stand.path("exported");
    array(stand, &["export", name, out.to_str().unwrap()]).ok();
    let row = |row: u32| {
        let chunk = std::fs::read_to_string(out.join(format!("t/c/{row}/0"))).unwrap();
        assert_eq!(chunk.len(), 4);
        chunk.chars().next().unwrap()
    };
    let letters = (0..8).map(row).collect();
    std::fs::remove_dir_all(out).unwrap();
    letters
}

/// Imports it, and waits until the server knows it by its head.
fn imported(stand: &mut Stand, name: &str, source: &Path) {
    array(stand, &["import", name, source.to_str().unwrap()]).ok();
    let head = head(stand, name);
    stand.until("the head is known", |stand| {
        let got = stand.watchbell(&["get", "-o", "json", "dataarray", name]);
        let object: Value = serde_json::from_str(&got.out).unwrap_or_default();
        object["status"]["head"] == head.as_str()
    });
}

#[test]
fn each_split_gives_an_index_its_chunks_and_no_other() {
    if is_left_out(&["busybox", "kubectl"]) {
        return;
    }
    let mut stand = with_array();
    may_write(&stand);
    // Stated: what no region names is nobody's.
    let explicit = json!({"explicit": [{"time": [0, 3]}, {"time": [5, 8], "x": [0, 4]}]});
    let stated = own('b').replace("ARRAY_ST", "ARRAY_TIME_ST");
    applied(&stand, &job("stated", 2, &obs(&explicit), &stated));
    completes(&mut stand, "stated");
    assert_eq!(letters(&stand, "obs"), "bbbaabbb");
    let strays = format!("{WRITE}row 4 z /data");
    applied(&stand, &job("strays", 2, &obs(&explicit), &strays));
    commits_not(&mut stand, "strays", "wrote t/c/4/0, which no index of this Job may write");
    let takes = format!("{WRITE}[ $JOB_COMPLETION_INDEX = 1 ] || row 5 z /data");
    applied(&stand, &job("takes", 2, &obs(&explicit), &takes));
    commits_not(&mut stand, "takes", "wrote t/c/5/0, which belongs to index 1, and not to index 0");
    assert_eq!(letters(&stand, "obs"), "bbbaabbb");
    for (regions, message) in [
        (json!([{"time": [0, 5]}, {"time": [4, 8]}]), "indices 0 and 1 would both own chunks of /t"),
        (json!([{"time": [0, 4], "x": [1, 4]}, {"time": [4, 8]}]), "the nearest that does not is"),
        (json!([{"time": [0, 4]}, {"time": [4, 9]}]), "reaches past the 8 elements"),
        (json!([{"time": [0, 4]}]), "makes 1 indices: set completions to that, or the annotation"),
    ] {
        is_refused(&stand, &job("wrong", 2, &obs(&json!({"explicit": regions})), "true"), message);
    }

    // A chunk an index: along two dimensions, which are told by their names alone.
    let each = format!(
        "{WRITE}[ -z \"$WATCHBELL_ARRAY_START\" ] || exit 5\n[ $WATCHBELL_ARRAY_X_START-$WATCHBELL_ARRAY_X_STOP = 0-4 ] || exit 6\n\
         [ $WATCHBELL_ARRAY_TIME_START = $JOB_COMPLETION_INDEX ] || exit 7\n\
         rows $WATCHBELL_ARRAY_TIME_START $WATCHBELL_ARRAY_TIME_STOP $WATCHBELL_ARRAY_TIME_START"
    );
    applied(&stand, &planned("each", &obs(&json!("perChunk")), &each));
    let done = completes(&mut stand, "each");
    assert_eq!((&done["spec"]["completions"], &done["status"]["succeeded"]), (&json!(8), &json!(8)));
    assert_eq!(letters(&stand, "obs"), "01234567");
    is_refused(&stand, &planned("no", &obs(&json!("perShard")), "true"), "/t is not sharded; use perChunk");

    // A shard an index: two of four rows each.
    let source = stand.path("shards.zarr");
    write_hierarchy(&source);
    std::fs::remove_dir_all(source.join("t/c")).unwrap();
    let mut document: Value =
        serde_json::from_str(&std::fs::read_to_string(source.join("t/zarr.json")).unwrap()).unwrap();
    document["chunk_grid"]["configuration"]["chunk_shape"] = json!([4, 4]);
    document["codecs"] = json!([{"name": "sharding_indexed", "configuration": {
        "chunk_shape": [1, 4], "codecs": [{"name": "bytes"}], "index_location": "end",
        "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
    }}]);
    std::fs::write(source.join("t/zarr.json"), document.to_string()).unwrap();
    imported(&mut stand, "shards", &source);
    let uses = |split: &str| json!({"name": "shards", "mount": "/data", "mode": "write", "split": split});
    is_refused(
        &stand,
        &planned("no", &uses("perChunk"), "true"),
        "is the smallest thing to own; use perShard",
    );
    let shard = "cd /data/t\n[ $WATCHBELL_ARRAY_TIME_START = $((4 * JOB_COMPLETION_INDEX)) ] || exit 5\n\
                 mkdir -p c/$JOB_COMPLETION_INDEX && echo shard $JOB_COMPLETION_INDEX > c/$JOB_COMPLETION_INDEX/0";
    applied(&stand, &planned("shards", &uses("perShard"), shard));
    let done = completes(&mut stand, "shards");
    assert_eq!(done["spec"]["completions"], 2);
    let out = stand.path("out-shards");
    array(&stand, &["export", "shards", out.to_str().unwrap()]).ok();
    for shard in 0..2 {
        let content = std::fs::read_to_string(out.join(format!("t/c/{shard}/0"))).unwrap();
        assert_eq!(content, format!("shard {shard}\n"));
    }
    stand.end();
}

#[test]
fn an_index_sees_its_own_chunks_alone_or_must_write_all_of_them() {
    if is_left_out(&["busybox", "kubectl"]) {
        return;
    }
    let mut stand = with_array();
    may_write(&stand);
    // All metadata, its own chunks, and nothing of the others.
    let sees = "cd /data\n[ -f zarr.json ] && [ -f t/zarr.json ] || exit 4\n\
                expected=; i=$WATCHBELL_ARRAY_START\n\
                while [ $i -lt $WATCHBELL_ARRAY_STOP ]; do expected=\"$expected t/c/$i/0\"; i=$((i+1)); done\n\
                found=$(echo t/c/*/0)\n[ \"$found\" = \"${expected# }\" ] || { echo \"$found\"; exit 5; }\n\
                [ $(cat t/c/$WATCHBELL_ARRAY_START/0) = aaaa ] || exit 6\n";
    let split = json!({"dim": "time", "into": 4});
    let reads = json!({"name": "obs", "mount": "/data", "mode": "read", "split": split, "readScope": "own"});
    applied(&stand, &job("reads", 4, &reads, sees));
    completes(&mut stand, "reads");
    let writes = with(obs(&split), "readScope", json!("own"));
    applied(&stand, &job("writes", 4, &writes, &format!("{sees}{}", own('c'))));
    completes(&mut stand, "writes");
    assert_eq!(letters(&stand, "obs"), "cccccccc");
    // What it does not see it cannot change.
    let takes = format!("mkdir -p /data/t/c/7\n{WRITE}row 7 z /data");
    applied(&stand, &job("takes", 4, &writes, &takes));
    commits_not(&mut stand, "takes", "t/c/7");
    let all = json!({"name": "obs", "mount": "/data", "readScope": "own"});
    is_refused(&stand, &job("all", 1, &all, "true"), "readScope: own needs a split");

    // Of what was never there an index may leave things out, unless all is wanted.
    let source = stand.path("holes.zarr");
    write_hierarchy(&source);
    std::fs::remove_dir_all(source.join("t/c/5")).unwrap();
    imported(&mut stand, "obs", &source);
    let wanted = with(obs(&split), "requireComplete", json!(true));
    let idle = "true";
    let only = |index: u32, script: &str| format!("[ $JOB_COMPLETION_INDEX = {index} ] || exit 0\n{script}");
    applied(&stand, &job("sparse", 4, &obs(&split), idle));
    completes(&mut stand, "sparse");
    applied(&stand, &job("holes", 4, &wanted, idle));
    let message = "index 2 was told to write 2 chunks and 1 of them are not there, the first is t/c/5/0";
    commits_not(&mut stand, "holes", message);
    let before = head(&stand, "obs");
    // What was there is not there any more when it was removed.
    let removes = format!(
        "{WRITE}case $JOB_COMPLETION_INDEX in\n1) rm /data/t/c/3/0 ;;\n2) mkdir -p /data/t/c/5; row 5 d /data ;;\nesac"
    );
    applied(&stand, &job("removes", 4, &wanted, &removes));
    commits_not(
        &mut stand,
        "removes",
        "index 1 was told to write 2 chunks and 1 of them are not there, the first is t/c/3/0",
    );
    assert_eq!(head(&stand, "obs"), before);
    let fills = only(2, &format!("mkdir -p /data/t/c/5\n{WRITE}row 5 d /data"));
    applied(&stand, &job("fills", 4, &wanted, &fills));
    completes(&mut stand, "fills");
    assert_eq!(letters(&stand, "obs"), "aaaaadaa");
    stand.end();
}

#[test]
fn a_job_reads_one_array_and_writes_two() {
    if is_left_out(&["busybox", "kubectl"]) {
        return;
    }
    let mut stand = with_array();
    may_write(&stand);
    let source = stand.path("obs.zarr");
    imported(&mut stand, "sea-level", &source);
    for row in 0..8 {
        std::fs::write(source.join(format!("t/c/{row}/0")), format!("{row}{row}{row}{row}")).unwrap();
    }
    imported(&mut stand, "grid", &source);
    let uses = json!([
        obs(&json!({"dim": "time", "into": 2})),
        {"name": "sea-level", "mount": "/sea", "mode": "write", "split": {"explicit": [{"time": [0, 1]}, {"time": [6, 8]}]}},
        {"name": "grid", "mount": "/grid"},
    ]);
    // Each has its own elements, by its own name; nothing is told without one.
    let copies = format!(
        "{WRITE}[ -z \"$WATCHBELL_ARRAY_START$WATCHBELL_ARRAY_PATH\" ] || exit 5\n\
         [ $WATCHBELL_ARRAY_SEA_LEVEL_PATH = /sea ] || exit 6\n\
         echo x 2> /dev/null > /grid/t/c/0/0 && exit 7\n\
         i=$WATCHBELL_ARRAY_OBS_START; while [ $i -lt $WATCHBELL_ARRAY_OBS_STOP ]; do\n  \
         row $i $(cut -c 1 /grid/t/c/$i/0) /data; i=$((i+1)); done\n\
         i=$WATCHBELL_ARRAY_SEA_LEVEL_START; while [ $i -lt $WATCHBELL_ARRAY_SEA_LEVEL_STOP ]; do\n  \
         row $i s /sea; i=$((i+1)); done\n"
    );
    let heads = |stand: &Stand| ["obs", "sea-level", "grid"].map(|name| head(stand, name));
    let before = heads(&stand);
    // What one array refuses is committed to none.
    let strays = format!("{copies}[ $JOB_COMPLETION_INDEX = 0 ] || row 5 z /sea");
    applied(&stand, &job("strays", 2, &uses, &strays));
    commits_not(
        &mut stand,
        "strays",
        "array \"sea-level\": index 1: wrote t/c/5/0, which no index of this Job may write",
    );
    assert_eq!(heads(&stand), before);
    applied(&stand, &job("copies", 2, &uses, &copies));
    completes(&mut stand, "copies");
    let after = heads(&stand);
    assert!(after[0] != before[0] && after[1] != before[1] && after[2] == before[2], "{before:?} {after:?}");
    assert_eq!(letters(&stand, "obs"), "01234567");
    assert_eq!(letters(&stand, "sea-level"), "saaaaass");
    for name in ["obs", "sea-level"] {
        let log = array(&stand, &["log", name]).ok();
        assert_eq!(log.lines().filter(|line| line.contains("default/copies")).count(), 1, "{log}");
    }
    // One that is used twice, or lies in another, is refused.
    let twice = json!([uses[0], uses[0]]);
    is_refused(&stand, &job("twice", 2, &twice, "true"), "used twice");
    let within = json!([uses[0], {"name": "grid", "mount": "/data/t"}]);
    is_refused(&stand, &job("within", 2, &within, "true"), "lie in each other");
    stand.end();
}

/// A Job that begins, and waits for a word before it writes.
fn begins(stand: &mut Stand, name: &str, uses: &Value, script: &str) {
    let waits = format!("mkfifo /tmp/word && read word < /tmp/word\n{script}");
    applied(stand, &job(name, 1, uses, &waits));
    waits_for_its_word(stand, name);
}

fn waits_for_its_word(stand: &mut Stand, name: &str) {
    stand.until("it waits for its word", |stand| {
        let Some(pod) = pod_of(stand, name) else { return false };
        let look = ["exec", &pod, "--", "/bin/busybox", "test", "-p", "/tmp/word"];
        kubectl(stand, &look, "").code == Some(0)
    });
}

fn pod_of(stand: &Stand, job: &str) -> Option<String> {
    let pods = stand.get(&["pods"]);
    let of_job = |pod: &&Value| pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] == job;
    let pod = pods["items"].as_array()?.iter().find(of_job)?;
    let is_running = pod["status"]["phase"] == "Running";
    is_running.then(|| pod["metadata"]["name"].as_str().unwrap_or_default().to_owned())
}

fn goes_on(stand: &Stand, name: &str) {
    let pod = pod_of(stand, name).unwrap();
    let word = ["exec", &pod, "--", "/bin/busybox", "sh", "-c", "echo go > /tmp/word"];
    kubectl(stand, &word, "").ok();
}

/// What a Job writes cannot go on top of what others published since.
#[track_caller]
fn conflicts(stand: &mut Stand, name: &str, message: &str) {
    goes_on(stand, name);
    let failed = stand.finished("default", name);
    let conditions = failed["status"]["conditions"].as_array().unwrap();
    let is_it = |of: &Value| {
        of["type"] == "Failed"
            && of["reason"] == "ArrayConflict"
            && of["message"].as_str().is_some_and(|told| told.contains(message))
    };
    let told = why(stand, name);
    assert!(conditions.iter().any(is_it), "{message}: {failed:#}\n{told:?}\n{}", stand.server_log());
}

#[test]
fn two_jobs_on_one_array_at_once_are_published_as_they_say() {
    if is_left_out(&["busybox", "kubectl"]) {
        return;
    }
    let mut stand = with_array();
    may_write(&stand);
    let part = |start: u32, stop: u32| obs(&json!({"explicit": [{"time": [start, stop]}]}));
    let rebase = |uses: Value| with(uses, "onConflict", json!("rebase"));
    begins(&mut stand, "left", &rebase(part(0, 4)), &own('l'));
    begins(&mut stand, "right", &rebase(part(4, 8)), &own('r'));
    begins(&mut stand, "over", &rebase(part(2, 6)), &own('o'));
    // Of what it may write it writes what nobody else has.
    begins(&mut stand, "little", &rebase(part(0, 8)), &format!("{WRITE}row 7 a /data"));
    begins(&mut stand, "alone", &part(4, 8), &own('n'));
    goes_on(&stand, "left");
    completes(&mut stand, "left");
    assert_eq!(letters(&stand, "obs"), "llllaaaa");
    // On top of that, though it began before.
    goes_on(&stand, "right");
    completes(&mut stand, "right");
    assert_eq!(letters(&stand, "obs"), "llllrrrr");
    let before = head(&stand, "obs");
    conflicts(&mut stand, "over", "was also written by default/left since; run it again");
    conflicts(&mut stand, "little", "t/c/7/0 was also written by default/right since; run it again");
    conflicts(&mut stand, "alone", "run it again, or set onConflict: rebase");
    assert_eq!(head(&stand, "obs"), before);
    let log = array(&stand, &["log", "obs"]).ok();
    let jobs: Vec<&str> =
        ["default/right", "default/left", "default/over", "default/little", "default/alone"]
            .into_iter()
            .filter(|job| log.contains(job))
            .collect();
    assert_eq!(jobs, ["default/right", "default/left"], "{log}");
    // Run again it is the last word.
    stand.watchbell(&["rerun", "over", "--name", "again"]).ok();
    waits_for_its_word(&mut stand, "again");
    goes_on(&stand, "again");
    completes(&mut stand, "again");
    assert_eq!(letters(&stand, "obs"), "lloooorr");

    // Who makes it longer changes metadata: nobody who began before goes on top of that, nor that on top of anybody.
    let longer = |by: u32| {
        rebase(json!({"name": "obs", "mount": "/data", "mode": "write", "split": {"dim": "time", "into": 1},
            "extend": {"dim": "time", "by": by}}))
    };
    let adds = own('g');
    begins(&mut stand, "late", &longer(1), &adds);
    begins(&mut stand, "longer", &longer(1), &adds);
    begins(&mut stand, "within", &rebase(part(0, 1)), &own('w'));
    begins(&mut stand, "beside", &rebase(part(7, 8)), &own('s'));
    goes_on(&stand, "within");
    completes(&mut stand, "within");
    conflicts(&mut stand, "late", "while the run, which makes it longer, worked on the first: run it again");
    assert_eq!(letters(&stand, "obs"), "wloooorr");
    begins(&mut stand, "grown", &longer(2), &adds);
    goes_on(&stand, "grown");
    completes(&mut stand, "grown");
    assert_eq!(letters(&stand, "obs"), "wloooorr");
    let out = stand.path("grown");
    array(&stand, &["export", "obs", out.to_str().unwrap()]).ok();
    assert_eq!(std::fs::read_to_string(out.join("t/c/9/0")).unwrap(), "gggg");
    conflicts(&mut stand, "beside", "metadata changed between snapshots");
    conflicts(
        &mut stand,
        "longer",
        "while the run, which makes it longer, worked on the first: run it again",
    );
    // The same of an import by hand that changes an attribute.
    begins(&mut stand, "named", &rebase(part(0, 1)), &own('x'));
    let document = std::fs::read_to_string(out.join("zarr.json")).unwrap();
    std::fs::write(out.join("zarr.json"), document.replace("{}", r#"{"title": "other"}"#)).unwrap();
    imported(&mut stand, "obs", &out);
    conflicts(&mut stand, "named", "zarr.json; run it again");
    assert_eq!(letters(&stand, "obs"), "wloooorr");
    array(&stand, &["verify", "obs"]).ok();
    stand.end();
}
