//! Devices by the Container Device Interface (CDI): what root's files say a device is, and what of it a container gets.
//!
//! ```text
//!   /etc/cdi/*.yaml ─┐  root's own files only       check: names, versions, forms      later directories win
//!   /run/cdi/*.json ─┴──────── read ──────────▶ Spec ───────────────────────▶ Registry ───────────┬─▶ pools: what is counted
//!                                                                                                  └─▶ hand_out(names) ─▶ HandOut
//! ```
//!
//! The spawner reads the files itself: a server only names devices, so one that was taken over hands out nothing that root
//! did not describe. The node reads the same files to know what there is. Nothing here runs a program; a hook is either one
//! whose work is done without it ([`mod@native`]), or on root's list, or the reason why its device is not usable.

mod check;
mod edits;
mod elf;
mod hand_out;
mod names;
pub mod native;
mod place;
mod read;
mod registry;
mod version;

#[cfg(test)]
mod tests;

pub use edits::{Device, DeviceNode, Edits, Hook, IntelRdt, Mount, NetDevice, Spec};
pub use hand_out::{Access, HandOut, HostHook, HostMount, Link, Node, NodeKind, check_program};
pub use names::{QualifiedName, kind_is_resource};
pub use place::{open_root_owned, open_source};
pub use read::{DIRS, Stamp};
pub use registry::{Found, Problem, Registry, State};

/// What this machine's root allows beyond what a spec says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// Programs that hooks of specs may run as root on the host, by their path.
    pub hooks: Vec<std::path::PathBuf>,
}
