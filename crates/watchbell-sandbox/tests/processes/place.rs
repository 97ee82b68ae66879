//! A data directory with a small root file system, and a spawner on it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use rustix::fd::AsFd as _;
use watchbell_sandbox::{
    CgroupLimits, ContainerId, Event, ExitRecord, LogTarget, PodEnvironment, RunSpec, Spawner,
    SpawnerOptions, StartFailure, TableEntry,
};

pub(crate) type Failure = Box<dyn std::error::Error>;

/// Long enough for a machine under load; nothing waits for it to pass.
pub(crate) const PATIENCE: Duration = Duration::from_secs(240);

pub(crate) struct Place {
    path: PathBuf,
    /// Whose end removes it; a client process only visits.
    dir: Option<tempfile::TempDir>,
}

pub(crate) struct Server {
    pub(crate) spawner: Spawner,
    pub(crate) table: Vec<TableEntry>,
    events: Receiver<Event>,
}

impl Place {
    pub(crate) fn new() -> Result<Self, Failure> {
        let dir = tempfile::Builder::new().prefix("watchbell-test-").tempdir()?;
        let layer = dir.path().join("layer");
        for program in ["sh", "sleep", "head", "cat"] {
            copy_program(program, &layer)?;
        }
        for empty in ["tmp", "proc", "sys", "dev", "etc"] {
            fs::create_dir_all(layer.join(empty))?;
        }
        Ok(Self { path: dir.path().to_path_buf(), dir: Some(dir) })
    }

    pub(crate) fn at(path: &Path) -> Self {
        Self { path: path.to_path_buf(), dir: None }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn options(&self) -> SpawnerOptions {
        SpawnerOptions { idle_seconds: 1, ..SpawnerOptions::new(&self.path) }
    }

    pub(crate) fn connect(&self) -> Result<Server, Failure> {
        self.connect_with(&self.options())
    }

    pub(crate) fn connect_with(&self, options: &SpawnerOptions) -> Result<Server, Failure> {
        let (spawner, table, events) = Spawner::connect_or_start(options)?;
        Ok(Server { spawner, table, events })
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.path.join("logs").join(name)
    }

    /// The lines of a log without stamp, in their order: `stdout F text`.
    pub(crate) fn lines(&self, name: &str) -> io::Result<Vec<String>> {
        let text = fs::read_to_string(self.log(name))?;
        Ok(text.lines().map(|line| line.split_once(' ').map_or(line, |(_, rest)| rest).to_owned()).collect())
    }

    /// Waits until a task has printed.
    pub(crate) fn wait_for_log(&self, name: &str) -> Result<(), Failure> {
        self.wait_for_lines(name, 1)
    }

    pub(crate) fn wait_for_lines(&self, name: &str, count: usize) -> Result<(), Failure> {
        let begin = Instant::now();
        while self.lines(name).map_or(0, |lines| lines.len()) < count {
            if begin.elapsed() > PATIENCE {
                return Err(format!("fewer than {count} lines are in {name}").into());
            }
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Pids of the processes of a kind on this directory. Zombies are left out, and what one of them has just cloned, which looks like
    /// it at first.
    pub(crate) fn pids(&self, kind: &str) -> io::Result<Vec<i32>> {
        let place = self.path.to_string_lossy().into_owned();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            let args = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let args = String::from_utf8_lossy(&args).into_owned();
            if args.split('\0').nth(1) == Some(kind) && args.contains(&place) {
                found.push(pid);
            }
        }
        let parent = |pid: &i32| -> Option<i32> {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
        };
        let is_first = |pid: &&i32| parent(pid).is_some_and(|parent| !found.contains(&parent));
        Ok(found.iter().filter(is_first).copied().collect())
    }

    pub(crate) fn spawner(&self) -> Result<i32, Failure> {
        Ok(*self.pids("spawner")?.first().ok_or("there is no spawner")?)
    }

    /// What the spawner has started and not reaped.
    pub(crate) fn children_of_the_spawner(&self) -> Result<Vec<i32>, Failure> {
        let spawner = self.spawner()?;
        let children = fs::read_to_string(format!("/proc/{spawner}/task/{spawner}/children"))?;
        Ok(children.split_whitespace().map(str::parse).collect::<Result<_, _>>()?)
    }

    /// Kills the one process of a kind and waits until it is gone.
    pub(crate) fn kill(&self, kind: &str) -> Result<(), Failure> {
        let pids = self.pids(kind)?;
        let [pid] = pids[..] else { return Err(format!("{kind}: {pids:?}").into()) };
        let pid = rustix::process::Pid::from_raw(pid).ok_or("pid 0")?;
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
        rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL)?;
        wait_for_end(&pidfd)
    }

    pub(crate) fn wait_for_spawner_end(&self) -> Result<(), Failure> {
        for kind in ["spawner", "keeper"] {
            for pid in self.pids(kind)? {
                let pid = rustix::process::Pid::from_raw(pid).ok_or("pid 0")?;
                match rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
                    Ok(pidfd) => wait_for_end(&pidfd)?,
                    Err(rustix::io::Errno::SRCH) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }
}

pub(crate) fn wait_for_end(pidfd: &rustix::fd::OwnedFd) -> Result<(), Failure> {
    wait_for(pidfd.as_fd()).map_err(|_| "a process does not end".into())
}

/// Until there is something to read; a pidfd has that when its process has ended.
pub(crate) fn wait_for(fd: rustix::fd::BorrowedFd<'_>) -> Result<(), Failure> {
    let mut fds = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
    let patience = rustix::event::Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    match rustix::event::poll(&mut fds, Some(&patience))? {
        0 => Err("nothing happens".into()),
        _ => Ok(()),
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.dir.is_none() {
            return;
        }
        // Whatever a failed test left: a spawner without server ends within a second, its tasks with the directory.
        let _ = fs::remove_file(self.path.join("run/spawner.sock"));
        if let Err(error) = self.wait_for_spawner_end() {
            eprintln!("left behind: {error}");
        }
        let left = left_groups(&self.path.join("run"));
        if !left.is_empty() || std::thread::panicking() || std::env::var_os("SPAWNER_LOG").is_some() {
            let log = fs::read_to_string(self.path.join("run/spawner.log")).unwrap_or_default();
            eprintln!("the spawner's log:\n{log}");
            for entry in fs::read_dir(self.path.join("logs")).into_iter().flatten().flatten() {
                let text = fs::read_to_string(entry.path()).unwrap_or_default();
                eprintln!("{}:\n{text}", entry.path().display());
            }
        }
        if !std::thread::panicking() {
            assert_eq!(left, Vec::<PathBuf>::new());
        }
    }
}

/// The control groups of a spawner on this state directory, in whichever hierarchy. They are named by its FNV-1a.
fn left_groups(state: &Path) -> Vec<PathBuf> {
    let hash = state.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let name = format!("watchbell-{hash:016x}-0");
    let (mut pending, mut found) = (vec![PathBuf::from("/sys/fs/cgroup")], Vec::new());
    while let Some(dir) = pending.pop() {
        // Groups of others come and go meanwhile.
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry.file_name().as_encoded_bytes() == name.as_bytes() {
                found.push(entry.path());
            }
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                pending.push(entry.path());
            }
        }
    }
    found
}

impl Server {
    pub(crate) fn event(&self) -> Result<Event, Failure> {
        Ok(self.events.recv_timeout(PATIENCE)?)
    }

    /// The end of a run; other runs' events on the way are dropped.
    pub(crate) fn exit(&self, id: ContainerId) -> Result<ExitRecord, Failure> {
        loop {
            match self.event()? {
                Event::Exited(record) if record.id == id => return Ok(record),
                Event::StartFailed(failure) if failure.id == id => return Err(failure.message.into()),
                Event::Disconnected => return Err("the spawner is gone".into()),
                _ => {}
            }
        }
    }

    pub(crate) fn any_exit(&self) -> Result<ExitRecord, Failure> {
        loop {
            match self.event()? {
                Event::Exited(record) => return Ok(record),
                Event::StartFailed(failure) => return Err(failure.message.into()),
                Event::Disconnected => return Err("the spawner is gone".into()),
                Event::Started { .. }
                | Event::LogTrouble { .. }
                | Event::Mapped { .. }
                | Event::Connections { .. }
                | Event::GateLost { .. } => {}
            }
        }
    }

    pub(crate) fn failure(&self, id: ContainerId) -> Result<StartFailure, Failure> {
        loop {
            match self.event()? {
                Event::StartFailed(failure) if failure.id == id => return Ok(failure),
                Event::Exited(record) if record.id == id => return Err(format!("{record:?}").into()),
                Event::Disconnected => return Err("the spawner is gone".into()),
                _ => {}
            }
        }
    }

    pub(crate) fn started(&self, id: ContainerId) -> Result<u32, Failure> {
        loop {
            match self.event()? {
                Event::Started { id: started, pid, .. } if started == id => return Ok(pid),
                Event::StartFailed(failure) if failure.id == id => return Err(failure.message.into()),
                Event::Disconnected => return Err("the spawner is gone".into()),
                _ => {}
            }
        }
    }

    pub(crate) fn disconnected(&self) -> Result<(), Failure> {
        loop {
            if self.event()? == Event::Disconnected {
                return Ok(());
            }
        }
    }
}

/// The program and the libraries it names, under the same paths.
fn copy_program(program: &str, layer: &Path) -> Result<(), Failure> {
    let found =
        ["/bin", "/usr/bin"].iter().map(|dir| Path::new(dir).join(program)).find(|path| path.exists());
    let path = found.ok_or_else(|| format!("this host has no {program}"))?;
    let target = layer.join("bin").join(program);
    fs::create_dir_all(layer.join("bin"))?;
    fs::copy(fs::canonicalize(&path)?, target)?;
    let listed = Command::new("ldd").arg(&path).output()?.stdout;
    for word in String::from_utf8_lossy(&listed).split_whitespace().filter(|word| word.starts_with('/')) {
        let target = layer.join(word.trim_start_matches('/'));
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::copy(word, target)?;
    }
    Ok(())
}

pub(crate) fn pod(uid: u128) -> PodEnvironment {
    PodEnvironment {
        name: format!("test/pod-{uid}"),
        hostname: "task".to_owned(),
        shm_bytes: 1 << 20,
        ..PodEnvironment::alone(uid)
    }
}

/// `sh -c script` as the only container of a pod, which logs to `<uid>.log`.
pub(crate) fn script(place: &Place, uid: u128, script: &str) -> RunSpec {
    let argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    let log = LogTarget { path: format!("{uid}.log").into(), max_bytes: 10 << 20, max_files: 2 };
    RunSpec {
        env: vec![("PATH".to_owned(), "/bin".to_owned())],
        limits: CgroupLimits { pids: Some(64), ..CgroupLimits::default() },
        ..RunSpec::strict(Arc::new(pod(uid)), place.path.join("layer"), argv, log)
    }
}

/// The version of the kernel, as far as it says what there is.
pub(crate) fn kernel() -> (u32, u32) {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(['.', '-']).map_while(|n| n.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
