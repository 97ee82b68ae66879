//! Connections of pods: where to, whether they might, how much went over them.

use serde_json::{Map, Value};

use super::document::{Destination, Document, Network, Source};

/// Fills what an entry says of one connection, or of many that are counted.
pub(super) fn fill<'a>(document: &mut Document<'a>, action: &str, details: &'a Map<String, Value>) {
    let types: &[&str] = match action {
        "connection-allowed" => &["start", "allowed"],
        "connection-refused" => &["denied"],
        "connection-ended" => &["end"],
        "connections-counted" => &[],
        _ => return,
    };
    document.event.types.extend(types);
    let text = |key: &str| details.get(key).and_then(Value::as_str);
    let number = |key: &str| details.get(key).and_then(Value::as_u64);
    if action == "connections-counted" {
        document.watchbell.count = Some(number("allowed").unwrap_or(0) + number("refused").unwrap_or(0));
        for reached in details.get("reached").and_then(Value::as_array).into_iter().flatten() {
            let ip = reached["address"].as_str().and_then(|text| text.parse::<std::net::IpAddr>().ok());
            document.related.ip.extend(ip.map(|ip| ip.to_string()));
            document.related.hosts.extend(reached["name"].as_str());
        }
    }
    if action == "connection-ended" {
        document.event.outcome = Some(if text("how") == Some("NotReached") { "failure" } else { "success" });
        document.event.reason = text("why").or(text("how")).map(Into::into);
        document.event.duration = number("nanoseconds").and_then(|nanos| i64::try_from(nanos).ok());
        document.event.end = text("at").filter(|at| at.parse::<jiff::Timestamp>().is_ok());
    }
    if action == "connection-refused"
        && let Some(why) = text("why")
    {
        document.event.reason = Some(why.into());
        document.rule.iter_mut().for_each(|rule| rule.description = Some(why));
    }
    if let (Some(rule), Some(policy)) = (&mut document.rule, text("policy")) {
        rule.name = Some(policy);
    }
    let (name, address) = (text("name"), text("address"));
    let ip = address.and_then(|address| address.parse::<std::net::IpAddr>().ok());
    let (sent, received) = (number("sent"), number("received"));
    if name.is_some() || address.is_some() || received.is_some() {
        document.destination = Some(Destination {
            address: name.or(address),
            domain: name,
            ip: ip.map(|ip| ip.to_string()),
            port: number("port"),
            bytes: received,
        });
    }
    if sent.is_some() {
        document.source = Some(Source { bytes: sent, ..Source::default() });
    }
    document.network = Some(Network {
        direction: "egress",
        transport: "tcp",
        kind: ip.map(|ip| if ip.is_ipv4() { "ipv4" } else { "ipv6" }),
        bytes: sent.zip(received).map(|(sent, received)| sent.saturating_add(received)),
    });
    document.related.ip.extend(ip.map(|ip| ip.to_string()));
    document.related.hosts.extend(name);
}

/// Where to, for the message.
pub(super) fn say(message: &mut String, document: &Document<'_>) {
    let Some(destination) = &document.destination else { return };
    let Some(address) = destination.address else { return };
    message.push_str(" to ");
    message.push_str(address);
    if let Some(port) = destination.port {
        message.push_str(&format!(" port {port}"));
    }
}
