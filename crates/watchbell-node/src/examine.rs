//! What policies of images ask: found out on a thread of its own, kept by digest, matched anew when advisories change.
//!
//! ```text
//!   agent ── judge(image) ──▶ Gate ── verdict kept? ──▶ starts · refused
//!                              │ asks                      ▲
//!                              ▼                           │ judged again
//!        Examiner: bill of materials (DIR/sboms, else a confined process reads the image)
//!                  + Database of advisories ─▶ findings     ──▶ Known ──▶ Report::Image ──▶ server
//!                  + signatures (kept, else the registry's)
//!   another database · another policy · a new image ──▶ all images that are referred to, from their bills
//! ```

mod advisories;
mod bill;
mod findings;
mod gate;
mod known;
mod scanner;
mod signers;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use watchbell_api::image::{Contents, ImageUser, Unknown};
use watchbell_api::node::Report;
use watchbell_core::image_policy::{Needs, needs};
use watchbell_image::{CredentialSource, Digest, Image, PullOptions, Reference, Store};
use watchbell_scan::Gap;

pub use gate::Snapshots;
pub(crate) use gate::{Gate, Judgement, Question, Unjudged};
pub(crate) use known::{Known, Looked, Outline};
pub use scanner::scanner_main;

use advisories::Advisories;
use bill::{Bill, Bills};
use scanner::Scanner;

/// How often the database is looked at: one look at a path.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Several reasons to look over all images within this are one.
const GATHER: Duration = Duration::from_secs(1);

/// What the thread works with.
pub(crate) struct Site {
    pub data_dir: PathBuf,
    pub store: Store,
    pub pull: PullOptions,
    pub snapshots: Snapshots,
    pub known: Arc<Known>,
    /// The index of advisories, or the directory that it lies in.
    pub database: PathBuf,
}

/// What the agent hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// The answer to the question of this number is known.
    Answered(u64),
    /// Another database of advisories is asked from now on.
    OtherAdvisories,
}

enum Work {
    Examine { id: u64, question: Box<Question> },
    LookOver,
}

/// A handle to the thread, which ends with the last of them.
#[derive(Clone)]
pub(crate) struct Examiner {
    work: Sender<Work>,
}

impl Examiner {
    /// `hear` gets what the agent is to know, `report` what the server is.
    pub(crate) fn start(
        site: Site,
        hear: impl Fn(News) + Send + 'static,
        report: impl Fn(Report) + Send + 'static,
    ) -> std::io::Result<Examiner> {
        let (work, inbox) = channel();
        let bills = Bills::open(&site.data_dir)?;
        let scanner = Scanner::Process("/proc/self/exe".into());
        let advisories = Advisories::new(site.database.clone());
        let clock = Box::new(Timestamp::now);
        let mut thread = Thread { site, bills, scanner, advisories, clock, hear, report };
        // Before the first start is judged.
        thread.refresh();
        std::thread::Builder::new().name("images-examine".into()).spawn(move || thread.run(&inbox))?;
        Ok(Examiner { work })
    }

    pub(crate) fn examine(&self, id: u64, question: Question) {
        // The thread lives as long as this sender.
        let _ = self.work.send(Work::Examine { id, question: Box::new(question) });
    }

    /// All images that are referred to, soon.
    pub(crate) fn look_over(&self) {
        let _ = self.work.send(Work::LookOver);
    }
}

struct Thread<H, R> {
    site: Site,
    bills: Bills,
    scanner: Scanner,
    advisories: Advisories,
    clock: Box<dyn Fn() -> Timestamp + Send>,
    hear: H,
    report: R,
}

/// Whether the image itself is read when there is no bill of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reads {
    Image,
    BillAlone,
}

/// Whether a registry is asked for signatures.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asks {
    Registry,
    Nobody,
}

impl<H: Fn(News), R: Fn(Report)> Thread<H, R> {
    fn run(mut self, inbox: &Receiver<Work>) {
        // At the start: what was found before it is told again.
        let mut look_over_at = Some(Instant::now());
        let mut rest: VecDeque<(Arc<str>, Vec<ImageUser>)> = VecDeque::new();
        loop {
            let patience = match (rest.is_empty(), look_over_at) {
                (false, _) => Duration::ZERO,
                (true, Some(at)) => at.saturating_duration_since(Instant::now()).min(LOOK_EVERY),
                (true, None) => LOOK_EVERY,
            };
            match inbox.recv_timeout(patience) {
                // Whoever waits for a start comes first.
                Ok(Work::Examine { id, question }) => {
                    if self.answer(&question) == Found::New {
                        look_over_at.get_or_insert_with(|| Instant::now() + GATHER);
                    }
                    (self.hear)(News::Answered(id));
                    continue;
                }
                Ok(Work::LookOver) => {
                    look_over_at.get_or_insert_with(|| Instant::now() + GATHER);
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if let Some((image, users)) = rest.pop_front() {
                self.watch(&image, users);
                continue;
            }
            let is_due = look_over_at.is_some_and(|at| Instant::now() >= at);
            if self.refresh() || is_due {
                look_over_at = None;
                rest = (self.site.snapshots)().image_users().into_iter().collect();
                self.forget_removed();
            }
        }
    }

    /// Whether another database is there.
    fn refresh(&mut self) -> bool {
        let has_changed = self.advisories.refresh();
        if has_changed {
            self.site.known.set_generation(self.advisories.generation());
            tracing::info!(
                generation = self.advisories.generation(),
                "the database of advisories is another one"
            );
            (self.hear)(News::OtherAdvisories);
        }
        has_changed
    }

    fn answer(&mut self, question: &Question) -> Found {
        self.refresh();
        let Question { image: name, digest, needs, credentials } = question;
        let mut options = self.site.pull.clone();
        if let Some(credentials) = credentials {
            options.credentials = CredentialSource::DockerConfigJson(credentials.clone());
        }
        let image = match self.site.store.image(digest) {
            Ok(Some(image)) => image,
            Ok(None) => {
                self.cannot(digest, needs, &format!("image {digest} is no longer here"));
                return Found::Nothing;
            }
            Err(error) => {
                self.cannot(digest, needs, &error.to_string());
                return Found::Nothing;
            }
        };
        let found = self.find_out(name, &image, needs, &options, Reads::Image, Asks::Registry);
        self.tell(name, &image, Vec::new());
        found
    }

    /// Matches an image that is referred to again, and tells what is known of it. Nothing is asked of a registry.
    fn watch(&mut self, name: &Arc<str>, users: Vec<ImageUser>) {
        // A name that is no name never finds an image.
        let Ok(reference) = Reference::parse(name) else { return };
        let image = match self.site.store.resolve(&reference) {
            Ok(Some(image)) => image,
            Ok(None) => return,
            Err(error) => {
                return tracing::warn!(image = %name, "cannot look at an image that is referred to: {error}");
            }
        };
        let snapshot = (self.site.snapshots)();
        let mut asked = Needs::default();
        let mut namespaces: Vec<&Arc<str>> = users.iter().map(|user| &user.namespace).collect();
        namespaces.dedup();
        for namespace in namespaces {
            let more = needs(&snapshot.image_policies(namespace));
            asked.contents |= more.contents;
            asked.signers.extend(more.signers);
            asked.statements.extend(more.statements);
        }
        let has_database = self.advisories.database().is_some();
        asked.findings = true;
        asked.contents |= has_database;
        // What nobody asks for is not read out of the image.
        let reads = if has_database { Reads::Image } else { Reads::BillAlone };
        let options = self.site.pull.clone();
        self.find_out(name, &image, &asked, &options, reads, Asks::Nobody);
        self.tell(name, &image, users);
    }

    fn tell(&self, name: &Arc<str>, image: &Image, users: Vec<ImageUser>) {
        let Ok(reference) = Reference::parse(name) else { return };
        let now = (self.clock)().as_second();
        let facts = self.site.known.facts(&reference, &image.digest, &Outline::of(image), now);
        (self.report)(Report::Image { image: name.clone(), facts: Arc::new(facts), users });
    }

    /// Finds out what is not known yet.
    fn find_out(
        &mut self,
        name: &Arc<str>,
        image: &Image,
        needs: &Needs,
        options: &PullOptions,
        reads: Reads,
        asks: Asks,
    ) -> Found {
        let mut found = Found::Nothing;
        let bill = match needs.contents || needs.findings {
            true => {
                let (bill, how) = self.bill(image, reads);
                found = how;
                bill
            }
            false => None,
        };
        // A scan may take longer than what it could not find out is believed, so it counts from its end.
        let now = (self.clock)();
        let at = now.as_second();
        if let Some(bill) = &bill {
            let contents = match bill {
                Ok(bill) => Ok(Arc::new(bill.contents())),
                Err(why) => Err(Unknown::Because(why.as_str().into())),
            };
            let findings = needs.findings.then(|| {
                let generation = self.advisories.generation();
                let found = match (bill, self.advisories.database()) {
                    (_, None) => Err(self.advisories.why_none()),
                    (Err(why), _) => Err(format!("what is in it is unknown: {why}")),
                    (Ok(bill), Some(database)) => findings::of(&bill.inventory, database, generation),
                };
                let found = found.map(Arc::new).map_err(|why| Unknown::Because(why.into()));
                Looked { found: (generation, found), at }
            });
            self.site.known.learn(&image.digest, |examined| {
                examined.contents = Some(Looked { found: contents, at });
                examined.findings = findings.or(examined.findings.take());
            });
        }
        if !needs.signers.is_empty() {
            let signed = signers::verify(&self.site.store, name, image, needs, options, asks, now);
            let at = (self.clock)().as_second();
            self.site.known.learn(&image.digest, |examined| {
                for signed in signed {
                    examined.signers.insert(signed.signer.clone(), Looked { found: signed, at });
                }
            });
        }
        found
    }

    /// The bill of materials that is kept, or a new one. None where there is none and none is to be made.
    fn bill(&self, image: &Image, reads: Reads) -> (Option<Result<Bill, String>>, Found) {
        match self.bills.read(&image.digest) {
            Ok(Some(bill)) => return (Some(Ok(bill)), Found::Nothing),
            Ok(None) => {}
            // It can be made again.
            Err(error) => tracing::warn!(image = %image.digest, "cannot read a bill of materials: {error}"),
        }
        if reads == Reads::BillAlone {
            return (None, Found::Nothing);
        }
        let since = Instant::now();
        let bill = self.scanner.scan(&self.site.store, image);
        match &bill {
            Ok(bill) => {
                tracing::info!(
                    image = %image.digest, packages = bill.inventory.packages.len(),
                    took_ms = since.elapsed().as_millis(), "read what is in an image"
                );
                if let Err(error) = self.bills.write(&image.digest, bill) {
                    tracing::warn!(image = %image.digest, "cannot keep a bill of materials: {error}");
                }
            }
            Err(error) => tracing::warn!(image = %image.digest, "cannot read what is in an image: {error}"),
        }
        (Some(bill), Found::New)
    }

    /// The question has no answer; the reason is one.
    fn cannot(&self, digest: &Digest, needs: &Needs, why: &str) {
        let at = (self.clock)().as_second();
        let unknown = || Unknown::Because(why.into());
        let generation = self.advisories.generation();
        self.site.known.learn(digest, |examined| {
            examined.contents = Some(Looked { found: Err(unknown()), at });
            examined.findings = Some(Looked { found: (generation, Err(unknown())), at });
            for id in needs.signers.keys() {
                let signed = signers::unknown(id, needs, why);
                examined.signers.insert(id.clone(), Looked { found: signed, at });
            }
        });
    }

    /// What is kept of images that were removed goes too.
    fn forget_removed(&self) {
        let images = match self.site.store.list() {
            Ok(images) => images,
            Err(error) => return tracing::warn!("cannot list the images: {error}"),
        };
        let is_here = |digest: &Digest| images.iter().any(|image| image.digest == *digest);
        self.site.known.forget_all_but(is_here);
        if let Err(error) = self.bills.keep(is_here) {
            tracing::warn!("cannot remove bills of materials of images that are gone: {error}");
        }
    }
}

/// Whether something is known that was not before the thread looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    New,
    Nothing,
}

/// What policies look at of the contents.
impl Bill {
    fn contents(&self) -> Contents {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let distribution = self.inventory.distribution.as_ref();
        Contents {
            packages: count(self.inventory.packages.len()),
            shells: self.shells.iter().map(|path| path.as_str().into()).collect(),
            setuid: self.setuid.iter().map(|path| path.as_str().into()).collect(),
            distribution: distribution.map(|found| {
                (found.id.as_str().into(), found.version_id.as_deref().unwrap_or_default().into())
            }),
            gaps: count(self.inventory.gaps.len()),
            some_gaps: self.inventory.gaps.iter().take(GAPS_TOLD).map(told).collect(),
        }
    }
}

/// Of an image.
const GAPS_TOLD: usize = 3;
const GAP_BYTES_MAX: usize = 300;

/// A gap in words. Paths are strangers'.
fn told(gap: &Gap) -> Box<str> {
    let told = format!("/{}: {}", gap.location.path, gap.reason);
    let shown: String = told.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    shown[..shown.floor_char_boundary(GAP_BYTES_MAX)].into()
}
