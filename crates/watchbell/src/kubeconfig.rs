//! The connection settings of a kubeconfig file: the current context's server, authority, client certificate.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::client::ClientError;
use crate::datadir;

/// What a client needs to connect.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) server: String,
    pub(crate) ca_pem: Vec<u8>,
    pub(crate) certificate_pem: Vec<u8>,
    pub(crate) key_pem: Vec<u8>,
    /// The context's namespace, or `default`.
    pub(crate) namespace: String,
}

/// `--kubeconfig`, else `$KUBECONFIG` (its first file that is there), else `~/.kube/config`, else what a server on this
/// machine wrote to the default data directory.
pub(crate) fn find(explicit: Option<&Path>) -> Result<PathBuf, ClientError> {
    if let Some(path) = explicit {
        return Ok(path.to_path_buf());
    }
    if let Some(list) = std::env::var_os("KUBECONFIG")
        && let Some(path) = std::env::split_paths(&list).find(|p| p.exists())
    {
        return Ok(path);
    }
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let path = home.join(".kube/config");
    let local = Path::new(datadir::DEFAULT).join(datadir::ADMIN_KUBECONFIG);
    for path in [path, local] {
        if path.exists() {
            return Ok(path);
        }
    }
    Err(ClientError::Config(
        "no kubeconfig: name one with --kubeconfig (the server writes DATA_DIR/admin.kubeconfig) or set KUBECONFIG"
            .into(),
    ))
}

/// Reads a kubeconfig.
pub(crate) fn read(path: &Path) -> Result<Connection, ClientError> {
    let wrong = |cause: String| ClientError::Config(format!("cannot use {}: {cause}", path.display()));
    let bytes = std::fs::read(path).map_err(|e| wrong(e.to_string()))?;
    let documents = watchbell_api::decode::yaml(&bytes).map_err(|e| wrong(e.message))?;
    let config = documents.into_iter().next().ok_or_else(|| wrong("it is empty".into()))?;
    let current = config["current-context"].as_str().unwrap_or_default();
    let context = named(&config["contexts"], current, "context")
        .ok_or_else(|| wrong(format!("current-context {current:?} is not among its contexts")))?;
    let cluster_name = context["cluster"].as_str().unwrap_or_default();
    let cluster = named(&config["clusters"], cluster_name, "cluster")
        .ok_or_else(|| wrong(format!("cluster {cluster_name:?} is not among its clusters")))?;
    let user_name = context["user"].as_str().unwrap_or_default();
    let user = named(&config["users"], user_name, "user")
        .ok_or_else(|| wrong(format!("user {user_name:?} is not among its users")))?;
    let base = path.parent().unwrap_or(Path::new("."));
    let material = |value: &Value, field: &str| -> Result<Vec<u8>, ClientError> {
        if let Some(data) = value[format!("{field}-data").as_str()].as_str() {
            return BASE64_STANDARD.decode(data).map_err(|e| wrong(format!("{field}-data: {e}")));
        }
        match value[field].as_str() {
            Some(file) => std::fs::read(base.join(file)).map_err(|e| wrong(format!("{field} {file}: {e}"))),
            None => Err(wrong(format!("it has no {field}-data"))),
        }
    };
    Ok(Connection {
        server: cluster["server"]
            .as_str()
            .ok_or_else(|| wrong("its cluster has no server".into()))?
            .trim_end_matches('/')
            .to_owned(),
        ca_pem: material(cluster, "certificate-authority")?,
        certificate_pem: material(user, "client-certificate")?,
        key_pem: material(user, "client-key")?,
        namespace: context["namespace"].as_str().unwrap_or("default").to_owned(),
    })
}

fn named<'a>(list: &'a Value, name: &str, field: &str) -> Option<&'a Value> {
    list.as_array()?.iter().find(|entry| entry["name"] == name).map(|entry| &entry[field])
}
