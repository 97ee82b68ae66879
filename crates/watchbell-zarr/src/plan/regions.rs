//! The split that states each index's region.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::layout::Layout;
use super::{Arrays, DimensionRange, Elements, Made, PlanError, arrays_with};
use crate::hierarchy::Hierarchy;
use crate::metadata::ArrayMetadata;
use crate::path::NodePath;
use crate::rule::Region;

pub(super) fn by_region<'a>(
    hierarchy: &'a Hierarchy,
    regions: &[Region],
    variables: &Arrays<'a>,
) -> Result<Made, PlanError> {
    let dimensions: BTreeSet<&str> =
        regions.iter().flat_map(|region| region.keys().map(String::as_str)).collect();
    let dimensions: Vec<&str> = dimensions.into_iter().collect();
    let arrays = arrays_with(hierarchy, &dimensions, variables)?;
    let mut layouts = BTreeMap::new();
    for (path, array, axes) in &arrays {
        let boxes = regions.iter().enumerate().map(|(index, region)| {
            let mut ranges: Vec<Range<u64>> = array.grid_shape().into_iter().map(|n| 0..n).collect();
            for (dimension, axis) in dimensions.iter().zip(axes) {
                if let Some((start, stop)) = region.get(*dimension) {
                    ranges[*axis] = chunks_of(index as u32, path, array, *axis, *start, *stop)?;
                }
            }
            Ok(ranges)
        });
        let boxes = boxes.collect::<Result<Vec<_>, PlanError>>()?;
        check_apart(path, &boxes)?;
        layouts.insert((*path).clone(), Layout::Boxes(boxes));
    }
    let (_, model, axes) = &arrays[0];
    let elements = |region: &Region| {
        let of = |(dimension, axis): (&&str, &usize)| {
            let (start, stop) = region.get(*dimension).copied().unwrap_or((0, model.shape[*axis]));
            DimensionRange { dimension: (*dimension).to_owned(), start, stop }
        };
        dimensions.iter().zip(axes).map(of).collect()
    };
    Ok((layouts, Elements::Regions(regions.iter().map(elements).collect()), regions.len() as u64))
}

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

/// Refuses boxes that share a chunk. They are swept along the first dimension, so that only those are compared that meet there.
fn check_apart(path: &NodePath, boxes: &[Vec<Range<u64>>]) -> Result<(), PlanError> {
    let begin = |at: usize| boxes[at].first().map_or(0, |range| range.start);
    let end = |at: usize| boxes[at].first().map_or(1, |range| range.end);
    let mut order: Vec<usize> = (0..boxes.len()).collect();
    order.sort_by_key(|at| begin(*at));
    let mut open: Vec<usize> = Vec::new();
    for at in order {
        open.retain(|other| end(*other) > begin(at));
        let meets = |other: &&usize| {
            boxes[at].iter().zip(&boxes[**other]).all(|(a, b)| a.start < b.end && b.start < a.end)
        };
        if let Some(other) = open.iter().find(meets) {
            let (first, second) = (at.min(*other), at.max(*other));
            let shared: Vec<u64> =
                boxes[at].iter().zip(&boxes[*other]).map(|(a, b)| a.start.max(b.start)).collect();
            return Err(PlanError::Overlap {
                array: path.clone(),
                first: first as u32,
                second: second as u32,
                at: format!("chunk {shared:?} is in both"),
            });
        }
        open.push(at);
    }
    Ok(())
}
