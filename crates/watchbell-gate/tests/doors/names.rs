use watchbell_gate::dns::{Answer, Family};
use watchbell_sandbox::gate::{End, Target, Verdict};

use crate::Outcome;
use crate::stage::{POD, Stage, block, egress, name, on};
use crate::world::{CLOSED, ECHO, PRIVATE, WORLD, WORLD_6};

pub(crate) fn a_name_is_reached_by_the_address_that_stands_for_it() -> Outcome {
    let mut stage = Stage::new()?;
    let task = stage.task(POD, &egress([on(ECHO, name("*.example.org"))]))?;
    for (family, real) in [(Family::V4, WORLD), (Family::V6, WORLD_6)] {
        let stands = task.address("data.example.org", family)?;
        assert_ne!(stands.to_string(), real);
        assert_eq!(task.address("DATA.example.org", family)?, stands, "each time the same");
        assert_eq!(task.ask(stands, ECHO, b"12345")?, format!("{real} 5"));

        let decided = stage.decided()?;
        let target =
            Target { name: Some("data.example.org".into()), address: Some(real.parse()?), port: Some(ECHO) };
        assert_eq!(decided.verdict, Verdict::Allowed { policy: "lab/names".into() });
        assert_eq!((decided.pod, &decided.target), (POD, &target));
        let ended = stage.ended()?;
        assert_eq!((ended.connection, &ended.target, ended.how), (decided.connection, &target, End::Closed));
        assert_eq!((ended.sent, ended.received), (5, format!("{real} 5").len() as u64));
        assert!(decided.at > 0 && decided.at <= ended.at);
    }
    Ok(())
}

pub(crate) fn names_are_answered_as_their_owners_say() -> Outcome {
    let mut stage = Stage::new()?;
    let task = stage.task(POD, &egress([name("*.example.org")]))?;
    assert_eq!(task.resolve("four.example.org", Family::V6)?, Some(Answer::Empty));
    assert!(matches!(task.resolve("four.example.org", Family::V4)?, Some(Answer::Addresses { .. })));
    assert_eq!(task.resolve("nothing.example.org", Family::V4)?, Some(Answer::NoSuchName));
    // Nothing of that is a refusal: what comes next is told first.
    assert_eq!(task.resolve("other.example.com", Family::V4)?, Some(Answer::NoSuchName));
    assert_eq!(stage.decided()?.target.name.as_deref(), Some("other.example.com"));
    Ok(())
}

pub(crate) fn resolvers_that_lie_or_are_silent_are_survived() -> Outcome {
    // As long as it waits for the first resolver, the second has to answer.
    let mut stage = Stage::impatient("5000")?;
    let task = stage.task(POD, &egress([name("*.example.org")]))?;
    // By the second resolver, or by the first one's second answer.
    for asked in ["silent.example.org", "unknown.example.org", "lied.example.org"] {
        let stands = task.address(asked, Family::V4)?;
        assert_eq!(task.ask(stands, ECHO, b"")?, format!("{WORLD} 0"), "{asked}");
        assert_eq!(stage.decided()?.target.address, Some(WORLD.parse()?));
        stage.ended()?;
    }
    Ok(())
}

pub(crate) fn a_task_hears_that_no_resolver_answers() -> Outcome {
    let mut stage = Stage::impatient("200")?;
    let task = stage.task(POD, &egress([name("*.example.org")]))?;
    let order =
        watchbell_sandbox::gate::Order::Resolvers { addresses: vec![format!("{CLOSED}:53").parse()?] };
    stage.order(&order, Vec::new())?;
    assert_eq!(task.resolve("data.example.org", Family::V4)?, None);
    stage.order(&watchbell_sandbox::gate::Order::Resolvers { addresses: Vec::new() }, Vec::new())?;
    assert_eq!(task.resolve("data.example.org", Family::V4)?, None);
    Ok(())
}

pub(crate) fn a_name_with_several_addresses_is_reached_by_one() -> Outcome {
    let mut stage = Stage::new()?;
    let task = stage.task(POD, &egress([name("*.example.org"), block("10.45.0.0/16")]))?;
    let stands = task.address("two.example.org", Family::V4)?;
    assert_eq!(task.ask(stands, ECHO, b"1")?, format!("{WORLD} 1"));
    assert_eq!(stage.decided()?.target.address, Some(CLOSED.parse()?), "the first one");
    let ended = stage.ended()?;
    assert_eq!((ended.target.address, ended.how), (Some(WORLD.parse()?), End::Closed));

    let stands = task.address("closed.example.org", Family::V4)?;
    assert!(task.is_reset(stands, ECHO));
    stage.decided()?;
    let how = stage.ended()?.how;
    assert!(matches!(&how, End::NotReached { why } if why.contains("refused")), "{how:?}");

    // By the other family, where both are known.
    let stands = task.address("half.example.org", Family::V4)?;
    task.address("half.example.org", Family::V6)?;
    assert_eq!(task.ask(stands, ECHO, b"1")?, format!("{WORLD_6} 1"));
    stage.decided()?;
    stage.ended()?;
    // And where there is no way by one of them, that one is not offered.
    crate::network::sh("ip -6 route flush dev host0")?;
    assert_eq!(task.resolve("data.example.org", Family::V6)?, Some(Answer::Empty));

    // A private address of a name, where a block allows it as well.
    let stands = task.address("inside.example.org", Family::V4)?;
    assert_eq!(task.ask(stands, ECHO, b"1")?, format!("{PRIVATE} 1"));
    assert_eq!(stage.decided()?.verdict, Verdict::Allowed { policy: "lab/blocks".into() });
    Ok(())
}
