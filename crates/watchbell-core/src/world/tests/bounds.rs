//! What grows with use has a bound.

use serde_json::{Value, json};
use watchbell_api::{Reason, Resource};

use super::{Bench, config_map, job, request};
use crate::controller::event::PlannedEvent;
use crate::request::{Force, PatchKind, Request, Write, WriteOptions};
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

/// Clients that list them get them by name.
#[test]
fn events_of_an_object_are_in_the_order_in_which_they_were_told() {
    let mut bench = Bench::new();
    bench.create(config_map("a"));
    bench.settle();
    let tell = |bench: &mut Bench, texts: &[&str]| {
        let about = bench.world.snapshot().get(Resource::ConfigMap, "ml", "a").cloned().expect("it was made");
        let at = bench.at();
        for text in texts {
            bench.world.emit(&about, &PlannedEvent::normal("Tested", *text), at);
        }
        bench.settle();
    };
    let told = |bench: &Bench| -> Vec<(String, u64)> {
        let events = bench.list(Resource::Event);
        let of =
            |event: &Value| (event["message"].as_str().unwrap().to_owned(), event["count"].as_u64().unwrap());
        events.iter().map(of).collect()
    };
    // Within one decision, and so within one second.
    tell(&mut bench, &["made", "begun", "stuck", "ended"]);
    let name = |event: &Value| event["metadata"]["name"].as_str().unwrap().to_owned();
    let first = name(&bench.list(Resource::Event)[0]);
    assert_eq!(first, format!("a.{:016x}", bench.at().as_nanosecond()));
    // The next server, whose clock went back, goes on after them; what is told again keeps its place.
    bench.crash();
    tell(&mut bench, &["begun", "made again", "begun"]);
    let mut expect = vec![("made", 1), ("begun", 3), ("stuck", 1), ("ended", 1), ("made again", 1)];
    assert_eq!(told(&bench), expect.iter().map(|(t, n)| ((*t).to_owned(), *n)).collect::<Vec<_>>());
    bench.now += 1;
    tell(&mut bench, &["a last one", "ended"]);
    expect[3].1 = 2;
    expect.push(("a last one", 1));
    assert_eq!(told(&bench), expect.iter().map(|(t, n)| ((*t).to_owned(), *n)).collect::<Vec<_>>());
    // One that is gone is made anew.
    bench.sleep(TTL_SECONDS + 1);
    tell(&mut bench, &["made"]);
    assert_eq!(told(&bench), [("made".to_owned(), 1)]);
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

#[test]
fn patches_do_not_make_an_object_grow_for_ever() {
    let mut bench = Bench::new();
    bench.create(config_map("a"));
    let merge = |body| Request {
        write: Write::Patch { kind: PatchKind::Merge, body },
        ..request(Resource::ConfigMap, "ml", "a")
    };
    // Labels have no bound of their own.
    let labels = |from: usize| -> Value {
        let many = (from..from + 10_000).map(|n| (format!("l{n:0>50}"), json!("x".repeat(60))));
        json!({"metadata": {"labels": many.collect::<serde_json::Map<_, _>>()}})
    };
    bench.write(merge(labels(0))).expect("it is below the bound, the names of its managed fields included");
    let refused = bench.write(merge(labels(10_000))).unwrap_err();
    assert_eq!(refused.reason, Reason::RequestEntityTooLarge, "{refused}");
    assert!(refused.message.contains("limit is 2097152"), "{refused}");
    bench.write(merge(json!({"metadata": {"labels": null}}))).expect("it may become smaller");
    // Nor do managers, each of whom is kept with the fields that it applied.
    let applied = |manager: usize| {
        let data: serde_json::Map<_, _> = (0..2_000).map(|n| (format!("k{n:0>50}"), json!("v"))).collect();
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data});
        let options = WriteOptions {
            field_manager: format!("m{manager}"),
            force: Force::Yes,
            ..WriteOptions::default()
        };
        let write = Write::Patch { kind: PatchKind::Apply, body };
        Request { write, options, ..request(Resource::ConfigMap, "ml", "a") }
    };
    let refused = (0..20).find_map(|manager| bench.write(applied(manager)).err()).expect("there is an end");
    assert_eq!(refused.reason, Reason::RequestEntityTooLarge, "{refused}");
}
