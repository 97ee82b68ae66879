use super::{Resource, check, container_yaml, pod_yaml};

#[track_caller]
fn pod(fields: &str, expected: &[&str]) {
    check(Resource::Pod, &pod_yaml(fields), expected);
}

/// `@` stands for the container.
#[track_caller]
fn container(fields: &str, expected: &[&str]) {
    let expected: Vec<String> = expected.iter().map(|text| text.replace('@', "spec.containers[0]")).collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    check(Resource::Pod, &container_yaml(fields), &expected);
}

#[test]
fn containers() {
    container("tty: true", &[]);
    check(Resource::Pod, "spec: {}", &["spec.containers: Required value"]);
    check(
        Resource::Pod,
        "spec: {containers: [{}, {name: A}, {name: b, image: ' i'}], initContainers: [{name: b, image: i}]}",
        &[
            "spec.containers[0].name: Required value",
            "spec.containers[0].image: Required value",
            "spec.containers[1].name: Invalid value: \"A\": a lowercase RFC 1123 label must consist of lower case alphanumeric \
             characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used \
             for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
            "spec.containers[1].image: Required value",
            "spec.containers[2].image: Invalid value: \" i\": must not have leading or trailing whitespace",
            "spec.initContainers[0].name: Duplicate value: \"b\"",
        ],
    );
    container(
        "terminationMessagePolicy: Log\nimagePullPolicy: always",
        &[
            "@.terminationMessagePolicy: Unsupported value: \"Log\": supported values: \"File\", \"FallbackToLogsOnError\"",
            "@.imagePullPolicy: Unsupported value: \"always\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
        ],
    );
    container("restartPolicy: Always", &[]);
    container(
        "restartPolicy: Sometimes",
        &[
            "@.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"Never\", \"OnFailure\"",
        ],
    );
    container(
        "restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [3]}}, {action: Again, exitCodes: {}}, {}]",
        &[
            "@.restartPolicy: Required value: must specify restartPolicy when restart rules are used",
            "@.restartPolicyRules[1].action: Unsupported value: \"Again\": supported values: \"Restart\"",
            "@.restartPolicyRules[1].exitCodes.operator: Unsupported value: \"\": supported values: \"In\", \"NotIn\"",
            "@.restartPolicyRules[2].action: Unsupported value: \"\": supported values: \"Restart\"",
            "@.restartPolicyRules[2].exitCodes: Required value: must be specified",
        ],
    );
}

#[test]
fn init_containers() {
    let init = |fields: &str, expected: &[&str]| {
        pod(&format!("initContainers: [{{name: a, image: i, {fields}}}]"), expected);
    };
    init("restartPolicy: Always, livenessProbe: {exec: {command: [x]}}", &[]);
    init("restartPolicy: OnFailure", &[]);
    init(
        "livenessProbe: {exec: {command: [x]}}, lifecycle: {}",
        &[
            "spec.initContainers[0].lifecycle: Forbidden: may not be set for init containers without restartPolicy=Always",
            "spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
        ],
    );
}

#[test]
fn ports() {
    container(
        "ports: [{containerPort: 80, name: http}, {containerPort: 53, hostPort: 53, protocol: UDP}]",
        &[],
    );
    container(
        "ports: [{name: http}, {containerPort: 70000, name: http}, {containerPort: 1, hostPort: -1, protocol: IP, name: A--}]",
        &[
            "@.ports[0].containerPort: Required value",
            "@.ports[1].name: Duplicate value: \"http\"",
            "@.ports[1].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
            "@.ports[2].name: Invalid value: \"A--\": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
            "@.ports[2].name: Invalid value: \"A--\": must contain at least one letter (a-z)",
            "@.ports[2].name: Invalid value: \"A--\": must not contain consecutive hyphens",
            "@.ports[2].name: Invalid value: \"A--\": must not begin or end with a hyphen",
            "@.ports[2].hostPort: Invalid value: -1: must be between 1 and 65535, inclusive",
            "@.ports[2].protocol: Unsupported value: \"IP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
        ],
    );
    container(
        "ports: [{containerPort: 1, hostPort: 9}, {containerPort: 2, hostPort: 9}]",
        &["@.ports[1].hostPort: Duplicate value: \"TCP//9\""],
    );
    check(
        Resource::Pod,
        "spec: {hostNetwork: true, containers: [{name: c, image: i, ports: [{containerPort: 1, hostPort: 2}]}]}",
        &[
            "spec.containers[0].ports[0].hostPort: Invalid value: 2: must match `containerPort` when `hostNetwork` is true",
        ],
    );
}

#[test]
fn variables() {
    container(
        "env: [{name: A}, {name: a.b-c d, value: x}, {name: B, valueFrom: {configMapKeyRef: {name: m, key: k}}}]",
        &[],
    );
    container(
        "env: [{}, {name: A=B}, {name: Ä}]",
        &[
            "@.env[0].name: Required value",
            "@.env[1].name: Invalid value: \"A=B\": a valid environment variable name must consist only of printable ASCII characters other than '='",
            "@.env[2].name: Invalid value: \"Ä\": a valid environment variable name must consist only of printable ASCII characters other than '='",
        ],
    );
    container(
        "env: [{name: A, valueFrom: {}}, {name: B, value: x, valueFrom: {fieldRef: {fieldPath: metadata.name}}},\n  \
         {name: C, valueFrom: {fieldRef: {fieldPath: metadata.name}, resourceFieldRef: {resource: limits.cpu}}}]",
        &[
            "@.env[0].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
            "@.env[1].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty",
            "@.env[2].valueFrom: Invalid value: \"\": may not have more than one field specified at a time",
        ],
    );
    let field = |path: &str, expected: &[&str]| {
        container(
            &format!("env: [{{name: A, valueFrom: {{fieldRef: {{fieldPath: \"{path}\"}}}}}}]"),
            expected,
        );
    };
    field("metadata.labels['example.com/x']", &[]);
    field(
        "metadata.labels",
        &[
            "@.env[0].valueFrom.fieldRef.fieldPath: Unsupported value: \"metadata.labels\": supported values: \"metadata.name\", \
           \"metadata.namespace\", \"metadata.uid\", \"spec.nodeName\", \"spec.serviceAccountName\", \"status.hostIP\", \
           \"status.hostIPs\", \"status.podIP\", \"status.podIPs\"",
        ],
    );
    field(
        "spec.foo",
        &[
            "@.env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"spec.foo\": error converting fieldPath: field label not supported: spec.foo",
        ],
    );
    container(
        "env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 2}}}, {name: B, valueFrom: {secretKeyRef: {name: s, key: a/b}}}]",
        &[
            "@.env[0].valueFrom.resourceFieldRef.divisor: Invalid value: \"limits.cpu\": only divisor's values 1m and 1 are supported with the cpu resource",
            "@.env[1].valueFrom.secretKeyRef.key: Invalid value: \"a/b\": a valid config key must consist of alphanumeric \
             characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is \
             '[-._a-zA-Z0-9]+')",
        ],
    );
    container(
        "envFrom: [{}, {configMapRef: {name: m}, secretRef: {name: s}}, {secretRef: {}}]",
        &[
            "@.envFrom[0]: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`",
            "@.envFrom[1]: Invalid value: \"\": may not have more than one field specified at a time",
            "@.envFrom[2].secretRef.name: Required value",
        ],
    );
}

#[test]
fn mounts() {
    container(
        "volumeMounts: [{name: v, mountPath: /a, subPath: x/z}, {name: v, mountPath: /b, readOnly: true, recursiveReadOnly: Enabled}]",
        &[],
    );
    container(
        "volumeMounts: [{name: w, mountPath: /a}, {name: v, mountPath: /a, subPath: ../b, subPathExpr: /c}, {}]",
        &[
            "@.volumeMounts[0].name: Not found: \"w\"",
            "@.volumeMounts[1].mountPath: Invalid value: \"/a\": must be unique",
            "@.volumeMounts[1].subPath: Invalid value: \"../b\": must not contain '..'",
            "@.volumeMounts[1].subPathExpr: Invalid value: \"/c\": subPathExpr and subPath are mutually exclusive",
            "@.volumeMounts[1].subPathExpr: Invalid value: \"/c\": must be a relative path",
            "@.volumeMounts[2].name: Required value",
            "@.volumeMounts[2].name: Not found: \"\"",
            "@.volumeMounts[2].mountPath: Required value",
        ],
    );
    container(
        "volumeMounts: [{name: v, mountPath: /a, mountPropagation: Bidirectional, recursiveReadOnly: Enabled}]",
        &[
            "@.volumeMounts[0].mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers",
            "@.volumeMounts[0].recursiveReadOnly: Forbidden: may only be specified when readOnly is true",
            "@.volumeMounts[0].recursiveReadOnly: Forbidden: may only be specified when mountPropagation is None or not specified",
        ],
    );
    container(
        "volumeDevices: [{name: v, devicePath: /dev/x}]",
        &[
            "@.volumeDevices[0].name: Invalid value: \"v\": can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
        ],
    );
}

#[test]
fn resources() {
    container("resources: {limits: {cpu: 1, memory: 1Gi, example.com/gpu: 2}, requests: {cpu: 500m}}", &[]);
    container(
        "resources: {limits: {cpu: -1, memory: 1Gi}, requests: {cpu: -2, memory: 2Gi}}",
        &[
            "@.resources.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
            "@.resources.requests[cpu]: Invalid value: \"-2\": must be greater than or equal to 0",
            "@.resources.requests: Invalid value: \"2Gi\": must be less than or equal to memory limit of 1Gi",
        ],
    );
    container(
        "resources: {requests: {gpu: 1, pods: 1, example.com/gpu: 500m, 'a b': 1}}",
        &[
            "@.resources.requests[gpu]: Invalid value: \"gpu\": must be a standard resource type or fully qualified",
            "@.resources.requests[gpu]: Invalid value: \"gpu\": must be a standard resource for containers",
            "@.resources.requests[pods]: Invalid value: \"pods\": must be a standard resource for containers",
            "@.resources.requests[example.com/gpu]: Invalid value: \"500m\": must be an integer",
            "@.resources.limits: Required value: Limit must be set for non overcommitable resources",
            "@.resources.requests[a b]: Invalid value: \"a b\": name part must consist of alphanumeric characters, '-', '_' or \
             '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex \
             used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
        ],
    );
    container(
        "resources: {limits: {hugepages-2Mi: 2Mi}, claims: [{name: x}]}",
        &[
            "@.resources: Forbidden: HugePages require cpu or memory",
            "@.resources.claims[0].name: Not found: \"x\"",
        ],
    );
}

#[test]
fn probes_and_hooks() {
    container(
        "livenessProbe: {httpGet: {port: http}}\nreadinessProbe: {tcpSocket: {port: 80}}\nlifecycle: {preStop: {sleep: {seconds: 5}}}",
        &[],
    );
    container(
        "livenessProbe: {successThreshold: 2, periodSeconds: -1, exec: {}}\nreadinessProbe: {terminationGracePeriodSeconds: 0, grpc: {port: 0}}\nstartupProbe: {}",
        &[
            "@.livenessProbe.exec.command: Required value",
            "@.livenessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0",
            "@.livenessProbe.successThreshold: Invalid value: 2: must be 1",
            "@.readinessProbe.grpc.port: Invalid value: 0: must be between 1 and 65535, inclusive",
            "@.readinessProbe.terminationGracePeriodSeconds: Invalid value: 0: must be greater than 0",
            "@.readinessProbe.terminationGracePeriodSeconds: Invalid value: 0: must not be set for readinessProbes",
            "@.startupProbe: Required value: must specify a handler type",
        ],
    );
    container(
        "lifecycle: {preStop: {sleep: {seconds: 31}, exec: {command: [x]}}, postStart: {sleep: {seconds: 31}}, stopSignal: SIGTERM}",
        &[
            "@.lifecycle.postStart.sleep.seconds: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)",
            "@.lifecycle.preStop.sleep: Forbidden: may not specify more than 1 handler type",
            "@.lifecycle.stopSignal: Forbidden: may not be set for containers with empty `spec.os.name`",
        ],
    );
}

#[test]
fn volumes() {
    pod(
        "volumes: [{name: a, emptyDir: {sizeLimit: 1Gi}}, {name: b, configMap: {name: m, items: [{key: k, path: p/q}]}}, {name: c, hostPath: {path: /tmp}}]",
        &[],
    );
    pod(
        "volumes: [{name: a}, {name: a}, {name: A, emptyDir: {sizeLimit: -1}}, {}, {name: b, emptyDir: {}, hostPath: {path: /}}]",
        &[
            "spec.volumes[1].name: Duplicate value: \"a\"",
            "spec.volumes[2].emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid resource quantity",
            "spec.volumes[2].name: Invalid value: \"A\": a lowercase RFC 1123 label must consist of lower case alphanumeric \
             characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used \
             for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
            "spec.volumes[3].name: Required value",
            "spec.volumes[4].hostPath: Forbidden: may not specify more than 1 volume type",
        ],
    );
    pod(
        "volumes: [{name: a, hostPath: {path: /a/../b, type: Dir}}, {name: b, secret: {defaultMode: 512}}, {name: c, nfs: {}}]",
        &[
            "spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
            "spec.volumes[0].hostPath.type: Unsupported value: \"Dir\": supported values: \"\", \"BlockDevice\", \"CharDevice\", \
             \"Directory\", \"DirectoryOrCreate\", \"File\", \"FileOrCreate\", \"Socket\"",
            "spec.volumes[1].secret.secretName: Required value",
            "spec.volumes[1].secret.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive",
            "spec.volumes[2].nfs.server: Required value",
            "spec.volumes[2].nfs.path: Required value",
        ],
    );
    pod(
        "volumes: [{name: a, configMap: {name: m, items: [{key: k, path: ../x}, {path: ..x, mode: -1}, {key: k, path: /x}]}},\n  \
         {name: b, downwardAPI: {items: [{path: p}, {path: q, fieldRef: {fieldPath: spec.nodeName}}, {path: r, resourceFieldRef: {resource: limits.cpu}}]}}]",
        &[
            "spec.volumes[0].configMap.items[0].path: Invalid value: \"../x\": must not contain '..'",
            "spec.volumes[0].configMap.items[1].key: Required value",
            "spec.volumes[0].configMap.items[1].path: Invalid value: \"..x\": must not start with '..'",
            "spec.volumes[0].configMap.items[1].mode: Invalid value: -1: must be a number between 0 and 0777 (octal), both inclusive",
            "spec.volumes[0].configMap.items[2].path: Invalid value: \"/x\": must be a relative path",
            "spec.volumes[1].downwardAPI.items[0]: Required value: one of fieldRef and resourceFieldRef is required",
            "spec.volumes[1].downwardAPI.items[1].fieldRef.fieldPath: Unsupported value: \"spec.nodeName\": supported values: \
             \"metadata.annotations\", \"metadata.labels\", \"metadata.name\", \"metadata.namespace\", \"metadata.uid\"",
            "spec.volumes[1].downwardAPI.items[2].resourceFieldRef.containerName: Required value",
        ],
    );
    pod(
        "volumes: [{name: a, projected: {sources: [{secret: {name: s, items: [{key: a, path: x}]}}, {configMap: {name: m, items: [{key: b, path: x}]}},\n  \
         {secret: {}, configMap: {name: m}}, {serviceAccountToken: {path: t, expirationSeconds: 60}}]}}]",
        &[
            "spec.volumes[0].projected.sources[1].configMap.items[0].path: Invalid value: \"x\": conflicting duplicate paths",
            "spec.volumes[0].projected.sources[2].secret.name: Required value",
            "spec.volumes[0].projected.sources[2]: Forbidden: may not specify more than 1 volume type per source",
            "spec.volumes[0].projected.sources[3].serviceAccountToken.expirationSeconds: Invalid value: 60: may not specify a duration less than 10 minutes",
        ],
    );
}

#[test]
fn security() {
    pod("securityContext: {runAsUser: 2147483647, fsGroup: 0, seccompProfile: {type: RuntimeDefault}}", &[]);
    pod(
        "securityContext: {runAsUser: -1, runAsGroup: 2147483648, supplementalGroups: [1, -1], seccompProfile: {type: Localhost}}",
        &[
            "spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
            "spec.securityContext.runAsGroup: Invalid value: 2147483648: must be between 0 and 2147483647, inclusive",
            "spec.securityContext.supplementalGroups[1]: Invalid value: -1: must be between 0 and 2147483647, inclusive",
            "spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
        ],
    );
    container(
        "securityContext: {privileged: true, allowPrivilegeEscalation: false, procMount: Unmasked, seccompProfile: {}}",
        &[
            "@.securityContext.procMount: Invalid value: \"Unmasked\": `hostUsers` must be false to use `Unmasked`",
            "@.securityContext.seccompProfile.type: Required value: type is required when seccompProfile is set",
            "@.securityContext: Invalid value: {\"privileged\":true,\"allowPrivilegeEscalation\":false,\"procMount\":\"Unmasked\",\
             \"seccompProfile\":{}}: cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
        ],
    );
    pod(
        "hostUsers: false\nhostPID: true\nshareProcessNamespace: true",
        &[
            "spec.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled",
            "spec.hostPID: Forbidden: when `hostUsers` is false",
        ],
    );
    pod(
        "hostNetwork: true\nsecurityContext: {sysctls: [{name: net.core.somaxconn, value: '1'}, {name: A}, {name: kernel.sem}, {name: kernel.sem}]}",
        &[
            "spec.securityContext.sysctls[0].name: Invalid value: \"net.core.somaxconn\": may not be specified when 'hostNetwork' is true",
            "spec.securityContext.sysctls[1].name: Invalid value: \"A\": must have at most 253 characters and match regex \
             ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$",
            "spec.securityContext.sysctls[3].name: Duplicate value: \"kernel.sem\"",
        ],
    );
}

/// Pod Security leaves these fields unjudged in a pod for Windows, as it cannot have them.
#[test]
fn a_pod_for_windows_has_nothing_of_linux() {
    let context = "runAsUser: 0, runAsGroup: 0, fsGroup: 0, supplementalGroups: [1], seccompProfile: {type: Unconfined}";
    let windows = "os: {name: windows}";
    pod(
        &format!("{windows}\nsecurityContext: {{runAsNonRoot: true, windowsOptions: {{runAsUserName: u}}}}"),
        &[],
    );
    pod(&format!("os: {{name: linux}}\nhostUsers: false\nsecurityContext: {{{context}}}"), &[]);
    let path = |field: &str| format!("spec.{field}: Forbidden: cannot be set for a windows pod");
    let refused = |yaml: &str, fields: &[&str]| {
        let words: Vec<String> = fields.iter().map(|field| path(field)).collect();
        pod(&format!("{windows}\n{yaml}"), &words.iter().map(String::as_str).collect::<Vec<&str>>());
    };
    refused(
        &format!("hostUsers: false\nsecurityContext: {{{context}}}"),
        &[
            "hostUsers",
            "securityContext.fsGroup",
            "securityContext.runAsGroup",
            "securityContext.runAsUser",
            "securityContext.seccompProfile",
            "securityContext.supplementalGroups",
        ],
    );
    refused("hostPID: true\nhostIPC: true", &["hostPID", "hostIPC"]);
    refused(
        "initContainers: [{name: i, image: x, terminationMessagePolicy: File, imagePullPolicy: Always, securityContext: \
         {allowPrivilegeEscalation: true, capabilities: {add: [ALL]}, privileged: true, procMount: Default, \
         readOnlyRootFilesystem: false, runAsUser: 0}}]",
        &[
            "initContainers[0].securityContext.allowPrivilegeEscalation",
            "initContainers[0].securityContext.capabilities",
            "initContainers[0].securityContext.privileged",
            "initContainers[0].securityContext.procMount",
            "initContainers[0].securityContext.readOnlyRootFilesystem",
            "initContainers[0].securityContext.runAsUser",
        ],
    );
}

#[test]
fn the_rest_of_the_spec() {
    pod(
        "activeDeadlineSeconds: 1\nhostname: h\nsubdomain: s\nterminationGracePeriodSeconds: 0\nos: {name: linux}",
        &[],
    );
    pod(
        "activeDeadlineSeconds: 0\nhostname: a.b\nrestartPolicy: Perhaps\ndnsPolicy: Some\nserviceAccountName: A\npreemptionPolicy: ''\nos: {name: beos}",
        &[
            "spec.restartPolicy: Unsupported value: \"Perhaps\": supported values: \"Always\", \"OnFailure\", \"Never\"",
            "spec.dnsPolicy: Unsupported value: \"Some\": supported values: \"ClusterFirstWithHostNet\", \"ClusterFirst\", \"Default\", \"None\"",
            "spec.serviceAccountName: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case \
             alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', \
             regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            "spec.hostname: Invalid value: \"a.b\": a lowercase RFC 1123 label must consist of lower case alphanumeric \
             characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex \
             used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
            "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
            "spec.preemptionPolicy: Required value",
            "spec.os.name: Unsupported value: \"beos\": supported values: \"linux\", \"windows\"",
        ],
    );
    pod(
        "dnsPolicy: None\nhostAliases: [{ip: 1.2.3, hostnames: [a_b]}]",
        &[
            "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None",
            "spec.hostAliases[0].ip: Invalid value: \"1.2.3\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            "spec.hostAliases[0].hostnames[0]: Invalid value: \"a_b\": a lowercase RFC 1123 subdomain must consist of lower case \
             alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', \
             regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        ],
    );
    pod("dnsConfig: {nameservers: [1.1.1.1], searches: [_x.a_b.example., .]}", &[]);
    pod(
        "nodeName: m\nschedulingGates: [{name: g}, {name: g}]",
        &[
            "spec.schedulingGates[1]: Duplicate value: \"g\"",
            "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared",
        ],
    );
    pod(
        "ephemeralContainers: [{name: e, image: i}]",
        &["spec.ephemeralContainers: Forbidden: cannot be set on create"],
    );
}

#[test]
fn scheduling() {
    pod(
        "tolerations: [{operator: Exists}, {key: a, value: b, effect: NoExecute, tolerationSeconds: 3}]",
        &[],
    );
    pod(
        "tolerations: [{}, {key: a, operator: Exists, value: b}, {key: a, effect: NoSchedule, tolerationSeconds: 1}, {key: a, operator: Is, effect: Nope}]",
        &[
            "spec.tolerations[0].operator: Invalid value: \"\": operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            "spec.tolerations[1].operator: Invalid value: \"b\": value must be empty when `operator` is 'Exists'",
            "spec.tolerations[2].effect: Invalid value: \"NoSchedule\": effect must be 'NoExecute' when `tolerationSeconds` is set",
            "spec.tolerations[3].operator: Unsupported value: \"Is\": supported values: \"Equal\", \"Exists\"",
            "spec.tolerations[3].effect: Unsupported value: \"Nope\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
        ],
    );
    pod(
        "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: []}}}\n\
         topologySpreadConstraints: [{maxSkew: 0, whenUnsatisfiable: Wait}]",
        &[
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must \
             have at least one node selector term",
            "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
            "spec.topologySpreadConstraints[0].topologyKey: Required value: can not be empty",
            "spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: \"Wait\": supported values: \
             \"DoNotSchedule\", \"ScheduleAnyway\"",
        ],
    );
}
