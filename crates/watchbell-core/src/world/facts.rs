//! What the controllers need to know of an object, read once when it changes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde::Deserialize;
use serde_json::Value;
use watchbell_api::array::DataArraySpec;
use watchbell_api::selector::Labels;
use watchbell_api::types::cronjob::{ConcurrencyPolicy, CronJobSpec};
use watchbell_api::types::job::{JobSpec, JobTemplate};
use watchbell_api::types::pod::{PodSpec, RestartPolicy};
use watchbell_api::{Resource, Uid};

use crate::access::{Binding, Role};
use crate::admission::policies::{self, Policy};
use crate::admission::{Account, LimitRange, PriorityClass, RuntimeClass};
use crate::arrays::{self, ARRAY_GATE_FOR, JobArrays};
use crate::controller::cronjob::CronJobFacts;
use crate::controller::job::RERUN_INDEXES;
use crate::egress::EgressPolicy;
use crate::image_policy::{self, FindingCounts, Text};
use crate::index_set::IndexSet;
use crate::login::{self, Grant};
use crate::storage::{Claim, Class, Volume};

/// The typed part of a head.
#[derive(Debug)]
pub enum Facts {
    None,
    Job(Box<JobFacts>),
    CronJob(Box<CronJobFacts>),
    Pod(Arc<PodSpec>),
    Event(EventFacts),
    LimitRange(Arc<LimitRange>),
    PriorityClass(Arc<PriorityClass>),
    RuntimeClass(Arc<RuntimeClass>),
    Claim(Box<Claim>),
    Volume(Box<Volume>),
    StorageClass(Box<Class>),
    Account(Arc<Account>),
    /// Of a user's token or certificate.
    Grant(Box<Grant>),
    /// Of a certificate's revocation: until when it stays, in Unix seconds.
    RevokedUntil(Option<i64>),
    Role(Arc<Role>),
    Binding(Arc<Binding>),
    /// With its expressions compiled.
    Policy(Arc<Policy>),
    PolicyBinding(Arc<policies::Binding>),
    ImagePolicy(Arc<image_policy::Policy>),
    /// Of a NetworkPolicy that says something of egress.
    EgressPolicy(Arc<EgressPolicy>),
    ConfigMap(ConfigMapTexts),
    DataArray(Arc<DataArraySpec>),
    /// Of a report on an image.
    Findings(Box<FindingCounts>),
}

/// The texts of a ConfigMap by their keys, read when a policy first asks for one: of most nobody does.
#[derive(Debug, Default)]
pub struct ConfigMapTexts(OnceLock<BTreeMap<Box<str>, Text>>);

impl ConfigMapTexts {
    /// `json` is the head that these are the facts of.
    pub(super) fn get(&self, json: &[u8], key: &str) -> Option<&Text> {
        #[derive(Deserialize)]
        struct Outline<'a> {
            #[serde(borrow, default)]
            data: BTreeMap<Box<str>, Cow<'a, str>>,
        }
        let read = || {
            // What is stored passed the schema.
            let outline = serde_json::from_slice::<Outline<'_>>(json).ok();
            let data = outline.map(|outline| outline.data).unwrap_or_default();
            data.into_iter().map(|(key, text)| (key, Text::from(&*text))).collect()
        };
        self.0.get_or_init(read).get(key)
    }
}

/// A Job's spec without its pod template, which is made when the first pod is (see [`super::template`]).
#[derive(Debug)]
pub struct JobFacts {
    pub spec: JobSpec,
    pub restart_policy: RestartPolicy,
    /// Which pods are the Job's, where its author chose; the generated selector is the label with the Job's uid.
    pub selector: Option<Labels>,
    /// Which indexes run again; `None`: all.
    pub rerun: Option<IndexSet>,
    pub arrays: Option<Arc<JobArrays>>,
    /// Of a gate: the Job that it is for.
    pub gate_for: Option<Uid>,
}

/// Of an event: enough to count a repetition, and to know when it is too old. Unix seconds.
#[derive(Debug)]
pub struct EventFacts {
    pub count: u32,
    pub first_at: i64,
    pub last_at: i64,
    /// What it tells.
    pub identity: u64,
}

impl Facts {
    /// Reads the facts of an object that passed the schema and was defaulted.
    pub fn read(resource: Resource, object: &Value) -> Result<Facts, String> {
        let spec = &object["spec"];
        let wrong = |e: serde_json::Error| format!("spec: {e}");
        Ok(match resource {
            Resource::Job => Facts::Job(Box::new(JobFacts {
                spec: JobSpec::deserialize(spec).map_err(wrong)?,
                restart_policy: match &spec["template"]["spec"]["restartPolicy"] {
                    Value::Null => RestartPolicy::default(),
                    policy => RestartPolicy::deserialize(policy)
                        .map_err(|e| format!("spec.template.spec.restartPolicy: {e}"))?,
                },
                selector: match spec["manualSelector"] == true {
                    true => Some(selector(&spec["selector"])?),
                    false => None,
                },
                // What it may be was judged when the object came ([`super::rules`]).
                rerun: object["metadata"]["annotations"][RERUN_INDEXES]
                    .as_str()
                    .and_then(|text| IndexSet::parse(text, u32::MAX).ok()),
                arrays: JobArrays::read(object).map(Arc::new),
                gate_for: object["metadata"]["annotations"][ARRAY_GATE_FOR]
                    .as_str()
                    .and_then(|uid| uid.parse().ok()),
            })),
            Resource::DataArray => Facts::DataArray(Arc::new(arrays::wanted(spec))),
            Resource::CronJob => {
                let outline = CronJobOutline::deserialize(spec).map_err(wrong)?;
                let annotations = super::object::string_map(object["metadata"].get("annotations"));
                Facts::CronJob(Box::new(CronJobFacts::new(&outline.into(), &annotations)?))
            }
            Resource::Pod => Facts::Pod(Arc::new(PodSpec::deserialize(spec).map_err(wrong)?)),
            Resource::Event => Facts::Event(event(object)),
            Resource::LimitRange => Facts::LimitRange(Arc::new(LimitRange::read(object))),
            Resource::PriorityClass => Facts::PriorityClass(Arc::new(PriorityClass::read(object))),
            Resource::PersistentVolumeClaim => Facts::Claim(Box::new(Claim::read(object))),
            Resource::PersistentVolume => Facts::Volume(Box::new(Volume::read(object))),
            Resource::StorageClass => Facts::StorageClass(Box::new(Class::read(object))),
            Resource::UserToken | Resource::UserCertificate => Facts::Grant(Box::new(Grant::read(object))),
            Resource::CertificateRevocation => Facts::RevokedUntil(login::revoked_until(object)),
            Resource::ServiceAccount => Facts::Account(Arc::new(Account::read(object))),
            Resource::RuntimeClass => Facts::RuntimeClass(Arc::new(RuntimeClass::read(object))),
            Resource::Role | Resource::ClusterRole => Facts::Role(Arc::new(Role::read(object)?)),
            Resource::RoleBinding | Resource::ClusterRoleBinding => {
                Facts::Binding(Arc::new(Binding::read(object)?))
            }
            Resource::ValidatingAdmissionPolicy => Facts::Policy(Arc::new(Policy::read(object))),
            Resource::ValidatingAdmissionPolicyBinding => {
                Facts::PolicyBinding(Arc::new(policies::Binding::read(object)))
            }
            Resource::ImagePolicy | Resource::ClusterImagePolicy => {
                Facts::ImagePolicy(Arc::new(image_policy::Policy::read(object)?))
            }
            Resource::NetworkPolicy => EgressPolicy::read(object)?
                .map_or(Facts::None, |policy| Facts::EgressPolicy(Arc::new(policy))),
            Resource::ConfigMap => Facts::ConfigMap(ConfigMapTexts::default()),
            Resource::VulnerabilityReport => Facts::Findings(Box::new(FindingCounts::read(object))),
            _ => Facts::None,
        })
    }

    pub fn policy(&self) -> Option<&Arc<Policy>> {
        match self {
            Facts::Policy(policy) => Some(policy),
            _ => None,
        }
    }

    pub fn policy_binding(&self) -> Option<&Arc<policies::Binding>> {
        match self {
            Facts::PolicyBinding(binding) => Some(binding),
            _ => None,
        }
    }

    pub fn grant(&self) -> Option<&Grant> {
        match self {
            Facts::Grant(grant) => Some(grant),
            _ => None,
        }
    }

    pub fn job(&self) -> Option<&JobFacts> {
        match self {
            Facts::Job(facts) => Some(facts),
            _ => None,
        }
    }

    pub fn cronjob(&self) -> Option<&CronJobFacts> {
        match self {
            Facts::CronJob(facts) => Some(facts),
            _ => None,
        }
    }

    pub fn pod(&self) -> Option<&Arc<PodSpec>> {
        match self {
            Facts::Pod(spec) => Some(spec),
            _ => None,
        }
    }

    pub fn account(&self) -> Option<&Arc<Account>> {
        match self {
            Facts::Account(account) => Some(account),
            _ => None,
        }
    }

    pub fn limit_range(&self) -> Option<&Arc<LimitRange>> {
        match self {
            Facts::LimitRange(range) => Some(range),
            _ => None,
        }
    }

    pub fn priority_class(&self) -> Option<&Arc<PriorityClass>> {
        match self {
            Facts::PriorityClass(class) => Some(class),
            _ => None,
        }
    }

    pub fn runtime_class(&self) -> Option<&Arc<RuntimeClass>> {
        match self {
            Facts::RuntimeClass(class) => Some(class),
            _ => None,
        }
    }

    pub fn claim(&self) -> Option<&Claim> {
        match self {
            Facts::Claim(claim) => Some(claim),
            _ => None,
        }
    }

    pub fn volume(&self) -> Option<&Volume> {
        match self {
            Facts::Volume(volume) => Some(volume),
            _ => None,
        }
    }

    pub fn storage_class(&self) -> Option<&Class> {
        match self {
            Facts::StorageClass(class) => Some(class),
            _ => None,
        }
    }

    pub fn role(&self) -> Option<&Arc<Role>> {
        match self {
            Facts::Role(role) => Some(role),
            _ => None,
        }
    }

    pub fn binding(&self) -> Option<&Arc<Binding>> {
        match self {
            Facts::Binding(binding) => Some(binding),
            _ => None,
        }
    }

    pub fn image_policy(&self) -> Option<&Arc<image_policy::Policy>> {
        match self {
            Facts::ImagePolicy(policy) => Some(policy),
            _ => None,
        }
    }

    pub fn egress_policy(&self) -> Option<&Arc<EgressPolicy>> {
        match self {
            Facts::EgressPolicy(policy) => Some(policy),
            _ => None,
        }
    }

    pub fn data_array(&self) -> Option<&Arc<DataArraySpec>> {
        match self {
            Facts::DataArray(spec) => Some(spec),
            _ => None,
        }
    }

    pub fn findings(&self) -> Option<&FindingCounts> {
        match self {
            Facts::Findings(counts) => Some(counts),
            _ => None,
        }
    }

    pub fn event(&self) -> Option<&EventFacts> {
        match self {
            Facts::Event(facts) => Some(facts),
            _ => None,
        }
    }
}

/// A CronJob's spec without its template, which is copied and never read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CronJobOutline {
    schedule: String,
    #[serde(default)]
    time_zone: Option<String>,
    #[serde(default)]
    starting_deadline_seconds: Option<i64>,
    #[serde(default)]
    concurrency_policy: ConcurrencyPolicy,
    #[serde(default)]
    suspend: bool,
    #[serde(default)]
    successful_jobs_history_limit: Option<u32>,
    #[serde(default)]
    failed_jobs_history_limit: Option<u32>,
}

impl From<CronJobOutline> for CronJobSpec {
    fn from(outline: CronJobOutline) -> CronJobSpec {
        CronJobSpec {
            schedule: outline.schedule,
            time_zone: outline.time_zone,
            starting_deadline_seconds: outline.starting_deadline_seconds,
            concurrency_policy: outline.concurrency_policy,
            suspend: outline.suspend,
            successful_jobs_history_limit: outline.successful_jobs_history_limit,
            failed_jobs_history_limit: outline.failed_jobs_history_limit,
            job_template: JobTemplate::default(),
        }
    }
}

/// A `LabelSelector` object in the words of a list request.
fn selector(object: &Value) -> Result<Labels, String> {
    let mut parts: Vec<String> = Vec::new();
    for (key, value) in object["matchLabels"].as_object().into_iter().flatten() {
        parts.push(format!("{key}={}", value.as_str().unwrap_or_default()));
    }
    for rule in object["matchExpressions"].as_array().into_iter().flatten() {
        let key = rule["key"].as_str().unwrap_or_default();
        let values: Vec<&str> =
            rule["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        parts.push(match rule["operator"].as_str() {
            Some("In") => format!("{key} in ({})", values.join(",")),
            Some("NotIn") => format!("{key} notin ({})", values.join(",")),
            Some("Exists") => key.to_owned(),
            Some("DoesNotExist") => format!("!{key}"),
            _ => return Err("spec.selector.matchExpressions: unknown operator".into()),
        });
    }
    Labels::parse(&parts.join(",")).map_err(|e| format!("spec.selector: {}", e.message))
}

fn event(object: &Value) -> EventFacts {
    let time =
        |value: &Value| value.as_str()?.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second);
    let created = time(&object["metadata"]["creationTimestamp"]).unwrap_or(0);
    let first_at = time(&object["firstTimestamp"]).or_else(|| time(&object["eventTime"])).unwrap_or(created);
    let last_at = time(&object["series"]["lastObservedTime"])
        .or_else(|| time(&object["lastTimestamp"]))
        .unwrap_or(first_at);
    let count = object["count"].as_u64().and_then(|count| u32::try_from(count).ok()).unwrap_or(1);
    let text = |value: &'_ Value| value.as_str().unwrap_or_default().to_owned();
    let about = &object["involvedObject"];
    let identity = super::events::identity(
        &text(&about["uid"]),
        &text(&about["name"]),
        &text(&object["type"]),
        &text(&object["reason"]),
        &text(&object["message"]),
    );
    EventFacts { count, first_at, last_at, identity }
}
