use std::ops::Range;

/// How the chunks of one array are divided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Along one dimension, in units of `rows` grid rows: index i owns the units from ⌊i·n/N⌋ to ⌊(i+1)·n/N⌋ behind the
    /// `first`, of n = `units` and N = `into`. Along each dimension the chunks before `from` are nobody's.
    Rows { axis: usize, rows: u64, first: u64, units: u64, into: u32, from: Vec<u64> },
    /// A chunk an index, the last dimension fastest.
    Chunks { from: Vec<u64>, until: Vec<u64> },
    /// Stated: a box of chunks an index. They do not overlap.
    Boxes(Vec<Vec<Range<u64>>>),
}

impl Layout {
    /// The box of chunks that an index owns, in a grid of that shape. An index that is none owns nothing.
    pub(super) fn ranges(&self, index: u32, grid: &[u64]) -> Vec<Range<u64>> {
        match self {
            Self::Rows { axis, rows, first, units, into, from } => {
                let unit = |i: u32| (u128::from(i) * u128::from(*units) / u128::from(*into)) as u64;
                let row = |i: u32| (first + unit(i)).saturating_mul(*rows).min(grid[*axis]);
                let mut ranges: Vec<Range<u64>> = from.iter().zip(grid).map(|(from, n)| *from..*n).collect();
                let of_index = |index: u32| row(index).max(from[*axis])..row(index + 1);
                ranges[*axis] = if index < *into { of_index(index) } else { 0..0 };
                ranges
            }
            Self::Chunks { from, until } => {
                let mut rest = u64::from(index);
                let mut ranges = vec![0..0; from.len()];
                for axis in (0..from.len()).rev() {
                    let length = until[axis] - from[axis];
                    let at = from[axis] + rest % length;
                    ranges[axis] = at..at + 1;
                    rest /= length;
                }
                if rest != 0 {
                    ranges.iter_mut().for_each(|range| *range = 0..0);
                }
                ranges
            }
            Self::Boxes(boxes) => match boxes.get(index as usize) {
                Some(ranges) => ranges.clone(),
                None => vec![0..0; grid.len()],
            },
        }
    }

    /// The lengths of the boxes: of each index where they are stated, else of an index that has the most.
    pub(super) fn largest(&self, grid: &[u64]) -> Vec<Vec<u64>> {
        let lengths =
            |ranges: Vec<Range<u64>>| ranges.iter().map(|r| r.end.saturating_sub(r.start)).collect();
        match self {
            Self::Rows { axis, rows, units, into, .. } => {
                let mut largest: Vec<u64> = lengths(self.ranges(0, grid));
                let most = units.div_ceil(u64::from(*into)).saturating_mul(*rows);
                largest[*axis] = most.min(grid[*axis]);
                vec![largest]
            }
            Self::Chunks { from, .. } => vec![vec![1; from.len()]],
            Self::Boxes(boxes) => boxes.iter().cloned().map(lengths).collect(),
        }
    }

    /// The index that owns a chunk of the grid.
    pub(super) fn owner(&self, chunk: &[u64]) -> Option<u32> {
        match self {
            Self::Rows { axis, rows, first, units, into, from } => {
                if chunk.iter().zip(from).any(|(at, from)| at < from) {
                    return None;
                }
                let unit = (chunk.get(*axis)? / rows).checked_sub(*first)?;
                // The largest i with ⌊i·n/N⌋ ≤ unit.
                let index = ((u128::from(unit) + 1) * u128::from(*into) - 1) / u128::from(*units);
                (unit < *units).then_some(index as u32)
            }
            Self::Chunks { from, until } => {
                let mut index = 0u64;
                for ((at, from), until) in chunk.iter().zip(from).zip(until) {
                    if !(from..until).contains(&at) {
                        return None;
                    }
                    index = index.checked_mul(until - from)?.checked_add(at - from)?;
                }
                u32::try_from(index).ok()
            }
            Self::Boxes(boxes) => {
                let has = |ranges: &Vec<Range<u64>>| ranges.iter().zip(chunk).all(|(r, at)| r.contains(at));
                boxes.iter().position(has).map(|index| index as u32)
            }
        }
    }
}
