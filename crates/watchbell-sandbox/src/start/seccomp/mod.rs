//! System call filters: the default one, the floor of wider ones, and profiles that are laid over either.
//!
//! ```text
//!   tables (allowed, refused, floor) ─┬─▶ default ─┐        the kernel takes the strictest
//!                                     └─▶ floor ───┴─ base ─┐   answer of all that are loaded
//!   SeccompProfile of the node ──▶ compiled once, shared ───┴─▶ task
//! ```
//!
//! A profile is a filter of its own above a base. So it takes away what it likes, and gives nothing that the base refuses:
//! that rests on the kernel, not on how well profiles are understood here.

mod bpf;
mod gate;
mod oci;
mod profile;
mod profiles;
mod short;
mod table;
#[cfg(test)]
mod tests;
mod unpacker;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::kernel::Instruction;
use crate::syscalls::{Arch, Known};
use crate::{SeccompBase, SeccompOp, SeccompProfile};
use bpf::{Answers, Comparison, Verdict};
pub(crate) use oci::oci_profile;
use table::{ALLOWED, ENOSYS, EPERM, Entry, FLOOR, Lift, REFUSED};

pub(super) use gate::filter as gate_filter;
pub(crate) use profile::TooLong;
pub(super) use profiles::{Filter, Profiles};
pub(crate) use table::LAST_KNOWN;
pub(super) use unpacker::{filter as unpacker_filter, reader_filter};

static DEFAULT: LazyLock<Vec<Instruction>> = LazyLock::new(|| default_for(Arch::NATIVE));
static FLOOR_FILTER: LazyLock<Vec<Instruction>> = LazyLock::new(|| floor_for(Arch::NATIVE));

/// The filter below a profile, or alone. Compiled once, shared by all tasks.
pub(super) fn base(base: SeccompBase) -> &'static [Instruction] {
    match base {
        SeccompBase::Default => &DEFAULT,
        SeccompBase::Floor => &FLOOR_FILTER,
    }
}

/// Allows what the table names.
fn default_for(arch: Arch) -> Vec<Instruction> {
    compile(arch, Verdict::Errno(EPERM), verdicts(arch, ALLOWED))
}

/// Allows everything but what no profile may lift.
fn floor_for(arch: Arch) -> Vec<Instruction> {
    let never = REFUSED.iter().filter(|refused| refused.lift == Lift::Never).flat_map(|r| r.calls);
    let never = numbered(arch, never).map(|number| (number, Verdict::Errno(EPERM)));
    compile(arch, Verdict::Allow, verdicts(arch, FLOOR).chain(never))
}

fn compile(arch: Arch, unnamed: Verdict, named: impl Iterator<Item = (u32, Verdict)>) -> Vec<Instruction> {
    let named: BTreeMap<_, _> = named.map(|(number, verdict)| (number, bpf::answer(verdict))).collect();
    let newer = bpf::answer(Verdict::Errno(ENOSYS));
    bpf::compile(&Answers { arch, unnamed: bpf::answer(unnamed), newer, named })
}

fn verdicts(arch: Arch, entries: &'static [Entry]) -> impl Iterator<Item = (u32, Verdict)> {
    entries.iter().flat_map(move |e| numbered(arch, e.calls).map(|number| (number, e.verdict)))
}

/// Numbers of those of the names that this architecture has.
fn numbered<'a>(arch: Arch, names: impl IntoIterator<Item = &'a &'static str>) -> impl Iterator<Item = u32> {
    names.into_iter().filter_map(move |name| match arch.number(name) {
        Known::Here(number) => Some(number),
        Known::Elsewhere | Known::Nowhere => None,
    })
}

/// Asks about every call but one: the message that sends the listener away, by its socket and address. Foreign calls are left
/// to the filters below.
pub(super) fn asks(socket: i32, message: u64) -> Vec<Instruction> {
    let sendmsg = match Arch::NATIVE.number("sendmsg") {
        Known::Here(number) => number,
        Known::Elsewhere | Known::Nowhere => u32::MAX,
    };
    let equal = |argument, value| Comparison { argument, op: SeccompOp::Equal, value };
    let message = [equal(0, u64::from(socket.cast_unsigned())), equal(1, message)];
    bpf::ask(Arch::NATIVE, sendmsg, &message)
}

/// Whether the kernel would take the profile's program.
pub(crate) fn check_program(profile: &SeccompProfile) -> Result<(), TooLong> {
    profile::compile(profile, Arch::NATIVE).map(drop)
}

/// Whether the default lets this call through, if perhaps with some arguments only.
pub(crate) fn is_in_default(name: &str) -> bool {
    ALLOWED.iter().any(|e| e.calls.contains(&name) && !matches!(e.verdict, Verdict::Errno(_)))
}

/// Whether no profile may allow this call.
pub(crate) fn is_never_allowed(name: &str) -> bool {
    REFUSED.iter().any(|refused| refused.lift == Lift::Never && refused.calls.contains(&name))
}
