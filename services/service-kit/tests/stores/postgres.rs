//! PostgreSQL: migrations, limits and readiness.

use std::future::pending;
use std::process::Command;
use std::time::{Duration, Instant};

use service_kit::postgres::{self, MigrateError, Migration, Migrations, Postgres, QueryError};
use service_kit::testing::PostgresServer;
use tokio::time::{sleep, timeout};

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

const REWRITTEN: &[Migration] = &[
    Migration {
        version: 1,
        name: "create-notes",
        sql: "CREATE TABLE notes (id bigint)",
    },
    STEPS[1],
];

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

/// A server that takes connections, and one of them.
async fn server() -> Option<(PostgresServer, tokio_postgres::Client)> {
    let server = PostgresServer::start()?;
    let client = server.connect().await;
    Some((server, client))
}

/// For tests that wait for something to be over.
const LIMIT: Duration = Duration::from_secs(30);

fn pool(server: &PostgresServer) -> Postgres {
    Postgres::new(postgres::url(&server.url()).unwrap(), "test", 1).unwrap()
}

/// One connection, and a second for a statement.
fn hasty_pool(server: &PostgresServer) -> Postgres {
    let config = postgres::url(&server.url()).unwrap();
    Postgres::with_limit(config, "test", 1, Duration::from_secs(1)).unwrap()
}

/// The process of the server that the connection of a pool of one talks to.
async fn backend(postgres: &Postgres) -> i32 {
    let asked = postgres.run(async |client| {
        let row = client.query_one("SELECT pg_backend_pid()", &[]).await?;
        row.try_get(0)
    });
    asked.await.unwrap()
}

async fn sleep_in_server(postgres: &Postgres, seconds: f64) -> Result<(), QueryError> {
    let slept = postgres.run(async |client| {
        let sleep = "SELECT pg_sleep($1)";
        client.execute(sleep, &[&seconds]).await
    });
    slept.await.map(drop)
}

fn signal(name: &str, process: i32) {
    let sent = Command::new("kill")
        .args([name, &process.to_string()])
        .status();
    assert!(sent.unwrap().success());
}

async fn wait_until_some(client: &tokio_postgres::Client, rows: &str) {
    let started = Instant::now();
    while count(client, rows).await == 0 {
        assert!(started.elapsed() < LIMIT, "{rows}");
        sleep(Duration::from_millis(20)).await;
    }
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
async fn a_step_that_was_edited_after_it_ran_is_refused() {
    let Some((server, client)) = server().await else {
        return;
    };
    // As this library kept steps before it kept what they did.
    let before = "CREATE TABLE notes (id integer);
         CREATE TABLE schema_migrations (
             version integer PRIMARY KEY,
             name text NOT NULL,
             applied_at timestamptz NOT NULL DEFAULT now()
         );
         INSERT INTO schema_migrations (version, name) VALUES (1, 'create-notes')";
    client.batch_execute(before).await.unwrap();
    let postgres = pool(&server);
    postgres.migrate(migrations(STEPS)).await.unwrap();
    assert_eq!(count(&client, "notes").await, 1);

    let rewritten = postgres.migrate(migrations(REWRITTEN)).await;
    let Err(MigrateError::Rewritten { version: 1, name }) = rewritten else {
        panic!("{rewritten:?}");
    };
    assert_eq!(name, "create-notes");
    postgres.migrate(migrations(STEPS)).await.unwrap();
}

#[tokio::test]
async fn a_step_may_take_longer_than_a_statement() {
    const SLOW: &[Migration] = &[Migration {
        version: 1,
        name: "slow",
        sql: "SELECT pg_sleep(3)",
    }];
    let Some((server, _client)) = server().await else {
        return;
    };
    let (one, other) = (hasty_pool(&server), hasty_pool(&server));
    // One of them takes the step, one waits for it.
    let both = tokio::join!(
        one.migrate(migrations(SLOW)),
        other.migrate(migrations(SLOW))
    );
    both.0.unwrap();
    both.1.unwrap();
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_ended_and_its_connection_kept() {
    let Some((server, _client)) = server().await else {
        return;
    };
    let postgres = hasty_pool(&server);
    let before = backend(&postgres).await;
    let late = sleep_in_server(&postgres, 60.0).await;
    let Err(QueryError::Query(error)) = late else {
        panic!("{late:?}");
    };
    let code = tokio_postgres::error::SqlState::QUERY_CANCELED;
    assert_eq!(error.code(), Some(&code));
    assert_eq!(backend(&postgres).await, before);
}

#[tokio::test]
async fn what_the_url_says_of_limits_counts() {
    let Some((server, _client)) = server().await else {
        return;
    };
    let url = server.url() + "?options=-c%20statement_timeout%3D7s";
    let postgres = Postgres::new(postgres::url(&url).unwrap(), "test", 1).unwrap();
    let limits = postgres.run(async |client| {
        let show = "SELECT current_setting('statement_timeout'),
             current_setting('idle_in_transaction_session_timeout')";
        let row = client.query_one(show, &[]).await?;
        Ok((row.try_get(0)?, row.try_get(1)?))
    });
    let limits: (String, String) = limits.await.unwrap();
    assert_eq!(limits, ("7s".to_owned(), "5s".to_owned()));
}

#[tokio::test]
async fn a_connection_that_does_not_answer_is_left() {
    let Some((server, _client)) = server().await else {
        return;
    };
    let postgres = hasty_pool(&server);
    let hung = backend(&postgres).await;
    signal("-STOP", hung);
    let late = timeout(LIMIT, sleep_in_server(&postgres, 0.0)).await;
    assert!(matches!(late, Ok(Err(QueryError::Late(_)))), "{late:?}");
    assert_ne!(backend(&postgres).await, hung);
    signal("-CONT", hung);
}

/// Who comes next would have to wait for what nobody wants to know any more.
#[tokio::test]
async fn a_connection_whose_caller_went_away_is_left() {
    let Some((server, client)) = server().await else {
        return;
    };
    let postgres = pool(&server);
    let before = backend(&postgres).await;
    let asked = tokio::spawn({
        let postgres = postgres.clone();
        async move { sleep_in_server(&postgres, 3.0).await }
    });
    let sleeping = "pg_stat_activity WHERE query LIKE '%pg_sleep(%' AND state = 'active'
         AND pid <> pg_backend_pid()";
    wait_until_some(&client, sleeping).await;
    asked.abort();
    assert!(asked.await.unwrap_err().is_cancelled());
    assert_ne!(backend(&postgres).await, before);
}

/// A client that hangs in mid-transaction keeps what it has locked from all others.
#[tokio::test]
async fn a_transaction_whose_client_hangs_is_ended() {
    let Some((server, client)) = server().await else {
        return;
    };
    let table = "CREATE TABLE notes (id integer); INSERT INTO notes VALUES (1)";
    client.batch_execute(table).await.unwrap();
    let postgres = pool(&server);
    let (locked, is_locked) = std::sync::mpsc::channel();
    // On a thread of its own that does nothing more, like a process that was stopped.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let hangs = postgres.run(async |client| {
            let transaction = client.transaction().await?;
            transaction.execute("UPDATE notes SET id = 2", &[]).await?;
            locked.send(()).unwrap();
            std::thread::sleep(LIMIT * 2);
            pending::<Result<(), _>>().await
        });
        runtime.block_on(hangs)
    });
    is_locked.recv_timeout(LIMIT).unwrap();
    let update = client.execute("UPDATE notes SET id = 3 WHERE id = 1", &[]);
    let updated = timeout(LIMIT, update).await;
    assert_eq!(updated.expect("the row is free again").unwrap(), 1);
}

#[tokio::test]
async fn requests_that_fill_the_pool_do_not_make_it_unready() {
    let Some((server, client)) = server().await else {
        return;
    };
    let postgres = pool(&server);
    let asked = tokio::spawn({
        let postgres = postgres.clone();
        async move { sleep_in_server(&postgres, 3.5).await }
    });
    let sleeping = "pg_stat_activity WHERE query LIKE '%pg_sleep(%' AND state = 'active'
         AND pid <> pg_backend_pid()";
    wait_until_some(&client, sleeping).await;
    postgres.clone().ready().await.unwrap();
    assert!(!asked.is_finished(), "the pool was still full");
    asked.await.unwrap().unwrap();
}

/// As `/readyz` asks, which drops the question after 900 ms.
#[tokio::test]
async fn readiness_leaves_a_connection_that_does_not_answer() {
    let Some((server, client)) = server().await else {
        return;
    };
    let postgres = pool(&server);
    postgres.clone().ready().await.unwrap();
    let probe = "SELECT pid FROM pg_stat_activity WHERE application_name = 'test'";
    let probe: i32 = client.query_one(probe, &[]).await.unwrap().get(0);
    signal("-STOP", probe);
    let started = Instant::now();
    loop {
        let asked = timeout(Duration::from_millis(900), postgres.clone().ready()).await;
        if asked == Ok(Ok(())) {
            break;
        }
        assert!(started.elapsed() < LIMIT, "{asked:?}");
    }
    signal("-CONT", probe);
}
