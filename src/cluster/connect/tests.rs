//! Tests of choosing a context, checking pins, and explaining failures.

use test_support::kubernetes::{Kubernetes, Script, failure};

use super::*;
use crate::diagnostic::{Exit, Explain, SourceFile};

/// A kubeconfig with these (context, server), the first being current where `current` says so.
fn kubeconfig(contexts: &[(&str, &str)], current: Option<&str>) -> Kubeconfig {
    let mut text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: \"{}\"\n",
        current.unwrap_or_default()
    );
    text.push_str("clusters:\n");
    for (name, server) in contexts {
        text.push_str(&format!(
            "- {{name: {name}, cluster: {{server: \"{server}\"}}}}\n"
        ));
    }
    text.push_str("contexts:\n");
    for (name, _) in contexts {
        text.push_str(&format!(
            "- {{name: {name}, context: {{cluster: {name}, user: me}}}}\n"
        ));
    }
    text.push_str("users:\n- {name: me, user: {}}\n");
    Kubeconfig::from_yaml(&text).unwrap()
}

fn pin(context: &str, uid: Option<&str>) -> ClusterTarget {
    let file = SourceFile::new(
        "environments/production.yaml",
        "cluster: { context: prod }\n",
    );
    ClusterTarget::Context {
        context: context.to_owned(),
        uid: uid.map(str::to_owned),
        span: Span::new(&file, 20..24),
    }
}

/// Serves the scripted cluster on a port of its own.
async fn serve(kubernetes: &Kubernetes) -> String {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = kubernetes.router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

/// An address that refuses connections.
async fn closed() -> String {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

async fn failed(
    kubeconfig: &Kubeconfig,
    target: &ClusterTarget,
    explicit: Option<&str>,
) -> ConnectError {
    match connect_with(kubeconfig, target, explicit).await {
        Ok(cluster) => panic!("connected to {}", cluster.context),
        Err(error) => error,
    }
}

#[test]
fn local_clusters_are_known_by_their_contexts() {
    for name in [
        "minikube",
        "kind-dev",
        "k3d-a",
        "docker-desktop",
        "orbstack",
        "colima-x86",
    ] {
        assert!(is_local_name(name), "{name}");
    }
    for name in ["kind", "prod", "my-minikube", "gke_minikube"] {
        assert!(!is_local_name(name), "{name}");
    }
    let marked = Kubeconfig::from_yaml(
        "clusters: [{name: p2, cluster: {server: \"https://x\", extensions: [{name: cluster_info, extension: {provider: minikube.sigs.k8s.io}}]}}]\ncontexts: [{name: p2, context: {cluster: p2}}]\n",
    )
    .unwrap();
    assert_eq!(local_contexts(&marked), ["p2"]);
}

#[test]
fn the_current_context_is_taken_only_where_it_is_local() {
    let contexts = [("prod", "x"), ("kind-a", "x"), ("minikube", "x")];
    let chosen =
        |current| choose(&kubeconfig(&contexts, current), &ClusterTarget::Local, None).unwrap();
    assert_eq!(chosen(Some("minikube")), Choice::One("minikube".into()));
    let local = Choice::FirstThatAnswers(vec!["kind-a".into(), "minikube".into()]);
    assert_eq!(chosen(Some("prod")), local);
    assert_eq!(chosen(None), local);
}

#[tokio::test]
async fn the_first_local_cluster_that_answers_is_taken() {
    let server = serve(&Kubernetes::new()).await;
    let closed = closed().await;
    let contexts = [
        ("prod", closed.as_str()),
        ("kind-a", &closed),
        ("k3d-b", &server),
        ("minikube", &server),
    ];
    let cluster = connect_with(
        &kubeconfig(&contexts, Some("prod")),
        &ClusterTarget::Local,
        None,
    )
    .await
    .unwrap();
    assert_eq!(cluster.context, "k3d-b");
    assert_eq!(cluster.version, "v1.20.2");
    assert_eq!(cluster.uid.as_deref(), Some("uid-kube-system"));
    assert!(!cluster.pinned);
}

#[tokio::test]
async fn no_local_cluster_says_what_was_tried() {
    let closed = closed().await;
    let contexts = [("prod", closed.as_str()), ("kind-a", &closed)];
    let error = failed(
        &kubeconfig(&contexts, Some("prod")),
        &ClusterTarget::Local,
        None,
    )
    .await;
    assert_eq!(error.exit(), Exit::Failed);
    let [problem] = error.diagnostics().try_into().unwrap();
    assert_eq!(
        problem.notes[0],
        "the current context `prod` is not known as a local cluster"
    );
    assert!(
        problem.notes[1].starts_with(&format!("kind-a: {closed}: ")),
        "{:?}",
        problem.notes
    );
    assert!(problem.notes[1].contains("refused"), "{:?}", problem.notes);
    assert!(
        problem
            .hints
            .iter()
            .any(|hint| hint.contains("--cluster CONTEXT"))
    );
    let none = failed(&Kubeconfig::default(), &ClusterTarget::Local, None).await;
    assert_eq!(
        none.diagnostics()[0].notes[0],
        "the kubeconfig has no current context"
    );
}

#[tokio::test]
async fn an_unknown_context_comes_with_a_suggestion_and_its_place() {
    let config = kubeconfig(&[("staging-eu", "http://x")], None);
    let error = failed(&config, &ClusterTarget::Local, Some("stagin-eu")).await;
    assert_eq!(error.exit(), Exit::BadInput);
    assert_eq!(error.diagnostics()[0].hints, ["did you mean `staging-eu`?"]);
    assert!(error.diagnostics()[0].labels.is_empty());
    let error = failed(&config, &pin("prod", None), None).await;
    assert_eq!(error.exit(), Exit::BadInput);
    assert_eq!(
        error.diagnostics()[0].labels[0].span.to_string(),
        "environments/production.yaml:1:21"
    );
}

#[tokio::test]
async fn a_pinned_context_refuses_another() {
    let config = kubeconfig(&[("prod", "http://x"), ("test", "http://x")], None);
    let error = failed(&config, &pin("prod", None), Some("test")).await;
    assert_eq!(error.exit(), Exit::Refused);
    assert_eq!(
        error.to_string(),
        "the environment pins context `prod`, and `--cluster test` names another"
    );
}

#[tokio::test]
async fn a_pinned_uid_must_be_that_of_the_cluster() {
    let server = serve(&Kubernetes::new()).await;
    let config = kubeconfig(&[("prod", &server)], None);
    let cluster = connect_with(&config, &pin("prod", Some("uid-kube-system")), Some("prod"))
        .await
        .unwrap();
    assert!(cluster.pinned);
    let error = failed(&config, &pin("prod", Some("7f3c")), None).await;
    assert_eq!(error.exit(), Exit::Refused);
    assert_eq!(
        error.to_string(),
        "context `prod` leads to cluster uid-kube-system, and the environment pins 7f3c"
    );
}

#[tokio::test]
async fn a_pin_that_cannot_be_checked_refuses() {
    let kubernetes = Kubernetes::new();
    let forbidden = || {
        Script::Respond(
            403,
            failure(
                403,
                "Forbidden",
                "User \"bob\" cannot get resource \"namespaces\"",
            ),
        )
    };
    kubernetes.script("GET", "/api/v1/namespaces/kube-system", forbidden());
    kubernetes.script("GET", "/api/v1/namespaces/kube-system", forbidden());
    let config = kubeconfig(&[("prod", &serve(&kubernetes).await)], None);
    let error = failed(&config, &pin("prod", Some("7f3c")), None).await;
    assert!(
        matches!(error, ConnectError::Unverified { .. }),
        "{error:?}"
    );
    assert_eq!(error.exit(), Exit::Refused);
    let cluster = connect_with(&config, &pin("prod", None), None)
        .await
        .unwrap();
    assert_eq!(cluster.uid, None, "without a pin there is nothing to check");
}

#[tokio::test]
async fn a_cluster_that_does_not_answer_is_explained() {
    let closed = closed().await;
    let config = kubeconfig(
        &[("minikube", &closed), ("kind-a", "http://x")],
        Some("minikube"),
    );
    let error = failed(&config, &ClusterTarget::Local, None).await;
    assert_eq!(error.exit(), Exit::Failed);
    assert_eq!(
        error.to_string(),
        format!("the cluster of context `minikube` does not answer at {closed}")
    );
    let [problem] = error.diagnostics().try_into().unwrap();
    assert!(problem.notes[0].contains("refused"), "{:?}", problem.notes);
    assert!(problem.hints[1].contains("kind-a"), "{:?}", problem.hints);
}

#[tokio::test]
async fn a_cluster_that_accepts_and_never_answers_is_given_up() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", silent.local_addr().unwrap());
    let config = kubeconfig(&[("prod", &server)], None);
    let Err(error) = open(&config, "prod", Duration::from_millis(50)).await else {
        panic!("it does not answer");
    };
    assert!(
        matches!(&error, ConnectError::Unreachable { reason, .. } if reason.starts_with("no answer within")),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls_is_unreachable() {
    let server = serve(&Kubernetes::new()).await.replace("http:", "https:");
    let error = failed(
        &kubeconfig(&[("prod", &server)], None),
        &pin("prod", None),
        None,
    )
    .await;
    assert!(
        matches!(error, ConnectError::Unreachable { .. }),
        "{error:?}"
    );
}

#[test]
fn a_certificate_that_is_not_accepted_is_found_under_its_wrappers() {
    let inner = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
    let wrapped = std::io::Error::other(std::io::Error::other(inner));
    let error = kube::Error::Service(Box::new(wrapped));
    let explained = explain(&Kubeconfig::default(), "prod", "https://x", &error);
    assert_eq!(
        explained.to_string(),
        "the certificate of https://x (context `prod`) is not accepted: it has expired"
    );
    assert_eq!(explained.exit(), Exit::Failed);
}

#[tokio::test]
async fn refused_credentials_name_the_certificate_that_ended() {
    let kubernetes = Kubernetes::new();
    let path = "/api/v1/namespaces/kube-system";
    let unauthorized = || Script::Respond(401, failure(401, "Unauthorized", "Unauthorized"));
    kubernetes.script("GET", path, unauthorized());
    let mut config = kubeconfig(&[("prod", &serve(&kubernetes).await)], None);
    let error = failed(&config, &pin("prod", None), None).await;
    assert!(
        matches!(error, ConnectError::Unauthorized { expired: None, .. }),
        "{error:?}"
    );
    assert_eq!(error.exit(), Exit::Failed);

    let pem = include_bytes!("../testdata/ended.pem").to_vec();
    let encoded = serde_json::to_value(k8s_openapi::ByteString(pem)).unwrap();
    let user = config.auth_infos[0].auth_info.as_mut().unwrap();
    user.client_certificate_data = encoded.as_str().map(str::to_owned);
    let error = explain(&config, "prod", "http://x", &unauthorized_error());
    assert_eq!(
        error.diagnostics()[0].notes,
        ["its client certificate ended on 2020-01-02T03:04:05Z"]
    );
}

fn unauthorized_error() -> kube::Error {
    kube::Error::Api(
        kube::core::Status::failure("Unauthorized", "Unauthorized")
            .with_code(401)
            .boxed(),
    )
}
