//! What the thread does, on a store of its own: what is read once, what is matched again, what is told.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use watchbell_advisory::{
    Advisory, Affected, Builder, Contents as Records, Counts, Ecosystem, Exploited, IndexDirectory, Interval,
    Severity as Rated, Source, Standing,
};
use watchbell_api::Resource;
use watchbell_api::image::{ImageFacts, Severity};
use watchbell_image::{BuildSpec, build_scratch};

use super::*;

/// What dpkg knows of one package, and which release it is of.
const STATUS: &str =
    "Package: zlib1g\nStatus: install ok installed\nArchitecture: amd64\nSource: zlib\nVersion: 1:1.2.13\n\n";
const RELEASE: &str = "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n";
const NAME: &str = "tool:1";

struct Place {
    dir: tempfile::TempDir,
    store: Store,
}

impl Place {
    /// A store with an image of Debian 12: one package, a shell, a program with the setuid bit.
    fn new() -> Place {
        Place::of(RELEASE)
    }

    /// The same with another os-release.
    fn of(release: &str) -> Place {
        Place::with_files(release, &[], &[])
    }

    /// The same with more files by path and text, and links by path and target.
    fn with_files(release: &str, more: &[(&str, &str)], links: &[(&str, &str)]) -> Place {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let files = dir.path().join("files");
        std::fs::create_dir(&files).unwrap();
        let list = [
            ("status", STATUS, 0o644, "/var/lib/dpkg/status"),
            ("os-release", release, 0o644, "/etc/os-release"),
            ("sh", "#!", 0o755, "/bin/sh"),
            ("su", "#!", 0o4755, "/bin/su"),
        ];
        let mut spec = BuildSpec::default();
        for (name, text, mode, to) in list {
            let path = files.join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            spec.copies.push((path, to.into()));
        }
        let root = dir.path().join("root");
        let place = |path: &str| {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        };
        more.iter().for_each(|(path, text)| std::fs::write(place(path), text).unwrap());
        links.iter().for_each(|(path, target)| std::os::unix::fs::symlink(target, place(path)).unwrap());
        if root.exists() {
            spec.copies.push((root, "/".into()));
        }
        build_scratch(&store, &spec, &Reference::parse(NAME).unwrap()).unwrap();
        Place { dir, store }
    }

    fn subjects(&self) -> Vec<Digest> {
        signers::subjects(&self.store, &Reference::parse(NAME).unwrap(), &self.image())
    }

    fn image(&self) -> Image {
        self.store.resolve(&Reference::parse(NAME).unwrap()).unwrap().unwrap()
    }

    /// Puts an index in place that knows of these vulnerabilities of zlib.
    fn advise(&self, ids: &[(&str, Rated)]) {
        let debian = Ecosystem::Debian { release: "12".into() };
        let mut builder = Builder::new();
        let source =
            Source { name: "test".into(), newest: Some(1_000), imported: 2_000, ..Source::default() };
        builder.replace(source, records(&debian, ids));
        self.put(&builder);
    }

    fn put(&self, builder: &Builder) {
        let path = self.dir.path().join("advisories");
        IndexDirectory::lock(&path).unwrap().replace(&builder.build()).unwrap();
    }

    fn thread(&self, told: &Arc<Mutex<Vec<Report>>>) -> Examination {
        self.with(told, |_| {})
    }

    /// The same with something else about it.
    fn with(&self, told: &Arc<Mutex<Vec<Report>>>, change: impl FnOnce(&mut Desk)) -> Examination {
        let told = told.clone();
        let mut desk = Desk {
            site: Site {
                data_dir: self.dir.path().to_owned(),
                store: self.store.clone(),
                pull: PullOptions::default(),
                snapshots: Arc::new(Default::default),
                known: Arc::default(),
                database: self.dir.path().join("advisories"),
            },
            clock: Box::new(Timestamp::now),
            hear: Box::new(|_| {}),
            report: Box::new(move |report| told.lock().unwrap().push(report)),
        };
        change(&mut desk);
        let bills = Bills::open(self.dir.path()).unwrap();
        let advisories = Advisories::new(self.dir.path().join("advisories"));
        let one = Size { threads: 1, each: 1 };
        let examination = Examination::new(desk, bills, Scanner::Thread, advisories, one).unwrap();
        examination.refresh();
        examination
    }

    /// Breaks the image's layer: whoever reads it again fails.
    fn damage(&self) {
        for layer in self.image().layers {
            std::fs::write(self.dir.path().join("images/blobs/sha256").join(layer.digest.hex()), "?")
                .unwrap();
        }
    }
}

fn question(place: &Place) -> Question {
    let needs = Needs { contents: true, findings: true, ..Needs::default() };
    Question {
        namespace: "ns".into(),
        image: NAME.into(),
        digest: place.image().digest,
        needs,
        credentials: None,
    }
}

/// Vulnerabilities of zlib.
fn records(ecosystem: &Ecosystem, ids: &[(&str, Rated)]) -> Records {
    let advisory = |(id, severity): &(&str, Rated)| Advisory {
        id: (*id).into(),
        severity: *severity,
        affected: vec![Affected {
            ecosystem: ecosystem.clone(),
            name: "zlib".into(),
            intervals: vec![Interval::before("1:1.2.13.dfsg-2")],
            versions: Vec::new(),
            standing: Standing::Versions,
            severity: *severity,
        }],
        ..Advisory::default()
    };
    Records { advisories: ids.iter().map(advisory).collect(), ..Records::default() }
}

fn user(namespace: &str) -> ImageUser {
    let (name, container) = ("c".into(), "main".into());
    ImageUser { resource: Resource::CronJob, namespace: namespace.into(), name, container }
}

fn last(told: &Mutex<Vec<Report>>) -> (Arc<ImageFacts>, Vec<ImageUser>) {
    match told.lock().unwrap().pop().unwrap() {
        Report::Image { facts, users, .. } => (facts, users),
        other => panic!("it tells of something else: {other:?}"),
    }
}

fn ids(facts: &ImageFacts) -> Vec<(&str, Option<Severity>)> {
    let findings = facts.findings.as_ref().unwrap();
    findings.list.iter().map(|finding| (&*finding.id, finding.severity)).collect()
}

#[test]
fn an_image_is_read_once_and_matched_with_each_database() {
    let place = Place::new();
    let told = Arc::default();
    let thread = place.thread(&told);
    assert_eq!(thread.answer(1, question(&place)), Found::New);
    let (facts, _) = last(&told);
    let contents = facts.contents.as_ref().unwrap();
    assert_eq!(contents.packages, 1);
    assert_eq!((&*contents.shells, &*contents.setuid), (&["bin/sh".into()][..], &["bin/su".into()][..]));
    assert_eq!(contents.distribution, Some(("debian".into(), "12".into())));
    let why = facts.findings.as_ref().unwrap_err().to_string();
    assert!(why.starts_with("there is no database of advisories in "), "{why}");
    // From here on the layer cannot be read.
    place.damage();
    place.advise(&[("CVE-2026-1", Rated::High)]);
    // The database is news for the other images, too.
    assert_eq!(thread.answer(1, question(&place)), Found::New);
    assert_eq!(thread.answer(1, question(&place)), Found::Nothing);
    let (facts, _) = last(&told);
    assert_eq!(ids(&facts), [("CVE-2026-1", Some(Severity::High))]);
    let finding = &facts.findings.as_ref().unwrap().list[0];
    assert_eq!(
        (&*finding.package, &*finding.version, finding.fixed.as_deref()),
        ("zlib1g", "1:1.2.13", Some("1:1.2.13.dfsg-2"))
    );
    assert_eq!(facts.findings.as_ref().unwrap().database_at, 1_000);
    place.advise(&[("CVE-2026-1", Rated::High), ("CVE-2026-2", Rated::Critical)]);
    assert!(thread.refresh() && !thread.refresh());
    // By a server that was started anew, too.
    let thread = place.thread(&told);
    let user = user("ns");
    thread.watch(&NAME.into(), &"ns".into(), vec![user.clone()]);
    let (facts, users) = last(&told);
    assert_eq!(ids(&facts), [("CVE-2026-1", Some(Severity::High)), ("CVE-2026-2", Some(Severity::Critical))]);
    assert_eq!(users, [user]);
}

#[test]
fn what_cannot_be_read_is_unknown_with_the_reason() {
    let place = Place::new();
    place.damage();
    place.advise(&[]);
    let told = Arc::default();
    let thread = place.thread(&told);
    thread.answer(1, question(&place));
    let (facts, _) = last(&told);
    let why = facts.findings.as_ref().unwrap_err().to_string();
    assert!(why.starts_with("what is in it is unknown: "), "{why}");
    // An image that was removed meanwhile.
    let gone = Digest::of(b"gone");
    thread.answer(1, Question { digest: gone.clone(), ..question(&place) });
    let known = &thread.desk.site.known;
    let reference = Reference::parse(NAME).unwrap();
    let now = Timestamp::now().as_second();
    let facts = known.facts(&reference, &gone, &Outline::default(), View::Namespace("ns"), now);
    assert_eq!(facts.contents, Err(Unknown::Because(format!("image {gone} is no longer here").into())));
}

#[test]
fn a_scan_that_takes_longer_than_its_failure_is_kept_is_known_to_have_failed() {
    let place = Place::new();
    place.advise(&[]);
    let told = Arc::default();
    let clock = Arc::new(AtomicI64::new(1_000));
    let shown = clock.clone();
    let mut thread = place.with(&told, |desk| {
        desk.clock = Box::new(move || Timestamp::from_second(shown.load(Ordering::Relaxed)).unwrap());
    });
    thread.scanner = Scanner::GivesUp { clock, seconds: 300 };
    // Nothing was found, so the other images are not looked over for it.
    assert_eq!(thread.answer(1, question(&place)), Found::Nothing);
    let (facts, _) = last(&told);
    let why = "it was not read after 300 seconds";
    assert_eq!(facts.contents, Err(Unknown::Because(why.into())));
    assert_eq!(
        facts.findings,
        Err(Unknown::Because(format!("what is in it is unknown: {why}").into())),
        "and not as if nobody had looked"
    );
    // Until it is time, nobody waits for it once more: neither a look-over nor another database reads the image.
    let desk = thread.desk.clone();
    let now = || (desk.clock)().as_second();
    let before = now();
    let needs = Needs { contents: true, findings: true, ..Needs::default() };
    thread.find_out(&place.image(), &needs, Reads::Image);
    assert_eq!(now(), before);
    place.advise(&[("CVE-2026-1", Rated::High)]);
    assert!(thread.refresh());
    thread.answer(2, question(&place));
    assert_eq!(now(), before);
    let (facts, _) = last(&told);
    assert!(facts.findings.as_ref().is_err_and(|why| *why != Unknown::NotYet));
}

#[test]
fn of_a_distribution_without_advisories_nothing_is_known() {
    let why = |release: &str| {
        let place = Place::of(release);
        place.advise(&[("CVE-2026-1", Rated::High)]);
        let told = Arc::default();
        place.thread(&told).answer(1, question(&place));
        let (facts, _) = last(&told);
        assert_eq!(facts.contents.as_ref().unwrap().packages, 1);
        let findings = facts.findings.clone().unwrap();
        (findings.list.len(), findings.uncovered.clone())
    };
    let uncovered = |name: &str| (0, vec![(name.into(), 1)]);
    assert_eq!(why("ID=devuan\nVERSION_ID=\"5\"\n"), uncovered("os:devuan 5"));
    assert_eq!(why(""), uncovered("deb"));
    // Another release than those that the database has.
    assert_eq!(why("ID=debian\nVERSION_ID=\"13\"\n"), uncovered("Debian:13"));
    // One that says so, and has packages of another format.
    let place = Place::of("ID=wolfi\n");
    place.advise(&[("CVE-2026-1", Rated::High)]);
    let told = Arc::default();
    place.thread(&told).answer(1, question(&place));
    assert_eq!(last(&told).0.findings.clone().unwrap().misfiled, [("deb in Wolfi".into(), 1)]);
    // A derivative that says whose packages it has is known.
    assert_eq!(why("ID=devuan\nID_LIKE=debian\nVERSION_CODENAME=bookworm\n"), (1, Vec::new()));
}

#[test]
fn a_database_is_as_old_as_the_oldest_that_speaks_of_the_image() {
    let place = Place::new();
    let debian = Ecosystem::Debian { release: "12".into() };
    let source = |name: &str, newest, confirmed| Source {
        name: name.into(),
        newest: Some(newest),
        confirmed,
        imported: 9_000,
        ..Source::default()
    };
    let mut builder = Builder::new();
    builder.replace(source("tracker", 3_000, None), records(&debian, &[("CVE-2026-1", Rated::High)]));
    builder.replace(source("other", 2_000, Some(5_000)), records(&debian, &[("CVE-2026-2", Rated::High)]));
    // Of no interest to this image.
    builder.replace(source("pypa", 1_000, None), records(&Ecosystem::PyPI, &[("CVE-2026-3", Rated::High)]));
    let exploited = Exploited { added: "2026-01-01".into(), due: None, in_ransomware: false };
    let catalogue = Records { exploited: [("CVE-2026-1".into(), exploited)].into(), ..Records::default() };
    let counts = Counts { exploited: 1, ..Counts::default() };
    builder.replace(Source { counts, ..source("kev", 4_000, None) }, catalogue);
    place.put(&builder);
    let told = Arc::default();
    let thread = place.thread(&told);
    thread.answer(1, question(&place));
    let (facts, _) = last(&told);
    let findings = facts.findings.as_ref().unwrap();
    assert_eq!((findings.database_at, findings.exploited_at), (3_000, Some(4_000)));
    // Who watches the database sees the oldest of all.
    let metrics = thread.desk.site.known.metrics();
    for line in ["watchbell_advisory_database_loaded 1", "watchbell_advisory_database_timestamp_seconds 1000"]
    {
        assert!(metrics.lines().any(|found| found == line), "{metrics}");
    }
    let none = Known::default().metrics();
    assert!(none.ends_with("\nwatchbell_advisory_database_loaded 0\n"), "no age where there is none: {none}");
}

#[test]
fn of_very_many_findings_the_worst_are_kept() {
    let place = Place::new();
    let debian = Ecosystem::Debian { release: "12".into() };
    let ids: Vec<String> = (0..2_500).map(|n| format!("CVE-2026-{n:04}")).collect();
    let rated = |n: usize| if n >= 2_400 { Rated::Critical } else { Rated::Low };
    let list: Vec<(&str, Rated)> = ids.iter().enumerate().map(|(n, id)| (id.as_str(), rated(n))).collect();
    let mut builder = Builder::new();
    builder.replace(Source { name: "test".into(), ..Source::default() }, records(&debian, &list));
    place.put(&builder);
    let told = Arc::default();
    place.thread(&told).answer(1, question(&place));
    let (facts, _) = last(&told);
    let findings = facts.findings.as_ref().unwrap();
    assert_eq!((findings.list.len(), findings.more()), (2_000, 500));
    let [left_out] = findings.left_out[..] else { panic!("{:?}", findings.left_out) };
    assert_eq!((left_out.severity, left_out.is_fixed, left_out.count), (Some(Severity::Low), true, 500));
    let critical = findings.list.iter().filter(|finding| finding.severity == Some(Severity::Critical));
    assert_eq!(critical.count(), 100);
}

#[test]
fn nothing_is_read_for_nobody() {
    let place = Place::new();
    let told = Arc::default();
    let thread = place.thread(&told);
    thread.watch(&NAME.into(), &"ns".into(), vec![user("ns")]);
    let (facts, _) = last(&told);
    assert_eq!(facts.contents, Err(Unknown::NotYet), "there is no database and no policy");
    thread.watch(&"absent:1".into(), &"ns".into(), vec![user("ns")]);
    thread.watch(&"No Name".into(), &"ns".into(), vec![user("ns")]);
    assert!(told.lock().unwrap().is_empty());
    // With a database the images that are referred to are read.
    place.advise(&[]);
    thread.refresh();
    thread.watch(&NAME.into(), &"ns".into(), vec![user("ns")]);
    assert_eq!(last(&told).0.contents.as_ref().unwrap().packages, 1);
}

/// What a scan finds in one image that has something of everything. Bills that were made before are of no use once this is
/// another list.
#[test]
fn a_bill_of_another_version_is_made_when_a_scan_finds_something_else() {
    let place = Place::with_files(
        RELEASE,
        &[
            (
                "app/package-lock.json",
                r#"{"lockfileVersion":3,"packages":{"node_modules/a":{"version":"1.2.3"}}}"#,
            ),
            ("opt/site/b-2.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: b\nVersion: 2.0\n"),
            ("srv/rpm/rpmdb.sqlite", "none"),
            ("srv/apk/installed", "P:musl\nV:1.2.5-r0\n\n"),
        ],
        &[("var/lib/rpm", "/srv/rpm"), ("lib/apk/db", "/srv/apk")],
    );
    let bill = Scanner::Thread.scan(&place.store, &place.image()).unwrap();
    let packages = bill.inventory.packages.iter().map(|package| {
        let path = &package.locations[0].path;
        format!("{:?} {} {} {:?} {path}", package.kind, package.name, package.version, package.evidence)
    });
    let gaps = bill.inventory.gaps.iter().map(|gap| format!("gap {}: {}", gap.location.path, gap.reason));
    let lines: Vec<String> = packages.chain(gaps).collect();
    let golden = [
        "Deb zlib1g 1:1.2.13 Installed var/lib/dpkg/status",
        "Apk musl 1.2.5-r0 Installed lib/apk/db/installed",
        "Pypi b 2.0 Installed opt/site/b-2.0.dist-info/METADATA",
        "Npm a 1.2.3 LockFile app/package-lock.json",
        "gap var/lib/rpm/rpmdb.sqlite: it is no SQLite data base",
    ];
    let expect = (3, golden.map(str::to_owned).to_vec());
    assert_eq!((bill::VERSION, lines), expect, "raise bill::VERSION with the list");
}

#[test]
fn a_bill_goes_with_its_image() {
    let place = Place::new();
    let told = Arc::default();
    let thread = place.thread(&told);
    thread.answer(1, question(&place));
    let digest = place.image().digest;
    thread.forget_removed();
    assert!(thread.bills.read(&digest).unwrap().is_some());
    place.store.remove(&Reference::parse(NAME).unwrap(), &|_| false).unwrap();
    thread.forget_removed();
    assert!(thread.bills.read(&digest).unwrap().is_none());
}

#[test]
fn signatures_that_are_kept_count_for_their_signer_alone() {
    use watchbell_core::image_policy::SignerRule;
    use watchbell_image::Layout;
    use watchbell_signature::{SignatureForm, SigningKey, is_signature, sign};

    let place = Place::new();
    let digest = place.image().digest;
    let (ours, other) = (rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap());
    let key = SigningKey::from_pem(ours.serialize_pem().as_bytes()).unwrap();
    let dir = place.dir.path().join("layout");
    std::fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
    std::fs::write(dir.join("index.json"), r#"{"schemaVersion":2,"manifests":[]}"#).unwrap();
    let layout = Layout::open(&dir).unwrap();
    let (manifest, blob) = sign(&key, &digest, NAME, SignatureForm::Tag).unwrap();
    layout.attach(&manifest, &[blob]).unwrap();
    let rule = |pem: &str| SignerRule::Key { pem: pem.into() };
    let needs = Needs {
        signers: [
            ("ours".into(), rule(&ours.public_key_pem())),
            ("other".into(), rule(&other.public_key_pem())),
            ("broken".into(), rule("no key")),
        ]
        .into(),
        ..Needs::default()
    };
    let name = Reference::parse(NAME).unwrap();
    let kept = || signers::kept(&place.store, &name, &place.subjects(), &needs, Timestamp::UNIX_EPOCH).0;
    assert_eq!(kept(), [], "that nothing is kept proves nothing");
    let attached = layout.attached(&digest, &is_signature).unwrap();
    place.store.keep_attached(&name, &digest, &attached).unwrap();
    let signed = kept();
    assert_eq!(signed.iter().map(|signed| &*signed.signer).collect::<Vec<_>>(), ["ours"]);
    assert_eq!(signed[0].image, Ok(()));
    // Another database is no reason to verify it again; something else that is attached is.
    let told = Arc::default();
    let thread = place.thread(&told);
    let asker = asker(&name, &digest, Who::Kept);
    let is_verified = |needs: &Needs| {
        let attached = signers::attached_mark(&place.store, &name, &place.subjects()).unwrap();
        thread.desk.site.known.is_verified(&asker, &attached, needs)
    };
    assert!(!is_verified(&needs));
    thread.desk.learn_kept(&name, &place.image(), &needs);
    place.advise(&[]);
    assert!(thread.refresh() && is_verified(&needs));
    let more = Needs { statements: ["https://example.org/x".into()].into(), ..needs.clone() };
    assert!(!is_verified(&more));
    thread.desk.learn_kept(&name, &place.image(), &more);
    assert!(is_verified(&more) && is_verified(&needs));
    let (manifest, blob) = sign(&key, &digest, "another:name", SignatureForm::Tag).unwrap();
    layout.attach(&manifest, &[blob]).unwrap();
    place.store.keep_attached(&name, &digest, &layout.attached(&digest, &is_signature).unwrap()).unwrap();
    assert!(!is_verified(&needs));
    // Under another name another registry is to be asked.
    let other = Reference::parse("ghcr.io/team/tool:1").unwrap();
    let of_other = signers::kept(&place.store, &other, &place.subjects(), &needs, Timestamp::UNIX_EPOCH);
    assert_eq!(of_other.0, []);
    // A registry that cannot be asked takes nothing back.
    let options = PullOptions { attempts: 1, ..PullOptions::default() };
    let nowhere = Reference::parse("127.0.0.1:1/team/tool:1").unwrap();
    place.store.keep_attached(&nowhere, &digest, &attached).unwrap();
    let asked = |needs: &Needs| {
        signers::asked(&place.store, &nowhere, &place.image(), needs, &options, Timestamp::UNIX_EPOCH)
    };
    let signed = asked(&needs);
    let of = |id: &str| &signed.iter().find(|signed| &*signed.signer == id).unwrap().image;
    assert_eq!(of("ours"), &Ok(()));
    let why = of("other").as_ref().unwrap_err().to_string();
    assert!(why.starts_with("its registry cannot be asked for signatures: "), "{why}");
    let why = of("broken").as_ref().unwrap_err().to_string();
    assert!(why.starts_with("its public key cannot be used: "), "{why}");
    // What would have to be read too often is read for nobody.
    let kinds = (0..500_000).map(|n| format!("https://example.org/{n}").into());
    let many = Needs { statements: kinds.collect(), ..needs.clone() };
    let many = asked(&many);
    let gap = many[0].gap.as_deref().unwrap();
    assert!(many[0].image.is_err() && gap.contains("more than can be verified"), "{gap}");
}

#[test]
fn what_other_repositories_list_hides_no_signature() {
    use watchbell_core::image_policy::SignerRule;
    use watchbell_image::Layout;
    use watchbell_signature::{SignatureForm, SigningKey, is_signature, sign};

    let place = Place::new();
    let index = |n: u8| Digest::parse(&format!("sha256:{}", format!("{n:02x}").repeat(32))).unwrap();
    // It was chosen from an index of its own repository; another's registry lists it in very many, of smaller digests.
    let path = place.dir.path().join("images/index.json");
    let mut list: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let lines = list["manifests"].as_array_mut().unwrap();
    let mut line = lines[0].clone();
    lines[0]["annotations"]["dev.watchbell.image.index"] = index(0xff).as_str().into();
    for n in 0..20 {
        line["annotations"]["org.opencontainers.image.ref.name"] = format!("evil.example/x/{n}:1").into();
        line["annotations"]["dev.watchbell.image.index"] = index(n).as_str().into();
        lines.push(line.clone());
    }
    std::fs::write(&path, list.to_string()).unwrap();
    assert_eq!(place.subjects(), [place.image().digest, index(0xff)]);

    let pair = rcgen::KeyPair::generate().unwrap();
    let key = SigningKey::from_pem(pair.serialize_pem().as_bytes()).unwrap();
    let dir = place.dir.path().join("layout");
    std::fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
    std::fs::write(dir.join("index.json"), r#"{"schemaVersion":2,"manifests":[]}"#).unwrap();
    let layout = Layout::open(&dir).unwrap();
    let (manifest, blob) = sign(&key, &index(0xff), NAME, SignatureForm::Tag).unwrap();
    layout.attach(&manifest, &[blob]).unwrap();
    let name = Reference::parse(NAME).unwrap();
    let attached = layout.attached(&index(0xff), &is_signature).unwrap();
    place.store.keep_attached(&name, &index(0xff), &attached).unwrap();
    let rule = SignerRule::Key { pem: pair.public_key_pem().into() };
    let needs = Needs { signers: [("ours".into(), rule)].into(), ..Needs::default() };
    let (said, _) = signers::kept(&place.store, &name, &place.subjects(), &needs, Timestamp::UNIX_EPOCH);
    assert_eq!(said.iter().map(|said| said.image.clone()).collect::<Vec<_>>(), [Ok(())]);
}

#[test]
fn junk_that_is_attached_hides_no_signature() {
    use watchbell_core::image_policy::SignerRule;
    use watchbell_image::{Layout, NewBlob, NewManifest};
    use watchbell_signature::{SignatureForm, SigningKey, is_signature, sign};

    const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
    let place = Place::new();
    let digest = place.image().digest;
    let pair = rcgen::KeyPair::generate().unwrap();
    let key = SigningKey::from_pem(pair.serialize_pem().as_bytes()).unwrap();
    let dir = place.dir.path().join("layout");
    std::fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
    let (blob, from) = (format!("blobs/sha256/{}", digest.hex()), place.dir.path().join("images"));
    let size = std::fs::copy(from.join(&blob), dir.join(&blob)).unwrap();
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let line = serde_json::json!({"mediaType": media_type, "digest": digest, "size": size});
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [line]});
    std::fs::write(dir.join("index.json"), index.to_string()).unwrap();
    let layout = Layout::open(&dir).unwrap();
    // As many parts as a referrer may have, in as many as are looked at.
    for n in 0..63 {
        let junk = NewManifest::Referrer { artifact_type: BUNDLE.into(), subject: digest.clone() };
        let part = |part| NewBlob {
            media_type: BUNDLE.into(),
            bytes: format!("{n} {part}").into(),
            annotations: Vec::new(),
        };
        layout.attach(&junk, &(0..8).map(part).collect::<Vec<_>>()).unwrap();
    }
    let (manifest, blob) = sign(&key, &digest, NAME, SignatureForm::Bundle).unwrap();
    layout.attach(&manifest, &[blob]).unwrap();
    let rule = SignerRule::Key { pem: pair.public_key_pem().into() };
    let needs = Needs { signers: [("ours".into(), rule)].into(), ..Needs::default() };
    let name = Reference::parse(NAME).unwrap();
    let attached = layout.attached(&digest, &is_signature).unwrap();
    assert_eq!((attached.len(), attached.gap()), (64, None));
    place.store.keep_attached(&name, &digest, &attached).unwrap();
    let (said, _) = signers::kept(&place.store, &name, &place.subjects(), &needs, Timestamp::UNIX_EPOCH);
    assert_eq!(said.iter().map(|said| said.image.clone()).collect::<Vec<_>>(), [Ok(())]);
}

#[test]
fn a_registry_is_asked_by_another_thread_where_what_is_kept_does_not_suffice() {
    use crate::agent::tests::judged::state;

    let place = Place::new();
    let pair = rcgen::KeyPair::generate().unwrap();
    let signer = serde_json::json!({"name": "release", "key": {"publicKey": pair.public_key_pem()}});
    let snapshot = state(1, &[serde_json::json!({"signers": [signer]})]);
    let (heard, hears) = channel();
    let told = Arc::default();
    let shown = snapshot.clone();
    let thread = place.with(&told, move |desk| {
        desk.site.snapshots = Arc::new(move || shown.clone());
        desk.site.pull.attempts = 1;
        desk.hear = Box::new(move |news| heard.send(news).unwrap());
    });
    let policies = snapshot.image_policies("ns");
    let nobody: Arc<str> = "127.0.0.1:1/team/tool:1".into();
    let asked = Question { image: nobody, needs: needs(&policies), ..question(&place) };
    thread.answer(7, asked.clone());
    assert_eq!(hears.recv(), Ok(News::Answered(7)));
    let (facts, _) = last(&told);
    let why = facts.signers[0].image.as_ref().unwrap_err().to_string();
    assert!(why.starts_with("its registry cannot be asked for signatures: "), "{why}");
    assert!(is_examined(&policies, &facts), "it is known that it is not signed, as far as anybody knows");
    // Another namespace has asked nobody yet.
    let name = Reference::parse(&asked.image).unwrap();
    let elsewhere = thread.desk.facts(&name, &place.image(), View::Namespace("elsewhere"));
    assert_eq!(elsewhere.signers, []);
}

#[test]
fn of_very_many_questions_of_a_namespace_some_are_turned_away() {
    let place = Place::new();
    let (heard, hears) = channel();
    let told = Arc::default();
    let examination = place.with(&told, move |desk| {
        desk.hear = Box::new(move |news| heard.send(news).unwrap());
    });
    // Nobody works, so all wait.
    let crew = Crew::start("nobody", Size { threads: 0, each: 1 }, |_: Task| {}).unwrap();
    let thread = Thread { examination: Arc::new(examination), crew };
    for id in 0..=256 {
        thread.take(id, Box::new(question(&place)));
    }
    thread.take(300, Box::new(Question { namespace: "other".into(), ..question(&place) }));
    drop(thread);
    assert_eq!(hears.iter().collect::<Vec<_>>(), [News::TurnedAway(256)]);
}

#[test]
fn images_that_are_named_are_looked_at_and_no_others() {
    use crate::agent::tests::judged::state_with;

    let place = Place::new();
    // No start asked, and there is no database: what a policy asks of the content is read all the same.
    let shell = serde_json::json!({"minimality": {"noShell": true}});
    let crons = [("a", NAME), ("b", NAME), ("c", "gone:1"), ("d", "other:1")];
    let other = Reference::parse("other:1").unwrap();
    place.store.tag(&Reference::parse(NAME).unwrap(), &other).unwrap();
    let snapshot = state_with(1, &[shell], &crons);
    let shown = snapshot.clone();
    let told = Arc::default();
    let examination = place.with(&told, move |desk| desk.site.snapshots = Arc::new(move || shown.clone()));
    let (given, takes) = channel();
    let crew =
        Crew::start("give", Size { threads: 1, each: 1 }, move |task| given.send(task).unwrap()).unwrap();
    let thread = Thread { examination: Arc::new(examination), crew };
    let named = [("ns", NAME), ("ns", NAME), ("ns", "gone:1"), ("elsewhere", "other:1")];
    let which = named.iter().fold(Which::These(HashSet::new()), |which, (namespace, image)| {
        which.with((*namespace).into(), (*image).into())
    });
    thread.look_over(&which);
    let examination = thread.examination.clone();
    let task = takes.recv().unwrap();
    drop(thread);
    assert!(takes.recv().is_err(), "that is all");
    let Task::Watch { image, namespace, users } = &task else { panic!("nobody waits for it") };
    assert_eq!((&**image, &**namespace, users.len()), (NAME, "ns", 2));
    examination.carry_out(task);
    let (facts, users) = last(&told);
    assert!(is_examined(&snapshot.image_policies("ns"), &facts));
    assert_eq!((facts.contents.as_ref().unwrap().shells.len(), users.len()), (1, 2));
    // Of everything, the one that is not here alone is left out.
    let which = Which::All.with("ns".into(), "x:1".into());
    assert!(which.has(&"ns".into(), &NAME.into()));
}
