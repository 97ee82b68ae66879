use std::path::PathBuf;

use watchbell_image::{Attachment, Layout, NewBlob, NewManifest};
use watchbell_signature::{SignatureForm, SigningKey};
use zeroize::Zeroizing;

use super::target::Target;
use crate::exit::Failure;
use crate::output;

/// Signs an image in an OCI image layout with a key
///
/// The signature is put into the layout, beside those that are there; a tool such as skopeo copies both to a registry.
/// `openssl genpkey` makes the key, `openssl pkey -pubout` the public one for `image verify`, cosign and skopeo.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// oci:DIR:TAG
    #[arg(value_name = "IMAGE")]
    image: String,
    /// PEM file with the private key: PKCS #8, not encrypted; ECDSA on P-256 or P-384, or Ed25519
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// As what it is signed: its name at the registry where it will be
    #[arg(long, value_name = "NAME")]
    r#as: String,
    /// The form: `tag` is read by cosign, skopeo and Podman; `bundle` by cosign 3, and does not say the name
    #[arg(long, value_name = "FORM", default_value = "tag")]
    form: Form,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Form {
    Tag,
    Bundle,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let Target::Layout { dir, tag } = Target::parse(&args.image)? else {
        return Err(Failure::Usage(format!(
            "\"{}\" is at a registry; sign it in a layout (oci:DIR:TAG) and copy both there",
            args.image
        )));
    };
    let reference = super::reference(&args.r#as)?;
    let unreadable =
        |cause: &dyn std::fmt::Display| Failure::Usage(format!("--key {}: {cause}", args.key.display()));
    let pem = Zeroizing::new(std::fs::read(&args.key).map_err(|e| unreadable(&e))?);
    let key = SigningKey::from_pem(&pem).map_err(|e| unreadable(&e))?;
    let layout = Layout::open(&dir).map_err(Failure::refused)?;
    let (descriptor, _) = layout.image(tag.as_deref()).map_err(Failure::refused)?;
    let form = match args.form {
        Form::Tag => SignatureForm::Tag,
        Form::Bundle => SignatureForm::Bundle,
    };
    let (manifest, blob) = watchbell_signature::sign(&key, &descriptor.digest, &reference.to_string(), form)
        .map_err(Failure::refused)?;
    // One tag holds all signatures, each a layer.
    let mut blobs: Vec<NewBlob> = Vec::new();
    if let NewManifest::Tagged { .. } = manifest {
        let signatures = |attachment, _: &_| attachment == Attachment::Signatures;
        for artifact in layout.attached(&descriptor.digest, &signatures).map_err(Failure::refused)? {
            blobs.extend(artifact.blobs.into_iter().map(|blob| NewBlob {
                media_type: blob.descriptor.media_type,
                bytes: blob.bytes,
                annotations: blob.descriptor.annotations.into_iter().collect(),
            }));
        }
    }
    blobs.push(blob);
    let artifact = layout.attach(&manifest, &blobs).map_err(Failure::refused)?;
    output::data(artifact.as_str());
    output::note(&format!(
        "signed {} as {reference} with the key {}",
        descriptor.digest,
        key.public_key().fingerprint()
    ));
    Ok(())
}
