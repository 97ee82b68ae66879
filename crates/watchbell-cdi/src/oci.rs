//! The same in the words of the OCI runtime specification, for runtimes that take a `config.json`.

use serde_json::{Value, json};

use crate::hand_out::{HandOut, NodeKind};

/// Parts to add to a `config.json`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OciEdits {
    /// `process.env`: each in place of what has its name.
    pub env: Vec<String>,
    /// `process.user.additionalGids`
    pub additional_gids: Vec<u32>,
    /// `linux.devices`
    pub devices: Vec<Value>,
    /// `linux.resources.devices`, after the entry that denies all.
    pub device_rules: Vec<Value>,
    /// `mounts`, parents before what lies below them.
    pub mounts: Vec<Value>,
    /// `hooks`: empty unless root allowed some.
    pub hooks: Value,
}

/// `user` is the container's process, to whom nodes belong that say nothing else.
pub fn to_oci(out: &HandOut, user: (u32, u32)) -> OciEdits {
    let mut edits = OciEdits {
        env: out.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
        additional_gids: out.gids.clone(),
        hooks: json!({}),
        ..OciEdits::default()
    };
    for node in &out.nodes {
        let kind = match node.kind {
            NodeKind::Character => "c",
            NodeKind::Block => "b",
            NodeKind::Fifo => "p",
        };
        let (uid, gid) = (node.uid.unwrap_or(user.0), node.gid.unwrap_or(user.1));
        let mut device =
            json!({"path": node.path, "type": kind, "fileMode": node.mode, "uid": uid, "gid": gid});
        if node.kind != NodeKind::Fifo {
            device["major"] = node.major.into();
            device["minor"] = node.minor.into();
            let letters = [(node.access.read, 'r'), (node.access.write, 'w')];
            let access: String = letters.iter().filter(|(may, _)| *may).map(|(_, letter)| *letter).collect();
            if !access.is_empty() {
                edits.device_rules.push(json!({
                    "allow": true, "type": kind, "major": node.major, "minor": node.minor, "access": access,
                }));
            }
        }
        edits.devices.push(device);
    }
    let mut mounts: Vec<_> = out.mounts.iter().collect();
    mounts.sort_by_key(|mount| mount.target.matches('/').count());
    for mount in mounts {
        let mut options = vec!["bind", "ro", "nosuid", "nodev", "rprivate"];
        if mount.no_exec {
            options.push("noexec");
        }
        edits.mounts.push(json!({
            "destination": mount.target, "type": "bind", "source": mount.source, "options": options,
        }));
    }
    for hook in &out.hooks {
        let stage = "createRuntime";
        let env: Vec<String> = hook.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let made = json!({"path": hook.path, "args": hook.args, "env": env, "timeout": hook.timeout_seconds});
        match edits.hooks.get_mut(stage).and_then(Value::as_array_mut) {
            Some(list) => list.push(made),
            None => edits.hooks[stage] = json!([made]),
        }
    }
    edits
}
