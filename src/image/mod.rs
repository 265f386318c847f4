//! Images: what each is made from, and how it is made.
//!
//! [`specs`] computes the reference of every image from the sources; [`build`] makes those that the engine lacks.

mod assemble;
pub(crate) mod background;
mod base;
mod batch;
mod build;
mod build_error;
mod build_lock;
#[cfg(test)]
mod build_tests;
mod cache_key;
mod cargo;
#[cfg(test)]
mod cargo_build_tests;
mod cargo_config;
mod cargo_messages;
mod closure;
mod command;
mod compiler;
mod contents;
mod dep_info;
mod docker;
mod elf;
mod environment;
mod explain;
mod features;
mod file_state;
mod files;
mod files_layer;
mod freshness;
mod in_engine;
mod input_error;
#[cfg(test)]
mod inputs_tests;
mod leftovers;
mod lexical;
mod linker;
mod lockfile;
mod manifests;
mod native;
mod options;
mod packages;
mod packages_error;
pub(crate) mod process;
pub(crate) mod progress;
mod report;
mod rootfs;
mod rustflags;
mod snapshot;
mod sources;
mod spec;
mod state_folder;
mod store;
mod target;
#[cfg(test)]
mod test_stack;
mod unseen;
mod walk;
mod watched;
mod with_docker;
mod workspace;

use docker::{context, docker_config, dockerfile, engine};

pub use base::BaseFailure;
pub use build::{BuildContext, BuildOptions, build};
pub use build_error::BuildError;
pub use cache_key::{InputDigest, Inputs};
pub use contents::{contents, provenance};
pub use docker::{
    Assembly, AssemblyError, Carrier, DockerfileError, EngineAddress, EngineTls, HelperError,
    LayerSource, LoadError, Loadable, TlsError, assemble_with_engine, layers_present, load_archive,
    load_image, registry_client,
};
pub use docker_config::{DockerConfig, DockerConfigError, registry_of};
pub use elf::NotRunnable;
pub use engine::{Engine, EngineError, NO_ENGINE};
pub use explain::{ChangeKind, InputChange, Reason};
pub use in_engine::find_built as find;
pub use input_error::{ImageError, InputError};
pub use packages::update_packages;
pub use report::{BuildOutcome, BuildReport, BuiltImage, Held, ReportError};
pub use sources::UndeclaredSources;
pub use spec::{ImageSpec, specs};
pub use store::{Store, damaged_blob};
pub use target::host_platform;
