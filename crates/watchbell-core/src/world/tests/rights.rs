//! Roles and bindings in the world: the defaults, aggregation, escalation, and whose eyes see which rights.

use serde_json::{Value, json};
use watchbell_api::{Reason, Resource};

use super::{Bench, create_request, merge, request};
use crate::access::{Decision, Deed};
use crate::request::{DeleteOptions, Force, PatchKind, Request, User, Write, WriteOptions};

const GROUP: &str = "rbac.authorization.k8s.io";

fn api_version() -> String {
    format!("{GROUP}/v1")
}

fn rules(list: Value) -> Value {
    json!({"rules": list})
}

fn read(resource: &str) -> Value {
    json!({"apiGroups": ["batch"], "resources": [resource], "verbs": ["get", "list"]})
}

pub(super) fn role(name: &str, rest: Value) -> Value {
    let mut role =
        json!({"apiVersion": api_version(), "kind": "Role", "metadata": {"name": name, "namespace": "ml"}});
    merge(&mut role, rest);
    role
}

pub(super) fn cluster_role(name: &str, rest: Value) -> Value {
    let mut role = json!({"apiVersion": api_version(), "kind": "ClusterRole", "metadata": {"name": name}});
    merge(&mut role, rest);
    role
}

/// `ml/x` is a RoleBinding, `x` a ClusterRoleBinding.
pub(super) fn binding(name: &str, kind: &str, role: &str, users: &[&str]) -> Value {
    let subjects: Vec<Value> = users.iter().map(|name| json!({"kind": "User", "name": name})).collect();
    let mut binding = json!({
        "apiVersion": api_version(), "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"kind": kind, "name": role, "apiGroup": GROUP}, "subjects": subjects,
    });
    if let Some((namespace, name)) = name.split_once('/') {
        binding["kind"] = "RoleBinding".into();
        binding["metadata"] = json!({"name": name, "namespace": namespace});
    }
    binding
}

fn user(name: &str) -> User {
    User { name: name.into(), groups: vec!["system:authenticated".into()], ..User::default() }
}

/// `VERB GROUP/RESOURCE[/SUBRESOURCE] NAMESPACE`, or `VERB PATH`.
fn deed(text: &str) -> Deed<'_> {
    let words: Vec<&str> = text.split(' ').collect();
    match words.as_slice() {
        [verb, path] => Deed::Path { verb, path },
        [verb, what, namespace] => {
            let mut parts = what.splitn(3, '/');
            let (group, resource) = (parts.next().unwrap(), parts.next().unwrap());
            Deed::Resource {
                verb,
                group,
                resource,
                subresource: parts.next().unwrap_or_default(),
                namespace: namespace.trim_start_matches('-'),
                name: "x",
            }
        }
        _ => panic!("{text}"),
    }
}

#[track_caller]
fn check_rights(bench: &Bench, who: &User, allowed: &[&str], refused: &[&str]) {
    let snapshot = bench.world.snapshot();
    for text in allowed {
        if let Decision::Denied(lack) = snapshot.rbac().decide(who, &deed(text)) {
            panic!("{} may not {text}: {lack}", who.name);
        }
    }
    for text in refused {
        if let Decision::Allowed(grant) = snapshot.rbac().decide(who, &deed(text)) {
            panic!("{} may {text}: {grant}", who.name);
        }
    }
}

#[test]
fn the_default_roles_say_what_kubernetes_says() {
    let mut bench = Bench::new();
    for role in ["admin", "edit", "view", "cron-operator"] {
        bench.create(binding(&format!("ml/{role}"), "ClusterRole", role, &[role]));
    }
    bench.create(binding("root", "ClusterRole", "cluster-admin", &["root"]));
    bench.settle();
    let look = [
        "get batch/jobs ml",
        "watch batch/cronjobs ml",
        "get /pods/log ml",
        "list /events ml",
        "get /pods ml",
    ];
    let operate =
        ["create batch/cronjobs/trigger ml", "patch batch/cronjobs/suspend ml", "create batch/jobs/rerun ml"];
    let change = [
        "create batch/jobs ml",
        "patch batch/cronjobs ml",
        "delete /pods ml",
        "update /configmaps ml",
        "create networking.k8s.io/networkpolicies ml",
    ];
    let inside = [
        "get /secrets ml",
        "create /pods/exec ml",
        "create /serviceaccounts/token ml",
        "impersonate /serviceaccounts ml",
    ];
    let give = [
        "create rbac.authorization.k8s.io/roles ml",
        "update rbac.authorization.k8s.io/rolebindings ml",
        "create authorization.k8s.io/localsubjectaccessreviews ml",
        "patch watchbell.dev/imagepolicies ml",
    ];
    let never = [
        "get batch/jobs default",
        "list batch/jobs -",
        "get /nodes -",
        "create /namespaces -",
        "patch /pods/status ml",
        "create /resourcequotas ml",
        "delete /limitranges ml",
        "get /metrics",
        "create rbac.authorization.k8s.io/clusterroles -",
        "escalate rbac.authorization.k8s.io/roles ml",
        "bind rbac.authorization.k8s.io/clusterroles ml",
        "list watchbell.dev/images -",
        "get watchbell.dev/clusterimagepolicies -",
        "create aquasecurity.github.io/vulnerabilityreports ml",
        "impersonate /users -",
    ];
    let (view, edit) = (user("view"), user("edit"));
    check_rights(&bench, &view, &look, &[&operate[..], &change, &inside, &give, &never].concat());
    let configs = [
        "get /configmaps ml",
        "get /namespaces ml",
        "get /resourcequotas ml",
        "get watchbell.dev/imagepolicies ml",
        "list aquasecurity.github.io/vulnerabilityreports ml",
    ];
    check_rights(&bench, &view, &configs, &[]);
    let operator = user("cron-operator");
    check_rights(
        &bench,
        &operator,
        &[&look[..], &operate].concat(),
        &[&configs[..], &change, &inside, &give, &never].concat(),
    );
    check_rights(
        &bench,
        &edit,
        &[&look[..], &configs, &operate, &change, &inside].concat(),
        &[&give[..], &never].concat(),
    );
    check_rights(
        &bench,
        &user("admin"),
        &[&look[..], &configs, &operate, &change, &inside, &give].concat(),
        &never,
    );
    check_rights(&bench, &user("root"), &[&never[..], &give, &inside].concat(), &[]);
    // Everybody who is known.
    let ada = user("ada");
    check_rights(
        &bench,
        &ada,
        &[
            "create authorization.k8s.io/selfsubjectaccessreviews -",
            "create authentication.k8s.io/selfsubjectreviews -",
            "get /api",
            "get /apis/batch/v1",
            "get /version",
            "get /openapi/v3",
        ],
        &["get /metrics", "create authorization.k8s.io/subjectaccessreviews -", "get /", "post /api"],
    );
    let nobody = User { groups: vec!["system:unauthenticated".into()], ..user("system:anonymous") };
    check_rights(
        &bench,
        &nobody,
        &["get /healthz", "get /version"],
        &["get /api", "get /metrics", "list /pods ml"],
    );
    let monitor = User { groups: vec!["system:monitoring".into()], ..user("prometheus") };
    check_rights(&bench, &monitor, &["get /metrics", "get /livez/x"], &["get /api", "list /pods ml"]);
}

/// Another start of the server, over the same journal.
fn start_again(bench: &mut Bench) {
    bench.crash();
    bench.world.furnish(bench.at());
    bench.settle();
}

#[test]
fn defaults_get_back_what_was_taken_and_keep_what_was_added() {
    let mut bench = Bench::new();
    let mark = |object: &Value| {
        let metadata = &object["metadata"];
        (metadata["labels"]["kubernetes.io/bootstrapping"].clone(), metadata["annotations"].clone())
    };
    let marks = (json!("rbac-defaults"), json!({"rbac.authorization.kubernetes.io/autoupdate": "true"}));
    for role in bench.list(Resource::ClusterRole).iter().chain(&bench.list(Resource::ClusterRoleBinding)) {
        assert_eq!(mark(role), marks, "{role:#}");
    }
    // A start that finds all in place writes none of it.
    let before = (bench.list(Resource::ClusterRole), bench.list(Resource::ClusterRoleBinding));
    start_again(&mut bench);
    assert_eq!((bench.list(Resource::ClusterRole), bench.list(Resource::ClusterRoleBinding)), before);

    let own = json!({"apiGroups": ["x"], "resources": ["y"], "verbs": ["get"]});
    bench.patch(
        Resource::ClusterRole,
        "system:monitoring",
        json!({"rules": [own], "metadata": {"labels": null}}),
    );
    bench.patch(
        Resource::ClusterRoleBinding,
        "system:discovery",
        json!({"subjects": [
            {"kind": "User", "name": "ada", "apiGroup": GROUP},
        ]}),
    );
    let alone = json!({"metadata": {"annotations": {"rbac.authorization.kubernetes.io/autoupdate": "false"}}, "rules": []});
    bench.patch(Resource::ClusterRole, "system:basic-user", alone);
    bench.delete(Resource::ClusterRole, "cron-operator", crate::request::Propagation::Background);
    bench.delete(Resource::ClusterRoleBinding, "cluster-admin", crate::request::Propagation::Background);
    bench.create(binding("cluster-admin", "ClusterRole", "view", &["eve"]));
    bench.settle();
    let added = |bench: &Bench| bench.read(Resource::ClusterRole, "system:monitoring")["rules"][0].clone();
    assert_eq!(added(&bench), own);
    start_again(&mut bench);
    assert_eq!(added(&bench), own, "what was added stays");
    let monitor = User { groups: vec!["system:monitoring".into()], ..user("prometheus") };
    check_rights(&bench, &monitor, &["get /metrics", "get x/y -"], &[]);
    assert_eq!(mark(&bench.read(Resource::ClusterRole, "system:monitoring")).0, "rbac-defaults");
    let subjects = &bench.read(Resource::ClusterRoleBinding, "system:discovery")["subjects"];
    let names: Vec<&Value> = subjects.as_array().unwrap().iter().map(|subject| &subject["name"]).collect();
    assert_eq!(names, ["ada", "system:authenticated"]);
    assert_eq!(bench.read(Resource::ClusterRole, "system:basic-user")["rules"], json!(null), "left alone");
    assert!(bench.get(Resource::ClusterRole, "cron-operator").is_some());
    let admin = bench.read(Resource::ClusterRoleBinding, "cluster-admin");
    assert_eq!(
        admin["roleRef"]["name"], "cluster-admin",
        "another binding of the name: a role cannot be changed"
    );
    assert_eq!(admin["subjects"][0]["name"], "system:masters");
}

#[test]
fn an_aggregating_role_has_the_rules_of_those_that_it_chooses() {
    let mut bench = Bench::new();
    let labels = |value: &str| json!({"metadata": {"labels": {"team": value}}});
    let chooses = |value: &str| json!({"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"team": value}}]}});
    let with = |name: &str, parts: &[Value]| {
        let mut role = cluster_role(name, json!({}));
        parts.iter().for_each(|part| merge(&mut role, part.clone()));
        role
    };
    let of = |bench: &Bench, name: &str| -> Vec<String> {
        let role = bench.read(Resource::ClusterRole, name);
        let rules = role["rules"].as_array().cloned().unwrap_or_default();
        rules.iter().map(|rule| rule["resources"][0].as_str().unwrap().to_owned()).collect()
    };
    bench.create(with("b", &[labels("x"), rules(json!([read("b"), read("shared")]))]));
    bench.create(with("a", &[labels("x"), rules(json!([read("a"), read("shared")]))]));
    bench.create(with("all", &[chooses("x"), labels("y"), rules(json!([read("own")]))]));
    bench.create(with("upper", &[chooses("y")]));
    // In the transaction that made them: nobody sees a role that is not filled in.
    bench.step();
    assert_eq!(of(&bench, "all"), ["a", "shared", "b"]);
    bench.settle();
    assert_eq!(of(&bench, "upper"), ["a", "shared", "b"]);
    let managers = bench.read(Resource::ClusterRole, "all")["metadata"]["managedFields"].to_string();
    assert!(managers.contains("clusterrole-aggregation-controller"), "{managers}");

    bench.patch(Resource::ClusterRole, "a", rules(json!([read("c")])));
    bench.settle();
    assert_eq!(of(&bench, "upper"), ["c", "b", "shared"]);
    bench.patch(Resource::ClusterRole, "b", json!({"metadata": {"labels": {"team": "z"}}}));
    bench.settle();
    assert_eq!(of(&bench, "upper"), ["c"]);
    // What its author writes there is not what it says.
    bench.patch(Resource::ClusterRole, "upper", rules(json!([read("own")])));
    bench.settle();
    assert_eq!(of(&bench, "upper"), ["c"]);
    // A circle gives nobody anything, and there is an end to it.
    bench.patch(Resource::ClusterRole, "upper", labels("x"));
    bench.settle();
    assert_eq!((of(&bench, "all"), of(&bench, "upper")), (vec!["c".into()], vec!["c".into()]));
    bench.delete(Resource::ClusterRole, "a", crate::request::Propagation::Background);
    bench.settle();
    assert_eq!((of(&bench, "all").len(), of(&bench, "upper").len()), (0, 0));

    // Ours join Kubernetes' own.
    let label = json!({"metadata": {"labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}}});
    bench.create(with("more", &[label, rules(json!([read("widgets")]))]));
    bench.create(binding("ml/admin", "ClusterRole", "admin", &["ada"]));
    bench.settle();
    check_rights(&bench, &user("ada"), &["get batch/widgets ml"], &["create batch/widgets ml"]);
}

fn by(who: &str, request: Request) -> Request {
    Request { user: user(who), ..request }
}

#[track_caller]
fn check(bench: &mut Bench, request: Request, expect: Result<(), (Reason, &str)>) {
    let version = bench.world.resource_version();
    let what = format!("{:?}", request.write);
    match (bench.write(request), expect) {
        (Ok(_), Ok(())) => {}
        (Err(error), Err((reason, words))) => {
            assert_eq!(error.reason, reason, "{error}");
            assert!(error.message.contains(words), "{error}\ndoes not say {words}");
            assert_eq!(bench.world.resource_version(), version, "a refusal changes nothing");
        }
        (Ok(_), Err((_, words))) => panic!("accepted, but {words}: {what}"),
        (Err(error), Ok(())) => panic!("{error}: {what}"),
    }
}

const FORBIDDEN: Reason = Reason::Forbidden;

/// The world in which `lead` may write roles and bindings of `ml`, and read jobs there; `boss` the same everywhere.
fn staffed() -> Bench {
    let mut bench = Bench::new();
    let write = json!({
        "apiGroups": [GROUP], "verbs": ["create", "update", "patch", "delete", "get"],
        "resources": ["roles", "rolebindings", "clusterroles", "clusterrolebindings"],
    });
    bench.create(role("lead", rules(json!([write, read("jobs")]))));
    bench.create(cluster_role("boss", rules(json!([write, read("jobs")]))));
    bench.create(binding("ml/lead", "Role", "lead", &["lead"]));
    bench.create(binding("boss", "ClusterRole", "boss", &["boss"]));
    bench.settle();
    bench
}

#[test]
fn nobody_writes_a_role_that_allows_more_than_they_hold() {
    let mut bench = staffed();
    let all = json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]});
    let bench = &mut bench;
    check(bench, by("lead", create_request(role("a", rules(json!([read("jobs")]))))), Ok(()));
    check(
        bench,
        by("lead", create_request(role("b", rules(json!([read("jobs"), read("cronjobs"), read("pods")]))))),
        Err((
            FORBIDDEN,
            "roles.rbac.authorization.k8s.io \"b\" is forbidden: user \"lead\" (groups=[\"system:authenticated\"]) is \
             attempting to grant RBAC permissions not currently held:\n\
             {APIGroups:[\"batch\"], Resources:[\"cronjobs\"], Verbs:[\"get\" \"list\"]}\n\
             {APIGroups:[\"batch\"], Resources:[\"pods\"], Verbs:[\"get\" \"list\"]}",
        )),
    );
    check(
        bench,
        by("lead", create_request(role("b", rules(json!([all]))))),
        Err((FORBIDDEN, "{APIGroups:[\"*\"], Resources:[\"*\"], Verbs:[\"*\"]}")),
    );
    // Held in one namespace is not held elsewhere, nor in all.
    let everywhere = cluster_role("b", rules(json!([read("jobs")])));
    check(
        bench,
        by("lead", create_request(everywhere.clone())),
        Err((FORBIDDEN, "cannot create resource \"clusterroles\"")),
    );
    let mut elsewhere = role("b", rules(json!([read("jobs")])));
    elsewhere["metadata"]["namespace"] = "default".into();
    check(
        bench,
        by("lead", create_request(elsewhere)),
        Err((
            FORBIDDEN,
            "cannot create resource \"roles\" in API group \"rbac.authorization.k8s.io\" in the namespace",
        )),
    );
    check(bench, by("boss", create_request(everywhere)), Ok(()));

    // However the whole object is put together.
    let on = |write: Write| by("lead", Request { write, ..request(Resource::Role, "ml", "a") });
    let wide = role("a", rules(json!([read("jobs"), read("secrets")])));
    let refused = || Err((FORBIDDEN, "Resources:[\"secrets\"]"));
    check(bench, on(Write::Update(wide.clone())), refused());
    let patch = |kind: PatchKind, body: Value| on(Write::Patch { kind, body });
    check(bench, patch(PatchKind::Merge, rules(json!([read("secrets")]))), refused());
    check(bench, patch(PatchKind::StrategicMerge, rules(json!([read("secrets")]))), refused());
    let resource = json!([{"op": "replace", "path": "/rules/0/resources/0", "value": "secrets"}]);
    check(bench, patch(PatchKind::Json, resource), refused());
    let apply = |name: &str, rest: Value| {
        let options =
            WriteOptions { field_manager: "m".into(), force: Force::Yes, ..WriteOptions::default() };
        let write = Write::Patch { kind: PatchKind::Apply, body: role(name, rest) };
        by("lead", Request { write, options, ..request(Resource::Role, "ml", name) })
    };
    check(bench, apply("a", rules(json!([read("secrets")]))), refused());
    check(bench, apply("new", rules(json!([read("secrets")]))), refused());
    check(bench, apply("new", rules(json!([read("jobs")]))), Ok(()));
    let mut dry = on(Write::Update(wide.clone()));
    dry.options.dry_run = crate::request::DryRun::All;
    check(bench, dry, refused());

    // A role that is already wider: a label on it is a write of all that it says; what only lets it go is not.
    bench.create(role("wide", rules(json!([read("secrets")]))));
    let on_wide = |body: Value| {
        let write = Write::Patch { kind: PatchKind::Merge, body };
        by("lead", Request { write, ..request(Resource::Role, "ml", "wide") })
    };
    check(bench, on_wide(json!({"metadata": {"labels": {"a": "b"}}})), refused());
    check(bench, on_wide(json!({"metadata": {"finalizers": ["a/b"]}})), Ok(()));
    check(bench, on_wide(json!({"metadata": {"finalizers": null}})), Ok(()));
    check(bench, on_wide(rules(json!([]))), Ok(()));

    // The verb, for all roles of the namespace or for one of them.
    let escalate = |names: Value| json!([{"apiGroups": [GROUP], "resources": ["roles"], "verbs": ["escalate"], "resourceNames": names}]);
    bench.create(role("one", rules(escalate(json!(["a"])))));
    bench.create(binding("ml/one", "Role", "one", &["lead"]));
    check(bench, on(Write::Update(wide.clone())), Ok(()));
    check(
        bench,
        by("lead", create_request(role("c", rules(json!([all]))))),
        Err((FORBIDDEN, "not currently held")),
    );
    bench.create(role("any", rules(escalate(json!([])))));
    bench.create(binding("ml/any", "Role", "any", &["lead"]));
    check(bench, by("lead", create_request(role("c", rules(json!([all]))))), Ok(()));
}

#[test]
fn nobody_binds_a_role_that_allows_more_than_they_hold() {
    let mut bench = staffed();
    bench.create(role("jobs", rules(json!([read("jobs")]))));
    bench.create(cluster_role("jobs", rules(json!([read("jobs")]))));
    bench.create(role("secrets", rules(json!([read("secrets")]))));
    let bench = &mut bench;
    let refused =
        || Err((FORBIDDEN, "{APIGroups:[\"batch\"], Resources:[\"secrets\"], Verbs:[\"get\" \"list\"]}"));
    check(bench, by("lead", create_request(binding("ml/a", "Role", "jobs", &["eve"]))), Ok(()));
    check(bench, by("lead", create_request(binding("ml/b", "ClusterRole", "jobs", &["eve"]))), Ok(()));
    check(bench, by("lead", create_request(binding("ml/c", "Role", "secrets", &["lead"]))), refused());
    let held = Err((FORBIDDEN, "not currently held"));
    check(
        bench,
        by("lead", create_request(binding("ml/c", "ClusterRole", "cluster-admin", &["lead"]))),
        held,
    );
    check(
        bench,
        by("lead", create_request(binding("c", "ClusterRole", "jobs", &["lead"]))),
        Err((FORBIDDEN, "cannot create resource \"clusterrolebindings\"")),
    );
    check(bench, by("boss", create_request(binding("c", "ClusterRole", "jobs", &["lead"]))), Ok(()));
    check(
        bench,
        by("lead", create_request(binding("ml/d", "ClusterRole", "gone", &["eve"]))),
        Err((Reason::NotFound, "clusterroles.rbac.authorization.k8s.io \"gone\" not found")),
    );
    // A binding that is there gets no new subjects, by whatever door.
    bench.create(binding("ml/secret", "Role", "secrets", &["ops"]));
    let on = |write: Write| by("lead", Request { write, ..request(Resource::RoleBinding, "ml", "secret") });
    let eve = json!({"subjects": [{"kind": "User", "name": "eve"}]});
    check(bench, on(Write::Patch { kind: PatchKind::Merge, body: eve }), refused());
    check(bench, on(Write::Update(binding("ml/secret", "Role", "secrets", &["lead"]))), refused());
    check(bench, on(Write::Delete(DeleteOptions::default())), Ok(()));

    // The verb, on the role that is to be bound.
    let bind = json!([{"apiGroups": [GROUP], "resources": ["roles"], "verbs": ["bind"], "resourceNames": ["secrets"]}]);
    bench.create(role("binder", rules(bind)));
    bench.create(binding("ml/binder", "Role", "binder", &["lead"]));
    check(bench, by("lead", create_request(binding("ml/e", "Role", "secrets", &["eve"]))), Ok(()));
    check(bench, by("lead", create_request(binding("ml/f", "ClusterRole", "cluster-admin", &["eve"]))), held);
}

#[test]
fn only_who_may_everything_lets_roles_gather() {
    let mut bench = staffed();
    let gather = json!({"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}});
    let words = Err((FORBIDDEN, "must have cluster-admin privileges to use the aggregationRule"));
    let bench = &mut bench;
    check(bench, by("boss", create_request(cluster_role("a", gather.clone()))), words);
    bench.create(cluster_role("gathers", gather));
    let on = |body: Value| {
        let write = Write::Patch { kind: PatchKind::Merge, body };
        by("boss", Request { write, ..request(Resource::ClusterRole, "", "gathers") })
    };
    check(bench, on(json!({"aggregationRule": null})), words);
    check(bench, on(json!({"metadata": {"labels": {"a": "b"}}})), words);
    bench.create(binding("more", "ClusterRole", "cluster-admin", &["boss"]));
    check(bench, on(json!({"aggregationRule": null})), Ok(()));
}

#[test]
fn rights_are_seen_when_they_are_committed() {
    let mut bench = staffed();
    let may = |bench: &Bench| {
        bench.world.snapshot().rbac().decide(&user("eve"), &deed("get batch/jobs ml")).is_allowed()
    };
    bench.create(role("jobs", rules(json!([read("jobs")]))));
    bench.create(binding("ml/jobs", "Role", "jobs", &["eve"]));
    assert!(!may(&bench), "readers see what is durable");
    // Who writes sees what is staged: the role that is bound here was made in the same batch.
    check(&mut bench, by("lead", create_request(binding("ml/more", "Role", "jobs", &["bob"]))), Ok(()));
    bench.world.rollback(bench.at());
    bench.check();
    assert!(!may(&bench), "what was not committed gives no rights");
    bench.settle();
    bench.create(role("jobs", rules(json!([read("jobs")]))));
    bench.create(binding("ml/jobs", "Role", "jobs", &["eve"]));
    bench.settle();
    assert!(may(&bench));
    bench.crash();
    assert!(may(&bench), "rights outlive a restart");
    bench.delete(Resource::Role, "jobs", crate::request::Propagation::Background);
    assert!(may(&bench));
    bench.settle();
    assert!(!may(&bench));
}

/// Whoever writes a policy reads by it what its parameters say.
#[test]
fn who_may_not_read_parameters_writes_no_policy_that_does() {
    const ADMISSION: &str = "admissionregistration.k8s.io";
    let mut bench = Bench::new();
    let write = json!({"apiGroups": [ADMISSION], "resources": ["*"], "verbs": ["*"]});
    bench.create(cluster_role("author", rules(json!([write]))));
    bench.create(binding("author", "ClusterRole", "author", &["grace", "joan", "kate", "mary"]));
    let listed = json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]});
    bench.create(cluster_role("lists-all", rules(json!([listed]))));
    bench.create(binding("lists-all", "ClusterRole", "lists-all", &["kate"]));
    let all = json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]});
    bench.create(cluster_role("reads-all", rules(json!([all]))));
    bench.create(binding("reads-all", "ClusterRole", "reads-all", &["joan"]));
    let one =
        json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["limits"], "verbs": ["get"]});
    bench.create(role("reads-one", rules(json!([one]))));
    bench.create(binding("ml/reads-one", "Role", "reads-one", &["mary"]));
    bench.settle();
    let policy = |name: &str, kind: Value| {
        let mut policy = json!({
            "apiVersion": format!("{ADMISSION}/v1"), "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
            "spec": {
                "matchConstraints": {"resourceRules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"],
                }]},
                "validations": [{"expression": "true"}],
            },
        });
        if !kind.is_null() {
            policy["spec"]["paramKind"] = kind;
        }
        policy
    };
    let secrets = || json!({"apiVersion": "v1", "kind": "Secret"});
    let bound = |name: &str, to: &str, reference: Value| {
        json!({
            "apiVersion": format!("{ADMISSION}/v1"), "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {"policyName": to, "validationActions": ["Deny"], "paramRef": reference},
        })
    };
    let mut by = |name: &str, object: Value| {
        bench.write(Request { user: user(name), ..create_request(object) }).map_err(|error| error.to_string())
    };
    by("grace", policy("plain", Value::Null)).expect("it has no parameters");
    let error = by("grace", policy("p", secrets())).expect_err("refused");
    assert!(
        error.contains(
            "spec.paramKind: Forbidden: user \"grace\" must have \"get\" permission on all objects of the referenced \
             paramKind (kind=Secret, apiVersion=v1)"
        ),
        "{error}"
    );
    // One object, or one namespace, is not all.
    assert!(by("mary", policy("p", secrets())).is_err());
    by("joan", policy("p", secrets())).expect("may read all");
    // Of a kind that is not known, and of a policy that is not there, everything is asked for.
    let unknown = json!({"apiVersion": "example.com/v1", "kind": "Limit"});
    assert!(by("joan", policy("q", unknown)).is_err());
    let limits = |namespace: &str| json!({"name": "limits", "namespace": namespace, "parameterNotFoundAction": "Allow"});
    assert!(by("joan", bound("b", "none", limits("ml"))).is_err());
    let error = by("grace", bound("b", "p", limits("ml"))).expect_err("refused");
    assert!(
        error.contains(
            "spec.paramRef: Forbidden: user \"grace\" does not have \"get\" permission on the object referenced by paramRef"
        ),
        "{error}"
    );
    by("mary", bound("b", "p", limits("ml"))).expect("may read that one");
    assert!(by("mary", bound("c", "p", limits("default"))).is_err());
    let chosen = json!({"selector": {}, "namespace": "ml", "parameterNotFoundAction": "Allow"});
    assert!(by("mary", bound("c", "p", chosen.clone())).is_err());
    // Who may read what he can name does not learn by a selector what there is.
    let error = by("joan", bound("c", "p", chosen.clone())).expect_err("refused");
    assert!(
        error
            .contains("user \"joan\" does not have \"list\" permission on the object referenced by paramRef"),
        "{error}"
    );
    by("kate", bound("c", "p", chosen)).expect("may list all");
    // What stays as it was is not asked for again; what changes is.
    let patch = |resource: Resource, name: &str, body: Value| Request {
        user: user("grace"),
        write: Write::Patch { kind: PatchKind::Merge, body },
        ..request(resource, "", name)
    };
    let validations = json!({"spec": {"validations": [{"expression": "1 == 1"}]}});
    bench.write(patch(Resource::ValidatingAdmissionPolicy, "p", validations)).expect("the same parameters");
    let other = json!({"spec": {"paramKind": secrets()}});
    assert!(bench.write(patch(Resource::ValidatingAdmissionPolicy, "plain", other)).is_err());
    let warn = json!({"spec": {"validationActions": ["Warn"]}});
    bench.write(patch(Resource::ValidatingAdmissionPolicyBinding, "b", warn)).expect("the same parameters");
    let other = json!({"spec": {"paramRef": {"name": "others"}}});
    assert!(bench.write(patch(Resource::ValidatingAdmissionPolicyBinding, "b", other)).is_err());
}
