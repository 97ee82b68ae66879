//! The annotation `watchbell.dev/array` on a pod template: which arrays a Job uses, and how their chunks are split.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::path::NodePath;

/// One array that a Job uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// Of the DataArray, in the Job's namespace.
    pub name: String,
    /// Where its directory is in the container: absolute.
    pub mount: String,
    pub mode: Mode,
    /// Of a use for writing.
    pub split: Option<Split>,
    /// The arrays that are written; empty: all that the split can divide.
    pub variables: Vec<NodePath>,
    pub extend: Option<Extend>,
    pub read_scope: ReadScope,
    /// Whether every owned chunk must be there in the end.
    pub require_complete: bool,
    pub on_conflict: OnConflict,
    /// Bytes that an attempt may write, as a Kubernetes quantity.
    pub quota: Option<String>,
    pub upper: Upper,
}

/// Where what an attempt writes lies until it is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upper {
    Memory,
    Disk,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Read,
    Write,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Split {
    /// The dimension of that name in so many parts, as even as the chunks allow.
    Dimension { dimension: String, into: u32 },
    /// Each chunk its own index, the last dimension fastest.
    PerChunk,
    /// The same with the shards of a sharded array.
    PerShard,
    /// Stated for each index.
    Explicit(Vec<Region>),
    /// Of a store of artifacts, which is no Zarr hierarchy: an index owns all below the directory of its number. Written as
    /// `mode: artifacts`.
    Artifacts,
}

/// Elements by dimension, `[start, stop)`; a dimension that is not named is whole.
pub type Region = BTreeMap<String, (u64, u64)>;

/// Growth before the run: so many elements more along a dimension. The split is then over what is new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extend {
    pub dimension: String,
    pub by: u64,
}

/// What of the array's elements an index sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadScope {
    All,
    Own,
}

/// When somebody else published meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConflict {
    Fail,
    /// Publish on top of it, when the metadata are unchanged and no chunk was written by both.
    Rebase,
}

/// What is wrong, and where in the annotation: `[1].split.into`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct RuleError {
    pub path: String,
    pub problem: String,
}

const MAX_USES: usize = 16;
const MAX_REGIONS: usize = 10_000;
const MAX_VARIABLES: usize = 1_000;

/// Reads the annotation's value: one use, or a list of them.
pub fn uses(value: &Value) -> Result<Vec<Use>, RuleError> {
    let found = match value {
        Value::Array(list) if list.is_empty() || list.len() > MAX_USES => {
            return Err(
                At::new("").wrong(format!("has {} arrays; one to {MAX_USES} can be used", list.len()))
            );
        }
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(index, value)| one(&At::new(&format!("[{index}]")), value))
            .collect::<Result<Vec<_>, _>>()?,
        value => vec![one(&At::new(""), value)?],
    };
    for (index, second) in found.iter().enumerate() {
        let at = At::new(&format!("[{index}]"));
        for first in &found[..index] {
            if first.name == second.name {
                return Err(at.field("name").wrong(format!("the array {:?} is used twice", second.name)));
            }
            if is_within(&first.mount, &second.mount) || is_within(&second.mount, &first.mount) {
                let problem = format!("{:?} and {:?} lie in each other", second.mount, first.mount);
                return Err(at.field("mount").wrong(problem));
            }
        }
    }
    Ok(found)
}

fn is_within(path: &str, dir: &str) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A place in the annotation.
struct At(String);

impl At {
    fn new(path: &str) -> Self {
        Self(path.to_owned())
    }

    fn field(&self, name: &str) -> Self {
        Self(if self.0.is_empty() { name.to_owned() } else { format!("{}.{name}", self.0) })
    }

    fn item(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    fn wrong(&self, problem: impl Into<String>) -> RuleError {
        let path = if self.0.is_empty() { "(root)".to_owned() } else { self.0.clone() };
        RuleError { path, problem: problem.into() }
    }

    fn object<'a>(&self, value: &'a Value, known: &[&str]) -> Result<&'a Map<String, Value>, RuleError> {
        let object = value.as_object().ok_or_else(|| self.wrong("must be an object"))?;
        match object.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(object),
            Some(key) => Err(self.field(key).wrong(format!("unknown field; known are {}", known.join(", ")))),
        }
    }

    fn string<'a>(&self, value: &'a Value) -> Result<&'a str, RuleError> {
        value.as_str().ok_or_else(|| self.wrong("must be a string"))
    }

    fn number(&self, value: &Value, least: u64, most: u64) -> Result<u64, RuleError> {
        value
            .as_u64()
            .filter(|n| (least..=most).contains(n))
            .ok_or_else(|| self.wrong(format!("must be a whole number from {least} to {most}")))
    }

    fn list<'a>(&self, value: &'a Value, most: usize) -> Result<&'a Vec<Value>, RuleError> {
        let list = value.as_array().ok_or_else(|| self.wrong("must be a list"))?;
        if list.is_empty() || list.len() > most {
            return Err(self.wrong(format!("has {} entries; it takes one to {most}", list.len())));
        }
        Ok(list)
    }

    fn one_of<T: Copy>(&self, value: &Value, words: &[(&str, T)]) -> Result<T, RuleError> {
        let text = self.string(value)?;
        words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning).ok_or_else(|| {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.wrong(format!("{text:?} is none of {}", words.join(", ")))
        })
    }
}

const FIELDS: [&str; 11] = [
    "name",
    "mount",
    "mode",
    "split",
    "variables",
    "extend",
    "readScope",
    "requireComplete",
    "onConflict",
    "quota",
    "upper",
];

fn one(at: &At, value: &Value) -> Result<Use, RuleError> {
    let object = at.object(value, &FIELDS)?;
    let required = |name: &str| object.get(name).ok_or_else(|| at.field(name).wrong("is required"));
    let name = at.field("name").string(required("name")?)?.to_owned();
    if name.is_empty() || name.len() > 253 {
        return Err(at.field("name").wrong("must be the name of a DataArray of the Job's namespace"));
    }
    let mount = mount(&at.field("mount"), required("mount")?)?;
    let modes = [
        ("read", (Mode::Read, None)),
        ("write", (Mode::Write, None)),
        ("artifacts", (Mode::Write, Some(()))),
    ];
    let (mode, artifacts) = match object.get("mode") {
        None => (Mode::Read, None),
        Some(value) => at.field("mode").one_of(value, &modes)?,
    };
    let split = match artifacts {
        None => object.get("split").map(|value| split(&at.field("split"), value)).transpose()?,
        Some(()) => {
            for field in ["split", "variables", "extend", "readScope", "requireComplete"] {
                if object.contains_key(field) {
                    return Err(at
                        .field(field)
                        .wrong("is not for mode artifacts, in which nobody knows names before"));
                }
            }
            Some(Split::Artifacts)
        }
    };
    match (mode, &split) {
        (Mode::Write, None) => {
            let problem = "is required when mode is write: say which index owns which chunks, such as {dim: time, into: 8}";
            return Err(at.field("split").wrong(problem));
        }
        (Mode::Read, _) => {
            for field in ["split", "variables", "extend", "requireComplete", "onConflict", "quota", "upper"] {
                // A split may be said with `read`, for whom each index reads only its part.
                if object.contains_key(field) && field != "split" && field != "variables" {
                    return Err(at.field(field).wrong("is only for mode write"));
                }
            }
        }
        (Mode::Write, Some(_)) => {}
    }
    let scopes = [("all", ReadScope::All), ("own", ReadScope::Own)];
    let at_scope = at.field("readScope");
    let read_scope =
        object.get("readScope").map_or(Ok(ReadScope::All), |value| at_scope.one_of(value, &scopes))?;
    if read_scope == ReadScope::Own && split.is_none() {
        return Err(at_scope.wrong("own needs a split, which says what an index's own is"));
    }
    let conflicts = [("fail", OnConflict::Fail), ("rebase", OnConflict::Rebase)];
    let at_conflict = at.field("onConflict");
    let on_conflict =
        object.get("onConflict").map_or(Ok(OnConflict::Fail), |v| at_conflict.one_of(v, &conflicts))?;
    let uppers = [("memory", Upper::Memory), ("disk", Upper::Disk)];
    let upper = object.get("upper").map_or(Ok(Upper::Memory), |v| at.field("upper").one_of(v, &uppers))?;
    let at_complete = at.field("requireComplete");
    let require_complete = match object.get("requireComplete") {
        None => false,
        Some(value) => value.as_bool().ok_or_else(|| at_complete.wrong("must be true or false"))?,
    };
    let quota = object.get("quota").map(|value| match value {
        Value::Number(bytes) => Ok(bytes.to_string()),
        value => at.field("quota").string(value).map(str::to_owned),
    });
    Ok(Use {
        name,
        mount,
        mode,
        split,
        variables: object
            .get("variables")
            .map_or(Ok(Vec::new()), |v| variables(&at.field("variables"), v))?,
        extend: object.get("extend").map(|value| extend(&at.field("extend"), value)).transpose()?,
        read_scope,
        require_complete,
        on_conflict,
        quota: quota.transpose()?,
        upper,
    })
}

fn mount(at: &At, value: &Value) -> Result<String, RuleError> {
    let path = at.string(value)?.trim_end_matches('/');
    let is_plain = path.starts_with('/')
        && path.len() < 4096
        && path[1..].split('/').all(|part| !matches!(part, "" | "." | ".."))
        && !path.chars().any(char::is_control);
    if !is_plain {
        return Err(at.wrong("must be an absolute path below /, without . and .. and double slashes"));
    }
    Ok(path.to_owned())
}

fn split(at: &At, value: &Value) -> Result<Split, RuleError> {
    if let Value::String(_) = value {
        return match at.one_of(value, &[("perChunk", true), ("perShard", false)])? {
            true => Ok(Split::PerChunk),
            false => Ok(Split::PerShard),
        };
    }
    let object = at.object(value, &["dim", "into", "explicit"])?;
    match (object.get("dim"), object.get("into"), object.get("explicit")) {
        (Some(dimension), Some(into), None) => Ok(Split::Dimension {
            dimension: dimension_name(&at.field("dim"), dimension)?,
            into: at.field("into").number(into, 1, u64::from(u32::MAX >> 1))? as u32,
        }),
        (None, None, Some(regions)) => {
            let at = at.field("explicit");
            let regions = at.list(regions, MAX_REGIONS)?.iter().enumerate();
            regions
                .map(|(i, value)| region(&at.item(i), value))
                .collect::<Result<_, _>>()
                .map(Split::Explicit)
        }
        _ => Err(at.wrong("must be perChunk, perShard, {dim: NAME, into: N} or {explicit: [...]}")),
    }
}

/// What became of an unquoted `y` or `n`: YAML reads those of a manifest as booleans.
fn boolean(at: &At, is_true: bool) -> RuleError {
    let (letter, words) = if is_true { ("y", "y, yes, on and true") } else { ("n", "n, no, off and false") };
    at.wrong(format!(
        "must be the name of a dimension; YAML reads {words} as {is_true}: write \"{letter}\" in quotes"
    ))
}

fn dimension_name(at: &At, value: &Value) -> Result<String, RuleError> {
    if let Value::Bool(is_true) = value {
        return Err(boolean(at, *is_true));
    }
    let name = at.string(value)?;
    if name.is_empty() || name.len() > 253 || name.chars().any(char::is_control) {
        return Err(at.wrong("must be the name of a dimension"));
    }
    Ok(name.to_owned())
}

fn region(at: &At, value: &Value) -> Result<Region, RuleError> {
    let object = value.as_object().ok_or_else(|| at.wrong("must be an object: {time: [0, 24]}"))?;
    if object.is_empty() || object.len() > crate::MAX_DIMENSIONS {
        return Err(at.wrong("names no dimension, or too many"));
    }
    let range = |(name, value): (&String, &Value)| {
        // A key is text, whatever it was.
        if let Ok(is_true) = name.parse() {
            return Err(boolean(at, is_true));
        }
        let at = at.field(name);
        match value.as_array().map(Vec::as_slice) {
            Some([start, stop]) => {
                let start = at.number(start, 0, crate::document::MAX_LENGTH)?;
                let stop = at.number(stop, 0, crate::document::MAX_LENGTH)?;
                if start >= stop {
                    return Err(at.wrong("its start is not before its stop"));
                }
                Ok((dimension_name(&at, &Value::String(name.clone()))?, (start, stop)))
            }
            _ => Err(at.wrong("must be [start, stop] in elements")),
        }
    };
    object.iter().map(range).collect()
}

fn variables(at: &At, value: &Value) -> Result<Vec<NodePath>, RuleError> {
    let list = at.list(value, MAX_VARIABLES)?.iter().enumerate();
    list.map(|(index, value)| {
        let at = at.item(index);
        NodePath::new(at.string(value)?).map_err(|error| at.wrong(error.to_string()))
    })
    .collect()
}

fn extend(at: &At, value: &Value) -> Result<Extend, RuleError> {
    let object = at.object(value, &["dim", "by"])?;
    match (object.get("dim"), object.get("by")) {
        (Some(dimension), Some(by)) => Ok(Extend {
            dimension: dimension_name(&at.field("dim"), dimension)?,
            by: at.field("by").number(by, 1, crate::document::MAX_LENGTH)?,
        }),
        _ => Err(at.wrong("must be {dim: NAME, by: ELEMENTS}")),
    }
}
