//! The variables of a container.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use watchbell_api::Resource;
use watchbell_api::types::pod::{Container, EnvVarSource, KeyRef, OptionalReference};

use super::{ConfigError, Objects, PodFacts, expand};

/// `envFrom`, then `env`, which wins; `$(NAME)` in a value reads what stands before it. The order is that of the
/// definitions, and no name comes twice.
pub fn environment(
    facts: &PodFacts<'_>,
    container: &Container,
    objects: Objects<'_>,
) -> Result<Vec<(String, String)>, ConfigError> {
    let mut env = Env::default();
    for source in &container.env_from {
        if let Some(reference) = &source.config_map_ref
            && let Some(map) = find(Kind::ConfigMap, reference, objects)?
        {
            for (key, value) in strings(&map["data"]) {
                env.add_named(&source.prefix, key, value.to_owned());
            }
        }
        if let Some(reference) = &source.secret_ref
            && let Some(secret) = find(Kind::Secret, reference, objects)?
        {
            for (key, value) in strings(&secret["data"]) {
                env.add_named(&source.prefix, key, secret_text(&reference.name, key, value)?);
            }
        }
    }
    for variable in &container.env {
        let value = match (&variable.value_from, &variable.value) {
            (Some(source), _) => match from_source(facts, container, source, objects)? {
                Some(value) => value,
                None => continue,
            },
            (None, Some(value)) => expand(value, |name| env.get(name)),
            (None, None) => String::new(),
        };
        if value.contains('\0') {
            return Err(ConfigError(format!("the value of variable {} holds a NUL byte", variable.name)));
        }
        env.set(&variable.name, value);
    }
    Ok(env.0)
}

/// The image's variables with the container's own over them.
pub fn merge_image_env(image: &[String], own: Vec<(String, String)>) -> Vec<(String, String)> {
    let mut env = Env(Vec::with_capacity(image.len() + own.len()));
    for entry in image {
        // Whoever made the image may have written anything.
        if let Some((name, value)) = entry.split_once('=')
            && is_usable(name)
            && !value.contains('\0')
        {
            env.set(name, value.to_owned());
        }
    }
    for (name, value) in own {
        env.set(&name, value);
    }
    env.0
}

#[derive(Default)]
struct Env(Vec<(String, String)>);

impl Env {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    fn set(&mut self, name: &str, value: String) {
        match self.0.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// A key that cannot be the name of a variable is left out, as kubelet does.
    fn add_named(&mut self, prefix: &str, key: &str, value: String) {
        let name = format!("{prefix}{key}");
        if is_usable(&name) && !value.contains('\0') {
            self.set(&name, value);
        }
    }
}

fn is_usable(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'=')
}

fn from_source(
    facts: &PodFacts<'_>,
    container: &Container,
    source: &EnvVarSource,
    objects: Objects<'_>,
) -> Result<Option<String>, ConfigError> {
    if let Some(field) = &source.field_ref {
        return facts.field(&field.field_path).map(Some);
    }
    if let Some(field) = &source.resource_field_ref {
        return facts.resource(field, Some(container)).map(Some);
    }
    if let Some(key) = &source.config_map_key_ref {
        return value_of_key(facts, Kind::ConfigMap, key, objects);
    }
    if let Some(key) = &source.secret_key_ref {
        return value_of_key(facts, Kind::Secret, key, objects);
    }
    Ok(Some(String::new()))
}

fn value_of_key(
    facts: &PodFacts<'_>,
    kind: Kind,
    key: &KeyRef,
    objects: Objects<'_>,
) -> Result<Option<String>, ConfigError> {
    let reference = OptionalReference { name: key.name.clone(), optional: key.optional };
    let Some(object) = find(kind, &reference, objects)? else { return Ok(None) };
    match object["data"].get(&key.key).and_then(Value::as_str) {
        Some(text) if kind == Kind::Secret => secret_text(&key.name, &key.key, text).map(Some),
        Some(text) => Ok(Some(text.to_owned())),
        None if key.optional => Ok(None),
        None => Err(ConfigError(format!(
            "couldn't find key {} in {} {}/{}",
            key.key,
            if kind == Kind::Secret { "Secret" } else { "ConfigMap" },
            facts.namespace,
            key.name
        ))),
    }
}

/// What holds keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    ConfigMap,
    Secret,
}

/// The object, or `None` when it may be missing and is.
pub(super) fn find(
    kind: Kind,
    reference: &OptionalReference,
    objects: Objects<'_>,
) -> Result<Option<Arc<Value>>, ConfigError> {
    let (resource, word) = match kind {
        Kind::ConfigMap => (Resource::ConfigMap, "configmap"),
        Kind::Secret => (Resource::Secret, "secret"),
    };
    match objects(resource, &reference.name) {
        Some(object) => Ok(Some(object)),
        None if reference.optional => Ok(None),
        None => Err(ConfigError(format!("{word} {:?} not found", reference.name))),
    }
}

pub(super) fn strings(map: &Value) -> impl Iterator<Item = (&str, &str)> {
    map.as_object().into_iter().flatten().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
}

/// The bytes of a Secret's value. The message never holds them.
pub(super) fn decode(object: &str, key: &str, base64: &str) -> Result<Vec<u8>, ConfigError> {
    STANDARD.decode(base64).map_err(|_| ConfigError(format!("key {key} of {object:?} is not base64")))
}

fn secret_text(object: &str, key: &str, base64: &str) -> Result<String, ConfigError> {
    // A variable is a C string; bytes that are no UTF-8 are shown as Go would show them.
    decode(object, key, base64).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}
