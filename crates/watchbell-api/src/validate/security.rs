//! Security contexts. What they may ask for in a namespace is decided at admission; here only what makes no sense.

use std::collections::HashSet;

use super::at::At;
use super::container::descending_path;
use super::findings::Findings;

const ID_MAX: i64 = i32::MAX as i64;

pub(super) fn pod(f: &mut Findings, spec: &At<'_, '_>) {
    let context = spec.field("securityContext");
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        f.in_range(&context.field(field), 0, ID_MAX);
    }
    for group in context.field("supplementalGroups").items() {
        f.in_range(&group, 0, ID_MAX);
    }
    f.one_of_if_set(&context.field("fsGroupChangePolicy"), &["Always", "OnRootMismatch"]);
    f.one_of_if_set(&context.field("supplementalGroupsPolicy"), &["Merge", "Strict"]);
    f.one_of_if_set(&context.field("seLinuxChangePolicy"), &["MountOption", "Recursive"]);
    profiles(f, &context);
    sysctls(f, spec, &context.field("sysctls"));
    let shared = spec.field("shareProcessNamespace");
    if shared.is_true() && spec.field("hostPID").is_true() {
        f.invalid(&shared, "ShareProcessNamespace and HostPID cannot both be enabled");
    }
    if spec.field("hostUsers").is_false() {
        for field in ["hostNetwork", "hostPID", "hostIPC"] {
            let field = spec.field(field);
            if field.is_true() {
                f.forbidden(&field, "when `hostUsers` is false");
            }
        }
    }
}

/// A pod for Windows asks for nothing that Linux has: Pod Security does not judge these fields in it.
pub(super) fn windows(f: &mut Findings, spec: &At<'_, '_>) {
    const POD: [&str; 2] = ["hostUsers", "shareProcessNamespace"];
    const POD_CONTEXT: [&str; 11] = [
        "appArmorProfile",
        "fsGroup",
        "fsGroupChangePolicy",
        "runAsGroup",
        "runAsUser",
        "seLinuxChangePolicy",
        "seLinuxOptions",
        "seccompProfile",
        "supplementalGroups",
        "supplementalGroupsPolicy",
        "sysctls",
    ];
    const CONTEXT: [&str; 10] = [
        "allowPrivilegeEscalation",
        "appArmorProfile",
        "capabilities",
        "privileged",
        "procMount",
        "readOnlyRootFilesystem",
        "runAsGroup",
        "runAsUser",
        "seLinuxOptions",
        "seccompProfile",
    ];
    let mut none_of = |at: &At<'_, '_>, fields: &[&str]| {
        for field in fields {
            let field = at.field(field);
            if field.is_set() {
                f.forbidden(&field, "cannot be set for a windows pod");
            }
        }
    };
    none_of(spec, &POD);
    none_of(&spec.field("securityContext"), &POD_CONTEXT);
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in spec.field(list).items() {
            none_of(&container.field("securityContext"), &CONTEXT);
        }
    }
    for namespace in ["hostPID", "hostIPC"] {
        let namespace = spec.field(namespace);
        if namespace.is_true() {
            f.forbidden(&namespace, "cannot be set for a windows pod");
        }
    }
}

pub(super) fn container(f: &mut Findings, context: &At<'_, '_>, host_users: bool) {
    if !context.is_set() {
        return;
    }
    for field in ["runAsUser", "runAsGroup"] {
        f.in_range(&context.field(field), 0, ID_MAX);
    }
    let proc_mount = context.field("procMount");
    f.one_of_if_set(&proc_mount, &["Default", "Unmasked"]);
    if host_users && proc_mount.text() == "Unmasked" {
        f.invalid(&proc_mount, "`hostUsers` must be false to use `Unmasked`");
    }
    profiles(f, context);
    if context.field("allowPrivilegeEscalation").is_false() {
        if context.field("privileged").is_true() {
            f.invalid(context, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
        }
        let capabilities = context.field("capabilities");
        if capabilities.field("add").items().any(|capability| capability.text() == "CAP_SYS_ADMIN") {
            f.invalid(
                context,
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
            );
        }
    }
}

/// `seccompProfile` and `appArmorProfile`
fn profiles(f: &mut Findings, context: &At<'_, '_>) {
    for (field, kind) in [("seccompProfile", "seccomp"), ("appArmorProfile", "AppArmor")] {
        let profile = context.field(field);
        if !profile.is_set() {
            continue;
        }
        let (what, file) = (profile.field("type"), profile.field("localhostProfile"));
        match what.text() {
            "" => f.required(&what, format_args!("type is required when {field} is set")),
            "Localhost" if !file.is_set() || file.text().is_empty() => {
                f.required(&file, format_args!("must be set when {kind} type is Localhost"));
            }
            "Localhost" if kind == "seccomp" => descending_path(f, &file),
            "Localhost" => {
                if file.text().trim() != file.text() {
                    f.invalid(&file, "must not be padded with whitespace");
                }
                if file.text().len() > 4095 {
                    f.too_long(&file, 4095);
                }
            }
            "RuntimeDefault" | "Unconfined" => {
                if file.is_set() {
                    f.invalid(&file, format_args!("can only be set when {kind} type is Localhost"));
                }
            }
            _ => f.not_supported(&what, &["Localhost", "RuntimeDefault", "Unconfined"]),
        }
    }
}

fn sysctls(f: &mut Findings, spec: &At<'_, '_>, sysctls: &At<'_, '_>) {
    const LENGTH_MAX: usize = 253;
    let mut seen = HashSet::new();
    for sysctl in sysctls.items() {
        let name = sysctl.field("name");
        let text = name.text();
        if !f.present(&name) {
            continue;
        }
        let is_segment = |segment: &str| {
            let is_outer = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
            let bytes = segment.as_bytes();
            is_outer(bytes.first())
                && is_outer(bytes.last())
                && bytes
                    .iter()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
        };
        if text.len() > LENGTH_MAX || !text.split(['.', '/']).all(is_segment) {
            f.invalid(
                &name,
                format_args!(
                    "must have at most {LENGTH_MAX} characters and match regex \
                     ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
                ),
            );
        } else if !seen.insert(text) {
            f.duplicate(&name);
        }
        let is_net = text.starts_with("net.") || text.starts_with("net/");
        let is_ipc = text.starts_with("kernel.shm")
            || text.starts_with("kernel.msg")
            || text.starts_with("fs.mqueue.")
            || text == "kernel.sem";
        for (is_shared, namespace) in [(is_net, "hostNetwork"), (is_ipc, "hostIPC")] {
            if is_shared && spec.field(namespace).is_true() {
                f.invalid(&name, format_args!("may not be specified when '{namespace}' is true"));
            }
        }
    }
}
