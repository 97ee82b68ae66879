//! Credentials as Docker keeps them: `config.json` with its `auths`, and the programs it names.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::GeneralPurpose;
use base64::engine::GeneralPurposeConfig;
use serde::Deserialize;

use crate::name::DOCKER_IO;
use crate::{Digest, Error, Reference};

const HELPER_TIMEOUT: Duration = Duration::from_secs(60);
const HELPER_OUTPUT_BYTES_MAX: u64 = 64 << 10;
const CONFIG_BYTES_MAX: u64 = 4 << 20;

/// Who we are to a registry. Shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    Basic {
        username: String,
        password: String,
    },
    /// A refresh token of OAuth 2.
    IdentityToken(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// Where credentials are looked for.
#[derive(Clone, Debug, Default)]
pub enum CredentialSource {
    #[default]
    Anonymous,
    Given(Credentials),
    /// A `config.json` of Docker. The credential programs that it names (`credHelpers`, `credsStore`) are run.
    DockerConfig(PathBuf),
    /// The content of such a file, from a Secret of type `kubernetes.io/dockerconfigjson` for example. Only its `auths`
    /// count: whoever wrote it may not name programs to run here.
    DockerConfigJson(Secret),
}

/// Bytes that are shown nowhere.
#[derive(Clone)]
pub struct Secret(pub Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ConfigFile {
    auths: BTreeMap<String, AuthEntry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AuthEntry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: String,
}

impl CredentialSource {
    /// Docker's own file of the user who runs this: below `DOCKER_CONFIG`, or `.docker` in his home. Who was left the home of
    /// another and may not read there (`sudo -u`) has none.
    pub fn docker_default() -> Self {
        Self::docker_of(std::env::var_os("DOCKER_CONFIG").map(PathBuf::from), std::env::home_dir())
    }

    fn docker_of(stated: Option<PathBuf>, home: Option<PathBuf>) -> Self {
        if let Some(dir) = stated.filter(|dir| !dir.as_os_str().is_empty()) {
            return Self::DockerConfig(dir.join("config.json"));
        }
        // A home that is none must not lead to the working directory.
        let file = home.filter(|home| home.is_absolute()).map(|home| home.join(".docker/config.json"));
        let is_anothers = |file: &PathBuf| {
            std::fs::File::open(file).is_err_and(|e| e.kind() == std::io::ErrorKind::PermissionDenied)
        };
        file.filter(|file| !is_anothers(file)).map_or(Self::Anonymous, Self::DockerConfig)
    }

    /// Names the credentials for the registry of `reference` without telling them; `None` where there are none.
    pub(crate) fn proof(&self, reference: &Reference) -> Result<Option<Digest>, Error> {
        let shown = self.find(reference)?.map(|credentials| match credentials {
            Credentials::Basic { username, password } => {
                format!("basic\0{}\0{username}\0{password}", reference.repository())
            }
            Credentials::IdentityToken(token) => format!("token\0{}\0{token}", reference.repository()),
        });
        Ok(shown.map(|shown| Digest::of(shown.as_bytes())))
    }

    /// The credentials for the registry of `reference`; `None` where there are none.
    pub(crate) fn find(&self, reference: &Reference) -> Result<Option<Credentials>, Error> {
        let fail = |reason: String| Error::Credentials { registry: reference.domain().to_owned(), reason };
        let (bytes, programs) = match self {
            Self::Anonymous => return Ok(None),
            Self::Given(credentials) => return Ok(Some(credentials.clone())),
            Self::DockerConfigJson(Secret(bytes)) => (bytes.clone(), Programs::Never),
            Self::DockerConfig(path) => match read_config(path) {
                Ok(Some(bytes)) => (bytes, Programs::Run),
                Ok(None) => return Ok(None),
                Err(e) => return Err(fail(format!("cannot read {}: {e}", path.display()))),
            },
        };
        // A parser's message could quote the secrets, so only the place is told.
        let config: ConfigFile = serde_json::from_slice(&bytes).map_err(|e| {
            fail(format!("the Docker configuration is not valid at line {} column {}", e.line(), e.column()))
        })?;
        if programs == Programs::Run {
            let helper = config
                .cred_helpers
                .iter()
                .find(|(key, _)| Key::parse(key).host == normalized_host(reference.domain()))
                .map(|(_, helper)| helper)
                .or(config.creds_store.as_ref().filter(|s| !s.is_empty()));
            if let Some(helper) = helper
                && let Some(credentials) =
                    run_helper(helper, &server_address(reference.domain())).map_err(fail)?
            {
                return Ok(Some(credentials));
            }
        }
        let best = config
            .auths
            .iter()
            .map(|(key, entry)| (Key::parse(key), entry))
            .filter(|(key, _)| key.covers(reference))
            .max_by_key(|(key, _)| key.path.len());
        match best {
            None => Ok(None),
            Some((_, entry)) => entry.credentials().map_err(|reason| fail(reason.to_owned())),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Programs {
    Run,
    Never,
}

fn read_config(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    let Some(file) = crate::store::if_exists(std::fs::File::open(path))? else { return Ok(None) };
    let mut bytes = Vec::new();
    file.take(CONFIG_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// A key of `auths`: a host, an old-style address with `/v1/`, or (as the kubelet reads it) a host with the beginning of a
/// repository's path.
#[derive(Debug, PartialEq, Eq)]
struct Key {
    host: String,
    path: String,
}

impl Key {
    fn parse(text: &str) -> Self {
        let bare = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
        let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
        let path = path.trim_end_matches('/');
        let path = if matches!(path, "v1" | "v2") { "" } else { path };
        Self { host: normalized_host(host), path: path.to_owned() }
    }

    fn covers(&self, reference: &Reference) -> bool {
        self.host == normalized_host(reference.domain())
            && (self.path.is_empty()
                || reference.path() == self.path
                || reference.path().strip_prefix(&self.path).is_some_and(|rest| rest.starts_with('/')))
    }
}

/// The hosts of the default domain are one.
fn normalized_host(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    match host.strip_suffix(DOCKER_IO) {
        Some("index." | "registry-1.") => DOCKER_IO.to_owned(),
        _ => host,
    }
}

/// Under which address Docker keeps the credentials of a domain.
fn server_address(domain: &str) -> String {
    if domain == DOCKER_IO { format!("https://index.{DOCKER_IO}/v1/") } else { domain.to_owned() }
}

impl AuthEntry {
    fn credentials(&self) -> Result<Option<Credentials>, &'static str> {
        let said = |v: &Option<String>| v.clone().filter(|v| !v.is_empty());
        if let Some(token) = said(&self.identitytoken) {
            return Ok(Some(Credentials::IdentityToken(token)));
        }
        if let Some(auth) = said(&self.auth) {
            // Docker pads with NULs in places, and some writers leave the padding out.
            let lenient = GeneralPurposeConfig::new()
                .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent);
            let engine = GeneralPurpose::new(&base64::alphabet::STANDARD, lenient);
            let decoded = engine.decode(auth.trim()).map_err(|_| "its auth entry is not base64")?;
            let text = String::from_utf8(decoded).map_err(|_| "its auth entry is not text")?;
            let (username, password) =
                text.trim_end_matches('\0').split_once(':').ok_or("its auth entry is not user:password")?;
            return Ok(Some(Credentials::Basic {
                username: username.to_owned(),
                password: password.to_owned(),
            }));
        }
        match (said(&self.username), said(&self.password)) {
            (Some(username), Some(password)) => Ok(Some(Credentials::Basic { username, password })),
            _ => Ok(None),
        }
    }
}

/// Runs `docker-credential-NAME get` (the docker-credential-helpers protocol). `None` when it knows nothing.
fn run_helper(name: &str, server: &str) -> Result<Option<Credentials>, String> {
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
        return Err(format!("\"{}\" is not the name of a credential program", crate::digest::excerpt(name)));
    }
    let program = format!("docker-credential-{name}");
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| format!("cannot run {program}: {e}"))?;
    let mut stdin = child.stdin.take().expect("it was asked for");
    let stdout = child.stdout.take().expect("it was asked for");
    let server = server.to_owned();
    let (sender, receiver) = mpsc::channel();
    // The program may hang; the thread ends with it, because it is killed then.
    std::thread::spawn(move || {
        let asked = stdin.write_all(server.as_bytes());
        drop(stdin);
        let mut output = Vec::new();
        let read = asked.and_then(|()| stdout.take(HELPER_OUTPUT_BYTES_MAX).read_to_end(&mut output));
        // Nobody listens any more only when the wait below was given up.
        let _ = sender.send(read.map(|_| output));
    });
    let output = receiver.recv_timeout(HELPER_TIMEOUT);
    if output.is_err() {
        // Already gone is as good.
        let _ = child.kill();
    }
    let status = child.wait().map_err(|e| format!("{program}: {e}"))?;
    let output = output
        .map_err(|_| format!("{program} did not answer within {} seconds", HELPER_TIMEOUT.as_secs()))?
        .map_err(|e| format!("{program}: {e}"))?;
    if !status.success() {
        if String::from_utf8_lossy(&output).contains("credentials not found") {
            return Ok(None);
        }
        return Err(format!("{program} failed: {status}"));
    }
    let answer: HelperAnswer = serde_json::from_slice(&output)
        .map_err(|_| format!("{program} answers something else than credentials"))?;
    Ok(Some(match answer.username.as_str() {
        "<token>" => Credentials::IdentityToken(answer.secret),
        _ => Credentials::Basic { username: answer.username, password: answer.secret },
    }))
}

#[cfg(test)]
mod tests;
