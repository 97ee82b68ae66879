//! What grows with use has a bound.

use serde_json::{Value, json};
use watchbell_api::Resource;

use super::{Bench, config_map, job};
use crate::controller::event::PlannedEvent;
use crate::world::events::{LIMIT, TTL_SECONDS};

/// A text without digits for each number, as events that differ in digits alone are one.
fn word(mut number: usize) -> String {
    let mut word = String::new();
    while number > 0 {
        word.push(char::from(b'a' + (number % 26) as u8));
        number /= 26;
    }
    word
}

#[test]
fn the_oldest_events_make_room_and_none_is_kept_for_ever() {
    let mut bench = Bench::new();
    bench.create(config_map("a"));
    bench.settle();
    let about = bench.world.snapshot().get(Resource::ConfigMap, "ml", "a").cloned().expect("it was made");
    for number in 0..LIMIT + 50 {
        bench.now += i64::from(number == 100);
        let at = bench.at();
        bench.world.emit(&about, &PlannedEvent::normal("Tested", word(number)), at);
    }
    bench.settle();
    let snapshot = bench.world.snapshot();
    assert_eq!(snapshot.count(Resource::Event), LIMIT);
    let messages: Vec<Value> = bench.list(Resource::Event).iter().map(|e| e["message"].clone()).collect();
    assert!(messages.contains(&word(LIMIT).into()), "the newest is kept");
    // A repetition is young again.
    bench.now += 100;
    let at = bench.at();
    bench.world.emit(&about, &PlannedEvent::normal("Tested", word(LIMIT)), at);
    bench.sleep(TTL_SECONDS - 50);
    let left = bench.list(Resource::Event);
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["count"], 2);
    bench.sleep(51);
    assert_eq!(bench.list(Resource::Event), Vec::<Value>::new());
}

#[test]
fn thousands_of_pods_that_end_at_once_are_told_in_entries_that_fit() {
    let mut bench = Bench::new();
    let mut wide = job(
        "wide",
        json!({
            "completionMode": "Indexed", "completions": 2_500, "parallelism": 2_500, "activeDeadlineSeconds": 60,
        }),
    );
    wide["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "64"}});
    bench.create(wide);
    bench.settle();
    assert_eq!(bench.world.snapshot().count(Resource::Pod), 2_500);
    bench.sleep(61);
    assert_eq!(bench.world.snapshot().count(Resource::Pod), 0);
    assert_eq!(bench.read(Resource::Job, "wide")["status"]["failed"], 2_500);
    let told = bench.journal.audit.iter().filter(|a| a.body["action"] == "pods-ended");
    let counts: Vec<usize> =
        told.map(|a| a.body["details"]["ended"].as_array().map_or(0, Vec::len)).collect();
    assert_eq!(counts.iter().sum::<usize>(), 2_500);
    assert!(counts.iter().all(|&count| count <= 1_000), "{counts:?}");
}
