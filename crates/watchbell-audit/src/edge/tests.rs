use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;

/// RFC 6962, section 2.1, word by word: slow, and obviously right.
fn merkle_tree_hash(entries: &[Vec<u8>]) -> Hash {
    match entries {
        [] => Sha256::digest([]).into(),
        [entry] => Sha256::digest([&[0], entry.as_slice()].concat()).into(),
        _ => {
            let k = entries.len().next_power_of_two() / 2;
            let (left, right) = (merkle_tree_hash(&entries[..k]), merkle_tree_hash(&entries[k..]));
            Sha256::digest([&[1], left.as_slice(), right.as_slice()].concat()).into()
        }
    }
}

fn hex(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The inputs and roots of Certificate Transparency's reference tests (`merkletree_test`).
#[test]
fn roots_are_those_of_certificate_transparency() {
    let entries =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut edge = Edge::default();
    assert_eq!(edge.root(), EMPTY_ROOT);
    assert_eq!(hex(&EMPTY_ROOT), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    for (entry, root) in entries.iter().zip(roots) {
        let bytes: Vec<u8> =
            (0..entry.len()).step_by(2).map(|i| u8::from_str_radix(&entry[i..i + 2], 16).unwrap()).collect();
        edge.append(&bytes);
        assert_eq!(hex(&edge.root()), root);
    }
}

proptest! {
    #[test]
    fn the_root_is_that_of_the_definition(entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..300)) {
        let mut edge = Edge::default();
        for (count, entry) in entries.iter().enumerate() {
            prop_assert_eq!(edge.size(), count as u64);
            edge.append(entry);
        }
        prop_assert_eq!(edge.root(), merkle_tree_hash(&entries));
        let again = Edge::from_parts(edge.size(), edge.subtrees().to_vec());
        prop_assert_eq!(again, Some(edge));
    }
}

#[test]
fn an_edge_with_a_hash_too_few_or_too_many_is_none() {
    assert_eq!(Edge::from_parts(3, vec![EMPTY_ROOT]), None);
    assert_eq!(Edge::from_parts(4, vec![EMPTY_ROOT, EMPTY_ROOT]), None);
    assert_eq!(Edge::from_parts(0, vec![]), Some(Edge::default()));
}
