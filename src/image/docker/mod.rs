//! The Docker engine: finding it, building Dockerfiles with it, loading images into it.

mod archive;
mod assembly;
mod auth_key;
mod buildkit;
mod classic;
pub(crate) mod context;
mod credential_helper;
pub(crate) mod docker_config;
pub(crate) mod dockerfile;
mod dockerignore;
mod endpoint;
pub(crate) mod engine;
mod failure;
mod insecure;
mod instructions;
mod load;
mod logins;
mod query;
mod secrets;
mod session;
mod ssh;
mod tls;
mod trace;
mod transport;

pub use assembly::{Assembly, AssemblyError, LayerSource, assemble_with_engine};
pub use credential_helper::HelperError;
pub use endpoint::EngineAddress;
pub use failure::DockerfileError;
pub use load::{LoadError, Loadable, layers_present, load_archive, load_image};
pub use logins::registry_client;
pub use tls::{EngineTls, TlsError};
pub use transport::Carrier;
