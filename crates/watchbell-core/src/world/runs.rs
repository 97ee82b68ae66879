//! What an operator may do with runs who may not change what runs: trigger a CronJob, suspend and resume it, run a Job
//! again. The rights to `cronjobs/trigger`, `cronjobs/suspend` and `jobs/rerun` are apart from those to the objects, so all
//! that runs is read from the object here, never from the request.

use jiff::Timestamp;
use serde_json::Value;
use watchbell_api::error::FieldErrorClass;
use watchbell_api::{ApiError, FieldError, Resource, Uid, name};

use super::World;
use super::object::Head;
use super::owners::Ownership;
use crate::arrays::ARRAY_RUN;
use crate::controller::cronjob;
use crate::controller::job::{FinishedKind, JobStatus};
use crate::copies::{self, Draft, RerunIndexes, rerun_indexes};
use crate::request::{Request, Schedule, Subresource, Write, Written};

impl World {
    pub(super) fn trigger(
        &mut self,
        request: &Request,
        job_name: &str,
        now: Timestamp,
    ) -> Result<Written, ApiError> {
        let cron = self.find(request)?;
        if cron.deletion.is_some() {
            return Err(ApiError::conflict(request.resource, &cron.name, "it is being deleted"));
        }
        let name = self.job_name(request, job_name, &format!("{}-manual", cron.name))?;
        let made = self.make_job(request, copies::triggered(&cron.render(), &name), now)?;
        self.take_triggered(&cron, &name, now);
        Ok(made)
    }

    pub(super) fn rerun(
        &mut self,
        request: &Request,
        job_name: &str,
        wanted: RerunIndexes,
        now: Timestamp,
    ) -> Result<Written, ApiError> {
        let job = self.find(request)?;
        let facts = match &job.head {
            Head::Json(head) => head.facts.job(),
            Head::ArrayPod(_) => None,
        };
        let (Some(facts), Some(status)) = (facts, job.job_status()) else {
            return Err(ApiError::internal(format!("job {:?} has no status", job.name)));
        };
        let draft = match &facts.arrays {
            Some(arrays) if arrays.uses.writes() => Draft::Kept,
            _ => Draft::None,
        };
        let refuse = |why: &str| ApiError::conflict(request.resource, &job.name, why);
        let indexes =
            rerun_indexes(&facts.spec, status, wanted, draft).map_err(|why| refuse(&why.to_string()))?;
        let name = self.job_name(request, job_name, &job.name)?;
        if let Some(arrays) = facts.arrays.as_ref().filter(|_| wanted == RerunIndexes::Failed) {
            // It goes on with the draft; all anew is a run of its own.
            let run = arrays.run.unwrap_or(job.uid);
            if let Some(why) = self.other_of_run(&job.namespace, run, draft) {
                return Err(refuse(&why));
            }
            self.own_annotations.insert(ARRAY_RUN, run.to_string());
        }
        self.make_job(request, copies::again(&job.render(), &name, indexes.as_deref()), now)
    }

    /// Why no further Job may go on with a run: one is at it, or has published it.
    fn other_of_run(&self, namespace: &str, run: Uid, draft: Draft) -> Option<String> {
        self.state.list(Resource::Job, Some(namespace), None).find_map(|job| {
            let arrays = job.facts().job()?.arrays.as_ref()?;
            if arrays.run.unwrap_or(job.uid) != run {
                return None;
            }
            match job.job_status().and_then(JobStatus::is_finished).map(|end| end.kind) {
                None => Some(format!("job {:?} goes on with its run and has not ended", job.name)),
                Some(FinishedKind::Complete) if draft == Draft::Kept => {
                    Some(format!("job {:?} has published its run; run it again whole", job.name))
                }
                Some(_) => None,
            }
        })
    }

    /// The name that was asked for, or one that is made up.
    ///
    /// # Errors
    /// It is that of a slot's Job: the slot would find it taken and be skipped, and who may run something more may not keep
    /// from running what the schedule says. (Who may create Jobs may: that is a right to what runs.)
    fn job_name(&mut self, request: &Request, wanted: &str, stem: &str) -> Result<String, ApiError> {
        if wanted.is_empty() {
            return Ok(name::generate(&copies::stem(stem), self.random.bytes()));
        }
        let taken_for = cronjob::slot_owner(wanted)
            .filter(|cron| self.get(Resource::CronJob, &request.namespace, cron).is_some());
        match taken_for {
            None => Ok(wanted.to_owned()),
            Some(cron) => Err(ApiError::invalid(
                Resource::Job,
                wanted,
                &[FieldError::new(
                    FieldErrorClass::Invalid,
                    "jobName",
                    format!("{wanted:?}"),
                    format!(
                        "names of this form are those of the CronJob {cron:?}'s own slots, which would find theirs taken: choose \
                         one that does not end in a dash and digits, or leave it out"
                    ),
                )],
            )),
        }
    }

    /// Makes a Job in the name of whoever asked. Quotas, classes and security levels have their say, as with any Job.
    fn make_job(&mut self, request: &Request, object: Value, now: Timestamp) -> Result<Written, ApiError> {
        let create = Request {
            resource: Resource::Job,
            name: String::new(),
            subresource: Subresource::None,
            write: Write::Create(Value::Null),
            ..request.clone()
        };
        self.create(&create, object, now)
    }

    pub(super) fn suspend(
        &mut self,
        request: &Request,
        schedule: Schedule,
        now: Timestamp,
    ) -> Result<Written, ApiError> {
        let old = self.find(request)?;
        let mut object = old.render();
        object["spec"]["suspend"] = (schedule == Schedule::Suspended).into();
        self.replace(request, &old, object, Ownership::Update, now)
    }
}
