//! Pushing through the engine: it moves only layers that the registry lacks.

use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::errors::Error as DockerError;
use bollard::query_parameters::PushImageOptionsBuilder;
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::image::progress::Task;
use crate::image::{DockerConfig, Engine, registry_of};
use crate::stack::ServiceName;

use super::delivery_error::{DeliveryError, PushFailure};

/// An image on its way.
pub(super) struct Push<'a> {
    /// Whose.
    pub service: &'a ServiceName,
    /// `repository:tag`
    pub reference: &'a str,
    /// The engine that has it.
    pub docker: &'a Docker,
    /// Who hears about it.
    pub task: &'a Task<'a>,
    /// Ends it.
    pub cancel: &'a CancellationToken,
}

/// Whether the registry of an image has it; not being let in counts as no.
pub async fn is_in_registry(reference: &str, engine: &Engine) -> Result<bool, DeliveryError> {
    let login = DockerConfig::load()?
        .credentials(registry_of(reference))
        .await?;
    let found = engine.docker().inspect_registry_image(reference, login);
    Ok(found.await.is_ok())
}

impl Push<'_> {
    /// Pushes what the registry does not have; returns what was moved, `None` if nothing.
    pub(super) async fn run(&self, config: &DockerConfig) -> Result<Option<String>, DeliveryError> {
        let login = config.credentials(registry_of(self.reference)).await?;
        if self.is_there(login.clone()).await? {
            return Ok(None);
        }
        let (repository, tag) = self
            .reference
            .rsplit_once(':')
            .unwrap_or((self.reference, "latest"));
        let options = PushImageOptionsBuilder::new().tag(tag).build();
        let mut answers = Box::pin(self.docker.push_image(repository, Some(options), login));
        let (mut pushed, mut present) = (0, 0);
        loop {
            let answer = tokio::select! {
                answer = answers.next() => answer,
                () = self.cancel.cancelled() => return Err(DeliveryError::Interrupted),
            };
            let Some(answer) = answer else { break };
            match answer
                .map_err(|error| self.failed(error))?
                .status
                .as_deref()
            {
                Some("Pushed") => pushed += 1,
                Some("Layer already exists") => present += 1,
                _ => continue,
            }
            self.task.progress(layers(pushed, pushed + present));
        }
        Ok(Some(layers(pushed, pushed + present)))
    }

    /// A tag is the digest of an image's inputs: one that is there need not be pushed.
    async fn is_there(&self, login: Option<DockerCredentials>) -> Result<bool, DeliveryError> {
        let asked = tokio::select! {
            asked = self.docker.inspect_registry_image(self.reference, login) => asked,
            () = self.cancel.cancelled() => return Err(DeliveryError::Interrupted),
        };
        match asked {
            Ok(_) => Ok(true),
            Err(DockerError::DockerResponseServerError { message, .. })
                if !PushFailure::of(&message).is_hopeless() =>
            {
                Ok(false)
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    fn failed(&self, error: DockerError) -> DeliveryError {
        let message = match error {
            DockerError::DockerStreamError { error } => error,
            DockerError::DockerResponseServerError { message, .. } => message,
            source => {
                return DeliveryError::Engine {
                    action: format!("push {}", self.reference),
                    source,
                };
            }
        };
        DeliveryError::Push {
            service: self.service.clone(),
            registry: registry_of(self.reference).to_owned(),
            reference: self.reference.to_owned(),
            failure: PushFailure::of(&message),
            message,
        }
    }
}

/// Such as `1 of 3 layers`.
fn layers(pushed: usize, all: usize) -> String {
    let plural = if all == 1 { "" } else { "s" };
    format!("{pushed} of {all} layer{plural}")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use test_support::docker::{FakeDocker, FakeImage};

    use super::*;
    use crate::event::{Phase, Silent};
    use crate::image::Engine;

    const REFERENCE: &str = "r.example.com/team/a:1";

    async fn push(fake: &FakeDocker, config_json: &str) -> Result<Option<String>, DeliveryError> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.json"), config_json).unwrap();
        let config = DockerConfig::read(folder.path()).unwrap();
        let engine = Engine::from_docker(fake.client(), "unix:///fake");
        let push = Push {
            service: &"a".parse().unwrap(),
            reference: REFERENCE,
            docker: engine.docker(),
            task: &Task::start(&Silent, Phase::Deliver, "a"),
            cancel: &CancellationToken::new(),
        };
        push.run(&config).await
    }

    fn with_image() -> FakeDocker {
        let fake = FakeDocker::default();
        fake.add_image(REFERENCE, FakeImage::default());
        fake
    }

    #[tokio::test]
    async fn an_image_is_pushed_once() {
        let fake = with_image();
        assert_eq!(
            push(&fake, "{}").await.unwrap().as_deref(),
            Some("1 of 2 layers")
        );
        assert_eq!(fake.pushed(), [REFERENCE]);
        assert_eq!(push(&fake, "{}").await.unwrap(), None);
        let pushes = fake
            .requests()
            .iter()
            .filter(|request| request.starts_with("POST"))
            .count();
        assert_eq!(pushes, 1);
    }

    #[tokio::test]
    async fn a_login_reaches_the_engine_as_url_safe_base64() {
        let fake = with_image();
        // `printf 'jo:?>?>?>~~~' | base64`
        push(
            &fake,
            r#"{"auths": {"r.example.com": {"auth": "am86Pz4/Pj8+fn5+"}}}"#,
        )
        .await
        .unwrap();
        let logins = fake.logins();
        assert_eq!(logins.len(), 2, "one to look, one to push");
        for login in logins {
            assert!(!login.contains(['+', '/']), "{login}");
            let json =
                base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE, login).unwrap();
            let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
            assert_eq!(
                (&json["username"], &json["password"]),
                (&"jo".into(), &"?>?>?>~~~".into())
            );
        }
    }

    #[tokio::test]
    async fn a_registry_that_nobody_answers_for_is_not_pushed_to() {
        let fake = with_image();
        fake.refuse_pushes(
            "Get \"https://r.example.com/v2/\": dial tcp: lookup r.example.com: no such host",
        );
        let error = push(&fake, "{}").await.unwrap_err();
        assert!(
            matches!(
                error,
                DeliveryError::Push {
                    failure: PushFailure::Unreachable,
                    ..
                }
            ),
            "{error}"
        );
        assert!(
            fake.requests()
                .iter()
                .all(|request| request.starts_with("GET"))
        );

        fake.refuse_pushes("denied: requested access to the resource is denied");
        let error = push(&fake, "{}").await.unwrap_err();
        assert!(
            matches!(
                error,
                DeliveryError::Push {
                    failure: PushFailure::Unauthorized,
                    ..
                }
            ),
            "{error}"
        );
    }
}
