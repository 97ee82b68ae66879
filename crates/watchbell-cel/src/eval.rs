//! Running a program. Every step pays before it goes on; what it pays follows cel-go's `interpreter/runtimecost.go`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::budget::{Allowance, Budget, DEPTH_MAX, EXPRESSION_COST_MAX};
use crate::check::{FoldOp, Op, Patterns, Program};
use crate::error::EvalError;
use crate::functions::authorizer::Check;
use crate::functions::compare;
use crate::tree::{Id, Macro, OptNesting, Optional};
use crate::value::{Key, KeyText, List, Map, Text, Value};

/// A name, a field, an element.
const ACCESS: u64 = 1;
/// A list and a map that an expression writes out.
const LIST: u64 = 10;
const MAP: u64 = 30;

/// What a value takes in memory, about.
const VALUE_BYTES: usize = 64;

/// So many characters that are looked at are one step of work.
pub(crate) const CHARACTERS: usize = 16;

/// How deep lists and maps that a variable makes may lie in each other.
const NESTING_MAX: usize = 128;

/// What an expression is run among.
pub trait Host<'a> {
    /// The value of a declared variable.
    fn variable(&self, name: &str) -> Option<Value<'a>>;

    /// What the authorizer says.
    fn decide(&self, check: &Check) -> Verdict;
}

/// The authorizer's answer to a check.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    pub allowed: bool,
    pub reason: String,
    /// Why it could not answer; empty: it could.
    pub error: String,
}

/// Runs the expressions of one policy over one set of values. A field of `variables` is evaluated once, when it is first
/// needed.
pub struct Evaluator<'a, 'p> {
    host: &'p dyn Host<'a>,
    variables: &'p [Program],
    known: Vec<Option<Result<Value<'a>, EvalError>>>,
    locals: Vec<Value<'a>>,
    /// Where the locals of the program at hand begin.
    base: usize,
    pub(crate) budget: Budget,
    /// Patterns of the program at hand, and those that were made while it ran.
    pub(crate) literals: Option<&'p Patterns>,
    pub(crate) patterns: Patterns,
    variables_cost: u64,
    depth: usize,
}

/// What came of an expression, and what it cost with the variables that it was the first to need.
#[derive(Debug)]
pub struct Evaluation<'a> {
    pub value: Result<Value<'a>, EvalError>,
    pub cost: u64,
}

pub(crate) type Outcome<'a> = Result<Value<'a>, EvalError>;

impl<'a, 'p> Evaluator<'a, 'p> {
    pub fn new(host: &'p dyn Host<'a>, variables: &'p [Program]) -> Evaluator<'a, 'p> {
        Evaluator::within(host, variables, Allowance::evaluators(1))
    }

    /// One that shares what it may use up with others; [`Evaluator::left`] is for the next of them.
    pub fn within(
        host: &'p dyn Host<'a>,
        variables: &'p [Program],
        allowance: Allowance,
    ) -> Evaluator<'a, 'p> {
        Evaluator {
            host,
            variables,
            known: vec![None; variables.len()],
            locals: Vec::new(),
            base: 0,
            budget: Budget::new(EXPRESSION_COST_MAX, allowance),
            literals: None,
            patterns: Patterns::new(),
            variables_cost: 0,
            depth: 0,
        }
    }

    /// Runs one expression, which may cost [`EXPRESSION_COST_MAX`].
    pub fn run(&mut self, program: &'p Program) -> Evaluation<'a> {
        self.budget.begin();
        self.variables_cost = 0;
        self.locals.clear();
        self.base = 0;
        self.depth = 0;
        self.literals = Some(&program.patterns);
        let value = self.eval(program, program.root);
        Evaluation { value, cost: self.budget.cost().saturating_add(self.variables_cost) }
    }

    /// What is left of the allowance.
    pub fn left(&self) -> Allowance {
        self.budget.left()
    }

    pub(crate) fn decide(&self, check: &Check) -> Verdict {
        self.host.decide(check)
    }

    fn eval(&mut self, program: &'p Program, id: Id) -> Outcome<'a> {
        match &program.ops[id as usize] {
            Op::Literal(value) => Ok(value.clone()),
            Op::Variable(name) => {
                self.budget.charge(ACCESS)?;
                self.host
                    .variable(name)
                    .ok_or_else(|| EvalError::failed(format!("no such attribute(s): {name}")))
            }
            Op::Local(at) => {
                self.budget.charge(ACCESS)?;
                Ok(self.locals[self.base + *at as usize].clone())
            }
            _ => {
                self.depth += 1;
                if self.depth > DEPTH_MAX {
                    return Err(EvalError::own("the expressions lie too deep in each other"));
                }
                let value = self.compound(program, id);
                self.depth -= 1;
                value
            }
        }
    }

    fn compound(&mut self, program: &'p Program, id: Id) -> Outcome<'a> {
        match &program.ops[id as usize] {
            Op::Literal(_) | Op::Variable(_) | Op::Local(_) => self.eval(program, id),
            Op::Composed(at, name) => self.composed(*at as usize, name),
            Op::Field { operand, field } => {
                let operand = self.eval(program, *operand)?;
                self.budget.charge(ACCESS)?;
                self.budget.work(field.len() / CHARACTERS)?;
                self.field(&operand, field)
            }
            Op::Test { operand, field } => {
                let operand = self.eval(program, *operand)?;
                self.budget.work(field.len() / CHARACTERS)?;
                has(&operand, field).map(Value::Bool)
            }
            Op::OptField { operand, field } => {
                let operand = self.eval(program, *operand)?;
                self.budget.charge(ACCESS)?;
                self.budget.work(field.len() / CHARACTERS)?;
                opt_field(&operand, field)
            }
            Op::Call { function, args } => self.call(program, function, args),
            Op::And(list) => self.logic(program, list, false),
            Op::Or(list) => self.logic(program, list, true),
            Op::Not(operand) => {
                let value = self.eval(program, *operand)?;
                self.budget.charge(1)?;
                Ok(Value::Bool(!truth(&value)?))
            }
            Op::Conditional { test, then, otherwise } => {
                let test = self.eval(program, *test)?;
                self.eval(program, if truth(&test)? { *then } else { *otherwise })
            }
            Op::List(elements) => self.list(program, elements),
            Op::Map(entries) => self.map(program, entries),
            Op::Fold(fold) => self.fold(program, fold),
            Op::OptMap { target, body, nesting } => self.opt_map(program, *target, *body, *nesting),
            Op::OptOr { target, other, nesting } => self.opt_or(program, *target, *other, *nesting),
            Op::SortBy { range, key } => self.sort_by(program, *range, *key),
        }
    }

    #[inline(never)]
    fn composed(&mut self, at: usize, name: &str) -> Outcome<'a> {
        // The name and the field.
        self.budget.charge(2 * ACCESS)?;
        if let Some(known) = &self.known[at] {
            return known.clone();
        }
        let (variables, base) = (self.variables, std::mem::replace(&mut self.base, self.locals.len()));
        let locals = self.locals.len();
        let before = self.budget.exchange_cost(0);
        let literals = self.literals.replace(&variables[at].patterns);
        let value = self.eval(&variables[at], variables[at].root);
        self.literals = literals;
        self.variables_cost = self.variables_cost.saturating_add(self.budget.exchange_cost(before));
        self.base = base;
        self.locals.truncate(locals);
        let value = value.and_then(|value| match is_deep(&value, NESTING_MAX, &mut self.budget)? {
            true => Err(EvalError::own("the expression makes values that are nested too deep")),
            false => Ok(value),
        });
        let value = value.map_err(|error| match error {
            EvalError::Failed(why) => {
                EvalError::failed(format!("composited variable {name:?} fails to evaluate: {why}"))
            }
            cancelled @ EvalError::Cancelled(_) => cancelled,
        });
        self.known[at] = Some(value.clone());
        value
    }

    #[inline(never)]
    fn call(
        &mut self,
        program: &'p Program,
        function: &'static crate::functions::Function,
        args: &[Id],
    ) -> Outcome<'a> {
        let mut values = Vec::with_capacity(args.len());
        for &arg in args {
            let value = self.eval(program, arg)?;
            // Whatever it does with a text, it looks at all of it: reads it as a number, seeks it in a map, copies it.
            self.budget.work(value.bytes() / CHARACTERS)?;
            values.push(value);
        }
        let result = (function.run)(self, &values);
        let cost = function.cost.of(&values, result.as_ref().ok(), &mut self.budget)?;
        self.budget.charge(cost)?;
        result
    }

    /// `&&` and `||`: the deciding value wins over an error, wherever it stands.
    #[inline(never)]
    fn logic(&mut self, program: &'p Program, list: &[Id], decides: bool) -> Outcome<'a> {
        let mut failure = None;
        for &operand in list {
            match self.eval(program, operand).and_then(|value| truth(&value)) {
                Ok(value) if value == decides => return Ok(Value::Bool(decides)),
                Ok(_) => {}
                Err(cancelled @ EvalError::Cancelled(_)) => return Err(cancelled),
                Err(failed) => {
                    failure.get_or_insert(failed);
                }
            }
        }
        failure.map_or(Ok(Value::Bool(!decides)), Err)
    }

    #[inline(never)]
    fn list(&mut self, program: &'p Program, elements: &[(Id, Optional)]) -> Outcome<'a> {
        let mut list = Vec::with_capacity(elements.len());
        for &(element, optional) in elements {
            let value = self.eval(program, element)?;
            list.extend(present(value, optional)?);
        }
        self.budget.memory(list.len() * VALUE_BYTES)?;
        self.budget.charge(LIST)?;
        Ok(Value::from(list))
    }

    #[inline(never)]
    fn map(&mut self, program: &'p Program, entries: &[(Id, Id, Optional)]) -> Outcome<'a> {
        let mut map = BTreeMap::new();
        for &(key, value, optional) in entries {
            let key = self.eval(program, key)?;
            let value = self.eval(program, value)?;
            if let Some(value) = present(value, optional)? {
                insert(&mut map, &key, value, &mut self.budget)?;
            }
        }
        self.budget.memory(map.len() * 2 * VALUE_BYTES)?;
        self.budget.charge(MAP)?;
        Ok(Value::Map(Map::Made(Arc::new(map))))
    }

    fn field(&mut self, operand: &Value<'a>, field: &Arc<str>) -> Outcome<'a> {
        match operand {
            Value::Map(map) => map.field(field).ok_or_else(|| EvalError::no_key(field)),
            Value::Optional(Some(inner)) => {
                Ok(Value::Optional(field_of(inner, field)?.map(|value| Arc::new(flat(value)))))
            }
            Value::Optional(None) => Ok(Value::Optional(None)),
            _ => Err(EvalError::no_overload()),
        }
    }

    #[inline(never)]
    fn fold(&mut self, program: &'p Program, fold: &FoldOp) -> Outcome<'a> {
        let range = self.eval(program, fold.range)?;
        let mut folding = Folding::new(fold.macro_);
        match &range {
            Value::List(list) => {
                for (at, element) in list.iter().enumerate() {
                    let index = || Value::Int(at as i64);
                    if !self.step(program, fold, &mut folding, index, element)? {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                for (key, value) in map.iter() {
                    let going_on = match fold.has_second {
                        true => self.step(program, fold, &mut folding, || key, value)?,
                        false => self.step(program, fold, &mut folding, || Value::Null, key)?,
                    };
                    if !going_on {
                        break;
                    }
                }
            }
            _ => return Err(EvalError::no_overload()),
        }
        // The result is named once more; of exists_one it is compared with 1.
        self.budget.charge(if fold.macro_ == Macro::ExistsOne { 2 * ACCESS } else { ACCESS })?;
        folding.result()
    }

    /// One element. Gives whether the next one is looked at.
    fn step(
        &mut self,
        program: &'p Program,
        fold: &FoldOp,
        folding: &mut Folding<'a>,
        first: impl FnOnce() -> Value<'a>,
        second: Value<'a>,
    ) -> Result<bool, EvalError> {
        let before = self.locals.len();
        let key = fold.has_second.then(first);
        if let Some(key) = &key {
            self.locals.push(key.clone());
        }
        self.locals.push(second.clone());
        // What the loop asks before each element.
        self.budget.charge(folding.condition_cost())?;
        let outcome = self.fold_body(program, fold, folding, key, second);
        self.locals.truncate(before);
        outcome
    }

    fn fold_body(
        &mut self,
        program: &'p Program,
        fold: &FoldOp,
        folding: &mut Folding<'a>,
        key: Option<Value<'a>>,
        element: Value<'a>,
    ) -> Result<bool, EvalError> {
        if let Some(filter) = fold.filter {
            let holds = self.eval(program, filter).and_then(|value| truth(&value))?;
            if !holds {
                self.budget.charge(ACCESS)?;
                return Ok(true);
            }
        }
        let body = self.eval(program, fold.body);
        if let Err(EvalError::Cancelled(why)) = body {
            return Err(EvalError::Cancelled(why));
        }
        match folding {
            Folding::Until { decides, found, failure } => {
                self.budget.charge(ACCESS)?;
                match body.and_then(|value| truth(&value)) {
                    Ok(value) if value == *decides => *found = true,
                    Ok(_) => {}
                    Err(why) => {
                        failure.get_or_insert(why);
                    }
                }
                Ok(!*found)
            }
            Folding::Count(count) => {
                let holds = truth(&body?)?;
                self.budget.charge(if holds { 2 * ACCESS } else { ACCESS })?;
                *count += usize::from(holds);
                Ok(true)
            }
            Folding::Filter(list) => {
                let holds = truth(&body?)?;
                self.budget.charge(if holds { LIST + 3 * ACCESS } else { ACCESS })?;
                if holds {
                    self.budget.memory(VALUE_BYTES)?;
                    list.push(element);
                }
                Ok(true)
            }
            Folding::List(list) => {
                let value = body?;
                self.budget.charge(LIST + 2 * ACCESS)?;
                self.budget.memory(VALUE_BYTES)?;
                list.push(value);
                Ok(true)
            }
            Folding::Map(map) => {
                let value = body?;
                self.budget.charge(2 * ACCESS + MAP)?;
                self.budget.memory(2 * VALUE_BYTES)?;
                match (fold.macro_, value) {
                    (Macro::TransformMapEntry, Value::Map(entries)) => {
                        self.budget.memory(entries.len() * 2 * VALUE_BYTES)?;
                        for (key, value) in entries.iter() {
                            insert(map, &key, value, &mut self.budget)?;
                        }
                    }
                    (Macro::TransformMapEntry, _) => return Err(EvalError::no_overload()),
                    (_, value) => insert(map, &key.unwrap_or(Value::Null), value, &mut self.budget)?,
                }
                Ok(true)
            }
        }
    }

    #[inline(never)]
    fn opt_map(&mut self, program: &'p Program, target: Id, body: Id, nesting: OptNesting) -> Outcome<'a> {
        let Value::Optional(target) = self.eval(program, target)? else {
            return Err(EvalError::no_overload());
        };
        self.budget.charge(2 * ACCESS)?;
        let Some(inner) = target else { return Ok(Value::Optional(None)) };
        self.locals.push((*inner).clone());
        let value = self.eval(program, body);
        self.locals.pop();
        match (nesting, value?) {
            (OptNesting::Wrapped, value) => Ok(Value::some(value)),
            (OptNesting::Flat, value @ Value::Optional(_)) => Ok(value),
            (OptNesting::Flat, _) => Err(EvalError::no_overload()),
        }
    }

    /// cel-go asks nothing for it (`decorateOptionalOr`).
    #[inline(never)]
    fn opt_or(&mut self, program: &'p Program, target: Id, other: Id, nesting: OptNesting) -> Outcome<'a> {
        match (self.eval(program, target)?, nesting) {
            (found @ Value::Optional(Some(_)), OptNesting::Flat) => Ok(found),
            (Value::Optional(Some(inner)), OptNesting::Wrapped) => Ok((*inner).clone()),
            (Value::Optional(None), OptNesting::Wrapped) => self.eval(program, other),
            (Value::Optional(None), OptNesting::Flat) => match self.eval(program, other)? {
                other @ Value::Optional(_) => Ok(other),
                _ => Err(EvalError::no_overload()),
            },
            _ => Err(EvalError::no_overload()),
        }
    }

    #[inline(never)]
    fn sort_by(&mut self, program: &'p Program, range: Id, key: Id) -> Outcome<'a> {
        let Value::List(list) = self.eval(program, range)? else { return Err(EvalError::no_overload()) };
        let mut keyed = Vec::new();
        for element in list.iter() {
            self.budget.charge(LIST + 2 * ACCESS)?;
            self.budget.memory(2 * VALUE_BYTES)?;
            self.locals.push(element.clone());
            let by = self.eval(program, key);
            self.locals.pop();
            keyed.push((by?, element));
        }
        compare::sort(&mut keyed, |(by, _)| by, &mut self.budget)?;
        Ok(Value::from(keyed.into_iter().map(|(_, element)| element).collect::<Vec<_>>()))
    }
}

/// What a macro has gathered.
enum Folding<'a> {
    /// `all` ends at the first false, `exists` at the first true.
    Until {
        decides: bool,
        found: bool,
        failure: Option<EvalError>,
    },
    Count(usize),
    Filter(Vec<Value<'a>>),
    List(Vec<Value<'a>>),
    Map(BTreeMap<Key<'a>, Value<'a>>),
}

impl<'a> Folding<'a> {
    fn new(macro_: Macro) -> Folding<'a> {
        match macro_ {
            Macro::All => Folding::Until { decides: false, found: false, failure: None },
            Macro::Exists => Folding::Until { decides: true, found: false, failure: None },
            Macro::ExistsOne => Folding::Count(0),
            Macro::Filter => Folding::Filter(Vec::new()),
            Macro::Map | Macro::TransformList => Folding::List(Vec::new()),
            Macro::TransformMap | Macro::TransformMapEntry => Folding::Map(BTreeMap::new()),
        }
    }

    fn condition_cost(&self) -> u64 {
        match self {
            Folding::Until { decides: false, .. } => 2,
            Folding::Until { decides: true, .. } => 3,
            _ => 0,
        }
    }

    fn result(self) -> Outcome<'a> {
        match self {
            Folding::Until { decides, found: true, .. } => Ok(Value::Bool(decides)),
            Folding::Until { failure: Some(why), .. } => Err(why),
            Folding::Until { decides, .. } => Ok(Value::Bool(!decides)),
            Folding::Count(count) => Ok(Value::Bool(count == 1)),
            Folding::Filter(list) | Folding::List(list) => Ok(Value::from(list)),
            Folding::Map(map) => Ok(Value::Map(Map::Made(Arc::new(map)))),
        }
    }
}

fn truth(value: &Value<'_>) -> Result<bool, EvalError> {
    match value {
        Value::Bool(value) => Ok(*value),
        _ => Err(EvalError::no_overload()),
    }
}

/// The element, or none of it when it is an optional without a value.
fn present<'a>(value: Value<'a>, optional: Optional) -> Result<Option<Value<'a>>, EvalError> {
    match (optional, value) {
        (Optional::No, value) => Ok(Some(value)),
        (Optional::Yes, Value::Optional(inner)) => Ok(inner.map(|inner| (*inner).clone())),
        (Optional::Yes, _) => Err(EvalError::no_overload()),
    }
}

fn insert<'a>(
    map: &mut BTreeMap<Key<'a>, Value<'a>>,
    key: &Value<'a>,
    value: Value<'a>,
    budget: &mut Budget,
) -> Result<(), EvalError> {
    let key = match key {
        Value::Double(_) => None,
        other => other.as_key(),
    };
    let key = key.ok_or_else(|| EvalError::failed("unsupported key type"))?;
    // It is compared on its way through the map.
    let length = if let Key::String(KeyText(text)) = &key { text.len() } else { 0 };
    budget.work(length / CHARACTERS * (map.len().max(1).ilog2() as usize + 1))?;
    if map.contains_key(&key) {
        let Key::String(KeyText(text)) = &key else {
            return Err(EvalError::failed("insert failed: key already exists"));
        };
        return Err(EvalError::key_exists(text));
    }
    map.insert(key, value);
    Ok(())
}

fn has(operand: &Value<'_>, field: &Arc<str>) -> Result<bool, EvalError> {
    match operand {
        Value::Map(map) => Ok(map.field(field).is_some()),
        Value::Optional(None) => Ok(false),
        Value::Optional(Some(inner)) => has(inner, field),
        _ => Err(EvalError::no_overload()),
    }
}

/// The field, if the value has it.
fn field_of<'a>(value: &Value<'a>, field: &Arc<str>) -> Result<Option<Value<'a>>, EvalError> {
    match value {
        Value::Map(map) => Ok(map.field(field)),
        _ => Err(EvalError::no_overload()),
    }
}

fn opt_field<'a>(operand: &Value<'a>, field: &Arc<str>) -> Outcome<'a> {
    let found = match operand {
        Value::Optional(None) => None,
        Value::Optional(Some(inner)) => field_of(inner, field)?,
        other => field_of(other, field)?,
    };
    Ok(Value::Optional(found.map(|value| Arc::new(flat(value)))))
}

/// An optional in an optional is the inner one.
fn flat(value: Value<'_>) -> Value<'_> {
    match value {
        Value::Optional(Some(inner)) => (*inner).clone(),
        other => other,
    }
}

/// Whether what an expression made is nested deeper than that. What comes from objects was bounded when it was read.
fn is_deep(value: &Value<'_>, left: usize, budget: &mut Budget) -> Result<bool, EvalError> {
    let inner: Vec<&Value<'_>> = match value {
        Value::List(List::Made(list)) => list.iter().collect(),
        Value::Map(Map::Made(map)) => map.values().collect(),
        Value::Optional(Some(inner)) => vec![inner],
        _ => return Ok(false),
    };
    budget.work(inner.len())?;
    if left == 0 {
        return Ok(true);
    }
    for value in inner {
        if is_deep(value, left - 1, budget)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A text for a map's key.
pub(crate) fn text_key(text: &str) -> Key<'static> {
    Key::String(KeyText(Text::Shared(text.into())))
}
