//! The HTTP interface.

pub(crate) mod images;
pub(crate) mod jobs;
pub(crate) mod refused;
pub(crate) mod upload;
