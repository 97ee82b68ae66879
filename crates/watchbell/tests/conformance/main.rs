//! What Kubernetes' published end-to-end tests of Jobs and CronJobs ask, each as a test named after its title. The
//! server is a real one and so are the containers; the requests, their order and their form (protobuf) are those of a Go
//! client. Times are shorter: schedules of a second, grace of a second. Needs root.

#![expect(clippy::print_stderr, reason = "a test that is left out says so")]

mod cronjob;
mod fixtures;
mod job;
mod setup;
mod space;
#[path = "../e2e/stand.rs"]
#[expect(dead_code, reason = "shared with the end-to-end tests, which use the rest")]
mod stand;
mod suite;
mod wire;
