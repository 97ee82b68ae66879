//! Terminals, and clients of a container's own process.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use rustix::termios::{Winsize, tcsetwinsize};
use watchbell_sandbox::{ExitStatus, Interaction, RunSpec, Stdin};

use crate::Outcome;
use crate::place::{Failure, Place, script};
use crate::probe::{build_probe, probe};
use crate::sessions::{ALL, TTY, argv, end, lines, read_all, start};

fn resize(terminal: Option<&OwnedFd>, rows: u16, columns: u16) -> Outcome {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(tcsetwinsize(terminal.ok_or("no terminal")?, size)?)
}

/// Talks to `probe terminal`, wherever it runs.
pub(crate) fn talk(
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    terminal: Option<&OwnedFd>,
    from: usize,
) -> Result<(), Failure> {
    let mut next = lines(stdout)?;
    let expect = ["terminals 111, leads 1, foreground 1", "mine 1, again 1, of devpts 1"];
    for line in &expect[from..] {
        assert_eq!(next()?, *line);
    }
    resize(terminal, 40, 132)?;
    assert_eq!(next()?, "size 40 132");
    // It echoes, edits (a backspace takes the last character) and gives whole lines.
    File::from(stdin.ok_or("no stdin")?).write_all(b"helloo\x7f\n")?;
    assert_eq!(next()?, "helloo\u{8} \u{8}");
    assert_eq!(next()?, "got hello");
    Ok(())
}

pub(crate) fn a_process_has_a_terminal() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    let spec = probe(&place, 1, &["pause"]);
    start(&server, &spec)?;
    let mut session = server.spawner.exec(spec.id, argv(&["/bin/probe", "terminal"]), TTY)?;
    assert!(session.stderr.is_none());
    talk(session.stdin.take(), session.stdout.take(), session.terminal.as_ref(), 0)?;
    assert_eq!(session.link.wait()?, ExitStatus::Code(5));
    drop(session);
    // Control-C is a signal to who is in the foreground.
    let mut session = server.spawner.exec(spec.id, argv(&["/bin/probe", "pause"]), TTY)?;
    assert_eq!(lines(session.stdout.take())?()?, "here");
    File::from(session.stdin.take().ok_or("no stdin")?).write_all(b"\x03")?;
    assert_eq!(session.link.wait()?, ExitStatus::Signal(2));
    // Nobody's terminal is left behind.
    drop(session);
    let (_, found, _) = crate::sessions::exec(&server, spec.id, &["/bin/probe", "ls", "/dev/pts"])?;
    assert_eq!(found.lines().filter(|name| name.parse::<u32>().is_ok()).count(), 0, "{found}");
    end(&server, &spec)
}

pub(crate) fn interactive(spec: RunSpec, stdin: Stdin, tty: bool) -> RunSpec {
    RunSpec { interaction: Interaction { stdin, tty }, ..spec }
}

pub(crate) fn a_client_watches_and_types() -> Outcome {
    let place = Place::new()?;
    let server = place.connect()?;
    let text = "echo first; while read x; do echo got $x; echo err $x >&2; done; exit 6";
    let spec = interactive(script(&place, 1, text), Stdin::Open, false);
    start(&server, &spec)?;
    place.wait_for_log("1.log")?;
    let mut one = server.spawner.attach(spec.id, ALL)?;
    let mut two = server.spawner.attach(spec.id, ALL)?;
    assert!(one.terminal.is_none());
    let (mut out, mut err) = (lines(one.stdout.take())?, lines(one.stderr.take())?);
    let mut stdin = File::from(one.stdin.take().ok_or("no stdin")?);
    stdin.write_all(b"a\n")?;
    // From now on only: `first` was printed before.
    assert_eq!((out()?, err()?), ("got a".to_owned(), "err a".to_owned()));
    drop((stdin, out, err, one));
    // The input stays open for others.
    let (mut out, mut err) = (lines(two.stdout.take())?, lines(two.stderr.take())?);
    assert_eq!((out()?, err()?), ("got a".to_owned(), "err a".to_owned()));
    let mut stdin = File::from(two.stdin.take().ok_or("no stdin")?);
    stdin.write_all(b"b\n")?;
    assert_eq!((out()?, err()?), ("got b".to_owned(), "err b".to_owned()));
    end(&server, &spec)?;
    assert_eq!((out()?, err()?), (String::new(), String::new()), "its end");
    assert_eq!(two.link.wait()?, ExitStatus::Signal(9));
    let mut log = place.lines("1.log")?;
    log.sort_unstable();
    assert_eq!(
        log,
        ["stderr F err a", "stderr F err b", "stdout F first", "stdout F got a", "stdout F got b"]
    );
    // A container without input has none to give; its output is shown all the same.
    let spec = script(&place, 2, "cat; sleep 1000");
    start(&server, &spec)?;
    let session = server.spawner.attach(spec.id, ALL)?;
    assert!(session.stdin.is_none() && session.stdout.is_some() && session.stderr.is_some());
    end(&server, &spec)?;
    assert_eq!(session.link.wait()?, ExitStatus::Signal(9));
    Ok(())
}

pub(crate) fn a_slow_client_loses_bytes_and_the_log_none() -> Outcome {
    let place = Place::new()?;
    let server = place.connect()?;
    // 4 MiB in lines of 64 bytes, once somebody says so, and a last word later.
    let text = "read x; i=0; while [ $i -lt 64 ]; do head -c 65536 /dev/zero; echo; i=$((i+1)); done; \
                echo end >&2; read x; echo last";
    let mut spec = interactive(script(&place, 1, text), Stdin::Open, false);
    spec.log.max_bytes = 64 << 20;
    start(&server, &spec)?;
    let mut session = server.spawner.attach(spec.id, ALL)?;
    let mut err = lines(session.stderr.take())?;
    let mut stdin = File::from(session.stdin.take().ok_or("no stdin")?);
    stdin.write_all(b"go\n")?;
    // It has printed all, though nobody reads its output here.
    assert_eq!(err()?, "end");
    let mut stdout = File::from(session.stdout.take().ok_or("no stdout")?);
    let mut seen = vec![0u8; 1 << 16];
    stdout.read_exact(&mut seen)?;
    stdin.write_all(b"go\n")?;
    assert_eq!(session.link.wait()?, ExitStatus::Code(0));
    stdout.read_to_end(&mut seen)?;
    let record = server.exit(spec.id)?;
    let total = 64 * (65536 + 1) + 4 + 5;
    assert_eq!((record.log.bytes, record.log.dropped_bytes), (total, 0));
    let text = String::from_utf8_lossy(&seen);
    let notes: Vec<&str> = text.lines().filter(|line| line.ends_with("the log has them]")).collect();
    assert!(!notes.is_empty(), "{} bytes of {total}, and no word", seen.len());
    let left_out: u64 =
        notes.iter().filter_map(|note| note.split(['[', ' ']).nth(1)?.parse::<u64>().ok()).sum();
    let noted: u64 = notes.iter().map(|note| note.len() as u64 + 4).sum();
    assert_eq!(left_out + seen.len() as u64 - noted, total - 4, "all bytes are accounted for");
    Ok(())
}

pub(crate) fn input_ends_with_the_first_client() -> Outcome {
    let place = Place::new()?;
    let server = place.connect()?;
    let spec = interactive(script(&place, 1, "cat; echo done; read x; exit 7"), Stdin::Once, false);
    start(&server, &spec)?;
    let mut session = server.spawner.attach(spec.id, ALL)?;
    let other = server.spawner.attach(spec.id, ALL)?;
    assert!(other.stdin.is_none(), "it is taken");
    let mut stdin = File::from(session.stdin.take().ok_or("no stdin")?);
    stdin.write_all(b"text\n")?;
    drop(stdin);
    assert_eq!(read_all(session.stdout.take())?, "text\ndone\n");
    assert_eq!(session.link.wait()?, ExitStatus::Code(7));
    assert_eq!(server.exit(spec.id)?.status, ExitStatus::Code(7));
    Ok(())
}

pub(crate) fn a_container_has_a_terminal() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    let spec = interactive(probe(&place, 1, &["terminal"]), Stdin::Once, true);
    start(&server, &spec)?;
    // Both that it prints before it is told a size.
    place.wait_for_lines("1.log", 2)?;
    let mut session = server.spawner.attach(spec.id, TTY)?;
    talk(session.stdin.take(), session.stdout.take(), session.terminal.as_ref(), 2)?;
    assert_eq!(session.link.wait()?, ExitStatus::Code(5));
    assert_eq!(server.exit(spec.id)?.status, ExitStatus::Code(5));
    // The log has it as the terminal had it.
    let log = place.lines("1.log")?;
    let expect = ["terminals 111, leads 1, foreground 1", "mine 1, again 1, of devpts 1", "size 40 132"];
    assert_eq!(log[..3], expect.map(|line| format!("stdout F {line}")));
    assert_eq!(log.last().map(String::as_str), Some("stdout F got hello"));
    assert!(std::fs::read_to_string(place.log("1.log"))?.ends_with("got hello\r\n"));
    // What it prints is shown to nobody who does not ask, and the next one runs as well.
    let spec = interactive(script(&place, 2, "echo $((6*7)); exit 1"), Stdin::None, true);
    server.spawner.start(&spec)?;
    assert_eq!(server.exit(spec.id)?.status, ExitStatus::Code(1));
    assert_eq!(place.lines("2.log")?, ["stdout F 42"]);
    Ok(())
}
