use serde_json::Value;
use watchbell_image::History;

use super::*;
use crate::configuration;
use crate::finding::tests::labelled;
use crate::finding::{find, questions};
use crate::secret::RULES;

fn evidence() -> Evidence {
    let (inventory, test) = labelled();
    let questions = questions(&inventory);
    let answer = find(&questions, &test.database).unwrap();
    let rule = |id: &str| RULES.iter().find(|rule| rule.id == id).unwrap();
    let config = ImageConfig {
        history: vec![History {
            created_by: Some("RUN /bin/sh -c make # buildkit".into()),
            ..History::default()
        }],
        ..ImageConfig::default()
    };
    Evidence {
        subject: Subject {
            name: "registry.example/team/app:1.0".into(),
            identity: ImageIdentity {
                digest: Some(format!("sha256:{}", "ab".repeat(32))),
                repository: Some("registry.example/team/app".into()),
                tag: Some("1.0".into()),
            },
            config: Some(config),
            layers: vec![Digest::of(b"layer")],
        },
        inventory,
        knowledge: Knowledge::Known { answer, questions, sources: test.database.sources().to_vec() },
        secrets: vec![
            SecretFinding {
                rule: rule("private-key"),
                place: SecretPlace::File { path: "srv/key.pem".into(), layer: 0, is_hidden: true },
                line: 1,
                certainty: Certainty::Plain,
                shown: "1704 characters".into(),
            },
            SecretFinding {
                rule: rule("private-key"),
                place: SecretPlace::File {
                    path: "usr/lib/python3/test/key.pem".into(),
                    layer: 0,
                    is_hidden: false,
                },
                line: 1,
                certainty: Certainty::TestData,
                shown: "1704 characters".into(),
            },
        ],
        configuration: vec![configuration::ConfigurationFinding {
            rule: configuration::RULES.iter().find(|rule| rule.id == "root-user").unwrap(),
            path: None,
            layer: None,
            message: "the configuration has no USER".into(),
        }],
        unsearched: 2,
        minimality: None,
    }
}

fn now() -> Timestamp {
    "2026-11-26T12:00:00Z".parse().unwrap()
}

fn report(statements: &Statements, options: &Options) -> Report {
    judge(evidence(), statements, options, now())
}

fn gate(least: Severity) -> Options {
    Options { fail_on: Some(least), ..Options::default() }
}

fn vex(statement: &str) -> Statements {
    let text = format!(
        r#"{{"@context": "https://openvex.dev/ns/v0.2.0", "@id": "x", "author": "a", "timestamp": "2026-01-01T00:00:00Z",
            "version": 1, "statements": [{statement}]}}"#
    );
    Statements { vex: vec![VexDocument::parse("vex.json", text.as_bytes()).unwrap()], ignores: Vec::new() }
}

fn ignores(text: &str) -> Statements {
    Statements { vex: Vec::new(), ignores: vec![IgnoreFile::parse("ignore", text).unwrap()] }
}

/// `id standing` of each vulnerability, in the report's order.
fn standings(report: &Report) -> Vec<String> {
    let one = |one: &JudgedVulnerability| {
        let standing = json::standing(&one.standing);
        let why = standing["because"].as_str().unwrap_or("counts");
        format!("{} {why}", one.finding.known.vulnerability.id)
    };
    report.vulnerabilities.iter().map(one).collect()
}

#[test]
fn the_worst_comes_first_and_the_kernel_stands_apart() {
    let report = report(&Statements::default(), &gate(Severity::Critical));
    assert_eq!(
        standings(&report),
        [
            // Exploited before equally bad ones.
            "CVE-2024-1001 counts",
            "CVE-2024-1008 counts",
            "CVE-2024-1005 counts",
            "PYSEC-2024-9 notice",
            "CVE-2024-1004 kernel",
        ]
    );
    assert_eq!(report.gate.failures, 3, "the headers of the kernel and a notice are off the gate");
    assert!(!report.gate.holds());
}

#[test]
fn the_gate_counts_what_is_as_bad_and_counts() {
    let failures = |least| report(&Statements::default(), &gate(least)).gate.failures;
    assert_eq!(failures(Severity::Critical), 3);
    assert_eq!(failures(Severity::High), 4, "the key");
    assert_eq!(failures(Severity::Medium), 5, "root");
    assert_eq!(failures(Severity::Low), 6, "the key of a test");
    assert!(report(&Statements::default(), &Options::default()).gate.holds(), "nobody asked");
}

#[test]
fn what_was_not_asked_for_fails_the_gate() {
    let judged = |options: &Options, unasked: usize| {
        let mut evidence = evidence();
        evidence.inventory.gaps.clear();
        if let Knowledge::Known { answer, .. } = &mut evidence.knowledge {
            answer.unasked = unasked;
            answer.uncovered.clear();
            answer.findings.clear();
        }
        judge(evidence, &Statements::default(), options, now()).gate
    };
    assert!(judged(&gate(Severity::Critical), 0).holds());
    let told = report(&Statements::default(), &gate(Severity::Critical));
    assert_eq!(json(&told)["unsearched"], 2);
    let lines: Vec<String> =
        table(&told).into_iter().map(|line| line.into_iter().map(|(_, text)| text).collect()).collect();
    assert!(
        lines.contains(&"Not searched for secrets: 2 texts above 8 MiB or in UTF-16.".to_owned()),
        "{lines:?}"
    );
    let mut unversioned = evidence();
    unversioned.inventory.gaps.clear();
    if let Knowledge::Known { answer, .. } = &mut unversioned.knowledge {
        answer.uncovered = [("unversioned:Go".to_owned(), 2)].into();
    }
    let told = judge(unversioned, &Statements::default(), &gate(Severity::Critical), now());
    let reasons: Vec<String> = told.gate.unseen.iter().map(ToString::to_string).collect();
    assert_eq!(
        reasons,
        ["packages have no version that advisories can be compared with (2 of unversioned:Go)"]
    );
    let lines: Vec<String> =
        table(&told).into_iter().map(|line| line.into_iter().map(|(_, text)| text).collect()).collect();
    let line = "Not known: 2 packages of unversioned:Go, whose version is none that advisories can be compared with.";
    assert!(lines.iter().any(|one| one == line), "{lines:?}");
    let blind = judged(&gate(Severity::Critical), 7);
    assert_eq!(
        (blind.failures, blind.unseen.as_slice(), blind.holds()),
        (0, &[Unseen::Unasked(7)][..], false)
    );
    let mut lies = evidence();
    lies.inventory.gaps.clear();
    if let Knowledge::Known { answer, .. } = &mut lies.knowledge {
        answer.findings.clear();
        answer.misfiled.insert("deb in Wolfi".into(), 3);
    }
    let all = Options {
        uncovered_allowed: ["*".to_owned()].into(),
        gaps: Gaps::Allowed,
        ..gate(Severity::Critical)
    };
    let gate_of_lies = judge(lies, &Statements::default(), &all, now()).gate;
    assert_eq!(gate_of_lies.unseen, [Unseen::Misfiled { what: "deb in Wolfi".into(), packages: 3 }]);
    let allowed = Options {
        uncovered_allowed: ["*".to_owned()].into(),
        gaps: Gaps::Allowed,
        ..gate(Severity::Critical)
    };
    assert!(!judged(&allowed, 7).holds(), "nothing lets it pass");
    assert!(judged(&Options::default(), 7).holds(), "nobody asked");
}

#[test]
fn unfixed_ones_are_left_out_where_that_is_asked() {
    let options = Options { unfixed: Unfixed::Ignored, ..gate(Severity::Critical) };
    let report = report(&Statements::default(), &options);
    assert_eq!(report.gate.failures, 2);
    assert!(!standings(&report).iter().any(|line| line.starts_with("CVE-2024-1008")));
    assert_eq!(report.unlisted, [("unfixed", 1)].into());
}

#[test]
fn what_is_listed_does_not_change_the_gate() {
    let options = Options { listed: [Severity::Medium].into(), ..gate(Severity::Critical) };
    let report = report(&Statements::default(), &options);
    assert_eq!((report.vulnerabilities.len(), report.secrets.len(), report.configuration.len()), (0, 0, 1));
    assert_eq!(report.gate.failures, 3);
    assert_eq!(report.unlisted, [("severity", 7)].into());
}

#[test]
fn a_vex_statement_clears_what_it_speaks_of() {
    let statements = vex(
        r#"{"vulnerability": {"name": "GHSA-aaaa-bbbb-cccc"}, "products": [{"@id": "pkg:oci/app?repository_url=registry.example/team/app",
            "subcomponents": [{"@id": "pkg:pypi/zope.interface"}, {"@id": "pkg:pypi/zope-interface"}]}],
            "status": "not_affected", "justification": "component_not_present"},
           {"vulnerability": {"name": "CVE-2024-1001"}, "products": [{"@id": "pkg:deb/debian/openssl"}],
            "status": "under_investigation"}"#,
    );
    let report = report(&statements, &gate(Severity::Critical));
    assert!(standings(&report).contains(&"CVE-2024-1005 vex".to_owned()), "{:?}", standings(&report));
    assert!(standings(&report).contains(&"CVE-2024-1001 counts".to_owned()));
    let openssl = report.vulnerabilities.iter().find(|one| one.finding.question.name == "openssl").unwrap();
    let remark = openssl.remark.as_ref().unwrap();
    assert_eq!(
        (remark.status, remark.text.as_str()),
        (VexStatus::UnderInvestigation, "vex.json: under_investigation")
    );
    assert_eq!(report.gate.failures, 2);
}

#[test]
fn an_ignored_finding_counts_again_when_its_day_is_over() {
    let line = |date: &str| format!("CVE-2024-1001 exp:{date} # known\nCVE-1 exp:2027-01-01 # nothing\n");
    let accepted = report(&ignores(&line("2026-11-26")), &gate(Severity::Critical));
    assert!(standings(&accepted).contains(&"CVE-2024-1001 ignored".to_owned()));
    assert_eq!(accepted.gate.failures, 2);
    let idle = |report: &Report| {
        report.idle_entries.iter().map(|entry| (entry.line, entry.is_expired)).collect::<Vec<_>>()
    };
    assert_eq!(idle(&accepted), [(2, false)]);
    let over = report(&ignores(&line("2026-11-25")), &gate(Severity::Critical));
    assert!(standings(&over).contains(&"CVE-2024-1001 counts".to_owned()));
    assert_eq!(over.gate.failures, 3);
    assert_eq!(idle(&over), [(1, true), (2, false)]);
}

#[test]
fn secrets_and_configuration_are_ignored_by_rule_and_path() {
    let text =
        "private-key path:srv/** exp:2027-01-01 # ours\nroot-user exp:2027-01-01 # drops its rights itself\n";
    let report = report(&ignores(text), &gate(Severity::Medium));
    assert_eq!(report.gate.failures, 3);
    assert_eq!(report.idle_entries, []);
}

#[test]
fn without_advisories_nothing_is_said_of_vulnerabilities() {
    let mut evidence = evidence();
    evidence.knowledge = Knowledge::Unknown("there is no index".into());
    let report = judge(evidence, &Statements::default(), &gate(Severity::Critical), now());
    let text = json(&report);
    assert_eq!(text["findingsKnown"], false);
    assert!(!report.gate.holds(), "nobody knows");
    assert_eq!(report.gate.unseen, [Unseen::Advisories]);
    assert_eq!(
        cyclonedx(&report).get("vulnerabilities"),
        None,
        "an empty list would say that there are none"
    );
    let lines: Vec<String> =
        table(&report).iter().map(|line| line.iter().map(|(_, text)| text.as_str()).collect()).collect();
    assert!(lines.contains(&"Vulnerabilities: unknown".to_owned()), "{lines:?}");
}

#[test]
fn the_json_says_what_whom_and_where() {
    let report = report(&Statements::default(), &gate(Severity::Critical));
    let document = json(&report);
    assert_eq!(document["schemaVersion"], 1);
    let first = &document["vulnerabilities"][0];
    for (pointer, expect) in [
        ("/id", Value::from("CVE-2024-1001")),
        ("/severity", "critical".into()),
        ("/scores/0/score", 9.8.into()),
        ("/scores/0/version", "3.1".into()),
        ("/fixedVersions/0", "3.0.11-1~deb12u2".into()),
        ("/knownExploited/added", "2025-08-25".into()),
        ("/standing/counts", true.into()),
        ("/packages/0/name", "libssl3".into()),
    ] {
        assert_eq!(first.pointer(pointer), Some(&expect), "{pointer}: {first:#}");
    }
    assert_eq!(document["secrets"][0]["layer"]["createdBy"], "RUN /bin/sh -c make");
    assert_eq!(document["secrets"][0]["place"]["hidden"], true);
    assert_eq!(document["secrets"][1]["certainty"], "test-data");
    assert_eq!(document["gate"]["failures"], 3);
}

#[test]
fn sarif_suppresses_what_does_not_count() {
    let report = report(&ignores("CVE-2024-1001 exp:2027-01-01 # known\n"), &gate(Severity::Critical));
    let log = sarif(&report);
    let run = &log["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), 8);
    let mut prints = BTreeSet::new();
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
        prints.insert(result["partialFingerprints"]["watchbellScan/v1"].as_str().unwrap());
    }
    assert_eq!(prints.len(), results.len(), "each has its own");
    let suppressed = |id: &str| {
        let result = results.iter().find(|result| result["ruleId"] == id).unwrap();
        result["suppressions"][0]["justification"].as_str().map(str::to_owned)
    };
    assert_eq!(suppressed("CVE-2024-1001").as_deref(), Some("ignore:1: known (until 2027-01-01)"));
    assert_eq!(suppressed("CVE-2024-1008"), None);
    assert!(suppressed("CVE-2024-1004").unwrap().contains("kernel"));
}

#[test]
fn cyclonedx_carries_the_analysis() {
    let statements = vex(
        r#"{"vulnerability": {"name": "CVE-2024-1008"}, "products": [{"@id": "pkg:golang/example.org/a"}],
            "status": "not_affected", "justification": "vulnerable_code_not_in_execute_path", "impact_statement": "unused"}"#,
    );
    let said = |status: &str| {
        let statement = r#"{"vulnerability": {"name": "CVE-2024-1001"}, "products": [{"@id": "pkg:deb/debian/openssl"},
            {"@id": "pkg:deb/debian/libssl3"}], "status": "STATUS", "action_statement": "update"}"#;
        let document = cyclonedx(&report(&vex(&statement.replace("STATUS", status)), &Options::default()));
        let list = document["vulnerabilities"].as_array().unwrap();
        list.iter().find(|one| one["id"] == "CVE-2024-1001").unwrap()["analysis"]["state"].clone()
    };
    assert_eq!(said("affected"), "exploitable");
    assert_eq!(said("under_investigation"), "in_triage");
    assert_eq!(said("fixed"), "resolved");
    let document = cyclonedx(&report(&statements, &Options::default()));
    let list = document["vulnerabilities"].as_array().unwrap();
    let of = |id: &str| list.iter().find(|one| one["id"] == id).unwrap();
    assert_eq!(of("CVE-2024-1008")["analysis"]["state"], "not_affected");
    assert_eq!(of("CVE-2024-1008")["analysis"]["justification"], "code_not_reachable");
    assert_eq!(of("CVE-2024-1001").get("analysis"), None);
    assert_eq!(of("CVE-2024-1001")["ratings"][0]["method"], "CVSSv31");
    // What is affected is a component of the same document.
    let components: BTreeSet<&str> = document["components"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["bom-ref"].as_str().unwrap())
        .collect();
    for affected in list.iter().flat_map(|one| one["affects"].as_array().unwrap()) {
        assert!(components.contains(affected["ref"].as_str().unwrap()), "{affected}");
    }
}

#[test]
fn the_table_is_for_people() {
    let report = report(&Statements::default(), &Options::default());
    let lines: Vec<String> = table(&report)
        .iter()
        .map(|line| line.iter().map(|(_, text)| text.as_str()).collect::<String>().trim_end().to_owned())
        .collect();
    let text = lines.join("\n");
    for expect in [
        "registry.example/team/app:1.0 (Debian GNU/Linux 12 (bookworm), 12 packages)",
        "Vulnerabilities: 3 (CRITICAL 3)",
        "CRITICAL  9.8    CVE-2024-1001  openssl",
        "known exploited",
        "Apart: 1 vulnerability of the kernel's source, of which the image has headers (linux-libc-dev)",
        "Not known: 1 package of conda",
        "Secrets: 2",
        "(hidden by a later layer, and still in the image)",
        "the image runs as root [root-user]",
        "  0  RUN /bin/sh -c make",
    ] {
        assert!(text.contains(expect), "{expect:?} is not in\n{text}");
    }
}

#[test]
fn the_same_evidence_gives_the_same_report() {
    let once = || json(&report(&Statements::default(), &gate(Severity::Low))).to_string();
    assert_eq!(once(), once());
}
