use std::net::TcpListener;
use std::path::{Path, PathBuf};

use serde_json::json;
use watchbell_cdi::{DIRS, Policy, Registry, State};
use watchbell_sandbox::doctor::{
    Check, DeviceSpecs, Facts, Listen, Outcome, Report, Runtime, Verdict, judge, probe,
};
use watchbell_sandbox::{OciRuntime, RuntimeVerdict, UidRanges};

use crate::args::Output;
use crate::datadir::{DataDir, Holder, holder};
use crate::exit::Failure;
use crate::output::{self, Format};

/// Says what this host offers, what is missing, and what to do about it
///
/// Each thing is tried, not looked up: at last a whole container is started up to its program. Nothing of the host is changed,
/// and no server is needed. Without root some things cannot be tried and are unknown. The exit code is 0 when `serve` can
/// start and keep all that it promises, else 1; what is only weaker than it could be does not count.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    data_dir: DataDir,
    /// Address that `serve` would listen on
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:6443")]
    listen: String,
    #[command(flatten)]
    output: Output,
}

/// Where runtimes are looked for: root's directories, whatever `PATH` says.
const DIRECTORIES: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
const RUNTIMES: [&str; 3] = ["runc", "crun", "runsc"];

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let dir = &args.data_dir.data_dir;
    let facts = probe(dir, UidRanges::default())
        .map_err(|e| Failure::Refused(format!("cannot look at this host: {e}")))?;
    let facts = Facts {
        listen: Some(listen(&args.listen, dir)),
        runtimes: RUNTIMES.iter().filter_map(|name| runtime(name)).collect(),
        device_specs: device_specs(),
        ..facts
    };
    let report = judge(&facts);
    show(&facts, &report, args.output.output)?;
    let lacking: Vec<&str> = report.refusals().map(|check| check.name).collect();
    if lacking.is_empty() {
        return Ok(());
    }
    Err(Failure::Refused(format!("serve would not start here: {}", lacking.join(", "))))
}

fn listen(address: &str, dir: &Path) -> Listen {
    let outcome = match TcpListener::bind(address) {
        Ok(_) => Outcome::Works,
        Err(error) => Outcome::Fails(error.to_string()),
    };
    // Who may not look cannot know.
    let is_served = matches!(holder(dir), Ok(Holder::Server));
    Listen { address: address.to_owned(), is_served, outcome }
}

fn runtime(name: &str) -> Option<Runtime> {
    let path = DIRECTORIES.iter().map(|dir| PathBuf::from(dir).join(name)).find(|path| path.is_file())?;
    let asked = watchbell_sandbox::probe(&OciRuntime { name: name.to_owned(), path: path.clone() });
    let (version, problem) = match asked {
        RuntimeVerdict::Answers(line) => (Some(line), None),
        RuntimeVerdict::Unusable(why) => (None, Some(why)),
    };
    Some(Runtime { name: name.to_owned(), path, version, problem })
}

fn device_specs() -> DeviceSpecs {
    let registry = Registry::load(&DIRS.map(PathBuf::from), &Policy::default());
    let mut specs = DeviceSpecs {
        devices: registry.pools().into_iter().map(|(kind, devices)| (kind, devices.len())).collect(),
        problems: Vec::new(),
    };
    specs.problems.extend(registry.problems().iter().map(|p| format!("{}: {}", p.path.display(), p.reason)));
    specs.problems.extend(registry.found().into_iter().filter_map(|found| match found.state {
        State::Unusable(why) => Some(format!("{}: {why}", found.name)),
        State::Usable | State::Alias(_) | State::Several => None,
    }));
    specs
}

fn show(facts: &Facts, report: &Report, format: Option<Format>) -> Result<(), Failure> {
    match format {
        None | Some(Format::Wide) => {
            let is_wide = format.is_some();
            output::raw(table(report, is_wide).as_bytes());
            Ok(())
        }
        Some(Format::Name) => {
            for check in report.checks.iter().filter(|check| check.verdict != Verdict::Ok) {
                output::data(check.name);
            }
            Ok(())
        }
        Some(format) => {
            let value = json!({
                "apiVersion": "watchbell.dev/v1alpha1", "kind": "HostReport",
                "canServe": report.can_serve(), "checks": report.checks, "facts": facts,
            });
            output::whole(&value, format)
        }
    }
}

/// A line a check; below those that are not well what they are for and what to do, and with `is_wide` below all.
fn table(report: &Report, is_wide: bool) -> String {
    let width = report.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    report.checks.iter().map(|check| lines(check, width, is_wide)).collect()
}

fn lines(check: &Check, width: usize, is_wide: bool) -> String {
    let verdict = match (check.verdict, check.required) {
        (Verdict::Ok, _) => "ok",
        (Verdict::Missing, _) => "MISSING",
        (Verdict::Weaker, _) => "weaker",
        (Verdict::Unknown, true) => "UNKNOWN",
        (Verdict::Unknown, false) => "unknown",
    };
    let mut text = format!("{verdict:<8} {:<width$}  {}\n", check.name, output::plain(&check.found));
    if is_wide || check.verdict != Verdict::Ok {
        text.push_str(&format!("         for: {}\n", check.purpose));
    }
    if !check.advice.is_empty() {
        text.push_str(&format!("         do:  {}\n", check.advice));
    }
    text
}
