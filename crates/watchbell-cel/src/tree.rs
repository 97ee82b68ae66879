//! An expression as it was read. Nodes lie in one list and name each other by number: a tree of any shape is dropped
//! without recursion.

use crate::value::Value;

pub(crate) type Id = u32;

#[derive(Debug, Clone)]
pub(crate) struct Tree {
    pub nodes: Vec<Node>,
    pub root: Id,
}

#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// The byte that an error about it points at.
    pub offset: u32,
    pub kind: Kind,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Literal(Value<'static>),
    Ident(Box<str>),
    /// `operand.field`; with `Presence::Test` of `has(operand.field)`.
    Select {
        operand: Id,
        field: Box<str>,
        presence: Presence,
    },
    /// `operand.?field`
    OptSelect {
        operand: Id,
        field: Box<str>,
    },
    Call {
        function: Box<str>,
        target: Option<Id>,
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
    /// The second of a pair: whether it is left out when it is none (`[?x]`).
    List(Vec<(Id, Optional)>),
    Map(Vec<(Id, Id, Optional)>),
    /// No messages are declared, so this never passes the check.
    Message {
        name: Box<str>,
    },
    Fold(Box<Fold>),
    /// `optMap` and `optFlatMap`.
    OptMap {
        target: Id,
        name: Box<str>,
        body: Id,
        nesting: OptNesting,
    },
    /// `list.sortBy(name, key)`
    SortBy {
        range: Id,
        name: Box<str>,
        key: Id,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    Value,
    Test,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Optional {
    No,
    Yes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OptNesting {
    /// The body's value is put into an optional.
    Wrapped,
    /// The body gives an optional.
    Flat,
}

/// A macro over the elements of a list or the entries of a map.
#[derive(Debug, Clone)]
pub(crate) struct Fold {
    pub macro_: Macro,
    pub range: Id,
    /// The element, or the key of a map; with `second`: the index or key.
    pub first: Box<str>,
    /// The element or value, in the form with two names.
    pub second: Option<Box<str>>,
    /// Only where it holds, of `map` and the transforming macros.
    pub filter: Option<Id>,
    pub body: Id,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Macro {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
    TransformList,
    TransformMap,
    TransformMapEntry,
}

impl Tree {
    pub(crate) fn node(&self, id: Id) -> &Node {
        &self.nodes[id as usize]
    }

    pub(crate) fn kind(&self, id: Id) -> &Kind {
        &self.node(id).kind
    }
}
