//! Who asks registries for signatures: some threads, of which one registry holds up one at most, within a time.
//!
//! ```text
//!   Thread ── ask ──▶ waiting ──▶ thread, thread, …   each with another registry
//!                                   │ what is attached, verified ──▶ Known, and the agent hears of it
//! ```

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Threads that wait for registries most of the time.
pub(super) const THREADS: usize = 4;

/// Gives tasks to threads; they end with it.
pub(super) struct Registries<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    /// With the registry that each is for.
    waiting: VecDeque<(String, T)>,
    busy: HashSet<String>,
    has_ended: bool,
}

impl<T: Send + 'static> Registries<T> {
    /// `work` is done with each task.
    pub(super) fn start(
        threads: usize,
        work: impl Fn(T) + Send + Sync + 'static,
    ) -> std::io::Result<Registries<T>> {
        let state = State { waiting: VecDeque::new(), busy: HashSet::new(), has_ended: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let registries = Registries { shared: shared.clone() };
        let work = Arc::new(work);
        for number in 0..threads {
            let (shared, work) = (shared.clone(), work.clone());
            let name = format!("images-ask-{number}");
            std::thread::Builder::new().name(name).spawn(move || shared.run(&*work))?;
        }
        Ok(registries)
    }

    pub(super) fn ask(&self, registry: &str, task: T) {
        self.shared.state().waiting.push_back((registry.to_owned(), task));
        self.shared.changed.notify_all();
    }
}

impl<T> Drop for Registries<T> {
    fn drop(&mut self) {
        self.shared.state().has_ended = true;
        self.shared.changed.notify_all();
    }
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, work: &dyn Fn(T)) {
        loop {
            let mut state = self.state();
            let (registry, task) = loop {
                if state.has_ended {
                    return;
                }
                let State { waiting, busy, .. } = &mut *state;
                let next = waiting.iter().position(|(registry, _)| !busy.contains(registry));
                if let Some(next) = next.and_then(|next| waiting.remove(next)) {
                    break next;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            };
            state.busy.insert(registry.clone());
            drop(state);
            work(task);
            self.state().busy.remove(&registry);
            self.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    #[test]
    fn a_registry_that_does_not_answer_holds_up_its_own_alone() {
        let (done, answers) = channel();
        let registries = Registries::start(2, move |(name, wait): (&str, Option<Receiver<()>>)| {
            if let Some(wait) = wait {
                wait.recv().unwrap();
            }
            done.send(name).unwrap();
        })
        .unwrap();
        let (let_go, wait) = channel();
        registries.ask("slow", ("slow 1", Some(wait)));
        registries.ask("slow", ("slow 2", None));
        registries.ask("other", ("other", None));
        assert_eq!(answers.recv(), Ok("other"));
        let_go.send(()).unwrap();
        assert_eq!([answers.recv(), answers.recv()], [Ok("slow 1"), Ok("slow 2")]);
        // Its threads end with it, and with them what they work with.
        drop(registries);
        assert!(answers.recv().is_err());
    }
}
