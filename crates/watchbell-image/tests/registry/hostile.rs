//! A registry that breaks off, redirects, lies or asks for credentials it must not get.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use watchbell_image::{
    CredentialSource, Credentials, Digest, Error, Image, Platform, PullOptions, Secret, Silent, pull,
};

use super::stand::{Answer, Asked, Stand, answer};
use super::{Home, home, made, name, quick};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Serves the image `made:1` of a store.
#[derive(Clone)]
struct Content {
    home: Arc<Home>,
    image: Arc<Image>,
}

fn content(bytes: usize) -> Content {
    let (home, image) = made(bytes);
    Content { home: Arc::new(home), image: Arc::new(image) }
}

impl Content {
    fn layer(&self) -> (Digest, Vec<u8>) {
        let digest = self.image.layers[0].digest.clone();
        let bytes = self.home.blob(&digest);
        (digest, bytes)
    }

    fn answer(&self, asked: &Asked) -> Answer {
        let path = asked.path.as_str();
        if path == "/v2/" {
            return answer(200, "{}");
        }
        if path.ends_with("/manifests/1") {
            return answer(200, self.home.blob(&self.image.digest)).with("Content-Type", MANIFEST);
        }
        let Some((_, digest)) = path.rsplit_once('/') else { return answer(404, "") };
        let Ok(digest) = Digest::parse(digest) else { return answer(404, "") };
        let bytes = self.home.blob(&digest);
        let from =
            asked.header("range").and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        match from {
            Some(from) if from < bytes.len() => answer(206, &bytes[from..])
                .with("Content-Range", format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len())),
            Some(_) => answer(416, ""),
            None => answer(200, bytes),
        }
    }
}

fn check_refused(stand: &Stand, options: &PullOptions, message: &str) {
    let home = home();
    let error = pull(&home.store, &stand.reference("repo:1"), options, &Silent).unwrap_err().to_string();
    assert!(error.contains(message), "{error}");
    assert!(error.contains(&stand.address.to_string()) || error.contains("layer"), "no object in: {error}");
    home.assert_empty();
}

#[test]
fn an_image_is_pulled_once() {
    let content = content(10);
    let digest = content.image.digest.clone();
    let stand = Stand::new(move |asked| content.answer(asked));
    let home = home();
    let reference = stand.reference("repo:1");
    let image = pull(&home.store, &reference, &quick(), &Silent).unwrap();
    assert_eq!(image.digest, digest);
    assert_eq!(home.read(&image, "hello"), "hello\n");
    let blobs = stand.count("/blobs/");
    pull(&home.store, &reference, &quick(), &Silent).unwrap();
    assert_eq!(stand.count("/blobs/sha256"), blobs + 1, "only the configuration is asked for again");
    // By digest nothing is asked at all.
    let asked = stand.asked().len();
    pull(&home.store, &reference.with_digest(digest), &quick(), &Silent).unwrap();
    assert_eq!(stand.asked().len(), asked);
}

#[test]
fn a_layer_that_breaks_off_is_resumed_where_it_stopped() {
    let content = content(3 << 20);
    let (layer, bytes) = content.layer();
    let breaks = AtomicUsize::new(0);
    let stand = Stand::new(move |asked| {
        let answer = content.answer(asked);
        if asked.path.contains(layer.hex()) && breaks.fetch_add(1, Ordering::Relaxed) < 2 {
            return answer.breaking_after(1 << 20);
        }
        answer
    });
    let home = home();
    let image = pull(&home.store, &stand.reference("repo:1"), &quick(), &Silent).unwrap();
    assert_eq!(home.read(&image, "hello"), "hello\n");
    let ranges: Vec<String> =
        stand.asked().iter().filter_map(|a| a.header("range").map(str::to_owned)).collect();
    assert_eq!(ranges, [format!("bytes={}-", 1 << 20), format!("bytes={}-", 2 << 20)]);
    assert!(bytes.len() > 3 << 20);
}

#[test]
fn a_layer_that_never_gets_on_is_given_up_and_resumed_by_the_next_pull() {
    let content = content(3 << 20);
    let (layer, _) = content.layer();
    let broken = Arc::new(AtomicUsize::new(1));
    let is_broken = broken.clone();
    let stand = Stand::new(move |asked| {
        let answer = content.answer(asked);
        if asked.path.contains(layer.hex()) && is_broken.load(Ordering::Relaxed) == 1 {
            // The first gets half a layer, the others nothing.
            let so_far = if asked.header("range").is_some() { 0 } else { 2 << 20 };
            return answer.breaking_after(so_far);
        }
        answer
    });
    let home = home();
    let reference = stand.reference("repo:1");
    let error = pull(&home.store, &reference, &quick(), &Silent).unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(home.store.list().unwrap().is_empty());
    broken.store(0, Ordering::Relaxed);
    pull(&home.store, &reference, &quick(), &Silent).unwrap();
    let last = stand.asked().pop().unwrap();
    assert_eq!(last.header("range"), Some(format!("bytes={}-", 2 << 20).as_str()));
}

#[test]
fn content_that_is_not_what_was_promised_is_not_kept() {
    let c = content(10);
    let (layer, bytes) = c.layer();
    let tampered = |change: fn(&mut Vec<u8>)| {
        let (c, layer, mut bytes) = (c.clone(), layer.clone(), bytes.clone());
        change(&mut bytes);
        Stand::new(move |asked| {
            if asked.path.contains(layer.hex()) { answer(200, bytes.clone()) } else { c.answer(asked) }
        })
    };
    check_refused(&tampered(|b| b[600] ^= 1), &quick(), "does not match its digest");
    check_refused(&tampered(|b| b.push(0)), &quick(), "where its descriptor says");
    // A manifest by digest that is another one.
    let other = c.clone();
    let stand = Stand::new(move |asked| match asked.path.contains("/manifests/") {
        true => other.answer(&Asked { path: "/v2/repo/manifests/1".into(), headers: Vec::new() }),
        false => other.answer(asked),
    });
    let home = home();
    let wanted = stand.reference("repo:1").with_digest(Digest::of(b"wanted"));
    let error = pull(&home.store, &wanted, &quick(), &Silent).unwrap_err().to_string();
    assert!(error.contains("does not match its digest") && error.contains("nothing was kept"), "{error}");
    home.assert_empty();
}

#[test]
fn documents_that_are_too_large_or_no_manifests_are_refused() {
    let large = |length: &'static str, body: usize| {
        Stand::new(move |asked| {
            if asked.path == "/v2/" {
                return answer(200, "");
            }
            answer(200, vec![b' '; body]).with("Content-Type", MANIFEST).with("Content-Length", length)
        })
    };
    check_refused(&large("104857600", 10), &quick(), "104857600 bytes, at most 4194304 are read");
    let page = Stand::new(|asked| match asked.path.as_str() {
        "/v2/" => answer(200, ""),
        _ => answer(200, "<html>log in</html>").with("Content-Type", "text/html"),
    });
    check_refused(&page, &quick(), "repo:1");
    // An index whose only manifest is itself is impossible by digest; one that nests without end is not.
    let nested = Stand::new(|asked| {
        if asked.path == "/v2/" {
            return answer(200, "");
        }
        let depth = asked.path.matches("sha256").count();
        let inner =
            format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[]}}{}"#, " ".repeat(depth));
        let body = format!(
            r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{{"mediaType":"{INDEX}","digest":"{}","size":{}}}]}}"#,
            Digest::of(inner.as_bytes()),
            inner.len()
        );
        answer(200, if depth == 0 { body } else { inner }).with("Content-Type", INDEX)
    });
    check_refused(&nested, &quick(), "repo:1");
}

#[test]
fn the_platform_decides_in_an_index() {
    let c = content(10);
    let index = |architecture: &str| {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{{"mediaType":"{MANIFEST}","digest":"{}","size":{},"platform":{{"os":"linux","architecture":"{architecture}"}}}}]}}"#,
            c.image.digest,
            c.home.blob(&c.image.digest).len()
        )
    };
    let host = Platform::host();
    for (architecture, is_pulled) in [(host.architecture.as_str(), true), ("s390x", false)] {
        let index_of_other = format!("{} ", index(architecture));
        let (index, c, other) = (index(architecture), c.clone(), c.clone());
        let index_digest = Digest::of(index.as_bytes());
        let stand = Stand::new(move |asked| {
            if asked.path.ends_with("/manifests/1") {
                return answer(200, index.clone()).with("Content-Type", INDEX);
            }
            if asked.path.contains("/manifests/") {
                return answer(200, c.home.blob(&c.image.digest)).with("Content-Type", MANIFEST);
            }
            c.answer(asked)
        });
        if is_pulled {
            let home = home();
            let image = pull(&home.store, &stand.reference("repo:1"), &quick(), &Silent).unwrap();
            assert_eq!(image.index_digest.as_ref(), Some(&index_digest));
            // The same image in another index of another repository, which says nothing of this one.
            let other_index = index_of_other.clone();
            let other_digest = Digest::of(other_index.as_bytes());
            let c = other.clone();
            let stand_of_other = Stand::new(move |asked| {
                if asked.path.ends_with("/manifests/2") {
                    return answer(200, other_index.clone()).with("Content-Type", INDEX);
                }
                if asked.path.contains("/manifests/") {
                    return answer(200, c.home.blob(&c.image.digest)).with("Content-Type", MANIFEST);
                }
                c.answer(asked)
            });
            pull(&home.store, &stand_of_other.reference("other:2"), &quick(), &Silent).unwrap();
            let of = |name: &watchbell_image::Reference| home.store.indexes_of(name, &image.digest).unwrap();
            assert_eq!(of(&stand.reference("repo:1")), std::slice::from_ref(&index_digest));
            assert_eq!(of(&stand_of_other.reference("other:2")), [other_digest]);
            // By the digest of the index too, as a tag of a registry names that.
            let by_index = stand.reference("repo:1").with_digest(index_digest);
            assert!(home.store.resolve(&by_index).unwrap().is_some());
        } else {
            check_refused(&stand, &quick(), "it offers linux/s390x");
        }
    }
}

/// Asks for a bearer token of `realm`, then serves.
fn behind_token(c: Content, realm: String) -> impl Fn(&Asked) -> Answer + Send + Sync {
    move |asked| match asked.header("authorization") {
        Some("Bearer good") => c.answer(asked),
        _ => answer(401, "{}").with("WWW-Authenticate", format!(r#"Bearer realm="{realm}",service="stand""#)),
    }
}

fn given() -> CredentialSource {
    CredentialSource::Given(Credentials::Basic { username: "user".into(), password: "sesame".into() })
}

#[test]
fn a_token_is_fetched_with_the_credentials_and_shown_to_the_registry_alone() {
    let c = content(10);
    let (layer, bytes) = c.layer();
    // Where the layers lie: another origin, which must not see the token.
    let storage = Stand::new(move |_| answer(200, bytes.clone()));
    let token = Stand::new(|_| answer(200, r#"{"token":"good"}"#));
    let realm = format!("http://{}/token", token.address);
    let place = format!("http://{}/layer", storage.address);
    let registry = behind_token(c, realm);
    let stand = Stand::new(move |asked| {
        let answered = registry(asked);
        if answered.status == 200 && asked.path.contains(layer.hex()) {
            return answer(307, "").with("Location", place.clone());
        }
        answered
    });
    let options =
        PullOptions { credentials: given(), plain_http: watchbell_image::PlainHttp::Allowed, ..quick() };
    let home = home();
    pull(&home.store, &stand.reference("repo:1"), &options, &Silent).unwrap();
    let asked = token.asked();
    assert_eq!(asked.len(), 1, "one token serves the whole pull");
    assert!(
        asked[0].path.contains("scope=repository%3Arepo%3Apull")
            || asked[0].path.contains("scope=repository:repo:pull"),
        "{}",
        asked[0].path
    );
    assert_eq!(asked[0].header("authorization"), Some("Basic dXNlcjpzZXNhbWU="));
    assert_eq!(storage.asked().len(), 1);
    assert_eq!(storage.asked()[0].header("authorization"), None);
    for asked in stand.asked() {
        assert!(asked.header("authorization").is_none_or(|a| a.starts_with("Bearer")), "{asked:?}");
    }
}

#[test]
fn credentials_come_from_a_docker_configuration() {
    let c = content(10);
    let stand = Stand::new(move |asked| match asked.header("authorization") {
        Some("Basic dXNlcjpzZXNhbWU=") => c.answer(asked),
        _ => answer(401, "").with("WWW-Authenticate", "Basic realm=\"stand\""),
    });
    let config = format!(r#"{{"auths":{{"{}":{{"auth":"dXNlcjpzZXNhbWU="}}}}}}"#, stand.address);
    let from = |credentials| PullOptions { credentials, ..quick() };
    let home = home();
    let options = from(CredentialSource::DockerConfigJson(Secret(config.into_bytes())));
    pull(&home.store, &stand.reference("repo:1"), &options, &Silent).unwrap();
    // Without credentials, and with those of another registry.
    check_refused(&stand, &quick(), "credentials");
    let other = r#"{"auths":{"registry.example":{"auth":"dXNlcjpzZXNhbWU="}}}"#;
    check_refused(&stand, &from(CredentialSource::DockerConfigJson(Secret(other.into()))), "credentials");
    let wrong =
        CredentialSource::Given(Credentials::Basic { username: "user".into(), password: "wrong".into() });
    check_refused(&stand, &from(wrong), "401");
}

#[test]
fn a_registry_cannot_send_us_where_it_likes() {
    for (location, message) in [
        ("http://169.254.169.254/latest/meta-data", "169.254.169.254"),
        ("http://[fd00:ec2::254]/latest", "fd00:ec2::254"),
        ("file:///etc/passwd", "redirects to"),
        ("http://user@127.0.0.1/", "redirects to"),
        ("/v2/again", "more than 5 times"),
    ] {
        let stand = Stand::new(move |asked| match asked.path.as_str() {
            "/v2/" => answer(200, ""),
            _ => answer(307, "").with("Location", location),
        });
        check_refused(&stand, &quick(), message);
    }
}

#[test]
fn refusals_name_the_registry_the_object_and_the_way_out() {
    let missing = Stand::new(|asked| match asked.path.as_str() {
        "/v2/" => answer(200, ""),
        _ => answer(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#),
    });
    check_refused(&missing, &quick(), "manifest unknown); check the name and the tag");
    let limited = Stand::new(|asked| match asked.path.as_str() {
        "/v2/" => answer(200, ""),
        _ => answer(429, ""),
    });
    check_refused(&limited, &quick(), "log in, or try later");
    // Nobody listens there, and the kernel gives it to nobody who asks for any port.
    let gone = "127.0.0.1:1";
    let home = home();
    let error =
        pull(&home.store, &name(&format!("{gone}/repo:1")), &quick(), &Silent).unwrap_err().to_string();
    assert!(
        error.contains(&format!("cannot reach registry {gone}")) && error.contains("check the name"),
        "{error}"
    );
}

#[test]
fn a_registry_that_trickles_holds_up_its_own_pull_alone() {
    let content = content(3 << 20);
    let (layer, _) = content.layer();
    let (is_asked, asked) = std::sync::mpsc::channel();
    let (let_go, wait) = std::sync::mpsc::channel::<()>();
    let held = (content.clone(), std::sync::Mutex::new((is_asked, wait)));
    // It promises the layer, and keeps it to itself until the test has seen the other pull end.
    let slow = Stand::new(move |asked| {
        let (content, hold) = &held;
        if asked.path.contains(layer.hex()) {
            let hold = hold.lock().unwrap();
            hold.0.send(()).unwrap();
            // An end of the test that fails lets go, too.
            let _ = hold.1.recv();
        }
        content.answer(asked)
    });
    let good = Stand::new(move |asked| content.answer(asked));
    let home = home();
    let ends_well = std::thread::scope(|scope| {
        let first = scope.spawn(|| pull(&home.store, &slow.reference("repo:1"), &quick(), &Silent));
        asked.recv().unwrap();
        let image = pull(&home.store, &good.reference("repo:1"), &quick(), &Silent).unwrap();
        assert_eq!(home.read(&image, "hello"), "hello\n");
        drop(let_go);
        first.join().unwrap()
    });
    assert_eq!(ends_well.unwrap().layers.len(), 1);
    let left = std::fs::read_dir(home.layout().join("ingest")).unwrap();
    assert_eq!(left.count(), 0, "nothing is left of either");
}

#[test]
fn what_nobody_waits_for_is_given_up() {
    struct Nobody;
    impl watchbell_image::Progress for Nobody {
        fn event(&self, _: watchbell_image::Event<'_>) {}

        fn is_wanted(&self) -> bool {
            false
        }
    }
    let content = content(10);
    let stand = Stand::new(move |asked| content.answer(asked));
    let home = home();
    let error = pull(&home.store, &stand.reference("repo:1"), &quick(), &Nobody).unwrap_err();
    assert!(matches!(error, Error::Unwanted { .. }), "{error}");
    home.assert_empty();
}

#[test]
fn what_would_fill_the_disk_is_not_pulled() {
    let content = content(10);
    let (layer, _) = content.layer();
    let stand = Stand::new(move |asked| content.answer(asked));
    let home = home();
    let full = home.store.clone().leaving_free(u64::MAX);
    let error = pull(&full, &stand.reference("repo:1"), &quick(), &Silent).unwrap_err();
    assert!(matches!(error, Error::NoRoom { .. }), "{error}");
    assert_eq!(stand.count(layer.hex()), 0, "it was not asked for");
    home.assert_empty();
    assert_eq!(std::fs::read_dir(home.layout().join("ingest")).unwrap().count(), 0);
}
