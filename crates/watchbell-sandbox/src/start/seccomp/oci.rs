//! The same table for an OCI runtime, which compiles it with libseccomp.
//!
//! libseccomp takes one comparison an argument in a rule, and joins the rules of a call by OR. A value that is *not* allowed is
//! therefore told by all that differ from it: for each bit, those that agree in the bits above and differ in this one.

use serde_json::{Value, json};

use super::bpf::{Condition, Look, Row, Test, Verdict};
use super::table::{ALLOWED, EPERM};
use crate::syscalls::{Arch, Known};

/// The low half of an argument: what the kernel takes of an `int`, and what our own filter looks at.
const LOW: u64 = 0xffff_ffff;

/// The allow-list as `linux.seccomp` of the OCI runtime specification. Foreign architectures and x32, which are not listed, end
/// the process; calls newer than the table are ENOSYS in runc and crun by their own rule.
pub(crate) fn oci_profile() -> Value {
    let mut allowed: Vec<&str> = Vec::new();
    let mut rules = Vec::new();
    for entry in ALLOWED {
        let is_here = |name: &&str| matches!(Arch::NATIVE.number(name), Known::Here(_));
        let names: Vec<&str> = entry.calls.iter().copied().filter(is_here).collect();
        match entry.verdict {
            Verdict::Allow => allowed.extend(names),
            Verdict::Errno(errno) => {
                rules.push(json!({"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": errno}));
            }
            Verdict::If(condition) => {
                rules.extend(ways(condition).into_iter().map(|args| allow(&names, &args)));
            }
            // Any of its parts that does not hold will do.
            Verdict::Unless(row, _) => {
                let each = row.iter().flat_map(|look| without(*look));
                rules.extend(each.map(|args| allow(&names, &args)));
            }
            Verdict::IfAny(rows) => {
                let each = rows.rows.iter().flat_map(|row| products(row));
                rules.extend(each.map(|args| allow(&names, &args)));
            }
        }
    }
    allowed.sort_unstable();
    let mut syscalls = vec![json!({"names": allowed, "action": "SCMP_ACT_ALLOW"})];
    syscalls.extend(rules);
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "architectures": [Arch::NATIVE.oci_name()],
        "syscalls": syscalls,
    })
}

/// One comparison: the argument and `mask` is `value`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Is {
    argument: u8,
    mask: u64,
    value: u64,
}

fn allow(names: &[&str], args: &[Is]) -> Value {
    let compare = |is: &Is| json!({"index": is.argument, "value": is.mask, "valueTwo": is.value, "op": "SCMP_CMP_MASKED_EQ"});
    let args: Vec<Value> = args.iter().map(compare).collect();
    json!({"names": names, "action": "SCMP_ACT_ALLOW", "args": args})
}

/// The rules any of which lets the call pass.
fn ways(Condition { argument, test, .. }: Condition) -> Vec<Vec<Is>> {
    let is = |mask: u64, value: u64| vec![Is { argument, mask, value }];
    match test {
        Test::NoneOf(bits) => vec![is(u64::from(bits), 0)],
        Test::OneOf(values) => values.iter().map(|value| is(LOW, u64::from(*value))).collect(),
        Test::NoneOfThese(values) => {
            let mut all = Vec::new();
            outside(values, 31, 0, &mut all);
            all.into_iter().map(|(mask, value)| is(u64::from(mask), u64::from(value))).collect()
        }
    }
}

/// The ways in which an argument is none of the values; of a look at some of its bits these would have to be looked at alone.
fn without(Look { argument, bits, values }: Look) -> Vec<Vec<Is>> {
    debug_assert_eq!(bits, u32::MAX, "only whole values are told from others");
    ways(Condition { argument, test: Test::NoneOfThese(values), otherwise: EPERM })
}

/// What is none of `values`, all of which begin with `prefix` above `bit`: pairs of mask and value.
fn outside(values: &[u32], bit: u32, prefix: u32, out: &mut Vec<(u32, u32)>) {
    let mask = u32::MAX << bit;
    for begin in [prefix, prefix | 1 << bit] {
        let inside: Vec<u32> = values.iter().copied().filter(|value| value & mask == begin).collect();
        match (inside.is_empty(), bit) {
            (true, _) => out.push((mask, begin)),
            (false, 0) => {}
            (false, _) => outside(&inside, bit - 1, begin, out),
        }
    }
}

/// Every choice of one value for each argument of a row.
fn products(row: Row) -> Vec<Vec<Is>> {
    let mut all: Vec<Vec<Is>> = vec![Vec::new()];
    for Look { argument, bits, values } in row {
        all = all
            .iter()
            .flat_map(|begin| {
                values.iter().map(|value| {
                    let is = Is { argument: *argument, mask: u64::from(*bits), value: u64::from(*value) };
                    begin.iter().copied().chain([is]).collect()
                })
            })
            .collect();
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::bpf::{audit_arch, run};
    use super::super::table::NEVER_IOCTLS;
    use super::super::{base, verdicts};
    use super::*;
    use crate::SeccompBase;

    /// What libseccomp makes of the rules of one call.
    fn ask(profile: &Value, name: &str, args: [u64; 6]) -> u32 {
        let number = |value: &Value| value.as_u64().unwrap();
        let rules = profile["syscalls"].as_array().unwrap();
        let matching = rules.iter().find(|rule| {
            let is_named = rule["names"].as_array().unwrap().iter().any(|n| n == name);
            let holds = |arg: &Value| {
                assert_eq!(arg["op"], "SCMP_CMP_MASKED_EQ");
                args[number(&arg["index"]) as usize] & number(&arg["value"]) == number(&arg["valueTwo"])
            };
            is_named && rule["args"].as_array().is_none_or(|args| args.iter().all(holds))
        });
        match matching.map(|rule| (rule["action"].as_str().unwrap(), rule)) {
            Some(("SCMP_ACT_ALLOW", _)) => 0x7fff_0000,
            Some(("SCMP_ACT_ERRNO", rule)) => 0x0005_0000 | number(&rule["errnoRet"]) as u32,
            Some((other, _)) => panic!("{other}"),
            None => 0x0005_0001,
        }
    }

    /// Whether a call passes, or its error where the table names one for all cases.
    fn agree(found: u32, ours: u32) -> bool {
        found == ours || (found == 0x0005_0001 && ours >> 16 == 5)
    }

    #[test]
    fn it_lets_pass_what_our_own_filter_does() {
        let profile = oci_profile();
        let values = [
            0, 1, 2, 6, 9, 10, 16, 17, 38, 40, 0x5401, 0x5411, 0x5412, 0x5413, 0x541c, 0x5423, 0x5424,
            0x8940, 0x89a1,
        ];
        let more = [
            0x80,
            0x0400_0000,
            0x1000_0000,
            0x003d_0f00,
            0x0002_0000,
            0xffff_ffff,
            0x1_0000_5412,
            0x1_0000_0001,
        ];
        for entry in ALLOWED {
            for name in entry.calls {
                let Known::Here(call) = Arch::NATIVE.number(name) else { continue };
                for first in values.iter().chain(&more) {
                    for second in values.iter().chain(&more) {
                        for third in [0, 1, 6, 17, 33, 38, 58, 115, 132, 255, 256, 262] {
                            let args = [*first, *second, third, 0, 0, 0];
                            let ours =
                                run(base(SeccompBase::Default), audit_arch(Arch::NATIVE), call, args).0;
                            let found = ask(&profile, name, args);
                            assert!(agree(found, ours), "{name} {args:x?}: {found:x} for {ours:x}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn only_the_values_named_are_left_out() {
        let mut cover = Vec::new();
        outside(NEVER_IOCTLS, 31, 0, &mut cover);
        let passes = |value: u32| cover.iter().filter(|(mask, begin)| value & mask == *begin).count();
        for value in (0..0x1_0000).chain([u32::MAX, 0x8000_5412]) {
            assert_eq!(passes(value), usize::from(!NEVER_IOCTLS.contains(&value)), "{value:x}");
        }
    }

    #[test]
    fn every_call_of_this_architecture_is_in_it() {
        let profile = oci_profile();
        let rules = profile["syscalls"].as_array().unwrap().iter();
        let names: std::collections::BTreeSet<&str> =
            rules.flat_map(|rule| rule["names"].as_array().unwrap()).filter_map(Value::as_str).collect();
        assert_eq!(names.len(), verdicts(Arch::NATIVE, ALLOWED).count());
    }
}
