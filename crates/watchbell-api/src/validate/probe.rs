//! Probes and lifecycle hooks.

use super::at::At;
use super::findings::Findings;
use super::pod::Context;
use crate::name;

/// What is said of the life of a container that runs beside others.
pub(super) fn life(f: &mut Findings, container: &At<'_, '_>, context: &Context<'_>) {
    let lifecycle = container.field("lifecycle");
    for hook in ["postStart", "preStop"] {
        let hook = lifecycle.field(hook);
        if hook.is_set() {
            handler(f, &hook, &["exec", "httpGet", "tcpSocket", "sleep"], context);
        }
    }
    let signal = lifecycle.field("stopSignal");
    if signal.is_set() {
        if context.os.is_empty() {
            f.forbidden(&signal, "may not be set for containers with empty `spec.os.name`");
        } else if !signal.text().starts_with("SIG") {
            f.invalid(&signal, "must be the name of a signal (e.g. 'SIGTERM')");
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let probe = container.field(name);
        if probe.is_set() {
            self::probe(f, &probe, name, context);
        }
    }
}

fn probe(f: &mut Findings, probe: &At<'_, '_>, name: &str, context: &Context<'_>) {
    handler(f, probe, &["exec", "httpGet", "tcpSocket", "grpc"], context);
    for field in
        ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
    {
        f.nonnegative(&probe.field(field));
    }
    let grace = probe.field("terminationGracePeriodSeconds");
    if grace.int().is_some_and(|seconds| seconds <= 0) {
        f.invalid(&grace, "must be greater than 0");
    }
    if name == "readinessProbe" {
        if grace.is_set() {
            f.invalid(&grace, "must not be set for readinessProbes");
        }
    } else if probe.field("successThreshold").int().is_some_and(|n| n != 1) {
        f.invalid(&probe.field("successThreshold"), "must be 1");
    }
}

fn handler(f: &mut Findings, at: &At<'_, '_>, kinds: &[&str], context: &Context<'_>) {
    let mut count = 0;
    for kind in kinds {
        let action = at.field(kind);
        if !action.is_set() {
            continue;
        }
        count += 1;
        if count > 1 {
            f.forbidden(&action, "may not specify more than 1 handler type");
            continue;
        }
        match *kind {
            "exec" => {
                if action.field("command").len() == 0 {
                    f.required(&action.field("command"), "");
                }
            }
            "httpGet" => http_get(f, &action),
            "sleep" => sleep(f, &action, context),
            _ => port(f, &action.field("port")),
        }
    }
    if count == 0 {
        f.required(at, "must specify a handler type");
    }
}

fn sleep(f: &mut Findings, action: &At<'_, '_>, context: &Context<'_>) {
    let seconds = action.field("seconds");
    let Some(grace) = context.grace_seconds else { return };
    if seconds.int().is_some_and(|n| !(0..=grace).contains(&n)) {
        f.invalid(
            &seconds,
            format_args!("must be non-negative and less than terminationGracePeriodSeconds ({grace})"),
        );
    }
}

fn http_get(f: &mut Findings, action: &At<'_, '_>) {
    f.present(&action.field("path"));
    port(f, &action.field("port"));
    let scheme = action.field("scheme");
    if !matches!(scheme.text(), "HTTP" | "HTTPS") {
        f.not_supported(&scheme, &["HTTP", "HTTPS"]);
    }
    let headers = action.field("httpHeaders");
    for header in headers.items() {
        let name = header.field("name");
        let is_token = !name.text().is_empty()
            && name.text().bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-'));
        if !is_token {
            f.invalid_text(
                &headers,
                name.text(),
                "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for \
                 validation is '[-A-Za-z0-9]+')",
            );
        }
    }
}

/// A number or a name.
fn port(f: &mut Findings, port: &At<'_, '_>) {
    if port.value.is_string() {
        f.all_invalid(port, name::port(port.text()));
    } else if port.is_set() {
        f.in_range(port, 1, 65535);
    } else {
        f.invalid_text(port, "0", "must be between 1 and 65535, inclusive");
    }
}
