//! What another process swaps while a task is started: a directory for a symbolic link, as fast as it can.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use watchbell_sandbox::{Mount, PodEnvironment, PodVolume, RunSpec, VolumeSource};

use crate::Outcome;
use crate::place::{Failure, Place, Server, pod};
use crate::probe::{build_probe, probe};

const STARTS: u128 = 40;

/// Ends the swapping, also when a check panics.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A volume in which `x` is by turns a directory and a link to `target`, while `check` runs. How often was it swapped.
fn swapping(
    volume: &Path,
    target: &Path,
    check: impl FnOnce() -> Result<(), Failure>,
) -> Result<usize, Failure> {
    fs::create_dir_all(volume.join("x"))?;
    std::os::unix::fs::symlink(target, volume.join("link"))?;
    let (is_over, swaps) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let swapper = scope.spawn(|| -> io::Result<()> {
            while !is_over.load(Ordering::Relaxed) {
                renameat_with(CWD, volume.join("x"), CWD, volume.join("link"), RenameFlags::EXCHANGE)?;
                swaps.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        let over = Over(&is_over);
        let checked = check();
        drop(over);
        swapper.join().map_err(|_| "the swapper panicked")??;
        checked
    })?;
    Ok(swaps.into_inner())
}

/// Starts a task with mounts of the volume, to its end; an error is a refusal to start.
fn started(
    place: &Place,
    server: &Server,
    uid: u128,
    volume: &Path,
    mounts: &[(&str, Option<&str>)],
) -> Result<Vec<String>, String> {
    let source = |id, path: &Path| PodVolume { id, source: VolumeSource::Dir { path: path.to_path_buf() } };
    let volumes = vec![source(1, volume), source(2, &place.path().join("volumes/inner"))];
    let mount = |(at, (target, sub_path)): (usize, &(&str, Option<&str>))| Mount {
        target: (*target).to_owned(),
        volume: at as u16 + 1,
        sub_path: sub_path.map(str::to_owned),
        read_only: false,
    };
    let spec = RunSpec {
        pod: Arc::new(PodEnvironment { volumes, ..pod(uid) }),
        mounts: mounts.iter().enumerate().map(mount).collect(),
        ..probe(place, uid, &["ls", mounts[0].0])
    };
    server.spawner.start(&spec).map_err(|e| e.to_string())?;
    server.exit(spec.id).map_err(|e| e.to_string())?;
    server.spawner.release_pod(uid).map_err(|e| e.to_string())?;
    place.lines(&format!("{uid}.log")).map_err(|e| e.to_string())
}

/// CVE-2021-25741, CVE-2024-45310.
pub(crate) fn swapped_links_lead_nowhere() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    let outside = place.path().join("outside");
    fs::create_dir_all(&outside)?;
    fs::create_dir_all(place.path().join("volumes/inner"))?;
    fs::write(outside.join("secret"), "of the host")?;

    // What a subPath names.
    let volume = place.path().join("volumes/sub-path");
    let (mut listed, mut fooled) = (0, 0);
    let swaps = swapping(&volume, &outside, || {
        for uid in 1..=STARTS {
            if let Ok(lines) = started(&place, &server, uid, &volume, &[("/data", Some("x"))]) {
                listed += 1;
                assert!(lines.iter().all(|line| !line.contains("secret")), "{lines:?}");
            }
            // Who looks by path is led out: the link is there and works.
            fooled += (0..1000).filter(|_| volume.join("x/secret").exists()).count();
        }
        Ok(())
    })?;
    assert!(swaps > 1000 && listed > 0 && fooled > 0, "{swaps} swaps, {listed} listed, {fooled} fooled");

    // Where the mount point of another volume is made.
    let volume = place.path().join("volumes/target");
    let mut fooled = 0;
    swapping(&volume, &outside, || {
        for uid in 101..=100 + STARTS {
            // Refused or not: nothing is made outside.
            let inner = format!("/data/x/made-{uid}");
            let _ = started(&place, &server, uid, &volume, &[("/data", None), (&inner, None)]);
            let made: Vec<_> = fs::read_dir(&outside)?.flatten().map(|entry| entry.file_name()).collect();
            assert_eq!(made, ["secret"]);
        }
        let control = |n: &i32| fs::create_dir(volume.join(format!("x/control-{n}"))).is_ok();
        (0..1000).filter(control).count();
        fooled = fs::read_dir(&outside)?.count();
        Ok(())
    })?;
    assert!(fooled > 1, "the control was never led out");
    // Some were made where they belong, so the attempts were real.
    let inside = ["x", "link"].map(|name| volume.join(name)).into_iter().find(|path| !path.is_symlink());
    let made = fs::read_dir(inside.ok_or("both are links")?)?.flatten();
    let made = made.filter(|entry| entry.file_name().to_string_lossy().starts_with("made-")).count();
    assert!(made > 0, "no start got as far");
    Ok(())
}
