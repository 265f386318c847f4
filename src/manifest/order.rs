//! The order of objects: what others need comes first.

use k8s_model::Gvk;

/// Kinds from first to last; a kind that is not listed comes just before the workloads.
const FIRST: [&[(&str, &str)]; 9] = [
    &[("", "Namespace")],
    &[("apiextensions.k8s.io", "CustomResourceDefinition")],
    &[
        ("scheduling.k8s.io", "PriorityClass"),
        ("storage.k8s.io", "StorageClass"),
        ("", "PersistentVolume"),
        ("", "ResourceQuota"),
        ("", "LimitRange"),
    ],
    &[("", "ServiceAccount")],
    &[
        ("rbac.authorization.k8s.io", "ClusterRole"),
        ("rbac.authorization.k8s.io", "Role"),
    ],
    &[
        ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
        ("rbac.authorization.k8s.io", "RoleBinding"),
    ],
    &[("", "ConfigMap"), ("", "Secret")],
    &[("", "PersistentVolumeClaim")],
    &[("", "Service")],
];
/// The rank of everything that runs pods.
const WORKLOAD: u8 = 20;

/// Where a kind stands in the order of applying: the lower, the earlier.
#[must_use]
pub fn rank(gvk: &Gvk) -> u8 {
    if is_workload(gvk) {
        return WORKLOAD;
    }
    // An autoscaler complains until its target exists.
    if gvk.group == "autoscaling" {
        return WORKLOAD + 1;
    }
    let is = |(group, kind): &(&str, &str)| *group == gvk.group && *kind == gvk.kind;
    (0_u8..)
        .zip(FIRST)
        .find(|(_, kinds)| kinds.iter().any(is))
        .map_or(WORKLOAD - 1, |(rank, _)| rank)
}

/// Whether other objects are refused without objects of this kind: namespaces and definitions of kinds.
#[must_use]
pub fn is_prerequisite(gvk: &Gvk) -> bool {
    rank(gvk) < 2
}

/// Whether objects of this kind run pods.
#[must_use]
pub fn is_workload(gvk: &Gvk) -> bool {
    super::pod::template_pointer(gvk).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_need_comes_first() {
        let kinds = [
            ("v1", "Namespace"),
            ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
            ("v1", "ServiceAccount"),
            ("rbac.authorization.k8s.io/v1", "Role"),
            ("rbac.authorization.k8s.io/v1", "RoleBinding"),
            ("v1", "ConfigMap"),
            ("v1", "PersistentVolumeClaim"),
            ("v1", "Service"),
            ("example.com/v1", "Widget"),
            ("apps/v1", "Deployment"),
            ("autoscaling/v2", "HorizontalPodAutoscaler"),
        ];
        let ranks: Vec<u8> = kinds
            .iter()
            .map(|(version, kind)| rank(&Gvk::new(version, kind)))
            .collect();
        assert!(ranks.is_sorted(), "{ranks:?}");
        assert!(is_workload(&Gvk::new("batch/v1beta1", "CronJob")));
        assert!(!is_workload(&Gvk::new("example.com/v1", "Deployment")));
    }
}
