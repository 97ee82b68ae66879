use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use watchbell_array::{Array, Disk};

use crate::place::{Place, by_time, commit, hierarchy_of, import_at, run, whiteout, write};

type Attack = fn(&Path);

#[test]
fn nothing_that_a_task_leaves_gets_in_but_its_own_chunks() {
    use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat, setxattr};
    let attacks: [(Attack, &str); 19] = [
        (|u| symlink("/etc/passwd", u.join("t/c/0/0")).unwrap(), "left a symbolic link at t/c/0/0"),
        (|u| symlink("/etc", u.join("t/c/0")).unwrap(), "left a symbolic link at t/c/0"),
        (
            |u| mknodat(CWD, u.join("t/c/0/0"), FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap(),
            "named pipe",
        ),
        (
            |u| {
                let null = rustix::fs::makedev(1, 3);
                mknodat(CWD, u.join("t/c/0/0"), FileType::CharacterDevice, Mode::from_raw_mode(0o644), null)
                    .unwrap();
            },
            "left a device",
        ),
        (
            |u| {
                write(u, "t/c/0/0", b"x");
                fs::hard_link(u.join("t/c/0/0"), u.join("t/c/0/1")).unwrap();
            },
            "has 2 links",
        ),
        (
            |u| {
                write(u, "t/c/0/0", b"x");
                fs::set_permissions(u.join("t/c/0/0"), fs::Permissions::from_mode(0o4755)).unwrap();
            },
            "setuid",
        ),
        (
            |u| fs::File::create(u.join("t/c/0/0")).unwrap().set_len(1 << 40).unwrap(),
            "has 1099511627776 bytes",
        ),
        (|u| write(u, "t/c/00/0", b"x"), "wrote t/c/00, which is no chunk"),
        (|u| write(u, "t/c/4/0", b"x"), "belongs to index 2"),
        (|u| whiteout(u, "t/c/4/0"), "belongs to index 2"),
        (|u| write(u, "t/zarr.json", b"{}"), "metadata are not written by a task"),
        (|u| whiteout(u, "t"), "removed the directory t"),
        (|u| write(u, "x\x1b[2J\n/y", b"x"), "x\\x1b[2J\\n, which is no chunk"),
        (|u| write(u, &format!("t/c/0/{}e", "d/".repeat(300)), b"x"), "no chunk of this hierarchy"),
        (|u| (0..20_000).for_each(|n| write(u, &format!("f{n}"), b"")), "wrote f0, which is no chunk"),
        (|u| write(u, "t/c/0/0/0", b"x"), "wrote t/c/0/0, which is no chunk"),
        (
            |u| {
                fs::create_dir_all(u.join("t")).unwrap();
                setxattr(u.join("t"), "trusted.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
            },
            "replaced the directory t by a new one",
        ),
        (|u| drop(std::os::unix::net::UnixListener::bind(u.join("t/c/0/0")).unwrap()), "left a socket"),
        (|u| whiteout(u, "t/c/99/0"), "wrote t/c/99, which is no chunk"),
    ];
    let place = Place::new();
    let array = place.array();
    let plan = by_time(&hierarchy_of(&array));
    let draft = array.begin(&run("r1"), &BTreeMap::new()).unwrap();
    for (number, (attack, message)) in attacks.into_iter().enumerate() {
        let upper = place.upper(&format!("u{number}"), &[]);
        if number != 1 && number != 15 && number != 16 && number != 11 {
            fs::create_dir_all(upper.join("t/c/0")).unwrap();
        }
        if number == 1 {
            fs::create_dir_all(upper.join("t/c")).unwrap();
        }
        attack(&upper);
        let error = commit(&draft, &plan, 0, &upper).unwrap_err().to_string();
        assert!(error.contains(message), "{number}: {error} / {message}");
        assert_eq!(draft.committed(0).unwrap(), None);
    }
    // The others are unharmed, and so is the next attempt.
    commit(&draft, &plan, 1, &place.upper("v", &[("t/c/2/0", "fine")])).unwrap();
    commit(&draft, &plan, 0, &place.upper("w", &[("t/c/0/0", "fine")])).unwrap();
}

#[test]
fn a_directory_that_is_no_hierarchy_is_not_imported() {
    let cases: [(Attack, &str); 6] = [
        (|d| write(d, "notes.txt", b"x"), "notes.txt: it is no chunk of this hierarchy"),
        (|d| write(d, "t/c/08/0", b"x"), "t/c/08/0: a number with leading zeros"),
        (|d| symlink("/etc/passwd", d.join("t/c/0/2")).unwrap(), "only regular files and directories"),
        (|d| fs::hard_link(d.join("t/c/0/0"), d.join("t/c/7")).unwrap(), "it has 2 names (hard links)"),
        (|d| write(d, "t/zarr.json", b"{"), "t/zarr.json is not JSON"),
        (|d| fs::remove_file(d.join("zarr.json")).unwrap(), "there is no Zarr hierarchy"),
    ];
    for (damage, message) in cases {
        let place = Place::new();
        let array = Array::create(&place.path("array"), Disk::default()).unwrap();
        damage(&place.plain());
        let error = import_at(&array, &place.path("plain"), 1).unwrap_err().to_string();
        assert!(error.contains(message), "{error} / {message}");
        assert_eq!(array.head().unwrap(), None);
    }
}
