//! The order of applying as steps that an executor runs, many at once where nothing forbids it.

use std::collections::{BTreeMap, BTreeSet};

use crate::manifest::is_workload;
use crate::stack::{ServiceName, Stack};

use super::change::{Action, Change, Plan};

/// What is applied together: the stack as a whole, or one service.
#[derive(Clone, Debug, PartialEq)]
pub struct Step<'a> {
    /// None for the stack as a whole, which comes before every service.
    pub service: Option<ServiceName>,
    /// Services whose workloads must be ready before this step starts; each has a step before this one.
    pub needs: Vec<ServiceName>,
    /// In the order of applying; unchanged ones are there too, since their readiness counts.
    pub changes: Vec<(Stage, &'a Change)>,
}

/// When in its step an object is applied: all of a stage before the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Namespaces and definitions of kinds, without which others are refused.
    Prerequisite,
    /// What workloads use.
    Config,
    /// What runs, and what scales it.
    Workload,
}

/// A service that cannot be applied, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Which.
    pub service: ServiceName,
    /// From the service to the one that failed, each needing the next: `web`, `api`, `db`.
    pub chain: Vec<ServiceName>,
}

impl Plan {
    /// The changes but for deletions, step by step; a step comes after all that it needs.
    #[must_use]
    pub fn steps(&self, stack: &Stack) -> Vec<Step<'_>> {
        let mut by_service: BTreeMap<Option<ServiceName>, Vec<(Stage, &Change)>> = BTreeMap::new();
        for change in self
            .changes
            .iter()
            .filter(|change| change.action != Action::Delete)
        {
            let stage = stage(change);
            let owner = change
                .service
                .as_ref()
                .filter(|_| stage != Stage::Prerequisite);
            by_service
                .entry(owner.cloned())
                .or_default()
                .push((stage, change));
        }
        let present: BTreeSet<ServiceName> = by_service.keys().flatten().cloned().collect();
        let mut steps = Vec::with_capacity(by_service.len());
        let mut order = vec![(None, [].as_slice())];
        for service in stack.in_order_of_needs() {
            order.push((Some(service.name.clone()), service.needs.as_slice()));
        }
        for (service, needs) in order {
            if let Some(changes) = by_service.remove(&service) {
                let needs = needs.iter().filter(|need| present.contains(*need));
                steps.push(Step {
                    service,
                    needs: needs.cloned().collect(),
                    changes,
                });
            }
        }
        // A service that the stack does not know needs none that it knows.
        steps.extend(by_service.into_iter().map(|(service, changes)| Step {
            service,
            needs: Vec::new(),
            changes,
        }));
        steps
    }

    /// What is deleted, in this order, after all else.
    pub fn deletions(&self) -> impl Iterator<Item = &Change> {
        self.changes
            .iter()
            .filter(|change| change.action == Action::Delete)
    }
}

/// The services that cannot be applied after `failed` did not become ready, directly or through others,
/// in the order of `steps`.
#[must_use]
pub fn blocked_by(steps: &[Step<'_>], failed: &ServiceName) -> Vec<Blocked> {
    let mut chains: BTreeMap<ServiceName, Vec<ServiceName>> =
        BTreeMap::from([(failed.clone(), vec![failed.clone()])]);
    let mut blocked = Vec::new();
    for step in steps {
        let Some(service) = step.service.as_ref().filter(|service| *service != failed) else {
            continue;
        };
        let shortest = step
            .needs
            .iter()
            .filter_map(|need| chains.get(need))
            .min_by_key(|chain| chain.len());
        if let Some(rest) = shortest {
            let chain: Vec<ServiceName> = std::iter::once(service.clone())
                .chain(rest.iter().cloned())
                .collect();
            chains.insert(service.clone(), chain.clone());
            blocked.push(Blocked {
                service: service.clone(),
                chain,
            });
        }
    }
    blocked
}

fn stage(change: &Change) -> Stage {
    let gvk = &change.reference.gvk;
    if crate::manifest::is_prerequisite(gvk) {
        Stage::Prerequisite
    } else if is_workload(gvk) || gvk.group == "autoscaling" {
        Stage::Workload
    } else {
        Stage::Config
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::manifest::sample::{object, stack};
    use crate::plan::build;

    fn plan(objects: &[(&str, &str, &str)]) -> Plan {
        let desired: Vec<_> = objects
            .iter()
            .map(|(service, api_version, kind)| {
                let value =
                    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": service}});
                object(service, value)
            })
            .collect();
        build(&desired, &[])
    }

    fn names(names: &[ServiceName]) -> Vec<&str> {
        names.iter().map(ServiceName::as_str).collect()
    }

    #[test]
    fn steps_follow_needs_and_config_comes_before_workloads() {
        let plan = plan(&[
            ("web", "apps/v1", "Deployment"),
            ("web", "v1", "Service"),
            ("web", "autoscaling/v2", "HorizontalPodAutoscaler"),
            ("web", "apiextensions.k8s.io/v1", "CustomResourceDefinition"),
            ("api", "apps/v1", "Deployment"),
            ("db", "apps/v1", "StatefulSet"),
            ("db", "v1", "Secret"),
        ]);
        let steps = plan.steps(&stack());
        let shown: Vec<String> = steps
            .iter()
            .map(|step| {
                let service = step.service.as_ref().map_or("stack", ServiceName::as_str);
                let kinds: Vec<String> = step
                    .changes
                    .iter()
                    .map(|(stage, change)| format!("{stage:?} {}", change.reference.gvk.kind))
                    .collect();
                format!(
                    "{service} after {:?}: {}",
                    names(&step.needs),
                    kinds.join(", ")
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                "stack after []: Prerequisite CustomResourceDefinition",
                "db after []: Config Secret, Workload StatefulSet",
                "api after [\"db\"]: Workload Deployment",
                "web after [\"api\"]: Config Service, Workload Deployment, Workload HorizontalPodAutoscaler",
            ]
        );
    }

    #[test]
    fn what_is_not_in_the_plan_is_not_waited_for() {
        let plan = plan(&[("web", "v1", "Service")]);
        let steps = plan.steps(&stack());
        assert_eq!(steps.len(), 1);
        assert_eq!(steps[0].needs, []);
    }

    #[test]
    fn a_failure_blocks_all_that_need_it_and_says_how() {
        let plan = plan(&[
            ("web", "v1", "Service"),
            ("api", "v1", "Service"),
            ("db", "v1", "Service"),
        ]);
        let steps = plan.steps(&stack());
        let blocked = blocked_by(&steps, &"db".parse().unwrap());
        let chains: Vec<Vec<&str>> = blocked
            .iter()
            .map(|blocked| names(&blocked.chain))
            .collect();
        assert_eq!(chains, [vec!["api", "db"], vec!["web", "api", "db"]]);
        assert_eq!(blocked_by(&steps, &"web".parse().unwrap()), []);
    }
}
