//! Redis and PostgreSQL, and what their own benchmarks make of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use anyhow::{Context, Result, ensure};

use super::process::telling;
use super::report::Measured;
use super::{CONNECTIONS, SECONDS};
use crate::process;

/// A second or more on any machine.
const COMMANDS: usize = 50_000;
const READ: &str =
    "\\set n random(0, 999)\nSELECT date_of_birth FROM birthdays WHERE username = 'u' || :n;\n";
/// The statement of the service.
const WRITE: &str = "\\set n random(0, 999)
INSERT INTO birthdays (username, date_of_birth) VALUES ('u' || :n, '2000-01-31')
ON CONFLICT (username) DO UPDATE SET date_of_birth = EXCLUDED.date_of_birth, updated_at = now();\n";

/// The servers, ended when this is dropped.
pub(super) struct Stores {
    child: Child,
    pub(super) redis: String,
    pub(super) postgres: String,
}

/// A benchmark that came with a store.
#[derive(Clone, Debug)]
pub(super) enum Own {
    /// A command, by words.
    Redis(Vec<String>),
    /// A script of pgbench, and the folder it is run in.
    Postgres {
        script: &'static str,
        folder: PathBuf,
    },
}

impl Stores {
    pub(super) fn start(programs: &Path) -> Result<Self> {
        let (child, said) = telling(programs, "stores")?;
        let url = |name: &str| {
            let url = said[name].as_str().map(String::from);
            url.with_context(|| format!("`load stores` names no {name}"))
        };
        Ok(Self {
            redis: url("redis")?,
            postgres: url("postgres")?,
            child,
        })
    }
}

impl Drop for Stores {
    fn drop(&mut self) {
        // The end of its stdin is what it waits for.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

impl Own {
    pub(super) fn increment() -> Self {
        Self::Redis(words("HINCRBY counters name 1"))
    }

    /// A message as `hits-api` writes it.
    pub(super) fn append() -> Self {
        let id = "01a1fe62-1686-7239-8828-ec7d4273c4ae";
        let fields = format!("event {id} key {id} value 1 request_id {id}");
        Self::Redis(words(&format!("XADD hits * {fields}")))
    }

    pub(super) fn read(folder: &Path) -> Self {
        Self::pgbench(READ, folder)
    }

    pub(super) fn write(folder: &Path) -> Self {
        Self::pgbench(WRITE, folder)
    }

    fn pgbench(script: &'static str, folder: &Path) -> Self {
        let folder = folder.to_owned();
        Self::Postgres { script, folder }
    }

    pub(super) fn measure(&self, redis: &str, postgres: &str) -> Result<Measured> {
        match self {
            Self::Redis(words) => redis_benchmark(redis, words),
            Self::Postgres { script, folder } => pgbench(postgres, script, folder),
        }
    }
}

fn redis_benchmark(url: &str, words: &[String]) -> Result<Measured> {
    let (password, address) = login(url).with_context(|| format!("`{url}` is no URL of Redis"))?;
    let (host, port) = address.split_once(':').unwrap_or((address, "6379"));
    let mut benchmark = Command::new("redis-benchmark");
    benchmark
        .args(["-h", host, "-p", port, "-a", &password, "--csv"])
        .args(["-c", &CONNECTIONS.to_string(), "-n", &COMMANDS.to_string()])
        .args(words);
    let table = process::capture(&mut benchmark)?;
    from_csv(&table).with_context(|| format!("redis-benchmark says {table:?}"))
}

/// Password and address of `redis://:PASSWORD@HOST:PORT/0`: the benchmark's own reader takes the user for an empty one.
fn login(url: &str) -> Option<(String, &str)> {
    let (password, rest) = url.strip_prefix("redis://:")?.split_once('@')?;
    Some((decoded(password)?, rest.split('/').next()?))
}

/// Without percent-encoding.
fn decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut decoded = parts.next()?.to_owned();
    for part in parts {
        let code = u8::from_str_radix(part.get(..2)?, 16).ok()?;
        decoded.push(char::from(code));
        decoded.push_str(&part[2..]);
    }
    Some(decoded)
}

/// `"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms",…`
fn from_csv(table: &str) -> Option<Measured> {
    let row = table.lines().last()?;
    let cells: Vec<&str> = row.trim_matches('"').split("\",\"").collect();
    let number = |from_end: usize| cells.get(cells.len().checked_sub(from_end)?)?.parse().ok();
    // The first is the command, in which there may be anything.
    Some(Measured {
        per_second: number(7)?,
        p50_ms: number(4)?,
        p99_ms: number(2)?,
        refused_per_second: 0.0,
    })
}

/// Its report has no percentiles, its log has every transaction.
fn pgbench(url: &str, script: &str, folder: &Path) -> Result<Measured> {
    let logs = folder.join("pgbench");
    fs::create_dir_all(&logs)?;
    let file = logs.join("script");
    fs::write(&file, script)?;
    let mut pgbench = Command::new(program().context("there is no pgbench")?);
    pgbench
        .args([
            "--no-vacuum",
            "--protocol=prepared",
            "--log",
            "--log-prefix=log",
        ])
        .args(["--client", &CONNECTIONS.to_string(), "--jobs", "2"])
        .args(["--time", &SECONDS.to_string(), "--file"])
        .args([file.as_path(), Path::new(url)])
        .current_dir(&logs);
    let report = process::capture(&mut pgbench)?;
    let mut times = Vec::new();
    for entry in fs::read_dir(&logs)? {
        let path = entry?.path();
        if path != file {
            times.extend(from_log(&fs::read_to_string(&path)?));
        }
    }
    fs::remove_dir_all(&logs)?;
    ensure!(!times.is_empty(), "pgbench did nothing");
    times.sort_unstable();
    let ms =
        |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)] as f64 / 1000.0;
    let per_second = from_report(&report);
    Ok(Measured {
        per_second: per_second.with_context(|| format!("pgbench says {report:?}"))?,
        p50_ms: ms(50),
        p99_ms: ms(99),
        refused_per_second: 0.0,
    })
}

/// `tps = 1234.5 (without initial connection time)`
fn from_report(report: &str) -> Option<f64> {
    let line = report
        .lines()
        .find_map(|line| line.strip_prefix("tps = "))?;
    line.split(' ').next()?.parse().ok()
}

/// A transaction a line: client, number, microseconds, …
fn from_log(log: &str) -> impl Iterator<Item = u64> {
    log.lines()
        .filter_map(|line| line.split(' ').nth(2)?.parse().ok())
}

/// Debian has it beside the server, and not in `$PATH`.
fn program() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<PathBuf> = versions
        .filter_map(|entry| Some(entry.ok()?.path().join("bin/pgbench")))
        .filter(|program| program.is_file())
        .collect();
    found.sort();
    found.pop()
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(String::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_in_the_url() {
        let found = login("redis://:p%2Fw%401@127.0.0.1:7000/0");
        assert_eq!(found, Some(("p/w@1".to_owned(), "127.0.0.1:7000")));
        assert_eq!(login("redis://127.0.0.1:7000/0"), None);
        assert_eq!(login("redis://:%2@h:1"), None);
    }

    #[test]
    fn what_the_benchmarks_of_stores_say_is_read() {
        let table = "\"test\",\"rps\",\"avg_latency_ms\",\"min_latency_ms\",\"p50_latency_ms\",\"p95_latency_ms\",\
                     \"p99_latency_ms\",\"max_latency_ms\"\n\
                     \"XADD hits * a 1\",\"20000.00\",\"0.500\",\"0.100\",\"0.400\",\"0.900\",\"1.500\",\"9.000\"\n";
        let measured = from_csv(table).expect("a row");
        assert_eq!(
            (measured.per_second, measured.p50_ms, measured.p99_ms),
            (20000.0, 0.4, 1.5)
        );
        let report = "latency average = 1.5 ms\ntps = 1234.5 (without initial connection time)\n";
        assert_eq!(from_report(report), Some(1234.5));
        let log = "0 1 1500 0 1700000000 1\n1 1 900 0 1700000000 2\n";
        assert_eq!(from_log(log).collect::<Vec<_>>(), [1500, 900]);
    }
}
