//! Encrypted data arrays from a user's side: real containers read and write one, and nothing of it is on the disk in the clear.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::arrays::{gate, kubectl, may_write, roll_back, was_kept_out, write_hierarchy, writer};
use crate::stand::{Done, Stand, condition, is_left_out, run};

/// In chunks that are imported, in those that Jobs write, and in a document.
const IMPORTED: &str = "aaaa-marker-imported";
const WRITTEN: &str = "bbbb-marker-written";
/// In those of a run that a gate looks at.
const GATED: &str = "cccc-marker-gated";
const DOCUMENT: &str = "marker-of-a-document";

fn array(stand: &Stand, args: &[&str]) -> Done {
    let data = stand.data().display().to_string();
    let mut command = stand.program();
    command.env("WATCHBELL_ARRAY_KEY_FILE", stand.path("obs.key"));
    command.arg("array").args(args).args(["-n", "default", "--data-dir", &data]);
    run(command, "")
}

fn key(stand: &Stand, name: &str, digit: &str) -> PathBuf {
    let path = stand.path(name);
    std::fs::write(&path, digit.repeat(64)).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// The files below a directory that hold one of the markers.
fn in_the_clear(dir: &Path) -> Vec<PathBuf> {
    let mut grep = std::process::Command::new("grep");
    // Files come and go while a server works.
    grep.args([
        "--recursive",
        "--text",
        "--devices=skip",
        "--files-with-matches",
        "--fixed-strings",
        "--no-messages",
    ]);
    let markers = [IMPORTED, WRITTEN, GATED, DOCUMENT];
    let found =
        grep.args(markers.iter().flat_map(|marker| ["-e", marker])).arg("--").arg(dir).output().unwrap();
    String::from_utf8_lossy(&found.stdout).lines().map(PathBuf::from).collect()
}

/// Mounts that show plaintext: of a spawner on this data directory, and of the host.
fn views(stand: &Stand) -> usize {
    let data = stand.data().display().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.contains(&data) && line.split('\0').nth(1) == Some("spawner")
    });
    let of = |path: PathBuf| std::fs::read_to_string(path.join("mountinfo")).unwrap_or_default();
    let mounts = processes.map(|process| of(process.path())).chain([of("/proc/self".into())]);
    let is_view = |line: &str| {
        (line.contains("noswap") && line.contains(&data)) || line.split(' ').nth(3) == Some("/view")
    };
    mounts.map(|mounts| mounts.lines().filter(|line| is_view(line)).count()).sum()
}

/// What each index writes: its own chunks, once it has read what it expects.
fn job(name: &str, expected: &str, more: &str) -> String {
    writing(name, expected, WRITTEN, "", more)
}

fn writing(name: &str, expected: &str, written: &str, annotations: &str, more: &str) -> String {
    let expected = unread(expected);
    let check = format!("[ $(cat /data/t/c/$WATCHBELL_ARRAY_START/0) = {expected} ] || exit 4\n{more}");
    writer(name, 4, 'b', annotations, &check).replace("printf bbbb", &format!("printf {}", unread(written)))
}

/// A word of a script that becomes the text when it runs: the script itself stands in the journal.
fn unread(text: &str) -> String {
    let turned = |c: char| match c {
        'a'..='z' => char::from((c as u8 - b'a' + 13) % 26 + b'a'),
        c => c,
    };
    format!("$(echo {} | tr a-z n-za-m)", text.chars().map(turned).collect::<String>())
}

fn condition_of(stand: &Stand) -> (String, String) {
    let object = stand.get(&["dataarray", "obs"]);
    let ready = &object["status"]["conditions"][0];
    let text = |field: &str| ready[field].as_str().unwrap_or_default().to_owned();
    (text("status"), text("message"))
}

fn exported(stand: &Stand, key: &str) -> String {
    let out = stand.path("out");
    array(stand, &["export", "obs", "--require-encrypted", out.to_str().unwrap()]).ok();
    let content = std::fs::read_to_string(out.join(key)).unwrap();
    std::fs::remove_dir_all(out).unwrap();
    content
}

/// What a gate refuses nobody has, what was published before can be had again, and what nobody keeps goes.
fn gates_rollbacks_and_retention(stand: &mut Stand) {
    let head =
        |stand: &Stand| stand.get(&["dataarray", "obs"])["status"]["head"].as_str().unwrap().to_owned();
    let before = head(stand);
    let gated = |name: &str| writing(name, WRITTEN, GATED, "watchbell.dev/array-gate: check", "");
    stand.apply(&gate(&unread(WRITTEN)));
    stand.apply(&gated("bad"));
    let failed = stand.finished("default", "bad");
    was_kept_out(&failed);
    assert_eq!(head(stand), before);
    stand.apply(&gate(&unread(GATED)));
    stand.apply(&gated("good"));
    let done = stand.finished("default", "good");
    assert!(condition(&done, "Complete"), "{done:#}\n{}", stand.server_log());
    assert_eq!(exported(stand, "t/c/0/0"), GATED);
    roll_back(stand, &before);
    assert_eq!(exported(stand, "t/c/0/0"), WRITTEN);
    assert_eq!(in_the_clear(&stand.data()), Vec::<PathBuf>::new());
    let snapshots = |stand: &Stand| stand.get(&["dataarray", "obs"])["status"]["snapshots"].clone();
    assert_ne!(snapshots(stand), 1);
    // Its draft waits for who goes on with it, and keeps what it began on.
    kubectl(stand, &["delete", "job", "bad"], "").ok();
    stand
        .until("the draft is given up", |stand| stand.get(&["dataarray", "obs"])["status"]["draftRuns"] == 0);
    let keep = json!({"spec": {"retention": {"keepLast": 1}}}).to_string();
    kubectl(stand, &["patch", "dataarray", "obs", "--type=merge", "-p", &keep], "").ok();
    stand.until("what nobody keeps is gone", |stand| snapshots(stand) == 1);
    let gone = array(stand, &["show", "obs", &before]);
    assert_ne!(gone.code, Some(0), "{}", gone.out);
    assert_eq!(exported(stand, "t/c/0/0"), WRITTEN);
}

#[test]
fn an_encrypted_array_is_used_and_lies_nowhere_in_the_clear() {
    if is_left_out(&["busybox", "kubectl"]) {
        return;
    }
    let mut stand = Stand::with_busybox_and(|stand| {
        let (obs, other) = (key(stand, "obs.key", "7"), key(stand, "other.key", "8"));
        vec![format!("--array-key=obs={},default/other={}", obs.display(), other.display())]
    });
    let object = |spec: Value| {
        json!({
            "apiVersion": "watchbell.dev/v1alpha1", "kind": "DataArray", "metadata": {"name": "obs"}, "spec": spec,
        })
        .to_string()
    };
    stand.apply(&object(json!({"encryption": {"key": "obs"}})));
    stand.until("the store is made", |stand| condition_of(stand).0 == "True");
    assert_eq!(
        stand.get(&["dataarray", "obs"])["status"]["encryption"],
        json!({"headNumber": 0, "key": "obs"})
    );
    // What is there stays as it is.
    for (spec, why) in [
        (json!({}), "spec.encryption: Forbidden: cannot be taken away"),
        (json!({"encryption": {"key": "obs"}, "format": "artifacts"}), "spec.format: Invalid value"),
        (json!({"encryption": {"key": "/etc/shadow"}}), "spec.encryption.key: Invalid value"),
    ] {
        let refused = kubectl(&stand, &["replace", "-f", "-"], &object(spec));
        assert!(refused.code != Some(0) && refused.err.contains(why), "{}", refused.err);
    }
    let source = stand.path("obs.zarr");
    write_hierarchy(&source);
    for row in 0..8 {
        std::fs::write(source.join(format!("t/c/{row}/0")), IMPORTED).unwrap();
    }
    let group = json!({"zarr_format": 3, "node_type": "group", "attributes": {"title": DOCUMENT}});
    std::fs::write(source.join("zarr.json"), group.to_string()).unwrap();
    assert_eq!(in_the_clear(&source).len(), 9, "what is looked for is found where it is");
    array(&stand, &["import", "obs", source.to_str().unwrap()]).ok();
    stand.until("the head is known", |stand| {
        stand.get(&["dataarray", "obs"])["status"]["encryption"]["headNumber"] == 1
    });
    assert_eq!(in_the_clear(&stand.data()), Vec::<PathBuf>::new());
    may_write(&stand);
    // On the way to the store nothing is on the disk either.
    let disk = job("disk", IMPORTED, "").replace("mode: write", "mode: write, upper: disk");
    let refused = stand.watchbell_with(&["apply", "-f", "-"], &disk);
    assert!(refused.code != Some(0) && refused.err.contains("upper: disk would write"), "{}", refused.err);
    // One index fails, and what the others wrote waits in a draft until it was tried again.
    stand.apply(&job("part", IMPORTED, "case $(hostname) in part-2) exit 1;; esac"));
    let failed = stand.finished("default", "part");
    assert!(condition(&failed, "Failed"), "{failed:#}\n{}", stand.server_log());
    assert_eq!(in_the_clear(&stand.data()), Vec::<PathBuf>::new());
    stand.watchbell(&["rerun", "part", "--failed", "--name", "rest"]).ok();
    let done = stand.finished("default", "rest");
    assert!(condition(&done, "Complete"), "{done:#}\n{}", stand.server_log());
    // A whole one, looked at while it runs.
    stand.apply(&job("fill", WRITTEN, "until [ -e /tmp/word ]; do sleep 0.05; done"));
    stand.until("plaintext is in memory", |stand| views(stand) > 0);
    assert_eq!(in_the_clear(&stand.data()), Vec::<PathBuf>::new());
    stand.until("all indexes may go on", |stand| {
        let pods = stand.get(&["pods", "-l", "batch.kubernetes.io/job-name=fill"]);
        let pods = pods["items"].as_array().unwrap();
        let told = pods.iter().filter(|pod| {
            let pod = pod["metadata"]["name"].as_str().unwrap();
            stand.watchbell(&["exec", pod, "--", "/bin/busybox", "touch", "/tmp/word"]).code == Some(0)
        });
        told.count() == 4
    });
    let done = stand.finished("default", "fill");
    assert!(condition(&done, "Complete"), "{done:#}\n{}", stand.server_log());
    assert_eq!(exported(&stand, "t/c/6/0"), WRITTEN);
    assert_eq!(in_the_clear(&stand.data()), Vec::<PathBuf>::new());
    let blamed = array(&stand, &["blame", "obs", "t/c/7/0"]).ok();
    assert!(blamed.contains("default/fill"), "{blamed}");
    gates_rollbacks_and_retention(&mut stand);
    array(&stand, &["verify", "obs"]).ok();

    // A server that was given another key under the name, then none.
    let other = stand.path("other.key").display().to_string();
    let obs = stand.path("obs.key").display().to_string();
    stand.stop();
    // What would linger for indexes that are likely to come goes with the server, whose spawner stays.
    stand.until("nothing stays mounted", |stand| views(stand) == 0);
    stand.serve(&[&format!("--array-key=obs={other}")]);
    stand.until("the key is found to be another", |stand| {
        condition_of(stand)
            .1
            .contains("it was encrypted under another key than the one that the server knows as \"obs\"")
    });
    stand.stop();
    stand.serve(&[]);
    stand.until("the key is missed", |stand| {
        condition_of(stand).1.contains("the server has no key \"obs\" for namespace \"default\"")
    });
    // An older head that was put back meanwhile, and one that nobody wrote.
    stand.stop();
    let head = stand.data().join("arrays/default/obs/refs/head");
    let newest = std::fs::read_to_string(&head).unwrap();
    let number = newest.split(' ').nth(1).unwrap();
    std::fs::write(&head, newest.replace(&format!(" {number} "), " 9 ")).unwrap();
    stand.serve(&[&format!("--array-key=obs={obs}")]);
    stand.until("the head is found to be forged", |stand| {
        condition_of(stand).1.contains("refs/head was not written by who has the array's key")
    });
    let refused = array(&stand, &["verify", "obs"]);
    assert_ne!(refused.code, Some(0));
    // A store in the clear in its place.
    std::fs::write(&head, newest).unwrap();
    stand.stop();
    let (dir, kept) = (stand.data().join("arrays/default/obs"), stand.path("kept"));
    std::fs::rename(&dir, &kept).unwrap();
    array(&stand, &["import", "obs", source.to_str().unwrap()]).ok();
    stand.serve(&[&format!("--array-key=obs={obs}")]);
    stand.until("the store is found to be in the clear", |stand| {
        condition_of(stand).1.contains("it is in the clear, and was to be encrypted under the key \"obs\"")
    });
    let refused =
        array(&stand, &["export", "obs", "--require-encrypted", stand.path("out").to_str().unwrap()]);
    assert!(refused.err.contains("it is in the clear, and was to be encrypted"), "{}", refused.err);
    stand.end();
}

#[test]
fn an_older_head_is_refused_until_it_is_numbered_anew() {
    if is_left_out(&["busybox", "kubectl"]) {
        return;
    }
    let mut stand = Stand::with_busybox_and(|stand| {
        vec![format!("--array-key=obs={}", key(stand, "obs.key", "7").display())]
    });
    let object = json!({
        "apiVersion": "watchbell.dev/v1alpha1", "kind": "DataArray", "metadata": {"name": "obs"},
        "spec": {"encryption": {"key": "obs"}},
    });
    stand.apply(&object.to_string());
    stand.until("the store is made", |stand| condition_of(stand).0 == "True");
    let source = stand.path("obs.zarr");
    write_hierarchy(&source);
    let number =
        |stand: &Stand| stand.get(&["dataarray", "obs"])["status"]["encryption"]["headNumber"].clone();
    let head = stand.data().join("arrays/default/obs/refs/head");
    let mut heads = Vec::new();
    for at in 1..=3 {
        std::fs::write(source.join("t/c/0/0"), format!("{at}{at}{at}{at}")).unwrap();
        array(&stand, &["import", "obs", source.to_str().unwrap()]).ok();
        stand.until("the head is known", |stand| number(stand) == at);
        heads.push(std::fs::read_to_string(&head).unwrap());
    }
    // Whoever can write the directory puts back what was one, beside a server that runs and before one that comes.
    std::fs::write(&head, &heads[0]).unwrap();
    let why = "its head is number 1, and number 3 was seen: somebody put an older one back";
    stand.until("the older head is found", |stand| condition_of(stand).1.contains(why));
    may_write(&stand);
    let reads = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "annotations": {"watchbell.dev/array": "{name: obs, mount: /data}"}},
            "spec": {"restartPolicy": "Never", "containers": [{
                "name": "main", "image": "busybox:bar", "imagePullPolicy": "Never",
                "command": ["/bin/busybox", "cat", "/data/t/c/0/0"],
            }]},
        })
        .to_string()
    };
    stand.apply(&reads("early"));
    stand.until("its pod is refused", |stand| stand.get(&["pod", "early"])["status"]["phase"] == "Failed");
    let early = stand.get(&["pod", "early"])["status"].clone();
    let message = early["message"].as_str().unwrap_or_default();
    assert!(early["reason"] == "ArrayRefused" && message.contains(why), "{early:#}");
    stand.stop();
    let obs = stand.path("obs.key").display().to_string();
    stand.serve(&[&format!("--array-key=obs={obs}")]);
    stand.until("it is found again", |stand| condition_of(stand).1.contains(why));
    assert_eq!(number(&stand), 3);
    // On purpose it is the newest, as the message says.
    array(&stand, &["rollback", "obs", "head", "--number", "3"]).ok();
    stand.until("it is the newest", |stand| number(stand) == 4 && condition_of(stand).0 == "True");
    stand.apply(&reads("late"));
    stand.until("a pod reads it", |stand| stand.get(&["pod", "late"])["status"]["phase"] == "Succeeded");
    assert_eq!(stand.watchbell(&["logs", "late"]).ok().trim_end(), "1111");
    assert_eq!(exported(&stand, "t/c/0/0"), "1111");
    stand.end();
}
