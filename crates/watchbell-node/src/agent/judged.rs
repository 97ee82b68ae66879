//! What policies say of an image before a container is made of it.

use std::sync::Arc;

use watchbell_api::Uid;
use watchbell_api::image::ImageJudged;
use watchbell_api::node::Report;
use watchbell_core::pod::State;

use super::create::pull_secrets;
use super::pod::Pod;
use super::spec::container_at;
use super::{Agent, Effect, Now};
use crate::examine::{Judgement, Question};
use crate::image::Prepared;

/// The reason of a container that waits because its image is refused. kubelet has no word for it; the event has the same.
const VIOLATION: &str = "ImagePolicyViolation";
/// The same of one that waits because too many others of its namespace do.
const PENDING: &str = "ImagePolicyPending";
const TOO_MANY: &str =
    "very many images of this namespace wait to be looked at: this one is asked about again later";
/// Of a status.
const MESSAGE_BYTES_MAX: usize = 2048;

impl Agent {
    /// Whether the container may start. Otherwise it is blocked, or waits for an answer.
    pub(super) fn is_let_in(&mut self, pod: &mut Pod, ordinal: usize, image: &Prepared, now: Now) -> bool {
        let container = container_at(&pod.assignment.spec, ordinal);
        let name: Arc<str> = Arc::from(&*container.image);
        let site = &self.site;
        let judged =
            site.gate.judge(&pod.assignment.namespace, &container.name, &name, image, now.wall, || {
                pull_secrets(site, &pod.assignment)
            });
        if let Some(facts) = judged.facts {
            let namespace = pod.assignment.namespace.clone();
            let report = Report::Image { namespace, image: name, facts, users: Vec::new() };
            self.effects.push(Effect::Report(report));
        }
        match judged.judgement {
            Judgement::Starts(told) => {
                if let Some(told) = told {
                    self.tell_judged(pod, *told);
                }
                true
            }
            Judgement::Refused(told) => {
                let reasons = told.reasons.iter().map(|reason| &*reason.message);
                let mut message = reasons.collect::<Vec<&str>>().join("; ");
                message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
                self.tell_judged(pod, *told);
                pod.back_off(ordinal, VIOLATION, message, now);
                false
            }
            Judgement::Asks(question) => {
                self.ask(question, (pod.assignment.uid, ordinal));
                false
            }
        }
    }

    fn tell_judged(&mut self, pod: &Pod, judged: ImageJudged) {
        if self.runs.get(pod.run()).is_some_and(|run| run.is_news(&judged)) {
            let uid = pod.assignment.uid;
            self.effects.push(Effect::Report(Report::ImageJudged { uid, judged: Box::new(judged) }));
        }
    }

    /// Who asks the same as another waits with it.
    fn ask(&mut self, question: Question, waiter: (Uid, usize)) {
        let same = self.questions.values_mut().find(|(asked, _)| {
            let credentials = |of: &Question| of.credentials.as_ref().map(|secret| secret.0.clone());
            (&asked.namespace, &asked.digest, &asked.image, &asked.needs)
                == (&question.namespace, &question.digest, &question.image, &question.needs)
                && credentials(asked) == credentials(&question)
        });
        if let Some((_, waiters)) = same {
            waiters.push(waiter);
            return;
        }
        let id = self.next_question;
        self.next_question += 1;
        self.questions.insert(id, (question.clone(), vec![waiter]));
        self.effects.push(Effect::Examine { id, question });
    }

    pub(super) fn examined(&mut self, id: u64, now: Now) {
        let Some((_, waiters)) = self.questions.remove(&id) else { return };
        for (uid, ordinal) in waiters {
            let Some(mut pod) = self.pods.remove(&uid) else { continue };
            if matches!(pod.life.containers[ordinal].state, State::Preparing) {
                self.create(&mut pod, ordinal, now);
            }
            self.pods.insert(uid, pod);
            self.touch(uid);
        }
    }

    /// The question is asked again after a while.
    pub(super) fn turned_away(&mut self, id: u64, now: Now) {
        let Some((_, waiters)) = self.questions.remove(&id) else { return };
        for (uid, ordinal) in waiters {
            let Some(pod) = self.pods.get_mut(&uid) else { continue };
            pod.back_off(ordinal, PENDING, TOO_MANY.to_owned(), now);
            self.touch(uid);
        }
    }

    pub(super) fn policies_changed(&mut self, now: Now) {
        self.judge_again(now);
        self.effects.push(Effect::LookOver);
    }

    /// Who was refused looks again now, not when its back-off ends.
    pub(super) fn judge_again(&mut self, now: Now) {
        let mut waiting = Vec::new();
        for (uid, pod) in &mut self.pods {
            if pod.life.look_again(now.mono) {
                waiting.push(*uid);
            }
        }
        for uid in waiting {
            self.touch(uid);
        }
    }
}
