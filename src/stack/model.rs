//! `Stack`: one environment of a stack, resolved and valid. Built by `resolve` alone.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use oci_image::Platform;

use crate::diagnostic::Span;
use crate::yaml::Node;

use super::native::NativeBuild;
use crate::name::{
    EnvName, Namespace, PortName, SecretName, ServiceName, StackName, VariableName, VolumeName,
};

/// A stack in one environment. Names are unique, references exist, `needs` has no cycle.
#[derive(Clone, Debug)]
pub struct Stack {
    /// The repository: the folder of `stack.yaml`.
    pub root: PathBuf,
    /// What it is called.
    pub name: StackName,
    /// `values` of `stack.yaml`: a map.
    pub values: Node,
    /// Where it runs.
    pub environment: Environment,
    /// By name: those that are enabled in this environment.
    pub services: BTreeMap<ServiceName, Service>,
    /// Those that are not, each with the place that says so.
    pub disabled: BTreeMap<ServiceName, Span>,
}

/// A place the stack runs in.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The name of its file.
    pub name: EnvName,
    /// Where the file is.
    pub span: Span,
    /// Which cluster.
    pub cluster: ClusterTarget,
    /// The namespace of every object.
    pub namespace: Namespace,
    /// Where images are pushed, such as `registry.example.com/seedling`.
    pub registry: Option<Registry>,
    /// Whether deleting asks first.
    pub protected: bool,
    /// `values` after `extends`: a map.
    pub values: Node,
    /// Where the values of secrets come from.
    pub secrets: BTreeMap<SecretName, Secret>,
}

/// Which cluster an environment runs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterTarget {
    /// A local one: minikube, kind, k3d, docker-desktop.
    Local,
    /// The one of a kubeconfig context.
    Context {
        /// Its name.
        context: String,
        /// UID of its namespace `kube-system`; any other cluster is refused.
        uid: Option<String>,
        /// Where the pin is written.
        span: Span,
    },
}

/// A registry and the path under which the stack's images live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// Such as `registry.example.com/seedling`; no scheme, no trailing slash.
    pub prefix: String,
    /// Where it is written.
    pub span: Span,
}

/// A secret and where it is declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// Where the value comes from.
    pub source: SecretSource,
    /// Where it is declared.
    pub span: Span,
}

/// Where a secret's value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// Made once, of this many letters and digits, and kept in the cluster.
    Generate(usize),
    /// An environment variable of the caller.
    Env(String),
    /// A file, relative to the repository; one trailing line break is not part of the value.
    File(PathBuf),
}

/// A part of the stack that runs in the cluster.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its name, also that of its objects.
    pub name: ServiceName,
    /// Its merged file: every value with its place. Templates see `values` and the rest from here.
    pub source: Node,
    /// Where its image comes from.
    pub build: Build,
    /// Deployment, StatefulSet.
    pub kind: WorkloadKind,
    /// Container ports.
    pub ports: BTreeMap<PortName, u16>,
    /// From where the Service can be reached.
    pub service_type: ServiceType,
    /// Local ports of `port-forward`: one for each container port.
    pub forward: BTreeMap<PortName, u16>,
    /// Environment variables; each value is a template.
    pub env: BTreeMap<VariableName, EnvTemplate>,
    /// What is mounted.
    pub volumes: BTreeMap<VolumeName, Volume>,
    /// Requests and limits as Kubernetes has them: a map, may be empty.
    pub resources: Node,
    /// Health checks.
    pub probes: Probes,
    /// How long a pod may take to become ready.
    pub ready_within: Duration,
    /// Services that must be ready before this one starts.
    pub needs: Vec<ServiceName>,
    /// Free values for templates: a map.
    pub values: Node,
}

/// A value of `env`: a template and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvTemplate {
    /// The template's text.
    pub text: String,
    /// Where it is written.
    pub span: Span,
}

/// Where a service's image comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Build {
    /// Assembled here: binaries of this workspace, files, Debian packages.
    Native(Box<NativeBuild>),
    /// Built by the Docker engine.
    Dockerfile(DockerfileBuild),
    /// A program that leaves an image tagged `$STACKCTL_IMAGE`.
    Command(CommandBuild),
    /// A ready image from a registry.
    Image {
        /// Its reference.
        reference: String,
        /// Where it is written.
        span: Span,
    },
}

/// `build: { dockerfile: PATH }`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerfileBuild {
    /// Relative to the repository.
    pub dockerfile: PathBuf,
    /// The context folder, relative to the repository; default: the Dockerfile's folder.
    pub context: PathBuf,
    /// The stage that is built.
    pub target: Option<String>,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// What `RUN --mount=type=secret` may read, by id.
    pub secrets: BTreeMap<String, BuildSecret>,
    /// Where `ssh: true` is written: `RUN --mount=type=ssh` may use the caller's agent.
    pub ssh: Option<Span>,
    /// Images whose layers may be used instead of running steps again.
    pub cache_from: Vec<String>,
    /// What the image is built for; default: what the engine runs on.
    pub platform: Option<Platform>,
    /// Where the Dockerfile is named.
    pub span: Span,
}

/// A secret of a Dockerfile's build: it becomes part of neither the image nor its tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildSecret {
    /// Where its value comes from.
    pub source: BuildSecretSource,
    /// Where it is declared.
    pub span: Span,
}

/// Where the value of a [`BuildSecret`] comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildSecretSource {
    /// An environment variable of the caller.
    Env(String),
    /// A file, relative to the repository; it is not part of the context.
    File(PathBuf),
}

impl DockerfileBuild {
    /// The build of a Dockerfile in its own folder, without options.
    #[must_use]
    pub fn new(dockerfile: PathBuf, span: Span) -> Self {
        Self {
            context: dockerfile.parent().map(PathBuf::from).unwrap_or_default(),
            dockerfile,
            target: None,
            args: BTreeMap::new(),
            secrets: BTreeMap::new(),
            ssh: None,
            cache_from: Vec::new(),
            platform: None,
            span,
        }
    }
}

/// `build: { command: […], inputs: […] }`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandBuild {
    /// Program and arguments; runs in the repository.
    pub command: Vec<String>,
    /// Files and folders, relative to the repository, that the image depends on.
    pub inputs: Vec<PathBuf>,
    /// Where the command is written.
    pub span: Span,
}

/// The kind of object that runs a service's pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkloadKind {
    /// The default.
    Deployment,
    /// Stable names and a volume for each pod.
    StatefulSet,
}

/// `spec.type` of a Service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServiceType {
    /// From inside the cluster.
    #[default]
    ClusterIp,
    /// Also at a port of every node.
    NodePort,
    /// Also at an address of the cluster's load balancer.
    LoadBalancer,
}

/// A mounted folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Absolute, in the container.
    pub path: String,
    /// A Kubernetes quantity such as `1Gi`.
    pub size: String,
    /// Whether it ends with the pod (`emptyDir`) instead of being claimed.
    pub ephemeral: bool,
}

/// Health checks: paths that answer 200.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probes {
    /// Whether the pod takes traffic.
    pub ready: Option<String>,
    /// Whether the container is to be restarted.
    pub live: Option<String>,
    /// The port that is asked; default: `http`, else the first one.
    pub port: Option<PortName>,
}

impl Stack {
    /// The services in an order in which every one comes after those it needs.
    #[must_use]
    pub fn in_order_of_needs(&self) -> Vec<&Service> {
        let mut ordered: Vec<&Service> = Vec::with_capacity(self.services.len());
        while ordered.len() < self.services.len() {
            let done = |name: &ServiceName| ordered.iter().any(|service| service.name == *name);
            let next: Vec<&Service> = self
                .services
                .values()
                .filter(|service| !done(&service.name) && service.needs.iter().all(done))
                .collect();
            assert!(!next.is_empty(), "`resolve` refuses cycles");
            ordered.extend(next);
        }
        ordered
    }
}
