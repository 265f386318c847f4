//! `POST /upload`.

use axum::extract::multipart::{Field, MultipartError, MultipartRejection};
use axum::extract::{Multipart, State as Shared};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use service_kit::{ClientAddress, Problem, RequestId};
use tokio::task::spawn_blocking;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::State;
use crate::inspect::{Inspected, Refusal, content_type, inspect};
use crate::job::{self, Job};
use crate::workers::Upload;

/// What an accepted upload is answered.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Accepted {
    id: Uuid,
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

/// Takes an image: 202 once a worker has it and it is stored, 503 when no worker is free, 429 for a client that asks too often.
#[utoipa::path(
    post, path = "/upload",
    request_body(content = Form, content_type = "multipart/form-data"),
    responses(
        (
            status = ACCEPTED, body = Accepted,
            headers(("Location" = String, description = "the job"))
        ),
        (status = BAD_REQUEST, description = "`not-multipart`, `no-image`, `broken-form`"),
        (status = PAYLOAD_TOO_LARGE, description = "`body-too-large`"),
        (status = UNSUPPORTED_MEDIA_TYPE, description = "`not-an-image`"),
        (status = UNPROCESSABLE_ENTITY, description = "`broken-image`, `too-many-pixels`"),
        (status = TOO_MANY_REQUESTS, description = "`too-many-requests`")
    )
)]
pub(crate) async fn take(
    Shared(state): Shared<State>,
    Extension(request_id): Extension<RequestId>,
    client: ClientAddress,
    form: Result<Multipart, MultipartRejection>,
) -> Result<Response, Problem> {
    state.rate.check(client)?;
    let form =
        form.map_err(|error| Problem::new(error.status(), "not-multipart", error.body_text()))?;
    let Ok(_body) = state.bodies.try_acquire() else {
        state.metrics.busy.inc();
        return Err(Problem::unavailable(
            "busy",
            "too many uploads are under way",
        ));
    };
    let file = read_image(form, state.limits.bytes).await?;
    let (checked, limits) = (file.clone(), state.limits);
    let inspected = spawn_blocking(move || inspect(&checked, limits)).await;
    let inspected = inspected
        .map_err(|panic| Problem::internal(&panic))?
        .map_err(|refusal| refusal_problem(&refusal))?;

    let Some(worker) = state.workers.idle().await else {
        state.metrics.busy.inc();
        return Err(Problem::unavailable("busy", "no worker is free"));
    };
    let job = new_job(&file, inspected, &request_id);
    let id = job.id;
    let upload = Upload {
        file,
        inspected,
        limits,
        job,
    };
    let taken = worker.take(upload).await;
    taken.map_err(|error| Problem::internal(&error))?;
    Ok(accepted(id))
}

fn new_job(file: &Bytes, inspected: Inspected, request_id: &RequestId) -> Job {
    Job {
        id: Uuid::now_v7(),
        request_id: request_id.as_str().to_owned(),
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
async fn read_image(mut form: Multipart, limit: usize) -> Result<Bytes, Problem> {
    while let Some(field) = form
        .next_field()
        .await
        .map_err(|error| form_problem(&error))?
    {
        if field.name() == Some("image") {
            return read_field(field, limit).await;
        }
    }
    Err(Problem::bad_request(
        "no-image",
        "the form has no field `image`",
    ))
}

async fn read_field(mut field: Field<'_>, limit: usize) -> Result<Bytes, Problem> {
    let mut file = BytesMut::new();
    while let Some(chunk) = field.chunk().await.map_err(|error| form_problem(&error))? {
        if file.len() + chunk.len() > limit {
            return Err(too_large(limit));
        }
        file.extend_from_slice(&chunk);
    }
    Ok(file.freeze())
}

fn too_large(limit: usize) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body-too-large",
        format!("an image has at most {limit} bytes"),
    )
}

fn form_problem(error: &MultipartError) -> Problem {
    let code = match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => "body-too-large",
        _ => "broken-form",
    };
    Problem::new(error.status(), code, error.body_text())
}

fn refusal_problem(refusal: &Refusal) -> Problem {
    match refusal {
        Refusal::NotAnImage => Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "not-an-image",
            refusal.to_string(),
        ),
        Refusal::Broken(_) => Problem::unprocessable("broken-image", refusal.to_string()),
        Refusal::TooManyPixels { .. } => {
            Problem::unprocessable("too-many-pixels", refusal.to_string())
        }
    }
}
