//! Which way images take to a cluster. Pure but for [`own_boot_id`].

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnostic::{Code, Diagnostic, Exit, Explain};
use crate::stack::Registry;

/// The cluster cannot see the images of this machine.
const NO_ROUTE: Code = Code::new("S0501");

/// The label by which minikube marks its nodes with the name of the profile.
const MINIKUBE_PROFILE: &str = "minikube.k8s.io/name";

/// What delivery needs to know of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterFacts {
    /// Name of the kubeconfig context.
    pub context: String,
    /// Its nodes.
    pub nodes: Vec<NodeFacts>,
}

/// What delivery needs to know of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// Runtime and version, such as `docker://20.10.24`.
    pub runtime: String,
    /// Boot id of its kernel.
    pub boot_id: String,
    /// Such as `kind://docker/kind/kind-control-plane`; may be empty.
    pub provider_id: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Names of images that it has; not necessarily all.
    pub images: BTreeSet<String>,
}

/// The way images take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// The nodes run containers with the very engine that builds: there is nothing to do.
    SharedEngine,
    /// Pushed to the environment's registry, from which the cluster pulls.
    Registry,
    /// Loaded by minikube.
    Minikube {
        /// Its profile.
        profile: String,
    },
    /// Loaded by kind.
    Kind {
        /// The cluster's name.
        cluster: String,
    },
    /// Imported by k3d.
    K3d {
        /// The cluster's name.
        cluster: String,
    },
}

/// Images cannot get into this cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cluster of context `{context}` cannot see the images of this machine")]
pub struct DeliveryRefused {
    /// The context.
    pub context: String,
    /// What its nodes run containers with.
    pub runtimes: Vec<String>,
}

impl Explain for DeliveryRefused {
    fn exit(&self) -> Exit {
        Exit::Refused
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        let runs = match self.runtimes.as_slice() {
            [] => "no node is visible: `list nodes` may be forbidden".to_owned(),
            runtimes => format!("its nodes run containers with {}", runtimes.join(", ")),
        };
        vec![
            Diagnostic::error(NO_ROUTE, self.to_string())
                .note(format!(
                    "{runs}; this is neither this machine's Docker engine nor minikube, kind or k3d"
                ))
                .note("nothing was applied")
                .hint("name a registry in the environment: `registry: registry.example.com/stack`"),
        ]
    }
}

/// The way to a cluster. A registry that the environment names comes first: the user wants it.
pub fn route(
    facts: &ClusterFacts,
    own_boot_id: Option<&str>,
    registry: Option<&Registry>,
) -> Result<Route, DeliveryRefused> {
    if registry.is_some() {
        return Ok(Route::Registry);
    }
    if shares_engine(facts, own_boot_id) {
        return Ok(Route::SharedEngine);
    }
    facts.nodes.first().and_then(local_cluster).ok_or_else(|| {
        let runtimes: BTreeSet<&str> = facts
            .nodes
            .iter()
            .map(|node| node.runtime.as_str())
            .collect();
        DeliveryRefused {
            context: facts.context.clone(),
            runtimes: runtimes.into_iter().map(str::to_owned).collect(),
        }
    })
}

/// This machine's boot id (random(4)); none where the kernel does not tell.
#[must_use]
pub fn own_boot_id() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}

fn shares_engine(facts: &ClusterFacts, own_boot_id: Option<&str>) -> bool {
    let here = |node: &NodeFacts| own_boot_id == Some(node.boot_id.as_str());
    let desktop = |node: &NodeFacts| node.name == "docker-desktop";
    !facts.nodes.is_empty()
        && facts
            .nodes
            .iter()
            .all(|node| node.runtime.starts_with("docker://") && (here(node) || desktop(node)))
}

fn local_cluster(node: &NodeFacts) -> Option<Route> {
    if let Some(profile) = node.labels.get(MINIKUBE_PROFILE) {
        return Some(Route::Minikube {
            profile: profile.clone(),
        });
    }
    if let Some(path) = node.provider_id.strip_prefix("kind://") {
        let cluster = path.split('/').nth(1)?.to_owned();
        return Some(Route::Kind { cluster });
    }
    let cluster = k3d_cluster(&node.name)?.to_owned();
    node.provider_id
        .starts_with("k3s://")
        .then_some(Route::K3d { cluster })
}

/// `k3d-shop-server-0` → `shop`
fn k3d_cluster(node: &str) -> Option<&str> {
    let (rest, number) = node.strip_prefix("k3d-")?.rsplit_once('-')?;
    number.parse::<u32>().ok()?;
    rest.strip_suffix("-server")
        .or_else(|| rest.strip_suffix("-agent"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::{SourceFile, Span};

    fn cluster(change: impl Fn(&mut NodeFacts)) -> ClusterFacts {
        let mut node = NodeFacts {
            name: "node-1".into(),
            runtime: "containerd://1.7".into(),
            ..NodeFacts::default()
        };
        change(&mut node);
        ClusterFacts {
            context: "somewhere".into(),
            nodes: vec![node],
        }
    }

    #[test]
    fn the_way_follows_from_the_nodes() {
        let docker_here = cluster(|node| {
            node.runtime = "docker://20.10".into();
            node.boot_id = "mine".into();
        });
        let desktop = cluster(|node| {
            node.runtime = "docker://28".into();
            node.name = "docker-desktop".into();
        });
        let minikube = cluster(|node| {
            node.labels.insert(MINIKUBE_PROFILE.into(), "dev".into());
        });
        let kind =
            cluster(|node| node.provider_id = "kind://docker/blue/blue-control-plane".into());
        let k3d = cluster(|node| {
            node.name = "k3d-my-shop-agent-1".into();
            node.provider_id = "k3s://k3d-my-shop-agent-1".into();
        });
        for (facts, expected) in [
            (docker_here, Route::SharedEngine),
            (desktop, Route::SharedEngine),
            (
                minikube,
                Route::Minikube {
                    profile: "dev".into(),
                },
            ),
            (
                kind,
                Route::Kind {
                    cluster: "blue".into(),
                },
            ),
            (
                k3d,
                Route::K3d {
                    cluster: "my-shop".into(),
                },
            ),
        ] {
            assert_eq!(route(&facts, Some("mine"), None), Ok(expected), "{facts:?}");
        }
    }

    #[test]
    fn another_machines_docker_is_not_ours() {
        let elsewhere = cluster(|node| {
            node.runtime = "docker://20.10".into();
            node.boot_id = "theirs".into();
        });
        let refused = route(&elsewhere, Some("mine"), None).unwrap_err();
        assert_eq!(refused.exit(), Exit::Refused);
        let problem = refused.diagnostics().remove(0);
        assert!(
            problem.message.contains("`somewhere`") && problem.hints[0].contains("registry:"),
            "{problem:?}"
        );
        assert!(
            route(&elsewhere, None, None).is_err(),
            "an unknown boot id is no match"
        );
        assert!(
            route(&ClusterFacts::default(), Some(""), None).is_err(),
            "no node is no match"
        );
    }

    #[test]
    fn one_foreign_node_is_enough() {
        let mut facts = cluster(|node| {
            node.runtime = "docker://20.10".into();
            node.boot_id = "mine".into();
        });
        facts.nodes.push(NodeFacts {
            runtime: "containerd://1.7".into(),
            ..NodeFacts::default()
        });
        assert!(route(&facts, Some("mine"), None).is_err());
    }

    #[test]
    fn a_registry_that_is_named_is_used() {
        let file = SourceFile::new("env", "");
        let registry = Registry {
            prefix: "registry.example.com/shop".into(),
            span: Span::start_of(&file),
        };
        assert_eq!(
            route(&cluster(|_| {}), None, Some(&registry)),
            Ok(Route::Registry)
        );
    }
}
