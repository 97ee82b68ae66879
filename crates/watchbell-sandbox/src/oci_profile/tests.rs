use serde_json::{Value, json};

use super::{ProfileFacts, SeccompProfile};
use crate::syscalls::{Arch, Known};
use crate::{Capabilities, SeccompAction, SeccompBase, SeccompCondition, SeccompOp};

const FACTS: ProfileFacts =
    ProfileFacts { base: SeccompBase::Default, capabilities: Capabilities::NONE, kernel: (6, 12) };

fn read(profile: &Value) -> Result<SeccompProfile, String> {
    SeccompProfile::from_json(profile.to_string().as_bytes(), &FACTS).map_err(|e| e.to_string())
}

fn number(name: &str) -> u32 {
    match Arch::NATIVE.number(name) {
        Known::Here(number) => number,
        _ => panic!("{name}"),
    }
}

/// A profile that starts programs, with one rule more.
fn with(rule: Value) -> Value {
    json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["execve"], "action": "SCMP_ACT_ALLOW"}, rule]})
}

fn rules_of(profile: &SeccompProfile, name: &str) -> Vec<(SeccompAction, Vec<SeccompCondition>)> {
    let rules = profile.rules.iter().filter(|rule| rule.call == number(name));
    rules.map(|rule| (rule.action, rule.conditions.clone())).collect()
}

/// Docker's grammar, every part of it: written for this test.
const LIKE_DOCKERS: &str = include_str!("like_dockers.json");
/// As runc's documentation and `runc spec` have it.
const LIKE_RUNCS: &str = include_str!("like_runcs.json");

#[test]
fn profiles_in_dockers_and_in_ocis_grammar_are_read() {
    let docker = SeccompProfile::from_json(LIKE_DOCKERS.as_bytes(), &FACTS).unwrap();
    assert_eq!(docker.default, SeccompAction::Errno(1));
    assert_eq!(docker.beyond_default(), ["name_to_handle_at"], "by a kernel of 4.8 and newer");
    assert!(
        docker.never_allowed().is_empty(),
        "its rules for capabilities that the container lacks are left out"
    );
    let mask = SeccompOp::MaskedEqual { mask: 2_114_060_288 };
    let clone = SeccompCondition { argument: 0, op: mask, value: 0 };
    assert_eq!(rules_of(&docker, "clone"), [(SeccompAction::Allow, vec![clone])]);
    assert_eq!(rules_of(&docker, "clone3"), [(SeccompAction::Errno(38), vec![])]);
    let admin = ProfileFacts { capabilities: "SYS_ADMIN".parse().unwrap(), ..FACTS };
    let admin = SeccompProfile::from_json(LIKE_DOCKERS.as_bytes(), &admin).unwrap();
    assert_eq!(admin.never_allowed(), ["mount", "setns", "unshare"]);

    let runc = SeccompProfile::from_json(LIKE_RUNCS.as_bytes(), &FACTS).unwrap();
    assert_eq!((runc.default, runc.log), (SeccompAction::Allow, true));
    assert_eq!(rules_of(&runc, "getcwd"), [(SeccompAction::Errno(38), vec![])]);
    assert_eq!(rules_of(&runc, "chmod").len(), usize::from(Arch::NATIVE == Arch::X86_64));
    assert!(runc.beyond_default().len() > 40);
}

#[test]
fn actions_are_taken_or_refused_with_the_reason() {
    let check = |name: &str, expect: Result<SeccompAction, &str>| {
        let found = read(&with(json!({"names": ["read"], "action": name})));
        match expect {
            Ok(action) => assert_eq!(rules_of(&found.unwrap(), "read"), [(action, vec![])]),
            Err(part) => {
                let error = found.unwrap_err();
                assert!(error.starts_with("syscalls[1].action: ") && error.contains(part), "{error}");
            }
        }
    };
    check("SCMP_ACT_ALLOW", Ok(SeccompAction::Allow));
    check("SCMP_ACT_LOG", Ok(SeccompAction::Log));
    check("SCMP_ACT_KILL", Ok(SeccompAction::KillThread));
    check("SCMP_ACT_KILL_THREAD", Ok(SeccompAction::KillThread));
    check("SCMP_ACT_KILL_PROCESS", Ok(SeccompAction::KillProcess));
    check("SCMP_ACT_TRAP", Ok(SeccompAction::Trap));
    check("SCMP_ACT_ERRNO", Ok(SeccompAction::Errno(1)));
    check("SCMP_ACT_TRACE", Err("no tracer attends a container"));
    check("SCMP_ACT_NOTIFY", Err("nobody would answer"));
    check("ALLOW", Err("is no action"));
    let errno = |rule: Value| read(&with(rule)).map(|p| rules_of(&p, "read"));
    assert_eq!(
        errno(json!({"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13})),
        Ok(vec![(SeccompAction::Errno(13), vec![])])
    );
    assert_eq!(
        errno(json!({"names": ["read"], "action": "SCMP_ACT_ERRNO", "errno": "ENOSYS"})),
        Ok(vec![(SeccompAction::Errno(38), vec![])])
    );
    let refused = |rule: Value, part: &str| {
        let error = errno(rule).unwrap_err();
        assert!(error.contains(part), "{error}");
    };
    refused(json!({"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096}), "above 4095");
    refused(json!({"names": ["read"], "action": "SCMP_ACT_ERRNO", "errno": "EWHAT"}), "give its number");
    refused(
        json!({"names": ["read"], "action": "SCMP_ACT_ALLOW", "errnoRet": 1}),
        "goes with SCMP_ACT_ERRNO",
    );
}

#[test]
fn several_conditions_on_one_argument_are_alternatives() {
    let arg = |index: u32, value: u64| json!({"index": index, "value": value, "op": "SCMP_CMP_EQ"});
    let condition = |argument, value| SeccompCondition { argument, op: SeccompOp::Equal, value };
    let check = |args: Value, expect: Vec<Vec<SeccompCondition>>| {
        let profile =
            read(&with(json!({"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": args}))).unwrap();
        let found: Vec<_> =
            rules_of(&profile, "socket").into_iter().map(|(_, conditions)| conditions).collect();
        assert_eq!(found, expect);
    };
    check(json!([arg(0, 1), arg(1, 2)]), vec![vec![condition(0, 1), condition(1, 2)]]);
    check(json!([arg(0, 1), arg(0, 2)]), vec![vec![condition(0, 1)], vec![condition(0, 2)]]);
    check(json!(null), vec![vec![]]);
    check(json!([]), vec![vec![]]);
}

#[test]
fn what_is_wrong_is_named() {
    let check = |profile: Value, part: &str| {
        let error = read(&profile).unwrap_err();
        assert!(error.contains(part), "{error}");
    };
    let rule = |more: Value| {
        let mut rule = json!({"names": ["read"], "action": "SCMP_ACT_ALLOW"});
        rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        with(rule)
    };
    let arg = |index: u32, op: &str, value: u64, two: u64| {
        rule(json!({"args": [{"index": index, "op": op, "value": value, "valueTwo": two}]}))
    };
    check(json!({}), "defaultAction");
    check(json!("SCMP_ACT_ALLOW"), "invalid type");
    check(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscals": []}), "unknown field `syscals`");
    check(rule(json!({"arg": []})), "unknown field `arg`");
    check(rule(json!({"names": []})), "syscalls[1].names: is empty");
    check(arg(6, "SCMP_CMP_EQ", 0, 0), "syscalls[1].args[0]: index 6 is above 5");
    check(arg(0, "SCMP_CMP_IS", 0, 0), "is no comparison");
    check(arg(0, "SCMP_CMP_MASKED_EQ", 0xf0, 0x0f), "would never hold");
    check(rule(json!({"includes": {"minKernel": "new"}})), "syscalls[1].includes.minKernel");
    check(json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": [], "archMap": []}), "use either");
    check(
        json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["amd64"]}),
        "\"amd64\" is no architecture",
    );
    check(json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x"}), "nobody would answer");
    let flags = |flag: &str| json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": [flag]});
    check(flags("SECCOMP_FILTER_FLAG_SPEC_ALLOW"), "speculation");
    check(flags("SECCOMP_FILTER_FLAG_NEW_LISTENER"), "has no meaning here");
    // Kubernetes' documentation has this one: in it nothing can be started.
    check(json!({"defaultAction": "SCMP_ACT_ERRNO"}), "execve is not allowed");
    // It allows what it means to refuse.
    check(
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["opneat"], "action": "SCMP_ACT_ERRNO"}]}),
        "\"opneat\" is no system call",
    );
    // To allow what is not there, or is elsewhere, changes nothing.
    assert!(read(&rule(json!({"names": ["read", "opneat", "socketcall", "s390_pci_mmio_read"]}))).is_ok());
    let many: Vec<Value> =
        (0..2000u64).map(|n| json!({"index": 0, "value": n, "op": "SCMP_CMP_EQ"})).collect();
    check(rule(json!({"args": many})), "the kernel takes 4096");
}

#[test]
fn what_a_profile_widens_is_told_by_name() {
    let check = |profile: Value, beyond: &[&str], never: &[&str]| {
        let profile = read(&profile).unwrap();
        assert_eq!((profile.beyond_default(), profile.never_allowed()), (beyond.to_vec(), never.to_vec()));
    };
    let allow = |names: Value| with(json!({"names": names, "action": "SCMP_ACT_ALLOW"}));
    check(allow(json!(["read", "socket", "clone", "clone3", "ioctl"])), &[], &[]);
    check(allow(json!(["ptrace", "read", "kexec_load"])), &["kexec_load", "ptrace"], &["kexec_load"]);
    let logged = json!({"names": ["ptrace"], "action": "SCMP_ACT_LOG",
        "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}]});
    check(with(logged), &["ptrace"], &[]);
    let trapped = with(json!({"names": ["ptrace"], "action": "SCMP_ACT_TRAP"}));
    check(trapped, &[], &[]);
    // Of a profile that names what it refuses, the floor keeps the rest; only what it names itself it claims.
    let all = read(&json!({"defaultAction": "SCMP_ACT_LOG"})).unwrap();
    assert!(all.beyond_default().contains(&"mount") && all.never_allowed().is_empty());
}

/// Files are read by the server's user, but hostile bytes are not to hurt it.
#[test]
fn no_bytes_panic() {
    proptest::proptest!(|(bytes: Vec<u8>)| {
        let _ = SeccompProfile::from_json(&bytes, &FACTS);
    });
    proptest::proptest!(|(at in 0..LIKE_DOCKERS.len(), byte: u8)| {
        let mut bytes = LIKE_DOCKERS.as_bytes().to_vec();
        bytes[at] = byte;
        let _ = SeccompProfile::from_json(&bytes, &FACTS);
    });
    let deep = "[".repeat(100_000);
    assert!(SeccompProfile::from_json(deep.as_bytes(), &FACTS).is_err());
}
