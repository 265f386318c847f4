//! The image below: pulled once into the store, inspected, and used from there.

use oci_image::registry::{ErrorKind, TransferError};
use oci_image::{
    Descriptor, InspectError, LayerLimits, LayoutError, Platform, StoredImage, inspect_image,
};

use crate::diagnostic::Diagnostic;
use crate::stack::Base;

use super::background::blocking;
use super::build::Session;
use super::build_error::BuildError;
use super::docker::registry_client;
use super::docker_config::{DockerConfig, DockerConfigError};
use super::progress::Task;

/// Why an image cannot be the base of another.
#[derive(Debug, thiserror::Error)]
pub enum BaseFailure {
    /// The logins cannot be read.
    #[error(transparent)]
    Config(#[from] DockerConfigError),
    /// It did not get here.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// It is here, and damaged.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A layer of it is not to be trusted.
    #[error(transparent)]
    Inspect(#[from] InspectError),
}

impl BaseFailure {
    /// The blob that has to be fetched again, where that would help.
    pub(crate) fn damaged(&self) -> Option<&Descriptor> {
        match self {
            Self::Layout(error)
            | Self::Transfer(TransferError::Layout(error))
            | Self::Inspect(InspectError::Layout(error)) => error.damaged(),
            _ => None,
        }
    }
}

/// The base for `platform`. What the store has is neither fetched nor inspected again.
pub(crate) async fn pull(
    session: &Session<'_>,
    base: &Base,
    platform: &Platform,
    task: &Task<'_>,
) -> Result<StoredImage, BuildError> {
    let pulled = tokio::select! {
        pulled = pull_inspected(session, base, platform, task) => pulled,
        () = session.context.cancel.cancelled() => return Err(BuildError::Interrupted),
    };
    pulled.map_err(|source| BuildError::Base {
        reference: base.reference.to_string(),
        source: Box::new(source),
        span: base.span.clone(),
    })
}

async fn pull_inspected(
    session: &Session<'_>,
    base: &Base,
    platform: &Platform,
    task: &Task<'_>,
) -> Result<StoredImage, BaseFailure> {
    let layout = session.context.store.layout().clone();
    // Under this name is what was inspected.
    let name = format!(
        "base/{}-{}:{}",
        platform.os,
        platform.architecture,
        base.digest.hex()
    );
    if let Some(found) = layout.resolve(&name)?
        && layout.is_complete(&found)
    {
        return Ok(layout.image(&found, platform)?);
    }
    task.progress(format!("pulling {}", base.reference));
    let client = registry_client(&DockerConfig::load()?);
    let descriptor = client
        .pull_image(&layout, &base.reference, platform)
        .await?;
    task.progress("inspecting the base");
    let platform = platform.clone();
    blocking(move || {
        let image = layout.image(&descriptor, &platform)?;
        inspect_image(&layout, &image, &LayerLimits::default())?;
        layout.tag(&name, &descriptor)?;
        Ok(image)
    })
    .await
}

/// The cause, and what to do about it.
pub(crate) fn explained(problem: Diagnostic, failure: &BaseFailure) -> Diagnostic {
    let problem = problem.caused_by(failure);
    let BaseFailure::Transfer(TransferError::Registry(error)) = failure else {
        return problem;
    };
    match error.kind() {
        ErrorKind::Unauthorized | ErrorKind::Denied => {
            problem.hint(format!("log in: `docker login {}`", error.host()))
        }
        ErrorKind::NotFound => {
            problem.hint("the registry has no such image, or shows it to none but its own users")
        }
        _ => problem,
    }
}
