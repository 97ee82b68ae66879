//! Issuers of OpenID Connect: their ID tokens say who somebody is (OpenID Connect Core 1.0, Kubernetes' rules).
//!
//! ```text
//!  token ─ iss ─▶ Issuer ─ keys ─▶ jwt: signature, times, audience ─▶ claims ─▶ User
//!                   ▲
//!                   └── a thread an issuer: discovery document ─▶ JWK Set ─▶ cache
//! ```
//!
//! Keys are asked for regularly, and at once when a token names one that is not known, at a bounded rate: an issuer that
//! changes its keys needs no restart. An issuer that is down is believed by its last keys for [`cache::TRUSTED`].

mod cache;
mod claims;
mod config;
mod expression;
mod fetch;
mod file;
mod issuer;

pub use config::{
    ALGORITHMS, ClaimMapping, IssuerConfig, Mapping, Rule, algorithm, check_url, default_prefix,
};
pub use expression::Expression;
pub use file::{FileError, read as read_file};
pub use issuer::{Issuer, Verdict};
