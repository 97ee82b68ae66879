//! The language of admission policies against others' word for it: the conformance suite of CEL's specification, and Google's own
//! C++ implementation on expressions that are made up. Every difference has a name and a reason.
//!
//! Both are installed by tools/test/setup; without them the tests say so and are left out.

mod conformance;
mod generated;
mod values;

use std::path::{Path, PathBuf};

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from)
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cel").join(name)
}

#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
fn tell(text: &str) {
    eprintln!("{text}");
}
