use serde_json::json;

use super::{Resource, check, create, job_yaml, object};

#[track_caller]
fn job(fields: &str, expected: &[&str]) {
    check(Resource::Job, &job_yaml(fields), expected);
}

#[test]
fn numbers() {
    job("completions: 0", &[]);
    for field in
        ["parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"]
    {
        let expected = format!("spec.{field}: Invalid value: -1: must be greater than or equal to 0");
        job(&format!("{field}: -1"), &[&expected]);
    }
}

#[test]
fn indexed() {
    job("completionMode: Indexed\ncompletions: 24\nparallelism: 3", &[]);
    job(
        "completionMode: Indexed\nparallelism: 3",
        &["spec.completions: Required value: when completion mode is Indexed"],
    );
    job(
        "completionMode: Indexed\ncompletions: 5\nparallelism: 100001",
        &[
            "spec.parallelism: Invalid value: 100001: must be less than or equal to 100000 when completion mode is Indexed",
        ],
    );
    job(
        "completionMode: indexed",
        &[
            "spec.completionMode: Unsupported value: \"indexed\": supported values: \"NonIndexed\", \"Indexed\"",
        ],
    );
    job(
        "completionMode: ''",
        &["spec.completionMode: Unsupported value: \"\": supported values: \"NonIndexed\", \"Indexed\""],
    );
}

#[test]
fn limits_for_each_index() {
    job("completionMode: Indexed\ncompletions: 9\nbackoffLimitPerIndex: 1\nmaxFailedIndexes: 9", &[]);
    job(
        "backoffLimitPerIndex: 1\nmaxFailedIndexes: 1",
        &[
            "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode",
            "spec.maxFailedIndexes: Invalid value: 1: requires indexed completion mode",
        ],
    );
    job(
        "completionMode: Indexed\ncompletions: 9\nmaxFailedIndexes: 10",
        &[
            "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
            "spec.maxFailedIndexes: Invalid value: 10: must be less than or equal to completions",
        ],
    );
    job(
        "completionMode: Indexed\ncompletions: 200000\nparallelism: 20000\nbackoffLimitPerIndex: 1",
        &[
            "spec.maxFailedIndexes: Required value: must be specified when completions is above 100000",
            "spec.parallelism: Invalid value: 20000: must be less than or equal to 10000 when completions are above 100000 and \
             used with backoff limit per index",
        ],
    );
    job(
        "completionMode: Indexed\ncompletions: 200000\nbackoffLimitPerIndex: 1\nmaxFailedIndexes: 10001",
        &[
            "spec.maxFailedIndexes: Invalid value: 10001: must be less than or equal to 10000 when completions are above 100000 \
           and used with backoff limit per index",
        ],
    );
    job(
        "completionMode: Indexed\ncompletions: 100001\nbackoffLimitPerIndex: 1\nmaxFailedIndexes: 100001",
        &[
            "spec.maxFailedIndexes: Invalid value: 100001: must be less than or equal to 100000",
            "spec.maxFailedIndexes: Invalid value: 100001: must be less than or equal to 10000 when completions are above \
             100000 and used with backoff limit per index",
        ],
    );
}

#[test]
fn restart_policies() {
    let with = |policy: &str, extra: &str, expected: &[&str]| {
        let yaml = job_yaml(extra).replace("restartPolicy: Never", policy);
        check(Resource::Job, &yaml, expected);
    };
    with("restartPolicy: OnFailure", "suspend: true", &[]);
    const NEEDED: &str =
        "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"";
    with("restartPolicy: Always", "suspend: true", &[NEEDED]);
    with("hostname: h", "suspend: true", &[NEEDED]);
    with(
        "restartPolicy: Sometimes",
        "suspend: true",
        &[
            "spec.template.spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \
             \"Never\"",
            "spec.template.spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"OnFailure\", \"Never\"",
        ],
    );
    with(
        "restartPolicy: OnFailure",
        "podFailurePolicy: {rules: [{action: Ignore, onPodConditions: [{type: DisruptionTarget}]}]}",
        &[
            "spec.template.spec.restartPolicy: Invalid value: \"OnFailure\": only \"Never\" is supported when podFailurePolicy is \
           specified",
        ],
    );
}

#[test]
fn managers() {
    job("managedBy: example.com/x", &[]);
    for bad in ["x", "/x", "example.com/"] {
        let expected = format!(
            "spec.managedBy: Invalid value: \"{bad}\": must be a domain-prefixed path (such as \"acme.io/foo\")"
        );
        job(&format!("managedBy: {bad}"), &[&expected]);
    }
    job(
        &format!("managedBy: example.com/{}", "x".repeat(60)),
        &["spec.managedBy: Too long: may not be more than 63 bytes"],
    );
}

#[test]
fn selectors() {
    let mut generated = object(
        Resource::Job,
        "metadata: {name: a, uid: u}\nspec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}",
    );
    let found = create(Resource::Job, &generated);
    assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), ["spec.selector: Required value"]);
    generated["spec"]["selector"] = json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}});
    generated["spec"]["template"]["metadata"] = json!({"labels": {
        "batch.kubernetes.io/controller-uid": "u", "batch.kubernetes.io/job-name": "a", "controller-uid": "u", "job-name": "a",
    }});
    assert_eq!(create(Resource::Job, &generated), []);
    generated["spec"]["template"]["metadata"]["labels"]["job-name"] = json!("b");
    generated["spec"]["selector"]["matchLabels"]["x"] = json!("y");
    let found: Vec<String> = create(Resource::Job, &generated).iter().map(ToString::to_string).collect();
    assert_eq!(found[0], "spec.template.metadata.labels[job-name]: Invalid value: \"b\": must be 'a'");
    assert!(found[1].ends_with("`selector` not auto-generated"), "{}", found[1]);
    assert!(found[2].ends_with("`selector` does not match template `labels`"), "{}", found[2]);
}

#[test]
fn the_hostname_of_the_last_index_is_a_label() {
    let named = |length: usize, expected: &[&str]| {
        let name = "a".repeat(length);
        let yaml = job_yaml("completionMode: Indexed\ncompletions: 101")
            .replace("name: a,", &format!("name: {name},"));
        check(Resource::Job, &yaml, expected);
    };
    named(59, &[]);
    let expected = format!(
        "metadata.name: Invalid value: {:?}: will not able to create pod with invalid DNS label: {}-100",
        "a".repeat(60),
        "a".repeat(60)
    );
    named(60, &[&expected]);
}

#[test]
fn cron_jobs() {
    const TEMPLATE: &str =
        "jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}}";
    let cron = |fields: &str, expected: &[&str]| {
        check(
            Resource::CronJob,
            &format!("spec:\n  {}\n  {TEMPLATE}", fields.replace('\n', "\n  ")),
            expected,
        );
    };
    cron("schedule: '* * * * *'\ntimeZone: Europe/Berlin", &[]);
    cron("schedule: ''", &["spec.schedule: Required value"]);
    cron(
        "schedule: 'TZ=UTC * * * * *'",
        &[
            "spec.schedule: Invalid value: \"TZ=UTC * * * * *\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
        ],
    );
    cron(
        "schedule: x\ntimeZone: ''",
        &["spec.timeZone: Invalid value: \"\": timeZone must be nil or non-empty string"],
    );
    cron(
        "schedule: x\ntimeZone: local",
        &[
            "spec.timeZone: Invalid value: \"local\": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
        ],
    );
    for bad in ["../etc/passwd", "a b", "/UTC", "Europe//Berlin", "-x"] {
        let expected = format!("spec.timeZone: Invalid value: \"{bad}\": unknown time zone {bad}");
        cron(&format!("schedule: x\ntimeZone: '{bad}'"), &[&expected]);
    }
    cron(
        "schedule: x\nconcurrencyPolicy: Never",
        &[
            "spec.concurrencyPolicy: Unsupported value: \"Never\": supported values: \"Allow\", \"Forbid\", \"Replace\"",
        ],
    );
    for field in ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        let expected = format!("spec.{field}: Invalid value: -1: must be greater than or equal to 0");
        cron(&format!("schedule: x\n{field}: -1"), &[&expected]);
    }
    let name = "a".repeat(53);
    check(
        Resource::CronJob,
        &format!("metadata: {{name: {name}}}\nspec: {{schedule: x, {TEMPLATE}}}"),
        &[&format!("metadata.name: Invalid value: \"{name}\": must be no more than 52 characters")],
    );
    check(
        Resource::CronJob,
        "spec: {schedule: x, jobTemplate: {spec: {manualSelector: true, selector: {}, backoffLimit: -1, template: {spec: {}}}}}",
        &[
            "spec.jobTemplate.spec.backoffLimit: Invalid value: -1: must be greater than or equal to 0",
            "spec.jobTemplate.spec.template.spec.containers: Required value",
            "spec.jobTemplate.spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
            "spec.jobTemplate.spec.selector: Invalid value: {}: `selector` will be auto-generated",
            "spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: \"nil\", \"false\"",
        ],
    );
}
