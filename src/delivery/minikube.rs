//! minikube: its node has a Docker engine that this machine may talk to, or else the tool loads archives.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::Command;

use crate::image::{Engine, EngineAddress, EngineTls};
use crate::stack::ServiceName;
use crate::timings::Step;

use super::deliver::{DeliveredImage, Delivery, DeliveryContext, Pace, each};
use super::delivery_error::DeliveryError;
use super::route::Route;
use super::{docker, tool};

/// The tool copies whole images through one pipe.
const TOOLS: Pace = Pace {
    at_once: 1,
    step: Step::Load,
};

/// Brings images into the node's engine, layer by layer; where it has none or does not answer, by the tool.
pub(super) async fn deliver(
    images: &[Delivery],
    profile: &str,
    context: &DeliveryContext<'_>,
) -> Result<BTreeMap<ServiceName, DeliveredImage>, DeliveryError> {
    let asked = tokio::select! {
        engine = node_engine(profile, context) => engine,
        () = context.cancel.cancelled() => return Err(DeliveryError::Interrupted),
    };
    match asked {
        Ok(engine) => docker::deliver_to(&engine, images, context).await,
        Err(reason) => {
            tracing::debug!(%reason, "the tool loads the images");
            let route = &Route::Minikube {
                profile: profile.to_owned(),
            };
            each(images, TOOLS, context, async |image, task| {
                tool::load(image, route, context, task).await
            })
            .await
        }
    }
}

/// The engine of the only node; else why it cannot be used.
async fn node_engine(profile: &str, context: &DeliveryContext<'_>) -> Result<Engine, String> {
    match context.cluster.nodes.as_slice() {
        [node] if node.runtime.starts_with("docker://") => {}
        [node] => return Err(format!("the runtime is {}", node.runtime)),
        nodes => return Err(format!("there are {} nodes", nodes.len())),
    }
    let output = Command::new("minikube")
        .args(["--profile", profile, "docker-env", "--shell", "none"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let address = address(&text, profile).ok_or("minikube names no engine")?;
    Engine::connect_to(&address)
        .await
        .map_err(|error| error.to_string())
}

/// `DOCKER_HOST=tcp://192.168.49.2:2376`, a variable a line.
fn address(text: &str, profile: &str) -> Option<EngineAddress> {
    let variables: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.trim().split_once('='))
        .map(|(name, value)| (name, value.trim().trim_matches('"')))
        .filter(|(_, value)| !value.is_empty())
        .collect();
    let tls = variables.get("DOCKER_TLS_VERIFY").map(|_| EngineTls {
        folder: variables.get("DOCKER_CERT_PATH").map(PathBuf::from),
        verify: true,
    });
    Some(EngineAddress {
        url: (*variables.get("DOCKER_HOST")?).to_owned(),
        origin: format!("minikube {profile}"),
        tls,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_is_read_off_what_minikube_prints() {
        let text = "DOCKER_TLS_VERIFY=1\n\
            DOCKER_HOST=tcp://127.0.0.1:32770\n\
            DOCKER_CERT_PATH=/home/jo/.minikube/certs\n\
            MINIKUBE_ACTIVE_DOCKERD=minikube\n";
        let expected = EngineAddress {
            url: "tcp://127.0.0.1:32770".into(),
            origin: "minikube dev".into(),
            tls: Some(EngineTls {
                folder: Some("/home/jo/.minikube/certs".into()),
                verify: true,
            }),
        };
        assert_eq!(address(text, "dev"), Some(expected.clone()));
        let quoted = text.replace("/home/jo/.minikube/certs", "\"/home/jo/.minikube/certs\"");
        assert_eq!(address(&quoted, "dev"), Some(expected));
        let plain = address("DOCKER_HOST=tcp://10.0.0.2:2375\n", "dev").unwrap();
        assert_eq!(
            (plain.url.as_str(), plain.tls),
            ("tcp://10.0.0.2:2375", None)
        );
        for text in [
            "",
            "false exit code 89\n",
            "DOCKER_TLS_VERIFY=1\n",
            "DOCKER_HOST=\n",
        ] {
            assert_eq!(address(text, "dev"), None, "{text}");
        }
    }
}
