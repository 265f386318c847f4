//! Fetching files whose size and hash are known, and small ones that are signed.
//!
//! Connections break and mirrors stumble: what came stays, and the rest is asked
//! for again. What a server says for good (404, 403) is not repeated.

use std::io::{self, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt;
use oci_image::{Digest, DigestWriter};
use reqwest::header::{CONTENT_RANGE, RANGE, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode};
use tempfile::NamedTempFile;

use crate::cache::{Cache, CacheError, failed};

/// How often a file is tried before giving up.
const ATTEMPTS: u32 = 5;

/// A server may ask for a longer pause, but it does not get it.
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// Why a file did not come.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The archive does not have it.
    #[error("{url} is not there (404)")]
    NotFound {
        /// The address.
        url: String,
    },
    /// The server refused, again and again where that may help.
    #[error("{url} was answered with {status}")]
    Status {
        /// The address.
        url: String,
        /// The last answer.
        status: StatusCode,
    },
    /// The server could not be reached, or went away, again and again.
    #[error("failed to fetch {url}")]
    Network {
        /// The address.
        url: String,
        /// The last cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The content is not what the signed index announces.
    #[error(
        "{url} is not what the signed index announces: {actual} ({actual_size} bytes) \
         instead of {expected} ({expected_size} bytes)"
    )]
    Mismatch {
        /// The address.
        url: String,
        /// The hash of the index.
        expected: Digest,
        /// The size of the index.
        expected_size: u64,
        /// What came.
        actual: Digest,
        /// How much came; at most one byte more than expected.
        actual_size: u64,
    },
    /// A file that should be small is not.
    #[error("{url} is larger than {limit} bytes")]
    TooLarge {
        /// The address.
        url: String,
        /// How much is read at most.
        limit: usize,
    },
    /// The cache failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// The content that is expected.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

/// A client with what all requests have in common.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    client: Client,
    /// Before the second attempt; doubled before every further one.
    pause: Duration,
}

/// What an attempt ended with when it may be repeated.
enum Cut {
    Status(StatusCode, Option<Duration>),
    Network(Box<dyn std::error::Error + Send + Sync>),
}

impl Http {
    /// Proxies are those of the environment (`http_proxy`, `https_proxy`, `no_proxy`).
    pub(crate) fn new(pause: Duration) -> reqwest::Result<Self> {
        let client = Client::builder()
            .user_agent(concat!("stackctl/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(15))
            .read_timeout(Duration::from_secs(30))
            .build()?;
        Ok(Self { client, pause })
    }

    /// A file of at most `limit` bytes.
    pub(crate) async fn small(&self, url: &str, limit: usize) -> Result<Vec<u8>, FetchError> {
        let mut attempt = 1;
        loop {
            let cut = match self.ask(url, 0).await? {
                Ok(response) => match collect(response, limit).await {
                    Ok(Some(bytes)) => return Ok(bytes),
                    Ok(None) => {
                        let url = url.to_owned();
                        return Err(FetchError::TooLarge { url, limit });
                    }
                    Err(error) => Cut::Network(error.into()),
                },
                Err(cut) => cut,
            };
            self.pause_after(cut, &mut attempt, url).await?;
        }
    }

    /// A file of known content, put into the cache under `target`. `arrived` is
    /// told of bytes as they come, and of those that count no more as negative numbers.
    pub(crate) async fn verified(
        &self,
        url: &str,
        expected: Expected,
        (cache, target): (&Cache, PathBuf),
        arrived: &(dyn Fn(i64) + Sync),
    ) -> Result<(), FetchError> {
        let mut partial = Partial::new(cache)?;
        let (mut attempt, mut mismatches) = (1, 0);
        loop {
            let cut = match self.ask(url, partial.have).await? {
                Ok(response) => {
                    if !continues(&response, partial.have) {
                        partial.restart(arrived).map_err(failed("write", &target))?;
                    }
                    match partial.receive(response, expected.size, arrived).await {
                        Ok(()) => None,
                        Err(Received::Disk(source)) => {
                            return Err(failed("write", &target)(source).into());
                        }
                        Err(Received::Cut(error)) => Some(Cut::Network(error)),
                    }
                }
                Err(cut) => Some(cut),
            };
            if let Some(cut) = cut {
                self.pause_after(cut, &mut attempt, url).await?;
                continue;
            }
            let (actual, actual_size) = partial.digest();
            if (actual, actual_size) == (expected.digest, expected.size) {
                return Ok(cache.keep(partial.file, &target)?);
            }
            // Put together from two states of the file, or damaged on the way: once more, from the start.
            mismatches += 1;
            if mismatches > 1 {
                return Err(mismatch(url, expected, (actual, actual_size)));
            }
            partial.restart(arrived).map_err(failed("write", &target))?;
        }
    }

    /// The response, from byte `start` on if the server can; the outer error is final.
    async fn ask(&self, url: &str, start: u64) -> Result<Result<Response, Cut>, FetchError> {
        let mut request = self.client.get(url);
        if start > 0 {
            request = request.header(RANGE, format!("bytes={start}-"));
        }
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) if error.is_builder() => {
                return Err(FetchError::Network {
                    url: url.to_owned(),
                    source: error.without_url().into(),
                });
            }
            Err(error) => return Ok(Err(Cut::Network(error.without_url().into()))),
        };
        let status = response.status();
        let url = url.to_owned();
        match status {
            StatusCode::NOT_FOUND | StatusCode::GONE => Err(FetchError::NotFound { url }),
            // All was there before the end was noticed: hash and size decide.
            StatusCode::RANGE_NOT_SATISFIABLE if start > 0 => Ok(Ok(response)),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                Ok(Err(Cut::Status(status, retry_after(&response))))
            }
            status if status.is_server_error() => {
                Ok(Err(Cut::Status(status, retry_after(&response))))
            }
            status if status.is_success() => Ok(Ok(response)),
            status => Err(FetchError::Status { url, status }),
        }
    }

    async fn pause_after(&self, cut: Cut, attempt: &mut u32, url: &str) -> Result<(), FetchError> {
        let url = url.to_owned();
        if *attempt >= ATTEMPTS {
            return Err(match cut {
                Cut::Status(status, _) => FetchError::Status { url, status },
                Cut::Network(source) => FetchError::Network { url, source },
            });
        }
        let pause = self.pause * 2u32.pow(*attempt - 1);
        let wanted = match &cut {
            Cut::Status(_, wanted) => wanted.unwrap_or_default(),
            Cut::Network(error) => {
                tracing::debug!(%url, attempt, %error, "the connection was cut");
                Duration::ZERO
            }
        };
        tokio::time::sleep(pause.max(wanted).min(LONGEST_PAUSE)).await;
        *attempt += 1;
        Ok(())
    }
}

async fn collect(response: Response, limit: usize) -> reqwest::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let mut stream = response.bytes_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(reqwest::Error::without_url)?;
        if bytes.len() + chunk.len() > limit {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some(bytes))
}

/// What has come so far.
struct Partial {
    file: NamedTempFile,
    have: u64,
    hasher: DigestWriter<io::Sink>,
}

enum Received {
    Disk(io::Error),
    Cut(Box<dyn std::error::Error + Send + Sync>),
}

impl Partial {
    fn new(cache: &Cache) -> Result<Self, CacheError> {
        Ok(Self {
            file: cache.temporary()?,
            have: 0,
            hasher: DigestWriter::new(io::sink()),
        })
    }

    /// Forgets what has come.
    fn restart(&mut self, arrived: &(dyn Fn(i64) + Sync)) -> io::Result<()> {
        arrived(-signed(self.have));
        self.have = 0;
        self.hasher = DigestWriter::new(io::sink());
        let file = self.file.as_file_mut();
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0)).map(drop)
    }

    /// Appends the body; a byte more than `size` is enough to see that it is wrong.
    async fn receive(
        &mut self,
        response: Response,
        size: u64,
        arrived: &(dyn Fn(i64) + Sync),
    ) -> Result<(), Received> {
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            return Ok(());
        }
        let mut stream = response.bytes_stream();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| Received::Cut(error.without_url().into()))?;
            let rest = usize::try_from((size + 1).saturating_sub(self.have)).unwrap_or(usize::MAX);
            let part = &chunk[..chunk.len().min(rest)];
            let file = self.file.as_file_mut();
            file.write_all(part)
                .and_then(|()| self.hasher.write_all(part))
                .map_err(Received::Disk)?;
            self.have += part.len() as u64;
            arrived(signed(part.len() as u64));
            if self.have > size {
                return Ok(());
            }
        }
        match self.have < size {
            // A server that closes early without saying how much was to come.
            true => Err(Received::Cut(
                format!("only {} of {size} bytes came", self.have).into(),
            )),
            false => Ok(()),
        }
    }

    /// Of all that has come; the next bytes begin anew.
    fn digest(&mut self) -> (Digest, u64) {
        let hasher = std::mem::replace(&mut self.hasher, DigestWriter::new(io::sink()));
        let (_, digest, size) = hasher.finish();
        (digest, size)
    }
}

/// Whether the body goes on where the last one was cut.
fn continues(response: &Response, have: u64) -> bool {
    if have == 0 || response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
        return true;
    }
    let range = response.headers().get(CONTENT_RANGE);
    response.status() == StatusCode::PARTIAL_CONTENT
        && range
            .and_then(|range| range.to_str().ok())
            .is_some_and(|range| range.starts_with(&format!("bytes {have}-")))
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    Some(Duration::from_secs(seconds.parse().ok()?))
}

fn mismatch(url: &str, expected: Expected, (actual, actual_size): (Digest, u64)) -> FetchError {
    FetchError::Mismatch {
        url: url.to_owned(),
        expected: expected.digest,
        expected_size: expected.size,
        actual,
        actual_size,
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
