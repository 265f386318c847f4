//! Pushing through the engine: it moves only layers that the registry lacks.

use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::errors::Error as DockerError;
use bollard::query_parameters::PushImageOptionsBuilder;
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::image::progress::Task;
use crate::image::{DockerConfig, registry_of};
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
            self.task.progress(format!("{} layers", pushed + present));
        }
        Ok(Some(format!("{pushed} of {} layers", pushed + present)))
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
