use jiff::Timestamp;
use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn record(user: &str, resource: &str, name: &str, code: u16) -> AuditRecord {
    let status = if code < 400 { "Success" } else { "Failure" };
    let body = json!({
        "verb": "get", "user": {"username": user},
        "objectRef": {"resource": resource, "namespace": "ml", "name": name},
        "responseStatus": {"metadata": {}, "status": status, "code": code},
    });
    AuditRecord { at: Timestamp::UNIX_EPOCH, body }
}

fn flood(tally: &mut Tally, user: &str, resource: &str, code: u16, now: Duration, times: u32) -> u32 {
    (0..times).filter(|n| tally.request(record(user, resource, &n.to_string(), code), now).is_some()).count()
        as u32
}

fn count(entry: &Value) -> u64 {
    entry["annotations"]["watchbell.dev/count"].as_str().unwrap().parse().unwrap()
}

#[test]
fn what_a_user_reads_beyond_a_rate_is_counted_by_kind() {
    let mut tally = Tally::default();
    assert_eq!(flood(&mut tally, "ada", "pods", 200, SECOND, 1500), 1000);
    assert_eq!(flood(&mut tally, "bob", "pods", 200, SECOND, 10), 10, "others are not touched");
    assert_eq!(flood(&mut tally, "ada", "secrets", 200, SECOND, 1), 1, "no flood hides the read of a Secret");
    assert_eq!(flood(&mut tally, "ada", "pods", 403, SECOND, 1), 1, "nor a refusal");
    assert_eq!(flood(&mut tally, "ada", "pods", 200, 2 * SECOND, 100), 10);
    tally.arrived(2000);
    assert!(tally.take(60 * SECOND, false).is_empty());
    assert_eq!(tally.due(60 * SECOND), Some(SECOND));
    let taken = tally.take(61 * SECOND, false);
    assert_eq!(taken.len(), 1, "{taken:?}");
    assert_eq!(count(&taken[0]), 500 + 90);
    assert_eq!((&taken[0]["user"]["username"], &taken[0]["verb"]), (&"ada".into(), &"get".into()));
    assert_eq!(taken[0]["objectRef"], json!({"resource": "pods", "namespace": "ml"}));
    assert_eq!(taken[0]["responseStatus"]["code"], 200);
    assert_eq!((tally.due(61 * SECOND), tally.take(200 * SECOND, true).len()), (None, 0));
}

#[test]
fn who_asks_for_everything_makes_no_more_entries_for_it() {
    let mut tally = Tally::default();
    for n in 0..5000 {
        flood(&mut tally, "ada", &format!("kind{n}"), 404, SECOND, 1);
    }
    for n in 0..2000 {
        let user = format!("user{n}");
        tally.users.insert((user.as_str().into(), Class::Refusal), 1000 * SECOND);
        flood(&mut tally, &user, "pods", 404, SECOND, 1);
    }
    let taken = tally.take(61 * SECOND, false);
    assert!(taken.len() <= 2 * EXCESS_MAX + 1, "{}", taken.len());
    assert_eq!(taken.iter().map(count).sum::<u64>(), 4000 + 2000);
}

#[test]
fn more_users_than_are_told_apart_share_one_rate() {
    let mut tally = Tally::default();
    let noted = (0..10_000).map(|n| {
        tally.arrived(1);
        flood(&mut tally, &format!("user{n}"), "pods", 200, SECOND, 1)
    });
    assert_eq!(noted.sum::<u32>(), USERS_MAX as u32 + 1000);
    assert_eq!(flood(&mut tally, "late", "pods", 200, 1000 * SECOND, 2), 2, "who is forgiven is forgotten");
    assert!(tally.users.len() <= 2);
}

#[test]
fn what_the_writer_does_not_take_is_bounded_and_counted() {
    let mut tally = Tally::default();
    let noted: u32 = (0..20).map(|n| flood(&mut tally, &format!("user{n}"), "pods", 200, SECOND, 1000)).sum();
    assert_eq!(noted, ON_THE_WAY_MAX as u32);
    let taken = tally.take(SECOND, false);
    assert_eq!((taken.len(), count(&taken[0])), (1, 10_000));
    tally.arrived(1);
    assert_eq!(flood(&mut tally, "late", "pods", 200, SECOND, 5), 1);
}

#[test]
fn strangers_are_counted_by_network_and_make_an_entry_a_second() {
    let mut tally = Tally::default();
    for n in 0..1000u16 {
        let address = IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, n]);
        assert_eq!(tally.stranger(Some(address), "unknown-token"), n == 0);
    }
    let taken = tally.take(SECOND, false);
    assert_eq!((taken.len(), count(&taken[0])), (1, 1000));
    assert_eq!(taken[0]["annotations"]["watchbell.dev/network"], "2001:db8:0:1::/64");
    assert_eq!(taken[0]["sourceIPs"], json!(["2001:db8:0:1::"]));
    let (mut entries, mut total) = (0, 0);
    for second in 1..=1000u16 {
        for n in 0..100u8 {
            tally.stranger(Some(IpAddr::from([192, 0, n, 1])), "unknown-token");
        }
        let taken = tally.take(SECOND * second.into(), second == 1000);
        entries += taken.len();
        total += taken.iter().map(count).sum::<u64>();
    }
    assert_eq!(total, 100_000, "none is lost");
    assert!(entries <= 64 + 1000 + NETWORKS_MAX + 1, "{entries}");
}

proptest! {
    /// In no stretch of time are there more entries than the burst and the time allow, and each request is an entry or counted.
    #[test]
    fn nobody_beats_the_rate(steps in prop::collection::vec((0u64..400, 1u32..300), 1..60)) {
        let mut tally = Tally::default();
        let (mut now, mut noted, mut asked) = (Duration::ZERO, 0u64, 0u64);
        for (millis, times) in steps {
            now += Duration::from_millis(millis);
            noted += u64::from(flood(&mut tally, "ada", "pods", 200, now, times));
            asked += u64::from(times);
            tally.arrived(usize::MAX);
            prop_assert!(noted <= 1000 + u64::try_from(now.as_millis() / 100).unwrap());
        }
        let counted: u64 = tally.take(now, true).iter().map(count).sum();
        prop_assert_eq!(noted + counted, asked);
    }
}
