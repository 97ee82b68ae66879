use watchbell_core::egress::Egress;

use super::*;

fn nowhere() -> EgressWire {
    Egress::default().to_wire().into()
}

fn wire(text: &str) -> EgressWire {
    text.as_bytes().into()
}

fn allowed(uid: u128) -> Assignment {
    let containers = json!([{"name": "m", "image": "tool:1"}]);
    Assignment { egress: Some(wire("a")), ..pod(uid, &spec(json!({"containers": containers}))) }
}

fn change(bench: &mut Bench, uid: u128, egress: Option<EgressWire>) {
    bench.tell(Input::Command(Command::ChangeEgress { uid: Uid(uid), egress }));
    bench.effects();
}

#[test]
fn what_a_pod_may_connect_to_goes_with_it_and_changes() {
    let mut bench = Bench::new();
    bench.begin(allowed(1));
    bench.effects();
    bench.fetched(&image("tool", program()));
    bench.effects();
    let started = bench.started.take().unwrap();
    assert_eq!(started.pod.egress, Some(wire("a")));
    assert_eq!(started.pod.etc.resolv_conf, b"nameserver 198.18.0.1\noptions ndots:0\n");
    assert_eq!(started.pod.sharing, watchbell_sandbox::Sharing::Shared);
    bench.runs(id(1, 0, 0));
    assert!(bench.egresses.is_empty(), "it was told with the start");
    change(&mut bench, 1, Some(wire("b")));
    change(&mut bench, 1, None);
    assert_eq!(bench.egresses, [(1, wire("b")), (1, nowhere())]);
}

/// Of two pods that ran before this server.
fn table() -> Vec<TableEntry> {
    let running = |uid| TableEntry::Running { id: id(uid, 0, 0), pid: 1, started_at: WALL * 1_000_000_000 };
    vec![running(1), running(2)]
}

/// They are taken over, and a third one is new.
fn taken_over() -> Bench {
    let mut bench = Bench::with(nothing(), table());
    bench.begin(allowed(1));
    bench.begin(Assignment { egress: None, ..allowed(2) });
    bench.begin(allowed(3));
    bench.effects();
    bench
}

#[test]
fn a_pod_that_is_taken_over_is_told_what_may_have_changed() {
    let bench = taken_over();
    assert_eq!(bench.egresses, [(1, wire("a")), (2, nowhere())]);
}

#[test]
fn what_a_spawner_may_not_have_heard_it_is_told_again() {
    let mut bench = taken_over();
    // The connection breaks before it is told of the change.
    change(&mut bench, 1, Some(wire("b")));
    bench.egresses.clear();
    bench.tell(Input::Reconnected(table()));
    bench.effects();
    bench.egresses.sort();
    assert_eq!(bench.egresses, [(1, wire("b")), (2, nowhere())]);
}

#[test]
fn the_death_of_a_gate_is_told() {
    let mut bench = Bench::new();
    bench.tell(Input::Sandbox(Event::Connections { serial: 1, lost: 4, notice: Vec::new() }));
    bench.tell(Input::Sandbox(Event::GateLost { serial: 2, from: 5, until: 9 }));
    bench.expect(&["gate lost, 5 to 9", "told 2, lost 4"]);
}

#[test]
fn what_the_gate_says_is_kept_until_it_is_durable() {
    let mut bench = Bench::new();
    for (serial, lost) in [(3, 0), (4, 7), (5, 1)] {
        bench.tell(Input::Sandbox(Event::Connections { serial, lost, notice: vec![0xff; 40] }));
    }
    // What nobody can read is no connection.
    bench.expect(&["told 5, lost 8"]);
    bench.tell(Input::Command(Command::ConnectionsHeard { serial: 5 }));
    bench.expect(&["heard 5"]);
}
