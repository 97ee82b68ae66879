//! What the names of images stand for in a run, written where a server after this one finds it: this one may be killed when a
//! container runs and the journal does not know yet of which image.
//!
//! Lines of JSON, a file a run, never synced: what the page cache holds outlives the process, and no container outlives more.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// A run has few images; a file beyond this is not of ours.
const BYTES_MAX: u64 = 1 << 20;

/// What the name of an image stands for in a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Remembered {
    pub(crate) name: String,
    pub(crate) image_id: String,
    pub(crate) stop_signal: i32,
}

pub(crate) fn append(path: &Path, image: &Remembered) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let mut line = serde_json::to_vec(image)?;
    line.push(b'\n');
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)?.write_all(&line)
}

/// The newest line of a name counts. One that was cut off is none.
pub(crate) fn read(path: &Path) -> io::Result<Vec<Remembered>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(BYTES_MAX).read_to_end(&mut bytes)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    Ok(bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_off_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run-images/jobs/1/images");
        assert_eq!(read(&path).unwrap(), []);
        let image = |id: &str| Remembered { name: "tool:1".into(), image_id: id.into(), stop_signal: 3 };
        append(&path, &image("a@sha256:1")).unwrap();
        append(&path, &image("a@sha256:2")).unwrap();
        assert_eq!(read(&path).unwrap(), [image("a@sha256:1"), image("a@sha256:2")]);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 2]).unwrap();
        assert_eq!(read(&path).unwrap(), [image("a@sha256:1")]);
    }
}
