//! Who asks registries for signatures: some threads, of which one registry holds up one at most, within a time.
//!
//! ```text
//!   Thread ── ask ──▶ waiting ──▶ thread, thread, …   each with another registry
//!                                   │ what is attached, verified ──▶ Known, and the agent hears of it
//! ```

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Threads that wait for registries most of the time.
pub(super) const THREADS: usize = 4;

/// Of them, those that one namespace has at a time: it may name any number of registries that do not answer.
const THREADS_A_NAMESPACE: usize = 2;

/// Gives tasks to threads; they end with it.
pub(super) struct Registries<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    waiting: VecDeque<(Whose, T)>,
    /// Whose tasks the threads are at.
    busy: Vec<Whose>,
    has_ended: bool,
}

/// The registry that a task is for, and the namespace that asks.
#[derive(Clone, PartialEq, Eq)]
struct Whose {
    registry: String,
    namespace: Arc<str>,
}

impl Whose {
    /// Whether a thread may begin with it.
    fn may_begin(&self, busy: &[Whose]) -> bool {
        let of_namespace = busy.iter().filter(|other| other.namespace == self.namespace).count();
        of_namespace < THREADS_A_NAMESPACE && busy.iter().all(|other| other.registry != self.registry)
    }
}

impl<T: Send + 'static> Registries<T> {
    /// `work` is done with each task.
    pub(super) fn start(
        threads: usize,
        work: impl Fn(T) + Send + Sync + 'static,
    ) -> std::io::Result<Registries<T>> {
        let state = State { waiting: VecDeque::new(), busy: Vec::new(), has_ended: false };
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

    pub(super) fn ask(&self, registry: &str, namespace: Arc<str>, task: T) {
        let whose = Whose { registry: registry.to_owned(), namespace };
        self.shared.state().waiting.push_back((whose, task));
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
            let (whose, task) = loop {
                if state.has_ended {
                    return;
                }
                let State { waiting, busy, .. } = &mut *state;
                let next = waiting.iter().position(|(whose, _)| whose.may_begin(busy));
                if let Some(next) = next.and_then(|next| waiting.remove(next)) {
                    break next;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            };
            state.busy.push(whose.clone());
            drop(state);
            work(task);
            let busy = &mut self.state().busy;
            let at = busy.iter().position(|other| *other == whose);
            at.map(|at| busy.swap_remove(at));
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
        registries.ask("slow", "ns".into(), ("slow 1", Some(wait)));
        registries.ask("slow", "ns".into(), ("slow 2", None));
        registries.ask("other", "ns".into(), ("other", None));
        assert_eq!(answers.recv(), Ok("other"));
        let_go.send(()).unwrap();
        assert_eq!([answers.recv(), answers.recv()], [Ok("slow 1"), Ok("slow 2")]);
        // Its threads end with it, and with them what they work with.
        drop(registries);
        assert!(answers.recv().is_err());
    }

    #[test]
    fn a_namespace_leaves_threads_to_the_others() {
        let (done, answers) = channel();
        let registries = Registries::start(THREADS, move |(name, wait): (u16, Option<Receiver<()>>)| {
            if let Some(wait) = wait {
                // Until the test lets go.
                let _ = wait.recv();
            }
            done.send(name).unwrap();
        })
        .unwrap();
        // One host under very many ports, none of which answers.
        let let_go: Vec<_> = (0..20)
            .map(|port| {
                let (let_go, wait) = channel();
                registries.ask(&format!("evil:{port}"), "evil".into(), (port, Some(wait)));
                let_go
            })
            .collect();
        registries.ask("good", "team".into(), (100, None));
        assert_eq!(answers.recv(), Ok(100));
        drop(let_go);
        let mut rest: Vec<u16> = answers.iter().take(20).collect();
        rest.sort_unstable();
        assert_eq!(rest, (0..20).collect::<Vec<u16>>());
    }
}
