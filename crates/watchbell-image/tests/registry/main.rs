//! Pulling: from a registry of our own that lies, and from a real one (Debian package docker-registry).

mod attachments;
mod hostile;
mod real;
mod server;
mod stand;

use std::path::{Path, PathBuf};
use std::time::Duration;

use watchbell_image::{BuildSpec, Digest, Image, PullOptions, Reference, Store, Unpacker, build_scratch};

/// A store in a directory that removes itself.
struct Home {
    dir: tempfile::TempDir,
    store: Store,
}

fn home() -> Home {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("data")).unwrap().unpacking_by(Unpacker::Thread);
    Home { dir, store }
}

impl Home {
    fn layout(&self) -> PathBuf {
        self.dir.path().join("data/images")
    }

    fn blob(&self, digest: &Digest) -> Vec<u8> {
        std::fs::read(self.layout().join("blobs/sha256").join(digest.hex())).unwrap()
    }

    /// No image is known, and no blob was kept.
    fn assert_empty(&self) {
        assert!(self.store.list().unwrap().is_empty());
        let blobs = std::fs::read_dir(self.layout().join("blobs/sha256")).unwrap();
        assert_eq!(blobs.count(), 0, "a blob was kept");
    }

    fn read(&self, image: &Image, path: &str) -> String {
        let roots = self.store.unpacked_layers(image).unwrap();
        let found = roots.iter().rev().map(|r| r.join(path)).find(|p| p.exists()).unwrap();
        std::fs::read_to_string(found).unwrap()
    }
}

/// An image `made:1` with one file of `bytes` bytes beside a small one.
fn made(bytes: usize) -> (Home, Image) {
    let home = home();
    let tree = home.dir.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("hello"), "hello\n").unwrap();
    let filling: Vec<u8> = (0..bytes).map(|n| ((n * 31) >> 7) as u8).collect();
    std::fs::write(tree.join("filling"), filling).unwrap();
    let spec = BuildSpec { copies: vec![(tree, "/".into())], ..BuildSpec::default() };
    let image = build_scratch(&home.store, &spec, &name("made:1")).unwrap();
    (home, image)
}

fn name(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

/// No waiting between attempts: the stand answers at once.
fn quick() -> PullOptions {
    PullOptions {
        retry_delay: Duration::ZERO,
        stall_timeout: Duration::from_secs(20),
        ..PullOptions::default()
    }
}

#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
fn is_installed(program: &str) -> bool {
    let found = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|dir: PathBuf| Path::new(&dir).join(program).exists())
    });
    if !found {
        eprintln!("NOT TESTED: {program} is not installed (Debian packages docker-registry, skopeo)");
    }
    found
}
