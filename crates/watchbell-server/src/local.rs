//! The local socket: `DIR/admin.sock`, HTTP without TLS for the machine's own administrator.
//!
//! The kernel says who is at the other end, so nothing has to be kept or shown; and it is the way in that no revocation
//! closes. kubectl and the client libraries do not speak to sockets; `watchbell` does.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;
use tokio::runtime::Handle;

/// Its name in the data directory.
pub const ADMIN_SOCKET: &str = "admin.sock";

/// Listens; a socket that an earlier server left is replaced.
pub(crate) fn listen(data_dir: &Path, runtime: &Handle) -> io::Result<(UnixListener, PathBuf)> {
    let path = data_dir.join(ADMIN_SOCKET);
    // Made where nobody else gets to, closed to others, then put into its place: it is never open to anybody.
    let made = data_dir.join("pki").join(ADMIN_SOCKET);
    match std::fs::remove_file(&made) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let _guard = runtime.enter();
    let listener = UnixListener::bind(&made)?;
    std::fs::set_permissions(&made, Permissions::from_mode(0o600))?;
    std::fs::rename(&made, &path)?;
    Ok((listener, path))
}

/// Whose the data directory is; root's where that cannot be seen.
pub(crate) fn owner(data_dir: &Path) -> u32 {
    std::fs::metadata(data_dir).map_or(0, |metadata| metadata.uid())
}
