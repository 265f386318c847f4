//! PersistentVolumeClaims: bound to a volume.

use serde_json::Value;

use super::Readiness;

/// A pending claim only ever waits: with `volumeBindingMode: WaitForFirstConsumer` it stays pending until a
/// pod uses it, and the claim itself does not say which mode its class has.
pub(super) fn readiness(object: &Value) -> Readiness {
    match object.pointer("/status/phase").and_then(Value::as_str) {
        Some("Bound") => Readiness::Ready,
        Some("Lost") => Readiness::failed("its volume is gone"),
        _ => Readiness::waiting("not bound to a volume"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_lost_volume_is_a_failure() {
        let claim = |status: Value| json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "status": status});
        assert_eq!(
            readiness(&claim(json!({"phase": "Bound"}))),
            Readiness::Ready
        );
        assert_eq!(
            readiness(&claim(json!({"phase": "Pending"}))),
            Readiness::waiting("not bound to a volume")
        );
        assert_eq!(
            readiness(&claim(json!({}))),
            Readiness::waiting("not bound to a volume")
        );
        assert_eq!(
            readiness(&claim(json!({"phase": "Lost"}))),
            Readiness::failed("its volume is gone")
        );
    }
}
