//! Archives on their way to the engine: written on a thread of their own while they are read.

use std::io::{self, Write};

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

const PIECE: usize = 256 * 1024;
const PIECES: usize = 8;

/// Where an archive is written; the reader's end is the stream.
pub(super) type Pieces = io::BufWriter<Sender>;

/// Runs `write` and streams what it writes; the handle tells how it ended. A reader that stops reading ends the
/// writer with `BrokenPipe`.
pub(super) fn archive<T: Send + 'static>(
    write: impl FnOnce(Pieces) -> T + Send + 'static,
) -> (impl Stream<Item = Bytes> + Send + 'static, JoinHandle<T>) {
    let (sender, receiver) = mpsc::channel(PIECES);
    let writing = tokio::task::spawn_blocking(move || {
        write(io::BufWriter::with_capacity(PIECE, Sender(sender)))
    });
    let pieces = futures_util::stream::unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    });
    (pieces, writing)
}

/// Passes every write on as one piece.
pub(super) struct Sender(mpsc::Sender<Bytes>);

impl Write for Sender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .blocking_send(Bytes::copy_from_slice(bytes))
            .map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
