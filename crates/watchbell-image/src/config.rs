//! The image configuration (OCI image specification, `config.md`; Docker's form is the same in what is read here).

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{Digest, Error, Platform};

/// What an image says about how to run it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// `user`, `uid`, `user:group` or `uid:gid`; empty when unsaid.
    pub user: String,
    /// `NAME=value` each.
    pub env: Vec<String>,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    pub working_dir: String,
    pub labels: BTreeMap<String, String>,
    /// Paths.
    pub volumes: Vec<String>,
    /// `SIGTERM` or a number; empty when unsaid.
    pub stop_signal: String,
    /// `8080/tcp` each.
    pub exposed_ports: Vec<String>,
    pub architecture: String,
    pub os: String,
    pub variant: Option<String>,
    /// RFC 3339, as the image states it.
    pub created: Option<String>,
    /// Digests of the uncompressed layers, bottom first.
    pub diff_ids: Vec<Digest>,
    pub history: Vec<History>,
}

/// How a layer came to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub empty_layer: Option<bool>,
}

impl ImageConfig {
    /// Reads a configuration blob.
    pub(crate) fn parse(bytes: &[u8], origin: &str) -> Result<Self, Error> {
        let refuse = |reason: String| Error::document(origin, "the image configuration", reason);
        let document: ConfigDocument = serde_json::from_slice(bytes).map_err(|e| refuse(e.to_string()))?;
        if document.rootfs.kind != "layers" {
            return Err(refuse("rootfs.type is not \"layers\"".to_owned()));
        }
        let run = document.config;
        Ok(Self {
            user: run.user,
            env: run.env,
            entrypoint: run.entrypoint,
            cmd: run.cmd,
            working_dir: run.working_dir,
            labels: run.labels,
            volumes: run.volumes.into_keys().collect(),
            stop_signal: run.stop_signal,
            exposed_ports: run.exposed_ports.into_keys().collect(),
            architecture: document.architecture,
            os: document.os,
            variant: document.variant.filter(|v| !v.is_empty()),
            created: document.created,
            diff_ids: document.rootfs.diff_ids,
            history: document.history,
        })
    }

    /// The blob of a configuration made here.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let keys = |v: &Vec<String>| v.iter().map(|k| (k.clone(), Empty {})).collect::<BTreeMap<_, _>>();
        let document = ConfigDocument {
            created: self.created.clone(),
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            variant: self.variant.clone(),
            config: RunDocument {
                user: self.user.clone(),
                exposed_ports: keys(&self.exposed_ports),
                env: self.env.clone(),
                entrypoint: self.entrypoint.clone(),
                cmd: self.cmd.clone(),
                volumes: keys(&self.volumes),
                working_dir: self.working_dir.clone(),
                labels: self.labels.clone(),
                stop_signal: self.stop_signal.clone(),
            },
            rootfs: RootFs { kind: "layers".to_owned(), diff_ids: self.diff_ids.clone() },
            history: self.history.clone(),
        };
        serde_json::to_vec(&document).expect("strings and maps with string keys always serialize")
    }

    pub fn platform(&self) -> Platform {
        Platform {
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            variant: self.variant.clone(),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct ConfigDocument {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    config: RunDocument,
    rootfs: RootFs,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    history: Vec<History>,
}

#[derive(Serialize, Deserialize)]
struct RootFs {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, deserialize_with = "null_is_default")]
    diff_ids: Vec<Digest>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RunDocument {
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    user: String,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    exposed_ports: BTreeMap<String, Empty>,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    env: Vec<String>,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    entrypoint: Vec<String>,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    cmd: Vec<String>,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    volumes: BTreeMap<String, Empty>,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    working_dir: String,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    stop_signal: String,
}

/// The value of every key of a set in Go's JSON.
#[derive(Default, Serialize, Deserialize)]
struct Empty {}

/// Docker writes `null` for an empty list or map.
fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(d: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_nulls_read_as_empty() {
        let json = br#"{"architecture":"amd64","os":"linux","config":{"Env":null,"Cmd":["sh"],"Volumes":{"/v":{}},
            "Entrypoint":null,"OnBuild":null,"ArgsEscaped":true},"rootfs":{"type":"layers","diff_ids":null}}"#;
        let config = ImageConfig::parse(json, "test").unwrap();
        assert_eq!(config.cmd, ["sh"]);
        assert_eq!(config.volumes, ["/v"]);
        assert!(config.env.is_empty() && config.entrypoint.is_empty() && config.diff_ids.is_empty());
    }

    #[test]
    fn a_configuration_without_rootfs_or_with_a_doubled_field_is_refused() {
        for bad in [
            r#"{"architecture":"amd64","os":"linux"}"#,
            r#"{"rootfs":{"type":"other"}}"#,
            r#"{"os":"linux","os":"windows","rootfs":{"type":"layers"}}"#,
            r#"{"rootfs":{"type":"layers","diff_ids":["sha256:xyz"]}}"#,
        ] {
            assert!(ImageConfig::parse(bad.as_bytes(), "test").is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let config = ImageConfig {
            user: "65534".into(),
            env: vec!["A=b".into()],
            entrypoint: vec!["/x".into()],
            architecture: "amd64".into(),
            os: "linux".into(),
            diff_ids: vec![Digest::of(b"x")],
            exposed_ports: vec!["80/tcp".into()],
            ..ImageConfig::default()
        };
        assert_eq!(ImageConfig::parse(&config.to_bytes(), "test").unwrap(), config);
    }
}
