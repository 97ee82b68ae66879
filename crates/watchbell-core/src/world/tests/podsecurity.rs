//! Pod Security at the door: what is refused, warned about and noted, at creation, at updates and at the start.

use serde_json::{Value, json};
use watchbell_api::node::Command;
use watchbell_api::{Reason, Resource};

use super::{Bench, config, cron, job, merge, pod, request};
use crate::admission::pod_security::tests::fixtures::all_fixtures;
use crate::request::{DryRun, PatchKind, Request, Subresource, Write, WriteOptions};

const PREFIX: &str = "pod-security.kubernetes.io/";

fn labels(pairs: &[(&str, &str)]) -> Value {
    let list = pairs.iter().map(|(key, value)| (format!("{PREFIX}{key}"), Value::from(*value)));
    Value::Object(list.collect())
}

fn namespace(name: &str, pairs: &[(&str, &str)]) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels(pairs)}})
}

/// A bench whose namespace `ml` has these labels and no others.
fn bench(pairs: &[(&str, &str)]) -> Bench {
    let mut bench = Bench::new();
    relabel(&mut bench, pairs);
    bench
}

/// Sets the labels of `ml`; returns the warnings.
fn relabel(bench: &mut Bench, pairs: &[(&str, &str)]) -> Vec<String> {
    let mut all = labels(pairs);
    for key in ["enforce", "audit", "warn"].map(|mode| format!("{PREFIX}{mode}")) {
        for key in [format!("{key}-version"), key] {
            all[key.as_str()] = all.get(&key).cloned().unwrap_or(Value::Null);
        }
    }
    let body = json!({"metadata": {"labels": all}});
    let warnings = bench.try_patch(Resource::Namespace, "ml", body).expect("fine labels").warnings;
    bench.settle();
    warnings
}

fn with(mut object: Value, spec: Value) -> Value {
    merge(&mut object["spec"], spec);
    object
}

/// A Job whose pods have more in their spec.
fn job_of(name: &str, spec: Value) -> Value {
    job(name, json!({"template": {"spec": spec}}))
}

/// What Pod Security says in the last request's audit entry.
fn noted(bench: &mut Bench) -> Value {
    bench.step();
    let entries = bench.journal.audit.iter().rev();
    let last = entries.map(|entry| &entry.body).find(|body| body["kind"] == "Event").expect("an entry");
    let all = last["annotations"].as_object().into_iter().flatten();
    let ours: serde_json::Map<String, Value> = all
        .filter(|(key, _)| key.starts_with(PREFIX))
        .map(|(key, note)| (key.clone(), note.clone()))
        .collect();
    if ours.is_empty() { Value::Null } else { Value::Object(ours) }
}

fn note(pairs: &[(&str, &str)]) -> Value {
    labels(pairs)
}

#[test]
fn a_level_is_enforced_at_the_pod_with_kubernetes_words() {
    let mut bench = bench(&[("enforce", "restricted"), ("enforce-version", "v1.35")]);
    let error = bench.try_create(pod("a")).expect_err("refused");
    assert_eq!(error.reason, Reason::Forbidden);
    assert_eq!(
        error.message,
        "pods \"a\" is forbidden: violates PodSecurity \"restricted:v1.35\": allowPrivilegeEscalation != false (container \
         \"main\" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \"main\" \
         must set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or container \"main\" must set \
         securityContext.runAsNonRoot=true), seccompProfile (pod or container \"main\" must set \
         securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
    );
    assert_eq!(noted(&mut bench), note(&[("enforce-policy", "restricted:v1.35")]));
    let fine = json!({
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "main", "image": "busybox:bar", "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
        }}],
    });
    let written = bench.try_create(with(pod("a"), fine)).expect("allowed");
    assert_eq!(written.warnings, Vec::<String>::new());
    // Nothing was filled in that was not said.
    assert_eq!(written.object["spec"]["securityContext"].as_object().map(serde_json::Map::len), Some(2));
}

#[test]
fn versions_decide_which_checks_count() {
    let root = || with(pod("a"), json!({"securityContext": {"runAsNonRoot": true, "runAsUser": 0}}));
    let check = |version: &str, words: Option<&str>| {
        let mut bench = bench(&[("enforce", "restricted"), ("enforce-version", version)]);
        let answer = bench.try_create(root());
        let found = answer.err().map(|error| error.message);
        assert_eq!(found.as_deref().and_then(|text| text.split("violates ").nth(1)), words, "{version}");
    };
    check("v1.7", None);
    check(
        "v1.18",
        Some(
            "PodSecurity \"restricted:v1.18\": allowPrivilegeEscalation != false (container \"main\" must set \
             securityContext.allowPrivilegeEscalation=false)",
        ),
    );
    let latest = "allowPrivilegeEscalation != false (container \"main\" must set \
                  securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \"main\" must set \
                  securityContext.capabilities.drop=[\"ALL\"]), runAsUser=0 (pod must not set runAsUser=0), seccompProfile \
                  (pod or container \"main\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \
                  \"Localhost\")";
    for version in ["v1.23", "v1.35", "v1.36", "v1.99", "latest"] {
        check(version, Some(&format!("PodSecurity \"restricted:{version}\": {latest}")));
    }
}

#[test]
fn warnings_and_notes_come_with_pods_and_templates() {
    let mut bench = bench(&[("enforce", "privileged"), ("warn", "baseline"), ("audit", "restricted")]);
    let wild = json!({"hostNetwork": true});
    let warned = "would violate PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)";
    let noted_words = "would violate PodSecurity \"restricted:latest\": host namespaces (hostNetwork=true), \
                       allowPrivilegeEscalation != false (container \"main\" must set \
                       securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \"main\" must \
                       set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or container \"main\" \
                       must set securityContext.runAsNonRoot=true), seccompProfile (pod or container \"main\" must set \
                       securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")";
    let written = bench.try_create(with(pod("a"), wild.clone())).expect("allowed");
    assert_eq!(written.warnings, [warned]);
    assert_eq!(
        noted(&mut bench),
        note(&[("audit-violations", noted_words), ("enforce-policy", "privileged:latest")])
    );
    let cron = cron(
        "c",
        "0 0 * * *",
        json!({"jobTemplate": {"spec": {"template": {"spec": {"hostNetwork": true}}}}}),
    );
    for object in [job_of("j", wild), cron] {
        let written = bench.try_create(object).expect("allowed");
        assert_eq!(written.warnings, [warned]);
        assert_eq!(noted(&mut bench), note(&[("audit-violations", noted_words)]));
    }
    // Again at an update, whatever it changes, and not for a status.
    let labelled = json!({"metadata": {"labels": {"a": "b"}}});
    let written = bench.try_patch(Resource::Job, "j", labelled.clone()).expect("allowed");
    assert_eq!(written.warnings, [warned]);
    let status = Request {
        subresource: Subresource::Status,
        write: Write::Patch { kind: PatchKind::Merge, body: labelled },
        ..request(Resource::Job, "ml", "j")
    };
    let written = bench.write(status).expect("allowed");
    assert_eq!(written.warnings, Vec::<String>::new());
    assert_eq!(noted(&mut bench), Value::Null);
    // What keeps within both is not spoken of.
    bench.try_create(super::config_map("m")).expect("allowed");
    assert_eq!(noted(&mut bench), Value::Null);
}

#[test]
fn who_enforces_warns_of_templates_by_the_same_level() {
    let mut bench = bench(&[("enforce", "baseline")]);
    let written =
        bench.try_create(job_of("j", json!({"hostPID": true}))).expect("allowed, as Kubernetes allows it");
    assert_eq!(
        written.warnings,
        ["would violate PodSecurity \"baseline:latest\": host namespaces (hostPID=true)"]
    );
    bench.settle();
    assert_eq!(bench.reasons("Job", "j"), ["FailedCreate"]);
    let events = bench.list(Resource::Event);
    assert!(
        events.iter().any(|event| event["message"]
            == "Error creating: pods \"j-\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces \
                (hostPID=true)"),
        "{events:#?}"
    );
    // A looser level lets its pods in at once.
    relabel(&mut bench, &[("enforce", "privileged")]);
    assert_eq!(bench.list(Resource::Pod).len(), 1);
    // A refused request has no warnings, and notes what it broke.
    relabel(&mut bench, &[("enforce", "baseline"), ("audit", "baseline"), ("audit-version", "v1.20")]);
    let error = bench.try_create(with(pod("a"), json!({"hostPID": true}))).expect_err("refused");
    assert!(error.message.contains("violates PodSecurity \"baseline:latest\""), "{error}");
    let words = "would violate PodSecurity \"baseline:v1.20\": host namespaces (hostPID=true)";
    assert_eq!(
        noted(&mut bench),
        note(&[("audit-violations", words), ("enforce-policy", "baseline:latest")])
    );
}

/// Without a level to enforce a namespace is strict, whatever it warns by; that is asked of the object as it is stored: a
/// pod filled in, a template as it is written.
#[test]
fn a_strict_namespace_warns_of_what_is_stored() {
    let mut bench = bench(&[("warn", "restricted"), ("audit", "baseline")]);
    let written = bench.try_create(pod("a")).expect("filled in");
    assert_eq!(written.warnings, Vec::<String>::new());
    assert_eq!(written.object["spec"]["securityContext"]["runAsNonRoot"], true);
    assert_eq!(noted(&mut bench), note(&[("enforce-policy", "restricted:latest")]));
    let written = bench.try_create(job_of("j", json!({}))).expect("its pods are filled in");
    assert_eq!(written.warnings.len(), 1, "{:?}", written.warnings);
    assert!(written.warnings[0].starts_with("would violate PodSecurity \"restricted:latest\": allowPriv"));
    assert_eq!(noted(&mut bench), Value::Null);
    let error =
        bench.try_create(job_of("k", json!({"hostIPC": true}))).expect_err("no pod of it could start");
    assert_eq!(error.reason, Reason::Forbidden);
    assert!(
        error.message.starts_with(
            "jobs.batch \"k\" is forbidden: violates PodSecurity \"restricted:latest\": host namespaces (hostIPC=true). \
             The namespace \"ml\" has no Pod Security level, so the strictest is taken: leave out \
             spec.template.spec.hostIPC; or"
        ),
        "{error}"
    );
    let words = "would violate PodSecurity \"baseline:latest\": host namespaces (hostIPC=true)";
    assert_eq!(noted(&mut bench), note(&[("audit-violations", words)]));
}

#[test]
fn wrong_labels_are_refused_when_they_come() {
    let mut bench = Bench::new();
    let words = "must be one of privileged, baseline, restricted";
    let error = bench.try_create(namespace("x", &[("enforce", "tight")])).expect_err("refused");
    assert_eq!(error.reason, Reason::Invalid);
    assert_eq!(
        error.message,
        format!(
            "Namespace \"x\" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"tight\": {words}"
        )
    );
    let error = bench.try_create(namespace("x", &[("warn-version", "1.2")])).expect_err("refused");
    assert!(error.message.ends_with("Invalid value: \"1.2\": must be \"latest\" or \"v1.x\""), "{error}");
    let body = json!({"metadata": {"labels": labels(&[("audit", "all")])}});
    let error = bench.try_patch(Resource::Namespace, "ml", body).expect_err("refused");
    assert_eq!(error.reason, Reason::Invalid);
    assert!(error.message.contains(words), "{error}");
    bench
        .try_create(namespace("x", &[("enforce", "baseline"), ("enforce-version", "v1.999")]))
        .expect("allowed");
}

/// Labels that were wrong before they were looked at are the strictest, and do not hold up other changes.
#[test]
fn wrong_labels_that_are_there_already_are_restricted() {
    let mut bench = Bench::new();
    let mut namespace = (**bench.world.get(Resource::Namespace, "", "ml").expect("it is there")).clone();
    let mut object = namespace.render();
    object["metadata"]["labels"] = labels(&[("enforce", "tight"), ("warn", "loud")]);
    namespace.head = crate::world::Head::Json(std::sync::Arc::new(
        crate::world::JsonHead::from_value(Resource::Namespace, object).expect("a namespace"),
    ));
    bench.world.put(namespace);
    bench.settle();
    let error = bench.try_create(pod("a")).expect_err("refused");
    assert!(error.message.contains("violates PodSecurity \"restricted:latest\""), "{error}");
    let notes = noted(&mut bench);
    assert_eq!(notes[format!("{PREFIX}enforce-policy")], "restricted:latest");
    let failed = notes[format!("{PREFIX}error")].as_str().expect("a note");
    assert!(
        failed.starts_with("Failed to parse policy: metadata.labels[pod-security.kubernetes.io/enforce]")
    );
    let other = json!({"metadata": {"labels": {"team": "a"}}});
    bench.try_patch(Resource::Namespace, "ml", other).expect("what was wrong may stay wrong");
    let other = json!({"metadata": {"labels": labels(&[("enforce", "tighter")])}});
    bench.try_patch(Resource::Namespace, "ml", other).expect_err("but not otherwise wrong");
}

#[test]
fn a_tighter_level_tells_of_the_pods_that_are_there() {
    let mut bench = Bench::new();
    bench.create(with(pod("b"), json!({"hostNetwork": true})));
    bench.create(with(pod("a"), json!({"hostNetwork": true})));
    bench.create(pod("fine"));
    bench.create(job(
        "j",
        json!({"parallelism": 3, "completions": 3, "template": {"spec": {"hostPID": true, "hostIPC": true}}}),
    ));
    bench.settle();
    let head =
        "existing pods in namespace \"ml\" violate the new PodSecurity enforce level \"baseline:latest\"";
    // All of it is one reason.
    let expect = [head, "a (and 4 other pods): host namespaces"];
    let dry = Request {
        write: Write::Patch {
            kind: PatchKind::Merge,
            body: json!({"metadata": {"labels": labels(&[("enforce", "baseline")])}}),
        },
        options: WriteOptions { dry_run: DryRun::All, ..WriteOptions::default() },
        ..request(Resource::Namespace, "", "ml")
    };
    assert_eq!(bench.write(dry).expect("allowed").warnings, expect);
    assert_eq!(relabel(&mut bench, &[("enforce", "baseline")]), expect);
    assert_eq!(bench.list(Resource::Pod).len(), 6, "they stay");
    assert_eq!(relabel(&mut bench, &[("enforce", "baseline"), ("warn", "restricted")]), Vec::<String>::new());
    assert_eq!(relabel(&mut bench, &[("enforce", "privileged")]), Vec::<String>::new());
    // Without a level the namespace is strict.
    let warnings = relabel(&mut bench, &[]);
    assert!(warnings[0].ends_with("enforce level \"restricted:latest\""), "{warnings:?}");
}

#[test]
fn updates_are_judged_where_they_matter() {
    let mut bench = Bench::new();
    bench.create(with(pod("a"), json!({"hostNetwork": true})));
    bench.settle();
    relabel(&mut bench, &[("enforce", "baseline")]);
    let check = |bench: &mut Bench, body: Value, refused: bool| {
        let answer = bench.try_patch(Resource::Pod, "a", body.clone());
        assert_eq!(answer.is_err(), refused, "{body}: {answer:?}");
        bench.settle();
    };
    check(&mut bench, json!({"metadata": {"labels": {"a": "b"}}}), false);
    check(&mut bench, json!({"metadata": {"annotations": {"a": "b"}}}), false);
    check(&mut bench, json!({"spec": {"activeDeadlineSeconds": 600}}), false);
    let tolerations = bench.read(Resource::Pod, "a")["spec"]["tolerations"].clone();
    let mut tolerations: Vec<Value> = tolerations.as_array().cloned().unwrap_or_default();
    tolerations.push(json!({"key": "k", "operator": "Exists"}));
    check(&mut bench, json!({"spec": {"tolerations": tolerations}}), false);
    let image = json!({"spec": {"containers": [{"name": "main", "image": "busybox:other"}]}});
    let strategic = |kind, body: &Value| Request {
        write: Write::Patch { kind, body: body.clone() },
        ..request(Resource::Pod, "ml", "a")
    };
    let error = bench.write(strategic(PatchKind::StrategicMerge, &image)).expect_err("judged anew");
    assert!(error.message.contains("violates PodSecurity \"baseline:latest\": host namespaces"), "{error}");
    let mut applied = image;
    merge(&mut applied, json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}));
    let mut request = strategic(PatchKind::Apply, &applied);
    request.options.force = crate::request::Force::Yes;
    request.options.field_manager = "ada".into();
    let error = bench.write(request).expect_err("judged anew");
    assert!(error.message.contains("violates PodSecurity \"baseline:latest\": host namespaces"), "{error}");
    assert_eq!(bench.read(Resource::Pod, "a")["spec"]["containers"][0]["image"], "busybox:bar");
}

/// In a strict namespace an update fills nothing in: what a pod may be made of cannot be changed.
#[test]
fn what_was_filled_in_at_creation_stays() {
    let mut bench = Bench::new();
    bench.create(pod("a"));
    bench.settle();
    relabel(&mut bench, &[]);
    let before = bench.read(Resource::Pod, "a")["spec"].clone();
    bench.patch(Resource::Pod, "a", json!({"spec": {"activeDeadlineSeconds": 600}}));
    bench.settle();
    let mut after = bench.read(Resource::Pod, "a")["spec"].clone();
    after.as_object_mut().expect("a spec").shift_remove("activeDeadlineSeconds");
    assert_eq!(after, before);
}

#[test]
fn a_pod_that_waits_is_judged_again_before_it_starts() {
    let mut small = config(0);
    small.capacity.pods = 1;
    let mut bench = Bench::with(small);
    bench.create(pod("first"));
    bench.settle();
    bench.create(with(pod("fine"), json!({"priority": null})));
    bench.create(with(pod("wild"), json!({"hostNetwork": true})));
    bench.create(job_of("j", json!({"hostPID": true, "restartPolicy": "Never"})));
    bench.settle();
    relabel(&mut bench, &[("enforce", "baseline")]);
    // It holds over a restart.
    bench.crash();
    bench.settle();
    bench.commands.clear();
    let free_room = |bench: &mut Bench, name: &str| {
        let options = crate::request::DeleteOptions {
            grace_period_seconds: Some(0),
            ..crate::request::DeleteOptions::default()
        };
        bench.try_delete(Resource::Pod, name, options).expect("deleted");
        bench.settle();
    };
    free_room(&mut bench, "first");
    assert_eq!(bench.read(Resource::Pod, "fine")["status"]["phase"], "Pending");
    let started = |bench: &Bench| {
        let names = bench.commands.iter().filter_map(|command| match command {
            Command::Start(assignment) => Some(assignment.name.to_string()),
            _ => None,
        });
        names.collect::<Vec<String>>()
    };
    assert_eq!(started(&bench), ["fine"]);
    free_room(&mut bench, "fine");
    let wild = bench.read(Resource::Pod, "wild");
    assert_eq!(wild["status"]["phase"], "Failed");
    assert_eq!(wild["status"]["reason"], "PodSecurity");
    assert_eq!(
        wild["status"]["message"],
        "violates PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)"
    );
    assert!(bench.reasons("Pod", "wild").contains(&"PodSecurity".to_owned()));
    assert_eq!(started(&bench), ["fine"], "neither of the others was started");
    assert!(bench.journal.audit.iter().any(|entry| entry.body["action"] == "refused-at-start"));
    let pods = bench.list(Resource::Pod);
    let of_job =
        pods.iter().find(|pod| pod["metadata"]["name"].as_str().is_some_and(|name| name.starts_with("j-")));
    assert_eq!(of_job.expect("the Job's pod")["status"]["reason"], "PodSecurity");
    // The Job tries again, and is told so.
    bench.sleep(60);
    assert!(bench.reasons("Job", "j").contains(&"FailedCreate".to_owned()), "no other is made");
    assert_eq!(started(&bench), ["fine"]);
}

/// Every published fixture, as a request: a pod is let in or refused with the words that it must have, a template is warned
/// about with the same.
#[test]
fn every_fixture_has_kubernetes_answer() {
    let mut bench = Bench::new();
    let mut wrong = Vec::new();
    let fixtures = all_fixtures();
    let mut labelled = String::new();
    for fixture in &fixtures {
        let policy = fixture.policy.to_string();
        if policy != labelled {
            let (level, version) = policy.split_once(':').expect("a level and a version");
            relabel(&mut bench, &[("enforce", level), ("enforce-version", version)]);
            labelled.clone_from(&policy);
        }
        let dry = |object: Value| {
            let mut request = super::create_request(object);
            request.options.dry_run = DryRun::All;
            request
        };
        let pod = bench.write(dry(fixture.pod.clone()));
        let mut template = json!({"metadata": fixture.pod["metadata"], "spec": fixture.pod["spec"]});
        template["metadata"].as_object_mut().expect("metadata").shift_remove("name");
        template["spec"]["restartPolicy"] = "Never".into();
        let job = bench.write(dry(json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}, "spec": {"template": template},
        })));
        let is_right = match (&pod, &job, fixture.refused) {
            (Ok(_), Ok(job), None) => !job.warnings.iter().any(|warning| warning.contains("PodSecurity")),
            (Err(error), Ok(job), Some(words)) => {
                let warned =
                    job.warnings.iter().any(|w| w.contains("would violate PodSecurity") && w.contains(words));
                error.reason == Reason::Forbidden && error.message.contains(words) && warned
            }
            // The one case that Kubernetes' validation refuses before admission is asked, at the template too.
            (Err(pod), Err(job), Some("procMount")) => {
                let is_invalid = |error: &watchbell_api::ApiError| {
                    error.reason == Reason::Invalid && error.message.contains("procMount")
                };
                fixture.pod["spec"]["hostUsers"] == true && is_invalid(pod) && is_invalid(job)
            }
            _ => false,
        };
        if !is_right {
            let said = |answer: Result<crate::request::Written, watchbell_api::ApiError>| match answer {
                Ok(written) => format!("{:?}", written.warnings),
                Err(error) => error.message,
            };
            wrong.push(format!("{}:\n  pod: {}\n  job: {}", fixture.name, said(pod), said(job)));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), fixtures.len(), wrong.join("\n"));
}
