//! Every kind by the real `kubectl`: applied, shown, changed, explained, deleted; and what is refused.

use serde_json::{Value, json};

use crate::harness::Harness;
use crate::kubectl::Kubectl;

const QUOTA: &str = "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: team}\nspec:\n  hard: {configmaps: '7', requests.cpu: '4'}\n";
const LIMITS: &str = "apiVersion: v1\nkind: LimitRange\nmetadata: {name: usual}\nspec:\n  limits:\n  - type: Container\n    max: {cpu: '2'}\n    default: {cpu: '2'}\n    defaultRequest: {cpu: '2'}\n";
const CLAIM: &str = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\nspec:\n  storageClassName: none\n  accessModes: [ReadWriteOnce]\n  resources: {requests: {storage: 1Gi}}\n";
const VOLUME: &str = "apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: disk}\nspec:\n  storageClassName: other\n  accessModes: [ReadWriteOnce, ReadOnlyMany]\n  capacity: {storage: 5Gi}\n  hostPath: {path: /srv/disk}\n";
const STORAGE: &str = "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: slow}\nprovisioner: example.com/tape\n";
const PRIORITY: &str = "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: high}\nvalue: 1000\ndescription: for what cannot wait\n";
const RUNTIME: &str =
    "apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {name: plain}\nhandler: watchbell\n";
const POLICY: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: shut}\nspec:\n  podSelector: {matchLabels: {app: db}}\n  ingress:\n  - ports: [{port: 5432, protocol: TCP}]\n";
const LEASE: &str = "apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {name: leader}\nspec: {holderIdentity: me, leaseDurationSeconds: 15}\n";
const ROLE: &str = "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: 'team:reader'}\nrules:\n- {apiGroups: [batch], resources: [jobs], verbs: [get, list]}\n";
const CLUSTER_ROLE: &str = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: 'team:look'}\nrules:\n- {nonResourceURLs: [/metrics], verbs: [get]}\n";
const BINDING: &str = "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: readers}\nroleRef: {kind: ClusterRole, name: view, apiGroup: rbac.authorization.k8s.io}\nsubjects:\n- {kind: User, name: ada, apiGroup: rbac.authorization.k8s.io}\n";
const CLUSTER_BINDING: &str = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: 'team:all'}\nroleRef: {kind: ClusterRole, name: view, apiGroup: rbac.authorization.k8s.io}\nsubjects:\n- {kind: Group, name: ops, apiGroup: rbac.authorization.k8s.io}\n";

const IMAGES: &str = "apiVersion: watchbell.dev/v1alpha1\nkind: ImagePolicy\nmetadata: {name: strict}\nspec:\n  vulnerabilities: {maximumSeverity: High}\n";
const CLUSTER_IMAGES: &str = "apiVersion: watchbell.dev/v1alpha1\nkind: ClusterImagePolicy\nmetadata: {name: everywhere}\nspec:\n  enforcementAction: Warn\n  registries: [ghcr.io]\n";

/// A kind: its manifest, `resource/name`, a change as a patch and where it shows, and its table (its age aside).
pub(crate) struct Case {
    pub(crate) yaml: &'static str,
    object: &'static str,
    patch: &'static str,
    path: &'static str,
    changed: &'static str,
    head: &'static [&'static str],
    row: &'static [&'static str],
    explained: &'static str,
}

pub(crate) const CASES: [Case; 15] = [
    Case {
        yaml: IMAGES,
        object: "imagepolicy/strict",
        patch: r#"{"spec":{"vulnerabilities":{"maximumSeverity":"Low"}}}"#,
        path: "{.spec.vulnerabilities.maximumSeverity} {.spec.enforcementAction} {.spec.vulnerabilities.unscored}",
        changed: "Low Deny Medium",
        head: &["NAME", "ACTION", "SEVERITY", "SIGNERS", "AGE"],
        row: &["strict", "Deny", "Low", "<none>"],
        explained: "imagepolicy.spec.vulnerabilities.exceptions.expires",
    },
    Case {
        yaml: CLUSTER_IMAGES,
        object: "clusterimagepolicy/everywhere",
        patch: r#"{"spec":{"enforcementAction":"Audit"}}"#,
        path: "{.spec.enforcementAction} {.spec.registries[0]}",
        changed: "Audit ghcr.io",
        head: &["NAME", "ACTION", "SEVERITY", "SIGNERS", "AGE"],
        row: &["everywhere", "Audit", "<none>", "<none>"],
        explained: "clusterimagepolicy.spec.signers.keyless.trustRoot",
    },
    Case {
        yaml: QUOTA,
        object: "resourcequota/team",
        patch: r#"{"spec":{"hard":{"configmaps":"8"}}}"#,
        path: "{.spec.hard.configmaps} {.spec.hard.requests\\.cpu}",
        changed: "8 4",
        head: &["NAME", "REQUEST", "LIMIT", "AGE"],
        row: &["team"],
        explained: "quota.spec.scopeSelector.matchExpressions.operator",
    },
    Case {
        yaml: LIMITS,
        object: "limitrange/usual",
        patch: r#"{"metadata":{"labels":{"a":"b"}}}"#,
        path: "{.metadata.labels.a} {.spec.limits[0].default.cpu} {.spec.limits[0].defaultRequest.cpu}",
        changed: "b 2 2",
        head: &["NAME", "CREATED AT"],
        row: &["usual", "20"],
        explained: "limits.spec.limits.maxLimitRequestRatio",
    },
    Case {
        yaml: CLAIM,
        object: "persistentvolumeclaim/data",
        patch: r#"{"metadata":{"labels":{"a":"b"}}}"#,
        path: "{.metadata.labels.a} {.spec.resources.requests.storage} {.spec.volumeMode} {.status.phase}",
        changed: "b 1Gi Filesystem Pending",
        head: &[
            "NAME",
            "STATUS",
            "VOLUME",
            "CAPACITY",
            "ACCESS MODES",
            "STORAGECLASS",
            "VOLUMEATTRIBUTESCLASS",
            "AGE",
        ],
        row: &["data", "Pending", "none", "<unset>"],
        explained: "pvc.spec.resources.requests",
    },
    Case {
        yaml: VOLUME,
        object: "persistentvolume/disk",
        patch: r#"{"spec":{"persistentVolumeReclaimPolicy":"Delete"}}"#,
        path: "{.spec.persistentVolumeReclaimPolicy} {.spec.volumeMode}",
        changed: "Delete Filesystem",
        head: &[
            "NAME",
            "CAPACITY",
            "ACCESS MODES",
            "RECLAIM POLICY",
            "STATUS",
            "CLAIM",
            "STORAGECLASS",
            "VOLUMEATTRIBUTESCLASS",
            "REASON",
            "AGE",
        ],
        row: &["disk", "5Gi", "RWO,ROX", "Delete", "other", "<unset>"],
        explained: "pv.spec.claimRef.namespace",
    },
    Case {
        yaml: STORAGE,
        object: "storageclass/slow",
        patch: r#"{"allowVolumeExpansion":true}"#,
        path: "{.allowVolumeExpansion} {.reclaimPolicy}",
        changed: "true Delete",
        head: &["NAME", "PROVISIONER", "RECLAIMPOLICY", "VOLUMEBINDINGMODE", "ALLOWVOLUMEEXPANSION", "AGE"],
        row: &["slow", "example.com/tape", "Delete", "Immediate", "true"],
        explained: "sc.volumeBindingMode",
    },
    Case {
        yaml: PRIORITY,
        object: "priorityclass/high",
        patch: r#"{"description":"x"}"#,
        path: "{.description} {.preemptionPolicy}",
        changed: "x PreemptLowerPriority",
        head: &["NAME", "VALUE", "GLOBAL-DEFAULT", "AGE", "PREEMPTIONPOLICY"],
        row: &["high", "1000", "false", "PreemptLowerPriority"],
        explained: "pc.globalDefault",
    },
    Case {
        yaml: RUNTIME,
        object: "runtimeclass/plain",
        patch: r#"{"metadata":{"labels":{"a":"b"}}}"#,
        path: "{.metadata.labels.a} {.handler}",
        changed: "b watchbell",
        head: &["NAME", "HANDLER", "AGE"],
        row: &["plain", "watchbell"],
        explained: "runtimeclass.overhead.podFixed",
    },
    Case {
        yaml: POLICY,
        object: "networkpolicy/shut",
        patch: r#"{"spec":{"egress":[{"to":[{"ipBlock":{"cidr":"10.0.0.0/8"}}]}]}}"#,
        path: "{.spec.egress[0].to[0].ipBlock.cidr} {.spec.ingress[0].ports[0].protocol} {.spec.policyTypes[*]} {.metadata.generation}",
        changed: "10.0.0.0/8 TCP Ingress 2",
        head: &["NAME", "POD-SELECTOR", "AGE"],
        row: &["shut", "app=db"],
        explained: "netpol.spec.egress.to.ipBlock.except",
    },
    Case {
        yaml: LEASE,
        object: "lease/leader",
        patch: r#"{"spec":{"holderIdentity":"you"}}"#,
        path: "{.spec.holderIdentity}",
        changed: "you",
        head: &["NAME", "HOLDER", "AGE"],
        row: &["leader", "you"],
        explained: "lease.spec.renewTime",
    },
    Case {
        yaml: ROLE,
        object: "role/team:reader",
        patch: r#"{"rules":[{"apiGroups":["batch"],"resources":["jobs"],"verbs":["watch"]}]}"#,
        path: "{.rules[*].verbs[*]}",
        changed: "watch",
        head: &["NAME", "CREATED AT"],
        row: &["team:reader", "20"],
        explained: "role.rules.resourceNames",
    },
    Case {
        yaml: CLUSTER_ROLE,
        object: "clusterrole/team:look",
        patch: r#"{"metadata":{"labels":{"a":"b"}}}"#,
        path: "{.metadata.labels.a} {.rules[0].nonResourceURLs[0]}",
        changed: "b /metrics",
        head: &["NAME", "CREATED AT"],
        row: &["team:look", "20"],
        explained: "clusterrole.aggregationRule.clusterRoleSelectors",
    },
    Case {
        yaml: BINDING,
        object: "rolebinding/readers",
        patch: r#"{"subjects":[{"kind":"ServiceAccount","name":"runner"}]}"#,
        path: "{.subjects[*].name} {.roleRef.apiGroup}",
        changed: "runner rbac.authorization.k8s.io",
        head: &["NAME", "ROLE", "AGE"],
        row: &["readers", "ClusterRole/view"],
        explained: "rolebinding.subjects.namespace",
    },
    Case {
        yaml: CLUSTER_BINDING,
        object: "clusterrolebinding/team:all",
        patch: r#"{"subjects":[{"kind":"User","name":"bob"}]}"#,
        path: "{.subjects[*].name} {.subjects[*].apiGroup}",
        changed: "bob rbac.authorization.k8s.io",
        head: &["NAME", "ROLE", "AGE"],
        row: &["team:all", "ClusterRole/view"],
        explained: "clusterrolebinding.roleRef.kind",
    },
];

#[test]
fn every_kind_lives() {
    let server = Harness::start();
    let Some(kubectl) = Kubectl::of(&server) else { return };
    for case in CASES {
        let (resource, name) = case.object.split_once('/').unwrap();
        let full = |line: &str| line.split([' ', '/']).next().unwrap_or_default().to_owned();
        let created = kubectl.ok(&["apply", "-f", "-"], case.yaml);
        assert!(created.ends_with("created\n") && full(&created).starts_with(resource), "{created}");
        assert!(kubectl.ok(&["apply", "-f", "-"], case.yaml).ends_with("unchanged\n"), "{resource}");
        let applied = kubectl.ok(&["apply", "--server-side", "--field-manager=other", "-f", "-"], case.yaml);
        assert!(applied.ends_with("serverside-applied\n"), "{applied}");
        kubectl.ok(&["patch", case.object, "-p", case.patch], "");
        let shown = kubectl.ok(&["get", case.object, "-o", &format!("jsonpath={}", case.path)], "");
        assert_eq!(shown, case.changed, "{resource}");
        let table = kubectl.ok(&["get", resource, name], "");
        let mut lines = table.lines();
        let head = lines.next().unwrap_or_default();
        let mut rest = head;
        for column in case.head {
            rest = rest.trim_start().strip_prefix(column).unwrap_or_else(|| panic!("{column} in {head:?}"));
        }
        assert_eq!(rest.trim(), "", "{head}");
        let row = lines.next().unwrap_or_default();
        assert!(case.row.iter().all(|cell| row.contains(cell)), "{row}: {:?}", case.row);
        kubectl.ok(&["get", resource, "-o", "wide"], "");
        let described = kubectl.ok(&["describe", case.object], "");
        assert!(described.contains(name), "{described}");
        let explained = kubectl.ok(&["explain", case.explained], "");
        let field = case.explained.rsplit('.').next().unwrap();
        assert!(explained.contains(&format!("FIELD: {field}")), "{explained}");
        assert!(!explained.contains("<empty>"), "{}: {explained}", case.explained);
        let removed = kubectl.ok(&["delete", case.object, "--wait=false"], "");
        assert!(removed.contains("deleted"), "{removed}");
    }
}

#[test]
fn api_resources_tells_what_is_run_and_what_is_not() {
    let server = Harness::start();
    let Some(kubectl) = Kubectl::of(&server) else { return };
    let all = kubectl.ok(&["api-resources", "--no-headers"], "");
    for line in [
        "resourcequotas quota v1 true ResourceQuota",
        "limitranges limits v1 true LimitRange",
        "persistentvolumeclaims pvc v1 true PersistentVolumeClaim",
        "persistentvolumes pv v1 false PersistentVolume",
        "storageclasses sc storage.k8s.io/v1 false StorageClass",
        "priorityclasses pc scheduling.k8s.io/v1 false PriorityClass",
        "runtimeclasses node.k8s.io/v1 false RuntimeClass",
        "networkpolicies netpol networking.k8s.io/v1 true NetworkPolicy",
        "events ev v1 true Event",
        "events ev events.k8s.io/v1 true Event",
        "deployments deploy apps/v1 true Deployment",
        "roles rbac.authorization.k8s.io/v1 true Role",
        "rolebindings rbac.authorization.k8s.io/v1 true RoleBinding",
        "clusterroles rbac.authorization.k8s.io/v1 false ClusterRole",
        "clusterrolebindings rbac.authorization.k8s.io/v1 false ClusterRoleBinding",
    ] {
        let same = |found: &str| found.split_whitespace().eq(line.split_whitespace());
        assert!(all.lines().any(same), "no {line:?} in\n{all}");
    }
    let made = kubectl.ok(&["api-resources", "--verbs=create", "-o", "name"], "");
    assert!(made.contains("jobs.batch") && !made.contains("deployments"), "{made}");
}

#[test]
fn what_a_cluster_runs_is_empty_and_refused_by_name() {
    let server = Harness::start();
    let Some(kubectl) = Kubectl::of(&server) else { return };
    assert_eq!(kubectl.ok(&["get", "deploy,rs,ds,sts,rc,ep", "-o", "name"], ""), "");
    assert_eq!(kubectl.ok(&["get", "all"], ""), "");
    kubectl.refused(&["get", "deploy", "web"], "", "deployments.apps \"web\" not found");
    let yaml = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  selector: {matchLabels: {a: b}}\n  \
                template:\n    metadata: {labels: {a: b}}\n    spec: {containers: [{name: c, image: i}]}\n";
    const WORDS: &str = "Watchbell runs Jobs, CronJobs and Pods; Deployment needs a Kubernetes cluster";
    kubectl.refused(&["apply", "-f", "-"], yaml, WORDS);
    kubectl.refused(&["create", "-f", "-"], yaml, WORDS);
    kubectl.refused(&["apply", "--server-side", "-f", "-"], yaml, WORDS);
    kubectl.refused(&["create", "deployment", "web", "--image=i"], "", WORDS);
    kubectl.refused(
        &["create", "service", "clusterip", "web", "--tcp=80"],
        "",
        "Service needs a Kubernetes cluster",
    );
    // Programs look for the API server behind this name.
    let services = kubectl.ok(&["get", "svc"], "");
    let mut words = services.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(words.next().unwrap(), ["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE"]);
    let row = words.next().unwrap();
    assert_eq!((row[0], row[1], row[3]), ("kubernetes", "ClusterIP", "<none>"));
    kubectl.refused(&["scale", "deploy/web", "--replicas=2"], "", "not found");
    kubectl.refused(
        &["apply", "-f", "-"],
        "apiVersion: kubeflow.org/v1\nkind: PyTorchJob\nmetadata: {name: x}\n",
        "no matches for kind \"PyTorchJob\" in version \"kubeflow.org/v1\"",
    );
    assert!(kubectl.ok(&["explain", "deployment.spec.replicas"], "").contains("<integer>"));
    kubectl.ok(&["create", "namespace", "ml"], "");
    kubectl.ok(&["delete", "namespace", "ml"], "");
    for path in ["/apis/apps/v1/deployments", "/api/v1/namespaces/kube-system/services"] {
        let list = server.client.get(path).expect(200);
        assert_eq!(list["items"], json!([]));
        let watch = server.client.get(&format!("{path}?watch=true&timeoutSeconds=1"));
        assert_eq!((watch.code, watch.text.as_str()), (200, ""), "{path}");
    }
    let refusal = server.client.post("/apis/apps/v1/namespaces/default/deployments", &json!({}));
    refusal.expect_refusal(405, "MethodNotAllowed", WORDS);
}

#[test]
fn system_priorities_are_there_and_stay() {
    let server = Harness::start();
    let Some(kubectl) = Kubectl::of(&server) else { return };
    let values = kubectl.ok(&["get", "pc", "-o", "jsonpath={.items[*].value}"], "");
    assert_eq!(values, "2000000000 2000001000");
    kubectl.refused(
        &["delete", "pc", "system-node-critical"],
        "",
        "this is a system priority class and cannot be deleted",
    );
    server.client.delete("/apis/scheduling.k8s.io/v1/priorityclasses").expect(200);
    assert_eq!(kubectl.ok(&["get", "pc", "-o", "jsonpath={.items[*].value}"], ""), values);
}

const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/default/events";

fn event(name: &str) -> Value {
    json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": name, "namespace": "default"},
        "eventTime": "2026-03-01T00:00:00.000000Z", "reportingController": "example.com/test",
        "reportingInstance": "test-1", "action": "Do", "reason": "Test", "type": "Normal",
        "regarding": {"namespace": "default", "kind": "Pod", "name": "p"}, "note": "this is a test event",
    })
}

/// One object in two forms: created, read, listed, watched, patched and deleted in either.
#[test]
fn events_have_two_forms() {
    let server = Harness::start();
    let client = &server.client;
    let made = client.post(EVENTS, &event("first")).expect(201);
    assert_eq!(
        (made["apiVersion"].as_str(), made["note"].as_str()),
        (Some("events.k8s.io/v1"), Some("this is a test event"))
    );
    let core = client.get("/api/v1/namespaces/default/events/first").expect(200);
    assert_eq!(core["apiVersion"], "v1");
    assert_eq!(core["message"], "this is a test event");
    assert_eq!(core["involvedObject"], made["regarding"]);
    assert_eq!(core["reportingComponent"], "example.com/test");
    assert_eq!(core["metadata"]["uid"], made["metadata"]["uid"]);

    let list = client
        .get("/apis/events.k8s.io/v1/events?fieldSelector=regarding.kind%3DPod,reason%3DTest")
        .expect(200);
    assert_eq!(
        (list["kind"].as_str(), list["apiVersion"].as_str()),
        (Some("EventList"), Some("events.k8s.io/v1"))
    );
    assert_eq!(list["items"][0]["note"], "this is a test event");
    assert_eq!(list["items"][0].get("message"), None);
    client.get(&format!("{EVENTS}?fieldSelector=involvedObject.kind%3DPod")).expect_refusal(
        400,
        "BadRequest",
        "field label not supported: involvedObject.kind",
    );

    let version = list["metadata"]["resourceVersion"].as_str().unwrap();
    let series = json!({"series": {"count": 2, "lastObservedTime": "2026-03-01T00:01:00.000000Z"}});
    let patched = client
        .patch(&format!("{EVENTS}/first"), "application/strategic-merge-patch+json", &series)
        .expect(200);
    assert_eq!(patched["series"], series["series"]);
    assert_eq!(patched["note"], "this is a test event");
    let watched = client.get(&format!("{EVENTS}?watch=true&resourceVersion={version}&timeoutSeconds=1"));
    let told: Value = serde_json::from_str(watched.text.lines().next().unwrap_or_default()).unwrap();
    assert_eq!(
        (told["type"].as_str(), told["object"]["note"].as_str()),
        (Some("MODIFIED"), Some("this is a test event"))
    );

    client
        .patch(&format!("{EVENTS}/first"), "application/merge-patch+json", &json!({"note": "other"}))
        .expect_refusal(422, "Invalid", "message: Invalid value");
    client
        .patch(&format!("{EVENTS}/first"), "application/merge-patch+json", &json!({"message": "other"}))
        .expect(200);
    let mut old = event("second");
    old["deprecatedCount"] = json!(3);
    client.post(EVENTS, &old).expect_refusal(422, "Invalid", "count: Invalid value: \"\": needs to be unset");
    let mut put = client.get(&format!("{EVENTS}/first")).expect(200);
    put["metadata"]["labels"] = json!({"kept": "yes"});
    assert_eq!(client.put(&format!("{EVENTS}/first"), &put).expect(200)["metadata"]["labels"]["kept"], "yes");
    client.get(&format!("{EVENTS}/none")).expect_refusal(
        404,
        "NotFound",
        "events.events.k8s.io \"none\" not found",
    );

    let core_made = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "third"}, "reason": "Old",
        "involvedObject": {"namespace": "default", "kind": "Pod", "name": "p"}, "message": "m", "count": 4,
        "source": {"component": "kubelet"}, "lastTimestamp": "2026-03-01T00:00:00Z",
    });
    client.post("/api/v1/namespaces/default/events", &core_made).expect(201);
    let shown = client.get(&format!("{EVENTS}/third")).expect(200);
    assert_eq!(
        (&shown["deprecatedCount"], &shown["deprecatedSource"]["component"]),
        (&json!(4), &json!("kubelet"))
    );
    let gone = client.delete(&format!("{EVENTS}?labelSelector=kept%3Dyes")).expect(200);
    assert_eq!(gone["items"][0]["regarding"]["kind"], "Pod");
    client.get("/api/v1/namespaces/default/events/first").expect(404);

    let Some(kubectl) = Kubectl::of(&server) else { return };
    let table = kubectl.ok(&["get", "events.events.k8s.io"], "");
    assert!(table.starts_with("LAST SEEN") && table.contains("Old") && table.contains("pod/p"), "{table}");
    assert!(
        kubectl
            .ok(&["explain", "events.regarding", "--api-version=events.k8s.io/v1"], "")
            .contains("FIELD: regarding")
    );
}
