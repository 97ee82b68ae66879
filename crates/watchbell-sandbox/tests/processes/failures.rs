//! What goes wrong around the spawner.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use watchbell_sandbox::{Error, ExitStatus, Spawner};

use crate::Outcome;
use crate::place::{Place, script};

pub(crate) fn a_hostile_client_is_survived() -> Outcome {
    let place = Place::new()?;
    let server = place.connect()?;
    let spec = script(&place, 1, "sleep 1000");
    server.spawner.start(&spec)?;
    server.started(spec.id)?;
    drop(server);
    let socket = place.path().join("run/spawner.sock");
    let attacks: [Vec<u8>; 5] = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        vec![0; 4096],
        vec![0xff; 4096],
        // A frame within the limit whose message is noise.
        [&4_u32.to_le_bytes()[..], &0_u32.to_le_bytes(), &[9, 9, 9, 9]].concat(),
        // A start before the greeting.
        [&2_u32.to_le_bytes()[..], &0_u32.to_le_bytes(), &[3, 0]].concat(),
    ];
    for attack in attacks {
        let mut stream = UnixStream::connect(&socket)?;
        stream.write_all(&attack)?;
        // It hangs up; what it says before does not matter.
        let _ = stream.read_to_end(&mut Vec::new());
    }
    // Half a frame, and gone.
    UnixStream::connect(&socket)?.write_all(&[100, 0, 0, 0, 0])?;
    let server = place.connect()?;
    assert_eq!(server.table.len(), 1);
    server.spawner.kill_pod(1)?;
    assert_eq!(server.exit(spec.id)?.status, ExitStatus::Signal(9));
    Ok(())
}

/// A tmpfs of one MiB that goes away again.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn at(path: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        std::fs::create_dir_all(path)?;
        mount("watchbell-test", path, "tmpfs", MountFlags::empty(), Some(c"size=1m"))?;
        Ok(Self(path.to_path_buf()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.0, UnmountFlags::DETACH) {
            eprintln!("{} stays mounted: {error}", self.0.display());
        }
    }
}

pub(crate) fn a_full_disk_loses_lines_and_no_task() -> Outcome {
    let place = Place::new()?;
    let disk = SmallDisk::at(&place.path().join("logs"))?;
    let server = place.connect()?;
    // 4 MiB into 1 MiB.
    let spec = script(&place, 1, "head -c 4194304 /dev/zero; echo; echo end");
    server.spawner.start(&spec)?;
    let record = server.exit(spec.id)?;
    assert_eq!(record.status, ExitStatus::Code(0));
    assert_eq!((record.log.bytes, record.log.lines), (4_194_304 + 5, 2));
    assert!(record.log.dropped_bytes > 3 << 20, "{record:?}");
    // Whole records only.
    let text = std::fs::read(place.log("1.log"))?;
    assert_eq!(text.last(), Some(&b'\n'));
    // Once there is room again, logs are written again.
    std::fs::remove_file(place.log("1.log"))?;
    let next = script(&place, 2, "echo again");
    server.spawner.start(&next)?;
    assert_eq!(server.exit(next.id)?.log.dropped_bytes, 0);
    assert_eq!(place.lines("2.log")?, ["stdout F again"]);
    drop(server);
    place.wait_for_spawner_end()?;
    drop(disk);
    Ok(())
}

pub(crate) fn a_spawner_that_cannot_start_says_why() -> Outcome {
    let place = Place::new()?;
    let run = place.path().join("run");
    std::fs::create_dir(&run)?;
    std::fs::write(
        run.join("spawner.table"),
        "this is not a table, and longer than any header would ever be",
    )?;
    let error = Spawner::connect_or_start(&place.options()).map(drop);
    let Err(Error::DidNotStart { reason, log }) = error else { return Err(format!("{error:?}").into()) };
    assert!(reason.contains("table"), "{reason}");
    assert!(std::fs::read_to_string(log)?.contains("table"));

    let mut options = place.options();
    options.exe = "/bin/true".into();
    std::fs::remove_file(run.join("spawner.table"))?;
    let error = Spawner::connect_or_start(&options).map(drop);
    assert!(matches!(error, Err(Error::DidNotStart { .. })), "{error:?}");
    Ok(())
}
