//! Versions of the specification, and which one a field needs. As the reference library has it.

use crate::edits::{Edits, Spec};

/// All that were released and are still read.
const KNOWN: [&str; 8] = ["0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"];

/// Refuses a version that is not known, and one that is older than what the spec uses.
pub(crate) fn check(spec: &Spec) -> Result<(), String> {
    let said = spec.cdi_version.strip_prefix('v').unwrap_or(&spec.cdi_version);
    let Some(place) = KNOWN.iter().position(|known| *known == said) else {
        return Err(format!(
            "cdiVersion {:?} is not one of {}; generate the file with another version",
            spec.cdi_version,
            KNOWN.join(", ")
        ));
    };
    let (needed, why) = needed(spec);
    if place < needed {
        return Err(format!("cdiVersion {said} is too old for {why}, which needs {}", KNOWN[needed]));
    }
    Ok(())
}

/// The place of the oldest version that has all the spec uses, and what asks for it.
fn needed(spec: &Spec) -> (usize, &'static str) {
    let all = || spec.devices.iter().map(|device| &device.container_edits).chain([&spec.container_edits]);
    let any = |uses: fn(&Edits) -> bool| all().any(uses);
    let begins_otherwise = |name: &str| !name.starts_with(|c: char| c.is_ascii_alphabetic());
    let has_annotations =
        !spec.annotations.is_empty() || spec.devices.iter().any(|device| !device.annotations.is_empty());
    let class = spec.kind.split_once('/').map_or("", |(_, class)| class);
    let newest_first = [
        (7, any(|e| !e.net_devices.is_empty()), "netDevices"),
        (7, any(|e| e.intel_rdt.as_ref().is_some_and(|r| !r.schemata.is_empty())), "intelRdt.schemata"),
        (7, any(|e| e.intel_rdt.as_ref().is_some_and(|r| r.enable_monitoring)), "intelRdt.enableMonitoring"),
        (4, any(|e| e.intel_rdt.is_some()), "intelRdt"),
        (4, any(|e| !e.additional_gids.is_empty()), "additionalGids"),
        (3, has_annotations, "annotations"),
        (3, class.contains('.'), "a class with a dot"),
        (2, spec.devices.iter().any(|d| begins_otherwise(&d.name)), "a device name that begins with a digit"),
        (2, any(|e| e.device_nodes.iter().any(|n| !n.host_path.is_empty())), "deviceNodes.hostPath"),
        (1, any(|e| e.mounts.iter().any(|m| !m.kind.is_empty())), "mounts.type"),
    ];
    newest_first.into_iter().find(|(_, uses, _)| *uses).map_or((0, "it"), |(place, _, why)| (place, why))
}
