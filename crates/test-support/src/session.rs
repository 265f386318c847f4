//! What an engine with BuildKit asks of who builds, over the session that this one opened.

use std::sync::{Arc, Mutex, PoisonError};

use axum::http::Uri;
use bollard::moby::buildkit::secrets::v1::GetSecretRequest;
use bollard::moby::buildkit::secrets::v1::secrets_client::SecretsClient;
use bollard::moby::sshforward::v1::ssh_client::SshClient;
use bollard::moby::sshforward::v1::{BytesMessage, CheckAgentRequest};
use futures_util::StreamExt;
use hyper::upgrade::Upgraded;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// A connection on which the other side is the server.
pub(crate) async fn channel(connection: Upgraded) -> Option<Channel> {
    let once = Arc::new(Mutex::new(Some(connection)));
    let connector = tower::service_fn(move |_: Uri| {
        let connection = once.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move { connection.ok_or_else(|| std::io::Error::other("the session is over")) }
    });
    Endpoint::from_static("http://session")
        .connect_with_connector(connector)
        .await
        .ok()
}

/// The value of a secret, else the code of the refusal.
pub(crate) async fn ask_secret(channel: Channel, id: String) -> Result<Vec<u8>, String> {
    let request = GetSecretRequest {
        id,
        ..GetSecretRequest::default()
    };
    let answer = SecretsClient::new(channel).get_secret(request).await;
    answer
        .map(|answer| answer.into_inner().data)
        .map_err(|status| status.code().to_string())
}

/// What the ssh agent answers to `words`, of which it gets as many as it gives.
pub(crate) async fn ask_agent(channel: Channel, words: Vec<u8>) -> Result<Vec<u8>, String> {
    let answer = forward(channel, words).await;
    answer.map_err(|status| status.to_string())
}

/// As for `RUN --mount=type=ssh`: is there an agent, then bytes in both directions.
async fn forward(channel: Channel, words: Vec<u8>) -> Result<Vec<u8>, Status> {
    let mut agent = SshClient::new(channel);
    let id = "default".to_owned();
    agent.check_agent(CheckAgentRequest { id }).await?;
    // In two messages, after which the way to the agent stays open.
    let (one, other) = words.split_at(words.len() / 2);
    let said = [one, other].map(|data| BytesMessage {
        data: data.to_owned(),
    });
    let said = futures_util::stream::iter(said).chain(futures_util::stream::pending());
    let mut answers = agent.forward_agent(said).await?.into_inner();
    let mut heard = Vec::new();
    while heard.len() < words.len()
        && let Some(message) = answers.message().await?
    {
        heard.extend(message.data);
    }
    Ok(heard)
}
