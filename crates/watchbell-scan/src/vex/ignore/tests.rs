use super::*;

#[track_caller]
fn refused(text: &str, line: u32, words: &str) {
    let error = IgnoreFile::parse("i", text).unwrap_err();
    assert_eq!(error.line, line, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn an_entry_says_until_when_and_why() {
    let text = "# all of it\n\nCVE-2024-1 exp:2026-12-31 # not reached\n  private-key path:/srv/*.pem pkg:pypi/a exp:2027-01-01  # ours # really\n";
    let file = IgnoreFile::parse("i", text).unwrap();
    assert_eq!(file.entries.len(), 2);
    assert_eq!(
        (file.entries[0].line, &*file.entries[0].reason, &*file.entries[0].expires),
        (3, "not reached", "2026-12-31")
    );
    assert_eq!(file.entries[1].reason, "ours # really");
    assert_eq!(file.entries[1].targets.len(), 2);
    refused("CVE-2024-1\n", 1, "says not until when: add exp:YYYY-MM-DD");
    refused("\nCVE-2024-1 # why\n", 2, "says not until when");
    refused("# x\n\nCVE-2024-1 exp:2026-12-31\n", 3, "CVE-2024-1 says not why");
    refused("CVE-2024-1 exp:2026-12-31 #\n", 1, "says not why");
    refused("CVE-2024-1 exp:2026-13-01 # a\n", 1, "is no date");
    refused("CVE-2024-1 exp:soon # a\n", 1, "is no date");
    refused("CVE-2024-1 because exp:2026-12-31 # a\n", 1, "\"because\" is neither");
    refused("CVE-2024-1 pkg:x exp:2026-12-31 # a\n", 1, "is no package URL");
}

#[test]
fn it_counts_to_the_end_of_its_last_day() {
    let entry = entry("CVE-1 exp:2026-12-31 # a", 1).unwrap();
    assert!(entry.counts("2026-12-31") && entry.counts("2025-01-01"));
    assert!(!entry.counts("2027-01-01"));
}

#[test]
fn it_covers_what_it_names_and_no_more() {
    let check = |line: &str, names: &[&str], packages: &[&str], paths: &[&str], expect: bool| {
        let entry = entry(&format!("{line} exp:2026-12-31 # a"), 1).unwrap();
        let packages: Vec<String> = packages.iter().map(|purl| (*purl).to_owned()).collect();
        assert_eq!(entry.covers(names, &packages, paths), expect, "{line} {names:?} {packages:?} {paths:?}");
    };
    check("cve-1", &["GHSA-x", "CVE-1"], &[], &[], true);
    check("CVE-1", &["CVE-12"], &[], &[], false);
    check("CVE-1 pkg:pypi/a", &["CVE-1"], &["pkg:pypi/a@1"], &[], true);
    check("CVE-1 pkg:pypi/a", &["CVE-1"], &["pkg:pypi/a@1", "pkg:pypi/b@1"], &[], false);
    check("CVE-1 pkg:pypi/a pkg:pypi/b", &["CVE-1"], &["pkg:pypi/a@1", "pkg:pypi/b@1"], &[], true);
    check("CVE-1 pkg:pypi/a", &["CVE-1"], &[], &[], false);
    check("x path:srv/*.pem", &["x"], &[], &["srv/a.pem"], true);
    check("x path:srv/*.pem", &["x"], &[], &["srv/b/a.pem"], false);
    check("x path:srv/**.pem", &["x"], &[], &["srv/b/a.pem"], true);
    check("x path:srv/*.pem", &["x"], &[], &["srv/a.pem", "etc/a"], false);
    check("x path:srv/*.pem", &["x"], &[], &[], false);
}

#[test]
fn patterns_of_paths() {
    let check =
        |glob: &str, path: &str, expect: bool| assert_eq!(is_match(glob, path), expect, "{glob} {path}");
    check("a/b", "a/b", true);
    check("a", "a/b", false);
    check("*", "a", true);
    check("*", "a/b", false);
    check("**", "a/b", true);
    check("a/*/c", "a/b/c", true);
    check("a*a*a", "aaa", true);
    check("a*b", "ac", false);
    check("", "", true);
    check("*", "", true);
    let long = "a".repeat(3000);
    check(&format!("{}b", "a*".repeat(1000)), &long, false);
}
