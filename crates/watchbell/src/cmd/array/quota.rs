use super::Which;
use crate::exit::Failure;
use crate::output;

/// Shows what an array's objects and records take and may take, or bounds it
///
/// Where a server has a DataArray for it, the bound is that object's spec.quota, and is set there.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// Bytes, as a quantity of Kubernetes (10Gi); `none` takes the bound away
    #[arg(value_name = "SIZE")]
    size: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let which = &args.which;
    let array = which.open()?;
    if let Some(size) = &args.size {
        let bytes = match size.as_str() {
            "none" => None,
            size => Some(bytes(size)?),
        };
        if array.has_object() {
            let (name, namespace) = (&which.name, &which.place.namespace);
            let quota = bytes.map_or_else(|| "null".to_owned(), |bytes| format!("\"{bytes}\""));
            return Err(which.refused(format!(
                "its DataArray says what its quota is, and would take another back: kubectl patch dataarray {name} -n {namespace} \
                 --type=merge -p '{{\"spec\": {{\"quota\": {quota}}}}}'"
            )));
        }
        array.set_quota(bytes).map_err(|error| which.refused(error))?;
    }
    let used = array.used_bytes().map_err(|error| which.refused(error))?;
    let quota = array.quota_bytes().map_err(|error| which.refused(error))?;
    let of = quota.map_or_else(|| "without a bound".to_owned(), |quota| format!("of {quota}"));
    output::data(&format!("{used} bytes {of}"));
    Ok(())
}

fn bytes(size: &str) -> Result<u64, Failure> {
    let wrong = || Failure::Usage(format!("{size:?} is no size such as 500Mi or 10Gi"));
    let quantity: watchbell_api::quantity::Quantity = size.parse().map_err(|_| wrong())?;
    if quantity.is_negative() { Err(wrong()) } else { Ok(quantity.as_bytes()) }
}
