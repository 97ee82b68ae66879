//! Which requests a policy or a binding is about. Source: `plugin/policy/matching` and the webhooks' predicates.

use std::sync::Arc;

use serde_json::{Map, Value};
use watchbell_api::{Resource, validate};

use super::{Attributes, Operation};

/// `matchConstraints` of a policy, `matchResources` of a binding.
#[derive(Debug)]
pub(super) struct MatchResources {
    namespaces: Selector,
    objects: Selector,
    /// None of them is about everything.
    rules: Vec<Rule>,
    excluded: Vec<Rule>,
}

/// `None`: everything.
type Selector = Option<Value>;

#[derive(Debug)]
struct Rule {
    operations: Vec<Arc<str>>,
    groups: Vec<Arc<str>>,
    versions: Vec<Arc<str>>,
    resources: Vec<Arc<str>>,
    names: Vec<Arc<str>>,
    scope: Scope,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    All,
    Cluster,
    Namespaced,
}

impl MatchResources {
    pub(super) fn read(object: &Value) -> MatchResources {
        let selector = |field: &str| {
            let selector = &object[field];
            selector.as_object().is_some_and(|map| !map.is_empty()).then(|| selector.clone())
        };
        let rules = |field: &str| object[field].as_array().into_iter().flatten().map(Rule::read).collect();
        MatchResources {
            namespaces: selector("namespaceSelector"),
            objects: selector("objectSelector"),
            rules: rules("resourceRules"),
            excluded: rules("excludeResourceRules"),
        }
    }

    /// The form of the object that its rules are about: as it is stored, or as another group has it. `labels` are those of the
    /// object's namespace; `None`: it is in none, and a selector of namespaces does not count.
    pub(super) fn form(
        &self,
        attributes: &Attributes<'_>,
        labels: impl FnOnce() -> Option<Value>,
    ) -> Option<Resource> {
        let stored = attributes.resource.stored();
        let other = other_form(stored);
        let matches =
            |rules: &[Rule], form: Resource| rules.iter().any(|rule| rule.matches(attributes, form));
        let forms = || std::iter::once(stored).chain(other);
        let form = match self.rules.is_empty() {
            true => Some(stored),
            false => forms().find(|form| matches(&self.rules, *form)),
        }?;
        let is_about = !forms().any(|form| matches(&self.excluded, form))
            && self.objects.as_ref().is_none_or(|selector| {
                [attributes.object, attributes.old]
                    .into_iter()
                    .flatten()
                    .any(|object| has_labels(selector, object))
            })
            && self
                .namespaces
                .as_ref()
                .is_none_or(|selector| labels().is_none_or(|labels| validate::selects(selector, &labels)));
        is_about.then_some(form)
    }

    /// Whether any rule could be about such a thing; by what else it is told apart is seen when there is one.
    pub(super) fn concerns(&self, operation: Operation, resource: Resource) -> bool {
        let info = resource.info();
        self.rules.is_empty()
            || self.rules.iter().any(|rule| {
                any(&rule.operations, operation.as_str())
                    && (any(&rule.groups, info.group) || other_form(resource.stored()).is_some())
                    && rule.resources.iter().any(|named| {
                        let (named, part) = named.split_once('/').unwrap_or((named, ""));
                        (named == "*" || named == info.plural) && (part == "*" || part.is_empty())
                    })
            })
    }

    /// The resources that its rules name without a star, for the check of types.
    pub(super) fn named(&self) -> Vec<Resource> {
        let mut named = Vec::new();
        for rule in &self.rules {
            for resource in Resource::all().filter(|resource| resource.stored() == *resource) {
                let info = resource.info();
                let names = |list: &[Arc<str>], word: &str| list.iter().any(|item| **item == *word);
                let is_named = names(&rule.groups, info.group)
                    && names(&rule.versions, info.version)
                    && names(&rule.resources, info.plural);
                if is_named && !named.contains(&resource) {
                    named.push(resource);
                }
            }
        }
        named
    }
}

/// Events have two groups; every other kind here has one group and one version. An object is the same whichever of them it was
/// asked for under, so `matchPolicy` makes no difference: what is forbidden in one form is not allowed in the other.
pub(super) fn other_form(stored: Resource) -> Option<Resource> {
    (stored == Resource::Event).then_some(Resource::EventsEvent)
}

/// What has no metadata has no labels to be chosen by.
fn has_labels(selector: &Value, object: &Value) -> bool {
    let nothing = Value::Object(Map::new());
    match object.get("metadata") {
        Some(metadata) => validate::selects(selector, metadata.get("labels").unwrap_or(&nothing)),
        None => false,
    }
}

fn any(list: &[Arc<str>], word: &str) -> bool {
    list.iter().any(|item| **item == *"*" || **item == *word)
}

impl Rule {
    fn read(object: &Value) -> Rule {
        let texts = |field: &str| {
            object[field].as_array().into_iter().flatten().filter_map(Value::as_str).map(Into::into).collect()
        };
        Rule {
            operations: texts("operations"),
            groups: texts("apiGroups"),
            versions: texts("apiVersions"),
            resources: texts("resources"),
            names: texts("resourceNames"),
            scope: match object["scope"].as_str() {
                Some("Cluster") => Scope::Cluster,
                Some("Namespaced") => Scope::Namespaced,
                _ => Scope::All,
            },
        }
    }

    fn matches(&self, attributes: &Attributes<'_>, form: Resource) -> bool {
        let info = form.info();
        any(&self.operations, attributes.operation.as_str())
            && any(&self.groups, info.group)
            && any(&self.versions, info.version)
            && self.resources.iter().any(|resource| {
                let (resource, part) = resource.split_once('/').unwrap_or((resource, ""));
                (resource == "*" || resource == info.plural)
                    && (part == "*" || part == attributes.subresource)
            })
            && self.fits_scope(attributes)
            && (self.names.is_empty() || self.names.iter().any(|name| **name == *attributes.name))
    }

    fn fits_scope(&self, attributes: &Attributes<'_>) -> bool {
        let is_namespaced = attributes.resource != Resource::Namespace && !attributes.namespace.is_empty();
        match self.scope {
            Scope::All => true,
            Scope::Namespaced => is_namespaced,
            Scope::Cluster => !is_namespaced,
        }
    }
}
