//! Who else starts as many processes, and what one batch of each took.

pub(crate) mod alone;
pub(crate) mod holder;
pub(crate) mod marks;
pub(crate) mod oci;
pub(crate) mod services;
pub(crate) mod tree;

use marks::{Marks, Seen};
use tree::Sampler;

/// One batch of one contender.
pub(crate) struct Batch {
    pub(crate) count: usize,
    pub(crate) wall_ms: f64,
    pub(crate) cpu_ms: f64,
    /// From due to the task's first instruction; fewer than tasks when the kernel's events were not to be had.
    pub(crate) latencies_ms: Vec<f64>,
    pub(crate) peak_kib: u64,
}

impl Batch {
    pub(crate) fn rate(&self) -> f64 {
        self.count as f64 / self.wall_ms * 1e3
    }

    pub(crate) fn cpu_a_task(&self) -> f64 {
        self.cpu_ms / self.count as f64
    }
}

/// What a contender says of a batch.
pub(crate) struct Took {
    /// `None` when its clients only ask now and then whether all has ended: then the kernel's word of the last end counts.
    pub(crate) wall_ms: Option<f64>,
    pub(crate) cpu_ms: f64,
}

/// Runs `work` and looks at the processes below `roots` and at the tasks meanwhile.
pub(crate) fn measured(
    name: &str,
    roots: Vec<u32>,
    count: usize,
    at_once: usize,
    work: impl FnOnce() -> Result<Took, String>,
) -> Result<Batch, String> {
    let marks = Marks::listen(name).ok();
    let sampler = Sampler::start(roots);
    let asked_at = marks::now_ns();
    let outcome = work();
    let peak_kib = sampler.peak_kib();
    let seen = marks.map_or_else(Seen::default, Marks::take);
    let took = outcome?;
    let last = seen.ended.last().filter(|_| seen.ended.len() == count);
    let by_kernel = last.map(|at| at.saturating_sub(asked_at) as f64 / 1e6);
    let wall_ms = took.wall_ms.or(by_kernel).ok_or("the kernel's process events were not to be had")?;
    let latencies_ms = seen.latencies_ms(asked_at, at_once);
    Ok(Batch { count, wall_ms, cpu_ms: took.cpu_ms, latencies_ms, peak_kib })
}

/// The value below which a share of all lie.
pub(crate) fn quantile(values: &mut [f64], share: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    values.get((last as f64 * share).round() as usize).copied()
}
