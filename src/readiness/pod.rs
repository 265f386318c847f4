//! Pods: ready, or done.

use serde_json::Value;

use super::{Readiness, condition};

pub(super) fn readiness(object: &Value) -> Readiness {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    if text("/metadata/deletionTimestamp").is_some() {
        return Readiness::waiting("it is being deleted");
    }
    match text("/status/phase") {
        Some("Succeeded") => Readiness::Ready,
        Some("Failed") => Readiness::failed(
            text("/status/message")
                .or_else(|| text("/status/reason"))
                .unwrap_or("a container failed"),
        ),
        _ => match condition(object, "Ready") {
            Some(ready) if ready.holds => Readiness::Ready,
            Some(ready) if !ready.text().is_empty() => Readiness::waiting(ready.text()),
            _ => Readiness::waiting("not started"),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_is_ready_by_its_condition_or_by_its_end() {
        let check = |status: Value, expected: Readiness| {
            let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "status": status});
            assert_eq!(readiness(&object), expected, "{object}");
        };
        check(
            json!({"phase": "Pending"}),
            Readiness::waiting("not started"),
        );
        check(
            json!({"phase": "Running", "conditions": [{
                "type": "Ready", "status": "False", "reason": "ContainersNotReady",
                "message": "containers with unready status: [main]",
            }]}),
            Readiness::waiting("containers with unready status: [main]"),
        );
        check(
            json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}),
            Readiness::Ready,
        );
        check(json!({"phase": "Succeeded"}), Readiness::Ready);
        check(
            json!({"phase": "Failed", "reason": "Evicted"}),
            Readiness::failed("Evicted"),
        );
        check(
            json!({"phase": "Failed"}),
            Readiness::failed("a container failed"),
        );
        let leaving = json!({
            "kind": "Pod", "metadata": {"deletionTimestamp": "2026-11-21T04:00:10Z"},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        });
        assert_eq!(
            readiness(&leaving),
            Readiness::waiting("it is being deleted")
        );
    }
}
