//! Checks of the host's settings, its storage and what else runs on it.

use super::super::facts::{Facts, Outcome};
use super::{Check, Verdict, optional, required};

const GIB: u64 = 1 << 30;
/// A start of the journal's fsync above this is a disk that spins or a network.
const FSYNC_SLOW_US: u64 = 20_000;
const OPEN_FILES_MIN: u64 = 65_536;
/// Names of a list that a line shows.
const SHOWN_MAX: usize = 6;

pub(super) fn checks(facts: &Facts) -> Vec<Check> {
    let mut checks = vec![
        id_ranges(facts),
        core_handler(facts),
        oom_shield(facts),
        open_files(facts),
        processes(facts),
        second_layers(facts),
        restricted_users(facts),
        vulnerabilities(facts),
        space(facts),
        sync(facts),
        clock(facts),
        unit(facts),
    ];
    checks.extend(listen(facts));
    checks.push(runtimes(facts));
    checks.push(device_specs(facts));
    checks
}

fn shown(names: &[String]) -> String {
    let mut text = names.iter().take(SHOWN_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN_MAX {
        text.push_str(&format!(" and {} more", names.len() - SHOWN_MAX));
    }
    text
}

fn number(facts: &Facts, setting: &str) -> Option<i64> {
    facts.settings.get(setting)?.trim().parse().ok()
}

fn id_ranges(facts: &Facts) -> Check {
    let (verdict, found) = if facts.id_overlaps.is_empty() {
        (Verdict::Ok, "nobody else's".to_owned())
    } else {
        (Verdict::Missing, shown(&facts.id_overlaps))
    };
    required(
        "id-ranges",
        "the host ids of pods are nobody's: a break-out owns no file and no process",
        verdict,
        found,
        "give those users and groups other ids, or other ranges in /etc/subuid and /etc/subgid",
    )
}

fn core_handler(facts: &Facts) -> Check {
    let pattern = facts.settings.get("kernel.core_pattern").map(|p| p.trim());
    let (verdict, found) = match pattern {
        None => (Verdict::Unknown, "kernel.core_pattern cannot be read".to_owned()),
        Some(p) if p.starts_with('@') => {
            (Verdict::Weaker, format!("{p}: a server gets every process that crashes"))
        }
        Some(p) if p.starts_with('|') => match &facts.core_limit_problem {
            Some(why) => {
                (Verdict::Weaker, format!("{p}, and the limit of core files cannot be 1 here: {why}"))
            }
            None => (Verdict::Ok, format!("{p}: not started for tasks")),
        },
        Some(p) => (Verdict::Ok, format!("files named {p:?}: none of tasks")),
    };
    optional(
        "core-handler",
        "a program that reads crashed processes as root is kept from tasks by a limit of exactly 1 (CVE-2025-4598, CVE-2025-5054)",
        verdict,
        found,
        "start it with a hard limit of core files above 0 (in a systemd unit: LimitCORE=infinity), or set kernel.core_pattern to \
         a file name",
    )
}

const SYS_RESOURCE: u32 = 24;

fn has(facts: &Facts, capability: u32) -> bool {
    facts.caller.capabilities & (1 << capability) != 0
}

fn oom_shield(facts: &Facts) -> Check {
    let (verdict, found) = match (facts.caller.uid, has(facts, SYS_RESOURCE)) {
        (0, true) => (Verdict::Ok, "can be set"),
        (0, false) => (Verdict::Weaker, "root without CAP_SYS_RESOURCE"),
        _ => (Verdict::Unknown, "needs root"),
    };
    optional(
        "oom-shield",
        "a machine out of memory kills tasks before the spawner that watches them",
        verdict,
        found,
        "give it the capability SYS_RESOURCE",
    )
}

fn open_files(facts: &Facts) -> Check {
    let most = facts.open_files_max.min(number(facts, "fs.nr_open").map_or(u64::MAX, i64::cast_unsigned));
    let verdict = if most >= OPEN_FILES_MIN { Verdict::Ok } else { Verdict::Weaker };
    optional(
        "open-files",
        "the spawner holds some descriptors for each task; without them no more tasks start",
        verdict,
        format!("{most} at most"),
        format!("raise the hard limit to {OPEN_FILES_MIN} or more (in a systemd unit: LimitNOFILE=)"),
    )
}

fn processes(facts: &Facts) -> Check {
    let found = |name: &str| format!("{name} {}", number(facts, name).unwrap_or_default());
    let low: Vec<String> = [
        ("kernel.pid_max", 32_768),
        ("user.max_user_namespaces", 4_096),
        ("user.max_mnt_namespaces", 4_096),
        ("user.max_net_namespaces", 4_096),
        ("user.max_time_namespaces", 4_096),
        ("user.max_inotify_instances", 128),
        ("fs.inotify.max_user_watches", 8_192),
    ]
    .into_iter()
    .filter(|(name, least)| number(facts, name).is_some_and(|n| n < *least))
    .map(|(name, least)| format!("{} (below {least})", found(name)))
    .collect();
    let (verdict, found) = match (low.is_empty(), number(facts, "kernel.pid_max")) {
        (true, None) => (Verdict::Unknown, "kernel.pid_max cannot be read".to_owned()),
        (true, Some(_)) => (Verdict::Ok, found("kernel.pid_max")),
        (false, _) => (Verdict::Weaker, shown(&low)),
    };
    optional(
        "kernel-limits",
        "as many tasks at once as there are ranges of ids",
        verdict,
        found,
        "raise these sysctls in /etc/sysctl.d",
    )
}

/// What the filter of system calls refuses first, and this second.
fn second_layers(facts: &Facts) -> Check {
    let open: Vec<String> = [
        ("kernel.unprivileged_bpf_disabled", 1, i64::MAX),
        ("kernel.perf_event_paranoid", 2, i64::MAX),
        ("vm.unprivileged_userfaultfd", 0, 0),
        ("kernel.io_uring_disabled", 1, i64::MAX),
        ("kernel.yama.ptrace_scope", 1, i64::MAX),
        ("kernel.kptr_restrict", 1, i64::MAX),
        ("kernel.dmesg_restrict", 1, i64::MAX),
        ("dev.tty.legacy_tiocsti", 0, 0),
    ]
    .into_iter()
    .filter_map(|(name, least, most)| {
        let now = number(facts, name)?;
        (!(least..=most).contains(&now)).then(|| format!("{name} {now} (better {least})"))
    })
    .collect();
    let (verdict, found) = if facts.settings.is_empty() {
        (Verdict::Unknown, "/proc/sys cannot be read".to_owned())
    } else if open.is_empty() {
        (Verdict::Ok, "as they should be".to_owned())
    } else {
        (Verdict::Weaker, open.join(", "))
    };
    optional(
        "second-layers",
        "bpf, perf, userfaultfd, io_uring, ptrace and kernel addresses: refused to tasks by the filter of calls, and by these \
         settings once more",
        verdict,
        found,
        "set them in /etc/sysctl.d where nothing else on the machine needs them as they are",
    )
}

/// Ubuntu's and Debian's restrictions. They bind who is not root; a break-out that is nobody is held by them too.
fn restricted_users(facts: &Facts) -> Check {
    let apparmor = number(facts, "kernel.apparmor_restrict_unprivileged_userns");
    let clone = number(facts, "kernel.unprivileged_userns_clone");
    let (verdict, found) = match (apparmor, clone) {
        (Some(1..), _) => (Verdict::Ok, "AppArmor keeps them to root and to profiles that allow them"),
        (_, Some(0)) => (Verdict::Ok, "root's alone"),
        _ => (Verdict::Weaker, "everybody's"),
    };
    optional(
        "unprivileged-user-namespaces",
        "who broke out has no user namespace to reach the kernel's network and mount code from",
        verdict,
        found,
        "where nothing else needs them, set kernel.apparmor_restrict_unprivileged_userns to 1 or \
         kernel.unprivileged_userns_clone to 0, as far as the kernel has them; Watchbell, as root, is not affected",
    )
}

fn vulnerabilities(facts: &Facts) -> Check {
    let open: Vec<String> = facts
        .vulnerabilities
        .iter()
        .filter(|(_, state)| {
            let state = state.to_ascii_lowercase();
            state.contains("vulnerable") || state.starts_with("unknown")
        })
        .map(|(name, state)| format!("{name} ({})", state.trim()))
        .collect();
    let (verdict, found) = if facts.vulnerabilities.is_empty() {
        (Verdict::Unknown, "the kernel does not tell".to_owned())
    } else if open.is_empty() {
        (
            Verdict::Ok,
            format!("{} known ones are mitigated or not this processor's", facts.vulnerabilities.len()),
        )
    } else {
        (Verdict::Weaker, shown(&open))
    };
    optional(
        "processor",
        "what one task leaves in a processor is not read by another (Spectre, Meltdown, MDS, L1TF, Retbleed …)",
        verdict,
        found,
        "update microcode and kernel, do not boot with mitigations=off; where tasks distrust each other, turn SMT off (nosmt)",
    )
}

fn space(facts: &Facts) -> Check {
    let storage = &facts.storage;
    let gib = |bytes: u64| format!("{}.{} GiB", bytes / GIB, bytes % GIB * 10 / GIB);
    let few_files = storage.files > 0 && storage.free_files < 100_000;
    let verdict = match storage.free_bytes {
        _ if storage.file_system.is_empty() => Verdict::Unknown,
        bytes if bytes < 2 * GIB || few_files => Verdict::Weaker,
        _ => Verdict::Ok,
    };
    // Some file systems do not count files.
    let files = if storage.files > 0 { format!(", {} files", storage.free_files) } else { String::new() };
    optional(
        "space",
        "images, logs, volumes and the journal",
        verdict,
        format!(
            "{} free{files} on {} ({})",
            gib(storage.free_bytes),
            storage.path.display(),
            if storage.file_system.is_empty() { "unknown" } else { &storage.file_system }
        ),
        "make room, or put the data directory elsewhere",
    )
}

fn sync(facts: &Facts) -> Check {
    let (verdict, found) = match facts.storage.fsync_us {
        None => (Verdict::Unknown, "could not be measured".to_owned()),
        Some(us) if us > FSYNC_SLOW_US => (Verdict::Weaker, format!("{} ms: slow", us / 1000)),
        Some(us) if us >= 1000 => (Verdict::Ok, format!("{} ms", us / 1000)),
        Some(us) => (Verdict::Ok, format!("{us} µs")),
    };
    optional(
        "fsync",
        "an answer waits until its change is durable: this is how long the wait is",
        verdict,
        found,
        "put the data directory on a local solid-state disk",
    )
}

fn clock(facts: &Facts) -> Check {
    let (verdict, found) = match facts.clock_synchronised {
        Some(true) => (Verdict::Ok, "synchronised"),
        Some(false) => (Verdict::Weaker, "not synchronised"),
        None => (Verdict::Unknown, "cannot be asked"),
    };
    optional(
        "clock",
        "schedules, certificates and the audit journal say what time it is",
        verdict,
        found,
        "run chrony, ntpd or systemd-timesyncd",
    )
}

fn unit(facts: &Facts) -> Check {
    let (verdict, found) = match (&facts.unit, facts.init.as_str()) {
        (Some(unit), _) => (Verdict::Ok, unit.clone()),
        (None, "systemd") => {
            (Verdict::Weaker, "systemd is here, and this is none of its services".to_owned())
        }
        (None, init) => (Verdict::Unknown, format!("process 1 is {init:?}")),
    };
    optional(
        "service",
        "something starts the server again, and after a boot",
        verdict,
        found,
        "run `watchbell serve` from a unit, as examples/systemd/watchbell.service; tasks outlive the server only with \
         KillMode=process",
    )
}

fn listen(facts: &Facts) -> Option<Check> {
    let listen = facts.listen.as_ref()?;
    let (verdict, found) = match &listen.outcome {
        Outcome::Works => (Verdict::Ok, format!("{} is free", listen.address)),
        Outcome::Fails(_) if listen.is_served => {
            (Verdict::Ok, format!("{} is taken, and a server runs on this data directory", listen.address))
        }
        Outcome::Fails(cause) => (Verdict::Missing, format!("{}: {cause}", listen.address)),
        Outcome::NotTried(why) => (Verdict::Unknown, format!("{}: {why}", listen.address)),
    };
    Some(required(
        "listen",
        "clients reach the server",
        verdict,
        found,
        "end what listens there, or choose another address with --listen",
    ))
}

fn runtimes(facts: &Facts) -> Check {
    let each: Vec<String> = facts
        .runtimes
        .iter()
        .map(|runtime| match (&runtime.problem, &runtime.version) {
            (Some(problem), _) => problem.clone(),
            (None, Some(version)) => version.clone(),
            (None, None) => format!("{} of unknown version", runtime.name),
        })
        .collect();
    let is_broken = facts.runtimes.iter().any(|runtime| runtime.problem.is_some());
    let found = if each.is_empty() { "none".to_owned() } else { each.join(", ") };
    optional(
        "oci-runtimes",
        "what a pod's runtimeClassName can name; Watchbell itself needs none",
        if is_broken { Verdict::Weaker } else { Verdict::Ok },
        found,
        "install it again, or remove it",
    )
}

fn device_specs(facts: &Facts) -> Check {
    let specs = &facts.device_specs;
    let kinds: Vec<String> = specs.devices.iter().map(|(kind, count)| format!("{count} of {kind}")).collect();
    let (verdict, found) = match (specs.problems.is_empty(), kinds.is_empty()) {
        (false, _) => (Verdict::Weaker, shown(&specs.problems)),
        (true, true) => (Verdict::Ok, "none".to_owned()),
        (true, false) => (Verdict::Ok, shown(&kinds)),
    };
    optional(
        "devices",
        "GPUs and other devices that pods ask for, as root's CDI specs describe them",
        verdict,
        found,
        "generate the specs anew as root (nvidia-ctk cdi generate), in /etc/cdi or /var/run/cdi, writable by root alone",
    )
}
