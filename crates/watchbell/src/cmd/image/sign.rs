use std::path::PathBuf;

use watchbell_image::{
    Attachment, Digest, Layout, Limits, NewBlob, NewManifest, attach_remote, remote_document,
};
use watchbell_signature::{SignatureForm, SigningKey};
use zeroize::Zeroizing;

use super::registry::RegistryAccess;
use super::target::Target;
use crate::exit::Failure;
use crate::output;

/// Signs an image with a key
///
/// In an OCI image layout (oci:DIR:TAG) the signature is put beside those that are there; a tool such as skopeo copies both
/// to a registry. At a registry a bundle is attached to the image. `openssl genpkey` makes the key, `openssl pkey -pubout`
/// the public one for `image verify` and cosign.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// oci:DIR:TAG, or an image at its registry
    #[arg(value_name = "IMAGE")]
    image: String,
    /// PEM file with the private key: PKCS #8, not encrypted; ECDSA on P-256 or P-384, or Ed25519
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// As what it is signed, which the form `tag` says: its name at the registry where it will be
    #[arg(long, value_name = "NAME")]
    r#as: Option<String>,
    /// The form: `tag` is read by cosign, skopeo and Podman; `bundle` by cosign 3, and does not say the name
    #[arg(long, value_name = "FORM", default_value = "tag")]
    form: Form,
    #[command(flatten)]
    access: RegistryAccess,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Form {
    Tag,
    Bundle,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let target = Target::parse(&args.image)?;
    if let (Target::Registry(_), Form::Tag) = (&target, args.form) {
        return Err(Failure::Usage(format!(
            "\"{}\" is at a registry, where this signs with --form bundle; the form tag is for layouts (oci:DIR:TAG)",
            args.image
        )));
    }
    if let (None, Form::Tag) = (&args.r#as, args.form) {
        return Err(Failure::Usage(
            "--as NAME is needed: a signature under a tag says as what it was made".into(),
        ));
    }
    let name = args.r#as.as_deref().map(super::reference).transpose()?;
    let name = name.map(|name| name.to_string()).unwrap_or_default();
    let unreadable =
        |cause: &dyn std::fmt::Display| Failure::Usage(format!("--key {}: {cause}", args.key.display()));
    let pem = Zeroizing::new(std::fs::read(&args.key).map_err(|e| unreadable(&e))?);
    let key = SigningKey::from_pem(&pem).map_err(|e| unreadable(&e))?;
    let form = match args.form {
        Form::Tag => SignatureForm::Tag,
        Form::Bundle => SignatureForm::Bundle,
    };
    let signed =
        |digest: &Digest| watchbell_signature::sign(&key, digest, &name, form).map_err(Failure::refused);
    let (digest, artifact) = match target {
        Target::Registry(reference) => {
            let (options, limits) = (args.access.options(), Limits::default());
            let (descriptor, _) = remote_document(&reference, &options, &limits).map_err(Failure::refused)?;
            let (_, blob) = signed(&descriptor.digest)?;
            // By its digest: the tag may move meanwhile.
            let pinned = reference.with_digest(descriptor.digest);
            let media_type = blob.media_type.clone();
            attach_remote(&pinned, &media_type, &[blob], &options, &limits).map_err(Failure::refused)?
        }
        Target::Layout { dir, tag } => {
            let layout = Layout::open(&dir).map_err(Failure::refused)?;
            let (descriptor, _) = layout.image(tag.as_deref()).map_err(Failure::refused)?;
            let (manifest, blob) = signed(&descriptor.digest)?;
            let mut blobs = match manifest {
                NewManifest::Tagged { .. } => signatures(&layout, &descriptor.digest)?,
                NewManifest::Referrer { .. } => Vec::new(),
            };
            blobs.push(blob);
            let artifact = layout.attach(&manifest, &blobs).map_err(Failure::refused)?;
            (descriptor.digest, artifact)
        }
    };
    output::data(artifact.as_str());
    output::note(&format!("signed {digest} with the key {}", key.public_key().fingerprint()));
    Ok(())
}

/// Those that are there: one tag holds all signatures, each a layer.
fn signatures(layout: &Layout, digest: &Digest) -> Result<Vec<NewBlob>, Failure> {
    let wanted = |attachment, _: &_| attachment == Attachment::Signatures;
    let artifacts = layout.attached(digest, &wanted).map_err(Failure::refused)?;
    // What was not read would be gone.
    if let Some(gap) = artifacts.gap() {
        return Err(Failure::Refused(format!("the signatures that are there cannot be kept: {gap}")));
    }
    let blobs = artifacts.into_iter().flat_map(|artifact| artifact.blobs).map(|blob| NewBlob {
        media_type: blob.descriptor.media_type,
        bytes: blob.bytes,
        annotations: blob.descriptor.annotations.into_iter().collect(),
    });
    Ok(blobs.collect())
}
