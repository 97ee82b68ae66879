use std::os::unix::fs::PermissionsExt;

use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

use super::*;

fn listen() -> SocketAddr {
    "127.0.0.1:6443".parse().unwrap()
}

fn read(dir: &TempDir, name: &str) -> String {
    std::fs::read_to_string(dir.path().join(name)).unwrap()
}

fn mode(dir: &TempDir, name: &str) -> u32 {
    std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o7777
}

#[test]
fn files_are_private_and_stay_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let first = Identity::open(dir.path(), listen(), "host").unwrap();
    first.write_admin(listen(), Timestamp::now()).unwrap();
    assert_eq!(mode(&dir, "pki"), 0o700);
    let names = [
        "pki/ca.key",
        "pki/ca.crt",
        "pki/server.key",
        "pki/server.crt",
        "pki/admin.key",
        "pki/admin.crt",
        "pki/service-account-keys.json",
        "admin.kubeconfig",
    ];
    for name in names {
        assert_eq!(mode(&dir, name), 0o600, "{name}");
    }
    let before = names.map(|name| read(&dir, name));
    let second = Identity::open(dir.path(), listen(), "host").unwrap();
    second.write_admin(listen(), Timestamp::now()).unwrap();
    assert_eq!(before, names.map(|name| read(&dir, name)));
    assert_eq!(first.ca_pem(), second.ca_pem());
    // Opened to others, it is closed again.
    let config = dir.path().join("admin.kubeconfig");
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o644)).unwrap();
    second.write_admin(listen(), Timestamp::now()).unwrap();
    assert_eq!(mode(&dir, "admin.kubeconfig"), 0o600);
    let left: Vec<_> =
        std::fs::read_dir(dir.path().join("pki")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 8, "{left:?}");
}

#[test]
fn each_change_of_a_key_shows_in_those_that_are_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let identity = Identity::open(dir.path(), listen(), "host").unwrap();
    identity.write_admin(listen(), Timestamp::now()).unwrap();
    let first = identity.keys_in_use().unwrap();
    let text = first.to_string();
    assert_eq!(first["authority"]["sha256"].as_str().unwrap().len(), 64);
    assert!(!["PRIVATE", "pkcs8", "BEGIN"].iter().any(|word| text.contains(word)), "{text}");
    // Another start changes nothing.
    let again = Identity::open(dir.path(), listen(), "host").unwrap();
    assert_eq!(again.keys_in_use().unwrap(), first);
    again.tokens().rotate(crate::Rotation::Retire, Timestamp::now()).unwrap();
    let rotated = again.keys_in_use().unwrap();
    let tokens = |keys: &Value| keys["serviceAccountTokens"].clone();
    assert_eq!(tokens(&rotated)["retired"], json!([tokens(&first)["signing"]]));
    again.replace_admin(listen(), Timestamp::now()).unwrap();
    let replaced = again.keys_in_use().unwrap();
    assert_ne!(replaced["admin"], first["admin"]);
    assert_eq!((&replaced["authority"], &replaced["server"]), (&first["authority"], &first["server"]));
}

#[test]
fn other_names_make_another_server_certificate() {
    let dir = tempfile::tempdir().unwrap();
    Identity::open(dir.path(), listen(), "host").unwrap();
    let (ca, server) = (read(&dir, "pki/ca.crt"), read(&dir, "pki/server.crt"));
    Identity::open(dir.path(), listen(), "other").unwrap();
    assert_eq!(read(&dir, "pki/ca.crt"), ca);
    assert_ne!(read(&dir, "pki/server.crt"), server);
}

#[test]
fn certificates_are_renewed_before_they_end() {
    let dir = tempfile::tempdir().unwrap();
    let identity = Identity::open(dir.path(), listen(), "host").unwrap();
    let now = Timestamp::now();
    identity.write_admin(listen(), now).unwrap();
    let files = ["pki/server.crt", "pki/admin.crt", "admin.kubeconfig"];
    let at = |days: i64| now + SignedDuration::from_hours(24 * days);
    let before = files.map(|name| read(&dir, name));
    identity.renew(listen(), at(200)).unwrap();
    assert_eq!(before, files.map(|name| read(&dir, name)));
    identity.renew(listen(), at(300)).unwrap();
    for (name, old) in files.iter().zip(before) {
        assert_ne!(read(&dir, name), old, "{name}");
    }
}

#[test]
fn a_foreign_or_broken_authority_is_not_used() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    Identity::open(dir.path(), listen(), "host").unwrap();
    Identity::open(other.path(), listen(), "host").unwrap();
    std::fs::copy(other.path().join("pki/ca.crt"), dir.path().join("pki/ca.crt")).unwrap();
    let error = Identity::open(dir.path(), listen(), "host").unwrap_err().to_string();
    assert!(error.contains("does not belong to the key beside it"), "{error}");
    std::fs::write(dir.path().join("pki/ca.key"), "nonsense").unwrap();
    let error = Identity::open(dir.path(), listen(), "host").unwrap_err().to_string();
    assert!(error.contains("ca.key") && error.contains("move"), "{error}");
}

#[test]
fn names_are_what_clients_use() {
    let check = |listen: &str, hostname: &str, has: &[&str], has_not: &[&str]| {
        let names = certificate::names(listen.parse().unwrap(), hostname);
        for name in has {
            assert!(names.iter().any(|n| n == name), "{names:?} lacks {name}");
        }
        for name in has_not {
            assert!(!names.iter().any(|n| n == name), "{names:?} has {name}");
        }
    };
    check("127.0.0.1", "Box.example", &["127.0.0.1", "::1", "localhost", "box.example"], &["0.0.0.0"]);
    check("0.0.0.0", "", &["localhost"], &["0.0.0.0", ""]);
    check("192.0.2.7", "bad host\n", &["192.0.2.7"], &["bad host\n"]);
    check("::", "localhost", &["localhost"], &["::"]);
}

#[test]
fn the_kubeconfig_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    let identity = Identity::open(dir.path(), listen(), "host").unwrap();
    for (address, expect) in [
        ("127.0.0.1:6443", "https://127.0.0.1:6443"),
        ("0.0.0.0:1", "https://127.0.0.1:1"),
        ("[::]:2", "https://[::1]:2"),
    ] {
        let path = identity.write_admin(address.parse().unwrap(), Timestamp::now()).unwrap();
        let documents = watchbell_api::decode::yaml(&std::fs::read(path).unwrap()).unwrap();
        let config = &documents[0];
        assert_eq!(config["clusters"][0]["cluster"]["server"], expect);
        assert_eq!(config["current-context"], config["contexts"][0]["name"]);
        assert_eq!(config["users"][0]["name"], config["contexts"][0]["context"]["user"]);
    }
}

fn request(pair: &KeyPair) -> String {
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, "somebody else");
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "system:masters");
    params.serialize_request(pair).unwrap().pem().unwrap()
}

#[test]
fn a_users_certificate_says_what_the_server_says() {
    let dir = tempfile::tempdir().unwrap();
    let identity = Identity::open(dir.path(), listen(), "host").unwrap();
    let groups = ["ml".to_owned(), "ops é".to_owned(), "third".to_owned()];
    let subject = Subject { user: "ada@example.com", groups: &groups, seconds: 3600 };
    for pair in [KeyPair::generate().unwrap(), KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap()] {
        let now = Timestamp::now();
        let signed = identity.sign_user(request(&pair).as_bytes(), subject, [0xFF; 16], now).unwrap();
        let chain = [parse_one(Path::new("x"), signed.pem.as_bytes()).unwrap()];
        let found = identity.clients().identify(&chain).unwrap();
        assert_eq!(found.user.name, "ada@example.com");
        assert_eq!(found.user.groups, ["ml", "ops é", "third", "system:authenticated"]);
        assert_eq!(found.serial_number, signed.serial_number);
        assert_eq!(found.serial_number, format!("7f{}", "ff".repeat(15)));
        assert_eq!((found.not_after, signed.not_after), (now.as_second() + 3600, now.as_second() + 3600));
    }
}

#[test]
fn what_no_client_holds_is_not_signed() {
    let dir = tempfile::tempdir().unwrap();
    let identity = Identity::open(dir.path(), listen(), "host").unwrap();
    let subject = Subject { user: "ada", groups: &[], seconds: 3600 };
    let good = request(&KeyPair::generate().unwrap());
    let check = |pem: &str, expect: SignError| {
        let got = identity.sign_user(pem.as_bytes(), subject, [1; 16], Timestamp::now());
        assert_eq!(got.unwrap_err(), expect, "{pem}");
    };
    check("", SignError::Form);
    check(identity.ca_pem(), SignError::Form);
    // Another's key under this signature: a byte of the key is changed.
    let der = rustls::pki_types::CertificateSigningRequestDer::from_pem_slice(good.as_bytes()).unwrap();
    use base64::Engine as _;
    let of = |der: &[u8]| {
        let text = base64::prelude::BASE64_STANDARD.encode(der);
        format!("-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n")
    };
    let last = der.len() - 1;
    let mut changed = der.to_vec();
    changed[last] ^= 1;
    check(&of(&changed), SignError::Proof);
    check(&of(&[&der[..], &[0]].concat()), SignError::Form);
    for cut in 0..der.len() {
        assert!(identity.sign_user(of(&der[..cut]).as_bytes(), subject, [1; 16], Timestamp::now()).is_err());
    }
}

#[test]
fn the_admin_gets_another_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let identity = Identity::open(dir.path(), listen(), "host").unwrap();
    assert_eq!(identity.admin_serial_number(), None, "there is none before the first start");
    identity.write_admin(listen(), Timestamp::now()).unwrap();
    let first = identity.admin_serial_number().unwrap();
    let config = read(&dir, "admin.kubeconfig");
    identity.replace_admin(listen(), Timestamp::now()).unwrap();
    assert_ne!(identity.admin_serial_number().unwrap(), first);
    assert_ne!(read(&dir, "admin.kubeconfig"), config);
}
