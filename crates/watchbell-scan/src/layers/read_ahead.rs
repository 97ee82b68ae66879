//! Decompression on a thread of its own, ahead of who reads, for images of fewer layers than there are processors.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Scope;

const CHUNK_BYTES: usize = 256 << 10;
const CHUNKS: usize = 8;

/// The other end of a thread that reads.
pub(super) struct ReadAhead {
    chunks: Receiver<io::Result<Vec<u8>>>,
    empty: SyncSender<Vec<u8>>,
    chunk: Vec<u8>,
    position: usize,
}

impl ReadAhead {
    /// Begins to read. The thread ends with its source, with an error, or when this is dropped.
    pub(super) fn start<'scope, 'env: 'scope>(
        scope: &'scope Scope<'scope, 'env>,
        source: impl Read + Send + 'scope,
    ) -> Self {
        let (to_reader, chunks) = sync_channel(CHUNKS);
        let (empty, used) = sync_channel::<Vec<u8>>(CHUNKS + 2);
        scope.spawn(move || {
            let mut source = source;
            loop {
                let mut chunk = used.try_recv().unwrap_or_default();
                chunk.resize(CHUNK_BYTES, 0);
                let read = fill(&mut source, &mut chunk);
                let ends = !matches!(read, Ok(n) if n > 0);
                let said = to_reader.send(read.map(|n| {
                    chunk.truncate(n);
                    chunk
                }));
                if ends || said.is_err() {
                    return;
                }
            }
        });
        Self { chunks, empty, chunk: Vec::new(), position: 0 }
    }
}

/// Reads until `chunk` is full or the source ends.
fn fill(source: &mut impl Read, chunk: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < chunk.len() {
        match source.read(&mut chunk[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

impl Read for ReadAhead {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.position == self.chunk.len() {
            // Closed once the end was told: it stays the end.
            let Ok(next) = self.chunks.recv() else { return Ok(0) };
            let used = std::mem::replace(&mut self.chunk, next?);
            self.position = 0;
            // The thread may have ended meanwhile; then nobody needs the memory.
            let _ = self.empty.try_send(used);
        }
        let rest = &self.chunk[self.position..];
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        self.position += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_comes_through_and_an_error_does_too() {
        let bytes: Vec<u8> = (0..3_000_000u32).map(|n| n as u8).collect();
        std::thread::scope(|scope| {
            let mut out = Vec::new();
            ReadAhead::start(scope, &bytes[..]).read_to_end(&mut out).unwrap();
            assert!(out == bytes);
            let failing = (&bytes[..]).chain(io::repeat(0).take(1)).chain(Failing);
            let error = ReadAhead::start(scope, failing).read_to_end(&mut Vec::new()).unwrap_err();
            assert_eq!(error.to_string(), "broken");
            // Dropped early: the scope ends all the same.
            let mut some = [0; 10];
            ReadAhead::start(scope, &bytes[..]).read_exact(&mut some).unwrap();
        });
    }

    struct Failing;

    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("broken"))
        }
    }
}
