//! What in a pod breaks each rule, as pointers.

use k8s_model::pointer::child;
use serde_json::Value;

use crate::manifest::object::Object;
use crate::manifest::pod::{Pod, items};

/// A pod and the objects around it.
pub(super) struct Context<'a> {
    pub(super) pod: &'a Pod<'a>,
    pub(super) objects: &'a [Object],
}

/// The security contexts of the pod and of its containers, with their pointers.
fn contexts<'a>(context: &Context<'a>) -> Vec<(String, &'a Value)> {
    let pod = (context.pod.pointer.clone(), context.pod.spec);
    std::iter::once(pod)
        .chain(context.pod.containers())
        .filter_map(|(pointer, owner)| {
            Some((
                child(&pointer, "securityContext"),
                owner.get("securityContext")?,
            ))
        })
        .collect()
}

/// Settings in any security context, by pointer relative to it, that are there and bad.
pub(super) fn settings(
    context: &Context<'_>,
    setting: &str,
    bad: impl Fn(&Value) -> bool,
) -> Vec<String> {
    contexts(context)
        .into_iter()
        .filter(|(_, value)| value.pointer(setting).is_some_and(&bad))
        .map(|(pointer, _)| format!("{pointer}{setting}"))
        .collect()
}

/// Containers whose own security context does not have `setting` at `wanted`.
pub(super) fn lacking(context: &Context<'_>, setting: &str, wanted: &Value) -> Vec<String> {
    let setting = format!("/securityContext{setting}");
    context
        .pod
        .containers()
        .filter(|(_, container)| container.pointer(&setting) != Some(wanted))
        .map(|(pointer, container)| match container.pointer(&setting) {
            Some(_) => format!("{pointer}{setting}"),
            None => pointer,
        })
        .collect()
}

/// A setting that a container takes over from its pod where it says nothing itself.
fn inherited<'a>(context: &Context<'a>, container: &'a Value, setting: &str) -> Option<&'a Value> {
    let setting = format!("/securityContext{setting}");
    container
        .pointer(&setting)
        .or_else(|| context.pod.spec.pointer(&setting))
}

pub(super) fn run_as_non_root(context: &Context<'_>) -> Vec<String> {
    context
        .pod
        .containers()
        .filter(|(_, container)| {
            inherited(context, container, "/runAsNonRoot") != Some(&Value::Bool(true))
        })
        .map(|(pointer, _)| pointer)
        .collect()
}

pub(super) fn seccomp(context: &Context<'_>) -> Vec<String> {
    let good = |profile: &Value| is_one_of(profile, &["RuntimeDefault", "Localhost"]);
    context
        .pod
        .containers()
        .filter(|(_, container)| {
            !inherited(context, container, "/seccompProfile/type").is_some_and(good)
        })
        .map(|(pointer, _)| pointer)
        .collect()
}

pub(super) fn drop_capabilities(context: &Context<'_>) -> Vec<String> {
    context
        .pod
        .containers()
        .filter(|(_, container)| {
            let dropped = container
                .pointer("/securityContext/capabilities/drop")
                .and_then(Value::as_array);
            !dropped.is_some_and(|all| all.iter().any(|name| name == "ALL"))
        })
        .map(|(pointer, _)| pointer)
        .collect()
}

pub(super) fn add_capabilities(context: &Context<'_>) -> Vec<String> {
    contexts(context)
        .into_iter()
        .filter_map(|(pointer, value)| {
            Some((child(&pointer, "capabilities"), value.get("capabilities")?))
        })
        .flat_map(|(pointer, capabilities)| items(capabilities, &pointer, "add"))
        .filter(|(_, name)| *name != "NET_BIND_SERVICE")
        .map(|(pointer, _)| pointer)
        .collect()
}

pub(super) fn se_linux(context: &Context<'_>) -> Vec<String> {
    const TYPES: [&str; 5] = [
        "",
        "container_t",
        "container_init_t",
        "container_kvm_t",
        "container_engine_t",
    ];
    let mut broken = settings(context, "/seLinuxOptions/type", |kind| {
        !is_one_of(kind, &TYPES)
    });
    for field in ["/seLinuxOptions/user", "/seLinuxOptions/role"] {
        broken.extend(settings(context, field, |value| value != ""));
    }
    broken
}

pub(super) fn sysctls(context: &Context<'_>) -> Vec<String> {
    const SAFE: [&str; 10] = [
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_syncookies",
    ];
    contexts(context)
        .into_iter()
        .flat_map(|(pointer, value)| items(value, &pointer, "sysctls"))
        .filter(|(_, sysctl)| !is_one_of(&sysctl["name"], &SAFE))
        .map(|(pointer, _)| pointer)
        .collect()
}

pub(super) fn host_namespaces(context: &Context<'_>) -> Vec<String> {
    ["hostNetwork", "hostPID", "hostIPC"]
        .into_iter()
        .filter(|field| context.pod.spec[*field] == true)
        .map(|field| child(&context.pod.pointer, field))
        .collect()
}

pub(super) fn host_ports(context: &Context<'_>) -> Vec<String> {
    context
        .pod
        .containers()
        .flat_map(|(pointer, container)| items(container, &pointer, "ports"))
        .filter(|(_, port)| port.get("hostPort").is_some_and(|port| port != 0))
        .map(|(pointer, _)| child(&pointer, "hostPort"))
        .collect()
}

pub(super) fn host_probes(context: &Context<'_>) -> Vec<String> {
    const HANDLERS: [&str; 5] = [
        "/livenessProbe",
        "/readinessProbe",
        "/startupProbe",
        "/lifecycle/postStart",
        "/lifecycle/preStop",
    ];
    context
        .pod
        .containers()
        .flat_map(|(pointer, container)| {
            HANDLERS
                .iter()
                .flat_map(|handler| {
                    [
                        format!("{handler}/httpGet/host"),
                        format!("{handler}/tcpSocket/host"),
                    ]
                })
                .filter(|host| container.pointer(host).is_some_and(|host| host != ""))
                .map(|host| format!("{pointer}{host}"))
                .collect::<Vec<_>>()
        })
        .collect()
}

pub(super) fn volume_types(context: &Context<'_>) -> Vec<String> {
    const GOOD: [&str; 9] = [
        "name",
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    items(context.pod.spec, &context.pod.pointer, "volumes")
        .flat_map(|(pointer, volume)| {
            let fields = volume.as_object().into_iter().flatten();
            fields
                .filter(|(field, _)| !GOOD.contains(&field.as_str()))
                .map(|(field, _)| child(&pointer, field))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// The pod decides, else its ServiceAccount.
pub(super) fn service_account_token(context: &Context<'_>) -> Vec<String> {
    let spec = context.pod.spec;
    let field = "automountServiceAccountToken";
    let decided = spec.get(field).is_some_and(Value::is_boolean);
    let account = spec.get("serviceAccountName").and_then(Value::as_str);
    let switched_off = |object: &&Object| {
        let reference = object.reference();
        reference.gvk.kind == "ServiceAccount"
            && Some(reference.name.as_str()) == account
            && object.value[field] == false
    };
    let kept = decided || context.objects.iter().find(switched_off).is_some();
    where_not(kept, context.pod.pointer.clone())
}

pub(super) fn where_not(kept: bool, pointer: String) -> Vec<String> {
    if kept { Vec::new() } else { vec![pointer] }
}

pub(super) fn is_one_of(value: &Value, names: &[&str]) -> bool {
    value.as_str().is_some_and(|text| names.contains(&text))
}
