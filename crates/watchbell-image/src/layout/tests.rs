use serde_json::json;

use super::*;

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// A layout with one image, tagged `1`, whose digest is returned.
fn layout() -> (tempfile::TempDir, Layout, Digest) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
    std::fs::write(dir.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    std::fs::write(dir.path().join("index.json"), r#"{"schemaVersion":2,"manifests":[]}"#).unwrap();
    let layout = Layout::open(dir.path()).unwrap();
    let digest = layout.attach(&NewManifest::Tagged { tag: "1".into() }, &[blob("image", "layer")]).unwrap();
    (dir, layout, digest)
}

fn blob(media_type: &str, content: &str) -> NewBlob {
    NewBlob { media_type: media_type.into(), bytes: content.into(), annotations: Vec::new() }
}

fn all(_: Attachment, _: &ArtifactManifest) -> bool {
    true
}

fn attached_to(layout: &Layout, image: &Digest) -> Vec<(Attachment, String, Vec<u8>)> {
    let found = layout.attached(image, &all).unwrap();
    found.into_iter().map(|a| (a.attachment, a.manifest.artifact_type, a.blobs[0].bytes.clone())).collect()
}

#[test]
fn what_is_attached_either_way_is_found_again() {
    let (_dir, layout, image) = layout();
    assert_eq!(attached_to(&layout, &image), []);
    let referrer = NewManifest::Referrer { artifact_type: BUNDLE.into(), subject: image.clone() };
    layout.attach(&referrer, &[blob(BUNDLE, "{1}")]).unwrap();
    let tagged = NewManifest::Tagged { tag: Attachment::Signatures.tag(&image) };
    layout.attach(&tagged, &[blob("text/plain", "old")]).unwrap();
    layout.attach(&tagged, &[blob("text/plain", "new")]).unwrap();
    assert_eq!(
        attached_to(&layout, &image),
        [
            (Attachment::Signatures, OCI_CONFIG.to_owned(), b"new".to_vec()),
            (Attachment::Referrer, BUNDLE.to_owned(), b"{1}".to_vec())
        ]
    );
    // The image itself is still the one that is meant without a tag, and what is attached is attached to it alone.
    assert_eq!(layout.image(None).unwrap().0.digest, image);
    assert_eq!(layout.image(Some("1")).unwrap().0.digest, image);
    assert!(layout.image(Some("2")).is_err());
    assert_eq!(attached_to(&layout, &Digest::of(b"another")), []);
}

/// The fallback tag's index, with a type in its descriptor that the manifest does not have (as cosign 3 and its registries
/// leave it).
#[test]
fn a_list_under_the_fallback_tag_is_believed_about_digests_alone() {
    let (_dir, layout, image) = layout();
    let manifest = json!({
        "schemaVersion": 2, "artifactType": BUNDLE,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::of(b"{}"), "size": 2},
        "layers": [layout.put(BUNDLE, b"{2}").unwrap()],
        "subject": {"mediaType": OCI_MANIFEST, "digest": image, "size": 1},
    });
    let mut entry = layout.put("application/vnd.oci.empty.v1+json", manifest.to_string().as_bytes()).unwrap();
    let mut other = manifest.clone();
    other["subject"]["digest"] = json!(Digest::of(b"another"));
    let of_another = layout.put(OCI_MANIFEST, other.to_string().as_bytes()).unwrap();
    let list = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [&entry, of_another]});
    let line = layout.put(OCI_INDEX, list.to_string().as_bytes()).unwrap();
    let mut line = value(&line);
    line["annotations"] = json!({REF_NAME: Attachment::Referrer.tag(&image)});
    layout.add_line(line).unwrap();
    assert_eq!(attached_to(&layout, &image), [(Attachment::Referrer, BUNDLE.to_owned(), b"{2}".to_vec())]);
    assert_eq!(layout.image(None).unwrap().0.digest, image, "a list of referrers is no image");
    // A size that is not the manifest's.
    entry.size += 1;
    let error = layout.document(&entry).unwrap_err().to_string();
    assert!(error.contains("descriptor says"), "{error}");
}

#[test]
fn a_blob_that_was_changed_is_refused_and_links_lead_nowhere() {
    let (dir, layout, image) = layout();
    let tagged = NewManifest::Tagged { tag: Attachment::Signatures.tag(&image) };
    layout.attach(&tagged, &[blob("text/plain", "abc")]).unwrap();
    let path = dir.path().join(blob_name(&Digest::of(b"abc")));
    std::fs::write(&path, "abd").unwrap();
    let attached = layout.attached(&image, &all).unwrap();
    assert!(attached.is_empty() && attached.gap().unwrap().contains("does not match its digest"));
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", &path).unwrap();
    assert!(layout.attached(&image, &all).is_err());
    // What nobody wants is not read.
    assert!(layout.attached(&image, &|_, _| false).unwrap().is_empty());
}

/// A store is a layout too, and is read as one; but its lines are images.
#[test]
fn nothing_is_attached_inside_a_store() {
    let t = crate::testing::store();
    let layout = Layout::open(&t.data().join("images")).unwrap();
    let error = layout.attach(&NewManifest::Tagged { tag: "1".into() }, &[]).unwrap_err().to_string();
    assert!(error.contains("a store of watchbell's own"), "{error}");
    assert!(layout.image(None).is_err());
}

#[test]
fn what_is_attached_is_bounded() {
    let (_dir, mut layout, image) = layout();
    let referrer = NewManifest::Referrer { artifact_type: BUNDLE.into(), subject: image.clone() };
    for n in 0..3 {
        layout.attach(&referrer, &[blob(BUNDLE, &format!("{{{n}}}"))]).unwrap();
    }
    assert_eq!(attached_to(&layout, &image).len(), 3);
    let told = |layout: &Layout| {
        let attached = layout.attached(&image, &all).unwrap();
        (attached.len(), attached.gap().unwrap_or_default())
    };
    assert_eq!(told(&layout), (3, String::new()));
    layout.limits.attachments_max = 2;
    let why = "1 of what is attached to it could not be looked at: no more than 2 are looked at each time, some of them by lot";
    assert_eq!(told(&layout), (2, why.to_owned()));
    layout.limits.attachments_max = 3;
    layout.limits.attachment_bytes_max = 2;
    let (read, why) = told(&layout);
    assert_eq!((read, why.contains("3 of what")), (0, true), "{why}");
    assert!(why.ends_with("no more than 2 bytes are read of one, and 134217728 of all"), "{why}");
}
