//! Unmodified Zarr libraries on the real thing: a view below an overlay, an upper an attempt. Each writes its region, and what
//! else it might do is judged as it is told.

#![expect(clippy::print_stderr, reason = "a test that is left out says so")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::Timestamp;
use watchbell_array::{
    Array, Attempt, Committed, Completeness, Disk, Draft, Error, Run, export, import, verify,
};
use watchbell_zarr::{Extend, Judge, OnConflict, Plan, Split, grow, plan};

/// What `make test` installs, with zarr, xarray and tensorstore.
const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/test-venv/bin/python");

/// The programs of the test: each is one function of `libraries.py`.
const LIBRARY: &str = include_str!("libraries.py");

struct Stand {
    dir: tempfile::TempDir,
    array: Array,
}

/// Whether the test cannot be made here; then it says so.
fn is_left_out() -> bool {
    let has_libraries = Path::new(PYTHON).exists()
        && Command::new(PYTHON)
            .args(["-c", "import zarr, xarray, tensorstore"])
            .status()
            .is_ok_and(|s| s.success());
    if !has_libraries {
        eprintln!("NOT TESTED: {PYTHON} has no zarr, xarray and tensorstore (`make test` installs them)");
    } else if !rustix::process::getuid().is_root() {
        eprintln!("NOT TESTED: only root mounts an overlay");
    } else {
        return false;
    }
    true
}

impl Stand {
    /// An array of what `make` of the library writes.
    fn new(make: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("watchbell-libraries-").tempdir().unwrap();
        fs::write(dir.path().join("libraries.py"), LIBRARY).unwrap();
        let plain = dir.path().join("plain");
        let mut command = Command::new(PYTHON);
        command.arg(dir.path().join("libraries.py")).arg(make).arg(&plain);
        ran(command);
        let array = Array::create(&dir.path().join("array"), Disk::default()).unwrap();
        let stand = Self { dir, array };
        let imported = stand.import(&plain);
        assert!(imported > 0);
        // And back, byte for byte.
        assert!(stand.exported() == tree(&plain));
        stand
    }

    fn import(&self, plain: &Path) -> u64 {
        let by = Run { name: "import".to_owned(), ..Run::default() };
        import(&self.array, plain, &by, None, "", Timestamp::UNIX_EPOCH, &mut |_, _| {}).unwrap().keys
    }

    fn plan(&self, split: Split) -> Plan {
        let head = self.array.snapshot(self.array.head().unwrap().unwrap()).unwrap();
        let hierarchy = self.array.hierarchy(&self.array.manifest(head.manifest).unwrap()).unwrap();
        let planned = match plan(&hierarchy, &split, &[], None, 0).unwrap_err() {
            watchbell_zarr::PlanError::Completions { planned, .. } => planned as u32,
            error => panic!("{error}"),
        };
        plan(&hierarchy, &split, &[], None, planned).unwrap()
    }

    /// Lets the library do something above the draft's view. Gives back the upper that is left.
    fn upper(&self, draft: &Draft, what: &[&str]) -> PathBuf {
        let place = tempfile::Builder::new().prefix("attempt-").tempdir_in(self.dir.path()).unwrap().keep();
        for name in ["upper", "work", "data"] {
            fs::create_dir(place.join(name)).unwrap();
        }
        let options = format!(
            "lowerdir={},upperdir={},workdir={},nosuid,nodev,noexec,redirect_dir=off,metacopy=off,index=off",
            draft.view().unwrap().display(),
            place.join("upper").display(),
            place.join("work").display()
        );
        let script = r#"mount -t overlay overlay -o "$1" "$2" && shift 2 && exec "$@""#;
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", script, "sh", &options]).arg(place.join("data")).arg(PYTHON);
        command
            .arg(self.dir.path().join("libraries.py"))
            .arg(what[0])
            .arg(place.join("data"))
            .args(&what[1..]);
        ran(command);
        place.join("upper")
    }

    fn exported(&self) -> BTreeMap<String, Vec<u8>> {
        let dir = tempfile::tempdir_in(self.dir.path()).unwrap();
        export(&self.array, self.array.head().unwrap().unwrap(), dir.path(), &mut |_, _| {}).unwrap();
        tree(dir.path())
    }

    /// Lets the library look at what is published.
    fn check(&self, what: &[&str]) {
        let dir = tempfile::tempdir_in(self.dir.path()).unwrap();
        export(&self.array, self.array.head().unwrap().unwrap(), dir.path(), &mut |_, _| {}).unwrap();
        let mut command = Command::new(PYTHON);
        command.arg(self.dir.path().join("libraries.py")).arg(what[0]).arg(dir.path()).args(&what[1..]);
        ran(command);
    }
}

fn ran(mut command: Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

fn tree(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut pending = vec![dir.to_owned()];
    while let Some(at) = pending.pop() {
        for entry in fs::read_dir(at).unwrap().flatten() {
            match entry.path() {
                path if path.is_dir() => pending.push(path),
                path => {
                    let key = path.strip_prefix(dir).unwrap().to_string_lossy().into_owned();
                    found.insert(key, fs::read(&path).unwrap());
                }
            }
        }
    }
    found
}

fn commit(draft: &Draft, plan: &Plan, index: u32, upper: &Path) -> Result<Committed, Error> {
    let judge = Judge { plan, index, max_chunk_bytes: 1 << 24 };
    draft.commit(&judge, &Attempt::default(), upper, Completeness::Optional)
}

fn run(uid: &str) -> Run {
    Run { name: format!("ml/{uid}"), uid: uid.to_owned(), ..Run::default() }
}

fn by(dimension: &str, into: u32) -> Split {
    Split::Dimension { dimension: dimension.to_owned(), into }
}

/// The whole run with one library: each index writes its elements, and touches exactly the keys that the plan gives it.
fn each_index_writes_its_own(make: &str, write: &str, split: Split) {
    if is_left_out() {
        return;
    }
    let stand = Stand::new(make);
    let plan = stand.plan(split);
    let draft = stand.array.begin(&run(write), &BTreeMap::new()).unwrap();
    for index in 0..plan.completions {
        let range = &plan.elements(index)[0];
        let (start, stop) = (range.start.to_string(), range.stop.to_string());
        let upper = stand.upper(&draft, &[write, &start, &stop, &(index + 1).to_string()]);
        let committed = commit(&draft, &plan, index, &upper).unwrap();
        // xarray leaves the coordinate of the dimension as it is.
        let mut owned: Vec<String> = plan.keys(index).filter(|key| key.starts_with("temperature/")).collect();
        owned.sort();
        let written: Vec<String> = committed.written.into_iter().map(|(key, ..)| key).collect();
        assert_eq!(written, owned, "index {index}");
    }
    let indices = (0..plan.completions).collect();
    draft.publish(&indices, OnConflict::Fail, None, "", Timestamp::UNIX_EPOCH).unwrap();
    draft.remove().unwrap();
    let expected: Vec<String> = (0..plan.completions)
        .map(|index| (plan.elements(index)[0].clone(), index + 1))
        .map(|(range, value)| format!("{}:{}:{value}", range.start, range.stop))
        .collect();
    let mut check = vec!["check"];
    check.extend(expected.iter().map(String::as_str));
    stand.check(&check);
    assert_eq!(verify(&stand.array).unwrap().damage, []);
}

#[test]
fn zarr_python_writes_its_chunks() {
    each_index_writes_its_own("make_v3", "write_zarr", by("time", 3));
}

/// Versions before 3.1 write into the file that is there.
#[test]
fn zarr_python_writes_its_chunks_in_place() {
    each_index_writes_its_own("make_v3", "write_in_place", by("time", 3));
}

#[test]
fn zarr_python_writes_its_shards() {
    each_index_writes_its_own("make_sharded", "write_zarr", by("time", 3));
}

#[test]
fn zarr_python_writes_its_chunks_of_v2() {
    each_index_writes_its_own("make_v2", "write_zarr", by("time", 3));
}

#[test]
fn xarray_writes_its_region() {
    each_index_writes_its_own("make_xarray", "write_xarray", by("time", 3));
}

#[test]
fn xarray_writes_its_region_of_v2() {
    each_index_writes_its_own("make_xarray_v2", "write_xarray", by("time", 3));
}

#[test]
fn tensorstore_writes_its_chunks() {
    each_index_writes_its_own("make_v3", "write_tensorstore", by("time", 3));
}

#[test]
fn what_a_library_does_beyond_its_region_fails_the_index() {
    if is_left_out() {
        return;
    }
    let stand = Stand::new("make_xarray");
    let plan = stand.plan(by("time", 3));
    let draft = stand.array.begin(&run("r1"), &BTreeMap::new()).unwrap();
    let range = &plan.elements(1)[0];
    let own = [range.start.to_string(), range.stop.to_string()];
    let before = [(range.start - 1).to_string(), range.stop.to_string()];
    let cases: [(&[&str], &str); 6] = [
        (&["write_zarr", &before[0], &before[1], "9"], "which belongs to index 0, and not to index 1"),
        (&["write_tensorstore", &before[0], &before[1], "9"], "which belongs to index 0, and not to index 1"),
        (&["rewrite"], "`mode=\"w\"`"),
        (&["attributes"], "metadata are not written by a task"),
        (&["append"], "metadata are not written by a task"),
        (&["write_coordinate"], "which no index of this Job may write"),
    ];
    for (what, message) in cases {
        let error = commit(&draft, &plan, 1, &stand.upper(&draft, what)).unwrap_err().to_string();
        assert!(error.contains(message), "{what:?}: {error}");
        assert_eq!(draft.committed(1).unwrap(), None);
    }
    // A library deletes a chunk of nothing but the fill value.
    let upper = stand.upper(&draft, &["write_zarr", &own[0], &own[1], "fill"]);
    let committed = commit(&draft, &plan, 1, &upper).unwrap();
    let data: Vec<String> = plan.keys(1).filter(|key| key.starts_with("temperature/")).collect();
    assert_eq!((committed.written, committed.removed), (Vec::new(), data));
}

/// What is missing is missing afterwards too: fill values and scales are the same to the last bit.
#[test]
fn a_growth_keeps_what_is_missing() {
    if is_left_out() {
        return;
    }
    for format in ["2", "3"] {
        let stand = Stand::new(&format!("make_missing_{format}"));
        let head = stand.array.snapshot(stand.array.head().unwrap().unwrap()).unwrap();
        let documents = stand.array.documents(&stand.array.manifest(head.manifest).unwrap()).unwrap();
        let extend = Extend { dimension: "time".to_owned(), by: 24 };
        let (hierarchy, grown) = grow(&documents, &extend).unwrap();
        let plan = plan(&hierarchy, &by("time", 1), &[], Some(&grown), 1).unwrap();
        let draft = stand.array.begin(&run("r1"), &grown.documents).unwrap();
        let upper = stand.dir.path().join("upper");
        fs::create_dir(&upper).unwrap();
        commit(&draft, &plan, 0, &upper).unwrap();
        draft.publish(&[0].into(), OnConflict::Fail, None, "", Timestamp::UNIX_EPOCH).unwrap();
        draft.remove().unwrap();
        stand.check(&["check_missing", format]);
    }
}

/// A writer that is killed leaves half a file beside the chunk's name; the next attempt has an upper of its own.
#[test]
fn a_killed_writer_leaves_nothing_to_the_next_attempt() {
    if is_left_out() {
        return;
    }
    let stand = Stand::new("make_v3");
    let plan = stand.plan(by("time", 3));
    let draft = stand.array.begin(&run("r1"), &BTreeMap::new()).unwrap();
    let range = &plan.elements(0)[0];
    let (start, stop) = (range.start.to_string(), range.stop.to_string());
    let torn = stand.upper(&draft, &["killed", &start, &stop]);
    assert!(tree(&torn).keys().any(|key| key.ends_with(".partial")), "{:?}", tree(&torn).keys());
    // Its pod has failed, so nothing of it is committed; but were it, the torn file would not count.
    let upper = stand.upper(&draft, &["write_zarr", &start, &stop, "1"]);
    let committed = commit(&draft, &plan, 0, &upper).unwrap();
    assert_eq!(committed.written.len() as u64, plan.count(0));
}
