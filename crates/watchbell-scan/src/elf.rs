//! Programs and libraries in the Executable and Linking Format: what they need, and what compilers wrote into them.
//!
//! Everything is read by the file's own headers, which may lie: each range is checked against what is there, and each count is
//! bounded. (System V ABI, chapters 4 and 5; `elf.h` of the GNU C library.)

/// The two sizes and two byte orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) is_64: bool,
    pub(crate) is_little: bool,
}

impl Kind {
    /// Of a file that begins with `head`; `None` if it is in another format.
    pub(crate) fn of(head: &[u8]) -> Option<Self> {
        match head {
            [0x7f, b'E', b'L', b'F', class @ (1 | 2), order @ (1 | 2), ..] => {
                Some(Self { is_64: *class == 2, is_little: *order == 1 })
            }
            _ => None,
        }
    }
}

/// Of a large file: what its program headers, if they lie in its first bytes, say must be looked at.
pub(crate) fn wanted_ranges(_head: &[u8]) -> Vec<(u64, u64)> {
    Vec::new()
}
