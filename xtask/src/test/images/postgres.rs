//! Checks of the PostgreSQL image.

use std::process::Output;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Check, PASSWORD, STOP_LIMIT};
use crate::test::container::{Container, Server, Volume};

pub(super) const CHECKS: [Check; 9] = [
    (
        "is complete as soon as it answers, and keeps its data",
        life,
    ),
    ("follows databases and passwords at every start", change),
    ("keeps its databases apart", apart),
    ("parts what a volume of one password shared", upgrade),
    ("is backed up and restored as its README says", back_up),
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

/// The owners of databases, and what they log in with.
const BIRTHDAY: Login = ("birthday", PASSWORD);
const HITS: Login = ("hits", r#"h'i"t\s $HOME"#);
const OWNERS: [Login; 2] = [BIRTHDAY, HITS];
/// What of their passwords is nowhere to be seen.
const SECRET: [&str; 2] = ["p'a", "h'i"];

/// Name and password.
type Login = (&'static str, &'static str);

/// As the probes ask. Any name will do but the superuser's, which would be refused, and that logged.
const READY: [&str; 6] = ["pg_isready", "-q", "-h", "127.0.0.1", "-U", "probe"];

/// Starts it with a database for each of the owners.
fn start(image: &str, volume: &Volume, owners: &[Login]) -> Result<Container> {
    start_as("999:999", image, volume, owners)
}

fn start_as(user: &str, image: &str, volume: &Volume, owners: &[Login]) -> Result<Container> {
    let names: Vec<&str> = owners.iter().map(|(name, _)| *name).collect();
    let databases = names.join(" ");
    let passwords: Vec<(String, &str)> = owners
        .iter()
        .map(|(name, password)| (variable(name), *password))
        .collect();
    let mut env = vec![("POSTGRES_DATABASES", databases.as_str())];
    env.extend(
        passwords
            .iter()
            .map(|(name, value)| (name.as_str(), *value)),
    );
    let server = Server {
        image,
        user,
        env: &env,
        args: &[],
    };
    server.start(volume)
}

fn variable(owner: &str) -> String {
    format!("POSTGRES_PASSWORD_{}", owner.to_uppercase())
}

fn start_ready(image: &str, volume: &Volume) -> Result<Container> {
    start_ready_with(image, volume, &OWNERS)
}

fn start_ready_with(image: &str, volume: &Volume, owners: &[Login]) -> Result<Container> {
    let server = start(image, volume, owners)?;
    server.wait_for(&[], &READY)?;
    Ok(server)
}

/// Runs SQL over TCP; what it wrote, or its error.
fn sql(
    server: &Container,
    login: Login,
    database: &str,
    statement: &str,
) -> Result<String, String> {
    let (user, password) = login;
    let place = ["-h", "127.0.0.1", "-U", user];
    let query = ["-d", database, "-c", statement];
    let psql = [&["psql", "-XqAt"], &place[..], &query].concat();
    said(server.exec(&[("PGPASSWORD", password)], &psql))
}

/// Runs SQL in the pod, as `kubectl exec` does: over the socket, as the superuser.
fn sql_inside(server: &Container, statement: &str) -> Result<String, String> {
    said(server.exec(&[], &["psql", "-XqAt", "-c", statement]))
}

fn said(output: Result<Output>) -> Result<String, String> {
    let output = output.map_err(|error| format!("{error:#}"))?;
    let text = |stream: &[u8]| String::from_utf8_lossy(stream).trim().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
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

fn expect_secrecy(text: &str) -> Result<()> {
    let shown = SECRET.iter().any(|secret| text.contains(secret));
    ensure!(!shown, "a password can be seen");
    Ok(())
}

fn life(image: &str) -> Result<()> {
    let volume = Volume::create("postgres-life")?;
    let server = start_ready(image, &volume)?;
    let statement = "CREATE TABLE kept AS SELECT 'Zürich'::text AS name";
    expect(sql(&server, BIRTHDAY, "birthday", statement), "")?;
    let statement = "SELECT upper(name) FROM kept";
    expect(sql(&server, BIRTHDAY, "birthday", statement), "ZÜRICH")?;
    let statement = "CREATE TABLE own (id int)";
    expect(sql(&server, HITS, "hits", statement), "")?;
    expect_secrecy(&server.processes()?)?;
    let log = server.logs()?;
    expect_secrecy(&log)?;
    ensure!(!log.contains("rejects"), "readiness is logged:\n{log}");
    server.stop(STOP_LIMIT)?;

    let server = start_ready(image, &volume)?;
    let statement = "SELECT name FROM kept";
    expect(sql(&server, BIRTHDAY, "birthday", statement), "Zürich")?;
    server.stop(STOP_LIMIT)
}

fn change(image: &str) -> Result<()> {
    let volume = Volume::create("postgres-change")?;
    start_ready(image, &volume)?.stop(STOP_LIMIT)?;
    let owners = [("birthday", "another"), HITS, ("later", "third")];
    let server = start_ready_with(image, &volume, &owners)?;
    for owner in owners {
        let statement = "SELECT current_user || ' ' || pg_get_userbyid(datdba) \
                         FROM pg_database WHERE datname = current_database()";
        let name = owner.0;
        expect(
            sql(&server, owner, name, statement),
            &format!("{name} {name}"),
        )?;
    }
    let old = sql(&server, BIRTHDAY, "birthday", "SELECT 1");
    expect_refusal(old, "password authentication failed")
}

/// Who has the password of one owner gets into one database, and nobody is superuser but who is in the pod.
fn apart(image: &str) -> Result<()> {
    let volume = Volume::create("postgres-apart")?;
    let server = start_ready(image, &volume)?;
    for (own, other) in [(BIRTHDAY, HITS), (HITS, BIRTHDAY)] {
        expect(sql(&server, own, own.0, "SELECT 1"), "1")?;
        let refused = sql(&server, own, other.0, "SELECT 1");
        expect_refusal(refused, "permission denied for database")?;
        let refused = sql(&server, (other.0, own.1), other.0, "SELECT 1");
        expect_refusal(refused, "password authentication failed")?;
        expect_no_superuser(&server, own.1)?;
    }
    expect(sql_inside(&server, "SELECT current_user"), "postgres")
}

fn expect_no_superuser(server: &Container, password: &'static str) -> Result<()> {
    let refused = sql(server, ("postgres", password), "postgres", "SELECT 1");
    expect_refusal(refused, "pg_hba.conf rejects connection")
}

/// An earlier version had one password, the superuser's and every owner's.
fn upgrade(image: &str) -> Result<()> {
    let volume = Volume::create("postgres-upgrade")?;
    let shared = [("birthday", "shared"), ("hits", "shared")];
    let server = start_ready_with(image, &volume, &shared)?;
    let statement = "CREATE TABLE kept AS SELECT 1 AS id";
    expect(sql(&server, shared[0], "birthday", statement), "")?;
    let statement = "ALTER ROLE postgres PASSWORD 'shared'";
    expect(sql_inside(&server, statement), "")?;
    server.stop(STOP_LIMIT)?;

    let server = start_ready(image, &volume)?;
    for owner in shared {
        let refused = sql(&server, owner, owner.0, "SELECT 1");
        expect_refusal(refused, "password authentication failed")?;
    }
    expect(
        sql(&server, BIRTHDAY, "birthday", "SELECT id FROM kept"),
        "1",
    )?;
    expect_no_superuser(&server, "shared")?;
    let statement = "SELECT count(rolpassword) FROM pg_authid WHERE rolname = 'postgres'";
    expect(sql_inside(&server, statement), "0")
}

/// A first start takes one to two seconds; every kill is on a new volume.
fn kill_first_start(image: &str) -> Result<()> {
    for delay in [100, 300, 500, 700, 900, 1100, 1300, 1500] {
        let volume = Volume::create("postgres-kill")?;
        let server = start(image, &volume, &OWNERS)?;
        sleep(Duration::from_millis(delay));
        server.kill()?;
        let server = start_ready(image, &volume)?;
        for owner in OWNERS {
            let statement = "CREATE TABLE t (id int)";
            expect(sql(&server, owner, owner.0, statement), "")?;
        }
    }
    Ok(())
}

fn kill_after_writing(image: &str) -> Result<()> {
    let volume = Volume::create("postgres-write")?;
    let server = start_ready(image, &volume)?;
    let table = "CREATE TABLE t (id int)";
    expect(sql(&server, HITS, "hits", table), "")?;
    server.kill()?;
    for round in 1..=3 {
        let server = start_ready(image, &volume)?;
        let statement = format!("INSERT INTO t VALUES ({round})");
        expect(sql(&server, HITS, "hits", &statement), "")?;
        server.kill()?;
    }
    let server = start_ready(image, &volume)?;
    expect(sql(&server, HITS, "hits", "SELECT count(*) FROM t"), "3")
}

/// With the commands of services/README.md, but for `kubectl exec`.
fn back_up(image: &str) -> Result<()> {
    let volume = Volume::create("postgres-backup")?;
    let server = start_ready(image, &volume)?;
    let statement = "CREATE TABLE kept AS SELECT 'Zürich'::text AS name";
    expect(sql(&server, BIRTHDAY, "birthday", statement), "")?;
    let shell = |script: &str| said(server.exec(&[], &["sh", "-c", script]));
    expect(shell("pg_dump -Fc birthday > /tmp/birthday.dump"), "")?;

    let statement = "DROP TABLE kept; CREATE TABLE newer (id int)";
    expect(sql(&server, BIRTHDAY, "birthday", statement), "")?;
    let restore =
        "pg_restore --clean --if-exists --single-transaction -d birthday < /tmp/birthday.dump";
    expect(shell(restore), "")?;
    let statement =
        "SELECT name || ' ' || tableowner FROM kept, pg_tables WHERE tablename = 'kept'";
    expect(
        sql(&server, BIRTHDAY, "birthday", statement),
        "Zürich birthday",
    )
}

fn one_at_a_time(image: &str) -> Result<()> {
    let volume = Volume::create("postgres-two")?;
    let first = start_ready(image, &volume)?;
    let second = start(image, &volume, &OWNERS)?;
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
    let cases: [(&[Login], &str); 4] = [
        (&[("birthday", "")], "set POSTGRES_PASSWORD_BIRTHDAY"),
        (&[BIRTHDAY, ("hits", "")], "set POSTGRES_PASSWORD_HITS"),
        (
            &[BIRTHDAY, ("postgres", PASSWORD)],
            "'postgres' is reserved",
        ),
        (&[("robert'); --", PASSWORD)], "'robert');' must match"),
    ];
    for (owners, message) in cases {
        let volume = Volume::create("postgres-refuse")?;
        expect_end(&start(image, &volume, owners)?, message)?;
    }
    let volume = Volume::create("postgres-refuse")?;
    let stranger = start_as("1234:1234", image, &volume, &OWNERS)?;
    expect_end(&stranger, "/data is not writable by uid 1234")
}

/// That it ends by itself, and says why.
fn expect_end(server: &Container, message: &str) -> Result<()> {
    let (code, log) = (server.exit_code()?, server.logs()?);
    ensure!(
        code == 1 && log.contains(message),
        "exit code {code}:\n{log}"
    );
    expect_secrecy(&log)
}
