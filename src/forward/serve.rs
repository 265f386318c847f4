//! Many forwarded ports at once, until the user has enough.

use std::net::{Ipv4Addr, SocketAddr};

use futures_util::stream::{FuturesOrdered, FuturesUnordered};
use futures_util::{StreamExt, future};
use tokio_util::sync::CancellationToken;

use super::forwarder::{ForwardError, Forwarder, Target};
use crate::diagnostic::{Diagnostic, Exit, Explain};
use crate::event::{Event, EventSink};
use crate::stack::{ServiceName, Stack};

/// A port and where it is to be had on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The port of the service.
    pub target: Target,
    /// The local address.
    pub listen: SocketAddr,
}

/// At least one of the ports cannot be forwarded; none is.
#[derive(Debug, thiserror::Error)]
#[error("{} of the ports cannot be forwarded", .0.len())]
pub struct ServeError(pub Vec<ForwardError>);

impl Explain for ServeError {
    fn exit(&self) -> Exit {
        self.0.first().map_or(Exit::Failed, Explain::exit)
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        self.0.iter().flat_map(Explain::diagnostics).collect()
    }
}

/// Every port that the stack forwards, on 127.0.0.1; of the services in `only` where it names any.
#[must_use]
pub fn declared(stack: &Stack, only: &[ServiceName]) -> Vec<Forward> {
    let chosen = |name: &ServiceName| only.is_empty() || only.contains(name);
    let mut forwards = Vec::new();
    for service in stack.services.values().filter(|s| chosen(&s.name)) {
        for (port_name, &port) in &service.ports {
            let Some(&local) = service.forward.get(port_name) else {
                continue;
            };
            let span = service.source.at(["forward", port_name.as_str()]);
            forwards.push(Forward {
                target: Target {
                    namespace: stack.environment.namespace.clone(),
                    stack: stack.name.clone(),
                    service: service.name.clone(),
                    port_name: port_name.clone(),
                    port,
                    declared: span.map(|node| node.span.clone()),
                },
                listen: SocketAddr::from((Ipv4Addr::LOCALHOST, local)),
            });
        }
    }
    forwards
}

/// Forwards all of `forwards` until `cancel`; reports each one's start, and when its last ready pod
/// goes and the next one comes.
pub async fn serve(
    client: kube::Client,
    forwards: Vec<Forward>,
    events: &dyn EventSink,
    cancel: CancellationToken,
) -> Result<(), ServeError> {
    let opening: FuturesOrdered<_> = forwards
        .into_iter()
        .map(|Forward { target, listen }| {
            let client = client.clone();
            async move {
                let opened = Forwarder::open(client, target.clone(), listen).await;
                opened.map(|forwarder| (target, forwarder))
            }
        })
        .collect();
    let (mut opened, mut errors) = (Vec::new(), Vec::new());
    for result in opening.collect::<Vec<_>>().await {
        match result {
            Ok(forward) => opened.push(forward),
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(ServeError(errors));
    }
    let reports: FuturesUnordered<_> = opened
        .iter()
        .map(|(target, forwarder)| report(target, forwarder, events))
        .collect();
    tokio::select! {
        () = cancel.cancelled() => {}
        () = reports.for_each(|()| future::ready(())) => cancel.cancelled().await,
    }
    Ok(())
}

async fn report(target: &Target, forwarder: &Forwarder, events: &dyn EventSink) {
    let note = |text: String| events.emit(Event::Note(text));
    let waiting = if forwarder.has_ready_pod() {
        ""
    } else {
        " (no pod is ready yet)"
    };
    note(format!(
        "{} → {target}{waiting}",
        address(target, forwarder.local_addr())
    ));
    loop {
        if forwarder.has_ready_pod() {
            forwarder.until_ready(false).await;
            note(format!(
                "{target} has no ready pod: connections wait for one"
            ));
        }
        forwarder.until_ready(true).await;
        note(format!("{target} is back"));
    }
}

/// As a URL where the port's name says that it speaks HTTP.
fn address(target: &Target, local: SocketAddr) -> String {
    let name = target.port_name.as_str();
    if name == "http" || name.starts_with("http-") {
        format!("http://{local}")
    } else {
        local.to_string()
    }
}
