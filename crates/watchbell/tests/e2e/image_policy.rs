//! Policies of images, with a real server: an image with a known vulnerability does not start, whatever is restarted; what is
//! signed starts; a CronJob is held by an advisory and let go.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use watchbell_advisory::{
    Advisory, Affected, Builder, Contents, Counts, Ecosystem, Exploited, IndexDirectory, Interval, Severity,
    Source, Standing,
};
use watchbell_api::decode;
use watchbell_image::{Layout, Reference, Store};
use watchbell_signature::{SignatureForm, SigningKey, is_signature, sign};

use crate::stand::{Stand, is_left_out, which};

const STATUS: &str =
    "Package: zlib1g\nStatus: install ok installed\nArchitecture: amd64\nSource: zlib\nVersion: 1:1.2.13\n\n";
const RELEASE: &str = "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n";

/// A vulnerability that is known.
struct Known {
    id: &'static str,
    package: &'static str,
    severity: Severity,
    is_exploited: bool,
}

const CRITICAL: Known =
    Known { id: "CVE-2026-1", package: "zlib", severity: Severity::Critical, is_exploited: false };
const EXPLOITED: Known =
    Known { id: "CVE-2026-2", package: "zlib", severity: Severity::Low, is_exploited: true };
/// Of a package that the image does not have.
const OTHER: Known =
    Known { id: "CVE-2026-3", package: "tar", severity: Severity::Critical, is_exploited: true };

/// Puts a database in place that knows these vulnerabilities of zlib and no others. It speaks of Debian 12, and has a catalogue
/// of what is exploited.
fn advise(data: &Path, known: &[Known]) {
    let debian = Ecosystem::Debian { release: "12".into() };
    let advisory = |known: &Known| Advisory {
        id: known.id.into(),
        summary: "an overflow".into(),
        severity: known.severity,
        affected: vec![Affected {
            ecosystem: debian.clone(),
            name: known.package.into(),
            intervals: vec![Interval::before("1:1.3")],
            versions: Vec::new(),
            standing: Standing::Versions,
            severity: known.severity,
        }],
        ..Advisory::default()
    };
    let known = || known.iter().chain([&OTHER]);
    let exploited = known().filter(|known| known.is_exploited).map(|known| {
        (known.id.to_owned(), Exploited { added: "2026-01-01".into(), due: None, in_ransomware: false })
    });
    let contents = Contents {
        advisories: known().map(advisory).collect(),
        exploited: exploited.collect(),
        ..Contents::default()
    };
    let mut builder = Builder::new();
    let counts = Counts { exploited: 1, ..Counts::default() };
    builder.replace(Source { name: "test".into(), imported: 1, counts, ..Source::default() }, contents);
    IndexDirectory::lock(&data.join("advisories")).unwrap().replace(&builder.build()).unwrap();
}

/// A server whose store has `zlib:1`, an image of Debian 12 with one package and a program.
fn stand() -> Stand {
    Stand::prepared(|stand| {
        let busybox = which("busybox").expect("busybox-static is installed");
        let mut args = vec!["image", "build", "zlib:1", "--from", "scratch", "--data-dir"];
        let data = stand.data().display().to_string();
        args.push(&data);
        for (name, text) in [("status", STATUS), ("os-release", RELEASE), ("list", "/bin/busybox\n")] {
            std::fs::write(stand.path(name), text).unwrap();
        }
        let copies = [
            format!("{}:/bin/busybox", busybox.display()),
            format!("{}:/var/lib/dpkg/status", stand.path("status").display()),
            format!("{}:/etc/os-release", stand.path("os-release").display()),
            // The program is the package's, so nothing of the image is unknown.
            format!("{}:/var/lib/dpkg/info/zlib1g.list", stand.path("list").display()),
        ];
        for copy in &copies {
            args.extend(["--copy", copy]);
        }
        let mut command = stand.program();
        command.args(args);
        crate::stand::run(command, "").ok();
        Vec::new()
    })
}

fn policy(spec: Value) -> String {
    json!({
        "apiVersion": "watchbell.dev/v1alpha1", "kind": "ImagePolicy",
        "metadata": {"name": "strict", "namespace": "default"}, "spec": spec,
    })
    .to_string()
}

fn job(name: &str) -> String {
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": "default"},
        "spec": {"backoffLimit": 0, "template": template()},
    })
    .to_string()
}

fn template() -> Value {
    json!({"spec": {"restartPolicy": "Never", "containers": [{
        "name": "main", "image": "zlib:1", "imagePullPolicy": "Never",
        "command": ["/bin/busybox", "echo", "it runs"],
    }]}})
}

/// Why the only container of a Job's only pod waits.
fn waits(stand: &Stand, job: &str) -> (String, String) {
    let pods = stand.get(&["pods", "-n", "default", "-l", &format!("job-name={job}")]);
    let waiting = &pods["items"][0]["status"]["containerStatuses"][0]["state"]["waiting"];
    let text = |field: &str| waiting[field].as_str().unwrap_or_default().to_owned();
    (text("reason"), text("message"))
}

fn is_refused(stand: &Stand, job: &str) -> bool {
    waits(stand, job).0 == "ImagePolicyViolation"
}

fn audited(stand: &Stand, action: &str) -> bool {
    let data = stand.data().display().to_string();
    !stand.watchbell(&["audit", "search", "--verb", action, "--data-dir", &data]).ok().is_empty()
}

#[test]
fn an_image_with_a_vulnerability_never_starts_until_the_policy_says_so() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let mut stand = stand();
    advise(&stand.data(), &[CRITICAL]);
    let strict = json!({"vulnerabilities": {"maximumSeverity": "High", "refuseKnownExploited": true}});
    stand.apply(&policy(strict));
    stand.apply(&job("first"));
    stand.until("the image is refused", |stand| is_refused(stand, "first"));
    let (_, message) = waits(&stand, "first");
    assert!(
        message.starts_with(
            "ImagePolicy default/strict: CVE-2026-1 (Critical) in zlib1g 1:1.2.13 is above High"
        ),
        "{message}"
    );
    assert!(message.contains("rebuild the image with zlib1g 1:1.3"), "{message}");
    // Now the image is known: who applies is told at once, and is not held up.
    let done = stand.watchbell_with(&["apply", "-f", "-"], &job("second"));
    assert_eq!(done.code, Some(0));
    assert!(
        done.err.contains("no container of it starts: ImagePolicy default/strict: CVE-2026-1"),
        "{}",
        done.err
    );
    // Nothing of it is forgotten with the server.
    stand.kill();
    stand.launch();
    stand.wait_ready();
    stand.until("it is refused again", |stand| is_refused(stand, "second"));
    stand.until("the first too", |stand| is_refused(stand, "first"));
    // What becomes known to be exploited, whatever its severity: nobody has to be asked again.
    advise(&stand.data(), &[CRITICAL, EXPLOITED]);
    stand.until("it is refused for another reason, too", |stand| {
        waits(stand, "first").1.contains("CVE-2026-2 (Low) in zlib1g 1:1.2.13 is known to be exploited")
    });
    // An exception that has ended is none; one that has not lets it start.
    let exception = |expires: &str| {
        policy(json!({"vulnerabilities": {"refuseKnownExploited": true, "exceptions": [
            {"id": "CVE-2026-2", "reason": "not reachable", "expires": expires},
        ]}}))
    };
    stand.apply(&exception("2026-01-01T00:00:00Z"));
    stand.until("the end of the exception is told", |stand| {
        waits(stand, "first").1.contains("the exception for it (not reachable) ended at 2026-01-01T00:00:00Z")
    });
    stand.apply(&exception("2126-01-01T00:00:00Z"));
    stand.finished("default", "first");
    stand.finished("default", "second");
    let log = stand.watchbell(&["logs", "job/first"]).ok();
    assert!(log.contains("it runs"), "{log}");
    stand.stop();
    assert!(audited(&stand, "image-refused"));
}

#[test]
fn what_is_in_an_image_is_read_at_the_apply_and_decides() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let mut stand = stand();
    // No database: what is in it is all that is asked.
    let image = Store::open(&stand.data()).unwrap().resolve(&Reference::parse("zlib:1").unwrap());
    let bottom = image.unwrap().unwrap().layers[0].diff_id.to_string();
    let spec = |action: &str, base: &str| {
        policy(json!({
            "enforcementAction": action, "minimality": {"noShell": true},
            "baseImages": [{"name": "ours", "layers": [base]}],
        }))
    };
    let other = format!("sha256:{}", "0".repeat(64));
    stand.apply(&spec("Deny", &other));
    let cron = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "rare", "namespace": "default"},
        "spec": {"schedule": "@yearly", "suspend": true, "jobTemplate": {"spec": {"template": template()}}},
    })
    .to_string();
    let warned = |stand: &Stand, object: &str| stand.watchbell_with(&["apply", "-f", "-"], object).err;
    let first = warned(&stand, &cron);
    assert!(first.contains("what ImagePolicy default/strict says of it is pending"), "{first}");
    // Nothing starts, and yet the scanner has read it.
    let mut suspended: Value = serde_json::from_str(&job("first")).unwrap();
    suspended["spec"]["suspend"] = true.into();
    let mut tries = 0;
    stand.until("an apply is told of the shell", |stand| {
        tries += 1;
        suspended["metadata"]["name"] = format!("try-{tries}").into();
        let told = warned(stand, &suspended.to_string());
        told.contains(
            "no container of it starts: ImagePolicy default/strict: the image has a shell: /bin/busybox",
        )
    });
    stand.apply(&job("run"));
    stand.until("the image is refused", |stand| is_refused(stand, "run"));
    let (_, message) = waits(&stand, "run");
    assert!(message.contains("the image has a shell: /bin/busybox"), "{message}");
    assert!(message.contains("build it on one of them as it is today"), "{message}");
    // On the right base its shell alone is left.
    stand.apply(&spec("Deny", &bottom));
    stand.until("its base is known", |stand| {
        let (reason, message) = waits(stand, "run");
        reason == "ImagePolicyViolation" && message.contains("shell") && !message.contains("build it on one")
    });
    stand.apply(&spec("Warn", &bottom));
    stand.finished("default", "run");
    let log = stand.watchbell(&["logs", "job/run"]).ok();
    assert!(log.contains("it runs"), "{log}");
    stand.stop();
    for action in ["image-refused", "image-warned"] {
        assert!(audited(&stand, action), "{action}");
    }
}

#[test]
fn what_its_signer_signed_starts() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let mut stand = stand();
    let pair = rcgen::KeyPair::generate().unwrap();
    let key = SigningKey::from_pem(pair.serialize_pem().as_bytes()).unwrap();
    let spec = json!({"signers": [{"name": "release", "key": {"publicKey": pair.public_key_pem()}}]});
    stand.apply(&policy(spec));
    stand.apply(&job("unsigned"));
    stand.until("the image is refused", |stand| is_refused(stand, "unsigned"));
    let (_, message) = waits(&stand, "unsigned");
    assert!(message.contains("none of its signers has signed the image (release: "), "{message}");
    // As a pull keeps it beside the image.
    let store = Store::open(&stand.data()).unwrap();
    let name = Reference::parse("zlib:1").unwrap();
    let image = store.resolve(&name).unwrap().unwrap();
    let dir = stand.path("layout");
    std::fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
    std::fs::write(dir.join("index.json"), r#"{"schemaVersion":2,"manifests":[]}"#).unwrap();
    let layout = Layout::open(&dir).unwrap();
    let (manifest, blob) = sign(&key, &image.digest, "zlib:1", SignatureForm::Tag).unwrap();
    layout.attach(&manifest, &[blob]).unwrap();
    let attached = layout.attached(&image.digest, &is_signature).unwrap();
    store.keep_attached(&name, &image.digest, &attached).unwrap();
    stand.kill();
    stand.launch();
    stand.wait_ready();
    stand.finished("default", "unsigned");
}

/// Every metric that the example's alerts name is on the page of a server with a database, and what is held is seen.
fn check_alerts(stand: &Stand) {
    let mut kubectl = Command::new("kubectl");
    kubectl.arg("--kubeconfig").arg(stand.kubeconfig()).args(["get", "--raw", "/metrics"]);
    let page = crate::stand::run(kubectl, "").ok();
    for line in ["watchbell_cronjobs_held 1", "watchbell_image_findings{severity=\"Critical\"} 1"] {
        assert!(page.lines().any(|found| found == line), "{line}\n{page}");
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/prometheus/watchbell.rules.yaml");
    let rules = decode::yaml(&std::fs::read(path).unwrap()).unwrap();
    let groups = rules[0]["groups"].as_array().unwrap();
    let rules: Vec<&Value> = groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
    assert!(rules.len() > 5, "{rules:?}");
    let mut named = BTreeSet::new();
    for rule in rules {
        let expression = rule["expr"].as_str().unwrap();
        let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let words = expression.split(|c| !is_part(c)).filter(|word| word.starts_with("watchbell_"));
        named.extend(words);
        for field in ["/alert", "/labels/severity", "/annotations/summary", "/annotations/description"] {
            assert!(rule.pointer(field).is_some_and(Value::is_string), "{field} of {rule}");
        }
    }
    for name in named {
        let is_there = |line: &str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
        assert!(page.lines().any(is_there), "no {name} in\n{page}");
    }
}

#[test]
fn a_cronjob_is_held_by_an_advisory_and_let_go() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let mut stand = stand();
    advise(&stand.data(), &[]);
    stand.apply(&policy(json!({"vulnerabilities": {"maximumSeverity": "High"}})));
    let cron = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "often", "namespace": "default"},
        "spec": {"schedule": "@every 1s", "concurrencyPolicy": "Forbid", "jobTemplate": {"spec": {"template": template()}}},
    });
    stand.apply(&cron.to_string());
    let last = |stand: &Stand| {
        stand.get(&["cronjob", "often", "-n", "default"])["status"]["lastSuccessfulTime"].clone()
    };
    stand.until("a Job of it succeeds", |stand| last(stand).is_string());
    advise(&stand.data(), &[CRITICAL]);
    let explained = |stand: &Stand| -> Value {
        serde_json::from_str(&stand.watchbell(&["explain", "cronjob", "often", "-o", "json"]).out).unwrap()
    };
    stand.until("it is held", |stand| explained(stand)["isHeld"] == true);
    let told = explained(&stand);
    assert_eq!(told["held"]["advisories"], json!(["CVE-2026-1"]));
    stand.until("a slot is skipped for it", |stand| {
        explained(stand)["lastSkip"]["reason"]
            .as_str()
            .is_some_and(|why| why.contains("a policy refuses its image"))
    });
    let report = stand.get(&["vulnerabilityreport", "cronjob-often-main", "-n", "default"]);
    assert_eq!(report["report"]["vulnerabilities"][0]["vulnerabilityID"], "CVE-2026-1");
    assert_eq!(report["report"]["summary"]["criticalCount"], 1);
    let text = stand.watchbell(&["explain", "cronjob", "often"]);
    assert!(
        text.out.contains("held       since 2") && text.out.contains("by         CVE-2026-1"),
        "{}",
        text.out
    );
    if which("kubectl").is_some() {
        check_alerts(&stand);
    }
    let before = last(&stand);
    advise(&stand.data(), &[]);
    stand.until("it is let go by itself", |stand| explained(stand)["isHeld"] == false);
    stand.until("a Job of it succeeds again", |stand| last(stand) != before);
    stand.stop();
    for action in ["held", "released", "vulnerabilities-found"] {
        assert!(audited(&stand, action), "{action}");
    }
}
