//! Who is who: the server's own authority and what that signs, and how those who ask prove who they are.
//!
//! ```text
//!  DATA_DIR/pki ──▶ pki ──▶ the listener's TLS configuration
//!                    └────▶ ClientCheck: certificate chain ──▶ User
//!  issuers ──▶ KeySet ──▶ jwt: bearer token ──▶ Claims
//! ```
//!
//! Nothing here decides what somebody may do; it says who somebody is.

mod files;
pub mod jwt;
mod pki;

pub use pki::{ClientCheck, Identity, IdentityError, Unauthenticated};
