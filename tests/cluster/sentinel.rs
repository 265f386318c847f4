//! Redis and its Sentinels in the cluster are killed under load, in an order that chance decides: no acknowledged
//! increment is lost, increments are soon taken again, and whoever was killed comes back.
//!
//! Containers are killed through the Docker engine, which has to be the one that the cluster runs them with.

mod load;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cluster::{alone, finish, kubectl, stackctl};
use crate::docker::docker;
use crate::shop::{Random, note};
use load::Load;

const NAMESPACE: &str = "seedling-faults";
const PODS: &str = "app.kubernetes.io/name in (redis,sentinel)";
const SENTINELS: [&str; 3] = ["sentinel-0", "sentinel-1", "sentinel-2"];
/// From a kill until increments are taken again; where all are killed, from when all run again.
const OUTAGE: Duration = Duration::from_secs(10);
/// The same where the master hands over before it ends: less than Sentinels alone would take.
const HAND_OVER: Duration = Duration::from_secs(5);
/// Until all are as they were. Kubernetes lets a container that ended twice wait for 10 s, then for 20 s.
const REJOIN: Duration = Duration::from_secs(120);

const NODE_PORT: &str = r#"
apiVersion: v1
kind: Service
metadata: { name: counter-node-port }
spec:
  type: NodePort
  selector: { app.kubernetes.io/name: counter }
  ports: [{ port: 8080, protocol: TCP }]
"#;

#[derive(Clone, Copy, Debug)]
enum Role {
    Master,
    Replica,
    Sentinel,
}

#[derive(Clone, Copy, Debug)]
enum Blow {
    /// SIGKILL to the process; its container is started again in the same pod.
    Kill(Role),
    /// The pod is gone at once; the next one has another address.
    Delete(Role),
    /// The master's data is deleted before it is killed: nobody may follow it when it comes back.
    Empty,
    /// The master's pod is asked to end, as it is in a rolling update.
    Ask,
    /// SIGKILL to all six.
    KillAll,
    /// All six pods are gone at once; their volumes stay.
    DeleteAll,
}

const SINGLE: [Blow; 12] = [
    // Twice those that hurt most.
    Blow::Kill(Role::Master),
    Blow::Kill(Role::Master),
    Blow::Delete(Role::Master),
    Blow::Kill(Role::Replica),
    Blow::Kill(Role::Sentinel),
    Blow::Delete(Role::Master),
    Blow::Delete(Role::Replica),
    Blow::Delete(Role::Sentinel),
    Blow::Empty,
    // However far apart the Sentinels' and the replicas' words are just then.
    Blow::Ask,
    Blow::Ask,
    Blow::Ask,
];

struct Container {
    id: String,
    runs: bool,
    is_ready: bool,
}

/// How it went on after a blow.
struct Aftermath {
    /// How long a client had no increment acknowledged.
    silence: Duration,
    /// Until whoever was struck ran again.
    gone: Duration,
}

/// The environment `faults`, of which three services are deployed; its namespace is deleted before and after.
struct Faults;

impl Faults {
    fn up() -> Self {
        delete_namespace();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let services = ["-s", "redis", "-s", "sentinel", "-s", "counter"];
        let run = finish(stackctl(root, &[&["up", "faults"], &services[..]].concat()));
        assert_eq!(run.code, 0, "{}", run.stderr);
        Self
    }

    /// Where `counter` is reached from this machine: through both of its pods, as by everybody else.
    fn address(&self) -> SocketAddr {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("service.yaml");
        std::fs::write(&file, NODE_PORT).expect("a file");
        self.kubectl(&["apply", "--filename", &file.display().to_string()]);
        let port = "jsonpath={.spec.ports[0].nodePort}";
        let port = self.kubectl(&["get", "service", "counter-node-port", "--output", port]);
        format!("127.0.0.1:{port}").parse().expect("an address")
    }

    fn kubectl(&self, arguments: &[&str]) -> String {
        kubectl(&[&["--namespace", NAMESPACE], arguments].concat())
    }

    /// What a program in a pod prints; none where there is no such pod, or it fails.
    fn exec(&self, pod: &str, program: &[&str]) -> Option<String> {
        let output = Command::new("kubectl")
            .args([
                "--namespace",
                NAMESPACE,
                "--request-timeout=10s",
                "exec",
                pod,
                "--",
            ])
            .args(program)
            .output()
            .expect("kubectl is installed");
        let text = String::from_utf8_lossy(&output.stdout).replace('\r', "");
        output.status.success().then_some(text)
    }

    /// The pod of the master, by the first Sentinel that answers.
    fn master(&self) -> String {
        let question = [
            "redis-cli",
            "-p",
            "26379",
            "sentinel",
            "get-master-addr-by-name",
            "main",
        ];
        let answer = SENTINELS.iter().find_map(|pod| self.exec(pod, &question));
        pod_of(answer.expect("a Sentinel answers").lines().next())
    }

    /// The containers of the pods that stay, by their names.
    fn containers(&self) -> BTreeMap<String, Container> {
        let pods = self.kubectl(&["get", "pods", "--selector", PODS, "--output", "json"]);
        let pods: Value = serde_json::from_str(&pods).expect("JSON");
        let pods = pods["items"].as_array().expect("pods").iter();
        let staying = pods.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        staying
            .filter_map(|pod| {
                let status = &pod["status"]["containerStatuses"][0];
                let container = Container {
                    id: status["containerID"]
                        .as_str()?
                        .split("://")
                        .nth(1)?
                        .to_owned(),
                    runs: !status["state"]["running"].is_null(),
                    is_ready: status["ready"] == true,
                };
                Some((pod["metadata"]["name"].as_str()?.to_owned(), container))
            })
            .collect()
    }

    /// Whether one is master, two follow it, and every Sentinel knows all of that; else what is missing.
    fn settled(&self) -> Result<(), String> {
        let master = self.master();
        let info = self.exec(&master, &["redis-cli", "info", "replication"]);
        let info = info.ok_or("the master does not answer")?;
        if !info.contains("role:master") || info.matches("state=online").count() != 2 {
            return Err(format!("{master}:\n{info}"));
        }
        for pod in SENTINELS {
            let script = "redis-cli -p 26379 sentinel ckquorum main; redis-cli -p 26379 sentinel master main";
            let view = self.exec(pod, &["sh", "-c", script]);
            let view = view.ok_or_else(|| format!("{pod} does not answer"))?;
            let lines: Vec<&str> = view.lines().collect();
            let value = |name: &str| {
                let at = lines.iter().position(|line| *line == name)?;
                lines.get(at + 1).copied()
            };
            let known = lines.first().is_some_and(|line| line.starts_with("OK"))
                && value("num-other-sentinels") == Some("2")
                && value("num-slaves") == Some("2")
                && value("flags") == Some("master")
                && pod_of(value("ip")) == master;
            if !known {
                return Err(format!("{pod}:\n{view}"));
            }
        }
        Ok(())
    }

    /// Does it, and says whom it struck.
    fn strike(&self, blow: Blow, random: &mut Random) -> Vec<String> {
        let victims = self.victims(blow, random);
        let names: Vec<&str> = victims.iter().map(String::as_str).collect();
        if let Blow::Empty = blow {
            let emptied = self.exec(names[0], &["rm", "-r", "/data/appendonlydir"]);
            emptied.expect("the master's data can be deleted");
        }
        match blow {
            Blow::Kill(_) | Blow::KillAll | Blow::Empty => {
                let running = self.containers();
                let ids: Vec<&str> = names.iter().map(|pod| running[*pod].id.as_str()).collect();
                docker(&[&["kill", "--signal=KILL"], &ids[..]].concat());
            }
            Blow::Delete(_) | Blow::DeleteAll => {
                let at_once = [
                    "delete",
                    "pod",
                    "--grace-period=0",
                    "--force",
                    "--wait=false",
                ];
                self.kubectl(&[&at_once, &names[..]].concat());
            }
            Blow::Ask => {
                drop(self.kubectl(&[&["delete", "pod", "--wait=false"], &names[..]].concat()))
            }
        }
        victims
    }

    fn victims(&self, blow: Blow, random: &mut Random) -> Vec<String> {
        let number = random.next() as usize;
        let role = match blow {
            Blow::KillAll | Blow::DeleteAll => return self.containers().into_keys().collect(),
            Blow::Kill(role) | Blow::Delete(role) => role,
            Blow::Ask | Blow::Empty => Role::Master,
        };
        let master = self.master();
        let victim = match role {
            Role::Master => master,
            Role::Sentinel => SENTINELS[number % 3].to_owned(),
            Role::Replica => {
                let all = ["redis-0", "redis-1", "redis-2"].into_iter();
                let replicas: Vec<&str> = all.filter(|pod| *pod != master).collect();
                replicas[number % 2].to_owned()
            }
        };
        vec![victim]
    }

    /// How often a Sentinel was asked to replace a master that lives.
    fn hand_overs(&self) -> usize {
        let log = |pod: &&str| self.kubectl(&["logs", pod]);
        let asked = "Executing user requested FAILOVER";
        SENTINELS
            .iter()
            .map(|pod| log(pod).matches(asked).count())
            .sum()
    }

    /// What all of them wrote last.
    fn logs(&self) -> String {
        let selector = ["--selector", PODS, "--prefix", "--tail=60"];
        self.kubectl(&[&["logs", "--max-log-requests=10"], &selector[..]].concat())
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        delete_namespace();
    }
}

fn delete_namespace() {
    let _ = Command::new("kubectl")
        .args(["delete", "namespace", NAMESPACE, "--ignore-not-found"])
        .output();
}

/// `redis-0` of `redis-0.redis.seedling-faults.svc.cluster.local.`
fn pod_of(host: Option<&str>) -> String {
    let name = host.and_then(|host| host.split('.').next());
    name.unwrap_or_default().to_owned()
}

/// Strikes, and waits until all is as before.
fn survive(faults: &Faults, load: &Load, blow: Blow, random: &mut Random) -> Aftermath {
    sleep(Duration::from_secs_f64(random.fraction()));
    let before = faults.containers();
    load.listen();
    let started = Instant::now();
    let victims = faults.strike(blow, random);
    let mut gone = None;
    loop {
        let after = faults.containers();
        let is_back = |pod: &String| {
            let new = after.get(pod);
            new.is_some_and(|new| new.runs && new.id != before[pod].id)
        };
        let state = match victims.iter().find(|pod| !is_back(pod)) {
            Some(pod) => Err(format!("{pod} is not back")),
            None => {
                gone.get_or_insert_with(|| started.elapsed());
                faults.settled()
            }
        };
        match state {
            Ok(()) if after.values().filter(|one| one.is_ready).count() == 6 => break,
            state => assert!(
                started.elapsed() < REJOIN,
                "{blow:?} of {victims:?}: {state:?}\n{}",
                faults.logs()
            ),
        }
        sleep(Duration::from_millis(500));
    }
    let aftermath = Aftermath {
        silence: load.silence(),
        gone: gone.expect("they were back"),
    };
    note(&format!(
        "{blow:?} of {victims:?}: no increments for {:.1} s, running after {:.1} s, settled after {:.1} s",
        aftermath.silence.as_secs_f64(),
        aftermath.gone.as_secs_f64(),
        started.elapsed().as_secs_f64()
    ));
    aftermath
}

#[test]
#[ignore = "needs Docker and a cluster: run `cargo xtask test`"]
fn no_acknowledged_increment_is_lost_whoever_is_killed() {
    let _alone = alone();
    let faults = Faults::up();
    let mut random = Random::seeded();
    let load = Load::start(faults.address());
    load.wait_until_taken();
    let mut blows = SINGLE.to_vec();
    while !blows.is_empty() {
        let blow = blows.swap_remove(random.next() as usize % blows.len());
        let handed_over = faults.hand_overs();
        let Aftermath { silence, .. } = survive(&faults, &load, blow, &mut random);
        let limit = match blow {
            Blow::Ask => HAND_OVER,
            _ => OUTAGE,
        };
        assert!(silence < limit, "{blow:?}: {silence:?}\n{}", faults.logs());
        if let Blow::Ask = blow {
            assert!(faults.hand_overs() > handed_over, "{}", faults.logs());
        }
    }
    for blow in [Blow::KillAll, Blow::DeleteAll] {
        // How soon they run again is the matter of Kubernetes.
        let Aftermath { silence, gone } = survive(&faults, &load, blow, &mut random);
        assert!(
            silence < gone + OUTAGE,
            "{blow:?}: {silence:?}\n{}",
            faults.logs()
        );
    }
    let told = load.finish();
    note(&format!("{told:?}"));
}
