//! Real containers: needs root, and a static busybox to put into an image. Without them it says so and tests nothing.

#![expect(clippy::print_stdout, reason = "a test program of its own tells what it does")]

mod arrays;
mod rig;
mod scenes;
mod sessions;

use std::process::ExitCode;

use rig::BUSYBOX;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let _program = args.next();
    let arguments: Vec<_> = args.collect();
    // As the spawner's client starts this very program.
    match arguments.first().and_then(|a| a.to_str()) {
        Some("spawner") => return watchbell_sandbox::spawner_main(arguments.into_iter().skip(1)),
        Some("keeper") => return watchbell_sandbox::keeper_main(arguments.into_iter().skip(1)),
        Some("tracer") => return watchbell_sandbox::tracer_main(arguments.into_iter().skip(1)),
        Some("unpacker") => {
            let confinement = watchbell_sandbox::Confinement::parse(arguments.into_iter().skip(1));
            let confinement = confinement.expect("as the store writes it");
            return watchbell_sandbox::confined(
                &confinement,
                watchbell_sandbox::Directory::ToFill,
                watchbell_image::unpacker_main,
            )
            .expect("the confinement");
        }
        _ => {}
    }
    let filter = arguments.iter().filter_map(|a| a.to_str()).find(|a| !a.starts_with('-'));
    let wanted = scenes::ALL.iter().filter(|(name, _)| filter.is_none_or(|f| name.contains(f)));
    if arguments.iter().any(|a| a == "--list") {
        for (name, _) in wanted {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    if let Some(reason) = missing() {
        println!("SKIPPED: no container is started: {reason}");
        return ExitCode::SUCCESS;
    }
    let mut failed = Vec::new();
    for (name, scene) in wanted {
        match std::panic::catch_unwind(scene) {
            Ok(()) => println!("test {name} ... ok"),
            Err(_) => {
                println!("test {name} ... FAILED");
                failed.push(*name);
            }
        }
    }
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("failed: {}", failed.join(", "));
    ExitCode::FAILURE
}

fn missing() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("it must be run as root");
    }
    let program = std::fs::read(BUSYBOX).unwrap_or_default();
    if program.is_empty() {
        return Some("install the package busybox-static");
    }
    // A program that asks for an interpreter is not static.
    if program.windows(15).any(|w| w == b"/lib64/ld-linux" || w.starts_with(b"/lib/ld-linux")) {
        return Some("/bin/busybox is not static; install the package busybox-static");
    }
    None
}
