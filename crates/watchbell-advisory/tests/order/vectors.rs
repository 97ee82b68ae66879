//! `vectors/*.txt`: lines `a < b` or `a = b`. Chosen after what each project's own tests cover, and confirmed by its program.

use std::cmp::Ordering;
use std::fs;
use std::path::Path;

use watchbell_advisory::{Ecosystem, compare, is_version};

pub(crate) fn read(name: &str) -> Vec<(String, Ordering, String)> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/order/vectors").join(name).with_extension("txt");
    let text = fs::read_to_string(&path).unwrap();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let [a, relation, b] = words[..] else { panic!("{line}") };
            let order = match relation {
                "<" => Ordering::Less,
                "=" => Ordering::Equal,
                other => panic!("{other} in {line}"),
            };
            (a.to_owned(), order, b.to_owned())
        })
        .collect()
}

pub(crate) fn ecosystem(name: &str) -> Ecosystem {
    let release = String::new();
    match name {
        "dpkg" => Ecosystem::Debian { release },
        "rpm" => Ecosystem::AlmaLinux { release },
        "apk" => Ecosystem::Alpine { release },
        "pypi" => Ecosystem::PyPI,
        "npm" => Ecosystem::Npm,
        "go" => Ecosystem::Go,
        "maven" => Ecosystem::Maven,
        "gem" => Ecosystem::RubyGems,
        "composer" => Ecosystem::Packagist,
        other => panic!("{other}"),
    }
}

fn check(name: &str) {
    let ecosystem = ecosystem(name);
    let vectors = read(name);
    assert!(vectors.len() >= 30, "{name} has {} vectors", vectors.len());
    for (a, order, b) in vectors {
        assert_eq!(compare(&ecosystem, &a, &b), order, "{name}: {a} {b}");
        assert_eq!(compare(&ecosystem, &b, &a), order.reverse(), "{name}: {b} {a}");
        assert!(is_version(&ecosystem, &a) && is_version(&ecosystem, &b), "{name}: {a} {b}");
    }
}

#[test]
fn dpkg() {
    check("dpkg");
}

#[test]
fn rpm() {
    check("rpm");
}

#[test]
fn apk() {
    check("apk");
}

#[test]
fn pypi() {
    check("pypi");
}

#[test]
fn npm() {
    check("npm");
}

#[test]
fn go() {
    check("go");
}

#[test]
fn maven() {
    check("maven");
}

#[test]
fn gem() {
    check("gem");
}

#[test]
fn composer() {
    check("composer");
}

#[test]
fn cargo_orders_as_npm_does() {
    for (a, order, b) in read("npm") {
        assert_eq!(compare(&Ecosystem::CratesIo, &a, &b), order, "{a} {b}");
    }
}

#[test]
fn what_is_no_version_comes_before_all_that_are() {
    for (name, wrong, version) in [
        ("pypi", "unknown", "0.dev0"),
        ("npm", "latest", "0.0.0-0"),
        ("go", "(devel)", "v0.0.0-20190101000000-abcdefabcdef"),
        ("gem", "x", "0"),
        ("apk", "edge", "0_alpha"),
        ("composer", "dev-main", "0.0.0-dev"),
    ] {
        let ecosystem = ecosystem(name);
        assert!(!is_version(&ecosystem, wrong) && is_version(&ecosystem, version), "{name}");
        assert_eq!(compare(&ecosystem, wrong, version), Ordering::Less, "{name}");
    }
}
