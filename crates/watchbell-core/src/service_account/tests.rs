use jiff::Timestamp;
use watchbell_api::node::{Capacity, Report};
use watchbell_api::types::pod_status::{Phase, PodStatus};

use watchbell_api::ApiError;

use super::*;
use crate::request::{DeleteOptions, Request, Subresource, Write, WriteOptions};
use crate::world::{Config, Machine, NODE_NAME, World};

const NOW: i64 = 1_800_000_000;

/// A world with the account `robot`, the Secret `key` and the pod `p` of that account, which runs.
struct Rig {
    world: World,
    now: i64,
}

impl Rig {
    fn new() -> Rig {
        let config = Config {
            machine: Machine::default(),
            capacity: Capacity {
                cpu_millis: 4_000,
                memory_bytes: 8 << 30,
                pods: 100,
                ephemeral_storage_bytes: 1 << 40,
            },
            devices: Default::default(),
            hostname: "bench".into(),
            ca_pem: "-----BEGIN CERTIFICATE-----".into(),
            seed: [3; 32],
        };
        let mut rig = Rig { world: World::new(config), now: NOW };
        rig.world.furnish(rig.time());
        rig.commit();
        rig.make(Resource::ServiceAccount, json!({"metadata": {"name": "robot"}}));
        rig.make(Resource::Secret, json!({"metadata": {"name": "key"}}));
        rig.make_pod("p");
        rig
    }

    fn time(&self) -> Timestamp {
        Timestamp::from_second(self.now).unwrap()
    }

    fn commit(&mut self) {
        self.world.settle(self.time());
        self.world.take_stage(self.time());
        self.world.committed();
    }

    fn make(&mut self, resource: Resource, mut object: Value) {
        let info = resource.info();
        object["kind"] = info.kind.into();
        object["apiVersion"] = info.api_version().into();
        self.write(resource, "", Write::Create(object)).unwrap();
    }

    fn make_pod(&mut self, name: &str) {
        self.make(
            Resource::Pod,
            json!({"metadata": {"name": name}, "spec": {
                "serviceAccountName": "robot", "containers": [{"name": "a", "image": "x"}],
            }}),
        );
    }

    fn write(&mut self, resource: Resource, name: &str, write: Write) -> Result<Value, ApiError> {
        let subresource = match write {
            Write::IssueToken(_) => Subresource::Token,
            _ => Subresource::None,
        };
        let namespace = if resource.is_namespaced() { "default" } else { "" };
        let request = Request {
            user: User { name: "ada".into(), groups: vec!["system:masters".into()], ..User::default() },
            resource,
            namespace: namespace.into(),
            name: name.into(),
            subresource,
            write,
            options: WriteOptions::default(),
            audit_id: "1".into(),
            impersonation: None,
            body_hash: None,
            received: None,
        };
        let written = self.world.write(request, self.time());
        self.commit();
        written.map(|written| written.object)
    }

    fn delete(&mut self, resource: Resource, name: &str, grace: i64) {
        let options = DeleteOptions { grace_period_seconds: Some(grace), ..DeleteOptions::default() };
        self.write(resource, name, Write::Delete(options)).unwrap();
    }

    fn uid(&self, resource: Resource, name: &str) -> Uid {
        let namespace = if resource.is_namespaced() { "default" } else { "" };
        self.world.snapshot().get(resource, namespace, name).unwrap().uid
    }

    fn ask(&self, spec: Value) -> Result<Issue, ApiError> {
        self.ask_of("robot", json!({"spec": spec}))
    }

    fn ask_of(&self, account: &str, request: Value) -> Result<Issue, ApiError> {
        let issuer = TokenIssuer::new("https://issuer");
        issue(
            &self.world.snapshot(),
            ("default", account),
            request,
            &issuer,
            self.now,
            Uid::from_random([7; 16]),
        )
    }

    fn counts(&self, issue: &Issue) -> Result<(), Ended> {
        let binding = Binding::read(issue.claims.as_object().unwrap()).expect("our own claims");
        assert_eq!(binding, issue.binding);
        binding.still_counts(&self.world.snapshot(), self.now)
    }

    fn report(&mut self, name: &str, phase: Phase) {
        let uid = self.uid(Resource::Pod, name);
        let scheduled_at = Some(self.now);
        let status = PodStatus { phase, scheduled_at, ..PodStatus::default() };
        self.world.report(Report::Status { uid, status: Box::new(status) }, self.time());
        self.commit();
    }
}

fn to(kind: &str, name: &str) -> Value {
    json!({"boundObjectRef": {"kind": kind, "apiVersion": "v1", "name": name}})
}

#[test]
fn claims_are_those_of_kubernetes() {
    let rig = Rig::new();
    let plain = rig.ask(json!({})).unwrap();
    let account = json!({"name": "robot", "uid": rig.uid(Resource::ServiceAccount, "robot").to_string()});
    let id = Uid::from_random([7; 16]).to_string();
    assert_eq!(
        plain.claims,
        json!({
            "iss": "https://issuer", "aud": ["https://issuer"], "sub": "system:serviceaccount:default:robot",
            "iat": NOW, "nbf": NOW, "exp": NOW + 3600, "jti": id,
            "kubernetes.io": {"namespace": "default", "serviceaccount": account},
        })
    );
    let bound = rig.ask(to("Pod", "p")).unwrap();
    let pod = json!({"name": "p", "uid": rig.uid(Resource::Pod, "p").to_string()});
    let node = json!({"name": NODE_NAME, "uid": rig.uid(Resource::Node, NODE_NAME).to_string()});
    assert_eq!(
        bound.claims["kubernetes.io"],
        json!({"namespace": "default", "serviceaccount": account, "pod": pod, "node": node})
    );
    let user = bound.binding.user(Some(&id));
    assert_eq!(user.name, "system:serviceaccount:default:robot");
    assert_eq!(json!(user.uid), account["uid"]);
    assert_eq!(
        user.groups,
        ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]
    );
    assert_eq!(
        user.info()["extra"],
        json!({
            "authentication.kubernetes.io/credential-id": [format!("JTI={id}")],
            "authentication.kubernetes.io/node-name": [NODE_NAME],
            "authentication.kubernetes.io/node-uid": [node["uid"]],
            "authentication.kubernetes.io/pod-name": ["p"],
            "authentication.kubernetes.io/pod-uid": [pod["uid"]],
        })
    );
    let secret = rig.ask(to("Secret", "key")).unwrap();
    assert_eq!(secret.claims["kubernetes.io"]["secret"]["name"], "key");
    let node = rig.ask(to("Node", NODE_NAME)).unwrap();
    assert_eq!(node.claims["kubernetes.io"]["node"]["name"], NODE_NAME);
    for issue in [plain, bound, secret, node] {
        assert_eq!(rig.counts(&issue), Ok(()));
        assert!(
            issue.object["status"]["token"].is_null()
                && issue.object["status"]["expirationTimestamp"].is_string()
        );
    }
}

#[test]
fn requests_are_refused_in_the_words_of_kubernetes() {
    let mut rig = Rig::new();
    rig.make(
        Resource::Pod,
        json!({"metadata": {"name": "other"}, "spec": {"containers": [{"name": "a", "image": "x"}]}}),
    );
    let check = |spec: Value, code: u16, words: &str| {
        let error = rig.ask(spec.clone()).unwrap_err();
        assert!(error.reason.code() == code && error.message.contains(words), "{spec}: {error}");
    };
    check(json!({"expirationSeconds": 599}), 422, "may not specify a duration less than 10 minutes");
    check(
        json!({"expirationSeconds": 1_i64 << 33}),
        422,
        "may not specify a duration larger than 2^32 seconds",
    );
    check(json!({"audiences": [""]}), 422, "spec.audiences[0]");
    check(json!({"audiences": vec!["a"; 33]}), 422, "must have at most 32 items");
    check(to("Pod", "nobody"), 404, "pods \"nobody\" not found");
    check(to("Secret", "nothing"), 404, "secrets \"nothing\" not found");
    check(
        to("ConfigMap", "kube-root-ca.crt"),
        400,
        "cannot bind token to object of type /v1, Kind=ConfigMap",
    );
    check(to("Pod", "other"), 400, "to pod running with different serviceaccount name");
    let mut wrong = to("Pod", "p");
    wrong["boundObjectRef"]["uid"] = "00000000-0000-0000-0000-000000000000".into();
    check(wrong, 409, "does not match the UID in record");
    let error = rig.ask_of("nobody", json!({"spec": {}})).unwrap_err();
    assert_eq!((error.reason.code(), &*error.message), (404, "serviceaccounts \"nobody\" not found"));
    for (metadata, words) in [
        (json!({"name": "x"}), "must match the service account name if specified"),
        (json!({"namespace": "x"}), "must match the service account namespace if specified"),
    ] {
        let error = rig.ask_of("robot", json!({"metadata": metadata, "spec": {}})).unwrap_err();
        assert!(error.message.contains(words), "{error}");
    }
}

#[test]
fn a_life_too_long_is_shortened_and_said() {
    let rig = Rig::new();
    let check = |spec: Value, seconds: i64, warnings: &[&str]| {
        let issue = rig.ask(spec).unwrap();
        assert_eq!((issue.expires_at, issue.claims["exp"].as_i64()), (NOW + seconds, Some(NOW + seconds)));
        assert_eq!(issue.object["spec"]["expirationSeconds"], seconds);
        assert_eq!(issue.warnings, warnings);
    };
    check(json!({}), 3600, &[]);
    check(json!({"expirationSeconds": 600}), 600, &[]);
    check(json!({"expirationSeconds": 86_400}), 86_400, &[]);
    check(
        json!({"expirationSeconds": 86_401}),
        86_400,
        &["requested expiration of 86401 seconds shortened to 86400 seconds"],
    );
}

/// What happens, and what a token bound so is then.
fn check(bound: Value, happens: impl FnOnce(&mut Rig), expect: Result<(), Ended>) {
    let mut rig = Rig::new();
    let issue = rig.ask(bound.clone()).unwrap();
    happens(&mut rig);
    assert_eq!(rig.counts(&issue), expect, "{bound}");
}

#[test]
fn a_token_ends_with_its_account_and_with_what_it_is_bound_to() {
    let account = Resource::ServiceAccount;
    let again = |rig: &mut Rig| {
        rig.delete(account, "robot", 0);
        rig.make(account, json!({"metadata": {"name": "robot"}}));
    };
    for bound in [json!({}), to("Pod", "p"), to("Secret", "key")] {
        check(bound.clone(), |rig| rig.now += 100_000, Ok(()));
        check(bound.clone(), |rig| rig.delete(account, "robot", 0), Err(Ended::AccountGone));
        check(bound, again, Err(Ended::AccountReplaced));
    }
    let kept = json!({"metadata": {"name": "robot", "finalizers": ["a.b/c"]}});
    check(
        json!({}),
        |rig| {
            let mut object = rig.world.snapshot().get(account, "default", "robot").unwrap().render();
            object["metadata"]["finalizers"] = kept["metadata"]["finalizers"].clone();
            rig.write(account, "robot", Write::Update(object)).unwrap();
            rig.delete(account, "robot", 0);
        },
        Err(Ended::AccountGone),
    );
    check(to("Secret", "key"), |rig| rig.delete(Resource::Secret, "key", 0), Err(Ended::ObjectGone));
    check(
        to("Secret", "key"),
        |rig| {
            rig.delete(Resource::Secret, "key", 0);
            rig.make(Resource::Secret, json!({"metadata": {"name": "key"}}));
        },
        Err(Ended::ObjectReplaced),
    );
    check(json!({}), |rig| rig.delete(Resource::Pod, "p", 0), Ok(()));
}

#[test]
fn a_pods_token_ends_with_the_pod() {
    let pod = || to("Pod", "p");
    let ends = |rig: &mut Rig| rig.report("p", Phase::Succeeded);
    check(pod(), |rig| rig.report("p", Phase::Running), Ok(()));
    check(pod(), ends, Err(Ended::PodEnded));
    check(pod(), |rig| rig.report("p", Phase::Failed), Err(Ended::PodEnded));
    let deleted = |seconds: i64| {
        move |rig: &mut Rig| {
            rig.report("p", Phase::Running);
            rig.delete(Resource::Pod, "p", 30);
            rig.now += seconds;
        }
    };
    // It may say good-bye, and no longer than that.
    check(pod(), deleted(0), Ok(()));
    check(pod(), deleted(30), Ok(()));
    check(pod(), deleted(31), Err(Ended::PodEnded));
    check(
        pod(),
        |rig| {
            rig.report("p", Phase::Running);
            rig.delete(Resource::Pod, "p", 0);
        },
        Err(Ended::ObjectGone),
    );
    check(
        pod(),
        |rig| {
            ends(rig);
            rig.delete(Resource::Pod, "p", 0);
            rig.make_pod("p");
        },
        Err(Ended::ObjectReplaced),
    );
}

#[test]
fn a_node_gets_tokens_for_pods_that_run() {
    let mut rig = Rig::new();
    let uid = rig.uid(Resource::Pod, "p");
    let issuer = TokenIssuer::new("https://issuer");
    let ask = |rig: &Rig, uid: Uid, audience: &str| {
        let id = Uid::from_random([9; 16]);
        issue_for_pod(&rig.world.snapshot(), ("default", "p", uid), audience, 3607, &issuer, NOW, id)
    };
    let token = ask(&rig, uid, "").unwrap();
    assert_eq!(token.claims["aud"], json!(["https://issuer"]));
    assert_eq!(token.claims["kubernetes.io"]["pod"]["uid"], uid.to_string());
    assert_eq!(token.claims["exp"], NOW + 3607);
    assert_eq!(ask(&rig, uid, "vault").unwrap().claims["aud"], json!(["vault"]));
    assert_eq!(ask(&rig, Uid::from_random([1; 16]), "").unwrap_err().reason.code(), 404);
    rig.report("p", Phase::Failed);
    assert_eq!(ask(&rig, uid, "").unwrap_err().reason.code(), 409);
}

#[test]
fn a_token_is_replaced_before_it_ends() {
    let check = |life: i64, expect: i64| assert_eq!(refresh_at(NOW, NOW + life), NOW + expect, "{life}");
    check(3600, 2880);
    check(3607, 2885);
    check(600, 480);
    check(86_400, 69_120);
    check(1_000_000, 86_400);
    check(1, 1);
    check(0, 1);
    check(-10, 1);
    assert_eq!(refresh_at(i64::MAX - 1, i64::MAX), i64::MAX);
}

#[test]
fn what_is_given_out_is_recorded_without_the_token() {
    let mut rig = Rig::new();
    let issue = rig.ask(to("Pod", "p")).unwrap();
    let before = rig.world.resource_version();
    let request = |rig: &Rig| Request {
        user: User::controller(),
        resource: Resource::ServiceAccount,
        namespace: "default".into(),
        name: "robot".into(),
        subresource: Subresource::Token,
        write: Write::IssueToken(Box::new(rig.ask(json!({})).unwrap())),
        options: WriteOptions::default(),
        audit_id: "2".into(),
        impersonation: None,
        body_hash: None,
        received: None,
    };
    let asked = request(&rig);
    rig.world.write(asked, rig.time()).unwrap();
    let stage = rig.world.take_stage(rig.time());
    assert!(stage.changes.is_empty());
    let entry = &stage.audit[0].body;
    assert_eq!(entry["objectRef"]["subresource"], "token");
    assert_eq!(entry["annotations"][crate::world::ISSUED], format!("JTI={}", issue.id));
    rig.world.committed();
    assert_eq!(rig.world.resource_version(), before);
    // What went between the judgement and the record is not overlooked.
    let late = request(&rig);
    rig.delete(Resource::ServiceAccount, "robot", 0);
    let refused = rig.world.write(late, rig.time()).unwrap_err();
    assert_eq!(refused.reason.code(), 409, "{refused}");
}

#[test]
fn claims_that_are_not_ours_are_nobody() {
    let rig = Rig::new();
    let claims = rig.ask(to("Pod", "p")).unwrap().claims;
    let check = |change: fn(&mut Value), expect: bool| {
        let mut claims = claims.clone();
        change(&mut claims);
        assert_eq!(Binding::read(claims.as_object().unwrap()).is_some(), expect, "{claims}");
    };
    check(|_| {}, true);
    check(|c| c["sub"] = "system:serviceaccount:default:admin".into(), false);
    check(|c| c["sub"] = Value::Null, false);
    check(|c| c["kubernetes.io"] = json!("x"), false);
    check(|c| c["kubernetes.io"]["namespace"] = "kube-system".into(), false);
    check(|c| c["kubernetes.io"]["serviceaccount"]["uid"] = "x".into(), false);
    check(|c| c["kubernetes.io"]["pod"] = json!({}), false);
    check(|c| c["kubernetes.io"]["secret"] = c["kubernetes.io"]["pod"].clone(), false);
    check(|c| drop(c["kubernetes.io"].as_object_mut().unwrap().remove("serviceaccount")), false);
}
