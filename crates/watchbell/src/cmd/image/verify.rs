use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Value, json};
use watchbell_signature::{
    Claim, Conditions, Material, Pattern, Policy, Predicate, PredicateType, PublicKey, Signer, Statement,
    Subject, TrustRoot, Verified, VerifiedClaim, VerifiedSigner,
};

use super::registry::RegistryAccess;
use super::target::Target;
use crate::args::Output;
use crate::exit::Failure;
use crate::output::{self, Format};

/// Files of keys and trust roots are small.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Verifies who signed an image, offline but for the registry
///
/// By a key, or by an identity for which an authority of the trust root issued a certificate: then both the identity and
/// its issuer are asked for. Signatures of cosign (tags and referrers), skopeo and sigstore are read; with --attestation a
/// statement about the image instead. One that satisfies all that is asked is enough. Exit code 1 says that none does, and
/// why.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("who").required(true).args(["key", "certificate_identity", "certificate_identity_regexp"])))]
pub(crate) struct Args {
    /// IMAGE at its registry, or oci:DIR:TAG in an OCI image layout
    #[arg(value_name = "IMAGE")]
    image: String,
    /// PEM file with the public key that must have signed
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Whose signature counts: the e-mail address or URI in the certificate
    #[arg(long, value_name = "NAME", requires = "trusted_root", conflicts_with = "key")]
    certificate_identity: Option<String>,
    /// The same as a regular expression, which must match all of it
    #[arg(long, value_name = "EXPR", requires = "trusted_root", conflicts_with_all = ["key", "certificate_identity"])]
    certificate_identity_regexp: Option<String>,
    /// Who vouched for the identity, such as `https://token.actions.githubusercontent.com`
    #[arg(long, value_name = "URL", required_unless_present_any = ["key", "certificate_oidc_issuer_regexp"])]
    certificate_oidc_issuer: Option<String>,
    /// The same as a regular expression, which must match all of it
    #[arg(long, value_name = "EXPR", conflicts_with = "certificate_oidc_issuer")]
    certificate_oidc_issuer_regexp: Option<String>,
    /// sigstore's trusted_root.json: who is believed; with --key, in whose logs the signature must be
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,
    /// Where it must have been signed for: registry/path; cosign's tags say that
    #[arg(long, value_name = "REPOSITORY", conflicts_with = "attestation")]
    signed_as: Option<String>,
    /// Ask for a statement of this type instead: slsaprovenance, vuln, cyclonedx, spdx, openvex, or a URI
    #[arg(long, value_name = "TYPE")]
    attestation: Option<String>,
    /// Of provenance: who built it
    #[arg(long, value_name = "ID", requires = "attestation")]
    builder_id: Option<String>,
    /// Of provenance: what it was built from
    #[arg(long, value_name = "URI", requires = "attestation")]
    source_uri: Option<String>,
    /// Of provenance: how it was built
    #[arg(long, value_name = "URI", requires = "attestation")]
    build_type: Option<String>,
    #[command(flatten)]
    access: RegistryAccess,
    #[command(flatten)]
    output: Output,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let target = Target::parse(&args.image)?;
    let policy = Policy { signer: signer(args)?, claim: claim(args)? };
    let (descriptor, document, attached) = target.fetch(&args.access)?;
    let materials: Vec<Material> = attached.iter().flat_map(Material::of).collect();
    let subject = Subject { digest: &descriptor.digest, document: Some(&document) };
    let verified =
        watchbell_signature::verify(&materials, &subject, &policy, Timestamp::now()).map_err(|refused| {
            let digest = &descriptor.digest;
            let gap = attached.gap().map_or_else(String::new, |gap| format!("; {gap}"));
            Failure::Refused(format!("{} ({digest}) is not signed as asked: {refused}{gap}", args.image))
        })?;
    show(descriptor.digest.as_str(), &verified, args.output)
}

fn signer(args: &Args) -> Result<Signer, Failure> {
    let trust_root = args
        .trusted_root
        .as_deref()
        .map(|path| {
            TrustRoot::parse(&read(path)?).map_err(|e| Failure::Usage(format!("{}: {e}", path.display())))
        })
        .transpose()?;
    if let Some(path) = &args.key {
        let key = PublicKey::from_pem(&read(path)?)
            .map_err(|e| Failure::Usage(format!("--key {}: {e}", path.display())))?;
        return Ok(Signer::Key { key, logs: trust_root });
    }
    let pattern = |exact: &Option<String>, expression: &Option<String>| match (exact, expression) {
        (Some(exact), _) => Ok(Pattern::Exact(exact.clone())),
        (None, Some(expression)) => Pattern::regex(expression).map_err(Failure::usage),
        (None, None) => {
            Err(Failure::Usage("name whose signature counts: --key, or an identity and its issuer".into()))
        }
    };
    let trust_root = trust_root
        .ok_or_else(|| Failure::Usage("an identity needs --trusted-root: who is believed".into()))?;
    Ok(Signer::Identity {
        identity: pattern(&args.certificate_identity, &args.certificate_identity_regexp)?,
        issuer: pattern(&args.certificate_oidc_issuer, &args.certificate_oidc_issuer_regexp)?,
        trust_root,
    })
}

fn claim(args: &Args) -> Result<Claim, Failure> {
    let Some(kind) = &args.attestation else {
        let repository = args.signed_as.as_deref().map(super::reference).transpose()?;
        return Ok(Claim::Signature { repository: repository.map(|reference| reference.repository()) });
    };
    let exact = |text: &Option<String>| text.clone().map(Pattern::Exact);
    Ok(Claim::Attestation(Conditions {
        predicate_type: PredicateType::parse(kind),
        builder_id: exact(&args.builder_id),
        build_type: exact(&args.build_type),
        source_uri: exact(&args.source_uri),
    }))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let unreadable = |cause: String| Failure::Usage(format!("cannot read {}: {cause}", path.display()));
    let metadata = fs::metadata(path).map_err(|e| unreadable(e.to_string()))?;
    if metadata.len() > FILE_BYTES_MAX {
        return Err(unreadable(format!("it has {} bytes, which no key or trust root has", metadata.len())));
    }
    fs::read(path).map_err(|e| unreadable(e.to_string()))
}

fn show(digest: &str, verified: &Verified, output: Output) -> Result<(), Failure> {
    let Some(format) = output.output else {
        let mut line = format!("{digest} signed by ");
        match &verified.signer {
            VerifiedSigner::Key { fingerprint } => line.push_str(&format!("the key {fingerprint}")),
            VerifiedSigner::Identity { identity, issuer } => line.push_str(&format!("{identity} ({issuer})")),
        }
        if let Some(at) = verified.signed_at {
            line.push_str(&format!(" at {at}"));
        }
        match &verified.claim {
            VerifiedClaim::Signature { reference: Some(reference) } => {
                line.push_str(&format!(" as {reference}"));
            }
            VerifiedClaim::Signature { reference: None } => {}
            VerifiedClaim::Attestation(statement) => line.push_str(&format!(": {}", summary(statement))),
        }
        output::data(&output::plain(&line));
        return Ok(());
    };
    if format == Format::Name {
        output::data(digest);
        return Ok(());
    }
    let signer = match &verified.signer {
        VerifiedSigner::Key { fingerprint } => json!({"key": fingerprint}),
        VerifiedSigner::Identity { identity, issuer } => json!({"identity": identity, "issuer": issuer}),
    };
    let mut shown = json!({"digest": digest, "signer": signer, "artifact": verified.origin});
    if let Some(at) = verified.signed_at {
        shown["signedAt"] = at.to_string().into();
    }
    if let Some((log, index)) = &verified.log {
        shown["log"] = json!({"id": log, "index": index});
    }
    match &verified.claim {
        VerifiedClaim::Signature { reference: Some(reference) } => {
            shown["reference"] = reference.as_str().into();
        }
        VerifiedClaim::Signature { reference: None } => {}
        VerifiedClaim::Attestation(statement) => {
            shown["predicateType"] = statement.predicate_type.as_str().into();
            shown["predicate"] = predicate(&statement.predicate);
        }
    }
    output::whole(&shown, if format == Format::Wide { Format::Yaml } else { format })
}

fn summary(statement: &Statement) -> String {
    match &statement.predicate {
        Predicate::Provenance(provenance) => format!(
            "built by {} from {}",
            provenance.builder_id,
            provenance.source_uri.as_deref().unwrap_or("a source that it does not name")
        ),
        Predicate::Vulnerabilities(scan) => format!("scanned by {}", scan.scanner_uri),
        _ => statement.predicate_type.clone(),
    }
}

fn predicate(predicate: &Predicate) -> Value {
    match predicate {
        Predicate::Signature => Value::Null,
        Predicate::Provenance(provenance) => json!({
            "builder": provenance.builder_id, "buildType": provenance.build_type, "source": provenance.source_uri,
            "dependencies": provenance.dependencies,
        }),
        Predicate::Vulnerabilities(scan) => json!({
            "scanner": scan.scanner_uri, "version": scan.scanner_version, "finishedOn": scan.finished_on,
            "result": scan.result,
        }),
        Predicate::CycloneDx(value)
        | Predicate::Spdx(value)
        | Predicate::Vex(value)
        | Predicate::Other(value) => value.clone(),
    }
}
