//! What is wrong with manifests: the server's own rules, and some that only an author can follow.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Value, json};
use watchbell_api::decode::{self, Places};
use watchbell_api::{Resource, Uid, defaults, schema};
use watchbell_core::admission::pod_security::{self, Policy};
use watchbell_core::admission::policies::{Judgement, VALIDATION_FAILURE};
use watchbell_core::admission::{self, Mode};
use watchbell_core::arrays::{self, Known};
use watchbell_core::cron::{self, Schedule};
use watchbell_core::world::{at_steps, check_new, pod_of, with_first_status};
use watchbell_image::Reference;
use watchbell_scan::secret;

use super::policies::{Author, Given};
use super::{Finding, rules};
use crate::manifest::Text;

/// What manifests are judged by.
pub(super) struct By<'a> {
    /// Of namespaces that are not among the files.
    pub(super) policy: Policy,
    /// Of objects that name none.
    pub(super) namespace: &'a str,
    /// Clock changes are looked for from here on.
    pub(super) now: Timestamp,
    /// What is known of data arrays, by name.
    pub(super) arrays: &'a BTreeMap<String, Known>,
}

/// One object of a manifest.
struct Subject<'a> {
    file: &'a str,
    places: &'a Places,
    value: Value,
}

/// Everything that is found.
pub(super) fn all(texts: &[&Text], by: &By<'_>, mut given: Given) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut documents: Vec<(&str, Value, Places)> = Vec::new();
    for text in texts {
        match decode::yaml_with_places(&text.bytes) {
            Ok(list) => {
                documents.extend(list.into_iter().map(|(value, places)| (&*text.shown, value, places)));
            }
            Err(misread) => findings.push(Finding {
                rule: rules::named("yaml"),
                file: text.shown.clone(),
                place: misread.place,
                object: String::new(),
                path: String::new(),
                message: misread.detail,
            }),
        }
    }
    let mut subjects = Vec::new();
    for (file, value, places) in &documents {
        take_apart(file, value, places, &mut subjects);
    }
    let namespaces = policies(&subjects);
    for subject in subjects.iter().filter(|subject| subject.value["kind"] == "Namespace") {
        given.add_namespace(subject.value.clone());
    }
    let mut seen = BTreeSet::new();
    for subject in subjects {
        Judge::new(&subject, by, &namespaces, &given, &mut findings).object(subject.value.clone(), &mut seen);
    }
    findings
}

/// The items of a `List` are objects of their own.
fn take_apart<'a>(file: &'a str, value: &Value, places: &'a Places, subjects: &mut Vec<Subject<'a>>) {
    match value["items"].as_array().filter(|_| value["kind"] == "List") {
        Some(items) => {
            for (i, item) in items.iter().enumerate() {
                take_apart(file, item, places.of("items", i), subjects);
            }
        }
        None => subjects.push(Subject { file, places, value: value.clone() }),
    }
}

/// What the namespaces among the files enforce.
fn policies(subjects: &[Subject<'_>]) -> BTreeMap<String, Policy> {
    let namespaces = subjects.iter().filter(|subject| subject.value["kind"] == "Namespace");
    namespaces
        .filter_map(|subject| {
            let name = subject.value["metadata"]["name"].as_str()?.to_owned();
            Some((name, pod_security::policy(&labels(&subject.value))))
        })
        .collect()
}

fn labels(object: &Value) -> BTreeMap<String, String> {
    let map = object["metadata"]["labels"].as_object().into_iter().flatten();
    map.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

struct Judge<'a> {
    file: &'a str,
    places: &'a Places,
    by: &'a By<'a>,
    namespaces: &'a BTreeMap<String, Policy>,
    given: &'a Given,
    shown: String,
    findings: &'a mut Vec<Finding>,
}

impl<'a> Judge<'a> {
    fn new(
        subject: &Subject<'a>,
        by: &'a By<'a>,
        namespaces: &'a BTreeMap<String, Policy>,
        given: &'a Given,
        findings: &'a mut Vec<Finding>,
    ) -> Judge<'a> {
        Judge {
            file: subject.file,
            places: subject.places,
            by,
            namespaces,
            given,
            shown: String::new(),
            findings,
        }
    }

    fn find(&mut self, rule: &'static rules::Rule, path: &str, message: impl Into<String>) {
        self.findings.push(Finding {
            rule,
            file: self.file.to_owned(),
            place: self.places.find(path),
            object: self.shown.clone(),
            path: path.to_owned(),
            message: message.into(),
        });
    }

    fn object(&mut self, mut object: Value, seen: &mut BTreeSet<String>) {
        let text = |object: &Value, field: &str| object[field].as_str().unwrap_or_default().to_owned();
        let kind_rule = rules::named("kind");
        if !object.is_object() {
            return self.find(kind_rule, "", "not an object with apiVersion, kind and metadata");
        }
        let (api_version, kind) = (text(&object, "apiVersion"), text(&object, "kind"));
        for (field, value) in [("apiVersion", &api_version), ("kind", &kind)] {
            if value.is_empty() {
                return self.find(kind_rule, field, format!("{field}: Required value"));
            }
        }
        let Some(resource) = Resource::from_kind(&api_version, &kind) else {
            return self.find(kind_rule, "kind", format!("there is no {api_version} {kind}"));
        };
        let mut name = text(&object["metadata"], "name");
        if name.is_empty() {
            name = text(&object["metadata"], "generateName");
            if name.is_empty() {
                return self.find(
                    kind_rule,
                    "metadata",
                    "metadata.name: Required value: name or generateName is required",
                );
            }
            name.push_str("xxxxx");
        }
        let namespace = match text(&object["metadata"], "namespace") {
            _ if !resource.is_namespaced() => String::new(),
            own if own.is_empty() => self.by.namespace.to_owned(),
            own => own,
        };
        self.shown = if namespace.is_empty() {
            format!("{kind} {name}")
        } else {
            format!("{kind} {namespace}/{name}")
        };
        if object["metadata"]["name"].is_string() && !seen.insert(format!("{api_version} {}", self.shown)) {
            self.find(rules::named("duplicate"), "metadata.name", format!("a second {}", self.shown));
        }
        let report = schema::check(resource, &mut object, schema::Prune::Unknown);
        for path in &report.unknown {
            self.find(rules::named("unknown-field"), path, format!("unknown field {path:?}"));
        }
        for error in &report.type_errors {
            self.find(rules::named("wrong-type"), &error.field, error.to_string());
        }
        if !report.type_errors.is_empty() {
            return;
        }
        let written = object.clone();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.insert("name".into(), name.clone().into());
            // As the server would give it one: a Job's selector is made of it.
            metadata.insert("uid".into(), Uid::default().to_string().into());
            if resource.is_namespaced() {
                metadata.insert("namespace".into(), namespace.clone().into());
            }
        }
        defaults::apply(resource, &mut object);
        self.validity(resource, &mut object, &name);
        if resource == Resource::Namespace {
            for error in pod_security::refuse_labels(&labels(&object)) {
                self.find(rules::named("invalid"), &error.field, error.to_string());
            }
        }
        if resource == Resource::CronJob {
            self.schedule(&object);
        }
        if let Some((steps, prefix)) = pod_of(resource) {
            self.pod(&namespace, prefix, at_steps(&object, steps), at_steps(&written, steps));
        }
        if !self.given.are_none() {
            self.judge(resource, &namespace, &name, &object);
        }
    }

    /// What policies say of the object, and of the Job and the pod that its templates make.
    fn judge(&mut self, resource: Resource, namespace: &str, name: &str, object: &Value) {
        let policy = self.namespaces.get(namespace).copied().unwrap_or(self.by.policy);
        let filled = |mut pod: Value| {
            admission::fill_unsaid(Mode::of(&policy), &mut pod["spec"]);
            pod
        };
        match pod_of(resource) {
            Some((steps, _)) if !steps.is_empty() => {
                self.judge_one(Author::Person, resource, namespace, name, object, "");
                let name = format!("{name}-xxxxx");
                if resource == Resource::CronJob {
                    let job = job_of(object, namespace, &name);
                    self.judge_one(
                        Author::CronJob,
                        Resource::Job,
                        namespace,
                        &name,
                        &job,
                        "spec.jobTemplate",
                    );
                }
                let template = at_steps(object, steps);
                let mut pod = json!({
                    "apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"], "spec": template["spec"],
                });
                if !pod["metadata"].is_object() {
                    pod["metadata"] = json!({});
                }
                pod["metadata"]["name"] = name.as_str().into();
                pod["metadata"]["namespace"] = namespace.into();
                let path = steps.join(".");
                self.judge_one(Author::Person, Resource::Pod, namespace, &name, &filled(pod), &path);
            }
            Some(_) => {
                self.judge_one(Author::Person, resource, namespace, name, &filled(object.clone()), "");
            }
            None => self.judge_one(Author::Person, resource, namespace, name, object, ""),
        }
    }

    fn judge_one(
        &mut self,
        author: Author,
        resource: Resource,
        namespace: &str,
        name: &str,
        object: &Value,
        path: &str,
    ) {
        let shown = with_first_status(resource, object.clone(), Uid::default(), self.by.now.as_second());
        // What cannot be stored is told elsewhere.
        let shown = shown.unwrap_or_else(|_| object.clone());
        let Judgement { denial, warnings, annotations } =
            self.given.judge(author, resource, namespace, name, &shown);
        if let Some(denial) = denial {
            self.find(rules::named("admission-policy"), path, denial.message);
        }
        let noted = annotations.into_iter().filter(|(key, _)| key == VALIDATION_FAILURE);
        for message in warnings.into_iter().chain(noted.map(|(key, value)| format!("{key}: {value}"))) {
            self.find(rules::named("admission-policy-warning"), path, message);
        }
    }

    /// What the server's validation says.
    fn validity(&mut self, resource: Resource, object: &mut Value, name: &str) {
        match check_new(resource, object, name, Uid::default()) {
            Err(errors) => {
                for error in errors {
                    self.find(rules::named("invalid"), &error.field, error.to_string());
                }
            }
            Ok(warnings) => {
                for error in arrays::unplannable(resource, object, |name| self.by.arrays.get(name)) {
                    self.find(rules::named("invalid"), &error.field, error.to_string());
                }
                for warning in warnings {
                    let (path, words) = warning.split_once(": ").unwrap_or(("", &warning));
                    let rule = match words {
                        _ if path == "spec.schedule" && words.contains("never fires") => "schedule-never",
                        _ if words.contains("is not honoured by this node") => "not-honoured",
                        _ => "accepted-with-warning",
                    };
                    self.find(rules::named(rule), path, warning.clone());
                }
            }
        }
    }

    fn schedule(&mut self, object: &Value) {
        let (Some(text), zone) = (object["spec"]["schedule"].as_str(), object["spec"]["timeZone"].as_str())
        else {
            return;
        };
        // What cannot be read is said by validation.
        let (Ok(schedule), Ok(zone)) = (Schedule::parse(text), cron::time_zone(zone)) else { return };
        for change in cron::explain(&schedule, &zone, self.by.now, 1).changes {
            self.find(rules::named("schedule-clock-change"), "spec.schedule", change.to_string());
        }
    }

    /// A pod or a pod template, with its defaults and as it is written.
    fn pod(&mut self, namespace: &str, prefix: &str, pod: &Value, written: &Value) {
        let policy = self.namespaces.get(namespace).copied().unwrap_or(self.by.policy);
        let mut spec = pod["spec"].clone();
        admission::fill_unsaid(Mode::of(&policy), &mut spec);
        let enforced = policy.enforced();
        for violation in pod_security::judge(enforced, &pod["metadata"]["annotations"], &spec) {
            let message = format!("violates PodSecurity \"{enforced}\": {violation}");
            for field in &violation.fields {
                self.find(rules::of_check(violation.check.id), &format!("{prefix}{field}"), message.clone());
            }
        }
        for list in ["initContainers", "containers"] {
            for (i, container) in written["spec"][list].as_array().into_iter().flatten().enumerate() {
                self.container(&format!("{prefix}spec.{list}[{i}]"), container);
            }
        }
    }

    fn container(&mut self, path: &str, container: &Value) {
        if let Some(image) = container["image"].as_str().filter(|image| !image.is_empty()) {
            let path = format!("{path}.image");
            match Reference::parse(image) {
                Err(error) => self.find(rules::named("image-reference"), &path, error.to_string()),
                Ok(name) if name.digest().is_some() => {}
                Ok(name) => match name.tag() {
                    None | Some("latest") => {
                        self.find(
                            rules::named("image-latest"),
                            &path,
                            format!("the image {image:?} has no version"),
                        );
                    }
                    Some(_) => {
                        self.find(
                            rules::named("image-digest"),
                            &path,
                            format!("the image {image:?} has no digest"),
                        );
                    }
                },
            }
        }
        let limits = &container["resources"]["limits"];
        let missing: Vec<&str> =
            ["memory", "cpu"].into_iter().filter(|name| limits[*name].is_null()).collect();
        if !missing.is_empty() {
            let message = format!("no limit of {}", missing.join(" and "));
            self.find(rules::named("no-limits"), &format!("{path}.resources.limits"), message);
        }
        for (i, variable) in container["env"].as_array().into_iter().flatten().enumerate() {
            let (name, value) = (&variable["name"], &variable["value"]);
            let (Some(name), Some(value)) = (name.as_str(), value.as_str()) else { continue };
            if is_secret(name, value) {
                // The value is not shown: what is printed is kept.
                let message = format!("the variable {name:?} holds what looks like a secret");
                self.find(rules::named("secret-in-env"), &format!("{path}.env[{i}].value"), message);
            }
        }
    }
}

/// The Job that a CronJob makes, without its slot.
fn job_of(cron: &Value, namespace: &str, name: &str) -> Value {
    let template = &cron["spec"]["jobTemplate"];
    let mut metadata = json!({"name": name, "namespace": namespace, "uid": Uid::default().to_string()});
    for field in ["labels", "annotations"] {
        if template["metadata"][field].is_object() {
            metadata[field] = template["metadata"][field].clone();
        }
    }
    metadata["ownerReferences"] = json!([{
        "apiVersion": "batch/v1", "kind": "CronJob", "name": cron["metadata"]["name"], "uid": Uid::default().to_string(),
        "controller": true, "blockOwnerDeletion": true,
    }]);
    let mut job =
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"]});
    defaults::apply(Resource::Job, &mut job);
    // What is wrong with it is wrong with the CronJob too, and told of that; here it gets its selector.
    let _ = check_new(Resource::Job, &mut job, name, Uid::default());
    job
}

/// How known kinds of secrets begin.
const SECRET_PREFIXES: [&str; 10] =
    ["-----BEGIN ", "AKIA", "ASIA", "ghp_", "gho_", "github_pat_", "glpat-", "xoxb-", "xoxp-", "hf_"];
/// Whether a variable holds a secret as such, by its name or by what its value looks like.
fn is_secret(name: &str, value: &str) -> bool {
    // A path names where the secret is, and is no secret; a password in a URL may begin as one.
    let is_value = secret::may_be_secret_value(value);
    let looks_like_one = || SECRET_PREFIXES.iter().any(|prefix| value.starts_with(prefix));
    (is_value && (secret::is_secret_name(name) || looks_like_one())) || secret::has_password(value)
}

#[cfg(test)]
mod tests {
    use super::is_secret;

    #[test]
    fn secrets_are_known_by_name_and_by_look() {
        let check = |name: &str, value: &str, expect: bool| {
            assert_eq!(is_secret(name, value), expect, "{name}={value}");
        };
        check("DB_PASSWORD", "correct horse", true);
        check("password", "correct horse", true);
        check("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI", true);
        check("HF_TOKEN", "abcdef", true);
        check("OPENAI_API_KEY", "sk-abcdef", true);
        check("DATABASE_URL", "postgres://u:hunter2@db/x", true);
        check("ANYTHING", "-----BEGIN PRIVATE KEY-----", true);
        check("ANYTHING", "ghp_0123456789", true);
        check("DB_PASSWORD", "$(FROM_ELSEWHERE)", false);
        check("DB_PASSWORD", "", false);
        check("DB_PASSWORD", "none", false);
        check("DB_PASSWORD_FILE", "/run/secrets/db", false);
        check("TOKEN", "/var/run/token", false);
        check("MAX_TOKEN", "100000", false);
        check("TOKENIZERS_PARALLELISM", "disabled", false);
        check("SORT_KEY", "timestamp", false);
        check("DATABASE_URL", "postgres://db/x", false);
        check("DATABASE_URL", "postgres://u@db/x", false);
        check("DATABASE_URL", "postgres://u:$(PASSWORD)@db/x", false);
        check("MESSAGE", "mail me@example.org", false);
    }
}
