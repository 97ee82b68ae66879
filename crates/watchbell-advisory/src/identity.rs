//! Which records speak of the same vulnerability.
//!
//! A vulnerability is a CVE where one is known, else the names that records call the same. A record of a distribution may
//! be about several; records never make one vulnerability of two CVEs.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::record::Advisory;

/// A vulnerability and every other name of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) id: String,
    pub(crate) aliases: BTreeSet<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Identities {
    /// Sorted by id.
    pub(crate) vulnerabilities: Vec<Identity>,
    /// For each record, by its place, those it speaks of: sorted, at least one.
    pub(crate) of: Vec<Vec<u32>>,
}

/// Whether it is a name of the CVE programme: `CVE-2024-3094`.
pub(crate) fn is_cve(id: &str) -> bool {
    let mut parts = id.split('-');
    let is_number = |part: Option<&str>, least: usize| {
        part.is_some_and(|p| (least..=19).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_digit()))
    };
    parts.next() == Some("CVE")
        && is_number(parts.next(), 4)
        && is_number(parts.next(), 4)
        && parts.next().is_none()
}

/// The same result whatever the order of the records.
pub(crate) fn resolve(records: &[&Advisory]) -> Identities {
    let mut classes = Classes::default();
    // CVEs by the id of the record that names them.
    let mut by_id: HashMap<&str, BTreeSet<&str>> = HashMap::new();
    for record in records.iter().filter(|record| record.upstream.is_empty()) {
        let others: Vec<&str> = names(record).filter(|name| !is_cve(name)).collect();
        for pair in others.windows(2) {
            classes.join(pair[0], pair[1]);
        }
        let cves: BTreeSet<&str> = names(record).filter(|name| is_cve(name)).collect();
        if !cves.is_empty() {
            by_id.entry(&record.id).or_default().extend(cves);
        }
    }
    let mut class_cves: HashMap<usize, BTreeSet<&str>> = HashMap::new();
    let mut class_names: HashMap<usize, BTreeSet<&str>> = HashMap::new();
    for record in records.iter().filter(|record| record.upstream.is_empty()) {
        for name in names(record).filter(|name| !is_cve(name)) {
            let class = classes.of(name);
            class_cves.entry(class).or_default().extend(names(record).filter(|name| is_cve(name)));
            class_names.entry(class).or_default().insert(name);
        }
    }

    let mut aliases: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut spoken_of: Vec<Vec<&str>> = Vec::with_capacity(records.len());
    for record in records {
        let ids = if record.upstream.is_empty() {
            vulnerabilities_of(record, &by_id, &mut classes, &class_cves, &class_names)
        } else {
            // What a distribution mends, by the name that upstream gave it.
            record
                .upstream
                .iter()
                .map(|name| one_name(name, &by_id, &mut classes, &class_cves, &class_names))
                .collect()
        };
        if let [id] = ids.iter().copied().collect::<Vec<_>>()[..]
            && record.upstream.is_empty()
        {
            aliases.entry(id).or_default().extend(names(record).filter(|name| *name != id));
        }
        for id in &ids {
            aliases.entry(id).or_default();
        }
        spoken_of.push(ids.into_iter().collect());
    }

    let numbers: HashMap<&str, u32> = aliases.keys().enumerate().map(|(at, id)| (*id, at as u32)).collect();
    let of = spoken_of.iter().map(|ids| ids.iter().map(|id| numbers[id]).collect()).collect();
    let vulnerabilities = aliases
        .iter()
        .map(|(id, aliases)| Identity {
            id: (*id).to_owned(),
            aliases: aliases.iter().map(|name| (*name).to_owned()).collect(),
        })
        .collect();
    Identities { vulnerabilities, of }
}

fn names(record: &Advisory) -> impl Iterator<Item = &str> {
    std::iter::once(record.id.as_str()).chain(record.aliases.iter().map(String::as_str))
}

fn vulnerabilities_of<'a>(
    record: &'a Advisory,
    by_id: &HashMap<&'a str, BTreeSet<&'a str>>,
    classes: &mut Classes<'a>,
    class_cves: &HashMap<usize, BTreeSet<&'a str>>,
    class_names: &HashMap<usize, BTreeSet<&'a str>>,
) -> BTreeSet<&'a str> {
    let own: BTreeSet<&str> = names(record).filter(|name| is_cve(name)).collect();
    if !own.is_empty() {
        return own;
    }
    // A record that this one calls the same may know the CVE; it is more exact than what the whole class knows.
    let direct: BTreeSet<&str> =
        names(record).filter_map(|name| by_id.get(name)).flatten().copied().collect();
    if !direct.is_empty() {
        return direct;
    }
    let class = classes.of(&record.id);
    match class_cves.get(&class) {
        Some(cves) if !cves.is_empty() => cves.clone(),
        _ => BTreeSet::from([representative(&record.id, class, class_names)]),
    }
}

fn one_name<'a>(
    name: &'a str,
    by_id: &HashMap<&'a str, BTreeSet<&'a str>>,
    classes: &mut Classes<'a>,
    class_cves: &HashMap<usize, BTreeSet<&'a str>>,
    class_names: &HashMap<usize, BTreeSet<&'a str>>,
) -> &'a str {
    if is_cve(name) {
        return name;
    }
    let class = classes.of(name);
    let known = by_id.get(name).or_else(|| class_cves.get(&class));
    match known.and_then(|cves| cves.first()) {
        Some(cve) => cve,
        None => representative(name, class, class_names),
    }
}

/// The name that most people know: GitHub's, else the first.
fn representative<'a>(
    name: &'a str,
    class: usize,
    class_names: &HashMap<usize, BTreeSet<&'a str>>,
) -> &'a str {
    let Some(names) = class_names.get(&class) else { return name };
    names.iter().find(|name| name.starts_with("GHSA-")).or_else(|| names.first()).copied().unwrap_or(name)
}

/// Names that are the same vulnerability, as disjoint sets.
#[derive(Default)]
struct Classes<'a> {
    places: HashMap<&'a str, usize>,
    parents: Vec<usize>,
}

impl<'a> Classes<'a> {
    fn of(&mut self, name: &'a str) -> usize {
        let new = self.parents.len();
        let mut at = *self.places.entry(name).or_insert(new);
        if at == new {
            self.parents.push(new);
        }
        while self.parents[at] != at {
            self.parents[at] = self.parents[self.parents[at]];
            at = self.parents[at];
        }
        at
    }

    fn join(&mut self, a: &'a str, b: &'a str) {
        let (a, b) = (self.of(a), self.of(b));
        // The smaller place stays, so that the result does not depend on luck; names are made of the sets, not of places.
        let (low, high) = (a.min(b), a.max(b));
        self.parents[high] = low;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(id: &str, aliases: &[&str], upstream: &[&str]) -> Advisory {
        let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        Advisory {
            id: id.to_owned(),
            aliases: owned(aliases),
            upstream: owned(upstream),
            ..Advisory::default()
        }
    }

    /// What each record speaks of, by name.
    fn names_of(records: &[Advisory]) -> Vec<Vec<String>> {
        let resolved = resolve(&records.iter().collect::<Vec<_>>());
        let name = |n: &u32| resolved.vulnerabilities[*n as usize].id.clone();
        resolved.of.iter().map(|list| list.iter().map(name).collect()).collect()
    }

    #[test]
    fn cves_are_told_from_other_names() {
        for yes in ["CVE-2024-3094", "CVE-1999-0001", "CVE-2025-1234567"] {
            assert!(is_cve(yes), "{yes}");
        }
        for no in [
            "CVE-2024-30",
            "CVE-24-3094",
            "GHSA-34p9-f4q3-c4r7",
            "CVE-2024-3094-1",
            "cve-2024-3094",
            "CVE-2024-3x94",
        ] {
            assert!(!is_cve(no), "{no}");
        }
    }

    #[test]
    fn records_of_one_vulnerability_meet_in_its_cve() {
        let records = [
            record("GHSA-aaaa", &["CVE-2024-0001"], &[]),
            record("PYSEC-1", &["GHSA-aaaa"], &[]),
            record("GO-1", &["PYSEC-1"], &[]),
            record("DEBIAN-CVE-2024-0001", &[], &["CVE-2024-0001"]),
        ];
        assert!(names_of(&records).iter().all(|ids| ids == &["CVE-2024-0001"]));
    }

    #[test]
    fn without_a_cve_the_best_known_name_stands() {
        let records = [record("PYSEC-9", &["GHSA-zzzz"], &[]), record("MAL-1", &[], &[])];
        assert_eq!(names_of(&records), [["GHSA-zzzz"], ["MAL-1"]]);
    }

    #[test]
    fn two_cves_never_become_one() {
        let records = [
            record("GO-1", &["CVE-2024-0001", "CVE-2024-0002", "GHSA-a", "GHSA-b"], &[]),
            record("GHSA-a", &["CVE-2024-0001"], &[]),
            record("GHSA-b", &["CVE-2024-0002"], &[]),
            record("PYSEC-1", &["GHSA-b"], &[]),
            record("ALSA-1", &[], &["CVE-2024-0001", "CVE-2024-0003"]),
        ];
        let expect: [&[&str]; 5] = [
            &["CVE-2024-0001", "CVE-2024-0002"],
            &["CVE-2024-0001"],
            &["CVE-2024-0002"],
            &["CVE-2024-0002"],
            &["CVE-2024-0001", "CVE-2024-0003"],
        ];
        assert_eq!(names_of(&records), expect);
        let resolved = resolve(&records.iter().collect::<Vec<_>>());
        assert!(!resolved.vulnerabilities[0].aliases.contains("ALSA-1"), "an erratum is no alias");
    }

    fn any_record() -> impl Strategy<Value = Advisory> {
        let name = prop_oneof![
            (0..6u32).prop_map(|n| format!("CVE-2024-000{n}")),
            (0..6u32).prop_map(|n| format!("GHSA-{n}")),
            (0..6u32).prop_map(|n| format!("PYSEC-{n}")),
        ];
        (name.clone(), proptest::collection::vec(name.clone(), 0..4), proptest::collection::vec(name, 0..2))
            .prop_map(|(id, aliases, upstream)| Advisory { id, aliases, upstream, ..Advisory::default() })
    }

    proptest! {
        #[test]
        fn order_changes_nothing_and_no_record_is_lost(records in proptest::collection::vec(any_record(), 0..12)) {
            let forwards = names_of(&records);
            let reversed: Vec<Advisory> = records.iter().rev().cloned().collect();
            let mut backwards = names_of(&reversed);
            backwards.reverse();
            prop_assert_eq!(&forwards, &backwards);
            let resolved = resolve(&records.iter().collect::<Vec<_>>());
            for (record, ids) in records.iter().zip(&forwards) {
                prop_assert!(!ids.is_empty());
                let own: Vec<&String> = ids.iter().filter(|id| is_cve(id)).collect();
                let named: BTreeSet<&str> = names(record).filter(|name| is_cve(name)).collect();
                if record.upstream.is_empty() && !named.is_empty() {
                    prop_assert_eq!(own.len(), named.len(), "a record speaks of the CVEs it names");
                }
            }
            for identity in &resolved.vulnerabilities {
                let others = identity.aliases.iter().filter(|name| is_cve(name)).count();
                prop_assert!(!is_cve(&identity.id) || others == 0, "{:?}", identity);
            }
        }
    }
}
