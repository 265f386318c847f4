//! `POST /upload`.

use std::time::Duration;

use axum::extract::multipart::{Field, MultipartError, MultipartRejection};
use axum::extract::{Multipart, State as Shared};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use service_kit::{ClientAddress, RequestId};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::State;
use crate::inspect::{Inspected, content_type, inspect};
use crate::job::{self, Job};
use crate::routes::refused::Refused;
use crate::workers::Upload;

/// How long a client may send nothing in the middle of a body: it keeps others
/// from sending theirs.
const SILENCE: Duration = Duration::from_secs(3);

/// What an accepted upload is answered.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Accepted {
    /// Of the job, and of the image.
    id: Uuid,
    /// The path of the job.
    #[schema(example = "/jobs/0190163d-8694-739b-aea5-966c26f8ad90")]
    job: String,
}

/// What is uploaded.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it only describes the form")]
pub(crate) struct Form {
    /// A PNG, JPEG, GIF or WebP.
    #[schema(format = Binary, content_media_type = "application/octet-stream")]
    image: String,
}

/// Takes an image, once a worker has it and it is stored.
#[utoipa::path(
    post, path = "/upload", tag = "images",
    request_body(content = Form, content_type = "multipart/form-data"),
    responses(
        (
            status = ACCEPTED, body = Accepted, description = "a worker has it and it is stored",
            headers(("Location" = String, description = "the job"))
        ),
        (status = BAD_REQUEST, description = "`not-multipart`, `broken-form`, `no-image`"),
        (status = REQUEST_TIMEOUT, description = "`body-too-slow`"),
        (status = PAYLOAD_TOO_LARGE, description = "`body-too-large`"),
        (status = UNSUPPORTED_MEDIA_TYPE, description = "`not-an-image`"),
        (
            status = UNPROCESSABLE_ENTITY,
            description = "`broken-image`, `head-too-large`, `too-many-pixels`"
        ),
        (
            status = TOO_MANY_REQUESTS, description = "`too-many-requests`",
            headers(("Retry-After" = u64, description = "seconds"))
        ),
        (
            status = SERVICE_UNAVAILABLE,
            description = "`busy`, `store-unavailable`, `request-timed-out`",
            headers(("Retry-After" = u64, description = "seconds; not with `request-timed-out`"))
        ),
    )
)]
pub(crate) async fn take(
    Shared(state): Shared<State>,
    Extension(request_id): Extension<RequestId>,
    client: ClientAddress,
    form: Result<Multipart, MultipartRejection>,
) -> Result<Response, Refused> {
    let taken = match state.rate.check(client) {
        Ok(()) => receive(&state, &request_id, client, form).await,
        Err(problem) => Err(Refused::TooOften(problem)),
    };
    taken
        .map(accepted)
        .inspect_err(|refused| state.metrics.refused(refused.code()))
}

/// The id of the job that an upload has become.
async fn receive(
    state: &State,
    request_id: &RequestId,
    client: ClientAddress,
    form: Result<Multipart, MultipartRejection>,
) -> Result<Uuid, Refused> {
    let form = form.map_err(Refused::NotMultipart)?;
    let _place = state.bodies.place(client)?;
    let file = timeout(state.body_limit, read_image(form, state.limits.bytes));
    let file = file.await.map_err(|_| Refused::TooLong {
        seconds: state.body_limit.as_secs_f64(),
    })??;
    let (checked, limits) = (file.clone(), state.limits);
    let inspected = spawn_blocking(move || inspect(&checked, limits)).await;
    let inspected = inspected
        .map_err(Refused::Inspection)?
        .map_err(Refused::Image)?;

    let worker = state.workers.idle().await.ok_or(Refused::NoWorker)?;
    let job = new_job(&file, inspected, request_id);
    let id = job.id;
    let upload = Upload {
        file,
        inspected,
        limits,
        job,
    };
    worker.take(upload).await.map_err(Refused::Store)?;
    Ok(id)
}

fn new_job(file: &Bytes, inspected: Inspected, request_id: &RequestId) -> Job {
    Job {
        id: Uuid::now_v7(),
        request: request_id.as_str().to_owned(),
        content_type: content_type(inspected.format)
            .unwrap_or_default()
            .to_owned(),
        width: inspected.width,
        height: inspected.height,
        bytes: file.len(),
        state: job::State::Running,
    }
}

fn accepted(id: Uuid) -> Response {
    let job = format!("/jobs/{id}");
    let location = HeaderValue::try_from(&job).expect("a path of ASCII");
    let body = Json(Accepted { id, job });
    (StatusCode::ACCEPTED, [(header::LOCATION, location)], body).into_response()
}

/// The file in the field `image`; other fields are passed over.
async fn read_image(mut form: Multipart, limit: usize) -> Result<Bytes, Refused> {
    while let Some(mut field) = spoken(form.next_field()).await? {
        if field.name() == Some("image") {
            return read_field(field, limit).await;
        }
        // Piece by piece: as a step to the next field, all of it would count as silence.
        while spoken(field.chunk()).await?.is_some() {}
    }
    Err(Refused::NoImage)
}

async fn read_field(mut field: Field<'_>, limit: usize) -> Result<Bytes, Refused> {
    let mut file = BytesMut::new();
    while let Some(chunk) = spoken(field.chunk()).await? {
        if file.len() + chunk.len() > limit {
            return Err(Refused::TooLarge { limit });
        }
        file.extend_from_slice(&chunk);
    }
    Ok(file.freeze())
}

/// What the client sends next, if it does so in time.
async fn spoken<T>(next: impl Future<Output = Result<T, MultipartError>>) -> Result<T, Refused> {
    match timeout(SILENCE, next).await {
        Ok(next) => next.map_err(Refused::Form),
        Err(_) => Err(Refused::TooSlow {
            seconds: SILENCE.as_secs(),
        }),
    }
}
