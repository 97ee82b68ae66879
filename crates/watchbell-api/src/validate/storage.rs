//! Claims, volumes and storage classes.

use serde_json::{Map, Value};

use super::at::At;
use super::findings::Findings;
use super::{scheduling, selector};
use crate::name;
use crate::quantity::Quantity;
use crate::schema::{Scalar, Shape, Table};

const MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];
pub(super) const CLASS_BETA: &str = "volume.beta.kubernetes.io/storage-class";
const CLAIM_IMMUTABLE: &str = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";

/// Where a volume can be: the fields of a PersistentVolumeSource.
pub(super) const SOURCES: [&str; 22] = [
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "csi",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "glusterfs",
    "hostPath",
    "iscsi",
    "local",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
];

pub(super) fn claim(f: &mut Findings, claim: &At<'_, '_>) {
    let spec = claim.field("spec");
    access_modes(f, &spec.field("accessModes"), "at least 1 access mode is required");
    if spec.field("selector").is_set() {
        selector::check(f, &spec.field("selector"));
    }
    let resources = spec.field("resources");
    let requests = resources.field("requests");
    let asked = requests.key("storage");
    if asked.is_set() {
        positive(f, &resources.key("storage"), asked.value);
    } else {
        f.required(&resources.key("storage"), "");
    }
    class_name(f, &spec.field("storageClassName"));
    f.one_of_if_set(&spec.field("volumeMode"), &VOLUME_MODES);
    let (source, reference) = (spec.field("dataSource"), spec.field("dataSourceRef"));
    for source in [&source, &reference] {
        data_source(f, source);
    }
    if source.is_set() && reference.is_set() {
        let differs = ["apiGroup", "kind", "name"]
            .iter()
            .any(|field| source.field(field).value != reference.field(field).value);
        if !reference.field("namespace").text().is_empty() {
            let detail = "may not be specified when dataSourceRef.namespace is specified";
            f.invalid_text(&spec, "spec.dataSource", detail);
        } else if differs {
            f.invalid_text(&spec, "spec.dataSource", "must match dataSourceRef");
        }
    }
    class_name(f, &spec.field("volumeAttributesClassName"));
}

/// A claim gets its volume once; of the rest only the size and the attributes of a bound one change.
pub(super) fn claim_update(f: &mut Findings, old: &At<'_, '_>, new: &At<'_, '_>) {
    claim(f, new);
    let annotation = |claim: &At<'_, '_>| {
        let metadata = claim.field("metadata");
        metadata.field("annotations").key(CLASS_BETA).text().to_owned()
    };
    let (old_note, new_note) = (annotation(old), annotation(new));
    let (old_spec, new_spec) = (old.field("spec"), new.field("spec"));
    let had_class = old_spec.field("storageClassName").is_set();
    let class = new_spec.field("storageClassName");
    let moves_class = !had_class && !old_note.is_empty() && class.is_set() && class.text() == old_note;
    if old_note != new_note && !(moves_class && new_note.is_empty()) {
        let metadata = new.field("metadata");
        f.invalid_text(&metadata.field("annotations").key(CLASS_BETA), &new_note, "field is immutable");
    }

    let status = old.field("status");
    let is_bound = status.field("phase").text() == "Bound";
    let empty = Map::new();
    let before = old_spec.value.as_object().unwrap_or(&empty);
    let mut after = new_spec.value.as_object().unwrap_or(&empty).clone();
    let mut keep = |field: &str| match before.get(field) {
        Some(value) => after.insert(field.into(), value.clone()),
        None => after.shift_remove(field),
    };
    keep("volumeAttributesClassName");
    if old_spec.field("volumeName").text().is_empty() {
        keep("volumeName");
    }
    if !had_class && (old_note.is_empty() || class.text() == old_note) {
        keep("storageClassName");
    }
    let size = |spec: &At<'_, '_>| {
        let resources = spec.field("resources");
        Quantity::from_value(resources.field("requests").key("storage").value).ok()
    };
    let (old_size, new_size) = (size(&old_spec), size(&new_spec));
    if is_bound
        && let Some(requests) = after.get_mut("resources").and_then(|r| r.get_mut("requests"))
        && requests.is_object()
    {
        let resources = old_spec.field("resources");
        requests["storage"] = resources.field("requests").key("storage").value.clone();
    }
    if !same(before, &after) {
        f.forbidden(&new_spec, CLAIM_IMMUTABLE);
    }
    if new_size < old_size {
        let capacity = status.field("capacity");
        let has = Quantity::from_value(capacity.key("storage").value).unwrap_or(Quantity::ZERO);
        if new_size.is_none_or(|size| size <= has) {
            let resources = new_spec.field("resources");
            let requests = resources.field("requests");
            f.forbidden(&requests.field("storage"), "field can not be less than status.capacity");
        }
    }
    f.immutable(&At::alone(new_spec.value, "volumeMode"), &At::alone(old_spec.value, "volumeMode"));
    let (old_class, new_class) =
        (old_spec.field("volumeAttributesClassName"), new_spec.field("volumeAttributesClassName"));
    if old_class.is_set() && !new_class.is_set() {
        f.forbidden(&new_class, "update from non-nil value to nil is forbidden");
    } else if old_class.is_set() && new_class.text().is_empty() {
        f.forbidden(&new_class, "update from non-nil value to an empty string is forbidden");
    }
}

pub(super) fn volume(f: &mut Findings, volume: &At<'_, '_>) {
    let spec = volume.field("spec");
    access_modes(f, &spec.field("accessModes"), "");
    let capacity = spec.field("capacity");
    if capacity.len() == 0 {
        f.required(&capacity, "");
    } else if !capacity.key("storage").is_set() || capacity.len() > 1 {
        f.not_supported(&capacity, &["storage"]);
    }
    for (_, amount) in capacity.entries() {
        positive(f, &amount, amount.value);
    }
    f.one_of_if_set(&spec.field("persistentVolumeReclaimPolicy"), &["Delete", "Recycle", "Retain"]);
    let affinity = spec.field("nodeAffinity");
    if affinity.is_set() {
        let required = affinity.field("required");
        if required.is_set() {
            scheduling::node_selector(f, &required);
        } else {
            f.required(&required, "must specify required node constraints");
        }
    }
    source(f, &spec);
    let host_path = spec.field("hostPath");
    let is_recycled = spec.field("persistentVolumeReclaimPolicy").text() == "Recycle";
    if is_recycled && host_path.is_set() && host_path.field("path").text().trim_matches('/').is_empty() {
        f.forbidden(
            &spec.field("persistentVolumeReclaimPolicy"),
            "may not be 'recycle' for a hostPath mount of '/'",
        );
    }
    class_name(f, &spec.field("storageClassName"));
    f.one_of_if_set(&spec.field("volumeMode"), &VOLUME_MODES);
    let attributes = spec.field("volumeAttributesClassName");
    if attributes.is_set() {
        if attributes.text().is_empty() {
            f.required(&attributes, "an empty string is disallowed");
        }
        class_name(f, &attributes);
        if !spec.field("csi").is_set() {
            f.required(&spec.field("csi"), "has to be specified when using volumeAttributesClassName");
        }
    }
}

pub(super) fn volume_update(f: &mut Findings, old: &At<'_, '_>, new: &At<'_, '_>) {
    volume(f, new);
    let (old, new) = (old.field("spec"), new.field("spec"));
    if SOURCES.iter().any(|source| old.field(source).value != new.field(source).value) {
        f.forbidden(
            &new.field("persistentvolumesource"),
            "spec.persistentvolumesource is immutable after creation",
        );
    }
    f.immutable(&At::alone(new.value, "volumeMode"), &At::alone(old.value, "volumeMode"));
    if old.field("nodeAffinity").is_set() {
        f.immutable(&At::alone(new.value, "nodeAffinity"), &At::alone(old.value, "nodeAffinity"));
    }
    let (before, after) = (old.field("volumeAttributesClassName"), new.field("volumeAttributesClassName"));
    if before.is_set() && !after.is_set() {
        f.forbidden(&after, "update from non-nil value to nil is forbidden");
    }
}

pub(super) fn storage_class(f: &mut Findings, class: &At<'_, '_>) {
    const PARAMETERS_MAX: usize = 512;
    const PARAMETERS_BYTES_MAX: usize = 256 << 10;
    let provisioner = class.field("provisioner");
    if f.present(&provisioner) {
        f.all_invalid(&provisioner, name::qualified(&provisioner.text().to_ascii_lowercase()));
    }
    let parameters = class.field("parameters");
    if parameters.len() > PARAMETERS_MAX {
        f.at_most(&parameters, PARAMETERS_MAX);
    }
    let mut bytes = 0;
    for (key, value) in parameters.entries() {
        if key.is_empty() {
            f.invalid_text(&parameters, key, "field can not be empty.");
        }
        bytes += key.len() + value.text().len();
    }
    if bytes > PARAMETERS_BYTES_MAX {
        f.too_long(&parameters, PARAMETERS_BYTES_MAX);
    }
    f.one_of_if_set(&class.field("reclaimPolicy"), &["Delete", "Retain"]);
    f.one_of(&class.field("volumeBindingMode"), &["Immediate", "WaitForFirstConsumer"]);
    for topology in class.field("allowedTopologies").items() {
        for requirement in topology.field("matchLabelExpressions").items() {
            let (key, values) = (requirement.field("key"), requirement.field("values"));
            f.all_invalid(&key, name::qualified(key.text()));
            if values.len() == 0 {
                f.required(&values, "");
            }
        }
    }
}

pub(super) fn storage_class_update(f: &mut Findings, old: &At<'_, '_>, new: &At<'_, '_>) {
    storage_class(f, new);
    for field in ["parameters", "provisioner", "reclaimPolicy"] {
        let field_at = new.field(field);
        if field_at.value != old.field(field).value {
            f.forbidden(&field_at, format_args!("updates to {field} are forbidden."));
        }
    }
    f.immutable(&new.field("volumeBindingMode"), &old.field("volumeBindingMode"));
}

fn access_modes(f: &mut Findings, modes: &At<'_, '_>, none: &str) {
    if modes.len() == 0 {
        f.required(modes, none);
    }
    let (mut alone, mut others) = (false, false);
    for mode in modes.items() {
        if !MODES.contains(&mode.text()) {
            f.not_supported_text(modes, mode.text(), &MODES);
        } else if mode.text() == "ReadWriteOncePod" {
            alone = true;
        } else {
            others = true;
        }
    }
    if alone && others {
        f.forbidden(modes, "may not use ReadWriteOncePod with other access modes");
    }
}

fn positive(f: &mut Findings, at: &At<'_, '_>, amount: &Value) {
    if let Ok(amount) = Quantity::from_value(amount)
        && (amount.is_negative() || amount.is_zero())
    {
        f.invalid_text(at, &amount.to_string(), "must be greater than zero");
    }
}

fn class_name(f: &mut Findings, class: &At<'_, '_>) {
    if !class.text().is_empty() {
        f.all_invalid(class, name::subdomain(class.text()));
    }
}

fn data_source(f: &mut Findings, source: &At<'_, '_>) {
    if !source.is_set() {
        return;
    }
    f.present(&source.field("name"));
    let (kind, group) = (source.field("kind"), source.field("apiGroup"));
    f.present(&kind);
    if group.text().is_empty() {
        if kind.text() != "PersistentVolumeClaim" {
            let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
            f.invalid_text(source, kind.text(), detail);
        }
    } else {
        f.all_invalid(&group, name::subdomain(group.text()));
    }
    let namespace = source.field("namespace");
    if !namespace.text().is_empty() {
        f.all_invalid(&namespace, name::label(namespace.text()));
    }
}

/// A volume is in one place; what the place needs is said by its type.
fn source(f: &mut Findings, spec: &At<'_, '_>) {
    let mut count = 0;
    for name in SOURCES {
        let source = spec.field(name);
        if !source.is_set() {
            continue;
        }
        count += 1;
        if count > 1 {
            f.forbidden(&source, "may not specify more than 1 volume type");
            continue;
        }
        for field in required_texts(name) {
            f.present(&source.field(field));
        }
        if name == "local" && !spec.field("nodeAffinity").is_set() {
            f.required(&source.field("nodeAffinity"), "Local volume requires node affinity");
        }
        let path = source.field("path");
        if matches!(name, "hostPath" | "local") && path.text().split('/').any(|part| part == "..") {
            f.invalid(&path, "must not contain '..'");
        }
    }
    if count == 0 {
        f.required(spec, "must specify a volume type");
    }
}

fn required_texts(source: &str) -> Vec<&'static str> {
    let table = Table::get();
    let spec = table.find("core.v1.PersistentVolumeSpec").map(|id| table.type_of(id));
    match spec.and_then(|spec| spec.field(source)).map(|field| &field.shape) {
        Some(Shape::Object(id)) => table
            .type_of(*id)
            .fields
            .iter()
            .filter(|field| field.is_required && field.shape == Shape::Scalar(Scalar::String))
            .map(|field| field.name)
            .collect(),
        _ => Vec::new(),
    }
}

/// Whether two specs say the same, whatever the order of their fields.
fn same(a: &Map<String, Value>, b: &Map<String, Value>) -> bool {
    let says = |map: &Map<String, Value>| map.values().filter(|value| !value.is_null()).count();
    says(a) == says(b) && a.iter().all(|(key, value)| b.get(key).unwrap_or(&Value::Null) == value)
}
