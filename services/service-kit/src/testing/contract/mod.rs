//! The contract of every service: what `/openapi.json` promises is what is answered, whatever is sent.

mod answer;
mod body;
mod document;
mod draft;
mod path;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::{Duration, Instant};

use axum::Router;
use http::Method;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};
use tokio::runtime::Handle;
use tokio::task::block_in_place;
use utoipa_axum::router::OpenApiRouter;

use self::document::Document;
pub use self::draft::{Draft, Slot};
use super::http::{call, request};
use crate::about::About;
use crate::config::{self, Reader, Unusable};
use crate::kit::Kit;
use crate::lifecycle::Lifecycle;
use crate::run::StartError;
use crate::settings::Settings;

/// Requests for each operation of a document.
const CASES: u32 = 600;
/// A service whose answers take long gets fewer.
const LIMIT: Duration = Duration::from_secs(15);
/// But never fewer than this for each operation, however long it takes.
const LEAST: u32 = 200;
/// Chooses them.
const SEED: &str = "STACKCTL_TEST_SEED";
const START_LIMIT: Duration = Duration::from_secs(30);

/// A service, called in-process, and the document it gives of itself.
#[derive(Debug)]
pub struct Contract {
    app: Router,
    document: Document,
    lifecycle: Lifecycle,
}

/// How often which status was answered, by operation.
type Seen = BTreeMap<(String, u16), u32>;

/// Starts a service as [`run`](crate::run) does, with this environment, and checks all of its contract: its document;
/// that each operation takes what the document says; and that it answers as documented whatever it is sent. Needs
/// a runtime of several threads.
///
/// # Panics
/// When the service does not start, or breaks its contract; says how, and the seed.
pub async fn contract<C, F>(
    about: About,
    environment: &[(&str, &str)],
    configure: fn(&mut Reader<'_>) -> Result<C, Unusable>,
    start: F,
) where
    F: AsyncFnOnce(C, &mut Kit) -> Result<OpenApiRouter, StartError>,
{
    let contract = Contract::of(about, environment, configure, start).await;
    contract.wait_until_ready().await;
    contract.document.check();
    contract.check_routes().await;
    contract.check_examples().await;
    contract.check_anything();
    contract.lifecycle.stop().await;
}

impl Contract {
    /// A service with this environment, which may not be ready yet.
    ///
    /// # Panics
    /// When it does not start, or its document is none.
    pub async fn of<C, F>(
        about: About,
        environment: &[(&str, &str)],
        configure: fn(&mut Reader<'_>) -> Result<C, Unusable>,
        start: F,
    ) -> Self
    where
        F: AsyncFnOnce(C, &mut Kit) -> Result<OpenApiRouter, StartError>,
    {
        let lookup = |name: &str| {
            let set = environment.iter().find(|(key, _)| *key == name);
            set.map(|(_, value)| OsString::from(value))
        };
        let config = config::read(&lookup, configure).unwrap_or_else(|error| panic!("{error}"));
        let mut kit = Kit::new(about, Settings::default());
        let routes = start(config, &mut kit).await;
        let app = kit.app(routes.unwrap_or_else(|error| panic!("it does not start: {error}")));
        let text = call(&app, request("GET", "/openapi.json", &().into())).await;
        Self {
            document: Document::read(&text.json()),
            app,
            lifecycle: kit.lifecycle().clone(),
        }
    }

    /// Sends one request and judges the answer; gives its status. None where it is no request of HTTP.
    ///
    /// # Errors
    /// Says how the answer breaks the contract.
    pub async fn send(&self, draft: &Draft) -> Result<Option<u16>, String> {
        let Some(request) = draft.to_request() else {
            return Ok(None);
        };
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let answer = call(&self.app, request).await;
        answer::judge(&self.document, &method, &path, &answer)
            .map(|()| Some(answer.status.as_u16()))
            .map_err(|fault| format!("{fault}\n{draft:?}\nwas answered {answer}"))
    }

    /// The example of an operation, such as `PUT /hello/{user}`, with bytes in one place.
    ///
    /// # Panics
    /// When there is no such operation.
    pub fn draft(&self, operation: &str, slot: Slot<'_>) -> Draft {
        let mut operations = self.document.operations().iter();
        let found = operations.find(|found| found.name() == operation);
        Draft::with(found.expect("the operation is documented"), slot)
    }

    async fn wait_until_ready(&self) {
        let started = Instant::now();
        loop {
            let answer = call(&self.app, request("GET", "/readyz", &().into())).await;
            if answer.status == 200 {
                return;
            }
            assert!(
                started.elapsed() < START_LIMIT,
                "it does not get ready: {answer}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The routes that there are are the documented ones, with the documented methods.
    async fn check_routes(&self) {
        let routed = routed(&self.app);
        let documented: Vec<&str> = self.document.paths().collect();
        assert_eq!(routed, documented, "routes, and what is documented");
        for path in documented {
            let example = self.document.example_path(path);
            let answer = call(&self.app, request("PROPFIND", &example, &().into())).await;
            assert_eq!(answer.status, 405, "PROPFIND {path}");
            let judged = answer::judge(
                &self.document,
                &Method::from_bytes(b"PROPFIND").expect("a method"),
                &example,
                &answer,
            );
            judged.unwrap_or_else(|fault| panic!("PROPFIND {path}: {fault}"));
        }
    }

    /// What the document gives as examples is taken.
    async fn check_examples(&self) {
        for operation in self.document.operations() {
            let draft = Draft::example(operation);
            let status = self.send(&draft).await;
            let status = status.unwrap_or_else(|fault| panic!("{fault}"));
            let status = status.unwrap_or_else(|| panic!("no request: {draft:?}"));
            assert!(
                status < 400 || status == 404,
                "{} does not take its own example: {status} for {draft:?}",
                operation.name()
            );
        }
    }

    /// Whatever is sent.
    #[expect(
        clippy::disallowed_methods,
        reason = "proptest calls a function that is not async; `check` asks for a runtime of several threads"
    )]
    #[expect(clippy::print_stdout, reason = "a test says how much it tried")]
    fn check_anything(&self) {
        let operations = self.document.operations();
        let seed = seed();
        let mut runner = TestRunner::new(Config {
            cases: CASES * operations.len() as u32,
            rng_seed: RngSeed::Fixed(seed),
            failure_persistence: None,
            ..Config::default()
        });
        let seen = std::cell::RefCell::new(Seen::new());
        let (handle, started) = (Handle::current(), Instant::now());
        let (sent, least) = (std::cell::Cell::new(0), LEAST * operations.len() as u32);
        let drafts = draft::any_draft(operations)
            .prop_filter("not HTTP", |draft| draft.to_request().is_some());
        let outcome = runner.run(&drafts, |draft| {
            if sent.get() >= least && started.elapsed() > LIMIT {
                return Ok(());
            }
            sent.set(sent.get() + 1);
            let answered = block_in_place(|| handle.block_on(self.send(&draft)));
            let status = answered.map_err(TestCaseError::fail)?;
            let mut seen = seen.borrow_mut();
            *seen
                .entry((draft.aims_at, status.unwrap_or(0)))
                .or_default() += 1;
            Ok(())
        });
        if let Err(TestError::Fail(fault, _)) = &outcome {
            panic!("{SEED}={seed}\n{fault}");
        }
        outcome.unwrap_or_else(|error| panic!("{SEED}={seed}\n{error}"));
        println!(
            "{} requests for {} operations",
            sent.get(),
            operations.len()
        );
        assert!(sent.get() >= least, "{} requests only", sent.get());
        // Else it would be no test of what is behind the routes.
        for operation in operations {
            let name = operation.name();
            let count = seen.borrow().keys().filter(|(aim, _)| *aim == name).count();
            assert!(
                count >= 2,
                "{SEED}={seed}: {name} answered one thing only: {:?}",
                seen.borrow()
            );
        }
    }
}

/// The paths of a router, sorted. It tells them nowhere but in its `Debug`.
fn routed(app: &Router) -> Vec<String> {
    let text = format!("{app:?}");
    let (_, text) = text
        .split_once("paths: {")
        .expect("a router has a map of its paths");
    let mut paths = Vec::new();
    for entry in text.split("RouteId(").skip(1) {
        let mut parts = entry.splitn(3, '"').skip(1);
        paths.extend(parts.next().map(String::from));
        if !parts.next().is_some_and(|rest| rest.starts_with(", ")) {
            break;
        }
    }
    paths.sort_unstable();
    paths
}

fn seed() -> u64 {
    let given = std::env::var(SEED).ok();
    given.map_or_else(
        || uuid::Uuid::new_v4().as_u64_pair().0,
        |seed| seed.parse().expect("the seed is a number"),
    )
}
