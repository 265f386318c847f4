//! `stackctl deploy`: what was built goes into the cluster.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::delivery;
use crate::diagnostic::{Code, Diagnostic, Exit};
use crate::image::{self, ImageSpec};
use crate::settings::Place;
use crate::stack::{Build, ServiceName};

use super::connect::{connect, facts};
use super::prepare::{Desired, desired_with};
use super::rollout::{dry_run, roll_out};
use super::{CommandError, Env, Outcome};

/// An image is not there.
const NO_IMAGE: Code = Code::new("S0510");

/// How `deploy` works.
#[derive(Clone, Debug)]
pub struct DeploySettings {
    /// Only show what would change.
    pub dry_run: bool,
    /// Which images belong to the services; none: those with the computed tags.
    pub images: Option<PathBuf>,
}

/// Deploys without building.
pub async fn deploy(place: &Place, settings: &DeploySettings, env: &Env) -> Result<Outcome, CommandError> {
    let desired = desired_with(place, settings.images.as_deref(), env)?;
    let cluster = connect(&desired.stack, place, env).await?;
    if settings.dry_run {
        let rolled_out = dry_run(&desired.stack, desired.chosen(place), &cluster, env).await?;
        return Ok(Outcome::Planned(rolled_out.plan));
    }
    let facts = facts(&cluster).await?;
    let route = delivery::route(&facts, desired.stack.environment.registry.as_ref())?;
    if settings.images.is_none() {
        refuse_missing(&desired, place, &route).await?;
    }
    let rolled_out = roll_out(&desired.stack, desired.chosen(place), &cluster, env).await?;
    Ok(Outcome::Deployed(rolled_out))
}
