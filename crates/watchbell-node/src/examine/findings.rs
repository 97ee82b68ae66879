//! From a bill of materials and a database of advisories to what policies look at.

use watchbell_advisory::{Class, Database, Severity as Rated};
use watchbell_api::image::{Exploited, Finding, Findings, Severity};
use watchbell_scan::finding::{Finding as Found, find, questions};
use watchbell_scan::{Distribution, Inventory, PackageKind};

/// Characters of a distribution's name that are told.
const NAME_MAX: usize = 100;

/// What the database has against the packages.
///
/// # Errors
/// The database cannot be read, or no advisories are read of the distribution whose packages these are.
pub(super) fn of(
    inventory: &Inventory,
    database: &Database,
    generation: u64,
    database_at: i64,
) -> Result<Findings, String> {
    let asked = questions(inventory);
    // Of an unknown distribution nothing is known, which is not the same as nothing being wrong.
    let of_distribution = [PackageKind::Deb, PackageKind::Rpm, PackageKind::Apk];
    let unknown: usize = of_distribution.iter().filter_map(|kind| asked.unknown.get(kind)).sum();
    if unknown > 0 {
        return Err(format!(
            "no advisories are read of {}, and {unknown} of its packages are in the image; build on a release of Debian, \
             Ubuntu, Alpine, AlmaLinux, Rocky Linux or Red Hat",
            named(inventory.distribution.as_ref())
        ));
    }
    let found = find(&asked, database).map_err(|error| error.to_string())?;
    // Code of a kernel does not run in a container, and a notice is no vulnerability.
    let counted = found.into_iter().filter(|found| found.known.class == Class::Package);
    let list = counted.filter_map(|found| finding(inventory, found));
    let mut list: Vec<Finding> = list.collect();
    list.sort_by(|a, b| (&a.id, &a.package, &a.version).cmp(&(&b.id, &b.package, &b.version)));
    Ok(Findings { generation, database_at, list })
}

/// A distribution as its image names it; that may be anything.
fn named(distribution: Option<&Distribution>) -> String {
    let Some(Distribution { id, version_id, .. }) = distribution else {
        return "a distribution that the image does not name".to_owned();
    };
    let words = [Some(id), version_id.as_ref()].into_iter().flatten().map(String::as_str);
    let name: String = words.collect::<Vec<_>>().join(" ").chars().take(NAME_MAX).collect();
    format!("the distribution {name:?}")
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
