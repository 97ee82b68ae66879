//! The index over all roles and bindings.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use super::rule::ALL;
use super::sieve::{Kept, Sieve, Stamp};
use super::{Binding, Deed, MASTERS, Role, RoleRef, Rule, Subject};
use crate::request::User;

/// Roles by name, and who holds them. A copy costs a few pointers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rbac {
    cluster_roles: OrdMap<Arc<str>, Arc<Role>>,
    /// By namespace and name.
    roles: OrdMap<Arc<str>, OrdMap<Arc<str>, Arc<Role>>>,
    everywhere: Holders,
    /// By namespace.
    inside: OrdMap<Arc<str>, Holders>,
    about: About,
    /// How many subjects of bindings hold a role, whether it is there or not.
    bound: OrdMap<RoleRef, usize>,
    /// Roles that are held and not there.
    dangling: OrdSet<RoleRef>,
    /// Another one with each change of a role.
    stamp: Stamp,
}

/// Roles by a text of their rules.
type ByText = OrdMap<Arc<str>, OrdSet<RoleRef>>;

/// Roles by what their rules are about, for subjects that hold very many: by verb, by group, and by name or, where a rule has
/// none, by resource. The entries are no more than the texts of the rules.
#[derive(Debug, Clone, Default, PartialEq)]
struct About {
    verbs: ByText,
    groups: ByText,
    names: ByText,
    resources: ByText,
    paths: OrdSet<RoleRef>,
}

/// Who holds roles at one place.
#[derive(Debug, Clone, Default, PartialEq)]
struct Holders {
    /// Users by name; service accounts by their user names.
    users: OrdMap<Arc<str>, Held>,
    groups: OrdMap<Arc<str>, Held>,
}

/// The roles that one subject holds at one place. Many bindings of one role count as one.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Held {
    pub roles: OrdMap<RoleRef, OrdMap<Arc<str>, Holding>>,
    sieve: Kept,
}

/// By which of a binding's subjects a role is held.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Holding {
    pub binding: Arc<Binding>,
    pub subject: usize,
}

/// What a user may at one place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rights {
    pub rules: Vec<Rule>,
    /// Roles that the user's bindings name and that are not there: what they would allow is not known.
    pub missing: Vec<RoleRef>,
    /// There are more than are told.
    pub is_cut: bool,
}

/// Where rules that may allow a deed are.
pub(super) enum Candidates<'a> {
    /// In these roles.
    Each(Box<dyn Iterator<Item = (&'a RoleRef, &'a Holding)> + 'a>),
    /// Among those that come through.
    Sifted(Arc<Sieve>),
}

impl Rbac {
    /// A role of that name must not be in the index: whoever changes one removes it first.
    pub fn insert_role(&mut self, at: RoleRef, role: Arc<Role>) {
        self.stamp = Stamp::next();
        self.dangling.remove(&at);
        self.about.insert(&at, &role);
        match at {
            RoleRef::ClusterRole(name) => self.cluster_roles.insert(name, role),
            RoleRef::Role { namespace, name } => self.roles.entry(namespace).or_default().insert(name, role),
        };
    }

    pub fn remove_role(&mut self, at: &RoleRef) {
        self.stamp = Stamp::next();
        if let Some(role) = self.role(at).cloned() {
            self.about.remove(at, &role);
        }
        if self.bound.contains_key(at) {
            self.dangling.insert(at.clone());
        }
        match at {
            RoleRef::ClusterRole(name) => {
                self.cluster_roles.remove(name);
            }
            RoleRef::Role { namespace, name } => {
                let Some(roles) = self.roles.get_mut(namespace) else { return };
                roles.remove(name);
                if roles.is_empty() {
                    self.roles.remove(namespace);
                }
            }
        }
    }

    pub fn role(&self, at: &RoleRef) -> Option<&Arc<Role>> {
        match at {
            RoleRef::ClusterRole(name) => self.cluster_roles.get(name),
            RoleRef::Role { namespace, name } => self.roles.get(namespace)?.get(name),
        }
    }

    /// A binding of that name must not be in the index: whoever changes one removes it first.
    pub fn insert_binding(&mut self, binding: &Arc<Binding>) {
        if !binding.subjects.is_empty() {
            *self.bound.entry(binding.role.clone()).or_default() += binding.subjects.len();
            if self.role(&binding.role).is_none() {
                self.dangling.insert(binding.role.clone());
            }
        }
        let holders = match &*binding.namespace {
            "" => &mut self.everywhere,
            _ => self.inside.entry(binding.namespace.clone()).or_default(),
        };
        // The last one first, so that the first of equal subjects stays.
        for (subject, who) in binding.subjects.iter().enumerate().rev() {
            let held = match who.key() {
                Holder::User(name) => holders.users.entry(name).or_default(),
                Holder::Group(name) => holders.groups.entry(name).or_default(),
            };
            let holding = Holding { binding: binding.clone(), subject };
            held.sieve = Kept::default();
            held.roles.entry(binding.role.clone()).or_default().insert(binding.name.clone(), holding);
        }
    }

    pub fn remove_binding(&mut self, binding: &Binding) {
        if let Some(count) = self.bound.get_mut(&binding.role) {
            *count = count.saturating_sub(binding.subjects.len());
            if *count == 0 {
                self.bound.remove(&binding.role);
                self.dangling.remove(&binding.role);
            }
        }
        let holders = match &*binding.namespace {
            "" => &mut self.everywhere,
            namespace => match self.inside.get_mut(namespace) {
                Some(holders) => holders,
                None => return,
            },
        };
        for who in &binding.subjects {
            let (map, name) = match who.key() {
                Holder::User(name) => (&mut holders.users, name),
                Holder::Group(name) => (&mut holders.groups, name),
            };
            let Some(held) = map.get_mut(&name) else { continue };
            held.sieve = Kept::default();
            if let Some(bindings) = held.roles.get_mut(&binding.role) {
                bindings.remove(&binding.name);
                if bindings.is_empty() {
                    held.roles.remove(&binding.role);
                }
            }
            if held.roles.is_empty() {
                map.remove(&name);
            }
        }
        if holders.users.is_empty() && holders.groups.is_empty() && !binding.namespace.is_empty() {
            self.inside.remove(&binding.namespace);
        }
    }

    /// The roles that a user holds in a namespace (empty: at the cluster scope), by each way of holding them: those of the
    /// cluster come first.
    pub(super) fn held<'a>(&'a self, user: &'a User, namespace: &str) -> impl Iterator<Item = &'a Held> {
        let here = if namespace.is_empty() { None } else { self.inside.get(namespace) };
        [Some(&self.everywhere), here].into_iter().flatten().flat_map(move |holders| {
            let own = holders.users.get(user.name.as_str());
            let groups = user.groups.iter().filter_map(|group| holders.groups.get(group.as_str()));
            own.into_iter().chain(groups)
        })
    }

    /// Those of many roles whose rules may be about a deed: of all that are, those that are among them, or all of them,
    /// whichever are fewer to look at. One can come twice.
    pub(super) fn candidates<'a>(&'a self, held: &'a Held, deed: &Deed<'_>) -> Candidates<'a> {
        let roles = &held.roles;
        let about = if roles.len() > FEW { self.about.fewest(deed) } else { Vec::new() };
        let about_count = size(&about);
        let is_narrowed = roles.len() > FEW && about_count < roles.len();
        let count = if is_narrowed { about_count } else { roles.len() };
        if matches!(deed, Deed::Resource { .. }) && (count > MANY || self.is_long(held)) {
            let there = roles.keys().filter_map(|at| Some((at, self.role(at)?)));
            if let Some(sieve) = held.sieve.get(self.stamp, there) {
                return Candidates::Sifted(sieve);
            }
        }
        if is_narrowed {
            let among = about.into_iter().flat_map(|roles| roles.iter());
            return Candidates::Each(Box::new(
                among.filter_map(|role| Some((role, any_of(roles.get(role)?)?))),
            ));
        }
        Candidates::Each(Box::new(
            roles.iter().filter_map(|(role, bindings)| Some((role, any_of(bindings)?))),
        ))
    }

    /// Whether few roles have very many words. A rule has one at least, so no more rules are looked at.
    fn is_long(&self, held: &Held) -> bool {
        if held.roles.len() > FEW {
            return false;
        }
        let mut left = WORDS_FEW;
        for rule in held.roles.keys().filter_map(|at| self.role(at)).flat_map(|role| &role.rules) {
            let lists = [&rule.verbs, &rule.api_groups, &rule.resources, &rule.resource_names];
            let words: usize = lists.map(Vec::len).into_iter().sum();
            let Some(rest) = left.checked_sub(words.max(1)) else { return true };
            left = rest;
        }
        false
    }

    /// By which binding a role is held.
    pub(super) fn holding<'a>(held: &'a Held, role: &RoleRef) -> Option<&'a Holding> {
        any_of(held.roles.get(role)?)
    }

    /// The roles among those held that are not there.
    pub(super) fn missing<'a>(
        &'a self,
        held: &'a Held,
    ) -> Box<dyn Iterator<Item = (&'a RoleRef, &'a Holding)> + 'a> {
        let roles = &held.roles;
        if self.dangling.len() < roles.len() {
            Box::new(self.dangling.iter().filter_map(|role| Some((role, any_of(roles.get(role)?)?))))
        } else {
            let dangles = |(role, _): &(&RoleRef, _)| self.dangling.contains(*role);
            Box::new(
                roles.iter().filter(dangles).filter_map(|(role, bindings)| Some((role, any_of(bindings)?))),
            )
        }
    }

    /// All that a user may in a namespace (empty: at the cluster scope), each role's rules once; of more than `bytes_max`
    /// in JSON the first part.
    pub fn rules_for(&self, user: &User, namespace: &str, bytes_max: usize) -> Rights {
        let mut rights = Rights::default();
        if user.groups.iter().any(|group| group == MASTERS) {
            rights.rules.extend(Rule::everything());
        }
        let mut seen = BTreeSet::new();
        let mut left = bytes_max;
        for at in self.held(user, namespace).flat_map(|held| held.roles.keys()) {
            if !seen.insert(at) {
                continue;
            }
            let Some(role) = self.role(at) else {
                rights.missing.push(at.clone());
                continue;
            };
            for rule in &role.rules {
                match left.checked_sub(rule.told_bytes()) {
                    Some(rest) => left = rest,
                    None => {
                        rights.is_cut = true;
                        return rights;
                    }
                }
                rights.rules.push(rule.clone());
            }
        }
        rights
    }
}

/// As many roles are looked through as they are.
const FEW: usize = 16;
/// More roles than this are sifted rule by rule.
const MANY: usize = 64;
/// As many words of few roles are looked through as they are.
const WORDS_FEW: usize = 1024;

/// Any of a role's bindings does; the first by name, so that the answer is always the same.
fn any_of(bindings: &OrdMap<Arc<str>, Holding>) -> Option<&Holding> {
    bindings.get_min().map(|(_, holding)| holding)
}

/// Roles whose rules have a text, or the wildcard.
fn or_all<'a>(map: &'a ByText, text: &str) -> Vec<&'a OrdSet<RoleRef>> {
    [map.get(text), map.get(ALL)].into_iter().flatten().collect()
}

fn size(sets: &[&OrdSet<RoleRef>]) -> usize {
    sets.iter().map(|roles| roles.len()).sum()
}

impl About {
    fn insert(&mut self, at: &RoleRef, role: &Role) {
        for rule in &role.rules {
            for (map, texts) in self.places(rule) {
                for text in texts {
                    map.entry(text.as_str().into()).or_default().insert(at.clone());
                }
            }
            if !rule.non_resource_urls.is_empty() {
                self.paths.insert(at.clone());
            }
        }
    }

    fn remove(&mut self, at: &RoleRef, role: &Role) {
        for rule in &role.rules {
            for (map, texts) in self.places(rule) {
                for text in texts {
                    let Some(roles) = map.get_mut(text.as_str()) else { continue };
                    roles.remove(at);
                    if roles.is_empty() {
                        map.remove(text.as_str());
                    }
                }
            }
        }
        self.paths.remove(at);
    }

    /// Under what a rule stands.
    fn places<'r>(&mut self, rule: &'r Rule) -> [(&mut ByText, &'r [String]); 3] {
        let object = match rule.resource_names.as_slice() {
            [] => (&mut self.resources, rule.resources.as_slice()),
            names => (&mut self.names, names),
        };
        [(&mut self.verbs, &rule.verbs), (&mut self.groups, &rule.api_groups), object]
    }

    /// Sets of roles, among which all are that have a rule that allows a deed: those of the part of it by which they are
    /// fewest.
    fn fewest(&self, deed: &Deed<'_>) -> Vec<&OrdSet<RoleRef>> {
        let verbs = or_all(&self.verbs, deed.verb());
        let groups = match deed {
            Deed::Resource { group, .. } => or_all(&self.groups, group),
            Deed::Path { .. } => vec![&self.paths],
        };
        let parts = [verbs, groups, self.of_object(deed)];
        parts.into_iter().min_by_key(|sets| size(sets)).unwrap_or_default()
    }

    fn of_object(&self, deed: &Deed<'_>) -> Vec<&OrdSet<RoleRef>> {
        let Deed::Resource { resource, subresource, name, .. } = deed else { return vec![&self.paths] };
        let of_resource = |text: &str| self.resources.get(text);
        let whole = match *subresource {
            "" => [of_resource(resource), None],
            sub => [of_resource(&format!("{resource}/{sub}")), of_resource(&format!("*/{sub}"))],
        };
        whole.into_iter().chain([of_resource(ALL), self.names.get(*name)]).flatten().collect()
    }
}

/// How the index knows a subject.
enum Holder {
    User(Arc<str>),
    Group(Arc<str>),
}

impl Subject {
    fn key(&self) -> Holder {
        match self {
            Subject::User(name) => Holder::User(name.clone()),
            Subject::Group(name) => Holder::Group(name.clone()),
            Subject::ServiceAccount { namespace, name } => {
                Holder::User(format!("system:serviceaccount:{namespace}:{name}").into())
            }
        }
    }
}
