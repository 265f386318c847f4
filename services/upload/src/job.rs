//! The record of what became of an upload.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::variant::Variant;

/// A job, as it is stored and as it is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// Of the image too.
    pub(crate) id: Uuid,
    /// The `x-request-id` of the upload, which is in every log line about the job.
    pub(crate) request: String,
    /// `image/png`, `image/jpeg`, `image/gif` or `image/webp`, by content.
    pub(crate) content_type: String,
    /// In pixels, as the file has it.
    pub(crate) width: u32,
    /// In pixels, as the file has it.
    pub(crate) height: u32,
    /// Of the file.
    pub(crate) bytes: usize,
    #[serde(flatten)]
    pub(crate) state: State,
}

/// How far a job is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "state", rename_all = "lowercase")]
pub(crate) enum State {
    /// A worker is at it.
    Running,
    /// All variants can be had.
    Done { variants: Vec<Variant> },
    /// It will not be done.
    Failed { reason: String },
}

impl Job {
    /// A job that is recorded as running and that nobody works on was cut off
    /// by a crash.
    pub(crate) fn interrupted(mut self) -> Self {
        if self.state == State::Running {
            self.state = State::Failed {
                reason: "the job was cut off before its end; upload the image again".to_owned(),
            };
        }
        self
    }
}
