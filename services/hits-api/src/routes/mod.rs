//! The HTTP interface.

pub(crate) mod increment;
