//! Whether somebody who is trusted signed this digest: signatures and attestations as cosign and sigstore write them,
//! verified offline.
//!
//! ```text
//!   watchbell_image::Artifact ──▶ Material ─┐
//!   (a tag's layers, a bundle)              │
//!   the image: Subject ─────────────────────┼──▶ verify ──▶ Verified { who, when, where in which log, what was claimed }
//!   Policy { a key | an identity,           │         └───▶ Refused  { a reason for each signature }
//!            what is claimed }              │
//!   TrustRoot, now ─────────────────────────┘
//!
//!   an identity's signature, inside verify:
//!     log entry ─ inclusion proof ─ checkpoint ─ log's key        when: promise's time, RFC 3161 timestamp
//!         └ body = this signature, certificate, digest                 └ certificate ─ chain ─ authority, SCT ─ CT log
//! ```
//!
//! The crate is pure: no clock, no file, no socket. Everything that it reads but the policy and the trust root is hostile.
//! Formats: cosign's signature specification, sigstore's `protobuf-specs` (bundle, trusted root, Rekor entries), DSSE,
//! in-toto's statement, RFC 6962 (certificate transparency and the log's tree), RFC 3161, C2SP signed-note.

mod attestation;
mod bundle;
mod certificate;
mod chain;
mod der;
mod dsse;
mod entry_body;
mod key;
mod log_entry;
mod material;
mod pattern;
mod policy;
mod proto;
mod refused;
mod sct;
mod sign;
mod simple_signing;
mod timestamp;
mod trust_root;
mod unique;
mod verify;

pub use attestation::{Predicate, PredicateType, Provenance, Statement, StatementSubject, VulnerabilityScan};
pub use key::{KeyError, KeyKind, PublicKey};
pub use material::{Material, is_signature};
pub use pattern::{Pattern, PatternError};
pub use policy::{Claim, Conditions, Policy, Signer};
pub use refused::{Attempt, Reason, Refused};
pub use sign::{SignatureForm, SigningError, SigningKey, sign};
pub use trust_root::{TrustRoot, TrustRootError};
pub use verify::{Subject, Verified, VerifiedClaim, VerifiedSigner, verify};
