//! A real registry that takes whatever it is given.

#[path = "../../../watchbell-image/tests/registry/server.rs"]
mod server;

use std::path::Path;

use watchbell_image::Digest;

use server::Server;

pub(crate) struct Registry(Server);

impl Registry {
    pub(crate) fn start(dir: &Path) -> Registry {
        Registry(Server::start(dir, "http: {addr: '127.0.0.1:0'}\n"))
    }

    pub(crate) fn address(&self) -> &str {
        &self.0.address
    }

    pub(crate) fn put_blob(&self, repository: &str, bytes: &[u8]) {
        let upload = ureq::post(format!("http://{}/v2/{repository}/blobs/uploads/", self.address()));
        let answer = upload.send_empty().unwrap();
        let location = answer.headers()["location"].to_str().unwrap();
        let mark = if location.contains('?') { '&' } else { '?' };
        ureq::put(format!("{location}{mark}digest={}", Digest::of(bytes))).send(bytes).unwrap();
    }

    pub(crate) fn put_manifest(&self, repository: &str, name: &str, media_type: &str, bytes: &[u8]) {
        let manifest = ureq::put(format!("http://{}/v2/{repository}/manifests/{name}", self.address()));
        manifest.header("Content-Type", media_type).send(bytes).unwrap();
    }
}
