//! `PodExecOptions` and `PodAttachOptions` of core/v1.

use serde_json::{Value, json};
use watchbell_api::ApiError;
use watchbell_api::node::{SessionAction, SessionRequest};

use crate::request::Query;

/// As many bytes as a process may be started with, words and variables together, is the kernel's to say; this bounds what
/// is looked at.
const COMMAND_BYTES_MAX: usize = 32 << 10;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SessionOptions {
    pub(super) container: Option<String>,
    /// `None`: attach.
    pub(super) command: Option<Vec<String>>,
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
    pub(super) tty: bool,
}

impl SessionOptions {
    pub(super) fn read(query: &Query, is_exec: bool) -> Result<SessionOptions, ApiError> {
        let command = if is_exec { Some(command(query)?) } else { None };
        let options = SessionOptions {
            container: query.get("container").map(str::to_owned),
            command,
            stdin: query.flag("stdin"),
            // Kubernetes' defaults.
            stdout: query.switch("stdout").unwrap_or(true),
            stderr: query.switch("stderr").unwrap_or(true),
            tty: query.flag("tty"),
        };
        if !options.stdin && !options.stdout && !options.stderr {
            return Err(ApiError::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
        }
        Ok(options)
    }
}

impl SessionOptions {
    /// `PodExecOptions` or `PodAttachOptions`, as policies see them.
    pub(super) fn object(request: &SessionRequest, container: &str) -> Value {
        let mut options = json!({
            "apiVersion": "v1", "kind": "PodAttachOptions", "container": container,
            "stdin": request.stdin, "stdout": request.stdout, "stderr": request.stderr, "tty": request.tty,
        });
        if let SessionAction::Exec { command } = &request.action {
            options["kind"] = "PodExecOptions".into();
            options["command"] = json!(command);
        }
        options
    }
}

fn command(query: &Query) -> Result<Vec<String>, ApiError> {
    let command: Vec<String> = query.every("command").map(str::to_owned).collect();
    if command.first().is_none_or(String::is_empty) {
        return Err(ApiError::bad_request(
            "you must specify at least one command for the container: give the query parameter command, once a word",
        ));
    }
    if command.iter().map(String::len).sum::<usize>() > COMMAND_BYTES_MAX {
        return Err(ApiError::bad_request(format!(
            "the command has more than {COMMAND_BYTES_MAX} bytes: send what is long over standard input"
        )));
    }
    if command.iter().any(|word| word.contains('\0')) {
        return Err(ApiError::bad_request("the command has a zero byte: no process can be started with it"));
    }
    Ok(command)
}
