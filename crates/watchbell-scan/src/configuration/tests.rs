use std::collections::BTreeMap;

use watchbell_image::History;

use super::*;
use crate::layers::read_layers;
use crate::testing::{Tar, image};

fn found(config: Option<&ImageConfig>, tag: Option<&str>, layers: Vec<Tar>) -> Vec<String> {
    let image = image(layers);
    let tree = read_layers(&image.content, &[], 1).unwrap();
    let findings = judge(&Subject { config, tag, tree: &tree });
    let shown = |finding: &ConfigurationFinding| match (&finding.path, finding.layer) {
        (Some(path), Some(layer)) => format!("{} {path} {layer}", finding.rule.id),
        (_, layer) => format!("{} {} {layer:?}", finding.rule.id, finding.message),
    };
    findings.iter().map(shown).collect()
}

#[test]
fn files_are_judged_as_they_are_left() {
    let base = Tar::default()
        .program("usr/bin/su", 0o4755, "x")
        .program("usr/bin/wall", 0o2755, "x")
        .program("usr/bin/gone", 0o4755, "x")
        .program("etc/open", 0o666, "x")
        .entry("var/open/", b'5', 0o777, "", b"")
        .entry("tmp/", b'5', 0o1777, "", b"")
        .program("usr/bin/dash", 0o755, "x")
        .symlink("usr/bin/sh", "dash")
        .program("usr/bin/apt-get", 0o755, "x")
        .file("usr/share/doc/apt", "x");
    let above = Tar::default().file("usr/bin/.wh.gone", "");
    assert_eq!(
        found(None, None, vec![base, above]),
        [
            "setuid-file usr/bin/su 0",
            "setgid-file usr/bin/wall 0",
            "world-writable-file etc/open 0",
            "world-writable-directory var/open 0",
            "package-manager usr/bin/apt-get 0",
            "shell usr/bin/dash 0",
        ]
    );
    assert_eq!(found(None, None, vec![Tar::default().program("app", 0o755, "x")]), [] as [&str; 0]);
}

#[test]
fn the_configuration_says_who_runs_and_what_it_holds() {
    let step = |command: &str, is_empty: bool| History {
        created_by: Some(command.to_owned()),
        empty_layer: Some(is_empty),
        ..History::default()
    };
    let config = ImageConfig {
        env: vec![
            "DB_PASSWORD=correct-horse".into(),
            "PATH=/bin".into(),
            "TOKEN_FILE=/run/t".into(),
            "U=redis://a:bcdefghi@h/".into(),
        ],
        history: vec![
            step("/bin/sh -c #(nop) ADD file:abc in / ", false),
            step("ENV A=b", true),
            step("ADD https://example.org/a.tar /a # buildkit", false),
            step("RUN /bin/sh -c curl https://example.org | sh # buildkit", false),
            step("|1 A=b /bin/sh -c wget -qO- https://example.org | bash", false),
        ],
        ..ImageConfig::default()
    };
    let lines = found(Some(&config), Some("latest"), vec![Tar::default()]);
    let count = |rule: &str| lines.iter().filter(|line| line.starts_with(&format!("{rule} "))).count();
    let counts: BTreeMap<&str, usize> =
        RULES.iter().map(|rule| (rule.id, count(rule.id))).filter(|(_, count)| *count > 0).collect();
    assert_eq!(
        counts,
        [("root-user", 1), ("secret-in-env", 2), ("add-url", 1), ("pipe-to-shell", 2), ("latest-tag", 1)]
            .into(),
        "{lines:?}"
    );
    assert!(lines.iter().any(|line| line.starts_with("add-url") && line.ends_with("Some(1)")), "{lines:?}");
    assert!(
        !lines.iter().any(|line| line.contains("correct-horse") || line.contains("bcdefghi")),
        "{lines:?}"
    );
    let quiet = ImageConfig { user: "65534".into(), ..ImageConfig::default() };
    assert_eq!(found(Some(&quiet), Some("1.0"), vec![Tar::default()]), [] as [&str; 0]);
}

#[test]
fn root_is_root_however_it_is_written() {
    for (user, expect) in [
        ("", true),
        ("0", true),
        ("root", true),
        ("0:0", true),
        ("00", true),
        ("root:x", true),
        ("1000", false),
        ("app", false),
        ("nobody:0", false),
    ] {
        assert_eq!(is_root(user), expect, "{user:?}");
    }
}

#[test]
fn the_history_line_is_that_of_the_layer() {
    let step = |command: &str, is_empty| History {
        created_by: Some(command.into()),
        empty_layer: is_empty,
        ..History::default()
    };
    let config = ImageConfig {
        history: vec![
            step("/bin/sh -c #(nop)  CMD [\"a\"]", Some(true)),
            step("RUN a # buildkit", None),
            step("COPY b /b", None),
        ],
        ..ImageConfig::default()
    };
    assert_eq!(history_of(&config, 0).as_deref(), Some("RUN a"));
    assert_eq!(history_of(&config, 1).as_deref(), Some("COPY b /b"));
    assert_eq!(history_of(&config, 2), None);
}

#[test]
fn many_files_are_counted() {
    let mut layer = Tar::default();
    for number in 0..PATHS_MAX + 5 {
        layer = layer.program(&format!("srv/{number:05}"), 0o666, "x");
    }
    let lines = found(None, None, vec![layer]);
    assert_eq!(lines.len(), PATHS_MAX);
    assert!(lines.iter().any(|line| line.contains("6 files more")), "{:?}", lines.last());
}
