//! Which pod a connection goes to; pure.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;

/// What the choice needs to know of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReadyPod {
    pub(super) name: String,
    /// Since when it has been ready.
    pub(super) since: Timestamp,
}

/// The pod as a candidate; nothing where it must not get new connections.
pub(super) fn ready(pod: &Pod) -> Option<ReadyPod> {
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let condition = pod
        .status
        .as_ref()?
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "Ready" && condition.status == "True")?;
    let since = condition
        .last_transition_time
        .as_ref()
        .or(pod.metadata.creation_timestamp.as_ref());
    Some(ReadyPod {
        name: pod.metadata.name.clone()?,
        since: since.map_or(Timestamp::UNIX_EPOCH, |time| time.0),
    })
}

/// The pod that became ready last, of those that have not failed this connection yet: during a
/// rollout that is one that will stay.
pub(super) fn choose<'a>(pods: &'a [ReadyPod], failed: &BTreeSet<String>) -> Option<&'a ReadyPod> {
    pods.iter()
        .filter(|pod| !failed.contains(&pod.name))
        .max_by(|a, b| (a.since, &a.name).cmp(&(b.since, &b.name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(json: serde_json::Value) -> Pod {
        serde_json::from_value(json).unwrap()
    }

    fn with_ready(status: &str, since: &str) -> serde_json::Value {
        serde_json::json!({
            "metadata": { "name": "a", "creationTimestamp": "2026-01-01T00:00:00Z" },
            "status": { "conditions": [
                { "type": "Initialized", "status": "True" },
                { "type": "Ready", "status": status, "lastTransitionTime": since },
            ] },
        })
    }

    #[test]
    fn only_ready_pods_that_stay_are_candidates() {
        let found = ready(&pod(with_ready("True", "2026-01-01T00:00:09Z"))).unwrap();
        assert_eq!(found.since, "2026-01-01T00:00:09Z".parse().unwrap());
        assert_eq!(
            ready(&pod(with_ready("False", "2026-01-01T00:00:09Z"))),
            None
        );

        let mut terminating = with_ready("True", "2026-01-01T00:00:09Z");
        terminating["metadata"]["deletionTimestamp"] = "2026-01-01T00:01:00Z".into();
        assert_eq!(ready(&pod(terminating)), None);

        assert_eq!(
            ready(&pod(serde_json::json!({ "metadata": { "name": "a" } }))),
            None,
            "a pod without status is not ready"
        );
    }

    #[test]
    fn the_newest_ready_pod_wins_unless_it_failed() {
        let at = |name: &str, second: i64| ReadyPod {
            name: name.into(),
            since: Timestamp::from_second(second).unwrap(),
        };
        let pods = [at("old", 10), at("new", 30), at("middle", 20)];
        let pick = |failed: &[&str]| {
            let failed = failed.iter().map(|&name| name.to_owned()).collect();
            choose(&pods, &failed).map(|pod| pod.name.clone())
        };
        assert_eq!(pick(&[]).as_deref(), Some("new"));
        assert_eq!(pick(&["new"]).as_deref(), Some("middle"));
        assert_eq!(pick(&["new", "middle", "old"]), None);
    }

    #[test]
    fn equal_times_are_settled_by_name() {
        let pods = ["b", "c", "a"].map(|name| ReadyPod {
            name: name.into(),
            since: Timestamp::UNIX_EPOCH,
        });
        assert_eq!(choose(&pods, &BTreeSet::new()).unwrap().name, "c");
    }
}
