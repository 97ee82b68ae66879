//! Buckets of S3, with what the environment says of the service and of who asks.

use std::path::Path;

use watchbell_array::{Bucket, S3Config, S3Credentials};
use zeroize::Zeroizing;

use crate::exit::Failure;

/// The bucket that a place names; nothing of a directory.
pub(super) fn of(place: &Path) -> Result<Option<Bucket>, Failure> {
    match place.to_str() {
        Some(url) if url.starts_with("s3://") => {
            Bucket::new(url, &config()?).map(Some).map_err(Failure::usage)
        }
        _ => Ok(None),
    }
}

/// Those of the file in `AWS_CA_BUNDLE` and no others, or else those of the system.
fn authorities(bundle: Option<&str>) -> Result<Option<Vec<u8>>, Failure> {
    let Some(path) = bundle else { return Ok(watchbell_image::system_authorities()) };
    let read = std::fs::read(path);
    read.map(Some).map_err(|error| Failure::Usage(format!("cannot read AWS_CA_BUNDLE {path}: {error}")))
}

fn config() -> Result<S3Config, Failure> {
    // One that cannot be read is not as if there were none: the request would go unsigned.
    let variable = |name: &str| match std::env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(Failure::Usage(format!("{name} is not UTF-8"))),
    };
    let credentials = match (variable("AWS_ACCESS_KEY_ID")?, variable("AWS_SECRET_ACCESS_KEY")?) {
        (Some(access_key_id), Some(secret)) => Some(S3Credentials {
            access_key_id,
            secret_access_key: Zeroizing::new(secret),
            session_token: variable("AWS_SESSION_TOKEN")?.map(Zeroizing::new),
        }),
        (None, None) => None,
        _ => {
            let problem =
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: set both, or none for a public bucket";
            return Err(Failure::Usage(problem.to_owned()));
        }
    };
    Ok(S3Config {
        endpoint: variable("AWS_ENDPOINT_URL_S3")?.or(variable("AWS_ENDPOINT_URL")?),
        allow_http: variable("AWS_ALLOW_HTTP")?.is_some_and(|value| value == "true"),
        region: variable("AWS_REGION")?.or(variable("AWS_DEFAULT_REGION")?),
        credentials,
        authorities: authorities(variable("AWS_CA_BUNDLE")?.as_deref())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_takes_the_place_of_the_authorities_of_the_system() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        std::fs::write(&path, "bundle").unwrap();
        let of = |bundle: Option<&Path>| authorities(bundle.map(|path| path.to_str().unwrap()));
        assert_eq!(of(Some(&path)).unwrap().as_deref(), Some(b"bundle".as_slice()));
        assert_eq!(of(None).unwrap(), watchbell_image::system_authorities());
        let Err(Failure::Usage(why)) = of(Some(&dir.path().join("none"))) else { panic!("it was read") };
        assert!(why.starts_with("cannot read AWS_CA_BUNDLE"), "{why}");
    }
}
