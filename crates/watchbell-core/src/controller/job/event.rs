//! How the controller words what it did to pods. Names exist only once the pods do, so the caller asks for these.
//!
//! Kubernetes writes one event a pod. Here more than [`PODS_TOLD`] pods of one pass share one event, because the events
//! of an array of thousands would push every other one out.

use crate::controller::event::PlannedEvent;
use crate::index_set::IndexSet;

/// Up to this many pods a pass have an event each.
const PODS_TOLD: usize = 10;

/// Events for the pods that a pass created, by index and name.
pub fn pods_created(pods: &[(Option<u32>, &str)]) -> Vec<PlannedEvent> {
    told(pods, "SuccessfulCreate", "Created")
}

/// Events for the pods that a pass deleted.
pub fn pods_deleted(pods: &[(Option<u32>, &str)]) -> Vec<PlannedEvent> {
    told(pods, "SuccessfulDelete", "Deleted")
}

fn told(pods: &[(Option<u32>, &str)], reason: &'static str, verb: &str) -> Vec<PlannedEvent> {
    if pods.len() <= PODS_TOLD {
        return pods
            .iter()
            .map(|(_, name)| PlannedEvent::normal(reason, format!("{verb} pod: {name}")))
            .collect();
    }
    let count = pods.len();
    let indexes: IndexSet = pods.iter().filter_map(|&(index, _)| index).collect();
    let message = if indexes.is_empty() {
        format!("{verb} {count} pods")
    } else {
        format!("{verb} {count} pods for indexes {}", shortened(&indexes))
    };
    vec![PlannedEvent::normal(reason, message)]
}

/// Kubernetes bounds an event's message at 1 kB.
fn shortened(indexes: &IndexSet) -> String {
    const ROOM: usize = 900;
    let mut text = indexes.to_string();
    if text.len() > ROOM {
        let end = text[..ROOM].rfind(',').unwrap_or(ROOM);
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{pods_created, pods_deleted};

    #[test]
    fn few_pods_are_named_many_are_counted() {
        let one = pods_created(&[(Some(3), "train-3-x7gk2")]);
        assert_eq!(one[0].message, "Created pod: train-3-x7gk2");
        assert_eq!(one[0].reason, "SuccessfulCreate");
        let many: Vec<_> = (0..36).map(|i| (Some(i), "p")).collect();
        let events = pods_created(&many);
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].message, "Created 36 pods for indexes 0-35");
        let unindexed: Vec<_> = (0..11).map(|_| (None, "p")).collect();
        assert_eq!(pods_deleted(&unindexed)[0].message, "Deleted 11 pods");
        let scattered: Vec<_> = (0..500).map(|i| (Some(i * 3), "p")).collect();
        let message = &pods_created(&scattered)[0].message;
        assert!(message.len() < 1000 && message.ends_with('…'), "{message}");
    }
}
