//! Delivery: how built images get to where the cluster finds them.
//!
//! [`route`] and [`Destination`] decide where to before anything is applied; [`deliver`] moves what is not there.

mod archive_file;
mod attach;
mod byte_stream;
mod ctr;
mod deliver;
mod delivery_error;
mod destination;
mod docker;
mod exec;
mod layout_folder;
mod minikube;
mod moved;
mod names;
mod node_archive;
mod nodes;
mod push;
mod push_failure;
#[cfg(test)]
mod real_tests;
mod registry;
mod registry_fault;
mod route;
mod source;
#[cfg(test)]
mod test_images;
mod tool;
mod zstd_support;

pub use attach::{AttachContext, AttachError, Attached, Attacher, Attachment, RegistryImage};
pub use deliver::{
    Delivered, DeliveredImage, Delivery, DeliveryContext, DeliveryReport, Source, deliver,
    engine_facts,
};
pub use delivery_error::DeliveryError;
pub use destination::{Destination, InvalidDestination, NoRegistry};
pub use moved::Moved;
pub use push_failure::PushFailure;
pub use registry::find_in_registry;
pub use route::{ClusterFacts, DeliveryRefused, EngineFacts, NodeFacts, Route, route};
