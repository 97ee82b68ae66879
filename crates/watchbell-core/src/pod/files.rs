//! The files of ConfigMap, Secret, downward API and projected volumes. They are made at the pod's start; a later change of
//! the object is not followed, but in a volume with a token, which is made anew with each token.

use serde_json::Value;
use watchbell_api::types::pod::{
    ConfigMapVolume, DownwardApiVolume, KeyToPath, OptionalReference, PodSpec, SecretVolume, TokenProjection,
    Volume,
};

use super::environment::{Kind, decode, find, strings};
use super::{ConfigError, Objects, PodFacts};

/// `defaultMode` unsaid.
const MODE: u32 = 0o644;

/// One file of a volume. Its path is relative.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    pub path: String,
    pub mode: u16,
    /// The owner inside.
    pub uid: u32,
    pub contents: Vec<u8>,
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The contents may be a Secret's.
        write!(f, "File({}, {:o}, {} bytes)", self.path, self.mode, self.contents.len())
    }
}

/// Gives the token that a projection asks for.
pub type Tokens<'a> = &'a dyn Fn(&TokenProjection) -> Result<String, ConfigError>;

/// Whether a volume's files change while the pod runs: tokens do not live as long.
pub fn is_changing(volume: &Volume) -> bool {
    let sources = volume.projected.iter().flat_map(|projected| &projected.sources);
    sources.into_iter().any(|source| source.service_account_token.is_some())
}

/// The user of all containers, where the pod says it and it is the same for all.
fn common_user(spec: &PodSpec) -> Option<u32> {
    let mut users = spec
        .init_containers
        .iter()
        .chain(&spec.containers)
        .map(|container| container.security_context.run_as_user.or(spec.security_context.run_as_user));
    let first = users.next()??;
    users.all(|user| user == Some(first)).then(|| u32::try_from(first).ok())?
}

/// Whether the volume is one that [`files_of`] fills.
pub fn is_files(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some()
}

/// The files of such a volume. Where two sources give one path the later one counts.
pub fn files_of(
    facts: &PodFacts<'_>,
    volume: &Volume,
    objects: Objects<'_>,
    tokens: Tokens<'_>,
) -> Result<Vec<File>, ConfigError> {
    let mut files = Files { facts, objects, list: Vec::new() };
    if let Some(source) = &volume.config_map {
        files.config_map(source, source.default_mode.unwrap_or(MODE))?;
    } else if let Some(source) = &volume.secret {
        files.secret(source, source.default_mode.unwrap_or(MODE))?;
    } else if let Some(source) = &volume.downward_api {
        files.downward(source, source.default_mode.unwrap_or(MODE))?;
    } else if let Some(projected) = &volume.projected {
        let mode = projected.default_mode.unwrap_or(MODE);
        for source in &projected.sources {
            if let Some(source) = &source.config_map {
                files.config_map(source, mode)?;
            }
            if let Some(source) = &source.secret {
                files.secret(source, mode)?;
            }
            if let Some(source) = &source.downward_api {
                files.downward(source, mode)?;
            }
            if let Some(source) = &source.service_account_token {
                let token = tokens(source)?;
                files.token(&source.path, mode, token);
            }
        }
    }
    Ok(files.list)
}

struct Files<'a> {
    facts: &'a PodFacts<'a>,
    objects: Objects<'a>,
    list: Vec<File>,
}

impl Files<'_> {
    fn add(&mut self, path: &str, mode: u32, contents: Vec<u8>) {
        self.put(File { path: path.to_owned(), mode: (mode & 0o777) as u16, uid: 0, contents });
    }

    fn put(&mut self, new: File) {
        match self.list.iter_mut().find(|f| f.path == new.path) {
            Some(file) => *file = new,
            None => self.list.push(new),
        }
    }

    /// As kubelet has it: nobody but the containers' user or the pod's group can read it, where the pod says who they are.
    fn token(&mut self, path: &str, mode: u32, token: String) {
        let spec = self.facts.spec;
        let user = common_user(spec);
        let is_owned = user.is_some() || spec.security_context.fs_group.is_some();
        let mode = if is_owned { 0o600 } else { (mode & 0o777) as u16 };
        let (uid, contents) = (user.unwrap_or(0), token.into_bytes());
        self.put(File { path: path.to_owned(), mode, uid, contents });
    }

    fn config_map(&mut self, source: &ConfigMapVolume, mode: u32) -> Result<(), ConfigError> {
        let reference = OptionalReference { name: source.name.clone(), optional: source.optional };
        let Some(map) = find(Kind::ConfigMap, &reference, self.objects)? else { return Ok(()) };
        let value = |key: &str| -> Result<Option<Vec<u8>>, ConfigError> {
            if let Some(text) = map["data"].get(key).and_then(Value::as_str) {
                return Ok(Some(text.as_bytes().to_vec()));
            }
            let binary = map["binaryData"].get(key).and_then(Value::as_str);
            binary.map(|text| decode(&source.name, key, text)).transpose()
        };
        let keys = strings(&map["data"]).chain(strings(&map["binaryData"])).map(|(key, _)| key);
        self.keyed("configmap", &reference, &source.items, mode, keys, value)
    }

    fn secret(&mut self, source: &SecretVolume, mode: u32) -> Result<(), ConfigError> {
        let reference = OptionalReference { name: source.secret_name.clone(), optional: source.optional };
        let Some(secret) = find(Kind::Secret, &reference, self.objects)? else { return Ok(()) };
        let value = |key: &str| -> Result<Option<Vec<u8>>, ConfigError> {
            let text = secret["data"].get(key).and_then(Value::as_str);
            text.map(|text| decode(&source.secret_name, key, text)).transpose()
        };
        let keys = strings(&secret["data"]).map(|(key, _)| key);
        self.keyed("secret", &reference, &source.items, mode, keys, value)
    }

    /// All keys under their own names, or the items under theirs.
    fn keyed<'k>(
        &mut self,
        word: &str,
        reference: &OptionalReference,
        items: &[KeyToPath],
        mode: u32,
        keys: impl Iterator<Item = &'k str>,
        value: impl Fn(&str) -> Result<Option<Vec<u8>>, ConfigError>,
    ) -> Result<(), ConfigError> {
        if items.is_empty() {
            for key in keys {
                if let Some(contents) = value(key)? {
                    self.add(key, mode, contents);
                }
            }
            return Ok(());
        }
        for item in items {
            match value(&item.key)? {
                Some(contents) => self.add(&item.path, item.mode.unwrap_or(mode), contents),
                None if reference.optional => {}
                None => {
                    return Err(ConfigError(format!(
                        "{word} {:?} references non-existent config key: {}",
                        reference.name, item.key
                    )));
                }
            }
        }
        Ok(())
    }

    fn downward(&mut self, source: &DownwardApiVolume, mode: u32) -> Result<(), ConfigError> {
        for item in &source.items {
            let text = match (&item.field_ref, &item.resource_field_ref) {
                (Some(field), _) => self.facts.field(&field.field_path)?,
                (None, Some(field)) => self.facts.resource(field, None)?,
                (None, None) => String::new(),
            };
            self.add(&item.path, item.mode.unwrap_or(mode), text.into_bytes());
        }
        Ok(())
    }
}
