//! From traces to a profile.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::Call;

/// Always allowed: a program is executed and ends under the profile, and may be interrupted, even where this run was not.
const NEEDED: [&str; 5] = ["execve", "exit", "exit_group", "restart_syscall", "rt_sigreturn"];
/// `CLONE_NEW*`, as a runtime that has no filter below the profile must keep out.
const NAMESPACES: u64 = 0x7e02_0080;
/// Arguments are of 32 bits, whatever lies above.
const LOW: u64 = 0xffff_ffff;
const ENOSYS: u32 = 38;
const EPERM: u32 = 1;

#[derive(Debug, Default)]
pub(super) struct Trace {
    pub(super) architectures: BTreeSet<String>,
    pub(super) calls: BTreeMap<String, Call>,
    /// Something was not noted.
    pub(super) is_incomplete: bool,
}

impl Trace {
    /// Takes in the trace of one container; false when there is none.
    pub(super) fn add(&mut self, text: &str) -> Result<bool, String> {
        let mut is_there = false;
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).map_err(|e| format!("it cannot be read: {e}"))?;
            if let Some(architecture) = line["architecture"].as_str() {
                self.architectures.insert(architecture.to_owned());
                is_there = true;
            } else if let (Some(name), Some(count)) = (line["call"].as_str(), line["count"].as_u64()) {
                self.note(name, count, &line["values"])?;
            } else {
                self.is_incomplete = true;
            }
        }
        Ok(is_there)
    }

    fn note(&mut self, name: &str, count: u64, values: &Value) -> Result<(), String> {
        let is_plain =
            |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !is_plain(name) || name.is_empty() {
            // A number that has no name.
            self.is_incomplete = true;
            return Ok(());
        }
        let found: Option<BTreeMap<u32, u64>> = match values.as_object() {
            None => None,
            Some(values) => {
                values.iter().map(|(value, n)| Some((value.parse().ok()?, n.as_u64()?))).collect()
            }
        };
        let call =
            self.calls.entry(name.to_owned()).or_insert_with(|| Call { count: 0, values: found.clone() });
        let is_first = call.count == 0;
        call.count = call.count.checked_add(count).ok_or("its counts are absurd")?;
        match (&mut call.values, found) {
            _ if is_first => {}
            (Some(known), Some(found)) => {
                for (value, n) in found {
                    *known.entry(value).or_default() += n;
                }
            }
            (known, _) => *known = None,
        }
        Ok(())
    }

    /// In the OCI runtime specification's format.
    pub(super) fn profile(&self) -> Value {
        let has_own_rule = |name: &str| name == "clone" || name == "clone3" || self.values(name).is_some();
        let mut names: BTreeSet<&str> = self.calls.keys().map(String::as_str).chain(NEEDED).collect();
        names.retain(|name| !has_own_rule(name));
        let mut rules = vec![json!({"names": names, "action": "SCMP_ACT_ALLOW"})];
        let masked = |name: &str, mask: u64, value: u64| {
            json!({"names": [name], "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 0, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}]})
        };
        if self.calls.contains_key("clone") {
            rules.push(masked("clone", NAMESPACES, 0));
        }
        for (name, values) in self.calls.keys().filter_map(|name| Some((name, self.values(name)?))) {
            rules.extend(values.keys().map(|value| masked(name, LOW, u64::from(*value))));
        }
        // C libraries try it first, and take clone where it is missing.
        rules.push(json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS}));
        json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": EPERM,
            "architectures": self.architectures,
            "syscalls": rules,
        })
    }

    fn values(&self, name: &str) -> Option<&BTreeMap<u32, u64>> {
        self.calls.get(name)?.values.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Trace;

    const ONE: &str = r#"{"architecture":"SCMP_ARCH_X86_64"}
{"call":"read","count":3}
{"call":"clone","count":1}
{"call":"socket","count":2,"values":{"1":1,"2":1}}
{"call":"personality","count":1,"values":{"4294967295":1}}
"#;

    #[test]
    fn traces_add_up_to_a_profile() {
        let mut trace = Trace::default();
        assert_eq!(trace.add(""), Ok(false));
        assert_eq!(trace.add(ONE), Ok(true));
        let other = r#"{"architecture":"SCMP_ARCH_X86_64"}
{"call":"read","count":4}
{"call":"socket","count":1,"values":{"10":1}}
{"call":"personality","count":99}"#;
        assert_eq!(trace.add(other), Ok(true));
        assert_eq!((trace.calls["read"].count, trace.is_incomplete), (7, false));
        let of = |name: &str, mask: u64, value: u64| {
            json!({"names": [name], "action": "SCMP_ACT_ALLOW", "args": [
                {"index": 0, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}]})
        };
        let low = 0xffff_ffff;
        assert_eq!(
            trace.profile(),
            json!({
                "defaultAction": "SCMP_ACT_ERRNO",
                "defaultErrnoRet": 1,
                "architectures": ["SCMP_ARCH_X86_64"],
                "syscalls": [
                    {"names": ["execve", "exit", "exit_group", "personality", "read", "restart_syscall", "rt_sigreturn"],
                        "action": "SCMP_ACT_ALLOW"},
                    of("clone", 0x7e02_0080, 0), of("socket", low, 1), of("socket", low, 2), of("socket", low, 10),
                    {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
                ],
            })
        );
        assert_eq!(trace.add("{\"call\":\"#999\",\"count\":1}\n{\"leftOut\":3}"), Ok(false));
        assert!(trace.is_incomplete && !trace.calls.contains_key("#999"));
    }

    #[test]
    fn what_is_no_trace_is_refused() {
        assert!(Trace::default().add("what a container printed").is_err());
        let twice =
            format!("{{\"call\":\"read\",\"count\":{}}}\n{{\"call\":\"read\",\"count\":1}}", u64::MAX);
        assert!(Trace::default().add(&twice).is_err());
    }

    /// What comes out goes in again, and is within the default.
    #[test]
    fn the_profile_is_one_that_the_node_takes() {
        let mut trace = Trace::default();
        trace.add(ONE).unwrap();
        let facts = watchbell_sandbox::ProfileFacts {
            base: watchbell_sandbox::SeccompBase::Default,
            capabilities: watchbell_sandbox::Capabilities::NONE,
            kernel: (6, 12),
        };
        let text = trace.profile().to_string();
        let profile = watchbell_sandbox::SeccompProfile::from_json(text.as_bytes(), &facts).unwrap();
        assert!(profile.beyond_default().is_empty());
    }
}
