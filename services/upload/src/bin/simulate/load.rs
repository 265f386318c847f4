//! The load: clients that upload at the same time, then follow the jobs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

use crate::images;
use crate::service::{Answer, Service, State};

/// Between two looks at a job that is still running.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What an image has once its job is done.
const VARIANTS: [&str; 3] = ["original", "medium", "thumbnail"];

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) uploads: usize,
    pub(crate) clients: usize,
    /// With one upload until it is accepted, and with one job until it has ended.
    pub(crate) patience: Duration,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// From the first upload to the last answer.
    pub(crate) took: Duration,
    /// How long each accepted upload waited for its answer.
    pub(crate) answers: Vec<Duration>,
    /// Answers by reason; an upload may be refused many times.
    pub(crate) refused: BTreeMap<String, usize>,
    pub(crate) gave_up: usize,
    pub(crate) done: usize,
    pub(crate) failed: usize,
    pub(crate) lost: usize,
}

/// An upload that was accepted.
#[derive(Clone, Debug)]
struct Accepted {
    id: String,
    file: Bytes,
}

/// What became of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Done,
    Failed,
    Lost,
}

/// What the clients share.
struct Shared {
    service: Service,
    plan: Plan,
    images: Vec<Bytes>,
    next: AtomicUsize,
    accepted: Mutex<Vec<Accepted>>,
    ended: AtomicUsize,
    outcome: Mutex<Outcome>,
}

/// Uploads, then follows. Says on stderr how far it is.
pub(crate) async fn run(service: Service, plan: Plan) -> Outcome {
    let shared = Arc::new(Shared {
        service,
        plan,
        images: images::all().expect("small images can be encoded"),
        next: AtomicUsize::new(0),
        accepted: Mutex::default(),
        ended: AtomicUsize::new(0),
        outcome: Mutex::default(),
    });
    let watching = tokio::spawn(watch(Arc::clone(&shared)));
    let started = Instant::now();
    at_once(plan.clients, || upload_all(Arc::clone(&shared))).await;
    let took = started.elapsed();
    shared.next.store(0, Ordering::Relaxed);
    at_once(plan.clients, || follow_all(Arc::clone(&shared))).await;
    watching.abort();
    Outcome {
        took,
        ..std::mem::take(&mut *lock(&shared.outcome))
    }
}

async fn at_once<F>(clients: usize, client: impl Fn() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let clients: JoinSet<()> = (0..clients).map(|_| client()).collect();
    clients.join_all().await;
}

async fn upload_all(shared: Arc<Shared>) {
    loop {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        if number >= shared.plan.uploads {
            return;
        }
        match upload(&shared, number).await {
            Some(accepted) => lock(&shared.accepted).push(accepted),
            None => lock(&shared.outcome).gave_up += 1,
        }
    }
}

/// Uploads until it is accepted, as often as the service lets it; none when the
/// patience is at its end or a refusal leaves no hope.
async fn upload(shared: &Shared, number: usize) -> Option<Accepted> {
    let file = &shared.images[number % shared.images.len()];
    let request = format!("simulate-{number}");
    let started = Instant::now();
    loop {
        let asked = Instant::now();
        match shared.service.upload(file, &request).await {
            Answer::Accepted(id) => {
                lock(&shared.outcome).answers.push(asked.elapsed());
                let file = file.clone();
                return Some(Accepted { id, file });
            }
            Answer::Refused {
                reason,
                retry_after,
            } => {
                *lock(&shared.outcome).refused.entry(reason).or_default() += 1;
                let wait = retry_after? + apart(number);
                if started.elapsed() + wait > shared.plan.patience {
                    return None;
                }
                sleep(wait).await;
            }
        }
    }
}

/// So that those who were refused together do not come back together.
fn apart(number: usize) -> Duration {
    Duration::from_millis((number * 37 % 500) as u64)
}

async fn follow_all(shared: Arc<Shared>) {
    loop {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        let accepted = lock(&shared.accepted).get(number).cloned();
        let Some(accepted) = accepted else { return };
        let end = follow(&shared, &accepted).await;
        shared.ended.fetch_add(1, Ordering::Relaxed);
        let mut outcome = lock(&shared.outcome);
        match end {
            End::Done => outcome.done += 1,
            End::Failed => outcome.failed += 1,
            End::Lost => outcome.lost += 1,
        }
    }
}

/// Waits for the end of a job. What cannot be found, does not end in time or
/// has not its images is lost.
#[expect(clippy::print_stderr, reason = "which jobs to look for in the logs")]
async fn follow(shared: &Shared, accepted: &Accepted) -> End {
    let (service, started) = (&shared.service, Instant::now());
    while started.elapsed() < shared.plan.patience {
        match service.job(&accepted.id).await {
            Ok(Some(State::Done { variants })) => {
                match all_there(service, accepted, &variants).await {
                    Some(true) => return End::Done,
                    Some(false) => {
                        eprintln!("job {} is done and its images are not there", accepted.id);
                        return End::Lost;
                    }
                    None => {}
                }
            }
            Ok(Some(State::Failed { reason })) => {
                eprintln!("job {} failed: {reason}", accepted.id);
                return End::Failed;
            }
            Ok(None) => {
                eprintln!("job {} is not known", accepted.id);
                return End::Lost;
            }
            Ok(Some(State::Running)) | Err(_) => {}
        }
        sleep(LOOK_AGAIN).await;
    }
    eprintln!("job {} did not end", accepted.id);
    End::Lost
}

/// Whether the original is what was sent and the other variants exist; none
/// while the service does not answer.
async fn all_there(service: &Service, accepted: &Accepted, variants: &[String]) -> Option<bool> {
    let is_named = |variant: &&str| variants.iter().any(|named| named == variant);
    if !VARIANTS.iter().all(is_named) {
        return Some(false);
    }
    for variant in VARIANTS {
        let image = service.image(&accepted.id, variant).await.ok()?;
        let is_there = match image {
            Some(image) if variant == "original" => image == accepted.file,
            Some(image) => !image.is_empty(),
            None => false,
        };
        if !is_there {
            return Some(false);
        }
    }
    Some(true)
}

#[expect(clippy::print_stderr, reason = "how far it is")]
async fn watch(shared: Arc<Shared>) {
    let mut seconds = interval(Duration::from_secs(1));
    loop {
        seconds.tick().await;
        let accepted = lock(&shared.accepted).len();
        let refused: usize = lock(&shared.outcome).refused.values().sum();
        let ended = shared.ended.load(Ordering::Relaxed);
        let uploads = shared.plan.uploads;
        eprintln!("{accepted} of {uploads} accepted, {refused} refusals, {ended} followed");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
