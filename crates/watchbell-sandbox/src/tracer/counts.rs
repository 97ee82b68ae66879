//! What a container did: calls, and of few calls the arguments.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::syscalls::Arch;

/// Of these the value of one argument is noted: there a profile tells harmless from other uses.
const LOOKED_AT: [(&str, usize); 3] = [("socket", 0), ("socketpair", 0), ("personality", 0)];
/// Distinct values of one call; a task can make up as many as it likes.
const VALUES_MAX: usize = 64;
/// Distinct calls: without a filter below, numbers are the task's to choose.
const CALLS_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Counts {
    calls: BTreeMap<u32, Count>,
    /// Calls beyond [`CALLS_MAX`].
    left_out: u64,
}

#[derive(Debug, Default)]
struct Count {
    count: u64,
    /// By value of the argument looked at; none for other calls.
    values: BTreeMap<u32, u64>,
    /// There were more values than are kept.
    is_overfull: bool,
}

impl Counts {
    pub(super) fn note(&mut self, call: u32, args: &[u64; 6]) {
        if self.calls.len() >= CALLS_MAX && !self.calls.contains_key(&call) {
            self.left_out += 1;
            return;
        }
        let noted = self.calls.entry(call).or_default();
        noted.count += 1;
        let name = Arch::NATIVE.name(call);
        if let Some((_, argument)) = LOOKED_AT.iter().find(|(looked_at, _)| Some(*looked_at) == name) {
            // The kernel takes the low half of all of them.
            let value = args[*argument] as u32;
            if noted.values.len() < VALUES_MAX || noted.values.contains_key(&value) {
                *noted.values.entry(value).or_default() += 1;
            } else {
                noted.is_overfull = true;
            }
        }
    }

    /// A JSON document a line. Numbers and names of ours alone: nothing in it is a task's to choose but which and how many.
    pub(super) fn lines(&self, arch: Arch) -> String {
        let mut text = format!("{{\"architecture\":\"{}\"}}\n", arch.oci_name());
        for (call, Count { count, values, is_overfull }) in &self.calls {
            let name = arch.name(*call).map_or_else(|| format!("#{call}"), str::to_owned);
            // Writing to a string cannot fail.
            let _ = write!(text, "{{\"call\":\"{name}\",\"count\":{count}");
            if !values.is_empty() && !is_overfull {
                let values: Vec<String> = values.iter().map(|(v, n)| format!("\"{v}\":{n}")).collect();
                let _ = write!(text, ",\"values\":{{{}}}", values.join(","));
            }
            text.push_str("}\n");
        }
        if self.left_out > 0 {
            let _ = writeln!(text, "{{\"leftOut\":{}}}", self.left_out);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::{CALLS_MAX, Counts, VALUES_MAX};
    use crate::syscalls::{Arch, Known};

    fn number(name: &str) -> u32 {
        match Arch::NATIVE.number(name) {
            Known::Here(number) => number,
            _ => panic!("{name}"),
        }
    }

    #[test]
    fn calls_are_counted_and_some_arguments_told_apart() {
        let mut counts = Counts::default();
        let (read, socket) = (number("read"), number("socket"));
        for _ in 0..3 {
            counts.note(read, &[7; 6]);
        }
        for family in [1, 16, 1 | 1 << 32] {
            counts.note(socket, &[family, 0, 0, 0, 0, 0]);
        }
        counts.note(999, &[0; 6]);
        let mut lines: Vec<String> = counts.lines(Arch::NATIVE).lines().map(str::to_owned).collect();
        assert_eq!(lines.remove(0), format!("{{\"architecture\":\"{}\"}}", Arch::NATIVE.oci_name()));
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                "{\"call\":\"#999\",\"count\":1}",
                "{\"call\":\"read\",\"count\":3}",
                "{\"call\":\"socket\",\"count\":3,\"values\":{\"1\":2,\"16\":1}}",
            ]
        );
    }

    #[test]
    fn what_a_task_makes_up_is_bounded() {
        let mut counts = Counts::default();
        for n in 0..10_000 {
            counts.note(number("personality"), &[n, 0, 0, 0, 0, 0]);
            counts.note(10_000 + n as u32, &[0; 6]);
        }
        let noted = &counts.calls[&number("personality")];
        assert!(noted.values.len() == VALUES_MAX && noted.count == 10_000);
        let text = counts.lines(Arch::NATIVE);
        assert!(text.lines().count() == CALLS_MAX + 2 && text.len() < 64 << 10);
        assert!(text.ends_with("{\"leftOut\":8977}\n"), "{text}");
        assert!(text.contains("\"call\":\"personality\",\"count\":10000}"), "any value, then");
    }
}
