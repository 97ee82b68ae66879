//! An array over time and place in a directory of its own, and the job array that writes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use watchbell_array::{
    Array, Attempt, Committed, Completeness, Disk, Draft, Error, Imported, KeySource, Run, export, import,
};
use watchbell_zarr::{Hierarchy, Judge, Plan, Split, plan};

pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
}

pub(crate) const DIMENSIONS: &str = r#"["time", "lat"]"#;

impl Place {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::Builder::new().prefix("watchbell-array-").tempdir().unwrap() }
    }

    /// On a file system in memory where there is one: for a test that makes many of them and never syncs.
    pub(crate) fn in_memory() -> Self {
        let mut builder = tempfile::Builder::new();
        let builder = builder.prefix("watchbell-array-");
        Self { dir: builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir()).unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The plain directory of a hierarchy: 8 by 2 chunks in time and lat, some of them there.
    pub(crate) fn plain(&self) -> PathBuf {
        let dir = self.path("plain");
        write(&dir, "zarr.json", br#"{"zarr_format": 3, "node_type": "group", "attributes": {}}"#);
        let array = format!(
            r#"{{"zarr_format": 3, "node_type": "array", "shape": [16, 4], "data_type": "uint8",
            "chunk_grid": {{"name": "regular", "configuration": {{"chunk_shape": [2, 2]}}}},
            "chunk_key_encoding": {{"name": "default", "configuration": {{"separator": "/"}}}},
            "fill_value": 0, "codecs": [{{"name": "bytes"}}], "dimension_names": {DIMENSIONS}, "attributes": {{}}}}"#
        );
        write(&dir, "t/zarr.json", array.as_bytes());
        for time in 0..6 {
            for lat in 0..2 {
                write(&dir, &format!("t/c/{time}/{lat}"), format!("old {time} {lat}").as_bytes());
            }
        }
        dir
    }

    pub(crate) fn array(&self) -> Array {
        // Nobody pulls the plug while a test is prepared.
        let array = Array::create(&self.path("array"), Disk::watched(|_| Ok(()))).unwrap();
        import_at(&array, &self.plain(), 1_000).unwrap();
        Array::open(array.dir(), Disk::default()).unwrap()
    }

    /// An upper directory with these keys.
    pub(crate) fn upper(&self, name: &str, keys: &[(&str, &str)]) -> PathBuf {
        let dir = self.path(name);
        fs::create_dir_all(&dir).unwrap();
        for (key, content) in keys {
            write(&dir, key, content.as_bytes());
        }
        dir
    }

    /// What an export of the head holds.
    pub(crate) fn exported(&self, array: &Array) -> BTreeMap<String, String> {
        let dir = tempfile::tempdir_in(self.dir.path()).unwrap();
        export(array, array.head().unwrap().unwrap(), dir.path(), &mut |_, _| {}).unwrap();
        contents(dir.path())
    }
}

pub(crate) fn write(dir: &Path, key: &str, content: &[u8]) {
    let path = dir.join(key);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

pub(crate) fn contents(dir: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut pending = vec![dir.to_owned()];
    while let Some(at) = pending.pop() {
        for entry in fs::read_dir(at).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                pending.push(path);
            } else {
                let key = path.strip_prefix(dir).unwrap().to_string_lossy().into_owned();
                found.insert(key, fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub(crate) fn run(uid: &str) -> Run {
    Run {
        name: format!("ml/{uid}"),
        uid: uid.to_owned(),
        image: "sha256:aa".to_owned(),
        user: "system:serviceaccount:ml:default".to_owned(),
        started_at: 5,
    }
}

pub(crate) fn import_at(array: &Array, dir: &Path, second: i64) -> Result<Imported, Error> {
    let by = Run { name: "import".to_owned(), ..Run::default() };
    import(array, dir, &by, None, "imported", at(second), &mut |_, _| {})
}

/// Time split in four, two rows of chunks an index.
pub(crate) fn by_time(hierarchy: &Hierarchy) -> Plan {
    let split = Split::Dimension { dimension: "time".to_owned(), into: 4 };
    plan(hierarchy, &split, &[], None, 4).unwrap()
}

pub(crate) fn hierarchy_of(array: &Array) -> Hierarchy {
    let snapshot = array.snapshot(array.head().unwrap().unwrap()).unwrap();
    array.hierarchy(&array.manifest(snapshot.manifest).unwrap()).unwrap()
}

pub(crate) fn commit(draft: &Draft, plan: &Plan, index: u32, upper: &Path) -> Result<Committed, Error> {
    let judge = Judge { plan, index, max_chunk_bytes: 4 << 20 };
    draft.commit(&judge, &Attempt::default(), upper, Completeness::Optional)
}

pub(crate) fn all(count: u32) -> BTreeSet<u32> {
    (0..count).collect()
}

/// A character device 0/0, as overlayfs leaves for what was removed.
pub(crate) fn whiteout(dir: &Path, key: &str) {
    let path = dir.join(key);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::CharacterDevice, mode, 0).unwrap();
}

/// All files below a directory.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let (mut found, mut pending) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(at) = pending.pop() {
        for path in fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() { pending.push(path) } else { found.push(path) }
        }
    }
    found
}

/// A key of 32 equal bytes, in a file that its owner alone reads.
pub(crate) fn key_file(place: &Place, name: &str, byte: u8) -> KeySource {
    let path = place.path(name);
    fs::write(&path, [byte; 32]).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    KeySource::File(path)
}
