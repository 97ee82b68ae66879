//! Where the server is and how one is known there: a kubeconfig's current context, or the local socket of this machine's server.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::client::ClientError;
use crate::{datadir, socket};

/// What a client needs to connect.
pub(crate) struct Connection {
    pub(crate) server: String,
    pub(crate) way: Way,
    /// The context's namespace, or `default`.
    pub(crate) namespace: String,
}

/// How the server is reached, and what is shown to it.
pub(crate) enum Way {
    Tls {
        ca_pem: Vec<u8>,
        proof: Proof,
    },
    /// The kernel says who asks.
    Socket(PathBuf),
}

/// What is shown.
pub(crate) enum Proof {
    Certificate { certificate_pem: Vec<u8>, key_pem: Vec<u8> },
    Token(String),
}

/// What names a server.
pub(crate) enum Found {
    Kubeconfig(PathBuf),
    Socket(PathBuf),
}

/// `--kubeconfig`, else `$KUBECONFIG`, else what a server made in `$WATCHBELL_DATA_DIR`, else `~/.kube/config`, else what a server
/// made in the default data directory. What a variable names and what is not there is replaced by nothing else.
pub(crate) fn find(explicit: Option<&Path>) -> Result<Found, ClientError> {
    if let Some(path) = explicit {
        // A socket may be named too: `--kubeconfig DIR/admin.sock`.
        let is_socket = std::fs::metadata(path).is_ok_and(|m| m.file_type().is_socket());
        let path = path.to_path_buf();
        return Ok(if is_socket { Found::Socket(path) } else { Found::Kubeconfig(path) });
    }
    if let Some(list) = of_environment() {
        return first_of(&list);
    }
    if let Some(dir) = datadir::of_environment() {
        if let Some(found) = of_data_dir(&dir) {
            return Ok(found);
        }
        // Who may not look into the directory of a server has a kubeconfig of his own.
        if !is_hidden(&dir) {
            return Err(ClientError::Config(format!(
                "no kubeconfig ($WATCHBELL_DATA_DIR names {dir:?}, and no server has made anything there): {HINT}"
            )));
        }
    }
    of_user()
        .map(Found::Kubeconfig)
        .or_else(|| of_data_dir(Path::new(datadir::DEFAULT)))
        .ok_or_else(|| ClientError::Config(format!("no kubeconfig: {HINT}")))
}

fn is_hidden(dir: &Path) -> bool {
    let looked = std::fs::symlink_metadata(dir.join(datadir::ADMIN_KUBECONFIG));
    looked.is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
}

const HINT: &str =
    "name one with --kubeconfig (the server writes DATA_DIR/admin.kubeconfig) or set KUBECONFIG";

/// `$KUBECONFIG`
pub(crate) fn of_environment() -> Option<OsString> {
    std::env::var_os("KUBECONFIG").filter(|list| !list.is_empty())
}

/// The first of a list of files that is there. Where none is, nothing else is taken for it, as in kubectl: it may be another server, and
/// somebody who may do more.
fn first_of(list: &OsStr) -> Result<Found, ClientError> {
    std::env::split_paths(list).find(|path| path.exists()).map(Found::Kubeconfig).ok_or_else(|| {
        let list = list.to_string_lossy();
        ClientError::Config(format!(
            "no kubeconfig ($KUBECONFIG names {list:?}, and nothing is there): {HINT}"
        ))
    })
}

/// `~/.kube/config`, where it is there.
pub(crate) fn of_user() -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os("HOME")?).join(".kube/config");
    path.exists().then_some(path)
}

/// The socket of a server where one may use it, its kubeconfig where one may read it.
fn of_data_dir(dir: &Path) -> Option<Found> {
    let socket = dir.join(watchbell_server::ADMIN_SOCKET);
    if socket::is_reachable(&socket) {
        return Some(Found::Socket(socket));
    }
    let local = dir.join(datadir::ADMIN_KUBECONFIG);
    local.exists().then_some(Found::Kubeconfig(local))
}

/// What leads to a server.
pub(crate) fn connection(found: &Found) -> Result<Connection, ClientError> {
    match found {
        Found::Kubeconfig(path) => read(path),
        Found::Socket(path) => Ok(Connection {
            server: socket::SERVER.into(),
            way: Way::Socket(path.clone()),
            namespace: "default".into(),
        }),
    }
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
    // As in kubectl: a certificate counts before a token, a token before a file with one.
    let has_certificate =
        ["client-certificate-data", "client-certificate"].iter().any(|f| !user[*f].is_null());
    let proof = if has_certificate {
        Proof::Certificate {
            certificate_pem: material(user, "client-certificate")?,
            key_pem: material(user, "client-key")?,
        }
    } else if let Some(token) = user["token"].as_str().filter(|token| !token.is_empty()) {
        Proof::Token(token.to_owned())
    } else if let Some(file) = user["tokenFile"].as_str() {
        let text =
            std::fs::read_to_string(base.join(file)).map_err(|e| wrong(format!("tokenFile {file}: {e}")))?;
        Proof::Token(text.trim().to_owned())
    } else {
        return Err(wrong(format!(
            "the user {user_name:?} has neither a client certificate nor a token; exec and auth-provider are not run"
        )));
    };
    Ok(Connection {
        server: cluster["server"]
            .as_str()
            .ok_or_else(|| wrong("its cluster has no server".into()))?
            .trim_end_matches('/')
            .to_owned(),
        way: Way::Tls { ca_pem: material(cluster, "certificate-authority")?, proof },
        namespace: context["namespace"].as_str().unwrap_or("default").to_owned(),
    })
}

fn named<'a>(list: &'a Value, name: &str, field: &str) -> Option<&'a Value> {
    list.as_array()?.iter().find(|entry| entry["name"] == name).map(|entry| &entry[field])
}
