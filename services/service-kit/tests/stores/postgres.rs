//! PostgreSQL: migrations, limits and readiness.

use service_kit::postgres::{self, MigrateError, Migration, Migrations, Postgres};
use service_kit::testing::PostgresServer;

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
