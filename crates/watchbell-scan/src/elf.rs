//! Programs and libraries in the Executable and Linking Format: what they need, and what compilers wrote into them.
//!
//! Everything is read by the file's own headers, which may lie: each range is checked against what is there, and each count is
//! bounded. (System V ABI, chapters 4 and 5; `elf.h` of the GNU C library.)

use object::elf;
use object::endian::Endianness;
use object::read::ReadRef;
use object::read::elf::{Dyn, FileHeader, ProgramHeader, SectionHeader};

use crate::layers::FileContent;
use crate::room::bytes_of;

mod go;

/// Entries of the dynamic section that are looked at; real ones have some tens.
const DYNAMIC_MAX: usize = 4096;
const NEEDED_MAX: usize = 1000;
/// Names of libraries and directories of one program together; several may be the same bytes of the file.
const NAMES_BYTES_MAX: usize = 64 << 10;
/// A name in the dynamic section, an interpreter's path.
const TEXT_BYTES_MAX: usize = 4096;
const PROGRAM_HEADERS_MAX: usize = 1000;
/// Kept of a large file's writable segment, at whose start Go's build information lies.
const DATA_BYTES: u64 = 2 << 20;

/// What is known of a program or library.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) role: Role,
    /// Path of the loader that it asks for.
    pub(crate) interpreter: Option<String>,
    pub(crate) soname: Option<String>,
    /// Names of the libraries that it is linked with, in its order.
    pub(crate) needed: Vec<String>,
    /// Where it has them looked for (`DT_RUNPATH`, else `DT_RPATH`), `$ORIGIN` and all.
    pub(crate) run_path: Vec<String>,
    /// What Go's linker wrote: the compiler's version and the text of the modules.
    pub(crate) go: Option<GoBuild>,
    /// Section `.dep-v0` of `cargo auditable`: JSON, compressed by zlib.
    pub(crate) auditable: Option<Vec<u8>>,
    /// It has that section, and the section is not among what is here of the file.
    pub(crate) lacks_auditable: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Role {
    Executable,
    Library,
    /// An object file, a core dump, a kernel module.
    #[default]
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GoBuild {
    pub(crate) version: String,
    pub(crate) modules: String,
}

/// The file begins as one of this format does.
pub(crate) fn is_elf(head: &[u8]) -> bool {
    head.starts_with(b"\x7fELF")
}

impl Program {
    /// What it takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        size_of::<Self>()
            + text(&self.interpreter)
            + text(&self.soname)
            + bytes_of(&self.needed)
            + bytes_of(&self.run_path)
            + self.go.as_ref().map_or(0, |go| go.version.len() + go.modules.len())
            + self.auditable.as_ref().map_or(0, Vec::len)
    }

    /// Reads a file that begins as [`is_elf`] says; the error says what is wrong with it.
    pub(crate) fn read(content: &FileContent) -> Result<Self, &'static str> {
        match content.range(4, 1) {
            Some([1]) => read::<elf::FileHeader32<Endianness>>(content),
            Some([2]) => read::<elf::FileHeader64<Endianness>>(content),
            _ => Err("its ELF header is of no known size"),
        }
    }
}

/// Of a large file: what its program headers, if they lie in its first bytes, say must be looked at.
pub(crate) fn wanted_ranges(head: &[u8]) -> Vec<(u64, u64)> {
    fn ranges<E: FileHeader<Endian = Endianness>>(content: &FileContent) -> Option<Vec<(u64, u64)>> {
        let header = E::parse(content).ok()?;
        let endian = header.endian().ok()?;
        let headers = header.program_headers(endian, content).ok()?;
        let wanted = headers.iter().take(PROGRAM_HEADERS_MAX).filter_map(|h| {
            let (offset, size) = h.file_range(endian);
            match h.p_type(endian) {
                elf::PT_DYNAMIC | elf::PT_INTERP => Some((offset, size.min(DATA_BYTES))),
                elf::PT_LOAD if is_writable(h.p_flags(endian)) => Some((offset, size.min(DATA_BYTES))),
                _ => None,
            }
        });
        // A file has one or two of each.
        Some(wanted.take(8).collect())
    }
    let content = FileContent::of(head.to_vec());
    match head.get(4) {
        Some(1) => ranges::<elf::FileHeader32<Endianness>>(&content),
        Some(2) => ranges::<elf::FileHeader64<Endianness>>(&content),
        _ => None,
    }
    .unwrap_or_default()
}

fn is_writable(flags: elf::ProgramFlags) -> bool {
    flags.0 & elf::PF_W.0 != 0
}

/// A file's loaded parts, to find what lies at an address.
struct Image<'a> {
    content: &'a FileContent,
    /// Address, offset in the file, bytes in the file, whether it is written to.
    loads: Vec<(u64, u64, u64, bool)>,
    is_64: bool,
    endian: Endianness,
}

impl<'a> Image<'a> {
    /// Everything that is here from an address to the end of its segment.
    fn at(&self, address: u64) -> Option<&'a [u8]> {
        let (start, offset, size, _) =
            *self.loads.iter().find(|(start, _, size, _)| address >= *start && address - start < *size)?;
        let within = address - start;
        let bytes = self.content.from(offset.checked_add(within)?)?;
        Some(&bytes[..bytes.len().min(usize::try_from(size - within).unwrap_or(usize::MAX))])
    }
}

fn read<E: FileHeader<Endian = Endianness>>(content: &FileContent) -> Result<Program, &'static str> {
    let header = E::parse(content).map_err(|_| "its ELF header is not valid")?;
    let endian = header.endian().map_err(|_| "its ELF header is of no known byte order")?;
    let file_type = header.e_type(endian);
    let mut program = Program::default();
    if ![elf::ET_EXEC, elf::ET_DYN].contains(&file_type) {
        return Ok(program);
    }
    let headers =
        header.program_headers(endian, content).map_err(|_| "its program headers lie outside of it")?;
    if headers.len() > PROGRAM_HEADERS_MAX {
        return Err("it has more program headers than any program");
    }
    let mut image = Image { content, loads: Vec::new(), is_64: header.is_type_64(), endian };
    for h in headers.iter().filter(|h| h.p_type(endian) == elf::PT_LOAD) {
        let (offset, size) = h.file_range(endian);
        image.loads.push((h.p_vaddr(endian).into(), offset, size, is_writable(h.p_flags(endian))));
    }
    for h in headers {
        if let Ok(Some(path)) = h.interpreter(endian, content) {
            program.interpreter = text(path);
        }
    }
    let dynamic = headers.iter().find_map(|h| h.dynamic(endian, content).ok().flatten()).unwrap_or_default();
    let is_pie = read_dynamic(&image, dynamic, endian, &mut program);
    program.role = if file_type == elf::ET_EXEC || program.interpreter.is_some() || is_pie {
        Role::Executable
    } else {
        Role::Library
    };
    // Without section headers, which `strip` may take away, there is less to find.
    let mut go_section = None;
    if let Ok(sections) = header.sections(endian, content) {
        if let Some((_, section)) = sections.section_by_name(endian, b".dep-v0") {
            program.auditable = section.data(endian, content).ok().map(<[u8]>::to_vec);
            program.lacks_auditable = program.auditable.is_none();
        }
        if let Some((_, section)) = sections.section_by_name(endian, b".go.buildinfo") {
            go_section = section.data(endian, content).ok();
        }
    }
    program.go = go::read(&image, go_section);
    Ok(program)
}

/// Whether it says of itself that it is an executable.
fn read_dynamic<D: Dyn<Endian = Endianness>>(
    image: &Image<'_>,
    dynamic: &[D],
    endian: Endianness,
    program: &mut Program,
) -> bool {
    let entries = || dynamic.iter().take(DYNAMIC_MAX).take_while(|d| d.tag(endian) != elf::DT_NULL);
    let value = |tag| entries().find(|d| d.tag(endian) == tag).map(|d| d.val(endian));
    let is_pie = value(elf::DT_FLAGS_1).is_some_and(|flags| flags & PIE != 0);
    let Some(strings) = value(elf::DT_STRTAB).and_then(|address| image.at(address)) else { return is_pie };
    let string = |offset: u64| {
        let bytes = strings.get(usize::try_from(offset).ok()?..)?;
        let end = bytes.iter().take(TEXT_BYTES_MAX).position(|b| *b == 0)?;
        text(&bytes[..end])
    };
    let search = |tag| {
        value(tag).and_then(string).map(|path| path.split(':').map(str::to_owned).collect::<Vec<String>>())
    };
    program.soname = value(elf::DT_SONAME).and_then(string);
    program.run_path = search(elf::DT_RUNPATH).or_else(|| search(elf::DT_RPATH)).unwrap_or_default();
    let mut names_left = NAMES_BYTES_MAX;
    program.needed = entries()
        .filter(|d| d.tag(endian) == elf::DT_NEEDED)
        .filter_map(|d| string(d.val(endian)))
        .take(NEEDED_MAX)
        .take_while(|name| {
            let left = names_left.checked_sub(name.len());
            names_left = left.unwrap_or(0);
            left.is_some()
        })
        .collect();
    is_pie
}

/// `DF_1_PIE`
const PIE: u64 = 0x0800_0000;

fn text(bytes: &[u8]) -> Option<String> {
    (bytes.len() <= TEXT_BYTES_MAX).then(|| String::from_utf8_lossy(bytes).into_owned())
}

impl<'a> ReadRef<'a> for &'a FileContent {
    fn len(self) -> Result<u64, ()> {
        Ok(self.size())
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
        self.range(offset, size).ok_or(())
    }

    fn read_bytes_at_until(self, range: std::ops::Range<u64>, delimiter: u8) -> Result<&'a [u8], ()> {
        let length = range.end.checked_sub(range.start).ok_or(())?;
        let bytes = self.from(range.start).ok_or(())?;
        let bytes = &bytes[..bytes.len().min(usize::try_from(length).unwrap_or(usize::MAX))];
        let end = bytes.iter().position(|b| *b == delimiter).ok_or(())?;
        Ok(&bytes[..end])
    }
}

#[cfg(test)]
pub(crate) mod tests;
