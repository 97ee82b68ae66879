//! The program: one command a file in `cmd/`, and the wiring of the crates.
//!
//! ```text
//!   watchbell serve ─▶ store ─▶ server's state ◀─▶ node ─▶ spawner, keeper     (cmd/serve.rs joins them)
//!   watchbell get … ─▶ client ══ HTTPS ══▶ a running server, or any Kubernetes API server
//!   watchbell image … ─▶ the image store, or the server that holds it
//! ```
//!
//! The only crate that prints or exits.

#![expect(clippy::exit, reason = "the binary is what exits")]

mod args;
mod array_keys;
mod audit_export;
mod bounds;
mod client;
mod cmd;
mod datadir;
mod duration;
mod exit;
mod issuers;
mod job;
mod kubeconfig;
mod log;
mod log_follow;
mod machine;
mod manifest;
mod output;
mod patch;
mod session;
mod socket;
mod target;
mod token_issuer;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    // The helpers of the sandbox come first: their arguments are a matter between two processes of one program.
    if let Some(code) = cmd::helper::main() {
        return code;
    }
    let cli = args::Cli::parse();
    let done = cmd::run(&cli);
    // That its output was lost is told too; the exit code is what the command came to.
    let failures = [output::outcome().err(), done.err()];
    let mut code = ExitCode::SUCCESS;
    for failure in failures.into_iter().flatten() {
        match failure {
            // It is no error of ours.
            exit::Failure::Remote(_) => output::note(&failure.to_string()),
            exit::Failure::Found => {}
            _ => output::note(&format!("error: {failure}")),
        }
        code = failure.code();
    }
    code
}
