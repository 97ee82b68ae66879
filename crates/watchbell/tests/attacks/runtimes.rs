//! The same attempts from a pod that runc or crun started from our spec.

use crate::calls::other_than_default;
use crate::host::Host;
use crate::program::{job, outcomes, printed, stand_with_program};
use crate::stand::{is_left_out, which};

/// What is refused in other words: libseccomp has one error for all that a call's conditions leave out.
const OTHERWISE: [&str; 5] =
    ["netfilter EPERM", "af-alg EPERM", "af-alg-high-bits EPERM", "af-packet EPERM", "af-vsock EPERM"];

#[test]
fn under_an_oci_runtime_no_more_is_reached() {
    if is_left_out(&["cc", "runc", "crun"]) {
        return;
    }
    let names = ["runc", "crun"];
    let given = names.map(|name| format!("{name}={}", which(name).unwrap().display())).join(",");
    let (mut stand, _) = stand_with_program(&["--runtime", &given]);
    let host = Host::look();
    for name in names {
        stand.apply(&format!(
            "apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {{name: {name}}}\nhandler: {name}\n"
        ));
        let pod = format!("runtimeClassName: {name},");
        let found = outcomes(&printed(&mut stand, "default", name, &job(name, &["calls"], &pod, "")));
        host.assert_unchanged();
        let mut other = other_than_default(&found);
        other.retain(|line| !OTHERWISE.contains(&line.as_str()));
        assert!(other.is_empty(), "{name}: {other:#?}");
    }
    stand.end();
}
