use super::{Resource, check, job_yaml};

#[track_caller]
fn rule(rule: &str, expected: &[&str]) {
    check(Resource::Job, &job_yaml(&format!("podFailurePolicy: {{rules: [{rule}]}}")), expected);
}

#[test]
fn pod_failure_policy() {
    rule("{action: FailJob, onExitCodes: {containerName: c, operator: In, values: [1, 42]}}", &[]);
    rule("{action: Ignore, onPodConditions: [{type: DisruptionTarget, status: 'True'}]}", &[]);
    const AT: &str = "spec.podFailurePolicy.rules[0]";
    rule(
        "{action: FailIndex, onExitCodes: {operator: NotIn, values: [0]}}",
        &[&format!("{AT}.action: Invalid value: \"FailIndex\": requires the backoffLimitPerIndex to be set")],
    );
    rule(
        "{onExitCodes: {values: [3, 1, 1], containerName: x}}",
        &[
            &format!(
                "{AT}.action: Required value: valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]"
            ),
            &format!("{AT}.onExitCodes.operator: Required value: valid values: [\"In\" \"NotIn\"]"),
            &format!(
                "{AT}.onExitCodes.containerName: Invalid value: \"x\": must be one of the container or initContainer names in the pod template"
            ),
            &format!("{AT}.onExitCodes.values[2]: Duplicate value: 1"),
            &format!("{AT}.onExitCodes.values: Invalid value: [3,1,1]: must be ordered"),
        ],
    );
    rule(
        "{action: Fail, onExitCodes: {operator: In, values: [0]}}",
        &[
            &format!(
                "{AT}.action: Unsupported value: \"Fail\": supported values: \"Count\", \"FailIndex\", \"FailJob\", \"Ignore\""
            ),
            &format!("{AT}.onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator"),
        ],
    );
    rule(
        "{action: Count}",
        &[&format!("{AT}: Invalid value: specifying one of OnExitCodes and OnPodConditions is required")],
    );
    rule(
        "{action: Count, onExitCodes: {operator: In, values: []}, onPodConditions: [{type: a b, status: Yes!}]}",
        &[
            &format!("{AT}.onExitCodes.values: Invalid value: []: at least one value is required"),
            &format!(
                "{AT}.onPodConditions[0].type: Invalid value: \"a b\": name part must consist of alphanumeric characters, '-', \
                 '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or \
                 '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
            ),
            &format!(
                "{AT}.onPodConditions[0].status: Unsupported value: \"Yes!\": supported values: \"False\", \"True\", \"Unknown\""
            ),
            &format!("{AT}: Invalid value: specifying both OnExitCodes and OnPodConditions is not supported"),
        ],
    );
    let many = vec!["{action: Count, onPodConditions: [{type: a}]}"; 21].join(", ");
    rule(&many, &["spec.podFailurePolicy.rules: Too many: 21: must have at most 20 items"]);
    let codes: Vec<String> = (1..=256).map(|n| n.to_string()).collect();
    rule(
        &format!("{{action: Count, onExitCodes: {{operator: In, values: [{}]}}}}", codes.join(",")),
        &[&format!("{AT}.onExitCodes.values: Too many: 256: must have at most 255 items")],
    );
}

#[test]
fn pod_replacement_policy() {
    check(Resource::Job, &job_yaml("podReplacementPolicy: TerminatingOrFailed"), &[]);
    check(
        Resource::Job,
        &job_yaml("podReplacementPolicy: Never"),
        &[
            "spec.podReplacementPolicy: Unsupported value: \"Never\": supported values: \"Failed\", \"TerminatingOrFailed\"",
        ],
    );
    check(
        Resource::Job,
        &job_yaml("podReplacementPolicy: TerminatingOrFailed\npodFailurePolicy: {rules: []}"),
        &[
            "spec.podReplacementPolicy: Unsupported value: \"TerminatingOrFailed\": supported values: \"Failed\"",
        ],
    );
}

#[test]
fn success_policy() {
    let policy = |rules: &str, expected: &[&str]| {
        let fields = format!("completionMode: Indexed\ncompletions: 10\nsuccessPolicy: {{rules: [{rules}]}}");
        check(Resource::Job, &job_yaml(&fields), expected);
    };
    policy("{succeededIndexes: '0,2-5,9', succeededCount: 6}", &[]);
    policy("{succeededCount: 10}", &[]);
    const RULES: &str = "spec.successPolicy.rules";
    policy(
        "",
        &[&format!(
            "{RULES}: Required value: at least one rules must be specified when the successPolicy is specified"
        )],
    );
    policy(
        "{}",
        &[&format!(
            "{RULES}[0]: Required value: at least one of succeededCount or succeededIndexes must be specified"
        )],
    );
    policy(
        "{succeededIndexes: '1-3', succeededCount: 4}",
        &[&format!(
            "{RULES}[0].succeededCount: Invalid value: 4: must be less than or equal to 3 (the number of indexes in the \
             specified succeededIndexes field)"
        )],
    );
    policy(
        "{succeededCount: 11}",
        &[&format!(
            "{RULES}[0].succeededCount: Invalid value: 11: must be less than or equal to 10 (the number of specified completions)"
        )],
    );
    for (indexes, detail) in [
        ("10", "too large index: \"10\""),
        ("a", "cannot convert string to integer for index: \"a\""),
        ("1,", "cannot convert string to integer for index: \"\""),
        ("3,1", "non-increasing order, previous: 3, current: 1"),
        ("5-2", "non-increasing order, previous: 5, current: 2"),
        ("99999999999999999999", "cannot convert string to integer for index: \"99999999999999999999\""),
        (
            "1-2-3",
            "the fragment \"1-2-3\" violates the requirement that an index interval can have at most two parts separated by '-'",
        ),
    ] {
        policy(
            &format!("{{succeededIndexes: '{indexes}'}}"),
            &[&format!(
                "{RULES}[0].succeededIndexes: Invalid value: \"{indexes}\": error parsing succeededIndexes: {detail}"
            )],
        );
    }
    check(
        Resource::Job,
        &job_yaml("successPolicy: {rules: [{succeededCount: 1}]}"),
        &[
            "spec.successPolicy: Invalid value: {\"rules\":[{\"succeededCount\":1}]}: requires indexed completion mode",
        ],
    );
}
