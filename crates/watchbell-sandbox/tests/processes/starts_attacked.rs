//! What a hostile container tries against one that is being started.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use watchbell_sandbox::{Ceiling, PodEnvironment, RunSpec, SpawnerOptions, VolumeSource};

use crate::Outcome;
use crate::place::{Failure, Place, pod, script};
use crate::probe::{build_probe, probe, with_volume};
use crate::sessions::{end, exec, start, until};

/// fcntl(2); libc has it for other C libraries alone.
const F_SETSIG: libc::c_int = 10;

/// A program that nobody executes before this is dropped: opening it waits for the end of its lease.
struct Held(File);

impl Held {
    fn program(path: &std::path::Path) -> Result<Self, Failure> {
        let program = File::options().read(true).write(true).open(path)?;
        // The signal that somebody waits is not needed; this one is ignored by default.
        for (command, value) in [(F_SETSIG, libc::SIGURG), (libc::F_SETLEASE, libc::F_WRLCK)] {
            // SAFETY: a call without pointers, on a descriptor that lives.
            if unsafe { libc::fcntl(program.as_raw_fd(), command, value) } < 0 {
                return Err(format!("no lease: {}", std::io::Error::last_os_error()).into());
            }
        }
        Ok(Self(program))
    }

    /// Whether somebody waits to execute it.
    fn is_wanted(&self) -> bool {
        // SAFETY: as above.
        unsafe { libc::fcntl(self.0.as_raw_fd(), libc::F_GETLEASE) != libc::F_WRLCK }
    }
}

/// The spawner's child that is no program yet.
fn that_starts(place: &Place) -> Result<u32, Failure> {
    let [spawner] = place.pids("spawner")?[..] else { return Err("no spawner".into()) };
    let children = fs::read_to_string(format!("/proc/{spawner}/task/{spawner}/children"))?;
    for pid in children.split_whitespace() {
        if fs::read_to_string(format!("/proc/{pid}/comm"))?.trim() == "watchbell-ahead" {
            return Ok(pid.parse()?);
        }
    }
    Err("nothing starts".into())
}

/// Among the host's users and processes nothing else keeps root of one container from root of another.
pub(crate) fn peers_see_nothing_of_who_starts() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let ceiling = Ceiling { host_users: true, host_pid: true, ..Ceiling::default() };
    let server = place.connect_with(&SpawnerOptions { ceiling, ..place.options() })?;
    let of_host = |spec: RunSpec| {
        let mut pod = PodEnvironment { volumes: spec.pod.volumes.clone(), ..pod(spec.id.pod_uid) };
        (pod.host_namespaces.users, pod.host_namespaces.pid) = (true, true);
        RunSpec { uid: 0, gid: 0, pod: Arc::new(pod), ..spec }
    };
    let programs = place.path().join("programs");
    fs::create_dir(&programs)?;
    fs::copy(place.path().join("layer/bin/probe"), programs.join("program"))?;
    fs::set_permissions(programs.join("program"), fs::Permissions::from_mode(0o755))?;

    // Who enters a container is not under its Landlock rules, which would be in the way too.
    let peer = of_host(script(&place, 1, "exec sleep 1000"));
    start(&server, &peer)?;
    let look = |pid: u32| -> Result<Vec<String>, Failure> {
        let look = [
            ("cat", "environ"),
            ("cat", "maps"),
            ("cat", "mem"),
            ("stat", "exe"),
            ("ls", "root/"),
            ("stat", "fd/1"),
        ];
        let looked = look.iter().map(|(verb, file)| {
            Ok(exec(&server, peer.id, &["/bin/probe", verb, &format!("/proc/{pid}/{file}")])?.1)
        });
        looked.collect()
    };

    let held = Held::program(&programs.join("program"))?;
    let argv = ["/programs/program", "pause"].map(str::to_owned).to_vec();
    let main = RunSpec { argv, ..probe(&place, 2, &[]) };
    let main = of_host(with_volume(main, "/programs", VolumeSource::Dir { path: programs }, None));
    server.spawner.start(&main)?;
    until("the program is to be executed", || Ok(held.is_wanted()))?;
    // All is done but exec: it has given up every right that would set it apart from its peer.
    let pid = that_starts(&place)?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    assert!(status.contains("CapPrm:\t0000000000000000") && status.contains("Uid:\t0\t0\t0\t0"), "{status}");
    let seen = look(pid)?;
    assert!(seen.iter().all(|line| ["EACCES\n", "EPERM\n"].contains(&line.as_str())), "{seen:?}");

    // The control: once it is a program of its own, the same peer sees all of that.
    drop(held);
    assert_eq!(server.started(main.id)?, pid);
    let seen = look(pid)?;
    assert!(
        seen[0].contains("PATH=/bin")
            && seen[1].contains("/programs/program")
            && seen[4].contains("programs"),
        "{seen:?}"
    );
    end(&server, &main)?;
    end(&server, &peer)
}
