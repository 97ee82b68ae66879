use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use watchbell_gate::dns::Family;
use watchbell_sandbox::gate::End;

use crate::Outcome;
use crate::stage::{POD, Stage, block, egress, name};
use crate::world::{ECHO, GREETS, STAYS, WORLD};

/// Hears the greeting of a connection that then stays.
fn greeted(mut stream: TcpStream) -> std::io::Result<TcpStream> {
    let mut heard = [0; 6];
    stream.read_exact(&mut heard)?;
    assert_eq!(&heard, b"hello\n");
    Ok(stream)
}

fn is_cut(stream: &mut TcpStream) -> bool {
    stream.read(&mut [0; 16]).is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
}

pub(crate) fn what_is_withdrawn_is_cut() -> Outcome {
    let mut stage = Stage::new()?;
    let task = stage.task(POD, &egress([name("data.example.org"), block("45.45.45.1/32")]))?;
    let by_name = task.address("data.example.org", Family::V4)?;
    let mut stays = greeted(task.connect(by_name, GREETS)?)?;
    stage.decided()?;
    let mut goes = greeted(task.connect(WORLD.parse()?, GREETS)?)?;
    let decided = stage.decided()?;

    stage.change(POD, &egress([name("data.example.org")]))?;
    assert!(is_cut(&mut goes));
    let ended = stage.ended()?;
    assert_eq!((ended.connection, ended.how, ended.received), (decided.connection, End::Withdrawn, 6));
    assert!(task.is_reset(WORLD.parse()?, ECHO), "a new one is judged by the new rules");
    stage.refused()?;
    // The other one goes on, and ends in order.
    stays.write_all(b"more")?;
    stays.shutdown(Shutdown::Write)?;
    assert_eq!(stays.read(&mut [0; 16])?, 0);
    let ended = stage.ended()?;
    assert_eq!((ended.how, ended.sent), (End::Closed, 4));

    // A name that may no longer be asked for is no longer reached by the address that stood for it.
    stage.change(POD, &egress([]))?;
    assert!(task.is_reset(by_name, ECHO));
    assert_eq!(stage.refused()?, "NoRule");
    Ok(())
}

pub(crate) fn what_a_pod_had_ends_with_it() -> Outcome {
    let mut stage = Stage::new()?;
    let task = stage.task(POD, &egress([block("45.45.45.0/24")]))?;
    let mut stream = greeted(task.connect(WORLD.parse()?, GREETS)?)?;
    stage.decided()?;
    stage.remove(POD)?;
    assert!(is_cut(&mut stream));
    assert_eq!(stage.ended()?.how, End::PodEnded);
    // The sockets were the gate's alone.
    assert!(task.connect(WORLD.parse()?, GREETS).is_err());
    Ok(())
}

pub(crate) fn an_end_is_passed_on() -> Outcome {
    let mut stage = Stage::new()?;
    let task = stage.task(POD, &egress([block("45.45.45.0/24")]))?;
    // A task that breaks off is heard as one.
    let stream = greeted(task.connect(WORLD.parse()?, GREETS)?)?;
    rustix::net::sockopt::set_socket_linger(&stream, Some(std::time::Duration::ZERO))?;
    drop(stream);
    stage.decided()?;
    assert_eq!(stage.ended()?.how, End::ByPod);
    // One that breaks off after its own end, too, though the other side says no more.
    let mut stream = task.connect(WORLD.parse()?, STAYS)?;
    stream.shutdown(Shutdown::Write)?;
    let mut heard = [0; 3];
    stream.read_exact(&mut heard)?;
    rustix::net::sockopt::set_socket_linger(&stream, Some(std::time::Duration::ZERO))?;
    drop(stream);
    stage.decided()?;
    let ended = stage.ended()?;
    assert_eq!((&heard, ended.how, ended.received), (b"end", End::ByPod, 3));
    // A world that breaks off, too: its servers are gone with its addresses.
    let mut stream = greeted(task.connect(WORLD.parse()?, GREETS)?)?;
    stage.decided()?;
    stage.world.sh("ss -K state established sport = :8000 >/dev/null")?;
    assert!(is_cut(&mut stream));
    assert_eq!(stage.ended()?.how, End::ByPeer);
    Ok(())
}
