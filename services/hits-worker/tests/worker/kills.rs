//! Everything is killed at random under load, several processes at once: what was acknowledged counts exactly once,
//! what was not at most once.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hits::is_keyed;
use redis::cmd;
use serde_json::Value;
use service_kit::redis::{Redis, url};
use service_kit::testing::{Member, PostgresServer, Random, RedisSentinel, RedisServer};
use tokio::time::sleep;
use uuid::Uuid;

use crate::process::{Answer, Failure, Process, Program, Urls, ask};

const DURATION: Duration = Duration::from_secs(30);
/// From the last kill until everything is summed up.
const DRAIN_LIMIT: Duration = Duration::from_secs(60);
const CLIENTS: usize = 8;
const KEYS: usize = 3;

/// One key, and what is known of it.
struct Counted {
    key: Uuid,
    /// Whether increments of it have an `Idempotency-Key`. Those without are of 1, so that their sums are their number.
    once: bool,
    acknowledged: AtomicU64,
    unknown: AtomicU64,
    /// Those that were acknowledged, and when.
    events: Mutex<Vec<(Uuid, SystemTime)>>,
}

/// What a client may conclude from an answer, or from none.
enum Outcome {
    Acknowledged(Uuid),
    /// It does not count.
    Refused,
    /// It counts once or not at all.
    Unknown,
}

/// The Redis, of one sort or the other.
enum Store {
    One(RedisServer),
    Six(RedisSentinel),
}

struct System {
    store: Store,
    postgres: PostgresServer,
    postgres_runs: bool,
    apis: Vec<Process>,
    workers: Vec<Process>,
    /// What is started again, and when.
    down: Vec<(Victim, Instant)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Victim {
    Api(usize),
    Worker(usize),
    Postgres,
    Redis(Member),
}

impl Counted {
    fn new(number: usize) -> Self {
        Self {
            key: Uuid::new_v4(),
            once: number < KEYS,
            acknowledged: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            events: Mutex::default(),
        }
    }
}

impl Store {
    fn url(&self) -> String {
        match self {
            Self::One(server) => server.url(),
            Self::Six(servers) => servers.url(),
        }
    }

    fn kill(&mut self, member: Member) {
        match self {
            Self::One(server) => server.kill(),
            Self::Six(servers) => servers.kill(member),
        }
    }

    fn resume(&mut self, member: Member) {
        match self {
            Self::One(server) => server.resume(),
            Self::Six(servers) => servers.resume(member),
        }
    }

    /// The guarantee is for one process of the six at a time: the next may only be killed when all have come together.
    fn wait_until_settled(&self) {
        if let Self::Six(servers) = self {
            servers.wait_until_settled();
        }
    }

    /// One of each sort.
    fn sorts(&self) -> Vec<Member> {
        match self {
            Self::One(_) => vec![Member::Redis(0)],
            Self::Six(servers) => {
                let master = servers.master().unwrap_or(0);
                let replica = (master + 1) % 3;
                vec![
                    Member::Redis(master),
                    Member::Redis(replica),
                    Member::Sentinel(0),
                ]
            }
        }
    }

    fn victim(&self, random: &mut Random) -> Member {
        let number = random.below(6) as usize;
        match (self, number) {
            (Self::One(_), _) => Member::Redis(0),
            // Every second time the one that hurts most.
            (Self::Six(servers), _) if random.below(2) == 0 => {
                Member::Redis(servers.master().unwrap_or(0))
            }
            (Self::Six(_), 0..3) => Member::Redis(number),
            (Self::Six(_), _) => Member::Sentinel(number - 3),
        }
    }
}

impl System {
    fn start(store: Store) -> Option<Self> {
        let postgres = PostgresServer::start()?;
        let urls = Urls {
            redis: store.url(),
            database: postgres.url(),
        };
        let flush = [("FLUSH_SECONDS", "0.5")];
        let start = |program| Process::start(program, &urls, &flush);
        Some(Self {
            apis: (0..2).map(|_| start(Program::Api)).collect(),
            workers: (0..3).map(|_| start(Program::Worker)).collect(),
            down: Vec::new(),
            postgres_runs: true,
            postgres,
            store,
        })
    }

    /// Kills for as long as it is to, then starts everything again.
    #[expect(clippy::print_stderr, reason = "what led to a failure")]
    fn torment(&mut self, mut random: Random) {
        let started = Instant::now();
        // Chance might leave one out.
        let mut first = vec![Victim::Worker(0), Victim::Api(0), Victim::Postgres];
        first.extend(self.store.sorts().into_iter().map(Victim::Redis));
        while started.elapsed() < DURATION || !first.is_empty() {
            thread::sleep(Duration::from_millis(random.below(400)));
            let now = Instant::now();
            let (due, later) = self.down.drain(..).partition(|(_, until)| *until <= now);
            self.down = later;
            self.resume(due);
            let number = first.len() as u64;
            let next = (number > 0).then(|| random.below(number) as usize);
            let victim = next.map(|next| first[next]);
            let victim = victim.unwrap_or_else(|| match random.below(10) {
                number @ 0..3 => Victim::Worker(number as usize),
                number @ 3..5 => Victim::Api(number as usize - 3),
                5..7 => Victim::Postgres,
                _ => Victim::Redis(self.store.victim(&mut random)),
            });
            let pause = Duration::from_millis(random.below(3000));
            if self.kill(victim, pause) {
                let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
                eprintln!("{:.3} {victim:?} for {pause:?}", clock.as_secs_f64());
                next.map(|next| first.swap_remove(next));
            }
        }
        let all = self.down.drain(..).collect();
        self.resume(all);
        self.store.wait_until_settled();
    }

    /// Whether it was up.
    fn kill(&mut self, victim: Victim, pause: Duration) -> bool {
        let mut down = self.down.iter();
        let is_down = match victim {
            Victim::Redis(_) => down.any(|(other, _)| matches!(other, Victim::Redis(_))),
            victim => down.any(|(other, _)| *other == victim),
        };
        if is_down {
            return false;
        }
        match victim {
            Victim::Api(number) => self.apis[number].kill(),
            Victim::Worker(number) => self.workers[number].kill(),
            Victim::Postgres => {
                self.postgres.kill_all_processes();
                self.postgres_runs = false;
            }
            Victim::Redis(member) => {
                self.store.wait_until_settled();
                self.store.kill(member);
            }
        }
        self.down.push((victim, Instant::now() + pause));
        true
    }

    fn resume(&mut self, victims: Vec<(Victim, Instant)>) {
        for (victim, _) in victims {
            match victim {
                Victim::Api(number) => self.apis[number].resume(),
                Victim::Worker(number) => self.workers[number].resume(),
                Victim::Postgres => {
                    self.postgres.resume();
                    self.postgres_runs = true;
                }
                Victim::Redis(member) => self.store.resume(member),
            }
        }
    }
}

/// Posts one increment to one of the APIs.
async fn post(port: u16, body: &str, idempotency: Option<&str>) -> Outcome {
    let header = idempotency.map(|key| ("idempotency-key", key));
    let headers: Vec<(&str, &str)> = header.into_iter().collect();
    match ask(port, "POST /increment", &headers, body).await {
        Ok(Answer { status: 200, body }) => {
            let accepted: Value = serde_json::from_str(&body).unwrap();
            Outcome::Acknowledged(accepted["event"].as_str().unwrap().parse().unwrap())
        }
        Ok(Answer { status: 503, body }) => {
            let problem: Value = serde_json::from_str(&body).unwrap();
            match problem["code"].as_str().unwrap() {
                "stream-unavailable" | "busy" => Outcome::Refused,
                "outcome-unknown" | "request-timed-out" => Outcome::Unknown,
                other => panic!("{other}: {body}"),
            }
        }
        Ok(answer) => panic!("{answer:?}"),
        Err(Failure::NotSent) => Outcome::Refused,
        Err(Failure::NoAnswer) => Outcome::Unknown,
    }
}

/// Increments until it is told to stop. With an `Idempotency-Key` it repeats until it is answered, and now and then
/// once more; when it is to stop, until then too.
async fn client(
    ports: Vec<u16>,
    counted: Arc<Vec<Counted>>,
    stop: Arc<AtomicBool>,
    mut random: Random,
) {
    while !stop.load(Ordering::SeqCst) {
        let one = &counted[random.below(counted.len() as u64) as usize];
        let value = if one.once { 1 + random.below(100) } else { 1 };
        let body = format!("{{\"key\":\"{}\",\"value\":{value}}}", one.key);
        let name = Uuid::new_v4().to_string();
        let mut again = random.below(10) == 0;
        loop {
            let port = ports[random.below(ports.len() as u64) as usize];
            let idempotency = one.once.then_some(name.as_str());
            match (one.once, post(port, &body, idempotency).await) {
                (true, Outcome::Acknowledged(_)) if again => again = false,
                (_, Outcome::Acknowledged(event)) => {
                    one.events.lock().unwrap().push((event, SystemTime::now()));
                    one.acknowledged.fetch_add(value, Ordering::SeqCst);
                    break;
                }
                (false, Outcome::Unknown) => {
                    one.unknown.fetch_add(value, Ordering::SeqCst);
                    break;
                }
                (false, Outcome::Refused) => {
                    sleep(Duration::from_millis(20)).await;
                    break;
                }
                (true, _) => sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

async fn sum(port: u16, key: Uuid) -> u64 {
    let answer = ask(port, &format!("GET /increment/{key}"), &[], "")
        .await
        .unwrap();
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    body["value"].as_u64().unwrap()
}

/// How many acknowledged increments are in no sum. Tells which, and when they were acknowledged.
#[expect(clippy::print_stderr, reason = "what led to a failure")]
async fn missing(postgres: &PostgresServer, one: &Counted) -> usize {
    let client = postgres.connect().await;
    let acknowledged = one.events.lock().unwrap().clone();
    let events: Vec<Uuid> = acknowledged.iter().map(|(event, _)| *event).collect();
    let select = "SELECT event FROM hits_events WHERE event = ANY($1)";
    let found = client.query(select, &[&events]).await.unwrap();
    let found: HashSet<Uuid> = found.iter().map(|row| row.get(0)).collect();
    let mut missing = 0;
    for (event, at) in acknowledged {
        if !found.contains(&event) {
            missing += 1;
            let at = at.duration_since(UNIX_EPOCH).unwrap();
            eprintln!("missing: {event}, acknowledged at {:.3}", at.as_secs_f64());
        }
    }
    missing
}

/// How many increments without an `Idempotency-Key` were applied.
async fn applied(postgres: &PostgresServer) -> u64 {
    let client = postgres.connect().await;
    let events = client.query("SELECT event FROM hits_events", &[]).await;
    let events = events.unwrap();
    let without = events.iter().filter(|row| !is_keyed(row.get(0)));
    without.count() as u64
}

/// Waits until all that is on the stream is in a sum.
async fn drain(redis: &Redis) {
    let started = Instant::now();
    loop {
        let length: Result<u64, _> = redis.query(cmd("XLEN").arg("hits")).await;
        if matches!(length, Ok(0)) {
            return;
        }
        assert!(started.elapsed() < DRAIN_LIMIT, "{length:?} are left");
        sleep(Duration::from_millis(100)).await;
    }
}

async fn survives(store: Store) {
    let mut random = Random::seeded();
    let Some(mut system) = System::start(store) else {
        return;
    };
    for process in system.apis.iter().chain(&system.workers) {
        process.wait_until_ready().await;
    }
    let counted: Arc<Vec<Counted>> = Arc::new((0..2 * KEYS).map(Counted::new).collect());
    let stop = Arc::new(AtomicBool::new(false));
    let ports: Vec<u16> = system.apis.iter().map(|api| api.port).collect();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            tokio::spawn(client(
                ports.clone(),
                counted.clone(),
                stop.clone(),
                random.split(),
            ))
        })
        .collect();
    let torment = random.split();
    let system = tokio::task::spawn_blocking(move || {
        system.torment(torment);
        system
    });
    let system = system.await.unwrap();
    for process in system.apis.iter().chain(&system.workers) {
        assert!(process.runs() && system.postgres_runs);
        process.wait_until_ready().await;
    }
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }

    let redis = Redis::new(url(&system.store.url()).unwrap());
    drain(&redis).await;
    check(&system, &counted).await;
    let dead: u64 = redis.query(cmd("XLEN").arg("hits:dead")).await.unwrap();
    assert_eq!(dead, 0);
}

/// Checks every sum. Where nobody knows which of the unknown are in it, all of them together have to be as many as there
/// are events, or one counts twice.
#[expect(clippy::print_stderr, reason = "how much was at stake")]
async fn check(system: &System, counted: &[Counted]) {
    let (mut wrong, mut without_key) = (Vec::new(), 0);
    for one in counted {
        let total = sum(system.apis[0].port, one.key).await;
        let acknowledged = one.acknowledged.load(Ordering::SeqCst);
        let unknown = one.unknown.load(Ordering::SeqCst);
        let line = format!("once {}: {total} of {acknowledged} + {unknown}", one.once);
        eprintln!("{line}");
        let number = one.events.lock().unwrap().len();
        assert!(number > 10, "hardly anything was acknowledged: {line}");
        if missing(&system.postgres, one).await > 0
            || !(acknowledged..=acknowledged + unknown).contains(&total)
        {
            wrong.push(line);
        }
        without_key += if one.once { 0 } else { total };
    }
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!(without_key, applied(&system.postgres).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_exactly_once_behind_sentinels_whatever_is_killed() {
    if let Some(servers) = RedisSentinel::start() {
        survives(Store::Six(servers)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_exactly_once_with_one_redis_whatever_is_killed() {
    if let Some(server) = RedisServer::start() {
        survives(Store::One(server)).await;
    }
}
