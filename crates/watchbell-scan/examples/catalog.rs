//! `cargo run --release -p watchbell-scan --example catalog -- table|cyclonedx|spdx oci:DIR[:TAG]|archive:FILE|dir:DIR`: the
//! catalogue alone, as `make bench` measures it.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]

use std::path::Path;
use std::process::ExitCode;
use std::thread::available_parallelism;

use watchbell_image::{ImageContent, Limits, Platform};
use watchbell_scan::{Subject, catalog, catalog_directory, cyclonedx, spdx};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [form, source] = arguments.as_slice() else {
        eprintln!("usage: catalog table|cyclonedx|spdx oci:DIR[:TAG]|archive:FILE|dir:DIR");
        return ExitCode::FAILURE;
    };
    match run(form, source) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(form: &str, source: &str) -> Result<(), Box<dyn std::error::Error>> {
    let threads = available_parallelism().map_or(1, usize::from);
    let (kind, rest) = source.split_once(':').ok_or("no such source")?;
    let (inventory, subject) = match kind {
        "dir" => {
            let subject =
                Subject { name: rest.to_owned(), digest: None, time: "1970-01-01T00:00:00Z".to_owned() };
            (catalog_directory(Path::new(rest))?, subject)
        }
        _ => {
            let (path, name) = match rest.rsplit_once(':') {
                Some((path, name)) if kind == "oci" => (path, Some(name)),
                _ => (rest, None),
            };
            let image = ImageContent::open(Path::new(path), name, &Platform::host(), &Limits::default())?;
            (catalog(&image, threads)?, Subject::of_image(rest, &image.image))
        }
    };
    match form {
        "cyclonedx" => println!("{:#}", cyclonedx(&inventory, &subject)),
        "spdx" => println!("{:#}", spdx(&inventory, &subject)),
        _ => {
            for p in &inventory.packages {
                println!("{}\t{:?}\t{:?}", p.purl(inventory.distribution.as_ref()), p.evidence, p.owned_by);
            }
            for gap in &inventory.gaps {
                eprintln!("{}: {}", gap.location.path, gap.reason);
            }
        }
    }
    Ok(())
}
