//! The seeds of the fuzz targets (`tools/fuzz/seeds`), changed at random from a fixed start: parsers end, hold little, and what they
//! found can be written down and read again. libFuzzer goes further; this much every test run does.

use std::path::{Path, PathBuf};

use watchbell_scan::finding::questions;
use watchbell_scan::{Inventory, Subject, catalog_file, cyclonedx, read_document, spdx};

/// Changes of each seed.
const ROUNDS: u32 = 400;

/// xorshift64 (Marsaglia): the same numbers every time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/fuzz/seeds").join(target);
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files.iter().map(|f| std::fs::read(f).unwrap()).collect()
}

/// A few bytes are changed, taken out, doubled, or the end is cut.
fn changed(seed: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=numbers.below(4) {
        if bytes.is_empty() {
            break;
        }
        let at = numbers.below(bytes.len());
        match numbers.below(6) {
            0 => bytes[at] = numbers.below(256) as u8,
            1 => bytes[at] ^= 1 << numbers.below(8),
            2 => bytes[at] = [0, 0xff, 0x7f, b'"', b'/', b'\n'][numbers.below(6)],
            3 => drop(bytes.remove(at)),
            4 => {
                let end = (at + 1 + numbers.below(16)).min(bytes.len());
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            _ => bytes.truncate(at),
        }
    }
    bytes
}

fn check(inventory: &Inventory) {
    let subject = Subject { name: "law".into(), digest: None, time: "2024-05-06T07:08:09Z".into() };
    for document in [cyclonedx(inventory, &subject), spdx(inventory, &subject)] {
        let read = read_document(document.to_string().as_bytes()).unwrap();
        assert_eq!(read.inventory.packages.len(), inventory.packages.len(), "{document:#}");
        assert_eq!(questions(&read.inventory).questions, questions(inventory).questions, "{document:#}");
    }
}

/// What is kept of a file is in proportion to it: the budget that a scan of thousands of them is counted by.
fn holds_little(inventory: &Inventory, data: &[u8]) {
    let kept = serde_json::to_vec(inventory).unwrap().len();
    assert!(kept <= (16 << 10) + 200 * data.len(), "{kept} bytes of {}", data.len());
}

fn law(target: &str, read: impl Fn(&[u8]) -> Option<Inventory>) {
    let mut found = 0;
    for (index, seed) in seeds(target).iter().enumerate() {
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15 + index as u64);
        let whole = read(seed).inspect(check).inspect(|inventory| holds_little(inventory, seed));
        found += whole.map_or(0, |i| i.packages.len());
        for _ in 0..ROUNDS {
            let data = changed(seed, &mut numbers);
            if let Some(inventory) = read(&data) {
                check(&inventory);
                holds_little(&inventory, &data);
            }
        }
    }
    assert!(found > 0, "{target}: the seeds themselves hold packages");
}

#[test]
fn data_bases_of_rpm() {
    law("rpm", |data| {
        let (form, data) = data.split_first()?;
        let name = ["rpmdb.sqlite", "Packages.db", "Packages"][usize::from(*form) % 3];
        Some(catalog_file(&format!("var/lib/rpm/{name}"), data.to_vec()))
    });
}

#[test]
fn jars() {
    law("jar", |data| Some(catalog_file("app/lib-1.0.jar", [b"PK", data].concat())));
}

#[test]
fn programs() {
    for seed in seeds("program") {
        let mut numbers = Numbers(7);
        for _ in 0..ROUNDS {
            let file = [b"\x7fELF", &changed(&seed, &mut numbers)[..]].concat();
            check(&catalog_file("usr/bin/python3.11", file));
        }
    }
}

#[test]
fn files_of_package_managers() {
    // In the order of the fuzz target.
    const FILES: [&str; 24] = [
        "etc/os-release",
        "var/lib/dpkg/status",
        "var/lib/dpkg/status.d/x",
        "var/lib/dpkg/info/x:amd64.list",
        "usr/share/doc/x/copyright",
        "lib/apk/db/installed",
        "x-1.dist-info/METADATA",
        "x-1.dist-info/RECORD",
        "conda-meta/x-1-0.json",
        "requirements.txt",
        "poetry.lock",
        "Pipfile.lock",
        "node_modules/x/package.json",
        "package-lock.json",
        "yarn.lock",
        "pnpm-lock.yaml",
        "Cargo.lock",
        "specifications/x-1.gemspec",
        "Gemfile.lock",
        "composer/installed.json",
        "composer.lock",
        "jdk/release",
        "x.egg-info/installed-files.txt",
        "uv.lock",
    ];
    law("package_file", |data| {
        let (which, data) = data.split_first()?;
        Some(catalog_file(FILES[usize::from(*which) % FILES.len()], data.to_vec()))
    });
}

#[test]
fn bills() {
    law("bill", |data| read_document(data).ok().map(|read| read.inventory));
}
