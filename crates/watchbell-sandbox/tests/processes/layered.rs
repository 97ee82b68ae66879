//! Directories of the node's that containers see as their own: what they write is apart, and given to the server.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, statat};
use rustix::io::Errno;
use rustix::mount::{FsPickFlags, fsconfig_reconfigure, fsconfig_set_flag, fspick};
use watchbell_sandbox::{
    ContainerId, Error, Layered, LayeredMemory, MEMORY_VIEW, Memory, Mount, PodEnvironment, PodVolume,
    RunSpec, Scratch, Sharing, Upper, VolumeSource,
};

use crate::Outcome;
use crate::failures::SmallDisk;
use crate::place::{Failure, PATIENCE, Place, Server, kernel, pod};
use crate::probe::{build_probe, printed, probe, with_volume};
use crate::runtimes;

const BOUND: Scratch = Scratch { bytes: 1 << 20, inodes: 64 };
/// Who tasks are.
const NOBODY: u32 = 65_534;

/// As a view of an array: root's, directories for all, files for their owner.
fn lower(place: &Place) -> Result<PathBuf, Failure> {
    let dir = place.path().join("view");
    fs::create_dir_all(dir.join("a"))?;
    for dir in [dir.clone(), dir.join("a")] {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o777))?;
    }
    for n in 0..3 {
        let file = dir.join(format!("a/{n}"));
        fs::write(&file, format!("chunk {n}"))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
    }
    Ok(dir)
}

fn contents(dir: &Path) -> Result<Vec<String>, Failure> {
    (0..3).map(|n| Ok(fs::read_to_string(dir.join(format!("a/{n}")))?)).collect()
}

fn source(lower: &Path, upper: Option<Upper>) -> VolumeSource {
    VolumeSource::Layered(Layered { lower: lower.to_path_buf(), uid: NOBODY, gid: NOBODY, upper })
}

fn disk(place: &Place, name: &str) -> Result<Upper, Failure> {
    let path = place.path().join("volumes").join(name);
    fs::create_dir_all(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
    Ok(Upper::Disk { path })
}

/// Runs it to its end and leaves the pod as it is.
fn ran(place: &Place, server: &Server, spec: &RunSpec) -> Result<Vec<String>, Failure> {
    server.spawner.start(spec)?;
    server.exit(spec.id)?;
    let name = spec.log.path.to_str().ok_or("no name")?;
    let lines = place.lines(name).unwrap_or_default();
    Ok(lines.iter().filter_map(|line| line.splitn(3, ' ').nth(2)).map(str::to_owned).collect())
}

/// What lies in a directory: path, kind, owner.
fn listed(dir: &OwnedFd) -> Result<BTreeMap<String, (FileType, u32)>, Failure> {
    let (mut found, mut pending) = (BTreeMap::new(), vec![String::new()]);
    while let Some(at) = pending.pop() {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = openat(dir, if at.is_empty() { "." } else { &at }, flags, Mode::empty())?;
        for entry in Dir::read_from(&opened)? {
            let entry = entry?;
            let name = entry.file_name().to_str()?;
            if matches!(name, "." | "..") {
                continue;
            }
            let stat = statat(&opened, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let kind = FileType::from_raw_mode(stat.st_mode);
            let path = if at.is_empty() { name.to_owned() } else { format!("{at}/{name}") };
            if kind == FileType::Directory {
                pending.push(path.clone());
            }
            found.insert(path, (kind, stat.st_uid));
        }
    }
    Ok(found)
}

fn read(dir: impl AsFd, path: &str) -> Result<String, Failure> {
    let file = openat(dir, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(std::io::read_to_string(fs::File::from(file))?)
}

pub(crate) fn what_is_written_lies_apart_and_is_given_away() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    let lower = lower(&place)?;
    let mut uppers = vec![(1, Upper::Memory(BOUND)), (2, disk(&place, "two")?)];
    if has_images(&server) {
        uppers.push((5, image(&place, "three", BOUND.bytes)?));
    }
    for (uid, upper) in uppers {
        let (on_disk, in_memory) = (matches!(upper, Upper::Disk { .. }), matches!(upper, Upper::Memory(_)));
        let volume = source(&lower, Some(upper));
        let look = with_volume(probe(&place, uid, &["stat", "/data/a/0"]), "/data", volume, None);
        let owner = format!("100644 {NOBODY} {NOBODY} 7");
        assert_eq!(ran(&place, &server, &look)?, [owner], "all of it is the task's own");
        let mut write = probe(&place, uid, &["write", "/data/a/0", "mine"]);
        (write.id, write.pod, write.mounts) =
            (ContainerId { attempt: 1, ..look.id }, Arc::clone(&look.pod), look.mounts.clone());
        write.log.path = format!("{uid}-1.log").into();
        // What is opened for writing is a copy from then on.
        assert_eq!(ran(&place, &server, &write)?, ["open allowed", "write allowed"]);
        let new = RunSpec {
            id: ContainerId { attempt: 2, ..look.id },
            argv: ["/bin/probe", "write", "/data/a/new", "mine"].map(str::to_owned).to_vec(),
            ..write.clone()
        };
        assert_eq!(ran(&place, &server, &new)?.last().map(String::as_str), Some("write allowed"));
        let given = server.spawner.upper(uid, 1)?;
        let found = listed(&given)?;
        assert_eq!(found.keys().collect::<Vec<_>>(), ["a", "a/0", "a/new"]);
        for path in ["a/0", "a/new"] {
            assert_eq!(found[path].0, FileType::RegularFile);
            assert_eq!(read(&given, path)?, "mine", "{path}");
        }
        assert!(!in_memory || !is_never_swapped(&given)?);
        if on_disk {
            // No id of a range is on a disk.
            let meta = fs::metadata(place.path().join("volumes/two/upper/a/new"))?;
            assert_eq!((meta.uid(), meta.gid()), (NOBODY, NOBODY));
        }
        // Again, as after a restart of the server.
        assert_eq!(listed(&server.spawner.upper(uid, 1)?)?, found);
        server.spawner.release_pod(uid)?;
        let gone = server.spawner.upper(uid, 1).map(drop);
        assert!(matches!(&gone, Err(Error::Upper { reason }) if reason.contains("does not have the pod")));
    }
    // Without an upper it is for reading alone, also for who owns it.
    let write = probe(&place, 3, &["write", "/data/a/0", "mine"]);
    let write = with_volume(write, "/data", source(&lower, None), None);
    assert_eq!(ran(&place, &server, &write)?, ["open EROFS"]);
    assert_eq!(contents(&lower)?, ["chunk 0", "chunk 1", "chunk 2"]);
    assert!(!lower.join("a/new").exists());
    Ok(())
}

pub(crate) fn a_layered_volume_gives_no_rights() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    let lower = lower(&place)?;
    // Where the task's root is the files' owner, it has every right that the volume could give.
    let mut uppers = vec![(1, Upper::Memory(BOUND)), (2, disk(&place, "two")?)];
    if has_images(&server) {
        uppers.insert(1, (4, image(&place, "four", BOUND.bytes)?));
    }
    for (uid, upper) in uppers {
        let on_disk = matches!(upper, Upper::Disk { .. });
        let mut layered = source(&lower, Some(upper));
        if let VolumeSource::Layered(layered) = &mut layered {
            (layered.uid, layered.gid) = (0, 0);
        }
        let mut spec = with_volume(probe(&place, uid, &["layered", "/data"]), "/data", layered, None);
        (spec.uid, spec.gid) = (0, 0);
        spec.capabilities = watchbell_sandbox::Capabilities::ALL;
        let lines = ran(&place, &server, &spec)?;
        let outcomes = crate::probe::pairs(&lines);
        let allowed = ["change", "change-write", "replace", "remove", "make", "symlink", "fifo", "hard-link"];
        for what in allowed {
            assert_eq!(outcomes[what], "allowed", "{what}: {lines:?}");
        }
        let refused = [
            ("rename-directory", "EXDEV"),
            ("whiteout", "EACCES|EPERM"),
            ("device", "EACCES|EPERM"),
            ("leave-whiteout", "EINVAL"),
            ("opaque", "EPERM"),
            ("redirect", "EPERM"),
            ("execute", "EACCES"),
            ("map-program", "EPERM"),
            ("remount", "EPERM"),
        ];
        for (what, how) in refused {
            assert!(how.split('|').any(|how| how == outcomes[what]), "{what}: {lines:?}");
        }
        assert_ne!(outcomes["origin"], "allowed");
        assert_eq!(outcomes["many"], if on_disk { "allowed" } else { "ENOSPC" });
        let given = server.spawner.upper(uid, 1)?;
        let found = listed(&given)?;
        let kind = |path: &str| found.get(path).map(|(kind, _)| *kind);
        // The mark of what was removed is the kernel's own; none is forged.
        let marks: Vec<&String> = found
            .iter()
            .filter(|(_, (kind, _))| *kind == FileType::CharacterDevice)
            .map(|(path, _)| path)
            .collect();
        assert_eq!(marks, ["a/2"]);
        assert_eq!(kind("link"), Some(FileType::Symlink));
        assert_eq!(kind("fifo"), Some(FileType::Fifo));
        // It is there with its bit, and was no way to anything.
        assert_eq!(kind("program"), Some(FileType::RegularFile));
        assert_eq!(contents(&lower)?, ["chunk 0", "chunk 1", "chunk 2"]);
        server.spawner.release_pod(uid)?;
    }
    let mut look = probe(&place, 3, &["cat", "/proc/self/mountinfo"]);
    look = with_volume(look, "/data", source(&lower, Some(Upper::Memory(BOUND))), None);
    let lines = printed(&place, &server, &look)?;
    let mount = lines.iter().find(|line| line.split(' ').nth(4) == Some("/data")).ok_or("no mount")?;
    for option in ["nosuid", "nodev", "noexec", "redirect_dir=nofollow"] {
        assert!(mount.contains(option), "{mount}");
    }
    let host = place.path().to_string_lossy().into_owned();
    assert!(!mount.contains(&host), "a path of the host shows: {mount}");
    Ok(())
}

pub(crate) fn an_upper_is_bounded() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    let volume = source(&lower(&place)?, Some(Upper::Memory(BOUND)));
    let fill = with_volume(probe(&place, 1, &["fill", "/data/a/big"]), "/data", volume, None);
    let lines = ran(&place, &server, &fill)?;
    let (written, why) = lines[0].split_once(' ').ok_or("no figure")?;
    assert_eq!(why, "ENOSPC");
    let written: u64 = written.parse()?;
    assert!(written <= BOUND.bytes && written > BOUND.bytes / 2, "{written}");
    server.spawner.release_pod(1)?;
    // What it may be is stated, and lies where nobody else's things are.
    let outside = Upper::Disk { path: PathBuf::from("/var/tmp") };
    let spec = with_volume(
        probe(&place, 2, &["ls", "/data"]),
        "/data",
        source(&lower(&place)?, Some(outside)),
        None,
    );
    let Err(refused @ Error::AboveCeiling { .. }) = server.spawner.start(&spec) else {
        return Err("what lies elsewhere was asked for".into());
    };
    assert!(refused.to_string().contains("outside the data paths"), "{refused}");
    let without = Upper::Memory(Scratch { bytes: 0, inodes: 1 });
    let spec = with_volume(
        probe(&place, 3, &["ls", "/data"]),
        "/data",
        source(&lower(&place)?, Some(without)),
        None,
    );
    assert!(matches!(server.spawner.start(&spec), Err(Error::Spec(_))));
    let part = source(&lower(&place)?, Some(Upper::Memory(BOUND)));
    let spec = with_volume(probe(&place, 4, &["ls", "/data"]), "/data", part, Some("a"));
    assert!(matches!(server.spawner.start(&spec), Err(Error::Spec(_))));
    Ok(())
}

pub(crate) fn an_upper_outlives_its_server() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    let volume = source(&lower(&place)?, Some(Upper::Memory(BOUND)));
    let runs = with_volume(probe(&place, 1, &["pause"]), "/data", volume.clone(), None);
    server.spawner.start(&runs)?;
    server.started(runs.id)?;
    let early = server.spawner.upper(1, 1).map(drop);
    assert!(matches!(&early, Err(Error::Upper { reason }) if reason.contains("still runs")), "{early:?}");
    let done = with_volume(probe(&place, 2, &["write", "/data/a/new", "kept"]), "/data", volume, None);
    ran(&place, &server, &done)?;
    drop(server);
    let server = place.connect()?;
    assert_eq!(read(server.spawner.upper(2, 1)?, "a/new")?, "kept");
    server.spawner.kill_pod(1)?;
    server.exit(runs.id)?;
    assert_eq!(listed(&server.spawner.upper(1, 1)?)?, BTreeMap::new());
    for uid in [1, 2] {
        server.spawner.release_pod(uid)?;
    }
    Ok(())
}

pub(crate) fn what_is_read_only_cannot_be_changed() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    let lower = lower(&place)?;
    let with = |spec| with_volume(spec, "/data", source(&lower, None), None);
    assert_eq!(printed(&place, &server, &with(probe(&place, 1, &["cat", "/data/a/1"])))?, ["chunk 1"]);
    let write = with(probe(&place, 2, &["write", "/data/a/new", "x"]));
    assert_eq!(printed(&place, &server, &write)?, ["open EROFS"]);
    let mut owner = with(probe(&place, 3, &["write", "/data/a/1", "x"]));
    (owner.uid, owner.gid, owner.capabilities) = (0, 0, watchbell_sandbox::Capabilities::ALL);
    assert_eq!(printed(&place, &server, &owner)?, ["open EROFS"]);
    ran(&place, &server, &with(probe(&place, 4, &["exit", "0"])))?;
    let nothing = server.spawner.upper(4, 1).map(drop);
    assert!(matches!(&nothing, Err(Error::Upper { reason }) if reason.contains("nothing can be written")));
    server.spawner.release_pod(4)?;
    assert_eq!(contents(&lower)?, ["chunk 0", "chunk 1", "chunk 2"]);
    Ok(())
}

pub(crate) fn containers_share_an_upper() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    let volume = PodVolume { id: 1, source: source(&lower(&place)?, Some(Upper::Memory(BOUND))) };
    let shared = Arc::new(PodEnvironment { sharing: Sharing::Shared, volumes: vec![volume], ..pod(1) });
    let container = |ordinal: u16, args: &[&str]| {
        let mut spec = probe(&place, 1, args);
        spec.id.container = ordinal;
        spec.log.path = format!("1-{ordinal}.log").into();
        let mount = Mount { target: "/data".to_owned(), volume: 1, sub_path: None, read_only: false };
        RunSpec { pod: Arc::clone(&shared), mounts: vec![mount], ..spec }
    };
    let main = container(0, &["pause"]);
    server.spawner.start(&main)?;
    server.started(main.id)?;
    ran(&place, &server, &container(1, &["write", "/data/a/new", "of both"]))?;
    assert_eq!(ran(&place, &server, &container(2, &["cat", "/data/a/new"]))?, ["of both"]);
    assert!(server.spawner.upper(1, 1).is_err(), "one still runs");
    server.spawner.kill_pod(1)?;
    server.exit(main.id)?;
    assert_eq!(read(server.spawner.upper(1, 1)?, "a/new")?, "of both");
    Ok(server.spawner.release_pod(1)?)
}

pub(crate) fn a_runtime_has_a_layered_volume() -> Outcome {
    runtimes::each(|place, server, runtime, n| {
        let volume = source(&lower(place)?, Some(Upper::Memory(BOUND)));
        let spec =
            with_volume(probe(place, n, &["write", "/data/a/new", "by it"]), "/data", volume.clone(), None);
        let lines = ran(place, server, &runtimes::by(runtime, spec))?;
        assert_eq!(lines.last().map(String::as_str), Some("write allowed"), "{lines:?}");
        assert_eq!(read(server.spawner.upper(n, 1)?, "a/new")?, "by it");
        server.spawner.release_pod(n)?;
        let look = with_volume(probe(place, n + 1, &["cat", "/proc/self/mountinfo"]), "/data", volume, None);
        let lines = printed(place, server, &runtimes::by(runtime, look))?;
        let mount = lines.iter().find(|line| line.split(' ').nth(4) == Some("/data")).ok_or("no mount")?;
        for option in ["nosuid", "nodev", "noexec"] {
            assert!(mount.contains(option), "{mount}");
        }
        Ok(())
    })
}

/// Whether what lies in the tmpfs that a directory is directly below is never swapped. The mount is in no table, so its kernel is asked: to
/// say so of one that is mounted changes nothing where it was said before, and is refused where it was not.
fn is_never_swapped(upper: &OwnedFd) -> Result<bool, Failure> {
    let root = openat(upper, "..", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let picked = fspick(&root, "", FsPickFlags::FSPICK_EMPTY_PATH | FsPickFlags::FSPICK_CLOEXEC)?;
    match fsconfig_set_flag(&picked, "noswap").and_then(|()| fsconfig_reconfigure(&picked)) {
        Ok(()) => Ok(true),
        Err(Errno::INVAL) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Bytes of nothing else here.
const MEMORY_BYTES: u64 = 1228 << 10;

/// How often the memory is mounted, in the spawner and in the host.
fn mounted(place: &Place) -> Result<(usize, usize), Failure> {
    let of = |pid: String| -> Result<usize, Failure> {
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
        let found: Vec<&str> = mounts.lines().filter(|line| line.contains("size=1228k")).collect();
        assert!(found.iter().all(|line| line.contains("noswap")), "{found:?}");
        Ok(found.len())
    };
    let [spawner] = place.pids("spawner")?[..] else { return Err("no spawner".into()) };
    Ok((of(spawner.to_string())?, of("self".to_owned())?))
}

fn filled(memory: &Memory) -> Result<(), Failure> {
    let dir = memory.dir();
    let stat = rustix::fs::fstat(dir)?;
    assert_eq!((stat.st_uid, stat.st_mode & 0o7777), (0, 0o700));
    for name in [MEMORY_VIEW, "view/a"] {
        rustix::fs::mkdirat(dir, name, Mode::from(0o700))?;
        rustix::fs::chmodat(dir, name, Mode::from(0o777), AtFlags::empty())?;
    }
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    for (name, content) in [("view/a/0", "secret"), ("beside", "nobody's")] {
        rustix::io::write(openat(dir, name, flags, Mode::from(0o444))?, content.as_bytes())?;
    }
    Ok(())
}

pub(crate) fn memory_is_seen_by_tasks_and_goes_with_the_last() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    let memory = server.spawner.memory(MEMORY_BYTES, 16, MEMORY_BYTES)?;
    filled(&memory)?;
    assert_eq!(mounted(&place)?, (1, 0));
    let source = |id: u64, upper| {
        VolumeSource::LayeredMemory(LayeredMemory { memory: id, uid: NOBODY, gid: NOBODY, upper })
    };
    let above = |id: u64| source(id, Some(Upper::Memory(BOUND)));
    let with = |uid, args: &[&str], source| with_volume(probe(&place, uid, args), "/data", source, None);
    let look = with(1, &["stat", "/data/a/0"], above(memory.id()));
    if kernel() < (6, 3) {
        // Its tmpfs maps no owners: who would see it is refused, and told why.
        server.spawner.start(&look)?;
        let failure = server.failure(look.id)?.message;
        assert!(failure.contains("no idmapped mounts") && failure.contains("run Linux 6.3"), "{failure}");
        return Ok(());
    }
    assert_eq!(ran(&place, &server, &look)?, [format!("100444 {NOBODY} {NOBODY} 6")]);
    assert_eq!(ran(&place, &server, &with(2, &["ls", "/data"], above(memory.id())))?, [".", "..", "a"]);
    let write = with(3, &["write", "/data/a/new", "x"], above(memory.id()));
    assert_eq!(ran(&place, &server, &write)?.last().map(String::as_str), Some("write allowed"));
    let upper = server.spawner.upper(3, 1)?;
    assert_eq!(is_never_swapped(&upper)?, kernel() >= (6, 4));
    assert_eq!(read(upper, "a/new")?, "x");
    let change = with(4, &["write", "/data/a/new", "x"], source(memory.id(), None));
    assert_eq!(ran(&place, &server, &change)?, ["open EROFS"]);
    // On a disk nothing of it is written, and above nothing nobody starts.
    let refused = with(5, &["ls", "/data"], source(memory.id(), Some(disk(&place, "five")?)));
    assert!(matches!(server.spawner.start(&refused), Err(Error::Spec(_))));
    let none = with(6, &["ls", "/data"], above(memory.id() + 1));
    server.spawner.start(&none)?;
    let failure = server.failure(none.id)?.message;
    assert!(failure.contains("the memory that it lies in is gone"), "{failure}");
    // The server is gone with its memory; who runs keeps it, and who was to start above it does.
    let runs = with(7, &["pause"], above(memory.id()));
    server.spawner.start(&runs)?;
    server.started(runs.id)?;
    for uid in 1..7 {
        server.spawner.release_pod(uid)?;
    }
    drop((memory, server));
    let server = place.connect()?;
    assert!(mounted(&place)?.0 > 0);
    // It counts as long as somebody has it, whoever asked for it.
    let beside = server.spawner.memory(4096, 1, MEMORY_BYTES + 4095).map(drop);
    assert!(
        matches!(&beside, Err(Error::Memory { reason }) if reason.contains("1257472 of the 1261567 bytes")),
        "{beside:?}"
    );
    server.spawner.kill_pod(7)?;
    server.exit(runs.id)?;
    let mut again = with(7, &["cat", "/data/a/0"], above(1));
    (again.id.attempt, again.log.path) = (1, "7-1.log".into());
    assert_eq!(ran(&place, &server, &again)?, ["secret"]);
    server.spawner.release_pod(7)?;
    // What is let go of is gone before the next answer comes, and gives room.
    drop(server.spawner.memory(4096, 1, 4096)?);
    assert_eq!(mounted(&place)?, (0, 0));
    Ok(())
}

fn image(place: &Place, name: &str, bytes: u64) -> Result<Upper, Failure> {
    let Upper::Disk { path } = disk(place, name)? else { return Err("no directory".into()) };
    Ok(Upper::Image { path, bound: Scratch { bytes, inodes: 64 } })
}

/// The loop devices on files of the place.
fn loops(place: &Place) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/sys/block")? {
        // One that is free has no file, and one may go meanwhile.
        let file = fs::read_to_string(entry?.path().join("loop/backing_file")).unwrap_or_default();
        if Path::new(file.trim_end()).starts_with(place.path()) {
            found.push(file.trim_end().to_owned());
        }
    }
    Ok(found)
}

/// Whether this host can do it; where it cannot, the node says that uppers are measured.
fn has_images(server: &Server) -> bool {
    let why = server.spawner.without_images();
    if let Some(why) = why {
        #[expect(clippy::print_stderr, reason = "as a test says what it leaves out")]
        {
            eprintln!("SKIPPED: images of file systems: {why}");
        }
    }
    why.is_none()
}

pub(crate) fn an_upper_on_the_disk_ends_at_its_bound() -> Outcome {
    const BYTES: u64 = 24 << 20;
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    if !has_images(&server) {
        return Ok(());
    }
    let volume = source(&lower(&place)?, Some(image(&place, "one", BYTES)?));
    let fill = with_volume(probe(&place, 1, &["fill", "/data/a/big"]), "/data", volume, None);
    let lines = ran(&place, &server, &fill)?;
    let (written, why) = lines[0].split_once(' ').ok_or("no figure")?;
    assert_eq!(why, "ENOSPC");
    let written: u64 = written.parse()?;
    assert!((BYTES..BYTES + BYTES / 8).contains(&written), "{written}");
    let file = place.path().join("volumes/one/image");
    let meta = fs::metadata(&file)?;
    assert_eq!((meta.uid(), meta.mode() & 0o7777), (0, 0o600));
    // Whatever is done in it, it takes no more of the disk than the file is long.
    assert!(meta.len() < BYTES + BYTES / 4 + (16 << 20), "{}", meta.len());
    assert_eq!(loops(&place)?, [file.to_str().ok_or("no name")?]);
    // Files are bounded too, and other pods have their own.
    let volume = source(&lower(&place)?, Some(image(&place, "two", BYTES)?));
    let many = with_volume(probe(&place, 2, &["layered", "/data"]), "/data", volume, None);
    assert_eq!(crate::probe::pairs(&ran(&place, &server, &many)?)["many"], "ENOSPC");
    // What nobody took over goes as well, and no loop device stays.
    for uid in [1, 2] {
        server.spawner.release_pod(uid)?;
        let gone = server.spawner.upper(uid, 1).map(drop);
        assert!(gone.is_err(), "{gone:?}");
    }
    // Who looks into every new device, as udev does, may still have it open.
    crate::sessions::until("no loop device stays", || Ok(loops(&place)?.is_empty()))?;
    Ok(())
}

pub(crate) fn an_image_goes_with_its_spawner() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    if !has_images(&server) {
        return Ok(());
    }
    let volume = source(&lower(&place)?, Some(image(&place, "one", 1 << 20)?));
    let runs = with_volume(probe(&place, 1, &["pause"]), "/data", volume.clone(), None);
    server.spawner.start(&runs)?;
    server.started(runs.id)?;
    assert_eq!(loops(&place)?.len(), 1);
    place.kill("spawner")?;
    let begin = Instant::now();
    while !loops(&place)?.is_empty() {
        assert!(begin.elapsed() < PATIENCE, "{:?}", loops(&place)?);
        std::thread::yield_now();
    }
    drop(server);
    // What it left is in the way of nobody who makes the directory anew, as the node does.
    fs::remove_dir_all(place.path().join("volumes/one"))?;
    image(&place, "one", 1 << 20)?;
    let server = place.connect()?;
    let done = with_volume(probe(&place, 2, &["write", "/data/a/new", "kept"]), "/data", volume, None);
    assert_eq!(ran(&place, &server, &done)?.last().map(String::as_str), Some("write allowed"));
    Ok(server.spawner.release_pod(2)?)
}

/// A file system in a file may have promised room that the disk around it does not have.
pub(crate) fn a_full_disk_is_told_of_what_was_written_above_it() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let small = SmallDisk::at(&place.path().join("volumes"))?;
    let server = place.connect()?;
    if !has_images(&server) {
        return Ok(());
    }
    let volume = source(&lower(&place)?, Some(image(&place, "one", 64 << 20)?));
    let fill = with_volume(probe(&place, 1, &["fill", "/data/a/big"]), "/data", volume, None);
    let lines = ran(&place, &server, &fill)?;
    assert!(lines[0].ends_with("ENOSPC") || lines[0].ends_with("EIO"), "{lines:?}");
    // The first who asks may be told before anything was written back, and is when he has it written back.
    let written = match server.spawner.upper(1, 1) {
        Ok(upper) => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::syncfs(openat(upper, ".", flags, Mode::empty())?).map_err(|e| e.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    assert!(written.is_err(), "64 MiB are not on a disk of one");
    // From then on everybody is: a server that was killed in between is followed by one that does not know.
    for _ in 0..3 {
        let told = server.spawner.upper(1, 1).map(drop);
        assert!(
            matches!(&told, Err(Error::Upper { reason }) if reason.contains("which may be full")),
            "{told:?}"
        );
    }
    server.spawner.release_pod(1)?;
    drop(server);
    place.wait_for_spawner_end()?;
    drop(small);
    Ok(())
}
