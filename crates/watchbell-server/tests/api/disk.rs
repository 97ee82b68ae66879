//! A disk without room, and one that fails. The parts run as children of the test: one on a small file system in a mount
//! namespace of its own, one with a limit on the size of files.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use watchbell_api::node;
use watchbell_api::types::pod_status::{ContainerState, Phase};
use watchbell_server::Ended;
use watchbell_store::Options;

use crate::audit::entries;
use crate::client::Answer;
use crate::exec::{V5, handshake};
use crate::harness::{Harness, config_map, job};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DIR: &str = "WATCHBELL_SERVER_CHILD_DIR";

/// Runs a part as a child behind `sh -ec script`, which ends with `exec "$@"`.
fn run_part(wrapper: &[&str], script: &str, part: &str, dir: &Path) {
    let line = [wrapper, &["sh", "-ec", script, "sh"]].concat();
    let mut command = Command::new(line[0]);
    command
        .args(&line[1..])
        .arg(std::env::current_exe().unwrap())
        .args([part, "--exact", "--nocapture"])
        .env(DIR, dir);
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "the child failed ({}); it needs root, or a user namespace with mounts:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The same on a disk of its own that is so large.
fn run_on_disk(size: &str, part: &str) {
    let dir = tempfile::tempdir().unwrap();
    let wrapper: &[&str] = if rustix::process::geteuid().is_root() {
        &["unshare", "--mount"]
    } else {
        &["unshare", "--map-root-user", "--mount"]
    };
    let script = format!("mount -t tmpfs -o size={size},mode=0700 tmpfs \"${DIR}\"; exec \"$@\"");
    run_part(wrapper, &script, part, dir.path());
}

/// The directory of a child; `None` in an ordinary run, where the part has nothing to do.
fn dir_of_child() -> Option<PathBuf> {
    std::env::var_os(DIR).map(PathBuf::from)
}

fn large(n: usize) -> Value {
    let mut map = config_map(&format!("large-{n}"), "large");
    map["data"]["key"] = "v".repeat(200 << 10).into();
    map
}

fn names(h: &Harness) -> Vec<String> {
    let list = h.client.get(&format!("{MAPS}?labelSelector=team%3Dlarge")).expect(200);
    let mut names: Vec<String> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| i["metadata"]["name"].as_str().unwrap().into())
        .collect();
    names.sort_by_key(|name| name["large-".len()..].parse::<usize>().unwrap());
    names
}

#[test]
fn a_full_disk_refuses_in_words_and_takes_deletes() {
    run_on_disk("72m", "disk::part_on_a_small_disk");
}

/// Makes objects until one is refused.
fn fill(h: &Harness, made: &mut Vec<String>) -> Answer {
    loop {
        let map = large(made.len());
        let answer = h.client.post(MAPS, &map);
        if answer.code != 201 {
            return answer;
        }
        made.push(map["metadata"]["name"].as_str().unwrap().to_owned());
    }
}

#[test]
fn part_on_a_small_disk() {
    let Some(disk) = dir_of_child() else { return };
    // The usual reserve: the writer lets the WAL grow no longer than that.
    let options = Options::default();
    let h = Harness::start_with(tempfile::tempdir_in(&disk).unwrap(), &options);
    // What is given back later: the database file itself does not shrink.
    std::fs::write(disk.join("ballast"), vec![1; 4 << 20]).unwrap();
    let mut made = Vec::new();
    fill(&h, &mut made).expect_refusal(
        507,
        "InsufficientStorage",
        "nothing was changed: cannot commit: no space left",
    );
    assert!(made.len() > 5, "{}", made.len());
    let ballast = std::fs::OpenOptions::new().append(true).open(disk.join("ballast"));
    let mut ballast = ballast.unwrap();
    while ballast.write_all(&[0; 4096]).is_ok() {}
    drop(ballast);
    // Emptying the WAL may have made a little room; then that is used up as well.
    let words = "delete objects or free space";
    fill(&h, &mut made).expect_refusal(507, "InsufficientStorage", words);

    // What the disk refuses is an entry all the same, with what it was answered.
    let refused = h.client.post(MAPS, &large(9999));
    let audit_id = refused.header("audit-id").to_owned();
    refused.expect_refusal(507, "InsufficientStorage", words);

    // Nothing of what was refused is seen; reading and being asked go on.
    assert_eq!(names(&h), made);
    assert_eq!(h.client.get("/readyz").code, 200);
    // A refusal for another reason stays that.
    h.client.post(MAPS, &large(0)).expect_refusal(409, "AlreadyExists", "");
    assert!(h.client.get("/metrics").text.contains("\nwatchbell_commits_refused_total "));
    // Deleting works with the reserve.
    h.client.delete(&format!("{MAPS}/large-0")).expect(200);
    h.client.delete(&format!("{MAPS}/large-1")).expect(200);
    made.drain(..2);
    assert_eq!(names(&h), made);

    // With room again all goes on, and a restart finds what was answered.
    std::fs::remove_file(disk.join("ballast")).unwrap();
    h.client.delete(&format!("{MAPS}?labelSelector=team%3Dlarge")).expect(200);
    made.clear();
    h.client.post(MAPS, &config_map("small", "small")).expect(201);
    let dir = h.stop();
    let entries = entries(dir.path());
    let of_refused: Vec<&Value> = entries.iter().filter(|e| e["auditID"] == *audit_id).collect();
    assert_eq!(of_refused.len(), 1, "{of_refused:?}");
    let entry = of_refused[0];
    assert_eq!((&entry["verb"], &entry["objectRef"]["name"]), (&json!("create"), &json!("large-9999")));
    assert_eq!(
        (&entry["responseStatus"]["code"], &entry["responseStatus"]["reason"]),
        (&json!(507), &json!("InsufficientStorage"))
    );
    assert!(entry["objectRef"]["uid"].is_null(), "it was never made: {entry}");
    let again = Harness::start_with(dir, &options);
    assert_eq!(names(&again), made);
    again.client.get(&format!("{MAPS}/small")).expect(200);
    again.client.get(&format!("{MAPS}/large-2")).expect(404);
}

#[test]
fn no_token_is_recorded_that_was_not_given() {
    run_on_disk("24m", "disk::part_with_tokens_on_a_small_disk");
}

#[test]
fn part_with_tokens_on_a_small_disk() {
    let Some(disk) = dir_of_child() else { return };
    let options = Options { reserve_bytes: 1 << 20, ..Options::default() };
    let h = Harness::start_with(tempfile::tempdir_in(&disk).unwrap(), &options);
    let (tokens, query) = h.tokens_of_a_pod();
    let mut ballast = std::fs::File::create(disk.join("ballast")).unwrap();
    while ballast.write_all(&[0; 4096]).is_ok() {}
    // Entries take what is left; then no token is given out any more, and the reserve is there for others.
    let mut given = 0;
    while tokens(&query).is_ok() {
        given += 1;
        assert!(given < 10_000, "the disk does not get full");
    }
    assert!(tokens(&query).is_err());
    assert_eq!(h.dir.path().join("reserve").metadata().unwrap().len(), options.reserve_bytes);
    drop(ballast);
    std::fs::remove_file(disk.join("ballast")).unwrap();
    tokens(&query).unwrap();
    given += 1;
    let dir = h.stop();
    let is_token = |e: &&Value| {
        e["objectRef"]["subresource"] == "token" && e["user"]["username"] == "system:node:watchbell"
    };
    assert_eq!(entries(dir.path()).iter().filter(is_token).count(), given);
}

#[test]
fn what_takes_away_has_the_reserve_to_itself() {
    run_on_disk("24m", "disk::part_with_a_small_reserve");
}

#[test]
fn part_with_a_small_reserve() {
    let Some(disk) = dir_of_child() else { return };
    let options = Options { reserve_bytes: 1 << 20, ..Options::default() };
    let h = Harness::start_with(tempfile::tempdir_in(&disk).unwrap(), &options);
    for n in 0..8 {
        h.client.post(MAPS, &config_map(&format!("map-{n}"), "x")).expect(201);
    }
    let policies = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies";
    let policy = json!({"metadata": {"name": "p"}, "spec": {"podSelector": {}, "policyTypes": ["Egress"]}});
    h.client.post(policies, &policy).expect(201);
    h.client.post("/apis/batch/v1/namespaces/default/jobs", &job("a")).expect(201);
    let (uid, pod) = h.started();
    h.report(uid, Phase::Running, ContainerState::Running { started_at: 1 });
    let pod = format!("/api/v1/namespaces/default/pods/{pod}");
    h.client.wait_for(&pod, "running", |answer| answer.body["status"]["phase"] == "Running");
    // Whose reads are counted makes no others: each user has a rate of his own.
    let reader = h.as_user("reader", &[]);
    h.bind("default", "view", "reader");
    let mut ballast = std::fs::File::create(disk.join("ballast")).unwrap();
    let made = std::cell::Cell::new(0);
    let mut fill = || {
        while ballast.write_all(&[0; 4096]).is_ok() {}
        until_full(|| {
            made.set(made.get() + 1);
            h.client.post(MAPS, &config_map(&format!("more-{}", made.get()), "x")).code
        });
    };
    fill();

    // Reads that wait are more than the reserve, and have no part in it.
    let query = "x".repeat(3000);
    for _ in 0..900 {
        reader.get(&format!("{MAPS}/map-0?pretty={query}")).expect(200);
    }
    for n in 0..4 {
        h.client.delete(&format!("{MAPS}/map-{n}")).expect(200);
    }
    // Nor has what only begins, of which nothing is done then.
    fill();
    let images = "/apis/watchbell.dev/v1alpha1/images";
    let pulled = until_full(|| h.client.call("POST", &format!("{images}:pull?name=good:1"), &[], b"").code);
    assert_eq!(h.images.asked.lock().unwrap().len(), pulled);
    let opened = until_full(|| {
        let (_, head) = handshake(&h, &format!("{pod}/exec?command=true&stdout=true"), V5);
        head.split(' ').nth(1).unwrap().parse().unwrap()
    });
    // What takes images away has.
    h.client.call("DELETE", &format!("{images}/gone:1"), &[], b"").expect(200);
    h.client.call("POST", &format!("{images}:prune"), &[], b"").expect(200);
    assert_eq!(h.images.asked.lock().unwrap().len(), pulled + 2);
    // And a key that others know is revoked, as often as need be.
    for verb in ["rotate", "revoke", "revoke"] {
        h.client
            .call("POST", &format!("/apis/watchbell.dev/v1alpha1/tokenkeys:{verb}"), &[], b"")
            .expect(200);
    }

    // What the node tells has no room, and is tried again and again; a policy that is gone is gone for pods all the same.
    fill();
    h.report(uid, Phase::Running, ContainerState::Running { started_at: 2 });
    h.client.delete(&format!("{policies}/p")).expect(200);
    // After a refused batch it is told again what held before.
    let told = h.command(|command| match command {
        node::Command::ChangeEgress { uid, egress: None } => Some(uid),
        _ => None,
    });
    assert_eq!(told, uid);

    // With room again, what waited comes.
    drop(ballast);
    std::fs::remove_file(disk.join("ballast")).unwrap();
    h.client.post(MAPS, &config_map("small", "small")).expect(201);
    let entries = entries(h.stop().path());
    let reads = entries.iter().filter(|e| e["verb"] == "get" && e["objectRef"]["name"] == "map-0").count();
    assert_eq!(reads, 900);
    let count =
        |stage: &str, verb: &str| entries.iter().filter(|e| e["stage"] == stage && e["verb"] == verb).count();
    for stage in ["RequestReceived", "ResponseComplete"] {
        assert_eq!((count(stage, "prune"), count(stage, "delete") > 0), (1, true), "{stage}");
    }
    assert_eq!(count("ResponseStarted", "pull"), pulled);
    // With the refusal.
    assert_eq!(count("ResponseComplete", "pull"), pulled + 1);
    let of_sessions = |e: &&Value| e["objectRef"]["subresource"] == "exec" && e["stage"] == "ResponseStarted";
    assert_eq!(entries.iter().filter(of_sessions).count(), opened);
}

/// Asks until the disk is full; how often it was not.
fn until_full(mut ask: impl FnMut() -> u16) -> usize {
    (0..10_000).find(|_| ask() == 507).expect("the disk does not get full")
}

/// A limit on the size of files makes writes fail with EFBIG: an I/O error after which nothing is known.
#[test]
fn a_failed_journal_ends_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let script = "trap '' XFSZ; ulimit -f 8192; exec \"$@\"";
    run_part(&[], script, "disk::part_with_a_file_size_limit", dir.path());
    let acknowledged = std::fs::read_to_string(dir.path().join("acknowledged")).unwrap();
    let copy = tempfile::tempdir().unwrap();
    for name in ["journal.db", "journal.db-wal", "secrets.key", "audit.key"] {
        std::fs::copy(dir.path().join("data").join(name), copy.path().join(name)).unwrap();
    }
    // The limit is gone: what was answered is there.
    let h = Harness::start_in(copy);
    let names = names(&h);
    for name in acknowledged.lines() {
        assert!(names.iter().any(|n| n == name), "{name} was answered and is lost");
    }
}

#[test]
fn part_with_a_file_size_limit() {
    let Some(dir) = dir_of_child() else { return };
    let options = Options { reserve_bytes: 1 << 20, ..Options::default() };
    let h = Harness::start_with(tempfile::tempdir_in(&dir).unwrap(), &options);
    let mut acknowledged = String::new();
    let refused = (0..200).find_map(|n| {
        let answer = h.client.post(MAPS, &large(n));
        if answer.code == 201 {
            acknowledged.push_str(&format!("large-{n}\n"));
            None
        } else {
            Some(answer)
        }
    });
    refused.expect("the limit was never reached").expect_refusal(
        503,
        "ServiceUnavailable",
        "the server is ending",
    );
    let cause = h.state.failure().expect("the writer goes on");
    assert_eq!(h.server().wait().unwrap(), Ended::Journal(cause));
    h.client.post(MAPS, &config_map("later", "x")).expect_refusal(503, "ServiceUnavailable", "");
    // Everybody may hear that it ends, but not why.
    let ready = h.client.anonymous().get("/readyz");
    assert_eq!(ready.code, 500);
    assert!(
        ready.text.contains("[-]journal failed: reason withheld") && !ready.text.contains("journal.db"),
        "{}",
        ready.text
    );
    std::fs::write(dir.join("acknowledged"), acknowledged).unwrap();
    std::fs::rename(h.dir.path(), dir.join("data")).unwrap();
}
