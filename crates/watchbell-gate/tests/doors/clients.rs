use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::process::Command;

use watchbell_gate::dns::Family;
use watchbell_sandbox::gate::{DoorSocket, Order};

use crate::Outcome;
use crate::network::Network;
use crate::stage::{POD, Stage, anything, egress, name, on};
use crate::world::{ECHO, MIRROR, WEB, WORLD};

/// Programs that ask the resolver of their C library.
const PROGRAMS: [(&str, &str); 3] = [
    ("curl", "curl -sS --max-time 60 http://data.example.org/"),
    (
        "python3",
        "python3 -c 'import urllib.request as r; print(r.urlopen(\"http://data.example.org/\").read().decode(), end=\"\")'",
    ),
    (
        "getent",
        "getent ahosts data.example.org | grep -o '^[0-9.]*' | head -n 1 | sed 's/^198.18.1.0$/for data.example.org/'",
    ),
];

pub(crate) fn ordinary_programs_reach_what_they_may() -> Outcome {
    let mut stage = Stage::new()?;
    let task = stage.task(POD, &egress([on(WEB, name("data.example.org"))]))?;
    let path = std::env::temp_dir().join(format!("watchbell-doors-{}.conf", std::process::id()));
    fs::write(&path, "nameserver 198.18.0.1\n")?;
    let seen = |script: &str| {
        // In a mount namespace of its own.
        let script = format!("mount --bind {} /etc/resolv.conf && {{ {script}; }}", path.display());
        task.network.within(|| Command::new("unshare").args(["--mount", "sh", "-c", &script]).output())
    };
    let mut tried = 0;
    for (program, script) in PROGRAMS {
        if Command::new("sh").args(["-c", &format!("command -v {program}")]).output()?.status.success() {
            let output = seen(script)?;
            let said = String::from_utf8_lossy(&output.stdout);
            assert_eq!(
                said,
                "for data.example.org\n",
                "{program}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            tried += 1;
        }
    }
    let output = seen("getent hosts other.example.com")?;
    fs::remove_file(&path)?;
    assert_eq!(output.status.code(), Some(2), "it is told that there is no such name");
    assert!(tried > 0, "no program is installed");
    Ok(())
}

pub(crate) fn a_redirected_connection_goes_where_it_was_to_go() -> Outcome {
    let mut stage = Stage::new()?;
    let network = Network::new()?;
    let redirects = network.sh("ip route add local default dev lo
        iptables -t nat -A OUTPUT -p tcp -j REDIRECT --to-ports 9999");
    if let Err(why) = redirects {
        eprintln!("SKIPPED: nothing redirects here: {why}");
        return Ok(());
    }
    let listener = network.within(|| TcpListener::bind("0.0.0.0:9999"))?;
    let rules = egress([on(ECHO, anything())]).to_wire();
    stage.order(
        &Order::Add { pod: POD, namespace: "lab".to_owned(), egress: rules, sockets: vec![DoorSocket::Tcp] },
        vec![listener.into()],
    )?;
    let task = crate::stage::Task { network };
    assert_eq!(task.ask(WORLD.parse()?, ECHO, b"1")?, format!("{WORLD} 1"));
    let target = stage.decided()?.target;
    assert_eq!((target.address, target.port), (Some(WORLD.parse()?), Some(ECHO)));
    stage.ended()?;
    assert!(task.is_reset(WORLD.parse()?, WEB));
    assert_eq!(stage.refused()?, "Port");
    Ok(())
}

pub(crate) fn much_goes_through_both_ways() -> Outcome {
    const BYTES: usize = 48 << 20;
    let mut stage = Stage::new()?;
    let task = stage.task(POD, &egress([name("*.example.org")]))?;
    let mut stream = task.connect(task.address("data.example.org", Family::V4)?, MIRROR)?;
    let byte = |at: usize| (at * 31 + at / 251) as u8;
    let mut writes = stream.try_clone()?;
    let writer = std::thread::spawn(move || -> std::io::Result<()> {
        for start in (0..BYTES).step_by(1 << 20) {
            let piece: Vec<u8> = (start..start + (1 << 20)).map(byte).collect();
            writes.write_all(&piece)?;
        }
        writes.shutdown(Shutdown::Write)
    });
    let (mut at, mut buffer) = (0, vec![0; 100_000]);
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        assert!(buffer[..read].iter().enumerate().all(|(i, found)| *found == byte(at + i)), "near {at}");
        at += read;
    }
    writer.join().map_err(|_| "the writer failed")??;
    assert_eq!(at, BYTES);
    stage.decided()?;
    let ended = stage.ended()?;
    assert_eq!((ended.sent, ended.received), (BYTES as u64, BYTES as u64));
    Ok(())
}
