//! Stand-ins for what tests cannot have: engines and servers in memory.

pub mod docker;
