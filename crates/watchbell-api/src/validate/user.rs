//! Users' tokens and certificates, and the revocations of certificates.

use super::at::At;
use super::findings::Findings;

/// A user's or group's name, in bytes.
const NAME_BYTES_MAX: usize = 253;
const GROUPS_MAX: usize = 64;
const DESCRIPTION_BYTES_MAX: usize = 1024;
/// 10 minutes, as of Kubernetes' CertificateSigningRequest.
const SECONDS_MIN: i64 = 600;
const SECONDS_MAX: i64 = 366 * 86_400;
/// A request for a certificate with a key of 4096 bits is far below.
const REQUEST_BASE64_BYTES_MAX: usize = 16 << 10;
/// A serial number has at most 20 bytes (RFC 5280, section 4.1.2.2).
const SERIAL_DIGITS_MAX: usize = 40;

/// Names that begin so are the system's own.
pub const SYSTEM: &str = "system:";
/// The names of who comes over the local socket, which the kernel vouches for: nobody else is called so.
pub const LOCAL: &str = "local:";
/// The one group of the system's own that a user may be given: who gives it must be allowed to.
pub const MASTERS: &str = "system:masters";

/// The spec of a `UserToken` or a `UserCertificate`.
fn grant(f: &mut Findings, spec: &At<'_, '_>) {
    let user = spec.field("user");
    if f.present(&user) {
        name(f, &user);
        for reserved in [SYSTEM, LOCAL] {
            if user.text().starts_with(reserved) {
                f.forbidden(&user, format_args!("names with the prefix {reserved:?} are the system's own"));
            }
        }
    }
    let groups = spec.field("groups");
    if f.at_most(&groups, GROUPS_MAX) {
        for group in groups.items() {
            if !f.present(&group) {
                continue;
            }
            name(f, &group);
            if group.text().starts_with(SYSTEM) && group.text() != MASTERS {
                f.forbidden(
                    &group,
                    format_args!(
                        "groups with the prefix {SYSTEM:?} are the system's own; only {MASTERS:?} can be given"
                    ),
                );
            }
        }
    }
    f.in_range(&spec.field("expirationSeconds"), SECONDS_MIN, SECONDS_MAX);
    let description = spec.field("description");
    if description.text().len() > DESCRIPTION_BYTES_MAX {
        f.too_long(&description, DESCRIPTION_BYTES_MAX);
    }
}

fn name(f: &mut Findings, at: &At<'_, '_>) {
    if at.text().len() > NAME_BYTES_MAX {
        f.too_long(at, NAME_BYTES_MAX);
    } else if at.text().chars().any(char::is_control) {
        f.invalid(at, "may not have control characters");
    }
}

pub(super) fn token(f: &mut Findings, token: &At<'_, '_>) {
    grant(f, &token.field("spec"));
}

/// Nothing else takes it away.
fn stays(f: &mut Findings, metadata: &At<'_, '_>, why: &str) {
    let owners = metadata.field("ownerReferences");
    if owners.len() > 0 {
        f.forbidden(&owners, why);
    }
}

pub(super) fn certificate(f: &mut Findings, certificate: &At<'_, '_>) {
    stays(f, &certificate.field("metadata"), "the record of a certificate does not go with another object");
    let spec = certificate.field("spec");
    grant(f, &spec);
    let request = spec.field("request");
    if f.present(&request) && request.text().len() > REQUEST_BASE64_BYTES_MAX {
        f.too_long(&request, REQUEST_BASE64_BYTES_MAX);
    }
}

pub(super) fn revocation(f: &mut Findings, revocation: &At<'_, '_>) {
    let metadata = revocation.field("metadata");
    let name = metadata.field("name");
    let digits = name.text();
    let fits = (2..=SERIAL_DIGITS_MAX).contains(&digits.len())
        && digits.len().is_multiple_of(2)
        && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !digits.is_empty() && !fits {
        f.invalid(
            &name,
            "must be the certificate's serial number: whole bytes in lower-case hexadecimal digits, at most 40",
        );
    }
    stays(f, &metadata, "a revocation does not go with another object");
    let spec = revocation.field("spec");
    for (field, max) in [("user", NAME_BYTES_MAX), ("reason", DESCRIPTION_BYTES_MAX)] {
        let field = spec.field(field);
        if field.text().len() > max {
            f.too_long(&field, max);
        }
    }
}

/// What was given stays what it was: a change would be a new grant to who holds the old one.
pub(super) fn update(f: &mut Findings, old: &At<'_, '_>, new: &At<'_, '_>) {
    f.immutable(&new.field("spec"), &old.field("spec"));
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{Resource, validate};

    fn check(resource: Resource, mut object: Value, expect: &[&str]) {
        if object["metadata"].is_null() {
            object["metadata"] = json!({"name": "0a1b"});
        }
        let found: Vec<String> =
            validate::create(resource, &object).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), expect.len(), "{object}: {found:?}");
        for (found, expect) in found.iter().zip(expect) {
            assert!(found.contains(expect), "{found} lacks {expect}");
        }
    }

    #[test]
    fn what_a_token_grants_is_checked() {
        let token = |spec: Value, expect: &[&str]| check(Resource::UserToken, json!({"spec": spec}), expect);
        token(json!({"user": "ada", "groups": ["ml", "system:masters"], "expirationSeconds": 600}), &[]);
        token(json!({}), &["spec.user: Required value"]);
        token(json!({"user": "system:node"}), &["spec.user: Forbidden"]);
        token(json!({"user": "system:serviceaccount:ml:a"}), &["spec.user: Forbidden"]);
        token(json!({"user": "local:root"}), &["spec.user: Forbidden"]);
        token(json!({"user": "localhost", "groups": ["local:a"]}), &[]);
        token(json!({"user": "a\u{0}b"}), &["control characters"]);
        token(json!({"user": "a".repeat(254)}), &["Too long"]);
        token(json!({"user": "a", "groups": ["system:nodes"]}), &["spec.groups[0]: Forbidden"]);
        token(json!({"user": "a", "groups": ["ok", ""]}), &["spec.groups[1]: Required"]);
        token(json!({"user": "a", "groups": vec!["g"; 65]}), &["spec.groups: Too many"]);
        token(json!({"user": "a", "expirationSeconds": 599}), &["spec.expirationSeconds"]);
        token(json!({"user": "a", "expirationSeconds": 366 * 86_400 + 1}), &["spec.expirationSeconds"]);
        token(json!({"user": "a", "description": "x".repeat(1025)}), &["spec.description: Too long"]);
        // The name is a part of the token: no dot, no underscore.
        check(
            Resource::UserToken,
            json!({"metadata": {"name": "a.b"}, "spec": {"user": "a"}}),
            &["metadata.name"],
        );
    }

    #[test]
    fn a_certificate_needs_a_request_and_a_revocation_a_serial_number() {
        check(Resource::UserCertificate, json!({"spec": {"user": "a"}}), &["spec.request: Required"]);
        let revocation = |name: &str, expect: &[&str]| {
            check(Resource::CertificateRevocation, json!({"metadata": {"name": name}, "spec": {}}), expect);
        };
        revocation("00ff12", &[]);
        for wrong in ["0ff", "00fg", &"0".repeat(42)] {
            revocation(wrong, &["must be the certificate's serial number"]);
        }
    }

    #[test]
    fn a_grant_does_not_change() {
        let of = |user: &str| json!({"metadata": {"name": "a"}, "spec": {"user": user}});
        assert_eq!(validate::update(Resource::UserToken, &of("a"), &of("a")), []);
        let found = validate::update(Resource::UserToken, &of("a"), &of("b"));
        assert!(found[0].to_string().contains("spec: Invalid value"), "{found:?}");
    }
}
