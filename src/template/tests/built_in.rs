//! The built-in templates, for the shapes of service that they serve.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::super::testing::{images, service, stack};
use crate::manifest::Object;
use crate::secret::{Encoding, SecretRef};
use crate::stack::Service;
use crate::template::{load, render};

/// The objects of a service by `KIND/NAME`, through the built-in templates.
fn deployed(service: Service) -> BTreeMap<String, Json> {
    let stack = stack(vec![service]);
    let objects = render(&stack, &load(&stack).unwrap(), &images(&stack)).unwrap();
    let named = |object: Object| (object.reference().to_string(), object.value);
    objects.into_iter().map(named).collect()
}

fn names(objects: &BTreeMap<String, Json>) -> Vec<&str> {
    objects.keys().map(String::as_str).collect()
}

const SELECTOR: &str = r#"{"app.kubernetes.io/name": "web", "app.kubernetes.io/part-of": "shop"}"#;

fn selector() -> Json {
    serde_json::from_str(SELECTOR).unwrap()
}

const FULL: &str = "\
ports: { http: 8080, admin: 9000 }
env:
  LEVEL: '{{stack.values.log_level}}'
  URL: 'postgres://web:{{urlencode secrets.password}}@db/web'
volumes:
  cache: { path: /cache, size: 64Mi, ephemeral: true }
resources: { requests: { cpu: 50m }, limits: { memory: 128Mi } }
probes: { ready: /readyz, live: /healthz }
values: { replicas: 3, user: 1000 }
";

#[test]
fn a_full_service_has_everything() {
    let objects = deployed(service("web", FULL));
    assert_eq!(
        names(&objects),
        [
            "ConfigMap/web",
            "Deployment/web",
            "PodDisruptionBudget/web",
            "Secret/web",
            "Service/web",
            "ServiceAccount/web"
        ]
    );
    let token = SecretRef {
        name: "password".parse().unwrap(),
        encodings: vec![Encoding::Url],
    }
    .token();
    let metadata = json!({"name": "web"});
    assert_eq!(
        objects["ConfigMap/web"],
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"LEVEL": "info"}})
    );
    assert_eq!(
        objects["Secret/web"],
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque",
            "stringData": {"URL": format!("postgres://web:{token}@db/web")},
        })
    );
    assert_eq!(
        objects["ServiceAccount/web"],
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, "automountServiceAccountToken": false})
    );
    assert_eq!(
        objects["PodDisruptionBudget/web"],
        json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata,
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector()}},
        })
    );
    assert_eq!(
        objects["Service/web"],
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": metadata,
            "spec": {
                "type": "ClusterIP",
                "selector": selector(),
                "ports": [
                    {"name": "admin", "port": 9000, "targetPort": "admin", "protocol": "TCP"},
                    {"name": "http", "port": 8080, "targetPort": "http", "protocol": "TCP"},
                ],
            },
        })
    );
}

#[test]
fn who_needs_longer_to_end_says_so() {
    let values = "values: { terminationGracePeriodSeconds: 75 }\n";
    let objects = deployed(service("web", values));
    let given = "/spec/template/spec/terminationGracePeriodSeconds";
    assert_eq!(objects["Deployment/web"].pointer(given), Some(&json!(75)));
}

#[test]
fn the_deployment_of_a_full_service() {
    let mut deployment = deployed(service("web", FULL))
        .remove("Deployment/web")
        .unwrap();
    let pod = deployment
        .pointer_mut("/spec/template/spec")
        .unwrap()
        .take();
    assert_eq!(
        deployment,
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {
                "replicas": 3,
                "revisionHistoryLimit": 3,
                "selector": {"matchLabels": selector()},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
                "template": {"metadata": {"labels": selector()}, "spec": null},
            },
        })
    );
    assert_eq!(
        pod,
        json!({
            "serviceAccountName": "web",
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": 30,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 1000, "runAsGroup": 1000,
                "fsGroup": 1000, "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "topologySpreadConstraints": [{
                "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": selector()},
            }],
            "containers": [{
                "name": "web",
                "image": "registry.test/web:1",
                "imagePullPolicy": "IfNotPresent",
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]},
                },
                "ports": [
                    {"name": "admin", "containerPort": 9000, "protocol": "TCP"},
                    {"name": "http", "containerPort": 8080, "protocol": "TCP"},
                ],
                "env": [{"name": "PORT", "value": "8080"}],
                "envFrom": [{"configMapRef": {"name": "web"}}, {"secretRef": {"name": "web"}}],
                "startupProbe": {
                    "httpGet": {"path": "/healthz", "port": "http"},
                    "periodSeconds": 1, "timeoutSeconds": 2, "failureThreshold": 30,
                },
                "livenessProbe": {
                    "httpGet": {"path": "/healthz", "port": "http"},
                    "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 3,
                },
                "readinessProbe": {
                    "httpGet": {"path": "/readyz", "port": "http"},
                    "periodSeconds": 2, "timeoutSeconds": 2, "failureThreshold": 3,
                },
                "resources": {"requests": {"cpu": "50m"}, "limits": {"memory": "128Mi"}},
                "volumeMounts": [{"name": "cache", "mountPath": "/cache"}],
            }],
            "volumes": [{"name": "cache", "emptyDir": {"sizeLimit": "64Mi"}}],
        })
    );
}

#[test]
fn a_bare_service_has_only_what_it_needs() {
    let objects = deployed(service("web", "{}"));
    assert_eq!(names(&objects), ["Deployment/web", "ServiceAccount/web"]);
    let deployment = &objects["Deployment/web"];
    assert_eq!(deployment["spec"]["replicas"], 1);
    assert_eq!(
        deployment["spec"]["template"]["metadata"],
        json!({"labels": selector()})
    );
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(
        pod["securityContext"],
        json!({
            "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        })
    );
    let fields: Vec<&String> = pod["containers"][0].as_object().unwrap().keys().collect();
    assert_eq!(
        fields,
        [
            "image",
            "imagePullPolicy",
            "name",
            "resources",
            "securityContext"
        ]
    );
    assert_eq!(pod["containers"][0]["resources"], json!({}));
    assert!(pod.get("volumes").is_none() && pod.get("topologySpreadConstraints").is_none());
}

#[test]
fn a_deployment_with_claims_is_recreated() {
    let text = "volumes: { data: { path: /data, size: 1Gi }, tmp: { path: /tmp, size: 1Mi, ephemeral: true } }";
    let objects = deployed(service("web", text));
    assert_eq!(
        names(&objects),
        [
            "Deployment/web",
            "PersistentVolumeClaim/web-data",
            "ServiceAccount/web"
        ]
    );
    assert_eq!(
        objects["PersistentVolumeClaim/web-data"],
        json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "web-data"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        })
    );
    let spec = &objects["Deployment/web"]["spec"];
    assert_eq!(spec["strategy"], json!({"type": "Recreate"}));
    let pod = &spec["template"]["spec"];
    assert_eq!(pod["securityContext"]["fsGroup"], 65532);
    assert_eq!(
        pod["volumes"],
        json!([
            {"name": "tmp", "emptyDir": {"sizeLimit": "1Mi"}},
            {"name": "data", "persistentVolumeClaim": {"claimName": "web-data"}},
        ])
    );
    assert_eq!(
        pod["containers"][0]["volumeMounts"],
        json!([{"name": "data", "mountPath": "/data"}, {"name": "tmp", "mountPath": "/tmp"}])
    );
}

#[test]
fn a_stateful_set_has_names_and_claims_of_its_own() {
    let text = "kind: StatefulSet\nports: { redis: 6379 }\nvolumes: { data: { path: /data, size: 1Gi } }\nvalues: { replicas: 2 }";
    let objects = deployed(service("web", text));
    assert_eq!(
        names(&objects),
        [
            "PodDisruptionBudget/web",
            "Service/web",
            "Service/web-headless",
            "ServiceAccount/web",
            "StatefulSet/web"
        ]
    );
    let ports = json!([{"name": "redis", "port": 6379, "targetPort": "redis", "protocol": "TCP"}]);
    assert_eq!(
        objects["Service/web-headless"]["spec"],
        json!({
            "type": "ClusterIP", "clusterIP": "None", "publishNotReadyAddresses": true,
            "selector": selector(), "ports": ports,
        })
    );
    let spec = &objects["StatefulSet/web"]["spec"];
    assert_eq!(spec["serviceName"], "web-headless");
    assert_eq!(spec["replicas"], 2);
    assert_eq!(spec["updateStrategy"], json!({"type": "RollingUpdate"}));
    assert_eq!(
        spec["volumeClaimTemplates"],
        json!([{
            "metadata": {"name": "data"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        }])
    );
    assert!(
        spec["template"]["spec"].get("volumes").is_none(),
        "the claims are volumes already"
    );
    let container = &spec["template"]["spec"]["containers"][0];
    assert!(
        container.get("env").is_none(),
        "PORT is for the port http alone"
    );
    assert_eq!(
        container["volumeMounts"],
        json!([{"name": "data", "mountPath": "/data"}])
    );
}

#[test]
fn a_stateful_set_needs_no_ports() {
    let objects = deployed(service("web", "kind: StatefulSet"));
    assert_eq!(
        names(&objects),
        [
            "Service/web-headless",
            "ServiceAccount/web",
            "StatefulSet/web"
        ]
    );
    assert!(
        objects["Service/web-headless"]["spec"]
            .get("ports")
            .is_none()
    );
    assert!(
        objects["StatefulSet/web"]["spec"]
            .get("volumeClaimTemplates")
            .is_none()
    );
}

#[test]
fn ports_and_probes() {
    let container = |text: &str| {
        let objects = deployed(service("web", text));
        objects["Deployment/web"]["spec"]["template"]["spec"]["containers"][0].clone()
    };
    let own = container("ports: { http: 80 }\nenv: { PORT: '81' }");
    assert!(
        own.get("env").is_none(),
        "the service has a PORT of its own"
    );
    let own = container("ports: { http: 80 }\nenv: { PORT: '{{secrets.password}}' }");
    assert!(own.get("env").is_none() && own["envFrom"][0].get("secretRef").is_some());
    let first = container("ports: { web: 80, admin: 81 }\nprobes: { ready: /r }");
    assert_eq!(
        first["readinessProbe"]["httpGet"],
        json!({"path": "/r", "port": "web"})
    );
    assert!(first.get("livenessProbe").is_none() && first.get("startupProbe").is_none());
    let named =
        container("ports: { http: 80, admin: 81 }\nprobes: { ready: /r, live: /l, port: admin }");
    for probe in ["readinessProbe", "livenessProbe", "startupProbe"] {
        assert_eq!(named[probe]["httpGet"]["port"], "admin", "{probe}");
    }
    let none = container("probes: { ready: /r, live: /l }");
    assert!(
        none.get("readinessProbe").is_none(),
        "there is no port to probe"
    );
    let live = container("ports: { http: 80 }\nprobes: { live: /l }");
    assert_eq!(
        live["startupProbe"]["httpGet"],
        live["livenessProbe"]["httpGet"]
    );
    assert!(live.get("readinessProbe").is_none());
}

#[test]
fn a_service_is_reached_from_where_it_says() {
    for (text, expected) in [
        ("ports: { http: 80 }\n", "ClusterIP"),
        ("ports: { http: 80 }\nserviceType: NodePort\n", "NodePort"),
        (
            "kind: StatefulSet\nports: { http: 80 }\nserviceType: LoadBalancer\n",
            "LoadBalancer",
        ),
    ] {
        let objects = deployed(service("web", text));
        assert_eq!(objects["Service/web"]["spec"]["type"], expected);
        if let Some(headless) = objects.get("Service/web-headless") {
            assert_eq!(headless["spec"]["type"], "ClusterIP");
        }
    }
}
