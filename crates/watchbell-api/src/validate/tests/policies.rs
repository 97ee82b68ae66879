use serde_json::json;

use super::super::other_form;
use super::{Resource, check, check_update, object};

#[test]
fn limit_ranges() {
    let check = |item: &str, expected: &[&str]| {
        check(Resource::LimitRange, &format!("spec: {{limits: [{item}]}}"), expected);
    };
    check("{type: Container, max: {cpu: 2, memory: 1Gi}, min: {cpu: 100m}, default: {cpu: 1}}", &[]);
    check("{type: Pod, max: {cpu: 2}, min: {cpu: 1}, maxLimitRequestRatio: {cpu: 2}}", &[]);
    check("{type: PersistentVolumeClaim, max: {storage: 10Gi}}", &[]);
    check("{type: example.com/Thing, max: {storage: 10Gi}}", &[]);
    check(
        "{type: Node}",
        &["spec.limits[0].type: Invalid value: \"Node\": must be a standard limit type or fully qualified"],
    );
    check("{type: Pod}, {type: Pod}", &["spec.limits[1].type: Duplicate value: \"Pod\""]);
    check(
        "{type: Pod, default: {cpu: 1}, defaultRequest: {cpu: 1}}",
        &[
            "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'",
            "spec.limits[0].defaultRequest: Forbidden: may not be specified when `type` is 'Pod'",
        ],
    );
    check(
        "{type: PersistentVolumeClaim}",
        &[
            "spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither \
           was provided",
        ],
    );
    check(
        "{type: Container, max: {pods: 1}}",
        &[
            "spec.limits[0].max[pods]: Invalid value: \"pods\": must be a standard resource for containers",
            "spec.limits[0].default[pods]: Invalid value: \"pods\": must be a standard resource for containers",
            "spec.limits[0].defaultRequest[pods]: Invalid value: \"pods\": must be a standard resource for containers",
        ],
    );
    check(
        "{type: Pod, min: {cpu: 2}, max: {cpu: 1}}",
        &["spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1"],
    );
    check(
        "{type: Container, min: {cpu: 2}, defaultRequest: {cpu: 1}, default: {cpu: 500m}, max: {cpu: 400m}}",
        &[
            "spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 400m",
            "spec.limits[0].defaultRequest[cpu]: Invalid value: \"1\": min value 2 is greater than default request value 1",
            "spec.limits[0].defaultRequest[cpu]: Invalid value: \"1\": default request value 1 is greater than max value 400m",
            "spec.limits[0].defaultRequest[cpu]: Invalid value: \"1\": default request value 1 is greater than default \
             limit value 500m",
            "spec.limits[0].default[cpu]: Invalid value: \"500m\": min value 2 is greater than default value 500m",
            "spec.limits[0].default[cpu]: Invalid value: \"500m\": default value 500m is greater than max value 400m",
        ],
    );
    check(
        "{type: Pod, maxLimitRequestRatio: {cpu: 800m}}",
        &["spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"800m\": ratio 800m is less than 1"],
    );
    check(
        "{type: Pod, min: {cpu: 1}, max: {cpu: 2}, maxLimitRequestRatio: {cpu: 3}}",
        &[
            "spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"3\": ratio 3 is greater than max/min = 2.000000",
        ],
    );
    check(
        "{type: Container, default: {example.com/gpu: 2}, defaultRequest: {example.com/gpu: 1}}",
        &[
            "spec.limits[0].defaultRequest[example.com/gpu]: Invalid value: \"1\": default value 2 must equal to \
           defaultRequest value 1 in example.com/gpu",
        ],
    );
    check_update(
        Resource::LimitRange,
        "spec: {limits: []}",
        "spec: {limits: [{type: Pod, min: {cpu: 2}, max: {cpu: 1}}]}",
        &["spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1"],
    );
}

#[test]
fn resource_quotas() {
    let check = |spec: &str, expected: &[&str]| {
        check(Resource::ResourceQuota, &format!("spec: {spec}"), expected);
    };
    check("{hard: {pods: 10, requests.cpu: 4, count/jobs.batch: 5, requests.nvidia.com/gpu: 2}}", &[]);
    check("{hard: {pods: 10, cpu: 1}, scopes: [NotTerminating]}", &[]);
    check(
        "{hard: {pods: 10}, scopeSelector: {matchExpressions: [{scopeName: PriorityClass, operator: In, values: [a]}]}}",
        &[],
    );
    check(
        "{hard: {storage: 1, planets: 2, pods: -1, secrets: 500m}}",
        &[
            "spec.hard[storage]: Invalid value: \"storage\": must be a standard resource for quota",
            "spec.hard[planets]: Invalid value: \"planets\": must be a standard resource type or fully qualified",
            "spec.hard[planets]: Invalid value: \"planets\": must be a standard resource for quota",
            "spec.hard[pods]: Invalid value: \"-1\": must be greater than or equal to 0",
            "spec.hard[secrets]: Invalid value: \"500m\": must be an integer",
        ],
    );
    check(
        "{hard: {cpu: 1}, scopes: [BestEffort]}",
        &["spec.scopes: Invalid value: [\"BestEffort\"]: unsupported scope applied to resource"],
    );
    check("{hard: {pods: 1}, scopes: [Big]}", &["spec.scopes: Invalid value: [\"Big\"]: unsupported scope"]);
    check(
        "{hard: {pods: 1}, scopes: [BestEffort, NotBestEffort]}",
        &["spec.scopes: Invalid value: [\"BestEffort\",\"NotBestEffort\"]: conflicting scopes"],
    );
    let selector = |requirement: &str, expected: &[&str]| {
        check(
            &format!("{{hard: {{pods: 1}}, scopeSelector: {{matchExpressions: [{requirement}]}}}}"),
            expected,
        );
    };
    selector(
        "{scopeName: PriorityClass, operator: In}",
        &[
            "spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is \
           'In' or 'NotIn' for scope selector",
        ],
    );
    selector(
        "{scopeName: PriorityClass, operator: Like, values: [a]}",
        &[
            "spec.scopeSelector.matchExpressions.operator: Invalid value: \"Like\": not a valid selector operator",
        ],
    );
    selector(
        "{scopeName: Terminating, operator: DoesNotExist}",
        &[
            "spec.scopeSelector.matchExpressions.operator: Invalid value: \"DoesNotExist\": must be 'Exist' when scope is \
           any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, \
           ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity",
        ],
    );
    let quota = |scopes: &str| format!("spec: {{hard: {{pods: 1}}, scopes: [{scopes}]}}");
    let check = |old: &str, new: &str, expected: &[&str]| {
        check_update(Resource::ResourceQuota, &quota(old), &quota(new), expected);
    };
    check("Terminating", "Terminating", &[]);
    check("Terminating", "", &["spec.scopes: Invalid value: null: field is immutable"]);
    check_update(Resource::ResourceQuota, "spec: {hard: {pods: 1}}", "spec: {hard: {pods: 2}}", &[]);
}

#[test]
fn network_policies() {
    let check = |spec: &str, expected: &[&str]| {
        check(Resource::NetworkPolicy, &format!("spec: {{podSelector: {{}}, {spec}}}"), expected);
    };
    check("", &[]);
    check("ingress: [{}]", &[]);
    let names = |names: &str, expected: &[&str]| {
        let object = format!(
            "metadata: {{annotations: {{watchbell.dev/egress-names: '{names}'}}}}\nspec: {{podSelector: {{}}}}"
        );
        super::check(Resource::NetworkPolicy, &object, expected);
    };
    names("[\"data.example:443\"]", &[]);
    names(
        "[\"data.example\"]",
        &[
            "metadata.annotations[watchbell.dev/egress-names]: Invalid value: \"[\\\"data.example\\\"]\": item 0: \"data.example\" has no \
           port: write NAME:PORT or NAME:FIRST-LAST",
        ],
    );
    check(
        "egress: [{ports: [{port: 80, endPort: 90}, {port: web, protocol: UDP}], to: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}]}]",
        &[],
    );
    check("ingress: [{from: [{podSelector: {}, namespaceSelector: {}}]}]", &[]);
    check("ingress: [{from: [{}]}]", &["spec.ingress[0].from[0]: Required value: must specify a peer"]);
    check(
        "egress: [{to: [{podSelector: {}, ipBlock: {cidr: '::/0'}}]}]",
        &["spec.egress[0].to[0]: Forbidden: may not specify both ipBlock and another peer"],
    );
    let port = |port: &str, expected: &[&str]| check(&format!("ingress: [{{ports: [{port}]}}]"), expected);
    port(
        "{port: 0}",
        &["spec.ingress[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"],
    );
    port(
        "{port: 80, endPort: 79}",
        &["spec.ingress[0].ports[0].endPort: Invalid value: 79: must be greater than or equal to `port`"],
    );
    port(
        "{port: web, endPort: 79}",
        &[
            "spec.ingress[0].ports[0].endPort: Invalid value: 79: may not be specified when `port` is non-numeric",
        ],
    );
    port(
        "{endPort: 79}",
        &[
            "spec.ingress[0].ports[0].endPort: Invalid value: 79: may not be specified when `port` is not specified",
        ],
    );
    port(
        "{protocol: ICMP}",
        &[
            "spec.ingress[0].ports[0].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
        ],
    );
    let block = |block: &str, expected: &[&str]| {
        check(&format!("egress: [{{to: [{{ipBlock: {block}}}]}}]"), expected);
    };
    const AT: &str = "spec.egress[0].to[0].ipBlock";
    const CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
    block("{cidr: ''}", &[&format!("{AT}.cidr: Required value")]);
    for wrong in ["10.0.0.0", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/+8", "10.0.0.0/"] {
        block(&format!("{{cidr: '{wrong}'}}"), &[&format!("{AT}.cidr: Invalid value: \"{wrong}\": {CIDR}")]);
    }
    for (except, part) in
        [("11.0.0.0/16", false), ("10.0.0.0/8", false), ("::/64", false), ("10.2.0.0/32", true)]
    {
        let expected =
            format!("{AT}.except[0]: Invalid value: \"{except}\": must be a strict subset of `cidr`");
        let expected: &[&str] = if part { &[] } else { &[&expected] };
        block(&format!("{{cidr: 10.0.0.0/8, except: ['{except}']}}"), expected);
    }
    check(
        "policyTypes: [Ingress, Sideways]",
        &["spec.policyTypes[1]: Unsupported value: \"Sideways\": supported values: \"Egress\", \"Ingress\""],
    );
}

#[test]
fn priority_classes() {
    let check = |name: &str, rest: &str, expected: &[&str]| {
        super::check(Resource::PriorityClass, &format!("metadata: {{name: {name}}}\n{rest}"), expected);
    };
    check("high", "value: 1000000000\nglobalDefault: true", &[]);
    check("low", "value: -5\npreemptionPolicy: Never", &[]);
    check("system-node-critical", "value: 2000001000", &[]);
    check(
        "high",
        "value: 1000000001",
        &["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"],
    );
    const SYSTEM: &str = "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system \
                          use only. error: ";
    check("system-mine", "value: 1", &[&format!("{SYSTEM}system-mine is not a known system priority class")]);
    check(
        "system-node-critical",
        "value: 1",
        &[&format!("{SYSTEM}value of system-node-critical PriorityClass must be 2000001000")],
    );
    check(
        "high",
        "value: 1\npreemptionPolicy: Sometimes",
        &[
            "preemptionPolicy: Unsupported value: \"Sometimes\": supported values: \"Never\", \"PreemptLowerPriority\"",
        ],
    );
    check_update(Resource::PriorityClass, "value: 1", "value: 1\ndescription: x", &[]);
    check_update(
        Resource::PriorityClass,
        "value: 1",
        "value: 2\npreemptionPolicy: Never",
        &[
            "value: Forbidden: may not be changed in an update.",
            "preemptionPolicy: Invalid value: \"Never\": field is immutable",
        ],
    );
}

#[test]
fn runtime_classes_and_leases() {
    let check = |yaml: &str, expected: &[&str]| check(Resource::RuntimeClass, yaml, expected);
    check("handler: runc\noverhead: {podFixed: {cpu: 10m}}\nscheduling: {nodeSelector: {a: b}}", &[]);
    check(
        "handler: Run_C",
        &[
            "handler: Invalid value: \"Run_C\": a lowercase RFC 1123 label must consist of lower case alphanumeric \
           characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', \
           regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
        ],
    );
    check(
        "handler: a\nscheduling: {tolerations: [{operator: Exists}, {operator: Exists}]}",
        &["scheduling.tolerations[1]: Duplicate value: {\"operator\":\"Exists\"}"],
    );
    check_update(
        Resource::RuntimeClass,
        "handler: a",
        "handler: b",
        &["handler: Invalid value: \"b\": field is immutable"],
    );
    let check = |yaml: &str, expected: &[&str]| super::check(Resource::Lease, yaml, expected);
    check("spec: {holderIdentity: me, leaseDurationSeconds: 15, leaseTransitions: 0}", &[]);
    check(
        "spec: {leaseDurationSeconds: 0, leaseTransitions: -1}",
        &[
            "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
            "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
        ],
    );
}

#[test]
fn events_of_the_newer_form() {
    let good = "involvedObject: {namespace: ns}\neventTime: 2026-01-01T00:00:00.000000Z\nreportingComponent: a/b\n\
                reportingInstance: i\naction: Run\nreason: Ran\ntype: Normal\n";
    let event = |rest: &str| object(Resource::Event, &format!("{good}{rest}"));
    let check = |rest: &str, expected: &[&str]| {
        let found = other_form(Resource::EventsEvent, None, &event(rest));
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{rest}");
    };
    check("", &[]);
    check("series: {count: 2, lastObservedTime: 2026-01-01T00:00:00.000000Z}", &[]);
    check(
        "series: {count: 1}",
        &[
            "series.count: Invalid value: \"\": should be at least 2",
            "series.lastObservedTime: Required value",
        ],
    );
    check(
        "count: 2\nsource: {component: x}\nfirstTimestamp: 2026-01-01T00:00:00Z",
        &[
            "firstTimestamp: Invalid value: \"\": needs to be unset",
            "count: Invalid value: \"\": needs to be unset",
            "source: Invalid value: \"\": needs to be unset",
        ],
    );
    let mut bare = event("");
    bare["eventTime"] = json!(null);
    bare["type"] = json!("Loud");
    let found = other_form(Resource::EventsEvent, None, &bare);
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(found, ["eventTime: Required value", "type: Invalid value: \"\": has invalid value: Loud"]);
    let mut changed = event("series: {count: 3, lastObservedTime: 2026-01-01T00:00:00.000000Z}");
    assert_eq!(other_form(Resource::EventsEvent, Some(&event("")), &changed), []);
    changed["reason"] = json!("Walked");
    let found = other_form(Resource::EventsEvent, Some(&event("")), &changed);
    assert_eq!(found[0].to_string(), "reason: Invalid value: \"Walked\": field is immutable");
    assert_eq!(other_form(Resource::Job, None, &bare), [], "only events have another form");
}
