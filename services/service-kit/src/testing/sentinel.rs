//! Three Redis and three Sentinels for one test, each a process that can be killed and started again.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::process;
use super::settle::{Server, Settling, UNSETTLED, ask, value};

const REDIS_PASSWORD: &str = "p/w@1";
const SENTINEL_PASSWORD: &str = "s?w";
const MASTER: &str = "main";
/// For the replicas to follow their master, and the Sentinels to know each other.
const SETTLE_LIMIT: Duration = Duration::from_secs(20);

/// Nodes of one master and its replicas, and those who watch them.
#[derive(Debug)]
pub struct RedisSentinel {
    redis: Vec<Node>,
    sentinels: Vec<Node>,
    cli: PathBuf,
}

/// Which process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member {
    /// A Redis, by its number from 0 to 2.
    Redis(usize),
    /// A Sentinel, by its number from 0 to 2.
    Sentinel(usize),
}

#[derive(Debug)]
struct Node {
    program: PathBuf,
    arguments: &'static [&'static str],
    /// Where its data and its own view of the world are kept.
    folder: TempDir,
    port: u16,
    child: Option<Child>,
    /// Of a Redis that was started again.
    settling: Option<Settling>,
}

impl RedisSentinel {
    /// Starts them, and waits until all know each other; none where the test is to be skipped.
    ///
    /// # Panics
    /// When a program is not installed, or they do not come together.
    pub fn start() -> Option<Self> {
        let server = process::find(&["/usr/bin/redis-server"], "redis-server")?;
        let cli = process::find(&["/usr/bin/redis-cli"], "redis-tools")?;
        let redis: Vec<Node> = (0..3).map(|_| Node::new(&server, &[])).collect();
        let first = redis[0].port;
        for (number, node) in redis.iter().enumerate() {
            node.configure(&redis_config((number > 0).then_some(first)));
        }
        let sentinels: Vec<Node> = (0..3)
            .map(|_| Node::new(&server, &["--sentinel"]))
            .collect();
        for node in &sentinels {
            node.configure(&sentinel_config(first));
        }
        let mut all = Self {
            redis,
            sentinels,
            cli,
        };
        all.resume_all();
        all.wait_until_settled();
        Some(all)
    }

    /// The `REDIS_URL` of the master.
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self
            .sentinels
            .iter()
            .map(|node| format!("127.0.0.1:{}", node.port))
            .collect();
        format!(
            "redis+sentinel://:p%2Fw%401@{}/0?master={MASTER}&sentinel-password=s%3Fw",
            hosts.join(",")
        )
    }

    /// The number of the Redis that the Sentinels call master; none while they do not answer.
    pub fn master(&self) -> Option<usize> {
        let port = self.sentinels.iter().find_map(|node| {
            let question = ["sentinel", "get-master-addr-by-name", MASTER];
            let answer = self.ask(node.port, SENTINEL_PASSWORD, &question)?;
            answer.lines().nth(1)?.parse::<u16>().ok()
        })?;
        self.redis.iter().position(|node| node.port == port)
    }

    /// Kills a process (SIGKILL). What is on its disk stays.
    pub fn kill(&mut self, member: Member) {
        self.node(member).kill();
    }

    /// Stops a process where it is (SIGSTOP), as if its machine hung. Only killing it ends that.
    pub fn freeze(&mut self, member: Member) {
        if let Some(child) = &self.node(member).child {
            process::freeze(child);
        }
    }

    /// Starts a process again, at the same address and with the same data.
    ///
    /// # Panics
    /// When it does not start.
    pub fn resume(&mut self, member: Member) {
        self.node(member).start();
        if let Member::Redis(number) = member {
            self.redis[number].settling = Some(self.settling(number));
        }
    }

    /// Kills all of them.
    pub fn kill_all(&mut self) {
        for node in self.redis.iter_mut().chain(&mut self.sentinels) {
            node.kill();
        }
    }

    /// Starts all that do not run.
    ///
    /// # Panics
    /// When one does not start.
    pub fn resume_all(&mut self) {
        let members = (0..3).flat_map(|number| [Member::Redis(number), Member::Sentinel(number)]);
        for member in members {
            if self.node(member).child.is_none() {
                self.resume(member);
            }
        }
    }

    /// Waits until one is master, two follow it, and every Sentinel knows all of that.
    ///
    /// # Panics
    /// When it takes too long.
    pub fn wait_until_settled(&self) {
        let started = Instant::now();
        while !self.is_settled() {
            assert!(
                started.elapsed() < SETTLE_LIMIT,
                "Redis and its Sentinels do not come together:\n{}",
                self.logs()
            );
            sleep(Duration::from_millis(100));
        }
    }

    fn settling(&self, number: usize) -> Settling {
        let server = |node: &Node, password| Server {
            cli: self.cli.clone(),
            port: node.port,
            password,
        };
        let sentinels = self.sentinels.iter();
        let sentinels = sentinels.map(|node| server(node, SENTINEL_PASSWORD));
        let redis = server(&self.redis[number], REDIS_PASSWORD);
        Settling::start(redis, sentinels.collect(), MASTER)
    }

    fn is_settled(&self) -> bool {
        let settling = self.redis.iter().filter_map(|node| node.settling.as_ref());
        if !settling.into_iter().all(Settling::is_done) {
            return false;
        }
        let Some(master) = self.master() else {
            return false;
        };
        let replication = self.ask(
            self.redis[master].port,
            REDIS_PASSWORD,
            &["info", "replication"],
        );
        let follows = replication.is_some_and(|text| {
            text.contains("role:master") && text.matches("state=online").count() == 2
        });
        follows
            && self.sentinels.iter().all(|node| {
                let asked = ["sentinel", "master", MASTER];
                let view = self.ask(node.port, SENTINEL_PASSWORD, &asked);
                view.is_some_and(|view| {
                    value(&view, "num-other-sentinels") == Some("2")
                        && value(&view, "num-slaves") == Some("2")
                })
            })
    }

    fn ask(&self, port: u16, password: &str, question: &[&str]) -> Option<String> {
        ask(&self.cli, port, password, question)
    }

    fn node(&mut self, member: Member) -> &mut Node {
        match member {
            Member::Redis(number) => &mut self.redis[number],
            Member::Sentinel(number) => &mut self.sentinels[number],
        }
    }

    fn logs(&self) -> String {
        let nodes = self.redis.iter().chain(&self.sentinels);
        nodes
            .map(|node| process::read(&node.folder.path().join("log")))
            .collect()
    }
}

impl Node {
    fn new(program: &Path, arguments: &'static [&'static str]) -> Self {
        Self {
            program: program.to_owned(),
            arguments,
            folder: process::folder(),
            port: process::free_port(),
            child: None,
            settling: None,
        }
    }

    /// Redis and its Sentinels write what they learn into their configuration.
    fn configure(&self, text: &str) {
        let folder = self.folder.path();
        let file = folder.join("conf");
        let own = format!(
            "port {}\nbind 127.0.0.1\ndir {}\n{text}",
            self.port,
            folder.display()
        );
        fs::write(&file, own).expect("a configuration can be written");
        process::give_away(&file);
    }

    fn start(&mut self) {
        let log = self.folder.path().join("log");
        let output = File::create(&log).expect("a log can be written");
        let mut child = process::command(&self.program)
            .arg(self.folder.path().join("conf"))
            .args(self.arguments)
            .args(UNSETTLED.iter().filter(|_| self.is_redis()))
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(Stdio::null())
            .spawn()
            .expect("it can be started");
        process::wait_for_port(&mut child, self.port, &log);
        self.child = Some(child);
    }

    fn kill(&mut self) {
        self.settling = None;
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn is_redis(&self) -> bool {
        self.arguments.is_empty()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// As the stack configures it: an acknowledged write is on the disk, and none is taken that no replica gets.
fn redis_config(master: Option<u16>) -> String {
    let replica = master.map_or(String::new(), |port| {
        format!("replicaof 127.0.0.1 {port}\n")
    });
    format!(
        "requirepass {REDIS_PASSWORD}\nmasterauth {REDIS_PASSWORD}\nsave \"\"\nappendonly yes\nappendfsync always\n\
         min-replicas-to-write 1\nmin-replicas-max-lag 3\nrepl-diskless-sync-delay 0\n{replica}"
    )
}

fn sentinel_config(master: u16) -> String {
    format!(
        "requirepass {SENTINEL_PASSWORD}\nsentinel sentinel-pass {SENTINEL_PASSWORD}\n\
         sentinel monitor {MASTER} 127.0.0.1 {master} 2\nsentinel auth-pass {MASTER} {REDIS_PASSWORD}\n\
         sentinel down-after-milliseconds {MASTER} 1000\nsentinel failover-timeout {MASTER} 3000\n\
         sentinel parallel-syncs {MASTER} 2\n"
    )
}
