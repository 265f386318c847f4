//! `stackctl status`: what runs, without waiting.

use crate::cluster::Cluster;
use crate::diagnosis::{self, Observed, ServiceState, ServiceStatus};
use crate::execute::snapshot_once;
use crate::settings::Place;
use crate::stack::{ServiceName, Stack};

use super::connect::connect;
use super::ready::selector;
use super::{CommandError, Env, Outcome};

/// What runs of a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What is there, by service.
    pub services: Vec<ServiceStatus>,
    /// Services of which nothing is there.
    pub absent: Vec<ServiceName>,
    /// What is there of services that are no longer in the stack.
    pub leftover: Vec<ServiceStatus>,
}

impl Status {
    /// Whether every service is there and ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.absent.is_empty()
            && self
                .services
                .iter()
                .all(|service| service.state == ServiceState::Ready)
    }
}

/// Looks once at every chosen service.
pub async fn status(place: &Place, env: &Env) -> Result<Outcome, CommandError> {
    let stack = place.load()?;
    let cluster = connect(&stack, place, env).await?;
    Ok(Outcome::Status(look(&stack, &cluster, place, env).await?))
}

/// What runs of the chosen services now.
pub(super) async fn look(
    stack: &Stack,
    cluster: &Cluster,
    place: &Place,
    env: &Env,
) -> Result<Status, CommandError> {
    let namespace = stack.environment.namespace.as_str();
    let observed = snapshot_once(
        &cluster.client,
        namespace,
        &selector(stack),
        env.events.as_ref(),
    )
    .await?;
    let (services, leftover): (Vec<_>, Vec<_>) = summary(&observed, stack)
        .into_iter()
        .partition(|status| stack.services.contains_key(&status.service));
    let services: Vec<_> = services
        .into_iter()
        .filter(|status| place.includes(&status.service))
        .collect();
    let is_absent = |name: &&ServiceName| {
        place.includes(name) && !services.iter().any(|status| status.service == **name)
    };
    let absent = stack.services.keys().filter(is_absent).cloned().collect();
    Ok(Status {
        services,
        absent,
        leftover,
    })
}

/// Every workload that carries the stack's label.
pub(super) fn summary(observed: &Observed, stack: &Stack) -> Vec<ServiceStatus> {
    diagnosis::summary(observed, |name| {
        stack
            .services
            .get(name)
            .map(|service| service.ready_within)
            .unwrap_or_default()
    })
}
