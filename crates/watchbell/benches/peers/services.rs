//! Peers that are services: HyperQueue and Slurm, each on loopback with all it keeps in a directory of its own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use super::holder::called;

const PATIENCE: Duration = Duration::from_secs(60);

/// HyperQueue from PyPI: the server and one worker in a process of Python's, tasks as children, nothing isolated, no
/// output kept.
pub(crate) struct HyperQueue {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
    _dir: tempfile::TempDir,
}

impl HyperQueue {
    /// `python` is that of the virtual environment which `make bench-setup` makes.
    pub(crate) fn start(python: &Path, program: &Path, cores: usize) -> Result<HyperQueue, String> {
        let dir = tempfile::tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/local_cluster.py");
        let mut child = Command::new(python)
            .arg(script)
            .arg(dir.path())
            .arg(cores.to_string())
            .arg(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|_| "not installed (make bench-setup)".to_owned())?;
        let (ask, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut queue = HyperQueue { child, ask, answers, _dir: dir };
        queue.answer("ready")?;
        Ok(queue)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Until the client was told that all have ended.
    pub(crate) fn run(&mut self, count: usize) -> Result<(), String> {
        writeln!(self.ask, "{count}").map_err(|e| e.to_string())?;
        self.answer("done")
    }

    fn answer(&mut self, wanted: &str) -> Result<(), String> {
        let mut line = String::new();
        self.answers.read_line(&mut line).map_err(|e| e.to_string())?;
        if line.trim() == wanted {
            Ok(())
        } else {
            Err(format!("instead of {wanted:?} it said {:?}", line.trim()))
        }
    }
}

impl Drop for HyperQueue {
    fn drop(&mut self) {
        // It holds nothing that must end in order.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// slurmctld, slurmd and munged of Debian, run as processes of the bench; nothing isolated, no accounting, no output kept.
pub(crate) struct Slurm {
    holder: Child,
    dir: tempfile::TempDir,
}

impl Slurm {
    pub(crate) fn start(program: &Path, cpus: usize) -> Result<Slurm, String> {
        for daemon in ["munged", "slurmctld", "slurmd", "sbatch"] {
            let found = std::env::var("PATH")
                .unwrap_or_default()
                .split(':')
                .any(|d| Path::new(d).join(daemon).exists());
            if !found {
                return Err(format!("{daemon} is not installed (make bench-setup)"));
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let text = |name: &str| path(name).display().to_string();
        for sub in ["state", "spool"] {
            std::fs::create_dir(path(sub)).unwrap();
        }
        let mut key = [0u8; 1024];
        getrandom::fill(&mut key).unwrap();
        write_private(&path("key"), &key);
        std::fs::write(path("slurm.conf"), conf(dir.path(), cpus)).unwrap();
        // A script may be interpreted by any program: by the task itself.
        std::fs::write(path("task"), format!("#!{}\n", program.display())).unwrap();
        let words = format!(
            "munged --foreground --force --key-file={} --socket={} --pid-file={} --log-file={} --seed-file={} -- \
             slurmctld -D -i -f {conf} -- slurmd -D -f {conf}",
            text("key"),
            text("munge"),
            text("munged.pid"),
            text("munged.log"),
            text("munged.seed"),
            conf = text("slurm.conf"),
        );
        let mut command = called(&[], &["--hold"]);
        let holder = command.args(words.split_whitespace()).stdin(Stdio::piped());
        let holder = holder.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let slurm = Slurm { holder, dir };
        let begun = Instant::now();
        while !slurm.ask("sinfo", &["-h", "-o", "%T"]).is_ok_and(|state| state == "idle") {
            if begun.elapsed() > PATIENCE {
                let log = std::fs::read_to_string(slurm.dir.path().join("slurmd.log")).unwrap_or_default();
                return Err(format!(
                    "its node does not become idle: {}",
                    log.lines().last().unwrap_or("no log")
                ));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(slurm)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// One array; until the queue is empty.
    pub(crate) fn run(&self, count: usize) -> Result<(), String> {
        let task = self.dir.path().join("task").display().to_string();
        self.ask("sbatch", &["--output=/dev/null", &format!("--array=1-{count}"), &task])?;
        let begun = Instant::now();
        while !self.ask("squeue", &["-h", "-o", "%T"])?.is_empty() {
            if begun.elapsed() > 10 * PATIENCE {
                return Err("the array does not end".into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn ask(&self, program: &str, words: &[&str]) -> Result<String, String> {
        let conf = self.dir.path().join("slurm.conf");
        let output = Command::new(program)
            .args(words)
            .env("SLURM_CONF", conf)
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .output()
            .map_err(|e| format!("{program}: {e}"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}

impl Drop for Slurm {
    fn drop(&mut self) {
        // The end of its input ends it and all that it holds.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

fn write_private(path: &PathBuf, bytes: &[u8]) {
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o400).open(path);
    file.unwrap().write_all(bytes).unwrap();
}

/// Tuned for many short tasks as its guide for high throughput has it: no wait before a pass, none between passes, no
/// accounting, no plugin for tasks.
fn conf(dir: &Path, cpus: usize) -> String {
    let dir = dir.display();
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    let host = host.split('.').next().unwrap_or_default();
    let port = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (controller, node) = (port(), port());
    format!(
        "ClusterName=bench\nSlurmctldHost={host}(127.0.0.1)\nSlurmUser=root\nSlurmdUser=root\n\
         AuthType=auth/munge\nAuthInfo=socket={dir}/munge\nCredType=cred/munge\n\
         SlurmctldPort={controller}\nSlurmdPort={node}\nStateSaveLocation={dir}/state\nSlurmdSpoolDir={dir}/spool\n\
         SlurmctldPidFile={dir}/slurmctld.pid\nSlurmdPidFile={dir}/slurmd.pid\n\
         SlurmctldLogFile={dir}/slurmctld.log\nSlurmdLogFile={dir}/slurmd.log\n\
         ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\nSwitchType=switch/none\nMpiDefault=none\n\
         AccountingStorageType=accounting_storage/none\nJobAcctGatherType=jobacct_gather/none\n\
         JobCompType=jobcomp/none\nSchedulerType=sched/builtin\nSelectType=select/cons_tres\n\
         SelectTypeParameters=CR_CPU\nMaxArraySize=100001\nMaxJobCount=200000\nMinJobAge=10\nMailProg=/bin/true\n\
         SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,default_queue_depth=10000,\
         partition_job_depth=10000\nSlurmdParameters=config_overrides\n\
         NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN\n\
         PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP\n"
    )
}
