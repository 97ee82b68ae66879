//! The world: servers and a resolver at addresses that are real only within the test.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};

use watchbell_gate::dns::{Asked, Family, Query, Reply, read_query};

use crate::network::{Network, sh};

pub(crate) const WORLD: &str = "45.45.45.1";
pub(crate) const WORLD_6: &str = "2a0a:45::1";
pub(crate) const PRIVATE: &str = "10.45.0.1";
/// Here nothing listens, and connections are refused.
pub(crate) const CLOSED: &str = "45.45.45.3";
pub(crate) const METADATA: &str = "169.254.169.254";
/// The machine's own.
pub(crate) const OWN: &str = "45.45.45.2";
pub(crate) const OWN_6: &str = "2a0a:45::2";

/// Says back what it heard, once all was said: `PORT COUNT`.
pub(crate) const ECHO: u16 = 443;
/// Greets, and waits for the end.
pub(crate) const GREETS: u16 = 8000;
/// HTTP.
pub(crate) const WEB: u16 = 80;
/// Sends back every byte at once.
pub(crate) const MIRROR: u16 = 7;
/// Nobody is here but who takes it for a test.
pub(crate) const BARE: u16 = 9001;
/// Says `end` once all was said, and stays.
pub(crate) const STAYS: u16 = 9000;

/// Makes the host's side in this process's network, and the world beside it.
pub(crate) fn make() -> Result<Network, Box<dyn std::error::Error>> {
    let world = Network::new()?;
    sh(&format!(
        "ip link set lo up
        ip link add host0 type veth peer name world0 netns {}
        ip addr add {OWN}/24 dev host0
        ip addr add 10.45.0.2/24 dev host0
        ip addr add {OWN_6}/64 dev host0 nodad
        ip link set host0 up",
        world.pid()
    ))?;
    world.sh(&format!(
        "ip addr add {WORLD}/24 dev world0
        ip addr add {CLOSED}/24 dev world0
        ip addr add {PRIVATE}/24 dev world0
        ip addr add {METADATA}/32 dev world0
        ip addr add {WORLD_6}/64 dev world0 nodad
        ip link set world0 up"
    ))?;
    sh(&format!("ip route add default via {WORLD}"))?;
    world.within(|| serve_at(&[WORLD, PRIVATE, METADATA, WORLD_6]))?;
    let resolver = world.within(|| UdpSocket::bind((WORLD, 53)))?;
    let second = world.within(|| UdpSocket::bind((PRIVATE, 53)))?;
    std::thread::spawn(move || resolve(&resolver, Honesty::Tricks));
    std::thread::spawn(move || resolve(&second, Honesty::Plain));
    // What a task must not reach is there to be reached.
    serve_at(&[OWN, "127.0.0.1", OWN_6, "::1"])?;
    Ok(world)
}

/// The servers, at each of the addresses of the network that this thread is in.
fn serve_at(addresses: &[&str]) -> std::io::Result<()> {
    for address in addresses {
        let address: IpAddr = address.parse().map_err(std::io::Error::other)?;
        for (port, serve) in [
            (ECHO, echo as fn(TcpStream) -> std::io::Result<()>),
            (GREETS, greet),
            (WEB, web),
            (MIRROR, mirror),
            (STAYS, stay),
        ] {
            let listener = TcpListener::bind((address, port))?;
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    std::thread::spawn(move || serve(stream));
                }
            });
        }
    }
    Ok(())
}

fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    let said = std::io::copy(&mut stream, &mut std::io::sink())?;
    let local = stream.local_addr()?;
    write!(stream, "{} {said}", local.ip())
}

fn greet(mut stream: TcpStream) -> std::io::Result<()> {
    stream.write_all(b"hello\n")?;
    stream.read_to_end(&mut Vec::new()).map(drop)
}

fn stay(mut stream: TcpStream) -> std::io::Result<()> {
    std::io::copy(&mut stream, &mut std::io::sink())?;
    stream.write_all(b"end")?;
    loop {
        std::thread::park();
    }
}

fn web(mut stream: TcpStream) -> std::io::Result<()> {
    let mut said = [0; 4096];
    let read = stream.read(&mut said)?;
    let host = String::from_utf8_lossy(&said[..read]).into_owned();
    let host = host.lines().find_map(|line| line.strip_prefix("Host: ")).unwrap_or_default().to_owned();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\nfor {host}\n",
        host.len() + 5
    )
}

fn mirror(mut stream: TcpStream) -> std::io::Result<()> {
    let mut piece = vec![0; 32 << 10];
    loop {
        match stream.read(&mut piece)? {
            0 => return Ok(()),
            read => stream.write_all(&piece[..read])?,
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Honesty {
    Plain,
    /// Says nothing, that it does not know, or what another would say, for names that ask for it.
    Tricks,
}

fn resolve(socket: &UdpSocket, honesty: Honesty) {
    let mut buffer = [0; 1500];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        let Asked::Query(query) = read_query(&buffer[..length]) else { continue };
        let name = query.name.clone().unwrap_or_default();
        let mut answer = answer(&query, &name);
        if honesty == Honesty::Tricks {
            match name.as_str() {
                "silent.example.org" => continue,
                "unknown.example.org" => answer = query.reply(Reply::Failed),
                "lied.example.org" => {
                    // As one would who guesses: another number, another place.
                    let mut lie = query.reply(Reply::Address(PRIVATE.parse().unwrap()));
                    lie[0] ^= 1;
                    let _ = socket.send_to(&lie, from);
                }
                _ => {}
            }
        }
        let _ = socket.send_to(&answer, from);
    }
}

fn answer(query: &Query, name: &str) -> Vec<u8> {
    let address: [&str; 2] = match name {
        "data.example.org"
        | "lied.example.org"
        | "silent.example.org"
        | "unknown.example.org"
        | "other.example.com" => [WORLD, WORLD_6],
        "four.example.org" => [WORLD, ""],
        "inside.example.org" => [PRIVATE, ""],
        "meta.example.org" => [METADATA, ""],
        "own.example.org" => [OWN, OWN_6],
        "loop.example.org" => ["127.0.0.1", "::1"],
        "closed.example.org" => [CLOSED, ""],
        // Only one of them is there.
        "half.example.org" => [CLOSED, WORLD_6],
        "two.example.org" => [CLOSED, WORLD],
        _ => return query.reply(Reply::NoSuchName),
    };
    match (query.family, name) {
        (Some(Family::V4), "two.example.org") => {
            let mut message = query.reply(Reply::Address(address[0].parse().unwrap()));
            // One more record like the last one.
            let mut record = message[message.len() - 16..].to_vec();
            let second: std::net::Ipv4Addr = address[1].parse().unwrap();
            record[12..].copy_from_slice(&second.octets());
            message[7] = 2;
            message.extend(record);
            message
        }
        (Some(Family::V4), _) => query.reply(Reply::Address(address[0].parse().unwrap())),
        (Some(Family::V6), _) => address[1].parse().map_or_else(
            |_| query.reply(Reply::Empty),
            |address| query.reply(Reply::Address(IpAddr::V6(address))),
        ),
        (None, _) => query.reply(Reply::Empty),
    }
}
