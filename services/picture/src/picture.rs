//! A picture and what is known of it.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::whole;

/// A picture, as it is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// What its bytes are.
    pub kind: Kind,
    /// The picture itself.
    pub bytes: Bytes,
    /// Of the bytes, without quotes.
    pub etag: String,
    /// When it was fetched.
    pub made: SystemTime,
}

/// What a picture may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `image/png`
    Png,
    /// `image/jpeg`
    Jpeg,
    /// `image/gif`
    Gif,
    /// `image/webp`
    WebP,
}

impl Picture {
    pub(crate) fn new(kind: Kind, bytes: Bytes, made: SystemTime) -> Self {
        Self {
            kind,
            etag: hash(&bytes),
            bytes,
            made,
        }
    }

    /// How much of its time is left. None for one from the future: the clock
    /// was set back, and it could stay for years.
    pub(crate) fn remaining(&self, ttl: Duration, now: SystemTime) -> Duration {
        match now.duration_since(self.made) {
            Ok(age) => ttl.saturating_sub(age),
            Err(_) => Duration::ZERO,
        }
    }
}

impl Kind {
    const ALL: [Self; 4] = [Self::Png, Self::Jpeg, Self::Gif, Self::WebP];

    /// What the first bytes say, whatever a server claims.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(Self::Png),
            [0xff, 0xd8, 0xff, ..] => Some(Self::Jpeg),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(Self::Gif),
            [
                b'R',
                b'I',
                b'F',
                b'F',
                _,
                _,
                _,
                _,
                b'W',
                b'E',
                b'B',
                b'P',
                ..,
            ] => Some(Self::WebP),
            _ => None,
        }
    }

    /// Whether a file of this kind is all there, as far as can be told without decoding it.
    pub fn is_whole(self, file: &[u8]) -> bool {
        whole::is_whole(self, file)
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Gif => "image/gif",
            Self::WebP => "image/webp",
        }
    }

    pub(crate) fn from_content_type(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.content_type() == text)
    }
}

/// 128 bits of SHA-256 in hex: enough to tell pictures apart.
pub(crate) fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .take(16)
        .fold(String::with_capacity(32), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_by_content() {
        assert_eq!(Kind::of(b"\x89PNG\r\n\x1a\n...."), Some(Kind::Png));
        assert_eq!(Kind::of(b"\xff\xd8\xff\xe0"), Some(Kind::Jpeg));
        assert_eq!(Kind::of(b"GIF89a.."), Some(Kind::Gif));
        assert_eq!(Kind::of(b"RIFF\0\0\0\0WEBPVP8 "), Some(Kind::WebP));
        for other in [
            &b""[..],
            b"<svg>",
            b"<html>",
            b"RIFF\0\0\0\0WAVE",
            b"\x89PN",
        ] {
            assert_eq!(Kind::of(other), None);
        }
    }

    #[test]
    fn time_runs_out() {
        let made = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let picture = Picture::new(Kind::Png, Bytes::new(), made);
        let ttl = Duration::from_secs(10);
        for (now, left) in [(1000, 10), (1004, 6), (1010, 0), (5000, 0), (999, 0)] {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
            assert_eq!(picture.remaining(ttl, now), Duration::from_secs(left));
        }
    }

    #[test]
    fn the_hash_is_the_start_of_sha_256() {
        assert_eq!(hash(b"abc"), "ba7816bf8f01cfea414140de5dae2223");
    }
}
