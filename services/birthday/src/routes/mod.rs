//! The HTTP interface.

pub(crate) mod hello;
