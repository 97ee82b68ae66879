//! A disk without room, and one that fails. The parts run as children of the test: one on a small file system in a mount
//! namespace of its own, one with a limit on the size of files.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use watchbell_server::Ended;
use watchbell_store::Options;

use crate::audit::entries;
use crate::client::Answer;
use crate::harness::{Harness, config_map};

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
    let dir = tempfile::tempdir().unwrap();
    let wrapper: &[&str] = if rustix::process::geteuid().is_root() {
        &["unshare", "--mount"]
    } else {
        &["unshare", "--map-root-user", "--mount"]
    };
    let script = format!("mount -t tmpfs -o size=72m,mode=0700 tmpfs \"${DIR}\"; exec \"$@\"");
    run_part(wrapper, &script, "disk::part_on_a_small_disk", dir.path());
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
    let dir = tempfile::tempdir().unwrap();
    let wrapper: &[&str] = if rustix::process::geteuid().is_root() {
        &["unshare", "--mount"]
    } else {
        &["unshare", "--map-root-user", "--mount"]
    };
    let script = format!("mount -t tmpfs -o size=24m,mode=0700 tmpfs \"${DIR}\"; exec \"$@\"");
    run_part(wrapper, &script, "disk::part_with_tokens_on_a_small_disk", dir.path());
}

#[test]
fn part_with_tokens_on_a_small_disk() {
    let Some(disk) = dir_of_child() else { return };
    let options = Options { reserve_bytes: 1 << 20, ..Options::default() };
    let h = Harness::start_with(tempfile::tempdir_in(&disk).unwrap(), &options);
    let (tokens, query) = h.tokens_of_a_pod();
    let mut ballast = std::fs::File::create(disk.join("ballast")).unwrap();
    while ballast.write_all(&[0; 4096]).is_ok() {}
    // Entries take what is left, and the reserve; then no token is given out any more.
    let mut given = 0;
    while tokens(&query).is_ok() {
        given += 1;
        assert!(given < 10_000, "the disk does not get full");
    }
    assert!(tokens(&query).is_err());
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
