//! The check before anything runs: each name is declared, each function known and given what it takes. It leaves a program in
//! which names are places and calls are functions.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::error::{CompileError, Issue};
use crate::functions::regexes::PatternError;
use crate::functions::{self, Function, Style};
use crate::parser::parse;
use crate::tree::{Fold, Id, Kind, Macro, OptNesting, Optional, Presence, Tree};
use crate::types::{Bindings, Type};
use crate::value::Value;

const TOO_MANY_PATTERNS: &str = "the pattern, or the patterns of all expressions together, are too large: at most 256 KiB one, \
                                 1 MiB all";

/// One text is not told of more often than this.
const ISSUES_MAX: usize = 20;

/// A compiled pattern, and for how many bytes it counts.
#[derive(Debug)]
pub(crate) struct Pattern {
    pub regex: regex::Regex,
    pub bytes: usize,
}

/// Compiled patterns by their text.
pub(crate) type Patterns = HashMap<Box<str>, Arc<Pattern>>;

/// What the patterns that stand in an expression, or in all that belong together, may count for.
pub const PATTERN_BYTES_MAX: usize = 1 << 20;

/// What an expression may name.
#[derive(Debug, Clone, Default)]
pub struct Declarations {
    variables: BTreeMap<&'static str, Type>,
    /// The fields of `variables`, each an expression of its own; `None`: there is no `variables`.
    composed: Option<Vec<(Box<str>, Type)>>,
    /// Only types are checked: nothing is made ready to run.
    types_only: bool,
}

impl Declarations {
    /// `name` may have dots: it is then known by its whole name.
    #[must_use]
    pub fn with(mut self, name: &'static str, kind: Type) -> Declarations {
        self.variables.insert(name, kind);
        self
    }

    /// For a check of types alone: what it leaves runs, but its patterns are compiled each time.
    #[must_use]
    pub fn types_only(mut self) -> Declarations {
        self.types_only = true;
        self
    }

    /// With the variable `variables`, which has no field yet.
    #[must_use]
    pub fn with_composition(mut self) -> Declarations {
        self.composed.get_or_insert_default();
        self
    }

    /// The next field of `variables`: its number is its place among the programs that an [`crate::Evaluator`] is given.
    pub fn compose(&mut self, name: &str, kind: Type) {
        self.composed.get_or_insert_default().push((name.into(), kind));
    }
}

/// A checked expression.
#[derive(Debug, Clone)]
pub struct Program {
    pub(crate) ops: Vec<Op>,
    pub(crate) root: Id,
    /// Patterns that stand in the expression itself, compiled once.
    pub(crate) patterns: Patterns,
    output: Type,
}

impl Program {
    pub fn output(&self) -> &Type {
        &self.output
    }

    /// Whether `variable.field`, or the same by brackets, stands in it.
    pub fn names_field(&self, variable: &str, field: &str) -> bool {
        let is_variable = |id: &Id| matches!(self.ops[*id as usize], Op::Variable(name) if name == variable);
        let is_field =
            |id: &Id| matches!(&self.ops[*id as usize], Op::Literal(Value::String(text)) if **text == *field);
        self.ops.iter().any(|op| match op {
            Op::Field { operand, field: named }
            | Op::Test { operand, field: named }
            | Op::OptField { operand, field: named } => **named == *field && is_variable(operand),
            Op::Call { function, args } if matches!(function.name, "_[_]" | "_[?_]") => {
                args.first().is_some_and(is_variable) && args.get(1).is_some_and(is_field)
            }
            _ => false,
        })
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Op {
    Literal(Value<'static>),
    Variable(&'static str),
    /// A field of `variables`, and its name.
    Composed(u32, Box<str>),
    /// What a macro bound; counted from the outermost.
    Local(u32),
    Field {
        operand: Id,
        field: Arc<str>,
    },
    Test {
        operand: Id,
        field: Arc<str>,
    },
    OptField {
        operand: Id,
        field: Arc<str>,
    },
    Call {
        function: &'static Function,
        args: Vec<Id>,
    },
    And(Vec<Id>),
    Or(Vec<Id>),
    Not(Id),
    Conditional {
        test: Id,
        then: Id,
        otherwise: Id,
    },
    List(Vec<(Id, Optional)>),
    Map(Vec<(Id, Id, Optional)>),
    Fold(Box<FoldOp>),
    OptMap {
        target: Id,
        body: Id,
        nesting: OptNesting,
    },
    /// `x.or(y)`, or `x.orValue(y)`: the other is evaluated where it is needed.
    OptOr {
        target: Id,
        other: Id,
        nesting: OptNesting,
    },
    SortBy {
        range: Id,
        key: Id,
    },
}

#[derive(Debug, Clone)]
pub(crate) struct FoldOp {
    pub macro_: Macro,
    pub range: Id,
    pub has_second: bool,
    pub filter: Option<Id>,
    pub body: Id,
}

/// Reads and checks an expression.
///
/// # Errors
/// What is wrong with it, in cel-go's words.
pub fn compile(text: &str, declarations: &Declarations) -> Result<Program, CompileError> {
    compile_within(text, declarations, &mut { PATTERN_BYTES_MAX })
}

/// Likewise, one of several that belong together: `pattern_bytes` is what is left for the patterns that stand in them.
///
/// # Errors
/// As [`compile`], and where nothing is left.
pub fn compile_within(
    text: &str,
    declarations: &Declarations,
    pattern_bytes: &mut usize,
) -> Result<Program, CompileError> {
    let tree = parse(text)?;
    let mut checker = Checker {
        tree: &tree,
        declarations,
        ops: Vec::with_capacity(tree.nodes.len()),
        locals: Vec::new(),
        issues: Vec::new(),
        patterns: Patterns::new(),
        pattern_bytes: *pattern_bytes,
    };
    let (root, output) = checker.expression(tree.root);
    *pattern_bytes = checker.pattern_bytes;
    let Checker { ops, mut issues, patterns, .. } = checker;
    if issues.is_empty() {
        return Ok(Program { ops, root, patterns, output });
    }
    issues.truncate(ISSUES_MAX);
    Err(CompileError { issues, text: text.into() })
}

struct Checker<'t> {
    tree: &'t Tree,
    declarations: &'t Declarations,
    ops: Vec<Op>,
    locals: Vec<(Box<str>, Type)>,
    issues: Vec<Issue>,
    patterns: Patterns,
    /// What is left for them.
    pattern_bytes: usize,
}

type Typed = (Id, Type);

impl<'t> Checker<'t> {
    fn add(&mut self, op: Op) -> Id {
        self.ops.push(op);
        (self.ops.len() - 1) as Id
    }

    fn issue(&mut self, at: Id, message: String) -> Typed {
        let offset = self.tree.node(at).offset as usize;
        self.issues.push(Issue { offset, message });
        (self.add(Op::Literal(Value::Null)), Type::Dyn)
    }

    fn undeclared(&mut self, at: Id, name: &str) -> Typed {
        self.issue(at, format!("undeclared reference to '{name}' (in container '')"))
    }

    fn expression(&mut self, id: Id) -> Typed {
        let tree = self.tree;
        match tree.kind(id) {
            Kind::Literal(value) => {
                let kind = literal_type(value);
                (self.add(Op::Literal(value.clone())), kind)
            }
            Kind::Ident(name) => self.ident(id, name),
            Kind::Select { operand, field, presence } => self.select(id, *operand, field, *presence),
            Kind::OptSelect { operand, field } => {
                let (operand, kind) = self.expression(*operand);
                let kind = self.field_type(id, &kind, field);
                let op = self.add(Op::OptField { operand, field: (&**field).into() });
                (op, Type::optional(inner_of(kind)))
            }
            Kind::Call { function, target, args } => self.call(id, function, *target, args),
            Kind::And(list) => self.logic(id, "_&&_", list),
            Kind::Or(list) => self.logic(id, "_||_", list),
            Kind::Not(operand) => {
                let (operand, kind) = self.expression(*operand);
                if !kind.is_like(&Type::Bool) {
                    return self.no_overload(id, "!_", None, &[kind]);
                }
                (self.add(Op::Not(operand)), Type::Bool)
            }
            Kind::Conditional { test, then, otherwise } => {
                let (test, a) = self.expression(*test);
                let (then, b) = self.expression(*then);
                let (otherwise, c) = self.expression(*otherwise);
                let Some(kind) = joined(&b, &c).filter(|_| a.is_like(&Type::Bool)) else {
                    return self.no_overload(id, "_?_:_", None, &[a, b, c]);
                };
                (self.add(Op::Conditional { test, then, otherwise }), kind)
            }
            Kind::List(elements) => self.list(elements),
            Kind::Map(entries) => self.map(entries),
            Kind::Message { name } => self.undeclared(id, name),
            Kind::Fold(fold) => self.fold(id, fold),
            Kind::OptMap { target, name, body, nesting } => {
                let (target, kind) = self.expression(*target);
                let inner = match &kind {
                    Type::Optional(inner) => (**inner).clone(),
                    Type::Dyn => Type::Dyn,
                    _ => return self.no_overload(id, "optMap", Some(&kind), &[]),
                };
                let (body, kind) = self.bound(&[(name, inner)], *body);
                let kind = match (nesting, kind) {
                    (OptNesting::Wrapped, kind) => Type::optional(kind),
                    (OptNesting::Flat, kind @ (Type::Optional(_) | Type::Dyn)) => kind,
                    (OptNesting::Flat, kind) => return self.no_overload(id, "optFlatMap", None, &[kind]),
                };
                (self.add(Op::OptMap { target, body, nesting: *nesting }), kind)
            }
            Kind::SortBy { range, name, key } => {
                let (range, kind) = self.expression(*range);
                let element = match &kind {
                    Type::List(element) => (**element).clone(),
                    Type::Dyn => Type::Dyn,
                    _ => return self.no_overload(id, "sortBy", Some(&kind), &[]),
                };
                let (key, _) = self.bound(&[(name, element)], *key);
                (self.add(Op::SortBy { range, key }), kind)
            }
        }
    }

    fn ident(&mut self, id: Id, name: &str) -> Typed {
        if let Some(at) = self.locals.iter().rposition(|(local, _)| **local == *name) {
            let kind = self.locals[at].1.clone();
            return (self.add(Op::Local(at as u32)), kind);
        }
        match self.global(name) {
            Some(found) => found,
            None if name == "variables" && self.declarations.composed.is_some() => {
                self.issue(id, "'variables' is no value of its own; name one of them: variables.NAME".into())
            }
            None => self.undeclared(id, name),
        }
    }

    /// A declared variable, or a type by its name.
    fn global(&mut self, name: &str) -> Option<Typed> {
        if let Some((name, kind)) = self.declarations.variables.get_key_value(name) {
            return Some((self.add(Op::Variable(name)), kind.clone()));
        }
        let name = functions::TYPE_NAMES.iter().find(|known| **known == name)?;
        Some((self.add(Op::Literal(Value::Type(name))), Type::Type(Arc::new(Type::Dyn))))
    }

    /// `a.b.c`, where that is what stands there and `a` is bound by no macro.
    fn qualified(&self, id: Id) -> Option<String> {
        match self.tree.kind(id) {
            Kind::Ident(name) if self.locals.iter().all(|(local, _)| local != name) => Some(name.to_string()),
            Kind::Select { operand, field, presence: Presence::Value } => {
                Some(format!("{}.{field}", self.qualified(*operand)?))
            }
            _ => None,
        }
    }

    fn select(&mut self, id: Id, operand: Id, field: &str, presence: Presence) -> Typed {
        if presence == Presence::Value
            && let Some(name) = self.qualified(id)
            && let Some(found) = self.global(&name)
        {
            return found;
        }
        if let (Kind::Ident(name), Some(composed)) = (self.tree.kind(operand), &self.declarations.composed)
            && &**name == "variables"
            && self.qualified(operand).is_some()
        {
            // A later one of the same name is the one that counts.
            let found = composed.iter().rposition(|(known, _)| **known == *field);
            return match (found, presence) {
                (Some(at), Presence::Value) => {
                    let kind = composed[at].1.clone();
                    (self.add(Op::Composed(at as u32, field.into())), kind)
                }
                (Some(_), Presence::Test) => (self.add(Op::Literal(Value::Bool(true))), Type::Bool),
                (None, _) => self.issue(id, format!("undefined field '{field}'")),
            };
        }
        let (operand, kind) = self.expression(operand);
        let kind = self.field_type(id, &kind, field);
        let field = field.into();
        match presence {
            Presence::Value => (self.add(Op::Field { operand, field }), kind),
            Presence::Test => (self.add(Op::Test { operand, field }), Type::Bool),
        }
    }

    fn field_type(&mut self, id: Id, of: &Type, field: &str) -> Type {
        match of {
            Type::Dyn => Type::Dyn,
            Type::Map(_, value) => (**value).clone(),
            Type::Object(object) => match object.fields.get(field) {
                Some(kind) => kind.clone(),
                None => self.issue(id, format!("undefined field '{field}'")).1,
            },
            Type::Optional(inner) => {
                let inner = self.field_type(id, inner, field);
                Type::optional(inner_of(inner))
            }
            _ => self.issue(id, format!("type '{of}' does not support field selection")).1,
        }
    }

    fn logic(&mut self, id: Id, name: &str, list: &[Id]) -> Typed {
        let typed: Vec<Typed> = list.iter().map(|&operand| self.expression(operand)).collect();
        if let Some(wrong) = typed.iter().find(|(_, kind)| !kind.is_like(&Type::Bool)) {
            let kinds = match typed.first() {
                Some(first) if std::ptr::eq(first, wrong) => [wrong.1.clone(), typed[1].1.clone()],
                _ => [Type::Bool, wrong.1.clone()],
            };
            return self.no_overload(id, name, None, &kinds);
        }
        let operands = typed.into_iter().map(|(op, _)| op).collect();
        (self.add(if name == "_&&_" { Op::And(operands) } else { Op::Or(operands) }), Type::Bool)
    }

    fn no_overload(&mut self, id: Id, name: &str, target: Option<&Type>, args: &[Type]) -> Typed {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        let signature = match target {
            Some(target) => format!("{target}.({})", args.join(", ")),
            None => format!("({})", args.join(", ")),
        };
        self.issue(id, format!("found no matching overload for '{name}' applied to '{signature}'"))
    }

    fn call(&mut self, id: Id, name: &str, target: Option<Id>, args: &[Id]) -> Typed {
        // `sets.contains(a, b)`: what looks like a target is a part of the name.
        let spelled =
            target.and_then(|target| self.qualified(target)).map(|prefix| format!("{prefix}.{name}"));
        if let Some(spelled) = spelled
            && let Some(function) = functions::find(&spelled, Style::Global)
        {
            return self.apply(id, function, None, args);
        }
        let style = if target.is_some() { Style::Member } else { Style::Global };
        match (functions::find(name, style), functions::is_known(name)) {
            (Some(function), _) => self.apply(id, function, target, args),
            (None, false) => {
                // What it is called on is looked at all the same: two mistakes are told at once.
                target.iter().chain(args).for_each(|&arg| drop(self.expression(arg)));
                self.undeclared(id, name)
            }
            (None, true) => {
                let target = target.map(|target| self.expression(target).1);
                let kinds: Vec<Type> = args.iter().map(|&arg| self.expression(arg).1).collect();
                self.no_overload(id, name, target.as_ref(), &kinds)
            }
        }
    }

    fn apply(&mut self, id: Id, function: &'static Function, target: Option<Id>, args: &[Id]) -> Typed {
        let (ops, kinds): (Vec<Id>, Vec<Type>) =
            target.iter().chain(args).map(|&arg| self.expression(arg)).unzip();
        let mut result: Option<Type> = None;
        for overload in &function.overloads {
            let mut bindings = Bindings::default();
            let fits = overload.params.len() == kinds.len()
                && overload.params.iter().zip(&kinds).all(|(wanted, given)| bindings.accept(wanted, given));
            if fits {
                let kind = bindings.apply(&overload.result);
                result = Some(match result {
                    None => kind,
                    Some(known) if known == kind => known,
                    Some(_) => Type::Dyn,
                });
            }
        }
        let Some(kind) = result else {
            return match target {
                Some(_) => self.no_overload(id, function.name, kinds.first(), &kinds[1..]),
                None => self.no_overload(id, function.name, None, &kinds),
            };
        };
        self.check_literals(function.name, args);
        let op = match (function.name, ops.as_slice()) {
            ("or", &[target, other]) => Op::OptOr { target, other, nesting: OptNesting::Flat },
            ("orValue", &[target, other]) => Op::OptOr { target, other, nesting: OptNesting::Wrapped },
            _ => Op::Call { function, args: ops },
        };
        (self.add(op), kind)
    }

    /// Texts that are read when they are used are read here too, where they stand in the expression itself.
    fn check_literals(&mut self, name: &str, args: &[Id]) {
        // Of `x.matches(p)` the first, of `matches(x, p)` the second.
        let at = usize::from(name == "matches" && args.len() == 2);
        let Some(&arg) = args.get(at) else { return };
        let Kind::Literal(Value::String(text)) = self.tree.kind(arg) else { return };
        let is_readable = match name {
            "matches" | "find" | "findAll" if self.declarations.types_only => true,
            "matches" | "find" | "findAll" if self.patterns.contains_key(&**text) => true,
            "matches" | "find" | "findAll" => match functions::regexes::compile(text, self.pattern_bytes) {
                Ok(pattern) => {
                    self.pattern_bytes -= pattern.bytes;
                    self.patterns.insert((**text).into(), Arc::new(pattern));
                    true
                }
                Err(PatternError::TooLarge) => {
                    self.issue(arg, TOO_MANY_PATTERNS.into());
                    return;
                }
                Err(PatternError::TooDeep) => {
                    self.issue(arg, "the pattern is nested too deeply".into());
                    return;
                }
                // Kubernetes finds out about the others when they run.
                Err(PatternError::Wrong(_)) => name != "matches",
            },
            "timestamp" => functions::time::parse_timestamp(text).is_some(),
            "duration" => functions::time::parse_duration(text).is_some(),
            _ => true,
        };
        if !is_readable {
            self.issue(arg, format!("invalid {name} argument"));
        }
    }

    fn list(&mut self, elements: &[(Id, Optional)]) -> Typed {
        let mut known: Option<Type> = None;
        let mut ops = Vec::with_capacity(elements.len());
        for &(element, optional) in elements {
            let (op, kind) = self.expression(element);
            let kind = self.element_type(element, kind, optional);
            known = Some(self.same(element, known, kind));
            ops.push((op, optional));
        }
        (self.add(Op::List(ops)), Type::list(known.unwrap_or(Type::Dyn)))
    }

    fn map(&mut self, entries: &[(Id, Id, Optional)]) -> Typed {
        let (mut keys, mut values) = (None, None);
        let mut ops = Vec::with_capacity(entries.len());
        for &(key, value, optional) in entries {
            let (key_op, kind) = self.expression(key);
            keys = Some(self.same(key, keys, kind));
            let (value_op, kind) = self.expression(value);
            let kind = self.element_type(value, kind, optional);
            values = Some(self.same(value, values, kind));
            ops.push((key_op, value_op, optional));
        }
        (self.add(Op::Map(ops)), Type::map(keys.unwrap_or(Type::Dyn), values.unwrap_or(Type::Dyn)))
    }

    fn element_type(&mut self, at: Id, kind: Type, optional: Optional) -> Type {
        match (optional, kind) {
            (Optional::No, kind) => kind,
            (Optional::Yes, Type::Optional(inner)) => (*inner).clone(),
            (Optional::Yes, Type::Dyn) => Type::Dyn,
            (Optional::Yes, kind) => {
                self.issue(at, format!("expected type 'optional_type({kind})' but found '{kind}'")).1
            }
        }
    }

    /// Elements of one list are of one type, as Kubernetes asks for.
    fn same(&mut self, at: Id, known: Option<Type>, kind: Type) -> Type {
        let Some(known) = known else { return kind };
        match joined(&known, &kind) {
            Some(both) => both,
            None => {
                self.issue(at, format!("expected type '{known}' but found '{kind}'"));
                known
            }
        }
    }

    /// Checks what a macro repeats, with the names that it binds.
    fn bound(&mut self, names: &[(&str, Type)], body: Id) -> Typed {
        let before = self.locals.len();
        self.locals.extend(names.iter().map(|(name, kind)| ((*name).into(), kind.clone())));
        let typed = self.expression(body);
        self.locals.truncate(before);
        typed
    }

    fn fold(&mut self, id: Id, fold: &Fold) -> Typed {
        let (range, range_type) = self.expression(fold.range);
        let (key, element, is_map) = match &range_type {
            Type::List(element) => (Type::Int, (**element).clone(), false),
            Type::Map(key, value) => ((**key).clone(), (**value).clone(), true),
            Type::Dyn => (Type::Dyn, Type::Dyn, false),
            other => {
                let why = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                return self.issue(fold.range, why);
            }
        };
        let names: Vec<(&str, Type)> = match &fold.second {
            Some(second) => vec![(&fold.first, key.clone()), (second, element.clone())],
            None => vec![(&fold.first, if is_map { key.clone() } else { element.clone() })],
        };
        let filter = fold.filter.map(|filter| self.bound(&names, filter));
        if let Some((_, kind)) = &filter
            && !kind.is_like(&Type::Bool)
        {
            return self.no_overload(id, "_?_:_", None, &[kind.clone(), Type::Dyn, Type::Dyn]);
        }
        let (body, kind) = self.bound(&names, fold.body);
        let wants_bool = matches!(fold.macro_, Macro::All | Macro::Exists | Macro::ExistsOne | Macro::Filter);
        if wants_bool && !kind.is_like(&Type::Bool) {
            return match fold.macro_ {
                Macro::All => self.no_overload(id, "_&&_", None, &[Type::Bool, kind]),
                Macro::Exists => self.no_overload(id, "_||_", None, &[Type::Bool, kind]),
                _ => self.no_overload(id, "_?_:_", None, &[kind, Type::Dyn, Type::Dyn]),
            };
        }
        let output = match fold.macro_ {
            Macro::All | Macro::Exists | Macro::ExistsOne => Type::Bool,
            Macro::Filter => Type::list(names[0].1.clone()),
            Macro::Map | Macro::TransformList => Type::list(kind),
            Macro::TransformMap => Type::map(key, kind),
            Macro::TransformMapEntry => match kind {
                Type::Map(_, _) | Type::Dyn => kind,
                other => {
                    return self.no_overload(id, "cel.@mapInsert", None, &[Type::map(key, element), other]);
                }
            },
        };
        let op = FoldOp {
            macro_: fold.macro_,
            range,
            has_second: fold.second.is_some(),
            filter: filter.map(|(filter, _)| filter),
            body,
        };
        (self.add(Op::Fold(Box::new(op))), output)
    }
}

fn literal_type(value: &Value<'_>) -> Type {
    match value {
        Value::Bool(_) => Type::Bool,
        Value::Int(_) => Type::Int,
        Value::UInt(_) => Type::UInt,
        Value::Double(_) => Type::Double,
        Value::String(_) => Type::String,
        Value::Bytes(_) => Type::Bytes,
        _ => Type::Null,
    }
}

/// An optional of an optional field is not nested.
fn inner_of(kind: Type) -> Type {
    match kind {
        Type::Optional(inner) => (*inner).clone(),
        other => other,
    }
}

/// The type of what may be either.
fn joined(a: &Type, b: &Type) -> Option<Type> {
    if !a.is_like(b) {
        return None;
    }
    Some(match (a, b) {
        (Type::Null, other) | (other, Type::Null) => other.clone(),
        (Type::Dyn, _) | (_, Type::Dyn) => Type::Dyn,
        // An empty list is of whatever type the other is.
        (Type::List(inner), other) | (other, Type::List(inner)) if **inner == Type::Dyn => other.clone(),
        (Type::Map(_, inner), other) | (other, Type::Map(_, inner)) if **inner == Type::Dyn => other.clone(),
        (known, _) => known.clone(),
    })
}
