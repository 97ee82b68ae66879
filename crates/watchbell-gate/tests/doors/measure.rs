//! What a way through the gate costs, beside the same connections from the host itself.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::time::Instant;

use watchbell_gate::dns::Family;

use crate::Outcome;
use crate::stage::{POD, Stage, egress, name};
use crate::world::{ECHO, WORLD};

const ROUNDS: usize = 5;
const BYTES: usize = 512 << 20;
const CONNECTIONS: usize = 500;

pub(crate) fn measure() -> Outcome {
    let mut stage = Stage::new()?;
    let task = stage.task(POD, &egress([name("*.example.org")]))?;
    let by_name = task.address("data.example.org", Family::V4)?;
    let direct: IpAddr = WORLD.parse()?;
    for round in 1..=ROUNDS {
        let [mut rates, mut seconds] = [[0.0; 2]; 2];
        for (way, to) in [direct, by_name].into_iter().enumerate() {
            let connect = || -> std::io::Result<TcpStream> {
                if way == 0 { TcpStream::connect((to, ECHO)) } else { task.connect(to, ECHO) }
            };
            let began = Instant::now();
            send(connect()?, BYTES)?;
            rates[way] = BYTES as f64 / 1e6 / began.elapsed().as_secs_f64();
            let network = |work: &mut (dyn FnMut() + Send)| {
                if way == 0 { work() } else { task.network.within(work) }
            };
            let began = Instant::now();
            network(&mut || {
                for _ in 0..CONNECTIONS {
                    TcpStream::connect((to, ECHO)).and_then(|stream| send(stream, 1)).unwrap();
                }
            });
            seconds[way] = began.elapsed().as_secs_f64();
        }
        let [direct, through] = rates;
        println!(
            "round {round}: {direct:.0} MB/s direct, {through:.0} through the gate ({:.2})",
            through / direct
        );
        let [direct, through] = seconds.map(|seconds| seconds * 1e6 / CONNECTIONS as f64);
        println!("         {direct:.0} us a connection direct, {through:.0} through the gate");
    }
    Ok(())
}

/// Says so much, and hears that it was heard.
fn send(mut stream: TcpStream, bytes: usize) -> std::io::Result<()> {
    let piece = vec![7; bytes.min(256 << 10)];
    for _ in 0..bytes / piece.len() {
        stream.write_all(&piece)?;
    }
    stream.shutdown(Shutdown::Write)?;
    stream.read_to_end(&mut Vec::new()).map(drop)
}
