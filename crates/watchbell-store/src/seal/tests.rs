use super::*;

fn sealer(dir: &Path) -> Sealer {
    let path = dir.join(SECRETS_KEY);
    create_key(&path).unwrap();
    Sealer::open(&path).unwrap()
}

#[test]
fn names_of_other_lengths_are_other_rows() {
    let dir = tempfile::tempdir().unwrap();
    let sealer = sealer(dir.path());
    let key = RowKey::object("secrets", "ab", "c");
    let sealed = sealer.seal(&key, Part::Head, b"text").unwrap();
    assert_eq!(sealer.unseal(&key, Part::Head, &sealed).unwrap(), b"text");
    for (key, part) in [
        (RowKey::object("secrets", "a", "bc"), Part::Head),
        (RowKey::object("secretsab", "", "c"), Part::Head),
        (key, Part::Status),
    ] {
        assert!(matches!(sealer.unseal(&key, part, &sealed), Err(Error::Unseal { .. })), "{key}");
    }
}

#[test]
fn any_changed_byte_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let sealer = sealer(dir.path());
    let key = RowKey::object("secrets", "n", "s");
    let sealed = sealer.seal(&key, Part::Head, b"text").unwrap();
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert!(sealer.unseal(&key, Part::Head, &changed).is_err(), "byte {at}");
        assert!(sealer.unseal(&key, Part::Head, &sealed[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn one_text_is_sealed_in_two_ways() {
    let dir = tempfile::tempdir().unwrap();
    let sealer = sealer(dir.path());
    let key = RowKey::object("secrets", "n", "s");
    let seal = || sealer.seal(&key, Part::Head, b"text").unwrap();
    assert_ne!(seal(), seal());
}

#[test]
fn a_key_is_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(SECRETS_KEY);
    create_key(&path).unwrap();
    let before = std::fs::read(&path).unwrap();
    assert!(create_key(&path).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        2,
        "the draft of the second stays, nothing else"
    );
    assert!(key_in(dir.path()).is_some());
}
