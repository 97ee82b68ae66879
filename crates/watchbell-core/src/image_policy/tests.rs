mod law;

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use watchbell_api::image::{
    Contents, Exploited, Finding, Findings, ImageFacts, LeftOut, Naming, Severity, Signed, Statement, Unknown,
};
use watchbell_api::{Resource, defaults, validate};

use super::{InForce, Policy, ReportOf, decide, missing, needs, report, report_name, unjudged};

const NOW: &str = "2026-11-26T12:00:00Z";
const KEY: &str = "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n";
const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn second(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_second()
}

/// A policy as it is in force, through the checks that a stored one has passed.
fn in_force(spec: Value) -> InForce {
    let mut object = json!({
        "apiVersion": "watchbell.dev/v1alpha1", "kind": "ImagePolicy",
        "metadata": {"name": "strict", "namespace": "team"}, "spec": spec,
    });
    defaults::apply(Resource::ImagePolicy, &mut object);
    assert_eq!(validate::create(Resource::ImagePolicy, &object), [], "{object}");
    let policy = Arc::new(Policy::read(&object).unwrap());
    let map = |namespace: &str, name: &str, key: &str| {
        (namespace == "team" && name == "keys" && key == "cosign.pub").then(|| KEY.into())
    };
    InForce::new("ImagePolicy team/strict".into(), "team", policy, &map)
}

fn finding(id: &str, package: &str, severity: Option<Severity>, fixed: Option<&str>) -> Finding {
    Finding {
        id: id.into(),
        package: package.into(),
        version: "1.0".into(),
        fixed: fixed.map(Into::into),
        severity,
        ..Finding::default()
    }
}

fn facts() -> ImageFacts {
    let layers = |digit: &str| -> Arc<[Arc<str>]> {
        (0..3).map(|n| format!("sha256:{digit}{n}{}", "0".repeat(62)).into()).collect()
    };
    ImageFacts {
        digest: format!("sha256:{}", "d".repeat(64)).into(),
        repository: "ghcr.io/team/weather".into(),
        tag: Some("v1".into()),
        naming: Naming::Tag,
        created_at: Some(second("2026-11-20T00:00:00Z")),
        layers: layers("a"),
        diff_ids: layers("b"),
        size: 10 << 20,
        contents: Ok(Arc::new(Contents {
            packages: 12,
            shells: vec!["bin/sh".into()],
            setuid: vec!["usr/bin/su".into(), "usr/bin/mount".into()],
            distribution: Some(("debian".into(), "12".into())),
            ..Contents::default()
        })),
        findings: Ok(Arc::new(Findings {
            generation: 4,
            database_at: second("2026-11-25T12:00:00Z"),
            exploited_at: Some(second("2026-11-25T13:00:00Z")),
            list: vec![
                finding("CVE-2026-1", "zlib1g", Some(Severity::Critical), Some("1.1")),
                finding("CVE-2026-2", "bash", Some(Severity::High), None),
                Finding {
                    exploited: Exploited::Known,
                    aliases: vec!["GHSA-x".into()],
                    ..finding("CVE-2026-3", "tar", Some(Severity::Low), None)
                },
                finding("CVE-2026-4", "ncurses", None, Some("2")),
            ],
            ..Findings::default()
        })),
        signers: Vec::new(),
    }
}

/// The reasons against an image, each as `rule: what`.
#[track_caller]
fn check(spec: Value, facts: &ImageFacts, expect: &[&str]) {
    let verdict = decide(&[in_force(spec.clone())], facts, now());
    let found: Vec<String> =
        verdict.reasons.iter().map(|reason| format!("{}: {}", reason.rule.name(), reason.what)).collect();
    assert_eq!(found, expect, "{spec}");
    assert_eq!(verdict.is_refused(), !expect.is_empty());
    assert!(verdict.reasons.iter().all(|reason| !reason.way_out.is_empty()));
}

#[test]
fn names_and_digests() {
    let facts = facts();
    check(json!({}), &facts, &[]);
    check(json!({"registries": ["ghcr.io"]}), &facts, &[]);
    check(json!({"registries": ["docker.io"], "repositories": ["ghcr.io/team/*"]}), &facts, &[]);
    check(
        json!({"registries": ["docker.io"], "repositories": ["ghcr.io/other/**"]}),
        &facts,
        &["repositories: images of ghcr.io/team/weather are not among those that may start"],
    );
    check(json!({"digest": "Required"}), &facts, &["digest: the pod does not name its image by digest"]);
    check(json!({"digest": "Required"}), &ImageFacts { naming: Naming::Digest, ..facts.clone() }, &[]);
    let verdict = decide(&[in_force(json!({"digest": "Required"}))], &facts, now());
    assert_eq!(
        verdict.reasons[0].to_string(),
        format!(
            "ImagePolicy team/strict: the pod does not name its image by digest; write ghcr.io/team/weather@{}",
            facts.digest
        )
    );
}

#[test]
fn severities() {
    let facts = facts();
    let limit = |severity: &str| json!({"vulnerabilities": {"maximumSeverity": severity}});
    check(limit("Critical"), &facts, &[]);
    check(limit("High"), &facts, &["maximumSeverity: CVE-2026-1 (Critical) in zlib1g 1.0 is above High"]);
    check(
        limit("None"),
        &facts,
        &[
            "maximumSeverity: CVE-2026-1 (Critical) in zlib1g 1.0 is one more than may be",
            "maximumSeverity: CVE-2026-2 (High) in bash 1.0 is one more than may be",
            "maximumSeverity: CVE-2026-4 (unscored, counts as Medium) in ncurses 1.0 is one more than may be",
            "maximumSeverity: CVE-2026-3 (Low) in tar 1.0 is one more than may be",
        ],
    );
    check(
        json!({"vulnerabilities": {"maximumSeverity": "Medium", "ignoreUnfixed": true, "unscored": "High"}}),
        &facts,
        &[
            "maximumSeverity: CVE-2026-1 (Critical) in zlib1g 1.0 is above Medium",
            "maximumSeverity: CVE-2026-4 (unscored, counts as High) in ncurses 1.0 is above Medium",
        ],
    );
    let known = "refuseKnownExploited: CVE-2026-3 (Low) in tar 1.0 is known to be exploited";
    check(json!({"vulnerabilities": {"refuseKnownExploited": true}}), &facts, &[known]);
    check(
        json!({"vulnerabilities": {"maximumSeverity": "Critical", "refuseKnownExploited": true, "ignoreUnfixed": true}}),
        &facts,
        &[known],
    );
    let unknown = ImageFacts { findings: Err(Unknown::Because("there is no database".into())), ..facts };
    check(
        limit("Critical"),
        &unknown,
        &["maximumSeverity: what is known to be wrong with the image is unknown: there is no database"],
    );
    check(json!({}), &unknown, &[]);
}

#[test]
fn of_very_many_findings_some_are_told() {
    let list = (0..40).map(|n| finding(&format!("CVE-{n:02}"), "a", Some(Severity::High), None)).collect();
    let many = ImageFacts {
        findings: Ok(Arc::new(Findings {
            generation: 1,
            database_at: now().as_second(),
            list,
            ..Findings::default()
        })),
        ..facts()
    };
    let verdict = decide(&[in_force(json!({"vulnerabilities": {"maximumSeverity": "Low"}}))], &many, now());
    assert_eq!(verdict.reasons.len(), 11);
    assert_eq!(verdict.reasons[10].what, "30 more findings");
    assert_eq!(verdict.advisories().len(), 10);
}

#[test]
fn what_nobody_could_find_out_is_not_well() {
    let of = |change: fn(&mut Findings, &mut Contents)| {
        let (mut findings, mut contents) = (Findings::default(), Contents::default());
        findings.database_at = now().as_second();
        findings.exploited_at = Some(now().as_second());
        change(&mut findings, &mut contents);
        ImageFacts { findings: Ok(Arc::new(findings)), contents: Ok(Arc::new(contents)), ..facts() }
    };
    let with = |more: Value| {
        let mut asked = json!({"maximumSeverity": "High"});
        asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"vulnerabilities": asked})
    };
    let uncovered = of(|findings, _| {
        findings.uncovered = vec![("Debian:12".into(), 5), ("conda".into(), 1)];
    });
    check(
        with(json!({})),
        &uncovered,
        &[
            "allowUncovered: whether packages of it are well is not known: there are no advisories of Debian:12 (5 packages), \
           conda (1 packages)",
        ],
    );
    check(
        with(json!({"allowUncovered": ["conda"]})),
        &uncovered,
        &[
            "allowUncovered: whether packages of it are well is not known: there are no advisories of Debian:12 (5 packages)",
        ],
    );
    let verdict = decide(&[in_force(with(json!({})))], &uncovered, now());
    let way_out = &verdict.reasons[0].way_out;
    let words = "spec.vulnerabilities.allowUncovered: [\"Debian:12\", \"conda\"]";
    assert!(way_out.ends_with(words), "what is told is what can be written: {way_out}");
    check(with(json!({"allowUncovered": ["conda", "Debian:12"]})), &uncovered, &[]);
    check(with(json!({"allowUncovered": ["*"]})), &uncovered, &[]);
    let misfiled = of(|findings, _| findings.misfiled = vec![("deb in Wolfi".into(), 90)]);
    check(
        with(json!({"allowUncovered": ["*"], "allowGaps": true})),
        &misfiled,
        &["allowUncovered: it is not of the distribution that it says: deb in Wolfi (90 packages)"],
    );
    // Who asks for no limit asks nothing of this.
    check(json!({"vulnerabilities": {"databaseMaximumAgeHours": 1}}), &uncovered, &[]);
    check(json!({"minimality": {"noShell": true}}), &uncovered, &[]);

    let gaps = of(|_, contents| {
        contents.gaps = 3;
        contents.some_gaps = vec!["/opt/x: it is damaged".into()];
    });
    let told = "allowGaps: what is in the image is not wholly known: /opt/x: it is damaged and 2 more";
    check(with(json!({})), &gaps, &[told]);
    check(with(json!({"allowGaps": true})), &gaps, &[]);

    let many = of(|findings, _| {
        let sort = LeftOut {
            severity: Some(Severity::Critical),
            exploited: Exploited::NotKnown,
            is_fixed: true,
            count: 7,
        };
        (findings.left_out, findings.unasked) = (vec![sort], 2);
    });
    let told = "maximumSeverity: the image has more findings than are looked at: 7 besides the worst 0, and 2 packages were \
                not looked up";
    check(with(json!({})), &many, &[told]);
    check(json!({"vulnerabilities": {"maximumSeverity": "Critical"}}), &many, &[]);

    // What is counted alone counts as if it were in the list.
    let left_out = |severity: Option<Severity>, exploited: Exploited, is_fixed: bool| {
        let sort = LeftOut { severity, exploited, is_fixed, count: 7 };
        let findings = Findings {
            database_at: now().as_second(),
            exploited_at: Some(now().as_second()),
            left_out: vec![sort],
            ..Findings::default()
        };
        let (findings, contents) = (Ok(Arc::new(findings)), Ok(Arc::new(Contents::default())));
        ImageFacts { findings, contents, ..facts() }
    };
    let told = "maximumSeverity: the image has more findings than are looked at: 7 besides the worst 0, and 0 packages were \
                not looked up";
    let low = left_out(Some(Severity::Low), Exploited::NotKnown, true);
    check(with(json!({})), &low, &[]);
    check(with(json!({"maximumSeverity": "None"})), &low, &[told]);
    let unfixed = left_out(Some(Severity::Critical), Exploited::NotKnown, false);
    check(with(json!({"ignoreUnfixed": true})), &unfixed, &[]);
    check(with(json!({})), &unfixed, &[told]);
    let unscored = left_out(None, Exploited::NotKnown, true);
    check(with(json!({})), &unscored, &[]);
    check(with(json!({"unscored": "Critical"})), &unscored, &[told]);
    let known = left_out(Some(Severity::Low), Exploited::Known, false);
    check(with(json!({"refuseKnownExploited": true})), &known, &[told]);
    check(with(json!({})), &known, &[]);

    // The findings are of a bill that is gone, and a scan since could not say whether it had gaps.
    let forgotten = ImageFacts {
        contents: Err(Unknown::Because("it was not read after 60 seconds".into())),
        ..of(|_, _| {})
    };
    let told = "allowGaps: whether what is in the image is wholly known is unknown: it was not read after 60 seconds";
    check(with(json!({})), &forgotten, &[told]);
    check(with(json!({"allowGaps": true})), &forgotten, &[]);

    let exploited = json!({"vulnerabilities": {"refuseKnownExploited": true}});
    check(
        exploited.clone(),
        &of(|findings, _| findings.exploited_at = None),
        &[
            "refuseKnownExploited: which vulnerabilities are exploited is not known: the database has no catalogue of them",
        ],
    );
    check(exploited, &of(|_, _| {}), &[]);
}

#[test]
fn the_catalogue_of_exploited_ones_ages_too() {
    let mut findings = Findings { database_at: now().as_second(), ..Findings::default() };
    findings.exploited_at = Some(now().as_second() - 48 * 3600);
    let facts = ImageFacts { findings: Ok(Arc::new(findings)), ..facts() };
    let asked = |exploited: bool| json!({"vulnerabilities": {"refuseKnownExploited": exploited, "databaseMaximumAgeHours": 24}});
    let told = "databaseMaximumAgeHours: the database of advisories is 48 hours old, and may be 24";
    check(asked(true), &facts, &[told]);
    check(asked(false), &facts, &[]);
}

#[test]
fn exceptions_end() {
    let facts = facts();
    let with = |expires: &str, id: &str, package: Option<&str>| {
        let mut exception = json!({"id": id, "reason": "not reachable", "expires": expires});
        if let Some(package) = package {
            exception["package"] = package.into();
        }
        json!({"vulnerabilities": {"maximumSeverity": "High", "exceptions": [exception]}})
    };
    let refused = "maximumSeverity: CVE-2026-1 (Critical) in zlib1g 1.0 is above High";
    check(with("2026-11-26T12:00:01Z", "cve-2026-1", None), &facts, &[]);
    check(with("2026-11-26T12:00:01Z", "CVE-2026-1", Some("zlib1g")), &facts, &[]);
    check(with("2026-11-26T12:00:01Z", "CVE-2026-1", Some("zlib")), &facts, &[refused]);
    check(with("2026-11-26T12:00:01Z", "CVE-2026-11", None), &facts, &[refused]);
    check(
        with("2026-11-26T12:00:00Z", "CVE-2026-1", None),
        &facts,
        &[&format!("{refused}, and the exception for it (not reachable) ended at 2026-11-26T12:00:00Z")],
    );
    // By another of its names, whatever it is refused for.
    let known = |expires: &str| {
        json!({"vulnerabilities": {"refuseKnownExploited": true, "exceptions": [
            {"id": "GHSA-x", "reason": "r", "expires": expires},
        ]}})
    };
    check(known("2026-12-01T00:00:00Z"), &facts, &[]);
    let verdict = decide(&[in_force(known("2026-12-01T00:00:00Z"))], &facts, now());
    assert_eq!(verdict.valid_until, Some(second("2026-12-01T00:00:00Z")));
}

#[test]
fn ages() {
    let facts = facts();
    check(json!({"maximumAgeDays": 7}), &facts, &[]);
    check(json!({"maximumAgeDays": 6}), &facts, &["maximumAgeDays: the image is 6 days old, and may be 6"]);
    check(
        json!({"maximumAgeDays": 6}),
        &ImageFacts { created_at: None, ..facts.clone() },
        &["maximumAgeDays: the image does not say when it was made"],
    );
    // Of tomorrow may be a clock's error. Later, it would be young for years.
    let made = |at: &str| ImageFacts { created_at: Some(second(at)), ..facts.clone() };
    check(json!({"maximumAgeDays": 6}), &made("2026-11-27T12:00:00Z"), &[]);
    let ahead = made("2026-11-28T12:00:01Z");
    check(
        json!({"maximumAgeDays": 6}),
        &ahead,
        &["maximumAgeDays: the image says that it was made in the future, 2 days from now"],
    );
    let verdict = decide(&[in_force(json!({"maximumAgeDays": 6}))], &ahead, now());
    assert_eq!(verdict.valid_until, Some(second("2026-11-27T12:00:01Z")));
    check(json!({}), &ahead, &[]);
    let hours = |hours: u32| json!({"vulnerabilities": {"databaseMaximumAgeHours": hours}});
    check(hours(25), &facts, &[]);
    check(
        hours(24),
        &facts,
        &["databaseMaximumAgeHours: the database of advisories is 24 hours old, and may be 24"],
    );
    let both = in_force(json!({"maximumAgeDays": 7, "vulnerabilities": {"databaseMaximumAgeHours": 25}}));
    assert_eq!(decide(&[both], &facts, now()).valid_until, Some(second("2026-11-26T13:00:00Z")));
}

#[test]
fn what_is_in_it() {
    let facts = facts();
    check(
        json!({"minimality": {"noShell": true, "noSetuid": true, "maximumPackages": 11, "maximumSize": "10485759"}}),
        &facts,
        &[
            "maximumSize: the image has 10485760 bytes, and may have 10485759",
            "noShell: the image has a shell: /bin/sh",
            "noSetuid: the image has programs with a setuid or setgid bit or with capabilities: /usr/bin/su, /usr/bin/mount",
            "maximumPackages: the image has 12 packages, and may have 11",
        ],
    );
    check(json!({"minimality": {"maximumPackages": 12, "maximumSize": "10Mi"}}), &facts, &[]);
    let contents = Contents { shells_more: 7, ..(**facts.contents.as_ref().unwrap()).clone() };
    check(
        json!({"minimality": {"noShell": true}}),
        &ImageFacts { contents: Ok(contents.into()), ..facts.clone() },
        &["noShell: the image has a shell: /bin/sh and 7 more"],
    );
    let unknown = ImageFacts { contents: Err(Unknown::Because("the scan took too long".into())), ..facts };
    check(
        json!({"minimality": {"noShell": true}}),
        &unknown,
        &["noShell: what is in the image is unknown: the scan took too long"],
    );
    check(json!({"minimality": {"maximumSize": "1Gi"}}), &unknown, &[]);
}

#[test]
fn bases() {
    let facts = facts();
    let on = |layers: &[Arc<str>]| json!({"baseImages": [{"name": "python", "layers": layers}]});
    check(on(&facts.layers[..2]), &facts, &[]);
    check(on(&facts.diff_ids[..3]), &facts, &[]);
    let none = "baseImages: the image is built on none of python";
    check(on(&facts.layers[1..]), &facts, &[none]);
    check(on(&[facts.layers[0].clone(), facts.diff_ids[1].clone()]), &facts, &[none]);
    let longer: Vec<Arc<str>> = facts.layers.iter().chain(&facts.layers[..1]).cloned().collect();
    check(on(&longer), &facts, &[none]);
}

#[test]
fn signers_and_statements() {
    let spec = json!({
        "signers": [{"name": "release", "key": {"publicKey": KEY}}],
        "attestations": [{"predicateType": PROVENANCE, "builder": "https://ci/*", "source": "git+https://git/**"}],
    });
    let by = in_force(spec.clone());
    let id = by.signers[0].id.clone();
    assert_eq!(needs(std::slice::from_ref(&by)).signers.len(), 1);
    check(
        spec.clone(),
        &facts(),
        &[
            "signers: none of its signers has signed the image (release: it was not looked for)",
            "attestations: no statement of the type https://slsa.dev/provenance/v1 is signed by its signers",
        ],
    );
    let signed = |image: Result<(), Unknown>, builder: &str, source: &str| ImageFacts {
        signers: vec![Signed {
            signer: id.clone(),
            image,
            statements: vec![Statement {
                predicate_type: PROVENANCE.into(),
                builder: Some(builder.into()),
                sources: vec![source.into()],
            }],
            asked: vec![PROVENANCE.into()],
            gap: None,
        }],
        ..facts()
    };
    check(spec.clone(), &signed(Ok(()), "https://ci/1", "git+https://git/team/a"), &[]);
    check(
        spec.clone(),
        &signed(
            Err(Unknown::Because("there is no signature".into())),
            "https://evil/1",
            "git+https://git/team/a",
        ),
        &[
            "signers: none of its signers has signed the image (release: there is no signature)",
            "attestations: no statement of the type https://slsa.dev/provenance/v1 has the builder and source that are \
             asked for (one has the builder \"https://evil/1\" and the sources [\"git+https://git/team/a\"])",
        ],
    );
    // What was not looked at is said, wherever something was not found.
    let mut some = signed(Ok(()), "https://evil/1", "git+https://git/team/a");
    some.signers[0].gap = Some("9 of what is attached to it could not be looked at".into());
    let verdict = decide(std::slice::from_ref(&by), &some, now());
    assert!(verdict.reasons[0].what.ends_with(", and 9 of what is attached to it could not be looked at"));
    // Somebody else signed it.
    let mut other = signed(Ok(()), "https://ci/1", "git+https://git/team/a");
    other.signers[0].signer = "other".into();
    assert!(decide(&[by], &other, now()).is_refused());
}

#[test]
fn keys_come_from_config_maps() {
    let from_map = |name: &str| json!({"signers": [{"name": "a", "key": {"configMap": {"name": name, "key": "cosign.pub"}}}]});
    let by = in_force(from_map("keys"));
    // The same key, wherever it stands, is the same signer.
    let inline = in_force(json!({"signers": [{"name": "b", "key": {"publicKey": KEY}}]}));
    assert_eq!(by.signers[0].id, inline.signers[0].id);
    check(
        from_map("lost"),
        &facts(),
        &[
            "signers: none of its signers has signed the image (a: ConfigMap team/lost with the key cosign.pub is not there; \
             create it)",
        ],
    );
}

#[test]
fn what_is_asked_for_is_what_it_depends_on() {
    let signer = |name: &str, key: &str| {
        let pem = KEY.replace("MFkw", key);
        json!({"name": name, "key": {"publicKey": pem}})
    };
    let by = in_force(json!({
        "signers": [signer("a", "AAAA"), signer("b", "BBBB")],
        "attestations": [{"predicateType": PROVENANCE, "signers": ["b"]}],
        "vulnerabilities": {"maximumSeverity": "High"},
    }));
    let said = |n: usize, image: Result<(), Unknown>, asked: &[&str]| Signed {
        signer: by.signers[n].id.clone(),
        image,
        statements: Vec::new(),
        asked: asked.iter().map(|kind| (*kind).into()).collect(),
        gap: None,
    };
    let unsigned = || Err(Unknown::Because("it is not signed".into()));
    let asks = |signers: Vec<Signed>, findings| {
        let facts = ImageFacts { signers, findings, ..facts() };
        let missing = missing(std::slice::from_ref(&by), &facts);
        (missing.findings, missing.signers.len(), missing.statements.len())
    };
    let matched = facts().findings;
    assert_eq!(asks(Vec::new(), matched.clone()), (false, 2, 1));
    // A signature is there; of the statement its own signer alone has to be asked.
    assert_eq!(asks(vec![said(0, Ok(()), &[])], matched.clone()), (false, 2, 1));
    let looked = vec![said(0, Ok(()), &[]), said(1, unsigned(), &[PROVENANCE])];
    assert_eq!(asks(looked.clone(), matched.clone()), (false, 0, 0));
    // Another database changes nothing about that.
    assert_eq!(asks(looked, Err(Unknown::NotYet)), (true, 0, 0));
    // As long as nobody has signed, all have to be asked.
    assert_eq!(asks(vec![said(1, unsigned(), &[PROVENANCE])], matched), (false, 2, 1));
}

#[test]
fn the_action_says_what_becomes_of_it() {
    let facts = facts();
    let with = |action: &str| in_force(json!({"enforcementAction": action, "digest": "Required"}));
    for (action, refused) in [("Deny", true), ("Warn", false), ("Audit", false)] {
        let verdict = decide(&[with(action)], &facts, now());
        assert_eq!((verdict.is_refused(), verdict.reasons.len()), (refused, 1), "{action}");
    }
    // All have to pass, and all are told.
    let verdict = decide(&[with("Warn"), with("Deny"), in_force(json!({}))], &facts, now());
    assert!(verdict.is_refused() && verdict.reasons.len() == 2);
    assert_eq!(decide(&[], &facts, now()), super::Verdict::default());
}

#[test]
fn what_no_policy_judges_is_spoken_of() {
    assert_eq!(unjudged(&facts()).len(), 1);
    let unknown = ImageFacts { findings: Err(Unknown::Because("there is no database".into())), ..facts() };
    assert_eq!(
        unjudged(&unknown),
        [
            "nobody's signature of it was verified, as no ImagePolicy names a signer",
            "what is known to be wrong with it is unknown: there is no database",
        ]
    );
}

#[test]
fn a_report_has_the_form_of_trivy_operator() {
    let of = ReportOf { kind: "CronJob", namespace: "team", name: "nightly", uid: "u", container: "main" };
    let facts = facts();
    let object = report(&of, &facts, facts.findings.as_ref().unwrap(), now());
    assert_eq!(object["metadata"]["name"], "cronjob-nightly-main");
    assert_eq!(object["metadata"]["labels"]["trivy-operator.resource.kind"], "CronJob");
    assert_eq!(object["metadata"]["labels"]["trivy-operator.container.name"], "main");
    assert_eq!(object["report"]["artifact"]["repository"], "team/weather");
    assert_eq!(object["report"]["registry"]["server"], "ghcr.io");
    assert_eq!(object["report"]["os"], json!({"family": "debian", "name": "12"}));
    assert_eq!(
        object["report"]["summary"],
        json!({"criticalCount": 1, "highCount": 1, "mediumCount": 0, "lowCount": 1, "unknownCount": 1})
    );
    assert_eq!(object["report"]["vulnerabilities"][0]["title"], "[known to be exploited] ");
    assert_eq!(object["report"]["vulnerabilities"][3]["severity"], "UNKNOWN");
    let mut checked = object.clone();
    let found = watchbell_api::schema::check(
        Resource::VulnerabilityReport,
        &mut checked,
        watchbell_api::schema::Prune::Nothing,
    );
    assert_eq!(found, watchbell_api::schema::SchemaReport::default());
    assert_eq!(validate::create(Resource::VulnerabilityReport, &checked), []);
    let long = ReportOf { name: &"a".repeat(253), ..of };
    assert_eq!(report_name(&long).len(), 253);
    assert_ne!(report_name(&long), report_name(&ReportOf { container: "other", ..long }));
}
