//! What a decision costs: `cargo run --release -p watchbell-core --example rights`
//!
//! 10,000 bindings, held in four ways: by many users in many namespaces; by one user, each of them another role to one
//! object, or another role to one resource; and by one user, 10,000 roles that say the same and not quite what is asked, which is the
//! worst there is. Beside them the cost of a change and of a copy of the index.

#![expect(clippy::disallowed_methods, reason = "a measurement has a clock")]
#![expect(clippy::print_stdout, reason = "its output is for people")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use watchbell_core::access::{Binding, Deed, Rbac, Role, RoleRef, Rule, Subject};
use watchbell_core::request::User;

const BINDINGS: usize = 10_000;
const NAMESPACES: usize = 100;
const USERS: usize = 1_000;
const ROLES: usize = 200;
const DECISIONS: usize = 200_000;

fn main() {
    println!("{BINDINGS} bindings");
    spread();
    of_one("one user, each binding another role to one object", |n| {
        rule("jobs", &[&format!("job-{n}")], "get")
    });
    of_one("one user, each binding another role to all objects", |n| rule("jobs", &[], &format!("verb-{n}")));
    twins();
}

fn rule(resource: &str, names: &[&str], verb: &str) -> Rule {
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    Rule {
        api_groups: texts(&["batch"]),
        resources: texts(&[resource]),
        resource_names: texts(names),
        verbs: texts(&[verb]),
        ..Rule::default()
    }
}

fn cluster_role(rbac: &mut Rbac, name: &str, rules: Vec<Rule>) -> RoleRef {
    let at = RoleRef::ClusterRole(name.into());
    rbac.insert_role(at.clone(), Arc::new(Role { rules, aggregation: None }));
    at
}

fn bind(rbac: &mut Rbac, namespace: &str, name: &str, role: RoleRef, subject: Subject) -> Arc<Binding> {
    let binding =
        Arc::new(Binding { namespace: namespace.into(), name: name.into(), role, subjects: vec![subject] });
    rbac.insert_binding(&binding);
    binding
}

/// Users and groups with roles of ten rules each, nine of ten bindings inside a namespace.
fn spread() {
    let mut rbac = Rbac::default();
    let resources =
        ["cronjobs", "jobs/status", "pods", "pods/log", "secrets", "configmaps", "events", "leases"];
    let roles: Vec<RoleRef> = (0..ROLES)
        .map(|n| {
            let mut rules: Vec<Rule> = resources.iter().map(|r| rule(r, &[], "get")).collect();
            rules.push(rule("jobs", &[&format!("job-{n}")], "delete"));
            rules.push(rule("jobs", &[], if n % 2 == 0 { "list" } else { "get" }));
            cluster_role(&mut rbac, &format!("role-{n}"), rules)
        })
        .collect();
    let mut last = None;
    for n in 0..BINDINGS {
        let namespace = if n % 10 == 0 { String::new() } else { format!("team-{}", n % NAMESPACES) };
        let subject = match n % 4 {
            0 => Subject::Group(format!("group-{}", n / 4 % NAMESPACES).into()),
            _ => Subject::User(format!("user-{}", n % USERS).into()),
        };
        last = Some(bind(
            &mut rbac,
            &namespace,
            &format!("binding-{n}"),
            roles[mixed(n) % ROLES].clone(),
            subject,
        ));
    }
    let users: Vec<User> = (0..USERS)
        .map(|n| User {
            name: format!("user-{n}"),
            groups: vec![
                format!("group-{}", n % NAMESPACES),
                format!("group-{}", n * 7 % NAMESPACES),
                "system:authenticated".into(),
            ],
            ..User::default()
        })
        .collect();
    let namespaces: Vec<String> = (0..NAMESPACES).map(|n| format!("team-{n}")).collect();
    measure("many users in many namespaces", |n| {
        let random = mixed(n);
        let who = random % USERS;
        // Half of the time where the user holds something.
        let namespace = if random >> 20 & 1 == 0 { who } else { random >> 30 } % NAMESPACES;
        let deed = Deed::Resource {
            verb: if random >> 21 & 1 == 0 { "get" } else { "delete" },
            group: "batch",
            resource: if random >> 22 & 1 == 0 { "jobs" } else { "cronjobs" },
            subresource: "",
            namespace: &namespaces[namespace],
            name: "job-1",
        };
        rbac.decide(&users[who], &deed).is_allowed()
    });
    let Some(last) = last else { return };
    let spent = timed(|| {
        for _ in 0..BINDINGS {
            rbac.remove_binding(black_box(&last));
            rbac.insert_binding(black_box(&last));
        }
    });
    println!("  a binding taken out and put in again: {:.2} us", micros(spent, BINDINGS));
    let spent = timed(|| (0..DECISIONS).for_each(|_| drop(black_box(rbac.clone()))));
    println!("  a copy of the index: {:.3} us", micros(spent, DECISIONS));
}

/// SplitMix64 of a number.
fn mixed(n: usize) -> usize {
    let mut z = (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) as usize >> 1
}

fn of_one(what: &str, of: impl Fn(usize) -> Rule) {
    let mut rbac = Rbac::default();
    for n in 0..BINDINGS {
        let role = cluster_role(&mut rbac, &format!("role-{n}"), vec![of(n)]);
        bind(&mut rbac, "", &format!("binding-{n}"), role, Subject::User("ada".into()));
    }
    let ada = User { name: "ada".into(), ..User::default() };
    let names: Vec<String> = (0..2 * BINDINGS).map(|n| format!("job-{n}")).collect();
    measure(what, |n| {
        let name = &names[n * 7919 % names.len()];
        let deed = Deed::Resource {
            verb: "get",
            group: "batch",
            resource: "jobs",
            subresource: "",
            namespace: "ml",
            name,
        };
        rbac.decide(&ada, &deed).is_allowed()
    });
}

/// The worst there is: each role has the verb, the group and the resource that are asked for, and none has them in one rule.
fn twins() {
    let mut rbac = Rbac::default();
    for n in 0..BINDINGS {
        let rules = vec![rule("jobs", &[], "list"), rule("cronjobs", &[], "get")];
        let role = cluster_role(&mut rbac, &format!("role-{n}"), rules);
        bind(&mut rbac, "", &format!("binding-{n}"), role, Subject::User("ada".into()));
    }
    let ada = User { name: "ada".into(), ..User::default() };
    let deed = Deed::Resource {
        verb: "get",
        group: "batch",
        resource: "jobs",
        subresource: "",
        namespace: "ml",
        name: "x",
    };
    let first = timed(|| {
        black_box(rbac.decide(&ada, &deed));
    });
    println!(
        "  of one user who holds so much, the first decision after a role changed: {:.0} us",
        micros(first, 1)
    );
    measure("one user, each binding another role that says the same and not quite what is asked", |_| {
        rbac.decide(&ada, &deed).is_allowed()
    });
}

/// The mean of many decisions, in as many rounds as a second holds; the best and the worst round.
fn measure(what: &str, decide: impl Fn(usize) -> bool) {
    const ROUNDS: usize = 10;
    let probe = timed(|| {
        black_box(decide(0));
    })
    .max(Duration::from_nanos(100));
    let each = (Duration::from_millis(100).as_nanos() / probe.as_nanos()) as usize;
    let each = each.clamp(20, DECISIONS / ROUNDS);
    let mut allowed = 0;
    let mut means: Vec<f64> = (0..ROUNDS)
        .map(|round| {
            let spent = timed(|| {
                allowed += (0..each).filter(|n| black_box(decide(round * each + n))).count();
            });
            micros(spent, each)
        })
        .collect();
    means.sort_by(f64::total_cmp);
    println!(
        "  {what}: {:.2} us a decision (rounds of {each}: {:.2} to {:.2}), {} of {} allowed",
        means[ROUNDS / 2],
        means[0],
        means[ROUNDS - 1],
        allowed,
        ROUNDS * each
    );
}

fn micros(spent: Duration, count: usize) -> f64 {
    spent.as_secs_f64() * 1e6 / count as f64
}

/// The processor time of this thread, so that others on the machine do not count.
fn timed(act: impl FnOnce()) -> Duration {
    let before = processor_time();
    act();
    processor_time() - before
}

fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
}
