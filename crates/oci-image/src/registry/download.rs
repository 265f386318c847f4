//! Blobs from a registry: piece by piece, checked, and gone on with after a cut.

use std::io::{self, Write as _};

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::try_unfold;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, RANGE};
use http::{HeaderValue, Method, StatusCode};
use reqwest::Response;
use tokio::sync::OwnedSemaphorePermit;

use super::client::Client;
use super::error::{Action, ErrorKind, RegistryError};
use super::link::content_start;
use super::progress::{Meter, Outcome};
use super::retry::Attempts;
use super::transport::{Call, text};
use crate::{Descriptor, DigestWriter, Reference};

/// A blob on its way. It is what its descriptor says once [`BlobReader::next`] returned `None`, and not before.
pub struct BlobReader {
    client: Client,
    call: Call,
    blob: Descriptor,
    response: Option<Response>,
    /// Bytes at the start of the answer that came before the last cut.
    skip: u64,
    digest: Option<DigestWriter<io::Sink>>,
    offset: u64,
    attempts: Attempts,
    /// Whether bytes came since the last fault.
    moved: bool,
    meter: Meter,
    _permit: OwnedSemaphorePermit,
}

impl Client {
    /// Reads a blob of the repository of `reference`. Waits for its turn: a reader counts as a blob on its way until
    /// it is dropped.
    pub async fn pull_blob(
        &self,
        reference: &Reference,
        blob: &Descriptor,
    ) -> Result<BlobReader, RegistryError> {
        let action = Action::ReadBlob(blob.digest);
        let repository = self.repository(reference, &action)?;
        let url = repository
            .host
            .url(&repository.name, &format!("blobs/{}", blob.digest));
        let permit = self
            .blobs_owned()
            .acquire_owned()
            .await
            .expect("nobody closes the semaphore");
        Ok(BlobReader {
            client: self.clone(),
            call: Call::new(&repository, &action, (Method::GET, url), &[200, 206]),
            blob: blob.clone(),
            response: None,
            skip: 0,
            digest: Some(DigestWriter::new(io::sink())),
            offset: 0,
            attempts: Attempts::new(self.options().retry),
            moved: false,
            meter: Meter::new(std::sync::Arc::clone(&self.observer), blob),
            _permit: permit,
        })
    }
}

impl BlobReader {
    /// The next bytes; `None` after the last, once the digest of them all is right.
    pub async fn next(&mut self) -> Result<Option<Bytes>, RegistryError> {
        while self.offset < self.blob.size {
            match self.try_next().await {
                Ok(Some(piece)) => return Ok(Some(piece)),
                Ok(None) => {}
                Err(error) => {
                    self.response = None;
                    if std::mem::take(&mut self.moved) {
                        self.attempts.progressed();
                    }
                    self.attempts.after(error).await?;
                }
            }
        }
        if let Some(digest) = self.digest.take() {
            self.finish(digest)?;
        }
        Ok(None)
    }

    /// The pieces as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, RegistryError>> + Send {
        try_unfold(self, |mut reader| async move {
            Ok(reader.next().await?.map(|piece| (piece, reader)))
        })
    }

    /// Some new bytes; `None` for bytes that were known.
    async fn try_next(&mut self) -> Result<Option<Bytes>, RegistryError> {
        let mut response = match self.response.take() {
            Some(response) => response,
            None => self.open().await?,
        };
        let Some(mut piece) = self.client.read_piece(&self.call, &mut response).await? else {
            let cut = io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{} of {} bytes came", self.offset, self.blob.size),
            );
            return Err(self.call.error(ErrorKind::Unreachable).because(cut));
        };
        self.response = Some(response);
        let known = self.skip.min(piece.len() as u64);
        self.skip -= known;
        let piece = piece.split_off(usize::try_from(known).unwrap_or(piece.len()));
        if piece.is_empty() {
            return Ok(None);
        }
        let length = piece.len() as u64;
        if length > self.blob.size - self.offset {
            let message = format!(
                "the blob is larger than the {} bytes it should have",
                self.blob.size
            );
            return Err(self.call.protocol(message));
        }
        if let Some(digest) = &mut self.digest {
            digest.write_all(&piece).expect("a sink takes everything");
        }
        self.offset += length;
        self.moved = true;
        self.meter.moved(length);
        Ok(Some(piece))
    }

    /// Asks for what is missing. The registry is asked each time: addresses of object stores expire.
    async fn open(&mut self) -> Result<Response, RegistryError> {
        self.call.headers.remove(RANGE);
        if self.offset > 0 {
            let range = format!("bytes={}-", self.offset);
            let range = HeaderValue::try_from(range).expect("digits are ASCII");
            self.call.headers.insert(RANGE, range);
        }
        let response = self.client.send(&self.call).await?;
        let (expected, skip) = if response.status() == StatusCode::PARTIAL_CONTENT {
            let start = content_start(text(response.headers(), CONTENT_RANGE.as_str()));
            if start != Some(self.offset) {
                return Err(self
                    .call
                    .protocol("the answer is another part than the one asked for"));
            }
            (self.blob.size - self.offset, 0)
        } else {
            (self.blob.size, self.offset)
        };
        let length = text(response.headers(), CONTENT_LENGTH.as_str());
        if length.parse().is_ok_and(|length: u64| length != expected) {
            let message = format!("the answer has {length} bytes instead of {expected}");
            return Err(self.call.protocol(message));
        }
        self.skip = skip;
        Ok(response)
    }

    fn finish(&mut self, digest: DigestWriter<io::Sink>) -> Result<(), RegistryError> {
        self.response = None;
        let (_, actual, _) = digest.finish();
        if actual != self.blob.digest {
            return Err(self.call.error(ErrorKind::Digest {
                expected: self.blob.digest,
                actual: actual.to_string(),
            }));
        }
        self.meter.ended(Outcome::Downloaded);
        Ok(())
    }
}
