//! Entries a second: mapped, written to a file, sent to a stand-in that takes everything; and what exports do to commits.
//!
//! `cargo bench -p watchbell-export --bench export -- ENTRIES`

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

#[path = "../tests/export/journal.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod journal;
#[path = "../tests/export/stand.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod stand;

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use watchbell_audit::export::ecs::{self, Context, DEFAULT_INDEX, Original};
use watchbell_audit::export::rotation::Limits;
use watchbell_audit::export::{Entry, otlp};
use watchbell_export::{ElasticsearchOptions, Endpoint, FileOptions, Options, OtlpOptions};

use journal::{append, end, open, start, wait_for_all};
use stand::{Reply, Stand};

fn main() {
    // `cargo bench` adds `--bench`.
    let entries = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(50_000);
    mapped(entries);
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let mut store = open(&data);
    for _ in 0..entries / 500 {
        append(&mut store, 500);
    }
    drop(store);
    let logs = dir.path().join("logs");
    std::fs::create_dir(&logs).expect("a directory");
    let cluster = cluster();
    let receiver = Stand::start(|_| Reply::json(200, &json!({})));
    println!("\n{entries} entries in a journal, to one target from the first on:");
    shipped("file", &data, &to_file(&logs.join("audit.ndjson")));
    shipped("Elasticsearch stand-in", &data, &to_cluster(&cluster));
    shipped("OTLP stand-in", &data, &to_receiver(&receiver));
    commits(dir.path());
}

fn mapped(entries: u64) {
    let context = Context::new("testhost", "1.2.3", DEFAULT_INDEX, Original::Omit);
    let entries: Vec<Entry> = (0..entries)
        .map(|n| Entry {
            epoch: [1; 16],
            index: n,
            log: None,
            at_unix_nanos: 0,
            body: journal::body(n).to_string().into_bytes(),
        })
        .collect();
    println!("{} entries in memory, one thread:", entries.len());
    let measure = |name: &str, map: &dyn Fn(&Entry) -> usize| {
        let began = Instant::now();
        let bytes: usize = entries.iter().map(map).sum();
        let seconds = began.elapsed().as_secs_f64();
        println!(
            "  {name:<24} {:>9.0} entries/s  {:>5} bytes each",
            entries.len() as f64 / seconds,
            bytes / entries.len()
        );
    };
    measure("mapped to ECS", &|entry| {
        let mut line = Vec::new();
        ecs::write(&context, entry, &mut line);
        line.len()
    });
    measure("mapped to OTLP", &|entry| otlp::record(&context, entry).len());
}

/// Takes every document.
fn cluster() -> Stand {
    Stand::start(|request| {
        let count = request.body.iter().filter(|byte| **byte == b'\n').count() / 2;
        let items = "{\"create\":{\"status\":201}},".repeat(count);
        let body = format!("{{\"errors\":false,\"items\":[{}]}}", items.trim_end_matches(','));
        Reply::Whole { status: 200, headers: Vec::new(), body: body.into_bytes() }
    })
}

fn endpoint(stand: &Stand) -> Endpoint {
    Endpoint { url: stand.url(), ca: None, credentials: None }
}

fn to_file(path: &Path) -> Options {
    let file = FileOptions { path: path.to_path_buf(), limits: Limits::default() };
    Options { file: Some(file), ..journal::options() }
}

fn to_cluster(stand: &Stand) -> Options {
    Options { elasticsearch: Some(ElasticsearchOptions::new(endpoint(stand))), ..journal::options() }
}

fn to_receiver(stand: &Stand) -> Options {
    Options { otlp: Some(OtlpOptions { endpoint: endpoint(stand) }), ..journal::options() }
}

fn shipped(name: &str, data: &Path, options: &Options) {
    let store = open(data);
    let count = store.last_audit_sequence();
    let began = Instant::now();
    let exports = start(&store, data, options);
    wait_for_all(&exports);
    let took = began.elapsed();
    end(store, exports);
    println!("  {name:<24} {:>9.0} entries/s", count as f64 / took.as_secs_f64());
}

/// Commits of one entry each, in turn without and with two exports beside them.
fn commits(dir: &Path) {
    const ROUNDS: usize = 4;
    const COMMITS: u64 = 500;
    let cluster = cluster();
    let mut times = [Duration::ZERO; 2];
    for round in 0..ROUNDS {
        for (n, time) in times.iter_mut().enumerate() {
            let data = dir.join(format!("commits-{round}-{n}"));
            let logs = dir.join(format!("logs-{round}-{n}"));
            std::fs::create_dir(&logs).expect("a directory");
            let mut store = open(&data);
            let options = match n {
                0 => journal::options(),
                _ => Options {
                    elasticsearch: to_cluster(&cluster).elasticsearch,
                    ..to_file(&logs.join("audit.ndjson"))
                },
            };
            let exports = start(&store, &data, &options);
            let began = Instant::now();
            for _ in 0..COMMITS {
                append(&mut store, 1);
            }
            *time += began.elapsed();
            end(store, exports);
        }
    }
    let rate = |time: Duration| (ROUNDS as u64 * COMMITS) as f64 / time.as_secs_f64();
    println!(
        "\ncommits of one entry: {:.0}/s without an export, {:.0}/s with a file and Elasticsearch ({:.2})",
        rate(times[0]),
        rate(times[1]),
        rate(times[1]) / rate(times[0])
    );
}
