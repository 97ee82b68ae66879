use watchbell_scan::{Inventory, cyclonedx, spdx};

use super::super::place::StoreDir;
use super::super::registry::RegistryAccess;
use super::{Form, Source, bill};
use crate::exit::Failure;
use crate::output;

/// Prints the bill of materials of an image: its packages, by what its own files say
///
/// The image is read where it lies. What could not be known is said on standard error, and in the bill.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// An image of the store or a registry, oci:DIR:TAG, or docker-archive:FILE
    #[arg(value_name = "IMAGE")]
    image: String,
    /// cyclonedx (1.6) or spdx (2.3), both JSON; else a table
    #[arg(short, long, value_name = "FORM")]
    output: Option<Form>,
    #[command(flatten)]
    access: RegistryAccess,
    #[command(flatten)]
    store: StoreDir,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let content = Source::parse(&args.image)?.open(&args.store, &args.access.options())?;
    let (inventory, subject) = bill(&content, &args.image)?;
    match args.output {
        Some(Form::Cyclonedx) => output::data(&format!("{:#}", cyclonedx(&inventory, &subject))),
        Some(Form::Spdx) => output::data(&format!("{:#}", spdx(&inventory, &subject))),
        None => table(&inventory),
    }
    for gap in &inventory.gaps {
        output::note(&output::plain(&format!("not known: {}: {}", gap.location.path, gap.reason)));
    }
    Ok(())
}

fn table(inventory: &Inventory) {
    let heads = ["NAME", "VERSION", "TYPE", "LICENCE", "WHERE"].map(str::to_owned).to_vec();
    let mut rows = vec![heads];
    for package in &inventory.packages {
        let kind = format!("{:?}", package.kind).to_lowercase();
        let place = package.locations.first().map(|l| l.path.clone()).unwrap_or_default();
        rows.push(vec![
            package.name.clone(),
            package.version.clone(),
            kind,
            package.licences.join(", "),
            place,
        ]);
    }
    output::columns_of(&rows, &[]);
}
