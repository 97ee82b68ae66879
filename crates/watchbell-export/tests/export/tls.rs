//! Whom an export believes.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::elasticsearch::to;
use crate::journal::{append, end, metric, open, start, wait, wait_for_all};
use crate::stand::{Duplex, Reply, Stand};

/// A server for `name`, and its certificate in PEM form.
fn server(name: &str) -> (Stand, String, Arc<std::sync::atomic::AtomicU64>) {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config =
        ServerConfig::builder_with_provider(Arc::new(tokio_rustls::rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
    let config = Arc::new(config);
    let requests = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let seen = requests.clone();
    let wrap = move |stream| {
        let connection = ServerConnection::new(config.clone()).ok()?;
        Some(Box::new(StreamOwned::new(connection, stream)) as Box<dyn Duplex>)
    };
    let stand = Stand::start_with(wrap, move |request| {
        seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let count = request.body.split(|b| *b == b'\n').count() / 2;
        let items = vec![json!({"create": {"status": 201}}); count];
        Reply::json(200, &json!({"errors": false, "items": items}))
    });
    (stand, made.cert.pem(), requests)
}

fn export(dir: &Path, stand: &Stand, pem: &str, expect_arrival: bool) {
    let ca = dir.join("ca.pem");
    std::fs::write(&ca, pem).unwrap();
    let mut options = to(&format!("https://localhost:{}", stand.port()));
    options.elasticsearch.as_mut().unwrap().endpoint.ca = Some(ca);
    let data = dir.join("data");
    let mut store = open(&data);
    append(&mut store, 5);
    let exports = start(&store, &data, &options);
    if expect_arrival {
        wait_for_all(&exports);
    } else {
        wait("a retry", || metric(&exports, "retries_total") > 0.0);
    }
    end(store, exports);
}

#[test]
fn the_certificates_of_the_file_are_believed_and_no_others() {
    let (good, pem, good_requests) = server("localhost");
    let (_, other_pem, _) = server("localhost");
    let (misnamed, misnamed_pem, misnamed_requests) = server("elsewhere.example");
    let requests =
        |counter: &Arc<std::sync::atomic::AtomicU64>| counter.load(std::sync::atomic::Ordering::SeqCst);
    let dir = tempfile::tempdir().unwrap();
    export(dir.path(), &good, &other_pem, false);
    assert_eq!(requests(&good_requests), 0, "nothing is said to somebody whom nobody vouches for");
    let dir = tempfile::tempdir().unwrap();
    export(dir.path(), &misnamed, &misnamed_pem, false);
    assert_eq!(requests(&misnamed_requests), 0);
    let dir = tempfile::tempdir().unwrap();
    export(dir.path(), &good, &pem, true);
    assert!(requests(&good_requests) > 0);
}
