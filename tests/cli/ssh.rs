//! `ssh: true`: steps of a Dockerfile reach the ssh agent of who builds. The engine is one in memory, behind a socket.

use std::path::PathBuf;

use serde_json::json;
use test_support::docker::FakeDocker;
use tokio::io::copy;
use tokio::net::UnixListener;

use crate::workspace::{Run, Workspace};

/// A stack of one Dockerfile, an engine that builds it, and an agent that repeats what it hears.
struct Scene {
    workspace: Workspace,
    docker: FakeDocker,
}

impl Scene {
    fn new() -> Self {
        let workspace = Workspace::empty();
        for (path, text) in [
            ("stack.yaml", "name: shop\nservices: [web]\n"),
            ("environments/local.yaml", "cluster: local\n"),
            (
                "services/web/service.yaml",
                "build: { dockerfile: web/Dockerfile, ssh: true }\n",
            ),
            (
                "web/Dockerfile",
                "FROM scratch\nRUN --mount=type=ssh git clone\n",
            ),
        ] {
            workspace.write(path, text);
        }
        let docker = FakeDocker::default();
        docker.with_buildkit(&[]);
        docker.answer_builds([json!({"id": "moby.image.id", "aux": {"ID": "sha256:7"}})]);
        docker.write_to_agents(b"list the keys");
        let scene = Self { workspace, docker };
        scene.listen();
        scene
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.workspace.path().join(name)
    }

    fn listen(&self) {
        let engine = UnixListener::bind(self.socket("docker.sock")).expect("a socket");
        let docker = self.docker.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = engine.accept().await {
                let docker = docker.clone();
                tokio::spawn(async move { docker.serve(stream).await });
            }
        });
        let agent = UnixListener::bind(self.socket("agent.sock")).expect("a socket");
        tokio::spawn(async move {
            while let Ok((stream, _)) = agent.accept().await {
                let (mut reader, mut writer) = stream.into_split();
                tokio::spawn(async move { copy(&mut reader, &mut writer).await });
            }
        });
    }

    /// Builds; `agent` is what `$SSH_AUTH_SOCK` says.
    async fn build(self, agent: Option<&str>) -> (Run, FakeDocker) {
        let text = |path: PathBuf| path.display().to_string();
        let mut variables = vec![
            (
                "DOCKER_HOST",
                format!("unix://{}", text(self.socket("docker.sock"))),
            ),
            ("STACKCTL_CACHE", text(self.socket("cache"))),
        ];
        if let Some(agent) = agent {
            variables.push(("SSH_AUTH_SOCK", text(self.socket(agent))));
        }
        let docker = self.docker.clone();
        let run = tokio::task::spawn_blocking(move || {
            let variables: Vec<(&str, &str)> = variables
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            self.workspace.run_with(&["build"], &variables)
        });
        (run.await.expect("the run ends"), docker)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_reaches_the_agent_and_its_answer_comes_back() {
    let (run, docker) = Scene::new().build(Some("agent.sock")).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(
        docker.offered(),
        [
            "/moby.filesync.v1.Auth/Credentials",
            "/moby.sshforward.v1.SSH/CheckAgent",
            "/moby.sshforward.v1.SSH/ForwardAgent",
        ]
    );
    assert_eq!(docker.from_agents(), [Ok(b"list the keys".to_vec())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_agent_nothing_is_built() {
    for (agent, reason) in [
        (None, "$SSH_AUTH_SOCK is not set"),
        (Some("gone.sock"), "gone.sock`: No such file or directory"),
    ] {
        let (run, docker) = Scene::new().build(agent).await;
        assert_eq!(run.code, 2, "{}", run.stderr);
        for words in [
            "error[S0443]: there is no ssh agent for the build: ",
            reason,
            "services/web/service.yaml:1:",
            "hint: ",
            "ssh-add",
        ] {
            assert!(run.stderr.contains(words), "no {words:?} in {}", run.stderr);
        }
        assert!(docker.contexts().is_empty(), "nothing was sent");
    }
}
