//! Which socket of a namespace takes a connection: decided by a BPF program of the kind `sk_lookup`, which the kernel asks before it
//! looks for a listener on the port. It needs no module and no rule set, and keeps nothing of a connection.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::super::kernel::checked;

// linux/bpf.h.
const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_MAP_TYPE_SOCKMAP: u32 = 15;
const BPF_PROG_TYPE_SK_LOOKUP: u32 = 30;
const BPF_SK_LOOKUP: u32 = 36;
/// How an instruction names a map (BPF_PSEUDO_MAP_FD).
const BY_DESCRIPTOR: u8 = 1;
const MAP_LOOKUP_ELEM: i32 = 1;
const SK_RELEASE: i32 = 86;
const SK_ASSIGN: i32 = 124;
const SK_DROP: i32 = 0;
const SK_PASS: i32 = 1;
/// The helpers are for programs under this licence alone; ours is under both.
const LICENCE: &std::ffi::CStr = c"Dual MIT/GPL";

/// Places in the map of listeners.
const V4: i32 = 0;
const V6: i32 = 1;

/// Holds the program in its place.
pub(super) struct Steering {
    _link: OwnedFd,
}

impl Steering {
    /// `listeners` for IPv4 and IPv6; connections of a family that has none are refused.
    pub(super) fn attach(
        listeners: [Option<BorrowedFd<'_>>; 2],
        namespace: BorrowedFd<'_>,
    ) -> io::Result<Self> {
        let map = create_map(listeners.len() as u32).map_err(|e| named("make a map of sockets", e))?;
        for (key, listener) in (0u32..).zip(listeners) {
            let Some(listener) = listener else { continue };
            update(&map, key, listener).map_err(|e| named("put a listener into the map", e))?;
        }
        let program = load(&program(map.as_raw_fd())).map_err(|e| named("load the program", e))?;
        let link = link(&program, namespace).map_err(|e| named("attach the program", e))?;
        Ok(Self { _link: link })
    }
}

fn named(step: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {step} that leads connections to the gate (bpf): {error}"))
}

/// `struct bpf_insn`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    code: u8,
    /// The destination in the low half.
    registers: u8,
    offset: i16,
    immediate: i32,
}

const fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: to | from << 4, offset, immediate }
}

/// A line of the program: an instruction, one that goes to a label, or the label.
enum Line {
    Do(Instruction),
    Go(Instruction, Label),
    At(Label),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Label {
    OfV6,
    ToListener,
    Pass,
    Refuse,
}

use Label::{OfV6, Pass, Refuse, ToListener};
use Line::{At, Do, Go};

/// to = from
const fn copy(to: u8, from: u8) -> Line {
    Do(instruction(0xbf, to, from, 0, 0))
}

/// to = value
const fn set(to: u8, value: i32) -> Line {
    Do(instruction(0xb7, to, 0, 0, value))
}

/// to = *(u32 *)(context + offset)
const fn load_word(to: u8, offset: i16) -> Line {
    Do(instruction(0x61, to, CONTEXT, offset, 0))
}

const fn if_is(register: u8, value: i32, label: Label) -> Line {
    Go(instruction(0x15, register, 0, 0, value), label)
}

const fn if_is_not(register: u8, value: i32, label: Label) -> Line {
    Go(instruction(0x55, register, 0, 0, value), label)
}

const fn go(label: Label) -> Line {
    Go(instruction(0x05, 0, 0, 0, 0), label)
}

const fn call(helper: i32) -> Line {
    Do(instruction(0x85, 0, 0, 0, helper))
}

const EXIT: Line = Do(instruction(0x95, 0, 0, 0, 0));

/// Registers: what a call answers and what it is given, those that stay over calls, the end of the stack.
const ANSWER: u8 = 0;
const FIRST: u8 = 1;
const SECOND: u8 = 2;
const THIRD: u8 = 3;
const CONTEXT: u8 = 6;
const LISTENER: u8 = 7;
const RESULT: u8 = 8;
const STACK: u8 = 10;

/// Fields of `struct bpf_sk_lookup`. Addresses lie there as on the wire.
const FAMILY: i16 = 8;
const PROTOCOL: i16 = 12;
const LOCAL_V4: i16 = 40;
const LOCAL_V6: i16 = 44;
const TCP: i32 = 6;
const AF_INET6: i32 = 10;

/// TCP to any address but loopback's (127.0.0.0/8, ::1) goes to the listener of its family; all else, as without a program, to
/// whichever socket of the pod is bound there.
fn program(map: i32) -> Vec<Instruction> {
    // As they are seen in words that lie in the order of the wire.
    let loopback_v4 = i32::from_ne_bytes([127, 0, 0, 0]);
    let first_octet = i32::from_ne_bytes([255, 0, 0, 0]);
    let end_of_loopback_v6 = i32::from_ne_bytes([0, 0, 0, 1]);
    assemble(&[
        copy(CONTEXT, FIRST),
        load_word(SECOND, PROTOCOL),
        if_is_not(SECOND, TCP, Pass),
        load_word(SECOND, FAMILY),
        if_is(SECOND, AF_INET6, OfV6),
        load_word(SECOND, LOCAL_V4),
        Do(instruction(0x57, SECOND, 0, 0, first_octet)), // SECOND &= first_octet
        if_is(SECOND, loopback_v4, Pass),
        set(LISTENER, V4),
        go(ToListener),
        At(OfV6),
        set(LISTENER, V6),
        load_word(SECOND, LOCAL_V6),
        if_is_not(SECOND, 0, ToListener),
        load_word(SECOND, LOCAL_V6 + 4),
        if_is_not(SECOND, 0, ToListener),
        load_word(SECOND, LOCAL_V6 + 8),
        if_is_not(SECOND, 0, ToListener),
        load_word(SECOND, LOCAL_V6 + 12),
        if_is(SECOND, end_of_loopback_v6, Pass),
        At(ToListener),
        Do(instruction(0x63, STACK, LISTENER, -4, 0)), // *(u32 *)(STACK - 4) = LISTENER
        copy(SECOND, STACK),
        Do(instruction(0x07, SECOND, 0, 0, -4)), // SECOND += -4
        Do(instruction(0x18, FIRST, BY_DESCRIPTOR, 0, map)), // one instruction in two
        Do(instruction(0, 0, 0, 0, 0)),
        call(MAP_LOOKUP_ELEM),
        if_is(ANSWER, 0, Refuse),
        copy(LISTENER, ANSWER),
        copy(FIRST, CONTEXT),
        copy(SECOND, LISTENER),
        set(THIRD, 0),
        call(SK_ASSIGN),
        copy(RESULT, ANSWER),
        copy(FIRST, LISTENER),
        call(SK_RELEASE),
        if_is_not(RESULT, 0, Refuse),
        At(Pass),
        set(ANSWER, SK_PASS),
        EXIT,
        At(Refuse),
        set(ANSWER, SK_DROP),
        EXIT,
    ])
}

/// Puts the distances to labels in. One that is nowhere would lead out of the program, which the kernel refuses.
fn assemble(lines: &[Line]) -> Vec<Instruction> {
    let is_instruction = |line: &&Line| !matches!(line, At(_));
    let place = |label: Label| {
        let before = lines.iter().take_while(|line| !matches!(line, At(at) if *at == label));
        before.filter(is_instruction).count()
    };
    let instructions = lines.iter().filter(is_instruction).enumerate();
    instructions
        .filter_map(|(at, line)| match line {
            Do(instruction) => Some(*instruction),
            Go(instruction, label) => {
                let offset = place(*label) as i16 - at as i16 - 1;
                Some(Instruction { offset, ..*instruction })
            }
            At(_) => None,
        })
        .collect()
}

#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

#[repr(C)]
struct MapUpdate {
    map: u32,
    _padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

#[repr(C)]
struct LinkCreate {
    prog: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
}

/// # Safety
/// `attributes` is what the command reads, and every address in it is valid during the call.
unsafe fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<libc::c_long> {
    // SAFETY: the kernel reads as many bytes as it is told; of addresses in them the caller answers.
    checked(unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) })
}

/// # Safety
/// As for [`bpf`], of a command that answers with a new descriptor.
unsafe fn bpf_descriptor<T>(command: libc::c_int, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: as the caller promises.
    let fd = unsafe { bpf(command, attributes) }?;
    // SAFETY: the kernel has just made it, and nobody else knows of it. It closes by exec, as all of bpf's do.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}

fn create_map(max_entries: u32) -> io::Result<OwnedFd> {
    let (map_type, key_size, value_size) = (BPF_MAP_TYPE_SOCKMAP, 4, 8);
    let attributes = MapCreate { map_type, key_size, value_size, max_entries, map_flags: 0 };
    // SAFETY: no address in it.
    unsafe { bpf_descriptor(BPF_MAP_CREATE, &attributes) }
}

fn update(map: &OwnedFd, key: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
    let value = socket.as_raw_fd() as u64;
    let attributes = MapUpdate {
        map: map.as_raw_fd() as u32,
        _padding: 0,
        key: &raw const key as u64,
        value: &raw const value as u64,
        flags: 0,
    };
    // SAFETY: key and value have the sizes of the map's and outlive the call.
    unsafe { bpf(BPF_MAP_UPDATE_ELEM, &attributes) }.map(drop)
}

fn load(instructions: &[Instruction]) -> io::Result<OwnedFd> {
    let attributes = ProgLoad {
        prog_type: BPF_PROG_TYPE_SK_LOOKUP,
        insn_cnt: instructions.len() as u32,
        insns: instructions.as_ptr() as u64,
        license: LICENCE.as_ptr() as u64,
        prog_name: *b"watchbell_door\0\0",
        expected_attach_type: BPF_SK_LOOKUP,
        ..ProgLoad::default()
    };
    // SAFETY: the instructions are as many as is said, the licence ends with a NUL, and both outlive the call.
    unsafe { bpf_descriptor(BPF_PROG_LOAD, &attributes) }
}

fn link(program: &OwnedFd, namespace: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let attributes = LinkCreate {
        prog: program.as_raw_fd() as u32,
        target: namespace.as_raw_fd() as u32,
        attach_type: BPF_SK_LOOKUP,
        flags: 0,
    };
    // SAFETY: no address in it.
    unsafe { bpf_descriptor(BPF_LINK_CREATE, &attributes) }
}

#[cfg(test)]
mod tests {
    use super::program;

    /// The kernel checks far more, but only where a test may load programs.
    #[test]
    fn jumps_lead_forward_and_stay_inside() {
        let instructions = program(3);
        let jumps = instructions.iter().enumerate().filter(|(_, i)| matches!(i.code, 0x05 | 0x15 | 0x55));
        for (at, jump) in jumps {
            let target = at as i64 + 1 + i64::from(jump.offset);
            assert!(jump.offset >= 0 && target < instructions.len() as i64, "{at}: {jump:?}");
            assert_ne!(instructions[target as usize].code, 0, "into the middle of an instruction");
        }
        assert!(instructions.last().is_some_and(|last| last.code == 0x95));
    }
}
