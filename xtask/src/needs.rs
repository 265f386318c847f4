//! What steps need of the machine, whether it is here, and how to get it.

use std::fs;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::process;

const DEBIAN: &str = "deb.debian.org:80";
const DEBIAN_KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Who does not answer by then is not there.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Something that a step needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// The programs of a PostgreSQL server.
    PostgreSql,
    /// The Redis server.
    Redis,
    /// The proxy that the gateway is.
    HaProxy,
    /// The server, and the checker of its rules.
    Prometheus,
    /// A Docker engine that answers.
    Docker,
    /// A cluster named by `$KUBECONFIG`.
    Cluster,
    /// The command line of Kubernetes.
    Kubectl,
    /// A registry named by `$STACKCTL_TEST_REGISTRY`.
    Registry,
    /// Reads, copies and inspects images.
    Skopeo,
    /// Unpacks OCI layouts.
    Umoci,
    /// Another engine.
    Podman,
    /// The runtime of nodes, and its command line.
    Containerd,
    /// The second witness of signatures.
    OpenSsl,
    /// Debian's archive, and the keys that it is signed with.
    DebianArchive,
}

impl Need {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::PostgreSql => "PostgreSQL",
            Self::Redis => "Redis",
            Self::HaProxy => "HAProxy",
            Self::Prometheus => "Prometheus",
            Self::Docker => "a Docker engine",
            Self::Cluster => "a cluster",
            Self::Kubectl => "kubectl",
            Self::Registry => "a registry",
            Self::Skopeo => "skopeo",
            Self::Umoci => "umoci",
            Self::Podman => "podman",
            Self::Containerd => "containerd",
            Self::OpenSsl => "openssl",
            Self::DebianArchive => "Debian's archive",
        }
    }

    /// How to get it.
    pub(crate) fn remedy(&self) -> String {
        match (self, self.package()) {
            (_, Some(package)) => {
                format!("`cargo xtask test --install` as root, or apt-get install {package}")
            }
            (Self::Docker, _) => {
                "start one (on Debian: apt-get install docker.io), and have the `docker` command"
                    .to_owned()
            }
            (Self::Registry, _) => {
                "export STACKCTL_TEST_REGISTRY, such as 127.0.0.1:5000, of one that the \
                engine pushes to without a login and the cluster pulls from"
                    .to_owned()
            }
            (Self::DebianArchive, _) => format!(
                "reach http://{DEBIAN} from here, and have {DEBIAN_KEYRING} (the package debian-archive-keyring)"
            ),
            _ => {
                "export KUBECONFIG of a cluster for tests, as minikube and kind make one".to_owned()
            }
        }
    }

    /// The Debian package that brings it, where one does.
    fn package(self) -> Option<&'static str> {
        match self {
            Self::PostgreSql => Some("postgresql"),
            Self::Redis => Some("redis-server"),
            Self::HaProxy => Some("haproxy"),
            Self::Prometheus => Some("prometheus"),
            Self::Kubectl => Some("kubernetes-client"),
            Self::Skopeo => Some("skopeo"),
            Self::Umoci => Some("umoci"),
            Self::Podman => Some("podman"),
            Self::Containerd => Some("containerd"),
            Self::OpenSsl => Some("openssl"),
            Self::Docker | Self::Cluster | Self::Registry | Self::DebianArchive => None,
        }
    }

    pub(crate) fn is_met(&self) -> bool {
        match self {
            Self::PostgreSql => has_postgresql(Path::new("/usr/lib/postgresql")),
            // Where the tests look, also when it is not in `$PATH`.
            Self::Redis => ["redis-server", "redis-cli"]
                .iter()
                .all(|name| Path::new("/usr/bin").join(name).exists()),
            Self::HaProxy => Path::new("/usr/sbin/haproxy").exists(),
            Self::Prometheus => ["prometheus", "promtool"]
                .iter()
                .all(|name| Path::new("/usr/bin").join(name).exists()),
            Self::Docker => succeeds("docker", &["version"]),
            Self::Cluster => is_set("KUBECONFIG"),
            Self::Registry => is_set("STACKCTL_TEST_REGISTRY"),
            Self::Kubectl => process::exists("kubectl"),
            Self::Skopeo => process::exists("skopeo"),
            Self::Umoci => process::exists("umoci"),
            Self::Podman => process::exists("podman"),
            Self::Containerd => process::exists("containerd") && process::exists("ctr"),
            Self::OpenSsl => process::exists("openssl"),
            Self::DebianArchive => Path::new(DEBIAN_KEYRING).exists() && reaches(DEBIAN),
        }
    }
}

/// Installs the packages of what is missing, where packages bring it.
pub(crate) fn install(missing: &[Need]) -> Result<()> {
    let packages: Vec<&str> = missing.iter().filter_map(|need| need.package()).collect();
    if packages.is_empty() {
        return Ok(());
    }
    if !process::exists("apt-get") {
        bail!(
            "--install uses apt-get, which is not here; get {} yourself",
            packages.join(", ")
        );
    }
    println!("installing {}", packages.join(", "));
    process::capture(&mut apt(&["update"]))?;
    let mut install = apt(&["install", "--yes", "--no-install-recommends"]);
    process::capture(install.args(packages)).map(drop)
}

/// apt-get that asks nothing; at run level 1 packages do not start their daemons.
fn apt(args: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("RUNLEVEL", "1");
    command
}

/// Debian keeps each version's programs in a folder of its own, outside `$PATH`.
fn has_postgresql(folder: &Path) -> bool {
    let Ok(versions) = fs::read_dir(folder) else {
        return false;
    };
    versions
        .flatten()
        .any(|version| version.path().join("bin/initdb").is_file())
}

/// Whether anything listens there.
fn reaches(address: &str) -> bool {
    let addresses = address.to_socket_addrs().into_iter().flatten();
    addresses
        .into_iter()
        .any(|address| TcpStream::connect_timeout(&address, CONNECT_LIMIT).is_ok())
}

fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}

fn succeeds(program: &str, args: &[&str]) -> bool {
    process::output(Command::new(program).args(args)).is_ok_and(|output| output.status.success())
}
