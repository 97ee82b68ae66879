//! Whoever changes, removes, exchanges or adds anything in an audit log, a closed one included, is found out; and whoever cuts
//! a crash's traces anywhere is not taken for one.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use watchbell_audit::{Checkpoint, Log, Note, SignatureKind, SigningKey, Trust, Verified, add_witnessed};
use watchbell_store::{Batch, Store};

use crate::log::check;
use crate::state::{entry, open};

/// Entries in the form of a server's. One of each kind that a server wrote is changed in `watchbell/tests/e2e/audit.rs`.
fn bodies(first: u64, count: u64) -> Vec<String> {
    let kinds = [
        r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","verb":"create","user":{"username":"ada"},"responseStatus":{"code":201}}"#,
        r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","verb":"delete","user":{"username":"bob"},"responseStatus":{"code":403}}"#,
        r#"{"kind":"RunEvent","apiVersion":"watchbell.dev/v1alpha1","action":"started","details":{"job":"train-1"}}"#,
        r#"{"kind":"RunEvent","apiVersion":"watchbell.dev/v1alpha1","action":"pods-ended","details":{"ended":[[0,0,"Succeeded",0]]}}"#,
    ];
    (first..first + count)
        .map(|n| format!("{} ", kinds[(n % 4) as usize]).replace("\"kind\"", &format!("\"n\":{n},\"kind\"")))
        .collect()
}

/// Appends and publishes.
pub(crate) fn grow(store: &mut Store, count: u64) {
    let first = store.last_audit_sequence();
    let audit = bodies(first, count).iter().map(|body| entry(body)).collect();
    store
        .commit(&Batch { resource_version: store.last_resource_version(), audit, ..Batch::default() })
        .unwrap();
    store.publisher().unwrap().publish().unwrap();
}

pub(crate) fn audit_dir(dir: &Path) -> PathBuf {
    dir.join("audit")
}

fn witness() -> (SigningKey, watchbell_audit::VerifierKey) {
    let key = SigningKey::from_seed(&[9; 32]);
    let verifier = key.verifier("witness.example/w1", SignatureKind::CosignatureV1).unwrap();
    (key, verifier)
}

/// A closed log of 300 entries, and one of 531 with partial tiles of two sizes and a witnessed checkpoint.
fn sample(dir: &Path) {
    let mut store = open(dir);
    grow(&mut store, 300);
    let backup = dir.with_extension("backup");
    store.backup(&backup).unwrap();
    drop(store);
    Store::restore(&backup, dir).unwrap();
    let mut store = open(dir);
    grow(&mut store, 519);
    let (key, verifier) = witness();
    let log = Log::open(&audit_dir(dir)).unwrap();
    let mut note = log.note.clone();
    note.signatures.push(key.cosign(&verifier, &note.text, 1_800_000_000));
    add_witnessed(&log, &note, &verifier).unwrap();
    grow(&mut store, 11);
}

pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![dir.to_path_buf()];
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { pending.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

fn found(dir: &Path) -> Verified {
    check(dir, &Trust::default())
}

/// Damage is found, and its place is told.
fn check_damaged(dir: &Path, what: &str, place: &str) {
    check_damaged_by(dir, &Trust::default(), what, place);
}

fn check_damaged_by(dir: &Path, trust: &Trust, what: &str, place: &str) {
    let found = check(dir, trust);
    assert!(!found.is_whole(), "{what} is not found");
    let told = found.damage.iter().any(|damage| damage.at.contains(place));
    assert!(told, "{what} is not told to be in {place}: {:?}", found.damage);
}

#[test]
fn a_flipped_bit_anywhere_in_any_file_is_found_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("data");
    sample(&dir);
    assert_eq!(found(&dir).damage, []);
    let audit = audit_dir(&dir);
    // A witness's signature is checked by who knows his key.
    let trust = Trust { witnesses: vec![witness().1], ..Trust::default() };
    assert_eq!(check(&dir, &trust).damage, []);
    let (mut kinds, mut flips) = (std::collections::BTreeSet::new(), 0);
    for path in files(&audit) {
        let name = path.strip_prefix(&audit).unwrap().to_str().unwrap().to_owned();
        kinds.insert(name.trim_start_matches("epoch-1/").split('/').take(2).collect::<Vec<_>>().join("/"));
        let bytes = std::fs::read(&path).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        // Both ends, the middle, and every so often between: lengths, entries, hashes, text, keys, signatures.
        let step = (bytes.len() / 7).max(1);
        let places = (0..bytes.len()).step_by(step).chain([1, bytes.len() / 2, bytes.len() - 1]);
        for at in places.filter(|at| *at < bytes.len()) {
            file.write_all_at(&[bytes[at] ^ (1 << (at % 8))], at as u64).unwrap();
            // A note that cannot be read is told by its path, a key that is another by what it does not verify.
            let place = if name.ends_with("verifier.pub") { "" } else { name.rsplit('/').next().unwrap() };
            check_damaged_by(&dir, &trust, &format!("a flip of byte {at} of {name}"), place);
            file.write_all_at(&[bytes[at]], at as u64).unwrap();
            flips += 1;
        }
    }
    let kinds: Vec<_> = kinds.iter().map(String::as_str).collect();
    assert_eq!(kinds, ["checkpoint", "tile/0", "tile/1", "tile/entries", "verifier.pub", "witnessed"]);
    assert!(flips > 150, "{flips}");
    assert_eq!(found(&dir).damage, []);
}

#[test]
fn a_file_less_or_more_or_shorter_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("data");
    sample(&dir);
    let audit = audit_dir(&dir);
    for path in files(&audit) {
        let name = path.strip_prefix(&audit).unwrap().to_str().unwrap().to_owned();
        let bytes = std::fs::read(&path).unwrap();
        for cut in [0, bytes.len() / 2, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            check_damaged(&dir, &format!("{name} cut to {cut} bytes"), "");
        }
        std::fs::write(&path, [&bytes[..], &[0]].concat()).unwrap();
        check_damaged(&dir, &format!("a byte more in {name}"), "");
        std::fs::remove_file(&path).unwrap();
        // An older checkpoint's partial tile may go at any time, and a log need not be witnessed.
        let may_go = name.contains("/002.p/8") || name == "witnessed";
        assert!(!found(&dir).is_whole() || may_go, "{name} removed is not found");
        std::fs::write(&path, &bytes).unwrap();
    }
    for name in [
        "tile/0/003",
        "tile/entries/002.p/255",
        "tile/2/000.p/1",
        "tile/0/0",
        "note",
        "epoch-1/tile/x",
        "epoch-2",
    ] {
        std::fs::create_dir_all(audit.join(name).parent().unwrap()).unwrap();
        std::fs::write(audit.join(name), [0; 32]).unwrap();
        check_damaged(&dir, &format!("a file {name} more"), name);
        std::fs::remove_file(audit.join(name)).unwrap();
    }
    std::os::unix::fs::symlink("checkpoint", audit.join("link")).unwrap();
    check_damaged(&dir, "a symbolic link", "link");
    std::fs::remove_file(audit.join("link")).unwrap();
    std::fs::rename(audit.join("epoch-1"), dir.join("aside")).unwrap();
    check_damaged(&dir, "the closed log's removal", "epoch-");
    std::fs::rename(dir.join("aside"), audit.join("epoch-1")).unwrap();
    assert_eq!(found(&dir).damage, []);
}

/// The entries of a bundle, exchanged, removed or changed, with their lengths right again.
#[test]
fn entries_exchanged_removed_added_or_changed_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("data");
    sample(&dir);
    for name in
        ["tile/entries/000", "tile/entries/001", "epoch-1/tile/entries/000", "epoch-1/tile/entries/001.p/44"]
    {
        let path = audit_dir(&dir).join(name);
        let whole = std::fs::read(&path).unwrap();
        let mut entries = Vec::new();
        let mut rest = whole.as_slice();
        while let Some((length, after)) = rest.split_first_chunk::<2>() {
            let (entry, after) = after.split_at(usize::from(u16::from_be_bytes(*length)));
            entries.push(entry.to_vec());
            rest = after;
        }
        let write = |entries: &[Vec<u8>]| {
            let bytes: Vec<u8> = entries
                .iter()
                .flat_map(|entry| [&(entry.len() as u16).to_be_bytes()[..], entry].concat())
                .collect();
            std::fs::write(&path, bytes).unwrap();
        };
        let mut swapped = entries.clone();
        swapped.swap(10, 11);
        write(&swapped);
        check_damaged(&dir, "two entries exchanged", name);
        write(&[&entries[..5], &entries[6..]].concat());
        check_damaged(&dir, "an entry removed", name);
        write(&[&entries[..], &entries[..1]].concat());
        check_damaged(&dir, "an entry added", name);
        for kind in 1..5 {
            let mut changed = entries.clone();
            changed[kind] =
                String::from_utf8(changed[kind].clone()).unwrap().replace("\"n\":", "\"m\":").into_bytes();
            write(&changed);
            check_damaged(&dir, "an entry changed", name);
        }
        std::fs::write(&path, &whole).unwrap();
    }
    let tiles = ["tile/0/000", "tile/0/001"].map(|name| audit_dir(&dir).join(name));
    let bytes = tiles.clone().map(|path| std::fs::read(path).unwrap());
    std::fs::write(&tiles[0], &bytes[1]).unwrap();
    std::fs::write(&tiles[1], &bytes[0]).unwrap();
    check_damaged(&dir, "two tiles exchanged", "tile/0/000");
}

#[test]
fn changed_rows_of_the_journal_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("data");
    sample(&whole);
    // Rows of the closed log, of the log that is written now, and of its last second, which no file has.
    let mut store = open(&whole);
    store
        .commit(&Batch {
            resource_version: store.last_resource_version(),
            audit: vec![entry("not published"), entry("nor this")],
            ..Batch::default()
        })
        .unwrap();
    drop(store);
    assert_eq!(found(&whole).damage, []);
    let free = "DROP TRIGGER audit_is_never_updated; DROP TRIGGER audit_is_never_deleted; DROP TRIGGER audit_is_contiguous;";
    for (number, sql) in [
        "UPDATE audit SET body = x'00' WHERE sequence = 5",
        "UPDATE audit SET body = x'00' WHERE sequence = 400",
        "UPDATE audit SET body = x'00' WHERE sequence = 832",
        "UPDATE audit SET body = 'text' WHERE sequence = 400",
        "DELETE FROM audit WHERE sequence = 5",
        "DELETE FROM audit WHERE sequence = 832",
        "DELETE FROM audit WHERE sequence = 400; UPDATE audit SET sequence = 400 WHERE sequence = 832",
        "UPDATE audit SET sequence = 1000000 WHERE sequence = 500; UPDATE audit SET sequence = 500 WHERE sequence = 501;
         UPDATE audit SET sequence = 501 WHERE sequence = 1000000",
        "UPDATE journal SET checkpoint = (SELECT checkpoint FROM closed_log)",
        "UPDATE journal SET checkpoint = replace(checkpoint, 'watchbell.dev', 'watchbell.com')",
    ]
    .iter()
    .enumerate()
    {
        let copied = dir.path().join(number.to_string());
        copy(&whole, &copied);
        let connection = rusqlite::Connection::open(copied.join("journal.db")).unwrap();
        let strict_text = sql.contains("'text'");
        let done = connection.execute_batch(&format!("{free} {sql}"));
        if strict_text {
            // The table is strict: not even so does text get in.
            assert!(done.is_err());
            continue;
        }
        done.unwrap();
        drop(connection);
        check_damaged(&copied, sql, "journal");
    }
}

/// Whoever takes the closed logs off the journal's list, or writes other rows in front of them, changes what no log claims: the
/// signed first entries do.
#[test]
fn changed_rows_of_closed_logs_are_found_whatever_the_journal_lists() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("data");
    let mut store = open(&whole);
    grow(&mut store, 3);
    drop(store);
    Store::rotate_log_key(&whole).unwrap();
    let mut store = open(&whole);
    grow(&mut store, 300);
    drop(store);
    Store::rotate_log_key(&whole).unwrap();
    let mut store = open(&whole);
    grow(&mut store, 2);
    drop(store);
    assert_eq!(found(&whole).damage, []);
    let free = "DROP TRIGGER audit_is_never_updated; DROP TRIGGER audit_is_never_deleted; DROP TRIGGER audit_is_contiguous;
                DROP TRIGGER closed_log_is_never_updated; DROP TRIGGER closed_log_is_never_deleted;";
    let (first, second) =
        ("DELETE FROM closed_log WHERE epoch = 1;", "DELETE FROM closed_log WHERE epoch = 2;");
    let forged = "UPDATE audit SET body = x'00' WHERE sequence =";
    let mut number = 0;
    let mut check = |sql: String, place: &str| {
        number += 1;
        let copied = dir.path().join(number.to_string());
        copy(&whole, &copied);
        let connection = rusqlite::Connection::open(copied.join("journal.db")).unwrap();
        connection.execute_batch(&format!("{free} {sql}")).unwrap();
        drop(connection);
        let found = found(&copied);
        let told = found.damage.iter().any(|damage| damage.what.contains(place));
        assert!(told, "{sql}: {:?}", found.damage);
    };
    // The list alone.
    check(first.into(), "does not list");
    check(second.into(), "does not list");
    check("UPDATE closed_log SET first_sequence = first_sequence + 1".into(), "does not list");
    // Rows 1 to 4 are the first log's, 5 to 306 the second's.
    for sequence in [1, 4, 5, 6, 306] {
        check(format!("{first}{second}{forged} {sequence}"), "are not those that the first entry of");
    }
    check(format!("{first}{forged} 2"), "rows 1 to 4 are not those");
    check(format!("{second}{forged} 300"), "rows 5 to 306 are not those");
    check(format!("{first}{second} DELETE FROM audit WHERE sequence = 1"), "rows 1 to 4 are not those");
    // The first entry of the log that is written now says what is before it, and is signed.
    check(format!("{forged} 307"), "does not say what the 306 rows before it are");
}

#[test]
fn a_row_whose_time_is_not_that_of_its_entry_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("data");
    let mut store = open(&dir);
    let dated = |n: i64| watchbell_store::AuditEntry {
        at_unix_nanos: 1_500_000_000 + n,
        body: format!(r#"{{"kind":"Event","stageTimestamp":"1970-01-01T00:00:01.50000000{n}Z"}}"#)
            .into_bytes(),
    };
    store
        .commit(&Batch { audit: (0..5).map(dated).chain([entry("no JSON")]).collect(), ..Batch::default() })
        .unwrap();
    drop(store);
    // In a closed log, too, listed or not, and in the one that is written now.
    Store::rotate_log_key(&dir).unwrap();
    assert_eq!(found(&dir).damage, []);
    let connection = rusqlite::Connection::open(dir.join("journal.db")).unwrap();
    connection
        .execute_batch("DROP TRIGGER audit_is_never_updated; DROP TRIGGER closed_log_is_never_deleted")
        .unwrap();
    for sequence in [3, 7, 8] {
        let shift = |by: &str| {
            let sql =
                format!("UPDATE audit SET at_unix_nanos = at_unix_nanos {by} WHERE sequence = {sequence}");
            connection.execute_batch(&sql).unwrap();
        };
        shift("- 1");
        check_damaged(&dir, &format!("another time of row {sequence}"), "journal");
        assert_eq!(found(&dir).damage.len(), 1);
        shift("+ 1");
    }
    connection
        .execute_batch("DELETE FROM closed_log; UPDATE audit SET at_unix_nanos = 0 WHERE sequence = 3")
        .unwrap();
    let damage = found(&dir).damage;
    assert!(damage.iter().any(|damage| damage.what.contains("row 3 has another time")), "{damage:?}");
}

#[test]
fn only_a_held_checkpoint_or_a_witness_shows_a_rollback_or_a_forgery() {
    let dir = tempfile::tempdir().unwrap();
    let (data, earlier) = (dir.path().join("data"), dir.path().join("earlier"));
    sample(&data);
    copy(&data, &earlier);
    let mut store = open(&data);
    grow(&mut store, 40);
    let verifier = store.log_verifier().clone();
    drop(store);
    let held = Log::open(&audit_dir(&data)).unwrap().note;
    let trust =
        |held: &Note| Trust { held: vec![held.clone()], keys: vec![verifier.clone()], ..Trust::default() };
    assert_eq!(check(&data, &trust(&held)).damage, []);
    // The whole directory of before: consistent in itself, as nothing in it can say otherwise.
    assert_eq!(found(&earlier).damage, []);
    let seen = check(&earlier, &trust(&held));
    assert!(seen.damage.iter().any(|d| d.what.contains("rolled back")), "{:?}", seen.damage);
    // Gone on from there with other entries: of the same size or larger.
    let mut store = open(&earlier);
    let other = Batch {
        resource_version: store.last_resource_version(),
        audit: vec![entry("another one")],
        ..Batch::default()
    };
    store.commit(&other).unwrap();
    grow(&mut store, 60);
    drop(store);
    assert_eq!(found(&earlier).damage, []);
    let seen = check(&earlier, &trust(&held));
    assert!(seen.damage.iter().any(|d| d.what.contains("another root")), "{:?}", seen.damage);

    // All made anew with another key: only who knows the key sees it.
    let forged = dir.path().join("forged");
    let mut store = open(&forged);
    grow(&mut store, 100);
    drop(store);
    assert_eq!(found(&forged).damage, []);
    let keys = Trust { keys: vec![verifier.clone()], ..Trust::default() };
    assert!(!check(&forged, &keys).is_whole());
    assert_eq!(check(&data, &keys).damage, []);

    // A witness is demanded: one who signed, one who did not, and one whose signature is gone.
    let (_, seen_by) = witness();
    let stranger =
        SigningKey::from_seed(&[8; 32]).verifier("witness.example/w1", SignatureKind::CosignatureV1).unwrap();
    let witnesses =
        |key: &watchbell_audit::VerifierKey| Trust { witnesses: vec![key.clone()], ..Trust::default() };
    assert_eq!(check(&data, &witnesses(&seen_by)).damage, []);
    assert!(!check(&data, &witnesses(&stranger)).is_whole());
    std::fs::remove_file(audit_dir(&data).join("witnessed")).unwrap();
    assert!(!check(&data, &witnesses(&seen_by)).is_whole());
}

#[test]
fn a_checkpoint_signed_by_another_key_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("data");
    sample(&dir);
    let log = Log::open(&audit_dir(&dir)).unwrap();
    let key = SigningKey::from_seed(&[1; 32]);
    let verifier = key.verifier(log.verifier.name(), SignatureKind::Ed25519).unwrap();
    let forged = log.checkpoint.sign(&key, &verifier);
    let checkpoint = audit_dir(&dir).join("checkpoint");
    std::fs::write(&checkpoint, forged.to_string()).unwrap();
    check_damaged(&dir, "a checkpoint of another key", "checkpoint");
    // With its key beside it the journal tells, which has another.
    std::fs::write(audit_dir(&dir).join("verifier.pub"), format!("{verifier}\n")).unwrap();
    check_damaged(&dir, "a checkpoint of another key, with that key", "journal");
    // The right key under another tree.
    let smaller = Checkpoint { size: 3, ..log.checkpoint };
    std::fs::write(&checkpoint, smaller.sign(&key, &verifier).to_string()).unwrap();
    check_damaged(&dir, "a checkpoint of another tree", "checkpoint");
}

/// A crash between any two steps of the files' writing: verified as it is, and finished by the next start.
#[test]
fn wherever_the_writing_of_files_is_cut_off_the_log_is_verified() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut store = open(&data);
    grow(&mut store, 250);
    let before = dir.path().join("before");
    copy(&audit_dir(&data), &before);
    grow(&mut store, 300);
    drop(store);
    let after = dir.path().join("after");
    copy(&audit_dir(&data), &after);
    let names = |dir: &Path| -> Vec<PathBuf> {
        files(dir).iter().map(|path| path.strip_prefix(dir).unwrap().to_path_buf()).collect()
    };
    // In the order of writing: full tiles, partial tiles, the checkpoint; then partial tiles go.
    let mut new: Vec<PathBuf> =
        names(&after).into_iter().filter(|name| !before.join(name).exists()).collect();
    new.sort_by_key(|name| name.to_string_lossy().contains(".p/"));
    new.push("checkpoint".into());
    assert!(new.len() > 6, "{new:?}");
    for done in 0..=new.len() {
        std::fs::remove_dir_all(audit_dir(&data)).unwrap();
        copy(&before, &audit_dir(&data));
        for name in &new[..done] {
            let to = audit_dir(&data).join(name);
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(after.join(name), to).unwrap();
        }
        // Half a file lies where files are made, never in the log.
        std::fs::write(data.join("audit.partial/0"), b"half").unwrap();
        assert_eq!(found(&data).damage, [], "after {done} of {new:?}");
        let store = open(&data);
        assert_eq!(store.publisher().unwrap().publish().unwrap(), 550);
        drop(store);
        assert_eq!(found(&data).damage, []);
        assert!(!data.join("audit.partial/0").exists());
    }
}
