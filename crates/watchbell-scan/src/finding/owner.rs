//! Whether a distribution speaks for an application's package: it does for what it installed itself, and for nothing that was put
//! in that place afterwards.

use std::cmp::Ordering;

use watchbell_advisory::{Ecosystem, compare};

use super::ecosystem;
use crate::vendor::foreign;
use crate::{Inventory, Package, PackageKind};

/// What maintainers put behind upstream's version when they leave out files that are not free.
const REPACKED: [&str; 8] = ["+dfsg", "+ds", "+repack", "~dfsg", "~ds", "~repack", ".dfsg", "-dfsg"];

/// Whether the package of the distribution that owns its files speaks for `package`.
pub(super) fn speaks_for(inventory: &Inventory, package: &Package, distribution: Option<&Ecosystem>) -> bool {
    let Some(owner) = package.owned_by.and_then(|owner| inventory.packages.get(owner)) else { return false };
    if distribution.is_some_and(|distribution| foreign(owner, distribution).is_some()) {
        return false;
    }
    // A later layer has other files under the same names.
    let layer = owner.locations.first().map(|location| &location.layer);
    let is_of_its_layer =
        package.locations.iter().all(|location| layer.is_none_or(|layer| location.layer == *layer));
    is_of_its_layer && is_upstream(package, upstream(owner))
}

/// The version that the distribution built: without its epoch and its revision.
fn upstream(owner: &Package) -> &str {
    let version = &owner.version;
    let version = match version.split_once(':') {
        Some((epoch, rest)) if epoch.bytes().all(|b| b.is_ascii_digit()) => rest,
        _ => version,
    };
    match owner.kind {
        PackageKind::Apk => version.rsplit_once("-r").map_or(version, |(version, _)| version),
        _ => version.rsplit_once('-').map_or(version, |(version, _)| version),
    }
}

fn is_upstream(package: &Package, upstream: &str) -> bool {
    let repacked = REPACKED.iter().filter_map(|mark| upstream.find(mark)).min();
    let upstream = &upstream[..repacked.unwrap_or(upstream.len())];
    // Candidates of a release are `2.0~rc1` there and `2.0rc1` here.
    let upstream = upstream.replace('~', "");
    let version = package.version.trim_start_matches('v');
    match ecosystem(package, None) {
        Some(ecosystem) => compare(&ecosystem, version, &upstream) == Ordering::Equal,
        None => version == upstream,
    }
}

#[cfg(test)]
mod tests {
    use watchbell_image::Digest;

    use super::super::tests::package;
    use super::*;
    use crate::Location;

    fn check(owner: (PackageKind, &str), of: (PackageKind, &str), layers: [&str; 2], expect: bool) {
        let layer = |bytes: &str| {
            vec![Location { layer: Some(Digest::of(bytes.as_bytes())), path: "usr/lib/x".into() }]
        };
        let owner = Package { locations: layer(layers[0]), ..package(owner.0, "owner", owner.1) };
        let owned =
            Package { locations: layer(layers[1]), owned_by: Some(0), ..package(of.0, "owned", of.1) };
        let inventory = Inventory { packages: vec![owner.clone(), owned.clone()], ..Inventory::default() };
        assert_eq!(speaks_for(&inventory, &owned, None), expect, "{} {}", owner.version, owned.version);
    }

    #[test]
    fn a_distribution_speaks_for_what_it_installed() {
        use PackageKind::{Apk, Deb, Gem, Golang, Npm, Pypi, Rpm};
        let same = ["a", "a"];
        check((Deb, "1.16.0-4"), (Pypi, "1.16.0"), same, true);
        check((Deb, "1:2.28.1+dfsg-1"), (Pypi, "2.28.1"), same, true);
        check((Deb, "2.0~rc1-1"), (Pypi, "2.0rc1"), same, true);
        check((Deb, "1.26-1"), (Pypi, "1.26.0"), same, true);
        check((Apk, "3.1.2-r0"), (Gem, "3.1.2"), same, true);
        check((Rpm, "0:7.3.8-1.el9"), (Npm, "7.3.8"), same, true);
        // Somebody else's installer wrote another version into the place.
        check((Deb, "1.16.0-4"), (Pypi, "1.17.0"), same, false);
        check((Deb, "1.16.0-4"), (Pypi, "1.16"), same, true);
        check((Deb, "1.16.1-4"), (Pypi, "1.16"), same, false);
        // Or the same one, in a layer above.
        check((Deb, "1.16.0-4"), (Pypi, "1.16.0"), ["a", "b"], false);
        // What was built into a program of the distribution has a version of its own.
        check((Deb, "20.10.24+dfsg1-1"), (Golang, "v1.2.3"), same, false);
    }
}
