use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::Error;
use crate::manifest::Run;

/// The record of one state of an array. Its digest names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// Of the records: 1.
    pub format: u32,
    /// The snapshot before; it may have been swept.
    #[serde(with = "optional_hex")]
    pub parent: Option<Digest>,
    #[serde(with = "hex")]
    pub manifest: Digest,
    /// Seconds since 1970.
    pub created_at: i64,
    pub message: String,
    pub by: Run,
    pub change: Change,
    pub keys: u64,
    /// Logical bytes of all keys.
    pub bytes: u64,
}

/// How a snapshot differs from its parent, in keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub added: u64,
    pub changed: u64,
    pub removed: u64,
}

impl Snapshot {
    pub fn encode(&self) -> Vec<u8> {
        // Into memory, with string keys alone: nothing that can fail.
        let mut bytes = serde_json::to_vec(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// `named`: what a record with these bytes is called; nothing where nobody can say without the array's key.
    pub(crate) fn decode(digest: Digest, bytes: &[u8], named: Option<Digest>) -> Result<Self, Error> {
        let damaged = |problem: String| Error::Damaged { what: "snapshot", digest, problem };
        if named.is_some_and(|named| named != digest) {
            return Err(damaged("its content has another digest".to_owned()));
        }
        let snapshot: Self = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
        if snapshot.format != 1 {
            return Err(damaged(format!("it is of format {}, and this program reads 1", snapshot.format)));
        }
        Ok(snapshot)
    }
}

pub(crate) mod hex {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use crate::digest::Digest;

    pub(crate) fn serialize<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(digest)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

pub(crate) mod optional_hex {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error as _};

    use crate::digest::Digest;

    pub(crate) fn serialize<S: Serializer>(
        digest: &Option<Digest>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        digest.as_ref().map(Digest::to_string).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Digest>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse()).transpose().map_err(D::Error::custom)
    }
}
