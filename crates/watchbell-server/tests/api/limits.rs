//! LimitRanges, quotas, classes and claims through the real kubectl: what it makes of them, and what it is refused.

use crate::harness::Harness;
use crate::kubectl::Kubectl;

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  containers:
  - {name: main, image: 'busybox:bar', resources: {limits: {cpu: 'CPU'}}}
";

fn pod(name: &str, cpu: &str) -> String {
    POD.replace("NAME", name).replace("CPU", cpu)
}

fn pod_of_class(name: &str, class: &str) -> String {
    format!("{}  {class}\n", pod(name, "1"))
}

#[test]
fn kubectl_meets_limit_ranges_and_quotas() {
    let server = Harness::start();
    let Some(kubectl) = Kubectl::of(&server) else { return };
    let range = "
apiVersion: v1
kind: LimitRange
metadata: {name: bounds}
spec:
  limits:
  - {type: Container, max: {cpu: 500m, memory: 1Gi}, defaultRequest: {cpu: 100m}}
  - {type: PersistentVolumeClaim, max: {storage: 2Gi}}
";
    kubectl.ok(&["apply", "-f", "-"], range);
    kubectl.ok(&["apply", "-f", "-"], range);
    let described = kubectl.ok(&["describe", "limits", "bounds"], "");
    assert!(described.contains("Container") && described.contains("500m"), "{described}");
    kubectl.refused(
        &["apply", "-f", "-"],
        &pod("large", "1"),
        "pods \"large\" is forbidden: maximum cpu usage per Container is 500m, but limit is 1",
    );
    kubectl.ok(&["create", "quota", "few", "--hard=pods=1,limits.cpu=1,count/configmaps=3"], "");
    kubectl.ok(&["apply", "-f", "-"], &pod("first", "400m"));
    kubectl.refused(
        &["apply", "-f", "-"],
        &pod("second", "400m"),
        "pods \"second\" is forbidden: exceeded quota: few, requested: pods=1, used: pods=1, limited: pods=1",
    );
    let made = kubectl.ok(&["get", "pod", "first", "-o", "jsonpath={.spec.containers[0].resources}"], "");
    assert_eq!(made, r#"{"limits":{"cpu":"400m","memory":"1Gi"},"requests":{"cpu":"400m","memory":"1Gi"}}"#);
    let used = kubectl.ok(&["get", "quota", "few", "-o", "jsonpath={.status.used}"], "");
    assert_eq!(used, r#"{"count/configmaps":"1","limits.cpu":"400m","pods":"1"}"#);
    let described = kubectl.ok(&["describe", "quota", "few"], "");
    assert!(described.contains("limits.cpu        400m  1"), "{described}");
    kubectl.ok(&["delete", "pod", "first", "--force", "--grace-period=0"], "");
    let used = kubectl.ok(&["get", "quota", "few", "-o", "jsonpath={.status.used.pods}"], "");
    assert_eq!(used, "0");
    kubectl.refused(
        &["apply", "-f", "-"],
        &claim("huge", "3Gi"),
        "persistentvolumeclaims \"huge\" is forbidden: maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi",
    );
}

fn claim(name: &str, storage: &str) -> String {
    format!(
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: {name}}}\nspec: {{accessModes: [ReadWriteOnce], \
         resources: {{requests: {{storage: {storage}}}}}}}\n"
    )
}

#[test]
fn kubectl_meets_classes() {
    let server = Harness::start();
    let Some(kubectl) = Kubectl::of(&server) else { return };
    kubectl.ok(&["create", "priorityclass", "high", "--value=1000", "--preemption-policy=Never"], "");
    let urgent = pod_of_class("urgent", "priorityClassName: high");
    kubectl.ok(&["apply", "-f", "-"], &urgent);
    let spec = "jsonpath={.spec.priority} {.spec.preemptionPolicy}";
    assert_eq!(kubectl.ok(&["get", "pod", "urgent", "-o", spec], ""), "1000 Never");
    // What is applied once more is as it was.
    assert_eq!(kubectl.ok(&["apply", "-f", "-"], &urgent), "pod/urgent unchanged\n");
    kubectl.refused(
        &["apply", "-f", "-"],
        &urgent.replace("name: urgent", "name: other").replace(": high", ": none"),
        "pods \"other\" is forbidden: no PriorityClass with name none was found",
    );
    let class = "apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {name: boxed}\nhandler: watchbell\n\
                 overhead: {podFixed: {cpu: 250m}}\n";
    kubectl.ok(&["apply", "-f", "-"], class);
    kubectl.ok(&["apply", "-f", "-"], &pod_of_class("boxed", "runtimeClassName: boxed"));
    let overhead = kubectl.ok(&["get", "pod", "boxed", "-o", "jsonpath={.spec.overhead}"], "");
    assert_eq!(overhead, r#"{"cpu":"250m"}"#);
    kubectl.refused(
        &["apply", "-f", "-"],
        &pod_of_class("vm", "runtimeClassName: kata"),
        "pods \"vm\" is forbidden: pod rejected: RuntimeClass \"kata\" not found",
    );
}

#[test]
fn kubectl_meets_claims() {
    let server = Harness::start();
    let Some(kubectl) = Kubectl::of(&server) else { return };
    assert!(
        kubectl
            .ok(&["get", "sc"], "")
            .contains("local (default)   watchbell.dev/local   Delete          Immediate")
    );
    kubectl.ok(&["apply", "-f", "-"], &claim("data", "1Gi"));
    assert_eq!(
        kubectl.ok(&["apply", "-f", "-"], &claim("data", "1Gi")),
        "persistentvolumeclaim/data unchanged\n"
    );
    kubectl.ok(&["wait", "--for=jsonpath={.status.phase}=Bound", "pvc/data", "--timeout=30s"], "");
    let described = kubectl.ok(&["describe", "pvc", "data"], "");
    assert!(
        described.contains("ProvisioningSucceeded") && described.contains("kubernetes.io/pvc-protection"),
        "{described}"
    );
    let volume = kubectl.ok(&["get", "pvc", "data", "-o", "jsonpath={.spec.volumeName}"], "");
    let described = kubectl.ok(&["describe", "pv", &volume], "");
    assert!(described.contains("default/data") && described.contains("Bound"), "{described}");
    kubectl
        .ok(&["patch", "pvc", "data", "-p", r#"{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}"#], "");
    kubectl.ok(&["wait", "--for=jsonpath={.status.capacity.storage}=2Gi", "pvc/data", "--timeout=30s"], "");
    kubectl.ok(&["delete", "pvc", "data"], "");
}
