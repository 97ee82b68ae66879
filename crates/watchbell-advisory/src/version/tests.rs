use std::cmp::Ordering;

use proptest::prelude::*;

use super::*;

const ALL: [Rules; 9] = [
    Rules::Dpkg,
    Rules::Rpm,
    Rules::Apk,
    Rules::Pep440,
    Rules::Semver,
    Rules::Go,
    Rules::Maven,
    Rules::Gem,
    Rules::Composer,
];

/// Texts made of what versions are made of, so that equal ones and near ones are common.
fn versions() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => "[0-3]",
        2 => "0[0-2]|1[0-2]",
        3 => Just(".".to_owned()),
        1 => "[-_+~^:]",
        1 => "alpha|beta|rc|pre|dev|post|p|sp|ga|final|snapshot|git|r|a|b|x|v|el9|deb12u1",
        1 => "-r[01]|_rc1|_p1|\\.dev0|\\.post1|-beta\\.1|\\+incompatible|~rc1|\\^git1|-1",
    ];
    proptest::collection::vec(piece, 1..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    #[test]
    fn every_order_is_total(a in versions(), b in versions(), c in versions()) {
        for rules in ALL {
            let (ab, bc, ac) = (rules.compare(&a, &b), rules.compare(&b, &c), rules.compare(&a, &c));
            prop_assert_eq!(rules.compare(&a, &a), Ordering::Equal);
            prop_assert_eq!(ab, rules.compare(&b, &a).reverse(), "{:?}: {} {}", rules, a, b);
            if ab == bc || bc.is_eq() {
                prop_assert_eq!(ac, ab, "{:?}: {} {} {}", rules, a, b, c);
            }
            if ab.is_eq() {
                prop_assert_eq!(ac, bc, "{:?}: {} {} {}", rules, a, b, c);
            }
        }
    }

    #[test]
    fn any_text_has_a_place(a in ".{0,24}", b in ".{0,24}") {
        for rules in ALL {
            prop_assert_eq!(rules.compare(&a, &b), rules.compare(&b, &a).reverse(), "{:?}", rules);
            let _ = rules.is_version(&a);
        }
    }
}
