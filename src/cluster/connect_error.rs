//! Why a cluster could not be reached, or must not be.

use jiff::Timestamp;
use kube::config::KubeconfigError;

use crate::diagnostic::{Code, Diagnostic, Exit, Explain, Span, did_you_mean};

/// The kubeconfig cannot be used.
const KUBECONFIG: Code = Code::new("S0601");
/// There is no such context.
const UNKNOWN_CONTEXT: Code = Code::new("S0602");
/// No local cluster answers.
const NO_LOCAL_CLUSTER: Code = Code::new("S0603");
/// The environment pins another cluster.
const OTHER_CLUSTER: Code = Code::new("S0604");
/// The cluster does not answer.
const UNREACHABLE: Code = Code::new("S0605");
/// The cluster does not accept the credentials.
const CREDENTIALS: Code = Code::new("S0606");
/// The certificate of the server is not accepted.
const CERTIFICATE: Code = Code::new("S0607");

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A file of `$KUBECONFIG`, or `~/.kube/config`, cannot be read.
    #[error("the kubeconfig cannot be read")]
    Kubeconfig(#[source] Box<KubeconfigError>),
    /// What a context names is missing or unusable.
    #[error("context `{context}` of the kubeconfig cannot be used")]
    Context {
        /// The context.
        context: String,
        /// What is wrong with it.
        #[source]
        source: Box<KubeconfigError>,
    },
    /// There is no such context.
    #[error("the kubeconfig has no context `{context}`")]
    UnknownContext {
        /// What was asked for.
        context: String,
        /// What there is.
        known: Vec<String>,
        /// Where the environment names it; none where `--cluster` does.
        span: Option<Span>,
    },
    /// `cluster: local`, and there is none.
    #[error("no local cluster answers")]
    NoLocalCluster {
        /// The current context, which is not local.
        current: Option<String>,
        /// Which contexts were tried, and why each was not taken.
        tried: Vec<(String, String)>,
    },
    /// `--cluster` names another context than the environment pins.
    #[error("the environment pins context `{pinned}`, and `--cluster {asked}` names another")]
    OtherContext {
        /// What `--cluster` names.
        asked: String,
        /// What the environment pins.
        pinned: String,
        /// Where.
        span: Span,
    },
    /// The context leads to another cluster than the environment pins.
    #[error("context `{context}` leads to cluster {found}, and the environment pins {pinned}")]
    OtherCluster {
        /// The context.
        context: String,
        /// The UID that the environment pins.
        pinned: String,
        /// The UID of namespace `kube-system`.
        found: String,
        /// Where it is pinned.
        span: Span,
    },
    /// The environment pins a cluster and the user may not read what identifies it.
    #[error("cannot check that context `{context}` leads to the pinned cluster: {reason}")]
    Unverified {
        /// The context.
        context: String,
        /// The server's words.
        reason: String,
        /// Where it is pinned.
        span: Span,
    },
    /// No answer.
    #[error("the cluster of context `{context}` does not answer at {server}")]
    Unreachable {
        /// The context.
        context: String,
        /// Its address.
        server: String,
        /// Such as `connection refused`.
        reason: String,
        /// Other contexts that are local clusters.
        local: Vec<String>,
    },
    /// HTTP 401.
    #[error("the cluster of context `{context}` does not accept its credentials")]
    Unauthorized {
        /// The context.
        context: String,
        /// When the client certificate ended, if that is why.
        expired: Option<Timestamp>,
    },
    /// HTTP 403 on what everyone may read.
    #[error("the user of context `{context}` may not use the API")]
    Forbidden {
        /// The context.
        context: String,
        /// The server's words.
        message: String,
    },
    /// The program or file that logs in does not work.
    #[error("context `{context}` cannot log in")]
    Login {
        /// The context.
        context: String,
        /// Why not.
        reason: String,
    },
    /// TLS failed.
    #[error("the certificate of {server} (context `{context}`) is not accepted: {reason}")]
    Certificate {
        /// The context.
        context: String,
        /// Its address.
        server: String,
        /// Such as `certificate expired`.
        reason: String,
    },
}

impl Explain for ConnectError {
    fn exit(&self) -> Exit {
        match self {
            Self::Kubeconfig(_) | Self::Context { .. } | Self::UnknownContext { .. } => {
                Exit::BadInput
            }
            Self::OtherContext { .. } | Self::OtherCluster { .. } | Self::Unverified { .. } => {
                Exit::Refused
            }
            Self::NoLocalCluster { .. }
            | Self::Unreachable { .. }
            | Self::Unauthorized { .. }
            | Self::Forbidden { .. }
            | Self::Login { .. }
            | Self::Certificate { .. } => Exit::Failed,
        }
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        let problem = Diagnostic::error(self.code(), self.to_string());
        vec![self.details(problem)]
    }
}

impl ConnectError {
    fn code(&self) -> Code {
        match self {
            Self::Kubeconfig(_) | Self::Context { .. } => KUBECONFIG,
            Self::UnknownContext { .. } => UNKNOWN_CONTEXT,
            Self::NoLocalCluster { .. } => NO_LOCAL_CLUSTER,
            Self::OtherContext { .. } | Self::OtherCluster { .. } | Self::Unverified { .. } => {
                OTHER_CLUSTER
            }
            Self::Unreachable { .. } => UNREACHABLE,
            Self::Unauthorized { .. } | Self::Forbidden { .. } | Self::Login { .. } => CREDENTIALS,
            Self::Certificate { .. } => CERTIFICATE,
        }
    }

    fn details(&self, problem: Diagnostic) -> Diagnostic {
        match self {
            Self::Kubeconfig(source) | Self::Context { source, .. } => problem
                .caused_by(source.as_ref())
                .hint("`kubectl config view` shows the kubeconfig that is in use"),
            Self::UnknownContext {
                context,
                known,
                span,
            } => unknown_context(problem, context, known, span.as_ref()),
            Self::NoLocalCluster { current, tried } => {
                no_local_cluster(problem, current.as_deref(), tried)
            }
            Self::OtherContext { pinned, span, .. } => problem
                .at(span, format!("pinned to `{pinned}`"))
                .hint("leave `--cluster` out, or use another environment"),
            Self::OtherCluster { span, .. } => problem
                .at(span, "pinned here")
                .hint("the kubeconfig's context points to another cluster than it did: correct it, or correct the pin"),
            Self::Unverified { span, .. } => problem
                .at(span, "pinned here")
                .hint("the right to get the namespace kube-system is needed for this check"),
            Self::Unreachable { reason, local, .. } => unreachable(problem, reason, local),
            Self::Unauthorized { expired, .. } => match expired {
                Some(time) => problem
                    .note(format!("its client certificate ended on {time}"))
                    .hint("renew the kubeconfig (for minikube: `minikube update-context` or `minikube start`)"),
                None => problem.hint("log in to the cluster again: the token may have expired"),
            },
            Self::Forbidden { message, .. } => problem
                .note(message.clone())
                .hint("ask the administrators of the cluster for access"),
            Self::Login { reason, .. } => problem
                .note(reason.clone())
                .hint("the kubeconfig's login program must work on this machine: try `kubectl version`"),
            Self::Certificate { .. } => {
                problem.hint("fetch a new kubeconfig for this cluster; its certificate authority or address has changed, or the certificate has expired")
            }
        }
    }
}

fn unknown_context(
    mut problem: Diagnostic,
    context: &str,
    known: &[String],
    span: Option<&Span>,
) -> Diagnostic {
    if let Some(span) = span {
        problem = problem.at(span, "no such context");
    }
    if known.is_empty() {
        return problem.hint("there is no kubeconfig, or it has no contexts: set $KUBECONFIG");
    }
    match did_you_mean(context, known.iter().map(String::as_str)) {
        Some(near) => problem.hint(format!("did you mean `{near}`?")),
        None => problem.hint(format!("its contexts are: {}", known.join(", "))),
    }
}

fn no_local_cluster(
    mut problem: Diagnostic,
    current: Option<&str>,
    tried: &[(String, String)],
) -> Diagnostic {
    problem = match current {
        Some(current) => problem.note(format!(
            "the current context `{current}` is not known as a local cluster"
        )),
        None => problem.note("the kubeconfig has no current context"),
    };
    for (context, reason) in tried {
        problem = problem.note(format!("{context}: {reason}"));
    }
    if tried.is_empty() {
        problem = problem.note("no context of minikube, kind, k3d, docker-desktop, rancher-desktop, orbstack or colima was found");
    }
    problem
        .hint("start one, such as `minikube start` or `kind create cluster`")
        .hint("or name a context with `--cluster CONTEXT`")
}

fn unreachable(problem: Diagnostic, reason: &str, local: &[String]) -> Diagnostic {
    let problem = problem
        .note(reason)
        .hint("is the cluster running, and is this machine in its network?");
    if local.is_empty() {
        problem
    } else {
        problem.hint(format!(
            "other local clusters in the kubeconfig: {} (`--cluster CONTEXT`)",
            local.join(", ")
        ))
    }
}
