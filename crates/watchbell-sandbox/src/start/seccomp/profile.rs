//! From a profile to a filter program.

use std::collections::BTreeMap;

use super::super::kernel::Instruction;
use super::bpf::{self, Answers, Comparison};
use super::table::{ENOSYS, LAST_KNOWN};
use crate::syscalls::{Arch, Known};
use crate::{SeccompAction, SeccompProfile, SeccompRule};

/// What the kernel takes (BPF_MAXINSNS).
const INSTRUCTIONS_MAX: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it makes a filter of {0} instructions, and the kernel takes 4096; use fewer rules with arguments")]
pub(crate) struct TooLong(pub(crate) usize);

/// Compiles a profile that was checked.
pub(super) fn compile(profile: &SeccompProfile, arch: Arch) -> Result<Vec<Instruction>, TooLong> {
    let default = profile.default;
    // A call that programs try first, to take an older one where it is missing: a profile that does not speak of it refuses
    // it in the way that they understand. runc does so for what is newer than a profile.
    let missing = match default {
        SeccompAction::Errno(_) => SeccompAction::Errno(ENOSYS),
        other => other,
    };
    let mut named: BTreeMap<u32, Vec<Instruction>> = BTreeMap::new();
    if let Known::Here(clone3) = arch.number("clone3") {
        named.insert(clone3, bpf::returns(answer(missing)));
    }
    for rules in profile.rules.chunk_by(|a, b| a.call == b.call) {
        let otherwise = if rules[0].call > LAST_KNOWN { missing } else { default };
        named.insert(rules[0].call, decide(rules, default, otherwise));
    }
    let unnamed = bpf::returns(answer(default));
    let program = bpf::compile(&Answers { arch, unnamed, newer: bpf::returns(answer(missing)), named });
    if program.len() > INSTRUCTIONS_MAX { Err(TooLong(program.len())) } else { Ok(program) }
}

/// The rules of one call: of those that match the strictest, and the first of several that are as strict. One that says what
/// the default says is none, as in runc.
fn decide(rules: &[SeccompRule], default: SeccompAction, otherwise: SeccompAction) -> Vec<Instruction> {
    let mut rules: Vec<&SeccompRule> = rules.iter().filter(|rule| rule.action != default).collect();
    rules.sort_by_key(|rule| rule.action.leniency());
    let mut code = Vec::new();
    for rule in rules {
        if rule.conditions.is_empty() {
            // Whatever follows is not stricter.
            code.extend(bpf::returns(answer(rule.action)));
            return code;
        }
        let comparisons: Vec<Comparison> = rule
            .conditions
            .iter()
            .map(|c| Comparison { argument: c.argument, op: c.op, value: c.value })
            .collect();
        code.extend(bpf::clause(&comparisons, answer(rule.action)));
    }
    code.extend(bpf::returns(answer(otherwise)));
    code
}

fn answer(action: SeccompAction) -> u32 {
    match action {
        SeccompAction::KillProcess => bpf::RET_KILL_PROCESS,
        SeccompAction::KillThread => bpf::RET_KILL_THREAD,
        SeccompAction::Trap => bpf::RET_TRAP,
        SeccompAction::Errno(errno) => bpf::RET_ERRNO | u32::from(errno),
        SeccompAction::Log => bpf::RET_LOG,
        SeccompAction::Allow => bpf::RET_ALLOW,
    }
}
