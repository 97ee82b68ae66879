//! A node whose containers are processes of this test: every session starts one, with pipes.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};

use serde_json::{Value, json};
use watchbell_api::ApiError;
use watchbell_api::node::{
    Assignment, Session, SessionAction, SessionControl, SessionEnd, SessionRequest, Sessions,
};

#[derive(Default)]
pub(crate) struct FakeSessions {
    pub(crate) asked: Mutex<Vec<SessionRequest>>,
    pub(crate) controls: Mutex<Vec<Arc<Control>>>,
}

/// One process of a session.
pub(crate) struct Control {
    child: Mutex<Child>,
    pub(crate) sizes: Mutex<Vec<(u16, u16)>>,
    /// Rings with each new size.
    resized: Condvar,
}

impl FakeSessions {
    /// The newest session's process.
    pub(crate) fn newest(&self) -> Arc<Control> {
        self.controls.lock().unwrap().last().expect("a session was opened").clone()
    }
}

impl Sessions for FakeSessions {
    fn explain(&self, pod: &Assignment) -> Result<Value, ApiError> {
        let user = pod.spec.security_context.run_as_user;
        Ok(json!({"name": &*pod.name, "runAsUser": user, "privateTmp": pod.private_tmp}))
    }

    fn open(&self, request: &SessionRequest) -> Result<Session, ApiError> {
        self.asked.lock().unwrap().push(request.clone());
        let words = match &request.action {
            SessionAction::Exec { command } => command.clone(),
            // The container's own process: says what it hears.
            SessionAction::Attach => {
                ["sh", "-c", "read line; echo heard $line; exit 4"].map(str::to_owned).to_vec()
            }
        };
        let pipe = |is_wanted: bool| if is_wanted { Stdio::piped() } else { Stdio::null() };
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .stdin(pipe(request.stdin))
            .stdout(pipe(request.stdout))
            .stderr(pipe(request.stderr))
            .spawn()
            .map_err(|error| ApiError::bad_request(format!("cannot start {:?}: {error}", words[0])))?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let control =
            Arc::new(Control { child: Mutex::new(child), sizes: Mutex::default(), resized: Condvar::new() });
        self.controls.lock().unwrap().push(control.clone());
        Ok(Session {
            stdin: stdin.map(OwnedFd::from),
            stdout: stdout.map(OwnedFd::from),
            stderr: stderr.map(OwnedFd::from),
            control,
        })
    }
}

impl Control {
    pub(crate) fn wait_for_size(&self, size: (u16, u16)) {
        let sizes = self.sizes.lock().unwrap();
        let patience = crate::harness::PATIENCE;
        let waited = self.resized.wait_timeout_while(sizes, patience, |s| s.last() != Some(&size)).unwrap();
        assert!(!waited.1.timed_out(), "{:?}", waited.0);
    }

    /// Whether the process has ended, by whatever hand.
    pub(crate) fn has_ended(&self) -> bool {
        self.child.lock().unwrap().try_wait().unwrap().is_some()
    }
}

impl SessionControl for Control {
    fn resize(&self, columns: u16, rows: u16) -> io::Result<()> {
        self.sizes.lock().unwrap().push((columns, rows));
        self.resized.notify_all();
        Ok(())
    }

    fn wait(&self) -> io::Result<SessionEnd> {
        // Without holding the child: others must be able to end it meanwhile.
        let id = self.child.lock().unwrap().id();
        let pid = rustix::process::Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
        let options = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        // Somebody else may have reaped it.
        let _ = rustix::process::waitid(rustix::process::WaitId::Pid(pid), options);
        let status = self.child.lock().unwrap().wait()?;
        Ok(match status.signal() {
            Some(signal) => SessionEnd::Signalled(u8::try_from(signal).unwrap()),
            None => SessionEnd::Exited(u8::try_from(status.code().unwrap()).unwrap()),
        })
    }

    fn end(&self) {
        let _ = self.child.lock().unwrap().kill();
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }
}
