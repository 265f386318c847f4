//! Where Redis is: at an address, or wherever its Sentinels say that the master is.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{
    AsyncConnectionConfig, Client, IntoConnectionInfo, RedisConnectionInfo, RedisError,
    RedisResult, cmd,
};

use crate::config::Variable;

/// For one attempt to connect, and for one answer of a Sentinel.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// For connecting to a Sentinel and its answer: one that hangs must not keep the others from being asked.
const SENTINEL_LIMIT: Duration = Duration::from_millis(500);
const SENTINEL_PORT: u16 = 26379;
/// A peer that vanished without a word is noticed after this long, also where nothing is asked of it.
const SILENCE_LIMIT: Duration = Duration::from_secs(5);

/// `REDIS_URL`: where Redis is.
pub const REDIS_URL: Variable<Place> = Variable::secret(
    "REDIS_URL",
    "a URL such as redis://:password@host:6379/0 or \
     redis+sentinel://:password@host:26379,host:26379/0?master=name",
    url,
);

/// One server, or a master that Sentinels know.
#[derive(Clone)]
pub struct Place(Arc<Kind>);

enum Kind {
    Server(Client),
    Sentinels(Sentinels),
}

struct Sentinels {
    /// In the order of the URL.
    clients: Vec<Client>,
    /// The one that was right last is asked first.
    first: AtomicUsize,
    master: String,
    /// Password and database of the master.
    settings: RedisConnectionInfo,
}

/// Reads a `REDIS_URL`; for use in a [`Variable`].
///
/// `redis://[:password@]host[:port][/db]` is one server.
/// `redis+sentinel://[:password@]host[:port],…[/db]?master=NAME[&sentinel-password=PASSWORD]` is the master that these
/// Sentinels know by that name; the first password is Redis's. Passwords are percent-encoded.
pub fn url(text: &str) -> Option<Place> {
    let kind = match text.strip_prefix("redis+sentinel://") {
        Some(rest) => Kind::Sentinels(sentinels(rest)?),
        // Of the queries that the library knows, one changes the shape of answers and the others are for sockets.
        None if text.starts_with("redis://") && !text.contains(['?', '#']) => {
            Kind::Server(client(text).ok()?)
        }
        None => return None,
    };
    Some(Place(Arc::new(kind)))
}

fn sentinels(text: &str) -> Option<Sentinels> {
    let (text, query) = text.split_once('?')?;
    let (mut master, mut password) = (None, None);
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=')?;
        match name {
            "master" if !value.is_empty() => master = Some(value.to_owned()),
            "sentinel-password" => password = Some(value),
            _ => return None,
        }
    }
    let (login, text) = text.rsplit_once('@').unwrap_or(("", text));
    let (hosts, db) = text.split_once('/').unwrap_or((text, "0"));
    // The library decodes what stands in a URL.
    let info = format!("redis://{login}@{}/{db}", hosts.split(',').next()?);
    let settings = info.into_connection_info().ok()?.redis_settings().clone();
    let clients = hosts.split(',').map(|host| {
        let login = password.map_or(String::new(), |password| format!(":{password}@"));
        // The colons in the brackets of an IPv6 address are its own.
        let port = match host.rsplit(']').next()?.contains(':') {
            true => String::new(),
            false => format!(":{SENTINEL_PORT}"),
        };
        let info = format!("redis://{login}{host}{port}/");
        client(info).ok()
    });
    Some(Sentinels {
        clients: clients.collect::<Option<_>>()?,
        first: AtomicUsize::new(0),
        master: master?,
        settings,
    })
}

impl Place {
    /// A connection to the server that takes writes.
    pub(super) async fn connect(
        &self,
        config: AsyncConnectionConfig,
    ) -> RedisResult<MultiplexedConnection> {
        let config = config.set_connection_timeout(Some(CONNECT_LIMIT));
        match &*self.0 {
            Kind::Server(client) => {
                client
                    .get_multiplexed_async_connection_with_config(&config)
                    .await
            }
            Kind::Sentinels(sentinels) => sentinels.connect(config).await,
        }
    }

    /// How many replicas have to have a write before it counts as durable.
    pub(super) fn replicas(&self) -> usize {
        match &*self.0 {
            Kind::Server(_) => 0,
            Kind::Sentinels(_) => 1,
        }
    }

    /// What it is, in a word and without secrets.
    pub fn describe(&self) -> String {
        match &*self.0 {
            Kind::Server(_) => "Redis".to_owned(),
            Kind::Sentinels(sentinels) => format!("Redis, master {}", sentinels.master),
        }
    }
}

impl Sentinels {
    /// By the word of the first Sentinel whose master is there and says so itself: one that is cut off from the others
    /// goes on naming the old one.
    async fn connect(&self, config: AsyncConnectionConfig) -> RedisResult<MultiplexedConnection> {
        let first = self.first.load(Ordering::Relaxed);
        let mut last = failed(format!("no Sentinel knows a master {}", self.master));
        let mut tried = Vec::new();
        for step in 0..self.clients.len() {
            let index = (first + step) % self.clients.len();
            let address = match self.ask(&self.clients[index]).await {
                Ok(Some(address)) if !tried.contains(&address) => address,
                Ok(_) => continue,
                Err(error) => {
                    last = error;
                    continue;
                }
            };
            match self.connect_to(&address, &config).await {
                Ok(connection) => {
                    self.first.store(index, Ordering::Relaxed);
                    return Ok(connection);
                }
                Err(error) => last = error,
            }
            tried.push(address);
        }
        Err(last)
    }

    async fn connect_to(
        &self,
        (host, port): &(String, u16),
        config: &AsyncConnectionConfig,
    ) -> RedisResult<MultiplexedConnection> {
        let info = (host.as_str(), *port).into_connection_info()?;
        let client = client(info.set_redis_settings(self.settings.clone()))?;
        let mut connection = client
            .get_multiplexed_async_connection_with_config(config)
            .await?;
        // A master that was just replaced may not know it yet; a Sentinel that was away may not either.
        let role: (String,) = first_of(cmd("ROLE").query_async(&mut connection).await?)?;
        match role.0.as_str() {
            "master" => Ok(connection),
            role => Err(failed(format!(
                "{host}:{port} is the master to a Sentinel, but a {role} to itself"
            ))),
        }
    }

    /// The address of the master, if this Sentinel knows one.
    async fn ask(&self, sentinel: &Client) -> RedisResult<Option<(String, u16)>> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(SENTINEL_LIMIT))
            .set_response_timeout(Some(SENTINEL_LIMIT));
        let mut connection = sentinel
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        let mut question = cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.master);
        question.query_async(&mut connection).await
    }
}

fn client(info: impl IntoConnectionInfo) -> RedisResult<Client> {
    let keepalive = TcpKeepalive::new()
        .with_time(SILENCE_LIMIT)
        .with_interval(SILENCE_LIMIT / 5);
    let settings = TcpSettings::default()
        .set_keepalive(keepalive)
        .set_user_timeout(SILENCE_LIMIT)
        .set_nodelay(true);
    Client::open(info.into_connection_info()?.set_tcp_settings(settings))
}

/// The first part of an answer whose others differ by role.
fn first_of(answer: redis::Value) -> RedisResult<(String,)> {
    let parts: Vec<redis::Value> = redis::from_redis_value(answer)?;
    let first = parts.into_iter().next();
    let first = first.ok_or_else(|| failed("an empty answer to ROLE".to_owned()))?;
    Ok((redis::from_redis_value(first)?,))
}

fn failed(reason: String) -> RedisError {
    io::Error::other(reason).into()
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It holds passwords.
        write!(f, "Place({})", self.describe())
    }
}

#[cfg(test)]
mod tests {
    use redis::ConnectionAddr;

    use super::*;

    fn clients(place: &Place) -> &[Client] {
        match &*place.0 {
            Kind::Server(client) => std::slice::from_ref(client),
            Kind::Sentinels(sentinels) => &sentinels.clients,
        }
    }

    fn addresses(place: &Place) -> Vec<String> {
        let address = |client: &Client| match client.get_connection_info().addr() {
            ConnectionAddr::Tcp(host, port) => format!("{host}:{port}"),
            other => panic!("{other:?}"),
        };
        clients(place).iter().map(address).collect()
    }

    #[test]
    fn one_server() {
        let place = url("redis://:p%2Fw@redis:6379/0").unwrap();
        assert_eq!(addresses(&place), ["redis:6379"]);
        assert_eq!((place.replicas(), place.describe().as_str()), (0, "Redis"));
        let place = url("redis://[::1]").unwrap();
        assert_eq!(addresses(&place), ["::1:6379"]);
    }

    #[test]
    fn sentinels_have_a_password_of_their_own() {
        let place = url("redis+sentinel://:p%2Fw@s0,s1:7000/2?master=main&sentinel-password=x%40y")
            .unwrap();
        assert_eq!(addresses(&place), ["s0:26379", "s1:7000"]);
        let Kind::Sentinels(sentinels) = &*place.0 else {
            panic!("{place:?}");
        };
        assert_eq!(sentinels.settings.password(), Some("p/w"));
        assert_eq!(sentinels.settings.db(), 2);
        for client in &sentinels.clients {
            let settings = client.get_connection_info().redis_settings();
            assert_eq!(settings.password(), Some("x@y"));
        }
        assert_eq!(place.replicas(), 1);
        assert_eq!(format!("{place:?}"), "Place(Redis, master main)");
    }

    #[test]
    fn sentinels_have_a_port_also_where_the_address_has_colons() {
        let place = url("redis+sentinel://[::1],[::2]:7000,10.0.0.1?master=main").unwrap();
        assert_eq!(
            addresses(&place),
            ["::1:26379", "::2:7000", "10.0.0.1:26379"]
        );
    }

    #[test]
    fn a_peer_that_falls_silent_is_noticed() {
        for text in ["redis://redis", "redis+sentinel://s0,s1?master=main"] {
            for client in clients(&url(text).unwrap()) {
                let settings = client.get_connection_info().tcp_settings();
                assert_eq!(settings.user_timeout(), Some(SILENCE_LIMIT), "{text}");
                assert!(settings.keepalive().is_some(), "{text}");
            }
        }
    }

    #[test]
    fn others_are_refused() {
        for bad in [
            "",
            "redis",
            "http://redis",
            "rediss://redis:6379",
            "unix:///x",
            "redis+sentinel://s0",
            "redis+sentinel://s0?master=",
            "redis+sentinel://s0?master=m&mater=x",
            "redis+sentinel://s0?master=m&oops",
            "redis+sentinel://s0?master=m&",
            "redis://redis?protocol=resp3",
            "redis://redis/0?db=1",
            "redis://redis/0#x",
            "redis+sentinel://?master=m",
            "redis+sentinel://s0/x?master=m",
            "redis+sentinel://s0:port?master=m",
        ] {
            assert!(url(bad).is_none(), "{bad}");
        }
    }
}
