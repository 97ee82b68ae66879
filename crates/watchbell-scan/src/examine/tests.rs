use super::*;
use crate::testing::{Tar, image};

/// A key that is made here, so that no scanner of this repository takes it for one.
fn key() -> String {
    use base64::Engine as _;
    let mut bytes = vec![0x30, 0x82];
    bytes.extend((0..600u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8));
    let body = base64::engine::general_purpose::STANDARD.encode(bytes);
    format!("-----BEGIN {0}-----\n{body}\n-----END {0}-----\n", "PRIVATE KEY")
}

#[test]
fn a_secret_in_a_lower_layer_is_in_the_image() {
    let layers = vec![
        Tar::default().file("srv/key.pem", key()).file("srv/other", "nothing"),
        Tar::default().file("srv/.wh.key.pem", "").file("etc/key", key()),
    ];
    let mut test = image(layers);
    test.content.image.config = ImageConfig {
        env: vec![format!("KEY={}", key())],
        labels: [("note".to_owned(), "nothing".to_owned())].into(),
        ..ImageConfig::default()
    };
    let found = examine(&test.content, Some("1"), 2).unwrap();
    let places: Vec<&SecretPlace> = found.secrets.iter().map(|secret| &secret.place).collect();
    assert_eq!(
        places,
        [
            &SecretPlace::File { path: "srv/key.pem".into(), layer: 0, is_hidden: true },
            &SecretPlace::File { path: "etc/key".into(), layer: 1, is_hidden: false },
            &SecretPlace::Variable("KEY".into()),
        ]
    );
    assert!(found.secrets.iter().all(|secret| !secret.shown.contains("BEGIN")));
}

#[test]
fn binary_files_are_not_looked_through() {
    let mut binary = key().into_bytes();
    binary.insert(0, 0);
    let test = image(vec![Tar::default().file("a", binary)]);
    assert_eq!(examine(&test.content, None, 1).unwrap().secrets, []);
}

#[test]
fn a_directory_is_looked_at_as_an_image_is() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("root/.ssh")).unwrap();
    std::fs::write(dir.path().join("root/.ssh/id_rsa"), key()).unwrap();
    let found = examine_directory(dir.path()).unwrap();
    assert_eq!(found.secrets.len(), 1);
    assert_eq!(found.minimality.files, 1);
    assert!(
        found.configuration.iter().all(|finding| finding.rule.id != "root-user"),
        "it has no configuration"
    );
}

#[test]
fn texts_that_are_not_searched_are_counted() {
    let large = vec![b'x'; usize::try_from(SECRET_FILE_BYTES_MAX).unwrap() + 1];
    let utf16: Vec<u8> =
        [0xfeff].into_iter().chain(key().encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let mut binary = large.clone();
    binary[1] = 0;
    let layers = vec![
        Tar::default()
            .file("dump.sql", large)
            .file("key.txt", utf16)
            .file("program", binary)
            .file("small", key()),
        Tar::default().file(".wh.dump.sql", ""),
    ];
    let found = examine(&image(layers).content, None, 2).unwrap();
    assert_eq!((found.unsearched, found.secrets.len()), (2, 1));
}
