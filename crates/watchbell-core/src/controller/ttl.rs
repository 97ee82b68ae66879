//! `ttlSecondsAfterFinished`: a finished Job deletes itself (KEP-592).

/// What the time to live of a finished object says now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ttl {
    /// It stays until somebody deletes it.
    None,
    /// It is to be deleted at this Unix second.
    At(i64),
    Expired,
}

/// `ttl_seconds` counts from `finished_at`.
pub fn ttl(ttl_seconds: Option<u32>, finished_at: i64, now: i64) -> Ttl {
    let Some(seconds) = ttl_seconds else { return Ttl::None };
    let at = finished_at.saturating_add(i64::from(seconds));
    if at <= now { Ttl::Expired } else { Ttl::At(at) }
}

#[cfg(test)]
mod tests {
    use super::{Ttl, ttl};

    #[test]
    fn counts_from_the_end() {
        assert_eq!(ttl(None, 100, 1_000_000), Ttl::None);
        assert_eq!(ttl(Some(10), 100, 109), Ttl::At(110));
        assert_eq!(ttl(Some(10), 100, 110), Ttl::Expired);
        assert_eq!(ttl(Some(0), 100, 100), Ttl::Expired);
        assert_eq!(ttl(Some(u32::MAX), i64::MAX, 0), Ttl::At(i64::MAX));
    }
}
