//! Maps of sparse files, in the old GNU form and in the form that stands before the content.

use std::io::Read;

use super::header::number;
use super::pax::decimal;
use super::{BLOCK, Segment};

/// More runs than this are no file that an image needs.
const SEGMENTS_MAX: usize = 65_536;

/// What a sparse map claims must be consistent before a byte is written.
///
/// `stored` is the number of content bytes in the archive. The runs must be in order, must not overlap, must lie inside
/// the file and must together be exactly what is stored.
pub(super) fn check(segments: &[Segment], stored: u64, real_size: u64) -> Result<(), String> {
    let mut end = 0u64;
    let mut sum = 0u64;
    for segment in segments {
        let segment_end = segment.offset.checked_add(segment.length).ok_or("the sparse map overflows")?;
        if segment.offset < end {
            return Err("the sparse map's runs overlap".to_owned());
        }
        end = segment_end;
        sum = sum.checked_add(segment.length).ok_or("the sparse map overflows")?;
    }
    if end > real_size {
        return Err("the sparse map goes beyond the file's size".to_owned());
    }
    if sum != stored {
        return Err(format!("the sparse map names {sum} bytes of content, the archive holds {stored}"));
    }
    Ok(())
}

/// Pairs of 12-byte numbers; an empty pair ends the list.
pub(super) fn push_gnu_pairs(field: &[u8], segments: &mut Vec<Segment>) -> Result<(), String> {
    for pair in field.chunks_exact(24) {
        if pair[0] == 0 && pair[12] == 0 {
            break;
        }
        let (offset, length) = (number(&pair[..12], "sparse offset")?, number(&pair[12..], "sparse length")?);
        push(Segment { offset, length }, segments)?;
    }
    Ok(())
}

/// One block of GNU.sparse continuation: 21 pairs, then the "more follow" flag.
pub(super) fn push_gnu_extension(block: &[u8; BLOCK], segments: &mut Vec<Segment>) -> Result<bool, String> {
    push_gnu_pairs(&block[..504], segments)?;
    Ok(block[504] != 0)
}

/// The map of GNU.sparse 1.0: decimal lines at the head of the content, padded to a block. Returns the runs and the
/// number of content bytes they took.
pub(super) fn read_1_0(content: &mut impl Read, stored: u64) -> Result<(Vec<Segment>, u64), String> {
    let mut text = Vec::new();
    let mut line_starts_at = 0;
    let mut numbers: Vec<u64> = Vec::new();
    loop {
        // The count stands first, then two numbers a run.
        if let Some(count) = numbers.first() {
            if *count > SEGMENTS_MAX as u64 {
                return Err(format!("the sparse map has more than {SEGMENTS_MAX} runs"));
            }
            if numbers.len() as u64 == 1 + 2 * count {
                break;
            }
        }
        match text[line_starts_at..].iter().position(|b| *b == b'\n') {
            Some(length) => {
                let line = &text[line_starts_at..line_starts_at + length];
                numbers.push(decimal(line).ok_or("the sparse map holds something that is not a number")?);
                line_starts_at += length + 1;
            }
            None if text.len() - line_starts_at > 32 => {
                return Err("a number of the sparse map is too long".to_owned());
            }
            None => {
                if text.len() as u64 + BLOCK as u64 > stored {
                    return Err("the sparse map is longer than the content".to_owned());
                }
                let mut block = [0u8; BLOCK];
                content.read_exact(&mut block).map_err(|e| e.to_string())?;
                text.extend_from_slice(&block);
            }
        }
    }
    let segments = numbers[1..].chunks_exact(2).map(|p| Segment { offset: p[0], length: p[1] }).collect();
    Ok((segments, text.len() as u64))
}

fn push(segment: Segment, segments: &mut Vec<Segment>) -> Result<(), String> {
    if segments.len() >= SEGMENTS_MAX {
        return Err(format!("the sparse map has more than {SEGMENTS_MAX} runs"));
    }
    segments.push(segment);
    Ok(())
}
