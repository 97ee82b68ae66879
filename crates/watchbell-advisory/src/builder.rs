//! Makes an index of what several sources say.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::mem::{Discriminant, discriminant};

use crate::database::Database;
use crate::identity::{self, Identities};
use crate::index::{AdvisoryRow, Entry, Marks, PackageBlock, VulnerabilityRow, Writer, package_key};
use crate::record::{Advisory, Affected, Exploited, Prediction, SUMMARY_BYTES_MAX};
use crate::source::{Coverage, Source};
use crate::{Ecosystem, Error};

/// Everything that one source says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contents {
    pub advisories: Vec<Advisory>,
    /// By CVE.
    pub exploited: BTreeMap<String, Exploited>,
    /// By CVE.
    pub predictions: BTreeMap<String, Prediction>,
    /// The publisher's terms, as they lay beside the records.
    pub licence: String,
    /// The statements of each repository of Alpine: one of them alone does not speak for its release.
    pub repositories: BTreeMap<(Ecosystem, String), u64>,
    /// Whose packages it speaks of by the word of who imports it; nothing: what it has most of.
    pub stated: BTreeSet<Ecosystem>,
}

/// Sources that are to become one index. The same sources make the same bytes, in whatever order they were given.
#[derive(Debug, Default)]
pub struct Builder {
    sources: BTreeMap<String, (Source, Contents)>,
}

impl Builder {
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Begins with what an index has.
    pub fn from_database(database: &Database) -> Result<Builder, Error> {
        let contents = database.contents()?;
        let sources = database.sources().iter().cloned().zip(contents);
        Ok(Builder { sources: sources.map(|pair| (pair.0.name.clone(), pair)).collect() })
    }

    /// What is known of a source that was added before.
    pub fn source(&self, name: &str) -> Option<&Source> {
        self.sources.get(name).map(|(source, _)| source)
    }

    /// Adds a source, in the place of the one of that name.
    pub fn replace(&mut self, source: Source, mut contents: Contents) {
        for advisory in &mut contents.advisories {
            tidy(advisory);
        }
        // Of records with one id the newest counts.
        contents.advisories.sort_by(|a, b| a.id.cmp(&b.id).then(b.modified.cmp(&a.modified)));
        contents.advisories.dedup_by(|later, kept| later.id == kept.id);
        let source = Source { coverage: coverage(&contents), ..source };
        self.sources.insert(source.name.clone(), (source, contents));
    }

    /// Takes note that a source's publisher has nothing newer.
    pub fn confirm(&mut self, name: &str, now: i64) {
        if let Some((source, _)) = self.sources.get_mut(name) {
            source.confirmed = Some(now);
        }
    }

    /// Takes a source out; false: there was none of that name.
    pub fn remove(&mut self, name: &str) -> bool {
        self.sources.remove(name).is_some()
    }

    /// The bytes of the index.
    pub fn build(&self) -> Vec<u8> {
        let records: Vec<&Advisory> = self.sources.values().flat_map(|(_, c)| &c.advisories).collect();
        let places: Vec<u16> = (0u16..)
            .zip(self.sources.values())
            .flat_map(|(place, (_, c))| std::iter::repeat_n(place, c.advisories.len()))
            .collect();
        let identities = identity::resolve(&records);
        let mut writer = Writer::default();
        write_packages(&mut writer, &records, &places, &identities);
        for (record, source) in records.iter().zip(&places) {
            writer.advisory(&advisory_row(record, *source));
        }
        self.write_vulnerabilities(&mut writer, &records, &identities);
        let sources: Vec<Source> = self.sources.values().map(|(source, _)| source.clone()).collect();
        let licences: Vec<&str> = self.sources.values().map(|(_, c)| c.licence.as_str()).collect();
        let marks: Vec<Marks> = (0u16..)
            .zip(self.sources.values())
            .filter(|(_, (_, c))| !c.exploited.is_empty() || !c.predictions.is_empty())
            .map(|(source, (_, c))| Marks {
                source,
                exploited: c.exploited.clone().into_iter().collect(),
                predictions: c.predictions.clone().into_iter().collect(),
            })
            .collect();
        writer.finish(&sources, &licences, &marks)
    }

    fn write_vulnerabilities(&self, writer: &mut Writer, records: &[&Advisory], identities: &Identities) {
        let mut about: Vec<Vec<u32>> = vec![Vec::new(); identities.vulnerabilities.len()];
        for (at, (record, numbers)) in (0u32..).zip(records.iter().zip(&identities.of)) {
            // A record of several says nothing about each.
            if let ([number], 0..=1) = (&numbers[..], record.upstream.len()) {
                about[*number as usize].push(at);
            }
        }
        for (number, (identity, records)) in (0u32..).zip(identities.vulnerabilities.iter().zip(about)) {
            let exploited = self.sources.values().find_map(|(_, c)| c.exploited.get(&identity.id));
            let prediction = self.sources.values().find_map(|(_, c)| c.predictions.get(&identity.id));
            writer.vulnerability(
                number,
                &VulnerabilityRow {
                    id: &identity.id,
                    aliases: identity.aliases.iter().map(String::as_str).collect(),
                    records,
                    exploited: exploited.cloned(),
                    prediction: prediction.copied(),
                },
            );
        }
    }
}

/// Of what a source says of a distribution's release at least so many times less than of another is said in passing: errata of
/// one release name packages of its neighbours. The same holds between languages: records about npm name packages of Maven that
/// have the same flaw.
const IN_PASSING: u64 = 20;

/// Whose packages it speaks of. What is mentioned alone is not covered: all that nothing is said about would look well.
fn coverage(contents: &Contents) -> Vec<Coverage> {
    let mut counts: HashMap<&Ecosystem, u64> = HashMap::new();
    for affected in contents.advisories.iter().flat_map(|advisory| &advisory.affected) {
        *counts.entry(&affected.ecosystem).or_default() += 1;
    }
    let mut most: HashMap<Option<Discriminant<Ecosystem>>, u64> = HashMap::new();
    for (ecosystem, statements) in &counts {
        let most = most.entry(family(ecosystem)).or_default();
        *most = (*most).max(*statements);
    }
    let is_covered = |(ecosystem, statements): &(&Ecosystem, u64)| match contents.stated.is_empty() {
        true => statements * IN_PASSING >= most[&family(ecosystem)],
        false => contents.stated.contains(ecosystem),
    };
    let repositories = |ecosystem: &Ecosystem| -> Vec<Coverage> {
        let of_it = contents.repositories.iter().filter(|((of, _), _)| of == ecosystem);
        let of_it = of_it.filter(|_| contents.stated.is_empty());
        of_it
            .map(|((_, repository), statements)| Coverage {
                ecosystem: ecosystem.in_repository(repository),
                statements: *statements,
            })
            .collect()
    };
    let covered = counts.into_iter().filter(is_covered);
    let covered = covered.flat_map(|(ecosystem, statements)| match repositories(ecosystem) {
        parts if parts.is_empty() => vec![Coverage { ecosystem: ecosystem.to_string(), statements }],
        parts => parts,
    });
    let mut covered: Vec<Coverage> = covered.collect();
    covered.sort_unstable_by(|a, b| a.ecosystem.cmp(&b.ecosystem));
    covered
}

/// The releases of one distribution; all languages.
fn family(ecosystem: &Ecosystem) -> Option<Discriminant<Ecosystem>> {
    ecosystem.is_distribution().then(|| discriminant(ecosystem))
}

fn write_packages(writer: &mut Writer, records: &[&Advisory], places: &[u16], identities: &Identities) {
    let mut packages: BTreeMap<String, Vec<Entry<'_>>> = BTreeMap::new();
    let mut names: HashMap<&Ecosystem, String> = HashMap::new();
    for (number, record) in (0u32..).zip(records) {
        for affected in &record.affected {
            let ecosystem =
                names.entry(&affected.ecosystem).or_insert_with(|| affected.ecosystem.to_string());
            packages.entry(format!("{ecosystem}\n{}", affected.name)).or_default().push(Entry {
                advisory: number,
                source: places[number as usize],
                vulnerabilities: identities.of[number as usize].clone(),
                standing: affected.standing,
                severity: affected.severity,
                intervals: affected.intervals.iter().map(Into::into).collect(),
                versions: affected.versions.iter().map(String::as_str).collect(),
            });
        }
    }
    for (key, entries) in packages {
        writer.package(&PackageBlock { key: &key, entries });
    }
}

fn advisory_row(record: &Advisory, source: u16) -> AdvisoryRow<'_> {
    AdvisoryRow {
        source,
        id: &record.id,
        aliases: record.aliases.iter().map(String::as_str).collect(),
        upstream: record.upstream.iter().map(String::as_str).collect(),
        summary: &record.summary,
        url: record.url.as_deref(),
        published: record.published,
        modified: record.modified,
        scores: record.scores.iter().map(|score| (score.tenths, score.vector.as_str())).collect(),
        severity: record.severity,
        is_notice: record.is_notice,
    }
}

/// One order of everything that has none, so that equal contents make equal bytes.
fn tidy(advisory: &mut Advisory) {
    let id = advisory.id.clone();
    for list in [&mut advisory.aliases, &mut advisory.upstream] {
        list.retain(|name| *name != id);
        list.sort_unstable();
        list.dedup();
    }
    cut(&mut advisory.summary);
    advisory.scores.sort_unstable_by(|a, b| b.cmp(a));
    advisory.scores.dedup();
    for affected in &mut advisory.affected {
        affected.versions.sort_unstable();
        affected.versions.dedup();
    }
    let key = |a: &Affected| (package_key(&a.ecosystem, &a.name), a.intervals.clone(), a.standing);
    advisory.affected.sort_by_cached_key(key);
}

fn cut(summary: &mut String) {
    if summary.len() <= SUMMARY_BYTES_MAX {
        return;
    }
    let end = (0..=SUMMARY_BYTES_MAX - 3).rev().find(|at| summary.is_char_boundary(*at)).unwrap_or(0);
    summary.truncate(end);
    summary.push('…');
}
