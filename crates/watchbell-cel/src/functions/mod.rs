//! The one table of functions: what is not in it does not compile.
//!
//! Which there are follows Kubernetes 1.36 (`apiserver/pkg/cel/environment/base.go`): CEL's own, the extensions for strings
//! (version 2), lists (version 3), sets and optionals of cel-go, and Kubernetes' libraries.

mod arithmetic;
pub(crate) mod authorizer;
pub(crate) mod compare;
mod convert;
mod cost;
mod format;
pub(crate) mod formats;
mod lists;
pub(crate) mod network;
mod numbers;
mod optionals;
mod quantity;
pub(crate) mod regexes;
pub(crate) mod semver;
mod sets;
mod strings;
pub(crate) mod time;
pub(crate) mod url;

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::eval::{Evaluator, Outcome};
use crate::types::{self, Type};
use crate::value::Value;
pub(crate) use cost::Cost;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Style {
    /// `f(x, y)`, an operator, or `library.f(x)`.
    Global,
    /// `x.f(y)`
    Member,
}

pub(crate) type Run = for<'a, 'p> fn(&mut Evaluator<'a, 'p>, &[Value<'a>]) -> Outcome<'a>;

/// A line of the table.
struct Row {
    name: &'static str,
    style: Style,
    /// `(string, int) -> string`, the target of a member first.
    signatures: &'static [&'static str],
    run: Run,
    cost: Cost,
}

const fn global(name: &'static str, signatures: &'static [&'static str], run: Run, cost: Cost) -> Row {
    Row { name, style: Style::Global, signatures, run, cost }
}

const fn member(name: &'static str, signatures: &'static [&'static str], run: Run, cost: Cost) -> Row {
    Row { name, style: Style::Member, signatures, run, cost }
}

#[derive(Debug)]
pub(crate) struct Function {
    pub name: &'static str,
    pub overloads: Vec<Overload>,
    pub run: Run,
    pub cost: Cost,
}

#[derive(Debug)]
pub(crate) struct Overload {
    pub params: Vec<Type>,
    pub result: Type,
}

const TABLES: [&[Row]; 16] = [
    arithmetic::TABLE,
    authorizer::TABLE,
    compare::TABLE,
    convert::TABLE,
    format::TABLE,
    formats::TABLE,
    lists::TABLE,
    network::TABLE,
    optionals::TABLE,
    quantity::TABLE,
    regexes::TABLE,
    semver::TABLE,
    sets::TABLE,
    strings::TABLE,
    time::TABLE,
    url::TABLE,
];

static FUNCTIONS: LazyLock<[HashMap<&'static str, Function>; 2]> = LazyLock::new(|| {
    let mut functions = [HashMap::new(), HashMap::new()];
    for row in TABLES.into_iter().flatten() {
        let overloads = row.signatures.iter().map(|text| signature(text)).collect();
        let function = Function { name: row.name, overloads, run: row.run, cost: row.cost };
        let twice = functions[row.style as usize].insert(row.name, function);
        debug_assert!(twice.is_none(), "{} stands twice in the table", row.name);
    }
    functions
});

fn signature(text: &'static str) -> Overload {
    let (params, result) = text.split_once("->").unwrap_or((text, "dyn"));
    let params = params.trim().trim_start_matches('(').trim_end_matches(')');
    let (mut depth, mut start, mut list) = (0, 0, Vec::new());
    for (at, letter) in params.char_indices() {
        match letter {
            '<' => depth += 1,
            '>' => depth -= 1,
            ',' if depth == 0 => {
                list.push(types::read(&params[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    if !params[start..].trim().is_empty() {
        list.push(types::read(&params[start..]));
    }
    Overload { params: list, result: types::read(result) }
}

/// Types that an expression can name.
pub(crate) const TYPE_NAMES: [&str; 20] = [
    "bool",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "list",
    "map",
    "null_type",
    "type",
    "optional_type",
    "google.protobuf.Timestamp",
    "google.protobuf.Duration",
    "net.URL",
    "net.IP",
    "net.CIDR",
    "kubernetes.Quantity",
    "kubernetes.Semver",
    "kubernetes.NamedFormat",
    "kubernetes.authorization.Decision",
];

pub(crate) fn find(name: &str, style: Style) -> Option<&'static Function> {
    FUNCTIONS[style as usize].get(name)
}

pub(crate) fn is_known(name: &str) -> bool {
    find(name, Style::Global).or_else(|| find(name, Style::Member)).is_some()
}

/// Names of all functions and of the macros, in order; operators are left out.
pub fn names() -> Vec<&'static str> {
    const MACROS: [&str; 13] = [
        "all",
        "exists",
        "existsOne",
        "exists_one",
        "filter",
        "has",
        "map",
        "optFlatMap",
        "optMap",
        "sortBy",
        "transformList",
        "transformMap",
        "transformMapEntry",
    ];
    let functions =
        FUNCTIONS.iter().flat_map(HashMap::keys).copied().filter(|name| !name.contains(['_', '@']));
    let mut names: Vec<&str> = functions.chain(MACROS).collect();
    names.sort_unstable();
    names.dedup();
    names
}
