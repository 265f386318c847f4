//! Services: at once, except that a load balancer needs an address.

use serde_json::Value;

use super::Readiness;

pub(super) fn readiness(object: &Value) -> Readiness {
    let balanced = object.pointer("/spec/type").and_then(Value::as_str) == Some("LoadBalancer");
    let addresses = object
        .pointer("/status/loadBalancer/ingress")
        .and_then(Value::as_array)
        .map_or(0, Vec::len);
    if balanced && addresses == 0 {
        Readiness::waiting("no address from the load balancer")
    } else {
        Readiness::Ready
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_load_balancers_wait() {
        let service = |spec: Value, status: Value| json!({"apiVersion": "v1", "kind": "Service", "spec": spec, "status": status});
        assert_eq!(
            readiness(&service(
                json!({"type": "ClusterIP"}),
                json!({"loadBalancer": {}})
            )),
            Readiness::Ready
        );
        assert_eq!(
            readiness(&service(
                json!({"type": "LoadBalancer"}),
                json!({"loadBalancer": {}})
            )),
            Readiness::waiting("no address from the load balancer")
        );
        assert_eq!(
            readiness(&service(
                json!({"type": "LoadBalancer"}),
                json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}})
            )),
            Readiness::Ready
        );
    }
}
