//! A real Prometheus with the image's rules that asks a real gateway.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gateway::{Client, Gateway};
use serde_json::Value;
use service_kit::testing::{find, free_port};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::CONFIG;
use crate::names::WANTED;

const LIMIT: Duration = Duration::from_secs(60);

struct Prometheus {
    child: Child,
    client: Client,
    _folder: TempDir,
}

impl Prometheus {
    /// With the rules of the image, every second, and one target.
    fn start(target: &str) -> Option<Self> {
        let program = find(&["/usr/bin/prometheus"], "prometheus")?;
        let folder = TempDir::new().unwrap();
        let config = folder.path().join("prometheus.yml");
        fs::write(&config, configuration(target)).unwrap();
        fs::create_dir(folder.path().join("targets")).unwrap();
        let targets = folder.path().join("targets/targets.yml");
        fs::write(targets, wanted(&["counter", "gateway"])).unwrap();
        let port = free_port();
        let child = Command::new(program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Some(Self {
            child,
            client: Client::of(port),
            _folder: folder,
        })
    }

    /// Waits until a query gives a value that will do.
    async fn wait_for(&self, query: &str, will_do: impl Fn(f64) -> bool) {
        let started = Instant::now();
        loop {
            let found = self.value(query).await;
            if found.is_some_and(&will_do) {
                return;
            }
            assert!(started.elapsed() < LIMIT, "{query}: {found:?}");
            sleep(Duration::from_millis(200)).await;
        }
    }

    async fn value(&self, query: &str) -> Option<f64> {
        self.client.connect().await.ok()?;
        let query: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = self
            .client
            .get(&format!("/api/v1/query?query={query}"), &[])
            .await;
        // Until it has read its log it answers 503 in words.
        let answer: Value = serde_json::from_slice(&answer.body).ok()?;
        answer["data"]["result"][0]["value"][1]
            .as_str()?
            .parse()
            .ok()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The image's file, but for where targets come from and how often they are asked.
fn configuration(target: &str) -> String {
    let text = fs::read_to_string(Path::new(CONFIG).join("prometheus.yml")).unwrap();
    let (own, _) = text.split_once("scrape_configs:").unwrap();
    let own = own
        .replace("_interval: 15s", "_interval: 1s")
        .replace("timeout: 5s", "timeout: 1s");
    let own = own.replace("rules/*.yml", &format!("{CONFIG}/rules/*.yml"));
    assert!(
        own.contains("scrape_interval: 1s") && own.contains("/rules/*.yml"),
        "{own}"
    );
    format!(
        "{own}scrape_configs:\n  - job_name: pods\n    static_configs:\n      - targets: [\"{target}\"]\n        \
         labels: {{ service: gateway }}\n"
    )
}

/// What templates/prometheus makes of these services.
fn wanted(services: &[&str]) -> String {
    let template = crate::read(WANTED);
    let (_, rules) = template.split_once("  targets.yml: |\n").unwrap();
    let mut text = String::new();
    for line in rules.lines().filter(|line| !line.starts_with("{{")) {
        let times = if line.contains("{{@key}}") {
            services
        } else {
            &[""]
        };
        for service in times {
            let line = line.replace("{{@key}}", service);
            text += line.strip_prefix("    ").unwrap();
            text.push('\n');
        }
    }
    text
}

#[tokio::test]
async fn it_reads_the_gateway_and_applies_its_rules() {
    let picture = gateway::Stub::start("picture").await;
    let Some(gateway) = Gateway::start(&[("PICTURE_ADDRESS", &picture.address())]).await else {
        return;
    };
    let target = format!("127.0.0.1:{}", gateway.internal().port());
    let Some(prometheus) = Prometheus::start(&target) else {
        return;
    };
    prometheus
        .wait_for("up{service=\"gateway\"}", |up| up == 1.0)
        .await;
    let load = async {
        loop {
            gateway.client().get("/", &[]).await;
            gateway.client().get("/counters", &[]).await;
            sleep(Duration::from_millis(50)).await;
        }
    };
    let seen = async {
        prometheus
            .wait_for("gateway:requests:rate5m", |rate| rate > 1.0)
            .await;
        // Every second request is for a service that is away.
        prometheus
            .wait_for("gateway:errors:ratio5m", |ratio| {
                (0.3..0.7).contains(&ratio)
            })
            .await;
        let alert = "ALERTS{alertname=\"GatewayHasNoService\", proxy=\"counter\"}";
        prometheus.wait_for(alert, |one| one == 1.0).await;
        // It would fire after two minutes.
        let alert = "ALERTS{alertname=\"ServiceGone\", service=\"counter\"}";
        prometheus.wait_for(alert, |one| one == 1.0).await;
        let alert = "count(ALERTS{alertname=\"ServiceGone\", service=\"gateway\"}) or vector(0)";
        prometheus.wait_for(alert, |none| none == 0.0).await;
        let alert = "count(ALERTS{alertname=\"GatewayHasNoService\", proxy=~\"picture|none\"}) or vector(0)";
        prometheus.wait_for(alert, |none| none == 0.0).await;
    };
    tokio::select! {
        () = seen => {}
        () = load => {}
    }
}
