//! Seccomp profiles as files have them: the OCI runtime specification's grammar, with what Docker and Podman add to it.
//!
//! Read by the node; the spawner gets the outcome, and parses no file. What a profile means follows runc: a rule that says
//! what the default says is none, and several conditions on one argument are alternatives. Where several rules match, the
//! strictest counts, so that the order of a file means nothing.

use serde::Deserialize;

use crate::start::{is_in_default, is_never_allowed};
use crate::syscalls::{Arch, Known};
use crate::{
    Capabilities, SeccompAction, SeccompBase, SeccompCondition, SeccompOp, SeccompProfile, SeccompRule,
};

/// EPERM, which both runc and Docker answer when a profile names no error number.
const EPERM: u16 = 1;
/// Those that profiles of Podman name.
const ERRNOS: [(&str, u16); 14] = [
    ("EPERM", 1),
    ("ENOENT", 2),
    ("EIO", 5),
    ("EBADF", 9),
    ("EAGAIN", 11),
    ("ENOMEM", 12),
    ("EACCES", 13),
    ("EBUSY", 16),
    ("ENODEV", 19),
    ("EINVAL", 22),
    ("ENOSYS", 38),
    ("EOPNOTSUPP", 95),
    ("ENOTSUP", 95),
    ("EAFNOSUPPORT", 97),
];

/// What a file's conditions are asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProfileFacts {
    pub base: SeccompBase,
    /// Of the container: Docker's profile has rules for those that hold one.
    pub capabilities: Capabilities,
    /// Major and minor version.
    pub kernel: (u32, u32),
}

/// What is wrong with a profile: the place in it, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProfileError(String);

fn wrong<T>(place: &str, why: impl std::fmt::Display) -> Result<T, ProfileError> {
    Err(ProfileError(format!("{place}: {why}")))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    default_action: String,
    default_errno_ret: Option<u32>,
    default_errno: Option<String>,
    architectures: Option<Vec<String>>,
    arch_map: Option<Vec<ArchMap>>,
    flags: Option<Vec<String>>,
    listener_path: Option<String>,
    listener_metadata: Option<String>,
    syscalls: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ArchMap {
    architecture: String,
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    name: Option<String>,
    names: Option<Vec<String>>,
    action: String,
    errno_ret: Option<u32>,
    errno: Option<String>,
    args: Option<Vec<Argument>>,
    #[serde(rename = "comment")]
    _comment: Option<String>,
    includes: Option<Conditions>,
    excludes: Option<Conditions>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Argument {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

/// When Docker uses a rule.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Conditions {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

impl SeccompProfile {
    /// Reads a profile in the OCI runtime specification's or Docker's format, for this machine.
    pub fn from_json(text: &[u8], facts: &ProfileFacts) -> Result<Self, ProfileError> {
        let file: File = serde_json::from_slice(text).map_err(|e| ProfileError(e.to_string()))?;
        let errno = (file.default_errno_ret, file.default_errno.as_deref());
        let default = action("defaultAction", &file.default_action, errno)?;
        if file.listener_path.is_some() || file.listener_metadata.is_some() {
            return wrong(
                "listenerPath",
                "nobody would answer on a listener; use SCMP_ACT_ERRNO or SCMP_ACT_LOG",
            );
        }
        architectures(&file)?;
        let log = flags(file.flags.as_deref().unwrap_or_default())?;
        let mut rules = Vec::new();
        for (i, entry) in file.syscalls.iter().flatten().enumerate() {
            entry.read(&format!("syscalls[{i}]"), facts, default, &mut rules)?;
        }
        rules.sort_by_key(|rule| rule.call);
        rules.dedup();
        let profile = SeccompProfile { base: facts.base, default, rules, log };
        profile.check().map_err(|e| ProfileError(e.reason.to_owned()))?;
        profile.check_program()?;
        Ok(profile)
    }

    /// What would be found out when the container starts.
    fn check_program(&self) -> Result<(), ProfileError> {
        crate::start::check_program(self).map_err(|e| ProfileError(e.to_string()))?;
        // Also with arguments to look at: then it depends on where the program lies.
        match Arch::NATIVE.number("execve") {
            Known::Here(execve) if !self.permits(execve) => {
                wrong("syscalls", "execve is not allowed, so that nothing could be started; add it")
            }
            _ => Ok(()),
        }
    }

    /// The calls that it permits, if perhaps with some arguments only, and that the default filter refuses.
    pub fn beyond_default(&self) -> Vec<&'static str> {
        self.permitted(|name| !is_in_default(name))
    }

    /// The calls that it names and that stay refused whatever a profile says.
    pub fn never_allowed(&self) -> Vec<&'static str> {
        let named = |name: &str| self.rules.iter().any(|rule| Arch::NATIVE.name(rule.call) == Some(name));
        self.permitted(|name| is_never_allowed(name) && named(name))
    }

    /// Whether it permits this call, at least with some arguments.
    pub fn permits(&self, call: u32) -> bool {
        let rules = || self.rules.iter().filter(|r| r.call == call && r.action != self.default);
        let always =
            rules().filter(|r| r.conditions.is_empty()).map(|r| r.action).min_by_key(|a| a.leniency());
        match always {
            Some(action) => action.permits(),
            None => self.default.permits() || rules().any(|rule| rule.action.permits()),
        }
    }

    fn permitted(&self, wanted: impl Fn(&str) -> bool) -> Vec<&'static str> {
        // Those answer ENOSYS wherever a profile stands: programs take the older way.
        let is_decided = |name: &str, call| name != "clone3" && call <= crate::start::LAST_KNOWN;
        let mut names: Vec<&str> = Arch::NATIVE
            .calls()
            .filter(|(name, call)| is_decided(name, *call) && wanted(name) && self.permits(*call))
            .map(|(name, _)| name)
            .collect();
        names.sort_unstable();
        names
    }
}

impl Entry {
    fn read(
        &self,
        place: &str,
        facts: &ProfileFacts,
        default: SeccompAction,
        out: &mut Vec<SeccompRule>,
    ) -> Result<(), ProfileError> {
        let action =
            action(&format!("{place}.action"), &self.action, (self.errno_ret, self.errno.as_deref()))?;
        let names: Vec<&String> = self.name.iter().chain(self.names.iter().flatten()).collect();
        if names.is_empty() {
            return wrong(&format!("{place}.names"), "is empty");
        }
        let alternatives = conditions(place, self.args.as_deref().unwrap_or_default())?;
        if !self.applies(place, facts)? {
            return Ok(());
        }
        for name in names {
            match Arch::NATIVE.number(name) {
                Known::Here(call) => out.extend(alternatives.iter().map(|conditions| SeccompRule {
                    call,
                    action,
                    conditions: conditions.clone(),
                })),
                // What is not there needs no permission.
                Known::Elsewhere => {}
                Known::Nowhere if action.leniency() >= default.leniency() => {}
                Known::Nowhere => {
                    let why = format!(
                        "{name:?} is no system call that this program knows, so it would not be refused; check its spelling"
                    );
                    return wrong(&format!("{place}.names"), why);
                }
            }
        }
        Ok(())
    }

    /// By Docker's rules: one of the architectures and all of the capabilities, and none of those that are excluded.
    fn applies(&self, place: &str, facts: &ProfileFacts) -> Result<bool, ProfileError> {
        let none = Conditions::default();
        let (with, without) =
            (self.includes.as_ref().unwrap_or(&none), self.excludes.as_ref().unwrap_or(&none));
        let here = |arches: &Vec<String>| arches.iter().any(|arch| arch == Arch::NATIVE.go_name());
        let holds = |name: &String| {
            name.parse::<Capabilities>()
                .is_ok_and(|asked| asked.without(facts.capabilities) == Capabilities::NONE)
        };
        let newer = |conditions: &Conditions, list: &str| match &conditions.min_kernel {
            None => Ok(None),
            Some(text) => {
                let version =
                    text.split_once('.').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
                match version {
                    Some(version) => Ok(Some(facts.kernel >= version)),
                    None => wrong(
                        &format!("{place}.{list}.minKernel"),
                        format!("{text:?} is no version such as 4.8"),
                    ),
                }
            }
        };
        let listed = |list: &Option<Vec<String>>| list.as_ref().filter(|list| !list.is_empty()).cloned();
        Ok(listed(&with.arches).is_none_or(|arches| here(&arches))
            && with.caps.iter().flatten().all(holds)
            && newer(with, "includes")? != Some(false)
            && !without.arches.as_ref().is_some_and(here)
            && !without.caps.iter().flatten().any(holds)
            && newer(without, "excludes")? != Some(true))
    }
}

fn action(
    place: &str,
    name: &str,
    errno: (Option<u32>, Option<&str>),
) -> Result<SeccompAction, ProfileError> {
    let number = match errno {
        (Some(number), _) => match u16::try_from(number) {
            Ok(number) if number <= 4095 => Some(number),
            _ => return wrong(place, format!("the error number {number} is above 4095")),
        },
        (None, Some(name)) => match ERRNOS.iter().find(|(known, _)| *known == name) {
            Some((_, number)) => Some(*number),
            None => {
                return wrong(place, format!("the error {name:?} is not known; give its number as errnoRet"));
            }
        },
        (None, None) => None,
    };
    let action = match name {
        "SCMP_ACT_ALLOW" => SeccompAction::Allow,
        "SCMP_ACT_LOG" => SeccompAction::Log,
        "SCMP_ACT_ERRNO" => return Ok(SeccompAction::Errno(number.unwrap_or(EPERM))),
        "SCMP_ACT_TRAP" => SeccompAction::Trap,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => SeccompAction::KillThread,
        "SCMP_ACT_KILL_PROCESS" => SeccompAction::KillProcess,
        "SCMP_ACT_TRACE" => {
            return wrong(
                place,
                "SCMP_ACT_TRACE: no tracer attends a container here, so every such call would fail; use SCMP_ACT_ERRNO",
            );
        }
        "SCMP_ACT_NOTIFY" => {
            return wrong(
                place,
                "SCMP_ACT_NOTIFY: nobody would answer on a listener; use SCMP_ACT_ERRNO or SCMP_ACT_LOG",
            );
        }
        other => return wrong(place, format!("{other:?} is no action; use one such as SCMP_ACT_ERRNO")),
    };
    match number {
        Some(_) => wrong(place, format!("an error number goes with SCMP_ACT_ERRNO, not with {name}")),
        None => Ok(action),
    }
}

/// Each alternative is a set of conditions that must all hold.
fn conditions(place: &str, args: &[Argument]) -> Result<Vec<Vec<SeccompCondition>>, ProfileError> {
    let mut all = Vec::with_capacity(args.len());
    for (i, arg) in args.iter().enumerate() {
        let place = format!("{place}.args[{i}]");
        if arg.index > 5 {
            return wrong(&place, format!("index {} is above 5: calls have six arguments", arg.index));
        }
        let (op, value) = match arg.op.as_str() {
            "SCMP_CMP_NE" => (SeccompOp::NotEqual, arg.value),
            "SCMP_CMP_LT" => (SeccompOp::LessThan, arg.value),
            "SCMP_CMP_LE" => (SeccompOp::LessOrEqual, arg.value),
            "SCMP_CMP_EQ" => (SeccompOp::Equal, arg.value),
            "SCMP_CMP_GE" => (SeccompOp::GreaterOrEqual, arg.value),
            "SCMP_CMP_GT" => (SeccompOp::GreaterThan, arg.value),
            "SCMP_CMP_MASKED_EQ" if arg.value_two & !arg.value != 0 => {
                return wrong(&place, "valueTwo has bits that the mask (value) lacks: it would never hold");
            }
            "SCMP_CMP_MASKED_EQ" => (SeccompOp::MaskedEqual { mask: arg.value }, arg.value_two),
            other => {
                return wrong(&place, format!("{other:?} is no comparison; use one such as SCMP_CMP_EQ"));
            }
        };
        all.push(SeccompCondition { argument: arg.index as u8, op, value });
    }
    let is_twice = |c: &SeccompCondition| all.iter().filter(|other| other.argument == c.argument).count() > 1;
    if all.iter().any(is_twice) {
        return Ok(all.into_iter().map(|condition| vec![condition]).collect());
    }
    Ok(vec![all])
}

/// Foreign ones end the process whatever a profile says; this machine's own is always meant.
fn architectures(file: &File) -> Result<(), ProfileError> {
    if file.architectures.is_some() && file.arch_map.is_some() {
        return wrong("archMap", "stands beside architectures; use either");
    }
    let mapped = file
        .arch_map
        .iter()
        .flatten()
        .flat_map(|map| std::iter::once(&map.architecture).chain(map.sub_architectures.iter().flatten()));
    for name in file.architectures.iter().flatten().chain(mapped) {
        if !name.starts_with("SCMP_ARCH_") {
            return wrong("architectures", format!("{name:?} is no architecture such as SCMP_ARCH_X86_64"));
        }
    }
    Ok(())
}

fn flags(flags: &[String]) -> Result<bool, ProfileError> {
    let mut log = false;
    for flag in flags {
        match flag.as_str() {
            "SECCOMP_FILTER_FLAG_LOG" => log = true,
            // A start has one thread.
            "SECCOMP_FILTER_FLAG_TSYNC" => {}
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => {
                return wrong(
                    "flags",
                    "SECCOMP_FILTER_FLAG_SPEC_ALLOW: it would lift a protection against speculation; leave it out",
                );
            }
            other => return wrong("flags", format!("{other:?} has no meaning here; leave it out")),
        }
    }
    Ok(log)
}

#[cfg(test)]
mod tests;
