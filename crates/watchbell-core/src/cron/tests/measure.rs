//! How long a search takes. Run by hand:
//! `cargo test --release -p watchbell-core cron::tests::measure -- --ignored --nocapture`

use std::hint::black_box;
use std::time::Instant;

use super::{instant, schedule, zone};

#[test]
#[ignore = "a measurement, not a test"]
#[expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement reads the clock and prints"
)]
fn nanoseconds_per_search() {
    const ROUNDS: u32 = 200_000;
    let from = instant("2026-11-24T07:00:00Z");
    for name in ["UTC", "America/New_York", "Africa/Casablanca"] {
        let tz = zone(name);
        for spec in
            ["* * * * *", "30 2 * * 1-5", "0 0 1 1 *", "0 0 29 2 *", "0 0 29 2 1", "0 0 30 2 *", "@every 90s"]
        {
            let schedule = schedule(spec);
            let next = Instant::now();
            for _ in 0..ROUNDS {
                black_box(schedule.next_after(black_box(&tz), black_box(from)));
            }
            let next = next.elapsed() / ROUNDS;
            let prev = Instant::now();
            for _ in 0..ROUNDS {
                black_box(schedule.prev_at_or_before(black_box(&tz), black_box(from)));
            }
            let prev = prev.elapsed() / ROUNDS;
            println!("{name:20} {spec:14} next {next:>8?}  prev {prev:>8?}");
        }
    }
}
