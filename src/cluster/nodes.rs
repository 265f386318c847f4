//! What is known about the nodes: how images get onto them depends on it.

use std::collections::{BTreeMap, BTreeSet};

use k8s_model::{Gvk, ObjectRef};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::ListParams;

use super::connect::Cluster;
use super::error::{ObjectError, Verb};
use super::retry::idempotent;
use super::status::Operation;

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// Runtime and version, such as `docker://20.10.24` or `containerd://1.7.27`.
    pub runtime: String,
    /// Boot id of its kernel; equal to this machine's where the node is this machine.
    pub boot_id: String,
    /// Such as `kind://docker/kind/kind-control-plane`; empty on bare clusters.
    pub provider_id: String,
    /// Such as `amd64`.
    pub architecture: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Names of the images that it has, in every form it knows (tags and digests). The kubelet reports
    /// the 50 largest unless it is told otherwise.
    pub images: BTreeSet<String>,
}

impl Cluster {
    /// All nodes, sorted by name.
    pub async fn facts(&self) -> Result<Vec<NodeFacts>, ObjectError> {
        let api = Api::<Node>::all(self.client.clone());
        let target = ObjectRef {
            gvk: Gvk::new("v1", "Node"),
            namespace: None,
            name: String::new(),
        };
        let operation = Operation {
            verb: Verb::List,
            target: &target,
            sent: None,
        };
        let all = ListParams::default();
        let nodes = idempotent(|| api.list(&all))
            .await
            .map_err(|error| operation.failed(error))?;
        let mut facts: Vec<NodeFacts> = nodes.items.into_iter().map(of).collect();
        facts.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(facts)
    }
}

fn of(node: Node) -> NodeFacts {
    let status = node.status.unwrap_or_default();
    let info = status.node_info.unwrap_or_default();
    NodeFacts {
        name: node.metadata.name.unwrap_or_default(),
        runtime: info.container_runtime_version,
        boot_id: info.boot_id,
        provider_id: node
            .spec
            .and_then(|spec| spec.provider_id)
            .unwrap_or_default(),
        architecture: info.architecture,
        labels: node.metadata.labels.unwrap_or_default(),
        images: status
            .images
            .unwrap_or_default()
            .into_iter()
            .flat_map(|image| image.names.unwrap_or_default())
            // What Docker calls an image without a name.
            .filter(|name| !name.contains("<none>"))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use test_support::kubernetes::Kubernetes;

    use super::*;

    #[tokio::test]
    async fn facts_are_read_off_the_nodes() {
        let kubernetes = Kubernetes::new();
        kubernetes.insert(&json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": "one", "labels": {"pool": "a"}},
            "spec": {"providerID": "kind://docker/kind/one"},
            "status": {
                "nodeInfo": {"machineID": "", "systemUUID": "", "bootID": "b-1", "kernelVersion": "", "osImage": "",
                    "containerRuntimeVersion": "docker://20.10.24", "kubeletVersion": "v1.20.2",
                    "kubeProxyVersion": "v1.20.2", "operatingSystem": "linux", "architecture": "amd64"},
                "images": [{"names": ["web@sha256:1", "web:1"], "sizeBytes": 1},
                           {"names": ["<none>@<none>", "<none>:<none>"], "sizeBytes": 1}],
            },
        }));
        let facts = Cluster::of_client(kubernetes.client())
            .facts()
            .await
            .unwrap();
        assert_eq!(
            facts,
            [NodeFacts {
                name: "one".into(),
                runtime: "docker://20.10.24".into(),
                boot_id: "b-1".into(),
                provider_id: "kind://docker/kind/one".into(),
                architecture: "amd64".into(),
                labels: [("pool".to_owned(), "a".to_owned())].into(),
                images: ["web:1".to_owned(), "web@sha256:1".to_owned()].into(),
            }]
        );
    }
}
