//! Threads that do tasks by turns, so that neither a namespace nor a registry that does not answer holds up the others.
//!
//! ```text
//!   ask ──▶ Turns ──▶ thread, thread, …   each with a task of another key
//! ```

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::turns::{Hold, Turns, Urgency};

/// Gives tasks to threads; they end with it.
pub(crate) struct Crew<T> {
    shared: Arc<Shared<T>>,
}

/// How many threads there are, and how many of them one namespace has at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub threads: usize,
    pub each: usize,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    turns: Turns<T>,
    has_ended: bool,
}

impl<T: Send + 'static> Crew<T> {
    /// `work` is done with each task.
    pub(crate) fn start(
        name: &str,
        size: Size,
        work: impl Fn(T) + Send + Sync + 'static,
    ) -> std::io::Result<Crew<T>> {
        let state = State { turns: Turns::of(size.each), has_ended: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let crew = Crew { shared: shared.clone() };
        let work = Arc::new(work);
        for number in 0..size.threads {
            let (shared, work) = (shared.clone(), work.clone());
            std::thread::Builder::new().name(format!("{name}-{number}")).spawn(move || shared.run(&*work))?;
        }
        Ok(crew)
    }

    /// Gives the task back where too many of its namespace wait.
    pub(crate) fn ask(&self, urgency: Urgency, whose: &Arc<str>, key: &str, task: T) -> Result<(), T> {
        let hold = Hold { whose: whose.clone(), key: key.into() };
        self.shared.state().turns.push(urgency, hold, task)?;
        self.shared.changed.notify_all();
        Ok(())
    }

    /// Forgets all that nobody waits for.
    pub(crate) fn forget_later(&self) {
        self.shared.state().turns.forget_later();
    }
}

impl<T> Drop for Crew<T> {
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
            let (hold, task) = loop {
                if state.has_ended {
                    return;
                }
                if let Some(next) = state.turns.next() {
                    break next;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            };
            drop(state);
            work(task);
            self.state().turns.done(&hold);
            self.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    /// A thread that never answers fails the test instead of holding it up for ever.
    const LONG: std::time::Duration = std::time::Duration::from_secs(60);

    #[test]
    fn a_registry_that_does_not_answer_holds_up_its_own_alone() {
        let (done, answers) = channel();
        let size = Size { threads: 2, each: 2 };
        let crew = Crew::start("ask", size, move |(name, wait): (&str, Option<Receiver<()>>)| {
            if let Some(wait) = wait {
                wait.recv().unwrap();
            }
            done.send(name).unwrap();
        })
        .unwrap();
        let (let_go, wait) = channel();
        let ask = |key: &str, task| crew.ask(Urgency::Now, &"ns".into(), key, task).unwrap();
        ask("slow", ("slow 1", Some(wait)));
        ask("slow", ("slow 2", None));
        ask("other", ("other", None));
        assert_eq!(answers.recv_timeout(LONG), Ok("other"));
        let_go.send(()).unwrap();
        assert_eq!([answers.recv_timeout(LONG), answers.recv_timeout(LONG)], [Ok("slow 1"), Ok("slow 2")]);
        // Its threads end with it, and with them what they work with.
        drop(crew);
        assert!(answers.recv().is_err());
    }

    #[test]
    fn a_namespace_leaves_threads_to_the_others() {
        let (done, answers) = channel();
        let size = Size { threads: 4, each: 2 };
        let crew = Crew::start("ask", size, move |(name, wait): (u16, Option<Receiver<()>>)| {
            if let Some(wait) = wait {
                // Until the test lets go.
                let _ = wait.recv();
            }
            done.send(name).unwrap();
        })
        .unwrap();
        let ask = |whose: &str, key: &str, task| crew.ask(Urgency::Now, &whose.into(), key, task).unwrap();
        // One host under very many ports, none of which answers.
        let let_go: Vec<_> = (0..20)
            .map(|port| {
                let (let_go, wait) = channel();
                ask("evil", &format!("evil:{port}"), (port, Some(wait)));
                let_go
            })
            .collect();
        ask("team", "good", (100, None));
        assert_eq!(answers.recv_timeout(LONG), Ok(100));
        drop(let_go);
        let mut rest: Vec<u16> = answers.iter().take(20).collect();
        rest.sort_unstable();
        assert_eq!(rest, (0..20).collect::<Vec<u16>>());
    }
}
