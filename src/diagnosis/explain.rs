//! Causes in words: the sentence, the facts below it, the hints.

use k8s_model::ObjectRef;

use super::cause::{Cause, CauseKind, ProbeKind};
use crate::diagnostic::{Diagnostic, Span};

impl Cause {
    /// One lower-case sentence that begins with the service's name.
    #[must_use]
    pub fn message(&self) -> String {
        format!("{} {}", self.service, self.kind.predicate())
    }

    /// As it is shown. `place` finds where a field of the workload is written: its template or its value.
    pub fn diagnostic(&self, place: impl Fn(&ObjectRef, &str) -> Option<Span>) -> Diagnostic {
        let mut diagnostic = Diagnostic::error(self.kind.code(), self.message()).note(self.trail());
        let span = self
            .chain
            .first()
            .zip(self.pointer.as_deref())
            .and_then(|(workload, pointer)| place(workload, pointer));
        if let Some(span) = span {
            diagnostic = diagnostic.at(&span, self.kind.label());
        }
        if let Some(event) = &self.event {
            diagnostic = diagnostic.note(event);
        }
        if !self.log_tail.is_empty() {
            diagnostic =
                diagnostic.note(format!("last log lines:\n  {}", self.log_tail.join("\n  ")));
        }
        diagnostic.hints.extend(self.hints.iter().cloned());
        diagnostic.hints.extend(self.kind.hint());
        diagnostic
    }
}

impl CauseKind {
    /// What the service does or fails to do, such as ``cannot start: its image `web:1` does not exist``.
    #[must_use]
    pub fn predicate(&self) -> String {
        match self {
            Self::ImageMissing { image, message } if is_never_pulled(message) => {
                format!("cannot start: its image `{image}` is not on the node")
            }
            Self::ImageMissing { image, .. } => {
                format!("cannot start: its image `{image}` does not exist")
            }
            Self::ImageNameInvalid { image } => {
                format!("cannot start: `{image}` is not a valid image name")
            }
            Self::ImageDenied { image, .. } => {
                format!("cannot start: the registry denies access to its image `{image}`")
            }
            Self::ImageUnreachable { image, .. } => {
                format!("cannot start: fetching its image `{image}` fails")
            }
            Self::ConfigMissing { what } => format!("cannot start: {what} does not exist"),
            Self::CannotRun { message } => format!("cannot start: {message}"),
            Self::Crashes { code, runs } => crashes(*code, *runs),
            Self::OutOfMemory { limit: Some(limit) } => {
                format!("runs out of memory: killed at its limit of {limit}")
            }
            Self::OutOfMemory { limit: None } => {
                "is killed because the node is out of memory".into()
            }
            Self::Ends { runs } => {
                format!(
                    "does not keep running: it ended with exit code 0, {}",
                    times(*runs)
                )
            }
            Self::ProbeFailing { probe, target, .. } => probe_fails(*probe, target),
            Self::Unschedulable { message } => {
                format!("cannot be scheduled: {}", message.trim_end_matches('.'))
            }
            Self::VolumePending { volume, .. } => {
                format!("cannot start: volume {volume} is not available")
            }
            Self::QuotaExceeded { .. } => {
                "cannot start: a quota of the namespace is exceeded".into()
            }
            Self::AdmissionDenied { .. } => "cannot start: the cluster refuses its pods".into(),
            Self::PodsFail { message } => format!("cannot start: its pods fail: {message}"),
            Self::JobFailed { .. } => "failed: its job gave up".into(),
            Self::NoProgress { .. } => "makes no progress and its controller has given up".into(),
        }
    }

    /// A few words for the excerpt of the field behind it.
    fn label(&self) -> String {
        match self {
            Self::ImageMissing { .. } => "no such image".into(),
            Self::ImageNameInvalid { .. } => "not an image name".into(),
            Self::ImageDenied { .. } => "access denied".into(),
            Self::ImageUnreachable { .. } => "cannot be fetched".into(),
            Self::ConfigMissing { .. } => "does not exist".into(),
            Self::OutOfMemory { .. } => "not enough".into(),
            Self::ProbeFailing { failures, .. } => format!("failed {}", times(*failures)),
            Self::Unschedulable { .. } => "no node fits".into(),
            _ => String::new(),
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::ImageMissing { message, .. } if is_never_pulled(message) => {
                "bring the image to the cluster's node with `stackctl build`".into()
            }
            Self::ImageMissing { .. } => {
                "was it built and pushed? `stackctl build ENV --to registry` does both".into()
            }
            Self::ImageDenied { .. } => {
                "check that the repository exists and that the cluster has an imagePullSecret for it".into()
            }
            Self::ImageUnreachable { .. } => {
                "check that the cluster's nodes reach the registry; `stackctl up` may be repeated at any time".into()
            }
            Self::CannotRun { message } if message.contains("exec format error") => {
                "the image was built for another processor than the node has".into()
            }
            Self::CannotRun { message } if message.contains("runAsNonRoot") => {
                "give the image a numeric USER, or the pod a runAsUser".into()
            }
            Self::OutOfMemory { limit: Some(_) } => "raise resources.limits.memory".into(),
            Self::Ends { .. } => "a program that is meant to end belongs into a Job".into(),
            Self::ProbeFailing { probe: ProbeKind::Readiness, .. } => {
                "if the service only needs longer, raise readyWithin".into()
            }
            Self::Unschedulable { message } if message.contains("Insufficient") => {
                "lower resources.requests, or give the cluster more room".into()
            }
            Self::VolumePending { message, .. } if message.contains("storageclass") => {
                "`kubectl get storageclass` lists the classes of this cluster".into()
            }
            _ => return None,
        })
    }
}

/// Whether it is the node that does not have the image, not the registry.
fn is_never_pulled(message: &str) -> bool {
    message.contains("pull policy of Never")
}

fn probe_fails(probe: ProbeKind, target: &str) -> String {
    match probe {
        ProbeKind::Readiness => format!("runs but is not ready: {target} fails"),
        ProbeKind::Liveness => {
            format!("is restarted again and again: its liveness probe {target} fails")
        }
        ProbeKind::Startup => {
            format!("is restarted again and again: its startup probe {target} fails")
        }
    }
}

fn crashes(code: i64, runs: u64) -> String {
    match signal(code) {
        Some(name) => format!("is killed by {name}, {}", times(runs)),
        None => format!("crashes with exit code {code}, {}", times(runs)),
    }
}

fn times(count: u64) -> String {
    match count {
        1 => "once".into(),
        2 => "twice".into(),
        more => format!("{more} times"),
    }
}

/// The signal behind an exit code of 128 + n, for those that kill programs (signal(7), Linux).
fn signal(code: i64) -> Option<&'static str> {
    Some(match code - 128 {
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        31 => "SIGSYS",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use k8s_model::Gvk;

    use super::*;
    use crate::diagnostic::SourceFile;

    fn object(api_version: &str, kind: &str, name: &str) -> ObjectRef {
        ObjectRef {
            gvk: Gvk::new(api_version, kind),
            namespace: Some("shop".into()),
            name: name.into(),
        }
    }

    #[test]
    fn a_cause_reads_as_promised() {
        let cause = Cause {
            service: "counter".parse().unwrap(),
            kind: CauseKind::ImageMissing {
                image: "r.example/counter:1".into(),
                message: "manifest unknown".into(),
            },
            chain: vec![
                object("apps/v1", "Deployment", "counter"),
                object("apps/v1", "ReplicaSet", "counter-7c9"),
                object("v1", "Pod", "counter-7c9-x2"),
            ],
            container: Some("counter".into()),
            event: Some("Failed: manifest unknown".into()),
            log_tail: vec!["a".into(), "b".into()],
            pointer: Some("/spec/template/spec/containers/0/image".into()),
            hints: vec!["first".into()],
        };
        let file = SourceFile::new("deployment.yaml.hbs", "image: x\n");
        let diagnostic = cause.diagnostic(|workload, pointer| {
            assert_eq!(workload.name, "counter");
            assert_eq!(pointer, "/spec/template/spec/containers/0/image");
            Some(Span::new(&file, 0..5))
        });
        assert_eq!(diagnostic.code.as_str(), "S0802");
        assert_eq!(
            diagnostic.message,
            "counter cannot start: its image `r.example/counter:1` does not exist"
        );
        assert_eq!(
            diagnostic.notes,
            [
                "Deployment/counter › ReplicaSet/counter-7c9 › Pod/counter-7c9-x2 › container counter",
                "Failed: manifest unknown",
                "last log lines:\n  a\n  b",
            ]
        );
        assert_eq!(diagnostic.labels[0].text, "no such image");
        assert_eq!(diagnostic.hints.len(), 2);
        assert!(cause.diagnostic(|_, _| None).labels.is_empty());
    }

    #[test]
    fn exit_codes_are_told_as_what_they_mean() {
        let crash = |code: i64| CauseKind::Crashes { code, runs: 2 }.predicate();
        assert_eq!(crash(3), "crashes with exit code 3, twice");
        assert_eq!(crash(139), "is killed by SIGSEGV, twice");
        assert_eq!(crash(255), "crashes with exit code 255, twice");
        assert_eq!(
            CauseKind::Ends { runs: 3 }.predicate(),
            "does not keep running: it ended with exit code 0, 3 times"
        );
    }
}
