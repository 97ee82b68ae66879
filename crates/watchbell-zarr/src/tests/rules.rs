use super::uses;
use crate::{Mode, OnConflict, ReadScope, Split, Upper};

#[test]
fn a_use_is_read_whole() {
    let text = r#"[{"name": "obs", "mount": "/data/", "mode": "write", "split": {"dim": "time", "into": 8},
        "variables": ["/temperature"], "extend": {"dim": "time", "by": 24}, "readScope": "own", "requireComplete": true,
        "onConflict": "rebase", "quota": "2Gi", "upper": "disk"}, {"name": "grid", "mount": "/grid"}]"#;
    let [obs, grid] = &uses(text).unwrap()[..] else { panic!() };
    assert_eq!((obs.name.as_str(), obs.mount.as_str(), obs.mode), ("obs", "/data", Mode::Write));
    assert_eq!(obs.split, Some(Split::Dimension { dimension: "time".to_owned(), into: 8 }));
    assert_eq!(obs.variables[0].as_str(), "temperature");
    assert_eq!(obs.extend.as_ref().map(|e| (e.dimension.as_str(), e.by)), Some(("time", 24)));
    assert_eq!((obs.read_scope, obs.on_conflict), (ReadScope::Own, OnConflict::Rebase));
    assert_eq!((obs.require_complete, obs.quota.as_deref()), (true, Some("2Gi")));
    assert_eq!((obs.upper, grid.upper), (Upper::Disk, Upper::Memory));
    assert_eq!((grid.mode, grid.split.is_none(), grid.read_scope), (Mode::Read, true, ReadScope::All));
}

#[test]
fn artifacts_are_a_split_of_their_own() {
    let [of] = &uses(r#"{"name": "out", "mount": "/out", "mode": "artifacts", "quota": "1Gi"}"#).unwrap()[..]
    else {
        panic!()
    };
    assert_eq!((of.mode, &of.split), (Mode::Write, &Some(Split::Artifacts)));
    let error =
        uses(r#"{"name": "out", "mount": "/out", "mode": "artifacts", "split": "perChunk"}"#).unwrap_err();
    assert!(error.starts_with("split: is not for mode artifacts"), "{error}");
}

#[test]
fn a_wrong_use_is_refused_with_its_place() {
    let write = r#""name": "obs", "mount": "/data", "mode": "write""#;
    let cases = [
        (r#"[]"#.to_owned(), "(root): has 0 arrays"),
        (r#"7"#.to_owned(), "(root): must be an object"),
        (r#"{"mount": "/data"}"#.to_owned(), "name: is required"),
        (r#"[{"name": "obs", "mount": "data"}]"#.to_owned(), "[0].mount: must be an absolute path"),
        (r#"{"name": "obs", "mount": "/"}"#.to_owned(), "mount: must be an absolute path"),
        (r#"{"name": "obs", "mount": "/a/../b"}"#.to_owned(), "mount: must be an absolute path"),
        (
            r#"{"name": "obs", "mount": "/d", "mode": "append"}"#.to_owned(),
            "mode: \"append\" is none of read, write, artifacts",
        ),
        (format!("{{{write}}}"), "split: is required when mode is write"),
        (r#"{"name": "obs", "mount": "/d", "quota": "1Gi"}"#.to_owned(), "quota: is only for mode write"),
        (r#"{"name": "obs", "mount": "/d", "readScope": "own"}"#.to_owned(), "readScope: own needs a split"),
        (format!(r#"{{{write}, "split": "perRow"}}"#), "split: \"perRow\" is none of perChunk, perShard"),
        (format!(r#"{{{write}, "split": {{"dim": "time"}}}}"#), "split: must be perChunk, perShard"),
        (
            format!(r#"{{{write}, "split": {{"dim": "time", "into": 0}}}}"#),
            "split.into: must be a whole number",
        ),
        (format!(r#"{{{write}, "split": {{"dim": "t", "into": 2, "by": 1}}}}"#), "split.by: unknown field"),
        (format!(r#"{{{write}, "split": {{"explicit": []}}}}"#), "split.explicit: has 0 entries"),
        (
            format!(r#"{{{write}, "split": {{"explicit": [{{"time": [3, 3]}}]}}}}"#),
            "split.explicit[0].time: its start is not before its stop",
        ),
        (
            format!(r#"{{{write}, "split": {{"dim": true, "into": 2}}}}"#),
            r#"split.dim: must be the name of a dimension; YAML reads y, yes, on and true as true: write "y" in quotes"#,
        ),
        (
            format!(r#"{{{write}, "split": "perChunk", "extend": {{"dim": false, "by": 2}}}}"#),
            r#"extend.dim: must be the name of a dimension; YAML reads n, no, off and false as false: write "n" in quotes"#,
        ),
        (
            format!(r#"{{{write}, "split": {{"explicit": [{{"x": [0, 1], "true": [0, 1]}}]}}}}"#),
            "split.explicit[0]: must be the name of a dimension; YAML reads y, yes, on and true as true",
        ),
        (format!(r#"{{{write}, "split": "perChunk", "variables": ["a//b"]}}"#), "variables[0]: node path"),
        (format!(r#"{{{write}, "split": "perChunk", "extend": {{"dim": "t"}}}}"#), "extend: must be {dim"),
        (
            r#"[{"name": "a", "mount": "/d"}, {"name": "a", "mount": "/e"}]"#.to_owned(),
            "[1].name: the array \"a\" is used twice",
        ),
        (
            r#"[{"name": "a", "mount": "/d"}, {"name": "b", "mount": "/d/e"}]"#.to_owned(),
            "[1].mount: \"/d/e\" and \"/d\" lie in each other",
        ),
    ];
    for (text, message) in cases {
        let error = uses(&text).unwrap_err();
        assert!(error.starts_with(message), "{text}: {error} / {message}");
    }
    uses(r#"[{"name": "a", "mount": "/d"}, {"name": "b", "mount": "/data"}]"#).unwrap();
}
