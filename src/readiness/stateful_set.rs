//! StatefulSets: all replicas are ready, and those above the partition are of the newest revision.

use serde_json::Value;

use super::{Readiness, count, unobserved};

/// Source: the rules of `kubectl rollout status`; with `OnDelete` nobody replaces pods, so their revision
/// does not count.
pub(super) fn readiness(object: &Value) -> Readiness {
    if let Some(reason) = unobserved(object) {
        return Readiness::Waiting(reason);
    }
    let desired = object
        .pointer("/spec/replicas")
        .and_then(Value::as_i64)
        .unwrap_or(1);
    let ready = count(object, "/status/readyReplicas");
    if ready < desired {
        return Readiness::waiting(format!("{ready}/{desired} ready"));
    }
    let surplus = count(object, "/status/replicas") - desired;
    if surplus > 0 {
        return Readiness::waiting(format!("{surplus} old still running"));
    }
    if let Some(waiting) = not_updated(object, desired) {
        return waiting;
    }
    // Since v1.22; a set without `minReadySeconds` has as many available as ready ones.
    match object
        .pointer("/status/availableReplicas")
        .and_then(Value::as_i64)
    {
        Some(available) if available < desired && count(object, "/spec/minReadySeconds") > 0 => {
            Readiness::waiting(format!("{available}/{desired} available"))
        }
        _ => Readiness::Ready,
    }
}

fn not_updated(object: &Value, desired: i64) -> Option<Readiness> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    if text("/spec/updateStrategy/type") == Some("OnDelete") {
        return None;
    }
    let partition = count(object, "/spec/updateStrategy/rollingUpdate/partition");
    let updated = count(object, "/status/updatedReplicas");
    let wanted = (desired - partition).max(0);
    let behind = if partition > 0 {
        updated < wanted
    } else {
        text("/status/currentRevision") != text("/status/updateRevision")
    };
    behind.then(|| Readiness::waiting(format!("{}/{wanted} updated", updated.min(wanted))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(spec: Value, status: Value) -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet",
            "metadata": {"name": "db", "generation": 3}, "spec": spec, "status": status,
        })
    }

    #[test]
    fn every_stage_of_a_rollout() {
        let rolling = |partition: i64| json!({"replicas": 3, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}});
        let status = |ready: i64, updated: i64, current: &str| {
            json!({
                "observedGeneration": 3, "replicas": 3, "readyReplicas": ready, "updatedReplicas": updated,
                "currentRevision": current, "updateRevision": "db-2",
            })
        };
        let cases = [
            (
                set(rolling(0), json!({"observedGeneration": 2})),
                Readiness::waiting("its controller has not seen it yet"),
            ),
            (
                set(rolling(0), status(2, 1, "db-1")),
                Readiness::waiting("2/3 ready"),
            ),
            (
                set(rolling(0), status(3, 1, "db-1")),
                Readiness::waiting("1/3 updated"),
            ),
            (
                set(rolling(0), status(3, 3, "db-1")),
                Readiness::waiting("3/3 updated"),
            ),
            (set(rolling(0), status(3, 3, "db-2")), Readiness::Ready),
            (
                set(rolling(2), status(3, 0, "db-1")),
                Readiness::waiting("0/1 updated"),
            ),
            (set(rolling(2), status(3, 1, "db-1")), Readiness::Ready),
            (set(rolling(5), status(3, 0, "db-1")), Readiness::Ready),
            (
                set(
                    json!({"replicas": 3, "updateStrategy": {"type": "OnDelete"}}),
                    status(3, 0, "db-1"),
                ),
                Readiness::Ready,
            ),
            (
                set(json!({"replicas": 2}), status(3, 3, "db-2")),
                Readiness::waiting("1 old still running"),
            ),
            (
                set(json!({"replicas": 0}), json!({"observedGeneration": 3})),
                Readiness::Ready,
            ),
        ];
        for (object, expected) in cases {
            assert_eq!(readiness(&object), expected, "{object}");
        }
    }

    #[test]
    fn min_ready_seconds_count_where_the_cluster_knows_them() {
        let status = |available: Value| {
            json!({
                "observedGeneration": 3, "replicas": 1, "readyReplicas": 1, "updatedReplicas": 1,
                "currentRevision": "db-2", "updateRevision": "db-2", "availableReplicas": available,
            })
        };
        let spec = json!({"replicas": 1, "minReadySeconds": 5});
        assert_eq!(
            readiness(&set(spec.clone(), status(json!(0)))),
            Readiness::waiting("0/1 available")
        );
        assert_eq!(readiness(&set(spec, status(json!(1)))), Readiness::Ready);
        assert_eq!(
            readiness(&set(json!({"replicas": 1}), status(json!(0)))),
            Readiness::Ready
        );
    }
}
