//! What is measured, in this order.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::report::{Beside, Measured};
use super::stores::{Own, Stores};
use super::{CONNECTIONS, SECONDS, Services};
use crate::process;
use crate::workspace;

/// The lowest share of the speed of bare `XADD` that `hits-api` may have.
const HITS_LIMIT: f64 = 0.5;
const BARE: &str = "bare axum handler";
const REDIS_COUNT: &str = "redis-benchmark HINCRBY";
const REDIS_APPEND: &str = "redis-benchmark XADD";
const POSTGRES_READ: &str = "pgbench SELECT";
const POSTGRES_WRITE: &str = "pgbench upsert";

/// One thing that is measured, round by round.
pub(super) struct Row {
    pub(super) name: &'static str,
    what: What,
    /// The rows that it is compared with.
    pub(super) beside: Vec<Beside>,
    pub(super) measured: Vec<Measured>,
}

enum What {
    /// A run of `load`.
    Requests(Command),
    /// The store's own benchmark, and the addresses of Redis and PostgreSQL.
    Store(Own, String, String),
}

/// All rows. What is compared with may come later: that is done once all are measured.
pub(super) fn all(
    programs: &Path,
    services: &Services,
    stores: &Stores,
    folder: &Path,
) -> Result<Vec<Row>> {
    let load = |name, url: String, more: &[&str]| requests(name, programs, &url, more);
    let store = |name, own| {
        Row::new(
            name,
            What::Store(own, stores.redis.clone(), stores.postgres.clone()),
        )
    };
    let image = workspace::root().join("services/upload/smoke/pixel.png");
    let form = form(&image, folder)?;
    let upload = [
        "--method",
        "POST",
        "--status",
        "202",
        "--body-file",
        &form,
        "--content-type",
        FORM,
    ];
    let (users, day) = ("/hello/{letters}", r#"{"dateOfBirth":"1990-01-01"}"#);
    let store_day = ["--method", "PUT", "--status", "204", "--body", day];
    let hit = r#"{"key":"0b9d4c5e-7a51-4f0e-9f0f-5d2f3a1c7{n}","value":1}"#;
    let gateway = services.gateway.as_ref().map(|gateway| {
        let url = format!("{}/", gateway.url);
        load("gateway: GET / of the bare handler", url, &[]).beside(BARE)
    });
    let mut rows = vec![
        load(BARE, format!("{}/", services.bare.url), &[]),
        store(REDIS_COUNT, Own::increment()),
        store(REDIS_APPEND, Own::append()),
        load(
            "picture: GET /picture",
            format!("{}/picture", services.picture.url),
            &[],
        )
        .beside(BARE),
        load(
            "upload: POST /upload",
            format!("{}/upload", services.upload.url),
            &upload,
        )
        .beside(BARE),
        load(
            "counter: POST /counters/NAME",
            format!("{}/counters/{{letters}}", services.counter.url),
            &POST,
        )
        .beside(BARE)
        .beside(REDIS_COUNT),
        load(
            "birthday: PUT /hello/USER",
            format!("{}{users}", services.birthday.url),
            &store_day,
        )
        .beside(BARE)
        .beside(POSTGRES_WRITE),
        load(
            "birthday: GET /hello/USER",
            format!("{}{users}", services.birthday.url),
            &[],
        )
        .beside(BARE)
        .beside(POSTGRES_READ),
        store(POSTGRES_WRITE, Own::write(folder)),
        store(POSTGRES_READ, Own::read(folder)),
        load(
            "hits-api: POST /increment",
            format!("{}/increment", services.hits_api.url),
            &["--method", "POST", "--body", hit],
        )
        .beside(BARE)
        .at_least(REDIS_APPEND, HITS_LIMIT),
    ];
    rows.extend(gateway);
    Ok(rows)
}

const POST: [&str; 2] = ["--method", "POST"];
const FORM: &str = "multipart/form-data; boundary=x";

impl Row {
    fn new(name: &'static str, what: What) -> Self {
        Self {
            name,
            what,
            beside: Vec::new(),
            measured: Vec::new(),
        }
    }

    fn beside(mut self, row: &'static str) -> Self {
        self.beside.push(Beside { row, limit: None });
        self
    }

    fn at_least(mut self, row: &'static str, share: f64) -> Self {
        let limit = Some(share);
        self.beside.push(Beside { row, limit });
        self
    }

    pub(super) fn measure(&mut self) -> Result<Measured> {
        let measured = match &mut self.what {
            What::Requests(load) => from_load(&process::capture(load)?),
            What::Store(own, redis, postgres) => own.measure(redis, postgres),
        };
        measured.with_context(|| format!("cannot measure {}", self.name))
    }
}

fn requests(name: &'static str, programs: &Path, url: &str, more: &[&str]) -> Row {
    let mut load = Command::new(programs.join("load"));
    load.args(["run", url])
        .args(["--connections", &CONNECTIONS.to_string()])
        .args(["--seconds", &SECONDS.to_string()])
        .args(more);
    Row::new(name, What::Requests(load))
}

fn from_load(text: &str) -> Result<Measured> {
    let said: Value = serde_json::from_str(text)?;
    let number = |name: &str| {
        let number = said[name].as_f64();
        number.with_context(|| format!("`load run` says no {name}"))
    };
    Ok(Measured {
        per_second: number("per_second")?,
        p50_ms: number("p50_ms")?,
        p99_ms: number("p99_ms")?,
        refused_per_second: number("refused_per_second")?,
    })
}

/// A form with this image, as a file.
fn form(image: &Path, folder: &Path) -> Result<String> {
    let head = b"--x\r\ncontent-disposition: form-data; name=\"image\"; filename=\"a.png\"\r\n\r\n";
    let image = std::fs::read(image).with_context(|| format!("cannot read {}", image.display()))?;
    let file = folder.join("form");
    std::fs::write(&file, [&head[..], &image, b"\r\n--x--\r\n"].concat())?;
    Ok(file.display().to_string())
}
