use super::*;
use crate::media_type::{DOCKER_INDEX, OCI_INDEX};

fn descriptor(media_type: &str) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":1}}"#, Digest::of(b"x"))
}

fn manifest_json(extra: &str) -> String {
    format!(
        r#"{{"schemaVersion":2,{extra}"config":{},"layers":[{}]}}"#,
        descriptor("application/vnd.oci.image.config.v1+json"),
        descriptor("application/vnd.oci.image.layer.v1.tar+gzip")
    )
}

fn parse(json: &str, claimed: Option<&str>) -> Result<Document, Error> {
    Document::parse(json.as_bytes(), claimed, &Limits::default(), "test")
}

#[test]
fn a_plain_manifest_and_index_are_told_apart() {
    assert!(matches!(parse(&manifest_json(""), Some(OCI_MANIFEST)), Ok(Document::Manifest(_))));
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, descriptor(OCI_MANIFEST));
    assert!(matches!(parse(&index, Some(OCI_INDEX)), Ok(Document::Index(_))));
    assert!(matches!(parse(&index, None), Ok(Document::Index(_))));
}

#[test]
fn media_type_confusion_is_refused() {
    let both = format!(
        r#"{{"schemaVersion":2,"config":{},"layers":[],"manifests":[]}}"#,
        descriptor("application/vnd.oci.image.config.v1+json")
    );
    let labelled = manifest_json(&format!(r#""mediaType":"{DOCKER_INDEX}","#));
    let cases = [
        (both.as_str(), None),
        (labelled.as_str(), None),
        (&manifest_json(""), Some(OCI_INDEX)),
        (
            &manifest_json(&format!(r#""mediaType":"{OCI_MANIFEST}","#)),
            Some("application/vnd.docker.distribution.manifest.v2+json"),
        ),
        (&manifest_json(r#""schemaVersion":2,"#), None),
        (r#"{"schemaVersion":1,"fsLayers":[]}"#, None),
        (r#"{"schemaVersion":2}"#, None),
        ("[]", None),
        ("", None),
    ];
    for (json, claimed) in cases {
        assert!(parse(json, claimed).is_err(), "{json} as {claimed:?} was accepted");
    }
}

#[test]
fn artifacts_and_foreign_layers_are_refused_by_name() {
    let chart = format!(
        r#"{{"schemaVersion":2,"config":{},"layers":[]}}"#,
        descriptor("application/vnd.cncf.helm.config.v1+json")
    );
    assert!(parse(&chart, None).unwrap_err().to_string().contains("not a container image"));
    let encrypted = format!(
        r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#,
        descriptor("application/vnd.oci.image.config.v1+json"),
        descriptor("application/vnd.oci.image.layer.v1.tar+gzip+encrypted")
    );
    assert!(parse(&encrypted, None).unwrap_err().to_string().contains("cannot be unpacked"));
}

#[test]
fn absurd_layer_sizes_and_counts_are_refused() {
    let layer = format!(
        r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{}","size":{}}}"#,
        Digest::of(b"x"),
        u64::MAX
    );
    let config = descriptor("application/vnd.oci.image.config.v1+json");
    let json = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer},{layer}]}}"#);
    assert!(matches!(parse(&json, None), Err(Error::Limit { .. })));
    let one = descriptor("application/vnd.oci.image.layer.v1.tar");
    let many = vec![one.as_str(); 128].join(",");
    let json = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{many}]}}"#);
    assert!(matches!(parse(&json, None), Err(Error::Limit { .. })));
}

#[test]
fn the_platform_decides_and_attestations_do_not_count() {
    let entry = |platform: &str, content: &[u8]| {
        let mut d = Descriptor::new(OCI_MANIFEST, Digest::of(content), 1);
        d.platform = Some(Platform::parse(platform).unwrap());
        d
    };
    let index = Index {
        manifests: vec![
            entry("unknown/unknown", b"0"),
            entry("linux/arm64/v8", b"1"),
            entry("linux/amd64", b"2"),
        ],
    };
    let choose = |p: &str| index.choose(&Platform::parse(p).unwrap(), "test").map(|d| d.digest.clone());
    assert_eq!(choose("linux/amd64").unwrap(), Digest::of(b"2"));
    assert_eq!(choose("linux/arm64").unwrap(), Digest::of(b"1"));
    let refused = choose("linux/s390x").unwrap_err().to_string();
    assert!(refused.contains("offers linux/amd64, linux/arm64"), "{refused}");
}
