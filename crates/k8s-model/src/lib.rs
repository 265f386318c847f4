//! Kubernetes' vocabulary without a client: kinds, references to objects, quantities. No I/O.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod object;

pub use object::{Gvk, ObjectRef};
