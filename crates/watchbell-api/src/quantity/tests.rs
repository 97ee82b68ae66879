use proptest::prelude::*;
use serde_json::json;

use super::{Format, Quantity};

#[track_caller]
fn check(text: &str, canonical: &str) {
    let quantity: Quantity = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
    assert_eq!(quantity.to_string(), canonical, "{text}");
}

#[test]
fn prints_the_canonical_form() {
    for (text, canonical) in [
        ("0", "0"),
        ("0Gi", "0"),
        ("-0", "0"),
        ("1", "1"),
        ("+1", "1"),
        ("1.", "1"),
        (".5", "500m"),
        ("0.1", "100m"),
        ("1.5", "1500m"),
        ("1000m", "1"),
        ("1500m", "1500m"),
        ("0.001m", "1u"),
        ("100n", "100n"),
        ("0.1n", "1n"),
        ("1000", "1k"),
        ("1001", "1001"),
        ("5000000", "5M"),
        ("128974848", "128974848"),
        ("129e6", "129e6"),
        ("1e3", "1e3"),
        ("1E3", "1e3"),
        ("12e2", "1200"),
        ("1E", "1E"),
        ("1e-3", "1e-3"),
        ("123Mi", "123Mi"),
        ("0.5Gi", "512Mi"),
        ("1.5Gi", "1536Mi"),
        ("1024Ki", "1Mi"),
        ("1Ki", "1Ki"),
        ("0.1Ki", "102400m"),
        ("0.5Ki", "512"),
        ("1000Ki", "1000Ki"),
        ("-2Gi", "-2Gi"),
        ("8Ei", "9223372036854775807"),
        ("99999999999999999999999999999999999999999999999999", "9223372036854775807"),
        ("0.00000000000000000000000000000000000000000000000001", "1n"),
        ("1e999999", "9223372036854775807"),
        ("1e-999999", "1e-9"),
    ] {
        check(text, canonical);
    }
}

#[test]
fn refuses_what_is_no_quantity() {
    for text in [
        "", "+", "-", ".", "1.2.3", "1 ", " 1", "1gi", "1K", "1mm", "e3", "1e", "1e1.5", "0x10", "1_000",
        "1Gi1", "١",
    ] {
        assert!(text.parse::<Quantity>().is_err(), "{text}");
    }
    assert!(Quantity::from_value(&json!(true)).is_err());
}

#[test]
fn reads_numbers_and_rounds_up() {
    let half = Quantity::from_value(&json!(0.5)).unwrap();
    assert_eq!((half.as_millis(), half.as_units()), (500, 1));
    assert_eq!("1n".parse::<Quantity>().unwrap().as_millis(), 1);
    assert_eq!("2.1Ki".parse::<Quantity>().unwrap().as_bytes(), 2151);
    assert_eq!("-1500m".parse::<Quantity>().unwrap().as_units(), -2);
    assert_eq!("1.0005".parse::<Quantity>().unwrap().round_up_to_millis().to_string(), "1001m");
    assert_eq!(Quantity::from_units(1 << 20, Format::BinarySi).to_string(), "1Mi");
}

#[test]
fn sums_keep_the_format() {
    let one: Quantity = "1Gi".parse().unwrap();
    let two: Quantity = "512Mi".parse().unwrap();
    assert_eq!(one.plus(two).to_string(), "1536Mi");
    assert_eq!(Quantity::ZERO.plus(two).to_string(), "512Mi");
    assert_eq!(one.minus(two), two);
    assert!(one.minus(two).minus(one).is_negative());
}

proptest! {
    #[test]
    fn print_and_parse_are_inverse(number in "-?[0-9]{1,12}(\\.[0-9]{0,6})?", suffix in "|n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|e3|e-4") {
        let quantity: Quantity = format!("{number}{suffix}").parse().unwrap();
        let printed = quantity.to_string();
        let again: Quantity = printed.parse().unwrap();
        prop_assert_eq!(again, quantity);
        prop_assert_eq!(again.to_string(), printed);
    }

    #[test]
    fn never_panics(text in "\\PC{0,24}") {
        let _ = text.parse::<Quantity>();
    }

    #[test]
    fn order_is_that_of_the_numbers(a in -1_000_000i64..1_000_000, b in -1_000_000i64..1_000_000) {
        let of = |n: i64| format!("{n}m").parse::<Quantity>().unwrap();
        prop_assert_eq!(of(a).cmp(&of(b)), a.cmp(&b));
        prop_assert_eq!(of(a).plus(of(b)).as_millis(), a + b);
    }
}
