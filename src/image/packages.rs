//! Debian packages.

use oci_image::Platform;
use tokio_util::sync::CancellationToken;

use crate::event::EventSink;
use crate::stack::{PackagesBuild, ServiceName, Stack};

use super::build::Session;
use super::build_error::BuildError;
use super::cache_key::Inputs;
use super::files::Files;
use super::input_error::InputError;
use super::progress::Task;
use super::store::StoredLayer;

pub(crate) fn add_inputs(
    inputs: &mut Inputs,
    wanted: &PackagesBuild,
    files: &Files,
) -> Result<(), InputError> {
    let _ = (inputs, wanted, files);
    Ok(())
}

pub(crate) async fn layer(
    session: &Session<'_>,
    wanted: &PackagesBuild,
    platform: &Platform,
    task: &Task<'_>,
) -> Result<StoredLayer, BuildError> {
    let _ = (session, wanted, platform, task);
    unreachable!()
}

pub async fn update_packages(
    stack: &Stack,
    only: Option<&[ServiceName]>,
    events: &dyn EventSink,
    cancel: &CancellationToken,
) -> Result<(), BuildError> {
    let _ = (stack, only, events, cancel);
    unreachable!()
}
