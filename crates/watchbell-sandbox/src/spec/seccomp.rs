//! A container's own system call filter, as the node read it from a profile of the machine.

use serde::{Deserialize, Serialize};

use super::check::{InvalidSpec, require};

/// More than there are calls, with their arguments.
const RULES_MAX: usize = 4096;
/// What the kernel takes for an error number.
const ERRNO_MAX: u16 = 4095;

/// Kubernetes' `seccompProfile` of type `Localhost`: a filter above a base that it does not lift.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SeccompProfile {
    pub base: SeccompBase,
    /// For calls that no rule matches.
    pub default: SeccompAction,
    /// In ascending order of their calls. Of those that match, the strictest counts.
    pub rules: Vec<SeccompRule>,
    /// `SECCOMP_FILTER_FLAG_LOG`: what is refused may stand in the machine's audit log.
    pub log: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SeccompBase {
    /// The default filter: the profile only takes away.
    Default,
    /// What no profile may lift. The spawner's [`Ceiling`](crate::Ceiling) has to allow it.
    Floor,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SeccompRule {
    /// The number of the call on this machine.
    pub call: u32,
    pub action: SeccompAction,
    /// All of them must hold; at most one for each of six arguments.
    pub conditions: Vec<SeccompCondition>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SeccompAction {
    Allow,
    Log,
    /// Fails with this error number.
    Errno(u16),
    Trap,
    KillThread,
    KillProcess,
}

impl SeccompAction {
    /// By the kernel's precedence: the least lenient of several answers counts.
    pub(crate) fn leniency(self) -> u8 {
        match self {
            SeccompAction::KillProcess => 0,
            SeccompAction::KillThread => 1,
            SeccompAction::Trap => 2,
            SeccompAction::Errno(_) => 3,
            SeccompAction::Log => 4,
            SeccompAction::Allow => 5,
        }
    }

    /// The call is made.
    pub fn permits(self) -> bool {
        matches!(self, SeccompAction::Allow | SeccompAction::Log)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SeccompCondition {
    /// 0 … 5.
    pub argument: u8,
    pub op: SeccompOp,
    pub value: u64,
}

/// How an argument, all 64 bits of it, compares to the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SeccompOp {
    NotEqual,
    LessThan,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    GreaterThan,
    /// The argument's bits of this mask.
    MaskedEqual {
        mask: u64,
    },
}

impl SeccompProfile {
    pub(crate) fn check(&self) -> Result<(), InvalidSpec> {
        let field = "extras.seccomp.rules";
        require(self.rules.len() <= RULES_MAX, field, "has more than 4096 entries")?;
        require(self.rules.is_sorted_by_key(|rule| rule.call), field, "is not in the order of the calls")?;
        let errno = |action| !matches!(action, SeccompAction::Errno(errno) if errno > ERRNO_MAX);
        let actions = std::iter::once(self.default).chain(self.rules.iter().map(|rule| rule.action));
        require(actions.into_iter().all(errno), field, "has an error number above 4095")?;
        for rule in &self.rules {
            // Above is x32, whose calls end the process.
            require(rule.call < 0x4000_0000, field, "has a call of another architecture")?;
            require(rule.conditions.len() <= 6, field, "has more than six conditions in one entry")?;
            require(
                rule.conditions.iter().all(|c| c.argument < 6),
                field,
                "names an argument above the sixth",
            )?;
        }
        Ok(())
    }
}
