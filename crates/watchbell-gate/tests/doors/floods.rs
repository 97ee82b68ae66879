use watchbell_sandbox::gate::{Decided, End, Notice, Verdict};

use crate::Outcome;
use crate::stage::{POD, Stage, block, egress, on};
use crate::world::{ECHO, GREETS, WORLD};

pub(crate) fn connections_are_bounded() -> Outcome {
    has_two(Stage::narrow("2", "1000")?)
}

/// It would have room for three, and leaves some for others.
pub(crate) fn a_pod_takes_no_more_than_it_leaves() -> Outcome {
    has_two(Stage::narrow("1000", "4")?)
}

fn has_two(mut stage: Stage) -> Outcome {
    let task = stage.task(POD, &egress([block("45.45.45.0/24")]))?;
    let first = task.connect(WORLD.parse()?, GREETS)?;
    stage.decided()?;
    let _second = task.connect(WORLD.parse()?, GREETS)?;
    stage.decided()?;
    assert!(task.is_reset(WORLD.parse()?, ECHO));
    assert_eq!(stage.refused()?, "TooMany");
    // Another namespace has its own.
    let other = stage.task_of("other", 8, &egress([block("45.45.45.0/24")]))?;
    assert_eq!(other.ask(WORLD.parse()?, ECHO, b"")?, format!("{WORLD} 0"));
    stage.decided()?;
    stage.ended()?;
    // And there is room again when one has ended.
    drop(first);
    let ended = stage.ended()?.how;
    assert!(matches!(ended, End::Closed | End::ByPod), "{ended:?}");
    assert_eq!(task.ask(WORLD.parse()?, ECHO, b"")?, format!("{WORLD} 0"));
    Ok(())
}

pub(crate) fn a_flood_is_counted() -> Outcome {
    const TRIES: u64 = 400;
    let mut stage = Stage::new()?;
    let task = stage.task(POD, &egress([on(ECHO, block("45.45.45.0/24"))]))?;
    let refused = task.network.within(|| {
        (0..TRIES)
            .filter(|_| {
                std::net::TcpStream::connect((WORLD, GREETS)).is_ok_and(|stream| {
                    use std::io::Read;
                    (&stream).read(&mut [0; 1]).is_err()
                })
            })
            .count()
    });
    assert_eq!(refused as u64, TRIES);
    // It hides no connection.
    assert_eq!(task.ask(WORLD.parse()?, ECHO, b"")?, format!("{WORLD} 0"));
    stage.remove(POD)?;
    // Once it has ended all is told: what had an entry of its own, and how much had none.
    let (mut told, mut counted, mut allowed) = (0, 0, 0);
    while told + counted < TRIES || allowed < 2 {
        match stage.next()? {
            Notice::Decided(Decided { verdict: Verdict::Refused { .. }, .. }) => told += 1,
            Notice::Decided(_) | Notice::Ended(_) => allowed += 1,
            Notice::Counted(more) => {
                assert_eq!((more.beyond.allowed, more.beyond.ended), (0, 0));
                counted += more.beyond.refused;
            }
            beyond @ Notice::Beyond(_) => return Err(format!("{beyond:?}").into()),
        }
    }
    assert!(told >= 200 && counted > 0, "{told} told, {counted} counted");
    Ok(())
}
