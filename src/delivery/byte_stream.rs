//! Between code that blocks, on threads of its own, and streams: what a writer writes is sent, what comes is read.

use std::io::{self, BufWriter, Read, Write};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use futures_util::stream::{self, Stream};
use tokio::sync::mpsc::{self, Receiver, Sender};

use crate::image::progress::Task;

use super::moved::Bytes as Size;
use crate::image::background::blocking;

const CHUNK: usize = 256 * 1024;
/// Chunks between the thread and the receiver.
const QUEUE: usize = 4;
/// A terminal shows no more.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// What `write` writes. It runs on a thread for blocking work and ends with `BrokenPipe` once nobody reads.
pub(super) fn written_by<F>(write: F) -> impl Stream<Item = io::Result<Bytes>> + Send + Unpin
where
    F: FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(QUEUE);
    tokio::task::spawn_blocking(move || {
        let mut writer = BufWriter::with_capacity(CHUNK, ChannelWriter(sender.clone()));
        let written = write(&mut writer).and_then(|()| writer.flush());
        // What is left in the buffer of a writer that failed is not to follow its error.
        let _ = writer.into_parts();
        if let Err(error) = written {
            // A receiver that is gone has its own reason.
            sender.blocking_send(Err(error)).ok();
        }
    });
    Box::pin(stream::unfold(receiver, |mut receiver| async move {
        let chunk = receiver.recv().await?;
        Some((chunk, receiver))
    }))
}

/// Gives `read` the bytes of a stream as they come; it runs on a thread for blocking work and may end early.
pub(super) async fn read_by<T: Send + 'static>(
    mut stream: impl Stream<Item = io::Result<Bytes>> + Unpin,
    read: impl FnOnce(&mut dyn Read) -> T + Send + 'static,
) -> T {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let reading = blocking(move || {
        read(&mut ChannelReader {
            receiver,
            rest: Bytes::new(),
        })
    });
    let sending = async move {
        while let Some(chunk) = stream.next().await {
            if sender.send(chunk).await.is_err() {
                break;
            }
        }
    };
    tokio::join!(sending, reading).1
}

struct ChannelReader {
    receiver: Receiver<io::Result<Bytes>>,
    rest: Bytes,
}

impl Read for ChannelReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.receiver.blocking_recv() {
                None => return Ok(0),
                Some(chunk) => self.rest = chunk?,
            }
        }
        let length = buffer.len().min(self.rest.len());
        self.rest.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

struct ChannelWriter(Sender<io::Result<Bytes>>);

impl Write for ChannelWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let buffer = &buffer[..buffer.len().min(CHUNK)];
        self.0
            .blocking_send(Ok(Bytes::copy_from_slice(buffer)))
            .map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Tells a task how many bytes went by.
pub(super) struct Meter<'a> {
    task: &'a Task<'a>,
    total: u64,
    sent: u64,
    told: Option<Instant>,
}

impl<'a> Meter<'a> {
    /// Of about `total` bytes.
    pub(super) fn new(task: &'a Task<'a>, total: u64) -> Self {
        Self {
            task,
            total,
            sent: 0,
            told: None,
        }
    }

    /// Counts.
    pub(super) fn add(&mut self, bytes: usize) {
        self.sent += bytes as u64;
        if self
            .told
            .is_none_or(|told| told.elapsed() >= PROGRESS_INTERVAL)
        {
            self.told = Some(Instant::now());
            // Headers and padding go on top of what was announced.
            let total = self.total.max(self.sent);
            self.task
                .progress(format!("{} of {}", Size(self.sent), Size(total)));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;

    use super::*;

    #[tokio::test]
    async fn everything_arrives_in_order() {
        let content: Vec<u8> = (0..=255).cycle().take(3 * CHUNK + 7).collect();
        let expected = content.clone();
        let chunks: Vec<Bytes> = written_by(move |writer| writer.write_all(&content))
            .try_collect()
            .await
            .unwrap();
        assert_eq!(chunks.concat(), expected);
        assert!(chunks.len() >= 3);
    }

    #[tokio::test]
    async fn an_error_comes_last() {
        let mut stream = written_by(|writer| {
            writer.write_all(b"half")?;
            Err(io::Error::other("torn"))
        });
        let mut found = Vec::new();
        while let Some(chunk) = stream.next().await {
            found.push(chunk.map_err(|error| error.to_string()));
        }
        assert_eq!(found, [Err("torn".to_owned())]);
    }

    #[tokio::test]
    async fn a_stream_is_read_to_its_end_or_its_error() {
        let chunks = |last| {
            let chunks = [Ok(Bytes::from_static(b"ab")), Ok(Bytes::new()), last];
            stream::iter(chunks)
        };
        let read = |stream| {
            read_by(stream, |reader| {
                let mut content = String::new();
                let result = reader.read_to_string(&mut content);
                result.map_err(|error| error.to_string()).map(|_| content)
            })
        };
        let whole = read(chunks(Ok(Bytes::from_static(b"c")))).await;
        assert_eq!(whole, Ok("abc".to_owned()));
        let torn = read(chunks(Err(io::Error::other("torn")))).await;
        assert_eq!(torn, Err("torn".to_owned()));
        let endless = stream::repeat_with(|| Ok(Bytes::from_static(&[0; 1024])));
        assert_eq!(read_by(endless, |_| "early").await, "early");
    }

    #[tokio::test]
    async fn a_writer_without_a_reader_ends() {
        let (told, heard) = tokio::sync::oneshot::channel();
        let stream = written_by(move |writer| {
            let result = (0..).try_for_each(|_| writer.write_all(&[0; CHUNK]));
            told.send(result.as_ref().unwrap_err().kind()).ok();
            result
        });
        drop(stream);
        assert_eq!(heard.await.unwrap(), io::ErrorKind::BrokenPipe);
    }
}
