//! Events. Those of the old form are hardly checked, as in Kubernetes.

use super::at::At;
use super::findings::Findings;
use crate::name;

const TEXT_BYTES_MAX: usize = 128;
const MESSAGE_BYTES_MAX: usize = 1024;

pub(super) fn check(f: &mut Findings, event: &At<'_, '_>) {
    let metadata = event.field("metadata");
    let involved = event.field("involvedObject");
    let (own, its) = (metadata.field("namespace"), involved.field("namespace"));
    let agrees = match its.text() {
        // The events of what has no namespace.
        "" => matches!(own.text(), "default" | "kube-system"),
        namespace => own.text() == namespace,
    };
    if !agrees {
        f.invalid_text(&its, its.text(), "does not match event.namespace");
    }
    if !event.field("eventTime").is_set() {
        return;
    }
    let controller = event.field("reportingComponent");
    if f.present(&controller) {
        f.all_invalid(&controller, name::qualified(controller.text()));
    }
    for field in ["reportingInstance", "action", "reason"] {
        let field = event.field(field);
        if f.present(&field) && field.text().len() > TEXT_BYTES_MAX {
            f.invalid(&field, format_args!("can have at most {TEXT_BYTES_MAX} characters"));
        }
    }
    let message = event.field("message");
    if message.text().len() > MESSAGE_BYTES_MAX {
        f.invalid(&message, format_args!("can have at most {MESSAGE_BYTES_MAX} characters"));
    }
}
