//! One layer's transfer, resumed where it broke off.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempPath;

use crate::digest::Hasher;
use crate::registry::{LayerAnswer, Registry};
use crate::store::{LOOK_EVERY_BYTES, sync_dir, verify};
use crate::{Descriptor, Error, Event, Progress, PullOptions, Store};

/// Getting on by this much makes up for earlier failures.
const PROGRESS_BYTES: u64 = 1 << 20;

/// Fetches the layer unless it is in the store. Who finds it on its way already does not wait for that: whoever sends it may
/// take for ever.
pub(super) fn fetch(
    store: &Store,
    registry: &Registry<'_>,
    layer: &Descriptor,
    options: &PullOptions,
    progress: &dyn Progress,
    stop: &AtomicBool,
) -> Result<(), Error> {
    let Some(mut partial) = Partial::open(store, layer)? else {
        progress.event(Event::LayerPresent { layer: &layer.digest, bytes: layer.size });
        return Ok(());
    };
    progress.event(Event::LayerStarted {
        layer: &layer.digest,
        bytes: layer.size,
        resumed_at: partial.bytes,
    });
    if let Err(e) = store.check_room(&format_args!("layer {}", layer.digest), layer.size - partial.bytes) {
        partial.discard()?;
        return Err(e);
    }
    let mut inherited = partial.bytes > 0;
    let mut failures = 0;
    let mut delay = options.retry_delay;
    loop {
        let before = partial.bytes;
        let outcome = if partial.bytes == layer.size {
            Ok(())
        } else {
            partial.transfer(store, registry, layer, progress, stop)
        };
        let cause = match outcome {
            Ok(()) => match partial.verify(registry, layer) {
                Ok(()) => break,
                // What an earlier run left may be damaged; it gets one fresh start.
                Err(_) if inherited => {
                    inherited = false;
                    partial.restart()?;
                    continue;
                }
                Err(e) => {
                    partial.discard()?;
                    return Err(e);
                }
            },
            Err(e) if stop.load(Ordering::Relaxed) || !progress.is_wanted() => return Err(e),
            Err(e) if is_transient(&e) => e,
            Err(e) => {
                partial.discard()?;
                return Err(e);
            }
        };
        if partial.bytes.saturating_sub(before) >= PROGRESS_BYTES {
            (failures, delay) = (0, options.retry_delay);
        }
        failures += 1;
        if failures >= options.attempts {
            return Err(cause);
        }
        progress.event(Event::LayerRetried {
            layer: &layer.digest,
            attempt: failures,
            cause: &cause.to_string(),
        });
        std::thread::sleep(delay);
        delay = delay.saturating_mul(2);
    }
    partial.place(store, layer)?;
    progress.event(Event::LayerStored { layer: &layer.digest });
    Ok(())
}

/// Whether the same request may succeed a moment later.
fn is_transient(error: &Error) -> bool {
    match error {
        Error::Unreachable { .. } => true,
        Error::Refused { status, .. } => matches!(status, 408 | 429 | 500..=599),
        _ => false,
    }
}

/// What has arrived so far, in a file that only one process writes.
struct Partial {
    file: File,
    path: PathBuf,
    bytes: u64,
    hasher: Hasher,
    /// Where it is for this transfer alone: gone with it, but for what was placed.
    _own: Option<TempPath>,
}

impl Partial {
    /// Opens and locks the layer's partial file, or makes one beside it where that is locked. `None` when the layer is in the
    /// store.
    fn open(store: &Store, layer: &Descriptor) -> Result<Option<Self>, Error> {
        let name = format!("{}-{}.partial", layer.digest.algorithm().as_str(), layer.digest.hex());
        let path = store.ingest_dir().join(name);
        loop {
            if store.has_blob(&layer.digest, layer.size)? {
                return Ok(None);
            }
            let mut file = OpenOptions::new()
                .read(true)
                .append(true)
                .create(true)
                .mode(0o600)
                .open(&path)
                .map_err(Error::io("open", &path))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Self::beside(store, layer).map(Some),
                Err(TryLockError::Error(e)) => return Err(Error::io("lock", &path)(e)),
            }
            // Whoever held the lock may have finished and moved the file to its place, or thrown it away.
            let locked = file.metadata().map_err(Error::io("look at", &path))?;
            let named = crate::store::if_exists(fs::metadata(&path)).map_err(Error::io("look at", &path))?;
            if named.is_none_or(|n| n.ino() != locked.ino()) {
                continue;
            }
            let mut hasher = Hasher::new(layer.digest.algorithm());
            let mut bytes = locked.len();
            if bytes > layer.size {
                file.set_len(0).map_err(Error::io("truncate", &path))?;
                bytes = 0;
            }
            hash_file(&mut file, &mut hasher).map_err(Error::io("read", &path))?;
            return Ok(Some(Self { file, path, bytes, hasher, _own: None }));
        }
    }

    fn beside(store: &Store, layer: &Descriptor) -> Result<Self, Error> {
        let dir = store.ingest_dir();
        let made = tempfile::Builder::new().append(true).tempfile_in(&dir);
        let (file, own) = made.map_err(Error::io("create a file in", &dir))?.into_parts();
        let hasher = Hasher::new(layer.digest.algorithm());
        Ok(Self { file, path: own.to_path_buf(), bytes: 0, hasher, _own: Some(own) })
    }

    /// Appends what the registry sends from here on.
    fn transfer(
        &mut self,
        store: &Store,
        registry: &Registry<'_>,
        layer: &Descriptor,
        progress: &dyn Progress,
        stop: &AtomicBool,
    ) -> Result<(), Error> {
        let mut content = match registry.layer(&layer.digest, self.bytes)? {
            LayerAnswer::Rest(content) => content,
            LayerAnswer::Whole(content) => {
                self.restart()?;
                content
            }
            LayerAnswer::NoSuchRange => {
                self.restart()?;
                return Err(registry.broken_off_layer("the registry no longer has the rest of the layer"));
            }
        };
        let mut buffer = vec![0u8; 128 << 10];
        let mut look_at = self.bytes + LOOK_EVERY_BYTES;
        while !stop.load(Ordering::Relaxed) {
            if !progress.is_wanted() {
                return Err(Error::Unwanted { reference: registry.origin() });
            }
            let n = match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n as u64,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(registry.broken_off_layer(&e.to_string())),
            };
            if self.bytes + n > layer.size {
                return Err(Error::SizeMismatch {
                    origin: registry.origin(),
                    object: "layer",
                    digest: layer.digest.clone(),
                    expected: layer.size,
                    actual: self.bytes + n,
                });
            }
            let arrived = &buffer[..n as usize];
            self.file.write_all(arrived).map_err(Error::io("write", &self.path))?;
            self.hasher.update(arrived);
            self.bytes += n;
            if self.bytes >= look_at {
                // Others write too.
                store.check_room(&format_args!("layer {}", layer.digest), 0)?;
                look_at = self.bytes + LOOK_EVERY_BYTES;
            }
            progress.event(Event::LayerBytes { layer: &layer.digest, bytes: n });
        }
        if self.bytes < layer.size {
            return Err(
                registry.broken_off_layer(&format!("it ended at byte {} of {}", self.bytes, layer.size))
            );
        }
        Ok(())
    }

    fn verify(&self, registry: &Registry<'_>, layer: &Descriptor) -> Result<(), Error> {
        let actual = self.hasher.clone().finish();
        verify(&registry.origin(), "layer", &layer.digest, layer.size, &actual, self.bytes)
    }

    /// Begins anew.
    fn restart(&mut self) -> Result<(), Error> {
        self.file.set_len(0).map_err(Error::io("truncate", &self.path))?;
        self.bytes = 0;
        self.hasher = self.hasher.restarted();
        Ok(())
    }

    /// Throws away what is not what it should be.
    fn discard(self) -> Result<(), Error> {
        fs::remove_file(&self.path).map_err(Error::io("remove", &self.path))
    }

    fn place(self, store: &Store, layer: &Descriptor) -> Result<(), Error> {
        let place = store.blob_path(&layer.digest);
        self.file.sync_all().map_err(Error::io("sync", &self.path))?;
        fs::rename(&self.path, &place).map_err(Error::io("place", &place))?;
        sync_dir(place.parent().expect("every path of the store has a parent"))
    }
}

fn hash_file(file: &mut File, hasher: &mut Hasher) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    let mut buffer = vec![0u8; 128 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            n => hasher.update(&buffer[..n]),
        }
    }
}
