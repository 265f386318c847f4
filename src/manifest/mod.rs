//! Kubernetes objects as data: where every field comes from, and the checks that need no cluster.

mod object;

pub use object::{Object, Origin, Origins};
