//! The record of what became of an upload.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::variant::Variant;

/// A job, as it is stored and as it is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Job {
    pub(crate) id: Uuid,
    /// Of the request that brought it, to find it in the logs.
    pub(crate) request: String,
    pub(crate) content_type: String,
    pub(crate) width: u32,
    pub(crate) height: u32,
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
                reason: "the service ended before the job did; upload the image again".to_owned(),
            };
        }
        self
    }
}
