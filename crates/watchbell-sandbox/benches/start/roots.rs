//! What a root file system costs that can be written to, and many layers: the same task by turns, in one interleaved run.

use super::measured;
use super::sandbox::{RootOf, Sandbox};

const KINDS: [(&str, RootOf); 4] = [
    ("read-only, one layer", RootOf { layers: 1, read_only: true }),
    ("writable, one layer", RootOf { layers: 1, read_only: false }),
    ("read-only, ten layers", RootOf { layers: 10, read_only: true }),
    ("writable, ten layers", RootOf { layers: 10, read_only: false }),
];

pub(super) fn print(sandbox: &mut Sandbox, numbers: &[usize]) {
    let number = |at: usize, default: usize| numbers.get(at).copied().unwrap_or(default).max(1);
    let [count, rounds, at_once] = [number(0, 300), number(1, 3), number(2, 2)];
    let mut rates = vec![Vec::new(); KINDS.len()];
    for round in 0..rounds {
        for (kind, (name, root)) in KINDS.iter().enumerate() {
            sandbox.root = *root;
            let batch = measured(|| sandbox.run(count, at_once));
            println!("round {}, {name}: {batch}", round + 1);
            rates[kind].push([count as f64 / batch.wall_ms * 1e3, batch.cpu_ms]);
        }
    }
    for (kind, (name, _)) in KINDS.iter().enumerate().skip(1) {
        let median = |which: usize| {
            let mut ratios: Vec<f64> =
                rates[0].iter().zip(&rates[kind]).map(|(first, this)| this[which] / first[which]).collect();
            ratios.sort_by(f64::total_cmp);
            ratios[ratios.len() / 2]
        };
        println!(
            "{name}: {:.2} of the rate, {:.2} times the CPU time of the first (medians)",
            median(0),
            median(1)
        );
    }
}
