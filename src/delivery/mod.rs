//! How an image gets from the Docker engine to where the cluster finds it.
//!
//! [`route`] decides from what is known of the cluster; [`deliver`] walks that way.

mod deliver;
mod error;
mod route;

pub use deliver::{Delivered, deliver, is_in_registry};
pub use error::DeliveryError;
pub use route::{ClusterFacts, DeliveryRefused, NodeFacts, Route, own_boot_id, route};
