//! Policies of images in the world: what an apply is told, what is reported, what is held and let go.

use std::sync::Arc;

use serde_json::{Value, json};
use watchbell_api::image::{
    Contents, Finding, Findings, ImageFacts, ImageJudged, ImageOutcome, ImageUser, JudgedReason, Naming,
    Severity, Signed, Unknown,
};
use watchbell_api::node::{Command, Report};
use watchbell_api::{Reason, Resource};

use super::{Bench, START, cron, job, pod, request, uid_of};
use crate::image_policy::SignerRule;
use crate::request::{DryRun, PatchKind, Propagation, Request, Write};

const IMAGE: &str = "busybox:bar";

fn policy(spec: Value) -> Value {
    json!({
        "apiVersion": "watchbell.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": "strict"}, "spec": spec,
    })
}

fn cluster_policy(spec: Value) -> Value {
    json!({
        "apiVersion": "watchbell.dev/v1alpha1", "kind": "ClusterImagePolicy", "metadata": {"name": "all"}, "spec": spec,
    })
}

fn no_findings() -> Value {
    json!({"vulnerabilities": {"maximumSeverity": "High"}})
}

fn facts(generation: u64, findings: &[(&str, Severity)]) -> ImageFacts {
    let list = findings.iter().map(|(id, severity)| Finding {
        id: (*id).into(),
        package: "zlib1g".into(),
        version: "1.0".into(),
        severity: Some(*severity),
        ..Finding::default()
    });
    ImageFacts {
        digest: "sha256:d".into(),
        repository: "docker.io/library/busybox".into(),
        tag: Some("bar".into()),
        naming: Naming::Tag,
        created_at: None,
        layers: Arc::from([]),
        diff_ids: Arc::from([]),
        size: 1,
        contents: Ok(Arc::new(Contents { packages: 1, ..Contents::default() })),
        findings: Ok(Arc::new(Findings {
            generation,
            database_at: START,
            list: list.collect(),
            ..Findings::default()
        })),
        signers: Vec::new(),
    }
}

impl Bench {
    /// The node tells of the image, with CronJob `c` among those that refer to it.
    fn tell(&mut self, facts: ImageFacts) {
        self.tell_of(IMAGE, "ml", facts);
    }

    fn tell_of(&mut self, image: &str, namespace: &str, facts: ImageFacts) {
        let user = ImageUser {
            resource: Resource::CronJob,
            namespace: namespace.into(),
            name: "c".into(),
            container: "main".into(),
        };
        let report = Report::Image {
            namespace: namespace.into(),
            image: image.into(),
            facts: Arc::new(facts),
            users: vec![user],
        };
        self.world.report(report, self.at());
        self.settle();
    }

    fn actions(&self, action: &str) -> Vec<Value> {
        let of = self.journal.audit.iter().filter(|entry| entry.body["action"] == action);
        of.map(|entry| entry.body["details"].clone()).collect()
    }
}

#[test]
fn policies_are_for_their_namespaces() {
    let mut bench = Bench::new();
    let names = |bench: &Bench, namespace: &str| -> Vec<String> {
        let snapshot = bench.world.snapshot();
        snapshot.image_policies(namespace).iter().map(|by| by.name.to_string()).collect()
    };
    bench.create(policy(json!({})));
    bench.create(cluster_policy(json!({"namespaceSelector": {"matchLabels": {"team": "a"}}})));
    bench.settle();
    assert!(bench.commands.iter().any(|command| matches!(command, Command::ImagePoliciesChanged)));
    assert_eq!(names(&bench, "ml"), ["ImagePolicy ml/strict"]);
    assert_eq!(names(&bench, "default"), [""; 0]);
    bench.patch(Resource::Namespace, "ml", json!({"metadata": {"labels": {"team": "a"}}}));
    bench.settle();
    assert_eq!(names(&bench, "ml"), ["ClusterImagePolicy all", "ImagePolicy ml/strict"]);
    bench.patch(Resource::ClusterImagePolicy, "all", json!({"spec": {"namespaceSelector": null}}));
    bench.settle();
    assert_eq!(names(&bench, "default"), ["ClusterImagePolicy all"]);
}

const KEY: &str = "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n";

#[test]
fn what_policies_read_is_read_once_and_its_change_is_another_policy() {
    let mut bench = Bench::new();
    let stamp = |bench: &Bench| bench.world.snapshot().image_policies_stamp("ml");
    let key = |bench: &Bench| match &bench.world.snapshot().image_policies("ml")[0].signers[0].rule {
        Ok(SignerRule::Key { pem }) => Ok(pem.clone()),
        Ok(other) => panic!("{other:?}"),
        Err(why) => Err(why.clone()),
    };
    assert_eq!(stamp(&bench), None);
    let from_map = json!({"name": "a", "key": {"configMap": {"name": "keys", "key": "cosign.pub"}}});
    bench.create(policy(json!({"signers": [from_map]})));
    bench.settle();
    let mut stamps = vec![stamp(&bench)];
    assert_eq!(
        &*key(&bench).unwrap_err(),
        "ConfigMap ml/keys with the key cosign.pub is not there; create it"
    );
    let map = |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "keys"}, "data": data});
    bench.create(map(json!({"other": "é\n", "cosign.pub": KEY})));
    bench.settle();
    stamps.push(stamp(&bench));
    let first = key(&bench).unwrap();
    assert_eq!(&*first, KEY);
    assert!(Arc::ptr_eq(&first, &key(&bench).unwrap()), "it is parsed once");
    // Of no concern.
    bench.create(pod("p"));
    bench.create(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other"}}));
    bench.settle();
    assert_eq!(stamp(&bench), stamps[1]);
    bench.patch(Resource::ConfigMap, "keys", json!({"data": {"cosign.pub": "-"}}));
    bench.settle();
    stamps.push(stamp(&bench));
    assert_eq!(&*key(&bench).unwrap(), "-");
    bench.patch(Resource::ImagePolicy, "strict", json!({"spec": {"digest": "Required"}}));
    bench.settle();
    stamps.push(stamp(&bench));
    bench.create(cluster_policy(json!({"namespaceSelector": {"matchLabels": {"team": "a"}}})));
    bench.settle();
    assert_eq!(stamp(&bench), stamps[3], "it is not for this namespace");
    bench.patch(Resource::Namespace, "ml", json!({"metadata": {"labels": {"team": "a"}}}));
    bench.settle();
    stamps.push(stamp(&bench));
    bench.delete(Resource::ConfigMap, "keys", Propagation::Background);
    bench.settle();
    stamps.push(stamp(&bench));
    let different: std::collections::HashSet<_> = stamps.iter().flatten().collect();
    assert_eq!(different.len(), 6, "{stamps:?}");
}

#[test]
fn no_more_policies_are_taken_than_every_start_can_be_judged_by() {
    let mut bench = Bench::new();
    let named = |mut object: Value, name: String| {
        object["metadata"]["name"] = name.into();
        object
    };
    let check = |bench: &mut Bench, object: Value, most: usize, why: &str| {
        for n in 0..most {
            bench.create(named(object.clone(), format!("p{n}")));
        }
        let error = bench.try_create(named(object.clone(), "more".into())).unwrap_err();
        assert_eq!(
            (error.reason, error.message.contains(why)),
            (Reason::Forbidden, true),
            "{}",
            error.message
        );
        // What is there can be changed, and makes room.
        let resource =
            Resource::from_kind("watchbell.dev/v1alpha1", object["kind"].as_str().unwrap()).unwrap();
        bench.patch(resource, "p0", json!({"spec": {"digest": "Required"}}));
        bench.delete(resource, "p1", Propagation::Background);
        bench.settle();
        bench.create(named(object, "more".into()));
    };
    let why = "the namespace ml has 32 already, and every start is judged by each: put its rules into one of them, or delete one";
    check(&mut bench, policy(json!({})), 32, why);
    check(&mut bench, cluster_policy(json!({})), 64, "there are 64 already");
    // Another namespace has room of its own.
    let mut elsewhere = policy(json!({}));
    elsewhere["metadata"]["namespace"] = "default".into();
    bench.create(elsewhere);
}

#[test]
fn an_apply_is_warned_and_needs_no_image() {
    let mut bench = Bench::new();
    bench.create(policy(json!({"vulnerabilities": {"maximumSeverity": "High"}, "digest": "Required"})));
    let unknown = bench.try_create(pod("early")).unwrap();
    assert_eq!(unknown.warnings, [""; 0], "nobody knows the image, and none is needed");
    bench.tell(facts(1, &[("CVE-1", Severity::Critical)]));
    let told = |list: &str| {
        [
            format!(
                "{list}: no container of it starts: ImagePolicy ml/strict: the pod does not name its image by digest; \
                 write docker.io/library/busybox@sha256:d"
            ),
            format!(
                "{list}: no container of it starts: ImagePolicy ml/strict: CVE-1 (Critical) in zlib1g 1.0 is above High; \
                 there is no fix yet: add an exception with a reason and an end, or leave the package out"
            ),
        ]
    };
    let made = bench.try_create(pod("p")).unwrap();
    assert_eq!(made.warnings, told("spec.containers[0].image"));
    let made = bench.try_create(job("j", json!({}))).unwrap();
    assert_eq!(made.warnings, told("spec.template.spec.containers[0].image"));
    let made = bench.try_create(cron("x", "@yearly", json!({}))).unwrap();
    assert_eq!(made.warnings, told("spec.jobTemplate.spec.template.spec.containers[0].image"));
    // Elsewhere no policy says anything, and what is only noted is no warning.
    let mut elsewhere = pod("q");
    elsewhere["metadata"]["namespace"] = "default".into();
    elsewhere["spec"]["automountServiceAccountToken"] = false.into();
    assert_eq!(bench.try_create(elsewhere).unwrap().warnings, [""; 0]);
    bench.patch(Resource::ImagePolicy, "strict", json!({"spec": {"enforcementAction": "Audit"}}));
    assert_eq!(bench.try_create(pod("r")).unwrap().warnings, [""; 0]);
    bench.settle();
}

#[test]
fn what_is_not_known_at_an_apply_is_said_and_looked_at() {
    let mut bench = Bench::new();
    let named = |bench: &mut Bench| -> Vec<(String, Vec<String>)> {
        bench.settle();
        let of = |command: Command| match command {
            Command::ImagesNamed { namespace, images } => {
                Some((namespace.to_string(), images.iter().map(ToString::to_string).collect()))
            }
            _ => None,
        };
        std::mem::take(&mut bench.commands).into_iter().filter_map(of).collect()
    };
    let once = vec![("ml".to_owned(), vec![IMAGE.to_owned()])];
    // Where no policy asks, nothing is pending.
    assert_eq!(bench.try_create(cron("a", "@yearly", json!({}))).unwrap().warnings, [""; 0]);
    assert_eq!(named(&mut bench), []);
    bench.create(policy(no_findings()));
    bench.create(cluster_policy(json!({"minimality": {"noShell": true}})));
    named(&mut bench);
    let made = bench.try_create(cron("c", "@yearly", json!({}))).unwrap();
    let list = "spec.jobTemplate.spec.template.spec.containers[0].image";
    let expect =
        format!("{list}: what ClusterImagePolicy all and 1 more says of it is pending, for it was not");
    assert!(made.warnings.len() == 1 && made.warnings[0].starts_with(&expect), "{:?}", made.warnings);
    assert_eq!(named(&mut bench), once);
    // A dry run warns and asks for nothing.
    let mut job = job("j", json!({}));
    let mut dry = super::create_request(job.clone());
    dry.options.dry_run = DryRun::All;
    assert_eq!(bench.write(dry).unwrap().warnings.len(), 1);
    assert_eq!(named(&mut bench), []);
    // Its status is no new name, and a pod is judged at once.
    job["spec"]["suspend"] = true.into();
    assert_eq!(bench.try_create(job).unwrap().warnings.len(), 1);
    assert_eq!(named(&mut bench), once);
    assert_eq!(bench.try_create(pod("p")).unwrap().warnings, [""; 0]);
    assert_eq!(named(&mut bench), []);
    // What is in it is not known to a policy that asks for it.
    bench.tell(ImageFacts { contents: Err(Unknown::NotYet), ..facts(1, &[]) });
    assert_eq!(bench.try_create(cron("d", "@yearly", json!({}))).unwrap().warnings.len(), 1);
    assert_eq!(named(&mut bench), once);
    bench.tell(facts(1, &[]));
    assert_eq!(bench.try_create(cron("e", "@yearly", json!({}))).unwrap().warnings, [""; 0]);
    assert_eq!(named(&mut bench), []);
}

#[test]
fn what_one_namespace_could_have_another_hears_nothing_of() {
    let mut bench = Bench::new();
    bench.create(cluster_policy(no_findings()));
    let bad = || facts(1, &[("CVE-1", Severity::Critical)]);
    let warned = |bench: &mut Bench, name: &str, namespace: &str, pull_policy: &str| {
        let mut pod = pod(name);
        pod["metadata"]["namespace"] = namespace.into();
        pod["spec"]["automountServiceAccountToken"] = false.into();
        pod["spec"]["containers"][0]["imagePullPolicy"] = pull_policy.into();
        !bench.try_create(pod).unwrap().warnings.is_empty()
    };
    bench.tell(bad());
    assert!(warned(&mut bench, "a", "ml", "IfNotPresent"));
    assert!(!warned(&mut bench, "b", "default", "IfNotPresent"), "nothing was told of it there");
    // Who may have it, its registry says at each start: an image that is referred to is not one that was had.
    assert!(!warned(&mut bench, "c", "ml", "Always"));
    let start = |bench: &mut Bench, digest: &str| {
        let facts = Arc::new(ImageFacts { digest: digest.into(), ..bad() });
        let report = Report::Image { namespace: "ml".into(), image: IMAGE.into(), facts, users: Vec::new() };
        bench.world.report(report, bench.at());
        bench.settle();
    };
    start(&mut bench, "sha256:d");
    bench.tell(bad());
    assert!(warned(&mut bench, "d", "ml", "Always"));
    // Another image under the name may be behind another password.
    bench.tell(ImageFacts { digest: "sha256:e".into(), ..bad() });
    assert!(!warned(&mut bench, "e", "ml", "Always"));
}

#[test]
fn reports_are_for_those_who_could_have_the_image() {
    let mut bench = Bench::new();
    let mut cron = cron("c", "@yearly", json!({}));
    cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] =
        "Always".into();
    bench.create(cron);
    let bad = || facts(1, &[("CVE-1", Severity::Critical)]);
    bench.tell(bad());
    assert_eq!(bench.names(Resource::VulnerabilityReport), [""; 0]);
    let report = Report::Image {
        namespace: "ml".into(),
        image: IMAGE.into(),
        facts: Arc::new(bad()),
        users: Vec::new(),
    };
    bench.world.report(report, bench.at());
    bench.tell(bad());
    assert_eq!(bench.names(Resource::VulnerabilityReport), ["cronjob-c-main"]);
    // The next server goes on with it: the report is on this very image.
    bench.crash();
    bench.tell(facts(2, &[("CVE-2", Severity::Critical)]));
    let snapshot = bench.world.snapshot();
    let report = snapshot.get(Resource::VulnerabilityReport, "ml", "cronjob-c-main").unwrap().render();
    assert_eq!(report["report"]["vulnerabilities"][0]["vulnerabilityID"], "CVE-2");
}

#[test]
fn a_report_says_what_is_not_known() {
    let mut bench = Bench::new();
    bench.create(cron("c", "@yearly", json!({})));
    let told = |bench: &mut Bench, uncovered: &[(&str, u32)]| {
        let mut facts = facts(1, &[]);
        let mut findings = (**facts.findings.as_ref().unwrap()).clone();
        findings.uncovered = uncovered.iter().map(|(name, count)| ((*name).into(), *count)).collect();
        facts.findings = Ok(Arc::new(findings));
        bench.tell(facts);
        let snapshot = bench.world.snapshot();
        let report = snapshot.get(Resource::VulnerabilityReport, "ml", "cronjob-c-main").unwrap().render();
        report["metadata"]["annotations"]["watchbell.dev/not-known"].clone()
    };
    assert_eq!(told(&mut bench, &[]), Value::Null);
    assert_eq!(
        told(&mut bench, &[("Debian:12", 7), ("conda", 1)]),
        "7 packages of Debian:12, without advisories here; 1 packages of conda, without advisories here"
    );
    assert_eq!(told(&mut bench, &[]), Value::Null);
}

#[test]
fn another_key_in_its_configmap_is_another_policy() {
    let mut bench = Bench::new();
    bench.create(policy(json!({"signers": [
        {"name": "release", "key": {"configMap": {"name": "keys", "key": "cosign.pub"}}},
    ]})));
    let told = |bench: &mut Bench, name: &str| {
        bench.commands.clear();
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"cosign.pub": name}});
        bench.create(map);
        bench.settle();
        bench.commands.iter().any(|command| matches!(command, Command::ImagePoliciesChanged))
    };
    assert!(told(&mut bench, "keys"));
    assert!(!told(&mut bench, "others"));
    bench.commands.clear();
    bench.patch(Resource::ConfigMap, "keys", json!({"data": {"cosign.pub": "other"}}));
    bench.settle();
    assert!(bench.commands.iter().any(|command| matches!(command, Command::ImagePoliciesChanged)));
}

#[test]
fn findings_become_a_report_that_goes_with_its_cronjob() {
    let mut bench = Bench::new();
    let owner = bench.create(cron("c", "@yearly", json!({})));
    bench.settle();
    bench.tell(facts(1, &[("CVE-1", Severity::Low)]));
    let report = bench.read(Resource::VulnerabilityReport, "cronjob-c-main");
    assert_eq!(report["report"]["summary"]["lowCount"], 1);
    assert_eq!(report["metadata"]["ownerReferences"][0]["uid"], owner["metadata"]["uid"]);
    assert_eq!(bench.reasons("CronJob", "c"), ["VulnerabilityFound"]);
    // The same under another database is nothing new.
    bench.now += 60;
    bench.tell(facts(2, &[("CVE-1", Severity::Low)]));
    assert_eq!(bench.read(Resource::VulnerabilityReport, "cronjob-c-main"), report);
    assert_eq!(bench.actions("vulnerabilities-found").len(), 1);
    bench.tell(facts(3, &[("CVE-1", Severity::Low), ("CVE-2", Severity::High)]));
    let found = bench.actions("vulnerabilities-found");
    assert_eq!((found.len(), &found[1]["advisories"]), (2, &json!(["CVE-2"])));
    let (counts, held) = bench.world.snapshot().image_figures();
    let expect = [("Critical", 0), ("High", 1), ("Medium", 0), ("Low", 1), ("Unknown", 0)];
    assert_eq!((counts.by_severity(), held), (expect, 0));
    let next = bench.read(Resource::VulnerabilityReport, "cronjob-c-main");
    assert_eq!(next["report"]["updateTimestamp"], "2026-03-01T00:01:00Z");
    assert_eq!(next["metadata"]["uid"], report["metadata"]["uid"]);
    // One finding less is a change, and nothing to tell.
    bench.tell(facts(4, &[("CVE-2", Severity::High)]));
    assert_eq!(
        bench.read(Resource::VulnerabilityReport, "cronjob-c-main")["report"]["summary"]["lowCount"],
        0
    );
    assert_eq!(bench.actions("vulnerabilities-found").len(), 2);
    // Another container: the report on the one that was goes.
    bench.patch(
        Resource::CronJob,
        "c",
        json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": {"containers": [
            {"name": "other", "image": IMAGE},
        ]}}}}}}),
    );
    bench.settle();
    assert_eq!(bench.names(Resource::VulnerabilityReport), [""; 0]);
    bench.tell(facts(5, &[("CVE-2", Severity::High)]));
    assert_eq!(bench.names(Resource::VulnerabilityReport), [""; 0], "the node read of another container");
    bench.patch(
        Resource::CronJob,
        "c",
        json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": {"containers": [
            {"name": "main", "image": IMAGE},
        ]}}}}}}),
    );
    bench.tell(facts(5, &[("CVE-2", Severity::High)]));
    assert_eq!(bench.names(Resource::VulnerabilityReport), ["cronjob-c-main"]);
    bench.delete(Resource::CronJob, "c", Propagation::Background);
    bench.settle();
    assert_eq!(bench.names(Resource::VulnerabilityReport), [""; 0]);
}

#[test]
fn a_report_is_written_by_the_server_alone() {
    let mut bench = Bench::new();
    bench.create(cron("c", "@yearly", json!({})));
    bench.tell(facts(1, &[]));
    let report = bench.read(Resource::VulnerabilityReport, "cronjob-c-main");
    assert_eq!(report["report"]["vulnerabilities"], json!([]));
    let of = |write| Request { write, ..request(Resource::VulnerabilityReport, "ml", "cronjob-c-main") };
    let body = json!({"metadata": {"labels": {"a": "b"}}});
    for write in [
        Write::Create(report.clone()),
        Write::Update(report),
        Write::Patch { kind: PatchKind::Merge, body: body.clone() },
        Write::Patch { kind: PatchKind::Apply, body },
    ] {
        assert_eq!(bench.write(of(write)).unwrap_err().reason, Reason::MethodNotAllowed);
    }
    bench.delete(Resource::VulnerabilityReport, "cronjob-c-main", Propagation::Background);
    bench.settle();
    assert_eq!(bench.names(Resource::VulnerabilityReport), [""; 0]);
}

#[test]
fn a_cronjob_is_held_and_let_go() {
    let mut bench = Bench::new();
    bench.create(policy(no_findings()));
    bench.create(cron("c", "*/5 * * * *", json!({})));
    bench.tell(facts(1, &[("CVE-1", Severity::High)]));
    bench.sleep(300);
    assert_eq!(bench.list(Resource::Job).len(), 1, "what is allowed runs");
    bench.now += 10;
    bench.tell(facts(2, &[("CVE-1", Severity::High), ("CVE-2", Severity::Critical)]));
    let held = bench.actions("held");
    assert_eq!(held.len(), 1);
    assert_eq!(
        (&held[0]["advisories"], &held[0]["since"]),
        (&json!(["CVE-2"]), &json!("2026-03-01T00:05:10Z"))
    );
    assert!(held[0]["reason"].as_str().unwrap().contains("ImagePolicy ml/strict: CVE-2 (Critical)"));
    assert!(bench.reasons("CronJob", "c").contains(&"ImagePolicyHold".to_owned()));
    bench.sleep(600);
    assert_eq!(bench.list(Resource::Job).len(), 1);
    let skipped = bench.actions("skipped");
    assert_eq!(skipped.len(), 2);
    assert_eq!(skipped[0]["slot"], "2026-03-01T00:10:00Z");
    assert!(skipped[0]["reason"].as_str().unwrap().starts_with("a policy refuses its image"));
    assert!(skipped[0]["why"].as_str().unwrap().contains("CVE-2"));
    // The next server knows nothing of the image, and that the CronJob is held.
    bench.crash();
    bench.sleep(300);
    assert_eq!((bench.list(Resource::Job).len(), bench.actions("held").len()), (1, 1));
    let status = |bench: &Bench| {
        let snapshot = bench.world.snapshot();
        let stored = snapshot.get(Resource::CronJob, "ml", "c").unwrap().clone();
        stored.cronjob_status().unwrap().held.clone()
    };
    assert_eq!(status(&bench).unwrap().since, START + 310);
    let explained = |bench: &Bench| {
        let snapshot = bench.world.snapshot();
        snapshot.explain_cronjob(snapshot.get(Resource::CronJob, "ml", "c").unwrap())
    };
    let told = explained(&bench);
    assert_eq!((&told["isHeld"], &told["held"]["advisories"]), (&json!(true), &json!(["CVE-2"])));
    assert_eq!(told["policies"], json!(["ImagePolicy ml/strict"]));
    assert_eq!(told["images"], json!([{"container": "main", "image": IMAGE}]));
    assert!(told["lastSkip"]["reason"].as_str().unwrap().starts_with("a policy refuses its image"));
    // A fixed image: the next slot starts by itself, those that were skipped stay so.
    bench.tell(facts(3, &[("CVE-1", Severity::High)]));
    assert_eq!(status(&bench), None);
    assert_eq!(explained(&bench)["isHeld"], false);
    assert_eq!(bench.actions("released").len(), 1);
    bench.sleep(300);
    assert_eq!(bench.list(Resource::Job).len(), 2);
    assert!(bench.reasons("CronJob", "c").contains(&"ImagePolicyReleased".to_owned()));
}

#[test]
fn a_policy_that_goes_lets_go_and_one_that_ends_an_exception_holds() {
    let mut bench = Bench::new();
    bench.create(policy(json!({"vulnerabilities": {"maximumSeverity": "High", "exceptions": [
        {"id": "CVE-2", "reason": "not reachable", "expires": "2026-03-01T00:07:00Z"},
    ]}})));
    bench.create(cron("c", "*/5 * * * *", json!({})));
    bench.tell(facts(1, &[("CVE-2", Severity::Critical)]));
    bench.sleep(300);
    assert_eq!((bench.list(Resource::Job).len(), bench.actions("held").len()), (1, 0));
    bench.sleep(300);
    assert_eq!((bench.list(Resource::Job).len(), bench.actions("held").len()), (1, 1));
    assert!(bench.actions("held")[0]["reason"].as_str().unwrap().contains("ended at 2026-03-01T00:07:00Z"));
    bench.delete(Resource::ImagePolicy, "strict", Propagation::Background);
    bench.settle();
    assert_eq!(bench.actions("released").len(), 1);
    bench.sleep(300);
    assert_eq!(bench.list(Resource::Job).len(), 2);
}

#[test]
fn a_cronjob_whose_image_is_not_signed_is_looked_at_again() {
    let key = "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n";
    let mut bench = Bench::new();
    bench.create(policy(json!({"signers": [{"name": "release", "key": {"publicKey": key}}]})));
    bench.create(cron("c", "*/5 * * * *", json!({})));
    bench.settle();
    let signer = bench.world.snapshot().image_policies("ml")[0].signers[0].id.clone();
    let said = |image| {
        let (statements, asked) = (Vec::new(), Vec::new());
        let signed = Signed { signer: signer.clone(), image, statements, asked, gap: None };
        ImageFacts { signers: vec![signed], ..facts(1, &[]) }
    };
    bench.tell(said(Err(Unknown::Because("nothing is attached to it".into()))));
    assert_eq!(bench.actions("held").len(), 1);
    bench.sleep(300);
    assert_eq!(bench.list(Resource::Job).len(), 0);
    bench.sleep(600);
    // One slot starts, which asks the registry.
    assert!(!bench.list(Resource::Job).is_empty());
    let jobs = bench.list(Resource::Job).len();
    bench.tell(said(Err(Unknown::Because("nothing is attached to it".into()))));
    bench.sleep(300);
    assert_eq!(bench.list(Resource::Job).len(), jobs, "it is held again");
    bench.tell(said(Ok(())));
    bench.sleep(300);
    assert!(bench.list(Resource::Job).len() > jobs);
}

#[test]
fn what_nobody_has_looked_for_holds_nothing() {
    let mut bench = Bench::new();
    bench.create(policy(no_findings()));
    bench.create(cron("c", "*/5 * * * *", json!({})));
    bench.tell(ImageFacts { findings: Err(Unknown::NotYet), ..facts(1, &[]) });
    bench.sleep(300);
    assert_eq!(bench.list(Resource::Job).len(), 1);
    // What could not be found out is another matter.
    bench
        .tell(ImageFacts { findings: Err(Unknown::Because("there is no database".into())), ..facts(1, &[]) });
    bench.sleep(300);
    assert_eq!((bench.list(Resource::Job).len(), bench.actions("held").len()), (1, 1));
}

#[test]
fn what_was_said_at_a_start_is_noted_and_told() {
    let mut bench = Bench::new();
    let uid = uid_of(&bench.create(pod("p")));
    bench.settle();
    for (outcome, action) in [
        (ImageOutcome::Refused, "image-refused"),
        (ImageOutcome::Warned, "image-warned"),
        (ImageOutcome::Noted, "image-noted"),
        (ImageOutcome::Unjudged, "image-unjudged"),
    ] {
        let judged = Box::new(ImageJudged {
            container: "main".into(),
            image: IMAGE.into(),
            digest: "sha256:d".into(),
            outcome,
            reasons: vec![JudgedReason {
                policy: "ImagePolicy ml/strict".into(),
                rule: "maximumSeverity".into(),
                advisory: Some("CVE-1".into()),
                message: "it is bad; rebuild it".into(),
            }],
        });
        bench.world.report(Report::ImageJudged { uid, judged }, bench.at());
        bench.settle();
        let noted = bench.actions(action);
        assert_eq!(noted[0]["reasons"][0]["advisory"], "CVE-1");
        assert_eq!(noted[0]["digest"], "sha256:d");
    }
    assert_eq!(
        bench.reasons("Pod", "p"),
        ["ImagePolicyViolation", "ImagePolicyWarning", "ImageUnverified", "Scheduled"]
    );
}

#[test]
fn users_are_what_stays() {
    let mut bench = Bench::new();
    bench.create(cron("c", "*/5 * * * *", json!({})));
    bench.create(job("j", json!({})));
    bench.sleep(300);
    assert_eq!(bench.list(Resource::Job).len(), 2);
    let users = bench.world.snapshot().image_users();
    let names: Vec<&str> = users[IMAGE].iter().map(|user| &*user.name).collect();
    assert_eq!(names, ["c", "j"], "the CronJob speaks for its Jobs");
}
