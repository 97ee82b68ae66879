//! A core file of a process of ours would hold Secrets, on their way to a volume or sealed nowhere yet, and private keys.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// No core file of this process and those it starts. Only exactly 1 keeps the host's core handler away too.
pub(crate) fn forbid_core_files() -> io::Result<()> {
    let core = getrlimit(Resource::Core);
    let core = Rlimit { current: Some(core.maximum.map_or(1, |most| most.min(1))), ..core };
    Ok(setrlimit(Resource::Core, core)?)
}

/// The same, and no process of the same user may read this one's memory. That is the kernel's until the next `exec`: programs
/// that it starts are as any.
pub fn forbid_dumps() -> io::Result<()> {
    forbid_core_files()?;
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}
