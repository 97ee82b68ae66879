//! What happens next, by chance.

use serde_json::{Value, json};
use watchbell_api::Resource;
use watchbell_api::node::Report;

use super::super::labelled_namespace;
use super::Life;
use super::specs::{CLAIMS, claim, data_array, lazy_class, random_cron, random_job, random_policy, toys};
use crate::request::{DeleteOptions, Propagation};

const POLICIES: [Resource; 5] = [
    Resource::ResourceQuota,
    Resource::LimitRange,
    Resource::PersistentVolumeClaim,
    Resource::DataArray,
    Resource::RoleBinding,
];

impl Life {
    pub(super) fn step(&mut self) {
        match self.random.below(20) {
            0..=1 => self.create(),
            2 => self.patch_job(),
            3 => self.patch_pod(),
            4 => self.patch_cron(),
            5 => self.delete(),
            15 => self.change_policy(),
            16 if self.random.one_in(2) => self.change_devices(),
            6..=8 => self.deliver(),
            9..=12 => self.pass_time(),
            13 if self.random.one_in(3) => self.set_clock(),
            14 if self.random.one_in(6) => self.kill_node(),
            _ => self.batch(),
        }
    }

    fn create(&mut self) {
        let snapshot = self.bench.world.snapshot();
        match snapshot.get(Resource::Namespace, "", "ml") {
            // It was deleted, and everything in it. A batch at hand may have made it anew.
            None => return drop(self.bench.try_create(labelled_namespace())),
            Some(namespace) if namespace.deletion.is_some() => return,
            Some(_) if snapshot.count(Resource::Job) + snapshot.count(Resource::CronJob) > 14 => return,
            Some(_) => {}
        }
        self.made += 1;
        let name = format!("o{}", self.made);
        let object = if self.random.one_in(3) {
            random_cron(&mut self.random, &name)
        } else {
            random_job(&mut self.random, &name)
        };
        match self.bench.try_create(object) {
            Ok(_) => {}
            Err(error) => {
                let expected =
                    ["being terminated", "exceeded quota"].iter().any(|w| error.message.contains(w));
                assert!(expected, "{error}");
            }
        }
    }

    /// Some vanish, held or not, and come back another time.
    fn change_devices(&mut self) {
        let random = &mut self.random;
        let pools = toys(|_| !random.one_in(3));
        let at = self.bench.at();
        self.bench.world.report(Report::Devices { pools }, at);
    }

    /// What admits pods, and what they wait for.
    fn change_policy(&mut self) {
        match self.random.below(4) {
            0..=1 => {
                self.made += 1;
                let object = random_policy(&mut self.random, &format!("p{}", self.made));
                let _ = self.bench.try_create(object);
            }
            2 => self.make_claims(),
            _ => {
                let resource = self.random.pick(&POLICIES);
                let Some(name) = self.pick(resource) else { return };
                let _ = self.bench.try_delete(resource, &name, DeleteOptions::default());
            }
        }
    }

    pub(super) fn make_claims(&mut self) {
        let _ = self.bench.try_create(lazy_class());
        for name in CLAIMS {
            // One of them may be there, or on its way out.
            let _ = self.bench.try_create(claim(name));
        }
        for object in data_array() {
            let _ = self.bench.try_create(object);
        }
    }

    /// The name of some object of a resource.
    fn pick(&mut self, resource: Resource) -> Option<String> {
        let snapshot = self.bench.world.snapshot();
        let names: Vec<&str> =
            snapshot.list(resource, Some("ml"), None).map(|object| &*object.name).collect();
        if names.is_empty() { None } else { Some(self.random.pick(&names).to_owned()) }
    }

    /// Refusals are part of life: an immutable field, an object that went in this very batch.
    fn patch(&mut self, resource: Resource, name: &str, body: Value) {
        let _ = self.bench.try_patch(resource, name, body);
    }

    fn patch_job(&mut self) {
        let Some(job) = self.pick(Resource::Job) else { return };
        let body = match self.random.below(4) {
            0 => json!({"spec": {"suspend": true}}),
            1 => json!({"spec": {"suspend": false}}),
            2 => json!({"spec": {"parallelism": self.random.below(6)}}),
            _ => {
                let wide = 1 + self.random.below(9);
                json!({"spec": {"parallelism": wide, "completions": wide}})
            }
        };
        self.patch(Resource::Job, &job, body);
    }

    fn patch_pod(&mut self) {
        let Some(pod) = self.pick(Resource::Pod) else { return };
        let body = match self.random.below(3) {
            0 => json!({"metadata": {"labels": {"seen": "yes"}}}),
            1 => json!({"metadata": {"ownerReferences": null}}),
            _ => json!({"metadata": {"labels": {"batch.kubernetes.io/controller-uid": null}}}),
        };
        self.patch(Resource::Pod, &pod, body);
    }

    fn patch_cron(&mut self) {
        let Some(cron) = self.pick(Resource::CronJob) else { return };
        let body = match self.random.below(3) {
            0 => json!({"spec": {"suspend": true}}),
            1 => json!({"spec": {"suspend": false}}),
            _ => json!({"spec": {"schedule": self.random.pick(&["*/3 * * * *", "* * * * *", "@every 20s"])}}),
        };
        self.patch(Resource::CronJob, &cron, body);
    }

    fn delete(&mut self) {
        if self.random.one_in(15) {
            let _ = self.bench.try_delete(Resource::Namespace, "ml", DeleteOptions::default());
            return;
        }
        let resource = self.random.pick(&[Resource::Pod, Resource::Pod, Resource::Job, Resource::CronJob]);
        let Some(name) = self.pick(resource) else { return };
        let propagation =
            self.random.pick(&[Propagation::Background, Propagation::Foreground, Propagation::Orphan]);
        let options = DeleteOptions {
            propagation_policy: Some(propagation),
            grace_period_seconds: self.random.pick(&[None, None, Some(0), Some(3)]),
            ..DeleteOptions::default()
        };
        let _ = self.bench.try_delete(resource, &name, options);
    }

    fn pass_time(&mut self) {
        // Now and then the machine sleeps.
        let seconds =
            if self.random.one_in(25) { 30 + self.random.below(7_200) } else { 1 + self.random.below(60) };
        self.bench.now += seconds as i64;
        self.worker.work(self.bench.now);
    }

    fn set_clock(&mut self) {
        let seconds = self.random.pick(&[-3_600, -75, -2, 2, 200, 86_400]);
        self.bench.now += seconds;
        self.worker.shift(seconds);
    }

    fn kill_node(&mut self) {
        self.worker.die();
        self.kill_server();
    }

    /// What would keep a Job from ending by its author's will is taken back; nothing new is scheduled.
    pub(super) fn let_go(&mut self) {
        for _ in 0..3 {
            // What was made in the batch at hand is seen only now.
            self.bench.settle();
            for resource in [Resource::ResourceQuota, Resource::LimitRange] {
                for name in self.bench.names(resource) {
                    let _ = self.bench.try_delete(resource, &name, DeleteOptions::default());
                }
            }
            self.make_claims();
            for name in self.bench.names(Resource::CronJob) {
                self.patch(Resource::CronJob, &name, json!({"spec": {"suspend": true}}));
            }
            for job in self.bench.list(Resource::Job) {
                let name = job["metadata"]["name"].as_str().unwrap_or_default();
                if job["spec"]["parallelism"] == 0 {
                    self.patch(Resource::Job, name, json!({"spec": {"parallelism": 2}}));
                }
                if job["spec"]["suspend"] == true {
                    self.patch(Resource::Job, name, json!({"spec": {"suspend": false}}));
                }
            }
        }
        self.bench.settle();
        let commands = std::mem::take(&mut self.bench.commands);
        self.worker.obey(&commands, self.bench.now, &mut self.random);
        // The stages of those batches were not followed.
        self.laws.catch_up(&self.bench);
    }
}
