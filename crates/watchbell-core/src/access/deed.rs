//! What somebody would do, in the words that rights are given in.

/// A deed. What its verbs are is the business of whoever asks: rules compare texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed<'a> {
    Resource {
        verb: &'a str,
        /// Empty: the core group.
        group: &'a str,
        resource: &'a str,
        subresource: &'a str,
        /// Empty: at the cluster scope, or in all namespaces.
        namespace: &'a str,
        /// Empty: of no object in particular, as a `create` is. A `list` or `watch` with the field selector
        /// `metadata.name=x` is of `x`.
        name: &'a str,
    },
    /// Everything that is no resource: discovery, metrics, documents.
    Path { verb: &'a str, path: &'a str },
}

impl<'a> Deed<'a> {
    pub fn verb(&self) -> &'a str {
        match self {
            Deed::Resource { verb, .. } | Deed::Path { verb, .. } => verb,
        }
    }

    /// The namespace whose bindings have a say; empty where only those of the cluster have one.
    pub fn namespace(&self) -> &'a str {
        match self {
            Deed::Resource { namespace, .. } => namespace,
            Deed::Path { .. } => "",
        }
    }
}
