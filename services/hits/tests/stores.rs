//! What holds for every stream and for all sums, wherever they are.
#![allow(clippy::unwrap_used)]

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use hits::stream::{
    Consumer, DeadLetter, Delivery, MemoryStream, Message, Producer, RedisConsumer, RedisProducer,
};
use hits::sums::{Ages, MemorySums, PostgresSums, Sums, SumsError};
use hits::{Increment, REMEMBERED};
use redis::streams::StreamRangeReply;
use redis::{Value, cmd};
use service_kit::postgres::{self, Postgres};
use service_kit::redis::{Redis, url};
use service_kit::testing::{PostgresServer, RedisSentinel, RedisServer};
use service_kit::{Kit, Lifecycle, Settings, about};
use tokio::time::sleep;
use uuid::Uuid;

const SOON: Duration = Duration::from_millis(200);
const LIMIT: Duration = Duration::from_secs(20);
const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;

fn increment(key: Uuid, value: i64) -> Increment {
    Increment {
        event: Uuid::now_v7(),
        key,
        value,
        request_id: Some("id-1".to_owned()),
    }
}

fn deliveries(messages: &[Message]) -> Vec<Delivery> {
    let delivery = |message: &Message| message.delivery.clone();
    messages.iter().map(delivery).collect()
}

fn ids(messages: &[Message]) -> Vec<&str> {
    messages
        .iter()
        .map(|message| message.delivery.id.as_str())
        .collect()
}

/// What holds for a stream that is empty. Its consumers die when they are dropped.
async fn streams(producer: &dyn Producer, join: &dyn Fn() -> Arc<dyn Consumer>) {
    let (first, second) = (join(), join());
    for consumer in [&first, &second] {
        assert_eq!(consumer.read(10, SOON).await.unwrap(), []);
        let survey = consumer.survey(10).await.unwrap();
        assert_eq!((survey.messages, survey.oldest), (0, None));
    }
    let (two, three) = delivers_each_once(producer, &*first, &*second).await;

    first.settle(&deliveries(&two)).await.unwrap();
    assert_eq!(second.survey(10).await.unwrap().messages, 3);
    let letter = DeadLetter {
        delivery: three[0].delivery.clone(),
        reason: "why".to_owned(),
        content: "{}".to_owned(),
        request_id: Some("id-1".to_owned()),
    };
    for moved in [1, 0] {
        let letters = std::slice::from_ref(&letter);
        assert_eq!(second.reject(letters).await.unwrap(), moved);
        assert_eq!(second.survey(10).await.unwrap().messages, 2);
    }

    takes_over_when_it_dies(&*first, second, &three[1..]).await;
    let empty = first.survey(10).await.unwrap();
    assert_eq!((empty.messages, empty.oldest), (0, None));
    first.leave().await.unwrap();
}

/// Gives the two that the first was given, and the three of the second.
async fn delivers_each_once(
    producer: &dyn Producer,
    first: &dyn Consumer,
    second: &dyn Consumer,
) -> (Vec<Message>, Vec<Message>) {
    let key = Uuid::new_v4();
    let sent: Vec<Increment> = (1..=5).map(|value| increment(key, value)).collect();
    let before = Instant::now();
    for increment in &sent {
        producer.append(increment).await.unwrap();
    }
    sleep(SOON).await;
    let two = first.read(2, SOON).await.unwrap();
    let three = second.read(10, SOON).await.unwrap();
    let all = [&two[..], &three].concat();
    let read = |message: &Message| Increment::parse(&message.fields).unwrap();
    let got: Vec<Increment> = all.iter().map(read).collect();
    assert_eq!((two.len(), got), (2, sent));
    for message in &all {
        // By the clock that ids are made with, in milliseconds, and our own.
        let slack = Duration::from_millis(100);
        assert!(message.added + slack > before, "{message:?}");
        assert!(message.added.elapsed() > SOON - slack, "{message:?}");
    }
    let again = second.read(10, SOON).await.unwrap();
    assert_eq!(again, [], "delivered twice");
    let survey = second.survey(10).await.unwrap();
    assert_eq!(survey.messages, 5, "they stay until they are settled");
    assert!(survey.oldest.unwrap().elapsed() > SOON);
    (two, three)
}

/// What a consumer has is its own while it lives.
async fn takes_over_when_it_dies(heir: &dyn Consumer, other: Arc<dyn Consumer>, had: &[Message]) {
    for _ in 0..8 {
        assert_eq!(heir.survey(10).await.unwrap().taken_over, []);
        other.survey(10).await.unwrap();
        sleep(SOON).await;
    }
    drop(other);
    let died = Instant::now();
    let mut taken = Vec::new();
    while taken.len() < had.len() {
        assert!(died.elapsed() < LIMIT, "{taken:?}");
        taken.extend(heir.survey(1).await.unwrap().taken_over);
        sleep(SOON).await;
    }
    assert_eq!(ids(&taken), ids(had));
    heir.settle(&deliveries(had)).await.unwrap();
    let survey = heir.survey(10).await.unwrap();
    assert_eq!(survey.messages, had.len() as u64, "they were another's");
    heir.settle(&deliveries(&taken)).await.unwrap();
}

#[tokio::test]
async fn in_memory() {
    let stream = MemoryStream::default();
    let number = std::cell::Cell::new(0);
    streams(&stream, &|| {
        number.set(number.get() + 1);
        Arc::new(stream.consumer(&number.get().to_string()))
    })
    .await;
    assert_eq!(stream.dead_letters().len(), 1);
    sums(&MemorySums::default()).await;
}

#[tokio::test]
async fn in_redis() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    in_redis_at(&server.url()).await;
}

#[tokio::test]
async fn in_redis_behind_sentinels() {
    let Some(servers) = RedisSentinel::start() else {
        return;
    };
    in_redis_at(&servers.url()).await;
}

async fn in_redis_at(address: &str) {
    let connect = || Redis::new(url(address).unwrap());
    streams(
        &RedisProducer::new(&connect(), &Lifecycle::default(), 1000),
        &|| Arc::new(RedisConsumer::new(&connect(), "test")),
    )
    .await;
    let mut range = cmd("XRANGE");
    range.arg("hits:dead").arg("-").arg("+");
    let dead: StreamRangeReply = connect().query(&range).await.unwrap();
    assert_eq!(dead.ids.len(), 1);
    let field = |name: &str| dead.ids[0].get::<String>(name).unwrap();
    assert_eq!(
        (field("reason"), field("request_id")),
        ("why".to_owned(), "id-1".to_owned())
    );
    // Who left, and who died and had nothing any more, is gone.
    let mut info = cmd("XINFO");
    info.arg("CONSUMERS").arg("hits").arg("hits-worker");
    let consumers: Vec<Value> = connect().query(&info).await.unwrap();
    assert!(consumers.len() <= 1, "{consumers:?}");
}

#[tokio::test]
async fn a_message_of_any_bytes_is_delivered() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let redis = Redis::new(url(&server.url()).unwrap());
    let consumer = RedisConsumer::new(&redis, "test");
    consumer.survey(1).await.unwrap();
    let mut add = cmd("XADD");
    add.arg("hits")
        .arg("*")
        .arg(&b"\xff\x00"[..])
        .arg(&b"\xfe"[..]);
    let _: String = redis.query(&add).await.unwrap();
    let messages = consumer.read(1, SOON).await.unwrap();
    assert_eq!(messages.len(), 1);
    assert!(Increment::parse(&messages[0].fields).is_err());
}

/// A failure of Redis that loses a message and the ids after it, as a replica that lacks it and whose clock is behind
/// does when it becomes the master.
#[tokio::test]
async fn a_message_that_got_the_id_of_a_lost_one_is_not_taken_for_it() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let redis = Redis::new(url(&server.url()).unwrap());
    let consumer = RedisConsumer::new(&redis.apart(), "test");
    consumer.survey(1).await.unwrap();
    let put = |value| {
        let mut add = cmd("XADD");
        add.arg("hits").arg("5-1");
        add.arg(increment(Uuid::nil(), value).fields());
        add
    };
    for settles in [true, false] {
        let _: String = redis.query(&put(1)).await.unwrap();
        let lost = consumer.read(1, SOON).await.unwrap();
        assert_eq!(lost.len(), 1);
        for undo in [
            "XACK hits hits-worker 5-1",
            "XDEL hits 5-1",
            "XSETID hits 5-0",
            "XGROUP SETID hits hits-worker 5-0",
            "CLIENT KILL TYPE normal",
        ] {
            let mut words = undo.split(' ');
            let mut command = cmd(words.next().unwrap());
            command.arg(words.collect::<Vec<_>>());
            let _: Value = redis.query(&command).await.unwrap();
        }
        let _: String = redis.query(&put(2)).await.unwrap();
        let mut found = Vec::new();
        if settles {
            // Not delivered yet.
            let _ = consumer.settle(&deliveries(&lost)).await;
            consumer.settle(&deliveries(&lost)).await.unwrap();
        }
        let started = Instant::now();
        while found.is_empty() {
            assert!(started.elapsed() < LIMIT, "it is lost");
            found = consumer.read(1, SOON).await.unwrap_or_default();
        }
        // Delivered.
        let _ = consumer.settle(&deliveries(&lost)).await;
        consumer.settle(&deliveries(&lost)).await.unwrap();
        let survey = consumer.survey(0).await.unwrap();
        assert_eq!(survey.messages, 1, "it was not applied");
        assert_eq!(Increment::parse(&found[0].fields).unwrap().value, 2);
        consumer.settle(&deliveries(&found)).await.unwrap();
        assert_eq!(consumer.survey(0).await.unwrap().messages, 0);
        let _: Value = redis.query(cmd("DEL").arg("hits")).await.unwrap();
        while consumer.survey(0).await.is_err() {
            assert!(started.elapsed() < LIMIT);
        }
    }
}

async fn in_postgres(server: &PostgresServer) -> PostgresSums {
    in_postgres_by(server, 8).await
}

async fn in_postgres_by(server: &PostgresServer, connections: usize) -> PostgresSums {
    let kit = Kit::new(about!(), Settings::default());
    let config = postgres::url(&server.url()).unwrap();
    let sums = PostgresSums::new(Postgres::new(config, "test", connections).unwrap());
    sums.migrate_in_background(kit.lifecycle());
    let started = Instant::now();
    while let Err(error) = sums.get(Uuid::nil()).await {
        assert!(started.elapsed() < LIMIT, "{error}");
        sleep(Duration::from_millis(20)).await;
    }
    sums
}

#[tokio::test]
async fn in_a_database() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    sums(&in_postgres(&server).await).await;
}

/// What holds for sums that are empty.
async fn sums(sums: &dyn Sums) {
    let [a, b] = [Uuid::new_v4(), Uuid::new_v4()];
    assert_eq!(sums.get(a).await.unwrap(), None);
    let first = [increment(a, 1), increment(b, i64::MAX), increment(a, 2)];
    assert_eq!(sums.apply(&first).await.unwrap(), 0);
    assert_eq!(sums.get(a).await.unwrap(), Some(3));
    // What is there already counts no more, beside what is new; twice at once counts once.
    let new = increment(b, i64::MAX);
    let again = [first[0].clone(), new.clone(), new, first[1].clone()];
    assert_eq!(sums.apply(&again).await.unwrap(), 3);
    assert_eq!(sums.get(a).await.unwrap(), Some(3));
    assert_eq!(sums.get(b).await.unwrap(), Some(2 * i64::MAX as u128));
    assert_eq!(sums.apply(&[]).await.unwrap(), 0);
    let ages = Ages {
        keyed: Duration::from_secs(HOUR),
        other: Duration::from_secs(HOUR),
    };
    assert_eq!(sums.forget(ages).await.unwrap(), 0, "nothing is old enough");
    assert_eq!(sums.apply(&first).await.unwrap(), 3);
}

/// An answer that never comes, and the connection that it was to come on.
#[tokio::test]
async fn a_backend_that_hangs_is_left_for_another() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let sums = in_postgres_by(&server, 1).await;
    let client = server.connect().await;
    let newest = "SELECT pid FROM pg_stat_activity WHERE application_name = 'test'
         ORDER BY backend_start DESC LIMIT 1";
    let key = Uuid::new_v4();
    for write in [true, false] {
        sums.apply(&[increment(key, 1)]).await.unwrap();
        let pid = client.query_one(newest, &[]).await.unwrap().get(0);
        signal("-STOP", pid);
        let asked = Instant::now();
        let failed = match write {
            true => sums.apply(&[increment(key, 2)]).await.err(),
            false => sums.get(key).await.err(),
        };
        assert!(matches!(failed, Some(SumsError::Away(_))), "{failed:?}");
        assert!(asked.elapsed() < LIMIT);
        sums.get(key).await.expect("on another connection");
        signal("-CONT", pid);
    }
}

fn signal(name: &str, pid: i32) {
    let sent = Command::new("kill").args([name, &pid.to_string()]).status();
    assert!(sent.unwrap().success());
}

#[tokio::test]
async fn a_sum_beyond_38_digits_is_refused_and_nothing_is_added() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let sums = in_postgres(&server).await;
    let (full, other) = (Uuid::new_v4(), Uuid::new_v4());
    let fill = format!("INSERT INTO hits VALUES ('{full}', 1e38 - 2)");
    let client = server.connect().await;
    client.batch_execute(&fill).await.unwrap();
    sums.apply(&[increment(full, 1)]).await.unwrap();
    let largest = 10_u128.pow(38) - 1;
    assert_eq!(sums.get(full).await.unwrap(), Some(largest));
    let both = [increment(other, 1), increment(full, 1)];
    let refused = sums.apply(&both).await;
    assert!(matches!(refused, Err(SumsError::Refused(_))), "{refused:?}");
    assert_eq!(sums.get(other).await.unwrap(), None);
    // Its event is not remembered either.
    assert_eq!(sums.apply(&both[..1]).await.unwrap(), 0);
}

/// Makes all events older.
async fn age(server: &PostgresServer, by: &str) {
    let client = server.connect().await;
    let older = format!("UPDATE hits_events SET applied_at = applied_at - interval '{by}'");
    client.batch_execute(&older).await.unwrap();
}

#[tokio::test]
async fn events_are_forgotten_by_their_age_and_kind() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let sums = in_postgres(&server).await;
    let key = Uuid::new_v4();
    let single = increment(key, 1);
    let keyed = [Uuid::new_v4(), Uuid::new_v5(&key, b"one")].map(|event| Increment {
        event,
        ..increment(key, 1)
    });
    let all = [std::slice::from_ref(&single), &keyed[..]].concat();
    sums.apply(&all).await.unwrap();
    let ages = Ages {
        keyed: Duration::from_secs(7 * DAY),
        other: Duration::from_secs(HOUR),
    };
    age(&server, "59 minutes").await;
    assert_eq!(sums.forget(ages).await.unwrap(), 0);
    age(&server, "2 minutes").await;
    assert_eq!(sums.forget(ages).await.unwrap(), 1);
    assert_eq!(sums.forget(ages).await.unwrap(), 0);
    assert_eq!(sums.apply(&keyed).await.unwrap(), 2, "they are remembered");
    assert_eq!(sums.apply(&[single]).await.unwrap(), 0);
    age(&server, "7 days").await;
    assert_eq!(sums.forget(ages).await.unwrap(), 3);
}

/// No worker ran for a week and a day after it was applied and not settled.
#[tokio::test]
async fn a_message_that_outlives_its_week_counts_once() {
    let (Some(redis), Some(postgres)) = (RedisServer::start(), PostgresServer::start()) else {
        return;
    };
    let (connection, sums) = (
        Redis::new(url(&redis.url()).unwrap()),
        in_postgres(&postgres).await,
    );
    let (key, long) = (Uuid::new_v4(), Duration::from_secs(8 * DAY));
    let old = SystemTime::now() - long - Duration::from_secs(60);
    let millis = old.duration_since(UNIX_EPOCH).unwrap().as_millis();
    let mut add = cmd("XADD");
    add.arg("hits").arg(format!("{millis}-0"));
    add.arg(increment(key, 3).fields());
    let _: String = connection.query(&add).await.unwrap();
    let read = |message: &Message| Increment::parse(&message.fields).unwrap();
    {
        let died = RedisConsumer::new(&connection.apart(), "died");
        let first = died.read(1, SOON).await.unwrap();
        sums.apply(&[read(&first[0])]).await.unwrap();
    }
    age(&postgres, "8 days").await;

    let heir = RedisConsumer::new(&connection, "test");
    let started = Instant::now();
    let again = loop {
        let survey = heir.survey(1).await.unwrap();
        let ages = Ages::beyond(survey.oldest.unwrap().elapsed(), REMEMBERED);
        assert_eq!(sums.forget(ages).await.unwrap(), 0, "{ages:?}");
        if let Some(message) = survey.taken_over.into_iter().next() {
            break message;
        }
        assert!(started.elapsed() < LIMIT);
        sleep(SOON).await;
    };
    assert_eq!(sums.apply(&[read(&again)]).await.unwrap(), 1);
    assert_eq!(sums.get(key).await.unwrap(), Some(3));
    heir.settle(&[again.delivery]).await.unwrap();
    let survey = heir.survey(1).await.unwrap();
    assert_eq!(survey.oldest, None);
    let ages = Ages::beyond(Duration::ZERO, REMEMBERED);
    assert_eq!(sums.forget(ages).await.unwrap(), 1);
}

/// Each worker has the same keys, and events of another's, in an order of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn workers_with_the_same_hot_keys_do_not_deadlock() {
    const WORKERS: usize = 6;
    const ROUNDS: usize = 40;
    const KEYS: usize = 50;
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let sums = in_postgres(&server).await;
    let keys: Vec<Uuid> = (0..KEYS).map(|_| Uuid::new_v4()).collect();
    let batches: Vec<Vec<Increment>> = (0..ROUNDS * WORKERS / 2)
        .map(|_| keys.iter().map(|key| increment(*key, 1)).collect())
        .collect();
    let work = (0..WORKERS).map(|worker| {
        let (sums, batches) = (sums.clone(), batches.clone());
        tokio::spawn(async move {
            // Two workers share each batch, one of them from its end.
            for mut batch in batches.into_iter().skip(worker / 2).step_by(WORKERS / 2) {
                batch.rotate_left(worker * 7 % KEYS);
                if worker % 2 == 0 {
                    batch.reverse();
                }
                sums.apply(&batch).await.unwrap();
            }
        })
    });
    for done in join_all(work).await {
        done.unwrap();
    }
    for key in &keys {
        let sum = sums.get(*key).await.unwrap();
        assert_eq!(sum, Some((ROUNDS * WORKERS / 2) as u128));
    }
}
