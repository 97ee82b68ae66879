//! Proofs that an entry is in a tree, and that a tree grew from another (RFC 6962, sections 2.1.1 and 2.1.2; checking as in
//! RFC 9162, sections 2.1.3.2 and 2.1.4.2).

use std::ops::Range;

use crate::hash::{Hash, node_hash};

/// The proof that entry `index` is in the tree of `size` entries: the siblings on its way to the root, the leaf's first.
/// `subtree` gives the Merkle Tree Hash of the entries of a range.
pub(crate) fn inclusion<E>(
    index: u64,
    size: u64,
    subtree: &mut dyn FnMut(Range<u64>) -> Result<Hash, E>,
) -> Result<Vec<Hash>, E> {
    let mut proof = Vec::new();
    let mut range = 0..size;
    while range.end - range.start > 1 {
        let middle = range.start + split(range.end - range.start);
        let (way, sibling) = if index < middle {
            (range.start..middle, middle..range.end)
        } else {
            (middle..range.end, range.start..middle)
        };
        proof.push(subtree(sibling)?);
        range = way;
    }
    proof.reverse();
    Ok(proof)
}

/// The proof that the tree of `size` entries begins with the tree of `old` entries. Empty when `old` is 0 or `size`.
pub(crate) fn consistency<E>(
    old: u64,
    size: u64,
    subtree: &mut dyn FnMut(Range<u64>) -> Result<Hash, E>,
) -> Result<Vec<Hash>, E> {
    let mut proof = Vec::new();
    if old == 0 {
        return Ok(proof);
    }
    let mut range = 0..size;
    // SUBPROOF(m, D[n], b), where the end of D[m] is `old`.
    while range.end != old {
        let middle = range.start + split(range.end - range.start);
        if old <= middle {
            proof.push(subtree(middle..range.end)?);
            range.end = middle;
        } else {
            proof.push(subtree(range.start..middle)?);
            range.start = middle;
        }
    }
    // The whole old tree is known to whoever checks.
    if range.start > 0 {
        proof.push(subtree(range)?);
    }
    proof.reverse();
    Ok(proof)
}

/// The largest power of two below `width`, which is above 1.
pub(crate) fn split(width: u64) -> u64 {
    1 << (63 - (width - 1).leading_zeros())
}

/// Whether `proof` shows that the entry with the hash `leaf` stands at `index` in the tree of `size` entries with `root`.
pub fn includes(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut at, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = node_hash(sibling, &hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether `proof` shows that the tree of `size` entries with `root` begins with the tree of `old` entries with `old_root`.
pub fn is_consistent(old: u64, old_root: &Hash, size: u64, root: &Hash, proof: &[Hash]) -> bool {
    if old > size {
        return false;
    }
    if old == size {
        return proof.is_empty() && old_root == root;
    }
    if old == 0 {
        return proof.is_empty() && *old_root == crate::EMPTY_ROOT;
    }
    // A tree whose size is a power of two is its own first subtree.
    let (mut first, rest) = match proof.split_first() {
        _ if old.is_power_of_two() => (*old_root, proof),
        Some((first, rest)) => (*first, rest),
        None => return false,
    };
    let (mut at, mut last) = (old - 1, size - 1);
    while at & 1 == 1 {
        at >>= 1;
        last >>= 1;
    }
    let mut second = first;
    for sibling in rest {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            first = node_hash(sibling, &first);
            second = node_hash(sibling, &second);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            second = node_hash(&second, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && first == *old_root && second == *root
}

#[cfg(test)]
mod tests;
