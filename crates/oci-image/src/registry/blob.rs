//! Whether a repository has a blob, and which repositories are known to.

use http::Method;
use http::header::CONTENT_LENGTH;

use super::auth::Scope;
use super::client::{Client, Repository};
use super::error::{Action, ErrorKind, RegistryError};
use super::link::same_origin;
use super::transport::{Answer, Call};
use crate::{Descriptor, Digest, Reference};

impl Client {
    /// Remembers that the repository of `place` has these blobs: whatever is pushed to another repository of the
    /// same registry takes them from there. A claim that is wrong costs one request.
    pub fn saw(&self, place: &Reference, blobs: &[Digest]) -> Result<(), RegistryError> {
        for digest in blobs {
            let repository = self.repository(place, &Action::WriteBlob(*digest))?;
            let known = self.whereabouts(&repository, *digest);
            // Whoever is bringing the blob there just now says so at the end.
            if let Ok(mut known) = known.try_lock() {
                known.insert(repository.name.clone());
            }
        }
        Ok(())
    }

    /// Whether the repository has the blob.
    pub(super) async fn has_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
    ) -> Result<bool, RegistryError> {
        let call = head(repository, blob);
        is_there(&call, blob, &self.fetch(&call, 0).await?)
    }

    /// As [`has_blob`](Self::has_blob), for those who try again themselves.
    pub(super) async fn has_blob_now(
        &self,
        repository: &Repository,
        blob: &Descriptor,
    ) -> Result<bool, RegistryError> {
        let call = head(repository, blob);
        is_there(&call, blob, &self.fetch_once(&call, 0).await?)
    }
}

fn head(repository: &Repository, blob: &Descriptor) -> Call {
    let path = format!("blobs/{}", blob.digest);
    let url = repository.host.url(&repository.name, &path);
    let action = Action::WriteBlob(blob.digest);
    Call::new(
        repository,
        &action,
        (Method::HEAD, url),
        &[200, 403, 404, 405],
    )
    .scope(Scope::push(&repository.name))
}

fn is_there(call: &Call, blob: &Descriptor, answer: &Answer) -> Result<bool, RegistryError> {
    // An object store whose addresses are signed for GET alone refuses HEAD: that says nothing.
    if answer.status == 403 && same_origin(&answer.url, &call.repository.host.origin()) {
        return Err(call.error(ErrorKind::Denied));
    }
    let size: Option<u64> = answer.header(CONTENT_LENGTH.as_str()).parse().ok();
    // Some proxies write 0 where they do not know.
    let fits = size.is_none_or(|size| size == 0 || size == blob.size);
    Ok(answer.status == 200 && fits)
}
