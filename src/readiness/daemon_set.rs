//! DaemonSets: every node that should has a ready pod of the newest template.

use serde_json::Value;

use super::{Readiness, count, unobserved};

/// Source: the rules of `kubectl rollout status`.
pub(super) fn readiness(object: &Value) -> Readiness {
    if let Some(reason) = unobserved(object) {
        return Readiness::Waiting(reason);
    }
    let desired = count(object, "/status/desiredNumberScheduled");
    let updated = count(object, "/status/updatedNumberScheduled");
    let ready = count(object, "/status/numberReady");
    let available = count(object, "/status/numberAvailable");
    let on_delete = object
        .pointer("/spec/updateStrategy/type")
        .and_then(Value::as_str)
        == Some("OnDelete");
    if updated < desired && !on_delete {
        Readiness::waiting(format!("{updated}/{desired} updated"))
    } else if ready < desired {
        Readiness::waiting(format!("{ready}/{desired} ready"))
    } else if available < desired {
        Readiness::waiting(format!("{available}/{desired} available"))
    } else {
        Readiness::Ready
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_stage_of_a_rollout() {
        let check = |strategy: &str, status: Value, expected: Readiness| {
            let object = json!({
                "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent", "generation": 2},
                "spec": {"updateStrategy": {"type": strategy}}, "status": status,
            });
            assert_eq!(readiness(&object), expected, "{object}");
        };
        let status = |updated: i64, ready: i64, available: i64| {
            json!({
                "observedGeneration": 2, "desiredNumberScheduled": 3, "currentNumberScheduled": 3,
                "updatedNumberScheduled": updated, "numberReady": ready, "numberAvailable": available,
            })
        };
        check(
            "RollingUpdate",
            json!({"observedGeneration": 1}),
            Readiness::waiting("its controller has not seen it yet"),
        );
        check(
            "RollingUpdate",
            status(1, 3, 3),
            Readiness::waiting("1/3 updated"),
        );
        check(
            "RollingUpdate",
            status(3, 2, 2),
            Readiness::waiting("2/3 ready"),
        );
        check(
            "RollingUpdate",
            status(3, 3, 2),
            Readiness::waiting("2/3 available"),
        );
        check("RollingUpdate", status(3, 3, 3), Readiness::Ready);
        check("OnDelete", status(0, 3, 3), Readiness::Ready);
        check(
            "RollingUpdate",
            json!({"observedGeneration": 2}),
            Readiness::Ready,
        );
    }
}
