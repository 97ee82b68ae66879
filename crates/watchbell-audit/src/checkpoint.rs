//! Checkpoints (C2SP tlog-checkpoint): the head of a tree, as the text of a signed note.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::hash::Hash;
use crate::note::{Note, NoteError, SigningKey, VerifierKey};

/// How many entries a log has, and the root of their tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Names the log.
    pub origin: String,
    pub size: u64,
    pub root: Hash,
}

impl Checkpoint {
    /// The three lines.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, encode(&self.root))
    }

    /// Reads a note's text. Extension lines are passed over, as no reader of ours gives them a meaning.
    ///
    /// # Errors
    /// [`NoteError::Malformed`].
    pub fn parse(text: &str) -> Result<Checkpoint, NoteError> {
        let malformed = NoteError::Malformed;
        let lines: Vec<&str> = text
            .strip_suffix('\n')
            .ok_or(malformed("a checkpoint ends with a newline"))?
            .split('\n')
            .collect();
        let [origin, size, root, extensions @ ..] = lines.as_slice() else {
            return Err(malformed("a checkpoint has an origin, a size and a root"));
        };
        if origin.is_empty() || extensions.iter().any(|line| line.is_empty()) {
            return Err(malformed("a line of the checkpoint is empty"));
        }
        Ok(Checkpoint {
            origin: (*origin).to_owned(),
            size: parse_number(size).ok_or(malformed("the checkpoint's size is no decimal number"))?,
            root: decode(root).ok_or(malformed("the checkpoint's root is no hash in base64"))?,
        })
    }

    /// The checkpoint of a note that `key` signed.
    ///
    /// # Errors
    /// The note is malformed or not signed by `key`.
    pub fn open(bytes: &[u8], key: &VerifierKey) -> Result<(Checkpoint, Note), NoteError> {
        let note = Note::parse(bytes)?;
        note.verify(key)?;
        Ok((Checkpoint::parse(&note.text)?, note))
    }

    /// The signed note.
    pub fn sign(&self, key: &SigningKey, verifier: &VerifierKey) -> Note {
        let text = self.text();
        let signature = key.sign(verifier, &text);
        Note { text, signatures: vec![signature] }
    }
}

/// A hash as a line of a checkpoint or a proof.
pub fn encode(hash: &Hash) -> String {
    STANDARD.encode(hash)
}

/// The hash of such a line.
pub fn decode(line: &str) -> Option<Hash> {
    STANDARD.decode(line).ok()?.try_into().ok()
}

/// A decimal number without a sign or a leading zero.
pub(crate) fn parse_number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}
