//! A backend that sends one picture after another, or fails, and services that ask it.

use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;
use http::StatusCode;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use picture::{Config, start};
use serde_json::Value;
use service_kit::testing::{Answer, call, free_port, request};
use service_kit::{Kit, Lifecycle, Settings, about};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// Enough for anything, also on a machine that is busy.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) async fn app(config: Config) -> (Router, Lifecycle) {
    app_with(config, 2 * LONG).await
}

pub(crate) async fn app_with(config: Config, request_limit: Duration) -> (Router, Lifecycle) {
    let settings = Settings {
        request_limit,
        concurrency: 2000,
        ..Settings::default()
    };
    let mut kit = Kit::new(about!(), settings);
    let routes = start(config, &mut kit).await.unwrap();
    (kit.app(routes), kit.lifecycle().clone())
}

pub(crate) async fn get_from(app: &Router, path: &str) -> Answer {
    call(app, request("GET", path, &Value::Null)).await
}

/// Waits until `/picture` is as wanted, and gives it.
pub(crate) async fn wait_for(app: &Router, what: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
    let started = Instant::now();
    loop {
        let answer = get_from(app, "/picture").await;
        if wanted(&answer) {
            return answer;
        }
        assert!(started.elapsed() < LONG, "never {what}: {answer}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until the metrics have this line.
pub(crate) async fn wait_for_metric(app: &Router, line: &str) {
    let started = Instant::now();
    loop {
        let metrics = get_from(app, "/metrics").await;
        if metrics.text().lines().any(|found| found == line) {
            return;
        }
        assert!(started.elapsed() < LONG, "no {line}: {metrics}");
        sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn is_there(answer: &Answer) -> bool {
    answer.status == 200
}

/// How a backend answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Good,
    /// Good, once the gate lets one through.
    Gated,
    Broken,
    Garbage,
    /// The start of a picture, without a length.
    Part,
    /// 429 with this `Retry-After` in seconds.
    Limiting(u64),
}

/// A backend that sends one picture after another, or fails.
pub(crate) struct Backend {
    port: u16,
    desk: Desk,
    open: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

/// Where its requests arrive.
#[derive(Clone)]
struct Desk {
    mood: Arc<Mutex<Mood>>,
    gate: Arc<Semaphore>,
    /// When each request came, and the mood it met.
    asked: Arc<Mutex<Vec<(Instant, Mood)>>>,
}

/// A picture of one pixel, another one for each number.
pub(crate) fn picture(number: usize) -> Vec<u8> {
    let pixel = Rgb([number as u8, (number >> 8) as u8, 7]);
    let picture = DynamicImage::ImageRgb8(RgbImage::from_pixel(1, 1, pixel));
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, ImageFormat::Png).unwrap();
    file.into_inner()
}

impl Desk {
    async fn answer(self) -> Response {
        let mood = *self.mood.lock().unwrap();
        let number = {
            let mut asked = self.asked.lock().unwrap();
            asked.push((Instant::now(), mood));
            asked.len()
        };
        match mood {
            Mood::Good => picture(number).into_response(),
            Mood::Gated => {
                self.gate.acquire().await.unwrap().forget();
                picture(number).into_response()
            }
            Mood::Broken => StatusCode::BAD_GATEWAY.into_response(),
            Mood::Garbage => "<html>not a picture</html>".into_response(),
            Mood::Part => {
                let mut part = picture(number);
                part.truncate(part.len() - 12);
                let part = stream::iter([Ok::<_, std::io::Error>(part)]);
                Body::from_stream(part).into_response()
            }
            Mood::Limiting(seconds) => {
                let headers = [("retry-after", seconds.to_string())];
                (StatusCode::TOO_MANY_REQUESTS, headers).into_response()
            }
        }
    }
}

impl Backend {
    pub(crate) async fn start() -> Self {
        let desk = Desk {
            mood: Arc::new(Mutex::new(Mood::Good)),
            gate: Arc::new(Semaphore::new(0)),
            asked: Arc::default(),
        };
        let mut backend = Self {
            port: free_port(),
            desk,
            open: None,
        };
        backend.open().await;
        backend
    }

    pub(crate) async fn open(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        let desk = self.desk.clone();
        let routes = Router::new().route("/random", get(move || desk.clone().answer()));
        let (close, closed) = oneshot::channel();
        let server = tokio::spawn(async move {
            let server = axum::serve(listener, routes);
            let _ = server
                .with_graceful_shutdown(async move { drop(closed.await) })
                .await;
        });
        self.open = Some((close, server));
    }

    /// Refuses connections from now on.
    pub(crate) async fn close(&mut self) {
        let (close, server) = self.open.take().unwrap();
        close.send(()).unwrap();
        server.await.unwrap();
    }

    pub(crate) fn is(&self, mood: Mood) {
        *self.desk.mood.lock().unwrap() = mood;
    }

    /// Past the gate.
    pub(crate) fn let_one_through(&self) {
        self.desk.gate.add_permits(1);
    }

    pub(crate) fn served(&self) -> usize {
        self.desk.asked.lock().unwrap().len()
    }

    pub(crate) async fn wait_until_asked(&self, times: usize) -> Vec<(Instant, Mood)> {
        let started = Instant::now();
        while self.served() < times {
            assert!(started.elapsed() < LONG, "asked {} times", self.served());
            sleep(Duration::from_millis(5)).await;
        }
        self.desk.asked.lock().unwrap().clone()
    }

    pub(crate) fn config(&self, ttl: Duration) -> Config {
        Config {
            backend: format!("http://127.0.0.1:{}/random", self.port)
                .parse()
                .unwrap(),
            cache: None,
            ttl,
            patience: Duration::from_secs(2),
            greeting: "Hi <there>".to_owned(),
        }
    }

    /// A service that has taken up an old picture, and is fetching another, which the gate holds up. With the old one,
    /// and its folder.
    pub(crate) async fn expired(
        &self,
        config: Config,
        request_limit: Duration,
    ) -> (Router, Answer, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            cache: Some(folder.path().to_owned()),
            ..config
        };
        let (first, lifecycle) = app(config.clone()).await;
        let old = wait_for(&first, "fetched", is_there).await;
        lifecycle.stop().await;
        expire(folder.path());
        self.is(Mood::Gated);
        let (app, _) = app_with(config, request_limit).await;
        self.wait_until_asked(2).await;
        (app, old, folder)
    }
}

/// Makes the kept picture one of 1970.
pub(crate) fn expire(folder: &Path) {
    let file = folder.join("picture");
    let kept = fs::read(&file).unwrap();
    let end = kept.iter().position(|byte| *byte == b'\n').unwrap();
    let mut head: Value = serde_json::from_slice(&kept[..end]).unwrap();
    head["made"] = 0.into();
    let expired = [head.to_string().as_bytes(), &kept[end..]].concat();
    fs::write(file, expired).unwrap();
}

pub(crate) fn freshness(answer: &Answer) -> &str {
    answer.headers["x-picture"].to_str().unwrap()
}
