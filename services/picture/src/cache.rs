//! The picture on disk, so that a restart need not fetch it again.
//!
//! One file: a line of JSON that describes the picture, then its bytes. It is
//! replaced by a rename, so a crash leaves the old one or the new one, and read
//! with suspicion.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::picture::{Kind, Picture};

const VERSION: u32 = 1;

/// The file for the picture of one source.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
    source: String,
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
    pub(crate) fn new(folder: PathBuf, source: String) -> Self {
        Self { folder, source }
    }

    /// The picture that was stored last; none where there is none, where it is
    /// of another source, or where the file is damaged.
    pub(crate) async fn load(&self) -> Option<Picture> {
        let cache = self.clone();
        let content = tokio::task::spawn_blocking(move || fs::read(cache.file()))
            .await
            .ok()?;
        match content {
            Ok(content) => kept(&Bytes::from(content), &self.source),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(error = error.to_string(), "the kept picture cannot be read");
                None
            }
        }
    }

    /// Stores a picture in place of the last one.
    pub(crate) async fn store(&self, picture: &Picture) -> io::Result<()> {
        let (cache, picture) = (self.clone(), picture.clone());
        let store = move || {
            fs::create_dir_all(&cache.folder)?;
            write(&cache.file(), &encode(&picture, &cache.source))
        };
        tokio::task::spawn_blocking(store)
            .await
            .map_err(io::Error::other)?
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
    let next = path.with_extension("next");
    let mut file = File::create(&next)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&next, path)
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

    #[tokio::test]
    async fn gives_back_what_was_stored() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("new"), "s".into());
        assert_eq!(cache.load().await, None);
        cache.store(&picture()).await.unwrap();
        assert_eq!(cache.load().await, Some(picture()));
        let other = Cache::new(folder.path().join("new"), "t".into());
        assert_eq!(other.load().await, None, "of another source");
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
