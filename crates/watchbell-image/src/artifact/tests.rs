//! What is read of what is attached, where somebody has attached more than is read.

use std::cell::Cell;
use std::collections::HashMap;

use serde_json::json;

use super::*;

/// A place where anything can be attached.
#[derive(Default)]
struct Place {
    lines: Vec<Listed>,
    tags: HashMap<String, (Descriptor, Vec<u8>)>,
    contents: HashMap<Digest, Vec<u8>>,
    /// Answers that are given; after that the place is gone.
    answers: Cell<Option<u32>>,
}

impl Place {
    fn put(&mut self, bytes: Vec<u8>) -> Descriptor {
        let descriptor = Descriptor::new("x/y", Digest::of(&bytes), bytes.len() as u64);
        self.contents.insert(descriptor.digest.clone(), bytes);
        descriptor
    }

    fn manifest(&mut self, content: &str) -> Vec<u8> {
        let layer = self.put(content.into());
        let config = Descriptor::new("x/y", Digest::of(b"{}"), 2);
        json!({"schemaVersion": 2, "config": config, "layers": [layer]}).to_string().into()
    }

    /// Attaches this content, under a type that a list says it has.
    fn attach(&mut self, content: &str, artifact_type: &str, created: &str) {
        let manifest = self.manifest(content);
        let mut descriptor = self.put(manifest);
        descriptor.annotations.insert("org.opencontainers.image.created".into(), created.into());
        self.lines.push(Listed { descriptor, artifact_type: Some(artifact_type.into()) });
    }

    fn answer(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        if let Some(left) = self.answers.get() {
            let Some(left) = left.checked_sub(1) else {
                let (registry, reference) = ("r".to_owned(), "r/a".to_owned());
                return Err(Error::Unreachable {
                    registry,
                    step: "a step",
                    reference,
                    cause: "it is gone".into(),
                });
            };
            self.answers.set(Some(left));
        }
        self.contents.get(digest).cloned().ok_or_else(|| Error::MissingBlob { digest: digest.clone() })
    }

    /// The contents that are read, and why not all.
    fn read(&self, limits: &Limits, seed: u64) -> (Vec<String>, String) {
        let lot =
            |digest: &Digest| u64::from_str_radix(&digest.hex()[..15], 16).unwrap().wrapping_mul(seed | 1);
        let read = attached_by(self, &Digest::of(b"image"), limits, &|_, _| true, &lot).unwrap();
        let gap = read.gap().unwrap_or_default();
        (read.iter().map(|a| String::from_utf8(a.blobs[0].bytes.clone()).unwrap()).collect(), gap)
    }
}

impl ArtifactSource for Place {
    fn origin(&self) -> String {
        "a place".into()
    }

    fn tagged(&self, tag: &str) -> Result<Option<(Descriptor, Vec<u8>)>, Error> {
        Ok(self.tags.get(tag).cloned())
    }

    fn referrers(&self, _: &Digest) -> Result<Option<Listing>, Error> {
        Ok(Some(Listing { lines: self.lines.clone(), cut: None }))
    }

    fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        self.answer(&descriptor.digest)
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        self.answer(&descriptor.digest)
    }
}

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const BILL: &str = "application/vnd.cyclonedx+json";

#[test]
fn signatures_come_before_bills_and_the_newest_first() {
    let mut place = Place::default();
    place.attach("bill", BILL, "2026-03-01T00:00:00Z");
    place.attach("unknown", "x/y", "2026-03-01T00:00:00Z");
    place.attach("old", BUNDLE, "2026-01-01T00:00:00Z");
    place.attach("new", BUNDLE, "2026-02-01T00:00:00Z");
    place.attach("never", BUNDLE, "?");
    let tag = Attachment::Signatures.tag(&Digest::of(b"image"));
    let manifest = place.manifest("tagged");
    place.tags.insert(tag, (Descriptor::new("x/y", Digest::of(&manifest), 0), manifest));
    let limits = Limits { attachments_max: 5, ..Limits::default() };
    let read = |limits: &Limits| place.read(limits, 1);
    assert_eq!(read(&limits).0, ["tagged", "new", "old", "never", "unknown", "bill"]);
    // The tag is no line of a list, and has its place whatever that has.
    assert_eq!(read(&Limits { attachments_max: 2, ..limits.clone() }).0[..2], ["tagged", "new"]);
}

#[test]
fn who_attaches_very_much_hides_nothing_for_long() {
    let mut place = Place::default();
    place.attach("signature", BUNDLE, "2026-01-01T00:00:00Z");
    for n in 0..1000 {
        place.attach(&format!("junk {n}"), BUNDLE, "2099-01-01T00:00:00Z");
    }
    let limits = Limits::default();
    let mut random = 7u64;
    let mut times = 0;
    loop {
        times += 1;
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (read, gap) = place.read(&limits, random);
        assert_eq!(read.len(), 64);
        assert_eq!(
            gap,
            "937 of what is attached to it could not be looked at: no more than 64 are looked at each time, some of them by lot"
        );
        if read.iter().any(|content| content == "signature") {
            break;
        }
        assert!(times < 500, "each time one of 31 finds it");
    }
}

#[test]
fn what_is_large_leaves_room_for_what_is_small() {
    let mut place = Place::default();
    for n in 0..5 {
        place.attach(&format!("{n}").repeat(40), BUNDLE, "2099-01-01T00:00:00Z");
    }
    place.attach(&"x".repeat(200), BUNDLE, "2099-01-01T00:00:00Z");
    place.attach("signature", BUNDLE, "2026-01-01T00:00:00Z");
    let limits = Limits { attachments_max: 7, attachment_bytes_max: 50, ..Limits::default() };
    let (read, gap) = place.read(&limits, 1);
    assert_eq!(
        (read.len(), gap.split(':').next().unwrap()),
        (6, "1 of what is attached to it could not be looked at")
    );
    // Of the bytes of all, half are given in order; who comes last has a chance at the others.
    let limits = Limits { attachments_bytes_max: 2_000, ..limits };
    let documents: usize = place.lines.iter().map(|line| line.descriptor.size as usize).sum();
    assert!(documents < 2_000, "{documents}");
    let some = Limits { attachments_bytes_max: 2_000, attachment_bytes_max: 50, ..limits };
    assert!(place.read(&some, 1).0.contains(&"signature".to_owned()));
}

#[test]
fn what_is_broken_is_passed_over_and_said() {
    let mut place = Place::default();
    place.attach("lost", BUNDLE, "?");
    place.attach("here", BUNDLE, "?");
    place.contents.remove(&Digest::of(b"lost"));
    let (read, gap) = place.read(&Limits::default(), 1);
    assert_eq!(read, ["here"]);
    assert!(gap.contains("is not in the store"), "{gap}");
    // A place that goes away in between: what was read before counts, and nothing more is asked.
    let mut place = Place::default();
    ["a", "b", "c"].iter().for_each(|content| place.attach(content, BUNDLE, "?"));
    for (answers, expect) in [(2, None), (3, None), (4, Some(1)), (5, Some(2))] {
        place.answers.set(Some(answers));
        match attached(&place, &Digest::of(b"image"), &Limits::default(), &|_, _| true) {
            Ok(read) => assert_eq!((Some(read.len()), read.gap().is_some()), (expect, true)),
            Err(error) => assert!(expect.is_none() && error.to_string().contains("it is gone")),
        }
    }
    place.answers.set(Some(0));
    let outcome = attached(&place, &Digest::of(b"image"), &Limits::default(), &|_, _| true);
    assert!(outcome.is_err(), "nobody was asked");
}

#[test]
fn nobody_uses_up_the_requests() {
    let mut place = Place::default();
    place.attach("signature", BUNDLE, "2026-01-01T00:00:00Z");
    let layer = place.put("junk".into());
    let config = Descriptor::new("x/y", Digest::of(b"{}"), 2);
    for n in 0..63 {
        let many = json!({"schemaVersion": 2, "config": config, "layers": vec![&layer; 127], "annotations": {"n": n.to_string()}});
        let mut descriptor = place.put(many.to_string().into());
        descriptor
            .annotations
            .insert("org.opencontainers.image.created".into(), "2099-01-01T00:00:00Z".into());
        place.lines.push(Listed { descriptor, artifact_type: Some(BUNDLE.into()) });
    }
    // One for each manifest, and one for the content: thousands would take longer than there is time.
    place.answers.set(Some(65));
    let (read, gap) = place.read(&Limits::default(), 1);
    assert_eq!(read, ["signature"]);
    assert!(gap.starts_with("63 of") && gap.contains("no more than 8 blobs"), "{gap}");
}

#[test]
fn what_is_drawn_by_lot_is_not_read_last() {
    let mut place = Place::default();
    for n in 0..1000 {
        place.attach(&format!("{n:04}"), BUNDLE, &format!("2026-01-01T{:02}:{:02}:00Z", n / 60, n % 60));
    }
    // The place is gone after the manifests and half of the contents.
    place.answers.set(Some(64 + 32));
    let (read, _) = place.read(&Limits::default(), 1);
    let in_order = read.iter().filter(|content| content.as_str() >= "0968").count();
    assert_eq!((read.len(), in_order), (32, 16));
}
