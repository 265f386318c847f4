//! The model: what a stack consists of in one environment.

mod environment;
mod layers;
mod load;
mod model;
mod native;
mod overlay;
mod resolve;
mod service;

pub use crate::name::*;

pub use load::{environments, find_root, load};
pub use model::*;
pub use native::*;
pub use resolve::{Files, resolve};
