//! The HTTP interface.

pub(crate) mod counters;
