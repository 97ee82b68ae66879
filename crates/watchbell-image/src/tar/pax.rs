//! PAX extended headers: `<length> <key>=<value>\n`, again and again.

use super::Segment;

/// The records that override a header or describe a sparse file.
#[derive(Default)]
pub(super) struct PaxRecords {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link_path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<i64>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: SparseRecords,
}

/// The `GNU.sparse.` records of all three PAX variants of that format.
#[derive(Default)]
pub(super) struct SparseRecords {
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    /// `GNU.sparse.realsize` (1.0) or `GNU.sparse.size` (0.0, 0.1).
    pub(super) real_size: Option<u64>,
    /// From `GNU.sparse.map` (0.1) or pairs of offset and numbytes (0.0).
    pub(super) segments: Vec<Segment>,
    pending_offset: Option<u64>,
}

impl SparseRecords {
    pub(super) fn is_present(&self) -> bool {
        self.major.is_some() || self.real_size.is_some() || !self.segments.is_empty()
    }
}

impl PaxRecords {
    /// Reads the content of an `x` header. A later record of the same key wins; an empty value leaves the header's own.
    pub(super) fn parse(mut content: &[u8]) -> Result<Self, String> {
        let mut records = Self::default();
        while !content.is_empty() {
            let space = content
                .iter()
                .take(20)
                .position(|b| *b == b' ')
                .ok_or("an extended header's record has no length")?;
            let length =
                decimal(&content[..space]).ok_or("an extended header's record length is not a number")?;
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if length <= space + 1 || length > content.len() || content[length - 1] != b'\n' {
                return Err("an extended header's record does not have the length it states".to_owned());
            }
            let record = &content[space + 1..length - 1];
            let equals =
                record.iter().position(|b| *b == b'=').ok_or("an extended header's record has no = in it")?;
            records.set(&record[..equals], &record[equals + 1..])?;
            content = &content[length..];
        }
        Ok(records)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        let name = String::from_utf8_lossy(key);
        if key.is_empty() || key.contains(&0) {
            return Err("an extended header's record has an invalid key".to_owned());
        }
        let number = || decimal(value).ok_or_else(|| format!("the extended header's {name} is not a number"));
        let text = || {
            if value.contains(&0) {
                return Err(format!("the extended header's {name} contains a NUL"));
            }
            Ok(Some(value.to_owned()))
        };
        if value.is_empty() {
            return Ok(());
        }
        match key {
            b"path" => self.path = text()?,
            b"linkpath" => self.link_path = text()?,
            b"size" => self.size = Some(number()?),
            b"uid" => self.uid = Some(number()?),
            b"gid" => self.gid = Some(number()?),
            b"mtime" => self.mtime = Some(seconds(value).ok_or("the extended header's mtime is not a time")?),
            b"GNU.sparse.major" => self.sparse.major = Some(number()?),
            b"GNU.sparse.minor" => self.sparse.minor = Some(number()?),
            b"GNU.sparse.name" => self.sparse.name = text()?,
            b"GNU.sparse.realsize" | b"GNU.sparse.size" => self.sparse.real_size = Some(number()?),
            b"GNU.sparse.map" => {
                let numbers = value
                    .split(|b| *b == b',')
                    .map(decimal)
                    .collect::<Option<Vec<_>>>()
                    .filter(|n| n.len() % 2 == 0)
                    .ok_or("the extended header's GNU.sparse.map is not a list of pairs")?;
                self.sparse.segments =
                    numbers.chunks_exact(2).map(|p| Segment { offset: p[0], length: p[1] }).collect();
            }
            b"GNU.sparse.offset" => self.sparse.pending_offset = Some(number()?),
            b"GNU.sparse.numbytes" => {
                let offset = self
                    .sparse
                    .pending_offset
                    .take()
                    .ok_or("GNU.sparse.numbytes comes without its offset")?;
                self.sparse.segments.push(Segment { offset, length: number()? });
            }
            _ => {
                if let Some(xattr) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.push((xattr.to_owned(), value.to_owned()));
                }
            }
        }
        Ok(())
    }
}

/// Decimal digits and nothing else.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |n, b| match b {
        b'0'..=b'9' => n.checked_mul(10)?.checked_add(u64::from(b - b'0')),
        _ => None,
    })
}

/// `[-]seconds[.fraction]`, the fraction dropped.
fn seconds(text: &[u8]) -> Option<i64> {
    let whole = text.split(|b| *b == b'.').next()?;
    match whole.strip_prefix(b"-") {
        Some(digits) => i64::try_from(decimal(digits)?).ok().map(|n| -n),
        None => i64::try_from(decimal(whole)?).ok(),
    }
}
