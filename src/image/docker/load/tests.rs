//! Loads into an engine in memory.

use std::collections::BTreeMap;
use std::sync::Mutex;

use test_support::docker::{FakeDocker, FakeImage};

use super::*;

const DIGESTS: [&str; 3] = ["a", "b", "c"];

fn digests() -> Vec<Digest> {
    DIGESTS.map(|name| Digest::of(name.as_bytes())).into()
}

fn loadable(diff_ids: &[Digest]) -> Loadable<'_> {
    Loadable {
        name: "shop/web:1",
        diff_ids,
    }
}

/// An archive as `docker save` writes it, without the layers in `left_out`.
fn archive(left_out: &BTreeSet<Digest>) -> Vec<u8> {
    let digests = digests();
    let names: Vec<String> = digests.iter().map(|d| format!("{}.tar", d.hex())).collect();
    let texts: Vec<String> = digests.iter().map(ToString::to_string).collect();
    let config = serde_json::json!({"rootfs": {"diff_ids": texts}, "config": {}}).to_string();
    let manifest = serde_json::json!([{
        "Config": "1234.json", "RepoTags": ["shop/web:1"], "Layers": names,
    }])
    .to_string();
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |name: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, content).unwrap();
    };
    add("1234.json", config.as_bytes());
    add("manifest.json", manifest.as_bytes());
    for (digest, name) in digests.iter().zip(&names) {
        if !left_out.contains(digest) {
            add(name, b"");
        }
    }
    tar.into_inner().unwrap()
}

fn stream(bytes: Vec<u8>) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    futures_util::stream::iter([Ok(Bytes::from(bytes))])
}

fn engine(docker: &FakeDocker) -> Engine {
    Engine::from_docker(docker.client(), "unix:///fake")
}

/// Gives the engine an image on the first `count` of the layers.
fn give(docker: &FakeDocker, count: usize) {
    let image = FakeImage {
        id: format!("sha256:{count}"),
        labels: ours(),
        layers: digests()[..count].iter().map(ToString::to_string).collect(),
        ..FakeImage::default()
    };
    docker.add_image(&format!("shop/old:{count}"), image);
}

fn ours() -> BTreeMap<String, String> {
    [(INPUTS_LABEL.to_owned(), "1".to_owned())].into()
}

async fn load(docker: &FakeDocker) -> Result<(), LoadError> {
    let make = |left_out: &BTreeSet<Digest>| stream(archive(left_out));
    load_image(&engine(docker), loadable(&digests()), make, &|_| {}).await
}

#[tokio::test]
async fn layers_that_are_there_are_not_sent() {
    let docker = FakeDocker::default();
    load(&docker).await.unwrap();
    assert_eq!(
        docker.loads()[0].len(),
        5,
        "an empty engine gets everything"
    );

    let docker = FakeDocker::default();
    give(&docker, 1);
    give(&docker, 2);
    load(&docker).await.unwrap();
    assert_eq!(docker.loads().len(), 1);
    let last = format!("{}.tar", digests()[2].hex());
    let mut expected = vec!["1234.json".to_owned(), "manifest.json".to_owned(), last];
    expected.sort();
    assert_eq!(docker.loads()[0], expected);
    assert_eq!(docker.images()["shop/web:1"].layers.len(), 3);
}

#[test]
fn images_of_the_same_repository_are_looked_at_first_of_all() {
    let image = |id: String, names: &[&str]| ImageSummary {
        id,
        repo_tags: names.iter().map(|name| (*name).to_owned()).collect(),
        ..ImageSummary::default()
    };
    let mut images = vec![image("unnamed".into(), &[])];
    for number in 0..100 {
        let tag = |repository: &str| format!("{repository}:{number}");
        images.push(image(
            format!("web-{number}"),
            &[&tag("host:5000/shop/web")],
        ));
        images.push(image(
            format!("api-{number}"),
            &[&tag("host:5000/shop/api")],
        ));
        images.push(image(format!("other-{number}"), &[&tag("web")]));
    }
    let chosen = candidates(images, "host:5000/shop/web:new");
    let of = |name: &str| chosen.iter().filter(|id| id.starts_with(name)).count();
    assert_eq!(
        (of("web"), of("api"), of("other"), of("unnamed")),
        (16, 2, 2, 0)
    );
}

#[tokio::test]
async fn layers_count_only_with_those_below_them() {
    let docker = FakeDocker::default();
    let layers = digests()[1..].iter().map(ToString::to_string).collect();
    let image = FakeImage {
        id: "sha256:1".into(),
        labels: ours(),
        layers,
        ..FakeImage::default()
    };
    docker.add_image("shop/old:1", image);
    let present = layers_present(&engine(&docker), loadable(&digests()))
        .await
        .unwrap();
    assert!(present.is_empty());
}

#[tokio::test]
async fn an_engine_that_keeps_archives_gets_everything_at_once() {
    let docker = FakeDocker::default();
    docker.with_containerd();
    give(&docker, 2);
    load(&docker).await.unwrap();
    assert_eq!(docker.loads().len(), 1);
    assert_eq!(docker.loads()[0].len(), 5);
}

#[tokio::test]
async fn a_refused_archive_is_sent_again_in_full() {
    let docker = FakeDocker::default();
    give(&docker, 2);
    let removing = docker.clone();
    let calls = Mutex::new(0);
    let make = |left_out: &BTreeSet<Digest>| {
        *calls.lock().unwrap() += 1;
        // Someone prunes between the look and the load.
        removing.remove_image("shop/old:2");
        stream(archive(left_out))
    };
    load_image(&engine(&docker), loadable(&digests()), make, &|_| {})
        .await
        .unwrap();
    assert_eq!(*calls.lock().unwrap(), 2);
    assert_eq!(docker.loads()[1].len(), 5);
}

#[tokio::test]
async fn progress_is_told() {
    let docker = FakeDocker::default();
    let told = Mutex::new(Vec::new());
    let hear = |text: &str| told.lock().unwrap().push(text.to_owned());
    load_archive(&engine(&docker), stream(archive(&BTreeSet::new())), &hear)
        .await
        .unwrap();
    assert_eq!(*told.lock().unwrap(), ["loading 1.0 of 2.0 MB"]);
}

#[tokio::test]
async fn failures_are_told_apart() {
    let docker = FakeDocker::default();
    docker.refuse_loads("write /var/lib/docker/tmp/x: no space left on device");
    give(&docker, 2);
    let full = load(&docker).await.unwrap_err();
    assert!(matches!(full, LoadError::NoSpace), "{full}");
    assert!(full.diagnostics()[0].hints[0].contains("docker system df"));
    assert_eq!(docker.loads().len(), 1, "a full disk is not tried again");

    docker.refuse_loads("archive/tar: invalid tar header");
    let refused = load(&docker).await.unwrap_err();
    assert!(matches!(refused, LoadError::Refused(_)), "{refused}");

    let broken = futures_util::stream::iter([
        Ok(Bytes::from_static(b"x")),
        Err(io::Error::other("the store is damaged")),
    ]);
    let error = load_archive(&engine(&docker), broken, &|_| {})
        .await
        .unwrap_err();
    assert_eq!(error.diagnostics()[0].notes, ["the store is damaged"]);
}
