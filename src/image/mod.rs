//! Images: what each is made from, and how it is made.

mod cache_key;
mod closure;
mod compiler;
mod context;
mod dockerignore;
mod files;
mod input_error;
mod lockfile;
mod manifests;
mod spec;
mod state_folder;
mod target;

pub use cache_key::{InputDigest, Inputs};
pub use input_error::{ImageError, InputError};
pub use spec::{ImageSpec, specs};
