//! Whatever the expression: it ends, soon, and takes little.

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
use serde_json::{Value as Json, json};

use super::{declared, run};
use crate::{
    Allowance, Declarations, EXPRESSION_COST_MAX, EvalError, Evaluator, Limit, PATTERN_BYTES_MAX, Type,
    Value, compile, compile_within,
};

/// Ends with an error of a bound, or at least with an end. Gives the cost.
fn ends(text: &str, object: Json) -> (Result<(), EvalError>, u64) {
    run(text, object, |evaluation| (evaluation.value.map(|_| ()), evaluation.cost))
}

fn cancelled(text: &str, object: Json) {
    let (outcome, _) = ends(text, object);
    assert!(matches!(outcome, Err(EvalError::Cancelled(_))), "{}: {outcome:?}", &text[..text.len().min(80)]);
}

fn numbers(count: usize) -> Json {
    json!({"list": (0..count).collect::<Vec<_>>(), "text": "a".repeat(count)})
}

#[test]
fn nested_macros_over_a_long_list_end() {
    let inner = "object.list.map(a, object.list.map(b, object.list.map(c, a + b + c)))";
    cancelled(inner, numbers(10_000));
    cancelled("object.list.all(a, object.list.all(b, object.list.exists(c, c == 100 + b)))", numbers(10_000));
    cancelled("object.list.filter(a, object.list.filter(b, true).size() > 0).size() > 0", numbers(10_000));
}

/// What cel-go's cost does not see: equal lists and objects, joined lists, long texts.
#[test]
fn work_that_the_cost_does_not_count_ends_too() {
    cancelled("lists.range(100000).all(x, object.list == object.list)", numbers(100_000));
    cancelled("lists.range(100000).all(x, object == object)", numbers(100_000));
    cancelled("lists.range(100000).all(x, size(object.text) > 0)", numbers(1_000_000));
    cancelled("lists.range(100000).all(x, object.text.find('b*c') == '')", numbers(1_000_000));
    cancelled("lists.range(1000000000000) == []", json!({}));
    cancelled("object.text.replace('', object.text).size() > 0", numbers(100_000));
    let doubled = format!("object.list{}", ".map(x, [x, x]).flatten()".repeat(20));
    cancelled(&doubled, numbers(1000));
    cancelled("object.list.distinct().size() > 0", numbers(100_000));
    cancelled("sets.equivalent(object.list, object.list.map(x, x + 1))", numbers(10_000));
}

/// A text that is read as something else, sought in a map, compared as bytes or handed to the authorizer is looked at as a whole.
#[test]
fn long_texts_are_paid_for_whatever_is_done_with_them() {
    let name = "n".repeat(90_000);
    for text in [
        "int(object.zeroes) == 1",
        "uint(object.zeroes) == 1u",
        "double(object.zeroes) == 1.0",
        "timestamp(object.moment) == timestamp('2026-01-01T00:00:00Z')",
        "duration(object.span) == duration('1s')",
        "timestamp('2026-01-01T00:00:00Z').getHours(object.zone) == 99",
        "{'a': 1}[object.zeroes] == 1",
        "object[object.zeroes] == 1",
        "object.zeroes in {'a': 1}",
        "{'a': 1}[?object.zeroes].hasValue()",
        "authorizer.group(object.zeroes).resource('pods') == authorizer.group(object.zeroes).resource('pods')",
        &format!("has(object.{name})"),
        &format!("object.?{name}.hasValue()"),
        &format!("{{'a': 1}}.{name} == 1"),
    ] {
        let object = json!({
            "zeroes": "0".repeat(1_000_000),
            "moment": format!("2026-01-01T00:00:00.{}Z", "0".repeat(1_000_000)),
            "span": "1h".repeat(500_000),
            "zone": format!("{}1:00", "0".repeat(1_000_000)),
        });
        cancelled(&format!("lists.range(60000).exists(x, {text})"), object);
    }
    let bytes = "[bytes(object.text)].all(b, lists.range(60000).all(x, b == b))";
    cancelled(bytes, numbers(1_000_000));
    let urls = "[url('/' + object.text)].all(u, lists.range(60000).all(x, u == u))";
    cancelled(urls, numbers(1_000_000));
}

/// Whether a cluster has the bound too is told apart: who overlooks errors must not overlook ours.
#[test]
fn an_own_bound_is_known_from_kubernetes_own() {
    let (outcome, _) = ends("lists.range(1000).all(x, lists.range(1000).all(y, x + y >= 0))", json!({}));
    assert_eq!(outcome, Err(EvalError::Cancelled(Limit::Cost)));
    let (outcome, _) = ends("lists.range(60000).all(x, object == object)", numbers(60_000));
    assert!(matches!(outcome, Err(EvalError::Cancelled(Limit::Own(_)))), "{outcome:?}");
}

#[test]
fn an_error_is_no_longer_than_it_must_be() {
    for text in ["object[object.text]", "{object.text: 1}.transformMapEntry(k, v, {k: v, object.text: 2})"] {
        let (outcome, _) = ends(text, numbers(1_000_000));
        let error = outcome.expect_err("there is no such key, or it is there twice").to_string();
        assert!(error.len() < 400, "{} bytes: {}", error.len(), &error[..80]);
    }
}

#[test]
fn patterns_are_bounded_where_they_stand_and_where_they_are_made() {
    // A pattern each, more than all may take together.
    let many = |count: usize| {
        let each: Vec<String> = (0..count).map(|n| format!("object.text.matches('^a{n}$')")).collect();
        compile(&each.join(" || "), &declared())
    };
    assert!(many(100).is_ok());
    assert!(many(1_000).unwrap_err().to_string().contains("are too large"));
    // The same one again is none more.
    let same = vec!["object.text.matches('^a$')"; 1_000].join(" || ");
    assert!(compile(&same, &declared()).is_ok());
    // Of several expressions together.
    let mut left = PATTERN_BYTES_MAX;
    let mut expressions =
        (0..1_000).map(|n| compile_within(&format!("object.text.matches('^a{n}$')"), &declared(), &mut left));
    assert!(expressions.any(|compiled| compiled.is_err()));
    let large = "object.text.matches('a{1000}b{1000}')";
    assert!(compile_within(large, &declared(), &mut 1_000).is_err());
    assert!(compile_within(large, &declared().types_only(), &mut 1_000).is_ok());
    // Made while it runs, each of them large.
    cancelled("lists.range(60).all(n, !'b'.matches('a{1000}b{1000}' + string(n)))", json!({}));
    // Each match looks at the whole rest.
    let shouted = json!({"text": "A".repeat(200_000)});
    cancelled("object.text.findAll('.*[^A-Z]|[A-Z]').size() > 0", shouted);
}

/// Of several evaluators one may leave too little for the next.
#[test]
fn evaluators_share_an_allowance() {
    let stage = super::Stage(numbers(10_000));
    let host = &stage;
    let program = compile("object == object", &declared()).unwrap();
    let mut left = Allowance { work: 50_000, memory: 1 << 20 };
    let mut outcomes = Vec::new();
    for _ in 0..10 {
        let mut evaluator = Evaluator::within(&host, &[], left);
        outcomes.push(evaluator.run(&program).value.is_ok());
        left = evaluator.left();
    }
    assert!(outcomes[0]);
    assert!(!outcomes[9]);
    assert_eq!(left.work, 0);
}

#[test]
fn a_span_of_time_does_not_overflow() {
    let long = "99999999999999999999h".repeat(1_000_000);
    assert_eq!(crate::functions::time::parse_duration(&long), None);
}

#[test]
fn joined_lists_and_texts_do_not_double_without_end() {
    let mut declarations = declared().with_composition();
    let mut programs = Vec::new();
    for step in 0..60 {
        let text = match step {
            0 => "[1, 2, 3]".to_owned(),
            _ => format!("variables.v{0} + variables.v{0}", step - 1),
        };
        let program = compile(&text, &declarations).unwrap();
        declarations.compose(&format!("v{step}"), program.output().clone());
        programs.push(program);
    }
    let last = compile("variables.v59.size() > 0", &declarations).unwrap();
    let stage = super::Stage(json!({}));
    let host = &stage;
    let mut evaluator = Evaluator::new(&host, &programs);
    assert!(matches!(evaluator.run(&last).value, Err(EvalError::Cancelled(_))));
}

/// Variables that need each other in a long row, on a stack such as a thread has.
#[test]
fn a_long_row_of_variables_does_not_overflow_the_stack() {
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(|| {
        let mut declarations = declared().with_composition();
        let mut programs = Vec::new();
        for step in 0..2_000 {
            let text = match step {
                0 => "[1]".to_owned(),
                _ => format!("{}variables.v{}{}", "[".repeat(90), step - 1, "]".repeat(90)),
            };
            let program = compile(&text, &declarations).unwrap();
            declarations.compose(&format!("v{step}"), program.output().clone());
            programs.push(program);
        }
        let stage = super::Stage(json!({}));
        let host = &stage;
        let mut evaluator = Evaluator::new(&host, &programs);
        let last = compile("variables.v1999 == variables.v1998", &declarations).unwrap();
        assert!(matches!(evaluator.run(&last).value, Err(EvalError::Cancelled(_))));
        // One after the other they are not deep, but their values would be.
        let mut evaluator = Evaluator::new(&host, &programs);
        let each: Vec<_> = (0..100)
            .map(|step| compile(&format!("variables.v{step} == []"), &declarations).unwrap())
            .collect();
        let last = each.iter().map(|program| evaluator.run(program).value).last().unwrap();
        assert!(matches!(last, Err(EvalError::Cancelled(_))));
    });
    thread.unwrap().join().unwrap();
}

#[test]
fn nesting_and_length_are_bounded_where_they_are_read() {
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(|| {
        for text in [
            "(".repeat(50_000),
            "[".repeat(50_000),
            "{".repeat(50_000),
            "!".repeat(50_000),
            "-".repeat(50_000),
            "a?".repeat(30_000),
            format!("1{}", "+1".repeat(40_000)),
            format!("a{}", ".b".repeat(40_000)),
            format!("a{}", "[0]".repeat(30_000)),
            format!("a{}", ".f()".repeat(20_000)),
            format!("{}1{}", "[1].map(x,".repeat(5_000), ")".repeat(5_000)),
            "x".repeat(200_000),
        ] {
            assert!(compile(&text, &declared()).is_err(), "{}", &text[..20]);
        }
        // A long chain of conditions is flat.
        let chain = vec!["object.a == 1"; 5_000].join(" && ");
        assert!(compile(&chain, &declared()).is_ok());
        // Types that would double with each macro.
        let doubling = format!("[1]{}", ".map(x, {x: x})".repeat(60));
        assert!(compile(&doubling, &declared()).is_ok());
    });
    thread.unwrap().join().unwrap();
}

fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("object.list".to_owned()),
        Just("object.text".to_owned()),
        Just("object".to_owned()),
        Just("x".to_owned()),
        Just("[1, 2, 3]".to_owned()),
        Just("'abc'".to_owned()),
        any::<i64>().prop_map(|n| n.to_string()),
        Just("1.5".to_owned()),
    ];
    leaf.prop_recursive(6, 40, 3, |inner| {
        let macros =
            prop_oneof![Just("map"), Just("filter"), Just("all"), Just("exists"), Just("exists_one")];
        let methods = prop_oneof![
            Just("size()"),
            Just("sort()"),
            Just("distinct()"),
            Just("flatten()"),
            Just("reverse()"),
            Just("sum()"),
            Just("join(',')"),
            Just("split('')"),
            Just("upperAscii()"),
            Just("findAll('a*')"),
            Just("?field.orValue([])"),
        ];
        prop_oneof![
            (inner.clone(), macros, inner.clone())
                .prop_map(|(range, name, body)| format!("dyn({range}).{name}(x, dyn({body}))")),
            (inner.clone(), methods).prop_map(|(target, method)| format!("dyn({target}).{method}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("dyn({a}) + dyn({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("dyn({a}) == dyn({b})")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("dyn({a}) ? dyn({b}) : dyn({c})")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("{{'a': dyn({a}), 'b': dyn({b})}}")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_expression_ends_within_its_bounds(text in expression()) {
        let declarations = declared().with("x", Type::Dyn);
        if let Ok(program) = compile(&text, &declarations) {
            let stage = super::Stage(numbers(3_000));
            let host = &stage;
            let mut evaluator = Evaluator::new(&host, &[]);
            // That it ends is half of what is tested: without bounds it would take days.
            let evaluation = evaluator.run(&program);
            if evaluation.cost > EXPRESSION_COST_MAX {
                assert!(matches!(evaluation.value, Err(EvalError::Cancelled(_))), "{text}");
            }
        }
    }

    #[test]
    fn no_text_is_too_strange_to_be_read(text in "[-a-z0-9.,(){}\\[\\]!?:&|=<>+*/%'\"\\\\ rbuxn]{0,60}") {
        let _ = compile(&text, &declared());
    }
}

/// The cost is cel-go's, as Kubernetes' own tests of it have it (`library/cost_test.go`, `interpreter/runtimecost_test.go`).
#[test]
fn the_cost_is_that_of_cel_go() {
    let object = || json!({"list": [1, 2, 3], "text": "abcdefghij", "spec": {"a": {"b": 1}}});
    for (text, expect) in [
        ("true", 0),
        ("object.spec", 2),
        ("object.spec.a.b", 4),
        ("has(object.spec)", 1),
        ("object.spec.a.b == 1", 5),
        ("'abcdefghijk' == 'abcdefghijk'", 2),
        ("[1, 2, 3]", 10),
        ("{'a': 1}", 30),
        ("1 + 2", 1),
        ("'abcdefghijk' + 'l'", 2),
        ("'abcdefghijk'.contains('abc')", 2),
        ("'abcdefghijk'.startsWith('abc')", 2),
        ("3 in [1, 2, 3]", 13),
        ("true ? 1 : 2", 0),
        ("object.list.all(x, true)", 12),
        ("object.list.exists(x, false)", 15),
        ("object.list.map(x, x)", 42),
        ("'abcdefghijk'.matches('abc')", 2),
        ("[1, 2, 3, 4, 5].sum()", 15),
        ("[uint(1), uint(2), uint(3), uint(4), uint(5)].sum()", 20),
        ("['012345678901', '012345678901'].isSorted()", 12),
        ("[bytes('012345678901'), bytes('012345678901')].max()", 16),
        ("[uint(1), uint(2), uint(3), uint(4), uint(5)].indexOf(uint(3))", 21),
        ("'01234567890123456789012345678901234567890123456789'.indexOf('123')", 5),
        ("url('https:://kubernetes.io/').getHost()", 4),
        ("url('https:://kubernetes.io/') == url('http://x.b')", 5),
        ("ip('192.168.0.1').family()", 3),
        ("ip('2001:db8:3333:4444:5555:6666:7777:8888') == ip('192.168.0.1')", 7),
        ("ip.isCanonical('2001:db8:3333:4444:5555:6666:7777:8888')", 8),
        ("cidr('192.168.0.0/16').masked()", 3),
        ("cidr('192.168.0.0/16').containsCIDR('192.0.0.0/30')", 7),
        ("cidr('192.168.0.0/16').containsIP('192.0.0.1')", 4),
        ("cidr('192.168.0.0/16').containsIP('192.169.0.1')", 5),
        ("quantity('12345678901')", 2),
        ("authorizer.group('').resource('pods').check('get').allowed()", 350_004),
    ] {
        let (outcome, cost) = ends(text, object());
        outcome.unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(cost, expect, "{text}");
    }
    // Only two checks fit into an expression.
    let check = "authorizer.group('').resource('pods').check('get').allowed()";
    cancelled(&format!("{check} && {check} && {check}"), object());
}

/// A field of `variables` is evaluated once, and paid for by who needs it first.
#[test]
fn a_variable_is_evaluated_once_and_only_when_needed() {
    let mut declarations: Declarations = declared().with_composition();
    let programs: Vec<_> = [("dear", "lists.range(1000).map(x, x)"), ("broken", "[1][2] == 1")]
        .into_iter()
        .map(|(name, text)| {
            let program = compile(text, &declarations).unwrap();
            declarations.compose(name, program.output().clone());
            program
        })
        .collect();
    let first = compile("variables.dear.size() == 1000", &declarations).unwrap();
    let lazy = compile("false && variables.broken", &declarations).unwrap();
    let broken = compile("variables.broken", &declarations).unwrap();
    let stage = super::Stage(json!({}));
    let host = &stage;
    let mut evaluator = Evaluator::new(&host, &programs);
    let paid = evaluator.run(&first);
    assert!(matches!(paid.value, Ok(Value::Bool(true))) && paid.cost > 10_000, "{paid:?}");
    let again = evaluator.run(&first);
    assert!(matches!(again.value, Ok(Value::Bool(true))) && again.cost < 10, "{again:?}");
    assert!(matches!(evaluator.run(&lazy).value, Ok(Value::Bool(false))));
    let error = evaluator.run(&broken).value.unwrap_err().to_string();
    assert_eq!(error, "composited variable \"broken\" fails to evaluate: index out of bounds: 2");
}
