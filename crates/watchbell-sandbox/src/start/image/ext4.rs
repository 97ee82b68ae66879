//! An empty ext4 for a file that is nothing but holes: what has to be written of it, and how long the file is. Pure.
//!
//! ```text
//!  superblock │ descriptors │ bitmaps of blocks │ bitmaps of inodes │ tables of inodes │ root │ free …
//! ```
//!
//! All that the file system keeps for itself lies in front (`flex_bg`), and bitmaps and tables that nothing is in yet stay holes
//! (`uninit_bg`), so that a terabyte begins with some hundred KiB. There is no journal: after a crash nobody opens it again.

use std::io;

use crate::Scratch;
use crate::start::overlay::OWN_INODES;

pub(super) const BLOCK: u64 = 4096;
const GROUP_BLOCKS: u64 = 8 * BLOCK;
const INODE_BYTES: u64 = 256;
const INODES_A_BLOCK: u64 = BLOCK / INODE_BYTES;
const DESCRIPTOR_BYTES: u64 = 32;
/// The first eleven are the file system's, of which the second is its root.
const RESERVED_INODES: u64 = 10;
const ROOT_INODE: u64 = 2;
/// Block numbers have 32 bits.
const BLOCKS_MAX: u64 = u32::MAX as u64;

const COMPAT: u32 = 0x20 | 0x200; // dir_index, sparse_super2: no copies of the superblock
const INCOMPAT: u32 = 0x2 | 0x40 | 0x200; // filetype, extent, flex_bg
const RO_COMPAT: u32 = 0x2 | 0x8 | 0x10 | 0x20 | 0x40; // large_file, huge_file, uninit_bg, dir_nlink, extra_isize
const INODE_UNINIT: u16 = 0x1;
const BLOCK_UNINIT: u16 = 0x2;
const INODE_ZEROED: u16 = 0x4;
const EXTENTS_FLAG: u32 = 0x8_0000;
/// What the kernel does on an inconsistency: nothing is written any more.
const ERRORS_REMOUNT_RO: u16 = 2;

/// Where things are in the file system, in blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    blocks: u64,
    groups: u64,
    inodes_a_group: u64,
}

impl Layout {
    /// One that holds what is asked for, and little more.
    pub(super) fn of(bound: Scratch) -> io::Result<Layout> {
        let wanted = bound.bytes.div_ceil(BLOCK);
        // Directories, and lists of a file's extents.
        let data = wanted.saturating_add(32 + wanted / 128);
        let inodes = bound.inodes.saturating_add(RESERVED_INODES + OWN_INODES);
        let mut blocks = data;
        while blocks <= BLOCKS_MAX {
            let groups = blocks.div_ceil(GROUP_BLOCKS);
            let inodes_a_group = inodes.div_ceil(groups).next_multiple_of(INODES_A_BLOCK).min(GROUP_BLOCKS);
            let layout = Layout { blocks, groups, inodes_a_group };
            // What the kernel keeps back of every file system.
            let kept = (blocks / 50 + 1).min(4096);
            let needed = data.saturating_add(layout.own_blocks() + kept);
            if needed <= blocks {
                return Ok(layout);
            }
            blocks = needed;
        }
        Err(io::Error::other("it is larger than 16 TiB; state a smaller quota"))
    }

    pub(super) fn bytes(&self) -> u64 {
        self.blocks * BLOCK
    }

    fn descriptor_blocks(&self) -> u64 {
        (self.groups * DESCRIPTOR_BYTES).div_ceil(BLOCK)
    }

    fn table_blocks(&self) -> u64 {
        self.inodes_a_group / INODES_A_BLOCK
    }

    fn block_bitmap(&self, group: u64) -> u64 {
        1 + self.descriptor_blocks() + group
    }

    fn inode_bitmap(&self, group: u64) -> u64 {
        self.block_bitmap(self.groups) + group
    }

    fn table(&self, group: u64) -> u64 {
        self.inode_bitmap(self.groups) + group * self.table_blocks()
    }

    fn root(&self) -> u64 {
        self.table(self.groups)
    }

    fn own_blocks(&self) -> u64 {
        self.root() + 1
    }

    fn group_blocks(&self, group: u64) -> u64 {
        (self.blocks - group * GROUP_BLOCKS).min(GROUP_BLOCKS)
    }

    /// How many of a group's blocks are in use, all of them its first.
    fn used_blocks(&self, group: u64) -> u64 {
        self.own_blocks().saturating_sub(group * GROUP_BLOCKS).min(self.group_blocks(group))
    }

    /// Of the last group it says where the file system ends.
    fn has_block_bitmap(&self, group: u64) -> bool {
        self.used_blocks(group) > 0 || group + 1 == self.groups
    }

    /// What is not zero in it, by its place.
    pub(super) fn written(&self) -> Vec<(u64, Vec<u8>)> {
        let mut written = vec![(1024, self.superblock()), (BLOCK, self.descriptors())];
        for group in (0..self.groups).filter(|group| self.has_block_bitmap(*group)) {
            let bitmap = bitmap(self.used_blocks(group), self.group_blocks(group));
            written.push((self.block_bitmap(group) * BLOCK, bitmap));
        }
        written.push((self.inode_bitmap(0) * BLOCK, bitmap(RESERVED_INODES, self.inodes_a_group)));
        written.push((self.table(0) * BLOCK + (ROOT_INODE - 1) * INODE_BYTES, self.root_inode()));
        written.push((self.root() * BLOCK, root_directory()));
        written
    }

    fn superblock(&self) -> Vec<u8> {
        let mut block = Fields::zeroed(1024);
        let inodes = self.groups * self.inodes_a_group;
        block.u32(0x00, inodes as u32);
        block.u32(0x04, self.blocks as u32);
        block.u32(0x0c, (self.blocks - self.own_blocks()) as u32);
        block.u32(0x10, (inodes - RESERVED_INODES) as u32);
        block.u32(0x18, BLOCK.trailing_zeros() - 10);
        block.u32(0x1c, BLOCK.trailing_zeros() - 10);
        block.u32(0x20, GROUP_BLOCKS as u32);
        block.u32(0x24, GROUP_BLOCKS as u32);
        block.u32(0x28, self.inodes_a_group as u32);
        block.u16(0x36, u16::MAX); // never due for a check
        block.u16(0x38, 0xef53);
        block.u16(0x3a, 1); // clean
        block.u16(0x3c, ERRORS_REMOUNT_RO);
        block.u32(0x4c, 1);
        block.u32(0x54, RESERVED_INODES as u32 + 1);
        block.u16(0x58, INODE_BYTES as u16);
        block.u32(0x5c, COMPAT);
        block.u32(0x60, INCOMPAT);
        block.u32(0x64, RO_COMPAT);
        block.u8(0xfc, 1); // directories are hashed by half MD4
        block.u16(0x15c, 32);
        block.u16(0x15e, 32);
        block.u32(0x160, 2); // of unsigned characters
        block.u8(0x174, 4);
        block.0
    }

    fn descriptors(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity((self.groups * DESCRIPTOR_BYTES) as usize);
        for group in 0..self.groups {
            let mut one = Fields::zeroed(DESCRIPTOR_BYTES as usize);
            let used = self.used_blocks(group);
            let (inodes, root) = if group == 0 { (RESERVED_INODES, 1) } else { (0, 0) };
            let free_inodes = (self.inodes_a_group - inodes) as u16;
            one.u32(0x00, self.block_bitmap(group) as u32);
            one.u32(0x04, self.inode_bitmap(group) as u32);
            one.u32(0x08, self.table(group) as u32);
            one.u16(0x0c, (self.group_blocks(group) - used) as u16);
            one.u16(0x0e, free_inodes);
            one.u16(0x10, root);
            let no_blocks = if self.has_block_bitmap(group) { 0 } else { BLOCK_UNINIT };
            let no_inodes = if inodes == 0 { INODE_UNINIT } else { 0 };
            one.u16(0x12, INODE_ZEROED | no_blocks | no_inodes);
            one.u16(0x1c, free_inodes);
            // The identity of the file system is zero, as it has no name.
            let sum = crc16(crc16(u16::MAX, &[0; 16]), &(group as u32).to_le_bytes());
            let sum = crc16(sum, &one.0[..0x1e]);
            one.u16(0x1e, sum);
            all.append(&mut one.0);
        }
        all
    }

    fn root_inode(&self) -> Vec<u8> {
        let mut inode = Fields::zeroed(INODE_BYTES as usize);
        inode.u16(0x00, 0o40_700);
        inode.u32(0x04, BLOCK as u32);
        inode.u16(0x1a, 2);
        inode.u32(0x1c, (BLOCK / 512) as u32);
        inode.u32(0x20, EXTENTS_FLAG);
        // One extent of one block, where four have room.
        inode.u16(0x28, 0xf30a);
        inode.u16(0x2a, 1);
        inode.u16(0x2c, 4);
        inode.u16(0x38, 1);
        inode.u32(0x3c, self.root() as u32);
        inode.u16(0x80, 32);
        inode.0
    }
}

/// A block of which the first `used` bits are set, and those that nothing stands for.
fn bitmap(used: u64, valid: u64) -> Vec<u8> {
    let is_set = |bit: u64| bit < used || bit >= valid;
    let byte = |n: u64| (0..8).filter(|bit| is_set(n * 8 + bit)).fold(0, |byte, bit| byte | 1 << bit);
    (0..BLOCK).map(byte).collect()
}

fn root_directory() -> Vec<u8> {
    let mut block = Fields::zeroed(BLOCK as usize);
    for (at, length, name) in [(0, 12, &b"."[..]), (12, BLOCK as u16 - 12, b"..")] {
        block.u32(at, ROOT_INODE as u32);
        block.u16(at + 4, length);
        block.u8(at + 6, name.len() as u8);
        block.u8(at + 7, 2);
        block.0[at + 8..at + 8 + name.len()].copy_from_slice(name);
    }
    block.0
}

fn crc16(sum: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(sum, |sum, byte| {
        (0..8).fold(sum ^ u16::from(*byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xa001 } else { sum >> 1 })
    })
}

/// A structure of the disk: little-endian numbers at their places.
struct Fields(Vec<u8>);

impl Fields {
    fn zeroed(length: usize) -> Self {
        Self(vec![0; length])
    }

    fn u8(&mut self, at: usize, value: u8) {
        self.0[at] = value;
    }

    fn u16(&mut self, at: usize, value: u16) {
        self.0[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }

    fn u32(&mut self, at: usize, value: u32) {
        self.0[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::{FileExt, MetadataExt};
    use std::process::Command;

    use super::*;

    const SIZES: [u64; 9] =
        [1, 1 << 20, 100 << 20, (128 << 20) - 4096, 128 << 20, 1 << 30, 10 << 30, 1 << 40, 15 << 40];

    fn bound(bytes: u64) -> Scratch {
        Scratch { bytes, inodes: (bytes / 4096).clamp(64, 1 << 20) }
    }

    #[test]
    fn it_holds_what_is_asked_for_and_little_more() {
        for bytes in SIZES {
            let layout = Layout::of(bound(bytes)).unwrap();
            let free = (layout.blocks - layout.own_blocks()) * BLOCK;
            // What ext4 keeps back.
            let kept = (layout.blocks / 50).min(4096) * BLOCK;
            assert!(free >= bytes + kept, "{bytes}: {layout:?}");
            assert!(free <= bytes + bytes / 25 + (1 << 20), "{bytes}: {layout:?}");
            let inodes = layout.groups * layout.inodes_a_group;
            let asked = bound(bytes).inodes + RESERVED_INODES + OWN_INODES;
            assert!(inodes >= asked && inodes < asked + 16 * layout.groups, "{bytes}: {layout:?}");
            let written: usize = layout.written().iter().map(|(_, bytes)| bytes.len()).sum();
            assert!(written < 8 << 20, "{bytes}: {written}");
        }
        assert!(Layout::of(bound(16 << 40)).is_err() && Layout::of(bound(u64::MAX)).is_err());
    }

    #[test]
    fn its_checker_finds_nothing_wrong_with_it() {
        if let Err(error) = Command::new("e2fsck").arg("-V").output() {
            #[expect(clippy::print_stderr, reason = "as a test says what it leaves out")]
            {
                eprintln!("SKIPPED: e2fsck: {error}; tools/test/setup installs it");
            }
            return;
        }
        for bytes in [1, 1 << 20, 200 << 20, 10 << 30, 1 << 40] {
            let layout = Layout::of(bound(bytes)).unwrap();
            let image = tempfile::NamedTempFile::new().unwrap();
            image.as_file().set_len(layout.bytes()).unwrap();
            for (at, bytes) in layout.written() {
                File::write_all_at(image.as_file(), &bytes, at).unwrap();
            }
            assert!(image.as_file().metadata().unwrap().blocks() * 512 < 8 << 20, "it is a sparse file");
            let checked = Command::new("e2fsck").args(["-f", "-n"]).arg(image.path()).output().unwrap();
            let said = String::from_utf8_lossy(&checked.stdout).into_owned();
            assert!(checked.status.success(), "{bytes}: {said}{}", String::from_utf8_lossy(&checked.stderr));
        }
    }
}
