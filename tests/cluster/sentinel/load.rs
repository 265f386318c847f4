//! Clients of the service `counter`, each with a counter of its own, who remember what they were told.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

const CLIENTS: usize = 8;
/// Longer than the service takes at most.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// For the way to the service to be there, and its first answers.
const START_LIMIT: Duration = Duration::from_secs(30);
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(20);

/// Increments without end, one after the other for each client.
pub(super) struct Load {
    address: SocketAddr,
    clients: Vec<Arc<Client>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// What all clients were told together.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) acknowledged: u64,
    pub(super) unknown: u64,
}

struct Client {
    path: String,
    /// Increments that were answered with 200.
    acknowledged: AtomicU64,
    /// Increments that may have been counted.
    unknown: AtomicU64,
    silence: Mutex<Silence>,
}

/// How long no increment of a client was acknowledged.
struct Silence {
    last: Instant,
    longest: Duration,
}

enum Outcome {
    Counted,
    NotCounted,
    Unknown,
}

impl Load {
    pub(super) fn start(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let clients: Vec<Arc<Client>> = (0..CLIENTS).map(Client::new).map(Arc::new).collect();
        let threads = clients
            .iter()
            .map(|client| {
                let (client, stop) = (Arc::clone(client), Arc::clone(&stop));
                spawn(move || client.count(address, &stop))
            })
            .collect();
        Self {
            address,
            clients,
            stop,
            threads,
        }
    }

    /// Until every client has had an increment acknowledged.
    pub(super) fn wait_until_taken(&self) {
        let started = Instant::now();
        let taken = |client: &Arc<Client>| client.acknowledged.load(Ordering::SeqCst) > 0;
        while !self.clients.iter().all(taken) {
            assert!(started.elapsed() < START_LIMIT, "no increments are taken");
            sleep(Duration::from_millis(50));
        }
    }

    /// Forgets how long it was silent until now.
    pub(super) fn listen(&self) {
        for client in &self.clients {
            client.silence().longest = Duration::ZERO;
        }
    }

    /// The longest time that a client has gone without an acknowledgement since then; one that it still waits for counts.
    pub(super) fn silence(&self) -> Duration {
        let each = self.clients.iter().map(|client| {
            let silence = client.silence();
            silence.longest.max(silence.last.elapsed())
        });
        each.max().unwrap_or_default()
    }

    /// Ends the load, and compares what was acknowledged with what is counted.
    pub(super) fn finish(mut self) -> Told {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().expect("a client was told something else");
        }
        let mut told = Told::default();
        for client in &self.clients {
            let acknowledged = client.acknowledged.load(Ordering::SeqCst);
            let unknown = client.unknown.load(Ordering::SeqCst);
            let value = self.value(client);
            assert!(
                (acknowledged..=acknowledged + unknown).contains(&value),
                "{}: {value} counted, {acknowledged} acknowledged, {unknown} unknown",
                client.path
            );
            told.acknowledged += acknowledged;
            told.unknown += unknown;
        }
        told
    }

    fn value(&self, client: &Client) -> u64 {
        let mut connection = Connection::open(self.address).expect("the service answers");
        let answer = connection.ask("GET", &client.path);
        let (status, body) = answer.expect("the service answers");
        assert_eq!(status, 200, "{body}");
        let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        body["value"].as_u64().expect("a value")
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

impl Client {
    fn new(number: usize) -> Self {
        let silence = Silence {
            last: Instant::now(),
            longest: Duration::ZERO,
        };
        Self {
            path: format!("/counters/c{number}"),
            acknowledged: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            silence: Mutex::new(silence),
        }
    }

    fn count(&self, address: SocketAddr, stop: &AtomicBool) {
        let mut connection = None;
        while !stop.load(Ordering::SeqCst) {
            match self.increment(address, &mut connection) {
                Outcome::Counted => {
                    self.acknowledged.fetch_add(1, Ordering::SeqCst);
                    let mut silence = self.silence();
                    silence.longest = silence.longest.max(silence.last.elapsed());
                    silence.last = Instant::now();
                }
                Outcome::NotCounted => sleep(PAUSE_AFTER_FAILURE),
                Outcome::Unknown => {
                    self.unknown.fetch_add(1, Ordering::SeqCst);
                    sleep(PAUSE_AFTER_FAILURE);
                }
            }
        }
    }

    /// Connections are kept: thousands a second would use up the ports that the node translates them to.
    fn increment(&self, address: SocketAddr, kept: &mut Option<Connection>) -> Outcome {
        let open = kept.take().map_or_else(|| Connection::open(address), Ok);
        let Ok(mut connection) = open else {
            return Outcome::NotCounted;
        };
        let Ok((status, body)) = connection.ask("POST", &self.path) else {
            return Outcome::Unknown;
        };
        *kept = Some(connection);
        let is = |code: &str| body.contains(&format!("\"{code}\""));
        match status {
            200 => Outcome::Counted,
            503 if is("store-unavailable") => Outcome::NotCounted,
            503 if is("outcome-unknown") => Outcome::Unknown,
            _ => panic!("{status}: {body}"),
        }
    }

    fn silence(&self) -> std::sync::MutexGuard<'_, Silence> {
        self.silence.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// HTTP, as far as these requests need it.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Status and body.
    fn ask(&mut self, method: &str, path: &str) -> io::Result<(u16, String)> {
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: counter\r\nContent-Length: 0\r\n\r\n");
        self.0.get_mut().write_all(head.as_bytes())?;
        let status = self.line()?;
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
        let mut length = 0;
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        let body = String::from_utf8(body).map_err(io::Error::other)?;
        Ok((status.ok_or(io::ErrorKind::InvalidData)?, body))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }
}
