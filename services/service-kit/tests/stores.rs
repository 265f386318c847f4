//! The connections to PostgreSQL and Redis, over real servers.
#![allow(clippy::unwrap_used)]

use redis::cmd;
use service_kit::postgres::{self, MigrateError, Migration, Migrations, Postgres};
use service_kit::redis::{self as kit_redis, CommandError, Redis};
use service_kit::testing::{Member, PostgresServer, RedisSentinel, RedisServer};
use std::time::{Duration, Instant};

const STEPS: &[Migration] = &[
    Migration {
        version: 1,
        name: "create-notes",
        // Fails when it runs twice, and takes long enough to collide.
        sql: "CREATE TABLE notes (id integer); SELECT pg_sleep(0.2)",
    },
    Migration {
        version: 2,
        name: "first-note",
        sql: "INSERT INTO notes VALUES (1)",
    },
];

const EDITED: &[Migration] = &[Migration {
    version: 1,
    name: "create-books",
    sql: "CREATE TABLE books ()",
}];

const BROKEN: &[Migration] = &[
    STEPS[0],
    Migration {
        version: 2,
        name: "broken",
        sql: "INSERT INTO notes VALUES (1); INSERT INTO nothing VALUES (1)",
    },
];

fn migrations(steps: &'static [Migration]) -> Migrations {
    Migrations { lock: 7, steps }
}

fn pool(server: &PostgresServer) -> Postgres {
    Postgres::new(postgres::url(&server.url()).unwrap(), "test", 1).unwrap()
}

async fn count(client: &tokio_postgres::Client, table: &str) -> i64 {
    let select = format!("SELECT count(*) FROM {table}");
    client.query_one(&select, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn many_replicas_migrate_at_once_and_each_step_runs_once() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let client = server.connect().await;
    let replicas: Vec<_> = (0..8)
        .map(|_| {
            let postgres = pool(&server);
            tokio::spawn(async move { postgres.migrate(migrations(STEPS)).await })
        })
        .collect();
    for replica in replicas {
        replica.await.unwrap().unwrap();
    }
    assert_eq!(count(&client, "notes").await, 1);
    assert_eq!(count(&client, "schema_migrations").await, 2);
    pool(&server).migrate(migrations(STEPS)).await.unwrap();
    assert_eq!(count(&client, "notes").await, 1);
}

#[tokio::test]
async fn a_step_that_fails_leaves_nothing_behind() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let client = server.connect().await;
    let broken = pool(&server).migrate(migrations(BROKEN)).await;
    assert!(matches!(broken, Err(MigrateError::Query(_))), "{broken:?}");
    let tables = "pg_tables WHERE tablename IN ('notes', 'schema_migrations')";
    assert_eq!(count(&client, tables).await, 0);

    pool(&server).migrate(migrations(STEPS)).await.unwrap();
    let edited = pool(&server).migrate(migrations(EDITED)).await;
    let Err(MigrateError::Edited {
        version, theirs, ..
    }) = edited
    else {
        panic!("{edited:?}");
    };
    assert_eq!((version, theirs.as_str()), (1, "create-notes"));
}

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
    let durable = kit_redis::Durable::new(&redis);
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
    let durable = kit_redis::Durable::new(&redis);
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
