//! The kinds of Kubernetes: their schemas, their scope, and the versions in which they were served.

use std::sync::LazyLock;

use k8s_model::Gvk;
use k8s_openapi::Resource;
use k8s_openapi::api::{
    admissionregistration, apps, autoscaling, batch, certificates, coordination, core, discovery,
    networking, node, policy, rbac, scheduling, storage,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration;
use schemars::JsonSchema;
use serde_json::Value;

/// Whether objects of a kind live in namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In a namespace.
    Namespaced,
    /// In the cluster as a whole.
    Cluster,
}

/// A kind that can be checked without a cluster.
pub(crate) struct Kind {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    scope: Scope,
    schema: LazyLock<Value>,
}

impl Kind {
    const fn of<T: Resource + JsonSchema>(scope: Scope) -> Self {
        Self {
            group: T::GROUP,
            version: T::VERSION,
            kind: T::KIND,
            scope,
            schema: LazyLock::new(|| schemars::schema_for!(T).to_value()),
        }
    }

    /// The JSON schema, made at the first call (about a millisecond where the kind has pods).
    pub(crate) fn schema(&self) -> &Value {
        &self.schema
    }

    /// As `apiVersion` has it.
    pub(crate) fn api_version(&self) -> String {
        Gvk {
            group: self.group.to_owned(),
            version: self.version.to_owned(),
            kind: String::new(),
        }
        .api_version()
    }
}

use Scope::{Cluster, Namespaced};

/// What stacks are made of; within a kind the newest version comes first. Kinds that only nodes,
/// controllers or a client's questions use are left out.
static KINDS: [Kind; 42] = [
    Kind::of::<core::v1::ConfigMap>(Namespaced),
    Kind::of::<core::v1::Endpoints>(Namespaced),
    Kind::of::<core::v1::LimitRange>(Namespaced),
    Kind::of::<core::v1::Namespace>(Cluster),
    Kind::of::<core::v1::PersistentVolume>(Cluster),
    Kind::of::<core::v1::PersistentVolumeClaim>(Namespaced),
    Kind::of::<core::v1::Pod>(Namespaced),
    Kind::of::<core::v1::PodTemplate>(Namespaced),
    Kind::of::<core::v1::ReplicationController>(Namespaced),
    Kind::of::<core::v1::ResourceQuota>(Namespaced),
    Kind::of::<core::v1::Secret>(Namespaced),
    Kind::of::<core::v1::Service>(Namespaced),
    Kind::of::<core::v1::ServiceAccount>(Namespaced),
    Kind::of::<apps::v1::DaemonSet>(Namespaced),
    Kind::of::<apps::v1::Deployment>(Namespaced),
    Kind::of::<apps::v1::ReplicaSet>(Namespaced),
    Kind::of::<apps::v1::StatefulSet>(Namespaced),
    Kind::of::<autoscaling::v2::HorizontalPodAutoscaler>(Namespaced),
    Kind::of::<autoscaling::v1::HorizontalPodAutoscaler>(Namespaced),
    Kind::of::<batch::v1::CronJob>(Namespaced),
    Kind::of::<batch::v1::Job>(Namespaced),
    Kind::of::<policy::v1::PodDisruptionBudget>(Namespaced),
    Kind::of::<networking::v1::Ingress>(Namespaced),
    Kind::of::<networking::v1::IngressClass>(Cluster),
    Kind::of::<networking::v1::NetworkPolicy>(Namespaced),
    Kind::of::<rbac::v1::ClusterRole>(Cluster),
    Kind::of::<rbac::v1::ClusterRoleBinding>(Cluster),
    Kind::of::<rbac::v1::Role>(Namespaced),
    Kind::of::<rbac::v1::RoleBinding>(Namespaced),
    Kind::of::<scheduling::v1::PriorityClass>(Cluster),
    Kind::of::<storage::v1::CSIDriver>(Cluster),
    Kind::of::<storage::v1::StorageClass>(Cluster),
    Kind::of::<coordination::v1::Lease>(Namespaced),
    Kind::of::<discovery::v1::EndpointSlice>(Namespaced),
    Kind::of::<node::v1::RuntimeClass>(Cluster),
    Kind::of::<certificates::v1::CertificateSigningRequest>(Cluster),
    Kind::of::<admissionregistration::v1::MutatingWebhookConfiguration>(Cluster),
    Kind::of::<admissionregistration::v1::ValidatingWebhookConfiguration>(Cluster),
    Kind::of::<admissionregistration::v1::ValidatingAdmissionPolicy>(Cluster),
    Kind::of::<admissionregistration::v1::ValidatingAdmissionPolicyBinding>(Cluster),
    Kind::of::<apiextensions::v1::CustomResourceDefinition>(Cluster),
    Kind::of::<apiregistration::v1::APIService>(Cluster),
];

/// The kind with exactly this group, version and name.
pub(crate) fn find(gvk: &Gvk) -> Option<&'static Kind> {
    of_kind(&gvk.group, &gvk.kind).find(|kind| kind.version == gvk.version)
}

/// The newest version of a kind.
pub(crate) fn newest(group: &str, kind: &str) -> Option<&'static Kind> {
    of_kind(group, kind).next()
}

/// The names of the kinds of a group.
pub(crate) fn names_in(group: &str) -> impl Iterator<Item = &'static str> + '_ {
    KINDS
        .iter()
        .filter(move |kind| kind.group == group)
        .map(|kind| kind.kind)
}

/// The groups in which a kind of this name exists.
pub(crate) fn named(name: &str) -> impl Iterator<Item = &'static Kind> + '_ {
    KINDS.iter().filter(move |kind| kind.kind == name)
}

/// Whether objects of a kind live in namespaces, in any version; none for unknown kinds.
#[must_use]
pub fn scope(gvk: &Gvk) -> Option<Scope> {
    newest(&gvk.group, &gvk.kind).map(|kind| kind.scope)
}

fn of_kind<'a>(group: &'a str, kind: &'a str) -> impl Iterator<Item = &'static Kind> + 'a {
    KINDS
        .iter()
        .filter(move |known| known.group == group && known.kind == kind)
}

/// In which minor versions of Kubernetes 1 something was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lifetime {
    /// `group/version`, or `version` of the core group.
    pub(crate) api_version: &'static str,
    /// The kinds it holds.
    pub(crate) kinds: &'static [&'static str],
    /// The first minor version with it; 0 for those older than 1.16.
    pub(crate) from: u32,
    /// The first minor version without it.
    pub(crate) until: Option<u32>,
}

const fn since(from: u32, api_version: &'static str, kinds: &'static [&'static str]) -> Lifetime {
    Lifetime {
        api_version,
        kinds,
        from,
        until: None,
    }
}

const fn before(until: u32, api_version: &'static str, kinds: &'static [&'static str]) -> Lifetime {
    Lifetime {
        api_version,
        kinds,
        from: 0,
        until: Some(until),
    }
}

const fn between(
    (from, until): (u32, u32),
    api_version: &'static str,
    kinds: &'static [&'static str],
) -> Lifetime {
    Lifetime {
        api_version,
        kinds,
        from,
        until: Some(until),
    }
}

const ADMISSION: &[&str] = &[
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
];
const RBAC: &[&str] = &["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"];

/// From the deprecated API migration guide and the changelogs of Kubernetes.
pub(crate) const HISTORY: &[Lifetime] = &[
    since(
        0,
        "v1",
        &[
            "ConfigMap",
            "Endpoints",
            "LimitRange",
            "Namespace",
            "PersistentVolume",
            "PersistentVolumeClaim",
            "Pod",
            "PodTemplate",
            "ReplicationController",
            "ResourceQuota",
            "Secret",
            "Service",
            "ServiceAccount",
        ],
    ),
    since(
        0,
        "apps/v1",
        &["DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"],
    ),
    before(16, "apps/v1beta1", &["Deployment", "StatefulSet"]),
    before(
        16,
        "apps/v1beta2",
        &["DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"],
    ),
    before(
        16,
        "extensions/v1beta1",
        &[
            "DaemonSet",
            "Deployment",
            "NetworkPolicy",
            "PodSecurityPolicy",
            "ReplicaSet",
        ],
    ),
    before(22, "extensions/v1beta1", &["Ingress"]),
    since(0, "autoscaling/v1", &["HorizontalPodAutoscaler"]),
    since(23, "autoscaling/v2", &["HorizontalPodAutoscaler"]),
    before(25, "autoscaling/v2beta1", &["HorizontalPodAutoscaler"]),
    before(26, "autoscaling/v2beta2", &["HorizontalPodAutoscaler"]),
    since(0, "batch/v1", &["Job"]),
    since(21, "batch/v1", &["CronJob"]),
    before(25, "batch/v1beta1", &["CronJob"]),
    since(21, "policy/v1", &["PodDisruptionBudget"]),
    before(
        25,
        "policy/v1beta1",
        &["PodDisruptionBudget", "PodSecurityPolicy"],
    ),
    since(0, "networking.k8s.io/v1", &["NetworkPolicy"]),
    since(19, "networking.k8s.io/v1", &["Ingress", "IngressClass"]),
    before(22, "networking.k8s.io/v1beta1", &["Ingress"]),
    between((18, 22), "networking.k8s.io/v1beta1", &["IngressClass"]),
    since(0, "rbac.authorization.k8s.io/v1", RBAC),
    before(22, "rbac.authorization.k8s.io/v1beta1", RBAC),
    since(0, "scheduling.k8s.io/v1", &["PriorityClass"]),
    before(22, "scheduling.k8s.io/v1beta1", &["PriorityClass"]),
    since(0, "storage.k8s.io/v1", &["StorageClass"]),
    since(18, "storage.k8s.io/v1", &["CSIDriver"]),
    before(22, "storage.k8s.io/v1beta1", &["CSIDriver", "StorageClass"]),
    since(0, "coordination.k8s.io/v1", &["Lease"]),
    before(22, "coordination.k8s.io/v1beta1", &["Lease"]),
    since(21, "discovery.k8s.io/v1", &["EndpointSlice"]),
    between((17, 25), "discovery.k8s.io/v1beta1", &["EndpointSlice"]),
    since(20, "node.k8s.io/v1", &["RuntimeClass"]),
    before(25, "node.k8s.io/v1beta1", &["RuntimeClass"]),
    since(19, "certificates.k8s.io/v1", &["CertificateSigningRequest"]),
    before(
        22,
        "certificates.k8s.io/v1beta1",
        &["CertificateSigningRequest"],
    ),
    since(16, "admissionregistration.k8s.io/v1", ADMISSION),
    since(
        30,
        "admissionregistration.k8s.io/v1",
        &[
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicyBinding",
        ],
    ),
    before(22, "admissionregistration.k8s.io/v1beta1", ADMISSION),
    since(16, "apiextensions.k8s.io/v1", &["CustomResourceDefinition"]),
    before(
        22,
        "apiextensions.k8s.io/v1beta1",
        &["CustomResourceDefinition"],
    ),
    since(0, "apiregistration.k8s.io/v1", &["APIService"]),
    before(22, "apiregistration.k8s.io/v1beta1", &["APIService"]),
];

/// The minor version of Kubernetes 1 that no longer serves a kind in a version.
pub(crate) fn removed_in(gvk: &Gvk) -> Option<u32> {
    let api_version = gvk.api_version();
    HISTORY
        .iter()
        .find(|served| served.api_version == api_version && served.kinds.contains(&&*gvk.kind))?
        .until
}

/// Whether a group is Kubernetes' own; groups of custom resources may end like them
/// (`gateway.networking.k8s.io`).
pub(crate) fn is_built_in(group: &str) -> bool {
    group == "extensions" || KINDS.iter().any(|kind| kind.group == group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_with_a_schema_is_in_the_history() {
        for kind in &KINDS {
            let known = HISTORY.iter().any(|served| {
                served.api_version == kind.api_version()
                    && served.kinds.contains(&kind.kind)
                    && served.until.is_none()
            });
            assert!(known, "{} {}", kind.api_version(), kind.kind);
        }
    }

    #[test]
    fn scopes_are_those_of_the_api() {
        for (version, kind, expected) in [
            ("v1", "ConfigMap", Some(Scope::Namespaced)),
            ("v1", "Namespace", Some(Scope::Cluster)),
            (
                "policy/v1beta1",
                "PodDisruptionBudget",
                Some(Scope::Namespaced),
            ),
            (
                "rbac.authorization.k8s.io/v1",
                "ClusterRole",
                Some(Scope::Cluster),
            ),
            ("example.com/v1", "ConfigMap", None),
        ] {
            assert_eq!(
                scope(&Gvk::new(version, kind)),
                expected,
                "{version} {kind}"
            );
        }
    }

    #[test]
    fn removed_versions_are_known() {
        let removed = |version, kind| removed_in(&Gvk::new(version, kind));
        assert_eq!(removed("policy/v1beta1", "PodDisruptionBudget"), Some(25));
        assert_eq!(removed("extensions/v1beta1", "Ingress"), Some(22));
        assert_eq!(removed("extensions/v1beta1", "Deployment"), Some(16));
        assert_eq!(removed("apps/v1", "Deployment"), None);
    }
}
