use watchbell_image::ImageConfig;

use super::*;
use crate::elf::tests::ElfFile;
use crate::layers::{Interest, read_layers};
use crate::testing::{Tar, image};

fn run(config: &ImageConfig, layers: Vec<Tar>) -> Minimality {
    let image = image(layers);
    let collector = MinimalityCollector::default();
    let tree = {
        let interest = Interest {
            wants: &|facts| collector.wants(facts),
            takes: &|facts, content| collector.takes(facts, content),
        };
        read_layers(&image.content, &[interest], 2).unwrap()
    };
    report(collector, &tree, Some(config))
}

fn entry(words: &[&str]) -> ImageConfig {
    ImageConfig {
        entrypoint: words.iter().map(|word| (*word).to_owned()).collect(),
        ..ImageConfig::default()
    }
}

const LOADER: &str = "usr/lib64/ld-linux-x86-64.so.2";

/// A small Debian: a program with two libraries, and what it does not need.
fn debian() -> Tar {
    let list = |paths: &[&str]| paths.iter().map(|path| format!("/{path}\n")).collect::<String>();
    Tar::default()
        .dir("usr/lib")
        .dir("usr/lib64")
        .dir("usr/lib/x86_64-linux-gnu")
        .symlink("lib64", "usr/lib64")
        .symlink("lib", "usr/lib")
        .program(LOADER, 0o755, ElfFile::library("ld-linux-x86-64.so.2").bytes())
        .program("usr/bin/app", 0o755, ElfFile::executable().needs("liba.so.1").needs("libgone.so.9").bytes())
        .symlink("usr/lib/x86_64-linux-gnu/liba.so.1", "liba.so.1.2")
        .file(
            "usr/lib/x86_64-linux-gnu/liba.so.1.2",
            ElfFile::library("liba.so.1").needs("libb.so.2").bytes(),
        )
        .file("opt/special/libb.so.2", ElfFile::library("libb.so.2").bytes())
        .file("etc/ld.so.conf", "include ld.so.conf.d/*.conf\n")
        .file("etc/ld.so.conf.d/special.conf", "# ours\n/opt/special\n")
        .program("usr/bin/dash", 0o755, ElfFile::executable().bytes())
        .symlink("usr/bin/sh", "dash")
        .program("usr/bin/perl", 0o4755, ElfFile::executable().bytes())
        .file("usr/share/perl/big", vec![b'x'; 50_000])
        .file("usr/share/doc/readme", vec![b'x'; 20_000])
        .file("etc/passwd", "root:x:0:0::/:/bin/sh\n")
        .file("var/lib/dpkg/info/app.list", list(&["usr/bin/app"]))
        .file(
            "var/lib/dpkg/info/liba1:amd64.list",
            list(&["lib/x86_64-linux-gnu/liba.so.1", "lib/x86_64-linux-gnu/liba.so.1.2"]),
        )
        .file("var/lib/dpkg/info/perl.list", list(&["usr/bin/perl", "usr/share/perl/big"]))
        .file("var/lib/dpkg/info/dash.list", list(&["usr/bin/dash", "usr/bin/sh"]))
}

#[test]
fn what_a_program_needs_is_followed_through_the_linkers_rules() {
    let report = run(&entry(&["app"]), vec![debian()]);
    assert_eq!(report.program.as_deref(), Some("usr/bin/app"));
    assert_eq!(report.entry, Entry::Dynamic);
    assert_eq!(report.missing_libraries, ["libgone.so.9"]);
    assert_eq!((report.packages, report.reached_packages), (4, 2));
    assert_eq!(report.shells, ["usr/bin/dash"]);
    assert_eq!(report.setuid, ["usr/bin/perl"]);
    assert_eq!(report.interpreters, ["usr/bin/perl"]);
    let names: Vec<&str> = report.leftovers.iter().map(|leftover| leftover.name.as_str()).collect();
    assert_eq!(&names[..2], ["deb perl", "/usr/share"], "the biggest first");
    assert!(names.contains(&"deb dash") && !names.contains(&"deb liba1"), "{names:?}");
    // app, loader, liba by its name and its link, libb; passwd and the linker's files, which any program may read.
    assert_eq!(report.reached_files, 8, "{report:?}");
    assert!(report.distance_bytes() > 70_000);
}

#[test]
fn a_program_alone_has_no_distance() {
    let mut config = entry(&["/app"]);
    config.cmd = vec!["--serve".into()];
    // A static program has neither loader nor dynamic section; what this file has of one names nothing that is there.
    let report = run(&config, vec![Tar::default().program("app", 0o755, ElfFile::library("").bytes())]);
    assert_eq!(report.entry, Entry::Static);
    assert_eq!((report.distance_bytes(), report.leftovers.len()), (0, 0));
    assert_eq!(report.command, ["/app", "--serve"]);
}

#[test]
fn a_script_leads_to_its_interpreter_and_what_it_calls() {
    let layer =
        debian().program("run.sh", 0o755, "#!/bin/sh\nset -e\nexec app \"$@\"\n").symlink("bin", "usr/bin");
    let report = run(&entry(&["/run.sh"]), vec![layer]);
    assert_eq!(report.entry, Entry::Script);
    assert_eq!(report.reached_packages, 3, "app, liba and dash");
    let names: Vec<&str> = report.leftovers.iter().map(|leftover| leftover.name.as_str()).collect();
    assert_eq!(&names[..2], ["deb perl", "/usr/share"]);
}

#[test]
fn python_is_a_class_with_its_library() {
    let layer = debian()
        .program("usr/bin/python3.11", 0o755, ElfFile::executable().needs("liba.so.1").bytes())
        .symlink("usr/bin/python3", "python3.11")
        .file("usr/lib/python3.11/os.py", vec![b'x'; 1000])
        .file("usr/lib/python3/dist-packages/a/x.so", ElfFile::library("x.so").needs("libb.so.2").bytes())
        .file("usr/lib/python3/dist-packages/a-1.0.dist-info/RECORD", "a/x.so,sha256=x,10\n\"a/b,c.py\",,\n")
        .file("srv/main.py", "import a")
        .file("srv/helper.py", "x");
    let mut config = entry(&["python3", "main.py"]);
    config.working_dir = "/srv".into();
    let report = run(&config, vec![layer]);
    assert!(
        matches!(report.entry, Entry::Interpreted(class) if class.contains("Python")),
        "{:?}",
        report.entry
    );
    let names: Vec<&str> = report.leftovers.iter().map(|leftover| leftover.name.as_str()).collect();
    assert!(
        !names.iter().any(|name| name.contains("python") || *name == "/srv" || *name == "pypi a"),
        "{names:?}"
    );
    assert!(names.contains(&"deb app"));
}

#[test]
fn an_image_that_starts_nothing_says_so() {
    assert_eq!(run(&ImageConfig::default(), vec![debian()]).entry, Entry::None);
    assert_eq!(run(&entry(&["gone"]), vec![debian()]).entry, Entry::Missing("gone".into()));
    assert_eq!(
        run(&entry(&["/etc/passwd"]), vec![debian()]).entry,
        Entry::Missing("/etc/passwd".into()),
        "no program"
    );
}

#[test]
fn packages_of_alpine_are_known_by_their_files() {
    let installed =
        "P:musl\nV:1\nF:usr/lib\nR:libc.so\n\nP:app\nF:usr/bin\nR:app\n\nP:tool\nF:usr/bin\nR:tool\n";
    let layer = Tar::default()
        .file("lib/apk/db/installed", installed)
        .program("usr/bin/app", 0o755, ElfFile::library("").bytes())
        .program("usr/bin/tool", 0o755, vec![b'x'; 5000])
        .file("usr/lib/libc.so", "x");
    let report = run(&entry(&["app"]), vec![layer]);
    assert_eq!((report.packages, report.reached_packages), (3, 1));
    assert_eq!(report.leftovers[0], Leftover { name: "apk tool".into(), bytes: 5000, files: 1 });
}

#[test]
fn links_in_circles_and_absurd_lists_end() {
    let layer = || {
        Tar::default()
            .symlink("usr/bin/a", "b")
            .symlink("usr/bin/b", "a")
            .file("etc/ld.so.conf", "include ld.so.conf\ninclude /etc/*\n")
            .program("x", 0o755, "#!/x\n")
            .program("y", 0o755, "#!/usr/bin/env y\ny\n")
    };
    assert_eq!(run(&entry(&["a"]), vec![layer()]).entry, Entry::Missing("a".into()));
    for word in ["/x", "/y"] {
        assert_eq!(run(&entry(&[word]), vec![layer()]).entry, Entry::Script);
    }
}
