//! Docker's default filter of system calls, resolved from its `default.json` as its daemon does: a rule holds when what it
//! includes is there and nothing that it excludes is.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

/// Who the filter is for.
pub(super) struct For<'a> {
    pub(super) capabilities: &'a [String],
    pub(super) kernel: (u32, u32),
}

/// Of `uname -r`, or of a rule's `minKernel`.
pub(super) fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// The filter in the form of the OCI's runtime specification.
pub(super) fn read(file: &Path, of: &For<'_>) -> Result<Value, String> {
    let text = fs::read(file).map_err(|e| format!("{}: {e} (make bench-setup)", file.display()))?;
    let profile: Value = serde_json::from_slice(&text).map_err(|e| format!("{}: {e}", file.display()))?;
    let native = if cfg!(target_arch = "x86_64") { "SCMP_ARCH_X86_64" } else { "SCMP_ARCH_AARCH64" };
    let mut architectures = vec![json!(native)];
    for group in list(&profile["archMap"]).filter(|group| group["architecture"] == native) {
        architectures.extend(list(&group["subArchitectures"]).cloned());
    }
    let calls: Vec<Value> = list(&profile["syscalls"]).filter(|rule| of.holds(rule)).map(rule).collect();
    if calls.is_empty() {
        return Err(format!("{} has no rule for this machine", file.display()));
    }
    Ok(json!({
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile.get("defaultErrnoRet").unwrap_or(&json!(1)),
        "architectures": architectures,
        "syscalls": calls,
    }))
}

impl For<'_> {
    fn holds(&self, rule: &Value) -> bool {
        let (includes, excludes) = (&rule["includes"], &rule["excludes"]);
        let architecture = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
        let is_here = |condition: &Value| list(&condition["arches"]).any(|one| one == architecture);
        let has = |name: &Value| self.capabilities.iter().any(|own| name == own.as_str());
        let is_new_enough = |condition: &Value| match condition["minKernel"].as_str() {
            Some(least) => version(least).map(|least| self.kernel >= least),
            None => None,
        };
        let is_included = (list(&includes["arches"]).next().is_none() || is_here(includes))
            && list(&includes["caps"]).all(has)
            && is_new_enough(includes) != Some(false);
        let is_excluded =
            is_here(excludes) || list(&excludes["caps"]).any(has) || is_new_enough(excludes) == Some(true);
        is_included && !is_excluded
    }
}

fn rule(rule: &Value) -> Value {
    let mut made = json!({"names": rule["names"], "action": rule["action"]});
    for field in ["args", "errnoRet"] {
        if let Some(value) = rule.get(field).filter(|value| !value.is_null()) {
            made[field] = value.clone();
        }
    }
    made
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
