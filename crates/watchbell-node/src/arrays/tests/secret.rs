//! Encrypted arrays: what their keys open, and where what was decrypted lies.

use watchbell_api::array::ArrayEncryption;

use super::*;

impl Stand {
    /// As its object asks for it: the facts, or what is wrong.
    fn keep(&self, name: &str, key: Option<&str>, head_number: u64) -> Result<Arc<ArrayFacts>, String> {
        self.ask_to_keep(name, key, head_number);
        self.kept()
    }

    fn ask_to_keep(&self, name: &str, key: Option<&str>, head_number: u64) {
        let spec = DataArraySpec { key: key.map(Arc::from), ..DataArraySpec::default() };
        let (namespace, name, spec) = ("ns".into(), name.into(), Arc::new(spec));
        self.arrays.ask(Work::Keep { namespace, name, spec, head_number, make: true });
    }

    fn kept(&self) -> Result<Arc<ArrayFacts>, String> {
        match self.told() {
            (_, Some(error)) => Err(error),
            (facts, None) => Ok(facts.unwrap()),
        }
    }

    /// With six chunks, under the key `own`.
    fn secret(&self) -> Array {
        let facts = self.keep("secret", Some("own"), 0).unwrap();
        let encryption = ArrayEncryption { key: Some("own".into()), head_number: 0, is_locked: false };
        assert_eq!((facts.encryption.clone(), facts.head.clone()), (Some(encryption), None));
        let key = KeySource::File(self.dir.path().join("own.key")).key().unwrap();
        let array = self.array("secret").unlock(&key).unwrap();
        self.import("secret-plain", 6);
        let by = Run { name: "import".to_owned(), ..Run::default() };
        let plain = self.dir.path().join("plain-secret-plain");
        import(&array, &plain, &by, None, "", jiff::Timestamp::UNIX_EPOCH, &mut |_, _| {}).unwrap();
        array
    }

    fn seen(&self, prepared: &Prepared) -> PathBuf {
        let View::Memory(view) = &prepared.arrays[0].view else { panic!("{prepared:?}") };
        self.memories.lock().unwrap()[&view.id].clone()
    }
}

#[test]
fn an_encrypted_array_is_written_and_read_through_memory() {
    let stand = Stand::new();
    let array = stand.secret();
    stand.teller.tell("ns", "secret", None);
    let facts = stand.told().0.unwrap();
    // Documents are for plans, and stay in memory; the object has nothing of them.
    assert_eq!((&*facts.format, facts.keys, facts.nodes.len()), ("zarr v3", 8, 0));
    assert_eq!(facts.encryption.as_ref().unwrap().head_number, 1);
    assert!(facts.documents.is_some());
    let (writes, run) = (WRITE.replace("obs", "secret"), writer(1, 2));
    let prepared = stand.prepare(&run, &writes).unwrap();
    let view = stand.seen(&prepared);
    assert_eq!(fs::read_to_string(view.join("t/c/3")).unwrap(), "old 3");
    assert!(!array.dir().join("views").read_dir().unwrap().any(|_| true));
    for index in 0..2 {
        let key = format!("t/c/{}", 4 * index);
        stand.commit(&run, &writes, index, &[(0, &key, "new new new")]).unwrap();
    }
    // An index that sees its own chunks alone, and who looks at the draft.
    let own = writes.replace("\"mode\"", "\"readScope\": \"own\", \"mode\"");
    let alone = stand.prepare_own(&run, &own, Some((Uid(9), 1))).unwrap();
    let path = stand.seen(&alone);
    assert!(path.join("t/c/5").exists() && !path.join("t/c/0").exists() && path.join("t/zarr.json").exists());
    drop(alone);
    assert!(!path.exists(), "it goes with who had it");
    let looks = Arc::new(ArrayRun { run: Uid(50), job: Uid(50), draft_of: Some(run.run), ..(*run).clone() });
    let reads = r#"{"name": "secret", "mount": "/data"}"#;
    let preview = stand.prepare(&looks, reads).unwrap();
    assert_eq!(fs::read_to_string(stand.seen(&preview).join("t/c/4")).unwrap(), "new new new");
    stand.publish(&run, &writes).unwrap();
    let later = Arc::new(ArrayRun { run: Uid(51), job: Uid(51), ..(*run).clone() });
    let after = stand.prepare(&later, reads).unwrap();
    assert_eq!(fs::read_to_string(stand.seen(&after).join("t/c/0")).unwrap(), "new new new");
    assert_eq!(fs::read_to_string(view.join("t/c/0")).unwrap(), "old 0");
    // With the last who has it, it goes, and there is room again.
    assert!(view.exists());
    drop((prepared, preview, after));
    assert!(!view.exists());
    assert_eq!(array.head_number().unwrap(), 2);
    nothing_is_in_the_clear(array.dir(), &["old 3", "new new new", "zarr_format"]);
}

/// In files below a directory.
fn nothing_is_in_the_clear(dir: &Path, texts: &[&str]) {
    let mut pending = vec![dir.to_owned()];
    while let Some(at) = pending.pop() {
        for path in fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                pending.push(path);
                continue;
            }
            let bytes = fs::read(&path).unwrap();
            for text in texts {
                let is_there = bytes.windows(text.len()).any(|part| part == text.as_bytes());
                assert!(!is_there, "{text:?} is in {}", path.display());
            }
        }
    }
}

#[test]
fn an_encrypted_array_is_had_by_its_key_alone() {
    let stand = Stand::new();
    let array = stand.secret();
    let writes = WRITE.replace("obs", "secret");
    let refused = |job: u128, uses: &str| match stand
        .prepare(&writer(job, if job == 32 { 32 } else { 2 }), uses)
        .unwrap_err()
    {
        Trouble::Lasting(why) => why,
        Trouble::Passing(why) | Trouble::Busy { why, .. } => format!("passing: {why}"),
    };
    let on_disk = writes.replace("\"mode\"", "\"upper\": \"disk\", \"mode\"");
    assert!(refused(1, &on_disk).contains("would write what its tasks write to the disk in the clear"));
    // Another key, one that is not there, one of another namespace, none.
    let error = stand.keep("secret", Some("all"), 0).unwrap_err();
    assert_eq!(error, "it was encrypted under another key than the one that the server knows as \"all\"");
    assert!(refused(2, &writes).ends_with(&error));
    let error = stand.keep("secret", Some("gone"), 0).unwrap_err();
    assert_eq!(error, "there is no key to be had: the server cannot have the key \"gone\"; its log says why");
    assert!(refused(3, &writes).starts_with("passing: "));
    for name in ["foreign", "unknown"] {
        let error = stand.keep("secret", Some(name), 0).unwrap_err();
        assert!(error.contains(&format!("the server has no key {name:?} for namespace \"ns\"")), "{error}");
    }
    let facts = stand.keep("secret", None, 0).unwrap();
    assert!(facts.documents.is_none() && &*facts.format == "encrypted" && facts.nodes.is_empty());
    assert!(facts.encryption.as_ref().unwrap().is_locked);
    assert!(refused(4, &writes).contains("set spec.encryption.key"));
    // A store in the clear is not one under a key, whoever put it there.
    let error = stand.keep("obs", Some("own"), 0).unwrap_err();
    assert!(
        error.starts_with("it is in the clear, and was to be encrypted under the key \"own\""),
        "{error}"
    );
    assert!(refused(5, WRITE).contains("it is in the clear"));
    // An older head, by what was seen before this server.
    let error = stand.keep("secret", Some("own"), 3).unwrap_err();
    assert!(error.contains("its head is number 1, and number 3 was seen"), "{error}");
    assert!(refused(6, &writes).contains("somebody put an older one back"));
    array.renumber(3).unwrap();
    stand.keep("secret", Some("own"), 3).unwrap();
    // A forged one.
    let head = array.dir().join("refs/head");
    let text = fs::read_to_string(&head).unwrap();
    fs::write(&head, text.replace(" 4 ", " 5 ")).unwrap();
    assert!(refused(7, &writes).contains("refs/head was not written by who has the array's key"));
    fs::write(&head, text).unwrap();
    // More than there is room for at once, and at all.
    let held: Vec<_> = (0..3).map(|n| stand.prepare(&writer(20 + n, 2), &writes).unwrap()).collect();
    assert!(refused(30, &writes).contains("for all such arrays are taken"));
    drop(held);
    stand.prepare(&writer(31, 2), &writes).unwrap();
    let plain = stand.dir.path().join("plain-secret-plain");
    fs::write(plain.join("t/c/0"), "x".repeat(120 << 10)).unwrap();
    import(&array, &plain, &Run::default(), None, "", jiff::Timestamp::UNIX_EPOCH, &mut |_, _| {}).unwrap();
    assert!(
        refused(32, r#"{"name": "secret", "mount": "/data"}"#).contains("`serve --array-memory` gives more")
    );
}

/// The end of a store takes long: its object may be gone and made again before it is over.
#[test]
fn a_store_that_is_made_again_is_as_its_object_says() {
    let stand = Stand::new();
    let remove = || {
        let (namespace, name, runs) = ("ns".into(), "again".into(), Arc::default());
        stand.arrays.ask(Work::Remove { namespace, name, runs });
    };
    stand.hold();
    stand.ask_to_keep("again", Some("own"), 7);
    remove();
    stand.ask_to_keep("again", Some("own"), 0);
    stand.meeting.wait();
    let key_of = |facts: &Arc<ArrayFacts>| facts.encryption.as_ref().and_then(|of| of.key.clone());
    assert_eq!(key_of(&stand.kept().unwrap()).as_deref(), Some("own"));
    assert_eq!(stand.told(), (None, None));
    assert_eq!(key_of(&stand.kept().unwrap()).as_deref(), Some("own"));
    // Each word makes what it says itself, and not what a later one does.
    stand.hold();
    remove();
    stand.ask_to_keep("again", Some("own"), 0);
    remove();
    stand.ask_to_keep("again", None, 0);
    stand.meeting.wait();
    assert_eq!(stand.told(), (None, None));
    assert_eq!(key_of(&stand.kept().unwrap()).as_deref(), Some("own"));
    assert_eq!(stand.told(), (None, None));
    assert_eq!(key_of(&stand.kept().unwrap()), None);
    assert!(!stand.array("again").is_encrypted());
    // What lies in the clear is refused to a word that asks for a key, also when a later one does not.
    stand.hold();
    stand.ask_to_keep("obs", Some("own"), 0);
    stand.ask_to_keep("obs", None, 0);
    stand.meeting.wait();
    let error = stand.kept().unwrap_err();
    assert!(error.starts_with("it is in the clear, and was to be encrypted"), "{error}");
    stand.kept().unwrap();
}
