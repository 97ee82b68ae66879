use std::fs;
use std::io::{self, BufRead as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};
use watchbell_api::Reason;
use watchbell_api::node::{ImageRequest, Images};
use watchbell_api::types::pod::ImagePullPolicy;
use watchbell_image::{
    BuildSpec, Digest, PlainHttp, PullOptions, Reference, Secret, Store, Unpacker, build_scratch,
};

use super::{FetchKind, FetchRequest, Fetched, Fetcher, InUse, NodeImages};

const LONG: Duration = Duration::from_secs(60);

fn request(id: u64, namespace: &str, image: &str, policy: ImagePullPolicy, wanted: &Arc<()>) -> FetchRequest {
    FetchRequest {
        id,
        namespace: namespace.into(),
        wanted: Arc::downgrade(wanted),
        image: image.into(),
        policy,
        pinned: None,
        credentials: None,
    }
}

struct Place {
    dir: tempfile::TempDir,
    store: Store,
    in_use: Arc<InUse>,
    fetcher: Fetcher,
    answers: Receiver<(u64, Fetched)>,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap().unpacking_by(Unpacker::Thread);
        let in_use = Arc::new(InUse::default());
        let (tx, answers) = channel();
        let options = PullOptions { attempts: 1, plain_http: PlainHttp::Allowed, ..PullOptions::default() };
        let fetcher = Fetcher::start(store.clone(), options, 2, in_use.clone(), move |id, fetched| {
            // The test may have ended.
            let _ = tx.send((id, fetched));
        })
        .unwrap();
        Place { dir, store, in_use, fetcher, answers }
    }

    /// An image with /etc/passwd and a program.
    fn build(&self, name: &str, program: &str) {
        let root = self.dir.path().join("tree");
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(root.join("etc/passwd"), "web:x:7:8::/srv:/bin/sh\n").unwrap();
        fs::write(root.join("main"), program).unwrap();
        let spec = BuildSpec {
            copies: vec![(root, Path::new("/").to_owned())],
            entrypoint: vec!["/main".into()],
            ..BuildSpec::default()
        };
        build_scratch(&self.store, &spec, &Reference::parse(name).unwrap()).unwrap();
    }

    fn fetch(&self, image: &str, policy: ImagePullPolicy, pinned: Option<&str>) -> Fetched {
        self.fetch_with(image, policy, pinned, None)
    }

    fn fetch_with(
        &self,
        image: &str,
        policy: ImagePullPolicy,
        pinned: Option<&str>,
        credentials: Option<Secret>,
    ) -> Fetched {
        let wanted = Arc::new(());
        let request = request(3, "ns", image, policy, &wanted);
        self.fetcher.fetch(FetchRequest { pinned: pinned.map(Into::into), credentials, ..request });
        let (id, fetched) = self.answers.recv_timeout(LONG).unwrap();
        assert_eq!(id, 3);
        fetched
    }

    fn call(&self, request: &ImageRequest) -> Result<Value, Reason> {
        let options = PullOptions::default();
        let images = NodeImages {
            came: Box::new(|_| {}),
            store: self.store.clone(),
            options,
            in_use: self.in_use.clone(),
        };
        images.call(request, &mut io::empty(), &mut |_| {}).map_err(|e| e.reason)
    }
}

#[test]
fn an_image_that_is_here_is_used_as_the_policy_says() {
    let place = Place::new();
    place.build("tool:1", "one");
    for policy in [ImagePullPolicy::Never, ImagePullPolicy::IfNotPresent] {
        for name in ["tool:1", "library/tool:1", "docker.io/library/tool:1"] {
            let (image, kind) = place.fetch(name, policy, None).unwrap();
            assert_eq!(kind, FetchKind::Present);
            assert_eq!(*image.image_id, *format!("docker.io/library/tool@{}", image.digest));
            assert_eq!(
                (image.config.entrypoint.as_slice(), image.layers.len()),
                (&["/main".to_owned()][..], 1)
            );
            assert!(image.layers[0].join("main").exists(), "unpacked");
            assert_eq!((image.passwd.as_str(), image.group.as_str()), ("web:x:7:8::/srv:/bin/sh\n", ""));
        }
    }
}

#[test]
fn an_image_that_is_not_here_has_its_reason() {
    let place = Place::new();
    let check = |name: &str, policy, reason: &str, part: &str| {
        let error = place.fetch(name, policy, None).unwrap_err();
        assert_eq!(error.reason, reason, "{error:?}");
        assert!(error.message.contains(part), "{error:?}");
    };
    check("none:1", ImagePullPolicy::Never, "ErrImageNeverPull", "pull policy of Never");
    check("Not A Name", ImagePullPolicy::IfNotPresent, "InvalidImageName", "Not A Name");
    // Nothing listens there.
    check("127.0.0.1:1/none:1", ImagePullPolicy::IfNotPresent, "ErrImagePull", "127.0.0.1:1");
    check("127.0.0.1:1/none:1", ImagePullPolicy::Always, "ErrImagePull", "127.0.0.1:1");
}

#[test]
fn a_run_gets_the_digest_that_its_name_stood_for() {
    let place = Place::new();
    place.build("tool:1", "one");
    let (old, _) = place.fetch("tool:1", ImagePullPolicy::Never, None).unwrap();
    place.build("tool:1", "two");
    let (new, _) = place.fetch("tool:1", ImagePullPolicy::Never, None).unwrap();
    assert_ne!(old.digest, new.digest);
    let (again, _) = place.fetch("tool:1", ImagePullPolicy::Never, Some(&old.image_id)).unwrap();
    assert_eq!(again.digest, old.digest);
    // What a run began with it goes on with.
    let (again, _) = place.fetch("tool:1", ImagePullPolicy::Always, Some(&old.image_id)).unwrap();
    assert_eq!(again.digest, old.digest);
}

#[test]
fn an_image_in_use_is_not_removed() {
    let place = Place::new();
    place.build("tool:1", "one");
    let (image, _) = place.fetch("tool:1", ImagePullPolicy::Never, None).unwrap();
    let lease = place.in_use.lease(&image).unwrap();
    let remove = ImageRequest::Remove { name: "tool:1".into() };
    assert_eq!(place.call(&remove), Err(Reason::Conflict));
    place.call(&ImageRequest::Prune).unwrap();
    assert!(image.layers[0].join("main").exists());
    assert!(place.in_use.lease(&image).is_none(), "what was made ready before a removal is looked up again");
    let (image, _) = place.fetch("tool:1", ImagePullPolicy::Never, None).unwrap();
    assert!(place.in_use.lease(&image).is_some());
    drop(lease);
    let report = place.call(&remove).unwrap();
    assert_eq!(
        (report["images"].as_array().map(Vec::len), report["deferred"].as_bool()),
        (Some(1), Some(false))
    );
    assert!(!image.layers[0].exists(), "its files are gone");
    assert_eq!(place.fetch("tool:1", ImagePullPolicy::Never, None).unwrap_err().reason, "ErrImageNeverPull");
}

#[test]
fn clients_list_and_inspect() {
    let place = Place::new();
    place.build("tool:1", "one");
    let list = place.call(&ImageRequest::List).unwrap();
    assert_eq!(list[0]["names"], json!(["tool:1"]));
    let image = place.call(&ImageRequest::Inspect { name: "tool:1".into() }).unwrap();
    assert_eq!(image["digest"], list[0]["digest"]);
    assert_eq!(image["config"]["entrypoint"], json!(["/main"]));
    assert_eq!(image["layers"].as_array().map(Vec::len), Some(1));
    let refuse = |request| place.call(&request).unwrap_err();
    assert_eq!(refuse(ImageRequest::Inspect { name: "none:1".into() }), Reason::NotFound);
    assert_eq!(refuse(ImageRequest::Remove { name: "none:1".into() }), Reason::NotFound);
    assert_eq!(refuse(ImageRequest::Inspect { name: "A B".into() }), Reason::BadRequest);
    assert_eq!(refuse(ImageRequest::Import { name: None }), Reason::BadRequest, "an empty body");
    let pull = ImageRequest::Pull { name: "127.0.0.1:1/x:1".into(), platform: None, plain_http: true };
    assert_eq!(refuse(pull), Reason::ServiceUnavailable);
    let platform = Some("nonsense".to_owned());
    let pull = ImageRequest::Pull { name: "127.0.0.1:1/x:1".into(), platform, plain_http: true };
    assert_eq!(refuse(pull), Reason::BadRequest);
}

#[test]
fn a_registry_that_does_not_answer_holds_up_its_own_namespace_alone() {
    let place = Place::new();
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let image = format!("{}/x:1", silent.local_addr().unwrap());
    let wanted = Arc::new(());
    for id in 0..4 {
        place.fetcher.fetch(request(id, "evil", &image, ImagePullPolicy::IfNotPresent, &wanted));
    }
    // Nothing listens there.
    let good = request(9, "team", "127.0.0.1:1/x:1", ImagePullPolicy::IfNotPresent, &wanted);
    place.fetcher.fetch(good);
    let (id, fetched) = place.answers.recv_timeout(LONG).unwrap();
    assert_eq!((id, fetched.unwrap_err().reason), (9, "ErrImagePull"));
}

/// A registry of one image, behind a password, as long as the test runs.
struct Guarded {
    address: String,
    digest: Digest,
    /// Requests that showed the password.
    let_in: Arc<std::sync::atomic::AtomicUsize>,
}

const PASSWORD: &str = "dXNlcjpzZWNyZXQ=";

fn guarded() -> Guarded {
    let origin = Place::new();
    origin.build("made:1", "private");
    let image = origin.store.resolve(&Reference::parse("made:1").unwrap()).unwrap().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (digest, let_in) = (image.digest.clone(), Arc::new(std::sync::atomic::AtomicUsize::new(0)));
    let count = let_in.clone();
    // It ends with the process.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that breaks off is no matter.
            let _ = answer(stream, &origin, &image.digest, &count);
        }
    });
    Guarded { address, digest, let_in }
}

fn answer(
    mut stream: std::net::TcpStream,
    origin: &Place,
    manifest: &Digest,
    let_in: &std::sync::atomic::AtomicUsize,
) -> io::Result<()> {
    let head: Vec<String> = io::BufReader::new(&stream)
        .lines()
        .map_while(|line| line.ok().filter(|line| !line.is_empty()))
        .collect();
    let path = head.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    let digest = if name == "1" { manifest.clone() } else { Digest::parse(name).unwrap_or(manifest.clone()) };
    let is_let_in = head.iter().any(|line| line.ends_with(&format!("Basic {PASSWORD}")));
    let (status, body) = match fs::read(origin.dir.path().join("images/blobs/sha256").join(digest.hex())) {
        _ if !is_let_in => ("401 X\r\nWWW-Authenticate: Basic realm=x", Vec::new()),
        _ if path == "/v2/" => ("200 X", Vec::new()),
        Ok(blob) => ("200 X", blob),
        Err(_) => ("404 X", Vec::new()),
    };
    if is_let_in {
        let_in.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
    write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len())?;
    stream.write_all(&body)
}

#[test]
fn a_private_image_that_is_here_is_for_those_who_could_pull_it() {
    let registry = guarded();
    let asked = || registry.let_in.load(std::sync::atomic::Ordering::Relaxed);
    let by_tag = format!("{}/private/repo:1", registry.address);
    let by_digest = format!("{}/private/repo@{}", registry.address, registry.digest);
    let secret = |auth: &str| {
        let auths = json!({"auths": {registry.address.as_str(): {"auth": auth}}});
        Some(Secret(auths.to_string().into_bytes()))
    };
    let place = Place::new();
    let fetch = |image: &str, policy, credentials| place.fetch_with(image, policy, None, credentials);
    let (image, kind) = fetch(&by_tag, ImagePullPolicy::IfNotPresent, secret(PASSWORD)).unwrap();
    assert_eq!(image.digest, registry.digest);
    assert!(matches!(kind, FetchKind::Pulled { .. }));
    // Who shows the same is not sent to the registry again.
    let before = asked();
    for policy in [ImagePullPolicy::IfNotPresent, ImagePullPolicy::Never] {
        for name in [&by_tag, &by_digest] {
            assert_eq!(fetch(name, policy, secret(PASSWORD)).unwrap().1, FetchKind::Present);
        }
    }
    assert_eq!(asked(), before);
    // Everybody else is.
    let wrong = "dXNlcjp3cm9uZw==";
    for auth in [None, Some(wrong)] {
        let credentials = || auth.and_then(secret);
        for name in [&by_tag, &by_digest] {
            for policy in [ImagePullPolicy::IfNotPresent, ImagePullPolicy::Always] {
                let error = fetch(name, policy, credentials()).unwrap_err();
                assert_eq!(error.reason, "ErrImagePull", "{name} {policy:?}: {error:?}");
            }
            let error = fetch(name, ImagePullPolicy::Never, credentials()).unwrap_err();
            assert_eq!(error.reason, "ErrImageNeverPull");
            assert!(error.message.contains("credentials that this pod does not have"), "{error:?}");
        }
        // Nor is it told what is in it.
        let told = super::present(&place.store, &place.in_use, &by_tag, credentials()).unwrap_err();
        assert!(told.message.contains("credentials that this pod does not have"), "{told:?}");
    }
    // A run that began with it goes on with it, with what it showed then.
    let pinned = Some(&*image.image_id);
    let again = |credentials| place.fetch_with(&by_tag, ImagePullPolicy::Always, pinned, credentials);
    assert_eq!(again(secret(PASSWORD)).unwrap().1, FetchKind::Present);
    assert_eq!(again(None).unwrap_err().reason, "ErrImagePull");
    // Always is always asked.
    let before = asked();
    let (_, kind) = fetch(&by_digest, ImagePullPolicy::Always, secret(PASSWORD)).unwrap();
    assert!(matches!(kind, FetchKind::Pulled { .. }) && asked() > before);
    // What the administrator brings by another way is for all.
    place.build("tool:1", "public");
    assert_eq!(fetch("tool:1", ImagePullPolicy::Never, None).unwrap().1, FetchKind::Present);
}

#[test]
fn nobody_waits_for_a_removal_that_waits_for_an_unpacking() {
    let place = Place::new();
    place.build("tool:1", "one");
    place.build("other:1", "two");
    let find = |name: &str| {
        let name = Reference::parse(name).unwrap();
        place.in_use.find(|| place.store.resolve(&name)).unwrap().unwrap()
    };
    // Both are being made ready, for as long as it takes.
    let (unpacking, other) = (find("tool:1"), find("other:1"));
    let remove = |name: &str| place.call(&ImageRequest::Remove { name: name.into() });
    assert_eq!(remove("tool:1"), Err(Reason::Conflict));
    drop(other);
    remove("other:1").unwrap();
    place.call(&ImageRequest::Prune).unwrap();
    drop(find("tool:1"));
    drop(unpacking);
    remove("tool:1").unwrap();
}

#[test]
fn nothing_is_removed_before_it_is_known_what_runs() {
    let mut place = Place::new();
    place.build("tool:1", "one");
    place.in_use = Arc::new(InUse::incomplete());
    let remove = ImageRequest::Remove { name: "tool:1".into() };
    for request in [&remove, &ImageRequest::Prune] {
        assert_eq!(place.call(request), Err(Reason::ServiceUnavailable));
    }
    place.in_use.complete();
    place.call(&remove).unwrap();
}

#[test]
fn images_that_nobody_uses_make_room_and_those_of_the_administrator_stay() {
    let registry = guarded();
    let name = |repository: &str| format!("{}/{repository}:1", registry.address);
    let place = Place::new();
    place.build("built:1", "the administrator's");
    let secret = json!({"auths": {registry.address.as_str(): {"auth": PASSWORD}}}).to_string();
    let fetch = |name: &str| {
        let secret = Some(Secret(secret.clone().into_bytes()));
        place.fetch_with(name, ImagePullPolicy::IfNotPresent, None, secret).unwrap().0
    };
    let image = fetch(&name("one"));
    let names = || {
        let list = place.call(&ImageRequest::List).unwrap();
        let names =
            list.as_array().unwrap().iter().flat_map(|image| image["names"].as_array().unwrap().clone());
        names.map(|name| name.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let collect = |enough: bool| super::collect::collect(&place.store, &place.in_use, || Ok(enough)).unwrap();
    let lease = place.in_use.lease(&image).unwrap();
    assert_eq!(collect(false), 0, "a pod uses it");
    drop(lease);
    assert_eq!(collect(true), 0, "there is room");
    assert_eq!(names(), [name("one"), "built:1".to_owned()]);
    assert_eq!(collect(false), 1);
    assert_eq!(names(), ["built:1"]);
    assert!(!image.layers[0].exists(), "its files are gone");
    fetch(&name("one"));
}
