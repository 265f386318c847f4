//! A stream to one port of one pod, over the API server's port-forward WebSocket.
//!
//! The protocol (`v4.channel.k8s.io`): every frame starts with the byte of its channel, 0 for data and
//! 1 for an error; the first frame of each channel holds the port. There is no half-close: the only
//! end is that of the whole stream. kube's own `Portforwarder` pumps both directions in one loop, so
//! that a client that has finished sending, or a pod that answers before it has read everything, loses
//! the answer; here the two directions are independent.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{Sink, SinkExt, StreamExt, future};
use k8s_openapi::api::core::v1::Pod;
use kube::Resource;
use tokio_tungstenite::tungstenite::{self, Message};

/// Opens streams to pods.
pub(super) trait Dial: Send + Sync + 'static {
    /// One stream to `port` of `pod`.
    fn dial(
        &self,
        pod: &str,
        port: u16,
    ) -> impl Future<Output = Result<Upstream, UpstreamError>> + Send;
}

/// An open stream; its two directions do not wait for each other.
pub(super) struct Upstream {
    /// To the pod; closing it ends both directions.
    pub(super) outgoing: Pin<Box<dyn Sink<Bytes, Error = UpstreamError> + Send>>,
    /// From the pod; ends where the pod closes.
    pub(super) incoming: BoxStream<'static, Result<Bytes, UpstreamError>>,
}

/// Why a stream to a pod could not be opened or broke.
#[derive(Debug, thiserror::Error)]
pub(super) enum UpstreamError {
    /// The API server did not open the stream.
    #[error("the API server did not open a stream to the pod")]
    Open(#[source] Box<kube::Error>),
    /// It took too long.
    #[error("the API server did not answer in time")]
    Slow,
    /// The node could not connect to the port, or lost the connection.
    #[error("the pod's node reports: {0}")]
    Node(String),
    /// The connection to the API server broke.
    #[error("the connection to the API server broke")]
    Broken(#[source] Box<tungstenite::Error>),
    /// The API server does not speak the protocol.
    #[error("the API server sent a frame that is none of the port-forward protocol")]
    Protocol,
}

impl UpstreamError {
    /// Whether the port was never reached, so that nothing of what was sent can have had an effect.
    pub(super) fn never_connected(&self) -> bool {
        const BEFORE_CONNECTING: [&str; 7] = [
            "refused",
            "not found",
            "not running",
            "does not exist",
            "network namespace",
            "failed to connect",
            "unable to do port forwarding",
        ];
        match self {
            Self::Open(_) | Self::Slow => true,
            Self::Node(message) => {
                let message = message.to_lowercase();
                BEFORE_CONNECTING.iter().any(|text| message.contains(text))
            }
            Self::Broken(_) | Self::Protocol => false,
        }
    }
}

/// Dials through the API server.
pub(super) struct ThroughApi {
    client: kube::Client,
    namespace: String,
}

impl ThroughApi {
    pub(super) fn new(client: kube::Client, namespace: impl Into<String>) -> Self {
        Self {
            client,
            namespace: namespace.into(),
        }
    }
}

impl Dial for ThroughApi {
    async fn dial(&self, pod: &str, port: u16) -> Result<Upstream, UpstreamError> {
        let request = kube::core::Request::new(Pod::url_path(&(), Some(&self.namespace)))
            .portforward(pod, &[port])
            .map_err(|error| UpstreamError::Open(Box::new(kube::Error::BuildRequest(error))))?;
        let connection = self
            .client
            .connect(request)
            .await
            .map_err(|error| UpstreamError::Open(Box::new(error)))?;
        let (sink, frames) = connection.into_stream().split();
        let outgoing = sink
            .sink_map_err(|error| UpstreamError::Broken(Box::new(error)))
            .with(|data: Bytes| future::ready(Ok(data_frame(&data))));
        Ok(Upstream {
            outgoing: Box::pin(outgoing),
            incoming: incoming(frames, port).boxed(),
        })
    }
}

fn data_frame(data: &[u8]) -> Message {
    let mut frame = Vec::with_capacity(data.len() + 1);
    frame.push(DATA);
    frame.extend_from_slice(data);
    Message::binary(frame)
}

const DATA: u8 = 0;
const ERROR: u8 = 1;

/// Which channels have sent their first frame.
type Started = [bool; 2];

fn incoming(
    frames: impl stream::Stream<Item = Result<Message, tungstenite::Error>> + Send + 'static,
    port: u16,
) -> impl stream::Stream<Item = Result<Bytes, UpstreamError>> + Send {
    let mut started = Started::default();
    frames
        .take_while(|frame| future::ready(!matches!(frame, Ok(Message::Close(_)))))
        .filter_map(move |frame| {
            future::ready(match frame {
                Ok(Message::Binary(frame)) => payload(frame, port, &mut started).transpose(),
                Ok(_) => None,
                Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed) => {
                    None
                }
                Err(error) => Some(Err(UpstreamError::Broken(Box::new(error)))),
            })
        })
}

/// What a frame says; nothing for the first frame of a channel and for empty ones.
fn payload(
    mut frame: Bytes,
    port: u16,
    started: &mut Started,
) -> Result<Option<Bytes>, UpstreamError> {
    if frame.is_empty() {
        return Ok(None);
    }
    let channel = frame.split_to(1)[0];
    let started = started
        .get_mut(usize::from(channel))
        .ok_or(UpstreamError::Protocol)?;
    if !*started {
        *started = true;
        return match <[u8; 2]>::try_from(frame.as_ref()) {
            Ok(bytes) if u16::from_le_bytes(bytes) == port => Ok(None),
            _ => Err(UpstreamError::Protocol),
        };
    }
    match channel {
        _ if frame.is_empty() => Ok(None),
        ERROR => Err(UpstreamError::Node(
            String::from_utf8_lossy(&frame).trim().to_owned(),
        )),
        _ => Ok(Some(frame)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(frames: Vec<Result<Message, tungstenite::Error>>) -> Vec<Result<Bytes, String>> {
        incoming(stream::iter(frames), 8080)
            .map(|item| item.map_err(|error| error.to_string()))
            .collect()
            .await
    }

    fn frame(bytes: &[u8]) -> Result<Message, tungstenite::Error> {
        Ok(Message::binary(bytes.to_vec()))
    }

    #[tokio::test]
    async fn first_frames_carry_the_port_and_data_follows() {
        let got = read(vec![
            frame(&[0, 0x90, 0x1f]),
            frame(&[1, 0x90, 0x1f]),
            frame(b"\0hello"),
            frame(&[0]),
            frame(b"\0 world"),
            Ok(Message::Close(None)),
            frame(b"\0never"),
        ])
        .await;
        assert_eq!(got, [Ok(Bytes::from("hello")), Ok(Bytes::from(" world"))]);
    }

    #[tokio::test]
    async fn the_error_channel_ends_in_an_error_with_its_text() {
        let got = read(vec![
            frame(&[0, 0x90, 0x1f]),
            frame(&[1, 0x90, 0x1f]),
            frame(b"\x01connection refused\n"),
        ])
        .await;
        assert_eq!(
            got,
            [Err("the pod's node reports: connection refused".to_owned())]
        );
    }

    #[tokio::test]
    async fn another_port_or_channel_is_refused() {
        let wrong = "the API server sent a frame that is none of the port-forward protocol";
        assert_eq!(read(vec![frame(&[0, 1, 2])]).await, [Err(wrong.to_owned())]);
        assert_eq!(read(vec![frame(&[7, 1, 2])]).await, [Err(wrong.to_owned())]);
    }

    #[test]
    fn what_cannot_have_reached_the_pod_is_known() {
        let node = |text: &str| UpstreamError::Node(text.to_owned()).never_connected();
        assert!(node(
            "error forwarding port 8080 to pod x, uid : exit status 1: 2026/11/21 04:00:00 \
             socat[9] E connect(5, AF=2 127.0.0.1:8080, 16): Connection refused"
        ));
        assert!(node("container not running (abc)"));
        assert!(!node(
            "error copying from local connection: connection reset by peer"
        ));
    }

    #[test]
    fn data_frames_name_their_channel() {
        assert_eq!(data_frame(b"ab"), Message::binary(b"\0ab".to_vec()));
    }
}
