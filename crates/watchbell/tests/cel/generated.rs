//! Expressions that are made up, by a seed that a failure prints, run here and by Google's C++ implementation.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value as Json, json};
use watchbell_cel::{Declarations, Evaluator, Type, Value, compile};

use crate::values::{Bindings, map};
use crate::{script, target, tell};

const COUNT: usize = 4_000;

/// SplitMix64: the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn one<'c, T>(&mut self, choices: &'c [T]) -> &'c T {
        &choices[(self.next() % choices.len() as u64) as usize]
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    Int,
    UInt,
    Double,
    Text,
    Bytes,
    Bool,
    Ints,
    Texts,
    Map,
    Duration,
    Timestamp,
}

fn object() -> Json {
    json!({
        "i": 7, "big": i64::MAX, "d": 1.5, "s": "träin-0", "e": "", "b": true, "n": null,
        "l": [3, 1, 2, 2], "t": ["b", "a", ""], "m": {"a": 1, "ä": 2}, "deep": {"list": [{"x": 1}, {"x": 2}]},
    })
}

/// What has no parts; `at`: how many names macros have bound around it.
fn leaf(random: &mut Random, kind: Kind, at: usize) -> String {
    match kind {
        Kind::Int if at > 0 && random.next().is_multiple_of(2) => format!("x{}", random.next() as usize % at),
        Kind::Int => random
            .one(&[
                "0",
                "1",
                "-1",
                "2",
                "7",
                "9223372036854775807",
                "-9223372036854775808",
                "object.i",
                "object.big",
                "object.m.a",
                "object.deep.list[1].x",
                "object.m['ä']",
                "object.l[0]",
                "object.l[9]",
                "object.m.none",
            ])
            .to_string(),
        Kind::UInt => random.one(&["0u", "1u", "2u", "18446744073709551615u", "7u"]).to_string(),
        Kind::Double => random.one(&["0.0", "1.5", "-2.25", "1e300", "object.d", "3.0", "0.1"]).to_string(),
        Kind::Text => random
            .one(&[
                "''",
                "'a'",
                "'ab'",
                "'träin-0'",
                "'A b'",
                "object.s",
                "object.e",
                "'7'",
                "'1.5'",
                "'true'",
                "'x,y,,z'",
                "'😀'",
            ])
            .to_string(),
        Kind::Bytes => random.one(&["b''", "b'a'", "b'\\xff'", "b'ab'"]).to_string(),
        Kind::Bool => {
            random.one(&["true", "false", "object.b", "has(object.m.a)", "has(object.m.none)"]).to_string()
        }
        Kind::Ints => random.one(&["[]", "[1]", "[1, 2, 3]", "object.l"]).to_string(),
        Kind::Texts => random.one(&["['a']", "['b', 'a', '']", "object.t"]).to_string(),
        Kind::Map => random.one(&["{'a': 1}", "{'a': 1, 'b': 2}", "object.m"]).to_string(),
        Kind::Duration => random
            .one(&[
                "duration('1h')",
                "duration('-1.5s')",
                "duration('0')",
                "duration('3ms')",
                "duration('100h7m')",
            ])
            .to_string(),
        Kind::Timestamp => random
            .one(&[
                "timestamp('2026-01-02T03:04:05Z')",
                "timestamp('1969-12-31T23:59:59.5Z')",
                "timestamp('2024-02-29T12:00:00+02:00')",
                "timestamp(0)",
            ])
            .to_string(),
    }
}

fn expression(random: &mut Random, kind: Kind, depth: usize, at: usize) -> String {
    if depth == 0 || random.next().is_multiple_of(6) {
        return leaf(random, kind, at);
    }
    // `I` an int, `U` an uint and so on; `@` a bool that knows one name more, `#` an int that does.
    let shapes: &[&str] = match kind {
        Kind::Int => &[
            "(I + I)",
            "(I - I)",
            "(I * I)",
            "(I / I)",
            "(I % I)",
            "-(I)",
            "size(S)",
            "L.size()",
            "size(M)",
            "int(U)",
            "int(D)",
            "int(S)",
            "(B ? I : I)",
            "L[I]",
            "M[S]",
            "S.indexOf(S)",
            "S.lastIndexOf(S)",
            "S.indexOf(S, I)",
            "int(T)",
            "T.getFullYear()",
            "T.getMonth()",
            "T.getDayOfYear()",
            "T.getDayOfWeek()",
            "T.getDate()",
            "T.getHours()",
            "T.getHours('+05:30')",
            "T.getSeconds()",
            "T.getMinutes('America/New_York')",
            "P.getHours()",
            "P.getMinutes()",
            "P.getSeconds()",
            "size(Y)",
            "object.?m[?S].orValue(I)",
            "object.?none.orValue(I)",
            "optional.of(I).value()",
            "M.?a.optMap(y, y + 1).orValue(I)",
        ],
        Kind::UInt => &[
            "(U + U)",
            "(U - U)",
            "(U * U)",
            "(U / U)",
            "(U % U)",
            "uint(I)",
            "uint(D)",
            "uint(S)",
            "(B ? U : U)",
        ],
        Kind::Double => &[
            "(D + D)",
            "(D - D)",
            "(D * D)",
            "(D / D)",
            "-(D)",
            "double(I)",
            "double(U)",
            "double(S)",
            "(B ? D : D)",
        ],
        Kind::Text => &[
            "(S + S)",
            "string(I)",
            "string(U)",
            "string(B)",
            "string(Y)",
            "(B ? S : S)",
            "S.lowerAscii()",
            "S.upperAscii()",
            "S.trim()",
            "S.replace(S, S)",
            "S.replace(S, S, I)",
            "S.substring(I)",
            "S.substring(I, I)",
            "S.charAt(I)",
            "N.join(S)",
            "N.join()",
            "N[I]",
            "strings.quote(S)",
            "'%d %s'.format([I, I])",
        ],
        Kind::Bytes => &["(Y + Y)", "bytes(S)", "(B ? Y : Y)"],
        Kind::Bool => &[
            "(I == I)",
            "(I != I)",
            "(I < I)",
            "(I <= I)",
            "(U < U)",
            "(D < D)",
            "(D >= D)",
            "(S < S)",
            "(S == S)",
            "(Y == Y)",
            "(Y < Y)",
            "(B == B)",
            "(B && B)",
            "(B || B)",
            "!(B)",
            "(I in L)",
            "(S in M)",
            "(S in N)",
            "(L == L)",
            "(M == M)",
            "(N != N)",
            "S.contains(S)",
            "S.startsWith(S)",
            "S.endsWith(S)",
            "S.matches('^[a-z]+-?[0-9]*$')",
            "L.all(X, @)",
            "L.exists(X, @)",
            "L.exists_one(X, @)",
            "N.exists(y, y == S)",
            "M.all(y, y != S)",
            "bool(S)",
            "(T < T)",
            "(P == P)",
            "(T - T > P)",
            "(dyn(I) == dyn(D))",
            "(dyn(I) < dyn(U))",
            "(dyn(U) >= dyn(D))",
            "(dyn(S) == dyn(I))",
            "(type(I) == int)",
            "object.?m.?none.hasValue()",
            "(object.n == null)",
            "has(object.none.a)",
            "(B ? B : B)",
            "(type(dyn(L)) == list)",
        ],
        Kind::Ints => &[
            "(L + L)",
            "L.filter(X, @)",
            "L.map(X, #)",
            "L.map(X, @, #)",
            "[I, I]",
            "(B ? L : L)",
            "[?optional.of(I), I]",
        ],
        Kind::Texts => &[
            "(N + N)",
            "S.split(S)",
            "S.split(S, I)",
            "N.filter(y, y != S)",
            "[S, S]",
            "L.map(X, string(#))",
        ],
        Kind::Map => &["{S: I}", "{'k': I, 'l': I}", "(B ? M : M)", "{?'k': optional.of(I)}"],
        Kind::Duration => &["(P + P)", "(P - P)", "(T - T)", "(B ? P : P)"],
        Kind::Timestamp => &["(T + P)", "(T - P)", "(B ? T : T)", "timestamp(I)"],
    };
    let shape = *random.one(shapes);
    let mut out = String::new();
    let mut letters = shape.chars().peekable();
    let mut before = ' ';
    while let Some(letter) = letters.next() {
        // A capital that stands alone is a part; others are in names.
        let is_alone = !before.is_alphanumeric() && letters.peek().is_none_or(|next| !next.is_alphanumeric());
        let part = match letter {
            'I' => Some((Kind::Int, at)),
            'U' => Some((Kind::UInt, at)),
            'D' => Some((Kind::Double, at)),
            'S' => Some((Kind::Text, at)),
            'Y' => Some((Kind::Bytes, at)),
            'B' => Some((Kind::Bool, at)),
            'L' => Some((Kind::Ints, at)),
            'N' => Some((Kind::Texts, at)),
            'M' => Some((Kind::Map, at)),
            'P' => Some((Kind::Duration, at)),
            'T' => Some((Kind::Timestamp, at)),
            '@' => Some((Kind::Bool, at + 1)),
            '#' => Some((Kind::Int, at + 1)),
            _ => None,
        };
        match part.filter(|_| is_alone) {
            Some((kind, at)) => out.push_str(&expression(random, kind, depth - 1, at)),
            None if letter == 'X' && is_alone => out.push_str(&format!("x{at}")),
            None => out.push(letter),
        }
        before = letter;
    }
    out
}

/// As the peer shows it.
fn shown(value: &Value<'_>) -> Json {
    match value {
        Value::Null => json!(["null"]),
        Value::Bool(value) => json!(["bool", value]),
        Value::Int(value) => json!(["int", value.to_string()]),
        Value::UInt(value) => json!(["uint", value.to_string()]),
        Value::Double(value) => json!(["double", format!("{value:?}")]),
        Value::String(text) => json!(["string", &**text]),
        Value::Bytes(bytes) => json!(["bytes", bytes.iter().map(|b| format!("{b:02x}")).collect::<String>()]),
        // Python knows no nanoseconds.
        Value::Duration(nanos) => json!(["duration", nanos.div_euclid(1_000).to_string()]),
        Value::Timestamp(at) => json!(["timestamp", at.strftime("%Y-%m-%dT%H:%M:%S.%6f").to_string()]),
        Value::List(list) => json!(["list", list.iter().map(|value| shown(&value)).collect::<Vec<_>>()]),
        Value::Map(map) => {
            let mut entries: Vec<(String, Json)> = map
                .iter()
                .map(|(key, value)| {
                    let text = match &key {
                        Value::String(text) => json!(&**text).to_string(),
                        other => format!("{other:?}"),
                    };
                    (text, shown(&value))
                })
                .collect();
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            json!(["map", entries.into_iter().map(|(key, value)| json!([key, value])).collect::<Vec<_>>()])
        }
        other => json!(["other", format!("{other:?}")]),
    }
}

fn ours(text: &str, bindings: &Bindings) -> Json {
    let program = match compile(text, &Declarations::default().with("object", Type::Dyn)) {
        Ok(program) => program,
        Err(error) => return json!(["refused", error.to_string()]),
    };
    match Evaluator::new(bindings, &[]).run(&program).value {
        Ok(value) => shown(&value),
        Err(error) => json!(["error", error.to_string()]),
    }
}

/// Numbers in text are compared as numbers.
fn is_same(ours: &Json, theirs: &Json) -> bool {
    match (ours[0].as_str(), theirs[0].as_str()) {
        (Some("double"), Some("double")) => {
            let number = |json: &Json| json.as_str().and_then(|text| text.parse::<f64>().ok());
            let (ours, theirs) = (number(&ours[1]), number(&theirs[1]));
            ours == theirs || ours.is_some_and(f64::is_nan) && theirs.is_some_and(f64::is_nan)
        }
        (Some("error"), Some("error")) | (Some("refused"), Some("refused")) => true,
        (Some("list"), Some("list")) => {
            let (ours, theirs) = (ours[1].as_array().unwrap(), theirs[1].as_array().unwrap());
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| is_same(a, b))
        }
        _ => ours == theirs,
    }
}

type Differs = fn(&str, &Json, &Json) -> bool;

/// Where the other implementation is not what Kubernetes runs. That it writes fractions of seconds with three, six or nine digits
/// is left out of what is made up.
const DIFFERENT: [(Differs, &str); 2] = [
    (
        |text, _, theirs| {
            text.contains(".substring(")
                && theirs[1].as_str().is_some_and(|why| why.contains("greater than <string>.size()"))
        },
        "its substring may not reach to the end of the text",
    ),
    (
        |text, _, _| text.contains(".split(") && (text.contains("''") || text.contains("object.e")),
        "an empty text has no parts in Go, where nothing parts them",
    ),
];

fn peer(expressions: &[String]) -> Option<Vec<Json>> {
    let python = target().join("test-venv/bin/python");
    let has =
        Command::new(&python).args(["-c", "from cel_expr_python import cel"]).stderr(Stdio::null()).status();
    if !has.is_ok_and(|status| status.success()) {
        tell(&format!("left out: no cel-expr-python in {}; run tools/test/setup", python.display()));
        return None;
    }
    let mut child = Command::new(python)
        .arg(script("peer.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let question = json!({"object": object(), "expressions": expressions});
    child.stdin.take().unwrap().write_all(question.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn values_are_those_of_googles_implementation() {
    let kinds = [
        Kind::Int,
        Kind::UInt,
        Kind::Double,
        Kind::Text,
        Kind::Bytes,
        Kind::Bool,
        Kind::Ints,
        Kind::Texts,
        Kind::Map,
        Kind::Duration,
        Kind::Timestamp,
    ];
    let seed = std::env::var("WATCHBELL_CEL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut random = Random(seed);
    let expressions: Vec<String> = (0..COUNT)
        .map(|at| {
            let kind = kinds[at % kinds.len()];
            expression(&mut random, kind, 1 + at % 4, 0)
        })
        .collect();
    let Some(theirs) = peer(&expressions) else { return };
    let Json::Object(fields) = object() else { unreachable!() };
    let bindings = Bindings(BTreeMap::from([("object".to_owned(), map(fields))]));
    let mut unexplained = Vec::new();
    let mut explained = BTreeMap::new();
    let mut values = 0;
    for (text, theirs) in expressions.iter().zip(&theirs) {
        let ours = ours(text, &bindings);
        values += usize::from(!matches!(ours[0].as_str(), Some("error" | "refused")));
        if !is_same(&ours, theirs) {
            if let Some((_, why)) = DIFFERENT.iter().find(|(differs, _)| differs(text, &ours, theirs)) {
                *explained.entry(*why).or_insert(0) += 1;
                continue;
            }
            unexplained.push(format!("{text}\n  here {ours}\n  there {theirs}"));
        }
    }
    assert!(
        unexplained.is_empty(),
        "seed {seed}, {} of {COUNT}:\n{}",
        unexplained.len(),
        unexplained.join("\n")
    );
    tell(&format!("{values} of {COUNT} have a value; explained: {explained:?}"));
    assert!(values > COUNT / 3, "only {values} of {COUNT} have a value");
}
