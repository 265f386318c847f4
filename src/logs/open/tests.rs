//! Logs of an API server in this process.

use tokio::time::timeout;

use super::*;
use crate::logs::fake::{Answer, Fake, ended, running};

fn query(follow: bool) -> LogQuery {
    LogQuery {
        namespace: "ns".parse().unwrap(),
        stack: "st".parse().unwrap(),
        services: vec!["web".parse().unwrap()],
        container: None,
        follow,
        tail: Some(10),
        since: None,
        previous: false,
    }
}

fn told(item: LogItem) -> String {
    match item {
        LogItem::Line(line) => format!("{} {}", line.source.pod, line.text),
        LogItem::Event(LogEvent::Attached(source)) => format!("+ {}", source.pod),
        LogItem::Event(LogEvent::Detached(source, exit)) => format!("- {} {exit:?}", source.pod),
        LogItem::Event(LogEvent::Unavailable(source, _)) => format!("! {}", source.pod),
    }
}

/// The next `count` items; fails where they do not come.
async fn take(stream: &mut LogStream, count: usize) -> Vec<String> {
    let mut items = Vec::new();
    while items.len() < count {
        let next = timeout(Duration::from_secs(10), stream.next()).await;
        match next {
            Ok(Some(item)) => items.push(told(item)),
            other => panic!("{other:?} after {items:?}"),
        }
    }
    items
}

async fn all(mut stream: LogStream) -> Vec<String> {
    let mut items = Vec::new();
    while let Some(item) = stream.next().await {
        items.push(told(item));
    }
    items
}

#[tokio::test]
async fn the_past_comes_in_order_and_ends() {
    let fake = Fake::new();
    fake.put("a", "docker://a", running(), serde_json::json!({}));
    fake.put("b", "docker://b", running(), serde_json::json!({}));
    fake.put("c", "docker://c", running(), serde_json::json!({}));
    fake.answers(
        "a",
        [Answer::Ends(
            "2026-01-01T00:00:01Z one\n2026-01-01T00:00:03Z three\n",
        )],
    );
    fake.answers("b", [Answer::Ends("2026-01-01T00:00:02Z two\n")]);
    fake.answers("c", [Answer::Fails(400, "container not found")]);

    let mut items = all(open(fake.client(), query(false)).await.unwrap()).await;

    items.retain(|item| item != "! c");
    assert_eq!(items, ["a one", "b two", "a three"]);
    assert_eq!(
        fake.asked(),
        ["a tailLines=10", "b tailLines=10", "c tailLines=10"]
    );
}

#[tokio::test]
async fn nothing_to_show_is_an_error_only_without_following() {
    let fake = Fake::new();
    let error = open(fake.client(), query(false)).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        "service `web` in namespace `ns` has no container that has started"
    );
    assert!(open(fake.client(), query(true)).await.is_ok());
}

#[tokio::test]
async fn a_stream_that_breaks_is_read_on_without_gaps_or_repetition() {
    let fake = Fake::new();
    fake.put("a", "docker://a", running(), serde_json::json!({}));
    fake.answers(
        "a",
        [
            Answer::Ends("2026-01-01T00:00:01.1Z one\n2026-01-01T00:00:01.2Z two\n"),
            Answer::Stays(
                "2026-01-01T00:00:01.1Z one\n2026-01-01T00:00:01.2Z two\n2026-01-01T00:00:01.3Z three\n",
            ),
        ],
    );
    let mut stream = open(fake.client(), query(true)).await.unwrap();
    assert_eq!(
        take(&mut stream, 4).await,
        ["+ a", "a one", "a two", "a three"]
    );
    assert_eq!(
        fake.asked(),
        [
            "a follow=true tailLines=10",
            "a follow=true sinceTime=2026-01-01T00:00:01Z",
        ]
    );
}

#[tokio::test]
async fn new_pods_and_restarted_containers_are_picked_up() {
    let fake = Fake::new();
    fake.put("a", "docker://a1", running(), serde_json::json!({}));
    fake.answers(
        "a",
        [
            Answer::Ends("2026-01-01T00:00:01Z dying\n"),
            Answer::Stays("2026-01-01T00:00:05Z reborn\n"),
            Answer::Ends("2026-01-01T00:00:01Z dying\n2026-01-01T00:00:02Z last words\n"),
        ],
    );
    let mut stream = open(fake.client(), query(true)).await.unwrap();
    assert_eq!(take(&mut stream, 2).await, ["+ a", "a dying"]);

    fake.put("a", "docker://a2", running(), ended("docker://a1", 137));
    let mut items = take(&mut stream, 4).await;
    items.sort();
    assert_eq!(items, ["+ a", "- a Some(137)", "a last words", "a reborn"]);
    assert_eq!(
        fake.asked(),
        [
            "a follow=true tailLines=10",
            "a follow=true",
            "a previous=true sinceTime=2026-01-01T00:00:01Z",
        ],
        "a new run from its start, the rest of the old one as a previous run"
    );

    fake.answers("b", [Answer::Stays("2026-01-01T00:00:06Z hello\n")]);
    fake.put("b", "docker://b", running(), serde_json::json!({}));
    assert_eq!(take(&mut stream, 2).await, ["+ b", "b hello"]);
}

#[tokio::test]
async fn what_is_forbidden_is_told_once() {
    let fake = Fake::new();
    fake.put("a", "docker://a", running(), serde_json::json!({}));
    fake.answers("a", [Answer::Fails(403, "pods/log is forbidden")]);
    let mut stream = open(fake.client(), query(true)).await.unwrap();
    assert_eq!(take(&mut stream, 2).await, ["+ a", "! a"]);
}

#[tokio::test]
async fn previous_runs_are_asked_for() {
    let fake = Fake::new();
    fake.put("a", "docker://a2", running(), ended("docker://a1", 1));
    fake.put("b", "docker://b1", running(), serde_json::json!({}));
    fake.answers("a", [Answer::Ends("2026-01-01T00:00:01Z crashed\n")]);
    let previous = LogQuery {
        previous: true,
        ..query(true)
    };
    assert_eq!(
        all(open(fake.client(), previous).await.unwrap()).await,
        ["a crashed"]
    );
    assert_eq!(fake.asked(), ["a previous=true tailLines=10"]);
}
