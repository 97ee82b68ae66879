//! Time zones by name, from the bundled IANA data alone: the host's own data and settings play no part.

use std::sync::LazyLock;

use jiff::tz::{TimeZone, TimeZoneDatabase};

/// Never the host's database, even where another crate of the build asks jiff for it.
static BUNDLED: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// The longest name that is looked up; the longest that exists is half of it.
const NAME_MAX: usize = 64;

/// Why a `spec.timeZone` is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeZoneError {
    #[error("timeZone must be nil or non-empty string; leave the field out for UTC")]
    Empty,
    #[error("timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones")]
    Local,
    #[error(
        "unknown time zone {0:?}; give a name of the IANA data such as Europe/Berlin, or leave the field out for UTC"
    )]
    Unknown(Box<str>),
    /// Kubernetes looks the name up as a file, so there its case matters.
    #[error("unknown time zone {name:?}; it is spelled {spelled:?}")]
    Spelling { name: Box<str>, spelled: Box<str> },
}

/// Looks up `spec.timeZone`. Without one the zone is UTC (Kubernetes: that of the controller's host).
///
/// The zone is shared: asking for it again costs a pointer.
///
/// # Errors
/// When the bundled data has no zone of exactly that name.
pub fn time_zone(name: Option<&str>) -> Result<TimeZone, TimeZoneError> {
    let Some(name) = name else { return Ok(TimeZone::UTC) };
    if name.is_empty() {
        return Err(TimeZoneError::Empty);
    }
    if name.eq_ignore_ascii_case("local") {
        return Err(TimeZoneError::Local);
    }
    let unknown = || TimeZoneError::Unknown(name.chars().take(NAME_MAX).collect());
    if name.len() > NAME_MAX {
        return Err(unknown());
    }
    let zone = BUNDLED.get(name).map_err(|_| unknown())?;
    match zone.iana_name() {
        Some(spelled) if spelled == name => Ok(zone),
        Some(spelled) => Err(TimeZoneError::Spelling { name: name.into(), spelled: spelled.into() }),
        None => Err(unknown()),
    }
}
