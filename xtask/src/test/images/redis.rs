//! Checks of the Redis image.

use anyhow::{Result, ensure};

use super::{Check, PASSWORD, STOP_LIMIT};
use crate::test::container::{Container, Server, Volume};

pub(super) const CHECKS: [Check; 7] = [
    ("wants its password and keeps its data", life),
    (
        "loses nothing that it acknowledged when it is killed",
        kill_after_writing,
    ),
    ("lets one server at a time use a volume", one_at_a_time),
    ("takes a copy back, and no half of one", restore),
    (
        "refuses what it cannot do, without a password in sight",
        refuse,
    ),
    ("is Redis Sentinel where that is started", sentinel),
    (
        "serves nobody until its Sentinels say who is master",
        waits_for_sentinels,
    ),
];

const READY: [&str; 3] = ["redis-cli", "-e", "ping"];
const LOGIN: [(&str, &str); 1] = [("REDISCLI_AUTH", PASSWORD)];

fn start(image: &str, volume: &Volume, password: &str) -> Result<Container> {
    let server = Server {
        image,
        user: "998:998",
        env: &[("REDIS_PASSWORD", password)],
        args: &["--maxmemory", "64mb"],
    };
    server.start(volume)
}

fn start_ready(image: &str, volume: &Volume) -> Result<Container> {
    let server = start(image, volume, PASSWORD)?;
    server.wait_for(&LOGIN, &READY)?;
    Ok(server)
}

fn expect(server: &Container, command: &[&str], expected: &str) -> Result<()> {
    let program = [&["redis-cli", "-e"], command].concat();
    let output = server.exec(&LOGIN, &program)?;
    let reply = String::from_utf8_lossy(&output.stdout);
    ensure!(
        reply.trim() == expected,
        "{command:?}: expected {expected:?}, got {reply:?}"
    );
    Ok(())
}

fn life(image: &str) -> Result<()> {
    let volume = Volume::create("redis-life")?;
    let server = start_ready(image, &volume)?;
    expect(&server, &["set", "kept", "yes"], "OK")?;
    expect(
        &server,
        &["config", "get", "maxmemory"],
        "maxmemory\n67108864",
    )?;
    let stranger = server.exec(&[], &READY)?;
    ensure!(!stranger.status.success(), "it answers without a password");
    ensure!(
        !server.processes()?.contains("p'a"),
        "the password is in an argument list"
    );
    server.stop(STOP_LIMIT)?;

    let server = start_ready(image, &volume)?;
    expect(&server, &["get", "kept"], "yes")?;
    server.stop(STOP_LIMIT)
}

fn kill_after_writing(image: &str) -> Result<()> {
    let volume = Volume::create("redis-kill")?;
    for round in 1..=5 {
        let server = start_ready(image, &volume)?;
        expect(&server, &["incr", "count"], &round.to_string())?;
        server.kill()?;
    }
    Ok(())
}

fn one_at_a_time(image: &str) -> Result<()> {
    let volume = Volume::create("redis-two")?;
    let first = start_ready(image, &volume)?;
    let second = start(image, &volume, PASSWORD)?;
    second.wait_until(|| Ok(second.logs()?.contains("another server uses this volume")))?;
    ensure!(
        second.is_running()?,
        "the second gave up:\n{}",
        second.logs()?
    );
    let answers = second.exec(&LOGIN, &READY)?.status.success();
    ensure!(!answers, "two servers on one volume");
    first.kill()?;
    second.wait_for(&LOGIN, &READY)?;
    second.stop(STOP_LIMIT)
}

fn restore(image: &str) -> Result<()> {
    let volume = Volume::create("redis-restore")?;
    let server = start_ready(image, &volume)?;
    expect(&server, &["set", "key", "then"], "OK")?;
    let script =
        "backup >/data/copy && redis-cli set key now && head -c 60 /data/copy >/data/restore.rdb";
    let done = server.exec(&LOGIN, &["sh", "-c", script])?;
    ensure!(done.status.success(), "{done:?}");
    server.kill()?;

    let server = start_ready(image, &volume)?;
    expect(&server, &["get", "key"], "now")?;
    let told = server.logs()?.contains("restore.rdb is not a whole copy");
    ensure!(told, "half a copy is not spoken of");
    let back = server.exec(&LOGIN, &["mv", "/data/copy", "/data/restore.rdb"])?;
    ensure!(back.status.success(), "{back:?}");
    server.kill()?;

    // Killed at once, and again when it has what was restored and more.
    start(image, &volume, PASSWORD)?.kill()?;
    let server = start_ready(image, &volume)?;
    expect(&server, &["get", "key"], "then")?;
    expect(&server, &["incr", "count"], "1")?;
    server.kill()?;
    let server = start_ready(image, &volume)?;
    expect(&server, &["get", "key"], "then")?;
    expect(&server, &["incr", "count"], "2")
}

fn refuse(image: &str) -> Result<()> {
    let volume = Volume::create("redis-refuse")?;
    for (password, message) in [("", "set REDIS_PASSWORD"), ("a\nb", "a control character")] {
        let server = start(image, &volume, password)?;
        let (code, log) = (server.exit_code()?, server.logs()?);
        ensure!(
            code == 1 && log.contains(message),
            "exit code {code}:\n{log}"
        );
    }
    Ok(())
}

fn sentinel(image: &str) -> Result<()> {
    let volume = Volume::create("redis-sentinel")?;
    let server = start_ready(image, &volume)?;
    let script = "echo port 26379 >/tmp/sentinel.conf \
                  && exec redis-sentinel /tmp/sentinel.conf --daemonize yes";
    let output = server.exec(&[], &["sh", "-c", script])?;
    ensure!(output.status.success(), "it did not start: {output:?}");
    let info = ["redis-cli", "-p", "26379", "info", "server"];
    server.wait_for(&[], &[&info[..3], &["ping"]].concat())?;
    let info = String::from_utf8_lossy(&server.exec(&[], &info)?.stdout).into_owned();
    ensure!(info.contains("redis_mode:sentinel"), "no Sentinel: {info}");
    Ok(())
}

fn waits_for_sentinels(image: &str) -> Result<()> {
    let volume = Volume::create("redis-waits")?;
    let start = |sentinel_password| {
        let server = Server {
            image,
            user: "998:998",
            env: &[
                ("REDIS_PASSWORD", PASSWORD),
                ("REDIS_HOST", "redis-0.redis"),
                ("SENTINELS", "127.0.0.1 127.0.0.2 127.0.0.3"),
                ("SENTINEL_PASSWORD", sentinel_password),
                ("MASTER", "main"),
            ],
            args: &[],
        };
        server.start(&volume)
    };
    let server = start("")?;
    let (code, log) = (server.exit_code()?, server.logs()?);
    ensure!(
        code == 1 && log.contains("set SENTINEL_PASSWORD"),
        "exit code {code}:\n{log}"
    );
    drop(server);

    let server = start(PASSWORD)?;
    server.wait_until(|| Ok(server.logs()?.contains("waiting for 2 of the Sentinels")))?;
    ensure!(
        !server.exec(&LOGIN, &READY)?.status.success(),
        "it serves before it knows who is master"
    );
    ensure!(
        !server.logs()?.contains("p'a"),
        "the password is in the log"
    );
    Ok(())
}
