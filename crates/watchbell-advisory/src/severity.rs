//! How bad it is: scores computed from CVSS vectors, and publishers' own words where there is none.

use std::fmt;
use std::str::FromStr;

/// The qualitative scale of CVSS. `Unknown` is what nobody rated; it is less than all others, so ask for it by name.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum Severity {
    #[default]
    Unknown,
    /// A score of 0, or `negligible` and `unimportant` in distributions' words.
    None,
    Low,
    Medium,
    High,
    Critical,
}

impl Severity {
    pub const ALL: [Severity; 6] = [
        Severity::Unknown,
        Severity::None,
        Severity::Low,
        Severity::Medium,
        Severity::High,
        Severity::Critical,
    ];

    /// Lower case: `critical`.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Unknown => "unknown",
            Severity::None => "none",
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
            Severity::Critical => "critical",
        }
    }

    /// The word of a publisher, whatever its case: of CVSS, GitHub (`moderate`), Red Hat (`important`), Debian
    /// (`unimportant`) and Ubuntu (`negligible`).
    pub fn from_word(word: &str) -> Option<Severity> {
        Some(match word.trim().to_ascii_lowercase().as_str() {
            "critical" => Severity::Critical,
            "high" | "important" => Severity::High,
            "medium" | "moderate" => Severity::Medium,
            "low" => Severity::Low,
            "none" | "negligible" | "unimportant" => Severity::None,
            _ => return None,
        })
    }

    fn from_tenths(tenths: u8) -> Severity {
        match tenths {
            0 => Severity::None,
            1..40 => Severity::Low,
            40..70 => Severity::Medium,
            70..90 => Severity::High,
            _ => Severity::Critical,
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Of CVSS. The later is preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CvssVersion {
    V2,
    V30,
    V31,
    V40,
}

impl CvssVersion {
    /// Without which a vector has no score.
    fn metrics(self) -> &'static [&'static str] {
        match self {
            CvssVersion::V2 => &["AV", "AC", "Au", "C", "I", "A"],
            CvssVersion::V30 | CvssVersion::V31 => &["AV", "AC", "PR", "UI", "S", "C", "I", "A"],
            CvssVersion::V40 => &["AV", "AC", "AT", "PR", "UI", "VC", "VI", "VA", "SC", "SI", "SA"],
        }
    }
}

impl fmt::Display for CvssVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CvssVersion::V2 => "2.0",
            CvssVersion::V30 => "3.0",
            CvssVersion::V31 => "3.1",
            CvssVersion::V40 => "4.0",
        })
    }
}

/// A vector that was read, and its score.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Score {
    pub version: CvssVersion,
    /// From 0 to 100: 98 is a score of 9.8.
    pub tenths: u8,
    /// As it was published.
    pub vector: String,
}

/// A vector of CVSS that cannot be scored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{vector:?} is no vector of CVSS: {reason}")]
pub struct VectorError {
    vector: String,
    reason: String,
}

/// No vector is longer, with every optional metric of version 4.
const VECTOR_BYTES_MAX: usize = 512;

impl Score {
    /// One that was computed before.
    pub(crate) fn kept(tenths: u8, vector: &str) -> Score {
        let version = match vector.get(..8) {
            Some("CVSS:4.0") => CvssVersion::V40,
            Some("CVSS:3.1") => CvssVersion::V31,
            Some("CVSS:3.0") => CvssVersion::V30,
            _ => CvssVersion::V2,
        };
        Score { version, tenths, vector: vector.to_owned() }
    }

    /// 0.0 to 10.0
    pub fn value(&self) -> f64 {
        f64::from(self.tenths) / 10.0
    }

    pub fn severity(&self) -> Severity {
        match (self.version, Severity::from_tenths(self.tenths)) {
            // Version 2 has three words only.
            (CvssVersion::V2, Severity::Critical) => Severity::High,
            (CvssVersion::V2, Severity::None) => Severity::Low,
            (_, severity) => severity,
        }
    }
}

impl FromStr for Score {
    type Err = VectorError;

    /// The score of the base metrics and, in version 4, of the threat metrics too.
    fn from_str(text: &str) -> Result<Score, VectorError> {
        let wrong = |reason: String| VectorError { vector: text.chars().take(80).collect(), reason };
        if text.len() > VECTOR_BYTES_MAX {
            return Err(wrong(format!("it has more than {VECTOR_BYTES_MAX} bytes")));
        }
        let vector = text.trim();
        let (version, score) = match vector.parse().map_err(|e: cvss::Error| wrong(e.to_string()))? {
            cvss::Cvss::CvssV20(v) => (CvssVersion::V2, v.score().value()),
            cvss::Cvss::CvssV30(v) => (CvssVersion::V30, v.base_score().value()),
            cvss::Cvss::CvssV31(v) => (CvssVersion::V31, v.base_score().value()),
            cvss::Cvss::CvssV40(v) => (CvssVersion::V40, v.score().value()),
            _ => return Err(wrong("its version is not known here".to_owned())),
        };
        // The library takes what is not there for harmless.
        let is_there = |metric: &&str| vector.split('/').any(|part| part.split(':').next() == Some(*metric));
        if let Some(lacking) = version.metrics().iter().find(|metric| !is_there(metric)) {
            return Err(wrong(format!("it lacks {lacking}")));
        }
        let tenths = (score * 10.0).round().clamp(0.0, 100.0) as u8;
        Ok(Score { version, tenths, vector: vector.to_owned() })
    }
}

#[cfg(test)]
mod tests;
