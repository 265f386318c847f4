//! One forwarded port: its listener and the tasks behind it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::connection::{Limits, Route};
use super::dial::{Dial, ThroughApi};
use super::holder::holder;
use super::pods::{ReadyPod, ready};
use super::watch::watch_pods;
use crate::diagnostic::{Code, Diagnostic, Exit, Explain, Span};
use crate::stack::{Namespace, PortName, ServiceName, StackName};

/// A local port of `forward:` that another program uses.
const PORT_TAKEN: Code = Code::new("S1001");
/// A local address that cannot be listened on.
const CANNOT_LISTEN: Code = Code::new("S1002");
/// The pods of a service cannot be listed.
const NO_PODS: Code = Code::new("S1003");

/// A port of a service in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where its pods are.
    pub namespace: Namespace,
    /// The stack it is part of: its pods are found by the labels of both names.
    pub stack: StackName,
    /// The service.
    pub service: ServiceName,
    /// What the port is called.
    pub port_name: PortName,
    /// The container port.
    pub port: u16,
    /// Where the local port is written.
    pub declared: Option<Span>,
}

impl Target {
    /// The label selector of the pods.
    #[must_use]
    pub fn selector(&self) -> String {
        format!(
            "app.kubernetes.io/name={},app.kubernetes.io/part-of={}",
            self.service, self.stack
        )
    }
}

/// `birthday:http`
impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.service, self.port_name)
    }
}

/// A local listener whose connections end in ready pods of a service. Dropping it closes all of them.
pub struct Forwarder {
    local_addr: SocketAddr,
    pods: watch::Receiver<Vec<ReadyPod>>,
    tasks: JoinSet<()>,
}

/// Why a port cannot be forwarded.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// Another program listens on the local port.
    #[error("port {} of this machine, wanted for {target}, is taken", listen.port())]
    PortTaken {
        /// What was to be forwarded.
        target: Box<Target>,
        /// The local address.
        listen: SocketAddr,
        /// The program that has it, where that is known.
        holder: Option<String>,
    },
    /// The local address cannot be listened on for another reason.
    #[error("cannot listen on {listen} for {target}")]
    Listen {
        /// What was to be forwarded.
        target: Box<Target>,
        /// The local address.
        listen: SocketAddr,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The cluster does not list the pods.
    #[error("cannot list the pods of {}", target.service)]
    Pods {
        /// What was to be forwarded.
        target: Box<Target>,
        /// The cause.
        #[source]
        source: Box<kube::Error>,
    },
}

impl Explain for ForwardError {
    fn exit(&self) -> Exit {
        Exit::Failed
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        let (code, target) = match self {
            Self::PortTaken { target, .. } => (PORT_TAKEN, target),
            Self::Listen { target, .. } => (CANNOT_LISTEN, target),
            Self::Pods { target, .. } => (NO_PODS, target),
        };
        let mut problem = Diagnostic::error(code, self.to_string());
        if let (Some(span), false) = (&target.declared, matches!(self, Self::Pods { .. })) {
            problem = problem.at(span, "");
        }
        if let Some(cause) = std::error::Error::source(self) {
            problem = problem.caused_by(cause);
        }
        if let Self::PortTaken { holder, .. } = self {
            if let Some(holder) = holder {
                problem = problem.note(format!("it is held by {holder}"));
            }
            problem = problem.hint(format!(
                "stop that program, or choose another port in `forward: {{ {}: … }}` of service `{}`",
                target.port_name, target.service
            ));
        }
        vec![problem]
    }
}

impl Forwarder {
    /// Listens on `listen` (port 0: any free one) and forwards from there until it is dropped.
    ///
    /// That no pod is ready is no error: connections wait for one for some seconds.
    pub async fn open(
        client: kube::Client,
        target: Target,
        listen: SocketAddr,
    ) -> Result<Self, ForwardError> {
        let listener = bind(&target, listen).await?;
        let api: Api<Pod> = Api::namespaced(client.clone(), target.namespace.as_str());
        let found = api
            .list(&ListParams::default().labels(&target.selector()))
            .await
            .map_err(|source| ForwardError::Pods {
                target: Box::new(target.clone()),
                source: Box::new(source),
            })?;
        let (sender, pods) = watch::channel(found.items.iter().filter_map(ready).collect());
        let mut forwarder = Self::start(
            listener,
            Route {
                dial: ThroughApi::new(client, target.namespace.as_str()),
                port: target.port,
                pods,
                limits: Limits::default(),
            },
        );
        forwarder
            .tasks
            .spawn(watch_pods(api, target.selector(), sender));
        Ok(forwarder)
    }

    fn start<D: Dial>((listener, local_addr): (TcpListener, SocketAddr), route: Route<D>) -> Self {
        let pods = route.pods.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::new(route)));
        Self {
            local_addr,
            pods,
            tasks,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Whether a connection made now would find a pod.
    #[must_use]
    pub fn has_ready_pod(&self) -> bool {
        !self.pods.borrow().is_empty()
    }

    /// Waits until [`Self::has_ready_pod`] is `ready`.
    pub async fn until_ready(&self, ready: bool) {
        let mut pods = self.pods.clone();
        if pods
            .wait_for(|pods| pods.is_empty() != ready)
            .await
            .is_err()
        {
            std::future::pending::<()>().await;
        }
    }
}

async fn bind(
    target: &Target,
    listen: SocketAddr,
) -> Result<(TcpListener, SocketAddr), ForwardError> {
    let bound = async {
        let listener = TcpListener::bind(listen).await?;
        let local_addr = listener.local_addr()?;
        Ok((listener, local_addr))
    };
    bound.await.map_err(|source: io::Error| {
        let target = Box::new(target.clone());
        if source.kind() == io::ErrorKind::AddrInUse {
            ForwardError::PortTaken {
                target,
                listen,
                holder: holder(listen.port()),
            }
        } else {
            ForwardError::Listen {
                target,
                listen,
                source,
            }
        }
    })
}

/// Accepts for ever; every connection has a task of its own.
async fn accept<D: Dial>(listener: TcpListener, route: Arc<Route<D>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    let route = Arc::clone(&route);
                    connections.spawn(async move {
                        if let Err(lost) = route.serve(client).await {
                            let cause = std::error::Error::source(&lost).map(ToString::to_string);
                            tracing::debug!(%lost, cause, port = route.port, "a connection was closed");
                        }
                    });
                }
                // Out of file descriptors, or the client was faster: neither ends the listener.
                Err(error) => {
                    tracing::debug!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::SourceFile;

    fn target(declared: Option<Span>) -> Target {
        Target {
            namespace: "seedling".parse().unwrap(),
            stack: "seedling".parse().unwrap(),
            service: "birthday".parse().unwrap(),
            port_name: "http".parse().unwrap(),
            port: 8080,
            declared,
        }
    }

    #[tokio::test]
    async fn a_taken_port_is_explained_with_its_place() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listen = taken.local_addr().unwrap();
        let file = SourceFile::new("services/birthday/service.yaml", "forward: { http: 18081 }");
        let span = Span::new(&file, 17..22);

        let error = bind(&target(Some(span)), listen).await.err().unwrap();

        assert_eq!(error.exit(), Exit::Failed);
        let [problem] = &error.diagnostics()[..] else {
            panic!("one diagnostic")
        };
        assert_eq!(
            problem.message,
            format!(
                "port {} of this machine, wanted for birthday:http, is taken",
                listen.port()
            )
        );
        assert_eq!(problem.labels[0].span.text(), "18081");
        assert!(problem.hints[0].contains("`forward: { http: … }` of service `birthday`"));
        #[cfg(target_os = "linux")]
        assert!(problem.notes[0].contains(&std::process::id().to_string()));
    }

    #[test]
    fn pods_are_found_by_both_names() {
        assert_eq!(
            target(None).selector(),
            "app.kubernetes.io/name=birthday,app.kubernetes.io/part-of=seedling"
        );
    }
}
