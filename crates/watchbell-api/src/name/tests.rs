use proptest::prelude::*;

use super::generate;

#[test]
fn a_long_stem_leaves_room_for_the_suffix() {
    assert_eq!(generate("train-", [0; 16]), "train-bbbbb");
    assert_eq!(generate("train-", [255; 16]).len(), 11);
    assert_eq!(generate(&"a".repeat(300), [7; 16]).len(), 63);
    assert!(generate(&"é".repeat(60), [7; 16]).len() <= 63);
}

proptest! {
    #[test]
    fn a_generated_name_keeps_its_stem_and_the_alphabet(stem in "[a-z0-9-]{0,80}", random in any::<[u8; 16]>()) {
        let name = generate(&stem, random);
        let (kept, suffix) = name.split_at(name.len() - 5);
        prop_assert!(stem.starts_with(kept) && kept.len() == stem.len().min(58));
        prop_assert!(suffix.bytes().all(|b| b"bcdfghjklmnpqrstvwxz2456789".contains(&b)), "{}", suffix);
    }
}
