//! Which engine is used: what the Docker command line would choose.

use std::env;
use std::path::PathBuf;

use super::docker_config::DockerConfig;
use super::engine::EngineError;
use super::tls::EngineTls;

const DEFAULT_SOCKET: &str = "unix:///var/run/docker.sock";

/// Where an engine is, how it is spoken to and who said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineAddress {
    /// `unix:///var/run/docker.sock`, `tcp://host:2376`, `ssh://user@host`.
    pub url: String,
    /// For people: `set by DOCKER_HOST`.
    pub origin: String,
    /// With TLS: what is trusted and shown.
    pub tls: Option<EngineTls>,
}

/// The variables of the Docker command line.
#[derive(Clone, Debug, Default)]
pub(super) struct Variables {
    pub host: Option<String>,
    pub context: Option<String>,
    pub tls: bool,
    pub tls_verify: bool,
    pub cert_path: Option<PathBuf>,
}

impl EngineAddress {
    /// What is trusted and shown; `https://` asks for TLS by itself.
    pub(super) fn secured(&self) -> Option<EngineTls> {
        self.tls.clone().or_else(|| {
            self.url.starts_with("https://").then_some(EngineTls {
                folder: None,
                verify: true,
            })
        })
    }
}

impl Variables {
    pub(super) fn read() -> Self {
        let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            host: set("DOCKER_HOST"),
            context: set("DOCKER_CONTEXT"),
            tls: set("DOCKER_TLS").is_some(),
            tls_verify: set("DOCKER_TLS_VERIFY").is_some(),
            cert_path: set("DOCKER_CERT_PATH").map(PathBuf::from),
        }
    }

    /// `DOCKER_TLS` alone encrypts without asking who answers.
    fn tls(&self, config: &DockerConfig) -> Option<EngineTls> {
        (self.tls || self.tls_verify).then(|| EngineTls {
            folder: Some(
                self.cert_path
                    .clone()
                    .unwrap_or_else(|| config.folder().to_owned()),
            ),
            verify: self.tls_verify,
        })
    }
}

/// `DOCKER_HOST`, else `DOCKER_CONTEXT`, else the current context, else the socket.
pub(super) fn choose(
    variables: &Variables,
    config: &DockerConfig,
) -> Result<EngineAddress, EngineError> {
    if let Some(host) = &variables.host {
        return Ok(EngineAddress {
            url: host.clone(),
            origin: "set by DOCKER_HOST".to_owned(),
            tls: variables.tls(config),
        });
    }
    let (name, chosen_by) = match (variables.context.as_deref(), config.current_context()) {
        (Some("default"), _) | (None, None) => {
            return Ok(EngineAddress {
                url: DEFAULT_SOCKET.to_owned(),
                origin: "the default socket".to_owned(),
                tls: None,
            });
        }
        (Some(name), _) => (name, "DOCKER_CONTEXT"),
        (None, Some(name)) => (name, "chosen by `docker context use`"),
    };
    let found = config
        .context(name)?
        .ok_or_else(|| EngineError::NoContext {
            name: name.to_owned(),
            origin: chosen_by,
        })?;
    Ok(EngineAddress {
        url: found.host,
        origin: format!("context `{name}`"),
        tls: found.tls,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn context(folder: &Path, name: &str, endpoint: &str) -> PathBuf {
        let id = oci_image::Digest::of(name.as_bytes()).hex();
        let meta = folder.join("contexts/meta").join(&id);
        fs::create_dir_all(&meta).unwrap();
        let text = format!(r#"{{"Endpoints":{{"docker":{endpoint}}}}}"#);
        fs::write(meta.join("meta.json"), text).unwrap();
        folder.join("contexts/tls").join(id).join("docker")
    }

    #[test]
    fn the_engine_is_chosen_as_docker_chooses_it() {
        let folder = tempfile::tempdir().unwrap();
        let empty = DockerConfig::read(folder.path()).unwrap();
        let choice = r#"{"currentContext":"work"}"#;
        fs::write(folder.path().join("config.json"), choice).unwrap();
        context(folder.path(), "work", r#"{"Host":"unix:///run/work.sock"}"#);
        let work = DockerConfig::read(folder.path()).unwrap();
        let named = |host: Option<&str>, context: Option<&str>| Variables {
            host: host.map(str::to_owned),
            context: context.map(str::to_owned),
            ..Variables::default()
        };
        let url = |variables, config| choose(&variables, config).map(|address| address.url);
        assert_eq!(url(named(None, None), &empty).unwrap(), DEFAULT_SOCKET);
        assert_eq!(
            url(named(None, None), &work).unwrap(),
            "unix:///run/work.sock"
        );
        assert_eq!(
            url(named(None, Some("default")), &work).unwrap(),
            DEFAULT_SOCKET
        );
        assert_eq!(
            url(named(Some("tcp://h:2375"), Some("work")), &work).unwrap(),
            "tcp://h:2375"
        );
        assert!(matches!(
            url(named(None, Some("gone")), &work),
            Err(EngineError::NoContext { .. })
        ));
    }

    #[test]
    fn tls_comes_from_the_variables_or_from_the_context() {
        let folder = tempfile::tempdir().unwrap();
        let endpoint = r#"{"Host":"tcp://h:2376","SkipTLSVerify":false}"#;
        let certificates = context(folder.path(), "secured", endpoint);
        fs::create_dir_all(&certificates).unwrap();
        fs::write(certificates.join("ca.pem"), "").unwrap();
        context(
            folder.path(),
            "unchecked",
            r#"{"Host":"tcp://h:2376","SkipTLSVerify":true}"#,
        );
        context(folder.path(), "plain", r#"{"Host":"tcp://h:2375"}"#);
        let config = DockerConfig::read(folder.path()).unwrap();
        let tls = |variables: Variables| choose(&variables, &config).unwrap().tls;
        let of_context = |name: &str| {
            tls(Variables {
                context: Some(name.to_owned()),
                ..Variables::default()
            })
        };
        let expected = |folder: Option<PathBuf>, verify| Some(EngineTls { folder, verify });
        assert_eq!(of_context("secured"), expected(Some(certificates), true));
        assert_eq!(of_context("unchecked"), expected(None, false));
        assert_eq!(of_context("plain"), None);

        let minikube = Variables {
            host: Some("tcp://192.168.49.2:2376".to_owned()),
            tls_verify: true,
            cert_path: Some("/certs".into()),
            ..Variables::default()
        };
        let default_folder = Variables {
            cert_path: None,
            tls: true,
            tls_verify: false,
            ..minikube.clone()
        };
        assert_eq!(tls(minikube), expected(Some("/certs".into()), true));
        assert_eq!(
            tls(default_folder),
            expected(Some(folder.path().to_owned()), false)
        );
    }
}
