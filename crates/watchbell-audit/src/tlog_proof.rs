//! A proof that an entry is in a log, as a file (C2SP tlog-proof).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::checkpoint::{Checkpoint, decode, encode, parse_number};
use crate::hash::{Hash, leaf_hash};
use crate::note::{Note, NoteError, VerifierKey};
use crate::proof;

pub(crate) const TLOG_PROOF_BEGINS: &str = "c2sp.org/tlog-proof@v1";
/// As many hashes as the tallest tree needs.
const MAX_HASHES: usize = 63;

/// Its printed form is the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    /// The entry itself. The file does not vouch for it; checking it against the hashes does.
    pub extra: Option<Vec<u8>>,
    pub index: u64,
    pub hashes: Vec<Hash>,
    pub checkpoint: Note,
}

impl TlogProof {
    /// # Errors
    /// [`NoteError::Malformed`].
    pub fn parse(text: &str) -> Result<TlogProof, NoteError> {
        let malformed = NoteError::Malformed;
        let rest = text
            .strip_prefix(TLOG_PROOF_BEGINS)
            .and_then(|rest| rest.strip_prefix('\n'))
            .ok_or(malformed("a proof begins with c2sp.org/tlog-proof@v1"))?;
        let (head, checkpoint) =
            rest.split_once("\n\n").ok_or(malformed("no empty line parts proof and checkpoint"))?;
        let mut lines = head.split('\n').peekable();
        let extra = match lines.peek().and_then(|line| line.strip_prefix("extra ")) {
            Some(extra) => {
                lines.next();
                Some(STANDARD.decode(extra).map_err(|_| malformed("the extra data is no base64"))?)
            }
            None => None,
        };
        let index = lines.next().and_then(|line| line.strip_prefix("index ")).and_then(parse_number);
        Ok(TlogProof {
            extra,
            index: index.ok_or(malformed("the proof has no index"))?,
            hashes: parse_hashes(lines)?,
            checkpoint: Note::parse(checkpoint.as_bytes())?,
        })
    }

    /// Whether `entry` stands at the index in the log of `key`. Returns the checkpoint that vouches for it.
    ///
    /// # Errors
    /// The checkpoint is not signed by `key`, or the hashes do not lead from the entry to its root.
    pub fn verify(&self, entry: &[u8], key: &VerifierKey) -> Result<Checkpoint, NoteError> {
        self.checkpoint.verify(key)?;
        let checkpoint = Checkpoint::parse(&self.checkpoint.text)?;
        let leaf = leaf_hash(entry);
        if proof::includes(&leaf, self.index, checkpoint.size, &self.hashes, &checkpoint.root) {
            Ok(checkpoint)
        } else {
            Err(NoteError::Malformed("its hashes do not lead from the entry to the checkpoint's root"))
        }
    }
}

/// One hash a line.
pub(crate) fn parse_hashes<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Vec<Hash>, NoteError> {
    let hashes: Option<Vec<Hash>> = lines.take(MAX_HASHES + 1).map(decode).collect();
    let hashes = hashes.ok_or(NoteError::Malformed("a line of the proof is no hash in base64"))?;
    if hashes.len() > MAX_HASHES {
        return Err(NoteError::Malformed("the proof has more than 63 hashes"));
    }
    Ok(hashes)
}

impl fmt::Display for TlogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{TLOG_PROOF_BEGINS}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", STANDARD.encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{}", encode(hash)))?;
        write!(f, "\n{}", self.checkpoint)
    }
}
