//! `stackctl status`: what runs, without waiting.

use crate::diagnosis::{self, ServiceState, ServiceStatus};
use crate::execute::snapshot_once;
use crate::settings::Place;
use crate::stack::ServiceName;

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
    let namespace = stack.environment.namespace.as_str();
    let observed = snapshot_once(
        &cluster.client,
        namespace,
        &selector(&stack),
        env.events.as_ref(),
    )
    .await?;
    let ready_within = |name: &ServiceName| {
        stack
            .services
            .get(name)
            .map(|service| service.ready_within)
            .unwrap_or_default()
    };
    let mut services = diagnosis::summary(&observed, ready_within);
    services.retain(|status| place.includes(&status.service));
    let is_absent = |name: &&ServiceName| {
        place.includes(name) && !services.iter().any(|status| status.service == **name)
    };
    let absent = stack.services.keys().filter(is_absent).cloned().collect();
    Ok(Outcome::Status(Status { services, absent }))
}
