//! The compiled program of a profile against its meaning, spelled out slowly.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::select;

use super::super::bpf::{audit_arch, run};
use super::super::profile::{TooLong, compile};
use super::super::profiles::{KEPT_MAX, Profiles};
use super::super::table::LAST_KNOWN;
use super::{ALLOW, BOTH, KILL, errno};
use crate::syscalls::{Arch, Known};
use crate::{SeccompAction, SeccompBase, SeccompCondition, SeccompOp, SeccompProfile, SeccompRule};

/// What a profile says of one call: of the rules that match the strictest, and the first of several that are as strict.
fn slowly(profile: &SeccompProfile, arch: Arch, call: u32, args: [u64; 6]) -> u32 {
    let is_of_default = |action: SeccompAction| action == profile.default;
    let rules: Vec<&SeccompRule> = profile.rules.iter().filter(|rule| rule.call == call).collect();
    let holds = |c: &SeccompCondition| {
        let argument = args[usize::from(c.argument)];
        match c.op {
            SeccompOp::NotEqual => argument != c.value,
            SeccompOp::LessThan => argument < c.value,
            SeccompOp::LessOrEqual => argument <= c.value,
            SeccompOp::Equal => argument == c.value,
            SeccompOp::GreaterOrEqual => argument >= c.value,
            SeccompOp::GreaterThan => argument > c.value,
            SeccompOp::MaskedEqual { mask } => argument & mask == c.value,
        }
    };
    let matching =
        rules.iter().filter(|rule| !is_of_default(rule.action) && rule.conditions.iter().all(holds));
    let action = matching.map(|rule| rule.action).min_by_key(|action| action.leniency());
    let is_missing = call > LAST_KNOWN || (rules.is_empty() && arch.number("clone3") == Known::Here(call));
    match (action.unwrap_or(profile.default), action) {
        (SeccompAction::Errno(_), None) if is_missing => errno(38),
        (SeccompAction::Errno(e), _) => errno(u32::from(e)),
        (SeccompAction::Allow, _) => ALLOW,
        (SeccompAction::Log, _) => 0x7ffc_0000,
        (SeccompAction::Trap, _) => 0x0003_0000,
        (SeccompAction::KillThread, _) => 0,
        (SeccompAction::KillProcess, _) => KILL,
    }
}

fn action() -> impl Strategy<Value = SeccompAction> {
    prop_oneof![
        3 => Just(SeccompAction::Allow),
        1 => Just(SeccompAction::Log),
        2 => (0u16..4096).prop_map(SeccompAction::Errno),
        1 => Just(SeccompAction::Errno(1)),
        1 => Just(SeccompAction::Trap),
        1 => Just(SeccompAction::KillThread),
        1 => Just(SeccompAction::KillProcess),
    ]
}

/// Values near one another, in either half of the 64 bits.
fn value() -> impl Strategy<Value = u64> {
    let half = || prop_oneof![4 => 0u32..4, 1 => Just(u32::MAX), 1 => any::<u32>()];
    (half(), half()).prop_map(|(high, low)| u64::from(high) << 32 | u64::from(low))
}

fn condition() -> impl Strategy<Value = SeccompCondition> {
    let plain = select(vec![
        SeccompOp::NotEqual,
        SeccompOp::LessThan,
        SeccompOp::LessOrEqual,
        SeccompOp::Equal,
        SeccompOp::GreaterOrEqual,
        SeccompOp::GreaterThan,
    ]);
    let op = prop_oneof![6 => plain, 2 => value().prop_map(|mask| SeccompOp::MaskedEqual { mask })];
    (0u8..6, op, value()).prop_map(|(argument, op, value)| SeccompCondition { argument, op, value })
}

fn call() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0u32..30, 2 => 0u32..LAST_KNOWN + 20, 1 => Just(435)]
}

fn profile() -> impl Strategy<Value = SeccompProfile> {
    let rule = (call(), action(), vec(condition(), 0..=6))
        .prop_map(|(call, action, conditions)| SeccompRule { call, action, conditions });
    (action(), vec(rule, 0..40), any::<bool>()).prop_map(|(default, mut rules, log)| {
        rules.sort_by_key(|rule| rule.call);
        SeccompProfile { base: SeccompBase::Default, default, rules, log }
    })
}

proptest! {
    #[test]
    fn the_program_answers_as_the_profile_says(
        profile in profile(), calls in vec((call(), vec(value(), 6)), 1..60)
    ) {
        profile.check().unwrap();
        for arch in BOTH {
            let program = compile(&profile, arch).unwrap();
            for (number, args) in &calls {
                let args: [u64; 6] = args.as_slice().try_into().unwrap();
                let (found, _) = run(&program, audit_arch(arch), *number, args);
                prop_assert_eq!(found, slowly(&profile, arch, *number, args), "{} {:x?}", number, args);
            }
        }
    }

    /// Every pair of values that a comparison may tell apart.
    #[test]
    fn each_comparison_looks_at_all_64_bits(condition in condition(), near in value(), far in any::<u64>()) {
        let rules = vec![SeccompRule { call: 7, action: SeccompAction::Allow, conditions: vec![condition] }];
        let profile =
            SeccompProfile { base: SeccompBase::Default, default: SeccompAction::Errno(1), rules, log: false };
        let program = compile(&profile, Arch::X86_64).unwrap();
        for argument in [near, far, condition.value, condition.value ^ 1, condition.value ^ 1 << 32, !condition.value] {
            let mut args = [0; 6];
            args[usize::from(condition.argument)] = argument;
            let (found, _) = run(&program, audit_arch(Arch::X86_64), 7, args);
            prop_assert_eq!(found, slowly(&profile, Arch::X86_64, 7, args), "{:x}", argument);
        }
    }
}

fn allow_list(calls: impl IntoIterator<Item = u32>) -> SeccompProfile {
    let rule = |call| SeccompRule { call, action: SeccompAction::Allow, conditions: Vec::new() };
    let rules = calls.into_iter().map(rule).collect();
    SeccompProfile { base: SeccompBase::Default, default: SeccompAction::Errno(1), rules, log: false }
}

#[test]
fn a_large_profile_is_searched_and_not_walked_through() {
    // Every other call, so that no two are neighbours.
    let profile = allow_list((0..=LAST_KNOWN).step_by(2));
    let program = compile(&profile, Arch::X86_64).unwrap();
    let steps = |call| run(&program, audit_arch(Arch::X86_64), call, [0; 6]).1;
    let most = (0..=LAST_KNOWN).map(steps).max().unwrap();
    assert!(most <= 16, "{most} of {} instructions", program.len());
}

#[test]
fn what_the_kernel_would_not_take_is_refused() {
    let condition = |value| SeccompCondition { argument: 0, op: SeccompOp::Equal, value };
    let rule =
        |value| SeccompRule { call: 1, action: SeccompAction::Allow, conditions: vec![condition(value)] };
    let profile = SeccompProfile { rules: (0..1000).map(rule).collect(), ..allow_list([]) };
    profile.check().unwrap();
    assert_eq!(compile(&profile, Arch::X86_64).map(|p| p.len()), Err(TooLong(5016)));
    let profile = SeccompProfile { rules: (0..800).map(rule).collect(), ..allow_list([]) };
    let program = compile(&profile, Arch::X86_64).unwrap();
    assert_eq!(run(&program, audit_arch(Arch::X86_64), 1, [799, 0, 0, 0, 0, 0]).0, ALLOW);
    assert_eq!(run(&program, audit_arch(Arch::X86_64), 1, [800, 0, 0, 0, 0, 0]).0, errno(1));
    assert_eq!(run(&program, audit_arch(Arch::X86_64), 2, [0; 6]).0, errno(1));
}

#[test]
fn equal_profiles_share_one_program_and_few_are_kept() {
    let mut profiles = Profiles::default();
    let first = profiles.get(&allow_list([1])).unwrap();
    assert!(Arc::ptr_eq(&first, &profiles.get(&allow_list([1])).unwrap()));
    assert!(!Arc::ptr_eq(&first, &profiles.get(&allow_list([2])).unwrap()));
    for call in 0..3 * KEPT_MAX as u32 {
        profiles.get(&allow_list([call])).unwrap();
    }
    assert_eq!(profiles.len(), KEPT_MAX);
    assert!(!Arc::ptr_eq(&first, &profiles.get(&allow_list([1])).unwrap()), "it made room");
}

#[test]
fn profiles_outside_their_bounds_are_refused() {
    let check = |change: &dyn Fn(&mut SeccompProfile), part: &str| {
        let mut profile = allow_list([1, 2]);
        change(&mut profile);
        assert_eq!(profile.check().map_err(|e| e.reason.contains(part)), Err(true), "{part}");
    };
    check(&|p| p.rules.reverse(), "order");
    check(&|p| p.rules = allow_list(0..5000).rules, "4096");
    check(&|p| p.default = SeccompAction::Errno(4096), "4095");
    check(&|p| p.rules[0].action = SeccompAction::Errno(u16::MAX), "4095");
    check(&|p| p.rules[1].call = 0x4000_0000, "another architecture");
    let condition = SeccompCondition { argument: 6, op: SeccompOp::Equal, value: 0 };
    check(&|p| p.rules[0].conditions = vec![condition], "sixth");
    let condition = SeccompCondition { argument: 0, ..condition };
    check(&|p| p.rules[0].conditions = vec![condition; 7], "six");
}

/// The counterpart of tools/seccomp/libseccomp_length.py.
#[test]
#[ignore = "measures the profile that the variable PROFILE names"]
#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
fn how_many_instructions_a_call_takes() {
    let file = std::env::var_os("PROFILE").expect("PROFILE names a file");
    let facts = crate::ProfileFacts {
        base: SeccompBase::Floor,
        capabilities: crate::Capabilities::NONE,
        kernel: (6, 12),
    };
    let profile = SeccompProfile::from_json(&std::fs::read(file).unwrap(), &facts).unwrap();
    println!("beyond the default: {}", profile.beyond_default().join(" "));
    let programs = [
        ("profile", compile(&profile, Arch::NATIVE).unwrap()),
        ("default", super::default_for(Arch::NATIVE)),
        ("floor", super::floor_for(Arch::NATIVE)),
    ];
    for (name, program) in programs {
        let each = (0..=LAST_KNOWN).map(|call| run(&program, audit_arch(Arch::NATIVE), call, [0; 6]));
        let counts: Vec<usize> = each.filter(|(answer, _)| *answer == ALLOW).map(|(_, n)| n).collect();
        let mean = counts.iter().sum::<usize>() as f64 / counts.len() as f64;
        let most = counts.iter().max().copied().unwrap_or(0);
        println!(
            "{name}: {} instructions; an allowed call takes {mean:.1} on average, {most} at most; {} calls",
            program.len(),
            counts.len()
        );
    }
}
