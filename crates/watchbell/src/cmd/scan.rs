use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::Value;
use watchbell_advisory::{Database, Error as DatabaseError, Severity};
use watchbell_image::{
    Attached, Digest, Error, ImageContent, Layout, Limits, Platform, PullOptions, Reference, Store,
    attached_remote,
};
use watchbell_scan::examine::{Examination, examine, examine_directory};
use watchbell_scan::finding::{UNVERSIONED, find, questions};
use watchbell_scan::report::{
    self, Evidence, Gaps, Gate, Knowledge, Options, Report, Statements, Subject, Tint, Unfixed, Unseen,
};
use watchbell_scan::vex::{IgnoreFile, ImageIdentity, VexDocument};
use watchbell_scan::{Inventory, attached_bills, is_bill, read_document};

use super::db::place::Db;
use super::image::bars::Bars;
use super::image::place::Temporary;
use super::image::registry::RegistryAccess;
use crate::datadir;
use crate::exit::Failure;
use crate::output::{self, Colour};

/// VEX documents and ignore files are small.
const DOCUMENT_BYTES_MAX: u64 = 128 << 20;
/// What could not be read is told, and not by the thousand.
const GAPS_SHOWN: usize = 20;
/// From this age on the advisories' age is told.
const OLD_DAYS: u64 = 7;

/// Finds out what is in an image, and what is known to be wrong with it
///
/// Without a server: packages, vulnerabilities, secrets, configuration, and how far the image is from a minimal one. Without
/// advisories (`watchbell db import`) the packages are listed and nothing is said of vulnerabilities.
///
/// Exit codes: 0 done; 1 --fail-on is met; 2 whether it is met is not known, the image or a file cannot be read, or the command
/// line is wrong. docs/scan.md describes the output.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// An image by name (from the store, else from its registry), oci:DIR or oci:DIR:TAG, docker-archive:FILE, dir:DIR (a root file
    /// system), or sbom:FILE (CycloneDX or SPDX)
    #[arg(value_name = "IMAGE")]
    target: String,
    /// table, json, sarif (SARIF 2.1.0), cyclonedx (1.6, with VEX), or spdx (2.3, packages alone)
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: ScanFormat,
    /// List only these, with commas between: critical, high, medium, low, none, unknown
    #[arg(long, value_name = "SEVERITIES", value_delimiter = ',', value_parser = severity)]
    severity: Vec<Severity>,
    /// The least severe finding that makes the command fail
    #[arg(long, value_name = "SEVERITY", value_parser = severity)]
    fail_on: Option<Severity>,
    /// What may have no advisories with --fail-on, with commas between, as the report calls it (Debian:12, PyPI, "deb of Docker"); *: anything
    #[arg(long, value_name = "ECOSYSTEMS", value_delimiter = ',', requires = "fail_on")]
    allow_uncovered: Vec<String>,
    /// Let --fail-on pass an image of which something could not be read
    #[arg(long, requires = "fail_on")]
    allow_gaps: bool,
    /// Leave out vulnerabilities that nobody has mended yet
    #[arg(long)]
    ignore_unfixed: bool,
    /// An OpenVEX document; repeat for more
    #[arg(long, value_name = "FILE")]
    vex: Vec<PathBuf>,
    /// Findings that somebody takes upon himself until a day, for a reason; repeat for more
    #[arg(long, value_name = "FILE")]
    ignore_file: Vec<PathBuf>,
    /// Where the packages are known from: the image's files, or a bill of materials that somebody attached to it (CycloneDX or
    /// SPDX, as an OCI referrer)
    #[arg(long, value_name = "SOURCE", default_value = "files")]
    sbom: BillSource,
    #[command(flatten)]
    db: Db,
    /// Take a named image from its registry, whatever lies in the store, and keep nothing of it
    #[arg(long)]
    no_cache: bool,
    /// Directory of the image store
    #[arg(long, value_name = "DIR", default_value_os_t = datadir::default())]
    data_dir: PathBuf,
    /// Which platform's image to take, such as linux/arm64; else this machine's
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    #[command(flatten)]
    access: RegistryAccess,
}

impl Args {
    fn platform(&self) -> Result<Platform, Failure> {
        match &self.platform {
            Some(platform) => Platform::parse(platform).map_err(Failure::usage),
            None => Ok(Platform::host()),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ScanFormat {
    Table,
    Json,
    Sarif,
    Cyclonedx,
    Spdx,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum BillSource {
    Files,
    Attached,
}

fn severity(text: &str) -> Result<Severity, String> {
    Severity::ALL
        .into_iter()
        .find(|severity| severity.as_str().eq_ignore_ascii_case(text))
        .ok_or_else(|| "there are critical, high, medium, low, none and unknown".to_owned())
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    // What people said is read first: a slip of the pen in it is told before an image is read for nothing.
    let statements = statements(args)?;
    let options = Options {
        fail_on: args.fail_on,
        listed: args.severity.iter().copied().collect::<BTreeSet<_>>(),
        unfixed: if args.ignore_unfixed { Unfixed::Ignored } else { Unfixed::Counts },
        uncovered_allowed: args.allow_uncovered.iter().cloned().collect(),
        gaps: if args.allow_gaps { Gaps::Allowed } else { Gaps::Count },
    };
    let now = Timestamp::now();
    let advisories = advisories(args, now)?;
    let mut evidence = evidence(args)?;
    evidence.knowledge = knowledge(advisories, &evidence.inventory)?;
    let report = report::judge(evidence, &statements, &options, now);
    notes(&report);
    match args.output {
        ScanFormat::Table => table(&report),
        ScanFormat::Json => print(&report::json(&report))?,
        ScanFormat::Sarif => print(&report::sarif(&report))?,
        ScanFormat::Cyclonedx => print(&report::cyclonedx(&report))?,
        ScanFormat::Spdx => print(&spdx(&report))?,
    }
    verdict(&report.gate)
}

/// What was found is an answer; what was not looked at is none.
fn verdict(gate: &Gate) -> Result<(), Failure> {
    if gate.failures > 0 {
        return Err(Failure::Found);
    }
    let Some(least) = gate.fail_on.filter(|_| !gate.holds()) else { return Ok(()) };
    let mut ways = Vec::new();
    for unseen in &gate.unseen {
        let way = match unseen {
            Unseen::Advisories => "import some by `watchbell db import`, or name an index by --db",
            Unseen::Uncovered { ecosystem, .. } if ecosystem.starts_with(UNVERSIONED) => {
                "build them of released versions, or let them pass by --allow-uncovered"
            }
            Unseen::Uncovered { .. } => "import theirs, or let them pass by --allow-uncovered",
            Unseen::Misfiled { .. } => "build it upon an image with the os-release of its distribution",
            Unseen::Unasked(_) => "update the packages that findings name",
            Unseen::Gaps(_) => "see standard error above for them, or let them pass by --allow-gaps",
        };
        ways.push(format!("{}: {way}", output::plain(&unseen.to_string())));
    }
    ways.dedup();
    Err(Failure::Usage(format!("whether --fail-on {least} is met is not known: {}", ways.join("; "))))
}

fn print(document: &Value) -> Result<(), Failure> {
    output::data(&serde_json::to_string_pretty(document).map_err(Failure::usage)?);
    Ok(())
}

fn statements(args: &Args) -> Result<Statements, Failure> {
    let mut statements = Statements::default();
    for path in &args.vex {
        let shown = path.display().to_string();
        let document = VexDocument::parse(&shown, &read(path)?).map_err(Failure::usage)?;
        for product in document.vague_products() {
            output::note(&format!(
                "{shown}: {} is any image of that name, whoever published it; name it with its digest or repository_url",
                output::plain(&product)
            ));
        }
        statements.vex.push(document);
    }
    for path in &args.ignore_file {
        let shown = path.display().to_string();
        let text = String::from_utf8(read(path)?)
            .map_err(|_| Failure::Usage(format!("cannot take the ignore file {shown}: it is no UTF-8")))?;
        statements.ignores.push(IgnoreFile::parse(&shown, &text).map_err(Failure::usage)?);
    }
    Ok(statements)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    use std::io::Read as _;
    let failed = |e: std::io::Error| Failure::Usage(format!("cannot read {}: {e}", path.display()));
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(DOCUMENT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
        return Err(Failure::Usage(format!(
            "{} is larger than {} MiB",
            path.display(),
            DOCUMENT_BYTES_MAX >> 20
        )));
    }
    Ok(bytes)
}

/// Where an image is, by how it is written.
enum Target<'a> {
    Name(Reference),
    Layout { directory: &'a str, tag: Option<&'a str> },
    Archive(&'a str),
    Directory(&'a str),
    Document(&'a str),
}

fn target(text: &str) -> Result<Target<'_>, Failure> {
    Ok(match text.split_once(':') {
        Some(("oci", rest)) => {
            // A folder's own name may have a colon.
            let (directory, tag) = match rest.rsplit_once(':') {
                Some((directory, tag)) if !Path::new(rest).exists() => (directory, Some(tag)),
                _ => (rest, None),
            };
            Target::Layout { directory, tag }
        }
        Some(("docker-archive" | "oci-archive", file)) => Target::Archive(file),
        Some(("dir", directory)) => Target::Directory(directory),
        Some(("sbom", file)) => Target::Document(file),
        _ => Target::Name(Reference::parse(text).map_err(Failure::usage)?),
    })
}

fn evidence(args: &Args) -> Result<Evidence, Failure> {
    let name = args.target.clone();
    let target = target(&args.target)?;
    if args.sbom == BillSource::Attached && !matches!(target, Target::Name(_) | Target::Layout { .. }) {
        return Err(Failure::Usage(format!(
            "nothing can be attached to {}; --sbom attached is for an image by name or in oci:DIR",
            output::plain(&name)
        )));
    }
    match target {
        Target::Name(reference) => named(args, &reference),
        Target::Layout { directory, tag } => {
            let path = Path::new(directory);
            let evidence = opened(args, path, tag)?;
            attached_instead(args, evidence, |digest| Layout::open(path)?.attached(digest, &is_bill))
        }
        Target::Archive(file) => opened(args, Path::new(file), None),
        Target::Directory(directory) => {
            let found = examine_directory(Path::new(directory)).map_err(Failure::usage)?;
            Ok(of(Subject { name, ..Subject::default() }, found))
        }
        Target::Document(file) => {
            let read = read_document(&read(Path::new(file))?)
                .map_err(|e| Failure::Usage(format!("cannot take {file}: {e}")))?;
            let digest = read.digest.as_ref().map(|digest| digest.as_str().to_owned());
            let identity = ImageIdentity { digest, ..ImageIdentity::default() };
            Ok(Evidence {
                subject: Subject { name: read.subject.unwrap_or(name), identity, ..Subject::default() },
                inventory: read.inventory,
                knowledge: Knowledge::Unknown(String::new()),
                secrets: Vec::new(),
                unsearched: 0,
                configuration: Vec::new(),
                minimality: None,
            })
        }
    }
}

fn of(subject: Subject, found: Examination) -> Evidence {
    Evidence {
        subject,
        inventory: found.inventory,
        knowledge: Knowledge::Unknown(String::new()),
        secrets: found.secrets,
        unsearched: found.unsearched,
        configuration: found.configuration,
        minimality: Some(found.minimality),
    }
}

fn opened(args: &Args, path: &Path, tag: Option<&str>) -> Result<Evidence, Failure> {
    let content =
        ImageContent::open(path, tag, &args.platform()?, &Limits::default()).map_err(Failure::usage)?;
    let reference = content.reference.clone();
    content_of(&content, args.target.clone(), reference.as_ref())
}

/// The evidence with the packages that an attached bill names, where those are wanted. Whoever may push to the repository
/// attached it, and nobody verified who that was.
fn attached_instead(
    args: &Args,
    mut evidence: Evidence,
    attached: impl FnOnce(&Digest) -> Result<Attached, Error>,
) -> Result<Evidence, Failure> {
    if args.sbom == BillSource::Files {
        return Ok(evidence);
    }
    let digest = evidence.subject.identity.digest.as_deref().unwrap_or_default();
    let digest = Digest::parse(digest).map_err(Failure::usage)?;
    let mut whys = Vec::new();
    let mut found = None;
    let attached = attached(&digest).map_err(Failure::usage)?;
    if let Some(gap) = attached.gap() {
        output::note(&gap);
    }
    for bill in attached_bills(&digest, &attached) {
        let artifact = bill.artifact;
        match bill.read {
            Err(error) => whys.push(format!("{artifact}: {error}")),
            Ok(read) if read.digest.as_ref().is_some_and(|named| *named != digest) => {
                whys.push(format!("{artifact}: it says that it is of another image"));
            }
            Ok(_) if found.is_some() => output::note(&format!("the attached bill {artifact} is not used")),
            Ok(read) => found = Some((artifact, read.inventory)),
        }
    }
    let Some((artifact, inventory)) = found else {
        let why = if whys.is_empty() { "there is none".to_owned() } else { output::plain(&whys.join("; ")) };
        return Err(Failure::Usage(format!(
            "no bill of materials that is attached to {digest} can be used: {why}; leave out --sbom to have the image's files \
             read"
        )));
    };
    output::note(&format!(
        "the packages are those of the attached bill {artifact}; who wrote it was not verified"
    ));
    evidence.inventory = inventory;
    Ok(evidence)
}

/// An image of the store; what is not there is pulled to a place that is gone afterwards.
fn named(args: &Args, reference: &Reference) -> Result<Evidence, Failure> {
    let has_store = !args.no_cache && args.data_dir.join("images").is_dir();
    if has_store {
        // A store that is not ours to read is as none.
        match Store::open(&args.data_dir).and_then(|store| Ok((store.resolve(reference)?, store))) {
            Ok((Some(image), store)) => {
                let content = store.content(image, Some(reference.clone()));
                let evidence = content_of(&content, reference.familiar(), Some(reference))?;
                return attached_instead(args, evidence, |digest| {
                    attached_at_registry(args, reference, digest)
                });
            }
            Ok((None, _)) => {}
            Err(error) => {
                output::note(&format!("the image store in {} is not read: {error}", args.data_dir.display()));
            }
        }
    }
    let temporary = Temporary::new()?;
    let store = Store::open(&temporary.path).map_err(Failure::usage)?;
    let options = PullOptions { platform: args.platform()?, ..args.access.options() };
    let pulled = watchbell_image::pull(&store, reference, &options, &Bars::new());
    let image = pulled.map_err(|error| Failure::Usage(format!("{error}{}", not_kept(args))))?;
    let content = store.content(image, Some(reference.clone()));
    let evidence = content_of(&content, reference.familiar(), Some(reference))?;
    attached_instead(args, evidence, |digest| attached_at_registry(args, reference, digest))
}

/// Where the image was looked for before its registry was asked.
fn not_kept(args: &Args) -> String {
    match args.no_cache {
        true => String::new(),
        false => format!(
            "; it is not in the image store of {} either: --data-dir DIR or ${} names another",
            args.data_dir.display(),
            datadir::VARIABLE
        ),
    }
}

fn attached_at_registry(args: &Args, reference: &Reference, digest: &Digest) -> Result<Attached, Error> {
    attached_remote(reference, digest, &args.access.options(), &Limits::default(), &is_bill)
}

fn content_of(
    content: &ImageContent,
    name: String,
    reference: Option<&Reference>,
) -> Result<Evidence, Failure> {
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    // By a digest an image is named exactly, whatever tag stands beside it.
    let tag = reference.filter(|reference| reference.digest().is_none()).and_then(Reference::tag);
    let found = examine(content, tag, threads).map_err(Failure::usage)?;
    let image = &content.image;
    let subject = Subject {
        name,
        identity: ImageIdentity {
            digest: Some(image.digest.as_str().to_owned()),
            repository: reference.map(Reference::repository),
            tag: reference.and_then(Reference::tag).map(str::to_owned),
        },
        config: Some(image.config.clone()),
        layers: image.layers.iter().map(|layer| layer.digest.clone()).collect(),
    };
    Ok(of(subject, found))
}

/// The advisories, or why there are none. An index that was named must be there, and one that is there must be sound.
enum Advisories {
    Known(Box<Database>),
    None(String),
}

fn advisories(args: &Args, now: Timestamp) -> Result<Advisories, Failure> {
    let directory = args.db.directory()?;
    let database = match Database::open(&directory) {
        Ok(database) => database,
        Err(DatabaseError::Absent { .. }) if !args.db.is_named() => {
            return Ok(Advisories::None(format!(
                "there is no advisory index in {}; make one by `watchbell db import`, or name its directory by --db",
                directory.display()
            )));
        }
        Err(error) => return Err(Failure::usage(error)),
    };
    for source in database.sources() {
        let days = source.age_seconds(now.as_second()).map(|seconds| seconds / 86_400);
        if let Some(days) = days.filter(|days| *days >= OLD_DAYS) {
            output::note(&format!("the advisories of {} are {days} days old", output::plain(&source.name)));
        }
    }
    Ok(Advisories::Known(Box::new(database)))
}

fn knowledge(advisories: Advisories, inventory: &Inventory) -> Result<Knowledge, Failure> {
    let database = match advisories {
        Advisories::Known(database) => database,
        Advisories::None(reason) => return Ok(Knowledge::Unknown(reason)),
    };
    let questions = questions(inventory);
    let answer = find(&questions, &database).map_err(Failure::usage)?;
    Ok(Knowledge::Known { answer, questions, sources: database.sources().to_vec() })
}

fn spdx(report: &Report) -> Value {
    let digest = report.subject.identity.digest.as_deref();
    let subject = watchbell_scan::Subject {
        name: report.subject.name.clone(),
        digest: digest.and_then(|digest| Digest::parse(digest).ok()),
        time: report.time.round(jiff::Unit::Second).unwrap_or(report.time).to_string(),
    };
    watchbell_scan::spdx(&report.inventory, &subject)
}

/// What a reader of the data alone would miss.
fn notes(report: &Report) {
    if let Some(reason) = &report.unknown {
        output::note(&format!("findings unknown: {reason}"));
    }
    for gap in report.inventory.gaps.iter().take(GAPS_SHOWN) {
        output::note(&format!(
            "not known: /{}: {}",
            output::plain(&gap.location.path),
            output::plain(&gap.reason)
        ));
    }
    if let Some(more) = report.inventory.gaps.len().checked_sub(GAPS_SHOWN + 1) {
        output::note(&format!("not known: {} places more; -o json has all", more + 1));
    }
    for entry in &report.idle_entries {
        let (file, line, id) = (&entry.file, entry.line, output::plain(&entry.id));
        let words = if entry.is_expired {
            format!("ended on {}: it counts again", entry.expires)
        } else {
            "covers nothing that was found".to_owned()
        };
        output::note(&format!("{file}:{line}: {id} {words}"));
    }
    if let Some(least) = report.gate.fail_on.filter(|_| report.gate.failures > 0) {
        let failures = report.gate.failures;
        let findings = if failures == 1 { "1 finding is" } else { &format!("{failures} findings are") };
        output::note(&format!("{findings} at or above --fail-on {least}"));
    }
}

fn table(report: &Report) {
    let mut pieces = Vec::new();
    for line in report::table(report) {
        for (tint, text) in line {
            let colour = match tint {
                Tint::Plain => Colour::None,
                Tint::Bad => Colour::Red,
                Tint::Doubtful => Colour::Yellow,
                Tint::Strong => Colour::Cyan,
            };
            pieces.push((colour, text));
        }
        pieces.push((Colour::None, "\n".to_owned()));
    }
    output::coloured(&pieces);
}
