//! The same filter with fewer instructions: the kernel checks, converts and compiles every one anew for each task.

use super::super::kernel::Instruction;
use super::bpf::is_return;

/// A longer program is not worth the search.
const LENGTH_MAX: usize = 1024;

/// Lets jumps to the same answer lead to one instruction, as far as a conditional jump reaches.
pub(super) fn share_answers(program: &[Instruction]) -> Vec<Instruction> {
    let mut short = program.to_vec();
    if program.len() <= LENGTH_MAX {
        // What goes brings others into reach, so until a pass finds nothing more.
        while one_pass(&mut short) {}
    }
    short
}

/// Whether anything was shared.
fn one_pass(program: &mut Vec<Instruction>) -> bool {
    let (length, mut at) = (program.len(), 0);
    while at < program.len() {
        match shared(program, at) {
            Some(same) => {
                lead_to(program, at, same);
                remove(program, at);
            }
            None => at += 1,
        }
    }
    program.len() < length
}

/// The last of the instructions that answer as this one does and that every jump to it reaches too.
fn shared(program: &[Instruction], answer: usize) -> Option<usize> {
    let is_fallen_into = answer > 0 && !is_jump(&program[answer - 1]) && !is_return(&program[answer - 1]);
    if !is_return(&program[answer]) || is_fallen_into {
        return None;
    }
    let first =
        (0..answer).find(|at| is_conditional(&program[*at]) && targets(program, *at).contains(&answer));
    let reached = first.map_or(program.len(), |at| (at + 2 + usize::from(u8::MAX)).min(program.len()));
    (answer + 1..reached).rev().find(|at| program[*at] == program[answer])
}

fn lead_to(program: &mut [Instruction], answer: usize, same: usize) {
    for at in 0..answer {
        let over = |target: usize| if target == answer { same - at - 1 } else { target - at - 1 };
        let [yes, no] = targets(program, at).map(over);
        set_jumps(&mut program[at], yes, no);
    }
}

fn remove(program: &mut Vec<Instruction>, answer: usize) {
    for at in 0..answer {
        let over = |target: usize| target - at - 1 - usize::from(target > answer);
        let [yes, no] = targets(program, at).map(over);
        set_jumps(&mut program[at], yes, no);
    }
    program.remove(answer);
}

/// Where a jump leads; for others what comes next.
fn targets(program: &[Instruction], at: usize) -> [usize; 2] {
    let Instruction { jt, jf, k, .. } = program[at];
    match &program[at] {
        jump if is_conditional(jump) => [jt, jf].map(|over| at + 1 + usize::from(over)),
        jump if is_jump(jump) => [at + 1 + k as usize; 2],
        _ => [at + 1; 2],
    }
}

/// Both fit: they were looked at before.
fn set_jumps(instruction: &mut Instruction, yes: usize, no: usize) {
    if is_conditional(instruction) {
        (instruction.jt, instruction.jf) = (yes as u8, no as u8);
    } else if is_jump(instruction) {
        instruction.k = yes as u32;
    }
}

/// The class of jumps, and the one without a condition, of linux/bpf_common.h.
const CLASS: u16 = 0x07;
const JMP: u16 = 0x05;
const JMP_JA: u16 = 0x05;

fn is_jump(instruction: &Instruction) -> bool {
    instruction.code & CLASS == JMP
}

fn is_conditional(instruction: &Instruction) -> bool {
    is_jump(instruction) && instruction.code != JMP_JA
}

#[cfg(test)]
mod tests {
    use super::share_answers;
    use crate::start::kernel::Instruction;
    use crate::start::seccomp::bpf::{RET_ALLOW, RET_ERRNO, RET_KILL_PROCESS, run};

    fn insn(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
        Instruction { code, jt, jf, k }
    }

    /// A chain that answers `answers[n]` to call `n`, and kills the others.
    fn chain(answers: &[u32]) -> Vec<Instruction> {
        let mut program = vec![insn(0x20, 0, 0, 0)];
        for (number, answer) in answers.iter().enumerate() {
            program.extend([insn(0x15, 0, 1, number as u32), insn(0x06, 0, 0, *answer)]);
        }
        program.push(insn(0x06, 0, 0, RET_KILL_PROCESS));
        program
    }

    fn check(program: &[Instruction], calls: u32, expect_length: usize) {
        let short = share_answers(program);
        for number in 0..calls {
            let args = [u64::from(number); 6];
            assert_eq!(run(&short, 7, number, args).0, run(program, 7, number, args).0, "{number}");
        }
        assert_eq!(short.len(), expect_length);
    }

    #[test]
    fn the_answers_stay_the_same() {
        let (allow, refuse) = (RET_ALLOW, RET_ERRNO | 1);
        check(&chain(&[allow, refuse, allow, allow, refuse]), 9, 1 + 5 + 3);
        // An answer that is gone on to without a jump, and a jump without a condition.
        let fallen = [insn(0x20, 0, 0, 0), insn(0x06, 0, 0, allow)];
        check(&fallen, 3, 2);
        let always =
            [insn(0x20, 0, 0, 0), insn(0x05, 0, 0, 1), insn(0x06, 0, 0, refuse), insn(0x06, 0, 0, allow)];
        check(&always, 3, 4);
        // Longer than a conditional jump reaches: a few more answers on the way.
        check(&chain(&[allow; 300]), 310, 1 + 300 + 3);
    }
}
