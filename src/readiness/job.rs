//! Jobs: complete, or given up.

use serde_json::Value;

use super::{Readiness, condition, count};

/// A suspended Job is ready: it does what it was told, which is nothing.
pub(super) fn readiness(object: &Value) -> Readiness {
    let holding = |kind: &str| condition(object, kind).filter(|condition| condition.holds);
    if let Some(failed) = holding("Failed") {
        return Readiness::failed(failed.text());
    }
    let suspended = object.pointer("/spec/suspend") == Some(&Value::Bool(true));
    if holding("Complete").is_some() || suspended {
        return Readiness::Ready;
    }
    let succeeded = count(object, "/status/succeeded");
    let wanted = object
        .pointer("/spec/completions")
        .and_then(Value::as_i64)
        .unwrap_or(1);
    Readiness::waiting(match count(object, "/status/failed") {
        0 => format!("{succeeded}/{wanted} complete"),
        failed => format!("{succeeded}/{wanted} complete, {failed} failed"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_job_ends_by_its_conditions() {
        let check = |spec: Value, status: Value, expected: Readiness| {
            let object =
                json!({"apiVersion": "batch/v1", "kind": "Job", "spec": spec, "status": status});
            assert_eq!(readiness(&object), expected, "{object}");
        };
        check(json!({}), json!({}), Readiness::waiting("0/1 complete"));
        check(
            json!({"completions": 3}),
            json!({"active": 1, "succeeded": 1, "failed": 2}),
            Readiness::waiting("1/3 complete, 2 failed"),
        );
        check(
            json!({}),
            json!({"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]}),
            Readiness::Ready,
        );
        check(
            json!({}),
            json!({"failed": 2, "conditions": [{
                "type": "Failed", "status": "True", "reason": "BackoffLimitExceeded",
                "message": "Job has reached the specified backoff limit",
            }]}),
            Readiness::failed("Job has reached the specified backoff limit"),
        );
        check(json!({"suspend": true}), json!({}), Readiness::Ready);
    }
}
