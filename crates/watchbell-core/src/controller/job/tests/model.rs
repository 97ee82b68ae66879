//! A random Job with a random node: pods start, succeed, fail, are deleted, vanish; the clock jumps; spec fields move;
//! after every pass the status is read back from the journal's form (see [`Bench`]). What the controller records is
//! compared with what this model saw happen.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::{Value, json};
use watchbell_api::node::StopCause;
use watchbell_api::types::job::{CompletionMode, PodReplacementPolicy};

use super::bench::{Bench, End, key};

const SEEDS: u64 = 800;
const STEPS: usize = 120;
/// Ignored by the failure policy of the Jobs that have one.
const IGNORED_EXIT: i32 = 40;

/// To replay a failure: `play(<the seed that was printed>)`.
#[test]
fn random_lives() {
    for seed in 0..SEEDS {
        if catch_unwind(AssertUnwindSafe(|| play(seed))).is_err() {
            panic!("seed {seed} fails; replay it with play({seed})");
        }
    }
}

/// SplitMix64: the same lives on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

fn random_spec(random: &mut Random) -> Value {
    let mut spec = json!({"parallelism": random.below(6)});
    let indexed = random.one_in(2) || random.one_in(2);
    if indexed {
        spec["completionMode"] = "Indexed".into();
        spec["completions"] = random.below(12).into();
        if random.one_in(2) {
            spec["backoffLimitPerIndex"] = random.below(3).into();
            if random.one_in(2) {
                spec["maxFailedIndexes"] = random.below(4).into();
            }
        }
        if random.one_in(3) {
            spec["successPolicy"] = json!({"rules": [
                {"succeededIndexes": "1-3,7", "succeededCount": 1 + random.below(4)},
                {"succeededCount": 1 + random.below(9)},
            ]});
        }
    } else if random.one_in(2) {
        spec["completions"] = random.below(12).into();
    }
    if random.one_in(2) {
        spec["backoffLimit"] = random.pick(&[0, 1, 3, 20]).into();
    }
    if random.one_in(4) {
        spec["activeDeadlineSeconds"] = (1 + random.below(3_000)).into();
    }
    if random.one_in(3) {
        spec["podReplacementPolicy"] = random.pick(&["Failed", "TerminatingOrFailed"]).into();
    }
    if random.one_in(3) {
        spec["podFailurePolicy"] = json!({"rules": [
            {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [IGNORED_EXIT]}},
            {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [41]}},
        ]});
        spec["podReplacementPolicy"] = "Failed".into();
    }
    spec["suspend"] = random.one_in(8).into();
    spec
}

/// What happened, told without the controller's help.
#[derive(Default)]
struct Truth {
    succeeded: u32,
    failed: u32,
    /// Successful ends and counted failures of an index within the completions of that time.
    successes: BTreeMap<u32, u32>,
    failures: BTreeMap<u32, u32>,
    /// Pods whose fate no longer depends on how they end.
    decided: BTreeSet<(u32, u32)>,
    deletions_seen: usize,
    /// Ends that the controller has not looked at.
    news: Vec<((u32, u32), End)>,
}

struct Life {
    job: Bench,
    truth: Truth,
}

fn play(seed: u64) {
    let mut random = Random(seed);
    let mut life = Life { job: Bench::idle(random_spec(&mut random)), truth: Truth::default() };
    life.look();
    for _ in 0..STEPS {
        for _ in 0..=random.below(3) {
            life.step(&mut random);
        }
        life.look();
    }
    life.finish();
}

impl Life {
    fn indexed(&self) -> bool {
        self.job.spec.completion_mode == CompletionMode::Indexed
    }

    fn has_place(&self, at: (u32, u32)) -> bool {
        at.0 == u32::MAX || self.job.spec.completions.is_none_or(|n| at.0 < n)
    }

    fn replaces_only_failed(&self) -> bool {
        self.job.spec.pod_replacement_policy == Some(PodReplacementPolicy::Failed)
    }

    fn end(&mut self, at: (u32, u32), end: End) {
        self.job.leave(at, end);
        self.truth.news.push((at, end));
    }

    fn step(&mut self, random: &mut Random) {
        let pods: Vec<(u32, u32)> = self.job.active.keys().copied().collect();
        if !pods.is_empty() && !random.one_in(4) {
            let at = random.pick(&pods);
            let pod = self.job.active.get_mut(&at).expect("active");
            if !pod.scheduled && !random.one_in(8) {
                pod.scheduled = true;
                pod.phase = watchbell_api::types::pod_status::Phase::Running;
                pod.ready = random.one_in(2);
                return;
            }
            match random.below(16) {
                0 => self.job.delete(at),
                1 => self.end(at, End::Removed),
                2 => self.end(at, End::Released),
                3..=6 => self.end(at, End::Exit(random.pick(&[1, 1, 137, IGNORED_EXIT]))),
                7 if random.one_in(4) => self.end(at, End::Exit(41)),
                _ => self.end(at, End::Exit(0)),
            }
            // Deleted while it waited: gone at once.
            if !self.job.active.contains_key(&at) && self.truth.news.last().is_none_or(|news| news.0 != at) {
                self.truth.news.push((at, End::Removed));
            }
            return;
        }
        match random.below(12) {
            0 => self.job.now -= random.below(500) as i64,
            1 => self.job.now += random.below(5_000) as i64,
            2 => self.job.spec.parallelism = Some(random.below(7) as u32),
            3 => self.job.spec.suspend = random.one_in(2),
            4 if self.indexed() => {
                // Elastic: both move together.
                let n = random.below(14) as u32;
                self.rescale(n);
            }
            _ => match self.job.wake_at {
                Some(at) => self.job.now = self.job.now.max(at),
                None => self.job.now += random.below(30) as i64,
            },
        }
    }

    fn rescale(&mut self, completions: u32) {
        if self.job.status.is_finished().is_some() {
            return;
        }
        self.job.spec.completions = Some(completions);
        self.job.spec.parallelism = Some(completions);
    }

    /// Lets the controller look until it rests, and checks all that must hold.
    fn look(&mut self) {
        if self.job.status.is_finished().is_some() {
            let before = self.job.status.clone();
            self.job.settle();
            assert_eq!(self.job.status, before, "a finished Job changed");
            self.truth.news.clear();
            return;
        }
        for _ in 0..1_000 {
            self.tell();
            let created = self.job.created.len();
            let plan = self.job.pass();
            self.learn_deletions();
            self.check_creations(created);
            let rests = plan.status.is_none() && plan.create.is_empty() && plan.delete.is_empty();
            if rests && self.truth.news.is_empty() {
                self.check();
                return;
            }
        }
        panic!("the controller never rests");
    }

    /// What the next pass must count.
    fn tell(&mut self) {
        // Scaled down and up again between two looks is as if nothing happened.
        if let Some(completions) = self.job.spec.completions {
            self.truth.successes.retain(|&index, _| index == u32::MAX || index < completions);
            self.truth.failures.retain(|&index, _| index == u32::MAX || index < completions);
        }
        for (at, end) in std::mem::take(&mut self.truth.news) {
            if self.truth.decided.remove(&at) || !self.has_place(at) || end == End::Released {
                continue;
            }
            if end == End::Exit(0) {
                self.truth.succeeded += 1;
                *self.truth.successes.entry(at.0).or_default() += 1;
            } else if !(end == End::Exit(IGNORED_EXIT) && self.job.spec.pod_failure_policy.is_some()) {
                self.truth.failed += 1;
                *self.truth.failures.entry(at.0).or_default() += 1;
            }
        }
        if !self.replaces_only_failed() {
            let deleting: Vec<_> =
                self.job.active.iter().filter(|(_, pod)| pod.deleting).map(|(&at, _)| at).collect();
            for at in deleting {
                if self.truth.decided.insert(at) && self.has_place(at) {
                    self.truth.failed += 1;
                    *self.truth.failures.entry(at.0).or_default() += 1;
                }
            }
        }
    }

    /// The pods that the controller deleted are decided; those of a failing Job failed.
    fn learn_deletions(&mut self) {
        for &(uid, cause) in &self.job.deleted[self.truth.deletions_seen..] {
            let at = ((uid.0 >> 32) as u32, uid.0 as u32);
            self.truth.decided.insert(at);
            if matches!(cause, StopCause::JobFailed | StopCause::JobDeadline) && self.has_place(at) {
                self.truth.failed += 1;
            }
            if !self.job.active.contains_key(&at) {
                self.truth.news.push((at, End::Removed));
            }
        }
        self.truth.deletions_seen = self.job.deleted.len();
        if self.job.conditions().iter().any(|c| c.starts_with("SuccessCriteriaMet")) {
            self.truth.decided.extend(self.job.active.keys());
        }
    }

    fn check_creations(&self, before: usize) {
        let job = &self.job;
        let new = &job.created[before..];
        if new.is_empty() {
            return;
        }
        assert!(!job.spec.suspend);
        let terminating =
            if self.replaces_only_failed() { job.active.len() - job.running().len() } else { 0 };
        let most = job.spec.parallelism.unwrap_or(1) as usize;
        assert!(job.running().len() + terminating <= most, "more than {most} pods");
        for pod in new {
            let Some(index) = pod.index else { continue };
            assert!(self.has_place(key(pod.index, pod.attempt)));
            assert!(
                !self.truth.successes.contains_key(&index),
                "index {index} starts again after its success"
            );
            let alike =
                job.active.values().filter(|other| other.index == pod.index && !other.deleting).count();
            assert_eq!(alike, 1, "two pods of index {index}");
            if let Some(limit) = job.spec.backoff_limit_per_index {
                let failures = self.truth.failures.get(&index).copied().unwrap_or(0);
                assert!(failures <= limit, "index {index} starts again after {failures} failures");
                assert_eq!(pod.failure_count, failures);
            }
        }
    }

    fn check(&self) {
        let (job, status) = (&self.job, &self.job.status);
        let running = job.running().len();
        // A work queue that had its first success is left to itself (as in Kubernetes).
        let left_alone = job.spec.completions.is_none() && status.succeeded > 0;
        let most = job.spec.parallelism.unwrap_or(1) as usize;
        assert!(running <= most || left_alone, "parallelism exceeded");
        assert_eq!(status.active as usize, running);
        assert_eq!(status.terminating as usize, job.active.len() - running);
        let ready = job.active.values().filter(|pod| pod.ready && !pod.deleting).count();
        assert_eq!(status.ready as usize, ready);
        assert_eq!(status.failed, self.truth.failed);
        if self.indexed() {
            let completed: Vec<u32> = self.truth.successes.keys().copied().collect();
            let recorded: Vec<u32> = (0..64).filter(|&i| status.completed_indexes.contains(i)).collect();
            assert_eq!(recorded, completed);
            assert!(self.truth.successes.values().all(|&times| times == 1), "an index succeeded twice");
            assert_eq!(u64::from(status.succeeded), status.completed_indexes.len());
            assert_eq!(status.completed_indexes.intersection_len(&status.failed_indexes), 0);
        } else {
            assert_eq!(status.succeeded, self.truth.succeeded);
        }
        let failing = job.conditions().iter().any(|c| c.starts_with("FailureTarget"));
        if let Some(limit) = job.spec.backoff_limit {
            let succeeding = job.conditions().iter().any(|c| c.starts_with("SuccessCriteriaMet"));
            assert!(failing || succeeding || status.failed <= limit, "beyond backoffLimit");
        }
        if status.is_finished().is_some() {
            assert!(job.active.is_empty(), "finished with pods");
            return;
        }
        let idle = job.spec.suspend || job.spec.parallelism == Some(0);
        assert!(
            idle || !job.active.is_empty() || job.wake_at.is_some_and(|at| at > job.now),
            "stuck: {status:?}"
        );
    }

    /// With a node that lets every pod succeed the Job finishes.
    fn finish(&mut self) {
        self.job.spec.suspend = false;
        self.job.spec.parallelism = self.job.spec.parallelism.map(|n| n.max(1));
        for _ in 0..200 {
            self.look();
            if self.job.status.is_finished().is_some() {
                return;
            }
            let pods: Vec<_> = self.job.active.keys().copied().collect();
            for &at in &pods {
                self.end(at, End::Exit(0));
            }
            if let (true, Some(at)) = (pods.is_empty(), self.job.wake_at) {
                self.job.now = self.job.now.max(at);
            }
        }
        panic!("never finishes: {:?}", self.job.status);
    }
}
