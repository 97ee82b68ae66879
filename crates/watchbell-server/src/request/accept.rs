//! Which form of an answer the client takes.

use watchbell_api::{ApiError, Reason, protobuf};

/// How an answer is written and what it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) encoding: Encoding,
    pub(crate) shape: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Json,
    Yaml,
    Protobuf,
}

impl Encoding {
    fn media_type(self) -> &'static str {
        match self {
            Encoding::Json => "application/json",
            Encoding::Yaml => "application/yaml",
            Encoding::Protobuf => protobuf::MEDIA_TYPE,
        }
    }

    /// Tables and the aggregated discovery have no form in protobuf, as in Kubernetes the former.
    fn has(self, shape: Shape) -> bool {
        match shape {
            Shape::Object | Shape::Metadata | Shape::MetadataList => true,
            Shape::Table | Shape::Discovery | Shape::DiscoveryBeta => self != Encoding::Protobuf,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Object,
    /// `as=Table;g=meta.k8s.io;v=v1`
    Table,
    /// `as=PartialObjectMetadata`
    Metadata,
    /// `as=PartialObjectMetadataList`
    MetadataList,
    /// `as=APIGroupDiscoveryList;g=apidiscovery.k8s.io;v=v2`
    Discovery,
    /// The same in `v2beta1`.
    DiscoveryBeta,
}

impl Shape {
    fn parameters(self) -> Option<[&'static str; 3]> {
        match self {
            Shape::Object => None,
            Shape::Table => Some(["Table", "meta.k8s.io", "v1"]),
            Shape::Metadata => Some(["PartialObjectMetadata", "meta.k8s.io", "v1"]),
            Shape::MetadataList => Some(["PartialObjectMetadataList", "meta.k8s.io", "v1"]),
            Shape::Discovery => Some(["APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2"]),
            Shape::DiscoveryBeta => Some(["APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2beta1"]),
        }
    }
}

impl Answer {
    pub(crate) const JSON: Answer = Answer { encoding: Encoding::Json, shape: Shape::Object };

    /// The media type of the answer.
    pub(crate) fn content_type(self) -> String {
        let base = self.encoding.media_type();
        match self.shape.parameters() {
            // Clients tell aggregated discovery by these parameters; for the others Kubernetes sends none.
            Some([kind, group, version]) if matches!(self.shape, Shape::Discovery | Shape::DiscoveryBeta) => {
                format!("{base};g={group};v={version};as={kind}")
            }
            _ => base.into(),
        }
    }

    /// The media type of a watch that is answered so.
    pub(crate) fn stream_type(self) -> String {
        match self.encoding {
            Encoding::Protobuf => format!("{};stream=watch", protobuf::MEDIA_TYPE),
            Encoding::Json | Encoding::Yaml => self.content_type(),
        }
    }

    /// The first form, by the client's preference, that this endpoint has.
    ///
    /// `shapes` are those it can take beside [`Shape::Object`].
    pub(crate) fn negotiate(accept: &str, shapes: &[Shape]) -> Result<Answer, ApiError> {
        Answer::among(accept, shapes, &[Encoding::Json, Encoding::Yaml, Encoding::Protobuf])
    }

    /// The same of a document that is no object, and so has no form in protobuf.
    pub(crate) fn text(accept: &str) -> Result<Answer, ApiError> {
        Answer::among(accept, &[], &[Encoding::Json, Encoding::Yaml])
    }

    /// The same of a document that Kubernetes only has in JSON, whatever is asked for (`/version`).
    pub(crate) fn document(accept: &str) -> Answer {
        Answer::text(accept).unwrap_or(Answer::JSON)
    }

    fn among(accept: &str, shapes: &[Shape], encodings: &[Encoding]) -> Result<Answer, ApiError> {
        let mut clauses: Vec<(u16, Answer)> = Vec::new();
        let mut named = false;
        for clause in accept.split(',').map(str::trim).filter(|clause| !clause.is_empty()) {
            named = true;
            clauses.extend(read_clause(clause, shapes).filter(|(_, a)| encodings.contains(&a.encoding)));
        }
        if !named {
            return Ok(Answer::JSON);
        }
        // The sort is stable: among equals the client's order counts.
        clauses.sort_by_key(|(quality, _)| std::cmp::Reverse(*quality));
        clauses.first().map(|(_, answer)| *answer).ok_or_else(|| {
            let names: Vec<&str> = encodings.iter().map(|encoding| encoding.media_type()).collect();
            ApiError::new(
                Reason::NotAcceptable,
                format!("only the following media types are accepted: {}", names.join(", ")),
            )
        })
    }
}

fn read_clause(clause: &str, shapes: &[Shape]) -> Option<(u16, Answer)> {
    let mut parts = clause.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    let is = |name: &str| media.eq_ignore_ascii_case(name);
    let encoding = if is("application/json") || is("application/*") || is("*/*") {
        Encoding::Json
    } else if is("application/yaml") {
        Encoding::Yaml
    } else if is(protobuf::MEDIA_TYPE) {
        Encoding::Protobuf
    } else {
        return None;
    };
    let (mut kind, mut group, mut version, mut quality) = ("", "", "", 1000);
    for part in parts {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        match key.trim().to_ascii_lowercase().as_str() {
            "as" => kind = value.trim(),
            "g" => group = value.trim(),
            "v" => version = value.trim(),
            "q" => quality = read_quality(value.trim()),
            // `stream=watch` and `charset=utf-8` change nothing here.
            _ => {}
        }
    }
    if quality == 0 {
        return None;
    }
    if kind.is_empty() {
        return Some((quality, Answer { encoding, shape: Shape::Object }));
    }
    let shape = shapes.iter().find(|s| s.parameters() == Some([kind, group, version]))?;
    if !encoding.has(*shape) {
        return None;
    }
    Some((quality, Answer { encoding, shape: *shape }))
}

/// In thousandths; what cannot be read counts as 1, as Kubernetes' parser has it.
fn read_quality(text: &str) -> u16 {
    match text.parse::<f64>() {
        Ok(q) if (0.0..=1.0).contains(&q) => (q * 1000.0) as u16,
        _ => 1000,
    }
}
