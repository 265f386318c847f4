//! Blobs to a registry: not at all where it has them, from another of its repositories, or sent; and gone on with
//! after a cut.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::header::{CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use http::{HeaderValue, Method};
use reqwest::Url;

use super::auth::Scope;
use super::client::{Client, Repository};
use super::error::{Action, ErrorKind, RegistryError};
use super::link::{resolve, uploaded};
use super::manifests::check_taken;
use super::progress::{Meter, Outcome};
use super::retry::Attempts;
use super::sending::Part;
use super::source::BlobSource;
use super::transport::{Answer, Call, Payload};
use crate::{Descriptor, Reference};

/// The smallest chunk but the last that the registry takes.
const CHUNK_MIN_LENGTH: &str = "oci-chunk-min-length";
/// Repositories that a blob is asked from before it is sent.
const MOUNTS: usize = 2;
const OCTETS: &str = "application/octet-stream";
/// Answers to uploads say nothing in their bodies.
const LIMIT: usize = 64 * 1024;

impl Client {
    /// Brings a blob into the repository of `to`. What another push of this client is bringing to the same registry
    /// is waited for and then mounted.
    pub async fn push_blob(
        &self,
        to: &Reference,
        blob: &Descriptor,
        source: Arc<dyn BlobSource>,
    ) -> Result<Outcome, RegistryError> {
        let action = Action::WriteBlob(blob.digest);
        let repository = self.repository(to, &action)?;
        let known = self.whereabouts(&repository, blob.digest);
        let mut known = known.lock().await;
        let _permit = self
            .blobs()
            .acquire()
            .await
            .expect("nobody closes the semaphore");
        let upload = Upload {
            client: self,
            scope: Scope::push(&repository.name),
            repository,
            action,
            blob,
            source,
            meter: Arc::new(Meter::new(Arc::clone(&self.observer), blob)),
        };
        let outcome = upload.run(&mut known).await?;
        known.insert(upload.repository.name.clone());
        upload.meter.ended(outcome);
        Ok(outcome)
    }
}

/// One blob, and where it goes.
struct Upload<'a> {
    client: &'a Client,
    repository: Repository,
    action: Action,
    scope: Scope,
    blob: &'a Descriptor,
    source: Arc<dyn BlobSource>,
    meter: Arc<Meter>,
}

/// An upload that the registry knows of.
struct Session {
    url: Url,
    /// Bytes that the registry has.
    offset: u64,
    /// Bytes that the registry wants at least at once.
    least: u64,
}

/// What an upload went through.
struct Course {
    attempts: Attempts,
    /// The most that a registry ever had of it.
    furthest: u64,
    /// Whether the last try failed, so that nobody knows how far the registry is.
    is_cut: bool,
    /// Whether a session was gone on with after a fault.
    is_resumed: bool,
    /// Whether all is sent at once, for a registry that takes no chunks.
    is_whole: bool,
}

impl Upload<'_> {
    async fn run(&self, known: &mut BTreeSet<String>) -> Result<Outcome, RegistryError> {
        if self.client.has_blob(&self.repository, self.blob).await? {
            return Ok(Outcome::Existing);
        }
        known.remove(&self.repository.name);
        let mut session = None;
        for _ in 0..MOUNTS {
            let Some(other) = known.first().cloned().filter(|_| session.is_none()) else {
                break;
            };
            match self.mount(&other).await? {
                Mount::Done => return Ok(Outcome::Mounted),
                Mount::Declined(started) => session = started,
            }
            known.remove(&other);
        }
        self.transfer(session).await?;
        Ok(Outcome::Uploaded)
    }

    /// Asks the registry to take the blob from another repository.
    async fn mount(&self, other: &str) -> Result<Mount, RegistryError> {
        let mut url = self.uploads();
        url.query_pairs_mut()
            .append_pair("mount", &self.blob.digest.to_string())
            .append_pair("from", other);
        let scope = self.scope.clone().and(Scope::pull(other));
        let call = self.call((Method::POST, url), &[201, 202]).scope(scope);
        match self.client.fetch(&call, LIMIT).await {
            Ok(answer) if answer.status == 201 => {
                check_taken(&call, &answer, self.blob.digest)?;
                Ok(Mount::Done)
            }
            Ok(answer) => Ok(Mount::Declined(Some(self.session(&call, &answer)?))),
            // No right to read the other one, or a registry that knows no mounts.
            Err(error) if is_refusal(&error) => Ok(Mount::Declined(None)),
            Err(error) => Err(error),
        }
    }

    /// Sends the blob, as often as it takes.
    async fn transfer(&self, mut session: Option<Session>) -> Result<(), RegistryError> {
        let mut course = Course {
            attempts: Attempts::new(self.client.options().retry),
            furthest: 0,
            is_cut: false,
            is_resumed: false,
            is_whole: false,
        };
        loop {
            let Err(error) = self.attempt(&mut session, &mut course).await else {
                return Ok(());
            };
            let offset = session.as_ref().map_or(0, |session| session.offset);
            if depends_on_way(&error) {
                (session, course.is_cut) = (None, false);
                if std::mem::take(&mut course.is_resumed) {
                    // The registry lost or doubled bytes round the cut: everything anew, once.
                    continue;
                }
                if offset == 0 && !course.is_whole && self.is_chunked(0) {
                    course.is_whole = true;
                    continue;
                }
                return Err(error);
            }
            if offset > course.furthest {
                course.furthest = offset;
                course.attempts.progressed();
            }
            course.attempts.after(error).await?;
            course.is_cut = true;
        }
    }

    /// One try; after a fault it goes on where the registry is.
    async fn attempt(
        &self,
        session: &mut Option<Session>,
        course: &mut Course,
    ) -> Result<(), RegistryError> {
        if course.is_cut {
            if self
                .client
                .has_blob_now(&self.repository, self.blob)
                .await?
            {
                return Ok(());
            }
            let is_known = match session {
                Some(session) => self.update(session).await?,
                None => false,
            };
            match is_known {
                true => course.is_resumed = true,
                false => *session = None,
            }
            course.is_cut = false;
        }
        self.send(session, course.is_whole).await
    }

    /// Sends what the registry does not have yet, and closes the upload.
    async fn send(
        &self,
        session: &mut Option<Session>,
        is_whole: bool,
    ) -> Result<(), RegistryError> {
        let session = match session {
            Some(session) => session,
            None => session.insert(self.begin().await?),
        };
        if session.offset == 0 && (is_whole || !self.is_chunked(session.least)) {
            return self.close(session, self.part(0, self.blob.size)).await;
        }
        let chunk = if is_whole {
            u64::MAX
        } else {
            self.client.options().chunk_size.max(session.least).max(1)
        };
        while session.offset < self.blob.size {
            let length = chunk.min(self.blob.size - session.offset);
            self.patch(session, length).await?;
        }
        self.close(session, Payload::Nothing).await
    }

    /// Starts an upload.
    async fn begin(&self) -> Result<Session, RegistryError> {
        let call = self.call((Method::POST, self.uploads()), &[202]);
        let answer = self.client.fetch_once(&call, LIMIT).await?;
        self.session(&call, &answer)
    }

    /// Sends one chunk.
    async fn patch(&self, session: &mut Session, length: u64) -> Result<(), RegistryError> {
        let end = session.offset + length;
        let range = format!("{}-{}", session.offset, end - 1);
        let call = self
            .call((Method::PATCH, session.url.clone()), &[200, 201, 202, 204])
            .header(CONTENT_TYPE, HeaderValue::from_static(OCTETS))
            .header(
                CONTENT_RANGE,
                HeaderValue::try_from(range).expect("digits are ASCII"),
            )
            .payload(self.part(session.offset, length));
        let answer = self.client.fetch_once(&call, LIMIT).await?;
        let taken = uploaded(answer.header(RANGE.as_str())).filter(|taken| *taken > 0);
        let taken = taken.unwrap_or(end);
        if taken <= session.offset || taken > end {
            return Err(call.protocol(format!(
                "the registry has {taken} bytes after it got those up to {end}"
            )));
        }
        session.go_on(&call, &answer)?;
        session.offset = taken;
        Ok(())
    }

    /// Says that the upload is complete.
    async fn close(&self, session: &Session, payload: Payload) -> Result<(), RegistryError> {
        let mut url = session.url.clone();
        url.query_pairs_mut()
            .append_pair("digest", &self.blob.digest.to_string());
        let call = self
            .call((Method::PUT, url), &[200, 201, 202, 204])
            .header(CONTENT_TYPE, HeaderValue::from_static(OCTETS))
            .payload(payload);
        let answer = match self.client.fetch_once(&call, LIMIT).await {
            Ok(answer) => answer,
            Err(error) => return Err(self.explain(&call, error)),
        };
        check_taken(&call, &answer, self.blob.digest)
    }

    /// Asks how far the registry is; `false` where the upload starts anew.
    async fn update(&self, session: &mut Session) -> Result<bool, RegistryError> {
        let call = self.call((Method::GET, session.url.clone()), &[200, 202, 204]);
        let answer = match self.client.fetch_once(&call, LIMIT).await {
            Ok(answer) => answer,
            Err(error) if is_refusal(&error) => return Ok(false),
            Err(error) => return Err(error),
        };
        let offset = uploaded(answer.header(RANGE.as_str())).unwrap_or(0);
        if offset == 0 || offset > self.blob.size || session.go_on(&call, &answer).is_err() {
            return Ok(false);
        }
        session.offset = offset;
        self.meter.at(offset);
        Ok(true)
    }

    fn session(&self, call: &Call, answer: &Answer) -> Result<Session, RegistryError> {
        let mut session = Session {
            url: call.url.clone(),
            offset: 0,
            least: answer.header(CHUNK_MIN_LENGTH).trim().parse().unwrap_or(0),
        };
        if answer.header(LOCATION.as_str()).is_empty() {
            return Err(call.protocol("the registry does not say where to upload to"));
        }
        session.go_on(call, answer)?;
        Ok(session)
    }

    /// A registry that found another digest says so in its own words.
    fn explain(&self, call: &Call, error: RegistryError) -> RegistryError {
        if !error
            .said()
            .iter()
            .any(|said| said.code == "DIGEST_INVALID")
        {
            return error;
        }
        let kind = ErrorKind::Digest {
            expected: self.blob.digest,
            actual: "another one".to_owned(),
        };
        call.error(kind).saying(error.said().to_vec())
    }

    fn is_chunked(&self, least: u64) -> bool {
        self.blob.size > self.client.options().chunk_size.max(least)
    }

    fn part(&self, offset: u64, length: u64) -> Payload {
        Payload::Part(Part {
            source: Arc::clone(&self.source),
            offset,
            length,
            meter: Arc::clone(&self.meter),
        })
    }

    fn uploads(&self) -> Url {
        let host = &self.repository.host;
        host.url(&self.repository.name, "blobs/uploads/")
    }

    fn call(&self, target: (Method, Url), accept: &'static [u16]) -> Call {
        Call::new(&self.repository, &self.action, target, accept).scope(self.scope.clone())
    }
}

/// What became of a mount.
enum Mount {
    Done,
    /// The upload that the registry started instead, where it did.
    Declined(Option<Session>),
}

impl Session {
    /// Where the next request goes.
    fn go_on(&mut self, call: &Call, answer: &Answer) -> Result<(), RegistryError> {
        let location = answer.header(LOCATION.as_str());
        if !location.is_empty() {
            self.url = resolve(&answer.url, location)
                .ok_or_else(|| call.protocol("the registry says to upload to nowhere"))?;
        }
        Ok(())
    }
}

/// Whether the registry refuses what was asked, rather than being unable to answer.
fn is_refusal(error: &RegistryError) -> bool {
    matches!(error.kind(), ErrorKind::Unauthorized | ErrorKind::Denied) || depends_on_way(error)
}

/// Whether the same blob may be taken when it is sent in another way.
fn depends_on_way(error: &RegistryError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::Protocol(_) | ErrorKind::Digest { .. }
    )
}
