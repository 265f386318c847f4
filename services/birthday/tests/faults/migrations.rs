//! A replica that dies in the middle of its migrations leaves neither half a schema nor a lock.

use std::time::{Duration, Instant};

use service_kit::testing::{PostgresServer, Random};
use tokio::time::sleep;
use tokio_postgres::Client;

use crate::process::{LIMIT, Service, send};

const ROUNDS: usize = 12;

/// Waits until a query gives a number.
async fn wait_for(client: &Client, query: &str, expected: i64) {
    let started = Instant::now();
    loop {
        let found: i64 = client.query_one(query, &[]).await.unwrap().get(0);
        if found == expected {
            return;
        }
        assert!(started.elapsed() < LIMIT, "{query}: {found}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Ready, with one migration on record, and of use.
async fn assert_well(service: &Service, client: &Client) {
    service.wait_until_ready().await;
    let query = "SELECT count(*) FROM schema_migrations";
    let applied: i64 = client.query_one(query, &[]).await.unwrap().get(0);
    assert_eq!(applied, 1);
    let body = r#"{"dateOfBirth":"1815-12-10"}"#;
    let stored = send(service.address(), "PUT /hello/Ada", body);
    assert_eq!(stored.unwrap(), 204);
}

/// Held up by a lock of the test between the table that it has made and the record of that.
#[tokio::test]
async fn a_kill_between_two_statements_undoes_the_first() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let mut client = server.connect().await;
    // Who records a step waits for the test.
    client
        .batch_execute(
            "CREATE TABLE schema_migrations (version integer PRIMARY KEY, name text NOT NULL,
                 applied_at timestamptz NOT NULL DEFAULT now(), sql text);
             CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN PERFORM pg_advisory_xact_lock(99); RETURN new; END';
             CREATE TRIGGER hold BEFORE INSERT ON schema_migrations
                 FOR EACH ROW EXECUTE FUNCTION hold()",
        )
        .await
        .unwrap();
    let lock = client.transaction().await.unwrap();
    let take = "SELECT pg_advisory_xact_lock(99)";
    lock.batch_execute(take).await.unwrap();
    let observer = server.connect().await;

    let mut first = Service::start(&server.url());
    let recording = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'
         AND query LIKE 'INSERT INTO schema_migrations%'";
    wait_for(&observer, recording, 1).await;
    let others = [Service::start(&server.url()), Service::start(&server.url())];
    let queued = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'
         AND query LIKE '%pg_advisory_xact_lock%'";
    wait_for(&observer, queued, 2).await;

    first.kill();
    lock.commit().await.unwrap();
    for service in &others {
        assert_well(service, &observer).await;
    }
    first.resume();
    assert_well(&first, &observer).await;
}

#[tokio::test]
async fn a_kill_at_any_moment_of_the_start_is_made_good_by_the_next() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let mut random = Random::seeded();
    let client = server.connect().await;
    let started = Instant::now();
    let mut service = Service::start(&server.url());
    assert_well(&service, &client).await;
    let start = started.elapsed();

    for _ in 0..ROUNDS {
        service.kill();
        let forget = "DROP TABLE IF EXISTS birthdays, schema_migrations";
        client.batch_execute(forget).await.unwrap();
        service.resume();
        sleep(random.moment(start)).await;
        service.kill();
        service.resume();
        assert_well(&service, &client).await;
    }
}
