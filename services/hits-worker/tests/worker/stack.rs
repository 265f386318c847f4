//! The servers and the API, and workers in this process.

use std::time::{Duration, Instant};

use axum::Router;
use hits::{Pace, Servers};
use redis::{Cmd, FromRedisValue, cmd, pipe};
use serde_json::{Value, json};
use service_kit::redis::Redis;
use service_kit::testing::{PostgresServer, RedisServer, call, request};
use service_kit::{Kit, Lifecycle, Settings, about, postgres, redis as kit_redis};
use tokio::time::sleep;
use uuid::Uuid;

pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) struct Stack {
    pub(crate) redis: RedisServer,
    pub(crate) postgres: PostgresServer,
    pub(crate) api: Router,
}

pub(crate) struct RunningWorker {
    app: Router,
    pub(crate) lifecycle: Lifecycle,
}

impl Stack {
    pub(crate) async fn start() -> Option<Self> {
        let (redis, postgres) = (RedisServer::start()?, PostgresServer::start()?);
        let mut kit = Kit::new(about!(), Settings::default());
        let config = hits_api::Config {
            servers: Some(servers(&redis.url(), &postgres.url())),
            connections: 2,
            backlog: 500_000,
            pace: Pace::default(),
        };
        let routes = hits_api::start(config, &mut kit).await.unwrap();
        let api = kit.app(routes);
        Some(Self {
            redis,
            postgres,
            api,
        })
    }

    pub(crate) async fn worker(&self, batch: usize) -> RunningWorker {
        let flush = Duration::from_millis(100);
        self.worker_at(Pace { flush, batch }).await
    }

    pub(crate) async fn worker_at(&self, pace: Pace) -> RunningWorker {
        worker(&self.redis.url(), &self.postgres.url(), pace).await
    }

    /// One that reaches Redis in another way.
    pub(crate) async fn worker_over(&self, redis: &str, batch: usize) -> RunningWorker {
        let flush = Duration::from_millis(100);
        worker(redis, &self.postgres.url(), Pace { flush, batch }).await
    }

    /// Whether the increment was acknowledged.
    pub(crate) async fn increment(&self, key: Uuid, value: i64) -> bool {
        let body = json!({"key": key, "value": value});
        let answer = call(&self.api, request("POST", "/increment", &body)).await;
        answer.status == 200
    }

    pub(crate) async fn sum(&self, key: Uuid) -> Option<u64> {
        let path = format!("/increment/{key}");
        let answer = call(&self.api, request("GET", &path, &Value::Null)).await;
        answer.json()["value"].as_u64()
    }

    pub(crate) async fn wait_for_sum(&self, key: Uuid, expected: u64) {
        let started = Instant::now();
        loop {
            let sum = self.sum(key).await;
            if sum == Some(expected) {
                return;
            }
            let late = started.elapsed() > LIMIT;
            assert!(!late, "the sum of {key} is {sum:?} and not {expected}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn redis<T: FromRedisValue>(&self, command: &Cmd) -> T {
        let redis = Redis::new(kit_redis::url(&self.redis.url()).unwrap());
        redis.query_twice(command).await.unwrap()
    }

    pub(crate) async fn append(&self, fields: &[(&str, &str)]) {
        let mut command = cmd("XADD");
        command.arg("hits").arg("*").arg(fields);
        let _: String = self.redis(&command).await;
    }

    /// Increments of 1, each for a key of its own.
    pub(crate) async fn append_many(&self, number: usize) {
        let redis = Redis::new(kit_redis::url(&self.redis.url()).unwrap());
        for page in 0..number.div_ceil(1000) {
            let mut all = pipe();
            for _ in page * 1000..number.min((page + 1) * 1000) {
                let (event, key) = (Uuid::now_v7().to_string(), Uuid::new_v4().to_string());
                let fields = [("event", event.as_str()), ("key", &key), ("value", "1")];
                all.cmd("XADD")
                    .arg("hits")
                    .arg("*")
                    .arg(&fields[..])
                    .ignore();
            }
            let () = redis.pipeline(&all).await.unwrap();
        }
    }

    /// Waits until nothing is left to do: each message is settled.
    pub(crate) async fn wait_for_empty_stream(&self) {
        let started = Instant::now();
        loop {
            let length: u64 = self.redis(cmd("XLEN").arg("hits")).await;
            if length == 0 {
                return;
            }
            assert!(started.elapsed() < LIMIT, "{length} messages are left");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

impl RunningWorker {
    pub(crate) async fn metrics(&self) -> String {
        let answer = call(&self.app, request("GET", "/metrics", &Value::Null)).await;
        answer.text().to_owned()
    }

    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let metrics = self.metrics().await;
        let value = metrics
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value
            .unwrap_or_else(|| panic!("{name} is not in {metrics}"))
            .parse()
            .unwrap()
    }

    /// Waits until a metric is as it should be.
    pub(crate) async fn wait_for(&self, name: &str, holds: impl Fn(f64) -> bool) {
        let started = Instant::now();
        loop {
            let value = self.metric(name).await;
            if holds(value) {
                return;
            }
            assert!(started.elapsed() < LIMIT, "{name} is {value}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn ready(&self) -> (u16, Value) {
        let answer = call(&self.app, request("GET", "/readyz", &Value::Null)).await;
        (answer.status.as_u16(), answer.json())
    }

    pub(crate) async fn wait_until_ready(&self) {
        let started = Instant::now();
        loop {
            let (status, report) = self.ready().await;
            if status == 200 {
                return;
            }
            assert!(started.elapsed() < LIMIT, "{report}");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn worker(redis: &str, postgres: &str, pace: Pace) -> RunningWorker {
    let mut kit = Kit::new(about!(), Settings::default());
    let config = hits_worker::Config {
        servers: Some(servers(redis, postgres)),
        pace,
        remembered: hits::REMEMBERED,
        host: "test".to_owned(),
    };
    let routes = hits_worker::start(config, &mut kit).await.unwrap();
    RunningWorker {
        app: kit.app(routes),
        lifecycle: kit.lifecycle().clone(),
    }
}

fn servers(redis: &str, database: &str) -> Servers {
    Servers {
        redis: kit_redis::url(redis).unwrap(),
        database: postgres::url(database).unwrap(),
    }
}
