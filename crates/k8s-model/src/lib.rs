//! Kubernetes' vocabulary without a client: kinds, references to objects, quantities. No I/O.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod object;
pub mod pointer;
mod quantity;
pub mod selector;

pub use object::{Gvk, ObjectRef};
pub use quantity::{InvalidQuantity, Notation, Quantity};
