//! Which versions and kinds a cluster serves.
//!
//! Asked group by group, for the groups that are needed: v1.20 has no aggregated discovery.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;
use k8s_model::Gvk;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroup, APIResource, APIResourceList};
use kube::Client;

use crate::diagnostic::{Code, Diagnostic, Exit, Explain};

use super::retry::{CallError, idempotent};

/// The server did not say what it serves.
const DISCOVERY: Code = Code::new("S0611");

/// What a cluster serves.
#[derive(Clone, Debug, Default)]
pub struct Kinds {
    versions: BTreeSet<(String, String)>,
    resources: BTreeMap<Gvk, Resource>,
}

/// A kind as the server offers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The kind.
    pub gvk: Gvk,
    /// Its name in URLs, such as `deployments`.
    pub plural: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// What can be done, such as `list`.
    pub verbs: Vec<String>,
}

/// The server did not say what it serves.
#[derive(Debug, thiserror::Error)]
#[error("cannot find out what the cluster serves under `{path}`: {reason}")]
pub struct DiscoveryError {
    path: String,
    reason: String,
}

impl Explain for DiscoveryError {
    fn exit(&self) -> Exit {
        Exit::Failed
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        vec![Diagnostic::error(DISCOVERY, self.to_string())]
    }
}

/// What the server serves of these API groups (the core group, empty, always counts among them): all
/// their versions, and the names of all other group versions.
pub async fn discover(client: &Client, groups: &BTreeSet<String>) -> Result<Kinds, DiscoveryError> {
    let (core, served) = tokio::try_join!(core(client), list_groups(client))?;
    let wanted = served
        .iter()
        .filter(|group| groups.contains(&group.name))
        .flat_map(|group| &group.versions)
        .map(|version| version.group_version.clone());
    let lists = try_join_all(wanted.map(|version| resources(client, version))).await?;
    Ok(collect(&served, std::iter::once(core).chain(lists)))
}

/// What the server serves of all API groups, each in the version that it prefers. Groups whose own
/// server does not answer (a broken aggregated API) are left out.
pub async fn discover_all(client: &Client) -> Result<Kinds, DiscoveryError> {
    let (core, served) = tokio::try_join!(core(client), list_groups(client))?;
    let preferred = served.iter().filter_map(|group| {
        let version = group
            .preferred_version
            .as_ref()
            .or(group.versions.first())?;
        Some(version.group_version.clone())
    });
    let lists = futures_util::future::join_all(preferred.map(|version| resources(client, version)))
        .await
        .into_iter()
        .filter_map(|list| {
            list.inspect_err(|error| tracing::warn!(%error, "an API group is left out"))
                .ok()
        });
    Ok(collect(&served, std::iter::once(core).chain(lists)))
}

impl Kinds {
    /// The kind, if it is served and its group was asked for.
    #[must_use]
    pub fn get(&self, gvk: &Gvk) -> Option<&Resource> {
        self.resources.get(gvk)
    }

    /// All kinds of the groups that were asked for.
    pub fn iter(&self) -> impl Iterator<Item = &Resource> {
        self.resources.values()
    }

    /// Every (group, version) the server serves, also of groups that were not asked for.
    #[must_use]
    pub fn versions(&self) -> &BTreeSet<(String, String)> {
        &self.versions
    }
}

impl Resource {
    /// Whether the server offers this verb.
    #[must_use]
    pub fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|offered| offered == verb)
    }

    /// For typed calls with [`kube::Api`].
    #[must_use]
    pub fn api_resource(&self) -> kube::core::ApiResource {
        kube::core::ApiResource {
            group: self.gvk.group.clone(),
            version: self.gvk.version.clone(),
            api_version: self.gvk.api_version(),
            kind: self.gvk.kind.clone(),
            plural: self.plural.clone(),
        }
    }

    /// Where its objects are: `/apis/apps/v1/namespaces/shop/deployments`.
    #[must_use]
    pub fn path(&self, namespace: Option<&str>) -> String {
        let root = if self.gvk.group.is_empty() {
            "api"
        } else {
            "apis"
        };
        let version = self.gvk.api_version();
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!("/{root}/{version}/namespaces/{namespace}/{}", self.plural),
            None => format!("/{root}/{version}/{}", self.plural),
        }
    }
}

async fn core(client: &Client) -> Result<APIResourceList, DiscoveryError> {
    idempotent(|| client.list_core_api_resources("v1"))
        .await
        .map_err(|error| failed("/api/v1", &error))
}

async fn list_groups(client: &Client) -> Result<Vec<APIGroup>, DiscoveryError> {
    idempotent(|| client.list_api_groups())
        .await
        .map(|list| list.groups)
        .map_err(|error| failed("/apis", &error))
}

async fn resources(client: &Client, version: String) -> Result<APIResourceList, DiscoveryError> {
    idempotent(|| client.list_api_group_resources(&version))
        .await
        .map_err(|error| failed(&format!("/apis/{version}"), &error))
}

fn failed(path: &str, error: &CallError) -> DiscoveryError {
    DiscoveryError {
        path: path.to_owned(),
        reason: match error {
            CallError::Client(error) => super::status::plain(error),
            CallError::TimedOut(_) => error.to_string(),
        },
    }
}

fn collect(groups: &[APIGroup], lists: impl Iterator<Item = APIResourceList>) -> Kinds {
    let mut kinds = Kinds::default();
    kinds.versions.insert((String::new(), "v1".to_owned()));
    for group in groups {
        for version in &group.versions {
            kinds
                .versions
                .insert((group.name.clone(), version.version.clone()));
        }
    }
    for list in lists {
        for resource in list.resources {
            // Subresources such as `deployments/scale` are no kinds of their own.
            if !resource.name.contains('/') {
                let resource = of(&list.group_version, resource);
                kinds.resources.insert(resource.gvk.clone(), resource);
            }
        }
    }
    kinds
}

fn of(group_version: &str, resource: APIResource) -> Resource {
    Resource {
        gvk: Gvk::new(group_version, &resource.kind),
        plural: resource.name,
        namespaced: resource.namespaced,
        verbs: resource.verbs,
    }
}

#[cfg(test)]
mod tests {
    use test_support::kubernetes::{Kubernetes, Script, failure};

    use super::*;

    #[tokio::test]
    async fn only_the_groups_that_are_needed_are_asked_for() {
        let kubernetes = Kubernetes::new();
        let groups = BTreeSet::from([
            "policy".to_owned(),
            "batch".to_owned(),
            "none.example".to_owned(),
        ]);
        let kinds = discover(&kubernetes.client(), &groups).await.unwrap();
        let mut requests = kubernetes.requests();
        requests.sort();
        assert_eq!(
            requests,
            [
                "GET /api/v1",
                "GET /apis",
                "GET /apis/batch/v1",
                "GET /apis/batch/v1beta1",
                "GET /apis/policy/v1beta1",
            ]
        );
        let budget = kinds
            .get(&Gvk::new("policy/v1beta1", "PodDisruptionBudget"))
            .unwrap();
        assert_eq!(
            budget.path(Some("shop")),
            "/apis/policy/v1beta1/namespaces/shop/poddisruptionbudgets"
        );
        assert!(
            kinds
                .get(&Gvk::new("policy/v1", "PodDisruptionBudget"))
                .is_none()
        );
        assert!(
            kinds
                .versions()
                .contains(&("apps".to_owned(), "v1".to_owned()))
        );
        assert!(
            !kinds
                .versions()
                .contains(&("policy".to_owned(), "v1".to_owned()))
        );
        let namespace = kinds.get(&Gvk::new("v1", "Namespace")).unwrap();
        assert_eq!(namespace.path(Some("shop")), "/api/v1/namespaces");
        assert!(kinds.iter().all(|kind| !kind.plural.contains('/')));
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_aggregated_api_does_not_stop_the_listing_of_all() {
        let kubernetes = Kubernetes::new();
        for _ in 0..10 {
            let down = failure(
                503,
                "ServiceUnavailable",
                "the server is currently unable to handle the request",
            );
            kubernetes.script("GET", "/apis/policy/v1beta1", Script::Respond(503, down));
        }
        let kinds = discover_all(&kubernetes.client()).await.unwrap();
        assert!(kinds.get(&Gvk::new("apps/v1", "Deployment")).is_some());
        assert!(
            kinds
                .get(&Gvk::new("policy/v1beta1", "PodDisruptionBudget"))
                .is_none()
        );
    }
}
