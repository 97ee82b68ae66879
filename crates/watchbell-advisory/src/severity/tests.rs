use super::*;

#[track_caller]
fn check(vector: &str, expect: f64, severity: Severity) {
    let score: Score = vector.parse().unwrap();
    assert_eq!((score.value(), score.severity()), (expect, severity), "{vector}");
}

/// Of FIRST's "CVSS v3.1 Examples" and what it says of 3.0.
#[test]
fn version_3_scores_as_first_published() {
    for (metrics, expect, severity) in [
        ("AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N", 6.1, Severity::Medium), // CVE-2013-1937
        ("AV:N/AC:L/PR:L/UI:N/S:C/C:L/I:L/A:N", 6.4, Severity::Medium), // CVE-2013-0375
        ("AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N", 3.1, Severity::Low),    // CVE-2014-3566
        ("AV:N/AC:L/PR:L/UI:N/S:C/C:H/I:H/A:H", 9.9, Severity::Critical), // CVE-2012-1516
        ("AV:L/AC:L/PR:H/UI:N/S:U/C:L/I:L/A:L", 4.2, Severity::Medium), // CVE-2009-0783
        ("AV:N/AC:L/PR:L/UI:N/S:U/C:H/I:H/A:H", 8.8, Severity::High),   // CVE-2012-0384
        ("AV:L/AC:L/PR:N/UI:R/S:U/C:H/I:H/A:H", 7.8, Severity::High),   // CVE-2015-1098
        ("AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N", 7.5, Severity::High),   // CVE-2014-0160
        ("AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", 9.8, Severity::Critical), // CVE-2014-6271
        ("AV:N/AC:H/PR:N/UI:N/S:C/C:N/I:H/A:N", 6.8, Severity::Medium), // CVE-2008-1447
        ("AV:P/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", 6.8, Severity::Medium), // CVE-2014-2005
        ("AV:N/AC:L/PR:N/UI:N/S:C/C:L/I:N/A:N", 5.8, Severity::Medium), // CVE-2010-0467
        ("AV:A/AC:L/PR:N/UI:N/S:C/C:H/I:N/A:H", 9.3, Severity::Critical), // CVE-2013-6014
        ("AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N", 0.0, Severity::None),
    ] {
        check(&format!("CVSS:3.1/{metrics}"), expect, severity);
        check(&format!("CVSS:3.0/{metrics}"), expect, severity);
    }
    // What was found out later does not change how bad it is.
    check("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H/E:U/RL:O/RC:U", 9.8, Severity::Critical);
}

/// Of FIRST's "CVSS v4.0 Examples".
#[test]
fn version_4_scores_as_first_published() {
    for (metrics, expect, severity) in [
        ("AV:L/AC:L/AT:P/PR:L/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", 7.3, Severity::High), // CVE-2022-41741
        ("AV:N/AC:L/AT:P/PR:N/UI:P/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", 7.7, Severity::High), // CVE-2020-3549
        ("AV:N/AC:L/AT:P/PR:N/UI:N/VC:H/VI:L/VA:L/SC:N/SI:N/SA:N", 8.3, Severity::High), // CVE-2023-3089
        ("AV:L/AC:L/AT:N/PR:N/UI:A/VC:L/VI:N/VA:N/SC:N/SI:N/SA:N", 4.6, Severity::Medium), // CVE-2021-44714
        ("AV:N/AC:L/AT:N/PR:N/UI:A/VC:N/VI:N/VA:N/SC:L/SI:L/SA:N", 5.1, Severity::Medium), // CVE-2022-21830
        ("AV:N/AC:L/AT:N/PR:N/UI:N/VC:N/VI:L/VA:N/SC:N/SI:N/SA:N", 6.9, Severity::Medium), // CVE-2022-22186
        ("AV:L/AC:L/AT:N/PR:H/UI:N/VC:N/VI:N/VA:N/SC:H/SI:N/SA:N", 5.9, Severity::Medium), // CVE-2023-21989
        ("AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:N/VA:N/SC:N/SI:N/SA:N", 8.7, Severity::High), // CVE-2014-0160
        ("AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:H/SI:H/SA:H", 10.0, Severity::Critical), // CVE-2021-44228
        ("AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", 9.3, Severity::Critical),  // CVE-2014-6271
        ("AV:A/AC:L/AT:N/PR:N/UI:N/VC:N/VI:N/VA:L/SC:H/SI:N/SA:H", 6.4, Severity::Medium),    // CVE-2013-6014
        ("AV:L/AC:L/AT:N/PR:H/UI:N/VC:H/VI:H/VA:H/SC:H/SI:H/SA:H", 9.3, Severity::Critical),  // CVE-2016-5729
        ("AV:P/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:H/SI:H/SA:H", 8.6, Severity::High),      // CVE-2018-3652
        ("AV:N/AC:L/AT:N/PR:N/UI:N/VC:N/VI:N/VA:N/SC:N/SI:N/SA:N", 0.0, Severity::None),
    ] {
        check(&format!("CVSS:4.0/{metrics}"), expect, severity);
    }
}

/// Of the CVSS v2 guide, section 3.3.
#[test]
fn version_2_has_three_words() {
    check("AV:N/AC:L/Au:N/C:N/I:N/A:C", 7.8, Severity::High); // CVE-2002-0392
    check("AV:N/AC:L/Au:N/C:C/I:C/A:C", 10.0, Severity::High); // CVE-2003-0818
    check("AV:L/AC:H/Au:N/C:C/I:C/A:C", 6.2, Severity::Medium); // CVE-2003-0062
}

#[test]
fn what_is_no_vector_is_refused() {
    for wrong in [
        "",
        "CVSS:3.1/",
        "CVSS:3.1/AV:N",
        "CVSS:9.0/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
        "CVSS:3.1/AV:Z/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
        "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N",
        "high",
    ] {
        let parsed = wrong.parse::<Score>();
        assert!(parsed.is_err(), "{wrong}: {parsed:?}");
    }
    let long = format!("CVSS:3.1/{}", "AV:N/".repeat(200));
    assert!(long.parse::<Score>().unwrap_err().to_string().contains("more than 512 bytes"));
}

#[test]
fn the_newest_version_counts_and_in_it_the_worst() {
    let mut scores: Vec<Score> = [
        "AV:N/AC:L/Au:N/C:C/I:C/A:C",
        "CVSS:3.1/AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N",
        "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
        "CVSS:3.0/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H",
    ]
    .iter()
    .map(|vector| vector.parse().unwrap())
    .collect();
    scores.sort_unstable_by(|a, b| b.cmp(a));
    assert_eq!((scores[0].version, scores[0].tenths), (CvssVersion::V31, 98));
    for score in &scores {
        assert_eq!(&Score::kept(score.tenths, &score.vector), score);
    }
}

#[test]
fn words_of_publishers_are_one_scale() {
    for (word, expect) in [
        ("Important", Some(Severity::High)),
        ("MODERATE", Some(Severity::Medium)),
        ("negligible", Some(Severity::None)),
        (" unimportant", Some(Severity::None)),
        ("critical", Some(Severity::Critical)),
        ("not yet assigned", None),
        ("", None),
    ] {
        assert_eq!(Severity::from_word(word), expect, "{word}");
    }
    assert!(Severity::ALL.is_sorted());
}
