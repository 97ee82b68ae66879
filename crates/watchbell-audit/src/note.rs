//! Signed notes (C2SP signed-note): a text, and signatures by keys that have names.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use sha2::{Digest, Sha256};

/// Notes of others are read up to this size.
pub const MAX_NOTE_BYTES: usize = 64 << 10;
/// The specification asks for at least 16.
const MAX_SIGNATURES: usize = 64;
const SIGNATURE_BEGINS: &str = "— ";

/// What is wrong with a note or a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    #[error("it is no signed note: {0}")]
    Malformed(&'static str),
    #[error("it is no verifier key: {0}")]
    Key(&'static str),
    #[error("it is not signed by {0}")]
    Unsigned(String),
    #[error("its signature by {0} is wrong")]
    WrongSignature(String),
}

/// What a key signs: the type byte of its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureKind {
    /// Ed25519 over the text (signed-note).
    Ed25519 = 1,
    /// Ed25519 over the time and the text, by a witness (tlog-cosignature).
    CosignatureV1 = 4,
}

/// A public key with its name, written as `NAME+HEX+BASE64` (a vkey).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    kind: SignatureKind,
    public_key: [u8; 32],
    /// Of the three above; every signature that is made or looked at asks for it.
    id: u32,
}

impl VerifierKey {
    /// # Errors
    /// The name is empty or holds a space or a plus.
    pub fn new(name: &str, kind: SignatureKind, public_key: [u8; 32]) -> Result<VerifierKey, NoteError> {
        if !is_key_name(name) {
            return Err(NoteError::Key("its name is empty, or has a space, a control character or a plus"));
        }
        let hash = Sha256::new()
            .chain_update(name)
            .chain_update([b'\n', kind as u8])
            .chain_update(public_key)
            .finalize();
        let id = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
        Ok(VerifierKey { name: name.to_owned(), kind, public_key, id })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn kind(&self) -> SignatureKind {
        self.kind
    }

    pub fn public_key(&self) -> &[u8; 32] {
        &self.public_key
    }

    /// SHA-256(name ‖ newline ‖ type ‖ public key), its first four bytes.
    pub fn id(&self) -> u32 {
        self.id
    }

    fn verify_bytes(&self, message: &[u8], signature: &[u8]) -> Result<(), NoteError> {
        UnparsedPublicKey::new(&ED25519, &self.public_key)
            .verify(message, signature)
            .map_err(|_| NoteError::WrongSignature(self.name.clone()))
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut material = vec![self.kind as u8];
        material.extend_from_slice(&self.public_key);
        write!(f, "{}+{:08x}+{}", self.name, self.id(), STANDARD.encode(material))
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<VerifierKey, NoteError> {
        // Base64 may hold a plus, names and numbers do not.
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(material)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Key("it has the form NAME+HEX+BASE64"));
        };
        let material = STANDARD.decode(material).map_err(|_| NoteError::Key("its last part is no base64"))?;
        let Some((kind, key)) = material.split_first() else {
            return Err(NoteError::Key("its last part is empty"));
        };
        let kind = match kind {
            1 => SignatureKind::Ed25519,
            4 => SignatureKind::CosignatureV1,
            _ => return Err(NoteError::Key("only Ed25519 keys (types 1 and 4) are known")),
        };
        let key = <[u8; 32]>::try_from(key).map_err(|_| NoteError::Key("an Ed25519 key has 32 bytes"))?;
        let key = VerifierKey::new(name, kind, key)?;
        if format!("{:08x}", key.id()) != id {
            return Err(NoteError::Key("its number is not that of its name and key"));
        }
        Ok(key)
    }
}

/// A private key. It never leaves this type.
pub struct SigningKey {
    pair: Ed25519KeyPair,
}

impl SigningKey {
    /// From the 32 bytes of RFC 8032's private key.
    pub fn from_seed(seed: &[u8; 32]) -> SigningKey {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are a seed");
        SigningKey { pair }
    }

    pub fn public_key(&self) -> [u8; 32] {
        self.pair.public_key().as_ref().try_into().expect("an Ed25519 key has 32 bytes")
    }

    /// This key under a name.
    ///
    /// # Errors
    /// As [`VerifierKey::new`].
    pub fn verifier(&self, name: &str, kind: SignatureKind) -> Result<VerifierKey, NoteError> {
        VerifierKey::new(name, kind, self.public_key())
    }

    /// Signs a note's text, which ends with a newline.
    pub fn sign(&self, verifier: &VerifierKey, text: &str) -> Signature {
        let bytes = self.pair.sign(text.as_bytes()).as_ref().to_vec();
        Signature { name: verifier.name.clone(), id: verifier.id(), bytes }
    }

    /// Signs a checkpoint's text as a witness who saw it at `unix_seconds`.
    pub fn cosign(&self, verifier: &VerifierKey, text: &str, unix_seconds: u64) -> Signature {
        let mut bytes = unix_seconds.to_be_bytes().to_vec();
        bytes.extend_from_slice(self.pair.sign(cosigned(text, unix_seconds).as_bytes()).as_ref());
        Signature { name: verifier.name.clone(), id: verifier.id(), bytes }
    }
}

/// The message of a cosignature/v1 (tlog-cosignature, "Ed25519 signed message").
fn cosigned(text: &str, unix_seconds: u64) -> String {
    format!("cosignature/v1\ntime {unix_seconds}\n{text}")
}

/// One signature line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    pub name: String,
    pub id: u32,
    /// Behind the key's number.
    pub bytes: Vec<u8>,
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = self.id.to_be_bytes().to_vec();
        all.extend_from_slice(&self.bytes);
        write!(f, "{SIGNATURE_BEGINS}{} {}", self.name, STANDARD.encode(all))
    }
}

/// A text with its signatures, none of which is checked yet. Its printed form is the note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Ends with a newline.
    pub text: String,
    pub signatures: Vec<Signature>,
}

impl Note {
    /// # Errors
    /// [`NoteError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Note, NoteError> {
        let malformed = |why| Err(NoteError::Malformed(why));
        if bytes.len() > MAX_NOTE_BYTES {
            return malformed("it is larger than 64 KiB");
        }
        let Ok(note) = std::str::from_utf8(bytes) else { return malformed("it is not UTF-8") };
        if note.chars().any(|c| c < ' ' && c != '\n') {
            return malformed("it holds a control character");
        }
        // The last empty line parts text and signatures.
        let Some(at) = note.rfind("\n\n") else {
            return malformed("no empty line parts text and signatures");
        };
        let (text, lines) = (&note[..=at], &note[at + 2..]);
        let Some(lines) = lines.strip_suffix('\n') else {
            return malformed("its last line does not end with a newline");
        };
        let mut signatures = Vec::new();
        for line in lines.split('\n') {
            if signatures.len() == MAX_SIGNATURES {
                return malformed("it has more than 64 signatures");
            }
            let Some(signature) = parse_signature(line) else {
                return malformed("a signature line is wrong");
            };
            signatures.push(signature);
        }
        Ok(Note { text: text.to_owned(), signatures })
    }

    /// Whether `key` signed it. Signatures by other keys are passed over.
    ///
    /// # Errors
    /// [`NoteError::Unsigned`], [`NoteError::WrongSignature`].
    pub fn verify(&self, key: &VerifierKey) -> Result<(), NoteError> {
        match key.kind {
            SignatureKind::Ed25519 => {
                self.each_by(key, |bytes| key.verify_bytes(self.text.as_bytes(), bytes)).map(|_| ())
            }
            SignatureKind::CosignatureV1 => self.cosigned_at(key).map(|_| ()),
        }
    }

    /// When the witness `key` signed it: seconds since 1970 UTC.
    ///
    /// # Errors
    /// As [`Note::verify`].
    pub fn cosigned_at(&self, key: &VerifierKey) -> Result<u64, NoteError> {
        let wrong = || NoteError::WrongSignature(key.name.clone());
        self.each_by(key, |bytes| {
            let (time, signature) = bytes.split_first_chunk().ok_or_else(wrong)?;
            let time = u64::from_be_bytes(*time);
            if i64::try_from(time).is_err() {
                return Err(wrong());
            }
            key.verify_bytes(cosigned(&self.text, time).as_bytes(), signature).map(|()| time)
        })
    }

    /// All signatures of a known key must be right.
    fn each_by<T>(
        &self,
        key: &VerifierKey,
        check: impl Fn(&[u8]) -> Result<T, NoteError>,
    ) -> Result<T, NoteError> {
        let id = key.id();
        let mut found = None;
        for signature in self.signatures.iter().filter(|s| s.name == key.name && s.id == id) {
            found = Some(check(&signature.bytes)?);
        }
        found.ok_or_else(|| NoteError::Unsigned(key.name.clone()))
    }
}

fn parse_signature(line: &str) -> Option<Signature> {
    let (name, signature) = line.strip_prefix(SIGNATURE_BEGINS)?.split_once(' ')?;
    let bytes = STANDARD.decode(signature).ok()?;
    let (id, bytes) = bytes.split_first_chunk()?;
    let is_whole = is_key_name(name) && !bytes.is_empty();
    is_whole.then(|| Signature { name: name.to_owned(), id: u32::from_be_bytes(*id), bytes: bytes.to_vec() })
}

fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| writeln!(f, "{signature}"))
    }
}

#[cfg(test)]
mod tests;
