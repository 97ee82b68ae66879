//! Two containers with a volume in common: one swaps a link in it while the other is started. Where does that lead what covers
//! parts of /proc (CVE-2025-31133), and what the start itself writes to procfs (CVE-2025-52881)?
//!
//! The control is runc as Debian 12 has it, which both faults are in: the same swapping leads it astray.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use watchbell_sandbox::{Mount, PodEnvironment, PodVolume, RunSpec, VolumeSource};

use crate::Outcome;
use crate::place::{Failure, PATIENCE, Place, Server, pod, script};
use crate::probe::{build_probe, printed, probe};
use crate::sessions::{end, start};

const STARTS: u128 = 40;
const RUNC: &str = "/usr/sbin/runc";
/// The runc in which both faults are known to be.
const OPEN_RUNC: &str = "commit: 1.1.5+ds1-1+deb12u1";
const MARK: &str = "of the attacker";

/// What is mounted where, from the directory beside it.
type Mounts<'a> = &'a [(&'a str, &'a Path)];

fn with_dirs(spec: RunSpec, mounts: Mounts<'_>) -> RunSpec {
    let volume = |(n, (_, path)): (usize, &(&str, &Path))| PodVolume {
        id: n as u16 + 1,
        source: VolumeSource::Dir { path: path.to_path_buf() },
    };
    let mount = |(n, (target, _)): (usize, &(&str, &Path))| Mount {
        target: (*target).to_owned(),
        volume: n as u16 + 1,
        sub_path: None,
        read_only: false,
    };
    RunSpec {
        pod: Arc::new(PodEnvironment {
            volumes: mounts.iter().enumerate().map(volume).collect(),
            ..pod(spec.id.pod_uid)
        }),
        mounts: mounts.iter().enumerate().map(mount).collect(),
        ..spec
    }
}

/// Runs `check` while a container of ours swaps `x` and `link` in the volume.
fn beside_a_swapper(
    place: &Place,
    server: &Server,
    uid: u128,
    volume: &Path,
    x: &str,
    check: impl FnOnce() -> Outcome,
) -> Outcome {
    let swapper = probe(place, uid, &["exchange", &format!("/vol/{x}"), "/vol/link"]);
    let swapper = with_dirs(swapper, &[("/vol", volume)]);
    start(server, &swapper)?;
    place.wait_for_log(&format!("{uid}.log"))?;
    assert_eq!(place.lines(&format!("{uid}.log"))?, ["stdout F exchange allowed"]);
    check()?;
    end(server, &swapper)
}

/// A runc with a directory of its own.
struct Runc<'a> {
    place: &'a Place,
    name: String,
}

/// A container of runc's that runs until this is dropped.
struct Swapper<'a>(&'a Runc<'a>, Child);

impl Drop for Swapper<'_> {
    fn drop(&mut self) {
        let deleted = self.0.command(&["delete", "--force", &self.0.id("swapper")]).status();
        if !deleted.is_ok_and(|status| status.success()) {
            eprintln!("runc does not end {}", self.0.id("swapper"));
        }
        let _ = self.1.wait();
    }
}

impl<'a> Runc<'a> {
    /// Where it is installed, and open.
    fn find(place: &'a Place) -> Option<Self> {
        let version = Command::new(RUNC).arg("--version").output().map(|out| out.stdout).unwrap_or_default();
        if !String::from_utf8_lossy(&version).contains(OPEN_RUNC) {
            println!(
                "    the control is left out: {RUNC} is not the one of Debian 12 in which the faults are"
            );
            return None;
        }
        let name = place.path().file_name()?.to_string_lossy().into_owned();
        Some(Self { place, name })
    }

    /// Its control groups are named by it.
    fn id(&self, what: &str) -> String {
        format!("{}-{what}", self.name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(RUNC);
        command.arg("--root").arg(self.place.path().join("runc")).args(args).stdin(Stdio::null());
        command
    }

    /// A container of root without capabilities, in a root that it may write to.
    fn bundle(
        &self,
        what: &str,
        argv: &[&str],
        mounts: Mounts<'_>,
        linux: &Value,
    ) -> Result<PathBuf, Failure> {
        let dir = self.place.path().join(format!("bundle-{what}"));
        fs::create_dir(&dir)?;
        let bind = |(target, path): &(&str, &Path)| json!({"destination": target, "type": "bind", "source": path, "options": ["rbind", "rw"]});
        let proc = json!({"destination": "/proc", "type": "proc", "source": "proc"});
        let mounts: Vec<Value> = [proc].into_iter().chain(mounts.iter().map(bind)).collect();
        let mut linux = linux.clone();
        linux["namespaces"] =
            ["pid", "mount", "ipc", "uts", "network"].map(|kind| json!({"type": kind})).into();
        let config = json!({
            "ociVersion": "1.0.2",
            "process": {"user": {"uid": 0, "gid": 0}, "args": argv, "env": ["PATH=/bin"], "cwd": "/"},
            "root": {"path": self.place.path().join("layer")},
            "mounts": mounts,
            "linux": linux,
        });
        fs::write(dir.join("config.json"), config.to_string())?;
        Ok(dir)
    }

    fn run(&self, bundle: &Path, id: &str) -> Result<Output, Failure> {
        Ok(self.command(&["run", "--bundle"]).arg(bundle).arg(id).output()?)
    }

    fn swapper(&self, volume: &Path, x: &str) -> Result<Swapper<'_>, Failure> {
        let argv = ["/bin/probe", "exchange", &format!("/vol/{x}"), "/vol/link"];
        let bundle = self.bundle("swapper", &argv, &[("/vol", volume)], &json!({}))?;
        let mut command = self.command(&["run", "--bundle"]);
        let mut child = command.arg(bundle).arg(self.id("swapper")).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or("no stdout")?;
        let swapper = Swapper(self, child);
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        if line.is_empty() { Err("runc's swapper does not run".into()) } else { Ok(swapper) }
    }

    /// Starts the container until it was led astray, beside the swapper.
    fn is_led_astray(
        &self,
        volume: &Path,
        x: &str,
        bundle: &Path,
        astray: impl Fn(&Output) -> Result<bool, Failure>,
    ) -> Result<bool, Failure> {
        let _swapper = self.swapper(volume, x)?;
        // About every third, or every tenth time; less often where the swapper has to share a processor.
        let begun = Instant::now();
        for n in 0.. {
            if astray(&self.run(bundle, &self.id(&n.to_string()))?)? {
                return Ok(true);
            }
            if begun.elapsed() > PATIENCE {
                break;
            }
        }
        Ok(false)
    }
}

fn shared(place: &Place, name: &str) -> Result<PathBuf, Failure> {
    let volume = place.path().join("volumes").join(name);
    fs::create_dir_all(&volume)?;
    fs::set_permissions(&volume, fs::Permissions::from_mode(0o777))?;
    Ok(volume)
}

/// CVE-2025-31133: what a runtime covers with is the container's /dev/null. By turns it is an empty file, or a link
/// to another file.
pub(crate) fn covers_are_not_what_a_container_lays() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    fs::write(place.path().join("layer/etc/mark"), MARK)?;
    let volume = shared(&place, "dev")?;
    fs::write(volume.join("null"), "")?;
    symlink("/etc/mark", volume.join("link"))?;
    let look = "cat /proc/interrupts; echo; echo --; [ -L /dev/null ] && echo link";

    let mut fooled = 0;
    beside_a_swapper(&place, &server, 1000, &volume, "null", || {
        for uid in 1..=STARTS {
            let lines = printed(&place, &server, &with_dirs(script(&place, uid, look), &[("/dev", &volume)]));
            // The last word may be that there is no link.
            let lines = lines.or_else(|_| place.lines(&format!("{uid}.log")).map_err(Failure::from))?;
            let text = lines.join(" ");
            assert!(!text.contains(MARK) && text.contains("--"), "{lines:?}");
            fooled += usize::from(text.contains("link"));
        }
        Ok(())
    })?;
    assert!(fooled > 0, "the link was never there");

    let Some(runc) = Runc::find(&place) else { return Ok(()) };
    let linux = json!({"maskedPaths": ["/proc/interrupts"]});
    let bundle = runc.bundle("covers", &["/bin/cat", "/proc/interrupts"], &[("/dev", &volume)], &linux)?;
    let astray = |output: &Output| Ok(String::from_utf8_lossy(&output.stdout).contains(MARK));
    assert!(runc.is_led_astray(&volume, "null", &bundle, astray)?, "the control proves nothing");
    Ok(())
}

/// CVE-2025-52881: a volume is mounted where the other one's link leads, so that what the start writes to its own part of
/// procfs, or to settings of its namespaces, lands in a file of the attacker's choice.
pub(crate) fn writes_of_the_start_are_not_redirected() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    let evil = shared(&place, "evil")?;
    // Whatever a start may write: its settings, its security label, its score.
    let traps = ["kernel/shm_rmid_forced", "attr/exec", "attr/keycreate", "oom_score_adj", "self/attr/exec"];
    for trap in traps {
        let trap = evil.join(trap);
        fs::create_dir_all(trap.parent().unwrap_or(&evil))?;
        fs::write(&trap, MARK)?;
        fs::set_permissions(&trap, fs::Permissions::from_mode(0o666))?;
    }
    let of_traps = || -> Result<BTreeMap<&str, String>, Failure> {
        traps.iter().map(|trap| Ok((*trap, fs::read_to_string(evil.join(trap))?))).collect()
    };
    let untouched = of_traps()?;

    // What of itself a process is told whatever lies over /proc.
    let look = ["protections", "/vol/x", "/proc/sys/kernel", "/proc/self/attr", "/proc/self"];
    let mut led = 0;
    for (n, target) in ["/proc/sys", "/proc/self", "/proc"].into_iter().enumerate() {
        let volume = shared(&place, &format!("vol-{n}"))?;
        fs::create_dir(volume.join("x"))?;
        symlink(target, volume.join("link"))?;
        let base = 100 * (n as u128 + 1);
        beside_a_swapper(&place, &server, 1000 + base, &volume, "x", || {
            for uid in base..base + STARTS {
                let mounts: Mounts<'_> = &[("/vol", &volume), ("/vol/x", &evil)];
                let spec = with_dirs(probe(&place, uid, &look), mounts);
                // Where nothing may be mounted, it is not started.
                let Ok(lines) = printed(&place, &server, &spec) else { continue };
                assert!(lines.iter().any(|line| line == "no-new-privs 1"), "{lines:?}");
                assert!(lines.iter().any(|line| line == "seccomp 2"), "{lines:?}");
                assert!(lines.iter().any(|line| line == "capabilities 0"), "{lines:?}");
                led += usize::from(
                    lines.iter().any(|line| line.starts_with("/proc") && line.ends_with(" trap")),
                );
            }
            Ok(())
        })?;
        assert_eq!(of_traps()?, untouched, "{target}");
    }
    assert!(led > 0, "no volume was led anywhere");

    let Some(runc) = Runc::find(&place) else { return Ok(()) };
    let volume = shared(&place, "vol-control")?;
    fs::create_dir(volume.join("x"))?;
    symlink("/proc/sys", volume.join("link"))?;
    let linux = json!({"sysctl": {"kernel.shm_rmid_forced": "1"}});
    let mounts: Mounts<'_> = &[("/vol", &volume), ("/vol/x", &evil)];
    let bundle = runc.bundle("writes", &["/bin/probe", "exit", "0"], mounts, &linux)?;
    let astray = |_: &Output| Ok(fs::read_to_string(evil.join(traps[0]))? == "1");
    assert!(runc.is_led_astray(&volume, "x", &bundle, astray)?, "the control proves nothing");
    Ok(())
}
