//! What a controller tells people beside its plan: becomes an Event of the object.

/// The `type` of an Event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    Normal,
    Warning,
}

/// An Event to be recorded about the object that was reconciled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedEvent {
    pub kind: EventKind,
    /// Kubernetes' own reason wherever it has one: `SuccessfulCreate`.
    pub reason: &'static str,
    pub message: String,
}

impl PlannedEvent {
    pub fn normal(reason: &'static str, message: impl Into<String>) -> PlannedEvent {
        PlannedEvent { kind: EventKind::Normal, reason, message: message.into() }
    }

    pub fn warning(reason: &'static str, message: impl Into<String>) -> PlannedEvent {
        PlannedEvent { kind: EventKind::Warning, reason, message: message.into() }
    }
}
