//! What a root file system costs that can be written to, and many layers: the same task by turns, in one interleaved run.

use super::sandbox::{RootOf, Sandbox};
use super::{counts, measured, median};

const KINDS: [(&str, RootOf); 4] = [
    ("read-only, one layer", RootOf { layers: 1, read_only: true }),
    ("writable, one layer", RootOf { layers: 1, read_only: false }),
    ("read-only, ten layers", RootOf { layers: 10, read_only: true }),
    ("writable, ten layers", RootOf { layers: 10, read_only: false }),
];

pub(super) fn print(sandbox: &mut Sandbox, numbers: &[usize]) {
    let [count, rounds, at_once] = counts(numbers);
    let mut rates = vec![Vec::new(); KINDS.len()];
    for round in 0..rounds {
        for (kind, (name, root)) in KINDS.iter().enumerate() {
            sandbox.root = *root;
            let batch = measured(|| sandbox.run(count, at_once));
            println!("round {}, {name}: {batch}", round + 1);
            rates[kind].push([batch.rate(), batch.cpu_ms]);
        }
    }
    for (kind, (name, _)) in KINDS.iter().enumerate().skip(1) {
        let median = |which: usize| {
            median(rates[0].iter().zip(&rates[kind]).map(|(first, this)| this[which] / first[which]))
        };
        println!(
            "{name}: {:.2} of the rate, {:.2} times the CPU time of the first (medians)",
            median(0),
            median(1)
        );
    }
}
