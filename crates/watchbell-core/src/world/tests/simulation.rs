//! Whole lives of a server and its node, from a seed: clients that change their minds, tasks that fail and dawdle, kills
//! between any two steps, full disks, clocks that jump. After each commit the laws are checked; at the end chaos ceases
//! and everything must come to its end.
//!
//! ```text
//!   clients ─▶ world ─▶ stage ─▶ journal ─▶ commands ─▶ node
//!                │         │         │           │         │
//!                ✗         ✗         ✗           ✗         ✗      killed here, and read back from the journal
//! ```
//!
//! A failing seed is printed. `WATCHBELL_SIMULATION_SEED=<seed> cargo test -p watchbell-core simulated_lives` plays it alone.

mod chaos;
mod laws;
mod specs;
mod worker;

use jiff::Timestamp;
use std::panic::{AssertUnwindSafe, catch_unwind};

use watchbell_api::Resource;
use watchbell_api::node::Report;

use self::laws::Laws;
use self::worker::Worker;
use super::{Bench, config};
use crate::world::Stored;

const SEEDS: u64 = 50;
const STEPS: usize = 160;

#[test]
fn simulated_lives() {
    match variable("WATCHBELL_SIMULATION_SEED") {
        Some(seed) => live(seed),
        None => live_all(0..SEEDS),
    }
}

/// Hours of it: `WATCHBELL_SIMULATION_FIRST` and `WATCHBELL_SIMULATION_SEEDS` say which.
#[test]
#[ignore = "a soak"]
fn many_simulated_lives() {
    let first = variable("WATCHBELL_SIMULATION_FIRST").unwrap_or(1_000_000);
    live_all(first..first + variable("WATCHBELL_SIMULATION_SEEDS").unwrap_or(2_000));
}

#[expect(clippy::disallowed_methods, reason = "a test may be told which seed to play")]
fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn live_all(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        if catch_unwind(AssertUnwindSafe(|| live(seed))).is_err() {
            panic!(
                "seed {seed} fails; replay it with \
                 WATCHBELL_SIMULATION_SEED={seed} cargo test -p watchbell-core simulated_lives"
            );
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

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize].clone()
    }
}

struct Life {
    random: Random,
    bench: Bench,
    worker: Worker,
    laws: Laws,
    /// How many objects were made: no name is used twice.
    made: u32,
}

fn live(seed: u64) {
    let mut random = Random(seed);
    let mut machine = config(1);
    machine.capacity.pods = 4 + random.below(12) as u32;
    machine.devices = specs::toys(|_| true);
    let mut bench = Bench::with(machine);
    // The clock of the machine was somewhere near a change of daylight-saving time.
    bench.now = random.pick(&[1_774_746_000, 1_793_509_200, 1_793_498_400, 1_775_310_000]) - 1_800
        + random.below(3_600) as i64;
    bench.settle();
    let laws = Laws::of(&bench);
    let mut life = Life { random, bench, worker: Worker::default(), laws, made: 0 };
    for _ in 0..STEPS {
        life.step();
    }
    life.come_to_an_end();
}

impl Life {
    /// One batch as the server makes it; any step of it may be the server's last.
    fn batch(&mut self) {
        let at = self.bench.at();
        self.bench.world.settle(at);
        if self.random.one_in(25) {
            return self.kill_server();
        }
        let stage = self.bench.world.take_stage(at);
        if self.random.one_in(25) {
            // The disk is full. The server tells what it heard of the node again.
            self.bench.world.rollback(at);
            self.bench.check();
            self.worker.resend();
            return;
        }
        if self.random.one_in(25) {
            return self.kill_server();
        }
        self.bench.journal.commit(&stage, self.bench.world.resource_version());
        self.laws.follow(&stage);
        if self.random.one_in(25) {
            // Durable, and nobody was told.
            return self.kill_server();
        }
        self.bench.world.committed();
        self.bench.check();
        self.laws.check(&self.bench, &self.worker);
        self.worker.obey(&stage.commands, self.bench.now, &mut self.random);
        self.laws.check_node(&self.bench, &self.worker);
    }

    fn kill_server(&mut self) {
        self.bench.crash();
        self.worker.lose_messages();
        let commands = self.bench.world.node_sync();
        self.worker.obey(&commands, self.bench.now, &mut self.random);
        self.laws.check_node(&self.bench, &self.worker);
        self.worker.resend();
    }

    /// Hands over what the node has said, some of it late and twice.
    fn deliver(&mut self) {
        let at = self.bench.at();
        for report in self.worker.messages(&mut self.random) {
            self.bench.world.report(report, at);
        }
    }

    /// Chaos ceases: everybody is fair from here on, and what can end must end.
    fn come_to_an_end(&mut self) {
        self.worker.fair = true;
        self.let_go();
        self.bench.world.report(Report::Devices { pools: specs::toys(|_| true) }, self.bench.at());
        let deadline = self.bench.now + 4 * 86_400;
        loop {
            let at = self.bench.at();
            for report in self.worker.all_messages() {
                self.bench.world.report(report, at);
            }
            let snapshot = self.bench.world.snapshot();
            let is_missing = |resource, count| snapshot.count(resource) < count;
            if is_missing(Resource::PersistentVolumeClaim, specs::CLAIMS.len())
                || is_missing(Resource::DataArray, 1)
                || is_missing(Resource::RoleBinding, 1)
            {
                // One that was being deleted went; there are pods that wait for it.
                self.make_claims();
            }
            self.bench.world.settle(at);
            let stage = self.bench.world.take_stage(at);
            self.bench.journal.commit(&stage, self.bench.world.resource_version());
            self.laws.follow(&stage);
            self.bench.world.committed();
            self.laws.check(&self.bench, &self.worker);
            self.worker.obey(&stage.commands, self.bench.now, &mut self.random);
            let wake_at = self.bench.world.wake_at().map(Timestamp::as_second);
            let next = [wake_at, self.worker.next_at()].into_iter().flatten().min();
            match next {
                Some(next) if next <= deadline => {
                    self.bench.now = self.bench.now.max(next);
                    self.worker.work(self.bench.now);
                }
                _ => break,
            }
            if self.everything_ended() {
                break;
            }
        }
        self.check_end();
        self.bench.settle();
        super::replay::check_replay(&mut self.bench);
    }

    fn everything_ended(&self) -> bool {
        let snapshot = self.bench.world.snapshot();
        snapshot.list(Resource::Job, None, None).all(|job| is_finished(job))
            && snapshot.list(Resource::Pod, None, None).all(|pod| has_ended(pod))
            && [Resource::PersistentVolumeClaim, Resource::DataArray, Resource::Namespace]
                .into_iter()
                .all(|resource| snapshot.list(resource, None, None).all(|object| object.deletion.is_none()))
    }

    fn check_end(&self) {
        let snapshot = self.bench.world.snapshot();
        for object in
            Resource::all().flat_map(|resource| snapshot.list(resource, None, None).collect::<Vec<_>>())
        {
            let whole = || format!("{:#}", object.render());
            assert!(object.deletion.is_none(), "deletion goes on for ever: {}", whole());
            match object.resource {
                Resource::Job => assert!(is_finished(object), "stuck for ever: {}", whole()),
                Resource::Pod => assert!(has_ended(object), "a pod runs for ever: {}", whole()),
                _ => {}
            }
        }
        assert!(self.worker.is_idle(), "the node holds what nobody knows of: {:?}", self.worker);
    }
}

fn is_finished(job: &Stored) -> bool {
    job.job_status().is_some_and(|status| status.is_finished().is_some())
}

fn has_ended(pod: &Stored) -> bool {
    pod.pod_status().is_some_and(|status| status.phase.is_terminal())
}
