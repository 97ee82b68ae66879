//! Whether somebody who holds some rules holds others too: nobody gives away what they do not have.
//!
//! As Kubernetes does (`auth/rbac/validation`), the wanted rules are taken apart into their smallest parts, and one rule of
//! the holder must cover each. Rules that together would cover a part do not count; those that a holder needs can be
//! written so.

use std::collections::{HashMap, HashSet};

use super::Rule;
use super::rule::{ALL, has, has_or_all, path_covers};

/// So many times a word that is wanted is compared with one that is held, at most; some tenths of a second. A megabyte of rules
/// can have more parts than there are atoms in it: whoever writes them is told to write them otherwise.
const COMPARISONS_MAX: usize = 16_000_000;
/// So many smallest parts are made at all.
const PARTS_MAX: usize = 100_000;

/// What was wanted and is not covered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uncovered {
    /// The smallest parts, those of one group, resource and name together.
    Rules(Vec<Rule>),
    /// The rules have more parts than are looked at.
    TooMany,
}

/// Whether `held` covers all of `wanted`; if not, what it does not cover.
pub fn covers(held: &[Rule], wanted: &[Rule]) -> Result<(), Uncovered> {
    let held_words = held.iter().map(words_of).sum::<usize>().max(1);
    let (mut comparisons, mut parts) = (COMPARISONS_MAX, PARTS_MAX);
    let mut take = |words: usize| {
        comparisons = words.checked_mul(held_words).and_then(|n| comparisons.checked_sub(n))?;
        Some(())
    };
    let mut missing = Vec::new();
    for rule in wanted {
        take(words_of(rule)).ok_or(Uncovered::TooMany)?;
        // One rule that covers the whole: most often so, and then the number of its parts does not matter.
        if held.iter().any(|own| own.covers_rule(rule)) {
            continue;
        }
        let count = parts_of(rule).ok_or(Uncovered::TooMany)?;
        parts = parts.checked_sub(count).ok_or(Uncovered::TooMany)?;
        take(count).ok_or(Uncovered::TooMany)?;
        for part in split(rule) {
            if !held.iter().any(|own| own.covers_rule(&part)) {
                missing.push(part);
            }
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(Uncovered::Rules(compact(missing))) }
}

impl Rule {
    /// Whether this rule alone allows all that another does.
    fn covers_rule(&self, other: &Rule) -> bool {
        let all =
            |own: &[String], wanted: &[String]| has(own, ALL) || wanted.iter().all(|text| has(own, text));
        let names = match other.resource_names.as_slice() {
            [] => self.resource_names.is_empty(),
            wanted => {
                self.resource_names.is_empty() || wanted.iter().all(|name| has(&self.resource_names, name))
            }
        };
        names
            && all(&self.verbs, &other.verbs)
            && all(&self.api_groups, &other.api_groups)
            && other.resources.iter().all(|resource| self.covers_resource(resource))
            && other
                .non_resource_urls
                .iter()
                .all(|path| self.non_resource_urls.iter().any(|own| path_covers(own, path)))
    }

    fn covers_resource(&self, wanted: &str) -> bool {
        has_or_all(&self.resources, wanted)
            || wanted.split_once('/').is_some_and(|(_, subresource)| {
                self.resources.iter().any(|own| own.strip_prefix("*/") == Some(subresource))
            })
    }
}

/// How much there is to compare of a rule.
fn words_of(rule: &Rule) -> usize {
    let lists =
        [&rule.verbs, &rule.api_groups, &rule.resources, &rule.resource_names, &rule.non_resource_urls];
    lists.iter().map(|list| list.len()).sum()
}

/// How many smallest parts a rule has; `None`: more than can be counted.
fn parts_of(rule: &Rule) -> Option<usize> {
    let resources = rule
        .api_groups
        .len()
        .checked_mul(rule.resources.len())?
        .checked_mul(rule.resource_names.len().max(1))?
        .checked_mul(rule.verbs.len())?;
    resources.checked_add(rule.non_resource_urls.len().checked_mul(rule.verbs.len())?)
}

fn split(rule: &Rule) -> Vec<Rule> {
    let one = |text: &String| vec![text.clone()];
    let names: Vec<Vec<String>> = match rule.resource_names.as_slice() {
        [] => vec![Vec::new()],
        names => names.iter().map(one).collect(),
    };
    let mut parts = Vec::new();
    for group in &rule.api_groups {
        for resource in &rule.resources {
            for verb in &rule.verbs {
                for name in &names {
                    parts.push(Rule {
                        api_groups: one(group),
                        resources: one(resource),
                        resource_names: name.clone(),
                        verbs: one(verb),
                        ..Rule::default()
                    });
                }
            }
        }
    }
    for path in &rule.non_resource_urls {
        for verb in &rule.verbs {
            parts.push(Rule { non_resource_urls: one(path), verbs: one(verb), ..Rule::default() });
        }
    }
    parts
}

/// Parts that differ in their verb alone, put together; paths stay apart, as in Kubernetes.
fn compact(parts: Vec<Rule>) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    let mut known: HashMap<Rule, usize> = HashMap::new();
    for mut part in parts {
        if !part.non_resource_urls.is_empty() {
            rules.push(part);
            continue;
        }
        let verbs = std::mem::take(&mut part.verbs);
        match known.get(&part) {
            Some(&place) => rules[place].verbs.extend(verbs),
            None => {
                known.insert(part.clone(), rules.len());
                rules.push(Rule { verbs, ..part });
            }
        }
    }
    for rule in &mut rules {
        let mut seen = HashSet::new();
        rule.verbs.retain(|verb| seen.insert(verb.clone()));
    }
    rules
}
