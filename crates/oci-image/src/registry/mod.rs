//! A client of registries (OCI distribution specification 1.1, and what Docker's registries do instead).
//!
//! [`Client`] is cheap to clone and shares what it learned about each registry: how to log in, its tokens, which
//! repository has which blob. It starts no task of its own: dropping a future ends what it was doing.
//!
//! The caller installs the crypto provider of `rustls` before the first call.

mod auth;
mod blob;
mod challenge;
mod client;
mod credentials;
mod download;
mod error;
mod host;
mod image;
mod link;
mod manifests;
mod options;
mod progress;
mod referrer;
mod referrers;
mod retry;
mod said;
mod scheme;
mod sending;
mod source;
mod tls;
mod token;
mod transport;
mod upload;

pub use client::Client;
pub use credentials::{Credentials, CredentialsError, CredentialsFuture, Login, Secret};
pub use download::BlobReader;
pub use error::{Action, ErrorKind, RegistryError};
pub use image::{PushedImage, TransferError};
pub use manifests::{Document, FetchedManifest, PushedManifest};
pub use options::{Options, Retry, Timeouts};
pub use progress::{Observer, Outcome, Transfer};
pub use said::Said;
pub use source::{BlobSource, OpenFuture};
