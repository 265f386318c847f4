//! A client that sends exactly the bytes it is told to, from the address it is told to.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use service_kit::testing::Answer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// Who does not answer by then never does.
const LIMIT: Duration = Duration::from_secs(30);

/// Asks one port of loopback, each time on a connection of its own.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    from: IpAddr,
    port: u16,
}

impl Client {
    /// A client of a port.
    pub fn of(port: u16) -> Self {
        Self {
            from: Ipv4Addr::LOCALHOST.into(),
            port,
        }
    }

    /// The port that it asks.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The same from another address of loopback.
    #[must_use]
    pub fn from(self, from: Ipv4Addr) -> Self {
        Self {
            from: from.into(),
            ..self
        }
    }

    /// `GET path` with these headers.
    ///
    /// # Panics
    /// When there is no whole answer.
    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(&request("GET", path, headers, "")).await
    }

    /// Sends a request and reads its answer; it has to ask for the connection's end.
    ///
    /// # Panics
    /// When there is no whole answer.
    pub async fn send(&self, request: &str) -> Answer {
        parsed(&self.exchange(request).await.expect("an answer"))
    }

    /// Sends anything and reads until the connection ends.
    ///
    /// # Errors
    /// When it cannot connect, or the connection breaks off.
    pub async fn exchange(&self, request: &str) -> io::Result<Vec<u8>> {
        let mut stream = self.connect().await?;
        stream.write_all(request.as_bytes()).await?;
        rest(stream).await
    }

    /// A connection from this client's address.
    ///
    /// # Errors
    /// When nothing listens.
    pub async fn connect(&self) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(self.from, 0))?;
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        timeout(LIMIT, socket.connect(to)).await?
    }
}

/// The bytes of a request after whose answer the connection ends.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        text.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    text + "\r\n" + body
}

/// Reads an answer after which the connection ends.
///
/// # Panics
/// When there is no whole answer.
pub async fn answer(stream: TcpStream) -> Answer {
    parsed(&rest(stream).await.expect("an answer"))
}

async fn rest(mut stream: TcpStream) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    timeout(LIMIT, stream.read_to_end(&mut text)).await??;
    Ok(text)
}

fn parsed(text: &[u8]) -> Answer {
    parse(text).unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(text)))
}

fn parse(text: &[u8]) -> Option<Answer> {
    let end = text.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&text[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?;
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(':')?;
        let name = HeaderName::try_from(name).ok()?;
        Some((name, HeaderValue::try_from(value.trim()).ok()?))
    });
    Some(Answer {
        status: StatusCode::from_bytes(status.as_bytes()).ok()?,
        headers: headers.collect::<Option<HeaderMap>>()?,
        body: text[end + 4..].to_vec(),
    })
}
