use super::*;

fn bucket(url: &str, config: &S3Config) -> Result<Bucket, String> {
    Bucket::new(url, config).map_err(|error| error.to_string())
}

/// As botocore 1.44 signs it (`S3SigV4Auth`, with an unsigned payload).
#[test]
fn a_request_is_signed_by_the_rules() {
    let config = S3Config {
        credentials: Some(S3Credentials {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_access_key: Zeroizing::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned()),
            session_token: None,
        }),
        ..S3Config::default()
    };
    let bucket = bucket("s3://examplebucket/a b", &config).unwrap();
    assert_eq!(
        (bucket.host.as_str(), bucket.prefix.as_str()),
        ("examplebucket.s3.us-east-1.amazonaws.com", "a b/")
    );
    let headers = bucket.signed("GET", "/a%20b/x", "", &[("if-match", "\"e\"")], "20130524T000000Z");
    let authorization = &headers[0].1;
    assert!(authorization.starts_with(
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
         SignedHeaders=host;if-match;x-amz-content-sha256;x-amz-date, Signature="
    ));
    assert!(
        authorization.ends_with("=b90a0c30a28b6040153314edb0437467a584362a41550ed232dd38a2eb56c4cc"),
        "{authorization}"
    );
}

#[test]
fn an_address_is_checked() {
    let http = |endpoint: &str, allow_http| S3Config {
        endpoint: Some(endpoint.to_owned()),
        allow_http,
        ..S3Config::default()
    };
    let cases = [
        ("/data", S3Config::default(), "it is no s3://"),
        ("s3://Upper/x", S3Config::default(), "lower-case letters"),
        ("s3://b..c/x", S3Config::default(), "lower-case letters"),
        ("s3://bucket/a/../b", S3Config::default(), "a part that is no name"),
        ("s3://bucket/a", http("http://127.0.0.1:9", false), "AWS_ALLOW_HTTP=true"),
        ("s3://bucket/a", http("ftp://x", true), "no URL with https://"),
        ("s3://bucket/a", http("https://x/y", true), "no host with a port"),
        ("s3://bucket/a", http("https://user@x", true), "no host with a port"),
    ];
    for (url, config, message) in cases {
        let error = bucket(url, &config).err().unwrap();
        assert!(error.contains(message), "{url}: {error}");
    }
}

#[test]
fn keys_are_encoded_and_decoded() {
    assert_eq!(encoded("a b/ü~+", true), "a%20b/%C3%BC~%2B");
    assert_eq!(decoded("a+b%2Fc%2B").as_deref(), Some("a b/c+"));
    assert_eq!((decoded("%ff"), decoded("%2")), (None, None));
    let xml = "<Contents><Key>a&amp;lt;</Key></Contents><Contents><Key>b</Key></Contents><Contents>";
    let keys: Vec<String> =
        elements(xml, "Contents").filter_map(|entry| elements(entry, "Key").next()).map(unescaped).collect();
    assert_eq!(keys, ["a&lt;", "b"]);
}
