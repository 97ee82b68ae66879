//! What must hold between the annotations about arrays and the Job or pod around them.

use std::collections::BTreeSet;

use serde_json::Value;
use watchbell_api::array::{ARRAY, ARRAY_COMPLETIONS, ARRAY_GATE};
use watchbell_api::error::FieldErrorClass;
use watchbell_api::quantity::Quantity;
use watchbell_api::{FieldError, Resource};
use watchbell_zarr::{Mode, OnConflict, Split, Use};

use super::{COMPARISONS_MAX, Known, NotPlanned, Uses, variable_part};
use crate::controller::job::CONTROLLER_NAME;

/// Nothing may be mounted at these, below them or above them: the sandbox mounts them itself.
const TAKEN: [&str; 3] = ["/proc", "/sys", "/dev"];
/// What the server writes lies in these; below them is room.
const NOT_WHOLE: [&str; 6] = ["/etc", "/run", "/var", "/var/run", "/usr", "/bin"];

/// A page of memory: an upper in memory has no less.
const QUOTA_BYTES_MIN: u64 = 4 << 10;

/// Where an object says what its pods are.
struct Places<'a> {
    template: &'a Value,
    /// Of the template's annotations, spec and so on.
    template_path: &'static str,
    /// Of a pod alone there is none.
    job: Option<(&'a Value, &'static str)>,
}

impl<'a> Places<'a> {
    fn of(resource: Resource, object: &'a Value) -> Option<Places<'a>> {
        Some(match resource {
            Resource::Pod => Places { template: object, template_path: "", job: None },
            Resource::Job => Places {
                template: &object["spec"]["template"],
                template_path: "spec.template.",
                job: Some((object, "")),
            },
            Resource::CronJob => Places {
                template: &object["spec"]["jobTemplate"]["spec"]["template"],
                template_path: "spec.jobTemplate.spec.template.",
                job: Some((&object["spec"]["jobTemplate"], "spec.jobTemplate.")),
            },
            _ => return None,
        })
    }
}

/// Whether the completions of a Job (or of a CronJob's) follow the plan.
pub fn is_auto(job: &Value) -> bool {
    job["metadata"]["annotations"][ARRAY_COMPLETIONS] == "auto"
}

/// What is wrong, whatever the arrays are.
pub fn errors(resource: Resource, object: &Value) -> Vec<FieldError> {
    let Some(places) = Places::of(resource, object) else { return Vec::new() };
    let mut found = Found { list: Vec::new(), field: String::new() };
    let text = places.template["metadata"]["annotations"][ARRAY].as_str();
    let job_text = |key: &str| places.job.and_then(|(job, _)| job["metadata"]["annotations"][key].as_str());
    let job_field = |key: &str| {
        let path = places.job.map_or("", |(_, path)| path);
        format!("{path}metadata.annotations[{key}]")
    };
    let Some(text) = text else {
        for key in [ARRAY_COMPLETIONS, ARRAY_GATE] {
            if let Some(value) = job_text(key) {
                found.field = job_field(key);
                found.refuse(value, format!("the pod template uses no array: it has no annotation {ARRAY}"));
            }
        }
        return found.list;
    };
    found.field = format!("{}metadata.annotations[{ARRAY}]", places.template_path);
    let uses = match Uses::read(text) {
        Ok(uses) => uses,
        Err(why) => {
            found.refuse(shown(text), why);
            return found.list;
        }
    };
    found.mounts(&uses.list, &places.template["spec"]);
    found.names(&uses.list);
    for one in &uses.list {
        found.quota(one);
    }
    match places.job {
        None => found.pod_alone(&uses),
        Some((job, path)) => {
            found.job(&uses, job, path, places.template_path, &places.template["spec"]);
            if let Some(value) = job_text(ARRAY_COMPLETIONS) {
                found.field = job_field(ARRAY_COMPLETIONS);
                found.auto(value, &uses, &job["spec"]);
            }
            if let Some(value) = job_text(ARRAY_GATE) {
                found.field = job_field(ARRAY_GATE);
                if value.is_empty() || value.len() > 253 {
                    found.refuse(shown(value), "must be the name of a CronJob of this namespace".into());
                } else if !uses.writes() {
                    found.refuse(value, "a gate stands before a publication, and no array is written".into());
                } else if let Some(one) = uses.list.iter().find(|one| one.on_conflict == OnConflict::Rebase) {
                    let why = format!(
                        "a gate looks at what is published, and onConflict: rebase of array {:?} publishes something else once \
                         the head has moved: leave out one of them",
                        one.name
                    );
                    found.refuse(value, why);
                }
            }
        }
    }
    found.list
}

/// Uses of an object's pods of which no plan can be made, by what is known of the arrays. An object that [`errors`] has nothing
/// against.
pub fn unplannable<'a>(
    resource: Resource,
    object: &Value,
    known: impl Fn(&str) -> Option<&'a Known>,
) -> Vec<FieldError> {
    let Some(places) = Places::of(resource, object) else { return Vec::new() };
    let Some(Ok(uses)) = Uses::of(&places.template["metadata"]["annotations"]) else { return Vec::new() };
    let job = places.job.map(|(job, _)| job);
    let completions = job.and_then(|job| job["spec"]["completions"].as_u64());
    let completions = completions.and_then(|n| u32::try_from(n).ok()).unwrap_or(1);
    // A new Job's were set by the plan.
    let follows = resource == Resource::CronJob && job.is_some_and(is_auto);
    let field = format!("{}metadata.annotations[{ARRAY}]", places.template_path);
    let mut comparisons = COMPARISONS_MAX;
    let problem = |one: &Use| {
        let known = known(&one.name)?;
        let made = match follows {
            true => known.indices(one, &mut comparisons).map(drop),
            false => known.plan(one, completions, &mut comparisons).map(drop),
        };
        match made {
            Err(NotPlanned::Illegal(why)) => Some(format!("array {:?}: {why}", one.name)),
            Ok(()) | Err(NotPlanned::NoSnapshot | NotPlanned::TooLarge) => None,
        }
    };
    let refuse = |why| FieldError::new(FieldErrorClass::Invalid, field.clone(), "", why);
    uses.list.iter().filter_map(problem).map(refuse).collect()
}

/// As much of a text as an error shows.
fn shown(text: &str) -> &str {
    &text[..text.floor_char_boundary(256)]
}

struct Found {
    list: Vec<FieldError>,
    /// Of the annotation that is looked at.
    field: String,
}

impl Found {
    fn refuse(&mut self, value: &str, detail: String) {
        let error =
            FieldError::new(FieldErrorClass::Invalid, self.field.clone(), format!("{value:?}"), detail);
        self.list.push(error);
    }

    fn at(&mut self, field: String, value: &str, detail: String) {
        self.list.push(FieldError::new(FieldErrorClass::Invalid, field, format!("{value:?}"), detail));
    }

    fn mounts(&mut self, uses: &[Use], spec: &Value) {
        for one in uses {
            let mount = one.mount.as_str();
            if let Some(taken) = TAKEN.iter().find(|taken| meet(mount, taken)) {
                self.refuse(mount, format!("an array cannot be mounted at, in or over {taken}"));
            }
            if NOT_WHOLE.contains(&mount) {
                self.refuse(mount, format!("an array over {mount} would hide what a container needs of it"));
            }
            for kind in ["initContainers", "containers"] {
                for container in spec[kind].as_array().into_iter().flatten() {
                    let mounts = container["volumeMounts"].as_array().into_iter().flatten();
                    let paths = mounts.filter_map(|volume| volume["mountPath"].as_str());
                    for path in paths.filter(|path| meet(mount, path.trim_end_matches('/'))) {
                        let name = container["name"].as_str().unwrap_or_default();
                        self.refuse(
                            mount,
                            format!("container {name:?} mounts a volume at {path:?}, and one would lie in the other"),
                        );
                    }
                }
            }
        }
    }

    /// Arrays whose variables would have one name.
    fn names(&mut self, uses: &[Use]) {
        let mut seen = BTreeSet::new();
        for one in uses {
            let part = variable_part(&one.name);
            if !seen.insert(part.clone()) {
                self.refuse(
                    &one.name,
                    format!("another array has the variables WATCHBELL_ARRAY_{part}_… too: one of them must be called otherwise"),
                );
            }
        }
    }

    fn quota(&mut self, one: &Use) {
        if let (Some(text), Err(why)) = (&one.quota, quota_bytes(one)) {
            self.refuse(text, why);
        }
    }

    fn pod_alone(&mut self, uses: &Uses) {
        for one in &uses.list {
            if one.mode != Mode::Read {
                self.refuse(
                    &one.name,
                    "only the pods of a Job can write an array: a pod alone publishes nothing".into(),
                );
            } else if one.split.is_some() {
                self.refuse(&one.name, "only the pods of a Job have an index to split by".into());
            }
        }
    }

    fn job(&mut self, uses: &Uses, job: &Value, path: &str, template_path: &str, pod: &Value) {
        let spec = &job["spec"];
        let is_indexed = spec["completionMode"] == "Indexed";
        let completions = spec["completions"].as_u64();
        let has_indices = is_indexed || completions == Some(1);
        for one in &uses.list {
            let Some(split) = &one.split else { continue };
            if !has_indices {
                self.refuse(&one.name, "a split needs a Job with completionMode: Indexed".into());
                continue;
            }
            let planned = match split {
                Split::Dimension { into, .. } => Some(u64::from(*into)),
                Split::Explicit(regions) => Some(regions.len() as u64),
                Split::PerChunk | Split::PerShard | Split::Artifacts => None,
            };
            if let (Some(planned), Some(completions)) = (planned, completions)
                && planned != completions
                && !is_auto(job)
            {
                self.at(
                    format!("{path}spec.completions"),
                    &completions.to_string(),
                    format!(
                        "the split of array {:?} makes {planned} indices: set completions to that, or the annotation \
                         {ARRAY_COMPLETIONS}: auto",
                        one.name
                    ),
                );
            }
        }
        if !uses.writes() {
            return;
        }
        if !has_indices {
            self.refuse(
                "write",
                "a Job that writes arrays has completionMode: Indexed, or completions: 1".into(),
            );
        }
        if spec.get("successPolicy").is_some_and(|policy| !policy.is_null()) {
            self.at(
                format!("{path}spec.successPolicy"),
                "",
                "a Job that writes arrays publishes all of its indexes or nothing: it has no successPolicy"
                    .into(),
            );
        }
        if let Some(manager) = spec["managedBy"].as_str().filter(|name| *name != CONTROLLER_NAME) {
            self.at(
                format!("{path}spec.managedBy"),
                manager,
                "another controller does not publish what a Job wrote to arrays".into(),
            );
        }
        if pod["restartPolicy"] == "OnFailure" {
            self.at(
                format!("{template_path}spec.restartPolicy"),
                "OnFailure",
                "a container that starts again would go on with what the failed one wrote: write Never"
                    .into(),
            );
        }
    }

    fn auto(&mut self, value: &str, uses: &Uses, spec: &Value) {
        if value != "auto" {
            self.refuse(shown(value), "is auto, or left out".into());
        } else if spec["completionMode"] != "Indexed" {
            self.refuse(
                value,
                "only a Job with completionMode: Indexed has completions that follow a plan".into(),
            );
        } else if uses.list.iter().all(|one| one.split.is_none()) {
            self.refuse(value, "no array is split, so there is no plan to follow".into());
        } else if uses.list.iter().all(|one| matches!(one.split, None | Some(Split::Artifacts))) {
            let why = "artifacts have as many indices as the Job: no plan says how many, so set completions and leave this out";
            self.refuse(value, why.into());
        }
    }
}

/// What a use says that an attempt may write.
///
/// # Errors
/// What is wrong with it.
pub fn quota_bytes(one: &Use) -> Result<Option<u64>, String> {
    let Some(text) = &one.quota else { return Ok(None) };
    match text.parse::<Quantity>() {
        Ok(quota) if quota.is_whole() && !quota.is_negative() && quota.as_bytes() >= QUOTA_BYTES_MIN => {
            Ok(Some(quota.as_bytes()))
        }
        _ => Err("the quota must be a whole number of bytes, at least 4Ki, such as 1Gi".to_owned()),
    }
}

/// Whether one path is the other, or lies in it.
fn meet(a: &str, b: &str) -> bool {
    let is_in = |path: &str, dir: &str| {
        path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    is_in(a, b) || is_in(b, a)
}
