//! From an environment and a kubeconfig to a connection with the right cluster.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::stream::{FuturesOrdered, StreamExt};
use k8s_openapi::api::core::v1::Namespace;
use kube::config::{Config, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Api, Client};
use rustls::CertificateError;

use crate::diagnostic::Span;
use crate::stack::ClusterTarget;

use super::certificate::{decode_base64, expiry};
use super::client;
use super::connect_error::ConnectError;
use super::status::plain;

/// How long the first answer of a cluster may take.
const FIRST_ANSWER: Duration = Duration::from_secs(5);
/// The same while looking for a local cluster.
const LOCAL_ANSWER: Duration = Duration::from_secs(2);
/// Whose UID identifies a cluster: it is there from the beginning and cannot be deleted.
const IDENTITY: &str = "kube-system";

/// A cluster that answers.
#[derive(Clone)]
pub struct Cluster {
    /// The client; it does not retry by itself.
    pub client: Client,
    /// Name of the kubeconfig's context.
    pub context: String,
    /// Address of the API server.
    pub server: String,
    /// Whether the environment pins this cluster.
    pub pinned: bool,
    /// UID of namespace `kube-system`; none where the user may not read it.
    pub uid: Option<String>,
    /// Version of the API server, such as `v1.20.2`.
    pub version: String,
}

/// Connects to the cluster of an environment. `explicit` is the context that `--cluster` names.
///
/// The kubeconfig is that of `$KUBECONFIG` (a list of files; those that do not exist are left out, as
/// kubectl does) or `~/.kube/config`. A process-wide rustls provider must be installed.
pub async fn connect(
    target: &ClusterTarget,
    explicit: Option<&str>,
) -> Result<Cluster, ConnectError> {
    let kubeconfig =
        read_kubeconfig().map_err(|error| ConnectError::Kubeconfig(Box::new(error)))?;
    connect_with(&kubeconfig, target, explicit).await
}

/// As [`connect`], with a kubeconfig that is known.
pub async fn connect_with(
    kubeconfig: &Kubeconfig,
    target: &ClusterTarget,
    explicit: Option<&str>,
) -> Result<Cluster, ConnectError> {
    match choose(kubeconfig, target, explicit)? {
        Choice::One(context) => {
            let cluster = open(kubeconfig, &context, FIRST_ANSWER).await?;
            verify(cluster, target)
        }
        Choice::FirstThatAnswers(contexts) => first_that_answers(kubeconfig, contexts).await,
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Choice {
    One(String),
    FirstThatAnswers(Vec<String>),
}

fn choose(
    kubeconfig: &Kubeconfig,
    target: &ClusterTarget,
    explicit: Option<&str>,
) -> Result<Choice, ConnectError> {
    match (target, explicit) {
        (ClusterTarget::Context { context, span, .. }, Some(asked)) if asked != context => {
            Err(ConnectError::OtherContext {
                asked: asked.to_owned(),
                pinned: context.clone(),
                span: span.clone(),
            })
        }
        (ClusterTarget::Context { context, span, .. }, _) => {
            existing(kubeconfig, context, Some(span)).map(Choice::One)
        }
        (ClusterTarget::Local, Some(asked)) => existing(kubeconfig, asked, None).map(Choice::One),
        (ClusterTarget::Local, None) => Ok(choose_local(kubeconfig)),
    }
}

fn existing(
    kubeconfig: &Kubeconfig,
    context: &str,
    span: Option<&Span>,
) -> Result<String, ConnectError> {
    let known = context_names(kubeconfig);
    if known.iter().any(|name| name == context) {
        return Ok(context.to_owned());
    }
    Err(ConnectError::UnknownContext {
        context: context.to_owned(),
        known,
        span: span.cloned(),
    })
}

/// The current context where it is local, even if it does not answer now: whoever chose it does not
/// want to find the stack in another cluster.
fn choose_local(kubeconfig: &Kubeconfig) -> Choice {
    let local = local_contexts(kubeconfig);
    match &kubeconfig.current_context {
        Some(current) if local.contains(current) => Choice::One(current.clone()),
        _ => Choice::FirstThatAnswers(local),
    }
}

async fn first_that_answers(
    kubeconfig: &Kubeconfig,
    contexts: Vec<String>,
) -> Result<Cluster, ConnectError> {
    let mut answers: FuturesOrdered<_> = contexts
        .iter()
        .map(|context| async move { (context, open(kubeconfig, context, LOCAL_ANSWER).await) })
        .collect();
    let mut tried = Vec::new();
    while let Some((context, answer)) = answers.next().await {
        match answer {
            Ok(cluster) => return Ok(cluster),
            Err(ConnectError::Unreachable { reason, server, .. }) => {
                tried.push((context.clone(), format!("{server}: {reason}")));
            }
            Err(error) => tried.push((context.clone(), error.to_string())),
        }
    }
    Err(ConnectError::NoLocalCluster {
        current: kubeconfig
            .current_context
            .clone()
            .filter(|name| !name.is_empty()),
        tried,
    })
}

/// Compares a cluster with the pin of the environment.
fn verify(mut cluster: Cluster, target: &ClusterTarget) -> Result<Cluster, ConnectError> {
    let ClusterTarget::Context { uid, span, .. } = target else {
        return Ok(cluster);
    };
    cluster.pinned = true;
    match (uid, &cluster.uid) {
        (None, _) => Ok(cluster),
        (Some(pinned), Some(found)) if pinned == found => Ok(cluster),
        (Some(pinned), Some(found)) => Err(ConnectError::OtherCluster {
            context: cluster.context,
            pinned: pinned.clone(),
            found: found.clone(),
            span: span.clone(),
        }),
        (Some(_), None) => Err(ConnectError::Unverified {
            context: cluster.context,
            reason: format!("namespace {IDENTITY} cannot be read"),
            span: span.clone(),
        }),
    }
}

/// Connects and asks for the version and the identity.
async fn open(
    kubeconfig: &Kubeconfig,
    context: &str,
    limit: Duration,
) -> Result<Cluster, ConnectError> {
    let unusable = |source| ConnectError::Context {
        context: context.to_owned(),
        source: Box::new(source),
    };
    let options = KubeConfigOptions {
        context: Some(context.to_owned()),
        ..KubeConfigOptions::default()
    };
    let mut config = Config::from_custom_kubeconfig(kubeconfig.clone(), &options)
        .await
        .map_err(unusable)?;
    config.connect_timeout = Some(limit);
    // Retries are made where they are known to be harmless.
    config.default_retry = false;
    let server = config
        .cluster_url
        .to_string()
        .trim_end_matches('/')
        .to_owned();
    let failure = |error: &kube::Error| explain(kubeconfig, context, &server, error);
    let client = client::client(config).map_err(|error| failure(&error))?;
    let answer = tokio::time::timeout(limit, introduce(&client)).await;
    let (version, uid) = match answer {
        Ok(answer) => answer.map_err(|error| failure(&error))?,
        Err(_) => {
            let reason = format!("no answer within {} s", limit.as_secs());
            return Err(unreachable(kubeconfig, context, &server, reason));
        }
    };
    Ok(Cluster {
        client,
        context: context.to_owned(),
        server,
        pinned: false,
        uid,
        version,
    })
}

async fn introduce(client: &Client) -> Result<(String, Option<String>), kube::Error> {
    let namespaces = Api::<Namespace>::all(client.clone());
    let (version, identity) =
        tokio::join!(client.apiserver_version(), namespaces.get_opt(IDENTITY));
    let uid = match identity {
        Ok(namespace) => namespace.and_then(|namespace| namespace.metadata.uid),
        Err(kube::Error::Api(status)) if status.code == 403 => None,
        Err(error) => return Err(error),
    };
    Ok((version?.git_version, uid))
}

fn explain(
    kubeconfig: &Kubeconfig,
    context: &str,
    server: &str,
    error: &kube::Error,
) -> ConnectError {
    let context = context.to_owned();
    match error {
        kube::Error::Api(status) if status.code == 401 => ConnectError::Unauthorized {
            expired: expired_certificate(kubeconfig, &context),
            context,
        },
        kube::Error::Api(status) if status.code == 403 => ConnectError::Forbidden {
            context,
            message: status.message.clone(),
        },
        kube::Error::Auth(_) => ConnectError::Login {
            context,
            reason: plain(error),
        },
        _ => match certificate_problem(error) {
            Some(reason) => ConnectError::Certificate {
                context,
                server: server.to_owned(),
                reason,
            },
            None => unreachable(kubeconfig, &context, server, plain(error)),
        },
    }
}

fn unreachable(
    kubeconfig: &Kubeconfig,
    context: &str,
    server: &str,
    reason: String,
) -> ConnectError {
    let mut local = local_contexts(kubeconfig);
    local.retain(|name| name != context);
    ConnectError::Unreachable {
        context: context.to_owned(),
        server: server.to_owned(),
        reason,
        local,
    }
}

/// What rustls says of a certificate, wherever it is in the chain of causes.
fn certificate_problem(error: &kube::Error) -> Option<String> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = next {
        if let Some(rustls::Error::InvalidCertificate(reason)) = innermost(cause).downcast_ref() {
            return Some(certificate_words(reason));
        }
        next = cause.source();
    }
    None
}

fn certificate_words(reason: &CertificateError) -> String {
    match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet (is the clock of this machine right?)"
        }
        CertificateError::UnknownIssuer => "its issuer is not in the kubeconfig",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it was issued for other addresses"
        }
        other => return other.to_string(),
    }
    .to_owned()
}

/// An `io::Error` leaves the error inside it out of its chain of causes.
fn innermost<'a>(
    mut error: &'a (dyn std::error::Error + 'static),
) -> &'a (dyn std::error::Error + 'static) {
    while let Some(inner) = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref)
    {
        error = inner;
    }
    error
}

/// When the context's client certificate ended, if it has.
fn expired_certificate(kubeconfig: &Kubeconfig, context: &str) -> Option<jiff::Timestamp> {
    let named = kubeconfig
        .contexts
        .iter()
        .find(|named| named.name == context)?;
    let user = named.context.as_ref()?.user.as_ref()?;
    let named = kubeconfig
        .auth_infos
        .iter()
        .find(|named| named.name == *user)?;
    let user = named.auth_info.as_ref()?;
    let pem = match (&user.client_certificate_data, &user.client_certificate) {
        (Some(data), _) => String::from_utf8(decode_base64(data)?).ok()?,
        (None, Some(path)) => std::fs::read_to_string(path).ok()?,
        (None, None) => return None,
    };
    expiry(&pem).filter(|end| *end < jiff::Timestamp::now())
}

fn context_names(kubeconfig: &Kubeconfig) -> Vec<String> {
    kubeconfig
        .contexts
        .iter()
        .map(|named| named.name.clone())
        .collect()
}

/// The contexts of local clusters, in the order of the kubeconfig.
fn local_contexts(kubeconfig: &Kubeconfig) -> Vec<String> {
    kubeconfig
        .contexts
        .iter()
        .filter(|named| {
            is_local_name(&named.name)
                || named
                    .context
                    .as_ref()
                    .is_some_and(|context| is_made_by_minikube(kubeconfig, &context.cluster))
        })
        .map(|named| named.name.clone())
        .collect()
}

/// The names that local clusters give their contexts.
fn is_local_name(name: &str) -> bool {
    const NAMES: [&str; 6] = [
        "minikube",
        "docker-desktop",
        "docker-for-desktop",
        "rancher-desktop",
        "orbstack",
        "colima",
    ];
    const PREFIXES: [&str; 3] = ["kind-", "k3d-", "colima-"];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Profiles of minikube have any name; it leaves its mark on the cluster's entry.
fn is_made_by_minikube(kubeconfig: &Kubeconfig, cluster: &str) -> bool {
    kubeconfig
        .clusters
        .iter()
        .filter(|named| named.name == cluster)
        .filter_map(|named| named.cluster.as_ref()?.extensions.as_ref())
        .flatten()
        .any(|extension| extension.extension["provider"] == "minikube.sigs.k8s.io")
}

fn read_kubeconfig() -> Result<Kubeconfig, KubeconfigError> {
    kubeconfig_paths()
        .into_iter()
        .filter(|path| path.exists())
        .try_fold(Kubeconfig::default(), |merged, path| {
            merged.merge(Kubeconfig::read_from(path)?)
        })
}

fn kubeconfig_paths() -> Vec<PathBuf> {
    let listed: Vec<PathBuf> = std::env::var_os("KUBECONFIG")
        .map(|list| std::env::split_paths(&list).collect())
        .unwrap_or_default();
    let listed: Vec<PathBuf> = listed
        .into_iter()
        .filter(|path| !path.as_os_str().is_empty())
        .collect();
    if !listed.is_empty() {
        return listed;
    }
    std::env::home_dir()
        .map(|home| home.join(".kube/config"))
        .into_iter()
        .collect()
}

#[cfg(test)]
impl Cluster {
    /// A cluster for tests, behind a client of theirs.
    pub(crate) fn of_client(client: Client) -> Self {
        Self {
            client,
            context: "test".to_owned(),
            server: "http://test".to_owned(),
            pinned: false,
            uid: Some("uid-kube-system".to_owned()),
            version: "v1.20.2".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
