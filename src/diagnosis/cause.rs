//! A named cause.

use k8s_model::ObjectRef;

use crate::diagnostic::Code;
use crate::stack::ServiceName;

/// Why a workload will not become ready. Log lines are as the container wrote them: the caller replaces
/// secrets before it shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The service it keeps from being ready.
    pub service: ServiceName,
    /// What it is.
    pub kind: CauseKind,
    /// From the workload down to the object that shows the cause; at least the workload.
    pub chain: Vec<ObjectRef>,
    /// The container, where it is one.
    pub container: Option<String>,
    /// The event or message that tells of it, in Kubernetes' words.
    pub event: Option<String>,
    /// The last log lines, oldest first.
    pub log_tail: Vec<String>,
    /// The field of the workload behind it, as a JSON pointer.
    pub pointer: Option<String>,
    /// What the user can do about it.
    pub hints: Vec<String>,
}

/// The kinds of causes with what is known of each. Messages are Kubernetes' own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CauseKind {
    /// The registry, or with `imagePullPolicy: Never` the node, does not have the image.
    ImageMissing {
        /// Its reference.
        image: String,
        /// Who says so.
        message: String,
    },
    /// The reference cannot be parsed.
    ImageNameInvalid {
        /// What stands there.
        image: String,
    },
    /// The registry wants other credentials.
    ImageDenied {
        /// Its reference.
        image: String,
        /// What the registry said.
        message: String,
    },
    /// The image may exist, but fetching it failed again and again.
    ImageUnreachable {
        /// Its reference.
        image: String,
        /// The last failure.
        message: String,
    },
    /// A Secret, a ConfigMap, a key or another object that the pod refers to does not exist.
    ConfigMissing {
        /// Such as `Secret/web` or ``key `password` of Secret/web``.
        what: String,
    },
    /// The runtime cannot start the container.
    CannotRun {
        /// What it said.
        message: String,
    },
    /// The program ends with an error.
    Crashes {
        /// The exit code; 128 + n for signal n.
        code: i64,
        /// How many runs are over.
        runs: u64,
    },
    /// The kernel killed the program at its memory limit.
    OutOfMemory {
        /// The limit, such as `128Mi`; none where the node itself ran out.
        limit: Option<String>,
    },
    /// The program ends without an error, but a service must keep running.
    Ends {
        /// How many runs are over.
        runs: u64,
    },
    /// A probe fails.
    ProbeFailing {
        /// Which one.
        probe: ProbeKind,
        /// What it asks, such as `GET /readyz on port 8080`.
        target: String,
        /// What the last failure was.
        message: String,
        /// How often it failed, as far as events tell.
        failures: u64,
    },
    /// No node takes the pod.
    Unschedulable {
        /// The scheduler's account.
        message: String,
    },
    /// A volume is not made, bound or mounted.
    VolumePending {
        /// The claim or volume.
        volume: String,
        /// What is known about it.
        message: String,
    },
    /// A ResourceQuota leaves no room.
    QuotaExceeded {
        /// Which, and by how much.
        message: String,
    },
    /// The API server or an admission webhook refuses the pods.
    AdmissionDenied {
        /// Its words.
        message: String,
    },
    /// Pods end before their containers run: evicted, or refused by the node.
    PodsFail {
        /// Such as `Evicted: The node was low on resource: memory`.
        message: String,
    },
    /// The Job gave up.
    JobFailed {
        /// Its words.
        message: String,
    },
    /// `progressDeadlineSeconds` passed and nothing else is known.
    NoProgress {
        /// The controller's words.
        message: String,
    },
}

/// Which probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeKind {
    /// Decides whether the pod takes traffic.
    Readiness,
    /// Restarts the container.
    Liveness,
    /// Holds back the other two.
    Startup,
}

const IMAGE_MISSING: Code = Code::new("S0802");
const IMAGE_NAME_INVALID: Code = Code::new("S0803");
const IMAGE_DENIED: Code = Code::new("S0804");
const IMAGE_UNREACHABLE: Code = Code::new("S0805");
const CONFIG_MISSING: Code = Code::new("S0806");
const CANNOT_RUN: Code = Code::new("S0807");
const CRASHES: Code = Code::new("S0808");
const OUT_OF_MEMORY: Code = Code::new("S0809");
const ENDS: Code = Code::new("S0810");
const PROBE_FAILING: Code = Code::new("S0811");
const UNSCHEDULABLE: Code = Code::new("S0812");
const VOLUME_PENDING: Code = Code::new("S0813");
const QUOTA_EXCEEDED: Code = Code::new("S0814");
const ADMISSION_DENIED: Code = Code::new("S0815");
const PODS_FAIL: Code = Code::new("S0816");
const JOB_FAILED: Code = Code::new("S0817");
const NO_PROGRESS: Code = Code::new("S0818");

impl CauseKind {
    /// Its stable identifier.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::ImageMissing { .. } => IMAGE_MISSING,
            Self::ImageNameInvalid { .. } => IMAGE_NAME_INVALID,
            Self::ImageDenied { .. } => IMAGE_DENIED,
            Self::ImageUnreachable { .. } => IMAGE_UNREACHABLE,
            Self::ConfigMissing { .. } => CONFIG_MISSING,
            Self::CannotRun { .. } => CANNOT_RUN,
            Self::Crashes { .. } => CRASHES,
            Self::OutOfMemory { .. } => OUT_OF_MEMORY,
            Self::Ends { .. } => ENDS,
            Self::ProbeFailing { .. } => PROBE_FAILING,
            Self::Unschedulable { .. } => UNSCHEDULABLE,
            Self::VolumePending { .. } => VOLUME_PENDING,
            Self::QuotaExceeded { .. } => QUOTA_EXCEEDED,
            Self::AdmissionDenied { .. } => ADMISSION_DENIED,
            Self::PodsFail { .. } => PODS_FAIL,
            Self::JobFailed { .. } => JOB_FAILED,
            Self::NoProgress { .. } => NO_PROGRESS,
        }
    }
}

impl Cause {
    /// `Deployment/web › ReplicaSet/web-7c9 › Pod/web-7c9-x2 › container web`
    #[must_use]
    pub fn trail(&self) -> String {
        let objects = self.chain.iter().map(ToString::to_string);
        let container = self
            .container
            .iter()
            .map(|name| format!("container {name}"));
        objects.chain(container).collect::<Vec<_>>().join(" › ")
    }
}
