//! What the second fence around a task's files keeps, and what it leaves alone. Each refusal stands beside the same attempt
//! without the fence, which gets through.

use std::fs;
use std::io::IoSlice;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use rustix::fd::AsFd;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use watchbell_sandbox::{
    Ceiling, PodEnvironment, RunSpec, Seccomp, SpawnerOptions, VolumeSource, landlock_abi,
};

use crate::Outcome;
use crate::place::{Failure, Place, pod, script, wait_for};
use crate::probe::{build_probe, pairs, printed, probe, with_volume};
use crate::sessions::{end, exec, start};

/// Ordinary programs do not notice it: each of these works in a container as it does outside.
pub(crate) fn ordinary_file_work_goes_on() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    let mut root = probe(&place, 2, &["files"]);
    (root.uid, root.gid, root.root.read_only, root.no_new_privs) = (0, 0, false, false);
    root.root.upper = watchbell_sandbox::Scratch { bytes: 4 << 20, inodes: 100 };
    for spec in [probe(&place, 1, &["files"]), root] {
        let lines = printed(&place, &server, &spec)?;
        assert_eq!(lines.len(), 26, "{lines:?}");
        for line in lines {
            assert!(line.ends_with(" allowed") || line == "run-memfd 7", "uid {}: {line}", spec.uid);
        }
    }
    Ok(())
}

/// A descriptor of a directory of the host is handed in through a socket, as a leak or a careless helper would: nothing
/// below it opens.
pub(crate) fn a_descriptor_of_the_host_opens_nothing() -> Outcome {
    let Some(_) = landlock_abi() else {
        println!("    SKIPPED: this kernel has no Landlock");
        return Ok(());
    };
    let place = Place::new()?;
    build_probe(&place)?;
    let outside = place.path().join("outside");
    let meeting = place.path().join("meeting");
    for (dir, mode) in [(&outside, 0o777), (&meeting, 0o755)] {
        fs::create_dir(dir)?;
        fs::set_permissions(dir, fs::Permissions::from_mode(mode))?;
    }
    fs::write(outside.join("secret"), "of the host")?;
    fs::set_permissions(outside.join("secret"), fs::Permissions::from_mode(0o666))?;
    fs::copy(place.path().join("layer/bin/probe"), outside.join("program"))?;
    let listener = UnixListener::bind(meeting.join("socket"))?;
    fs::set_permissions(meeting.join("socket"), fs::Permissions::from_mode(0o777))?;
    let allowed = Ceiling { unconfined: true, ..Ceiling::default() };
    let server = place.connect_with(&SpawnerOptions { ceiling: allowed, ..place.options() })?;

    let given = |uid: u128, seccomp: Seccomp| -> Result<Vec<String>, Failure> {
        let spec = RunSpec { seccomp, ..probe(&place, uid, &["given", "/meet/socket", "secret"]) };
        let spec = with_volume(spec, "/meet", VolumeSource::Dir { path: meeting.clone() }, None);
        server.spawner.start(&spec)?;
        wait_for(listener.as_fd())?;
        let (socket, _) = listener.accept()?;
        let dir = fs::File::open(&outside)?;
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = [dir.as_fd()];
        control.push(SendAncillaryMessage::ScmRights(&fds));
        sendmsg(&socket, &[IoSlice::new(b"d")], &mut control, SendFlags::empty())?;
        server.exit(spec.id)?;
        server.spawner.release_pod(spec.pod.uid)?;
        let lines = place.lines(&format!("{uid}.log"))?;
        Ok(lines.iter().filter_map(|line| line.splitn(3, ' ').nth(2)).map(str::to_owned).collect())
    };
    let lines = given(1, Seccomp::Default)?;
    let found = pairs(&lines);
    for name in ["connect", "descriptor", "stat", "enter"] {
        assert_eq!(found[name], "allowed", "{name}: {lines:?}");
    }
    for name in ["list", "read", "write", "create", "read-entered", "execute"] {
        assert_eq!(found[name], "EACCES", "{name}: {lines:?}");
    }
    assert!(!outside.join("made").exists());

    // Without the fence the very same attempts get there.
    let lines = given(2, Seccomp::Unconfined)?;
    let found = pairs(&lines);
    for name in ["list", "read", "write", "create", "read-entered", "execute"] {
        assert_eq!(found[name], "allowed", "{name}: {lines:?}");
    }
    assert!(outside.join("made").exists());
    Ok(())
}

/// In the network and among the processes of the host: abstract sockets and, unless asked for, processes of others stay out
/// of reach.
pub(crate) fn sockets_and_processes_of_the_host_are_not_reached() -> Outcome {
    if landlock_abi().is_none_or(|abi| abi < 6) {
        println!("    SKIPPED: this kernel's Landlock has no scopes");
        return Ok(());
    }
    use std::os::linux::net::SocketAddrExt as _;
    let place = Place::new()?;
    build_probe(&place)?;
    let name = format!("watchbell-{}-{}", std::process::id(), place.path().display());
    let name = &name[..name.len().min(100)];
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    let _listener = UnixListener::bind_addr(&address)?;
    let allowed = Ceiling { unconfined: true, host_network: true, host_users: true, ..Ceiling::default() };
    let server = place.connect_with(&SpawnerOptions { ceiling: allowed, ..place.options() })?;
    for (uid, seccomp, expect) in
        [(1, Seccomp::Default, "connect EPERM"), (2, Seccomp::Unconfined, "connect allowed")]
    {
        let mut of_host = PodEnvironment { ..pod(uid) };
        (of_host.host_namespaces.network, of_host.host_namespaces.users) = (true, true);
        let spec = RunSpec { pod: Arc::new(of_host), seccomp, ..probe(&place, uid, &["reach", name]) };
        assert_eq!(printed(&place, &server, &spec)?, [expect]);
    }
    Ok(())
}

/// Who enters a container may look at its processes and signal them: that is what he came for.
pub(crate) fn who_enters_is_not_fenced_off_the_container() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    let main = script(&place, 1, "sleep 1000");
    start(&server, &main)?;
    let (_, printed, _) = exec(&server, main.id, &["/bin/probe", "cat", "/proc/1/environ"])?;
    assert!(printed.contains("PATH=/bin"), "{printed}");
    let (_, printed, _) = exec(&server, main.id, &["/bin/probe", "signal-to", "1"])?;
    assert_eq!(printed, "signal allowed\n");
    end(&server, &main)
}
