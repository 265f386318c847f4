//! Parsers behind HTTP: the bytes go into one place of a request that is sensible otherwise. Whatever they are, the
//! answer is one that `/openapi.json` promises.

use std::sync::LazyLock;

use serde_json::json;
use service_kit::testing::{Contract, Slot};
use service_kit::{Kit, Reader, StartError, Unusable, about};
use tokio::runtime::Runtime;
use utoipa_axum::router::OpenApiRouter;

/// A service in this process, with a store in memory.
struct Service {
    runtime: Runtime,
    contract: Contract,
}

static BIRTHDAY: LazyLock<Service> =
    LazyLock::new(|| Service::start(&[], birthday::configure, birthday::start));
static COUNTER: LazyLock<Service> =
    LazyLock::new(|| Service::start(&[], counter::configure, counter::start));
static HITS_API: LazyLock<Service> =
    LazyLock::new(|| Service::start(&[], hits_api::configure, hits_api::start));
static UPLOAD: LazyLock<Service> = LazyLock::new(|| {
    let unlimited = [("UPLOADS_PER_SECOND", "100000")];
    Service::start(&unlimited, upload::configure, upload::start)
});

impl Service {
    fn start<C, F>(
        environment: &[(&str, &str)],
        configure: fn(&mut Reader<'_>) -> Result<C, Unusable>,
        start: F,
    ) -> Self
    where
        F: AsyncFnOnce(C, &mut Kit) -> Result<OpenApiRouter, StartError>,
    {
        let runtime = Runtime::new().expect("a runtime can be started");
        let contract = Contract::of(about!(), environment, configure, start);
        Self {
            contract: runtime.block_on(contract),
            runtime,
        }
    }

    /// The status of the answer; none where HTTP has no such request.
    fn send(&self, operation: &str, slot: Slot<'_>) -> Option<u16> {
        let draft = self.contract.draft(operation, slot);
        let answered = self.runtime.block_on(self.contract.send(&draft));
        answered.unwrap_or_else(|fault| panic!("{fault}"))
    }
}

/// `dateOfBirth`.
pub(crate) fn birthday_date(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let body = json!({ "dateOfBirth": text }).to_string();
    let status = BIRTHDAY.send("PUT /hello/{user}", Slot::Body(body.as_bytes()));
    if status == Some(204) {
        assert!(
            text.len() == 10 && text.split('-').count() == 3,
            "{text} was stored"
        );
    }
}

/// A user, as a part of a path.
pub(crate) fn birthday_user(data: &[u8]) {
    let status = BIRTHDAY.send("GET /hello/{user}", Slot::Path(data));
    let letters = (1..=64).contains(&data.len()) && data.iter().all(u8::is_ascii_alphabetic);
    assert_eq!(
        matches!(status, Some(200 | 404)),
        letters || data.is_empty(),
        "{status:?}"
    );
}

/// A counter's name, as a part of a path.
pub(crate) fn counter_name(data: &[u8]) {
    let status = COUNTER.send("GET /counters/{name}", Slot::Path(data));
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    let is_name = (1..=128).contains(&data.len()) && data.iter().all(allowed);
    assert_eq!(
        matches!(status, Some(200 | 404)),
        is_name || data.is_empty(),
        "{status:?}"
    );
}

/// How much is added.
pub(crate) fn counter_by(data: &[u8]) {
    let query = [b"by=", data].concat();
    let _ = COUNTER.send("POST /counters/{name}", Slot::Query(&query));
}

/// An increment.
pub(crate) fn increment_body(data: &[u8]) {
    let _ = HITS_API.send("POST /increment", Slot::Body(data));
}

/// What makes a repetition one.
pub(crate) fn idempotency_key(data: &[u8]) {
    let status = HITS_API.send("POST /increment", Slot::Header("idempotency-key", data));
    let is_key = (1..=255).contains(&data.len()) && data.iter().all(u8::is_ascii_graphic);
    if status.is_some() {
        assert_eq!(status == Some(200), is_key, "{status:?}");
    }
}

/// Whose sum is asked for, as a part of a path.
pub(crate) fn increment_key(data: &[u8]) {
    let _ = HITS_API.send("GET /increment/{key}", Slot::Path(data));
}

/// The id that a request brings; it goes into logs, answers and requests to others.
pub(crate) fn request_id(data: &[u8]) {
    let _ = BIRTHDAY.send("GET /hello/{user}", Slot::Header("x-request-id", data));
}

/// Which jobs.
pub(crate) fn jobs_query(data: &[u8]) {
    let _ = UPLOAD.send("GET /jobs", Slot::Query(data));
}

/// Which job, as a part of a path.
pub(crate) fn job_id(data: &[u8]) {
    let status = UPLOAD.send("GET /jobs/{id}", Slot::Path(data));
    assert_ne!(status, Some(200), "nobody knows its id");
}

/// Which image and which variant of it, as `ID/VARIANT`.
pub(crate) fn image_path(data: &[u8]) {
    let status = UPLOAD.send("GET /images/{id}/{variant}", Slot::Path(data));
    assert_ne!(status, Some(200), "nobody knows its id");
}

/// A form, with all that is around its file.
pub(crate) fn upload_form(data: &[u8]) {
    let _ = UPLOAD.send("POST /upload", Slot::Body(data));
}

/// An image: inspected, and decoded by a worker where it is taken.
pub(crate) fn upload_image(data: &[u8]) {
    let _ = UPLOAD.send("POST /upload", Slot::File(data));
}
