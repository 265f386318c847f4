//! Servers that do not say that they are gone: nothing comes back on a connection, and it does not end. Readiness finds
//! the way to those that are there, when nobody asks for anything else.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use service_kit::redis::{Redis, url};
use service_kit::testing::{Member, RedisSentinel, RedisServer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// What is promised for a master that fails.
const FAILOVER_LIMIT: Duration = Duration::from_secs(10);

/// Asks like `/readyz`, which drops the question after 900 ms.
async fn is_ready(redis: &Redis) -> Result<(), String> {
    let asked = timeout(Duration::from_millis(900), redis.clone().ready()).await;
    asked.unwrap_or_else(|_| Err("dropped".to_owned()))
}

async fn wait_until_ready(redis: &Redis) {
    let started = Instant::now();
    while let Err(reason) = is_ready(redis).await {
        assert!(started.elapsed() < FAILOVER_LIMIT, "{reason}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// A port behind which Redis is. When told to, the connections that are open then fall silent; new ones work.
async fn wire(redis: String) -> (String, Arc<watch::Sender<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let silence = Arc::new(watch::Sender::new(()));
    let silenced = Arc::clone(&silence);
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut server = TcpStream::connect(&redis).await.unwrap();
            let mut silenced = silenced.subscribe();
            tokio::spawn(async move {
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
                    _ = silenced.changed() => {}
                }
                // Both stay open.
                pending::<()>().await;
            });
        }
    });
    (address, silence)
}

#[tokio::test]
async fn a_connection_that_fell_silent_is_replaced() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let address = server.url();
    let (_, redis) = address.rsplit_once('@').unwrap();
    let redis = redis.trim_end_matches("/0").to_owned();
    let (wire, silence) = wire(redis.clone()).await;
    let redis = Redis::new(url(&address.replace(&redis, &wire)).unwrap());
    wait_until_ready(&redis).await;
    silence.send_replace(());
    wait_until_ready(&redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_hangs_is_replaced() {
    let Some(mut servers) = RedisSentinel::start() else {
        return;
    };
    let redis = Redis::new(url(&servers.url()).unwrap());
    wait_until_ready(&redis).await;
    let old = servers.master().unwrap();
    servers.freeze(Member::Redis(old));
    wait_until_ready(&redis).await;
    assert_ne!(servers.master(), Some(old));
}

/// A Sentinel that names a master where nothing listens. Returns its address.
async fn cut_off_sentinel() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = client.read(&mut buffer).await {
                let asked = String::from_utf8_lossy(&buffer[..length]).into_owned();
                // Every command begins with the number of its words.
                for command in asked.split('*').skip(1) {
                    let answer = match command.contains("GET-MASTER-ADDR-BY-NAME") {
                        true => "*2\r\n$9\r\n127.0.0.1\r\n$1\r\n1\r\n",
                        false => "+OK\r\n",
                    };
                    client.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        }
    });
    address
}

#[tokio::test]
async fn a_sentinel_that_names_a_master_of_old_does_not_keep_the_others_from_being_asked() {
    let Some(servers) = RedisSentinel::start() else {
        return;
    };
    let cut_off = cut_off_sentinel().await;
    let address = servers.url().replacen('@', &format!("@{cut_off},"), 1);
    let redis = Redis::new(url(&address).unwrap());
    is_ready(&redis).await.unwrap();
}

#[tokio::test]
async fn sentinels_that_swallow_everything_do_not_keep_the_others_from_being_asked() {
    let Some(servers) = RedisSentinel::start() else {
        return;
    };
    // Their kernel takes connections, nobody reads from them.
    let mute = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let [first, second] = mute
        .each_ref()
        .map(|listener| listener.local_addr().unwrap());
    let address = servers
        .url()
        .replacen('@', &format!("@{first},{second},"), 1);
    let redis = Redis::new(url(&address).unwrap());
    wait_until_ready(&redis).await;
    drop(mute);
}
