//! How requests reach an engine: one connection for each, over a socket, TCP, TLS or ssh.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bollard::BollardRequest;
use bollard::errors::Error as DockerError;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::HOST;
use http::uri::{PathAndQuery, Uri};
use http::{HeaderValue, Response};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::endpoint::EngineAddress;
use super::engine::EngineError;
use super::ssh::{SshHost, Words};
use super::tls;

/// The port where an address names none.
const PLAIN_PORT: u16 = 2375;
const TLS_PORT: u16 = 2376;
/// How long a connection that failed may take to say why.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Carries requests to an engine.
pub type Carrier = Arc<
    dyn Fn(BollardRequest) -> BoxFuture<'static, Result<Response<Incoming>, DockerError>>
        + Send
        + Sync,
>;

/// Clones lead to the same engine.
#[derive(Clone, Debug)]
pub(super) struct Transport(Arc<Route>);

#[derive(Debug)]
enum Route {
    Unix(PathBuf),
    Tcp(String),
    Tls {
        authority: String,
        name: ServerName<'static>,
        config: Arc<ClientConfig>,
    },
    Ssh(SshHost),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Transport {
    /// Reads the address and the certificates; connects to nothing.
    pub(super) fn to(address: &EngineAddress) -> Result<Self, EngineError> {
        let unsupported = |reason| EngineError::Unsupported {
            address: address.url.clone(),
            origin: address.origin.clone(),
            reason,
        };
        let Some((scheme, rest)) = address.url.split_once("://") else {
            return Err(unsupported(
                "its address is not of the form unix://, tcp:// or ssh://",
            ));
        };
        let rest = rest.trim_end_matches('/');
        let route = match (scheme, address.secured()) {
            ("unix", _) => Route::Unix(rest.into()),
            ("ssh", _) => Route::Ssh(
                SshHost::parse(rest)
                    .ok_or_else(|| unsupported("its address is not of the form ssh://user@host"))?,
            ),
            ("tcp" | "http", None) => Route::Tcp(with_port(rest, PLAIN_PORT)),
            ("tcp" | "http" | "https", Some(tls)) => {
                let unusable = |source| EngineError::Tls {
                    address: address.url.clone(),
                    origin: address.origin.clone(),
                    source,
                };
                let authority = with_port(rest, TLS_PORT);
                Route::Tls {
                    name: tls::server_name(&authority).map_err(unusable)?,
                    config: tls::client_config(&tls).map_err(unusable)?,
                    authority,
                }
            }
            _ => {
                return Err(unsupported(
                    "its address is not of the form unix://, tcp:// or ssh://",
                ));
            }
        };
        Ok(Self(Arc::new(route)))
    }

    /// For bollard and for what bollard has no call for.
    pub(super) fn carrier(self) -> Carrier {
        Arc::new(move |request| {
            let transport = self.clone();
            async move { transport.send(request).await }.boxed()
        })
    }

    async fn send(&self, mut request: BollardRequest) -> Result<Response<Incoming>, DockerError> {
        let (stream, words) = self.connect().await?;
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
        if let Ok(host) = HeaderValue::from_str(self.host()) {
            request.headers_mut().insert(HOST, host);
        }
        let answer = exchange(stream, request).await;
        match (answer, words) {
            (Err(error), Some(words)) => Err(match words.last().await {
                Some(reason) => DockerError::IOError {
                    err: io::Error::other(format!("ssh: {reason}")),
                },
                None => error,
            }),
            (answer, _) => answer,
        }
    }

    fn host(&self) -> &str {
        match &*self.0 {
            Route::Tcp(authority) | Route::Tls { authority, .. } => authority,
            Route::Unix(_) | Route::Ssh(_) => "docker",
        }
    }

    async fn connect(&self) -> io::Result<(Box<dyn Stream>, Option<Words>)> {
        Ok(match &*self.0 {
            Route::Unix(path) => (Box::new(UnixStream::connect(path).await?), None),
            Route::Tcp(authority) => (Box::new(tcp(authority).await?), None),
            Route::Tls {
                authority,
                name,
                config,
            } => {
                let connector = TlsConnector::from(Arc::clone(config));
                let stream = tcp(authority).await?;
                (
                    Box::new(connector.connect(name.clone(), stream).await?),
                    None,
                )
            }
            Route::Ssh(host) => {
                let (stream, words) = host.dial()?;
                (Box::new(stream), Some(words))
            }
        })
    }
}

async fn exchange(
    stream: Box<dyn Stream>,
    request: BollardRequest,
) -> Result<Response<Incoming>, DockerError> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the answer, or as the stream of an upgraded connection.
    let connection = tokio::spawn(connection.with_upgrades());
    let error = match sender.send_request(request).await {
        Ok(answer) => return Ok(answer),
        Err(error) => error,
    };
    // A request that was canceled says nothing; the connection knows why it ended.
    drop(sender);
    match tokio::time::timeout(LAST_WORDS, connection).await {
        Ok(Ok(Err(reason))) if error.is_canceled() || error.is_closed() => Err(reason.into()),
        _ => Err(error.into()),
    }
}

async fn tcp(authority: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(authority).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn with_port(authority: &str, port: u16) -> String {
    // The last part of `[::1]` is no port.
    let has_port = authority
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port {
        authority.to_owned()
    } else {
        format!("{authority}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use bytes::Bytes;

    use super::*;
    use crate::image::docker::engine::Engine;

    /// An engine behind a program that stands in for ssh.
    fn behind(folder: &tempfile::TempDir, script: &str) -> Engine {
        let path = folder.path().join("ssh");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let mut host = SshHost::parse("jo@build").unwrap();
        host.program = path.display().to_string();
        let transport = Transport(Arc::new(Route::Ssh(host)));
        Engine::from_carrier(transport.carrier(), "ssh://jo@build")
    }

    #[tokio::test]
    async fn an_engine_behind_ssh_answers() {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("record");
        let script = format!(
            "echo \"$@\" >{0}; read line; echo \"$line\" >>{0}\nprintf 'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nOK'\ncat >/dev/null",
            record.display()
        );
        let engine = behind(&folder, &script);
        assert_eq!(engine.docker().ping().await.unwrap(), "OK");
        let record = fs::read_to_string(record).unwrap();
        assert!(
            record.contains("-l jo -- build docker system dial-stdio"),
            "{record}"
        );
        assert!(record.contains("GET /_ping HTTP/1.1"), "{record}");
    }

    #[tokio::test]
    async fn what_ssh_says_is_passed_on() {
        let folder = tempfile::tempdir().unwrap();
        let script = "echo 'jo@build: Permission denied (publickey).' >&2; exit 255";
        let error = behind(&folder, script).docker().ping().await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "ssh: jo@build: Permission denied (publickey)."
        );
    }

    #[tokio::test]
    async fn requests_name_the_path_alone_and_the_host() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let server = tokio::spawn(async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut heard = Vec::new();
            while !heard.ends_with(b"\r\n\r\n") {
                heard.push(stream.read_u8().await.unwrap());
            }
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            String::from_utf8(heard).unwrap()
        });
        let transport = Transport(Arc::new(Route::Tcp(authority.clone())));
        let request = http::Request::get("http://docker/info?a=b")
            .body(bollard::body_full(Bytes::new()))
            .unwrap();
        transport.send(request).await.unwrap();
        let heard = server.await.unwrap().to_ascii_lowercase();
        assert!(heard.starts_with("get /info?a=b http/1.1\r\n"), "{heard}");
        assert!(heard.contains(&format!("host: {authority}\r\n")), "{heard}");
    }

    #[test]
    fn ports_are_added_where_there_are_none() {
        for (authority, expected) in [
            ("h", "h:2376"),
            ("h:1", "h:1"),
            ("[::1]", "[::1]:2376"),
            ("[::1]:1", "[::1]:1"),
        ] {
            assert_eq!(with_port(authority, TLS_PORT), expected);
        }
    }
}
