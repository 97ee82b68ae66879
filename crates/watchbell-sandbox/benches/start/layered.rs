//! What a data array adds to a start: the same task with and without, in one interleaved run, from the request until its end is
//! known and what it wrote is in the asker's hands.

use std::path::{Path, PathBuf};

use watchbell_sandbox::{Layered, Scratch, Upper};

use super::sandbox::Sandbox;
use super::{counts, measured, median};

/// Chunks of the array below: an overlay looks at none of them before a task does.
const CHUNKS: usize = 10_000;
const BOUND: Scratch = Scratch { bytes: 1 << 30, inodes: 1 << 18 };
const KINDS: [&str; 5] =
    ["without", "read-only", "upper in memory", "upper on disk, measured", "upper on disk, bounded"];

pub(super) fn print(sandbox: &mut Sandbox, dir: &Path, numbers: &[usize]) {
    let [count, rounds, at_once] = counts(numbers);
    let lower = view(dir);
    let uppers = dir.join("volumes");
    let mut rates = vec![Vec::new(); KINDS.len()];
    for round in 0..rounds {
        for (kind, name) in KINDS.iter().enumerate() {
            let volume = |uid: u128| volume(kind, &lower, uppers.join(uid.to_string()));
            // Made by the node for each pod; here before the clock runs.
            if kind >= 3 {
                (0..count as u128).for_each(|n| {
                    let path = uppers.join((sandbox.next_uid() + n).to_string());
                    std::fs::create_dir_all(path).expect("a directory for an upper");
                });
            }
            let batch = measured(|| sandbox.run_with(count, at_once, &volume));
            println!("round {}, {name}: {batch}", round + 1);
            rates[kind].push(batch.rate());
        }
    }
    for (kind, name) in KINDS.iter().enumerate().skip(1) {
        let ratio = median(rates[0].iter().zip(&rates[kind]).map(|(without, with)| without / with));
        println!("{name}: {ratio:.2} times the wall time of a task without (median)");
    }
}

fn volume(kind: usize, lower: &Path, disk: PathBuf) -> Option<Layered> {
    let upper = match kind {
        0 => return None,
        1 => None,
        2 => Some(Upper::Memory(BOUND)),
        3 => Some(Upper::Disk { path: disk }),
        _ => Some(Upper::Image { path: disk, bound: BOUND }),
    };
    Some(Layered { lower: lower.to_owned(), uid: 65_534, gid: 65_534, upper })
}

fn view(dir: &Path) -> PathBuf {
    let view = dir.join("view");
    let chunks = view.join("t/c");
    std::fs::create_dir_all(&chunks).expect("a view");
    (0..CHUNKS).for_each(|n| std::fs::write(chunks.join(n.to_string()), "chunk").expect("a chunk"));
    view
}
