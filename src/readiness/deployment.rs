//! Deployments: all replicas are of the newest template and available, and the old ones are gone.

use serde_json::Value;

use super::{Readiness, condition, count, unobserved};

/// Source: the rules of `kubectl rollout status`, with the replica counts before the conditions, because a
/// condition may be older than the counts.
pub(super) fn readiness(object: &Value) -> Readiness {
    if let Some(reason) = unobserved(object) {
        return Readiness::Waiting(reason);
    }
    let desired = object
        .pointer("/spec/replicas")
        .and_then(Value::as_i64)
        .unwrap_or(1);
    let updated = count(object, "/status/updatedReplicas");
    let ready = count(object, "/status/readyReplicas");
    let available = count(object, "/status/availableReplicas");
    let old = count(object, "/status/replicas") - updated;
    let lacking = if updated < desired {
        format!("{updated}/{desired} updated")
    } else if ready < desired {
        format!("{ready}/{desired} ready")
    } else if available < desired {
        format!("{available}/{desired} available")
    } else if old > 0 {
        format!("{old} old still running")
    } else {
        return Readiness::Ready;
    };
    if let Some(exceeded) = condition(object, "Progressing")
        .filter(|condition| condition.reason == "ProgressDeadlineExceeded")
    {
        return Readiness::failed(exceeded.text());
    }
    if object.pointer("/spec/paused") == Some(&Value::Bool(true)) {
        return Readiness::waiting(format!("{lacking}, the rollout is paused"));
    }
    Readiness::waiting(lacking)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(generation: i64, replicas: Option<i64>, status: Value) -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "generation": generation},
            "spec": {"replicas": replicas},
            "status": status,
        })
    }

    #[test]
    fn every_stage_of_a_rollout() {
        let cases = [
            (
                deployment(1, Some(2), json!({})),
                Readiness::waiting("its controller has not seen it yet"),
            ),
            (
                deployment(
                    2,
                    Some(2),
                    json!({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2}),
                ),
                Readiness::waiting("its controller has not seen it yet"),
            ),
            (
                deployment(
                    2,
                    Some(2),
                    json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 1, "readyReplicas": 2, "availableReplicas": 2}),
                ),
                Readiness::waiting("1/2 updated"),
            ),
            (
                deployment(
                    2,
                    Some(2),
                    json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 1, "availableReplicas": 1, "unavailableReplicas": 1}),
                ),
                Readiness::waiting("1/2 ready"),
            ),
            (
                deployment(
                    2,
                    Some(2),
                    json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 1}),
                ),
                Readiness::waiting("1/2 available"),
            ),
            (
                deployment(
                    2,
                    Some(2),
                    json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 2, "readyReplicas": 3, "availableReplicas": 3}),
                ),
                Readiness::waiting("1 old still running"),
            ),
            (
                deployment(
                    2,
                    Some(2),
                    json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2}),
                ),
                Readiness::Ready,
            ),
            (
                deployment(1, Some(0), json!({"observedGeneration": 1})),
                Readiness::Ready,
            ),
            (
                deployment(1, None, json!({"observedGeneration": 1})),
                Readiness::waiting("0/1 updated"),
            ),
        ];
        for (object, expected) in cases {
            assert_eq!(readiness(&object), expected, "{object}");
        }
    }

    #[test]
    fn an_exceeded_deadline_fails_unless_the_replicas_are_there() {
        let progressing = json!([{
            "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
            "message": "ReplicaSet \"web-7c9\" has timed out progressing.",
        }]);
        let stuck = deployment(
            1,
            Some(1),
            json!({"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "conditions": progressing}),
        );
        assert_eq!(
            readiness(&stuck),
            Readiness::failed("ReplicaSet \"web-7c9\" has timed out progressing.")
        );
        let late = deployment(
            1,
            Some(1),
            json!({
                "observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1,
                "conditions": progressing,
            }),
        );
        assert_eq!(readiness(&late), Readiness::Ready);
    }

    #[test]
    fn a_paused_rollout_says_so() {
        let mut object = deployment(
            2,
            Some(1),
            json!({"observedGeneration": 2, "replicas": 1, "readyReplicas": 1, "availableReplicas": 1}),
        );
        object["spec"]["paused"] = json!(true);
        assert_eq!(
            readiness(&object),
            Readiness::waiting("0/1 updated, the rollout is paused")
        );
    }
}
