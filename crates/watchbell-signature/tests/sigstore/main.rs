//! Signatures of identities, made by a sigstore of our own and judged here and by others.

mod annotated;
mod case;
mod flipped;
mod keyed;
mod lies;
mod peers;
mod stand;
