//! How long a door's turn is: by what it costs, and not by how much arrives. A rule that is compared with an address is one.

/// That the kernel is asked where an address leads.
pub(super) const OF_ROUTE: u64 = 256;
/// After so much it is the turn of others: well below a millisecond.
pub(super) const A_TURN: u64 = 16 << 10;
/// Whatever arrives costs as much.
pub(super) const OF_ARRIVAL: u64 = A_TURN / 32;
