use std::collections::BTreeMap;

use crate::admission::Level::{Baseline, Privileged, Restricted};
use crate::admission::pod_security::{
    CHECKS, Check, LevelVersion, NEWEST_MINOR, Policy, Version, policy, refuse_labels,
};
use crate::admission::{Level, Mode};

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mine =
        pairs.iter().map(|(key, value)| (format!("pod-security.kubernetes.io/{key}"), (*value).into()));
    mine.chain([("other".to_owned(), "thing".to_owned())]).collect()
}

fn at(level: Level, version: Version) -> LevelVersion {
    LevelVersion { level, version }
}

const NONE: LevelVersion = LevelVersion::PRIVILEGED;
const LATEST: Version = Version::Latest;

#[test]
fn versions_are_read_as_kubernetes_reads_them() {
    let check = |text: &str, expect| assert_eq!(Version::parse(text), expect, "{text}");
    check("latest", Some(LATEST));
    check("v1.0", Some(Version::Minor(0)));
    check("v1.1", Some(Version::Minor(1)));
    check("v1.20", Some(Version::Minor(20)));
    check("v1.10000", Some(Version::Minor(10_000)));
    for wrong in
        ["foo", "", "v2.0", "v1", "1.1", "v1.", "v1.01", "v1.-1", "v1.1 ", "V1.1", "v1.99999999999999999999"]
    {
        check(wrong, None);
    }
    for text in ["latest", "v1.0", "v1.35", "v1.36", "v1.10000"] {
        assert_eq!(Version::parse(text).map(|version| version.to_string()).as_deref(), Some(text));
    }
}

/// The cases of Kubernetes' `TestPolicyToEvaluate`, and what is our own: without a level to enforce a namespace is strict.
#[test]
fn labels_choose_the_policy() {
    let check = |pairs: &[(&str, &str)], enforce, warn, audit| {
        assert_eq!(policy(&labels(pairs)), Policy { enforce, audit, warn }, "{pairs:?}");
    };
    let latest = |level| LevelVersion::latest(level);
    let v = Version::Minor;
    check(&[], None, NONE, NONE);
    check(&[("enforce", "baseline")], Some(latest(Baseline)), latest(Baseline), NONE);
    check(&[("enforce", "privileged")], Some(NONE), NONE, NONE);
    check(&[("warn", "restricted")], None, latest(Restricted), NONE);
    check(&[("audit", "baseline")], None, NONE, latest(Baseline));
    check(
        &[("enforce", "baseline"), ("warn", "restricted")],
        Some(latest(Baseline)),
        latest(Restricted),
        NONE,
    );
    check(
        &[("enforce", "baseline"), ("enforce-version", "v1.22")],
        Some(at(Baseline, v(22))),
        at(Baseline, v(22)),
        NONE,
    );
    check(
        &[("enforce", "baseline"), ("enforce-version", "v1.22"), ("warn-version", "latest")],
        Some(at(Baseline, v(22))),
        latest(Baseline),
        NONE,
    );
    check(
        &[("enforce", "baseline"), ("warn-version", "v1.23")],
        Some(latest(Baseline)),
        at(Baseline, v(23)),
        NONE,
    );
    check(
        &[
            ("enforce", "baseline"),
            ("enforce-version", "v1.20"),
            ("warn", "restricted"),
            ("warn-version", "v1.21"),
            ("audit", "restricted"),
            ("audit-version", "v1.22"),
        ],
        Some(at(Baseline, v(20))),
        at(Restricted, v(21)),
        at(Restricted, v(22)),
    );
    check(&[("enforce", "baseline"), ("warn", "privileged")], Some(latest(Baseline)), NONE, NONE);
    check(&[("enforce", "baseline"), ("warn", "foo")], Some(latest(Baseline)), NONE, NONE);
    check(&[("enforce", "foo")], Some(latest(Restricted)), NONE, NONE);
    check(&[("enforce", ""), ("audit", "Baseline")], Some(latest(Restricted)), NONE, NONE);
    check(
        &[("enforce", "baseline"), ("enforce-version", "1.2")],
        Some(latest(Baseline)),
        latest(Baseline),
        NONE,
    );
    // A version alone takes nobody out of strict mode.
    check(&[("enforce-version", "v1.20")], None, NONE, NONE);
}

#[test]
fn modes_follow_the_level_to_enforce() {
    let check = |pairs: &[(&str, &str)], expect| assert_eq!(Mode::of(&policy(&labels(pairs))), expect);
    check(&[], Mode::Strict);
    check(&[("warn", "privileged"), ("audit", "restricted")], Mode::Strict);
    check(&[("enforce", "privileged")], Mode::Labelled(Privileged));
    check(&[("enforce", "baseline"), ("enforce-version", "v1.20")], Mode::Labelled(Baseline));
    check(&[("enforce", "nonsense")], Mode::Labelled(Restricted));
}

#[test]
fn wrong_labels_are_refused_in_kubernetes_words() {
    let check = |pairs: &[(&str, &str)], expect: &[&str]| {
        let found: Vec<String> = refuse_labels(&labels(pairs)).iter().map(ToString::to_string).collect();
        assert_eq!(found, expect, "{pairs:?}");
    };
    check(&[], &[]);
    check(
        &[
            ("enforce", "restricted"),
            ("enforce-version", "v1.99"),
            ("audit", "baseline"),
            ("warn", "privileged"),
        ],
        &[],
    );
    check(
        &[("enforce", "foo")],
        &[
            "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"foo\": must be one of privileged, \
           baseline, restricted",
        ],
    );
    check(
        &[("enforce-version", "1.2"), ("audit", ""), ("warn-version", "v1.x"), ("warn", "Baseline")],
        &[
            "metadata.labels[pod-security.kubernetes.io/enforce-version]: Invalid value: \"1.2\": must be \"latest\" or \
             \"v1.x\"",
            "metadata.labels[pod-security.kubernetes.io/audit]: Invalid value: \"\": must be one of privileged, baseline, \
             restricted",
            "metadata.labels[pod-security.kubernetes.io/warn]: Invalid value: \"Baseline\": must be one of privileged, \
             baseline, restricted",
            "metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: \"v1.x\": must be \"latest\" or \
             \"v1.x\"",
        ],
    );
}

/// The inventory of Kubernetes 1.36: each check, its level, the releases in which it changed.
#[test]
fn the_table_is_kubernetes_inventory() {
    let found: Vec<String> = CHECKS
        .iter()
        .map(|check| {
            let releases: Vec<String> = check.releases().map(|minor| format!("1.{minor}")).collect();
            format!("{} {} {}", check.id, check.level.as_str(), releases.join(" "))
        })
        .collect();
    assert_eq!(
        found,
        [
            "appArmorProfile baseline 1.0",
            "capabilities_baseline baseline 1.0",
            "hostNamespaces baseline 1.0",
            "hostPathVolumes baseline 1.0",
            "hostPorts baseline 1.0",
            "hostProbesAndHostLifecycle baseline 1.34",
            "privileged baseline 1.0",
            "procMount baseline 1.0 1.35",
            "seLinuxOptions baseline 1.0 1.31",
            "seccompProfile_baseline baseline 1.0 1.19",
            "sysctls baseline 1.0 1.27 1.29 1.32",
            "windowsHostProcess baseline 1.0",
            "allowPrivilegeEscalation restricted 1.8 1.25",
            "capabilities_restricted restricted 1.22 1.25",
            "procMount_restricted restricted 1.35",
            "restrictedVolumes restricted 1.0",
            "runAsNonRoot restricted 1.0 1.35",
            "runAsUser restricted 1.23 1.35",
            "seccompProfile_restricted restricted 1.19 1.25",
        ]
    );
    assert_eq!(CHECKS.iter().flat_map(Check::releases).max(), Some(NEWEST_MINOR));
}
