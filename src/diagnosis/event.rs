//! Kubernetes events, read.

use jiff::Timestamp;
use serde_json::Value;

use super::observed::{Observed, text, time};

/// What one event says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event<'a> {
    /// A word such as `FailedScheduling`.
    pub(super) reason: &'a str,
    /// A sentence.
    pub(super) message: &'a str,
    /// How often it happened, at least once.
    pub(super) count: u64,
    /// When it first happened.
    pub(super) first: Option<Timestamp>,
    /// When it last happened.
    pub(super) last: Option<Timestamp>,
    container: Option<&'a str>,
}

impl<'a> Event<'a> {
    fn new(event: &'a Value) -> Self {
        let count = |pointer: &str| event.pointer(pointer).and_then(Value::as_u64);
        // Events of newer components have `eventTime` and `series` instead of timestamps and `count`.
        let start = [
            "/firstTimestamp",
            "/eventTime",
            "/metadata/creationTimestamp",
        ];
        let end = ["/series/lastObservedTime", "/lastTimestamp"];
        let first = start.iter().find_map(|pointer| time(event, pointer));
        Self {
            reason: text(event, "/reason"),
            message: text(event, "/message"),
            count: count("/series/count").or(count("/count")).unwrap_or(1),
            first,
            last: end
                .iter()
                .find_map(|pointer| time(event, pointer))
                .or(first),
            container: container(text(event, "/involvedObject/fieldPath")),
        }
    }

    /// Whether it concerns the container of this name.
    pub(super) fn is_of(&self, container: &str) -> bool {
        self.container == Some(container)
    }

    /// `FailedScheduling: 0/1 nodes are available`
    pub(super) fn line(&self) -> String {
        format!("{}: {}", self.reason, self.message)
    }
}

/// `main` of `spec.containers{main}`.
fn container(field_path: &str) -> Option<&str> {
    field_path.split_once('{')?.1.strip_suffix('}')
}

/// The events that concern an object, oldest first. Matched by UID: a StatefulSet reuses names.
pub(super) fn about<'a>(observed: &'a Observed, object: &Value) -> Vec<Event<'a>> {
    let kind = text(object, "/kind");
    let name = text(object, "/metadata/name");
    let uid = text(object, "/metadata/uid");
    let mut events: Vec<Event<'a>> = observed
        .events
        .iter()
        .map(AsRef::as_ref)
        .filter(|event: &&Value| {
            let theirs = text(event, "/involvedObject/uid");
            text(event, "/involvedObject/kind") == kind
                && text(event, "/involvedObject/name") == name
                && (theirs == uid || theirs.is_empty() || uid.is_empty())
        })
        .map(Event::new)
        .collect();
    events.sort_by_key(|event| event.last);
    events
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixture::{at, event, observe, stateful_set};
    use super::*;

    #[test]
    fn a_pod_that_took_over_a_name_does_not_take_over_the_events() {
        let set = stateful_set("db", 1);
        let before = super::super::fixture::pod(&set, "db-0");
        let mut after = before.clone();
        after["metadata"]["uid"] = json!("another-uid");
        let observed = observe([event(&before, "BackOff", "", 3, 5)]);
        assert_eq!(about(&observed, &before).len(), 1);
        assert!(about(&observed, &after).is_empty());
    }

    #[test]
    fn events_of_newer_components_are_read_too() {
        let set = stateful_set("db", 1);
        let mut newer = event(&set, "FailedCreate", "", 1, 0);
        for field in ["count", "firstTimestamp", "lastTimestamp"] {
            newer[field] = Value::Null;
        }
        newer["eventTime"] = json!("2026-11-21T04:00:02.123456Z");
        let mut series = newer.clone();
        series["series"] = json!({"count": 4, "lastObservedTime": "2026-11-21T04:00:09.000000Z"});
        let observed = observe([newer, series]);
        let read = about(&observed, &set);
        assert_eq!(
            (read[0].count, read[0].last.unwrap().as_second()),
            (1, at(2).as_second())
        );
        assert_eq!((read[1].count, read[1].last), (4, Some(at(9))));
    }
}
