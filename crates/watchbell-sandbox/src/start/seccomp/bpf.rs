//! From a table of verdicts to a filter program that finds its entry by binary search.
//!
//! A linear filter of the same policy costs several hundred instructions for a late system call; this one about twenty
//! (docs/benchmarks.md).

use std::collections::BTreeMap;

use super::super::kernel::Instruction;
use super::short::share_answers;
use super::table::LAST_KNOWN;
use crate::SeccompOp;
use crate::syscalls::Arch;

/// What the filter answers for one system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Allow,
    /// Fails with this error number.
    Errno(u16),
    /// Looks at an argument first.
    If(Condition),
    /// Looks at several.
    IfAny(Rows),
    /// Fails with this error number when the row holds.
    Unless(Row, u16),
}

/// Allowed when any row holds; otherwise an error, which may be another for some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rows {
    pub(crate) rows: &'static [Row],
    /// The first that holds says which error.
    pub(crate) refused: &'static [(Row, u16)],
    pub(crate) otherwise: u16,
}

/// Holds when each of the arguments, of which all other bits are left out, is one of the values beside it.
pub(super) type Row = &'static [Look];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    pub(crate) argument: u8,
    pub(crate) bits: u32,
    pub(crate) values: &'static [u32],
}

/// A look at the low 32 bits as they are.
pub(super) const fn is(argument: u8, values: &'static [u32]) -> Look {
    Look { argument, bits: u32::MAX, values }
}

/// A look at the low 32 bits of one argument (its high ones must be 0 where that matters: flags of `clone` are 64 bits
/// wide in the kernel only for clone3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    pub(crate) argument: u8,
    pub(crate) test: Test,
    pub(crate) otherwise: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Test {
    /// None of these bits.
    NoneOf(u32),
    OneOf(&'static [u32]),
    NoneOfThese(&'static [u32]),
}

const LD_W_ABS: u16 = 0x20;
const JMP_JA: u16 = 0x05;
const JMP_JEQ_K: u16 = 0x15;
const JMP_JGE_K: u16 = 0x35;
const JMP_JGT_K: u16 = 0x25;
const JMP_JSET_K: u16 = 0x45;
const ALU_AND_K: u16 = 0x54;
const RET_K: u16 = 0x06;

pub(super) const RET_KILL_PROCESS: u32 = 0x8000_0000;
pub(super) const RET_KILL_THREAD: u32 = 0;
pub(super) const RET_TRAP: u32 = 0x0003_0000;
pub(super) const RET_ERRNO: u32 = 0x0005_0000;
pub(super) const RET_USER_NOTIF: u32 = 0x7fc0_0000;
pub(super) const RET_LOG: u32 = 0x7ffc_0000;
pub(super) const RET_ALLOW: u32 = 0x7fff_0000;

/// x32 calls have the architecture of the others, and numbers from here on.
const X32: u32 = 0x4000_0000;

// Offsets in `struct seccomp_data`.
const NR: u32 = 0;
const ARCH: u32 = 4;
const ARGS: u32 = 16;

pub(super) fn is_return(instruction: &Instruction) -> bool {
    instruction.code == RET_K
}

fn insn(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
    Instruction { code, jt, jf, k }
}

/// The answers to all calls of an architecture.
pub(super) struct Answers {
    pub(crate) arch: Arch,
    /// To calls between those that are named, and to those above [`LAST_KNOWN`].
    pub(crate) unnamed: Vec<Instruction>,
    pub(crate) newer: Vec<Instruction>,
    pub(crate) named: BTreeMap<u32, Vec<Instruction>>,
}

/// Compiles answers to a program that kills what comes by another architecture.
pub(super) fn compile(answers: &Answers) -> Vec<Instruction> {
    let killed = [insn(RET_K, 0, 0, RET_KILL_PROCESS)];
    let mut runs = Runs(vec![(0, &answers.unnamed)]);
    for (number, code) in answers.named.range(..=LAST_KNOWN) {
        runs.set(*number, code, &answers.unnamed);
    }
    runs.begin(LAST_KNOWN + 1, &answers.newer);
    for (number, code) in answers.named.range(LAST_KNOWN + 1..X32) {
        runs.set(*number, code, &answers.newer);
    }
    if answers.arch == Arch::X86_64 {
        runs.begin(X32, &killed);
    }
    let Runs(runs) = runs;
    let mut program = vec![
        // A filter that does not look at the architecture is walked around by `int 0x80`.
        insn(LD_W_ABS, 0, 0, ARCH),
        insn(JMP_JEQ_K, 1, 0, audit_arch(answers.arch)),
        insn(RET_K, 0, 0, RET_KILL_PROCESS),
        insn(LD_W_ABS, 0, 0, NR),
    ];
    program.extend(search(&runs));
    share_answers(&program)
}

/// Asks about every call but `free` with these arguments.
pub(super) fn ask(arch: Arch, free: u32, with: &[Comparison]) -> Vec<Instruction> {
    let pass = clause(with, RET_ALLOW);
    let mut program = vec![
        insn(LD_W_ABS, 0, 0, ARCH),
        insn(JMP_JEQ_K, 1, 0, audit_arch(arch)),
        insn(RET_K, 0, 0, RET_ALLOW),
        insn(LD_W_ABS, 0, 0, NR),
        insn(JMP_JEQ_K, 0, pass.len() as u8, free),
    ];
    program.extend(pass);
    program.extend(returns(RET_USER_NOTIF));
    program
}

/// `AUDIT_ARCH_*` of linux/audit.h.
pub(super) fn audit_arch(arch: Arch) -> u32 {
    match arch {
        Arch::X86_64 => 0xc000_003e,
        Arch::Aarch64 => 0xc000_00b7,
    }
}

/// Where each answer begins that holds for all numbers up to the next.
struct Runs<'a>(Vec<(u32, &'a [Instruction])>);

impl<'a> Runs<'a> {
    fn begin(&mut self, at: u32, code: &'a [Instruction]) {
        if self.0.last().is_some_and(|(from, _)| *from == at) {
            self.0.pop();
        }
        if self.0.last().is_none_or(|(_, last)| *last != code) {
            self.0.push((at, code));
        }
    }

    /// One number, and what holds behind it.
    fn set(&mut self, number: u32, code: &'a [Instruction], behind: &'a [Instruction]) {
        self.begin(number, code);
        self.begin(number + 1, behind);
    }
}

/// Finds the last run that begins at or below the number in the accumulator.
fn search(runs: &[(u32, &[Instruction])]) -> Vec<Instruction> {
    match runs {
        [(_, code)] => return code.to_vec(),
        // One number among others.
        [(_, around), (from, code), (to, same)] if around == same && from + 1 == *to => {
            if let Ok(over) = u8::try_from(around.len()) {
                let mut look = vec![insn(JMP_JEQ_K, over, 0, *from)];
                look.extend_from_slice(around);
                look.extend_from_slice(code);
                return look;
            }
        }
        _ => {}
    }
    let (low, high) = runs.split_at(runs.len() / 2);
    let (below, above) = (search(low), search(high));
    let mut code = match u8::try_from(below.len()) {
        Ok(over) => vec![insn(JMP_JGE_K, over, 0, high[0].0)],
        // Too far for a conditional jump.
        Err(_) => vec![insn(JMP_JGE_K, 0, 1, high[0].0), insn(JMP_JA, 0, 0, below.len() as u32)],
    };
    code.extend(below);
    code.extend(above);
    code
}

/// Ends the program with this answer.
pub(super) fn returns(answer: u32) -> Vec<Instruction> {
    vec![insn(RET_K, 0, 0, answer)]
}

/// A comparison of all 64 bits of an argument, as profiles write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Comparison {
    pub(crate) argument: u8,
    pub(crate) op: SeccompOp,
    pub(crate) value: u64,
}

/// `answer` when all comparisons hold; goes on behind its own end otherwise. Made from the end, so that the way there is known:
/// at most six comparisons of six instructions, which a conditional jump crosses.
pub(super) fn clause(comparisons: &[Comparison], answer: u32) -> Vec<Instruction> {
    let mut code = returns(answer);
    for comparison in comparisons.iter().rev() {
        let mut look = compare(comparison, code.len() as u8);
        look.extend(code);
        code = look;
    }
    code
}

/// Goes on when it holds, and skips `rest` instructions more when not. Arguments have 64 bits and the program words of 32: the
/// high half decides first.
fn compare(&Comparison { argument, op, value }: &Comparison, rest: u8) -> Vec<Instruction> {
    let (high, low) = ((value >> 32) as u32, value as u32);
    let at = ARGS + 8 * u32::from(argument);
    let (load_high, load_low) = (insn(LD_W_ABS, 0, 0, at + 4), insn(LD_W_ABS, 0, 0, at));
    let ordered = |last: Instruction| {
        let (above, below) = match op {
            SeccompOp::GreaterThan | SeccompOp::GreaterOrEqual => (3, 2 + rest),
            _ => (3 + rest, 2),
        };
        vec![load_high, insn(JMP_JGT_K, above, 0, high), insn(JMP_JEQ_K, 0, below, high), load_low, last]
    };
    match op {
        SeccompOp::Equal => {
            vec![load_high, insn(JMP_JEQ_K, 0, 2 + rest, high), load_low, insn(JMP_JEQ_K, 0, rest, low)]
        }
        SeccompOp::NotEqual => {
            vec![load_high, insn(JMP_JEQ_K, 0, 2, high), load_low, insn(JMP_JEQ_K, rest, 0, low)]
        }
        SeccompOp::GreaterThan => ordered(insn(JMP_JGT_K, 0, rest, low)),
        SeccompOp::GreaterOrEqual => ordered(insn(JMP_JGE_K, 0, rest, low)),
        SeccompOp::LessThan => ordered(insn(JMP_JGE_K, rest, 0, low)),
        SeccompOp::LessOrEqual => ordered(insn(JMP_JGT_K, rest, 0, low)),
        SeccompOp::MaskedEqual { mask } => vec![
            load_high,
            insn(ALU_AND_K, 0, 0, (mask >> 32) as u32),
            insn(JMP_JEQ_K, 0, 3 + rest, high),
            load_low,
            insn(ALU_AND_K, 0, 0, mask as u32),
            insn(JMP_JEQ_K, 0, rest, low),
        ],
    }
}

/// The code of one verdict of our own tables.
pub(super) fn answer(verdict: Verdict) -> Vec<Instruction> {
    match verdict {
        Verdict::Allow => vec![insn(RET_K, 0, 0, RET_ALLOW)],
        Verdict::Errno(errno) => vec![insn(RET_K, 0, 0, RET_ERRNO | u32::from(errno))],
        Verdict::If(condition) => check(condition),
        Verdict::Unless(row, errno) => {
            let mut code = check_row(row, RET_ERRNO | u32::from(errno));
            code.push(insn(RET_K, 0, 0, RET_ALLOW));
            code
        }
        Verdict::IfAny(Rows { rows, refused, otherwise }) => {
            let allowed = rows.iter().flat_map(|row| check_row(row, RET_ALLOW));
            let refused =
                refused.iter().flat_map(|(row, errno)| check_row(row, RET_ERRNO | u32::from(*errno)));
            let mut code: Vec<Instruction> = allowed.chain(refused).collect();
            code.push(insn(RET_K, 0, 0, RET_ERRNO | u32::from(otherwise)));
            code
        }
    }
}

/// Answers, or goes on behind its own end. Made from the end, so that the way there is known.
fn check_row(row: Row, answer: u32) -> Vec<Instruction> {
    let mut code = returns(answer);
    for Look { argument, bits, values } in row.iter().rev() {
        let mut look = vec![insn(LD_W_ABS, 0, 0, ARGS + 8 * u32::from(*argument))];
        if *bits != u32::MAX {
            look.push(insn(ALU_AND_K, 0, 0, *bits));
        }
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

/// The filter as the kernel would run it: what it answers, and after how many instructions.
#[cfg(test)]
pub(super) fn run(program: &[Instruction], arch: u32, number: u32, args: [u64; 6]) -> (u32, usize) {
    let load = |offset: u32| match offset {
        NR => number,
        ARCH => arch,
        _ => {
            let at = offset - ARGS;
            (args[(at / 8) as usize] >> (if at.is_multiple_of(8) { 0 } else { 32 })) as u32
        }
    };
    let (mut pc, mut accumulator, mut count) = (0usize, 0u32, 0usize);
    loop {
        let Instruction { code, jt, jf, k } = program[pc];
        pc += 1;
        count += 1;
        let jump = |holds: bool| usize::from(if holds { jt } else { jf });
        match code {
            LD_W_ABS => accumulator = load(k),
            JMP_JA => pc += k as usize,
            JMP_JEQ_K => pc += jump(accumulator == k),
            JMP_JGE_K => pc += jump(accumulator >= k),
            JMP_JGT_K => pc += jump(accumulator > k),
            ALU_AND_K => accumulator &= k,
            JMP_JSET_K => pc += jump(accumulator & k != 0),
            RET_K => return (k, count),
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}
