//! The service as its clients see it.

use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, header};
use reqwest::{Client, Response, Url};
use serde::Deserialize;
use service_kit::https;

const USER_AGENT: &str = concat!("simulate/", env!("CARGO_PKG_VERSION"));
const LIMIT: Duration = Duration::from_secs(30);
const BOUNDARY: &str = "---------------------------simulate";

/// A running `upload`. Clones share its connections.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    client: Client,
    url: String,
}

/// What an upload was answered.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Its job.
    Accepted(String),
    /// The code of the problem, the status where there is none, or `no-answer`.
    Refused {
        reason: String,
        retry_after: Option<Duration>,
    },
}

/// How far a job is.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(tag = "state", rename_all = "lowercase")]
pub(crate) enum State {
    Running,
    Done { variants: Vec<String> },
    Failed { reason: String },
}

/// The service does not answer now, or has no time; it may later.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Away;

#[derive(Deserialize)]
struct Accepted {
    id: String,
}

#[derive(Deserialize)]
struct Problem {
    code: String,
}

impl Service {
    /// The service at `url`.
    ///
    /// # Errors
    /// When the roots that HTTPS trusts cannot be read.
    pub(crate) fn new(url: &Url) -> Result<Self, reqwest::Error> {
        Ok(Self {
            client: https::client(USER_AGENT, LIMIT)?,
            url: url.as_str().trim_end_matches('/').to_owned(),
        })
    }

    /// Uploads a file. `request` is the id that the service's logs have.
    pub(crate) async fn upload(&self, file: &Bytes, request: &str) -> Answer {
        let head = format!(
            "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"image\"; filename=\"image\"\r\n\r\n"
        );
        let tail = format!("\r\n--{BOUNDARY}--\r\n");
        let sent = self
            .client
            .post(format!("{}/upload", self.url))
            .header(
                header::CONTENT_TYPE,
                format!("multipart/form-data; boundary={BOUNDARY}"),
            )
            .header("x-request-id", request)
            .body([head.as_bytes(), &file[..], tail.as_bytes()].concat())
            .send()
            .await;
        match sent {
            Ok(response) if response.status() == StatusCode::ACCEPTED => accepted(response).await,
            Ok(response) => refused(response).await,
            Err(_) => no_answer(),
        }
    }

    /// The state of a job; none when the service does not know it.
    pub(crate) async fn job(&self, id: &str) -> Result<Option<State>, Away> {
        let Some(response) = self.get(&format!("/jobs/{id}")).await? else {
            return Ok(None);
        };
        response.json().await.map_err(|_| Away)
    }

    /// An image; none when it is not there.
    pub(crate) async fn image(&self, id: &str, variant: &str) -> Result<Option<Bytes>, Away> {
        let Some(response) = self.get(&format!("/images/{id}/{variant}")).await? else {
            return Ok(None);
        };
        response.bytes().await.map(Some).map_err(|_| Away)
    }

    async fn get(&self, path: &str) -> Result<Option<Response>, Away> {
        let sent = self.client.get(format!("{}{path}", self.url)).send().await;
        match sent {
            Ok(response) if response.status() == StatusCode::OK => Ok(Some(response)),
            Ok(response) if response.status() == StatusCode::NOT_FOUND => Ok(None),
            _ => Err(Away),
        }
    }
}

async fn accepted(response: Response) -> Answer {
    match response.json().await {
        Ok(Accepted { id }) => Answer::Accepted(id),
        Err(_) => no_answer(),
    }
}

async fn refused(response: Response) -> Answer {
    let status = response.status();
    let asked = response.headers().get(header::RETRY_AFTER);
    let seconds = asked.and_then(|value| value.to_str().ok()?.parse().ok());
    let problem: Option<Problem> = response.json().await.ok();
    Answer::Refused {
        reason: problem.map_or_else(|| status.as_u16().to_string(), |problem| problem.code),
        retry_after: seconds.map(Duration::from_secs),
    }
}

/// Whether the service took it is not known: it is nobody's loss.
fn no_answer() -> Answer {
    Answer::Refused {
        reason: "no-answer".to_owned(),
        retry_after: Some(Duration::from_millis(200)),
    }
}
