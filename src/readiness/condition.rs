//! What most kinds share: conditions, counts, and whether the controller has seen the object.

use jiff::Timestamp;
use serde_json::Value;

use super::Reason;

/// One entry of `status.conditions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Condition<'a> {
    /// Such as `Ready`.
    pub(crate) kind: &'a str,
    /// `True`; neither `False` nor `Unknown`.
    pub(crate) holds: bool,
    /// A word such as `ProgressDeadlineExceeded`; may be empty.
    pub(crate) reason: &'a str,
    /// A sentence; may be empty.
    pub(crate) message: &'a str,
    /// When `holds` last changed.
    pub(crate) since: Option<Timestamp>,
    /// When the condition was last written, for the kinds that say so.
    pub(crate) updated: Option<Timestamp>,
}

impl Condition<'_> {
    /// The message, else the word.
    pub(crate) fn text(&self) -> &str {
        if self.message.is_empty() {
            self.reason
        } else {
            self.message
        }
    }
}

/// All conditions of an object.
pub(crate) fn conditions(object: &Value) -> impl Iterator<Item = Condition<'_>> {
    let entries = object
        .pointer("/status/conditions")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    entries.iter().map(|entry| {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        Condition {
            kind: text("type"),
            holds: text("status") == "True",
            reason: text("reason"),
            message: text("message"),
            since: text("lastTransitionTime").parse().ok(),
            updated: text("lastUpdateTime").parse().ok(),
        }
    })
}

/// The condition of one type.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<Condition<'a>> {
    conditions(object).find(|condition| condition.kind == kind)
}

/// The number at a JSON pointer; Kubernetes leaves out zeros.
pub(crate) fn count(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

/// The reason to wait while the controller has not seen the newest version of the object: until then the
/// rest of its status speaks of an older one.
pub(crate) fn unobserved(object: &Value) -> Option<Reason> {
    let generation = count(object, "/metadata/generation");
    (count(object, "/status/observedGeneration") < generation)
        .then(|| Reason::new("its controller has not seen it yet"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_are_read_leniently() {
        let object = json!({"status": {"conditions": [
            {"type": "Ready", "status": "Unknown", "reason": "NodeLost", "lastTransitionTime": "2026-11-21T04:00:10Z"},
            {"type": "Odd"},
        ]}});
        let ready = condition(&object, "Ready").unwrap();
        assert!(!ready.holds, "Unknown is not True");
        assert_eq!(ready.text(), "NodeLost");
        assert_eq!(ready.since, "2026-11-21T04:00:10Z".parse().ok());
        assert_eq!(condition(&object, "Odd").unwrap().since, None);
        assert_eq!(condition(&json!({}), "Ready"), None);
    }

    #[test]
    fn an_object_without_status_is_unobserved() {
        assert!(unobserved(&json!({"metadata": {"generation": 1}})).is_some());
        let seen = json!({"metadata": {"generation": 2}, "status": {"observedGeneration": 2}});
        assert_eq!(unobserved(&seen), None);
        let behind = json!({"metadata": {"generation": 3}, "status": {"observedGeneration": 2}});
        assert!(unobserved(&behind).is_some());
    }
}
