//! `/livez`, `/readyz`, `/healthz`: what they look at, and how kube-apiserver says it
//! (`k8s.io/apiserver/pkg/server/healthz/healthz.go`).
//!
//! ```text
//!   GET /readyz          ok
//!   GET /readyz?verbose  [+]ping ok
//!                        [+]journal ok
//!                        [-]shutdown failed: reason withheld
//!                        readyz check failed
//! ```
//!
//! Everybody may ask; why a check failed is for the server's own log.

use std::collections::BTreeSet;
use std::fmt::Write;

use hyper::{Response, StatusCode};

use crate::body::Body;
use crate::request::{Probe, Query};
use crate::respond;
use crate::state::State;

/// So many names that were to be left out and are not there are told of.
const UNKNOWN_MAX: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Ok,
    Failed,
}

impl Outcome {
    fn unless(is_wrong: bool) -> Outcome {
        if is_wrong { Outcome::Failed } else { Outcome::Ok }
    }
}

/// What the server is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Condition {
    /// The journal takes changes; where it does not, a new start heals it.
    journal: Outcome,
    /// It has not been told to end.
    shutdown: Outcome,
}

pub(crate) fn answer(state: &State, probe: Probe, query: &Query) -> Response<Body> {
    let has_failed = state.failure().is_some();
    let condition = Condition {
        journal: Outcome::unless(has_failed),
        shutdown: Outcome::unless(state.is_closed() && !has_failed),
    };
    let (code, text) = page(probe, condition, query);
    let response = respond::text(code, text);
    let response = respond::with_header(response, "x-content-type-options", "nosniff");
    respond::with_header(response, "cache-control", "no-cache, private")
}

fn page(probe: Probe, condition: Condition, query: &Query) -> (StatusCode, String) {
    let name = match probe {
        Probe::Live => "livez",
        Probe::Health => "healthz",
        Probe::Ready => "readyz",
    };
    // That it ends is no reason to start it again.
    let shutdown = (probe == Probe::Ready).then_some(("shutdown", condition.shutdown));
    let checks = [("ping", Outcome::Ok), ("journal", condition.journal)].into_iter().chain(shutdown);
    let mut excluded: BTreeSet<&str> = query.all("exclude").collect();
    let mut told = String::new();
    let mut has_failed = false;
    for (check, outcome) in checks {
        let result = match outcome {
            _ if excluded.remove(check) => writeln!(told, "[+]{check} excluded: ok"),
            Outcome::Ok => writeln!(told, "[+]{check} ok"),
            Outcome::Failed => {
                has_failed = true;
                writeln!(told, "[-]{check} failed: reason withheld")
            }
        };
        // Writing to a string does not fail.
        let _ = result;
    }
    if !excluded.is_empty() {
        let names: Vec<String> = excluded.iter().take(UNKNOWN_MAX).map(|name| format!("{name:?}")).collect();
        let _ = writeln!(
            told,
            "warn: some health checks cannot be excluded: no matches for {}",
            names.join(", ")
        );
    }
    match (has_failed, query.every("verbose").next()) {
        (true, _) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{told}{name} check failed\n")),
        (false, None) => (StatusCode::OK, "ok".into()),
        (false, Some(_)) => (StatusCode::OK, format!("{told}{name} check passed\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Condition = Condition { journal: Outcome::Ok, shutdown: Outcome::Ok };

    #[test]
    fn health_is_told_in_kubernetes_words() {
        let check = |probe: Probe, condition: Condition, query: &str, code: u16, expect: &str| {
            let (found, text) = page(probe, condition, &Query::parse(query).unwrap());
            assert_eq!((found.as_u16(), text.as_str()), (code, expect), "{probe:?} {query}");
        };
        for probe in [Probe::Live, Probe::Health, Probe::Ready] {
            check(probe, WELL, "", 200, "ok");
        }
        check(Probe::Live, WELL, "verbose", 200, "[+]ping ok\n[+]journal ok\nlivez check passed\n");
        check(Probe::Health, WELL, "verbose=1", 200, "[+]ping ok\n[+]journal ok\nhealthz check passed\n");
        let ready = "[+]ping ok\n[+]journal ok\n[+]shutdown ok\nreadyz check passed\n";
        check(Probe::Ready, WELL, "verbose=true", 200, ready);
        // One that ends lives, and takes no more.
        let ends = Condition { shutdown: Outcome::Failed, ..WELL };
        check(Probe::Live, ends, "", 200, "ok");
        let told = "[+]ping ok\n[+]journal ok\n[-]shutdown failed: reason withheld\nreadyz check failed\n";
        check(Probe::Ready, ends, "", 500, told);
        let broken = Condition { journal: Outcome::Failed, ..WELL };
        let told = "[+]ping ok\n[-]journal failed: reason withheld\nlivez check failed\n";
        check(Probe::Live, broken, "", 500, told);
        check(Probe::Live, broken, "exclude=journal", 200, "ok");
        let told = "[+]ping ok\n[+]journal excluded: ok\nwarn: some health checks cannot be excluded: no matches for \
                    \"etcd\", \"log\"\nlivez check passed\n";
        check(Probe::Live, broken, "exclude=log&exclude=journal&exclude=etcd&verbose", 200, told);
    }
}
