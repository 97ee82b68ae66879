//! Standard output that nobody gets: the work is done and the exit code is what the command came to.

use std::fs::File;
use std::io::{PipeWriter, pipe};

use crate::stand::{Done, Stand, is_left_out, job};

/// Whose reader went away.
fn unread() -> PipeWriter {
    pipe().unwrap().1
}

/// A disk without room.
fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

fn config_maps(stand: &Stand) -> usize {
    let list = stand.get(&["configmaps", "-l", "test=output"]);
    list["items"].as_array().unwrap().len()
}

#[track_caller]
fn check(done: &Done, code: i32, says: &str) {
    assert!(done.code == Some(code) && done.err.contains(says), "{done:?}");
    assert_eq!(done.err.contains("cannot write standard output: No space left"), code == 1, "{done:?}");
}

#[test]
fn work_goes_on_without_a_reader() {
    if is_left_out(&[]) {
        return;
    }
    let stand = Stand::start();
    let names = ["a", "b", "c", "d", "e"];
    let manifest: String = names
        .iter()
        .map(|name| {
            format!(
                "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, labels: {{test: output}}}}\n"
            )
        })
        .collect();
    let file = stand.path("five.yaml").display().to_string();
    std::fs::write(&file, manifest).unwrap();
    let delete = [&["delete", "cm"][..], &names].concat();

    check(&stand.watchbell_to(unread(), &["apply", "-f", &file]), 0, "");
    assert_eq!(config_maps(&stand), 5);
    check(&stand.watchbell_to(full(), &delete), 1, "");
    assert_eq!(config_maps(&stand), 0);
    check(&stand.watchbell_to(full(), &["apply", "-f", &file]), 1, "");
    assert_eq!(config_maps(&stand), 5);

    // What only prints ends, and does not wait for more to print.
    check(&stand.watchbell_to(unread(), &["get", "cm", "-w"]), 0, "");
    check(&stand.watchbell_to(full(), &["get", "cm", "-w"]), 1, "");
    check(&stand.watchbell_to(full(), &["get", "cm"]), 1, "");

    // What is shown once is not lost in silence.
    let token = ["user", "token", "ci"];
    check(&stand.watchbell_to(full(), &token), 1, "usertoken.watchbell.dev/ci-");
    let done = stand.watchbell_to(unread(), &token);
    assert!(done.code == Some(1) && done.err.contains("watchbell user revoke ci-"), "{done:?}");
    stand.end();
}

#[test]
fn a_job_is_followed_without_a_reader() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let mut stand = Stand::with_busybox();
    stand.apply(
        "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: fails}\nspec:\n  schedule: '@yearly'\n  jobTemplate:\n    spec:\n      \
         backoffLimit: 0\n      template:\n        spec:\n          restartPolicy: Never\n          containers:\n          - \
         {name: main, image: 'busybox:bar', imagePullPolicy: Never, command: [/bin/busybox, 'false']}\n",
    );
    let trigger = |name: &'static str| ["trigger", "fails", "--follow", "--name", name];
    check(&stand.watchbell_to(full(), &trigger("one")), 1, "job one failed");
    let done = stand.watchbell_to(unread(), &trigger("two"));
    assert!(done.code == Some(1) && done.err.contains("job two failed"), "{done:?}");
    // A log that is followed ends with its reader, whatever the Job does.
    stand.apply(&job("talks", "backoffLimit: 0", "while true; do echo line; sleep 0.1; done"));
    stand.until("it prints", |s| s.watchbell(&["logs", "job/talks"]).out.contains("line"));
    check(&stand.watchbell_to(unread(), &["logs", "-f", "job/talks"]), 0, "");
    check(&stand.watchbell_to(full(), &["logs", "-f", "job/talks"]), 1, "");
    stand.watchbell(&["delete", "job", "talks"]).ok();
    stand.end();
}
