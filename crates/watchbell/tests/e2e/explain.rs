//! What is told of a start beside what the started container is.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::stand::{Stand, is_left_out, job};

fn container(plan: &Value) -> &Value {
    let containers = plan["containers"].as_array().unwrap();
    assert_eq!(containers.len(), 1, "{plan:#}");
    &containers[0]
}

fn steps(plan: &Value) -> Vec<String> {
    let steps = container(plan)["steps"].as_array().unwrap();
    assert!(steps.iter().all(|step| !step["closes"].as_str().unwrap().is_empty()));
    steps.iter().map(|step| step["step"].as_str().unwrap().to_owned()).collect()
}

fn explained(stand: &Stand, args: &[&str]) -> Value {
    let args: Vec<&str> = ["explain", "sandbox", "-o", "json"].iter().chain(args).copied().collect();
    serde_json::from_str(&stand.watchbell(&args).ok()).unwrap()
}

#[test]
fn what_is_explained_is_what_runs() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let mut stand = Stand::with_busybox();
    let manifest = job("long", "backoffLimit: 0", "cat /proc/self/status /proc/self/uid_map; sleep 1000")
        .replace("        command:", "        resources: {limits: {memory: 64Mi}}\n        command:");
    let file = stand.path("job.yaml");
    std::fs::write(&file, &manifest).unwrap();
    // Before it is there: judged as if it were made, and not made.
    let before = explained(&stand, &["-f", file.to_str().unwrap()]);
    assert!(stand.get(&["pods"])["items"].as_array().unwrap().is_empty());
    stand.apply(&manifest);
    stand.until("the container prints", |stand| {
        stand.watchbell(&["logs", "job/long"]).out.lines().any(|line| line.contains("65536"))
    });
    let pods = stand.get(&["pods"]);
    let name = pods["items"][0]["metadata"]["name"].as_str().unwrap().to_owned();
    let plan = explained(&stand, &[&name]);
    assert_eq!(steps(&plan), steps(&before), "the manifest was explained as its pod");
    assert_eq!(container(&plan)["values"], container(&before)["values"]);
    assert_eq!(container(&plan)["imageID"], pods["items"][0]["status"]["containerStatuses"][0]["imageID"]);

    let log = stand.watchbell(&["logs", "job/long"]).ok();
    let status: BTreeMap<&str, &str> =
        log.lines().filter_map(|line| line.split_once(':')).map(|(k, v)| (k, v.trim())).collect();
    let values = &container(&plan)["values"];
    let user = values["runAsUser"].to_string();
    assert!(status["Uid"].split_whitespace().all(|id| id == user), "{status:?}");
    assert_eq!((values["capabilities"].as_str(), status["CapBnd"]), (Some("none"), "0000000000000000"));
    assert_eq!((values["noNewPrivileges"].as_bool(), status["NoNewPrivs"]), (Some(true), "1"));
    assert_eq!((values["seccomp"].as_str(), status["Seccomp"]), (Some("RuntimeDefault"), "2"));
    assert_eq!(values["limits"]["memoryBytes"], 64 << 20);
    assert_eq!(values["readOnlyRootFilesystem"], true);
    // The ids on the host, as the container itself sees where its own come from.
    let map: Vec<u64> = log.lines().last().unwrap().split_whitespace().map(|n| n.parse().unwrap()).collect();
    let (first, length) =
        (values["hostIds"]["first"].as_u64().unwrap(), values["hostIds"]["rangeLength"].as_u64());
    let ranges = values["hostIds"]["ranges"].as_u64().unwrap();
    assert_eq!((map[0], Some(map[2])), (0, length));
    assert!((first..first + ranges * map[2]).contains(&map[1]), "{map:?}");

    let text = stand.watchbell(&["explain", "sandbox", &format!("{name}/main")]).ok();
    assert!(text.starts_with(&format!("pod default/{name}, container main, image busybox:bar\n")), "{text}");
    for (number, step) in steps(&plan).iter().enumerate() {
        assert!(text.contains(&format!("{:>3}  {step}\n", number + 1)), "{step}: {text}");
    }
    assert!(text.contains("(CVE-2024-21626) [21]"), "{text}");

    // What is not there is said.
    let refused = stand.watchbell(&["explain", "sandbox", &format!("{name}/side")]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("no container \"side\"; it has main"), "{}", refused.err);
    assert_eq!(stand.watchbell(&["explain", "sandbox", "nobody"]).code, Some(1));
    std::fs::write(&file, manifest.replace("busybox:bar", "absent:1")).unwrap();
    let absent = explained(&stand, &["-f", file.to_str().unwrap()]);
    let problem = container(&absent)["problem"].as_str().unwrap();
    assert!(problem.contains("\"absent:1\" is not here"), "{problem}");
    // What admission refuses is refused here too.
    std::fs::write(
        &file,
        manifest.replace("        command:", "        securityContext: {privileged: true}\n        command:"),
    )
    .unwrap();
    let refused = stand.watchbell(&["explain", "sandbox", "-f", file.to_str().unwrap()]);
    assert_eq!(refused.code, Some(1), "{}", refused.out);
    assert!(refused.err.contains("privileged"), "{}", refused.err);
    // And it is said what admission makes of a pod, and why.
    let refused = stand.watchbell(&["explain", "pod", "-f", file.to_str().unwrap()]);
    assert_eq!(refused.code, Some(1), "{}", refused.err);
    for words in [
        ": refused\n  namespace: no Pod Security level, so what is unsaid is strict; judged by restricted:latest\n",
        "  refused, restricted:latest: privileged (container \"main\" must not set securityContext.privileged=true)\n    at \
         spec.containers[0].securityContext.privileged\n    because a privileged container is root of the machine\n    way \
         out: leave privileged out\n",
        "  from strict namespace: ",
    ] {
        assert!(refused.out.contains(words), "{words}\n{}", refused.out);
    }
    let told = stand.watchbell(&["explain", "pod", &name]).ok();
    assert!(told.starts_with(&format!("pod default/{name}: admitted\n")), "{told}");
    assert!(told.contains("    spec.securityContext.runAsNonRoot = true\n"), "{told}");
    assert!(!told.contains("busybox:bar"), "what its author said is told only when it is asked for: {told}");
    let all = stand.watchbell(&["explain", "pod", "--all", &name]).ok();
    assert!(all.contains("    spec.containers[0].image = \"busybox:bar\"\n"), "{all}");
    stand.end();
}
