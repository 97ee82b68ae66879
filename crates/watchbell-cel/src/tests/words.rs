//! What is said of an expression that is not taken, in cel-go's words and at its places.

use super::declared;
use crate::{Declarations, ObjectType, Type, compile};

fn refused(text: &str, expect: &str) {
    let error = compile(text, &declared()).map(|_| ()).expect_err(text);
    assert_eq!(error.to_string(), expect, "{text}");
}

#[test]
fn a_mistake_is_shown_where_it_stands() {
    refused(
        "object.x == nope",
        "ERROR: <input>:1:13: undeclared reference to 'nope' (in container '')\n | object.x == nope\n | ............^",
    );
    refused(
        "1 + 'a'",
        "ERROR: <input>:1:3: found no matching overload for '_+_' applied to '(int, string)'\n | 1 + 'a'\n | ..^",
    );
    refused(
        "object.name.frobnicate(1)",
        "ERROR: <input>:1:23: undeclared reference to 'frobnicate' (in container '')\n | object.name.frobnicate(1)\n | \
         ......................^",
    );
    refused(
        "'a'.startsWith(1)",
        "ERROR: <input>:1:15: found no matching overload for 'startsWith' applied to 'string.(int)'\n | 'a'.startsWith(1)\n | \
         ..............^",
    );
    refused(
        "object.x &&\n  missing",
        "ERROR: <input>:2:3: undeclared reference to 'missing' (in container '')\n |   missing\n | ..^",
    );
    refused("[1, 'a']", "ERROR: <input>:1:5: expected type 'int' but found 'string'\n | [1, 'a']\n | ....^");
    refused(
        "1 == 1.0",
        "ERROR: <input>:1:3: found no matching overload for '_==_' applied to '(int, double)'\n | 1 == 1.0\n | ..^",
    );
    refused("'x'.y", "ERROR: <input>:1:4: type 'string' does not support field selection\n | 'x'.y\n | ...^");
    refused("has(object)", "ERROR: <input>:1:5: invalid argument to has() macro\n | has(object)\n | ....^");
    refused(
        "1.all(x, true)",
        "ERROR: <input>:1:1: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)\n \
         | 1.all(x, true)\n | ^",
    );
    refused(
        "object.a +",
        "ERROR: <input>:1:11: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | object.a +\n | ..........^",
    );
    refused("(1", "ERROR: <input>:1:3: Syntax error: mismatched input '<EOF>' expecting ')'\n | (1\n | ..^");
    refused("1 2", "ERROR: <input>:1:3: Syntax error: mismatched input '2' expecting <EOF>\n | 1 2\n | ..^");
    refused(
        "'x'.matches('(')",
        "ERROR: <input>:1:13: invalid matches argument\n | 'x'.matches('(')\n | ............^",
    );
    refused(
        "duration('1y')",
        "ERROR: <input>:1:10: invalid duration argument\n | duration('1y')\n | .........^",
    );
    refused(
        "a.B{x: 1}",
        "ERROR: <input>:1:4: undeclared reference to 'a.B' (in container '')\n | a.B{x: 1}\n | ...^",
    );
    refused("package + 1", "ERROR: <input>:1:1: reserved identifier: package\n | package + 1\n | ^");
}

/// Functions of cel-go that Kubernetes does not have, and some that nobody has.
#[test]
fn a_function_that_is_not_there_is_no_expression() {
    for text in [
        "math.greatest(1, 2) == 2",
        "base64.encode(b'x') == ''",
        "cel.bind(x, 1, x) == 1",
        "'abc'.reverse() == 'cba'",
        "proto.hasExt(object, x)",
        "regex.replace('a', 'b', 'c') == ''",
        "jsonpatch.escapeKey('a') == ''",
        "print('x') == 1",
        "object.spec.exec('rm') == 1",
    ] {
        let error = compile(text, &declared()).map(|_| ()).expect_err(text).to_string();
        assert!(
            error.contains("undeclared reference") || error.contains("no matching overload"),
            "{text}: {error}"
        );
    }
}

#[test]
fn declared_fields_are_known_and_others_are_not() {
    let request = Type::Object(std::sync::Arc::new(ObjectType {
        name: "kubernetes.AdmissionRequest",
        fields: [("operation".into(), Type::String), ("dryRun".into(), Type::Bool)].into_iter().collect(),
    }));
    let mut declarations = Declarations::default().with("request", request).with_composition();
    assert_eq!(*compile("request.operation", &declarations).unwrap().output(), Type::String);
    let error = compile("request.opration == ''", &declarations).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("undefined field 'opration'"), "{error}");
    assert!(compile("request.dryRun == 'x'", &declarations).is_err());
    let error = compile("variables.x", &declarations).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("undefined field 'x'"), "{error}");
    declarations.compose("x", Type::list(Type::Int));
    assert_eq!(*compile("variables.x[0]", &declarations).unwrap().output(), Type::Int);
    assert!(compile("variables == variables", &declarations).is_err());
    assert!(compile("variables.x + ['a']", &declarations).is_err());
}

/// The documentation names what there is, and nothing else is there.
#[test]
fn the_documented_functions_are_those_that_there_are() {
    let text = include_str!("../../../../docs/admission-policies.md");
    let (_, table) = text.split_once("| library | functions and macros |").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let is_name = |word: &&str| word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_'));
    let mut documented: Vec<&str> = table.split('`').skip(1).step_by(2).filter(is_name).collect();
    documented.retain(|word| *word != "true");
    documented.sort_unstable();
    documented.dedup();
    let there: Vec<&str> = crate::function_names();
    assert_eq!(documented, there);
}
