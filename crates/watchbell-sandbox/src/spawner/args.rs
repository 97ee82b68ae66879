//! The spawner's command line: written by the client, readable in `ps`, fixed from then on.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use crate::{Bounds, Ceiling, UidRanges};

/// All that a spawner is told at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SpawnerArgs {
    pub(crate) state_dir: PathBuf,
    pub(crate) log_dir: PathBuf,
    pub(crate) ceiling: Ceiling,
    pub(crate) bounds: Bounds,
    pub(crate) client_uid: u32,
    pub(crate) keeper_uid: u32,
    pub(crate) idle_seconds: u32,
    pub(crate) shard: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadArgs {
    #[error("the spawner does not know {0:?}; it is started by the server alone")]
    Unknown(OsString),
    #[error("{0} lacks its value, or the value is out of range")]
    Value(&'static str),
    #[error("{0} is missing; the spawner is started by the server alone")]
    Missing(&'static str),
}

/// What `--allow-…` can be, and the field of the ceiling it sets.
type Flag = (&'static str, fn(&mut Ceiling) -> &mut bool);
const ALLOWANCES: [Flag; 7] = [
    ("--allow-privileged", |c| &mut c.privileged),
    ("--allow-host-users", |c| &mut c.host_users),
    ("--allow-host-network", |c| &mut c.host_network),
    ("--allow-host-pid", |c| &mut c.host_pid),
    ("--allow-host-ipc", |c| &mut c.host_ipc),
    ("--allow-unconfined", |c| &mut c.unconfined),
    ("--allow-wider-seccomp", |c| &mut c.wider_seccomp),
];
/// So many of them stand in the ceiling as spawners have always told it; the others are told by name.
const ALWAYS_TOLD: usize = 6;

impl Ceiling {
    /// The allowances that a spawner tells by name.
    pub(crate) fn told_by_name(&self) -> Vec<String> {
        let mut ceiling = self.clone();
        let later = ALLOWANCES.iter().skip(ALWAYS_TOLD);
        later.filter(|(_, field)| *field(&mut ceiling)).map(|(name, _)| (*name).to_owned()).collect()
    }

    /// Takes what was told by name; of newer ones this program knows nothing to want.
    pub(crate) fn learn(&mut self, names: &[String]) {
        for (name, field) in ALLOWANCES.iter().skip(ALWAYS_TOLD) {
            *field(self) = names.iter().any(|told| told == name);
        }
    }
}

impl SpawnerArgs {
    pub(crate) fn write(&self) -> Vec<OsString> {
        let mut out: Vec<OsString> = Vec::new();
        let mut pair = |name: &str, value: &OsStr| out.extend([name.into(), value.to_owned()]);
        pair("--state-dir", self.state_dir.as_os_str());
        pair("--log-dir", self.log_dir.as_os_str());
        for path in &self.ceiling.data_paths {
            pair("--data-path", path.as_os_str());
        }
        for path in &self.ceiling.host_paths {
            pair("--allow-host-path", path.as_os_str());
        }
        for path in &self.ceiling.devices.cdi_dirs {
            pair("--cdi-dir", path.as_os_str());
        }
        for path in &self.ceiling.devices.cdi_hooks {
            pair("--cdi-allow-hook", path.as_os_str());
        }
        for runtime in &self.ceiling.runtimes {
            pair("--runtime", runtime.to_string().as_ref());
        }
        let UidRanges { first, count } = self.ceiling.uid_ranges;
        let Bounds { reserved, log_rate, io } = self.bounds;
        for (name, number) in [
            ("--uid-first", Some(u64::from(first))),
            ("--uid-count", Some(u64::from(count))),
            ("--client-uid", Some(u64::from(self.client_uid))),
            ("--keeper-uid", Some(u64::from(self.keeper_uid))),
            ("--idle-seconds", Some(u64::from(self.idle_seconds))),
            ("--shard", Some(u64::from(self.shard))),
            ("--reserved-memory", reserved.memory_bytes),
            ("--reserved-pids", reserved.pids),
            ("--log-rate", Some(log_rate.bytes_per_second)),
            ("--log-burst", Some(log_rate.burst_bytes)),
            ("--io-read-bps", io.read_bps),
            ("--io-write-bps", io.write_bps),
            ("--io-read-iops", io.read_iops),
            ("--io-write-iops", io.write_iops),
        ] {
            if let Some(number) = number {
                pair(name, number.to_string().as_ref());
            }
        }
        let mut ceiling = self.ceiling.clone();
        out.extend(ALLOWANCES.iter().filter(|(_, field)| *field(&mut ceiling)).map(|(name, _)| name.into()));
        out
    }

    pub(crate) fn parse(args: impl Iterator<Item = OsString>) -> Result<Self, BadArgs> {
        let (mut state_dir, mut log_dir) = (None, None);
        let mut out = Self {
            state_dir: PathBuf::new(),
            log_dir: PathBuf::new(),
            ceiling: Ceiling::default(),
            bounds: Bounds::default(),
            client_uid: 0,
            keeper_uid: crate::DEFAULT_KEEPER_UID,
            idle_seconds: 10,
            shard: 0,
        };
        let mut args = args;
        while let Some(arg) = args.next() {
            let name = arg.to_str().unwrap_or_default();
            let mut path = |name| args.next().map(PathBuf::from).ok_or(BadArgs::Value(name));
            match name {
                "--state-dir" => state_dir = Some(path("--state-dir")?),
                "--log-dir" => log_dir = Some(path("--log-dir")?),
                "--data-path" => out.ceiling.data_paths.push(path("--data-path")?),
                "--allow-host-path" => out.ceiling.host_paths.push(path("--allow-host-path")?),
                "--cdi-dir" => out.ceiling.devices.cdi_dirs.push(path("--cdi-dir")?),
                "--cdi-allow-hook" => out.ceiling.devices.cdi_hooks.push(path("--cdi-allow-hook")?),
                "--runtime" => out.ceiling.runtimes.push(number("--runtime", args.next())?),
                "--uid-first" => out.ceiling.uid_ranges.first = number("--uid-first", args.next())?,
                "--uid-count" => out.ceiling.uid_ranges.count = number("--uid-count", args.next())?,
                "--client-uid" => out.client_uid = number("--client-uid", args.next())?,
                "--keeper-uid" => out.keeper_uid = number("--keeper-uid", args.next())?,
                "--idle-seconds" => out.idle_seconds = number("--idle-seconds", args.next())?,
                "--shard" => out.shard = number("--shard", args.next())?,
                "--reserved-memory" => {
                    out.bounds.reserved.memory_bytes = Some(number("--reserved-memory", args.next())?);
                }
                "--reserved-pids" => {
                    out.bounds.reserved.pids = Some(number("--reserved-pids", args.next())?);
                }
                "--io-read-bps" => out.bounds.io.read_bps = Some(number("--io-read-bps", args.next())?),
                "--io-write-bps" => out.bounds.io.write_bps = Some(number("--io-write-bps", args.next())?),
                "--io-read-iops" => out.bounds.io.read_iops = Some(number("--io-read-iops", args.next())?),
                "--io-write-iops" => out.bounds.io.write_iops = Some(number("--io-write-iops", args.next())?),
                "--log-rate" => out.bounds.log_rate.bytes_per_second = number("--log-rate", args.next())?,
                "--log-burst" => out.bounds.log_rate.burst_bytes = number("--log-burst", args.next())?,
                _ => match ALLOWANCES.iter().find(|(known, _)| *known == name) {
                    Some((_, field)) => *field(&mut out.ceiling) = true,
                    None => return Err(BadArgs::Unknown(arg)),
                },
            }
        }
        out.state_dir = state_dir.ok_or(BadArgs::Missing("--state-dir"))?;
        out.log_dir = log_dir.ok_or(BadArgs::Missing("--log-dir"))?;
        Ok(out)
    }
}

fn number<T: std::str::FromStr>(name: &'static str, value: Option<OsString>) -> Result<T, BadArgs> {
    value.as_deref().and_then(OsStr::to_str).and_then(|text| text.parse().ok()).ok_or(BadArgs::Value(name))
}
