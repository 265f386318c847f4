//! Which way images take to a cluster. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use crate::diagnostic::{Code, Diagnostic, Exit, Explain};
use crate::stack::Registry;

/// No way for images to the cluster.
const NO_ROUTE: Code = Code::new("S0501");
/// The label minikube puts on its nodes: the profile's name.
const MINIKUBE_LABEL: &str = "minikube.k8s.io/name";

/// What a cluster says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterFacts {
    /// The kubeconfig context.
    pub context: String,
    /// Its nodes.
    pub nodes: Vec<NodeFacts>,
}

/// What a node says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// `metadata.name`
    pub name: String,
    /// `status.nodeInfo.containerRuntimeVersion`, such as `docker://20.10.24`.
    pub runtime: String,
    /// `status.nodeInfo.bootID`
    pub boot_id: String,
    /// `spec.providerID`, such as `kind://docker/kind/kind-control-plane`.
    pub provider_id: Option<String>,
    /// `metadata.labels`
    pub labels: BTreeMap<String, String>,
    /// All of `status.images[].names`; nodes list the largest 50 by default.
    pub images: BTreeSet<String>,
}

/// What is known of the Docker engine that has the images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineFacts {
    /// The boot id of its machine; none if it runs elsewhere.
    pub boot_id: Option<String>,
    /// Its own name, such as `docker-desktop`.
    pub name: Option<String>,
}

/// A way to the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// The cluster runs containers with this machine's engine.
    SharedEngine,
    /// This machine's engine, whoever runs containers with it: `--to docker`.
    Engine,
    /// They are pushed below this prefix.
    Registry(String),
    /// A folder with an OCI image layout: `--to oci:DIR`.
    OciLayout(PathBuf),
    /// A file as `docker save` writes it: `--to archive:FILE`.
    Archive(PathBuf),
    /// The nodes of minikube.
    Minikube {
        /// The profile.
        profile: String,
    },
    /// The nodes of kind, containers of this machine's engine.
    Kind {
        /// The cluster's name.
        cluster: String,
    },
    /// The nodes of k3d, containers of this machine's engine.
    K3d {
        /// The cluster's name.
        cluster: String,
    },
}

/// Nothing is applied to a cluster that could not run it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the cluster of context `{context}` cannot get the images: {reason}")]
pub struct DeliveryRefused {
    /// The kubeconfig context.
    pub context: String,
    /// What was found.
    pub reason: String,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SharedEngine => f.write_str("the cluster shares this Docker engine"),
            Self::Engine => f.write_str("Docker engine"),
            Self::Registry(prefix) => write!(f, "registry {prefix}"),
            Self::OciLayout(folder) => write!(f, "OCI layout {}", folder.display()),
            Self::Archive(file) => write!(f, "archive {}", file.display()),
            Self::Minikube { profile } => write!(f, "minikube {profile}"),
            Self::Kind { cluster } => write!(f, "kind {cluster}"),
            Self::K3d { cluster } => write!(f, "k3d {cluster}"),
        }
    }
}

/// The way from the engine to the cluster. A registry of the environment goes before everything else. minikube comes
/// before the shared engine: with its docker driver a node has this machine's boot id, but an engine of its own.
pub fn route(
    cluster: &ClusterFacts,
    engine: &EngineFacts,
    registry: Option<&Registry>,
) -> Result<Route, DeliveryRefused> {
    if let Some(registry) = registry {
        return Ok(Route::Registry(registry.prefix.clone()));
    }
    if let Some(profile) = shared(cluster, |node| node.labels.get(MINIKUBE_LABEL).cloned()) {
        return Ok(Route::Minikube { profile });
    }
    if let Some(name) = shared(cluster, kind_cluster) {
        return Ok(Route::Kind { cluster: name });
    }
    if let Some(name) = shared(cluster, k3d_cluster) {
        return Ok(Route::K3d { cluster: name });
    }
    if is_shared(cluster, engine) {
        return Ok(Route::SharedEngine);
    }
    Err(DeliveryRefused {
        context: cluster.context.clone(),
        reason: reason(cluster, engine),
    })
}

/// What `of` says of all nodes alike.
fn shared(cluster: &ClusterFacts, of: impl Fn(&NodeFacts) -> Option<String>) -> Option<String> {
    let (first, others) = cluster.nodes.split_first()?;
    let value = of(first)?;
    others
        .iter()
        .all(|node| of(node).as_ref() == Some(&value))
        .then_some(value)
}

/// `kind://docker/CLUSTER/NODE`
fn kind_cluster(node: &NodeFacts) -> Option<String> {
    let path = node.provider_id.as_deref()?.strip_prefix("kind://")?;
    path.split('/').nth(1).map(str::to_owned)
}

/// `k3s://k3d-CLUSTER-server-0`
fn k3d_cluster(node: &NodeFacts) -> Option<String> {
    let provider = node.provider_id.as_deref()?;
    let name = provider.strip_prefix("k3s://")?.strip_prefix("k3d-")?;
    let (name, _number) = name.rsplit_once('-')?;
    let (cluster, role) = name.rsplit_once('-')?;
    ["server", "agent"]
        .contains(&role)
        .then(|| cluster.to_owned())
}

fn is_shared(cluster: &ClusterFacts, engine: &EngineFacts) -> bool {
    let nodes = &cluster.nodes;
    !nodes.is_empty() && nodes.iter().all(|node| shares_engine(node, engine))
}

fn shares_engine(node: &NodeFacts, engine: &EngineFacts) -> bool {
    let is_docker = node.runtime.starts_with("docker://");
    let same_machine = !node.boot_id.is_empty() && engine.boot_id.as_ref() == Some(&node.boot_id);
    let is_desktop =
        node.name == "docker-desktop" && engine.name.as_deref() == Some("docker-desktop");
    is_docker && (same_machine || is_desktop)
}

fn reason(cluster: &ClusterFacts, engine: &EngineFacts) -> String {
    match cluster
        .nodes
        .iter()
        .find(|node| !shares_engine(node, engine))
    {
        None => "it has no nodes".to_owned(),
        Some(node) if node.runtime.starts_with("docker://") => {
            format!(
                "node `{}` has a Docker engine of its own, on another machine",
                node.name
            )
        }
        Some(node) => format!(
            "node `{}` runs containers with {}, not with this Docker engine",
            node.name, node.runtime
        ),
    }
}

impl Explain for DeliveryRefused {
    fn exit(&self) -> Exit {
        Exit::Refused
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        vec![
            Diagnostic::error(NO_ROUTE, self.to_string())
                .hint("write `registry: HOST/PATH` in the environment's file: images are pushed there")
                .hint("or choose a local cluster (minikube, kind, k3d, docker-desktop) by `--cluster CONTEXT`"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::{SourceFile, Span};

    fn node(name: &str, runtime: &str, boot_id: &str) -> NodeFacts {
        NodeFacts {
            name: name.into(),
            runtime: runtime.into(),
            boot_id: boot_id.into(),
            ..NodeFacts::default()
        }
    }

    fn provided(name: &str, provider: &str) -> NodeFacts {
        NodeFacts {
            provider_id: Some(provider.into()),
            ..node(name, "containerd://1.7", "here")
        }
    }

    fn minikube(profile: &str) -> NodeFacts {
        NodeFacts {
            labels: [(MINIKUBE_LABEL.into(), profile.into())].into(),
            ..node(profile, "docker://27", "here")
        }
    }

    fn found(nodes: &[NodeFacts]) -> Result<Route, DeliveryRefused> {
        let cluster = ClusterFacts {
            context: "there".into(),
            nodes: nodes.to_vec(),
        };
        let engine = EngineFacts {
            boot_id: Some("here".into()),
            name: Some("docker-desktop".into()),
        };
        route(&cluster, &engine, None)
    }

    #[test]
    fn every_kind_of_cluster_has_its_way() {
        let docker = node("n", "docker://20.10.24", "here");
        let name = |name: &str| name.to_owned();
        for (nodes, expected) in [
            (vec![docker], Route::SharedEngine),
            (
                vec![node("docker-desktop", "docker://27", "vm")],
                Route::SharedEngine,
            ),
            (
                vec![minikube("dev"), minikube("dev")],
                Route::Minikube {
                    profile: name("dev"),
                },
            ),
            (
                vec![provided("k", "kind://docker/my-kind/k")],
                Route::Kind {
                    cluster: name("my-kind"),
                },
            ),
            (
                vec![
                    provided("s", "k3s://k3d-my-dev-server-0"),
                    provided("a", "k3s://k3d-my-dev-agent-1"),
                ],
                Route::K3d {
                    cluster: name("my-dev"),
                },
            ),
        ] {
            assert_eq!(found(&nodes), Ok(expected), "{nodes:?}");
        }
    }

    #[test]
    fn a_cluster_without_a_way_is_refused_with_the_reason() {
        for (nodes, reason) in [
            (vec![], "it has no nodes"),
            (
                vec![
                    node("a", "docker://20", "here"),
                    node("b", "docker://20", "elsewhere"),
                ],
                "node `b` has a Docker engine of its own, on another machine",
            ),
            (
                vec![node("n", "containerd://1.7", "here")],
                "node `n` runs containers with containerd://1.7, not with this Docker engine",
            ),
            (
                vec![provided("s", "k3s://bare-metal")],
                "node `s` runs containers with containerd://1.7, not with this Docker engine",
            ),
            (
                vec![node("n", "docker://20", "")],
                "node `n` has a Docker engine of its own, on another machine",
            ),
        ] {
            let refused = found(&nodes).unwrap_err();
            assert_eq!(refused.reason, reason);
            assert_eq!(refused.exit(), Exit::Refused);
            assert!(refused.to_string().contains("context `there`"));
        }
    }

    #[test]
    fn a_registry_goes_first_and_a_remote_engine_is_not_shared() {
        let cluster = ClusterFacts {
            context: "there".into(),
            nodes: vec![node("n", "docker://20", "here")],
        };
        let registry = Registry {
            prefix: "r.example.com/team".into(),
            span: Span::start_of(&SourceFile::new("e.yaml", "")),
        };
        assert_eq!(
            route(&cluster, &EngineFacts::default(), Some(&registry)),
            Ok(Route::Registry("r.example.com/team".into()))
        );
        assert!(route(&cluster, &EngineFacts::default(), None).is_err());
    }
}
