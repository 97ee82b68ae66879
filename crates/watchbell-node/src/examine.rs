//! What policies of images ask: found out on threads of their own, kept by digest, matched anew when advisories change.
//!
//! ```text
//!   agent ── judge(image) ──▶ Gate ── verdict kept? ──▶ starts · refused
//!                              │ asks                      ▲
//!                              ▼                           │ judged again
//!     Thread ──▶ Crew, by turns of namespaces:
//!                  bill of materials (DIR/sboms, else a confined process reads the image)
//!                  + Database of advisories ─▶ findings     ──▶ Known ──▶ Report::Image ──▶ server
//!                  + signatures that are kept                 ▲
//!             └──▶ Crew that asks registries: signatures, where those do not suffice
//!   another database · another policy · a new image ──▶ all images that are referred to, from their bills
//! ```

mod advisories;
mod bill;
pub(crate) mod crew;
mod findings;
mod gate;
mod known;
mod scanner;
mod signers;
pub(crate) mod turns;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use watchbell_advisory::{Database, Source};
use watchbell_api::image::{Contents, ImageFacts, ImageUser, Unknown};
use watchbell_api::node::Report;
use watchbell_core::image_policy::{Needs, is_examined, needs};
use watchbell_image::{CredentialSource, Digest, Image, PullOptions, Reference, Store};
use watchbell_scan::Gap;

pub use gate::Snapshots;
pub(crate) use gate::{Gate, Judgement, Question, Unjudged};
pub(crate) use known::{Asker, Known, Outline, Who};
pub use scanner::scanner_main;

use advisories::Advisories;
use bill::{Bill, Bills};
use crew::{Crew, Size};
use known::View;
use scanner::Scanner;
use turns::Urgency;

/// How often the database is looked at: one look at a path.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Several reasons to look over all images within this are one.
const GATHER: Duration = Duration::from_secs(1);

/// Reading an image takes processors and memory; a namespace whose images are slow leaves a thread to the others.
const LOOKING: Size = Size { threads: 2, each: 1 };
/// Threads that wait for registries most of the time. A namespace may name any number that do not answer.
const ASKING: Size = Size { threads: 4, each: 2 };

/// What the threads work with.
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
    /// It is not looked for: too many questions of its namespace wait.
    TurnedAway(u64),
    /// Another database of advisories is asked from now on.
    OtherAdvisories,
}

enum Work {
    Examine { id: u64, question: Box<Question> },
    LookOver,
    LookAt(Arc<str>, Vec<Arc<str>>),
}

/// Of which images and namespaces.
enum Which {
    All,
    These(HashSet<(Arc<str>, Arc<str>)>),
}

impl Which {
    /// One more image, as pods of the namespace name it.
    fn with(self, namespace: Arc<str>, image: Arc<str>) -> Which {
        match self {
            Which::All => Which::All,
            Which::These(mut set) => {
                set.insert((namespace, image));
                Which::These(set)
            }
        }
    }

    fn has(&self, namespace: &Arc<str>, image: &Arc<str>) -> bool {
        match self {
            Which::All => true,
            Which::These(set) => set.contains(&(namespace.clone(), image.clone())),
        }
    }
}

/// A handle to the threads, which end with the last of them.
#[derive(Clone)]
pub(crate) struct Examiner {
    work: Arc<Sender<Work>>,
}

impl Examiner {
    /// `hear` gets what the agent is to know, `report` what the server is.
    pub(crate) fn start(
        site: Site,
        hear: impl Fn(News) + Send + Sync + 'static,
        report: impl Fn(Report) + Send + Sync + 'static,
    ) -> std::io::Result<Examiner> {
        let (work, inbox) = channel();
        let work = Arc::new(work);
        let bills = Bills::open(&site.data_dir)?;
        let scanner = Scanner::Process("/proc/self/exe".into());
        let advisories = Advisories::new(site.database.clone());
        let desk =
            Desk { site, clock: Box::new(Timestamp::now), hear: Box::new(hear), report: Box::new(report) };
        let examination = Arc::new(Examination::new(desk, bills, scanner, advisories, ASKING)?);
        // Before the first start is judged.
        examination.refresh();
        let looks = examination.clone();
        // It does not keep the thread that it tells from ending.
        let told = Arc::downgrade(&work);
        let crew = Crew::start("images-look", LOOKING, move |task| {
            if looks.carry_out(task) == Found::New
                && let Some(work) = told.upgrade()
            {
                let _ = work.send(Work::LookOver);
            }
        })?;
        let thread = Thread { examination, crew };
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

    /// These images, soon.
    pub(crate) fn look_at(&self, namespace: Arc<str>, images: Vec<Arc<str>>) {
        let _ = self.work.send(Work::LookAt(namespace, images));
    }
}

/// What all threads have: what they work with, and whom they tell.
struct Desk {
    site: Site,
    clock: Box<dyn Fn() -> Timestamp + Send + Sync>,
    hear: Box<dyn Fn(News) + Send + Sync>,
    report: Box<dyn Fn(Report) + Send + Sync>,
}

/// Gives the crew what there is to find out.
struct Thread {
    examination: Arc<Examination>,
    crew: Crew<Task>,
}

enum Task {
    Answer { id: u64, question: Box<Question> },
    Watch { image: Arc<str>, namespace: Arc<str>, users: Vec<ImageUser> },
}

/// What the crew does.
struct Examination {
    desk: Arc<Desk>,
    bills: Bills,
    scanner: Scanner,
    advisories: Mutex<Advisories>,
    registries: Crew<Asked>,
}

/// A question for a registry.
struct Asked {
    id: u64,
    question: Question,
    name: Reference,
    image: Image,
}

/// Whether the image itself is read when there is no bill of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reads {
    Image,
    BillAlone,
}

impl Thread {
    fn run(self, inbox: &Receiver<Work>) {
        // At the start: what was found before it is told again.
        let mut next = Some((Instant::now(), Which::All));
        loop {
            let now = Instant::now();
            if let Some((_, which)) = next.take_if(|(at, _)| now >= *at) {
                self.look_over(&which);
            }
            let until = next.as_ref().map_or(LOOK_EVERY, |(at, _)| at.saturating_duration_since(now));
            match inbox.recv_timeout(until.min(LOOK_EVERY)) {
                Ok(Work::Examine { id, question }) => self.take(id, question),
                Ok(Work::LookOver) => {
                    let at = next.map_or_else(|| Instant::now() + GATHER, |(at, _)| at);
                    next = Some((at, Which::All));
                }
                Ok(Work::LookAt(namespace, images)) => {
                    let (at, which) =
                        next.unwrap_or_else(|| (Instant::now() + GATHER, Which::These(HashSet::new())));
                    let add = |which: Which, image| which.with(namespace.clone(), image);
                    next = Some((at, images.into_iter().fold(which, add)));
                }
                Err(RecvTimeoutError::Timeout) => {
                    if self.examination.refresh() {
                        next = Some((Instant::now(), Which::All));
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn take(&self, id: u64, question: Box<Question>) {
        let (whose, digest) = (question.namespace.clone(), question.digest.clone());
        let task = Task::Answer { id, question };
        if self.crew.ask(Urgency::Now, &whose, digest.as_str(), task).is_err() {
            (self.examination.desk.hear)(News::TurnedAway(id));
        }
    }

    /// The images that something refers to and that are here, for each namespace by itself.
    fn look_over(&self, which: &Which) {
        let Site { store, snapshots, .. } = &self.examination.desk.site;
        if matches!(which, Which::All) {
            self.crew.forget_later();
        }
        for (image, mut users) in snapshots().image_users() {
            users.retain(|user| which.has(&user.namespace, &image));
            if users.is_empty() {
                continue;
            }
            // A name that is no name never finds an image.
            let Ok(name) = Reference::parse(&image) else { continue };
            let digest = match store.resolve(&name) {
                Ok(Some(found)) => found.digest,
                Ok(None) => continue,
                Err(error) => {
                    tracing::warn!(image = %image, "cannot look at an image that is referred to: {error}");
                    continue;
                }
            };
            let mut by_namespace: BTreeMap<Arc<str>, Vec<ImageUser>> = BTreeMap::new();
            for user in users {
                by_namespace.entry(user.namespace.clone()).or_default().push(user);
            }
            for (namespace, users) in by_namespace {
                let task = Task::Watch { image: image.clone(), namespace: namespace.clone(), users };
                // What nobody waits for is never too much.
                let _ = self.crew.ask(Urgency::Later, &namespace, digest.as_str(), task);
            }
        }
        if matches!(which, Which::All) {
            self.examination.forget_removed();
        }
    }
}

impl Examination {
    fn new(
        desk: Desk,
        bills: Bills,
        scanner: Scanner,
        advisories: Advisories,
        asking: Size,
    ) -> std::io::Result<Examination> {
        let desk = Arc::new(desk);
        let asks = desk.clone();
        let registries = Crew::start("images-ask", asking, move |asked| asks.ask(&asked))?;
        Ok(Examination { desk, bills, scanner, advisories: Mutex::new(advisories), registries })
    }

    fn advisories(&self) -> MutexGuard<'_, Advisories> {
        self.advisories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn carry_out(&self, task: Task) -> Found {
        match task {
            Task::Answer { id, question } => self.answer(id, *question),
            Task::Watch { image, namespace, users } => {
                self.watch(&image, &namespace, users);
                Found::Nothing
            }
        }
    }

    /// Whether another database is there.
    fn refresh(&self) -> bool {
        let mut advisories = self.advisories();
        let has_changed = advisories.refresh();
        if has_changed {
            let generation = advisories.generation();
            let database = advisories.database();
            let at =
                database.as_ref().and_then(|database| database.sources().iter().map(Source::as_of).min());
            self.desk.site.known.set_database(generation, at);
            drop(advisories);
            tracing::info!(generation, "the database of advisories is another one");
            (self.desk.hear)(News::OtherAdvisories);
        }
        has_changed
    }

    /// The database that is asked now, or why there is none, and its number.
    fn database(&self) -> (Result<Arc<Database>, String>, u64) {
        let advisories = self.advisories();
        (advisories.database().ok_or_else(|| advisories.why_none()), advisories.generation())
    }

    /// Finds out what a start waits for. What only a registry knows, other threads ask.
    fn answer(&self, id: u64, question: Question) -> Found {
        // Another database is news for all images, whoever saw it first.
        let news = if self.refresh() { Found::New } else { Found::Nothing };
        let desk = self.desk.clone();
        let why = match desk.site.store.image(&question.digest) {
            Ok(Some(image)) => return news.or(self.answer_of(id, question, image)),
            Ok(None) => format!("image {} is no longer here", question.digest),
            Err(error) => error.to_string(),
        };
        self.cannot(&question, &why);
        (desk.hear)(News::Answered(id));
        news
    }

    fn answer_of(&self, id: u64, question: Question, image: Image) -> Found {
        let found = self.find_out(&image, &question.needs, Reads::Image);
        // A name that is no name has no registry; the image was found by its digest.
        let Ok(name) = Reference::parse(&question.image) else {
            self.cannot(&question, "its name cannot be read");
            (self.desk.hear)(News::Answered(id));
            return found;
        };
        self.desk.learn_kept(&name, &image, &question.needs);
        let policies = (self.desk.site.snapshots)().image_policies(&question.namespace);
        let who = question.who();
        let facts = self.desk.facts(&name, &image, View::Of(&who));
        if question.needs.signers.is_empty() || is_examined(&policies, &facts) {
            self.desk.tell(&question.namespace, &question.image, facts, Vec::new());
            (self.desk.hear)(News::Answered(id));
        } else {
            let (registry, whose) = (name.domain().to_owned(), question.namespace.clone());
            let asked = Asked { id, question, name, image };
            if self.registries.ask(Urgency::Now, &whose, &registry, asked).is_err() {
                (self.desk.hear)(News::TurnedAway(id));
            }
        }
        found
    }

    /// Matches an image that a namespace refers to again, and tells what is known of it. Nothing is asked of a registry.
    fn watch(&self, image_name: &Arc<str>, namespace: &Arc<str>, users: Vec<ImageUser>) {
        // It was there when it was looked for.
        let found = Reference::parse(image_name).ok();
        let found = found.and_then(|name| Some((self.desk.site.store.resolve(&name).ok()??, name)));
        let Some((image, name)) = found else { return };
        let mut asked = needs(&(self.desk.site.snapshots)().image_policies(namespace));
        let has_database = self.advisories().database().is_some();
        // What nobody asks for is not read out of the image.
        let is_asked = has_database || asked.contents || asked.findings;
        let reads = if is_asked { Reads::Image } else { Reads::BillAlone };
        asked.findings = true;
        asked.contents |= has_database;
        self.find_out(&image, &asked, reads);
        self.desk.learn_kept(&name, &image, &asked);
        let facts = self.desk.facts(&name, &image, View::Namespace(namespace));
        self.desk.tell(namespace, image_name, facts, users);
    }

    /// Finds out what is not known yet of the content.
    fn find_out(&self, image: &Image, needs: &Needs, reads: Reads) -> Found {
        if !(needs.contents || needs.findings) {
            return Found::Nothing;
        }
        let (database, generation) = self.database();
        let known = &self.desk.site.known;
        // Another namespace may have asked.
        if known.is_matched(&image.digest, generation) {
            return Found::Nothing;
        }
        let (bill, found) = match (self.kept_bill(image), reads) {
            (Some(bill), _) => (Ok(bill), Found::Nothing),
            (None, Reads::BillAlone) => return Found::Nothing,
            (None, Reads::Image) => {
                let now = (self.desk.clock)().as_second();
                // A scan that ran out of time would do so again, and all others would wait for it.
                if let Some(why) = known.failure(&image.digest, now) {
                    if needs.findings {
                        let why = Unknown::Because(format!("what is in it is unknown: {why}").into());
                        known.learn_findings(&image.digest, (generation, Err(why)), now);
                    }
                    return Found::Nothing;
                }
                self.new_bill(image)
            }
        };
        let contents = match &bill {
            Ok(bill) => Ok(Arc::new(bill.contents())),
            Err(why) => Err(Unknown::Because(why.as_str().into())),
        };
        let findings = needs.findings.then(|| match (&bill, database) {
            (_, Err(why_none)) => Err(why_none),
            (Err(why), _) => Err(format!("what is in it is unknown: {why}")),
            (Ok(bill), Ok(database)) => findings::of(&bill.inventory, &database, generation),
        });
        // A scan may take longer than what it could not find out is believed, so it counts from its end.
        let at = (self.desk.clock)().as_second();
        known.learn_contents(&image.digest, contents, at);
        if let Some(findings) = findings {
            let findings = findings.map(Arc::new).map_err(|why| Unknown::Because(why.into()));
            known.learn_findings(&image.digest, (generation, findings), at);
        }
        found
    }

    fn kept_bill(&self, image: &Image) -> Option<Bill> {
        // One that cannot be read can be made again.
        self.bills.read(&image.digest).unwrap_or_else(|error| {
            tracing::warn!(image = %image.digest, "cannot read a bill of materials: {error}");
            None
        })
    }

    /// Reads the image.
    fn new_bill(&self, image: &Image) -> (Result<Bill, String>, Found) {
        let since = Instant::now();
        let bill = self.scanner.scan(&self.desk.site.store, image);
        let found = match &bill {
            Ok(bill) => {
                tracing::info!(
                    image = %image.digest, packages = bill.inventory.packages.len(),
                    took_ms = since.elapsed().as_millis(), "read what is in an image"
                );
                if let Err(error) = self.bills.write(&image.digest, bill) {
                    tracing::warn!(image = %image.digest, "cannot keep a bill of materials: {error}");
                }
                Found::New
            }
            Err(error) => {
                tracing::warn!(image = %image.digest, "cannot read what is in an image: {error}");
                Found::Nothing
            }
        };
        (bill, found)
    }

    /// The question has no answer; the reason is one.
    fn cannot(&self, question: &Question, why: &str) {
        let at = (self.desk.clock)().as_second();
        let unknown = || Unknown::Because(why.into());
        let (known, digest, needs) = (&self.desk.site.known, &question.digest, &question.needs);
        known.learn_contents(digest, Err(unknown()), at);
        known.learn_findings(digest, (self.database().1, Err(unknown())), at);
        if let Ok(name) = Reference::parse(&question.image) {
            let said = needs.signers.keys().map(|id| signers::unknown(id, needs, why)).collect();
            known.learn_signers(&asker(&name, digest, question.who()), said, at);
        }
    }

    /// What is kept of images that were removed goes too.
    fn forget_removed(&self) {
        let images = match self.desk.site.store.list() {
            Ok(images) => images,
            Err(error) => return tracing::warn!("cannot list the images: {error}"),
        };
        let is_here = |digest: &Digest| images.iter().any(|image| image.digest == *digest);
        self.desk.site.known.forget_all_but(is_here);
        if let Err(error) = self.bills.keep(is_here) {
            tracing::warn!("cannot remove bills of materials of images that are gone: {error}");
        }
    }
}

impl Desk {
    fn facts(&self, name: &Reference, image: &Image, view: View<'_>) -> ImageFacts {
        let now = (self.clock)().as_second();
        self.site.known.facts(name, &image.digest, &Outline::of(image), view, now)
    }

    fn tell(&self, namespace: &Arc<str>, image: &Arc<str>, facts: ImageFacts, users: Vec<ImageUser>) {
        let (namespace, image) = (namespace.clone(), image.clone());
        (self.report)(Report::Image { namespace, image, facts: Arc::new(facts), users });
    }

    /// What signatures that lie beside the image prove.
    fn learn_kept(&self, name: &Reference, image: &Image, needs: &Needs) {
        if needs.signers.is_empty() {
            return;
        }
        let Site { store, known, .. } = &self.site;
        let asker = asker(name, &image.digest, Who::Kept);
        let subjects = signers::subjects(store, name, image);
        let attached = signers::attached_mark(store, name, &subjects);
        if attached.as_ref().is_ok_and(|attached| known.is_verified(&asker, attached, needs)) {
            return;
        }
        let now = (self.clock)();
        let (said, outcome) = signers::kept(store, name, &subjects, needs, now);
        known.learn_signers(&asker, said, now.as_second());
        match attached.and_then(|attached| outcome.map(|()| attached)) {
            Ok(attached) => known.note_verified(&asker, &attached, needs),
            Err(error) => {
                tracing::warn!(image = %image.digest, "cannot read what is attached to an image: {error}");
            }
        }
    }

    /// Asks the image's registry for signatures.
    fn ask(&self, asked: &Asked) {
        let Asked { id, question, name, image } = asked;
        let mut options = self.site.pull.clone();
        if let Some(credentials) = &question.credentials {
            options.credentials = CredentialSource::DockerConfigJson(credentials.clone());
        }
        let who = question.who();
        let said = signers::asked(&self.site.store, name, image, &question.needs, &options, (self.clock)());
        let at = (self.clock)().as_second();
        self.site.known.learn_signers(&asker(name, &image.digest, who.clone()), said, at);
        let facts = self.facts(name, image, View::Of(&who));
        self.tell(&question.namespace, &question.image, facts, Vec::new());
        (self.hear)(News::Answered(*id));
    }
}

fn asker(name: &Reference, digest: &Digest, who: Who) -> Asker {
    Asker { digest: digest.clone(), repository: name.repository().into(), who }
}

/// Whether something is known that was not before the thread looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    New,
    Nothing,
}

impl Found {
    fn or(self, other: Found) -> Found {
        if self == Found::New { self } else { other }
    }
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
            shells_more: count(self.shells_more),
            setuid_more: count(self.setuid_more),
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
