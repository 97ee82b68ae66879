//! What goes wrong with a log while its container runs on, as an Event that people see.

use watchbell_api::Uid;
use watchbell_sandbox::{ContainerId, LogTrouble};

use super::Agent;
use super::spec::container_at;

impl Agent {
    pub(super) fn log_trouble(&mut self, id: ContainerId, trouble: &LogTrouble) {
        let Some(pod) = self.pods.get(&Uid(id.pod_uid)) else { return };
        if !pod.is_present(id) {
            return;
        }
        let name = &container_at(&pod.assignment.spec, usize::from(id.container)).name;
        let (warning, reason, message) = match trouble {
            LogTrouble::Lost { cause } => {
                let message =
                    format!("Container {name}: its log cannot be written, and loses lines: {cause}");
                (true, "LogLost", message)
            }
            LogTrouble::Held => {
                let message = format!(
                    "Container {name} prints faster than its log takes (serve --log-rate) and waits for it; nothing is lost"
                );
                (false, "LogRateLimited", message)
            }
        };
        let effect = pod.speaks(warning).then(|| pod.event(warning, reason, message));
        self.effects.extend(effect);
    }
}
