//! What expressions give, by the language definition, the documents of cel-go's extensions and those of Kubernetes' libraries.

use super::{pod, run};
use crate::Value;
use crate::functions::compare::equal;

/// The expression is true.
fn holds(text: &str) {
    run(text, pod(), |evaluation| match evaluation.value {
        Ok(Value::Bool(true)) => {}
        other => panic!("{text}: {other:?}"),
    });
}

/// Both come to the same value.
fn same(text: &str, expect: &str) {
    run(text, pod(), |left| {
        run(expect, pod(), |right| {
            let (left, right) = (left.value, right.value);
            let (Ok(a), Ok(b)) = (&left, &right) else { panic!("{text}: {left:?}, {expect}: {right:?}") };
            let mut budget = crate::budget::Budget::new(1_000_000, crate::Allowance::evaluators(1));
            let alike = equal(a, b, &mut budget).unwrap() && a.type_name() == b.type_name();
            assert!(alike, "{text} is {a:?}, not {b:?}");
        });
    });
}

/// It comes to nothing, for that reason.
fn fails(text: &str, why: &str) {
    run(text, pod(), |evaluation| match evaluation.value {
        Err(error) => assert!(error.to_string().contains(why), "{text}: {error}"),
        Ok(value) => panic!("{text} is {value:?}"),
    });
}

#[test]
fn operators_reckon_and_compare() {
    for (text, expect) in [
        ("1 + 2 * 3", "7"),
        ("(1 + 2) * 3", "9"),
        ("7 / 2", "3"),
        ("-7 / 2", "-3"),
        ("-7 % 3", "-1"),
        ("7u / 2u", "3u"),
        ("1.5 + 0.25", "1.75"),
        ("'a' + 'b'", "'ab'"),
        ("b'a' + b'b'", "b'ab'"),
        ("[1] + [2]", "[1, 2]"),
        ("- - 3", "3"),
        ("true ? 1 : 2", "1"),
        ("false ? 1 : true ? 2 : 3", "2"),
        ("0x10", "16"),
        ("1e3", "1000.0"),
        (r"'\x41\u00e9\U0001f600\101'", "'Aé😀A'"),
        (r"r'a\n' ", r"'a\\n'"),
        ("'''a\nb'''", r"'a\nb'"),
        ("{'a': 1}.a", "1"),
        ("{'a': 1}['a']", "1"),
        ("{1: 'x'}[1]", "'x'"),
        ("[10, 20][1]", "20"),
        ("type(1)", "int"),
        ("type([])", "list"),
        ("type(timestamp('2024-01-01T00:00:00Z'))", "google.protobuf.Timestamp"),
        ("int('42')", "42"),
        ("int(3.9)", "3"),
        ("double('1.5')", "1.5"),
        ("string(1.0)", "'1'"),
        ("string(1e21)", "'1e+21'"),
        // The second that it lies in.
        ("int(timestamp('1969-12-31T23:59:59.5Z'))", "-1"),
        // Compared as doubles, which these two share.
        ("dyn(9223372036854775807) < 9223372036854775808.0", "false"),
        ("dyn(9223372036854775808.0) <= 9223372036854775807", "true"),
        ("dyn(18446744073709551615u) > 1.8e19", "true"),
        ("string(999999.0)", "'999999'"),
        ("string(1048576.0)", "'1.048576e+06'"),
        ("string(0.00001)", "'1e-05'"),
        ("string(true)", "'true'"),
        ("string(duration('90m'))", "'5400s'"),
        ("size('né')", "2"),
        ("'né'.size()", "2"),
        ("size(b'n\\303\\251')", "3"),
    ] {
        same(text, expect);
    }
    for text in [
        "1 == 1 && 1 != 2",
        "dyn(1) == 1.0 && dyn(1u) == 1",
        "1 < 2.5 && 2u < 3 && 1.5 > 1u",
        "'a' < 'b' && [1, 2] == [1, 2] && {'a': [1]} == {'a': [1]}",
        "dyn('1') != 1",
        "2 in [1, 2] && !(3 in [1, 2]) && 'a' in {'a': 1}",
        // As doubles, of which both are the same one.
        "dyn(9007199254740993) == 9007199254740992.0",
    ] {
        holds(text);
    }
    fails("9223372036854775807 + 1", "integer overflow");
    fails("-9223372036854775808 - 1", "integer overflow");
    fails("0u - 1u", "unsigned integer overflow");
    fails("1 / 0", "division by zero");
    fails("1 % 0", "modulus by zero");
    fails("[1][1]", "index out of bounds: 1");
    fails("{'a': 1}['b']", "no such key: b");
    fails("int('x')", "type conversion error from 'string' to 'int'");
    fails("object.spec.missing", "no such key: missing");
    fails("object.spec.replicas + 'x'", "no such overload");
}

#[test]
fn a_deciding_value_makes_up_for_an_error() {
    for text in [
        "object.missing == 1 || true",
        "true || object.missing == 1",
        "!(object.missing == 1 && false)",
        "[1, 0].exists(x, 1 / x == 1)",
        "![0, 1].all(x, 1 / x == 2)",
    ] {
        holds(text);
    }
    fails("object.missing == 1 || false", "no such key: missing");
    fails("[0, 1].all(x, 1 / x == 1)", "division by zero");
}

#[test]
fn macros_go_over_lists_and_maps() {
    for text in [
        "has(object.metadata.labels.app) && !has(object.metadata.labels.none)",
        "object.spec.containers.all(c, c.image.contains(':'))",
        "object.spec.containers.exists(c, c.name == 'side')",
        "object.spec.containers.exists_one(c, c.name == 'side')",
        "object.metadata.labels.all(k, k.size() > 2)",
        "object.metadata.labels.all(k, v, v != '')",
        "[1, 2, 3].exists(i, v, i == 2 && v == 3)",
        "object.spec.containers.map(c, c.name) == ['main', 'side']",
        "[1, 2, 3].map(x, x > 1, x * 2) == [4, 6]",
        "[1, 2, 3].filter(x, x != 2) == [1, 3]",
        "[5, 6].transformList(i, v, i * v) == [0, 6]",
        "{'a': 1}.transformMap(k, v, v + 1) == {'a': 2}",
        "['x'].transformMapEntry(i, v, {v: i}) == {'x': 0}",
        "[[1, 2], [3]].map(x, x.map(y, y + 1)) == [[2, 3], [4]]",
        // An inner name hides an outer one.
        "[1].all(x, [2].all(x, x == 2) && x == 1)",
        "['b', 'a'].sortBy(x, x) == ['a', 'b']",
    ] {
        holds(text);
    }
    fails("['x', 'x'].transformMapEntry(i, v, {v: i})", "already exists");
}

#[test]
fn what_may_be_missing_is_asked_for() {
    for text in [
        "object.?spec.?replicas.orValue(0) == 3",
        "object.?spec.?none.?deeper.orValue('x') == 'x'",
        "object.spec.containers[?0].hasValue() && !object.spec.containers[?9].hasValue()",
        "object.metadata.labels[?'app'].value() == 'train'",
        "optional.none().or(optional.of(1)).value() == 1",
        "optional.ofNonZeroValue('') == optional.none()",
        "object.?spec.?replicas.optMap(r, r + 1).orValue(0) == 4",
        "object.?spec.optFlatMap(s, s.?none).hasValue() == false",
        "[?optional.of(1), ?optional.none(), 2] == [1, 2]",
        "{?'a': optional.none(), 'b': 1} == {'b': 1}",
        "[1, 2].first().value() == 1 && [1, 2].last().value() == 2 && [].first() == optional.none()",
        "[optional.of(1), optional.none()].unwrapOpt() == [1]",
        "has(object.?spec.replicas)",
        "optional.of(1).or(optional.of([1][9])).value() == 1",
        "optional.of(1).orValue([1][9]) == 1",
        "optional.of([1, 2])[1].value() == 2 && !optional.of({'a': 1})['b'].hasValue()",
    ] {
        holds(text);
    }
    fails("optional.none().value()", "optional.none() dereference");
}

#[test]
fn texts_have_the_extension_of_version_2() {
    for (text, expect) in [
        ("'hello'.charAt(1)", "'e'"),
        ("'hello'.indexOf('l')", "2"),
        ("'hello'.indexOf('l', 3)", "3"),
        ("'hello'.lastIndexOf('l')", "3"),
        ("'hello'.lastIndexOf('l', 2)", "2"),
        ("'hello'.indexOf('z')", "-1"),
        ("'Hé'.lowerAscii()", "'hé'"),
        ("'hé'.upperAscii()", "'Hé'"),
        ("'hello hello'.replace('he', 'we')", "'wello wello'"),
        ("'hello hello'.replace('he', 'we', 1)", "'wello hello'"),
        ("'ab'.replace('', '_')", "'_a_b_'"),
        ("'a,b,c'.split(',')", "['a', 'b', 'c']"),
        ("'a,b,c'.split(',', 2)", "['a', 'b,c']"),
        ("'abc'.split('')", "['a', 'b', 'c']"),
        ("'abc'.split('', 2)", "['a', 'bc']"),
        ("'tacocat'.substring(4)", "'cat'"),
        ("'tacocat'.substring(0, 4)", "'taco'"),
        ("'  \\ttrim\\n'.trim()", "'trim'"),
        ("['x', 'y'].join('-')", "'x-y'"),
        ("strings.quote('a\"b\\n')", r#"'"a\\"b\\n"'"#),
        (
            "'%s is %d, %.2f %e %x %X %o %b%%'.format([dyn('x'), dyn(3), dyn(1.5), dyn(1500.0), dyn(255), dyn('a'), dyn(8), dyn(true)])",
            "'x is 3, 1.50 1.500000\u{202f}×\u{202f}10⁰³ ff 61 10 1%'",
        ),
        ("'%s'.format([[dyn('a'), dyn(1)]])", r#"'["a", 1]'"#),
        ("'%s'.format([{'b': dyn(1), 'a': dyn(null)}])", r#"'{"a":null, "b":1}'"#),
        ("'%s'.format([timestamp('2023-02-03T23:31:20Z')])", "'2023-02-03T23:31:20Z'"),
        ("'abc 123'.find('[0-9]+')", "'123'"),
        ("'1 2 3'.findAll('[0-9]')", "['1', '2', '3']"),
        ("'1 2 3'.findAll('[0-9]', 2)", "['1', '2']"),
    ] {
        same(text, expect);
    }
    // Of version 2: what is nested is written as an expression would write it. Facts of cel-go's `ext/formatting_test.go`.
    for (text, expect) in [
        ("%f|1052.032911275", "1,052.032911"),
        ("%.3f|1.2345", "1.234"),
        ("%.0f|2.5", "2"),
        ("%f|-1234567.5", "-1,234,567.500000"),
        ("%f|'Infinity'", "∞"),
        ("%f|'-Infinity'", "-∞"),
        ("%f|'NaN'", "NaN"),
        ("%.6e|1052.032911275", "1.052033\u{202f}×\u{202f}10⁰³"),
        ("%e|0.00271828", "2.718280\u{202f}×\u{202f}10⁻⁰³"),
        ("%s|0.000000002", "2e-09"),
        ("%s|2.71", "2.71"),
        ("%s|[2.71]", "[2.710000]"),
        ("%s|[0.000000002]", "[0.000000]"),
        ("%s|double('Inf')", "+Inf"),
        ("%s|[double('NaN'), double('Inf'), double('-Inf')]", r#"["NaN", "+Inf", "-Inf"]"#),
        (
            "%s|['abc', dyn(3.14), dyn(null), dyn([9, 8]), dyn(timestamp('2023-02-03T23:31:20Z'))]",
            r#"["abc", 3.140000, null, [9, 8], timestamp("2023-02-03T23:31:20Z")]"#,
        ),
        (
            "%s|{'key1': dyn(b'xyz'), 'key2': dyn(duration('2h')), 'key5': dyn(null), 'key3': dyn(2.71828)}",
            r#"{"key1":b"xyz", "key2":duration("7200s"), "key3":2.718280, "key5":null}"#,
        ),
        (
            "%s|{dyn('strKey'): dyn('x'), dyn(6): dyn(1), dyn(true): dyn(42)}",
            r#"{"strKey":"x", 6:1, true:42}"#,
        ),
    ] {
        let (format, argument) = text.split_once('|').unwrap();
        same(&format!("'{format}'.format([{argument}])"), &format!("'{expect}'"));
    }
    fails("'%f'.format([1])", "fixed-point clause can only be used on doubles, was given int");
    fails("'%e'.format([true])", "scientific clause can only be used on doubles, was given bool");
    holds(
        "'train-0'.matches('^[a-z]+-[0-9]+$') && matches('x', 'x') && 'abc'.startsWith('a') && 'abc'.endsWith('c')",
    );
    fails("'abc'.charAt(4)", "index out of range: 4");
    fails("'abc'.substring(2, 1)", "invalid substring range");
    fails("'%d'.format(['x'])", "decimal clause can only be used on integers");
    fails("'%s %s'.format(['x'])", "index 1 out of range");
}

#[test]
fn lists_and_sets() {
    for text in [
        "[1, 2, 2].isSorted() && !['b', 'a'].isSorted()",
        "[1, 2].sum() == 3 && [1.5, 2.0].sum() == 3.5 && [duration('1m'), duration('1s')].sum() == duration('61s')",
        "[3, 1].min() == 1 && ['a', 'c'].max() == 'c'",
        "[1, 2, 1].indexOf(1) == 0 && [1, 2, 1].lastIndexOf(1) == 2 && [1].indexOf(2) == -1",
        "[1, 2, 3].slice(1, 3) == [2, 3]",
        "[[1], [2, 3]].flatten() == [1, 2, 3] && [[dyn(1), dyn([2])]].flatten(2) == [1, 2]",
        "[3, 1, 2].sort() == [1, 2, 3] && [1, 2, 1].distinct() == [1, 2] && [1, 2].reverse() == [2, 1]",
        "lists.range(3) == [0, 1, 2]",
        "sets.contains([1, 2], [2]) && !sets.contains([1], [2]) && sets.equivalent([1, 1, 2], [2, 1])",
        "sets.intersects([1, 2], [2, 3]) && !sets.intersects([1], [2])",
    ] {
        holds(text);
    }
    fails("[].min()", "min called on empty list");
}

#[test]
fn kubernetes_libraries() {
    for text in [
        "url('https://user@example.com:8080/a%20b?k=v&k=w&e=%3D').getHost() == 'example.com:8080'",
        "url('https://example.com:80/').getHostname() == 'example.com' && url('https://example.com:80/').getPort() == '80'",
        "url('https://[::1]:80/').getHostname() == '::1' && url('https://[::1]:80/').getHost() == '[::1]:80'",
        "url('https://example.com/a%20b').getEscapedPath() == '/a%20b' && url('/path').getScheme() == ''",
        "url('https://x/?k=v&k=w&e=%3D').getQuery() == {'k': ['v', 'w'], 'e': ['=']}",
        "isURL('https://example.com') && isURL('/path') && !isURL('example.com/x y') && !isURL('')",
        "quantity('1.5Gi').isGreaterThan(quantity('1Gi')) && quantity('200m').isLessThan(quantity('1'))",
        "quantity('50k').add(20).asInteger() == 50020 && quantity('50k').sub(quantity('20k')).compareTo(quantity('30k')) == 0",
        "isQuantity('1.3Gi') && !isQuantity('1.3x') && quantity('-3').sign() == -1",
        "!quantity('0.5').isInteger() && quantity('0.5').asApproximateFloat() == 0.5",
        "ip('192.168.0.1').family() == 4 && ip('::1').isLoopback() && ip('10.0.0.1').isGlobalUnicast()",
        "isIP('127.0.0.1') && !isIP('127.0.0.256') && !isIP('::ffff:1.2.3.4') && !isIP('fe80::1%eth0')",
        "ip.isCanonical('2001:db8::abcd') && !ip.isCanonical('2001:DB8::ABCD')",
        "cidr('192.168.0.0/24').containsIP('192.168.0.9') && !cidr('192.168.0.0/24').containsIP(ip('192.168.1.9'))",
        "cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && !cidr('10.1.0.0/16').containsCIDR('10.0.0.0/8')",
        "cidr('192.168.1.5/24').masked() == cidr('192.168.1.0/24') && cidr('::/0').prefixLength() == 0",
        "string(cidr('192.168.1.5/24').ip()) == '192.168.1.5' && !isCIDR('10.0.0.0/33')",
        "semver('1.2.3').isLessThan(semver('1.10.0')) && semver('1.0.0-alpha.1').isLessThan(semver('1.0.0'))",
        "semver('1.2.3').major() == 1 && semver('v1.2', true).minor() == 2 && !isSemver('1.2') && isSemver('v1', true)",
        "semver('1.0.0-rc.2').compareTo(semver('1.0.0-rc.10')) == -1",
        "!format.dns1123Label().validate('train-0').hasValue() && format.dns1123Label().validate('A').hasValue()",
        "format.named('labelValue').value().validate('a b').value().size() == 1 && !format.named('x').hasValue()",
        "!format.uuid().validate('123e4567-e89b-12d3-a456-426614174000').hasValue() && !format.byte().validate('aGk=').hasValue()",
        "!format.date().validate('2021-01-01').hasValue() && format.datetime().validate('yesterday').hasValue()",
        "authorizer.group('').resource('pods').namespace('ml').check('get').allowed()",
        "!authorizer.group('').resource('secrets').check('get').allowed() && !authorizer.path('/healthz').check('get').allowed()",
        "authorizer.serviceAccount('ml', 'trainer').group('batch').resource('jobs').check('create').allowed()",
        "authorizer.group('').resource('pods').check('get').reason() == 'because'",
    ] {
        holds(text);
    }
    fails("quantity('x')", "quantities must match the regular expression");
    fails("authorizer.path(' ')", "path must not be empty");
    fails("authorizer.serviceAccount('A', 'b')", "Invalid service account namespace");
}

#[test]
fn moments_and_spans() {
    for text in [
        "timestamp('2024-02-29T12:30:45.250Z').getFullYear() == 2024",
        "timestamp('2024-02-29T12:30:45.250Z').getMonth() == 1 && timestamp('2024-02-29T12:30:45Z').getDate() == 29",
        "timestamp('2024-02-29T12:30:45.250Z').getDayOfMonth() == 28 && timestamp('2024-03-01T00:00:00Z').getDayOfYear() == 60",
        "timestamp('2024-03-03T00:00:00Z').getDayOfWeek() == 0",
        "timestamp('2024-02-29T12:30:45.250Z').getMilliseconds() == 250",
        "timestamp('2024-07-01T12:00:00Z').getHours('Europe/Berlin') == 14",
        "timestamp('2024-07-01T12:00:00Z').getHours('-02:30') == 9",
        "duration('1h30m').getMinutes() == 90 && duration('1.5s').getMilliseconds() == 1500",
        "timestamp('2024-01-02T00:00:00Z') - timestamp('2024-01-01T00:00:00Z') == duration('24h')",
        "timestamp('2024-01-01T00:00:00Z') + duration('1h') > timestamp('2024-01-01T00:59:59Z')",
        "int(timestamp('1970-01-01T00:01:00Z')) == 60",
    ] {
        holds(text);
    }
    fails("timestamp(object.metadata.name)", "cannot parse");
    fails(
        "timestamp('9999-12-30T21:59:59Z') + duration(object.metadata.name.replace('train-0', '1h'))",
        "timestamp overflow",
    );
}
