//! What a program can check of the house rules, so that no reviewer has to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Whose crates a crate may use. What is not here may use none.
const DIRECTIONS: [(&str, &[&str]); 15] = [
    ("watchbell-advisory", &["watchbell-image"]),
    ("watchbell-array", &["watchbell-zarr"]),
    ("watchbell-cdi", &["watchbell-api"]),
    ("watchbell-cel", &["watchbell-api"]),
    ("watchbell-core", &["watchbell-api", "watchbell-cel", "watchbell-zarr"]),
    ("watchbell-export", &["watchbell-audit", "watchbell-store"]),
    ("watchbell-gate", &["watchbell-core", "watchbell-sandbox"]),
    ("watchbell-identity", &["watchbell-api", "watchbell-cel", "watchbell-core"]),
    ("watchbell-sandbox", &["watchbell-cdi"]),
    ("watchbell-scan", &["watchbell-advisory", "watchbell-image"]),
    ("watchbell-signature", &["watchbell-audit", "watchbell-image"]),
    (
        "watchbell-server",
        &["watchbell-api", "watchbell-audit", "watchbell-core", "watchbell-identity", "watchbell-store"],
    ),
    ("watchbell-store", &["watchbell-audit"]),
    (
        "watchbell-node",
        &[
            "watchbell-advisory",
            "watchbell-api",
            "watchbell-array",
            "watchbell-cdi",
            "watchbell-core",
            "watchbell-image",
            "watchbell-sandbox",
            "watchbell-scan",
            "watchbell-signature",
            "watchbell-zarr",
        ],
    ),
    (
        "watchbell",
        &[
            "watchbell-advisory",
            "watchbell-api",
            "watchbell-array",
            "watchbell-audit",
            "watchbell-cdi",
            "watchbell-core",
            "watchbell-export",
            "watchbell-gate",
            "watchbell-identity",
            "watchbell-image",
            "watchbell-node",
            "watchbell-sandbox",
            "watchbell-scan",
            "watchbell-server",
            "watchbell-signature",
            "watchbell-store",
            "watchbell-zarr",
        ],
    ),
];

/// A longer file holds more than one concept.
const LINES_MAX: usize = 800;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Every file below `dir` that is ours and ends so.
fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![dir.to_path_buf()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let entry = entry.unwrap();
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            if entry.file_type().unwrap().is_dir() {
                if name != "target" && name != ".git" {
                    pending.push(path);
                }
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn crates() -> BTreeMap<String, PathBuf> {
    let entries = fs::read_dir(root().join("crates")).unwrap();
    entries.map(|e| e.unwrap()).map(|e| (e.file_name().to_string_lossy().into_owned(), e.path())).collect()
}

/// The lines of code that are compiled into the program, with their numbers: no comments, no tests.
fn code(path: &Path) -> Vec<(usize, String)> {
    let is_test = path.components().any(|c| c.as_os_str() == "tests") || path.ends_with("tests.rs");
    if is_test {
        return Vec::new();
    }
    let text = fs::read_to_string(path).unwrap();
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        // A test module stands at the end of its file.
        if line.trim() == "mod tests {" {
            break;
        }
        let line = line.split("//").next().unwrap_or_default();
        lines.push((number + 1, line.to_owned()));
    }
    lines
}

/// Complains of every line of the crates but `except` in which one of `words` stands as a word.
fn check_absent(except: &str, words: &[&str], why: &str) {
    let mut wrong = Vec::new();
    for (_, dir) in crates().into_iter().filter(|(name, _)| name != except) {
        for path in files(&dir.join("src"), ".rs") {
            for (number, line) in code(&path) {
                for word in words {
                    let stands = line.match_indices(word).any(|(at, _)| {
                        let is_word =
                            |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '-');
                        !is_word(line[..at].chars().next_back())
                            && !is_word(line[at + word.len()..].chars().next())
                    });
                    if stands && !line.trim_start().starts_with('"') {
                        wrong.push(format!("{}:{number}: {word}", path.display()));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{why}:\n{}", wrong.join("\n"));
}

#[test]
fn only_the_binary_prints_or_exits() {
    let words = ["println!", "eprintln!", "print!", "eprint!", "dbg!", "process::exit", "process::abort"];
    check_absent(
        "watchbell",
        &words,
        "only the crate watchbell prints or ends the process; return an error, or use tracing",
    );
}

#[test]
fn only_the_sandbox_holds_unsafe_code() {
    check_absent("watchbell-sandbox", &["unsafe"], "unsafe code belongs to watchbell-sandbox alone");
}

/// The names in a section of a Cargo.toml.
fn section(text: &str, name: &str) -> Vec<String> {
    text.lines()
        .skip_while(|line| *line != format!("[{name}]"))
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn crates_use_only_what_lies_below_them() {
    let allowed: BTreeMap<&str, &[&str]> = DIRECTIONS.into_iter().collect();
    for (name, dir) in crates() {
        let manifest = fs::read_to_string(dir.join("Cargo.toml")).unwrap();
        for line in section(&manifest, "dependencies") {
            let used = line.split(['.', ' ', '=']).next().unwrap();
            if used.starts_with("watchbell") {
                let fits = allowed.get(name.as_str()).is_some_and(|list| list.contains(&used));
                assert!(fits, "{name} must not depend on {used}");
            }
        }
    }
}

#[test]
fn every_dependency_stands_once_with_its_reason() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let mut has_reason = false;
    let lines = manifest.lines().skip_while(|line| *line != "[workspace.dependencies]").skip(1);
    for line in lines.take_while(|line| !line.starts_with('[')) {
        if line.starts_with('#') {
            has_reason = true;
        } else if line.trim().is_empty() {
            has_reason = false;
        } else {
            assert!(has_reason, "Cargo.toml says no reason for: {line}");
        }
    }
    for (name, dir) in crates() {
        let manifest = fs::read_to_string(dir.join("Cargo.toml")).unwrap();
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for line in section(&manifest, kind) {
                let is_shared = line.contains("workspace = true") || !line.contains('=');
                assert!(is_shared, "{name}: its version belongs into the workspace's Cargo.toml: {line}");
            }
        }
    }
}

#[test]
fn files_are_short_or_say_why_not() {
    let mut wrong = Vec::new();
    for path in files(&root().join("crates"), ".rs") {
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().count();
        // The reason stands in the file's head.
        let says_why =
            text.lines().take(20).any(|line| line.starts_with("//!") && line.contains("Long because"));
        if lines > LINES_MAX && !says_why {
            wrong.push(format!("{}: {lines} lines", path.display()));
        }
    }
    assert!(
        wrong.is_empty(),
        "more than {LINES_MAX} lines, and no \"Long because …\" in the head:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn what_decides_has_no_clock_environment_file_socket_or_thread() {
    for name in ["watchbell-cel", "watchbell-core", "watchbell-zarr"] {
        check_pure(name, &crates()[name]);
    }
}

fn check_pure(crate_name: &str, dir: &Path) {
    let bans = fs::read_to_string(dir.join("clippy.toml")).unwrap();
    for path in [
        "std::time::SystemTime::now",
        "std::time::Instant::now",
        "jiff::Timestamp::now",
        "std::thread::spawn",
        "std::env::var",
        "std::fs::read",
        "std::fs::File",
        "std::net::TcpStream",
        "std::os::unix::net::UnixStream",
        "std::process::Command",
    ] {
        assert!(
            bans.contains(&format!("path = \"{path}\"")),
            "clippy.toml of {crate_name} does not ban {path}"
        );
    }
    let manifest = fs::read_to_string(dir.join("Cargo.toml")).unwrap();
    for line in section(&manifest, "dependencies") {
        let name = line.split(['.', ' ', '=']).next().unwrap().to_owned();
        let does_things = ["tokio", "rustix", "hyper", "ureq", "rusqlite", "getrandom", "tracing"];
        assert!(
            !does_things.contains(&name.as_str()),
            "{crate_name} decides and does nothing: it must not depend on {name}"
        );
    }
    for path in files(&dir.join("src"), ".rs") {
        for (number, line) in code(&path) {
            let is_async = line.contains("async fn") || line.contains(".await");
            assert!(!is_async, "{}:{number}: {crate_name} is synchronous", path.display());
        }
    }
}

#[test]
fn the_lints_of_the_workspace_hold_in_every_crate() {
    for (name, dir) in crates() {
        let manifest = fs::read_to_string(dir.join("Cargo.toml")).unwrap();
        if name != "watchbell-sandbox" {
            assert_eq!(section(&manifest, "lints"), ["workspace = true"], "{name} has lints of its own");
            continue;
        }
        // It alone allows unsafe code, which cannot be said beside `workspace = true`: it repeats what matters.
        let own = section(&manifest, "lints.clippy");
        for lint in ["undocumented_unsafe_blocks = \"deny\"", "print_stdout = \"warn\"", "exit = \"warn\""] {
            assert!(own.iter().any(|line| line == lint), "{name} lacks the lint {lint}");
        }
    }
}

#[test]
fn no_package_registry_is_named() {
    // Put together here, so that this file passes its own check.
    let hosts =
        [["index.cra", "tes.io"], ["static.cra", "tes.io"], ["py", "pi.org"], ["registry.npm", "js.org"]];
    let hosts: Vec<String> = hosts.iter().map(|parts| parts.concat()).collect();
    for ending in [".rs", ".toml", ".md", ".yaml", ".sh", ".py", "Makefile", "run", "setup", ".txt"] {
        for path in files(&root(), ending) {
            // Only text: a directory of binary files may have such names too.
            let Ok(text) = fs::read_to_string(&path) else { continue };
            for host in &hosts {
                assert!(
                    !text.contains(host.as_str()),
                    "{} names {host}: ask the registry's own client",
                    path.display()
                );
            }
        }
    }
}

/// `a::{b, c::d}` as `a::b` and `a::c::d`.
fn spelled_out(text: &str) -> Vec<String> {
    let Some((before, rest)) = text.split_once('{') else { return vec![text.to_owned()] };
    let (inside, after) = rest.split_once('}').expect("a brace is closed");
    inside.split(',').flat_map(|part| spelled_out(&format!("{before}{}{after}", part.trim()))).collect()
}

/// What a document can name as a test.
struct Tests {
    /// Of functions, modules and fuzz targets.
    names: BTreeSet<String>,
    /// Of files with tests and transcripts, from the root.
    paths: Vec<String>,
}

impl Tests {
    fn read() -> Tests {
        let (mut names, mut paths) = (BTreeSet::new(), Vec::new());
        for ending in [".rs", ".txt"] {
            for path in files(&root().join("crates"), ending) {
                let text = fs::read_to_string(&path).unwrap();
                for before in ["fn ", "mod "] {
                    names.extend(text.split(before).skip(1).map(|rest| word(rest).to_owned()));
                }
                names.insert(path.file_stem().unwrap().to_string_lossy().into_owned());
                paths.push(path.strip_prefix(root()).unwrap().to_string_lossy().into_owned());
            }
        }
        let targets = fs::read_to_string(root().join("tools/fuzz/src/main.rs")).unwrap();
        names.extend(targets.split("    (\"").skip(1).map(|rest| word(rest).to_owned()));
        Tests { names, paths }
    }

    /// `path/to/file.rs`, `a_directory/`, `module::tests`, `module::tests::a_function`, `module::*`, `tests::the_begin_*`.
    fn has(&self, name: &str) -> bool {
        let name = name.strip_suffix("::*").unwrap_or(name);
        if name.contains(['.', '/']) {
            let dir = format!("/{}/", name.trim_end_matches('/'));
            return self.paths.iter().any(|path| path.ends_with(name) || format!("/{path}").contains(&dir));
        }
        let last = name.rsplit("::").next().unwrap_or(name);
        match last.strip_suffix(['…', '*']) {
            Some(beginning) => self.names.iter().any(|name| name.starts_with(beginning)),
            None => self.names.contains(last),
        }
    }
}

fn word(text: &str) -> &str {
    text.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next().unwrap_or_default()
}

#[test]
fn every_measure_names_a_test_that_exists() {
    let tests = Tests::read();
    let text = fs::read_to_string(root().join("docs/security.md")).unwrap();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for line in text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| measure |")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [measure, _, shown] = cells[..] else {
            wrong.push(format!("not three cells: {line}"));
            continue;
        };
        count += 1;
        // In which crate it is, is no test.
        let is_test = |name: &String| !name.starts_with("watchbell-") || name.contains('/');
        let named: Vec<String> =
            shown.split('`').skip(1).step_by(2).flat_map(spelled_out).filter(is_test).collect();
        if named.is_empty() {
            wrong.push(format!("no test is named: {measure}"));
        }
        wrong.extend(named.iter().filter(|name| !tests.has(name)).map(|name| format!("{name}: {measure}")));
    }
    assert!(wrong.is_empty(), "docs/security.md, {} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 150, "{count}");
}

#[test]
fn every_attack_has_a_row_and_every_test_that_a_row_names_exists() {
    let text = fs::read_to_string(root().join("docs/attacks.md")).unwrap();
    let mut sources = String::new();
    for path in files(&root().join("crates"), ".rs") {
        sources.push_str(&fs::read_to_string(path).unwrap());
    }
    let mut numbers = Vec::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [number, .., tests] = cells[..] else { continue };
        let Ok(number) = number.parse::<u32>() else { continue };
        assert_eq!(cells.len(), 5, "{line}");
        numbers.push(number);
        for test in tests.split(", ") {
            let name = test.trim_matches('`');
            let has_test = sources.contains(&format!("fn {name}("));
            assert!(has_test, "row {number} of docs/attacks.md names \"{name}\", which no test is called");
        }
    }
    assert_eq!(numbers, (1..=65).collect::<Vec<_>>());
    // What the program tries has a row with the test that judges it.
    let outcomes = fs::read_to_string(root().join("crates/watchbell/tests/attacks/outcomes.txt")).unwrap();
    for line in outcomes.lines().filter(|line| !line.starts_with('#')) {
        let number = line.split(' ').next().unwrap();
        let row = text.lines().find(|row| row.starts_with(&format!("| {number} |"))).unwrap();
        assert!(row.contains("`what_is_reached_on_the_host_is_refused_inside`"), "{line}");
    }
}
