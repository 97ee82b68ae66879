//! Encrypted arrays by the command line alone: keys in files, keys that a command prints, and another key.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::{Place, walk};

/// In a chunk.
const MARKER: &str = "marker-of-a-chunk";
const WITH_COMMAND: &str = "WATCHBELL_ARRAY_KMS_COMMAND";

impl Place {
    pub(crate) fn key(&self, name: &str, digit: &str, mode: u32) {
        self.write(name, &digit.repeat(64));
        fs::set_permissions(self.0.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// With a marker in a chunk.
    pub(crate) fn marked() -> Self {
        let place = Self::new();
        place.write("plain/t/c/3", MARKER);
        place
    }

    /// The files of the data directory that hold the marker.
    pub(crate) fn in_the_clear(&self) -> Vec<String> {
        let has = |bytes: &[u8]| bytes.windows(MARKER.len()).any(|part| part == MARKER.as_bytes());
        let files = walk(&self.0.path().join("data"));
        let found = files.into_iter().filter(|path| has(&fs::read(path).unwrap()));
        found.map(|path| path.display().to_string()).collect()
    }

    /// What an export gives back of the marked chunk.
    fn exported(&self, name: &str, variables: &[(&str, &str)]) -> Option<String> {
        let done = self.array_with(variables, &format!("export {name} out --require-encrypted"));
        assert_eq!(done.code, Some(0), "{}", done.err);
        let content = self.read("out/t/c/3");
        fs::remove_dir_all(self.0.path().join("out")).unwrap();
        content
    }
}

#[test]
fn a_key_in_a_file_makes_all_of_an_array_secret() {
    let place = Place::marked();
    place.key("key", "7", 0o644);
    place.refused("create obs --encrypt-key-file key", 1, "with mode 0600");
    place.key("key", "7x", 0o600);
    place.refused("create obs --encrypt-key-file key", 1, "key");
    place.refused("create obs --encrypt-key-file none", 1, "none");
    assert_eq!(place.json("ls -A")["items"], serde_json::json!([]), "what has no key is not made");
    // One that is said to be encrypted is not made in the clear.
    place.refused("import obs plain --require-encrypted", 1, "it would be made in the clear");
    place.key("key", "7", 0o600);
    place.done("create obs --encrypt-key-file key");
    let first = place.done("import obs plain").trim().to_owned();
    assert_eq!(place.in_the_clear(), Vec::<String>::new());
    assert_eq!(place.exported("obs", &[]).as_deref(), Some(MARKER));
    // All of it works as on any.
    place.write("plain/t/c/5", "changed");
    place.done("import obs plain");
    assert_eq!(place.done(&format!("diff obs {first}")), "~ t/c/5\n");
    place.done(&format!("tag obs good {first}"));
    place.done("rollback obs good");
    assert!(place.json("blame obs t/c/3")["items"][0]["run"].as_str().unwrap().starts_with("import of /"));
    assert_eq!(place.json("plan obs --split perChunk")["completions"], 10);
    place.done("gc obs --keep-last 1");
    assert!(place.done("verify obs --require-encrypted").starts_with("verified 2 snapshots"));
    assert_eq!(place.in_the_clear(), Vec::<String>::new());
    // One in the clear is told apart, by each command that opens it.
    place.done("import clear plain");
    assert_eq!(place.in_the_clear().len(), 1);
    for line in ["show clear", "export clear out", "verify clear", "import clear plain", "log clear"] {
        let why =
            "it is in the clear, and was to be encrypted: who can write its directory may have put it there";
        place.refused(&format!("{line} --require-encrypted"), 1, why);
    }
    // Another of the same key has nothing in common with it, and does not lie in its place.
    place.done("create other --encrypt-key-file key");
    place.done("import other plain");
    let names = |array: &str| -> Vec<String> {
        let dir = place.0.path().join(format!("data/arrays/default/{array}/objects"));
        walk(&dir).iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    };
    let both = (names("obs"), names("other"));
    assert!(!both.0.is_empty() && both.0.iter().all(|name| !both.1.contains(name)), "{both:?}");
    let dir = place.0.path().join("data/arrays/default");
    fs::rename(dir.join("other"), dir.join("third")).unwrap();
    place.refused("show third", 1, "it is the encrypted array default/other");
}

#[test]
fn a_command_prints_the_key_and_hears_nothing_of_who_asks() {
    let place = Place::marked();
    place.key("key", "7", 0o600);
    place.write("print-key", "#!/bin/sh\nenv > seen\necho \"$@\" > words\ncat key\n");
    place.write("fails", "#!/bin/sh\ncat key\nexit 3\n");
    place.write("says-nothing", "#!/bin/sh\n");
    for program in ["print-key", "fails", "says-nothing"] {
        let mode = fs::Permissions::from_mode(0o700);
        fs::set_permissions(place.0.path().join(program), mode).unwrap();
    }
    place.refused("create obs --kms-command ./fails", 1, "the command ./fails: it failed: exit status: 3");
    place.refused("create obs --kms-command ./says-nothing", 1, "the command ./says-nothing: ");
    place.refused("create obs --kms-command ./none", 1, "the command ./none: it cannot be started");
    let secret = [("AWS_SECRET_ACCESS_KEY", "secret-of-another"), ("LANG", "C")];
    let done = place.array_with(&secret, "create obs --kms-command ./print-key");
    assert_eq!(done.code, Some(0), "{}", done.err);
    let seen = place.read("seen").unwrap();
    assert!(
        !seen.contains("secret-of-another") && seen.contains("LANG=C") && seen.contains("PATH="),
        "{seen}"
    );
    // The directory does not say what its reader runs.
    place.refused(
        "import obs plain",
        1,
        "name it in WATCHBELL_ARRAY_KMS_COMMAND, as `create --kms-command` was told",
    );
    let kept = walk(&place.0.path().join("data"))
        .iter()
        .any(|path| fs::read(path).unwrap().windows(9).any(|part| part == b"print-key"));
    assert!(!kept, "the command is kept");
    let with = [(WITH_COMMAND, "./print-key of $HOME `id`")];
    let done = place.array_with(&with, "import obs plain");
    assert_eq!(done.code, Some(0), "{}", done.err);
    // Without a shell.
    assert_eq!(place.read("words").as_deref(), Some("of $HOME `id`\n"));
    assert_eq!(place.exported("obs", &with).as_deref(), Some(MARKER));
    assert_eq!(place.in_the_clear(), Vec::<String>::new());
    place.key("key", "8", 0o600);
    let done = place.array_with(&with, "show obs");
    assert!(done.code == Some(1) && done.err.contains("the key is not the array's"), "{}", done.err);
}

#[test]
fn another_key_takes_the_place_of_the_first() {
    let place = Place::marked();
    place.key("key", "7", 0o600);
    place.key("new", "8", 0o600);
    place.key("third", "9", 0o600);
    place.done("create obs --encrypt-key-file key");
    let head = place.done("import obs plain").trim().to_owned();
    place.done("import clear plain");
    place.refused("rekey obs", 2, "name the new key: --encrypt-key-file FILE or --kms-command COMMAND");
    place.refused("rekey obs --encrypt-key-file new --kms-command ./new", 2, "cannot be used with");
    place.refused("rekey clear --encrypt-key-file new", 1, "it is in the clear: export it");
    place.refused("rekey obs --encrypt-key-file none", 1, "none");
    assert_eq!(place.exported("obs", &[]).as_deref(), Some(MARKER), "what is refused changes nothing");
    let before = fs::read(place.0.path().join("data/arrays/default/obs/encryption")).unwrap();
    place.done("rekey obs --encrypt-key-file new");
    // The old one is needed for nothing any more.
    fs::remove_file(place.0.path().join("key")).unwrap();
    assert_eq!(place.exported("obs", &[]).as_deref(), Some(MARKER));
    assert_eq!(place.json("ls")["items"][1]["snapshot"], head.as_str());
    place.write("plain/t/c/5", "changed");
    place.done("import obs plain");
    place.done("verify obs --require-encrypted");
    // It opens nothing in the new one's place, until the file from before is put back.
    place.key("new", "7", 0o600);
    place.refused("show obs", 1, "the key is not the array's");
    let encryption = place.0.path().join("data/arrays/default/obs/encryption");
    let after = fs::read(&encryption).unwrap();
    fs::write(&encryption, before).unwrap();
    place.key("key", "7", 0o600);
    assert_eq!(place.exported("obs", &[]).as_deref(), Some(MARKER));
    fs::write(&encryption, after).unwrap();
    place.key("new", "8", 0o600);
    // From a file to a command, and back.
    let with = [(WITH_COMMAND, "cat third")];
    place.write("print-third", "#!/bin/sh\ncat third\n");
    fs::set_permissions(place.0.path().join("print-third"), fs::Permissions::from_mode(0o700)).unwrap();
    place.done("rekey obs --kms-command ./print-third");
    place.refused("show obs", 1, "name it in WATCHBELL_ARRAY_KMS_COMMAND");
    assert_eq!(place.exported("obs", &with).as_deref(), Some(MARKER));
    let done = place.array_with(&with, "rekey obs --encrypt-key-file new");
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert_eq!(place.exported("obs", &[]).as_deref(), Some(MARKER));
    assert!(place.done("verify obs").starts_with("verified 2 snapshots"));
    assert!(!place.in_the_clear().iter().any(|path| path.contains("/obs/")), "{:?}", place.in_the_clear());
}

#[test]
fn an_older_head_is_the_newest_when_it_is_numbered_so() {
    let place = Place::marked();
    place.key("key", "7", 0o600);
    place.done("create obs --encrypt-key-file key");
    let first = place.done("import obs plain").trim().to_owned();
    let head = place.0.path().join("data/arrays/default/obs/refs/head");
    let older = fs::read_to_string(&head).unwrap();
    place.write("plain/t/c/5", "changed");
    place.done("import obs plain");
    fs::write(&head, &older).unwrap();
    // A command has seen none.
    assert_eq!(place.json("verify obs")["head"], first.as_str());
    let done = place.array("rollback obs head --number 7");
    assert!(
        done.code == Some(0) && done.err.contains("the head of array default/obs is number 8"),
        "{}",
        done.err
    );
    assert_eq!(place.json("verify obs")["head"], first.as_str());
    // Never a lower one than it has.
    let done = place.array("rollback obs head --number 2");
    assert!(done.err.contains("is number 9"), "{}", done.err);
    place.refused(
        &format!("rollback obs {first} --number 9"),
        2,
        "--number is for `head` of an encrypted array",
    );
    place.done("import clear plain");
    place.refused("rollback clear head --number 9", 2, "--number is for `head` of an encrypted array");
    place.done("import obs plain");
    // A number that somebody else wrote is none.
    let text = fs::read_to_string(&head).unwrap();
    let number = text.split(' ').nth(1).unwrap();
    fs::write(&head, text.replace(&format!(" {number} "), " 99 ")).unwrap();
    place.refused("show obs", 1, "refs/head was not written by who has the array's key");
}
