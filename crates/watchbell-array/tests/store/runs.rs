use std::collections::BTreeMap;

use watchbell_array::{
    Array, Attempt, Completeness, Conflict, Disk, Error, Import, Kind, Limits, OnMove, Retention, Step,
    difference, export, sweep, verify,
};
use watchbell_zarr::{Extend, Judge, OnConflict, grow};

use crate::place::{
    Place, all, at, by_time, commit, contents, hierarchy_of, import_at, key_file, run, whiteout, write,
};

#[test]
fn what_is_imported_is_what_is_exported() {
    let place = Place::new();
    let array = place.array();
    assert_eq!(place.exported(&array), contents(&place.plain()));
    // The same again is no new snapshot; a change is one, and says what changed.
    assert!(import_at(&array, &place.plain(), 2_000).unwrap().publication.is_none());
    write(&place.plain(), "t/c/0/0", b"new");
    std::fs::remove_file(place.path("plain/t/c/5/1")).unwrap();
    write(&place.path("plain"), "t/c/7/1", b"more");
    std::fs::remove_file(place.path("plain/t/c/0/1")).unwrap();
    let made = import_at(&array, &place.path("plain"), 2_000).unwrap().publication.unwrap();
    let change = made.snapshot.change;
    assert_eq!((change.added, change.changed, change.removed), (1, 1, 2));
    assert_eq!(place.exported(&array), contents(&place.path("plain")));
    assert_eq!(verify(&array).unwrap().damage, []);
}

#[test]
fn an_export_goes_on_and_touches_nothing_foreign() {
    let place = Place::new();
    let array = place.array();
    let head = array.head().unwrap().unwrap();
    let dir = place.path("out");
    write(&dir, "t/c/0/0", b"old 0 0");
    write(&dir, "t/c/0/1", b"something else");
    write(&dir, ".watchbell-partial/0000000000000007", b"half");
    let exported = export(&array, head, &dir, &mut |_, _| {}).unwrap();
    assert_eq!((exported.keys, exported.written), (14, 13));
    assert_eq!(contents(&dir), contents(&place.plain()));
    write(&dir, "notes.txt", b"mine");
    let error = export(&array, head, &dir, &mut |_, _| {}).unwrap_err().to_string();
    assert!(error.ends_with(
        "notes.txt: it is not of this snapshot; export to a directory that is empty or not there"
    ));
    std::fs::remove_file(dir.join("notes.txt")).unwrap();
    // What is called like a file of ours is not ours.
    for name in ["t/c/1/0.watchbell-partial", ".watchbell-partial/mine"] {
        write(&dir, name, b"mine");
        assert!(export(&array, head, &dir, &mut |_, _| {}).is_err());
        assert_eq!(std::fs::read(dir.join(name)).unwrap(), b"mine");
        std::fs::remove_file(dir.join(name)).unwrap();
    }
    std::fs::remove_dir(dir.join(".watchbell-partial")).unwrap();
    std::fs::remove_dir_all(dir.join("t/c")).unwrap();
    std::os::unix::fs::symlink(place.path("elsewhere"), dir.join("t/c")).unwrap();
    assert!(export(&array, head, &dir, &mut |_, _| {}).is_err());
}

#[test]
fn a_run_is_published_whole() {
    let place = Place::new();
    let array = place.array();
    let before = place.exported(&array);
    let plan = by_time(&hierarchy_of(&array));
    let draft = array.begin(&run("r1"), &BTreeMap::new()).unwrap();
    for index in 0..4 {
        let (first, second) = (format!("t/c/{}/0", 2 * index), format!("t/c/{}/1", 2 * index + 1));
        let upper = place.upper(&format!("u{index}"), &[(&first, "new"), (&second, &format!("by {index}"))]);
        if index == 0 {
            whiteout(&upper, "t/c/0/1");
            write(&upper, "t/c/0/0.6f.partial", b"torn");
        }
        let committed = commit(&draft, &plan, index, &upper).unwrap();
        assert_eq!(committed.written.len(), 2);
        // Nobody sees it, and an index without its fellows is not published.
        assert_eq!(place.exported(&array), before);
        if index < 3 {
            let error = draft.publish(&all(4), OnConflict::Fail, None, "", at(9)).unwrap_err();
            assert!(matches!(error, Error::Unfinished(_)), "{error}");
        }
    }
    let made = draft.publish(&all(4), OnConflict::Fail, None, "nightly", at(9)).unwrap();
    // A second time it is the same one.
    assert_eq!(draft.publish(&all(4), OnConflict::Fail, None, "nightly", at(99)).unwrap(), made);
    draft.remove().unwrap();
    assert!(array.drafts().unwrap().is_empty());
    let mut expected = before;
    expected.remove("t/c/0/1");
    for index in 0..4 {
        expected.insert(format!("t/c/{}/0", 2 * index), "new".to_owned());
        expected.insert(format!("t/c/{}/1", 2 * index + 1), format!("by {index}"));
    }
    assert_eq!(place.exported(&array), expected);
    let manifest = array.manifest(made.snapshot.manifest).unwrap();
    let wrote = |key: &str| {
        let (run, writer) = manifest.writer(manifest.get(key).unwrap());
        (run.name.clone(), writer.index)
    };
    assert_eq!(wrote("t/c/5/1"), ("ml/r1".to_owned(), 2));
    assert_eq!(wrote("t/c/5/0"), ("import".to_owned(), 0));
    let parent = array.snapshot(made.snapshot.parent.unwrap()).unwrap();
    let difference = difference(&array.manifest(parent.manifest).unwrap(), &manifest);
    assert_eq!(difference.removed, ["t/c/0/1"]);
    assert_eq!(verify(&array).unwrap().damage, []);
}

#[test]
fn the_first_success_of_an_index_is_the_one() {
    let place = Place::new();
    let array = place.array();
    let plan = by_time(&hierarchy_of(&array));
    let draft = array.begin(&run("r1"), &BTreeMap::new()).unwrap();
    let first = commit(&draft, &plan, 0, &place.upper("a", &[("t/c/0/0", "first")])).unwrap();
    let again = commit(&draft, &plan, 0, &place.upper("b", &[("t/c/0/0", "second")])).unwrap();
    assert_eq!(first, again);
    drop(draft);
    // Another program goes on with it.
    let draft = array.draft("r1").unwrap();
    assert_eq!(draft.committed(0).unwrap(), Some(first));
    assert_eq!(draft.progress().unwrap().committed.into_iter().collect::<Vec<_>>(), [0]);
    assert!(array.draft("r1").is_err(), "two programs hold one draft");
}

#[test]
fn growth_is_seen_by_the_run_and_published_with_it() {
    let place = Place::new();
    let array = place.array();
    let head = array.snapshot(array.head().unwrap().unwrap()).unwrap();
    let documents = array.documents(&array.manifest(head.manifest).unwrap()).unwrap();
    let extend = Extend { dimension: "time".to_owned(), by: 4 };
    let (hierarchy, grown) = grow(&documents, &extend).unwrap();
    let split = watchbell_zarr::Split::Dimension { dimension: "time".to_owned(), into: 2 };
    let plan = watchbell_zarr::plan(&hierarchy, &split, &[], Some(&grown), 2).unwrap();
    let draft = array.begin(&run("r1"), &grown.documents).unwrap();
    let view = draft.view().unwrap();
    assert!(contents(&view)["t/zarr.json"].contains("20"));
    for index in 0..2 {
        let key = format!("t/c/{}/0", 8 + index);
        commit(&draft, &plan, index, &place.upper(&format!("u{index}"), &[(&key, "new")])).unwrap();
    }
    let own = contents(&draft.view_of(0, |key| key == "t/c/3/0").unwrap());
    assert_eq!(own.keys().collect::<Vec<_>>(), ["t/c/3/0", "t/zarr.json", "zarr.json"]);
    draft.publish(&all(2), OnConflict::Rebase, None, "", at(9)).unwrap();
    assert_eq!(hierarchy_of(&array).arrays().next().unwrap().1.shape, [20, 4]);
}

#[test]
fn a_head_that_moved_is_a_conflict_or_is_built_upon() {
    let place = Place::new();
    let array = place.array();
    let plan = by_time(&hierarchy_of(&array));
    let publish = |name: &str, key: &str, index: u32, how: OnConflict, between: &dyn Fn()| {
        let draft = array.begin(&run(name), &BTreeMap::new()).unwrap();
        commit(&draft, &plan, index, &place.upper(name, &[(key, name)])).unwrap();
        between();
        draft.publish(&[index].into(), how, None, "", at(9))
    };
    let a = || publish("a", "t/c/0/0", 0, OnConflict::Fail, &|| {}).map(drop).unwrap();
    let error = publish("b", "t/c/2/0", 1, OnConflict::Fail, &a).unwrap_err();
    assert!(matches!(error, Error::Conflict(Conflict::Moved { .. })), "{error}");
    let c = || publish("c", "t/c/4/0", 2, OnConflict::Fail, &|| {}).map(drop).unwrap();
    publish("d", "t/c/6/0", 3, OnConflict::Rebase, &c).unwrap();
    let now = place.exported(&array);
    assert_eq!((now["t/c/4/0"].as_str(), now["t/c/6/0"].as_str()), ("c", "d"));
    let e = || publish("e", "t/c/0/1", 0, OnConflict::Fail, &|| {}).map(drop).unwrap();
    let error = publish("f", "t/c/0/1", 0, OnConflict::Rebase, &e).unwrap_err();
    assert_eq!(error.to_string(), "t/c/0/1 was also written by ml/e since; run it again");
    let documents = || {
        let text = std::fs::read_to_string(place.path("plain/zarr.json")).unwrap();
        write(&place.path("plain"), "zarr.json", text.replace("{}", r#"{"a": 1}"#).as_bytes());
        import_at(&array, &place.path("plain"), 3_000).map(drop).unwrap();
    };
    let error = publish("g", "t/c/1/0", 0, OnConflict::Rebase, &documents).unwrap_err();
    assert!(matches!(error, Error::Conflict(Conflict::Metadata { .. })), "{error}");
    // What makes arrays longer goes on top of nothing, and is not told to ask for it.
    let extend = Extend { dimension: "time".to_owned(), by: 4 };
    let (_, grown) = grow(&hierarchy_documents(&array), &extend).unwrap();
    let draft = array.begin(&run("h"), &grown.documents).unwrap();
    commit(&draft, &plan, 0, &place.upper("h", &[("t/c/1/1", "h")])).unwrap();
    publish("i", "t/c/6/1", 3, OnConflict::Fail, &|| {}).unwrap();
    for how in [OnConflict::Fail, OnConflict::Rebase] {
        let error = draft.publish(&[0].into(), how, None, "", at(9)).unwrap_err();
        assert!(matches!(error, Error::Conflict(Conflict::Grown { .. })), "{error}");
        assert!(!error.to_string().contains("onConflict"), "{error}");
    }
}

#[test]
fn what_is_missing_is_named_when_all_is_wanted() {
    let place = Place::new();
    let array = place.array();
    let plan = by_time(&hierarchy_of(&array));
    let draft = array.begin(&run("r1"), &BTreeMap::new()).unwrap();
    let judge = Judge { plan: &plan, index: 3, max_chunk_bytes: 1 << 20 };
    let upper = place.upper("u", &[("t/c/6/0", "x"), ("t/c/7/1", "x")]);
    let error =
        draft.commit(&judge, &Attempt::default(), &upper, Completeness::Required).unwrap_err().to_string();
    assert_eq!(error, "index 3 was told to write 4 chunks and 2 of them are not there, the first is t/c/6/1");
    // What was there before counts, unless it is removed.
    let judge = Judge { plan: &plan, index: 0, max_chunk_bytes: 1 << 20 };
    draft.commit(&judge, &Attempt::default(), &place.upper("v", &[]), Completeness::Required).unwrap();
    let judge = Judge { plan: &plan, index: 1, max_chunk_bytes: 1 << 20 };
    let upper = place.upper("w", &[]);
    whiteout(&upper, "t/c/2/0");
    assert!(draft.commit(&judge, &Attempt::default(), &upper, Completeness::Required).is_err());
}

#[test]
fn a_quota_stops_a_publication_before_anything_is_kept() {
    let place = Place::new();
    let array = place.array();
    let plan = by_time(&hierarchy_of(&array));
    let draft = array.begin(&run("r1"), &BTreeMap::new()).unwrap();
    commit(&draft, &plan, 0, &place.upper("u", &[("t/c/0/0", &"x".repeat(5000))])).unwrap();
    let kept = array.object_bytes().unwrap();
    let used = array.used_bytes().unwrap();
    assert!(used > kept + 5_000);
    let publish = |quota| draft.publish(&all(1), OnConflict::Fail, Some(quota), "", at(9));
    // The manifest that would come is counted too.
    let Err(Error::Quota { bytes, .. }) = publish(used) else { panic!("it is beyond the quota") };
    assert!(bytes > used && matches!(publish(bytes - 1), Err(Error::Quota { .. })));
    assert_eq!((array.object_bytes().unwrap(), array.used_bytes().unwrap()), (kept, used));
    publish(bytes).unwrap();
}

#[test]
fn a_rollback_is_a_snapshot_of_its_own() {
    let place = Place::new();
    let array = place.array();
    let first = array.head().unwrap().unwrap();
    let before = place.exported(&array);
    write(&place.plain(), "t/c/0/0", b"worse");
    let second = import_at(&array, &place.path("plain"), 2_000).unwrap().publication.unwrap().digest;
    let by = run("hand");
    let made = array.rollback(first, &by, "worse", at(3_000)).unwrap().unwrap();
    assert_eq!(made.snapshot.parent, Some(second));
    assert_eq!(place.exported(&array), before);
    // The chunk's writer is who wrote it, not who rolled back.
    let manifest = array.manifest(made.snapshot.manifest).unwrap();
    assert_eq!(manifest.writer(manifest.get("t/c/0/0").unwrap()).0.name, "import");
    assert_eq!(array.rollback(first, &by, "again", at(4_000)).unwrap(), None);
    let mut chain = Vec::new();
    array
        .log(|digest, _| {
            chain.push(digest);
            true
        })
        .unwrap();
    assert_eq!(chain, [made.digest, second, first]);
}

#[test]
fn an_array_in_use_is_not_deleted() {
    let place = Place::new();
    let array = place.array();
    array.lease("run-7", array.head().unwrap().unwrap()).unwrap();
    assert_eq!(
        array.clone().delete().unwrap_err().to_string(),
        "run-7 still needs the array; wait for its end, or end it"
    );
    array.give_back("run-7").unwrap();
    array.set_quota(Some(7)).unwrap();
    assert_eq!(array.quota_bytes().unwrap(), Some(7));
    array.set_quota(None).unwrap();
    assert_eq!(array.quota_bytes().unwrap(), None);
    array.clone().delete().unwrap();
    assert!(matches!(watchbell_array::Array::open(array.dir(), Default::default()), Err(Error::NoArray(_))));
}

#[test]
fn what_would_be_published_is_seen_before_and_found_afterwards() {
    let place = Place::new();
    let array = place.array();
    let plan = by_time(&hierarchy_of(&array));
    let draft = array.begin(&run("r1"), &BTreeMap::new()).unwrap();
    let error = draft.publish(&all(4), OnConflict::Fail, None, "", at(9)).unwrap_err();
    assert!(matches!(error, Error::Unfinished(_)), "{error}");
    assert!(draft.preview(&all(4)).is_err());
    for index in 0..4 {
        let upper = place.upper(&format!("u{index}"), &[(&format!("t/c/{}/0", 2 * index), "new")]);
        commit(&draft, &plan, index, &upper).unwrap();
    }
    let preview = draft.preview(&all(4)).unwrap();
    assert_eq!(draft.preview(&all(4)).unwrap(), preview);
    assert!(array.published_by("r1").unwrap().is_none());
    let seen = contents(&preview);
    let made = draft.publish(&all(4), OnConflict::Fail, None, "", at(9)).unwrap();
    assert_eq!(place.exported(&array), seen);
    draft.remove().unwrap();
    // Somebody else's comes after it.
    write(&place.plain(), "t/c/7/1", b"later");
    import_at(&array, &place.path("plain"), 3_000).unwrap();
    assert_eq!(array.published_by("r1").unwrap(), Some(made));
    let late = array.begin(&run("r2"), &BTreeMap::new()).unwrap();
    for index in 0..4 {
        commit(&late, &plan, index, &place.upper(&format!("v{index}"), &[])).unwrap();
    }
    write(&place.path("plain"), "t/c/7/1", b"later still");
    import_at(&array, &place.path("plain"), 4_000).unwrap();
    let error = late.publish(&all(4), OnConflict::Fail, None, "", at(99)).unwrap_err();
    assert!(matches!(error, Error::Conflict(Conflict::Moved { .. })), "{error}");
    late.publish(&all(4), OnConflict::Rebase, None, "", at(99)).unwrap();
}

/// A server that was killed goes on, and tasks go on above the directory that they have.
#[test]
fn a_view_outlives_who_made_it() {
    let place = Place::new();
    let array = place.array();
    let documents = hierarchy_documents(&array);
    let (_, grown) = grow(&documents, &Extend { dimension: "time".to_owned(), by: 4 }).unwrap();
    let draft = array.begin(&run("r1"), &grown.documents).unwrap();
    let parents = std::collections::BTreeSet::from(["t/c/8".to_owned(), "t/c/9".to_owned()]);
    let view = draft.view_with(&parents).unwrap();
    assert!(view.join("t/c/9").is_dir());
    let held = std::fs::File::open(view.join("t/zarr.json")).unwrap();
    drop(draft);
    let draft = array.draft("r1").unwrap();
    assert_eq!(draft.view_with(&parents).unwrap(), view);
    assert_eq!(
        rustix::fs::fstat(&held).unwrap().st_ino,
        rustix::fs::stat(view.join("t/zarr.json")).unwrap().st_ino
    );
    // One of another boot may be half of it.
    let other = draft_dir(&array).join("view-another-boot");
    std::fs::create_dir(&other).unwrap();
    drop(draft);
    array.draft("r1").unwrap();
    assert!(view.exists() && !other.exists());
}

fn draft_dir(array: &watchbell_array::Array) -> std::path::PathBuf {
    array.dir().join("drafts/r1")
}

fn hierarchy_documents(array: &watchbell_array::Array) -> BTreeMap<String, Vec<u8>> {
    let head = array.snapshot(array.head().unwrap().unwrap()).unwrap();
    array.documents(&array.manifest(head.manifest).unwrap()).unwrap()
}

#[test]
fn an_upper_above_its_quota_is_not_read() {
    use rustix::fd::AsFd as _;
    let place = Place::new();
    let array = place.array();
    let plan = by_time(&hierarchy_of(&array));
    let draft = array.begin(&run("r1"), &BTreeMap::new()).unwrap();
    let upper = place.upper("u", &[("t/c/0/0", "12345"), ("t/c/0/1", "12345")]);
    let dir = std::fs::File::open(&upper).unwrap();
    let judge = Judge { plan: &plan, index: 0, max_chunk_bytes: 1 << 20 };
    let take = |max| draft.commit_from(&judge, &Attempt::default(), dir.as_fd(), Completeness::Optional, max);
    let error = take(9).unwrap_err();
    assert!(error.to_string().contains("wrote 10 bytes, and its quota is 9"), "{error}");
    assert!(draft.committed(0).unwrap().is_none());
    assert_eq!(take(10).unwrap().written.len(), 2);
}

#[test]
fn a_lease_says_what_it_keeps() {
    let place = Place::new();
    let array = place.array();
    let head = array.head().unwrap().unwrap();
    assert_eq!(array.leased("run-1").unwrap(), None);
    array.lease("run-1", head).unwrap();
    assert_eq!(
        (array.leased("run-1").unwrap(), array.lease_names().unwrap()),
        (Some(head), vec!["run-1".to_owned()])
    );
    array.give_back("run-1").unwrap();
    array.give_back("run-1").unwrap();
    assert_eq!(array.lease_names().unwrap(), Vec::<String>::new());
}

/// What is staged counts too: a run is stopped at the quota, and not first at its end.
#[test]
fn a_commit_or_an_import_beyond_the_quota_is_refused() {
    let place = Place::new();
    let array = place.array();
    array.set_quota(Some(array.used_bytes().unwrap() + 3_000)).unwrap();
    let plan = by_time(&hierarchy_of(&array));
    let draft = array.begin(&run("r1"), &BTreeMap::new()).unwrap();
    let large = "x".repeat(1_500);
    commit(&draft, &plan, 0, &place.upper("a", &[("t/c/0/0", &large)])).unwrap();
    // The same bytes again are kept once.
    commit(&draft, &plan, 1, &place.upper("b", &[("t/c/2/0", &large)])).unwrap();
    let error =
        commit(&draft, &plan, 2, &place.upper("c", &[("t/c/4/0", &large.replace('x', "y"))])).unwrap_err();
    assert!(matches!(error, Error::Quota { .. }), "{error}");
    assert_eq!(draft.committed(2).unwrap(), None);
    let plain = place.plain();
    write(&plain, "t/c/7/1", large.replace('x', "z").as_bytes());
    let by = watchbell_array::Run::default();
    let quota = array.quota_bytes().unwrap();
    let error = watchbell_array::import(&array, &plain, &by, quota, "", at(1), &mut |_, _| {}).unwrap_err();
    assert!(matches!(error, Error::Quota { .. }), "{error}");
}

/// The quota of a run is what it is when it writes, and not what it was when it began.
#[test]
fn a_quota_that_changes_counts_for_runs_that_are_at_work() {
    let place = Place::new();
    let array = place.array();
    let plan = by_time(&hierarchy_of(&array));
    let used = array.used_bytes().unwrap();
    let draft = array.begin(&run("r1"), &BTreeMap::new()).unwrap();
    let large = |c: &str| c.repeat(4_000);
    commit(&draft, &plan, 0, &place.upper("a", &[("t/c/0/0", &large("a"))])).unwrap();
    array.set_quota(Some(used + 6_000)).unwrap();
    let error = commit(&draft, &plan, 1, &place.upper("b", &[("t/c/2/0", &large("b"))])).unwrap_err();
    assert!(matches!(error, Error::Quota { quota, .. } if quota == used + 6_000), "{error}");
    array.set_quota(Some(used + 9_000)).unwrap();
    commit(&draft, &plan, 1, &place.upper("b", &[])).unwrap();
    // Also in the midst of a commit, long before the room that was left is filled.
    array.set_quota(Some(used + (1 << 30))).unwrap();
    let lowered = array.dir().join("quota");
    let disk = Disk::watched(move |step| match step {
        Step::Write(path) if path.parent().is_some_and(|dir| dir.ends_with("objects")) => {
            std::fs::write(&lowered, format!("{}\n", used + 1_000)).map_err(|_| Error::Stopped)
        }
        _ => Ok(()),
    });
    drop(draft);
    let draft = Array::open(array.dir(), disk).unwrap().draft("r1").unwrap();
    let upper = place.upper("d", &[("t/c/6/0", &large("e"))]);
    let error = commit(&draft, &plan, 3, &upper).unwrap_err();
    assert!(matches!(error, Error::Quota { quota, .. } if quota == used + 1_000), "{error}");
    drop(draft);
    let draft = array.draft("r1").unwrap();
    array.set_quota(None).unwrap();
    commit(&draft, &plan, 2, &place.upper("c", &[("t/c/4/0", &large("c")), ("t/c/4/1", &large("d"))]))
        .unwrap();
}

/// What a Job publishes while an import is at work is not undone by it, unless that is asked for.
#[test]
fn an_import_undoes_nothing_that_was_published_meanwhile() {
    let place = Place::new();
    let array = place.array();
    let began_on = array.head().unwrap().unwrap();
    let meanwhile = place.path("meanwhile");
    for (key, content) in contents(&place.plain()) {
        write(&meanwhile, &key, content.as_bytes());
    }
    let plain = place.plain();
    write(&plain, "t/c/0/0", b"imported");
    // When the import begins to copy, somebody publishes.
    let moving = |second: i64, content: &'static str| {
        let (dir, meanwhile) = (array.dir().to_owned(), meanwhile.clone());
        let has_moved = std::sync::atomic::AtomicBool::new(false);
        let disk = Disk::watched(move |step| {
            if let Step::Write(path) = step
                && path.to_string_lossy().contains("/drafts/import-")
                && path.parent().is_some_and(|dir| dir.ends_with("objects/packs"))
                && !has_moved.swap(true, std::sync::atomic::Ordering::SeqCst)
            {
                write(&meanwhile, "t/c/1/0", content.as_bytes());
                let other = Array::open(&dir, Disk::default())?;
                assert!(import_at(&other, &meanwhile, second)?.publication.is_some());
            }
            Ok(())
        });
        Array::open(array.dir(), disk).unwrap()
    };
    let error = import_at(&moving(2_000, "a Job's"), &plain, 2_001).unwrap_err();
    let head = array.head().unwrap().unwrap();
    let expected =
        format!("the array moved from snapshot {} to snapshot {} while", began_on.short(), head.short());
    assert!(error.to_string().starts_with(&expected), "{error}");
    assert!(error.to_string().contains("--on-conflict replace"), "{error}");
    assert_eq!(place.exported(&array)["t/c/1/0"], "a Job's");
    // Again it goes on where it was, and is what its caller has now seen to be next.
    let imported = import_at(&array, &plain, 2_002).unwrap();
    assert_eq!(imported.copied, 0);
    assert_eq!(place.exported(&array)["t/c/1/0"], "old 1 0");
    // Asked for, it replaces.
    write(&plain, "t/c/0/0", b"imported again");
    let by = watchbell_array::Run::default();
    let import = Import { by: &by, quota_bytes: None, message: "", now: at(3_001), on_move: OnMove::Replace };
    let made = import.directory(&moving(3_000, "another's"), &plain, &mut |_, _| {}).unwrap();
    assert_eq!(made.publication.unwrap().snapshot.change.changed, 2);
    assert_eq!(place.exported(&array)["t/c/1/0"], "old 1 0");
    // What leads to the same undoes nothing.
    write(&plain, "t/c/0/0", b"the same");
    for (key, content) in contents(&plain) {
        write(&meanwhile, &key, content.as_bytes());
    }
    let imported = import_at(&moving(4_000, "old 1 0"), &plain, 4_001).unwrap();
    assert!(imported.publication.is_none());
}

/// An import that was interrupted goes on later: what was published since is not undone by it, of an encrypted array neither.
#[test]
fn an_import_that_goes_on_undoes_nothing_that_was_published_since() {
    for is_encrypted in [false, true] {
        let place = Place::new();
        let source = key_file(&place, "key", 7);
        let sealed = is_encrypted.then(|| (source.kept(), source.key().unwrap()));
        let sealed = sealed.as_ref().map(|(kept, key)| (kept.clone(), key));
        let open = |disk| {
            let array = Array::open(&place.path("array"), disk).unwrap();
            array.unlock(&source.key().unwrap()).unwrap()
        };
        Array::create_of(&place.path("array"), Disk::default(), Kind::Zarr, sealed).unwrap();
        let (array, plain) = (open(Disk::default()), place.plain());
        // Also one that began when the array was empty.
        for (number, key) in [(1, "t/c/0/0"), (2, "t/c/1/0")] {
            let began_on = array.head().unwrap();
            let content = format!("import {number}");
            write(&plain, key, content.as_bytes());
            let stopping = Disk::watched(|step| match step {
                Step::Rename(_, to) if !to.to_string_lossy().contains("/drafts/") => Err(Error::Stopped),
                _ => Ok(()),
            });
            assert!(matches!(import_at(&open(stopping), &plain, number), Err(Error::Stopped)));
            let meanwhile = place.path(&format!("meanwhile-{number}"));
            for (key, content) in contents(&plain) {
                write(&meanwhile, &key, content.as_bytes());
            }
            write(&meanwhile, key, b"a Job's");
            import_at(&array, &meanwhile, number).unwrap();
            let error = import_at(&array, &plain, number).unwrap_err();
            let Error::Conflict(Conflict::Import { base, head }) = error else { panic!("{error}") };
            assert_eq!((base, Some(head)), (began_on, array.head().unwrap()));
            assert_eq!(place.exported(&array)[key], "a Job's");
            // Its caller has heard of that now.
            import_at(&array, &plain, number).unwrap();
            assert_eq!(place.exported(&array)[key], content);
        }
    }
}

/// An array of the first format has no packs; it gets them, and then no older program opens it.
#[test]
fn an_array_of_before_is_gone_on_with() {
    let place = Place::new();
    let array = watchbell_array::Array::create(&place.path("array"), Default::default()).unwrap();
    let format = array.dir().join("format");
    std::fs::write(&format, "watchbell-array 1\n").unwrap();
    std::fs::remove_dir(array.dir().join("objects/packs")).unwrap();
    std::fs::remove_dir(array.dir().join("unpacked")).unwrap();
    let array = watchbell_array::Array::open(array.dir(), Default::default()).unwrap();
    watchbell_array::sweep(&array, None).unwrap();
    import_at(&array, &place.plain(), 1).unwrap();
    assert_eq!(std::fs::read_to_string(&format).unwrap(), "watchbell-array 2\n");
    let array = watchbell_array::Array::open(array.dir(), Default::default()).unwrap();
    let manifest = array.snapshot(array.head().unwrap().unwrap()).unwrap().manifest;
    let view = array.view(manifest, &array.manifest(manifest).unwrap()).unwrap();
    assert_eq!(contents(&view), contents(&place.path("plain")));
}

fn staged(array: &Array) -> usize {
    let files = |dir: std::path::PathBuf| {
        std::fs::read_dir(dir).map_or(0, |entries| {
            entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file())).count()
        })
    };
    files(draft_dir(array).join("objects")) + files(draft_dir(array).join("objects/packs"))
}

/// A file of an upper that is as long as this, and holds nothing.
fn hole(upper: &std::path::Path, key: &str, length: u64) {
    write(upper, key, b"");
    std::fs::File::options().write(true).open(upper.join(key)).unwrap().set_len(length).unwrap();
}

#[test]
fn a_commit_is_given_up_while_it_is_copied_and_leaves_nothing() {
    let place = Place::new();
    let (limits, array) = (Limits::default(), place.array());
    array.set_quota(Some(24 << 20)).unwrap();
    let plan = by_time(&hierarchy_of(&array));
    let judge = |index| Judge { plan: &plan, index, max_chunk_bytes: u64::MAX };
    let within = array.clone().within(limits.clone());
    let draft = within.begin(&run("r1"), &BTreeMap::new()).unwrap();
    let large = vec![7; 2 << 20];
    let first = place.path("first");
    write(&first, "t/c/2/0", &large);
    draft.commit(&judge(1), &Attempt::default(), &first, Completeness::Optional).unwrap();
    assert_eq!(staged(&array), 1);
    // Before a billion zeros are on the disk, and with them what came before them.
    let upper = place.path("huge");
    write(&upper, "t/c/0/0", &vec![8; 3 << 20]);
    hole(&upper, "t/c/0/1", 1 << 30);
    let error = draft.commit(&judge(0), &Attempt::default(), &upper, Completeness::Optional).unwrap_err();
    assert!(matches!(error, Error::Quota { bytes, .. } if bytes < 64 << 20), "{error}");
    assert!(error.is_passing());
    assert_eq!(staged(&array), 1, "only what was committed");
    // What others have committed is still whole.
    let small = place.upper("small", &[("t/c/0/0", "fits")]);
    draft
        .commit(&judge(0), &Attempt { number: 1, ..Attempt::default() }, &small, Completeness::Optional)
        .unwrap();
    let kept = place.upper("kept", &[("t/c/4/0", "x")]);
    limits.is_stopped.store(true, std::sync::atomic::Ordering::Relaxed);
    let error = draft.commit(&judge(2), &Attempt::default(), &kept, Completeness::Optional).unwrap_err();
    assert!(matches!(error, Error::Stopped), "{error}");
    drop(draft);
    let full = Limits { reserve_bytes: u64::MAX, ..Limits::default() };
    let draft = array.clone().within(full).draft("r1").unwrap();
    let error = draft.commit(&judge(2), &Attempt::default(), &kept, Completeness::Optional).unwrap_err();
    assert!(matches!(error, Error::Full { .. }), "{error}");
    drop(draft);
    let draft = array.draft("r1").unwrap();
    assert_eq!(draft.progress().unwrap().committed, [0, 1].into());
    draft.publish(&[0, 1].into(), OnConflict::Fail, None, "", at(9)).unwrap();
    draft.remove().unwrap();
    assert_eq!(verify(&array).unwrap().damage, []);
}

#[test]
fn memory_that_an_index_never_had_is_not_written() {
    let (place, memory) = (Place::new(), Place::in_memory());
    let array = place.array();
    let plan = by_time(&hierarchy_of(&array));
    let draft = array.begin(&run("r1"), &BTreeMap::new()).unwrap();
    let upper = memory.path("upper");
    hole(&upper, "t/c/0/0", 1 << 30);
    let judge = Judge { plan: &plan, index: 0, max_chunk_bytes: u64::MAX };
    let error = draft.commit(&judge, &Attempt::default(), &upper, Completeness::Optional).unwrap_err();
    assert!(matches!(error, Error::Holes { bytes: 0x4000_0000, .. }), "{error}");
    assert_eq!(staged(&array), 0);
    // A chunk of zeros may be one.
    hole(&upper, "t/c/0/0", 1 << 20);
    draft.commit(&judge, &Attempt::default(), &upper, Completeness::Optional).unwrap();
}

#[test]
fn a_run_that_was_published_is_not_begun_again() {
    let place = Place::new();
    let array = place.array();
    let plan = by_time(&hierarchy_of(&array));
    let draft = array.begin(&run("r1"), &BTreeMap::new()).unwrap();
    for index in 0..4 {
        let upper = place.upper(&format!("u{index}"), &[(&format!("t/c/{}/0", 2 * index), "new")]);
        commit(&draft, &plan, index, &upper).unwrap();
    }
    array.set_quota(Some(1)).unwrap();
    let error = draft.publish(&all(4), OnConflict::Fail, Some(1), "", at(9)).unwrap_err();
    assert!(matches!(error, Error::Quota { quota: 1, .. }), "{error}");
    let made = draft.publish(&all(4), OnConflict::Fail, None, "", at(9)).unwrap();
    assert_eq!(draft.publish(&all(4), OnConflict::Fail, Some(1), "", at(99)).unwrap(), made);
    // Nor when the content of its snapshot is gone.
    write(&place.plain(), "t/c/0/0", b"other");
    import_at(&array, &place.path("plain"), 20_000).unwrap();
    sweep(&array, Some(&Retention { last: 1, ..Retention::default() })).unwrap();
    assert_eq!(draft.publish(&all(4), OnConflict::Fail, None, "", at(99)).unwrap(), made);
    draft.remove().unwrap();
    assert_eq!(array.published_by("r1").unwrap(), Some(made.clone()));
    let error = array.begin(&run("r1"), &BTreeMap::new()).err().unwrap();
    assert!(matches!(&error, Error::Published { snapshot, .. } if *snapshot == made.digest), "{error}");
    assert!(array.drafts().unwrap().is_empty());
}
