//! The HTTP interface.

pub(crate) mod page;
pub(crate) mod picture;
