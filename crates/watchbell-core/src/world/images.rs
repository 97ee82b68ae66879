//! What policies of images mean to the objects: warnings when one is applied, reports and holds while it stays, and what is
//! told of a start.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use watchbell_api::image::{
    Finding, Findings, ImageFacts, ImageJudged, ImageOutcome, ImageUser, JudgedReason,
};
use watchbell_api::node::Command;
use watchbell_api::{ApiError, Reason, Resource, Uid, schema};

use super::index::same_head;
use super::object::{Key, Stored};
use super::podsecurity::{at_steps, pod_of};
use super::shown::rfc3339;
use super::{Snapshot, World};
use crate::controller::cronjob::{Held, Hold};
use crate::controller::event::PlannedEvent;
use crate::image_policy::{
    self, Action, FindingCounts, InForce, NOT_KNOWN, ReportOf, Rule, decide, is_examined, report, report_name,
};
use crate::request::{PatchKind, Request, Write};

/// The reasons of events.
pub(super) const VIOLATION: &str = "ImagePolicyViolation";
const WARNING: &str = "ImagePolicyWarning";
const UNVERIFIED: &str = "ImageUnverified";
const FOUND: &str = "VulnerabilityFound";

/// Of an image that is not known: nothing is said of whether it is here.
const PENDING: &str = "says of it is pending, for it was not looked at yet: that is done now if it is in the store, else when it \
                       is pulled; each start waits for it, and findings are told in events and VulnerabilityReports";

/// What is known of so many images is kept, each by namespace; what was told longest ago is told anew when it is used.
const IMAGES_MAX: usize = 4_000;
/// So long a CronJob is held because its image is not signed; then a slot starts, and is judged.
const UNSIGNED_SECONDS: i64 = 600;
/// Of a request.
const WARNINGS_MAX: usize = 10;
/// So many users of one image in a namespace get a report.
const REPORTS_MAX: usize = 250;
/// Every start in a namespace, and every apply, is judged by so many policies of its own and of the cluster.
const POLICIES_MAX: usize = 32;
const CLUSTER_POLICIES_MAX: usize = 64;
/// New findings that an event names, and an audit entry.
const TOLD_MAX: usize = 3;
const NOTED_MAX: usize = 200;
/// Of a reason that is kept in a status.
const WHY_BYTES_MAX: usize = 2048;

/// A container of a template, as far as images are concerned.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    name: Box<str>,
    #[serde(default)]
    image: Box<str>,
    #[serde(default)]
    image_pull_policy: Box<str>,
}

/// What the node told of an image in a namespace.
#[derive(Debug)]
pub(super) struct Told {
    facts: Arc<ImageFacts>,
    /// A container of the namespace was about to start from it.
    was_had: bool,
    /// Counts what was told.
    at: u64,
    /// Unix seconds.
    second: i64,
}

/// What is known of images, as pods of a namespace name them.
#[derive(Debug, Default)]
pub(super) struct Images {
    told: HashMap<(Arc<str>, Arc<str>), Told>,
    count: u64,
}

impl Images {
    fn tell(
        &mut self,
        namespace: &Arc<str>,
        image: &Arc<str>,
        facts: &Arc<ImageFacts>,
        is_had: bool,
        now: Timestamp,
    ) {
        let key = (namespace.clone(), image.clone());
        let before = self.told.get(&key);
        // Under the same name another image may be behind a password.
        let was_had =
            is_had || before.is_some_and(|before| before.was_had && before.facts.digest == facts.digest);
        if before.is_none() && self.told.len() >= IMAGES_MAX {
            let oldest = self.told.iter().min_by_key(|(_, told)| told.at).map(|(key, _)| key.clone());
            oldest.and_then(|key| self.told.remove(&key));
        }
        self.count += 1;
        self.told
            .insert(key, Told { facts: facts.clone(), was_had, at: self.count, second: now.as_second() });
    }

    /// What a namespace may know of an image, and since when. Where its registry is asked at each start, that is nothing before
    /// the namespace could have the image.
    fn told(&self, namespace: &str, image: &str, pull_policy: &str) -> Option<&Told> {
        let told = self.told.get(&(Arc::from(namespace), Arc::from(image)))?;
        (told.was_had || pull_policy != "Always").then_some(told)
    }

    fn facts(&self, namespace: &str, image: &str, pull_policy: &str) -> Option<&Arc<ImageFacts>> {
        self.told(namespace, image, pull_policy).map(|told| &told.facts)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pod {
    #[serde(default)]
    init_containers: Vec<Container>,
    #[serde(default)]
    containers: Vec<Container>,
}

#[derive(Deserialize)]
struct Template {
    spec: Pod,
}

#[derive(Deserialize)]
struct JobOutline {
    template: Template,
}

#[derive(Deserialize)]
struct Spec<T> {
    spec: T,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CronJobOutline {
    job_template: Spec<JobOutline>,
}

impl Pod {
    fn into_list(self) -> Vec<Container> {
        let mut list = self.init_containers;
        list.extend(self.containers);
        list
    }
}

/// The containers of an object's template. What cannot be read has none.
fn containers_of(object: &Stored) -> Vec<Container> {
    let Some(head) = object.own_head() else { return Vec::new() };
    let pod = match object.resource {
        Resource::CronJob => serde_json::from_slice::<Spec<CronJobOutline>>(&head.json)
            .map(|object| object.spec.job_template.spec.template.spec),
        Resource::Job => {
            serde_json::from_slice::<Spec<JobOutline>>(&head.json).map(|object| object.spec.template.spec)
        }
        _ => return Vec::new(),
    };
    pod.map(Pod::into_list).unwrap_or_default()
}

impl Snapshot {
    /// The policies that apply in a namespace, as they are stored.
    fn applying<'a>(
        &'a self,
        namespace: &'a str,
    ) -> impl Iterator<Item = (&'a Arc<Stored>, &'a Arc<image_policy::Policy>)> {
        let labels = self.get(Resource::Namespace, "", namespace).map(|found| found.labels());
        let cluster = self.list(Resource::ClusterImagePolicy, None, None);
        let own = self.list(Resource::ImagePolicy, Some(namespace), None);
        let policies = cluster.chain(own).filter_map(|object| Some((object, object.facts().image_policy()?)));
        policies.filter(move |(_, policy)| {
            let selector = policy.namespaces.as_ref();
            selector.is_none_or(|selector| labels.as_ref().is_some_and(|labels| selector.matches(labels)))
        })
    }

    /// The policies that apply in a namespace, each with the keys that it names.
    pub fn image_policies(&self, namespace: &str) -> Vec<InForce> {
        let config_map = |namespace: &str, name: &str, key: &str| {
            self.get(Resource::ConfigMap, namespace, name)?.config_text(key).cloned()
        };
        let of = |(object, policy): (&Arc<Stored>, &Arc<image_policy::Policy>)| {
            let name = match &*object.namespace {
                "" => format!("ClusterImagePolicy {}", object.name),
                namespace => format!("ImagePolicy {namespace}/{}", object.name),
            };
            InForce::new(name.into(), namespace, policy.clone(), &config_map)
        };
        self.applying(namespace).map(of).collect()
    }

    /// Names what the policies of a namespace say, by the versions of them and of the ConfigMaps that they read: as long as
    /// it is the same, so are they. None where no policy applies. Nothing is read for it.
    pub fn image_policies_stamp(&self, namespace: &str) -> Option<u64> {
        let version = |object: Option<&Arc<Stored>>| object.map(|object| object.resource_version);
        let mut hasher = DefaultHasher::new();
        let mut count = 0;
        for (object, policy) in self.applying(namespace) {
            count += 1;
            (&object.namespace, &object.name, object.resource_version).hash(&mut hasher);
            for (namespace, name) in policy.config_maps(namespace) {
                version(self.get(Resource::ConfigMap, namespace, name)).hash(&mut hasher);
            }
        }
        (count > 0).then(|| hasher.finish())
    }

    /// What refers to which image and stays: CronJobs, and Jobs that run and are no CronJob's.
    pub fn image_users(&self) -> BTreeMap<Arc<str>, Vec<ImageUser>> {
        let mut users: BTreeMap<Arc<str>, Vec<ImageUser>> = BTreeMap::new();
        let crons = self.list(Resource::CronJob, None, None);
        let jobs = self.list(Resource::Job, None, None).filter(|job| {
            job.controller().is_none() && job.job_status().is_some_and(|s| s.is_finished().is_none())
        });
        for object in crons.chain(jobs).filter(|object| object.deletion.is_none()) {
            for container in containers_of(object) {
                users.entry(container.image.into()).or_default().push(ImageUser {
                    resource: object.resource,
                    namespace: object.namespace.clone(),
                    name: object.name.clone(),
                    container: container.name,
                });
            }
        }
        users
    }
}

impl Snapshot {
    /// The findings of all reports together, and how many CronJobs policies of images hold.
    pub fn image_figures(&self) -> (FindingCounts, u64) {
        let mut findings = FindingCounts::default();
        let reports = self.list(Resource::VulnerabilityReport, None, None);
        reports.filter_map(|report| report.facts().findings()).for_each(|counts| findings.add(counts));
        (findings, self.held_cronjobs().count() as u64)
    }

    /// The CronJobs that policies of images hold.
    fn held_cronjobs(&self) -> impl Iterator<Item = &Arc<Stored>> {
        let crons = self.list(Resource::CronJob, None, None);
        crons.filter(|cron| cron.cronjob_status().is_some_and(|status| status.held.is_some()))
    }

    /// What policies of images make of a CronJob: which apply, what holds it, and which slots did not start of late.
    pub fn explain_cronjob(&self, cron: &Stored) -> Value {
        let policies = self.image_policies(&cron.namespace);
        let status = cron.cronjob_status();
        let held = status.and_then(|status| status.held.as_ref()).map(|held| {
            json!({
                "since": rfc3339(held.since), "why": &*held.hold.why, "advisories": held.hold.advisories,
            })
        });
        let skip = status.and_then(|status| status.last_skip.as_ref()).map(|skip| {
            json!({
                "first": rfc3339(skip.first), "slot": rfc3339(skip.slot), "count": skip.count.to_string(),
                "reason": skip.reason.to_string(),
            })
        });
        let image = |container: Container| json!({"container": container.name, "image": container.image});
        json!({
            "apiVersion": "watchbell.dev/v1alpha1", "kind": "CronJobAdmission",
            "metadata": {"namespace": &*cron.namespace, "name": &*cron.name},
            "isHeld": held.is_some(), "held": held, "lastSkip": skip,
            "policies": policies.iter().map(|by| &*by.name).collect::<Vec<&str>>(),
            "images": containers_of(cron).into_iter().map(image).collect::<Vec<Value>>(),
        })
    }
}

impl World {
    /// Refuses one more policy of images than are judged by.
    pub(super) fn bound_image_policies(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
    ) -> Result<(), ApiError> {
        let (count, most, whose) = match resource {
            Resource::ImagePolicy => {
                let own = self.state.list(resource, Some(namespace), None).take(POLICIES_MAX);
                (own.count(), POLICIES_MAX, format!("the namespace {namespace} has"))
            }
            Resource::ClusterImagePolicy => {
                (self.state.count(resource), CLUSTER_POLICIES_MAX, "there are".to_owned())
            }
            _ => return Ok(()),
        };
        if count < most {
            return Ok(());
        }
        let detail = format!(
            "{whose} {most} already, and every start is judged by each: put its rules into one of them, or delete one"
        );
        Err(ApiError::forbidden(resource, name, &detail))
    }

    /// What policies would say of the images of a pod or a template, as far as those are known here. An image need not be.
    pub(super) fn image_warnings(
        &self,
        resource: Resource,
        namespace: &str,
        object: &Value,
        now: Timestamp,
    ) -> Vec<String> {
        let Some((steps, prefix)) = pod_of(resource) else { return Vec::new() };
        let policies = self.state.image_policies(namespace);
        if policies.is_empty() {
            return Vec::new();
        }
        let pod = at_steps(object, steps);
        let pending = pending_by(resource, &policies);
        let mut warnings = Vec::new();
        for list in ["initContainers", "containers"] {
            for (n, container) in pod["spec"][list].as_array().into_iter().flatten().enumerate() {
                let pull_policy = container["imagePullPolicy"].as_str().unwrap_or_default();
                let image = container["image"].as_str();
                let facts = image.and_then(|image| self.images.facts(namespace, image, pull_policy));
                let Some(facts) = facts.filter(|facts| is_examined(&policies, facts)) else {
                    let warning = |by| format!("{prefix}spec.{list}[{n}].image: what {by} {PENDING}");
                    warnings.extend(pending.as_ref().map(warning));
                    continue;
                };
                for reason in decide(&policies, facts, now).reasons {
                    let meant = match reason.action {
                        Action::Deny => "no container of it starts: ",
                        Action::Warn => "",
                        Action::Audit => continue,
                    };
                    warnings.push(format!("{prefix}spec.{list}[{n}].image: {meant}{reason}"));
                }
            }
        }
        warnings.truncate(WARNINGS_MAX);
        warnings
    }

    /// Has the images looked at that an object names anew and that policies cannot be decided by yet.
    pub(super) fn ask_for_images(&mut self, old: Option<&Stored>, object: &Stored) {
        let is_user = match object.resource {
            Resource::CronJob => true,
            Resource::Job => object.controller().is_none(),
            _ => false,
        };
        let is_anew = object.deletion.is_none() && old.is_none_or(|old| !same_head(old, object));
        if !(is_user && is_anew) {
            return;
        }
        let policies = self.state.image_policies(&object.namespace);
        if policies.is_empty() {
            return;
        }
        // Whether the namespace may hear of it is of no concern to whoever looks.
        let is_pending = |image: &Arc<str>| {
            let told = self.images.told.get(&(object.namespace.clone(), image.clone()));
            told.is_none_or(|told| !is_examined(&policies, &told.facts))
        };
        let named = containers_of(object).into_iter().map(|container| Arc::from(container.image));
        let images: Vec<Arc<str>> = named.filter(is_pending).collect();
        if !images.is_empty() {
            self.command(Command::ImagesNamed { namespace: object.namespace.clone(), images });
        }
    }

    /// Why no slot of a CronJob may start. What is not known (any more, after a start of the server) holds nothing that was
    /// not held: each start is judged by itself.
    pub(super) fn hold_of(&self, cron: &Stored, now: Timestamp) -> Option<Hold> {
        let policies = self.state.image_policies(&cron.namespace);
        if policies.is_empty() {
            return None;
        }
        let (mut whys, mut advisories, mut is_known) = (Vec::new(), Vec::new(), true);
        for container in containers_of(cron) {
            let told = self.images.told(&cron.namespace, &container.image, &container.image_pull_policy);
            match told.filter(|told| is_examined(&policies, &told.facts)) {
                None => is_known = false,
                Some(told) => {
                    let mut verdict = decide(&policies, &told.facts, now);
                    // Only a start asks the registry again, and somebody may have signed by now.
                    if now.as_second() - told.second >= UNSIGNED_SECONDS {
                        verdict.reasons.retain(|r| !matches!(r.rule, Rule::Signature | Rule::Attestation));
                    }
                    if verdict.is_refused() {
                        whys.push(format!("image {}: {}", container.image, verdict.told(Action::Deny)));
                        advisories.extend(verdict.advisories());
                    }
                }
            }
        }
        if whys.is_empty() {
            let before = cron.cronjob_status().and_then(|status| status.held.as_ref());
            return before.filter(|_| !is_known).map(|held| held.hold.clone());
        }
        let mut why = whys.join("; ");
        why.truncate(why.floor_char_boundary(WHY_BYTES_MAX));
        Some(Hold { why: why.into(), advisories })
    }

    /// Notes the beginning and the end of a hold, and when another advisory is the reason.
    pub(super) fn audit_hold(&mut self, cron: &Stored, held: Option<&Held>, now: Timestamp) {
        let before = cron.cronjob_status().and_then(|status| status.held.as_deref());
        let told = |held: &Held| {
            json!({
                "uid": cron.uid.to_string(), "since": rfc3339(held.since), "reason": &*held.hold.why,
                "advisories": held.hold.advisories,
            })
        };
        match (before, held) {
            (None, Some(held)) => self.audit_run(cron, "held", told(held), now),
            (Some(before), Some(held)) if before.hold.advisories != held.hold.advisories => {
                self.audit_run(cron, "held", told(held), now);
            }
            (Some(before), None) => self.audit_run(cron, "released", told(before), now),
            _ => {}
        }
    }

    /// The node tells what is known of an image.
    pub(super) fn report_image(
        &mut self,
        namespace: &Arc<str>,
        image: &Arc<str>,
        facts: &Arc<ImageFacts>,
        users: &[ImageUser],
        now: Timestamp,
    ) {
        let is_had = users.is_empty() || users.iter().any(|user| self.has_report(user, &facts.digest));
        self.images.tell(namespace, image, facts, is_had, now);
        for (n, user) in users.iter().filter(|user| user.namespace == *namespace).enumerate() {
            let found = self.get(user.resource, &user.namespace, &user.name).cloned();
            let Some(object) = found.filter(|object| object.deletion.is_none()) else { continue };
            // It may have been changed since the node read it.
            let list = containers_of(&object);
            let of_user =
                |container: &&Container| container.name == user.container && *container.image == **image;
            let Some(container) = list.iter().find(of_user) else { continue };
            if self.images.facts(namespace, image, &container.image_pull_policy).is_none() {
                continue;
            }
            if let (Ok(findings), true) = (&facts.findings, n < REPORTS_MAX) {
                self.put_report(&object, &user.container, image, facts, findings, now);
            }
            if object.resource == Resource::CronJob {
                self.mark(object.key());
            }
        }
    }

    /// Whether an earlier server has reported on this very image: then the namespace could have it.
    fn has_report(&self, user: &ImageUser, digest: &str) -> bool {
        let name = report_name(&ReportOf {
            kind: user.resource.info().kind,
            namespace: &user.namespace,
            name: &user.name,
            uid: "",
            container: &user.container,
        });
        let found = self.get(Resource::VulnerabilityReport, &user.namespace, &name);
        found.is_some_and(|found| found.render()["report"]["artifact"]["digest"] == *digest)
    }

    fn put_report(
        &mut self,
        object: &Stored,
        container: &str,
        image: &str,
        facts: &ImageFacts,
        findings: &Findings,
        now: Timestamp,
    ) {
        let uid = object.uid.to_string();
        let of = ReportOf {
            kind: object.resource.info().kind,
            namespace: &object.namespace,
            name: &object.name,
            uid: &uid,
            container,
        };
        let name = report_name(&of);
        let mut wanted = report(&of, facts, findings, now);
        // In the form in which it is stored, to be compared with what is.
        schema::check(Resource::VulnerabilityReport, &mut wanted, schema::Prune::Unknown);
        let found = self.get(Resource::VulnerabilityReport, &object.namespace, &name).cloned();
        let before = found.as_ref().map(|found| found.render()).unwrap_or_default();
        let not_known = |report: &Value| report["metadata"]["annotations"][NOT_KNOWN].clone();
        if said(&before) == said(&wanted)
            && not_known(&before) == not_known(&wanted)
            && before["metadata"]["ownerReferences"][0]["uid"] == *uid
        {
            return;
        }
        let known: HashSet<(&str, &str)> = items(&before).collect();
        let news: Vec<&Finding> = findings
            .list
            .iter()
            .filter(|finding| !known.contains(&(&*finding.id, &*finding.package)))
            .collect();
        let stored = match found {
            None => self
                .create_own(Resource::VulnerabilityReport, &object.namespace, wanted, now)
                .map(drop)
                .map_err(|error| error.message),
            Some(found) => {
                let mut next = before.clone();
                next["report"] = wanted["report"].clone();
                for field in ["labels", "ownerReferences"] {
                    next["metadata"][field] = wanted["metadata"][field].clone();
                }
                match (not_known(&wanted), next["metadata"]["annotations"].as_object_mut()) {
                    (Value::Null, Some(annotations)) => drop(annotations.shift_remove(NOT_KNOWN)),
                    (Value::Null, None) => {}
                    (told, _) => next["metadata"]["annotations"][NOT_KNOWN] = told,
                }
                self.put_value(&found, next);
                Ok(())
            }
        };
        if let Err(why) = stored {
            let message = format!("Error creating VulnerabilityReport {name}: {why}");
            self.emit(object, &PlannedEvent::warning("FailedCreate", message), now);
        }
        if news.is_empty() {
            return;
        }
        let details = json!({
            "uid": uid, "container": container, "image": image, "digest": &*facts.digest, "report": name,
            "count": news.len(),
            "advisories": news.iter().take(NOTED_MAX).map(|f| &*f.id).collect::<Vec<&str>>(),
        });
        self.audit_run(object, "vulnerabilities-found", details, now);
        let mut worst = news.clone();
        worst.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        let told: Vec<String> = worst
            .iter()
            .take(TOLD_MAX)
            .map(|f| {
                format!(
                    "{} ({}) in {}",
                    f.id,
                    f.severity.map_or("unscored", |severity| severity.name()),
                    f.package
                )
            })
            .collect();
        let more = match news.len().saturating_sub(TOLD_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let message = format!(
            "Image {image} of container {container}: {} new findings: {}{more}; see VulnerabilityReport {name}",
            news.len(),
            told.join(", ")
        );
        self.emit(object, &PlannedEvent::warning(FOUND, message), now);
    }

    /// Reports on containers that a CronJob has no more.
    pub(super) fn drop_stale_reports(&mut self, cron: &Stored) {
        let owned = self.owned.get(&cron.uid).into_iter().flatten();
        let reports: Vec<Key> =
            owned.filter(|key| key.resource == Resource::VulnerabilityReport).cloned().collect();
        if reports.is_empty() {
            return;
        }
        let uid = cron.uid.to_string();
        let names: HashSet<String> = containers_of(cron)
            .iter()
            .map(|container| {
                report_name(&ReportOf {
                    kind: "CronJob",
                    namespace: &cron.namespace,
                    name: &cron.name,
                    uid: &uid,
                    container: &container.name,
                })
            })
            .collect();
        for key in reports.iter().filter(|key| !names.contains(&*key.at.name)) {
            self.remove(Resource::VulnerabilityReport, &key.at);
        }
    }

    /// What policies said when a container was to start.
    pub(super) fn report_judged(&mut self, uid: Uid, judged: &ImageJudged, now: Timestamp) {
        let Some(pod) = self.pod_of(uid) else { return };
        let reason = |reason: &JudgedReason| {
            let mut told = json!({"message": &*reason.message});
            for (field, text) in [("policy", &*reason.policy), ("rule", &*reason.rule)] {
                if !text.is_empty() {
                    told[field] = text.into();
                }
            }
            if let Some(advisory) = &reason.advisory {
                told["advisory"] = (**advisory).into();
            }
            told
        };
        let ImageJudged { container, image, digest, outcome, reasons } = judged;
        let messages = reasons.iter().map(|reason| &*reason.message).collect::<Vec<&str>>().join("; ");
        let (action, event) = match outcome {
            ImageOutcome::Refused => (
                "image-refused",
                Some((VIOLATION, format!("Container {container}: image {image} may not start: {messages}"))),
            ),
            ImageOutcome::Warned => {
                ("image-warned", Some((WARNING, format!("Container {container}: image {image}: {messages}"))))
            }
            ImageOutcome::Noted => ("image-noted", None),
            ImageOutcome::Unjudged => (
                "image-unjudged",
                Some((UNVERIFIED, format!("Container {container}: image {image} starts, but {messages}"))),
            ),
        };
        let details = json!({
            "uid": uid.to_string(), "container": &**container, "image": &**image, "digest": &**digest,
            "reason": messages, "reasons": reasons.iter().map(reason).collect::<Vec<Value>>(),
        });
        self.audit_run(&pod, action, details, now);
        if let Some((reason, message)) = event {
            let about = self.voice_of(&pod);
            self.emit(&about, &PlannedEvent::warning(reason, message), now);
        }
    }

    /// Whether a policy has a key or a trust root from this ConfigMap.
    pub(super) fn is_read_by_image_policy(&self, map: &Stored) -> bool {
        let policies = self.state.list(Resource::ClusterImagePolicy, None, None);
        let mut policies = policies.chain(self.state.list(Resource::ImagePolicy, Some(&map.namespace), None));
        policies.any(|object| {
            let policy = object.facts().image_policy();
            let of_map = (&*map.namespace, &*map.name);
            policy.is_some_and(|policy| policy.config_maps(&object.namespace).any(|named| named == of_map))
        })
    }

    /// Another policy applies, or another one: what is held is looked at again, and the node hears of it.
    pub(super) fn index_image_policy(&mut self) {
        let held: Vec<Key> = self.state.held_cronjobs().map(|cron| cron.key()).collect();
        held.into_iter().for_each(|key| self.mark(key));
        self.command(Command::ImagePoliciesChanged);
    }
}

/// Which policies have not judged yet, for who is to be warned of it. A pod starts at once, and is judged then.
fn pending_by(resource: Resource, policies: &[InForce]) -> Option<String> {
    let mut told = policies.iter().filter(|by| by.policy.action != Action::Audit);
    let first = told.next().filter(|_| resource != Resource::Pod)?;
    Some(match told.count() {
        0 => first.name.to_string(),
        more => format!("{} and {more} more", first.name),
    })
}

/// A report without the time at which it was written.
fn said(report: &Value) -> Value {
    let mut said = report["report"].clone();
    if let Some(map) = said.as_object_mut() {
        map.shift_remove("updateTimestamp");
    }
    said
}

fn items(report: &Value) -> impl Iterator<Item = (&str, &str)> {
    let list = report["report"]["vulnerabilities"].as_array().into_iter().flatten();
    list.filter_map(|item| Some((item["vulnerabilityID"].as_str()?, item["resource"].as_str()?)))
}

/// What the server tells is written by nobody else.
pub(super) fn refuse_told(request: &Request) -> Result<(), ApiError> {
    let writes = matches!(
        request.write,
        Write::Create(_)
            | Write::Update(_)
            | Write::Patch {
                kind: PatchKind::Json | PatchKind::Merge | PatchKind::StrategicMerge | PatchKind::Apply,
                ..
            }
    );
    if !writes || !request.resource.is_told() {
        return Ok(());
    }
    let plural = request.resource.info().plural;
    Err(ApiError::new(
        Reason::MethodNotAllowed,
        format!("{plural} are written by the server alone, when it matches an image with other advisories"),
    ))
}
