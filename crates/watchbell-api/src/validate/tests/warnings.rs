use super::super::warnings;
use super::{Resource, container_yaml, job_yaml, object, pod_yaml};

#[track_caller]
fn check(resource: Resource, yaml: &str, expected: &[&str]) {
    assert_eq!(warnings(resource, &object(resource, yaml)), expected, "{yaml}");
}

#[test]
fn a_plain_object_is_not_warned_about() {
    check(Resource::Pod, &pod_yaml("volumes: [{name: a}, {name: b, configMap: {name: m}}]"), &[]);
    check(Resource::Job, &job_yaml("completionMode: Indexed\ncompletions: 100"), &[]);
    check(Resource::ConfigMap, "data: {a: b}", &[]);
    check(
        Resource::Pod,
        &container_yaml(
            "env: [{name: A, value: x}, {name: A, value: $(A)b}]\nports: [{containerPort: 1}, {containerPort: 2}]",
        ),
        &[],
    );
}

#[test]
fn kubernetes_own_warnings() {
    check(
        Resource::Pod,
        "metadata: {name: a.b}\nspec: {containers: [{name: c, image: i}], nodeSelector: {beta.kubernetes.io/os: linux}, terminationGracePeriodSeconds: -1}",
        &[
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is \
             recommended: [a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start \
             and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?')]",
            "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
            "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1",
        ],
    );
    check(
        Resource::Pod,
        &container_yaml(
            "env: [{name: A, value: x}, {name: A, value: z}]\nresources: {limits: {memory: 100m}}",
        ),
        &[
            "spec.containers[0].resources.limits[memory]: fractional byte value \"100m\" is invalid, must be an integer",
            "spec.containers[0].resources.requests[memory]: fractional byte value \"100m\" is invalid, must be an integer",
            "spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
        ],
    );
    check(
        Resource::Pod,
        &container_yaml("resources: {limits: {cpu: 0m, memory: \"0\", ephemeral-storage: 0Gi}}"),
        &["cpu", "memory", "ephemeral-storage"].map(|name| {
            format!(
                "spec.containers[0].resources.limits[{name}]: 0 is no limit, as if it were left out; say how much the \
                 container may have"
            )
        })
        .each_ref()
        .map(String::as_str),
    );
    check(
        Resource::Pod,
        &container_yaml(
            "resources: {limits: {cpu: 1m, memory: 1Mi, ephemeral-storage: 1Gi}, requests: {cpu: 0}}",
        ),
        &[],
    );
    check(
        Resource::Pod,
        &container_yaml("ports: [{containerPort: 1}, {containerPort: 1}]"),
        &["spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]"],
    );
    check(
        Resource::Pod,
        "metadata: {annotations: {seccomp.security.alpha.kubernetes.io/pod: unconfined, scheduler.alpha.kubernetes.io/critical-pod: ''}}\n\
         spec: {containers: [{name: c, image: i}], imagePullSecrets: [{name: s}, {name: s}]}",
        &[
            "metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; use the \"priorityClassName\" field instead",
            "spec.imagePullSecrets[1].name: duplicate name \"s\"",
            "metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+; use the \"seccompProfile\" field instead",
        ],
    );
}

#[test]
fn deprecated_profiles_and_empty_selectors() {
    check(
        Resource::Pod,
        "metadata: {annotations: {container.apparmor.security.beta.kubernetes.io/c: unconfined}}\n\
         spec:\n  containers: [{name: c, image: i}]\n  topologySpreadConstraints: [{maxSkew: 1, topologyKey: k, whenUnsatisfiable: DoNotSchedule}]",
        &[
            "spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
            "metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: deprecated since v1.30; use the \
             \"appArmorProfile\" field instead",
            "spec.topologySpreadConstraints: is not honoured by this node",
        ],
    );
}

#[test]
fn what_this_node_does_not_do() {
    check(
        Resource::Pod,
        &container_yaml(
            "livenessProbe: {exec: {command: [x]}}\nlifecycle: {preStop: {sleep: {seconds: 1}}}\nports: [{containerPort: 1, hostPort: 1}]",
        ),
        &[
            "spec.containers[0].lifecycle: is not honoured by this node",
            "spec.containers[0].livenessProbe: is not honoured by this node",
            "spec.containers[0].ports[0].hostPort: is not honoured by this node",
        ],
    );
    check(
        Resource::Pod,
        &pod_yaml(
            "dnsConfig: {nameservers: [1.1.1.1]}\nsecurityContext: {seLinuxOptions: {level: x}, sysctls: [{name: a, value: b}]}\nvolumes: [{name: a, nfs: {server: s, path: /}}]",
        ),
        &[
            "spec.dnsConfig: is not honoured by this node",
            "spec.securityContext.seLinuxOptions: is not honoured by this node",
            "spec.securityContext.sysctls: is not honoured by this node, and a pod that asks for it fails",
            "spec.volumes[0].nfs: is not honoured by this node, and a pod that asks for it fails",
        ],
    );
    check(
        Resource::Pod,
        &pod_yaml(
            "shareProcessNamespace: false\nvolumes: [{name: a, emptyDir: {medium: Memory}}, {name: b, projected: {sources: [{configMap: {name: m}}]}}, {name: c, emptyDir: {sizeLimit: 1Gi}}]",
        ),
        &[],
    );
    check(
        Resource::Pod,
        &pod_yaml(
            "runtimeClassName: r\nvolumes: [{name: a, emptyDir: {medium: HugePages}}, {name: b, projected: {sources: [{serviceAccountToken: {path: t}}]}}]",
        ),
        &["spec.volumes[0].emptyDir.medium: is not honoured by this node, and a pod that asks for it fails"],
    );
    check(
        Resource::CronJob,
        "spec: {schedule: x, jobTemplate: {spec: {template: {spec: {affinity: {podAffinity: {}}, containers: [{name: c, image: i}]}}}}}",
        &["spec.jobTemplate.spec.template.spec.affinity: is not honoured by this node"],
    );
}

#[test]
fn taints_that_end_nothing() {
    check(
        Resource::Node,
        "spec: {taints: [{key: a, effect: NoSchedule}, {key: b, effect: NoExecute}]}",
        &["spec.taints[1].effect: keeps new pods away; those that run stay until they are deleted"],
    );
}

#[test]
fn names_too_long_for_their_pods() {
    let named = |length: usize, completions: u32| {
        let yaml = job_yaml(&format!("completionMode: Indexed\ncompletions: {completions}"));
        object(Resource::Job, &yaml.replace("name: a,", &format!("name: {},", "a".repeat(length))))
    };
    assert_eq!(warnings(Resource::Job, &named(51, 100)), [""; 0]);
    assert_eq!(
        warnings(Resource::Job, &named(51, 101)),
        [
            "metadata.name: too long for an array of this size: the names of its pods would have 64 characters and are cut to 63; \
          shorten it by 1"
        ]
    );
}

#[test]
fn claims_volumes_and_policies() {
    check(
        Resource::PersistentVolumeClaim,
        "metadata: {annotations: {volume.beta.kubernetes.io/storage-class: a}}\n\
         spec: {resources: {requests: {storage: 500m}}, volumeMode: Block}",
        &[
            "metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; use \
             \"storageClassName\" attribute instead",
            "spec.resources.requests[storage]: fractional byte value \"500m\" is invalid, must be an integer",
            "spec.volumeMode: block devices are not made by this node",
        ],
    );
    check(Resource::PersistentVolumeClaim, "spec: {resources: {requests: {storage: 1Gi}}}", &[]);
    check(Resource::PersistentVolume, "spec: {csi: {driver: watchbell.dev/local, volumeHandle: v}}", &[]);
    check(Resource::PersistentVolume, "spec: {hostPath: {path: /a}}", &[]);
    check(Resource::PersistentVolume, "spec: {local: {path: /a}}", &[]);
    check(
        Resource::PersistentVolume,
        "spec: {persistentVolumeReclaimPolicy: Recycle, glusterfs: {endpoints: a, path: b}}",
        &[
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended \
             approach is to use dynamic provisioning.",
            "spec.glusterfs: deprecated in v1.25, non-functional in v1.26+",
            "spec.glusterfs: is not mounted by this node, and a pod that uses a claim of it fails",
        ],
    );
    check(
        Resource::StorageClass,
        "provisioner: example.com/tape\n\
         allowedTopologies: [{matchLabelExpressions: [{key: failure-domain.beta.kubernetes.io/zone, values: [a]}]}]",
        &[
            "provisioner: watchbell.dev/local alone makes volumes here; claims of this class wait for a volume that \
             somebody else makes",
            "allowedTopologies[0].matchLabelExpressions[0].key: deprecated since v1.14; use \
             \"topology.kubernetes.io/zone\" instead",
        ],
    );
    check(Resource::StorageClass, "provisioner: watchbell.dev/local", &[]);
    check(
        Resource::RuntimeClass,
        "handler: a\nscheduling: {nodeSelector: {beta.kubernetes.io/os: linux}}",
        &[
            "scheduling.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
        ],
    );
    check(
        Resource::NetworkPolicy,
        "spec: {podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{from: [{podSelector: {}}]}], egress: [{}]}",
        &[],
    );
    // As every policy of a cluster has it.
    check(
        Resource::NetworkPolicy,
        "spec: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}], ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]}]}",
        &[],
    );
    check(
        Resource::NetworkPolicy,
        "metadata: {annotations: {watchbell.dev/egress-names: '[]'}}\n\
         spec: {podSelector: {}, policyTypes: [Ingress], egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8}}, {podSelector: {}}], \
         ports: [{port: 1}, {port: 2, protocol: UDP}, {port: web, protocol: TCP}, {protocol: SCTP}]}]}",
        &[
            "metadata.annotations[watchbell.dev/egress-names]: has no effect: spec.policyTypes does not hold Egress",
            "spec.egress[0].ports[1].protocol: opens nothing here: a pod connects by TCP alone",
            "spec.egress[0].ports[2].port: opens nothing here: a port without a number is a pod's, and pods take no connections",
            "spec.egress[0].ports[3].protocol: opens nothing here: a pod connects by TCP alone",
            "spec.egress[0].to[1]: opens nothing here: pods take no connections",
        ],
    );
}
