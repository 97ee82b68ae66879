//! Data arrays: the annotation of a Job, the documents of a hierarchy, who owns which chunk of it, and what a task left.

use std::collections::BTreeMap;

use watchbell_api::decode;
use watchbell_zarr::{
    Entry, EntryKind, Hierarchy, Judge, Mode, NodePath, Owner, Plan, PlanError, Use, Verdict, grow, plan,
    uses,
};

/// Larger plans are made and not gone through.
const GONE_THROUGH: u64 = 2_000;
const INDICES_MAX: u32 = 16;
const CHUNK_BYTES_MAX: u64 = 1 << 20;

/// What is taken says all that a plan needs, once for each array.
pub fn array_use(data: &[u8]) {
    let Ok(value) = decode::json(data) else { return };
    let Ok(found) = uses(&value) else { return };
    for (at, one) in found.iter().enumerate() {
        assert_eq!(one.mode == Mode::Write, one.split.is_some(), "{one:?}");
        assert!(one.mount.starts_with('/') && one.mount.len() > 1, "{one:?}");
        assert!(found[..at].iter().all(|other| other.name != one.name && other.mount != one.mount));
    }
}

/// An annotation, then names and documents by turns, then a name that a task gave a file; zero bytes between them.
///
/// Whatever the hierarchy: a plan's owned chunks are owned by one index in all ways of asking, what an index owns may be
/// written by it and by no other, and a task's file is kept only where the plan says that it is this index's.
pub fn array_plan(data: &[u8]) {
    let parts: Vec<&[u8]> = data.split(|byte| *byte == 0).collect();
    let [annotation, documents @ .., name] = parts.as_slice() else { return };
    let documents: BTreeMap<String, Vec<u8>> = documents
        .chunks_exact(2)
        .filter_map(|pair| Some((std::str::from_utf8(pair[0]).ok()?.to_owned(), pair[1].to_vec())))
        .collect();
    let given = documents.iter().map(|(key, bytes)| (key.as_str(), bytes.as_slice()));
    let Ok(hierarchy) = Hierarchy::read(given) else { return };
    let Some(found) = decode::json(annotation).ok().and_then(|value| uses(&value).ok()) else { return };
    for one in &found {
        let Some(split) = &one.split else { continue };
        let (hierarchy, grown) = match &one.extend {
            None => (hierarchy.clone(), None),
            Some(extend) => {
                let Ok((larger, grown)) = grow(&documents, extend) else { continue };
                let mut next = documents.clone();
                next.extend(grown.documents.clone());
                let given = next.iter().map(|(key, bytes)| (key.as_str(), bytes.as_slice()));
                assert_eq!(Hierarchy::read(given).expect("what has grown can be read"), larger);
                (larger, Some(grown))
            }
        };
        let made = |completions| plan(&hierarchy, split, &one.variables, grown.as_ref(), completions);
        // How many indices a store of artifacts has, the Job says alone.
        let made = match made(if hierarchy.is_artifacts { 3 } else { 1 }) {
            Err(PlanError::Completions { planned, .. }) => {
                made(u32::try_from(planned).expect("a plan has a bounded number of indices"))
            }
            made => made,
        };
        if let Ok(made) = made {
            gone_through(one, &made, name);
        }
    }
}

fn gone_through(one: &Use, made: &Plan, name: &[u8]) {
    let file = EntryKind::File { size: 1, links: 1, mode: 0o644 };
    for index in 0..made.completions.min(INDICES_MAX) {
        let judge = Judge { plan: made, index, max_chunk_bytes: CHUNK_BYTES_MAX };
        if let Ok(Verdict::Keep) = judge.judge(Entry { key: name, kind: file }) {
            let name = std::str::from_utf8(name).expect("a chunk's name is text");
            assert_eq!(made.owner(name), Owner::Index(index), "{one:?} {name}");
        }
        for kind in [EntryKind::Directory { is_opaque: false }, EntryKind::Whiteout, EntryKind::Symlink] {
            let _ = judge.judge(Entry { key: name, kind });
        }
        // What artifacts are called nobody knows before.
        if made.hierarchy().is_artifacts || made.count(index) > GONE_THROUGH {
            continue;
        }
        assert!(made.count(index) > 0, "{one:?} {index}");
        let parents = made.parents(index, usize::MAX).unwrap_or_default();
        let mut count = 0;
        for key in made.keys(index) {
            count += 1;
            assert_eq!(made.owner(&key), Owner::Index(index), "{one:?} {key}");
            assert_eq!(
                judge.judge(Entry { key: key.as_bytes(), kind: file }),
                Ok(Verdict::Keep),
                "{one:?} {key}"
            );
            let other = Judge { index: (index + 1) % made.completions, ..judge };
            if other.index != index {
                assert!(other.judge(Entry { key: key.as_bytes(), kind: file }).is_err(), "{one:?} {key}");
            }
            if let Some((dir, _)) = key.rsplit_once('/') {
                assert!(parents.iter().any(|parent| parent == dir), "{one:?} {key} {parents:?}");
                let entry = Entry { key: dir.as_bytes(), kind: EntryKind::Directory { is_opaque: false } };
                assert_eq!(judge.judge(entry), Ok(Verdict::Enter), "{one:?} {dir}");
            }
        }
        assert_eq!(count, made.count(index), "{one:?} {index}");
        for range in made.elements(index) {
            assert!(range.start <= range.stop, "{one:?} {range:?}");
        }
    }
    let root = NodePath::root();
    assert!(made.variables().all(|path| *path == root || made.hierarchy().array(path).is_some()));
}
