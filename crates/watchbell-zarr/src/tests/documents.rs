use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{Extend, Format, Hierarchy, KeyEncoding, NodePath, Parsed, grow};

fn read(documents: &[(&str, &str)]) -> Result<Hierarchy, String> {
    let documents = documents.iter().map(|(key, text)| (*key, text.as_bytes()));
    Hierarchy::read(documents).map_err(|error| error.to_string())
}

fn array_v3() -> Value {
    json!({
        "zarr_format": 3, "node_type": "array", "shape": [100, 10], "data_type": "float32",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [24, 5]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": "NaN", "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "attributes": {}, "dimension_names": ["time", null], "storage_transformers": [],
    })
}

/// The array's document with one field set, or taken away by null.
fn with(field: &str, value: Value) -> String {
    let mut document = array_v3();
    match value {
        Value::Null => document.as_object_mut().unwrap().remove(field).map_or((), drop),
        value => document[field] = value,
    }
    document.to_string()
}

#[test]
fn a_v3_array_is_read() {
    let hierarchy = read(&[("zarr.json", &array_v3().to_string())]).unwrap();
    let array = hierarchy.array(&NodePath::root()).unwrap();
    assert_eq!((&array.shape[..], &array.chunk_shape[..]), (&[100, 10][..], &[24, 5][..]));
    assert_eq!(array.grid_shape(), [5, 2]);
    assert_eq!(array.dimension_names, [Some("time".to_owned()), None]);
    assert_eq!(array.axis_name(1), "dimension 1");
    assert_eq!(hierarchy.locate("c/4/1").unwrap().1, Parsed::Chunk(vec![4, 1]));
}

#[test]
fn the_outer_grid_of_a_sharded_array_is_of_its_shards() {
    let codecs = json!([
        {"name": "transpose", "configuration": {"order": [1, 0]}},
        {"name": "sharding_indexed", "configuration": {"chunk_shape": [6, 5], "codecs": [], "index_codecs": []}},
    ]);
    let hierarchy = read(&[("zarr.json", &with("codecs", codecs))]).unwrap();
    let array = hierarchy.array(&NodePath::root()).unwrap();
    assert_eq!(array.inner_chunk_shape.as_deref(), Some(&[6, 5][..]));
    assert_eq!(array.grid_shape(), [5, 2]);
}

#[test]
fn a_v2_store_of_xarray_is_read_with_its_bare_words() {
    let hierarchy = read(&[
        (".zgroup", r#"{"zarr_format": 2}"#),
        (".zmetadata", "{}"),
        (
            "t/.zarray",
            r#"{"zarr_format": 2, "shape": [7], "chunks": [2], "fill_value": NaN, "dtype": "<f8"}"#,
        ),
        ("t/.zattrs", r#"{"_ARRAY_DIMENSIONS": ["time"], "_FillValue": -Infinity, "note": "a \" NaN \\"}"#),
        ("u/.zarray", r#"{"zarr_format": 2, "shape": [7], "chunks": [2], "dimension_separator": "/"}"#),
    ]);
    let hierarchy = hierarchy.unwrap();
    assert_eq!((hierarchy.format, hierarchy.is_consolidated), (Format::V2, true));
    let array = hierarchy.array(&NodePath::new("t").unwrap()).unwrap();
    assert_eq!(array.dimension_names, [Some("time".to_owned())]);
    assert_eq!(array.encoding, KeyEncoding::V2 { separator: '.' });
    assert_eq!(hierarchy.locate("u/3").unwrap().1, Parsed::Chunk(vec![3]));
}

#[test]
fn what_is_not_understood_is_refused() {
    let cases: Vec<(String, &str)> = vec![
        (with("zarr_format", json!(4)), "zarr.json: zarr_format: must be 3"),
        (with("node_type", json!("table")), "node_type: must be \"array\" or \"group\""),
        (with("shape", Value::Null), "zarr.json: shape: is missing"),
        (with("shape", json!([1.5, 2])), "shape: 1.5 is no length"),
        (with("shape", json!([-1, 2])), "shape: -1 is no length"),
        (with("shape", json!([100])), "chunk_shape: has 2 dimensions, and the array has 1"),
        (with("shape", json!(vec![1; 65])), "at most 64"),
        (with("chunk_grid", json!({"name": "rectilinear"})), "\"rectilinear\" is not handled"),
        (with("chunk_grid", json!("regular")), "chunk_shape: is missing"),
        (
            with("chunk_grid", json!({"name": "regular", "configuration": {"chunk_shape": [0, 1]}})),
            "0 is no length between 1",
        ),
        (with("chunk_key_encoding", Value::Null), "chunk_key_encoding: is missing"),
        (with("chunk_key_encoding", json!("fanout")), "\"fanout\" is not handled"),
        (
            with("chunk_key_encoding", json!({"name": "default", "configuration": {"separator": "-"}})),
            "neither \"/\" nor \".\"",
        ),
        (with("dimension_names", json!(["time"])), "dimension_names: has 1 dimensions"),
        (with("storage_transformers", json!(["x"])), "storage_transformers: none is handled"),
        (with("chunk_moves", json!({"name": "x"})), "chunk_moves: is not of Zarr v3"),
        (with("codecs", json!([{"name": "sharding_indexed"}])), "sharding_indexed.configuration.chunk_shape"),
        ("{".to_owned(), "zarr.json is not JSON"),
        ("[]".to_owned(), "zarr.json is not JSON"),
    ];
    for (document, message) in cases {
        let error = read(&[("zarr.json", &document)]).unwrap_err();
        assert!(error.contains(message), "{error} / {message}");
    }
    let fine = with("chunk_moves", json!({"name": "x", "must_understand": false}));
    read(&[("zarr.json", &fine)]).unwrap();
}

#[test]
fn a_hierarchy_that_is_none_is_refused() {
    let (array, group) = (array_v3().to_string(), r#"{"zarr_format": 3, "node_type": "group"}"#);
    let v2 = r#"{"zarr_format": 2, "shape": [7], "chunks": [2]}"#;
    let v2_group = r#"{"zarr_format": 2}"#;
    let cases: [(&[(&str, &str)], &str); 8] = [
        (&[], "there is no Zarr hierarchy"),
        (&[("a/zarr.json", &array)], "there is no Zarr hierarchy"),
        (&[("zarr.json", group), ("a/.zarray", v2)], "a/.zarray is of Zarr v2 and zarr.json of v3"),
        (
            &[("zarr.json", group), ("a/zarr.json", &array), ("a/b/zarr.json", group)],
            "/a/b lies below the array /a",
        ),
        (&[("zarr.json", group), ("a/../zarr.json", group)], "made of dots alone"),
        (&[("zarr.json", group), ("__x/zarr.json", group)], "begins with \"__\""),
        (&[("zarr.json", group), ("a//zarr.json", group)], "an empty part"),
        (&[(".zgroup", v2_group), (".zarray", v2)], "both an array and a group"),
    ];
    for (documents, message) in cases {
        let error = read(documents).unwrap_err();
        assert!(error.contains(message), "{error} / {message}");
    }
}

#[test]
fn growth_changes_lengths_and_nothing_else() {
    let text = r#"{
  "zarr_format": 3,
  "node_type": "group",
  "attributes": {
    "a": NaN,
    "b": 1.50
  },
  "consolidated_metadata": {
    "kind": "inline",
    "must_understand": false,
    "metadata": {
      "x": COPY
    }
  }
}"#;
    let indented = |array: &Value| serde_json::to_string_pretty(array).unwrap().replace('\n', "\n      ");
    let text = &text.replace("COPY", &indented(&array_v3()));
    let of = |text: &str| text.as_bytes().to_vec();
    let documents = BTreeMap::from([
        ("zarr.json".to_owned(), of(text)),
        ("x/zarr.json".to_owned(), of(&array_v3().to_string())),
        ("y/zarr.json".to_owned(), of(&with("dimension_names", json!(["lat", "lon"])))),
    ]);
    let extend = |dimension: &str, by| Extend { dimension: dimension.to_owned(), by };
    let (hierarchy, grown) = grow(&documents, &extend("time", 24)).unwrap();
    assert_eq!((grown.old_length, grown.new_length), (100, 124));
    assert_eq!(grown.documents.keys().collect::<Vec<_>>(), ["x/zarr.json", "zarr.json"]);
    assert_eq!(hierarchy.array(&NodePath::new("x").unwrap()).unwrap().shape, [124, 10]);
    let root = String::from_utf8(grown.documents["zarr.json"].clone()).unwrap();
    assert_eq!(root, text.replace("100,", "124,"));
    // Of a copy that leads a reader elsewhere nobody may be the owner.
    let stale = BTreeMap::from([
        ("zarr.json".to_owned(), of(&root)),
        ("x/zarr.json".to_owned(), of(&array_v3().to_string())),
    ]);
    let error = grow(&stale, &extend("time", 1)).unwrap_err().to_string();
    assert!(
        error.starts_with("zarr.json repeats the metadata of /x and is out of date: its shape"),
        "{error}"
    );
    let error = grow(&documents, &extend("depth", 1)).unwrap_err().to_string();
    assert_eq!(error, "no array has a dimension \"depth\" to extend");
    assert!(grow(&documents, &extend("time", u64::MAX)).is_err());
}

/// Every group may repeat what is below it, in both formats, and all copies grow.
#[test]
fn growth_reaches_every_copy() {
    let group = |below: Value| {
        json!({"zarr_format": 3, "node_type": "group", "consolidated_metadata":
            {"kind": "inline", "must_understand": false, "metadata": below}})
    };
    let plain = json!({"zarr_format": 3, "node_type": "group"});
    let mut stale = array_v3();
    stale["attributes"] = json!({"was": "changed since"});
    let v2 = json!({"zarr_format": 2, "shape": [100, 10], "chunks": [24, 5]});
    let (names, v2_group) = (json!({"_ARRAY_DIMENSIONS": ["time", "lat"]}), json!({"zarr_format": 2}));
    let formats = [
        BTreeMap::from([
            ("zarr.json", group(json!({"g": group(json!({})), "g/x": stale}))),
            ("g/zarr.json", group(json!({"x": array_v3()}))),
            ("g/x/zarr.json", array_v3()),
            ("h/zarr.json", plain),
        ]),
        BTreeMap::from([
            (".zgroup", v2_group.clone()),
            ("x/.zarray", v2.clone()),
            ("x/.zattrs", names.clone()),
            (
                ".zmetadata",
                json!({"zarr_consolidated_format": 1, "metadata":
                {".zgroup": v2_group, "x/.zarray": v2, "x/.zattrs": names}}),
            ),
        ]),
    ];
    for (documents, changed) in formats.into_iter().zip([3, 2]) {
        let documents: BTreeMap<String, Vec<u8>> =
            documents.into_iter().map(|(key, of)| (key.to_owned(), of.to_string().into_bytes())).collect();
        let (_, grown) = grow(&documents, &Extend { dimension: "time".to_owned(), by: 7 }).unwrap();
        assert_eq!(grown.documents.len(), changed);
        for (key, bytes) in &grown.documents {
            let before = String::from_utf8(documents[key].clone()).unwrap();
            assert_eq!(String::from_utf8(bytes.clone()).unwrap(), before.replace("100", "107"), "{key}");
        }
    }
}

/// Numbers that a parser rounds, those that are no number of its kind, and texts that look like what is changed.
const NUMBERS: [&str; 14] = [
    "9.969209968386869e+36",
    "0.0018311105685897415",
    "-3.4028234663852886e+38",
    "1.50",
    "-0.0",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775809",
    "NaN",
    "-Infinity",
    "\"NaN\"",
    "\"Infinity\"",
    "\"0x7fc00000\"",
    "[0, 1E5, \"shape\\\": [100, 10]\"]",
];

/// A fill value that is another afterwards would make values of what is missing.
#[test]
fn growth_keeps_every_other_byte() {
    let v3 = |number: &str| {
        format!(
            "{{\"fill_value\" : {number},\n\t\"sh\\u0061pe\": [ 100 ,10], \"zarr_format\": 3, \"node_type\": \
             \"array\", \"data_type\": \"float32\", \"chunk_grid\": {{\"name\": \"regular\", \"configuration\": {{\"shape\": \
             [100], \"chunk_shape\": [24, 5]}}}}, \"chunk_key_encoding\": \"default\", \"codecs\": [\"bytes\"], \
             \"attributes\": {{\"_FillValue\": {number}, \"shape\": [100, 10], \"é\\\\\": \"shape\"}}, \
             \"dimension_names\": [\"time\", null]}}"
        )
    };
    let other = |number: &str| v3(number).replace("time", "lat");
    let grown_of = |text: &str| text.replace("[ 100 ,10]", "[ 124 ,10]");
    for number in NUMBERS {
        let root = format!(
            "{{\"zarr_format\":3,\"node_type\":\"group\",\"attributes\":{{\"a\":{number}}},\"consolidated_metadata\":\
             {{\"must_understand\":false,\"kind\":\"inline\",\"metadata\":{{\"y\":{},\"\\u0078\":{}}}}}}}\n",
            other(number),
            v3(number)
        );
        let documents = BTreeMap::from([
            ("zarr.json".to_owned(), root.clone().into_bytes()),
            ("x/zarr.json".to_owned(), v3(number).into_bytes()),
            ("y/zarr.json".to_owned(), other(number).into_bytes()),
        ]);
        let (_, grown) = grow(&documents, &Extend { dimension: "time".to_owned(), by: 24 }).unwrap();
        let expect = BTreeMap::from([
            ("x/zarr.json".to_owned(), grown_of(&v3(number))),
            ("zarr.json".to_owned(), root.replace(&v3(number), &grown_of(&v3(number)))),
        ]);
        let found: BTreeMap<String, String> = grown
            .documents
            .into_iter()
            .map(|(key, bytes)| (key, String::from_utf8(bytes).unwrap()))
            .collect();
        assert_eq!(found, expect, "{number}");
    }
    for number in NUMBERS {
        let array = format!(
            "{{\n    \"chunks\": [\n        24,\n        5\n    ],\n    \"fill_value\": {number},\n    \"shape\": [\n        \
             100,\n        10\n    ],\n    \"zarr_format\": 2\n}}"
        );
        let names = format!(
            "{{\"_ARRAY_DIMENSIONS\": [\"time\", \"lat\"], \"_FillValue\": {number}, \"scale_factor\": {number}}}"
        );
        let (group, other) = ("{\"zarr_format\": 2}", names.replace("time", "depth"));
        let all = format!(
            "{{\"metadata\": {{\".zgroup\": {group}, \".zattrs\": {{\"x\": {number}}}, \"y/.zarray\": {array}, \"y/.zattrs\": \
             {other}, \"x/.zarray\": {array}, \"x/.zattrs\": {names}}}, \"zarr_consolidated_format\": 1}}"
        );
        let documents = [
            (".zgroup", group),
            (".zmetadata", &all),
            ("x/.zarray", &array),
            ("x/.zattrs", &names),
            ("y/.zarray", &array),
            ("y/.zattrs", &other),
        ];
        let documents: BTreeMap<String, Vec<u8>> =
            documents.into_iter().map(|(key, text)| (key.to_owned(), text.as_bytes().to_vec())).collect();
        let (_, grown) = grow(&documents, &Extend { dimension: "time".to_owned(), by: 24 }).unwrap();
        let longer = array.replace("\n        100", "\n        124");
        let expect = BTreeMap::from([
            (
                ".zmetadata".to_owned(),
                all.replace(&format!("\"x/.zarray\": {array}"), &format!("\"x/.zarray\": {longer}")),
            ),
            ("x/.zarray".to_owned(), longer),
        ]);
        let found: BTreeMap<String, String> = grown
            .documents
            .into_iter()
            .map(|(key, bytes)| (key, String::from_utf8(bytes).unwrap()))
            .collect();
        assert_eq!(found, expect, "{number}");
    }
}

/// What no reader could hold is refused, and not read as something else.
#[test]
fn a_number_beyond_all_is_refused() {
    let text = array_v3().to_string().replace("\"fill_value\":\"NaN\"", "\"fill_value\":1e400");
    let error = read(&[("zarr.json", &text)]).unwrap_err();
    assert!(error.starts_with("zarr.json is not JSON: number out of range"), "{error}");
}

/// The last of two members of a name is the one that everybody reads.
#[test]
fn growth_changes_the_shape_that_is_read() {
    let text = array_v3().to_string();
    let twice = text.replacen('{', "{\"shape\": [100, 7], ", 1);
    let documents = BTreeMap::from([("zarr.json".to_owned(), twice.clone().into_bytes())]);
    let (hierarchy, grown) = grow(&documents, &Extend { dimension: "time".to_owned(), by: 1 }).unwrap();
    assert_eq!(hierarchy.array(&NodePath::root()).unwrap().shape, [101, 10]);
    let found = String::from_utf8(grown.documents["zarr.json"].clone()).unwrap();
    assert_eq!(found, twice.replace("\"shape\":[100,10]", "\"shape\":[101,10]"));
}

/// A bare word for a name hides what comes behind it from who changes the text, and not from who reads it.
#[test]
fn growth_that_would_change_another_shape_is_refused() {
    let text = array_v3().to_string();
    let twice = text.replacen('{', "{\"shape\": [100, 7], NaN: {\"must_understand\": false}, ", 1);
    let documents = BTreeMap::from([("zarr.json".to_owned(), twice.into_bytes())]);
    let error = grow(&documents, &Extend { dimension: "time".to_owned(), by: 1 }).unwrap_err();
    assert!(error.to_string().starts_with("zarr.json: shape: is not found where it is read"), "{error}");
}
