use super::*;

/// Digits of base 62 that follow no pattern, from a number.
fn random(seed: u64, count: usize, alphabet: &[u8]) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut digit = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(alphabet[usize::try_from(state >> 33).unwrap() % alphabet.len()])
    };
    (0..count).map(|_| digit()).collect()
}

const ALNUM: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const HEX: &[u8] = b"0123456789abcdef";
const BASE32: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const BECH32: &[u8] = b"QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L";

fn base62(mut value: u32) -> String {
    let mut digits = Vec::new();
    for _ in 0..6 {
        digits.push(char::from(ALNUM[(value % 62) as usize]));
        value /= 62;
    }
    digits.iter().rev().collect()
}

/// A token with the checksum of GitHub and npm, made here so that no scanner of this repository takes it for one.
fn checked(prefix: &str, seed: u64) -> String {
    let body = random(seed, 30, ALNUM);
    let check = base62(crc32fast::hash(body.as_bytes()));
    format!("{prefix}{body}{check}")
}

fn pem(label: &str, body: &str) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in body.as_bytes().chunks(64) {
        text.push_str(std::str::from_utf8(line).unwrap());
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

/// Base 64 of bytes that begin like a sequence of ASN.1 and go on at random.
fn der(seed: u64) -> String {
    use base64::Engine as _;
    let mut bytes = vec![0x30, 0x82, 0x04, 0xa2];
    bytes.extend(random(seed, 600, ALNUM).bytes());
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn openssh(cipher: &str) -> String {
    use base64::Engine as _;
    let mut bytes = b"openssh-key-v1\0".to_vec();
    bytes.extend(u32::try_from(cipher.len()).unwrap().to_be_bytes());
    bytes.extend(cipher.bytes());
    bytes.extend(random(9, 200, ALNUM).bytes());
    pem("OPENSSH PRIVATE KEY", &base64::engine::general_purpose::STANDARD.encode(bytes))
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn watchbell_token() -> String {
    use sha2::{Digest as _, Sha256};
    let body = format!("wbt_ada-x7k2p_{}", random(3, 43, ALNUM));
    let hash = Sha256::digest(&body);
    let check = base62(u32::from_be_bytes(hash[..4].try_into().unwrap()));
    format!("{body}{check}")
}

/// What holds a secret: (rule, path, content).
fn positives() -> Vec<(&'static str, &'static str, String)> {
    let key = pem("PRIVATE KEY", &der(1));
    vec![
        ("private-key", "etc/ssl/private/a.key", key.clone()),
        ("private-key", "a", pem("RSA PRIVATE KEY", &der(2))),
        ("private-key", "a", pem("EC PRIVATE KEY", &der(3))),
        ("private-key", "a", pem("ENCRYPTED PRIVATE KEY", &der(4))),
        ("private-key", "root/.ssh/id_ed25519", openssh("none")),
        ("private-key", "a", openssh("aes256-ctr")),
        ("private-key", "a", format!("KEY = \"{}\"", key.replace('\n', "\\n"))),
        ("private-key", "a", pem("PGP PRIVATE KEY BLOCK", &format!("{}\n", der(5)))),
        (
            "gcp-service-account",
            "srv/key.json",
            format!(
                r#"{{"type": "service_account", "private_key": "{}", "client_email": "a@b"}}"#,
                key.replace('\n', "\\n")
            ),
        ),
        ("aws-access-key-id", "a", format!("aws_access_key_id = AKIA{}", random(4, 16, BASE32))),
        (
            "aws-secret-access-key",
            "root/.aws/credentials",
            format!("aws_secret_access_key = {}", random(5, 40, ALNUM)),
        ),
        ("aws-secret-access-key", "a", format!("\"SecretAccessKey\": \"{}\"", random(6, 40, ALNUM))),
        ("github-token", "a", checked("ghp_", 1)),
        ("github-token", "a", format!("url = https://x:{}@github.com", checked("ghs_", 2))),
        (
            "github-fine-grained-token",
            "a",
            format!("github_pat_{}_{}", random(7, 22, ALNUM), random(8, 59, ALNUM)),
        ),
        ("gitlab-token", "a", format!("glpat-{}", random(9, 20, ALNUM))),
        ("npm-token", ".npmrc", format!("//registry.example/:_authToken={}", checked("npm_", 3))),
        ("npm-registry-login", ".npmrc", format!("//registry.example/:_authToken={}", random(10, 36, HEX))),
        ("python-index-token", "a", format!("pypi-AgEIcHlwaS5vcmc{}", random(11, 120, ALNUM))),
        ("huggingface-token", "a", format!("token: hf_{}", random(12, 34, LETTERS))),
        ("openai-key", "a", format!("sk-{}T3BlbkFJ{}", random(13, 20, ALNUM), random(14, 20, ALNUM))),
        ("openai-key", "a", format!("sk-proj-{}T3BlbkFJ{}", random(13, 74, ALNUM), random(14, 74, ALNUM))),
        ("anthropic-key", "a", format!("sk-ant-api03-{}AA", random(15, 93, ALNUM))),
        ("slack-token", "a", format!("xoxb-123450987612-345609871243-{}", random(16, 24, ALNUM))),
        (
            "slack-app-token",
            "a",
            format!("xapp-1-A{}-1234567890123-{}", random(17, 10, ALNUM), random(18, 64, HEX)),
        ),
        (
            "slack-webhook",
            "a",
            format!("https://hooks.slack.com/services/T0ABCDEFG/B0ABCDEFGHI/{}", random(19, 24, ALNUM)),
        ),
        ("google-api-key", "a", format!("AIza{}", random(20, 35, ALNUM))),
        ("stripe-key", "a", format!("sk_live_{}", random(21, 24, ALNUM))),
        ("sendgrid-key", "a", format!("SG.{}.{}", random(22, 22, ALNUM), random(23, 43, ALNUM))),
        ("databricks-token", "a", format!("dapi{}", random(24, 32, HEX))),
        ("digitalocean-token", "a", format!("dop_v1_{}", random(25, 64, HEX))),
        ("azure-storage-key", "a", format!("AccountKey={};", base64(&random(26, 64, ALNUM)))),
        ("vault-token", "a", format!("hvs.{}", random(27, 95, ALNUM))),
        ("age-secret-key", "a", format!("AGE-SECRET-KEY-1{}", random(28, 58, BECH32))),
        ("watchbell-token", "a", watchbell_token()),
        ("kubeconfig-key", "root/.kube/config", format!("    client-key-data: {}", base64(&key))),
        (
            "password-in-url",
            "a",
            format!("DATABASE_URL=postgres://app:{}@db.internal:5432/x", random(29, 14, ALNUM)),
        ),
        (
            "docker-login",
            "root/.docker/config.json",
            format!(r#"{{"auths": {{"r.example": {{"auth": "{}"}}}}}}"#, base64("ada:lovelace1")),
        ),
        (
            "docker-login",
            "a/.dockercfg",
            format!(r#"{{"r.example": {{"auth": "{}"}}}}"#, base64("ada:lovelace1")),
        ),
        ("netrc-login", "root/.netrc", "machine example.org\n login ada\n password lovelace1\n".into()),
        ("pypirc-login", "root/.pypirc", "[pypi]\nusername = ada\npassword = lovelace1\n".into()),
        ("git-credentials", "root/.git-credentials", "https://ada:lovelace1@example.org\n".into()),
    ]
}

/// What looks like one and is none: (path, content).
fn negatives() -> Vec<(&'static str, String)> {
    let token = checked("ghp_", 1);
    let mut broken = token.clone().into_bytes();
    broken[10] = if broken[10] == b'a' { b'b' } else { b'a' };
    vec![
        ("a.md", "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----\n".into()),
        ("a.py", "if line.startswith('-----BEGIN RSA PRIVATE KEY-----'):".into()),
        ("a", pem("CERTIFICATE", &der(1))),
        ("a", pem("PUBLIC KEY", &der(1))),
        ("a", format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PUBLIC KEY-----\n", der(1))),
        (
            "a",
            "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----".into(),
        ),
        ("a", pem("PRIVATE KEY", &"A".repeat(200))),
        ("a", String::from_utf8(broken).unwrap()),
        ("a", format!("x{token}")),
        ("a", format!("{token}x")),
        ("a", format!("ghp_{}", "x".repeat(36))),
        ("a", "ghp_abcdefghijklmnopqrstuvwxyz0123456789".into()),
        ("a", "AKIAIOSFODNN7EXAMPLE".into()),
        ("a", format!("AKIA{}", "A".repeat(16))),
        ("a", "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into()),
        ("a", "aws_secret_access_key = ${AWS_SECRET_ACCESS_KEY}".into()),
        ("a", format!("sha1: {}", random(1, 40, HEX))),
        ("a", "glpat-xxxxxxxxxxxxxxxxxxxx".into()),
        ("a", "xoxb-your-token-here-and-more-of-it-than-this".into()),
        ("a", "npm_config_registry=https://registry.example/with/a/long/path/of/it".into()),
        (".npmrc", "//registry.example/:_authToken=${NPM_TOKEN}".into()),
        ("a.c", "hf_compute_the_next_frame_of_the_given_buffer(x)".into()),
        ("a", "sk-T3BlbkFJ".into()),
        ("a", format!("MSG.{}.{}", random(1, 22, ALNUM), random(2, 43, ALNUM))),
        ("a.js", "https://user:password@example.com/".into()),
        ("a.md", "postgres://user:password@localhost/db".into()),
        ("a", "postgres://app:${PASSWORD}@db.internal/x".into()),
        ("a", "postgres://app:%s@db.internal/x".into()),
        ("a", "wbt_ada_0123".into()),
        ("a", format!("{}0", watchbell_token())),
        ("a", "client-key-data: REDACTED".into()),
        ("a", "\"private_key\": \"the path of the key\"".into()),
        ("root/.docker/config.json", r#"{"auths": {"r.example": {}}, "credsStore": "secretservice"}"#.into()),
        (
            "srv/config.json",
            format!(r#"{{"auths": {{"r.example": {{"auth": "{}"}}}}}}"#, base64("ada:lovelace1")),
        ),
        ("root/.netrc", "machine example.org login ada\n".into()),
        ("root/.pypirc", "[pypi]\nusername = __token__\n".into()),
        ("root/.git-credentials", "https://example.org\n".into()),
        ("a", String::new()),
    ]
}

#[test]
fn every_kind_is_found_once_and_never_shown() {
    let mut seen = std::collections::BTreeSet::new();
    for (rule, path, content) in positives() {
        let hits = scan_file(path, content.as_bytes());
        let ids: Vec<&str> = hits.iter().map(|hit| hit.rule.id).collect();
        assert_eq!(ids, [rule], "{content}");
        seen.insert(rule);
        let hit = &hits[0];
        let secret = &content[hit.range.clone()];
        assert!(secret.len() > 6, "{rule}: {secret}");
        let shown = format!("{} {}", hit.start, hit.shown());
        assert!(!shown.contains(&secret[..secret.len().min(7)]), "{shown}");
        assert!(hit.start.chars().count() <= SHOWN);
    }
    let untested: Vec<&str> = RULES.iter().map(|rule| rule.id).filter(|id| !seen.contains(id)).collect();
    assert!(untested.is_empty(), "no positive for {untested:?}");
}

#[test]
fn what_only_looks_like_a_secret_is_not_told() {
    for (path, content) in negatives() {
        let ids: Vec<&str> = scan_file(path, content.as_bytes()).iter().map(|hit| hit.rule.id).collect();
        assert_eq!(ids, [] as [&str; 0], "{path}: {content}");
    }
}

#[test]
fn the_documentation_has_the_tables() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/scan.md")).unwrap();
    for rule in &RULES {
        let row = format!("| `{}` | {} |", rule.id, rule.title);
        assert!(text.contains(&row), "docs/scan.md is to have: {row}");
    }
    for rule in &crate::configuration::RULES {
        let row = format!("| `{}` | {} | {} | {} |", rule.id, rule.severity, rule.title, rule.way_out);
        assert!(text.contains(&row), "docs/scan.md is to have: {row}");
    }
}

#[test]
fn the_checksum_is_githubs() {
    // A dummy that GitHub's users pass around to show the format; its checksum holds. Put together here.
    let known = ["ghp_", "zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ", "0mLq17"].concat();
    assert_eq!(scan_text(&known).len(), 1);
    // The same for npm.
    let known = ["npm_", "qkJaB6MffYVzZXWqmcoF49yrUxP3wf", "0LsakP"].concat();
    assert_eq!(scan_text(&known).len(), 1);
}

#[test]
fn a_key_with_a_passphrase_is_told_apart() {
    let certainty = |text: &str| scan_text(text).first().map(|hit| hit.certainty);
    assert_eq!(certainty(&pem("ENCRYPTED PRIVATE KEY", &der(1))), Some(Certainty::Encrypted));
    assert_eq!(certainty(&openssh("aes256-ctr")), Some(Certainty::Encrypted));
    assert_eq!(certainty(&openssh("none")), Some(Certainty::Plain));
    let old = pem("RSA PRIVATE KEY", &der(1)).replacen(
        "-----\n",
        "-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n",
        1,
    );
    assert_eq!(certainty(&old), Some(Certainty::Encrypted));
    assert_eq!(certainty(&pem("RSA PRIVATE KEY", &der(1))), Some(Certainty::Plain));
}

#[test]
fn keys_of_packages_own_tests_are_told_apart() {
    let key = pem("PRIVATE KEY", &der(1));
    let certainty = |path: &str| scan_file(path, key.as_bytes())[0].certainty;
    for path in [
        "usr/lib/python3/dist-packages/twisted/test/server.pem",
        "app/node_modules/https/test/fixtures/a.key",
        "usr/share/doc/openssl/examples/a.pem",
        "root/go/pkg/mod/example.org/a@v1/testdata/key.pem",
    ] {
        assert_eq!(certainty(path), Certainty::TestData, "{path}");
    }
    for path in [
        "etc/ssl/private/a.key",
        "srv/tests/key.pem",
        "root/.ssh/id_rsa",
        "app/node_modules/a/key.pem",
        "srv/myvendor/docs/key.pem",
        "srv/my-usr/share/docs/key.pem",
    ] {
        assert_eq!(certainty(path), Certainty::Plain, "{path}");
    }
}

#[test]
fn lines_and_bounds() {
    let token = checked("ghp_", 1);
    let hits = scan_text(&format!("a\n\n{token}\n{}\n", checked("ghp_", 2)));
    assert_eq!(hits.iter().map(|hit| hit.line).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(hits[0].shown(), "ghp_… (40 characters)");
    let many = (0..1000).map(|i| format!("{}\n", checked("ghp_", i + 1))).collect::<String>();
    assert_eq!(scan_text(&many).len(), HITS_MAX);
    // Anchors without end cost no more than their number.
    assert_eq!(scan_text(&"-----BEGIN PRIVATE KEY-----".repeat(20_000)), []);
    assert_eq!(scan_bytes(&[b"AKIA".as_slice(), &[0xff; 100]].concat()), []);
}

mod laws {
    use proptest::prelude::*;

    use super::super::scan_file;

    proptest! {
        /// Whatever the bytes, ranges lie inside them and nothing overlaps.
        #[test]
        fn ranges_lie_inside(bytes in proptest::collection::vec(any::<u8>(), 0..400), path in "[a-z/.]{0,20}") {
            let hits = scan_file(&path, &bytes);
            for hit in &hits {
                prop_assert!(hit.range.start < hit.range.end && hit.range.end <= bytes.len());
            }
        }

        #[test]
        fn ranges_lie_inside_what_looks_right(
            parts in proptest::collection::vec(
                prop_oneof![
                    "-----(BEGIN|END) (RSA )?PRIVATE KEY-----\n",
                    "[A-Za-z0-9+/=]{0,70}\n",
                    "(ghp_|AKIA|sk-|T3BlbkFJ|://|@|:|SG\\.|client-key-data: )",
                    "[a-z:@/]{0,9}",
                ],
                0..12,
            ),
        ) {
            let text = parts.concat();
            for path in ["a", ".netrc", ".pypirc", ".git-credentials", ".dockercfg"] {
                for hit in scan_file(path, text.as_bytes()) {
                    prop_assert!(hit.range.start < hit.range.end && hit.range.end <= text.len());
                }
            }
        }
    }
}
