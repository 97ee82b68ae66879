use std::fmt;

/// The path of a node from the root of its hierarchy, without slashes at its ends: `level/temperature`. The root is "".
///
/// Zarr v3 core, section "Node names": no empty part, not `.` or `..` only dots, no part that begins with `__`. Beyond the
/// specification, control characters are refused, because paths go to terminals and into host file names.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodePath(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("node path is longer than {MAX_BYTES} bytes")]
    TooLong,
    #[error("node path {0:?} has more than {MAX_PARTS} parts")]
    TooDeep(String),
    #[error(
        "node path {0:?} has an empty part; write it without slashes at its ends and without double slashes"
    )]
    EmptyPart(String),
    #[error("node path {0:?} has a part made of dots alone")]
    Dots(String),
    #[error("node path {0:?} has a part that begins with \"__\", which Zarr keeps for itself")]
    Reserved(String),
    #[error("node path {0:?} has a control character or a backslash")]
    Character(String),
    #[error("node path {0:?} has a part longer than {MAX_PART_BYTES} bytes, which no file system takes")]
    PartTooLong(String),
    #[error("node path {0:?} has a part with the name of a metadata document")]
    Document(String),
}

const MAX_BYTES: usize = 2048;
const MAX_PARTS: usize = 32;
/// `NAME_MAX` of Linux.
const MAX_PART_BYTES: usize = 255;

impl NodePath {
    pub const fn root() -> Self {
        Self(String::new())
    }

    /// Checks a path as a hierarchy has it. A leading slash, which Zarr's tools print, is taken off.
    pub fn new(path: &str) -> Result<Self, PathError> {
        let path = path.strip_prefix('/').unwrap_or(path);
        if path.len() > MAX_BYTES {
            return Err(PathError::TooLong);
        }
        if path.is_empty() {
            return Ok(Self::root());
        }
        let whole = || path.to_owned();
        for (count, part) in path.split('/').enumerate() {
            if count == MAX_PARTS {
                return Err(PathError::TooDeep(whole()));
            }
            check_part(part).map_err(|why| why(whole()))?;
        }
        Ok(Self(whole()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The key of something that belongs to this node: `level/temperature` and `c/0` make `level/temperature/c/0`.
    pub fn key(&self, rest: &str) -> String {
        if self.is_root() { rest.to_owned() } else { format!("{}/{rest}", self.0) }
    }

    /// What stands behind this node's path in `key`; nothing when the key is not of this node or below it.
    pub fn strip<'a>(&self, key: &'a str) -> Option<&'a str> {
        if self.is_root() { Some(key) } else { key.strip_prefix(&self.0)?.strip_prefix('/') }
    }

    /// No path of a node, and before all those below this one.
    pub(crate) fn first_below(&self) -> Self {
        Self(self.key(""))
    }

    /// Of the group that this node is in; nothing of the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        Some(Self(self.0.rsplit_once('/').map_or("", |(parent, _)| parent).to_owned()))
    }
}

fn check_part(part: &str) -> Result<(), fn(String) -> PathError> {
    if part.is_empty() {
        Err(PathError::EmptyPart)
    } else if part.bytes().all(|b| b == b'.') {
        Err(PathError::Dots)
    } else if part.starts_with("__") {
        Err(PathError::Reserved)
    } else if part.chars().any(|c| c.is_control() || c == '\\') {
        Err(PathError::Character)
    } else if part.len() > MAX_PART_BYTES {
        Err(PathError::PartTooLong)
    } else if crate::document::is_name(part) {
        Err(PathError::Document)
    } else {
        Ok(())
    }
}

impl fmt::Display for NodePath {
    /// With a leading slash, as Zarr's tools print it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.0)
    }
}
