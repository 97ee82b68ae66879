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
use watchbell_zarr::{Extend, Judge, NodePath, OnConflict, Plan, PlanError, Split, grow, plan};

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
        self.plan_of(split, &[], None).unwrap().0
    }

    /// Of the head, or of what a growth makes of it, with the documents that this changes.
    fn plan_of(
        &self,
        split: Split,
        variables: &[&str],
        extend: Option<(&str, u64)>,
    ) -> Result<(Plan, BTreeMap<String, Vec<u8>>), PlanError> {
        let head = self.array.snapshot(self.array.head().unwrap().unwrap()).unwrap();
        let manifest = self.array.manifest(head.manifest).unwrap();
        let (hierarchy, grown) = match extend {
            None => (self.array.hierarchy(&manifest).unwrap(), None),
            Some((dimension, by)) => {
                let extend = Extend { dimension: dimension.to_owned(), by };
                let (hierarchy, grown) = grow(&self.array.documents(&manifest).unwrap(), &extend).unwrap();
                (hierarchy, Some(grown))
            }
        };
        let variables: Vec<NodePath> = variables.iter().map(|path| NodePath::new(path).unwrap()).collect();
        let plan = |completions| plan(&hierarchy, &split, &variables, grown.as_ref(), completions);
        let plan = match plan(0) {
            Err(PlanError::Completions { planned, .. }) => plan(planned as u32)?,
            planned => planned?,
        };
        Ok((plan, grown.map(|grown| grown.documents).unwrap_or_default()))
    }

    fn publish(&self, draft: Draft, plan: &Plan) {
        let indices = (0..plan.completions).collect();
        draft.publish(&indices, OnConflict::Fail, None, "", Timestamp::UNIX_EPOCH).unwrap();
        draft.remove().unwrap();
        assert_eq!(verify(&self.array).unwrap().damage, []);
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

/// Twice, as a day follows a day: what is new is written, and the chunk that holds the old edge with it.
fn each_index_writes_what_is_new(make: &str, write: &str) {
    if is_left_out() {
        return;
    }
    let stand = Stand::new(make);
    let mut expected = vec!["0:96:-1".to_owned()];
    // 100 elements in chunks of 24; then 144, which is the edge of a chunk.
    for (day, (by, starts)) in [(44, [96, 120]), (48, [144, 168])].into_iter().enumerate() {
        let (plan, documents) = stand.plan_of(by_time(2), &[], Some(("time", by))).unwrap();
        let draft = stand.array.begin(&run(&format!("day-{day}")), &documents).unwrap();
        for index in 0..2 {
            let range = &plan.elements(index)[0];
            assert_eq!(range.start, starts[index as usize]);
            let value = (2 * day as u32 + index + 1).to_string();
            let (start, stop) = (range.start.to_string(), range.stop.to_string());
            let upper = stand.upper(&draft, &[write, &start, &stop, &value]);
            commit(&draft, &plan, index, &upper).unwrap_or_else(|error| panic!("index {index}: {error}"));
            expected.push(format!("{start}:{stop}:{value}"));
        }
        stand.publish(draft, &plan);
    }
    let mut check = vec!["check_to", "192"];
    check.extend(expected.iter().map(String::as_str));
    stand.check(&check);
}

fn by_time(into: u32) -> Split {
    by("time", into)
}

#[test]
fn zarr_python_writes_what_is_new() {
    each_index_writes_what_is_new("make_v3", "write_zarr");
}

#[test]
fn zarr_python_writes_what_is_new_in_place() {
    each_index_writes_what_is_new("make_v3", "write_in_place");
}

#[test]
fn zarr_python_writes_new_shards() {
    each_index_writes_what_is_new("make_sharded", "write_zarr");
}

#[test]
fn zarr_python_writes_what_is_new_of_v2() {
    each_index_writes_what_is_new("make_v2", "write_zarr");
}

#[test]
fn xarray_writes_what_is_new() {
    each_index_writes_what_is_new("make_xarray", "write_new");
}

#[test]
fn xarray_writes_what_is_new_of_v2() {
    each_index_writes_what_is_new("make_xarray_v2", "write_new");
}

#[test]
fn tensorstore_writes_what_is_new() {
    each_index_writes_what_is_new("make_v3", "write_tensorstore");
}

/// A library that writes new elements alone reads the chunk at the old edge first: what was there stays.
#[test]
fn the_chunk_at_the_old_edge_keeps_its_old_elements() {
    if is_left_out() {
        return;
    }
    for (make, write) in [
        ("make_v3", "write_zarr"),
        ("make_sharded", "write_zarr"),
        ("make_v2", "write_zarr"),
        ("make_v3", "write_tensorstore"),
    ] {
        let stand = Stand::new(make);
        let (plan, documents) = stand.plan_of(by_time(1), &[], Some(("time", 30))).unwrap();
        let draft = stand.array.begin(&run("r1"), &documents).unwrap();
        let upper = stand.upper(&draft, &[write, "100", "130", "7"]);
        commit(&draft, &plan, 0, &upper).unwrap();
        stand.publish(draft, &plan);
        stand.check(&["check_to", "130", "0:100:-1", "100:130:7"]);
    }
}

/// Who makes the array longer is the server, before the run: `append_dim` is no way around it, and old chunks are not in the run.
#[test]
fn nothing_but_what_is_new_is_written_in_a_growth() {
    if is_left_out() {
        return;
    }
    let stand = Stand::new("make_xarray");
    let (plan, documents) = stand.plan_of(by_time(2), &[], Some(("time", 44))).unwrap();
    let draft = stand.array.begin(&run("r1"), &documents).unwrap();
    let cases: [(&[&str], &str); 4] = [
        (&["append"], "metadata are not written by a task"),
        (&["write_zarr", "72", "96", "9"], "which no index of this Job may write"),
        (&["write_zarr", "120", "144", "9"], "which belongs to index 1, and not to index 0"),
        (&["write_coordinate"], "which no index of this Job may write"),
    ];
    for (what, message) in cases {
        let error = commit(&draft, &plan, 0, &stand.upper(&draft, what)).unwrap_err().to_string();
        assert!(error.contains(message), "{what:?}: {error}");
    }
    for index in 0..2 {
        let range = &plan.elements(index)[0];
        let (start, stop) = (range.start.to_string(), range.stop.to_string());
        let upper = stand.upper(&draft, &["write_new", &start, &stop, "5"]);
        commit(&draft, &plan, index, &upper).unwrap();
    }
    stand.publish(draft, &plan);
    stand.check(&["check_to", "144", "0:96:-1", "96:144:5"]);
}

/// What has no dimension is one chunk, and is written by whoever names it; of what has no element there is none.
#[test]
fn scalars_and_dimensions_without_elements_are_used_as_any() {
    if is_left_out() {
        return;
    }
    for format in ["2", "3"] {
        let stand = Stand::new(&format!("make_small_{format}"));
        stand.check(&["check_small", "4326", "2"]);
        // A split of another dimension leaves them alone.
        let (plan, _) = stand.plan_of(by_time(3), &["/temperature", "/time"], None).unwrap();
        let draft = stand.array.begin(&run("r1"), &BTreeMap::new()).unwrap();
        for index in 0..3 {
            let range = &plan.elements(index)[0];
            let (start, stop) = (range.start.to_string(), range.stop.to_string());
            let upper = stand.upper(&draft, &["write_scalar", "crs", "7"]);
            let error = commit(&draft, &plan, index, &upper).unwrap_err().to_string();
            assert!(error.contains("which no index of this Job may write"), "{error}");
            let upper = stand.upper(&draft, &["write_xarray", &start, &stop, "1"]);
            commit(&draft, &plan, index, &upper).unwrap();
        }
        stand.publish(draft, &plan);
        stand.check(&["check", "0:100:1"]);
        stand.check(&["check_small", "4326", "2"]);
        // Also where they would be divided by it, if there were something of them.
        let (all, _) = stand.plan_of(by_time(3), &[], None).unwrap();
        assert!(all.variables().any(|path| path.to_string() == "/nothing"));
        let chunks = |plan: &Plan| (0..3).map(|index| plan.count(index)).sum::<u64>();
        assert_eq!(chunks(&all), chunks(&plan));
        for (split, variables) in
            [(by("station", 1), &[][..]), (by("none", 1), &[]), (Split::PerChunk, &["/reports"])]
        {
            let error = stand.plan_of(split.clone(), variables, None).map(drop).unwrap_err().to_string();
            let is_it = error.contains("has no elements to split") && !error.contains("dimension \"/");
            assert!(is_it, "{split:?}: {error}");
        }
        // A scalar by itself.
        let (plan, _) = stand.plan_of(Split::PerChunk, &["/crs", "/height"], None).unwrap();
        assert_eq!((plan.completions, plan.count(0), plan.elements(0)), (1, 2, Vec::new()));
        let draft = stand.array.begin(&run("r2"), &BTreeMap::new()).unwrap();
        let upper = stand.upper(&draft, &["write_scalar", "crs", "7"]);
        let committed = commit(&draft, &plan, 0, &upper).unwrap();
        let key = if format == "2" { "crs/0" } else { "crs/c" };
        assert_eq!(committed.written.into_iter().map(|(key, ..)| key).collect::<Vec<_>>(), [key]);
        stand.publish(draft, &plan);
        stand.check(&["check_small", "7", "2"]);
        // The first elements of a dimension that had none, and then more.
        let first = (20, [[0, 8, 1], [8, 20, 2]], &["0:8:1", "8:20:2"][..]);
        let second = (12, [[16, 24, 3], [24, 32, 4]], &["0:8:1", "8:16:2", "16:24:3", "24:32:4"][..]);
        for (more, indices, expected) in [first, second] {
            let (plan, documents) = stand.plan_of(by("station", 2), &[], Some(("station", more))).unwrap();
            let draft = stand.array.begin(&run(&format!("grown-{more}")), &documents).unwrap();
            for (index, [start, stop, value]) in (0..).zip(indices) {
                let range = &plan.elements(index)[0];
                assert_eq!((range.start, range.stop), (start, stop));
                let words = [start, stop, value].map(|number| number.to_string());
                let upper = stand.upper(&draft, &["write_reports", &words[0], &words[1], &words[2]]);
                commit(&draft, &plan, index, &upper).unwrap_or_else(|error| panic!("index {index}: {error}"));
            }
            stand.publish(draft, &plan);
            stand.check(&[&["check_small", "7", "2"], expected].concat());
        }
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
