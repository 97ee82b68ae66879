//! The order of versions against the ecosystems' own programs: what they said once, kept as vectors, and what those that
//! this machine has say now of versions that nobody chose.

mod peers;
mod vectors;
