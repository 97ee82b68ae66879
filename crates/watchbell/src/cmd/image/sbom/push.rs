use std::path::PathBuf;

use watchbell_image::{Layout, Limits, NewBlob, NewManifest, attach_remote};
use watchbell_scan::{BillForm, read_document};

use super::super::place::StoreDir;
use super::super::registry::RegistryAccess;
use super::{Form, Source, bill};
use crate::exit::Failure;
use crate::output;

/// Attaches the bill of materials of an image to it: at its registry, or in an OCI layout
///
/// The bill is made here, of the image's own files, or taken from --file. It becomes a referrer of the image's manifest (OCI
/// 1.1), listed also by the tag that registries of before know; what is attached already stays. Prints the digest of the new
/// artifact.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// An image by its name at the registry, or oci:DIR:TAG
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The form
    #[arg(long, value_name = "FORM", default_value = "cyclonedx")]
    form: Form,
    /// A bill that somebody else made, in either form
    #[arg(long, value_name = "FILE", conflicts_with = "form")]
    file: Option<PathBuf>,
    #[command(flatten)]
    access: RegistryAccess,
    #[command(flatten)]
    store: StoreDir,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let source = Source::parse(&args.image)?;
    if let Source::Archive(_) = source {
        return Err(Failure::Usage(
            "nothing can be attached in an archive; give oci:DIR:TAG or a name".into(),
        ));
    }
    let options = args.access.options();
    let content = source.open(&args.store, &options)?;
    let blob = match &args.file {
        Some(file) => given(file, &content.image.digest)?,
        None => {
            let (inventory, subject) = bill(&content, &args.image)?;
            for gap in &inventory.gaps {
                output::note(&output::plain(&format!("not known: {}: {}", gap.location.path, gap.reason)));
            }
            args.form.bill().blob(&inventory, &subject)
        }
    };
    let (artifact_type, subject) = (blob.media_type.clone(), content.image.digest.clone());
    let artifact = match &source {
        Source::Layout(dir, _) => {
            let layout = Layout::open(dir).map_err(Failure::refused)?;
            let manifest = NewManifest::Referrer { artifact_type, subject };
            layout.attach(&manifest, &[blob]).map_err(Failure::refused)?
        }
        Source::Store(reference) => {
            // Of an index the bill is of one platform's image.
            let exact = reference.with_digest(subject);
            attach_remote(&exact, &artifact_type, &[blob], &options, &Limits::default())
                .map_err(Failure::refused)?
                .1
        }
        Source::Archive(_) => unreachable!("archives were refused above"),
    };
    output::data(artifact.as_str());
    Ok(())
}

/// A bill of somebody else's, which must be one that is read here and of this image if it says of which.
fn given(file: &PathBuf, digest: &watchbell_image::Digest) -> Result<NewBlob, Failure> {
    let shown = file.display();
    let bytes = std::fs::read(file).map_err(|e| Failure::Usage(format!("cannot read {shown}: {e}")))?;
    let read = read_document(&bytes).map_err(|e| Failure::Refused(format!("{shown}: {e}")))?;
    if let Some(named) = read.digest.as_ref().filter(|named| *named != digest) {
        return Err(Failure::Refused(format!("{shown} says it is of {named}, and the image is {digest}")));
    }
    let form: BillForm = read.form;
    Ok(NewBlob { media_type: form.media_type().to_owned(), bytes, annotations: Vec::new() })
}
