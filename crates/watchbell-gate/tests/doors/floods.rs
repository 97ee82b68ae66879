use std::io::{ErrorKind, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::time::Duration;

use rustix::net::sockopt::{self, Timeout};
use watchbell_sandbox::gate::{Decided, End, Notice, Verdict};

use crate::Outcome;
use crate::stage::{POD, Stage, Task, block, egress, on};
use crate::world::{BARE, ECHO, GREETS, WORLD};

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

/// Some connections of a namespace have what a long way takes; what the gate's sockets hold of all others is little, whoever does not read.
pub(crate) fn what_the_kernel_holds_is_bounded() -> Outcome {
    const CONNECTIONS: usize = 24;
    const WIDE: usize = 16;
    let mut stage = Stage::new()?;
    let task = stage.task(POD, &egress([block("45.45.45.0/24")]))?;
    let listener = stage.world.within(|| TcpListener::bind((WORLD, BARE)))?;
    sockopt::set_socket_timeout(&listener, Timeout::Recv, Some(Duration::from_secs(60)))?;
    let (mut of_task, mut of_world) = (Vec::new(), Vec::new());
    for _ in 0..CONNECTIONS {
        of_task.push(task.connect(WORLD.parse()?, BARE)?);
        of_world.push(listener.accept()?.0);
    }
    for (way, speakers, deaf) in [("out", &of_task, &of_world), ("in", &of_world, &of_task)] {
        let held = fill(&task, speakers, deaf)?;
        assert!(held[WIDE..].iter().all(|held| *held < 1 << 20), "{way}: {held:?}");
    }
    Ok(())
}

/// Has one side speak until nothing is taken any more; what is then neither with it nor with the other side, of each connection.
fn fill(
    task: &Task,
    speakers: &[TcpStream],
    deaf: &[TcpStream],
) -> Result<Vec<u64>, Box<dyn std::error::Error>> {
    /// The gate has so many turns, and takes nothing.
    const TURNS: usize = 30;
    let to: IpAddr = WORLD.parse()?;
    let piece = vec![7; 1 << 20];
    let mut said = vec![0; speakers.len()];
    for speaker in speakers {
        speaker.set_nonblocking(true)?;
        // Little waits with it.
        sockopt::set_socket_send_buffer_size(speaker, 8 << 10)?;
    }
    let mut idle = 0;
    while idle < TURNS {
        idle += 1;
        for (mut speaker, said) in speakers.iter().zip(&mut said) {
            match speaker.write(&piece) {
                Ok(taken) => (*said, idle) = (*said + taken as u64, 0),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        // It comes back by the gate's one thread, which has served what was there before.
        task.ask(to, ECHO, b"")?;
    }
    let heard = deaf.iter().map(rustix::io::ioctl_fionread).collect::<Result<Vec<u64>, _>>()?;
    Ok(said.into_iter().zip(heard).map(|(said, heard)| said - heard).collect())
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
