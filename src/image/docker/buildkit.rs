//! Building with BuildKit: the context goes up as with the classic builder, everything else through a session.

use bollard::errors::Error as DockerError;
use bollard::models::{BuildInfo, BuildInfoAux};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use http::Request;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::dockerfile::Messages;
use super::engine::{self, Engine};
use super::query::query;
use super::session::Session;

/// A message of the engine is no longer than this; a trace holds at most a few hundred steps.
const LONGEST: usize = 64 * 1024 * 1024;

/// What to build.
#[derive(Debug)]
pub(super) struct BuildKitBuild<'a> {
    /// Parameters of the API without `version` and `session`.
    pub parameters: Vec<(&'static str, String)>,
    /// What the engine may ask for.
    pub session: &'a Session,
}

/// Starts a build and streams what the engine says; `Err` of the stream for what it reports as an error.
pub(super) async fn start(
    engine: &Engine,
    build: BuildKitBuild<'_>,
    context: impl Stream<Item = Bytes> + Send + 'static,
) -> Result<Messages<'static>, DockerError> {
    let mut parameters = build.parameters;
    parameters.push(("version", "2".to_owned()));
    parameters.push(("session", build.session.id.clone()));
    let url = engine::url(&format!("/build?{}", query(&parameters)));
    let request = Request::post(url)
        .header(CONTENT_TYPE, "application/x-tar")
        .body(bollard::body_stream(context))?;
    let answer = engine.request(request).await?;
    Ok(messages(answer.into_body()))
}

/// The image that a message names.
pub(super) fn image(info: &BuildInfo) -> Option<&str> {
    match &info.aux {
        Some(BuildInfoAux::Default(image)) => image.id.as_deref(),
        _ => None,
    }
}

/// One JSON message a line.
fn messages(body: Incoming) -> Messages<'static> {
    let state = (body, BytesMut::new(), false);
    futures_util::stream::try_unfold(state, |(mut body, mut buffer, mut ended)| async move {
        loop {
            if let Some(line) = next_line(&mut buffer, ended) {
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                let message = message(&line)?;
                return Ok(Some((message, (body, buffer, ended))));
            }
            if ended {
                return Ok(None);
            }
            match body.frame().await {
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        buffer.extend_from_slice(&data);
                    }
                }
                None => ended = true,
            }
            if buffer.len() > LONGEST {
                let error = "a message of the engine is longer than 64 MB".to_owned();
                return Err(DockerError::DockerStreamError { error });
            }
        }
    })
    .boxed()
}

fn next_line(buffer: &mut BytesMut, ended: bool) -> Option<BytesMut> {
    match buffer.iter().position(|byte| *byte == b'\n') {
        Some(end) => Some(buffer.split_to(end + 1)),
        None if ended && !buffer.is_empty() => Some(buffer.split()),
        None => None,
    }
}

fn message(line: &[u8]) -> Result<BuildInfo, DockerError> {
    let info: BuildInfo = serde_json::from_slice(line).map_err(|error| {
        let error = format!("the engine's answer cannot be understood: {error}");
        DockerError::DockerStreamError { error }
    })?;
    match info.error_detail.and_then(|detail| detail.message) {
        Some(error) => Err(DockerError::DockerStreamError { error }),
        None => Ok(BuildInfo {
            error_detail: None,
            ..info
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_from_lines() {
        let mut buffer = BytesMut::from(&b"{\"stream\":\"a\"}\r\n{\"id\":\"moby.image.id\",\"aux\":{\"ID\":\"sha256:1\"}}\n{\"errorDetail\":{\"message\":\"no\"}}"[..]);
        let mut next = |ended| next_line(&mut buffer, ended).map(|line| message(&line));
        let first = next(false).unwrap().unwrap();
        assert_eq!(first.stream.as_deref(), Some("a"));
        let second = next(false).unwrap().unwrap();
        assert_eq!(image(&second), Some("sha256:1"));
        assert!(next(false).is_none(), "the line is not complete");
        let third = next(true).unwrap().unwrap_err();
        assert!(matches!(third, DockerError::DockerStreamError { error } if error == "no"));
        assert!(next(true).is_none());
    }

    #[test]
    fn a_trace_is_read() {
        // One vertex "[internal] load remote build context", as Docker 20.10 sends it.
        let line = br#"{"id":"moby.buildkit.trace","aux":"Cm8KR3NoYTI1NjowMWQ2MmVjZmM4MjdlOTg4NzgxMGE2YTVkZjZiMjMzMmM1Y2MxZDM1OTFlY2Y5NGE2ZDQwZTRiZjdiZGRhMWJiGiRbaW50ZXJuYWxdIGxvYWQgcmVtb3RlIGJ1aWxkIGNvbnRleHQ="}"#;
        let Some(BuildInfoAux::BuildKit(status)) = message(line).unwrap().aux else {
            panic!("no trace");
        };
        assert_eq!(
            status.vertexes[0].name,
            "[internal] load remote build context"
        );
    }
}
