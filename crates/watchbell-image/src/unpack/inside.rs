//! The process that unpacks: it has the layer, one directory, and a line to whoever asked.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use super::UnpackRecord;
use super::layer::LayerWriter;
use super::message::{Failure, OpaqueAnswer, ParentAnswer, Request, Said, receive, send};
use super::root::{Fill, Outside, Root};
use crate::Compression;
use crate::codec::{self, Ceiling, Decoder};
use crate::digest::HashingReader;
use crate::error::LayerError;

/// Unpacks the layer that is standard input into `dir`; standard output is a socket to whoever asked. For a process that
/// was confined before: it reads what strangers wrote.
pub fn unpacker_main(dir: OwnedFd) -> ExitCode {
    let streams = (io::stdin().as_fd().try_clone_to_owned(), io::stdout().as_fd().try_clone_to_owned());
    let (Ok(layer), Ok(line)) = streams else { return ExitCode::FAILURE };
    match serve(File::from(layer), File::from(line), Root::at(dir)) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever asked is gone, and nobody else is there to be told.
        Err(_) => ExitCode::FAILURE,
    }
}

/// Answers one request.
pub(super) fn serve(layer: File, line: impl Read + Write, root: Root) -> io::Result<()> {
    let mut line = line;
    let request: Request = receive(&mut line)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let mut asking = Asking { line, is_hidden: false };
    let outcome = unpack(layer, &request, &root, &mut asking);
    send(&mut asking.line, &Said::Outcome(outcome))
}

fn unpack(
    layer: File,
    request: &Request,
    root: &Root,
    outside: &mut Asking<impl Read + Write>,
) -> Result<UnpackRecord, Failure> {
    let limits = &request.limits;
    let mut layer = BufReader::with_capacity(256 << 10, layer);
    let found = codec::sniff(&mut layer).map_err(|e| LayerError::Decompress { cause: e })?;
    if found != request.compression {
        return Err(Failure::Mislabelled { found });
    }
    // Headers and padding come on top of the files' own bytes.
    let absolute_max = request.bytes_left.saturating_add(limits.layer_entries_max.saturating_mul(2048));
    let ceiling = match found {
        Compression::None => absolute_max,
        Compression::Gzip | Compression::Zstd => codec::ceiling(request.size, absolute_max, limits),
    };
    let decoder = Ceiling::new(Decoder::new(layer, found), ceiling);
    let hashing = HashingReader::new(decoder, request.diff_id.algorithm());
    let mut writer = LayerWriter::new(root, outside, limits, request.bytes_left);
    let (actual, _) = writer.unpack(hashing)?.finish();
    if actual != request.diff_id {
        return Err(Failure::DiffId { actual });
    }
    let record = writer.finish(request.diff_id.clone())?;
    if record.bytes > request.bytes_left {
        return Err(LayerError::ImageTooLarge { bytes_max: limits.image_unpacked_bytes_max }.into());
    }
    Ok(record)
}

/// What lies outside of the directory is asked for.
struct Asking<L> {
    line: L,
    /// The layer hides everything below it.
    is_hidden: bool,
}

impl<L: Read + Write> Outside for Asking<L> {
    fn parent(&mut self, path: &[Vec<u8>]) -> io::Result<Fill> {
        if self.is_hidden {
            return Ok(Fill::PLAIN);
        }
        send(&mut self.line, &Said::Parent(path.to_vec()))?;
        let answer: Option<ParentAnswer> = receive(&mut self.line)?;
        answer.ok_or(io::ErrorKind::UnexpectedEof)?.map_err(io::Error::from)
    }

    fn mark_opaque(&mut self, path: &[Vec<u8>]) -> io::Result<()> {
        send(&mut self.line, &Said::Opaque(path.to_vec()))?;
        let answer: Option<OpaqueAnswer> = receive(&mut self.line)?;
        answer.ok_or(io::ErrorKind::UnexpectedEof)?.map_err(io::Error::from)
    }

    fn hide(&mut self) {
        self.is_hidden = true;
    }
}
