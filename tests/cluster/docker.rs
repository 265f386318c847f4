//! The Docker engine itself: both builders, TLS and loading, on a real engine without a registry.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use oci_image::Digest;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use stackctl::image::{Engine, Loadable, layers_present, load_archive, load_image};
use tokio::net::{TcpListener, UnixStream};
use tokio_rustls::TlsAcceptor;

use crate::cluster::{Deployed, Run, finish};

pub(crate) const SERVICE: &str = "services/subject/service.yaml";

/// What steps run: an image from nothing has no shell.
const TOOL: &str = r#"
fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments[1].as_str() {
        "read" => {
            let text = std::fs::read_to_string(&arguments[2]).expect("the file");
            println!("it holds {text}, {} bytes", text.len());
        }
        "fail" => {
            println!("about to fail");
            std::process::exit(arguments[2].parse().expect("a code"));
        }
        other => panic!("{other}"),
    }
}
"#;

/// The stack with a Dockerfile as its only build.
fn built_from(dockerfile: &str, options: &str) -> Deployed {
    let deployed = Deployed::faulty();
    let build = format!("{{ dockerfile: docker/Dockerfile{options} }}");
    deployed.replace(SERVICE, "{ cargo: subject }", &build);
    deployed.write("docker/Dockerfile", dockerfile);
    deployed.write("docker/unique", &deployed.namespace);
    deployed.write("tool.rs", TOOL);
    let status = Command::new("rustc")
        .args([
            "--edition",
            "2024",
            "-C",
            "target-feature=+crt-static",
            "-o",
            "docker/tool",
            "tool.rs",
        ])
        .current_dir(deployed.path())
        .status();
    assert!(status.expect("rustc runs").success());
    deployed
}

fn build(deployed: &Deployed, buildkit: bool) -> Run {
    let mut command = deployed.command(&["build", "--images", "images.json"]);
    command
        .env("DOCKER_BUILDKIT", if buildkit { "1" } else { "0" })
        .env("STACKCTL_TEST_TOKEN", "s3cret-of-a-test");
    finish(command)
}

pub(crate) fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker")
        .args(arguments)
        .output()
        .expect("docker is installed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "docker {arguments:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

pub(crate) fn reference(deployed: &Deployed) -> String {
    let text = std::fs::read_to_string(deployed.path().join("images.json")).expect("the file");
    let file: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let reference = file["images"]["subject"]["reference"].as_str();
    reference.expect("a reference").to_owned()
}

#[test]
#[ignore = "needs Docker and a cluster: run `cargo xtask test`"]
fn a_secret_is_mounted_and_leaves_no_trace() {
    let deployed = built_from(
        "FROM scratch\nCOPY tool unique /\nRUN --mount=type=secret,id=token [\"/tool\", \"read\", \"/run/secrets/token\"]\n",
        ", secrets: { token: { env: STACKCTL_TEST_TOKEN } }",
    );
    let refused = build(&deployed, false);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert!(
        refused
            .stderr
            .contains("the build secret `token` needs BuildKit")
            && refused.stderr.contains("service.yaml:"),
        "{}",
        refused.stderr
    );
    let run = build(&deployed, true);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(
        run.stderr.contains("it holds ***, 16 bytes"),
        "{}",
        run.stderr
    );
    assert!(!run.stderr.contains("s3cret"), "{}", run.stderr);
    let history = docker(&["history", "--no-trunc", &reference(&deployed)]);
    assert!(!history.contains("s3cret"), "{history}");
}

#[test]
#[ignore = "needs Docker and a cluster: run `cargo xtask test`"]
fn both_builders_show_what_failed_where_it_is_written() {
    // (what comes after `COPY tool unique /`, what is said)
    let table = [
        (
            "RUN [\"/tool\", \\\n  \"fail\", \"3\"]\n",
            &[
                "failed with exit code 3",
                "docker/Dockerfile:3:1",
                "about to fail",
            ][..],
        ),
        (
            "COPY tolo /\n",
            &[
                "`tolo` is not in the build context",
                "docker/Dockerfile:3:6",
                "did you mean `tool`?",
            ],
        ),
        (
            "FROM scratch AS last\nCOPY --from=fisrt /tool /\n",
            &[
                "neither a stage nor an image `fisrt`",
                "docker/Dockerfile:4:13",
                "the stage `first`?",
            ],
        ),
        (
            "RUNN x\n",
            &[
                "unknown instruction: RUNN",
                "docker/Dockerfile:3:1",
                "did you mean `RUN`?",
            ],
        ),
        (
            "FROM stackctl.invalid/no/such:1\n",
            &[
                "the image `stackctl.invalid/no/such:1` cannot be had",
                "docker/Dockerfile:3:6",
            ],
        ),
    ];
    for (rest, expected) in table {
        let text = format!("FROM scratch AS first\nCOPY tool unique /\n{rest}");
        let deployed = built_from(&text, "");
        for buildkit in [true, false] {
            let run = build(&deployed, buildkit);
            assert_eq!(run.code, 1, "{}", run.stderr);
            for words in expected {
                let said = &run.stderr;
                assert!(
                    said.contains(words),
                    "no {words:?} (BuildKit: {buildkit}) in {said}"
                );
            }
        }
    }
}

#[test]
#[ignore = "needs Docker and a cluster: run `cargo xtask test`"]
fn both_builders_know_targets_and_arguments() {
    for (buildkit, platform, architecture) in [
        (true, ", platform: linux/arm64", "arm64"),
        (false, "", std::env::consts::ARCH),
    ] {
        let deployed = built_from(
            "FROM scratch AS wanted\nARG A\nCOPY unique /\nENV A=$A\nFROM scratch\nCOPY tool /\n",
            &format!(
                ", target: wanted, args: {{ A: \"1 2\" }}, cacheFrom: [stackctl.invalid/cache]{platform}"
            ),
        );
        let run = build(&deployed, buildkit);
        assert_eq!(run.code, 0, "{}", run.stderr);
        let format = "{{.Architecture}} {{range .Config.Env}}{{.}};{{end}} {{len .RootFS.Layers}}";
        let found = docker(&[
            "image",
            "inspect",
            "--format",
            format,
            &reference(&deployed),
        ]);
        let architecture = architecture
            .replace("x86_64", "amd64")
            .replace("aarch64", "arm64");
        assert!(
            found.starts_with(&architecture) && found.contains("A=1 2;") && found.ends_with(" 1"),
            "{found} (BuildKit: {buildkit})"
        );
    }
}

fn certificate(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("crates/test-support/certificates")
        .join(name)
}

/// TLS in front of the engine's socket, with client certificates.
async fn secured_engine() -> u16 {
    let authority = CertificateDer::from_pem_file(certificate("ca.pem")).expect("a certificate");
    let mut authorities = RootCertStore::empty();
    authorities.add(authority).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider.clone())
            .build()
            .expect("a verifier");
    let own = CertificateDer::from_pem_file(certificate("server.pem")).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(certificate("server-key.pem")).expect("a key");
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![own], key)
        .expect("a key of the certificate");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut near = acceptor.accept(stream).await.ok()?;
                let mut far = UnixStream::connect("/var/run/docker.sock").await.ok()?;
                tokio::io::copy_bidirectional(&mut near, &mut far)
                    .await
                    .ok()
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker and a cluster: run `cargo xtask test`"]
async fn an_engine_behind_tls_builds() {
    let port = secured_engine().await;
    let deployed = built_from("FROM scratch\nCOPY unique /\n", "");
    let copy = |from: &str, to: &str| {
        let target = deployed.path().join("certificates").join(to);
        std::fs::create_dir_all(target.parent().expect("a folder")).expect("the folder");
        std::fs::copy(certificate(from), target).expect("a copy");
    };
    copy("ca.pem", "ca.pem");
    let run = || {
        let mut command = deployed.command(&["build"]);
        command
            .env("DOCKER_HOST", format!("tcp://127.0.0.1:{port}"))
            .env("DOCKER_TLS_VERIFY", "1")
            .env("DOCKER_CERT_PATH", deployed.path().join("certificates"));
        tokio::task::spawn_blocking(|| finish(command))
    };
    let refused = run().await.expect("the run ends");
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("a client certificate"),
        "{}",
        refused.stderr
    );
    copy("client.pem", "cert.pem");
    copy("client-key.pem", "key.pem");
    let built = run().await.expect("the run ends");
    assert_eq!(built.code, 0, "{}", built.stderr);
    copy("other-ca.pem", "ca.pem");
    let distrusted = run().await.expect("the run ends");
    assert!(
        distrusted
            .stderr
            .contains("signed by someone who is not trusted"),
        "{}",
        distrusted.stderr
    );
}

/// A layer of one file: (tar archive, digest).
pub(crate) fn layer(path: &str, content: &str) -> (Vec<u8>, Digest) {
    let mut layer = oci_image::LayerWriter::new(Vec::new(), 0);
    layer
        .file(path, 0o644, content.len() as u64, content.as_bytes())
        .expect("a file");
    let tar = layer.finish().expect("memory");
    let digest = Digest::of(&tar);
    (tar, digest)
}

/// A Docker archive of an image of ours, without the layers in `left_out`.
fn archive(layers: &[(Vec<u8>, Digest)], tag: &str, left_out: &BTreeSet<Digest>) -> Vec<u8> {
    let digests: Vec<String> = layers
        .iter()
        .map(|(_, digest)| digest.to_string())
        .collect();
    let names: Vec<String> = layers
        .iter()
        .map(|(_, d)| format!("{}/layer.tar", d.hex()))
        .collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {"Labels": {"stackctl.dev/inputs": tag}},
        "rootfs": {"type": "layers", "diff_ids": digests},
    })
    .to_string();
    let name = format!("{}.json", Digest::of(config.as_bytes()).hex());
    let manifest =
        serde_json::json!([{"Config": name, "RepoTags": [tag], "Layers": names}]).to_string();
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |name: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, content).expect("memory");
    };
    add(&name, config.as_bytes());
    for ((content, digest), name) in layers.iter().zip(&names) {
        if !left_out.contains(digest) {
            add(name, content);
        }
    }
    add("manifest.json", manifest.as_bytes());
    tar.into_inner().expect("memory")
}

#[tokio::test]
#[ignore = "needs Docker and a cluster: run `cargo xtask test`"]
async fn layers_that_the_engine_has_are_not_sent_again() {
    let engine = Engine::connect().await.expect("an engine");
    let unique = format!("{}", std::process::id());
    let below = layer("below", &unique);
    let (first, second) = (layer("first", &unique), layer("second", &unique));
    let tag = |name: &str| format!("stackctl-test-{unique}/{name}:1");
    let stream = |bytes: Vec<u8>| futures_util::stream::iter([Ok(Bytes::from(bytes))]);
    let full = archive(&[below.clone(), first], &tag("one"), &BTreeSet::new());
    load_archive(&engine, stream(full), &|_| {})
        .await
        .expect("it is loaded");

    let layers = [below.clone(), second];
    let digests: Vec<Digest> = layers.iter().map(|(_, digest)| *digest).collect();
    let name = tag("two");
    let loadable = Loadable {
        name: &name,
        diff_ids: &digests,
    };
    let present = layers_present(&engine, loadable).await;
    let present = present.expect("an answer");
    assert_eq!(present, BTreeSet::from([below.1]));
    let sent = std::sync::Mutex::new(Vec::new());
    let make = |left_out: &BTreeSet<Digest>| {
        sent.lock().expect("no panic").push(left_out.len());
        stream(archive(&layers, &tag("two"), left_out))
    };
    load_image(&engine, loadable, make, &|_| {})
        .await
        .expect("it is loaded");
    assert_eq!(
        *sent.lock().expect("no panic"),
        [1],
        "the smaller archive was enough"
    );
    let found = docker(&[
        "image",
        "inspect",
        "--format",
        "{{json .RootFS.Layers}}",
        &tag("two"),
    ]);
    let expected: Vec<String> = digests.iter().map(ToString::to_string).collect();
    assert_eq!(found, serde_json::json!(expected).to_string());
    docker(&["image", "rm", &tag("one"), &tag("two")]);
}
