//! What is attached to an image at a registry: by the referrers API, by the tag in its place, by cosign's tags.

use std::time::Duration;

use serde_json::{Value, json};
use watchbell_image::{
    Artifact, Attached, Attachment, Digest, Limits, NewBlob, PullOptions, attach_remote, attached_remote,
    pull_attached,
};

use super::stand::{Answer, Stand, answer};
use super::{made, quick};

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn subject() -> Digest {
    Digest::of(b"the image")
}

/// An artifact of `subject` with one blob: its manifest, and the descriptor of that.
fn artifact(subject: Option<&Digest>, content: &str) -> (Value, Value) {
    let mut manifest = json!({
        "schemaVersion": 2, "artifactType": BUNDLE,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::of(b"{}"), "size": 2},
        "layers": [{"mediaType": BUNDLE, "digest": Digest::of(content.as_bytes()), "size": content.len()}],
    });
    if let Some(subject) = subject {
        manifest["subject"] = json!({"mediaType": "x", "digest": subject, "size": 1});
    }
    let bytes = manifest.to_string();
    // The descriptor's own types lie, as they do in the field.
    let descriptor = json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "artifactType": "application/vnd.oci.empty.v1+json",
        "digest": Digest::of(bytes.as_bytes()), "size": bytes.len(),
    });
    (manifest, descriptor)
}

fn list(descriptors: &[&Value]) -> String {
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": descriptors}).to_string()
}

/// A registry that has these documents by their path below the repository, and any blob of `contents` by its digest.
fn registry(answers: Vec<(String, String, String)>, contents: &'static [&'static str]) -> Stand {
    Stand::new(move |asked| -> Answer {
        let Some(rest) = asked.path.strip_prefix("/v2/r/") else { return answer(200, "") };
        if let Some((_, media_type, body)) = answers.iter().find(|(path, ..)| path == rest) {
            return answer(200, body.as_str()).with("Content-Type", media_type.as_str());
        }
        let blob = rest.strip_prefix("blobs/");
        match contents.iter().find(|c| blob == Some(Digest::of(c.as_bytes()).as_str())) {
            Some(content) => answer(200, *content),
            None => answer(404, ""),
        }
    })
}

fn attached(stand: &Stand) -> Result<Attached, String> {
    let limits = Limits { attachments_max: 3, ..Limits::default() };
    attached_remote(&stand.reference("r:1"), &subject(), &quick(), &limits, &|_, _| true)
        .map_err(|e| e.to_string())
}

/// Where all is read.
fn found(stand: &Stand) -> Result<Vec<(Attachment, String)>, String> {
    let all = attached(stand)?;
    assert_eq!(all.gap(), None);
    let content = |a: Artifact| (a.attachment, String::from_utf8(a.blobs[0].bytes.clone()).unwrap());
    Ok(all.into_iter().map(content).collect())
}

/// How much is read, and why not all.
fn gap(stand: &Stand) -> (usize, String) {
    let all = attached(stand).unwrap();
    (all.len(), all.gap().expect("not all is read"))
}

fn manifest_at((manifest, descriptor): &(Value, Value)) -> (String, String, String) {
    let path = format!("manifests/{}", descriptor["digest"].as_str().unwrap());
    (path, "application/vnd.oci.image.manifest.v1+json".into(), manifest.to_string())
}

#[test]
fn the_api_the_tag_in_its_place_and_cosigns_tags_are_read() {
    let (one, two) = (artifact(Some(&subject()), "one"), artifact(Some(&subject()), "two"));
    let api = format!("referrers/{}", subject());
    let stand = registry(
        vec![
            (api, INDEX.into(), list(&[&one.1, &two.1])),
            manifest_at(&one),
            manifest_at(&two),
            (
                format!("manifests/{}", Attachment::Signatures.tag(&subject())),
                "application/vnd.oci.image.manifest.v1+json".into(),
                artifact(None, "three").0.to_string(),
            ),
        ],
        &["one", "two", "three"],
    );
    let expect = |names: &[(Attachment, &str)]| names.iter().map(|(a, n)| (*a, (*n).to_owned())).collect();
    let referrer = Attachment::Referrer;
    assert_eq!(
        found(&stand),
        Ok(expect(&[(Attachment::Signatures, "three"), (referrer, "one"), (referrer, "two")]))
    );
    let tag = Attachment::Referrer.tag(&subject());
    assert!(!stand.asked().iter().any(|a| a.path.ends_with(&tag)), "the API has said all");

    // A registry of before the API: the list lies under a tag.
    let stand = registry(
        vec![(format!("manifests/{tag}"), INDEX.into(), list(&[&one.1])), manifest_at(&one)],
        &["one"],
    );
    assert_eq!(found(&stand), Ok(expect(&[(referrer, "one")])));
    // Nothing at all is no error.
    assert_eq!(found(&registry(Vec::new(), &[])), Ok(Vec::new()));
}

#[test]
fn pages_are_followed_at_the_same_registry_and_lists_are_bounded() {
    let parts: Vec<(Value, Value)> =
        ["a", "b", "c", "d"].iter().map(|n| artifact(Some(&subject()), n)).collect();
    let pages: Vec<String> = parts.iter().map(|p| list(&[&p.1])).collect();
    let manifests: Vec<(String, String, String)> = parts.iter().map(manifest_at).collect();
    let stand = move |last: usize, link: &'static str| {
        let (pages, manifests) = (pages.clone(), manifests.clone());
        Stand::new(move |asked| {
            let Some(rest) = asked.path.strip_prefix("/v2/r/") else { return answer(200, "") };
            if let Some(at) = rest.strip_prefix("referrers/") {
                let page = at.rsplit_once("last=").map_or(0, |(_, n)| n.parse().unwrap());
                let body = answer(200, pages[page].as_str()).with("Content-Type", INDEX);
                let next = link.replace("PAGE", &(page + 1).to_string());
                return if page < last { body.with("Link", next) } else { body };
            }
            if let Some((_, _, body)) = manifests.iter().find(|(path, ..)| path == rest) {
                return answer(200, body.as_str());
            }
            let known =
                ["a", "b", "c", "d"].iter().find(|c| rest.ends_with(Digest::of(c.as_bytes()).as_str()));
            known.map_or_else(|| answer(404, ""), |c| answer(200, *c))
        })
    };
    assert_eq!(found(&stand(2, "</v2/r/referrers/x?last=PAGE>; rel=\"next\"")).unwrap().len(), 3);
    let (read, why) = gap(&stand(3, "</v2/r/referrers/x?last=PAGE>; rel=\"next\""));
    assert!(read == 3 && why.contains("1 of what is attached") && why.contains("no more than 3"), "{why}");
    let (read, why) = gap(&stand(1, "<https://169.254.169.254/v2/?last=PAGE>; rel=\"next\""));
    assert!(read == 0 && why.contains("continues the list at"), "{why}");
}

#[test]
fn what_lies_is_passed_over_and_said() {
    let (mine, of_another) =
        (artifact(Some(&subject()), "one"), artifact(Some(&Digest::of(b"another")), "two"));
    let api = || format!("referrers/{}", subject());
    // It names another image by its own word.
    let stand =
        registry(vec![(api(), INDEX.into(), list(&[&of_another.1])), manifest_at(&of_another)], &["two"]);
    assert_eq!(found(&stand), Ok(Vec::new()));
    // The manifest is not what the list says.
    let (path, media_type, _) = manifest_at(&mine);
    let changed = (path, media_type, of_another.0.to_string());
    let stand = registry(vec![(api(), INDEX.into(), list(&[&mine.1])), changed], &[]);
    let check = |stand: &Stand, expect: &str| {
        let (read, why) = gap(stand);
        assert!(read == 0 && why.contains(expect), "{why}");
    };
    check(&stand, "nothing was kept");
    // The content is not what the manifest says: other bytes of the same length.
    let listed = (api(), INDEX.to_owned(), list(&[&mine.1]));
    let content = (format!("blobs/{}", Digest::of(b"one")), "text/plain".to_owned(), "two".to_owned());
    let stand = registry(vec![listed.clone(), manifest_at(&mine), content], &[]);
    check(&stand, "does not match its digest");
    // More content than the manifest says is not read.
    let content = (format!("blobs/{}", Digest::of(b"one")), "text/plain".to_owned(), "x".repeat(1 << 20));
    let stand = registry(vec![listed, manifest_at(&mine), content], &[]);
    check(&stand, "at most 3 are read");
    // A page for people in place of a list, and a list that is none.
    let stand = registry(vec![(api(), "text/html".into(), "<html>".into())], &[]);
    assert_eq!(found(&stand), Ok(Vec::new()));
    let stand = registry(vec![(api(), INDEX.into(), "{\"manifests\": 1}".into())], &[]);
    check(&stand, "the list of attachments");
    // None of it hides what lies under a tag of its own.
    let signatures = format!("manifests/{}", Attachment::Signatures.tag(&subject()));
    let signed = (
        signatures,
        "application/vnd.oci.image.manifest.v1+json".into(),
        artifact(None, "three").0.to_string(),
    );
    let stand = registry(vec![(api(), INDEX.into(), list(&[&mine.1])), signed], &["three"]);
    let (read, why) = gap(&stand);
    assert!(read == 1 && why.contains("404"), "{why}");
}

#[test]
fn content_and_token_go_to_nobody_whom_the_registry_names() {
    let other = Stand::new(|_| answer(201, ""));
    let elsewhere = format!("http://{}/upload", other.address);
    let stand = Stand::new(move |asked| {
        if asked.path.starts_with("/v2/r/manifests/") {
            let manifest = json!({"schemaVersion": 2, "config": {}, "layers": []});
            return answer(200, manifest.to_string())
                .with("Content-Type", "application/vnd.oci.image.manifest.v1+json");
        }
        if asked.path.contains("/blobs/uploads/") {
            return answer(202, "").with("Location", elsewhere.as_str());
        }
        if asked.path == "/v2/" { answer(200, "") } else { answer(404, "") }
    });
    let blob = NewBlob { media_type: "x/y".into(), bytes: b"secret".to_vec(), annotations: Vec::new() };
    let error = attach_remote(&stand.reference("r:1"), "x/y", &[blob], &quick(), &Limits::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("it has the content sent to"), "{error}");
    assert!(other.asked().is_empty());
}

#[test]
fn what_is_attached_is_kept_beside_the_image() {
    let (home, image) = made(10);
    let attached = artifact(Some(&image.digest), "one");
    let list_at = (format!("referrers/{}", image.digest), INDEX.to_owned(), list(&[&attached.1]));
    let stand = registry(vec![list_at.clone(), manifest_at(&attached)], &["one"]);
    let reference = stand.reference("r:1");
    let kept = || {
        let all = home.store.attached(&reference, &image.digest, 1000).unwrap();
        all.map(|all| all[0].blobs[0].bytes.clone())
    };
    pull_attached(&home.store, &reference, &image, &quick(), &|_, _| true).unwrap();
    assert_eq!(kept().unwrap(), b"one");
    // A registry that lacks what it lists changes nothing.
    let stand = registry(vec![list_at], &[]);
    pull_attached(&home.store, &stand.reference("r:1"), &image, &quick(), &|_, _| true).unwrap();
    assert_eq!(kept().unwrap(), b"one");
}

#[test]
fn all_requests_together_have_their_time() {
    let stand = registry(Vec::new(), &[]);
    let within = |total_timeout| {
        let options = PullOptions { total_timeout: Some(total_timeout), ..quick() };
        attached_remote(&stand.reference("r:1"), &subject(), &options, &Limits::default(), &|_, _| true)
    };
    assert!(within(Duration::from_secs(600)).unwrap().is_empty());
    let error = within(Duration::ZERO).unwrap_err().to_string();
    assert!(error.contains("no time is left, it answers too slowly"), "{error}");
}
