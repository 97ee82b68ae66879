//! What a server is told so that it lets us in: one line of a file.
//!
//! `api-key KEY` (the encoded form, as Kibana and `POST /_security/api_key` show it), `basic USER:PASSWORD`, or
//! `bearer TOKEN`. The file is read anew for each request, so that a new key is used without a restart.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ureq::http::HeaderValue;
use zeroize::Zeroizing;

/// A longer line is no key.
const BYTES_MAX: u64 = 16 << 10;
/// Others have no business with it.
const OTHERS: u32 = 0o007;

/// The value of `Authorization`, marked as sensitive. The cause when there is none; it never holds a part of the file.
pub(crate) fn read(path: &Path) -> Result<HeaderValue, String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    let meta = file.metadata().map_err(|e| e.to_string())?;
    if !meta.is_file() {
        return Err("it is no file".into());
    }
    let mode = meta.permissions().mode();
    if mode & OTHERS != 0 {
        return Err(format!(
            "every user of the machine has access to it (mode {:04o}); chmod 0600 it",
            mode & 0o7777
        ));
    }
    let mut text = Zeroizing::new(String::with_capacity(1024));
    let mut limited = file.take(BYTES_MAX + 1);
    limited.read_to_string(&mut text).map_err(|e| e.to_string())?;
    if text.len() as u64 > BYTES_MAX {
        return Err(format!("it is longer than {BYTES_MAX} bytes"));
    }
    parse(&text)
}

fn parse(text: &str) -> Result<HeaderValue, String> {
    const FORMS: &str = "it must be one line: `api-key KEY`, `basic USER:PASSWORD` or `bearer TOKEN`";
    let line = text.trim_end_matches(['\n', '\r']);
    if line.contains(['\n', '\r', '\0']) {
        return Err(FORMS.into());
    }
    let (kind, secret) = line.split_once(' ').ok_or(FORMS)?;
    let secret = secret.trim();
    let is_token = !secret.is_empty() && secret.bytes().all(|b| b.is_ascii_graphic());
    let value = match kind.to_ascii_lowercase().as_str() {
        "api-key" | "apikey" if is_token => Zeroizing::new(format!("ApiKey {secret}")),
        "bearer" if is_token => Zeroizing::new(format!("Bearer {secret}")),
        "basic" if secret.contains(':') => Zeroizing::new(format!("Basic {}", STANDARD.encode(secret))),
        _ => return Err(FORMS.into()),
    };
    let mut header = HeaderValue::from_str(&value).map_err(|_| FORMS)?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::OpenOptionsExt;

    use super::*;

    #[test]
    fn three_forms_are_read() {
        let value = |text: &str| parse(text).unwrap().to_str().unwrap().to_owned();
        assert_eq!(value("api-key abc==\n"), "ApiKey abc==");
        assert_eq!(value("ApiKey abc=="), "ApiKey abc==");
        assert_eq!(
            value("basic elastic:pa:ss wörd\r\n"),
            format!("Basic {}", STANDARD.encode("elastic:pa:ss wörd"))
        );
        assert_eq!(value("bearer t.o-k_en"), "Bearer t.o-k_en");
        assert!(parse("bearer t").unwrap().is_sensitive());
    }

    #[test]
    fn what_is_none_of_them_is_refused_without_being_repeated() {
        for text in [
            "",
            "hunter2",
            "basic hunter2",
            "api-key ",
            "api-key hunter2 x",
            "bearer hunter2\nX-Evil: 1",
            "digest hunter2",
            "bearer hunter2\u{e9}",
        ] {
            let error = parse(text).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_file_that_everybody_can_read_is_no_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("credentials");
        let open = |mode| {
            let _ = std::fs::remove_file(&path);
            std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&path).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            std::fs::write(&path, "bearer x").unwrap();
            read(&path)
        };
        assert!(open(0o600).is_ok() && open(0o640).is_ok());
        for mode in [0o644, 0o602, 0o601] {
            assert!(open(mode).unwrap_err().contains("chmod"), "{mode:o}");
        }
        assert!(read(dir.path()).is_err());
        assert!(read(&dir.path().join("none")).is_err());
    }
}
