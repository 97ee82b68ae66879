//! Images that policies judge before their containers are made.

use std::sync::Mutex;

use watchbell_api::Resource;
use watchbell_api::image::{Contents, Finding, Findings, Severity};
use watchbell_core::request::{FieldValidation, Request, Subresource, User, Write, WriteOptions};
use watchbell_core::world::{Config, Machine as Described, Snapshot, World};

use super::*;
use crate::examine::{Asker, Judgement, Known, News, Who};

/// The state of a server with these policies in the namespace of the tests. Their names tell one round of policies from the next,
/// as their versions do where they are changed.
pub(crate) fn state(round: usize, specs: &[Value]) -> Arc<Snapshot> {
    state_with(round, specs, &[])
}

/// The same with CronJobs of these names that refer to these images.
pub(crate) fn state_with(round: usize, specs: &[Value], crons: &[(&str, &str)]) -> Arc<Snapshot> {
    let mut objects = Vec::new();
    for (n, spec) in specs.iter().enumerate() {
        objects.push((
            Resource::ImagePolicy,
            json!({
                "apiVersion": "watchbell.dev/v1alpha1", "kind": "ImagePolicy",
                "metadata": {"name": format!("p{round}-{n}")}, "spec": spec,
            }),
        ));
    }
    for (name, image) in crons {
        let pod = json!({"restartPolicy": "Never", "containers": [{"name": "main", "image": image, "command": ["x"]}]});
        objects.push((
            Resource::CronJob,
            json!({
                "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name}, "spec": {
                    "schedule": "@yearly", "jobTemplate": {"spec": {"template": {"spec": pod}}},
                },
            }),
        ));
    }
    state_of(objects)
}

/// The state of a server with these in the namespace of the tests.
pub(crate) fn state_of(objects: Vec<(Resource, Value)>) -> Arc<Snapshot> {
    let now = jiff::Timestamp::from_second(WALL).unwrap();
    let mut world = World::new(Config {
        machine: Described::default(),
        capacity: Capacity { cpu_millis: 1, memory_bytes: 1, pods: 1, ephemeral_storage_bytes: 1 },
        devices: Default::default(),
        hostname: "here".into(),
        ca_pem: "-".into(),
        seed: [0; 32],
    });
    world.furnish(now);
    let mut create = |resource: Resource, object: Value| {
        let request = Request {
            user: User { name: "ada".into(), groups: vec!["system:masters".into()], ..User::default() },
            resource,
            namespace: if resource.is_namespaced() { "ns".into() } else { String::new() },
            name: String::new(),
            subresource: Subresource::None,
            write: Write::Create(object),
            options: WriteOptions { field_validation: FieldValidation::Strict, ..WriteOptions::default() },
            audit_id: String::new(),
            impersonation: None,
            body_hash: None,
            received: None,
        };
        world.write(request, now).unwrap();
    };
    create(Resource::Namespace, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ns"}}));
    for (resource, object) in objects {
        create(resource, object);
    }
    world.settle(now);
    world.take_stage(now);
    world.committed();
    Arc::new(world.snapshot())
}

/// A bench whose policies can be exchanged, and what is known of images.
struct Judged {
    bench: Bench,
    state: Arc<Mutex<Arc<Snapshot>>>,
    known: Arc<Known>,
}

impl Judged {
    fn new(specs: &[Value]) -> Judged {
        let state = Arc::new(Mutex::new(state(1, specs)));
        let known = Arc::new(Known::default());
        known.set_database(1, None);
        let bench = Bench::new();
        let mut judged = Judged { bench, state, known };
        judged.bench.agent = judged.agent();
        judged
    }

    fn gate(&self) -> Gate {
        let shown = self.state.clone();
        let snapshots = Arc::new(move || shown.lock().unwrap().clone());
        Gate::new(snapshots, self.known.clone(), Unjudged::Silent)
    }

    /// What signers said to pods of the namespace, without credentials.
    fn learn_signers(&self, image: &Prepared, said: Vec<watchbell_api::image::Signed>) {
        let repository = watchbell_image::Reference::parse("tool:1").unwrap().repository().into();
        let who = Who::pod(&"ns".into(), None);
        let asker = Asker { digest: image.digest.clone(), repository, who };
        self.known.learn_signers(&asker, said, self.bench.now.wall);
    }

    fn agent(&self) -> Agent {
        let gate = self.gate();
        Agent::new(Site { gate, ..site(nothing()) }, self.bench.in_use.clone(), Vec::new())
    }

    fn change(&mut self, specs: &[Value]) {
        *self.state.lock().unwrap() = state(2, specs);
        self.bench.tell(Input::Command(Command::ImagePoliciesChanged));
    }

    /// The examiner has found this.
    fn learn(&self, image: &Prepared, findings: &[(&str, Severity)]) {
        let list = findings.iter().map(|(id, severity)| Finding {
            id: (*id).into(),
            package: "zlib".into(),
            severity: Some(*severity),
            ..Finding::default()
        });
        let findings =
            Findings { generation: 1, database_at: WALL, list: list.collect(), ..Findings::default() };
        let at = self.bench.now.wall;
        self.known.learn_contents(&image.digest, Ok(Arc::new(Contents::default())), at);
        self.known.learn_findings(&image.digest, (1, Ok(Arc::new(findings))), at);
    }

    /// A pod as far as its image.
    fn begin(&mut self, uid: u128, image: &Arc<Prepared>) -> Vec<String> {
        self.bench.begin(pod(uid, &spec(json!({}))));
        assert_eq!(self.bench.effects(), ["fetch tool:1 IfNotPresent"]);
        self.bench.fetched(image);
        self.bench.effects()
    }
}

fn limit(severity: &str) -> Value {
    json!({"vulnerabilities": {"maximumSeverity": severity}})
}

#[test]
fn without_a_policy_nothing_is_asked() {
    let mut judged = Judged::new(&[]);
    let tool = image("tool", program());
    assert_eq!(judged.begin(1, &tool), ["event 1 Pulled", "start 1/0/0", "event 1 Created"]);
}

#[test]
fn who_is_refused_waits_with_the_reason_until_the_policy_changes() {
    let mut judged = Judged::new(&[json!({"repositories": ["ghcr.io/**"]})]);
    let tool = image("tool", program());
    assert_eq!(
        judged.begin(1, &tool),
        ["event 1 Pulled", "facts of tool:1", "judged 1 Refused", "report 1 Pending ImagePolicyViolation"]
    );
    // Tried again, it is refused again, and not told again.
    judged.bench.wait(600);
    judged.bench.expect(&[]);
    judged.change(&[json!({"repositories": ["docker.io/library/*"]})]);
    judged.bench.expect(&[
        "look over",
        "facts of tool:1",
        "start 1/0/0",
        "event 1 Created",
        "report 1 Pending ContainerCreating",
    ]);
}

#[test]
fn who_is_turned_away_waits_and_asks_again() {
    let mut judged = Judged::new(&[limit("High")]);
    let tool = image("tool", program());
    assert_eq!(judged.begin(1, &tool), ["event 1 Pulled", "examine 0 tool:1"]);
    judged.bench.tell(Input::Examiner(News::TurnedAway(0)));
    judged.bench.expect(&["report 1 Pending ImagePolicyPending"]);
    judged.bench.wait(2);
    judged.bench.expect(&["examine 1 tool:1", "report 1 Pending ContainerCreating"]);
}

#[test]
fn another_database_is_no_reason_to_ask_for_signatures() {
    let key = "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n";
    let signers = json!([{"name": "release", "key": {"publicKey": key}}]);
    let mut judged =
        Judged::new(&[json!({"signers": signers, "vulnerabilities": {"maximumSeverity": "High"}})]);
    let tool = image("tool", program());
    let asked = |judged: &Judged| {
        let name: Arc<str> = "tool:1".into();
        match judged.gate().judge(&"ns".into(), "main", &name, &tool, WALL, || None).judgement {
            Judgement::Asks(question) => question.needs,
            other => panic!("{other:?}"),
        }
    };
    let needs = asked(&judged);
    assert!(needs.contents && needs.findings && needs.signers.len() == 1);
    let said = |signer: &Arc<str>| watchbell_api::image::Signed {
        signer: signer.clone(),
        image: Err(watchbell_api::image::Unknown::Because("it is not signed".into())),
        statements: Vec::new(),
        asked: Vec::new(),
        gap: None,
    };
    judged.learn(&tool, &[]);
    judged.learn_signers(&tool, needs.signers.keys().map(said).collect());
    judged.known.set_database(2, None);
    let needs = asked(&judged);
    assert!(!needs.contents && needs.findings && needs.signers.is_empty());
    judged.begin(1, &tool);
}

#[test]
fn what_is_not_known_starts_nothing_and_is_asked_once() {
    let mut judged = Judged::new(&[limit("High")]);
    let tool = image("tool", program());
    assert_eq!(judged.begin(1, &tool), ["event 1 Pulled", "examine 0 tool:1"]);
    assert_eq!(judged.begin(2, &tool), ["event 2 Pulled"]);
    judged.learn(&tool, &[("CVE-1", Severity::High)]);
    judged.bench.tell(Input::Examiner(News::Answered(0)));
    judged.bench.expect(&[
        "facts of tool:1",
        "start 1/0/0",
        "event 1 Created",
        "start 2/0/0",
        "event 2 Created",
    ]);
    // Now it is known.
    assert_eq!(judged.begin(3, &tool), ["event 3 Pulled", "start 3/0/0", "event 3 Created"]);
}

#[test]
fn a_refusal_outlives_the_server() {
    let mut judged = Judged::new(&[limit("High")]);
    let tool = image("tool", program());
    judged.learn(&tool, &[("CVE-1", Severity::Critical)]);
    let refused =
        ["event 1 Pulled", "facts of tool:1", "judged 1 Refused", "report 1 Pending ImagePolicyViolation"];
    assert_eq!(judged.begin(1, &tool), refused);
    // The next server knows nothing of the image: it asks, and starts nothing before it knows.
    judged.known = Arc::default();
    judged.known.set_database(1, None);
    judged.bench.agent = judged.agent();
    assert_eq!(judged.begin(1, &tool), ["event 1 Pulled", "examine 0 tool:1"]);
    judged.learn(&tool, &[("CVE-1", Severity::Critical)]);
    judged.bench.tell(Input::Examiner(News::Answered(0)));
    judged.bench.expect(&["facts of tool:1", "judged 1 Refused", "report 1 Pending ImagePolicyViolation"]);
}

#[test]
fn another_database_is_asked_before_the_next_start() {
    let mut judged = Judged::new(&[limit("High")]);
    let tool = image("tool", program());
    judged.learn(&tool, &[]);
    assert_eq!(
        judged.begin(1, &tool),
        ["event 1 Pulled", "facts of tool:1", "start 1/0/0", "event 1 Created"]
    );
    judged.known.set_database(2, None);
    assert_eq!(judged.begin(2, &tool), ["event 2 Pulled", "examine 0 tool:1"]);
}

#[test]
fn another_database_lets_in_who_was_refused() {
    let mut judged = Judged::new(&[limit("High")]);
    let tool = image("tool", program());
    judged.learn(&tool, &[("CVE-1", Severity::Critical)]);
    judged.begin(1, &tool);
    judged.known.set_database(2, None);
    judged.bench.tell(Input::Examiner(News::OtherAdvisories));
    judged.bench.expect(&["examine 0 tool:1", "report 1 Pending ContainerCreating"]);
}

#[test]
fn a_verdict_ends_with_its_exception() {
    let at = |seconds: i64| jiff::Timestamp::from_second(WALL + seconds).unwrap().to_string();
    let mut judged = Judged::new(&[json!({"vulnerabilities": {"maximumSeverity": "High", "exceptions": [
        {"id": "CVE-1", "reason": "not reachable", "expires": at(100)},
    ]}})]);
    let tool = image("tool", program());
    judged.learn(&tool, &[("CVE-1", Severity::Critical)]);
    assert_eq!(
        judged.begin(1, &tool),
        ["event 1 Pulled", "facts of tool:1", "start 1/0/0", "event 1 Created"]
    );
    judged.bench.wait(99);
    assert_eq!(judged.begin(2, &tool), ["event 2 Pulled", "start 2/0/0", "event 2 Created"]);
    judged.bench.wait(1);
    assert_eq!(
        judged.begin(3, &tool),
        ["event 3 Pulled", "facts of tool:1", "judged 3 Refused", "report 3 Pending ImagePolicyViolation"]
    );
}

#[test]
fn a_warning_is_told_once_for_a_run() {
    let mut judged = Judged::new(&[json!({"digest": "Required", "enforcementAction": "Warn"})]);
    let tool = image("tool", program());
    let spec = spec(json!({}));
    judged.bench.begin(index(1, &spec));
    judged.bench.effects();
    judged.bench.fetched(&tool);
    judged.bench.expect(&["facts of tool:1", "judged 1 Warned", "start 1/0/0"]);
    judged.bench.begin(index(2, &spec));
    judged.bench.expect(&["start 2/0/0"]);
    // Noted alone, but told to the audit trail; and all policies have their say.
    let mut judged = Judged::new(&[
        json!({"digest": "Required", "enforcementAction": "Audit"}),
        json!({"registries": ["docker.io"]}),
    ]);
    assert_eq!(
        judged.begin(1, &tool),
        ["event 1 Pulled", "facts of tool:1", "judged 1 Noted", "start 1/0/0", "event 1 Created"]
    );
}

/// As of what an agent costs: it prints, and refuses only what would be a mistake of another order.
#[test]
#[expect(clippy::print_stdout, reason = "a measurement is shown")]
fn a_start_pays_little() {
    const COUNT: u32 = 20_000;
    let judged = Judged::new(&[limit("High"), json!({"digest": "Resolved", "registries": ["docker.io"]})]);
    let tool = image("tool", program());
    let findings: Vec<(String, Severity)> = (0..500).map(|n| (format!("CVE-{n}"), Severity::Low)).collect();
    let findings: Vec<(&str, Severity)> = findings.iter().map(|(id, s)| (id.as_str(), *s)).collect();
    judged.learn(&tool, &findings);
    let shown = judged.state.clone();
    let gate =
        Gate::new(Arc::new(move || shown.lock().unwrap().clone()), judged.known.clone(), Unjudged::Told);
    let (namespace, name): (Arc<str>, Arc<str>) = ("ns".into(), "tool:1".into());
    let since = cpu_time();
    for _ in 0..COUNT {
        let judged = gate.judge(&namespace, "main", &name, &tool, WALL, || None);
        assert!(matches!(judged.judgement, Judgement::Starts(None)), "{judged:?}");
    }
    let each = (cpu_time() - since) / COUNT;
    println!("{each:?} a start, with two policies and a verdict that is kept");
    assert!(each < Duration::from_millis(1), "{each:?} a start");
}
