use std::convert::Infallible;

use super::*;
use crate::hash::{EMPTY_ROOT, leaf_hash};

fn leaves(size: u64) -> Vec<Hash> {
    (0..size).map(|i| leaf_hash(&i.to_be_bytes())).collect()
}

/// By the definition.
fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => EMPTY_ROOT,
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            node_hash(&root(left), &root(right))
        }
    }
}

fn subtree(leaves: &[Hash]) -> impl FnMut(Range<u64>) -> Result<Hash, Infallible> {
    move |range| Ok(root(&leaves[range.start as usize..range.end as usize]))
}

/// Every proof with one change: a hash too few, too many, another one.
fn spoiled(proof: &[Hash]) -> Vec<Vec<Hash>> {
    let mut spoiled: Vec<Vec<Hash>> = (0..proof.len())
        .flat_map(|i| {
            let (mut flipped, mut cut) = (proof.to_vec(), proof.to_vec());
            flipped[i][i % 32] ^= 1;
            cut.remove(i);
            [flipped, cut]
        })
        .collect();
    spoiled.push([proof, &[EMPTY_ROOT]].concat());
    spoiled.push([&[EMPTY_ROOT], proof].concat());
    spoiled
}

#[test]
fn every_inclusion_in_small_trees_is_proved_and_nothing_else_is() {
    for size in 1..40 {
        let leaves = leaves(size);
        let root = root(&leaves);
        for index in 0..size {
            let proof = inclusion(index, size, &mut subtree(&leaves)).unwrap();
            let leaf = &leaves[index as usize];
            assert!(includes(leaf, index, size, &proof, &root), "{index} of {size}");
            for other in (0..size + 2).filter(|other| *other != index) {
                assert!(!includes(leaf, other, size, &proof, &root), "{index} as {other} of {size}");
            }
            assert!(!includes(&EMPTY_ROOT, index, size, &proof, &root));
            assert!(!includes(leaf, index, size, &proof, &EMPTY_ROOT));
            for wrong in spoiled(&proof) {
                assert!(!includes(leaf, index, size, &wrong, &root), "{index} of {size}");
            }
        }
    }
}

#[test]
fn every_growth_of_small_trees_is_proved_and_nothing_else_is() {
    for size in 0..40 {
        let leaves = leaves(size);
        let whole = root(&leaves);
        for old in 0..=size {
            let before = root(&leaves[..old as usize]);
            let proof = consistency(old, size, &mut subtree(&leaves)).unwrap();
            assert!(is_consistent(old, &before, size, &whole, &proof), "{old} to {size}");
            assert!(!is_consistent(size + 1, &before, size, &whole, &proof));
            let mut other = before;
            other[0] ^= 1;
            assert!(!is_consistent(old, &other, size, &whole, &proof), "{old} to {size}");
            let mut other = whole;
            other[0] ^= 1;
            // Every tree grew from the empty one: that proves nothing.
            assert!(old == 0 || !is_consistent(old, &before, size, &other, &proof), "{old} to {size}");
            for wrong in spoiled(&proof) {
                assert!(!is_consistent(old, &before, size, &whole, &wrong), "{old} to {size}");
            }
        }
    }
}
