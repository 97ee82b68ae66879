use super::{Resource, check, check_update, container_yaml, job_yaml, pod_yaml};

#[track_caller]
fn job(old: &str, new: &str, expected: &[&str]) {
    check_update(Resource::Job, &job_yaml(old), &job_yaml(new), expected);
}

#[test]
fn jobs_keep_what_decides_their_pods() {
    job("parallelism: 2\nsuspend: true\nbackoffLimit: 3", "parallelism: 9\nttlSecondsAfterFinished: 4", &[]);
    job(
        "completions: 2\ncompletionMode: NonIndexed",
        "completions: 3\nmanagedBy: example.com/x",
        &[
            "spec.completions: Invalid value: 3: field is immutable",
            "spec.managedBy: Invalid value: \"example.com/x\": field is immutable",
        ],
    );
    job(
        "completions: 5\ncompletionMode: Indexed\nbackoffLimitPerIndex: 1",
        "completions: 5\ncompletionMode: NonIndexed",
        &[
            "spec.completionMode: Invalid value: \"NonIndexed\": field is immutable",
            "spec.backoffLimitPerIndex: Invalid value: null: field is immutable",
        ],
    );
    job(
        "podFailurePolicy: {rules: []}",
        "podFailurePolicy: {rules: [{action: Ignore, onPodConditions: [{type: x}]}]}",
        &[
            "spec.podFailurePolicy: Invalid value: {\"rules\":[{\"action\":\"Ignore\",\"onPodConditions\":[{\"type\":\"x\",\
           \"status\":\"True\"}]}]}: field is immutable",
        ],
    );
    let other = job_yaml("suspend: false").replace("a: b", "a: c");
    check_update(
        Resource::Job,
        &job_yaml("suspend: false"),
        &other,
        &[
            "spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"c\"}}: field is immutable",
            &format!(
                "spec.template: Invalid value: {}: field is immutable",
                "{\"metadata\":{\"labels\":{\"a\":\"c\"}},\"spec\":{\"restartPolicy\":\"Never\",\"containers\":[{\"name\":\"c\",\
                 \"image\":\"i\",\"resources\":{},\"terminationMessagePath\":\"/dev/termination-log\",\
                 \"terminationMessagePolicy\":\"File\",\"imagePullPolicy\":\"Always\"}],\"dnsPolicy\":\"ClusterFirst\",…"
            ),
        ],
    );
}

#[test]
fn arrays_grow_and_shrink_with_their_parallelism() {
    job(
        "completionMode: Indexed\ncompletions: 5\nparallelism: 5",
        "completionMode: Indexed\ncompletions: 7\nparallelism: 7",
        &[],
    );
    job(
        "completionMode: Indexed\ncompletions: 5\nparallelism: 5",
        "completionMode: Indexed\ncompletions: 7\nparallelism: 5",
        &["spec.completions: Invalid value: 7: can only be modified in tandem with spec.parallelism"],
    );
}

#[test]
fn a_suspended_job_may_still_be_directed() {
    let template = |suspend: bool, status: &str, extra: &str, image: &str| {
        let job = job_yaml(&format!("suspend: {suspend}"))
            .replace("restartPolicy: Never", &format!("restartPolicy: Never\n      {extra}"))
            .replace("image: i", &format!("image: {image}"));
        format!("{job}{status}")
    };
    let directives =
        "nodeSelector: {a: b}\n      tolerations: [{operator: Exists}]\n      affinity: {nodeAffinity: {}}";
    let plain = "enableServiceLinks: true";
    let directed = format!("{plain}\n      {directives}");
    let update = |old: &str, new: &str, errors: usize| {
        let (old, new) = (super::object(Resource::Job, old), super::object(Resource::Job, new));
        let found = super::update(Resource::Job, &old, &new);
        assert_eq!(found.len(), errors, "{found:?}");
        assert!(found.iter().all(|e| e.field == "spec.template" && e.detail == "field is immutable"));
    };
    update(&template(true, "", plain, "i"), &template(true, "", &directed, "i"), 0);
    update(&template(true, "", &directed, "i"), &template(false, "", plain, "i"), 0);
    update(
        &template(true, "", plain, "i, resources: {limits: {cpu: 1}}"),
        &template(true, "", plain, "i"),
        0,
    );
    update(&template(true, "", plain, "i"), &template(true, "", plain, "j"), 1);
    update(&template(false, "", plain, "i"), &template(false, "", &directed, "i"), 1);
    let running = "status: {startTime: 2026-11-25T10:00:00Z, active: 1}\n";
    update(&template(true, running, plain, "i"), &template(true, "", &directed, "i"), 1);
}

#[test]
fn cron_jobs_may_change_but_keep_their_words() {
    const TEMPLATE: &str =
        "jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}}";
    let cron = |old: &str, new: &str, expected: &[&str]| {
        let yaml =
            |fields: &str| format!("metadata: {{name: {}}}\nspec: {{{fields}, {TEMPLATE}}}", "a".repeat(60));
        check_update(Resource::CronJob, &yaml(old), &yaml(new), expected);
    };
    cron("schedule: x", "schedule: z, suspend: true", &[]);
    cron("schedule: TZ=UTC x", "schedule: TZ=UTC z", &[]);
    cron(
        "schedule: TZ=UTC x",
        "schedule: TZ=UTC x, timeZone: UTC",
        &[
            "spec.schedule: Invalid value: \"TZ=UTC x\": cannot use both timeZone field and TZ or CRON_TZ in schedule",
        ],
    );
    cron(
        "schedule: x",
        "schedule: TZ=UTC x",
        &[
            "spec.schedule: Invalid value: \"TZ=UTC x\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
        ],
    );
}

#[track_caller]
fn pod(old: &str, new: &str, expected: &[&str]) {
    check_update(Resource::Pod, &pod_yaml(old), &pod_yaml(new), expected);
}

#[test]
fn pods_hardly_change() {
    let with_image =
        |image: &str| pod_yaml("tolerations: []").replace("image: i", &format!("image: {image}"));
    check_update(Resource::Pod, &with_image("i:1"), &with_image("i:2"), &[]);
    pod("activeDeadlineSeconds: 9", "activeDeadlineSeconds: 8\ntolerations: [{operator: Exists}]", &[]);
    pod("hostname: a", "hostname: a\nactiveDeadlineSeconds: 5", &[]);
    pod(
        "activeDeadlineSeconds: 9",
        "activeDeadlineSeconds: 10",
        &["spec.activeDeadlineSeconds: Invalid value: 10: must be less than or equal to previous value"],
    );
    pod(
        "activeDeadlineSeconds: 9",
        "hostNetwork: false",
        &[
            "spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value",
        ],
    );
    pod(
        "tolerations: [{key: a, operator: Exists}]",
        "tolerations: [{key: b, operator: Exists}]",
        &[
            "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds",
        ],
    );
    pod("schedulingGates: [{name: a}, {name: b}]", "schedulingGates: [{name: b}]\nnodeSelector: {a: b}", &[]);
    pod(
        "schedulingGates: [{name: b}]",
        "schedulingGates: [{name: c}]",
        &[
            "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'c'",
        ],
    );
    pod(
        "volumes: []",
        "hostNetwork: true",
        &["spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,\
           `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
           tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n\
           spec.hostNetwork was changed"],
    );
    let two = "spec: {containers: [{name: c, image: i}, {name: d, image: i}]}";
    check_update(
        Resource::Pod,
        &pod_yaml("volumes: []"),
        two,
        &["spec.containers: Forbidden: pod updates may not add or remove containers"],
    );
}

/// A pod that was made when the rules said less.
#[test]
fn a_spec_that_stays_is_not_judged_anew() {
    let above_limit = container_yaml("resources: {limits: {memory: 1Gi}, requests: {memory: 2Gi}}");
    let windows = pod_yaml("os: {name: windows}\nhostPID: true");
    let refusals = [
        "spec.containers[0].resources.requests: Invalid value: \"2Gi\": must be less than or equal to memory limit of 1Gi",
        "spec.hostPID: Forbidden: cannot be set for a windows pod",
    ];
    for (yaml, refusal) in [above_limit, windows].iter().zip(refusals) {
        check(Resource::Pod, yaml, &[refusal]);
        let held = format!("metadata: {{finalizers: [example.com/a]}}\n{yaml}");
        check_update(Resource::Pod, &held, yaml, &[]);
        check_update(Resource::Pod, yaml, &format!("metadata: {{labels: {{a: b}}}}\n{yaml}"), &[]);
        check_update(Resource::Pod, yaml, &yaml.replace("image: i", "image: j"), &[refusal]);
    }
}

#[test]
fn what_was_declared_immutable_stays() {
    const DETAIL: &str = "Forbidden: field is immutable when `immutable` is set";
    check_update(Resource::ConfigMap, "data: {a: b}", "data: {a: c}\nimmutable: true", &[]);
    check_update(
        Resource::ConfigMap,
        "data: {a: b}\nimmutable: true",
        "data: {a: c}",
        &[&format!("immutable: {DETAIL}"), &format!("data: {DETAIL}")],
    );
    check_update(
        Resource::Secret,
        "stringData: {a: b}\nimmutable: true",
        "stringData: {a: c}\nimmutable: true\ntype: other",
        &["type: Invalid value: \"other\": field is immutable", &format!("data: {DETAIL}")],
    );
    check(Resource::Secret, "stringData: {a: b}\nimmutable: true", &[]);
}

#[test]
fn what_is_being_deleted_gets_no_finalizer() {
    check_update(
        Resource::ConfigMap,
        "metadata: {deletionTimestamp: 2026-11-25T10:00:00Z, finalizers: [a/b]}",
        "metadata: {finalizers: [a/c]}",
        &[
            "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers [\"a/c\"]",
        ],
    );
}
