//! Checks of the Sentinel image.

use anyhow::{Result, ensure};

use super::{Check, PASSWORD, STOP_LIMIT};
use crate::test::container::{Container, Server, Volume};

pub(super) const CHECKS: [Check; 3] = [
    ("wants its password and keeps what it has learned", life),
    ("is the same to others when its volume is lost", identity),
    (
        "refuses what it cannot do, without a password in sight",
        refuse,
    ),
];

/// Of the servers that it watches.
const REDIS_PASSWORD: &str = r#"r'e"d\is #1"#;
const CLI: [&str; 4] = ["redis-cli", "-e", "-p", "26379"];
const LOGIN: [(&str, &str); 1] = [("REDISCLI_AUTH", PASSWORD)];

fn start(image: &str, volume: &Volume, passwords: [&str; 2]) -> Result<Container> {
    let server = Server {
        image,
        user: "998:998",
        env: &[
            ("SENTINEL_PASSWORD", passwords[0]),
            ("REDIS_PASSWORD", passwords[1]),
            ("SENTINEL_HOST", "127.0.0.1"),
            ("SENTINELS", "127.0.0.1"),
            ("SERVERS", "127.0.0.2 127.0.0.3"),
            ("MASTER", "main"),
        ],
        args: &[],
    };
    server.start(volume)
}

fn start_ready(image: &str, volume: &Volume) -> Result<Container> {
    let sentinel = start(image, volume, [PASSWORD, REDIS_PASSWORD])?;
    sentinel.wait_for(&LOGIN, &[&CLI[..], &["ping"]].concat())?;
    Ok(sentinel)
}

fn reply(sentinel: &Container, command: &[&str]) -> Result<String> {
    let output = sentinel.exec(&LOGIN, &[&CLI[..], command].concat())?;
    let reply = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    ensure!(output.status.success(), "{command:?}: {reply:?}");
    Ok(reply)
}

fn expect(sentinel: &Container, command: &[&str], expected: &str) -> Result<()> {
    let reply = reply(sentinel, command)?;
    ensure!(
        reply == expected,
        "{command:?}: expected {expected:?}, got {reply:?}"
    );
    Ok(())
}

fn life(image: &str) -> Result<()> {
    let volume = Volume::create("sentinel-life")?;
    let master = ["sentinel", "get-master-addr-by-name", "main"];
    let sentinel = start_ready(image, &volume)?;
    expect(&sentinel, &master, "127.0.0.2\n6379")?;
    let stranger = sentinel.exec(&[], &[&CLI[..], &["ping"]].concat())?;
    ensure!(!stranger.status.success(), "it answers without a password");
    // As after a failover; what is written then holds the passwords too, in Sentinel's own way.
    expect(&sentinel, &["sentinel", "remove", "main"], "OK")?;
    let other = ["sentinel", "monitor", "main", "127.0.0.3", "6379", "1"];
    expect(&sentinel, &other, "OK")?;
    let password = ["sentinel", "set", "main", "auth-pass", REDIS_PASSWORD];
    expect(&sentinel, &password, "OK")?;
    expect(&sentinel, &["sentinel", "flushconfig"], "OK")?;
    hides(&sentinel)?;
    sentinel.stop(STOP_LIMIT)?;

    let sentinel = start_ready(image, &volume)?;
    expect(&sentinel, &master, "127.0.0.3\n6379")?;
    let quiet = ["sentinel", "flushconfig"];
    expect(&sentinel, &quiet, "OK")?;
    hides(&sentinel)?;
    sentinel.kill()?;

    let sentinel = start_ready(image, &volume)?;
    expect(&sentinel, &master, "127.0.0.3\n6379")
}

/// While it runs.
fn hides(sentinel: &Container) -> Result<()> {
    shows_none("an argument list", &sentinel.processes()?)?;
    shows_none("the log", &sentinel.logs()?)
}

fn shows_none(place: &str, text: &str) -> Result<()> {
    for part in ["p'a", "r'e"] {
        ensure!(!text.contains(part), "a password is in {place}");
    }
    Ok(())
}

fn identity(image: &str) -> Result<()> {
    let id = || {
        let volume = Volume::create("sentinel-id")?;
        reply(&start_ready(image, &volume)?, &["sentinel", "myid"])
    };
    let (first, second) = (id()?, id()?);
    ensure!(first.len() == 40, "{first:?} is no id");
    ensure!(first == second, "{first} became {second}");
    Ok(())
}

fn refuse(image: &str) -> Result<()> {
    let volume = Volume::create("sentinel-refuse")?;
    for (passwords, message) in [
        (["", REDIS_PASSWORD], "set SENTINEL_PASSWORD"),
        ([PASSWORD, ""], "set REDIS_PASSWORD"),
        (
            ["p'a\nb", REDIS_PASSWORD],
            "SENTINEL_PASSWORD has a control character",
        ),
        (
            [PASSWORD, "r'e\nb"],
            "REDIS_PASSWORD has a control character",
        ),
    ] {
        let sentinel = start(image, &volume, passwords)?;
        let (code, log) = (sentinel.exit_code()?, sentinel.logs()?);
        ensure!(
            code == 1 && log.contains(message),
            "exit code {code}:\n{log}"
        );
        shows_none("the log", &log)?;
    }
    Ok(())
}
