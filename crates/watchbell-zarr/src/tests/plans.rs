use super::{hierarchy, path_of, split, weather};
use crate::{Grown, Hierarchy, KeyEncoding, Node, Owner, Plan, plan};

fn refused(hierarchy: &Hierarchy, rule: &str, variables: &[&str], completions: u32) -> String {
    let variables: Vec<_> = variables.iter().map(|path| path_of(path)).collect();
    plan(hierarchy, &split(rule), &variables, None, completions).unwrap_err().to_string()
}

fn made(hierarchy: &Hierarchy, rule: &str, variables: &[&str], completions: u32) -> Plan {
    let variables: Vec<_> = variables.iter().map(|path| path_of(path)).collect();
    plan(hierarchy, &split(rule), &variables, None, completions).unwrap()
}

fn elements(plan: &Plan, index: u32) -> Vec<(String, u64, u64)> {
    plan.elements(index).into_iter().map(|range| (range.dimension, range.start, range.stop)).collect()
}

#[test]
fn a_dimension_is_split_at_whole_chunks_of_all_its_arrays() {
    // Chunks of 24, 12 and 24 along time: five parts of 24 elements, the last of 4.
    let plan = made(&weather(), r#"{"dim": "time", "into": 3}"#, &[], 3);
    let parts: Vec<_> = (0..3).map(|index| elements(&plan, index)).collect();
    let time = |start, stop| vec![("time".to_owned(), start, stop)];
    assert_eq!(parts, [time(0, 24), time(24, 72), time(72, 100)]);
    assert_eq!(plan.owner("temperature/c/0/1/0"), Owner::Index(0));
    assert_eq!(plan.owner("wind/c/2/0/0"), Owner::Index(1));
    assert_eq!(plan.owner("wind/c/8/0/0"), Owner::Index(2));
    assert_eq!(plan.owner("time/c/4"), Owner::Index(2));
    assert_eq!(plan.owner("lat/c/0"), Owner::Nobody);
    assert_eq!(plan.owner("temperature/c/5/0/0"), Owner::NotAChunk);
    assert_eq!(plan.owner("temperature/zarr.json"), Owner::NotAChunk);
    assert_eq!(
        plan.keys(0).collect::<Vec<_>>(),
        ["temperature/c/0/0/0", "temperature/c/0/1/0", "time/c/0", "wind/c/0/0/0", "wind/c/1/0/0"]
    );
    assert_eq!(plan.count(0), 5);
    assert_eq!(
        plan.parents(0, 1000).unwrap()[..4],
        ["temperature", "temperature/c", "temperature/c/0", "temperature/c/0/0"]
    );
}

/// An index may own millions of chunks, and there may be a million indices.
#[test]
fn directories_are_not_looked_for_without_end() {
    let mut grid = hierarchy(&[("t", &["time", "lat"], &[1 << 22, 1], &[1, 1])]);
    let plan = made(&grid, r#"{"dim": "time", "into": 4}"#, &[], 4);
    assert_eq!(plan.parents(0, 1000), None);
    // With keys in one directory there is nothing to look for.
    let Some(Node::Array(array)) = grid.nodes.get_mut(&path_of("t")) else { panic!() };
    array.encoding = KeyEncoding::V2 { separator: '.' };
    let plan = made(&grid, r#"{"dim": "time", "into": 4}"#, &[], 4);
    assert_eq!(plan.parents(0, 1000), Some(vec!["t".to_owned()]));
}

#[test]
fn each_chunk_is_an_index_and_coordinates_are_left_alone() {
    let plan = made(&weather(), r#""perChunk""#, &["temperature"], 10);
    assert_eq!(plan.owner("temperature/c/2/1/0"), Owner::Index(5));
    assert_eq!(plan.owner("time/c/0"), Owner::Nobody);
    let place = |name: &str, start, stop| (name.to_owned(), start, stop);
    assert_eq!(elements(&plan, 9), [place("time", 96, 100), place("lat", 5, 10), place("lon", 0, 20)]);
    let alone = hierarchy(&[("t", &["time", "lat"], &[4, 4], &[2, 2]), ("time", &["time"], &[4], &[1])]);
    assert_eq!(made(&alone, r#""perChunk""#, &[], 4).variables().collect::<Vec<_>>(), [&path_of("t")]);
}

#[test]
fn regions_are_stated_in_elements() {
    let rule = r#"{"explicit": [{"time": [0, 24], "lat": [0, 5]}, {"time": [0, 24], "lat": [5, 10]}, {"time": [24, 100]}]}"#;
    let plan = made(&weather(), rule, &["temperature"], 3);
    assert_eq!(plan.owner("temperature/c/0/1/0"), Owner::Index(1));
    assert_eq!(plan.owner("temperature/c/4/1/0"), Owner::Index(2));
    assert_eq!(elements(&plan, 2), [("lat".to_owned(), 0, 10), ("time".to_owned(), 24, 100)]);
}

#[test]
fn what_cannot_be_split_is_refused_with_what_could() {
    let weather = weather();
    let cases: [(&str, &[&str], u32, &str); 13] = [
        (
            r#"{"dim": "depth", "into": 2}"#,
            &[],
            2,
            "no array has a dimension \"depth\"; there are: lat, lon, time",
        ),
        (
            r#"{"dim": "time", "into": 2}"#,
            &["rain"],
            2,
            "there is no array /rain; there are: /lat, /lon, /temperature",
        ),
        (r#"{"dim": "time", "into": 2}"#, &["lat"], 2, "the array /lat has no dimension \"time\""),
        (
            r#"{"dim": "time", "into": 6}"#,
            &[],
            6,
            "has 5 parts that hold whole chunks of all arrays (24 elements each)",
        ),
        (r#"{"dim": "time", "into": 2}"#, &[], 3, "the split makes 2 indices and the Job has completions 3"),
        (r#""perChunk""#, &[], 10, "/temperature and /wind have different grids"),
        (r#""perShard""#, &["wind"], 9, "/wind is not sharded; use perChunk"),
        (r#""perChunk""#, &["wind"], 8, "the split makes 9 indices and the Job has completions 8"),
        (
            r#"{"explicit": [{"time": [0, 30]}]}"#,
            &["temperature"],
            1,
            "index 0: /temperature has chunks of 24 elements along \"time\": [0, 30) cuts one; the nearest that does not is [0, 48)",
        ),
        (
            r#"{"explicit": [{"time": [0, 101]}]}"#,
            &["temperature"],
            1,
            "index 0: [0, 101) reaches past the 100 elements",
        ),
        (
            r#"{"explicit": [{"time": [0, 48]}, {"time": [72, 96]}, {"time": [24, 72]}]}"#,
            &["temperature"],
            3,
            "indices 0 and 2 would both own chunks of /temperature: chunk [1, 0, 0] is in both",
        ),
        (
            r#"{"explicit": [{"time": [0, 24]}, {"lat": [0, 5]}]}"#,
            &["temperature"],
            2,
            "indices 0 and 1 would both own",
        ),
        (r#"{"explicit": [{"depth": [0, 24]}]}"#, &[], 1, "no array has a dimension \"depth\""),
    ];
    for (rule, variables, completions, message) in cases {
        let error = refused(&weather, rule, variables, completions);
        assert!(error.contains(message), "{rule}: {error} / {message}");
    }
    let odd = hierarchy(&[
        ("a", &["t"], &[4], &[2]),
        ("b", &["t"], &[6], &[2]),
        ("c", &["x", "x"], &[2, 2], &[1, 1]),
    ]);
    let error = refused(&odd, r#"{"dim": "t", "into": 2}"#, &[], 2);
    assert!(error.contains("is 4 elements long in /a and 6 in /b"), "{error}");
    assert!(refused(&odd, r#"{"dim": "x", "into": 2}"#, &[], 2).contains("has the dimension \"x\" twice"));
    let none = hierarchy(&[("a", &["t"], &[0], &[2])]);
    assert!(refused(&none, r#"{"dim": "t", "into": 1}"#, &[], 1).contains("no elements to split"));
    let long = (1u64 << 62) - 1;
    let long = hierarchy(&[("a", &["t"], &[9], &[long]), ("b", &["t"], &[9], &[1 << 61])]);
    assert!(refused(&long, r#"{"dim": "t", "into": 1}"#, &[], 1).contains("too long to count"));
}

#[test]
fn what_has_grown_is_what_is_split() {
    // From 90 to 100 elements: the chunk that held the old edge, [72, 96), is written with the new ones.
    let grown = Grown {
        dimension: "time".to_owned(),
        old_length: 90,
        new_length: 100,
        documents: Default::default(),
    };
    let rule = split(r#"{"dim": "time", "into": 2}"#);
    let plan = plan(&weather(), &rule, &[], Some(&grown), 2).unwrap();
    // From where on no older chunk of any array is touched: wind's begins at 84, and the others' at 72.
    assert_eq!(elements(&plan, 0), [("time".to_owned(), 84, 96)]);
    assert_eq!(elements(&plan, 1), [("time".to_owned(), 96, 100)]);
    assert_eq!(plan.owner("temperature/c/2/0/0"), Owner::Nobody);
    // The same part of a dimension holds an older chunk of an array with shorter ones: that is nobody's.
    assert_eq!(plan.owner("wind/c/6/0/0"), Owner::Nobody);
    assert_eq!(plan.owner("wind/c/7/0/0"), Owner::Index(0));
    let each = crate::plan(&weather(), &split(r#""perChunk""#), &[path_of("wind")], Some(&grown), 2).unwrap();
    assert_eq!(each.keys(0).collect::<Vec<_>>(), ["wind/c/7/0/0"]);
    assert_eq!(each.owner("wind/c/6/0/0"), Owner::Nobody);
}

#[test]
fn along_another_dimension_what_has_grown_is_still_all_that_is_split() {
    let grown = Grown {
        dimension: "time".to_owned(),
        old_length: 90,
        new_length: 100,
        documents: Default::default(),
    };
    let refused = |rule: &str, variables: &[&str], completions| {
        let variables: Vec<_> = variables.iter().map(|path| path_of(path)).collect();
        plan(&weather(), &split(rule), &variables, Some(&grown), completions).unwrap_err().to_string()
    };
    let by_lat = r#"{"dim": "lat", "into": 2}"#;
    let temperature = [path_of("temperature")];
    let made = plan(&weather(), &split(by_lat), &temperature, Some(&grown), 2).unwrap();
    assert_eq!(made.keys(1).collect::<Vec<_>>(), ["temperature/c/3/1/0", "temperature/c/4/1/0"]);
    assert_eq!(made.owner("temperature/c/2/1/0"), Owner::Nobody);
    assert_eq!(elements(&made, 1), [("lat".to_owned(), 5, 10), ("time".to_owned(), 72, 100)]);
    assert!(made.variables().all(|path| path.as_str() != "lat"));
    let rule = r#"{"explicit": [{"lat": [0, 5]}, {"lat": [5, 10], "time": [72, 96]}]}"#;
    let made = plan(&weather(), &split(rule), &temperature, Some(&grown), 2).unwrap();
    assert_eq!(made.keys(0).collect::<Vec<_>>(), ["temperature/c/3/0/0", "temperature/c/4/0/0"]);
    assert_eq!(made.keys(1).collect::<Vec<_>>(), ["temperature/c/3/1/0"]);
    assert_eq!(elements(&made, 0), [("lat".to_owned(), 0, 5), ("time".to_owned(), 72, 100)]);
    let cases: [(&str, &[&str], &str); 4] = [
        (by_lat, &["lat"], "/lat has no dimension \"time\", along which the run makes arrays longer"),
        (r#""perChunk""#, &["lat"], "/lat has no dimension \"time\""),
        (
            r#"{"explicit": [{"time": [0, 24]}]}"#,
            &["temperature"],
            "/temperature was 90 elements long along \"time\" before the growth: [0, 24) takes chunks that hold older elements \
             alone; begin at 72 or later",
        ),
        (r#"{"dim": "depth", "into": 1}"#, &[], "no array has a dimension"),
    ];
    for (rule, variables, message) in cases {
        let error = refused(rule, variables, 1);
        assert!(error.contains(message), "{error} / {message}");
    }
    let apart = hierarchy(&[("t", &["time"], &[100], &[10]), ("l", &["lat"], &[10], &[1])]);
    let error = plan(&apart, &split(by_lat), &[], Some(&grown), 2).unwrap_err().to_string();
    assert!(error.starts_with("no array has both the dimension \"lat\" and \"time\""), "{error}");
}

#[test]
fn what_nobody_could_list_is_refused() {
    let long = 1u64 << 62;
    let large =
        hierarchy(&[("a", &["x", "y"], &[long, long], &[1, 1]), ("b", &["x", "y"], &[long, long], &[1, 1])]);
    for rule in [r#"{"dim": "x", "into": 1000}"#, r#"{"explicit": [{"x": [0, 9]}]}"#] {
        let error = refused(&large, rule, &[], 1000);
        assert!(error.contains("and at most 4194304 are handled: split finer"), "{error}");
    }
    assert!(refused(&large, r#""perChunk""#, &[], 1).contains("and at most 1000000 are handled"));
    let regions: Vec<String> = (0..10_000).map(|n| format!(r#"{{"x": [{n}, {}]}}"#, n + 1)).collect();
    let rule = format!(r#"{{"explicit": [{}]}}"#, regions.join(","));
    let names: Vec<String> = (0..200).map(|n| format!("a{n}")).collect();
    let many: Vec<_> =
        names.iter().map(|name| (name.as_str(), &["x"][..], &[10_000][..], &[1][..])).collect();
    let error = refused(&hierarchy(&many), &rule, &[], 10_000);
    assert!(error.starts_with("10000 regions of 200 arrays are more than can be compared"), "{error}");
    made(&hierarchy(&many[..2]), &rule, &[], 10_000);
}

/// All overlap along the dimension with most chunks, and none meets another.
#[test]
fn who_has_no_time_gets_no_plan() {
    let region = |n: u32| {
        let (u, x) = (n / 10, n % 10);
        format!(r#"{{"t": [{n}, 100], "u": [{u}, {}], "x": [{x}, {}]}}"#, u + 1, x + 1)
    };
    let regions: Vec<String> = (0..60).map(region).collect();
    let split = split(&format!(r#"{{"explicit": [{}]}}"#, regions.join(",")));
    let two = ["a", "b"].map(|name| (name, &["t", "u", "x"][..], &[100, 6, 10][..], &[1, 1, 1][..]));
    let two = hierarchy(&two);
    // The boxes, and all pairs of them, of each array.
    let most = 2 * (60 + 60 * 59 / 2);
    let planned = |mut comparisons: u64| {
        let made = crate::plan_within(&two, &split, &[], None, 60, &mut comparisons);
        (made.map(|plan| plan.completions), comparisons)
    };
    assert_eq!(planned(most + 7), (Ok(60), 7));
    let (made, left) = planned(most - 1);
    assert_eq!(made, Err(crate::PlanError::Comparisons { regions: 60, arrays: 2 }));
    assert!(left < 60, "{left}");
    assert_eq!(planned(119).1, 119, "not even the boxes are made");
}
