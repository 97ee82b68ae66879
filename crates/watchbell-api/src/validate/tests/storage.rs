use super::{Resource, check, check_update};

const CLAIM: &str = "spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}";

#[test]
fn claims() {
    let check = |yaml: &str, expected: &[&str]| check(Resource::PersistentVolumeClaim, yaml, expected);
    check(CLAIM, &[]);
    check(
        "spec: {accessModes: [ReadWriteOncePod], resources: {requests: {storage: 1}}, storageClassName: ''}",
        &[],
    );
    check(
        "spec: {}",
        &[
            "spec.accessModes: Required value: at least 1 access mode is required",
            "spec.resources[storage]: Required value",
        ],
    );
    check(
        "spec: {accessModes: [ReadWriteOncePod, ReadWriteMany, Any], resources: {requests: {storage: 0}}, \
         volumeMode: Tape, storageClassName: A_b}",
        &[
            "spec.accessModes: Unsupported value: \"Any\": supported values: \"ReadOnlyMany\", \"ReadWriteMany\", \
             \"ReadWriteOnce\", \"ReadWriteOncePod\"",
            "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
            "spec.resources[storage]: Invalid value: \"0\": must be greater than zero",
            "spec.storageClassName: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain must consist of lower case \
             alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. \
             'example.com', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            "spec.volumeMode: Unsupported value: \"Tape\": supported values: \"Block\", \"Filesystem\"",
        ],
    );
    let source = |fields: &str, expected: &[&str]| {
        let spec = CLAIM.strip_suffix('}').expect("a map");
        check(&format!("{spec}, {fields}}}"), expected);
    };
    source("dataSource: {kind: PersistentVolumeClaim, name: old}", &[]);
    source(
        "dataSource: {kind: Secret, name: old}",
        &[
            "spec.dataSource: Invalid value: \"Secret\": must be 'PersistentVolumeClaim' when referencing the default \
             apiGroup",
            "spec.dataSourceRef: Invalid value: \"Secret\": must be 'PersistentVolumeClaim' when referencing the default \
             apiGroup",
        ],
    );
    source(
        "dataSource: {kind: PersistentVolumeClaim, name: a}, dataSourceRef: {kind: PersistentVolumeClaim, name: b}",
        &["spec: Invalid value: \"spec.dataSource\": must match dataSourceRef"],
    );
}

#[test]
fn claims_hardly_change() {
    const IMMUTABLE: &str = "spec: Forbidden: spec is immutable after creation except resources.requests and \
                             volumeAttributesClassName for bound claims";
    let claim = |size: &str, rest: &str, status: &str| {
        format!(
            "spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: {size}}}}}{rest}}}\nstatus: {status}"
        )
    };
    let check = |old: &str, new: &str, expected: &[&str]| {
        check_update(Resource::PersistentVolumeClaim, old, new, expected);
    };
    let bound = "{phase: Bound, capacity: {storage: 1Gi}}";
    check(&claim("1Gi", "", "{}"), &claim("1Gi", "", "{}"), &[]);
    check(&claim("1Gi", "", "{}"), &claim("1Gi", ", volumeName: v", "{}"), &[]);
    check(&claim("1Gi", ", volumeName: v", "{}"), &claim("1Gi", ", volumeName: w", "{}"), &[IMMUTABLE]);
    check(&claim("1Gi", "", "{}"), &claim("1Gi", ", storageClassName: fast", "{}"), &[]);
    check(
        &claim("1Gi", ", storageClassName: slow", "{}"),
        &claim("1Gi", ", storageClassName: fast", "{}"),
        &[IMMUTABLE],
    );
    check(&claim("1Gi", "", bound), &claim("2Gi", "", "{}"), &[]);
    check(&claim("1Gi", "", "{}"), &claim("2Gi", "", "{}"), &[IMMUTABLE]);
    check(
        &claim("2Gi", "", bound),
        &claim("1Gi", "", "{}"),
        &["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"],
    );
    check(&claim("3Gi", "", bound), &claim("2Gi", "", "{}"), &[]);
    check(
        &claim("1Gi", "", "{}"),
        &claim("1Gi", ", volumeMode: Block", "{}"),
        &[IMMUTABLE, "volumeMode: Invalid value: \"Block\": field is immutable"],
    );
}

#[test]
fn volumes() {
    let volume =
        |rest: &str| format!("spec: {{accessModes: [ReadWriteOnce], capacity: {{storage: 1Gi}}, {rest}}}");
    let check = |rest: &str, expected: &[&str]| check(Resource::PersistentVolume, &volume(rest), expected);
    check("hostPath: {path: /srv/data}", &[]);
    check("nfs: {server: a, path: /b}, persistentVolumeReclaimPolicy: Recycle", &[]);
    check("", &["spec: Required value: must specify a volume type"]);
    check("nfs: {server: '', path: /b}", &["spec.nfs.server: Required value"]);
    check(
        "hostPath: {path: /a}, nfs: {server: a, path: /b}",
        &["spec.nfs: Forbidden: may not specify more than 1 volume type"],
    );
    check(
        "hostPath: {path: /a/../b}",
        &["spec.hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"],
    );
    check(
        "hostPath: {path: /}, persistentVolumeReclaimPolicy: Recycle",
        &["spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'"],
    );
    check(
        "local: {path: /a}",
        &["spec.local.nodeAffinity: Required value: Local volume requires node affinity"],
    );
    check(
        "hostPath: {path: /a}, persistentVolumeReclaimPolicy: Burn",
        &[
            "spec.persistentVolumeReclaimPolicy: Unsupported value: \"Burn\": supported values: \"Delete\", \"Recycle\", \
           \"Retain\"",
        ],
    );
    super::check(
        Resource::PersistentVolume,
        "spec: {hostPath: {path: /a}, capacity: {storage: 1Gi, cpu: 1}}",
        &[
            "spec.accessModes: Required value",
            "spec.capacity: Unsupported value: {\"storage\":\"1Gi\",\"cpu\":\"1\"}: supported values: \"storage\"",
        ],
    );
    let check = |old: &str, new: &str, expected: &[&str]| {
        check_update(Resource::PersistentVolume, &volume(old), &volume(new), expected);
    };
    check("hostPath: {path: /a}", "hostPath: {path: /a}, persistentVolumeReclaimPolicy: Delete", &[]);
    check(
        "hostPath: {path: /a}",
        "hostPath: {path: /b}, volumeMode: Block",
        &[
            "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation",
            "volumeMode: Invalid value: \"Block\": field is immutable",
        ],
    );
}

#[test]
fn storage_classes() {
    let check = |yaml: &str, expected: &[&str]| check(Resource::StorageClass, yaml, expected);
    check("provisioner: watchbell.dev/folder\nparameters: {a: b}", &[]);
    check("provisioner: ''", &["provisioner: Required value"]);
    check(
        "provisioner: a.b/c\nreclaimPolicy: Recycle\nvolumeBindingMode: Later",
        &[
            "reclaimPolicy: Unsupported value: \"Recycle\": supported values: \"Delete\", \"Retain\"",
            "volumeBindingMode: Unsupported value: \"Later\": supported values: \"Immediate\", \"WaitForFirstConsumer\"",
        ],
    );
    check_update(
        Resource::StorageClass,
        "provisioner: a.b/c",
        "provisioner: a.b/c\nallowVolumeExpansion: true",
        &[],
    );
    check_update(
        Resource::StorageClass,
        "provisioner: a.b/c",
        "provisioner: a.b/d\nparameters: {a: b}\nreclaimPolicy: Retain\nvolumeBindingMode: WaitForFirstConsumer",
        &[
            "parameters: Forbidden: updates to parameters are forbidden.",
            "provisioner: Forbidden: updates to provisioner are forbidden.",
            "reclaimPolicy: Forbidden: updates to reclaimPolicy are forbidden.",
            "volumeBindingMode: Invalid value: \"WaitForFirstConsumer\": field is immutable",
        ],
    );
}
