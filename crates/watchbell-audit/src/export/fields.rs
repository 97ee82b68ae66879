//! Every field that a document may have, with its type: what the index template is made of.

/// How the search engine keeps a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FieldType {
    ConstantKeyword,
    Keyword,
    Date,
    Long,
    Ip,
    Boolean,
    Wildcard,
    MatchOnlyText,
    /// An object whose keys are its own: one field for the engine, however many keys there are.
    Flattened,
}

impl FieldType {
    /// The type's name, as ECS and Elasticsearch have it.
    pub fn as_str(self) -> &'static str {
        match self {
            FieldType::ConstantKeyword => "constant_keyword",
            FieldType::Keyword => "keyword",
            FieldType::Date => "date",
            FieldType::Long => "long",
            FieldType::Ip => "ip",
            FieldType::Boolean => "boolean",
            FieldType::Wildcard => "wildcard",
            FieldType::MatchOnlyText => "match_only_text",
            FieldType::Flattened => "flattened",
        }
    }
}

/// One field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its path, with dots.
    pub name: &'static str,
    pub kind: FieldType,
}

/// A field of ours: ECS knows none below this name.
pub const OWN_PREFIX: &str = "watchbell.";

const fn field(name: &'static str, kind: FieldType) -> Field {
    Field { name, kind }
}

/// All of them, by name.
pub const FIELDS: &[Field] = &[
    field("@timestamp", FieldType::Date),
    field("container.image.hash.all", FieldType::Keyword),
    field("container.image.name", FieldType::Keyword),
    field("container.name", FieldType::Keyword),
    field("container.security_context.privileged", FieldType::Boolean),
    field("data_stream.dataset", FieldType::ConstantKeyword),
    field("data_stream.namespace", FieldType::ConstantKeyword),
    field("data_stream.type", FieldType::ConstantKeyword),
    field("destination.address", FieldType::Keyword),
    field("destination.bytes", FieldType::Long),
    field("destination.domain", FieldType::Keyword),
    field("destination.ip", FieldType::Ip),
    field("destination.port", FieldType::Long),
    field("ecs.version", FieldType::Keyword),
    field("error.message", FieldType::MatchOnlyText),
    field("event.action", FieldType::Keyword),
    field("event.category", FieldType::Keyword),
    field("event.dataset", FieldType::Keyword),
    field("event.duration", FieldType::Long),
    field("event.end", FieldType::Date),
    field("event.hash", FieldType::Keyword),
    field("event.id", FieldType::Keyword),
    field("event.kind", FieldType::Keyword),
    field("event.module", FieldType::Keyword),
    field("event.original", FieldType::Keyword),
    field("event.outcome", FieldType::Keyword),
    field("event.reason", FieldType::Keyword),
    field("event.sequence", FieldType::Long),
    field("event.start", FieldType::Date),
    field("event.type", FieldType::Keyword),
    field("host.hostname", FieldType::Keyword),
    field("http.request.id", FieldType::Keyword),
    field("http.request.method", FieldType::Keyword),
    field("http.response.status_code", FieldType::Long),
    field("message", FieldType::MatchOnlyText),
    field("network.bytes", FieldType::Long),
    field("network.direction", FieldType::Keyword),
    field("network.transport", FieldType::Keyword),
    field("network.type", FieldType::Keyword),
    field("orchestrator.api_version", FieldType::Keyword),
    field("orchestrator.namespace", FieldType::Keyword),
    field("orchestrator.resource.id", FieldType::Keyword),
    field("orchestrator.resource.name", FieldType::Keyword),
    field("orchestrator.resource.type", FieldType::Keyword),
    field("orchestrator.type", FieldType::Keyword),
    field("process.args", FieldType::Keyword),
    field("process.args_count", FieldType::Long),
    field("process.exit_code", FieldType::Long),
    field("related.hash", FieldType::Keyword),
    field("related.hosts", FieldType::Keyword),
    field("related.ip", FieldType::Ip),
    field("related.user", FieldType::Keyword),
    field("rule.description", FieldType::Keyword),
    field("rule.name", FieldType::Keyword),
    field("rule.ruleset", FieldType::Keyword),
    field("service.name", FieldType::Keyword),
    field("service.node.name", FieldType::Keyword),
    field("service.type", FieldType::Keyword),
    field("service.version", FieldType::Keyword),
    field("source.address", FieldType::Keyword),
    field("source.bytes", FieldType::Long),
    field("source.ip", FieldType::Ip),
    field("url.original", FieldType::Wildcard),
    field("url.path", FieldType::Wildcard),
    field("url.query", FieldType::Keyword),
    field("user.effective.name", FieldType::Keyword),
    field("user.id", FieldType::Keyword),
    field("user.name", FieldType::Keyword),
    field("user_agent.original", FieldType::Keyword),
    field("watchbell.annotations", FieldType::Flattened),
    field("watchbell.authorization.decision", FieldType::Keyword),
    field("watchbell.authorization.reason", FieldType::Keyword),
    field("watchbell.count", FieldType::Long),
    field("watchbell.details", FieldType::Flattened),
    field("watchbell.groups", FieldType::Keyword),
    field("watchbell.kind", FieldType::Keyword),
    field("watchbell.level", FieldType::Keyword),
    field("watchbell.log.epoch", FieldType::Keyword),
    field("watchbell.log.index", FieldType::Long),
    field("watchbell.log.origin", FieldType::Keyword),
    field("watchbell.resource_version", FieldType::Keyword),
    field("watchbell.run.job", FieldType::Keyword),
    field("watchbell.run.pods.created", FieldType::Long),
    field("watchbell.run.pods.ended", FieldType::Long),
    field("watchbell.run.pods.exit_codes", FieldType::Long),
    field("watchbell.run.pods.failed", FieldType::Long),
    field("watchbell.run.pods.indexes", FieldType::Long),
    field("watchbell.run.pods.started", FieldType::Long),
    field("watchbell.run.pods.succeeded", FieldType::Long),
    field("watchbell.run.skipped", FieldType::Long),
    field("watchbell.run.slot", FieldType::Date),
    field("watchbell.stage", FieldType::Keyword),
    field("watchbell.subresource", FieldType::Keyword),
    field("watchbell.user_extra", FieldType::Flattened),
];

/// The field of this name.
pub fn find(name: &str) -> Option<&'static Field> {
    FIELDS.binary_search_by(|field| field.name.cmp(name)).ok().map(|at| &FIELDS[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_is_found_by_its_name() {
        assert!(FIELDS.is_sorted_by(|a, b| a.name < b.name));
        assert!(FIELDS.iter().all(|field| find(field.name) == Some(field)));
        assert_eq!(find("watchbell"), None);
    }
}
