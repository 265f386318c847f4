//! The cluster of an environment, and what a command does there.

use crate::cluster::{self, Cluster};
use crate::delivery::{ClusterFacts, NodeFacts};
use crate::event::Event;
use crate::settings::Place;
use crate::stack::Stack;

use super::{CommandError, Env};

/// Connects, and says where.
pub(super) async fn connect(
    stack: &Stack,
    place: &Place,
    env: &Env,
) -> Result<Cluster, CommandError> {
    let cluster = tokio::select! {
        cluster = cluster::connect(&stack.environment.cluster, place.cluster.as_deref()) => cluster?,
        () = env.cancel.cancelled() => return Err(super::interrupted()),
    };
    env.events.emit(Event::Context {
        context: cluster.context.clone(),
        pinned: cluster.pinned,
        namespace: stack.environment.namespace.to_string(),
    });
    Ok(cluster)
}

/// What delivery needs to know of a cluster.
pub(super) async fn facts(cluster: &Cluster) -> Result<ClusterFacts, CommandError> {
    let nodes = cluster.facts().await?;
    Ok(ClusterFacts {
        context: cluster.context.clone(),
        nodes: nodes.into_iter().map(node).collect(),
    })
}

fn node(node: cluster::NodeFacts) -> NodeFacts {
    NodeFacts {
        name: node.name,
        runtime: node.runtime,
        boot_id: node.boot_id,
        provider_id: Some(node.provider_id).filter(|id| !id.is_empty()),
        labels: node.labels,
        images: node.images,
    }
}
