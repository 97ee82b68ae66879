//! Data arrays in real containers: a job array writes one, hostile indices try what they may not, and Zarr's own libraries work
//! in it as they are.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command as Program;
use std::sync::Arc;

use serde_json::{Value, json};
use watchbell_api::Uid;
use watchbell_api::array::{ARRAY, ARRAY_COMMIT_FAILED, ArrayRun, PublishedArray};
use watchbell_api::node::{Assignment, Command};
use watchbell_api::types::pod::PodSpec;
use watchbell_api::types::pod_status::Phase;
use watchbell_array::{Array, Disk, Kind, Run, export, import, verify};

use crate::rig::{JOB, Rig, container, index, script, spec, tell, told, until, until_written};

/// What `make test` installs, with zarr, xarray and tensorstore.
const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/test-venv/bin/python");
const LIBRARY: &str = include_str!("../../../watchbell-array/tests/libraries/libraries.py");

const WRITE: &str =
    r#"{"name": "obs", "mount": "/data", "mode": "write", "split": {"dim": "time", "into": 4}}"#;

/// An interpreter with its libraries, where there is one.
pub(crate) fn host_paths() -> Vec<PathBuf> {
    let mut paths = vec![PathBuf::from("/usr")];
    paths.extend(python().into_iter().flat_map(|python| [python.base, python.venv]));
    paths
}

struct Python {
    base: PathBuf,
    venv: PathBuf,
}

fn python() -> Option<Python> {
    let program = "import sys, zarr, xarray, tensorstore; print(sys.base_prefix); print(sys.prefix)";
    let output = Program::new(PYTHON).args(["-c", program]).output().ok().filter(|o| o.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut lines = text.lines().map(|line| fs::canonicalize(line).ok());
    Some(Python { base: lines.next()??, venv: lines.next()?? })
}

/// An array `obs` of 16 chunks of a byte, by pairs along time, 12 of which are there.
fn with_array(rig: &Rig) -> Array {
    let plain = rig.path().join("plain");
    let write = |key: &str, content: &str| {
        let path = plain.join(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    write("zarr.json", r#"{"zarr_format": 3, "node_type": "group", "attributes": {}}"#);
    write(
        "t/zarr.json",
        r#"{"zarr_format": 3, "node_type": "array", "shape": [16, 4], "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2, 2]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0, "codecs": [{"name": "bytes"}], "dimension_names": ["time", "lat"], "attributes": {}}"#,
    );
    (0..6).for_each(|t| (0..2).for_each(|l| write(&format!("t/c/{t}/{l}"), &format!("old {t} {l}"))));
    imported(rig, &plain)
}

fn imported(rig: &Rig, plain: &Path) -> Array {
    // Nothing is committed before a server has told of all pods.
    rig.send(Command::Synced);
    let dir = rig.path().join("arrays/ns");
    fs::create_dir_all(&dir).unwrap();
    let array = Array::create(&dir.join("obs"), Disk::default()).unwrap();
    let by = Run { name: "import".to_owned(), ..Run::default() };
    import(&array, plain, &by, None, "", jiff::Timestamp::UNIX_EPOCH, &mut |_, _| {}).unwrap();
    array
}

fn run(job: Uid) -> Arc<ArrayRun> {
    Arc::new(ArrayRun {
        run: job,
        job,
        job_name: "train".into(),
        completions: 4,
        user: "ann".into(),
        draft_of: None,
    })
}

/// Index `at` of the run, as the pod `uid`.
fn writer(uid: u128, at: u32, spec: &Arc<PodSpec>, uses: &str) -> Assignment {
    let annotations = BTreeMap::from([(ARRAY.to_owned(), uses.to_owned())]);
    Assignment {
        index: Some(at),
        annotations: Arc::new(annotations),
        arrays: Some(run(JOB)),
        ..index(uid, spec)
    }
}

fn publish(rig: &mut Rig, uses: &str) -> Vec<PublishedArray> {
    let uses = Arc::new(serde_json::from_str(uses).unwrap());
    rig.publish(Command::PublishArrays { namespace: "ns".into(), run: run(JOB), uses }).unwrap()
}

fn exported(array: &Array) -> BTreeMap<String, String> {
    let dir = tempfile::tempdir().unwrap();
    export(array, array.head().unwrap().unwrap(), dir.path(), &mut |_, _| {}).unwrap();
    let (mut found, mut pending) = (BTreeMap::new(), vec![dir.path().to_owned()]);
    while let Some(at) = pending.pop() {
        for entry in fs::read_dir(at).unwrap().flatten() {
            match entry.path() {
                path if path.is_dir() => pending.push(path),
                path => {
                    let key = path.strip_prefix(dir.path()).unwrap().to_string_lossy().into_owned();
                    found.insert(key, String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned());
                }
            }
        }
    }
    found
}

/// Writes its own chunks as a program does that knows its elements alone: two to a chunk.
const OWN: &str = r#"t=$WATCHBELL_ARRAY_START; while [ $t -lt $WATCHBELL_ARRAY_STOP ]; do
    for l in 0 1; do printf "new $t $l" > "$WATCHBELL_ARRAY_PATH/t/c/$((t/2))/$l.new"
        busybox mv "$WATCHBELL_ARRAY_PATH/t/c/$((t/2))/$l.new" "$WATCHBELL_ARRAY_PATH/t/c/$((t/2))/$l"; done
    t=$((t+2)); done"#;

fn expected(array: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut expected = array.clone();
    (0..8).for_each(|t| {
        (0..2).for_each(|l| {
            expected.insert(format!("t/c/{t}/{l}"), format!("new {} {l}", 2 * t));
        });
    });
    expected
}

pub(crate) fn indices_write_their_parts_of_a_data_array() {
    for upper in ["memory", "disk"] {
        let mut rig = Rig::new();
        let array = with_array(&rig);
        let before = exported(&array);
        let uses = WRITE.replace("\"split\"", &format!("\"upper\": \"{upper}\", \"split\""));
        let own = script(&format!("{OWN}; busybox cat /data/t/c/0/0 > /dev/null && echo $WATCHBELL_ARRAYS"));
        for at in 0..4 {
            rig.begin(writer(u128::from(at) + 1, at, &own, &uses));
        }
        for uid in 1..5 {
            let status = rig.until_over(uid);
            assert_eq!(status.phase, Phase::Succeeded, "{upper}: {status:?} {:?}", rig.events);
        }
        rig.committed.sort();
        let told: Vec<(String, u32, u64)> = (0..4).map(|at| ("obs".to_owned(), at, 4)).collect();
        assert_eq!(rig.committed, told);
        // Nobody sees it yet.
        assert_eq!(exported(&array), before);
        let published = publish(&mut rig, &uses);
        assert_eq!((published[0].added, published[0].changed), (4, 12));
        assert_eq!(exported(&array), expected(&before));
        assert_eq!(verify(&array).unwrap().damage, []);
        // A reader of the old snapshot would keep it; nobody does.
        assert_eq!(array.lease_names().unwrap(), Vec::<String>::new());
        let volumes = rig.path().join("volumes");
        until("what was written to goes", || fs::read_dir(&volumes).unwrap().count() == 0);
    }
}

/// A program need not replace a file to change it; what the store holds is not what it changes.
pub(crate) fn chunks_are_written_in_place() {
    for upper in ["memory", "disk"] {
        let mut rig = Rig::new();
        let array = with_array(&rig);
        let before = exported(&array);
        // As every index gets it: links to what the store keeps.
        let snapshot = array.snapshot(array.head().unwrap().unwrap()).unwrap();
        array.view(snapshot.manifest, &array.manifest(snapshot.manifest).unwrap()).unwrap();
        let stored = files(array.dir());
        assert!(stored.values().filter(|(content, ..)| content.starts_with(b"old ")).count() >= 24);
        let uses = WRITE.replace("\"split\"", &format!("\"upper\": \"{upper}\", \"split\""));
        // Overwritten, added to, and a part of it written over.
        let own = script(
            "cd /data/t/c; printf all > 0/0; printf ' more' >> 0/1; \
             printf XX | busybox dd of=1/0 bs=1 seek=1 conv=notrunc 2> /dev/null; busybox truncate -s 3 1/1",
        );
        rig.begin(writer(1, 0, &own, &uses));
        let status = rig.until_over(1);
        assert_eq!(status.phase, Phase::Succeeded, "{upper}: {status:?} {:?}", rig.events);
        // What is another's, and what is nobody's, is refused as it is when it is replaced.
        let others = [
            ("printf x >> /data/t/c/4/0", "wrote t/c/4/0, which belongs to index 2"),
            ("printf ' ' >> /data/t/zarr.json", "metadata are not written by a task"),
            // Also when not a byte of it is written.
            ("true >> /data/t/c/4/0", "wrote t/c/4/0, which belongs to index 2"),
        ];
        for (n, (what, told)) in others.into_iter().enumerate() {
            let uid = n as u128 + 2;
            rig.begin(Assignment { attempt: n as u32, ..writer(uid, 1, &script(what), &uses) });
            let status = rig.until_over(uid);
            assert_eq!(status.reason.as_deref(), Some(ARRAY_COMMIT_FAILED), "{what}: {status:?}");
            assert!(status.message.as_deref().unwrap_or_default().contains(told), "{what}: {status:?}");
        }
        // Who reads alone opens nothing for writing, though the files are his.
        let read = r#"{"name": "obs", "mount": "/data"}"#;
        let tries =
            script("cd /data/t/c/0; for f in 0 1; do (printf x >> $f) 2>&1; done; busybox chmod 777 0; true");
        let pod = Assignment {
            job: Some((Uid(9), "other".into())),
            arrays: Some(run(Uid(9))),
            ..writer(9, 0, &tries, read)
        };
        let query = crate::rig::query(&pod, 0);
        rig.begin(pod);
        assert_eq!(rig.until_over(9).phase, Phase::Succeeded);
        assert_eq!(rig.log(&query).matches("Read-only file system").count(), 3, "{}", rig.log(&query));
        for (path, now) in files(array.dir()) {
            assert!(stored.get(&path).is_none_or(|before| *before == now), "{} was changed", path.display());
        }
        for at in 1..4 {
            let uid = u128::from(at) + 20;
            rig.begin(Assignment { attempt: 9, ..writer(uid, at, &script(OWN), &uses) });
            assert_eq!(rig.until_over(uid).phase, Phase::Succeeded);
        }
        publish(&mut rig, &uses);
        let mut after = expected(&before);
        for (key, content) in
            [("t/c/0/0", "all"), ("t/c/0/1", "old 0 1 more"), ("t/c/1/0", "oXX 1 0"), ("t/c/1/1", "old")]
        {
            after.insert(key.to_owned(), content.to_owned());
        }
        assert_eq!(exported(&array), after);
        assert_eq!(verify(&array).unwrap().damage, []);
    }
}

/// Each file's content, mode and owner; of what is no object, no content.
fn files(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, u32, u32)> {
    let (mut found, mut pending) = (BTreeMap::new(), vec![dir.to_owned()]);
    while let Some(at) = pending.pop() {
        for path in fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path()) {
            let of = fs::symlink_metadata(&path).unwrap();
            if of.is_dir() {
                pending.push(path);
            } else {
                let is_object = ["objects", "unpacked", "views"].map(|part| path.starts_with(dir.join(part)));
                let content = if is_object.contains(&true) { fs::read(&path).unwrap() } else { Vec::new() };
                found.insert(path, (content, of.mode(), of.uid()));
            }
        }
    }
    found
}

/// Each attempt leaves something that is not its own chunk as a file; then an honest one comes.
pub(crate) fn nothing_of_a_hostile_index_gets_in() {
    let mut rig = Rig::new();
    let array = with_array(&rig);
    let before = exported(&array);
    let attempts: [(&str, &str); 21] = [
        ("busybox rm t/c/0/0; busybox ln -s /etc/passwd t/c/0/0", "left a symbolic link at t/c/0/0"),
        ("busybox rm t/c/0/0; busybox mkfifo t/c/0/0", "left a named pipe at t/c/0/0"),
        (
            "echo x > t/c/0/n; busybox mv t/c/0/n t/c/0/0; busybox chmod 4755 t/c/0/0",
            "t/c/0/0 has the bits setuid",
        ),
        (
            "echo x > t/c/0/n; busybox ln t/c/0/n t/c/0/m; busybox rm t/c/0/0; busybox mv t/c/0/n t/c/0/0; \
          busybox rm t/c/0/1; busybox mv t/c/0/m t/c/0/1",
            "has 2 links",
        ),
        ("busybox mkdir t/c/01; echo x > t/c/01/0", "wrote t/c/01, which is no chunk"),
        (
            "busybox rm t/c/0/0; busybox dd if=/dev/zero of=t/c/0/0 bs=1 count=1 seek=1099511627775",
            "has 1099511627776 bytes, and a chunk may have",
        ),
        (
            "busybox mkdir t/c/0/d; cd t/c/0/d; i=0; while [ $i -lt 200 ]; do busybox mkdir d; cd d; i=$((i+1)); done",
            "wrote t/c/0/d, which is no chunk",
        ),
        // As many as the bound of inodes lets it have; then it gives up.
        (
            "i=0; while [ $i -lt 1000000 ]; do true > f$i || break; i=$((i+1)); done; true",
            "wrote f0, which is no chunk",
        ),
        (r"echo x > $(printf 'x\033[2J\001y')", r"wrote x\x1b[2J\x01y, which is no chunk"),
        ("busybox rm t/c/4/0", "wrote t/c/4/0, which belongs to index 2"),
        (
            "echo x > t/c/4/n; busybox mv t/c/4/n t/c/4/0",
            "wrote t/c/4/0, which belongs to index 2, and not to index 0",
        ),
        ("busybox rm t/zarr.json; echo {} > t/zarr.json", "metadata are not written by a task"),
        ("echo {} > t/c/zarr.json", "metadata are not written by a task"),
        ("busybox rm -r t; busybox mkdir t", "replaced the directory t by a new one"),
        ("busybox rm -r t", "removed the directory t"),
        ("busybox mv zarr.json gone", "metadata are not written by a task"),
        ("busybox cp /bin/busybox t/c/0/run", "wrote t/c/0/run, which is no chunk"),
        ("busybox mkdir t/c/9; echo x > t/c/9/0", "wrote t/c/9, which is no chunk"),
        ("busybox mkdir u; echo '{\"zarr_format\": 3}' > u/zarr.json", "which is no chunk"),
        (r"echo x > $(printf '\377\376')", r"wrote \xff\xfe, which is no chunk"),
        ("busybox mkdir -p .zarr.json.d; echo > .zattrs", "metadata are not written by a task"),
    ];
    for (n, (attempt, _)) in attempts.iter().enumerate() {
        let uid = n as u128 + 10;
        // Also what lies beside it, which alone would be fine.
        let spec =
            script(&format!("cd /data; printf mine > t/c/1/n; busybox mv t/c/1/n t/c/1/1; {attempt}; true"));
        let uses = WRITE.replace("\"split\"", "\"quota\": \"4Mi\", \"split\"");
        rig.begin(Assignment { attempt: n as u32, ..writer(uid, 0, &spec, &uses) });
        let status = rig.until_over(uid);
        assert_eq!(status.phase, Phase::Failed, "{attempt}: {status:?}");
        assert_eq!(status.reason.as_deref(), Some(ARRAY_COMMIT_FAILED), "{attempt}: {status:?}");
        let message = status.message.as_deref().unwrap_or_default();
        assert!(message.contains(attempts[n].1), "{attempt}: {message}");
        assert!(!message.chars().any(char::is_control), "{message:?}");
        assert!(message.starts_with("array \"obs\": index 0: "), "{message}");
    }
    // What it cannot even do: devices, marks of its own, another mount, a program of its own; and processes that stay, to write
    // what is another's once the program itself has ended.
    let tries = "cd /data; busybox mknod null c 1 3; busybox mknod white c 0 0; \
        busybox setsid busybox sh -c 'trap \"\" TERM HUP; while busybox kill -0 1; do :; done; \
            cd /data/t/c; echo late > 7/n; busybox mv 7/n 7/1' 2>/dev/null & \
        busybox mount -o remount,exec /data; busybox cp /bin/busybox t/c/2/0.partial; ./t/c/2/0.partial true && echo ran; \
        cd /; busybox umount /data";
    let pod = writer(60, 1, &script(&format!("{tries}; {OWN}; echo tried")), WRITE);
    rig.begin(pod.clone());
    let status = rig.until_over(60);
    let log = rig.log(&crate::rig::query(&pod, 0));
    assert_eq!(status.phase, Phase::Succeeded, "{status:?} {log}");
    assert!(log.contains("tried") && !log.contains("ran\n"), "{log}");
    for (uid, at) in [(70, 0), (72, 2), (73, 3)] {
        rig.begin(Assignment { attempt: 99, ..writer(uid, at, &script(OWN), WRITE) });
        let status = rig.until_over(uid);
        assert_eq!(status.phase, Phase::Succeeded, "{status:?}");
    }
    publish(&mut rig, WRITE);
    assert_eq!(exported(&array), expected(&before));
    assert_eq!(verify(&array).unwrap().damage, []);
}

/// Torn by SIGKILL between the bytes of a chunk: nothing of it is in the way of the next attempt.
pub(crate) fn an_index_that_was_killed_is_tried_again() {
    let mut rig = Rig::new();
    let array = with_array(&rig);
    let before = exported(&array);
    let torn = script(
        "cd /data/t/c/0; printf torn > n; busybox mv n 0; printf tor > 1.partial; echo half; \
         while :; do busybox sleep 1000; done",
    );
    let pod = writer(1, 0, &torn, WRITE);
    let query = crate::rig::query(&pod, 0);
    rig.begin(pod);
    rig.until(1, |status| status.phase == Phase::Running);
    let file = rig.path().join(format!("logs/jobs/{JOB}/0.0.0.0.log"));
    until_written(&file, "half");
    rig.stop(1, 0);
    let status = rig.until_over(1);
    assert_eq!((status.phase, status.containers[0].terminated().unwrap().exit_code), (Phase::Failed, 137));
    assert_eq!(rig.log(&query), "half\n");
    all_are_tried_again(&mut rig);
    assert_eq!(exported(&array), expected(&before));
}

/// Nothing is committed yet; second attempts of all indices are, and are published.
fn all_are_tried_again(rig: &mut Rig) {
    assert_eq!(rig.committed, []);
    for at in 0..4 {
        let uid = u128::from(at) + 10;
        rig.begin(Assignment { attempt: 1, ..writer(uid, at, &script(OWN), WRITE) });
        assert_eq!(rig.until_over(uid).phase, Phase::Succeeded);
    }
    publish(rig, WRITE);
}

/// The server is gone when the index ends: what it wrote is with the spawner.
pub(crate) fn an_index_is_committed_by_the_next_server() {
    let mut rig = Rig::new();
    let array = with_array(&rig);
    let before = exported(&array);
    let slow = script(&told(rig.path(), &format!("{OWN}; echo done")));
    let pod = writer(1, 0, &slow, WRITE);
    rig.begin(pod.clone());
    let status = rig.until(1, |status| status.phase == Phase::Running);
    let log = rig.path().join(format!("logs/jobs/{JOB}/0.0.0.0.log"));
    until_written(&log, "before");
    let dir = rig.end_server();
    tell(dir.path());
    until_written(&log, "done");
    let mut rig = Rig::restart(dir);
    rig.begin(Assignment { status, ..pod });
    rig.send(Command::Synced);
    let status = rig.until_over(1);
    assert_eq!(status.phase, Phase::Succeeded, "{status:?}");
    assert_eq!(rig.committed, [("obs".to_owned(), 0, 4)]);
    for at in 1..4 {
        let uid = u128::from(at) + 10;
        rig.begin(writer(uid, at, &script(OWN), WRITE));
        assert_eq!(rig.until_over(uid).phase, Phase::Succeeded);
    }
    publish(&mut rig, WRITE);
    assert_eq!(exported(&array), expected(&before));
}

/// With it, the attempt: as what ran under it.
pub(crate) fn what_a_dead_spawner_held_is_lost() {
    let mut rig = Rig::new();
    let array = with_array(&rig);
    let before = exported(&array);
    rig.begin(writer(1, 0, &script(&format!("{OWN}; while :; do busybox sleep 1000; done")), WRITE));
    rig.until(1, |status| status.phase == Phase::Running);
    rig.kill_spawner();
    let status = rig.until_over(1);
    assert_eq!(status.phase, Phase::Failed, "{status:?}");
    all_are_tried_again(&mut rig);
    assert_eq!(exported(&array), expected(&before));
}

/// A store that is no hierarchy: each index has a directory of its own, for whatever it makes.
pub(crate) fn indices_leave_artifacts() {
    let mut rig = Rig::new();
    rig.send(Command::Synced);
    let dir = rig.path().join("arrays/ns");
    fs::create_dir_all(&dir).unwrap();
    let array = Array::create_of(&dir.join("obs"), Disk::default(), Kind::Artifacts, None).unwrap();
    let uses = r#"{"name": "obs", "mount": "/out", "mode": "artifacts"}"#;
    let own = |at: u32| {
        script(&format!(
            "cd /out/{at}; busybox mkdir -p model/a; echo weights {at} > model/a/w.bin; echo ok > report.txt"
        ))
    };
    rig.begin(writer(9, 1, &script("echo mine > /out/0/report.txt; true"), uses));
    let status = rig.until_over(9);
    assert_eq!(status.reason.as_deref(), Some(ARRAY_COMMIT_FAILED), "{status:?}");
    for at in 0..4 {
        let uid = u128::from(at) + 10;
        rig.begin(Assignment { attempt: 1, ..writer(uid, at, &own(at), uses) });
        let status = rig.until_over(uid);
        assert_eq!(status.phase, Phase::Succeeded, "{status:?}");
    }
    assert_eq!(publish(&mut rig, uses)[0].added, 8);
    let found = exported(&array);
    assert_eq!(found.len(), 8, "{found:?}");
    assert_eq!(found["3/model/a/w.bin"], "weights 3\n");
}

pub(crate) fn a_quota_ends_an_index() {
    let mut rig = Rig::new();
    with_array(&rig);
    let uses = WRITE.replace("\"split\"", "\"quota\": \"1Mi\", \"split\"");
    let fill = script(
        "busybox dd if=/dev/zero of=/data/t/c/0/n bs=64k count=64 2>&1 | busybox grep -o 'No space left on device'; \
         busybox rm /data/t/c/0/n; echo $?",
    );
    let pod = writer(1, 0, &fill, &uses);
    let query = crate::rig::query(&pod, 0);
    rig.begin(pod);
    assert_eq!(rig.until_over(1).phase, Phase::Succeeded);
    assert_eq!(rig.log(&query), "No space left on device\n0\n");
    // On the disk whole blocks are given out, and some more for directories: what is too much by the byte is not taken over.
    let uses = WRITE.replace("\"split\"", "\"quota\": \"1Mi\", \"upper\": \"disk\", \"split\"");
    let fill = script(
        "for t in 2 3; do busybox dd if=/dev/zero of=/data/t/c/$t/n bs=64k count=8 2>/dev/null && \
        busybox mv /data/t/c/$t/n /data/t/c/$t/0; done; printf x > /data/t/c/2/n && busybox mv /data/t/c/2/n /data/t/c/2/1",
    );
    rig.begin(writer(2, 1, &fill, &uses));
    let status = rig.until_over(2);
    assert_eq!(status.reason.as_deref(), Some(ARRAY_COMMIT_FAILED), "{status:?}");
    let message = status.message.as_deref().unwrap_or_default();
    assert!(message.contains("wrote 1048577 bytes, and its quota is 1048576"), "{message}");
}

/// A file system in a file promises room that the disk around it does not have: whoever wrote there heard nothing of it.
pub(crate) fn what_a_full_disk_did_not_take_is_not_committed() {
    if Program::new("losetup").arg("-f").output().is_ok_and(|found| !found.status.success()) {
        println!("NOT TESTED: there are no loop devices");
        return;
    }
    let (mut rig, small) = Rig::with_small_volumes();
    let array = with_array(&rig);
    let uses = WRITE.replace("\"split\"", "\"quota\": \"64Mi\", \"upper\": \"disk\", \"split\"");
    let fill = script(
        "busybox dd if=/dev/zero of=/data/t/c/0/n bs=64k count=64 2>/dev/null && busybox mv /data/t/c/0/n /data/t/c/0/0 && echo written",
    );
    let pod = writer(1, 0, &fill, &uses);
    let query = crate::rig::query(&pod, 0);
    rig.begin(pod);
    let status = rig.until_over(1);
    assert_eq!(rig.log(&query), "written\n");
    assert_eq!(status.reason.as_deref(), Some(ARRAY_COMMIT_FAILED), "{status:?}");
    let message = status.message.as_deref().unwrap_or_default();
    assert!(message.contains("which may be full"), "{message}");
    assert_eq!(verify(&array).unwrap().damage, []);
    drop((rig, small));
}

pub(crate) fn zarr_s_libraries_write_from_containers() {
    let Some(python) = python() else {
        println!("NOT TESTED: {PYTHON} has no zarr, xarray and tensorstore (`make test` installs them)");
        return;
    };
    let mut rig = Rig::new();
    let (array, outside) = of_libraries(&rig, "make_xarray");
    // With coordinates, which an index writes too along its dimension.
    let functions = ["write_zarr", "write_xarray", "write_tensorstore", "write_in_place"];
    let value = |at: usize| (at + 3).to_string();
    for (at, function) in functions.iter().enumerate() {
        let uid = at as u128 + 1;
        let pod = writer(uid, at as u32, &with_python(&python, &of_region(function, &value(at))), WRITE);
        let query = crate::rig::query(&pod, 0);
        rig.begin(pod);
        let status = rig.until_over(uid);
        assert_eq!(status.phase, Phase::Succeeded, "{function}: {status:?} {}", rig.log(&query));
    }
    publish(&mut rig, WRITE);
    let out = rig.path().join("out");
    export(&array, array.head().unwrap().unwrap(), &out, &mut |_, _| {}).unwrap();
    // 100 elements in chunks of 24: the last of four parts has what is left.
    let ends = [0, 24, 48, 72, 100];
    let parts: Vec<String> =
        (0..4).map(|at| format!("{}:{}:{}", ends[at], ends[at + 1], value(at))).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    outside(&[&["check", out.to_str().unwrap()], &parts[..]].concat());
    // What they write besides is told by its key.
    for (uid, function, key) in [(10, "attributes", "wrote zarr.json"), (11, "append", "wrote ")] {
        let spec = with_python(&python, &[function, ARRAY_PATH]);
        let pod = Assignment {
            job: Some((Uid(uid), "other".into())),
            arrays: Some(run(Uid(uid))),
            ..writer(uid, 0, &spec, WRITE)
        };
        rig.begin(pod);
        let status = rig.until_over(uid);
        let message = status.message.as_deref().unwrap_or_default();
        assert!(status.reason.as_deref() == Some(ARRAY_COMMIT_FAILED) && message.contains(key), "{status:?}");
    }
}

/// Day after day a run makes the array longer, and each index writes its part of what is new.
pub(crate) fn zarr_s_libraries_write_what_is_new_from_containers() {
    let Some(python) = python() else {
        println!("NOT TESTED: {PYTHON} has no zarr, xarray and tensorstore (`make test` installs them)");
        return;
    };
    let mut rig = Rig::new();
    let (array, outside) = of_libraries(&rig, "make_xarray");
    let uses = WRITE.replace("\"split\"", r#""extend": {"dim": "time", "by": 96}, "split""#);
    let functions = ["write_zarr", "write_new", "write_tensorstore", "write_in_place"];
    // 100 elements in chunks of 24, the last of which is written with what is new; then 196.
    let days = [[96, 120, 144, 168, 196], [192, 216, 240, 264, 292]];
    let mut expected = vec!["0:96:-1".to_owned()];
    for (day, ends) in days.into_iter().enumerate() {
        let of = Arc::new(ArrayRun {
            run: Uid(1_000 + day as u128),
            job: Uid(1_000 + day as u128),
            ..(*run(JOB)).clone()
        });
        for (at, function) in functions.iter().enumerate() {
            let value = (4 * day + at + 1).to_string();
            let uid = (10 * day + at + 1) as u128;
            let pod = Assignment {
                job: Some((of.job, "grow".into())),
                arrays: Some(of.clone()),
                ..writer(uid, at as u32, &with_python(&python, &of_region(function, &value)), &uses)
            };
            let query = crate::rig::query(&pod, 0);
            rig.begin(pod);
            let status = rig.until_over(uid);
            assert_eq!(status.phase, Phase::Succeeded, "{function}: {status:?} {}", rig.log(&query));
            expected.push(format!("{}:{}:{value}", ends[at], ends[at + 1]));
        }
        // `append_dim` makes it longer a second time, which no task may.
        let pod = Assignment {
            job: Some((Uid(50), "other".into())),
            arrays: Some(Arc::new(ArrayRun { run: Uid(50 + day as u128), ..(*of).clone() })),
            ..writer(50 + day as u128, 0, &with_python(&python, &["append", ARRAY_PATH]), &uses)
        };
        rig.begin(pod);
        let status = rig.until_over(50 + day as u128);
        assert_eq!(status.reason.as_deref(), Some(ARRAY_COMMIT_FAILED), "{status:?}");
        let wanted = Arc::new(serde_json::from_str(&uses).unwrap());
        rig.publish(Command::PublishArrays { namespace: "ns".into(), run: of, uses: wanted }).unwrap();
    }
    // The second day wrote the chunk at the edge anew.
    expected[4] = "168:192:4".to_owned();
    let out = rig.path().join("out");
    export(&array, array.head().unwrap().unwrap(), &out, &mut |_, _| {}).unwrap();
    let parts: Vec<&str> = expected.iter().map(String::as_str).collect();
    outside(&[&["check_values", out.to_str().unwrap(), "292"], &parts[..]].concat());
    assert_eq!(verify(&array).unwrap().damage, []);
}

/// What has no dimension is read with the rest, and written by a Job that names it; a dimension without elements gets its first.
pub(crate) fn scalars_are_read_and_written_in_containers() {
    let Some(python) = python() else {
        println!("NOT TESTED: {PYTHON} has no zarr, xarray and tensorstore (`make test` installs them)");
        return;
    };
    let mut rig = Rig::new();
    let (array, outside) = of_libraries(&rig, "make_small_3");
    let mut job = |uid: u128, uses: &str, of: &[&str]| {
        let uses = format!(r#"{{"name": "obs", "mount": "/data", {uses}}}"#);
        let of_run =
            Arc::new(ArrayRun { run: Uid(uid), job: Uid(uid), completions: 1, ..(*run(JOB)).clone() });
        let pod = Assignment {
            job: Some((Uid(uid), "small".into())),
            arrays: Some(of_run.clone()),
            ..writer(uid, 0, &with_python(&python, of), &uses)
        };
        let query = crate::rig::query(&pod, 0);
        rig.begin(pod);
        let status = rig.until_over(uid);
        if status.phase == Phase::Succeeded && uses.contains("write") {
            let uses = Arc::new(serde_json::from_str(&uses).unwrap());
            rig.publish(Command::PublishArrays { namespace: "ns".into(), run: of_run, uses }).unwrap();
        }
        let told = format!("{} {}", status.message.unwrap_or_default(), rig.log(&query));
        (status.phase, told)
    };
    let check = ["check_small", ARRAY_PATH, "4326", "2"];
    let done = job(1, r#""mode": "read""#, &check);
    assert_eq!(done.0, Phase::Succeeded, "{}", done.1);
    let scalars = r#""mode": "write", "variables": ["/crs", "/height"], "split": "perChunk""#;
    let done = job(2, scalars, &["write_scalar", ARRAY_PATH, "height", "10"]);
    assert_eq!(done.0, Phase::Succeeded, "{}", done.1);
    let by_time = r#""mode": "write", "split": {"dim": "time", "into": 1}"#;
    let done = job(3, by_time, &["write_scalar", ARRAY_PATH, "crs", "7"]);
    assert!(done.0 == Phase::Failed && done.1.contains("which no index of this Job may write"), "{}", done.1);
    let grows =
        r#""mode": "write", "split": {"dim": "station", "into": 1}, "extend": {"dim": "station", "by": 20}"#;
    let done = job(4, grows, &of_region("write_reports", "5"));
    assert_eq!(done.0, Phase::Succeeded, "{}", done.1);
    let done = job(5, r#""mode": "read""#, &["check_small", ARRAY_PATH, "4326", "10", "0:20:5"]);
    assert_eq!(done.0, Phase::Succeeded, "{}", done.1);
    let out = rig.path().join("out");
    export(&array, array.head().unwrap().unwrap(), &out, &mut |_, _| {}).unwrap();
    outside(&["check_small", out.to_str().unwrap(), "4326", "10", "0:20:5"]);
}

/// An array that a library has written, and how to let it do more outside of containers.
fn of_libraries(rig: &Rig, make: &str) -> (Array, impl Fn(&[&str]) + use<>) {
    let library = rig.path().join("libraries.py");
    fs::write(&library, LIBRARY).unwrap();
    let outside = move |args: &[&str]| {
        let output = Program::new(PYTHON).arg(&library).args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let plain = rig.path().join("plain");
    outside(&[make, plain.to_str().unwrap()]);
    (imported(rig, &plain), outside)
}

const ARRAY_PATH: &str = "$(WATCHBELL_ARRAY_PATH)";

/// A function that writes an index's own elements.
fn of_region<'a>(function: &'a str, value: &'a str) -> [&'a str; 5] {
    [function, ARRAY_PATH, "$(WATCHBELL_ARRAY_START)", "$(WATCHBELL_ARRAY_STOP)", value]
}

/// A container that runs this machine's interpreter, unchanged, with the programs of the libraries' tests.
fn with_python(python: &Python, arguments: &[&str]) -> Arc<PodSpec> {
    let mut main = container("main", "");
    let interpreter = fs::canonicalize(python.venv.join("bin/python")).unwrap();
    let mut command = vec![json!(python.venv.join("bin/python")), json!("-c"), json!(LIBRARY)];
    command.extend(arguments.iter().map(|argument| json!(argument)));
    main["command"] = Value::Array(command);
    main["env"] =
        json!([{"name": "PYTHONDONTWRITEBYTECODE", "value": "1"}, {"name": "HOME", "value": "/tmp"}]);
    let mut mounts = vec![("/usr".to_owned(), "/usr".to_owned())];
    for (from, to) in [("/usr/lib", "/lib"), ("/usr/lib64", "/lib64")] {
        if Path::new(from).exists() {
            mounts.push((from.to_owned(), to.to_owned()));
        }
    }
    for dir in [&python.base, &python.venv] {
        if !dir.starts_with("/usr") {
            mounts.push((dir.display().to_string(), dir.display().to_string()));
        }
    }
    assert!(interpreter.exists());
    let name = |n: usize| format!("host-{n}");
    main["volumeMounts"] = mounts
        .iter()
        .enumerate()
        .map(|(n, (_, to))| json!({"name": name(n), "mountPath": to, "readOnly": true}))
        .collect();
    let volumes: Value = mounts
        .iter()
        .enumerate()
        .map(|(n, (from, _))| json!({"name": name(n), "hostPath": {"path": from, "type": "Directory"}}))
        .collect();
    spec(json!({"containers": [main], "volumes": volumes}))
}
