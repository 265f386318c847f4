//! Where the bytes of an upload come from.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use futures_util::stream::try_unfold;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// How much is read and sent at once.
const PIECE: u64 = 128 * 1024;

/// Content that can be read again from anywhere: an upload goes on where a connection broke.
pub trait BlobSource: Send + Sync {
    /// The bytes from `offset` on.
    fn open(&self, offset: u64) -> OpenFuture<'_>;
}

/// What [`BlobSource::open`] returns.
pub type OpenFuture<'a> =
    Pin<Box<dyn Future<Output = io::Result<Box<dyn AsyncRead + Send + Unpin>>> + Send + 'a>>;

impl BlobSource for Bytes {
    fn open(&self, offset: u64) -> OpenFuture<'_> {
        let start = usize::try_from(offset).map_or(self.len(), |offset| offset.min(self.len()));
        let rest = self.slice(start..);
        Box::pin(async move {
            let reader: Box<dyn AsyncRead + Send + Unpin> = Box::new(io::Cursor::new(rest));
            Ok(reader)
        })
    }
}

/// Exactly `length` bytes from `offset` on; a source that ends before is an error.
pub(super) fn pieces(
    source: Arc<dyn BlobSource>,
    offset: u64,
    length: u64,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    try_unfold(
        (source, None, length),
        move |(source, reader, left)| async move {
            if left == 0 {
                return Ok(None);
            }
            let mut reader = match reader {
                Some(reader) => reader,
                None => source.open(offset).await?,
            };
            let wanted = left.min(PIECE);
            let mut piece = BytesMut::with_capacity(usize::try_from(wanted).unwrap_or(0));
            let read = (&mut reader).take(wanted).read_buf(&mut piece).await? as u64;
            if read == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the content is shorter than its descriptor says",
                ));
            }
            Ok(Some((piece.freeze(), (source, Some(reader), left - read))))
        },
    )
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt as _;

    use super::*;

    async fn read(content: &'static [u8], offset: u64, length: u64) -> io::Result<Vec<u8>> {
        let source: Arc<dyn BlobSource> = Arc::new(Bytes::from_static(content));
        let pieces: Vec<Bytes> = pieces(source, offset, length).try_collect().await?;
        Ok(pieces.concat())
    }

    #[tokio::test]
    async fn a_part_is_read_and_no_more() {
        assert_eq!(read(b"abcdef", 2, 3).await.unwrap(), b"cde");
        assert_eq!(read(b"abcdef", 6, 0).await.unwrap(), b"");
        for (offset, length) in [(2, 5), (9, 1)] {
            let error = read(b"abcdef", offset, length).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }
}
