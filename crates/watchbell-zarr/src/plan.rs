//! The ownership plan: which index of a job array may write which chunks.

mod layout;
mod regions;

use std::collections::BTreeMap;
use std::ops::Range;

use crate::artifact;
use crate::grow::Grown;
use crate::hierarchy::Hierarchy;
use crate::key::{ChunkKey, Parsed};
use crate::metadata::ArrayMetadata;
use crate::path::NodePath;
use crate::rule::Split;
use layout::Layout;

/// Who owns which chunk. Every chunk of a written array belongs to one index at most, and every index owns one at least.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub completions: u32,
    hierarchy: Hierarchy,
    /// Of the arrays that are written.
    layouts: BTreeMap<NodePath, Layout>,
    elements: Elements,
}

/// What of a dimension is an index's own, in elements: `[start, stop)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DimensionRange {
    pub dimension: String,
    pub start: u64,
    pub stop: u64,
}

/// Whose a key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    Index(u32),
    /// A chunk that no index may write: of an array that the split does not divide, or outside of all regions.
    Nobody,
    /// No chunk's canonical name.
    NotAChunk,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("the hierarchy has no array")]
    NoArray,
    #[error("the array is no store of artifacts but a Zarr hierarchy: use mode write with a split")]
    NotArtifacts,
    #[error("the array is a store of artifacts: use mode artifacts")]
    Artifacts,
    #[error("no array has a dimension {dimension:?}; there are: {}", list(.known))]
    NoDimension { dimension: String, known: Vec<String> },
    #[error("there is no array {variable}; there are: {}", list(.known))]
    NoVariable { variable: NodePath, known: Vec<String> },
    #[error(
        "the array {variable} has no dimension {dimension:?}: it cannot be split by it; leave it out of variables"
    )]
    VariableWithoutDimension { variable: NodePath, dimension: String },
    #[error("the array {array} has the dimension {dimension:?} twice")]
    DimensionTwice { array: NodePath, dimension: String },
    #[error(
        "dimension {dimension:?} is {first_length} elements long in {first} and {second_length} in {second}: name in variables \
         those that belong together"
    )]
    Lengths { dimension: String, first: NodePath, first_length: u64, second: NodePath, second_length: u64 },
    #[error("dimension {dimension:?} has no elements to split")]
    Empty { dimension: String },
    #[error("{array} has no elements to split: with `extend` it gets some")]
    NoElements { array: NodePath },
    #[error(
        "dimension {dimension:?} has {units} parts that hold whole chunks of all arrays ({unit} elements each): it cannot be \
         split into {into}; the most is {units}"
    )]
    TooFine { dimension: String, into: u32, units: u64, unit: u64 },
    #[error(
        "the split makes {planned} indices and the Job has completions {completions}: set one to the other"
    )]
    Completions { planned: u64, completions: u32 },
    #[error("{array} is sharded: a shard of {shard:?} elements is the smallest thing to own; use perShard")]
    Sharded { array: NodePath, shard: Vec<u64> },
    #[error("{array} is not sharded; use perChunk")]
    NotSharded { array: NodePath },
    #[error("{first} and {second} have different grids: name in variables the arrays that share one")]
    Grids { first: NodePath, second: NodePath },
    #[error(
        "index {index}: {array} has chunks of {chunk} elements along {dimension:?}: [{start}, {stop}) cuts one; the nearest that \
         does not is [{nearest_start}, {nearest_stop})"
    )]
    Misaligned {
        index: u32,
        array: NodePath,
        dimension: String,
        chunk: u64,
        start: u64,
        stop: u64,
        nearest_start: u64,
        nearest_stop: u64,
    },
    #[error(
        "index {index}: [{start}, {stop}) reaches past the {length} elements of {dimension:?} in {array}"
    )]
    PastEdge { index: u32, array: NodePath, dimension: String, start: u64, stop: u64, length: u64 },
    #[error("indices {first} and {second} would both own chunks of {array}: {at}")]
    Overlap { array: NodePath, first: u32, second: u32, at: String },
    #[error("the parts of {dimension:?} that hold whole chunks of all arrays would be too long to count")]
    TooLarge { dimension: String },
    #[error(
        "{array} has no dimension {dimension:?}, along which the run makes arrays longer: nothing of it is new; leave it out of \
         variables"
    )]
    NotGrown { array: NodePath, dimension: String },
    #[error(
        "no array has both the dimension {dimension:?} and {grown:?}, along which the run makes arrays longer"
    )]
    NothingGrown { dimension: String, grown: String },
    #[error(
        "index {index}: {array} was {old_length} elements long along {dimension:?} before the growth: [{start}, {stop}) takes \
         chunks that hold older elements alone; begin at {first} or later"
    )]
    BeforeGrowth {
        index: u32,
        array: NodePath,
        dimension: String,
        old_length: u64,
        start: u64,
        stop: u64,
        first: u64,
    },
    #[error(
        "an index would own {owned} chunks and directories, and at most {MAX_OWNED} are handled: split finer, or name fewer \
         arrays in variables"
    )]
    TooManyOwned { owned: u128 },
    #[error("the split makes {planned} indices, and at most {MAX_INDICES} are handled: own larger parts")]
    TooManyIndices { planned: u64 },
    #[error(
        "{regions} regions of {arrays} arrays are more than can be compared: name fewer arrays in variables, or state fewer \
         regions"
    )]
    TooManyRegions { regions: usize, arrays: usize },
    /// Than whoever asks has time for.
    #[error(
        "{regions} regions of {arrays} arrays take too long to be compared: name fewer arrays in variables, or state fewer \
         regions"
    )]
    Comparisons { regions: usize, arrays: usize },
}

/// Chunks, and directories that they lie in, of one index. What an attempt left is judged name by name.
pub const MAX_OWNED: u128 = 1 << 22;
/// Far more than a Job has.
pub const MAX_INDICES: u64 = 1_000_000;
/// Boxes of regions that are made, and pairs of them that are compared: some seconds' work.
const MAX_COMPARISONS: u64 = 1 << 28;

fn list(names: &[String]) -> String {
    const SHOWN: usize = 12;
    let more = names.len().saturating_sub(SHOWN);
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

/// How an index's elements are told.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Elements {
    /// Those of this array's box, of all or some of its dimensions, each from its `floor` on: a chunk that holds the edge before
    /// a growth may begin earlier in one array than in another.
    Of {
        array: NodePath,
        axes: Vec<usize>,
        floor: Vec<u64>,
    },
    Regions(Vec<Vec<DimensionRange>>),
}

/// Divides a hierarchy's chunks among `completions` indices. `variables` are the arrays to be written; without them it is all
/// that the split can divide, less coordinates where each chunk is its own index. Of a hierarchy that has `grown`, what is new
/// is divided, whatever dimension the split is along; the chunk that holds the old edge counts as new, because its elements are
/// written with it.
pub fn plan(
    hierarchy: &Hierarchy,
    split: &Split,
    variables: &[NodePath],
    grown: Option<&Grown>,
    completions: u32,
) -> Result<Plan, PlanError> {
    let mut comparisons = MAX_COMPARISONS;
    plan_within(hierarchy, split, variables, grown, completions, &mut comparisons)
}

/// The same for who has no time: of `comparisons` it takes what stated regions need, and gives up when they are not enough.
pub fn plan_within(
    hierarchy: &Hierarchy,
    split: &Split,
    variables: &[NodePath],
    grown: Option<&Grown>,
    completions: u32,
    comparisons: &mut u64,
) -> Result<Plan, PlanError> {
    match (hierarchy.is_artifacts, split) {
        (true, Split::Artifacts) if u64::from(completions) > MAX_INDICES => {
            return Err(PlanError::TooManyIndices { planned: completions.into() });
        }
        (true, Split::Artifacts) => {
            let elements = Elements::Regions(Vec::new());
            return Ok(Plan {
                completions,
                hierarchy: hierarchy.clone(),
                layouts: BTreeMap::new(),
                elements,
            });
        }
        (true, _) => return Err(PlanError::Artifacts),
        (false, Split::Artifacts) => return Err(PlanError::NotArtifacts),
        (false, _) => {}
    }
    if hierarchy.arrays().next().is_none() {
        return Err(PlanError::NoArray);
    }
    let variables = variables.iter().map(|path| Ok((path, variable(hierarchy, path)?)));
    let variables = variables.collect::<Result<Vec<_>, _>>()?;
    let (layouts, elements, planned) = match split {
        Split::Dimension { dimension, into } => by_dimension(hierarchy, dimension, *into, &variables, grown)?,
        Split::PerChunk | Split::PerShard => {
            by_chunk(hierarchy, matches!(split, Split::PerShard), &variables, grown)?
        }
        Split::Explicit(list) => regions::by_region(hierarchy, list, &variables, grown, comparisons)?,
        Split::Artifacts => return Err(PlanError::NotArtifacts),
    };
    if planned > MAX_INDICES {
        return Err(PlanError::TooManyIndices { planned });
    }
    check_owned(hierarchy, &layouts)?;
    if planned != u64::from(completions) {
        return Err(PlanError::Completions { planned, completions });
    }
    Ok(Plan { completions, hierarchy: hierarchy.clone(), layouts, elements })
}

/// Refuses a plan whose keys and directories nobody could list.
fn check_owned(hierarchy: &Hierarchy, layouts: &BTreeMap<NodePath, Layout>) -> Result<(), PlanError> {
    let mut owned: Vec<u128> = Vec::new();
    for (path, layout) in layouts {
        let Some(array) = hierarchy.array(path) else { continue };
        for (index, lengths) in layout.largest(&array.grid_shape()).into_iter().enumerate() {
            // A chunk lies below a directory for each number but the last, or below none.
            let mut names = 1u128;
            let mut all = 1u128;
            for length in lengths {
                names = names.saturating_mul(u128::from(length));
                all = all.saturating_add(names);
            }
            if owned.len() <= index {
                owned.push(0);
            }
            owned[index] = owned[index].saturating_add(all);
        }
    }
    // Some layouts say what each index has, the others what the largest has.
    match owned.into_iter().max() {
        Some(owned) if owned > MAX_OWNED => Err(PlanError::TooManyOwned { owned }),
        _ => Ok(()),
    }
}

/// Of each axis the first chunk that may be owned; nothing of an array that a growth leaves as it was.
fn first_new(
    path: &NodePath,
    array: &ArrayMetadata,
    grown: Option<&Grown>,
) -> Result<Option<Vec<u64>>, PlanError> {
    let mut from = vec![0; array.shape.len()];
    let Some(grown) = grown else { return Ok(Some(from)) };
    let Some(axis) = axis_of(path, array, &grown.dimension)? else { return Ok(None) };
    from[axis] = grown.old_length / array.chunk_shape[axis];
    Ok(Some(from))
}

/// The arrays with their [`first_new`], without those that have nothing new; a named one must have it.
fn with_new<'a, T>(
    arrays: Vec<(&'a NodePath, &'a ArrayMetadata, T)>,
    grown: Option<&Grown>,
    are_named: bool,
    dimension: &str,
) -> Result<WithNew<'a, T>, PlanError> {
    let mut found = Vec::with_capacity(arrays.len());
    for (path, array, rest) in arrays {
        match (first_new(path, array, grown)?, grown) {
            (Some(from), _) => found.push((path, array, rest, from)),
            (None, Some(grown)) if are_named => {
                return Err(PlanError::NotGrown { array: path.clone(), dimension: grown.dimension.clone() });
            }
            (None, _) => {}
        }
    }
    match grown {
        Some(grown) if found.is_empty() => {
            Err(PlanError::NothingGrown { dimension: dimension.to_owned(), grown: grown.dimension.clone() })
        }
        _ => Ok(found),
    }
}

/// Where the new elements begin along the grown dimension, so that who writes from there touches no older chunk of any array.
fn new_floor<'a>(
    arrays: impl Iterator<Item = (&'a ArrayMetadata, &'a Vec<u64>)>,
    grown: Option<&Grown>,
) -> u64 {
    let Some(grown) = grown else { return 0 };
    let of = |(array, from): (&ArrayMetadata, &Vec<u64>)| {
        let axis = array.axis(&grown.dimension)?;
        Some(from[axis].saturating_mul(array.chunk_shape[axis]))
    };
    arrays.filter_map(of).max().unwrap_or(0)
}

type Arrays<'a> = Vec<(&'a NodePath, &'a ArrayMetadata)>;
/// With the places of the dimensions that were asked for.
type ArraysAlong<'a> = Vec<(&'a NodePath, &'a ArrayMetadata, Vec<usize>)>;
/// With the first chunk of each dimension that is new.
type WithNew<'a, T> = Vec<(&'a NodePath, &'a ArrayMetadata, T, Vec<u64>)>;
type Made = (BTreeMap<NodePath, Layout>, Elements, u64);

fn variable<'a>(hierarchy: &'a Hierarchy, path: &NodePath) -> Result<&'a ArrayMetadata, PlanError> {
    hierarchy.array(path).ok_or_else(|| PlanError::NoVariable {
        variable: path.clone(),
        known: hierarchy.arrays().map(|(path, _)| path.to_string()).collect(),
    })
}

/// The place of a dimension in an array that may have it only once.
fn axis_of(path: &NodePath, array: &ArrayMetadata, dimension: &str) -> Result<Option<usize>, PlanError> {
    let mut axes = (0..array.shape.len()).filter(|i| array.dimension_names[*i].as_deref() == Some(dimension));
    let found = axes.next();
    match axes.next() {
        None => Ok(found),
        Some(_) => Err(PlanError::DimensionTwice { array: path.clone(), dimension: dimension.to_owned() }),
    }
}

/// The arrays that have all of the dimensions, with their places. Named ones must have them.
fn arrays_with<'a>(
    hierarchy: &'a Hierarchy,
    dimensions: &[&str],
    variables: &Arrays<'a>,
) -> Result<ArraysAlong<'a>, PlanError> {
    let of_all = hierarchy.arrays().collect();
    let mut found = Vec::new();
    for (path, array) in if variables.is_empty() { &of_all } else { variables } {
        let mut axes = Vec::with_capacity(dimensions.len());
        for dimension in dimensions {
            match axis_of(path, array, dimension)? {
                Some(axis) => axes.push(axis),
                None if variables.is_empty() => break,
                None => {
                    return Err(PlanError::VariableWithoutDimension {
                        variable: (*path).clone(),
                        dimension: (*dimension).to_owned(),
                    });
                }
            }
        }
        if axes.len() == dimensions.len() {
            found.push((*path, *array, axes));
        }
    }
    if found.is_empty() {
        let has = |name: &str| hierarchy.arrays().any(|(_, array)| array.axis(name).is_some());
        let missing = dimensions.iter().find(|name| !has(name)).or(dimensions.first());
        let mut known: Vec<String> = hierarchy
            .arrays()
            .flat_map(|(_, array)| array.dimension_names.iter().flatten().cloned())
            .collect();
        known.sort();
        known.dedup();
        let dimension = missing.map_or_else(String::new, |name| (*name).to_owned());
        return Err(PlanError::NoDimension { dimension, known });
    }
    Ok(found)
}

fn by_dimension<'a>(
    hierarchy: &'a Hierarchy,
    dimension: &str,
    into: u32,
    variables: &Arrays<'a>,
    grown: Option<&Grown>,
) -> Result<Made, PlanError> {
    let arrays = arrays_with(hierarchy, &[dimension], variables)?;
    let arrays = with_new(arrays, grown, !variables.is_empty(), dimension)?;
    let (first, first_array, first_axes, _) = &arrays[0];
    let first_axis = first_axes[0];
    let length = first_array.shape[first_axis];
    let mut unit = 1u64;
    for (path, array, axes, _) in &arrays {
        let axis = axes[0];
        if array.shape[axis] != length {
            return Err(PlanError::Lengths {
                dimension: dimension.to_owned(),
                first: (*first).clone(),
                first_length: length,
                second: (*path).clone(),
                second_length: array.shape[axis],
            });
        }
        let chunk = array.chunk_shape[axis];
        unit = (unit / gcd(unit, chunk))
            .checked_mul(chunk)
            .ok_or_else(|| PlanError::TooLarge { dimension: dimension.to_owned() })?;
    }
    let first_unit = grown.filter(|g| g.dimension == dimension).map_or(0, |g| g.old_length / unit);
    let units = length.div_ceil(unit).saturating_sub(first_unit);
    if units == 0 {
        return Err(PlanError::Empty { dimension: dimension.to_owned() });
    }
    if u64::from(into) > units {
        return Err(PlanError::TooFine { dimension: dimension.to_owned(), into, units, unit });
    }
    // The split's dimension first, then the one that has grown.
    let floor = new_floor(arrays.iter().map(|(_, array, _, from)| (*array, from)), grown);
    let (mut axes, mut floors) = (vec![first_axis], vec![0]);
    match grown {
        Some(grown) if grown.dimension == dimension => floors[0] = floor,
        Some(grown) => {
            axes.extend(first_array.axis(&grown.dimension));
            floors.push(floor);
        }
        None => {}
    }
    let elements = Elements::Of { array: (*first).clone(), axes, floor: floors };
    let mut layouts = BTreeMap::new();
    for (path, array, axes, from) in arrays {
        let axis = axes[0];
        let rows = unit / array.chunk_shape[axis];
        layouts.insert(path.clone(), Layout::Rows { axis, rows, first: first_unit, units, into, from });
    }
    Ok((layouts, elements, u64::from(into)))
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// An array of one dimension with its own name, by the convention of netCDF and xarray.
fn is_coordinate(path: &NodePath, array: &ArrayMetadata) -> bool {
    let name = path.as_str().rsplit('/').next();
    matches!(&array.dimension_names[..], [Some(dimension)] if Some(dimension.as_str()) == name)
}

fn by_chunk<'a>(
    hierarchy: &'a Hierarchy,
    per_shard: bool,
    variables: &Arrays<'a>,
    grown: Option<&Grown>,
) -> Result<Made, PlanError> {
    let of_data =
        hierarchy.arrays().filter(|(path, array)| !array.shape.is_empty() && !is_coordinate(path, array));
    let mut arrays: Arrays<'a> = if variables.is_empty() { of_data.collect() } else { variables.clone() };
    if arrays.is_empty() {
        arrays = hierarchy.arrays().collect();
    }
    let arrays = arrays.into_iter().map(|(path, array)| (path, array, ())).collect();
    let arrays = with_new(arrays, grown, !variables.is_empty(), "of chunks")?;
    let (first, model, (), from) = &arrays[0];
    for (path, array, (), new) in &arrays {
        match (per_shard, array.is_sharded()) {
            (false, true) => {
                return Err(PlanError::Sharded { array: (*path).clone(), shard: array.chunk_shape.clone() });
            }
            (true, false) => return Err(PlanError::NotSharded { array: (*path).clone() }),
            _ => {}
        }
        if (&array.shape, &array.chunk_shape, new) != (&model.shape, &model.chunk_shape, from) {
            return Err(PlanError::Grids { first: (*first).clone(), second: (*path).clone() });
        }
    }
    let until = model.grid_shape();
    let of_axis = |(from, until): (&u64, &u64)| until.saturating_sub(*from);
    let planned = from.iter().zip(&until).map(of_axis).try_fold(1u64, u64::checked_mul);
    let planned = planned.unwrap_or(u64::MAX);
    if planned == 0 {
        return Err(PlanError::NoElements { array: (*first).clone() });
    }
    let axes = 0..model.shape.len();
    let elements = Elements::Of { array: (*first).clone(), floor: vec![0; axes.len()], axes: axes.collect() };
    let layouts = arrays
        .iter()
        .map(|(path, ..)| ((*path).clone(), Layout::Chunks { from: from.clone(), until: until.clone() }))
        .collect();
    Ok((layouts, elements, planned))
}

impl Plan {
    /// The hierarchy that was divided: with its growth.
    pub fn hierarchy(&self) -> &Hierarchy {
        &self.hierarchy
    }

    /// The arrays that are written.
    pub fn variables(&self) -> impl Iterator<Item = &NodePath> {
        self.layouts.keys()
    }

    /// Whose a key is, from the root of the hierarchy.
    pub fn owner(&self, key: &str) -> Owner {
        if self.hierarchy.is_artifacts {
            return match artifact::owner(key, self.completions) {
                Some(index) if key.contains('/') => Owner::Index(index),
                Some(_) | None => Owner::Nobody,
            };
        }
        match self.hierarchy.locate(key) {
            Some((path, Parsed::Chunk(chunk))) => {
                match self.layouts.get(path).and_then(|l| l.owner(&chunk)) {
                    Some(index) => Owner::Index(index),
                    None => Owner::Nobody,
                }
            }
            _ => Owner::NotAChunk,
        }
    }

    /// Whether `index` may write this chunk.
    pub fn owns(&self, index: u32, array: &NodePath, chunk: &[u64]) -> bool {
        let Some(layout) = self.layouts.get(array) else { return false };
        let ranges = layout.ranges(index, &self.grid(array));
        ranges.len() == chunk.len() && ranges.iter().zip(chunk).all(|(range, at)| range.contains(at))
    }

    /// How many chunks an index owns.
    pub fn count(&self, index: u32) -> u64 {
        // No more than MAX_OWNED, which `plan` has made sure of.
        let of = |(path, layout): (&NodePath, &Layout)| {
            layout
                .ranges(index, &self.grid(path))
                .iter()
                .map(|r| r.end.saturating_sub(r.start))
                .product::<u64>()
        };
        self.layouts.iter().map(of).sum()
    }

    /// The keys that an index owns, in the order of arrays and then of the grid, the last dimension fastest.
    pub fn keys(&self, index: u32) -> impl Iterator<Item = String> {
        self.layouts.iter().flat_map(move |(path, layout)| {
            let encoding = self.hierarchy.array(path).map(|array| array.encoding);
            chunks(layout.ranges(index, &self.grid(path)))
                .filter_map(move |chunk| Some(path.key(&encoding?.encode(&chunk))))
        })
    }

    /// The directories that an index's keys lie in, without the root, each once, parents first. Nothing when it takes more than
    /// `most` looks to find them.
    pub fn parents(&self, index: u32, most: usize) -> Option<Vec<String>> {
        let mut looks = 0;
        let mut found = std::collections::BTreeSet::new();
        if self.hierarchy.is_artifacts {
            found.insert(index.to_string());
        }
        for (path, layout) in &self.layouts {
            let Some(array) = self.hierarchy.array(path) else { continue };
            let ranges = layout.ranges(index, &array.grid_shape());
            if ranges.iter().any(Range::is_empty) {
                continue;
            }
            let mut above = Some(path.clone());
            while let Some(node) = above.filter(|node| !node.is_root()) {
                above = node.parent();
                found.insert(node.as_str().to_owned());
            }
            for numbers in 0..ranges.len().max(1) {
                // With keys that are flat there is none for any chunk, and the grid may be of any size.
                if array.encoding.directory(&vec![0; numbers], ranges.len()).is_none() {
                    continue;
                }
                for front in chunks(ranges[..numbers.min(ranges.len())].to_vec()) {
                    looks += 1;
                    if looks > most {
                        return None;
                    }
                    found.extend(array.encoding.directory(&front, ranges.len()).map(|rest| path.key(&rest)));
                }
            }
        }
        Some(found.into_iter().collect())
    }

    /// The elements of an index, clamped to the shape, along the dimensions that the split divides.
    pub fn elements(&self, index: u32) -> Vec<DimensionRange> {
        match &self.elements {
            Elements::Regions(regions) => regions.get(index as usize).cloned().unwrap_or_default(),
            Elements::Of { array, axes, floor } => {
                let (Some(layout), Some(metadata)) = (self.layouts.get(array), self.hierarchy.array(array))
                else {
                    return Vec::new();
                };
                let ranges = layout.ranges(index, &metadata.grid_shape());
                let of = |(axis, floor): (&usize, &u64)| {
                    let (chunk, length) = (metadata.chunk_shape[*axis], metadata.shape[*axis]);
                    DimensionRange {
                        dimension: metadata.axis_name(*axis),
                        start: ranges[*axis].start.saturating_mul(chunk).max(*floor).min(length),
                        stop: ranges[*axis].end.saturating_mul(chunk).min(length),
                    }
                };
                axes.iter().zip(floor).map(of).collect()
            }
        }
    }

    fn grid(&self, array: &NodePath) -> Vec<u64> {
        self.hierarchy.array(array).map(ArrayMetadata::grid_shape).unwrap_or_default()
    }
}

/// All places of a box, the last dimension fastest.
fn chunks(ranges: Vec<Range<u64>>) -> impl Iterator<Item = ChunkKey> {
    let is_empty = ranges.iter().any(Range::is_empty);
    let mut next = (!is_empty).then(|| ranges.iter().map(|range| range.start).collect::<ChunkKey>());
    std::iter::from_fn(move || {
        let current = next.take()?;
        let mut after = current.clone();
        for axis in (0..ranges.len()).rev() {
            after[axis] += 1;
            if after[axis] < ranges[axis].end {
                next = Some(after);
                break;
            }
            after[axis] = ranges[axis].start;
        }
        Some(current)
    })
}
