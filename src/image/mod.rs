//! Images: what each is made from, and how it is made.
//!
//! [`specs`] computes the reference of every image from the sources; [`build`] makes those that the engine lacks.

mod assemble;
mod build;
mod build_error;
#[cfg(test)]
mod build_tests;
mod cache_key;
mod cargo;
mod closure;
mod command;
mod compiler;
mod docker;
mod elf;
mod files;
mod input_error;
mod lockfile;
mod manifests;
pub(crate) mod process;
pub(crate) mod progress;
mod report;
mod rustflags;
mod spec;
mod state_folder;
mod target;
#[cfg(test)]
mod test_stack;

use docker::{context, docker_config, dockerfile, engine};

pub use build::{BuildContext, BuildOptions, build};
pub use build_error::BuildError;
pub use cache_key::{InputDigest, Inputs};
pub use docker::{
    Assembly, AssemblyError, Carrier, DockerfileError, EngineAddress, EngineTls, LayerSource,
    LoadError, TlsError, assemble_with_engine, layers_present, load_archive, load_image,
};
pub use docker_config::{DockerConfig, DockerConfigError, registry_of};
pub use elf::NotRunnable;
pub use engine::{Engine, EngineError, NO_ENGINE};
pub use input_error::{ImageError, InputError};
pub use report::{BuildOutcome, BuildReport, BuiltImage, ReportError};
pub use spec::{ImageSpec, specs};
