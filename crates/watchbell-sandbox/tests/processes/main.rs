//! Real processes: a client, a spawner, its keeper and tasks, killed in every order. Needs root.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test harness of its own says what the usual one does"
)]

mod ahead;
mod attacks;
mod bounds;
mod clocks;
mod devices;
mod doors;
mod failures;
mod kills;
mod landlock;
mod layered;
mod place;
mod probe;
mod races;
mod redirects;
mod runs;
mod runtimes;
mod sessions;
mod sessions_attached;
mod sessions_attacked;
mod starts_attacked;
mod surroundings;
mod traces;
mod unpacker;

use std::ffi::OsString;
use std::process::ExitCode;

use watchbell_sandbox::{keeper_main, spawner_main, tracer_main};

type Outcome = Result<(), Box<dyn std::error::Error>>;
type Test = (&'static str, fn() -> Outcome);

const TESTS: &[Test] = &[
    ("a_task_runs_prints_and_is_acknowledged", runs::a_task_runs_prints_and_is_acknowledged),
    ("what_waits_has_nothing", ahead::what_waits_has_nothing),
    ("what_waits_may_die", ahead::what_waits_may_die),
    ("what_waits_is_for_tasks_like_the_last", ahead::what_waits_is_for_tasks_like_the_last),
    ("signals_and_kills_end_tasks", runs::signals_and_kills_end_tasks),
    ("what_cannot_start_is_told", runs::what_cannot_start_is_told),
    ("a_start_happens_once", runs::a_start_happens_once),
    ("large_pods_cross", runs::large_pods_cross),
    ("many_short_tasks", runs::many_short_tasks),
    (
        "an_allowance_is_gone_with_the_server_that_had_it",
        runs::an_allowance_is_gone_with_the_server_that_had_it,
    ),
    ("other_settings_need_another_spawner", runs::other_settings_need_another_spawner),
    ("only_one_server_is_served", runs::only_one_server_is_served),
    ("the_server_is_killed", kills::the_server_is_killed),
    ("the_spawner_is_killed", kills::the_spawner_is_killed),
    ("what_a_spawner_left_elsewhere_is_ended", kills::what_a_spawner_left_elsewhere_is_ended),
    ("the_keeper_is_killed", kills::the_keeper_is_killed),
    ("nothing_stays_when_nobody_needs_it", kills::nothing_stays_when_nobody_needs_it),
    ("the_directory_is_removed", kills::the_directory_is_removed),
    ("nothing_of_the_server_is_inherited", failures::nothing_of_the_server_is_inherited),
    ("the_keeper_has_no_privileges", failures::the_keeper_has_no_privileges),
    ("helpers_do_not_have_the_spawners_shield", failures::helpers_do_not_have_the_spawners_shield),
    ("a_hostile_client_is_survived", failures::a_hostile_client_is_survived),
    ("a_full_disk_loses_lines_and_no_task", failures::a_full_disk_loses_lines_and_no_task),
    ("a_spawner_that_cannot_start_says_why", failures::a_spawner_that_cannot_start_says_why),
    ("nothing_can_be_changed", attacks::nothing_can_be_changed),
    ("ordinary_programs_run", surroundings::ordinary_programs_run),
    ("a_task_is_who_it_should_be", surroundings::a_task_is_who_it_should_be),
    ("a_task_sees_itself_alone", surroundings::a_task_sees_itself_alone),
    ("clocks_begin_with_the_pod", clocks::clocks_begin_with_the_pod),
    ("containers_of_a_pod_share_clocks", clocks::containers_of_a_pod_share_clocks),
    ("what_is_written_lies_apart_and_is_given_away", layered::what_is_written_lies_apart_and_is_given_away),
    ("a_layered_volume_gives_no_rights", layered::a_layered_volume_gives_no_rights),
    ("an_upper_is_bounded", layered::an_upper_is_bounded),
    ("an_upper_on_the_disk_ends_at_its_bound", layered::an_upper_on_the_disk_ends_at_its_bound),
    ("an_image_goes_with_its_spawner", layered::an_image_goes_with_its_spawner),
    (
        "a_full_disk_is_told_of_what_was_written_above_it",
        layered::a_full_disk_is_told_of_what_was_written_above_it,
    ),
    ("an_upper_outlives_its_server", layered::an_upper_outlives_its_server),
    ("what_is_read_only_cannot_be_changed", layered::what_is_read_only_cannot_be_changed),
    ("containers_share_an_upper", layered::containers_share_an_upper),
    (
        "memory_is_seen_by_tasks_and_goes_with_the_last",
        layered::memory_is_seen_by_tasks_and_goes_with_the_last,
    ),
    ("a_runtime_has_a_layered_volume", layered::a_runtime_has_a_layered_volume),
    ("siblings_do_not_meet", attacks::siblings_do_not_meet),
    ("limits_hold", attacks::limits_hold),
    ("limits_are_what_the_kernel_says", bounds::limits_are_what_the_kernel_says),
    (
        "a_container_goes_with_the_first_process_that_memory_ends",
        bounds::a_container_goes_with_the_first_process_that_memory_ends,
    ),
    ("all_tasks_together_have_a_limit", bounds::all_tasks_together_have_a_limit),
    ("nobody_pays_for_the_memory_of_others", bounds::nobody_pays_for_the_memory_of_others),
    (
        "disks_are_read_and_written_no_faster_than_allowed",
        bounds::disks_are_read_and_written_no_faster_than_allowed,
    ),
    ("a_reserve_that_leaves_nothing_is_refused", bounds::a_reserve_that_leaves_nothing_is_refused),
    ("volumes_hold_what_they_should", surroundings::volumes_hold_what_they_should),
    ("ordinary_file_work_goes_on", landlock::ordinary_file_work_goes_on),
    ("a_descriptor_of_the_host_opens_nothing", landlock::a_descriptor_of_the_host_opens_nothing),
    (
        "sockets_and_processes_of_the_host_are_not_reached",
        landlock::sockets_and_processes_of_the_host_are_not_reached,
    ),
    ("who_enters_is_not_fenced_off_the_container", landlock::who_enters_is_not_fenced_off_the_container),
    ("a_taken_over_unpacker_reaches_nothing", unpacker::a_taken_over_unpacker_reaches_nothing),
    ("a_taken_over_reader_reaches_nothing", unpacker::a_taken_over_reader_reaches_nothing),
    (
        "an_unpacker_is_bounded_and_dies_with_who_started_it",
        unpacker::an_unpacker_is_bounded_and_dies_with_who_started_it,
    ),
    ("images_with_links_stay_inside", attacks::images_with_links_stay_inside),
    ("no_descriptor_is_a_working_directory", attacks::no_descriptor_is_a_working_directory),
    ("swapped_links_lead_nowhere", races::swapped_links_lead_nowhere),
    ("covers_are_not_what_a_container_lays", redirects::covers_are_not_what_a_container_lays),
    ("writes_of_the_start_are_not_redirected", redirects::writes_of_the_start_are_not_redirected),
    ("a_task_sees_its_limits", surroundings::a_task_sees_its_limits),
    ("a_writable_root_is_new_for_each_run", surroundings::a_writable_root_is_new_for_each_run),
    ("a_layer_that_is_unpacked_again_is_seen", surroundings::a_layer_that_is_unpacked_again_is_seen),
    ("what_the_ceiling_allows_runs", surroundings::what_the_ceiling_allows_runs),
    ("a_process_enters_a_container", sessions::a_process_enters_a_container),
    ("what_cannot_enter_is_told", sessions::what_cannot_enter_is_told),
    ("it_is_who_the_container_is", sessions::it_is_who_the_container_is),
    ("much_goes_through_both_ways", sessions::much_goes_through_both_ways),
    ("limits_count_what_enters", sessions::limits_count_what_enters),
    ("it_ends_with_its_session", sessions::it_ends_with_its_session),
    ("sessions_are_bounded", sessions::sessions_are_bounded),
    ("a_later_server_enters_too", sessions::a_later_server_enters_too),
    ("peers_see_nothing_of_who_enters", sessions_attacked::peers_see_nothing_of_who_enters),
    ("peers_see_nothing_of_who_starts", starts_attacked::peers_see_nothing_of_who_starts),
    ("it_has_no_descriptor_of_the_host", sessions_attacked::it_has_no_descriptor_of_the_host),
    ("a_working_directory_is_no_way_out", sessions_attacked::a_working_directory_is_no_way_out),
    ("hostile_sessions_are_survived", sessions_attacked::hostile_sessions_are_survived),
    ("a_killed_server_leaves_no_session", sessions_attacked::a_killed_server_leaves_no_session),
    ("a_process_has_a_terminal", sessions_attached::a_process_has_a_terminal),
    ("a_client_watches_and_types", sessions_attached::a_client_watches_and_types),
    (
        "a_slow_client_loses_bytes_and_the_log_none",
        sessions_attached::a_slow_client_loses_bytes_and_the_log_none,
    ),
    ("input_ends_with_the_first_client", sessions_attached::input_ends_with_the_first_client),
    ("a_container_has_a_terminal", sessions_attached::a_container_has_a_terminal),
    ("a_device_is_handed_out", devices::a_device_is_handed_out),
    ("a_runtime_hands_out_devices_too", devices::a_runtime_hands_out_devices_too),
    ("only_what_root_described_is_handed_out", devices::only_what_root_described_is_handed_out),
    ("a_device_is_never_with_two_pods", devices::a_device_is_never_with_two_pods),
    ("fewer_permissions_hold", devices::fewer_permissions_hold),
    ("hooks_of_roots_list_run_before_the_container", devices::hooks_of_roots_list_run_before_the_container),
    ("a_start_is_cancelled_while_its_hook_runs", devices::a_start_is_cancelled_while_its_hook_runs),
    ("what_a_traced_task_calls_is_noted", traces::what_a_traced_task_calls_is_noted),
    (
        "a_tracer_ends_with_its_task_and_the_other_way_round",
        traces::a_tracer_ends_with_its_task_and_the_other_way_round,
    ),
    (
        "what_the_host_mounted_below_its_path_is_there",
        surroundings::what_the_host_mounted_below_its_path_is_there,
    ),
    (
        "a_start_into_a_stopped_pod_keeps_nobody_waiting",
        surroundings::a_start_into_a_stopped_pod_keeps_nobody_waiting,
    ),
    (
        "a_removed_layer_leaves_the_disk_while_others_run",
        surroundings::a_removed_layer_leaves_the_disk_while_others_run,
    ),
    ("a_log_waits_for_a_descriptor", surroundings::a_log_waits_for_a_descriptor),
    ("containers_of_a_pod_meet", surroundings::containers_of_a_pod_meet),
    ("connections_end_at_the_gate", doors::connections_end_at_the_gate),
    ("a_pod_without_a_door_has_loopback_alone", doors::a_pod_without_a_door_has_loopback_alone),
    ("what_is_loopback_stays_the_pods_own", doors::what_is_loopback_stays_the_pods_own),
    ("a_door_is_one_pods", doors::a_door_is_one_pods),
    (
        "a_gate_that_dies_is_started_again_with_all_doors",
        doors::a_gate_that_dies_is_started_again_with_all_doors,
    ),
    ("what_the_gate_says_is_kept_until_it_is_heard", doors::what_the_gate_says_is_kept_until_it_is_heard),
    ("a_door_is_refused_where_it_cannot_be", doors::a_door_is_refused_where_it_cannot_be),
    (
        "containers_of_a_runtime_have_the_door_of_their_pod",
        doors::containers_of_a_runtime_have_the_door_of_their_pod,
    ),
    ("a_process_enters_a_container_of_a_runtime", runtimes::a_process_enters_a_container_of_a_runtime),
    ("a_container_of_a_runtime_is_attached_to", runtimes::a_container_of_a_runtime_is_attached_to),
    ("a_runtime_runs_a_container", runtimes::a_runtime_runs_a_container),
    ("nothing_outlives_a_container_of_a_runtime", runtimes::nothing_outlives_a_container_of_a_runtime),
    ("what_a_runtime_cannot_start_is_told", runtimes::what_a_runtime_cannot_start_is_told),
    ("signals_reach_a_container_of_a_runtime", runtimes::signals_reach_a_container_of_a_runtime),
    ("a_runtime_gives_what_our_own_sandbox_gives", runtimes::a_runtime_gives_what_our_own_sandbox_gives),
    ("a_runtime_opens_no_device_of_the_host", runtimes::a_runtime_opens_no_device_of_the_host),
    ("a_runtime_mounts_volumes", runtimes::a_runtime_mounts_volumes),
    (
        "a_container_of_a_runtime_ends_at_its_memory_limit",
        runtimes::a_container_of_a_runtime_ends_at_its_memory_limit,
    ),
    ("containers_of_a_runtime_share_their_pod", runtimes::containers_of_a_runtime_share_their_pod),
];

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let word = args.next();
    match word.as_ref().and_then(|word| word.to_str()) {
        Some("spawner") => {
            log_to_stderr();
            spawner_main(args)
        }
        Some("keeper") => {
            log_to_stderr();
            keeper_main(args)
        }
        Some("gate") => {
            log_to_stderr();
            doors::gate(args)
        }
        Some("tracer") => {
            log_to_stderr();
            tracer_main(args)
        }
        Some(word @ ("taken" | "reads" | "crowd" | "free" | "busy" | "greedy")) => {
            unpacker::taken(word, args)
        }
        Some("client") => kills::client(args),
        Some("session-client") => sessions_attacked::client(args),
        _ => run_tests(word.into_iter().chain(args).collect()),
    }
}

fn log_to_stderr() {
    tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stderr).init();
}

/// As much of the usual harness as is used here: a filter, one line a test.
fn run_tests(args: Vec<OsString>) -> ExitCode {
    let filters: Vec<&str> =
        args.iter().filter_map(|arg| arg.to_str()).filter(|arg| !arg.starts_with('-')).collect();
    if args.iter().any(|arg| arg == "--list") {
        TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: {} tests of real processes and containers need root", TESTS.len());
        return ExitCode::SUCCESS;
    }
    let mut failed = Vec::new();
    for (name, test) in TESTS.iter().filter(|(name, _)| filters.iter().all(|f| name.contains(f))) {
        match std::panic::catch_unwind(test) {
            Ok(Ok(())) => println!("test {name} ... ok"),
            Ok(Err(error)) => {
                println!("test {name} ... FAILED: {error}");
                failed.push(*name);
            }
            Err(_) => {
                println!("test {name} ... FAILED");
                failed.push(*name);
            }
        }
    }
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
