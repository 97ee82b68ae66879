//! Sealed memory: bytes that cross to another process and that nobody can change afterwards.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, memfd_create};
use rustix::io::Errno;

const SEALS: SealFlags = SealFlags::WRITE.union(SealFlags::SHRINK).union(SealFlags::GROW);
/// So often memory is asked to be sealed whose pages the kernel itself still holds.
const ATTEMPTS_MAX: u32 = 40;

/// A copy of a program that is run from memory: a task that reaches its runner through `/proc/<pid>/exe` finds
/// something that cannot be written (CVE-2019-5736).
pub(crate) fn sealed_program(program: &mut File) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 know neither flag of execution and make every memfd executable.
    let fd = memfd_create("watchbell", flags | MemfdFlags::EXEC).or_else(|error| match error {
        rustix::io::Errno::INVAL => memfd_create("watchbell", flags),
        other => Err(other),
    })?;
    let mut copy = File::from(fd);
    program.seek(SeekFrom::Start(0))?;
    io::copy(program, &mut copy)?;
    seal(|| fcntl_add_seals(&copy, SEALS | SealFlags::SEAL))?;
    Ok(copy.into())
}

/// Puts bytes into sealed memory.
pub(crate) fn sealed_bytes(bytes: &[u8]) -> io::Result<OwnedFd> {
    let fd = memfd_create("watchbell-data", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    seal(|| fcntl_add_seals(&file, SEALS | SealFlags::SEAL))?;
    Ok(file.into())
}

/// Nobody but us has the memory, so who holds a page of it is the kernel, for a moment: one that moves pages about, or a
/// processor that has yet to put a new one on its list. It waits for that by itself (`memfd_wait_for_pins`), 75 ms of each
/// attempt, which a busy machine may outlast.
fn seal(add: impl Fn() -> rustix::io::Result<()>) -> io::Result<()> {
    for _ in 1..ATTEMPTS_MAX {
        match add() {
            Err(Errno::BUSY) => {}
            outcome => return Ok(outcome?),
        }
    }
    Ok(add()?)
}

/// Reads what [`sealed_bytes`] made. A file that its sender could still change or that is larger than `max` is refused.
pub(crate) fn read_sealed(fd: OwnedFd, max: u64) -> io::Result<Vec<u8>> {
    let refused = |why| Err(io::Error::new(io::ErrorKind::InvalidData, why));
    // Anything but a memfd has no seals; a pipe or a device would let its sender block us.
    match fcntl_get_seals(fd.as_fd()) {
        Ok(seals) if seals.contains(SEALS) => {}
        _ => return refused("is not sealed memory"),
    }
    let size = u64::try_from(fstat(&fd)?.st_size).unwrap_or(u64::MAX);
    if size > max {
        return refused("is larger than allowed");
    }
    let mut file = File::from(fd);
    file.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::with_capacity(size as usize);
    file.take(max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::{ATTEMPTS_MAX, read_sealed, seal, sealed_bytes};
    use std::cell::Cell;
    use std::io;
    use std::os::fd::OwnedFd;

    use rustix::io::Errno;

    #[test]
    fn only_sealed_memory_within_its_bound_is_read() -> io::Result<()> {
        assert_eq!(read_sealed(sealed_bytes(b"secret")?, 6)?, b"secret");
        assert!(read_sealed(sealed_bytes(b"secret")?, 5).is_err());

        let unsealed = rustix::fs::memfd_create("open", rustix::fs::MemfdFlags::ALLOW_SEALING)?;
        assert!(read_sealed(unsealed, 10).is_err());
        let (read_end, _write_end) = rustix::pipe::pipe()?;
        assert!(read_sealed(read_end, 10).is_err());
        assert!(read_sealed(OwnedFd::from(tempfile::tempfile()?), 10).is_err());
        Ok(())
    }

    #[test]
    fn memory_that_the_kernel_holds_for_a_moment_is_sealed_after_it() {
        let attempts = Cell::new(0);
        let busy_for = |moments: u32, then: Result<(), Errno>| {
            attempts.set(0);
            let outcome = seal(|| {
                attempts.set(attempts.get() + 1);
                if attempts.get() <= moments { Err(Errno::BUSY) } else { then }
            });
            (outcome.map_err(|error| error.raw_os_error()), attempts.get())
        };
        assert_eq!(busy_for(0, Ok(())), (Ok(()), 1));
        assert_eq!(busy_for(3, Ok(())), (Ok(()), 4));
        assert_eq!(busy_for(0, Err(Errno::PERM)), (Err(Some(Errno::PERM.raw_os_error())), 1));
        // What is held for good is told, and not waited for without end.
        assert_eq!(busy_for(u32::MAX, Ok(())), (Err(Some(Errno::BUSY.raw_os_error())), ATTEMPTS_MAX));
    }
}
