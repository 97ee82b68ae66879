use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use watchbell_array::{
    Array, Attempt, Completeness, Disk, Draft, Error, Kind, Limits, export, import, sweep, verify,
};
use watchbell_zarr::{Judge, OnConflict, Split, plan};

use crate::place::{Place, all, at, by_time, commit, contents, hierarchy_of, run, whiteout, write};

/// Whatever an index leaves below its directory is its own; the next run finds it, and may replace it.
#[test]
fn what_each_index_leaves_is_published_whole() {
    let place = Place::new();
    let array = Array::create_of(&place.path("array"), Disk::default(), Kind::Artifacts, None).unwrap();
    let plan = plan(&hierarchy_of(&array), &Split::Artifacts, &[], None, 2).unwrap();
    let commit = |uid: &str, uppers: [&[(&str, &str)]; 2], prepare: &dyn Fn(&std::path::Path)| {
        let draft = array.begin(&run(uid), &BTreeMap::new()).unwrap();
        for (index, keys) in uppers.into_iter().enumerate() {
            let upper = place.upper(&format!("{uid}-{index}"), keys);
            if index == 0 {
                prepare(&upper);
            }
            let judge = Judge { plan: &plan, index: index as u32, max_chunk_bytes: 1 << 20 };
            draft.commit(&judge, &Attempt::default(), &upper, Completeness::Required).unwrap();
        }
        draft.publish(&all(2), OnConflict::Fail, None, "", at(9)).unwrap();
        draft.remove().unwrap();
    };
    commit(
        "r1",
        [&[("0/model/a.bin", "a"), ("0/model/b.bin", "b"), ("0/log.tmp", "l")], &[("1/zarr.json", "{")]],
        &|_| {},
    );
    let view = array.snapshot(array.head().unwrap().unwrap()).unwrap().manifest;
    assert_eq!(contents(&array.view(view, &array.manifest(view).unwrap()).unwrap()).len(), 4);
    commit("r2", [&[("0/model/c.bin", "c")], &[("1/x", "x")]], &|upper| {
        use rustix::fs::{XattrFlags, setxattr};
        setxattr(upper.join("0/model"), "trusted.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
        whiteout(upper, "0/log.tmp");
    });
    let expected = [("0/model/c.bin", "c"), ("1/x", "x"), ("1/zarr.json", "{")];
    let expected: BTreeMap<String, String> =
        expected.into_iter().map(|(key, text)| (key.to_owned(), text.to_owned())).collect();
    assert_eq!(place.exported(&array), expected);
    assert_eq!(verify(&array).unwrap().damage, []);
    // And in and out as a plain directory.
    let (plain, other) = (place.path("files"), place.path("other"));
    export(&array, array.head().unwrap().unwrap(), &plain, &mut |_, _| {}).unwrap();
    write(&plain, "notes/zarr.json", b"no document");
    let imported = Array::create_of(&other, Disk::default(), Kind::Artifacts, None).unwrap();
    import(&imported, &plain, &run("i"), None, "", at(9), &mut |_, _| {}).unwrap();
    assert_eq!(place.exported(&imported), contents(&plain));
    assert_eq!(Array::open(&other, Disk::default()).unwrap().kind(), Kind::Artifacts);
    let upper = place.upper("wrong", &[("0/x", "x")]);
    let draft = array.begin(&run("r3"), &BTreeMap::new()).unwrap();
    let judge = Judge { plan: &plan, index: 1, max_chunk_bytes: 1 << 20 };
    let error =
        draft.commit(&judge, &Attempt::default(), &upper, Completeness::Optional).unwrap_err().to_string();
    assert_eq!(error, "index 1: wrote 0, which belongs to index 0, and not to index 1");
}

/// A directory that a task replaces by a file (its upper holds nothing but the file), and a file by a directory.
#[test]
fn a_file_takes_the_place_of_a_directory_and_the_other_way_round() {
    let place = Place::new();
    let array = Array::create_of(&place.path("array"), Disk::default(), Kind::Artifacts, None).unwrap();
    let plan = plan(&hierarchy_of(&array), &Split::Artifacts, &[], None, 2).unwrap();
    let begin = |uid: &str, index: u32, keys: &[(&str, &str)]| {
        let draft = array.begin(&run(uid), &BTreeMap::new()).unwrap();
        let judge = Judge { plan: &plan, index, max_chunk_bytes: 1 << 20 };
        draft.commit(&judge, &Attempt::default(), &place.upper(uid, keys), Completeness::Optional).unwrap();
        draft
    };
    let publish = |draft: watchbell_array::Draft, index, on_conflict| {
        draft.publish(&[index].into(), on_conflict, None, "", at(9))
    };
    let first = begin("r1", 0, &[("0/x/a", "a"), ("0/x/b/c", "c"), ("0/x-y", "y"), ("0/z", "z")]);
    publish(first, 0, OnConflict::Fail).unwrap();
    publish(begin("r2", 0, &[("0/x", "file"), ("0/z/new", "n")]), 0, OnConflict::Fail).unwrap();
    let expected = [("0/x", "file"), ("0/x-y", "y"), ("0/z/new", "n")];
    let expected: BTreeMap<String, String> =
        expected.into_iter().map(|(key, text)| (key.to_owned(), text.to_owned())).collect();
    assert_eq!(place.exported(&array), expected);
    let snapshot = array.snapshot(array.head().unwrap().unwrap()).unwrap();
    let manifest = array.manifest(snapshot.manifest).unwrap();
    assert_eq!(contents(&array.view(snapshot.manifest, &manifest).unwrap()), expected);
    // Two runs from one snapshot, one of which makes a directory of what the other makes a file.
    for (one, other) in [("1/d", "1/d/e"), ("1/f/e", "1/f")] {
        let drafts = [
            begin(&format!("a{}", &one[2..3]), 1, &[(one, "1")]),
            begin(&format!("b{}", &one[2..3]), 1, &[(other, "2")]),
        ];
        let [one, other] = drafts;
        publish(one, 1, OnConflict::Rebase).unwrap();
        let error = publish(other, 1, OnConflict::Rebase).unwrap_err().to_string();
        assert!(error.contains("was also written by ml/a"), "{error}");
    }
}

/// A name that leads to nothing would empty the store.
#[test]
fn an_import_of_nothing_is_refused() {
    let place = Place::new();
    let array = Array::create_of(&place.path("array"), Disk::default(), Kind::Artifacts, None).unwrap();
    write(&place.path("files"), "0/x", b"x");
    import(&array, &place.path("files"), &run("i"), None, "", at(8), &mut |_, _| {}).unwrap();
    fs::create_dir_all(place.path("empty/0")).unwrap();
    let error = import(&array, &place.path("empty"), &run("i"), None, "", at(9), &mut |_, _| {}).unwrap_err();
    assert!(error.to_string().contains("empty: there is no file in it"), "{error}");
    assert_eq!(place.exported(&array)["0/x"], "x");
}

/// The longest names there are, and those that an export would call its own files.
#[test]
fn whatever_its_files_are_called_a_store_is_exported() {
    let place = Place::new();
    let files = place.path("files");
    let long = "n".repeat(255);
    for name in
        [&long, "0/x", "0/x.watchbell-partial", ".watchbell-partial/0000000000000000", ".watchbell-partial_"]
    {
        write(&files, name, name.as_bytes());
    }
    let array = Array::create_of(&place.path("array"), Disk::default(), Kind::Artifacts, None).unwrap();
    import(&array, &files, &run("i"), None, "", at(9), &mut |_, _| {}).unwrap();
    let out = place.path("out");
    for _ in 0..2 {
        export(&array, array.head().unwrap().unwrap(), &out, &mut |_, _| {}).unwrap();
        assert_eq!(contents(&out), contents(&files));
        assert!(!out.join(".watchbell-partial__").exists());
        write(&out, ".watchbell-partial__/0000000000000001", b"half");
    }
}

#[test]
fn every_head_is_signed_before_it_is_one() {
    let place = Place::new();
    let array = place.array();
    let unsigned = array.head().unwrap().unwrap();
    let signing = array.clone().signing(Arc::new(|text: &str| Ok(format!("{text}\n— signed"))));
    write(&place.plain(), "t/c/7/1", b"new");
    import(&signing, &place.path("plain"), &run("i"), None, "", at(7), &mut |_, _| {}).unwrap();
    let head = array.head().unwrap().unwrap();
    let note = String::from_utf8(array.signature(head).unwrap().unwrap()).unwrap();
    assert_eq!(note, format!("{}\n— signed", array.statement(head, 7)));
    assert!(note.contains("/array\n") && array.signature(unsigned).unwrap().is_none());
    let refusing = array.clone().signing(Arc::new(|_: &str| Err("the key is away".to_owned())));
    write(&place.path("plain"), "t/c/7/1", b"newer");
    let error =
        import(&refusing, &place.path("plain"), &run("i"), None, "", at(8), &mut |_, _| {}).unwrap_err();
    assert_eq!(error.to_string(), "the new head cannot be signed: the key is away");
    assert_eq!(array.head().unwrap(), Some(head));
    // What an import has staged is read again: somebody may have put it there.
    let imported =
        import(&signing, &place.path("plain"), &run("i"), None, "", at(9), &mut |_, _| {}).unwrap();
    assert_eq!((imported.keys, imported.copied), (15, 15));
    let head = array.head().unwrap().unwrap();
    // No name is a whole digest but its own.
    assert!(array.tag(&head.to_string(), unsigned).is_err());
    fs::write(array.dir().join("refs/tags").join(head.to_string()), format!("{unsigned}\n")).unwrap();
    assert_eq!(array.resolve(&head.to_string()).unwrap(), head);
    fs::write(array.dir().join("refs/signatures/0000"), "").unwrap();
    sweep(&array, None).unwrap();
    assert_eq!(fs::read_dir(array.dir().join("refs/signatures")).unwrap().count(), 2);
}

/// Files without content cost no quota, and whoever publishes has all their names in memory.
#[test]
fn a_run_has_no_more_keys_than_the_server_takes() {
    let place = Place::new();
    let array = Array::create_of(&place.path("array"), Disk::default(), Kind::Artifacts, None).unwrap();
    let array = array.within(Limits { keys_max: Some(1_000), ..Limits::default() });
    let plan = plan(&hierarchy_of(&array), &Split::Artifacts, &[], None, 3).unwrap();
    let upper = |name: &str, index: u32, files: usize| {
        let names: Vec<String> = (0..files).map(|n| format!("{index}/{n}")).collect();
        let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
        place.upper(name, &files)
    };
    let draft = array.begin(&run("r1"), &BTreeMap::new()).unwrap();
    let refused = |draft: &Draft, index, upper: &Path| match commit(draft, &plan, index, upper) {
        Err(Error::TooManyKeys { keys, max: 1_000 }) => keys,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&draft, 0, &upper("many", 0, 1_100)), 1_001);
    commit(&draft, &plan, 0, &upper("a", 0, 600)).unwrap();
    assert_eq!(refused(&draft, 1, &upper("b", 1, 600)), 1_200);
    assert_eq!(draft.committed(1).unwrap(), None);
    // Also by a server that comes later; and what was refused counts for nothing.
    drop(draft);
    let draft = array.draft("r1").unwrap();
    assert_eq!(refused(&draft, 1, &upper("b", 1, 600)), 1_200);
    commit(&draft, &plan, 1, &upper("c", 1, 400)).unwrap();
    commit(&draft, &plan, 2, &upper("d", 2, 0)).unwrap();
    draft.publish(&all(3), OnConflict::Fail, None, "", at(9)).unwrap();
    draft.remove().unwrap();
    // What is there counts with what is new, and may be written anew.
    for (name, written, is_fine) in [("r2", [0, 600], true), ("r3", [2, 1], false)] {
        let draft = array.begin(&run(name), &BTreeMap::new()).unwrap();
        for index in 0..3 {
            let files = if index == written[0] { written[1] as usize } else { 0 };
            let upper = upper(&format!("{name}-{index}"), index, files);
            if files > 0 && !is_fine {
                assert_eq!(refused(&draft, index, &upper), 1_001);
            } else {
                commit(&draft, &plan, index, &upper).unwrap();
            }
        }
        if is_fine {
            draft.publish(&all(3), OnConflict::Fail, None, "", at(10)).unwrap();
        }
        draft.remove().unwrap();
    }
}

/// As when another server takes less than the one before: what was computed is not lost.
#[test]
fn a_run_with_too_many_keys_waits_for_a_server_that_takes_them() {
    let place = Place::new();
    let array = place.array();
    let keys = {
        let head = array.snapshot(array.head().unwrap().unwrap()).unwrap();
        array.manifest(head.manifest).unwrap().entries.len() as u64
    };
    let plan = by_time(&hierarchy_of(&array));
    let within = |keys_max| array.clone().within(Limits { keys_max: Some(keys_max), ..Limits::default() });
    // Time has six of eight chunks: the last index adds one.
    let adds = place.upper("adds", &[("t/c/6/0", "new")]);
    let draft = within(keys - 2).begin(&run("r1"), &BTreeMap::new()).unwrap();
    let error = commit(&draft, &plan, 3, &adds).unwrap_err();
    assert!(matches!(error, Error::TooManyKeys { keys: found, .. } if found == keys + 1), "{error}");
    // What is there is written anew, and what goes makes room.
    commit(&draft, &plan, 0, &place.upper("same", &[("t/c/0/0", "new")])).unwrap();
    let removes = place.path("removes");
    for key in ["t/c/2/0", "t/c/2/1", "t/c/3/0"] {
        whiteout(&removes, key);
    }
    commit(&draft, &plan, 1, &removes).unwrap();
    commit(&draft, &plan, 3, &adds).unwrap();
    let more = place
        .upper("more", &[("t/c/6/0", "new"), ("t/c/6/1", "new"), ("t/c/7/0", "new"), ("t/c/7/1", "new")]);
    drop(draft);
    array.abandon("r1").unwrap();
    let draft = array.begin(&run("r2"), &BTreeMap::new()).unwrap();
    for index in 0..3 {
        commit(&draft, &plan, index, &place.upper("nothing", &[])).unwrap();
    }
    commit(&draft, &plan, 3, &more).unwrap();
    drop(draft);
    let publish = |array: Array| {
        let draft = array.draft("r2").unwrap();
        draft.publish(&all(4), OnConflict::Fail, None, "", at(9))
    };
    let error = publish(within(keys - 2)).unwrap_err();
    assert!(matches!(error, Error::TooManyKeys { .. }) && error.is_passing(), "{error}");
    assert_eq!(publish(within(keys + 4)).unwrap().snapshot.keys, keys + 4);
}

/// The names of files take room, in the records of indices and in each manifest.
#[test]
fn files_without_content_count_to_the_quota() {
    let place = Place::new();
    let array = Array::create_of(&place.path("array"), Disk::default(), Kind::Artifacts, None).unwrap();
    let plan = plan(&hierarchy_of(&array), &Split::Artifacts, &[], None, 1).unwrap();
    let names: Vec<String> = (0..1_000).map(|n| format!("0/{n}")).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    let draft = array.begin(&run("r1"), &BTreeMap::new()).unwrap();
    commit(&draft, &plan, 0, &place.upper("u", &files)).unwrap();
    let publish = |quota| draft.publish(&all(1), OnConflict::Fail, quota, "", at(9));
    assert!(matches!(publish(Some(4 << 10)), Err(Error::Quota { .. })));
    publish(Some(1 << 20)).unwrap();
    draft.remove().unwrap();
    assert!((4 << 10..1 << 20).contains(&array.used_bytes().unwrap()));
}
