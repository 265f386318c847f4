//! Delivery: how built images get to where the cluster finds them.
//!
//! [`route`] decides before anything is applied; [`deliver`] moves what is not there.

mod deliver;
mod delivery_error;
mod push;
mod route;
mod tool;

pub use deliver::{Delivered, DeliveryContext, DeliveryReport, deliver, engine_facts};
pub use delivery_error::{DeliveryError, PushFailure};
pub use push::is_in_registry;
pub use route::{ClusterFacts, DeliveryRefused, EngineFacts, NodeFacts, Route, route};
