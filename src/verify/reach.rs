//! The way to a service's port.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Endpoints;
use kube::Api;
use reqwest::Url;
use tokio::sync::{Mutex, OnceCell};

use crate::forward::{ForwardError, Forwarder, Target};
use crate::stack::{Namespace, PortName, ServiceName, Stack, StackName};

/// Knows the base URL of every port of every service.
pub trait Reach: Send + Sync {
    /// The URL of the root of a service's port.
    fn url(
        &self,
        service: &ServiceName,
        port: &PortName,
    ) -> impl Future<Output = Result<Url, ReachError>> + Send;
}

/// Why a service cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    /// There is no such port.
    #[error("service `{service}` has no port `{port}`")]
    NoPort {
        /// The service.
        service: ServiceName,
        /// What was asked for.
        port: PortName,
    },
    /// The Service does not lead to a pod.
    #[error("`Service/{service}` leads to no ready pod on port {port}: {reason}")]
    NoEndpoint {
        /// The service.
        service: ServiceName,
        /// The container port.
        port: u16,
        /// What is there instead.
        reason: String,
    },
    /// The port cannot be forwarded.
    #[error("cannot forward `{port}` of service `{service}`")]
    Forward {
        /// The service.
        service: ServiceName,
        /// The port.
        port: PortName,
        /// The cause.
        #[source]
        source: ForwardError,
    },
}

/// Every service at one URL: a gateway in front of the stack.
#[derive(Clone, Debug)]
pub struct BaseUrl(pub Url);

impl Reach for BaseUrl {
    async fn url(&self, _service: &ServiceName, _port: &PortName) -> Result<Url, ReachError> {
        Ok(self.0.clone())
    }
}

/// Through port-forwards to the pods; each is opened when it is first needed and kept until this is
/// dropped.
pub struct ThroughCluster {
    client: kube::Client,
    namespace: Namespace,
    stack: StackName,
    ports: BTreeMap<PortOf, u16>,
    open: Mutex<BTreeMap<PortOf, Arc<OnceCell<Forwarder>>>>,
}

type PortOf = (ServiceName, PortName);

impl ThroughCluster {
    /// Nothing is opened yet.
    #[must_use]
    pub fn new(client: kube::Client, stack: &Stack) -> Self {
        let ports = stack
            .services
            .values()
            .flat_map(|service| {
                let named = |(port, &number): (&PortName, &u16)| {
                    ((service.name.clone(), port.clone()), number)
                };
                service.ports.iter().map(named).collect::<Vec<_>>()
            })
            .collect();
        Self {
            client,
            namespace: stack.environment.namespace.clone(),
            stack: stack.name.clone(),
            ports,
            open: Mutex::default(),
        }
    }
}

impl ThroughCluster {
    /// A forward goes to a pod; the pod's neighbours come through its Service, so that has to lead there as well.
    async fn is_reachable(&self, service: &ServiceName, port: u16) -> Result<(), ReachError> {
        let endpoints = Api::<Endpoints>::namespaced(self.client.clone(), self.namespace.as_str());
        let unreachable = |reason: String| ReachError::NoEndpoint {
            service: service.clone(),
            port,
            reason,
        };
        match endpoints.get_opt(service.as_str()).await {
            Ok(Some(found)) if leads_to(&found, port) => Ok(()),
            Ok(Some(_)) => Err(unreachable("its selector and ports match none".to_owned())),
            Ok(None) => Err(unreachable("there is no such Service".to_owned())),
            // Who may forward but not read endpoints has to do without this.
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(()),
            Err(error) => Err(unreachable(error.to_string())),
        }
    }
}

fn leads_to(endpoints: &Endpoints, port: u16) -> bool {
    endpoints.subsets.iter().flatten().any(|subset| {
        let ready = subset
            .addresses
            .as_ref()
            .is_some_and(|addresses| !addresses.is_empty());
        ready
            && subset
                .ports
                .iter()
                .flatten()
                .any(|found| found.port == i32::from(port))
    })
}

impl Reach for ThroughCluster {
    async fn url(&self, service: &ServiceName, port: &PortName) -> Result<Url, ReachError> {
        let key = (service.clone(), port.clone());
        let &number = self.ports.get(&key).ok_or_else(|| ReachError::NoPort {
            service: service.clone(),
            port: port.clone(),
        })?;
        self.is_reachable(service, number).await?;
        let cell = Arc::clone(self.open.lock().await.entry(key).or_default());
        let open = || {
            let target = Target {
                namespace: self.namespace.clone(),
                stack: self.stack.clone(),
                service: service.clone(),
                port_name: port.clone(),
                port: number,
                declared: None,
            };
            let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            Forwarder::open(self.client.clone(), target, any_port)
        };
        let forwarder = cell
            .get_or_try_init(open)
            .await
            .map_err(|source| ReachError::Forward {
                service: service.clone(),
                port: port.clone(),
                source,
            })?;
        let url = format!("http://{}/", forwarder.local_addr());
        Ok(Url::parse(&url).expect("a socket address makes a URL"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_leads_to_ready_pods_on_the_port() {
        let endpoints =
            |value: serde_json::Value| serde_json::from_value::<Endpoints>(value).unwrap();
        let ports = json!([{ "port": 8080 }]);
        let ready =
            endpoints(json!({"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": ports}]}));
        assert!(leads_to(&ready, 8080));
        assert!(!leads_to(&ready, 80), "another port");
        let unready = endpoints(
            json!({"subsets": [{"notReadyAddresses": [{"ip": "10.0.0.1"}], "ports": ports}]}),
        );
        assert!(!leads_to(&unready, 8080));
        assert!(
            !leads_to(&endpoints(json!({})), 8080),
            "a selector that matches nothing"
        );
    }
}
