//! Pushing through the engine: what it has built itself. It moves only layers that the registry lacks.

use std::collections::BTreeSet;

use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::errors::Error as DockerError;
use bollard::models::ProgressDetail;
use bollard::query_parameters::PushImageOptionsBuilder;
use futures_util::StreamExt;
use oci_image::{Digest, Reference};

use crate::image::DockerConfig;
use crate::image::progress::Task;
use crate::stack::ServiceName;

use super::deliver::DeliveredImage;
use super::delivery_error::DeliveryError;
use super::moved::Moved;
use super::names::familiar;
use super::push_failure::PushFailure;

/// An image on its way.
pub(super) struct Push<'a> {
    /// Whose.
    pub service: &'a ServiceName,
    /// Where to.
    pub reference: &'a Reference,
    /// The engine that has it under this reference.
    pub docker: &'a Docker,
    /// Who hears about it.
    pub task: &'a Task<'a>,
}

impl Push<'_> {
    /// Pushes what the registry does not have, and asks for the digest that it has got there.
    pub(super) async fn run(&self, config: &DockerConfig) -> Result<DeliveredImage, DeliveryError> {
        let reference = self.reference;
        let place = format!("{}/{}", reference.registry(), reference.repository());
        let login = config.credentials(&place).await?;
        if let Some(found) = self.find(login.clone()).await? {
            return Ok(found);
        }
        let moved = DeliveredImage::moved(self.push(login.clone()).await?);
        // A registry that does not show what it let in: pods find out by the tag.
        let pinned = self.find(login).await?.and_then(|found| found.pinned);
        Ok(DeliveredImage { pinned, ..moved })
    }

    async fn push(&self, login: Option<DockerCredentials>) -> Result<Moved, DeliveryError> {
        let name = familiar(self.reference);
        let repository = name
            .rsplit_once(':')
            .map_or(name.as_str(), |(name, _)| name);
        let tag = self.reference.tag().unwrap_or("latest");
        let options = PushImageOptionsBuilder::new().tag(tag).build();
        let mut answers = Box::pin(self.docker.push_image(repository, Some(options), login));
        let mut sent = Sent::default();
        while let Some(answer) = answers.next().await {
            let answer = answer.map_err(|error| self.failed(error))?;
            sent.note(
                answer.status.as_deref().unwrap_or_default(),
                answer.progress_detail,
            );
            if sent.layers + sent.present > 0 {
                self.task.progress(sent.to_string());
            }
        }
        let size = self.docker.inspect_image(&name).await.ok();
        let size = size.and_then(|image| image.size?.try_into().ok());
        Ok(Moved {
            layers: sent.layers,
            bytes: sent.bytes(),
            of: size.unwrap_or(0).max(sent.bytes()),
        })
    }

    /// What the registry has. A tag is the digest of an image's inputs: one that is there need not be pushed.
    async fn find(
        &self,
        login: Option<DockerCredentials>,
    ) -> Result<Option<DeliveredImage>, DeliveryError> {
        let name = familiar(self.reference);
        match self.docker.inspect_registry_image(&name, login).await {
            Ok(found) => {
                let digest: Option<Digest> = found
                    .descriptor
                    .digest
                    .and_then(|digest| digest.parse().ok());
                let pinned = digest.map(|digest| self.reference.pinned(digest));
                Ok(Some(DeliveredImage {
                    pinned,
                    ..DeliveredImage::present()
                }))
            }
            Err(DockerError::DockerResponseServerError { message, .. })
                if !PushFailure::of(&message).is_hopeless() =>
            {
                Ok(None)
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
            registry: self.reference.registry().to_owned(),
            reference: familiar(self.reference),
            failure: PushFailure::of(&message),
            message,
        }
    }
}

/// What the engine said about its layers.
#[derive(Default)]
struct Sent {
    layers: usize,
    present: usize,
    /// Sizes of layers, uncompressed; the answers do not say which layer, so layers of the same size count once.
    sizes: BTreeSet<u64>,
}

impl Sent {
    fn note(&mut self, status: &str, detail: Option<ProgressDetail>) {
        match status {
            "Pushed" => self.layers += 1,
            "Layer already exists" => self.present += 1,
            status if status.starts_with("Mounted from") => self.present += 1,
            "Pushing" => {
                let size: Option<u64> = detail.and_then(|detail| detail.total?.try_into().ok());
                self.sizes.extend(size);
            }
            _ => {}
        }
    }

    fn bytes(&self) -> u64 {
        self.sizes.iter().sum()
    }
}

impl std::fmt::Display for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = self.layers + self.present;
        let plural = if all == 1 { "" } else { "s" };
        write!(f, "{} of {all} layer{plural}", self.layers)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use test_support::docker::{FakeDocker, FakeImage, REGISTRY_DIGEST};

    use super::*;
    use crate::delivery::Delivered;
    use crate::event::{Phase, Silent};
    use crate::image::Engine;

    const REFERENCE: &str = "r.example.com/team/a:1";

    async fn push(fake: &FakeDocker, config_json: &str) -> Result<DeliveredImage, DeliveryError> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.json"), config_json).unwrap();
        let config = DockerConfig::read(folder.path()).unwrap();
        let engine = Engine::from_docker(fake.client(), "unix:///fake");
        let push = Push {
            service: &"a".parse().unwrap(),
            reference: &REFERENCE.parse().unwrap(),
            docker: engine.docker(),
            task: &Task::start(&Silent, Phase::Deliver, "a"),
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
        let delivered = push(&fake, "{}").await.unwrap();
        let Delivered::Moved(moved) = delivered.outcome else {
            panic!("it was not there");
        };
        assert_eq!(moved.layers, 1);
        let pinned = delivered.pinned.map(|reference| reference.to_string());
        assert_eq!(pinned, Some(format!("{REFERENCE}@{REGISTRY_DIGEST}")));
        assert_eq!(fake.pushed(), [REFERENCE]);
        let again = push(&fake, "{}").await.unwrap();
        assert_eq!(again.outcome, Delivered::Present);
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
        assert_eq!(logins.len(), 3, "to look, to push and to look again");
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

    #[test]
    fn the_engines_words_are_counted() {
        let mut sent = Sent::default();
        let detail = |total| {
            Some(ProgressDetail {
                current: Some(1),
                total: Some(total),
            })
        };
        for (status, detail) in [
            ("Preparing", None),
            ("Pushing", detail(4_796_928)),
            ("Pushing", detail(4_796_928)),
            ("Pushing", detail(10)),
            ("Pushed", None),
            ("Pushed", None),
            ("Layer already exists", None),
            ("Mounted from team/b", None),
            ("1: digest: sha256:0 size: 528", None),
        ] {
            sent.note(status, detail);
        }
        assert_eq!(sent.to_string(), "2 of 4 layers");
        assert_eq!(sent.bytes(), 4_796_938);
    }
}
