//! A stricter policy never lets more images pass, one policy more never does, and time makes none pass that is not of the future.

use std::sync::Arc;

use jiff::Timestamp;
use proptest::prelude::*;
use watchbell_api::image::{
    Contents, Exploited, Finding, Findings, ImageFacts, Naming, Severity, Signed, Unknown,
};

use super::super::{
    Action, Base, DigestRule, Exception, Gaps, Glob, InForce, KnownExploited, Limit, Minimality, Policy,
    Presence, Signer, SignerRule, Unfixed, Vulnerabilities, decide,
};

const HOUR: i64 = 3600;

fn severity() -> impl Strategy<Value = Option<Severity>> {
    prop::option::of(prop::sample::select(Severity::ALL.to_vec()))
}

prop_compose! {
    fn finding()(
        id in "[ab]", package in "[xy]", severity in severity(), is_fixed: bool, is_exploited: bool,
    ) -> Finding {
        Finding {
            id: id.into(),
            package: package.into(),
            version: "1".into(),
            fixed: is_fixed.then(|| "2".into()),
            severity,
            exploited: if is_exploited { Exploited::Known } else { Exploited::NotKnown },
            ..Finding::default()
        }
    }
}

prop_compose! {
    fn facts()(
        repository in "(a|b)[.]io/(x|y)", is_pinned: bool, created_at in prop::option::of(-200..100i64),
        layers in prop::collection::vec("[pq]", 0..3), size in 0..4u64, packages in 0..4u32,
        has_shell: bool, has_setuid: bool, list in prop::collection::vec(finding(), 0..4),
        database_at in -100..0i64, exploited_at in prop::option::weighted(0.8, -100..0i64),
        uncovered in prop::collection::vec("[mn]", 0..2), gaps in prop::sample::select(vec![0, 0, 1]), is_known in prop::bool::weighted(0.8), signed in prop::option::of(any::<bool>()),
    ) -> ImageFacts {
        let unknown = || Unknown::Because("why".into());
        let one = |there: bool| if there { vec!["p".into()] } else { Vec::new() };
        let layers: Arc<[Arc<str>]> = layers.into_iter().map(Into::into).collect();
        ImageFacts {
            digest: "sha256:d".into(),
            repository: repository.into(),
            tag: None,
            naming: if is_pinned { Naming::Digest } else { Naming::Tag },
            created_at: created_at.map(|hours| hours * HOUR),
            diff_ids: layers.clone(),
            layers,
            size,
            contents: if is_known {
                Ok(Arc::new(Contents {
                    packages, shells: one(has_shell), setuid: one(has_setuid), gaps, ..Contents::default()
                }))
            } else {
                Err(unknown())
            },
            findings: if is_known {
                Ok(Arc::new(Findings {
                    generation: 1, database_at: database_at * HOUR, list,
                    exploited_at: exploited_at.map(|hours| hours * HOUR),
                    uncovered: uncovered.into_iter().map(|name| (name.into(), 1)).collect(),
                    ..Findings::default()
                }))
            } else {
                Err(unknown())
            },
            signers: signed.into_iter().map(|good| Signed {
                signer: "s".into(),
                image: if good { Ok(()) } else { Err(unknown()) },
                statements: Vec::new(), asked: Vec::new(), gap: None,
            }).collect(),
        }
    }
}

prop_compose! {
    fn vulnerabilities()(
        limit in prop::option::of(severity()), exploited: bool, unfixed: bool, unscored in severity(),
        exceptions in prop::collection::vec(("[ab]", prop::option::of("[xy]"), -50..50i64), 0..3),
        database_hours in prop::option::of(1..100u32), uncovered in prop::collection::vec("[mn]", 0..3), gaps: bool,
    ) -> Vulnerabilities {
        Vulnerabilities {
            limit: limit.map(Limit),
            known_exploited: if exploited { KnownExploited::Refused } else { KnownExploited::AsOthers },
            unfixed: if unfixed { Unfixed::LeftAside } else { Unfixed::Counts },
            unscored,
            exceptions: exceptions.into_iter().map(|(id, package, hours)| {
                Exception::new(&id, package.as_deref(), "r", hours * HOUR)
            }).collect(),
            database_hours,
            uncovered: uncovered.into_iter().map(Into::into).collect(),
            gaps: if gaps { Gaps::Allowed } else { Gaps::Refused },
        }
    }
}

prop_compose! {
    fn policy()(
        repositories in prop::collection::vec(prop::sample::select(vec!["a.io/*", "**/x", "b.io/y"]), 0..3),
        needs_digest: bool, vulnerabilities in vulnerabilities(), days in prop::option::of(1..8u32),
        shells: bool, setuid: bool, packages_max in prop::option::of(0..4u32), bytes_max in prop::option::of(0..4u64),
        bases in prop::collection::vec(prop::collection::vec("[pq]", 1..3), 0..2),
        denies in prop::bool::weighted(0.8),
    ) -> Policy {
        let presence = |refused: bool| if refused { Presence::Refused } else { Presence::Allowed };
        Policy {
            action: if denies { Action::Deny } else { Action::Warn },
            namespaces: None,
            registries: Vec::new(),
            repositories: repositories.into_iter().map(Glob::new).collect(),
            digest: if needs_digest { DigestRule::Required } else { DigestRule::Resolved },
            signers: Vec::new(),
            attestations: Vec::new(),
            vulnerabilities,
            maximum_age_days: days,
            minimality: Minimality { shells: presence(shells), setuid: presence(setuid), packages_max, bytes_max },
            bases: bases.into_iter().map(|layers| Base {
                name: "b".into(), layers: layers.into_iter().map(Into::into).collect(),
            }).collect(),
        }
    }
}

/// One way of being stricter, or of being as strict.
#[derive(Debug, Clone, Copy)]
enum Stricter {
    Denies,
    FewerRepositories,
    NeedsDigest,
    LowerLimit,
    RefusesExploited,
    FewerUncovered,
    RefusesGaps,
    CountsUnfixed,
    UnscoredIsWorse,
    FewerExceptions,
    ExceptionsEndSooner,
    YoungerDatabase,
    YoungerImage,
    NoShell,
    NoSetuid,
    FewerPackages,
    FewerBytes,
    FewerBases,
}

const WAYS: [Stricter; 18] = [
    Stricter::Denies,
    Stricter::FewerRepositories,
    Stricter::NeedsDigest,
    Stricter::LowerLimit,
    Stricter::RefusesExploited,
    Stricter::FewerUncovered,
    Stricter::RefusesGaps,
    Stricter::CountsUnfixed,
    Stricter::UnscoredIsWorse,
    Stricter::FewerExceptions,
    Stricter::ExceptionsEndSooner,
    Stricter::YoungerDatabase,
    Stricter::YoungerImage,
    Stricter::NoShell,
    Stricter::NoSetuid,
    Stricter::FewerPackages,
    Stricter::FewerBytes,
    Stricter::FewerBases,
];

fn tighten(policy: &Policy, way: Stricter) -> Policy {
    let mut next = policy.clone();
    let asked = &mut next.vulnerabilities;
    match way {
        Stricter::Denies => next.action = Action::Deny,
        // An empty list lets all pass.
        Stricter::FewerRepositories if next.repositories.len() > 1 => drop(next.repositories.pop()),
        Stricter::FewerRepositories if next.repositories.is_empty() => {
            next.repositories.push(Glob::new("a.io/*"));
        }
        Stricter::NeedsDigest => next.digest = DigestRule::Required,
        Stricter::LowerLimit => {
            asked.limit = Some(Limit(match asked.limit {
                None => Some(Severity::Critical),
                Some(Limit(limit)) => Severity::ALL.into_iter().rev().find(|s| Some(*s) < limit),
            }));
        }
        Stricter::RefusesExploited => asked.known_exploited = KnownExploited::Refused,
        Stricter::FewerUncovered => drop(asked.uncovered.pop()),
        Stricter::RefusesGaps => asked.gaps = Gaps::Refused,
        Stricter::CountsUnfixed => asked.unfixed = Unfixed::Counts,
        Stricter::UnscoredIsWorse => {
            let before = asked.unscored.unwrap_or(Severity::Medium);
            asked.unscored = Severity::ALL.into_iter().find(|s| *s > before).or(Some(before));
        }
        Stricter::FewerExceptions => drop(asked.exceptions.0.pop()),
        Stricter::ExceptionsEndSooner => asked.exceptions.0.iter_mut().for_each(|e| e.expires -= HOUR),
        Stricter::YoungerDatabase => {
            asked.database_hours = Some(asked.database_hours.map_or(100, |hours| (hours - 1).max(1)));
        }
        Stricter::YoungerImage => {
            next.maximum_age_days = Some(next.maximum_age_days.map_or(8, |days| (days - 1).max(1)));
        }
        Stricter::NoShell => next.minimality.shells = Presence::Refused,
        Stricter::NoSetuid => next.minimality.setuid = Presence::Refused,
        Stricter::FewerPackages => {
            let most = next.minimality.packages_max;
            next.minimality.packages_max = Some(most.map_or(4, |most| most.saturating_sub(1)));
        }
        Stricter::FewerBytes => {
            let most = next.minimality.bytes_max;
            next.minimality.bytes_max = Some(most.map_or(4, |most| most.saturating_sub(1)));
        }
        Stricter::FewerBases if next.bases.len() > 1 => drop(next.bases.pop()),
        Stricter::FewerBases if next.bases.is_empty() => {
            next.bases.push(Base { name: "b".into(), layers: vec!["p".into()] });
        }
        Stricter::FewerRepositories | Stricter::FewerBases => {}
    }
    next
}

fn in_force(policy: Policy, needs_signature: bool) -> InForce {
    let rule = SignerRule::Key { pem: "k".into() };
    let signer = Signer { name: "s".into(), id: "s".into(), rule: Ok(rule) };
    InForce {
        name: "ImagePolicy a/b".into(),
        policy: Arc::new(policy),
        signers: if needs_signature { vec![signer] } else { Vec::new() },
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn stricter_never_lets_more_pass(
        policy in policy(), facts in facts(), signature: bool, way in prop::sample::select(WAYS.to_vec()),
    ) {
        let refused = |policy: &Policy, signature: bool| {
            decide(&[in_force(policy.clone(), signature)], &facts, at(0)).is_refused()
        };
        if refused(&policy, signature) {
            prop_assert!(refused(&tighten(&policy, way), signature), "{way:?}");
            prop_assert!(refused(&policy, true));
        }
    }

    #[test]
    fn one_more_policy_never_lets_more_pass(a in policy(), b in policy(), facts in facts()) {
        let (a, b) = (in_force(a, false), in_force(b, true));
        let alone = decide(std::slice::from_ref(&a), &facts, at(0));
        let both = decide(&[a.clone(), b.clone()], &facts, at(0));
        prop_assert!(both.is_refused() || !alone.is_refused());
        // The order says nothing.
        prop_assert_eq!(decide(&[b, a], &facts, at(0)).is_refused(), both.is_refused());
    }

    #[test]
    fn one_more_finding_never_lets_more_pass(policy in policy(), facts in facts(), more in finding()) {
        let Ok(findings) = &facts.findings else { return Ok(()) };
        let mut next = (**findings).clone();
        next.list.push(more);
        let worse = ImageFacts { findings: Ok(Arc::new(next)), ..facts.clone() };
        let by = [in_force(policy, false)];
        prop_assert!(decide(&by, &worse, at(0)).is_refused() || !decide(&by, &facts, at(0)).is_refused());
    }

    /// Who keeps a verdict until then keeps the right one, and time lets nothing pass but what said to be of the future.
    #[test]
    fn a_verdict_holds_until_it_says(policy in policy(), facts in facts(), hours in 0..400i64) {
        let by = [in_force(policy, false)];
        let first = decide(&by, &facts, at(0));
        let then = decide(&by, &facts, at(hours * HOUR));
        let is_ahead = facts.created_at.is_some_and(|at| at > 24 * HOUR);
        prop_assert!(then.is_refused() || !first.is_refused() || is_ahead);
        if first.valid_until.is_none_or(|until| hours * HOUR < until) {
            prop_assert_eq!(then.is_refused(), first.is_refused());
            prop_assert_eq!(then.reasons.len(), first.reasons.len());
        }
    }
}
