use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Error;

/// Does `count` things on a few threads and gives back what came of each, in order. The first error ends it.
pub(crate) fn in_parallel<T: Send>(
    count: usize,
    work: impl Fn(usize) -> Result<T, Error> + Sync,
) -> Result<Vec<T>, Error> {
    /// Fewer things are not worth a thread.
    const EACH: usize = 32;
    const MAX_THREADS: usize = 8;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    on_threads((count / EACH).clamp(1, cores.min(MAX_THREADS)), count, work)
}

/// The same where most of the time is waiting for another machine.
pub(crate) fn at_once<T: Send>(
    count: usize,
    work: impl Fn(usize) -> Result<T, Error> + Sync,
) -> Result<Vec<T>, Error> {
    const MAX_THREADS: usize = 16;
    on_threads(count.clamp(1, MAX_THREADS), count, work)
}

fn on_threads<T: Send>(
    threads: usize,
    count: usize,
    work: impl Fn(usize) -> Result<T, Error> + Sync,
) -> Result<Vec<T>, Error> {
    if threads == 1 {
        return (0..count).map(work).collect();
    }
    let part = count.div_ceil(threads);
    let (work, is_over) = (&work, &AtomicBool::new(false));
    // A thread that finds that it is over has done a part of its part; the error of another says so.
    let share = move |things: Range<usize>| {
        let mut done = Vec::with_capacity(things.len());
        for at in things {
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            done.push(work(at).inspect_err(|_| is_over.store(true, Ordering::Relaxed))?);
        }
        Ok(done)
    };
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || share(thread * part..((thread + 1) * part).min(count))))
            .collect();
        let (mut all, mut failed) = (Vec::with_capacity(count), None);
        for handle in handles {
            match handle.join() {
                Ok(Ok(done)) => all.extend(done),
                Ok(Err(error)) => failed = failed.or(Some(error)),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        failed.map_or(Ok(all), Err)
    })
}
