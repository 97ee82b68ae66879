use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::super::{create, update, warnings};
use super::{Resource, object};
use crate::types::cronjob::CronJobSpec;
use crate::types::job::JobSpec;
use crate::types::pod::{PodSpec, PodTemplate};
use crate::{defaults, schema};

const POD_SPEC: &str = "
restartPolicy: Never
serviceAccountName: s
activeDeadlineSeconds: 60
terminationGracePeriodSeconds: 5
hostname: h
subdomain: d
hostUsers: false
shareProcessNamespace: true
runtimeClassName: r
priorityClassName: p
priority: 3
nodeSelector: {a: b}
overhead: {cpu: 10m}
imagePullSecrets: [{name: s}]
hostAliases: [{ip: 10.0.0.1, hostnames: [a]}]
schedulingGates: [{name: g}]
tolerations: [{key: a, operator: Exists, effect: NoExecute, tolerationSeconds: 5}]
securityContext:
  runAsUser: 1
  runAsGroup: 2
  runAsNonRoot: true
  fsGroup: 3
  supplementalGroups: [4]
  seccompProfile: {type: RuntimeDefault}
  sysctls: [{name: a.b, value: c}]
volumes:
- {name: a, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
- {name: b, configMap: {name: m, defaultMode: 256, optional: true, items: [{key: k, path: p, mode: 1}]}}
- {name: c, secret: {secretName: m, items: [{key: k, path: p}]}}
- {name: d, downwardAPI: {items: [{path: p, fieldRef: {fieldPath: metadata.uid}}]}}
- {name: e, projected: {sources: [{configMap: {name: m}}, {secret: {name: m}}, {serviceAccountToken: {path: t}}]}}
- {name: f, hostPath: {path: /tmp, type: Directory}}
- {name: g, persistentVolumeClaim: {claimName: c}}
initContainers:
- {name: i, image: x, restartPolicy: Always, command: [a]}
containers:
- name: c
  image: x
  imagePullPolicy: Never
  command: [a]
  args: [b]
  workingDir: /w
  tty: true
  stdin: true
  terminationMessagePath: /t
  env:
  - {name: A, value: b}
  - {name: B, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
  - {name: C, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1m}}}
  - {name: D, valueFrom: {configMapKeyRef: {name: m, key: k, optional: true}}}
  - {name: E, valueFrom: {secretKeyRef: {name: m, key: k}}}
  envFrom: [{prefix: P, configMapRef: {name: m, optional: false}}, {secretRef: {name: m}}]
  resources: {limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 1}}
  volumeMounts: [{name: a, mountPath: /a, subPath: s, readOnly: true, mountPropagation: None}]
  ports: [{containerPort: 80, name: http}]
  securityContext:
    runAsUser: 1
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities: {add: [A], drop: [ALL]}
    seccompProfile: {type: RuntimeDefault}
    procMount: Default
";

const JOB_SPEC: &str = "
completionMode: Indexed
completions: 10
parallelism: 2
backoffLimit: 6
backoffLimitPerIndex: 1
maxFailedIndexes: 5
activeDeadlineSeconds: 100
ttlSecondsAfterFinished: 100
suspend: false
podReplacementPolicy: Failed
managedBy: example.com/m
podFailurePolicy:
  rules:
  - {action: FailIndex, onExitCodes: {containerName: c, operator: In, values: [1, 2]}}
  - {action: Ignore, onPodConditions: [{type: DisruptionTarget, status: 'True'}]}
successPolicy:
  rules: [{succeededIndexes: '0,2-3', succeededCount: 1}]
";

fn indent(text: &str, by: usize) -> String {
    text.trim_start().lines().map(|line| format!("{}{line}\n", " ".repeat(by))).collect()
}

/// Every way in which one place of a value becomes something else.
fn mutations(value: &Value, change: &mut dyn FnMut(Value)) {
    let others = [
        json!(null),
        json!(0),
        json!(-1),
        json!(1),
        json!(300),
        json!(i64::from(i32::MAX)),
        json!(4_294_967_296i64),
        json!(i64::MIN),
        json!(""),
        json!("x"),
        json!("Always"),
        json!("0"),
        json!(true),
        json!(false),
        json!([]),
        json!({}),
    ];
    for other in others {
        change(other);
    }
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                mutations(inner, &mut |changed| {
                    let mut map = map.clone();
                    map.insert(key.clone(), changed);
                    change(Value::Object(map));
                });
            }
        }
        Value::Array(items) => {
            for (i, inner) in items.iter().enumerate() {
                mutations(inner, &mut |changed| {
                    let mut items = items.clone();
                    items[i] = changed;
                    change(Value::Array(items));
                });
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Whatever is accepted can be read by the controllers and the node.
fn check(resource: Resource, yaml: &str, read: fn(&Value) -> Result<(), serde_json::Error>) {
    let good = object(resource, yaml);
    assert_eq!(create(resource, &good), []);
    read(&good["spec"]).unwrap();
    let (mut accepted, mut refused) = (0, 0);
    mutations(&good["spec"], &mut |spec| {
        let mut object = good.clone();
        object["spec"] = spec;
        if !schema::check(resource, &mut object, schema::Prune::Unknown).type_errors.is_empty() {
            refused += 1;
            return;
        }
        defaults::apply(resource, &mut object);
        let _ = (update(resource, &good, &object), warnings(resource, &object));
        if create(resource, &object).is_empty() {
            accepted += 1;
            if let Err(error) = read(&object["spec"]) {
                panic!("accepted, and cannot be read: {error}: {}", object["spec"]);
            }
        } else {
            refused += 1;
        }
    });
    assert!(accepted > 50 && refused > 100, "{accepted} accepted, {refused} refused");
}

fn reads<T: DeserializeOwned>(value: &Value) -> Result<(), serde_json::Error> {
    T::deserialize(value).map(|_| ())
}

#[test]
fn accepted_pods_can_be_read() {
    check(Resource::Pod, &format!("spec:\n{}", indent(POD_SPEC, 2)), reads::<PodSpec>);
}

#[test]
fn accepted_jobs_can_be_read() {
    let yaml = format!(
        "metadata: {{name: a, uid: u}}\nspec:\n{}  manualSelector: true\n  selector: {{matchLabels: {{a: b}}}}\n  template:\n    \
         metadata: {{labels: {{a: b}}, annotations: {{c: d}}}}\n    spec:\n      restartPolicy: Never\n      \
         containers: [{{name: c, image: i}}]\n",
        indent(JOB_SPEC, 2),
    );
    check(Resource::Job, &yaml, |spec| {
        reads::<JobSpec>(spec)?;
        reads::<PodTemplate>(&spec["template"])
    });
}

#[test]
fn accepted_cron_jobs_can_be_read() {
    let yaml = format!(
        "spec:\n  schedule: x\n  timeZone: UTC\n  startingDeadlineSeconds: 5\n  concurrencyPolicy: Forbid\n  suspend: true\n  \
         successfulJobsHistoryLimit: 1\n  failedJobsHistoryLimit: 1\n  jobTemplate:\n    metadata: {{labels: {{a: b}}}}\n    \
         spec:\n{}      template:\n        spec:\n          restartPolicy: Never\n          containers: [{{name: c, image: i}}]\n",
        indent(JOB_SPEC, 6)
    );
    check(Resource::CronJob, &yaml, |spec| {
        reads::<CronJobSpec>(spec)?;
        reads::<JobSpec>(&spec["jobTemplate"]["spec"])
    });
}
