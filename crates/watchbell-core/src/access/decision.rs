//! The decision, and why it fell so.

use std::fmt;
use std::sync::Arc;

use super::rbac::{Candidates, Held, Holding};
use super::role::{MISSING_MAX, not_found};
use super::rule::{Fit, Quoted};
use super::sieve::Sieve;
use super::{Binding, Deed, MASTERS, Rbac, Role, RoleRef, Rule, Subject};
use crate::request::User;

/// So many rules that come near are told of.
const NEAR_MAX: usize = 8;

/// Whether a user may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    Allowed(Grant),
    Denied(Lack),
}

impl Decision {
    pub fn is_allowed(&self) -> bool {
        matches!(self, Decision::Allowed(_))
    }
}

/// Why somebody may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// A member of `system:masters`.
    Masters,
    Rule(By),
}

/// A rule, and how a user comes by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    pub binding: Arc<Binding>,
    /// Which of the binding's subjects the user is.
    pub subject: usize,
    pub role: Arc<Role>,
    /// Which of the role's rules.
    pub rule: usize,
}

/// Why somebody may not: no rule allows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lack {
    /// How many roles are held, each way of holding one counted.
    pub held: usize,
    /// Rules that lack but one part, the first few of them; of somebody who holds very many roles, those of the roles that
    /// were looked at.
    pub near: Vec<NearMiss>,
    /// Roles that the user's bindings name and that are not there, the first of them.
    pub missing: Vec<(RoleRef, Arc<Binding>)>,
}

/// A rule that would allow it but for one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearMiss {
    pub by: By,
    pub part: Part,
}

/// A part of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Verb,
    ApiGroup,
    /// The resource's other half: `pods` where `pods/log` is asked for, or the other way round.
    Subresource,
    ResourceName,
}

impl Rbac {
    /// Whether a user may, and why.
    pub fn decide(&self, user: &User, deed: &Deed<'_>) -> Decision {
        if user.groups.iter().any(|group| group == MASTERS) {
            return Decision::Allowed(Grant::Masters);
        }
        let mut lack = Lack::default();
        for held in self.held(user, deed.namespace()) {
            let found = match self.candidates(held, deed) {
                Candidates::Each(roles) => self.look_through(roles, deed, &mut lack.near),
                Candidates::Sifted(sieve) => self.look_at(&sieve, held, deed, &mut lack.near),
            };
            if let Some(by) = found {
                return Decision::Allowed(Grant::Rule(by));
            }
        }
        for held in self.held(user, deed.namespace()) {
            lack.held += held.roles.len();
            for (at, holding) in self.missing(held) {
                if lack.missing.len() == MISSING_MAX {
                    break;
                }
                if !lack.missing.iter().any(|(known, _)| known == at) {
                    lack.missing.push((at.clone(), holding.binding.clone()));
                }
            }
        }
        Decision::Denied(lack)
    }

    /// The first rule of these roles that allows it.
    fn look_through<'a>(
        &self,
        roles: impl Iterator<Item = (&'a RoleRef, &'a Holding)>,
        deed: &Deed<'_>,
        near: &mut Vec<NearMiss>,
    ) -> Option<By> {
        for (at, holding) in roles {
            let Some(role) = self.role(at) else { continue };
            for (rule, each) in role.rules.iter().enumerate() {
                let fit = each.fit(deed);
                if fit.allows() {
                    return Some(By::new(holding, role, rule));
                }
                if near.len() < NEAR_MAX
                    && let Some(part) = each.lacks(fit, deed)
                {
                    near.push(NearMiss { by: By::new(holding, role, rule), part });
                }
            }
        }
        None
    }

    /// The same, of rules that came through.
    fn look_at(&self, sieve: &Sieve, held: &Held, deed: &Deed<'_>, near: &mut Vec<NearMiss>) -> Option<By> {
        let by = |number: usize| {
            let (at, rule) = sieve.role_and_rule(number);
            Some(By::new(Rbac::holding(held, at)?, self.role(at)?, rule))
        };
        let sifted = sieve.sift(deed);
        if let Some(number) = sifted.allows {
            return by(number);
        }
        for by in sifted.near.into_iter().filter_map(by) {
            if near.len() == NEAR_MAX {
                break;
            }
            let rule = by.rule();
            if let Some(part) = rule.lacks(rule.fit(deed), deed) {
                near.push(NearMiss { by, part });
            }
        }
        None
    }
}

impl By {
    fn new(holding: &Holding, role: &Arc<Role>, rule: usize) -> By {
        By { binding: holding.binding.clone(), subject: holding.subject, role: role.clone(), rule }
    }

    pub fn rule(&self) -> &Rule {
        &self.role.rules[self.rule]
    }

    pub fn subject(&self) -> &Subject {
        &self.binding.subjects[self.subject]
    }
}

impl Rule {
    /// The one part that is missing, if it is but one.
    fn lacks(&self, fit: Fit, deed: &Deed<'_>) -> Option<Part> {
        match (fit.verb, fit.group, fit.resource, fit.name) {
            (false, true, true, true) => Some(Part::Verb),
            (true, false, true, true) => Some(Part::ApiGroup),
            (true, true, true, false) => Some(Part::ResourceName),
            (true, true, false, true) => {
                let Deed::Resource { resource, .. } = deed else { return None };
                let is_other_half = |own: &String| own.split('/').next() == Some(resource);
                self.resources.iter().any(is_other_half).then_some(Part::Subresource)
            }
            _ => None,
        }
    }
}

/// Kubernetes' words, as its audit events carry them.
impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Grant::Masters => write!(f, "allowed to members of the group {MASTERS:?}"),
            Grant::Rule(by) => write!(f, "RBAC: allowed by {by}"),
        }
    }
}

/// `ClusterRoleBinding "x" of ClusterRole "y" to User "z"`.
impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.binding, self.subject())
    }
}

impl Lack {
    /// What Kubernetes says of a refusal, beyond that it is one: roles that are not there. Empty where all are.
    pub fn reason(&self) -> String {
        if self.missing.is_empty() {
            return String::new();
        }
        format!("RBAC: {}", not_found(self.missing.iter().map(|(role, _)| role)))
    }
}

/// All that can be said, for the one who wants to know what to change.
impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.held {
            0 => f.write_str("RBAC: no binding gives the user or its groups any role here")?,
            1 => f.write_str("RBAC: no rule of the 1 role held here allows it")?,
            held => write!(f, "RBAC: no rule of the {held} roles held here allows it")?,
        }
        for (role, binding) in &self.missing {
            write!(f, "; {binding}: there is no such {}", role.kind())?;
        }
        for near in &self.near {
            write!(f, "; {near}")?;
        }
        Ok(())
    }
}

impl fmt::Display for NearMiss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = self.by.rule();
        let (what, has) = match self.part {
            Part::Verb => ("verb", &rule.verbs),
            Part::ApiGroup => ("API group", &rule.api_groups),
            Part::Subresource => ("resource", &rule.resources),
            Part::ResourceName => ("resource name", &rule.resource_names),
        };
        write!(
            f,
            "{} comes near in its rules[{}], which lacks the {what} and has {}",
            self.by,
            self.by.rule,
            Quoted(has)
        )
    }
}
