//! Heads that are signed by hand: `keygen`, `--sign-key-file` and `verify --key`.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use crate::Place;

/// What `verify` finds wrong with the head alone.
fn is_damaged(place: &Place, line: &str, problem: &str) {
    let done = place.array(line);
    assert_eq!(done.code, Some(1), "{line}: {}", done.out);
    assert!(done.out.starts_with(&format!("DAMAGED refs/head: {problem}")), "{line}: {}", done.out);
    assert!(done.err.contains("damaged: 1 findings"), "{line}: {}", done.err);
}

#[test]
fn a_head_is_signed_and_verified_by_hand() {
    let place = Place::new();
    let public = place.keygen("sign.key");
    let other = place.keygen("other.key --name other");
    assert!(public.starts_with("watchbell-array+") && other.starts_with("other+"), "{public} {other}");
    let key = place.0.path().join("sign.key");
    assert_eq!(fs::metadata(&key).unwrap().mode() & 0o7777, 0o600);
    // One that is there is not lost to another.
    let seed = fs::read(&key).unwrap();
    assert_eq!(place.bare("keygen sign.key").code, Some(1));
    assert_eq!(fs::read(&key).unwrap(), seed);
    place.done("create obs");
    is_damaged(&place, &format!("verify obs --key {public}"), "there is no head yet");

    let first = place.done("import obs plain --sign-key-file sign.key").trim().to_owned();
    let verified = place.done(&format!("verify obs --key {public}"));
    let line = verified.lines().nth(1).unwrap();
    assert!(line.starts_with(&format!("head {first}, signed at 2")), "{verified}");
    let told = place.json(&format!("verify obs --key {public}"));
    assert_eq!((&told["verified"], &told["head"]), (&true.into(), &first.as_str().into()));
    assert!(told["signedAt"].is_string(), "{told}");
    // The key may stand in a file.
    place.write("public", &public);
    place.done("verify obs --key public");
    is_damaged(&place, &format!("verify obs --key {other}"), "it is not signed by other");
    // The name belongs to the key.
    place.write("plain/t/c/1", "named");
    let named = place.done("import obs plain --sign-key-file other.key --sign-key-name other");
    place.done(&format!("verify obs --key {other}"));
    is_damaged(&place, &format!("verify obs --key {public}"), "it is not signed by watchbell-array");
    place.refused("import obs plain --sign-key-name other", 2, "--sign-key-file");

    // What nobody signed is not taken for signed, also by who signs what comes after it.
    place.write("plain/t/c/1", "unsigned");
    let unsigned = place.done("import obs plain").trim().to_owned();
    is_damaged(&place, &format!("verify obs --key {public}"), "it is not signed");
    place.done(&format!("rollback obs {first} --sign-key-file sign.key"));
    place.done(&format!("verify obs --key {public}"));
    for (to, whole) in [(&unsigned[..12], unsigned.as_str()), (&named.trim()[..12], named.trim())] {
        let line = format!("rollback obs {to} --sign-key-file sign.key");
        place.refused(&line, 1, "name its whole digest and say --unsigned-ok");
        place.refused(&format!("{line} --unsigned-ok"), 1, "name its whole digest and say --unsigned-ok");
        place.done(&format!("rollback obs {whole} --sign-key-file sign.key --unsigned-ok"));
        place.done(&format!("verify obs --key {public}"));
    }
    place.refused(&format!("rollback obs {first} --unsigned-ok"), 2, "--sign-key-file");

    // A key that others may read signs nothing.
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let head = place.json("verify obs")["head"].clone();
    for line in ["import obs plain", "rollback obs head"] {
        let why = "it must be a file of the user that reads it, with mode 0600";
        place.refused(&format!("{line} --sign-key-file sign.key"), 2, why);
    }
    assert_eq!(place.json("verify obs")["head"], head);
}

/// A signature says of which array it is, and is not carried to another.
#[test]
fn a_signature_is_of_one_array() {
    let place = Place::new();
    let public = place.keygen("sign.key");
    place.write("key", &"7".repeat(64));
    fs::set_permissions(place.0.path().join("key"), fs::Permissions::from_mode(0o600)).unwrap();
    place.done("create obs --encrypt-key-file key");
    let secret = place.done("import obs plain --sign-key-file sign.key").trim().to_owned();
    place.done(&format!("verify obs --key {public} --require-encrypted"));
    let first = place.done("import a plain --sign-key-file sign.key").trim().to_owned();
    place.write("plain/t/c/1", "other");
    let second = place.done("import b plain").trim().to_owned();
    let of = |array: &str, snapshot: &str| {
        place.0.path().join(format!("data/arrays/default/{array}/refs/signatures/{snapshot}"))
    };
    fs::create_dir_all(of("b", &second).parent().unwrap()).unwrap();
    for note in [of("a", &first), of("obs", &secret)] {
        fs::copy(note, of("b", &second)).unwrap();
        is_damaged(
            &place,
            &format!("verify b --key {public}"),
            "the signature is of another array or snapshot",
        );
    }
}
