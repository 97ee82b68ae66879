//! Data bases of the real tools where they are installed, and such as nobody but an attacker makes.

use std::path::Path;
use std::process::Command;

use super::header::package;
use super::{Form, installed};
use crate::catalog::item::hash;

/// A header blob with these tags: text, numbers and lists of text.
fn header(tags: &[(u32, Tag<'_>)]) -> Vec<u8> {
    let (mut index, mut data) = (Vec::new(), Vec::new());
    for (tag, value) in tags {
        let (kind, count) = match value {
            Tag::Text(_) => (6u32, 1),
            Tag::Numbers(numbers) => (4, numbers.len()),
            Tag::Texts(texts) => (8, texts.len()),
        };
        for word in [*tag, kind, data.len() as u32, count as u32] {
            index.extend_from_slice(&word.to_be_bytes());
        }
        match value {
            Tag::Text(text) => data.extend_from_slice(format!("{text}\0").as_bytes()),
            Tag::Numbers(numbers) => numbers.iter().for_each(|n| data.extend_from_slice(&n.to_be_bytes())),
            Tag::Texts(texts) => {
                texts.iter().for_each(|t| data.extend_from_slice(format!("{t}\0").as_bytes()));
            }
        }
    }
    [&(tags.len() as u32).to_be_bytes()[..], &(data.len() as u32).to_be_bytes(), &index, &data].concat()
}

enum Tag<'a> {
    Text(&'a str),
    Numbers(&'a [u32]),
    Texts(&'a [&'a str]),
}

fn glibc() -> Vec<u8> {
    header(&[
        (1000, Tag::Text("glibc")),
        (1001, Tag::Text("2.34")),
        (1002, Tag::Text("60.el9")),
        (1003, Tag::Numbers(&[2])),
        (1011, Tag::Text("AlmaLinux")),
        (1014, Tag::Text("LGPL-2.1-or-later")),
        (1022, Tag::Text("x86_64")),
        (1044, Tag::Text("glibc-2.34-60.el9.src.rpm")),
        (1116, Tag::Numbers(&[1, 0, 7])),
        (1117, Tag::Texts(&["libc.so.6", "ldconfig", "lost"])),
        (1118, Tag::Texts(&["/usr/sbin/", "/lib64/"])),
    ])
}

#[test]
fn a_header_says_all_that_is_wanted() {
    let item = package(&glibc()).unwrap().unwrap();
    assert_eq!((item.name.as_str(), item.version.as_str()), ("glibc", "2:2.34-60.el9"));
    assert_eq!(item.architecture.as_deref(), Some("x86_64"));
    assert_eq!(item.vendor.as_deref(), Some("AlmaLinux"));
    let of_nobody = header(&[(1000, Tag::Text("own")), (1001, Tag::Text("1"))]);
    assert_eq!(package(&of_nobody).unwrap().unwrap().vendor.as_deref(), Some(""));
    let source = item.source.unwrap();
    assert_eq!((source.name.as_str(), source.version.as_str()), ("glibc", "2:2.34-60.el9"));
    assert_eq!(item.files.hashes, [hash("/lib64/libc.so.6"), hash("usr/sbin/ldconfig")]);
    assert_eq!(package(&header(&[(1000, Tag::Text("gpg-pubkey")), (1001, Tag::Text("1"))])).unwrap(), None);
}

#[test]
fn damaged_headers_are_survived() {
    let whole = glibc();
    for length in 0..whole.len() {
        let _ = package(&whole[..length]);
    }
    for index in 0..whole.len() {
        for value in [0, 0x7f, 0xff] {
            let mut changed = whole.clone();
            changed[index] = value;
            let _ = package(&changed);
        }
    }
    // A field of a gigabyte, an index of four.
    assert!(package(&[0, 0, 0, 1, 0x40, 0, 0, 0, 0, 0, 3, 232, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 1]).is_err());
    assert!(package(&[0xff; 64]).is_err());
}

/// One slot, one blob.
fn ndb(blob: &[u8]) -> Vec<u8> {
    let mut file = vec![0u8; 4096];
    file[..4].copy_from_slice(b"RpmP");
    file[12..16].copy_from_slice(&1u32.to_le_bytes());
    for slot in file[32..].chunks_exact_mut(16) {
        slot[..4].copy_from_slice(b"Slot");
    }
    file[36..40].copy_from_slice(&1u32.to_le_bytes());
    file[40..44].copy_from_slice(&256u32.to_le_bytes());
    file.extend_from_slice(b"BlbS\x01\0\0\0\0\0\0\0");
    file.extend_from_slice(&(blob.len() as u32).to_le_bytes());
    file.extend_from_slice(blob);
    file
}

/// A page of 512 bytes with one value, which lies in overflow pages.
fn bdb(blob: &[u8]) -> Vec<u8> {
    const PAGE: usize = 512;
    let mut meta = vec![0u8; PAGE];
    meta[12..16].copy_from_slice(&0x0006_1561u32.to_le_bytes());
    meta[20..24].copy_from_slice(&(PAGE as u32).to_le_bytes());
    meta[25] = 8;
    let mut hash = vec![0u8; PAGE];
    hash[20..22].copy_from_slice(&2u16.to_le_bytes());
    hash[25] = 13;
    hash[26..28].copy_from_slice(&507u16.to_le_bytes());
    hash[28..30].copy_from_slice(&495u16.to_le_bytes());
    hash[507..512].copy_from_slice(&[1, 0, 0, 0, 7]);
    hash[495] = 3;
    hash[499..503].copy_from_slice(&2u32.to_le_bytes());
    hash[503..507].copy_from_slice(&(blob.len() as u32).to_le_bytes());
    let mut file = [meta, hash].concat();
    let parts: Vec<&[u8]> = blob.chunks(PAGE - 26).collect();
    for (index, part) in parts.iter().enumerate() {
        let mut page = vec![0u8; PAGE];
        let next = if index + 1 < parts.len() { index as u32 + 3 } else { 0 };
        page[16..20].copy_from_slice(&next.to_le_bytes());
        page[22..24].copy_from_slice(&(part.len() as u16).to_le_bytes());
        page[25] = 7;
        page[26..26 + part.len()].copy_from_slice(part);
        file.extend_from_slice(&page);
    }
    file
}

fn sqlite(statements: &str, blob: &[u8]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rpmdb.sqlite");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute_batch(statements).unwrap();
    if !blob.is_empty() {
        connection.execute("INSERT INTO Packages VALUES (1, ?1)", [blob]).unwrap();
    }
    drop(connection);
    std::fs::read(path).unwrap()
}

const TABLE: &str = "PRAGMA journal_mode = WAL; CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL);";

#[test]
fn every_form_gives_the_same_package() {
    // Longer than a page, so that it lies in several.
    let files = vec!["a-file-name"; 300];
    let blob = header(&[
        (1000, Tag::Text("big")),
        (1001, Tag::Text("1")),
        (1002, Tag::Text("2")),
        (1117, Tag::Texts(&files)),
    ]);
    for (form, bytes) in
        [(Form::Ndb, ndb(&blob)), (Form::Bdb, bdb(&blob)), (Form::Sqlite, sqlite(TABLE, &blob))]
    {
        let (items, problem) = installed(&bytes, form);
        assert_eq!(problem, None, "{form:?}");
        assert_eq!(items.iter().map(|i| i.version.as_str()).collect::<Vec<_>>(), ["1-2"], "{form:?}");
    }
}

#[test]
fn every_cut_and_every_changed_byte_is_survived() {
    let blob = glibc();
    for (form, whole) in
        [(Form::Ndb, ndb(&blob)), (Form::Bdb, bdb(&blob)), (Form::Sqlite, sqlite(TABLE, &blob))]
    {
        // The tail of a sparse file is zeros; what matters lies in the pages that are used.
        let step = if form == Form::Sqlite { 97 } else { 1 };
        for length in (0..whole.len()).step_by(step) {
            let _ = installed(&whole[..length], form);
        }
        for index in (0..whole.len()).step_by(step) {
            let mut changed = whole.clone();
            changed[index] ^= 0xff;
            let _ = installed(&changed, form);
        }
    }
}

#[test]
fn circles_end() {
    let mut file = bdb(&vec![1u8; 3000]);
    // The first overflow page leads to itself, and the value states more than the file has.
    file[2 * 512 + 16..][..4].copy_from_slice(&2u32.to_le_bytes());
    let (items, problem) = installed(&file, Form::Bdb);
    assert!(items.is_empty() && problem.is_some());
    file[512 + 503..][..4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(installed(&file, Form::Bdb).1.unwrap().contains("do not lie where it says"));
    // Pages of a tree that lead to their own root.
    let rows: String =
        (0..2000).map(|n| format!("INSERT INTO Packages VALUES ({n}, zeroblob(100));")).collect();
    let mut file = sqlite(&format!("{TABLE}{rows}"), b"");
    let page = usize::from(u16::from_be_bytes([file[16], file[17]]));
    let root = 2 * page..3 * page;
    let root =
        (1..file.len() / page).find(|n| file[n * page] == 5).map_or(root, |n| n * page..(n + 1) * page);
    let number = (root.start / page + 1) as u32;
    for cell in 0..usize::from(u16::from_be_bytes([file[root.start + 3], file[root.start + 4]])) {
        let at = root.start + 12 + 2 * cell;
        let offset = root.start + usize::from(u16::from_be_bytes([file[at], file[at + 1]]));
        file[offset..offset + 4].copy_from_slice(&number.to_be_bytes());
    }
    let (_, problem) = installed(&file, Form::Sqlite);
    assert!(problem.is_some());
}

/// A data base of as many slots as there is room for in `pages`, all of one blob.
fn ndb_of_one_blob(pages: usize, blob: &[u8]) -> Vec<u8> {
    let mut file = vec![0u8; pages * 4096];
    file[..4].copy_from_slice(b"RpmP");
    file[12..16].copy_from_slice(&(pages as u32).to_le_bytes());
    for slot in file[32..].chunks_exact_mut(16) {
        slot[..4].copy_from_slice(b"Slot");
        slot[4..8].copy_from_slice(&1u32.to_le_bytes());
        slot[8..12].copy_from_slice(&(pages as u32 * 256).to_le_bytes());
    }
    file.extend_from_slice(b"BlbS\x01\0\0\0\0\0\0\0");
    file.extend_from_slice(&(blob.len() as u32).to_le_bytes());
    file.extend_from_slice(blob);
    file
}

#[test]
fn a_blob_is_one_package_s() {
    let files = vec!["a-file-name"; 1000];
    let indexes = vec![0; 1000];
    let blob = header(&[
        (1000, Tag::Text("big")),
        (1001, Tag::Text("1")),
        (1116, Tag::Numbers(&indexes)),
        (1117, Tag::Texts(&files)),
        (1118, Tag::Texts(&["/usr/"])),
    ]);
    let file = ndb_of_one_blob(16, &blob);
    let (items, problem) = installed(&file, Form::Ndb);
    assert_eq!(items.len(), file.len() / blob.len());
    assert_eq!(problem.as_deref(), Some("its packages together are larger than it is"));
    // Such as are none are given up too.
    let (items, problem) = installed(&ndb_of_one_blob(16, b"no header"), Form::Ndb);
    assert!(items.is_empty());
    assert_eq!(problem.as_deref(), Some("most of its packages cannot be read"));
    // Values of one page that lie over one another.
    let mut page = vec![0u8; 65536];
    let entries = 30_000u16;
    page[20..22].copy_from_slice(&entries.to_le_bytes());
    page[25] = 13;
    let end = 65_535u16;
    for (index, offset) in page[26..26 + usize::from(entries) * 2].chunks_exact_mut(2).enumerate() {
        let at = if index % 2 == 0 { end } else { end - 5_000 };
        offset.copy_from_slice(&at.to_le_bytes());
    }
    page[usize::from(end - 5_000)] = 1;
    let mut meta = vec![0u8; 65536];
    meta[12..16].copy_from_slice(&0x0006_1561u32.to_le_bytes());
    meta[20..24].copy_from_slice(&65536u32.to_le_bytes());
    meta[25] = 8;
    let (_, problem) = installed(&[meta, page].concat(), Form::Bdb);
    assert_eq!(problem.as_deref(), Some("its packages together are larger than it is"));
}

#[test]
fn a_long_directory_is_not_hashed_without_end() {
    use crate::catalog::item::PATHS_BYTES_MAX;
    let directory = format!("/{}/", "d".repeat(4000));
    let files = vec![""; 40_000];
    let indexes = vec![0; 40_000];
    let blob = header(&[
        (1000, Tag::Text("big")),
        (1001, Tag::Text("1")),
        (1116, Tag::Numbers(&indexes)),
        (1117, Tag::Texts(&files)),
        (1118, Tag::Texts(&[&directory])),
    ]);
    let item = package(&blob).unwrap().unwrap();
    assert_eq!(item.files.hashes.len(), PATHS_BYTES_MAX.div_ceil(directory.len()));
}

#[test]
fn a_view_in_the_place_of_the_table_is_not_run() {
    let endless = "CREATE VIEW Packages AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x AS blob FROM n;";
    let (items, problem) = installed(&sqlite(endless, b""), Form::Sqlite);
    assert!(items.is_empty());
    assert_eq!(problem.as_deref(), Some("it has no table of packages"));
    assert!(installed(&sqlite("CREATE TABLE x (y)", b""), Form::Sqlite).1.is_some());
}

#[test]
fn where_rpm_has_its_data_base() {
    let check = |path: &str, expect| assert_eq!(Form::of(path), expect, "{path}");
    check("var/lib/rpm/rpmdb.sqlite", Some(Form::Sqlite));
    check("usr/lib/sysimage/rpm/Packages.db", Some(Form::Ndb));
    check("chroot/var/lib/rpm/Packages", Some(Form::Bdb));
    check("srv/Packages", None);
    check("xvar/lib/rpm/Packages", None);
}

/// A program is there; else the test says that it was left out.
#[expect(clippy::print_stderr, reason = "it is a test")]
fn has(program: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()));
    if !found {
        eprintln!("left out: {program} is not installed");
    }
    found
}

fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A package built and installed by rpm itself, in a data base of its own.
fn real_database(dir: &Path) -> std::path::PathBuf {
    let spec = dir.join("demo.spec");
    let text = "Name: demo\nEpoch: 3\nVersion: 1.2\nRelease: 4\nSummary: x\nLicense: MIT\nBuildArch: noarch\n%description\nx\n\
        %install\nmkdir -p %{buildroot}/usr/share/demo\necho x > %{buildroot}/usr/share/demo/file\n%files\n/usr/share/demo/file\n";
    std::fs::write(&spec, text).unwrap();
    let top = format!("_topdir {}", dir.join("build").display());
    run(Command::new("rpmbuild").args(["-bb", "--quiet", "--define", &top]).arg(&spec));
    let package = dir.join("build/RPMS/noarch/demo-1.2-4.noarch.rpm");
    let database = dir.join("database");
    std::fs::create_dir(&database).unwrap();
    run(Command::new("rpm")
        .args(["--define", "_db_backend sqlite", "--dbpath"])
        .arg(&database)
        .args(["-i", "--justdb", "--nodeps", "--noscripts"])
        .arg(&package));
    database
}

#[test]
fn data_bases_of_rpm_itself() {
    if !has("rpmbuild") || !has("rpm") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(real_database(dir.path()).join("rpmdb.sqlite")).unwrap();
    let (items, problem) = installed(&bytes, Form::Sqlite);
    assert_eq!(problem, None);
    let item = items.first().unwrap();
    assert_eq!((items.len(), item.name.as_str(), item.version.as_str()), (1, "demo", "3:1.2-4"));
    assert_eq!(
        (item.licences.as_slice(), item.architecture.as_deref()),
        (&["MIT".to_owned()][..], Some("noarch"))
    );
    assert_eq!(item.files.hashes, [hash("/usr/share/demo/file")]);
    assert_eq!(item.source.as_ref().unwrap().name, "demo");
    let mut blob = Vec::new();
    super::sqlite::blobs(&bytes, &mut |found| {
        blob = found.to_vec();
        true
    })
    .unwrap();
    // Berkeley DB is written by its own tool: rpm of today reads it only.
    let Some(load) = ["db5.3_load", "db_load"].into_iter().find(|p| has(p)) else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("Packages");
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let dump = format!(
        "VERSION=3\nformat=bytevalue\ntype=hash\ndb_pagesize=4096\nHEADER=END\n 00000000\n 01000000\n 01000000\n {}\nDATA=END\n",
        hex(&blob)
    );
    let input = dir.path().join("dump");
    std::fs::write(&input, dump).unwrap();
    run(Command::new(load).arg("-f").arg(&input).arg(&path));
    let (items, problem) = installed(&std::fs::read(&path).unwrap(), Form::Bdb);
    assert_eq!(problem, None);
    assert_eq!(items.iter().map(|i| i.version.as_str()).collect::<Vec<_>>(), ["3:1.2-4"]);
}
