//! What a full disk costs: lines of logs.

use std::path::PathBuf;

use rustix::mount::{UnmountFlags, mount_bind, unmount};

use crate::stand::{Stand, condition, is_left_out, job};

/// A file of which nothing can be written any more; it goes away again.
struct NoRoom(PathBuf);

impl NoRoom {
    fn at(path: PathBuf) -> NoRoom {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "").unwrap();
        mount_bind("/dev/full", &path).unwrap();
        NoRoom(path)
    }
}

impl Drop for NoRoom {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.0, UnmountFlags::DETACH) {
            eprintln!("{} stays mounted: {error}", self.0.display());
        }
    }
}

#[test]
fn nothing_ends_because_its_own_log_cannot_be_written() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let mut stand = Stand::within(["sh", "-c", "exec \"$@\" 2>/dev/full", "sh"].map(str::to_owned).to_vec());
    stand.build_busybox();
    // Standard error of the spawner and of all that it starts.
    let log = NoRoom::at(stand.data().join("run/spawner.log"));
    stand.serve(&["--log=debug"]);
    let script = "echo up; while [ ! -e /tmp/end ]; do sleep 0.1; done; echo end";
    stand.apply(&job("long", "backoffLimit: 0", script));
    stand.until("it prints", |s| s.watchbell(&["logs", "job/long"]).out == "up\n");
    // The spawner logs that one server went and another came.
    stand.kill();
    stand.launch();
    stand.wait_ready();
    stand.watchbell(&["exec", "job/long", "--", "busybox", "touch", "/tmp/end"]).ok();
    assert!(condition(&stand.finished("default", "long"), "Complete"));
    assert_eq!(stand.watchbell(&["logs", "job/long"]).ok(), "up\nend\n");
    stand.stop();
    drop(log);
    stand.end();
}
