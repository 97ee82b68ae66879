//! The logs of containers, as the keeper writes them, read back for clients.
//!
//! ```text
//!   <run>.log.2 ── <run>.log.1 ── <run>.log     lines of `<time> <stdout|stderr> <F|P> <bytes>`, oldest file first
//!        └────── Files (in order, over rotations) ──▶ Lines (strip, select) ──▶ Stream (limit, wait for more)
//! ```
//!
//! What containers printed goes out as it came in; only its frame is read, and nothing in it is trusted.

mod dir;
mod files;
mod here;
mod lines;
mod live;
mod message;
mod room;
mod stream;

#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use watchbell_api::node::{LogQuery, LogSource, LogStream};
use watchbell_sandbox::ContainerId;

pub(crate) use dir::LogDir;
pub(crate) use files::{remove, size};
pub(crate) use here::Here;
pub(crate) use live::Live;
pub(crate) use message::{last_words, read_message};
pub(crate) use room::{Counted, Room, Tally, sweep_strangers};

use crate::place::{LogPlace, removed_mark};
use files::Files;
use lines::Lines;
use stream::Stream;

/// All logs below one directory.
pub(crate) struct Logs {
    pub(crate) dir: LogDir,
    pub(crate) live: Arc<Live>,
    pub(crate) here: Arc<Here>,
    pub(crate) data_dir: PathBuf,
}

impl LogSource for Logs {
    fn open(&self, query: &LogQuery) -> io::Result<Box<dyn LogStream>> {
        let place = LogPlace::asked(query);
        let mut path = place.file(query.container, query.restart);
        if query.trace {
            path = watchbell_sandbox::trace_path(&path);
        }
        let id = ContainerId { pod_uid: query.pod_uid.0, container: query.container, attempt: query.restart };
        // Before the files are looked at: an end that comes meanwhile is not missed.
        let watch = if query.follow { self.live.watch(id)? } else { None };
        let files = Files::open(self.dir.clone(), path, query.tail_lines)?;
        // What a container that is here has not written yet may still come.
        if files.is_empty() && self.here.pod_at(&place).is_none() {
            let is_removed = removed_mark(&self.data_dir, place.owner()).try_exists()?;
            if is_removed {
                return Err(io::Error::new(io::ErrorKind::NotFound, "logs of it were removed to make room"));
            }
        }
        let lines = Lines::new(query.since_unix_nanos, query.timestamps);
        Ok(Box::new(Stream::new(files, lines, watch, query.limit_bytes)))
    }
}
