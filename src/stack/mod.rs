//! The model: what a stack consists of in one environment.

mod model;
mod name;

pub use model::*;
pub use name::*;
