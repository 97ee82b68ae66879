//! Ways out by a system call profile: what a pod names, what lies in the directory, and what a profile says.

use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::json;

use crate::calls::check_above_floor;
use crate::host::Host;
use crate::program::{job, outcomes, printed, stand_with_program};
use crate::stand::{Stand, is_left_out};

fn with(profile: &str) -> String {
    format!("securityContext: {{seccompProfile: {{type: Localhost, localhostProfile: '{profile}'}}}},")
}

/// Why the one container of a Job is not made.
#[track_caller]
fn refusal(stand: &mut Stand, namespace: &str, name: &str, profile: &str) -> String {
    let manifest = job(name, &["x"], &with(profile), "");
    stand.watchbell_with(&["apply", "-n", namespace, "-f", "-"], &manifest).ok();
    let mut message = String::new();
    stand.until(&format!("{name} waits"), |stand| {
        let pods = stand.get(&["pods", "-n", namespace, "-l", &format!("job-name={name}")]);
        let waiting = &pods["items"][0]["status"]["containerStatuses"][0]["state"]["waiting"];
        message = waiting["message"].as_str().unwrap_or_default().to_owned();
        waiting["reason"] == "CreateContainerError"
    });
    message
}

#[test]
fn no_name_of_a_profile_leads_out_of_its_directory() {
    if is_left_out(&["cc"]) {
        return;
    }
    let (mut stand, _) = stand_with_program(&[]);
    for name in ["../../etc/passwd", "/etc/passwd", "a/../../x"] {
        let applied = stand.watchbell_with(&["apply", "-f", "-"], &job("out", &["x"], &with(name), ""));
        assert!(
            applied.code != Some(0) && applied.err.contains("localhostProfile"),
            "{name}: {}",
            applied.err
        );
    }
    let dir = stand.data().join("seccomp");
    // What is outside would do, and has a word that must not be told.
    let outside = stand.path("outside.json");
    std::fs::write(&outside, json!({"defaultAction": "SCMP_ACT_ALLOW", "marker-7d1f": 1}).to_string())
        .unwrap();
    symlink(&outside, dir.join("link.json")).unwrap();
    symlink("/etc", dir.join("etc")).unwrap();
    std::fs::hard_link(&outside, dir.join("open.json")).unwrap();
    std::fs::set_permissions(dir.join("open.json"), PermissionsExt::from_mode(0o666)).unwrap();
    std::fs::write(dir.join("giant.json"), vec![b' '; 64 << 20]).unwrap();
    std::fs::write(dir.join("deep.json"), "[".repeat(200_000)).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        dir.join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from(0o600),
        0,
    )
    .unwrap();
    for (n, (name, part)) in [
        ("link.json", "a symbolic link stands on its way"),
        ("etc/passwd", "a symbolic link stands on its way"),
        ("open.json", "others than root may write to it"),
        ("giant.json", "larger than 262144 bytes"),
        ("deep.json", "invalid type"),
        ("pipe", "it is no regular file"),
    ]
    .into_iter()
    .enumerate()
    {
        let message = refusal(&mut stand, "default", &format!("trap-{n}"), name);
        assert!(message.contains(part) && !message.contains("marker-7d1f"), "{name}: {message}");
    }
    // Nothing of all that hurt the server.
    printed(&mut stand, "default", "still", &job("still", &["one-of-each"], "", ""));
    stand.watchbell(&["delete", "job", "trap-0", "trap-1", "trap-2", "trap-3", "trap-4", "trap-5"]).ok();
    stand.end();
}

/// The widest profile there is, where everybody allowed it: what is not the container's own stays out of reach.
#[test]
fn the_widest_profile_ends_at_the_floor() {
    if is_left_out(&["cc"]) {
        return;
    }
    let (mut stand, _) = stand_with_program(&["--allow-wider-seccomp"]);
    // It is allowed socket families that have modules.
    let host = Host::look_beside_modules();
    stand.apply(
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: wide, labels: {pod-security.kubernetes.io/enforce: baseline}}\n",
    );
    let dir = stand.data().join("seccomp");
    std::fs::write(dir.join("all.json"), json!({"defaultAction": "SCMP_ACT_LOG"}).to_string()).unwrap();
    for (name, default) in [("named", "SCMP_ACT_LOG"), ("listed", "SCMP_ACT_ERRNO")] {
        let profile = json!({"defaultAction": default, "syscalls": [
            {"names": ["unshare", "io_uring_setup", "execve"], "action": "SCMP_ACT_ALLOW"}]});
        std::fs::write(dir.join(format!("{name}.json")), profile.to_string()).unwrap();
    }

    let message = refusal(&mut stand, "default", "unlabelled", "all.json");
    assert!(message.contains("has to carry the label pod-security.kubernetes.io/enforce"), "{message}");
    for name in ["named", "listed"] {
        let message = refusal(&mut stand, "wide", name, &format!("{name}.json"));
        assert!(message.contains("unshare, which no profile may"), "{message}");
    }
    let mut context = with("all.json");
    context.push_str(" volumes: [{name: tmp, emptyDir: {medium: Memory, sizeLimit: 1Mi}}],");
    let container = "securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, runAsUser: 65534, \
         runAsGroup: 65534, capabilities: {drop: [ALL]}}, volumeMounts: [{name: tmp, mountPath: /tmp}]";
    let found = outcomes(&printed(&mut stand, "wide", "wide", &job("wide", &["calls"], &context, container)));
    host.assert_unchanged();
    check_above_floor(&found);
    stand.watchbell(&["delete", "job", "unlabelled"]).ok();
    stand.watchbell(&["delete", "-n", "wide", "job", "named", "listed"]).ok();
    stand.end();
}
