//! What the confinement of the unpacker costs: the same layer unpacked by a confined process and by a thread, in turn.
//!
//! `unpack MEBIBYTES FILES ROUNDS`, as root. It makes an image of that many bytes in that many files, half of each random, in
//! a temporary directory below the working directory, and prints the milliseconds of each round.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::error::Error;
use std::fs;
use std::process::ExitCode;
use std::time::Instant;

use watchbell_image::{BuildSpec, Image, Reference, Store, Unpacker, build_scratch};
use watchbell_sandbox::{Confinement, Directory, confined};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1);
    let first = args.next().ok_or("unpack MEBIBYTES FILES ROUNDS")?;
    if first == "unpacker" {
        let confinement = Confinement::parse(args).ok_or("not as the store writes it")?;
        return Ok(confined(&confinement, Directory::ToFill, watchbell_image::unpacker_main)?);
    }
    let numbers: Vec<usize> = [Some(first), args.next(), args.next()]
        .iter()
        .flatten()
        .filter_map(|a| a.to_str()?.parse().ok())
        .collect();
    let [mebibytes, files, rounds] = numbers[..] else { return Err("unpack MEBIBYTES FILES ROUNDS".into()) };
    let dir = tempfile::tempdir_in(".")?;
    let image = image(dir.path(), mebibytes, files)?;
    for round in 1..=rounds {
        let mut took = Vec::new();
        for unpacker in [Unpacker::default(), Unpacker::Thread] {
            let store = Store::open(dir.path())?.unpacking_by(unpacker);
            let begin = Instant::now();
            let layers = store.unpacked_layers(&image)?;
            took.push(begin.elapsed().as_secs_f64() * 1e3);
            fs::remove_dir_all(layers[0].parent().ok_or("a layer has a directory")?)?;
        }
        println!(
            "round {round}: process {:.0} ms, thread {:.0} ms, ratio {:.3}",
            took[0],
            took[1],
            took[0] / took[1]
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn image(dir: &std::path::Path, mebibytes: usize, files: usize) -> Result<Image, Box<dyn Error>> {
    let tree = dir.join("tree");
    fs::create_dir(&tree)?;
    // xorshift64: as good as random for a compressor.
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    for n in 0..files {
        let bytes = (mebibytes << 20) / files;
        let mut content: Vec<u8> = (0..bytes / 16).flat_map(|_| random()).collect();
        content.resize(bytes, b'x');
        fs::write(tree.join(format!("file-{n}")), content)?;
    }
    let store = Store::open(dir)?;
    let spec = BuildSpec { copies: vec![(tree, "/".into())], ..BuildSpec::default() };
    Ok(build_scratch(&store, &spec, &Reference::parse("bench:1")?)?)
}
