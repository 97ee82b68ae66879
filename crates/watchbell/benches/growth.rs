//! Whether a task costs more the more there are: Jobs of growing size, each by a server with an empty journal.
//!
//! `cargo bench -p watchbell --bench growth` (root). Other sizes: `-- SIZE SIZE …`. `WATCHBELL=PATH` measures another build.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

mod stand;

use stand::{Stand, Use, file_bytes, memory_kib, used};

const AT_ONCE: usize = 32;

fn main() {
    let sizes: Vec<usize> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![1_000, 10_000] } else { sizes };
    println!(
        "| indexes | tasks/s | CPU ms a task, {} | commits a task | server, peak resident | journal, bytes a pod |",
        Use::PARTS.join(" + ")
    );
    println!("|---|---|---|---|---|---|");
    for size in sizes {
        let mut stand = Stand::new();
        stand.build_true("true");
        stand.launch();
        let client = stand.client();
        let commits = client.metric("watchbell_commits_total");
        let before = used(&stand.processes());
        let wall = client.run_job("growth", size, AT_ONCE);
        let parts = (used(&stand.processes()) - before).parts();
        let parts: Vec<String> = parts.iter().map(|ms| format!("{:.2}", ms / size as f64)).collect();
        let commits = (client.metric("watchbell_commits_total") - commits) / size as f64;
        let peak = memory_kib(stand.pid(), "VmHWM");
        drop(client);
        stand.stop();
        let journal = file_bytes(&stand.data()).get("journal.db").copied().unwrap_or(0);
        println!(
            "| {size} | {:.0} | {} | {commits:.2} | {:.1} MiB | {:.0} |",
            size as f64 / wall.as_secs_f64(),
            parts.join(" + "),
            peak as f64 / 1024.0,
            journal as f64 / size as f64,
        );
    }
}
