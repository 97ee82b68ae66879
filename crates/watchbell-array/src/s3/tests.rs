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

#[test]
fn a_list_that_may_not_be_whole_is_refused() {
    let list = |inner: &str| {
        format!("<?xml version=\"1.0\"?>\n<ListBucketResult xmlns=\"x\">{inner}</ListBucketResult>\n")
    };
    let entry = "<Contents><Key>a%2Bb+c</Key><ETag>&quot;e&quot;</ETag><Size>3</Size></Contents>";
    let read = |text: &str| page(text).map(|page| (page.listed.len(), page.next));
    let whole = list(&format!("<EncodingType>url</EncodingType>{entry}<IsTruncated>false</IsTruncated>"));
    let first = page(&whole).unwrap().listed.remove(0);
    assert_eq!((first.key.as_str(), first.etag.as_str()), ("a+b c", "\"e\""));
    // Nobody said that keys are encoded.
    let plain = list(&format!("{entry}<IsTruncated>false</IsTruncated>"));
    assert_eq!(page(&plain).unwrap().listed[0].key, "a%2Bb+c");
    let more = "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>";
    assert_eq!(read(&list(more)), Ok((0, Some("t".to_owned()))));
    let cut = &whole[..whole.len() - 10];
    for (text, problem) in [
        ("<html>welcome</html>", "no whole list"),
        ("", "no whole list"),
        (cut, "no whole list"),
        (&list(entry), "whether it is whole"),
        (
            &list("<IsTruncated>false</IsTruncated><NextContinuationToken>t</NextContinuationToken>"),
            "whether it is",
        ),
        (&list("<Marker></Marker><IsTruncated>true</IsTruncated>"), "no ListObjectsV2"),
        (&list("<Contents a='b'><Key>x</Key></Contents><IsTruncated>false</IsTruncated>"), "another form"),
        (&list("<Contents><Key>x</Key></Contents><IsTruncated>false</IsTruncated>"), "another form"),
        (&"x".repeat(MAX_LIST_BYTES as usize + 1), "16 MiB"),
    ] {
        let found = read(text).unwrap_err();
        assert!(found.contains(problem), "{}: {found}", &text[..text.len().min(80)]);
    }
}

/// Answers each request with what the next answer says, and gives back the requests.
pub(super) fn service(answers: Vec<String>) -> (String, std::thread::JoinHandle<Vec<String>>) {
    use std::io::{BufRead as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let mut requests = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let lines = std::io::BufReader::new(&stream).lines().map_while(Result::ok);
            requests.push(lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join("\n"));
            stream.write_all(answer.as_bytes()).unwrap();
        }
        requests
    });
    (address, thread)
}

#[test]
fn an_object_that_is_another_than_the_list_s_is_refused() {
    let answer =
        |etag: &str| format!("HTTP/1.1 200 OK\r\n{etag}content-length: 1\r\nconnection: close\r\n\r\nx");
    // Services that do not heed the condition.
    let answers = vec![answer("etag: \"one\"\r\n"), answer("etag: \"two\"\r\n"), answer("")];
    let (endpoint, thread) = service(answers);
    let config = S3Config { endpoint: Some(endpoint), allow_http: true, ..S3Config::default() };
    let bucket = bucket("s3://bucket/a", &config).unwrap();
    let get = |etag: &str| {
        let mut text = String::new();
        let mut from = bucket.get("k", etag, 1).map_err(|error| error.to_string())?;
        from.read_to_string(&mut text).map_err(|error| error.to_string())?;
        Ok::<_, String>(text)
    };
    assert_eq!(get("one").as_deref(), Ok("x"));
    assert!(get("\"one\"").unwrap_err().ends_with("it changed while it was read"));
    assert!(get("\"one\"").unwrap_err().ends_with("it changed while it was read"));
    assert!(get("").unwrap_err().contains("no ETag"));
    assert!(thread.join().unwrap()[0].contains("if-match: one"));
}

#[test]
fn two_services_are_two_and_a_port_that_is_not_sent_is_not_signed() {
    let at = |endpoint: &str| {
        let config =
            S3Config { endpoint: Some(endpoint.to_owned()), allow_http: true, ..S3Config::default() };
        bucket("s3://bucket/a", &config).unwrap()
    };
    assert_ne!(at("https://one").identity(), at("https://two").identity());
    assert_eq!(at("https://one:443/").host, "one");
    assert_eq!(at("http://one:80").host, "one");
    assert_eq!(at("https://one:80").host, "one:80");
}

/// A line that breaks within an object goes on where it was, with the same object or none.
#[test]
fn a_line_that_breaks_goes_on() {
    let answer = |head: &str, body: &str| {
        format!("HTTP/1.1 {head}\r\netag: \"one\"\r\nconnection: close\r\n\r\n{body}")
    };
    let broken = answer("200 OK\r\ncontent-length: 10", "0123");
    let again = answer("206 Partial Content\r\ncontent-range: bytes 4-9/10\r\ncontent-length: 6", "45");
    let rest = answer("206 Partial Content\r\ncontent-range: bytes 6-9/10\r\ncontent-length: 4", "6789");
    let whole = answer("200 OK\r\ncontent-length: 10", "0123456789");
    let none = |from: usize| {
        let range = format!("content-range: bytes {from}-9/10\r\ncontent-length: {}", 10 - from);
        answer(&format!("206 Partial Content\r\n{range}"), "")
    };
    let other = answer("206 Partial Content\r\ncontent-range: bytes 5-9/10\r\ncontent-length: 5", "56789");
    let changed =
        "HTTP/1.1 412 Precondition Failed\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned();
    let read = |answers: Vec<String>| {
        let (endpoint, thread) = service(answers);
        let config = S3Config { endpoint: Some(endpoint), allow_http: true, ..S3Config::default() };
        let bucket = bucket("s3://bucket/a", &config).unwrap();
        let mut text = String::new();
        let read = bucket.get("k", "\"one\"", 10).unwrap().read_to_string(&mut text);
        (read.map(|_| text).map_err(|error| error.to_string()), thread.join().unwrap())
    };
    let (text, requests) = read(vec![broken.clone(), again, rest]);
    assert_eq!(text.as_deref(), Ok("0123456789"));
    let ranges = requests.iter().map(|of| of.lines().find_map(|line| line.strip_prefix("range: ")));
    assert_eq!(ranges.collect::<Vec<_>>(), [None, Some("bytes=4-"), Some("bytes=6-")]);
    assert!(requests.iter().all(|of| of.lines().any(|line| line == "if-match: \"one\"")));
    // A service without ranges.
    assert_eq!(read(vec![broken.clone(), whole.clone()]).0.as_deref(), Ok("0123456789"));
    // Its line breaks while what is there already is passed over: then nobody takes what comes next for what follows.
    let behind = "HTTP/1.1 200 OK\r\netag: \"one\"\r\ntransfer-encoding: chunked\r\n\r\n2\r\n01\r\nno size\r\n8\r\n23456789\r\n0\r\n\r\n";
    assert_eq!(read(vec![broken.clone(), behind.to_owned(), whole.clone()]).0.as_deref(), Ok("0123456789"));
    assert_eq!(
        read(vec![broken.clone(), broken.clone().replace("0123", "01"), whole]).0.as_deref(),
        Ok("0123456789")
    );
    // One that breaks behind the last byte has brought all.
    let chunked = answer("200 OK\r\ntransfer-encoding: chunked", "a\r\n0123456789\r\n");
    assert_eq!(read(vec![chunked]).0.as_deref(), Ok("0123456789"));
    let error = read(vec![broken.clone(), changed]).0.unwrap_err();
    assert!(error.ends_with("it changed while it was read"), "{error}");
    let error = read(vec![broken.clone(), other]).0.unwrap_err();
    assert!(error.ends_with("another part of it came than was asked for"), "{error}");
    // One that gives a byte to each request is given up, as one that never gets further.
    let byte = |from: usize| {
        let range = format!("content-range: bytes {from}-9/10\r\ncontent-length: {}", 10 - from);
        answer(&format!("206 Partial Content\r\n{range}"), "x")
    };
    let error = read([broken.clone()].into_iter().chain((4..8).map(byte)).collect()).0.unwrap_err();
    assert!(error.ends_with("5 times"), "{error}");
    let mut answers = vec![broken];
    answers.extend((1..TRIES).map(|_| none(4)));
    let error = read(answers).0.unwrap_err();
    assert!(error.ends_with("5 times"), "{error}");
}

/// A service whose certificate is its own authority's: it is asked by who was told of it, and by nobody else.
#[test]
fn a_private_authority_is_believed_where_it_is_named() {
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use rustls::{ServerConfig, ServerConnection, StreamOwned};
    use std::io::{Read as _, Write as _};
    use std::sync::Arc;
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let tls = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let tls = Arc::new(tls);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    // It ends with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = StreamOwned::new(ServerConnection::new(tls.clone()).unwrap(), stream);
            if let Ok(1..) = stream.read(&mut [0; 4096]) {
                let body = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
                let length = body.len();
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                );
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
    });
    let list = |authorities: Option<Vec<u8>>| {
        let config = S3Config { endpoint: Some(endpoint.clone()), authorities, ..S3Config::default() };
        bucket("s3://data/x", &config)?.list().map(|found| found.len()).map_err(|error| error.to_string())
    };
    assert_eq!(list(Some(made.cert.pem().into_bytes())), Ok(0));
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    for authorities in [None, Some(other.cert.pem().into_bytes())] {
        assert!(list(authorities).unwrap_err().contains("cannot be asked"));
    }
    assert!(list(Some(b"no certificate".to_vec())).unwrap_err().contains("no certificate in PEM form"));
}
