//! What must hold of a spec whoever runs it: the reference library's rules, and bounds.

use std::collections::BTreeSet;

use crate::edits::{Edits, Hook, Spec};
use crate::{names, version};

/// Devices of one spec.
const DEVICES_MAX: usize = 1024;
/// Entries of each list of one device's edits. NVIDIA's driver has about 50 files.
const ENTRIES_MAX: usize = 1024;
/// Of one text: a path.
const TEXT_BYTES_MAX: usize = 4096;

pub(crate) const HOOKS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

pub(crate) fn spec(spec: &Spec) -> Result<(), String> {
    names::check_kind(&spec.kind)?;
    version::check(spec)?;
    if spec.devices.is_empty() {
        return Err("devices is empty".to_owned());
    }
    if spec.devices.len() > DEVICES_MAX {
        return Err(format!("devices has more than {DEVICES_MAX} entries"));
    }
    edits(&spec.container_edits)?;
    let mut seen = BTreeSet::new();
    for device in &spec.devices {
        names::check_device(&device.name)?;
        if !seen.insert(&device.name) {
            return Err(format!("device {:?} stands there twice", device.name));
        }
        if device.container_edits.is_empty() {
            return Err(format!("device {:?}: containerEdits is empty", device.name));
        }
        edits(&device.container_edits).map_err(|why| format!("device {:?}: {why}", device.name))?;
    }
    Ok(())
}

fn edits(edits: &Edits) -> Result<(), String> {
    let lengths = [
        edits.env.len(),
        edits.device_nodes.len(),
        edits.net_devices.len(),
        edits.hooks.len(),
        edits.mounts.len(),
        edits.additional_gids.len(),
    ];
    if lengths.iter().any(|length| *length > ENTRIES_MAX) {
        return Err(format!("a list of containerEdits has more than {ENTRIES_MAX} entries"));
    }
    variables(&edits.env)?;
    for node in &edits.device_nodes {
        text("deviceNodes.path", &node.path)?;
        let at = format!("deviceNodes {:?}", node.path);
        if node.path.is_empty() {
            return Err("deviceNodes.path is empty".to_owned());
        }
        optional_text(&format!("{at}: hostPath"), &node.host_path)?;
        if !["", "b", "c", "u", "p"].contains(&node.kind.as_str()) {
            return Err(format!("{at}: type {:?} is none of b, c, u, p", node.kind));
        }
        if !(0..=0xfff).contains(&node.major) || !(0..=0xf_ffff).contains(&node.minor) {
            return Err(format!("{at}: {}:{} is no device number", node.major, node.minor));
        }
        if node.permissions != "none" && !node.permissions.chars().all(|c| "rwm".contains(c)) {
            return Err(format!("{at}: permissions {:?} are not of r, w, m, or none", node.permissions));
        }
        if node.file_mode.is_some_and(|mode| mode & !0o777 != 0) {
            return Err(format!("{at}: fileMode has more than permission bits"));
        }
    }
    for hook in &edits.hooks {
        self::hook(hook).map_err(|why| format!("hooks {:?}: {why}", hook.path))?;
    }
    for mount in &edits.mounts {
        text("mounts.hostPath", &mount.host_path)?;
        text("mounts.containerPath", &mount.container_path)?;
    }
    let (mut hosts, mut names) = (BTreeSet::new(), BTreeSet::new());
    for device in &edits.net_devices {
        text("netDevices.hostInterfaceName", &device.host_interface_name)?;
        text("netDevices.name", &device.name)?;
        if !hosts.insert(&device.host_interface_name) || !names.insert(&device.name) {
            return Err(format!("netDevices has {:?} twice", device.name));
        }
    }
    match &edits.intel_rdt {
        Some(rdt) if rdt.clos_id != "/" && is_no_file_name(&rdt.clos_id) => {
            Err("intelRdt.closID is no file name".to_owned())
        }
        _ => Ok(()),
    }
}

fn hook(hook: &Hook) -> Result<(), String> {
    if !HOOKS.contains(&hook.hook_name.as_str()) {
        return Err(format!("hookName {:?} is none of {}", hook.hook_name, HOOKS.join(", ")));
    }
    text("path", &hook.path)?;
    if hook.args.len() > ENTRIES_MAX {
        return Err(format!("args has more than {ENTRIES_MAX} entries"));
    }
    for arg in &hook.args {
        optional_text("args", arg)?;
    }
    if hook.timeout.is_some_and(|seconds| seconds <= 0) {
        return Err("timeout must be above 0".to_owned());
    }
    variables(&hook.env)
}

fn variables(env: &[String]) -> Result<(), String> {
    if env.len() > ENTRIES_MAX {
        return Err(format!("env has more than {ENTRIES_MAX} entries"));
    }
    for variable in env {
        optional_text("env", variable)?;
        if variable.find('=').is_none_or(|at| at == 0) {
            return Err(format!("env {variable:?} is not NAME=value"));
        }
    }
    Ok(())
}

fn text(field: &str, value: &str) -> Result<(), String> {
    if value.is_empty() {
        return Err(format!("{field} is empty"));
    }
    optional_text(field, value)
}

fn optional_text(field: &str, value: &str) -> Result<(), String> {
    if value.len() > TEXT_BYTES_MAX {
        return Err(format!("{field} is longer than {TEXT_BYTES_MAX} bytes"));
    }
    if value.contains('\0') {
        return Err(format!("{field} holds a NUL byte"));
    }
    Ok(())
}

fn is_no_file_name(name: &str) -> bool {
    name.len() >= TEXT_BYTES_MAX || name == "." || name == ".." || name.contains(['/', '\n'])
}
