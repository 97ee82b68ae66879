//! A core file of a process of ours would hold Secrets, on their way to a volume or sealed nowhere yet, and private keys.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// No core file of this process and those it starts. Only exactly 1 keeps the host's core handler away too, so a hard limit of 0
/// is raised to it by whoever may.
pub(crate) fn forbid_core_files() -> io::Result<()> {
    let core = getrlimit(Resource::Core);
    forbid_beside_handlers(core.maximum, set_core).or_else(|error| {
        let none = Rlimit { current: Some(0), ..core };
        if core.maximum == Some(0) { set_core(none) } else { Err(error) }
    })
}

/// The same, and an error where a handler of the host would be started all the same.
pub(crate) fn forbid_core_handlers() -> io::Result<()> {
    forbid_beside_handlers(getrlimit(Resource::Core).maximum, set_core)
}

fn forbid_beside_handlers(hard: Option<u64>, set: impl FnOnce(Rlimit) -> io::Result<()>) -> io::Result<()> {
    set(Rlimit { current: Some(1), maximum: hard.map(|most| most.max(1)) })
}

fn set_core(limit: Rlimit) -> io::Result<()> {
    Ok(setrlimit(Resource::Core, limit)?)
}

/// The same, and no process of the same user may read this one's memory. That is the kernel's until the next `exec`: programs
/// that it starts are as any.
pub fn forbid_dumps() -> io::Result<()> {
    forbid_core_files()?;
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// To raise a limit needs a capability that root of a test may lack: what is asked of the kernel is looked at.
    #[test]
    fn the_limit_is_one_whatever_the_hard_limit_was() {
        let check = |hard: Option<u64>, expect: (Option<u64>, Option<u64>)| {
            let mut asked = None;
            let set = |limit: Rlimit| {
                asked = Some((limit.current, limit.maximum));
                Ok(())
            };
            forbid_beside_handlers(hard, set).unwrap();
            assert_eq!(asked, Some(expect), "{hard:?}");
        };
        check(Some(0), (Some(1), Some(1)));
        check(Some(1), (Some(1), Some(1)));
        check(Some(4096), (Some(1), Some(4096)));
        check(None, (Some(1), None));
    }
}
