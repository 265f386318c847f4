//! The picture on disk, so that a restart need not fetch it again.
//!
//! One file: a line of JSON that describes the picture, then its bytes. It is
//! replaced by a rename, so a crash leaves the old one or the new one, and read
//! with suspicion. A volume that hangs is waited for up to a limit.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use service_kit::chain;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::picture::{Kind, Picture};

const VERSION: u32 = 1;

/// The file for the picture of one source.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
    source: String,
    /// For each use of the folder.
    pub(crate) limit: Duration,
    /// Of whoever uses the folder, also when nobody waits for that any more.
    turn: Arc<Semaphore>,
}

/// The picture cannot be kept where it is to be.
#[derive(Debug, thiserror::Error)]
#[error("the folder {} cannot be used", folder.display())]
pub(crate) struct UnusableFolder {
    folder: PathBuf,
    #[source]
    source: io::Error,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    version: u32,
    source: String,
    content_type: String,
    etag: String,
    /// Milliseconds since 1970.
    made: u64,
}

impl Cache {
    /// Makes the folder, and tries whether it can be written. `source` names the source, `limit` is for each use of
    /// the volume.
    pub(crate) async fn open(
        folder: PathBuf,
        source: String,
        limit: Duration,
    ) -> Result<Self, UnusableFolder> {
        let cache = Self {
            folder,
            source,
            limit,
            turn: Arc::new(Semaphore::new(1)),
        };
        let tried = cache.run(|cache| {
            fs::create_dir_all(&cache.folder)?;
            // Not its size: a full volume is no reason not to start.
            File::create(cache.next()).map(drop)
        });
        match tried.await {
            Ok(()) => Ok(cache),
            Err(source) => Err(UnusableFolder {
                folder: cache.folder,
                source,
            }),
        }
    }

    /// The picture that was stored last; none where there is none, where it is
    /// of another source, or where the file is damaged.
    pub(crate) async fn load(&self) -> Option<Picture> {
        match self.run(|cache| fs::read(cache.file())).await {
            Ok(content) => kept(&Bytes::from(content), &self.source),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(error = chain(&error), "the kept picture cannot be read");
                None
            }
        }
    }

    /// Stores a picture in place of the last one.
    pub(crate) async fn store(&self, picture: &Picture) -> io::Result<()> {
        let picture = picture.clone();
        self.run(move |cache| {
            fs::create_dir_all(&cache.folder)?;
            let content = encode(&picture, &cache.source);
            write(&cache.next(), &content)?;
            fs::rename(cache.next(), cache.file())
        })
        .await
    }

    /// Uses the folder, when it is nobody else's turn: what hangs must not come between later when it goes on.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let cache = self.clone();
        let done = async move {
            let turn = Arc::clone(&cache.turn).acquire_owned().await;
            let work = move || {
                let _turn = turn.map_err(io::Error::other)?;
                work(&cache)
            };
            spawn_blocking(work).await.map_err(io::Error::other)?
        };
        match timeout(self.limit, done).await {
            Ok(result) => result,
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the volume does not answer",
            )),
        }
    }

    /// What is being written.
    fn next(&self) -> PathBuf {
        self.folder.join("picture.next")
    }

    fn file(&self) -> PathBuf {
        self.folder.join("picture")
    }
}

fn encode(picture: &Picture, source: &str) -> Vec<u8> {
    let made = picture.made.duration_since(UNIX_EPOCH).unwrap_or_default();
    let head = Head {
        version: VERSION,
        source: source.to_owned(),
        content_type: picture.kind.content_type().to_owned(),
        etag: picture.etag.clone(),
        made: made.as_millis() as u64,
    };
    let mut content = serde_json::to_vec(&head).expect("texts and numbers are JSON");
    content.push(b'\n');
    content.extend_from_slice(&picture.bytes);
    content
}

/// The picture that a file keeps; none where it is damaged, or of another source.
pub fn kept(content: &Bytes, source: &str) -> Option<Picture> {
    let end = content.iter().position(|byte| *byte == b'\n')?;
    let head: Head = serde_json::from_slice(&content[..end]).ok()?;
    let kind = Kind::from_content_type(&head.content_type)?;
    let made = UNIX_EPOCH.checked_add(Duration::from_millis(head.made))?;
    let picture = Picture::new(kind, content.slice(end + 1..), made);
    let whole = picture.etag == head.etag;
    (whole && head.version == VERSION && head.source == source).then_some(picture)
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn picture() -> Picture {
        let made = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        // A line break in the bytes must not end the head.
        Picture::new(Kind::Png, Bytes::from_static(b"a\nb"), made)
    }

    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn gives_back_what_was_stored() {
        let folder = tempfile::tempdir().unwrap();
        let open = |source: &str| {
            let cache = Cache::open(folder.path().join("new"), source.into(), LIMIT);
            async { cache.await.unwrap() }
        };
        let cache = open("s").await;
        assert_eq!(cache.load().await, None);
        cache.store(&picture()).await.unwrap();
        assert_eq!(cache.load().await, Some(picture()));
        assert_eq!(
            open("s").await.load().await,
            Some(picture()),
            "opened again"
        );
        assert_eq!(open("t").await.load().await, None, "of another source");
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_used() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Cache::open(file.join("new"), "s".into(), LIMIT)
            .await
            .unwrap_err();
        let expected = format!("the folder {} cannot be used", file.join("new").display());
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn damage_is_noticed() {
        let good = encode(&picture(), "s");
        assert!(kept(&Bytes::from(good.clone()), "s").is_some());
        for cut in 0..good.len() {
            assert_eq!(
                kept(&Bytes::copy_from_slice(&good[..cut]), "s"),
                None,
                "{cut}"
            );
        }
        let mut flipped = good;
        *flipped.last_mut().unwrap() ^= 1;
        assert_eq!(kept(&Bytes::from(flipped), "s"), None);
    }
}
