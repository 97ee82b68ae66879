//! The gate as it is: a process of its own in a network like a host's, tasks in networks of theirs, and a world to be reached.
//! All of these are made by the test and end with it; nothing of the machine's own network is touched. Needs root.
//!
//! ```text
//!  task (lo alone, and the door's sockets) ── gate (10.45.0.2, 45.45.45.2) ══ veth ══ world (45.45.45.1, 10.45.0.1, …)
//! ```

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test harness of its own says what the usual one does"
)]

mod changes;
mod clients;
mod floods;
mod measure;
mod names;
mod network;
mod process;
mod refusals;
mod stage;
mod world;

use std::process::{Command, ExitCode};

use watchbell_gate::{GateOptions, Limits, Routes, gate_main, run};
use watchbell_sandbox::gate::take_socket;

type Outcome = Result<(), Box<dyn std::error::Error>>;
type Test = (&'static str, fn() -> Outcome);

const TESTS: &[Test] = &[
    (
        "a_name_is_reached_by_the_address_that_stands_for_it",
        names::a_name_is_reached_by_the_address_that_stands_for_it,
    ),
    ("names_are_answered_as_their_owners_say", names::names_are_answered_as_their_owners_say),
    ("resolvers_that_lie_or_are_silent_are_survived", names::resolvers_that_lie_or_are_silent_are_survived),
    ("a_task_hears_that_no_resolver_answers", names::a_task_hears_that_no_resolver_answers),
    (
        "a_name_with_several_addresses_is_reached_by_one",
        names::a_name_with_several_addresses_is_reached_by_one,
    ),
    ("what_no_policy_allows_is_refused_and_told", refusals::what_no_policy_allows_is_refused_and_told),
    ("what_no_policy_opens_is_not_reached", refusals::what_no_policy_opens_is_not_reached),
    ("a_door_is_its_pods_alone", refusals::a_door_is_its_pods_alone),
    ("ordinary_programs_reach_what_they_may", clients::ordinary_programs_reach_what_they_may),
    (
        "a_redirected_connection_goes_where_it_was_to_go",
        clients::a_redirected_connection_goes_where_it_was_to_go,
    ),
    ("much_goes_through_both_ways", clients::much_goes_through_both_ways),
    ("what_is_withdrawn_is_cut", changes::what_is_withdrawn_is_cut),
    ("what_a_pod_had_ends_with_it", changes::what_a_pod_had_ends_with_it),
    ("an_end_is_passed_on", changes::an_end_is_passed_on),
    ("connections_are_bounded", floods::connections_are_bounded),
    ("a_pod_takes_no_more_than_it_leaves", floods::a_pod_takes_no_more_than_it_leaves),
    ("what_the_kernel_holds_is_bounded", floods::what_the_kernel_holds_is_bounded),
    ("a_flood_is_counted", floods::a_flood_is_counted),
    ("the_gate_has_no_privileges", process::the_gate_has_no_privileges),
    ("the_gate_ends_with_the_spawner", process::the_gate_ends_with_the_spawner),
    ("orders_that_cannot_be_read_open_nothing", process::orders_that_cannot_be_read_open_nothing),
];

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let word = args.next();
    match word.as_deref() {
        Some("gate") => {
            log_to_stderr();
            gate_main(std::env::args_os().skip(2))
        }
        Some("narrow-gate") => {
            log_to_stderr();
            narrow_gate(args)
        }
        Some("on-stage") => on_stage(&args.next().unwrap_or_default()),
        // Not a test: `cargo test -p watchbell-gate --test doors -- measure` prints what a way through the gate costs.
        Some("measure") => in_own_network("measure"),
        _ => run_tests(&word.into_iter().chain(args).collect::<Vec<_>>()),
    }
}

/// With room for so many connections of a pod and of all, and so many milliseconds of patience.
fn narrow_gate(bounds: impl Iterator<Item = String>) -> ExitCode {
    let bounds: Vec<usize> = bounds.filter_map(|number| number.parse().ok()).collect();
    let [connections_of_pod, connections, milliseconds] = bounds[..] else { return ExitCode::FAILURE };
    let patience = milliseconds as i64 * 1_000_000;
    let limits = Limits {
        connections_of_pod,
        connections,
        answer_ns: patience,
        dial_ns: patience,
        ..Limits::of_process()
    };
    let serve = || run(GateOptions { socket: take_socket()?, routes: Routes::open()?, limits });
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn log_to_stderr() {
    tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stderr).init();
}

/// Starts this program again in a network of its own.
fn in_own_network(name: &str) -> ExitCode {
    let Ok(own) = std::env::current_exe() else { return ExitCode::FAILURE };
    let ended = Command::new("unshare").arg("--net").arg("--").arg(own).args(["on-stage", name]).status();
    if ended.is_ok_and(|status| status.success()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs one test, in the network that is the host's here.
fn on_stage(name: &str) -> ExitCode {
    let test = match TESTS.iter().find(|(known, _)| *known == name) {
        Some((_, test)) => *test,
        None if name == "measure" => measure::measure,
        None => return ExitCode::FAILURE,
    };
    match test() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run_tests(args: &[String]) -> ExitCode {
    let filters: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    if args.iter().any(|arg| arg == "--list") {
        TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: {} tests of the gate in networks of their own need root", TESTS.len());
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for (name, _) in TESTS.iter().filter(|(name, _)| filters.iter().all(|filter| name.contains(*filter))) {
        let passed = in_own_network(name) == ExitCode::SUCCESS;
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += u32::from(!passed);
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
