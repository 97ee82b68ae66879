//! The split that states each index's region.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::layout::Layout;
use super::{Arrays, DimensionRange, Elements, Made, PlanError, arrays_with, new_floor, with_new};
use crate::grow::Grown;
use crate::hierarchy::Hierarchy;
use crate::metadata::ArrayMetadata;
use crate::path::NodePath;
use crate::rule::Region;

pub(super) fn by_region<'a>(
    hierarchy: &'a Hierarchy,
    regions: &[Region],
    variables: &Arrays<'a>,
    grown: Option<&Grown>,
    comparisons: &mut u64,
) -> Result<Made, PlanError> {
    let mut dimensions: BTreeSet<&str> =
        regions.iter().flat_map(|region| region.keys().map(String::as_str)).collect();
    // With a growth its dimension is told too, because a region that does not name it is of what is new alone.
    dimensions.extend(grown.map(|grown| grown.dimension.as_str()));
    let dimensions: Vec<&str> = dimensions.into_iter().collect();
    let arrays = arrays_with(hierarchy, &dimensions, variables)?;
    let arrays = with_new(arrays, grown, !variables.is_empty(), "of the regions")?;
    if regions.len().saturating_mul(arrays.len()) > MAX_BOXES {
        return Err(PlanError::TooManyRegions { regions: regions.len(), arrays: arrays.len() });
    }
    let too_many = || PlanError::Comparisons { regions: regions.len(), arrays: arrays.len() };
    *comparisons = comparisons.checked_sub((regions.len() * arrays.len()) as u64).ok_or_else(too_many)?;
    let mut layouts = BTreeMap::new();
    for (path, array, axes, from) in &arrays {
        let boxes = regions.iter().enumerate().map(|(index, region)| {
            let grid = array.grid_shape();
            let mut ranges: Vec<Range<u64>> = from.iter().zip(grid).map(|(from, n)| *from..n).collect();
            for (dimension, axis) in dimensions.iter().zip(axes) {
                let Some((start, stop)) = region.get(*dimension).copied() else { continue };
                ranges[*axis] = chunks_of(index as u32, path, array, *axis, start, stop)?;
                if let Some(grown) = grown.filter(|_| ranges[*axis].start < from[*axis]) {
                    return Err(PlanError::BeforeGrowth {
                        index: index as u32,
                        array: (*path).clone(),
                        dimension: (*dimension).to_owned(),
                        old_length: grown.old_length,
                        start,
                        stop,
                        first: from[*axis] * array.chunk_shape[*axis],
                    });
                }
            }
            Ok(ranges)
        });
        let boxes = boxes.collect::<Result<Vec<_>, PlanError>>()?;
        check_apart(path, &boxes, comparisons).map_err(|meet| match meet {
            Meet::Overlap(error) => error,
            Meet::TooMany => too_many(),
        })?;
        layouts.insert((*path).clone(), Layout::Boxes(boxes));
    }
    let floor = new_floor(arrays.iter().map(|(_, array, _, from)| (*array, from)), grown);
    let (_, model, axes, _) = &arrays[0];
    let elements = |region: &Region| {
        let of = |(dimension, axis): (&&str, &usize)| {
            let floor = if grown.is_some_and(|grown| grown.dimension == *dimension) { floor } else { 0 };
            let (start, stop) = region.get(*dimension).copied().unwrap_or((floor, model.shape[*axis]));
            DimensionRange { dimension: (*dimension).to_owned(), start: start.max(floor), stop }
        };
        dimensions.iter().zip(axes).map(of).collect()
    };
    Ok((layouts, Elements::Regions(regions.iter().map(elements).collect()), regions.len() as u64))
}

/// Regions times arrays.
const MAX_BOXES: usize = 1 << 20;

/// The chunks of `[start, stop)`, which must begin at a chunk and end at one or at the array's edge.
fn chunks_of(
    index: u32,
    path: &NodePath,
    array: &ArrayMetadata,
    axis: usize,
    start: u64,
    stop: u64,
) -> Result<Range<u64>, PlanError> {
    let (chunk, length) = (array.chunk_shape[axis], array.shape[axis]);
    let (array_path, dimension) = (path.clone(), array.axis_name(axis));
    if stop > length {
        return Err(PlanError::PastEdge { index, array: array_path, dimension, start, stop, length });
    }
    if !start.is_multiple_of(chunk) || !(stop.is_multiple_of(chunk) || stop == length) {
        let nearest_start = start / chunk * chunk;
        let nearest_stop = stop.div_ceil(chunk).saturating_mul(chunk).min(length);
        return Err(PlanError::Misaligned {
            index,
            array: array_path,
            dimension,
            chunk,
            start,
            stop,
            nearest_start,
            nearest_stop,
        });
    }
    Ok(start / chunk..stop.div_ceil(chunk))
}

enum Meet {
    Overlap(PlanError),
    TooMany,
}

/// Refuses boxes that share a chunk. They are swept along the dimension in which they differ most, so that only those are compared
/// that meet there.
fn check_apart(path: &NodePath, boxes: &[Vec<Range<u64>>], budget: &mut u64) -> Result<(), Meet> {
    let dimensions = boxes.first().map_or(0, Vec::len);
    let starts = |axis: &usize| boxes.iter().map(|ranges| ranges[*axis].start).collect::<BTreeSet<_>>().len();
    let axis = (0..dimensions).max_by_key(starts);
    let begin = |at: usize| axis.map_or(0, |axis| boxes[at][axis].start);
    let end = |at: usize| axis.map_or(1, |axis| boxes[at][axis].end);
    let mut order: Vec<usize> = (0..boxes.len()).collect();
    order.sort_by_key(|at| begin(*at));
    let mut open: Vec<usize> = Vec::new();
    for at in order {
        *budget = budget.checked_sub(open.len() as u64).ok_or(Meet::TooMany)?;
        open.retain(|other| end(*other) > begin(at));
        let meets = |other: &&usize| {
            boxes[at].iter().zip(&boxes[**other]).all(|(a, b)| a.start < b.end && b.start < a.end)
        };
        if let Some(other) = open.iter().find(meets) {
            let (first, second) = (at.min(*other), at.max(*other));
            let shared: Vec<u64> =
                boxes[at].iter().zip(&boxes[*other]).map(|(a, b)| a.start.max(b.start)).collect();
            return Err(Meet::Overlap(PlanError::Overlap {
                array: path.clone(),
                first: first as u32,
                second: second as u32,
                at: format!("chunk {shared:?} is in both"),
            }));
        }
        open.push(at);
    }
    Ok(())
}
