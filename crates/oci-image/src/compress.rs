//! How layers are compressed: the same content always gives the same bytes, and reading has an end.

use std::io::{self, BufRead, BufReader, Read, Write};

use flate2::GzBuilder;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use crate::media_type;

/// zstd's own default.
const ZSTD_LEVEL: i32 = 3;
/// Two thirds of the default's time for two hundredths more bytes: somebody waits for a layer each time it is made.
const GZIP_LEVEL: u32 = 3;
/// gzip's header has a byte for the operating system; 255 is "unknown".
const GZIP_UNKNOWN_SYSTEM: u8 = 255;
/// Frames that need more memory than this to be read (128 MiB, as the `zstd` program has it) are refused.
const ZSTD_WINDOW_LOG: u32 = 27;

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Compression {
    /// As it is.
    None,
    /// gzip, which everything reads.
    Gzip,
    /// zstd, twice as fast and smaller; Docker reads it since 23.0 and containerd since 1.5.
    Zstd,
}

impl Compression {
    /// The media type of a layer.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::None => media_type::LAYER,
            Self::Gzip => media_type::LAYER_GZIP,
            Self::Zstd => media_type::LAYER_ZSTD,
        }
    }

    /// By the first bytes of the content; four are enough. What is not compressed is no error here.
    #[must_use]
    pub fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            // A frame to be skipped may come first; estargz' relatives begin so.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// Compresses what is written to it. Only [`Compressor::finish`] makes it whole.
pub struct Compressor<W: Write>(Encoder<W>);

enum Encoder<W: Write> {
    None(W),
    Gzip(GzEncoder<W>),
    Zstd(zstd::Encoder<'static, W>),
}

impl<W: Write> Compressor<W> {
    /// Compresses to `inner`.
    pub fn new(inner: W, compression: Compression) -> io::Result<Self> {
        Ok(Self(match compression {
            Compression::None => Encoder::None(inner),
            Compression::Gzip => Encoder::Gzip(
                GzBuilder::new()
                    .mtime(0)
                    .operating_system(GZIP_UNKNOWN_SYSTEM)
                    .write(inner, flate2::Compression::new(GZIP_LEVEL)),
            ),
            Compression::Zstd => Encoder::Zstd(zstd::Encoder::new(inner, ZSTD_LEVEL)?),
        }))
    }

    /// Writes what is left and gives the writer back.
    pub fn finish(self) -> io::Result<W> {
        match self.0 {
            Encoder::None(inner) => Ok(inner),
            Encoder::Gzip(encoder) => encoder.finish(),
            Encoder::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Encoder::None(inner) => inner.write(bytes),
            Encoder::Gzip(encoder) => encoder.write(bytes),
            Encoder::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Encoder::None(inner) => inner.flush(),
            Encoder::Gzip(encoder) => encoder.flush(),
            Encoder::Zstd(encoder) => encoder.flush(),
        }
    }
}

/// Why reading stopped: the inner error of the [`io::Error`] a [`Decompressor`] gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the decompressed content is longer than {limit} bytes")]
pub struct TooLong {
    /// In bytes.
    pub limit: u64,
}

/// Decompresses whatever its content shows to be compressed, up to a limit: one byte more is an error, so that a small
/// blob cannot fill disk or memory.
pub struct Decompressor<R: Read> {
    inner: Decoder<R>,
    compression: Compression,
    limit: u64,
    left: u64,
}

enum Decoder<R: Read> {
    None(Start<R>),
    Gzip(Box<MultiGzDecoder<BufReader<Start<R>>>>),
    Zstd(zstd::Decoder<'static, BufReader<Start<R>>>),
}

/// The bytes that were looked at, then the rest.
type Start<R> = io::Chain<io::Cursor<Vec<u8>>, R>;

impl<R: Read> Decompressor<R> {
    /// Looks at the first bytes; gives at most `limit` decompressed ones.
    pub fn new(mut inner: R, limit: u64) -> io::Result<Self> {
        let mut start = Vec::with_capacity(4);
        inner.by_ref().take(4).read_to_end(&mut start)?;
        let compression = Compression::of(&start);
        let whole = io::Cursor::new(start).chain(inner);
        let inner = match compression {
            Compression::None => Decoder::None(whole),
            Compression::Gzip => {
                Decoder::Gzip(Box::new(MultiGzDecoder::new(BufReader::new(whole))))
            }
            Compression::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(BufReader::new(whole))?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Decoder::Zstd(decoder)
            }
        };
        Ok(Self {
            inner,
            compression,
            limit,
            left: limit,
        })
    }

    /// What was found.
    #[must_use]
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Reads to the end of what is compressed and of what lies below, which checks both; the number of decompressed
    /// bytes that were left. gzip and zstd may stop before the last byte below.
    pub fn drain(mut self) -> io::Result<(u64, R)> {
        let rest = io::copy(&mut self, &mut io::sink())?;
        let mut below = match self.inner {
            Decoder::None(whole) => whole,
            Decoder::Gzip(decoder) => unbuffered(decoder.into_inner())?,
            Decoder::Zstd(decoder) => unbuffered(decoder.finish())?,
        };
        if io::copy(&mut below, &mut io::sink())? > 0 {
            return Err(trailing());
        }
        Ok((rest, below.into_inner().1))
    }
}

impl<R: Read> Read for Decompressor<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // One more than is left, to tell the end from more.
        let allowed = usize::try_from(self.left.saturating_add(1)).unwrap_or(usize::MAX);
        let length = buffer.len().min(allowed);
        let buffer = &mut buffer[..length];
        let read = match &mut self.inner {
            Decoder::None(inner) => inner.read(buffer),
            Decoder::Gzip(decoder) => decoder.read(buffer),
            Decoder::Zstd(decoder) => decoder.read(buffer),
        }?;
        match self.left.checked_sub(read as u64) {
            Some(left) => self.left = left,
            None => {
                let too_long = TooLong { limit: self.limit };
                return Err(io::Error::new(io::ErrorKind::InvalidData, too_long));
            }
        }
        Ok(read)
    }
}

fn unbuffered<R: Read>(mut buffered: BufReader<R>) -> io::Result<R> {
    if buffered.fill_buf()?.is_empty() {
        Ok(buffered.into_inner())
    } else {
        Err(trailing())
    }
}

fn trailing() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "more bytes follow the compressed content",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;

    const ALL: [Compression; 3] = [Compression::None, Compression::Gzip, Compression::Zstd];

    fn compress(compression: Compression, content: &[u8]) -> Vec<u8> {
        let mut compressor = Compressor::new(Vec::new(), compression).unwrap();
        compressor.write_all(content).unwrap();
        compressor.finish().unwrap()
    }

    fn decompress(bytes: &[u8], limit: u64) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        let mut decompressor = Decompressor::new(bytes, limit)?;
        decompressor.read_to_end(&mut content)?;
        decompressor.drain()?;
        Ok(content)
    }

    #[test]
    fn what_is_compressed_comes_back_and_shows_what_it_is() {
        for content in [&b""[..], b"abc", &b"text and more ".repeat(100_000)] {
            for compression in ALL {
                let bytes = compress(compression, content);
                assert_eq!(Compression::of(&bytes), compression);
                assert_eq!(decompress(&bytes, 10 << 20).unwrap(), content);
            }
        }
    }

    /// Golden: a change here changes the digest of every layer, so raise the format version of the input digest too.
    /// A new version of zstd or zlib-rs may make such a change; another processor may not.
    #[test]
    fn the_bytes_are_fixed() {
        let content: Vec<u8> = (0..200_000u32)
            .flat_map(|n| n.wrapping_mul(n).to_le_bytes())
            .collect();
        let gzip = compress(Compression::Gzip, &content);
        assert_eq!(
            gzip[..10],
            [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255],
            "no name, no time"
        );
        for (compression, digest) in
            ALL.into_iter()
                .zip(["a9ce9d98379e8208", "56d3c8d5ceeabcd0", "6eefb42d87314a8b"])
        {
            let whole = compress(compression, &content);
            assert_eq!(Digest::of(&whole).hex()[..16], *digest, "{compression:?}");
            let mut pieces = Compressor::new(Vec::new(), compression).unwrap();
            content
                .chunks(777)
                .for_each(|piece| pieces.write_all(piece).unwrap());
            let pieces = pieces.finish().unwrap();
            assert_eq!(Digest::of(&pieces), Digest::of(&whole), "{compression:?}");
        }
    }

    #[test]
    fn a_bomb_ends_at_the_limit() {
        let zeros = vec![0; 4 << 20];
        for compression in ALL {
            let bomb = compress(compression, &zeros);
            let error = decompress(&bomb, 1 << 20).unwrap_err();
            let reason = error.downcast::<TooLong>().unwrap();
            assert_eq!(reason.limit, 1 << 20);
            assert_eq!(
                decompress(&bomb, 4 << 20).unwrap().len(),
                4 << 20,
                "exactly the limit"
            );
        }
    }

    #[test]
    fn what_is_cut_off_or_damaged_or_followed_by_more_is_an_error() {
        let content = b"text and more ".repeat(1000);
        for compression in [Compression::Gzip, Compression::Zstd] {
            let bytes = compress(compression, &content);
            assert!(decompress(&bytes[..bytes.len() - 3], 1 << 20).is_err());
            let mut followed = bytes.clone();
            followed.extend_from_slice(b"something else");
            assert!(decompress(&followed, 1 << 20).is_err(), "{compression:?}");
            let twice = [bytes.clone(), bytes].concat();
            assert_eq!(
                decompress(&twice, 1 << 20).unwrap().len(),
                2 * content.len()
            );
        }
    }
}
