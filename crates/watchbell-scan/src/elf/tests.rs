use super::{Program, Role, wanted_ranges};
use crate::layers::FileContent;

/// A small file of 64 bits, made by hand: header, program headers, contents, section headers.
pub(crate) struct ElfFile {
    file_type: u16,
    interpreter: Option<&'static str>,
    soname: String,
    needed: Vec<&'static str>,
    sections: Vec<(&'static str, Vec<u8>)>,
    go: Option<Vec<u8>>,
}

const BASE: u64 = 0x40_0000;

impl ElfFile {
    pub(crate) fn executable() -> Self {
        Self {
            file_type: 3,
            interpreter: Some("/lib64/ld-linux-x86-64.so.2"),
            soname: String::new(),
            needed: Vec::new(),
            sections: Vec::new(),
            go: None,
        }
    }

    pub(crate) fn library(soname: &str) -> Self {
        Self { interpreter: None, soname: soname.to_owned(), ..Self::executable() }
    }

    pub(crate) fn needs(mut self, name: &'static str) -> Self {
        self.needed.push(name);
        self
    }

    pub(crate) fn section(mut self, name: &'static str, content: Vec<u8>) -> Self {
        self.sections.push((name, content));
        self
    }

    /// Build information in the form of Go 1.18 and later.
    pub(crate) fn go(mut self, version: &str, modules: &str) -> Self {
        let mut info = b"\xff Go buildinf:\x08\x02".to_vec();
        info.resize(32, 0);
        let guarded = [&[1u8; 16][..], modules.as_bytes(), &[2; 16]].concat();
        for string in [version.as_bytes(), &guarded] {
            let mut length = string.len();
            while length >= 0x80 {
                info.push(length as u8 | 0x80);
                length >>= 7;
            }
            info.push(length as u8);
            info.extend_from_slice(string);
        }
        self.go = Some(info);
        self
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        self.build(true)
    }

    pub(crate) fn build(self, with_sections: bool) -> Vec<u8> {
        const HEADERS: usize = 64 + 5 * 56;
        let mut file = vec![0u8; HEADERS];
        let mut program_headers: Vec<(u32, u32, u64, u64)> = Vec::new();
        let put = |file: &mut Vec<u8>, bytes: &[u8]| {
            file.resize(file.len().next_multiple_of(16), 0);
            let at = file.len() as u64;
            file.extend_from_slice(bytes);
            (at, bytes.len() as u64)
        };
        if let Some(path) = self.interpreter {
            let (at, size) = put(&mut file, format!("{path}\0").as_bytes());
            program_headers.push((3, 4, at, size));
        }
        let mut strings = b"\0".to_vec();
        let mut dynamic: Vec<(u64, u64)> = Vec::new();
        let mut word = |text: &str| {
            let at = strings.len() as u64;
            strings.extend_from_slice(text.as_bytes());
            strings.push(0);
            at
        };
        for name in &self.needed {
            dynamic.push((1, word(name)));
        }
        if !self.soname.is_empty() {
            dynamic.push((14, word(&self.soname)));
        }
        dynamic.push((29, word("$ORIGIN/../lib:/opt")));
        let (at, _) = put(&mut file, &strings);
        dynamic.push((5, BASE + at));
        dynamic.push((0, 0));
        let words: Vec<u8> =
            dynamic.iter().flat_map(|(t, v)| [t.to_le_bytes(), v.to_le_bytes()].concat()).collect();
        let (at, size) = put(&mut file, &words);
        program_headers.push((2, 6, at, size));
        let mut sections: Vec<(&str, u64, u64)> = Vec::new();
        if let Some(go) = &self.go {
            let (at, size) = put(&mut file, go);
            program_headers.push((1, 6, at, size));
            sections.push((".go.buildinfo", at, size));
        }
        for (name, content) in &self.sections {
            let (at, size) = put(&mut file, content);
            sections.push((name, at, size));
        }
        program_headers.push((1, 5, 0, file.len() as u64));
        let mut names = b"\0.shstrtab\0".to_vec();
        let mut headers: Vec<[u64; 4]> = vec![[0; 4]];
        for (name, at, size) in &sections {
            headers.push([names.len() as u64, 1, *at, *size]);
            names.extend_from_slice(name.as_bytes());
            names.push(0);
        }
        let (at, size) = put(&mut file, &names);
        headers.push([1, 3, at, size]);
        let table: Vec<u8> = headers
            .iter()
            .flat_map(|[name, kind, at, size]| {
                let mut header = vec![0u8; 64];
                header[..4].copy_from_slice(&(*name as u32).to_le_bytes());
                header[4..8].copy_from_slice(&(*kind as u32).to_le_bytes());
                header[24..32].copy_from_slice(&at.to_le_bytes());
                header[32..40].copy_from_slice(&size.to_le_bytes());
                header
            })
            .collect();
        let (section_headers, _) = put(&mut file, &table);
        file[..16].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
        file[16..18].copy_from_slice(&self.file_type.to_le_bytes());
        file[18..20].copy_from_slice(&62u16.to_le_bytes());
        file[20..24].copy_from_slice(&1u32.to_le_bytes());
        file[32..40].copy_from_slice(&64u64.to_le_bytes());
        for (at, value) in [(52, 64u16), (54, 56), (56, program_headers.len() as u16), (58, 64)] {
            file[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
        if with_sections {
            file[40..48].copy_from_slice(&section_headers.to_le_bytes());
            file[60..62].copy_from_slice(&(headers.len() as u16).to_le_bytes());
            file[62..64].copy_from_slice(&(headers.len() as u16 - 1).to_le_bytes());
        }
        for (index, (kind, flags, at, size)) in program_headers.into_iter().enumerate() {
            let header = &mut file[64 + index * 56..][..56];
            header[..4].copy_from_slice(&kind.to_le_bytes());
            header[4..8].copy_from_slice(&flags.to_le_bytes());
            header[8..16].copy_from_slice(&at.to_le_bytes());
            header[16..24].copy_from_slice(&(BASE + at).to_le_bytes());
            header[32..40].copy_from_slice(&size.to_le_bytes());
            header[40..48].copy_from_slice(&size.to_le_bytes());
        }
        file
    }
}

fn read(bytes: Vec<u8>) -> Program {
    Program::read(&FileContent::of(bytes)).unwrap()
}

#[test]
fn what_a_program_needs() {
    let program = read(ElfFile::executable().needs("libc.so.6").needs("libz.so.1").bytes());
    assert_eq!(program.role, Role::Executable);
    assert_eq!(program.interpreter.as_deref(), Some("/lib64/ld-linux-x86-64.so.2"));
    assert_eq!(program.needed, ["libc.so.6", "libz.so.1"]);
    assert_eq!(program.run_path, ["$ORIGIN/../lib", "/opt"]);
    let library = read(ElfFile::library("libx.so.1").bytes());
    assert_eq!((library.role, library.soname.as_deref()), (Role::Library, Some("libx.so.1")));
}

#[test]
fn this_very_program_reads_as_the_kernel_has_it() {
    let bytes = std::fs::read("/proc/self/exe").unwrap();
    let program = read(bytes);
    assert_eq!(program.role, Role::Executable);
    assert!(program.needed.iter().any(|n| n.starts_with("libc.")), "{:?}", program.needed);
    assert!(program.interpreter.unwrap().contains("ld-"));
}

#[test]
fn build_information_is_found_without_section_headers() {
    for with_sections in [true, false] {
        let go = read(ElfFile::executable().go("go1.22.3", "mod\ta\tv1\n").build(with_sections)).go.unwrap();
        assert_eq!((go.version.as_str(), go.modules.as_str()), ("go1.22.3", "mod\ta\tv1\n"));
    }
    assert_eq!(read(ElfFile::executable().bytes()).go, None);
}

#[test]
fn older_build_information_lies_behind_pointers() {
    // Two string headers and the strings, all in one segment.
    let mut info = b"\xff Go buildinf:\x08\x00".to_vec();
    info.resize(32, 0);
    let at = |offset: usize| BASE + 0x4000 + offset as u64;
    info[16..24].copy_from_slice(&at(32).to_le_bytes());
    info[24..32].copy_from_slice(&at(48).to_le_bytes());
    let modules = [&[1u8; 16][..], b"mod\ta\tv1\n", &[2; 16]].concat();
    for (address, length) in [(at(64), 8u64), (at(72), modules.len() as u64)] {
        info.extend_from_slice(&address.to_le_bytes());
        info.extend_from_slice(&length.to_le_bytes());
    }
    info.extend_from_slice(b"go1.17.9");
    info.extend_from_slice(&modules);
    let mut file = ElfFile { go: Some(info), ..ElfFile::executable() }.bytes();
    // The writable segment is put where the pointers lead.
    let index = (0..5).find(|i| file[64 + i * 56..][..8] == [1, 0, 0, 0, 6, 0, 0, 0]).unwrap();
    file[64 + index * 56 + 16..][..8].copy_from_slice(&at(0).to_le_bytes());
    let go = read(file.clone()).go.unwrap();
    assert_eq!((go.version.as_str(), go.modules.as_str()), ("go1.17.9", "mod\ta\tv1\n"));
    // A pointer to nowhere is no build information.
    file[64 + index * 56 + 16..][..8].copy_from_slice(&0x10u64.to_le_bytes());
    assert_eq!(read(file).go, None);
}

#[test]
fn every_cut_and_every_changed_byte_is_survived() {
    let whole = ElfFile::executable()
        .needs("libc.so.6")
        .go("go1.22.3", "mod\ta\tv1\n")
        .section(".dep-v0", vec![1])
        .bytes();
    for length in 0..whole.len() {
        let _ = Program::read(&FileContent::of(whole[..length].to_vec()));
        let _ = wanted_ranges(&whole[..length]);
    }
    for index in 0..whole.len() {
        for value in [0, 0x7f, 0xff] {
            let mut changed = whole.clone();
            changed[index] = value;
            let _ = wanted_ranges(&changed);
            let _ = Program::read(&FileContent::of(changed));
        }
    }
}
