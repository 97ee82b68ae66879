use proptest::prelude::*;
use serde_json::{Value, json};

use super::{NODES_MAX, Nodes, json as read_json, json_within, to_yaml, yaml, yaml_within};

#[track_caller]
fn check_yaml(text: &str, expected: &Value) {
    let documents = yaml(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"));
    assert_eq!(&Value::Array(documents), expected, "{text}");
}

#[track_caller]
fn refused(result: Result<impl std::fmt::Debug, crate::ApiError>, expected: &str) {
    let error = result.unwrap_err();
    assert!(error.message.contains(expected), "{}", error.message);
    assert_eq!(error.reason, crate::Reason::BadRequest);
}

/// The expected values are kubectl's own answers to the same scalars.
#[test]
fn plain_scalars_mean_what_kubectl_takes_them_for() {
    check_yaml(
        "- [y, Y, yes, on, n, no, off, True, NULL, ~]\n\
         - [0644, 0o644, 0x1F, 0b11, 1_000, 1e3, 1.0, .5, +1, -0, 1., 12e03, 09, 1:30, 2001-01-01, .inf2]\n\
         - {1: a, true: b, 1.5: c}\n\
         - ['y', \"0644\", !!str 12, a-b, 0x, 1.2.3, 100m, 1e, v1, .nano, --x]\n",
        &json!([[
            [true, true, true, true, false, false, false, true, null, null],
            [420, 420, 31, 3, 1000, 1000, 1, 0.5, 1, 0, 1, 12000, 9, "1:30", "2001-01-01", ".inf2"],
            {"1": "a", "true": "b", "1.5": "c"},
            ["y", "0644", "12", "a-b", "0x", "1.2.3", "100m", "1e", "v1", ".nano", "--x"],
        ]]),
    );
}

#[test]
fn reads_documents_anchors_and_merges() {
    check_yaml("a: 1\n---\n---\n# nothing\n---\nb: 2\n...\n", &json!([{"a": 1}, {"b": 2}]));
    check_yaml("\u{feff}{\"a\": [1, \"x\\n\"]}", &json!([{"a": [1, "x\n"]}]));
    check_yaml("", &json!([]));
    check_yaml(
        "base: &b {a: 1, c: 2}\nx: {c: 3, <<: *b}\nw:\n  <<: [{a: 5}, *b]\nz: *b\n",
        &json!([{"base": {"a": 1, "c": 2}, "x": {"c": 3, "a": 1}, "w": {"a": 5, "c": 2}, "z": {"a": 1, "c": 2}}]),
    );
    check_yaml("t: |\n  a\n   b\n\nu: >-\n  c\n  d\n", &json!([{"t": "a\n b\n", "u": "c d"}]));
}

#[test]
fn refuses_what_is_ambiguous_or_a_trap() {
    refused(yaml(b"a: 1\nb:\n  c: 1\n  c: 2\n"), "line 4, column 3: duplicate key \"c\"");
    refused(yaml(b"a: [1, 2\nb: 3"), "line 2");
    refused(yaml(b"a: &a [*a]"), "contains it");
    refused(yaml(b"a: *nobody"), "line 1");
    refused(yaml(b"{[a]: b}"), "a key must be a scalar");
    refused(yaml(b"a: !!python/object:x y"), "not supported");
    refused(yaml(b"a: !!int x"), "does not fit its tag");
    refused(yaml(b"a: 123456789012345678901"), "64-bit");
    refused(yaml(b"\xff\xfea: b"), "UTF-8");
    refused(yaml(b"a:\n\t- b"), "line 2");
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let previous = format!("*a{}", level - 1);
        bomb += &format!("a{level}: &a{level} [{}]\n", vec![previous; 10].join(", "));
    }
    refused(yaml(bomb.as_bytes()), "expand to more");
    let text = format!("a: &a \"{}\"\nb: [{}]", "x".repeat(100_000), vec!["*a"; 1000].join(","));
    refused(yaml(text.as_bytes()), "expand to more");
    refused(yaml("[".repeat(100_000).as_bytes()), "line 1");
    refused(yaml("- ".repeat(50_000).as_bytes()), "nested deeper");
}

#[test]
fn json_is_strict() {
    assert_eq!(
        read_json(br#"{"a":[1,-2,0.5,"x",null,true]}"#).unwrap(),
        json!({"a": [1, -2, 0.5, "x", null, true]})
    );
    refused(read_json(br#"{"spec":{"x":[{"a":1},{"b":1,"b":2}]}}"#), "duplicate field \"spec.x[1].b\"");
    refused(read_json(br#"{"a":1} {"b":2}"#), "trailing characters");
    refused(read_json(br#"{"a":99999999999999999999}"#), "a: the number");
    refused(read_json(br#"{"a":9223372036854775808}"#), "64-bit");
    refused(read_json(b""), "EOF");
    refused(read_json(b"[1e999]"), "number out of range");
    refused(read_json("[".repeat(1_000_000).as_bytes()), "recursion limit");
    refused(read_json(b"\"\xff\""), "unicode");
}

/// The expected texts are kubectl's own output for the same values, but for the quotes of texts that look like numbers.
#[test]
fn writes_as_kubectl_does() {
    let value = json!({
        "kind": "ConfigMap",
        "data": {
            "block": "a\nb\n", "strip": "a\nb", "keep": "a\n\n", "deep": " a\nb", "lead": "\na",
            "on": "on", "colon": "x: y", "plain": "a:b", "url": "http://x/y?z=1#k", "quote": "it's", "at": "@x", "empty": "",
            "trail": "trailing ", "tab": "\ta", "blank": "x \ny", "number": "1e3", "bell": "a\u{7}", "snow": "é☃",
            "list": [{"a": 1, "b": [true, null]}, [1, [2]], {}, [], "x\ny\n"],
        },
    });
    let text = to_yaml(&value).unwrap();
    assert_eq!(
        text,
        "kind: ConfigMap\ndata:\n  block: |\n    a\n    b\n  strip: |-\n    a\n    b\n  keep: |+\n    a\n\n  deep: |2-\n     a\n    b\n  \
         lead: |2-\n\n    a\n  \"on\": \"on\"\n  colon: 'x: y'\n  plain: a:b\n  url: http://x/y?z=1#k\n  quote: it's\n  at: '@x'\n  \
         empty: \"\"\n  trail: 'trailing '\n  tab: \"\\ta\"\n  blank: \"x \\ny\"\n  number: \"1e3\"\n  bell: \"a\\u0007\"\n  snow: é☃\n  \
         list:\n  - a: 1\n    b:\n    - true\n    - null\n  - - 1\n    - - 2\n  - {}\n  - []\n  - |\n    x\n    y\n"
    );
    assert_eq!(yaml(text.as_bytes()).unwrap(), [value]);
    let mut deep = json!(1);
    for _ in 0..200 {
        deep = json!([deep]);
    }
    assert!(to_yaml(&deep).is_err());
}

fn any_value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "\\PC{0,8}",
        "[a-z0-9:#'\"\\-\\[\\]{}|>&*!%@`?, \n\t=<~.]{0,10}",
        "(y|no|on|null|0x1|1_0|0644|1e3|~|<<|=|---|\\.\\.\\.|- a|a: b)",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        // Quarters read back exactly; no field of a served kind holds a double.
        any::<i32>().prop_map(|n| Value::from(f64::from(n) + 0.25)),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((text.clone(), inner), 0..4)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn yaml_reads_what_it_wrote(value in any_value()) {
        let text = to_yaml(&value).unwrap();
        let read = yaml(text.as_bytes()).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
        let expected = if value.is_null() { vec![] } else { vec![value] };
        prop_assert_eq!(read, expected, "{}", text);
    }

    #[test]
    fn json_reads_what_serde_json_wrote(value in any_value()) {
        prop_assert_eq!(read_json(value.to_string().as_bytes()).unwrap(), value);
    }

    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[-\\[\\]{}:,&*!|>'\"%#a0~<\n\t ]{0,60}") {
        let _ = yaml(&bytes);
        let _ = yaml(text.as_bytes());
        let _ = read_json(&bytes);
        let _ = read_json(text.as_bytes());
    }
}

#[test]
fn a_document_has_a_bounded_number_of_values() {
    // The list itself is one.
    let list = |values: usize| format!("[{}]", vec!["{}"; values - 1].join(","));
    assert!(read_json(list(NODES_MAX).as_bytes()).is_ok());
    refused(read_json(list(NODES_MAX + 1).as_bytes()), "it has more than 100000 values");
    let within = |text: &str, max: usize| json_within(text.as_bytes(), &Nodes::new(max)).map(drop);
    within(r#"{"a": {"b": [1, "x"]}}"#, 5).unwrap();
    refused(within(r#"{"a": {"b": [1, "x"]}}"#, 4), "more than 4 values");
    // In YAML keys are values too, and an alias is as many as it stands for.
    let within = |text: &str, max: usize| yaml_within(text.as_bytes(), &Nodes::new(max)).map(drop);
    within("a: &a [1, 2]\nb: *a\n", 9).unwrap();
    refused(within("a: &a [1, 2]\nb: *a\n", 8), "more than 8 values");
    refused(within("1\n---\n2\n---\n3\n", 2), "more than 2 values");
    // A file of many documents is nobody's request.
    yaml("--- {a: b}\n".repeat(NODES_MAX).as_bytes()).unwrap();
    let nodes = Nodes::of_request();
    json_within(b"[1, [2]]", &nodes).unwrap();
    assert_eq!(nodes.taken(), 4);
}
