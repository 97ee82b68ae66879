use std::fs;

use watchbell_sandbox::gate::{DEFAULT_UID, Order};

use crate::Outcome;
use crate::stage::{POD, Stage, block, egress};
use crate::world::{ECHO, WORLD};

pub(crate) fn the_gate_has_no_privileges() -> Outcome {
    let mut stage = Stage::new()?;
    let task = stage.task(POD, &egress([block("45.45.45.0/24")]))?;
    // It serves, so it has given up what it does not need.
    assert_eq!(task.ask(WORLD.parse()?, ECHO, b"")?, format!("{WORLD} 0"));
    let pid = stage.gate.id();
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let uid = DEFAULT_UID.to_string();
    assert_eq!(field("Uid:"), vec![uid.clone(); 4]);
    assert_eq!(field("Gid:"), vec![uid; 4]);
    assert!(field("Groups:").is_empty());
    for sets in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(sets), ["0000000000000000"], "{sets}");
    }
    assert_eq!((field("NoNewPrivs:"), field("Seccomp:")), (vec!["1".into()], vec!["2".into()]));
    // Once an end is told, its sockets are closed: none goes while they are listed.
    stage.decided()?;
    stage.ended()?;
    assert_eq!(fs::read_dir(format!("/proc/{pid}/root/"))?.count(), 0, "no file");
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
    assert_eq!(mounts.lines().count(), 1, "{mounts}");
    for fd in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let fd = fd?;
        let number: u32 = fd.file_name().to_string_lossy().parse()?;
        let target = fs::read_link(fd.path())?;
        let target = target.to_string_lossy();
        let is_known = number < 3 || target.starts_with("socket:") || target == "anon_inode:[eventpoll]";
        assert!(is_known, "{number}: {target}");
    }
    Ok(())
}

pub(crate) fn the_gate_ends_with_the_spawner() -> Outcome {
    let mut stage = Stage::new()?;
    let task = stage.task(POD, &egress([block("45.45.45.0/24")]))?;
    assert_eq!(task.ask(WORLD.parse()?, ECHO, b"")?, format!("{WORLD} 0"));
    stage.leave_gate();
    assert!(stage.gate.wait()?.success());
    assert!(task.connect(WORLD.parse()?, ECHO).is_err());
    Ok(())
}

pub(crate) fn orders_that_cannot_be_read_open_nothing() -> Outcome {
    let mut stage = Stage::new()?;
    let task = stage.task_with("lab", POD, vec![0xff; 100])?;
    assert!(task.is_reset(WORLD.parse()?, ECHO));
    assert_eq!(stage.refused()?, "NoRule");
    // Of a pod that has no door nothing can be changed.
    stage.change(99, &egress([]))?;
    stage.remove(99)?;
    // A change that cannot be read takes away what was there.
    let other = stage.task(8, &egress([block("45.45.45.0/24")]))?;
    assert_eq!(other.ask(WORLD.parse()?, ECHO, b"")?, format!("{WORLD} 0"));
    stage.decided()?;
    stage.ended()?;
    stage.order(&Order::Change { pod: 8, egress: vec![0xff] }, Vec::new())?;
    assert!(other.is_reset(WORLD.parse()?, ECHO));
    assert_eq!(stage.refused()?, "NoRule");
    // And doors without sockets are none.
    let none = Order::Add { pod: 8, namespace: "lab".to_owned(), egress: Vec::new(), sockets: Vec::new() };
    stage.order(&none, Vec::new())?;
    assert!(other.is_reset(WORLD.parse()?, ECHO));
    Ok(())
}
