use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{SLASH, path_of};
use crate::{
    ArrayMetadata, Entry, EntryKind, Format, Hierarchy, Judge, KeyEncoding, Node, NodePath, Owner, Parsed,
    Region, Split, Verdict, plan,
};

fn encoding() -> impl Strategy<Value = KeyEncoding> {
    let separator = prop_oneof![Just('/'), Just('.')];
    (separator, any::<bool>()).prop_map(|(separator, is_v2)| match is_v2 {
        true => KeyEncoding::V2 { separator },
        false => KeyEncoding::Default { separator },
    })
}

fn array(shape: Vec<u64>, chunk_shape: Vec<u64>, encoding: KeyEncoding) -> ArrayMetadata {
    let dimension_names = (0..shape.len()).map(|axis| Some(format!("d{axis}"))).collect();
    ArrayMetadata { shape, chunk_shape, inner_chunk_shape: None, dimension_names, encoding }
}

fn any_array() -> impl Strategy<Value = ArrayMetadata> {
    let dimension = (0u64..9, 1u64..5);
    (proptest::collection::vec(dimension, 0..4), encoding()).prop_map(|(dimensions, encoding)| {
        let (shape, chunks) = dimensions.into_iter().unzip();
        array(shape, chunks, encoding)
    })
}

fn places(grid: &[u64]) -> Vec<Vec<u64>> {
    grid.iter().fold(vec![Vec::new()], |places, length| {
        places.iter().flat_map(|place| (0..*length).map(|at| [&place[..], &[at]].concat())).collect()
    })
}

fn with_arrays(arrays: Vec<(&str, ArrayMetadata)>) -> Hierarchy {
    let mut nodes = BTreeMap::from([(NodePath::root(), Node::Group)]);
    nodes.extend(arrays.into_iter().map(|(path, array)| (path_of(path), Node::Array(array))));
    Hierarchy { format: Format::V3, nodes, is_consolidated: false, is_artifacts: false }
}

/// Every chunk that may be written has one owner, who says so in all ways of asking; and no index has nothing.
fn check(hierarchy: &Hierarchy, split: &Split, completions: u32, covers: bool) -> Result<(), TestCaseError> {
    let plan = plan(hierarchy, split, &[], None, completions).unwrap();
    let mut owners = BTreeMap::new();
    for index in 0..completions {
        let keys: Vec<String> = plan.keys(index).collect();
        prop_assert!(!keys.is_empty());
        prop_assert_eq!(keys.len() as u64, plan.count(index));
        for key in keys {
            prop_assert_eq!(plan.owner(&key), Owner::Index(index), "{}", key);
            prop_assert!(owners.insert(key, index).is_none());
        }
        for range in plan.elements(index) {
            prop_assert!(range.start < range.stop);
        }
        let judge = Judge { plan: &plan, index, max_chunk_bytes: 1 };
        for parent in plan.parents(index, usize::MAX).unwrap() {
            let kind = EntryKind::Directory { is_opaque: false };
            prop_assert_eq!(
                judge.judge(Entry { key: parent.as_bytes(), kind }),
                Ok(Verdict::Enter),
                "{}",
                parent
            );
        }
    }
    let written: Vec<_> = plan.variables().cloned().collect();
    for (path, array) in hierarchy.arrays() {
        for place in places(&array.grid_shape()) {
            let key = path.key(&array.encoding.encode(&place));
            let by: Vec<u32> = (0..completions).filter(|index| plan.owns(*index, path, &place)).collect();
            let expected: Vec<u32> = owners.get(&key).copied().into_iter().collect();
            prop_assert_eq!(by, expected);
            prop_assert_eq!(covers && written.contains(path), covers && owners.contains_key(&key));
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_key_names_one_chunk_and_a_chunk_has_one_key(array in any_array()) {
        for place in places(&array.grid_shape()) {
            prop_assert_eq!(array.parse(&array.encoding.encode(&place)), Parsed::Chunk(place));
        }
    }

    #[test]
    fn what_is_a_chunk_is_written_as_a_library_writes_it(array in any_array(), key in "c?[/.]?[0-9/.c+ -]{0,7}") {
        if let Parsed::Chunk(place) = array.parse(&key) {
            prop_assert_eq!(array.encoding.encode(&place), key);
        }
    }

    #[test]
    fn a_dimension_is_divided_without_rest(
        length in 1u64..60, chunks in proptest::collection::vec(1u64..7, 1..4), into in 1u32..9, encoding in encoding(),
    ) {
        // Not every group has a document.
        let names = ["a", "b", "b-c/d/e"];
        let arrays = names.into_iter().zip(&chunks)
            .map(|(name, chunk)| (name, array(vec![length, 2], vec![*chunk, 1], encoding)))
            .collect();
        let hierarchy = with_arrays(arrays);
        let split = Split::Dimension { dimension: "d0".to_owned(), into };
        match plan(&hierarchy, &split, &[], None, into) {
            Ok(made) => {
                check(&hierarchy, &split, into, true)?;
                let mut end = 0;
                for index in 0..into {
                    let elements = made.elements(index);
                    prop_assert_eq!(elements[0].start, end);
                    end = elements[0].stop;
                }
                prop_assert_eq!(end, length);
            }
            Err(error) => prop_assert!(error.to_string().contains("cannot be split"), "{}", error),
        }
    }

    #[test]
    fn each_chunk_is_somebodys(array in any_array()) {
        let planned: u64 = array.grid_shape().iter().product();
        if planned > 0 {
            check(&with_arrays(vec![("a/b", array)]), &Split::PerChunk, planned as u32, true)?;
        }
    }

    #[test]
    fn regions_are_refused_exactly_when_they_meet(
        regions in proptest::collection::vec(((0u64..6, 1u64..4), (0u64..6, 1u64..4)), 1..6),
    ) {
        let range = |(start, length): (u64, u64)| (start.min(7), (start + length).min(8));
        let regions: Vec<Region> = regions.into_iter()
            .map(|(a, b)| Region::from([("d0".to_owned(), range(a)), ("d1".to_owned(), range(b))]))
            .collect();
        let meets = |a: &Region, b: &Region| a.iter().all(|(name, (start, stop))| *start < b[name].1 && b[name].0 < *stop);
        let some_meet = regions.iter().enumerate().any(|(i, a)| regions[..i].iter().any(|b| meets(a, b)));
        let hierarchy = with_arrays(vec![("a", array(vec![8, 8], vec![1, 1], SLASH))]);
        let count = regions.len() as u32;
        let split = Split::Explicit(regions);
        match plan(&hierarchy, &split, &[], None, count) {
            Ok(_) => {
                prop_assert!(!some_meet);
                check(&hierarchy, &split, count, false)?;
            }
            Err(_) => prop_assert!(some_meet),
        }
    }

    /// Whatever the dimension of the split: what is owned is new, all that is new is owned, and what is told to be an index's own
    /// touches nothing else.
    #[test]
    fn with_growth_what_is_new_is_divided_and_nothing_else(
        old in 0u64..20, by in 1u64..20, width in 1u64..8,
        chunks in proptest::collection::vec((1u64..7, 1u64..4), 1..4), along in 0usize..2, into in 1u32..5, encoding in encoding(),
    ) {
        let names = ["a", "b", "c"];
        let arrays = names.into_iter().zip(&chunks)
            .map(|(name, (tall, wide))| (name, array(vec![old + by, width], vec![*tall, *wide], encoding)))
            .collect();
        let hierarchy = with_arrays(arrays);
        let grown = crate::Grown { dimension: "d0".to_owned(), old_length: old, new_length: old + by, documents: Default::default() };
        let split = Split::Dimension { dimension: format!("d{along}"), into };
        let Ok(made) = plan(&hierarchy, &split, &[], Some(&grown), into) else { return Ok(()) };
        for (path, array) in hierarchy.arrays() {
            for place in places(&array.grid_shape()) {
                let key = path.key(&array.encoding.encode(&place));
                let is_new = (place[0] + 1) * array.chunk_shape[0] > old;
                prop_assert_eq!(matches!(made.owner(&key), Owner::Index(_)), is_new, "{}", key);
            }
        }
        for index in 0..into {
            prop_assert!(made.count(index) > 0);
            let elements = made.elements(index);
            let of = |name: &str, length| elements.iter().find(|r| r.dimension == name).map_or((0, length), |r| (r.start, r.stop));
            let (tall, wide) = (of("d0", old + by), of("d1", width));
            for (path, array) in hierarchy.arrays() {
                for place in places(&array.grid_shape()) {
                    let meets = |axis: usize, (start, stop): (u64, u64)| {
                        place[axis] * array.chunk_shape[axis] < stop && start < (place[axis] + 1) * array.chunk_shape[axis]
                    };
                    if meets(0, tall) && meets(1, wide) {
                        prop_assert!(made.owns(index, path, &place));
                    }
                }
            }
            let keys: std::collections::BTreeSet<String> = made.keys(index).collect();
            let mut parents = std::collections::BTreeSet::new();
            for key in &keys {
                parents.extend(key.match_indices('/').map(|(at, _)| key[..at].to_owned()));
            }
            prop_assert_eq!(made.parents(index, usize::MAX).unwrap(), parents.into_iter().collect::<Vec<_>>());
        }
    }

    /// Whatever a stranger's documents say, a plan ends soon, and what it gives can be listed.
    #[test]
    fn a_hostile_shape_makes_a_plan_that_can_be_listed_or_none(
        shape in proptest::collection::vec(prop_oneof![0u64..9, any::<u64>().prop_map(|n| n >> 1)], 1..5),
        chunk in proptest::collection::vec(prop_oneof![1u64..9, any::<u64>().prop_map(|n| (n >> 1).max(1))], 4),
        into in 1u32..5, old in any::<u64>(), rule in 0usize..3, encoding in encoding(),
    ) {
        let chunk_shape = chunk[..shape.len()].to_vec();
        let first = shape[0];
        let hierarchy = with_arrays(vec![("a", array(shape, chunk_shape, encoding))]);
        let split = match rule {
            0 => Split::Dimension { dimension: "d0".to_owned(), into },
            1 => Split::PerChunk,
            _ => Split::Explicit(vec![Region::from([("d0".to_owned(), (0, first.max(1)))])]),
        };
        let grown = crate::Grown { dimension: "d0".to_owned(), old_length: old.min(first), new_length: first, documents: Default::default() };
        for grown in [None, Some(&grown)] {
            let completions = match plan(&hierarchy, &split, &[], grown, 0) {
                Err(crate::PlanError::Completions { planned, .. }) => planned as u32,
                _ => continue,
            };
            let made = plan(&hierarchy, &split, &[], grown, completions).unwrap();
            prop_assert!(u128::from(made.count(0)) <= crate::MAX_OWNED);
            made.elements(0);
        }
    }

    #[test]
    fn no_document_panics(text in "[\\[\\]{}:,\" a-zNI0-9.-]{0,60}") {
        let _ = Hierarchy::read([("zarr.json", text.as_bytes())]);
        let _ = Hierarchy::read([(".zarray", text.as_bytes())]);
    }
}
