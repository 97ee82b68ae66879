//! Which attacks of docs/attacks.md a step stands against.

use super::Step;

/// Everything of the kernel that the filter keeps a task from.
const OF_THE_FILTER: &[u8] = &[4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 19, 20];

impl Step {
    /// The numbers of docs/attacks.md that it helps to stop, in order. Many are stopped by two steps.
    pub fn attacks(&self) -> &'static [u8] {
        match self {
            Step::LeaseIds => &[1, 2, 8, 17, 39],
            Step::MakeVolumes(_) => &[27, 29, 31, 61],
            Step::LayVolume { .. } => &[18, 31, 35],
            Step::MountRoot { .. } => &[18, 22, 35, 53],
            Step::LeaseControlGroup => &[37, 38],
            Step::SetLimits => &[33, 34, 40],
            Step::BeginClocks { .. } => &[32],
            Step::OpenDoor => &[15, 63, 64, 65],
            Step::Clone { .. } => &[7, 8, 37, 38],
            Step::HideMemory => &[8],
            Step::BecomeRootInside => &[18],
            Step::LeaveNamespaces { .. } => &[3, 15],
            Step::LoopbackUp => &[15],
            Step::LeaveHostMounts { .. } | Step::AttachRoot | Step::EnterRoot => &[4],
            Step::MountProc => &[8, 28],
            Step::MaskProc => &[1, 2, 23, 25, 32],
            Step::MountSys { .. } | Step::HideSys => &[1, 32],
            Step::ShowLimits => &[3],
            Step::MountDev => &[17, 23, 24, 26],
            Step::HandOutDevices { .. } | Step::MountDeviceFile(_) => &[17],
            Step::MountPts => &[20, 24],
            Step::MountShm | Step::MountTmp => &[34, 35],
            Step::MountVolume(_) => &[25, 27, 29],
            Step::RestrictFiles(_) => &[1, 3, 8, 15],
            Step::CloneIntoControlGroup => &[33, 34, 40],
            Step::HideFromPeers => &[8, 22],
            Step::EnterNamespaces(_) => &[7],
            Step::CloneInside | Step::CloseDescriptors | Step::EnterDirectory(_) => &[21],
            Step::NewSession => &[20],
            Step::OpenTerminal => &[20, 24],
            Step::NewKeyring => &[9],
            Step::Limits => &[39, 61],
            Step::DropBoundingSet(_) | Step::BecomeUser { .. } | Step::NoNewPrivileges => &[18],
            Step::DieWithSpawner => &[37],
            Step::Filter | Step::FilterFurther => OF_THE_FILTER,
            Step::DropCapabilities(_) => &[4, 7, 10, 15, 16, 18, 40],
            Step::Execute(_) => &[57],
            Step::TakeTask | Step::SetHostname | Step::MountQueues | Step::MountEtc | Step::Trace => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Step;
    use super::super::tests::strict;
    use crate::{plan, plan_entry};

    /// A start stands against every attack from inside a task but the two that are the keeper's, and names no other than the
    /// document has.
    #[test]
    fn a_start_stands_against_what_the_document_lists() {
        let document = include_str!("../../../../../docs/attacks.md");
        let steps = [plan(&strict()), plan_entry(&strict(), true)].concat();
        let mut named: Vec<u8> = steps.iter().flat_map(Step::attacks).copied().collect();
        named.sort_unstable();
        named.dedup();
        for number in &named {
            assert!(document.contains(&format!("\n| {number} | ")), "{number} is no row");
        }
        // The log's place and its flood are the keeper's.
        let open: Vec<u8> = (1..=40).filter(|n| ![30, 36].contains(n) && !named.contains(n)).collect();
        assert_eq!(open, [0u8; 0]);
        assert!(steps.iter().all(|step| step.attacks().is_sorted()));
    }
}
