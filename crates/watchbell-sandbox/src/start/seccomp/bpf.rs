//! From a table of verdicts to a filter program that finds its entry by binary search.
//!
//! A linear filter of the same policy costs several hundred instructions for a late system call; this one about twenty.

use super::super::kernel::Instruction;

/// What the filter answers for one system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allow,
    /// Fails with this error number.
    Errno(u16),
    /// Ends the whole process: only an attack gets here.
    Kill,
    /// Looks at an argument first.
    If(Condition),
    /// Looks at several.
    IfAny(Rows),
}

/// Allowed when in any row each of the arguments is one of the values beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rows {
    pub(crate) rows: &'static [&'static [(u8, &'static [u32])]],
    pub(crate) otherwise: u16,
}

/// A look at the low 32 bits of one argument (its high ones must be 0 where that matters: flags of `clone` are 64 bits
/// wide in the kernel only for clone3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) argument: u8,
    pub(crate) test: Test,
    pub(crate) otherwise: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Test {
    /// None of these bits.
    NoneOf(u32),
    OneOf(&'static [u32]),
    NoneOfThese(&'static [u32]),
}

const LD_W_ABS: u16 = 0x20;
const JMP_JA: u16 = 0x05;
const JMP_JEQ_K: u16 = 0x15;
const JMP_JGE_K: u16 = 0x35;
const JMP_JSET_K: u16 = 0x45;
const RET_K: u16 = 0x06;

const RET_KILL_PROCESS: u32 = 0x8000_0000;
const RET_ERRNO: u32 = 0x0005_0000;
const RET_ALLOW: u32 = 0x7fff_0000;

// Offsets in `struct seccomp_data`.
const NR: u32 = 0;
const ARCH: u32 = 4;
const ARGS: u32 = 16;

fn insn(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
    Instruction { code, jt, jf, k }
}

/// Compiles the verdicts of the numbers named, `EPERM` for those between, and `ENOSYS` above the last: a program then
/// takes an old kernel's way.
pub(crate) fn compile(arch: u32, foreign_from: Option<u32>, verdicts: &[(u32, Verdict)]) -> Vec<Instruction> {
    const EPERM: u16 = 1;
    const ENOSYS: u16 = 38;
    let mut sorted = verdicts.to_vec();
    sorted.sort_by_key(|(number, _)| *number);
    let mut runs: Vec<(u32, Verdict)> = vec![(0, Verdict::Errno(EPERM))];
    let mut start = |at: u32, verdict: Verdict| match runs.last_mut() {
        Some((from, last)) if *from == at => *last = verdict,
        Some((_, last)) if *last == verdict => {}
        _ => runs.push((at, verdict)),
    };
    for (number, verdict) in &sorted {
        start(*number, *verdict);
        start(*number + 1, Verdict::Errno(EPERM));
    }
    start(super::LAST_KNOWN + 1, Verdict::Errno(ENOSYS));
    if let Some(foreign) = foreign_from {
        start(foreign, Verdict::Kill);
    }
    let mut program = vec![
        // A filter that does not look at the architecture is walked around by `int 0x80`.
        insn(LD_W_ABS, 0, 0, ARCH),
        insn(JMP_JEQ_K, 1, 0, arch),
        insn(RET_K, 0, 0, RET_KILL_PROCESS),
        insn(LD_W_ABS, 0, 0, NR),
    ];
    program.extend(search(&runs));
    program
}

/// Finds the last run that begins at or below the number in the accumulator.
fn search(runs: &[(u32, Verdict)]) -> Vec<Instruction> {
    if let [(_, verdict)] = runs {
        return answer(*verdict);
    }
    let (low, high) = runs.split_at(runs.len() / 2);
    let (below, above) = (search(low), search(high));
    let mut code = vec![insn(JMP_JGE_K, 0, 1, high[0].0), insn(JMP_JA, 0, 0, below.len() as u32)];
    code.extend(below);
    code.extend(above);
    code
}

fn answer(verdict: Verdict) -> Vec<Instruction> {
    match verdict {
        Verdict::Allow => vec![insn(RET_K, 0, 0, RET_ALLOW)],
        Verdict::Errno(errno) => vec![insn(RET_K, 0, 0, RET_ERRNO | u32::from(errno))],
        Verdict::Kill => vec![insn(RET_K, 0, 0, RET_KILL_PROCESS)],
        Verdict::If(condition) => check(condition),
        Verdict::IfAny(Rows { rows, otherwise }) => {
            let mut code: Vec<Instruction> = rows.iter().flat_map(|row| check_row(row)).collect();
            code.push(insn(RET_K, 0, 0, RET_ERRNO | u32::from(otherwise)));
            code
        }
    }
}

/// Allows, or goes on behind its own end. Made from the end, so that the way there is known.
fn check_row(row: &[(u8, &[u32])]) -> Vec<Instruction> {
    let mut code = vec![insn(RET_K, 0, 0, RET_ALLOW)];
    for (argument, values) in row.iter().rev() {
        let mut look = vec![insn(LD_W_ABS, 0, 0, ARGS + 8 * u32::from(*argument))];
        for (n, value) in values.iter().enumerate() {
            let left = values.len() - n - 1;
            let otherwise = if left == 0 { code.len() } else { 0 };
            look.push(insn(JMP_JEQ_K, left as u8, otherwise as u8, *value));
        }
        look.extend(code);
        code = look;
    }
    code
}

fn check(Condition { argument, test, otherwise }: Condition) -> Vec<Instruction> {
    let allow = insn(RET_K, 0, 0, RET_ALLOW);
    let refuse = insn(RET_K, 0, 0, RET_ERRNO | u32::from(otherwise));
    let low = insn(LD_W_ABS, 0, 0, ARGS + 8 * u32::from(argument));
    let mut code = vec![low];
    match test {
        Test::NoneOf(bits) => code.extend([insn(JMP_JSET_K, 1, 0, bits), allow, refuse]),
        Test::OneOf(values) => {
            for (n, value) in values.iter().enumerate() {
                // To the `allow` behind the last comparison and the `refuse`.
                code.push(insn(JMP_JEQ_K, (values.len() - n) as u8, 0, *value));
            }
            code.extend([refuse, allow]);
        }
        Test::NoneOfThese(values) => {
            for (n, value) in values.iter().enumerate() {
                code.push(insn(JMP_JEQ_K, (values.len() - n) as u8, 0, *value));
            }
            code.extend([allow, refuse]);
        }
    }
    code
}

/// The filter as the kernel would run it; tests and `explain` ask it.
#[cfg(test)]
pub(crate) fn run(program: &[Instruction], arch: u32, number: u32, args: [u64; 6]) -> u32 {
    let load = |offset: u32| match offset {
        NR => number,
        ARCH => arch,
        _ => {
            let at = offset - ARGS;
            (args[(at / 8) as usize] >> (if at.is_multiple_of(8) { 0 } else { 32 })) as u32
        }
    };
    let (mut pc, mut accumulator) = (0usize, 0u32);
    loop {
        let Instruction { code, jt, jf, k } = program[pc];
        pc += 1;
        let jump = |holds: bool| usize::from(if holds { jt } else { jf });
        match code {
            LD_W_ABS => accumulator = load(k),
            JMP_JA => pc += k as usize,
            JMP_JEQ_K => pc += jump(accumulator == k),
            JMP_JGE_K => pc += jump(accumulator >= k),
            JMP_JSET_K => pc += jump(accumulator & k != 0),
            RET_K => return k,
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}
