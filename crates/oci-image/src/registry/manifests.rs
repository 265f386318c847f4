//! Manifests and indexes: read, looked for, written; with digests checked each time.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::auth::Scope;
use super::client::Client;
use super::error::{Action, ErrorKind, RegistryError};
use super::transport::{Answer, Call, Payload};
use crate::{Descriptor, Digest, Index, Manifest, Reference, media_type};

/// No registry takes larger ones (distribution specification, "Pushing Manifests").
const LIMIT: usize = 4 * 1024 * 1024;
/// One header: some registries read no second one.
const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";
const TYPES: [&str; 4] = [
    media_type::INDEX,
    media_type::MANIFEST,
    media_type::DOCKER_INDEX,
    media_type::DOCKER_MANIFEST,
];
/// Says that the registry knows what a manifest refers to (distribution specification 1.1).
const SUBJECT: &str = "oci-subject";
const DIGEST: &str = "docker-content-digest";

/// A manifest as a registry has it.
#[derive(Clone, Debug)]
pub struct FetchedManifest {
    /// What it is.
    pub descriptor: Descriptor,
    /// The document to the byte, as its digest needs it.
    pub bytes: Bytes,
    /// What it says.
    pub document: Document,
}

/// What a manifest is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// One image, or an artifact.
    Image(Box<Manifest>),
    /// Several, to choose from.
    Index(Index),
}

/// A manifest that a registry took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushedManifest {
    /// What it is.
    pub descriptor: Descriptor,
    /// Whether the registry itself lists it among the referrers of its subject.
    pub lists_referrers: bool,
}

impl Client {
    /// The manifest that `reference` names: by its digest, else by its tag.
    pub async fn manifest(&self, reference: &Reference) -> Result<FetchedManifest, RegistryError> {
        let call = self.manifest_call(reference, Method::GET, &[200])?;
        let answer = self.fetch(&call, LIMIT).await?;
        let digest = Digest::of(&answer.body);
        if let Some(expected) = reference.digest().filter(|expected| *expected != digest) {
            return Err(call.error(ErrorKind::Digest {
                expected,
                actual: digest.to_string(),
            }));
        }
        if let Some(announced) = announced(&call, &answer)?.filter(|found| *found != digest) {
            return Err(call.error(ErrorKind::Digest {
                expected: announced,
                actual: digest.to_string(),
            }));
        }
        let (media_type, document) = parse(answer.header(CONTENT_TYPE.as_str()), &answer.body)
            .map_err(|reason| call.protocol(reason))?;
        Ok(FetchedManifest {
            descriptor: Descriptor::of(&media_type, &answer.body),
            bytes: answer.body,
            document,
        })
    }

    /// What `reference` names, where the registry has it.
    pub async fn head_manifest(
        &self,
        reference: &Reference,
    ) -> Result<Option<Descriptor>, RegistryError> {
        let call = self.manifest_call(reference, Method::HEAD, &[200, 404, 405])?;
        let answer = self.fetch(&call, LIMIT).await?;
        if answer.status == 404 {
            return Ok(None);
        }
        let media_type = essence(answer.header(CONTENT_TYPE.as_str()));
        let size = answer.header(CONTENT_LENGTH.as_str()).parse().unwrap_or(0);
        let digest = announced(&call, &answer)?;
        if let (Some(digest), true, 1..) = (digest, TYPES.contains(&media_type), size) {
            if let Some(expected) = reference.digest().filter(|expected| *expected != digest) {
                return Err(call.error(ErrorKind::Digest {
                    expected,
                    actual: digest.to_string(),
                }));
            }
            return Ok(Some(Descriptor::new(media_type, digest, size)));
        }
        // The headers may be left out, and HEAD altogether; the document cannot.
        match self.manifest(reference).await {
            Ok(found) => Ok(Some(found.descriptor)),
            Err(error) if *error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a manifest whose blobs are there: under the tag of `reference`, or without a tag under its digest
    /// alone.
    pub async fn push_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        document: Bytes,
    ) -> Result<PushedManifest, RegistryError> {
        let descriptor = Descriptor::of(media_type, &document);
        let version = match reference.tag() {
            Some(tag) => tag.to_owned(),
            None => descriptor.digest.to_string(),
        };
        let action = Action::WriteManifest(version.clone());
        let repository = self.repository(reference, &action)?;
        let url = repository
            .host
            .url(&repository.name, &format!("manifests/{version}"));
        let content_type = HeaderValue::try_from(media_type).map_err(|_| {
            let kind = ErrorKind::Protocol("the media type of the manifest is none".to_owned());
            repository.error(&action, kind)
        })?;
        let call = Call::new(
            &repository,
            &action,
            (Method::PUT, url),
            &[200, 201, 202, 204],
        )
        .scope(Scope::push(&repository.name))
        .header(CONTENT_TYPE, content_type)
        .payload(Payload::Whole(document));
        if let Some(expected) = reference
            .digest()
            .filter(|digest| *digest != descriptor.digest)
        {
            return Err(call.error(ErrorKind::Digest {
                expected,
                actual: descriptor.digest.to_string(),
            }));
        }
        let answer = self.fetch(&call, LIMIT).await?;
        check_taken(&call, &answer, descriptor.digest)?;
        Ok(PushedManifest {
            descriptor,
            lists_referrers: !answer.header(SUBJECT).is_empty(),
        })
    }

    fn manifest_call(
        &self,
        reference: &Reference,
        method: Method,
        accept: &'static [u16],
    ) -> Result<Call, RegistryError> {
        let version = reference.version();
        let action = Action::ReadManifest(version.clone());
        let repository = self.repository(reference, &action)?;
        let url = repository
            .host
            .url(&repository.name, &format!("manifests/{version}"));
        Ok(Call::new(&repository, &action, (method, url), accept)
            .header(ACCEPT, HeaderValue::from_static(ACCEPTED)))
    }
}

/// Refuses an answer that names another digest than `sent`.
pub(super) fn check_taken(call: &Call, answer: &Answer, sent: Digest) -> Result<(), RegistryError> {
    match announced(call, answer)? {
        Some(taken) if taken != sent => Err(call.error(ErrorKind::Digest {
            expected: sent,
            actual: taken.to_string(),
        })),
        _ => Ok(()),
    }
}

/// The digest that the registry names; `None` for none, and for other algorithms than ours.
fn announced(call: &Call, answer: &Answer) -> Result<Option<Digest>, RegistryError> {
    let text = answer.header(DIGEST).trim();
    if !text.starts_with("sha256:") {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| {
        call.protocol("the registry names a digest that is none")
            .because(error)
    })
}

/// The media type without its parameters.
pub(super) fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

/// The fields that tell what a document is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline {
    schema_version: Option<u32>,
    media_type: Option<String>,
    manifests: Option<IgnoredAny>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
}

/// A document that header and content agree on. One that could be read as both an image and an index is refused:
/// its digest would stand for two things.
pub(super) fn parse(content_type: &str, body: &[u8]) -> Result<(String, Document), String> {
    let header = essence(content_type);
    let outline: Outline = serde_json::from_slice(body)
        .map_err(|_| format!("the answer is no manifest but `{header}`; is it a registry?"))?;
    if outline.schema_version == Some(1) {
        return Err(
            "the manifest has schema 1, which was given up; push the image again".to_owned(),
        );
    }
    let is_index = outline.manifests.is_some();
    let is_image = outline.config.is_some() || outline.layers.is_some();
    let kind = match (is_index, is_image) {
        (true, true) => return Err("the manifest is both an image and an index".to_owned()),
        (false, false) => return Err("the manifest is neither an image nor an index".to_owned()),
        (true, false) => media_type::INDEX,
        (false, true) => media_type::MANIFEST,
    };
    let media_type = match (outline.media_type, TYPES.contains(&header)) {
        (Some(inside), true) if inside != header => {
            return Err(format!(
                "the manifest is `{inside}` and announced as `{header}`"
            ));
        }
        (Some(inside), _) => inside,
        (None, true) => header.to_owned(),
        (None, false) => kind.to_owned(),
    };
    if Descriptor::of(&media_type, b"").is_index() != is_index {
        return Err(format!("the manifest is no `{media_type}`"));
    }
    let document = if is_index {
        serde_json::from_slice(body).map(Document::Index)
    } else {
        serde_json::from_slice(body).map(|image| Document::Image(Box::new(image)))
    };
    let document = document.map_err(|error| format!("the manifest cannot be read: {error}"))?;
    Ok((media_type, document))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn image(media_type: &str) -> String {
        let media_type = match media_type {
            "" => String::new(),
            name => format!(r#""mediaType":"{name}","#),
        };
        format!(
            r#"{{"schemaVersion":2,{media_type}"config":{{"mediaType":"x","digest":"{ABC}","size":3}},"layers":[]}}"#
        )
    }

    #[test]
    fn header_and_content_have_to_agree() {
        let index = r#"{"schemaVersion":2,"manifests":[]}"#;
        for (content_type, body, expected) in [
            (media_type::MANIFEST, image(""), Ok(media_type::MANIFEST)),
            (
                "application/vnd.docker.distribution.manifest.v2+json; charset=utf-8",
                image(""),
                Ok(media_type::DOCKER_MANIFEST),
            ),
            ("application/json", image(""), Ok(media_type::MANIFEST)),
            (
                "text/plain",
                image(media_type::DOCKER_MANIFEST),
                Ok(media_type::DOCKER_MANIFEST),
            ),
            ("", index.to_owned(), Ok(media_type::INDEX)),
            (
                media_type::DOCKER_INDEX,
                index.to_owned(),
                Ok(media_type::DOCKER_INDEX),
            ),
            (media_type::INDEX, image(""), Err("is no")),
            (media_type::MANIFEST, index.to_owned(), Err("is no")),
            (
                media_type::INDEX,
                image(media_type::MANIFEST),
                Err("announced as"),
            ),
            ("text/html", "<html>".to_owned(), Err("is it a registry?")),
            ("", "{}".to_owned(), Err("neither")),
            (
                "",
                r#"{"schemaVersion":1,"fsLayers":[]}"#.to_owned(),
                Err("schema 1"),
            ),
            (
                "",
                r#"{"manifests":[],"layers":[]}"#.to_owned(),
                Err("both"),
            ),
            (
                "",
                r#"{"schemaVersion":2,"manifests":[{}]}"#.to_owned(),
                Err("cannot be read"),
            ),
        ] {
            match (parse(content_type, body.as_bytes()), expected) {
                (Ok((found, _)), Ok(expected)) => assert_eq!(found, expected),
                (Err(reason), Err(part)) => assert!(reason.contains(part), "{reason}"),
                (found, expected) => panic!("{body}: {found:?} instead of {expected:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics(content_type in ".{0,20}", body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&content_type, &body);
        }
    }
}
