//! What refers to a manifest: signatures, SBOMs. From the registry's API, or from an index under a tag that is made
//! of the digest where the registry has no such API (distribution specification 1.1, "Referrers Tag Schema").

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_TYPE, LINK};

use super::client::Client;
use super::error::{Action, ErrorKind, RegistryError};
use super::link::{next_link, resolve};
use super::manifests::{Document, essence, parse};
use super::transport::{Answer, Call};
use crate::{Descriptor, Digest, Index, Reference, media_type};

const LIMIT: usize = 4 * 1024 * 1024;
/// Pages of one list.
const PAGES: usize = 100;
/// Times that an entry is written again after somebody else wrote over it.
const WRITES: u32 = 6;

impl Client {
    /// What refers to `subject` in the repository of `place`, of one type or of all.
    pub async fn referrers(
        &self,
        place: &Reference,
        subject: Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let mut found = match self.listed(place, subject, artifact_type).await? {
            Some(found) => found,
            None => self.tagged(place, subject).await?.manifests,
        };
        // A registry may leave the filter to us.
        found.retain(|entry| {
            artifact_type.is_none_or(|wanted| entry.artifact_type.as_deref() == Some(wanted))
        });
        Ok(found)
    }

    /// Lists `entry` among what refers to `subject`, for a registry that does not do so by itself.
    pub(super) async fn refer(
        &self,
        place: &Reference,
        subject: Digest,
        entry: &Descriptor,
    ) -> Result<(), RegistryError> {
        let _turn = self.referring().lock().await;
        for write in 0..WRITES {
            // Registries cannot write on condition: whether somebody else wrote in between shows afterwards.
            let mut index = self.tagged(place, subject).await?;
            if index
                .manifests
                .iter()
                .any(|known| known.digest == entry.digest)
            {
                return Ok(());
            }
            index.manifests.push(entry.clone());
            tokio::time::sleep(Duration::from_millis(150) * write).await;
            let tag = tag(place, subject)?;
            let document = Bytes::from(index.to_json());
            self.push_manifest(&tag, media_type::INDEX, document)
                .await?;
        }
        let kind = ErrorKind::Protocol("others write the list at the same time".to_owned());
        let action = Action::Refer(entry.digest);
        Err(self.repository(place, &action)?.error(&action, kind))
    }

    /// What the API lists; `None` where there is none.
    async fn listed(
        &self,
        place: &Reference,
        subject: Digest,
        artifact_type: Option<&str>,
    ) -> Result<Option<Vec<Descriptor>>, RegistryError> {
        let action = Action::ListReferrers(subject);
        let repository = self.repository(place, &action)?;
        let mut url = repository
            .host
            .url(&repository.name, &format!("referrers/{subject}"));
        if let Some(artifact_type) = artifact_type {
            url.query_pairs_mut()
                .append_pair("artifactType", artifact_type);
        }
        let mut found = Vec::new();
        for _ in 0..PAGES {
            let target = (Method::GET, url);
            let call = Call::new(&repository, &action, target, &[200, 400, 404, 405, 501]);
            let answer = self.fetch(&call, LIMIT).await?;
            let Some(page) = page(&answer) else {
                return Ok(None);
            };
            found.extend(page.manifests);
            match next_link(answer.header(LINK.as_str())) {
                None => return Ok(Some(found)),
                Some(next) => {
                    url = resolve(&answer.url, next)
                        .ok_or_else(|| call.protocol("the next page of the list is nowhere"))?;
                }
            }
        }
        let kind = ErrorKind::Protocol("the list has no end".to_owned());
        Err(repository.error(&action, kind))
    }

    /// The index under the tag; an empty one where there is none.
    async fn tagged(&self, place: &Reference, subject: Digest) -> Result<Index, RegistryError> {
        let tag = tag(place, subject)?;
        match self.manifest(&tag).await {
            Ok(found) => match found.document {
                Document::Index(index) => Ok(index),
                Document::Image(_) => {
                    let kind = ErrorKind::Protocol(
                        "the tag that should list referrers is an image".to_owned(),
                    );
                    let action = Action::ListReferrers(subject);
                    Err(self.repository(place, &action)?.error(&action, kind))
                }
            },
            Err(error) if *error.kind() == ErrorKind::NotFound => Ok(Index::new(Vec::new())),
            Err(error) => Err(error),
        }
    }
}

/// An answer of the API; old registries, and pages for browsers, are none.
fn page(answer: &Answer) -> Option<Index> {
    let content_type = answer.header(CONTENT_TYPE.as_str());
    if answer.status != 200 || essence(content_type) != media_type::INDEX {
        return None;
    }
    match parse(content_type, &answer.body) {
        Ok((_, Document::Index(index))) => Some(index),
        _ => None,
    }
}

/// `REPOSITORY:sha256-HEX`.
fn tag(place: &Reference, subject: Digest) -> Result<Reference, RegistryError> {
    let tag = format!("sha256-{}", subject.hex());
    place.with_tag(&tag).map_err(|error| {
        let kind = ErrorKind::Protocol("the digest makes no tag".to_owned());
        let action = Action::ListReferrers(subject);
        RegistryError::new(place.registry(), place.repository(), &action, kind).because(error)
    })
}
