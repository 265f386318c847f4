//! Objects that a pod refers to and that do not exist.

use super::super::cause::CauseKind;
use super::super::event::about;
use super::super::pod::{Container, Pod, State};
use super::{Certain, Scene, Symptom, pointer};

/// The fields of a pod that refer to Secrets.
const SECRET: [&str; 3] = ["secretKeyRef", "secretRef", "secret"];

/// The fields of a pod that refer to ConfigMaps.
const CONFIG_MAP: [&str; 3] = ["configMapKeyRef", "configMapRef", "configMap"];

/// A container whose environment cannot be put together.
pub(super) fn missing(
    scene: &Scene<'_>,
    pod: &Pod<'_>,
    container: &Container<'_>,
) -> Option<Symptom> {
    let State::Waiting {
        reason: "CreateContainerConfigError",
        message,
    } = container.state()
    else {
        return None;
    };
    if is_passing(message) {
        return None;
    }
    let (kind, pointer) = match reference(message) {
        Some((what, keys, name)) => (
            CauseKind::ConfigMissing { what },
            pointer::of_reference(scene.workload, keys, name),
        ),
        None => (
            CauseKind::CannotRun {
                message: message.to_owned(),
            },
            pointer::of_container(scene.workload, container.name, ""),
        ),
    };
    let sign = about(scene.observed, pod.value)
        .iter()
        .rfind(|event| event.is_of(container.name) && event.reason == "Failed")
        .and_then(|event| event.last);
    Some(
        Symptom::new(kind, scene.unless_stale(pod, sign, Certain::Now))
            .said(message)
            .behind(pointer),
    )
}

/// The kubelet has not yet loaded what there is.
pub(super) fn is_passing(message: &str) -> bool {
    ["failed to sync", "not registered", "timed out", "timeout"]
        .iter()
        .any(|word| message.contains(word))
}

/// What is missing, the fields that refer to such objects, and its name.
pub(super) fn reference(message: &str) -> Option<(String, &'static [&'static str], &str)> {
    let kinds: [(&str, &str, &'static [&'static str]); 2] = [
        ("secret", "Secret", &SECRET),
        ("configmap", "ConfigMap", &CONFIG_MAP),
    ];
    if message.contains("not found") {
        return kinds.into_iter().find_map(|(word, kind, keys)| {
            let name = pointer::quoted_after(message, &format!("{word} "))?;
            Some((format!("{kind}/{name}"), keys, name))
        });
    }
    // couldn't find key password in Secret shop/web
    let (_, rest) = message.split_once("find key ")?;
    let (key, rest) = rest.split_once(" in ")?;
    let (kind, place) = rest.split_once(' ')?;
    let name = place.rsplit('/').next()?;
    let (_, kind, keys) = kinds.into_iter().find(|(_, known, _)| *known == kind)?;
    Some((format!("key `{key}` of {kind}/{name}"), keys, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_missing_object_is_named() {
        let what =
            |message: &str| reference(message).map(|(what, _, name)| (what, name.to_owned()));
        assert_eq!(
            what("secret \"gone\" not found"),
            Some(("Secret/gone".into(), "gone".into()))
        );
        assert_eq!(
            what("MountVolume.SetUp failed for volume \"s\" : configmap \"gone\" not found"),
            Some(("ConfigMap/gone".into(), "gone".into()))
        );
        assert_eq!(
            what("couldn't find key password in Secret shop/web"),
            Some(("key `password` of Secret/web".into(), "web".into()))
        );
        assert_eq!(
            what("container has runAsNonRoot and image will run as root"),
            None
        );
        assert!(is_passing(
            "failed to sync secret cache: timed out waiting for the condition"
        ));
        assert!(!is_passing("secret \"gone\" not found"));
    }
}
