//! Every field that a pod can have is carried out, or somebody is told. A field that a newer Kubernetes adds fails here until
//! it is decided which.

use std::collections::BTreeMap;

use super::super::warnings;
use super::{Resource, container_yaml, object, pod_yaml};
use crate::schema::Table;

/// A line is a field, and then either `done` (carried out, or nothing is left to do on one machine) or a value that has to
/// be warned about.
#[track_caller]
fn check(name: &str, place: &str, build: impl Fn(&str) -> String, fields: &str) {
    let table = Table::get();
    let schema = table.type_of(table.find(&format!("core.v1.{name}")).unwrap());
    let lines: BTreeMap<&str, &str> =
        fields.lines().filter_map(|line| line.trim().split_once(' ')).map(|(f, t)| (f, t.trim())).collect();
    let known: Vec<&str> = schema.fields.iter().map(|f| f.name).collect();
    let decided: Vec<&str> = lines.keys().copied().collect();
    assert_eq!(decided, known, "fields of {name}");
    for (field, value) in lines {
        if value == "done" {
            continue;
        }
        let yaml = build(&format!("{field}: {value}"));
        let said = warnings(Resource::Pod, &object(Resource::Pod, &yaml));
        let is_told = |w: &String| w.starts_with(&format!("{place}{field}")) && w.contains("is not honoured");
        assert!(said.iter().any(is_told), "{name}.{field} is ignored in silence: {said:?}");
    }
}

#[test]
fn of_a_pod() {
    check(
        "PodSpec",
        "spec.",
        pod_yaml,
        "activeDeadlineSeconds done
         affinity {podAffinity: {}}
         automountServiceAccountToken done
         containers done
         dnsConfig {nameservers: [1.1.1.1]}
         dnsPolicy Default
         enableServiceLinks done
         ephemeralContainers [{name: e, image: i}]
         hostAliases done
         hostIPC done
         hostNetwork done
         hostPID done
         hostUsers done
         hostname done
         hostnameOverride h
         imagePullSecrets done
         initContainers done
         nodeName done
         nodeSelector done
         os {name: windows}
         overhead done
         preemptionPolicy done
         priority done
         priorityClassName done
         readinessGates [{conditionType: c}]
         resourceClaims [{name: gpu, resourceClaimName: gpu}]
         resources {limits: {cpu: 1}}
         restartPolicy done
         runtimeClassName done
         schedulerName volcano
         schedulingGates done
         schedulingGroup {podGroupName: g}
         securityContext done
         serviceAccount done
         serviceAccountName done
         setHostnameAsFQDN true
         shareProcessNamespace true
         subdomain s
         terminationGracePeriodSeconds done
         tolerations done
         topologySpreadConstraints [{maxSkew: 1, topologyKey: k, whenUnsatisfiable: DoNotSchedule}]
         volumes done",
    );
    check(
        "PodSecurityContext",
        "spec.securityContext.",
        |field| pod_yaml(&format!("securityContext: {{{field}}}")),
        "appArmorProfile {type: RuntimeDefault}
         fsGroup done
         fsGroupChangePolicy OnRootMismatch
         runAsGroup done
         runAsNonRoot done
         runAsUser done
         seLinuxChangePolicy Recursive
         seLinuxOptions {level: x}
         seccompProfile done
         supplementalGroups done
         supplementalGroupsPolicy Strict
         sysctls [{name: a, value: b}]
         windowsOptions {runAsUserName: u}",
    );
}

#[test]
fn of_a_container() {
    check(
        "Container",
        "spec.containers[0].",
        container_yaml,
        "args done
         command done
         env done
         envFrom done
         image done
         imagePullPolicy done
         lifecycle {preStop: {sleep: {seconds: 1}}}
         livenessProbe {exec: {command: [x]}}
         name done
         ports done
         readinessProbe {exec: {command: [x]}}
         resizePolicy [{resourceName: cpu, restartPolicy: NotRequired}]
         resources done
         restartPolicy done
         restartPolicyRules done
         securityContext done
         startupProbe {exec: {command: [x]}}
         stdin done
         stdinOnce done
         terminationMessagePath done
         terminationMessagePolicy done
         tty done
         volumeDevices [{name: v, devicePath: /d}]
         volumeMounts done
         workingDir done",
    );
    let inside = |list: &'static str| move |field: &str| container_yaml(&format!("{list}: {{{field}}}"));
    check(
        "SecurityContext",
        "spec.containers[0].securityContext.",
        inside("securityContext"),
        "allowPrivilegeEscalation done
         appArmorProfile {type: RuntimeDefault}
         capabilities done
         privileged done
         procMount done
         readOnlyRootFilesystem done
         runAsGroup done
         runAsNonRoot done
         runAsUser done
         seLinuxOptions {level: x}
         seccompProfile done
         windowsOptions {runAsUserName: u}",
    );
    check(
        "ResourceRequirements",
        "spec.containers[0].resources.",
        inside("resources"),
        "claims [{name: gpu}]
         limits done
         requests done",
    );
    check(
        "EnvVarSource",
        "spec.containers[0].env[0].valueFrom.",
        |field| container_yaml(&format!("env: [{{name: A, valueFrom: {{{field}}}}}]")),
        "configMapKeyRef done
         fieldRef done
         fileKeyRef {key: k, path: p, volumeName: v}
         resourceFieldRef done
         secretKeyRef done",
    );
    check(
        "ContainerPort",
        "spec.containers[0].ports[0].",
        |field| container_yaml(&format!("ports: [{{containerPort: 1, {field}}}]")),
        "containerPort done
         hostIP done
         hostPort 80
         name done
         protocol done",
    );
    check(
        "VolumeMount",
        "spec.containers[0].volumeMounts[0].",
        |field| container_yaml(&format!("volumeMounts: [{{name: v, mountPath: /v, {field}}}]")),
        "mountPath done
         mountPropagation Bidirectional
         name done
         readOnly done
         recursiveReadOnly Enabled
         subPath done
         subPathExpr done",
    );
}

#[test]
fn of_a_volume() {
    check(
        "Volume",
        "spec.volumes[0].",
        |field| pod_yaml(&format!("volumes: [{{name: a, {field}}}]")),
        "awsElasticBlockStore {volumeID: v}
         azureDisk {diskName: d, diskURI: u}
         azureFile {secretName: s, shareName: x}
         cephfs {monitors: [m]}
         cinder {volumeID: v}
         configMap done
         csi {driver: d}
         downwardAPI done
         emptyDir done
         ephemeral {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce]}}}
         fc {lun: 1}
         flexVolume {driver: d}
         flocker {datasetName: d}
         gcePersistentDisk {pdName: p}
         gitRepo {repository: r}
         glusterfs {endpoints: e, path: p}
         hostPath done
         image {reference: r}
         iscsi {iqn: i, lun: 1, targetPortal: t}
         name done
         nfs {server: s, path: /}
         persistentVolumeClaim done
         photonPersistentDisk {pdID: p}
         portworxVolume {volumeID: v}
         projected done
         quobyte {registry: r, volume: v}
         rbd {image: i, monitors: [m]}
         scaleIO {gateway: g, system: s, secretRef: {name: x}}
         secret done
         storageos {volumeName: v}
         vsphereVolume {volumePath: p}",
    );
    check(
        "EmptyDirVolumeSource",
        "spec.volumes[0].emptyDir.",
        |field| pod_yaml(&format!("volumes: [{{name: a, emptyDir: {{{field}}}}}]")),
        "medium HugePages
         sizeLimit done",
    );
    check(
        "VolumeProjection",
        "spec.volumes[0].projected.sources[0].",
        |field| pod_yaml(&format!("volumes: [{{name: a, projected: {{sources: [{{{field}}}]}}}}]")),
        "clusterTrustBundle {path: p, name: x}
         configMap done
         downwardAPI done
         podCertificate {keyType: ED25519, signerName: a.b/c}
         secret done
         serviceAccountToken done",
    );
}
