//! `watchbell array` as a user calls it, on a data directory without a server.

#![expect(clippy::print_stderr, reason = "a test that is left out says so")]

mod buckets;
mod encrypted;
mod interrupted;
mod signed;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

struct Done {
    code: Option<i32>,
    out: String,
    err: String,
}

struct Place(tempfile::TempDir);

impl Place {
    /// With a hierarchy in `plain`: ten chunks along time.
    fn new() -> Self {
        let place = Self(tempfile::Builder::new().prefix("watchbell-arrays-").tempdir().unwrap());
        place.write("plain/zarr.json", r#"{"zarr_format": 3, "node_type": "group", "attributes": {}}"#);
        place.write(
            "plain/t/zarr.json",
            r#"{"zarr_format": 3, "node_type": "array", "shape": [20], "data_type": "uint8",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": 0, "codecs": [{"name": "bytes"}], "dimension_names": ["time"], "attributes": {}}"#,
        );
        (0..10).for_each(|n| place.write(&format!("plain/t/c/{n}"), &format!("{n}{n}")));
        place
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.0.path().join(path)).ok()
    }

    fn array(&self, line: &str) -> Done {
        self.array_with(&[], line)
    }

    /// With these variables.
    fn array_with(&self, variables: &[(&str, &str)], line: &str) -> Done {
        let mut command = self.command(line);
        ended(command.args(["--data-dir", "data"]).envs(variables.iter().copied()))
    }

    /// Of no data directory.
    fn bare(&self, line: &str) -> Done {
        ended(&mut self.command(line))
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_watchbell"));
        command.arg("array").args(line.split_whitespace()).current_dir(self.0.path());
        command.env("HOME", self.0.path()).env_remove("KUBECONFIG");
        command
    }

    /// Makes a key, and gives back the public part.
    fn keygen(&self, line: &str) -> String {
        let done = self.bare(&format!("keygen {line}"));
        assert_eq!(done.code, Some(0), "{}", done.err);
        done.out.trim().to_owned()
    }

    fn done(&self, line: &str) -> String {
        let done = self.array(line);
        assert_eq!(done.code, Some(0), "{line}: {}{}", done.out, done.err);
        done.out
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.done(&format!("{line} -o json"))).unwrap()
    }

    fn refused(&self, line: &str, code: i32, message: &str) {
        let done = self.array(line);
        assert_eq!(done.code, Some(code), "{line}: {}{}", done.out, done.err);
        assert!(done.err.contains(message), "{line}: {}", done.err);
    }
}

fn ended(command: &mut Command) -> Done {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Done { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

#[test]
fn what_was_published_is_told_compared_and_had_back() {
    let place = Place::new();
    let first = place.done("import -n ml obs plain -m first").trim().to_owned();
    place.write("plain/t/c/3", "changed");
    fs::remove_file(place.0.path().join("plain/t/c/9")).unwrap();
    let second = place.done("import -n ml obs plain").trim().to_owned();
    assert_eq!(place.done(&format!("diff -n ml obs {first}")), "~ t/c/3\n- t/c/9\n");
    let log = place.json("log -n ml obs");
    let told: Vec<&str> =
        log["items"].as_array().unwrap().iter().map(|item| item["message"].as_str().unwrap()).collect();
    assert_eq!(told, ["imported", "first"]);
    place.done(&format!("tag -n ml obs good {}", &first[..8]));
    assert_eq!(place.done("tag -n ml obs"), format!("good {first}\n"));
    place.done("export -n ml obs out");
    assert_eq!((place.read("out/t/c/3").as_deref(), place.read("out/t/c/9")), (Some("changed"), None));
    place.done("checkout -n ml obs good before");
    assert_eq!(place.read("before/t/c/9").as_deref(), Some("99"));
    let third = place.done("rollback -n ml obs good").trim().to_owned();
    assert_ne!(third, first);
    assert_eq!(place.done(&format!("diff -n ml obs good {third}")), "");
    let blame = place.json("blame -n ml obs t/c/3");
    assert!(blame["items"][0]["run"].as_str().unwrap().starts_with("import of /"), "{blame}");
    let shown = place.json("show -n ml obs");
    assert_eq!(shown["nodes"]["/t"]["shape"], serde_json::json!([20]));
    assert!(place.done("verify -n ml obs").starts_with("verified 3 snapshots, 13 objects"));
    // The second is nobody's any more.
    place.done("gc -n ml obs --keep-last 1");
    let kept = place.json("verify -n ml obs");
    assert_eq!((&kept["snapshots"], &kept["verified"]), (&2.into(), &true.into()));
    place.refused(
        &format!("show -n ml obs {second}"),
        1,
        "there is no snapshot, tag or beginning of a digest",
    );
    assert_eq!(place.json("ls -n ml")["items"][0]["snapshot"], third.as_str());
    assert_eq!(place.json("ls -n other")["items"], serde_json::json!([]));
    place.refused("delete -n ml obs", 2, "say --yes");
    place.done("delete -n ml obs --yes");
    place.refused("log -n ml obs", 1, "there is no array ml/obs");
}

#[test]
fn a_split_is_shown_before_anything_runs() {
    let place = Place::new();
    place.done("import obs plain");
    let plan = place.json(r#"plan obs --split {"dim":"time","into":4}"#);
    assert_eq!((&plan["completions"], &plan["variables"]), (&4.into(), &serde_json::json!(["/t"])));
    assert_eq!(
        plan["indices"][1],
        serde_json::json!({"index": 1, "chunks": 3, "elements": {"time": [4, 10]}})
    );
    assert_eq!(place.json("plan obs --split perChunk")["completions"], 10);
    let grown = place.json("plan obs --split perChunk --extend time=3");
    assert_eq!(grown["indices"][1]["elements"]["time"], serde_json::json!([22, 23]));
    place.refused(r#"plan obs --split {"dim":"time","into":40}"#, 1, "the most is 10");
    place.refused(r#"plan obs --split {"dim":"lat","into":4}"#, 1, "there are: time");
    place.refused("plan obs --split perRow", 2, "perRow");
}

#[test]
fn the_end_of_one_array_is_not_another_s() {
    let place = Place::new();
    place.done("import foo plain");
    place.done("import foo.removed plain");
    place.done("delete foo --yes");
    assert!(place.done("verify foo.removed").starts_with("verified 1 snapshots"));
    assert_eq!(place.json("ls")["items"].as_array().unwrap().len(), 1);
}

#[test]
fn damage_is_found_and_said() {
    let place = Place::new();
    place.done("import obs plain");
    // Small objects lie one behind the other in a pack, before its index.
    let packs = walk(&place.0.path().join("data/arrays/default/obs/objects/packs"));
    let of_chunk = |path: PathBuf| {
        let bytes = fs::read(&path).unwrap();
        let at = bytes.windows(2).position(|two| two == b"77")?;
        Some((path, bytes, at))
    };
    let (pack, mut bytes, at) = packs.into_iter().find_map(of_chunk).unwrap();
    bytes[at + 1] = b'8';
    fs::remove_file(&pack).unwrap();
    fs::write(&pack, bytes).unwrap();
    let done = place.array("verify obs");
    assert_eq!(done.code, Some(1));
    assert!(done.out.starts_with("DAMAGED t/c/7, object "), "{}", done.out);
    assert!(done.err.contains("damaged: 1 findings"), "{}", done.err);
    place.refused("export obs out", 1, "is damaged: t/c/7 has another content");
    let mended = place.array("import obs plain");
    assert!(mended.err.starts_with("mended t/c/7: its object was damaged or missing\n"), "{}", mended.err);
    place.done("verify obs");
    place.done("export obs out");
}

#[test]
fn a_quota_and_foreign_files_stop_an_import() {
    let place = Place::new();
    place.done("create obs");
    place.refused("create obs", 1, "there is an array at");
    place.done("quota obs 100");
    place.refused("import obs plain", 1, "the array's quota is 100");
    assert!(place.done("quota obs none").ends_with("bytes without a bound\n"));
    // As a server leaves it that has an object for it.
    place.write("data/arrays/default/obs/object", "");
    place.refused(
        "quota obs 1Ki",
        1,
        r#"kubectl patch dataarray obs -n default --type=merge -p '{"spec": {"quota": "1024"}}'"#,
    );
    place.refused("quota obs none", 1, r#"-p '{"spec": {"quota": null}}'"#);
    assert!(place.done("quota obs").ends_with("bytes without a bound\n"));
    let done = place.array("key");
    assert!(done.err.contains("data has no arrays.key: the first start"), "{}", done.err);
    place.write("plain/notes.txt", "mine");
    place.refused("import obs plain", 1, "notes.txt: it is no chunk of this hierarchy");
    place.refused("log obs/../x", 2, "is no RFC 1123 name");
    place.refused("show obs", 1, "the array has no snapshot yet");
}

/// An array that is made for an import that comes to nothing would be in the clear, and in the way of one that is not.
#[test]
fn an_import_that_is_refused_leaves_no_array() {
    let place = Place::new();
    let is_none = || assert_eq!(place.json("ls -A")["items"], serde_json::json!([]));
    place.refused("import obs plain --sign-key-file none", 2, "cannot use the key none");
    is_none();
    let bucket = place.array_with(&[("AWS_ACCESS_KEY_ID", "alone")], "import obs s3://data/in");
    assert_eq!(bucket.code, Some(2), "{}", bucket.err);
    is_none();
    place.refused("import obs nowhere", 1, "nowhere");
    is_none();
    fs::create_dir(place.0.path().join("empty")).unwrap();
    place.refused("import obs empty", 1, "there is no file in it");
    is_none();
    place.write("plain/notes.txt", "mine");
    place.refused("import obs plain", 1, "notes.txt: it is no chunk of this hierarchy");
    is_none();
    // One that was there before stays.
    place.done("create obs");
    place.refused("import obs plain", 1, "notes.txt");
    assert_eq!(place.json("ls -A")["items"][0]["name"], "obs");
}

#[test]
fn one_array_that_cannot_be_read_hides_no_other() {
    let place = Place::new();
    for name in ["a", "b", "c"] {
        place.done(&format!("import {name} plain"));
    }
    place.write("data/arrays/default/b/refs/head", "nothing");
    let done = place.array("ls -A");
    assert_eq!(done.code, Some(1));
    assert!(done.err.contains("arrays that cannot be read: 1"), "{}", done.err);
    let rows: Vec<&str> = done.out.lines().collect();
    assert_eq!(rows.len(), 4, "{}", done.out);
    assert!(rows[2].contains("<unreadable>") && rows[2].contains("refs/head"), "{}", rows[2]);
    let done = place.array("ls -o json");
    let told: Value = serde_json::from_str(&done.out).unwrap();
    let problems: Vec<bool> =
        told["items"].as_array().unwrap().iter().map(|item| item["problem"].is_string()).collect();
    assert_eq!((done.code, problems), (Some(1), vec![false, true, false]));
}

/// A key that is lost or away keeps nobody from what needs none.
#[test]
fn a_log_and_an_end_need_no_key() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    let key = place.0.path().join("key");
    place.write("key", &"7".repeat(64));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    place.done("create obs --encrypt-key-file key");
    let head = place.done("import obs plain").trim().to_owned();
    assert_eq!(place.json("log obs")["items"][0]["snapshot"], head.as_str());
    fs::remove_file(&key).unwrap();
    let done = place.array("log obs -o json");
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(done.err.contains("read without its key"), "{}", done.err);
    let told: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(told["items"][0]["snapshot"], head.as_str());
    place.refused("show obs", 1, "array default/obs: ");
    // A key that is the wrong one is not as if there were none.
    place.write("key", &"8".repeat(64));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    place.refused("log obs", 1, "the key is not the array's");
    fs::remove_file(&key).unwrap();
    place.refused("delete obs --require-encrypted", 2, "say --yes");
    place.done("delete obs --yes");
    assert_eq!(place.json("ls")["items"], serde_json::json!([]));
    // What is mistyped is told before anything is looked at.
    place.refused("verify none --key mistyped", 2, "mistyped");
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(walk(&path)),
            path => found.push(path),
        }
    }
    found
}
