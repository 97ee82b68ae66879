use proptest::prelude::*;

use super::Reference;

const HEX: &str = "86e0e091d0da6bde2456dbb48306f3956bbeb2eae1b5b9a43045843f69fe4aaa";

#[test]
fn names_normalise_as_docker_does() {
    let check = |written: &str, canonical: &str, familiar: &str| {
        let reference = Reference::parse(written).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(reference.to_string(), canonical, "{written}");
        assert_eq!(reference.familiar(), familiar, "{written}");
    };
    check("busybox", "docker.io/library/busybox:latest", "busybox:latest");
    check("busybox:bar", "docker.io/library/busybox:bar", "busybox:bar");
    check("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest");
    check("index.docker.io/library/busybox", "docker.io/library/busybox:latest", "busybox:latest");
    check("someone/tool:v1", "docker.io/someone/tool:v1", "someone/tool:v1");
    check("localhost/tool", "localhost/tool:latest", "localhost/tool:latest");
    check("localhost:5000/tool:1", "localhost:5000/tool:1", "localhost:5000/tool:1");
    check("127.0.0.1:5000/a/b/c", "127.0.0.1:5000/a/b/c:latest", "127.0.0.1:5000/a/b/c:latest");
    check("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest");
    check("Example.org/a", "Example.org/a:latest", "Example.org/a:latest");
    check(
        "registry.example.org/a_b/c__d/e-f---g.h",
        "registry.example.org/a_b/c__d/e-f---g.h:latest",
        "registry.example.org/a_b/c__d/e-f---g.h:latest",
    );
    check(
        &format!("busybox@sha256:{HEX}"),
        &format!("docker.io/library/busybox@sha256:{HEX}"),
        &format!("busybox@sha256:{HEX}"),
    );
    check(
        &format!("busybox:1.36@sha256:{HEX}"),
        &format!("docker.io/library/busybox:1.36@sha256:{HEX}"),
        &format!("busybox:1.36@sha256:{HEX}"),
    );
    // A 64-digit name is refused only where it is the whole reference.
    check(&format!("a/{HEX}"), &format!("docker.io/a/{HEX}:latest"), &format!("a/{HEX}:latest"));
}

#[test]
fn what_docker_refuses_is_refused() {
    for bad in [
        "",
        ":tag",
        "@sha256:00",
        "BusyBox",
        "a/B",
        "a//b",
        "/a",
        "a/",
        "-a",
        "a-",
        "a..b",
        "a___b",
        "a._b",
        "a:",
        "a:.x",
        "a:-x",
        "a b",
        "a:b:c",
        "a\n",
        "../a",
        "a/../b",
        "host.:5000/a",
        "-host.org/a",
        "host.org:port/a",
        "host.org:99999/a",
        "[::1/a",
        "[zz]:1/a",
        "a@sha256:abc",
        "a@sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709",
        HEX,
        &format!("a@sha256:{}", HEX.to_uppercase()),
        &format!("a:{}", "t".repeat(129)),
        &"a".repeat(256),
    ] {
        assert!(Reference::parse(bad).is_err(), "{bad:?} was accepted");
    }
}

fn reference_text() -> impl Strategy<Value = String> {
    let domain = "(|localhost/|localhost:5000/|[a-z]{1,5}\\.[a-z]{2,3}(:[1-9][0-9]{0,3})?/|docker\\.io/|\\[::1\\]:5000/)";
    let path = "[a-z0-9]{1,6}((_|__|-{1,3})[a-z0-9]{1,4}){0,2}(/[a-z0-9]{1,6}){0,3}";
    let tag = "(|:[A-Za-z0-9_][A-Za-z0-9_.-]{0,10})";
    let digest = "(|@sha256:[0-9a-f]{64})";
    (domain, path, tag, digest).prop_map(|(d, p, t, g)| format!("{d}{p}{t}{g}"))
}

proptest! {
    #[test]
    fn both_displays_parse_to_the_same_reference(text in reference_text()) {
        let reference = Reference::parse(&text).unwrap();
        prop_assert_eq!(&Reference::parse(&reference.to_string()).unwrap(), &reference);
        prop_assert_eq!(&Reference::parse(&reference.familiar()).unwrap(), &reference);
    }

    #[test]
    fn no_text_panics_and_what_parses_is_stable(text in "\\PC{0,80}") {
        if let Ok(reference) = Reference::parse(&text) {
            prop_assert_eq!(&Reference::parse(&reference.to_string()).unwrap(), &reference);
        }
    }
}
