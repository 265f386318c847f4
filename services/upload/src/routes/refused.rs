//! Why an upload is not taken: one code for each reason, in answers and metrics.

use axum::extract::multipart::{MultipartError, MultipartRejection};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use service_kit::{Problem, chain};
use tokio::task::JoinError;

use crate::inspect::Refusal;
use crate::store::StoreError;

/// The reason.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// As the limit of a client answers it.
    #[error("this client asks too often")]
    TooOften(Problem),
    #[error("the body is no multipart form")]
    NotMultipart(#[source] MultipartRejection),
    #[error("the form cannot be read")]
    Form(#[source] MultipartError),
    #[error("the form has no field `image`")]
    NoImage,
    #[error("an image has at most {limit} bytes")]
    TooLarge { limit: usize },
    #[error("nothing more of the body came for {seconds} s")]
    TooSlow { seconds: u64 },
    #[error("the body did not come within {seconds} s")]
    TooLong { seconds: f64 },
    #[error(transparent)]
    Image(Refusal),
    #[error("too many uploads are being received")]
    ManyBodies,
    #[error("this client is sending too many uploads at once")]
    ManyOfOne,
    #[error("no worker is free")]
    NoWorker,
    #[error("the image could not be stored")]
    Store(#[source] StoreError),
    #[error("the image could not be inspected")]
    Inspection(#[source] JoinError),
}

impl Refused {
    /// For programs; it does not change.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::TooOften(_) => "too-many-requests",
            Self::NotMultipart(_) => "not-multipart",
            Self::Form(error) if is_too_large(error) => "body-too-large",
            Self::Form(_) => "broken-form",
            Self::NoImage => "no-image",
            Self::TooLarge { .. } => "body-too-large",
            Self::TooSlow { .. } | Self::TooLong { .. } => "body-too-slow",
            Self::Image(refusal) => image_code(refusal),
            Self::ManyBodies | Self::ManyOfOne | Self::NoWorker => "busy",
            Self::Store(_) => "store-unavailable",
            Self::Inspection(_) => "internal",
        }
    }

    fn problem(self) -> Problem {
        let (code, detail) = (self.code(), self.to_string());
        match self {
            Self::TooOften(problem) => problem,
            Self::NotMultipart(error) => Problem::new(error.status(), code, error.body_text()),
            Self::Form(error) => Problem::new(error.status(), code, error.body_text()),
            Self::NoImage => Problem::bad_request(code, detail),
            Self::TooLarge { .. } => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, code, detail),
            Self::TooSlow { .. } | Self::TooLong { .. } => {
                Problem::new(StatusCode::REQUEST_TIMEOUT, code, detail)
            }
            Self::Image(Refusal::NotAnImage) => {
                Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, code, detail)
            }
            Self::Image(_) => Problem::unprocessable(code, detail),
            Self::ManyBodies | Self::ManyOfOne | Self::NoWorker => {
                Problem::unavailable(code, detail)
            }
            Self::Store(error) => store_problem(&error),
            Self::Inspection(panic) => Problem::internal(&panic),
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        self.problem().into_response()
    }
}

/// 503 while the store is away, 500 when what is in it cannot be read.
pub(crate) fn store_problem(error: &StoreError) -> Problem {
    match error {
        StoreError::Record(_) => Problem::internal(error),
        StoreError::Objects(_) | StoreError::Folder(_) => {
            tracing::error!(error = chain(error), "the store failed");
            Problem::unavailable("store-unavailable", "images cannot be stored or read now")
        }
    }
}

fn image_code(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::NotAnImage => "not-an-image",
        Refusal::Broken(_) | Refusal::Empty | Refusal::Contradicts { .. } => "broken-image",
        Refusal::HeadTooLarge => "head-too-large",
        Refusal::TooManyPixels { .. } => "too-many-pixels",
    }
}

fn is_too_large(error: &MultipartError) -> bool {
    error.status() == StatusCode::PAYLOAD_TOO_LARGE
}
