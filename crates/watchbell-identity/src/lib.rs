//! Who is who: the server's own authority and what that signs, and how those who ask prove who they are.
//!
//! ```text
//!  DATA_DIR/pki ──▶ pki ──▶ the listener's TLS configuration
//!                    ├────▶ ClientCheck: certificate chain ──▶ User
//!                    ├────▶ a user's certificate, signed
//!                    └────▶ TokenKeys: signs and verifies tokens of service accounts
//!  issuers ──▶ KeySet ──▶ jwt: bearer token ──▶ Claims ──▶ oidc: an ID token's User
//!  wbt_…        ──▶ user_token ──▶ name, secret ──▶ does it match the hash that was kept
//!  a failure    ──▶ attempts   ──▶ how long its source has to wait
//!                   refusal        why somebody is nobody
//! ```
//!
//! Nothing here decides what somebody may do; it says who somebody is.

mod attempts;
mod files;
pub mod jwt;
pub mod oidc;
mod pki;
mod proven;
mod refusal;
mod token_keys;
pub mod user_token;

pub use attempts::{Attempts, Source};
pub use pki::{
    ClientCertificate, ClientCheck, ClientKey, Identity, IdentityError, Kubeconfig, Proof, SignError,
    SignedCertificate, Subject, is_signed_by, serial_number_of,
};
pub use proven::Proven;
pub use refusal::Refusal;
pub use token_keys::{Rotation, TokenKeys};

/// Where `extra` says by which certificate or token somebody is known; Kubernetes' own key.
pub const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";
/// The group of everybody who is known.
pub const AUTHENTICATED: &str = "system:authenticated";
