//! kind and k3d: their nodes are containers of this machine's Docker engine, each with a containerd of its own.
//!
//! A node is asked what its containerd has and gets an archive with the rest. Where that fails it gets the whole image
//! as a docker archive, which every containerd reads; where nodes cannot be reached through this engine, the cluster's
//! own tool does the work.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::sync::Arc;

use bollard::Docker;
use bollard::models::ContainerSummary;
use bollard::query_parameters::ListContainersOptionsBuilder;
use futures_util::{StreamExt, TryStreamExt};
use oci_image::{Digest, write_docker_archive};
use tokio::sync::Mutex;

use crate::image::progress::Task;
use crate::stack::ServiceName;
use crate::timings::Step;

use super::byte_stream::{Meter, written_by};
use super::ctr::{self, NodeContent};
use super::deliver::{Delivered, DeliveredImage, Delivery, DeliveryContext, Pace, Source, each};
use super::delivery_error::DeliveryError;
use super::exec::{self, ExecError, Ran};
use super::moved::Moved;
use super::names::familiar;
use super::node_archive::write_node_archive;
use super::route::Route;
use super::source::{Opened, open};
use super::tool;

/// Nodes that are written to at the same time; each unpacks layers.
const NODES: usize = 4;
/// Images at the same time: the second one is to find the layers that it shares with the first.
const IMAGES: Pace = Pace {
    at_once: 1,
    step: Step::Load,
};

/// A node that answers.
struct Node {
    name: String,
    id: String,
    snapshotter: Option<String>,
    content: Mutex<NodeContent>,
}

/// Brings images to all nodes of the cluster of `route`.
pub(super) async fn deliver(
    images: &[Delivery],
    route: &Route,
    context: &DeliveryContext<'_>,
) -> Result<BTreeMap<ServiceName, DeliveredImage>, DeliveryError> {
    let docker = context.engine()?.docker();
    let nodes = &nodes(docker, route, context).await?;
    each(images, IMAGES, context, async |image, task| {
        if nodes.is_empty() {
            return tool::load(image, route, context, task).await;
        }
        match to_nodes(image, nodes, context, task).await {
            Err(DeliveryError::Node { node, message }) => {
                task.output(&format!("node {node}: {message}"));
                let failed = DeliveryError::Node { node, message };
                match tool::load(image, route, context, task).await {
                    // What went wrong first says more than the lack of a tool.
                    Err(DeliveryError::NoTool { .. }) => Err(failed),
                    done => done,
                }
            }
            done => done,
        }
    })
    .await
}

/// The nodes that are containers of this engine and have a `ctr` that answers; all or none.
async fn nodes(
    docker: &Docker,
    route: &Route,
    context: &DeliveryContext<'_>,
) -> Result<Vec<Node>, DeliveryError> {
    let found = containers(docker, route)
        .await
        .map_err(|source| DeliveryError::Engine {
            action: "list the nodes of the cluster".to_owned(),
            source,
        })?;
    let asked = futures_util::stream::iter(found)
        .map(|(id, name)| ask(docker, id, name))
        .buffered(NODES)
        .collect::<Vec<_>>();
    let asked = tokio::select! {
        asked = asked => asked,
        () = context.cancel.cancelled() => return Err(DeliveryError::Interrupted),
    };
    let mut nodes = Vec::new();
    for node in asked {
        match node {
            Ok(node) => nodes.push(node),
            Err(reason) => {
                tracing::debug!(%reason, "a node cannot be asked what it has");
                return Ok(Vec::new());
            }
        }
    }
    Ok(nodes)
}

/// Ids and names of the running containers that are nodes.
async fn containers(
    docker: &Docker,
    route: &Route,
) -> Result<Vec<(String, String)>, bollard::errors::Error> {
    let label = match route {
        Route::Kind { cluster } => format!("io.x-k8s.kind.cluster={cluster}"),
        Route::K3d { cluster } => format!("k3d.cluster={cluster}"),
        _ => return Ok(Vec::new()),
    };
    let filters = HashMap::from([
        ("label", vec![label]),
        ("status", vec!["running".to_owned()]),
    ]);
    let options = ListContainersOptionsBuilder::new()
        .filters(&filters)
        .build();
    let found = docker.list_containers(Some(options)).await?;
    Ok(found
        .into_iter()
        .filter(is_node)
        .filter_map(|container| {
            let id = container.id?;
            let name = container.names.and_then(|names| names.into_iter().next());
            let name = name.map(|name| name.trim_start_matches('/').to_owned());
            Some((id.clone(), name.unwrap_or(id)))
        })
        .collect())
}

/// Load balancers and registries carry the cluster's label, too.
fn is_node(container: &ContainerSummary) -> bool {
    let labels = container.labels.as_ref();
    let role = labels.and_then(|labels| {
        labels
            .get("io.x-k8s.kind.role")
            .or_else(|| labels.get("k3d.role"))
    });
    role.is_some_and(|role| ["control-plane", "worker", "server", "agent"].contains(&role.as_str()))
}

async fn ask(docker: &Docker, id: String, name: String) -> Result<Node, String> {
    let answer = async |command| {
        let ran = exec::run(docker, &id, command).await;
        let ran = ran.map_err(|error| format!("{name}: {error}"))?;
        ran.success()
            .map_err(|ran| format!("{name}: {}", ran.last_words()))
    };
    let images = answer(ctr::list_images()).await?;
    let blobs = answer(ctr::list_blobs()).await?;
    let config = answer(ctr::show_config()).await.unwrap_or_default();
    Ok(Node {
        content: Mutex::new(NodeContent::read(&images, &blobs)),
        snapshotter: ctr::snapshotter(&config),
        id,
        name,
    })
}

async fn to_nodes(
    image: &Delivery,
    nodes: &[Node],
    context: &DeliveryContext<'_>,
    task: &Task<'_>,
) -> Result<DeliveredImage, DeliveryError> {
    let name = image.reference.to_string();
    if let Source::Engine { id, .. } = &image.source
        && all_have_config(nodes, &name, id).await
    {
        return Ok(DeliveredImage::present());
    }
    let opened = open(image, context, task).await?;
    let docker = context.engine.map(crate::image::Engine::docker);
    let moved: Vec<Option<Moved>> = futures_util::stream::iter(nodes)
        .map(|node| async {
            let transfer = Transfer {
                docker: docker.expect("the nodes are its containers"),
                node,
                image,
                opened: &opened,
                name: &name,
                task,
            };
            transfer.run().await
        })
        .buffer_unordered(NODES)
        .try_collect()
        .await?;
    let most = moved.into_iter().flatten().max_by_key(|moved| moved.bytes);
    Ok(DeliveredImage {
        outcome: most.map_or(Delivered::Present, Delivered::Moved),
        pinned: None,
    })
}

async fn all_have_config(nodes: &[Node], name: &str, id: &str) -> bool {
    for node in nodes {
        if !node.content.lock().await.has_config(name, id) {
            return false;
        }
    }
    true
}

/// One image on its way to one node.
struct Transfer<'a> {
    docker: &'a Docker,
    node: &'a Node,
    image: &'a Delivery,
    opened: &'a Opened,
    name: &'a str,
    task: &'a Task<'a>,
}

impl Transfer<'_> {
    /// What was moved; `None` where the node has the image.
    async fn run(&self) -> Result<Option<Moved>, DeliveryError> {
        let (descriptor, manifest) = (&self.opened.image.descriptor, &self.opened.image.manifest);
        let mut content = self.node.content.lock().await;
        if content.has(self.name, descriptor, manifest) {
            return Ok(None);
        }
        let was_named = content.images.contains_key(self.name);
        let missing = content.missing(manifest);
        let whole = self.opened.whole();
        let moved = missing
            .iter()
            .fold(whole, |moved, layer| moved.and_layer(layer.size));
        let present: BTreeSet<Digest> = content.blobs.clone();
        let partial = self.partial(present, moved.bytes).await?;
        let Err(ran) = partial.success() else {
            content.add(self.name, descriptor, manifest);
            return Ok(Some(moved));
        };
        if !is_disk_full(&ran) {
            self.task.output(&format!(
                "{}: only missing layers are not enough ({}), the whole image is sent",
                self.node.name,
                ran.last_words()
            ));
            if self.complete().await?.success().is_ok() {
                content
                    .images
                    .insert(self.name.to_owned(), descriptor.digest);
                return Ok(Some(self.opened.all()));
            }
        }
        if !was_named {
            // Nobody is to start what is not whole; the error that is reported is the first one.
            exec::run(self.docker, &self.node.id, ctr::remove(self.name))
                .await
                .ok();
        }
        Err(DeliveryError::Node {
            node: self.node.name.clone(),
            message: ran.last_words().to_owned(),
        })
    }

    /// Without what is there.
    async fn partial(&self, present: BTreeSet<Digest>, bytes: u64) -> Result<Ran, DeliveryError> {
        let (layout, image) = (self.opened.layout.clone(), Arc::clone(&self.opened.image));
        let name = self.name.to_owned();
        let archive =
            written_by(move |writer| write_node_archive(&layout, &image, &name, &present, writer));
        self.import(archive, bytes).await
    }

    /// As every containerd reads it, uncompressed.
    async fn complete(&self) -> Result<Ran, DeliveryError> {
        let (layout, image) = (self.opened.layout.clone(), Arc::clone(&self.opened.image));
        let name = familiar(&self.image.reference);
        let archive = written_by(move |writer| {
            write_docker_archive(&layout, &image, &[&name], &BTreeSet::new(), writer)
                .map(drop)
                .map_err(io::Error::other)
        });
        self.import(archive, self.opened.whole().of).await
    }

    async fn import(
        &self,
        archive: impl futures_util::Stream<Item = io::Result<bytes::Bytes>> + Unpin,
        bytes: u64,
    ) -> Result<Ran, DeliveryError> {
        let mut meter = Meter::new(self.task, bytes);
        let archive = archive.inspect_ok(move |chunk| meter.add(chunk.len()));
        let command = ctr::import(self.node.snapshotter.as_deref());
        exec::run_with_input(self.docker, &self.node.id, command, archive)
            .await
            .map_err(|error| match error {
                ExecError::Engine(source) => DeliveryError::Engine {
                    action: format!("bring {} to node {}", self.image.service, self.node.name),
                    source,
                },
                ExecError::Input(source) => DeliveryError::Unreadable {
                    service: self.image.service.clone(),
                    source,
                },
            })
    }
}

fn is_disk_full(ran: &Ran) -> bool {
    ran.stderr.contains("no space left on device")
}

#[cfg(test)]
mod tests;
