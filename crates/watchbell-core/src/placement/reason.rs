//! Why a pod waits, for its `PodScheduled` condition: Kubernetes' sentence, and the figures it leaves out.

use super::demand::{Amounts, Demand};
use super::taint::Taint;

/// More than the whole machine has.
pub(super) fn too_large(request: &Demand, machine: &Amounts, devices: impl Fn(&str) -> (u64, u64)) -> String {
    let mut lacks: Vec<String> = Vec::new();
    if let Some(name) = &request.missing {
        lacks.push(format!("1 Insufficient {name} (the machine has none)"));
    }
    for (kind, asks) in &request.devices {
        match devices(kind) {
            (0, _) => lacks.push(format!("1 Insufficient {kind} (the machine has none)")),
            (has, _) if *asks > has => {
                lacks.push(format!("1 Insufficient {kind} (asks {asks}, the machine has {has})"));
            }
            _ => {}
        }
    }
    let asks = request.amounts();
    for (name, asks, has, text) in each(&asks, machine) {
        if asks > has {
            lacks.push(format!("1 Insufficient {name} (asks {}, the machine has {})", text(asks), text(has)));
        }
    }
    sentence(&lacks)
}

/// More than is free now.
pub(super) fn no_room(
    request: &Demand,
    room: &Amounts,
    machine: &Amounts,
    devices: impl Fn(&str) -> (u64, u64),
) -> String {
    let asks = request.amounts();
    let mut lacks: Vec<String> = each(&asks, room)
        .into_iter()
        .zip(each(&asks, machine))
        .filter(|((_, asks, free, _), _)| asks > free)
        .map(|((name, asks, free, text), (_, _, all, _))| {
            format!("1 Insufficient {name} (asks {}, {} of {} is free)", text(asks), text(free), text(all))
        })
        .collect();
    for (kind, asks) in &request.devices {
        let (all, free) = devices(kind);
        if *asks > free {
            lacks.push(format!("1 Insufficient {kind} (asks {asks}, {free} of {all} is free)"));
        }
    }
    if asks.pods > room.pods {
        lacks.push(format!("1 Too many pods ({} run)", machine.pods));
    }
    sentence(&lacks)
}

pub(super) fn room_is_kept(overtakes: u32) -> String {
    sentence(&[format!(
        "room is kept for a pod that asks for more and that {overtakes} others have overtaken"
    )])
}

pub(super) fn not_selected() -> String {
    sentence(&["1 node(s) didn't match Pod's node affinity/selector".to_owned()])
}

pub(super) fn not_tolerated(taint: &Taint) -> String {
    if taint.is_cordon() {
        return sentence(&["1 node(s) were unschedulable".to_owned()]);
    }
    let value = if taint.value.is_empty() { String::new() } else { format!(": {}", taint.value) };
    sentence(&[format!("1 node(s) had untolerated taint {{{}{value}}}", taint.key)])
}

pub(super) fn not_its_turn() -> String {
    sentence(&["pods of a higher priority, or of namespaces that use less, go first".to_owned()])
}

fn sentence(lacks: &[String]) -> String {
    format!("0/1 nodes are available: {}.", lacks.join(", "))
}

type Printer = fn(u64) -> String;

fn each(asks: &Amounts, has: &Amounts) -> [(&'static str, u64, u64, Printer); 3] {
    [
        ("cpu", asks.cpu_millis, has.cpu_millis, cpu),
        ("memory", asks.memory_bytes, has.memory_bytes, bytes),
        ("ephemeral-storage", asks.ephemeral_storage_bytes, has.ephemeral_storage_bytes, bytes),
    ]
}

/// `250m`, `2`
fn cpu(millis: u64) -> String {
    if millis.is_multiple_of(1000) { (millis / 1000).to_string() } else { format!("{millis}m") }
}

/// `512Mi`, `23.4Gi`: to one decimal, as people compare sizes.
fn bytes(bytes: u64) -> String {
    const UNITS: [(&str, u32); 5] = [("Pi", 50), ("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];
    let Some((unit, shift)) = UNITS.into_iter().find(|(_, shift)| bytes >> shift > 0) else {
        return bytes.to_string();
    };
    let tenths = (u128::from(bytes) * 10) >> shift;
    match tenths % 10 {
        0 => format!("{}{unit}", tenths / 10),
        tenth => format!("{}.{tenth}{unit}", tenths / 10),
    }
}

#[cfg(test)]
mod tests {
    use super::{bytes, cpu};

    #[test]
    fn amounts_as_people_write_them() {
        assert_eq!([cpu(0), cpu(250), cpu(2_000), cpu(2_500)], ["0", "250m", "2", "2500m"]);
        let printed = [0, 1023, 1 << 10, 64 << 30, (24 << 30) - (600 << 20), u64::MAX].map(bytes);
        assert_eq!(printed, ["0", "1023", "1Ki", "64Gi", "23.4Gi", "16383.9Pi"]);
    }
}
