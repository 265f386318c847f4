//! Security rules for pods: the restricted Pod Security Standard of Kubernetes
//! (<https://kubernetes.io/docs/concepts/security/pod-security-standards/>) and some of our own.

use k8s_model::pointer::{child, path};
use serde_json::Value;

use crate::diagnostic::{Code, Diagnostic, did_you_mean};
use crate::manifest::object::Object;
use crate::manifest::pod::Pod;

use super::breaches::{
    Context, add_capabilities, drop_capabilities, host_namespaces, host_ports, host_probes,
    is_one_of, lacking, run_as_non_root, se_linux, seccomp, service_account_token, settings,
    sysctls, volume_types, where_not,
};

/// A pod breaks a rule.
const BROKEN_RULE: Code = Code::new("S0320");
/// The annotation that allows exceptions names no rule.
const UNKNOWN_RULE: Code = Code::new("S0321");

/// The annotation of an object that lists the rules it may break, separated by commas.
pub const ALLOW: &str = "stackctl.dev/allow";

/// A rule that every pod keeps.
#[derive(Clone, Copy)]
pub struct Rule {
    /// What [`ALLOW`] calls it.
    pub name: &'static str,
    /// Why it exists.
    pub reason: &'static str,
    /// How to keep it.
    pub hint: &'static str,
    /// The pointers of what breaks it.
    broken: fn(&Context<'_>) -> Vec<String>,
}

/// All rules.
pub const RULES: &[Rule] = &[
    Rule {
        name: "run-as-non-root",
        reason: "a process that breaks out of its container must not be root on the node",
        hint: "set `securityContext.runAsNonRoot: true` on the pod",
        broken: run_as_non_root,
    },
    Rule {
        name: "run-as-user",
        reason: "user 0 is root",
        hint: "set `runAsUser` to another number, or leave it to the image",
        broken: |context| settings(context, "/runAsUser", |user| user == 0),
    },
    Rule {
        name: "privilege-escalation",
        reason: "set-uid programs would give a process more rights than its parent",
        hint: "set `securityContext.allowPrivilegeEscalation: false` on the container",
        broken: |context| lacking(context, "/allowPrivilegeEscalation", &Value::Bool(false)),
    },
    Rule {
        name: "privileged",
        reason: "a privileged container has every right on its node",
        hint: "leave `privileged` out",
        broken: |context| settings(context, "/privileged", |on| on == true),
    },
    Rule {
        name: "drop-capabilities",
        reason: "a container starts with capabilities that a service does not need",
        hint: "set `securityContext.capabilities.drop: [ALL]` on the container",
        broken: drop_capabilities,
    },
    Rule {
        name: "add-capabilities",
        reason: "only NET_BIND_SERVICE may be added",
        hint: "leave the capability out; listen on a port above 1023 where possible",
        broken: add_capabilities,
    },
    Rule {
        name: "seccomp",
        reason: "without a profile every system call is allowed",
        hint: "set `securityContext.seccompProfile.type: RuntimeDefault` on the pod",
        broken: seccomp,
    },
    Rule {
        name: "app-armor",
        reason: "AppArmor must not be switched off",
        hint: "leave `appArmorProfile` out, or set its type to RuntimeDefault or Localhost",
        broken: |context| {
            settings(context, "/appArmorProfile/type", |profile| {
                !is_one_of(profile, &["RuntimeDefault", "Localhost"])
            })
        },
    },
    Rule {
        name: "se-linux",
        reason: "other types, users and roles of SELinux have more rights",
        hint: "leave `seLinuxOptions` out",
        broken: se_linux,
    },
    Rule {
        name: "proc-mount",
        reason: "the default hides parts of /proc that reveal the node",
        hint: "leave `procMount` out",
        broken: |context| settings(context, "/procMount", |kind| kind != "Default"),
    },
    Rule {
        name: "sysctls",
        reason: "other kernel parameters can affect the whole node",
        hint: "leave the sysctl out",
        broken: sysctls,
    },
    Rule {
        name: "host-namespaces",
        reason: "the pod would see the processes or the network of its node",
        hint: "leave it out",
        broken: host_namespaces,
    },
    Rule {
        name: "host-ports",
        reason: "the port would be taken on the node, outside network policies",
        hint: "leave `hostPort` out and use a Service",
        broken: host_ports,
    },
    Rule {
        name: "host-probes",
        reason: "with `host` the node can be made to send requests anywhere",
        hint: "leave `host` out: the probe goes to the pod",
        broken: host_probes,
    },
    Rule {
        name: "volume-types",
        reason: "volumes such as hostPath reach into the node",
        hint: "use configMap, csi, downwardAPI, emptyDir, ephemeral, persistentVolumeClaim, projected or secret",
        broken: volume_types,
    },
    Rule {
        name: "windows-host-process",
        reason: "the pod would have every right on its node",
        hint: "leave `hostProcess` out",
        broken: |context| settings(context, "/windowsOptions/hostProcess", |on| on == true),
    },
    Rule {
        name: "read-only-root",
        reason: "a process that can write to its own image can replace its programs",
        hint: "set `securityContext.readOnlyRootFilesystem: true` on the container and mount an emptyDir where it writes",
        broken: |context| lacking(context, "/readOnlyRootFilesystem", &Value::Bool(true)),
    },
    Rule {
        name: "service-links",
        reason: "a Service `web` would put WEB_PORT=tcp://… into every container",
        hint: "set `enableServiceLinks: false` on the pod",
        broken: |context| {
            let kept = context.pod.spec.get("enableServiceLinks") == Some(&Value::Bool(false));
            where_not(kept, context.pod.pointer.clone())
        },
    },
    Rule {
        name: "service-account-token",
        reason: "a token for the Kubernetes API is mounted although nothing asks for it",
        hint: "set `automountServiceAccountToken: false` on the pod or its ServiceAccount, or true where the pod needs the API",
        broken: service_account_token,
    },
];

/// Everything in `objects` that breaks a rule and is not allowed to.
pub(crate) fn check(objects: &[Object], pod: &Pod<'_>) -> Vec<Diagnostic> {
    let object = pod.object;
    let (allowed, mut problems) = exceptions(object);
    let context = Context { pod, objects };
    for rule in RULES.iter().filter(|rule| !allowed.contains(&rule.name)) {
        for pointer in (rule.broken)(&context) {
            let message = format!(
                "{}: `{}` breaks the rule `{}`: {}",
                object.reference(),
                path(&pointer, &object.value),
                rule.name,
                rule.reason
            );
            problems.push(
                object
                    .error(BROKEN_RULE, &pointer, message)
                    .hint(rule.hint)
                    .hint(format!(
                        "or allow it: annotate the object with `{ALLOW}: {}`",
                        rule.name
                    )),
            );
        }
    }
    problems
}

/// The rules that the object may break.
fn exceptions(object: &Object) -> (Vec<&'static str>, Vec<Diagnostic>) {
    let pointer = child("/metadata/annotations", ALLOW);
    let listed = object
        .value
        .pointer(&pointer)
        .and_then(Value::as_str)
        .unwrap_or_default();
    let mut allowed = Vec::new();
    let mut problems = Vec::new();
    for name in listed
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
    {
        if let Some(rule) = RULES.iter().find(|rule| rule.name == name) {
            allowed.push(rule.name);
            continue;
        }
        let message = format!("{}: there is no security rule `{name}`", object.reference());
        let problem = object.error(UNKNOWN_RULE, &pointer, message);
        let names = RULES.iter().map(|rule| rule.name);
        problems.push(match did_you_mean(name, names.clone()) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None => problem.note(format!(
                "the rules are {}",
                names.collect::<Vec<_>>().join(", ")
            )),
        });
    }
    (allowed, problems)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::manifest::sample::object;

    fn good_pod() -> Value {
        let container = json!({
            "name": "web",
            "ports": [{"containerPort": 8080}],
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            },
        });
        json!({
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "enableServiceLinks": false,
            "automountServiceAccountToken": false,
            "initContainers": [container],
            "containers": [container],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        })
    }

    fn deployment(pod: Value, annotations: Value) -> Object {
        object(
            "web",
            json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": "web", "annotations": annotations},
                "spec": {"template": {"spec": pod}},
            }),
        )
    }

    /// Rules and pointers (from the pod's spec on) of what is broken.
    fn broken(pod: Value, others: &[Object]) -> Vec<(String, String)> {
        let object = deployment(pod, json!({}));
        let pod = Pod::of(&object).unwrap();
        let context = Context {
            pod: &pod,
            objects: others,
        };
        RULES
            .iter()
            .flat_map(|rule| {
                (rule.broken)(&context)
                    .into_iter()
                    .map(|pointer| (rule.name, pointer))
            })
            .map(|(rule, pointer)| {
                let relative = pointer.strip_prefix("/spec/template/spec").unwrap();
                (rule.to_owned(), relative.to_owned())
            })
            .collect()
    }

    #[test]
    fn a_restricted_pod_keeps_all_rules() {
        assert_eq!(broken(good_pod(), &[]), []);
    }

    #[test]
    fn each_rule_catches_what_it_is_for() {
        let (context, own) = ("/securityContext", "/containers/0/securityContext");
        for (rule, at, value, expected) in [
            (
                "run-as-non-root",
                format!("{own}/runAsNonRoot"),
                json!(false),
                "/containers/0".to_owned(),
            ),
            (
                "run-as-user",
                format!("{context}/runAsUser"),
                json!(0),
                format!("{context}/runAsUser"),
            ),
            (
                "run-as-user",
                format!("{own}/runAsUser"),
                json!(0),
                format!("{own}/runAsUser"),
            ),
            (
                "privilege-escalation",
                format!("{own}/allowPrivilegeEscalation"),
                json!(true),
                format!("{own}/allowPrivilegeEscalation"),
            ),
            (
                "privileged",
                format!("{own}/privileged"),
                json!(true),
                format!("{own}/privileged"),
            ),
            (
                "drop-capabilities",
                format!("{own}/capabilities/drop"),
                json!(["NET_RAW"]),
                "/containers/0".into(),
            ),
            (
                "add-capabilities",
                format!("{own}/capabilities/add"),
                json!(["NET_BIND_SERVICE", "SYS_ADMIN"]),
                format!("{own}/capabilities/add/1"),
            ),
            (
                "seccomp",
                format!("{own}/seccompProfile"),
                json!({"type": "Unconfined"}),
                "/containers/0".into(),
            ),
            (
                "app-armor",
                format!("{context}/appArmorProfile"),
                json!({"type": "Unconfined"}),
                format!("{context}/appArmorProfile/type"),
            ),
            (
                "se-linux",
                format!("{context}/seLinuxOptions"),
                json!({"type": "spc_t"}),
                format!("{context}/seLinuxOptions/type"),
            ),
            (
                "se-linux",
                format!("{own}/seLinuxOptions"),
                json!({"user": "root"}),
                format!("{own}/seLinuxOptions/user"),
            ),
            (
                "proc-mount",
                format!("{own}/procMount"),
                json!("Unmasked"),
                format!("{own}/procMount"),
            ),
            (
                "sysctls",
                format!("{context}/sysctls"),
                json!([{"name": "kernel.msgmax", "value": "1"}]),
                format!("{context}/sysctls/0"),
            ),
            (
                "host-namespaces",
                "/hostPID".into(),
                json!(true),
                "/hostPID".into(),
            ),
            (
                "host-ports",
                "/containers/0/ports".into(),
                json!([{"containerPort": 80, "hostPort": 80}]),
                "/containers/0/ports/0/hostPort".into(),
            ),
            (
                "host-probes",
                "/containers/0/livenessProbe".into(),
                json!({"httpGet": {"host": "10.0.0.1"}}),
                "/containers/0/livenessProbe/httpGet/host".into(),
            ),
            (
                "volume-types",
                "/volumes".into(),
                json!([{"name": "x", "hostPath": {"path": "/"}}]),
                "/volumes/0/hostPath".into(),
            ),
            (
                "windows-host-process",
                format!("{context}/windowsOptions"),
                json!({"hostProcess": true}),
                format!("{context}/windowsOptions/hostProcess"),
            ),
            (
                "read-only-root",
                format!("{own}/readOnlyRootFilesystem"),
                json!(false),
                format!("{own}/readOnlyRootFilesystem"),
            ),
            (
                "service-links",
                "/enableServiceLinks".into(),
                json!(true),
                String::new(),
            ),
            (
                "service-account-token",
                "/automountServiceAccountToken".into(),
                json!(null),
                String::new(),
            ),
        ] {
            let mut pod = good_pod();
            let (parent, field) = at.rsplit_once('/').unwrap();
            pod.pointer_mut(parent).unwrap()[field] = value;
            assert_eq!(broken(pod, &[]), [(rule.to_owned(), expected)]);
        }
    }

    #[test]
    fn a_bare_pod_breaks_what_must_be_asked_for() {
        let found = broken(json!({"containers": [{"name": "web"}]}), &[]);
        let rules: Vec<&str> = found.iter().map(|(rule, _)| rule.as_str()).collect();
        assert_eq!(
            rules,
            [
                "run-as-non-root",
                "privilege-escalation",
                "drop-capabilities",
                "seccomp",
                "read-only-root",
                "service-links",
                "service-account-token"
            ]
        );
    }

    #[test]
    fn init_containers_are_held_to_the_same_rules() {
        let mut pod = good_pod();
        pod["initContainers"][0]["securityContext"] = json!({});
        let found = broken(pod, &[]);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(
            found
                .iter()
                .all(|(_, pointer)| pointer == "/initContainers/0"),
            "{found:?}"
        );
    }

    #[test]
    fn the_account_can_keep_the_token_back() {
        let mut pod = good_pod();
        pod["automountServiceAccountToken"] = json!(null);
        pod["serviceAccountName"] = json!("web");
        let account = |automount: bool| {
            object(
                "web",
                json!({
                    "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "web"},
                    "automountServiceAccountToken": automount,
                }),
            )
        };
        assert_eq!(broken(pod.clone(), &[account(false)]), []);
        assert_eq!(broken(pod, &[account(true)]).len(), 1);
    }

    #[test]
    fn an_annotation_allows_exceptions_by_name() {
        let mut pod = good_pod();
        pod["hostNetwork"] = json!(true);
        let problems = |annotations: Value| {
            let object = deployment(pod.clone(), annotations);
            check(&[], &Pod::of(&object).unwrap())
        };
        let found = problems(json!({}));
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].message,
            "Deployment/web: `spec.template.spec.hostNetwork` breaks the rule `host-namespaces`: the pod would see the processes or the network of its node"
        );
        assert_eq!(problems(json!({ALLOW: "seccomp, host-namespaces"})), []);
        let found = problems(json!({ALLOW: "host-namespace"}));
        assert_eq!(found[0].code.as_str(), "S0321");
        assert_eq!(found[0].hints, ["did you mean `host-namespaces`?"]);
    }
}
