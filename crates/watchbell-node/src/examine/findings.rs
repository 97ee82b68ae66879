//! From a bill of materials and a database of advisories to what policies look at.

use watchbell_advisory::{Class, Database, Severity as Rated};
use watchbell_api::image::{Exploited, Finding, Findings, Severity};
use watchbell_scan::Inventory;
use watchbell_scan::finding::{Finding as Found, find, questions};

/// What the database has against the packages.
///
/// # Errors
/// The database cannot be read.
pub(super) fn of(
    inventory: &Inventory,
    database: &Database,
    generation: u64,
    database_at: i64,
) -> Result<Findings, String> {
    let asked = questions(inventory);
    let found = find(&asked, database).map_err(|error| error.to_string())?;
    // Code of a kernel does not run in a container, and a notice is no vulnerability.
    let counted = found.into_iter().filter(|found| found.known.class == Class::Package);
    let list = counted.filter_map(|found| finding(inventory, found));
    let mut list: Vec<Finding> = list.collect();
    list.sort_by(|a, b| (&a.id, &a.package, &a.version).cmp(&(&b.id, &b.package, &b.version)));
    Ok(Findings { generation, database_at, list })
}

/// A finding is of one package, or of all that were built of one source: then it goes by the source's name.
fn finding(inventory: &Inventory, found: Found) -> Option<Finding> {
    let Found { question, known } = found;
    let package = inventory.packages.get(*question.packages.first()?)?;
    let (name, version) = match question.packages.len() {
        1 => (package.name.as_str(), package.version.as_str()),
        _ => (question.name.as_str(), question.version.as_str()),
    };
    let vulnerability = known.vulnerability;
    let score = vulnerability.score();
    Some(Finding {
        severity: match known.severity {
            Rated::Critical => Some(Severity::Critical),
            Rated::High => Some(Severity::High),
            Rated::Medium => Some(Severity::Medium),
            Rated::Low | Rated::None => Some(Severity::Low),
            Rated::Unknown => None,
        },
        exploited: match vulnerability.exploited {
            Some(_) => Exploited::Known,
            None => Exploited::NotKnown,
        },
        package: name.into(),
        version: version.into(),
        fixed: known.fixed.first().map(|fixed| fixed.as_str().into()),
        purl: package.purl(inventory.distribution.as_ref()).into(),
        path: package.locations.first().map_or("", |place| place.path.as_str()).into(),
        title: vulnerability.summary.as_str().into(),
        score: score.map(watchbell_advisory::Score::value),
        vector: score.map_or("", |score| score.vector.as_str()).into(),
        link: vulnerability.url.as_deref().unwrap_or_default().into(),
        aliases: vulnerability.aliases.iter().map(|alias| alias.as_str().into()).collect(),
        id: vulnerability.id.into(),
    })
}
