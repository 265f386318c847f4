//! Images that cannot be had.

use std::time::Duration;

use super::super::cause::CauseKind;
use super::super::deadline::later;
use super::super::event::{Event, about};
use super::super::pod::{Container, Pod, State};
use super::{Certain, Scene, Symptom, pointer};

/// So many failures in a row are no accident: the kubelet makes them within about 40 s.
const ATTEMPTS: u64 = 3;

/// For clusters whose events cannot be read: longer than three attempts take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A registry that is overloaded or away may mention the image's name, so these words come first.
const PASSING: [&str; 16] = [
    "toomanyrequests",
    "too many requests",
    "timeout",
    "timed out",
    "deadline exceeded",
    "connection re",
    "no such host",
    "no route to host",
    "network is unreachable",
    "server misbehaving",
    "internal server error",
    "bad gateway",
    "service unavailable",
    "gateway time",
    "unexpected eof",
    "context canceled",
];

/// Docker Hub answers the same for what does not exist and for what is private.
const MISSING: [&str; 7] = [
    "not found",
    "manifest unknown",
    "name unknown",
    "repository does not exist",
    "no such image",
    "no matching manifest",
    "no match for platform",
];

/// Other credentials are needed.
const DENIED: [&str; 8] = [
    "unauthorized",
    "authentication required",
    "no basic auth credentials",
    "access denied",
    "access to the resource is denied",
    "denied:",
    "403 forbidden",
    "insufficient_scope",
];

/// What a failed pull means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    Missing,
    Denied,
    /// The network, a registry that is busy or broken, and everything nobody has seen yet.
    Passing,
}

/// Names that cannot be parsed and images that are not there end a wait at once; what may pass, after
/// repeated failures.
pub(super) fn pull(scene: &Scene<'_>, pod: &Pod<'_>, container: &Container<'_>) -> Option<Symptom> {
    let State::Waiting { reason, message } = container.state() else {
        return None;
    };
    let image = container.image().to_owned();
    let symptom = match reason {
        "InvalidImageName" => {
            let kind = CauseKind::ImageNameInvalid { image };
            Symptom::new(kind, Certain::Now).said(message)
        }
        "ErrImageNeverPull" => {
            let message = message.to_owned();
            let symptom = Symptom::new(
                CauseKind::ImageMissing {
                    image,
                    message: message.clone(),
                },
                Certain::Now,
            );
            symptom.said(&message)
        }
        "ErrImagePull" | "ImagePullBackOff" | "ImageInspectError" | "RegistryUnavailable" => {
            failed_pull(scene, pod, container, message)
        }
        _ => return None,
    };
    Some(symptom.behind(pointer::of_container(
        scene.workload,
        container.name,
        "/image",
    )))
}

fn failed_pull(
    scene: &Scene<'_>,
    pod: &Pod<'_>,
    container: &Container<'_>,
    message: &str,
) -> Symptom {
    let failures: Vec<Event<'_>> = about(scene.observed, pod.value)
        .into_iter()
        .filter(|event| {
            event.is_of(container.name) && event.message.starts_with("Failed to pull image")
        })
        .collect();
    let last = failures.last();
    // While it backs off, older kubelets say only that; the event keeps the cause.
    let bare = message.is_empty() || (message.starts_with("Back-off") && !message.contains(": "));
    let told = last.map_or(message, |event| event.message);
    let message = if bare { told } else { message }.to_owned();
    let image = container.image().to_owned();
    let said = message.clone();
    let (kind, certain) = match classify(&message) {
        Failure::Missing => (CauseKind::ImageMissing { image, message }, Certain::Now),
        Failure::Denied => (CauseKind::ImageDenied { image, message }, Certain::Now),
        Failure::Passing => (
            CauseKind::ImageUnreachable { image, message },
            after_attempts(scene, pod, &failures),
        ),
    };
    let sign = last.and_then(|event| event.last);
    Symptom::new(kind, scene.unless_stale(pod, sign, certain)).said(&said)
}

fn after_attempts(scene: &Scene<'_>, pod: &Pod<'_>, failures: &[Event<'_>]) -> Certain {
    let attempts: u64 = failures.iter().map(|event| event.count).sum();
    match pod.created().max(scene.expectation.since) {
        _ if attempts >= ATTEMPTS => Certain::Now,
        Some(begin) => Certain::At(later(begin, PATIENCE)),
        None => Certain::AtDeadline,
    }
}

/// Reads the words of Docker, containerd, CRI-O and the registries behind them.
fn classify(message: &str) -> Failure {
    let message = message.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if has(&PASSING) {
        return Failure::Passing;
    }
    if has(&MISSING) {
        Failure::Missing
    } else if has(&DENIED) {
        Failure::Denied
    } else {
        Failure::Passing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_words_are_understood() {
        let cases = [
            (
                "rpc error: code = Unknown desc = Error response from daemon: manifest for localhost:5000/nope/none:1 not found: manifest unknown: manifest unknown",
                Failure::Missing,
            ),
            (
                "rpc error: code = NotFound desc = failed to pull and unpack image \"docker.io/library/nope:1\": failed to resolve reference \"docker.io/library/nope:1\": docker.io/library/nope:1: not found",
                Failure::Missing,
            ),
            (
                "Error response from daemon: pull access denied for nope, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
                Failure::Missing,
            ),
            (
                "no matching manifest for linux/arm64/v8 in the manifest list entries",
                Failure::Missing,
            ),
            (
                "failed to authorize: failed to fetch anonymous token: unexpected status from GET request: 401 Unauthorized",
                Failure::Denied,
            ),
            (
                "pulling from host r.example failed with status code [manifests 1]: 403 Forbidden",
                Failure::Denied,
            ),
            (
                "Error response from daemon: Get \"https://registry.invalid/v2/\": dial tcp: lookup registry.invalid on 10.255.255.53:53: no such host",
                Failure::Passing,
            ),
            (
                "toomanyrequests: You have reached your pull rate limit",
                Failure::Passing,
            ),
            (
                "unexpected status code [manifests 1]: 503 Service Unavailable: backend not found",
                Failure::Passing,
            ),
            ("net/http: TLS handshake timeout", Failure::Passing),
            (
                "read tcp 10.0.0.1:1->10.0.0.2:443: read: connection reset by peer",
                Failure::Passing,
            ),
            ("something nobody has seen before", Failure::Passing),
        ];
        for (message, expected) in cases {
            assert_eq!(classify(message), expected, "{message}");
        }
    }
}
