//! Checks of the PostgreSQL image.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Check, PASSWORD, STOP_LIMIT};
use crate::test::container::{Container, Server, Volume};

pub(super) const CHECKS: [Check; 6] = [
    (
        "is complete as soon as it answers, and keeps its data",
        life,
    ),
    ("follows databases and passwords at every start", change),
    (
        "survives a kill at any moment of its first start",
        kill_first_start,
    ),
    (
        "loses nothing that it acknowledged when it is killed",
        kill_after_writing,
    ),
    ("lets one server at a time use a volume", one_at_a_time),
    (
        "refuses what it cannot do, without a password in sight",
        refuse,
    ),
];

const READY: [&str; 4] = ["pg_isready", "-q", "-h", "127.0.0.1"];

fn start(image: &str, volume: &Volume, password: &str, databases: &str) -> Result<Container> {
    let server = Server {
        image,
        user: "999:999",
        env: &[
            ("POSTGRES_PASSWORD", password),
            ("POSTGRES_DATABASES", databases),
        ],
        args: &[],
    };
    server.start(volume)
}

fn start_ready(image: &str, volume: &Volume) -> Result<Container> {
    let server = start(image, volume, PASSWORD, "birthday hits")?;
    server.wait_for(&[], &READY)?;
    Ok(server)
}

/// Runs SQL over TCP as the owner of a database; what it wrote, or its error.
fn sql(
    server: &Container,
    login: (&str, &str),
    database: &str,
    statement: &str,
) -> Result<String, String> {
    let (user, password) = login;
    let psql = [
        "psql",
        "-XqAt",
        "-h",
        "127.0.0.1",
        "-U",
        user,
        "-d",
        database,
        "-c",
        statement,
    ];
    let output = server
        .exec(&[("PGPASSWORD", password)], &psql)
        .map_err(|error| format!("{error:#}"))?;
    let stream = if output.status.success() {
        output.stdout
    } else {
        output.stderr
    };
    let text = String::from_utf8_lossy(&stream).trim().to_owned();
    if output.status.success() {
        Ok(text)
    } else {
        Err(text)
    }
}

fn expect(outcome: Result<String, String>, expected: &str) -> Result<()> {
    ensure!(
        outcome.as_deref() == Ok(expected),
        "expected {expected:?}, got {outcome:?}"
    );
    Ok(())
}

fn expect_refusal(outcome: Result<String, String>, reason: &str) -> Result<()> {
    let refused = outcome.as_ref().is_err_and(|error| error.contains(reason));
    ensure!(
        refused,
        "expected a refusal with {reason:?}, got {outcome:?}"
    );
    Ok(())
}

fn life(image: &str) -> Result<()> {
    let volume = Volume::create("postgres-life")?;
    let owner = ("birthday", PASSWORD);
    let server = start_ready(image, &volume)?;
    let statement = "CREATE TABLE kept AS SELECT 'Zürich'::text AS name";
    expect(sql(&server, owner, "birthday", statement), "")?;
    expect(
        sql(&server, owner, "birthday", "SELECT upper(name) FROM kept"),
        "ZÜRICH",
    )?;
    let wrong = sql(&server, ("birthday", "wrong"), "birthday", "SELECT 1");
    expect_refusal(wrong, "password authentication failed")?;
    expect_refusal(sql(&server, owner, "hits", "SELECT 1"), "permission denied")?;
    expect(
        sql(
            &server,
            ("hits", PASSWORD),
            "hits",
            "CREATE TABLE own (id int)",
        ),
        "",
    )?;
    ensure!(
        !server.processes()?.contains("p'a"),
        "the password is in an argument list"
    );
    ensure!(
        !server.logs()?.contains("p'a"),
        "the password is in the log"
    );
    server.stop(STOP_LIMIT)?;

    let server = start_ready(image, &volume)?;
    expect(
        sql(&server, owner, "birthday", "SELECT name FROM kept"),
        "Zürich",
    )?;
    server.stop(STOP_LIMIT)
}

fn change(image: &str) -> Result<()> {
    let volume = Volume::create("postgres-change")?;
    start_ready(image, &volume)?.stop(STOP_LIMIT)?;
    let server = start(image, &volume, "another", "birthday hits later")?;
    server.wait_for(&[], &READY)?;
    for owner in ["birthday", "hits", "later"] {
        let statement = "SELECT current_user || ' ' || pg_get_userbyid(datdba) \
                         FROM pg_database WHERE datname = current_database()";
        expect(
            sql(&server, (owner, "another"), owner, statement),
            &format!("{owner} {owner}"),
        )?;
    }
    let old = sql(&server, ("birthday", PASSWORD), "birthday", "SELECT 1");
    expect_refusal(old, "password authentication failed")
}

/// A first start takes one to two seconds; every kill is on a new volume.
fn kill_first_start(image: &str) -> Result<()> {
    for delay in [100, 300, 500, 700, 900, 1100, 1300, 1500] {
        let volume = Volume::create("postgres-kill")?;
        let server = start(image, &volume, PASSWORD, "birthday hits")?;
        sleep(Duration::from_millis(delay));
        server.kill()?;
        let server = start_ready(image, &volume)?;
        for owner in ["birthday", "hits"] {
            expect(
                sql(&server, (owner, PASSWORD), owner, "CREATE TABLE t (id int)"),
                "",
            )?;
        }
    }
    Ok(())
}

fn kill_after_writing(image: &str) -> Result<()> {
    let volume = Volume::create("postgres-write")?;
    let owner = ("hits", PASSWORD);
    let server = start_ready(image, &volume)?;
    expect(sql(&server, owner, "hits", "CREATE TABLE t (id int)"), "")?;
    server.kill()?;
    for round in 1..=3 {
        let server = start_ready(image, &volume)?;
        expect(
            sql(
                &server,
                owner,
                "hits",
                &format!("INSERT INTO t VALUES ({round})"),
            ),
            "",
        )?;
        server.kill()?;
    }
    let server = start_ready(image, &volume)?;
    expect(sql(&server, owner, "hits", "SELECT count(*) FROM t"), "3")
}

fn one_at_a_time(image: &str) -> Result<()> {
    let volume = Volume::create("postgres-two")?;
    let first = start_ready(image, &volume)?;
    let second = start(image, &volume, PASSWORD, "birthday hits")?;
    sleep(Duration::from_secs(2));
    ensure!(
        second.is_running()?,
        "the second gave up:\n{}",
        second.logs()?
    );
    let answers = second.exec(&[], &READY)?.status.success();
    ensure!(!answers, "two servers on one volume");
    let log = second.logs()?;
    ensure!(
        log.contains("another server uses this volume"),
        "the second is silent:\n{log}"
    );
    first.kill()?;
    second.wait_for(&[], &READY)?;
    second.stop(STOP_LIMIT)
}

fn refuse(image: &str) -> Result<()> {
    let cases = [
        ("", "birthday", "set POSTGRES_PASSWORD"),
        (PASSWORD, "birthday postgres", "'postgres' is reserved"),
        (PASSWORD, "Robert'); --", "'Robert');' must match"),
    ];
    for (password, databases, message) in cases {
        let volume = Volume::create("postgres-refuse")?;
        let server = start(image, &volume, password, databases)?;
        let (code, log) = (server.exit_code()?, server.logs()?);
        ensure!(
            code == 1 && log.contains(message),
            "exit code {code}:\n{log}"
        );
        ensure!(!log.contains("p'a"), "the password is in the log");
    }
    Ok(())
}
