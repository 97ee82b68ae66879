//! What a runtime said in its log: a stranger's text, often the image's too. Bounded, cleaned, and never taken for more than
//! words.

use serde_json::Value;

use crate::StartFailureKind;

/// A failure is a sentence or two.
const MESSAGE_MAX: usize = 1000;

/// The last error of a log in JSON lines, as runc, crun and runsc write it with `--log-format json`.
pub(super) fn last_error(log: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(log);
    let mut errors = text.lines().filter_map(|line| {
        let entry: Value = serde_json::from_str(line).ok()?;
        let is_error = matches!(entry["level"].as_str(), Some("error" | "fatal" | "panic"));
        is_error.then(|| entry["msg"].as_str().map(clean)).flatten().filter(|message| !message.is_empty())
    });
    errors.next_back()
}

/// One line without control characters, cut at its bound.
fn clean(text: &str) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    let mut line = words.join(" ");
    if line.len() > MESSAGE_MAX {
        line.truncate(line.floor_char_boundary(MESSAGE_MAX));
        line.push('…');
    }
    line
}

/// Whether it is the command that is at fault. Runtimes have no codes for it; these are the words of runc, crun and runsc.
pub(super) fn kind(message: &str) -> StartFailureKind {
    let has = |part: &str| message.contains(part);
    let of_command =
        has("exec: ") || has("executable file") || has("open executable") || has("exec user process");
    match of_command {
        true if has("not found") || has("no such file or directory") || has("No such file or directory") => {
            StartFailureKind::CommandNotFound
        }
        true => StartFailureKind::CommandNotExecutable,
        false => StartFailureKind::Sandbox,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_counts() {
        let log = br#"{"level":"warning","msg":"odd","time":"t"}
{"level":"error","msg":"first","time":"t"}
not json
{"level":"error","msg":"unable to start\n\tcontainer \u001b[31mprocess","time":"t"}
{"level":"info","msg":"bye","time":"t"}
"#;
        assert_eq!(last_error(log).unwrap(), "unable to start container [31mprocess");
        assert_eq!(last_error(b""), None);
        assert_eq!(last_error(b"{\"level\":\"error\"}\n\xff\xff"), None);
        let long = format!("{{\"level\":\"error\",\"msg\":\"{}\"}}", "ä".repeat(5000));
        assert!(last_error(long.as_bytes()).unwrap().len() <= MESSAGE_MAX + 4);
    }

    /// As runc 1.1.5 and crun 1.8.1 of Debian 12 say it.
    #[test]
    fn whose_fault_it_is() {
        let check = |message: &str, expect: StartFailureKind| assert_eq!(kind(message), expect, "{message}");
        let not_found = StartFailureKind::CommandNotFound;
        let not_executable = StartFailureKind::CommandNotExecutable;
        check(
            "runc create failed: unable to start container process: exec: \"/bin/no\": stat /bin/no: no such file or directory",
            not_found,
        );
        check(
            "runc create failed: unable to start container process: exec: \"no\": executable file not found in $PATH",
            not_found,
        );
        check("executable file `no` not found in $PATH: No such file or directory", not_found);
        check(
            "runc create failed: unable to start container process: exec: \"/etc/passwd\": permission denied",
            not_executable,
        );
        check("open executable: Permission denied", not_executable);
        check(
            "runc create failed: unable to start container process: unable to apply cgroup configuration: mkdir x: no such file \
             or directory",
            StartFailureKind::Sandbox,
        );
        check("mount `proc` to `proc`: Operation not permitted", StartFailureKind::Sandbox);
    }
}
