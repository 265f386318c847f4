//! A way to Redis that loses an answer when it is told to.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(crate) struct Proxy {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    server: u16,
    /// What an answer has in it that may be lost.
    answer: &'static [u8],
    armed: AtomicBool,
    cuts: AtomicUsize,
}

impl Proxy {
    pub(crate) async fn start(server: u16, answer: &'static [u8]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            server,
            answer,
            armed: AtomicBool::new(false),
            cuts: AtomicUsize::new(0),
        });
        let serving = shared.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serving.clone().pass(client));
            }
        });
        Self { port, shared }
    }

    /// The next such answer does not arrive, and ends its connection.
    pub(crate) fn cut_once(&self) {
        self.shared.armed.store(true, Ordering::SeqCst);
    }

    /// How many were lost.
    pub(crate) fn cuts(&self) -> usize {
        self.shared.cuts.load(Ordering::SeqCst)
    }
}

impl Shared {
    async fn pass(self: Arc<Self>, client: TcpStream) {
        let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.server)).await else {
            return;
        };
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let answers = async {
            let mut buffer = vec![0; 1 << 16];
            loop {
                let Ok(length @ 1..) = from_server.read(&mut buffer).await else {
                    return;
                };
                let answer = &buffer[..length];
                let matches = answer
                    .windows(self.answer.len())
                    .any(|part| part == self.answer);
                if matches && self.armed.swap(false, Ordering::SeqCst) {
                    self.cuts.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                if to_client.write_all(answer).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = answers => {}
            _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
        }
    }
}
