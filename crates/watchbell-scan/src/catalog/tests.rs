use std::io::Write;

use watchbell_image::Limits;

use super::catalog;
use crate::elf::tests::ElfFile;
use crate::layers::{Interest, read_layers};
use crate::testing::{Tar, image, image_of};
use crate::{Evidence, Inventory};

const OS: &str = "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\nPRETTY_NAME='Debian 12'\n";

fn tar() -> Tar {
    Tar::default()
}

fn inventory(layers: Vec<Tar>) -> Inventory {
    let image = image(layers);
    let inventory = catalog(&image.content, 2).unwrap();
    // The same whatever the threads do.
    assert_eq!(catalog(&image.content, 1).unwrap(), inventory);
    inventory
}

/// The packages, one a line, by their URLs.
fn check(layers: Vec<Tar>, expect: &[&str]) -> Inventory {
    let inventory = inventory(layers);
    let lines: Vec<String> =
        inventory.packages.iter().map(|p| p.purl(inventory.distribution.as_ref())).collect();
    assert_eq!(lines, expect);
    inventory
}

const STATUS: &str = "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nMulti-Arch: same\n\
    Source: glibc\nVersion: 2.36-9+deb12u10\nDescription: a\n text: with colons\n\n\
    Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
    Package: bsdutils\nStatus: install ok installed\nArchitecture: amd64\nSource: util-linux (2.38.1-5)\n\
    Version: 1:2.38.1-5+b1\n";

#[test]
fn packages_of_dpkg_belong_to_the_layer_that_brought_them() {
    let newer = format!(
        "{STATUS}\nPackage: curl\nStatus: install ok installed\nVersion: 7.88\nArchitecture: amd64\n"
    );
    let inventory = check(
        vec![
            tar().file("etc/os-release", OS).file("var/lib/dpkg/status", STATUS),
            tar().file("a", ""),
            tar()
                .file("var/lib/dpkg/status", newer)
                .file(
                    "usr/share/doc/curl/copyright",
                    "Format: https://x\nLicense: curl\nLicense: BSD-3-Clause\n",
                )
                .file("usr/share/doc/libc6/copyright", "License: prose is not read\n"),
        ],
        &[
            "pkg:deb/debian/bsdutils@1:2.38.1-5%2Bb1?arch=amd64&distro=debian-12&upstream=util-linux%402.38.1-5",
            "pkg:deb/debian/curl@7.88?arch=amd64&distro=debian-12",
            "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64&distro=debian-12&upstream=glibc",
        ],
    );
    let layers: Vec<_> = inventory.packages.iter().map(|p| p.locations[0].layer.clone().unwrap()).collect();
    assert!(layers[0] == layers[2] && layers[0] != layers[1]);
    assert_eq!(inventory.packages[1].licences, ["BSD-3-Clause", "curl"]);
    assert!(inventory.packages[2].licences.is_empty());
    assert!(inventory.gaps.is_empty(), "{:?}", inventory.gaps);
}

#[test]
fn a_distroless_image_has_a_file_a_package() {
    check(
        vec![
            tar()
                .file("usr/lib/os-release", OS)
                .symlink("etc/os-release", "../usr/lib/os-release")
                .file(
                    "var/lib/dpkg/status.d/base",
                    "Package: base-files\nVersion: 12.4\nArchitecture: amd64\n",
                )
                .file(
                    "var/lib/dpkg/status.d/base.md5sums",
                    "d41d8cd98f00b204e9800998ecf8427e  etc/x/METADATA\n",
                ),
        ],
        &["pkg:deb/debian/base-files@12.4?arch=amd64&distro=debian-12"],
    );
}

#[test]
fn what_was_removed_in_a_later_layer_is_not_there() {
    check(
        vec![
            tar()
                .file("a.dist-info/METADATA", "Name: A_b.C\nVersion: 1\n")
                .file("b/node_modules/x/package.json", "{}"),
            tar().file(".wh.a.dist-info", ""),
        ],
        &[],
    );
}

#[test]
fn an_application_package_that_the_distribution_owns_says_so() {
    let list = "/.\n/usr\n/usr/lib/python3/dist-packages/six-1.16.0.egg-info/PKG-INFO\n/lib/go-tool\n";
    let metadata = "Metadata-Version: 2.1\nName: six\nVersion: 1.16.0\nLicense: MIT\n\nVersion: 2\n";
    let inventory = check(
        vec![tar()
            .file("etc/os-release", OS)
            .symlink("lib", "usr/lib")
            .file("var/lib/dpkg/status", "Package: python3-six\nStatus: install ok installed\nVersion: 1.16.0-4\nArchitecture: all\n")
            .file("var/lib/dpkg/info/python3-six.list", list)
            .file("usr/lib/python3/dist-packages/six-1.16.0.egg-info/PKG-INFO", metadata)
            .file("opt/six-1.16.0.dist-info/METADATA", metadata)
            .program("usr/lib/go-tool", 0o755, ElfFile::executable().go("go1.22.3", "mod\texample.org/tool\tv1.0.0\n").bytes())],
        &[
            "pkg:deb/debian/python3-six@1.16.0-4?arch=all&distro=debian-12",
            "pkg:pypi/six@1.16.0",
            "pkg:pypi/six@1.16.0",
            "pkg:golang/example.org/tool@v1.0.0",
            "pkg:golang/stdlib@1.22.3",
        ],
    );
    let owners: Vec<_> = inventory.packages.iter().map(|p| (p.name.as_str(), p.owned_by)).collect();
    assert_eq!(owners[1..3], [("six", None), ("six", Some(0))]);
    assert!(owners[3..].iter().all(|(_, owner)| *owner == Some(0)), "{owners:?}");
}

#[test]
fn packages_of_apk() {
    let installed = "C:Q1x=\nP:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\no:musl\nF:lib\nR:ld-musl.so\n\n\
        P:libssl3\nV:3.3.1-r0\nA:x86_64\no:openssl\nL:Apache-2.0\nF:usr/lib/python3.12/site-packages/x.dist-info\nR:METADATA\n";
    let inventory = check(
        vec![
            tar()
                .file("etc/os-release", "ID=alpine\nVERSION_ID=3.20.1\n")
                .file("lib/apk/db/installed", installed)
                .file("usr/lib/python3.12/site-packages/x.dist-info/METADATA", "Name: x\nVersion: 1\n"),
        ],
        &[
            "pkg:apk/alpine/libssl3@3.3.1-r0?arch=x86_64&distro=alpine-3.20.1&upstream=openssl",
            "pkg:apk/alpine/musl@1.2.5-r0?arch=x86_64&distro=alpine-3.20.1",
            "pkg:pypi/x@1",
        ],
    );
    assert_eq!(inventory.packages[2].owned_by, Some(0));
    assert_eq!(inventory.packages[1].licences, ["MIT"]);
}

#[test]
fn packages_of_python() {
    let inventory = check(
        vec![tar()
            .file("v/Foo_Bar-1.0.dist-info/METADATA", "Name: Foo_Bar\nVersion: 1.0\nLicense-Expression: MIT OR Apache-2.0\nClassifier: License :: OSI Approved :: BSD License\n\nName: no\n")
            .file("v/old.egg-info", "Name: old\nVersion: 0.1\nClassifier: License :: OSI Approved :: BSD License\n")
            .file("v/x.libs/libgfortran-040039e1-0352e75f.so.5.0.0", ElfFile::library("libgfortran.so").bytes())
            .file("v/x.libs/libopenblas64_p-r0-0cf96a72.3.23.so", ElfFile::library("libopenblas.so").bytes())
            .file("v/x.libs/libgomp-a34b3233.so.1", ElfFile::library("libgomp.so").bytes())
            .file("c/conda-meta/zlib-1.2.13-h1.json", r#"{"name":"zlib","version":"1.2.13","subdir":"linux-64","license":"Zlib","files":["lib/libz.so"]}"#)
            .file("c/lib/libz.so", ElfFile::library("libz.so").bytes())
            .file("requirements.txt", "# a\n-r other\nrequests[socks]==2.31.0 ; python_version > '3'\nloose>=1\nx==1.*\ny===2 --hash=sha256:00\n")
            .file("poetry.lock", "[[package]]\nname = \"attrs\"\nversion = \"23.1\"\n")
            .file("p/uv.lock", "version = 1\n[[package]]\nname = \"mine\"\nversion = \"0\"\nsource = { editable = \".\" }\n[[package]]\nname = \"idna\"\nversion = \"3.4\"\n")
            .file("Pipfile.lock", r#"{"default":{"six":{"version":"==1.16"}},"develop":{"git":{"ref":"x"}}}"#)],
        &[
            "pkg:pypi/foo-bar@1.0", "pkg:pypi/attrs@23.1", "pkg:pypi/idna@3.4", "pkg:pypi/old@0.1",
            "pkg:pypi/requests@2.31.0", "pkg:pypi/six@1.16", "pkg:pypi/y@2",
            "pkg:conda/zlib@1.2.13?subdir=linux-64",
            "pkg:generic/libgfortran@5.0.0", "pkg:generic/libgomp@1", "pkg:generic/libopenblas64_p@0.3.23",
        ],
    );
    assert_eq!(inventory.packages[0].licences, ["MIT OR Apache-2.0"]);
    assert_eq!(inventory.packages[3].licences, ["BSD License"]);
    assert_eq!(inventory.packages[1].evidence, Evidence::LockFile);
    assert_eq!(inventory.packages[0].name, "Foo_Bar");
    // Conda says itself what is its own.
    assert!(inventory.gaps.is_empty(), "{:?}", inventory.gaps);
}

#[test]
fn lock_files_by_their_other_names() {
    let pylock = "lock-version = \"1.0\"\n[[packages]]\nname = \"attrs\"\nversion = \"25.1\"\n[[packages]]\nname = \"mine\"\n";
    let conda = "version: 1\nmetadata:\n  channels:\n  - url: conda-forge\n    name: nothing\npackage:\n- name: zlib\n  version: '1.3'\n  manager: conda\n  platform: linux-64\n  dependencies:\n    name: no\n    version: '9'\n  hash:\n    md5: x\n- name: zlib\n  version: '1.3'\n  manager: conda\n  platform: osx-arm64\n- name: idna\n  version: '3.10'\n  manager: pip\n  platform: linux-64\n";
    let bun = r#"{
      // written by bun
      "lockfileVersion": 1, /* of today */
      "workspaces": {"": {"name": "app", "dependencies": {"a": "^1.0.0",},},},
      "packages": {
        "@s/c": ["@s/c@2.0.0", "", {"dependencies": {"x": "http://a,]"},}, "sha512-x"],
        "alias": ["real@3.0.0", "", {}, ""],
        "mine": ["mine@workspace:packages/mine"],
      },
    }"#;
    let inventory = check(
        vec![
            tar()
                .file("a/requirements-prod.txt", "a==1\n")
                .file("b/dev_requirements.txt", "b==1\n")
                .file("requirements/base.txt", "c==1\n")
                .file("srv/otherrequirements.txt", "no==1\n")
                .file("srv/requirementsx.txt", "no==1\n")
                .file("pylock.toml", pylock)
                .file("pylock.dev.toml", pylock.replace("attrs", "pytest"))
                .file("conda-lock.yml", conda)
                .file("bun.lock", bun),
        ],
        &[
            "pkg:pypi/a@1",
            "pkg:pypi/attrs@25.1",
            "pkg:pypi/b@1",
            "pkg:pypi/c@1",
            "pkg:pypi/idna@3.10",
            "pkg:pypi/mine",
            "pkg:pypi/pytest@25.1",
            "pkg:conda/zlib@1.3?subdir=linux-64",
            "pkg:npm/%40s/c@2.0.0",
            "pkg:npm/real@3.0.0",
        ],
    );
    assert!(inventory.gaps.is_empty(), "{:?}", inventory.gaps);
    assert!(inventory.packages.iter().all(|package| package.evidence == Evidence::LockFile));
}

#[test]
fn packages_of_npm_yarn_and_pnpm() {
    let lock = r#"{"lockfileVersion":3,"packages":{"":{"name":"app","version":"1"},"node_modules/a":{"version":"1.0.0","license":"ISC"},
        "node_modules/b":{"link":true},"node_modules/x/node_modules/@s/c":{"version":"2.0.0"},"node_modules/alias":{"name":"real","version":"3.0.0"}}}"#;
    let old = r#"{"lockfileVersion":1,"dependencies":{"d":{"version":"4.0.0","dependencies":{"e":{"version":"5.0.0"}}},
        "renamed":{"version":"npm:lodash@4.17.15"},"scoped":{"version":"npm:@s/n@1.2.0"}}}"#;
    let yarn = "# yarn lockfile v1\n\n\"@s/f@^1.0.0\", \"@s/f@^1.1.0\":\n  version \"1.1.0\"\n  dependencies:\n    version \"9\"\n\ng@~2:\n  version \"2.2.0\"\n";
    let berry = "__metadata:\n  version: 8\n\n\"h@npm:^3.0.0\":\n  version: 3.0.1\n\n\"mine@workspace:.\":\n  version: 0.0.0\n\n\"i@npm:@s/real@^1\":\n  version: 1.5.0\n";
    let pnpm = "lockfileVersion: '9.0'\nimporters:\n  .:\n    dependencies:\n      j: {version: 1.0.0}\npackages:\n  j@1.0.0(k@2.0.0):\n    resolution: {integrity: x}\n  '@s/l@3.0.0':\n    engines: {node: '>=1'}\n  /m/4.0.0_n@5: {}\n  git+x: {}\nsnapshots:\n  zz@1.0.0: {}\n";
    check(
        vec![
            tar()
                .file("app/package.json", r#"{"name":"app","version":"1.2.3","license":"MIT"}"#)
                .file(
                    "app/node_modules/@scope/lib/package.json",
                    r#"{"name":"@scope/lib","version":"0.1.0","licenses":[{"type":"BSD"}]}"#,
                )
                .file("app/node_modules/@scope/lib/test/package.json", r#"{"name":"evil","version":"0.1.0"}"#)
                .file("app/node_modules/esm/dist/package.json", r#"{"name":"evil","version":"0.1.0"}"#)
                .file("1/package-lock.json", lock)
                .file("2/package-lock.json", old)
                .file("3/yarn.lock", yarn)
                .file("4/yarn.lock", berry)
                .file("5/pnpm-lock.yaml", pnpm),
        ],
        &[
            "pkg:npm/%40s/c@2.0.0",
            "pkg:npm/%40s/f@1.1.0",
            "pkg:npm/%40s/l@3.0.0",
            "pkg:npm/%40s/n@1.2.0",
            "pkg:npm/%40s/real@1.5.0",
            "pkg:npm/%40scope/lib@0.1.0",
            "pkg:npm/a@1.0.0",
            "pkg:npm/app@1.2.3",
            "pkg:npm/d@4.0.0",
            "pkg:npm/e@5.0.0",
            "pkg:npm/g@2.2.0",
            "pkg:npm/h@3.0.1",
            "pkg:npm/j@1.0.0",
            "pkg:npm/lodash@4.17.15",
            "pkg:npm/m@4.0.0",
            "pkg:npm/real@3.0.0",
        ],
    );
}

fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in files {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

#[test]
fn jars_and_jars_inside_of_jars() {
    let pom = b"#Generated\ngroupId=org.example\nartifactId=lib\nversion=1.0\n";
    let inner = zip(&[("META-INF/maven/org.example/lib/pom.properties", pom)]);
    let manifest = b"Manifest-Version: 1.0\r\nBundle-SymbolicName: com.google.gu\r\n ava;x=y\r\nBundle-Version: 33.0.0\r\n\r\nName: x\r\nImplementation-Version: 9\r\n";
    let war = zip(&[
        ("META-INF/MANIFEST.MF", b"Manifest-Version: 1.0\n"),
        ("WEB-INF/lib/inner.jar", &inner),
        ("WEB-INF/lib/guava-33.0.0.jar", &zip(&[("META-INF/MANIFEST.MF", manifest)])),
        ("WEB-INF/lib/nothing-1.2-SNAPSHOT.jar", &zip(&[])),
        ("WEB-INF/lib/damaged.jar", b"PK but no more"),
    ]);
    let inventory = check(
        vec![tar().file("app/web.war", war)],
        &[
            "pkg:maven/com.google.guava/guava@33.0.0",
            "pkg:maven/nothing/nothing@1.2-SNAPSHOT",
            "pkg:maven/org.example/lib@1.0",
        ],
    );
    assert_eq!(inventory.packages[2].locations[0].path, "app/web.war/WEB-INF/lib/inner.jar");
    assert_eq!(inventory.packages[1].evidence, Evidence::FileName);
    assert_eq!(inventory.gaps.len(), 1);
    assert!(inventory.gaps[0].reason.starts_with("WEB-INF/lib/damaged.jar: "), "{:?}", inventory.gaps);
}

#[test]
fn executable_jars_are_jars() {
    let pom = b"groupId=org.example\nartifactId=lib\nversion=1.0\n";
    let jar = zip(&[("META-INF/maven/org.example/lib/pom.properties", pom)]);
    let script = [b"#!/bin/bash\nexec java -jar \"$0\"\n".as_slice(), &jar].concat();
    let inventory = check(
        vec![
            tar()
                .program("app/app.jar", 0o755, script)
                .file("srv/text.jar", "no archive")
                .file("srv/empty.jar", "")
                .file("var/log/sa/today.sar", "no archive either"),
        ],
        &["pkg:maven/org.example/lib@1.0"],
    );
    let gaps: Vec<&str> = inventory.gaps.iter().map(|gap| gap.location.path.as_str()).collect();
    assert_eq!(gaps, ["srv/text.jar"]);
}

#[test]
fn what_lies_in_an_archive_of_a_package_is_the_package_s() {
    let pom = b"groupId=org.example\nartifactId=lib\nversion=1.0\n";
    let jar = zip(&[("META-INF/maven/org.example/lib/pom.properties", pom)]);
    let files = (0..2).map(|n| ["usr/share/x/web.war", "usr/share/x/all.ear"][n]);
    let list: String = files.clone().map(|path| format!("/{path}\n")).collect();
    let layer = files.fold(tar(), |t, path| t.file(path, zip(&[("WEB-INF/lib/lib-1.0.jar", &jar)])));
    let inventory = inventory(vec![
        layer
            .file("etc/os-release", OS)
            .file("var/lib/dpkg/status", "Package: x\nStatus: install ok installed\nVersion: 1\n")
            .file("var/lib/dpkg/info/x.list", list),
    ]);
    let owners: Vec<_> = inventory.packages.iter().map(|p| (p.name.as_str(), p.owned_by)).collect();
    assert_eq!(owners, [("x", None), ("org.example:lib", Some(0))]);
}

#[test]
fn a_jar_that_unpacks_without_end_is_given_up() {
    let bomb = zip(&[("META-INF/MANIFEST.MF", &vec![b'a'; 8 << 20])]);
    let mut nested = bomb;
    for _ in 0..6 {
        nested = zip(&[("a.jar", &nested)]);
    }
    let inventory = check(
        vec![
            tar().file("a.jar", zip(&[("META-INF/MANIFEST.MF", &vec![b'a'; 8 << 20])])).file("n.jar", nested),
        ],
        &[],
    );
    let reasons: Vec<_> = inventory.gaps.iter().map(|g| g.reason.as_str()).collect();
    assert!(reasons[0].contains("unpacks to more than 1048576 bytes"), "{reasons:?}");
    assert!(reasons[1].contains("lies in more than 4 archives"), "{reasons:?}");
}

#[test]
fn entries_that_do_not_unpack_cost_as_much_as_those_that_do() {
    // Nor is a central directory read that has more entries than are looked at.
    let jar = super::java::read(&b"PK\x01\x02".repeat(800_001), "a.jar");
    assert_eq!(jar.gaps, ["it has more than 200000 entries"]);
    let bomb = vec![b'a'; (1 << 20) + 1];
    let names: Vec<String> = (0..300).map(|n| format!("META-INF/maven/{n}/pom.properties")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), bomb.as_slice())).collect();
    let jar = super::java::read(&zip(&files), "a.jar");
    assert!(jar.items.is_empty());
    assert!(jar.gaps.len() <= 51, "{}", jar.gaps.len());
    assert!(jar.gaps[0].contains("unpacks to more than 1048576 bytes"), "{:?}", jar.gaps[0]);
    // Of 300 only 256 are unpacked: 1 MiB each, of 256 MiB together; 50 of them are told one by one.
    assert_eq!(jar.gaps.last().unwrap(), "207 more of its entries cannot be read");
}

#[test]
fn what_all_files_tell_is_kept_within_bounds() {
    // Ten bytes of a file become some 250: what is kept has a bound for all of them together.
    let lock = |n: usize| (0..1000).map(|line| format!("p{n}-{line}==1\n")).collect::<String>();
    let files = (0..100).fold(tar(), |t, n| t.file(&format!("{n}/requirements.txt"), lock(n)));
    let image = image(vec![files]);
    let collector = super::Collector::within(4 << 20);
    let interest =
        Interest { wants: &|f| collector.wants(f), takes: &|f, content| collector.takes(f, content) };
    let tree = read_layers(&image.content, &[interest], 1).unwrap();
    let inventory = collector.finish(&tree, &image.content.image.layers);
    let whole = inventory.packages.len() / 1000;
    assert!(
        (10..25).contains(&whole) && inventory.packages.len() == whole * 1000,
        "{}",
        inventory.packages.len()
    );
    let told: Vec<&str> = inventory.gaps.iter().map(|gap| gap.reason.as_str()).collect();
    let left_out = 100 - whole;
    assert_eq!(
        told,
        [format!(
            "its files tell of more packages and paths than are kept of one image: {left_out} of them are left out"
        )]
    );
}

#[test]
fn one_file_tells_of_so_many_packages_and_paths_at_most() {
    use super::item::{ITEMS_MAX, PATHS_BYTES_MAX, PATHS_MAX};
    let file = |path: &str, content: Vec<u8>| super::catalog_file(path, content);
    // Lines that are none do not use up the bound.
    let mut lines = "#\n".repeat(ITEMS_MAX);
    lines.push_str("a==1\n");
    assert_eq!(file("requirements.txt", lines.into()).packages.len(), 1);
    let more: String = (0..=ITEMS_MAX).map(|n| format!("p{n}==1\n")).collect();
    let inventory = file("requirements.txt", more.into());
    assert_eq!(inventory.packages.len(), ITEMS_MAX);
    assert_eq!(inventory.gaps[0].reason, "it tells of more than 200000 packages");
    assert_eq!(super::dpkg::files("/\n".repeat(PATHS_MAX + 1).as_bytes()).hashes.len(), PATHS_MAX);
    let values = format!("[{}0]", "0,".repeat(4_000_001));
    let gaps = file("package-lock.json", values.into()).gaps;
    assert_eq!(gaps[0].reason, "it cannot be read: it has more than 4000000 values");
    // A directory that is said once and counts with each of its files.
    let many = format!("P:a\nV:1\nF:{}\n{}", "d".repeat(4000), "R:f\n".repeat(PATHS_BYTES_MAX / 4000 + 1));
    let (items, problem) = super::apk::installed(many.as_bytes());
    assert_eq!(items[0].files.hashes.len(), PATHS_BYTES_MAX / 4002);
    assert!(problem.unwrap().contains("have more than"));
}

#[test]
fn hard_links_do_not_multiply_packages_without_end() {
    let lock: String = (0..2000).map(|n| format!("p{n}==1\n")).collect();
    let long = vec!["d".repeat(200); 17].join("/");
    let links = (0..60).fold(tar().file("requirements.txt", lock), |t, n| {
        t.hard_link(&format!("{long}/{n}/requirements.txt"), "requirements.txt")
    });
    let inventory = catalog(&image(vec![links]).content, 1).unwrap();
    let places: usize = inventory.packages.iter().map(|package| package.locations.len()).sum();
    assert!(places * long.len() <= 256 << 20, "{places}");
    assert_eq!(inventory.packages.len(), 2000);
    assert!(inventory.gaps[0].reason.contains("in more places, than are kept"), "{:?}", inventory.gaps);
}

#[test]
fn packages_of_ruby_php_and_rust() {
    let gemspec = "Gem::Specification.new do |s|\n  s.name = \"rake\".freeze\n  s.version = \"13.0.6\"\n  s.licenses = [\"MIT\".freeze, \"Ruby\".freeze]\nend\n";
    let gemfile = "PATH\n  remote: .\n  specs:\n    mine (0.1)\n\nGEM\n  remote: https://x\n  specs:\n    rack (3.0.8)\n      dep (>= 1)\n    nokogiri (1.15.4-x86_64-linux)\n\nPLATFORMS\n  ruby\n";
    let installed =
        r#"{"packages":[{"name":"Monolog/Monolog","version":"3.4.0","license":["MIT"]}],"dev":true}"#;
    let cargo_lock =
        "version = 4\n[[package]]\nname = \"serde\"\nversion = \"1.0.1\"\nsource = \"registry\"\n";
    check(
        vec![
            tar()
                .file("usr/lib/ruby/gems/3.1.0/specifications/rake-13.0.6.gemspec", gemspec)
                .file(
                    "usr/lib/ruby/gems/3.1.0/specifications/default/x-2.gemspec",
                    "s.name = 'x'\ns.version = VERSION\n",
                )
                .file("src/rake.gemspec", gemspec)
                .file("Gemfile.lock", gemfile)
                .file("vendor/composer/installed.json", installed)
                .file("composer.lock", r#"{"packages":[],"packages-dev":[{"name":"a/b","version":"v1.0"}]}"#)
                .file("Cargo.lock", cargo_lock),
        ],
        &[
            "pkg:cargo/serde@1.0.1",
            "pkg:gem/nokogiri@1.15.4",
            "pkg:gem/rack@3.0.8",
            "pkg:gem/rake@13.0.6",
            "pkg:gem/x@2",
            "pkg:composer/monolog/monolog@3.4.0",
            "pkg:composer/a/b@v1.0",
        ],
    );
}

#[test]
fn an_interpreter_of_another_vendors_package_is_told_for_itself() {
    let node = || ElfFile::executable().section(".rodata", b"node.js/v20.5.0\0".to_vec()).bytes();
    let of = |maintainer: &str, version: &str| {
        let status = format!(
            "Package: nodejs\nStatus: install ok installed\nMaintainer: {maintainer}\nArchitecture: amd64\nVersion: {version}\n"
        );
        let layer = tar()
            .file("etc/os-release", OS)
            .file("var/lib/dpkg/status", &status)
            .file("var/lib/dpkg/info/nodejs.list", "/usr/bin/node\n")
            .file("usr/bin/node", node());
        let inventory = inventory(vec![layer]);
        let packages = inventory.packages.iter();
        packages.map(|p| (p.name.clone(), p.vendor.clone(), p.owned_by)).collect::<Vec<_>>()
    };
    let nodesource = Some("NodeSource".to_owned());
    assert_eq!(
        of("NodeSource <nodejs@nodesource.com>", "20.5.0-1nodesource1"),
        [("nodejs".to_owned(), nodesource, None), ("node".to_owned(), None, Some(0))]
    );
    assert_eq!(
        of("Debian Javascript Maintainers <pkg-javascript-devel@lists.alioth.debian.org>", "18.19.0+dfsg-6"),
        [("nodejs".to_owned(), None, None)]
    );
}

#[test]
fn what_compilers_wrote_into_programs() {
    let modules = "path\texample.org/cmd\nmod\texample.org/App\t(devel)\t\ndep\tgithub.com/a/b\tv1.2.3\th1:x\ndep\tgolang.org/x/net\tv0.1.0\n=>\tgolang.org/x/net\tv0.2.0\th1:y\ndep\tlocal.org/z\tv1.0.0\n=>\t./z\t\nbuild\t-compiler=gc\n";
    let mut compressed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    compressed.write_all(br#"{"packages":[{"name":"serde","version":"1.0.1","source":"crates.io"},{"name":"cc","version":"1","kind":"build"}]}"#).unwrap();
    let auditable = compressed.finish().unwrap();
    let mut bomb = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    bomb.write_all(&vec![b' '; 16 << 20]).unwrap();
    let inventory = check(
        vec![
            tar()
                .file("go", ElfFile::executable().go("go1.21.5 X:boring", modules).bytes())
                .file("rust", ElfFile::executable().section(".dep-v0", auditable).bytes())
                .file("bomb", ElfFile::executable().section(".dep-v0", bomb.finish().unwrap()).bytes())
                .file("plain", ElfFile::executable().bytes())
                .file("libplain.so", ElfFile::library("libplain.so.1").bytes())
                .file("module.so", ElfFile::library("").bytes())
                .file("broken", b"\x7fELF\x02\x01 and no more")
                .file(
                    "usr/bin/python3.11",
                    ElfFile::executable().section(".rodata", b"x\x003.11.2\x003.10.1\x00".to_vec()).bytes(),
                )
                .file(
                    "usr/bin/python3.12",
                    ElfFile::executable().section(".rodata", b"x\x003.12.2\x003.12.3\x00".to_vec()).bytes(),
                )
                .file("jdk/release", "IMPLEMENTOR=\"Debian\"\nJAVA_VERSION=\"17.0.9\"\n"),
        ],
        &[
            "pkg:cargo/serde@1.0.1",
            "pkg:golang/example.org/app",
            "pkg:golang/github.com/a/b@v1.2.3",
            "pkg:golang/golang.org/x/net@v0.2.0",
            "pkg:golang/local.org/z@v1.0.0",
            "pkg:golang/stdlib@1.21.5",
            "pkg:generic/java@17.0.9",
            "pkg:generic/python@3.11.2",
        ],
    );
    let gaps: Vec<_> = inventory.gaps.iter().map(|g| (g.location.path.as_str(), &g.reason[..20])).collect();
    assert_eq!(
        gaps,
        [
            ("bomb", "its list of crates u"),
            ("bomb", "this and 3 more prog"),
            ("broken", "its ELF header is no"),
        ],
    );
}

#[test]
fn crates_in_the_middle_of_a_large_program_are_read() {
    let mut compressed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    compressed
        .write_all(br#"{"packages":[{"name":"serde","version":"1.0.1","source":"crates.io"}]}"#)
        .unwrap();
    let program = ElfFile::executable()
        .section(".text", vec![0; 5 << 20])
        .section(".dep-v0", compressed.finish().unwrap())
        .section(".rest", vec![0; 12 << 20])
        .bytes();
    assert!(program.len() > 16 << 20);
    let layers = || vec![tar().program("bin/large", 0o755, &program)];
    let inventory = check(layers(), &["pkg:cargo/serde@1.0.1"]);
    assert!(inventory.gaps.is_empty(), "{:?}", inventory.gaps);
    // Who does not read it again says what is missing, and not that there is nothing.
    let image = image(layers());
    let collector = super::Collector::default();
    let interest =
        Interest { wants: &|f| collector.wants(f), takes: &|f, content| collector.takes(f, content) };
    let tree = read_layers(&image.content, &[interest], 1).unwrap();
    let inventory = collector.finish(&tree, &image.content.image.layers);
    let told: Vec<&str> = inventory.gaps.iter().map(|gap| &gap.reason[..40]).collect();
    assert_eq!(told, ["its list of crates (section .dep-v0) is "]);
}

#[test]
fn an_image_without_its_package_database_says_so() {
    let inventory = check(vec![tar().file("etc/os-release", OS).file("var/lib/dpkg/status", "")], &[]);
    assert_eq!(inventory.gaps.len(), 1);
    assert!(inventory.gaps[0].reason.contains("Debian 12"), "{:?}", inventory.gaps);
    let inventory =
        check(vec![tar().file("package.json", "{\"name\": broken").file("a/Cargo.lock", "[[package")], &[]);
    assert!(
        inventory.gaps.iter().all(|g| g.reason.starts_with("it cannot be read: ")),
        "{:?}",
        inventory.gaps
    );
    assert_eq!(inventory.gaps.len(), 2);
}

#[test]
fn another_system_within_the_image_is_not_asked_for_under_its_name() {
    let curl = "Package: curl\nStatus: install ok installed\nVersion: 7.88\n";
    let base = || tar().file("etc/os-release", OS).file("var/lib/dpkg/status", curl);
    let libc = |name: &str| format!("Package: {name}\nStatus: install ok installed\nVersion: 1\n");
    const CURL: &str = "pkg:deb/debian/curl@7.88?distro=debian-12";
    let inventory = check(
        vec![
            base()
                // The same release, another one, and one that does not say which it is.
                .file("srv/same/etc/os-release", OS)
                .file("srv/same/var/lib/dpkg/status", libc("same"))
                .file("srv/old/etc/os-release", OS.replace("12", "10"))
                .file("srv/old/var/lib/dpkg/status", libc("old"))
                .file("srv/old/var/lib/dpkg/info/old.list", "/bin/tool\n")
                .file("rootfs/usr/lib/apk/db/installed", "P:musl\nV:1\n\n")
                .file("rootfs/var/lib/rpm/Packages", ""),
        ],
        &[CURL, "pkg:deb/debian/same@1?distro=debian-12"],
    );
    let gaps: Vec<&str> = inventory.gaps.iter().map(|gap| gap.location.path.as_str()).collect();
    assert_eq!(
        gaps[..2],
        ["rootfs/usr/lib/apk/db/installed", "rootfs/var/lib/rpm/Packages"],
        "{:?}",
        inventory.gaps
    );
    assert_eq!(gaps.last(), Some(&"srv/old/var/lib/dpkg/status"));
    let root = super::role::root_of;
    assert_eq!(root("usr/lib/apk/db/installed"), Some(""));
    assert_eq!(root("a/usr/lib/sysimage/rpm/Packages.db"), Some("a/"));
    assert_eq!(root("xvar/lib/dpkg/status"), None);
    assert_eq!(root("var/lib/rpm/b/var/lib/dpkg/status"), Some("var/lib/rpm/b/"));
    // What a database says within a directory, where nobody says which system it is.
    check(vec![tar().file("srv/var/lib/dpkg/status", curl)], &["pkg:deb/curl@7.88"]);
}

#[test]
fn hostile_words_are_no_packages() {
    let long = "x".repeat(2000);
    let layer = tar()
        .file("a.dist-info/METADATA", format!("Name: {long}\nVersion: 1\n"))
        .file("b.dist-info/METADATA", "Name: a\x1b[2J\nVersion: 1\n")
        .file("c.dist-info/METADATA", b"Name: \xff\xfe\nVersion: 1\n")
        .bytes();
    let image = image_of(std::slice::from_ref(&layer), vec![layer.clone()], &Limits::default()).unwrap();
    let inventory = catalog(&image.content, 1).unwrap();
    assert_eq!(inventory.packages.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["\u{fffd}\u{fffd}"]);
}

#[test]
fn a_database_that_was_moved_and_linked_to_its_place_is_read() {
    const LIBC: &str = "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64&distro=debian-12&upstream=glibc";
    const UTILS: &str =
        "pkg:deb/debian/bsdutils@1:2.38.1-5%2Bb1?arch=amd64&distro=debian-12&upstream=util-linux%402.38.1-5";
    let linked = |place: fn(Tar) -> Tar| {
        let base = tar().file("etc/os-release", OS);
        let inventory = check(vec![place(base), tar().file("other", "")], &[UTILS, LIBC]);
        assert!(inventory.gaps.is_empty(), "{:?}", inventory.gaps);
        inventory
    };
    let moved = linked(|t| t.file("srv/x/status", STATUS).symlink("var/lib/dpkg", "/srv/x"));
    assert_eq!(moved.packages[0].locations[0].path, "var/lib/dpkg/status");
    linked(|t| t.file("blob", STATUS).symlink("var/lib/dpkg/status", "../../../blob"));
    linked(|t| t.file("blob", STATUS).hard_link("var/lib/dpkg/status", "blob"));
    linked(|t| t.file("status", STATUS).symlink("var/lib/dpkg", "../.."));
    linked(|t| {
        t.symlink("var", "a").symlink("a/lib", "/b").symlink("b/dpkg", "c/d").file("b/c/d/status", STATUS)
    });
    // By its real name it looks like another system's.
    let moved = linked(|t| t.symlink("var", "data/var").file("data/var/lib/dpkg/status", STATUS));
    assert_eq!(moved.packages[0].locations[0].path, "data/var/lib/dpkg/status");
    linked(|t| {
        let t = t.symlink("var/lib", "/mnt/state").symlink("mnt/state", "../srv/old/var/lib");
        t.file("srv/old/var/lib/dpkg/status", STATUS).file("srv/old/etc/os-release", OS.replace("12", "10"))
    });
    linked(|t| t.symlink("var", "data/var").file("data/var/lib/dpkg/status.d/all", STATUS));
    let apk = vec![
        tar()
            .file("etc/os-release", "ID=alpine\nVERSION_ID=3.20.1\n")
            .symlink("lib", "root/usr/lib")
            .file("root/usr/lib/apk/db/installed", "P:musl\nV:1\n\n"),
    ];
    assert!(check(apk, &["pkg:apk/alpine/musl@1?distro=alpine-3.20.1"]).gaps.is_empty());
    // What else tells of packages, and which release this is.
    let inventory = check(
        vec![
            tar()
                .file("opt/release", OS)
                .symlink("etc/os-release", "../opt/release")
                .file("opt/six/METADATA", "Name: six\nVersion: 1.16.0\n")
                .symlink("usr/lib/six-1.16.0.dist-info", "/opt/six"),
        ],
        &["pkg:pypi/six@1.16.0"],
    );
    assert_eq!(inventory.distribution.unwrap().id, "debian");
    assert_eq!(inventory.packages[0].locations[0].path, "usr/lib/six-1.16.0.dist-info/METADATA");
}

#[test]
fn what_links_lead_to_and_was_not_read_is_told() {
    let image = image(vec![tar().file("x", STATUS).symlink("var/lib/dpkg/status", "/x")]);
    let collector = super::Collector::default();
    let interest =
        Interest { wants: &|f| collector.wants(f), takes: &|f, content| collector.takes(f, content) };
    let tree = read_layers(&image.content, &[interest], 1).unwrap();
    let inventory = collector.finish(&tree, &image.content.image.layers);
    assert!(inventory.packages.is_empty());
    let told: Vec<(&str, &str)> =
        inventory.gaps.iter().map(|gap| (gap.location.path.as_str(), gap.reason.as_str())).collect();
    assert_eq!(told, [("var/lib/dpkg/status", "a link gives it this name, and it was not read by it")]);
}

#[test]
fn links_are_followed_within_bounds() {
    // A thousand links to a directory of a thousand and one files.
    let files = (0..1001).fold(tar(), |t, n| t.file(&format!("d/{n}"), ""));
    let image = image(vec![(0..1000).fold(files, |t, n| t.symlink(&format!("link{n}"), "d"))]);
    let inventory = catalog(&image.content, 1).unwrap();
    assert_eq!(inventory.gaps.len(), 1);
    assert!(inventory.gaps[0].reason.contains("more links to directories"), "{:?}", inventory.gaps);
}
