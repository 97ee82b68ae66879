//! A server of its own for each test: private data directory, free port, everything gone at the end.

use std::fs::File;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The longest any single thing may take before the test says what hung.
const PATIENCE: Duration = Duration::from_secs(600);
/// Between two looks at something that has no other way to tell.
const GLANCE: Duration = Duration::from_millis(20);

/// Says why a test is left out, and whether it is.
pub(crate) fn is_left_out(needs: &[&str]) -> bool {
    if !rustix::process::geteuid().is_root() {
        eprintln!("NOT TESTED: containers are started, which needs root");
        return true;
    }
    for program in needs {
        if which(program).is_none() {
            eprintln!("NOT TESTED: {program} is not installed (`make test` names the packages)");
            return true;
        }
    }
    false
}

pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|p| p.exists())
}

/// One server with its data directory.
pub(crate) struct Stand {
    dir: tempfile::TempDir,
    server: Option<Child>,
    /// Further arguments of `serve`, at each start.
    serve: Vec<String>,
    /// A program and its arguments that runs ours somewhere else.
    within: Vec<String>,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Done {
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "stdout: {}\nstderr: {}", self.out, self.err);
        self.out
    }
}

impl Stand {
    /// Starts a server and waits until it is ready.
    pub(crate) fn start() -> Stand {
        let mut stand = Stand::unstarted();
        stand.launch();
        stand.wait_ready();
        stand
    }

    pub(crate) fn unstarted() -> Stand {
        Stand { dir: tempfile::tempdir().unwrap(), server: None, serve: Vec::new(), within: Vec::new() }
    }

    /// Server and clients run by this program, which becomes them.
    pub(crate) fn within(words: Vec<String>) -> Stand {
        let mut stand = Stand::unstarted();
        stand.within = words;
        stand
    }

    /// The server's URL, as the kubeconfig has it.
    pub(crate) fn url(&self) -> String {
        let config = std::fs::read_to_string(self.kubeconfig()).unwrap();
        let url = config.lines().find_map(|line| line.trim().strip_prefix("server: "));
        url.unwrap().trim_matches('"').to_owned()
    }

    /// As [`Stand::start`], with the image `busybox:bar` in its store.
    pub(crate) fn with_busybox() -> Stand {
        Stand::with_busybox_and(|_| Vec::new())
    }

    /// The same, with more arguments of `serve`.
    pub(crate) fn with_busybox_and(more: impl FnOnce(&Stand) -> Vec<String>) -> Stand {
        Stand::prepared(|stand| {
            stand.build_busybox();
            more(stand)
        })
    }

    /// Puts the image `busybox:bar` into the store, before a server runs.
    pub(crate) fn build_busybox(&self) {
        let busybox = which("busybox").expect("busybox-static is installed");
        let build = self
            .program()
            .args(["image", "build", "busybox:bar", "--from", "scratch", "--data-dir"])
            .arg(self.data())
            .arg("--copy")
            .arg(format!("{}:/bin/busybox", busybox.display()))
            // `kubectl cp` wants it by that name.
            .arg("--copy")
            .arg(format!("{}:/bin/tar", busybox.display()))
            .args(["--env", "PATH=/bin"])
            .output()
            .unwrap();
        done(build).ok();
    }

    /// As [`Stand::start`], with what `prepare` puts into the data directory and the arguments of `serve` it returns.
    pub(crate) fn prepared(prepare: impl FnOnce(&Stand) -> Vec<String>) -> Stand {
        let mut stand = Stand::unstarted();
        stand.serve = prepare(&stand);
        stand.launch();
        stand.wait_ready();
        stand
    }

    /// Puts an image of one static program, `/program`, into the store, through the server where one runs.
    pub(crate) fn build_c(&self, name: &str, source: &str) {
        let (code, program) = (self.path("program.c"), self.path("program"));
        std::fs::write(&code, source).unwrap();
        let mut compile = Command::new("cc");
        compile.args(["-O1", "-static", "-o"]).arg(&program).arg(&code);
        run(compile, "").ok();
        let copy = format!("{}:/program", program.display());
        let data = self.data().display().to_string();
        self.watchbell(&["image", "build", name, "--data-dir", &data, "--copy", &copy]).ok();
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.data().join("admin.kubeconfig")
    }

    /// The program, without anything of this machine's user.
    pub(crate) fn program(&self) -> Command {
        let mut words = self.within.iter().map(String::as_str).chain([env!("CARGO_BIN_EXE_watchbell")]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        command.env("HOME", self.dir.path()).env_remove("KUBECONFIG").stdin(Stdio::null());
        command
    }

    /// Starts the server on a free port and does not wait for it.
    pub(crate) fn launch(&mut self) {
        self.launch_on("127.0.0.1:0");
    }

    pub(crate) fn launch_on(&mut self, listen: &str) {
        let log = File::options().create(true).append(true).open(self.path("server.log")).unwrap();
        let child = self
            .program()
            .args(["serve", "--listen", listen, "--data-dir"])
            .arg(self.data())
            .args(&self.serve)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.server = Some(child);
    }

    /// Starts the server anew with these arguments and waits until it is ready.
    pub(crate) fn serve(&mut self, args: &[&str]) {
        self.serve = args.iter().map(ToString::to_string).collect();
        self.launch();
        self.wait_ready();
    }

    pub(crate) fn wait_ready(&mut self) {
        self.until("the server is ready", |stand| {
            if let Some(server) = &mut stand.server
                && let Some(status) = server.try_wait().unwrap()
            {
                panic!("the server ended: {status}\n{}", stand.server_log());
            }
            stand.watchbell(&["get", "namespaces", "-o", "name"]).code == Some(0)
        });
    }

    pub(crate) fn server_log(&self) -> String {
        std::fs::read_to_string(self.path("server.log")).unwrap_or_default()
    }

    /// SIGKILL, no chance to tidy up. The spawner and its tasks go on.
    pub(crate) fn kill(&mut self) {
        let mut server = self.server.take().expect("a server runs");
        server.kill().unwrap();
        server.wait().unwrap();
    }

    /// SIGTERM, and the end must be clean.
    pub(crate) fn stop(&mut self) {
        let mut server = self.server.take().expect("a server runs");
        let pid = rustix::process::Pid::from_child(&server);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = server.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < PATIENCE, "SIGTERM does not end the server\n{}", self.server_log());
            std::thread::sleep(GLANCE);
        };
        assert_eq!(status.code(), Some(0), "{status} {:?}\n{}", status.signal(), self.server_log());
    }

    /// `watchbell ARGS` against this server.
    pub(crate) fn watchbell(&self, args: &[&str]) -> Done {
        self.watchbell_with(args, "")
    }

    pub(crate) fn watchbell_with(&self, args: &[&str], input: &str) -> Done {
        let mut command = self.program();
        command.arg("--kubeconfig").arg(self.kubeconfig()).args(args);
        run(command, input)
    }

    /// As [`Stand::watchbell`], with this as its standard output.
    pub(crate) fn watchbell_to(&self, out: impl Into<Stdio>, args: &[&str]) -> Done {
        let mut command = self.program();
        command.arg("--kubeconfig").arg(self.kubeconfig()).args(args).stdout(out);
        run(command, "")
    }

    #[track_caller]
    pub(crate) fn apply(&self, manifest: &str) -> String {
        self.watchbell_with(&["apply", "-f", "-"], manifest).ok()
    }

    /// One object.
    #[track_caller]
    pub(crate) fn get(&self, what: &[&str]) -> Value {
        let mut args = vec!["get", "-o", "json"];
        args.extend(what);
        serde_json::from_str(&self.watchbell(&args).ok()).unwrap()
    }

    /// Looks until `is_so`, and says what hung when it never is.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Stand) -> bool) {
        let begun = Instant::now();
        while !is_so(self) {
            assert!(begun.elapsed() < PATIENCE, "it never happened: {what}\n{}", self.server_log());
            std::thread::sleep(GLANCE);
        }
    }

    /// Waits for a Job's end and returns it.
    #[track_caller]
    pub(crate) fn finished(&mut self, namespace: &str, job: &str) -> Value {
        let mut last = Value::Null;
        self.until(&format!("job {job} ends"), |stand| {
            let got = stand.watchbell(&["get", "-o", "json", "-n", namespace, "job", job]);
            last = serde_json::from_str(&got.out).unwrap_or_default();
            condition(&last, "Complete") || condition(&last, "Failed")
        });
        last
    }

    /// Ends everything and asserts that nothing is left on the machine.
    pub(crate) fn end(mut self) {
        if self.server.is_some() {
            self.stop();
        }
        let state = self.data().display().to_string();
        // The spawner ends when its directory is gone and it has no task; until then it may write there once more.
        let dir = self.dir.path().to_path_buf();
        let begun = Instant::now();
        while let Err(error) = std::fs::remove_dir_all(self.data()) {
            assert!(begun.elapsed() < PATIENCE, "cannot remove {}: {error}", dir.display());
            std::thread::sleep(GLANCE);
        }
        let group = control_group(&self.data());
        while let Some(left) = leftover(&state).or_else(|| left_group(&group)) {
            assert!(begun.elapsed() < PATIENCE, "left behind by {}: {left}", dir.display());
            std::thread::sleep(GLANCE);
        }
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        // Only when a test failed: what it started ends with it. The spawner sees its directory go.
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

pub(crate) fn condition(object: &Value, kind: &str) -> bool {
    object["status"]["conditions"]
        .as_array()
        .is_some_and(|list| list.iter().any(|c| c["type"] == kind && c["status"] == "True"))
}

/// A process or mount that names the directory.
fn leftover(dir: &str) -> Option<String> {
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name();
        if !name.as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        for file in ["cmdline", "mountinfo"] {
            // A process may end while it is looked at.
            let Ok(text) = std::fs::read(entry.path().join(file)) else { continue };
            if contains(&text, dir.as_bytes()) {
                return Some(format!("{} of process {}", file, name.display()));
            }
        }
    }
    None
}

/// The name of the control groups of a data directory's spawner: by FNV-1a of its state directory.
fn control_group(data: &std::path::Path) -> String {
    let state = data.join("run");
    let hash = state.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("watchbell-{hash:016x}-0")
}

/// A control group of that name, in whichever hierarchy.
fn left_group(name: &str) -> Option<String> {
    let mut pending = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(dir) = pending.pop() {
        // Groups of others come and go meanwhile.
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry.file_name().as_encoded_bytes() == name.as_bytes() {
                return Some(format!("the control group {}", entry.path().display()));
            }
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                pending.push(entry.path());
            }
        }
    }
    None
}

/// Whether a running stand has its control group where it is looked for: else its absence would prove nothing.
pub(crate) fn has_group(stand: &Stand) -> bool {
    left_group(&control_group(&stand.data())).is_some()
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|w| w == part)
}

/// Runs a command with `input` on its standard input.
pub(crate) fn run(mut command: Command, input: &str) -> Done {
    if input.is_empty() {
        return done(command.stdin(Stdio::null()).output().unwrap());
    }
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let input = input.to_owned();
    // A command that refuses its input early is part of the tests.
    let writer = std::thread::spawn(move || drop(pipe.write_all(input.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    done(output)
}

fn done(output: Output) -> Done {
    Done {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A Job of busybox: `spec` holds the Job's own fields, `script` is run by its shell.
pub(crate) fn job(name: &str, spec: &str, script: &str) -> String {
    let script = serde_json::to_string(script).unwrap();
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}}}\nspec:\n  {spec}\n  template:\n    spec:\n      \
         restartPolicy: Never\n      containers:\n      - name: main\n        image: busybox:bar\n        \
         imagePullPolicy: Never\n        command: [/bin/busybox, sh, -c, {script}]\n"
    )
}

/// An address on loopback that is free, and that the kernel gives to nobody who asks for any port: below the usual ephemeral range. So who stops
/// can begin there again.
pub(crate) fn free_address() -> String {
    let mut seed = [0u8; 2];
    getrandom::fill(&mut seed).unwrap();
    let first = 20_000 + u16::from_le_bytes(seed) % 10_000;
    let port = (first..first + 100)
        .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port");
    format!("127.0.0.1:{port}")
}
