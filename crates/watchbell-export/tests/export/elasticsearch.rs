use std::path::{Path, PathBuf};

use serde_json::Value;
use watchbell_audit::export::template::{Engine, TEMPLATE_NAME, template};
use watchbell_export::{ElasticsearchOptions, Endpoint, Options, Template};

use crate::cluster::{Cluster, Fault};
use crate::journal::{append, end, metric, open, options, start, wait, wait_for_all};

pub(crate) fn to(url: &str) -> Options {
    let endpoint = Endpoint { url: url.into(), ca: None, credentials: None };
    Options { elasticsearch: Some(ElasticsearchOptions::new(endpoint)), ..options() }
}

/// Files of the export in a data directory that end so.
pub(crate) fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir.join("audit-export")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_string_lossy().ends_with(ending)).collect()
}

#[test]
fn every_entry_arrives_once_whatever_goes_wrong_on_the_way() {
    use Fault::*;
    let faults = [
        CutBeforeWork,
        Busy,
        None,
        CutBeforeAnswer,
        SomeBusy,
        TruncatedAnswer,
        SlowAnswer,
        CutWithinAnswer,
        Unavailable,
        ForeignAnswer,
        SomeBroken,
    ];
    let cluster = Cluster::start(&faults);
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    append(&mut store, 5000);
    let exports = start(&store, dir.path(), &to(&cluster.url()));
    append(&mut store, 700);
    wait_for_all(&exports);
    cluster.check_all(5700, &[]);
    assert_eq!(metric(&exports, "entries_total"), 5700.0);
    assert!(metric(&exports, "retries_total") > 0.0);
    assert_eq!(metric(&exports, "dead_letters_total"), 0.0);
    let inner = cluster.inner.lock().unwrap();
    assert!(inner.faults.is_empty(), "every fault happened");
    assert!(inner.conflicts > 0, "what was done before an answer was lost was sent again, and known again");
    assert!(inner.largest <= 2000);
    drop(inner);
    end(store, exports);
}

#[test]
fn the_next_start_goes_on_where_the_last_one_was() {
    let cluster = Cluster::start(&[]);
    let dir = tempfile::tempdir().unwrap();
    for n in 1..=3 {
        let mut store = open(dir.path());
        append(&mut store, 10);
        let exports = start(&store, dir.path(), &to(&cluster.url()));
        // The end waits for what is left.
        end(store, exports);
        cluster.check_all(10 * n, &[]);
    }
    assert_eq!(cluster.inner.lock().unwrap().conflicts, 0, "nothing was sent twice");
}

#[test]
fn what_will_never_be_taken_is_laid_aside_with_its_reason_and_stops_nobody() {
    let cluster = Cluster::start(&[]);
    cluster.inner.lock().unwrap().refused.extend(["-3".to_owned(), "-40".to_owned()]);
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    append(&mut store, 50);
    let exports = start(&store, dir.path(), &to(&cluster.url()));
    wait_for_all(&exports);
    cluster.check_all(50, &[3, 40]);
    assert_eq!(metric(&exports, "dead_letters_total"), 2.0);
    assert_eq!(metric(&exports, "entries_total"), 48.0);
    let [letters] = &files(dir.path(), ".dead-letters")[..] else { panic!("one file of dead letters") };
    let text = std::fs::read_to_string(letters).unwrap();
    let letters: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(letters.len(), 2);
    assert_eq!((&letters[0]["index"], &letters[1]["index"]), (&3.into(), &40.into()));
    assert!(letters[0]["reason"].as_str().unwrap().starts_with("400 document_parsing_exception"));
    assert_eq!(letters[0]["document"]["event"]["sequence"], 3);
    end(store, exports);
}

#[test]
fn a_batch_that_is_too_much_is_sent_in_parts() {
    let cluster = Cluster::start(&[]);
    cluster.inner.lock().unwrap().documents_max = 300;
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    append(&mut store, 3000);
    let exports = start(&store, dir.path(), &to(&cluster.url()));
    wait_for_all(&exports);
    cluster.check_all(3000, &[]);
    let largest = cluster.inner.lock().unwrap().largest;
    assert!((150..=300).contains(&largest), "{largest}");
    end(store, exports);
}

#[test]
fn the_template_is_installed_where_there_is_none_and_one_that_is_there_is_left() {
    for (distribution, engine) in [(None, Engine::Elasticsearch), (Some("opensearch"), Engine::OpenSearch)] {
        let cluster = Cluster::start(&[]);
        cluster.inner.lock().unwrap().distribution = distribution;
        let dir = tempfile::tempdir().unwrap();
        let mut options = to(&cluster.url());
        options.elasticsearch.as_mut().unwrap().template = Template::Install;
        for n in 1..=2 {
            let mut store = open(dir.path());
            append(&mut store, 5);
            end_after_all(store, &options, dir.path());
            cluster.check_all(5 * n, &[]);
            let mut inner = cluster.inner.lock().unwrap();
            let there = inner.templates.get_mut(TEMPLATE_NAME).unwrap();
            if n == 1 {
                assert_eq!(*there, template(engine));
                there["priority"] = 300.into();
            } else {
                assert_eq!(there["priority"], 300);
            }
        }
    }
    // Nobody asked for it.
    let cluster = Cluster::start(&[]);
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    append(&mut store, 5);
    end_after_all(store, &to(&cluster.url()), dir.path());
    assert!(cluster.inner.lock().unwrap().templates.is_empty());
}

fn end_after_all(store: watchbell_store::Store, options: &Options, dir: &Path) {
    let exports = start(&store, dir, options);
    wait_for_all(&exports);
    end(store, exports);
}

#[test]
fn credentials_come_from_their_file() {
    let cluster = Cluster::start(&[]);
    cluster.inner.lock().unwrap().authorization = Some("ApiKey c2VjcmV0".into());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    std::fs::write(&path, "api-key c2VjcmV0\n").unwrap();
    set_mode(&path, 0o600);
    let mut options = to(&cluster.url());
    options.elasticsearch.as_mut().unwrap().endpoint.credentials = Some(path.clone());
    let data = dir.path().join("data");
    let mut store = open(&data);
    append(&mut store, 5);
    let exports = start(&store, &data, &options);
    wait_for_all(&exports);
    cluster.check_all(5, &[]);
    // A wrong key: the trail waits, and nothing is lost.
    std::fs::write(&path, "api-key d3Jvbmc=\n").unwrap();
    append(&mut store, 5);
    wait("a retry", || metric(&exports, "retries_total") > 0.0);
    assert_eq!(metric(&exports, "dead_letters_total"), 0.0);
    cluster.check_all(5, &[]);
    end(store, exports);
    // The right one again.
    std::fs::write(&path, "api-key c2VjcmV0\n").unwrap();
    end_after_all(open(&data), &options, &data);
    cluster.check_all(10, &[]);
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_server_that_is_away_holds_up_neither_commits_nor_the_end() {
    // Nobody listens there, and the kernel gives it to nobody who asks for any port.
    let port = 1;
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let exports = start(&store, dir.path(), &to(&format!("http://127.0.0.1:{port}")));
    append(&mut store, 100);
    wait("a retry", || metric(&exports, "retries_total") > 0.0);
    append(&mut store, 100);
    wait("the lag is told", || metric(&exports, "lag_entries") == 200.0);
    assert!(metric(&exports, "lag_seconds") > 0.0);
    end(store, exports);
}
