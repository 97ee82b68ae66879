//! A proof that a log only grew, as a file: the body of a request to a witness (C2SP tlog-witness, `add-checkpoint`), so that
//! it can be sent to one as it is.

use std::fmt;

use crate::checkpoint::{Checkpoint, encode, parse_number};
use crate::hash::Hash;
use crate::note::{Note, NoteError, VerifierKey};
use crate::proof;
use crate::tlog_proof::parse_hashes;

/// Its printed form is the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Growth {
    pub old_size: u64,
    pub hashes: Vec<Hash>,
    /// Of the tree that it grew to.
    pub checkpoint: Note,
}

impl Growth {
    /// # Errors
    /// [`NoteError::Malformed`].
    pub fn parse(text: &str) -> Result<Growth, NoteError> {
        let malformed = NoteError::Malformed;
        let (head, checkpoint) =
            text.split_once("\n\n").ok_or(malformed("no empty line parts proof and checkpoint"))?;
        let mut lines = head.split('\n');
        let old_size = lines.next().and_then(|line| line.strip_prefix("old ")).and_then(parse_number);
        Ok(Growth {
            old_size: old_size.ok_or(malformed("a proof of growth begins with `old SIZE`"))?,
            hashes: parse_hashes(lines)?,
            checkpoint: Note::parse(checkpoint.as_bytes())?,
        })
    }

    /// Whether the log of `key` begins with all entries of `old`. Returns the checkpoint that it grew to.
    ///
    /// # Errors
    /// The checkpoint is not signed by `key`, is of another log, or its tree does not begin with that of `old`.
    pub fn verify(&self, old: &Checkpoint, key: &VerifierKey) -> Result<Checkpoint, NoteError> {
        self.checkpoint.verify(key)?;
        let new = Checkpoint::parse(&self.checkpoint.text)?;
        if old.origin != new.origin {
            return Err(NoteError::Malformed("the two checkpoints are of different logs"));
        }
        if old.size != self.old_size {
            return Err(NoteError::Malformed("the proof begins at another size than the old checkpoint"));
        }
        if proof::is_consistent(old.size, &old.root, new.size, &new.root, &self.hashes) {
            Ok(new)
        } else {
            Err(NoteError::Malformed("the new tree does not begin with the old one"))
        }
    }
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old_size)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{}", encode(hash)))?;
        write!(f, "\n{}", self.checkpoint)
    }
}
