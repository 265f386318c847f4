//! Redis: what is known of a command, and the way to the master of the moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use redis::{Value, cmd, pipe};
use service_kit::Lifecycle;
use service_kit::redis::{self as kit_redis, CommandError, Redis};
use service_kit::testing::{Member, RedisSentinel, RedisServer};
use tokio::net::TcpListener;

#[tokio::test]
async fn a_redis_that_is_away_was_never_sent_anything() {
    let Some(mut server) = RedisServer::start() else {
        return;
    };
    let redis = Redis::new(kit_redis::url(&server.url()).unwrap());
    let mut increment = cmd("INCR");
    increment.arg("n");
    assert_eq!(redis.query::<i64>(&increment).await.unwrap(), 1);
    server.kill();
    // The first command finds the connection broken, the next one finds none.
    let first = redis.query::<i64>(&increment).await.unwrap_err();
    assert!(matches!(first, CommandError::Interrupted(_)), "{first:?}");
    let next = redis.query::<i64>(&increment).await.unwrap_err();
    assert!(matches!(next, CommandError::Unreachable(_)), "{next:?}");
    server.resume();
    assert_eq!(redis.query::<i64>(&increment).await.unwrap(), 2);
}

#[tokio::test]
async fn a_refused_command_keeps_the_connection() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let redis = Redis::new(kit_redis::url(&server.url()).unwrap());
    let mut id = cmd("CLIENT");
    id.arg("ID");
    let before: i64 = redis.query(&id).await.unwrap();
    let refused = redis
        .query::<i64>(cmd("INCRBY").arg("n").arg("x"))
        .await
        .unwrap_err();
    assert!(matches!(refused, CommandError::Refused(_)), "{refused:?}");
    assert_eq!(redis.query::<i64>(&id).await.unwrap(), before);
}

#[tokio::test]
async fn a_wrong_password_is_a_reason_and_is_not_shown() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let wrong = server.url().replace("p%2Fw", "wrong-password");
    let redis = Redis::new(kit_redis::url(&wrong).unwrap());
    let reason = redis.ready().await.unwrap_err();
    assert!(reason.starts_with("cannot connect to Redis: "), "{reason}");
    assert!(!reason.contains("wrong-password"), "{reason}");
}

#[tokio::test]
async fn a_blocking_command_has_its_own_connection() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let redis = Redis::new(kit_redis::url(&server.url()).unwrap());
    let waiting = redis.blocking(Duration::from_secs(3));
    let wait = tokio::spawn(async move {
        let popped: Option<(String, String)> = waiting
            .query(cmd("BLPOP").arg("list").arg(3))
            .await
            .unwrap();
        popped
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let started = Instant::now();
    redis
        .query::<i64>(cmd("RPUSH").arg("list").arg("x"))
        .await
        .unwrap();
    assert!(started.elapsed() < Duration::from_secs(1));
    assert_eq!(wait.await.unwrap(), Some(("list".into(), "x".into())));
}

/// Counts through Sentinels until it works.
async fn count_until_it_works(durable: &kit_redis::Durable, key: &str) -> (i64, Duration) {
    let started = Instant::now();
    loop {
        let mut incr = cmd("INCR");
        incr.arg(key);
        match durable.write::<i64>(incr).await {
            Ok(value) => return (value, started.elapsed()),
            Err(error) => {
                assert!(started.elapsed() < Duration::from_secs(20), "{error:?}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_go_on_with_the_next_master_and_none_that_was_acknowledged_is_lost() {
    let Some(mut servers) = RedisSentinel::start() else {
        return;
    };
    let redis = Redis::new(kit_redis::url(&servers.url()).unwrap());
    let durable = kit_redis::Durable::new(&redis, &Lifecycle::default());
    let (first, _) = count_until_it_works(&durable, "a").await;
    assert_eq!(first, 1);

    let old = servers.master().unwrap();
    servers.kill(Member::Redis(old));
    let (second, outage) = count_until_it_works(&durable, "a").await;
    assert!(second >= 2, "the acknowledged one is there: {second}");
    assert!(outage < Duration::from_secs(10), "{outage:?}");
    assert_ne!(servers.master(), Some(old));

    // It comes back as a replica, also for who is asked afterwards.
    servers.resume(Member::Redis(old));
    servers.wait_until_settled();
    assert_ne!(servers.master(), Some(old));
    let read: i64 = redis.query_twice(cmd("GET").arg("a")).await.unwrap();
    assert_eq!(read, second);
}

#[tokio::test]
async fn a_write_that_no_replica_has_is_not_acknowledged() {
    let Some(mut servers) = RedisSentinel::start() else {
        return;
    };
    let redis = Redis::new(kit_redis::url(&servers.url()).unwrap());
    let durable = kit_redis::Durable::new(&redis, &Lifecycle::default());
    count_until_it_works(&durable, "a").await;
    let master = servers.master().unwrap();
    for replica in (0..3).filter(|number| *number != master) {
        servers.kill(Member::Redis(replica));
    }
    let mut incr = cmd("INCR");
    incr.arg("a");
    // At first the master believes in its replicas, then it refuses.
    let answer = durable.write::<i64>(incr).await;
    assert!(
        matches!(
            answer,
            Err(CommandError::Unconfirmed | CommandError::Refused(_))
        ),
        "{answer:?}"
    );
}

/// What a pipeline or a transaction says is not one error but a list of them.
#[tokio::test]
async fn a_master_that_has_lost_its_replicas_is_left_by_whatever_is_refused() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let redis = Redis::new(kit_redis::url(&server.url()).unwrap());
    let mut alone = cmd("CONFIG");
    alone.arg("SET").arg("min-replicas-to-write").arg(1);
    redis.query::<()>(&alone).await.unwrap();
    let mut id = cmd("CLIENT");
    id.arg("ID");
    for atomic in [false, true] {
        let before: i64 = redis.query(&id).await.unwrap();
        let mut both = pipe();
        if atomic {
            both.atomic();
        }
        both.cmd("GET").arg("a");
        both.cmd("SET").arg("a").arg(1);
        let refused = redis.pipeline::<Value>(&both).await.unwrap_err();
        assert!(matches!(refused, CommandError::Refused(_)), "{refused:?}");
        let after: i64 = redis.query(&id).await.unwrap();
        assert_ne!(before, after, "atomic: {atomic}: {refused:?}");
    }
}

#[tokio::test]
async fn who_finds_no_redis_shares_the_attempts_to_reach_one() {
    // Takes connections and ends them.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&attempts);
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            drop(connection);
        }
    });
    let redis = Redis::new(kit_redis::url(&format!("redis://{address}")).unwrap());
    let ping = cmd("PING");
    for answer in join_all((0..100).map(|_| redis.query::<String>(&ping))).await {
        assert!(
            matches!(answer, Err(CommandError::Unreachable(_))),
            "{answer:?}"
        );
    }
    assert_eq!(attempts.load(Ordering::SeqCst), 1);

    // Who asks again and again: one attempt each 25, 50, 100, 200, 250, 250 ms …
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(2) {
        let answer = redis.query::<String>(&ping).await;
        assert!(
            matches!(answer, Err(CommandError::Unreachable(_))),
            "{answer:?}"
        );
    }
    let attempts = attempts.load(Ordering::SeqCst);
    assert!((2..=13).contains(&attempts), "{attempts}");
}
