use watchbell_gate::dns::{Answer, Family};
use watchbell_sandbox::gate::Verdict;

use crate::Outcome;
use crate::stage::{POD, Stage, anything, block, egress, name, on};
use crate::world::{ECHO, METADATA, OWN, OWN_6, PRIVATE, WEB, WORLD};

pub(crate) fn what_no_policy_allows_is_refused_and_told() -> Outcome {
    let mut stage = Stage::new()?;
    let task = stage.task(POD, &egress([on(ECHO, name("*.example.org"))]))?;

    // A name that no rule allows is not even looked up, and is told once for all its kinds.
    assert_eq!(task.resolve("other.example.com", Family::V4)?, Some(Answer::NoSuchName));
    assert_eq!(task.resolve("other.example.com", Family::V6)?, Some(Answer::NoSuchName));
    let decided = stage.decided()?;
    assert_eq!(decided.target.name.as_deref(), Some("other.example.com"));
    assert!(matches!(decided.verdict, Verdict::Refused { reason, .. } if reason == "Name"));

    let data = task.address("data.example.org", Family::V4)?;
    for (to, port, reason) in [
        // The name on another port, and an address by itself.
        (data, WEB, "Port"),
        (WORLD.parse()?, ECHO, "NoRule"),
        // What stands for no name, the stub among it.
        ("198.18.200.1".parse()?, ECHO, "NoName"),
        ("198.18.0.1".parse()?, ECHO, "NoName"),
        ("fd5b:e11a:479e::77".parse()?, ECHO, "NoName"),
        // Names whose owners say what is not theirs.
        (task.address("inside.example.org", Family::V4)?, ECHO, "PrivateAddressOfName"),
        (task.address("meta.example.org", Family::V4)?, ECHO, "LinkLocalAddress"),
        (task.address("own.example.org", Family::V4)?, ECHO, "MachineAddress"),
        (task.address("own.example.org", Family::V6)?, ECHO, "MachineAddress"),
        (task.address("loop.example.org", Family::V4)?, ECHO, "LoopbackAddress"),
        (task.address("loop.example.org", Family::V6)?, ECHO, "LoopbackAddress"),
    ] {
        assert!(task.is_reset(to, port), "{to}");
        let decided = stage.decided()?;
        assert!(
            matches!(&decided.verdict, Verdict::Refused { reason: told, .. } if told == reason),
            "{to}: {decided:?}, expected {reason}"
        );
        assert_eq!(decided.target.port, Some(port));
    }
    // It is still served.
    assert_eq!(task.ask(data, ECHO, b"1")?, format!("{WORLD} 1"));
    Ok(())
}

pub(crate) fn what_no_policy_opens_is_not_reached() -> Outcome {
    let mut stage = Stage::new()?;
    let task = stage.task(POD, &egress([anything(), block("0.0.0.0/0"), block("::/0")]))?;
    for (to, reason) in [
        (METADATA, "LinkLocalAddress"),
        ("127.0.0.1", "LoopbackAddress"),
        ("::1", "LoopbackAddress"),
        (OWN, "MachineAddress"),
        (OWN_6, "MachineAddress"),
        // The second address of an interface, which answers by the first one.
        ("10.45.0.2", "MachineAddress"),
        ("169.254.1.1", "LinkLocalAddress"),
    ] {
        assert!(task.is_reset(to.parse()?, ECHO), "{to}");
        assert_eq!(stage.refused()?, reason, "{to}");
    }
    assert_eq!(task.ask(PRIVATE.parse()?, ECHO, b"1")?, format!("{PRIVATE} 1"));
    Ok(())
}

pub(crate) fn a_door_is_its_pods_alone() -> Outcome {
    let mut stage = Stage::new()?;
    let one = stage.task(1, &egress([name("data.example.org")]))?;
    let other = stage.task(2, &egress([name("four.example.org")]))?;
    let of_one = one.address("data.example.org", Family::V4)?;
    let of_other = other.address("four.example.org", Family::V4)?;
    // The same address stands for another name in each.
    assert_eq!(of_one, of_other);
    assert_eq!(other.resolve("data.example.org", Family::V4)?, Some(Answer::NoSuchName));
    assert_eq!(stage.decided()?.pod, 2);
    one.ask(of_one, ECHO, b"")?;
    let decided = stage.decided()?;
    assert_eq!((decided.pod, decided.target.name.as_deref()), (1, Some("data.example.org")));
    stage.ended()?;
    other.ask(of_other, ECHO, b"")?;
    let decided = stage.decided()?;
    assert_eq!((decided.pod, decided.target.name.as_deref()), (2, Some("four.example.org")));
    Ok(())
}
